// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * The socket table: which process each socket belongs to, and how many bytes it moved.
 *
 * The kernel counts every byte and segment of TCP in struct tcp_sock, so a TCP socket only gets a
 * tag with its owner and is read once a tick, in all network namespaces at once. What the kernel
 * doesn't count is counted per call, in `usage`, by (socket, process): other protocols, TCP sockets
 * of which another process than the owner makes use, and TCP sockets whose birth wasn't seen.
 *
 * Hooks: iter/task_file tags what is open at the start; tp_btf/inet_sock_set_state sees TCP births
 * and ends; tp_btf/sock_send_length and sock_recv_length see each call's result, after the fact
 * and outside of the socket's lock. A listener's tag is cloned to the connections it accepts.
 *
 * Missed: splice() and TCP_ZEROCOPY_RECEIVE pass by the two calls' hooks, so TCP bytes that move
 * so are the owner's; the destination of an unconnected UDP socket's datagrams.
 */
#include "nettrace.bpf.h"
#include "compat.bpf.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

/* The wakeup threshold and this make the ring a few seconds deep at thousands of closes/s. */
#define RING_BYTES    (1 << 20)
#define USAGE_ENTRIES (1 << 17)
#define TREE_ENTRIES  (1 << 14)
#define FIRST_RECORDS 4096

/* Narrow what is recorded; the verifier removes what is off. */
const volatile __u32 only_netns = 0;	  /* inode of the one network namespace, 0: all */
const volatile bool only_tree = false;	  /* only what processes in `tree` touch */
const volatile bool follow_forks = false; /* children of processes in `tree` join it */
const volatile bool with_unix = false;
const volatile __u64 ring_wakeup = RING_BYTES / 4;

enum tag_flags {
	TAG_SEEDED = 1,	     /* was open before us: what it counted until the first read is old */
	TAG_PROVISIONAL = 2, /* the owner opened or inherited it, but hasn't used it yet */
	TAG_ACTIVE = 4,	     /* sent the SYN, which bytes_acked counts */
	TAG_PER_CALL = 8,    /* TCP found in mid-life: kernel counters are not ours to use */
	TAG_USED = 16,	     /* has entries in `usage` */
};

/* 56 bytes, so that a tag with its header fits kmalloc's 128. */
struct tag {
	__u64 id; /* see new_id() */
	struct process owner;
	__u32 last_tgid; /* who used it last */
	__u32 flags;
};

/* Addresses are IPv6 or v4-mapped; ports in host order. */
struct endpoints {
	__u8 local[16];
	__u8 remote[16];
	__u16 local_port;
	__u16 remote_port;
	__u32 netns;
	__u16 family;
	__u16 protocol;
};

/* One socket, as read once a tick or at its end. Fields from `srtt_us` on are TCP's. */
struct socket_record {
	__u64 id;
	struct process owner;
	struct endpoints ends;
	__u32 last_tgid;
	__u32 flags;
	__u32 state;	     /* enum tcp_state, before the end if it ended */
	__u32 drops;	     /* sk_drops */
	__u32 queue_max;     /* listeners: sk_max_ack_backlog */
	__u32 receive_queue; /* bytes not read yet; listeners: connections not accepted */
	__u32 send_queue;    /* bytes not acknowledged yet */
	__u32 srtt_us;	     /* as in tcp_sock, << 3 */
	__u32 rttvar_us;     /* as in tcp_sock, << 2 */
	__u32 min_rtt_us;
	__u32 cwnd;
	__u32 ssthresh;
	__u32 retransmits;
	__u32 lost;
	__u32 delivered;
	__u32 segments_in;
	__u32 segments_out;
	__u32 busy;	      /* jiffies with data to send ... */
	__u32 rwnd_limited;   /* ... of them held by the receiver's window ... */
	__u32 sndbuf_limited; /* ... and by the send buffer */
	__u32 jiffies;
	__u64 pacing_rate;
	__u64 rx_bytes; /* payload that arrived */
	__u64 tx_bytes; /* payload that was handed to the socket */
};

struct usage_key {
	__u64 cookie; /* the socket's own, since looking a tag up costs more than this entry */
	__u32 tgid;
	__u32 pad;
};

struct usage {
	__u64 id; /* the tag's */
	__u64 rx_bytes;
	__u64 tx_bytes;
	struct process user;
	struct endpoints ends;
};

struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC | BPF_F_CLONE);
	__type(key, int);
	__type(value, struct tag);
} tags SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, USAGE_ENTRIES);
	__type(key, struct usage_key);
	__type(value, struct usage);
} usage SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, RING_BYTES);
} closed SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, TREE_ENTRIES);
	__type(key, __u32);
	__type(value, __u8);
} tree SEC(".maps");

/*
 * The iterator writes into an array that user space maps, not into its seq_file: whenever the
 * latter's 32 KiB are full the kernel resumes by walking the bucket from its head, which made
 * 100,000 sockets on two CPUs cost 220 ms in place of 40. User space swaps in a larger array when
 * the table outgrows it.
 */
struct records_array {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE | BPF_F_INNER_MAP);
	__uint(max_entries, FIRST_RECORDS);
	__type(key, __u32);
	__type(value, struct socket_record);
} first_records SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, 1);
	__type(key, __u32);
	__array(values, struct records_array);
} records SEC(".maps");

__u32 records_read = 0; /* sockets seen by this read, also those that had no room */
bool outgrown = false;	/* the array is in `records`; putting one there waits for RCU */

/*
 * The last TCP socket that each CPU found to be its caller's own, so that the next call on it needs
 * no look-up. Whatever could make that untrue moves the generation on. One for each direction: a
 * program never interrupts itself, so nobody sees a half-written one.
 */
struct own_socket {
	__u64 sk;
	__u32 tgid;
	__u32 generation;
	__u64 pad[6]; /* a cache line */
};

#define OWN_SOCKET_CPUS 256
struct own_socket own_sockets[2][OWN_SOCKET_CPUS] = {};
__u32 generation = 1;

/* For the skeleton: types that no map names, or that clang 14 only declares in the inner map. */
struct socket_record _socket_record = {};
enum tag_flags _tag_flags = 0;
enum loss _loss = 0;

static __always_inline bool is_inet(__u16 family)
{
	return family == AF_INET || family == AF_INET6;
}

/* The TCP under an MPTCP socket, whose bytes are counted there, by calls. */
static __always_inline bool is_subflow(struct sock *sk)
{
	struct tcp_sock *tp = bpf_skc_to_tcp_sock(sk);

	return tp && bpf_core_field_exists(tp->is_mptcp) && tp->is_mptcp;
}

static __always_inline bool is_dead(const struct sock *sk)
{
	return sk->__sk_common.skc_flags >> bpf_core_enum_value(enum sock_flags, SOCK_DEAD) & 1;
}

static __always_inline bool in_scope_netns(const struct sock *sk)
{
	return !only_netns || sk->__sk_common.skc_net.net->ns.inum == only_netns;
}

static __always_inline bool in_scope_process(__u32 tgid)
{
	return !only_tree || bpf_map_lookup_elem(&tree, &tgid);
}

/*
 * Unique and a birth time at once: CLOCK_MONOTONIC in units of 64 ns, then 12 bits of the CPU. No
 * CPU makes two tags within 64 ns.
 */
static __always_inline __u64 new_id(void)
{
	return (bpf_ktime_get_ns() >> 6) << 12 | (bpf_get_smp_processor_id() & 0xfff);
}

static __always_inline void describe(struct process *p, struct task_struct *task)
{
	struct task_struct *leader = task->group_leader;

	p->start = leader->start_boottime;
	p->cgroup = task->cgroups->dfl_cgrp->kn->id;
	p->tgid = task->tgid;
	p->uid = task->cred->uid.val;
	BPF_CORE_READ_STR_INTO(&p->comm, leader, comm);
}

static __always_inline void next_generation(void)
{
	__sync_fetch_and_add(&generation, 1);
}

static __always_inline void set_owner(struct tag *tag, struct task_struct *task)
{
	describe(&tag->owner, task);
	tag->last_tgid = tag->owner.tgid;
	next_generation();
}

static __always_inline struct tag *new_tag(struct sock *sk, struct task_struct *task, __u32 flags)
{
	struct tag *tag = bpf_sk_storage_get(&tags, sk, 0, BPF_LOCAL_STORAGE_GET_F_CREATE);

	if (!tag) {
		lost(LOSS_SOCKET_STORAGE);
		return NULL;
	}
	tag->id = new_id();
	tag->flags = flags;
	set_owner(tag, task);
	return tag;
}

static __always_inline void fill_ends(struct endpoints *e, struct sock *sk)
{
	struct sock_common *c = &sk->__sk_common;

	e->family = c->skc_family;
	e->protocol = sk->sk_protocol;
	e->netns = c->skc_net.net->ns.inum;
	if (e->family == AF_INET6) {
		BPF_CORE_READ_INTO(&e->local, c, skc_v6_rcv_saddr.in6_u.u6_addr8);
		BPF_CORE_READ_INTO(&e->remote, c, skc_v6_daddr.in6_u.u6_addr8);
	} else if (e->family == AF_INET) {
		__builtin_memset(e->local, 0, 10);
		__builtin_memset(e->local + 10, 0xff, 2);
		__builtin_memcpy(e->local + 12, &(__u32){c->skc_rcv_saddr}, 4);
		__builtin_memset(e->remote, 0, 10);
		__builtin_memset(e->remote + 10, 0xff, 2);
		__builtin_memcpy(e->remote + 12, &(__u32){c->skc_daddr}, 4);
	} else {
		__builtin_memset(e->local, 0, 16);
		__builtin_memset(e->remote, 0, 16);
		e->local_port = 0;
		e->remote_port = 0;
		return;
	}
	e->local_port = c->skc_num;
	/* A bound port is given back, and skc_num with it, before the state becomes CLOSE. */
	if (!e->local_port)
		e->local_port = bpf_ntohs(BPF_CORE_READ((struct inet_sock *)sk, inet_sport));
	e->remote_port = bpf_ntohs(c->skc_dport);
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
	__u64 sequence = tp->bytes_acked + (__u32)(tp->snd_nxt - tp->snd_una);

	return sequence == tp->bytes_sent - tp->bytes_retrans + sent_fin(state) + 1;
}

/*
 * All that was written: what is acknowledged plus what is not yet. bytes_acked counts our SYN and
 * write_seq our FIN.
 */
static __always_inline __u64 tx_payload(struct tcp_sock *tp, struct tag *tag, __u32 state)
{
	__u64 written = tp->bytes_acked + (__u32)(tp->write_seq - tp->snd_una);
	__u64 control = !!(tag->flags & TAG_ACTIVE) + sent_fin(state);

	return written > control ? written - control : 0;
}

/* tcp_fin() sets SOCK_DONE as the peer's FIN is taken; the counters take it for a byte. */
static __always_inline __u32 got_fin(struct sock *sk)
{
	return sk->__sk_common.skc_flags >> bpf_core_enum_value(enum sock_flags, SOCK_DONE) & 1;
}

static __always_inline __u64 rx_payload(struct tcp_sock *tp, struct sock *sk)
{
	__u64 fin = got_fin(sk);

	return tp->bytes_received > fin ? tp->bytes_received - fin : 0;
}

/* tcp_chrono_stop() adds a phase when it ends; the running one is added here, as tcp_info does. */
static __always_inline void fill_chrono(struct socket_record *r, struct tcp_sock *tp)
{
	__u32 type = BPF_CORE_READ_BITFIELD(tp, chrono_type);
	__u32 running = (__u32)bpf_jiffies64() - tp->chrono_start;

	r->jiffies = bpf_jiffies64();
	r->rwnd_limited = tp->chrono_stat[TCP_CHRONO_RWND_LIMITED - 1];
	r->sndbuf_limited = tp->chrono_stat[TCP_CHRONO_SNDBUF_LIMITED - 1];
	r->busy = tp->chrono_stat[TCP_CHRONO_BUSY - 1] + r->rwnd_limited + r->sndbuf_limited;
	if (type != TCP_CHRONO_UNSPEC)
		r->busy += running;
	if (type == TCP_CHRONO_RWND_LIMITED)
		r->rwnd_limited += running;
	if (type == TCP_CHRONO_SNDBUF_LIMITED)
		r->sndbuf_limited += running;
}

static __always_inline void fill(struct socket_record *r, struct sock *sk, struct tag *tag,
				 __u32 state)
{
	struct tcp_sock *tp = bpf_skc_to_tcp_sock(sk);

	__builtin_memset(r, 0, sizeof(*r));
	r->id = tag->id;
	r->owner = tag->owner;
	r->last_tgid = tag->last_tgid;
	r->flags = tag->flags;
	r->state = state;
	fill_ends(&r->ends, sk);
	/* A TCP connection counts every pure ACK of its handshake and end as a drop. */
	if (!tp || state == TCP_LISTEN)
		r->drops = sock_drops(sk);
	if (!tp)
		return;
	if (state == TCP_LISTEN) {
		r->queue_max = sk->sk_max_ack_backlog;
		r->receive_queue = sk->sk_ack_backlog;
		return;
	}
	r->receive_queue = tp->rcv_nxt - tp->copied_seq;
	if (r->receive_queue)
		r->receive_queue -= got_fin(sk);
	r->send_queue = tp->write_seq - tp->snd_una;
	r->srtt_us = tp->srtt_us;
	r->rttvar_us = tp->mdev_us;
	r->min_rtt_us = tp->rtt_min.s[0].v;
	r->cwnd = tp->snd_cwnd;
	r->ssthresh = tp->snd_ssthresh;
	r->retransmits = tp->total_retrans;
	r->lost = tp->lost;
	r->delivered = tp->delivered;
	r->segments_in = tp->segs_in;
	r->segments_out = tp->segs_out;
	r->pacing_rate = sk->sk_pacing_rate;
	fill_chrono(r, tp);
	if (tag->flags & TAG_PER_CALL)
		return;
	r->rx_bytes = rx_payload(tp, sk);
	r->tx_bytes = tx_payload(tp, tag, state);
}

SEC("iter/task_file")
int seed_sockets(struct bpf_iter__task_file *ctx)
{
	struct file *file = ctx->file;
	struct task_struct *task = ctx->task;
	struct socket *socket;
	struct tcp_sock *tp;
	struct tag *tag;
	struct sock *sk;
	__u16 family;

	if (!file || !task)
		return 0;
	socket = bpf_sock_from_file(file);
	if (!socket || !socket->sk)
		return 0;
	sk = socket->sk;
	family = sk->__sk_common.skc_family;
	if (!is_inet(family) && !(with_unix && family == AF_UNIX))
		return 0;
	if (!in_scope_netns(sk) || !in_scope_process(task->tgid))
		return 0;
	tag = bpf_sk_storage_get(&tags, sk, 0, 0);
	if (!tag) {
		tag = new_tag(sk, task, TAG_SEEDED | TAG_PROVISIONAL);
		tp = bpf_skc_to_tcp_sock(sk);
		if (tag && tp && was_active(tp, sk->__sk_common.skc_state))
			tag->flags |= TAG_ACTIVE;
	} else if (tag->owner.tgid == task->tgid) {
		/* A later walk: it may have another name or cgroup by now. */
		describe(&tag->owner, task);
	} else if (tag->flags & TAG_PROVISIONAL && sk->__sk_common.skc_state != TCP_LISTEN) {
		/* Accepted by another process than the one that listens, and not used yet. */
		set_owner(tag, task);
	}
	return 0;
}

SEC("iter/bpf_sk_storage_map")
int read_sockets(struct bpf_iter__bpf_sk_storage_map *ctx)
{
	struct sock *sk = ctx->sk;
	struct tag *tag = ctx->value;
	struct socket_record *r;
	__u32 state, zero = 0, i;
	void *array;

	if (!sk || !tag || !tag->id)
		return 0;
	state = sk->__sk_common.skc_state;
	/* TCP goes on after close(); what else is closed only waits for RCU to free it. */
	if (sk->sk_protocol == IPPROTO_TCP ? state == TCP_CLOSE || is_subflow(sk) : is_dead(sk))
		return 0;
	i = records_read++;
	if (outgrown) {
		array = bpf_map_lookup_elem(&records, &zero);
		r = array ? bpf_map_lookup_elem(array, &i) : NULL;
	} else {
		r = bpf_map_lookup_elem(&first_records, &i);
	}
	if (r)
		fill(r, sk, tag, state);
	return 0;
}

static __always_inline void report_end(struct sock *sk, struct tag *tag, __u32 state)
{
	struct socket_record *r = bpf_ringbuf_reserve(&closed, sizeof(*r), 0);
	__u64 wake = BPF_RB_NO_WAKEUP;

	if (!r) {
		lost(LOSS_CLOSE_RING);
		return;
	}
	fill(r, sk, tag, state);
	if (bpf_ringbuf_query(&closed, BPF_RB_AVAIL_DATA) > ring_wakeup)
		wake = BPF_RB_FORCE_WAKEUP;
	bpf_ringbuf_submit(r, wake);
}

static __always_inline void end_socket(struct sock *sk, __u32 state)
{
	struct tag *tag = bpf_sk_storage_get(&tags, sk, 0, 0);

	if (!tag)
		return;
	if (!is_subflow(sk))
		report_end(sk, tag, state);
	bpf_sk_storage_delete(&tags, sk);
	next_generation();
}

SEC("tp_btf/inet_sock_set_state")
int BPF_PROG(set_state, struct sock *sk, int oldstate, int newstate)
{
	struct tag *tag;

	if (sk->sk_protocol != IPPROTO_TCP || !in_scope_netns(sk))
		return 0;
	switch (newstate) {
	case TCP_CLOSE:
		end_socket(sk, oldstate);
		break;
	case TCP_SYN_SENT:
	case TCP_LISTEN:
		/* In the context of the process that called connect() or listen(). */
		if (in_scope_process(bpf_get_current_pid_tgid() >> 32))
			new_tag(sk, bpf_get_current_task_btf(),
				TAG_PROVISIONAL | (newstate == TCP_SYN_SENT ? TAG_ACTIVE : 0));
		break;
	case TCP_SYN_RECV:
		/* A connection that arrives, with a clone of its listener's tag. */
		tag = bpf_sk_storage_get(&tags, sk, 0, 0);
		if (tag) {
			tag->id = new_id();
			tag->last_tgid = tag->owner.tgid;
			tag->flags = TAG_PROVISIONAL;
			next_generation();
		}
		break;
	}
	return 0;
}

/* Not inlined into the path of every call: the new entry takes half of the stack to clear. */
static __noinline struct usage *first_use(struct tag *tag, struct sock *sk, struct usage_key *key)
{
	struct usage new = {.id = tag->id};

	describe(&new.user, bpf_get_current_task_btf());
	fill_ends(&new.ends, sk);
	bpf_map_update_elem(&usage, key, &new, BPF_NOEXIST);
	__sync_fetch_and_or(&tag->flags, TAG_USED);
	return bpf_map_lookup_elem(&usage, key);
}

static __always_inline void add(struct usage *u, int bytes, bool sent)
{
	__sync_fetch_and_add(sent ? &u->tx_bytes : &u->rx_bytes, bytes);
}

static __always_inline void count(struct tag *tag, struct sock *sk, __u32 tgid, int bytes,
				  bool sent)
{
	struct usage_key key = {.cookie = bpf_get_socket_cookie(sk), .tgid = tgid};
	struct usage *u = bpf_map_lookup_elem(&usage, &key);

	if (!u)
		u = first_use(tag, sk, &key);
	if (!u) {
		lost(LOSS_USAGE_TABLE);
		return;
	}
	add(u, bytes, sent);
}

/* A process that has used the socket before; TCP needs its tag all the same. */
static __always_inline bool count_again(struct sock *sk, __u32 tgid, int bytes, bool sent)
{
	struct usage_key key = {.cookie = sk->__sk_common.skc_cookie.counter, .tgid = tgid};
	struct usage *u = key.cookie ? bpf_map_lookup_elem(&usage, &key) : NULL;

	if (u)
		add(u, bytes, sent);
	return u;
}

static __always_inline int account(struct sock *sk, int bytes, bool sent)
{
	__u16 family = sk->__sk_common.skc_family;
	bool tcp = sk->sk_protocol == IPPROTO_TCP && family != AF_UNIX;
	__u32 tgid = bpf_get_current_pid_tgid() >> 32, flags;
	struct own_socket *own = NULL;
	__u32 now = 0, cpu;
	struct tag *tag;

	if (bytes < 0 || (tcp && !bytes))
		return 0;
	if (tcp) {
		cpu = bpf_get_smp_processor_id();
		now = generation;
		if (cpu < OWN_SOCKET_CPUS) {
			own = &own_sockets[sent][cpu];
			if (own->sk == (__u64)sk && own->tgid == tgid && own->generation == now)
				return 0;
		}
	} else if (count_again(sk, tgid, bytes, sent)) {
		return 0;
	}
	if (!is_inet(family) && !(with_unix && family == AF_UNIX))
		return 0;
	tag = bpf_sk_storage_get(&tags, sk, 0, 0);
	if (!tag) {
		if (!in_scope_netns(sk) || !in_scope_process(tgid))
			return 0;
		/* Its end is told already; what it still reads was counted as it arrived. */
		if (tcp && sk->__sk_common.skc_state == TCP_CLOSE)
			return 0;
		tag = new_tag(sk, bpf_get_current_task_btf(), tcp ? TAG_PER_CALL : 0);
		if (!tag)
			return 0;
	}
	flags = tag->flags;
	if (flags & TAG_PROVISIONAL) {
		/* The first to use it owns it; of two at once, one. */
		if (__sync_val_compare_and_swap(&tag->flags, flags, flags & ~TAG_PROVISIONAL) ==
		    flags)
			set_owner(tag, bpf_get_current_task_btf());
	}
	if (tag->last_tgid != tgid) {
		tag->last_tgid = tgid;
		next_generation();
	}
	if (tcp && tag->owner.tgid == tgid && !(flags & TAG_PER_CALL)) {
		if (own) {
			own->sk = (__u64)sk;
			own->tgid = tgid;
			own->generation = now;
		}
		return 0;
	}
	count(tag, sk, tgid, bytes, sent);
	return 0;
}

SEC("tp_btf/sock_send_length")
int BPF_PROG(sent, struct sock *sk, int ret, int flags)
{
	return account(sk, ret, true);
}

SEC("tp_btf/sock_recv_length")
int BPF_PROG(received, struct sock *sk, int ret, int flags)
{
	/* Peeked bytes will be read again; those of the error queue were sent, not received. */
	if (flags & (MSG_PEEK | MSG_ERRQUEUE))
		return 0;
	return account(sk, ret, false);
}

SEC("tp_btf/sched_process_fork")
int BPF_PROG(forked, struct task_struct *parent, struct task_struct *child)
{
	__u32 tgid = parent->tgid;
	__u8 yes = 1;

	if (child->tgid == tgid || !bpf_map_lookup_elem(&tree, &tgid))
		return 0;
	tgid = child->tgid;
	if (bpf_map_update_elem(&tree, &tgid, &yes, BPF_ANY))
		lost(LOSS_TREE_TABLE);
	return 0;
}

SEC("tp_btf/sched_process_exit")
int BPF_PROG(exited, struct task_struct *task)
{
	__u32 tgid = task->tgid;

	/* Process ids are used again, so one that is wholly dead leaves. */
	if (!task->signal->live.counter)
		bpf_map_delete_elem(&tree, &tgid);
	return 0;
}
