//! Looking into a machine between two entries: registers by name, memory, disks. Nothing here changes it.

use crate::cpu::{GuestMemory, MemoryBlock, NoMemory};
use crate::disk::Overlay;
use crate::machine::Machine;

impl Machine {
    /// All registers by their architectural names, in a fixed order that depends on the board's processor alone. A value of
    /// fewer than 128 bits is in the low ones.
    ///
    /// - arm64 (ARM DDI 0487): X0 to X30; PSTATE, PC, SP (the one in use), SP_EL0, SP_EL1, FPCR, FPSR, the exclusive
    ///   monitor's; V0 to V31; system registers of EL1 and EL0, debug registers; the generic timers'.
    /// - Cortex-M0 (ARM DDI 0419): R0 to R12, SP (the one in use), LR, PC, xPSR, MSP, PSP, PRIMASK, CONTROL.
    pub fn registers(&self) -> Vec<(&'static str, u128)> {
        let mut registers = self.cpu.registers();
        registers.extend(self.system.core.timer_registers(self.now));
        registers
    }

    /// The `length` bytes of memory at the physical address `address`. Flash is memory, devices are not.
    ///
    /// # Errors
    /// There is no memory for all of them.
    pub fn read_memory(&self, address: u64, length: usize) -> Result<Vec<u8>, NoMemory> {
        let end = u64::try_from(length)
            .ok()
            .and_then(|length| address.checked_add(length));
        let inside =
            |block: &MemoryBlock| block.base <= address && end.is_some_and(|end| end <= block.base + block.bytes);
        if !self.memory().any(inside) {
            return Err(NoMemory { address, length }); // before so much is allocated
        }
        let mut bytes = vec![0; length];
        self.cpu.engine().read_memory(address, &mut bytes)?;
        Ok(bytes)
    }

    /// Where memory is, in the order of the board's map.
    pub fn memory(&self) -> impl ExactSizeIterator<Item = &MemoryBlock> {
        self.cpu.engine().blocks()
    }

    /// The disks as the guest sees them, in the definition's order.
    pub fn disks(&self) -> impl Iterator<Item = &Overlay> {
        self.system.bus.disks()
    }
}
