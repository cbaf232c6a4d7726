//! One ELF file on QEMU's board `mps2-an385` and on ours, the same visits by a real TCP/IP stack: the same answers.
//!
//! [`Guest`] is a machine that runs the firmware; [`visit`] does what a client would do and returns everything it saw.

#![allow(clippy::unwrap_used)] // whatever goes wrong here is a failed test
#![allow(clippy::disallowed_methods, clippy::disallowed_types)] // QEMU runs in real time

#[path = "support/cable.rs"]
mod cable;

use cable::Cable;
use machine::{AgreedTime, Definition, Entry, Grant, Input, Machine, Ticks};
use smoltcp::iface::{Config, Interface, SocketHandle, SocketSet};
use smoltcp::phy::Medium;
use smoltcp::socket::{tcp, udp};
use smoltcp::time::Instant;
use smoltcp::wire::{EthernetAddress, IpAddress, IpCidr};
use std::net::UdpSocket;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// Station address of the guest's card; QEMU's default for the first one.
const STATION: [u8; 6] = [0x52, 0x54, 0x00, 0x12, 0x34, 0x56];
const GUEST: IpAddress = IpAddress::v4(10, 77, 0, 2);
const GATEWAY: IpAddress = IpAddress::v4(10, 77, 0, 1);
/// The firmware waits two seconds for DHCP; TCP gets the rest.
const PATIENCE: Duration = Duration::from_secs(30);

/// What the peer has under way at most. QEMU drops what does not fit the chip's 10 KB of FIFO, and every loss would cost
/// a retransmission timeout.
const PEER_WINDOW_BYTES: usize = 6 * 1024;

/// A machine that runs the firmware, with its network card in our hand.
trait Guest {
    /// Frames in, a moment passes, frames out.
    fn exchange(&mut self, frames: Vec<Vec<u8>>) -> Vec<Vec<u8>>;
    /// Time in the guest, from an origin of its own.
    fn now(&self) -> Duration;
    /// What it printed up to now.
    fn console(&self) -> String;
}

/// QEMU with the firmware; ended when dropped.
struct Qemu {
    process: Child,
    network: UdpSocket,
    console: String,
    started: std::time::Instant,
}

impl Qemu {
    fn start(firmware: &str) -> std::io::Result<Qemu> {
        let console = format!("{}/firmware-console.txt", env!("CARGO_TARGET_TMPDIR"));
        let network = UdpSocket::bind("127.0.0.1:0")?;
        let theirs = UdpSocket::bind("127.0.0.1:0")?.local_addr()?;
        network.connect(theirs)?;
        network.set_read_timeout(Some(Duration::from_millis(1)))?;
        let nic = format!("socket,model=lan9118,udp={},localaddr={theirs}", network.local_addr()?);
        let process = Command::new("qemu-system-arm")
            .args([
                "-M",
                "mps2-an385",
                "-kernel",
                firmware,
                "-display",
                "none",
                "-monitor",
                "none",
            ])
            .args(["-nic", &nic, "-serial", &format!("file:{console}")])
            .stderr(Stdio::null())
            .spawn()?;
        Ok(Qemu {
            process,
            network,
            console,
            started: std::time::Instant::now(),
        })
    }
}

impl Guest for Qemu {
    fn exchange(&mut self, frames: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
        for frame in frames {
            let _ = self.network.send(&frame); // refused until QEMU listens; the peer sends it again
        }
        let mut received = Vec::new();
        let mut bytes = [0; 2048];
        while let Ok(length) = self.network.recv(&mut bytes) {
            received.push(bytes[..length].to_vec());
        }
        received
    }
    fn now(&self) -> Duration {
        self.started.elapsed()
    }
    fn console(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.console).unwrap_or_default()).into_owned()
    }
}

impl Drop for Qemu {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Our machine with the firmware: an entry a millisecond.
struct Ours {
    machine: Machine,
    console: Vec<u8>,
}

impl Ours {
    /// At 25 MHz, the board's clock.
    const TICKS_PER_ENTRY: u64 = 25_000;
    const ENTRY_NS: u64 = 1_000_000;

    fn start(firmware: &str) -> Ours {
        let definition = Definition {
            board: "mps2-an385".to_owned(),
            boot: machine::Boot::Firmware(std::fs::read(firmware).unwrap()),
            ram_bytes: 0,
            disks: vec![],
            seed: [0; 32],
            macs: vec![STATION],
            start: AgreedTime(0),
        };
        Ours {
            machine: Machine::new(&definition).unwrap(),
            console: Vec::new(),
        }
    }
}

impl Guest for Ours {
    fn exchange(&mut self, frames: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
        let entry = Entry {
            inputs: frames.into_iter().map(|bytes| Input::Frame { nic: 0, bytes }).collect(),
            grant: Grant {
                ticks: Ticks(Self::TICKS_PER_ENTRY),
                until: AgreedTime(self.machine.time().0 + Self::ENTRY_NS),
            },
        };
        let outputs = self.machine.apply(&entry);
        outputs.serial.iter().for_each(|line| self.console.extend(&line.bytes));
        outputs.frames.into_iter().map(|frame| frame.bytes).collect()
    }
    fn now(&self) -> Duration {
        Duration::from_nanos(self.machine.time().0)
    }
    fn console(&self) -> String {
        String::from_utf8_lossy(&self.console).into_owned()
    }
}

/// The guest's gateway, which is also its only client.
struct Peer<'a> {
    guest: &'a mut dyn Guest,
    cable: Cable,
    interface: Interface,
    sockets: SocketSet<'static>,
    next_port: u16,
}

impl<'a> Peer<'a> {
    fn new(guest: &'a mut dyn Guest) -> Self {
        let mut cable = Cable::new(Medium::Ethernet);
        let station = EthernetAddress([0x02, 0x77, 0, 0, 0, 1]);
        let mut interface = Interface::new(Config::new(station.into()), &mut cable, Instant::ZERO);
        interface.update_ip_addrs(|addresses| addresses.push(IpCidr::new(GATEWAY, 24)).unwrap());
        Peer {
            guest,
            cable,
            interface,
            sockets: SocketSet::new(Vec::new()),
            next_port: 50_000,
        }
    }

    /// Lets a moment pass.
    fn turn(&mut self) {
        let now = Instant::from_micros(self.guest.now().as_micros() as i64);
        self.interface.poll(now, &mut self.cable, &mut self.sockets);
        let frames = std::mem::take(&mut self.cable.to_guest);
        self.cable.to_peer.extend(self.guest.exchange(frames));
    }

    fn turn_until(&mut self, what: &str, mut done: impl FnMut(&mut Self) -> bool) {
        let deadline = self.guest.now() + PATIENCE;
        while !done(self) {
            assert!(
                self.guest.now() < deadline,
                "{what}: not within {PATIENCE:?}; console:\n{}",
                self.guest.console()
            );
            self.turn();
        }
    }

    fn connect(&mut self, port: u16) -> SocketHandle {
        let buffer = || tcp::SocketBuffer::new(vec![0; PEER_WINDOW_BYTES]);
        let handle = self.sockets.add(tcp::Socket::new(buffer(), buffer()));
        let socket = self.sockets.get_mut::<tcp::Socket>(handle);
        socket
            .connect(self.interface.context(), (GUEST, port), self.next_port)
            .unwrap();
        self.next_port += 1;
        self.turn_until("connection", |peer| peer.tcp(handle).may_send());
        handle
    }

    fn tcp(&mut self, handle: SocketHandle) -> &mut tcp::Socket<'static> {
        self.sockets.get_mut(handle)
    }

    /// Sends a request on a new connection and returns `length` bytes of what comes back, or all if there are fewer.
    fn ask(&mut self, port: u16, request: &[u8], length: usize) -> Vec<u8> {
        let handle = self.connect(port);
        let (mut sent, mut answer) = (0, Vec::new());
        self.turn_until("answer", |peer| {
            let socket = peer.tcp(handle);
            sent += socket.send_slice(&request[sent..]).unwrap_or(0);
            if socket.can_recv() {
                socket
                    .recv(|bytes| (bytes.len(), answer.extend_from_slice(bytes)))
                    .unwrap();
            }
            answer.len() >= length || !socket.may_recv() && !socket.can_recv()
        });
        self.tcp(handle).close();
        self.turn_until("end of the connection", |peer| !peer.tcp(handle).may_send());
        answer
    }

    /// A datagram to the echo service; asked again until it answers.
    fn ask_udp(&mut self, payload: &[u8]) -> Vec<u8> {
        let buffer = || udp::PacketBuffer::new(vec![udp::PacketMetadata::EMPTY; 4], vec![0; 1 << 14]);
        let handle = self.sockets.add(udp::Socket::new(buffer(), buffer()));
        self.sockets
            .get_mut::<udp::Socket>(handle)
            .bind(self.next_port)
            .unwrap();
        self.next_port += 1;
        let mut answer = Vec::new();
        let socket = self.sockets.get_mut::<udp::Socket>(handle);
        socket.send_slice(payload, (GUEST, 7)).unwrap();
        self.turn_until("datagram", |peer| {
            let socket = peer.sockets.get_mut::<udp::Socket>(handle);
            match socket.recv() {
                Ok((bytes, _)) => {
                    answer = bytes.to_vec();
                    true
                }
                Err(_) => false,
            }
        });
        answer
    }
}

/// Everything a visitor saw.
#[derive(Debug, PartialEq, Eq)]
struct Seen {
    echoes: Vec<Vec<u8>>,
    datagrams: Vec<Vec<u8>>,
    stream: Vec<u8>,
    not_found: Vec<u8>,
    console: String,
}

fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|n| (n % 251) as u8).collect()
}

fn visit(guest: &mut dyn Guest) -> Seen {
    let mut peer = Peer::new(guest);
    let echoes = [1, 1460, 40_000]
        .map(|length| peer.ask(7, &pattern(length), length))
        .to_vec();
    let datagrams = [1, 18, 1400].map(|length| peer.ask_udp(&pattern(length))).to_vec();
    let get = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: guest\r\nConnection: close\r\n\r\n").into_bytes();
    let stream = peer.ask(80, &get("/stream?bytes=50000"), usize::MAX);
    let not_found = peer.ask(80, &get("/nowhere"), usize::MAX);
    Seen {
        echoes,
        datagrams,
        stream,
        not_found,
        console: peer.guest.console(),
    }
}

/// Builds the firmware. The error says what is missing.
fn firmware() -> Result<String, String> {
    let build = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/guests/freertos/build");
    let output = Command::new(build).output().map_err(|error| error.to_string())?;
    let path = String::from_utf8_lossy(&output.stdout)
        .lines()
        .last()
        .map(str::to_owned);
    path.filter(|_| output.status.success())
        .ok_or_else(|| String::from_utf8_lossy(&output.stderr).into_owned())
}

/// What the firmware owes a visitor, wherever it runs.
fn check(seen: &Seen) {
    assert_eq!(seen.echoes, [pattern(1), pattern(1460), pattern(40_000)]);
    assert_eq!(seen.datagrams, [pattern(1), pattern(18), pattern(1400)]);
    assert!(
        seen.stream.starts_with(b"HTTP/1.1 200 "),
        "{}",
        String::from_utf8_lossy(&seen.stream)
    );
    assert!(seen.stream.len() > 50_000);
    assert!(
        seen.not_found.starts_with(b"HTTP/1.1 404 "),
        "{}",
        String::from_utf8_lossy(&seen.not_found)
    );
    assert!(seen.console.contains("FreeRTOS"), "{}", seen.console);
}

#[test]
fn the_firmware_serves_a_visitor_as_on_qemu() {
    let firmware = match firmware() {
        Ok(path) => path,
        Err(reason) => return eprintln!("skipped: {reason}"),
    };
    let ours = visit(&mut Ours::start(&firmware));
    check(&ours);
    assert_eq!(ours, visit(&mut Ours::start(&firmware)), "the same twice");
    let mut qemu = match Qemu::start(&firmware) {
        Ok(qemu) => qemu,
        Err(error) => return eprintln!("skipped: qemu-system-arm does not start: {error}"),
    };
    let theirs = visit(&mut qemu);
    check(&theirs);
    assert_eq!(ours, theirs);
}
