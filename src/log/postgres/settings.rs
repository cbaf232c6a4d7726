//! What the URL says, and what holds where it says nothing.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use tokio_postgres::Config;
use tokio_postgres::config::{Host, SslMode, TargetSessionAttrs};

use crate::log::LogError;

/// A host that does not answer the first packet is given up after this long: in a cluster another one will.
const CONNECT: Duration = Duration::from_secs(1);
/// Sent data that stays unacknowledged for this long breaks the connection: the host or the way to it is gone.
const UNACKNOWLEDGED: Duration = Duration::from_secs(1);
/// While we only wait for an answer, the kernel asks after the host this often, and gives up after so many.
const KEEPALIVE: Duration = Duration::from_secs(2);
const KEEPALIVE_RETRIES: u32 = 3;

/// How to reach the database: one configuration a host, in the URL's order.
///
/// tokio-postgres would go through several hosts by itself, but does not leave one that accepts a connection and then
/// says nothing (a stopped process); so each is tried alone and with a limit.
#[derive(Clone)]
pub(crate) struct Settings {
    pub(super) hosts: Vec<Config>,
    /// The host that worked last, tried first. Clones share it: when the primary was lost, one connection finds the next
    /// one, and the others need not knock at a dead host for themselves.
    pub(super) last: Arc<AtomicUsize>,
}

impl std::fmt::Debug for Settings {
    /// Without the password.
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        to.debug_list().entries(self.hosts.iter().map(name)).finish()
    }
}

impl Settings {
    pub(crate) fn parse(url: &str) -> Result<Settings, LogError> {
        let wrong = |what: &str| LogError::Refused(format!("{}: {what}", redacted(url)));
        let tls =
            "TLS to the database is not built in yet; use a private network or a Unix socket, and sslmode=disable";
        if url.contains("sslmode=verify") {
            return Err(wrong(tls)); // a mode tokio-postgres does not know
        }
        let config = url.parse::<Config>().map_err(|error| wrong(&with_source(&error)))?;
        if config.get_ssl_mode() == SslMode::Require {
            return Err(wrong(tls));
        }
        let (hosts, addresses) = (config.get_hosts(), config.get_hostaddrs());
        if hosts.is_empty() {
            return Err(wrong("it names no host"));
        }
        if !addresses.is_empty() && addresses.len() != hosts.len() {
            return Err(wrong("as many hostaddr as hosts are needed"));
        }
        let ports = config.get_ports();
        if ports.len() > 1 && ports.len() != hosts.len() {
            return Err(wrong("one port for all hosts or one for each is needed"));
        }
        let any = url.contains("target_session_attrs=any");
        let alone = |(at, host): (usize, &Host)| {
            let mut alone = Config::new();
            match host {
                Host::Tcp(name) => alone.host(name),
                Host::Unix(path) => alone.host_path(path),
            };
            if let Some(address) = addresses.get(at) {
                alone.hostaddr(*address);
            }
            alone.port(*ports.get(at).or(ports.first()).unwrap_or(&5432));
            copy_common(&config, &mut alone, any);
            alone
        };
        Ok(Settings {
            hosts: hosts.iter().enumerate().map(alone).collect(),
            last: Arc::default(),
        })
    }
}

/// What is the same for all hosts, with our defaults.
fn copy_common(from: &Config, to: &mut Config, any: bool) {
    if let Some(user) = from.get_user() {
        to.user(user);
    }
    if let Some(password) = from.get_password() {
        to.password(password);
    }
    if let Some(name) = from.get_dbname() {
        to.dbname(name);
    }
    if let Some(options) = from.get_options() {
        to.options(options);
    }
    to.application_name(from.get_application_name().unwrap_or("quorate"));
    to.ssl_mode(SslMode::Disable);
    to.channel_binding(from.get_channel_binding());
    to.connect_timeout(from.get_connect_timeout().copied().unwrap_or(CONNECT));
    to.tcp_user_timeout(from.get_tcp_user_timeout().map_or(UNACKNOWLEDGED, |said| {
        // PostgreSQL's URLs have it in milliseconds, tokio-postgres takes the number for seconds.
        Duration::from_millis(said.as_secs())
    }));
    to.keepalives(from.get_keepalives());
    to.keepalives_idle(KEEPALIVE.min(from.get_keepalives_idle()));
    to.keepalives_interval(from.get_keepalives_interval().unwrap_or(KEEPALIVE));
    to.keepalives_retries(from.get_keepalives_retries().unwrap_or(KEEPALIVE_RETRIES));
    // A standby would take our reads and refuse our appends.
    to.target_session_attrs(match from.get_target_session_attrs() {
        TargetSessionAttrs::Any if !any => TargetSessionAttrs::ReadWrite,
        other => other,
    });
}

/// Names the host of a configuration made by [`Settings::parse`].
pub(super) fn name(config: &Config) -> String {
    let port = config.get_ports().first().copied().unwrap_or(5432);
    match config.get_hosts().first() {
        Some(Host::Tcp(host)) => format!("{host}:{port}"),
        Some(Host::Unix(path)) => format!("{}:{port}", path.display()),
        None => format!("?:{port}"),
    }
}

/// The URL as it may be shown: without a password.
#[must_use]
pub(in crate::log) fn redacted(url: &str) -> String {
    let query_hidden = match url.find("password=") {
        Some(at) => {
            let value = at + "password=".len();
            let end = url[value..].find('&').map_or(url.len(), |length| value + length);
            format!("{}***{}", &url[..value], &url[end..])
        }
        None => url.to_owned(),
    };
    let Some((scheme, rest)) = query_hidden.split_once("://") else {
        return query_hidden;
    };
    let authority = rest.find(['/', '?']).unwrap_or(rest.len());
    let Some(at) = rest[..authority].rfind('@').or_else(|| rest.rfind('@')) else {
        return query_hidden;
    };
    match rest[..at].split_once(':') {
        Some((user, _)) => format!("{scheme}://{user}:***{}", &rest[at..]),
        None => query_hidden,
    }
}

/// An error with what lies below it: tokio-postgres' own texts say only "error connecting to server".
pub(super) fn with_source(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {}", with_source(source)),
        None => error.to_string(),
    }
}

#[cfg(test)]
mod test {
    use super::*;

    #[test]
    fn each_host_gets_its_own_port_and_our_defaults() {
        let settings = Settings::parse("postgresql://me:secret@a:1,b:2/db").unwrap();
        let names = settings.hosts.iter().map(name).collect::<Vec<_>>();
        assert_eq!(names, ["a:1", "b:2"]);
        for host in &settings.hosts {
            assert_eq!(host.get_target_session_attrs(), TargetSessionAttrs::ReadWrite);
            assert_eq!(host.get_connect_timeout(), Some(&CONNECT));
            assert_eq!(host.get_tcp_user_timeout(), Some(&UNACKNOWLEDGED));
            assert_eq!(host.get_password(), Some(b"secret".as_slice()));
        }
        assert!(!format!("{settings:?}").contains("secret"));
    }

    #[test]
    fn what_the_url_says_wins() {
        let url =
            "postgresql://a/db?connect_timeout=7&tcp_user_timeout=1500&target_session_attrs=any&application_name=x";
        let host = &Settings::parse(url).unwrap().hosts[0];
        assert_eq!(host.get_connect_timeout(), Some(&Duration::from_secs(7)));
        assert_eq!(host.get_tcp_user_timeout(), Some(&Duration::from_millis(1500)));
        assert_eq!(host.get_target_session_attrs(), TargetSessionAttrs::Any);
        assert_eq!(host.get_application_name(), Some("x"));
    }

    #[test]
    fn unix_sockets_are_hosts() {
        let settings = Settings::parse("postgresql:///db?host=/run/postgresql&user=me&port=7").unwrap();
        assert_eq!(
            settings.hosts.iter().map(name).collect::<Vec<_>>(),
            ["/run/postgresql:7"]
        );
    }

    #[test]
    fn what_cannot_work_is_refused_without_the_password() {
        for (url, reason) in [
            ("postgresql://me:secret@a/db?sslmode=require", "TLS"),
            ("postgresql://me:secret@a/db?sslmode=verify-full", "TLS"),
            ("postgresql://me:secret@a,b,c:1,d/db?port=1,2", "port"),
            ("postgresql://me:secret@a/db?nonsense=1", "nonsense"),
        ] {
            let error = Settings::parse(url).unwrap_err();
            assert!(
                matches!(&error, LogError::Refused(text) if text.contains(reason)),
                "{error}"
            );
            assert!(!error.to_string().contains("secret"), "{error}");
        }
    }

    #[test]
    fn passwords_are_hidden_wherever_they_stand() {
        for (url, shown) in [
            ("postgresql://me:se@cret@a/db", "postgresql://me:***@a/db"),
            ("postgresql://me:se/cret@a/db", "postgresql://me:***@a/db"),
            (
                "postgresql://me@a/db?password=secret&port=1",
                "postgresql://me@a/db?password=***&port=1",
            ),
            ("postgresql://a/db", "postgresql://a/db"),
            ("sqlite:some/file", "sqlite:some/file"),
        ] {
            assert_eq!(redacted(url), shown);
        }
    }
}
