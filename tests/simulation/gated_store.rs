//! The store of checkpoints as an uploader meets it: each call waits until the simulation lets it take effect, or fail.

use std::future::poll_fn;
use std::sync::{Arc, Mutex};
use std::task::Poll;

use quorate::checkpoint::{Content, Header, People, Place, Store, StoredBlock};
use quorate::log::{Index, LogError, Memory};

/// What becomes of the call that waits.
#[derive(Debug, Clone, Copy)]
pub enum Permit {
    /// It takes effect and is answered.
    Answered,
    /// It takes effect, and its answer is lost.
    Unanswered,
    /// It is lost.
    Lost,
}

#[derive(Clone)]
pub struct GatedStore {
    memory: Memory,
    permit: Arc<Mutex<Option<Permit>>>,
    /// What was removed last: everything that no checkpoint from this one on needs.
    retired: Arc<Mutex<Option<Index>>>,
    /// The broken variant for the mutation check: more is removed than was asked for.
    greedy: bool,
}

impl GatedStore {
    pub fn new(memory: Memory, greedy: bool) -> GatedStore {
        GatedStore {
            memory,
            permit: Arc::default(),
            retired: Arc::default(),
            greedy,
        }
    }

    /// Let the next call through.
    pub fn permit(&self, permit: Permit) {
        *self.permit.lock().expect("nobody panics with it") = Some(permit);
    }

    pub fn take_retired(&self) -> Option<Index> {
        self.retired.lock().expect("nobody panics with it").take()
    }

    async fn call<T>(&self, effect: impl Future<Output = Result<T, LogError>> + Send) -> Result<T, LogError> {
        let permit = poll_fn(|_| match self.permit.lock().expect("nobody panics with it").take() {
            Some(permit) => Poll::Ready(permit),
            None => Poll::Pending,
        });
        let lost = || LogError::Unavailable("as the dice have it".into());
        match permit.await {
            Permit::Answered => effect.await,
            Permit::Unanswered => effect.await.and(Err(lost())),
            Permit::Lost => Err(lost()),
        }
    }
}

impl Store for GatedStore {
    async fn begin(&self, header: &Header, base: Option<Index>) -> Result<bool, LogError> {
        self.call(self.memory.begin(header, base)).await
    }

    async fn put_contents(&self, index: Index, contents: Vec<Content>) -> Result<bool, LogError> {
        self.call(self.memory.put_contents(index, contents)).await
    }

    async fn put_places(&self, index: Index, places: Vec<Place>) -> Result<bool, LogError> {
        self.call(self.memory.put_places(index, places)).await
    }

    async fn put_people(&self, index: Index, people: People) -> Result<(), LogError> {
        self.call(self.memory.put_people(index, people)).await
    }

    async fn raise(&self, index: Index, state: i64) -> Result<bool, LogError> {
        self.call(self.memory.raise(index, state)).await
    }

    async fn agreed(&self) -> Result<Vec<Header>, LogError> {
        self.call(self.memory.agreed()).await
    }

    async fn header(&self, index: Index) -> Result<Option<Header>, LogError> {
        self.call(self.memory.header(index)).await
    }

    async fn blocks(&self, index: Index, after: Option<(i64, i64)>, limit: u32) -> Result<Vec<StoredBlock>, LogError> {
        self.call(self.memory.blocks(index, after, limit)).await
    }

    async fn retire(&self, oldest: Index) -> Result<bool, LogError> {
        let remove = async {
            *self.retired.lock().expect("nobody panics with it") = Some(oldest);
            let oldest = match self.memory.agreed().await?.last() {
                Some(newest) if self.greedy => newest.index,
                _ => oldest,
            };
            self.memory.retire(oldest).await
        };
        self.call(remove).await
    }
}
