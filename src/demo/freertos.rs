//! The demo of the microcontroller: one TCP connection to the guest's echo service that a node's death must not break.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::time::{Duration, Instant};

use super::client::{Conversation, Pace, Transcript, get};
use super::cluster::{self, Cluster};
use super::report::{Digests, Outcome};
use super::story::Story;
use super::topology::{EXTERNAL, node};
use super::{DemoError, Ending, Options, Victim, io_error, role, start, victim};

/// The guest needs about a second to boot and take an address.
const GUEST_PATIENCE: Duration = Duration::from_secs(20);
/// How long the client talks before the fault, and after it.
const TALK_BEFORE: Duration = Duration::from_secs(3);
const TALK_AFTER: Duration = Duration::from_secs(5);
/// A message of the conversation, and how often one is sent.
const MESSAGE_BYTES: usize = 256;
const MESSAGE_EVERY: Duration = Duration::from_millis(5);

/// Tells the story.
pub(super) fn run(options: &Options, firmware: &Path, story: &Story) -> Result<Ending, DemoError> {
    story.say(&format!(
        "One guest (FreeRTOS + lwIP on a Cortex-M0) on {} nodes, each in its own network namespace:",
        options.nodes
    ));
    story.say("  client - router - node0, node1, ...   the guest answers at 203.0.113.10 behind every node");
    let mut cluster = start(options, cluster::firmware(firmware), String::new(), story)?;
    wait_answering(&cluster, story)?;
    let outcome = converse(options, &mut cluster, story)?;
    story.finish(&outcome.json(), &outcome.table(), &outcome.verdict());
    if options.keep {
        story.keep(&cluster, &format!("curl -s http://{EXTERNAL}/status.json"));
    }
    Ok(Ending {
        held: outcome.held(),
        digests_equal: outcome.digests.equal(),
        verdict: outcome.verdict(),
    })
}

fn wait_answering(cluster: &Cluster, story: &Story) -> Result<(), DemoError> {
    let step = story.step("the guest boots");
    let guest = SocketAddr::new(IpAddr::V4(EXTERNAL), 80);
    let mut page = None;
    cluster.wait_for("the guest to answer HTTP", GUEST_PATIENCE, || {
        page = get(guest, "/status.json").ok();
        page.is_some()
    })?;
    let status: serde_json::Value = page
        .and_then(|(_, body)| serde_json::from_slice(&body).ok())
        .unwrap_or_default();
    step.done(&format!(
        "http://{EXTERNAL}/status.json says: up for {} ms, boot id {}",
        status["uptime_ms"], status["boot_id"]
    ));
    Ok(())
}

fn converse(options: &Options, cluster: &mut Cluster, story: &Story) -> Result<Outcome, DemoError> {
    let echo = SocketAddr::new(IpAddr::V4(EXTERNAL), 7);
    let conversation = Conversation::start(echo, MESSAGE_BYTES, Pace::Every(MESSAGE_EVERY))
        .map_err(io_error("connect to the guest"))?;
    story.say(&format!(
        "client {} opens one TCP connection to {echo} and checks every byte that comes back",
        conversation.local()
    ));
    talk(&conversation, TALK_BEFORE, story);
    let victim = victim(options.kill, cluster);
    let append_p50_us = cluster
        .sequencer()
        .and_then(|index| cluster.status(index))
        .map(|status| status.append_p50_us);
    let struck = victim.map(|index| {
        story.say(&format!("kill -9 {} (the {})", node(index), role(options.kill)));
        cluster.kill(index)
    });
    talk(&conversation, TALK_AFTER, story);
    let transcript = conversation.finish();
    let running = cluster.running();
    let digests = cluster.digests(&running)?;
    if let Some(index) = cluster.sequencer().filter(|_| struck.is_some()) {
        story.say(&format!("{} sequences the log now", node(index)));
    }
    Ok(outcome(
        options,
        victim,
        struck,
        &transcript,
        append_p50_us,
        &running,
        digests,
    ))
}

fn talk(conversation: &Conversation, time: Duration, story: &Story) {
    let start = Instant::now();
    let bar = story.bar(time);
    while start.elapsed() < time && conversation.alive() {
        bar.set_position(u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX));
        bar.set_message(format!("{} messages echoed", conversation.echoes()));
        std::thread::sleep(Duration::from_millis(50));
    }
    bar.finish_and_clear();
    story.say(&format!("  {} messages echoed so far", conversation.echoes()));
}

fn outcome(
    options: &Options,
    victim: Option<usize>,
    struck: Option<Instant>,
    transcript: &Transcript,
    append_p50_us: Option<u64>,
    survivors: &[usize],
    digests: Vec<(u64, String)>,
) -> Outcome {
    let echo = transcript.round_trips(struck);
    Outcome {
        guest: "freertos".into(),
        nodes: options.nodes,
        killed: victim.map(|index| (node(index), role(options.kill).to_owned())),
        kill_asked: options.kill != Victim::None,
        same_connection: transcript.broken.is_none() && !transcript.echoes.is_empty(),
        broken: transcript.broken.clone(),
        bytes_sent: transcript.bytes_sent,
        bytes_echoed: transcript.bytes_intact,
        bytes_lost: transcript.bytes_lost(),
        longest_gap: transcript.longest_gap(struck),
        append_p50_us,
        echo_p50: echo.map(|(median, _)| median),
        echo_p99: echo.map(|(_, worst)| worst),
        digests: Digests::of(survivors.iter().map(|&index| node(index)), digests),
    }
}
