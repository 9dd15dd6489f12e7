/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The drop probe's records, maps and switches. */
#ifndef NETTRACE_DROPS_LAYOUT_BPF_H
#define NETTRACE_DROPS_LAYOUT_BPF_H

#include "../packet.bpf.h"
#include "../task.bpf.h"

#define DROP_ENTRIES	4096
#define REASON_ENTRIES	1024
#define DROP_RING_BYTES (1 << 20)
#define STACK_DEPTH	64

/* What a row is of. */
enum drop_kind {
	DROP_PACKET,	     /* freed as dropped, for the kernel's reason */
	DROP_RETRANSMIT,     /* a TCP segment was sent again */
	DROP_RESET_SENT,     /* by TCP */
	DROP_RESET_RECEIVED, /* the same */
};

struct drop_key {
	__u64 location; /* return address in the function that dropped */
	__u32 reason;	/* enum skb_drop_reason of this kernel */
	__u32 netns;	/* inode, 0: not known */
	__u16 protocol;
	__u8 transport;
	__u8 family;
	__u8 kind; /* enum drop_kind */
	__u8 pad[3];
};

/*
 * On one CPU. A reader that finds `written` and `writing` equal, read in this order, has the last
 * drop whole.
 */
struct drop_counts {
	__u64 written;
	__u64 drops;
	__u64 bytes;   /* of IP packets, else what was left of the frame */
	__u64 last_ns; /* CLOCK_MONOTONIC */
	struct drop_flow last;
	char last_interface[IFNAMSIZ];
	__u64 writing;
};

/* A single one. Whose time it was in is seen by the stack. */
struct drop_event {
	__u64 time_ns; /* CLOCK_MONOTONIC */
	struct drop_key key;
	struct drop_flow flow;
	char interface[IFNAMSIZ];
	struct process process; /* the current one, whatever it has to do with it */
	__u32 length;
	__s32 depth; /* bytes of `stack`, below 0: an errno */
	__u64 stack[STACK_DEPTH];
};

/* For the skeleton: types that no map names. */
struct drop_event _drop_event = {};
enum drop_kind _drop_kind = 0;
enum loss _loss = 0;

/* Switches; the verifier removes what is off. */
const volatile bool has_receiver = true;       /* kfree_skb tells the socket that it was for */
const volatile bool has_retransmit_err = true; /* tcp_retransmit_skb tells of those that failed */
const volatile bool only_reasons = false;
const volatile bool only_interface = false;
const volatile char interface[IFNAMSIZ] = {};
const volatile __u32 netns = 0; /* inode, 0: all */
const volatile bool with_events = false;
const volatile __u64 events_per_second = 0;
const volatile __u64 ring_wakeup = DROP_RING_BYTES / 4;

/* The second that events are limited in. */
__u64 second_began_ns = 0;
__u64 in_second = 0;

/* Each CPU its own counts, so that a storm of drops has no line that all of them write. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_HASH);
	__uint(max_entries, DROP_ENTRIES);
	__type(key, struct drop_key);
	__type(value, struct drop_counts);
} drops SEC(".maps");

/* By kind << 32 | reason. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, REASON_ENTRIES);
	__type(key, __u64);
	__type(value, __u8);
} reasons SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, DROP_RING_BYTES);
} drop_events SEC(".maps");

#endif
