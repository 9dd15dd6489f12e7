/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Which system call it is, and the few that need care. */
#ifndef NETTRACE_SYSCALLS_NUMBERS_BPF_H
#define NETTRACE_SYSCALLS_NUMBERS_BPF_H

#include "layout.bpf.h"
#include "../task.bpf.h"

#if defined(__TARGET_ARCH_x86)
#define SYS_RT_SIGRETURN    15
#define SYS_EXECVE	    59
#define SYS_EXECVEAT	    322
#define SYS_CLONE	    56
#define SYS_FORK	    57
#define SYS_VFORK	    58
#define SYS_EXIT	    60
#define SYS_EXIT_GROUP	    231
#define SYS_SETUID	    105
#define SYS_SETREUID	    113
#define SYS_SETRESUID	    117
#define SYS_PRCTL	    157
#define COMPAT_EXECVEAT	    358
#define COMPAT_CLONE	    120
#define COMPAT_RT_SIGRETURN 173
#define COMPAT_EXIT_GROUP   252
#elif defined(__TARGET_ARCH_arm64)
#define SYS_RT_SIGRETURN    139
#define SYS_EXECVE	    221
#define SYS_EXECVEAT	    281
#define SYS_CLONE	    220
#define SYS_FORK	    220
#define SYS_VFORK	    220
#define SYS_EXIT	    93
#define SYS_EXIT_GROUP	    94
#define SYS_SETUID	    146
#define SYS_SETREUID	    145
#define SYS_SETRESUID	    147
#define SYS_PRCTL	    167
#define COMPAT_EXECVEAT	    387
#define COMPAT_CLONE	    120
#define COMPAT_RT_SIGRETURN 173
#define COMPAT_EXIT_GROUP   248
#endif
#define SYS_CLONE3    435
#define THREAD_SIZE   16384 /* of the kernels that don't say */
#define COMPAT_EXECVE 11
#define COMPAT_FORK   2
#define COMPAT_VFORK  190
#define COMPAT_EXIT   1

/* As the kernel's registers have it at a return, for a program that gets them typed. */
static __always_inline long number_of(struct pt_regs *regs)
{
#if defined(__TARGET_ARCH_x86)
	return regs->orig_ax;
#elif defined(__TARGET_ARCH_arm64)
	return regs->syscallno;
#endif
}

static __always_inline __u32 call_of(struct task_struct *task, long number)
{
	return (number & CALL_NUMBER) | (is_compat(task, by_thread) ? CALL_COMPAT : 0);
}

/* At a return. sigreturn() leaves no number; that a program asks for -1 has another result. */
static __always_inline __u32 returned_call(struct task_struct *task, long number, long result)
{
	const long enosys = 38;

	if ((int)number == -1 && result != -enosys)
		number = is_compat(task, by_thread) ? COMPAT_RT_SIGRETURN : SYS_RT_SIGRETURN;
	return call_of(task, number);
}

#define CALL_IS(call, native, compat) ((call) == (native) || (call) == (CALL_COMPAT | (compat)))

static __always_inline bool is_exec(__u32 call)
{
	return CALL_IS(call, SYS_EXECVE, COMPAT_EXECVE) ||
	       CALL_IS(call, SYS_EXECVEAT, COMPAT_EXECVEAT);
}

/* What it means that a call returned 0. */
enum meaning {
	MEANS_NO_MORE,
	MEANS_CHILD,	/* it is the child's return from a fork */
	MEANS_EXEC,	/* something else is executed now */
	MEANS_IDENTITY, /* what a scope may ask for changed: the user, the name */
};

static __always_inline bool is_fork(__u32 call)
{
	return CALL_IS(call, SYS_CLONE, COMPAT_CLONE) || CALL_IS(call, SYS_FORK, COMPAT_FORK) ||
	       CALL_IS(call, SYS_VFORK, COMPAT_VFORK) || CALL_IS(call, SYS_CLONE3, SYS_CLONE3);
}

/* A global function, whose comparisons leave the verifier nothing to remember of the call. */
__noinline __u32 meaning_of(__u32 call)
{
	if (is_fork(call))
		return MEANS_CHILD;
	if (is_exec(call))
		return MEANS_EXEC;
	switch (call) {
	case SYS_SETUID:
	case SYS_SETREUID:
	case SYS_SETRESUID:
	case SYS_PRCTL:
	case CALL_COMPAT | 23: /* setuid() and the like ... */
	case CALL_COMPAT | 70:
	case CALL_COMPAT | 164:
	case CALL_COMPAT | 203: /* ... and of 32 bits */
	case CALL_COMPAT | 208:
	case CALL_COMPAT | 213:
	case CALL_COMPAT | 172: /* prctl() */
		return MEANS_IDENTITY;
	}
	return MEANS_NO_MORE;
}

static __always_inline bool is_exit(__u32 call)
{
	return CALL_IS(call, SYS_EXIT, COMPAT_EXIT) ||
	       CALL_IS(call, SYS_EXIT_GROUP, COMPAT_EXIT_GROUP);
}

/* Of a task that ends. Its registers are at the end of its stack, as a helper knows since 5.15. */
static __always_inline long number_at_end(struct task_struct *task)
{
	struct pt_regs *regs;

	if (bpf_core_enum_value_exists(enum bpf_func_id, BPF_FUNC_task_pt_regs))
		regs = (void *)bpf_task_pt_regs(task);
	else
		regs = (struct pt_regs *)(BPF_CORE_READ(task, stack) + THREAD_SIZE) - 1;
	return syscall_of(regs);
}

/* At the call's begin. */
static __always_inline void arguments_of(struct pt_regs *regs, bool compat, __u64 *args)
{
#if defined(__TARGET_ARCH_x86)
	args[0] = compat ? regs->bx : regs->di;
	args[1] = compat ? regs->cx : regs->si;
	args[2] = regs->dx;
	args[3] = compat ? regs->si : regs->r10;
	args[4] = compat ? regs->di : regs->r8;
	args[5] = compat ? regs->bp : regs->r9;
#elif defined(__TARGET_ARCH_arm64)
	args[0] = regs->orig_x0;
	args[1] = regs->regs[1];
	args[2] = regs->regs[2];
	args[3] = regs->regs[3];
	args[4] = regs->regs[4];
	args[5] = regs->regs[5];
#endif
}

#endif
