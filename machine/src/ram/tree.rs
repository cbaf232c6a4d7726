//! What memory holds, as a hash that is cheap to keep current.
//!
//! Each page has a hash, each [`GROUP_PAGES`] pages have one over theirs, and the memory has one over those. Pages of
//! zeroes have none: memory that was never written costs nothing, and how it came to be zero cannot be seen. [`Tree`]
//! keeps the hashes and computes again only those of pages that changed; [`root`] computes all of it from the contents. Both
//! give the same.

use super::{Changes, PAGE_BYTES, Ram, is_zero};
use crate::Digest;

/// Pages that share a hash.
const GROUP_PAGES: usize = 16;
/// Stands for the hash of a page of zeroes.
const ZERO_PAGE: Digest = [0; 32];
/// Begins what a memory's hash is made from, so that no other hash of ours is over the same bytes.
const TAG: &[u8] = b"quorate memory 1";

/// A point in a memory's history: see [`Tree::mark`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mark(u32);

/// The hashes of one block of memory, and when each page last changed.
pub struct Tree {
    changes: Changes,
    pages: Vec<Digest>,
    /// What pages that are found changed now are marked with.
    now: u32,
    changed: Vec<u32>,
    groups: Vec<Option<Digest>>,
}

impl Tree {
    /// Nothing is known of `ram` yet: the first [`Tree::update`] looks at all of it.
    pub fn new(ram: &Ram) -> Self {
        Self::with(Changes::new(ram), ram)
    }

    /// With another way to find changes.
    pub fn with(changes: Changes, ram: &Ram) -> Self {
        let pages = ram.bytes().len() / PAGE_BYTES;
        Tree {
            changes,
            pages: vec![ZERO_PAGE; pages],
            now: 0,
            changed: vec![0; pages],
            groups: vec![None; pages.div_ceil(GROUP_PAGES)],
        }
    }

    /// Takes in what changed since the last time.
    pub fn update(&mut self, ram: &Ram) {
        let mut group_changed = None;
        for number in self.changes.take(ram).into_iter().flatten() {
            let hash = page_hash(&ram.bytes()[number * PAGE_BYTES..][..PAGE_BYTES]);
            if self.pages[number] == hash {
                continue;
            }
            self.pages[number] = hash;
            self.changed[number] = self.now;
            let group = number / GROUP_PAGES;
            if let Some(before) = group_changed.replace(group).filter(|before| *before != group) {
                self.hash_group(before);
            }
        }
        if let Some(group) = group_changed {
            self.hash_group(group);
        }
    }

    /// A mark of this moment: [`Tree::changed_since`] gives what is found changed by later updates. Marks are this tree's
    /// own.
    pub fn mark(&mut self) -> Mark {
        self.now += 1;
        Mark(self.now)
    }

    /// The pages that changed after `mark` (`None`: that ever held anything), as of the last update, ascending: their
    /// numbers, and their hashes; `None` for pages of zeroes.
    pub fn changed_since(&self, mark: Option<Mark>) -> impl Iterator<Item = (usize, Option<&Digest>)> {
        let hash = |number: usize| Some(&self.pages[number]).filter(|hash| **hash != ZERO_PAGE);
        let changed = move |number: &usize| match mark {
            Some(mark) => self.changed[*number] >= mark.0,
            None => self.pages[*number] != ZERO_PAGE,
        };
        (0..self.pages.len())
            .filter(changed)
            .map(move |number| (number, hash(number)))
    }

    /// The hash of the memory as of the last update.
    pub fn root(&self) -> Digest {
        let mut hasher = blake3::Hasher::new();
        hasher.update(TAG);
        for (number, group) in (0_u64..).zip(&self.groups) {
            if let Some(hash) = group {
                hasher.update(&number.to_le_bytes()).update(hash);
            }
        }
        hasher.finalize().into()
    }

    fn hash_group(&mut self, group: usize) {
        let first = group * GROUP_PAGES;
        let last = (first + GROUP_PAGES).min(self.pages.len());
        let pages = (first..last).map(|number| (number, self.pages[number]));
        self.groups[group] = group_hash(pages.filter(|(_, hash)| *hash != ZERO_PAGE));
    }
}

/// The hash of the memory, from its contents alone.
pub fn root(ram: &Ram) -> Digest {
    let mut hasher = blake3::Hasher::new();
    hasher.update(TAG);
    let pages: Vec<_> = ram
        .nonzero_pages()
        .map(|(number, page)| (number, page_hash(page)))
        .collect();
    for group in pages.chunk_by(|(a, _), (b, _)| a / GROUP_PAGES == b / GROUP_PAGES) {
        let number = (group[0].0 / GROUP_PAGES) as u64;
        let hash = group_hash(group.iter().copied()).expect("there are pages in it");
        hasher.update(&number.to_le_bytes()).update(&hash);
    }
    hasher.finalize().into()
}

/// The hash of one page; [`ZERO_PAGE`] if it is all zero.
fn page_hash(page: &[u8]) -> Digest {
    if is_zero(page) {
        ZERO_PAGE
    } else {
        blake3::hash(page).into()
    }
}

/// The hash over those of the pages of a group that hold something; `None` if none does.
fn group_hash(pages: impl Iterator<Item = (usize, Digest)>) -> Option<Digest> {
    let mut hasher = blake3::Hasher::new();
    let mut any = false;
    for (number, hash) in pages {
        any = true;
        hasher.update(&[(number % GROUP_PAGES) as u8]).update(&hash);
    }
    any.then(|| hasher.finalize().into())
}

#[cfg(test)]
mod test {
    use super::super::changes::Method;
    use super::*;

    /// A generator of numbers that is good enough to scatter writes (Vigna's xorshift64*).
    fn random(state: &mut u64) -> usize {
        *state ^= *state >> 12;
        *state ^= *state << 25;
        *state ^= *state >> 27;
        (state.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize
    }

    #[test]
    fn kept_current_it_is_what_the_contents_say() {
        for method in [Method::WriteProtect, Method::Look] {
            let mut ram = Ram::new(1000 * PAGE_BYTES);
            let mut tree = Tree::with(Changes::by(method, &ram), &ram);
            let mut seed = 7;
            for round in 0..50 {
                for _ in 0..random(&mut seed) % 40 {
                    let (page, byte) = (random(&mut seed) % 1000, random(&mut seed) % PAGE_BYTES);
                    // Often back to zero, and often the same again.
                    ram.bytes_mut()[page * PAGE_BYTES + byte] = (random(&mut seed) % 3) as u8;
                    if random(&mut seed).is_multiple_of(4) {
                        ram.bytes_mut()[page * PAGE_BYTES..][..PAGE_BYTES].fill(0);
                    }
                }
                tree.update(&ram);
                assert_eq!(tree.root(), root(&ram), "{method:?}, round {round}");
            }
        }
    }

    #[test]
    fn what_changed_since_a_mark_makes_the_later_memory() {
        let mut ram = Ram::new(64 * PAGE_BYTES);
        let mut tree = Tree::new(&ram);
        ram.bytes_mut()[3 * PAGE_BYTES] = 1;
        ram.bytes_mut()[4 * PAGE_BYTES] = 1;
        tree.update(&ram);
        let mark = tree.mark();
        ram.bytes_mut()[3 * PAGE_BYTES] = 0;
        ram.bytes_mut()[9 * PAGE_BYTES] = 2;
        ram.bytes_mut()[4 * PAGE_BYTES] = 1; // as it was
        tree.update(&ram);
        let changed: Vec<_> = tree
            .changed_since(Some(mark))
            .map(|(number, hash)| (number, hash.is_some()))
            .collect();
        assert_eq!(changed, [(3, false), (9, true)]);
        let all: Vec<_> = tree.changed_since(None).map(|(number, _)| number).collect();
        assert_eq!(all, [4, 9]);
        let later = tree.mark();
        assert_eq!(tree.changed_since(Some(later)).count(), 0);
    }

    #[test]
    fn one_bit_anywhere_is_another_memory() {
        let mut ram = Ram::new(40 * PAGE_BYTES);
        let before = root(&ram);
        for place in [0, 17 * PAGE_BYTES + 4095, 40 * PAGE_BYTES - 1] {
            ram.bytes_mut()[place] ^= 0x10;
            assert_ne!(root(&ram), before);
            ram.bytes_mut()[place] ^= 0x10;
        }
        assert_eq!(root(&ram), before);
    }
}
