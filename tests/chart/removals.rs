//! Without one of its permissions the operator does not launch, and the API server's refusal is what shows.

use std::time::Duration;

use codeagent_harness::{ControlPlane, shared};
use codeagent_operator::controllers::permissions::{self, PERMISSIONS, Permission};
use codeagent_simulator::{LaunchFilter, Simulator, SimulatorOptions};
use futures::future::join_all;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::operator::{Arguments, Operator};

const MANIFESTS: &str = r#"
apiVersion: v1
kind: Secret
metadata: {name: key, labels: {codeagents.dev/credential: "true"}}
stringData: {api-key: cursor-demo-key}
---
apiVersion: codeagents.dev/v1alpha1
kind: CodeAgent
metadata: {name: agent}
spec: {provider: {cursor: {}}, credentials: {secretRef: {name: key}}, repository: {url: https://github.com/acme/app}}
---
apiVersion: codeagents.dev/v1alpha1
kind: CodeSession
metadata: {name: one}
spec: {agentRef: {name: agent}, prompt: Do it}
"#;

/// What must be there before anything is paid for: the key, the namespace's uid, the finalizer, the claim.
const BEFORE_A_LAUNCH: [(&str, &str, &str); 4] = [
    ("get", "secrets", ""),
    ("get", "namespaces", ""),
    ("patch", "codesessions", ""),
    ("patch", "codesessions", "status"),
];

/// A Role with what the operator asks for in one namespace, its own included, but for `removed`.
fn role(namespace: &str, user: &str, removed: &Permission) -> String {
    let own = (namespace, "codeagent-operator");
    let served = [Some(namespace.to_owned())];
    let is_removed = |verb: &Option<String>, resource: &Option<String>, sub: &Option<String>| {
        (
            verb.as_deref(),
            resource.as_deref(),
            sub.as_deref().unwrap_or_default(),
        ) == (
            Some(removed.verb),
            Some(removed.resource),
            removed.subresource,
        )
    };
    let questions = permissions::questions(&served, own, false).into_iter();
    let kept = questions.filter(|it| !is_removed(&it.verb, &it.resource, &it.subresource));
    let rules: Vec<Value> = kept
        .map(|it| {
            let resource = it.resource.unwrap_or_default();
            let resource = match it.subresource {
                Some(subresource) => format!("{resource}/{subresource}"),
                None => resource,
            };
            let names: Vec<String> = it.name.into_iter().collect();
            json!({"apiGroups": [it.group], "resources": [resource], "verbs": [it.verb], "resourceNames": names})
        })
        .collect();
    let role = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role",
        "metadata": {"name": "operator"}, "rules": rules,
    });
    let binding = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding",
        "metadata": {"name": "operator"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "operator"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": user}],
    });
    format!("{role}\n---\n{binding}")
}

async fn nothing_is_launched_without(control_plane: &ControlPlane, removed: &Permission) {
    let namespace = control_plane.namespace("team").await.unwrap();
    let user = format!("operator-{}", namespace.name());
    let access = control_plane.user(&user, None).unwrap();
    let role = role(namespace.name(), &user, removed);
    namespace.apply_manifests(&role).await.unwrap();
    let simulator = Simulator::start(SimulatorOptions::for_tests())
        .await
        .unwrap();
    let arguments = Arguments::calm()
        .with("--namespace", namespace.name())
        .with("--operator-namespace", namespace.name())
        .with(
            "--provider-endpoint",
            &format!("cursor={}", simulator.cursor_url()),
        );
    // Grants take effect a moment after they are applied; without them the operator would end.
    let question = [
        "auth",
        "can-i",
        "watch",
        "codesessions.codeagents.dev",
        "-n",
        namespace.name(),
    ];
    let deadline = Instant::now() + Duration::from_secs(180);
    while !access.kubectl(&question).await.unwrap().success() {
        assert!(Instant::now() < deadline, "{question:?}: no");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let log = control_plane.audit_log().unwrap();
    let operator = Operator::start(access.config(), &arguments).await;
    namespace.apply_manifests(MANIFESTS).await.unwrap();
    loop {
        let refused = log.requests(|it| {
            it.user == user
                && it.code == 403
                && it.resource == removed.resource
                && it.subresource == removed.subresource
        });
        if !refused.unwrap().is_empty() {
            break;
        }
        assert!(Instant::now() < deadline, "{removed:?}: {}", operator.log());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    operator.stop().await;
    let launches = simulator.launches(&LaunchFilter::default());
    assert_eq!(launches.len(), 0, "{removed:?}: {launches:#?}");
}

#[tokio::test]
async fn without_a_permission_that_a_launch_needs_nothing_is_paid_for() {
    // The definitions, as every release has them.
    let control_plane = shared().await;
    for crd in codeagent_operator::api::crds::all() {
        let yaml = codeagent_operator::api::crds::to_yaml(&crd).unwrap();
        control_plane.admin().apply_manifests(&yaml).await.unwrap();
    }
    let removed = BEFORE_A_LAUNCH.map(|needed| {
        let mut all = PERMISSIONS.iter();
        let found = all.find(|it| (it.verb, it.resource, it.subresource) == needed);
        found.unwrap_or_else(|| panic!("{needed:?} is not listed"))
    });
    join_all(removed.map(|it| nothing_is_launched_without(control_plane, it))).await;
}
