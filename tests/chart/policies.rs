//! The admission policies, asked as different users of a real API server.

use std::time::Duration;

use codeagent_harness::{Access, Namespace, shared};
use codeagent_operator::api::{CodeSession, SessionPhase};
use codeagent_simulator::{Simulator, SimulatorOptions};
use kube::ResourceExt;
use kube::api::Api;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::helm;
use crate::operator::{Arguments, Operator};
use crate::release::Release;

const CREATOR: &str = "codeagents.dev/created-by";
const USE: &str = "may not use the CodeAgent";
const SECRET: &str = "may not get the Secret";

/// Two CodeAgents, the key of both, and other Secrets.
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
kind: CodeAgent
metadata: {name: cheap}
spec: {provider: {cursor: {}}, credentials: {secretRef: {name: key}}, repository: {url: https://github.com/acme/app}}
"#;

/// The team's people, in their namespace.
struct Team {
    namespace: Namespace,
    /// Bound to the chart's role for users.
    dev: Access,
    /// Bound to the chart's role for approvers.
    approver: Access,
    /// Bound to Kubernetes' own edit, which includes Secrets.
    editor: Access,
    /// May write CodeAgents and sessions, use one CodeAgent and read ten Secrets by name.
    narrow: Access,
}

impl Team {
    async fn of(release: &Release, namespace: Namespace) -> Self {
        let user = |name: &str| {
            let name = format!("{name}-{}", namespace.name());
            let access = release.control_plane().user(&name, None).unwrap();
            (name, access)
        };
        let [dev, approver, editor, narrow] = ["dev", "approver", "editor", "narrow"].map(user);
        for ((name, _), role) in [
            (&dev, format!("{}-user", release.full_name())),
            (&approver, format!("{}-approver", release.full_name())),
            (&editor, "edit".to_owned()),
        ] {
            namespace
                .apply_manifests(&binding(name, "ClusterRole", &role))
                .await
                .unwrap();
        }
        let role = r#"{apiVersion: rbac.authorization.k8s.io/v1, kind: Role, metadata: {name: narrow}, rules: [
            {apiGroups: [codeagents.dev], resources: [codeagents, codesessions], verbs: [get, list, create, update, patch]},
            {apiGroups: [codeagents.dev], resources: [codeagents], resourceNames: [cheap], verbs: [use]},
            {apiGroups: [""], resources: [secrets], resourceNames: [a, b, c, d, e, f, g, h, i, j], verbs: [get]}]}"#;
        namespace.apply_manifests(role).await.unwrap();
        let bound = binding(&narrow.0, "Role", "narrow");
        namespace.apply_manifests(&bound).await.unwrap();
        namespace.apply_manifests(MANIFESTS).await.unwrap();
        Self {
            dev: dev.1,
            approver: approver.1,
            editor: editor.1,
            narrow: narrow.1,
            namespace,
        }
    }

    /// Runs kubectl as somebody, with an object to read. Returns what was printed, or what was complained about.
    async fn kubectl(
        &self,
        who: &Access,
        words: &[&str],
        object: &Value,
    ) -> Result<String, String> {
        let words = [words, &["-n", self.namespace.name()]].concat();
        let input = object.to_string();
        let output = who.kubectl_with_input(&words, &input).await.unwrap();
        match output.success() {
            true => Ok(output.stdout),
            false => Err(output.stderr),
        }
    }

    /// Whether somebody may create an object; nothing is stored.
    async fn try_create(&self, who: &Access, object: &Value) -> Result<String, String> {
        let words = [
            "create",
            "--dry-run=server",
            "--validate=false",
            "-o",
            "json",
            "-f",
            "-",
        ];
        self.kubectl(who, &words, object).await
    }

    async fn patch(&self, who: &Access, what: &str, patch: &Value) -> Result<String, String> {
        let patch = patch.to_string();
        let words = ["patch", "--type=merge", what, "-p", &patch];
        self.kubectl(who, &words, &Value::Null).await
    }

    async fn creator(&self, session: &str) -> Option<String> {
        let api: Api<CodeSession> = self.namespace.api();
        let session = api.get(session).await.unwrap();
        session.annotations().get(CREATOR).cloned()
    }
}

fn binding(user: &str, kind: &str, role: &str) -> String {
    json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding",
        "metadata": {"name": user},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": role},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": user}],
    })
    .to_string()
}

/// A session of `agent`, with more in its spec.
fn session(name: &str, agent: &str, more: Value) -> Value {
    let mut spec = json!({"agentRef": {"name": agent}, "prompt": "Do it"});
    for (field, value) in more.as_object().unwrap() {
        spec[field] = value.clone();
    }
    if spec.get("promptFrom").is_some() {
        spec.as_object_mut().unwrap().remove("prompt");
    }
    json!({
        "apiVersion": "codeagents.dev/v1alpha1", "kind": "CodeSession",
        "metadata": {"name": name}, "spec": spec,
    })
}

fn agent(name: &str, more: Value) -> Value {
    let mut spec = json!({
        "provider": {"cursor": {}}, "credentials": {"secretRef": {"name": "key"}},
        "repository": {"url": "https://github.com/acme/app"},
    });
    for (field, value) in more.as_object().unwrap() {
        spec[field] = value.clone();
    }
    json!({
        "apiVersion": "codeagents.dev/v1alpha1", "kind": "CodeAgent",
        "metadata": {"name": name}, "spec": spec,
    })
}

fn refused(result: Result<String, String>, words: &str) {
    match result {
        Ok(done) => panic!("not refused: {done}"),
        Err(said) => assert!(said.contains(words), "{said}"),
    }
}

/// A release with policies for a namespace of its own, once they and the roles have taken effect.
async fn team() -> (Release, Team) {
    let namespace = shared().await.namespace("team").await.unwrap();
    let values = format!(
        "{{policies: {{enabled: true}}, watchNamespaces: [{}]}}",
        namespace.name()
    );
    let release = Release::apply(&values).await;
    let team = Team::of(&release, namespace).await;
    let deadline = Instant::now() + Duration::from_secs(120);
    loop {
        let plain = session("probe", "cheap", json!({}));
        let foreign = session("probe", "agent", json!({}));
        let secret = session(
            "probe",
            "cheap",
            json!({"credentials": {"secretRef": {"name": "key"}}}),
        );
        let mut forged = plain.clone();
        forged["metadata"]["annotations"] = json!({CREATOR: "somebody"});
        let results = [
            team.try_create(&team.narrow, &plain).await,
            team.try_create(&team.dev, &plain).await,
            team.try_create(&team.editor, &plain).await,
            team.try_create(&team.narrow, &foreign).await,
            team.try_create(&team.narrow, &secret).await,
            team.try_create(&team.narrow, &forged).await,
        ];
        let effective = results.each_ref().map(Result::is_ok);
        let stamped = results[0].as_ref().is_ok_and(|it| it.contains(CREATOR));
        if effective == [true, true, true, false, false, false] && stamped {
            return (release, team);
        }
        assert!(Instant::now() < deadline, "{results:#?}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

#[tokio::test]
async fn sessions_and_agents_reach_no_further_than_those_who_write_them() {
    let (_release, team) = team().await;

    // Which CodeAgent.
    let foreign = session("one", "agent", json!({}));
    refused(team.try_create(&team.narrow, &foreign).await, USE);
    team.try_create(&team.dev, &foreign).await.unwrap();

    // Which Secrets, by every way that names one.
    let reference = json!({"name": "key", "key": "api-key"});
    let ways = [
        json!({"credentials": {"secretRef": {"name": "key"}}}),
        json!({"webhook": {"url": "https://hooks.example.com/a", "secretRef": reference}}),
        json!({"promptFrom": {"secretKeyRef": reference}}),
        json!({"envFrom": [{"secretRef": {"name": "key"}}]}),
        json!({"images": [{"secretKeyRef": reference}]}),
        json!({"messages": [{"name": "more", "promptFrom": {"secretKeyRef": reference}}]}),
        json!({"messages": [{"name": "more", "prompt": "See", "images": [{"url": "https://example.com/a.png"}, {"secretKeyRef": reference}]}]}),
    ];
    for way in &ways {
        let object = session("one", "agent", way.clone());
        refused(team.try_create(&team.dev, &object).await, SECRET);
        team.try_create(&team.editor, &object).await.unwrap();
    }
    // One by one is enough.
    let named: Vec<Value> = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j"]
        .map(|name| json!({"secretRef": {"name": name}}))
        .to_vec();
    let several = json!({"envFrom": named});
    let object = session("one", "cheap", several);
    team.try_create(&team.narrow, &object).await.unwrap();
    let one_too_many =
        json!({"envFrom": [{"secretRef": {"name": "a"}}, {"secretRef": {"name": "key"}}]});
    let object = session("one", "cheap", one_too_many);
    refused(team.try_create(&team.narrow, &object).await, SECRET);

    // CodeAgents: a new one, another endpoint of one that is there, but not a label.
    refused(
        team.try_create(&team.narrow, &agent("own", json!({})))
            .await,
        SECRET,
    );
    team.try_create(&team.editor, &agent("own", json!({})))
        .await
        .unwrap();
    for way in [
        json!({"env": [{"name": "A", "value": "1"}, {"name": "B", "secretKeyRef": reference}]}),
        json!({"envFrom": [{"secretRef": {"name": "key"}}]}),
        json!({"imagePullSecrets": [{"name": "key"}]}),
        json!({"git": {"secretRef": {"name": "key"}}}),
    ] {
        let mut own = agent("in-cluster", json!({}));
        let spec = own["spec"].as_object_mut().unwrap();
        spec.remove("credentials");
        let mut job = json!({"adapter": "Claude", "image": "agent:1"});
        job.as_object_mut()
            .unwrap()
            .extend(way.as_object().unwrap().clone());
        spec.insert("provider".to_owned(), json!({"job": job}));
        refused(team.try_create(&team.narrow, &own).await, SECRET);
        team.try_create(&team.editor, &own).await.unwrap();
    }
    let elsewhere =
        json!({"spec": {"provider": {"cursor": {"endpoint": "https://collector.example.com"}}}});
    refused(
        team.patch(&team.narrow, "codeagent/cheap", &elsewhere)
            .await,
        SECRET,
    );
    let labelled = json!({"metadata": {"labels": {"seen": "yes"}}});
    team.patch(&team.narrow, "codeagent/cheap", &labelled)
        .await
        .unwrap();
    let applied = agent("cheap", json!({"suspend": true}));
    let apply = [
        "apply",
        "--server-side",
        "--force-conflicts",
        "--validate=false",
        "-f",
        "-",
    ];
    refused(team.kubectl(&team.narrow, &apply, &applied).await, SECRET);
    team.kubectl(&team.editor, &apply, &applied).await.unwrap();

    // Changes of a session: who may not read its Secret may stop it, but not redirect it.
    let with_key = session(
        "keyed",
        "agent",
        json!({"credentials": {"secretRef": {"name": "key"}}}),
    );
    let create = ["create", "--validate=false", "-f", "-"];
    team.kubectl(&team.editor, &create, &with_key)
        .await
        .unwrap();
    let other_key = json!({"spec": {"credentials": {"secretRef": {"key": "other"}}}});
    refused(
        team.patch(&team.approver, "codesession/keyed", &other_key)
            .await,
        SECRET,
    );
    let message = json!({"spec": {"messages": [{"name": "more", "promptFrom": {"secretKeyRef": reference}}]}});
    // The Secret is one that the session names already; another one is not.
    team.patch(&team.approver, "codesession/keyed", &message)
        .await
        .unwrap();
    let other = json!({"spec": {"webhook": {"url": "https://hooks.example.com/a", "secretRef": {"name": "a", "key": "x"}}}});
    refused(
        team.patch(&team.approver, "codesession/keyed", &other)
            .await,
        SECRET,
    );
    let hold = json!({"spec": {"desiredState": "Suspended"}});
    team.patch(&team.approver, "codesession/keyed", &hold)
        .await
        .unwrap();
    refused(
        team.try_create(&team.approver, &session("one", "agent", json!({})))
            .await,
        "forbidden",
    );
}

#[tokio::test]
async fn who_creates_a_session_is_recorded_and_stays_recorded() {
    let (_release, team) = team().await;
    let dev = format!("dev-{}", team.namespace.name());
    let object = session("one", "agent", json!({}));
    let create = ["create", "--validate=false", "-f", "-"];
    team.kubectl(&team.dev, &create, &object).await.unwrap();
    assert_eq!(team.creator("one").await, Some(dev.clone()));

    let another = json!({"metadata": {"annotations": {CREATOR: "somebody"}}});
    let never = "was recorded when the session was created, and never changes";
    refused(
        team.patch(&team.dev, "codesession/one", &another).await,
        never,
    );
    refused(
        team.patch(&team.editor, "codesession/one", &another).await,
        never,
    );

    // By a manifest that does not mention it: replaced, applied on either side, by somebody else.
    let labelled = json!({"metadata": {"labels": {"seen": "yes"}}});
    team.patch(&team.editor, "codesession/one", &labelled)
        .await
        .unwrap();
    for words in [
        &["replace", "--validate=false", "-f", "-"][..],
        &[
            "apply",
            "--server-side",
            "--force-conflicts",
            "--validate=false",
            "-f",
            "-",
        ],
        &["apply", "--validate=false", "-f", "-"],
    ] {
        team.kubectl(&team.editor, words, &object).await.unwrap();
        assert_eq!(team.creator("one").await, Some(dev.clone()), "{words:?}");
    }
}

/// The operator may neither use a CodeAgent nor write a session: what it stores changes no spec.
#[tokio::test]
async fn the_operators_own_writes_pass() {
    let (release, team) = team().await;
    let simulator = Simulator::start(SimulatorOptions::for_tests())
        .await
        .unwrap();
    let arguments = Arguments::calm()
        .with("--namespace", team.namespace.name())
        .with("--operator-namespace", release.name())
        .with(
            "--provider-endpoint",
            &format!("cursor={}", simulator.cursor_url()),
        );
    let access = release.operator().await;
    let operator = Operator::start(access.config(), &arguments).await;
    let object = session("one", "agent", json!({"ttlSecondsAfterFinished": 3600}));
    let create = ["create", "--validate=false", "-f", "-"];
    team.kubectl(&team.dev, &create, &object).await.unwrap();
    let api: Api<CodeSession> = team.namespace.api();
    let deadline = Instant::now() + Duration::from_secs(180);
    loop {
        let found = api.get("one").await.unwrap();
        let phase = found.status.as_ref().map(|status| status.phase);
        if phase == Some(SessionPhase::Finished) && found.finalizers().is_empty() {
            break;
        }
        assert!(Instant::now() < deadline, "{found:#?}\n{}", operator.log());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    operator.stop().await;
}

#[test]
fn without_mutating_policies_the_others_remain_and_it_is_said() {
    let objects = |values: &str| {
        let mut objects = helm::render(values);
        objects.retain(|it| {
            it["apiVersion"]
                .as_str()
                .unwrap()
                .starts_with("admissionregistration")
        });
        objects
    };
    assert!(objects("{}").is_empty());
    let rendered = objects("policies: {enabled: true}");
    let kinds = |kind: &str| rendered.iter().filter(|it| it["kind"] == kind).count();
    assert_eq!(kinds("ValidatingAdmissionPolicy"), 3);
    assert_eq!(kinds("ValidatingAdmissionPolicyBinding"), 3);
    assert_eq!(kinds("MutatingAdmissionPolicy"), 0);

    // Without a cluster Helm assumes that there are none.
    let notes = helm::run(
        helm::command()
            .args(["install", "ops"])
            .arg(helm::chart())
            .args(["--dry-run=client", "--set", "policies.enabled=true"]),
        "",
    );
    let notes = notes.unwrap();
    let said = "this cluster does not serve MutatingAdmissionPolicy";
    assert!(notes.contains(said), "{notes}");
}
