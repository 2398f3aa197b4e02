//! What a new object shows before any operator has seen it.

use kube::api::ListParams;
use serde_json::{Value, json};

use crate::cluster::{Kind, create, namespace, set_status, yaml};

#[tokio::test]
async fn a_new_session_is_pending_and_is_found_as_such() {
    let namespace = namespace("status-session").await;
    for (name, agent) in [("one", "a"), ("two", "a"), ("three", "b")] {
        let spec = json!({"agentRef": {"name": agent}, "prompt": "Fix the bug"});
        let created = create(&namespace, Kind::Session, name, &spec)
            .await
            .unwrap();
        let status = &created["status"];
        assert_eq!(status["phase"], "Pending");
        assert_eq!(status["observedGeneration"], -1);
        assert_eq!(status["conditions"][0]["type"], "Reconciling");
        assert_eq!(status["conditions"][0]["status"], "True");
    }
    set_status(
        &namespace,
        Kind::Session,
        "two",
        &json!({"phase": "Running"}),
    )
    .await;
    let api = Kind::Session.api(&namespace);
    for (selector, expected) in [
        ("status.phase=Pending", vec!["one", "three"]),
        ("status.phase=Running", vec!["two"]),
        ("status.phase!=Pending", vec!["two"]),
        ("spec.agentRef.name=a", vec!["one", "two"]),
        ("spec.agentRef.name=a,status.phase=Pending", vec!["one"]),
        ("status.phase=Finished", vec![]),
    ] {
        let found = api
            .list(&ListParams::default().fields(selector))
            .await
            .unwrap();
        let mut names: Vec<&str> = found
            .items
            .iter()
            .filter_map(|item| item.metadata.name.as_deref())
            .collect();
        names.sort_unstable();
        let mut expected = expected;
        expected.sort_unstable();
        assert_eq!(names, expected, "{selector}");
    }
}

#[tokio::test]
async fn a_new_agent_is_not_ready_yet() {
    let namespace = namespace("status-agent").await;
    let spec = yaml("{provider: {cursor: {}}, credentials: {secretRef: {name: key}}}");
    let created = create(&namespace, Kind::Agent, "agent", &spec)
        .await
        .unwrap();
    let status = &created["status"];
    assert_eq!(status["observedGeneration"], -1);
    let conditions: Vec<(&Value, &Value)> = status["conditions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|condition| (&condition["type"], &condition["status"]))
        .collect();
    let expected = [
        json!("Reconciling"),
        json!("True"),
        json!("Ready"),
        json!("Unknown"),
    ];
    let [first, first_status, second, second_status] = &expected;
    assert_eq!(conditions, [(first, first_status), (second, second_status)]);
}

/// The default says nothing about any generation, so `kubectl wait` takes none of it for an answer.
#[tokio::test]
async fn a_wait_for_the_end_of_a_new_session_waits() {
    let namespace = namespace("status-wait").await;
    let spec = json!({"agentRef": {"name": "a"}, "prompt": "Fix the bug"});
    create(&namespace, Kind::Session, "new", &spec)
        .await
        .unwrap();
    let admin = crate::cluster::cluster().await.admin();
    let wait = |what: &'static str| {
        let namespace = namespace.name().to_owned();
        async move {
            admin
                .kubectl(&["wait", "-n", &namespace, "csess/new", what, "--timeout=1s"])
                .await
                .unwrap()
        }
    };
    for what in ["--for=condition=Completed", "--for=condition=Reconciling"] {
        let output = wait(what).await;
        assert!(
            !output.success() && output.stderr.contains("timed out"),
            "{output:?}"
        );
    }
}
