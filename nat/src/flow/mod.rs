//! Flows: which conversation in the world is which conversation at the guest.
//!
//! A flow is named twice, once by what the world sees and once by what the guest sees; both names are [`Ends`] and both
//! are unique. To translate a packet is to look it up by one name and write the other into it.
//!
//! # Which name is chosen
//!
//! There is one guest, so nearly everything keeps its number: a forwarded port is the guest's port, and a flow that the
//! guest starts leaves from the first external address with the guest's own port. Hence the mapping is independent of
//! the endpoint (RFC 4787 REQ-1, RFC 5382 REQ-1), keeps parity (RFC 4787 REQ-4) and never overlaps a forwarded port of
//! another socket (REQ-3). Two cases collide, and then the port at the far side of the collision changes:
//! a client that talks from one port to the same service under two external addresses (the guest sees another client
//! port), and a guest that starts a flow under a name such a client has in the world (it gets another external port).

use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

use crate::packet::{Ports, Tuple};
use crate::{AgreedTime, NodeId};

mod class;
mod table;
mod tcp;

pub use class::Class;
pub use table::{Opened, Table};
pub use tcp::Phase;

/// Where a packet comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Side {
    /// A client or server outside.
    World,
    /// The guest.
    Guest,
}

/// What a flow carries. Echo flows of both directions are apart, because their identifiers are chosen by different
/// sides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Transport {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// The world asks, the guest replies; the peer's port is the identifier, the local port is 0.
    EchoToGuest,
    /// The guest asks, the world replies; the local port is the identifier, the peer's port is 0.
    EchoToWorld,
}

/// An address and a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Endpoint {
    /// Address.
    pub address: Ipv4Addr,
    /// Port or echo identifier.
    pub port: u16,
}

/// A conversation as one side names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Ends {
    /// What it carries.
    pub transport: Transport,
    /// The client or server in the world.
    pub peer: Endpoint,
    /// The guest: by its external address, or by its canonical one.
    pub local: Endpoint,
}

impl Ends {
    /// The name in a packet that travels towards the guest.
    pub fn toward_guest(tuple: &Tuple) -> Self {
        let (transport, peer, local) = match tuple.ports {
            Ports::Tcp { source, destination } => (Transport::Tcp, source, destination),
            Ports::Udp { source, destination } => (Transport::Udp, source, destination),
            Ports::EchoRequest { id } => (Transport::EchoToGuest, id, 0),
            Ports::EchoReply { id } => (Transport::EchoToWorld, 0, id),
        };
        Self {
            transport,
            peer: Endpoint {
                address: tuple.source,
                port: peer,
            },
            local: Endpoint {
                address: tuple.destination,
                port: local,
            },
        }
    }

    /// The name in a packet that travels towards the world.
    pub fn toward_world(tuple: &Tuple) -> Self {
        let (transport, local, peer) = match tuple.ports {
            Ports::Tcp { source, destination } => (Transport::Tcp, source, destination),
            Ports::Udp { source, destination } => (Transport::Udp, source, destination),
            Ports::EchoRequest { id } => (Transport::EchoToWorld, id, 0),
            Ports::EchoReply { id } => (Transport::EchoToGuest, 0, id),
        };
        Self {
            transport,
            peer: Endpoint {
                address: tuple.destination,
                port: peer,
            },
            local: Endpoint {
                address: tuple.source,
                port: local,
            },
        }
    }

    /// What a packet towards the guest carries under this name.
    pub fn tuple_toward_guest(&self) -> Tuple {
        let (source, destination) = (self.peer.port, self.local.port);
        let ports = match self.transport {
            Transport::Tcp => Ports::Tcp { source, destination },
            Transport::Udp => Ports::Udp { source, destination },
            Transport::EchoToGuest => Ports::EchoRequest { id: source },
            Transport::EchoToWorld => Ports::EchoReply { id: destination },
        };
        Tuple {
            source: self.peer.address,
            destination: self.local.address,
            ports,
        }
    }

    /// What a packet towards the world carries under this name.
    pub fn tuple_toward_world(&self) -> Tuple {
        let (source, destination) = (self.local.port, self.peer.port);
        let ports = match self.transport {
            Transport::Tcp => Ports::Tcp { source, destination },
            Transport::Udp => Ports::Udp { source, destination },
            Transport::EchoToGuest => Ports::EchoReply { id: destination },
            Transport::EchoToWorld => Ports::EchoRequest { id: source },
        };
        Tuple {
            source: self.local.address,
            destination: self.peer.address,
            ports,
        }
    }
}

/// How far a flow's conversation has got, as far as keeping it depends on that.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Progress {
    /// TCP.
    Tcp(Phase),
    /// UDP.
    Udp {
        /// Both sides have sent.
        answered: bool,
    },
    /// ICMP echo.
    Echo,
}

/// One entry of the table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Flow {
    /// Names the flow; never used again.
    pub id: u64,
    /// Its name in the world: `local` is an external address.
    pub world: Ends,
    /// Its name at the guest: `local` is the canonical address.
    pub guest: Ends,
    /// Who sent the first packet.
    pub started: Side,
    /// The node that took the last packet from the world.
    pub owner: Option<NodeId>,
    /// How far the conversation has got.
    pub progress: Progress,
    /// Time of the last packet of either side.
    pub last: AgreedTime,
}
