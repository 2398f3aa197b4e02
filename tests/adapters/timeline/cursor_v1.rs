//! The stream of a run of Cursor's API v1, and everything that can be wrong with it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::response::Response;
use codeagent_operator::api::ProviderKind;
use codeagent_operator::domain::timeline::{Event, EventType, LOST_RECORD, Position};
use codeagent_operator::providers::contract::{MessageRun, NextPage, Provider, TimelineRequest};
use codeagent_operator::providers::error::{ErrorClass, ProviderError};
use codeagent_operator::providers::http::HttpSettings;
use futures::{StreamExt, stream};
use serde_json::json;
use tokio::time::timeout;

use super::{after, run, told};
use crate::support::*;

/// For anything that must happen at all.
const BOUND: Duration = Duration::from_secs(60);
const DONE: &str = "event: done\nid: 99-0\ndata: {}\n\n";

/// Waits for what a server says longer than any machine takes to say it.
fn cursor(server: &Server) -> Arc<dyn Provider> {
    let patient = HttpSettings {
        stream_quiet: BOUND,
        ..settings()
    };
    connect(&stack(patient), ProviderKind::Cursor, &server.url)
}

/// A stream that says this and ends.
fn says(text: impl Into<String>) -> Response {
    says_for(stream::iter([text.into()]))
}

fn says_for(text: impl futures::Stream<Item = String> + Send + 'static) -> Response {
    let body = text.map(|text| Ok::<_, std::io::Error>(Bytes::from(text)));
    Response::builder()
        .header("content-type", "text/event-stream; charset=utf-8")
        .body(Body::from_stream(body))
        .unwrap()
}

fn assistant(id: u32, text: &str) -> String {
    format!(
        "event: assistant\nid: {id}-0\ndata: {}\n\n",
        json!({ "text": text })
    )
}

fn one(ended: bool) -> Vec<MessageRun> {
    vec![run("prompt", "bc-1", Some("run-1"), ended)]
}

async fn follow(
    provider: &Arc<dyn Provider>,
    request: TimelineRequest,
) -> Vec<Result<Event, ProviderError>> {
    let stream = provider.timeline_stream().unwrap();
    timeout(BOUND, stream.follow(request).collect())
        .await
        .unwrap()
}

/// Every event; none may be an error.
async fn all(provider: &Arc<dyn Provider>, request: TimelineRequest) -> Vec<Event> {
    follow(provider, request)
        .await
        .into_iter()
        .map(Result::unwrap)
        .collect()
}

#[tokio::test]
async fn one_family_of_events_is_counted_and_what_no_document_names_passes_under_its_own_name() {
    let text = [
        "event: status\ndata: {\"runId\":\"run-1\",\"status\":\"RUNNING\"}\n\n",
        ": a comment\n\nevent: heartbeat\ndata: {}\n\n",
        "event: interaction_update\nid: 1-0\ndata: {\"type\":\"text-delta\",\"text\":\"Hi \"}\n\n",
        "event: assistant\nid: 1-0\ndata: {\"text\":\"Hi \"}\n\n",
        "event: thinking\nid: 2-0\ndata: {\"text\":\"Reading\"}\n\n",
        "event: tool_call\nid: 3-0\ndata: {\"callId\":\"c\",\"name\":\"shell\",\"status\":\"running\",\"args\":{\"command\":\"ls\"}}\n\n",
        "event: mood\nid: 4-0\ndata: {\"mood\":\"good\"}\n\n",
        "event: mood\ndata: {\"mood\":\"without an id\"}\n\n",
        "event: assistant\nid: 5-0\ndata: {broken\n\n",
        "event: result\nid: 6-0\ndata: {\"runId\":\"run-1\",\"status\":\"FINISHED\",\"text\":\"Done\",\"durationMs\":7}\n\n",
        DONE,
        "event: assistant\nid: 100-0\ndata: {\"text\":\"after the end\"}\n\n",
    ];
    let server = Server::start(move |_| says(text.concat())).await;
    let cursor = cursor(&server);
    let page = cursor
        .timeline()
        .unwrap()
        .page(&after(0, &one(false)), 200)
        .await
        .unwrap();
    assert_eq!(
        told(&page.events),
        [
            (1, EventType::Assistant, "Hi "),
            (2, EventType::Thinking, "Reading"),
            (3, EventType::ToolCall, "shell running"),
            (4, EventType::Output, "mood"),
            (5, EventType::Error, "this event cannot be read"),
            (6, EventType::Result, "Done"),
        ]
    );
    assert_eq!(page.events[2].entry.payload["args"]["command"], "ls");
    assert_eq!(
        page.events[3].entry.payload,
        json!({"event": "mood", "data": {"mood": "good"}})
    );
    assert_eq!(page.events[5].entry.payload["durationMs"], 7);
    assert_eq!(page.events[5].entry.payload["text"], json!(null));
    assert!(
        page.events
            .iter()
            .all(|event| event.entry.message.as_deref() == Some("prompt"))
    );
    // The status still says that it works.
    assert_eq!(page.next, NextPage::Later);
    assert_eq!(all(&cursor, after(0, &one(true))).await, page.events);
    let seen = server.seen().remove(0);
    assert_eq!(seen.target, "/v1/agents/bc-1/runs/run-1/stream");
    assert_eq!(seen.header("accept"), Some("text/event-stream"));
    assert_eq!(seen.header("last-event-id"), None);
}

#[tokio::test]
async fn a_line_of_ten_megabytes_is_one_error_and_the_rest_is_read() {
    let text = [
        assistant(1, "before"),
        format!(
            "event: tool_call\nid: 2-0\ndata: {{\"result\":\"{}\"}}\n\n",
            "x".repeat(10 << 20)
        ),
        assistant(3, "after"),
        DONE.to_owned(),
    ];
    let server = Server::start(move |_| says(text.concat())).await;
    let events = all(&cursor(&server), after(0, &one(true))).await;
    assert_eq!(
        told(&events),
        [
            (1, EventType::Assistant, "before"),
            (
                2,
                EventType::Error,
                "this event is larger than what is read of one"
            ),
            (3, EventType::Assistant, "after"),
        ]
    );
}

#[tokio::test]
async fn a_connection_that_ends_early_is_made_again_behind_the_last_event() {
    let connections = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&connections);
    let server = Server::start(move |_| match counted.fetch_add(1, Ordering::SeqCst) {
        // In the middle of an event.
        0 => says(assistant(1, "one") + "event: assistant\nid: 2-0\ndata: {\"te"),
        1 => says("event: error\ndata: {\"code\":\"stream_unavailable\"}\n\n"),
        2 => refusal(503, "upstream_error"),
        3 => says(assistant(2, "two")),
        _ => says(assistant(3, "three") + DONE),
    })
    .await;
    let events = all(&cursor(&server), after(0, &one(false))).await;
    assert_eq!(
        told(&events),
        [
            (1, EventType::Assistant, "one"),
            (2, EventType::Assistant, "two"),
            (3, EventType::Assistant, "three")
        ]
    );
    let resumed: Vec<Option<String>> = server
        .seen()
        .iter()
        .map(|seen| seen.header("last-event-id").map(str::to_owned))
        .collect();
    let (one, two) = (Some("1-0".to_owned()), Some("2-0".to_owned()));
    assert_eq!(resumed, [None, one.clone(), one.clone(), one, two]);
}

#[tokio::test]
async fn an_event_id_that_cursor_no_longer_knows_costs_no_number_and_no_event() {
    let server = Server::start(|seen| match seen.header("last-event-id") {
        Some(_) => refusal(400, "invalid_last_event_id"),
        None => says(assistant(1, "one") + &assistant(2, "two") + &assistant(3, "three") + DONE),
    })
    .await;
    let cursor = cursor(&server);
    let timeline = cursor.timeline().unwrap();
    let (mut texts, mut request) = (Vec::new(), after(0, &one(true)));
    loop {
        let page = timeline.page(&request, 1).await.unwrap();
        for event in page.events {
            request.since = event.seq;
            texts.push((event.seq, event.entry.text));
        }
        request.from = Some(page.position);
        if page.next == NextPage::Never {
            break;
        }
    }
    let expected = [(1, "one"), (2, "two"), (3, "three")];
    assert_eq!(texts, expected.map(|(seq, text)| (seq, text.to_owned())));
}

#[tokio::test]
async fn a_run_whose_stream_has_expired_is_one_gap_and_the_next_run_goes_on() {
    let server = Server::start(|seen| match seen.target.contains("run-1") {
        true => refusal(410, "stream_expired"),
        false => says(assistant(1, "more") + DONE),
    })
    .await;
    let cursor = cursor(&server);
    let runs = [
        run("prompt", "bc-1", Some("run-1"), true),
        run("more", "bc-1", Some("run-2"), true),
    ];
    let events = all(&cursor, after(0, &runs)).await;
    assert_eq!(events.len(), 2);
    assert_eq!(
        (
            events[0].seq,
            events[0].entry.kind,
            events[0].entry.message.as_deref()
        ),
        (LOST_RECORD, EventType::Gap, Some("prompt"))
    );
    assert_eq!(
        told(&events[1..]),
        [(LOST_RECORD + 1, EventType::Assistant, "more")]
    );
    // A replica that still knows how long the first run was keeps its numbers, and goes on behind those of one that does not.
    let timeline = cursor.timeline().unwrap();
    for (since, seq) in [(4, 5), (LOST_RECORD, LOST_RECORD + 1)] {
        let known = TimelineRequest {
            from: Some(Position {
                closed: vec![4],
                ..Position::default()
            }),
            ..after(since, &runs)
        };
        let page = timeline.page(&known, 10).await.unwrap();
        assert_eq!(told(&page.events), [(seq, EventType::Assistant, "more")]);
        assert_eq!(page.next, NextPage::Never);
    }
}

#[tokio::test]
async fn endless_comments_hold_up_no_page_and_end_a_stream_that_is_followed() {
    let comments = || {
        stream::repeat(": still here\n\n".to_owned()).then(|text| async {
            tokio::time::sleep(Duration::from_millis(5)).await;
            text
        })
    };
    let server = Server::start(move |seen| match seen.header("last-event-id") {
        None => says_for(stream::iter([assistant(1, "one")]).chain(comments())),
        Some(_) => says_for(comments()),
    })
    .await;
    let http = stack(HttpSettings {
        stream_idle_timeout: Duration::from_millis(400),
        ..settings()
    });
    let impatient = connect(&http, ProviderKind::Cursor, &server.url);
    let request = after(0, &one(false));
    let reading = async {
        // A slow machine may take longer than the page waits.
        loop {
            let page = impatient.timeline().unwrap().page(&request, 200);
            let page = page.await.unwrap();
            assert_eq!(page.next, NextPage::Later);
            if !page.events.is_empty() {
                return page.events.len();
            }
        }
    };
    assert_eq!(timeout(BOUND, reading).await.unwrap(), 1);

    let mut followed = follow(&impatient, after(0, &one(false))).await;
    let error = followed.pop().unwrap().unwrap_err();
    assert_eq!(error.class, ErrorClass::Timeout);
    assert!(error.message.contains("nothing was told"), "{error}");
}

/// They come more often than a page waits for an event.
#[tokio::test]
async fn signs_of_life_hold_up_no_page() {
    let heartbeats = || {
        stream::repeat("event: heartbeat\ndata: {}\n\n".to_owned()).then(|text| async {
            tokio::time::sleep(Duration::from_millis(5)).await;
            text
        })
    };
    let server = Server::start(move |seen| match seen.header("last-event-id") {
        None => says_for(stream::iter([assistant(1, "one")]).chain(heartbeats())),
        Some(_) => says_for(heartbeats()),
    })
    .await;
    let cursor = connect(&stack(settings()), ProviderKind::Cursor, &server.url);
    let request = after(0, &one(false));
    let page = cursor.timeline().unwrap().page(&request, 200);
    let page = timeout(BOUND, page).await.unwrap().unwrap();
    assert_eq!(page.next, NextPage::Later);
}

#[tokio::test]
async fn a_stream_has_a_connection_of_its_own_and_nothing_of_a_refusal_shows_a_key() {
    let server = Server::start(|seen| match seen.target.as_str() {
        "/v1/me" => reply(
            200,
            json!({"apiKeyName": "CI", "createdAt": "2026-01-01T00:00:00Z"}),
        ),
        _ => reply(
            401,
            json!({"error": {"code": "unauthorized", "message": format!("no such key {KEY}")}}),
        ),
    })
    .await;
    let cursor = cursor(&server);
    cursor.verify().await.unwrap();
    for (refused, streamed) in [(0, 2), (1, 3)] {
        let mut told = follow(&cursor, after(0, &one(false))).await;
        let error = told.pop().unwrap().unwrap_err();
        assert_eq!(
            (told.len(), error.class),
            (0, ErrorClass::Unauthorized),
            "{refused}"
        );
        assert!(!error.to_string().contains("canary"), "{error}");
        assert_eq!(server.connections(), streamed);
    }
    cursor.verify().await.unwrap();
    assert_eq!(server.connections(), 3);
}

#[tokio::test]
async fn a_run_that_is_not_known_yet_is_waited_for_and_an_old_one_is_a_gap() {
    let server = Server::start(|_| says(assistant(1, "more") + DONE)).await;
    let cursor = cursor(&server);
    let timeline = cursor.timeline().unwrap();
    let page = timeline
        .page(&after(0, &[run("prompt", "bc-1", None, false)]), 10)
        .await
        .unwrap();
    assert_eq!((page.events.len(), page.next), (0, NextPage::Later));
    assert!(server.lines().is_empty());
    let runs = [
        run("prompt", "bc-1", None, true),
        run("more", "bc-1", Some("run-2"), true),
    ];
    let page = timeline.page(&after(0, &runs), 10).await.unwrap();
    assert_eq!(page.events[0].entry.kind, EventType::Gap);
    assert_eq!(
        told(&page.events[1..]),
        [(LOST_RECORD + 1, EventType::Assistant, "more")]
    );
    assert_eq!(page.next, NextPage::Never);
}
