//! The serving certificate and its Secret.

use codeagent_operator::api::SessionPhase;
use codeagent_simulator::Provider;
use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use kube::api::DeleteParams;
use serde_json::json;

use super::reader::{Reader, SECRET, address, authority, serving, url};
use crate::support::world::World;

/// Readers keep the authority that they have, whatever becomes of the Secret.
#[tokio::test]
async fn a_secret_that_is_deleted_or_broken_comes_back_and_readers_go_on() {
    let world = World::new().await;
    world.permit_timelines().await;
    world.agent(Provider::Flapjack).await;
    let operator = world.operator_with(serving()).await;
    world.session(Provider::Flapjack, "done", "Fix it").await;
    world.until_phase("done", SessionPhase::Finished).await;
    let address = address(&world, &operator).await;
    let reader = Reader::permitted(&world, "viewer").await;
    let page = url(&address, &world, "done", "");
    reader.until_code(&page, 200).await;

    let before = authority(&world).await;
    let secrets: Api<Secret> = world.namespace.api();
    let deleted = secrets.delete(SECRET, &DeleteParams::default()).await;
    deleted.unwrap();
    assert_eq!(authority(&world).await, before);
    reader.until_code(&page, 200).await;

    world
        .kubectl(&[
            "patch",
            "secret",
            SECRET,
            "-p",
            r#"{"data": {"ca.crt": "bm9uc2Vuc2U="}}"#,
        ])
        .await;
    let deadline = std::time::Instant::now() + crate::support::world::PATIENCE;
    while authority(&world).await != before {
        assert!(std::time::Instant::now() < deadline, "it stays broken");
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    reader.until_code(&page, 200).await;
}

#[tokio::test]
async fn a_secret_of_somebody_else_is_left_alone() {
    let world = World::new().await;
    world.permit_timelines().await;
    let theirs = json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": SECRET},
        "stringData": {"password": "theirs"},
    });
    world.apply(theirs).await;
    let operator = world.operator_with(serving()).await;
    world
        .until_true("it says why", || {
            operator.log().contains("that the operator has not made")
        })
        .await;
    let secrets: Api<Secret> = world.namespace.api();
    let secret = secrets.get(SECRET).await.unwrap();
    assert_eq!(secret.data.unwrap().len(), 1);
    assert!(!operator.log().contains("serves timelines"));
}
