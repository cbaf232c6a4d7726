//! What happened on the way to a moment: what the guest wrote to its console, and all frames.

use std::io::Write;

use netbridge::pcapng::{Direction, InterfaceId, LinkType, Writer};

use super::{ReplayError, Witness};
use crate::guest::{Effect, Outcome};
use crate::log::{AgreedTime, Entry, Payload};

/// The serial port that is the console.
const CONSOLE_PORT: u8 = 0;

/// What the guest wrote to serial port 0.
#[derive(Debug, Default)]
pub struct Console {
    bytes: Vec<u8>,
    /// Where lines begin, and when that byte was written.
    lines: Vec<(usize, AgreedTime)>,
}

/// One line of the console, without its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Line<'a> {
    /// When its first byte was written; exact for the first line of an entry, the entry's first byte for the others.
    pub at: AgreedTime,
    /// The bytes.
    pub bytes: &'a [u8],
}

impl Console {
    /// All of it, as it was written.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Its lines.
    pub fn lines(&self) -> impl Iterator<Item = Line<'_>> {
        let ends = self.lines.iter().skip(1).map(|(start, _)| *start);
        self.lines
            .iter()
            .zip(ends.chain([self.bytes.len()]))
            .map(|((start, at), end)| Line {
                at: *at,
                bytes: self.bytes[*start..end].trim_ascii_end(),
            })
    }

    fn write(&mut self, at: AgreedTime, bytes: &[u8]) {
        for &byte in bytes {
            if self.bytes.last().is_none_or(|last| *last == b'\n') {
                self.lines.push((self.bytes.len(), at));
            }
            self.bytes.push(byte);
        }
    }
}

/// All frames as pcapng: on interface `guest` what its network card received and sent, with the gateway's answers; on
/// interface `world` what came in and went out at the nodes. A comment names the entry.
///
/// In mode `nat` what crosses the nodes are IPv4 packets. They get an Ethernet header without addresses: tcpdump reads no
/// file whose interfaces are of several kinds.
pub struct Capture<W> {
    writer: Writer<W>,
    guest: InterfaceId,
    world: InterfaceId,
    routed: bool,
    frames: u64,
}

/// From nobody to nobody, an IPv4 packet.
const HEADER: [u8; 14] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x08, 0x00];

impl<W: Write> Capture<W> {
    /// A capture of a machine of this name into `out`. `routed`: what crosses the nodes are IPv4 packets (mode `nat`).
    ///
    /// # Errors
    /// Those of `out`.
    pub fn new(out: W, machine: &str, routed: bool) -> Result<Capture<W>, ReplayError> {
        let begin = || {
            let mut writer = Writer::new(out)?;
            let guest = writer.interface(&format!("{machine} guest"), LinkType::Ethernet)?;
            let world = writer.interface(&format!("{machine} world"), LinkType::Ethernet)?;
            Ok((writer, guest, world))
        };
        let (writer, guest, world) = begin().map_err(ReplayError::io("the capture"))?;
        Ok(Capture {
            writer,
            guest,
            world,
            routed,
            frames: 0,
        })
    }

    /// Frames so far, on both interfaces.
    #[must_use]
    pub fn frames(&self) -> u64 {
        self.frames
    }

    /// Passes on what is buffered, and gives `out` back.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn into_inner(self) -> Result<W, ReplayError> {
        self.writer.into_inner().map_err(ReplayError::io("the capture"))
    }

    fn frame(
        &mut self,
        interface: InterfaceId,
        at: AgreedTime,
        direction: Direction,
        bytes: &[u8],
        comment: &str,
    ) -> Result<(), ReplayError> {
        self.frames += 1;
        self.writer
            .packet(interface, at.0, direction, bytes, Some(comment))
            .map_err(ReplayError::io("the capture"))
    }

    /// At the edge of a node.
    fn crossed(
        &mut self,
        at: AgreedTime,
        direction: Direction,
        bytes: &[u8],
        comment: &str,
    ) -> Result<(), ReplayError> {
        match self.routed {
            true => self.frame(self.world, at, direction, &[&HEADER, bytes].concat(), comment),
            false => self.frame(self.world, at, direction, bytes, comment),
        }
    }
}

impl<W: Write> Witness for Capture<W> {
    fn machine(
        &mut self,
        entry: &Entry,
        began: AgreedTime,
        fed: &machine::Entry,
        outputs: &machine::Outputs,
    ) -> Result<(), ReplayError> {
        for input in &entry.inputs {
            if let Payload::Frame(bytes) = &input.payload {
                let comment = format!(
                    "entry {}, input {} of node {}",
                    entry.index.0, input.id, input.id.origin.0
                );
                self.crossed(began, Direction::Inbound, bytes, &comment)?;
            }
        }
        let comment = format!("entry {}", entry.index.0);
        for input in &fed.inputs {
            if let machine::Input::Frame { bytes, .. } = input {
                self.frame(self.guest, began, Direction::Inbound, bytes, &comment)?;
            }
        }
        for frame in &outputs.frames {
            let at = AgreedTime(frame.at.0);
            self.frame(self.guest, at, Direction::Outbound, &frame.bytes, &comment)?;
        }
        Ok(())
    }

    fn outside(&mut self, entry: &Entry, _: AgreedTime, outcome: &Outcome) -> Result<(), ReplayError> {
        let emitted = outcome.effects.iter().filter_map(|effect| match effect {
            Effect::Emit(output) => Some(output),
            Effect::Moved { .. } | Effect::Acknowledged { .. } | Effect::Membership { .. } => None,
        });
        for (output, at) in emitted.zip(&outcome.emitted_at) {
            let comment = match output.owner {
                Some(node) => format!("entry {}, flow owned by node {}", entry.index.0, node.0),
                None => format!("entry {}", entry.index.0),
            };
            self.crossed(*at, Direction::Outbound, &output.bytes, &comment)?;
        }
        Ok(())
    }
}

/// What is kept of a history: either, both or nothing.
#[derive(Default)]
pub struct History {
    /// The console.
    pub console: Option<Console>,
    /// The frames.
    pub capture: Option<Capture<Box<dyn Write>>>,
}

impl Witness for History {
    fn machine(
        &mut self,
        entry: &Entry,
        began: AgreedTime,
        fed: &machine::Entry,
        outputs: &machine::Outputs,
    ) -> Result<(), ReplayError> {
        if let Some(console) = &mut self.console {
            for output in outputs.serial.iter().filter(|output| output.port == CONSOLE_PORT) {
                console.write(AgreedTime(output.at.0), &output.bytes);
            }
        }
        match &mut self.capture {
            Some(capture) => capture.machine(entry, began, fed, outputs),
            None => Ok(()),
        }
    }

    fn outside(&mut self, entry: &Entry, began: AgreedTime, outcome: &Outcome) -> Result<(), ReplayError> {
        match &mut self.capture {
            Some(capture) => capture.outside(entry, began, outcome),
            None => Ok(()),
        }
    }
}
