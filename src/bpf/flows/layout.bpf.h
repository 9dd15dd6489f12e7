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

/* Integers of the packet are in host order; IPv4 addresses are v4-mapped. */
struct flow_key {
	__u8 source[16];
	__u8 destination[16];
	__u32 ifindex;
	__u32 tunnel; /* of a packet within VXLAN, its VNI; within GRE, the key */
	__u16 source_port;
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

struct flow {
	__u64 packets;
	__u64 bytes; /* with the link layer's header */
	__u64 first_ns;
	__u64 last_ns; /* of the coarse clock, where there is one */
	__u8 seen[8];  /* TCP's flags from FIN on; a byte each, since CPUs write at once */
	__u32 flags;   /* the same as bits, some may lack */
	__u32 pad;
};

/* How an interface's own counters count what the stack has in one piece. */
enum interface_splits {
	SPLIT_IN = 1,  /* received packets were merged */
	SPLIT_OUT = 2, /* the stack splits it before the driver gets it */
};

/* For the skeleton: types that no map names. */
enum flow_direction _flow_direction = 0;
enum flow_marks _flow_marks = 0;
enum interface_splits _interface_splits = 0;
enum loss _loss = 0;

/* Packets within tunnels are what counts. */
const volatile bool inner = false;

/* Made whole at the start: packets come in interrupts, where an allocation may fail. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, FLOW_ENTRIES);
	__type(key, struct flow_key);
	__type(value, struct flow);
} flows SEC(".maps");

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
