/* The receive task takes frames from the card and runs lwIP itself under the core lock (LWIP_TCPIP_CORE_LOCKING_INPUT);
 * lwIP's own thread only runs the timers. */
#include "network.h"

#include "FreeRTOS.h"
#include "task.h"

#include "lwip/dhcp.h"
#include "lwip/etharp.h"
#include "lwip/tcpip.h"
#include "lwip/timeouts.h"
#include "netif/ethernet.h"

#include "boot.h"
#include "lan9118.h"
#include "network_hooks.h"
#include "panic.h"
#include "text.h"
#include "uart.h"

_Static_assert(ETH_PAD_SIZE == LAN9118_PAD, "card and stack must agree on the padding");

/* The quorate gateway answers DHCP at once; without an answer the guest stands on the address the gateway expects. */
#define DHCP_PATIENCE_MS 2000
#define RECEIVE_PRIORITY 4
#define RECEIVE_STACK_WORDS 2048 /* every service's callbacks run on it */

struct netif network_interface;
static void (*services_ready)(void);

static err_t send_frame(struct netif *netif, struct pbuf *p)
{
    (void)netif;
    static uint32_t gathered[(LAN9118_PAD + LAN9118_FRAME_MAX + 3) / 4];
    const void *padded = p->payload;
    if (p->tot_len > LAN9118_PAD + LAN9118_FRAME_MAX)
        return ERR_BUF;
    if (p->next || ((uintptr_t)padded & 3)) {
        pbuf_copy_partial(p, gathered, p->tot_len, 0);
        padded = gathered;
    }
    return lan9118_send(padded, p->tot_len - LAN9118_PAD) ? ERR_OK : ERR_IF;
}

static void receive_task(void *unused)
{
    (void)unused;
    lan9118_start();
    for (;;) {
        lan9118_wait();
        for (size_t len; (len = lan9118_next()) != 0;) {
            struct pbuf *p = pbuf_alloc(PBUF_RAW, (u16_t)(LAN9118_PAD + len), PBUF_POOL);
            if (!p) {
                lan9118_skip(len);
                lan9118_counters.rx_dropped++;
                continue;
            }
            lan9118_read(p->payload, len);
            if (network_interface.input(p, &network_interface) != ERR_OK)
                pbuf_free(p);
        }
    }
}
_Static_assert(PBUF_POOL_BUFSIZE >= LAN9118_PAD + LAN9118_FRAME_MAX + 3, "a frame must fit one buffer of the pool");

static err_t init_interface(struct netif *netif)
{
    netif->name[0] = 'e';
    netif->name[1] = 'n';
    netif->hostname = "quorate-guest";
    netif->output = etharp_output;
    netif->linkoutput = send_frame;
    netif->mtu = 1500;
    netif->hwaddr_len = 6;
    lan9118_read_mac(netif->hwaddr);
    netif->flags = NETIF_FLAG_BROADCAST | NETIF_FLAG_ETHARP | NETIF_FLAG_ETHERNET | NETIF_FLAG_LINK_UP;
    return ERR_OK;
}

static void fall_back(void *unused)
{
    (void)unused;
    if (!ip4_addr_isany(netif_ip4_addr(&network_interface)))
        return;
    ip4_addr_t address, mask, gateway;
    IP4_ADDR(&address, 10, 77, 0, 2);
    IP4_ADDR(&mask, 255, 255, 255, 0);
    IP4_ADDR(&gateway, 10, 77, 0, 1);
    dhcp_stop(&network_interface);
    netif_set_addr(&network_interface, &address, &mask, &gateway);
}

static void status_changed(struct netif *netif)
{
    static uint32_t announced;
    uint32_t address = ip4_addr_get_u32(netif_ip4_addr(netif));
    if (address == announced)
        return;
    announced = address;
    char buf[64];
    struct text line;
    text_init(&line, buf, sizeof buf);
    if (address) {
        boot_fix_identity(netif->hwaddr, address);
        text_str(&line, "net up ");
        text_ip4(&line, address);
    } else {
        text_str(&line, "net down");
    }
    text_char(&line, '\n');
    uart_write(line.buf, line.len);
}

static void stack_ready(void *unused)
{
    (void)unused;
    LOCK_TCPIP_CORE();
    netif_add(&network_interface, IP4_ADDR_ANY4, IP4_ADDR_ANY4, IP4_ADDR_ANY4, NULL, init_interface, tcpip_input);
    netif_set_default(&network_interface);
    netif_set_status_callback(&network_interface, status_changed);
    netif_set_up(&network_interface);
    services_ready();
    dhcp_start(&network_interface);
    sys_timeout(DHCP_PATIENCE_MS, fall_back, NULL);
    UNLOCK_TCPIP_CORE();
    if (xTaskCreate(receive_task, "nic", RECEIVE_STACK_WORDS, NULL, RECEIVE_PRIORITY, NULL) != pdPASS)
        panic("no memory for the receive task");
}

void network_start(void (*ready)(void))
{
    if (!lan9118_init())
        panic("no LAN9118");
    services_ready = ready;
    tcpip_init(stack_ready, NULL);
}

/* RFC 6528: a clock of 4 us steps plus a hash of the connection under this boot's secret. The hash is no cryptographic
 * one: nobody this guest must not trust can hide behind a guess here. */
u32_t network_tcp_isn(const ip_addr_t *local, u16_t local_port, const ip_addr_t *remote, u16_t remote_port)
{
    static uint32_t secret;
    if (!secret)
        secret = boot_random() | 1;
    const uint32_t parts[] = {ip4_addr_get_u32(ip_2_ip4(local)), ip4_addr_get_u32(ip_2_ip4(remote)),
                              (uint32_t)local_port << 16 | remote_port};
    uint32_t hash = secret;
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        hash = (hash ^ parts[i]) * 0x9E3779B1u;
        hash ^= hash >> 15;
    }
    return hash + sys_now() * 250u;
}
