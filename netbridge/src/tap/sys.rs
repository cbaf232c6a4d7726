//! Calls to the kernel: the only unsafe code of this crate.
//!
//! Interface requests go by name through an ordinary socket, so they see the network namespace in which the socket was
//! made. /sys would show whichever namespace it was mounted from.
//!
//! Layouts: `struct ifreq` netdevice(7); `struct ethtool_value`, `struct ethtool_drvinfo` linux/ethtool.h.
#![allow(unsafe_code)]

use std::ffi::CStr;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;

use crate::mac::Mac;

/// Longest interface name in bytes, without the terminating zero (IFNAMSIZ - 1).
pub const NAME_BYTES_MAX: usize = libc::IFNAMSIZ - 1;

/// The kernel's driver of TAPs.
pub const DRIVER: &str = "/dev/net/tun";

/// linux/if_tun.h, Linux 6.2; older kernels ignore it.
const IFF_NO_CARRIER: libc::c_int = 0x40;
const IFREQ_DATA_BYTES: usize = size_of::<libc::ifreq>() - libc::IFNAMSIZ;
const ETHTOOL_GDRVINFO: u32 = 0x3;
const ETHTOOL_GLINK: u32 = 0xa;
const DRVINFO_BYTES: usize = 196;
const DRVINFO_DRIVER: usize = 4;
const DRVINFO_BUS: usize = 100;

/// `struct ifreq` as bytes: every member of its union is read and written at offset 0 of `data`.
#[repr(C, align(8))]
struct Request {
    name: [u8; libc::IFNAMSIZ],
    data: [u8; IFREQ_DATA_BYTES],
}

impl Request {
    fn new(name: &str) -> io::Result<Self> {
        let mut request = Request {
            name: [0; libc::IFNAMSIZ],
            data: [0; IFREQ_DATA_BYTES],
        };
        if name.is_empty() || name.len() > NAME_BYTES_MAX || name.contains('\0') {
            return Err(io::Error::from_raw_os_error(libc::ENODEV));
        }
        request.name[..name.len()].copy_from_slice(name.as_bytes());
        Ok(request)
    }

    fn u16(&self) -> u16 {
        u16::from_ne_bytes([self.data[0], self.data[1]])
    }

    fn u32(&self) -> u32 {
        u32::from_ne_bytes([self.data[0], self.data[1], self.data[2], self.data[3]])
    }

    fn set_u16(&mut self, value: u16) {
        self.data[..2].copy_from_slice(&value.to_ne_bytes());
    }

    fn set_u32(&mut self, value: u32) {
        self.data[..4].copy_from_slice(&value.to_ne_bytes());
    }
}

fn check(result: libc::c_int) -> io::Result<()> {
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}

/// `code` must be one whose argument is a `struct ifreq` without a pointer inside.
fn request(fd: BorrowedFd<'_>, code: libc::Ioctl, request: &mut Request) -> io::Result<()> {
    // SAFETY: Request has the size, alignment and layout of struct ifreq and lives through the call; the callers below
    // pass only codes for which the kernel reads and writes nothing but that struct.
    check(unsafe { libc::ioctl(fd.as_raw_fd(), code, request as *mut Request) })
}

/// The socket through which interfaces are asked by name; bound to the namespace of the thread that made it.
#[derive(Debug)]
pub struct Control(OwnedFd);

impl Control {
    /// Opens the socket.
    pub fn new() -> io::Result<Self> {
        // SAFETY: no pointers; a result that is not negative is a descriptor nobody else owns.
        let fd = unsafe { libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0) };
        check(fd)?;
        // SAFETY: see above.
        Ok(Control(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    fn get(&self, name: &str, code: libc::Ioctl) -> io::Result<Request> {
        let mut answer = Request::new(name)?;
        request(self.0.as_fd(), code, &mut answer)?;
        Ok(answer)
    }

    /// The interface's flags (IFF_UP, IFF_RUNNING, ...).
    pub fn flags(&self, name: &str) -> io::Result<u16> {
        Ok(self.get(name, libc::SIOCGIFFLAGS as libc::Ioctl)?.u16())
    }

    /// Sets IFF_UP.
    pub fn bring_up(&self, name: &str) -> io::Result<()> {
        let mut change = self.get(name, libc::SIOCGIFFLAGS as libc::Ioctl)?;
        let flags = change.u16();
        if flags & libc::IFF_UP as u16 != 0 {
            return Ok(());
        }
        change.set_u16(flags | libc::IFF_UP as u16);
        request(self.0.as_fd(), libc::SIOCSIFFLAGS as libc::Ioctl, &mut change)
    }

    /// The interface's index.
    pub fn index(&self, name: &str) -> io::Result<u32> {
        Ok(self.get(name, libc::SIOCGIFINDEX as libc::Ioctl)?.u32())
    }

    /// Largest packet in bytes.
    pub fn mtu_bytes(&self, name: &str) -> io::Result<u32> {
        Ok(self.get(name, libc::SIOCGIFMTU as libc::Ioctl)?.u32())
    }

    /// Sets the largest packet.
    pub fn set_mtu_bytes(&self, name: &str, mtu_bytes: u32) -> io::Result<()> {
        let mut change = Request::new(name)?;
        change.set_u32(mtu_bytes);
        request(self.0.as_fd(), libc::SIOCSIFMTU as libc::Ioctl, &mut change)
    }

    /// The station address, or None for an interface that is not Ethernet (a TUN).
    pub fn mac(&self, name: &str) -> io::Result<Option<Mac>> {
        let answer = self.get(name, libc::SIOCGIFHWADDR as libc::Ioctl)?;
        if answer.u16() != libc::ARPHRD_ETHER {
            return Ok(None);
        }
        let mut octets = [0; 6];
        octets.copy_from_slice(&answer.data[2..8]);
        Ok(Some(Mac(octets)))
    }

    /// The link as its driver sees it at this moment. EOPNOTSUPP if the driver does not tell.
    pub fn ethtool_link(&self, name: &str) -> io::Result<bool> {
        let mut value = [ETHTOOL_GLINK, 0u32];
        // SAFETY: ETHTOOL_GLINK reads and writes one struct ethtool_value, two u32; `value` is that.
        unsafe { self.ethtool(name, value.as_mut_ptr().cast())? };
        Ok(value[1] != 0)
    }

    /// Names of the driver and of the bus: ("tun", "tap") for a TAP, ("tun", "tun") for a TUN.
    pub fn driver(&self, name: &str) -> io::Result<(String, String)> {
        #[repr(C, align(8))]
        struct Info([u8; DRVINFO_BYTES]);
        let mut info = Info([0; DRVINFO_BYTES]);
        info.0[..4].copy_from_slice(&ETHTOOL_GDRVINFO.to_ne_bytes());
        // SAFETY: ETHTOOL_GDRVINFO reads and writes one struct ethtool_drvinfo of 196 bytes; `info` is as large and at
        // least as aligned.
        unsafe { self.ethtool(name, info.0.as_mut_ptr())? };
        let text = |from: usize| {
            let field = &info.0[from..from + 32];
            CStr::from_bytes_until_nul(field)
                .map(|text| text.to_string_lossy().into_owned())
                .unwrap_or_default()
        };
        Ok((text(DRVINFO_DRIVER), text(DRVINFO_BUS)))
    }

    /// # Safety
    /// `argument` must point to the struct which its first u32, the command, stands for.
    unsafe fn ethtool(&self, name: &str, argument: *mut u8) -> io::Result<()> {
        let mut call = Request::new(name)?;
        call.data[..size_of::<usize>()].copy_from_slice(&(argument as usize).to_ne_bytes());
        // SAFETY: the ifreq is valid as in `request`; the pointer inside is valid by this function's contract.
        check(unsafe {
            libc::ioctl(
                self.0.as_raw_fd(),
                libc::SIOCETHTOOL as libc::Ioctl,
                &mut call as *mut Request,
            )
        })
    }
}

/// Takes the descriptor out of tun-tap's interface, as one that closes itself and can be borrowed safely.
pub fn into_file(interface: tun_tap::Iface) -> File {
    // SAFETY: into_raw_fd gives up the only ownership of an open descriptor.
    unsafe { File::from_raw_fd(interface.into_raw_fd()) }
}

/// Attaches as tun-tap does, non-blocking, but leaves the carrier down.
pub fn attach_without_carrier(name: &str) -> io::Result<File> {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(libc::O_NONBLOCK)
        .open(DRIVER)?;
    let mut change = Request::new(name)?;
    change.set_u16((libc::IFF_TAP | libc::IFF_NO_PI | IFF_NO_CARRIER) as u16);
    request(file.as_fd(), libc::TUNSETIFF, &mut change)?;
    Ok(file)
}

/// Present name and flags (IFF_PERSIST, ...) of an attached device: it may have been renamed since.
pub fn attached(tap: BorrowedFd<'_>) -> io::Result<(String, u16)> {
    let mut answer = Request {
        name: [0; libc::IFNAMSIZ],
        data: [0; IFREQ_DATA_BYTES],
    };
    request(tap, libc::TUNGETIFF, &mut answer)?;
    let name = CStr::from_bytes_until_nul(&answer.name).map_err(|_| io::Error::from(io::ErrorKind::InvalidData))?;
    Ok((name.to_string_lossy().into_owned(), answer.u16()))
}

/// Asks the kernel for plain frames: checksummed, no larger than the MTU. A previous user of a persistent device may
/// have agreed on something else.
pub fn refuse_offloads(tap: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: TUNSETOFFLOAD takes its flags by value.
    check(unsafe { libc::ioctl(tap.as_raw_fd(), libc::TUNSETOFFLOAD, 0 as libc::c_ulong) })
}

/// Raises or drops the carrier (Linux 5.0). Older kernels answer EINVAL.
pub fn set_carrier(tap: BorrowedFd<'_>, up: bool) -> io::Result<()> {
    let mut value = libc::c_int::from(up);
    // SAFETY: TUNSETCARRIER reads one int through the pointer.
    check(unsafe { libc::ioctl(tap.as_raw_fd(), libc::TUNSETCARRIER, &mut value as *mut libc::c_int) })
}

/// Moves the calling thread, and no other, into a network namespace.
pub fn enter_network_namespace(namespace: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: no pointers; changes only which namespace this thread's new sockets belong to.
    check(unsafe { libc::setns(namespace.as_raw_fd(), libc::CLONE_NEWNET) })
}
