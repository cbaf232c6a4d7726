//! Decides for every frame from the host: answer it, offer it to the log, or drop it.
//!
//! Whatever is offered costs a log entry on every node, so only what the guest can use goes on. Two modes:
//! * **routed** (`nat` mode): the edge is a station that owns the external addresses. It answers ARP for them and offers
//!   IPv4 packets, without Ethernet header and padding, that are addressed to them and that the node's rules admit.
//! * **transparent** (`l2` mode): the guest is the station. Whole frames go on, less what a host must not replicate.
//!
//! Order of the checks, cheapest first: shape, addresses, the node's rules, redundant ACKs, rate limits. A frame that
//! passes all but the last is counted as refused by that limit.
//!
//! Invariant: every frame is in exactly one of the counters `offered`, `replied` and a drop.

use std::net::Ipv4Addr;

use etherparse::{IpNumber, Ipv4HeaderSlice};

use crate::arp::{self, ETHERNET_BYTES, ETHERTYPE_ARP, ETHERTYPE_IPV4};
use crate::counters::{Counters, Reason};
use crate::duplicate_ack::{Ack, DuplicateAcks};
use crate::limits::{Gate, Limits};
use crate::mac::Mac;
use crate::neighbours::Neighbours;

/// What the edge is to the host's segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mode {
    /// A station of its own that owns addresses.
    Routed {
        /// External addresses.
        addresses: Vec<Ipv4Addr>,
        /// The edge's station address: the same or another on each node, but not the kernel's.
        mac: Mac,
        /// The station address of the TAP's other end: the next hop of last resort.
        kernel: Mac,
        /// Drop ACKs that only report a second copy: for `egress = all`.
        drop_duplicate_acks: bool,
    },
    /// The guest's own cable.
    L2 {
        /// The guest's station address.
        guest: Mac,
        /// Let IPv6 multicast in: a router and neighbour discovery every few seconds, noise to a guest without IPv6.
        ipv6_multicast: bool,
        /// Let unicast for other stations in, as a card in promiscuous mode sees it.
        promiscuous: bool,
    },
}

/// What is to be done with a frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision<'a> {
    /// Send this frame back.
    Reply(Vec<u8>),
    /// Offer this to the log: an IPv4 packet (routed) or the Ethernet frame (transparent).
    Offer(&'a [u8]),
    /// Nothing; it is counted.
    Drop(Reason),
}

/// Names a source in the rate limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Source {
    Address(Ipv4Addr),
    Station(Mac),
}

/// The way in.
#[derive(Debug)]
pub struct Ingress {
    mode: Mode,
    gate: Gate<Source>,
    /// Routed mode only.
    neighbours: Option<Neighbours>,
    /// Routed mode with `drop_duplicate_acks` only.
    duplicate_acks: Option<DuplicateAcks>,
    counters: Counters,
}

/// The Ethernet header of a frame, and what follows it.
struct Ethernet<'a> {
    to: Mac,
    from: Mac,
    ethertype: u16,
    payload: &'a [u8],
}

impl<'a> Ethernet<'a> {
    fn parse(frame: &'a [u8]) -> Result<Self, Reason> {
        let (header, payload) = frame.split_first_chunk::<ETHERNET_BYTES>().ok_or(Reason::Malformed)?;
        let [a, b, c, d, e, f, g, h, i, j, k, l, m, n] = *header;
        let from = Mac([g, h, i, j, k, l]);
        if !from.is_station() {
            return Err(Reason::Malformed);
        }
        Ok(Ethernet {
            to: Mac([a, b, c, d, e, f]),
            from,
            ethertype: u16::from_be_bytes([m, n]),
            payload,
        })
    }
}

impl Ingress {
    /// An edge without memory of anything.
    pub fn new(mode: Mode, limits: Limits) -> Self {
        let (neighbours, duplicate_acks) = match &mode {
            Mode::Routed {
                mac,
                kernel,
                drop_duplicate_acks,
                ..
            } => (
                Some(Neighbours::new(*mac, *kernel)),
                drop_duplicate_acks.then(DuplicateAcks::new),
            ),
            Mode::L2 { .. } => (None, None),
        };
        Ingress {
            mode,
            gate: Gate::new(limits),
            neighbours,
            duplicate_acks,
            counters: Counters::default(),
        }
    }

    /// Decides about one frame received at `now_ns`.
    ///
    /// `admit` is asked about what would be offered, last but for the limits: the node's rules, which may change from
    /// frame to frame. Its text names the rule and is counted; use few of them.
    pub fn frame<'a>(
        &mut self,
        frame: &'a [u8],
        now_ns: u64,
        admit: impl FnOnce(&[u8]) -> Result<(), &'static str>,
    ) -> Decision<'a> {
        self.counters.frames += 1;
        self.counters.bytes += frame.len() as u64;
        let decision = match self.mode {
            _ if frame.len() > self.gate.frame_bytes_max() => Err(Reason::Oversized),
            Mode::Routed { .. } => self.routed(frame, now_ns, admit),
            Mode::L2 { .. } => self.transparent(frame, now_ns, admit),
        };
        match &decision {
            Ok(Decision::Reply(_)) => self.counters.replied += 1,
            Ok(Decision::Offer(bytes)) => {
                self.counters.offered += 1;
                self.counters.offered_bytes += bytes.len() as u64;
            }
            Ok(Decision::Drop(reason)) | Err(reason) => self.counters.drop(*reason),
        }
        decision.unwrap_or_else(Decision::Drop)
    }

    /// The frame that carries an output to the host: with an Ethernet header to the next hop (routed; None if it is not
    /// an IPv4 packet), or as it is (transparent).
    pub fn frame_for(&self, output: &[u8]) -> Option<Vec<u8>> {
        match &self.neighbours {
            Some(neighbours) => neighbours.frame_for(output),
            None => Some(output.to_vec()),
        }
    }

    /// Announcements of the external addresses (none in transparent mode): to be sent when the node becomes ready.
    pub fn announcements(&self) -> Vec<Vec<u8>> {
        match &self.mode {
            Mode::Routed { addresses, mac, .. } => addresses.iter().map(|a| arp::announcement(*a, *mac)).collect(),
            Mode::L2 { .. } => Vec::new(),
        }
    }

    /// Announcement of the guest's station (transparent mode only): to be sent by the node that lets its frames out from
    /// now on, so that bridges send the segment's frames there at once and not when the guest happens to say something.
    pub fn station_announcement(&self) -> Option<Vec<u8>> {
        match self.mode {
            Mode::Routed { .. } => None,
            Mode::L2 { guest, .. } => Some(arp::station_announcement(guest)),
        }
    }

    /// What happened so far.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Sources that lost their place in the table of rate limits to newer ones: `sources_max` is too small, or somebody
    /// spoofs.
    pub fn sources_displaced(&self) -> u64 {
        self.gate.sources_displaced()
    }

    fn routed<'a>(
        &mut self,
        frame: &'a [u8],
        now_ns: u64,
        admit: impl FnOnce(&[u8]) -> Result<(), &'static str>,
    ) -> Result<Decision<'a>, Reason> {
        let (Mode::Routed { addresses, mac, .. }, Some(neighbours)) = (&self.mode, &mut self.neighbours) else {
            unreachable!("only routed mode comes here, and new() gave it neighbours")
        };
        let ethernet = Ethernet::parse(frame)?;
        match ethernet.ethertype {
            ETHERTYPE_ARP if ethernet.to == *mac || ethernet.to == Mac::BROADCAST => {
                let heard = arp::hear(ethernet.payload, ethernet.from, *mac, addresses)?;
                if let Some((address, station)) = heard.sender {
                    neighbours.learn(address, station);
                }
                return heard.answer.map(Decision::Reply);
            }
            ETHERTYPE_ARP => return Err(Reason::OtherStation),
            ETHERTYPE_IPV4 if ethernet.to == *mac => {}
            ETHERTYPE_IPV4 => return Err(Reason::OtherStation),
            _ => return Err(Reason::NotIpv4),
        }
        let ip = Ipv4HeaderSlice::from_slice(ethernet.payload).map_err(|_| Reason::Malformed)?;
        let packet = whole_packet(&ip, ethernet.payload)?;
        let (source, destination) = (ip.source_addr(), ip.destination_addr());
        if !addresses.contains(&destination) {
            return Err(Reason::OtherAddress);
        }
        if !arp::is_host(source) || addresses.contains(&source) {
            return Err(Reason::Martian);
        }
        admit(packet).map_err(Reason::NotAdmitted)?;
        let ack = match &self.duplicate_acks {
            Some(_) if ip.protocol() == IpNumber::TCP && !ip.is_fragmenting_payload() => {
                Ack::of(source, destination, &packet[ip.slice().len()..])
            }
            _ => None,
        };
        if let (Some(acks), Some(ack)) = (&self.duplicate_acks, &ack)
            && acks.is_redundant(ack, now_ns)
        {
            return Err(Reason::DuplicateAck);
        }
        self.gate.pass(Source::Address(source), false, frame.len(), now_ns)?;
        neighbours.learn(source, ethernet.from);
        if let (Some(acks), Some(ack)) = (&mut self.duplicate_acks, &ack) {
            acks.let_in(ack, now_ns);
        }
        Ok(Decision::Offer(packet))
    }

    fn transparent<'a>(
        &mut self,
        frame: &'a [u8],
        now_ns: u64,
        admit: impl FnOnce(&[u8]) -> Result<(), &'static str>,
    ) -> Result<Decision<'a>, Reason> {
        let Mode::L2 {
            guest,
            ipv6_multicast,
            promiscuous,
        } = self.mode
        else {
            unreachable!("only transparent mode comes here")
        };
        let ethernet = Ethernet::parse(frame)?;
        if ethernet.from == guest {
            return Err(Reason::OwnFrame);
        }
        if ethernet.to.is_bridge_local() {
            return Err(Reason::BridgeLocal);
        }
        if ethernet.to.is_ipv6_group() && !ipv6_multicast {
            return Err(Reason::Ipv6Multicast);
        }
        if !ethernet.to.is_group() && ethernet.to != guest && !promiscuous {
            return Err(Reason::ForeignUnicast);
        }
        admit(frame).map_err(Reason::NotAdmitted)?;
        self.gate.pass(
            Source::Station(ethernet.from),
            ethernet.to.is_group(),
            frame.len(),
            now_ns,
        )?;
        Ok(Decision::Offer(frame))
    }
}

/// The packet without the padding of a short Ethernet frame (RFC 894), its header checked (RFC 1122 3.2.1.2).
fn whole_packet<'a>(ip: &Ipv4HeaderSlice<'_>, payload: &'a [u8]) -> Result<&'a [u8], Reason> {
    let header_bytes = ip.slice().len();
    let total_bytes = usize::from(ip.total_len());
    if total_bytes < header_bytes || ip.header_checksum() != ip.to_header().calc_header_checksum() {
        return Err(Reason::Malformed);
    }
    payload.get(..total_bytes).ok_or(Reason::Malformed)
}

#[cfg(test)]
mod test;
