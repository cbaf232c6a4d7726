//! Checkpoints at random against a model that keeps each of them whole: what is kept reads back exactly, whatever was
//! given up, stored by somebody else, or removed.

use std::collections::BTreeMap;

use quorate::checkpoint::{AGREED, Store};
use quorate::log::{AnyLog, Index};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::{agreed, header, put, read};
use crate::suite;

/// Blocks by (space, number).
type Blocks = BTreeMap<(i64, i64), u8>;

/// The true machine, and what it was at each checkpoint that is kept.
#[derive(Default)]
struct Model {
    now: Blocks,
    /// Since the newest checkpoint that is agreed on.
    changed: Blocks,
    kept: BTreeMap<u64, Blocks>,
}

impl Model {
    fn change(&mut self, dice: &mut StdRng) {
        for _ in 0..dice.random_range(0..6) {
            let place = (dice.random_range(-1..2), dice.random_range(0..5));
            let value = dice.random_range(0..6);
            self.now.insert(place, value);
            self.changed.insert(place, value);
        }
    }

    fn agree(&mut self, index: u64) {
        self.kept.insert(index, self.now.clone());
        self.changed.clear();
    }
}

/// Several runs; each failure names its seed.
pub async fn what_is_read_is_what_was_stored(place: &suite::Place) {
    for seed in 0..4 {
        let machine = format!("model-{seed}");
        let stores = [place.begun(&machine).await, place.open(&machine).await];
        run(&stores, &mut StdRng::seed_from_u64(seed), &format!("seed {seed}")).await;
    }
}

async fn run(stores: &[AnyLog; 2], dice: &mut StdRng, seed: &str) {
    let mut model = Model::default();
    for step in 1..40 {
        let store = &stores[dice.random_range(0..2)];
        let index = step * 10;
        model.change(dice);
        let base = model.kept.keys().last().copied();
        let blocks: Vec<(i64, i64, u8)> = model
            .changed
            .iter()
            .map(|((space, number), value)| (*space, *number, *value))
            .collect();
        // Most are stored to the end; some are given up, early or late.
        let calls = if dice.random_ratio(1, 3) {
            dice.random_range(0..3)
        } else {
            3
        };
        let begun = store.begin(&header(index, blocks.len()), base.map(Index)).await;
        assert_eq!(begun, Ok(true), "{seed}, step {step}");
        if calls > 0 {
            assert!(put(store, index, &blocks).await, "{seed}, step {step}");
        }
        if calls > 1 {
            assert_eq!(store.raise(Index(index), 1).await, Ok(true), "{seed}, step {step}");
        }
        if calls > 2 {
            assert_eq!(store.raise(Index(index), AGREED).await, Ok(true));
            model.agree(index);
        }
        if dice.random_ratio(1, 4) {
            let count = model.kept.len();
            if let Some(oldest) = model.kept.keys().copied().nth(dice.random_range(0..count.max(1))) {
                while store.retire(Index(oldest)).await.unwrap() {}
                model.kept = model.kept.split_off(&oldest);
            }
        }
        compare(
            &model,
            &stores[dice.random_range(0..2)],
            dice,
            &format!("{seed}, step {step}"),
        )
        .await;
    }
}

async fn compare(model: &Model, store: &AnyLog, dice: &mut StdRng, at: &str) {
    let kept: Vec<u64> = model.kept.keys().copied().collect();
    assert_eq!(agreed(store).await, kept, "{at}");
    for (index, blocks) in &model.kept {
        let found = read(store, *index, dice.random_range(1..9)).await;
        let found: Blocks = found
            .into_iter()
            .map(|(space, number, value)| ((space, number), value))
            .collect();
        assert_eq!(found, *blocks, "{at}: the checkpoint at {index}");
    }
}
