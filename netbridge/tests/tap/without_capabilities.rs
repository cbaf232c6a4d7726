//! A daemon without any capability: what works on a TAP it owns, and what it is told otherwise.
//!
//! The test binary runs itself again as an ordinary user, inside the namespace and with a /dev/net/tun that everybody
//! may open (in a mount namespace of its own, which `ip netns exec` makes).

use std::os::unix::fs::PermissionsExt;

use netbridge::tap::Options;
use netbridge::{Tap, TapError};

use crate::bench::{Bench, skip};

const USER: &str = "65534";
const READY: Options = Options {
    carrier: true,
    mtu_bytes: None,
};

#[test]
fn a_tap_of_ones_own_needs_no_capability() {
    let Some(bench) = Bench::new() else { return };
    for (name, owner) in [("mine", USER), ("mine_up", USER), ("theirs", "1")] {
        bench.ip(&["tuntap", "add", "dev", name, "mode", "tap", "user", owner]);
    }
    bench.ip(&["link", "set", "mine_up", "up"]);
    // A copy, because the ordinary user may not be able to reach the build directory.
    let folder = tempfile::tempdir().unwrap();
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let copy = folder.path().join("tap-test");
    std::fs::copy(std::env::current_exe().unwrap(), &copy).unwrap();
    let script = format!(
        "mount -t tmpfs none /dev/net && mknod -m 666 /dev/net/tun c 10 200 || {{ echo no device; exit; }}
         drop='setpriv --reuid {USER} --regid {USER} --clear-groups --bounding-set=-all --inh-caps=-all'
         test='{} --ignored --nocapture --exact without_capabilities::'
         $drop ${{test}}as_an_ordinary_user && chmod 600 /dev/net/tun && $drop ${{test}}without_the_driver &&
         rm /dev/net/tun && $drop ${{test}}without_the_device && echo all went well",
        copy.display()
    );
    let output = bench.run("sh", &["-c", &script]);
    if output.contains("no device") {
        skip::<()>("cannot make a device file in a mount namespace");
        return;
    }
    assert!(output.contains("all went well"), "{output}");
}

#[test]
#[ignore = "run by a_tap_of_ones_own_needs_no_capability"]
fn as_an_ordinary_user() {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    assert!(status.contains("CapEff:\t0000000000000000"), "{status}");
    let tap = Tap::open("mine_up", READY).unwrap();
    assert!(tap.is_persistent() && tap.is_up().unwrap());
    for up in [false, true] {
        tap.set_carrier(up).unwrap();
    }
    let down = Tap::open("mine", READY).unwrap();
    assert!(!down.is_up().unwrap(), "it may not bring it up");
    let theirs = Tap::open("theirs", READY).unwrap_err();
    assert!(matches!(theirs, TapError::NotOwner { .. }), "{theirs}");
    let missing = Tap::open("missing", READY).unwrap_err();
    assert!(matches!(missing, TapError::MayNotCreate { .. }), "{missing}");
}

#[test]
#[ignore = "run by a_tap_of_ones_own_needs_no_capability"]
fn without_the_driver() {
    let denied = Tap::open("mine", READY).unwrap_err();
    assert!(matches!(denied, TapError::DriverDenied { .. }), "{denied}");
}

#[test]
#[ignore = "run by a_tap_of_ones_own_needs_no_capability"]
fn without_the_device() {
    let missing = Tap::open("mine", READY).unwrap_err();
    assert!(matches!(missing, TapError::NoDriver { .. }), "{missing}");
}
