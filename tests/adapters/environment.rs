//! Environment variables of the hosted agent, as Cursor's API v1 documents them.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use codeagent_operator::api::ProviderKind;
use codeagent_operator::domain::environment::Environment;
use codeagent_operator::domain::ids::SessionId;
use codeagent_operator::domain::remote::Recovery;
use codeagent_operator::providers::contract::{
    AdoptAnswer, AdoptRequest, LaunchOutcome, LaunchRequest, Provider,
};
use codeagent_operator::providers::error::ErrorClass;
use serde_json::{Value, json};
use zeroize::Zeroizing;

use crate::support::*;

/// A value of two lines, as a key file is.
const KEY_FILE: &str = "-----BEGIN KEY-----\nfirst-line-of-the-key\n";
const TOKEN: &str = "token-7d0f4a51c2e9";

fn cursor(server: &Server) -> Arc<dyn Provider> {
    connect(&stack(settings()), ProviderKind::Cursor, &server.url)
}

fn environment(variables: &[(&str, &str)]) -> Environment {
    let variables = variables.iter().map(|(name, value)| {
        let value = Zeroizing::new(value.as_bytes().to_vec());
        ((*name).to_owned(), value)
    });
    Environment::of_secret(variables).unwrap()
}

fn request() -> LaunchRequest {
    LaunchRequest {
        environment: environment(&[("KEY_FILE", KEY_FILE), ("TOKEN", TOKEN), ("EMPTY", "")]),
        ..launch_request()
    }
}

/// A look for a launch with environment variables.
fn lookup(evidence_seen: bool) -> AdoptRequest {
    AdoptRequest {
        recovery: Recovery::Marker,
        evidence_seen,
        ..adopt_request()
    }
}

fn agent(id: &str, name: Option<&str>) -> Value {
    json!({
        "id": id, "name": name, "status": "ACTIVE",
        "repos": [{"url": REPOSITORY}], "url": format!("https://cursor.com/agents/{id}"),
        "createdAt": "2026-10-01T12:30:00Z", "latestRunId": "run-1"
    })
}

fn our_name() -> String {
    format!("team-a/fix-login [{} {}]", key(1).short(), installation())
}

/// A server with these agents.
async fn with_agents(agents: Vec<Value>) -> Server {
    Server::start(move |seen| {
        let of = |id: &str| agents.iter().find(|agent| agent["id"] == *id);
        match seen.target.strip_prefix("/v1/agents").unwrap() {
            rest if rest.starts_with('?') => reply(200, json!({"items": agents})),
            rest if rest.contains("/runs/") => {
                reply(200, json!({"id": "run-1", "status": "RUNNING"}))
            }
            rest => match of(rest.trim_start_matches('/')) {
                Some(agent) => reply(200, agent),
                None => refusal(404, "agent_not_found"),
            },
        }
    })
    .await
}

#[tokio::test]
async fn variables_are_sent_without_an_id_of_ours_and_with_our_name() {
    let made_up = json!({"agent": agent("bc-made-up", Some(&our_name()))});
    let server = Server::start(move |_| reply(201, &made_up)).await;
    let LaunchOutcome::Accepted(launched) = cursor(&server).launch(&request()).await else {
        panic!()
    };
    // No id was asked for, so that none was refused.
    assert_eq!(launched.id_honoured, None);
    assert_eq!(launched.session_id.as_str(), "bc-made-up");
    let sent = server.seen()[0].json();
    let variables = json!({"KEY_FILE": KEY_FILE, "TOKEN": TOKEN, "EMPTY": ""});
    assert_eq!(sent["envVars"], variables);
    assert_eq!(sent.get("agentId"), None);
    assert_eq!(sent["name"], json!(our_name()));
}

#[tokio::test]
async fn what_a_refusal_quotes_of_a_value_is_not_told() {
    let whole_value = serde_json::to_string(KEY_FILE).unwrap();
    for (quoted, kept) in [
        (TOKEN.to_owned(), "TOKEN"),
        (STANDARD.encode(TOKEN), "TOKEN"),
        (KEY_FILE.to_owned(), "KEY_FILE"),
        ("first-line-of-the-key".to_owned(), "KEY_FILE"),
        (whole_value, "KEY_FILE"),
        (STANDARD.encode(KEY_FILE), "KEY_FILE"),
        (
            "-----BEGIN+KEY-----%0Afirst-line-of-the-key".to_owned(),
            "KEY_FILE",
        ),
        // Cutting a long text must not leave the beginning of one.
        (format!("{}{TOKEN}", "x".repeat(490)), "TOKEN"),
    ] {
        let said = json!({"error": {"code": "validation_error", "message": format!("envVars.{kept}: {quoted}")}});
        let server = Server::start(move |_| reply(400, &said)).await;
        let LaunchOutcome::Rejected(error) = cursor(&server).launch(&request()).await else {
            panic!()
        };
        assert_eq!(error.class, ErrorClass::InvalidRequest);
        let told = format!("{error:?} {error}");
        assert!(told.contains(&format!("envVars.{kept}: ")), "{told}");
        for secret in ["token-7d", "first-line", "dG9rZW4t", "Zmlyc3Q", "BEGIN"] {
            assert!(!told.contains(secret), "{quoted}: {told}");
        }
    }
    assert!(!format!("{:?}", request()).contains(TOKEN));
}

#[tokio::test]
async fn a_lost_launch_with_variables_is_found_by_its_name_also_where_ids_are_known_to_be_used() {
    let agents = vec![
        agent("bc-other", Some("team-a/fix-login [00000000 0a1b2c3d]")),
        agent("bc-ours", Some(&our_name())),
    ];
    for evidence_seen in [false, true] {
        let server = with_agents(agents.clone()).await;
        let answer = cursor(&server).adopt(&lookup(evidence_seen)).await.unwrap();
        let AdoptAnswer::Found(found) = answer else {
            panic!("{answer:?}")
        };
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].snapshot.session_id.as_str(), "bc-ours");
    }
    // Sent once with an id and once without: both are looked for.
    let ours = format!("bc-{}", key(1));
    let server = with_agents(vec![agent(&ours, Some(&our_name()))]).await;
    let answer = cursor(&server).adopt(&lookup(true)).await.unwrap();
    assert!(matches!(answer, AdoptAnswer::Found(_)), "{answer:?}");
}

/// An agent without a name of ours may be ours until this account has shown that it keeps the names that we give.
#[tokio::test]
async fn a_name_of_somebody_else_is_nobody_of_ours_only_where_names_are_known_to_be_kept() {
    let agents = vec![
        agent("bc-titled", Some("Fix the login")),
        agent("bc-nameless", None),
    ];
    let server = with_agents(agents.clone()).await;
    let answer = cursor(&server).adopt(&lookup(false)).await.unwrap();
    assert!(
        matches!(answer, AdoptAnswer::Inconclusive { .. }),
        "{answer:?}"
    );
    let server = with_agents(agents).await;
    let answer = cursor(&server).adopt(&lookup(true)).await.unwrap();
    assert_eq!(answer, AdoptAnswer::Absent);
}

#[tokio::test]
async fn the_name_of_a_session_shows_whether_names_are_kept() {
    for (name, shows) in [
        (Some(our_name()), Some(true)),
        (Some("Fix the login".to_owned()), Some(false)),
        (
            Some(format!("team-a/fix-login [{} ffffffff]", key(1).short())),
            Some(false),
        ),
        (None, None),
    ] {
        let server = with_agents(vec![agent("bc-1", name.as_deref())]).await;
        let shown = cursor(&server)
            .shows_marker(&SessionId::new("bc-1"), &installation(), "session-uid")
            .await;
        assert_eq!(shown, Ok(shows), "{name:?}");
    }
}
