//! Who may read, and what everybody else is told.

use codeagent_operator::api::SessionPhase;
use codeagent_simulator::Provider;
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::Api;
use kube::api::DeleteParams;
use reqwest::Method;

use super::reader::{Reader, address, assert_dense, serving, url};
use crate::support::world::World;

/// A session of Flapjack that has ended, an operator that serves its timeline, and where.
async fn ended(world: &World) -> (crate::support::operator::Operator, String) {
    world.permit_timelines().await;
    world.agent(Provider::Flapjack).await;
    let operator = world.operator_with(serving()).await;
    world.session(Provider::Flapjack, "done", "Fix it").await;
    world.until_phase("done", SessionPhase::Finished).await;
    let address = address(world, &operator).await;
    (operator, address)
}

#[tokio::test]
async fn who_may_reads_the_timeline_page_by_page() {
    let world = World::new().await;
    let (operator, address) = ended(&world).await;
    let reader = Reader::permitted(&world, "viewer").await;

    let whole = reader
        .until_code(&url(&address, &world, "done", ""), 200)
        .await;
    assert_eq!(whole.headers["content-type"], "application/json");
    assert_eq!(whole.headers["cache-control"], "no-store");
    let events = whole.events();
    assert!(events.len() >= 2, "{whole:?}");
    assert_dense(&events, 0);
    let last = events.last().unwrap().seq;
    assert_eq!(whole.body["lastSeq"], last);
    assert_eq!(whole.body["next"], "Never");

    // The same, in pages of one.
    let (mut since, mut told) = (0, Vec::new());
    loop {
        let query = format!("?since={since}&limit=1");
        let page = reader.get(&url(&address, &world, "done", &query)).await;
        told.extend(page.events());
        since = page.body["lastSeq"].as_u64().unwrap();
        if page.body["next"] == "Never" {
            break;
        }
        assert_eq!(page.events().len(), 1);
    }
    assert_eq!(told, events);

    let beyond = reader
        .get(&url(&address, &world, "done", "?since=1000000"))
        .await;
    assert!(beyond.events().is_empty());
    assert_eq!(beyond.body["lastSeq"], 1_000_000);
    let of_message = reader
        .get(&url(&address, &world, "done", "?message=prompt"))
        .await;
    assert_eq!(of_message.body["lastSeq"], last);

    let log = operator.log();
    let audited = log
        .lines()
        // The right may have come into effect after the first request.
        .find(|line| line.contains("a timeline was asked for") && line.contains("outcome=200"));
    let audited = audited.unwrap();
    let who = format!("system:serviceaccount:{}:viewer", world.name());
    for part in [
        who.as_str(),
        "name=done",
        "subresource=\"events\"",
        "outcome=200",
    ] {
        assert!(audited.contains(part), "{part}: {audited}");
    }
    assert!(!log.contains(&reader.token));
    let told = events.iter().map(|event| event.entry.text.trim());
    let told: Vec<&str> = told.filter(|text| text.len() > 10).collect();
    assert!(!told.is_empty(), "{events:?}");
    for text in told {
        assert!(!log.contains(text), "{text}");
    }
}

#[tokio::test]
async fn everybody_else_is_told_why_not_and_nothing_of_what_is_there() {
    let world = World::new().await;
    let (_operator, address) = ended(&world).await;
    let stranger = Reader::new(&world, "stranger").await;
    for session in ["done", "no-such-session"] {
        let refused = stranger.get(&url(&address, &world, session, "")).await;
        let message = refused.refused(403, "Forbidden");
        assert!(message.contains("codesessions/events"), "{message}");
        let refused = stranger
            .get(&url(&address, &world, session, "?follow=true"))
            .await;
        refused.refused(403, "Forbidden");
    }
    for token in ["", "nonsense", "a.b.c"] {
        let nobody = stranger.with_token(token);
        let refused = nobody.get(&url(&address, &world, "done", "")).await;
        refused.refused(401, "Unauthorized");
        assert_eq!(refused.headers["www-authenticate"], "Bearer");
        // Not even what is served.
        nobody
            .get(&format!("{address}/"))
            .await
            .refused(401, "Unauthorized");
    }

    let reader = Reader::permitted(&world, "viewer").await;
    reader
        .until_code(&url(&address, &world, "done", ""), 200)
        .await;
    // Whoever may in one namespace may not in others.
    let elsewhere = format!("{address}/v1alpha1/namespaces/default/codesessions/done/events");
    reader.get(&elsewhere).await.refused(403, "Forbidden");

    let accounts: Api<ServiceAccount> = world.namespace.api();
    accounts
        .delete("viewer", &DeleteParams::default())
        .await
        .unwrap();
    let gone = reader
        .until_code(&url(&address, &world, "done", ""), 401)
        .await;
    gone.refused(401, "Unauthorized");
}

#[tokio::test]
async fn what_cannot_be_answered_is_a_status_with_a_sentence() {
    let world = World::new().await;
    let (_operator, address) = ended(&world).await;
    let reader = Reader::permitted(&world, "viewer").await;
    let at = |session: &str, query: &str| url(&address, &world, session, query);
    reader.until_code(&at("done", ""), 200).await;

    for query in [
        "?since=-1",
        "?since=x",
        "?limit=0",
        "?limit=501",
        "?sinse=1",
        "?message=no",
    ] {
        reader
            .get(&at("done", query))
            .await
            .refused(400, "BadRequest");
    }
    for name in [
        "..%2Fdone",
        "DONE",
        "a%20b",
        "%00",
        "%FF",
        "a%0Ab",
        "done%2Fevents",
    ] {
        reader.get(&at(name, "")).await.refused(400, "BadRequest");
    }
    let missing = reader.get(&at("no-such-session", "")).await;
    missing.refused(404, "NotFound");
    assert_eq!(missing.body["details"]["name"], "no-such-session");
    reader
        .get(&format!("{address}/"))
        .await
        .refused(404, "NotFound");
    for method in [Method::POST, Method::DELETE, Method::PUT] {
        let refused = reader.ask(method, &at("done", "")).await;
        refused.refused(405, "MethodNotAllowed");
    }

    // Its CodeAgent is not there.
    world.session(Provider::Cursor, "waits", "Fix it").await;
    let waits = reader.get(&at("waits", "")).await;
    assert!(waits.refused(404, "NotFound").contains("not launched yet"));
    world.agent(Provider::Firetiger).await;
    let settings = serde_json::json!({"issue": "issues/FT-1"});
    world
        .session_with(Provider::Firetiger, "issue", settings)
        .await;
    world
        .until("issue", "launched", |session| {
            let status = session.status.as_ref();
            status.is_some_and(|status| status.effective.is_some())
        })
        .await;
    let issue = reader.until_code(&at("issue", ""), 405).await;
    let message = issue.refused(405, "MethodNotAllowed");
    assert!(
        message.contains("Firetiger cannot tell what the agent does"),
        "{message}"
    );
    assert!(message.contains("Flapjack"), "{message}");
}

/// Without the right to ask for reviews nobody could be let in: the port stays closed, and opens once the right is there.
#[tokio::test]
async fn without_the_right_to_review_tokens_the_port_stays_closed_and_the_log_says_why() {
    let world = World::new().await;
    let operator = world.operator_with(serving()).await;
    let says = |part: &str| operator.log().contains(part);
    world
        .until_true("it says why", || says("the port of timelines stays closed"))
        .await;
    assert!(!says("serves timelines"));
    world.permit_timelines().await;
    address(&world, &operator).await;
}
