use std::os::unix::fs::PermissionsExt;

use proptest::prelude::*;

use super::cluster::ClusterFile;
use super::node::NodeFile;
use super::values::{ForwardRule, show_forward};
use super::*;
use crate::log::NodeId;

const CLUSTER: &str = r#"machine = "door"
store = "sqlite:door.db"
key_file = "cluster.key"

[[node]]
name = "a"
peer = "192.0.2.1:7100"
external = ["203.0.113.11"]

[[node]]
name = "b"
peer = "192.0.2.2:7100"

[guest]
board = "mps2-an385"
firmware = "guest.elf"

[network]
guest = "10.77.0.2/24"
gateway = "10.77.0.1"
external = ["203.0.113.10"]
forward = ["tcp/7", "tcp/1000-2000", "icmp"]
"#;

const NODE: &str = r#"node = "b"
state_dir = "state"

[tap]
name = "tap0"
"#;

fn cluster(text: &str) -> Result<Cluster, ConfigError> {
    let source = Source::new("/etc/quorate/cluster.toml", text);
    let file: ClusterFile = source.parse()?;
    cluster::resolve(&source, file)
}

fn node(text: &str) -> Result<Config, ConfigError> {
    let source = Source::new("/etc/quorate/node.toml", text);
    let file: NodeFile = source.parse()?;
    node::resolve(&source, file)
}

/// The cluster as a table of `node.toml`.
fn inline() -> String {
    let cluster = CLUSTER
        .replace("[[node]]", "[[cluster.node]]")
        .replace("[guest]", "[cluster.guest]");
    format!("{NODE}[cluster]\n{}", cluster.replace("[network]", "[cluster.network]"))
}

#[test]
fn a_complete_cluster_with_its_defaults() {
    let cluster = cluster(CLUSTER).expect("valid");
    assert_eq!(cluster.store.url(), "sqlite:/etc/quorate/door.db");
    assert_eq!(cluster.key_file, Path::new("/etc/quorate/cluster.key"));
    assert_eq!(cluster.node_id("b"), Some(NodeId(1)));
    assert_eq!(cluster.timing.lease_ms.get(), 1_000);
    assert_eq!(cluster.network.egress, Egress::IngressOwner);
    let Mode::Nat(nat) = &cluster.network.mode else {
        panic!("nat is the default")
    };
    assert_eq!(
        nat.external,
        ["203.0.113.10", "203.0.113.11"].map(|text| text.parse::<std::net::Ipv4Addr>().expect("address"))
    );
    assert_eq!(nat.forward.len(), 3);
    assert_eq!(nat.flows_max, 4096);
    assert_eq!(nat.guest_mac, cluster.guest.mac.0);
    assert_ne!(nat.gateway_mac, nat.guest_mac);
    assert_eq!(nat.gateway_mac[0] & 3, 2, "locally administered, individual");
}

#[test]
fn a_complete_node_with_the_cluster_inside() {
    let config = node(&inline()).expect("valid");
    assert_eq!(config.me, NodeId(1));
    assert_eq!(config.listen, config.cluster.nodes[1].peer);
    assert_eq!(config.admin.socket, Path::new("/etc/quorate/state/admin.sock"));
    assert_eq!(config.cluster, cluster(CLUSTER).expect("valid"));
    let other = node(&inline().replace("node = \"b\"", "node = \"a\"")).expect("valid");
    assert_ne!(config.tap.mac, other.tap.mac);
    let settings = config.replica(3, 4);
    assert_eq!(
        (settings.nodes, settings.me, settings.incarnation, settings.seed),
        (2, NodeId(1), 3, 4)
    );
    toml::to_string(&config).expect("it can be printed");
}

#[test]
fn files_are_read_from_disk_and_paths_are_relative_to_them() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("node.toml"), NODE).expect("written");
    std::fs::write(folder.path().join("cluster.toml"), CLUSTER).expect("written");
    let config = Config::load(&folder.path().join("node.toml")).expect("valid");
    let firmware = folder.path().join("guest.elf");
    assert_eq!(config.cluster.guest.boot, Boot::Firmware { firmware });
    std::fs::remove_file(folder.path().join("cluster.toml")).expect("it is there");
    let error = Config::load(&folder.path().join("node.toml")).expect_err("no cluster file");
    assert!(error.to_string().contains("cluster.toml"), "{error}");
}

/// One mistake: what is replaced, by what; line and column it is found at; what the message must hold.
type Mistake = (&'static str, &'static str, usize, usize, &'static str);

fn check_mistakes(good: &str, mistakes: &[Mistake], parse: impl Fn(&str) -> Result<(), ConfigError>) {
    for (from, to, line, column, holds) in mistakes {
        assert!(good.contains(from), "{from:?} is in the example");
        let error = parse(&good.replacen(from, to, 1)).expect_err(to);
        let ConfigError::At { line: l, column: c, .. } = &error else {
            panic!("{error}")
        };
        let text = error.to_string();
        assert_eq!((*l, *c), (*line, *column), "{text}");
        assert!(text.contains(holds), "{text:?} holds {holds:?}");
        assert!(!error.fix().is_empty());
    }
}

#[test]
fn mistakes_in_the_cluster_are_named_with_line_column_and_key() {
    let mistakes: &[Mistake] = &[
        ("machine = ", "machin = ", 1, 1, "unknown field `machin`"),
        ("\"door\"\n", "\"door\n", 1, 16, "string"),
        (
            "\"door\"\n",
            "\"The Door\"\n",
            1,
            11,
            "machine: \"The Door\" is not a name",
        ),
        ("sqlite:door.db", "mysql://x", 2, 9, "store: write \"sqlite:PATH\""),
        ("key_file = \"cluster.key\"", "", 1, 1, "missing field `key_file`"),
        (
            "name = \"b\"",
            "name = \"a\"",
            11,
            8,
            "node.name: \"a\" is listed twice",
        ),
        (
            "192.0.2.2:7100",
            "192.0.2.1:7100",
            12,
            8,
            "node.peer: 192.0.2.1:7100 is listed twice",
        ),
        ("192.0.2.2:7100", "192.0.2.2", 12, 8, "invalid socket address"),
        (
            "192.0.2.2:7100",
            "0.0.0.0:7100",
            12,
            8,
            "not an address others can dial",
        ),
        (
            "firmware = \"guest.elf\"",
            "firmware = 5",
            16,
            12,
            "guest.firmware: invalid type",
        ),
        (
            "10.77.0.2/24",
            "10.77.0.0/24",
            19,
            9,
            "network.guest: 10.77.0.0/24 is not an address of a station",
        ),
        (
            "gateway = \"10.77.0.1\"",
            "gateway = \"10.78.0.1\"",
            20,
            11,
            "network.gateway: 10.78.0.1 is not another",
        ),
        (
            "gateway = \"10.77.0.1\"",
            "gateway = \"10.77.0.2\"",
            20,
            11,
            "network.gateway: 10.77.0.2 is not another",
        ),
        ("gateway = \"10.77.0.1\"", "", 18, 1, "network.gateway: missing"),
        (
            "203.0.113.10",
            "203.0.113.11",
            8,
            13,
            "node.external: 203.0.113.11 is listed twice",
        ),
        (
            "203.0.113.10",
            "10.77.0.9",
            21,
            13,
            "network.external: 10.77.0.9 cannot be",
        ),
        ("tcp/1000-2000", "tcp/2000-1000", 22, 11, "network.forward"),
        ("tcp/1000-2000", "tcp/0", 22, 11, "network.forward"),
        ("tcp/1000-2000", "sctp/7", 22, 11, "network.forward"),
        (
            "[network]\n",
            "[network]\nmode = \"l2\"\n",
            20,
            9,
            "network.guest: has no meaning in mode \"l2\"",
        ),
        (
            "[network]\n",
            "[timing]\nlease_ms = 5\n[network]\n",
            19,
            12,
            "timing.lease_ms: 5 is not between 100 and 60000",
        ),
        (
            "[network]\n",
            "[timing]\nlease_ms = -1\n[network]\n",
            19,
            12,
            "timing.lease_ms: -1 is not between",
        ),
        (
            "[network]\n",
            "[network]\negress = \"some\"\n",
            19,
            10,
            "network.egress: unknown variant `some`",
        ),
        (
            "[network]\n",
            "[network]\nflows_max = 1\n",
            19,
            13,
            "network.flows_max: 1 is not between",
        ),
        (
            "board = ",
            "mac = \"01:00:00:00:00:00\"\nboard = ",
            15,
            7,
            "guest.mac: 01:00:00:00:00:00 is a group",
        ),
    ];
    check_mistakes(CLUSTER, mistakes, |text| cluster(text).map(drop));
}

#[test]
fn mistakes_in_the_node_are_named_with_line_column_and_key() {
    let mistakes: &[Mistake] = &[
        (
            "node = \"b\"",
            "node = \"z\"",
            1,
            8,
            "node: \"z\" is not a node of machine \"door\"",
        ),
        ("tap0", "a-name-that-is-too-long", 5, 8, "tap.name"),
        (
            "tap0\"",
            "tap0\"\nwatch_links = [\"eth0\", \"e/0\"]",
            6,
            24,
            "tap.watch_links: \"e/0\"",
        ),
        (
            "tap0\"",
            "tap0\"\nmac = \"02:00\"",
            6,
            7,
            "tap.mac: \"02:00\" is not a station address",
        ),
        ("[tap]", "[log]\nlevel = \"a=b=c\"\n[tap]", 5, 9, "log.level"),
        (
            "[tap]",
            "[log]\nformat = \"xml\"\n[tap]",
            5,
            10,
            "log.format: unknown variant `xml`",
        ),
        (
            "[tap]",
            "[limits]\npending_max = 1\n[tap]",
            5,
            15,
            "limits.pending_max: 1 is not between 16 and 65536",
        ),
        // Line numbers hold inside the table, too.
        ("board = ", "bored = ", 21, 1, "cluster.guest: unknown field `bored`"),
    ];
    check_mistakes(&inline(), mistakes, |text| node(text).map(drop));
}

#[test]
fn transparent_mode_needs_no_addresses() {
    let (before, _) = CLUSTER.split_once("guest = \"10").expect("it is there");
    let text = format!("{before}mode = \"l2\"\n").replace("external = [\"203.0.113.11\"]\n", "");
    let cluster = cluster(&text).expect("valid");
    assert_eq!(
        cluster.network,
        Network {
            egress: Egress::Leader,
            release: Release::Commit,
            mode: Mode::L2
        }
    );
    assert!(
        cluster
            .digest(&[], "engine")
            .parts
            .contains(&("network", "l2".to_owned()))
    );
}

#[test]
fn the_digest_holds_what_must_be_equal_and_nothing_else() {
    let digest = |text: &str, firmware: &[u8], engine: &str| {
        let files = [("firmware", *blake3::hash(firmware).as_bytes())];
        cluster(text).expect("valid").digest(&files, engine)
    };
    let here = digest(CLUSTER, b"elf", "engine 1");
    for (from, to) in [
        ("mps2-an385", "other"),
        ("\"door\"", "\"window\""),
        ("10.77.0.2/24", "10.77.0.3/24"),
        ("10.77.0.1\"", "10.77.0.4\""),
        ("203.0.113.10", "203.0.113.20"),
        ("tcp/7", "tcp/8"),
        ("[network]", "[network]\ndns = [\"192.0.2.53\"]"),
        ("[network]", "[network]\nflows_max = 5000"),
        ("[guest]", "[guest]\nram_mb = 512"),
        (
            "firmware = \"guest.elf\"",
            "kernel = \"guest.elf\"\ncommand_line = \"quiet\"",
        ),
        (
            "[network]",
            "[[guest.disk]]\nimage = \"root.img\"\nread_only = true\n[network]",
        ),
    ] {
        let other = digest(&CLUSTER.replacen(from, to, 1), b"elf", "engine 1");
        assert_ne!(other.digest, here.digest, "{to}");
        assert_ne!(other.parts, here.parts, "{to}: an operator can see it");
    }
    assert_ne!(digest(CLUSTER, b"ELF", "engine 1").digest, here.digest);
    assert_ne!(digest(CLUSTER, b"elf", "engine 2").digest, here.digest);
    for (from, to) in [
        ("sqlite:door.db", "postgresql://db/door"),
        ("192.0.2.2:7100", "192.0.2.3:7100"),
        ("[guest]", "[[node]]\nname = \"c\"\npeer = \"192.0.2.9:1\"\n[guest]"),
        ("[network]", "[timing]\nlease_ms = 2000\n[network]\negress = \"all\""),
        (
            "\"tcp/7\", \"tcp/1000-2000\"",
            "\"tcp/1000-2000\", \"tcp/7\", \"tcp/7\"",
        ),
    ] {
        assert_eq!(
            digest(&CLUSTER.replacen(from, to, 1), b"elf", "engine 1").digest,
            here.digest,
            "{to}"
        );
    }
    // Pinned: a change here makes every existing log unreadable and needs a new CONTEXT.
    assert_eq!(hex::encode(&here.digest[..8]), "f52340963690c9a9");
    here.check(here.digest).expect("equal");
    let error = here.check([0; 32]).expect_err("other settings");
    assert!(error.to_string().contains(&hex::encode(here.digest)) && error.fix().contains("check-config"));
}

#[test]
fn a_linux_guest_has_a_kernel_memory_and_disks() {
    const LINUX: &str = r#"kernel = "vmlinuz"
initramfs = "initramfs.cpio.gz"
command_line = "console=ttyAMA0 root=/dev/vda"
ram_mb = 512
saved = "/var/lib/quorate/booted"
[[guest.disk]]
image = "root.img"
blake3 = "0000000000000000000000000000000000000000000000000000000000000007"
[[guest.disk]]
image = "data.img"
read_only = true"#;
    let text = CLUSTER.replace("firmware = \"guest.elf\"", LINUX);
    let read = cluster(&text).expect("valid");
    let folder = Path::new("/etc/quorate");
    let (kernel, initramfs) = (folder.join("vmlinuz"), Some(folder.join("initramfs.cpio.gz")));
    let command_line = "console=ttyAMA0 root=/dev/vda".to_owned();
    assert_eq!(
        read.guest.boot,
        Boot::Linux {
            kernel,
            initramfs,
            command_line
        }
    );
    assert_eq!(read.ram_bytes(), 512 << 20);
    assert_eq!(read.guest.saved.as_deref(), Some(Path::new("/var/lib/quorate/booted")));
    let disks: Vec<_> = read
        .guest
        .disks
        .iter()
        .map(|disk| (disk.image.clone(), disk.read_only))
        .collect();
    assert_eq!(
        disks,
        [(folder.join("root.img"), false), (folder.join("data.img"), true)]
    );
    let printed = toml::to_string(&read).expect("it can be printed");
    for line in [
        "kernel = \"/etc/quorate/vmlinuz\"",
        "ram_mb = 512",
        "[[guest.disk]]",
        "read_only = true",
    ] {
        assert!(printed.contains(line), "{line} in {printed}");
    }
}

#[test]
fn a_guest_boots_exactly_one_thing() {
    for (instead, what) in [
        ("", "guest: names neither a firmware nor a kernel"),
        (
            "firmware = \"f\"\nkernel = \"k\"",
            "guest: names a firmware and a kernel",
        ),
        (
            "firmware = \"f\"\ninitramfs = \"i\"",
            "guest.initramfs: has no meaning for a firmware",
        ),
        (
            "firmware = \"f\"\ncommand_line = \"c\"",
            "guest.command_line: has no meaning for a firmware",
        ),
        (
            "kernel = \"k\"\ncommand_line = \"a\\nb\"",
            "guest.command_line: holds a control character",
        ),
        (
            "kernel = \"k\"\nram_mb = 0",
            "guest.ram_mb: 0 is not between 1 and 65536",
        ),
        (
            "kernel = \"k\"\n[[guest.disk]]\nimage = \"i\"\nblake3 = \"7\"",
            "is not a BLAKE3 hash",
        ),
        (
            "kernel = \"k\"\ndisk = [{image=\"1\"}, {image=\"2\"}, {image=\"3\"}, {image=\"4\"}, {image=\"5\"}]",
            "guest.disk: 5 disks",
        ),
    ] {
        let error = cluster(&CLUSTER.replace("firmware = \"guest.elf\"", instead)).expect_err(instead);
        assert!(error.to_string().contains(what), "{instead}: {error}");
        assert!(!error.fix().is_empty());
    }
}

#[test]
fn a_database_url_is_shown_without_its_password() {
    for (url, shown) in [
        ("postgresql://u:secret@h:1,i:2/db", "postgresql://u:***@h:1,i:2/db"),
        ("postgres://h/db?password=secret", "postgres://h/db?***"),
        ("postgresql://u@h/db", "postgresql://u@h/db"),
    ] {
        let store = Store::try_from(url.to_owned()).expect("valid");
        assert_eq!(store.to_string(), shown);
        assert_eq!(store.url(), url);
        assert!(!format!("{store:?}").contains("secret"));
    }
    assert!(Store::try_from("postgresql://h:notaport/db".to_owned()).is_err());
}

#[test]
fn a_key_is_made_once_and_must_be_private() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("cluster.key");
    create_key_file(&path).expect("made");
    assert_eq!(
        std::fs::metadata(&path).expect("there").permissions().mode() & 0o777,
        0o600
    );
    let key = read_key_file(&path).expect("a key");
    assert_eq!(format!("{key:?}"), "ClusterKey(..)");
    let error = create_key_file(&path).expect_err("it is there");
    assert_eq!(error.kind(), std::io::ErrorKind::AlreadyExists);
    for (mode, allowed) in [(0o640, true), (0o644, false), (0o604, false), (0o400, true)] {
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).expect("our own file");
        assert_eq!(read_key_file(&path).is_ok(), allowed, "{mode:o}");
    }
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).expect("our own file");
    for wrong in ["", "12", &"g".repeat(64), &"1".repeat(63), &"1".repeat(66)] {
        std::fs::write(&path, wrong).expect("our own file");
        let error = read_key_file(&path).expect_err(wrong).to_string();
        assert!(
            error.contains("64 hexadecimal digits") && error.contains("cluster.key"),
            "{error}"
        );
    }
}

proptest! {
    #[test]
    fn random_text_never_panics(text in "\\PC{0,200}") {
        let _ = cluster(&text);
        let _ = node(&text);
        let _ = text.parse::<Mac>();
        let _ = ForwardRule::try_from(text.clone());
        if let Ok(store) = Store::try_from(text) {
            let _ = store.to_string();
        }
    }

    #[test]
    fn damaged_files_never_panic(at in 0..CLUSTER.len(), length in 0usize..20, with in "[\\[\\]=\"a\\n0.é]{0,6}") {
        let mut text = CLUSTER.to_owned();
        let end = (at + length).min(text.len());
        text.replace_range(at..end, &with);
        let _ = cluster(&text);
        let text = inline();
        let end = (at + length).min(text.len());
        let mut text = text;
        text.replace_range(at..end, &with);
        let _ = node(&text);
    }

    #[test]
    fn a_station_address_is_read_as_it_is_shown(mut mac: [u8; 6]) {
        mac[0] = (mac[0] & 0xfe) | 2;
        prop_assert_eq!(Mac(mac).to_string().parse(), Ok(Mac(mac)));
    }

    #[test]
    fn a_rule_is_read_as_it_is_shown(first in 1u16.., more in 0u16..100, tcp: bool) {
        let text = format!("{}/{first}-{}", if tcp { "tcp" } else { "udp" }, first.saturating_add(more));
        let ForwardRule(rules) = ForwardRule::try_from(text).expect("a rule");
        prop_assert_eq!(ForwardRule::try_from(show_forward(&rules[0])), Ok(ForwardRule(rules)));
    }
}
