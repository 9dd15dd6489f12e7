// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * The XDP probe on a card, which translates the program for itself: it has no per-CPU maps and no
 * globals, and so an object of its own, loaded for one interface.
 */
#include "xdp/classify.bpf.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, PACKET_PROTOCOLS);
	__type(key, __u32);
	__type(value, struct packet_count);
} passed SEC(".maps");

SEC("xdp")
int nettrace_xdp_hw(struct xdp_md *xdp)
{
	void *at = (void *)(long)xdp->data, *end = (void *)(long)xdp->data_end;
	__u32 protocol = classify(at, end, true);
	struct packet_count *count = bpf_map_lookup_elem(&passed, &protocol);

	if (count) {
		__sync_fetch_and_add(&count->packets, 1);
		__sync_fetch_and_add(&count->bytes, end - at);
	}
	return XDP_PASS;
}
