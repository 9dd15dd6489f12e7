/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The socket probe's records, maps and switches. */
#ifndef NETTRACE_SOCKETS_LAYOUT_BPF_H
#define NETTRACE_SOCKETS_LAYOUT_BPF_H

#include "../tree.bpf.h"
#include "owner.bpf.h"

/* The wakeup threshold and this make the ring a few seconds deep at thousands of closes/s. */
#define RING_BYTES	(1 << 20)
#define USAGE_ENTRIES	(1 << 17)
#define ADDRESS_ENTRIES (1 << 17)
#define CALL_ENTRIES	(1 << 15)
#define FIRST_RECORDS	4096

__u32 call_turns[TURNS] = {};  /* by thread */
__u32 state_turns[TURNS] = {}; /* by socket, since interrupts change states too */
__u64 turns_deferred = 0;      /* by the first program, where another's mark was in its place */

/* Narrow what is recorded; the verifier removes what is off. */
const volatile __u32 only_netns = 0; /* inode of the one network namespace, 0: all */
const volatile bool with_unix = false;
const volatile __u64 ring_wakeup = RING_BYTES / 4;
const volatile bool only_owners = false;    /* who uses a socket, not what for */
const volatile bool only_listeners = false; /* of TCP, and nothing of what they accept */
const volatile bool with_births = false;    /* connections that begin, and fail to, are told too */

/*
 * Tags are in `addresses`: on kernels without socket storage for tracing programs, and with
 * kprobes, which never have it. Programs then know a socket by its address alone.
 */
const volatile bool by_address = false;

/* Addresses are IPv6 or v4-mapped; ports in host order. */
struct endpoints {
	__u8 local[16];
	__u8 remote[16];
	__u16 local_port;
	__u16 remote_port;
	__u32 netns;
	__u16 family;
	__u16 protocol;
};

/* One socket, as read once a tick or at its end. Fields from `srtt_us` on are TCP's. */
struct socket_record {
	__u64 id;
	struct process owner;
	struct endpoints ends;
	__u32 last_tgid;
	__u32 flags;
	__u32 state;	     /* enum tcp_state, before the end if it ended */
	__u32 drops;	     /* sk_drops */
	__u32 queue_max;     /* listeners: sk_max_ack_backlog */
	__u32 receive_queue; /* bytes not read yet; listeners: connections not accepted */
	__u32 send_queue;    /* bytes not acknowledged yet */
	__u32 srtt_us;	     /* as in tcp_sock, << 3 */
	__u32 rttvar_us;     /* as in tcp_sock, << 2 */
	__u32 min_rtt_us;
	__u32 cwnd;
	__u32 ssthresh;
	__u32 retransmits;
	__u32 lost;
	__u32 delivered;
	__u32 segments_in;
	__u32 segments_out;
	__u32 busy;	      /* jiffies with data to send ... */
	__u32 rwnd_limited;   /* ... of them held by the receiver's window ... */
	__u32 sndbuf_limited; /* ... and by the send buffer */
	__u32 jiffies;
	__u64 pacing_rate;
	__u64 rx_bytes; /* payload that arrived */
	__u64 tx_bytes; /* payload that was handed to the socket */
};

/* What the ring tells of a TCP socket. */
enum socket_event_kind {
	SOCKET_CLOSED,	  /* whatever it was before */
	SOCKET_CONNECTED, /* the peer answered */
	SOCKET_ACCEPTED,  /* the handshake with a peer is complete */
};

struct socket_event {
	__u64 time_ns; /* CLOCK_MONOTONIC */
	__u32 kind;    /* enum socket_event_kind */
	__u32 error;   /* sk_err, an errno */
	struct socket_record socket;
};

/*
 * The socket is its cookie, since looking a tag up costs more than the entry; or the tag's id where
 * tags are looked up by address anyway.
 */
struct usage_key {
	__u64 socket;
	__u32 tgid;
	__u32 pad;
};

struct usage {
	__u64 id; /* the tag's */
	__u64 rx_bytes;
	__u64 tx_bytes;
	struct process user;
	struct endpoints ends;
};

/* The tags by the socket's address, where socket storage can't be had. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, ADDRESS_ENTRIES);
	__type(key, __u64);
	__type(value, struct tag);
} addresses SEC(".maps");

/* Entries made and removed: whether a walk over `addresses` missed some. */
__u64 addresses_made = 0;
__u64 addresses_removed = 0;

/* Sockets that are getting their owner just now: who makes the entry sets it. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 256);
	__type(key, __u64);
	__type(value, __u8);
} claims SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, USAGE_ENTRIES);
	__type(key, struct usage_key);
	__type(value, struct usage);
} usage SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, RING_BYTES);
} socket_events SEC(".maps");

/* Calls that kprobes saw begin: a return probe doesn't know the arguments. */
struct call {
	__u64 sk;
	__u32 flags;
	__u32 sent;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, CALL_ENTRIES);
	__type(key, __u64); /* pid_tgid */
	__type(value, struct call);
} calls SEC(".maps");

/* The listener that this CPU is cloning a socket from. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} cloning SEC(".maps");

/*
 * The iterator writes into an array that user space maps, not into its seq_file: whenever the
 * latter's 32 KiB are full the kernel resumes by walking the bucket from its head, which made
 * 100,000 sockets on two CPUs cost 220 ms in place of 40. User space swaps in a larger array when
 * the table outgrows it.
 */
struct records_array {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE | BPF_F_INNER_MAP);
	__uint(max_entries, FIRST_RECORDS);
	__type(key, __u32);
	__type(value, struct socket_record);
} first_records SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, 1);
	__type(key, __u32);
	__array(values, struct records_array);
} records SEC(".maps");

__u32 records_read = 0; /* sockets seen by this read, also those that had no room */
bool outgrown = false;	/* the array is in `records`; putting one there waits for RCU */

/*
 * The last socket that each CPU found to be its caller's own, with nothing to count for it, so that
 * the next call on it needs no look-up. Whatever could make that untrue moves the generation on.
 * One for each program: a program never interrupts itself, so nobody sees a half-written one.
 */
struct own_socket {
	__u64 mark; /* see own_mark() */
	__u32 tgid;
	__u32 generation;
	__u64 pad[6]; /* a cache line */
};

enum own_slot {
	OWN_SENT,
	OWN_RECEIVED,
	OWN_SENT6,
	OWN_RECEIVED6,
	OWN_PAGE,
	OWN_SENT_SECOND,
	OWN_RECEIVED_SECOND,
	OWN_SENT_EXIT,
	OWN_RECEIVED_EXIT,
	OWN_SLOTS,
};

#define OWN_SOCKET_CPUS 256
struct own_socket own_sockets[OWN_SLOTS][OWN_SOCKET_CPUS] = {};
__u32 generation = 1;

/* For the skeleton: types that no map names, or that clang 14 only declares in the inner map. */
struct socket_record _socket_record = {};
struct socket_event _socket_event = {};
enum socket_event_kind _socket_event_kind = 0;
enum tag_flags _tag_flags = 0;
enum loss _loss = 0;

#endif
