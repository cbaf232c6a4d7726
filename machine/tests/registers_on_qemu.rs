//! Our devices against QEMU's of the board `mps2-an385`: the same register accesses and frames on both, every value the
//! guest would see compared. Where we follow the data sheet and QEMU does not (`lan9118/mod.rs` has the list) the
//! transcripts stay away.
//!
//! QEMU runs a guest that only waits; its qtest port gives us the bus, and a UDP socket pair the network.

#![allow(clippy::unwrap_used)] // whatever goes wrong here is a failed test

use machine::AgreedTime;
use machine::devices::lan9118::Lan9118;
use machine::devices::lan9118::registers::*;
use machine::devices::uart::{Uart, registers as uart};
use machine::devices::{Context, Device, DeviceInput, Emitted};
use std::io::{BufRead, BufReader, Write};
use std::net::UdpSocket;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

const ADDRESS: [u8; 6] = [0x02, 0x77, 0x00, 0x00, 0x00, 0x02];
const OTHER: [u8; 6] = [0x02, 0x77, 0x00, 0x00, 0x00, 0x03];
const GROUP: [u8; 6] = [0x01, 0x00, 0x5e, 0x00, 0x00, 0x01];
const BROADCAST: [u8; 6] = [0xff; 6];

const LAN9118_BASE: u32 = 0x4020_0000;
const UART_BASE: u32 = 0x4000_4000;

const MAC_CR: u32 = 1;
const TXEN: u32 = 1 << 3;
const RXEN: u32 = 1 << 2;

/// What a transcript needs of a board.
trait Board {
    fn read(&mut self, address: u32) -> u32;
    fn write(&mut self, address: u32, value: u32);
    /// A frame arrives that the controller takes; returns when it is in the FIFO.
    fn arrives(&mut self, frame: &[u8]);
    /// A frame arrives that the controller may refuse.
    fn may_arrive(&mut self, frame: &[u8]);
    /// The next frame sent.
    fn sent(&mut self) -> Vec<u8>;
}

struct Ours {
    nic: Lan9118,
    uart: Uart,
    emitted: Emitted,
    /// None: these devices do no DMA.
    memory: Vec<u8>,
}

impl Ours {
    fn device(&mut self, address: u32) -> (&mut dyn Device, u32, Context<'_>) {
        let cx = Context::new(AgreedTime(0), 0, &mut self.emitted, &mut self.memory);
        match address {
            LAN9118_BASE.. => (&mut self.nic, address - LAN9118_BASE, cx),
            _ => (&mut self.uart, address - UART_BASE, cx),
        }
    }
}

impl Board for Ours {
    fn read(&mut self, address: u32) -> u32 {
        let (device, offset, mut cx) = self.device(address);
        device.read(offset, 4, &mut cx)
    }
    fn write(&mut self, address: u32, value: u32) {
        let (device, offset, mut cx) = self.device(address);
        device.write(offset, 4, value, &mut cx);
    }
    fn arrives(&mut self, frame: &[u8]) {
        self.may_arrive(frame);
    }
    fn may_arrive(&mut self, frame: &[u8]) {
        let (nic, _, mut cx) = self.device(LAN9118_BASE);
        assert!(nic.accept(DeviceInput::Frame(frame), &mut cx));
    }
    fn sent(&mut self) -> Vec<u8> {
        self.emitted.frames.remove(0).bytes
    }
}

/// A QEMU process; ended when dropped.
struct Qemu {
    process: Child,
    requests: ChildStdin,
    answers: BufReader<ChildStdout>,
    network: UdpSocket,
}

impl Qemu {
    /// None if there is no QEMU on this host.
    fn start(name: &str) -> Option<Qemu> {
        // Stack pointer, entry; wfi; branch back to it.
        let guest: Vec<u8> = [0x2000_1000u32, 9, 0xe7fd_bf30]
            .iter()
            .flat_map(|word| word.to_le_bytes())
            .collect();
        let kernel = format!("{}/waits-{name}.bin", env!("CARGO_TARGET_TMPDIR"));
        std::fs::write(&kernel, guest).unwrap();
        let network = UdpSocket::bind("127.0.0.1:0").unwrap();
        network.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let theirs = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        network.connect(theirs).unwrap();
        let ours = network.local_addr().unwrap();
        let mac = ADDRESS.map(|byte| format!("{byte:02x}")).join(":");
        let nic = format!("socket,model=lan9118,mac={mac},udp={ours},localaddr={theirs}");
        let started = Command::new("qemu-system-arm")
            .args([
                "-M",
                "mps2-an385",
                "-kernel",
                &kernel,
                "-display",
                "none",
                "-serial",
                "null",
                "-monitor",
                "none",
            ])
            .args(["-nic", &nic, "-qtest", "stdio", "-qtest-log", "/dev/null"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn();
        let mut process = match started {
            Ok(process) => process,
            Err(error) => {
                eprintln!("skipped: qemu-system-arm does not start: {error}");
                return None;
            }
        };
        let requests = process.stdin.take().unwrap();
        let answers = BufReader::new(process.stdout.take().unwrap());
        Some(Qemu {
            process,
            requests,
            answers,
            network,
        })
    }

    fn ask(&mut self, request: &str) -> String {
        writeln!(self.requests, "{request}").unwrap();
        let mut answer = String::new();
        self.answers.read_line(&mut answer).unwrap();
        let answer = answer.trim_end();
        let value = answer
            .strip_prefix("OK")
            .unwrap_or_else(|| panic!("{request}: {answer}"));
        value.trim_start().to_owned()
    }
}

impl Board for Qemu {
    fn read(&mut self, address: u32) -> u32 {
        let value = self.ask(&format!("readl {address:#x}"));
        u32::from_str_radix(value.trim_start_matches("0x"), 16).unwrap()
    }
    fn write(&mut self, address: u32, value: u32) {
        self.ask(&format!("writel {address:#x} {value:#x}"));
    }
    fn arrives(&mut self, frame: &[u8]) {
        const LOOKS_MAX: u32 = 1_000_000;
        let before = self.read(LAN9118_BASE + RX_FIFO_INF) >> 16;
        self.may_arrive(frame);
        let arrived = (0..LOOKS_MAX).any(|_| self.read(LAN9118_BASE + RX_FIFO_INF) >> 16 != before);
        assert!(arrived, "a frame of {} bytes never arrived", frame.len());
    }
    fn may_arrive(&mut self, frame: &[u8]) {
        self.network.send(frame).unwrap();
    }
    fn sent(&mut self) -> Vec<u8> {
        let mut bytes = vec![0; 2048];
        let length = self.network.recv(&mut bytes).unwrap();
        bytes.truncate(length);
        bytes
    }
}

impl Drop for Qemu {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The guest's view of a board, written down.
struct Session<'a> {
    board: &'a mut dyn Board,
    seen: Vec<(String, Vec<u8>)>,
}

impl Session<'_> {
    fn nic_read(&mut self, offset: u32) -> u32 {
        self.board.read(LAN9118_BASE + offset)
    }
    fn nic_write(&mut self, offset: u32, value: u32) {
        self.board.write(LAN9118_BASE + offset, value);
    }
    fn mac_write(&mut self, register: u32, value: u32) {
        self.nic_write(MAC_CSR_DATA, value);
        self.nic_write(MAC_CSR_CMD, mac_csr::BUSY | register);
    }
    fn mac_read(&mut self, register: u32) -> u32 {
        self.nic_write(MAC_CSR_CMD, mac_csr::BUSY | mac_csr::READ | register);
        self.nic_read(MAC_CSR_DATA)
    }
    fn note(&mut self, what: impl Into<String>, value: u32) {
        self.seen.push((what.into(), value.to_be_bytes().to_vec()));
    }
    /// Notes the register at `offset`, but for the bits in `without`.
    fn note_register(&mut self, offset: u32, without: u32) {
        let value = self.nic_read(offset) & !without;
        self.note(format!("register {offset:#x}"), value);
    }
    fn switch_on(&mut self) {
        self.nic_write(HW_CFG, HW_CFG_SOFT_RESET);
        self.nic_write(IRQ_CFG, irq_cfg::ENABLE | irq_cfg::ACTIVE_HIGH | irq_cfg::PUSH_PULL);
        self.nic_write(INT_EN, int::RX_STATUS_LEVEL);
        self.nic_write(FIFO_INT, 0xffff_0000);
        self.nic_write(TX_CFG, tx_cfg::ON);
        self.mac_write(MAC_CR, TXEN | RXEN);
    }
}

/// Runs a transcript on both boards and compares what they showed.
fn compare(name: &str, transcript: impl Fn(&mut Session<'_>)) {
    let Some(mut qemu) = Qemu::start(name) else { return };
    let run = |board: &mut dyn Board| {
        let mut session = Session {
            board,
            seen: Vec::new(),
        };
        transcript(&mut session);
        session.seen
    };
    let theirs = run(&mut qemu);
    let ours = run(&mut Ours {
        nic: Lan9118::new(ADDRESS),
        uart: Uart::new(),
        emitted: Emitted::default(),
        memory: Vec::new(),
    });
    assert_eq!(ours.len(), theirs.len());
    for (index, (our, their)) in ours.iter().zip(&theirs).enumerate() {
        assert_eq!(our, their, "observation {index}: ours left, QEMU's right");
    }
    eprintln!("{name}: {} observations equal", ours.len());
}

fn frame(destination: [u8; 6], length: usize) -> Vec<u8> {
    let mut bytes: Vec<u8> = (0..length).map(|n| (n % 251) as u8).collect();
    bytes[..6].copy_from_slice(&destination);
    bytes[12..14].copy_from_slice(&[0x08, 0x00]);
    bytes
}

#[test]
fn bring_up() {
    compare("bring-up", |session| {
        session.nic_write(HW_CFG, HW_CFG_SOFT_RESET);
        for offset in [
            BYTE_TEST,
            ID_REV,
            IRQ_CFG,
            INT_STS,
            INT_EN,
            FIFO_INT,
            RX_CFG,
            TX_CFG,
            HW_CFG,
            RX_DP_CTRL,
            RX_FIFO_INF,
            TX_FIFO_INF,
            PMT_CTRL,
            GPIO_CFG,
            GPT_CFG,
            GPT_CNT,
            WORD_SWAP,
            RX_DROP,
            MAC_CSR_CMD,
            MAC_CSR_DATA,
            AFC_CFG,
            E2P_DATA,
        ] {
            session.note_register(offset, 0);
        }
        for register in 1..=8 {
            let value = session.mac_read(register);
            session.note(format!("MAC register {register}"), value);
        }
        for register in [0, 1, 2, 3, 4, 5, 6, 29, 29, 30] {
            session.mac_write(6, 1 << 11 | register << 6);
            let value = session.mac_read(7);
            session.note(format!("PHY register {register}"), value);
        }
        let written = [
            (AFC_CFG, 0xff6e_3740),
            (GPIO_CFG, 0xffff_ffff),
            (PMT_CTRL, 0x0000_0042),
            (RX_CFG, 0x4000_1f00),
            (
                TX_CFG,
                tx_cfg::ON | tx_cfg::STATUS_OVERRUN | tx_cfg::DUMP_DATA | tx_cfg::DUMP_STATUS,
            ),
            (IRQ_CFG, 0x2200_0111),
        ];
        for (offset, value) in written {
            session.nic_write(offset, value);
            session.note_register(offset, 0);
        }
    });
}

#[test]
fn eeprom() {
    compare("eeprom", |session| {
        let command = |session: &mut Session<'_>, command: u32, address: u32, data: u32| {
            session.nic_write(E2P_DATA, data);
            session.nic_write(E2P_CMD, 1 << 31 | command << 28 | address);
        };
        command(session, 3, 6, 7); // a write that is not enabled
        for (step, address, data) in [(2, 0, 0), (5, 6, 0), (3, 6, 0x4f), (3, 6, 0xf9), (1, 0, 0), (5, 1, 0)] {
            command(session, step, address, data);
        }
        for address in 0..8 {
            command(session, 0, address, 0);
            session.note_register(E2P_DATA, 0);
        }
        command(session, 7, 0, 0);
        for register in [2, 3] {
            let value = session.mac_read(register);
            session.note("station address", value);
        }
    });
}

#[test]
fn interrupts() {
    compare("interrupts", |session| {
        session.switch_on();
        let look = |session: &mut Session<'_>| {
            for offset in [INT_STS, INT_EN, IRQ_CFG] {
                session.note_register(offset, 0);
            }
        };
        look(session);
        session.board.arrives(&frame(ADDRESS, 60));
        look(session);
        session.nic_write(INT_STS, int::RX_STATUS_LEVEL);
        look(session);
        session.nic_write(INT_EN, int::SOFTWARE | int::PHY);
        session.nic_write(INT_STS, int::RX_STATUS_LEVEL);
        look(session);
        session.nic_write(INT_STS, int::SOFTWARE);
        look(session);
        session.mac_write(7, 0x40); // PHY: autonegotiation done
        session.mac_write(6, 1 << 11 | 30 << 6 | 2);
        look(session);
        session.mac_write(6, 1 << 11 | 29 << 6);
        look(session);
        session.mac_write(MAC_CR, TXEN);
        look(session);
    });
}

#[test]
fn transmission() {
    compare("transmission", |session| {
        session.switch_on();
        let buffer = |session: &mut Session<'_>, flags: u32, offset: usize, length: usize, data: &[u8]| {
            session.nic_write(TX_DATA_FIFO, flags | (offset as u32) << 16 | data.len() as u32);
            session.nic_write(TX_DATA_FIFO, 0xabcd_0000 | length as u32);
            let mut bytes = vec![0xee; offset];
            bytes.extend_from_slice(data);
            bytes.resize(bytes.len().next_multiple_of(4), 0xee);
            for word in bytes.chunks_exact(4) {
                session.nic_write(TX_DATA_FIFO, u32::from_le_bytes(word.try_into().unwrap()));
            }
        };
        for offset in 0..32 {
            for length in [60, 61, 62, 63, 1514] {
                let frame = frame(OTHER, length);
                let completion = if offset % 2 == 0 { tx::A_ON_COMPLETION } else { 0 };
                if length % 2 == 0 {
                    buffer(session, tx::A_FIRST | tx::A_LAST | completion, offset, length, &frame);
                } else {
                    buffer(session, tx::A_FIRST, offset, length, &frame[..17]);
                    buffer(session, 0, 31 - offset, length, &frame[17..38]);
                    buffer(session, tx::A_LAST | completion, 3, length, &frame[38..]);
                }
                let sent = session.board.sent();
                session
                    .seen
                    .push((format!("sent, offset {offset}, length {length}"), sent));
                session.note_register(TX_FIFO_INF, 0);
                session.note_register(TX_STATUS_FIFO_PEEK, 0);
                session.note_register(TX_STATUS_FIFO, 0);
                // Our status level bit has no counterpart there.
                session.note_register(INT_STS, int::TX_STATUS_LEVEL);
                session.nic_write(INT_STS, u32::MAX);
            }
        }
    });
}

#[test]
fn reception() {
    compare("reception", |session| {
        session.switch_on();
        for offset in 0..32usize {
            for (field, alignment) in [(0, 4), (1, 16), (2, 32)] {
                session.nic_write(RX_CFG, field << 30 | (offset as u32) << 8);
                for length in [60, 61, 62, 63, 300] {
                    session.board.arrives(&frame(ADDRESS, length));
                    session.board.arrives(&frame(ADDRESS, 64));
                    session.note_register(RX_FIFO_INF, 0);
                    for frame_bytes in [length, 64] {
                        session.note_register(RX_STATUS_FIFO, rx::STATUS_ETHERTYPE);
                        let total = (offset + frame_bytes + 4).next_multiple_of(alignment);
                        let mut bytes = Vec::new();
                        for _ in 0..total / 4 {
                            bytes.extend(session.nic_read(RX_DATA_FIFO).to_le_bytes());
                        }
                        bytes.truncate(offset + frame_bytes); // QEMU's FCS is none
                        session
                            .seen
                            .push((format!("offset {offset}, alignment {alignment}"), bytes));
                    }
                    session.note_register(RX_FIFO_INF, 0);
                }
            }
        }
    });
}

#[test]
fn address_filter() {
    const MCPAS: u32 = 1 << 19;
    const PROMISCUOUS: u32 = 1 << 18;
    const INVERSE: u32 = 1 << 17;
    const HASH_ONLY: u32 = 1 << 15;
    const HASH_MULTICAST: u32 = 1 << 13;
    const NO_BROADCAST: u32 = 1 << 11;
    const ALL: u32 = 1 << 31;
    // Each mode, and an address that passes it: its frame shows that those before were decided on.
    let modes = [
        (0, ADDRESS),
        (PROMISCUOUS, ADDRESS),
        (MCPAS, ADDRESS),
        (INVERSE, OTHER),
        (NO_BROADCAST, ADDRESS),
        (HASH_MULTICAST, ADDRESS),
        (HASH_MULTICAST | HASH_ONLY, BROADCAST),
        (ALL | NO_BROADCAST, OTHER),
    ];
    compare("address-filter", |session| {
        for hash in [0, 1 << 31, 0x0000_ffff, u32::MAX] {
            for (mode, passes) in modes {
                session.switch_on();
                session.mac_write(4, hash); // HASHH
                session.mac_write(5, !hash); // HASHL
                session.mac_write(MAC_CR, TXEN | RXEN | mode);
                for destination in [ADDRESS, OTHER, GROUP, [0x33, 0x33, 0, 0, 0, 1], BROADCAST] {
                    session.board.may_arrive(&frame(destination, 60));
                }
                // Two lengths apart from the rest: the second is in only after all others were seen.
                session.board.may_arrive(&frame(passes, 61));
                wait_for_last(session, 65);
                session.note(format!("mode {mode:#x}, hash {hash:#x}"), 0);
                session.note_register(RX_FIFO_INF, 0);
                for _ in 0..session.nic_read(RX_FIFO_INF) >> 16 {
                    session.note_register(RX_STATUS_FIFO, rx::STATUS_ETHERTYPE);
                }
            }
        }
    });
}

/// Waits until the RX data FIFO's use tells that a frame of `fcs_length` bytes, one word longer than all others, is in.
fn wait_for_last(session: &mut Session<'_>, fcs_length: u32) {
    const LOOKS_MAX: u32 = 1_000_000;
    let others_bytes = 64;
    let last_bytes = fcs_length.next_multiple_of(4);
    let arrived = (0..LOOKS_MAX).any(|_| {
        let inf = session.nic_read(RX_FIFO_INF);
        let (frames, bytes) = (inf >> 16, inf & 0xffff);
        frames > 0 && bytes == (frames - 1) * others_bytes + last_bytes
    });
    assert!(arrived, "the last frame never arrived");
}

#[test]
fn serial_port() {
    compare("serial-port", |session| {
        let look = |session: &mut Session<'_>| {
            for offset in [uart::STATE, uart::CTRL, uart::INTSTATUS, uart::BAUDDIV] {
                let value = session.board.read(UART_BASE + offset);
                session.note(format!("UART register {offset:#x}"), value);
            }
        };
        look(session);
        for n in 0..12 {
            let value = session.board.read(UART_BASE + uart::PID4 + 4 * n);
            session.note("UART identification", value);
        }
        let writes = [
            (uart::BAUDDIV, 0xffff_ffd9),
            (uart::CTRL, uart::CTRL_TX_OVERRUN_INTERRUPT),
            (uart::DATA, 0x41), // stays: the transmitter is off
            (uart::DATA, 0x42), // overrun
            (uart::INTSTATUS, uart::INT_TX_OVERRUN),
            (uart::DATA, 0x43),
            (uart::STATE, uart::STATE_TX_OVERRUN),
            (uart::CTRL, 0xffff_ff80),
        ];
        for (offset, value) in writes {
            session.board.write(UART_BASE + offset, value);
            look(session);
        }
    });
    compare("serial-port-transmission", |session| {
        for ctrl in [uart::CTRL_TX_ENABLE, uart::CTRL_TX_ENABLE | uart::CTRL_TX_INTERRUPT] {
            session.board.write(UART_BASE + uart::CTRL, ctrl);
            for byte in *b"boot" {
                session.board.write(UART_BASE + uart::DATA, u32::from(byte));
                let state = session.board.read(UART_BASE + uart::STATE);
                let interrupts = session.board.read(UART_BASE + uart::INTSTATUS);
                session.note("state", state);
                session.note("interrupts", interrupts);
                session.board.write(UART_BASE + uart::INTSTATUS, interrupts);
            }
        }
    });
}
