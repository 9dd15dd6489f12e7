/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Numbers in packets' headers that are no enums in the kernel, and so not in its types. */
#ifndef NETTRACE_HEADERS_BPF_H
#define NETTRACE_HEADERS_BPF_H

#define ETH_P_IP      0x0800
#define ETH_P_ARP     0x0806
#define ETH_P_TEB     0x6558
#define ETH_P_8021Q   0x8100
#define ETH_P_IPV6    0x86dd
#define ETH_P_8021AD  0x88a8
#define VLAN_VID_MASK 0x0fff

#define ETH_P_802_3	1
#define ETH_P_802_3_MIN 0x0600 /* below, the type is a length */

#define IPPROTO_HOPOPTS	 0
#define IPPROTO_ROUTING	 43
#define IPPROTO_FRAGMENT 44
#define IPPROTO_ICMPV6	 58
#define IPPROTO_DSTOPTS	 60
#define IPPROTO_MH	 135

#define IP_FRAGMENT_OFFSET 0x1fff
#define IP_MORE_FRAGMENTS  0x2000

#endif
