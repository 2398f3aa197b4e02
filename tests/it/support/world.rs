//! What a test has to itself: a namespace of the shared control plane, simulated providers, and an operator user with the
//! permissions that the chart gives.

use std::collections::HashMap;
use std::fmt::Debug;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use codeagent_boundary::cluster::{chart_job_rules, chart_rules, permitted};
use codeagent_harness::{Access, AuditLog, AuditedRequest, ControlPlane, Namespace, Verb, shared};
use codeagent_operator::api::{
    CodeAgent, CodeSession, Condition, ConditionStatus, SessionPhase, condition, crds,
};
use codeagent_simulator::{
    Key, Launch, LaunchFilter, Outcome, Provider, Script, SessionView, Simulator, SimulatorOptions,
    Urls,
};
use futures::StreamExt;
use k8s_openapi::api::core::v1::{Pod, Secret};
use k8s_openapi::api::events::v1::Event;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams, WatchParams};
use kube::core::NamespaceResourceScope;
use kube::{Api, Resource, ResourceExt};
use kube_runtime::WatchStreamExt;
use kube_runtime::watcher::{self, Event as Watched, watcher};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::sync::OnceCell;
use tokio::task::JoinSet;

use super::operator::{Arguments, Operator};

/// When something that is waited for counts as never happening. No test says anything by it, so it is far beyond what a busy machine needs.
pub const PATIENCE: Duration = Duration::from_secs(180);
const GLANCE: Duration = Duration::from_millis(40);

/// The verbs that the chart gives for the operator's own Lease.
fn lease_verbs() -> &'static str {
    let role = include_str!("../../../charts/codeagent-operator/templates/rbac-lease.yaml");
    let (_, rest) = role.split_once("resourceNames:").unwrap();
    let (_, rest) = rest.split_once("verbs: ").unwrap();
    rest.lines().next().unwrap()
}

/// Installs the definitions.
async fn definitions(admin: &Access) {
    for crd in crds::all() {
        let yaml = crds::to_yaml(&crd).unwrap();
        admin.apply_manifests(&yaml).await.unwrap();
    }
}

/// The name of a provider's CodeAgent and of its Secret, unless a test makes others.
pub fn agent_name(provider: Provider) -> &'static str {
    provider.name()
}

/// The key that the simulator accepts from the start.
pub fn demo_key(provider: Provider) -> &'static str {
    match provider {
        Provider::Cursor => "cursor-demo-key",
        Provider::Firebender => "firebender-demo-key",
        Provider::Flapjack => "fj_live_demo_key",
        Provider::Firetiger => "demo:firetiger-demo-password",
        Provider::Http => "http-demo-key",
    }
}

/// The mapping of the documentation's example, for a service at `endpoint`.
pub fn mapping(endpoint: &str) -> Value {
    let manifest = include_str!("../../../examples/http-devin.yaml");
    let agent = manifest
        .split("\n---\n")
        .find(|part| part.contains("kind: CodeAgent"));
    let agent: Value = serde_saphyr::from_str(agent.unwrap()).unwrap();
    let mut mapping = agent["spec"]["provider"]["http"].clone();
    mapping["endpoint"] = json!(endpoint);
    mapping
}

/// Everything one test needs, apart from all other tests.
pub struct World {
    pub admin: Access,
    pub namespace: Namespace,
    pub simulator: Simulator,
    /// The operator's user.
    pub access: Access,
    user: String,
    stored: Stored,
}

/// Every version of every session of a namespace that was stored, oldest first, by uid.
struct Stored {
    versions: Arc<Mutex<HashMap<String, Vec<CodeSession>>>>,
    _watch: JoinSet<()>,
}

impl Stored {
    fn follow(sessions: Api<CodeSession>) -> Self {
        let versions = Arc::new(Mutex::new(HashMap::<String, Vec<CodeSession>>::new()));
        let kept = Arc::clone(&versions);
        let mut watch = JoinSet::new();
        watch.spawn(async move {
            let events = watcher(sessions, watcher::Config::default()).default_backoff();
            let mut events = std::pin::pin!(events);
            while let Some(event) = events.next().await {
                if let Ok(Watched::Apply(session) | Watched::InitApply(session)) = event {
                    let uid = session.uid().unwrap();
                    kept.lock().unwrap().entry(uid).or_default().push(session);
                }
            }
        });
        Self {
            versions,
            _watch: watch,
        }
    }

    /// The first version of the session in which it was in this phase.
    fn in_phase(&self, uid: &str, phase: SessionPhase) -> Option<CodeSession> {
        let versions = self.versions.lock().unwrap();
        let mut versions = versions.get(uid)?.iter();
        versions.find(|session| phase_of(session) == phase).cloned()
    }
}

impl World {
    /// With simulated providers whose sessions take milliseconds.
    pub async fn new() -> Self {
        Self::with(SimulatorOptions::for_tests()).await
    }

    /// With simulated providers like these.
    pub async fn with(options: SimulatorOptions) -> Self {
        let control_plane = shared().await;
        static INSTALLED: OnceCell<()> = OnceCell::const_new();
        INSTALLED
            .get_or_init(|| definitions(control_plane.admin()))
            .await;
        Self::at(control_plane, options).await
    }

    /// At a control plane of the test's own, with the definitions installed.
    pub async fn at_own(control_plane: &ControlPlane, options: SimulatorOptions) -> Self {
        definitions(control_plane.admin()).await;
        Self::at(control_plane, options).await
    }

    async fn at(control_plane: &ControlPlane, options: SimulatorOptions) -> Self {
        let namespace = control_plane.namespace("it").await.unwrap();
        let user = format!("operator-of-{}", namespace.name());
        let access = control_plane.user(&user, None).unwrap();
        let world = Self {
            admin: control_plane.admin().clone(),
            simulator: Simulator::start(options).await.unwrap(),
            access,
            user,
            stored: Stored::follow(namespace.api()),
            namespace,
        };
        world.permit(&world.namespace).await;
        world
    }

    /// Lets the operator of this world serve the namespace of another one as well. Start it with that namespace.
    pub async fn serves(&self, other: &World) {
        self.permit(&other.namespace).await;
    }

    /// Gives the operator's user what the chart gives its ServiceAccount where it serves a listed namespace.
    async fn permit(&self, namespace: &Namespace) {
        self.permit_rules(namespace, chart_rules().unwrap()).await;
        permitted(&namespace.client(), &self.user, namespace.name(), PATIENCE)
            .await
            .unwrap();
    }

    /// Lets the operator list and read the objects of a kind, and watch them only if told so: without, it knows them as they were at its
    /// start.
    pub async fn watches<K>(&self, allowed: bool)
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>,
        K: Clone + Debug + DeserializeOwned,
    {
        let rules = chart_rules().unwrap();
        let rule = format!("resources: [{}]\n  verbs: [get, list, ", K::plural(&()));
        let all = format!("{rule}watch, ");
        assert!(rules.contains(&all), "{rules}");
        let rules = match allowed {
            true => rules.to_owned(),
            false => rules.replace(&all, &rule),
        };
        self.permit_rules(&self.namespace, &rules).await;
        let client = self.access.client().unwrap();
        let objects: Api<K> = Api::namespaced(client, self.name());
        let begun = Instant::now();
        loop {
            let opened = objects.watch(&WatchParams::default(), "0").await;
            let refused = matches!(&opened, Err(kube::Error::Api(status)) if status.code == 403);
            let effective = if allowed { opened.is_ok() } else { refused };
            if effective {
                return;
            }
            assert!(
                begun.elapsed() < PATIENCE,
                "the permissions do not take effect"
            );
            tokio::time::sleep(GLANCE).await;
        }
    }

    async fn permit_rules(&self, namespace: &Namespace, rules: &str) {
        let manifests = format!(
            "\
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {{name: operator}}
rules:
{rules}
- {{apiGroups: [\"\"], resources: [namespaces], resourceNames: [{namespace}], verbs: [get]}}
- {{apiGroups: [coordination.k8s.io], resources: [leases], verbs: [create]}}
- {{apiGroups: [coordination.k8s.io], resources: [leases], resourceNames: [codeagent-operator], verbs: {lease_verbs}}}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {{name: operator}}
roleRef: {{apiGroup: rbac.authorization.k8s.io, kind: Role, name: operator}}
subjects: [{{apiGroup: rbac.authorization.k8s.io, kind: User, name: {user}}}]
",
            lease_verbs = lease_verbs(),
            namespace = namespace.name(),
            user = self.user,
        );
        namespace.apply_manifests(&manifests).await.unwrap();
    }

    /// Gives the operator's user what the chart gives its ServiceAccount for timelines.
    pub async fn permit_timelines(&self) {
        let manifests = format!(
            "\
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {{name: timeline}}
rules:
- {{apiGroups: [\"\"], resources: [secrets], verbs: [create]}}
- {{apiGroups: [\"\"], resources: [secrets], resourceNames: [codeagent-operator-timeline-tls], verbs: [get, update]}}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {{name: timeline}}
roleRef: {{apiGroup: rbac.authorization.k8s.io, kind: Role, name: timeline}}
subjects: [{{apiGroup: rbac.authorization.k8s.io, kind: User, name: {user}}}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {{name: timeline-{namespace}}}
roleRef: {{apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: \"system:auth-delegator\"}}
subjects: [{{apiGroup: rbac.authorization.k8s.io, kind: User, name: {user}}}]
",
            namespace = self.name(),
            user = self.user,
        );
        self.namespace.apply_manifests(&manifests).await.unwrap();
    }

    /// Gives the operator's user what the chart gives its ServiceAccount besides where agents run as Jobs.
    pub async fn permit_jobs(&self) {
        let manifests = format!(
            "\
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {{name: jobs}}
rules:
{rules}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {{name: jobs}}
roleRef: {{apiGroup: rbac.authorization.k8s.io, kind: Role, name: jobs}}
subjects: [{{apiGroup: rbac.authorization.k8s.io, kind: User, name: {user}}}]
",
            rules = chart_job_rules().unwrap(),
            user = self.user,
        );
        self.namespace.apply_manifests(&manifests).await.unwrap();
        let pods: Api<Pod> = Api::namespaced(self.access.client().unwrap(), self.name());
        let deadline = Instant::now() + PATIENCE;
        while pods.list(&ListParams::default()).await.is_err() {
            assert!(Instant::now() < deadline, "the rights do not take effect");
            tokio::time::sleep(GLANCE).await;
        }
    }

    /// The name of the test's namespace.
    pub fn name(&self) -> &str {
        self.namespace.name()
    }

    /// Starts the operator with calm timing.
    pub async fn operator(&self) -> Operator {
        self.operator_with(Arguments::calm()).await
    }

    /// Starts the operator in this namespace, against these simulated providers.
    pub async fn operator_with(&self, arguments: Arguments) -> Operator {
        self.operator_against(arguments, self.simulator.urls())
            .await
    }

    /// Starts the operator against providers that are elsewhere.
    pub async fn operator_against(&self, arguments: Arguments, urls: &Urls) -> Operator {
        let mut arguments = arguments
            .and("--namespace", self.name())
            .with("--operator-namespace", self.name());
        for provider in Provider::ALL {
            let endpoint = format!("{}={}", provider.name(), urls.of(provider));
            arguments = arguments.and("--provider-endpoint", &endpoint);
        }
        Operator::start(self.access.config(), &arguments).await
    }

    /// The audit log of the shared control plane from now on.
    pub async fn audit_log(&self) -> AuditLog {
        shared().await.audit_log().unwrap()
    }

    /// The requests of the operator's user that the API server has answered since `log` was taken.
    pub fn requests(&self, log: &AuditLog) -> Vec<AuditedRequest> {
        log.requests(|request| request.user == self.user).unwrap()
    }

    /// Waits until the operator has read an object of this resource by name since `log` was taken, or has written one: the answer to
    /// either tells how it stands.
    pub async fn until_read(&self, log: &AuditLog, resource: &str) {
        let by_name = |verb: &Verb| matches!(verb, Verb::Get | Verb::Update | Verb::Patch);
        self.until_true(&format!("one of {resource} is read or written"), || {
            self.requests(log)
                .iter()
                .any(|request| by_name(&request.verb) && request.resource == resource)
        })
        .await;
    }

    // --- what users do ---

    pub fn sessions(&self) -> Api<CodeSession> {
        self.namespace.api()
    }

    pub fn agents(&self) -> Api<CodeAgent> {
        self.namespace.api()
    }

    /// Applies one object, as JSON.
    pub async fn apply(&self, object: Value) {
        let text = object.to_string();
        self.namespace.apply_manifests(&text).await.unwrap();
    }

    /// The Secret of the provider's CodeAgent, with this key, marked for the operator.
    pub async fn secret(&self, provider: Provider, key: &str) {
        let values = match provider {
            Provider::Cursor | Provider::Firebender | Provider::Http => json!({"api-key": key}),
            Provider::Flapjack => json!({"api-key": key, "cursor-api-key": "cursor-demo-key"}),
            Provider::Firetiger => {
                let (username, password) = key.split_once(':').unwrap_or((key, "no password"));
                json!({"username": username, "password": password})
            }
        };
        self.apply(json!({
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {
                "name": agent_name(provider),
                "labels": {"codeagents.dev/credential": "true"},
            },
            "stringData": values,
        }))
        .await;
    }

    /// A provider's CodeAgent with a Secret that the provider accepts.
    pub async fn agent(&self, provider: Provider) {
        self.agent_with(provider, json!({})).await;
    }

    /// A provider's CodeAgent with more settings, and a Secret that the provider accepts.
    pub async fn agent_with(&self, provider: Provider, settings: Value) {
        self.secret(provider, demo_key(provider)).await;
        self.agent_alone(provider, settings).await;
    }

    /// A provider's CodeAgent, without its Secret.
    pub async fn agent_alone(&self, provider: Provider, settings: Value) {
        let name = agent_name(provider);
        let own = match provider {
            Provider::Cursor | Provider::Firebender | Provider::Flapjack => json!({}),
            Provider::Firetiger => json!({"codingAgentId": "cursor-prod"}),
            Provider::Http => mapping(self.simulator.url(Provider::Http)),
        };
        let mut spec = json!({
            "provider": {name: own},
            "credentials": {"secretRef": {"name": name}},
        });
        match provider {
            Provider::Cursor | Provider::Firebender | Provider::Flapjack | Provider::Http => {
                spec["repository"] = json!({"url": "https://github.com/acme/app", "ref": "main"});
            }
            // The issue says it.
            Provider::Firetiger => {}
        }
        merge(&mut spec, settings);
        self.apply(json!({
            "apiVersion": "codeagents.dev/v1alpha1",
            "kind": "CodeAgent",
            "metadata": {"name": name},
            "spec": spec,
        }))
        .await;
    }

    /// A session of the provider's CodeAgent.
    pub async fn session(&self, provider: Provider, name: &str, prompt: &str) -> CodeSession {
        self.session_with(provider, name, json!({"prompt": prompt}))
            .await
    }

    /// A session of the provider's CodeAgent with these settings.
    pub async fn session_with(
        &self,
        provider: Provider,
        name: &str,
        settings: Value,
    ) -> CodeSession {
        let mut spec = json!({"agentRef": {"name": agent_name(provider)}});
        merge(&mut spec, settings);
        let object = json!({
            "apiVersion": "codeagents.dev/v1alpha1",
            "kind": "CodeSession",
            "metadata": {"name": name},
            "spec": spec,
        });
        let object: CodeSession = serde_json::from_value(object).unwrap();
        self.sessions()
            .create(&PostParams::default(), &object)
            .await
            .unwrap()
    }

    /// Changes a session's spec.
    pub async fn change_session(&self, name: &str, spec: Value) {
        let patch = Patch::Merge(json!({"spec": spec}));
        self.sessions()
            .patch(name, &PatchParams::default(), &patch)
            .await
            .unwrap();
    }

    /// Changes a CodeAgent's spec.
    pub async fn change_agent(&self, provider: Provider, spec: Value) {
        let patch = Patch::Merge(json!({"spec": spec}));
        self.agents()
            .patch(agent_name(provider), &PatchParams::default(), &patch)
            .await
            .unwrap();
    }

    /// Asks for a session's deletion and does not wait.
    pub async fn delete_session(&self, name: &str) {
        let deleted = self.sessions().delete(name, &DeleteParams::default()).await;
        deleted.unwrap();
    }

    /// Deletes the provider's Secret.
    pub async fn delete_secret(&self, provider: Provider) {
        let secrets: Api<Secret> = self.namespace.api();
        let name = agent_name(provider);
        let deleted = secrets.delete(name, &DeleteParams::default()).await;
        deleted.unwrap();
    }

    /// What kubectl prints, run by an administrator in this namespace.
    pub async fn kubectl(&self, arguments: &[&str]) -> String {
        let arguments = [&["-n", self.name()], arguments].concat();
        let output = self.admin.kubectl(&arguments).await.unwrap();
        assert!(output.success(), "{arguments:?}: {}", output.stderr);
        output.stdout
    }

    // --- what users see ---

    /// Waits until the session is as `holds` says.
    pub async fn until(
        &self,
        name: &str,
        what: &str,
        holds: impl Fn(&CodeSession) -> bool,
    ) -> CodeSession {
        until(&self.sessions(), name, what, holds).await
    }

    /// Waits until the session has reached the phase, also if it has left it since; ending otherwise fails the test at once. Answers with
    /// the session as it is now if it is still in that phase, else with its first version in it.
    pub async fn until_phase(&self, name: &str, phase: SessionPhase) -> CodeSession {
        let now = self
            .until(name, phase.as_str(), |session| {
                let now = phase_of(session);
                let passed = || self.stored.in_phase(&session.uid().unwrap(), phase);
                now == phase || now.is_terminal() || passed().is_some()
            })
            .await;
        if phase_of(&now) == phase {
            return now;
        }
        // What is watched comes a moment after what is read.
        let deadline = Instant::now() + GLANCE * 50;
        loop {
            if let Some(passed) = self.stored.in_phase(&now.uid().unwrap(), phase) {
                return passed;
            }
            let late = Instant::now() >= deadline;
            assert!(!late, "never {phase:?}: {}", pretty(&now));
            tokio::time::sleep(GLANCE).await;
        }
    }

    /// Forgets what sessions have been, because the store has gone back to before it.
    #[allow(
        dead_code,
        reason = "of those who share this, only some have a store that goes back"
    )]
    pub fn forget_versions(&self) {
        self.stored.versions.lock().unwrap().clear();
    }

    /// Waits until the session has this reason at one of its conditions.
    pub async fn until_reason(&self, name: &str, kind: &str, reason: &str) -> CodeSession {
        self.until(name, &format!("{kind} because of {reason}"), |session| {
            condition_of(session, kind).is_some_and(|condition| condition.reason == reason)
        })
        .await
    }

    /// Waits until the session has ended and nothing of ours holds the object any more.
    pub async fn until_settled(&self, name: &str) -> CodeSession {
        self.until(name, "settled", |session| {
            phase_of(session).is_terminal() && session.finalizers().is_empty()
        })
        .await
    }

    /// Waits until the object is gone.
    pub async fn until_gone(&self, name: &str) {
        let sessions = self.sessions();
        let deadline = Instant::now() + PATIENCE;
        while let Some(session) = sessions.get_opt(name).await.unwrap() {
            assert!(
                Instant::now() < deadline,
                "not gone in time: {}",
                pretty(&session)
            );
            tokio::time::sleep(GLANCE).await;
        }
    }

    /// Waits until the provider's CodeAgent is as `holds` says.
    pub async fn until_agent(
        &self,
        provider: Provider,
        what: &str,
        holds: impl Fn(&CodeAgent) -> bool,
    ) -> CodeAgent {
        until(&self.agents(), agent_name(provider), what, holds).await
    }

    /// Waits until something is true that is not in an object.
    pub async fn until_true(&self, what: &str, mut holds: impl FnMut() -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !holds() {
            assert!(Instant::now() < deadline, "not in time: {what}");
            tokio::time::sleep(GLANCE).await;
        }
    }

    /// The events about a session, as (type, reason, note).
    pub async fn events(&self, session: &CodeSession) -> Vec<(String, String, String)> {
        let events: Api<Event> = self.namespace.api();
        let events = events.list(&ListParams::default()).await.unwrap().items;
        let of_session = events.into_iter().filter(|event| {
            event.regarding.as_ref().and_then(|it| it.uid.clone()) == session.uid()
        });
        of_session
            .map(|event| {
                (
                    event.type_.unwrap_or_default(),
                    event.reason.unwrap_or_default(),
                    event.note.unwrap_or_default(),
                )
            })
            .collect()
    }

    /// Waits until the session has an event with this reason; answers with its note.
    pub async fn until_event(&self, session: &CodeSession, reason: &str) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let events = self.events(session).await;
            if let Some((_, _, note)) = events.iter().find(|event| event.1 == reason) {
                return note.clone();
            }
            assert!(Instant::now() < deadline, "no {reason} among {events:?}");
            tokio::time::sleep(GLANCE).await;
        }
    }

    // --- what the provider saw ---

    /// What was paid for this object.
    pub fn launches(&self, session: &CodeSession) -> Vec<Launch> {
        let uid = session.uid().unwrap();
        self.simulator.launches(&LaunchFilter::marker(uid))
    }

    /// The one session that was paid for this object, as the provider knows it now.
    pub fn at_provider(&self, session: &CodeSession) -> SessionView {
        let launches = self.launches(session);
        assert_eq!(launches.len(), 1, "{launches:#?}");
        let mut all = self.simulator.sessions().into_iter();
        all.find(|view| view.id == launches[0].session).unwrap()
    }

    /// From now on the session has finished at its provider.
    pub fn let_finish(&self, provider: Provider, session: &CodeSession) {
        let finished = Script {
            outcome: Some(Outcome::Finished),
            ..Script::fast()
        };
        let id = session_id(session);
        assert!(self.simulator.rescript(provider, &id, finished));
    }

    /// Makes the provider accept this key, with the same account as the demo key.
    pub fn accept_key(&self, provider: Provider, name: &str, secret: &str) {
        let demo = Key::demo();
        let demo = demo.iter().find(|key| key.provider == provider).unwrap();
        self.simulator.add_key(Key {
            secret: secret.to_owned(),
            name: name.to_owned(),
            ..demo.clone()
        });
    }
}

/// Waits until an object is as `holds` says.
async fn until<K>(api: &Api<K>, name: &str, what: &str, holds: impl Fn(&K) -> bool) -> K
where
    K: Clone + std::fmt::Debug + serde::de::DeserializeOwned + serde::Serialize,
{
    let deadline = Instant::now() + PATIENCE;
    loop {
        let object = api.get(name).await.unwrap();
        if holds(&object) {
            return object;
        }
        assert!(
            Instant::now() < deadline,
            "{name} is not {what} in time: {}",
            pretty(&object)
        );
        tokio::time::sleep(GLANCE).await;
    }
}

/// An object, for people.
pub fn pretty(object: &impl serde::Serialize) -> String {
    serde_json::to_string_pretty(object).unwrap()
}

/// The session's phase.
pub fn phase_of(session: &CodeSession) -> SessionPhase {
    let status = session.status.as_ref();
    status.map(|status| status.phase).unwrap_or_default()
}

/// One condition of the session.
pub fn condition_of<'a>(session: &'a CodeSession, kind: &str) -> Option<&'a Condition> {
    condition(&session.status.as_ref()?.conditions, kind)
}

/// One condition of the CodeAgent.
pub fn agent_condition<'a>(agent: &'a CodeAgent, kind: &str) -> Option<&'a Condition> {
    condition(&agent.status.as_ref()?.conditions, kind)
}

/// Whether one condition of the CodeAgent is so, for this reason.
pub fn agent_is(agent: &CodeAgent, kind: &str, status: ConditionStatus, reason: &str) -> bool {
    agent_condition(agent, kind)
        .is_some_and(|found| found.status == status && found.reason == reason)
}

/// The id of the session at the provider.
pub fn session_id(session: &CodeSession) -> String {
    let provider = session.status.as_ref().unwrap().provider.as_ref();
    provider.unwrap().session_id.clone().unwrap()
}

/// A JSON merge patch.
fn merge(target: &mut Value, patch: Value) {
    match patch {
        Value::Object(members) => {
            for (name, value) in members {
                merge(&mut target[name], value);
            }
        }
        other => *target = other,
    }
}
