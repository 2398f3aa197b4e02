//! What a session left, and its live view: who may have them, and that nobody else learns of them.

use std::time::Duration;

use codeagent_operator::api::SessionPhase;
use codeagent_simulator::{Provider, Script, ScriptRule};

use super::reader::{Reader, address, serving, url, url_of};
use crate::support::world::{World, pretty};

#[tokio::test]
async fn who_may_lists_artifacts_and_is_led_to_each_and_nothing_else_shows_where_it_is() {
    let world = World::new().await;
    world.permit_timelines().await;
    world.agent(Provider::Cursor).await;
    let operator = world.operator_with(serving()).await;
    world
        .session(Provider::Cursor, "done", "Fix it\nsim: artifacts=2")
        .await;
    world.until_phase("done", SessionPhase::Finished).await;
    let address = address(&world, &operator).await;
    let at = |what: &str| url_of(&address, &world, "done", what);
    let reader = Reader::permitted_to(&world, "reader", "codesessions/artifacts").await;

    let list = reader.until_code(&at("artifacts"), 200).await;
    assert_eq!(list.headers["cache-control"], "no-store");
    assert_eq!(list.body["truncated"], false);
    let artifacts = list.body["artifacts"].as_array().unwrap();
    assert_eq!(artifacts.len(), 2, "{list:?}");
    let path = artifacts[1]["path"].as_str().unwrap();
    assert!(artifacts[1]["updatedAt"].is_string());

    let one = reader.get(&at(&format!("artifacts?path={path}"))).await;
    assert_eq!(one.code, 302, "{one:?}");
    assert_eq!(one.body, "");
    assert_eq!(one.headers["cache-control"], "no-store");
    assert_eq!(one.headers["referrer-policy"], "no-referrer");
    let location = one.headers["location"].to_str().unwrap().to_owned();
    let file = reqwest::get(&location).await.unwrap();
    assert_eq!(file.status(), 200);
    let size = file.bytes().await.unwrap().len();
    assert_eq!(artifacts[1]["sizeBytes"], size);

    let missing = reader.get(&at("artifacts?path=artifacts/none")).await;
    missing.refused(404, "NotFound");
    for query in ["?path=", "?paht=a"] {
        let refused = reader.get(&at(&format!("artifacts{query}"))).await;
        refused.refused(400, "BadRequest");
    }
    // Each right is one of its own.
    reader
        .get(&url(&address, &world, "done", ""))
        .await
        .refused(403, "Forbidden");
    let refused = reader.get(&at("preview")).await;
    let message = refused.refused(403, "Forbidden");
    assert!(message.contains("codesessions/preview"), "{message}");
    let timelines = Reader::permitted(&world, "timelines").await;
    timelines.until_code(&at("events"), 200).await;
    timelines
        .get(&at("artifacts"))
        .await
        .refused(403, "Forbidden");

    let log = operator.log();
    let audited = log
        .lines()
        .find(|line| line.contains("artifacts were asked for") && line.contains("outcome=302"));
    let audited = audited.unwrap();
    for part in ["reader", "name=done", "subresource=\"artifacts\"", path] {
        assert!(audited.contains(part), "{part}: {audited}");
    }
    assert!(!log.contains(&location), "{location}");
    let stored = pretty(&world.sessions().get("done").await.unwrap());
    assert!(
        !stored.contains(&location) && !stored.contains(path),
        "{stored}"
    );
}

#[tokio::test]
async fn a_live_view_is_there_for_who_may_while_the_agent_works_and_its_token_is_nowhere_else() {
    let world = World::new().await;
    world.permit_timelines().await;
    world.agent(Provider::Firebender).await;
    world.agent(Provider::Cursor).await;
    world.simulator.script(ScriptRule {
        provider: Some(Provider::Firebender),
        prompt_contains: None,
        times: None,
        script: Script {
            running: Some(Duration::from_secs(1_000_000)),
            ..Script::fast()
        },
    });
    let operator = world.operator_with(serving()).await;
    world.session(Provider::Firebender, "works", "Fix it").await;
    world.session(Provider::Cursor, "other", "Fix it").await;
    world.until_phase("works", SessionPhase::Running).await;
    world.until_phase("other", SessionPhase::Finished).await;
    let address = address(&world, &operator).await;
    let at = |what: &str| url_of(&address, &world, "works", what);
    let watcher = Reader::permitted_to(&world, "watcher", "codesessions/preview").await;

    let view = watcher.until_code(&at("preview"), 200).await;
    assert_eq!(view.headers["cache-control"], "no-store");
    let page = view.body["url"].as_str().unwrap();
    assert!(page.starts_with("https://"), "{page}");
    let token = view.body["token"].as_str().unwrap();
    assert!(token.len() > 10);
    watcher
        .get(&at("preview?a=b"))
        .await
        .refused(400, "BadRequest");
    let other = watcher
        .get(&url_of(&address, &world, "other", "preview"))
        .await;
    let message = other.refused(405, "MethodNotAllowed");
    assert!(message.contains("Firebender can"), "{message}");

    let session = world.sessions().get("works").await.unwrap();
    world.let_finish(Provider::Firebender, &session);
    world.until_phase("works", SessionPhase::Finished).await;
    let gone = watcher.get(&at("preview")).await;
    gone.refused(404, "NotFound");
    let log = operator.log();
    assert!(log.contains("a live view was asked for"));
    assert!(!log.contains(token));
    let stored = pretty(&world.sessions().get("works").await.unwrap());
    assert!(!stored.contains(token), "{stored}");
}
