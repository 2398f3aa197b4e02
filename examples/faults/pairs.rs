//! Two faults in one run: all of them, over as many starts of this program as it takes.

use std::collections::HashSet;
use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::sync::Arc;

use codeagent_boundary::Trouble;
use codeagent_boundary::cluster::Cluster;
use codeagent_boundary::matrix::run_all;
use codeagent_boundary::report::Report;
use codeagent_boundary::run::{Outcome, Row};
use serde::{Deserialize, Serialize};

use super::Arguments;
use super::screen::Screen;

/// What is kept of a run between starts, one line of JSON each.
#[derive(Debug, Serialize, Deserialize)]
struct Kept {
    row: String,
    met: usize,
    violations: Vec<String>,
}

/// Rows that were run, in a file that only grows.
struct State {
    known: HashSet<String>,
    file: File,
}

impl State {
    fn open(path: &Path, report: &mut Report) -> Result<Self, Trouble> {
        if let Some(directory) = path.parent() {
            std::fs::create_dir_all(directory)?;
        }
        let file = OpenOptions::new()
            .create(true)
            .read(true)
            .append(true)
            .open(path)?;
        let mut known = HashSet::new();
        for line in BufReader::new(&file).lines() {
            // The last line may be cut, if the program ended while it was written: that row is run again.
            let Ok(kept) = serde_json::from_str::<Kept>(&line?) else {
                continue;
            };
            let row: Row = kept.row.parse()?;
            known.insert(kept.row);
            report.add(&row, Outcome::kept(kept.met, kept.violations));
        }
        Ok(Self { known, file })
    }

    fn keep(&mut self, row: &Row, outcome: &Outcome) -> Result<(), Trouble> {
        let kept = Kept {
            row: row.to_string(),
            met: outcome.met,
            violations: outcome.violations.clone(),
        };
        let line = serde_json::to_string(&kept)? + "\n";
        self.file.write_all(line.as_bytes())?;
        Ok(())
    }
}

/// Runs each single fault, and after it each further one.
pub async fn run(
    cluster: &Arc<Cluster>,
    arguments: &Arguments,
    singles: Vec<Row>,
    report: &mut Report,
) -> Result<(), Trouble> {
    let mut state = State::open(&arguments.state, report)?;
    println!(
        "{} pairs are known from {}",
        state.known.len(),
        arguments.state.display()
    );
    let selection = arguments.selection();
    let mut left = arguments.limit.unwrap_or(usize::MAX);
    // A part of the single faults at a time, so that pairs begin to come at once and nothing has to be kept in memory.
    for part in singles.chunks(arguments.parallel() * 2) {
        if left == 0 {
            println!("the limit is reached; start it again to go on");
            break;
        }
        let mut rows = Vec::new();
        run_all(
            cluster,
            part.to_vec(),
            arguments.parallel(),
            |row, outcome| {
                let further = selection.further(row, &outcome.boundaries);
                rows.extend(
                    further
                        .into_iter()
                        .filter(|row| !state.known.contains(&row.to_string())),
                );
                report.add(row, outcome);
            },
        )
        .await?;
        rows.truncate(left);
        left -= rows.len();
        let mut screen = Screen::new("pairs", rows.len());
        let mut unkept = None;
        run_all(cluster, rows, arguments.parallel(), |row, outcome| {
            screen.ended(row, &outcome);
            unkept = unkept.take().or(state.keep(row, &outcome).err());
            report.add(row, outcome);
        })
        .await?;
        unkept.map_or(Ok(()), Err)?;
    }
    Ok(())
}
