/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Whose a socket is: its tag, in socket storage, which the socket probe writes and others read. */
#ifndef NETTRACE_SOCKETS_OWNER_BPF_H
#define NETTRACE_SOCKETS_OWNER_BPF_H

#include "../nettrace.bpf.h"

enum tag_flags {
	TAG_SEEDED = 1,	     /* was open before us: what it counted until the first read is old */
	TAG_PROVISIONAL = 2, /* the owner opened or inherited it, but hasn't used it yet */
	TAG_ACTIVE = 4,	     /* sent the SYN, which bytes_acked counts */
	TAG_PER_CALL = 8,    /* TCP found in mid-life: kernel counters are not ours to use */
	TAG_USED = 16,	     /* has entries in `usage` */
	TAG_LISTENER = 32,   /* cloned with the rest to what it accepts */
};

/*
 * 56 bytes, so that a tag with its header fits kmalloc's 128. What changes after the birth has a
 * byte of its own, since Linux 5.10 has no atomic or.
 */
struct tag {
	__u64 id; /* see new_id() */
	struct process owner;
	__u32 last_tgid;  /* who used it last */
	__u16 flags;	  /* of its birth: all but the next two */
	__u8 provisional; /* TAG_PROVISIONAL */
	__u8 used;	  /* TAG_USED */
};

struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC | BPF_F_CLONE);
	__type(key, int);
	__type(value, struct tag);
} tags SEC(".maps");

#endif
