/* Driver for the register set of the SMSC LAN9118 data sheet (revision 1.5), chapter 5, as far as the emulations of
 * this board have it. Received frames raise RSFL; the handler masks it and wakes the task, which drains the FIFO. */
#include "lan9118.h"

#include "FreeRTOS.h"
#include "task.h"

#include "board.h"

#define RX_DATA REG32(LAN9118_BASE + 0x00)
#define TX_DATA REG32(LAN9118_BASE + 0x20)
#define RX_STATUS REG32(LAN9118_BASE + 0x40)
#define TX_STATUS REG32(LAN9118_BASE + 0x48)
#define ID_REV REG32(LAN9118_BASE + 0x50)
#define IRQ_CFG REG32(LAN9118_BASE + 0x54)
#define INT_STS REG32(LAN9118_BASE + 0x58)
#define INT_EN REG32(LAN9118_BASE + 0x5C)
#define FIFO_INT REG32(LAN9118_BASE + 0x68)
#define RX_CFG REG32(LAN9118_BASE + 0x6C)
#define TX_CFG REG32(LAN9118_BASE + 0x70)
#define HW_CFG REG32(LAN9118_BASE + 0x74)
#define RX_FIFO_INF REG32(LAN9118_BASE + 0x7C)
#define TX_FIFO_INF REG32(LAN9118_BASE + 0x80)
#define MAC_CSR_CMD REG32(LAN9118_BASE + 0xA4)
#define MAC_CSR_DATA REG32(LAN9118_BASE + 0xA8)

#define ID_LAN9118 0x0118u
#define IRQ_ENABLE 0x100u
#define IRQ_ACTIVE_HIGH 0x10u
#define IRQ_PUSH_PULL 0x01u
#define INT_RSFL 0x8u /* RX status FIFO above its level */
#define HW_SOFT_RESET 1u
#define HW_STORE_FORWARD (1u << 20)
#define HW_TX_FIFO_2K (2u << 16) /* all the rest of the 16 KB is for reception */
#define TX_ON 2u
#define TX_CMD_FIRST_LAST 0x3000u
#define RX_STATUS_ERROR 0x8000u

#define MAC_BUSY 0x80000000u
#define MAC_READ 0x40000000u
#define MAC_CR 1u
#define MAC_ADDRH 2u
#define MAC_ADDRL 3u
#define MAC_CR_FULL_DUPLEX 0x100000u
#define MAC_CR_TX_ENABLE 8u
#define MAC_CR_RX_ENABLE 4u

#define POLL_MAX 100000u /* bounds every wait for the controller; real ones end after a handful of turns */
#define TX_STATUS_KEPT 32u /* the status FIFO holds 128; nobody reads it for its contents */

struct lan9118_counters lan9118_counters;
static TaskHandle_t receiver;

static uint32_t mac_access(uint32_t command)
{
    MAC_CSR_CMD = MAC_BUSY | command;
    for (uint32_t i = 0; (MAC_CSR_CMD & MAC_BUSY) && i < POLL_MAX; i++)
        ;
    return MAC_CSR_DATA;
}

bool lan9118_init(void)
{
    if (ID_REV >> 16 != ID_LAN9118)
        return false;
    HW_CFG = HW_SOFT_RESET;
    for (uint32_t i = 0; (HW_CFG & HW_SOFT_RESET) && i < POLL_MAX; i++)
        ;
    HW_CFG = HW_STORE_FORWARD | HW_TX_FIFO_2K;
    INT_EN = 0;
    INT_STS = 0xFFFFFFFFu;
    /* The line idles high until it is made active high: only now may the interrupt be enabled. */
    IRQ_CFG = IRQ_ENABLE | IRQ_ACTIVE_HIGH | IRQ_PUSH_PULL;
    FIFO_INT = 0; /* RSFL as soon as one status waits */
    RX_CFG = LAN9118_PAD << 8;
    TX_CFG = TX_ON;
    MAC_CSR_DATA = MAC_CR_FULL_DUPLEX | MAC_CR_TX_ENABLE | MAC_CR_RX_ENABLE;
    mac_access(MAC_CR);
    return true;
}

void lan9118_read_mac(uint8_t mac[6])
{
    uint32_t low = mac_access(MAC_READ | MAC_ADDRL);
    uint32_t high = mac_access(MAC_READ | MAC_ADDRH);
    for (int i = 0; i < 6; i++)
        mac[i] = (uint8_t)(i < 4 ? low >> (8 * i) : high >> (8 * (i - 4)));
}

void lan9118_handler(void)
{
    BaseType_t switch_task = pdFALSE;
    INT_EN = 0;
    vTaskNotifyGiveFromISR(receiver, &switch_task);
    portYIELD_FROM_ISR(switch_task);
}

void lan9118_start(void)
{
    receiver = xTaskGetCurrentTaskHandle();
    irq_enable(IRQ_LAN9118);
}

void lan9118_wait(void)
{
    INT_EN = INT_RSFL;
    ulTaskNotifyTake(pdTRUE, portMAX_DELAY);
    /* Cleared before the FIFO is drained: a frame that comes after the last look sets it again. */
    INT_STS = INT_RSFL;
}

size_t lan9118_next(void)
{
    while ((RX_FIFO_INF >> 16) & 0xFF) {
        uint32_t status = RX_STATUS;
        size_t len = (status >> 16) & 0x3FFF; /* with FCS */
        if (!(status & RX_STATUS_ERROR) && len >= 14 + 4 && len <= LAN9118_FRAME_MAX + 4) {
            lan9118_counters.frames_in++;
            lan9118_counters.bytes_in += len - 4;
            return len - 4;
        }
        lan9118_counters.rx_errors++;
        if (len > 4)
            lan9118_skip(len - 4);
    }
    return 0;
}

/* Words in the data FIFO: padding, frame, FCS. */
static size_t fifo_words(size_t len)
{
    return (LAN9118_PAD + len + 4 + 3) / 4;
}

void lan9118_read(void *padded, size_t len)
{
    uint32_t *to = padded;
    size_t wanted = (LAN9118_PAD + len + 3) / 4;
    size_t words = fifo_words(len);
    for (; wanted >= 4; wanted -= 4, words -= 4, to += 4) {
        to[0] = RX_DATA;
        to[1] = RX_DATA;
        to[2] = RX_DATA;
        to[3] = RX_DATA;
    }
    for (; wanted; wanted--, words--)
        *to++ = RX_DATA;
    while (words--)
        (void)RX_DATA;
}

void lan9118_skip(size_t len)
{
    for (size_t words = fifo_words(len); words; words--)
        (void)RX_DATA;
}

bool lan9118_send(const void *padded, size_t len)
{
    const uint32_t *from = padded;
    size_t words = (LAN9118_PAD + len + 3) / 4;
    uint32_t room = TX_FIFO_INF;
    if (((room >> 16) & 0xFF) >= TX_STATUS_KEPT)
        for (uint32_t n = (room >> 16) & 0xFF; n; n--)
            (void)TX_STATUS;
    for (uint32_t i = 0; (TX_FIFO_INF & 0xFFFF) < 4 * (words + 2); i++)
        if (i == POLL_MAX) {
            lan9118_counters.tx_dropped++;
            return false;
        }
    TX_DATA = TX_CMD_FIRST_LAST | LAN9118_PAD << 16 | (uint32_t)len;
    TX_DATA = (uint32_t)len;
    for (; words >= 4; words -= 4, from += 4) {
        TX_DATA = from[0];
        TX_DATA = from[1];
        TX_DATA = from[2];
        TX_DATA = from[3];
    }
    while (words--)
        TX_DATA = *from++;
    lan9118_counters.frames_out++;
    lan9118_counters.bytes_out += len;
    return true;
}
