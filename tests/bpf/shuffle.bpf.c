// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* For benchmarks: makes a packet one of many flows' and hands it to the program that is measured.
 */
#include "nettrace.bpf.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

#define TCX_NEXT -1

struct frame {
	__u8 link[14];
	struct iphdr ip;
} __attribute__((packed));

const volatile __u32 flows = 1;

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} measured SEC(".maps");

SEC("tc")
int shuffle(struct __sk_buff *skb)
{
	struct frame *frame = (void *)(long)skb->data;

	if ((void *)(frame + 1) > (void *)(long)skb->data_end)
		return TCX_NEXT;
	frame->ip.saddr = bpf_htonl(10 << 24 | bpf_get_prandom_u32() % flows);
	bpf_tail_call(skb, &measured, 0);
	return TCX_NEXT;
}
