//! Transcripts: one node, a script of events, and what it answers, as text a person can read.

mod node;

use std::time::Duration;

use super::*;
use crate::log::{Input, Log, Payload};
use node::*;

#[test]
fn a_node_alone_starts() {
    let mut node = Node::new(0, 1);
    node.event(Event::Edge { fit: true });
    node.settle();
    let expected = "\
tail from 1
watch
now Unlisted
take after 0.0
tail from 1
role Candidate(Term(1))
barrier 1 of term 1 []
execute 1
append 2 of term 1 [0.1.1=ready[0]]
role Sequencer(Term(1))
acknowledged 0.1.1 at 2
now Ready
execute 2";
    let transcript = node.transcript();
    assert!(transcript.starts_with(expected), "{transcript}");
}

#[test]
fn a_broken_link_to_the_sequencer_starts_a_takeover_at_once() {
    let mut node = follower();
    node.now_ms += 20;
    node.event(Event::PeerDown(NodeId(0)));
    assert_eq!(node.transcript(), "watch");
    node.settle();
    let expected = "\
take after 1.0
tail from 2
role Candidate(Term(2))
barrier 2 of term 2 []
doorbell to 2: 2
execute 2
append 3 of term 2 [1.1.1=ready[1, 2]]
role Sequencer(Term(2))
acknowledged 1.1.1 at 3
doorbell to 2: 3
execute 3";
    let transcript = node.transcript();
    assert!(transcript.starts_with(expected), "{transcript}");
}

#[test]
fn the_next_in_turn_waits_and_gives_way() {
    let mut node = follower();
    node.event(Event::PeerUp(NodeId(2)));
    node.peer(2, status(None));
    node.event(Event::Edge { fit: false }); // ready nodes go first
    node.event(Event::PeerDown(NodeId(0)));
    node.settle();
    node.only(&[]);
    node.now_ms += 70;
    node.event(Event::Tick);
    node.settle();
    assert_eq!(node.only(&["take"]), "");
    node.usurp(2);
    node.run_until(node.now_ms + 200);
    assert_eq!(node.only(&["take", "role"]), "role Follower(Some(NodeId(2)))");
}

#[test]
fn a_silent_lease_is_challenged_when_it_has_run_out() {
    let mut node = follower();
    node.run_until(1990);
    assert_eq!(node.only(&["take"]), "");
    node.run_until(2200);
    assert_eq!(
        node.only(&["take", "role"]),
        "take after 1.0\nrole Candidate(Term(2))\nrole Sequencer(Term(2))"
    );
}

#[test]
fn a_sequencer_that_is_fenced_steps_down_and_offers_again() {
    let mut node = sequencer(3);
    node.event(Event::PeerUp(NodeId(2)));
    let barrier = node.usurp(2);
    let index = barrier.index.0;
    node.event(frame(1));
    node.settle();
    // Its append finds the position taken; reading shows by whom, and that term ends its own.
    let expected = format!(
        "append {index} of term 1 [0.1.2]\nrole Follower(None)\nrole Follower(Some(NodeId(2)))\nexecute {index}"
    );
    assert_eq!(node.only(&["append", "role", "execute", "offer"]), expected);
    node.peer(2, status(Some(2)));
    assert_eq!(node.transcript(), "offer to 2: 0.1.2");
    assert_eq!(node.replica.pending(), 1);
}

#[test]
fn a_lost_lease_ends_the_term() {
    let mut node = sequencer(1);
    let barrier = node.usurp(3);
    node.run_until(node.now_ms + 400);
    assert_eq!(
        node.only(&["role", "fatal"]),
        "role Follower(None)\nrole Follower(Some(NodeId(3)))"
    );
    assert_eq!(node.replica.committed(), barrier.index);
}

#[test]
fn inputs_are_offered_again_on_a_new_link_a_new_term_and_after_a_while() {
    let mut node = follower();
    node.event(frame(1));
    node.event(frame(2));
    assert_eq!(node.transcript(), "offer to 0: 1.1.1\noffer to 0: 1.1.2");
    node.event(Event::PeerUp(NodeId(0)));
    assert_eq!(node.transcript(), "offer to 0: 1.1.1 1.1.2");
    node.now_ms += 200;
    node.peer(0, status(Some(1)));
    assert_eq!(node.only(&["offer"]), "offer to 0: 1.1.1 1.1.2");
    node.peer(2, status(Some(2)));
    assert_eq!(node.only(&["offer"]), "offer to 2: 1.1.1 1.1.2");
}

#[test]
fn a_doorbell_acknowledges_and_executes() {
    let mut node = follower();
    node.event(frame(1));
    node.transcript();
    let rows = now_or_never(node.log.tail(Index(1), 1)).expect("memory");
    let barrier = Entry::decode(&rows[0]).expect("a good row");
    let id = InputId {
        origin: NodeId(1),
        incarnation: 1,
        sequence: 1,
    };
    let input = Input {
        id,
        payload: Payload::Frame(vec![1; 60]),
    };
    let entry = Entry::after(&barrier, Term(1), 77, vec![input], barrier.grant);
    node.peer(0, doorbell(&entry.to_row()));
    assert_eq!(node.transcript(), "acknowledged 1.1.1 at 2\nexecute 2");
    // A doorbell that cannot be is not believed, and the store is asked.
    let forged = Entry::after((Index(2), barrier.chain), Term(1), 78, vec![], barrier.grant);
    node.peer(0, doorbell(&forged.to_row()));
    assert_eq!(node.transcript(), "tail from 3");
}

#[test]
fn an_append_in_doubt_is_repeated_until_its_fate_is_known() {
    let mut node = sequencer(1);
    node.event(frame(1));
    let appends = |node: &Node| -> Vec<Row> {
        let asked = node.asked.iter().filter_map(|(_, request)| match request {
            LogRequest::Append(row) => Some(row.clone()),
            _ => None,
        });
        asked.collect()
    };
    let first = appends(&node);
    assert_eq!(first.len(), 1);
    // The row lands, the answer is lost, and other inputs come meanwhile.
    let (tag, request) = node.asked.remove(0);
    node.answer(&request);
    node.event(Event::Log(tag, Err(LogError::Unavailable("gone".into()))));
    node.event(frame(2));
    assert_eq!(appends(&node), []);
    node.now_ms += 6;
    node.event(Event::Tick);
    assert_eq!(appends(&node), first);
    node.transcript();
    node.settle();
    let index = first[0].index.0;
    let expected = format!("acknowledged 0.1.2 at {index}\nacknowledged 0.1.3 at {}", index + 1);
    assert_eq!(node.only(&["acknowledged"]), expected);
}

#[test]
fn a_sequencer_stopped_past_its_lease_neither_appends_nor_is_ready() {
    let mut node = sequencer(1);
    let end = node.replica.committed().0;
    // It asked for an append, was stopped, and the answer is the first thing it hears of.
    node.event(frame(1));
    let (tag, request) = node.asked.remove(0);
    let reply = node.answer(&request);
    node.transcript();
    node.now_ms += 1500;
    node.event(Event::Log(tag, Ok(reply)));
    let expected = format!(
        "now Unconfirmed\nacknowledged 0.1.2 at {}\nrenew 1\nexecute {}",
        end + 1,
        end + 1
    );
    assert_eq!(node.transcript(), expected);
    // Nothing is appended until the lease is confirmed.
    node.event(frame(2));
    assert_eq!(node.transcript(), "");
    let (tag, request) = node.asked.remove(0);
    let reply = node.answer(&request);
    node.event(Event::Log(tag, Ok(reply)));
    // What was committed before is the past: it is executed before anything may leave.
    assert!(node.transcript().starts_with("now CatchingUp\nappend"));
    node.event(Event::Applied(idle(Index(end + 1))));
    assert_eq!(node.only(&["now"]), "now Ready");
}

#[test]
fn a_sequencer_stopped_and_replaced_learns_it_before_it_appends() {
    let mut node = sequencer(1);
    node.event(frame(1));
    node.asked.clear();
    node.transcript();
    node.usurp(4);
    node.now_ms += 1500;
    node.event(Event::Tick);
    assert_eq!(node.only(&["now", "renew", "append"]), "now Unconfirmed\nrenew 1");
    node.settle();
    assert_eq!(
        node.only(&["now", "role", "append"]),
        "role Follower(None)\nrole Follower(Some(NodeId(4)))\nnow CatchingUp\nnow Ready"
    );
}

#[test]
fn a_node_whose_store_is_silent_is_not_ready() {
    let mut node = follower();
    node.now_ms += 1501;
    node.event(Event::Tick);
    assert_eq!(node.only(&["now"]), "now Unconfirmed");
    node.settle();
    assert_eq!(node.only(&["now"]), "now Ready");
}

#[test]
fn a_peer_that_falls_silent_or_away_leaves_the_membership() {
    let mut node = sequencer(3);
    for peer in [1, 2] {
        node.event(Event::PeerUp(NodeId(peer)));
        node.peer(peer, status(None));
    }
    node.settle();
    assert_eq!(node.replica.ready_nodes(), [0, 1, 2].map(NodeId));
    node.event(Event::PeerDown(NodeId(1)));
    node.settle();
    assert_eq!(node.replica.ready_nodes(), [0, 2].map(NodeId));
    node.run_until(node.now_ms + 510);
    assert_eq!(node.replica.ready_nodes(), [NodeId(0)]);
}

/// The second witness: it says that it is ready, and the database does not hear of it.
#[test]
fn a_peer_whose_heartbeat_stands_still_leaves_the_membership() {
    let mut node = sequencer(3);
    for peer in [1, 2] {
        node.event(Event::PeerUp(NodeId(peer)));
    }
    let pass = |node: &mut Node, ms: u64, counters: [u64; 2]| {
        let beats = [1, 2].into_iter().zip(counters).map(|(of, counter)| Beat {
            node: NodeId(of),
            counter,
            age_ns: 0,
        });
        let beats = beats.collect();
        node.run_until(node.now_ms + ms);
        for peer in [1, 2] {
            node.peer(peer, status(None));
        }
        node.event(Event::Heartbeats(beats));
        node.settle();
        node.replica.ready_nodes().to_vec()
    };
    assert_eq!(pass(&mut node, 100, [1, 1]), [0, 1, 2].map(NodeId));
    for second in 1..=5 {
        assert_eq!(pass(&mut node, 1000, [1, 1 + second]).len(), 3, "second {second}");
    }
    assert_eq!(pass(&mut node, 1000, [1, 7]), [0, 2].map(NodeId));
    assert_eq!(pass(&mut node, 1000, [2, 8]), [0, 1, 2].map(NodeId));
}

#[test]
fn a_fixed_set_of_nodes_stays_whoever_is_silent() {
    let mut node = Node::new(0, 3);
    node.replica.settings.detect.enabled = false;
    node.event(Event::Edge { fit: true });
    node.settle();
    node.run_until(1100);
    let all = [0, 1, 2].map(NodeId);
    assert_eq!(node.replica.ready_nodes(), all, "nobody was heard of yet");
    for peer in [1, 2] {
        node.event(Event::PeerUp(NodeId(peer)));
        node.peer(peer, status(None));
    }
    node.event(Event::PeerDown(NodeId(1)));
    node.run_until(node.now_ms + 10_000);
    node.event(Event::Edge { fit: false });
    node.settle();
    assert_eq!(node.replica.ready_nodes(), all);
    assert_eq!(
        node.replica.readiness(),
        Readiness::EdgeUnfit,
        "who may emit is still its own decision"
    );
    // Only the votes decide who is out.
    let wrong = [(1, 8), (0, 7), (2, 7)].map(|(origin, digest)| Input {
        id: InputId {
            origin: NodeId(origin),
            incarnation: 9,
            sequence: 1,
        },
        payload: Payload::Digest {
            index: Index(1),
            digest: [digest; 32],
        },
    });
    let end = node.replica.follower.end().clone();
    let entry = Entry::after(&end, Term(1), 5, wrong.to_vec(), end.grant);
    now_or_never(node.log.append(entry.to_row())).expect("memory");
    node.replica.follower.note_head(entry.index);
    node.event(Event::Tick);
    node.settle();
    node.run_until(node.now_ms + 1000);
    assert_eq!(node.replica.ready_nodes(), [0, 2].map(NodeId));
}

#[test]
fn a_restarted_node_takes_its_own_lease_back_at_once() {
    let mut node = sequencer(1);
    let log = node.log.clone();
    node = Node::new(0, 1);
    node.log = log;
    node.replica.settings.incarnation = 2;
    node.replica = Replica::new(node.replica.settings.clone(), &Start::at(&genesis()));
    node.event(Event::Edge { fit: true });
    node.settle();
    node.run_until(1020);
    assert_eq!(node.replica.role(), Role::Sequencer(Term(2)));
}

#[test]
fn an_input_that_cannot_be_queued_is_refused() {
    let mut node = follower();
    node.replica.offers = Offers::new(NodeId(1), 1, 1);
    node.event(frame(1));
    node.event(frame(2));
    assert_eq!(node.only(&["refused"]), "refused");
}

#[test]
fn a_split_log_stops_the_node() {
    let mut node = sequencer(1);
    let end = node.replica.follower.end().clone();
    let before = (Index(end.index.0 - 1), end.previous);
    let forged = Entry::after(before, Term(1), 1, vec![], end.grant);
    node.log.overwrite(forged.to_row());
    let forged = Entry::after(&forged, Term(1), 2, vec![], end.grant);
    node.log.overwrite(forged.to_row());
    node.replica.follower.note_head(forged.index);
    node.event(Event::Tick);
    node.settle();
    let fatal = node.only(&["fatal"]);
    assert!(fatal.starts_with("fatal: the log is damaged: entry"), "{fatal}");
    assert_eq!(node.replica.deadline(), None);
}

/// A node that no sequencer sees takes nothing in: nobody would append it.
#[test]
fn a_node_that_the_log_does_not_list_is_not_ready() {
    let mut node = sequencer(3);
    for event in [
        Event::PeerUp(NodeId(1)),
        Event::Peer(NodeId(1), status(None)),
        Event::Edge { fit: false },
    ] {
        node.event(event);
        node.settle();
    }
    assert_eq!(node.replica.ready_nodes(), [NodeId(1)]);
    node.transcript();
    node.event(Event::Edge { fit: true });
    let transcript = node.only(&["now"]);
    assert_eq!(transcript, "now Unlisted");
    node.settle();
    let transcript = node.only(&["now"]);
    assert_eq!(transcript, "now Ready");
}

/// Peers reach it, the store does not: it must not keep them waiting.
#[test]
fn a_sequencer_without_the_store_says_that_it_does_not_sequence() {
    let mut node = sequencer(3);
    node.event(Event::PeerUp(NodeId(1)));
    node.settle();
    let sequencing = |node: &Node| match node.replica.status() {
        PeerMessage::Status { sequencing, .. } => sequencing,
        other => panic!("no status: {other:?}"),
    };
    let lost_at_ms = node.now_ms;
    while sequencing(&node).is_some() {
        let deadline = node.replica.deadline().expect("it wants to renew, at least");
        node.now_ms = node.now_ms.max(deadline.div_ceil(MS));
        node.event(Event::Tick);
        assert!(node.now_ms <= lost_at_ms + 1001, "{}", node.now_ms);
    }
    node.settle();
    assert_eq!(
        sequencing(&node),
        Some(Term(1)),
        "the store is back and nobody else took over"
    );
}

#[test]
fn a_sequencer_that_gives_up_is_replaced_at_once() {
    let mut node = follower();
    node.now_ms += 200;
    node.peer(0, status(None));
    node.settle();
    let transcript = node.only(&["take", "role"]);
    assert!(transcript.starts_with("take after 1.0"), "{transcript}");
}

/// It cannot tell the others from itself, and the lease can: they may well go on together.
#[test]
fn a_node_cut_off_from_all_others_leaves_the_sequencer_alone() {
    let mut node = follower();
    node.now_ms += 1000; // both links were silent for a second
    now_or_never(node.log.renew(Term(1), NodeId(0), Duration::ZERO)).expect("memory");
    node.event(Event::PeerDown(NodeId(0)));
    node.settle();
    node.event(Event::PeerDown(NodeId(2)));
    node.settle();
    node.run_until(node.now_ms + 300);
    assert_eq!(node.only(&["take"]), "");
    // The lease stands still: they are gone, or as lonely.
    node.run_until(node.now_ms + 1200);
    assert_eq!(node.only(&["take"]), "take after 1.1");
}
