/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * A flow's packets and bytes. Each packet adds to one word; long before a part of it is full, what
 * it has moves to the sums. Any packet may do that, and none has to at once: from then on there is
 * room for 32 million packets and 128 GiB more.
 */
#ifndef NETTRACE_FLOWS_SUMS_BPF_H
#define NETTRACE_FLOWS_SUMS_BPF_H

#include "layout.bpf.h"

#define BYTES_MASK ((1ULL << FLOW_BYTES_BITS) - 1)
/* The upper bit of either part. */
#define HALF_FULL (1ULL << 63 | 1ULL << (FLOW_BYTES_BITS - 1))

/*
 * User space takes sums and word together, and again if `moves` is odd or has changed. The lock is
 * let go between the steps so that others see them in this order on every CPU.
 */
static __noinline void move_recent(struct flow *flow)
{
	__u32 zero = 0;
	struct flow_numbers *numbers = bpf_map_lookup_elem(&fresh_numbers, &zero);
	__u64 recent;
	bool mine;

	if (!numbers)
		return;
	bpf_spin_lock(&numbers->lock);
	mine = !(flow->moves & 1) && flow->recent & HALF_FULL;
	if (mine)
		flow->moves++;
	bpf_spin_unlock(&numbers->lock);
	if (!mine)
		return;
	bpf_spin_lock(&numbers->lock);
	recent = flow->recent;
	flow->packets += recent >> FLOW_BYTES_BITS;
	flow->bytes += recent & BYTES_MASK;
	__sync_fetch_and_add(&flow->recent, -recent);
	bpf_spin_unlock(&numbers->lock);
	bpf_spin_lock(&numbers->lock);
	flow->moves++;
	bpf_spin_unlock(&numbers->lock);
}

static __always_inline void add(struct flow *flow, __u32 packets, __u32 bytes)
{
	if (flow->recent & HALF_FULL)
		move_recent(flow);
	__sync_fetch_and_add(&flow->recent, (__u64)packets << FLOW_BYTES_BITS | bytes);
}

#endif
