//! Telling a person that something long goes on.

use std::{
    io::{self, IsTerminal, Write},
    time::{Duration, Instant},
};

/// Progress on standard error: a line that is rewritten on a terminal, else a new line now and then.
///
/// It writes to the stream itself, because a test runner holds back what is printed by macros.
pub(crate) struct Progress {
    started: Instant,
    terminal: bool,
    shown: Option<Instant>,
}

impl Progress {
    pub(crate) fn start() -> Progress {
        Progress {
            started: Instant::now(),
            terminal: io::stderr().is_terminal(),
            shown: None,
        }
    }

    pub(crate) fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    /// Shows `state` unless the last one was shown a moment ago.
    pub(crate) fn show(&mut self, state: &str) {
        let interval = match self.terminal {
            true => Duration::from_millis(200),
            false => Duration::from_secs(20),
        };
        if self.shown.is_some_and(|shown| shown.elapsed() < interval) {
            return;
        }
        self.shown = Some(Instant::now());
        let elapsed = minutes(self.elapsed());
        match self.terminal {
            true => write(&format!("\r{state}, {elapsed}\x1b[K")),
            false => write(&format!("{state}, {elapsed}\n")),
        }
    }

    /// Shows the last state of all.
    pub(crate) fn finish(self, state: &str) {
        let start = if self.terminal { "\r" } else { "" };
        let end = if self.terminal { "\x1b[K" } else { "" };
        write(&format!(
            "{start}{state}, {}{end}\n",
            minutes(self.elapsed())
        ));
    }
}

/// Tells one thing.
pub(crate) fn tell(message: &str) {
    write(&format!("{message}\n"));
}

/// For example `6:48`.
pub(crate) fn minutes(duration: Duration) -> String {
    let seconds = duration.as_secs();
    format!("{}:{:02}", seconds / 60, seconds % 60)
}

fn write(text: &str) {
    let mut stderr = io::stderr().lock();
    // Nobody may be listening, and the work goes on all the same.
    let _ = stderr
        .write_all(text.as_bytes())
        .and_then(|()| stderr.flush());
}
