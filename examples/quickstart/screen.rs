//! The sessions on the terminal: a table that is drawn anew on a terminal, a line for each change elsewhere.

use std::collections::BTreeMap;
use std::io::{IsTerminal, Write};
use std::time::Instant;

use codeagent_operator::api::{CodeSession, ConditionStatus, SessionPhase, condition};
use kube::ResourceExt;

struct Row {
    phase: SessionPhase,
    /// Whether its last message has ended.
    completed: bool,
    provider: String,
    text: String,
    seconds: f64,
}

/// What is shown.
pub struct Screen {
    rows: BTreeMap<String, Row>,
    begun: Instant,
    drawn: usize,
    terminal: bool,
}

impl Screen {
    pub fn new() -> Self {
        let terminal = std::io::stdout().is_terminal();
        Self {
            rows: BTreeMap::new(),
            begun: Instant::now(),
            drawn: 0,
            terminal,
        }
    }

    /// Shows a session as it now is.
    pub fn show(&mut self, session: &CodeSession) {
        let status = session.status.clone().unwrap_or_default();
        let pull_request = status
            .pull_request
            .as_ref()
            .and_then(|stored| stored.url.clone());
        let said =
            condition(&status.conditions, "Succeeded").map(|succeeded| succeeded.message.clone());
        let completed = condition(&status.conditions, "Completed")
            .is_some_and(|completed| completed.status == ConditionStatus::True);
        let text = match completed {
            true => pull_request.or(said),
            // The pull request is there while a further message is worked on.
            false => said.or(pull_request),
        };
        let text = text.unwrap_or_default();
        let provider = status
            .provider
            .map(|provider| provider.kind)
            .unwrap_or_default();
        let name = session.name_any();
        let changed = self.rows.get(&name).is_none_or(|row| {
            (row.phase, row.completed) != (status.phase, completed) || row.text != text
        });
        if !changed {
            return;
        }
        let seconds = self.begun.elapsed().as_secs_f64();
        self.rows.insert(
            name.clone(),
            Row {
                phase: status.phase,
                completed,
                provider,
                text,
                seconds,
            },
        );
        if self.terminal {
            self.draw();
        } else if let Some(row) = self.rows.get(&name) {
            println!("{}", line(&name, row));
        }
    }

    /// A session is gone.
    pub fn remove(&mut self, session: &CodeSession) {
        let name = session.name_any();
        self.rows.remove(&name);
        if self.terminal {
            self.draw();
        } else {
            println!(
                "{:>6.1}s  {name:<20} deleted",
                self.begun.elapsed().as_secs_f64()
            );
        }
    }

    /// The phase of a session, once it has been shown.
    pub fn phase(&self, name: &str) -> Option<SessionPhase> {
        self.rows.get(name).map(|row| row.phase)
    }

    /// Whether a session and all of its messages have ended.
    pub fn is_completed(&self, name: &str) -> bool {
        self.rows.get(name).is_some_and(|row| row.completed)
    }

    /// What was last said of a session.
    pub fn message(&self, name: &str) -> String {
        self.rows
            .get(name)
            .map(|row| row.text.clone())
            .unwrap_or_default()
    }

    fn draw(&mut self) {
        let mut out = std::io::stdout().lock();
        let mut text = String::new();
        if self.drawn > 0 {
            text.push_str(&format!("\x1b[{}A", self.drawn));
        }
        text.push_str("\x1b[J");
        text.push_str(&format!(
            "{:>7}  {:<20} {:<10} {:<11} {}\n",
            "AT", "SESSION", "PHASE", "PROVIDER", "PULL REQUEST"
        ));
        for (name, row) in &self.rows {
            text.push_str(&line(name, row));
            text.push('\n');
        }
        self.drawn = self.rows.len() + 1;
        // Nobody is there to be told that the terminal is gone.
        let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    }
}

fn line(name: &str, row: &Row) -> String {
    let text: String = row
        .text
        .lines()
        .next()
        .unwrap_or_default()
        .chars()
        .take(100)
        .collect();
    format!(
        "{:>6.1}s  {:<20} {:<10} {:<11} {}",
        row.seconds,
        name,
        row.phase.as_str(),
        row.provider,
        text
    )
}
