/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The system-call probe's records, maps and switches. */
#ifndef NETTRACE_SYSCALLS_LAYOUT_BPF_H
#define NETTRACE_SYSCALLS_LAYOUT_BPF_H

#include "../tree.bpf.h"

#define CHUNK_BITS  10
#define CHUNK_SLOTS (1 << CHUNK_BITS)
#define MAX_CHUNKS  1024
#define MAX_SLOTS   (MAX_CHUNKS * CHUNK_SLOTS)

#define SLOW_RING_BYTES (1 << 18)
#define THREAD_ENTRIES	(1 << 17)
#define SCOPE_ENTRIES	(1 << 14)
#define ERRNO_ENTRIES	(1 << 16)
#define FURTHER_ENTRIES (1 << 17)
#define USER_DEPTH	64
#define KERNEL_DEPTH	32

/* Numbers of system calls, with what tells the tables of numbers apart. */
#define CALL_NUMBER 0x4fffffff /* the bit of x32 is part of the number */
#define CALL_COMPAT 0x10000000
#define CALL_USED   0x80000000
#define CALL_THREAD 0xffffffff

/* ns >> 4, exact below 4, then four buckets per power of two; see histogram.rs. */
#define BUCKETS 140

#define INLINE_ERRNOS 4

struct errno_count {
	__u32 errno;
	__u32 count;
};

/*
 * What one thread did with one system call, written by this thread alone, so nothing in it is
 * atomic. Sums run from its making; `buckets` and counts of errnos wrap.
 */
struct call_slot {
	__u32 thread;	  /* slot of its thread */
	__u32 call;	  /* CALL_USED | number; 0: the slot is free */
	__u32 is_further; /* `further` has it, since the thread's own table had no room */
	__u32 number;	  /* its own */
	__u64 calls;	  /* returned, or never to return */
	__u64 errors;
	__u64 total_ns;
	__u64 max_ns;
	struct errno_count errnos[INLINE_ERRNOS]; /* what is further is in `errnos` */
	__u32 buckets[BUCKETS];
};

/* The same place, where `call` is CALL_THREAD: who the thread is. */
struct thread_slot {
	__u32 thread;
	__u32 call;
	__u32 tid;
	__u8 ended;
	__u8 process_ended;
	__u8 pad[2];
	__u64 named_ns; /* CLOCK_MONOTONIC at which it was who follows */
	struct process process;
};

/* A thread, in its task storage. */
struct thread {
	__u64 entered_ns; /* 0: not in a call that we saw begin */
	__u32 call;	  /* the one it is in */
	__u32 slot;	  /* its thread_slot, 0: none yet */
	__u32 further;	  /* calls that have no place in `table` */
	__u32 judged;	  /* when, see judge() */
	__u8 scope;	  /* enum scope */
	__u8 pad[7];
	__u64 args[6];	 /* if slow calls are wanted */
	__u32 table[64]; /* number << 20 | slot */
};

/* Where a thread slept in its call, if stacks are wanted. */
struct sleep {
	__u64 left_ns;	  /* when it last went off the CPU */
	__u64 asleep_ns;  /* in this call, in all */
	__u64 longest_ns; /* one time */
	__s32 depth;	  /* bytes of `stack` */
	__u32 pad;
	__u64 stack[KERNEL_DEPTH]; /* that time's */
};

enum scope {
	SCOPE_UNKNOWN,
	SCOPE_OUT,
	SCOPE_IN,
	SCOPE_HELD, /* a command that counts from its execve on */
};

/* How a process in `tree` is followed. */
enum follow {
	FOLLOW = 1,
	FOLLOW_HELD = 2,
};

/* A call that took longer than wanted. */
struct slow_call {
	__u64 began_ns; /* CLOCK_MONOTONIC */
	__u64 duration_ns;
	__u64 asleep_ns; /* of it off the CPU; with stacks only */
	__s64 result;
	__u64 args[6];
	struct process process;
	__u32 tid;
	__u32 call;
};

struct slow_call_with_stacks {
	struct slow_call slow;
	__s32 user_depth;   /* bytes, below 0: an errno */
	__s32 kernel_depth; /* of where it slept longest */
	__u64 user[USER_DEPTH];
	__u64 kernel[KERNEL_DEPTH];
};

struct further_key {
	__u32 thread; /* slot of the thread */
	__u32 call;
};

struct errno_key {
	__u32 slot;
	__u32 errno;
};

/* For the skeleton: types that no map names, or that clang 14 only declares in the inner map. */
struct call_slot _call_slot = {};
struct thread_slot _thread_slot = {};
struct slow_call_with_stacks _slow_call = {};
enum follow _follow = 0;
enum loss _loss = 0;

/* Switches; the verifier removes what is off. */
const volatile bool count_only = false;
const volatile bool errors_only = false;
const volatile bool by_thread = false; /* kernels without task storage: `threads` has them */
const volatile bool has_scope = false; /* any of the following */
const volatile bool only_comms = false;
const volatile bool only_uids = false;
const volatile bool only_cgroups = false;
const volatile bool only_wanted = false;
const volatile __u64 wanted[2][16] = {}; /* bits by number; [1]: compat */
const volatile __u64 slower_than_ns = 0; /* 0: no events */
const volatile bool with_stacks = false;
const volatile __u64 ring_wakeup = SLOW_RING_BYTES / 4;

__u32 exit_turns[TURNS] = {}; /* by thread */

__u64 slots_taken = 0; /* by programs, since the start */
__u64 slots_given = 0; /* by user space */
__u64 few_slots = 0;   /* which is woken for more when no more than this is left */
bool wants_slots = false;

/*
 * Where threads' last calls on each CPU are counted, so that the next one needs no look-up. A
 * thread's end moves the generation on.
 */
struct recent_call {
	__u64 task; /* its address */
	__u32 call;
	__u32 slot;
	__u32 generation;
	__u32 pad;
};

#define RECENT_CPUS  256
#define RECENT_CALLS 8
struct recent_call recent_calls[RECENT_CPUS][RECENT_CALLS] = {};
__u32 generation = 1;

struct chunk {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, CHUNK_SLOTS);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, struct call_slot);
} first_chunk SEC(".maps");

/* Slots by number; user space adds chunks as they are needed. Slot 0 is never used. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, MAX_CHUNKS);
	__type(key, __u32);
	__array(values, struct chunk);
} chunks SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_QUEUE);
	__uint(max_entries, MAX_SLOTS);
	__type(value, __u32);
} free_slots SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct thread);
} storage SEC(".maps");

/* By the task's address, which it keeps when it executes something. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, THREAD_ENTRIES);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u64);
	__type(value, struct thread);
} threads SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct sleep);
} sleeps SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, THREAD_ENTRIES);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u64);
	__type(value, struct sleep);
} sleeps_by_thread SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct sleep);
} new_sleep SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct thread);
} new_thread SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, ERRNO_ENTRIES);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct errno_key);
	__type(value, __u64);
} errnos SEC(".maps");

/* Slots of calls that have no place in their thread's own table. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, FURTHER_ENTRIES);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct further_key);
	__type(value, __u32);
} further SEC(".maps");

struct name {
	char comm[TASK_COMM_LEN];
};

#define SCOPE_MAP(map_name, key_type)                                                              \
	struct {                                                                                   \
		__uint(type, BPF_MAP_TYPE_HASH);                                                   \
		__uint(max_entries, SCOPE_ENTRIES);                                                \
		__uint(map_flags, BPF_F_NO_PREALLOC);                                              \
		__type(key, key_type);                                                             \
		__type(value, __u8);                                                               \
	} map_name SEC(".maps")

SCOPE_MAP(comms, struct name);
SCOPE_MAP(uids, __u32);
SCOPE_MAP(cgroups, __u64); /* value 0: out of scope; user space judges those that aren't in it */

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, SLOW_RING_BYTES);
} slow_calls SEC(".maps");

#endif
