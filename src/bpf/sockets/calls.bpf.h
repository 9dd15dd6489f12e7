/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What a call sent or received: whose it is, and whether anybody else counts it. */
#ifndef NETTRACE_SOCKETS_CALLS_BPF_H
#define NETTRACE_SOCKETS_CALLS_BPF_H

#include "tags.bpf.h"

/* Not inlined into the path of every call: the new entry takes half of the stack to clear. */
static __noinline struct usage *first_use(struct tag *tag, struct sock *sk, struct usage_key *key)
{
	struct usage new = {.id = tag->id};

	describe_current(&new.user, reads_memory);
	fill_ends(&new.ends, sk, true);
	bpf_map_update_elem(&usage, key, &new, BPF_NOEXIST);
	tag->used = 1;
	return bpf_map_lookup_elem(&usage, key);
}

static __always_inline void add(struct usage *u, int bytes, bool sent)
{
	__sync_fetch_and_add(sent ? &u->tx_bytes : &u->rx_bytes, bytes);
}

static __always_inline void count(struct tag *tag, struct sock *sk, __u32 tgid, int bytes,
				  bool sent)
{
	struct usage_key key = {.tgid = tgid};
	struct usage *u;

	key.socket = by_address ? tag->id : bpf_get_socket_cookie(sk);
	u = bpf_map_lookup_elem(&usage, &key);
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
	struct usage_key key = {.tgid = tgid};
	struct usage *u;

	if (by_address)
		return false;
	key.socket = sk->__sk_common.skc_cookie.counter;
	u = key.socket ? bpf_map_lookup_elem(&usage, &key) : NULL;
	if (u)
		add(u, bytes, sent);
	return u;
}

/* The last one to use the socket, which has an entry. */
static __always_inline bool is_user(struct sock *sk, __u32 tgid)
{
	struct tag *tag = find_tag(sk);

	return tag && tag->used && tag->last_tgid == tgid;
}

/*
 * By what it is known again, 0: by nothing. A TCP socket's end is told, and then its address may be
 * another's; what tells nothing of its end is known by its cookie, if it has one.
 */
static __always_inline __u64 own_mark(struct sock *sk, bool tcp)
{
	return tcp ? (__u64)sk : READ(sk, __sk_common.skc_cookie.counter);
}

static __always_inline struct own_socket *own_slot_of(enum own_slot slot)
{
	__u32 cpu = bpf_get_smp_processor_id();

	if (cpu >= OWN_SOCKET_CPUS)
		return NULL;
	/* Clang may take the address first; then the verifier doesn't know its bound. */
	asm volatile("%0 &= %1" : "+r"(cpu) : "i"(OWN_SOCKET_CPUS - 1));
	return &own_sockets[slot][cpu];
}

static __always_inline void keep_own(struct own_socket *own, __u64 mark, __u32 tgid, __u32 now)
{
	if (!own)
		return;
	own->mark = mark;
	own->tgid = tgid;
	own->generation = now;
}

static __always_inline int account(struct sock *sk, int bytes, bool sent, enum own_slot slot)
{
	__u16 family = READ(sk, __sk_common.skc_family);
	__u32 tgid = bpf_get_current_pid_tgid() >> 32;
	struct own_socket *own = NULL;
	bool tcp = is_tcp(sk);
	struct tag *tag;
	__u64 mark = 0;
	__u32 now = 0;

	if (bytes < 0 || (tcp && !bytes))
		return 0;
	if (tcp || only_owners) {
		mark = own_mark(sk, tcp);
		own = own_slot_of(slot);
		now = generation;
		if (own && mark && own->mark == mark && own->tgid == tgid && own->generation == now)
			return 0;
		if (!tcp && is_user(sk, tgid)) {
			keep_own(own, mark, tgid, now);
			return 0;
		}
	} else if (count_again(sk, tgid, bytes, sent)) {
		return 0;
	}
	if (!in_scope_family(family))
		return 0;
	tag = find_tag(sk);
	if (!tag) {
		if (!in_scope_netns(sk) || !in_scope_process(tgid))
			return 0;
		/* Its end is told already; what it still reads was counted as it arrived. */
		if (tcp && READ(sk, __sk_common.skc_state) == TCP_CLOSE)
			return 0;
		tag = new_tag(sk, TAG_PROVISIONAL | (tcp ? TAG_PER_CALL : 0));
		if (!tag)
			return 0;
	}
	if (tcp)
		mend(tag, READ(sk, __sk_common.skc_state));
	if (tag->provisional)
		claim(tag);
	if (tag->last_tgid != tgid) {
		tag->last_tgid = tgid;
		next_generation();
	}
	if (tcp && tag->owner.tgid == tgid && !(tag->flags & TAG_PER_CALL)) {
		keep_own(own, mark, tgid, now);
		return 0;
	}
	count(tag, sk, tgid, bytes, sent);
	return 0;
}

/* Peeked bytes will be read again; those of the error queue were sent, not received. */
static __always_inline bool is_received(int flags)
{
	return !(flags & (MSG_PEEK | MSG_ERRQUEUE));
}

/* A kprobe's half of a call; the return probe has the rest. */
static __always_inline int enter_call(struct sock *sk, bool sent, int flags)
{
	__u64 id = bpf_get_current_pid_tgid();
	struct call call = {.sk = (__u64)sk, .flags = flags, .sent = sent};

	/* Its last call never returned, as far as we were told. */
	if (bpf_map_lookup_elem(&calls, &id))
		lost(LOSS_CALL_RETURN);
	if (bpf_map_update_elem(&calls, &id, &call, BPF_ANY))
		lost(LOSS_CALL_RETURN);
	return 0;
}

static __always_inline int return_call(int bytes, enum own_slot sent, enum own_slot received)
{
	__u64 id = bpf_get_current_pid_tgid();
	struct call *entry = bpf_map_lookup_elem(&calls, &id), call;

	if (!entry)
		return 0;
	call = *entry;
	bpf_map_delete_elem(&calls, &id);
	if (call.sent)
		return account((struct sock *)call.sk, bytes, true, sent);
	if (!is_received(call.flags))
		return 0;
	return account((struct sock *)call.sk, bytes, false, received);
}

/* A system call is over, and so is the call in it whose return wasn't told. */
static __always_inline int return_system_call(long nr, long result)
{
	__u64 id = bpf_get_current_pid_tgid();

	/* Numbers mean other calls there. */
	if (is_compat(current_task(by_address), by_address))
		nr = -1;
	switch (nr) {
	case SYS_READ:
	case SYS_WRITE:
	case SYS_READV:
	case SYS_WRITEV:
	case SYS_SENDTO:
	case SYS_RECVFROM:
	case SYS_SENDMSG:
	case SYS_RECVMSG:
		return return_call(result, OWN_SENT_EXIT, OWN_RECEIVED_EXIT);
	default:
		/* What it returns isn't what its calls did. */
		if (!bpf_map_delete_elem(&calls, &id))
			lost(LOSS_CALL_RETURN);
	}
	return 0;
}

#endif
