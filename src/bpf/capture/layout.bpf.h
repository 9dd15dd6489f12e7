/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The capture probe's records, maps and switches. */
#ifndef NETTRACE_CAPTURE_LAYOUT_BPF_H
#define NETTRACE_CAPTURE_LAYOUT_BPF_H

#include "../sockets/owner.bpf.h"

/* The longest that is copied of a packet. */
#define CAPTURE_LIMIT	   262144
#define CAPTURE_RING_BYTES (1 << 23)
#define CAPTURE_INTERFACES 4096

enum capture_direction { CAPTURE_IN, CAPTURE_OUT };

/* A packet in the ring; its bytes follow. */
struct captured {
	__u64 time_ns;	      /* CLOCK_MONOTONIC */
	__u64 cookie;	      /* of the sender's socket, if that has no tag; 0: none */
	struct process owner; /* all 0: not known here */
	__u32 ifindex;
	__u32 length;	/* on the wire */
	__u32 copied;	/* the first so many bytes */
	__u8 direction; /* enum capture_direction */
	__u8 has_link_header;
	__u8 pad[2];
};

/* On one CPU and one interface. `seen` are those of the directions that are wanted. */
struct capture_counts {
	__u64 seen;
	__u64 accepted; /* by the filter */
	__u64 lost;	/* of these, by a full ring */
};

/* Switches; the verifier removes what is off. */
const volatile __u32 snaplen = CAPTURE_LIMIT;
const volatile bool wants_in = true;
const volatile bool wants_out = true;
const volatile bool with_owners = false;
const volatile bool has_tags = false; /* of the socket probe, in socket storage */
const volatile __u64 ring_wakeup = CAPTURE_RING_BYTES / 4;

/*
 * Somebody was woken to read the ring, and hasn't begun yet. Else each packet would wake him while
 * the ring is fuller than it should be, and waking costs more than all the rest.
 */
__u32 is_woken = 0;

__u32 is_over = 0; /* nothing more is captured */

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, CAPTURE_RING_BYTES);
} packets SEC(".maps");

/*
 * Where a packet is put together: a `struct captured` and bytes, one for each CPU. Records of the
 * ring have to have a fixed size to be written in place.
 */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__uint(key_size, sizeof(__u32));
	__uint(value_size, sizeof(struct captured) + CAPTURE_LIMIT);
} drafts SEC(".maps");

/* By interface; user space makes the entries. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_HASH);
	__uint(max_entries, CAPTURE_INTERFACES);
	__type(key, __u32);
	__type(value, struct capture_counts);
} capture_counts SEC(".maps");

/* For the skeleton: types that no map names. */
struct captured _captured = {};
enum capture_direction _capture_direction = 0;
enum loss _loss = 0;

#endif
