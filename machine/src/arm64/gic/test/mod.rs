//! Transcripts of drivers, rules of the manual (IHI 0048B), and random accesses.

mod random;
mod registers;

use super::cpu_interface::*;
use super::distributor::{self as dist, *};
use super::*;

/// A PPI and two SPIs.
const TIMER: u32 = 27;
const UART: u32 = 33;
const DISK: u32 = 48;

/// A controller as Linux leaves it: everything of group 0, at priority 0xa0, level-sensitive.
fn running() -> Gic {
    let mut gic = Gic::new();
    for id in 0..INTERRUPTS {
        gic.distributor_write(IPRIORITYR + id, 1, 0xa0);
    }
    for id in [TIMER, UART, DISK] {
        enable(&mut gic, id);
    }
    gic.distributor_write(dist::CTLR, 4, 1);
    gic.cpu_write(PMR, 4, 0xf0);
    gic.cpu_write(cpu_interface::CTLR, 4, 1);
    gic
}

/// The access to the bit of `id` in the set of words at `register`.
fn set_bit(gic: &mut Gic, register: u32, id: u32) {
    gic.distributor_write(register + id / 32 * 4, 4, 1 << (id % 32));
}

fn bit(gic: &Gic, register: u32, id: u32) -> bool {
    gic.distributor_read(register + id / 32 * 4, 4) >> (id % 32) & 1 != 0
}

fn enable(gic: &mut Gic, id: u32) {
    set_bit(gic, ISENABLER, id);
}

fn set_priority(gic: &mut Gic, id: u32, priority: u8) {
    gic.distributor_write(IPRIORITYR + id, 1, u32::from(priority));
}

fn set_edge_triggered(gic: &mut Gic, id: u32) {
    let register = ICFGR + id / 16 * 4;
    let value = gic.distributor_read(register, 4) | 0b10 << (2 * (id % 16));
    gic.distributor_write(register, 4, value);
}

fn drive(gic: &mut Gic, id: u32, level: bool) {
    if id < FIRST_SPI {
        gic.set_ppi(id, level);
    } else {
        let bit = 1 << (id - FIRST_SPI);
        let others = gic.lines() & !bit;
        gic.set_lines(if level { others | bit } else { others });
    }
}

fn acknowledge(gic: &mut Gic) -> u32 {
    gic.cpu_read(IAR, 4)
}

fn end(gic: &mut Gic, id: u32) {
    gic.cpu_write(EOIR, 4, id);
}

fn running_priority(gic: &mut Gic) -> u32 {
    gic.cpu_read(RPR, 4)
}

#[test]
fn an_interrupt_from_line_to_end() {
    let mut gic = running();
    assert!(!gic.irq_asserted());
    assert_eq!(acknowledge(&mut gic), SPURIOUS);
    drive(&mut gic, UART, true);
    assert!(gic.irq_asserted() && !gic.fiq_asserted());
    assert_eq!(gic.cpu_read(HPPIR, 4), UART);
    assert_eq!(acknowledge(&mut gic), UART);
    assert!(!gic.irq_asserted() && bit(&gic, ISACTIVER, UART));
    assert_eq!(running_priority(&mut gic), 0xa0);
    drive(&mut gic, UART, false);
    end(&mut gic, UART);
    assert!(!gic.irq_asserted() && !bit(&gic, ISACTIVER, UART));
    assert_eq!((running_priority(&mut gic), acknowledge(&mut gic)), (0xff, SPURIOUS));
}

/// 3.2.4, figure 3-1: active and pending while the line stays high.
#[test]
fn a_high_line_comes_again_until_it_falls() {
    let mut gic = running();
    for id in [TIMER, UART] {
        drive(&mut gic, id, true);
        for _ in 0..3 {
            assert_eq!(acknowledge(&mut gic), id);
            assert!(bit(&gic, ISPENDR, id) && bit(&gic, ISACTIVER, id));
            end(&mut gic, id);
            assert!(gic.irq_asserted());
        }
        set_bit(&mut gic, ICPENDR, id);
        assert!(gic.irq_asserted(), "software cannot clear what the line asserts");
        drive(&mut gic, id, false);
        assert!(!gic.irq_asserted());
    }
}

#[test]
fn an_edge_is_remembered_and_comes_once() {
    let mut gic = running();
    set_edge_triggered(&mut gic, UART);
    drive(&mut gic, UART, true);
    drive(&mut gic, UART, false);
    assert_eq!(acknowledge(&mut gic), UART);
    drive(&mut gic, UART, true); // again, while its handler runs
    assert!(!gic.irq_asserted());
    end(&mut gic, UART);
    assert_eq!(acknowledge(&mut gic), UART);
    end(&mut gic, UART);
    assert!(!gic.irq_asserted(), "the line is still high, but does not rise");
    drive(&mut gic, UART, false);
    drive(&mut gic, UART, true);
    set_bit(&mut gic, ICPENDR, UART);
    assert!(!gic.irq_asserted());
}

/// 4.3.7: software may make any SPI or PPI pending, whatever its line does.
#[test]
fn software_pends_and_unpends() {
    let mut gic = running();
    for id in [TIMER, DISK] {
        set_bit(&mut gic, ISPENDR, id);
        assert_eq!(acknowledge(&mut gic), id);
        end(&mut gic, id);
        assert!(!gic.irq_asserted());
        set_bit(&mut gic, ISPENDR, id);
        set_bit(&mut gic, ICPENDR, id);
        assert!(!gic.irq_asserted());
    }
    set_bit(&mut gic, ISPENDR, 3);
    assert!(!gic.irq_asserted(), "not an SGI");
}

#[test]
fn urgency_then_number_decides() {
    let mut gic = running();
    for id in [DISK, UART, TIMER] {
        drive(&mut gic, id, true);
    }
    set_priority(&mut gic, DISK, 0x80);
    assert_eq!(acknowledge(&mut gic), DISK);
    assert_eq!(acknowledge(&mut gic), SPURIOUS, "less urgent ones wait");
    drive(&mut gic, DISK, false);
    end(&mut gic, DISK);
    assert_eq!(acknowledge(&mut gic), TIMER);
}

/// 3.3.3: only a more urgent group priority preempts, and ends are nested.
#[test]
fn preemption_and_the_binary_point() {
    let mut gic = running();
    set_priority(&mut gic, DISK, 0x98);
    drive(&mut gic, UART, true);
    assert_eq!(acknowledge(&mut gic), UART);
    drive(&mut gic, DISK, true);
    assert_eq!(acknowledge(&mut gic), DISK);
    assert_eq!(running_priority(&mut gic), 0x98);
    assert_eq!(gic.cpu_read(APR0, 4), 1 << (0x98 >> 3) | 1 << (0xa0 >> 3));
    drive(&mut gic, DISK, false);
    end(&mut gic, DISK);
    assert_eq!(running_priority(&mut gic), 0xa0);

    end(&mut gic, UART);
    gic.cpu_write(BPR, 4, 5); // group priority: bits 7 and 6, the same for both
    assert_eq!(acknowledge(&mut gic), UART);
    drive(&mut gic, DISK, true);
    assert!(!gic.irq_asserted());
    end(&mut gic, UART);
    assert_eq!(acknowledge(&mut gic), DISK);
    assert_eq!(running_priority(&mut gic), 0x80);
    gic.cpu_write(BPR, 4, 7);
    set_priority(&mut gic, UART, 0);
    end(&mut gic, DISK);
    drive(&mut gic, DISK, false);
    assert_eq!(acknowledge(&mut gic), UART);
    assert_eq!(running_priority(&mut gic), 0, "no group priority at all");
}

/// 3.3.2: an interrupt as urgent as the mask does not interrupt; it still shows as the highest pending one.
#[test]
fn the_priority_mask_holds_back() {
    let mut gic = running();
    drive(&mut gic, UART, true);
    gic.cpu_write(PMR, 4, 0xa0);
    assert!(!gic.irq_asserted());
    assert_eq!((acknowledge(&mut gic), gic.cpu_read(HPPIR, 4)), (SPURIOUS, UART));
    gic.cpu_write(PMR, 4, 0xa7);
    assert!(!gic.irq_asserted(), "the mask has five bits too");
    gic.cpu_write(PMR, 4, 0xa8);
    assert_eq!(acknowledge(&mut gic), UART);
    set_priority(&mut gic, DISK, 0xff);
    gic.cpu_write(PMR, 4, 0xff);
    end(&mut gic, UART);
    drive(&mut gic, UART, false);
    drive(&mut gic, DISK, true);
    assert!(!gic.irq_asserted(), "the lowest priority never interrupts");
}

#[test]
fn disabled_interrupts_wait() {
    let mut gic = running();
    drive(&mut gic, UART, true);
    set_bit(&mut gic, ICENABLER, UART);
    assert!(!gic.irq_asserted() && bit(&gic, ISPENDR, UART));
    enable(&mut gic, UART);
    gic.distributor_write(dist::CTLR, 4, 0);
    assert_eq!((gic.irq_asserted(), acknowledge(&mut gic)), (false, SPURIOUS));
    gic.distributor_write(dist::CTLR, 4, 1);
    gic.cpu_write(cpu_interface::CTLR, 4, 0);
    assert_eq!((gic.irq_asserted(), acknowledge(&mut gic)), (false, SPURIOUS));
    assert_eq!(gic.cpu_read(HPPIR, 4), SPURIOUS);
    gic.cpu_write(cpu_interface::CTLR, 4, 1);
    drive(&mut gic, UART, false);
    enable(&mut gic, UART);
    assert!(!gic.irq_asserted(), "to enable latches nothing");
}

/// 4.3.15 to 4.3.17.
#[test]
fn software_interrupts() {
    let mut gic = running();
    for value in [0x0001_0005, 0x0200_0005, 0x02fe_0005] {
        gic.distributor_write(SGIR, 4, value);
        assert_eq!(gic.distributor_read(SPENDSGIR + 4, 4), 1 << 8);
        assert_eq!(gic.distributor_read(CPENDSGIR + 5, 1), 1);
        assert!(bit(&gic, ISPENDR, 5));
        assert_eq!(acknowledge(&mut gic), 5);
        end(&mut gic, 5);
    }
    for value in [0x00fe_0005, 0x0100_0005, 0x03ff_0005] {
        gic.distributor_write(SGIR, 4, value);
        assert!(!gic.irq_asserted(), "{value:#x} is for other CPUs, or none");
    }
    gic.distributor_write(SGIR, 1, 5);
    gic.distributor_write(SPENDSGIR + 12, 4, 0x01fe_0100);
    assert_eq!(gic.distributor_read(ISPENDR, 4), 1 << 13 | 1 << 15);
    gic.distributor_write(CPENDSGIR + 13, 1, 0xff);
    gic.distributor_write(CPENDSGIR + 15, 1, 0xfe);
    assert_eq!(acknowledge(&mut gic), 15);
}

/// 4.4.5 and 4.4.15, as KVM and Xen use it.
#[test]
fn priority_drop_and_deactivation_can_be_separate() {
    let mut gic = running();
    drive(&mut gic, UART, true);
    gic.cpu_write(cpu_interface::CTLR, 4, 1 | CTLR_EOI_MODE);
    assert_eq!(acknowledge(&mut gic), UART);
    end(&mut gic, UART);
    assert_eq!(running_priority(&mut gic), 0xff);
    assert!(bit(&gic, ISACTIVER, UART) && !gic.irq_asserted());
    drive(&mut gic, DISK, true);
    assert_eq!(acknowledge(&mut gic), DISK, "others may interrupt meanwhile");
    end(&mut gic, DISK);
    gic.cpu_write(DIR, 4, UART);
    assert_eq!(acknowledge(&mut gic), UART);
    gic.cpu_write(cpu_interface::CTLR, 4, 1);
    gic.cpu_write(DIR, 4, UART);
    assert!(
        bit(&gic, ISACTIVER, UART),
        "nothing is deactivated by itself in the other mode"
    );
}

/// 3.8.2 and 4.4.4: who sees which group.
#[test]
fn two_groups() {
    let mut gic = running();
    set_bit(&mut gic, IGROUPR, UART);
    drive(&mut gic, UART, true);
    assert!(!gic.irq_asserted(), "group 1 is not enabled");
    gic.distributor_write(dist::CTLR, 4, 3);
    assert!(!gic.irq_asserted());
    gic.cpu_write(cpu_interface::CTLR, 4, 3 | CTLR_FIQ_EN);
    assert!(gic.irq_asserted() && !gic.fiq_asserted());
    assert_eq!(acknowledge(&mut gic), SPURIOUS_OF_GROUP_1);
    assert_eq!(gic.cpu_read(HPPIR, 4), SPURIOUS_OF_GROUP_1);
    assert_eq!(gic.cpu_read(AHPPIR, 4), UART);
    assert_eq!(gic.cpu_read(AIAR, 4), UART);
    assert_eq!((gic.cpu_read(APR0, 4), gic.cpu_read(NSAPR0, 4)), (0, 1 << 20));

    set_priority(&mut gic, DISK, 0x90);
    drive(&mut gic, DISK, true);
    assert!(gic.fiq_asserted() && !gic.irq_asserted());
    assert_eq!((gic.cpu_read(AIAR, 4), gic.cpu_read(AHPPIR, 4)), (SPURIOUS, SPURIOUS));
    assert_eq!(acknowledge(&mut gic), DISK);
    drive(&mut gic, DISK, false);
    gic.cpu_write(AEOIR, 4, DISK);
    assert!(bit(&gic, ISACTIVER, DISK), "the alias does not end group 0");
    end(&mut gic, DISK);
    gic.cpu_write(AEOIR, 4, UART);
    assert_eq!((gic.cpu_read(APR0, 4), gic.cpu_read(NSAPR0, 4)), (0, 0));

    gic.cpu_write(cpu_interface::CTLR, 4, 3 | CTLR_ACK_CTL);
    assert_eq!(acknowledge(&mut gic), UART);
    end(&mut gic, UART);
    set_priority(&mut gic, DISK, 0x10);
    drive(&mut gic, DISK, true);
    gic.distributor_write(dist::CTLR, 4, 2);
    assert_eq!(acknowledge(&mut gic), UART, "what is not forwarded hides nothing");
}

/// Table 3-2: group 1 has a binary point of its own, unless GICC_CTLR.CBPR is set.
#[test]
fn the_binary_point_of_group_1() {
    let mut gic = running();
    gic.distributor_write(dist::CTLR, 4, 3);
    gic.cpu_write(cpu_interface::CTLR, 4, 3 | CTLR_ACK_CTL);
    gic.distributor_write(IGROUPR + 4, 4, u32::MAX);
    set_priority(&mut gic, UART, 0xb8);
    gic.cpu_write(ABPR, 4, 5);
    drive(&mut gic, UART, true);
    assert_eq!(acknowledge(&mut gic), UART);
    assert_eq!(running_priority(&mut gic), 0xa0);
    drive(&mut gic, DISK, true);
    assert!(!gic.irq_asserted());
    gic.cpu_write(NSAPR0, 4, 1 << (0xb8 >> 3));
    gic.cpu_write(cpu_interface::CTLR, 4, 3 | CTLR_ACK_CTL | CTLR_CBPR);
    assert!(gic.irq_asserted(), "with all five bits it is more urgent");
}

/// The lines are the devices'; a reset of the board lowers them, if it does, by resetting those.
#[test]
fn reset_keeps_only_the_lines() {
    let mut gic = running();
    drive(&mut gic, UART, true);
    drive(&mut gic, TIMER, true);
    acknowledge(&mut gic);
    gic.reset();
    assert!(!gic.irq_asserted());
    assert_eq!((gic.lines(), gic.ppis()), (0b10, 1 << TIMER));
    drive(&mut gic, UART, false);
    drive(&mut gic, TIMER, false);
    assert_eq!(gic, Gic::new());
}

#[test]
fn ends_of_what_does_not_run_do_nothing() {
    let mut gic = running();
    drive(&mut gic, UART, true);
    let before = gic.clone();
    for value in [0, UART, 127, 128, 1022, SPURIOUS, u32::MAX] {
        end(&mut gic, value);
    }
    assert_eq!(gic, before);
    acknowledge(&mut gic);
    let before = gic.clone();
    for value in [128, 1020, SPURIOUS, u32::MAX] {
        end(&mut gic, value);
    }
    assert_eq!(gic, before);
}

#[test]
#[should_panic(expected = "interrupt 32 is no PPI")]
fn a_wire_to_nowhere_is_our_own_fault() {
    Gic::new().set_ppi(FIRST_SPI, true);
}
