//! Single values as the files write them.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use nat::{Forward, Protocol};

/// A whole number within limits, both included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Bounded<const MIN: u64, const MAX: u64>(u64);

impl<const MIN: u64, const MAX: u64> Bounded<MIN, MAX> {
    /// A default; checked when it is compiled.
    #[must_use]
    pub const fn new(value: u64) -> Self {
        assert!(MIN <= value && value <= MAX, "a default within its limits");
        Bounded(value)
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }
}

impl<'de, const MIN: u64, const MAX: u64> Deserialize<'de> for Bounded<MIN, MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = i64::deserialize(deserializer)?;
        u64::try_from(value)
            .ok()
            .filter(|value| (MIN..=MAX).contains(value))
            .map(Bounded)
            .ok_or_else(|| de::Error::custom(format!("{value} is not between {MIN} and {MAX}")))
    }
}

/// A station (MAC) address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "String")]
pub struct Mac(pub [u8; 6]);

impl Mac {
    /// An address of our own, locally administered (IEEE 802 8.4), the same for the same names for ever.
    #[must_use]
    pub fn derived(purpose: &str, machine: &str, node: &str) -> Mac {
        let mut hasher = blake3::Hasher::new_derive_key("quorate station address 1");
        for part in [purpose, machine, node] {
            hasher.update(part.as_bytes()).update(b"\0");
        }
        let mut mac = [0; 6];
        hasher.finalize_xof().fill(&mut mac);
        mac[0] = (mac[0] & 0xfc) | 0x02;
        Mac(mac)
    }
}

impl FromStr for Mac {
    type Err = String;

    fn from_str(text: &str) -> Result<Mac, String> {
        let wrong = || format!("{text:?} is not a station address like \"02:00:00:00:00:01\"");
        let mut mac = [0; 6];
        let mut parts = text.split(':');
        for byte in &mut mac {
            let part = parts.next().filter(|part| part.len() == 2).ok_or_else(wrong)?;
            *byte = hex::decode(part).map_err(|_| wrong())?[0];
        }
        if parts.next().is_some() {
            return Err(wrong());
        }
        if mac[0] & 1 != 0 || mac == [0; 6] {
            return Err(format!(
                "{text} is a group address or zero; a station needs an individual one"
            ));
        }
        Ok(Mac(mac))
    }
}

impl TryFrom<String> for Mac {
    type Error = String;

    fn try_from(text: String) -> Result<Mac, String> {
        text.parse()
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl Serialize for Mac {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// A BLAKE3 hash, in hexadecimal as `b3sum` prints it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Blake3(pub [u8; 32]);

impl TryFrom<String> for Blake3 {
    type Error = String;

    fn try_from(text: String) -> Result<Blake3, String> {
        let bytes = hex::decode(&text).ok().and_then(|bytes| bytes.try_into().ok());
        bytes
            .map(Blake3)
            .ok_or_else(|| format!("{text:?} is not a BLAKE3 hash of 64 hexadecimal digits"))
    }
}

impl fmt::Display for Blake3 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl Serialize for Blake3 {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Which nodes let a packet of the guest out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Egress {
    /// The node that took in the flow's last packet.
    IngressOwner,
    /// Every ready node: masks loss, multiplies traffic.
    All,
    /// One ready node, by a hash of the flow.
    FlowHash,
    /// The first ready node.
    Leader,
}

/// When an output leaves.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Release {
    /// When the entry it follows from is committed.
    #[default]
    Commit,
    /// When, besides, more than half of the nodes have the same state after that entry.
    Vote,
}

/// One element of `forward`: `tcp/7`, `tcp/1000-2000`, `udp/53`, `icmp`, or `all`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct ForwardRule(pub(super) Vec<Forward>);

impl TryFrom<String> for ForwardRule {
    type Error = String;

    fn try_from(text: String) -> Result<ForwardRule, String> {
        const EVERY_PORT: (u16, u16) = (1, u16::MAX);
        let rule = |protocol, ports| Forward { protocol, ports };
        let icmp = || rule(Protocol::Icmp, (0, 0));
        let wrong = |what: &str| {
            format!("{text:?} {what}; write \"tcp/7\", \"tcp/1000-2000\", \"udp/53\", \"icmp\" or \"all\"")
        };
        let (protocol, ports) = match text.as_str() {
            "all" => {
                let rules = vec![rule(Protocol::Tcp, EVERY_PORT), rule(Protocol::Udp, EVERY_PORT), icmp()];
                return Ok(ForwardRule(rules));
            }
            "icmp" => return Ok(ForwardRule(vec![icmp()])),
            other => other.split_once('/').ok_or_else(|| wrong("has no port"))?,
        };
        let protocol = match protocol {
            "tcp" => Protocol::Tcp,
            "udp" => Protocol::Udp,
            _ => return Err(wrong("names no protocol that is forwarded")),
        };
        let (first, last) = ports.split_once('-').unwrap_or((ports, ports));
        let port = |digits: &str| digits.parse::<u16>().ok().filter(|port| *port > 0);
        match (port(first), port(last)) {
            (Some(first), Some(last)) if first <= last => Ok(ForwardRule(vec![rule(protocol, (first, last))])),
            _ => Err(wrong("is not a port or a range of ports (1 to 65535)")),
        }
    }
}

/// A rule as the file writes it.
pub(super) fn show_forward(rule: &Forward) -> String {
    let protocol = match rule.protocol {
        Protocol::Icmp => return "icmp".to_owned(),
        Protocol::Tcp => "tcp",
        Protocol::Udp => "udp",
    };
    match rule.ports {
        (first, last) if first == last => format!("{protocol}/{first}"),
        (first, last) => format!("{protocol}/{first}-{last}"),
    }
}

/// Where the log is.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum Store {
    /// `sqlite:PATH`: a file on this host, for a single node or a demonstration.
    Sqlite(PathBuf),
    /// `postgresql://...`: CockroachDB or PostgreSQL; several hosts may be listed.
    Postgresql(String),
}

impl Store {
    /// The URL with everything in it, the password too: do not print it.
    #[must_use]
    pub fn url(&self) -> String {
        match self {
            Store::Sqlite(path) => format!("sqlite:{}", path.display()),
            Store::Postgresql(url) => url.clone(),
        }
    }

    pub(super) fn relative_to(self, resolve: impl Fn(&Path) -> PathBuf) -> Store {
        match self {
            Store::Sqlite(path) => Store::Sqlite(resolve(&path)),
            other => other,
        }
    }
}

impl TryFrom<String> for Store {
    type Error = String;

    fn try_from(text: String) -> Result<Store, String> {
        if let Some(path) = text.strip_prefix("sqlite:").filter(|path| !path.is_empty()) {
            return Ok(Store::Sqlite(PathBuf::from(path)));
        }
        if ["postgresql://", "postgres://"]
            .iter()
            .any(|scheme| text.starts_with(scheme))
        {
            // What the driver would refuse, here with the line.
            text.parse::<tokio_postgres::Config>()
                .map_err(|error| format!("not a database URL: {error}"))?;
            return Ok(Store::Postgresql(text));
        }
        Err("write \"sqlite:PATH\" or \"postgresql://USER@HOST:PORT/DATABASE\"".to_owned())
    }
}

/// The URL without its password.
impl fmt::Display for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Store::Postgresql(url) = self else {
            return f.write_str(&self.url());
        };
        let (url, query) = url
            .split_once('?')
            .map_or((url.as_str(), None), |(url, query)| (url, Some(query)));
        let (scheme, rest) = url.split_once("://").unwrap_or(("postgresql", url));
        let (user, host) = rest
            .rsplit_once('@')
            .map_or((None, rest), |(user, host)| (Some(user), host));
        write!(f, "{scheme}://")?;
        if let Some(user) = user {
            let (name, password) = user
                .split_once(':')
                .map_or((user, None), |(name, word)| (name, Some(word)));
            write!(f, "{name}{}@", if password.is_some() { ":***" } else { "" })?;
        }
        f.write_str(host)?;
        // Parameters may hold a password, too.
        f.write_str(if query.is_some() { "?***" } else { "" })
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Store({self})")
    }
}

impl Serialize for Store {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}
