//! The table of what came of all runs.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use crate::boundary::Call;
use crate::fault::Fault;
use crate::lifecycle::Lifecycle;
use crate::run::{Outcome, Row};

/// Runs of one cell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// All.
    pub runs: usize,
    /// Of these, runs whose course did not reach the fault: runs without it.
    pub unmet: usize,
    /// Of these, runs in which something promised was not kept.
    pub violated: usize,
}

impl Count {
    fn add(&mut self, other: Self) {
        self.runs += other.runs;
        self.unmet += other.unmet;
        self.violated += other.violated;
    }

    fn shown(self) -> String {
        let mut text = match self.runs {
            0 => return String::new(),
            runs => runs.to_string(),
        };
        // Writing to a String does not fail.
        if self.unmet > 0 {
            let _ = write!(text, " ({})", self.unmet);
        }
        if self.violated > 0 {
            let _ = write!(text, " !{}", self.violated);
        }
        text
    }
}

/// A run in which something promised was not kept.
#[derive(Clone, Debug)]
pub struct Violated {
    /// Its row, which replays it.
    pub row: String,
    /// What was not kept.
    pub what: Vec<String>,
    /// What happened.
    pub account: String,
}

/// Provider, life, and the call and the fault that it met there, if any.
type Cell = (&'static str, Lifecycle, Option<Call>, Option<Fault>);

/// What came of runs, added up.
#[derive(Debug, Default)]
pub struct Report {
    cells: BTreeMap<Cell, Count>,
    /// Runs that violated something.
    pub violated: Vec<Violated>,
}

impl Report {
    /// Adds a run. It is counted with its last fault.
    pub fn add(&mut self, row: &Row, outcome: Outcome) {
        let last = row.faults.last();
        let key = (
            row.provider.name,
            row.lifecycle,
            last.map(|(boundary, _)| boundary.call.clone()),
            last.map(|(_, fault)| *fault),
        );
        let violated = !outcome.violations.is_empty();
        self.cells.entry(key).or_default().add(Count {
            runs: 1,
            unmet: usize::from(outcome.met < row.faults.len()),
            violated: usize::from(violated),
        });
        if violated {
            self.violated.push(Violated {
                row: row.to_string(),
                what: outcome.violations,
                account: outcome.account,
            });
        }
    }

    /// All runs.
    pub fn total(&self) -> Count {
        self.sum(|_, _, _, _| true)
    }

    fn sum(
        &self,
        matches: impl Fn(&str, Lifecycle, Option<&Call>, Option<Fault>) -> bool,
    ) -> Count {
        let mut sum = Count::default();
        for ((provider, lifecycle, call, fault), count) in &self.cells {
            if matches(provider, *lifecycle, call.as_ref(), *fault) {
                sum.add(*count);
            }
        }
        sum
    }

    /// Lifecycles by provider against faults, then calls against faults, in Markdown, which reads well on a terminal, too.
    pub fn tables(&self) -> String {
        let met: BTreeSet<Fault> = self.cells.keys().filter_map(|cell| cell.3).collect();
        let faults: Vec<Fault> = Fault::ALL
            .into_iter()
            .filter(|fault| met.contains(fault))
            .collect();
        let mut lives: Vec<(&str, Lifecycle)> = self
            .cells
            .keys()
            .map(|(provider, lifecycle, _, _)| (*provider, *lifecycle))
            .collect();
        lives.dedup();
        let by_life = lives.into_iter().map(|(provider, life)| {
            let cell = move |fault| {
                self.sum(|of, lifecycle, _, at| {
                    of == provider && lifecycle == life && matches_fault(at, fault)
                })
            };
            (format!("{provider} {life}"), cells(&faults, cell))
        });
        let mut calls: Vec<&Call> = self
            .cells
            .keys()
            .filter_map(|(_, _, call, _)| call.as_ref())
            .collect();
        calls.sort();
        calls.dedup();
        let by_call = calls.into_iter().map(|call| {
            let cell = move |fault| {
                self.sum(|_, _, at, kind| at == Some(call) && matches_fault(kind, fault))
            };
            (format!("`{call}`"), cells(&faults, cell))
        });
        let total = (
            "all".to_owned(),
            cells(&faults, |fault| {
                self.sum(|_, _, _, at| matches_fault(at, fault))
            }),
        );
        format!(
            "{}\n{}",
            table("lifecycle", &faults, by_life.chain([total])),
            table("boundary", &faults, by_call)
        )
    }
}

/// `None` asks for all.
fn matches_fault(at: Option<Fault>, asked: Option<Fault>) -> bool {
    asked.is_none() || at == asked
}

fn cells(faults: &[Fault], count: impl Fn(Option<Fault>) -> Count) -> Vec<String> {
    let by_fault = faults.iter().copied().map(Some);
    by_fault
        .chain([None])
        .map(|fault| count(fault).shown())
        .collect()
}

fn table(
    first: &str,
    faults: &[Fault],
    rows: impl Iterator<Item = (String, Vec<String>)>,
) -> String {
    let mut head = vec![first.to_owned()];
    head.extend(faults.iter().map(Fault::to_string));
    head.push("all".to_owned());
    let mut lines = vec![head];
    lines.extend(rows.map(|(name, cells)| [vec![name], cells].concat()));
    let columns = lines.first().map_or(0, Vec::len);
    let widths: Vec<usize> = (0..columns)
        .map(|column| {
            let width =
                |line: &Vec<String>| line.get(column).map_or(0, |cell| cell.chars().count());
            lines.iter().map(width).max().unwrap_or(0)
        })
        .collect();
    let mut text = String::new();
    for (number, line) in lines.iter().enumerate() {
        text.push('|');
        for (cell, width) in line.iter().zip(&widths) {
            // Writing to a String does not fail.
            let _ = write!(text, " {cell:<width$} |");
        }
        text.push('\n');
        if number == 0 {
            text.push('|');
            for width in &widths {
                let _ = write!(text, "{:-<1$}|", "", width + 2);
            }
            text.push('\n');
        }
    }
    text
}
