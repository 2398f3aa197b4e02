//! What a lookup makes of a prompt that a provider does not give back as it was sent: at every provider that tells prompts.

use std::sync::Arc;

use codeagent_operator::api::{CursorApiVersion, CursorSpec, ProviderKind, ProviderSpec};
use codeagent_operator::domain::ids::SessionId;
use codeagent_operator::domain::marker::Marker;
use codeagent_operator::providers::contract::{AdoptAnswer, AdoptRequest, Connection, Provider};
use codeagent_operator::providers::registry::Registry;
use serde_json::{Value, json};

use crate::support::*;

const TASK: &str = "You are a senior engineer. Write tests.\n\nFix the login bug in `src/auth.ts`: the JWT expiry check is off by one hour if a < b && c > d.";
const STRANGE_TASK: &str = "Write a CHANGELOG from the merged pull requests of this year";
const IN_WINDOW: &str = "2026-10-01T12:30:00Z";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Adapter {
    CursorV0,
    Firebender,
    Flapjack,
}

const ALL: [Adapter; 3] = [Adapter::CursorV0, Adapter::Firebender, Adapter::Flapjack];

/// A message as a provider tells it: who said it, and what.
type Message = (&'static str, String);

/// The one session of the account.
#[derive(Clone, Debug)]
struct Session {
    created: &'static str,
    repository: &'static str,
    messages: Vec<Message>,
}

impl Adapter {
    fn connect(self, server: &Server) -> Arc<dyn Provider> {
        let kind = match self {
            Self::CursorV0 => ProviderKind::Cursor,
            Self::Firebender => ProviderKind::Firebender,
            Self::Flapjack => ProviderKind::Flapjack,
        };
        let http = stack(settings());
        let mut connection = connection(&http, kind, &server.url, KEY);
        if self == Self::CursorV0 {
            connection = Connection {
                spec: ProviderSpec {
                    cursor: Some(CursorSpec {
                        api_version: Some(CursorApiVersion::V0),
                        endpoint: None,
                    }),
                    ..ProviderSpec::default()
                },
                ..connection
            };
        }
        Registry::get(kind).unwrap().connect(connection).unwrap()
    }

    async fn serve(self, session: Session) -> Server {
        Server::start(move |seen| {
            match self {
                Self::CursorV0 | Self::Firebender if seen.target.ends_with("/conversation") => {
                    let messages: Vec<Value> = session
                        .messages
                        .iter()
                        .map(|(role, text)| json!({"id": "m", "type": format!("{role}_message"), "text": text}))
                        .collect();
                    reply(200, json!({"id": "s", "messages": messages}))
                }
                Self::CursorV0 | Self::Firebender => reply(
                    200,
                    json!({"agents": [{
                        "id": "s", "status": "RUNNING", "createdAt": session.created,
                        "source": {"repository": session.repository}, "target": {}
                    }]}),
                ),
                Self::Flapjack => {
                    let mut item = json!({
                        "id": "s", "status": "running", "created_at": session.created,
                        "repo_url": session.repository
                    });
                    if seen.target.contains("archived=true") {
                        return reply(200, json!([]));
                    }
                    if !seen.target.contains("code-sessions/") {
                        return reply(200, json!([item]));
                    }
                    let messages: Vec<Value> = session
                        .messages
                        .iter()
                        .map(|(role, text)| json!({"id": "m", "role": role, "prompt": text}))
                        .collect();
                    item["messages"] = json!(messages);
                    reply(200, item)
                }
            }
        })
        .await
    }

    /// Looks until there is an answer, or the next look would begin anew.
    async fn look_up(self, session: Session, mut request: AdoptRequest) -> AdoptAnswer {
        let server = self.serve(session).await;
        let provider = self.connect(&server);
        for _ in 0..10 {
            match provider.adopt(&request).await.unwrap() {
                AdoptAnswer::Inconclusive {
                    resume: Some(state),
                    ..
                } if !state.begin_anew => request.resume = Some(state),
                answer => return answer,
            }
        }
        panic!("no end");
    }
}

fn sent() -> String {
    format!(
        "{TASK}\n\n{}",
        Marker::launch(installation(), "session-uid", 1)
    )
}

fn request() -> AdoptRequest {
    AdoptRequest {
        sent: Some(sent()),
        owned: Default::default(),
        ..adopt_request()
    }
}

fn session(messages: Vec<Message>) -> Session {
    Session {
        created: IN_WINDOW,
        repository: REPOSITORY,
        messages,
    }
}

fn said(text: impl Into<String>) -> Session {
    session(vec![("user", text.into())])
}

/// The last two lines, and what a provider makes of the text.
fn without_lines(text: &str, lines: usize) -> String {
    let all: Vec<&str> = text.lines().collect();
    all[..all.len() - lines].join("\n")
}

#[track_caller]
fn assert_ours(answer: &AdoptAnswer, what: &str) {
    match answer {
        AdoptAnswer::Found(found) => assert_eq!(found[0].attempt, Some(1), "{what}"),
        other => panic!("{what}: {other:?}"),
    }
}

#[track_caller]
fn assert_open(answer: &AdoptAnswer, what: &str) {
    match answer {
        AdoptAnswer::Inconclusive {
            resume: Some(state),
            ..
        } => assert!(state.begin_anew, "{what}"),
        other => panic!("{what}: {other:?}"),
    }
}

#[tokio::test]
async fn either_line_of_the_marker_makes_it_ours() {
    let comment_stripped = sent().replace("<!-- codeagents.dev/0a1b2c3d/session-uid/1 -->", "");
    assert_ne!(comment_stripped, sent());
    let plain_stripped = without_lines(&sent(), 1);
    let escaped = plain_stripped
        .replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;");
    let reflowed = sent().split_whitespace().collect::<Vec<_>>().join(" ");
    let rendered = format!(
        "<p>{TASK}</p><p><a href=\"http://codeagents.dev\">codeagents.dev</a> ref 0a1b2c3d/session-uid/1</p>"
    );
    let appended = format!("{}\n\nSent by the API.", sent());
    for adapter in ALL {
        for text in [
            &comment_stripped,
            &plain_stripped,
            &escaped,
            &reflowed,
            &rendered,
            &appended,
        ] {
            let answer = adapter.look_up(said(text.as_str()), request()).await;
            assert_ours(&answer, &format!("{adapter:?}: {text}"));
        }
    }
}

#[tokio::test]
async fn a_prompt_whose_marker_does_not_show_is_never_taken_for_somebody_elses() {
    let bare = without_lines(&sent(), 2);
    let cut: String = sent().chars().take(60).collect();
    let rendered = format!(
        "<p>{}</p>",
        TASK.replace('<', "&lt;")
            .replace("\n\n", "</p><p>")
            .replace('`', "")
    );
    let wrapped = format!("The user has given you a task.\n\n{bare}");
    let moved = session(vec![("system", sent()), ("user", "Begin.".into())]);
    let moved_bare = session(vec![("system", bare.clone()), ("user", "Begin.".into())]);
    let second = session(vec![("user", "Setting up".into()), ("user", sent())]);
    for adapter in ALL {
        for session in [
            said(bare.clone()),
            said(cut.clone()),
            said(format!("{cut}…")),
            said(rendered.clone()),
            said(wrapped.clone()),
            said(""),
            moved.clone(),
            moved_bare.clone(),
            second.clone(),
            session(Vec::new()),
        ] {
            let what = format!("{adapter:?}: {session:?}");
            // Also where markers have been seen to show.
            let answer = adapter.look_up(session.clone(), request()).await;
            assert_open(&answer, &what);
            let unproven = AdoptRequest {
                evidence_seen: false,
                ..request()
            };
            assert_open(&adapter.look_up(session, unproven).await, &what);
        }
    }
}

#[tokio::test]
async fn another_task_is_somebody_elses_once_markers_were_seen_to_show() {
    let notified = session(vec![
        (
            "user",
            "<system_notification>A check failed</system_notification>".into(),
        ),
        ("user", STRANGE_TASK.into()),
    ]);
    let theirs = format!(
        "{TASK}\n\n{}",
        Marker::launch(installation(), "another-uid", 1)
    );
    for adapter in ALL {
        for session in [said(STRANGE_TASK), notified.clone(), said(theirs.clone())] {
            let answer = adapter.look_up(session.clone(), request()).await;
            assert_eq!(answer, AdoptAnswer::Absent, "{adapter:?}: {session:?}");
        }
        // Where none was seen, it may be ours under any text. Its own marker speaks for another.
        let unproven = AdoptRequest {
            evidence_seen: false,
            ..request()
        };
        let answer = adapter.look_up(said(STRANGE_TASK), unproven.clone()).await;
        assert_open(&answer, "unproven");
        let answer = adapter.look_up(said(theirs.clone()), unproven).await;
        assert_eq!(answer, AdoptAnswer::Absent, "{adapter:?}");
        // Nor where it is not known any more what was sent.
        let forgotten = AdoptRequest {
            sent: None,
            ..request()
        };
        let answer = adapter.look_up(said(STRANGE_TASK), forgotten).await;
        assert_open(&answer, "forgotten");
    }
}

#[tokio::test]
async fn a_notification_before_the_prompt_hides_nothing() {
    let session = session(vec![
        (
            "user",
            "<system_notification>ready</system_notification>".into(),
        ),
        ("user", sent()),
    ]);
    for adapter in ALL {
        let answer = adapter.look_up(session.clone(), request()).await;
        assert_ours(&answer, &format!("{adapter:?}"));
    }
}

#[tokio::test]
async fn time_and_repository_save_looks_and_prove_nothing() {
    let elsewhere = |created, repository, text: String| Session {
        created,
        repository,
        ..said(text)
    };
    let bare = without_lines(&sent(), 2);
    let renamed = "https://github.com/acme-inc/app";
    for adapter in ALL {
        for created in [
            "2026-10-01T11:40:00Z",
            "2026-10-01T13:20:00Z",
            "2026-09-30T02:00:00Z",
            "1970-01-01T00:00:00Z",
        ] {
            for repository in [REPOSITORY, renamed] {
                let ours = elsewhere(created, repository, sent());
                let answer = adapter.look_up(ours, request()).await;
                assert_ours(&answer, &format!("{adapter:?} {created} {repository}"));
            }
        }
        for created in ["2026-10-01T11:40:00Z", "2026-10-01T13:20:00Z", IN_WINDOW] {
            let unmarked = elsewhere(created, renamed, bare.clone());
            assert_open(&adapter.look_up(unmarked, request()).await, created);
        }
        // No clock and no time zone is wrong by days: what is so old is not ours unless it says so.
        for text in [bare.as_str(), ""] {
            let old = elsewhere("2026-09-01T12:00:00Z", REPOSITORY, text.into());
            let answer = adapter.look_up(old, request()).await;
            assert_eq!(answer, AdoptAnswer::Absent, "{adapter:?} {text}");
        }
    }
}

#[tokio::test]
async fn a_session_tells_whether_markers_show() {
    let shows = async |adapter: Adapter, session: Session| {
        let server = adapter.serve(session).await;
        let provider = adapter.connect(&server);
        let id = SessionId::new("s");
        provider
            .shows_marker(&id, &installation(), "session-uid")
            .await
            .unwrap()
    };
    for adapter in ALL {
        let system = session(vec![("system", sent()), ("user", "Begin.".into())]);
        for (session, expected) in [
            (said(sent()), Some(true)),
            (said(without_lines(&sent(), 2)), Some(false)),
            (system, Some(false)),
            (session(Vec::new()), None),
        ] {
            let shown = shows(adapter, session.clone()).await;
            assert_eq!(shown, expected, "{adapter:?}: {session:?}");
        }
    }
}
