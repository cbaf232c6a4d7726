//! The bounded table of flows.
//!
//! Invariants, checked again when a saved table is restored:
//! 1. At most `flows_max` flows.
//! 2. Every flow is found by its id, by its name in the world and by its name at the guest, and nothing else is.
//! 3. Every flow is in `idle` once, under its class and the time of its last packet.
//! 4. `visitors` holds the names in the world of exactly the flows that the guest started.
//! 5. `due` is no later than the first deadline. (It may be earlier; it only saves looking.)

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use super::{Class, Endpoint, Ends, Flow, Progress, Side, Transport};
use crate::view::Expected;
use crate::{AgreedTime, DropReason, NodeId};

/// Ports given out when the wanted one is taken: the dynamic ones (RFC 6335 section 6).
const DYNAMIC_PORT_FIRST: u16 = 49152;
const DYNAMIC_PORTS: u16 = u16::MAX - DYNAMIC_PORT_FIRST + 1;

/// So many ports are tried before a flow is refused. Collisions are rare; a stranger who provokes them all on purpose
/// must not make every packet search 16,384 ports.
const PORT_TRIES_MAX: u16 = 128;

/// See the module's documentation.
#[derive(Debug, Clone)]
pub struct Table {
    flows: BTreeMap<u64, Flow>,
    by_world: BTreeMap<Ends, u64>,
    by_guest: BTreeMap<Ends, u64>,
    idle: BTreeSet<(Class, AgreedTime, u64)>,
    visitors: Expected,
    due: AgreedTime,
    next_id: u64,
    flows_max: u32,
}

/// A flow was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Opened {
    /// Its id.
    pub id: u64,
    /// Another flow had to go.
    pub displaced: bool,
}

impl Table {
    /// An empty table.
    pub fn new(flows_max: u32) -> Self {
        Self {
            flows: BTreeMap::new(),
            by_world: BTreeMap::new(),
            by_guest: BTreeMap::new(),
            idle: BTreeSet::new(),
            visitors: Expected::default(),
            due: AgreedTime(u64::MAX),
            next_id: 0,
            flows_max,
        }
    }

    /// The table that held `flows`; `None` if they break an invariant.
    pub fn from_flows(flows_max: u32, next_id: u64, flows: Vec<Flow>) -> Option<Self> {
        if flows.len() > flows_max as usize {
            return None;
        }
        let mut table = Self::new(flows_max);
        table.next_id = next_id;
        for flow in flows {
            let taken = table.flows.contains_key(&flow.id)
                || table.by_world.contains_key(&flow.world)
                || table.by_guest.contains_key(&flow.guest);
            if taken || flow.id >= next_id {
                return None;
            }
            table.insert(flow);
        }
        Some(table)
    }

    /// All flows, by id.
    pub fn flows(&self) -> impl Iterator<Item = &Flow> {
        self.flows.values()
    }

    /// How many flows there are.
    pub fn count(&self) -> usize {
        self.flows.len()
    }

    /// The id the next flow gets.
    pub fn next_id(&self) -> u64 {
        self.next_id
    }

    /// Names in the world of the flows that the guest started.
    pub fn visitors(&self) -> &Expected {
        &self.visitors
    }

    /// The flow of this id.
    pub fn get(&self, id: u64) -> Option<&Flow> {
        self.flows.get(&id)
    }

    /// The flow that the world knows by `name`.
    pub fn by_world(&self, name: &Ends) -> Option<&Flow> {
        self.by_world
            .get(name)
            .map(|id| self.flows.get(id).expect("invariant 2: an index names a flow"))
    }

    /// The flow that the guest knows by `name`.
    pub fn by_guest(&self, name: &Ends) -> Option<&Flow> {
        self.by_guest
            .get(name)
            .map(|id| self.flows.get(id).expect("invariant 2: an index names a flow"))
    }

    /// Opens a flow that the world starts under the name `world` (not in the table) with the guest at `guest`.
    pub fn open_from_world(
        &mut self,
        world: Ends,
        guest: Ipv4Addr,
        owner: NodeId,
        now: AgreedTime,
    ) -> Result<Opened, DropReason> {
        let mut name = world;
        name.local.address = guest;
        if self.by_guest.contains_key(&name) {
            name = dynamic_ports(&world)
                .map(|port| Ends {
                    peer: Endpoint { port, ..name.peer },
                    ..name
                })
                .find(|name| !self.by_guest.contains_key(name))
                .ok_or(DropReason::TableFull)?;
        }
        self.open(world, name, Side::World, Some(owner), now)
    }

    /// Opens a flow that the guest starts under the name `guest` (not in the table); it leaves from the address
    /// `external`, never from a port for which `is_forwarded` says yes unless that is the guest's own port.
    pub fn open_from_guest(
        &mut self,
        guest: Ends,
        external: Ipv4Addr,
        is_forwarded: impl Fn(u16) -> bool,
        now: AgreedTime,
    ) -> Result<Opened, DropReason> {
        let mut name = guest;
        name.local.address = external;
        if self.by_world.contains_key(&name) {
            name = dynamic_ports(&guest)
                .filter(|&port| !is_forwarded(port))
                .map(|port| Ends {
                    local: Endpoint { port, ..name.local },
                    ..name
                })
                .find(|name| !self.by_world.contains_key(name))
                .ok_or(DropReason::TableFull)?;
        }
        self.open(name, guest, Side::Guest, None, now)
    }

    fn open(
        &mut self,
        world: Ends,
        guest: Ends,
        started: Side,
        owner: Option<NodeId>,
        now: AgreedTime,
    ) -> Result<Opened, DropReason> {
        let displaced = self.flows.len() >= self.flows_max as usize;
        if displaced {
            self.displace()?;
        }
        let progress = match world.transport {
            Transport::Tcp => Progress::Tcp(super::Phase::Opening),
            Transport::Udp => Progress::Udp { answered: false },
            Transport::EchoToGuest | Transport::EchoToWorld => Progress::Echo,
        };
        let id = self.next_id;
        self.next_id += 1;
        self.insert(Flow {
            id,
            world,
            guest,
            started,
            owner,
            progress,
            last: now,
        });
        Ok(Opened { id, displaced })
    }

    /// A packet of flow `id` passed at `now`.
    pub fn touch(&mut self, id: u64, progress: Progress, owner: Option<NodeId>, now: AgreedTime) {
        let flow = self.flows.get_mut(&id).expect("the caller has just found this flow");
        let before = (Class::of(flow), flow.last, id);
        flow.progress = progress;
        flow.owner = owner.or(flow.owner);
        flow.last = now;
        let after = (Class::of(flow), flow.last, id);
        if before != after {
            self.idle.remove(&before);
            self.idle.insert(after);
            self.due = self.due.min(after.0.deadline(now));
        }
    }

    /// Removes the flows that are idle for too long at `now`; returns how many.
    pub fn expire(&mut self, now: AgreedTime) -> u64 {
        if now < self.due {
            return 0;
        }
        let mut expired = 0;
        self.due = AgreedTime(u64::MAX);
        for class in Class::ALL {
            while let Some((last, id)) = self.oldest(class) {
                let deadline = class.deadline(last);
                if now < deadline {
                    self.due = self.due.min(deadline);
                    break;
                }
                self.remove(id);
                expired += 1;
            }
        }
        expired
    }

    /// Removes the flow that may go first.
    fn displace(&mut self) -> Result<(), DropReason> {
        let candidates = Class::DISPLACED
            .iter()
            .find_map(|group| group.iter().filter_map(|&class| self.oldest(class)).min());
        let (_, id) = candidates.ok_or(DropReason::TableFull)?;
        self.remove(id);
        Ok(())
    }

    /// Of a class, the flow that is idle for longest, and since when.
    fn oldest(&self, class: Class) -> Option<(AgreedTime, u64)> {
        let all = (class, AgreedTime(0), 0)..=(class, AgreedTime(u64::MAX), u64::MAX);
        self.idle.range(all).next().map(|&(_, last, id)| (last, id))
    }

    fn insert(&mut self, flow: Flow) {
        let class = Class::of(&flow);
        self.due = self.due.min(class.deadline(flow.last));
        self.idle.insert((class, flow.last, flow.id));
        self.by_world.insert(flow.world, flow.id);
        self.by_guest.insert(flow.guest, flow.id);
        if flow.started == Side::Guest {
            self.visitors.insert(flow.world);
        }
        self.flows.insert(flow.id, flow);
    }

    fn remove(&mut self, id: u64) {
        let flow = self.flows.remove(&id).expect("invariant 3: idle names flows");
        self.idle.remove(&(Class::of(&flow), flow.last, id));
        self.by_world.remove(&flow.world);
        self.by_guest.remove(&flow.guest);
        if flow.started == Side::Guest {
            self.visitors.remove(&flow.world);
        }
    }
}

/// Ports to try for a flow, in an order that depends on its name alone.
fn dynamic_ports(name: &Ends) -> impl Iterator<Item = u16> {
    let [a, b, c, d] = name.local.address.octets();
    let seed =
        name.peer.port ^ name.local.port ^ u16::from_be_bytes([a, b]) ^ u16::from_be_bytes([c, d]).rotate_left(5);
    let first = seed % DYNAMIC_PORTS;
    (0..PORT_TRIES_MAX).map(move |step| DYNAMIC_PORT_FIRST + (first + step) % DYNAMIC_PORTS)
}
