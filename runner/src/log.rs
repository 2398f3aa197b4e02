//! The standard output: one line for each event, numbered, dated, without secrets.

use std::io::Write;

use codeagent_runner_protocol::{Event, EventType, VERSION};
use jiff::Timestamp;

use crate::adapters::Told;
use crate::redact::Secrets;

/// Where events go.
pub struct Log<W> {
    out: W,
    seq: u64,
    secrets: Secrets,
}

impl<W: Write> Log<W> {
    pub fn new(out: W, secrets: Secrets) -> Self {
        Self {
            out,
            seq: 0,
            secrets,
        }
    }

    pub fn secrets(&self) -> &Secrets {
        &self.secrets
    }

    pub fn tell(&mut self, told: Told) {
        self.seq += 1;
        let event = Event {
            v: VERSION,
            seq: self.seq,
            time: Timestamp::now().to_string(),
            kind: told.kind,
            // Before anything is cut: a part of a secret is one as well.
            text: self.secrets.redact(&told.text),
            payload: told
                .payload
                .map(|payload| self.secrets.redact_json(payload)),
        };
        // Nobody reads it any more. What was done must be finished and reported all the same.
        let _ = self.out.write_all(event.to_line().as_bytes());
        let _ = self.out.flush();
    }

    pub fn status(&mut self, text: impl Into<String>) {
        self.tell(Told::new(EventType::Status, text));
    }
}
