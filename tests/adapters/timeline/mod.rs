//! What each adapter makes of its provider's own record of what an agent did, and of what is wrong with it.

mod conversations;
mod cursor_v1;
mod flapjack;

use codeagent_operator::domain::ids::{RunId, SessionId};
use codeagent_operator::domain::timeline::{Event, EventType};
use codeagent_operator::providers::contract::{MessageRun, TimelineRequest};

/// A run of `session` that works on `message`.
fn run(message: &str, session: &str, run: Option<&str>, ended: bool) -> MessageRun {
    MessageRun {
        message: message.to_owned(),
        session_id: SessionId::new(session),
        run_id: run.map(RunId::new),
        ended,
    }
}

fn after(since: u64, runs: &[MessageRun]) -> TimelineRequest {
    TimelineRequest {
        runs: runs.to_vec(),
        since,
        from: None,
    }
}

/// Number, type and text of each.
fn told(events: &[Event]) -> Vec<(u64, EventType, &str)> {
    events
        .iter()
        .map(|event| (event.seq, event.entry.kind, event.entry.text.as_str()))
        .collect()
}

fn messages(events: &[Event]) -> Vec<Option<&str>> {
    events
        .iter()
        .map(|event| event.entry.message.as_deref())
        .collect()
}
