//! What the engine calls while it runs: device accesses, the timers' registers, exceptions that are not its own business.
//!
//! Invariant: callbacks run only inside [`super::Engine`]'s `run`, and do not nest, because nothing in an environment makes
//! the engine access a region.
#![allow(unsafe_code)]

use super::engine::{Handle, check};
use super::{Control, Environment, Region, TimerName, TimerRegister};
use std::cell::Cell;
use std::ffi::{c_int, c_void};
use std::ptr::{self, NonNull};
use unicorn_engine_sys::{self as sys, Arm64Insn, HookType, RegisterARM64, RegisterARM64CP, uc_engine};

/// What the callbacks need. In cells, because they change it while `run` is on the stack.
pub(super) struct Hooks {
    handle: Handle,
    /// Where accesses go; set exactly while the engine runs.
    pub(super) environment: Cell<Option<*mut (dyn Environment + 'static)>>,
    /// The exception that ended the run.
    pub(super) interrupt: Cell<Option<u32>>,
}

impl Hooks {
    pub(super) fn new(handle: Handle) -> Self {
        Hooks {
            handle,
            environment: Cell::new(None),
            interrupt: Cell::new(None),
        }
    }

    /// # Safety
    /// The engine is executing `run`, which keeps the environment borrowed and does not touch it meanwhile.
    unsafe fn enter<'a>(&self) -> (&'a mut dyn Environment, Handle) {
        let environment = self
            .environment
            .get()
            .expect("the engine accesses regions only inside run()");
        // SAFETY: see above: this is the only reference while the callback runs.
        (unsafe { &mut *environment }, self.handle)
    }
}

/// What the engine's calls for one region carry.
pub(super) struct RegionHook {
    pub(super) hooks: NonNull<Hooks>,
    pub(super) index: usize,
}

/// Accesses to `region` go to the environment. `hook` must live until the engine is closed.
pub(super) fn map_region(handle: Handle, region: &Region, hook: NonNull<RegionHook>) {
    let hook = hook.as_ptr().cast();
    // SAFETY: `hook` belongs to the CPU and lives until the engine is closed.
    let result = unsafe {
        sys::uc_mmio_map(
            handle.pointer(),
            region.base,
            region.bytes,
            Some(on_read),
            hook,
            Some(on_write),
            hook,
        )
    };
    check("map a region", result);
}

/// Exceptions the engine does not take itself end the run. `hooks` must live until the engine is closed.
pub(super) fn hook_interrupts(handle: Handle, hooks: NonNull<Hooks>) {
    let mut id = 0;
    // SAFETY: UC_HOOK_INTR calls back with on_interrupt's signature; `hooks` lives until the engine is closed.
    // The range 1..0 means everywhere.
    let result = unsafe {
        sys::uc_hook_add(
            handle.pointer(),
            &mut id,
            HookType::INTR.0 as c_int,
            on_interrupt as *mut c_void,
            hooks.as_ptr().cast(),
            1,
            0,
        )
    };
    check("hook interrupts", result);
}

/// The registers of the generic timers are the environment's (patch 15). `hooks` must live until the engine is closed.
pub(super) fn hook_timers(handle: Handle, hooks: NonNull<Hooks>) {
    for (callback, instruction) in [
        (on_system_read as *mut c_void, Arm64Insn::UC_ARM64_INS_MRS),
        (on_system_write as *mut c_void, Arm64Insn::UC_ARM64_INS_MSR),
    ] {
        let mut id = 0;
        // SAFETY: UC_HOOK_INSN of these instructions calls back with these signatures; otherwise as above.
        let result = unsafe {
            sys::uc_hook_add(
                handle.pointer(),
                &mut id,
                HookType::INSN.0 as c_int,
                callback,
                hooks.as_ptr().cast(),
                1,
                0,
                instruction as c_int,
            )
        };
        check("hook system registers", result);
    }
}

/// # Safety
/// `data` is the [`RegionHook`] given to `uc_mmio_map`, and the engine is executing `run`.
unsafe fn enter_region<'a>(data: *mut c_void) -> (&'a mut dyn Environment, Handle, usize) {
    // SAFETY: see above; both belong to the CPU that runs.
    unsafe {
        let region = &*data.cast::<RegionHook>();
        let (environment, handle) = region.hooks.as_ref().enter();
        (environment, handle, region.index)
    }
}

/// The engine splits accesses into parts of at most four bytes, low first, none across words.
unsafe extern "C" fn on_read(_: *mut uc_engine, offset: u64, size: u32, data: *mut c_void) -> u64 {
    // SAFETY: the engine calls this with what map_region gave it, inside run().
    let (environment, mut handle, region) = unsafe { enter_region(data) };
    u64::from(environment.load(&mut handle, region, offset as u32, size as u8))
}

unsafe extern "C" fn on_write(_: *mut uc_engine, offset: u64, size: u32, value: u64, data: *mut c_void) {
    // SAFETY: as in on_read.
    let (environment, mut handle, region) = unsafe { enter_region(data) };
    environment.store(&mut handle, region, offset as u32, size as u8, value as u32);
}

/// Supervisor calls, exception returns and faults of an M-profile CPU, firmware calls of an A-profile CPU: leave the
/// engine, the machine handles them.
unsafe extern "C" fn on_interrupt(_: *mut uc_engine, number: u32, data: *mut c_void) {
    // SAFETY: `data` is what hook_interrupts gave; it belongs to the CPU that runs.
    let hooks = unsafe { &*data.cast::<Hooks>() };
    hooks.interrupt.set(Some(number));
    let mut handle = hooks.handle;
    handle.abandon(); // between instructions here: the exception has ended the block
}

/// MRS of a register in the timers' space. Returns 0 where it is not ours: then the engine reads it.
unsafe extern "C" fn on_system_read(
    engine: *mut uc_engine,
    target: RegisterARM64,
    register: *const RegisterARM64CP,
    data: *mut c_void,
) -> u32 {
    // SAFETY: the engine passes a register's name and what hook_timers gave it, inside run().
    let (register, (environment, mut handle)) = unsafe { (&*register, (*data.cast::<Hooks>()).enter()) };
    let Some(name) = timer_register(register) else {
        return 0;
    };
    let value = environment.load_timer(&mut handle, name);
    // SAFETY: the engine is open and reads eight bytes.
    check("write the target", unsafe {
        sys::uc_reg_write(engine, target as c_int, ptr::from_ref(&value).cast())
    });
    1
}

/// MSR, likewise. The value is in `register`.
unsafe extern "C" fn on_system_write(
    _: *mut uc_engine,
    _: RegisterARM64,
    register: *const RegisterARM64CP,
    data: *mut c_void,
) -> u32 {
    // SAFETY: as in on_system_read.
    let (register, (environment, mut handle)) = unsafe { (&*register, (*data.cast::<Hooks>()).enter()) };
    let Some(name) = timer_register(register) else {
        return 0;
    };
    environment.store_timer(&mut handle, name, register.val);
    1
}

/// Which of the timers' registers this is (ARM DDI 0487, D17.11).
fn timer_register(register: &RegisterARM64CP) -> Option<TimerRegister> {
    if (register.op0, register.op1, register.crn) != (3, 3, 14) {
        return None;
    }
    let timer = match register.crm {
        0 if matches!(register.op2, 1 | 2) => return Some(TimerRegister::Count),
        2 => TimerName::Physical,
        3 => TimerName::Virtual,
        _ => return None,
    };
    match register.op2 {
        0 => Some(TimerRegister::Value(timer)),
        1 => Some(TimerRegister::Control(timer)),
        2 => Some(TimerRegister::Compare(timer)),
        _ => None,
    }
}
