// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* Somebody else's XDP programs, each with a verdict of its own for UDP; all else passes. */
#include "nettrace.bpf.h"
#include "headers.bpf.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

struct frame {
	__u8 link[12];
	__be16 type;
	struct iphdr ip;
} __attribute__((packed));

struct {
	__uint(type, BPF_MAP_TYPE_CPUMAP);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} cpus SEC(".maps");

static __always_inline bool is_udp(struct xdp_md *xdp)
{
	struct frame *frame = (void *)(long)xdp->data;

	return (void *)(frame + 1) <= (void *)(long)xdp->data_end &&
	       frame->type == bpf_htons(ETH_P_IP) && frame->ip.protocol == IPPROTO_UDP;
}

SEC("xdp")
int pass_all(struct xdp_md *xdp)
{
	return XDP_PASS;
}

SEC("xdp")
int drop_udp(struct xdp_md *xdp)
{
	return is_udp(xdp) ? XDP_DROP : XDP_PASS;
}

SEC("xdp")
int abort_udp(struct xdp_md *xdp)
{
	return is_udp(xdp) ? XDP_ABORTED : XDP_PASS;
}

SEC("xdp")
int bounce_udp(struct xdp_md *xdp)
{
	return is_udp(xdp) ? XDP_TX : XDP_PASS;
}

/* Out of the interface that it came by. */
SEC("xdp")
int redirect_udp(struct xdp_md *xdp)
{
	return is_udp(xdp) ? bpf_redirect(xdp->ingress_ifindex, 0) : XDP_PASS;
}

/* To another CPU, which gives it to the stack. */
SEC("xdp")
int spread_udp(struct xdp_md *xdp)
{
	return is_udp(xdp) ? bpf_redirect_map(&cpus, 0, 0) : XDP_PASS;
}
