/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Whose a packet is, by the tag of the socket that sent it or that it is for. */
#ifndef NETTRACE_CAPTURE_OWNER_BPF_H
#define NETTRACE_CAPTURE_OWNER_BPF_H

#include "../headers.bpf.h"
#include "layout.bpf.h"

#define ETHERNET_HEADER 14
#define ETHERNET_TYPE	12
#define VLAN_TAG	4
#define MAX_TAGS	2

/* The ends of a packet as one who looks for its receiver's socket wants them. */
struct ends {
	struct bpf_sock_tuple tuple;
	bool is_v6;
	__u8 protocol;
};

struct ports {
	__be16 source;
	__be16 destination;
};

static __always_inline bool load(struct __sk_buff *skb, __u32 at, void *to, __u32 size)
{
	return bpf_skb_load_bytes(skb, at, to, size) == 0;
}

/* What the link layer says that there is, and where it begins. */
static __always_inline __be16 network_at(struct __sk_buff *skb, bool has_link_header, __u32 *at)
{
	__be16 type = skb->protocol;

	*at = 0;
	if (!has_link_header)
		return type;
	*at = ETHERNET_HEADER;
	if (!load(skb, ETHERNET_TYPE, &type, sizeof(type)))
		return 0;
#pragma unroll
	for (int i = 0; i < MAX_TAGS; i++) {
		if (type != bpf_htons(ETH_P_8021Q) && type != bpf_htons(ETH_P_8021AD))
			return type;
		/* Behind the tag's own two bytes there is the next type. */
		if (!load(skb, *at + 2, &type, sizeof(type)))
			return 0;
		*at += VLAN_TAG;
	}
	return type;
}

static __always_inline bool read_v4(struct __sk_buff *skb, __u32 at, struct ends *e)
{
	struct iphdr ip;
	struct ports ports;

	if (!load(skb, at, &ip, sizeof(ip)))
		return false;
	/* Later fragments have no ports. */
	if (ip.frag_off & bpf_htons(IP_FRAGMENT_OFFSET))
		return false;
	if (!load(skb, at + ip.ihl * 4, &ports, sizeof(ports)))
		return false;
	e->protocol = ip.protocol;
	e->is_v6 = false;
	e->tuple.ipv4.saddr = ip.saddr;
	e->tuple.ipv4.daddr = ip.daddr;
	e->tuple.ipv4.sport = ports.source;
	e->tuple.ipv4.dport = ports.destination;
	return true;
}

/* Those with extension headers are left to user space. */
static __always_inline bool read_v6(struct __sk_buff *skb, __u32 at, struct ends *e)
{
	struct ipv6hdr ip;
	struct ports ports;

	if (!load(skb, at, &ip, sizeof(ip)) || !load(skb, at + sizeof(ip), &ports, sizeof(ports)))
		return false;
	e->protocol = ip.nexthdr;
	e->is_v6 = true;
	__builtin_memcpy(e->tuple.ipv6.saddr, &ip.saddr, 16);
	__builtin_memcpy(e->tuple.ipv6.daddr, &ip.daddr, 16);
	e->tuple.ipv6.sport = ports.source;
	e->tuple.ipv6.dport = ports.destination;
	return true;
}

/* As the answer to it would have them. */
static __always_inline void turn(struct ends *e)
{
	struct bpf_sock_tuple t = e->tuple;

	if (!e->is_v6) {
		e->tuple.ipv4.saddr = t.ipv4.daddr;
		e->tuple.ipv4.daddr = t.ipv4.saddr;
		e->tuple.ipv4.sport = t.ipv4.dport;
		e->tuple.ipv4.dport = t.ipv4.sport;
	} else {
		__builtin_memcpy(e->tuple.ipv6.saddr, t.ipv6.daddr, 16);
		__builtin_memcpy(e->tuple.ipv6.daddr, t.ipv6.saddr, 16);
		e->tuple.ipv6.sport = t.ipv6.dport;
		e->tuple.ipv6.dport = t.ipv6.sport;
	}
}

static __always_inline bool take_owner(struct captured *c, struct bpf_sock *sk)
{
	struct tag *tag = bpf_sk_storage_get(&tags, sk, 0, 0);

	if (!tag || !tag->owner.tgid)
		return false;
	c->owner = tag->owner;
	return true;
}

/* The socket in the packet: its sender's, as long as it is on this machine. */
static __always_inline bool find_sender(struct __sk_buff *skb, struct captured *c)
{
	struct bpf_sock *sk = skb->sk;

	sk = sk ? bpf_sk_fullsock(sk) : NULL;
	return sk && take_owner(c, sk);
}

/* What came of a search. */
enum found { FOUND_NOTHING, FOUND_SOCKET, FOUND_OWNER };

/* The socket in this namespace that a packet of these ends would be for. */
static __always_inline enum found find_by_ends(struct __sk_buff *skb, struct captured *c,
					       struct ends *e)
{
	__u32 size = e->is_v6 ? sizeof(e->tuple.ipv6) : sizeof(e->tuple.ipv4);
	struct bpf_sock *sk = NULL;
	enum found found;

	if (e->protocol == IPPROTO_TCP)
		sk = bpf_sk_lookup_tcp(skb, &e->tuple, size, BPF_F_CURRENT_NETNS, 0);
	else if (e->protocol == IPPROTO_UDP)
		sk = bpf_sk_lookup_udp(skb, &e->tuple, size, BPF_F_CURRENT_NETNS, 0);
	if (!sk)
		return FOUND_NOTHING;
	found = take_owner(c, sk) ? FOUND_OWNER : FOUND_SOCKET;
	bpf_sk_release(sk);
	return found;
}

static __always_inline bool read_ends(struct __sk_buff *skb, bool has_link_header, struct ends *e)
{
	__u32 at;
	__be16 type = network_at(skb, has_link_header, &at);

	if (type == bpf_htons(ETH_P_IP))
		return read_v4(skb, at, e);
	return type == bpf_htons(ETH_P_IPV6) && read_v6(skb, at, e);
}

/*
 * The sender's process on the way out, the receiver's on the way in; where that isn't one of this
 * namespace, the sender's if the packet still has its socket. What isn't found here, user space
 * looks for: a socket has no tag before it is used.
 */
static __always_inline void find_owner(struct __sk_buff *skb, struct captured *c, bool is_out,
				       bool has_link_header)
{
	enum found found = FOUND_NOTHING;
	struct ends ends = {};

	if (has_tags) {
		if (is_out && find_sender(skb, c))
			return;
		if (read_ends(skb, has_link_header, &ends)) {
			/* What answers to no socket yet or no more, as a SYN, has none in it. */
			if (is_out)
				turn(&ends);
			found = find_by_ends(skb, c, &ends);
		}
		if (found == FOUND_OWNER)
			return;
		if (!is_out && (found == FOUND_SOCKET || find_sender(skb, c)))
			return;
	}
	c->cookie = bpf_get_socket_cookie(skb);
}

#endif
