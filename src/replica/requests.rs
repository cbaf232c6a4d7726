//! Questions to the store that are not answered yet: at most one of each kind.

use super::{Action, LogRequest};

/// Kinds of questions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Rows of the log.
    Tail,
    /// The lease and the head.
    Watch,
    /// Take the lease.
    Take,
    /// Renew it.
    Renew,
    /// Append a row, barriers included.
    Append,
}

impl Kind {
    fn of(request: &LogRequest) -> Kind {
        match request {
            LogRequest::Tail { .. } => Kind::Tail,
            LogRequest::Watch => Kind::Watch,
            LogRequest::Take { .. } => Kind::Take,
            LogRequest::Renew { .. } => Kind::Renew,
            LogRequest::Barrier(_) | LogRequest::Append(_) => Kind::Append,
        }
    }
}

/// A question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Open {
    /// Its tag.
    pub tag: u64,
    /// Its kind.
    pub kind: Kind,
    /// When it was asked (monotonic ns).
    pub asked_at: u64,
}

/// The open questions.
#[derive(Debug, Default)]
pub struct Requests {
    tags: u64,
    open: Vec<Open>,
}

impl Requests {
    /// Whether one of this kind is open.
    #[must_use]
    pub fn is_open(&self, kind: Kind) -> bool {
        self.open.iter().any(|open| open.kind == kind)
    }

    /// Ask.
    ///
    /// # Panics
    /// If one of this kind is open.
    pub fn ask(&mut self, request: LogRequest, now_mono: u64, actions: &mut Vec<Action>) -> u64 {
        let kind = Kind::of(&request);
        assert!(!self.is_open(kind), "two questions of kind {kind:?}");
        self.tags += 1;
        let tag = self.tags;
        self.open.push(Open {
            tag,
            kind,
            asked_at: now_mono,
        });
        actions.push(Action::Log(tag, request));
        tag
    }

    /// The answer to `tag` came: the question, unless it was answered before.
    pub fn answered(&mut self, tag: u64) -> Option<Open> {
        let position = self.open.iter().position(|open| open.tag == tag)?;
        Some(self.open.swap_remove(position))
    }
}
