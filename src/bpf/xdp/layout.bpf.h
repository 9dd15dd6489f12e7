/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The XDP probe's counters, maps and switches. */
#ifndef NETTRACE_XDP_LAYOUT_BPF_H
#define NETTRACE_XDP_LAYOUT_BPF_H

#include "../nettrace.bpf.h"
#include "protocols.bpf.h"

/* Numbers of interfaces that can be watched, and how many at once; user space sets the latter. */
#define INTERFACE_NUMBERS (1 << 16)
#define INTERFACE_SLOTS	  16

/* The kernel's enum xdp_action, and what is none. */
enum verdict { VERDICT_INVALID = XDP_REDIRECT + 1, VERDICTS };

/* What the kernel's tracepoints tell of programs on an interface. */
enum xdp_event {
	XDP_EVENT_ABORTED,	    /* a program gave up */
	XDP_EVENT_INVALID,	    /* a verdict that is none, or that the driver doesn't know */
	XDP_EVENT_TX_FAILED,	    /* a packet couldn't be sent back */
	XDP_EVENT_REDIRECT_FAILED,  /* the driver gave a packet up that was to go elsewhere */
	XDP_EVENT_REDIRECTED,	    /* a packet goes elsewhere */
	XDP_EVENT_REDIRECT_REFUSED, /* ... and the kernel said no */
	XDP_EVENT_TX_SENT,	    /* sent back, in bulk */
	XDP_EVENT_TX_DROPPED,
	XDP_EVENT_DEVMAP_SENT, /* to another interface, in bulk */
	XDP_EVENT_DEVMAP_DROPPED,
	XDP_EVENT_CPUMAP_QUEUED, /* to another CPU, in bulk */
	XDP_EVENT_CPUMAP_DROPPED,
	XDP_EVENTS,
};

struct stack_count {
	__u64 pieces;	/* what the stack has in one piece */
	__u64 segments; /* the packets that these were merged of */
};

/* Of one interface. No padding, and no two CPUs write the same. */
struct xdp_counts {
	struct packet_count verdicts[VERDICTS][PACKET_PROTOCOLS];
	struct stack_count stack[PACKET_PROTOCOLS];
	__u64 events[XDP_EVENTS];
};

/* For the skeleton: types that no map names. */
enum packet_protocol _packet_protocol = 0;
enum verdict _verdict = 0;
enum xdp_event _xdp_event = 0;

/* The namespace's inode; of tracepoints and of others' programs, which are on other namespaces'
 * interfaces too. */
const volatile __u32 netns = 0;

/* The tracepoints' arguments have no types. */
const volatile bool by_address = false;

/* Fragments of packets count as theirs; the program was loaded so. */
const volatile bool in_fragments = false;

/* Which of `counts`, from 1 on, by the interface's number; 0 isn't watched. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, INTERFACE_NUMBERS);
	__type(key, __u32);
	__type(value, __u32);
} slots SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, INTERFACE_SLOTS);
	__type(key, __u32);
	__type(value, struct xdp_counts);
} counts SEC(".maps");

/* The slot of the interface that this CPU's last redirected packet came from: a bulk is of one. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} redirecting SEC(".maps");

static __always_inline __u32 slot_of(__u32 ifindex)
{
	__u32 *slot = bpf_map_lookup_elem(&slots, &ifindex);

	return slot ? *slot : 0;
}

static __always_inline struct xdp_counts *counts_of(__u32 slot)
{
	__u32 at = slot - 1;

	return bpf_map_lookup_elem(&counts, &at);
}

#endif
