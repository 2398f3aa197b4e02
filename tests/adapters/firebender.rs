//! Firebender's adapter against hand-written answers in the shapes of its documentation of 2026 and of 2025.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::support::*;
use axum::response::Response;
use codeagent_operator::api::{
    FirebenderMode, FirebenderSpec, ModelSpec, ProviderKind, ProviderSpec, PullRequestSpec,
};
use codeagent_operator::domain::ids::{InstallationId, SessionId};
use codeagent_operator::domain::marker::Marker;
use codeagent_operator::domain::pull_request::StartingPoint;
use codeagent_operator::domain::snapshot::RemotePhase;
use codeagent_operator::providers::contract::{
    AdoptAnswer, AdoptRequest, CancelAnswer, Connection, Found, ItemDetail, LaunchOutcome,
    LaunchRequest, PageToken, Provider, ScanState, SessionRef,
};
use codeagent_operator::providers::error::ErrorClass;
use codeagent_operator::providers::registry::Registry;
use serde_json::{Value, json};

fn firebender(server: &Server) -> Arc<dyn Provider> {
    connect(&stack(settings()), ProviderKind::Firebender, &server.url)
}

fn session(id: &str) -> SessionRef {
    SessionRef {
        session_id: SessionId::new(id),
        run_id: None,
    }
}

/// The example of the documentation of 2026.
fn documented() -> Value {
    json!({
        "id": "fb_abc123xyz789",
        "name": "Add README Documentation",
        "status": "CREATING",
        "source": {"repository": REPOSITORY, "ref": "main"},
        "target": {
            "branchName": "firebender/abc123xyz789",
            "url": "https://preview.pit-1.try-eu.daytona.app/vnc.html",
            "prUrl": "https://github.com/acme/app/pull/1234",
            "autoCreatePr": false
        },
        "createdAt": "2026-10-01T12:30:00Z",
        "summary": "Added README.md",
        "vncUrl": "https://preview.pit-1.try-eu.daytona.app/vnc.html?token=vnc_canary",
        "vncToken": "vnc_canary",
        "recordingUrl": "https://cloud.firebender.com/v1/recordings/fb_abc123xyz789",
        "traceUrl": "https://cloud.firebender.com/v1/traces/fb_abc123xyz789"
    })
}

fn agent(id: &str, created: &str) -> Value {
    json!({
        "id": id, "name": "n", "status": "RUNNING", "createdAt": created,
        "source": {"repository": "github.com/Acme/app.git"},
        "target": {"branchName": "firebender/x"}
    })
}

const IN_WINDOW: &str = "2026-10-01T12:30:00Z";

fn marked(installation: &str, uid: &str, attempt: i32) -> String {
    let marker = Marker::launch(InstallationId::new(installation), uid, attempt);
    format!("Fix it\n\n{marker}")
}

fn ours() -> String {
    marked("0a1b2c3d", "session-uid", 1)
}

fn conversation(first: &str) -> Value {
    json!({"id": "c", "messages": [
        {"id": "1", "type": "user_message", "text": first},
        {"id": "2", "type": "assistant_message", "text": ours()}
    ]})
}

/// Serves one page with these agents, and a conversation for each.
async fn with_conversations(
    agents: Vec<Value>,
    of: impl Fn(&str) -> Response + Send + Sync + 'static,
) -> Server {
    Server::start(move |seen| {
        if let Some(id) = seen
            .target
            .strip_prefix("/v0/agents/")
            .and_then(|rest| rest.strip_suffix("/conversation"))
        {
            of(id)
        } else {
            assert!(seen.is("GET /v0/agents?limit=100"), "{}", seen.target);
            reply(200, json!({"agents": agents}))
        }
    })
    .await
}

fn found(answer: AdoptAnswer) -> Vec<Found> {
    match answer {
        AdoptAnswer::Found(found) => found,
        other => panic!("{other:?}"),
    }
}

fn resume(answer: AdoptAnswer) -> ScanState {
    match answer {
        AdoptAnswer::Inconclusive {
            resume: Some(state),
            ..
        } => state,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_plain_launch_sends_only_what_servers_of_2025_know() {
    let server = Server::start(|_| {
        let mut answer = documented();
        // The older document: no vncUrl, vncToken, recordingUrl, traceUrl; a page of Firebender's own.
        for name in ["vncUrl", "vncToken", "recordingUrl", "traceUrl"] {
            answer.as_object_mut().unwrap().remove(name);
        }
        answer["target"]["url"] = "https://firebender.com/agents?id=fb_abc123xyz789".into();
        reply(201, answer)
    })
    .await;
    let LaunchOutcome::Accepted(launched) = firebender(&server).launch(&launch_request()).await
    else {
        panic!()
    };
    assert_eq!(launched.session_id.as_str(), "fb_abc123xyz789");
    assert_eq!(launched.phase, RemotePhase::Creating);
    assert_eq!(
        launched.url.as_deref(),
        Some("https://firebender.com/agents?id=fb_abc123xyz789")
    );
    let request = &server.seen()[0];
    assert!(request.is("POST /v0/agents"));
    assert_eq!(request.header("x-api-key"), Some(KEY));
    assert_eq!(request.header("authorization"), None);
    assert_eq!(
        request.json(),
        json!({
            "prompt": {"text": launch_request().prompt},
            "source": {"repository": REPOSITORY, "ref": "main"},
            "target": {"autoCreatePr": false}
        })
    );
}

#[tokio::test]
async fn a_launch_with_every_setting_sends_every_setting() {
    let server = Server::start(|_| reply(201, documented())).await;
    let spec = ProviderSpec {
        firebender: Some(FirebenderSpec {
            mode: Some(FirebenderMode::DebugAuto),
            skip_gradle_sync: Some(true),
            endpoint: None,
        }),
        ..ProviderSpec::default()
    };
    let connection = Connection {
        spec,
        ..connection(
            &stack(settings()),
            ProviderKind::Firebender,
            &server.url,
            KEY,
        )
    };
    let request = LaunchRequest {
        start: StartingPoint::DefaultBranch,
        model: Some(ModelSpec {
            id: "claude-sonnet-4-5-20250929".into(),
            params: Default::default(),
        }),
        pull_request: PullRequestSpec {
            auto_create: true,
            branch_name: Some("feature/x".into()),
            ..no_pull_request()
        },
        ..launch_request()
    };
    Registry::get(ProviderKind::Firebender)
        .unwrap()
        .connect(connection)
        .unwrap()
        .launch(&request)
        .await;
    assert_eq!(
        server.seen()[0].json(),
        json!({
            "prompt": {"text": request.prompt},
            "source": {"repository": REPOSITORY},
            "model": "claude-sonnet-4-5-20250929",
            "mode": "debug_auto",
            "skipGradleSync": true,
            "target": {"autoCreatePr": true, "branchName": "feature/x"}
        })
    );
}

#[tokio::test]
async fn the_default_model_and_mode_are_left_to_the_provider() {
    let server = Server::start(|_| reply(201, documented())).await;
    let request = LaunchRequest {
        model: Some(ModelSpec {
            id: "auto".into(),
            params: Default::default(),
        }),
        ..launch_request()
    };
    firebender(&server).launch(&request).await;
    assert_eq!(server.seen()[0].json().get("model"), None);
}

#[tokio::test]
async fn a_look_tells_everything_but_the_token() {
    let server = Server::start(|_| {
        let mut agent = documented();
        agent["status"] = "FINISHED".into();
        reply(200, agent)
    })
    .await;
    let snapshot = firebender(&server).get(&session("fb_1")).await.unwrap();
    assert_eq!(server.lines(), ["GET /v0/agents/fb_1"]);
    assert_eq!(snapshot.phase, RemotePhase::Finished);
    assert_eq!(snapshot.branch.as_deref(), Some("firebender/abc123xyz789"));
    assert_eq!(
        snapshot.pull_request_url.as_deref(),
        Some("https://github.com/acme/app/pull/1234")
    );
    assert_eq!(snapshot.result.as_deref(), Some("Added README.md"));
    assert!(snapshot.links.recording.is_some() && snapshot.links.trace.is_some());
    assert_eq!(
        snapshot.links.preview.as_deref(),
        Some("https://preview.pit-1.try-eu.daytona.app/vnc.html")
    );
    assert!(!format!("{snapshot:?}").contains("canary"));
}

fn refused(words: &str) -> CancelAnswer {
    CancelAnswer::NotCancellable(Some(words.to_owned()))
}

#[tokio::test]
async fn a_stop_is_taken_or_there_is_nothing_to_stop() {
    for (status, answer) in [
        (200, Some(CancelAnswer::Accepted)),
        (409, Some(refused("HTTP 409 Conflict"))),
        (400, Some(refused("HTTP 400 Bad Request"))),
        (404, None),
        (500, None),
    ] {
        let server = Server::start(move |_| reply(status, json!({"id": "fb_1"}))).await;
        let result = firebender(&server).cancel(&session("fb_1")).await;
        assert_eq!(result.ok(), answer, "{status}");
        assert_eq!(server.lines(), ["POST /v0/agents/fb_1/stop"]);
        assert_eq!(server.seen()[0].header("content-length"), Some("0"));
    }
}

#[tokio::test]
async fn the_list_tells_everything_and_one_broken_item_costs_itself() {
    let server = Server::start(|seen| {
        // Absent and null have both been documented as the end.
        let next = match seen.target.contains("cursor=a%2Fb") {
            true => Value::Null,
            false => json!("a/b"),
        };
        reply(
            200,
            json!({"agents": [documented(), {"status": "no id"}], "nextCursor": next}),
        )
    })
    .await;
    let provider = firebender(&server);
    let page = provider.listing().unwrap().list(None).await.unwrap();
    assert_eq!(page.items.len(), 1);
    let ItemDetail::Full(snapshot) = &page.items[0].detail else {
        panic!()
    };
    assert_eq!(snapshot.session_id, page.items[0].session_id);
    assert_eq!(page.next, Some(PageToken("a/b".into())));
    let last = provider
        .listing()
        .unwrap()
        .list(page.next.as_ref())
        .await
        .unwrap();
    assert_eq!(last.next, None);
}

#[tokio::test]
async fn a_key_is_its_own_fingerprint_and_does_not_show_in_it() {
    let server = Server::start(|_| reply(200, json!({"agents": []}))).await;
    let http = stack(settings());
    let account = connect(&http, ProviderKind::Firebender, &server.url)
        .verify()
        .await
        .unwrap();
    let other = Registry::get(ProviderKind::Firebender)
        .unwrap()
        .connect(connection(
            &http,
            ProviderKind::Firebender,
            &server.url,
            "another_key",
        ))
        .unwrap()
        .verify()
        .await
        .unwrap();
    assert_ne!(account.fingerprint, other.fingerprint);
    assert!(!account.fingerprint.as_str().contains("canary"));
    assert_eq!(server.lines()[0], "GET /v0/agents?limit=1");

    let refusing = Server::start(|_| reply(401, json!({"message": "bad key"}))).await;
    let error = firebender(&refusing).verify().await.unwrap_err();
    assert_eq!(
        (error.class, error.message.as_str()),
        (ErrorClass::Unauthorized, "bad key")
    );
}

#[tokio::test]
async fn the_marker_in_the_first_message_decides_whatever_the_branch_is() {
    let mut kept = agent("fb_kept", IN_WINDOW);
    kept["target"]["branchName"] = "feature/mine".into();
    let mut rewritten = agent("fb_rewritten", "2026-10-01T12:20:00Z");
    rewritten["target"]["branchName"] = "firebender/rewritten".into();
    let mut namesake = agent("fb_namesake", IN_WINDOW);
    namesake["target"]["branchName"] = "feature/mine".into();
    let server = with_conversations(vec![kept, namesake, rewritten], |id| {
        reply(
            200,
            conversation(&match id {
                "fb_kept" => marked("0a1b2c3d", "session-uid", 2),
                "fb_rewritten" => ours() + "\n\nAppended by the provider",
                _ => "somebody else's prompt".to_owned(),
            }),
        )
    })
    .await;
    let found = found(firebender(&server).adopt(&adopt_request()).await.unwrap());
    let attempts: Vec<_> = found
        .iter()
        .map(|found| (found.snapshot.session_id.as_str(), found.attempt))
        .collect();
    // Oldest first, with the attempt that the marker names.
    assert_eq!(attempts, [("fb_rewritten", Some(1)), ("fb_kept", Some(2))]);
}

#[tokio::test]
async fn only_unowned_sessions_of_the_repository_in_the_window_are_looked_at() {
    let mut elsewhere = agent("fb_elsewhere", IN_WINDOW);
    elsewhere["source"]["repository"] = "https://github.com/acme/other".into();
    let agents = vec![
        elsewhere,
        agent("fb_early", "2026-10-01T11:59:59Z"),
        agent("fb_late", "2026-10-01T13:00:01Z"),
        agent("fb_owned", IN_WINDOW),
    ];
    let server = with_conversations(agents, |_| reply(200, conversation(&ours()))).await;
    let request = AdoptRequest {
        owned: [SessionId::new("fb_owned")].into(),
        prove_absence: false,
        ..adopt_request()
    };
    let state = resume(firebender(&server).adopt(&request).await.unwrap());
    assert!(state.begin_anew);
    assert_eq!(server.lines().len(), 1);
}

#[tokio::test]
async fn what_cannot_be_read_yet_makes_the_look_inconclusive_until_it_can() {
    for broken in [
        || reply(200, json!({"id": "c", "messages": []})),
        || {
            reply(
                200,
                json!({"id": "c", "messages": [{"type": "assistant_message", "text": "Hi"}]}),
            )
        },
        || reply(200, json!({"id": "c"})),
        || reply(200, "{broken"),
        || reply(404, ""),
        || reply(500, ""),
    ] {
        let asked = AtomicUsize::new(0);
        let server = with_conversations(
            vec![agent("fb_1", IN_WINDOW), agent("fb_2", IN_WINDOW)],
            move |id| match id {
                "fb_1" if asked.fetch_add(1, Ordering::SeqCst) == 0 => broken(),
                "fb_1" => reply(200, conversation(&ours())),
                _ => reply(200, conversation("not ours")),
            },
        )
        .await;
        let provider = firebender(&server);
        let state = resume(provider.adopt(&adopt_request()).await.unwrap());
        assert_eq!(state.next, None);
        assert_eq!(state.rejected, [SessionId::new("fb_2")].into());
        let again = AdoptRequest {
            resume: Some(state),
            ..adopt_request()
        };
        let found = found(provider.adopt(&again).await.unwrap());
        assert_eq!(found[0].snapshot.session_id.as_str(), "fb_1");
        let looks = |id: &str| {
            let line = format!("GET /v0/agents/{id}/conversation");
            server.lines().iter().filter(|seen| **seen == line).count()
        };
        assert_eq!((looks("fb_1"), looks("fb_2")), (2, 1));
    }
}

#[tokio::test]
async fn our_marker_in_a_later_message_is_a_doubt() {
    let server = with_conversations(vec![agent("fb_1", IN_WINDOW)], |_| {
        reply(
            200,
            json!({"messages": [
                {"type": "user_message", "text": "Also add tests"},
                {"type": "user_message", "text": ours()}
            ]}),
        )
    })
    .await;
    resume(firebender(&server).adopt(&adopt_request()).await.unwrap());
}

#[tokio::test]
async fn an_item_without_an_id_makes_the_look_inconclusive() {
    let server = with_conversations(vec![json!({"status": "RUNNING"})], |_| reply(500, "")).await;
    resume(firebender(&server).adopt(&adopt_request()).await.unwrap());
}

#[tokio::test]
async fn a_session_is_found_though_the_list_shifts_while_it_is_read() {
    // Pages are positions in a list that grows by one at its front with every page that is read; ours is the last.
    let reads = Arc::new(AtomicUsize::new(0));
    let grown = Arc::clone(&reads);
    let server = Server::start(move |seen| {
        if seen.target.ends_with("/conversation") {
            let prompt = if seen.target.contains("fb_ours") {
                ours()
            } else {
                "other".into()
            };
            return reply(200, conversation(&prompt));
        }
        let new = grown.fetch_add(1, Ordering::SeqCst);
        let mut all: Vec<String> = (0..new).rev().map(|n| format!("fb_new{n}")).collect();
        all.extend((0..5).map(|n| format!("fb_old{n}")));
        all.push("fb_ours".into());
        let from: usize = seen
            .target
            .split_once("cursor=")
            .map_or(0, |(_, position)| position.parse().unwrap());
        let page: Vec<Value> = all[from..(from + 2).min(all.len())]
            .iter()
            .map(|id| agent(id, IN_WINDOW))
            .collect();
        let next = (from + 2 < all.len()).then(|| (from + 2).to_string());
        reply(200, json!({"agents": page, "nextCursor": next}))
    })
    .await;
    let found = found(firebender(&server).adopt(&adopt_request()).await.unwrap());
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].snapshot.session_id.as_str(), "fb_ours");
    // Nobody was looked at twice although the pages overlapped.
    let mut looks: Vec<String> = server.lines();
    looks.retain(|line| line.ends_with("/conversation"));
    let all = looks.len();
    looks.sort();
    looks.dedup();
    assert_eq!(looks.len(), all);
}

#[tokio::test]
async fn pages_that_go_round_in_circles_are_never_the_end() {
    let server = Server::start(|_| reply(200, json!({"agents": [], "nextCursor": "again"}))).await;
    let state = resume(firebender(&server).adopt(&adopt_request()).await.unwrap());
    assert_eq!(state.next, None);
    assert_eq!(server.lines().len(), 2);
}

#[tokio::test]
async fn a_position_that_the_provider_forgot_begins_the_scan_anew() {
    let forgetful = Server::start(|seen| match seen.target.contains("cursor=") {
        true => reply(400, json!({"message": "unknown cursor"})),
        false => reply(200, json!({"agents": []})),
    })
    .await;
    let request = AdoptRequest {
        resume: Some(ScanState {
            next: Some(PageToken("old".into())),
            ..ScanState::default()
        }),
        ..adopt_request()
    };
    let state = resume(firebender(&forgetful).adopt(&request).await.unwrap());
    let anew = ScanState {
        begin_anew: true,
        ..ScanState::default()
    };
    assert_eq!(state, anew);
}

#[tokio::test]
async fn trouble_keeps_what_was_reached_and_is_an_error_only_before_that() {
    // The first candidate is judged, the second meets the rate limit.
    let server = with_conversations(
        vec![agent("fb_1", IN_WINDOW), agent("fb_2", IN_WINDOW)],
        |id| match id {
            "fb_1" => reply(200, conversation("other")),
            _ => reply(429, ""),
        },
    )
    .await;
    let provider = firebender(&server);
    let state = resume(provider.adopt(&adopt_request()).await.unwrap());
    assert_eq!(state.rejected, [SessionId::new("fb_1")].into());
    let again = AdoptRequest {
        resume: Some(state),
        ..adopt_request()
    };
    let error = provider.adopt(&again).await.unwrap_err();
    assert_eq!(error.class, ErrorClass::RateLimited);
}
