// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * The socket table: which process each socket belongs to, and how many bytes it moved.
 *
 * The kernel counts every byte and segment of TCP in struct tcp_sock, so a TCP socket only gets a
 * tag with its owner and is read once a tick, in all network namespaces at once. What the kernel
 * doesn't count is counted per call, in `usage`, by (socket, process): other protocols, TCP sockets
 * of which another process than the owner makes use, and TCP sockets whose birth wasn't seen.
 *
 * Each of these is had in the cheapest way that this kernel allows; user space loads only that:
 * tp_btf, else fentry/fexit on the functions around the tracepoint, else kprobes. iter/task_file
 * tags what is open at the start. A listener's tag is cloned to the connections it accepts.
 *
 * Missed: splice() and TCP_ZEROCOPY_RECEIVE pass by the calls' hooks, so TCP bytes that move so are
 * the owner's; the destination of an unconnected UDP socket's datagrams.
 */
#include "sockets/calls.bpf.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

/* The walk over open files. */

SEC("iter/task_file")
int seed_sockets(struct bpf_iter__task_file *ctx)
{
	struct task_struct *task = ctx->task;
	struct file *file = ctx->file;
	struct socket_alloc *alloc;
	struct socket *socket;
	struct sock *sk;

	if (!file || !task)
		return 0;
	if (by_address) {
		/* bpf_sock_from_file() is as old as socket storage here. */
		if (file->f_inode->i_sb->s_magic != SOCKFS_MAGIC)
			return 0;
		alloc = container_of(file->f_inode, struct socket_alloc, vfs_inode);
		sk = BPF_CORE_READ(alloc, socket.sk);
	} else {
		socket = bpf_sock_from_file(file);
		if (!socket)
			return 0;
		sk = socket->sk;
	}
	if (sk)
		seed(sk, task);
	return 0;
}

/* The table, read once a tick. */

static __always_inline struct socket_record *next_record(void)
{
	__u32 zero = 0, i = records_read++;
	void *array;

	if (!outgrown)
		return bpf_map_lookup_elem(&first_records, &i);
	array = bpf_map_lookup_elem(&records, &zero);
	return array ? bpf_map_lookup_elem(array, &i) : NULL;
}

static __always_inline bool is_over(struct sock *sk, __u32 state)
{
	/* TCP goes on after close(); what else is closed only waits for RCU to free it. */
	return is_tcp(sk) ? state == TCP_CLOSE || is_subflow(sk) : is_dead(sk);
}

SEC("iter/bpf_sk_storage_map")
int read_sockets(struct bpf_iter__bpf_sk_storage_map *ctx)
{
	struct sock *sk = ctx->sk;
	struct tag *tag = ctx->value;
	struct socket_record *r;
	__u32 state;

	if (!sk || !tag || !tag->id)
		return 0;
	state = READ(sk, __sk_common.skc_state);
	if (is_over(sk, state))
		return 0;
	if (is_tcp(sk))
		mend(tag, state);
	r = next_record();
	if (r)
		fill(r, sk, tag, state, false);
	return 0;
}

__u32 addresses_walked = 0;

SEC("iter/bpf_map_elem")
int read_addresses(struct bpf_iter__bpf_map_elem *ctx)
{
	__u64 *key = ctx->key, address;
	struct tag *tag;
	struct socket_record *r;
	struct sock *sk;
	__u32 state;
	__u64 id;

	if (!key)
		return 0;
	addresses_walked++;
	address = *key;
	sk = (void *)address;
	tag = bpf_map_lookup_elem(&addresses, &address);
	id = tag ? tag->id : 0;
	if (!id)
		return 0;
	state = READ(sk, __sk_common.skc_state);
	if (is_over(sk, state)) {
		/* A kprobe that interrupts another isn't run, so an end may have been missed. */
		if (is_dead(sk) && !is_tcp(sk))
			drop_tag(sk);
		return 0;
	}
	r = next_record();
	if (!r)
		return 0;
	fill(r, sk, tag, state, false);
	/* The tag goes before the socket does: if it is still there, that was the socket. */
	tag = bpf_map_lookup_elem(&addresses, &address);
	if (!tag || tag->id != id)
		records_read--;
	return 0;
}

/* TCP's births and ends. */

SEC("tp_btf/inet_sock_set_state")
int BPF_PROG(set_state, struct sock *sk, int from, int to)
{
	return change_state(sk, from, to);
}

SEC("tp_btf/inet_sock_set_state")
int BPF_PROG(set_state_first, struct sock *sk, int from, int to)
{
	return has_state_turn(FIRST, sk) ? change_state(sk, from, to) : 0;
}

SEC("tp_btf/inet_sock_set_state")
int BPF_PROG(set_state_second, struct sock *sk, int from, int to)
{
	return has_state_turn(SECOND, sk) ? change_state(sk, from, to) : 0;
}

SEC("fentry/inet_sk_set_state")
int BPF_PROG(fentry_set_state, struct sock *sk, int to)
{
	return change_state(sk, READ(sk, __sk_common.skc_state), to);
}

SEC("fentry/inet_sk_state_store")
int BPF_PROG(fentry_state_store, struct sock *sk, int to)
{
	return change_state(sk, READ(sk, __sk_common.skc_state), to);
}

SEC("kprobe")
int BPF_KPROBE(kprobe_set_state, struct sock *sk, int to)
{
	return change_state(sk, READ(sk, __sk_common.skc_state), to);
}

/* By address: who listens for a connection that arrives, and when an address is free again. */

static __always_inline int remember_listener(struct sock *sk)
{
	__u64 address = (__u64)sk;
	__u32 zero = 0;

	bpf_map_update_elem(&cloning, &zero, &address, BPF_ANY);
	return 0;
}

SEC("fentry/inet_csk_clone_lock")
int BPF_PROG(fentry_clone, struct sock *sk)
{
	return remember_listener(sk);
}

SEC("kprobe")
int BPF_KPROBE(kprobe_clone, struct sock *sk)
{
	return remember_listener(sk);
}

static __always_inline int destruct(struct sock *sk)
{
	struct tag *tag = find_tag(sk);
	struct tcp_sock *tp;

	if (!tag)
		return 0;
	/* A connection whose end was missed: a program that interrupts another one isn't run. */
	tp = as_tcp(sk);
	if (tp && READ(tp, segs_in) && !is_subflow(sk))
		report(sk, tag, SOCKET_CLOSED,
		       READ(sk, sk_shutdown) & SEND_SHUTDOWN ? TCP_LAST_ACK : TCP_CLOSE);
	drop_tag(sk);
	return 0;
}

SEC("fentry/inet_sock_destruct")
int BPF_PROG(fentry_destruct, struct sock *sk)
{
	return destruct(sk);
}

SEC("fentry/unix_sock_destructor")
int BPF_PROG(fentry_unix_destruct, struct sock *sk)
{
	return destruct(sk);
}

SEC("kprobe")
int BPF_KPROBE(kprobe_destruct, struct sock *sk)
{
	return destruct(sk);
}

/* Calls: after the fact, outside of the socket's lock. */

SEC("tp_btf/sock_send_length")
int BPF_PROG(sent, struct sock *sk, int ret, int flags)
{
	return !in_pairs || has_call_turn(FIRST) ? account(sk, ret, true, OWN_SENT) : 0;
}

SEC("tp_btf/sock_send_length")
int BPF_PROG(sent_second, struct sock *sk, int ret, int flags)
{
	return has_call_turn(SECOND) ? account(sk, ret, true, OWN_SENT_SECOND) : 0;
}

SEC("tp_btf/sock_recv_length")
int BPF_PROG(received, struct sock *sk, int ret, int flags)
{
	if (!is_received(flags) || (in_pairs && !has_call_turn(FIRST)))
		return 0;
	return account(sk, ret, false, OWN_RECEIVED);
}

SEC("tp_btf/sock_recv_length")
int BPF_PROG(received_second, struct sock *sk, int ret, int flags)
{
	if (!is_received(flags) || !has_call_turn(SECOND))
		return 0;
	return account(sk, ret, false, OWN_RECEIVED_SECOND);
}

/* socket.c calls these across files, so no compiler inlines them; all of inet passes by. */

#define SENT(function, slot)                                                                       \
	SEC("fexit/" #function)                                                                    \
	int BPF_PROG(fexit_##function, struct socket *socket, struct msghdr *msg, size_t size,     \
		     int ret)                                                                      \
	{                                                                                          \
		return account(socket->sk, ret, true, slot);                                       \
	}

#define RECEIVED(function, slot)                                                                   \
	SEC("fexit/" #function)                                                                    \
	int BPF_PROG(fexit_##function, struct socket *socket, struct msghdr *msg, size_t size,     \
		     int flags, int ret)                                                           \
	{                                                                                          \
		return is_received(flags) ? account(socket->sk, ret, false, slot) : 0;             \
	}

SENT(inet_sendmsg, OWN_SENT)
SENT(inet6_sendmsg, OWN_SENT6)
SENT(unix_stream_sendmsg, OWN_SENT)
SENT(unix_dgram_sendmsg, OWN_SENT)
RECEIVED(inet_recvmsg, OWN_RECEIVED)
RECEIVED(inet6_recvmsg, OWN_RECEIVED6)
RECEIVED(unix_stream_recvmsg, OWN_RECEIVED)
RECEIVED(unix_dgram_recvmsg, OWN_RECEIVED)

/* Without a sendpage of the protocol's own it comes by as a sendmsg. */
SEC("fexit/inet_sendpage")
int BPF_PROG(fexit_inet_sendpage, struct socket *socket, struct page *page, int offset, size_t size,
	     int flags, int ret)
{
	struct sock *sk = socket->sk;

	return has_sendpage(sk, by_address) ? account(sk, ret, true, OWN_PAGE) : 0;
}

SEC("kprobe")
int BPF_KPROBE(kprobe_send, struct socket *socket)
{
	return enter_call(READ(socket, sk), true, 0);
}

SEC("kprobe")
int BPF_KPROBE(kprobe_sendpage, struct socket *socket)
{
	struct sock *sk = READ(socket, sk);

	return has_sendpage(sk, by_address) ? enter_call(sk, true, 0) : 0;
}

SEC("kprobe")
int BPF_KPROBE(kprobe_receive, struct socket *socket, struct msghdr *msg, size_t size, int flags)
{
	return enter_call(READ(socket, sk), false, flags);
}

SEC("kretprobe")
int BPF_KRETPROBE(kretprobe_call, int ret)
{
	return return_call(ret, OWN_SENT, OWN_RECEIVED);
}

/*
 * A kretprobe watches only so many calls return at once, as few as there are CPUs on Linux 5.10. A
 * system call that made one such call returns what it did.
 */
SEC("raw_tp/sys_exit")
int raw_tp_returned(struct bpf_raw_tracepoint_args *ctx)
{
	struct pt_regs *regs = (void *)ctx->args[0];

	return return_system_call(syscall_of(regs), ctx->args[1]);
}

/* Children of the processes that are followed, and the ends of these. */

/* Process ids are used again, so one that is wholly dead leaves. */
static __always_inline int exit_of(struct task_struct *task)
{
	__u32 tgid = READ(task, tgid);
	int live =
		by_address ? BPF_CORE_READ(task, signal, live.counter) : task->signal->live.counter;

	if (!live)
		bpf_map_delete_elem(&tree, &tgid);
	return 0;
}

SEC("fentry/wake_up_new_task")
int BPF_PROG(fentry_forked, struct task_struct *child)
{
	return fork_of(bpf_get_current_pid_tgid() >> 32, READ(child, tgid));
}

SEC("kprobe")
int BPF_KPROBE(kprobe_forked, struct task_struct *child)
{
	return fork_of(bpf_get_current_pid_tgid() >> 32, READ(child, tgid));
}

SEC("tp_btf/sched_process_exit")
int BPF_PROG(exited, struct task_struct *task)
{
	return exit_of(task);
}

/* exit_files() also serves a fork that failed. */
SEC("fentry/exit_files")
int BPF_PROG(fentry_exited, struct task_struct *task)
{
	return task == current_task(by_address) ? exit_of(task) : 0;
}

SEC("kprobe")
int BPF_KPROBE(kprobe_exited, struct task_struct *task)
{
	return task == current_task(by_address) ? exit_of(task) : 0;
}
