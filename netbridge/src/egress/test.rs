//! Who emits, in every combination; what is repeated, and that it stays bounded.

use etherparse::PacketBuilder;
use proptest::prelude::*;

use super::*;

const POLICIES: [Policy; 4] = [Policy::All, Policy::IngressOwner, Policy::FlowHash, Policy::Leader];

fn emitting(policy: Policy, ready: &[u16], owner: Option<u16>, flow: u64, leader: Option<u16>) -> Vec<u16> {
    (0..8)
        .filter(|me| emits(policy, *me, ready, owner, flow, leader))
        .collect()
}

#[test]
fn names_round_trip() {
    for policy in POLICIES {
        assert_eq!(policy.to_string().parse(), Ok(policy));
    }
    assert_eq!(Policy::default(), Policy::IngressOwner);
    assert!("owner".parse::<Policy>().unwrap_err().to_string().contains("'owner'"));
}

#[test]
fn each_policy_in_its_ordinary_case() {
    let ready = [0, 1, 2];
    assert_eq!(emitting(Policy::All, &ready, Some(1), 7, Some(0)), [0, 1, 2]);
    assert_eq!(emitting(Policy::IngressOwner, &ready, Some(1), 7, Some(0)), [1]);
    assert_eq!(emitting(Policy::Leader, &ready, Some(1), 7, Some(0)), [0]);
    assert_eq!(emitting(Policy::FlowHash, &ready, Some(1), 7, Some(0)).len(), 1);
    assert_eq!(emitting(Policy::IngressOwner, &ready, None, 7, Some(0)).len(), 1);
}

#[test]
fn everybody_speaks_for_a_node_that_is_gone() {
    let ready = [0, 2];
    assert_eq!(emitting(Policy::IngressOwner, &ready, Some(1), 7, Some(0)), ready);
    assert_eq!(emitting(Policy::Leader, &ready, Some(1), 7, Some(1)), ready);
    assert_eq!(emitting(Policy::Leader, &ready, Some(1), 7, None), ready);
}

#[test]
fn flows_spread_and_only_those_of_a_lost_node_move() {
    let mut counts = [0; 3];
    for flow in 0..3000u64 {
        let before = emitting(Policy::FlowHash, &[0, 1, 2], None, flow, None)[0];
        let after = emitting(Policy::FlowHash, &[0, 2], None, flow, None)[0];
        counts[usize::from(before)] += 1;
        assert!(
            before == 1 || before == after,
            "flow {flow} moved from {before} to {after}"
        );
    }
    assert!(counts.iter().all(|count| (800..1200).contains(count)), "{counts:?}");
}

proptest! {
    #[test]
    fn somebody_emits_while_anybody_is_ready_and_only_ready_nodes_do(
        ready in prop::collection::btree_set(0u16..8, 0..8),
        owner in prop::option::of(0u16..10),
        leader in prop::option::of(0u16..10),
        flow: u64,
    ) {
        let ready: Vec<u16> = ready.into_iter().collect();
        for policy in POLICIES {
            let emitting = emitting(policy, &ready, owner, flow, leader);
            prop_assert_eq!(emitting.is_empty(), ready.is_empty());
            prop_assert!(emitting.iter().all(|node| ready.contains(node)));
            prop_assert!(emitting.len() == 1 || emitting == ready);
        }
    }
}

#[test]
fn an_inherited_flow_is_repeated_once_in_order() {
    let mut recent = Recent::new(RecentLimits::default());
    recent.push(1, 4, true, b"a", 0);
    recent.push(2, 4, true, b"b", 1);
    recent.push(1, 5, true, b"c", 2);
    recent.push(1, 4, false, b"not tcp", 3);
    assert_eq!(recent.inherit_flow(1, 4), [b"a", b"c"]);
    assert_eq!(recent.inherit_flow(1, 4).len(), 0);
    assert_eq!(recent.held(), (1, 1));
}

#[test]
fn a_lost_node_leaves_what_it_was_to_emit() {
    let mut recent = Recent::new(RecentLimits::default());
    recent.push(1, 4, true, b"a", 0);
    recent.push(2, 5, true, b"b", 0);
    recent.push(3, 4, true, b"c", 0);
    assert_eq!(recent.inherit_emitter(4, 1), [b"a", b"c"]);
    assert_eq!(recent.inherit_emitter(5, 2_000_000_000).len(), 0, "too old");
    assert_eq!(recent.held(), (0, 0));
}

/// An IPv4 packet with a TCP segment of `octets` octets.
fn segment(sequence: u32, octets: usize, fin: bool) -> Vec<u8> {
    let mut builder = PacketBuilder::ipv4([10, 0, 0, 1], [10, 0, 0, 2], 64)
        .tcp(80, 4000, sequence, 1000)
        .ack(1);
    if fin {
        builder = builder.fin();
    }
    let mut packet = Vec::new();
    builder.write(&mut packet, &vec![7; octets]).unwrap();
    packet
}

#[test]
fn what_arrived_is_not_repeated() {
    let mut recent = Recent::new(RecentLimits::default());
    let start = u32::MAX - 150; // wraps in the second one
    let sent = [
        segment(start, 100, false),
        segment(start.wrapping_add(100), 100, false),
        segment(start.wrapping_add(200), 0, false),
        segment(start.wrapping_add(200), 100, true),
    ];
    sent.iter().for_each(|bytes| recent.push(1, 4, true, bytes, 0));
    recent.push(2, 4, true, &sent[0], 0);
    recent.push(3, 4, true, b"not a segment", 0);
    recent.push(3, 4, true, &sent[0], 0);
    let held = |recent: &Recent| recent.held().0;
    recent.acknowledge(1, start);
    recent.acknowledge(1, start.wrapping_sub(1000));
    recent.acknowledge(1, start.wrapping_add(99));
    assert_eq!(held(&recent), 7, "nothing has arrived whole");
    recent.acknowledge(1, start.wrapping_add(199));
    assert_eq!(held(&recent), 6);
    recent.acknowledge(1, start.wrapping_add(200));
    assert_eq!(
        held(&recent),
        4,
        "the second, and an acknowledgement that a newer one repeats"
    );
    recent.acknowledge(1, start.wrapping_add(301));
    assert_eq!(held(&recent), 4, "the newest stays");
    recent.acknowledge(3, start.wrapping_add(301));
    recent.acknowledge(9, 0);
    assert_eq!(held(&recent), 4, "nobody knows what that was");
    recent.push(1, 4, true, &segment(start.wrapping_add(301), 0, false), 0);
    recent.acknowledge(1, start.wrapping_add(301));
    assert_eq!(recent.inherit_flow(1, 0), [segment(start.wrapping_add(301), 0, false)]);
    assert_eq!(recent.inherit_flow(2, 0), [sent[0].clone()]);
}

proptest! {
    #[test]
    fn recent_stays_within_its_limits(
        steps in prop::collection::vec((0u64..4, 0u16..3, 0usize..60, 0u64..40, 0u8..12), 0..300),
    ) {
        let limits = RecentLimits { frames_max: 10, bytes_max: 200, age_ns_max: 100 };
        let mut recent = Recent::new(limits);
        let mut now_ns = 0;
        for (flow, emitter, length, step_ns, action) in steps {
            now_ns += step_ns;
            match action {
                0 => prop_assert!(recent.inherit_flow(flow, now_ns).len() <= limits.frames_max),
                1 => prop_assert!(recent.inherit_emitter(emitter, now_ns).len() <= limits.frames_max),
                2 => {
                    recent.acknowledge(flow, now_ns as u32);
                    recent.expire(now_ns);
                }
                3..6 => recent.push(flow, emitter, true, &segment(now_ns as u32, length % 20, false), now_ns),
                _ => recent.push(flow, emitter, true, &vec![0; length], now_ns),
            }
            let (frames, bytes) = recent.held();
            prop_assert!(frames <= limits.frames_max && bytes <= limits.bytes_max);
            prop_assert_eq!(bytes, recent.held.values().map(|held| held.bytes.len()).sum::<usize>());
            prop_assert!(recent.held.values().all(|held| now_ns - held.at_ns <= limits.age_ns_max));
            let mut keys: Vec<u64> = recent.flows.values().flatten().copied().collect();
            prop_assert!(recent.flows.values().all(|of_flow| !of_flow.is_empty() && of_flow.iter().is_sorted()));
            keys.sort_unstable();
            prop_assert!(keys.iter().eq(recent.held.keys()));
        }
    }
}
