//! Progress, for people.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use codeagent_boundary::run::{Outcome, Row};

/// How often progress is told where lines are kept.
const PACE: Duration = Duration::from_secs(15);
/// How often where a line is overwritten.
const LIVELY: Duration = Duration::from_millis(200);

/// Tells how far a number of runs is.
pub struct Screen {
    what: &'static str,
    all: usize,
    ended: usize,
    violated: usize,
    begun: Instant,
    told: Instant,
    lively: bool,
}

impl Screen {
    /// `all` runs are about to begin.
    pub fn new(what: &'static str, all: usize) -> Self {
        println!("{what}: {all} runs");
        Self {
            what,
            all,
            ended: 0,
            violated: 0,
            begun: Instant::now(),
            told: Instant::now(),
            lively: std::io::stdout().is_terminal(),
        }
    }

    /// A run has ended.
    pub fn ended(&mut self, row: &Row, outcome: &Outcome) {
        self.ended += 1;
        if !outcome.violations.is_empty() {
            self.violated += 1;
            println!("VIOLATION {row}: {}", outcome.violations.join("; "));
        }
        let pace = if self.lively { LIVELY } else { PACE };
        if self.told.elapsed() < pace && self.ended < self.all {
            return;
        }
        self.told = Instant::now();
        let took = self.begun.elapsed().as_secs_f64();
        let left = self.all.saturating_sub(self.ended);
        // Counts of runs are far below what a double holds exactly.
        #[expect(clippy::cast_precision_loss, reason = "see above")]
        let estimate = took / self.ended as f64 * left as f64;
        let line = format!(
            "{}: {} of {}, {} violated, {took:.0} s, about {estimate:.0} s left",
            self.what, self.ended, self.all, self.violated
        );
        if self.lively {
            let end = if left == 0 { "\n" } else { "" };
            print!("\r{line}   {end}");
            // A closed terminal has nobody to tell.
            let _ = std::io::stdout().flush();
        } else {
            println!("{line}");
        }
    }
}
