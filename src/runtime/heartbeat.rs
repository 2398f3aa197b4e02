//! Whether the loops of the process still go round: what `/livez` answers with.
//!
//! A process that only answers is not alive: a loop that hangs or died would leave its work undone for ever, and nobody would
//! start the process anew.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::lock::lock;

/// How often [`Heartbeat::beside`] beats.
const BEAT: Duration = Duration::from_secs(1);

/// How long a loop that beats with [`Heartbeat::beside`] may be silent.
pub const SILENCE: Duration = Duration::from_secs(60);

/// The loops of a process. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Heartbeats(Arc<Mutex<Loops>>);

#[derive(Debug, Default)]
struct Loops {
    next: u64,
    beating: BTreeMap<u64, Beat>,
}

#[derive(Debug)]
struct Beat {
    name: String,
    /// The longest silence that is still alive.
    silence: Duration,
    last: Instant,
}

impl Heartbeats {
    /// A new loop that must beat at least once in every `silence` from now on, until it [ends](Heartbeat::end).
    pub fn begin(&self, name: impl Into<String>, silence: Duration) -> Heartbeat {
        let mut loops = lock(&self.0);
        let id = loops.next;
        loops.next += 1;
        loops.beating.insert(
            id,
            Beat {
                name: name.into(),
                silence,
                last: Instant::now(),
            },
        );
        Heartbeat {
            all: self.clone(),
            id,
        }
    }

    /// The loops that have been silent for too long, each with how long.
    pub fn silent(&self) -> Vec<(String, Duration)> {
        let loops = lock(&self.0);
        let silent = loops.beating.values().filter_map(|beat| {
            let since = beat.last.elapsed();
            (since > beat.silence).then(|| (beat.name.clone(), since))
        });
        silent.collect()
    }
}

/// The heartbeat of one loop. One that is dropped without [`Heartbeat::end`] belonged to a loop that died: it counts as silent.
#[derive(Debug)]
pub struct Heartbeat {
    all: Heartbeats,
    id: u64,
}

impl Heartbeat {
    /// The loop has gone round.
    pub fn beat(&self) {
        if let Some(beat) = lock(&self.all.0).beating.get_mut(&self.id) {
            beat.last = Instant::now();
        }
    }

    /// The loop ends in order.
    pub fn end(self) {
        lock(&self.all.0).beating.remove(&self.id);
    }

    /// Runs `work`, and beats for as long as whoever polls it polls; ends with it.
    pub async fn beside<T>(self, work: impl Future<Output = T>) -> T {
        let mut work = std::pin::pin!(work);
        let mut ticks = tokio::time::interval(BEAT);
        loop {
            tokio::select! {
                result = &mut work => {
                    self.end();
                    return result;
                }
                _ = ticks.tick() => self.beat(),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHORT: Duration = Duration::from_millis(20);

    #[tokio::test]
    async fn a_loop_is_silent_when_it_hangs_or_died_but_not_when_it_ended() {
        let all = Heartbeats::default();
        let names = |all: &Heartbeats| -> Vec<String> {
            all.silent().into_iter().map(|(name, _)| name).collect()
        };
        all.begin("ended", Duration::ZERO).end();
        let hangs = all.begin("hangs", SHORT);
        let beats = all.begin("beats", Duration::from_secs(3600));
        drop(all.begin("died", SHORT));
        beats.beat();
        std::thread::sleep(SHORT * 2);
        assert_eq!(names(&all), ["hangs", "died"]);
        hangs.beat();
        assert_eq!(names(&all), ["died"]);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_polled_beats() {
        let all = Heartbeats::default();
        let heartbeat = all.begin("works", SHORT);
        std::thread::sleep(SHORT * 2);
        assert_eq!(all.silent().len(), 1);
        let mut work = Box::pin(heartbeat.beside(std::future::pending::<()>()));
        assert!(futures::poll!(&mut work).is_pending());
        assert!(all.silent().is_empty());
        drop(work);
        std::thread::sleep(SHORT * 2);
        assert_eq!(all.silent().len(), 1, "a task that was dropped has died");
        all.begin("ends", Duration::ZERO)
            .beside(std::future::ready(()))
            .await;
        assert_eq!(all.silent().len(), 1);
    }
}
