//! The demos of Debian: a client does transactions on one TCP connection while one node after the other dies. In the end
//! everything the guest acknowledged must be there, exactly once.

use std::io::{self, Read};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::cluster::Cluster;
use super::debian::{Boot, Console, Debian};
use super::mail::{BUCKET, maildir, once};
use super::report::{Digests, Tally};
use super::s3::S3;
use super::story::Story;
use super::topology::{EXTERNAL, node};
use super::transactions::{Client, LDAP, MAIL, Said, Transcript};
use super::{DemoError, Ending, Machine, Options, Victim, io_error, role, start, victim};
use crate::admin;

/// A cold boot on three nodes that share a few processors.
const BOOT_PATIENCE: Duration = Duration::from_secs(300);
/// How long the client works before, between and after the faults.
const WORK: Duration = Duration::from_secs(6);
/// A node that was killed is started again and replays the log.
const RETURN_PATIENCE: Duration = Duration::from_secs(120);

/// Which service is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// The directory.
    Ldap,
    /// Mail, with an upload of each message to a server outside.
    Mail,
}

/// Tells the story.
pub(super) fn run(options: &Options, machine: &Machine, kind: Kind, story: &Story) -> Result<Ending, DemoError> {
    let debian = Debian::load(&machine.description)?;
    story.say(&format!(
        "One guest (Debian 12 on an ARM Cortex-A53) on {} nodes, each in its own network namespace:",
        options.nodes
    ));
    story.say("  client - router - node0, node1, ...   the guest answers at 203.0.113.10 behind every node");
    let saved = match machine.cold {
        true => None,
        false => Some(saved(&debian, story)?),
    };
    let guest = debian.settings(Boot::Services, saved.as_deref());
    let mut cluster = start(options, guest, Debian::network_settings(), story)?;
    if machine.cold {
        watch_boot(&cluster, &debian, story)?;
    }
    let server = match kind {
        Kind::Mail => {
            let server = S3::start(&machine.python).map_err(io_error("start the S3 server"))?;
            story.say("an S3 server runs on the client's host: the guest uploads each message before it accepts it");
            Some(server)
        }
        Kind::Ldap => None,
    };
    let stage = Stage {
        options,
        machine,
        kind,
        debian: &debian,
        story,
    };
    let tally = stage.play(&mut cluster, server.as_ref())?;
    story.finish(&tally.json(), &tally.table(), &tally.verdict());
    if options.keep {
        story.keep(
            &cluster,
            &format!("ldapsearch -x -H ldap://{EXTERNAL} -b dc=example,dc=org -s base"),
        );
    }
    Ok(Ending {
        held: tally.held(),
        digests_equal: tally.digests.equal(),
        verdict: tally.verdict(),
    })
}

/// The machine that was booted before; boots it now if there is none.
fn saved(debian: &Debian, story: &Story) -> Result<PathBuf, DemoError> {
    let step = story.step("booting the guest once, to go on from there every time");
    let phases = debian.phases().len();
    let mut booted = false;
    let path = debian.booted(&mut |reached, line| {
        booted = true;
        step.set_message(format!("booting the guest once: {} %  {line}", 100 * reached / phases));
    })?;
    step.done(match booted {
        true => "the guest was booted by itself and saved; every node goes on from there",
        false => "every node goes on from a guest that was booted before (--cold boots it on the cluster)",
    });
    Ok(path)
}

/// Shows how far the boot is, from the console of the first node.
fn watch_boot(cluster: &Cluster, debian: &Debian, story: &Story) -> Result<(), DemoError> {
    let client = admin::Client::connect(&cluster.admin_socket(0)).and_then(admin::Client::console);
    let mut feed = client.map_err(|error| io_error("open the guest's console")(io::Error::other(error)))?;
    let mut bytes = vec![0; 4096];
    let step = story.step("the guest boots");
    let mut console = Console::new(debian.phases());
    let (began, phases) = (Instant::now(), debian.phases().len());
    let mut reached = 0;
    while !console.done() {
        let length = feed.read(&mut bytes).map_err(io_error("read the guest's console"))?;
        if length == 0 {
            return Err(io_error("read the guest's console")(
                io::ErrorKind::UnexpectedEof.into(),
            ));
        }
        console.take_in(&bytes[..length]);
        if console.reached() > reached {
            reached = console.reached();
            story.say(&format!("  {:3} %  {}", 100 * reached / phases, console.last_line()));
        }
        step.set_message(format!(
            "the guest boots: {} %  {}",
            100 * reached / phases,
            console.last_line()
        ));
        if began.elapsed() > BOOT_PATIENCE {
            let late = format!("the guest did not boot in {} s", BOOT_PATIENCE.as_secs());
            return Err(io_error("wait for the guest")(io::Error::other(late)));
        }
    }
    step.done(&format!(
        "the guest has booted in {:.1} s",
        began.elapsed().as_secs_f64()
    ));
    Ok(())
}

/// What the story is told with.
struct Stage<'a> {
    options: &'a Options,
    machine: &'a Machine,
    kind: Kind,
    debian: &'a Debian,
    story: &'a Story,
}

impl Stage<'_> {
    fn play(&self, cluster: &mut Cluster, server: Option<&S3>) -> Result<Tally, DemoError> {
        let client = self.client().map_err(io_error("start the client"))?;
        self.wait_connected(cluster, &client)?;
        self.work(&client);
        let status = cluster.sequencer().and_then(|index| cluster.status(index));
        let mut killed = Vec::new();
        let mut struck = None;
        let kills_asked = if self.options.kill == Victim::None { 0 } else { 2 };
        for round in 0..kills_asked {
            let Some(index) = victim(self.options.kill, cluster) else {
                break;
            };
            let role = role(self.options.kill);
            self.story.say(&format!("kill -9 {} (the {role})", node(index)));
            let at = cluster.kill(index);
            struck = struck.or(Some(at));
            killed.push((node(index), role));
            self.work(&client);
            if round + 1 < kills_asked {
                self.bring_back(cluster, index)?;
                self.work(&client);
            }
        }
        let transcript = client.finish();
        let running = cluster.running();
        let digests = cluster.digests(&running)?;
        self.tally(transcript, server, killed, kills_asked, struck)
            .map(|tally| Tally {
                append_p50_us: status.map(|status| status.append_p50_us),
                digests: Digests::of(running.iter().map(|&index| node(index)), digests),
                ..tally
            })
            .map_err(io_error("look for what was acknowledged"))
    }

    fn client(&self) -> io::Result<Client> {
        let (python, host) = (&self.machine.python, EXTERNAL.to_string());
        match self.kind {
            Kind::Ldap => {
                let directory = self.debian.directory();
                let arguments = [
                    host.as_str(),
                    "389",
                    &directory.suffix,
                    &directory.writable,
                    &directory.admin,
                    &directory.password,
                ];
                Client::start(python, LDAP, &arguments)
            }
            Kind::Mail => Client::start(python, MAIL, &[&host, "25", "a@client.example", "b@example.org"]),
        }
    }

    fn wait_connected(&self, cluster: &Cluster, client: &Client) -> Result<(), DemoError> {
        let mut local = None;
        cluster.wait_for("the client to connect", Duration::from_secs(60), || {
            local = client.said().into_iter().find_map(|(_, said)| match said {
                Said::Connected { local } => Some(local),
                _ => None,
            });
            local.is_some() || !client.alive()
        })?;
        if let Some(local) = local {
            let what = match self.kind {
                Kind::Ldap => "adds, changes and reads entries of the directory",
                Kind::Mail => "sends mail of 10 kB to 5 MB, slowly",
            };
            self.story.say(&format!(
                "client {local} opens one TCP connection to {EXTERNAL} and {what}"
            ));
        }
        Ok(())
    }

    fn work(&self, client: &Client) {
        let start = Instant::now();
        let bar = self.story.bar(WORK);
        while start.elapsed() < WORK && client.alive() {
            bar.set_position(u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX));
            bar.set_message(format!("{} transactions done", client.done()));
            std::thread::sleep(Duration::from_millis(50));
        }
        bar.finish_and_clear();
        self.story.say(&format!("  {} transactions done so far", client.done()));
    }

    fn bring_back(&self, cluster: &mut Cluster, index: usize) -> Result<(), DemoError> {
        let (began, step) = (Instant::now(), self.story.step("the node comes back"));
        cluster.start_node(index)?;
        cluster.wait_ready(RETURN_PATIENCE)?;
        step.done(&format!(
            "{} is back after {:.1} s, {} sequences the log",
            node(index),
            began.elapsed().as_secs_f64(),
            cluster.sequencer().map_or("nobody".into(), node)
        ));
        Ok(())
    }

    /// Counts what was acknowledged, and looks for it.
    fn tally(
        &self,
        transcript: Transcript,
        server: Option<&S3>,
        killed: Vec<(String, &'static str)>,
        kills_asked: usize,
        struck: Option<Instant>,
    ) -> io::Result<Tally> {
        let (transactions, acknowledged, found) = transcript.counts();
        let refused = transcript
            .said
            .iter()
            .filter(|(_, said)| matches!(said, Said::Refused { .. }))
            .count();
        let (found, uploaded) = match server {
            None => (found.unwrap_or_default(), None),
            Some(server) => {
                let objects = server.objects(&self.machine.python, BUCKET)?;
                let objects = objects.into_iter().map(|object| object.sha256);
                let kept = maildir(&self.debian.ssh_key())?;
                (once(&transcript, kept), Some(once(&transcript, objects)))
            }
        };
        Ok(Tally {
            guest: match self.kind {
                Kind::Ldap => "ldap",
                Kind::Mail => "mail",
            },
            nodes: self.options.nodes,
            killed,
            kills_asked,
            transactions,
            refused: refused as u64,
            acknowledged,
            found,
            uploaded,
            broken: transcript.broken(),
            longest_gap: transcript.longest_gap(struck),
            append_p50_us: None,
            transaction_ms: transcript.times_ms(struck),
            digests: Digests::default(),
        })
    }
}
