/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The processes that are followed. */
#ifndef NETTRACE_TREE_BPF_H
#define NETTRACE_TREE_BPF_H

#include "pairs.bpf.h"

#define TREE_ENTRIES (1 << 14)

/* Only processes in `tree`; the verifier removes it where it is off. */
const volatile bool only_tree = false;

/* By process; how it is followed is the probe's affair. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, TREE_ENTRIES);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u32);
	__type(value, __u8);
} tree SEC(".maps");

/* A child is followed as its parent is. */
static __always_inline int fork_of(__u32 parent, __u32 child)
{
	__u8 *follow = bpf_map_lookup_elem(&tree, &parent), copy;

	if (child == parent || !follow)
		return 0;
	copy = *follow;
	if (bpf_map_update_elem(&tree, &child, &copy, BPF_ANY))
		lost(LOSS_TREE_TABLE);
	return 0;
}

__u32 fork_turns[TURNS] = {}; /* by child */

SEC("tp_btf/sched_process_fork")
int BPF_PROG(forked, struct task_struct *parent, struct task_struct *child)
{
	if (!has_turn_once(FIRST, fork_turns, child->pid))
		return 0;
	return fork_of(parent->tgid, child->tgid);
}

SEC("tp_btf/sched_process_fork")
int BPF_PROG(forked_second, struct task_struct *parent, struct task_struct *child)
{
	if (!has_turn_once(SECOND, fork_turns, child->pid))
		return 0;
	return fork_of(parent->tgid, child->tgid);
}

#endif
