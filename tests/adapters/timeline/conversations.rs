//! Cursor's API v0 and Firebender tell what was said, as a whole.

use std::sync::Arc;

use codeagent_operator::api::{CursorApiVersion, CursorSpec, ProviderKind, ProviderSpec};
use codeagent_operator::domain::marker::{Marker, MarkerSubject};
use codeagent_operator::domain::timeline::{Event, EventType, LOST_RECORD, Position};
use codeagent_operator::providers::contract::{
    Connection, MessageRun, NextPage, Provider, TimelineRequest,
};
use codeagent_operator::providers::error::ErrorClass;
use codeagent_operator::providers::registry::Registry;
use serde_json::{Value, json};

use super::{after, messages, run, told};
use crate::support::*;

const GIVEN: &str = "the agent was given a message";

/// Both providers, each behind a server of its own.
async fn both(
    answer: impl Fn(&Seen) -> axum::response::Response + Clone + Send + Sync + 'static,
) -> Vec<(Server, Arc<dyn Provider>)> {
    let mut both = Vec::new();
    for kind in [ProviderKind::Cursor, ProviderKind::Firebender] {
        let server = Server::start(answer.clone()).await;
        let http = stack(settings());
        let plain = connection(&http, kind, &server.url, KEY);
        let spec = match kind {
            ProviderKind::Cursor => ProviderSpec {
                cursor: Some(CursorSpec {
                    api_version: Some(CursorApiVersion::V0),
                    endpoint: None,
                }),
                ..ProviderSpec::default()
            },
            _ => plain.spec.clone(),
        };
        let connection = Connection { spec, ..plain };
        let provider = Registry::get(kind).unwrap().connect(connection).unwrap();
        both.push((server, provider));
    }
    both
}

fn marked(text: &str, subject: MarkerSubject) -> String {
    let marker = Marker {
        installation: installation(),
        uid: "uid".to_owned(),
        subject,
    };
    format!("{text}\n\n{marker}")
}

fn said(kind: &str, text: &str) -> Value {
    json!({"id": "m", "type": kind, "text": text})
}

fn one_agent(ended: bool) -> Vec<MessageRun> {
    vec![
        run("prompt", "a-1", None, true),
        run("more", "a-1", None, ended),
    ]
}

async fn read(
    provider: &Arc<dyn Provider>,
    request: &TimelineRequest,
    limit: usize,
) -> (Vec<Event>, NextPage) {
    let timeline = provider.timeline().unwrap();
    let page = timeline.page(request, limit).await.unwrap();
    (page.events, page.next)
}

#[tokio::test]
async fn a_conversation_is_told_message_by_message_and_prompts_without_their_text() {
    let conversation = json!({"id": "a-1", "messages": [
        said("user_message", &marked("The password is hunter2", MarkerSubject::Launch(1))),
        said("assistant_message", "Done."),
        said("user_message", "from the provider's own page"),
        said("assistant_message", "Well."),
        said("user_message", &marked("Go on", MarkerSubject::Message("more".to_owned()))),
        said("tool_message", "something new"),
        7,
        {"text": ["odd"]},
    ]});
    for (server, provider) in both(move |_| reply(200, conversation.clone())).await {
        let (events, next) = read(&provider, &after(0, &one_agent(false)), 200).await;
        assert_eq!(
            told(&events),
            [
                (1, EventType::Status, GIVEN),
                (2, EventType::Assistant, "Done."),
                (3, EventType::Status, GIVEN),
                (4, EventType::Assistant, "Well."),
                (5, EventType::Status, GIVEN),
                (6, EventType::Output, "tool_message"),
                (7, EventType::Error, "this message cannot be read"),
                (8, EventType::Output, ""),
            ]
        );
        let (prompt, more) = (Some("prompt"), Some("more"));
        assert_eq!(
            messages(&events),
            [prompt, prompt, None, None, more, more, more, more]
        );
        assert_eq!(events[5].entry.payload["data"]["text"], "something new");
        assert!(!serde_json::to_string(&events).unwrap().contains("hunter2"));
        assert_eq!(next, NextPage::Later);
        assert_eq!(server.lines(), ["GET /v0/agents/a-1/conversation"]);
        let (rest, next) = read(&provider, &after(6, &one_agent(true)), 200).await;
        assert_eq!((rest.as_slice(), next), (&events[6..], NextPage::Never));
    }
}

#[tokio::test]
async fn an_agent_that_took_a_message_over_is_a_record_of_its_own() {
    let answer = |seen: &Seen| match seen.target.as_str() {
        "/v0/agents/a-1/conversation" => reply(
            200,
            json!({"messages": [said("user_message", "Fix"), said("assistant_message", "Fixed.")]}),
        ),
        _ => reply(
            200,
            json!({"messages": [said("assistant_message", "More.")]}),
        ),
    };
    let runs = [
        run("prompt", "a-1", None, true),
        run("more", "a-2", None, true),
    ];
    for (_server, provider) in both(answer).await {
        let timeline = provider.timeline().unwrap();
        let (events, next) = read(&provider, &after(0, &runs), 200).await;
        assert_eq!(
            told(&events),
            [
                (1, EventType::Status, GIVEN),
                (2, EventType::Assistant, "Fixed."),
                (3, EventType::Assistant, "More.")
            ]
        );
        assert_eq!(next, NextPage::Never);
        let page = timeline.page(&after(0, &runs), 2).await.unwrap();
        assert_eq!(
            (page.events.as_slice(), page.next),
            (&events[..2], NextPage::Now)
        );
    }
}

#[tokio::test]
async fn a_conversation_that_is_gone_is_a_gap_and_one_that_may_come_is_an_error() {
    for status in [404, 409] {
        let answer = move |seen: &Seen| match seen.target.contains("a-1") {
            true => refusal(status, "agent_deleted"),
            false => reply(
                200,
                json!({"messages": [said("assistant_message", "More.")]}),
            ),
        };
        let runs = [
            run("prompt", "a-1", None, true),
            run("more", "a-2", None, false),
        ];
        for (_server, provider) in both(answer).await {
            let (events, _) = read(&provider, &after(0, &runs), 200).await;
            assert_eq!(events[0].entry.kind, EventType::Gap);
            assert_eq!(
                told(&events[1..]),
                [(LOST_RECORD + 1, EventType::Assistant, "More.")]
            );
            let known = TimelineRequest {
                from: Some(Position {
                    closed: vec![12],
                    ..Position::default()
                }),
                ..after(3, &runs)
            };
            let (events, _) = read(&provider, &known, 200).await;
            assert_eq!(
                events[0].entry.payload,
                json!({"firstSeq": 4, "lastSeq": 12})
            );
            assert_eq!(told(&events[1..]), [(13, EventType::Assistant, "More.")]);

            let coming = [run("prompt", "a-1", None, false)];
            let timeline = provider.timeline().unwrap();
            let error = timeline.page(&after(0, &coming), 200).await.unwrap_err();
            assert!(matches!(
                error.class,
                ErrorClass::NotFound | ErrorClass::Conflict
            ));
        }
    }
}

#[tokio::test]
async fn a_conversation_that_is_too_large_is_a_gap() {
    let conversation = json!({"messages": [said("assistant_message", &"x".repeat(300 << 10))]});
    for (_server, provider) in both(move |_| reply(200, conversation.clone())).await {
        let (events, next) = read(&provider, &after(0, &one_agent(false)), 200).await;
        assert_eq!((events[0].entry.kind, events.len()), (EventType::Gap, 1));
        assert!(events[0].entry.text.contains("larger"), "{:?}", events[0]);
        assert_eq!(next, NextPage::Later);
    }
}
