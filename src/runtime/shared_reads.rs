//! Reads that many ask for at the same time, made once.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::time::Instant;

use super::lock::lock;

/// How often the waiting time after a failure doubles at most.
const DOUBLINGS: u32 = 4;

/// What was read of each key. Whoever asks while a read is under way waits for it instead of making another one; what was
/// found counts for a while; what was not found counts for longer and longer, because most of those that ask again are others
/// that wait for the same.
pub struct SharedReads<K, T, E> {
    keep: Duration,
    cells: Mutex<HashMap<K, SharedCell<T, E>>>,
}

type SharedCell<T, E> = Arc<tokio::sync::Mutex<Cell<T, E>>>;

struct Cell<T, E> {
    last: Option<(Instant, Result<T, E>)>,
    failures: u32,
}

impl<T, E> Cell<T, E> {
    /// For how long what was read counts.
    fn span(&self, keep: Duration) -> Duration {
        let doublings = self.failures.saturating_sub(1).min(DOUBLINGS);
        keep * 2_u32.pow(doublings)
    }

    /// How much longer it counts; `None` if it must be read.
    fn left(&self, keep: Duration) -> Option<Duration> {
        let (read, _) = self.last.as_ref()?;
        self.span(keep)
            .checked_sub(read.elapsed())
            .filter(|left| !left.is_zero())
    }
}

impl<K: Eq + Hash + Clone, T: Clone, E: Clone> SharedReads<K, T, E> {
    /// Keeps what was found for `keep`, and what was not found for that long at first, and for up to sixteen times as long.
    pub fn new(keep: Duration) -> Self {
        Self {
            keep,
            cells: Mutex::default(),
        }
    }

    /// For how long what was found counts.
    pub fn keep(&self) -> Duration {
        self.keep
    }

    /// What is at `key`: as it was read a while ago, or by `read` now.
    ///
    /// # Errors
    /// Why it could not be had, and when it is read again at the earliest.
    pub async fn get(
        &self,
        key: K,
        read: impl Future<Output = Result<T, E>>,
    ) -> Result<T, (E, Duration)> {
        let cell = Arc::clone(lock(&self.cells).entry(key).or_insert_with(|| {
            Arc::new(tokio::sync::Mutex::new(Cell {
                last: None,
                failures: 0,
            }))
        }));
        let mut cell = cell.lock().await;
        let found = match &cell.last {
            Some((_, found)) if cell.left(self.keep).is_some() => found.clone(),
            _ => {
                let found = read.await;
                cell.failures = match &found {
                    Ok(_) => 0,
                    Err(_) => cell.failures.saturating_add(1),
                };
                cell.last = Some((Instant::now(), found.clone()));
                found
            }
        };
        let left = cell.left(self.keep).unwrap_or_default();
        found.map_err(|error| (error, left))
    }

    /// Drops what was read of `key`.
    pub fn forget(&self, key: &K) {
        lock(&self.cells).remove(key);
    }

    /// Drops what does not count any more, and failures that nobody has asked about for as long again.
    pub fn expire(&self) {
        let keep = self.keep;
        lock(&self.cells).retain(|_, cell| {
            let Ok(cell) = cell.try_lock() else {
                return true;
            };
            cell.last.as_ref().is_some_and(|(read, found)| {
                let span = cell.span(keep);
                let span = if found.is_err() { span * 2 } else { span };
                read.elapsed() < span
            })
        });
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    const KEEP: Duration = Duration::from_secs(10);

    struct Source {
        reads: AtomicUsize,
        answer: Mutex<Result<&'static str, &'static str>>,
    }

    impl Source {
        async fn read(&self) -> Result<&'static str, &'static str> {
            self.reads.fetch_add(1, Ordering::SeqCst);
            tokio::time::sleep(Duration::from_millis(100)).await;
            *lock(&self.answer)
        }

        fn reads(&self) -> usize {
            self.reads.swap(0, Ordering::SeqCst)
        }
    }

    /// However many ask: one read while it is under way and while it counts, also if nothing was found.
    #[tokio::test(start_paused = true)]
    async fn a_hundred_that_ask_cost_one_read() {
        let source = Source {
            reads: AtomicUsize::new(0),
            answer: Mutex::new(Err("missing")),
        };
        let shared = SharedReads::new(KEEP);
        let all = || futures::future::join_all((0..100).map(|_| shared.get("a", source.read())));
        for answer in all().await {
            assert!(matches!(answer, Err(("missing", left)) if left <= KEEP));
        }
        assert_eq!(source.reads(), 1);
        *lock(&source.answer) = Ok("here");
        assert!(all().await.iter().all(Result::is_err));
        assert_eq!(source.reads(), 0);
        tokio::time::advance(KEEP).await;
        assert!(all().await.iter().all(|answer| *answer == Ok("here")));
        assert_eq!(source.reads(), 1);
    }

    /// What is missing for long is asked for less and less often, by everybody together; what was found is as fresh as ever.
    #[tokio::test(start_paused = true)]
    async fn what_is_missing_is_read_less_and_less_often() {
        let source = Source {
            reads: AtomicUsize::new(0),
            answer: Mutex::new(Err("missing")),
        };
        let shared = SharedReads::new(KEEP);
        for _ in 0..3600 {
            let _ = shared.get("a", source.read()).await;
            shared.expire();
            tokio::time::advance(Duration::from_secs(1)).await;
        }
        let in_an_hour = source.reads();
        assert!((20..=30).contains(&in_an_hour), "{in_an_hour}");
        *lock(&source.answer) = Ok("here");
        tokio::time::advance(KEEP * 16).await;
        for _ in 0..100 {
            assert_eq!(shared.get("a", source.read()).await, Ok("here"));
            tokio::time::advance(Duration::from_secs(1)).await;
        }
        let found = source.reads();
        assert!((9..=11).contains(&found), "{found}");
        tokio::time::advance(KEEP).await;
        shared.expire();
        assert!(lock(&shared.cells).is_empty(), "nothing lingers");
    }
}
