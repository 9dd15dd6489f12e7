// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * The path probe: where in the kernel a packet comes by, from the first function on at which the
 * expression takes it, to its end.
 *
 * Its programs are attached to all functions that take an sk_buff, by the best rung that there is;
 * ends are told by the tracepoints at which the kernel frees a packet. What passes by in a list of
 * packets is seen where they are handled one by one.
 */
#include "path/follow.bpf.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

static __always_inline __u64 wakeup(void)
{
	return bpf_ringbuf_query(&path_events, BPF_RB_AVAIL_DATA) < ring_wakeup
		       ? BPF_RB_NO_WAKEUP
		       : BPF_RB_FORCE_WAKEUP;
}

static __always_inline void tell(void *ctx, struct sk_buff *skb, const struct packet *p,
				 __u64 packet, __u32 kind, __u32 hook, __u64 location, __u32 reason)
{
	struct path_event *event;

	if (with_stacks)
		event = bpf_ringbuf_reserve(&path_events, sizeof(*event), 0);
	else
		event = bpf_ringbuf_reserve(&path_events,
					    __builtin_offsetof(struct path_event, stack), 0);
	if (!event) {
		lost(LOSS_PATH_RING);
		return;
	}
	event->time_ns = bpf_ktime_get_ns();
	event->packet = packet;
	event->skb = (__u64)skb;
	event->location = location;
	event->flow = p->flow;
	__builtin_memcpy(event->interface, p->interface, IFNAMSIZ);
	event->netns = p->netns;
	event->mark = BPF_CORE_READ(skb, mark);
	event->length = p->length;
	event->reason = reason;
	event->hook = hook;
	event->cpu = bpf_get_smp_processor_id();
	event->kind = kind;
	event->depth = 0;
	if (with_stacks)
		event->depth = bpf_get_stack(ctx, event->stack, sizeof(event->stack), 0);
	bpf_ringbuf_submit(event, wakeup());
}

/* A packet that isn't followed yet is from here on, if it is asked for. */
static __always_inline __u64 find_or_follow(struct sk_buff *skb, struct packet *p)
{
	__u64 packet = find_followed(skb);
	bool is_new = !packet;

	if (is_new && (!is_ready || !is_asked_for(skb)))
		return 0;
	read_packet(p, skb, NULL);
	if (!is_new)
		return packet;
	packet = is_here(p) ? new_packet() : 0;
	if (packet)
		follow(skb, packet, (__u64)BPF_CORE_READ(skb, head), print_of(skb));
	return packet;
}

static __always_inline int step(void *ctx, struct sk_buff *skb, __u64 hook)
{
	struct packet p = {};
	__u64 packet, address = (__u64)skb;

	if (!skb)
		return 0;
	if (hook & HOOK_IS_END) {
		struct followed *followed = bpf_map_lookup_elem(&skbs, &address);

		if (followed) {
			packet = followed->packet;
			read_packet(&p, skb, NULL);
			tell(ctx, skb, &p, packet, PATH_FREED, hook >> HOOK_SHIFT, 0, 0);
		}
		forget(skb);
		return 0;
	}
	packet = find_or_follow(skb, &p);
	if (packet)
		tell(ctx, skb, &p, packet, PATH_STEP, hook >> HOOK_SHIFT, 0, 0);
	return 0;
}

/* Not a pointer that is worked out: a program's context is read at known places only. */
#define LOAD(value, ctx, offset)                                                                   \
	asm volatile("%0 = *(u64 *)(%1 + " #offset ")" : "=r"(value) : "r"(ctx))

#define LOAD_ARGUMENT(value, ctx, hook, first, second, third, fourth, fifth)                       \
	do {                                                                                       \
		switch ((hook)&HOOK_ARGUMENT) {                                                    \
		case 1:                                                                            \
			LOAD(value, ctx, first);                                                   \
			break;                                                                     \
		case 2:                                                                            \
			LOAD(value, ctx, second);                                                  \
			break;                                                                     \
		case 3:                                                                            \
			LOAD(value, ctx, third);                                                   \
			break;                                                                     \
		case 4:                                                                            \
			LOAD(value, ctx, fourth);                                                  \
			break;                                                                     \
		case 5:                                                                            \
			LOAD(value, ctx, fifth);                                                   \
			break;                                                                     \
		}                                                                                  \
	} while (0)

/* In the registers that functions have their arguments in. */
static __always_inline struct sk_buff *argument_in_registers(void *ctx, __u64 hook)
{
	__u64 value = 0;

#if defined(__TARGET_ARCH_x86)
	LOAD_ARGUMENT(value, ctx, hook, 112, 104, 96, 88, 72);
#elif defined(__TARGET_ARCH_arm64)
	LOAD_ARGUMENT(value, ctx, hook, 0, 8, 16, 24, 32);
#endif
	return (void *)value;
}

static __always_inline struct sk_buff *argument(void *ctx, __u64 hook)
{
	__u64 value = 0;

	LOAD_ARGUMENT(value, ctx, hook, 0, 8, 16, 24, 32);
	return (void *)value;
}

/* User space puts the hook of each copy of the program here. */
static __always_inline __u64 own_hook(void)
{
	__u64 hook;

	asm volatile("%0 = %1 ll" : "=r"(hook) : "i"(HOOK_MARK));
	return hook;
}

SEC("kprobe.multi")
int probed_of_many(struct pt_regs *ctx)
{
	__u64 hook = bpf_get_attach_cookie(ctx);

	return step(ctx, argument_in_registers(ctx, hook), hook);
}

SEC("kprobe")
int probed(struct pt_regs *ctx)
{
	__u64 hook = own_hook();

	return step(ctx, argument_in_registers(ctx, hook), hook);
}

/* Of any function; of this one the verifier's test. */
SEC("fentry/ip_rcv")
int entered(__u64 *ctx)
{
	__u64 hook = own_hook();

	return step(ctx, argument(ctx, hook), hook);
}

SEC("raw_tp")
int passed(__u64 *ctx)
{
	__u64 hook = own_hook();

	return step(ctx, argument(ctx, hook), hook);
}

static __always_inline int copied(void *ctx, struct sk_buff *skb, struct sk_buff *copy, __u32 hook)
{
	struct packet p = {};
	__u64 packet;

	if (!copy)
		return 0;
	packet = find_followed(skb);
	if (!packet)
		return 0;
	follow(copy, packet, (__u64)BPF_CORE_READ(copy, head), print_of(copy));
	read_packet(&p, skb, NULL);
	tell(ctx, copy, &p, packet, PATH_COPIED, hook, (__u64)skb, 0);
	return 0;
}

SEC("fexit/skb_clone")
int BPF_PROG(cloned, struct sk_buff *skb, gfp_t gfp, struct sk_buff *copy)
{
	return copied(ctx, skb, copy, COPY_CLONE);
}

SEC("fexit/skb_copy")
int BPF_PROG(copied_whole, struct sk_buff *skb, gfp_t gfp, struct sk_buff *copy)
{
	return copied(ctx, skb, copy, COPY_WHOLE);
}

SEC("fexit/__pskb_copy_fclone")
int BPF_PROG(copied_headers, struct sk_buff *skb, int headroom, gfp_t gfp, bool fclone,
	     struct sk_buff *copy)
{
	return copied(ctx, skb, copy, COPY_HEADERS);
}

SEC("fexit/skb_copy_expand")
int BPF_PROG(copied_expanded, struct sk_buff *skb, int headroom, int tailroom, gfp_t gfp,
	     struct sk_buff *copy)
{
	return copied(ctx, skb, copy, COPY_EXPANDED);
}

/* Of a packet that nobody saw before, a use tells nothing; a drop does. */
static __always_inline int end(void *ctx, struct sk_buff *skb, __u32 kind, __u64 location,
			       __u32 reason)
{
	struct packet p = {};
	__u64 packet;

	if (kind == PATH_DROPPED) {
		packet = find_or_follow(skb, &p);
	} else {
		packet = find_followed(skb);
		if (packet)
			read_packet(&p, skb, NULL);
	}
	if (packet)
		tell(ctx, skb, &p, packet, kind, 0, location, reason);
	forget(skb);
	return 0;
}

static __always_inline int freed(void *ctx, struct sk_buff *skb, __u64 location, __u32 reason)
{
	bool is_used_up = has_reasons && is_no_drop(reason);

	return end(ctx, skb, is_used_up ? PATH_CONSUMED : PATH_DROPPED, location, reason);
}

SEC("tp_btf/kfree_skb")
int BPF_PROG(dropped, struct sk_buff *skb, void *location)
{
	return freed(ctx, skb, (__u64)location, has_reasons ? ctx[2] : 0);
}

SEC("tp_btf/consume_skb")
int BPF_PROG(consumed, struct sk_buff *skb)
{
	return end(ctx, skb, PATH_CONSUMED, has_location ? ctx[1] : 0, 0);
}

/* By perf's way, where programs are never preempted. */
SEC("tracepoint")
int perf_dropped(struct trace_event_raw_kfree_skb *ctx)
{
	__u32 reason = 0;

	if (has_reasons)
		reason = ctx->reason;
	return freed(ctx, ctx->skbaddr, (__u64)ctx->location, reason);
}

SEC("tracepoint")
int perf_consumed(struct trace_event_raw_consume_skb *ctx)
{
	__u64 location = 0;

	if (has_location)
		location = (__u64)ctx->location;
	return end(ctx, ctx->skbaddr, PATH_CONSUMED, location, 0);
}
