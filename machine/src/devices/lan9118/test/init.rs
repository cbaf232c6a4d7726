//! What a driver does before the first frame: identify, reset, address, PHY, timers, EEPROM, the pin.

use super::*;

#[test]
fn a_driver_brings_the_chip_up() {
    let mut bench = Bench::new();
    // Is it there, awake, and in our byte order?
    assert_eq!(bench.read(BYTE_TEST), 0x8765_4321);
    assert_eq!(bench.read(ID_REV), 0x0118_0001);
    assert_eq!(bench.read(PMT_CTRL) & PMT_CTRL_READY, PMT_CTRL_READY);
    // Soft reset clears itself, the address comes from the EEPROM.
    bench.write(HW_CFG, HW_CFG_SOFT_RESET);
    assert_eq!(bench.read(HW_CFG), 0x0005_0004);
    assert_eq!(bench.read(E2P_CMD) & 1 << 8, 1 << 8, "address loaded");
    assert_eq!(bench.mac_read(MAC_ADDRL), 0x0000_7702);
    assert_eq!(bench.mac_read(MAC_ADDRH), 0x0000_0200);
    // FIFO split, flow control thresholds, LEDs.
    bench.write(HW_CFG, 0x0015_0000);
    assert_eq!(bench.read(HW_CFG), 0x0015_0004);
    bench.write(AFC_CFG, 0x006e_3740);
    bench.write(GPIO_CFG, 0x7007_0000);
    assert_eq!(bench.tx_used(), (0, 4608));
    assert_eq!(bench.rx_used(), (0, 0));
    // The link is up and negotiated.
    assert_eq!(bench.phy_read(1, 2), 0x0007);
    assert_eq!(bench.phy_read(1, 3), 0xc0d1);
    assert_eq!(bench.phy_read(1, 1), 0x782d);
    // Pin active high; nothing to report.
    bench.write(INT_EN, 0);
    bench.write(INT_STS, 0xffff_ffff);
    bench.write(IRQ_CFG, 0x2200_0111);
    assert_eq!(bench.read(IRQ_CFG), 0x0000_0111);
    assert!(!bench.interrupted());
    // On.
    bench.mac_write(MAC_CR, TXEN | RXEN);
    bench.write(TX_CFG, tx_cfg::ON);
    assert_eq!(bench.mac_read(MAC_CR), TXEN | RXEN);
    assert_eq!(bench.read(INT_STS), 0);
}

#[test]
fn a_phy_bus_scan_finds_one() {
    let mut bench = Bench::new();
    let found: Vec<u32> = (0..32)
        .filter(|address| bench.phy_read(*address, 2) != 0xffff)
        .collect();
    assert_eq!(found, [1]);
}

#[test]
fn phy_events_interrupt_until_read() {
    let mut bench = Bench::running();
    bench.write(INT_EN, int::PHY);
    assert!(!bench.interrupted());
    bench.mac_write(MAC_MII_DATA, 0x00f0);
    bench.mac_write(MAC_MII_ACC, 1 << 11 | 30 << 6 | 2);
    assert!(bench.interrupted());
    bench.write(INT_STS, int::PHY);
    assert!(bench.interrupted(), "read only in INT_STS");
    assert_eq!(bench.phy_read(1, 29), 0xc0);
    assert!(!bench.interrupted());
}

#[test]
fn the_pin_follows_its_configuration() {
    let mut bench = Bench::new();
    let active_high = irq_cfg::ACTIVE_HIGH | irq_cfg::PUSH_PULL;
    assert!(bench.interrupted(), "open drain is active low: high at rest");
    bench.write(IRQ_CFG, irq_cfg::ENABLE | active_high);
    bench.write(INT_EN, int::SOFTWARE);
    assert!(bench.interrupted());
    assert_eq!(bench.read(IRQ_CFG) & irq_cfg::INT, irq_cfg::INT);
    bench.write(IRQ_CFG, active_high);
    assert!(!bench.interrupted(), "not driven");
    bench.write(IRQ_CFG, irq_cfg::ENABLE | irq_cfg::PUSH_PULL);
    assert!(!bench.interrupted(), "active low");
    bench.write(INT_STS, int::SOFTWARE);
    assert!(bench.interrupted());
}

#[test]
fn a_soft_reset_keeps_the_pin_and_forgets_the_rest() {
    let mut bench = Bench::running();
    bench.arrives(&frame(100));
    bench.mac_write(MAC_ADDRL, 0);
    bench.write(HW_CFG, HW_CFG_SOFT_RESET);
    assert_eq!(bench.read(IRQ_CFG), irq_cfg::ACTIVE_HIGH | irq_cfg::PUSH_PULL);
    assert_eq!(bench.rx_used(), (0, 0));
    assert_eq!(bench.read(INT_STS), 0);
    assert_eq!(bench.read(FIFO_INT), FIFO_INT_RESET);
    assert_eq!(bench.mac_read(MAC_ADDRL), 0x0000_7702);
    assert_eq!(bench.mac_read(MAC_CR), 0x0004_0000);
}

#[test]
fn fifo_sizes_are_those_of_the_data_sheet() {
    // TX_FIF_SZ: TX data, RX data, RX status bytes, from the table at HW_CFG.
    let table = [
        (2, 1536, 13440, 896),
        (5, 4608, 10560, 704),
        (9, 8704, 6720, 448),
        (14, 13824, 1920, 128),
    ];
    for (field, tx_data, rx_data, rx_status) in table {
        let sizes = FifoSizes::of(field << 16);
        assert_eq!(
            (
                sizes.tx_data_words * 4,
                sizes.rx_data_words * 4,
                sizes.rx_status_words * 4
            ),
            (tx_data, rx_data, rx_status),
            "TX_FIF_SZ {field}"
        );
    }
    let mut bench = Bench::new();
    bench.write(HW_CFG, 15 << 16);
    assert_eq!(bench.read(HW_CFG), HW_CFG_RESET, "no such split");
}

#[test]
fn free_run_counts_at_25_mhz_from_reset() {
    let mut bench = Bench::new();
    bench.write(HW_CFG, HW_CFG_SOFT_RESET);
    assert_eq!(bench.read(FREE_RUN), 0);
    bench.pass_ns(1_000_000);
    assert_eq!(bench.read(FREE_RUN), 25_000);
}

#[test]
fn the_timer_counts_down_interrupts_and_wraps() {
    let mut bench = Bench::running();
    bench.write(INT_EN, int::TIMER);
    bench.write(GPT_CFG, GPT_CFG_ENABLE | 10);
    assert_eq!(bench.chip.next_event(), Some(AgreedTime(bench.now.0 + 1_000_000)));
    bench.pass_ns(300_000);
    assert_eq!(bench.read(GPT_CNT), 7);
    assert!(!bench.interrupted());
    bench.pass_ns(700_000);
    bench
        .chip
        .run_events(&mut Context::new(bench.now, 0, &mut bench.emitted, &mut Vec::new()));
    assert!(bench.interrupted());
    assert_eq!(bench.chip.next_event(), None, "the guest knows already");
    bench.write(INT_STS, int::TIMER);
    assert_eq!(bench.read(GPT_CNT), 0xffff);
    assert_eq!(
        bench.chip.next_event(),
        Some(AgreedTime(bench.now.0 + 0xffff * 100_000))
    );
    bench.write(GPT_CFG, 0);
    assert_eq!((bench.chip.next_event(), bench.read(GPT_CNT)), (None, 0xffff));
}

#[test]
fn the_eeprom_can_be_read_written_and_reloaded() {
    let mut bench = Bench::new();
    let read = |bench: &mut Bench, address: u32| {
        bench.write(E2P_CMD, 1 << 31 | address);
        assert_eq!(bench.read(E2P_CMD) >> 31, 0);
        bench.read(E2P_DATA) as u8
    };
    let stored: Vec<u8> = (0..7).map(|address| read(&mut bench, address)).collect();
    assert_eq!(stored, [0xa5, 0x02, 0x77, 0, 0, 0, 2]);
    let change = |bench: &mut Bench, command: u32, address: u32, data: u32| {
        bench.write(E2P_DATA, data);
        bench.write(E2P_CMD, 1 << 31 | command << 28 | address);
    };
    change(&mut bench, 5, 6, 0);
    assert_eq!(read(&mut bench, 6), 2, "not enabled");
    change(&mut bench, 2, 0, 0); // write enable
    change(&mut bench, 5, 6, 0); // erase
    change(&mut bench, 3, 6, 9); // write
    change(&mut bench, 7, 0, 0); // reload
    assert_eq!(bench.mac_read(MAC_ADDRH), 0x0900);
    bench.chip.reset();
    assert_eq!(read(&mut bench, 6), 9, "the memory outlives a reset");
}
