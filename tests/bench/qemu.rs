//! The Debian guest on plain QEMU: what is compared with.

use std::path::Path;
use std::process::{Child, Command, Stdio};

use quorate::demo::debian::{Boot, Debian};
use quorate::demo::topology::{TAP, node, spawn};

use crate::terminal::Terminal;

/// Same processor, interrupt controller and kinds of devices as the board `virt-arm64`.
const MACHINE: [&str; 8] = [
    "-M",
    "virt,gic-version=2",
    "-cpu",
    "cortex-a53",
    "-global",
    "virtio-mmio.force-legacy=false",
    "-device",
    "virtio-rng-device",
];

/// A running QEMU; killed when dropped.
pub struct Qemu {
    process: Child,
    /// The guest's serial line.
    pub terminal: Terminal,
}

impl Qemu {
    /// Switch the guest on in node `index`'s namespace, with that node's TAP. What it writes to its disk is forgotten.
    pub fn start(debian: &Debian, boot: Boot, index: usize, icount: bool) -> Qemu {
        let parts = debian.parts(boot);
        let mut command = Command::new("qemu-system-aarch64");
        command
            .args(MACHINE)
            .args(["-display", "none", "-monitor", "none", "-serial", "stdio"])
            .args(["-m", &parts.ram_mb.to_string(), "-append", &parts.command_line])
            .arg("-kernel")
            .arg(&parts.kernel)
            .arg("-initrd")
            .arg(&parts.initramfs)
            .args(["-netdev", &format!("tap,id=net,ifname={TAP},script=no,downscript=no")])
            .args(["-device", "virtio-net-device,netdev=net"]);
        if icount {
            command.args(["-icount", "shift=auto"]);
        }
        if let Some(disk) = &parts.disk {
            command.arg("-drive").arg(drive(disk));
            command.args(["-device", "virtio-blk-device,drive=disk"]);
        }
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = spawn(&node(index), &mut command).expect("qemu-system-aarch64 can be started");
        let (input, output) = (process.stdin.take(), process.stdout.take());
        let terminal = Terminal::new(input.expect("it is piped"), output.expect("it is piped"));
        Qemu { process, terminal }
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.process.id()
    }
}

fn drive(disk: &Path) -> String {
    format!("file={},format=raw,if=none,id=disk,snapshot=on", disk.display())
}

impl Drop for Qemu {
    fn drop(&mut self) {
        let _ = self.process.kill(); // ended already: as wanted
        let _ = self.process.wait();
    }
}
