/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Where tracepoints can be preempted (since Linux 7.0), the kernel doesn't run a program for a task
 * if another one was preempted inside of it on that CPU. So two programs are told of each event.
 * The first does the work and leaves a mark for the second, which works if there is none.
 */
#ifndef NETTRACE_PAIRS_BPF_H
#define NETTRACE_PAIRS_BPF_H

#include "nettrace.bpf.h"

enum turn { FIRST, SECOND };

#define TURNS 4096

const volatile bool in_pairs = false;
__u64 turns_made_up = 0; /* by the second */

/*
 * Of an event that happens once to a thread, where no compare-and-swap is needed: Linux 5.10 hasn't
 * got it.
 */
static __always_inline bool has_turn_once(enum turn turn, __u32 *turns, __u32 pid)
{
	__u32 *slot = &turns[pid % TURNS];

	if (!in_pairs)
		return true;
	if (turn == FIRST) {
		*slot = pid;
		return true;
	}
	if (*slot == pid)
		return false;
	__sync_fetch_and_add(&turns_made_up, 1);
	return true;
}

#endif
