use super::*;
use crate::log::{Grant, Term};

struct Log {
    roll: Roll,
    last: Entry,
    sequences: [u64; 4],
}

impl Log {
    fn new() -> Log {
        Log {
            roll: Roll::default(),
            last: Entry::genesis([0; 32], AgreedTime(0)),
            sequences: [0; 4],
        }
    }

    fn append(&mut self, inputs: &[(u16, Payload)]) -> Vec<Turn> {
        let inputs = inputs.iter().map(|(origin, payload)| {
            let sequence = &mut self.sequences[usize::from(*origin)];
            *sequence += 1;
            Input {
                id: InputId {
                    origin: NodeId(*origin),
                    incarnation: 1,
                    sequence: *sequence,
                },
                payload: payload.clone(),
            }
        });
        let grant = Grant {
            ticks: 1,
            until: AgreedTime(self.last.grant.until.0 + 1),
        };
        let id = u128::from(self.last.index.0);
        self.last = Entry::after(&self.last, Term(1), id, inputs.collect(), grant);
        self.roll.take_in(&self.last).unwrap()
    }

    fn ready(&mut self, nodes: &[u16]) -> Vec<Turn> {
        let ready = nodes.iter().copied().map(NodeId).collect();
        self.append(&[(0, Payload::Membership { ready })])
    }
}

fn digest(index: u64, of: u8) -> Payload {
    Payload::Digest {
        index: Index(index),
        digest: [of; 32],
    }
}

#[test]
fn the_minority_is_put_out_and_stays_out_until_readmitted() {
    let mut log = Log::new();
    log.ready(&[0, 1, 2]);
    assert_eq!(log.append(&[(0, digest(1, 7)), (1, digest(1, 8))]), []);
    let turns = log.append(&[(2, digest(1, 7))]);
    let membership = |ready: &[u16]| Turn::Membership {
        ready: ready.iter().copied().map(NodeId).collect(),
        leader: Some(NodeId(0)), // also where another one's vote decided
    };
    let expected = [
        Turn::Agreed(Index(1), [7; 32]),
        Turn::Evicted(NodeId(1), Index(1)),
        membership(&[0, 2]),
    ];
    assert_eq!(turns, expected);
    // A sequencer that has not heard of it yet cannot bring it back, nor does its vote count.
    assert_eq!(log.ready(&[0, 1, 2])[0], membership(&[0, 2]));
    assert_eq!(log.append(&[(1, digest(4, 8))]), []);
    assert!(log.roll.is_evicted(NodeId(1)));
    assert_eq!(
        log.append(&[(0, Payload::Readmit { node: NodeId(1) })]),
        [Turn::Readmitted(NodeId(1))]
    );
    assert_eq!(log.ready(&[0, 1, 2])[0], membership(&[0, 1, 2]));
}

#[test]
fn no_majority_is_a_split_until_somebody_votes_again() {
    let mut log = Log::new();
    log.ready(&[0, 1]);
    let turns = log.append(&[(0, digest(1, 7)), (1, digest(1, 8))]);
    assert_eq!(turns, [Turn::Split(Index(1))]);
    assert_eq!(log.roll.split(), Some(Index(1)));
    let turns = log.append(&[(1, digest(1, 7))]);
    assert_eq!((turns, log.roll.split()), (vec![Turn::Agreed(Index(1), [7; 32])], None));
}

#[test]
fn a_capture_counts_as_stored_when_more_than_half_have_its_digest() {
    let mut log = Log::new();
    log.ready(&[0, 1, 2]);
    assert_eq!(
        log.append(&[(0, Payload::Capture { uploader: NodeId(2) })]),
        [Turn::Capture(NodeId(2))]
    );
    let captured = log.roll.captured().unwrap();
    assert_eq!((captured.index, captured.uploader), (Index(2), NodeId(2)));
    let stored = |of: u8| Payload::Stored {
        index: Index(2),
        digest: [of; 32],
    };
    log.append(&[(0, digest(2, 7)), (1, digest(2, 7))]);
    assert_eq!(log.append(&[(2, stored(8))]), [], "another one's");
    assert_eq!(log.append(&[(0, stored(7))]), [], "it does not store it");
    assert_eq!(log.append(&[(2, stored(7))]), [Turn::Stored(Index(2))]);
    assert_eq!(log.append(&[(2, stored(7))]), [], "already");
    assert_eq!(log.roll.stored(), Some(Index(2)));
}

#[test]
fn what_is_stored_before_enough_voted_counts_when_they_did() {
    let mut log = Log::new();
    log.ready(&[0, 1, 2]);
    log.append(&[(0, Payload::Capture { uploader: NodeId(2) })]);
    let stored = Payload::Stored {
        index: Index(2),
        digest: [7; 32],
    };
    assert_eq!(log.append(&[(2, digest(2, 7)), (2, stored)]), []);
    let turns = log.append(&[(0, digest(2, 7))]);
    assert_eq!(turns, [Turn::Agreed(Index(2), [7; 32]), Turn::Stored(Index(2))]);
}

/// Votes of before a restart stay; once all nodes go on from a later state, nobody could vote on them again.
#[test]
fn what_is_older_than_an_agreement_is_no_split() {
    let mut log = Log::new();
    log.ready(&[0, 1, 2]);
    log.append(&[]);
    assert_eq!(log.append(&[(1, digest(1, 8)), (2, digest(1, 7))]), []);
    let turns = log.append(&[(1, digest(2, 7)), (2, digest(2, 7))]);
    assert_eq!(turns, [Turn::Agreed(Index(2), [7; 32])]);
    log.ready(&[1, 2]);
    assert_eq!(log.roll.split(), None);
    // An agreement on a later state ends a split, too.
    assert_eq!(
        log.append(&[(1, digest(3, 8)), (2, digest(3, 7))]),
        [Turn::Split(Index(3))]
    );
    log.append(&[(1, digest(4, 7)), (2, digest(4, 7))]);
    assert_eq!(log.roll.split(), None);
}

/// Whoever stores the second removes the first from the database.
#[test]
fn a_capture_that_was_given_up_does_not_count_any_more() {
    let mut log = Log::new();
    log.ready(&[0, 1]);
    let stored = |index: u64| Payload::Stored {
        index: Index(index),
        digest: [7; 32],
    };
    log.append(&[(0, Payload::Capture { uploader: NodeId(0) })]);
    assert_eq!(log.append(&[(0, stored(2))]), []);
    log.append(&[(0, Payload::Capture { uploader: NodeId(1) })]);
    let turns = log.append(&[(0, digest(2, 7)), (1, digest(2, 7))]);
    assert_eq!(turns, [Turn::Agreed(Index(2), [7; 32])]);
    assert_eq!(log.append(&[(0, stored(2))]), []);
    log.append(&[(0, digest(4, 7)), (1, digest(4, 7))]);
    assert_eq!(log.append(&[(1, stored(4))]), [Turn::Stored(Index(4))]);
}

#[test]
fn a_node_that_left_is_not_waited_for() {
    let mut log = Log::new();
    log.ready(&[0, 1, 2]);
    log.append(&[(0, digest(1, 7))]);
    assert_eq!(log.roll.agreed(), None);
    assert_eq!(log.ready(&[0])[1], Turn::Agreed(Index(1), [7; 32]));
    assert_eq!(log.roll.agreed(), Some((Index(1), [7; 32])));
}

#[test]
fn a_vote_on_what_is_yet_to_come_does_not_count() {
    let mut log = Log::new();
    log.ready(&[0]);
    assert_eq!(log.append(&[(0, digest(2, 7))]), [], "its own entry");
    assert_eq!(log.append(&[(0, digest(900, 7))]), []);
    assert_eq!(log.roll.agreed(), None);
}

#[test]
fn an_input_twice_changes_nothing() {
    let mut log = Log::new();
    log.append(&[(0, Payload::Reset)]);
    let before = log.roll.clone();
    let again = Entry::after(&log.last, Term(1), 99, log.last.inputs.clone(), log.last.grant);
    assert_eq!(log.roll.take_in(&again), Err(log.last.inputs[0].id));
    assert_eq!(log.roll, before);
}

#[test]
fn what_is_saved_is_the_same_again() {
    let mut log = Log::new();
    log.ready(&[0, 1]);
    log.append(&[
        (0, digest(1, 7)),
        (1, digest(1, 8)),
        (0, Payload::Capture { uploader: NodeId(1) }),
    ]);
    let bytes = postcard::to_stdvec(&log.roll).unwrap();
    assert_eq!(postcard::from_bytes::<Roll>(&bytes).unwrap(), log.roll);
}

#[test]
fn a_node_is_shown_by_its_newest_vote_that_was_decided_on() {
    let mut log = Log::new();
    log.ready(&[0, 1, 2]);
    let shown = |log: &Log| [0, 1, 2].map(|node| log.roll.agreement(NodeId(node)));
    log.append(&[(0, digest(1, 7))]);
    assert_eq!(shown(&log), [None; 3]);
    assert_eq!(log.roll.vote(NodeId(0)), Some((Index(1), [7; 32])));
    log.append(&[(1, digest(1, 7)), (1, digest(2, 7))]);
    let first = Some(Agreement::Agrees(Index(1)));
    assert_eq!(shown(&log), [first, first, None], "index 2 is open");
    log.append(&[(0, digest(3, 1)), (1, digest(3, 2)), (2, digest(3, 3))]);
    assert_eq!(shown(&log), [Some(Agreement::Split(Index(3))); 3]);
}
