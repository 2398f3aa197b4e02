//! All rows: what there is to run is learned, and run side by side.

use std::collections::{HashSet, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::Trouble;
use crate::boundary::Boundary;
use crate::cluster::Cluster;
use crate::fault::Fault;
use crate::lifecycle::Lifecycle;
use crate::load::Load;
use crate::provider::UnderTest;
use crate::run::{Outcome, Row, run};

/// How long a run may take altogether before it is given up: the sum of what it may wait for.
const RUN_BOUND: Duration = Duration::from_secs(300);

/// How often a row is run whose promise was not kept on a busy machine.
const MOST_TRIES: usize = 6;

/// Learning runs at the same time, each of which mostly waits: on a busy machine a life has looks that it does not have later.
const LEARNERS: usize = 4;

/// Which part of the matrix is run.
#[derive(Clone, Debug)]
pub struct Selection {
    /// At these providers.
    pub providers: Vec<&'static UnderTest>,
    /// These lives.
    pub lifecycles: Vec<Lifecycle>,
    /// These faults.
    pub faults: Vec<Fault>,
    /// Boundaries whose name contains this.
    pub boundary: Option<String>,
    /// So many sessions at once.
    pub crowd: usize,
}

impl Selection {
    /// The learning runs.
    pub fn lessons(&self) -> Vec<Row> {
        let mut rows = Vec::new();
        for provider in &self.providers {
            for lifecycle in &self.lifecycles {
                if lifecycle.applies(provider, self.crowd) {
                    rows.push(Row {
                        provider,
                        lifecycle: *lifecycle,
                        crowd: self.crowd,
                        faults: Vec::new(),
                    });
                }
            }
        }
        rows
    }

    /// The rows with one fault more than `row`, at each boundary that its run had after its last fault.
    pub fn further(&self, row: &Row, boundaries: &[Boundary]) -> Vec<Row> {
        let last = row.faults.last().map(|(boundary, _)| boundary);
        let after = last.map_or(0, |last| {
            let met = boundaries.iter().position(|boundary| boundary == last);
            met.map_or(boundaries.len(), |met| met + 1)
        });
        let mut rows = Vec::new();
        let mut seen = HashSet::new();
        for boundary in boundaries.iter().skip(after) {
            if !self.selects(boundary) || !seen.insert(boundary) {
                continue;
            }
            for fault in &self.faults {
                if fault.applies(boundary, row.provider) && row.can_have(*fault) {
                    let mut row = row.clone();
                    row.faults.push((boundary.clone(), *fault));
                    rows.push(row);
                }
            }
        }
        rows
    }

    fn selects(&self, boundary: &Boundary) -> bool {
        let part = self.boundary.as_ref();
        part.is_none_or(|part| boundary.to_string().contains(part.as_str()))
    }
}

/// Makes the learning runs and tells `done` of each; answers with the rows with one fault that they bring.
///
/// A life that fails by itself teaches nothing about faults, and brings none.
///
/// # Errors
/// If there are no namespaces to run in.
pub async fn learn(
    cluster: &Arc<Cluster>,
    selection: &Selection,
    parallel: usize,
    mut done: impl FnMut(&Row, Outcome),
) -> Result<Vec<Row>, Trouble> {
    let mut rows = Vec::new();
    let parallel = parallel.min(LEARNERS);
    run_all(cluster, selection.lessons(), parallel, |row, outcome| {
        if outcome.violations.is_empty() {
            rows.extend(selection.further(row, &outcome.boundaries));
        }
        done(row, outcome);
    })
    .await?;
    Ok(rows)
}

/// At most `limit` of the rows: cut into as many equal stretches, one of each by lot, so that each sample stands for all of them and many
/// samples reach all of them. The same seed draws the same.
pub fn sample(rows: Vec<Row>, limit: usize, seed: u64) -> Vec<Row> {
    let mut lot = StdRng::seed_from_u64(seed);
    let chosen = drawn(rows.len(), limit, &mut lot);
    let rows = rows.into_iter().enumerate();
    rows.filter_map(|(index, row)| chosen.contains(&index).then_some(row))
        .collect()
}

fn drawn(all: usize, limit: usize, lot: &mut impl Rng) -> HashSet<usize> {
    if limit >= all {
        return (0..all).collect();
    }
    let begin = |stretch: usize| stretch * all / limit;
    (0..limit)
        .map(|stretch| lot.random_range(begin(stretch)..begin(stretch + 1)))
        .collect()
}

/// A seed that nobody has had yet.
pub fn new_seed() -> u64 {
    // Short enough to be typed.
    rand::rng().random_range(0..1_000_000)
}

/// Rows that wait to be run.
struct Waiting {
    rows: Mutex<VecDeque<Row>>,
    end: Option<Instant>,
}

impl Waiting {
    fn next(&self) -> Option<Row> {
        if self.end.is_some_and(|end| Instant::now() >= end) {
            return None;
        }
        let mut rows = self.rows.lock().unwrap_or_else(PoisonError::into_inner);
        rows.pop_front()
    }
}

/// Runs all `rows`, at most `parallel` at a time and as many more of those that mostly wait, and tells `done` of each in the order in which they end.
///
/// A run on a machine that is too busy to keep the times that the promises assume proves nothing when a promise is not kept; it is
/// repeated a few times, and counts in the end as it ended.
///
/// # Errors
/// If there are no namespaces to run in.
pub async fn run_all(
    cluster: &Arc<Cluster>,
    rows: impl IntoIterator<Item = Row>,
    parallel: usize,
    done: impl FnMut(&Row, Outcome),
) -> Result<(), Trouble> {
    run_until(cluster, rows, parallel, None, done).await
}

/// The same, but from `end` on no further run is begun. What is cut off is spread over all rows.
///
/// # Errors
/// If there are no namespaces to run in.
pub async fn run_until(
    cluster: &Arc<Cluster>,
    rows: impl IntoIterator<Item = Row>,
    parallel: usize,
    end: Option<Instant>,
    mut done: impl FnMut(&Row, Outcome),
) -> Result<(), Trouble> {
    let mut rows: Vec<Row> = rows.into_iter().collect();
    if end.is_some() {
        rows.shuffle(&mut rand::rng());
    }
    // What mostly waits takes nobody's place.
    let (waits, works): (Vec<Row>, Vec<Row>) = rows.into_iter().partition(Row::waits);
    let load = Load::watch();
    let (sender, mut outcomes) = mpsc::unbounded_channel();
    let mut tasks: JoinSet<Result<(), Trouble>> = JoinSet::new();
    for rows in [waits, works] {
        let workers = parallel.max(1).min(rows.len());
        let waiting = Arc::new(Waiting {
            rows: Mutex::new(rows.into()),
            end,
        });
        for _ in 0..workers {
            let cluster = Arc::clone(cluster);
            let work = work(
                cluster,
                Arc::clone(&waiting),
                Arc::clone(&load),
                sender.clone(),
            );
            tasks.spawn(work);
        }
    }
    drop(sender);
    while let Some((row, outcome)) = outcomes.recv().await {
        done(&row, outcome);
    }
    while let Some(ended) = tasks.join_next().await {
        ended??;
    }
    Ok(())
}

/// Runs one waiting row after the other.
async fn work(
    cluster: Arc<Cluster>,
    waiting: Arc<Waiting>,
    load: Arc<Load>,
    sender: mpsc::UnboundedSender<(Row, Outcome)>,
) -> Result<(), Trouble> {
    let mut slot = cluster.slot().await?;
    while let Some(row) = waiting.next() {
        let mut tries = 1;
        let outcome = loop {
            load.until_idle().await;
            let begun = Instant::now();
            let outcome = bounded(&cluster, &slot, &row).await;
            if !outcome.clean {
                slot = cluster.slot().await?;
            }
            let void = !outcome.violations.is_empty() && load.was_busy_since(begun);
            if !void || tries == MOST_TRIES {
                break outcome;
            }
            tries += 1;
        };
        if sender.send((row, outcome)).is_err() {
            return Ok(());
        }
    }
    Ok(())
}

/// A run that ends, and whose troubles count as violations: what could not be tried is not proven.
async fn bounded(cluster: &Cluster, slot: &codeagent_harness::Namespace, row: &Row) -> Outcome {
    let failed = |why: String| Outcome {
        violations: vec![why],
        met: 0,
        boundaries: Vec::new(),
        took: RUN_BOUND,
        account: String::new(),
        clean: false,
    };
    match tokio::time::timeout(RUN_BOUND, run(cluster, slot, row)).await {
        Ok(Ok(outcome)) => outcome,
        Ok(Err(trouble)) => failed(format!("it could not be tried: {trouble}")),
        Err(_) => failed(format!("it did not end within {RUN_BOUND:?}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn draw(all: usize, limit: usize, seed: u64) -> HashSet<usize> {
        drawn(all, limit, &mut StdRng::seed_from_u64(seed))
    }

    #[test]
    fn a_sample_has_one_of_each_stretch_and_its_seed_draws_it_again() {
        for seed in 0..20 {
            let sample = draw(1_000, 100, seed);
            assert_eq!(sample.len(), 100);
            for stretch in 0..100 {
                let of_stretch = sample.iter().filter(|index| **index / 10 == stretch);
                assert_eq!(of_stretch.count(), 1);
            }
            assert_eq!(sample, draw(1_000, 100, seed));
        }
        assert_ne!(draw(1_000, 100, 1), draw(1_000, 100, 2));
    }

    #[test]
    fn many_samples_reach_everything() {
        let reached: HashSet<usize> = (0..200).flat_map(|seed| draw(1_000, 100, seed)).collect();
        assert_eq!(reached.len(), 1_000);
    }

    #[test]
    fn who_wants_more_than_there_is_gets_all() {
        assert_eq!(draw(7, 100, 0).len(), 7);
        assert_eq!(draw(0, 100, 0).len(), 0);
    }
}
