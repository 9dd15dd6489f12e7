/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Which packet an sk_buff is of. One that the expression takes is followed from there on, by its
 * address, so it may change its headers, interface and namespace; a clone is known by the buffer
 * that it shares.
 */
#ifndef NETTRACE_PATH_FOLLOW_BPF_H
#define NETTRACE_PATH_FOLLOW_BPF_H

#include "layout.bpf.h"

#define DATAREF_MASK 0xffff /* skb_shared_info.dataref: above it those of the payload alone */

/* The headers of IP are where sk_buff says. */
static __always_inline bool has_network_header(struct sk_buff *skb)
{
	__u16 network = BPF_CORE_READ(skb, network_header);

	return network && network != 0xffff && network < BPF_CORE_READ(skb, tail);
}

/*
 * What NAT, routing and filters leave alone in a packet's headers: of IP the protocol and its id or
 * label, of TCP the sequence number. 0 if it has no such headers.
 */
static __always_inline __u64 print_of(struct sk_buff *skb)
{
	const void *header = (const void *)BPF_CORE_READ(skb, head);
	__u16 protocol = bpf_ntohs(BPF_CORE_READ(skb, protocol));
	struct ipv6hdr six;
	struct iphdr four;
	__u32 sequence = 0;
	__u64 print;
	__u8 next;

	if (!has_network_header(skb))
		return 0;
	header += BPF_CORE_READ(skb, network_header);
	if (protocol == ETH_P_IP) {
		if (bpf_probe_read_kernel(&four, sizeof(four), header))
			return 0;
		next = four.protocol;
		print = (__u64)four.id << 32;
		header += four.ihl * 4;
	} else if (protocol == ETH_P_IPV6) {
		if (bpf_probe_read_kernel(&six, sizeof(six), header))
			return 0;
		next = six.nexthdr;
		print = (__u64)(six.flow_lbl[1] << 8 | six.flow_lbl[2]) << 32;
		header += sizeof(six);
	} else {
		return (__u64)protocol << 48;
	}
	if (next == IPPROTO_TCP)
		bpf_probe_read_kernel(&sequence, sizeof(sequence), header + 4);
	return (__u64)(protocol ^ next) << 48 | print | sequence;
}

/* An interrupt may come while a packet is judged, so each has a slot of the filter's memory. */
static __always_inline bool is_asked_for(struct sk_buff *skb)
{
	__u32 zero = 0, slot = FILTER_SLOTS;
	struct slots *slots = bpf_map_lookup_elem(&filter_slots, &zero);
	volatile __u8 *taken;
	bool is_it;

	if (!slots || !has_network_header(skb))
		return false;
#pragma unroll
	for (int i = 0; i < FILTER_SLOTS; i++) {
		if (slot == FILTER_SLOTS && !slots->taken[i])
			slot = i;
	}
	if (slot >= FILTER_SLOTS) {
		lost(LOSS_PATH_BUSY);
		return false;
	}
	taken = &slots->taken[slot];
	*taken = 1;
	is_it = filter_sk_buff(skb, slot);
	*taken = 0;
	return is_it;
}

static __always_inline void follow(struct sk_buff *skb, __u64 packet, __u64 head, __u64 print)
{
	struct followed followed = {.packet = packet, .head = head, .print = print};
	struct buffer buffer = {.packet = packet, .print = print};
	__u64 address = (__u64)skb;

	if (bpf_map_update_elem(&skbs, &address, &followed, BPF_ANY) ||
	    bpf_map_update_elem(&buffers, &head, &buffer, BPF_ANY))
		lost(LOSS_PATH_TABLE);
}

/* A number that no other packet has; no CPU is at it twice in a nanosecond. */
static __always_inline __u64 new_packet(void)
{
	if (most_packets && packets >= most_packets)
		return 0;
	__sync_fetch_and_add(&packets, 1);
	return bpf_ktime_get_ns() << 8 | (__u8)bpf_get_smp_processor_id();
}

/* The packet that an sk_buff is of, if it is followed; 0 if not. */
static __always_inline __u64 find_followed(struct sk_buff *skb)
{
	__u64 address = (__u64)skb, head = (__u64)BPF_CORE_READ(skb, head), print, packet;
	struct followed *followed = bpf_map_lookup_elem(&skbs, &address);
	struct buffer *buffer;

	if (followed && !by_tracepoints && followed->head == head)
		return followed->packet;
	print = print_of(skb);
	/* Where ends go unseen, the address may be another packet's by now. */
	if (followed && (!by_tracepoints || followed->print == print)) {
		packet = followed->packet;
		if (followed->head != head)
			follow(skb, packet, head, print);
		return packet;
	}
	if (followed)
		bpf_map_delete_elem(&skbs, &address);
	buffer = bpf_map_lookup_elem(&buffers, &head);
	if (!buffer || !print || buffer->print != print)
		return 0;
	packet = buffer->packet;
	follow(skb, packet, head, print);
	return packet;
}

static __always_inline bool is_here(const struct packet *p)
{
	return !netns || p->netns == netns;
}

/* A clone that nobody saw may have it still. */
static __always_inline void forget(struct sk_buff *skb)
{
	__u64 address = (__u64)skb, head = (__u64)BPF_CORE_READ(skb, head);
	struct skb_shared_info *shared;
	__u32 users;

	bpf_map_delete_elem(&skbs, &address);
	if (!bpf_map_lookup_elem(&buffers, &head))
		return;
	shared = (void *)(head + BPF_CORE_READ(skb, end));
	users = BPF_CORE_READ(shared, dataref.counter);
	if ((users & DATAREF_MASK) <= 1)
		bpf_map_delete_elem(&buffers, &head);
}

#endif
