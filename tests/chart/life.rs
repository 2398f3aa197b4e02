//! The operator with exactly the permissions that the chart gives it: everything that it does works, it asks for nothing else, and it
//! uses every one of them.

use std::collections::BTreeSet;
use std::time::Duration;

use axum::Router;
use codeagent_harness::{
    Access, AuditLog, AuditedRequest, ControlPlane, Namespace, Options, Verb, shared,
};
use codeagent_operator::api::{CodeAgent, CodeSession, SessionPhase};
use codeagent_operator::controllers::permissions::PERMISSIONS;
use codeagent_simulator::{LaunchFilter, Simulator, SimulatorOptions};
use k8s_openapi::api::events::v1::Event;
use kube::ResourceExt;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::monitoring;
use crate::operator::{Arguments, Operator};
use crate::release::Release;

/// A session of everything that takes a permission: sources in ConfigMaps and Secrets, images, variables, messages, a queue, a webhook, a
/// template at the provider, an end that is judged by the CodeAgent, a time to live.
const MANIFESTS: &str = r#"
apiVersion: v1
kind: Secret
metadata: {name: key, labels: {codeagents.dev/credential: "true"}}
stringData: {api-key: cursor-demo-key}
---
apiVersion: v1
kind: Secret
metadata: {name: keys, labels: {codeagents.dev/credential: "true"}}
stringData: {api-key: fj_live_demo_key, cursor-api-key: cursor-demo-key}
---
apiVersion: v1
kind: Secret
metadata: {name: signing, labels: {codeagents.dev/webhook: "true"}}
stringData: {secret: whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw}
---
apiVersion: v1
kind: Secret
metadata: {name: embargoed, labels: {codeagents.dev/prompt: "true"}}
stringData: {prompt: Do it in silence}
data: {dot.gif: R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7}
---
apiVersion: v1
kind: Secret
metadata: {name: staging, labels: {codeagents.dev/environment: "true"}}
stringData: {TOKEN: of-staging}
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
kind: CodeAgent
metadata: {name: one-at-a-time}
spec:
  provider: {cursor: {}}
  credentials: {secretRef: {name: key}}
  repository: {url: https://github.com/acme/app}
  maxConcurrentSessions: 1
---
apiVersion: codeagents.dev/v1alpha1
kind: CodeAgent
metadata: {name: templated}
spec:
  provider: {flapjack: {}}
  credentials: {secretRef: {name: keys}}
  repository: {url: https://github.com/acme/app}
---
apiVersion: codeagents.dev/v1alpha1
kind: CodeSession
metadata: {name: whole}
spec:
  agentRef: {name: agent}
  promptFrom: {configMapKeyRef: {name: task, key: prompt}}
  messages: [{name: more, prompt: And test it}]
---
apiVersion: codeagents.dev/v1alpha1
kind: CodeSession
metadata: {name: of-secrets}
spec:
  agentRef: {name: agent}
  promptFrom: {secretKeyRef: {name: embargoed, key: prompt}}
  images: [{secretKeyRef: {name: embargoed, key: dot.gif}}]
  envFrom: [{secretRef: {name: staging}}]
---
apiVersion: codeagents.dev/v1alpha1
kind: CodeSession
metadata: {name: first}
spec: {agentRef: {name: one-at-a-time}, prompt: Do it}
---
apiVersion: codeagents.dev/v1alpha1
kind: CodeSession
metadata: {name: second}
spec: {agentRef: {name: one-at-a-time}, prompt: Do it as well}
---
apiVersion: codeagents.dev/v1alpha1
kind: CodeSession
metadata: {name: from-template}
spec: {agentRef: {name: templated}, prompt: Do it}
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
---
apiVersion: codeagents.dev/v1alpha1
kind: CodeSession
metadata: {name: undeclared}
spec:
  agentRef: {name: agent}
  prompt: Do it
  parameters: [{name: ticket, value: "42"}]
"#;

/// How many sessions and messages reach a provider: those, but for the one that ends before, and the one that reports.
const SENT: usize = 9;

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

async fn until_leading(operator: &Operator) {
    let deadline = Instant::now() + Duration::from_secs(180);
    loop {
        let shown = operator.metrics().await;
        if shown.lines().any(|line| line == "codeagent_leader 1") {
            return;
        }
        assert!(Instant::now() < deadline, "{}", operator.log());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// A receiver of webhooks that takes everything. It ends with its tasks.
async fn receiver() -> (String, JoinSet<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/reports", listener.local_addr().unwrap());
    let router = Router::new().fallback(async || "taken");
    let mut server = JoinSet::new();
    server.spawn(async move { axum::serve(listener, router).await.unwrap() });
    (url, server)
}

fn phase(session: Option<&CodeSession>) -> Option<SessionPhase> {
    let status = session.and_then(|session| session.status.as_ref());
    status.map(|status| status.phase)
}

fn is_true(session: Option<&CodeSession>, condition: &str) -> bool {
    let status = session.and_then(|session| session.status.as_ref());
    let conditions = status.map(|status| json!(status.conditions));
    let conditions = conditions.as_ref().and_then(Value::as_array).cloned();
    let mut all = conditions.unwrap_or_default().into_iter();
    all.any(|it| it["type"] == condition && it["status"] == "True")
}

/// Every life in `namespace`, run by the operator of `release`.
async fn everything_works(release: &Release, namespace: &Namespace, arguments: Arguments) {
    let simulator = Simulator::start(SimulatorOptions::for_tests())
        .await
        .unwrap();
    let arguments = arguments
        .with("--operator-namespace", release.name())
        .with("--leader-election", "true")
        .with("--sweep-interval", "1s")
        .with(
            "--provider-endpoint",
            &format!("cursor={}", simulator.cursor_url()),
        )
        .and(
            "--provider-endpoint",
            &format!("flapjack={}", simulator.flapjack_url()),
        );
    let access = release.operator().await;
    until_allowed(&access, "leases.coordination.k8s.io", release.name()).await;
    until_allowed(&access, "events.events.k8s.io", namespace.name()).await;
    let operator = Operator::start(access.config(), &arguments).await;
    until_leading(&operator).await;
    let standby = Operator::start(access.config(), &arguments).await;
    namespace.apply_manifests(MANIFESTS).await.unwrap();
    let (url, _receiver) = receiver().await;
    let reporting = json!({
        "apiVersion": "codeagents.dev/v1alpha1", "kind": "CodeSession", "metadata": {"name": "reporting"},
        "spec": {
            "agentRef": {"name": "agent"}, "prompt": "Do it",
            "webhook": {"url": url, "secretRef": {"name": "signing", "key": "secret"}},
        },
    });
    namespace
        .apply_manifests(&reporting.to_string())
        .await
        .unwrap();

    let sessions = namespace.api::<CodeSession>();
    for name in [
        "whole",
        "of-secrets",
        "first",
        "second",
        "from-template",
        "reporting",
    ] {
        until(&sessions, name, &operator, |session| {
            phase(session) == Some(SessionPhase::Finished)
                && session.is_some_and(|session| session.finalizers().is_empty())
        })
        .await;
    }
    until(&sessions, "undeclared", &operator, |session| {
        phase(session) == Some(SessionPhase::Error)
    })
    .await;
    until(&sessions, "reporting", &operator, |session| {
        is_true(session, "WebhookDelivered")
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
    let archive = Patch::Merge(json!({"spec": {"desiredState": "Archived"}}));
    let parameters = PatchParams::default();
    let archived = sessions.patch("first", &parameters, &archive).await;
    archived.unwrap();
    until(&sessions, "first", &operator, |session| {
        is_true(session, "Archived")
    })
    .await;
    // Its template is removed at the provider first.
    let agents = namespace.api::<CodeAgent>();
    let deleted = agents.delete("templated", &DeleteParams::default()).await;
    deleted.unwrap();
    let deadline = Instant::now() + Duration::from_secs(180);
    while agents.get_opt("templated").await.unwrap().is_some() {
        assert!(Instant::now() < deadline, "{}", operator.log());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }

    let launches = simulator.launches(&LaunchFilter::default());
    assert_eq!(launches.len(), SENT, "{launches:#?}");
    assert!(simulator.sessions().iter().all(|session| !session.active));
    let events = namespace.api::<Event>();
    let events = events.list(&ListParams::default()).await.unwrap().items;
    assert!(!events.is_empty());
    until_shown(&operator).await;
    let log = operator.log();
    assert!(!log.to_lowercase().contains("forbidden"), "{log}");
    operator.stop().await;
    until_leading(&standby).await;
    standby.stop().await;
}

/// What was asked of the API server, as a line: `patch codesessions.codeagents.dev/status`.
fn line(verb: &str, group: &str, resource: &str, subresource: &str) -> String {
    let dot = if group.is_empty() { "" } else { "." };
    let slash = if subresource.is_empty() { "" } else { "/" };
    format!("{verb} {resource}{dot}{group}{slash}{subresource}")
}

fn verb(verb: &Verb) -> String {
    match verb {
        Verb::Other(other) => other.clone(),
        known => format!("{known:?}").to_lowercase(),
    }
}

/// What the operator of `release` has asked of the API server: no less than what it is granted, and nothing else.
fn asked_for_what_is_granted(release: &Release, log: &AuditLog, places: &[&str]) {
    let operator = format!(
        "system:serviceaccount:{}:{}",
        release.name(),
        release.full_name()
    );
    // The question of until_allowed is kubectl's own.
    let by_operator = |it: &AuditedRequest| {
        it.user == operator && !it.resource.is_empty() && it.resource != "selfsubjectaccessreviews"
    };
    let requests = log.requests(by_operator).unwrap();
    let refused: Vec<_> = requests.iter().filter(|it| it.code == 403).collect();
    assert!(refused.is_empty(), "{refused:#?}");
    let elsewhere = requests
        .iter()
        .filter(|it| !places.is_empty() && !places.contains(&it.namespace.as_str()));
    let elsewhere: Vec<_> = elsewhere.collect();
    assert!(elsewhere.is_empty(), "{elsewhere:#?}");

    let asked = requests
        .iter()
        .map(|it| line(&verb(&it.verb), &it.group, &it.resource, &it.subresource));
    let asked: BTreeSet<String> = asked.collect();
    let granted = PERMISSIONS
        .iter()
        .map(|it| line(it.verb, it.group, it.resource, it.subresource));
    let granted: BTreeSet<String> = granted.collect();
    let unused: Vec<_> = granted.difference(&asked).collect();
    assert!(unused.is_empty(), "granted and never used: {unused:?}");
    let missing: Vec<_> = asked.difference(&granted).collect();
    assert!(missing.is_empty(), "used and not listed: {missing:?}");
}

/// An operator that serves all namespaces has a control plane of its own: it would serve those of other tests as well.
#[tokio::test]
async fn with_the_charts_permissions_everything_works_in_both_modes() {
    let control_plane = shared().await;
    let listed = control_plane.namespace("team").await.unwrap();
    let release = Release::apply(&format!("watchNamespaces: [{}]", listed.name())).await;
    let arguments = Arguments::calm().with("--namespace", listed.name());
    let log = control_plane.audit_log().unwrap();
    everything_works(&release, &listed, arguments).await;
    asked_for_what_is_granted(&release, &log, &[listed.name(), release.name()]);

    let options = Options {
        audit_log: true,
        ..Options::default()
    };
    // Its processes end with this one.
    let control_plane: &'static ControlPlane =
        Box::leak(Box::new(ControlPlane::start(options).await.unwrap()));
    let release = Release::apply_to(control_plane, "{}").await;
    let any = control_plane.namespace("team").await.unwrap();
    let log = control_plane.audit_log().unwrap();
    everything_works(&release, &any, Arguments::calm()).await;
    asked_for_what_is_granted(&release, &log, &[]);
}
