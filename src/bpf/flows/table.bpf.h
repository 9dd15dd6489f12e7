/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The table of flows: an array, which user space reads in place, and a hash that tells where in it
 * a flow is. Most packets don't ask that: a hint, by some bits of a hash of the key, leads to a
 * flow that either is the packet's or isn't.
 *
 * User space takes a flow out of `places`, then clears its own place, and uses its number again at
 * the next reading, when no packet can be on its way to it any more.
 */
#ifndef NETTRACE_FLOWS_TABLE_BPF_H
#define NETTRACE_FLOWS_TABLE_BPF_H

#include "layout.bpf.h"

#define KEY_WORDS (sizeof(struct flow_key) / 8)
#define HASH_MIX  0x9e3779b97f4a7c15ULL /* any odd number with bits all over */

/* Flows whose keys hash alike have places beside each other. */
#define PLACES 2

#define HINT_WAYS (sizeof(struct hints) / sizeof(__u32))

_Static_assert(sizeof(struct flow_key) % 8 == 0, "it is hashed and compared by words");

/*
 * Never 0. Words are folded, since what differs above alone would make sums that differ above
 * alone; and the sum is mixed, since it is linear: the lower bits of neighbours would be alike by
 * some factors.
 */
static __always_inline __u64 hash_of(const struct flow_key *key)
{
	const word *words = (const void *)key;
	__u64 hash = 0;

#pragma unroll
	for (int i = 0; i < KEY_WORDS; i++)
		hash += (words[i] ^ words[i] >> 32) * hash_factors[i];
	hash = (hash ^ hash >> 32) * HASH_MIX;
	return (hash ^ hash >> 32) | 1ULL << 63;
}

static __always_inline bool is_of(struct flow *flow, const struct flow_key *key, __u64 hash)
{
	const word *ours = (const void *)&flow->key, *wanted = (const void *)key;
	__u64 difference = 0;

	if ((flow->place ^ hash) >= PLACES)
		return false;
#pragma unroll
	for (int i = 0; i < KEY_WORDS; i++)
		difference |= ours[i] ^ wanted[i];
	return !difference;
}

static __always_inline struct flow *flow_at(__u32 number)
{
	return bpf_map_lookup_elem(&flows, &number);
}

/* A number that no flow has; false if the table is full. */
static __always_inline bool take_number(__u32 *number)
{
	__u32 zero = 0;
	struct flow_numbers *numbers;

	if (has_freed_numbers) {
		if (!bpf_map_pop_elem(&freed_numbers, number))
			return true;
		has_freed_numbers = false;
	}
	numbers = bpf_map_lookup_elem(&fresh_numbers, &zero);
	if (!numbers || numbers->next >= flow_room)
		return false;
	bpf_spin_lock(&numbers->lock);
	*number = numbers->next;
	if (*number < flow_room)
		numbers->next++;
	bpf_spin_unlock(&numbers->lock);
	return *number < flow_room;
}

static __always_inline void give_back(__u32 number)
{
	if (!bpf_map_push_elem(&freed_numbers, &number, BPF_ANY))
		has_freed_numbers = true;
}

/* What a hint has above the number: never 0. */
static __always_inline __u32 tag_of(__u64 hash)
{
	return hash >> 32 & ~number_mask;
}

/* In place of nothing, or of any other. */
static __always_inline void put_hint(struct hints *near, __u32 number, __u64 hash)
{
	__u32 way = bpf_get_prandom_u32();

#pragma unroll
	for (int i = 0; i < HINT_WAYS; i++)
		if (!near->ways[i])
			way = i;
	near->ways[way % HINT_WAYS] = tag_of(hash) | number;
}

/* The flow of this key at one of its places. */
static __always_inline struct flow *flow_in(__u64 place, struct flow_key *key, __u64 hash,
					    struct hints *near)
{
	__u32 *number = bpf_map_lookup_elem(&places, &place);
	struct flow *flow = number ? flow_at(*number) : NULL;

	if (!flow || !is_of(flow, key, hash))
		return NULL;
	put_hint(near, *number, hash);
	return flow;
}

static __always_inline struct flow *new_flow(struct flow_key *key, __u64 hash, struct hints *near)
{
	struct flow *flow, *other = NULL;
	__u32 number = 0;

	if (!take_number(&number))
		return NULL;
	flow = flow_at(number);
	if (!flow)
		return NULL;
	flow->key = *key;
	flow->first_ns = bpf_ktime_get_ns();
	for (int i = 0; i < PLACES && !other; i++) {
		__u64 place = hash ^ i;

		/* Before others can find it there. */
		flow->place = place;
		barrier();
		if (!bpf_map_update_elem(&places, &place, &number, BPF_NOEXIST)) {
			put_hint(near, number, hash);
			return flow;
		}
		/* Another CPU may have had a packet of it at the same time. */
		other = flow_in(place, key, hash, near);
	}
	flow->place = 0;
	give_back(number);
	return other;
}

/* Not inlined into the path of packets of known flows. */
static __noinline struct flow *unhinted_flow(struct flow_key *key, __u64 hash, struct hints *near)
{
	struct flow *flow = NULL;

	for (int i = 0; i < PLACES && !flow; i++)
		flow = flow_in(hash ^ i, key, hash, near);
	return flow ?: new_flow(key, hash, near);
}

/* None if the table is full. */
static __always_inline struct flow *find_flow(struct flow_key *key)
{
	__u64 hash = hash_of(key);
	__u32 slot = hash & number_mask >> 1, tag = tag_of(hash), hint = 0;
	struct hints *near = bpf_map_lookup_elem(&hints, &slot);
	struct flow *flow;

	if (!near)
		return NULL;
#pragma unroll
	for (int i = 0; i < HINT_WAYS; i++)
		if (!((near->ways[i] ^ tag) & ~number_mask))
			hint = near->ways[i];
	flow = hint ? flow_at(hint & number_mask) : NULL;
	if (flow && is_of(flow, key, hash))
		return flow;
	return unhinted_flow(key, hash, near);
}

#endif
