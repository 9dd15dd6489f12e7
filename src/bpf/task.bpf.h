/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Who a task is, and which system call it makes. */
#ifndef NETTRACE_TASK_BPF_H
#define NETTRACE_TASK_BPF_H

#include "nettrace.bpf.h"

/* Before Linux 5.11 only the address of the current task can be had. */
static __always_inline struct task_struct *current_task(bool by_address)
{
	if (by_address)
		return (void *)bpf_get_current_task();
	return bpf_get_current_task_btf();
}

static __always_inline void describe(struct process *p, struct task_struct *task, bool by_address)
{
	struct task_struct *leader;

	if (by_address) {
		leader = BPF_CORE_READ(task, group_leader);
		p->start = BPF_CORE_READ(leader, start_boottime);
		p->cgroup = BPF_CORE_READ(task, cgroups, dfl_cgrp, kn, id);
		p->tgid = BPF_CORE_READ(task, tgid);
		p->uid = BPF_CORE_READ(task, cred, uid.val);
		BPF_CORE_READ_STR_INTO(&p->comm, leader, comm);
		return;
	}
	leader = task->group_leader;
	p->start = leader->start_boottime;
	p->cgroup = task->cgroups->dfl_cgrp->kn->id;
	p->tgid = task->tgid;
	p->uid = task->cred->uid.val;
	__builtin_memcpy(p->comm, leader->comm, TASK_COMM_LEN);
}

/* The same of the current task, for which there are helpers. */
static __always_inline void describe_current(struct process *p, bool by_address)
{
	struct task_struct *task = current_task(by_address), *leader = READ(task, group_leader);

	if (by_address)
		BPF_CORE_READ_STR_INTO(&p->comm, leader, comm);
	else
		__builtin_memcpy(p->comm, leader->comm, TASK_COMM_LEN);
	p->start = READ(leader, start_boottime);
	p->cgroup = bpf_get_current_cgroup_id();
	p->tgid = bpf_get_current_pid_tgid() >> 32;
	p->uid = bpf_get_current_uid_gid();
}

/* A 32-bit call on a 64-bit kernel, which has numbers of its own. */
static __always_inline bool is_compat(struct task_struct *task, bool by_address)
{
#if defined(__TARGET_ARCH_x86)
	__u32 status =
		by_address ? BPF_CORE_READ(task, thread_info.status) : task->thread_info.status;

	return status & 2 /* TS_COMPAT */;
#elif defined(__TARGET_ARCH_arm64)
	__u64 flags = by_address ? BPF_CORE_READ(task, thread_info.flags) : task->thread_info.flags;

	return flags >> 22 & 1 /* TIF_32BIT */;
#endif
}

/* The number that registers at an address have. */
static __always_inline long syscall_of(struct pt_regs *regs)
{
#if defined(__TARGET_ARCH_x86)
	return BPF_CORE_READ(regs, orig_ax);
#elif defined(__TARGET_ARCH_arm64)
	return BPF_CORE_READ(regs, syscallno);
#endif
}

#endif
