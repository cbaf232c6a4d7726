//! Stock clients talk to the guest's services, on every store.

use crate::bulk;
use crate::lab::{Lab, Setup, StoreKind, guest};

fn stock_clients(store: StoreKind) {
    let Some(lab) = Lab::start(&Setup::on(store)) else {
        return;
    };
    let address = guest(0).ip().to_string();

    let pings = lab.client("ping", &["-c", "5", "-i", "0.2", "-W", "2", &address]);
    assert!(pings.contains(" 0% packet loss"), "{pings}");

    let page = lab.client(
        "curl",
        &["-sS", "--fail", "--max-time", "10", &format!("http://{address}/")],
    );
    assert!(page.contains("<html"), "{page}");
    let status = lab.client(
        "curl",
        &[
            "-sS",
            "--fail",
            "--max-time",
            "10",
            &format!("http://{address}/status.json"),
        ],
    );
    let status: serde_json::Value = serde_json::from_str(&status).unwrap();
    assert!(status["uptime_ms"].as_u64().unwrap() > 0, "{status}");

    mail(&lab, &address);
    directory(&lab, &address);

    let data = bulk::payload(1 << 20);
    bulk::upload(guest(80), &data).unwrap();
    bulk::download(guest(80), 1 << 20).unwrap();
    bulk::echo(guest(7), &data).unwrap();
    lab.assert_digests_equal();
}

fn mail(lab: &Lab, address: &str) {
    let body = "The door opens at seven.";
    lab.client(
        "swaks",
        &[
            "--server",
            address,
            "--from",
            "a@example.org",
            "--to",
            "b@example.org",
            "--body",
            body,
            "--timeout",
            "10",
        ],
    );
    let mail = lab.client(
        "curl",
        &["-sS", "--fail", "--max-time", "10", &format!("http://{address}/mail/1")],
    );
    assert!(mail.contains(body), "{mail}");
}

fn directory(lab: &Lab, address: &str) {
    let url = format!("ldap://{address}");
    let search = |filter: &str| {
        let arguments = [
            "-x",
            "-LLL",
            "-o",
            "nettimeout=10",
            "-H",
            &url,
            "-b",
            "dc=example,dc=org",
            filter,
            "uid",
        ];
        lab.client("ldapsearch", &arguments)
    };
    let people = search("(uid=*)");
    let uids: Vec<&str> = people.lines().filter_map(|line| line.strip_prefix("uid: ")).collect();
    assert!(uids.len() >= 10, "{people}");
    let one = search(&format!("(&(uid={})(objectClass=*))", uids[0]));
    assert_eq!(one.matches("dn: ").count(), 1, "{one}");
    let two = search(&format!("(|(uid={})(uid={}))", uids[0], uids[1]));
    assert_eq!(two.matches("dn: ").count(), 2, "{two}");
    assert_eq!(search("(uid=nobody-of-that-name)"), "");
}

#[test]
fn stock_clients_on_sqlite() {
    stock_clients(StoreKind::Sqlite);
}

#[test]
fn stock_clients_on_postgres() {
    stock_clients(StoreKind::Postgres);
}
