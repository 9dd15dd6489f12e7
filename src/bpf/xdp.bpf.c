// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * The XDP probe: packets and bytes by verdict and protocol at the earliest point, beside what
 * reaches the stack of them.
 *
 * Where an interface has no XDP program, one of ours counts and lets everything pass. One of others
 * is watched by a trampoline behind it, which sees its verdict. At ingress, behind both, a tcx
 * program or a filter counts what is left. The xdp:* tracepoints tell of what went wrong.
 *
 * Missed: what the card drops before; what a cpumap's own threads drop, which is of no interface.
 */
#include "xdp/classify.bpf.h"
#include "xdp/layout.bpf.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

/* The next program, or what the stack does anyway. */
#define TC_ACT_UNSPEC -1

static __always_inline void add(struct packet_count *count, __u64 bytes)
{
	count->packets++;
	count->bytes += bytes;
}

static __always_inline int pass(struct xdp_md *xdp, bool has_link_header)
{
	void *at = (void *)(long)xdp->data, *end = (void *)(long)xdp->data_end;
	struct xdp_counts *counts = counts_of(slot_of(xdp->ingress_ifindex));
	enum packet_protocol protocol = classify(at, end, has_link_header);

	if (counts)
		add(&counts->verdicts[XDP_PASS][protocol],
		    in_fragments ? bpf_xdp_get_buff_len(xdp) : end - at);
	return XDP_PASS;
}

SEC("xdp")
int nettrace_xdp(struct xdp_md *xdp)
{
	return pass(xdp, true);
}

/* On interfaces that carry IP packets without a link layer's header. */
SEC("xdp")
int nettrace_xdp_ip(struct xdp_md *xdp)
{
	return pass(xdp, false);
}

/*
 * The same in skb mode, never loaded as ones that know fragments: for these the kernel copies
 * packets, and Linux 6.18 forgets then where the network header is, for everybody behind.
 */

SEC("xdp")
int nettrace_skb(struct xdp_md *xdp)
{
	return pass(xdp, true);
}

SEC("xdp")
int nettrace_skb_ip(struct xdp_md *xdp)
{
	return pass(xdp, false);
}

/*
 * By the network header: behind somebody's program that knows fragments, in skb mode, Linux 6.18
 * begins the packet there.
 */
static __always_inline enum packet_protocol protocol_of(struct __sk_buff *skb)
{
	__u32 at = 0, where = offsetof(struct iphdr, protocol);
	__be16 type = skb->protocol;
	__u8 protocol;

#pragma unroll
	for (int tags = 0; tags < MAX_TAGS; tags++) {
		if (!is_tag(type))
			break;
		if (bpf_skb_load_bytes_relative(skb, at + TAG_TYPE, &type, sizeof(type),
						BPF_HDR_START_NET))
			return PACKET_OTHER;
		at += VLAN_TAG;
	}
	if (type == bpf_htons(ETH_P_ARP))
		return PACKET_ARP;
	if (type == bpf_htons(ETH_P_IPV6))
		where = offsetof(struct ipv6hdr, nexthdr);
	else if (type != bpf_htons(ETH_P_IP))
		return PACKET_OTHER;
	if (bpf_skb_load_bytes_relative(skb, at + where, &protocol, sizeof(protocol),
					BPF_HDR_START_NET))
		return PACKET_OTHER;
	return transport(protocol);
}

SEC("tc")
int nettrace_stack(struct __sk_buff *skb)
{
	struct xdp_counts *counts = counts_of(slot_of(skb->ifindex));
	struct stack_count *count;

	if (!counts)
		return TC_ACT_UNSPEC;
	count = &counts->stack[protocol_of(skb)];
	count->pieces++;
	count->segments += skb->gso_segs > 1 ? skb->gso_segs : 1;
	return TC_ACT_UNSPEC;
}

/* Behind a program of others, which user space names as the target. */
SEC("fexit")
int BPF_PROG(others_verdict, struct xdp_buff *xdp, int returned)
{
	struct net_device *dev = xdp->rxq->dev;
	void *at = xdp->data, *end = xdp->data_end;
	__u8 headers[CLASSIFIED] = {};
	enum packet_protocol protocol;
	struct xdp_counts *counts;
	__u64 verdict = (__u32)returned, length = (__u32)(end - at), read = length;

	if (dev->nd_net.net->ns.inum != netns)
		return 0;
	counts = counts_of(slot_of(dev->ifindex));
	if (!counts)
		return 0;
	/* Linux 5.10 forgets the bounds of a number that is put aside, or of which a copy was
	 * compared. */
	barrier_var(read);
	if (read > CLASSIFIED)
		read = CLASSIFIED;
	bpf_probe_read_kernel(headers, read, at);
	protocol = classify(headers, headers + CLASSIFIED, true);
	barrier_var(verdict);
	if (verdict > XDP_REDIRECT)
		verdict = VERDICT_INVALID;
	add(&counts->verdicts[verdict][protocol], length);
	return 0;
}

/* Tracepoints */

static __always_inline __u32 slot_of_device(const struct net_device *dev)
{
	struct net *net = READ(dev, nd_net.net);

	return READ(net, ns.inum) == netns ? slot_of(READ(dev, ifindex)) : 0;
}

static __always_inline int happened(__u32 slot, enum xdp_event event, __s64 times)
{
	struct xdp_counts *counts = counts_of(slot);

	if (counts && times > 0)
		counts->events[event] += times;
	return 0;
}

static __always_inline int failed(const struct net_device *dev, __u32 verdict)
{
	__u32 slot = slot_of_device(dev);

	switch (verdict) {
	case XDP_ABORTED:
		return happened(slot, XDP_EVENT_ABORTED, 1);
	case XDP_TX:
		return happened(slot, XDP_EVENT_TX_FAILED, 1);
	case XDP_REDIRECT:
		return happened(slot, XDP_EVENT_REDIRECT_FAILED, 1);
	default:
		return happened(slot, XDP_EVENT_INVALID, 1);
	}
}

static __always_inline int redirect(const struct net_device *dev, enum xdp_event event)
{
	__u32 zero = 0, slot = slot_of_device(dev);
	__u32 *from = bpf_map_lookup_elem(&redirecting, &zero);

	if (from)
		*from = slot;
	return happened(slot, event, 1);
}

static __always_inline int sent(__u32 slot, enum xdp_event event, int packets, int drops)
{
	happened(slot, event, packets);
	return happened(slot, event + 1, drops);
}

static __always_inline int queued(__u32 packets, __u32 drops)
{
	__u32 zero = 0, *from = bpf_map_lookup_elem(&redirecting, &zero);

	return from ? sent(*from, XDP_EVENT_CPUMAP_QUEUED, packets, drops) : 0;
}

/* Each by its typed arguments, and by addresses. */
#define AT(tracepoint, body, ...)                                                                  \
	SEC("tp_btf/" #tracepoint)                                                                 \
	int BPF_PROG(tracepoint, __VA_ARGS__)                                                      \
	{                                                                                          \
		return body;                                                                       \
	}                                                                                          \
	SEC("raw_tp/" #tracepoint)                                                                 \
	int BPF_PROG(raw_##tracepoint, __VA_ARGS__)                                                \
	{                                                                                          \
		return body;                                                                       \
	}

AT(xdp_exception, failed(dev, verdict), const struct net_device *dev, const void *program,
   __u32 verdict)
AT(xdp_redirect, redirect(dev, XDP_EVENT_REDIRECTED), const struct net_device *dev)
AT(xdp_redirect_err, redirect(dev, XDP_EVENT_REDIRECT_REFUSED), const struct net_device *dev)
AT(xdp_bulk_tx, sent(slot_of_device(dev), XDP_EVENT_TX_SENT, packets, drops),
   const struct net_device *dev, int packets, int drops)
AT(xdp_devmap_xmit, sent(slot_of_device(from), XDP_EVENT_DEVMAP_SENT, packets, drops),
   const struct net_device *from, const struct net_device *to, int packets, int drops)
AT(xdp_cpumap_enqueue, queued(packets, drops), int map, __u32 packets, __u32 drops)
