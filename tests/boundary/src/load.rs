//! Whether this machine keeps up.
//!
//! The promises stand on times: an accepted launch is visible within the settle time, a claim is sent within its window. In a run these are fractions
//! of a second. A machine that is late by as much breaks the assumption, not the operator the promise.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How often it is measured.
const BEAT: Duration = Duration::from_millis(10);
/// A delay of a timer that voids a run: half of the settle time.
const LATE: Duration = Duration::from_millis(100);
/// No run begins until the machine has kept up for this long.
const CALM: Duration = Duration::from_millis(300);
/// Nor is it waited for any longer than this: then it will not get better.
const PATIENCE: Duration = Duration::from_secs(20);
/// For how long delays are remembered: longer than any run.
const MEMORY: Duration = Duration::from_secs(300);

/// Watches how late timers are, until it is dropped.
pub(crate) struct Load(Mutex<VecDeque<Instant>>);

impl Load {
    /// Begins to watch.
    pub(crate) fn watch() -> Arc<Self> {
        let load = Arc::new(Self(Mutex::default()));
        let watched = Arc::downgrade(&load);
        tokio::spawn(async move {
            loop {
                let begun = Instant::now();
                tokio::time::sleep(BEAT).await;
                let Some(load) = watched.upgrade() else {
                    return;
                };
                if begun.elapsed() > BEAT + LATE {
                    load.note();
                }
            }
        });
        load
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Instant>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self) {
        let mut late = self.lock();
        while late.front().is_some_and(|at| at.elapsed() > MEMORY) {
            late.pop_front();
        }
        late.push_back(Instant::now());
    }

    /// Whether timers were late since `begun`.
    pub(crate) fn was_busy_since(&self, begun: Instant) -> bool {
        self.lock().back().is_some_and(|at| *at >= begun)
    }

    /// Waits until the machine keeps up.
    pub(crate) async fn until_idle(&self) {
        let begun = Instant::now();
        while begun.elapsed() < PATIENCE {
            let since = self.lock().back().map(Instant::elapsed);
            match since.and_then(|since| CALM.checked_sub(since)) {
                Some(wait) => tokio::time::sleep(wait).await,
                None => return,
            }
        }
    }
}
