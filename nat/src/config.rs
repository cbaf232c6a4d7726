//! [`Config`] checked once and turned into the questions the rest of the crate asks of it.
//!
//! Choose the guest's network so that no client lives in it: the guest would look for such a client on its own link,
//! where there is only the gateway. Packets that claim to come from that network are dropped.

use std::net::Ipv4Addr;

use crate::packet::{Datagram, Payload, Ports};
use crate::{Config, DropReason, Protocol};

/// The guest's link carries packets up to this size, in bytes; DHCP tells the guest.
pub const MTU_BYTES: usize = 1500;

/// Most flows a configuration may ask for: about 250 MiB of tables.
pub const FLOWS_MAX: u32 = 1 << 20;

/// Most external addresses and forward rules: they are searched one by one for every packet.
pub const RULES_MAX: usize = 256;

/// Most name servers that fit into one DHCP option (RFC 2132 section 3.8: 255 bytes, 4 each).
pub const DNS_MAX: usize = 63;

/// A configuration that cannot work.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// The guest's network leaves no room for a gateway.
    #[error("guest: prefix length {0} leaves no room for guest and gateway; use 1 to 30")]
    Prefix(u8),
    /// An address that no host can have in the guest's network.
    #[error("{what}: {address} is not a host address of the guest's network {network}")]
    NotInNetwork {
        /// Which setting.
        what: &'static str,
        /// Its value.
        address: Ipv4Addr,
        /// The guest's network.
        network: ipnetwork::Ipv4Network,
    },
    /// Guest and gateway have the same address or station address.
    #[error("gateway: the guest and its gateway need different addresses and station addresses")]
    SameAddress,
    /// Not the address of one station.
    #[error("{what}: {address:02x?} is not the address of one station")]
    StationAddress {
        /// Which setting.
        what: &'static str,
        /// Its value.
        address: [u8; 6],
    },
    /// No external address, or too many.
    #[error("external: {0} addresses; use 1 to {RULES_MAX}")]
    ExternalCount(usize),
    /// An external address that cannot be one.
    #[error("external: {0} is not a unicast address outside the guest's network, or is listed twice")]
    External(Ipv4Addr),
    /// Too many forward rules.
    #[error("forward: {0} rules; at most {RULES_MAX}")]
    ForwardCount(usize),
    /// A range of ports that is empty or begins at 0.
    #[error("forward: ports {0} to {1} are not a range")]
    Ports(u16, u16),
    /// More name servers than DHCP can carry.
    #[error("dns: {0} servers; at most {DNS_MAX}")]
    DnsCount(usize),
    /// No flow at all, or more than memory allows.
    #[error("flows_max: {0}; use 1 to {FLOWS_MAX}")]
    FlowsMax(u32),
}

/// A checked configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    config: Config,
    digest: [u8; 32],
}

impl Settings {
    /// Checks `config`.
    pub fn new(config: Config) -> Result<Self, ConfigError> {
        check_link(&config)?;
        check_external(&config)?;
        if config.forward.len() > RULES_MAX {
            return Err(ConfigError::ForwardCount(config.forward.len()));
        }
        for rule in config.forward.iter().filter(|rule| rule.protocol != Protocol::Icmp) {
            let (first, last) = rule.ports;
            if first == 0 || first > last {
                return Err(ConfigError::Ports(first, last));
            }
        }
        if config.dns.len() > DNS_MAX {
            return Err(ConfigError::DnsCount(config.dns.len()));
        }
        if config.flows_max == 0 || config.flows_max > FLOWS_MAX {
            return Err(ConfigError::FlowsMax(config.flows_max));
        }
        let bytes = postcard::to_stdvec(&config).expect("plain data in memory always serializes");
        Ok(Self {
            config,
            digest: *blake3::hash(&bytes).as_bytes(),
        })
    }

    /// The settings as given.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// A hash over all settings: saved state belongs to the settings it was made under.
    pub fn digest(&self) -> [u8; 32] {
        self.digest
    }

    /// The guest's canonical address.
    pub fn guest(&self) -> Ipv4Addr {
        self.config.guest.ip()
    }

    /// The source address of flows that the guest starts.
    pub fn first_external(&self) -> Ipv4Addr {
        *self
            .config
            .external
            .first()
            .expect("checked by Settings::new: at least one external address")
    }

    /// The world knows the guest under `address`.
    pub fn is_external(&self, address: Ipv4Addr) -> bool {
        self.config.external.contains(&address)
    }

    /// A rule lets the world start this: `port` counts for TCP and UDP only.
    pub fn forwards(&self, protocol: Protocol, port: u16) -> bool {
        self.config.forward.iter().any(|rule| {
            rule.protocol == protocol && (protocol == Protocol::Icmp || (rule.ports.0..=rule.ports.1).contains(&port))
        })
    }

    /// What every packet from the world must fulfil before rules and flows are asked.
    pub fn check_arrival(&self, datagram: &Datagram) -> Result<(), DropReason> {
        if !self.is_external(datagram.destination) {
            return Err(DropReason::NotOurs);
        }
        if !is_unicast(datagram.source) || self.is_inside(datagram.source) {
            return Err(DropReason::NotForwarded);
        }
        if datagram.ttl <= 1 {
            return Err(DropReason::TimeToLive);
        }
        // The guest's link cannot carry it whole; for why it is not cut, see the rule for fragments in `packet`.
        if datagram.len > MTU_BYTES {
            return Err(DropReason::Fragment);
        }
        Ok(())
    }

    /// A rule forwards this packet from the world, or this error to a packet that a forwarded service sent. It says
    /// nothing about flows.
    pub fn forwards_datagram(&self, datagram: &Datagram) -> bool {
        match &datagram.payload {
            Payload::Tcp(segment) => self.forwards(Protocol::Tcp, segment.destination),
            Payload::Udp { destination, .. } => self.forwards(Protocol::Udp, *destination),
            Payload::Echo { request, .. } => *request && self.forwards(Protocol::Icmp, 0),
            Payload::Error(quoted) => {
                self.is_external(quoted.tuple.source)
                    && match quoted.tuple.ports {
                        Ports::Tcp { source, .. } => self.forwards(Protocol::Tcp, source),
                        Ports::Udp { source, .. } => self.forwards(Protocol::Udp, source),
                        Ports::EchoReply { .. } => self.forwards(Protocol::Icmp, 0),
                        Ports::EchoRequest { .. } => false,
                    }
            }
        }
    }

    /// `address` belongs to the guest's side: its network, or an external address (a packet that would turn back).
    pub fn is_inside(&self, address: Ipv4Addr) -> bool {
        self.config.guest.contains(address) || self.is_external(address)
    }
}

/// One host can have this address and routers forward to it (RFC 6890: not "this network", loopback, multicast,
/// reserved or broadcast). Private addresses pass: a cluster may well serve a private network.
pub fn is_unicast(address: Ipv4Addr) -> bool {
    let first = address.octets()[0];
    first != 0 && first != 127 && first < 224
}

fn check_link(config: &Config) -> Result<(), ConfigError> {
    let network = config.guest;
    if !(1..=30).contains(&network.prefix()) {
        return Err(ConfigError::Prefix(network.prefix()));
    }
    for (what, address) in [("guest", network.ip()), ("gateway", config.gateway)] {
        let is_host = network.contains(address)
            && address != network.network()
            && address != network.broadcast()
            && is_unicast(address);
        if !is_host {
            return Err(ConfigError::NotInNetwork { what, address, network });
        }
    }
    for (what, address) in [("guest_mac", config.guest_mac), ("gateway_mac", config.gateway_mac)] {
        if address[0] & 1 != 0 || address == [0; 6] {
            return Err(ConfigError::StationAddress { what, address });
        }
    }
    if network.ip() == config.gateway || config.guest_mac == config.gateway_mac {
        return Err(ConfigError::SameAddress);
    }
    Ok(())
}

fn check_external(config: &Config) -> Result<(), ConfigError> {
    if config.external.is_empty() || config.external.len() > RULES_MAX {
        return Err(ConfigError::ExternalCount(config.external.len()));
    }
    for (position, &address) in config.external.iter().enumerate() {
        let repeated = config.external.iter().take(position).any(|&earlier| earlier == address);
        if repeated || !is_unicast(address) || config.guest.contains(address) {
            return Err(ConfigError::External(address));
        }
    }
    Ok(())
}

#[cfg(test)]
mod test {
    use super::*;
    use crate::Forward;
    use crate::testing::config;

    #[test]
    fn wrong_settings_are_named() {
        type Change = fn(&mut Config);
        let cases: [(Change, &str); 16] = [
            (
                |config| config.guest = "10.0.2.15/31".parse().unwrap(),
                "prefix length 31",
            ),
            (
                |config| config.guest = "10.0.2.0/24".parse().unwrap(),
                "guest: 10.0.2.0",
            ),
            (
                |config| config.guest = "10.0.2.255/24".parse().unwrap(),
                "guest: 10.0.2.255",
            ),
            (|config| config.gateway = [10, 0, 3, 2].into(), "gateway: 10.0.3.2"),
            (|config| config.gateway = config.guest.ip(), "different addresses"),
            (|config| config.gateway_mac = config.guest_mac, "different addresses"),
            (|config| config.guest_mac[0] = 1, "guest_mac"),
            (|config| config.gateway_mac = [0; 6], "gateway_mac"),
            (|config| config.external.clear(), "external: 0 addresses"),
            (
                |config| config.external.push(config.external[0]),
                "external: 203.0.113.1",
            ),
            (|config| config.external[0] = [10, 0, 2, 9].into(), "external: 10.0.2.9"),
            (
                |config| config.external[0] = [224, 0, 0, 1].into(),
                "external: 224.0.0.1",
            ),
            (|config| config.forward[0].ports = (9, 8), "ports 9 to 8"),
            (
                |config| {
                    config.forward = vec![
                        Forward {
                            protocol: Protocol::Tcp,
                            ports: (1, 2)
                        };
                        257
                    ]
                },
                "257 rules",
            ),
            (|config| config.dns = vec![[192, 0, 2, 1].into(); 64], "64 servers"),
            (|config| config.flows_max = 0, "flows_max: 0"),
        ];
        assert!(Settings::new(config()).is_ok());
        for (change, message) in cases {
            let mut config = config();
            change(&mut config);
            let error = Settings::new(config).unwrap_err().to_string();
            assert!(error.contains(message), "{error} lacks {message}");
        }
    }

    #[test]
    fn every_setting_is_in_the_digest() {
        let digest = Settings::new(config()).unwrap().digest();
        let other = Settings::new(Config {
            flows_max: 17,
            ..config()
        })
        .unwrap()
        .digest();
        assert_ne!(digest, other);
    }
}
