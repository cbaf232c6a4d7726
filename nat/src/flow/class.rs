//! How long an idle flow is kept, and which goes first when there is no room.

use serde::{Deserialize, Serialize};

use super::{Flow, Phase, Progress};
use crate::AgreedTime;

const SECOND_NS: u64 = 1_000_000_000;

/// Flows with the same timeout. Within a class the flow idle for longest expires first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Class {
    /// ICMP echo: 60 s (RFC 5508 REQ-2).
    Echo,
    /// TCP that opens, closes or was reset: 4 min (RFC 5382 REQ-5, RFC 7857 section 2.2). Short enough also after both
    /// FINs, since these are the first to make room.
    TcpTransitory,
    /// UDP of one side: 5 min (RFC 4787 REQ-5).
    UdpUnanswered,
    /// UDP of both sides: 5 min (RFC 4787 REQ-5).
    UdpAnswered,
    /// TCP after its handshake: 2 h 4 min (RFC 5382 REQ-5). Never displaced: a flood must not cut a connection.
    TcpEstablished,
}

impl Class {
    /// Every class.
    pub const ALL: [Self; 5] = [
        Self::Echo,
        Self::TcpTransitory,
        Self::UdpUnanswered,
        Self::UdpAnswered,
        Self::TcpEstablished,
    ];

    /// Classes that make room for a new flow: of the first group that has flows, the one idle for longest.
    pub const DISPLACED: [&[Self]; 2] = [
        &[Self::Echo, Self::TcpTransitory, Self::UdpUnanswered],
        &[Self::UdpAnswered],
    ];

    /// The class of a flow.
    pub fn of(flow: &Flow) -> Self {
        match flow.progress {
            Progress::Echo => Self::Echo,
            Progress::Udp { answered: false } => Self::UdpUnanswered,
            Progress::Udp { answered: true } => Self::UdpAnswered,
            Progress::Tcp(Phase::Established { .. }) => Self::TcpEstablished,
            Progress::Tcp(_) => Self::TcpTransitory,
        }
    }

    /// How long a flow may be idle, in nanoseconds.
    pub const fn timeout_ns(self) -> u64 {
        match self {
            Self::Echo => 60 * SECOND_NS,
            Self::TcpTransitory => 4 * 60 * SECOND_NS,
            Self::UdpUnanswered | Self::UdpAnswered => 5 * 60 * SECOND_NS,
            Self::TcpEstablished => (2 * 60 + 4) * 60 * SECOND_NS,
        }
    }

    /// When a flow whose last packet came at `last` expires.
    pub fn deadline(self, last: AgreedTime) -> AgreedTime {
        AgreedTime(last.0.saturating_add(self.timeout_ns()))
    }
}
