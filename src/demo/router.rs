//! What anycast routing does for the demo and the tests: send the guest's address to the best node that offers it.
//!
//! Production uses BGP with `check link yes` on the TAP: the route is there while the TAP has carrier. Here a thread
//! looks at each node's TAP and uplink every few milliseconds and changes one route.

use std::io::{self, Write};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use netbridge::LinkWatch;

use super::topology::{EXTERNAL, TAP, UPLINK, inside, node, spawn, uplink_address};

/// How often the links are looked at: a routing protocol notices a lost link within some 10 ms.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// Where the guest's address points, and since when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Route {
    /// The node; `None`: no node offers the address.
    pub node: Option<usize>,
    /// When the route was set.
    pub since: Instant,
}

#[derive(Debug)]
struct Shared {
    stop: AtomicBool,
    route: Mutex<Route>,
    /// Which nodes may be chosen, best first.
    preference: Mutex<Vec<usize>>,
}

/// The routing daemon; stops when dropped.
#[derive(Debug)]
pub struct Router {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Router {
    /// Start routing; `preference` lists the nodes, best first.
    ///
    /// # Errors
    /// `ip` cannot be started, or a link cannot be looked at.
    pub fn start(preference: Vec<usize>) -> io::Result<Router> {
        let watches = preference
            .iter()
            .map(|&index| inside(&node(index), LinkWatch::new).map(|watch| (index, watch)));
        let watches = watches.collect::<io::Result<Vec<_>>>()?;
        let mut command = Command::new("ip");
        let ip = spawn(
            "router",
            command
                .args(["-force", "-batch", "-"])
                .stdin(Stdio::piped())
                .stderr(Stdio::null()),
        )?;
        let route = Mutex::new(Route {
            node: None,
            since: Instant::now(),
        });
        let shared = Arc::new(Shared {
            stop: AtomicBool::new(false),
            route,
            preference: Mutex::new(preference),
        });
        let thread = std::thread::Builder::new().name("router".into()).spawn({
            let shared = Arc::clone(&shared);
            move || run(&shared, &watches, ip)
        })?;
        Ok(Router {
            shared,
            thread: Some(thread),
        })
    }

    /// Where the guest's address points now.
    ///
    /// # Panics
    /// The routing thread panicked.
    #[must_use]
    pub fn route(&self) -> Route {
        *self
            .shared
            .route
            .lock()
            .expect("the routing thread does not panic while it holds the lock")
    }

    /// Prefer other nodes from now on, best first; nodes left out are never chosen.
    ///
    /// # Panics
    /// The routing thread panicked.
    pub fn prefer(&self, preference: Vec<usize>) {
        *self
            .shared
            .preference
            .lock()
            .expect("the routing thread does not panic while it holds the lock") = preference;
    }
}

impl Drop for Router {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn run(shared: &Shared, watches: &[(usize, LinkWatch)], mut ip: Child) {
    let mut batch = ip.stdin.take().expect("stdin was piped");
    let offers = |index: usize| {
        let watch = watches.iter().find(|(of, _)| *of == index);
        watch.is_some_and(|(_, watch)| [TAP, UPLINK].iter().all(|link| watch.is_up(link).unwrap_or(false)))
    };
    while !shared.stop.load(Ordering::Relaxed) {
        let preference = shared.preference.lock().expect("nobody panics with the lock").clone();
        let best = preference.into_iter().find(|&index| offers(index));
        let mut route = shared.route.lock().expect("nobody panics with the lock");
        if best != route.node {
            let line = match best {
                Some(index) => format!("route replace {EXTERNAL}/32 via {}\n", uplink_address(index)),
                None => format!("route replace unreachable {EXTERNAL}/32\n"),
            };
            if batch.write_all(line.as_bytes()).and_then(|()| batch.flush()).is_err() {
                break;
            }
            *route = Route {
                node: best,
                since: Instant::now(),
            };
        }
        drop(route);
        std::thread::sleep(LOOK_EVERY);
    }
    drop(batch);
    let _ = ip.wait();
}
