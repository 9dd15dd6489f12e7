/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The path probe's records, maps and switches. */
#ifndef NETTRACE_PATH_LAYOUT_BPF_H
#define NETTRACE_PATH_LAYOUT_BPF_H

#define FILTER_SLOTS 4 /* packets that are judged at once on a CPU */

#include "../filter.bpf.h"
#include "../packet.bpf.h"

#define PATH_ENTRIES	16384
#define PATH_RING_BYTES (1 << 22)
#define STACK_DEPTH	64

enum path_kind {
	PATH_STEP,     /* a function was called with it, or a tracepoint passed */
	PATH_COPIED,   /* there is another sk_buff of it from here on */
	PATH_DROPPED,  /* freed for a reason */
	PATH_CONSUMED, /* used up */
	PATH_FREED,    /* gone without a word; a function was told to free it */
};

/*
 * What a program is attached to: the number of a hook in user space, from bit HOOK_SHIFT on; below
 * it which of the function's arguments is the packet, from 1 on.
 */
#define HOOK_ARGUMENT 7
#define HOOK_IS_END   8 /* the function frees the packet */
#define HOOK_SHIFT    8

/* In a program of which user space loads a copy for each hook, and puts the hook's here. */
#define HOOK_MARK 0x6e74686f6f6b01

/* Functions that give copies have fixed numbers, before all others. */
enum path_copies { COPY_CLONE, COPY_WHOLE, COPY_HEADERS, COPY_EXPANDED, COPIES };

struct path_event {
	__u64 time_ns;	/* CLOCK_MONOTONIC */
	__u64 packet;	/* what all sk_buffs of a packet have in common */
	__u64 skb;	/* address */
	__u64 location; /* of a drop or use: return address in the function that freed it */
	struct drop_flow flow;
	char interface[IFNAMSIZ];
	__u32 netns; /* inode, 0: not known */
	__u32 mark;
	__u32 length; /* from the IP header on, else what the sk_buff has */
	__u32 reason; /* enum skb_drop_reason of this kernel */
	__u32 hook;   /* its number */
	__u32 cpu;
	__u32 kind;  /* enum path_kind */
	__s32 depth; /* bytes of `stack`, below 0: an errno */
	__u64 stack[STACK_DEPTH];
};

/* An sk_buff that is followed. */
struct followed {
	__u64 packet;
	__u64 head;
	__u64 print; /* see print_of() */
};

/* Its buffer, which clones share. */
struct buffer {
	__u64 packet;
	__u64 print;
};

/* For the skeleton: types that no map names. */
struct path_event _path_event = {};
enum path_kind _path_kind = 0;
enum path_copies _path_copies = 0;
enum loss _loss = 0;

/* Switches; the verifier removes what is off. */
const volatile bool has_location = true; /* consume_skb tells by which function */
const volatile bool with_stacks = false;
/* Ends aren't all told, so an address may be another packet's. */
const volatile bool by_tracepoints = false;
const volatile __u32 netns = 0;	       /* inode of where a packet is first seen, 0: any */
const volatile __u64 most_packets = 0; /* to be followed, 0: no limit */
const volatile __u64 ring_wakeup = 1;

/* All programs are attached: before, only a part of a packet's way would be seen. */
volatile __u32 is_ready = 0;

/* Packets that were followed; a few more than the most where CPUs come at once. */
__u64 packets = 0;

/* One that wasn't seen for longest is forgotten, if all are in use. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, PATH_ENTRIES);
	__type(key, __u64); /* address */
	__type(value, struct followed);
} skbs SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, PATH_ENTRIES);
	__type(key, __u64); /* address */
	__type(value, struct buffer);
} buffers SEC(".maps");

struct slots {
	__u8 taken[FILTER_SLOTS];
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct slots);
} filter_slots SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, PATH_RING_BYTES);
} path_events SEC(".maps");

#endif
