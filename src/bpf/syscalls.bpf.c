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

static __always_inline void fill_slow(struct slow_call *slow, struct thread *t, __u32 call,
				      long result, __u64 duration, __u64 began)
{
	describe_current(&slow->process, reads_memory);
	slow->tid = bpf_get_current_pid_tgid();
	slow->call = call;
	slow->began_ns = began;
	slow->duration_ns = duration;
	slow->asleep_ns = 0;
	slow->result = result;
	__builtin_memcpy(slow->args, t->args, sizeof(slow->args));
}

static __always_inline __u64 slow_wakeup(void)
{
	return bpf_ringbuf_query(&slow_calls, BPF_RB_AVAIL_DATA) < ring_wakeup
		       ? BPF_RB_NO_WAKEUP
		       : BPF_RB_FORCE_WAKEUP;
}

static __always_inline void report_with_stacks(void *ctx, struct thread *t, __u32 call, long result,
					       __u64 duration, __u64 began)
{
	struct slow_call_with_stacks *slow;
	struct sleep *sleep;

	slow = bpf_ringbuf_reserve(&slow_calls, sizeof(*slow), 0);
	if (!slow) {
		lost(LOSS_SLOW_RING);
		return;
	}
	fill_slow(&slow->slow, t, call, result, duration, began);
	slow->user_depth = bpf_get_stack(ctx, slow->user, sizeof(slow->user), BPF_F_USER_STACK);
	slow->kernel_depth = 0;
	sleep = find_sleep(current_task(by_thread));
	if (sleep && sleep->left_ns >= began) {
		slow->slow.asleep_ns = sleep->asleep_ns;
		slow->kernel_depth = sleep->depth;
		__builtin_memcpy(slow->kernel, sleep->stack, sizeof(slow->kernel));
	}
	bpf_ringbuf_submit(slow, slow_wakeup());
}

static __always_inline void report_slow(void *ctx, struct thread *t, __u32 call, long result,
					__u64 duration, __u64 began)
{
	struct slow_call *slow;

	if (with_stacks) {
		report_with_stacks(ctx, t, call, result, duration, began);
		return;
	}
	slow = bpf_ringbuf_reserve(&slow_calls, sizeof(*slow), 0);
	if (!slow) {
		lost(LOSS_SLOW_RING);
		return;
	}
	fill_slow(slow, t, call, result, duration, began);
	bpf_ringbuf_submit(slow, slow_wakeup());
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
	struct thread *t;

	if (result)
		return true;
	switch (meaning_of(call)) {
	case MEANS_CHILD:
		return false;
	case MEANS_EXEC:
		release();
		rename_thread(find_thread(task));
		break;
	case MEANS_IDENTITY:
		t = has_scope ? find_thread(task) : NULL;
		if (t)
			t->scope = SCOPE_UNKNOWN;
		break;
	}
	return true;
}

static __always_inline bool is_asked_for(__u32 call, long result)
{
	return is_wanted(call) && (!errors_only || failed(result));
}

static __always_inline struct call_slot *begin_count(struct thread *t, __u32 call, long result)
{
	struct call_slot *slot = find_slot(t, call);

	if (slot && failed(result))
		count_errno(slot, -result);
	return slot;
}

static __always_inline bool keeps_recent(void)
{
	return count_only && !has_scope && !errors_only;
}

static __always_inline struct recent_call *recent_call(__u32 call)
{
	__u32 cpu = bpf_get_smp_processor_id();

	return cpu < RECENT_CPUS ? &recent_calls[cpu][call % RECENT_CALLS] : NULL;
}

/* Last, since user space reads a slot again only if this changed. */
static __always_inline void end_count(struct call_slot *slot)
{
	barrier();
	*(volatile __u64 *)&slot->calls += 1;
}

static __always_inline void count(struct thread *t, __u32 call, long result)
{
	struct call_slot *slot = begin_count(t, call, result);
	struct recent_call *recent;

	if (!slot)
		return;
	end_count(slot);
	if (!keeps_recent() || meaning_of(call) != MEANS_NO_MORE)
		return;
	recent = recent_call(call);
	if (!recent)
		return;
	recent->task = (__u64)current_task(by_thread);
	recent->call = call;
	recent->slot = slot->number;
	recent->generation = generation;
}

/* One more of what this thread called before on this CPU; false if it must be looked at. */
static __always_inline bool count_recent(struct task_struct *task, __u32 call, long result)
{
	struct recent_call *recent;
	struct call_slot *slot;
	__u32 number;

	if (!keeps_recent())
		return false;
	recent = recent_call(call);
	if (!recent || recent->call != call || recent->generation != generation ||
	    recent->task != (__u64)task)
		return false;
	number = recent->slot;
	/* The usual way is a look-up shorter. */
	if (number < CHUNK_SLOTS)
		slot = bpf_map_lookup_elem(&first_chunk, &number);
	else
		slot = slot_at(number);
	if (!slot)
		return false;
	if (failed(result))
		count_errno(slot, -result);
	end_count(slot);
	return true;
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
	t->entered_ns = bpf_ktime_get_ns();
	return t;
}

/* Also for a call that began before us. */
static __always_inline int count_untimed(long id, struct task_struct *task, long result)
{
	__u32 call = returned_call(task, id, result);
	struct thread *t;

	if (count_recent(task, call, result))
		return 0;
	if (!is_own(task, call, result) || !is_asked_for(call, result))
		return 0;
	t = make_thread(task);
	if (!t)
		lost(LOSS_TASK_STORAGE);
	else if (!has_scope || judge(t, task) == SCOPE_IN)
		count(t, call, result);
	return 0;
}

static __always_inline int leave(void *ctx, long id, long result)
{
	struct task_struct *task = current_task(by_thread);
	struct thread *t = find_thread(task);
	__u64 began = 0, duration = 0;
	struct call_slot *slot;
	__u32 call, bucket;

	if (t) {
		began = t->entered_ns;
		t->entered_ns = 0;
		/* Else the end of that one and the begin of this weren't seen. */
		if ((int)id != -1 && (id ^ t->call) & CALL_NUMBER)
			began = 0;
	}
	if (began) {
		duration = bpf_ktime_get_ns() - began;
		call = t->call;
	} else {
		call = returned_call(task, id, result);
	}
	if (!is_own(task, call, result) || !is_asked_for(call, result))
		return 0;
	if (!t)
		t = make_thread(task);
	if (!t) {
		lost(LOSS_TASK_STORAGE);
		return 0;
	}
	if (has_scope && judge(t, task) != SCOPE_IN)
		return 0;
	slot = begin_count(t, call, result);
	if (!slot)
		return 0;
	if (began) {
		slot->total_ns += duration;
		if (duration > slot->max_ns)
			slot->max_ns = duration;
		bucket = bucket_of(duration);
		if (bucket < BUCKETS)
			slot->buckets[bucket]++;
	}
	end_count(slot);
	if (slower_than_ns && began && duration >= slower_than_ns)
		report_slow(ctx, t, call, result, duration, began);
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

/* With stacks: where a call sleeps, which is looked at as it goes on. */
SEC("tp_btf/sched_switch")
int BPF_PROG(switched, bool preempt, struct task_struct *prev, struct task_struct *next)
{
	__u64 now = bpf_ktime_get_ns(), away;
	struct sleep *sleep;
	struct thread *t;

	t = find_thread(prev);
	if (t && t->entered_ns) {
		sleep = make_sleep(prev);
		if (sleep) {
			if (sleep->left_ns < t->entered_ns)
				sleep->asleep_ns = sleep->longest_ns = 0;
			sleep->left_ns = now;
		}
	}
	t = find_thread(next);
	sleep = t && t->entered_ns ? find_sleep(next) : NULL;
	if (!sleep || sleep->left_ns < t->entered_ns)
		return 0;
	away = now - sleep->left_ns;
	sleep->asleep_ns += away;
	if (away > sleep->longest_ns) {
		sleep->longest_ns = away;
		sleep->depth = bpf_get_task_stack(next, sleep->stack, sizeof(sleep->stack), 0);
	}
	return 0;
}

/* The call that a thread ends in, which won't return. */
static __always_inline void count_last(struct thread *t, struct task_struct *task)
{
	__u32 call;

	if (has_scope && judge(t, task) != SCOPE_IN)
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
	struct thread_slot *who;
	__u64 key = (__u64)task;
	__u32 tgid = task->tgid;

	/* It may not have called anything else. */
	if (count_only && !t && !(task->flags & PF_KTHREAD) &&
	    is_exit(call_of(task, number_at_end(task))))
		t = make_thread(task);

	if (t) {
		count_last(t, task);
		__sync_fetch_and_add(&generation, 1);
		who = t->slot ? (void *)slot_at(t->slot) : NULL;
		if (who) {
			who->process_ended = is_last;
			who->ended = true;
		}
	}
	if (by_thread) {
		bpf_map_delete_elem(&threads, &key);
		bpf_map_delete_elem(&sleeps_by_thread, &key);
	}
	if (only_tree && is_last)
		bpf_map_delete_elem(&tree, &tgid);
	return 0;
}

SEC("tp_btf/sched_process_exit")
int BPF_PROG(exited, struct task_struct *task)
{
	return has_turn_once(FIRST, exit_turns, task->pid) ? exit_of(task) : 0;
}

SEC("tp_btf/sched_process_exit")
int BPF_PROG(exited_second, struct task_struct *task)
{
	return has_turn_once(SECOND, exit_turns, task->pid) ? exit_of(task) : 0;
}
