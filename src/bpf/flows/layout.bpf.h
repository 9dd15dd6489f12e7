/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The flow probe's records, maps and switches. */
#ifndef NETTRACE_FLOWS_LAYOUT_BPF_H
#define NETTRACE_FLOWS_LAYOUT_BPF_H

#include "../nettrace.bpf.h"

#define FLOW_ENTRIES	  (1 << 16)
#define INTERFACE_ENTRIES (1 << 12)
#define FRAGMENT_ENTRIES  (1 << 12)

enum flow_direction { FLOW_IN, FLOW_OUT };

enum flow_marks {
	FLOW_FRAGMENT =
		1, /* what came behind a first fragment that wasn't seen: no ports or type */
	FLOW_TRUNCATED = 2, /* it ends within its headers; what is behind is unknown */
	FLOW_OTHER = 4,	    /* what the table had no room for */
};

/* Of keys, which are hashed and compared by these; what was written in parts is slow to read whole.
 */
typedef __u64 __attribute__((may_alias)) word;
typedef __u32 __attribute__((may_alias)) half_word;

/* Below these many bits of `recent` are bytes, above them packets. */
enum flow_sums { FLOW_BYTES_BITS = 38 };

/* Integers of the packet are in host order; IPv4 addresses are v4-mapped. */
struct __attribute__((aligned(8))) flow_key {
	__u8 source[16];
	__u8 destination[16];
	__u32 ifindex;
	__u32 tunnel;	   /* of a packet within VXLAN, its VNI; within GRE, the key */
	__u16 source_port; /* on a half word, with the next */
	__u16 destination_port;
	__u16 ethertype;  /* behind the tags */
	__u16 vlan;	  /* tag control's id, 0: none */
	__u16 inner_vlan; /* of two */
	__u16 icmp;	  /* type << 8 | code */
	__u8 protocol;	  /* of IP */
	__u8 direction;	  /* enum flow_direction */
	__u8 marks;	  /* enum flow_marks */
	__u8 pad;
};

/* In two lines of the cache: what a packet is compared with, and what it changes. */
struct flow {
	struct flow_key key;
	__u64 place;  /* in `places`; 0: no flow, or one that user space has taken out */
	__u64 recent; /* packets and bytes that aren't in the sums yet: one addition for both */
	__u64 packets;
	__u64 bytes; /* with the link layer's header */
	__u64 first_ns;
	__u64 last_ns; /* of the coarse clock, where there is one */
	__u8 seen[8];  /* TCP's flags from FIN on; a byte each, since CPUs write at once */
	__u32 flags;   /* the same as bits, some may lack */
	__u32 moves;   /* of `recent` to the sums; odd while it is on its way */
	__u32 pad[2];
};

/* How an interface's own counters count what the stack has in one piece. */
enum interface_splits {
	SPLIT_IN = 1,  /* received packets were merged */
	SPLIT_OUT = 2, /* the stack splits it before the driver gets it */
};

/* For the skeleton: types that no map names. */
enum flow_direction _flow_direction = 0;
enum flow_marks _flow_marks = 0;
enum flow_sums _flow_sums = 0;
enum interface_splits _interface_splits = 0;
enum loss _loss = 0;

/* Packets within tunnels are what counts. */
const volatile bool inner = false;

/* Chosen at the start: nobody can send packets whose keys are known to hash alike. */
const volatile __u64 hash_factors[7] = {};

const volatile __u32 flow_room = FLOW_ENTRIES;
/* Bits of a number in `flows`; `hints` has half as many entries. */
const volatile __u32 number_mask = FLOW_ENTRIES - 1;

/* Made whole at the start, all of these: packets come in interrupts, where an allocation may fail.
 */

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, FLOW_ENTRIES);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, struct flow);
} flows SEC(".maps");

/* Numbers in `flows` by the hash of the key, or beside it. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, FLOW_ENTRIES);
	__type(key, __u64);
	__type(value, __u32);
} places SEC(".maps");

/*
 * Where flows whose hashes end alike may be: numbers in `flows`, and above them as many bits of
 * another part of the hash as there is room for. 0: none. Places for twice as many flows as there
 * are: in a full table a flow of 27 finds none.
 */
struct hints {
	__u32 ways[4];
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, FLOW_ENTRIES / 2);
	__type(key, __u32);
	__type(value, struct hints);
} hints SEC(".maps");

/* Numbers of flows that there are no more. */
struct {
	__uint(type, BPF_MAP_TYPE_STACK);
	__uint(max_entries, FLOW_ENTRIES);
	__type(value, __u32);
} freed_numbers SEC(".maps");

/* An empty stack isn't asked by packets that find no room: it has a lock. */
bool has_freed_numbers = false;

struct flow_numbers {
	struct bpf_spin_lock lock; /* of all flows' `moves`, too */
	__u32 next;		   /* the first that no flow had yet */
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct flow_numbers);
} fresh_numbers SEC(".maps");

/* What found no room in `flows`; made by user space, one for each interface and direction. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 2 * INTERFACE_ENTRIES);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct flow_key);
	__type(value, struct flow);
} others SEC(".maps");

/* enum interface_splits by the interface's number, where it isn't 0. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, INTERFACE_ENTRIES);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u32);
	__type(value, __u32);
} splits SEC(".maps");

/* A packet's flow, and how far it was read. */
struct scratch {
	struct flow_key key;
	__u32 at;
	__u32 headers; /* bytes before the payload; of a TCP segment and of a datagram */
	__u32 fragment_id;
	__u8 tcp_flags;
	__u8 is_fragment;
	__u8 is_first_fragment;
	__u8 pad;
};

/* By direction: no packet of one interrupts another of the same. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 2);
	__type(key, __u32);
	__type(value, struct scratch);
} scratches SEC(".maps");

/* Ports of first fragments, or the type of ICMP, for those that follow. */
struct fragment {
	__u8 source[16];
	__u8 destination[16];
	__u32 id;
	__u32 protocol;
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, FRAGMENT_ENTRIES);
	__type(key, struct fragment);
	__type(value, __u32);
} fragments SEC(".maps");

#endif
