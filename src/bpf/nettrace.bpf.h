/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What every probe shares: the loss counters, and who a process is.
 * Layouts in here are the only definition; Rust takes them from the skeleton.
 */
#ifndef NETTRACE_BPF_H
#define NETTRACE_BPF_H

#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_tracing.h>
#include <bpf/bpf_endian.h>

#define AF_UNIX	 1
#define AF_INET	 2
#define AF_INET6 10

#define MSG_PEEK     0x2
#define MSG_ERRQUEUE 0x2000

#define SEND_SHUTDOWN 2

#define PF_KTHREAD 0x00200000

#define TASK_COMM_LEN 16

/*
 * A field of an object that the verifier knows, or that a program has the address of. The one that
 * isn't meant is dead code, which matters under kernel lockdown: it forbids the helper that reads
 * from an address. The probe's switch `by_address` says which.
 */
#define READ(object, field) (by_address ? BPF_CORE_READ(object, field) : (object)->field)

/* A process, as known when it touched a socket. */
struct process {
	__u64 start;  /* task_struct.start_boottime of the leader, ns */
	__u64 cgroup; /* id of its cgroup v2 */
	__u32 tgid;
	__u32 uid;
	char comm[TASK_COMM_LEN];
};

/*
 * Everything that could not be recorded is counted here, per cause. Plain atomics: a loss is rare,
 * or else the count of it is not what is slow.
 */
enum loss {
	LOSS_SOCKET_STORAGE, /* no memory to tag a socket */
	LOSS_CLOSE_RING,     /* no room in the ring for a close record */
	LOSS_BIRTH_RING,     /* no room in it for a connection that began */
	LOSS_USAGE_TABLE,    /* the table of per-call counters was full */
	LOSS_TREE_TABLE,     /* the table of followed processes was full */
	LOSS_CALL_RETURN,    /* kprobes: the kernel had no room to watch a call return */
	LOSS_TASK_STORAGE,   /* no memory to know a thread by */
	LOSS_CALL_TABLE,     /* a system call returned, and the table of them was full */
	LOSS_ERRNO_TABLE,    /* the table of rarer errnos was full */
	LOSS_SLOW_RING,	     /* no room in the ring for a slow call */
	LOSS_FLOW_TABLE,     /* a packet whose flow the table had no room for */
	LOSS_DROP_TABLE,     /* the table of drops was full */
	LOSS_DROP_RING,	     /* no room in the ring for a single drop */
	LOSS_DROP_LIMIT,     /* a single drop above the limit per second */
	LOSS_PACKET_RING,    /* no room in the ring for a captured packet */
	LOSS_PATH_TABLE,     /* no room to follow an sk_buff */
	LOSS_PATH_RING,	     /* no room in the ring for a step */
	LOSS_PATH_BUSY,	     /* other packets were being judged on that CPU */
	LOSS_CAUSES,
};

__u64 losses[LOSS_CAUSES] = {};

static __always_inline void lost(enum loss cause)
{
	__sync_fetch_and_add(&losses[cause], 1);
}

/*
 * Whether any address can be read: not where lockdown is for confidentiality. Typed pointers are
 * followed by their addresses then too, where that is rare: for each one the verifier looks through
 * all types of the kernel by name, which takes it milliseconds.
 */
const volatile bool reads_memory = false;

/* The namespace's inode. */
static __always_inline __u32 netns_of(struct sock *sk, bool by_address)
{
	if (by_address)
		return BPF_CORE_READ(sk, __sk_common.skc_net.net, ns.inum);
	return sk->__sk_common.skc_net.net->ns.inum;
}

static __always_inline void map_v4(__u8 *address, __be32 v4)
{
	__builtin_memset(address, 0, 10);
	__builtin_memset(address + 10, 0xff, 2);
	__builtin_memcpy(address + 12, &v4, 4);
}

#endif
