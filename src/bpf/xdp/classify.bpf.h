/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* A packet's protocol, from few bytes at fixed places. */
#ifndef NETTRACE_XDP_CLASSIFY_BPF_H
#define NETTRACE_XDP_CLASSIFY_BPF_H

#include "../headers.bpf.h"
#include "protocols.bpf.h"

#define ETHERNET_HEADER 14
#define VLAN_TAG	4
#define TAG_TYPE	2 /* where in it the next type is */
#define MAX_TAGS	2
/* As far as it looks. */
#define CLASSIFIED (ETHERNET_HEADER + MAX_TAGS * VLAN_TAG + sizeof(struct iphdr))

static __always_inline enum packet_protocol transport(__u8 protocol)
{
	switch (protocol) {
	case IPPROTO_TCP:
		return PACKET_TCP;
	case IPPROTO_UDP:
		return PACKET_UDP;
	case IPPROTO_ICMP:
		return PACKET_ICMP;
	case IPPROTO_ICMPV6:
		return PACKET_ICMP6;
	case IPPROTO_SCTP:
		return PACKET_SCTP;
	default:
		return PACKET_IP;
	}
}

static __always_inline bool is_tag(__be16 type)
{
	return type == bpf_htons(ETH_P_8021Q) || type == bpf_htons(ETH_P_8021AD);
}

/* Behind the link layer's header. */
static __always_inline enum packet_protocol network(void *at, void *end, __u16 ethertype)
{
	struct iphdr *v4 = at;
	struct ipv6hdr *v6 = at;

	switch (ethertype) {
	case ETH_P_IP:
		return (void *)(&v4->protocol + 1) > end ? PACKET_OTHER : transport(v4->protocol);
	case ETH_P_IPV6:
		return (void *)(&v6->nexthdr + 1) > end ? PACKET_OTHER : transport(v6->nexthdr);
	case ETH_P_ARP:
		return PACKET_ARP;
	default:
		return PACKET_OTHER;
	}
}

static __always_inline enum packet_protocol classify(void *at, void *end, bool has_link_header)
{
	__be16 *type = at + ETHERNET_HEADER - sizeof(*type);
	__u8 *version = at;

	if (!has_link_header) {
		if ((void *)(version + 1) > end)
			return PACKET_OTHER;
		return network(at, end, *version >> 4 == 6 ? ETH_P_IPV6 : ETH_P_IP);
	}
#pragma unroll
	for (int tags = 0; tags <= MAX_TAGS; tags++) {
		if ((void *)(type + 1) > end)
			return PACKET_OTHER;
		if (!is_tag(*type))
			return network(type + 1, end, bpf_ntohs(*type));
		type = (void *)type + VLAN_TAG;
	}
	return PACKET_OTHER;
}

#endif
