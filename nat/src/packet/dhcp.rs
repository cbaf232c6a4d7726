//! DHCP messages (RFC 2131 section 2, options RFC 2132): what a server needs of them.

use std::net::Ipv4Addr;

use super::bytes::set_address;
use crate::DropReason;

/// UDP port of servers.
pub const SERVER_PORT: u16 = 67;
/// UDP port of clients.
pub const CLIENT_PORT: u16 = 68;

/// The fixed part, up to and without the magic cookie.
const FIXED_BYTES: usize = 236;
/// RFC 2132 section 2: what follows are options.
const MAGIC: [u8; 4] = [99, 130, 83, 99];
/// Some clients take no shorter message (RFC 951: 300 bytes).
const MESSAGE_BYTES_MIN: usize = 300;

/// `op`: a client speaks.
const BOOTREQUEST: u8 = 1;
/// `op`: a server speaks.
const BOOTREPLY: u8 = 2;
const HTYPE_ETHERNET: u8 = 1;

/// Option codes (RFC 2132).
pub mod option {
    /// Subnet mask.
    pub const MASK: u8 = 1;
    /// Routers.
    pub const ROUTER: u8 = 3;
    /// Name servers.
    pub const DNS: u8 = 6;
    /// Interface MTU.
    pub const MTU: u8 = 26;
    /// Broadcast address.
    pub const BROADCAST: u8 = 28;
    /// The address the client asks for.
    pub const REQUESTED_ADDRESS: u8 = 50;
    /// Lease time.
    pub const LEASE_TIME: u8 = 51;
    /// Message type.
    pub const MESSAGE_TYPE: u8 = 53;
    /// Which server.
    pub const SERVER_ID: u8 = 54;
    /// Renewal time, T1.
    pub const RENEWAL_TIME: u8 = 58;
    /// Rebinding time, T2.
    pub const REBINDING_TIME: u8 = 59;
    /// The client's name for itself; a server repeats it (RFC 6842).
    pub const CLIENT_ID: u8 = 61;
    /// Nothing.
    pub(super) const PAD: u8 = 0;
    /// No more options.
    pub(super) const END: u8 = 255;
}

/// Message types (RFC 2132 section 9.6).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Who serves?
    Discover,
    /// A server's proposal.
    Offer,
    /// The client takes, checks or renews.
    Request,
    /// The address is in use.
    Decline,
    /// Yes.
    Ack,
    /// No.
    Nak,
    /// The client gives its address back.
    Release,
    /// The client only wants parameters.
    Inform,
    /// Any other code, kept.
    Other(u8),
}

impl From<u8> for Kind {
    fn from(code: u8) -> Self {
        match code {
            1 => Self::Discover,
            2 => Self::Offer,
            3 => Self::Request,
            4 => Self::Decline,
            5 => Self::Ack,
            6 => Self::Nak,
            7 => Self::Release,
            8 => Self::Inform,
            other => Self::Other(other),
        }
    }
}

impl From<Kind> for u8 {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Discover => 1,
            Kind::Offer => 2,
            Kind::Request => 3,
            Kind::Decline => 4,
            Kind::Ack => 5,
            Kind::Nak => 6,
            Kind::Release => 7,
            Kind::Inform => 8,
            Kind::Other(code) => code,
        }
    }
}

/// What a client says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request<'a> {
    /// Message type.
    pub kind: Kind,
    /// Names the exchange; repeated in the answer.
    pub xid: u32,
    /// Repeated in the answer; the top bit asks for a broadcast answer.
    pub flags: u16,
    /// The address the client uses already, or 0.0.0.0.
    pub client: Ipv4Addr,
    /// The client's station address.
    pub client_mac: [u8; 6],
    /// Option 50.
    pub requested: Option<Ipv4Addr>,
    /// Option 54: which server is meant.
    pub server: Option<Ipv4Addr>,
    /// Option 61, as it is.
    pub client_id: Option<&'a [u8]>,
}

impl<'a> Request<'a> {
    /// Reads a client's message. Options in `sname` and `file` (RFC 2132 section 9.3) are not looked at: what is wanted
    /// here never needs the room.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, DropReason> {
        let (fixed, rest) = bytes.split_first_chunk::<FIXED_BYTES>().ok_or(DropReason::Malformed)?;
        let options = rest.strip_prefix(&MAGIC).ok_or(DropReason::Malformed)?;
        if fixed[..3] != [BOOTREQUEST, HTYPE_ETHERNET, 6] {
            return Err(DropReason::Malformed);
        }
        let mut request = Self {
            kind: Kind::Other(0),
            xid: u32::from_be_bytes(array(&fixed[4..])?),
            flags: u16::from_be_bytes(array(&fixed[10..])?),
            client: Ipv4Addr::from(array::<4>(&fixed[12..])?),
            client_mac: array(&fixed[28..])?,
            requested: None,
            server: None,
            client_id: None,
        };
        for option in Options(options) {
            match option? {
                (option::MESSAGE_TYPE, value) => request.kind = Kind::from(array::<1>(value)?[0]),
                (option::REQUESTED_ADDRESS, value) => request.requested = Some(array::<4>(value)?.into()),
                (option::SERVER_ID, value) => request.server = Some(array::<4>(value)?.into()),
                (option::CLIENT_ID, value) => request.client_id = Some(value),
                _ => {}
            }
        }
        match request.kind {
            Kind::Other(0) => Err(DropReason::Malformed),
            _ => Ok(request),
        }
    }
}

/// The options up to END or the last byte (clients that forget END are understood).
struct Options<'a>(&'a [u8]);

impl<'a> Iterator for Options<'a> {
    type Item = Result<(u8, &'a [u8]), DropReason>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let (&code, rest) = self.0.split_first()?;
            self.0 = rest;
            match code {
                option::PAD => continue,
                option::END => {
                    self.0 = &[];
                    return None;
                }
                code => {
                    let value = rest
                        .split_first()
                        .and_then(|(&len, rest)| rest.split_at_checked(usize::from(len)));
                    self.0 = value.map_or(&[], |(_, rest)| rest);
                    return Some(value.map(|(value, _)| (code, value)).ok_or(DropReason::Malformed));
                }
            }
        }
    }
}

fn array<const N: usize>(bytes: &[u8]) -> Result<[u8; N], DropReason> {
    bytes.first_chunk::<N>().copied().ok_or(DropReason::Malformed)
}

/// A server's answer, under construction.
#[derive(Debug)]
pub struct Answer(Vec<u8>);

impl Answer {
    /// An answer to `request` that gives `yours` (0.0.0.0: no address).
    pub fn new(request: &Request<'_>, kind: Kind, yours: Ipv4Addr) -> Self {
        let mut bytes = vec![0; FIXED_BYTES];
        bytes[..3].copy_from_slice(&[BOOTREPLY, HTYPE_ETHERNET, 6]);
        bytes[4..8].copy_from_slice(&request.xid.to_be_bytes());
        bytes[10..12].copy_from_slice(&request.flags.to_be_bytes());
        if kind == Kind::Ack {
            set_address(&mut bytes, 12, request.client);
        }
        set_address(&mut bytes, 16, yours);
        bytes[28..34].copy_from_slice(&request.client_mac);
        bytes.extend_from_slice(&MAGIC);
        let answer = Self(bytes).option(option::MESSAGE_TYPE, &[kind.into()]);
        match request.client_id {
            Some(id) => answer.option(option::CLIENT_ID, id),
            None => answer,
        }
    }

    /// Adds an option.
    pub fn option(mut self, code: u8, value: &[u8]) -> Self {
        self.0.push(code);
        self.0
            .push(u8::try_from(value.len()).expect("read from a length byte, or limited by the configuration"));
        self.0.extend_from_slice(value);
        self
    }

    /// The message.
    pub fn finish(mut self) -> Vec<u8> {
        self.0.push(option::END);
        if self.0.len() < MESSAGE_BYTES_MIN {
            self.0.resize(MESSAGE_BYTES_MIN, option::PAD);
        }
        self.0
    }
}
