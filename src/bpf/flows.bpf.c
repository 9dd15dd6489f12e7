// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * The flow probe: packets and bytes of each flow, as they pass between an interface and the stack.
 *
 * On tcx, else on a clsact qdisc: behind XDP and the merging of received segments, before the
 * splitting of sent ones. What the stack has in one piece counts as its interface counts it: as one
 * packet where the card splits, as many where the stack does or has merged them.
 *
 * Missed: what XDP or the driver drops or sends elsewhere; what is sent past the queueing layer.
 */
#define FILTER_SLOTS 2 /* by direction */
#include "filter.bpf.h"
#include "flows/parse.bpf.h"
#include "flows/sums.bpf.h"
#include "flows/table.bpf.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

/* The next program, or what the stack does anyway. */
#define TC_ACT_UNSPEC -1

/* Bytes of headers that are pulled together, if a packet has them apart. */
#define HEADERS 128

static __always_inline __u64 now_ns(void)
{
	if (bpf_core_enum_value_exists(enum bpf_func_id, BPF_FUNC_ktime_get_coarse_ns))
		return bpf_ktime_get_coarse_ns();
	return bpf_ktime_get_ns();
}

static __always_inline struct flow *other_flow(struct flow_key *key)
{
	struct flow_key other = {
		.ifindex = key->ifindex,
		.direction = key->direction,
		.marks = FLOW_OTHER,
	};
	struct flow *flow = bpf_map_lookup_elem(&others, &other);

	lost(LOSS_FLOW_TABLE);
	return flow;
}

static __always_inline void note_flags(struct flow *flow, __u8 flags)
{
	if ((flow->flags & flags) == flags)
		return;
#pragma unroll
	for (int i = 0; i < 8; i++)
		if (flags >> i & 1)
			flow->seen[i] = 1;
	flow->flags |= flags;
}

/* Pieces that the interface's own counters have of it. */
static __always_inline __u32 pieces(struct __sk_buff *skb, __u8 direction)
{
	__u32 ifindex = skb->ifindex, *split;

	if (skb->gso_segs <= 1)
		return 1;
	split = bpf_map_lookup_elem(&splits, &ifindex);
	if (!split || !(*split & (direction == FLOW_IN ? SPLIT_IN : SPLIT_OUT)))
		return 1;
	return skb->gso_segs;
}

static __always_inline void count(struct __sk_buff *skb, struct scratch *s)
{
	struct flow *flow = find_flow(&s->key);
	__u32 packets = pieces(skb, s->key.direction);

	__u32 bytes = skb->len + (packets - 1) * s->headers;

	if (flow) {
		add(flow, packets, bytes);
	} else {
		flow = other_flow(&s->key);
		if (!flow)
			return;
		__sync_fetch_and_add(&flow->packets, packets);
		__sync_fetch_and_add(&flow->bytes, bytes);
	}
	flow->last_ns = now_ns();
	note_flags(flow, s->tcp_flags);
}

static __always_inline void read_headers(struct __sk_buff *skb, struct scratch *s, __u32 direction,
					 bool has_link_header)
{
	__builtin_memset(s, 0, sizeof(*s));
	s->key.ifindex = skb->ifindex;
	s->key.direction = direction;
	if (skb->vlan_present)
		s->key.vlan = skb->vlan_tci & VLAN_VID_MASK;
	if (!has_link_header)
		s->key.ethertype = bpf_ntohs(skb->protocol);
	if (has_link_header ? parse_ethernet(skb, s) : parse_tags(skb, s))
		parse(skb, s);
}

/* Whether a header may be where programs can't look, behind the first piece of the packet. */
static __always_inline bool is_in_pieces(struct __sk_buff *skb, __u32 want)
{
	return packet_at(skb, 0) + want > packet_end(skb);
}

static __always_inline int watch(struct __sk_buff *skb, __u32 direction, bool has_link_header)
{
	__u32 want = skb->len < HEADERS ? skb->len : HEADERS;
	struct scratch *s;

	if (!filter_skb(skb, has_link_header, direction == FLOW_OUT, direction))
		return TC_ACT_UNSPEC;
	s = bpf_map_lookup_elem(&scratches, &direction);
	if (!s)
		return TC_ACT_UNSPEC;
	/* Once more, if the headers had to be pulled together: that copies, so it isn't done
	 * before. */
	for (int i = 0; i < 2; i++) {
		read_headers(skb, s, direction, has_link_header);
		if (!(s->key.marks & FLOW_TRUNCATED) || !is_in_pieces(skb, want) ||
		    bpf_skb_pull_data(skb, want))
			break;
	}
	count(skb, s);
	return TC_ACT_UNSPEC;
}

SEC("tc")
int nettrace_in(struct __sk_buff *skb)
{
	return watch(skb, FLOW_IN, true);
}

SEC("tc")
int nettrace_out(struct __sk_buff *skb)
{
	return watch(skb, FLOW_OUT, true);
}

/* On interfaces that carry IP packets without a link layer's header. */

SEC("tc")
int nettrace_ip_in(struct __sk_buff *skb)
{
	return watch(skb, FLOW_IN, false);
}

SEC("tc")
int nettrace_ip_out(struct __sk_buff *skb)
{
	return watch(skb, FLOW_OUT, false);
}
