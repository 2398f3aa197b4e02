//! From triggers to passes: one pass at a time over an object, so many at a time in all, each in a task of its own.
//!
//! A pass that panics ends alone: its object is looked at again, the others go on.

use std::collections::{HashMap, HashSet};
use std::fmt::Debug;
use std::hash::Hash;
use std::time::Duration;

use futures::{Stream, StreamExt};
use kube_runtime::scheduler::{ScheduleRequest, scheduler};
use tokio::sync::mpsc;
use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::panics::broken_off;

/// How passes are made.
pub struct Dispatch<W, P> {
    /// Most passes at the same time.
    pub concurrency: usize,
    /// One pass over an object; answers with when to look again without a trigger.
    pub work: W,
    /// A pass over this object panicked; answers with when to look again.
    pub panicked: P,
}

impl<W, P> Dispatch<W, P> {
    /// Passes over what comes in through `triggers` until `stop`; then those under way are finished.
    ///
    /// An object that is triggered again before its pass has begun is looked at once, one that is triggered while its pass is
    /// under way is looked at again after it.
    pub async fn run<T, F>(&self, triggers: impl Stream<Item = T> + Send, stop: &CancellationToken)
    where
        T: Clone + Eq + Hash + Debug + Send + 'static,
        W: Fn(T) -> F,
        F: Future<Output = Option<Duration>> + Send + 'static,
        P: Fn(&T) -> Duration,
    {
        let (timers, mut timed) = mpsc::unbounded_channel();
        let timed = futures::stream::poll_fn(move |cx| timed.poll_recv(cx));
        let now = |message| ScheduleRequest {
            message,
            run_at: Instant::now(),
        };
        let due = scheduler(futures::stream::select(triggers.map(now), timed));
        let mut due = std::pin::pin!(due);
        let mut running = Running::default();
        loop {
            let finished = if stop.is_cancelled() {
                if running.tasks.is_empty() {
                    return;
                }
                running.tasks.join_next_with_id().await
            } else {
                // At the limit nobody is chosen, so that nobody need be looked for.
                let full = running.tasks.len() >= self.concurrency;
                let next = async {
                    if full {
                        due.as_mut().hold().next().await
                    } else {
                        let free = |object: &T| !running.objects.contains(object);
                        due.as_mut().hold_unless(free).next().await
                    }
                };
                let busy = !running.tasks.is_empty();
                tokio::select! {
                    () = stop.cancelled() => None,
                    next = next => {
                        let Some(object) = next else { return };
                        running.begin(object.clone(), (self.work)(object));
                        None
                    }
                    finished = running.tasks.join_next_with_id(), if busy => finished,
                }
            };
            let Some((object, again)) = finished.and_then(|finished| running.end(finished)) else {
                continue;
            };
            let again = match again {
                Ok(again) => again,
                Err(panic) => {
                    let how = broken_off(&panic);
                    tracing::error!(
                        ?object,
                        how,
                        "a pass broke off; the object is looked at again"
                    );
                    Some((self.panicked)(&object))
                }
            };
            if let Some(again) = again {
                let request = ScheduleRequest {
                    message: object,
                    run_at: Instant::now() + again,
                };
                // The reader is this very function.
                let _ = timers.send(request);
            }
        }
    }
}

struct Running<T> {
    tasks: JoinSet<Option<Duration>>,
    by_task: HashMap<Id, T>,
    objects: HashSet<T>,
}

impl<T> Default for Running<T> {
    fn default() -> Self {
        Self {
            tasks: JoinSet::new(),
            by_task: HashMap::new(),
            objects: HashSet::new(),
        }
    }
}

impl<T: Clone + Eq + Hash> Running<T> {
    fn begin(&mut self, object: T, pass: impl Future<Output = Option<Duration>> + Send + 'static) {
        let task = self.tasks.spawn(pass).id();
        self.objects.insert(object.clone());
        self.by_task.insert(task, object);
    }

    fn end(
        &mut self,
        finished: Result<(Id, Option<Duration>), JoinError>,
    ) -> Option<(T, Result<Option<Duration>, JoinError>)> {
        let (task, again) = match finished {
            Ok((task, again)) => (task, Ok(again)),
            Err(error) => (error.id(), Err(error)),
        };
        let object = self.by_task.remove(&task)?;
        self.objects.remove(&object);
        Some((object, again))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]

    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::runtime::lock::lock;

    const SECOND: Duration = Duration::from_secs(1);

    type Passes = Arc<Mutex<Vec<(&'static str, Duration)>>>;

    /// Triggers `objects` one after the other and lets time pass.
    async fn after<F>(
        span: Duration,
        objects: &[&'static str],
        concurrency: usize,
        pass: impl Fn(&'static str) -> F,
    ) where
        F: Future<Output = Option<Duration>> + Send + 'static,
    {
        let stop = CancellationToken::new();
        let dispatch = Dispatch {
            concurrency,
            work: pass,
            panicked: |_: &&'static str| SECOND,
        };
        let triggers = futures::stream::iter(objects.to_vec()).chain(futures::stream::pending());
        let stopper = stop.clone();
        tokio::join!(dispatch.run(triggers, &stop), async move {
            tokio::time::sleep(span).await;
            stopper.cancel();
        });
    }

    #[tokio::test(start_paused = true)]
    async fn a_pass_that_panics_ends_alone_and_is_repeated() {
        let passes = Passes::default();
        let begun = Instant::now();
        let tries = Arc::new(AtomicUsize::new(0));
        after(SECOND * 10, &["bad", "good"], 1, |object| {
            let (passes, tries) = (Arc::clone(&passes), Arc::clone(&tries));
            async move {
                if object == "bad" && tries.fetch_add(1, Ordering::SeqCst) == 0 {
                    panic!("on purpose");
                }
                lock(&passes).push((object, begun.elapsed()));
                None
            }
        })
        .await;
        let mut passes = lock(&passes).clone();
        passes
            .iter_mut()
            .for_each(|(_, at)| *at = Duration::from_secs(at.as_secs()));
        assert_eq!(passes, [("good", Duration::ZERO), ("bad", SECOND)]);
    }

    #[tokio::test(start_paused = true)]
    async fn one_pass_at_a_time_over_an_object_and_so_many_in_all() {
        let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let of_a = Arc::new(Mutex::new((0, 0)));
        let objects = ["a", "b", "c", "d", "e"];
        after(SECOND * 60, &objects, 3, |object| {
            let (now, most, of_a) = (Arc::clone(&now), Arc::clone(&most), Arc::clone(&of_a));
            async move {
                most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                if object == "a" {
                    let mut of_a = lock(&of_a);
                    of_a.0 += 1;
                    of_a.1 += 1;
                    assert_eq!(of_a.0, 1, "one at a time");
                }
                tokio::time::sleep(SECOND).await;
                if object == "a" {
                    lock(&of_a).0 -= 1;
                }
                now.fetch_sub(1, Ordering::SeqCst);
                (object == "a").then_some(SECOND * 4)
            }
        })
        .await;
        assert_eq!(most.load(Ordering::SeqCst), 3);
        let looked_at = lock(&of_a).1;
        assert!((10..=13).contains(&looked_at), "{looked_at}");
    }

    /// What was begun is finished, what was not is not begun.
    #[tokio::test(start_paused = true)]
    async fn a_stop_lets_passes_finish() {
        let ended = Arc::new(AtomicUsize::new(0));
        after(SECOND, &["a", "b", "c"], 2, |_| {
            let ended = Arc::clone(&ended);
            async move {
                tokio::time::sleep(SECOND * 5).await;
                ended.fetch_add(1, Ordering::SeqCst);
                None
            }
        })
        .await;
        assert_eq!(ended.load(Ordering::SeqCst), 2);
    }
}
