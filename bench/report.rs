//! The table, and the JSON that says the same.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde::Serialize;

/// A row of the report.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// Which scenario.
    pub scenario: &'static str,
    /// Which program.
    pub program: String,
    /// Finished sessions in the store before.
    pub store: usize,
    /// Sessions of this round.
    pub sessions: usize,
    /// Figures by name; the unit is in the name.
    pub figures: BTreeMap<&'static str, f64>,
}

/// Everything that one run has measured.
#[derive(Debug, Serialize)]
pub struct Report {
    /// Commit of the earlier build, where there is one.
    pub earlier: Option<String>,
    /// Processes that wanted to run for each core, before the first and after the last row.
    pub load_per_core: [f64; 2],
    /// One row for each scenario, size and program, in the order in which they were run.
    pub rows: Vec<Row>,
}

/// One line of a table: the figures of every program, side by side, averaged over the rounds.
type Line<'a> = BTreeMap<&'a str, Vec<f64>>;

impl Report {
    /// The rows as Markdown tables, one for each scenario: a line for each size and figure, a column for each program.
    pub fn markdown(&self) -> String {
        let mut text = String::new();
        let mut scenarios: Vec<&str> = Vec::new();
        for row in &self.rows {
            if !scenarios.contains(&row.scenario) {
                scenarios.push(row.scenario);
            }
        }
        for scenario in scenarios {
            let rows: Vec<&Row> = self
                .rows
                .iter()
                .filter(|row| row.scenario == scenario)
                .collect();
            // Writing to a String does not fail.
            let _ = write!(text, "\n{}", table(scenario, &rows));
        }
        text
    }
}

fn table(scenario: &str, rows: &[&Row]) -> String {
    let mut programs: Vec<&str> = Vec::new();
    let mut lines: BTreeMap<(usize, usize, &str), Line<'_>> = BTreeMap::new();
    for row in rows {
        if !programs.contains(&row.program.as_str()) {
            programs.push(&row.program);
        }
        // Rounds before this one have left their sessions: sizes are grouped by what was asked for.
        for (name, value) in &row.figures {
            let line = lines.entry((row.store, row.sessions, name)).or_default();
            line.entry(&row.program).or_default().push(*value);
        }
    }
    let mut text = format!("### {scenario}\n\n| finished in the store | sessions | figure |");
    for program in &programs {
        let _ = write!(text, " {program} |");
    }
    let _ = writeln!(text, "\n|---|---|---|{}", "---|".repeat(programs.len()));
    for ((store, sessions, name), line) in lines {
        let _ = write!(
            text,
            "| {store} | {sessions} | {} |",
            name.replace('_', " ")
        );
        for program in &programs {
            match line.get(program).and_then(|values| mean(values)) {
                Some(mean) => drop(write!(text, " {mean:.2} |")),
                None => text.push_str(" |"),
            }
        }
        text.push('\n');
    }
    text
}

fn mean(values: &[f64]) -> Option<f64> {
    let count = u32::try_from(values.len())
        .ok()
        .filter(|count| *count > 0)?;
    Some(values.iter().sum::<f64>() / f64::from(count))
}
