//! What every store must do for heartbeats.

use quorate::health::{Heartbeat, Heartbeats};
use quorate::log::{AgreedTime, Index, NodeId, Term};

use crate::suite::Place;

fn heartbeat(node: u16, incarnation: u64) -> Heartbeat {
    Heartbeat {
        node: NodeId(node),
        name: format!("node{node}"),
        incarnation,
        applied: Index(7),
        time: AgreedTime(1_700_000_000_000_000_000),
        readiness: "catching-up".to_owned(),
        role: "follower".to_owned(),
        term: Term(3),
        carrier: false,
        voted: None,
        evicted: vec![],
        split: None,
        version: "0.1.0".to_owned(),
    }
}

pub async fn are_counted_and_read_by_all(place: &Place) {
    let (first, second) = (place.open("heartbeats").await, place.open("heartbeats").await);
    let elsewhere = place.open("no-heartbeats").await;
    assert_eq!(first.heartbeats().await, Ok(vec![]), "nobody yet");
    let full = Heartbeat {
        carrier: true,
        voted: Some((Index(5), [9; 32])),
        evicted: vec!["node2".to_owned(), "node3".to_owned()],
        split: Some(Index(4)),
        ..heartbeat(1, 2)
    };
    first.beat(&heartbeat(0, 1)).await.unwrap();
    second.beat(&full).await.unwrap();
    second.beat(&full).await.unwrap();
    let seen = first.heartbeats().await.unwrap();
    let counted: Vec<_> = seen.iter().map(|seen| (seen.heartbeat.clone(), seen.counter)).collect();
    assert_eq!(counted, [(heartbeat(0, 1), 1), (full.clone(), 2)]);
    assert!(seen.iter().all(|seen| seen.age_ms < 10_000), "{seen:?}");

    // What comes back with a heartbeat are all rows; the writer's own may be the one before.
    let back = first.beat(&heartbeat(0, 1)).await.unwrap();
    let nodes: Vec<_> = back.iter().map(|seen| seen.heartbeat.node.0).collect();
    assert_eq!((nodes, back[1].counter), (vec![0, 1], 2));

    // A later start goes on counting, and an earlier one that was only asleep changes nothing.
    first.beat(&heartbeat(0, 4)).await.unwrap();
    first.beat(&heartbeat(0, 3)).await.unwrap();
    let seen = second.heartbeats().await.unwrap();
    assert_eq!((seen[0].heartbeat.incarnation, seen[0].counter), (4, 3));
    assert_eq!(elsewhere.heartbeats().await, Ok(vec![]), "machines are separate");
}
