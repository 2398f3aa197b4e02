//! The server-sent events of a run.
//!
//! The events of a run are a function of its timeline; a stream is a position in them.

use std::time::Duration;

use serde_json::{Value, json};

use super::agent::{Agent, Run, status_word};
use super::wire::{Usage, duration_ms, git};
use crate::clock::{Clock, Moment};
use crate::http::{Refusal, StreamPosition, StreamStep};
use crate::members::insert;
use crate::options::CursorOptions;
use crate::timeline::{Ending, Stage};

struct Event {
    name: &'static str,
    data: Value,
    /// `status` has none.
    id: Option<String>,
}

impl Event {
    fn text(&self) -> String {
        let id = self
            .id
            .as_ref()
            .map(|id| format!("id: {id}\n"))
            .unwrap_or_default();
        format!("event: {}\n{id}data: {}\n\n", self.name, self.data)
    }
}

/// What is told of one thing, in each of the two forms that clients read: they share an id.
type Told = Vec<(&'static str, Value)>;

/// All events up to `now`, and none that happens later.
fn events(agent: &Agent, run: &Run, now: Moment, clock: &Clock) -> Vec<Event> {
    let timeline = &run.timeline;
    let mut planned = plan(run);
    let end = timeline.ended(now);
    planned.retain(|(at, _)| *at <= now && end.is_none_or(|(end, _)| *at <= end));
    if let Some((at, ending)) = end {
        if matches!(ending, Ending::Finished | Ending::Error) {
            let usage = Usage::in_the_end(&timeline.script).of_turn();
            planned.push((
                at,
                vec![update(json!({"type": "turn-ended", "usage": usage}))],
            ));
        }
        let status = status_word(Stage::Ended(ending));
        planned.push((
            at,
            vec![("status", json!({"runId": run.id, "status": status}))],
        ));
        let mut result = json!({"runId": run.id, "status": status});
        if let Some(text) = run.result(now) {
            insert(&mut result, "text", json!(text));
        }
        if let Some(duration) = duration_ms(run, now) {
            insert(&mut result, "durationMs", json!(duration));
        }
        let branches = agent.branches(now);
        if !branches.is_empty() {
            insert(&mut result, "git", git(&branches));
        }
        planned.push((at, vec![("result", result)]));
        planned.push((at, vec![("done", json!({}))]));
    }
    let mut events = Vec::new();
    for (index, (at, told)) in planned.into_iter().enumerate() {
        let id = format!("{}-{index}", clock.unix_millis(at));
        events.extend(told.into_iter().map(|(name, data)| Event {
            name,
            data,
            id: (name != "status").then(|| id.clone()),
        }));
    }
    events
}

/// One of the events that Cursor's own clients take the conversation and the usage from (their versions of October 2026).
fn update(data: Value) -> (&'static str, Value) {
    ("interaction_update", data)
}

/// What the agent does in its one step: a thought, a tool call, then its answer word by word.
fn work(run: &Run) -> Vec<Told> {
    let script = &run.timeline.script;
    let milliseconds = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    let arguments = json!({"command": "cargo test"});
    let call = |result: Option<Value>| {
        let mut call = json!({"type": "shell", "args": arguments});
        if let Some(result) = result {
            insert(&mut call, "result", result);
        }
        call
    };
    let done = json!({"exitCode": 0});
    let mut work: Vec<Told> = vec![
        vec![update(json!({"type": "step-started", "stepId": 1}))],
        vec![
            ("thinking", json!({"text": "Reading the code"})),
            update(json!({"type": "thinking-delta", "text": "Reading the code"})),
        ],
        vec![update(
            json!({"type": "thinking-completed", "thinkingDurationMs": 5}),
        )],
        vec![
            (
                "tool_call",
                json!({"callId": "call-1", "name": "shell", "status": "running", "args": arguments}),
            ),
            update(json!({
                "type": "tool-call-started",
                "callId": "call-1",
                "toolCall": call(None),
                "modelCallId": "model-1",
            })),
        ],
        vec![
            (
                "tool_call",
                json!({"callId": "call-1", "name": "shell", "status": "completed", "args": arguments, "result": done}),
            ),
            update(json!({
                "type": "tool-call-completed",
                "callId": "call-1",
                "toolCall": call(Some(done)),
                "modelCallId": "model-1",
            })),
        ],
    ];
    work.extend(script.result().split_inclusive(' ').map(|word| {
        vec![
            ("assistant", json!({"text": word})),
            update(json!({"type": "text-delta", "text": word})),
        ]
    }));
    let tokens = Usage::in_the_end(script).output();
    work.push(vec![update(
        json!({"type": "token-delta", "tokens": tokens}),
    )]);
    work.push(vec![update(json!({
        "type": "step-completed",
        "stepId": 1,
        "stepDurationMs": milliseconds(script.running()),
    }))]);
    work
}

/// The work of a run, spread over its working time.
fn plan(run: &Run) -> Vec<(Moment, Told)> {
    let timeline = &run.timeline;
    let work = work(run);
    let from = timeline.working_from();
    let steps = u32::try_from(work.len()).unwrap_or(u32::MAX).max(1);
    let step = timeline.script.running() / steps;
    let status = |status: &str| vec![("status", json!({"runId": run.id, "status": status}))];
    let mut planned = vec![
        (timeline.begun, status("CREATING")),
        (from, status("RUNNING")),
    ];
    planned.extend(
        work.into_iter()
            .zip(0u32..)
            .map(|(told, index)| (from.plus(step.saturating_mul(index)), told)),
    );
    planned
}

/// Where a new stream begins.
pub(super) fn open(
    agent: &Agent,
    run: &Run,
    last_event_id: Option<&str>,
    options: &CursorOptions,
    now: Moment,
    clock: &Clock,
) -> Result<StreamPosition, Refusal> {
    if let Some((ended, _)) = run.timeline.ended(now)
        && now.since(ended) > options.stream_retention
    {
        return Err(Refusal::new(
            http::StatusCode::GONE,
            "stream_expired",
            "The stream's retention window has elapsed",
        ));
    }
    let through = match last_event_id {
        None => 0,
        Some(id) => resume_after(agent, run, id, now, clock)?,
    };
    Ok(StreamPosition {
        session: agent.id.clone(),
        run: run.id.clone(),
        through,
        greeted: false,
        last_sent: now,
        heartbeats: 0,
    })
}

/// An id of this run resumes after it, one of another run or of no known form is refused. An invented id of the right form is accepted and
/// replays nothing (observed).
fn resume_after(
    agent: &Agent,
    run: &Run,
    id: &str,
    now: Moment,
    clock: &Clock,
) -> Result<usize, Refusal> {
    let has_id = |event: &Event| event.id.as_deref() == Some(id);
    let own = events(agent, run, now, clock);
    if let Some(index) = own.iter().rposition(has_id) {
        return Ok(index + 1);
    }
    let foreign = agent
        .runs
        .iter()
        .any(|other| events(agent, other, now, clock).iter().any(has_id));
    let well_formed = id.split_once('-').is_some_and(|(time, sequence)| {
        time.parse::<u64>().is_ok() && sequence.parse::<u64>().is_ok()
    });
    if foreign || !well_formed {
        return Err(Refusal::new(
            http::StatusCode::BAD_REQUEST,
            "invalid_last_event_id",
            "Last-Event-ID does not belong to this run",
        ));
    }
    Ok(own.len())
}

/// The next thing to send.
pub(super) fn step(
    agent: &Agent,
    run: &Run,
    position: &mut StreamPosition,
    options: &CursorOptions,
    now: Moment,
    clock: &Clock,
) -> StreamStep {
    let events = events(agent, run, now, clock);
    if !position.greeted {
        position.greeted = true;
        // A first connection starts with the recorded statuses themselves.
        if position.through > 0 {
            let status = json!({"runId": run.id, "status": run.status(now)});
            return StreamStep::Send(format!("event: status\ndata: {status}\n\n"));
        }
    }
    if let Some(event) = events.get(position.through) {
        position.through += 1;
        position.last_sent = now;
        position.heartbeats = 0;
        return StreamStep::Send(event.text());
    }
    if run.timeline.ended(now).is_some() {
        return StreamStep::End;
    }
    let patience = if position.heartbeats == 0 {
        options.first_heartbeat
    } else {
        options.heartbeat
    };
    if now.since(position.last_sent) >= patience {
        position.last_sent = now;
        position.heartbeats += 1;
        return StreamStep::Send("event: heartbeat\ndata: {}\n\n".to_owned());
    }
    StreamStep::Wait
}
