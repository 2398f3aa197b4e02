//! The control plane, the simulated providers of a round, and what is in the store.

use std::collections::HashSet;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

use codeagent_harness::{Component, ControlPlane, Options};
use codeagent_operator::api::{CodeAgent, CodeSession, crds};
use codeagent_simulator::{Key, Provider, Script, Simulator, SimulatorOptions};
use futures::{StreamExt, TryStreamExt, stream};
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::{Namespace, Secret};
use kube::api::{Api, ListParams, PartialObjectMeta, Patch, PatchParams, PostParams};
use kube::{Client, Resource, ResourceExt};
use kube_runtime::watcher::{self, Event, watcher};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::Trouble;
use crate::contestant::Site;
use crate::measure::ProcessUsage;
use crate::store::{PREFIX, Store};

/// Requests of the bench itself that are under way at once.
pub const PARALLEL: usize = 16;
/// Where finished sessions of the past are kept.
const PAST: &str = "past";
/// How long a round may take.
const PATIENCE: Duration = Duration::from_secs(1800);
/// Keys that the simulated providers accept.
const KEYS: usize = 64;
/// What sessions are asked to do.
pub const PROMPT: &str =
    "Fix the login bug in src/auth.ts, the JWT expiry check is off by one hour";
/// The path of all sessions.
const SESSIONS: &str = "/apis/codeagents.dev/v1alpha1/codesessions";

/// Everything around the programs that are compared.
pub struct World {
    control_plane: ControlPlane,
    client: Client,
    store: Store,
    /// How long a session works at its provider.
    running: Duration,
    /// A finished session as the API server stores it.
    template: Option<Value>,
    finished: usize,
    rounds: usize,
}

/// CPU time of the control plane.
#[derive(Clone, Copy, Debug, Default)]
pub struct ControlPlaneUsage {
    /// kube-apiserver.
    pub api_server: Duration,
    /// etcd.
    pub store: Duration,
}

/// What the agents of a round are like.
#[derive(Clone, Copy, Debug)]
pub struct Agents {
    /// How many.
    pub count: usize,
    /// `cursor` or `firebender`.
    pub provider: &'static str,
    /// `maxConcurrentSessions`; `None`: the default.
    pub limit: Option<i64>,
}

impl Agents {
    /// `count` agents of Cursor whose limit nobody reaches.
    pub fn unlimited(count: usize) -> Self {
        Self {
            count,
            provider: "cursor",
            limit: Some(1000),
        }
    }
}

impl World {
    /// Starts a control plane; the sessions of its rounds work for `running` at their provider.
    ///
    /// # Errors
    /// If something does not start.
    pub async fn start(running: Duration) -> Result<Self, Trouble> {
        // Nothing is collected in a round, and nothing but the programs shall look at the objects.
        let options = Options {
            controller_manager: false,
            ..Options::default()
        };
        let control_plane = ControlPlane::start(options).await?;
        let admin = control_plane.admin();
        for crd in crds::all() {
            admin.apply_manifests(&crds::to_yaml(&crd)?).await?;
        }
        let mut config = admin.config();
        config.default_retry = false;
        let client = Client::try_from(config)?;
        let store = Store::new(&control_plane.etcd_endpoint())?;
        let world = Self {
            control_plane,
            client,
            store,
            running,
            template: None,
            finished: 0,
            rounds: 0,
        };
        world.namespace(PAST).await?;
        Ok(world)
    }

    /// A client of the API server.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// CPU time of the control plane until now.
    ///
    /// # Errors
    /// If a component has ended.
    pub fn control_plane_usage(&self) -> Result<ControlPlaneUsage, Trouble> {
        let mut usage = ControlPlaneUsage::default();
        for (component, pid) in self.control_plane.process_ids() {
            let cpu = ProcessUsage::of(pid)?.cpu;
            match component {
                Component::ApiServer => usage.api_server = cpu,
                Component::Etcd => usage.store = cpu,
                Component::ControllerManager => {}
            }
        }
        Ok(usage)
    }

    /// Starts the API server anew: it does not know the versions from which watches would go on, so they list again.
    ///
    /// # Errors
    /// If it does not start.
    pub async fn restart_api_server(&mut self) -> Result<(), Trouble> {
        self.control_plane
            .restart_component(Component::ApiServer)
            .await?;
        Ok(())
    }

    /// Finished sessions in the store that the bench has written itself.
    pub fn finished(&self) -> usize {
        self.finished
    }

    /// Sees to it that `count` finished sessions of the past are in the store, as the operator leaves them.
    ///
    /// # Errors
    /// If the API server or etcd refuses one.
    pub async fn fill(&mut self, count: usize) -> Result<(), Trouble> {
        if self.template.is_none() && count > 0 {
            self.template = Some(self.make_template().await?);
        }
        let key = |n: usize| format!("{PREFIX}/codesessions/{PAST}/past-{n:07}");
        if count < self.finished {
            self.store.remove(&key(count), &key(self.finished)).await?;
        } else if let Some(template) = &self.template {
            // Not all of them at once: they take several kilobytes each.
            let numbers: Vec<usize> = (self.finished..count).collect();
            for part in numbers.chunks(1000) {
                let objects: Vec<(String, Value)> =
                    part.iter().map(|n| (key(*n), past(template, *n))).collect();
                self.store.put(&objects).await?;
            }
        }
        self.finished = count;
        Ok(())
    }

    async fn make_template(&self) -> Result<Value, Trouble> {
        let sessions: Api<CodeSession> = self.api(PAST);
        let object: CodeSession = serde_json::from_value(session("template", "past", PROMPT))?;
        sessions.create(&PostParams::default(), &object).await?;
        let patch = Patch::Merge(json!({"status": finished_status()}));
        sessions
            .patch_status("template", &PatchParams::default(), &patch)
            .await?;
        let key = format!("{PREFIX}/codesessions/{PAST}/template");
        let stored = self.store.object(&key).await?;
        sessions.delete("template", &Default::default()).await?;
        Ok(stored)
    }

    /// A namespace and providers of its own for a round, with `agents` and a key for each.
    ///
    /// # Errors
    /// If the API server refuses something.
    pub async fn round(&mut self, agents: Agents) -> Result<Round, Trouble> {
        self.rounds += 1;
        let namespace = format!("round-{}", self.rounds);
        self.namespace(&namespace).await?;
        let mut round = Round {
            sessions: self.api(&namespace),
            namespace,
            kubeconfig: self.control_plane.admin().kubeconfig().to_owned(),
            simulator: self.simulator().await?,
            agents: 0,
            applied: 0,
        };
        self.employ(&mut round, agents).await?;
        Ok(round)
    }

    /// Adds `agents` to a round; sessions that are applied later are theirs.
    ///
    /// # Errors
    /// If the API server refuses something.
    pub async fn employ(&self, round: &mut Round, agents: Agents) -> Result<(), Trouble> {
        for n in round.agents..round.agents + agents.count {
            let secret = json!({
                "metadata": {"name": key(n), "labels": {"codeagents.dev/credential": "true"}},
                "stringData": {"api-key": key(n % KEYS)},
            });
            self.create::<Secret>(&round.namespace, secret).await?;
            self.create::<CodeAgent>(&round.namespace, agent(n, agents))
                .await?;
        }
        round.agents += agents.count;
        Ok(())
    }

    /// Takes everything of a round out of the store.
    ///
    /// # Errors
    /// If etcd refuses.
    pub async fn discard(&self, round: Round) -> Result<(), Trouble> {
        for kind in ["codesessions", "codeagents"] {
            let first = format!("{PREFIX}/{kind}/{}/", round.namespace);
            // `0` is what follows `/`.
            let end = format!("{PREFIX}/{kind}/{}0", round.namespace);
            self.store.remove(&first, &end).await?;
        }
        Ok(())
    }

    async fn simulator(&self) -> Result<Simulator, Trouble> {
        let providers = [Provider::Cursor, Provider::Firebender];
        let keys =
            (0..KEYS).flat_map(|n| providers.map(|provider| Key::user(provider, &key(n), &key(n))));
        let script = Script {
            creating: Some(Duration::from_millis(50)),
            setup: Some(Duration::from_millis(50)),
            running: Some(self.running),
            ..Script::default()
        };
        let options = SimulatorOptions {
            keys: keys.collect(),
            script,
            request_log: 1_000_000,
            ..SimulatorOptions::default()
        };
        Ok(Simulator::start(options).await?)
    }

    async fn namespace(&self, name: &str) -> Result<(), Trouble> {
        let object = serde_json::from_value(json!({"metadata": {"name": name}}))?;
        Api::<Namespace>::all(self.client.clone())
            .create(&PostParams::default(), &object)
            .await?;
        Ok(())
    }

    async fn create<K>(&self, namespace: &str, object: Value) -> Result<(), Trouble>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>
            + Clone
            + std::fmt::Debug
            + Serialize
            + DeserializeOwned,
    {
        let object: K = serde_json::from_value(object)?;
        self.api::<K>(namespace)
            .create(&PostParams::default(), &object)
            .await?;
        Ok(())
    }

    fn api<K>(&self, namespace: &str) -> Api<K>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>,
    {
        Api::namespaced(self.client.clone(), namespace)
    }

    /// How long `kubectl get --raw` of all sessions takes.
    ///
    /// # Errors
    /// If it fails.
    pub async fn bare_list(&self) -> Result<Duration, Trouble> {
        let begun = Instant::now();
        let status = tokio::process::Command::new("kubectl")
            .arg("--kubeconfig")
            .arg(self.control_plane.admin().kubeconfig())
            .args(["get", "--raw", SESSIONS])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .status()
            .await?;
        if status.success() {
            Ok(begun.elapsed())
        } else {
            Err(format!("kubectl get --raw {SESSIONS} ended with {status}").into())
        }
    }
}

/// What sessions are waited for.
#[derive(Clone, Copy, Debug)]
pub enum Are {
    /// Their launch is claimed or under way.
    Creating,
    /// They work.
    Running,
    /// They are over, however.
    Ended,
    /// They are over and have done what they were asked for.
    Finished,
    /// There at all.
    Stored,
}

impl Are {
    fn selector(self) -> &'static str {
        match self {
            Self::Creating => "status.phase=Creating",
            Self::Running => "status.phase=Running",
            // A session without a status has the empty phase.
            Self::Ended => {
                "status.phase!=Pending,status.phase!=Creating,status.phase!=Running,status.phase!="
            }
            Self::Finished => "status.phase=Finished",
            Self::Stored => "",
        }
    }

    fn watch(self) -> watcher::Config {
        match self {
            Self::Stored => watcher::Config::default(),
            _ => watcher::Config::default().fields(self.selector()),
        }
    }
}

/// The sessions of one round, and their providers.
pub struct Round {
    sessions: Api<CodeSession>,
    namespace: String,
    kubeconfig: PathBuf,
    /// The simulated providers.
    pub simulator: Simulator,
    agents: usize,
    applied: usize,
}

impl Round {
    /// Where the programs work.
    pub fn site(&self) -> Site {
        Site {
            kubeconfig: self.kubeconfig.clone(),
            cursor: self.simulator.cursor_url().to_owned(),
            firebender: self.simulator.firebender_url().to_owned(),
        }
    }

    /// The API of its sessions.
    pub fn api(&self) -> &Api<CodeSession> {
        &self.sessions
    }

    /// Applies `count` sessions, spread over the agents.
    ///
    /// # Errors
    /// If the API server refuses one.
    pub async fn apply(&mut self, count: usize, prompt: &str) -> Result<(), Trouble> {
        self.apply_to(0..self.agents, count, prompt).await
    }

    /// Applies `count` sessions, spread over some of the agents.
    ///
    /// # Errors
    /// If the API server refuses one.
    pub async fn apply_to(
        &mut self,
        agents: std::ops::Range<usize>,
        count: usize,
        prompt: &str,
    ) -> Result<(), Trouble> {
        let sessions = &self.sessions;
        stream::iter(self.applied..self.applied + count)
            .map(|n| {
                let agent = agents.start + n % agents.len().max(1);
                async move {
                    let object = session(&name(n), &format!("agent-{agent}"), prompt);
                    let object: CodeSession = serde_json::from_value(object)?;
                    sessions.create(&PostParams::default(), &object).await?;
                    Ok::<(), Trouble>(())
                }
            })
            .buffer_unordered(PARALLEL)
            .try_collect::<()>()
            .await?;
        self.applied += count;
        Ok(())
    }

    /// Sessions that are like this.
    ///
    /// # Errors
    /// If they cannot be listed.
    pub async fn count(&self, are: Are) -> Result<usize, Trouble> {
        let selector = ListParams::default().fields(are.selector());
        Ok(self.sessions.list_metadata(&selector).await?.items.len())
    }

    /// Waits until `count` sessions are like this.
    ///
    /// # Errors
    /// If they are not in time.
    pub async fn until(&self, count: usize, are: Are) -> Result<(), Trouble> {
        self.watch(are, |there| there >= count).await
    }

    /// Waits until no session is left.
    ///
    /// # Errors
    /// If some are, after a long time.
    pub async fn until_gone(&self) -> Result<(), Trouble> {
        self.watch(Are::Stored, |there| there == 0).await
    }

    /// Watches until so many sessions are like this that `enough`. A watch costs the API server little, and only as much as changes.
    async fn watch(&self, are: Are, enough: impl Fn(usize) -> bool) -> Result<(), Trouble> {
        let client = self.sessions.clone().into_client();
        let api: Api<PartialObjectMeta<CodeSession>> = Api::namespaced(client, &self.namespace);
        let mut there = HashSet::new();
        let mut listed = HashSet::new();
        let mut complete = false;
        let watching = async {
            let mut events = std::pin::pin!(watcher(api, are.watch()));
            while let Some(event) = events.next().await {
                match event? {
                    Event::Init => {
                        listed.clear();
                        complete = false;
                    }
                    Event::InitApply(object) => drop(listed.insert(object.name_any())),
                    Event::InitDone => {
                        there = std::mem::take(&mut listed);
                        complete = true;
                    }
                    Event::Apply(object) => drop(there.insert(object.name_any())),
                    Event::Delete(object) => drop(there.remove(&object.name_any())),
                }
                if complete && enough(there.len()) {
                    return Ok(());
                }
            }
            Err::<(), Trouble>("a watch has ended".into())
        };
        match tokio::time::timeout(PATIENCE, watching).await {
            Ok(watched) => watched,
            Err(_) => {
                Err(format!("{} sessions are {are:?} after {PATIENCE:?}", there.len()).into())
            }
        }
    }

    /// Deletes every session, all at once.
    ///
    /// # Errors
    /// If the API server refuses.
    pub async fn delete_all(&self) -> Result<(), Trouble> {
        self.sessions
            .delete_collection(&Default::default(), &ListParams::default())
            .await?;
        Ok(())
    }

    /// Deletes one session.
    ///
    /// # Errors
    /// If the API server refuses.
    pub async fn delete(&self, n: usize) -> Result<(), Trouble> {
        self.sessions.delete(&name(n), &Default::default()).await?;
        Ok(())
    }
}

fn name(n: usize) -> String {
    format!("s-{n:06}")
}

fn key(n: usize) -> String {
    format!("key-{n}")
}

fn agent(n: usize, agents: Agents) -> Value {
    let settings = match agents.provider {
        "firebender" => json!({"firebender": {}}),
        _ => json!({"cursor": {}}),
    };
    let mut agent = json!({
        "apiVersion": "codeagents.dev/v1alpha1", "kind": "CodeAgent",
        "metadata": {"name": format!("agent-{n}")},
        "spec": {
            "provider": settings,
            "credentials": {"secretRef": {"name": key(n)}},
            "repository": {"url": "https://github.com/acme/app", "ref": "main"},
        },
    });
    if let (Some(limit), Some(spec)) = (
        agents.limit,
        agent.get_mut("spec").and_then(Value::as_object_mut),
    ) {
        spec.insert("maxConcurrentSessions".to_owned(), json!(limit));
    }
    agent
}

/// A session as it is applied.
pub fn session(name: &str, agent: &str, prompt: &str) -> Value {
    json!({
        "apiVersion": "codeagents.dev/v1alpha1", "kind": "CodeSession",
        "metadata": {"name": name},
        "spec": {"agentRef": {"name": agent}, "prompt": prompt},
    })
}

/// The `n`th finished session, like `template` but for what only one session can have.
fn past(template: &Value, n: usize) -> Value {
    let mut object = template.clone();
    let uid = format!("00000000-0000-4000-8000-{n:012}");
    let id = format!("bc-{uid}");
    for (pointer, value) in [
        ("/metadata/name", format!("past-{n:07}")),
        ("/metadata/uid", uid.clone()),
        ("/status/launch/key", uid.clone()),
        ("/status/launch/claimId", format!("claim-{n}")),
        ("/status/provider/sessionId", id.clone()),
        (
            "/status/provider/sessionURL",
            format!("https://cursor.com/agents/{id}"),
        ),
    ] {
        if let Some(field) = object.pointer_mut(pointer) {
            *field = json!(value);
        }
    }
    object
}

/// What a finished session says.
pub fn finished_status() -> Value {
    let (begin, end) = ("2026-11-01T10:00:00Z", "2026-11-01T10:04:00Z");
    let uid = "00000000-0000-4000-8000-000000000000";
    let id = format!("bc-{uid}");
    let condition = |name: &str, status: &str, reason: &str| {
        json!({
            "type": name, "status": status, "reason": reason, "message": "the session is finished",
            "lastTransitionTime": end, "observedGeneration": 1,
        })
    };
    json!({
        "observedGeneration": 1, "phase": "Finished", "startedAt": begin, "completedAt": end,
        "conditions": [
            condition("Launched", "True", "Accepted"), condition("Succeeded", "True", "Finished"),
            condition("Completed", "True", "Finished"), condition("Reconciling", "False", "Finished"),
            condition("Stalled", "False", "Finished"),
        ],
        "provider": {"kind": "cursor", "sessionId": id, "sessionURL": format!("https://cursor.com/agents/{id}")},
        "launch": {
            "key": uid, "attempt": 1, "claimId": "claim", "posts": 1,
            "state": "Confirmed", "claimedAt": begin, "notAfter": begin, "requestDigest": "0011223344556677",
            "target": {
                "kind": "cursor", "apiVersion": "v1", "endpoint": "https://api.cursor.com", "account": "0011223344556677",
                "secretRef": "key-0/api-key",
            },
        },
        "pullRequest": {"url": "https://github.com/acme/app/pull/1", "branch": "cursor/fix-login"},
        "messages": [{"name": "prompt", "phase": "Finished", "startedAt": begin, "completedAt": end, "result": "The check is right now."}],
    })
}
