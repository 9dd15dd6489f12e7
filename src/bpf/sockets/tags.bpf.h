/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Tags on sockets, from birth to end: in socket storage, or in a hash by address. */
#ifndef NETTRACE_SOCKETS_TAGS_BPF_H
#define NETTRACE_SOCKETS_TAGS_BPF_H

#include "read.bpf.h"

/* Whether a program of a pair is the one to work. The mark isn't 0. */
static __always_inline bool has_turn(enum turn turn, __u32 *turns, __u32 mark)
{
	__u32 *slot = &turns[mark % TURNS], other;

	if (turn == SECOND) {
		if (*slot == mark) {
			*slot = 0;
			return false;
		}
		__sync_fetch_and_add(&turns_made_up, 1);
		return true;
	}
	other = __sync_val_compare_and_swap(slot, 0, mark);
	/* Its own, if the second wasn't run the last time. */
	if (!other || other == mark)
		return true;
	__sync_fetch_and_add(&turns_deferred, 1);
	return false;
}

static __always_inline bool has_call_turn(enum turn turn)
{
	return has_turn(turn, call_turns, bpf_get_current_pid_tgid());
}

static __always_inline bool has_state_turn(enum turn turn, struct sock *sk)
{
	__u32 mark = bpf_get_socket_cookie(sk);

	return has_turn(turn, state_turns, mark ?: 1);
}

static __always_inline bool in_scope_netns(struct sock *sk)
{
	return !only_netns || netns_of(sk, reads_memory) == only_netns;
}

static __always_inline bool in_scope_process(__u32 tgid)
{
	return !only_tree || bpf_map_lookup_elem(&tree, &tgid);
}

static __always_inline bool in_scope_family(__u16 family)
{
	return is_inet(family) || (with_unix && family == AF_UNIX);
}

/*
 * Unique and a birth time at once: CLOCK_MONOTONIC in units of 64 ns, then 12 bits of the CPU. No
 * CPU makes two tags within 64 ns.
 */
static __always_inline __u64 new_id(void)
{
	return (bpf_ktime_get_ns() >> 6) << 12 | (bpf_get_smp_processor_id() & 0xfff);
}

static __always_inline void next_generation(void)
{
	__sync_fetch_and_add(&generation, 1);
}

static __always_inline void set_owner(struct tag *tag, struct task_struct *task)
{
	describe(&tag->owner, task, by_address);
	tag->last_tgid = tag->owner.tgid;
	next_generation();
}

/* By the current process. */
static __always_inline void take_over(struct tag *tag)
{
	describe_current(&tag->owner, reads_memory);
	tag->last_tgid = tag->owner.tgid;
	next_generation();
}

static __always_inline struct tag *find_tag(struct sock *sk)
{
	__u64 address = (__u64)sk;

	if (by_address)
		return bpf_map_lookup_elem(&addresses, &address);
	return bpf_sk_storage_get(&tags, sk, 0, 0);
}

static __always_inline void drop_tag(struct sock *sk)
{
	__u64 address = (__u64)sk;

	if (!by_address)
		bpf_sk_storage_delete(&tags, sk);
	else if (!bpf_map_delete_elem(&addresses, &address))
		__sync_fetch_and_add(&addresses_removed, 1);
	next_generation();
}

static __always_inline struct tag *room_for_tag(struct sock *sk)
{
	__u64 address = (__u64)sk;
	struct tag none = {}, *tag;

	if (!by_address)
		return bpf_sk_storage_get(&tags, sk, 0, BPF_LOCAL_STORAGE_GET_F_CREATE);
	tag = bpf_map_lookup_elem(&addresses, &address);
	if (tag)
		return tag;
	if (bpf_map_update_elem(&addresses, &address, &none, BPF_NOEXIST))
		return NULL;
	__sync_fetch_and_add(&addresses_made, 1);
	return bpf_map_lookup_elem(&addresses, &address);
}

/* Nobody's so far. */
static __always_inline struct tag *new_tag(struct sock *sk, __u32 flags)
{
	struct tag *tag = room_for_tag(sk);

	if (!tag) {
		lost(LOSS_SOCKET_STORAGE);
		return NULL;
	}
	tag->id = new_id();
	tag->flags = flags & ~(TAG_PROVISIONAL | TAG_USED);
	tag->provisional = !!(flags & TAG_PROVISIONAL);
	tag->used = 0;
	return tag;
}

/* The first to use it owns it; of two at once, one: not torn, not both. */
static __always_inline void claim(struct tag *tag)
{
	__u64 id = tag->id;
	__u8 yes = 1;

	if (bpf_map_update_elem(&claims, &id, &yes, BPF_NOEXIST))
		return;
	/* Another may have come and gone since we looked. */
	if (tag->provisional) {
		tag->provisional = 0;
		take_over(tag);
	}
	bpf_map_delete_elem(&claims, &id);
}

/* A connection that arrived begins with its listener's owner. */
static __always_inline void begin_accepted(struct tag *tag)
{
	tag->id = new_id();
	tag->last_tgid = tag->owner.tgid;
	tag->flags = 0;
	tag->provisional = 1;
	tag->used = 0;
	next_generation();
}

/* A connection that still has its listener's tag: its arrival was missed. */
static __always_inline void mend(struct tag *tag, __u32 state)
{
	if (tag->flags & TAG_LISTENER && state != TCP_LISTEN)
		begin_accepted(tag);
}

/* A socket that somebody holds open, found by a walk over all files. */
static __always_inline void seed(struct sock *sk, struct task_struct *task)
{
	__u32 tgid = READ(task, tgid), state;
	struct tcp_sock *tp;
	struct tag *tag;

	if (!in_scope_family(READ(sk, __sk_common.skc_family)))
		return;
	if (!in_scope_netns(sk) || !in_scope_process(tgid))
		return;
	state = READ(sk, __sk_common.skc_state);
	if (only_listeners && (!is_tcp(sk) || state != TCP_LISTEN))
		return;
	/* Its end is told, or its birth is to come. */
	if (is_tcp(sk) && state == TCP_CLOSE)
		return;
	tag = find_tag(sk);
	if (!tag) {
		tag = new_tag(sk, TAG_SEEDED | TAG_PROVISIONAL);
		if (!tag)
			return;
		set_owner(tag, task);
		tp = as_tcp(sk);
		if (!tp)
			return;
		if (state == TCP_LISTEN)
			tag->flags |= TAG_LISTENER;
		else if (was_active(tp, state))
			tag->flags |= TAG_ACTIVE;
	} else if (tag->owner.tgid == tgid) {
		/* A later walk: it may have another name or cgroup by now. */
		describe(&tag->owner, task, by_address);
	} else if (tag->provisional && state != TCP_LISTEN) {
		/* Accepted by another process than the one that listens, and not used yet. */
		set_owner(tag, task);
	}
}

static __always_inline void report(struct sock *sk, struct tag *tag, __u32 kind, __u32 state)
{
	struct socket_event *event = bpf_ringbuf_reserve(&socket_events, sizeof(*event), 0);
	__u64 wake = BPF_RB_NO_WAKEUP;

	if (!event) {
		lost(kind == SOCKET_CLOSED ? LOSS_CLOSE_RING : LOSS_BIRTH_RING);
		return;
	}
	event->time_ns = bpf_ktime_get_ns();
	event->kind = kind;
	event->error = READ(sk, sk_err);
	fill(&event->socket, sk, tag, state, true);
	if (bpf_ringbuf_query(&socket_events, BPF_RB_AVAIL_DATA) > ring_wakeup)
		wake = BPF_RB_FORCE_WAKEUP;
	bpf_ringbuf_submit(event, wake);
}

/* A connection that arrived, cloned from its listener: by the kernel, tag and all, or by us. */
static __always_inline void clone_tag(struct sock *sk)
{
	struct tag *tag, *listener_s;
	__u64 *listener;
	__u32 zero = 0;

	if (!by_address) {
		tag = find_tag(sk);
	} else {
		listener = bpf_map_lookup_elem(&cloning, &zero);
		if (!listener)
			return;
		listener_s = *listener ? bpf_map_lookup_elem(&addresses, listener) : NULL;
		*listener = 0;
		/* Whose it is isn't known without the hook on the cloning. */
		if (!listener_s && (only_tree || !in_scope_netns(sk)))
			return;
		tag = room_for_tag(sk);
		if (!tag) {
			lost(LOSS_SOCKET_STORAGE);
			return;
		}
		if (listener_s)
			tag->owner = listener_s->owner;
		else
			__builtin_memset(&tag->owner, 0, sizeof(tag->owner));
	}
	if (tag)
		begin_accepted(tag);
}

/* What inet_sock_set_state tells, or a hook on who calls it. */
static __always_inline int change_state(struct sock *sk, __u32 from, __u32 to)
{
	bool is_end = to == TCP_CLOSE;
	__u32 kind = SOCKET_CLOSED;
	struct tag *tag;

	if (!is_tcp(sk) || !in_scope_netns(sk))
		return 0;
	switch (to) {
	case TCP_ESTABLISHED:
		if (!with_births)
			break;
	case TCP_CLOSE:
		tag = find_tag(sk);
		if (!tag)
			break;
		mend(tag, from);
		if (!is_end)
			kind = tag->flags & TAG_ACTIVE ? SOCKET_CONNECTED : SOCKET_ACCEPTED;
		if (!is_subflow(sk))
			report(sk, tag, kind, is_end ? from : to);
		if (is_end)
			drop_tag(sk);
		break;
	case TCP_SYN_SENT:
	case TCP_LISTEN:
		if (only_listeners && to == TCP_SYN_SENT)
			break;
		/* In the context of the process that called connect() or listen(). */
		if (!in_scope_process(bpf_get_current_pid_tgid() >> 32))
			break;
		tag = new_tag(sk,
			      TAG_PROVISIONAL | (to == TCP_SYN_SENT ? TAG_ACTIVE : TAG_LISTENER));
		if (tag)
			take_over(tag);
		break;
	case TCP_SYN_RECV:
		/* Not where both ends connect to each other at once. */
		if (from != TCP_LISTEN)
			break;
		if (only_listeners)
			drop_tag(sk);
		else
			clone_tag(sk);
		break;
	}
	return 0;
}

#endif
