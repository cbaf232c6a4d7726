//! The device tree: how a board is described to a Linux kernel for arm64. Form: Devicetree Specification 0.4; contents:
//! the bindings in Linux' Documentation/devicetree, as QEMU's `-M virt` uses them.
//!
//! The board says what there is, as a list of [`DtDevice`]; CPU, PSCI, timer and clock are the same on every board of
//! ours. Equal input gives equal bytes.

pub use crate::cpu::Region;
use vm_fdt::{Error, FdtWriter};

/// A device to describe. `spi` is its interrupt line: SPI n is interrupt 32 + n.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DtDevice {
    /// The interrupt controller; a board has one.
    GicV2 {
        /// Its distributor.
        distributor: Region,
        /// Its CPU interface.
        cpu_interface: Region,
    },
    /// A PL011 UART; the first one is the console.
    Pl011 {
        /// Its registers.
        registers: Region,
        /// Its combined interrupt.
        spi: u32,
    },
    /// A PL031 real-time clock.
    Pl031 {
        /// Its registers.
        registers: Region,
        /// Its interrupt.
        spi: u32,
    },
    /// A virtio-mmio transport; the kernel finds the devices in the order of the list.
    VirtioMmio {
        /// Its registers.
        registers: Region,
        /// Its interrupt.
        spi: u32,
    },
}

/// What the boot loader chose.
pub(super) struct Chosen<'a> {
    /// Without a zero byte.
    pub(super) command_line: &'a str,
    pub(super) initramfs: Option<Region>,
    pub(super) seed: &'a [u8; 32],
    pub(super) kaslr: bool,
}

const GIC_PHANDLE: u32 = 1;
const CLOCK_PHANDLE: u32 = 2;
/// What feeds the UART's baud rate divider and the bus, as on QEMU. It has no effect on us.
const CLOCK_HZ: u32 = 24_000_000;
/// Interrupt specifiers of a GIC (arm,gic.yaml): kind, number, flags.
const SPI: u32 = 0;
const PPI: u32 = 1;
const LEVEL_HIGH: u32 = 4;
const TO_CPU_0: u32 = 1 << 8;
/// The generic timer's PPIs: secure and non-secure physical, virtual, hypervisor.
const TIMER_PPIS: [u32; 4] = [13, 14, 11, 10];
/// Linux takes all of them into its random number generator.
const RNG_SEED_BYTES: usize = 64;
const RNG_SEED_CONTEXT: &str = "quorate 2026 machine/boot device tree rng-seed";
const KASLR_SEED_CONTEXT: &str = "quorate 2026 machine/boot device tree kaslr-seed";

/// The tree as a blob.
pub(super) fn build(memory: Region, devices: &[DtDevice], chosen: &Chosen<'_>) -> Vec<u8> {
    write(memory, devices, chosen).expect("names and values are ours, and the command line has no zero byte")
}

fn write(memory: Region, devices: &[DtDevice], chosen: &Chosen<'_>) -> Result<Vec<u8>, Error> {
    let mut fdt = FdtWriter::new()?;
    let root = fdt.begin_node("")?;
    fdt.property_string_list("compatible", strings(&["quorate,virt-arm64", "linux,dummy-virt"]))?;
    fdt.property_string("model", "quorate virt-arm64")?;
    fdt.property_u32("#address-cells", 2)?;
    fdt.property_u32("#size-cells", 2)?;
    fdt.property_u32("interrupt-parent", GIC_PHANDLE)?;
    write_chosen(&mut fdt, devices, chosen)?;
    write_aliases(&mut fdt, devices)?;

    let node = fdt.begin_node(&format!("memory@{:x}", memory.base))?;
    fdt.property_string("device_type", "memory")?;
    fdt.property_array_u64("reg", &[memory.base, memory.bytes])?;
    fdt.end_node(node)?;

    write_core(&mut fdt)?;
    for device in devices {
        write_device(&mut fdt, device)?;
    }
    fdt.end_node(root)?;
    fdt.finish()
}

fn write_chosen(fdt: &mut FdtWriter, devices: &[DtDevice], chosen: &Chosen<'_>) -> Result<(), Error> {
    let node = fdt.begin_node("chosen")?;
    fdt.property_string("bootargs", chosen.command_line)?;
    if let Some(console) = uarts(devices).next() {
        fdt.property_string("stdout-path", &format!("/{console}"))?;
    }
    if let Some(initramfs) = chosen.initramfs {
        fdt.property_u64("linux,initrd-start", initramfs.base)?;
        fdt.property_u64("linux,initrd-end", initramfs.base + initramfs.bytes)?;
    }
    fdt.property("rng-seed", &derive::<RNG_SEED_BYTES>(RNG_SEED_CONTEXT, chosen.seed))?;
    if chosen.kaslr {
        fdt.property("kaslr-seed", &derive::<8>(KASLR_SEED_CONTEXT, chosen.seed))?;
    }
    fdt.end_node(node)
}

fn write_aliases(fdt: &mut FdtWriter, devices: &[DtDevice]) -> Result<(), Error> {
    let node = fdt.begin_node("aliases")?;
    for (number, uart) in uarts(devices).enumerate() {
        fdt.property_string(&format!("serial{number}"), &format!("/{uart}"))?;
    }
    fdt.end_node(node)
}

/// What stands around every core of ours.
fn write_core(fdt: &mut FdtWriter) -> Result<(), Error> {
    let cpus = fdt.begin_node("cpus")?;
    fdt.property_u32("#address-cells", 1)?;
    fdt.property_u32("#size-cells", 0)?;
    let cpu = fdt.begin_node("cpu@0")?;
    fdt.property_string("device_type", "cpu")?;
    fdt.property_string("compatible", "arm,cortex-a53")?;
    fdt.property_u32("reg", 0)?;
    fdt.property_string("enable-method", "psci")?;
    fdt.end_node(cpu)?;
    fdt.end_node(cpus)?;

    let psci = fdt.begin_node("psci")?;
    fdt.property_string_list("compatible", strings(&["arm,psci-1.0", "arm,psci-0.2"]))?;
    fdt.property_string("method", "hvc")?;
    fdt.end_node(psci)?;

    let timer = fdt.begin_node("timer")?;
    fdt.property_string_list("compatible", strings(&["arm,armv8-timer", "arm,armv7-timer"]))?;
    let interrupts = TIMER_PPIS.map(|number| [PPI, number, TO_CPU_0 | LEVEL_HIGH]);
    fdt.property_array_u32("interrupts", interrupts.as_flattened())?;
    // It counts on while the CPU waits for an interrupt.
    fdt.property_null("always-on")?;
    fdt.end_node(timer)?;

    let clock = fdt.begin_node("apb-pclk")?;
    fdt.property_string("compatible", "fixed-clock")?;
    fdt.property_u32("#clock-cells", 0)?;
    fdt.property_u32("clock-frequency", CLOCK_HZ)?;
    fdt.property_string("clock-output-names", "clk24mhz")?;
    fdt.property_phandle(CLOCK_PHANDLE)?;
    fdt.end_node(clock)
}

fn write_device(fdt: &mut FdtWriter, device: &DtDevice) -> Result<(), Error> {
    let node = fdt.begin_node(&name(device))?;
    match *device {
        DtDevice::GicV2 {
            distributor,
            cpu_interface,
        } => {
            fdt.property_string("compatible", "arm,cortex-a15-gic")?;
            let [d, c] = [distributor, cpu_interface];
            fdt.property_array_u64("reg", &[d.base, d.bytes, c.base, c.bytes])?;
            fdt.property_null("interrupt-controller")?;
            fdt.property_u32("#interrupt-cells", 3)?;
            fdt.property_u32("#address-cells", 0)?;
            fdt.property_phandle(GIC_PHANDLE)?;
        }
        DtDevice::Pl011 { registers, spi } => {
            fdt.property_string_list("compatible", strings(&["arm,pl011", "arm,primecell"]))?;
            write_place(fdt, registers, spi)?;
            fdt.property_array_u32("clocks", &[CLOCK_PHANDLE, CLOCK_PHANDLE])?;
            fdt.property_string_list("clock-names", strings(&["uartclk", "apb_pclk"]))?;
        }
        DtDevice::Pl031 { registers, spi } => {
            fdt.property_string_list("compatible", strings(&["arm,pl031", "arm,primecell"]))?;
            write_place(fdt, registers, spi)?;
            fdt.property_u32("clocks", CLOCK_PHANDLE)?;
            fdt.property_string("clock-names", "apb_pclk")?;
        }
        DtDevice::VirtioMmio { registers, spi } => {
            fdt.property_string("compatible", "virtio,mmio")?;
            write_place(fdt, registers, spi)?;
            // What the device writes, the CPU sees at once.
            fdt.property_null("dma-coherent")?;
        }
    }
    fdt.end_node(node)
}

fn write_place(fdt: &mut FdtWriter, registers: Region, spi: u32) -> Result<(), Error> {
    fdt.property_array_u64("reg", &[registers.base, registers.bytes])?;
    fdt.property_array_u32("interrupts", &[SPI, spi, LEVEL_HIGH])
}

/// A node's name: what it is, at which address.
fn name(device: &DtDevice) -> String {
    match device {
        DtDevice::GicV2 { distributor, .. } => format!("interrupt-controller@{:x}", distributor.base),
        DtDevice::Pl011 { registers, .. } => format!("serial@{:x}", registers.base),
        DtDevice::Pl031 { registers, .. } => format!("rtc@{:x}", registers.base),
        DtDevice::VirtioMmio { registers, .. } => format!("virtio@{:x}", registers.base),
    }
}

fn uarts(devices: &[DtDevice]) -> impl Iterator<Item = String> {
    devices
        .iter()
        .filter(|device| matches!(device, DtDevice::Pl011 { .. }))
        .map(name)
}

/// Random bytes for the guest that follow from the definition's seed alone; `context` keeps their uses apart.
fn derive<const BYTES: usize>(context: &str, seed: &[u8; 32]) -> [u8; BYTES] {
    let mut bytes = [0; BYTES];
    let mut hasher = blake3::Hasher::new_derive_key(context);
    hasher.update(seed).finalize_xof().fill(&mut bytes);
    bytes
}

fn strings(list: &[&str]) -> Vec<String> {
    list.iter().map(|&text| text.to_owned()).collect()
}
