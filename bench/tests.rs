//! Tests of what the bench computes with. Cargo's own test harness would take the bench's command line from it.

#[expect(dead_code, reason = "the tests need a part of it")]
mod measure;
mod report;

use std::collections::BTreeMap;

use measure::{ProcessUsage, sum_of};
use report::{Report, Row};

/// Why the bench did not work.
type Trouble = Box<dyn std::error::Error + Send + Sync>;

#[test]
fn series_are_chosen_by_name_and_labels() {
    let text = "a_total{verb=\"GET\",resource=\"x\"} 2\na_total{verb=\"PUT\",resource=\"x\"} 3\na_total_other 9\nb 4\na_total 1\n";
    assert!((sum_of(text, "a_total", &[]) - 6.0).abs() < f64::EPSILON);
    assert!((sum_of(text, "a_total", &["verb=\"PUT\""]) - 3.0).abs() < f64::EPSILON);
    assert!((sum_of(text, "b", &[]) - 4.0).abs() < f64::EPSILON);
}

#[test]
fn this_process_has_used_memory() {
    let usage = ProcessUsage::of(std::process::id());
    assert!(usage.is_ok_and(|usage| usage.resident > 0 && usage.peak >= usage.resident));
}

#[test]
fn programs_stand_side_by_side_and_rounds_are_averaged() {
    let row = |program: &str, value: f64| Row {
        scenario: "life",
        program: program.to_owned(),
        store: 500,
        sessions: 10,
        figures: BTreeMap::from([("writes_per_session", value)]),
    };
    let report = Report {
        earlier: None,
        load_per_core: [0.0, 0.0],
        rows: vec![
            row("current", 5.0),
            row("baseline", 6.0),
            row("current", 7.0),
        ],
    };
    let expected = "| finished in the store | sessions | figure | current | baseline |";
    let text = report.markdown();
    assert!(text.contains(expected), "{text}");
    assert!(
        text.contains("| 500 | 10 | writes per session | 6.00 | 6.00 |"),
        "{text}"
    );
}
