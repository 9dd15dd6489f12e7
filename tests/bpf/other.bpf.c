// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* Somebody else's program on an interface: it counts packets and lets them pass. */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

char LICENSE[] SEC("license") = "Dual BSD/GPL";

#define TC_ACT_OK 0

__u64 passed = 0;

SEC("tc")
int other(struct __sk_buff *skb)
{
	__sync_fetch_and_add(&passed, 1);
	return TC_ACT_OK;
}
