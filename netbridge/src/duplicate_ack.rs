//! Drops acknowledgements that only say "this arrived twice".
//!
//! When every node emits every segment (egress policy `all`), a SACK client answers each extra copy with a pure ACK
//! whose SACK option holds one block at or below the acknowledgement number: a D-SACK (RFC 2883). Each would cost a log
//! entry and tells the guest nothing it may act on: measured, a third of the entries without them, at equal goodput.
//! Plain duplicate ACKs are never dropped: fast retransmit counts them (RFC 5681 3.2).
//!
//! A D-SACK may be the only ACK of its data: a client that delays the ACK of the first copy acknowledges it with the
//! D-SACK for the second. Dropped, the guest would retransmit for ever and get nothing but D-SACKs. So one is dropped
//! only if this edge let an ACK of the same flow with the same number and window in shortly before; a retransmission
//! comes later than that, and its D-SACK passes.

use std::net::Ipv4Addr;

use etherparse::{TcpOptionElement, TcpSlice};

use crate::bounded::Bounded;

/// An ACK makes its D-SACKs redundant for this long: the copies of three nodes arrive within a commit or two, and no
/// stack retransmits sooner (Linux: 200 ms at least; RFC 6298: 1 s).
const REDUNDANT_NS: u64 = 150_000_000;

/// Flows remembered; a forgotten flow's next D-SACK passes. Some 300 KiB.
const FLOWS_MAX: usize = 4096;

/// A direction of a TCP connection: source and destination, address and port.
type Flow = (Ipv4Addr, u16, Ipv4Addr, u16);

#[derive(Debug, Clone, Copy)]
struct Acked {
    number: u32,
    window: u16,
    at_ns: u64,
}

/// The last ACK each flow was let in with.
#[derive(Debug)]
pub(crate) struct DuplicateAcks {
    flows: Bounded<Flow, Acked>,
}

/// What matters of a TCP segment here.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ack {
    flow: Flow,
    number: u32,
    window: u16,
    only_dsack: bool,
}

impl Ack {
    /// Reads a whole, unfragmented TCP segment; None if it acknowledges nothing or is malformed (the node's own filter
    /// judges that).
    pub(crate) fn of(source: Ipv4Addr, destination: Ipv4Addr, segment: &[u8]) -> Option<Ack> {
        let tcp = TcpSlice::from_slice(segment).ok()?;
        if !tcp.ack() || tcp.rst() || tcp.syn() {
            return None;
        }
        let number = tcp.acknowledgment_number();
        let pure = tcp.payload().is_empty() && !(tcp.fin() || tcp.psh() || tcp.urg() || tcp.ece() || tcp.cwr());
        Some(Ack {
            flow: (source, tcp.source_port(), destination, tcp.destination_port()),
            number,
            window: tcp.window_size(),
            only_dsack: pure && has_only_dsack(&tcp, number),
        })
    }
}

/// Exactly one SACK block, and it ends at or before the acknowledgement number (RFC 2883 section 4, sequence numbers
/// compared as in RFC 9293 3.4).
fn has_only_dsack(tcp: &TcpSlice<'_>, number: u32) -> bool {
    let mut found = false;
    for option in tcp.options_iterator() {
        match option {
            Ok(TcpOptionElement::SelectiveAcknowledgement((_, end), [None, None, None])) if !found => {
                found = (number.wrapping_sub(end) as i32) >= 0;
                if !found {
                    return false;
                }
            }
            Ok(TcpOptionElement::SelectiveAcknowledgement(..)) | Err(_) => return false,
            Ok(_) => {}
        }
    }
    found
}

impl DuplicateAcks {
    pub(crate) fn new() -> Self {
        DuplicateAcks {
            flows: Bounded::new(FLOWS_MAX),
        }
    }

    /// Nothing new, so soon after an ACK that said the same.
    pub(crate) fn is_redundant(&self, ack: &Ack, now_ns: u64) -> bool {
        ack.only_dsack
            && self.flows.get(&ack.flow).is_some_and(|acked| {
                acked.number == ack.number
                    && acked.window == ack.window
                    && now_ns.saturating_sub(acked.at_ns) < REDUNDANT_NS
            })
    }

    /// This ACK was let in.
    pub(crate) fn let_in(&mut self, ack: &Ack, now_ns: u64) {
        self.flows.insert(
            ack.flow,
            Acked {
                number: ack.number,
                window: ack.window,
                at_ns: now_ns,
            },
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use etherparse::TcpHeader;

    const FROM: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
    const TO: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);

    fn ack(number: u32, window: u16, blocks: &[(u32, u32)], payload: &[u8]) -> Option<Ack> {
        let mut header = TcpHeader::new(40000, 80, 1, window);
        header.ack = true;
        header.acknowledgment_number = number;
        if let Some((first, rest)) = blocks.split_first() {
            let mut others = [None; 3];
            for (place, block) in others.iter_mut().zip(rest) {
                *place = Some(*block);
            }
            let option = TcpOptionElement::SelectiveAcknowledgement(*first, others);
            header
                .set_options(&[TcpOptionElement::Noop, TcpOptionElement::Noop, option])
                .unwrap();
        }
        let mut segment = header.to_bytes().to_vec();
        segment.extend(payload);
        Ack::of(FROM, TO, &segment)
    }

    fn after(first: Ack, second: Ack, elapsed_ns: u64) -> bool {
        let mut acks = DuplicateAcks::new();
        acks.let_in(&first, 0);
        acks.is_redundant(&second, elapsed_ns)
    }

    #[test]
    fn a_dsack_after_the_same_ack_is_redundant() {
        let plain = ack(5000, 100, &[], b"").unwrap();
        assert!(after(plain, ack(5000, 100, &[(4000, 5000)], b"").unwrap(), 1));
        assert!(after(plain, ack(5000, 100, &[(3000, 4000)], b"").unwrap(), 1));
        let wrapped = ack(10, 100, &[], b"").unwrap();
        assert!(after(wrapped, ack(10, 100, &[(u32::MAX - 5, 5)], b"").unwrap(), 1));
    }

    #[test]
    fn everything_that_says_something_passes() {
        let plain = ack(5000, 100, &[], b"").unwrap();
        let passes = |second: Option<Ack>| assert!(!after(plain, second.unwrap(), 1));
        passes(ack(5000, 100, &[], b"")); // plain duplicate ACK
        passes(ack(5001, 100, &[(4000, 5000)], b"")); // acknowledges more
        passes(ack(5000, 101, &[(4000, 5000)], b"")); // opens the window
        passes(ack(5000, 100, &[(6000, 7000)], b"")); // a real SACK
        passes(ack(5000, 100, &[(4000, 5000), (6000, 7000)], b"")); // D-SACK and SACK
        passes(ack(5000, 100, &[(4000, 5000)], b"data"));
    }

    #[test]
    fn the_only_ack_of_its_data_passes_and_so_does_the_one_for_a_retransmission() {
        let dsack = ack(5000, 100, &[(4000, 5000)], b"").unwrap();
        assert!(
            !DuplicateAcks::new().is_redundant(&dsack, 0),
            "never acknowledged before"
        );
        assert!(after(dsack, dsack, REDUNDANT_NS - 1));
        assert!(!after(dsack, dsack, REDUNDANT_NS), "the guest may have retransmitted");
    }

    proptest::proptest! {
        #[test]
        fn random_segments_never_panic(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..80)) {
            let _ = Ack::of(FROM, TO, &bytes);
        }
    }
}
