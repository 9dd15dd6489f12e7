// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * The system-call probe: what each thread called how often, how long it took, and how it failed.
 *
 * sys_enter notes the time in the thread's task storage; sys_exit adds to the slot of this thread
 * and call, which it finds by a table in the same storage. A thread alone writes its slots, so
 * there is neither a lock nor an atomic in the way; user space maps the slots and only reads.
 *
 * A call without an entry began before us, and counts without a duration. The child's return from
 * fork() isn't a call of its own. A call that never returns is counted as its thread ends. A
 * restarted call counts as often as it returned, with the kernel's own errno (ERESTARTSYS, …).
 */
#include "syscalls/slots.bpf.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

static __always_inline bool is_wanted(__u32 call)
{
	__u32 number = call & CALL_NUMBER;
	__u32 compat = !!(call & CALL_COMPAT);

	if (!only_wanted)
		return true;
	if (number >= 64 * 16)
		return false;
	return wanted[compat][number / 64 & 15] >> (number & 63) & 1;
}

static __always_inline bool failed(long result)
{
	return result < 0 && result >= -4095;
}

static __always_inline void report_slow(struct thread *t, __u32 call, long result, __u64 duration,
					__u64 began, void *ctx)
{
	struct slow_call *slow = bpf_ringbuf_reserve(&slow_calls, sizeof(*slow), 0);

	if (!slow) {
		lost(LOSS_SLOW_RING);
		return;
	}
	describe(&slow->process, current_task(by_thread), by_thread);
	slow->tid = bpf_get_current_pid_tgid();
	slow->call = call;
	slow->began_ns = began;
	slow->duration_ns = duration;
	slow->result = result;
	__builtin_memcpy(slow->args, t->args, sizeof(slow->args));
	slow->asleep_ns = t->asleep_ns;
	slow->user_stack = slow->kernel_stack = -1;
	if (with_stacks) {
		slow->user_stack = bpf_get_stackid(ctx, &stacks, BPF_F_USER_STACK);
		slow->kernel_stack = t->longest_ns ? t->longest_stack : -1;
	}
	bpf_ringbuf_submit(slow, bpf_ringbuf_query(&slow_calls, BPF_RB_AVAIL_DATA) < ring_wakeup
					 ? BPF_RB_NO_WAKEUP
					 : BPF_RB_FORCE_WAKEUP);
}

/* A command counts from the execve on that it begins with. */
static __always_inline void release(void)
{
	__u32 tgid = bpf_get_current_pid_tgid() >> 32;
	__u8 *follow = only_tree ? bpf_map_lookup_elem(&tree, &tgid) : NULL;

	if (follow)
		*follow = FOLLOW;
}

/* The few returns that mean more; false for the child's part of a fork, which isn't a call. */
static __always_inline bool is_own(struct task_struct *task, __u32 call, long result)
{
	if (result)
		return true;
	if (is_fork(call))
		return false;
	if (is_exec(call)) {
		release();
		rename_thread(find_thread(task));
	}
	return true;
}

static __always_inline bool is_counted(struct thread *t, struct task_struct *task, __u32 call,
				       long result)
{
	if (has_scope && judge(t, task) != SCOPE_IN)
		return false;
	return is_wanted(call) && (!errors_only || failed(result));
}

static __always_inline struct call_slot *count(struct thread *t, __u32 call, long result)
{
	struct call_slot *slot = find_slot(t, call);

	if (!slot)
		return NULL;
	slot->calls++;
	if (failed(result))
		count_errno(slot, -result);
	return slot;
}

/* Notes a begin; the thread, if it is in scope. */
static __always_inline struct thread *enter(long id)
{
	struct task_struct *task = current_task(by_thread);
	struct thread *t = make_thread(task);

	if (!t)
		return NULL;
	if (has_scope && judge(t, task) == SCOPE_OUT)
		return NULL;
	t->call = call_of(task, id);
	if (with_stacks)
		t->asleep_ns = t->longest_ns = 0;
	t->entered_ns = bpf_ktime_get_ns();
	return t;
}

/* Also for a call that began before us. */
static __always_inline int count_untimed(long id, struct task_struct *task, long result)
{
	__u32 call = call_of(task, id);
	struct thread *t;

	if (!is_own(task, call, result))
		return 0;
	t = make_thread(task);
	if (t && is_counted(t, task, call, result))
		count(t, call, result);
	return 0;
}

static __always_inline int leave(void *ctx, long id, long result)
{
	struct task_struct *task = current_task(by_thread);
	struct thread *t = find_thread(task);
	struct call_slot *slot;
	__u64 began, duration;
	__u32 call;

	if (!t || !t->entered_ns)
		return count_untimed(id, task, result);
	began = t->entered_ns;
	duration = bpf_ktime_get_ns() - began;
	t->entered_ns = 0;
	call = t->call;
	if (!is_own(task, call, result) || !is_counted(t, task, call, result))
		return 0;
	slot = count(t, call, result);
	if (!slot)
		return 0;
	slot->total_ns += duration;
	if (duration > slot->max_ns)
		slot->max_ns = duration;
	slot->buckets[bucket_of(duration)]++;
	if (slower_than_ns && duration >= slower_than_ns)
		report_slow(t, call, result, duration, began, ctx);
	return 0;
}

SEC("tp_btf/sys_enter")
int BPF_PROG(entered, struct pt_regs *regs, long id)
{
	struct thread *t = enter(id);

	if (slower_than_ns && t)
		arguments_of(regs, t->call & CALL_COMPAT, t->args);
	return 0;
}

SEC("tp_btf/sys_exit")
int BPF_PROG(returned, struct pt_regs *regs, long result)
{
	return leave(ctx, number_of(regs), result);
}

SEC("tp_btf/sys_exit")
int BPF_PROG(counted, struct pt_regs *regs, long result)
{
	return count_untimed(number_of(regs), current_task(by_thread), result);
}

/*
 * By perf's way to the same tracepoints, which costs more. But programs on it are never preempted:
 * since Linux 7.0 those above are, and the kernel doesn't run a program for a task while another
 * one was preempted inside of it, which busy threads are half of the time.
 */

/* Without relocations, after which no field of a context may be read. */
struct perf_sys_enter {
	__u64 common;
	long id;
	__u64 args[6];
};

struct perf_sys_exit {
	__u64 common;
	long id;
	long result;
};

SEC("tracepoint")
int perf_entered(struct perf_sys_enter *ctx)
{
	struct thread *t = enter(ctx->id);

	if (slower_than_ns && t)
		__builtin_memcpy(t->args, ctx->args, sizeof(t->args));
	return 0;
}

SEC("tracepoint")
int perf_returned(struct perf_sys_exit *ctx)
{
	return leave(ctx, ctx->id, ctx->result);
}

SEC("tracepoint")
int perf_counted(struct perf_sys_exit *ctx)
{
	return count_untimed(ctx->id, current_task(by_thread), ctx->result);
}

/* With stacks: where a call sleeps. */
SEC("tp_btf/sched_switch")
int BPF_PROG(switched, bool preempt, struct task_struct *prev, struct task_struct *next)
{
	__u64 now = 0, away;
	struct thread *t;

	t = thread_of(prev);
	if (t && t->entered_ns) {
		t->left_ns = now = bpf_ktime_get_ns();
		t->left_stack = bpf_get_stackid(ctx, &stacks, 0);
	}
	t = thread_of(next);
	if (!t || !t->entered_ns || t->left_ns < t->entered_ns)
		return 0;
	away = (now ?: bpf_ktime_get_ns()) - t->left_ns;
	t->asleep_ns += away;
	if (away > t->longest_ns) {
		t->longest_ns = away;
		t->longest_stack = t->left_stack;
	}
	return 0;
}

/* What follows may run twice for an event: where programs can be preempted, there are two. */

static __always_inline int fork_of(struct task_struct *parent, struct task_struct *child)
{
	__u32 tgid = parent->tgid, pid = child->tgid;
	__u8 *follow = bpf_map_lookup_elem(&tree, &tgid), copy;

	if (pid == tgid || !follow)
		return 0;
	copy = *follow;
	if (bpf_map_update_elem(&tree, &pid, &copy, BPF_ANY))
		lost(LOSS_TREE_TABLE);
	return 0;
}

SEC("tp_btf/sched_process_fork")
int BPF_PROG(forked, struct task_struct *parent, struct task_struct *child)
{
	return fork_of(parent, child);
}

SEC("tp_btf/sched_process_fork")
int BPF_PROG(forked_second, struct task_struct *parent, struct task_struct *child)
{
	return fork_of(parent, child);
}

/* The call that a thread ends in, which won't return. */
static __always_inline void count_last(struct thread *t, struct task_struct *task)
{
	__u32 call;

	if (has_scope && t->scope != SCOPE_IN)
		return;
	if (count_only) {
		call = call_of(task, number_at_end(task));
		if (!is_exit(call))
			return;
	} else {
		if (!t->entered_ns)
			return;
		t->entered_ns = 0;
		call = t->call;
	}
	if (is_wanted(call) && !errors_only)
		count(t, call, 0);
}

static __always_inline int exit_of(struct task_struct *task)
{
	struct thread *t = find_thread(task);
	bool is_last = !task->signal->live.counter;
	__u32 tgid = task->tgid, tid = task->pid;
	struct thread_slot *who;

	if (t && !t->ended) {
		count_last(t, task);
		t->ended = true;
		who = t->slot ? (void *)slot_at(t->slot) : NULL;
		if (who) {
			who->process_ended = is_last;
			who->ended = true;
		}
	}
	if (by_thread)
		bpf_map_delete_elem(&threads, &tid);
	if (only_tree && is_last)
		bpf_map_delete_elem(&tree, &tgid);
	return 0;
}

SEC("tp_btf/sched_process_exit")
int BPF_PROG(exited, struct task_struct *task)
{
	return exit_of(task);
}

SEC("tp_btf/sched_process_exit")
int BPF_PROG(exited_second, struct task_struct *task)
{
	return exit_of(task);
}
