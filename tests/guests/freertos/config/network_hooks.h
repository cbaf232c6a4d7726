/* Functions lwIP calls back by name (LWIP_HOOK_*). */
#ifndef NETWORK_HOOKS_H
#define NETWORK_HOOKS_H

#include "lwip/ip_addr.h"

u32_t network_tcp_isn(const ip_addr_t *local, u16_t local_port, const ip_addr_t *remote, u16_t remote_port);

#endif
