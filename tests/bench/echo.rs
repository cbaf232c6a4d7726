//! What a message costs on its way: client, router, TAP, translation, log, guest, and back.

use std::time::Duration;

use quorate::demo::client::{Conversation, Pace};

use crate::lab::{Lab, Setup, StoreKind, guest};
use crate::{Bound, Figures, apart, key};

/// A small message, and how many.
const MESSAGE_BYTES: usize = 64;
const MESSAGES: u64 = 3000;

pub fn measure(figures: &mut Figures) {
    for store in [StoreKind::Postgres, StoreKind::Sqlite] {
        apart(|| on(store, figures));
    }
}

fn on(store: StoreKind, figures: &mut Figures) {
    let lab = Lab::start(&Setup::on(store)).expect("the benchmarks need root and PostgreSQL");
    let sequencer = lab.sequencer();
    let conversation = Conversation::start(guest(7), MESSAGE_BYTES, Pace::WhenBack).expect("the guest answers");
    lab.cluster
        .wait_for("the conversation", Duration::from_secs(60), || {
            conversation.echoes() > MESSAGES
        })
        .expect("a message takes some milliseconds at most");
    let status = lab.cluster.status(sequencer).expect("the sequencer answers");
    let (p50, p99) = conversation.finish().round_trips(None).expect("messages came back");
    let append = status.append_p50_us as f64 / 1000.0;
    let append_p99 = status.append_p99_us as f64 / 1000.0;
    figures.add(
        &key(store, "append_p50_ms"),
        append,
        Bound::Note("request to answer, on the sequencer"),
    );
    figures.add(
        &key(store, "append_p99_ms"),
        append_p99,
        Bound::Note("what the store adds to the echo's tail"),
    );
    figures.add(&key(store, "echo_p50_ms"), ms(p50), Bound::AtMost(append + 1.0));
    figures.add(&key(store, "echo_p99_ms"), ms(p99), Bound::AtMost(5.0));
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}
