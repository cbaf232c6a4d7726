//! Timeouts and room.

use super::*;
use crate::flow::Class;
use crate::testing::*;

fn establish(nat: &mut Nat, port: u16, now: AgreedTime) {
    inbound(nat, &tcp((CLIENT, port), (SHARED, 80), "S", 1, 0, &[]), now).unwrap();
    outbound(nat, &tcp((GUEST, 80), (CLIENT, port), "SA", 100, 2, &[]), now).unwrap();
    inbound(nat, &tcp((CLIENT, port), (SHARED, 80), "A", 2, 101, &[]), now).unwrap();
}

/// The last second at which the only flow still lives, if nothing happens after `from`.
fn lives_until(nat: &Nat, from: u64) -> u64 {
    let lives = |second: u64| {
        let mut later = nat.clone();
        later.advance(seconds(second));
        later.flows().count() == 1
    };
    (from..from + 10_000)
        .take_while(|&second| lives(second))
        .last()
        .unwrap()
}

#[test]
fn rfc_5382_req_5_established_tcp_lives_2_h_4_min_and_half_open_4_min() {
    let mut nat = nat();
    inbound(&mut nat, &tcp((CLIENT, 1), (SHARED, 80), "S", 1, 0, &[]), seconds(10)).unwrap();
    assert_eq!(lives_until(&nat, 10), 10 + 240 - 1);
    establish(&mut nat, 1, seconds(20));
    assert_eq!(lives_until(&nat, 20), 20 + 7440 - 1);
    let fin = tcp((CLIENT, 1), (SHARED, 80), "FA", 2, 101, &[]);
    inbound(&mut nat, &fin, seconds(30)).unwrap();
    assert_eq!(lives_until(&nat, 30), 30 + 7440 - 1, "half closed");
    outbound(&mut nat, &tcp((GUEST, 80), (CLIENT, 1), "FA", 101, 3, &[]), seconds(40)).unwrap();
    assert_eq!(lives_until(&nat, 40), 40 + 240 - 1);
}

#[test]
fn rfc_4787_req_5_udp_lives_5_min_from_the_last_packet_of_either_side() {
    let mut nat = nat();
    inbound(&mut nat, &udp((CLIENT, 1), (SHARED, 53), &[]), seconds(0)).unwrap();
    assert_eq!(lives_until(&nat, 0), 299);
    outbound(&mut nat, &udp((GUEST, 53), (CLIENT, 1), &[]), seconds(100)).unwrap();
    assert_eq!(lives_until(&nat, 100), 399);
}

#[test]
fn rfc_5508_req_2_echo_lives_60_s() {
    let mut nat = nat();
    inbound(&mut nat, &echo(CLIENT, SHARED, true, 1, &[]), seconds(0)).unwrap();
    assert_eq!(lives_until(&nat, 0), 59);
    assert_eq!(nat.counters().expired, 0);
    nat.advance(seconds(60));
    assert_eq!(nat.counters().expired, 1);
}

#[test]
fn a_flow_whose_timeout_gets_shorter_expires_by_the_shorter_one() {
    let mut nat = nat();
    establish(&mut nat, 1, seconds(0));
    // Looks through the table and finds nothing due for two hours.
    nat.advance(seconds(1000));
    inbound(
        &mut nat,
        &tcp((CLIENT, 1), (SHARED, 80), "FA", 2, 101, &[]),
        seconds(1000),
    )
    .unwrap();
    outbound(
        &mut nat,
        &tcp((GUEST, 80), (CLIENT, 1), "FA", 101, 3, &[]),
        seconds(1000),
    )
    .unwrap();
    nat.advance(seconds(1240));
    assert_eq!(nat.flows().count(), 0);
}

#[test]
fn time_never_goes_backwards() {
    let mut nat = nat();
    nat.advance(seconds(100));
    inbound(&mut nat, &echo(CLIENT, SHARED, true, 1, &[]), seconds(1)).unwrap();
    assert_eq!(nat.flows().next().unwrap().last, seconds(100));
}

#[test]
fn a_syn_flood_displaces_only_what_is_half_open() {
    let mut nat = nat();
    let flows_max = u64::from(config().flows_max);
    for port in 1..=10 {
        establish(&mut nat, port, seconds(1));
    }
    for port in 100..1100 {
        inbound(&mut nat, &tcp((CLIENT, port), (SHARED, 80), "S", 1, 0, &[]), seconds(2)).unwrap();
        assert!(nat.flows().count() as u64 <= flows_max);
    }
    let established = nat
        .flows()
        .filter(|flow| Class::of(flow) == Class::TcpEstablished)
        .count();
    assert_eq!((established, nat.counters().displaced), (10, 1000 - (flows_max - 10)));
    // The newest are kept.
    assert!(nat.flows().any(|flow| flow.world.peer.port == 1099));
    for port in 11..=16 {
        establish(&mut nat, port, seconds(3));
    }
    let packet = udp((CLIENT, 1), (SHARED, 53), &[]);
    assert_eq!(inbound(&mut nat, &packet, seconds(4)), Err(DropReason::TableFull));
    let packet = udp((GUEST, 1), (CLIENT, 53), &[]);
    assert_eq!(outbound(&mut nat, &packet, seconds(4)), Err(DropReason::TableFull));
}

#[test]
fn answered_udp_is_displaced_last_and_the_longest_idle_first() {
    let mut nat = nat();
    for port in 1..=16 {
        inbound(
            &mut nat,
            &udp((CLIENT, port), (SHARED, 53), &[]),
            seconds(u64::from(port)),
        )
        .unwrap();
    }
    outbound(&mut nat, &udp((GUEST, 53), (CLIENT, 1), &[]), seconds(20)).unwrap();
    inbound(&mut nat, &udp((CLIENT, 2), (SHARED, 53), &[]), seconds(20)).unwrap();
    inbound(&mut nat, &udp((CLIENT, 99), (SHARED, 53), &[]), seconds(21)).unwrap();
    let ports: Vec<u16> = nat.flows().map(|flow| flow.world.peer.port).collect();
    assert!(
        ports.contains(&1) && ports.contains(&2) && !ports.contains(&3),
        "{ports:?}"
    );
    let class = |port| nat.flows().find(|flow| flow.world.peer.port == port).map(Class::of);
    assert_eq!(
        (class(1), class(2)),
        (Some(Class::UdpAnswered), Some(Class::UdpUnanswered))
    );
}

#[test]
fn a_client_that_takes_every_name_is_refused_not_searched_for() {
    let mut nat = Nat::new(crate::Config {
        flows_max: 4096,
        ..config()
    })
    .unwrap();
    // Ports of the client as the guest sees them, all those that a collision of port 5 would try.
    inbound(&mut nat, &udp((CLIENT, 5), (SHARED, 53), &[]), seconds(1)).unwrap();
    let first = {
        let mut probe = nat.clone();
        let got = inbound(&mut probe, &udp((CLIENT, 5), (SECOND, 53), &[]), seconds(1)).unwrap();
        u16::from_be_bytes([got[20], got[21]])
    };
    for step in 0..128 {
        let port = 49_152 + (first - 49_152 + step) % 16_384;
        inbound(&mut nat, &udp((CLIENT, port), (SHARED, 53), &[]), seconds(1)).unwrap();
    }
    let packet = udp((CLIENT, 5), (SECOND, 53), &[]);
    assert_eq!(inbound(&mut nat, &packet, seconds(1)), Err(DropReason::TableFull));
}
