//! [`Nat`]: one packet in, its translation out, the flows brought up to date.
//!
//! From the world: checks that need no state (`config.rs`), then the flow or a rule that opens one, then the rewritten
//! packet in a frame from the gateway to the guest. From the guest: what is meant for the gateway goes there
//! (`gateway/`), the rest finds or opens its flow and leaves rewritten.
//!
//! The pair "gateway and translation" is one router: it takes one hop off a packet in both directions and tells the guest
//! when none is left (RFC 1812 section 5.3.1).

use std::sync::Arc;

use crate::config::{ConfigError, Settings, is_unicast};
use crate::counters::Counters;
use crate::flow::{Ends, Flow, Phase, Progress, Side, Table, Transport};
use crate::gateway::Gateway;
use crate::packet::ethernet::{self, Frame};
use crate::packet::{Datagram, Payload, Quoted, ipv4};
use crate::view::View;
use crate::{AgreedTime, Config, DropReason, NodeId, PacketOut, Protocol, Translated};

mod rewrite;

/// Translation, flows and gateway of one guest. Two that were given the same calls are equal, digest included.
#[derive(Debug, Clone)]
pub struct Nat {
    pub(crate) settings: Arc<Settings>,
    pub(crate) gateway: Gateway,
    pub(crate) table: Table,
    pub(crate) counters: Counters,
    /// The latest time seen. An earlier one counts as this one.
    pub(crate) now: AgreedTime,
}

impl Nat {
    /// A translation without flows.
    pub fn new(config: Config) -> Result<Self, ConfigError> {
        let settings = Arc::new(Settings::new(config)?);
        Ok(Self {
            gateway: Gateway::new(settings.config()),
            table: Table::new(settings.config().flows_max),
            counters: Counters::default(),
            now: AgreedTime(0),
            settings,
        })
    }

    /// Translates an IPv4 packet that reached node `origin` from the world, as it came. Frames for the guest enter with
    /// the present entry.
    pub fn inbound(&mut self, packet: &[u8], origin: NodeId, now: AgreedTime) -> Translated {
        self.advance(now);
        match self.translate_inbound(packet, origin) {
            Ok(translated) => {
                self.counters.to_guest += 1;
                translated
            }
            Err(reason) => {
                self.counters.dropped_inbound.count(reason);
                Translated {
                    dropped: Some(reason),
                    ..Translated::default()
                }
            }
        }
    }

    /// Translates an Ethernet frame that the guest sent. The gateway's answers are in `guest`; they enter with the next
    /// entry.
    pub fn outbound(&mut self, frame: &[u8], now: AgreedTime) -> Translated {
        self.advance(now);
        let translated = self.route_frame(frame).unwrap_or_else(|reason| Translated {
            dropped: Some(reason),
            ..Translated::default()
        });
        self.counters.to_world += translated.world.len() as u64;
        self.counters.gateway_answers += translated.guest.len() as u64;
        if let Some(reason) = translated.dropped {
            self.counters.dropped_outbound.count(reason);
        }
        translated
    }

    /// Lets time pass: flows idle for too long expire. The other calls do it too; this one is for entries without
    /// packets.
    pub fn advance(&mut self, now: AgreedTime) {
        self.now = self.now.max(now);
        self.counters.expired += self.table.expire(self.now);
    }

    /// What went on and what did not, since the log began.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// The flows, by id.
    pub fn flows(&self) -> impl Iterator<Item = &Flow> {
        self.table.flows()
    }

    /// A snapshot for the ingress filter.
    pub fn view(&self) -> View {
        View::new(Arc::clone(&self.settings), self.table.visitors().clone())
    }

    /// A view made earlier from this value (not from one that was restored later) is up to date while this is unchanged.
    pub fn view_generation(&self) -> u64 {
        self.table.visitors().generation()
    }

    fn translate_inbound(&mut self, packet: &[u8], origin: NodeId) -> Result<Translated, DropReason> {
        let datagram = Datagram::parse(packet)?;
        self.settings.check_arrival(&datagram)?;
        let mut frame = Vec::with_capacity(ethernet::HEADER_BYTES + datagram.len);
        let config = self.settings.config();
        frame.extend_from_slice(&config.guest_mac);
        frame.extend_from_slice(&config.gateway_mac);
        frame.extend_from_slice(&ethernet::TYPE_IPV4.to_be_bytes());
        frame.extend_from_slice(&packet[..datagram.len]);
        let copy = &mut frame[ethernet::HEADER_BYTES..];
        let mut translated = Translated::default();
        if let Payload::Error(quoted) = &datagram.payload {
            self.error_to_guest(copy, &datagram, quoted)?;
        } else {
            let tuple = datagram.tuple().expect("everything but an error has ports");
            let flow = self.flow_from_world(&datagram, &Ends::toward_guest(&tuple), origin)?;
            let name = flow.guest.tuple_toward_guest();
            let progress = progress_after(flow, Side::World, &datagram.payload);
            let id = flow.id;
            translated.moved = (flow.owner != Some(origin)).then_some(id);
            translated.acknowledged = match &datagram.payload {
                Payload::Tcp(segment) if segment.ack => Some((id, segment.acknowledgment)),
                _ => None,
            };
            self.table.touch(id, progress, Some(origin), self.now);
            rewrite::replace(copy, &datagram, &tuple, &name);
        }
        rewrite::decrement_ttl(copy);
        translated.guest.push(frame);
        Ok(translated)
    }

    fn flow_from_world(&mut self, datagram: &Datagram, name: &Ends, origin: NodeId) -> Result<&Flow, DropReason> {
        let known = self.table.by_world(name).map(|flow| flow.id);
        let id = match known {
            Some(id) => id,
            None if self.settings.forwards_datagram(datagram) => {
                let opened = self
                    .table
                    .open_from_world(*name, self.settings.guest(), origin, self.now)?;
                self.counters.displaced += u64::from(opened.displaced);
                opened.id
            }
            None => return Err(DropReason::NotForwarded),
        };
        Ok(self.table.get(id).expect("found or opened above"))
    }

    /// An error about a packet that the guest sent. It neither keeps a flow alive nor ends it (RFC 4787 REQ-12,
    /// RFC 5508 REQ-6), and it may come from any router.
    fn error_to_guest(&self, copy: &mut [u8], datagram: &Datagram, quoted: &Quoted) -> Result<(), DropReason> {
        let flow = self
            .table
            .by_world(&Ends::toward_world(&quoted.tuple))
            .ok_or(DropReason::NotForwarded)?;
        let inner = flow.guest.tuple_toward_world();
        let mut outer = flow.guest.tuple_toward_guest();
        outer.source = datagram.source;
        rewrite::replace_quoted(copy, datagram, &outer, quoted, &inner);
        Ok(())
    }

    fn route_frame(&mut self, bytes: &[u8]) -> Result<Translated, DropReason> {
        let frame = Frame::parse(bytes)?;
        let config = self.settings.config();
        if frame.source != config.guest_mac {
            return Err(DropReason::NotOurs);
        }
        if !ethernet::is_group(frame.destination) && frame.destination != config.gateway_mac {
            return Err(DropReason::NotOurs);
        }
        match frame.ethertype {
            ethernet::TYPE_ARP => self.gateway.answer_arp(frame.payload).map(for_guest),
            ethernet::TYPE_IPV4 => self.route_packet(&frame),
            _ => Err(DropReason::NotIpv4),
        }
    }

    fn route_packet(&mut self, frame: &Frame<'_>) -> Result<Translated, DropReason> {
        let header = ipv4::Header::parse(frame.payload)?;
        if !header.fragment
            && header.protocol == ipv4::UDP
            && let Some(answer) = self.gateway.answer_dhcp(&header, frame.payload)
        {
            return answer.map(for_guest);
        }
        if header.source != self.settings.guest() {
            return Err(DropReason::NotOurs);
        }
        let datagram = Datagram::parse(frame.payload)?;
        if datagram.destination == self.gateway.address() {
            return self.gateway.answer_icmp(&datagram, frame.payload).map(for_guest);
        }
        let leaves = is_unicast(datagram.destination) && !self.settings.is_inside(datagram.destination);
        if !leaves || ethernet::is_group(frame.destination) {
            return Err(DropReason::NotForwarded);
        }
        if datagram.ttl <= 1 {
            let answer = self.gateway.time_exceeded(&datagram, frame.payload);
            return Ok(Translated {
                dropped: Some(DropReason::TimeToLive),
                ..for_guest(answer)
            });
        }
        self.translate_outbound(&datagram, frame.payload)
    }

    fn translate_outbound(&mut self, datagram: &Datagram, packet: &[u8]) -> Result<Translated, DropReason> {
        let mut copy = packet[..datagram.len].to_vec();
        let (flow, owner) = match (&datagram.payload, datagram.tuple()) {
            (Payload::Error(quoted), _) => self.error_to_world(&mut copy, datagram, quoted)?,
            (_, None) => return Err(DropReason::Protocol),
            (_, Some(tuple)) => {
                let flow = self.flow_from_guest(&Ends::toward_world(&tuple))?;
                let name = flow.world.tuple_toward_world();
                let progress = progress_after(flow, Side::Guest, &datagram.payload);
                let (id, owner) = (flow.id, flow.owner);
                self.table.touch(id, progress, None, self.now);
                rewrite::replace(&mut copy, datagram, &tuple, &name);
                (id, owner)
            }
        };
        rewrite::decrement_ttl(&mut copy);
        let tcp = matches!(datagram.payload, Payload::Tcp(_));
        Ok(Translated {
            world: vec![PacketOut {
                bytes: copy,
                owner,
                flow,
                tcp,
            }],
            ..Translated::default()
        })
    }

    fn flow_from_guest(&mut self, name: &Ends) -> Result<&Flow, DropReason> {
        let known = self.table.by_guest(name).map(|flow| flow.id);
        let id = match known {
            Some(id) => id,
            None => {
                let settings = &self.settings;
                let is_forwarded = |port| match name.transport {
                    Transport::Tcp => settings.forwards(Protocol::Tcp, port),
                    Transport::Udp => settings.forwards(Protocol::Udp, port),
                    Transport::EchoToGuest | Transport::EchoToWorld => false,
                };
                // A reply that nobody asked for opens nothing.
                if name.transport == Transport::EchoToGuest {
                    return Err(DropReason::NotForwarded);
                }
                let opened = self
                    .table
                    .open_from_guest(*name, settings.first_external(), is_forwarded, self.now)?;
                self.counters.displaced += u64::from(opened.displaced);
                opened.id
            }
        };
        Ok(self.table.get(id).expect("found or opened above"))
    }

    /// An error about a packet that the guest got. It must go to the peer that sent the packet (RFC 5508 REQ-5).
    fn error_to_world(
        &self,
        copy: &mut [u8],
        datagram: &Datagram,
        quoted: &Quoted,
    ) -> Result<(u64, Option<NodeId>), DropReason> {
        let flow = self
            .table
            .by_guest(&Ends::toward_guest(&quoted.tuple))
            .ok_or(DropReason::NotForwarded)?;
        if datagram.destination != quoted.tuple.source {
            return Err(DropReason::NotForwarded);
        }
        let inner = flow.world.tuple_toward_guest();
        let outer = flow.world.tuple_toward_world();
        rewrite::replace_quoted(copy, datagram, &outer, quoted, &inner);
        Ok((flow.id, flow.owner))
    }
}

fn for_guest(frame: Option<Vec<u8>>) -> Translated {
    Translated {
        guest: frame.into_iter().collect(),
        ..Translated::default()
    }
}

fn progress_after(flow: &Flow, side: Side, payload: &Payload) -> Progress {
    match (flow.progress, payload) {
        (Progress::Tcp(phase), Payload::Tcp(segment)) => Progress::Tcp(Phase::after(phase, side, segment)),
        (Progress::Udp { answered }, _) => Progress::Udp {
            answered: answered || flow.started != side,
        },
        (progress, _) => progress,
    }
}

#[cfg(test)]
mod test;
