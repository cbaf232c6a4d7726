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
