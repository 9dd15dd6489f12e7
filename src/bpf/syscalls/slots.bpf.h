/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Threads, whether they are in scope, and their slots. */
#ifndef NETTRACE_SYSCALLS_SLOTS_BPF_H
#define NETTRACE_SYSCALLS_SLOTS_BPF_H

#include "layout.bpf.h"
#include "numbers.bpf.h"

#define SLOT_BITS   20	/* MAX_SLOTS */
#define PROBES	    8	/* places of the thread's table where a call may be */
#define MAX_FURTHER 512 /* calls of one thread that have no place there */

static __always_inline struct thread *find_thread(struct task_struct *task)
{
	__u64 key = (__u64)task;

	if (!by_thread)
		return bpf_task_storage_get(&storage, task, 0, 0);
	return bpf_map_lookup_elem(&threads, &key);
}

/* What a program has no stack for. */
static __always_inline void *make_by_thread(void *map, void *fresh_map, struct task_struct *task)
{
	__u64 key = (__u64)task;
	__u32 zero = 0;
	void *fresh;

	fresh = bpf_map_lookup_elem(fresh_map, &zero);
	if (fresh)
		bpf_map_update_elem(map, &key, fresh, BPF_NOEXIST);
	return bpf_map_lookup_elem(map, &key);
}

static __always_inline struct thread *make_thread(struct task_struct *task)
{
	struct thread *t;

	if (!by_thread)
		return bpf_task_storage_get(&storage, task, 0, BPF_LOCAL_STORAGE_GET_F_CREATE);
	t = find_thread(task);
	return t ?: make_by_thread(&threads, &new_thread, task);
}

static __always_inline struct sleep *find_sleep(struct task_struct *task)
{
	__u64 key = (__u64)task;

	if (!by_thread)
		return bpf_task_storage_get(&sleeps, task, 0, 0);
	return bpf_map_lookup_elem(&sleeps_by_thread, &key);
}

static __always_inline struct sleep *make_sleep(struct task_struct *task)
{
	struct sleep *sleep;

	if (!by_thread)
		return bpf_task_storage_get(&sleeps, task, 0, BPF_LOCAL_STORAGE_GET_F_CREATE);
	sleep = find_sleep(task);
	return sleep ?: make_by_thread(&sleeps_by_thread, &new_sleep, task);
}

static __always_inline __u8 scope_of_current(void)
{
	struct process process = {};
	struct name name;
	bool ended = false;
	__u8 *value;

	describe_current(&process, reads_memory);
	if (only_tree) {
		value = bpf_map_lookup_elem(&tree, &process.tgid);
		if (!value)
			return SCOPE_OUT;
		if (*value == FOLLOW_HELD)
			return SCOPE_HELD;
	}
	if (only_uids && !bpf_map_lookup_elem(&uids, &process.uid))
		return SCOPE_OUT;
	if (only_comms) {
		/* What is behind the end may be left of an older name. */
		for (int i = 0; i < TASK_COMM_LEN; i++) {
			ended |= !process.comm[i];
			name.comm[i] = ended ? 0 : process.comm[i];
		}
		if (!bpf_map_lookup_elem(&comms, &name))
			return SCOPE_OUT;
	}
	if (only_cgroups) {
		value = bpf_map_lookup_elem(&cgroups, &process.cgroup);
		if (value && !*value)
			return SCOPE_OUT;
	}
	return SCOPE_IN;
}

/*
 * Once per thread and second (or quarter of it, by the kernel's HZ), so that who is out of scope
 * costs next to nothing. What a thread changes itself is seen at once.
 */
static __always_inline __u8 judge(struct thread *t, struct task_struct *task)
{
	__u32 now = bpf_jiffies64() >> 8;

	if (t->scope == SCOPE_UNKNOWN || t->judged != now) {
		t->judged = now;
		t->scope = scope_of_current();
	}
	return t->scope;
}

static __always_inline struct call_slot *slot_at(__u32 number)
{
	__u32 chunk = number >> CHUNK_BITS, place = number & (CHUNK_SLOTS - 1);
	void *slots = bpf_map_lookup_elem(&chunks, &chunk);

	return slots ? bpf_map_lookup_elem(slots, &place) : NULL;
}

/* Says once that slots become few, in a message that is too short for anything else. */
static __always_inline void ask_for_slots(void)
{
	__u32 nothing = 0;

	if (slots_given - slots_taken > few_slots || wants_slots)
		return;
	wants_slots = true;
	bpf_ringbuf_output(&slow_calls, &nothing, sizeof(nothing), BPF_RB_FORCE_WAKEUP);
}

static __always_inline struct call_slot *take_slot(__u32 *number)
{
	if (bpf_map_pop_elem(&free_slots, number)) {
		ask_for_slots();
		return NULL;
	}
	__sync_fetch_and_add(&slots_taken, 1);
	ask_for_slots();
	return slot_at(*number);
}

static __always_inline void give_back(__u32 number)
{
	if (!bpf_map_push_elem(&free_slots, &number, 0))
		__sync_fetch_and_add(&slots_taken, -1);
}

static __always_inline void name_thread(struct thread_slot *who)
{
	describe_current(&who->process, reads_memory);
	who->tid = bpf_get_current_pid_tgid();
	who->named_ns = bpf_ktime_get_ns();
}

/* The thread's own slot, made with its first call. */
static __always_inline bool has_slot(struct thread *t)
{
	struct thread_slot *who;
	__u32 number = 0;

	if (t->slot)
		return true;
	who = (void *)take_slot(&number);
	if (!who)
		return false;
	name_thread(who);
	who->thread = number;
	who->call = CALL_THREAD;
	t->slot = number;
	return true;
}

/* It executes something else now, and may have got the process's id for its own. */
static __always_inline void rename_thread(struct thread *t)
{
	struct thread_slot *who;

	if (!t)
		return;
	t->scope = SCOPE_UNKNOWN;
	who = t->slot ? (void *)slot_at(t->slot) : NULL;
	if (who)
		name_thread(who);
}

/*
 * The number of a new slot for a call of the current thread; 0 if there is none. A global function,
 * which the verifier goes through once, and not for each way to it.
 */
__noinline __u32 new_slot(__u32 call)
{
	struct thread *t = find_thread(current_task(by_thread));
	struct call_slot *slot;
	__u32 number = 0;

	if (!t || !has_slot(t))
		return 0;
	slot = take_slot(&number);
	if (!slot)
		return 0;
	slot->thread = t->slot;
	slot->number = number;
	slot->call = CALL_USED | call;
	return number;
}

/* Where the thread's table has the call, or has room for it. */
static __always_inline __u32 *place_of(struct thread *t, __u32 call)
{
	__u32 *place;
	int i;

	if (call >> (32 - SLOT_BITS))
		return NULL;
	for (i = 0; i < PROBES; i++) {
		place = &t->table[(call + i) & 63];
		if (!*place || *place >> SLOT_BITS == call)
			return place;
	}
	return NULL;
}

/* For a call that has no place in the thread's table; false if the slot went back. */
static __always_inline bool keep_further(struct thread *t, struct call_slot *slot, __u32 number)
{
	struct further_key key = {.thread = t->slot, .call = slot->call & ~CALL_USED};

	if (bpf_map_update_elem(&further, &key, &number, BPF_ANY)) {
		slot->call = 0;
		give_back(number);
		return false;
	}
	slot->is_further = true;
	t->further++;
	return true;
}

/* The slot of a call that the thread makes. The costly ways are in here once: the verifier goes
 * through each. */
static __always_inline struct call_slot *find_slot(struct thread *t, __u32 call)
{
	struct further_key key = {.thread = t->slot, .call = call};
	__u32 number = 0, *place = place_of(t, call), *known = place;
	struct call_slot *slot;

	if (!place)
		known = bpf_map_lookup_elem(&further, &key);
	if (known && *known)
		return slot_at(*known & (MAX_SLOTS - 1));
	/* One that calls so many kinds is up to no good, and has had its share. */
	if (place || t->further < MAX_FURTHER)
		number = new_slot(call);
	slot = number ? slot_at(number) : NULL;
	if (slot && place)
		*place = call << SLOT_BITS | number;
	else if (slot && !keep_further(t, slot, number))
		slot = NULL;
	if (!slot)
		lost(LOSS_CALL_TABLE);
	return slot;
}

static __always_inline void count_errno(struct call_slot *slot, __u32 errno)
{
	struct errno_key key = {.errno = errno};
	__u64 one = 1, *further;
	int i;

	slot->errors++;
	for (i = 0; i < INLINE_ERRNOS; i++) {
		if (!slot->errnos[i].errno)
			slot->errnos[i].errno = errno;
		if (slot->errnos[i].errno == errno) {
			slot->errnos[i].count++;
			return;
		}
	}
	key.slot = slot->number;
	further = bpf_map_lookup_elem(&errnos, &key);
	if (further)
		*further += 1;
	else if (bpf_map_update_elem(&errnos, &key, &one, BPF_ANY))
		lost(LOSS_ERRNO_TABLE);
}

/* A global function, whose ways the verifier goes through once, whatever comes before and after. */
__noinline __u32 bucket_of(__u64 ns)
{
	__u64 units = ns >> 4, rest = units, log = 0, bucket = units;

	if (rest >> 32) {
		log += 32;
		rest >>= 32;
	}
	if (rest >> 16) {
		log += 16;
		rest >>= 16;
	}
	if (rest >> 8) {
		log += 8;
		rest >>= 8;
	}
	if (rest >> 4) {
		log += 4;
		rest >>= 4;
	}
	if (rest >> 2) {
		log += 2;
		rest >>= 2;
	}
	log += rest >> 1;
	if (log >= 2)
		bucket = (log - 1) * 4 + (units >> (log - 2) & 3);
	return bucket < BUCKETS ? bucket : BUCKETS - 1;
}

#endif
