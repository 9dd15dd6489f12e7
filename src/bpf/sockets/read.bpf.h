/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What a socket is, read from the kernel's structs into our records. */
#ifndef NETTRACE_SOCKETS_READ_BPF_H
#define NETTRACE_SOCKETS_READ_BPF_H

#include "layout.bpf.h"
#include "../compat.bpf.h"
#include "../task.bpf.h"

/*
 * Dead code goes, but not the load of the volatile switch before it. What reads many fields has it
 * once, in a variable of the same name; all in all that was 5 % of reading the table.
 */
static __always_inline bool is_by_address(void)
{
	return by_address;
}

#define SOCKFS_MAGIC 0x534F434B

static __always_inline bool is_inet(__u16 family)
{
	return family == AF_INET || family == AF_INET6;
}

/* Not a raw socket, whose protocol may be TCP's too. */
static __always_inline bool is_tcp(struct sock *sk)
{
	bool by_address = is_by_address();

	return READ(sk, sk_protocol) == IPPROTO_TCP && READ(sk, sk_type) == SOCK_STREAM &&
	       is_inet(READ(sk, __sk_common.skc_family));
}

static __always_inline struct tcp_sock *as_tcp(struct sock *sk)
{
	if (by_address)
		return is_tcp(sk) ? (struct tcp_sock *)sk : NULL;
	return bpf_skc_to_tcp_sock(sk);
}

/* The TCP under an MPTCP socket, whose bytes are counted there, by calls. */
static __always_inline bool is_subflow(struct sock *sk)
{
	struct tcp_sock *tp = as_tcp(sk);

	return tp && bpf_core_field_exists(tp->is_mptcp) && READ(tp, is_mptcp);
}

static __always_inline bool has_flag(struct sock *sk, __u32 flag)
{
	return READ(sk, __sk_common.skc_flags) >> flag & 1;
}

static __always_inline bool is_dead(struct sock *sk)
{
	return has_flag(sk, bpf_core_enum_value(enum sock_flags, SOCK_DEAD));
}

/* How pointers are followed where a program comes seldom, and where it comes often. */
static __always_inline bool follows_addresses(bool seldom)
{
	return seldom ? reads_memory : by_address;
}

static __always_inline void fill_ends(struct endpoints *e, struct sock *sk, bool seldom)
{
	bool by_address = is_by_address();
	struct sock_common *c = &sk->__sk_common;
	struct tcp_sock *tp;

	e->family = READ(c, skc_family);
	e->protocol = READ(sk, sk_protocol);
	e->netns = netns_of(sk, follows_addresses(seldom));
	if (!is_inet(e->family)) {
		__builtin_memset(e->local, 0, 16);
		__builtin_memset(e->remote, 0, 16);
		e->local_port = 0;
		e->remote_port = 0;
		return;
	}
	if (e->family == AF_INET) {
		map_v4(e->local, READ(c, skc_rcv_saddr));
		map_v4(e->remote, READ(c, skc_daddr));
	} else if (by_address) {
		BPF_CORE_READ_INTO(&e->local, c, skc_v6_rcv_saddr.in6_u.u6_addr8);
		BPF_CORE_READ_INTO(&e->remote, c, skc_v6_daddr.in6_u.u6_addr8);
	} else {
		__builtin_memcpy(e->local, c->skc_v6_rcv_saddr.in6_u.u6_addr8, 16);
		__builtin_memcpy(e->remote, c->skc_v6_daddr.in6_u.u6_addr8, 16);
	}
	e->local_port = READ(c, skc_num);
	e->remote_port = bpf_ntohs(READ(c, skc_dport));
	/* A bound port is given back, and skc_num with it, before the state becomes CLOSE. */
	tp = e->local_port ? NULL : as_tcp(sk);
	if (tp)
		e->local_port = bpf_ntohs(READ(tp, inet_conn.icsk_inet.inet_sport));
}

/* Our FIN was queued on the way into these states. */
static __always_inline bool sent_fin(__u32 state)
{
	return state == TCP_FIN_WAIT1 || state == TCP_FIN_WAIT2 || state == TCP_CLOSING ||
	       state == TCP_LAST_ACK;
}

/*
 * Whether a socket that is older than us sent the SYN: its sequence numbers then went one further
 * than its payload. bytes_sent leaves SYN and FIN out; a segment that the qdisc refused is in it
 * twice, which makes the guess a no and the socket's total since birth one too large.
 */
static __always_inline bool was_active(struct tcp_sock *tp, __u32 state)
{
	__u64 sequence = READ(tp, bytes_acked) + (__u32)(READ(tp, snd_nxt) - READ(tp, snd_una));

	return sequence == READ(tp, bytes_sent) - READ(tp, bytes_retrans) + sent_fin(state) + 1;
}

/*
 * All that was written: what is acknowledged plus what is not yet. bytes_acked counts our SYN and
 * write_seq our FIN.
 */
static __always_inline __u64 tx_payload(struct tcp_sock *tp, struct tag *tag, __u32 state)
{
	bool by_address = is_by_address();
	__u64 written = READ(tp, bytes_acked) + (__u32)(READ(tp, write_seq) - READ(tp, snd_una));
	__u64 control = !!(tag->flags & TAG_ACTIVE) + sent_fin(state);

	return written > control ? written - control : 0;
}

/* tcp_fin() sets SOCK_DONE as the peer's FIN is taken; the counters take it for a byte. */
static __always_inline __u32 got_fin(struct sock *sk)
{
	return has_flag(sk, bpf_core_enum_value(enum sock_flags, SOCK_DONE));
}

static __always_inline __u64 rx_payload(struct tcp_sock *tp, struct sock *sk)
{
	__u64 received = READ(tp, bytes_received), fin = got_fin(sk);

	return received > fin ? received - fin : 0;
}

/* tcp_chrono_stop() adds a phase when it ends; the running one is added here, as tcp_info does. */
static __always_inline void fill_chrono(struct socket_record *r, struct tcp_sock *tp)
{
	bool by_address = is_by_address();
	__u32 type = by_address ? BPF_CORE_READ_BITFIELD_PROBED(tp, chrono_type)
				: BPF_CORE_READ_BITFIELD(tp, chrono_type);
	__u32 running = (__u32)bpf_jiffies64() - READ(tp, chrono_start);

	r->jiffies = bpf_jiffies64();
	r->rwnd_limited = READ(tp, chrono_stat[TCP_CHRONO_RWND_LIMITED - 1]);
	r->sndbuf_limited = READ(tp, chrono_stat[TCP_CHRONO_SNDBUF_LIMITED - 1]);
	r->busy = READ(tp, chrono_stat[TCP_CHRONO_BUSY - 1]) + r->rwnd_limited + r->sndbuf_limited;
	if (type != TCP_CHRONO_UNSPEC)
		r->busy += running;
	if (type == TCP_CHRONO_RWND_LIMITED)
		r->rwnd_limited += running;
	if (type == TCP_CHRONO_SNDBUF_LIMITED)
		r->sndbuf_limited += running;
}

static __always_inline void fill(struct socket_record *r, struct sock *sk, struct tag *tag,
				 __u32 state, bool seldom)
{
	bool by_address = is_by_address();
	struct tcp_sock *tp = as_tcp(sk);

	__builtin_memset(r, 0, sizeof(*r));
	r->id = tag->id;
	r->owner = tag->owner;
	r->last_tgid = tag->last_tgid;
	r->flags =
		tag->flags | (tag->provisional ? TAG_PROVISIONAL : 0) | (tag->used ? TAG_USED : 0);
	r->state = state;
	fill_ends(&r->ends, sk, seldom);
	/* A TCP connection counts every pure ACK of its handshake and end as a drop. */
	if (!tp || state == TCP_LISTEN)
		r->drops = sock_drops(sk, follows_addresses(seldom));
	if (!tp)
		return;
	if (state == TCP_LISTEN) {
		r->queue_max = READ(sk, sk_max_ack_backlog);
		r->receive_queue = READ(sk, sk_ack_backlog);
		return;
	}
	r->receive_queue = READ(tp, rcv_nxt) - READ(tp, copied_seq);
	if (r->receive_queue)
		r->receive_queue -= got_fin(sk);
	r->send_queue = READ(tp, write_seq) - READ(tp, snd_una);
	r->srtt_us = READ(tp, srtt_us);
	r->rttvar_us = READ(tp, mdev_us);
	r->min_rtt_us = READ(tp, rtt_min.s[0].v);
	r->cwnd = READ(tp, snd_cwnd);
	r->ssthresh = READ(tp, snd_ssthresh);
	r->retransmits = READ(tp, total_retrans);
	r->lost = READ(tp, lost);
	r->delivered = READ(tp, delivered);
	r->segments_in = READ(tp, segs_in);
	r->segments_out = READ(tp, segs_out);
	r->pacing_rate = READ(sk, sk_pacing_rate);
	fill_chrono(r, tp);
	if (tag->flags & TAG_PER_CALL)
		return;
	r->rx_bytes = rx_payload(tp, sk);
	r->tx_bytes = tx_payload(tp, tag, state);
}

#endif
