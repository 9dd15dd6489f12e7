// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * The capture probe: packets that the filter takes go to user space, each with its process where
 * that is known.
 *
 * On tcx, else on a clsact qdisc: behind XDP and the merging of received segments, before the
 * splitting of sent ones, as packet sockets see them.
 *
 * Missed: what XDP or the driver drops or sends elsewhere; what is sent past the queueing layer.
 */
#include "filter.bpf.h"
#include "capture/owner.bpf.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

/* The next program, or what the stack does anyway. */
#define TC_ACT_UNSPEC -1

/*
 * Puts `size` bytes of the packet, `from` on, behind the head, `to` on. The verifier of Linux 5.10
 * sees that something isn't 0 only if it is larger than another by one.
 */
static __always_inline bool copy(struct __sk_buff *skb, struct captured *c, __u32 from,
				 const __u32 to, __u32 size)
{
	__u32 last = size - 1;

	barrier_var(last);
	if (last >= snaplen - to)
		return false;
	return bpf_skb_load_bytes(skb, from, (void *)(c + 1) + to, last + 1) == 0;
}

/* With the tag that the stack has taken off, or the card is to put in. */
static __always_inline bool copy_tagged(struct __sk_buff *skb, struct captured *c)
{
	__be16 *tag = (void *)(c + 1) + FILTER_ADDRESSES;

	if (!copy(skb, c, 0, 0, FILTER_ADDRESSES))
		return false;
	tag[0] = skb->vlan_proto;
	tag[1] = bpf_htons(skb->vlan_tci);
	return copy(skb, c, FILTER_ADDRESSES, FILTER_ADDRESSES + FILTER_TAG,
		    c->copied - FILTER_ADDRESSES - FILTER_TAG);
}

/* At most one wake-up for as long as nobody came to read. */
static __always_inline __u64 wakeup(void)
{
	if (bpf_ringbuf_query(&packets, BPF_RB_AVAIL_DATA) < ring_wakeup || is_woken)
		return BPF_RB_NO_WAKEUP;
	is_woken = 1;
	return BPF_RB_FORCE_WAKEUP;
}

static __always_inline bool hand_over(struct captured *c)
{
	__u32 last = c->copied - 1;

	barrier_var(last);
	if (last >= snaplen)
		return false;
	return bpf_ringbuf_output(&packets, c, sizeof(*c) + last + 1, wakeup()) == 0;
}

static __always_inline bool draft(struct __sk_buff *skb, struct captured *c, bool is_out,
				  bool has_link_header)
{
	bool is_tagged = has_link_header && skb->vlan_present;

	__builtin_memset(c, 0, sizeof(*c));
	c->time_ns = bpf_ktime_get_ns();
	c->ifindex = skb->ifindex;
	c->direction = is_out ? CAPTURE_OUT : CAPTURE_IN;
	c->has_link_header = has_link_header;
	c->length = skb->len + (is_tagged ? FILTER_TAG : 0);
	c->copied = c->length < snaplen ? c->length : snaplen;
	if (with_owners)
		find_owner(skb, c, is_out, has_link_header);
	return is_tagged ? copy_tagged(skb, c) : copy(skb, c, 0, 0, c->copied);
}

static __always_inline int capture(struct __sk_buff *skb, bool is_out, bool has_link_header)
{
	__u32 ifindex = skb->ifindex, cpu = bpf_get_smp_processor_id();
	struct capture_counts *counts;
	struct captured *c;

	if (is_over || (is_out ? !wants_out : !wants_in))
		return TC_ACT_UNSPEC;
	counts = bpf_map_lookup_elem(&capture_counts, &ifindex);
	if (counts)
		counts->seen++;
	if (!filter_skb(skb, has_link_header, is_out, 0))
		return TC_ACT_UNSPEC;
	if (counts)
		counts->accepted++;
	c = bpf_map_lookup_elem(&drafts, &cpu);
	if (c && draft(skb, c, is_out, has_link_header) && hand_over(c))
		return TC_ACT_UNSPEC;
	lost(LOSS_PACKET_RING);
	if (counts)
		counts->lost++;
	return TC_ACT_UNSPEC;
}

SEC("tc")
int nettrace_cap_in(struct __sk_buff *skb)
{
	return capture(skb, false, true);
}

SEC("tc")
int nettrace_cap_out(struct __sk_buff *skb)
{
	return capture(skb, true, true);
}

/* On interfaces that carry IP packets without a link layer's header. */

SEC("tc")
int nettrace_capi_in(struct __sk_buff *skb)
{
	return capture(skb, false, false);
}

SEC("tc")
int nettrace_capi_out(struct __sk_buff *skb)
{
	return capture(skb, true, false);
}
