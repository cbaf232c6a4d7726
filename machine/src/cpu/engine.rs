//! The engine: unicorn-engine with guest memory and device regions, as both processors use it. All calls to the engine are
//! here; what the engine calls is in [`super::hooks`].
//!
//! The raw bindings are used rather than the safe crate `unicorn-engine`: that one counts references without atomics,
//! so a machine could not move to its thread, and it keeps a mutable borrow alive across a run, during which hooks
//! change the same state.
//!
//! How data passes during a run: [`Engine::run`] leaves a pointer to the environment in `Hooks` and starts the engine; the
//! engine calls the functions in `hooks`, which find it there. Nothing of [`Engine`] itself is touched meanwhile: what a
//! call may use is a `Handle`, a copy of the addresses of engine and memory.
//!
//! Invariants:
//! 1. `Hooks::environment` is set exactly while `run` is executing.
//! 2. No hook covers memory (it would make every store slow), and nothing but `run` lets the engine execute.
//! 3. A branch, a fault, a firmware call or WFI may end a run; `uc_emu_stop` is called from a device access only to reset
//!    the CPU, because it leaves the middle of a block.
#![allow(unsafe_code)]

use super::hooks::{self, Hooks, RegionHook};
use super::{Control, Environment, GuestMemory, MemoryBlock, NoMemory, Region};
use crate::Digest;
use crate::ram::{self, PAGE_BYTES, Ram, Tree};
use std::ffi::c_int;
use std::ptr::{self, NonNull};
use unicorn_engine_sys::{
    self as sys, Arch, ControlType, Mode, Prot, RegisterARM64, RegisterARM64CP, uc_engine, uc_error,
};

/// Digest of the engine's source: machines compare only on equal engines.
pub use unicorn_engine_sys::ENGINE_ID;

/// "No exception is pending" for uc_v7m_set_pending: above every priority.
const NOTHING_PENDING: c_int = 256;

/// What a processor asks of the engine when it opens it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Model {
    pub(super) profile: Profile,
    /// The engine's number of the CPU model.
    pub(super) number: c_int,
    /// Size of the buffer of translated code in MiB; `None`: the engine's default. Never seen in a state; tests make it
    /// small.
    pub(super) code_buffer_mib: Option<u16>,
}

/// The two families of ARM processors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Profile {
    /// Exceptions are the machine's.
    M,
    /// Exceptions are the engine's (patch 7).
    A,
}

/// A CPU's core and its memory.
pub struct Engine {
    handle: Handle,
    /// Owned here, but also reached from the engine's callbacks: raw, as a `Box` would claim to be the only way to it.
    hooks: NonNull<Hooks>,
    regions: NonNull<[RegionHook]>,
    /// The hashes of the blocks the guest may write, with their numbers; made when they are first asked for.
    trees: Vec<(usize, Tree)>,
}

// SAFETY: the engine keeps no thread-local state and starts no thread (no timeout is ever given); whoever owns the CPU
// owns the engine, and `&Engine` calls nothing but reads.
unsafe impl Send for Engine {}

impl Engine {
    /// A core in front of `memory` and `regions`, which must not overlap; registers as after the engine's own reset.
    /// Panics when the engine cannot be set up: the map is a board's, so that is our own mistake.
    pub(super) fn new(model: Model, memory: &[MemoryBlock], regions: &[Region]) -> Self {
        let blocks = memory.iter().map(|&block| (block, Ram::new(block.bytes as usize)));
        let handle = Handle::open(model, blocks.collect());
        let hooks = NonNull::from(Box::leak(Box::new(Hooks::new(handle))));
        let region_hooks: Box<[_]> = (0..regions.len()).map(|index| RegionHook { hooks, index }).collect();
        let region_hooks = NonNull::from(Box::leak(region_hooks));
        for (block, ram) in handle.blocks() {
            handle.map_memory(block, ram);
        }
        for (index, region) in regions.iter().enumerate() {
            // SAFETY: `region_hooks` has one element a region.
            hooks::map_region(handle, region, unsafe { region_hooks.cast::<RegionHook>().add(index) });
        }
        hooks::hook_interrupts(handle, hooks);
        if model.profile == Profile::A {
            // SAFETY: the engine is open.
            check("native exceptions", unsafe {
                sys::uc_native_exceptions(handle.pointer(), true)
            });
            hooks::hook_timers(handle, hooks);
        }
        Engine {
            handle,
            hooks,
            regions: region_hooks,
            trees: Vec::new(),
        }
    }

    /// Executes from `pc` on. Returns the number of the exception that ended it, if one did, and what the engine says.
    pub(super) fn run(&mut self, pc: u64, environment: &mut dyn Environment) -> (Option<u32>, uc_error) {
        // SAFETY: made by `new`, freed by `drop`; everybody only shares it.
        let hooks = unsafe { self.hooks.as_ref() };
        // SAFETY: only the lifetime changes. The pointer is used by the hooks, which run inside uc_emu_start below, and
        // is taken back before `environment` can be used again.
        let environment = unsafe {
            std::mem::transmute::<*mut (dyn Environment + '_), *mut (dyn Environment + 'static)>(ptr::from_mut(
                environment,
            ))
        };
        hooks.environment.set(Some(environment));
        hooks.interrupt.set(None);
        // `until` 0 with exits enabled and none given: nothing but the limit and the guest's own doing ends the run.
        // SAFETY: the engine is open; its memory and hooks live as long as `self`.
        let result = unsafe { sys::uc_emu_start(self.handle.pointer(), pc, 0, 0, 0) };
        hooks.environment.set(None);
        (hooks.interrupt.take(), result)
    }

    /// Did the last run end because the guest waits for an interrupt?
    pub(super) fn waiting(&self) -> bool {
        let mut waiting = false;
        // SAFETY: the engine is open and writes a bool.
        check("waiting", unsafe {
            sys::uc_waiting(self.handle.pointer(), &mut waiting)
        });
        waiting
    }

    /// Sets the position, at the start of an entry or to skip idle time.
    pub fn set_position(&mut self, position: u64) {
        // SAFETY: the engine is open.
        check("set position", unsafe {
            sys::uc_icount_write(self.handle.pointer(), position)
        });
    }

    /// The blocks of memory, in the order of the map.
    pub fn blocks(&self) -> impl ExactSizeIterator<Item = &MemoryBlock> {
        self.handle.blocks().iter().map(|(block, _)| block)
    }

    /// The pages of memory block `block` that hold something: their numbers and contents, ascending.
    pub fn nonzero_pages(&self, block: usize) -> impl Iterator<Item = (usize, &[u8])> {
        self.handle.blocks()[block].1.nonzero_pages()
    }

    /// The blocks the guest may write: numbers and memory.
    fn writable(&self) -> impl Iterator<Item = (usize, &Ram)> {
        let blocks = self.handle.blocks().iter().enumerate();
        blocks
            .filter(|(_, (block, _))| block.writable)
            .map(|(number, (_, ram))| (number, ram))
    }

    /// The hashes of the memory the guest may write, in the order of the map, from its contents.
    pub fn memory_hashes(&self) -> impl Iterator<Item = Digest> {
        self.writable().map(|(_, ram)| ram::root(ram))
    }

    /// The same hashes, kept: only what changed since the last call is read. With the numbers of the blocks.
    pub fn current_trees(&mut self) -> &mut [(usize, Tree)] {
        if self.trees.is_empty() {
            self.trees = self.writable().map(|(number, ram)| (number, Tree::new(ram))).collect();
        }
        let blocks = self.handle.blocks();
        for (number, tree) in &mut self.trees {
            tree.update(&blocks[*number].1);
        }
        &mut self.trees
    }

    /// As [`Engine::current_trees`] left them.
    pub fn trees(&self) -> &[(usize, Tree)] {
        &self.trees
    }

    /// Page `page` of memory block `block`.
    pub fn page(&self, block: usize, page: usize) -> &[u8; PAGE_BYTES] {
        let bytes = &self.handle.blocks()[block].1.bytes()[page * PAGE_BYTES..];
        bytes.first_chunk().expect("memory is whole pages")
    }

    /// Contents of memory block `block` of the map, to fill it; only before the first run.
    pub fn memory_mut(&mut self, block: usize) -> &mut [u8] {
        // SAFETY: leaked by `open`, freed by `drop`; no callback runs, as `&mut self` is not inside `run`.
        let blocks = unsafe { self.handle.blocks.as_mut() };
        blocks[block].1.bytes_mut()
    }

    /// Forgets all translated code. Must never be seen in a digest; tests use it.
    pub fn flush_translations(&mut self) {
        self.handle.control(ControlType::TB_FLUSH);
    }

    /// Forgets cached address translations, as a restored CPU has none.
    pub fn flush_tlb(&mut self) {
        self.handle.control(ControlType::TLB_FLUSH);
    }

    /// Reads a register of at most eight bytes.
    pub(super) fn register(&self, id: c_int) -> u64 {
        let mut value = 0u64;
        // SAFETY: the engine is open; registers the processors name have four or eight bytes.
        check("read register", unsafe {
            sys::uc_reg_read(self.handle.pointer(), id, ptr::from_mut(&mut value).cast())
        });
        value
    }

    /// Writes a register of at most eight bytes.
    pub(super) fn set_register(&mut self, id: c_int, value: u64) {
        // SAFETY: as for `register`.
        check("write register", unsafe {
            sys::uc_reg_write(self.handle.pointer(), id, ptr::from_ref(&value).cast())
        });
    }

    /// Reads a vector register.
    pub(super) fn vector(&self, id: c_int) -> [u64; 2] {
        let mut value = [0u64; 2];
        // SAFETY: the engine is open and writes sixteen bytes.
        check("read vector", unsafe {
            sys::uc_reg_read(self.handle.pointer(), id, value.as_mut_ptr().cast())
        });
        value
    }

    /// Writes a vector register.
    pub(super) fn set_vector(&mut self, id: c_int, value: [u64; 2]) {
        // SAFETY: the engine is open and reads sixteen bytes.
        check("write vector", unsafe {
            sys::uc_reg_write(self.handle.pointer(), id, value.as_ptr().cast())
        });
    }

    /// Reads an AArch64 system register.
    pub(super) fn system_register(&self, mut register: RegisterARM64CP) -> u64 {
        let id = c_int::from(RegisterARM64::CP_REG);
        // SAFETY: the engine is open, reads the register's name from the structure, and writes its value there.
        check("read system register", unsafe {
            sys::uc_reg_read(self.handle.pointer(), id, ptr::from_mut(&mut register).cast())
        });
        register.val
    }

    /// Writes an AArch64 system register; the value is in the structure.
    pub(super) fn set_system_register(&mut self, register: RegisterARM64CP) {
        let id = c_int::from(RegisterARM64::CP_REG);
        // SAFETY: the engine is open and reads name and value from the structure.
        check("write system register", unsafe {
            sys::uc_reg_write(self.handle.pointer(), id, ptr::from_ref(&register).cast())
        });
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        // SAFETY: opened and leaked by `new`, closed and freed once; the memory blocks the engine points to are freed
        // after it is closed.
        let result = unsafe {
            let result = sys::uc_close(self.handle.pointer());
            drop(Box::from_raw(self.regions.as_ptr()));
            drop(Box::from_raw(self.hooks.as_ptr()));
            drop(Box::from_raw(self.handle.blocks.as_ptr()));
            result
        };
        debug_assert_eq!(result, uc_error::OK);
    }
}

impl Control for Engine {
    fn position(&self) -> u64 {
        self.handle.position()
    }

    fn set_limit(&mut self, position: u64) {
        self.handle.set_limit(position);
    }

    fn set_pending(&mut self, priority: Option<u8>) {
        self.handle.set_pending(priority);
    }

    fn abandon(&mut self) {
        self.handle.abandon();
    }
}

impl GuestMemory for Engine {
    fn read_memory(&self, address: u64, bytes: &mut [u8]) -> Result<(), NoMemory> {
        self.handle.read_memory(address, bytes)
    }

    fn write_memory(&mut self, address: u64, bytes: &[u8]) -> Result<(), NoMemory> {
        self.handle.write_memory(address, bytes)
    }
}

/// The addresses of engine and memory: what may be used while the engine runs.
#[derive(Clone, Copy)]
pub(super) struct Handle {
    engine: NonNull<uc_engine>,
    profile: Profile,
    blocks: NonNull<[(MemoryBlock, Ram)]>,
}

impl Handle {
    fn open(model: Model, blocks: Box<[(MemoryBlock, Ram)]>) -> Self {
        // The mode bit MCLASS would force a Cortex-M33 whatever the model (target/arm/cpu.c).
        let (arch, mode) = match model.profile {
            Profile::M => (Arch::ARM, Mode::THUMB),
            Profile::A => (Arch::ARM64, Mode::LITTLE_ENDIAN),
        };
        let mut engine = ptr::null_mut();
        // SAFETY: `engine` is a place for the result.
        check("open", unsafe { sys::uc_open(arch, mode, &mut engine) });
        let handle = Handle {
            engine: NonNull::new(engine).expect("uc_open succeeded"),
            profile: model.profile,
            blocks: NonNull::from(Box::leak(blocks)),
        };
        handle.control_with(ControlType::CPU_MODEL, model.number);
        // The engine's own choice of 1 KiB is for the tiny pages of ARMv5 and for MPUs with small regions. Both our
        // processors do without, and translated code is chained only within a page.
        handle.control_with(ControlType::UC_PAGE_SIZE, PAGE_BYTES as c_int);
        if let Some(mib) = model.code_buffer_mib {
            handle.control_with(ControlType::TCG_BUFFER_SIZE, c_int::from(mib) << 20);
        }
        handle.control_with(ControlType::UC_USE_EXITS, 1);
        handle
    }

    /// The engine, for calls to it.
    pub(super) fn pointer(self) -> *mut uc_engine {
        self.engine.as_ptr()
    }

    fn blocks(&self) -> &[(MemoryBlock, Ram)] {
        // SAFETY: leaked by `open`, freed when the CPU is dropped, which nothing that holds a handle outlives.
        unsafe { self.blocks.as_ref() }
    }

    fn block(&self, address: u64, length: usize) -> Option<(&MemoryBlock, &Ram, usize)> {
        self.blocks().iter().find_map(|(block, ram)| {
            let start = usize::try_from(address.checked_sub(block.base)?).ok()?;
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
        let result =
            unsafe { sys::uc_mem_map_ptr(self.pointer(), block.base, block.bytes, access.0, ram.as_ptr().cast()) };
        check("map memory", result);
    }

    fn control(self, what: ControlType) {
        // SAFETY: the engine is open and these controls take no argument.
        check("control", unsafe {
            sys::uc_ctl(self.pointer(), ControlType(what.0 | ControlType::IO_WRITE.0))
        });
    }

    fn control_with(self, what: ControlType, value: c_int) {
        const ONE_ARGUMENT: u32 = 1 << 26;
        let what = ControlType(what.0 | ONE_ARGUMENT | ControlType::IO_WRITE.0);
        // SAFETY: the engine is open and these controls take one int.
        check("control", unsafe { sys::uc_ctl(self.pointer(), what, value) });
    }
}

impl Control for Handle {
    fn position(&self) -> u64 {
        let mut position = 0;
        // SAFETY: the engine is open; the call may be made while it runs.
        check("position", unsafe {
            sys::uc_icount_read(self.pointer(), &mut position)
        });
        position
    }

    fn set_limit(&mut self, position: u64) {
        // SAFETY: as for `position`.
        check("limit", unsafe { sys::uc_icount_limit(self.pointer(), position) });
    }

    fn set_pending(&mut self, priority: Option<u8>) {
        // SAFETY: as for `position`.
        let result = unsafe {
            match self.profile {
                Profile::M => sys::uc_v7m_set_pending(self.pointer(), priority.map_or(NOTHING_PENDING, c_int::from)),
                Profile::A => sys::uc_set_irq(self.pointer(), priority.is_some()),
            }
        };
        check("pending", result);
    }

    fn abandon(&mut self) {
        // SAFETY: as for `position`.
        check("stop", unsafe { sys::uc_emu_stop(self.pointer()) });
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
        let result = unsafe { sys::uc_mem_write(self.pointer(), address, bytes.as_ptr().cast(), length as u64) };
        check("write memory", result);
        Ok(())
    }
}

/// The engine refuses only what cannot be right: our own mistake.
pub(super) fn check(what: &str, result: uc_error) {
    assert_eq!(result, uc_error::OK, "CPU engine: {what}: {result}");
}
