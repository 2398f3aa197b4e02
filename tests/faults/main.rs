//! Every single fault at every call of the operator, on a real API server: nothing that docs/reliability.md promises is broken by
//! any of them. Rows are taken evenly spread, as many as fit into ten minutes on two cores; `FAULTS_LIMIT` takes more of them, or all.
//! `cargo run --release --example faults -- --help` runs parts of it, and pairs of faults.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

use std::time::Instant;

use codeagent_boundary::cluster::Cluster;
use codeagent_boundary::matrix::{Selection, learn, run_all, spread};
use codeagent_boundary::report::Report;
use codeagent_boundary::{Fault, Lifecycle, provider};

/// Rows that are run unless `FAULTS_LIMIT` says otherwise: a row takes a quarter to a third of a second of one core, these seven to nine minutes on two.
const ROWS: usize = 2_900;

/// A number from the environment.
fn from_environment(name: &str) -> Option<usize> {
    let value = std::env::var(name).ok()?;
    Some(value.parse().unwrap())
}

/// How many runs there are at the same time.
fn parallel() -> usize {
    let cores = std::thread::available_parallelism().map_or(2, usize::from);
    from_environment("FAULTS_PARALLEL").unwrap_or(cores * 8)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_single_fault_leaves_every_promise_kept() {
    let cluster = Cluster::start().await.unwrap();
    let all = Selection {
        providers: provider::ALL.iter().collect(),
        lifecycles: Lifecycle::ALL.to_vec(),
        faults: Fault::ALL.to_vec(),
        boundary: None,
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
    println!("{limit} of {} rows; FAULTS_LIMIT takes more", rows.len());
    // Fewer would mean that the learning runs did not see what the operator does.
    assert!(rows.len() >= 2_900, "{} rows", rows.len());
    run_all(&cluster, spread(rows, limit), parallel(), |row, outcome| {
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
    assert!(violations.is_empty(), "{}", violations.join("\n"));
}
