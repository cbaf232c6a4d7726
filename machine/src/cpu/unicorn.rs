//! The CPU on unicorn-engine: a Cortex-M0 behind the traits of [`crate::cpu`]. All calls to the engine are here.
//!
//! The raw bindings are used rather than the safe crate `unicorn-engine`: that one counts references without atomics,
//! so a machine could not move to its thread, and it keeps a mutable borrow alive across a run, during which hooks
//! change the same state.
//!
//! How data passes during a run: [`CortexM0::run`] leaves a pointer to the environment in `Hooks` and starts the
//! engine; the engine calls `on_read`, `on_write` and `on_interrupt`, which find it there. Nothing of [`CortexM0`]
//! itself is touched meanwhile: what a call may use is a `Handle`, a copy of the addresses of engine and memory.
//!
//! Invariants:
//! 1. `Hooks::environment` is set exactly while `run` is executing.
//! 2. No hook covers memory (it would make every store slow), and nothing but `run` lets the engine execute.
//! 3. A branch, a fault or WFI may end a run; `uc_emu_stop` is called from a device access only to reset the CPU,
//!    because it leaves the middle of a block.
#![allow(unsafe_code)]

use super::{Control, Cpu, Environment, GuestMemory, MProfile, NoMemory, Register, Stop};
use crate::ram::Ram;
use std::cell::Cell;
use std::ffi::{c_int, c_void};
use std::ptr::{self, NonNull};
use unicorn_engine_sys::{self as sys, Arch, ControlType, HookType, Mode, Prot, RegisterARM, uc_engine, uc_error};

/// Digest of the engine's source: machines compare only on equal engines.
pub use unicorn_engine_sys::ENGINE_ID;

/// UC_CPU_ARM_CORTEX_M0. The mode bit MCLASS would force a Cortex-M33 whatever the model (target/arm/cpu.c).
const MODEL_CORTEX_M0: c_int = 7;
/// "No exception is pending" for uc_v7m_set_pending: above every priority.
const NOTHING_PENDING: c_int = 256;
/// The Thumb bit in xPSR, which a write of the engine's PC also sets, from bit 0.
const XPSR_THUMB_SHIFT: u32 = 24;
/// Exception numbers of the engine (target/arm/cpu.h, EXCP_*).
const EXCP_SWI: u32 = 2;
const EXCP_EXCEPTION_EXIT: u32 = 8;

/// A block of guest memory on the bus.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemoryBlock {
    /// First address; a multiple of the page size.
    pub base: u32,
    /// Length in bytes; a multiple of the page size.
    pub bytes: u32,
    /// The guest may write it.
    pub writable: bool,
}

/// A block of device registers on the bus.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Region {
    /// First address; a multiple of the page size.
    pub base: u32,
    /// Length in bytes; a multiple of the page size.
    pub bytes: u32,
}

/// A Cortex-M0 and its memory.
pub struct CortexM0 {
    engine: Handle,
    /// Owned here, but also reached from the engine's callbacks: raw, as a `Box` would claim to be the only way to it.
    hooks: NonNull<Hooks>,
    regions: NonNull<[RegionHook]>,
}

// SAFETY: the engine keeps no thread-local state and starts no thread (no timeout is ever given); whoever owns the CPU
// owns the engine, and `&CortexM0` calls nothing but reads.
unsafe impl Send for CortexM0 {}

impl CortexM0 {
    /// A CPU in front of `memory` and `regions`, which must not overlap; all registers zero. Accesses elsewhere are bus
    /// faults. Panics when the engine cannot be set up: the map is a board's, so that is our own mistake.
    pub fn new(memory: &[MemoryBlock], regions: &[Region]) -> Self {
        let blocks = memory.iter().map(|&block| (block, Ram::new(block.bytes as usize)));
        let engine = Handle::open(blocks.collect());
        let hooks = Hooks {
            engine,
            environment: Cell::new(None),
            interrupt: Cell::new(None),
        };
        let hooks = NonNull::from(Box::leak(Box::new(hooks)));
        let region_hooks: Box<[_]> = (0..regions.len()).map(|index| RegionHook { hooks, index }).collect();
        let region_hooks = NonNull::from(Box::leak(region_hooks));
        for (block, ram) in engine.blocks() {
            engine.map_memory(block, ram);
        }
        for (index, region) in regions.iter().enumerate() {
            // SAFETY: `region_hooks` has one element a region.
            engine.map_region(region, unsafe { region_hooks.cast::<RegionHook>().add(index) });
        }
        engine.hook_interrupts(hooks);
        CortexM0 {
            engine,
            hooks,
            regions: region_hooks,
        }
    }

    fn hooks(&self) -> &Hooks {
        // SAFETY: made by `new`, freed by `drop`; everybody only shares it.
        unsafe { self.hooks.as_ref() }
    }
}

impl Drop for CortexM0 {
    fn drop(&mut self) {
        // SAFETY: opened and leaked by `new`, closed and freed once; the memory blocks the engine points to are freed
        // after it is closed.
        let result = unsafe {
            let result = sys::uc_close(self.engine.engine.as_ptr());
            drop(Box::from_raw(self.regions.as_ptr()));
            drop(Box::from_raw(self.hooks.as_ptr()));
            drop(Box::from_raw(self.engine.blocks.as_ptr()));
            result
        };
        debug_assert_eq!(result, uc_error::OK);
    }
}

impl Control for CortexM0 {
    fn position(&self) -> u64 {
        self.engine.position()
    }

    fn set_limit(&mut self, position: u64) {
        self.engine.set_limit(position);
    }

    fn set_pending(&mut self, priority: Option<u8>) {
        self.engine.set_pending(priority);
    }

    fn abandon(&mut self) {
        self.engine.abandon();
    }
}

impl GuestMemory for CortexM0 {
    fn read_memory(&self, address: u64, bytes: &mut [u8]) -> Result<(), NoMemory> {
        self.engine.read_memory(address, bytes)
    }

    fn write_memory(&mut self, address: u64, bytes: &[u8]) -> Result<(), NoMemory> {
        self.engine.write_memory(address, bytes)
    }
}

impl Cpu for CortexM0 {
    fn run(&mut self, environment: &mut dyn Environment) -> Stop {
        let engine = self.engine;
        let pc = self.register(Register::Pc);
        // SAFETY: only the lifetime changes. The pointer is used by the hooks, which run inside uc_emu_start below, and
        // is taken back before `environment` can be used again.
        let environment = unsafe {
            std::mem::transmute::<*mut (dyn Environment + '_), *mut (dyn Environment + 'static)>(ptr::from_mut(
                environment,
            ))
        };
        self.hooks().environment.set(Some(environment));
        self.hooks().interrupt.set(None);
        // `until` 0 with exits enabled and none given: nothing but the limit and the guest's own doing ends the run.
        // SAFETY: the engine is open; its memory and hooks live as long as `self`.
        let result = unsafe { sys::uc_emu_start(engine.engine.as_ptr(), u64::from(pc), 0, 0, 0) };
        self.hooks().environment.set(None);
        match (self.hooks().interrupt.take(), result) {
            (Some(EXCP_SWI), _) => Stop::SupervisorCall,
            (Some(EXCP_EXCEPTION_EXIT), _) => Stop::ExceptionReturn(self.register(Register::Pc)),
            (Some(_), _) => Stop::Fault,
            (None, uc_error::OK) if engine.waiting() => Stop::Waiting,
            (None, uc_error::OK) => Stop::Boundary,
            (None, uc_error::INSN_INVALID | uc_error::EXCEPTION) => Stop::Fault,
            (
                None,
                uc_error::READ_UNMAPPED
                | uc_error::WRITE_UNMAPPED
                | uc_error::FETCH_UNMAPPED
                | uc_error::READ_PROT
                | uc_error::WRITE_PROT
                | uc_error::FETCH_PROT,
            ) => Stop::BusFault,
            (None, other) => panic!("the CPU engine failed at {pc:#010x}: {other}"),
        }
    }

    fn set_position(&mut self, position: u64) {
        // SAFETY: the engine is open.
        check("set position", unsafe {
            sys::uc_icount_write(self.engine.engine.as_ptr(), position)
        });
    }

    fn memory(&self, block: usize) -> &[u8] {
        self.engine.blocks()[block].1.bytes()
    }

    fn memory_mut(&mut self, block: usize) -> &mut [u8] {
        // SAFETY: leaked by `new`, freed by `drop`; no callback runs, as `&mut self` is not inside `run`.
        let blocks = unsafe { self.engine.blocks.as_mut() };
        blocks[block].1.bytes_mut()
    }

    fn flush_translations(&mut self) {
        self.engine.control(ControlType::TB_FLUSH);
    }

    fn flush_tlb(&mut self) {
        self.engine.control(ControlType::TLB_FLUSH);
    }
}

impl MProfile for CortexM0 {
    fn register(&self, register: Register) -> u32 {
        let mut value = 0u32;
        let target = ptr::from_mut(&mut value).cast();
        // SAFETY: the engine is open and writes four bytes, the size of each of these registers.
        check("read register", unsafe {
            sys::uc_reg_read(self.engine.engine.as_ptr(), id(register), target)
        });
        if register == Register::Pc {
            value & !1 | self.register(Register::Xpsr) >> XPSR_THUMB_SHIFT & 1
        } else {
            value
        }
    }

    fn set_register(&mut self, register: Register, value: u32) {
        let source = ptr::from_ref(&value).cast();
        // SAFETY: the engine is open and reads four bytes, the size of each of these registers.
        check("write register", unsafe {
            sys::uc_reg_write(self.engine.engine.as_ptr(), id(register), source)
        });
    }
}

fn id(register: Register) -> c_int {
    let register = match register {
        Register::R(number) => {
            assert!(number <= 12, "R{number} has a name of its own");
            return c_int::from(RegisterARM::R0) + c_int::from(number);
        }
        Register::Lr => RegisterARM::LR,
        Register::Pc => RegisterARM::PC,
        Register::Msp => RegisterARM::MSP,
        Register::Psp => RegisterARM::PSP,
        Register::Xpsr => RegisterARM::XPSR,
        Register::Primask => RegisterARM::PRIMASK,
        Register::Control => RegisterARM::CONTROL,
    };
    c_int::from(register)
}

/// The addresses of engine and memory: what may be used while the engine runs.
#[derive(Clone, Copy)]
struct Handle {
    engine: NonNull<uc_engine>,
    blocks: NonNull<[(MemoryBlock, Ram)]>,
}

impl Handle {
    fn open(blocks: Box<[(MemoryBlock, Ram)]>) -> Self {
        let mut engine = ptr::null_mut();
        // SAFETY: `engine` is a place for the result.
        check("open", unsafe { sys::uc_open(Arch::ARM, Mode::THUMB, &mut engine) });
        let handle = Handle {
            engine: NonNull::new(engine).expect("uc_open succeeded"),
            blocks: NonNull::from(Box::leak(blocks)),
        };
        handle.control_with(ControlType::CPU_MODEL, MODEL_CORTEX_M0);
        handle.control_with(ControlType::UC_USE_EXITS, 1);
        handle
    }

    fn blocks(&self) -> &[(MemoryBlock, Ram)] {
        // SAFETY: leaked by `open`, freed when the CPU is dropped, which nothing that holds a handle outlives.
        unsafe { self.blocks.as_ref() }
    }

    fn block(&self, address: u64, length: usize) -> Option<(&MemoryBlock, &Ram, usize)> {
        self.blocks().iter().find_map(|(block, ram)| {
            let start = usize::try_from(address.checked_sub(u64::from(block.base))?).ok()?;
            (start.checked_add(length)? <= block.bytes as usize).then_some((block, ram, start))
        })
    }

    fn map_memory(self, block: &MemoryBlock, ram: &Ram) {
        let access = if block.writable {
            Prot::ALL
        } else {
            Prot(Prot::READ.0 | Prot::EXEC.0)
        };
        // SAFETY: `ram` is as long as the block and lives until the engine is closed.
        let result = unsafe {
            sys::uc_mem_map_ptr(
                self.engine.as_ptr(),
                u64::from(block.base),
                u64::from(block.bytes),
                access.0,
                ram.as_ptr().cast(),
            )
        };
        check("map memory", result);
    }

    fn map_region(self, region: &Region, hook: NonNull<RegionHook>) {
        let hook = hook.as_ptr().cast();
        // SAFETY: `hook` belongs to the CPU and lives until the engine is closed.
        let result = unsafe {
            sys::uc_mmio_map(
                self.engine.as_ptr(),
                u64::from(region.base),
                u64::from(region.bytes),
                Some(on_read),
                hook,
                Some(on_write),
                hook,
            )
        };
        check("map a region", result);
    }

    fn hook_interrupts(self, hooks: NonNull<Hooks>) {
        let mut id = 0;
        // SAFETY: UC_HOOK_INTR calls back with on_interrupt's signature; `hooks` lives until the engine is closed.
        // The range 1..0 means everywhere.
        let result = unsafe {
            sys::uc_hook_add(
                self.engine.as_ptr(),
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

    fn control(self, what: ControlType) {
        // SAFETY: the engine is open and these controls take no argument.
        check("control", unsafe {
            sys::uc_ctl(self.engine.as_ptr(), ControlType(what.0 | ControlType::IO_WRITE.0))
        });
    }

    fn control_with(self, what: ControlType, value: c_int) {
        const ONE_ARGUMENT: u32 = 1 << 26;
        let what = ControlType(what.0 | ONE_ARGUMENT | ControlType::IO_WRITE.0);
        // SAFETY: the engine is open and these controls take one int.
        check("control", unsafe { sys::uc_ctl(self.engine.as_ptr(), what, value) });
    }

    fn waiting(self) -> bool {
        let mut waiting = false;
        // SAFETY: the engine is open and writes a bool.
        check("waiting", unsafe {
            sys::uc_waiting(self.engine.as_ptr(), &mut waiting)
        });
        waiting
    }
}

impl Control for Handle {
    fn position(&self) -> u64 {
        let mut position = 0;
        // SAFETY: the engine is open; the call may be made while it runs.
        check("position", unsafe {
            sys::uc_icount_read(self.engine.as_ptr(), &mut position)
        });
        position
    }

    fn set_limit(&mut self, position: u64) {
        // SAFETY: as for `position`.
        check("limit", unsafe { sys::uc_icount_limit(self.engine.as_ptr(), position) });
    }

    fn set_pending(&mut self, priority: Option<u8>) {
        let priority = priority.map_or(NOTHING_PENDING, c_int::from);
        // SAFETY: as for `position`.
        check("pending", unsafe {
            sys::uc_v7m_set_pending(self.engine.as_ptr(), priority)
        });
    }

    fn abandon(&mut self) {
        // SAFETY: as for `position`.
        check("stop", unsafe { sys::uc_emu_stop(self.engine.as_ptr()) });
    }
}

/// The engine may be running: then it waits in a callback, and does not touch memory meanwhile.
impl GuestMemory for Handle {
    fn read_memory(&self, address: u64, bytes: &mut [u8]) -> Result<(), NoMemory> {
        let length = bytes.len();
        let (_, ram, start) = self.block(address, length).ok_or(NoMemory { address, length })?;
        bytes.copy_from_slice(&ram.bytes()[start..start + length]);
        Ok(())
    }

    fn write_memory(&mut self, address: u64, bytes: &[u8]) -> Result<(), NoMemory> {
        let length = bytes.len();
        let block = self.block(address, length).filter(|(block, ..)| block.writable);
        block.ok_or(NoMemory { address, length })?;
        // SAFETY: the engine is open; `bytes` is `length` long; the range is inside one block of memory, so no device
        // callback runs.
        let result = unsafe { sys::uc_mem_write(self.engine.as_ptr(), address, bytes.as_ptr().cast(), length as u64) };
        check("write memory", result);
        Ok(())
    }
}

/// What the engine's callbacks need. In cells, because they change it while `run` is on the stack.
struct Hooks {
    engine: Handle,
    environment: Cell<Option<*mut (dyn Environment + 'static)>>,
    interrupt: Cell<Option<u32>>,
}

struct RegionHook {
    hooks: NonNull<Hooks>,
    index: usize,
}

impl RegionHook {
    /// # Safety
    /// `data` is the [`RegionHook`] given to `uc_mmio_map`, and the engine is executing `run`, which keeps the
    /// environment borrowed and does not touch it meanwhile; callbacks do not nest, because nothing in an environment
    /// makes the engine access a region.
    unsafe fn enter<'a>(data: *mut c_void) -> (&'a mut dyn Environment, Handle, usize) {
        // SAFETY: see above; both belong to the CPU that runs.
        let (hooks, index) = unsafe {
            let region = &*data.cast::<RegionHook>();
            (region.hooks.as_ref(), region.index)
        };
        let environment = hooks
            .environment
            .get()
            .expect("the engine accesses regions only inside run()");
        // SAFETY: see above: this is the only reference while the callback runs.
        (unsafe { &mut *environment }, hooks.engine, index)
    }
}

unsafe extern "C" fn on_read(_: *mut uc_engine, offset: u64, size: u32, data: *mut c_void) -> u64 {
    // SAFETY: the engine calls this with what map_region gave it, inside run().
    let (environment, mut engine, region) = unsafe { RegionHook::enter(data) };
    u64::from(environment.load(&mut engine, region, offset as u32, size as u8))
}

unsafe extern "C" fn on_write(_: *mut uc_engine, offset: u64, size: u32, value: u64, data: *mut c_void) {
    // SAFETY: as in on_read.
    let (environment, mut engine, region) = unsafe { RegionHook::enter(data) };
    environment.store(&mut engine, region, offset as u32, size as u8, value as u32);
}

/// Supervisor calls, exception returns and faults: leave the engine, the machine handles them.
unsafe extern "C" fn on_interrupt(_: *mut uc_engine, number: u32, data: *mut c_void) {
    // SAFETY: `data` is what hook_interrupts gave; it belongs to the CPU that runs.
    let hooks = unsafe { &*data.cast::<Hooks>() };
    hooks.interrupt.set(Some(number));
    let mut engine = hooks.engine;
    engine.abandon(); // between instructions here: the exception has ended the block
}

fn check(what: &str, result: uc_error) {
    assert_eq!(result, uc_error::OK, "CPU engine: {what}: {result}");
}
