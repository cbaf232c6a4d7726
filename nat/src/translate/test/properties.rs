//! What holds for every sequence of packets.

use std::net::Ipv4Addr;

use proptest::prelude::*;

use super::*;
use crate::packet::Ports;
use crate::testing::*;

/// One call.
#[derive(Debug, Clone)]
enum Step {
    In(Vec<u8>, u16),
    Out(Vec<u8>),
    Advance,
}

fn client() -> impl Strategy<Value = End> {
    (0u8..3, 0u16..6).prop_map(|(host, port)| (Ipv4Addr::new(198, 51, 100, host), 5000 + port))
}

fn external() -> impl Strategy<Value = Ipv4Addr> {
    prop_oneof![Just(SHARED), Just(SECOND)]
}

fn flags() -> impl Strategy<Value = &'static str> {
    prop_oneof![Just("S"), Just("SA"), Just("A"), Just("FA"), Just("R")]
}

/// A packet from the world to a service, or a reply to something the guest may have sent.
fn packet_in() -> impl Strategy<Value = Vec<u8>> {
    let data = prop::collection::vec(any::<u8>(), 0..40);
    let port = prop_oneof![Just(80u16), Just(53), Just(4000), any::<u16>()];
    (client(), external(), port, flags(), data, any::<bool>(), 0u8..4).prop_map(
        |(from, to, port, flags, data, request, kind)| match kind {
            0 => tcp(from, (to, port), flags, 1, 101, &data),
            1 => udp(from, (to, port), &data),
            2 => echo(from.0, to, request, from.1, &data),
            _ => error(from.0, to, 3, 4, &udp((to, port), from, &data), 28),
        },
    )
}

/// A packet from the guest, of a service or of its own.
fn packet_out() -> impl Strategy<Value = Vec<u8>> {
    let data = prop::collection::vec(any::<u8>(), 0..40);
    let port = prop_oneof![Just(80u16), Just(53), Just(4000)];
    (client(), port, flags(), data, any::<bool>(), 0u8..4).prop_map(|(to, port, flags, data, request, kind)| match kind
    {
        0 => tcp((GUEST, port), to, flags, 100, 2, &data),
        1 => udp((GUEST, port), to, &data),
        2 => echo(GUEST, to.0, request, to.1, &data),
        _ => error(GUEST, to.0, 3, 3, &udp(to, (GUEST, port), &data), 28),
    })
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (packet_in(), 0u16..3).prop_map(|(packet, node)| Step::In(packet, node)),
        6 => packet_out().prop_map(|packet| Step::Out(from_guest(&packet))),
        1 => Just(Step::Advance),
        1 => prop::collection::vec(any::<u8>(), 0..80).prop_map(Step::Out),
    ]
}

/// Steps, each so many seconds after the one before.
fn script() -> impl Strategy<Value = Vec<(u64, Step)>> {
    prop::collection::vec((prop_oneof![4 => 0u64..3, 1 => 0u64..400], step()), 1..60)
}

fn play(nat: &mut Nat, script: &[(u64, Step)], mut now: u64) -> u64 {
    for (pause, step) in script {
        now += pause;
        let translated = match step {
            Step::In(packet, node) => nat.inbound(packet, NodeId(*node), seconds(now)),
            Step::Out(frame) => nat.outbound(frame, seconds(now)),
            Step::Advance => {
                nat.advance(seconds(now));
                continue;
            }
        };
        for packet in &translated.world {
            assert_checksums(&packet.bytes);
        }
        for frame in &translated.guest {
            if frame[12..14] == [8, 0] {
                assert_checksums(&frame[14..]);
            }
        }
        assert!(nat.flows().count() <= config().flows_max as usize);
    }
    now
}

/// The reply of a host to `packet`: addresses and ports turned round.
fn turned_round(packet: &[u8], data: &[u8]) -> Vec<u8> {
    let tuple = ends(packet);
    match tuple.ports {
        Ports::Tcp { source, destination } => tcp(
            (tuple.destination, destination),
            (tuple.source, source),
            "A",
            7,
            8,
            data,
        ),
        Ports::Udp { source, destination } => udp((tuple.destination, destination), (tuple.source, source), data),
        Ports::EchoRequest { id } => echo(tuple.destination, tuple.source, false, id, data),
        Ports::EchoReply { id } => echo(tuple.destination, tuple.source, true, id, data),
    }
}

/// A failure prints its input, which then becomes a named test; no files of seeds are kept.
fn cases(cases: u32) -> ProptestConfig {
    ProptestConfig {
        cases,
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

proptest! {
    #![proptest_config(cases(300))]

    #[test]
    fn what_goes_in_comes_out_under_the_same_name(before in script(), packet in packet_in(), data in any::<[u8; 5]>()) {
        let mut nat = nat();
        let now = seconds(play(&mut nat, &before, 0));
        if let (Ok(got), Some(asked)) = (inbound(&mut nat, &packet, now), Datagram::parse(&packet).unwrap().tuple()) {
            let out = outbound(&mut nat, &turned_round(&got, &data), now).unwrap();
            let expected = ends(&turned_round(&packet, &data));
            prop_assert_eq!(ends(&out.bytes), expected);
            prop_assert_eq!(out.bytes.len(), turned_round(&packet, &data).len());
            prop_assert_eq!(asked.destination, expected.source);
        }
    }

    #[test]
    fn what_goes_out_is_answered_under_the_same_name(before in script(), packet in packet_out(), data in any::<[u8; 5]>()) {
        let mut nat = nat();
        let now = seconds(play(&mut nat, &before, 0));
        if Datagram::parse(&packet).unwrap().tuple().is_some() && let Ok(out) = outbound(&mut nat, &packet, now) {
            let got = inbound(&mut nat, &turned_round(&out.bytes, &data), now);
            if let Ports::EchoReply { .. } = ends(&packet).ports {
                // The peer asks again, which a rule or the flow admits.
                prop_assert!(got.is_ok());
            }
            prop_assert_eq!(ends(&got.unwrap()), ends(&turned_round(&packet, &data)));
        }
    }

    #[test]
    fn nothing_but_names_hops_and_checksums_changes(before in script(), packet in packet_in()) {
        let mut nat = nat();
        let now = seconds(play(&mut nat, &before, 0));
        if let Ok(got) = inbound(&mut nat, &packet, now) {
            prop_assert_eq!(got.len(), packet.len());
            prop_assert_eq!(&got[..8], &packet[..8]);
            prop_assert_eq!(got[8], packet[8] - 1);
            if Datagram::parse(&packet).unwrap().tuple().is_some() {
                let payload = match packet[9] { 6 => 40, _ => 28 };
                prop_assert_eq!(&got[payload..], &packet[payload..]);
            }
        }
    }

    #[test]
    fn twice_is_the_same(script in script()) {
        let (mut one, mut two) = (nat(), nat());
        play(&mut one, &script, 0);
        play(&mut two, &script, 0);
        prop_assert_eq!(one.digest(), two.digest());
    }
}

proptest! {
    #![proptest_config(cases(60))]

    #[test]
    fn cut_and_restored_anywhere_is_the_same(script in script()) {
        let mut whole = nat();
        play(&mut whole, &script, 0);
        for cut in 0..=script.len() {
            let mut first = nat();
            let now = play(&mut first, &script[..cut], 0);
            let mut second = Nat::restore(config(), &first.save()).unwrap();
            prop_assert_eq!(second.digest(), first.digest());
            play(&mut second, &script[cut..], now);
            prop_assert_eq!(second.digest(), whole.digest());
            prop_assert_eq!(second.counters(), whole.counters());
        }
    }

    #[test]
    fn the_view_admits_what_is_translated(before in script(), packet in packet_in()) {
        let mut nat = nat();
        let now = seconds(play(&mut nat, &before, 0));
        let admitted = nat.view().admits(&packet);
        let translated = inbound(&mut nat, &packet, now);
        match (admitted, translated) {
            (Ok(()), Ok(_)) => {}
            // Room, and an error to a service without its flow, show only in the table.
            (Ok(()), Err(reason)) => prop_assert!(matches!(reason, DropReason::TableFull | DropReason::NotForwarded)),
            (Err(reason), translated) => prop_assert_eq!(translated, Err(reason)),
        }
    }
}
