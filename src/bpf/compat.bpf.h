/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Flavours of kernel structs as other kernels have them, and nowhere else. */
#ifndef NETTRACE_COMPAT_BPF_H
#define NETTRACE_COMPAT_BPF_H

#include "nettrace.bpf.h"

/*
 * Since 6.18 a UDP or raw socket counts its drops in a struct per NUMA half, behind
 * sock.sk_drop_counters; sock.sk_drops then stays 0.
 */
struct numa_drop_counters___6_18 {
	atomic_t drops0;
	atomic_t drops1;
} __attribute__((preserve_access_index));

struct sock___6_18 {
	struct numa_drop_counters___6_18 *sk_drop_counters;
} __attribute__((preserve_access_index));

static __always_inline __u32 sock_drops(struct sock *sk, bool by_address)
{
	struct sock___6_18 *new = (void *)sk;
	struct numa_drop_counters___6_18 *counters;

	if (bpf_core_field_exists(new->sk_drop_counters)) {
		counters =
			by_address ? BPF_CORE_READ(new, sk_drop_counters) : new->sk_drop_counters;
		if (counters && by_address)
			return BPF_CORE_READ(counters, drops0.counter) +
			       BPF_CORE_READ(counters, drops1.counter);
		if (counters)
			return counters->drops0.counter + counters->drops1.counter;
	}
	return by_address ? BPF_CORE_READ(sk, sk_drops.counter) : sk->sk_drops.counter;
}

/* Numbers of system calls, by architecture. */
#if defined(__TARGET_ARCH_x86)
#define SYS_READ     0
#define SYS_WRITE    1
#define SYS_READV    19
#define SYS_WRITEV   20
#define SYS_SENDTO   44
#define SYS_RECVFROM 45
#define SYS_SENDMSG  46
#define SYS_RECVMSG  47
#elif defined(__TARGET_ARCH_arm64)
#define SYS_READ     63
#define SYS_WRITE    64
#define SYS_READV    65
#define SYS_WRITEV   66
#define SYS_SENDTO   206
#define SYS_RECVFROM 207
#define SYS_SENDMSG  211
#define SYS_RECVMSG  212
#endif

/* Until 6.4 sendfile() and splice() went by sendpage, where the protocol had one. */
struct proto___6_4 {
	void *sendpage;
} __attribute__((preserve_access_index));

static __always_inline bool has_sendpage(struct sock *sk, bool by_address)
{
	struct proto___6_4 *proto;

	if (by_address) {
		proto = (void *)BPF_CORE_READ(sk, __sk_common.skc_prot);
		return bpf_core_field_exists(proto->sendpage) && BPF_CORE_READ(proto, sendpage);
	}
	proto = (void *)sk->__sk_common.skc_prot;
	return bpf_core_field_exists(proto->sendpage) && proto->sendpage;
}

/* Until 6.3 a bit said whether vlan_tci means something (354259fa73e2). */
struct sk_buff___6_3 {
	__u8 vlan_present : 1;
} __attribute__((preserve_access_index));

static __always_inline bool skb_has_vlan_tag(struct sk_buff *skb)
{
	struct sk_buff___6_3 *old = (void *)skb;

	if (bpf_core_field_exists(old->vlan_present))
		return BPF_CORE_READ_BITFIELD_PROBED(old, vlan_present);
	return BPF_CORE_READ(skb, vlan_all) != 0;
}

#endif
