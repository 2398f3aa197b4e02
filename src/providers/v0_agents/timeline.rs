//! What was said in a session, as its timeline. Neither provider tells what the agent does beside that, nor when.
//!
//! An agent's conversation is one record: its messages in their order, the first has number 1. It is told as a whole, and grows at its end.
//! A session whose follow-up another agent took over (Firebender) has one record for each agent.

use serde::Deserialize;
use serde_json::{Value, json};

use super::message::Message;
use crate::domain::ids::SessionId;
use crate::domain::marker::{Marker, MarkerSubject};
use crate::domain::timeline::{Entry, EventType, MAX_PAGE, Numbering};
use crate::providers::contract::{MessageRun, NextPage, TimelinePage, TimelineRequest};
use crate::providers::error::{ErrorClass, ProviderError};
use crate::providers::http::{Api, Operation};
use crate::providers::wire::Items;

/// What stands for a prompt: it may come from a Secret, which those who read a timeline may not read.
const PROMPTED: &str = "the agent was given a message";
const UNREADABLE: &str = "this message cannot be read";
const TOO_MANY: &str = "there are more messages than are read of one conversation";
const SHORTER: &str = "the conversation was longer before";
const GONE: &str = "the provider no longer has this conversation";
const TOO_LARGE: &str = "the conversation is larger than what is read of one answer";

/// `GET /v0/agents/{id}/conversation`, in chronological order. A message that cannot be read keeps its place.
#[derive(Deserialize)]
struct Conversation {
    messages: Items<Value>,
}

/// What was read of a conversation.
enum Read {
    Messages(Items<Value>),
    Gone(&'static str),
}

/// What [`Timeline::page`](crate::providers::contract::Timeline::page) owes.
pub(in crate::providers) async fn page(
    api: &Api,
    request: &TimelineRequest,
    limit: usize,
) -> Result<TimelinePage, ProviderError> {
    let page = read_page(api, request, limit).await?;
    match request.without_lengths(&page) {
        Some(anew) => read_page(api, &anew, limit).await,
        None => Ok(page),
    }
}

async fn read_page(
    api: &Api,
    request: &TimelineRequest,
    limit: usize,
) -> Result<TimelinePage, ProviderError> {
    let limit = limit.clamp(1, MAX_PAGE);
    let agents: Vec<&[MessageRun]> = request
        .runs
        .chunk_by(|one, next| one.session_id == next.session_id)
        .collect();
    let mut numbering = Numbering::new(request.from.as_ref(), request.since);
    let mut events = Vec::new();
    let idle = match request.runs.last() {
        Some(newest) if !newest.ended => NextPage::Later,
        // It may go on all the same, with a further message.
        _ => NextPage::Never,
    };
    let mut next = idle;
    while let Some(runs) = agents.get(numbering.record()) {
        let Some(newest) = runs.last() else { break };
        let is_last = numbering.record() + 1 == agents.len();
        let message = || Some(newest.message.clone());
        match read(api, &newest.session_id, newest.ended || !is_last).await? {
            Read::Gone(why) => events.extend(numbering.lose(message(), why)),
            Read::Messages(messages) => {
                let read = usize::try_from(numbering.position().read).unwrap_or(usize::MAX);
                let mut entries = entries(messages, runs).into_iter().skip(read);
                for entry in entries.by_ref() {
                    events.extend(numbering.entry(api.shown(entry), None));
                    if events.len() == limit {
                        break;
                    }
                }
                if is_last && entries.len() == 0 {
                    break;
                }
                if entries.len() == 0 {
                    events.extend(numbering.close(message(), SHORTER));
                }
            }
        }
        if events.len() >= limit {
            next = NextPage::Now;
            break;
        }
    }
    Ok(TimelinePage {
        events,
        next,
        position: numbering.position().clone(),
    })
}

/// Reads a conversation. `ended`: nothing more is worked on there, so that one that is not there will not come.
async fn read(api: &Api, session: &SessionId, ended: bool) -> Result<Read, ProviderError> {
    let path = ["v0", "agents", session.as_str(), "conversation"];
    let answer: Result<Option<Conversation>, ProviderError> =
        api.get_if_it_fits(Operation::Timeline, &path, &[]).await;
    match answer {
        Ok(Some(conversation)) => Ok(Read::Messages(conversation.messages)),
        Ok(None) => Ok(Read::Gone(TOO_LARGE)),
        // 409: the agent is deleted or archived.
        Err(error)
            if ended && matches!(error.class, ErrorClass::NotFound | ErrorClass::Conflict) =>
        {
            Ok(Read::Gone(GONE))
        }
        Err(error) => Err(error),
    }
}

/// The messages of a conversation as entries.
fn entries(messages: Items<Value>, runs: &[MessageRun]) -> Vec<Entry> {
    let mut message = None;
    let more = messages.missing() > 0;
    let mut entries: Vec<Entry> = messages
        .readable
        .into_iter()
        .map(|told| {
            let Ok(said) = serde_json::from_value::<Message>(told) else {
                return Entry {
                    message: message.clone(),
                    ..Entry::new(EventType::Error, UNREADABLE)
                };
            };
            let text = said.text.unwrap_or_default();
            let entry = match said.kind.as_deref() {
                Some("user_message") => {
                    message = message_of(&text, runs);
                    Entry {
                        payload: json!({"event": "user_message", "bytes": text.len()}),
                        ..Entry::new(EventType::Status, PROMPTED)
                    }
                }
                Some("assistant_message") => Entry::new(EventType::Assistant, text),
                Some(other) => Entry::unknown(other, json!({ "text": text })),
                None => Entry::new(EventType::Output, text),
            };
            Entry {
                message: message.clone(),
                ..entry
            }
        })
        .collect();
    if more {
        entries.push(Entry::new(EventType::Error, TOO_MANY));
    }
    entries
}

/// The message that a prompt is, by the marker under it; `None` if it is none of ours.
fn message_of(prompt: &str, runs: &[MessageRun]) -> Option<String> {
    let named = |name: &str| runs.iter().find(|run| run.message == name);
    let run = match Marker::find(prompt)?.subject {
        MarkerSubject::Launch(_) => runs.first(),
        MarkerSubject::Message(name) => named(&name),
    };
    run.map(|run| run.message.clone())
}
