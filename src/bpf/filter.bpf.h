/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Filter expressions: is this packet wanted? User space puts the compiled expression in the place
 * of the call of filter_verdict(), a helper that no kernel has, so a program that isn't given one
 * doesn't load unless filter_on is false.
 *
 * The expression sees a copy of the packet's beginning, as far as it looks: an Ethernet frame as it
 * is on the wire. So a VLAN tag that the kernel has taken off is put back, and where there is no
 * Ethernet header (tun, WireGuard, a packet on its way out) one without addresses is made up.
 */
#ifndef NETTRACE_FILTER_BPF_H
#define NETTRACE_FILTER_BPF_H

#include "compat.bpf.h"

#define FILTER_REACH_LIMIT  4096
#define FILTER_LINEAR_LIMIT 256

/* Programs that may run while another one does, each with a packet of its own. */
#ifndef FILTER_SLOTS
#define FILTER_SLOTS 1
#endif

#define FILTER_ADDRESSES 12 /* of an Ethernet header, before its type */
#define FILTER_HEADER	 14
#define FILTER_TAG	 4

#define FILTER_PACKET_HOST     0 /* PACKET_HOST */
#define FILTER_PACKET_OUTGOING 4 /* PACKET_OUTGOING */

struct filter_packet {
	__u8 bytes[FILTER_REACH_LIMIT];
	__u32 own[19]; /* the expression's memory */
};

/* How the expression was compiled; without one, every packet is wanted. */
const volatile bool filter_on = false;
const volatile bool filter_raw = false; /* for packets that begin with IP */
const volatile __u32 filter_reach = 0;

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, FILTER_SLOTS);
	__type(key, __u32);
	__type(value, struct filter_packet);
} filter_packets SEC(".maps");

static __u32 (*const filter_verdict)(struct filter_packet *packet, __u32 caplen, __u32 len,
				     __u32 ifindex, __u32 packet_type) = (void *)0x6e7466;

/* A packet, and where its bytes are: in a classifier's `skb`, or in kernel memory from `begin` on.
 */
struct filter_source {
	bool is_skb;
	struct __sk_buff *skb;
	const void *begin;
	__u32 available;
	__u32 len;
	__u32 ifindex;
	__u32 packet_type;
	bool has_header; /* it begins with an Ethernet header */
	__be16 protocol; /* else its type */
	bool has_tag;	 /* this isn't in its bytes */
	__be16 tag_type;
	__u16 tag;
};

/*
 * How many bytes there are from `to` to `caplen`, of which there are some; 0 if that is too many.
 * The verifier of Linux 5.10 sees that something isn't 0 only if it is larger than another by one.
 */
static __always_inline __u32 filter_size(__u32 caplen, const __u32 to)
{
	__u32 last = caplen - to - 1;

	barrier_var(last);
	return last < FILTER_REACH_LIMIT - to ? last + 1 : 0;
}

/*
 * The verifier forgets what it found out about the length on its way here. So it goes through what
 * follows once, not for each length; and Linux 5.10 isn't confused by what no length can be.
 */
static __always_inline __u32 filter_forget(struct filter_packet *packet, __u32 caplen)
{
	volatile __u32 *own = packet->own;

	*own = caplen;
	return *own;
}

/*
 * By direct access, where all of it is in one piece and not much: calls of helpers take twice as
 * long, but the verifier goes through a loop round by round.
 */
static __always_inline bool filter_copy_linear(const __u8 *data, const __u8 *end,
					       struct filter_packet *packet, __u32 caplen)
{
	__u32 at, last;

	if (caplen < 8 || caplen > FILTER_LINEAR_LIMIT)
		return false;
	for (at = 0; at + 8 <= FILTER_LINEAR_LIMIT && at + 8 <= caplen; at += 8) {
		if (data + at + 8 > end)
			return false;
		*(__u64 *)(packet->bytes + at) = *(__u64 *)(data + at);
	}
	/* The last word overlaps the one before. */
	last = filter_forget(packet, caplen) - 8;
	if (last > FILTER_LINEAR_LIMIT - 8)
		return false;
	data += last;
	if (data + 8 > end)
		return false;
	*(__u64 *)(packet->bytes + last) = *(__u64 *)data;
	return true;
}

/* Puts bytes of the source, `from` on, to where they are in the frame, `to` on. */
static __always_inline bool filter_copy(const struct filter_source *source,
					struct filter_packet *packet, const __u32 to,
					const __u32 from, __u32 caplen)
{
	__u32 size;

	if (caplen <= to)
		return true;
	size = filter_size(caplen, to);
	if (!size)
		return false;
	if (source->is_skb)
		return bpf_skb_load_bytes(source->skb, from, packet->bytes + to, size) == 0;
	return bpf_probe_read_kernel(packet->bytes + to, size, source->begin + from) == 0;
}

/* Where the frame begins as the source does. */
static __always_inline bool filter_copy_whole(const struct filter_source *source,
					      struct filter_packet *packet, __u32 caplen)
{
	if (source->is_skb) {
		__u8 *data = (void *)(long)source->skb->data;
		__u8 *end = (void *)(long)source->skb->data_end;

		if (filter_copy_linear(data, end, packet, caplen))
			return true;
	}
	return filter_copy(source, packet, 0, 0, caplen);
}

static __always_inline bool filter_source(const struct filter_source *source, __u32 slot)
{
	struct filter_packet *packet = bpf_map_lookup_elem(&filter_packets, &slot);
	bool is_made_up = !source->has_header && !filter_raw;
	bool is_tagged = source->has_header && source->has_tag;
	__u32 caplen = source->available, len = source->len;
	bool copied;

	if (!packet)
		return false;
	if (is_made_up)
		caplen += FILTER_HEADER;
	if (is_tagged) {
		caplen += FILTER_TAG;
		len += FILTER_TAG;
	}
	if (caplen > filter_reach)
		caplen = filter_reach;
	if (is_made_up) {
		__builtin_memset(packet->bytes, 0, FILTER_ADDRESSES);
		*(__be16 *)(packet->bytes + FILTER_ADDRESSES) = source->protocol;
		copied = filter_copy(source, packet, FILTER_HEADER, 0, caplen);
	} else if (is_tagged) {
		__be16 *tag = (void *)(packet->bytes + FILTER_ADDRESSES);

		tag[0] = source->tag_type;
		tag[1] = bpf_htons(source->tag);
		copied = filter_copy(source, packet, 0, 0, FILTER_ADDRESSES) &&
			 filter_copy(source, packet, FILTER_ADDRESSES + FILTER_TAG,
				     FILTER_ADDRESSES, caplen);
	} else {
		copied = filter_copy_whole(source, packet, caplen);
	}
	if (!copied)
		return false;
	caplen = filter_forget(packet, caplen);
	return filter_verdict(packet, caplen, len, source->ifindex, source->packet_type);
}

/* Of a classifier (tc). The kernel doesn't tell it whether its interface has Ethernet headers. */
static __always_inline bool filter_skb(struct __sk_buff *skb, bool has_header, bool is_outgoing,
				       __u32 slot)
{
	struct filter_source source = {
		.is_skb = true,
		.skb = skb,
		.available = skb->len,
		.len = skb->len,
		.ifindex = skb->ifindex,
		.packet_type = is_outgoing ? FILTER_PACKET_OUTGOING : skb->pkt_type,
		.has_header = has_header,
		.protocol = skb->protocol,
		.has_tag = skb->vlan_present,
		.tag_type = skb->vlan_proto,
		.tag = skb->vlan_tci,
	};

	return !filter_on || filter_source(&source, slot);
}

/*
 * Of a tracing program. What is in pages of its own can't be read, which begins behind the headers.
 * A packet on its way out may have no Ethernet header yet, or that of its way in. `dev` may be
 * something else while a packet waits in a socket.
 */
static __always_inline bool filter_sk_buff(struct sk_buff *skb, __u32 slot)
{
	struct filter_source source = {};
	__u16 mac, network;
	__u8 *head;
	__u32 begin, header;

	if (!filter_on)
		return true;
	mac = BPF_CORE_READ(skb, mac_header);
	network = BPF_CORE_READ(skb, network_header);
	head = BPF_CORE_READ(skb, head);
	header = network - mac;
	source.has_header = mac != 0xffff && mac < network &&
			    (header == FILTER_HEADER || header == FILTER_HEADER + FILTER_TAG ||
			     header == FILTER_HEADER + 2 * FILTER_TAG);
	begin = source.has_header ? mac : network;
	source.begin = head + begin;
	if (BPF_CORE_READ(skb, tail) < begin)
		return false;
	source.available = BPF_CORE_READ(skb, tail) - begin;
	source.len =
		BPF_CORE_READ(skb, len) + (__u32)(BPF_CORE_READ(skb, data) - (__u8 *)source.begin);
	source.ifindex = BPF_CORE_READ(skb, skb_iif) ?: BPF_CORE_READ(skb, dev, ifindex);
	source.packet_type = BPF_CORE_READ_BITFIELD_PROBED(skb, pkt_type);
	source.protocol = BPF_CORE_READ(skb, protocol);
	source.has_tag = skb_has_vlan_tag(skb);
	source.tag_type = BPF_CORE_READ(skb, vlan_proto);
	source.tag = BPF_CORE_READ(skb, vlan_tci);
	return filter_source(&source, slot);
}

/*
 * Of a TCP segment of which the ends alone are known, v4 addresses v4-mapped: the headers are made
 * up, with these flags.
 */
static __always_inline bool filter_segment(const __u8 *source, const __u8 *destination,
					   __u16 source_port, __u16 destination_port, bool is_v6,
					   __u8 flags, bool is_outgoing, __u32 slot)
{
	struct filter_packet *packet;
	__u32 tcp = is_v6 ? FILTER_HEADER + 40 : FILTER_HEADER + 20;
	__u8 *bytes;

	if (!filter_on)
		return true;
	packet = bpf_map_lookup_elem(&filter_packets, &slot);
	if (!packet)
		return false;
	bytes = packet->bytes;
	__builtin_memset(bytes, 0, FILTER_HEADER + 40 + 20);
	if (is_v6) {
		*(__be16 *)(bytes + FILTER_ADDRESSES) = bpf_htons(0x86dd);
		bytes[FILTER_HEADER] = 6 << 4;
		bytes[FILTER_HEADER + 5] = 20; /* bytes behind this header */
		bytes[FILTER_HEADER + 6] = 6;  /* TCP */
		bytes[FILTER_HEADER + 7] = 64;
		__builtin_memcpy(bytes + FILTER_HEADER + 8, source, 16);
		__builtin_memcpy(bytes + FILTER_HEADER + 24, destination, 16);
	} else {
		*(__be16 *)(bytes + FILTER_ADDRESSES) = bpf_htons(0x0800);
		bytes[FILTER_HEADER] = 4 << 4 | 5;
		bytes[FILTER_HEADER + 3] = 40; /* bytes of the packet */
		bytes[FILTER_HEADER + 8] = 64;
		bytes[FILTER_HEADER + 9] = 6; /* TCP */
		__builtin_memcpy(bytes + FILTER_HEADER + 12, source + 12, 4);
		__builtin_memcpy(bytes + FILTER_HEADER + 16, destination + 12, 4);
	}
	*(__be16 *)(bytes + tcp) = bpf_htons(source_port);
	*(__be16 *)(bytes + tcp + 2) = bpf_htons(destination_port);
	bytes[tcp + 12] = 5 << 4;
	bytes[tcp + 13] = flags;
	return filter_verdict(packet, tcp + 20, tcp + 20, 0,
			      is_outgoing ? FILTER_PACKET_OUTGOING : FILTER_PACKET_HOST);
}

/*
 * Of an XDP program. A tag that the device took off is gone here. Since 5.18 a packet may go on in
 * more buffers than the first.
 */
static __always_inline bool filter_xdp(struct xdp_md *xdp, __u32 slot)
{
	__u8 *data = (void *)(long)xdp->data, *end = (void *)(long)xdp->data_end;
	__u32 len = end - data, caplen;
	struct filter_packet *packet;

	if (!filter_on)
		return true;
	packet = bpf_map_lookup_elem(&filter_packets, &slot);
	if (!packet)
		return false;
	if (bpf_core_enum_value_exists(enum bpf_func_id, BPF_FUNC_xdp_get_buff_len))
		len = bpf_xdp_get_buff_len(xdp);
	caplen = len < filter_reach ? len : filter_reach;
	if (caplen && !filter_copy_linear(data, end, packet, caplen)) {
		__u32 size = filter_size(caplen, 0);

		if (!size)
			return false;
		if (bpf_core_enum_value_exists(enum bpf_func_id, BPF_FUNC_xdp_load_bytes)) {
			if (bpf_xdp_load_bytes(xdp, 0, packet->bytes, size))
				return false;
		} else if (bpf_probe_read_kernel(packet->bytes, size, data)) {
			return false;
		}
	}
	caplen = filter_forget(packet, caplen);
	return filter_verdict(packet, caplen, len, xdp->ingress_ifindex, FILTER_PACKET_HOST);
}

#endif
