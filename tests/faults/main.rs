//! Single faults at every call of the operator, on a real API server: nothing that docs/reliability.md promises is broken by any of them.
//!
//! Each run draws another sample, and says with which seed; `FAULTS_SEED` draws that one again. A row that failed is replayed by the command
//! that is printed with it. `FAULTS_LIMIT` takes more rows, or all. `cargo run --release --example faults -- --help` runs parts of them, and
//! pairs of faults.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

use std::str::FromStr;
use std::time::Instant;

use codeagent_boundary::cluster::Cluster;
use codeagent_boundary::matrix::{Selection, learn, new_seed, run_all, sample};
use codeagent_boundary::report::Report;
use codeagent_boundary::{Fault, Lifecycle, provider};

/// Rows that are run unless `FAULTS_LIMIT` says otherwise: a row takes a quarter to a third of a second of one core.
const ROWS: usize = 500;

/// A number from the environment.
fn from_environment<T: FromStr>(name: &str) -> Option<T> {
    let value = std::env::var(name).ok()?;
    let number = value.parse().ok();
    Some(number.unwrap_or_else(|| panic!("{name} is {value:?}, which is no number")))
}

/// How many runs there are at the same time.
fn parallel() -> usize {
    let cores = std::thread::available_parallelism().map_or(2, usize::from);
    from_environment("FAULTS_PARALLEL").unwrap_or(cores * 8)
}

#[tokio::test(flavor = "multi_thread")]
async fn single_faults_leave_every_promise_kept() {
    let cluster = Cluster::start().await.unwrap();
    let all = Selection {
        providers: provider::ALL.iter().collect(),
        lifecycles: Lifecycle::ALL.to_vec(),
        faults: Fault::ALL.to_vec(),
        boundary: None,
        crowd: 1,
    };
    let begun = Instant::now();
    let mut report = Report::default();
    let rows = learn(&cluster, &all, parallel(), |row, outcome| {
        assert_eq!(outcome.violations, [] as [&str; 0], "{row} without a fault");
        report.add(row, outcome);
    })
    .await
    .unwrap();
    let limit = from_environment("FAULTS_LIMIT").unwrap_or(ROWS);
    let seed = from_environment("FAULTS_SEED").unwrap_or_else(new_seed);
    println!(
        "{} of {} rows, FAULTS_SEED={seed}; FAULTS_LIMIT takes more",
        limit.min(rows.len()),
        rows.len()
    );
    // Fewer would mean that the learning runs did not see what the operator does.
    assert!(rows.len() >= 2_900, "{} rows", rows.len());
    let rows = sample(rows, limit, seed);
    run_all(&cluster, rows, parallel(), |row, outcome| {
        report.add(row, outcome);
    })
    .await
    .unwrap();
    println!("{}\n{:?}", report.tables(), begun.elapsed());
    let violations: Vec<String> = report
        .violated
        .iter()
        .map(|violated| {
            format!(
                "{}\n  cargo run --release --example faults -- --replay '{}'",
                violated.what.join("\n"),
                violated.row
            )
        })
        .collect();
    assert!(
        violations.is_empty(),
        "with FAULTS_SEED={seed}:\n{}",
        violations.join("\n")
    );
}
