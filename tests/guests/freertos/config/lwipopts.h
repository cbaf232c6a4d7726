/* Configuration of lwIP 2.2. The services use the raw API under the core lock: no thread and no stack a connection. */
#ifndef LWIPOPTS_H
#define LWIPOPTS_H

/* --- System. The NIC task takes the core lock and runs the stack itself: one task switch a burst of frames. */
#define NO_SYS 0
#define SYS_LIGHTWEIGHT_PROT 1
#define LWIP_TCPIP_CORE_LOCKING 1
#define LWIP_TCPIP_CORE_LOCKING_INPUT 1
#define LWIP_NETCONN 0
#define LWIP_SOCKET 0
#define LWIP_STATS 1 /* only how much of the heap is in use */
#define LWIP_STATS_DISPLAY 0
#define MEM_STATS 1
#define SYS_STATS 0
#define MEMP_STATS 0
#define LINK_STATS 0
#define ETHARP_STATS 0
#define IP_STATS 0
#define IPFRAG_STATS 0
#define ICMP_STATS 0
#define UDP_STATS 0
#define TCP_STATS 0
#define TCPIP_THREAD_STACKSIZE 8192 /* bytes */
#define TCPIP_THREAD_PRIO 4
#define TCPIP_MBOX_SIZE 32

/* --- Memory. Send buffers and small packets come from the heap, received frames from the pool. */
#define MEM_ALIGNMENT 4
#define MEM_SIZE (896 * 1024)
#define PBUF_POOL_SIZE 512
#define PBUF_POOL_BUFSIZE 1536
#define ETH_PAD_SIZE 2 /* puts IP and TCP headers, and so the data, on word boundaries: the core has no others */
#define MEMP_NUM_PBUF 64
#define MEMP_NUM_UDP_PCB 8
#define MEMP_NUM_TCP_PCB 80 /* 60 open ones (conn.c), others being refused or on their way out */
#define MEMP_NUM_TCP_PCB_LISTEN 8
#define MEMP_NUM_TCP_SEG 4096
#define MEMP_NUM_SYS_TIMEOUT (LWIP_NUM_SYS_TIMEOUT_INTERNAL + 2) /* our own: DHCP patience, calm after a panic */
#define MEMP_NUM_REASSDATA 8
#define MEMP_NUM_TCPIP_MSG_INPKT 8
#define MEMP_NUM_TCPIP_MSG_API 8

/* --- Protocols. */
#define LWIP_IPV4 1
#define LWIP_IPV6 0
#define LWIP_ARP 1
#define ARP_QUEUEING 1
#define LWIP_ICMP 1
#define LWIP_RAW 0
#define LWIP_UDP 1
#define LWIP_TCP 1
#define LWIP_DNS 0
#define LWIP_DHCP 1
#define LWIP_DHCP_DOES_ACD_CHECK 0 /* the gateway alone gives out addresses; probing costs a second of start-up */
#define IP_REASSEMBLY 1
#define IP_REASS_MAX_PBUFS 64
#define IP_FRAG 1
#define LWIP_NETIF_STATUS_CALLBACK 1
#define LWIP_NETIF_HOSTNAME 1

/* --- TCP. */
#define TCP_MSS 1460
#define TCP_WND (44 * TCP_MSS)
#define LWIP_WND_SCALE 1 /* for the peer's window; ours fits without */
#define TCP_RCV_SCALE 0
#define TCP_SND_BUF (88 * TCP_MSS)
#define TCP_SND_QUEUELEN (4 * 88)
#define TCP_SNDLOWAT (16 * TCP_MSS) /* only the socket API, which is off, reads it; the default exceeds its type */
#define TCP_LISTEN_BACKLOG 1
#define TCP_DEFAULT_LISTEN_BACKLOG 60 /* all that may be open at all: a burst is not dropped for want of it */
#define LWIP_TCP_SACK_OUT 1
#define TCP_QUEUE_OOSEQ 1
#define TCP_OOSEQ_MAX_PBUFS 64 /* a peer cannot park the whole pool behind a hole */
#define LWIP_TCP_TIMESTAMPS 0
/* lwIP counts retransmission time in slow ticks of twice this value and never goes below three of them. 250 ms (its
 * default) makes that 1 to 1.5 s; 50 ms makes it 200 to 300 ms, the minimum of Linux. Below that a slow commit of the
 * log would already look like a loss. */
#define TCP_TMR_INTERVAL 50
#define LWIP_TCP_RTO_TIME 1000 /* before the first measurement (RFC 6298 section 2) */
#define TCP_MSL 5000UL         /* one segment, no routes that delay for minutes: a closed port is free after 10 s */

#define CHECKSUM_GEN_IP 1
#define CHECKSUM_GEN_UDP 1
#define CHECKSUM_GEN_TCP 1
#define CHECKSUM_GEN_ICMP 1
#define CHECKSUM_CHECK_IP 1
#define CHECKSUM_CHECK_UDP 1
#define CHECKSUM_CHECK_TCP 1
#define CHECKSUM_CHECK_ICMP 1
#define LWIP_CHKSUM_ALGORITHM 3

/* Initial sequence numbers differ with each boot (RFC 6528). */
#define LWIP_HOOK_FILENAME "network_hooks.h"
#define LWIP_HOOK_TCP_ISN network_tcp_isn

#endif
