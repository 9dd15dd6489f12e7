/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What packets are counted by, of all XDP programs of ours. */
#ifndef NETTRACE_XDP_PROTOCOLS_BPF_H
#define NETTRACE_XDP_PROTOCOLS_BPF_H

#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_endian.h>

enum packet_protocol {
	PACKET_TCP,
	PACKET_UDP,
	PACKET_ICMP,
	PACKET_ICMP6,
	PACKET_SCTP,
	PACKET_IP, /* something else on IP, or behind an extension header */
	PACKET_ARP,
	PACKET_OTHER,
	PACKET_PROTOCOLS,
};

struct packet_count {
	__u64 packets;
	__u64 bytes; /* as the program left them */
};

#endif
