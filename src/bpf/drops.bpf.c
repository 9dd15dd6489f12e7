// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * The drop probe: what the kernel frees as dropped, for which reason and in which function; beside
 * it the segments that TCP sends again, and the connections that it resets.
 *
 * kfree_skb is where all of the network ends what it gives up; what was used up passes by
 * consume_skb, or has a reason that says so. It is called from anywhere, mostly in softirq. One
 * that interrupts this program on its CPU is not seen, and counted by the kernel.
 *
 * A packet that isn't freed by itself (a queue that is emptied with its socket, a ring of a driver)
 * is not seen. One that is a segment of many (GSO, GRO) counts once.
 */
#define FILTER_SLOTS 4 /* by program */
#include "filter.bpf.h"
#include "drops/layout.bpf.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

static __always_inline bool is_wanted(const struct drop_key *key)
{
	__u64 reason = (__u64)key->kind << 32 | key->reason;

	return !only_reasons || bpf_map_lookup_elem(&reasons, &reason);
}

/* Behind the end of a name there may be the rest of an older one. */
static __always_inline bool is_on_interface(const struct packet *p)
{
	if (!only_interface)
		return true;
#pragma unroll
	for (int i = 0; i < IFNAMSIZ; i++) {
		char wanted = interface[i];

		if (p->interface[i] != wanted)
			return false;
		if (!wanted)
			return true;
	}
	return true;
}

static __always_inline void count(const struct drop_key *key, const struct packet *p, __u64 now)
{
	struct drop_counts *counts = bpf_map_lookup_elem(&drops, key);

	if (!counts) {
		struct drop_counts none = {};

		bpf_map_update_elem(&drops, key, &none, BPF_NOEXIST);
		counts = bpf_map_lookup_elem(&drops, key);
		if (!counts) {
			lost(LOSS_DROP_TABLE);
			return;
		}
	}
	/* Before Linux 5.16 one drop may interrupt another's count. */
	__sync_fetch_and_add(&counts->drops, 1);
	__sync_fetch_and_add(&counts->bytes, p->length);
	__sync_fetch_and_add(&counts->writing, 1);
	barrier();
	counts->last_ns = now;
	counts->last = p->flow;
	__builtin_memcpy(counts->last_interface, p->interface, IFNAMSIZ);
	barrier();
	__sync_fetch_and_add(&counts->written, 1);
}

/* A few more than the limit may pass, by as many CPUs as come at once. */
static __always_inline bool is_within_limit(__u64 now)
{
	if (now - second_began_ns >= 1000000000) {
		second_began_ns = now;
		in_second = 0;
	}
	if (in_second >= events_per_second) {
		lost(LOSS_DROP_LIMIT);
		return false;
	}
	__sync_fetch_and_add(&in_second, 1);
	return true;
}

static __always_inline __u64 wakeup(void)
{
	return bpf_ringbuf_query(&drop_events, BPF_RB_AVAIL_DATA) < ring_wakeup
		       ? BPF_RB_NO_WAKEUP
		       : BPF_RB_FORCE_WAKEUP;
}

static __always_inline void report(void *ctx, const struct drop_key *key, const struct packet *p,
				   __u64 now)
{
	struct drop_event *event;

	if (!is_within_limit(now))
		return;
	event = bpf_ringbuf_reserve(&drop_events, sizeof(*event), 0);
	if (!event) {
		lost(LOSS_DROP_RING);
		return;
	}
	event->time_ns = now;
	event->key = *key;
	event->flow = p->flow;
	__builtin_memcpy(event->interface, p->interface, IFNAMSIZ);
	describe_current(&event->process, reads_memory);
	event->length = p->length;
	event->depth = bpf_get_stack(ctx, event->stack, sizeof(event->stack), 0);
	bpf_ringbuf_submit(event, wakeup());
}

static __always_inline int record(void *ctx, struct drop_key *key, const struct packet *p)
{
	__u64 now;

	if ((netns && p->netns != netns) || !is_on_interface(p))
		return 0;
	key->netns = p->netns;
	key->protocol = p->flow.protocol;
	key->transport = p->flow.transport;
	key->family = p->flow.protocol ? 0 : p->flow.family;
	now = bpf_ktime_get_ns();
	count(key, p, now);
	if (with_events)
		report(ctx, key, p, now);
	return 0;
}

/* Of a connection, as the segment that it sends or received. */
static __always_inline bool is_asked_for(const struct packet *p, __u8 flags, bool is_outgoing,
					 __u32 slot)
{
	const struct drop_flow *flow = &p->flow;

	if (!filter_on)
		return true;
	return flow->transport == IPPROTO_TCP &&
	       filter_segment(flow->source, flow->destination, flow->source_port,
			      flow->destination_port, flow->protocol == ETH_P_IPV6, flags,
			      is_outgoing, slot);
}

static __always_inline int drop(void *ctx, struct sk_buff *skb, __u64 location, __u32 reason,
				struct sock *receiver)
{
	struct drop_key key = {.location = location, .reason = reason, .kind = DROP_PACKET};
	struct packet p = {};

	if ((has_reasons && is_no_drop(reason)) || !is_wanted(&key))
		return 0;
	if (filter_on && !(has_headers(skb) && filter_sk_buff(skb, 0)))
		return 0;
	read_packet(&p, skb, receiver);
	return record(ctx, &key, &p);
}

/* What only newer kernels hand over is read where it is there. */
SEC("tp_btf/kfree_skb")
int BPF_PROG(dropped, struct sk_buff *skb, void *location)
{
	struct sock *receiver = has_receiver ? (void *)ctx[3] : NULL;
	__u32 reason = has_reasons ? ctx[2] : 0;

	return drop(ctx, skb, (__u64)location, reason, receiver);
}

/* By perf's way, where programs are never preempted. */
SEC("tracepoint")
int perf_dropped(struct trace_event_raw_kfree_skb *ctx)
{
	struct sock *receiver = NULL;
	__u32 reason = 0;

	if (has_receiver)
		receiver = (void *)ctx->rx_sk;
	if (has_reasons)
		reason = ctx->reason;
	return drop(ctx, ctx->skbaddr, (__u64)ctx->location, reason, receiver);
}

/* Since 6.17 also of segments that could not be sent. */
SEC("tp_btf/tcp_retransmit_skb")
int BPF_PROG(retransmitted, struct sock *sk, struct sk_buff *skb)
{
	struct drop_key key = {.kind = DROP_RETRANSMIT};
	struct packet p = {};

	if ((has_retransmit_err && (int)ctx[2]) || !is_wanted(&key))
		return 0;
	read_tcp(&p, sk);
	if (!is_asked_for(&p, TCP_ACK, true, 1))
		return 0;
	p.length = READ(skb, len);
	return record(ctx, &key, &p);
}

/* The packet is the one that is answered so; a listener or no socket has no peer of its own. */
SEC("tp_btf/tcp_send_reset")
int BPF_PROG(reset_sent, struct sock *sk, struct sk_buff *skb)
{
	struct drop_key key = {.kind = DROP_RESET_SENT};
	struct packet p = {};

	if (!is_wanted(&key))
		return 0;
	if (sk)
		read_tcp(&p, sk);
	if (skb && !p.flow.destination_port) {
		p.flow.family = 0;
		read_packet(&p, skb, sk);
		turn(&p.flow);
	}
	if (!is_asked_for(&p, TCP_RST | TCP_ACK, true, 2))
		return 0;
	/* What is sent has no payload. */
	p.length = 0;
	return record(ctx, &key, &p);
}

SEC("tp_btf/tcp_receive_reset")
int BPF_PROG(reset_received, struct sock *sk)
{
	struct drop_key key = {.kind = DROP_RESET_RECEIVED};
	struct packet p = {};

	if (!is_wanted(&key))
		return 0;
	read_tcp(&p, sk);
	turn(&p.flow);
	if (!is_asked_for(&p, TCP_RST | TCP_ACK, false, 3))
		return 0;
	return record(ctx, &key, &p);
}
