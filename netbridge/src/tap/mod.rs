//! Attaches to a TAP device.
//!
//! Two ways to get one, both through [`Tap::open`]:
//! * it exists and is **persistent** (made by systemd-networkd or `ip tuntap add ... user quorate`): the daemon needs no
//!   capability, and when the daemon dies the device stays, without carrier: a crash-proof health signal for routing
//!   daemons (`check link yes` in BIRD). Always set its owner.
//! * it does not exist: it is created, brought up, and vanishes with the daemon. Needs CAP_NET_ADMIN.
//!
//! The carrier is this node's readiness: [`Tap::set_carrier`]. tun-tap attaches with the carrier up, and it cannot be
//! asked not to; dropped again at once, a persistent device was still announced as up in one of four attempts, for a
//! second (see below): a starting node would attract traffic. So only a node that is ready attaches through tun-tap;
//! one that is not does so in `sys.rs`, with IFF_NO_CARRIER (Linux 6.2, ignored before).
//!
//! What a carrier does and does not (measured on Linux 6.18): the device loses it before the call returns, but the
//! kernel tells others, routing daemons and its own queues, at most once a second: at once if there was no link event in
//! the last second, else up to a second later. Until then frames still arrive, and sending is possible at any time. So
//! a node that is not ready must itself neither answer nor emit.
//!
//! No offloads: the agreed log holds plain, checksummed frames no larger than the MTU.

mod sys;

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};

use thiserror::Error;

use sys::DRIVER;
pub(crate) use sys::{Control, enter_network_namespace};

use crate::mac::Mac;
use crate::port::Port;

/// How to open a TAP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Options {
    /// Raise the carrier at once. A node that is not ready yet says no (the default).
    pub carrier: bool,
    /// Largest packet in bytes of a device we create; a persistent one keeps its own. Default: the kernel's, 1500.
    pub mtu_bytes: Option<u32>,
}

/// Why there is no TAP, and what to do about it.
#[derive(Debug, Error)]
#[allow(missing_docs)] // the messages say it
pub enum TapError {
    #[error("'{name}' cannot name an interface: 1 to {max} bytes without '/', '%', ':' or white space", max = sys::NAME_BYTES_MAX)]
    Name { name: String },
    #[error("{DRIVER} is missing: load the module (modprobe tun), or pass the device into the container ({source})")]
    NoDriver { source: io::Error },
    #[error(
        "{DRIVER} may not be opened: make it mode 0666 (udev) and allow it in the unit (DeviceAllow={DRIVER} rw) ({source})"
    )]
    DriverDenied { source: io::Error },
    #[error("another daemon already drives TAP {name}: stop it, or give this machine a TAP of its own")]
    InUse { name: String },
    #[error(
        "TAP {name} belongs to somebody else: make this daemon's user its owner (ip tuntap add dev {name} mode tap user USER, or User= in the .netdev file) or grant CAP_NET_ADMIN"
    )]
    NotOwner { name: String },
    #[error(
        "there is no TAP {name} and creating it takes CAP_NET_ADMIN: create it (ip tuntap add dev {name} mode tap user USER, or a .netdev file) or grant the capability"
    )]
    MayNotCreate { name: String },
    #[error("interface {name} is not a TAP but {what}: name another, or delete it and create a TAP")]
    NotTap { name: String, what: String },
    #[error("TAP {name} was created with multi_queue, one daemon needs one queue: recreate it without (MultiQueue=no)")]
    MultiQueue { name: String },
    #[error(
        "this kernel cannot drop the carrier of TAP {name} (TUNSETCARRIER needs Linux 5.0): close the TAP while not ready instead ({source})"
    )]
    NoCarrierControl { name: String, source: io::Error },
    #[error("cannot {doing} TAP {name}: {source}")]
    Call {
        doing: &'static str,
        name: String,
        source: io::Error,
    },
}

/// A TAP device this process drives. Closing it drops the carrier and, unless it is persistent, removes the device.
#[derive(Debug)]
pub struct Tap {
    file: File,
    control: Control,
    name: String,
    persistent: bool,
}

impl Tap {
    /// Attaches to the TAP `name`, or creates it if there is none, non-blocking and without offloads.
    ///
    /// A device that is down is brought up; one that is persistent and may not be brought up by us stays as it is (see
    /// [`Tap::is_up`]: whoever made it may be about to).
    ///
    /// # Errors
    /// Each [`TapError`] says what to do.
    pub fn open(name: &str, options: Options) -> Result<Tap, TapError> {
        check_name(name)?;
        let call = |doing| {
            move |source| TapError::Call {
                doing,
                name: name.to_owned(),
                source,
            }
        };
        // From the same thread as the device: both belong to the thread's network namespace.
        let control = Control::new().map_err(call("ask about"))?;
        let attach = if options.carrier {
            attach_with_carrier
        } else {
            sys::attach_without_carrier
        };
        let file = attach(name).map_err(|source| explain(&control, name, source))?;
        // A device that exists and is not persistent is always in use, so one that is not persistent is ours.
        let (_, flags) = sys::attached(file.as_fd()).map_err(call("read the flags of"))?;
        let persistent = flags & libc::IFF_PERSIST as u16 != 0;
        let tap = Tap {
            file,
            control,
            name: name.to_owned(),
            persistent,
        };
        tap.set_carrier(options.carrier)?;
        sys::refuse_offloads(tap.file.as_fd()).map_err(call("turn off the offloads of"))?;
        if let Some(mtu_bytes) = options.mtu_bytes.filter(|_| !persistent) {
            tap.control
                .set_mtu_bytes(name, mtu_bytes)
                .map_err(call("set the MTU of"))?;
        }
        match tap.control.bring_up(name) {
            Err(error) if persistent && error.raw_os_error() == Some(libc::EPERM) => {}
            result => result.map_err(call("bring up"))?,
        }
        Ok(tap)
    }

    /// Raises (ready) or drops (not ready) the carrier. See the module for when others notice.
    ///
    /// # Errors
    /// [`TapError::NoCarrierControl`] before Linux 5.0.
    pub fn set_carrier(&self, up: bool) -> Result<(), TapError> {
        sys::set_carrier(self.file.as_fd(), up).map_err(|source| match source.raw_os_error() {
            Some(libc::EINVAL | libc::ENOTTY) => TapError::NoCarrierControl {
                name: self.name.clone(),
                source,
            },
            _ => self.call("set the carrier of", source),
        })
    }

    /// The name it was opened by.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// It stays when this process ends.
    pub fn is_persistent(&self) -> bool {
        self.persistent
    }

    /// Administratively up: while it is down, sending fails with EIO and nothing is received.
    ///
    /// # Errors
    /// The device is gone.
    pub fn is_up(&self) -> Result<bool, TapError> {
        let flags = self.ask("read the flags of", Control::flags)?;
        Ok(flags & libc::IFF_UP as u16 != 0)
    }

    /// The station address of the kernel's end: the next hop of last resort.
    ///
    /// # Errors
    /// The device is gone.
    pub fn kernel_mac(&self) -> Result<Mac, TapError> {
        let mac = self.ask("read the station address of", Control::mac)?;
        Ok(mac.expect("a TAP is an Ethernet interface: opening it as one succeeded"))
    }

    /// The interface's index.
    ///
    /// # Errors
    /// The device is gone.
    pub fn index(&self) -> Result<u32, TapError> {
        self.ask("read the index of", Control::index)
    }

    /// Largest packet in bytes, without the Ethernet header.
    ///
    /// # Errors
    /// The device is gone.
    pub fn mtu_bytes(&self) -> Result<u32, TapError> {
        self.ask("read the MTU of", Control::mtu_bytes)
    }

    fn ask<T>(&self, doing: &'static str, get: impl Fn(&Control, &str) -> io::Result<T>) -> Result<T, TapError> {
        let (name, _) = sys::attached(self.file.as_fd()).map_err(|source| self.call(doing, source))?;
        get(&self.control, &name).map_err(|source| self.call(doing, source))
    }

    fn call(&self, doing: &'static str, source: io::Error) -> TapError {
        TapError::Call {
            doing,
            name: self.name.clone(),
            source,
        }
    }
}

impl Port for Tap {
    fn recv(&self, buf: &mut [u8]) -> io::Result<usize> {
        (&self.file).read(buf)
    }

    fn send(&self, frame: &[u8]) -> io::Result<()> {
        let sent = (&self.file).write(frame)?;
        if sent == frame.len() {
            Ok(())
        } else {
            Err(io::ErrorKind::WriteZero.into())
        }
    }
}

impl AsFd for Tap {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

fn attach_with_carrier(name: &str) -> io::Result<File> {
    let interface = tun_tap::Iface::without_packet_info(name, tun_tap::Mode::Tap)?;
    interface.set_non_blocking()?;
    Ok(sys::into_file(interface))
}

/// The kernel's rule (dev_valid_name) and no '%', which would make it choose a name.
fn check_name(name: &str) -> Result<(), TapError> {
    let bad = |c: char| matches!(c, '/' | ':' | '%' | '\0') || c.is_whitespace();
    if name.is_empty() || name.len() > sys::NAME_BYTES_MAX || name == "." || name == ".." || name.contains(bad) {
        return Err(TapError::Name { name: name.to_owned() });
    }
    Ok(())
}

/// What the error of opening {DRIVER} or of TUNSETIFF means (drivers/net/tun.c, tun_set_iff and tun_attach).
fn explain(control: &Control, name: &str, source: io::Error) -> TapError {
    let owned = name.to_owned();
    match source.raw_os_error() {
        Some(libc::ENOENT | libc::ENODEV | libc::ENXIO) => TapError::NoDriver { source },
        Some(libc::EACCES) => TapError::DriverDenied { source },
        Some(libc::EBUSY) => TapError::InUse { name: owned },
        // A device cgroup refuses the opening with the error the driver uses for a foreign device.
        Some(libc::EPERM) => match OpenOptions::new().read(true).write(true).open(DRIVER) {
            Err(source) => TapError::DriverDenied { source },
            Ok(_) if control.index(name).is_ok() => TapError::NotOwner { name: owned },
            Ok(_) => TapError::MayNotCreate { name: owned },
        },
        Some(libc::EINVAL) => match control.driver(name) {
            Ok((driver, bus)) if driver == "tun" && bus == "tap" => TapError::MultiQueue { name: owned },
            Ok((driver, bus)) if driver == "tun" => TapError::NotTap {
                name: owned,
                what: format!("a {bus} device"),
            },
            Ok((driver, _)) => TapError::NotTap {
                name: owned,
                what: format!("an interface of driver {driver}"),
            },
            Err(_) if control.index(name).is_ok() => TapError::NotTap {
                name: owned,
                what: "another interface".into(),
            },
            Err(_) => TapError::Call {
                doing: "attach to",
                name: owned,
                source,
            },
        },
        _ => TapError::Call {
            doing: "attach to",
            name: owned,
            source,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_the_kernel_would_change_or_refuse_are_refused() {
        for name in ["", ".", "..", "a/b", "tap%d", "a b", "eth0:1", "sixteen-bytes-xx"] {
            assert!(matches!(check_name(name), Err(TapError::Name { .. })), "{name}");
        }
        assert!(check_name("fifteen-bytes-x").is_ok());
    }
}
