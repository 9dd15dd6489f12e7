/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* From a packet's headers to its flow. */
#ifndef NETTRACE_FLOWS_PARSE_BPF_H
#define NETTRACE_FLOWS_PARSE_BPF_H

#include "../headers.bpf.h"
#include "layout.bpf.h"

/* Extension headers before a packet counts as made to confuse. */
#define MAX_EXTENSIONS 8
/* The furthest that headers may reach. */
#define MAX_OFFSET   0x1fff
#define VXLAN_PORT   4789
#define GRE_CHECKSUM 0x8000
#define GRE_KEY	     0x2000
#define GRE_SEQUENCE 0x1000
#define GRE_VERSION  0x0007

/* Not kept in registers, as an address within the context, which no program may read from. */
static __always_inline void *packet_end(struct __sk_buff *skb)
{
	barrier_var(skb);
	return (void *)(long)skb->data_end;
}

static __always_inline void *packet_at(struct __sk_buff *skb, __u32 at)
{
	barrier_var(skb);
	return (void *)(long)skb->data + (at & MAX_OFFSET);
}

/*
 * The header there, or NULL if the packet ends before. Where it is comes from the scratch, of which
 * the verifier remembers nothing, so that a thousand ways to get there are one.
 */
#define HEADER(skb, s, type)                                                                       \
	({                                                                                         \
		__u32 _at = (s)->at;                                                               \
		type *_header = packet_at(skb, _at);                                               \
		_at > MAX_OFFSET || (void *)(_header + 1) > packet_end(skb) ? NULL : _header;      \
	})

struct ethernet_header {
	__u8 destination[6];
	__u8 source[6];
	__be16 type;
} __attribute__((packed));

struct vlan_header {
	__be16 control;
	__be16 type;
};

struct arp_header {
	__be16 hardware;
	__be16 protocol;
	__u8 hardware_length;
	__u8 protocol_length;
	__be16 operation;
	__u8 sender[6];
	__be32 sender_address;
	__u8 target[6];
	__be32 target_address;
} __attribute__((packed));

struct ports {
	__be16 source;
	__be16 destination;
};

struct gre_header {
	__be16 flags;
	__be16 protocol;
};

struct vxlan_header {
	__be32 flags;
	__be32 vni;
};

struct extension_header {
	__u8 next;
	__u8 length;
};

struct fragment_header {
	__u8 next;
	__u8 reserved;
	__be16 offset;
	__be32 id;
};

static __always_inline void set_v4(__u8 *address, __be32 v4)
{
	word *words = (void *)address;

	words[0] = 0;
	words[1] = (__u64)v4 << 32 | 0xffff0000;
}

static __always_inline void set_ports(struct flow_key *key, __u16 source, __u16 destination)
{
	*(half_word *)&key->source_port = source | (__u32)destination << 16;
}

static __always_inline bool truncated(struct scratch *s)
{
	s->key.marks |= FLOW_TRUNCATED;
	return false;
}

/* The type behind the tags. A tag that the card has taken off comes first. */
static __always_inline bool parse_tags(struct __sk_buff *skb, struct scratch *s)
{
	struct vlan_header *tag;
	__u16 id;

#pragma unroll
	for (int i = 0; i < 2; i++) {
		if (s->key.ethertype != ETH_P_8021Q && s->key.ethertype != ETH_P_8021AD)
			return true;
		tag = HEADER(skb, s, struct vlan_header);
		if (!tag)
			return truncated(s);
		id = bpf_ntohs(tag->control) & VLAN_VID_MASK;
		if (s->key.vlan)
			s->key.inner_vlan = id;
		else
			s->key.vlan = id;
		s->key.ethertype = bpf_ntohs(tag->type);
		s->at += sizeof(*tag);
	}
	return true;
}

static __always_inline bool parse_ethernet(struct __sk_buff *skb, struct scratch *s)
{
	struct ethernet_header *ethernet = HEADER(skb, s, struct ethernet_header);

	if (!ethernet)
		return truncated(s);
	s->key.ethertype = bpf_ntohs(ethernet->type);
	s->at += sizeof(*ethernet);
	return parse_tags(skb, s);
}

static __always_inline bool parse_arp(struct __sk_buff *skb, struct scratch *s)
{
	struct arp_header *arp = HEADER(skb, s, struct arp_header);

	if (!arp)
		return truncated(s);
	if (bpf_ntohs(arp->protocol) != ETH_P_IP || arp->hardware_length != 6 ||
	    arp->protocol_length != 4)
		return false;
	set_v4(s->key.source, arp->sender_address);
	set_v4(s->key.destination, arp->target_address);
	return false;
}

static __always_inline bool parse_v4(struct __sk_buff *skb, struct scratch *s)
{
	struct iphdr *ip = HEADER(skb, s, struct iphdr);
	__u32 length;
	__u16 offset;

	if (!ip)
		return truncated(s);
	length = ip->ihl * 4;
	if (ip->version != 4 || length < sizeof(*ip))
		return truncated(s);
	set_v4(s->key.source, ip->saddr);
	set_v4(s->key.destination, ip->daddr);
	s->key.protocol = ip->protocol;
	offset = bpf_ntohs(ip->frag_off);
	s->is_fragment = (offset & (IP_FRAGMENT_OFFSET | IP_MORE_FRAGMENTS)) != 0;
	s->is_first_fragment = s->is_fragment && !(offset & IP_FRAGMENT_OFFSET);
	s->fragment_id = ip->id;
	s->at += length;
	return true;
}

static __always_inline bool parse_v6(struct __sk_buff *skb, struct scratch *s)
{
	struct ipv6hdr *ip = HEADER(skb, s, struct ipv6hdr);
	struct fragment_header *fragment;
	struct extension_header *header;
	__u8 next, length;

	if (!ip || ip->version != 6)
		return truncated(s);
	__builtin_memcpy(s->key.source, &ip->saddr, 16);
	__builtin_memcpy(s->key.destination, &ip->daddr, 16);
	next = ip->nexthdr;
	s->at += sizeof(*ip);
	for (int i = 0; i < MAX_EXTENSIONS; i++) {
		s->key.protocol = next;
		switch (next) {
		case IPPROTO_HOPOPTS:
		case IPPROTO_ROUTING:
		case IPPROTO_DSTOPTS:
		case IPPROTO_MH:
			header = HEADER(skb, s, struct extension_header);
			if (!header)
				return truncated(s);
			next = header->next;
			length = header->length;
			s->at += (length + 1) * 8;
			break;
		case IPPROTO_AH:
			header = HEADER(skb, s, struct extension_header);
			if (!header)
				return truncated(s);
			next = header->next;
			length = header->length;
			s->at += (length + 2) * 4;
			break;
		case IPPROTO_FRAGMENT:
			fragment = HEADER(skb, s, struct fragment_header);
			if (!fragment)
				return truncated(s);
			next = fragment->next;
			/* Of one alone, "atomic", nothing follows. */
			s->is_fragment = (fragment->offset & bpf_htons(0xfff9)) != 0;
			s->is_first_fragment =
				s->is_fragment && !(fragment->offset & bpf_htons(0xfff8));
			s->fragment_id = fragment->id;
			s->at += sizeof(*fragment);
			if (s->is_fragment && !s->is_first_fragment) {
				s->key.protocol = next;
				return true;
			}
			break;
		default:
			return true;
		}
	}
	return true;
}

static __always_inline void fill_fragment(struct fragment *f, struct scratch *s)
{
	__builtin_memcpy(f->source, s->key.source, 16);
	__builtin_memcpy(f->destination, s->key.destination, 16);
	f->id = s->fragment_id;
	f->protocol = s->key.protocol;
}

static __always_inline bool is_icmp(struct scratch *s)
{
	return s->key.protocol == IPPROTO_ICMP || s->key.protocol == IPPROTO_ICMPV6;
}

/* One that isn't the first has the ports, or the type, that the first one had. */
static __always_inline bool parse_later_fragment(struct scratch *s)
{
	struct fragment f;
	__u32 *known;

	fill_fragment(&f, s);
	known = bpf_map_lookup_elem(&fragments, &f);
	if (!known) {
		s->key.marks |= FLOW_FRAGMENT;
	} else if (is_icmp(s)) {
		s->key.icmp = *known;
	} else {
		set_ports(&s->key, *known >> 16, *known);
	}
	return false;
}

static __always_inline void note_first_fragment(struct scratch *s, __u32 known)
{
	struct fragment f;

	fill_fragment(&f, s);
	bpf_map_update_elem(&fragments, &f, &known, BPF_ANY);
}

static __always_inline bool parse_ports(struct __sk_buff *skb, struct scratch *s)
{
	struct ports *ports = HEADER(skb, s, struct ports);

	if (!ports)
		return truncated(s);
	set_ports(&s->key, bpf_ntohs(ports->source), bpf_ntohs(ports->destination));
	if (s->is_first_fragment)
		note_first_fragment(s, (__u32)s->key.source_port << 16 | s->key.destination_port);
	return true;
}

static __always_inline bool parse_icmp(struct __sk_buff *skb, struct scratch *s)
{
	struct ports *type = HEADER(skb, s, struct ports);

	if (!type)
		return truncated(s);
	s->key.icmp = bpf_ntohs(type->source);
	if (s->is_first_fragment)
		note_first_fragment(s, s->key.icmp);
	return false;
}

/* True if an IP packet or a frame follows that is to be the flow. */
static __always_inline bool parse_gre(struct __sk_buff *skb, struct scratch *s)
{
	struct gre_header *gre = HEADER(skb, s, struct gre_header);
	__u16 flags, type;
	__be32 *word;

	if (!gre)
		return truncated(s);
	flags = bpf_ntohs(gre->flags);
	type = bpf_ntohs(gre->protocol);
	if (!inner || flags & GRE_VERSION)
		return false;
	s->at += sizeof(*gre);
	if (flags & GRE_CHECKSUM)
		s->at += 4;
	if (flags & GRE_KEY) {
		word = HEADER(skb, s, __be32);
		if (!word)
			return truncated(s);
		s->key.tunnel = bpf_ntohl(*word);
		s->at += 4;
	}
	if (flags & GRE_SEQUENCE)
		s->at += 4;
	if (type != ETH_P_TEB && type != ETH_P_IP && type != ETH_P_IPV6)
		return false;
	s->key.ethertype = type;
	return true;
}

static __always_inline bool parse_vxlan(struct __sk_buff *skb, struct scratch *s)
{
	struct vxlan_header *vxlan;

	if (!inner || s->key.destination_port != VXLAN_PORT)
		return false;
	s->at += sizeof(struct udphdr);
	vxlan = HEADER(skb, s, struct vxlan_header);
	if (!vxlan)
		return truncated(s);
	s->key.tunnel = bpf_ntohl(vxlan->vni) >> 8;
	s->key.ethertype = ETH_P_TEB;
	s->at += sizeof(*vxlan);
	return true;
}

static __always_inline bool parse_transport(struct __sk_buff *skb, struct scratch *s)
{
	__u8 *length_and_flags;
	__u32 begin = s->at;

	if (s->is_fragment && !s->is_first_fragment)
		return parse_later_fragment(s);
	switch (s->key.protocol) {
	case IPPROTO_TCP:
		if (!parse_ports(skb, s))
			return false;
		s->at += 12;
		length_and_flags = HEADER(skb, s, __u8);
		if (!length_and_flags || (void *)(length_and_flags + 2) > packet_end(skb))
			return truncated(s);
		s->headers = begin + (length_and_flags[0] >> 4) * 4;
		s->tcp_flags = length_and_flags[1];
		return false;
	case IPPROTO_UDP:
	case IPPROTO_UDPLITE:
		s->headers = begin + sizeof(struct udphdr);
		return parse_ports(skb, s) && parse_vxlan(skb, s);
	case IPPROTO_SCTP:
	case IPPROTO_DCCP:
		parse_ports(skb, s);
		return false;
	case IPPROTO_ICMP:
	case IPPROTO_ICMPV6:
		return parse_icmp(skb, s);
	case IPPROTO_GRE:
		return parse_gre(skb, s);
	case IPPROTO_IPIP:
		if (inner)
			s->key.ethertype = ETH_P_IP;
		return inner;
	case IPPROTO_IPV6:
		if (inner)
			s->key.ethertype = ETH_P_IPV6;
		return inner;
	}
	return false;
}

static __always_inline bool parse_network(struct __sk_buff *skb, struct scratch *s)
{
	switch (s->key.ethertype) {
	case ETH_P_ARP:
		return parse_arp(skb, s);
	case ETH_P_IP:
		return parse_v4(skb, s) && parse_transport(skb, s);
	case ETH_P_IPV6:
		return parse_v6(skb, s) && parse_transport(skb, s);
	}
	/* A length, which is no flow's own. */
	if (s->key.ethertype < ETH_P_802_3_MIN)
		s->key.ethertype = ETH_P_802_3;
	return false;
}

/* What was read of the packet that carries another is forgotten. */
static __always_inline void enter_tunnel(struct __sk_buff *skb, struct scratch *s)
{
	__builtin_memset(s->key.source, 0, sizeof(s->key.source));
	__builtin_memset(s->key.destination, 0, sizeof(s->key.destination));
	s->key.source_port = s->key.destination_port = 0;
	s->key.protocol = 0;
	s->is_fragment = s->is_first_fragment = false;
}

/* `key` has the outermost type of the packet, whose link layer's header was read. */
static __always_inline void parse(struct __sk_buff *skb, struct scratch *s)
{
	if (!parse_network(skb, s) || !inner)
		return;
	enter_tunnel(skb, s);
	if (s->key.ethertype == ETH_P_TEB && !parse_ethernet(skb, s))
		return;
	parse_network(skb, s);
}

#endif
