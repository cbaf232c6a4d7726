/* Ties the network card to lwIP and gets an address: DHCP, or after a while the canonical one. */
#ifndef NETWORK_H
#define NETWORK_H

#include "lwip/netif.h"

/* Starts lwIP; `ready` runs in its thread, under the core lock, to start the services. */
void network_start(void (*ready)(void));
extern struct netif network_interface;

#endif
