//! As much of TCP (RFC 9293 section 3.3.2) as decides how long a flow is kept.
//!
//! ```text
//!            guest SYN-ACK            world acknowledges it            FIN of both
//!  Opening ----------------> Answered ---------------------> Established ---------> Closing
//!     |  ^                                                    ^   |
//!     |  |  guest sends anything else but RST                 |   | RST of either
//!     +--+----------------------------------------------------+   v
//!        +----------------------- world goes on ---------------- Reset
//! ```
//!
//! What a stranger can send without seeing the guest's answers must not lead to `Established`, the only state that is
//! never displaced. So either the world acknowledges the guest's sequence number, or the guest itself goes on without
//! having answered a SYN just before: it then has the connection (it was reset by a forged segment, or its flow expired).
//! In `Answered` the guest's word does not count, since it acknowledges or resets any stray segment then (RFC 9293
//! section 3.10.7.4), and for the same reason a reset matters only to an established connection.

use serde::{Deserialize, Serialize};

use super::Side;
use crate::packet::Segment;

/// The first acknowledgment may cover this much data beyond the SYN (RFC 7413 puts data into the handshake).
const FIRST_ACK_BYTES_MAX: u32 = 0xffff;

/// State of a TCP flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Phase {
    /// One side has begun.
    Opening,
    /// The guest has answered; the world has to acknowledge `expected`.
    Answered {
        /// The guest's sequence number after its SYN.
        expected: u32,
    },
    /// Both sides have the connection. With one FIN it is half closed, and kept as long (RFC 5382 section 5).
    Established {
        /// The world will send no more.
        fin_world: bool,
        /// The guest will send no more.
        fin_guest: bool,
    },
    /// Both sides have sent FIN.
    Closing,
    /// Reset while established. Perhaps by a forger: the connection may go on (RFC 7857 section 2.2).
    Reset,
}

const ESTABLISHED: Phase = Phase::Established {
    fin_world: false,
    fin_guest: false,
};

impl Phase {
    /// The state after `segment` from `side`.
    pub fn after(self, side: Side, segment: &Segment) -> Self {
        if segment.rst {
            return match self {
                Self::Established { .. } => Self::Reset,
                other => other,
            };
        }
        if segment.syn {
            return self.after_syn(side, segment);
        }
        let next = match (self, side) {
            (Self::Opening, Side::Guest) => ESTABLISHED,
            (Self::Answered { expected }, Side::World) if segment.ack => {
                match segment.acknowledgment.wrapping_sub(expected) <= FIRST_ACK_BYTES_MAX {
                    true => ESTABLISHED,
                    false => self,
                }
            }
            (Self::Reset, Side::World) => Self::Opening,
            _ => self,
        };
        if segment.fin { next.after_fin(side) } else { next }
    }

    fn after_syn(self, side: Side, segment: &Segment) -> Self {
        match (self, side) {
            // The guest begins anew under an old name, or repeats its answer; the connection of that name is over.
            (Self::Established { .. }, Side::Guest) => ESTABLISHED,
            (_, Side::Guest) if segment.ack => Self::Answered {
                expected: segment.sequence.wrapping_add(1),
            },
            (_, Side::Guest) => Self::Opening,
            (Self::Closing | Self::Reset, Side::World) => Self::Opening,
            (other, Side::World) => other,
        }
    }

    fn after_fin(self, side: Side) -> Self {
        match self {
            Self::Established { fin_world, fin_guest } => {
                let (fin_world, fin_guest) = (fin_world || side == Side::World, fin_guest || side == Side::Guest);
                if fin_world && fin_guest {
                    Self::Closing
                } else {
                    Self::Established { fin_world, fin_guest }
                }
            }
            other => other,
        }
    }
}

#[cfg(test)]
mod test {
    use super::*;

    fn segment(flags: &str, sequence: u32, acknowledgment: u32) -> Segment {
        let has = |flag| flags.contains(flag);
        let (syn, ack, fin, rst) = (has('S'), has('A'), has('F'), has('R'));
        Segment {
            source: 1,
            destination: 2,
            sequence,
            acknowledgment,
            syn,
            ack,
            fin,
            rst,
        }
    }

    /// Plays a conversation written as `w:S g:SA:100 w:A::101`.
    fn play(script: &str) -> Phase {
        script.split_whitespace().fold(Phase::Opening, |phase, step| {
            let mut parts = step.split(':');
            let side = if parts.next() == Some("w") {
                Side::World
            } else {
                Side::Guest
            };
            let flags = parts.next().unwrap();
            let mut number = || parts.next().and_then(|text| text.parse().ok()).unwrap_or(0);
            phase.after(side, &segment(flags, number(), number()))
        })
    }

    #[test]
    fn a_handshake_from_the_world_and_a_close() {
        assert_eq!(play("w:S g:SA:100"), Phase::Answered { expected: 101 });
        assert_eq!(play("w:S g:SA:100 w:A:1:101"), ESTABLISHED);
        assert_eq!(
            play("w:S g:SA:100 w:A:1:101 w:FA"),
            Phase::Established {
                fin_world: true,
                fin_guest: false
            }
        );
        assert_eq!(play("w:S g:SA:100 w:A:1:101 w:FA g:A g:FA w:A"), Phase::Closing);
        assert_eq!(play("w:S g:SA:100 w:A:1:101 w:FA g:FA w:S"), Phase::Opening);
    }

    #[test]
    fn a_handshake_from_the_guest() {
        assert_eq!(play("g:S w:SA:7:1"), Phase::Opening);
        assert_eq!(play("g:S w:SA:7:1 g:A"), ESTABLISHED);
    }

    #[test]
    fn strangers_cannot_establish_blindly() {
        // Every answer a listening or half-open guest gives to segments with wrong numbers.
        for blind in [
            "w:A:9:9",
            "w:A:9:9 g:R",
            "w:R w:A:9:9 g:A",
            "w:A:9:9 g:R w:A:9:9 g:A",
            "w:F:9:9 g:A",
            "w:S g:A",
        ] {
            let phase = play(&format!("w:S g:SA:4000000000 {blind}"));
            assert!(matches!(phase, Phase::Answered { .. }), "{blind}: {phase:?}");
        }
        assert_eq!(play("w:A:9:9 g:R w:A:9:9 g:R"), Phase::Opening);
    }

    #[test]
    fn rfc_7857_2_2_a_forged_reset_does_not_end_a_live_connection() {
        let open = "w:S g:SA:100 w:A:1:101";
        assert_eq!(play(&format!("{open} w:R")), Phase::Reset);
        assert_eq!(play(&format!("{open} w:R g:A")), Phase::Reset);
        assert_eq!(play(&format!("{open} w:R w:A g:A")), ESTABLISHED);
        assert_eq!(play(&format!("{open} w:R w:S g:SA:5")), Phase::Answered { expected: 6 });
    }
}
