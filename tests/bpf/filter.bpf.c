// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * How a probe uses filter expressions, for tests: at each kind of hook a program that counts the
 * packets which the expression takes.
 */
#define FILTER_SLOTS 4
#include "filter.bpf.h"
#include "headers.bpf.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

#define TCX_NEXT -1

/* Tracing programs see the whole machine: packets of these network namespaces alone are looked at.
 */
const volatile __u32 sender = 0;
const volatile __u32 receiver = 0;

struct {
	__u64 seen, taken;
} ingress = {}, egress = {}, sent = {}, received = {};

#define COUNT(hook, is_taken)                                                                      \
	do {                                                                                       \
		__sync_fetch_and_add(&hook.seen, 1);                                               \
		if (is_taken)                                                                      \
			__sync_fetch_and_add(&hook.taken, 1);                                      \
	} while (0)

SEC("tc")
int tc_ingress(struct __sk_buff *skb)
{
	COUNT(ingress, filter_skb(skb, true, false, 0));
	return TCX_NEXT;
}

/* Beside the packet, as the kernel's VLAN interfaces do. */
SEC("tc")
int tc_tag(struct __sk_buff *skb)
{
	if (skb->protocol == bpf_htons(ETH_P_IP))
		bpf_skb_vlan_push(skb, bpf_htons(ETH_P_8021Q), 100);
	return TCX_NEXT;
}

SEC("tc")
int tc_egress(struct __sk_buff *skb)
{
	COUNT(egress, filter_skb(skb, true, true, 1));
	return TCX_NEXT;
}

/* As on an interface without Ethernet headers; the verdict is returned. */
SEC("tc")
int tc_without_header(struct __sk_buff *skb)
{
	return filter_skb(skb, false, false, 0);
}

SEC("tc")
int tc_verdict(struct __sk_buff *skb)
{
	return filter_skb(skb, true, false, 0);
}

SEC("xdp")
int xdp_verdict(struct xdp_md *xdp)
{
	return filter_xdp(xdp, 0);
}

static __always_inline bool is_in(struct sk_buff *skb, __u32 netns)
{
	return BPF_CORE_READ(skb, dev, nd_net.net, ns.inum) == netns;
}

SEC("tp_btf/net_dev_start_xmit")
int BPF_PROG(sending, struct sk_buff *skb)
{
	if (is_in(skb, sender))
		COUNT(sent, filter_sk_buff(skb, 2));
	return 0;
}

SEC("tp_btf/netif_receive_skb")
int BPF_PROG(receiving, struct sk_buff *skb)
{
	if (is_in(skb, receiver))
		COUNT(received, filter_sk_buff(skb, 3));
	return 0;
}
