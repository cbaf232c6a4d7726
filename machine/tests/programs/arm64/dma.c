// A disk read into memory that is being executed: virtio-blk in slot 0, whose sector n holds `mov w0, #n; ret`.
#include "board.h"

volatile struct taken taken;

#define SLOT 0x0a000000ul
#define QUEUE 8
static struct { u64 address; u32 length; u16 flags, next; } descriptors[QUEUE] __attribute__((aligned(4096)));
static struct { u16 flags, index, ring[QUEUE], event; } available __attribute__((aligned(4096)));
static volatile struct { u16 flags, index; struct { u32 id, length; } ring[QUEUE]; u16 event; } used
    __attribute__((aligned(4096)));
static struct { u32 type, reserved; u64 sector; } request;
static volatile u8 status;
static u32 page[1024] __attribute__((aligned(4096)));

static void start(void)
{
    show("magic", REG(SLOT));
    show("device", REG(SLOT + 8));
    REG(SLOT + 0x70) = 0;
    REG(SLOT + 0x70) = 3;
    REG(SLOT + 0x24) = 1;
    REG(SLOT + 0x20) = 1; // VIRTIO_F_VERSION_1
    REG(SLOT + 0x24) = 0;
    REG(SLOT + 0x20) = 0;
    REG(SLOT + 0x70) = 3 | 8;
    REG(SLOT + 0x30) = 0;
    REG(SLOT + 0x38) = QUEUE;
    REG(SLOT + 0x80) = (u32)(u64)descriptors;
    REG(SLOT + 0x84) = 0;
    REG(SLOT + 0x90) = (u32)(u64)&available;
    REG(SLOT + 0x94) = 0;
    REG(SLOT + 0xa0) = (u32)(u64)&used;
    REG(SLOT + 0xa4) = 0;
    REG(SLOT + 0x44) = 1;
    REG(SLOT + 0x70) = 3 | 8 | 4;
}

static void read_sector(u64 sector, void *to)
{
    request.type = 0;
    request.sector = sector;
    status = 0xff;
    descriptors[0].address = (u64)&request;
    descriptors[0].length = 16;
    descriptors[0].flags = 1;
    descriptors[0].next = 1;
    descriptors[1].address = (u64)to;
    descriptors[1].length = 512;
    descriptors[1].flags = 3;
    descriptors[1].next = 2;
    descriptors[2].address = (u64)&status;
    descriptors[2].length = 1;
    descriptors[2].flags = 2;
    available.ring[available.index % QUEUE] = 0;
    DSB();
    available.index++;
    DSB();
    REG(SLOT + 0x50) = 0;
    while (used.index != available.index) {}
    DSB();
}

int main(void)
{
    u32 wrong = 0;
    start();
    for (u32 round = 0; round < 300; round++) {
        read_sector(round % 64, page + round % 8 * 128);
        synchronize(page, sizeof page);
        wrong += status != 0;
        wrong += ((u32 (*)(void))(page + round % 8 * 128))() != round % 64;
    }
    show("wrong", wrong);
    return 0;
}
