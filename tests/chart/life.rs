//! The operator with exactly the permissions that the chart gives it: a session's whole life, and its deletion.

use std::time::Duration;

use codeagent_harness::{Access, Namespace, shared};
use codeagent_operator::api::{CodeSession, SessionPhase};
use codeagent_simulator::{LaunchFilter, Simulator, SimulatorOptions};
use k8s_openapi::api::events::v1::Event;
use kube::ResourceExt;
use kube::api::{Api, DeleteParams, ListParams};
use tokio::time::Instant;

use crate::monitoring;
use crate::operator::{Arguments, Operator};
use crate::release::Release;

const MANIFESTS: &str = r#"
apiVersion: v1
kind: Secret
metadata: {name: key, labels: {codeagents.dev/credential: "true"}}
stringData: {api-key: cursor-demo-key}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: task}
data: {prompt: Do it}
---
apiVersion: codeagents.dev/v1alpha1
kind: CodeAgent
metadata: {name: agent}
spec:
  provider: {cursor: {}}
  credentials: {secretRef: {name: key}}
  repository: {url: https://github.com/acme/app}
---
apiVersion: codeagents.dev/v1alpha1
kind: CodeSession
metadata: {name: whole}
spec:
  agentRef: {name: agent}
  promptFrom: {configMapKeyRef: {name: task, key: prompt}}
---
apiVersion: codeagents.dev/v1alpha1
kind: CodeSession
metadata: {name: stopped}
spec:
  agentRef: {name: agent}
  prompt: "sim: outcome=never"
---
apiVersion: codeagents.dev/v1alpha1
kind: CodeSession
metadata: {name: expiring}
spec:
  agentRef: {name: agent}
  prompt: Do it
  ttlSecondsAfterFinished: 0
"#;

/// Waits until the session is as `holds` says; a session that is gone is `None`.
async fn until(
    sessions: &Api<CodeSession>,
    name: &str,
    operator: &Operator,
    holds: impl Fn(Option<&CodeSession>) -> bool,
) {
    let deadline = Instant::now() + Duration::from_secs(180);
    loop {
        let found = sessions.get_opt(name).await.unwrap();
        if holds(found.as_ref()) {
            return;
        }
        let log = operator.log();
        assert!(Instant::now() < deadline, "{name}: {found:#?}\n{log}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Grants take effect a moment after they are applied.
async fn until_allowed(access: &Access, resource: &str, namespace: &str) {
    let question = ["auth", "can-i", "create", resource, "-n", namespace];
    let deadline = Instant::now() + Duration::from_secs(60);
    while !access.kubectl(&question).await.unwrap().success() {
        assert!(Instant::now() < deadline, "{question:?}: no");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Waits until every metric that an alert or the dashboard names is there.
async fn until_shown(operator: &Operator) {
    let deadline = Instant::now() + Duration::from_secs(180);
    loop {
        let shown = operator.metrics().await;
        let mut missing = monitoring::metrics();
        missing.retain(|metric| !shown.lines().any(|line| line.starts_with(metric)));
        if missing.is_empty() {
            return;
        }
        assert!(Instant::now() < deadline, "{missing:?} of {shown}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// A life, a stop by deletion and an expiry in `namespace`, run by the operator of `release`.
async fn everything_works(release: &Release, namespace: &Namespace, arguments: Arguments) {
    let simulator = Simulator::start(SimulatorOptions::for_tests())
        .await
        .unwrap();
    let endpoint = format!("cursor={}", simulator.cursor_url());
    let arguments = arguments
        .with("--operator-namespace", release.name())
        .with("--leader-election", "true")
        .with("--sweep-interval", "1s")
        .with("--provider-endpoint", &endpoint);
    let access = release.operator().await;
    until_allowed(&access, "leases.coordination.k8s.io", release.name()).await;
    until_allowed(&access, "events.events.k8s.io", namespace.name()).await;
    let operator = Operator::start(access.config(), &arguments).await;
    namespace.apply_manifests(MANIFESTS).await.unwrap();

    let sessions = namespace.api::<CodeSession>();
    let phase = |session: Option<&CodeSession>| {
        let status = session.and_then(|session| session.status.as_ref());
        status.map(|status| status.phase)
    };
    until(&sessions, "whole", &operator, |session| {
        phase(session) == Some(SessionPhase::Finished)
            && session.is_some_and(|session| session.finalizers().is_empty())
    })
    .await;
    until(&sessions, "expiring", &operator, |session| {
        session.is_none()
    })
    .await;
    until(&sessions, "stopped", &operator, |session| {
        phase(session) == Some(SessionPhase::Running)
    })
    .await;
    let deleted = sessions.delete("stopped", &DeleteParams::default()).await;
    deleted.unwrap();
    until(&sessions, "stopped", &operator, |session| session.is_none()).await;

    assert_eq!(simulator.launches(&LaunchFilter::default()).len(), 3);
    assert!(simulator.sessions().iter().all(|session| !session.active));
    let events = namespace.api::<Event>();
    let events = events.list(&ListParams::default()).await.unwrap().items;
    assert!(!events.is_empty());
    until_shown(&operator).await;
    let log = operator.log();
    assert!(!log.to_lowercase().contains("forbidden"), "{log}");
    operator.stop().await;
}

/// One after the other: an operator that serves all namespaces would serve the other's as well.
#[tokio::test]
async fn with_the_charts_permissions_everything_works_in_both_modes() {
    let control_plane = shared().await;
    let listed = control_plane.namespace("team").await.unwrap();
    let release = Release::apply(&format!("watchNamespaces: [{}]", listed.name())).await;
    let arguments = Arguments::calm().with("--namespace", listed.name());
    everything_works(&release, &listed, arguments).await;

    let release = Release::apply("{}").await;
    let any = control_plane.namespace("team").await.unwrap();
    everything_works(&release, &any, Arguments::calm()).await;
}
