//! Flapjack numbers its events itself.

use std::sync::Arc;

use codeagent_operator::api::ProviderKind;
use codeagent_operator::domain::timeline::EventType;
use codeagent_operator::providers::contract::{MessageRun, NextPage, Provider, TimelinePage};
use serde_json::{Value, json};

use super::{after, messages, run, told};
use crate::support::*;

fn runs(ended: bool) -> Vec<MessageRun> {
    vec![
        run("prompt", "cs-1", Some("run-1"), true),
        run("more", "cs-1", Some("run-2"), ended),
    ]
}

fn event(seq: u64, kind: &str, payload: Value) -> Value {
    json!({
        "id": format!("evt-{seq}"), "session_id": "cs-1", "message_id": "msg-1", "cursor_run_id": "run-2",
        "event_type": kind, "payload": payload, "seq": seq, "created_at": "2026-05-20T10:00:10Z",
    })
}

async fn telling(events: Value) -> (Server, Arc<dyn Provider>) {
    let server =
        Server::start(move |_| reply(200, json!({"events": events, "last_seq": 142}))).await;
    let flapjack = connect(&stack(settings()), ProviderKind::Flapjack, &server.url);
    (server, flapjack)
}

async fn page(provider: &Arc<dyn Provider>, since: u64, limit: usize, ended: bool) -> TimelinePage {
    let timeline = provider.timeline().unwrap();
    let request = after(since, &runs(ended));
    timeline.page(&request, limit).await.unwrap()
}

#[tokio::test]
async fn the_documented_event_is_read_and_others_pass_under_their_own_names() {
    let (server, flapjack) = telling(json!([
        event(1, "tool_call", json!({"tool": "edit_file", "path": "src/auth.ts"})),
        event(2, "stdout", json!({"text": "ok\u{1b}[0m\n"})),
        event(3, "file_edit", json!({"path": "src/auth.ts"})),
        event(4, "mood_changed", json!({"mood": "good"})),
        {"seq": 5, "cursor_run_id": "run-1"},
        {"seq": 6, "event_type": 7, "payload": "text", "cursor_run_id": "run-9", "created_at": "soon"},
    ]))
    .await;
    let page = page(&flapjack, 0, 200, false).await;
    assert_eq!(
        told(&page.events),
        [
            (1, EventType::ToolCall, "edit_file src/auth.ts"),
            (2, EventType::Output, "ok[0m\n"),
            (3, EventType::FileEdit, "src/auth.ts"),
            (4, EventType::Output, "mood_changed"),
            (5, EventType::Output, ""),
            (6, EventType::Output, ""),
        ]
    );
    let more = Some("more");
    assert_eq!(
        messages(&page.events),
        [more, more, more, more, Some("prompt"), None]
    );
    assert_eq!(
        page.events[0].entry.time.unwrap().to_string(),
        "2026-05-20T10:00:10Z"
    );
    assert_eq!(
        page.events[3].entry.payload,
        json!({"event": "mood_changed", "data": {"mood": "good"}})
    );
    assert_eq!(page.next, NextPage::Later);
    assert_eq!(
        server.lines(),
        ["GET /api/code-sessions/cs-1/events?since=0&limit=200"]
    );
}

#[tokio::test]
async fn what_is_missing_between_two_events_is_one_gap() {
    let (_server, flapjack) = telling(json!([
        event(9, "stdout", json!({"text": "nine"})),
        event(4, "stdout", json!({"text": "four"})),
        event(4, "stdout", json!({"text": "four"})),
        7,
        event(2, "stdout", json!({"text": "before"})),
        event(u64::MAX, "stdout", json!({"text": "no number"})),
        {"seq": "5"},
    ]))
    .await;
    let whole = page(&flapjack, 2, 200, true).await;
    let kinds: Vec<_> = whole
        .events
        .iter()
        .map(|event| (event.seq, event.entry.kind))
        .collect();
    assert_eq!(
        kinds,
        [
            (3, EventType::Gap),
            (4, EventType::Output),
            (8, EventType::Gap),
            (9, EventType::Output)
        ]
    );
    assert_eq!(
        whole.events[2].entry.payload,
        json!({"firstSeq": 5, "lastSeq": 8})
    );
    assert_eq!(whole.next, NextPage::Never);
    // A gap counts as an event of a page.
    let first = page(&flapjack, 2, 1, true).await;
    assert_eq!((first.events[0].seq, first.next), (3, NextPage::Now));
}

#[tokio::test]
async fn a_provider_that_tells_the_same_again_and_again_is_not_asked_again_at_once() {
    let (server, flapjack) = telling(json!([
        event(1, "stdout", json!({})),
        event(2, "stdout", json!({}))
    ]))
    .await;
    let page = page(&flapjack, 2, 2, false).await;
    assert_eq!((page.events.len(), page.next), (0, NextPage::Later));
    assert_eq!(server.lines().len(), 1);
}

#[tokio::test]
async fn what_does_not_fit_one_answer_is_read_in_smaller_ones_and_one_that_never_fits_is_a_gap() {
    // 300 KB each is more than is read.
    let server = Server::start(|seen| {
        let query: Vec<u64> = seen
            .target
            .split(['=', '&'])
            .filter_map(|part| part.parse().ok())
            .collect();
        let [since, limit] = query[..] else {
            panic!("{}", seen.target)
        };
        let large = |seq: u64| if seq == 3 { 300 << 10 } else { 50 << 10 };
        let events: Vec<Value> = (since + 1..=(since + limit).min(20))
            .map(|seq| event(seq, "stdout", json!({"text": "x".repeat(large(seq))})))
            .collect();
        reply(200, json!({"events": events, "last_seq": 20}))
    })
    .await;
    let flapjack = connect(&stack(settings()), ProviderKind::Flapjack, &server.url);
    let (mut seqs, mut gaps, mut since) = (Vec::new(), Vec::new(), 0);
    loop {
        let page = page(&flapjack, since, 500, true).await;
        for event in &page.events {
            seqs.push(event.seq);
            if event.entry.kind == EventType::Gap {
                gaps.push(event.seq);
            }
            assert!(event.entry.text.len() <= 16 << 10);
        }
        since = seqs.last().copied().unwrap_or_default();
        if page.next == NextPage::Never {
            break;
        }
    }
    assert_eq!(seqs, (1..=20).collect::<Vec<u64>>());
    assert_eq!(gaps, [3]);
}
