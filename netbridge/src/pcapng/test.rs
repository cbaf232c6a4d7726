//! Reads captures back, with a reader of our own and with tcpdump.

use std::process::{Command, Stdio};

use proptest::prelude::*;

use super::*;

type Options = Vec<(u16, Vec<u8>)>;

#[derive(Debug, PartialEq)]
struct Packet {
    interface: u32,
    at_ns: u64,
    original_bytes: u32,
    bytes: Vec<u8>,
    options: Options,
}

#[derive(Debug, Default)]
struct Capture {
    interfaces: Vec<(u16, Options)>,
    packets: Vec<Packet>,
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_ne_bytes(bytes[at..at + 2].try_into().unwrap())
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_ne_bytes(bytes[at..at + 4].try_into().unwrap())
}

fn options(mut bytes: &[u8]) -> Options {
    let mut options = Vec::new();
    loop {
        let (code, length) = (u16_at(bytes, 0), usize::from(u16_at(bytes, 2)));
        if code == OPTION_END {
            assert_eq!(bytes.len(), 4, "nothing follows the end of the options");
            return options;
        }
        options.push((code, bytes[4..4 + length].to_vec()));
        bytes = &bytes[4 + length.next_multiple_of(4)..];
    }
}

fn read(mut bytes: &[u8]) -> Capture {
    let mut capture = Capture::default();
    let mut first = true;
    while !bytes.is_empty() {
        let length = u32_at(bytes, 4) as usize;
        assert_eq!(length % 4, 0);
        assert_eq!(
            u32_at(bytes, length - 4) as usize,
            length,
            "the length is repeated at the end"
        );
        let body = &bytes[8..length - 4];
        match u32_at(bytes, 0) {
            SECTION_HEADER => assert!(first && u32_at(body, 0) == BYTE_ORDER_MAGIC),
            INTERFACE_DESCRIPTION => capture.interfaces.push((u16_at(body, 0), options(&body[8..]))),
            ENHANCED_PACKET => {
                let kept = u32_at(body, 12) as usize;
                capture.packets.push(Packet {
                    interface: u32_at(body, 0),
                    at_ns: u64::from(u32_at(body, 4)) << 32 | u64::from(u32_at(body, 8)),
                    original_bytes: u32_at(body, 16),
                    bytes: body[20..20 + kept].to_vec(),
                    options: options(&body[20 + kept.next_multiple_of(4)..]),
                });
            }
            other => panic!("unknown block {other:#x}"),
        }
        first = false;
        bytes = &bytes[length..];
    }
    capture
}

proptest! {
    #[test]
    fn what_is_written_is_read(
        packets in prop::collection::vec(
            (any::<u64>(), any::<bool>(), prop::collection::vec(any::<u8>(), 0..80), prop::option::of(".{0,20}")), 0..20),
    ) {
        let mut writer = Writer::new(Vec::new()).unwrap();
        let tap = writer.interface("tap", LinkType::Ethernet).unwrap();
        let world = writer.interface("world", LinkType::Ipv4).unwrap();
        let mut expected = Vec::new();
        for (at_ns, outbound, bytes, comment) in packets {
            let (interface, direction, flag) =
                if outbound { (world, Direction::Outbound, 2u32) } else { (tap, Direction::Inbound, 1) };
            writer.packet(interface, at_ns, direction, &bytes, comment.as_deref()).unwrap();
            let comment = comment.map(|text| (OPTION_COMMENT, text.into_bytes()));
            let flags = (OPTION_PACKET_FLAGS, flag.to_ne_bytes().to_vec());
            let options = comment.into_iter().chain([flags]).collect();
            expected.push(Packet { interface: interface.0, at_ns, original_bytes: bytes.len() as u32, bytes, options });
        }
        let written_bytes = writer.written_bytes();
        let file = writer.into_inner().unwrap();
        prop_assert_eq!(written_bytes, file.len() as u64);
        let capture = read(&file);
        prop_assert_eq!(capture.packets, expected);
        let name = (OPTION_INTERFACE_NAME, b"world".to_vec());
        prop_assert_eq!(&capture.interfaces[1], &(228, vec![name, (OPTION_TIME_RESOLUTION, vec![9])]));
    }
}

#[test]
fn long_packets_and_comments_are_cut() {
    let mut writer = Writer::new(Vec::new()).unwrap();
    let tap = writer.interface("tap", LinkType::Ethernet).unwrap();
    let comment = "é".repeat(100_000);
    writer
        .packet(tap, 0, Direction::Inbound, &vec![7; 300_000], Some(&comment))
        .unwrap();
    let capture = read(&writer.into_inner().unwrap());
    let packet = &capture.packets[0];
    assert_eq!(
        (packet.bytes.len(), packet.original_bytes),
        (SNAP_BYTES as usize, 300_000)
    );
    assert_eq!(packet.options[0].1.len(), TEXT_BYTES_MAX);
}

#[test]
#[should_panic(expected = "not of this capture")]
fn an_interface_of_another_capture_is_our_own_mistake() {
    let mut other = Writer::new(Vec::new()).unwrap();
    let tap = other.interface("tap", LinkType::Ethernet).unwrap();
    let _ = Writer::new(Vec::new())
        .unwrap()
        .packet(tap, 0, Direction::Inbound, b"", None);
}

#[test]
fn tcpdump_reads_it() {
    let mut frame = Vec::new();
    etherparse::PacketBuilder::ethernet2([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2])
        .ipv4([192, 0, 2, 1], [192, 0, 2, 7], 64)
        .udp(40000, 7)
        .write(&mut frame, b"hello")
        .unwrap();
    let mut writer = Writer::new(Vec::new()).unwrap();
    let tap = writer.interface("vm0", LinkType::Ethernet).unwrap();
    writer
        .packet(
            tap,
            1_700_000_000_123_456_789,
            Direction::Inbound,
            &frame,
            Some("index 7, ordinal 0"),
        )
        .unwrap();
    let file = writer.into_inner().unwrap();

    let arguments = ["-tt", "--nano", "-n", "-r", "-"];
    let tcpdump = Command::new("tcpdump")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn();
    let Ok(mut tcpdump) = tcpdump else {
        let _ = writeln!(io::stderr(), "skipped: tcpdump is not installed"); // past the harness, which hides it
        return;
    };
    tcpdump.stdin.take().unwrap().write_all(&file).unwrap();
    let output = String::from_utf8(tcpdump.wait_with_output().unwrap().stdout).unwrap();
    assert!(output.contains("1700000000.123456789 "), "{output}");
    assert!(
        output.contains("192.0.2.1.40000 > 192.0.2.7.7: UDP, length 5"),
        "{output}"
    );
}
