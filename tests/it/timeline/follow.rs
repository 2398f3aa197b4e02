//! Following a session while its agent works.

use std::time::{Duration, Instant};

use codeagent_operator::api::SessionPhase;
use codeagent_simulator::{Fault, FaultKind, Matcher, Operation, Provider, Script, ScriptRule};

use super::reader::{Reader, Told, address, assert_dense, serving, url};
use crate::support::operator::{Arguments, Operator};
use crate::support::world::{PATIENCE, World, demo_key, phase_of};

/// A session of Flapjack that runs until it is told to finish, an operator that serves its timeline, where, and who may read it.
async fn running(world: &World) -> (Operator, String, Reader) {
    running_with(world, serving()).await
}

async fn running_with(world: &World, arguments: Arguments) -> (Operator, String, Reader) {
    world.permit_timelines().await;
    world.agent(Provider::Flapjack).await;
    world.simulator.script(ScriptRule {
        provider: Some(Provider::Flapjack),
        prompt_contains: None,
        times: None,
        script: Script {
            running: Some(Duration::from_secs(1_000_000)),
            ..Script::fast()
        },
    });
    let operator = world.operator_with(arguments).await;
    world.session(Provider::Flapjack, "works", "Fix it").await;
    world.until_phase("works", SessionPhase::Running).await;
    let address = address(world, &operator).await;
    let reader = Reader::permitted(world, "viewer").await;
    reader
        .until_code(&url(&address, world, "works", ""), 200)
        .await;
    (operator, address, reader)
}

async fn finish(world: &World) {
    let session = world.sessions().get("works").await.unwrap();
    world.let_finish(Provider::Flapjack, &session);
}

#[tokio::test]
async fn a_follower_is_told_everything_until_the_session_has_ended() {
    let world = World::new().await;
    let (operator, address, reader) = running(&world).await;
    let follow = url(&address, &world, "works", "?follow=true");
    let mut one = reader.follow(&follow).await;
    let mut events = vec![one.event().await, one.event().await];
    // Who comes later is told the same, from the beginning.
    let mut two = reader.follow(&follow).await;
    // The simulator's agent does something every second.
    events.push(one.event().await);
    finish(&world).await;
    let (rest, last) = one.until_end().await;
    events.extend(rest);
    assert_eq!(last["status"], "Success", "{last}");
    assert_dense(&events, 0);
    assert_eq!(two.until_end().await, (events.clone(), last));
    assert!(matches!(one.next().await, Told::Cut));
    let page = reader.get(&url(&address, &world, "works", "")).await;
    assert_eq!(page.events(), events);
    let metrics = operator.metrics().await;
    assert!(
        metrics.contains("codeagent_timeline_followers 0"),
        "{metrics}"
    );
}

/// Whoever follows goes on behind the number that they have, also when the operator is another one by then.
#[tokio::test]
async fn a_follower_goes_on_after_the_operator_was_restarted() {
    let world = World::new().await;
    let (operator, address_before, reader) = running(&world).await;
    let mut following = reader
        .follow(&url(&address_before, &world, "works", "?follow=true"))
        .await;
    let mut events = vec![following.event().await, following.event().await];
    operator.stop().await;
    let (rest, last) = following.until_end().await;
    events.extend(rest);
    assert_eq!(last["reason"], "ServiceUnavailable", "{last}");
    let since = events.last().unwrap().seq;
    let message = last["message"].as_str().unwrap();
    assert!(
        message.ends_with(&format!("go on with since={since}")),
        "{message}"
    );

    let operator = world.operator_with(serving()).await;
    let address = address(&world, &operator).await;
    let again = format!("?follow=true&since={since}");
    let mut following = reader.follow(&url(&address, &world, "works", &again)).await;
    events.push(following.event().await);
    finish(&world).await;
    let (rest, last) = following.until_end().await;
    events.extend(rest);
    assert_eq!(last["status"], "Success", "{last}");
    assert_dense(&events, 0);
    let page = reader.get(&url(&address, &world, "works", "")).await;
    assert_eq!(page.events(), events);
}

#[tokio::test]
async fn two_replicas_tell_the_same_with_the_same_certificate() {
    let world = World::new().await;
    let (_one, address_of_one, reader) = running(&world).await;
    let two = world.operator_with(serving()).await;
    let address_of_two = address(&world, &two).await;
    let mut at_one = reader
        .follow(&url(&address_of_one, &world, "works", "?follow=true"))
        .await;
    let mut at_two = reader
        .follow(&url(&address_of_two, &world, "works", "?follow=true"))
        .await;
    for _ in 0..3 {
        assert_eq!(at_one.event().await, at_two.event().await);
    }
    finish(&world).await;
    assert_eq!(at_one.until_end().await, at_two.until_end().await);
}

#[tokio::test]
async fn a_session_that_is_deleted_is_told_to_its_end_or_says_that_it_is_gone() {
    for policy in ["Cancel", "Orphan"] {
        let world = World::new().await;
        let (_operator, address, reader) = running(&world).await;
        let settings = serde_json::json!({"deletionPolicy": policy});
        world.change_session("works", settings).await;
        let mut following = reader
            .follow(&url(&address, &world, "works", "?follow=true"))
            .await;
        let first = following.event().await;
        world.delete_session("works").await;
        let (events, last) = following.until_end().await;
        let events = [vec![first], events].concat();
        assert_dense(&events, 0);
        let cancelled = events.last().unwrap().entry.text.contains("cancel");
        if policy == "Cancel" {
            // Its end may be seen before the object is gone, or not: it is told in any case.
            assert!(cancelled, "{events:?}");
        } else {
            assert!(!cancelled, "{events:?}");
            assert_eq!(last["reason"], "NotFound", "{last}");
        }
    }
}

#[tokio::test]
async fn no_more_follow_than_may() {
    let world = World::new().await;
    let (operator, _, reader) = running(&world).await;
    operator.stop().await;
    let arguments = serving()
        .with("--timeline-followers", "3")
        .with("--timeline-followers-per-session", "2");
    let operator = world.operator_with(arguments).await;
    let address = address(&world, &operator).await;
    let follow = url(&address, &world, "works", "?follow=true");
    let one = reader.follow(&follow).await;
    let _two = reader.follow(&follow).await;
    let refused = reader.get(&follow).await;
    let message = refused.refused(429, "TooManyRequests");
    assert!(
        message.contains("--timeline-followers-per-session"),
        "{message}"
    );
    assert!(refused.headers.contains_key("retry-after"));
    // Whoever leaves makes room.
    drop(one);
    let deadline = Instant::now() + PATIENCE;
    loop {
        let metrics = operator.metrics().await;
        if metrics.contains("codeagent_timeline_followers 1") {
            break;
        }
        assert!(Instant::now() < deadline, "{metrics}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let _three = reader.follow(&follow).await;
}

/// Cursor streams: what its agent does is told while it happens, and the pages tell the same.
#[tokio::test]
async fn a_stream_is_told_as_it_happens() {
    let world = World::new().await;
    world.permit_timelines().await;
    world.agent(Provider::Cursor).await;
    let operator = world.operator_with(serving()).await;
    world
        .session(
            Provider::Cursor,
            "works",
            "Fix it\nsim: running=3600s\nsim: setup=1ms",
        )
        .await;
    world.until_phase("works", SessionPhase::Running).await;
    let address = address(&world, &operator).await;
    let reader = Reader::permitted(&world, "viewer").await;
    let page = url(&address, &world, "works", "");
    reader.until_code(&page, 200).await;
    let follow = url(&address, &world, "works", "?follow=true");
    let mut one = reader.follow(&follow).await;
    let mut two = reader.follow(&follow).await;
    // The simulator spreads what its agent does over the hour.
    world.simulator.advance(Duration::from_secs(1_200));
    let first = one.event().await;
    assert_eq!(two.event().await, first);
    let session = world.sessions().get("works").await.unwrap();
    assert_eq!(phase_of(&session), SessionPhase::Running);
    world.simulator.advance(Duration::from_secs(3_600));
    let (rest, last) = one.until_end().await;
    assert_eq!(last["status"], "Success", "{last}");
    assert_eq!(two.until_end().await, (rest.clone(), last));
    let events = [vec![first], rest].concat();
    assert_dense(&events, 0);
    assert_eq!(reader.get(&page).await.events(), events);
}

/// The fastest follower sets the pace. Who does not read meanwhile is told so, and where to go on.
#[tokio::test]
async fn a_slow_reader_is_cut_and_holds_up_nobody() {
    let world = World::new().await;
    let (_operator, address, reader) = running(&world).await;
    let follow = url(&address, &world, "works", "?follow=true");
    let mut slow = reader.follow_slowly(&world, &follow).await;
    let first = slow.event().await;
    let mut fast = reader.follow(&follow).await;
    world.simulator.advance(Duration::from_secs(6_000));
    let mut last = 0;
    while last < 6_000 {
        last = fast.event().await.seq;
    }
    let (events, end) = slow.until_end().await;
    assert_eq!(end["reason"], "Expired", "{end}");
    assert_eq!(end["code"], 410, "{end}");
    let events = [vec![first], events].concat();
    assert_dense(&events, 0);
    let since = events.last().unwrap().seq;
    assert!(since < 5_500, "{since}");
    let message = end["message"].as_str().unwrap();
    assert!(
        message.ends_with(&format!("go on with since={since}")),
        "{message}"
    );
    let again = url(
        &address,
        &world,
        "works",
        &format!("?follow=true&since={since}"),
    );
    let mut again = reader.follow(&again).await;
    assert_eq!(again.event().await.seq, since + 1);
}

/// Every request for events, at the simulated Flapjack.
fn events_asked_for() -> Matcher {
    Matcher::operation(Operation::FlapjackListEvents)
}

/// Lets the provider refuse to tell events, until its faults are cleared.
fn refuse_events(world: &World, status: u16, code: &str) {
    let code = code.to_owned();
    let refusing = FaultKind::ErrorBefore { status, code };
    world
        .simulator
        .inject(Fault::always(events_asked_for(), refusing));
}

/// What the provider does not answer for a while is told later, and nothing is lost.
#[tokio::test]
async fn an_outage_of_the_provider_is_waited_for() {
    let world = World::new().await;
    // It is waited for as long as five times the longest wait after a fault, which is thirty times this.
    let patient = serving().with("--fault-wait", "2s");
    let (_operator, address, reader) = running_with(&world, patient).await;
    let mut following = reader
        .follow(&url(&address, &world, "works", "?follow=true"))
        .await;
    let mut events = vec![following.event().await];
    refuse_events(&world, 500, "internal");
    let page = url(&address, &world, "works", "");
    let refused = reader.until_code(&page, 503).await;
    refused.refused(503, "ServiceUnavailable");
    assert!(refused.headers.contains_key("retry-after"));
    world.simulator.clear_faults();
    let late = FaultKind::Delay {
        by: Duration::from_secs(2),
    };
    world
        .simulator
        .inject(Fault::once(events_asked_for(), late));
    for _ in 0..3 {
        events.push(following.event().await);
    }
    finish(&world).await;
    let (rest, last) = following.until_end().await;
    events.extend(rest);
    assert_eq!(last["status"], "Success", "{last}");
    assert_dense(&events, 0);
}

/// What does not pass is told in the end, and never the key.
#[tokio::test]
async fn a_provider_that_refuses_the_key_ends_it_with_a_sentence() {
    let world = World::new().await;
    let (_operator, address, reader) = running(&world).await;
    let mut following = reader
        .follow(&url(&address, &world, "works", "?follow=true"))
        .await;
    following.event().await;
    refuse_events(&world, 401, "unauthorized");
    let page = url(&address, &world, "works", "");
    let refused = reader.until_code(&page, 503).await;
    let message = refused.refused(503, "ServiceUnavailable");
    assert!(message.contains("Put a valid key"), "{message}");
    let (_, last) = following.until_end().await;
    assert_eq!(last["reason"], "ServiceUnavailable", "{last}");
    for told in [message, last.to_string()] {
        assert!(!told.contains(demo_key(Provider::Flapjack)), "{told}");
    }
}

/// A right that is taken away ends what was begun with it.
#[tokio::test]
async fn who_may_no_longer_read_is_told_no_more() {
    let world = World::new().await;
    let (_operator, address, reader) = running(&world).await;
    let mut following = reader
        .follow(&url(&address, &world, "works", "?follow=true"))
        .await;
    following.event().await;
    world.kubectl(&["delete", "rolebinding", "viewer"]).await;
    let (_, last) = following.until_end().await;
    assert_eq!(last["reason"], "Forbidden", "{last}");
}
