//! What the machine needs from the CPU engine, asked over the safe crate's `Unicorn` and the functions our patches add.
#![allow(unsafe_code, clippy::unwrap_used)] // the functions our patches add exist only as raw ones

use std::cell::Cell;
use std::rc::Rc;
use unicorn_engine::{Arch, Mode, Prot, RegisterARM as A, RegisterARM64 as A64, Unicorn};
use unicorn_engine_sys as sys;

const CORTEX_M3: i32 = 8;
const WFI: u16 = 0xbf30;

fn thumb(code: &[u16]) -> Vec<u8> {
    code.iter().flat_map(|halfword| halfword.to_le_bytes()).collect()
}

/// A Cortex-M3 (it has everything an M0 has, and more) with `code` at 0x100.
fn m3(code: &[u16]) -> Unicorn<'static, ()> {
    let mut engine = Unicorn::new(Arch::ARM, Mode::THUMB).unwrap();
    engine.ctl_set_cpu_model(CORTEX_M3).unwrap();
    engine.ctl_exits_enable().unwrap();
    engine.mem_map(0, 0x10000, Prot::ALL).unwrap();
    engine.mem_write(0x100, &thumb(code)).unwrap();
    engine
}

fn arm64(code: &[u32]) -> Unicorn<'static, ()> {
    let mut engine = Unicorn::new(Arch::ARM64, Mode::ARM).unwrap();
    engine.ctl_exits_enable().unwrap();
    engine.mem_map(0, 0x10000, Prot::ALL).unwrap();
    let bytes: Vec<u8> = code.iter().flat_map(|word| word.to_le_bytes()).collect();
    engine.mem_write(0x100, &bytes).unwrap();
    engine
}

fn icount(engine: &Unicorn<()>) -> u64 {
    let mut count = 0;
    // SAFETY: the handle lives as long as `engine`.
    let result = unsafe { sys::uc_icount_read(engine.get_handle(), &mut count) };
    assert_eq!(result, sys::uc_error::OK);
    count
}

fn set_icount(engine: &Unicorn<()>, count: u64) {
    // SAFETY: as in `icount`.
    let result = unsafe { sys::uc_icount_write(engine.get_handle(), count) };
    assert_eq!(result, sys::uc_error::OK);
}

fn set_limit(engine: &Unicorn<()>, limit: u64) {
    // SAFETY: as in `icount`.
    let result = unsafe { sys::uc_icount_limit(engine.get_handle(), limit) };
    assert_eq!(result, sys::uc_error::OK);
}

fn waiting(engine: &Unicorn<()>) -> bool {
    let mut waiting = false;
    // SAFETY: as in `icount`.
    let result = unsafe { sys::uc_waiting(engine.get_handle(), &mut waiting) };
    assert_eq!(result, sys::uc_error::OK);
    waiting
}

fn set_pending(engine: &Unicorn<()>, priority: i32) {
    // SAFETY: as in `icount`.
    let result = unsafe { sys::uc_v7m_set_pending(engine.get_handle(), priority) };
    assert_eq!(result, sys::uc_error::OK);
}

#[test]
fn opens_arm_and_arm64_only() {
    Unicorn::new(Arch::ARM, Mode::THUMB).unwrap();
    Unicorn::new(Arch::ARM64, Mode::ARM).unwrap();
    assert!(Unicorn::new(Arch::X86, Mode::MODE_64).is_err());
}

#[test]
fn its_identity_is_a_digest() {
    assert_eq!(sys::ENGINE_ID.len(), 64);
    assert!(sys::ENGINE_ID.bytes().all(|digit| digit.is_ascii_hexdigit()));
}

#[test]
fn counts_instructions_and_stops_at_the_limit() {
    let mut engine = m3(&[0x3101, 0x3901, 0x3101, 0xe7fb]); // adds; subs; adds; b: four instructions a block
    for limit in [1, 4, 5, 4001] {
        set_icount(&engine, 0);
        set_limit(&engine, limit);
        engine.emu_start(0x101, 0, 0, 0).unwrap();
        assert_eq!(icount(&engine), limit.div_ceil(4) * 4, "limit {limit}");
        assert!(!waiting(&engine));
    }
    let before = icount(&engine);
    engine.emu_start(0x101, 0, 0, 0).unwrap();
    assert_eq!(icount(&engine), before, "the limit is reached already: no block runs");
}

#[test]
fn wfi_at_the_limit_is_still_a_wfi() {
    let mut engine = m3(&[WFI]);
    set_limit(&engine, 1);
    engine.emu_start(0x101, 0, 0, 0).unwrap();
    assert_eq!(icount(&engine), 1);
    assert!(waiting(&engine));
    engine.emu_start(0x101, 0, 0, 0).unwrap();
    assert!(!waiting(&engine));
}

#[test]
fn exclusive_monitor_moves_to_another_engine() {
    let code = [0xe851, 0x0f00, WFI, 0xe841, 0x0200, WFI]; // ldrex r0, [r1]; wfi; strex r2, r0, [r1]; wfi
    let monitor = [A::EXCLUSIVE_ADDR, A::EXCLUSIVE_VAL, A::EXCLUSIVE_HIGH];
    let mut first = m3(&code);
    first.reg_write(A::R1, 0x200).unwrap();
    first.emu_start(0x101, 0, 0, 0).unwrap();
    assert_eq!(first.reg_read(A::EXCLUSIVE_ADDR).unwrap(), 0x200);
    let after_wfi = first.reg_read(A::PC).unwrap() | 1;
    for (with_monitor, strex_result) in [(true, 0), (false, 1)] {
        let mut second = m3(&code);
        let copied = [A::R0, A::R1]
            .into_iter()
            .chain(monitor.into_iter().filter(|_| with_monitor));
        for register in copied {
            second.reg_write(register, first.reg_read(register).unwrap()).unwrap();
        }
        second.emu_start(after_wfi, 0, 0, 0).unwrap();
        assert_eq!(
            second.reg_read(A::R2).unwrap(),
            strex_result,
            "monitor copied: {with_monitor}"
        );
    }
    first.reg_write(A::EXCLUSIVE_ADDR, u64::MAX).unwrap(); // what exception entry does
    first.emu_start(after_wfi, 0, 0, 0).unwrap();
    assert_eq!(first.reg_read(A::R2).unwrap(), 1);
}

#[test]
fn host_sees_special_registers_of_unprivileged_code() {
    let mut engine = m3(&[WFI]);
    for (register, value) in [(A::MSP, 0x1000), (A::PSP, 0x2000), (A::BASEPRI, 0x40)] {
        engine.reg_write(register, value).unwrap();
    }
    engine.reg_write(A::CONTROL, 3).unwrap(); // unprivileged, process stack
    assert_eq!(engine.reg_read(A::SP).unwrap(), 0x2000);
    for (register, value) in [(A::MSP, 0x1000), (A::PSP, 0x2000), (A::BASEPRI, 0x40), (A::CONTROL, 3)] {
        assert_eq!(engine.reg_read(register).unwrap(), value, "{register:?}");
    }
    engine.reg_write(A::MSP, 0x1800).unwrap();
    engine.reg_write(A::CONTROL, 0).unwrap();
    assert_eq!(
        (engine.reg_read(A::SP).unwrap(), engine.reg_read(A::PSP).unwrap()),
        (0x1800, 0x2000)
    );
}

#[test]
fn exception_return_is_seen_after_an_entry_by_the_host() {
    let mut engine = m3(&[0x4770]); // bx lr
    let seen = Rc::new(Cell::new(0));
    let sees = seen.clone();
    engine
        .add_intr_hook(move |engine, number| {
            sees.set(number);
            engine.emu_stop().unwrap();
        })
        .unwrap();
    engine.reg_write(A::IPSR, 15).unwrap();
    engine.reg_write(A::LR, 0xffff_fff9).unwrap();
    engine.emu_start(0x101, 0, 0, 0).unwrap();
    assert_eq!(seen.get(), 8);
}

#[test]
fn pending_exception_stops_the_engine_when_unmasked() {
    // cpsid i; adds; adds; cpsie i; adds; wfi
    let mut engine = m3(&[0xb672, 0x3101, 0x3101, 0xb662, 0x3101, WFI]);
    engine.reg_write(A::PRIMASK, 1).unwrap();
    set_pending(&engine, 0x40);
    engine.emu_start(0x101, 0, 0, 0).unwrap();
    assert_eq!(
        (engine.reg_read(A::PC).unwrap(), engine.reg_read(A::R1).unwrap()),
        (0x108, 2)
    );
    set_pending(&engine, 256);
    engine.emu_start(0x109, 0, 0, 0).unwrap();
    assert!(waiting(&engine));
    assert_eq!(engine.reg_read(A::R1).unwrap(), 3);

    engine.reg_write(A::BASEPRI, 0x40).unwrap(); // masks it: WFI does not wait, and nothing is taken
    set_pending(&engine, 0x40);
    set_limit(&engine, icount(&engine) + 3);
    engine.emu_start(0x109, 0, 0, 0).ok(); // runs past the program's end
    assert!(!waiting(&engine));

    set_pending(&engine, 0x20); // more urgent than BASEPRI: taken at once
    engine.emu_start(0x101, 0, 0, 0).unwrap();
    assert_eq!(engine.reg_read(A::PC).unwrap(), 0x100);
}

#[test]
fn device_write_replaces_translated_thumb_code() {
    let mut engine = m3(&[0x2001, WFI]); // movs r0, #1; wfi
    engine.emu_start(0x101, 0, 0, 0).unwrap();
    assert_eq!(engine.reg_read(A::R0).unwrap(), 1);
    engine.mem_write(0x100, &thumb(&[0x2002])).unwrap();
    engine.emu_start(0x101, 0, 0, 0).unwrap();
    assert_eq!(engine.reg_read(A::R0).unwrap(), 2);
}

#[test]
fn device_write_replaces_translated_arm64_code() {
    let mut engine = arm64(&[0x5280_0020, 0xd503_207f]); // mov w0, #1; wfi
    engine.emu_start(0x100, 0, 0, 0).unwrap();
    assert_eq!(engine.reg_read(A64::X0).unwrap(), 1);
    engine.mem_write(0x100, &0x5280_0040u32.to_le_bytes()).unwrap();
    engine.emu_start(0x100, 0, 0, 0).unwrap();
    assert_eq!(engine.reg_read(A64::X0).unwrap(), 2);
}

#[test]
fn functions_of_the_other_architecture_say_so() {
    let (arm, arm64) = (m3(&[WFI]), arm64(&[]));
    // SAFETY: the handles live as long as `arm` and `arm64`.
    unsafe {
        assert_eq!(sys::uc_native_exceptions(arm.get_handle(), true), sys::uc_error::ARCH);
        assert_eq!(sys::uc_set_irq(arm64.get_handle(), true), sys::uc_error::ARG);
        assert_eq!(sys::uc_v7m_set_pending(arm64.get_handle(), 0), sys::uc_error::ARCH);
    }
}
