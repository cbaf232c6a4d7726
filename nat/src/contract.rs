//! What goes in and what comes out: plain data, no behaviour.

use std::net::Ipv4Addr;

use ipnetwork::Ipv4Network;
use serde::{Deserialize, Serialize};

/// Agreed time in nanoseconds (the log's; see the machine crate's type of the same name).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct AgreedTime(pub u64);

/// Which node: its position in the cluster's list of nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct NodeId(pub u16);

/// A transport protocol that can be forwarded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// RFC 9293.
    Tcp,
    /// RFC 768.
    Udp,
    /// RFC 792, echo only.
    Icmp,
}

/// What the world may start towards the guest.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Forward {
    /// Protocol.
    pub protocol: Protocol,
    /// Ports on the external address, both ends included; ignored for ICMP.
    pub ports: (u16, u16),
}

/// Settings of the translation: equal on every node, digested into the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Config {
    /// The guest's canonical address and its network.
    pub guest: Ipv4Network,
    /// The guest's station address.
    pub guest_mac: [u8; 6],
    /// The virtual gateway's address, inside `guest`'s network.
    pub gateway: Ipv4Addr,
    /// The virtual gateway's station address.
    pub gateway_mac: [u8; 6],
    /// External addresses under which the world knows the guest. The first is the source of flows the guest starts.
    pub external: Vec<Ipv4Addr>,
    /// What the world may start.
    pub forward: Vec<Forward>,
    /// Name servers that DHCP hands to the guest.
    pub dns: Vec<Ipv4Addr>,
    /// Most flows kept at once; the one idle for longest makes room.
    pub flows_max: u32,
}

/// A packet for the world, as every node computed it; the egress policy says who puts it on the wire.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PacketOut {
    /// The IPv4 packet (or, in transparent mode, the Ethernet frame).
    pub bytes: Vec<u8>,
    /// The node that took this flow's last inbound packet, if one did.
    pub owner: Option<NodeId>,
    /// Names the flow (stable while it lives): what a node re-emits when it inherits the flow.
    pub flow: u64,
    /// The flow is TCP: emitting a segment twice is harmless.
    pub tcp: bool,
}

/// What became of one packet or frame.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Translated {
    /// Ethernet frames for the guest. From [`inbound`](crate) they enter with the present entry, from `outbound` (the
    /// gateway's answers) with the next one.
    pub guest: Vec<Vec<u8>>,
    /// Packets for the world.
    pub world: Vec<PacketOut>,
    /// The flow (see [`PacketOut::flow`]) that has another owner since this packet: the new one re-emits what the old one
    /// may have taken with it.
    pub moved: Option<u64>,
    /// Of a TCP segment from the world: its flow, and its acknowledgment number. What the guest sent there before that
    /// number has arrived.
    pub acknowledged: Option<(u64, u32)>,
    /// Why nothing, or not everything, went on.
    pub dropped: Option<DropReason>,
}

/// Why a packet did not go on. Each has a counter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum DropReason {
    /// Not parseable: too short, bad length, bad header checksum.
    Malformed,
    /// Not IPv4 (IPv6, LLDP, ...).
    NotIpv4,
    /// Not addressed to an external address (from the world), or not from the guest's address (from the guest).
    NotOurs,
    /// No rule forwards it and no flow expects it.
    NotForwarded,
    /// A fragment; see the module's rule for fragments.
    Fragment,
    /// Transport protocol that is not translated.
    Protocol,
    /// Time to live ran out.
    TimeToLive,
    /// The table is full of flows that must not be displaced, or no port is left.
    TableFull,
}

impl DropReason {
    /// Its name in counters and logs.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            DropReason::Malformed => "malformed",
            DropReason::NotIpv4 => "not-ipv4",
            DropReason::NotOurs => "not-ours",
            DropReason::NotForwarded => "not-forwarded",
            DropReason::Fragment => "fragment",
            DropReason::Protocol => "protocol",
            DropReason::TimeToLive => "time-to-live",
            DropReason::TableFull => "table-full",
        }
    }
}
