/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What is known of a packet: from its headers where they are, else from its socket. A packet that
 * is about to be freed is in any state, so nothing in it is trusted.
 */
#ifndef NETTRACE_PACKET_BPF_H
#define NETTRACE_PACKET_BPF_H

#include "headers.bpf.h"
#include "nettrace.bpf.h"

#define IFNAMSIZ 16

#define MAX_EXTENSIONS 4

/* Flags of a TCP header. */
#define TCP_RST 0x04
#define TCP_ACK 0x10

/* Namespaces have inodes from here on. */
#define FIRST_NS_INODE 0xEFFFFFF0
#define MAX_IFINDEX    (1 << 24)

/* Where a packet came from and went to; v4 addresses are v4-mapped, ports as numbers. */
struct drop_flow {
	__u8 source[16];
	__u8 destination[16];
	__u16 source_port;
	__u16 destination_port;
	__u16 protocol; /* as Ethernet numbers it; 0: not known */
	__u8 transport; /* as IP numbers it */
	__u8 family;	/* of its socket, 0: none */
};

/* Switches; the verifier removes what is off. */
const volatile bool by_address = false; /* objects aren't typed */
const volatile bool has_reasons = true; /* kfree_skb tells them */

struct packet {
	struct drop_flow flow;
	char interface[IFNAMSIZ];
	__u32 netns;
	__u32 length;
};

static __always_inline bool has_ports(__u8 transport)
{
	return transport == IPPROTO_TCP || transport == IPPROTO_UDP ||
	       transport == IPPROTO_UDPLITE || transport == IPPROTO_SCTP ||
	       transport == IPPROTO_DCCP;
}

static __always_inline void read_ports(struct drop_flow *flow, const void *transport)
{
	__be16 ports[2];

	if (!has_ports(flow->transport) || bpf_probe_read_kernel(ports, sizeof(ports), transport))
		return;
	flow->source_port = bpf_ntohs(ports[0]);
	flow->destination_port = bpf_ntohs(ports[1]);
}

static __always_inline bool read_v4(struct packet *p, const void *header)
{
	struct iphdr ip;

	if (bpf_probe_read_kernel(&ip, sizeof(ip), header) || ip.version != 4)
		return false;
	map_v4(p->flow.source, ip.saddr);
	map_v4(p->flow.destination, ip.daddr);
	p->flow.transport = ip.protocol;
	if (ip.tot_len)
		p->length = bpf_ntohs(ip.tot_len);
	if (ip.ihl >= 5 && !(bpf_ntohs(ip.frag_off) & IP_FRAGMENT_OFFSET))
		read_ports(&p->flow, header + ip.ihl * 4);
	return true;
}

static __always_inline bool read_v6(struct packet *p, const void *header)
{
	struct ipv6hdr ip;
	__u8 next[4]; /* type, length and, of a fragment, its offset */

	if (bpf_probe_read_kernel(&ip, sizeof(ip), header) || ip.version != 6)
		return false;
	__builtin_memcpy(p->flow.source, &ip.saddr, 16);
	__builtin_memcpy(p->flow.destination, &ip.daddr, 16);
	if (ip.payload_len)
		p->length = bpf_ntohs(ip.payload_len) + sizeof(ip);
	p->flow.transport = ip.nexthdr;
	header += sizeof(ip);
#pragma unroll
	for (int i = 0; i < MAX_EXTENSIONS; i++) {
		__u8 type = p->flow.transport;

		if (type != IPPROTO_HOPOPTS && type != IPPROTO_ROUTING &&
		    type != IPPROTO_FRAGMENT && type != IPPROTO_DSTOPTS)
			break;
		if (bpf_probe_read_kernel(next, sizeof(next), header))
			return true;
		p->flow.transport = next[0];
		if (type == IPPROTO_FRAGMENT && (next[2] || next[3] & 0xf8))
			return true;
		header += type == IPPROTO_FRAGMENT ? 8 : (next[1] + 1) * 8;
	}
	read_ports(&p->flow, header);
	return true;
}

/* 0 and ~0 are not set. */
static __always_inline bool has_headers(struct sk_buff *skb)
{
	__u16 network = READ(skb, network_header);

	return reads_memory && network && network != 0xffff && network < READ(skb, tail);
}

static __always_inline bool read_headers(struct packet *p, struct sk_buff *skb)
{
	__u16 network = READ(skb, network_header);
	const void *head = READ(skb, head);

	p->flow.protocol = bpf_ntohs(READ(skb, protocol));
	if (!has_headers(skb))
		return false;
	if (p->flow.protocol == ETH_P_IP)
		return read_v4(p, head + network);
	if (p->flow.protocol == ETH_P_IPV6)
		return read_v6(p, head + network);
	return false;
}

/* From it to its peer. Also for what has only the part that all sockets have in common. */
static __always_inline void read_socket(struct drop_flow *flow, struct sock *sk)
{
	__u8 state = READ(sk, __sk_common.skc_state);

	flow->family = READ(sk, __sk_common.skc_family);
	if (flow->family != AF_INET && flow->family != AF_INET6)
		return;
	flow->protocol = flow->family == AF_INET ? ETH_P_IP : ETH_P_IPV6;
	if (state == TCP_TIME_WAIT || state == TCP_NEW_SYN_RECV)
		flow->transport = IPPROTO_TCP;
	else
		flow->transport = READ(sk, sk_protocol);
	flow->source_port = READ(sk, __sk_common.skc_num);
	flow->destination_port = bpf_ntohs(READ(sk, __sk_common.skc_dport));
	if (flow->family == AF_INET) {
		map_v4(flow->source, READ(sk, __sk_common.skc_rcv_saddr));
		map_v4(flow->destination, READ(sk, __sk_common.skc_daddr));
	} else if (by_address) {
		BPF_CORE_READ_INTO(&flow->source, sk, __sk_common.skc_v6_rcv_saddr);
		BPF_CORE_READ_INTO(&flow->destination, sk, __sk_common.skc_v6_daddr);
	} else {
		__builtin_memcpy(flow->source, &sk->__sk_common.skc_v6_rcv_saddr, 16);
		__builtin_memcpy(flow->destination, &sk->__sk_common.skc_v6_daddr, 16);
	}
}

static __always_inline bool is_netns(__u32 inode)
{
	return inode >= FIRST_NS_INODE && inode != ~0U;
}

/*
 * The field of a packet that has its device is used for other things while it waits in a socket, so
 * what is found there is one only if it looks like one.
 */
static __always_inline bool read_device(struct packet *p, struct sk_buff *skb)
{
	struct net_device *dev = READ(skb, dev);
	__u32 index, inode;

	if (!dev)
		return false;
	index = READ(dev, ifindex);
	if (reads_memory)
		inode = BPF_CORE_READ(dev, nd_net.net, ns.inum);
	else
		inode = dev->nd_net.net->ns.inum;
	if (!index || index > MAX_IFINDEX || !is_netns(inode))
		return false;
	p->netns = inode;
	if (by_address)
		BPF_CORE_READ_INTO(&p->interface, dev, name);
	else
		__builtin_memcpy(p->interface, dev->name, IFNAMSIZ);
	return true;
}

/* TCP takes a packet's device away; the route that it came by has one of the same namespace. */
static __always_inline void read_route(struct packet *p, struct sk_buff *skb)
{
	struct dst_entry *dst;
	__u32 inode;

	if (!reads_memory)
		return;
	dst = (void *)(READ(skb, _skb_refdst) & ~1UL);
	inode = dst ? BPF_CORE_READ(dst, dev, nd_net.net, ns.inum) : 0;
	if (is_netns(inode))
		p->netns = inode;
}

/*
 * `receiver` is the socket that it was for, if that is known. The packet's own one may be the
 * sender's in another namespace, until the packet has passed IP there.
 */
static __always_inline void read_packet(struct packet *p, struct sk_buff *skb,
					struct sock *receiver)
{
	struct sock *own = READ(skb, sk);
	bool is_read, has_device;

	p->length = READ(skb, len);
	is_read = read_headers(p, skb);
	has_device = read_device(p, skb);
	if (receiver) {
		p->netns = netns_of(receiver, reads_memory);
		if (!is_read)
			read_socket(&p->flow, receiver);
	} else if (own) {
		if (!has_device)
			p->netns = netns_of(own, reads_memory);
		if (!is_read && (!has_device || p->netns == netns_of(own, reads_memory)))
			read_socket(&p->flow, own);
	} else if (!has_device) {
		read_route(p, skb);
	}
}

/* TCP's, which a tracepoint is about. One that closes has given its port back. */
static __always_inline void read_tcp(struct packet *p, struct sock *sk)
{
	struct tcp_sock *tp = NULL;

	p->netns = netns_of(sk, reads_memory);
	read_socket(&p->flow, sk);
	if (!p->flow.source_port && p->flow.transport == IPPROTO_TCP)
		tp = by_address ? (struct tcp_sock *)sk : bpf_skc_to_tcp_sock(sk);
	if (tp)
		p->flow.source_port = bpf_ntohs(READ(tp, inet_conn.icsk_inet.inet_sport));
}

static __always_inline void turn(struct drop_flow *flow)
{
	__u16 port = flow->source_port;
	__u8 address[16];

	flow->source_port = flow->destination_port;
	flow->destination_port = port;
	__builtin_memcpy(address, flow->source, 16);
	__builtin_memcpy(flow->source, flow->destination, 16);
	__builtin_memcpy(flow->destination, address, 16);
}

/* What kfree_skb tells that is no drop: by name, since numbers differ between kernels. */
static __always_inline bool is_no_drop(__u32 reason)
{
	if (bpf_core_enum_value_exists(enum skb_drop_reason, SKB_NOT_DROPPED_YET) &&
	    reason == bpf_core_enum_value(enum skb_drop_reason, SKB_NOT_DROPPED_YET))
		return true;
	return bpf_core_enum_value_exists(enum skb_drop_reason, SKB_CONSUMED) &&
	       reason == bpf_core_enum_value(enum skb_drop_reason, SKB_CONSUMED);
}

#endif
