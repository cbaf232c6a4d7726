//! The invariants can fail: each broken variant is noticed, by the invariant that is there for it.

use crate::run;
use crate::world::Mutation;

/// Within so many seeds.
const SEEDS: u64 = 30;

/// Seeds until `mutation` breaks `invariant`.
fn notices(mutation: Mutation, invariant: &str) {
    let mut others = Vec::new();
    for seed in 0..SEEDS {
        match run(seed, mutation, false) {
            Err(failure) if failure.violation.invariant == invariant => return,
            Err(failure) => others.push(failure.violation),
            Ok(_) => {}
        }
    }
    panic!("{mutation:?} does not break \"{invariant}\" in {SEEDS} seeds; others: {others:?}");
}

#[test]
fn a_store_without_fencing_splits_the_history() {
    notices(Mutation::Unfenced, "one history");
}

#[test]
fn skipping_a_hole_is_noticed() {
    notices(Mutation::SkipsHole, "execution order");
}

#[test]
fn executing_before_the_commit_is_noticed() {
    notices(Mutation::ExecutesUncommitted, "execution order");
}

#[test]
fn a_machine_that_differs_is_noticed() {
    notices(Mutation::Diverges, "equal digests");
}

#[test]
fn an_output_of_a_node_that_is_not_ready_is_noticed() {
    notices(Mutation::EmitsUnready, "outputs");
}

#[test]
fn an_incarnation_used_twice_is_noticed() {
    notices(Mutation::ForgetsIncarnation, "no node stops itself");
}

#[test]
fn a_healthy_node_that_is_put_out_is_noticed() {
    notices(Mutation::VotesWrongly, "healthy nodes stay");
}

#[test]
fn a_bit_that_nobody_finds_is_noticed() {
    notices(Mutation::NeverVotes, "found in time");
}

#[test]
fn an_evicted_node_that_goes_on_is_noticed() {
    notices(Mutation::IgnoresEviction, "evicted nodes are silent");
}

#[test]
fn a_guest_that_is_not_the_checkpoints_is_noticed() {
    notices(Mutation::LoadsAnother, "loaded checkpoints");
}

#[test]
fn a_checkpoint_that_is_removed_too_early_is_noticed() {
    notices(Mutation::RetiresTooMuch, "kept checkpoints");
}

#[test]
fn entries_that_are_removed_too_early_are_noticed() {
    notices(Mutation::TrimsTooFar, "kept entries");
}
