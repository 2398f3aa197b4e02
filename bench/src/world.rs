//! The control plane, the simulated providers, and what is in the store.

use std::time::{Duration, Instant};

use codeagent_harness::{Component, ControlPlane, Options};
use codeagent_operator::api::{CodeAgent, CodeSession, crds};
use codeagent_simulator::{Key, Provider, Script, Simulator, SimulatorOptions};
use futures::{StreamExt, TryStreamExt, stream};
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::{Namespace, Secret};
use kube::api::{Api, ListParams, Patch, PatchParams, PostParams};
use kube::{Client, Resource};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::Trouble;
use crate::contestant::Site;
use crate::measure::ProcessUsage;

/// Requests of the bench itself that are under way at once.
const PARALLEL: usize = 16;
/// Where finished sessions of the past are kept.
const PAST: &str = "past";
/// How long a round may take.
const PATIENCE: Duration = Duration::from_secs(1800);
/// Keys that the simulated providers accept.
pub const KEYS: usize = 64;

/// Everything around the programs that are compared.
pub struct World {
    control_plane: ControlPlane,
    /// The simulated providers.
    pub simulator: Simulator,
    client: Client,
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

impl World {
    /// Starts a control plane and the simulated providers, whose sessions work for `running`.
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
        let providers = [Provider::Cursor, Provider::Firebender];
        let keys =
            (0..KEYS).flat_map(|n| providers.map(|provider| Key::user(provider, &key(n), &key(n))));
        let script = Script {
            creating: Some(Duration::from_millis(50)),
            setup: Some(Duration::from_millis(50)),
            running: Some(running),
            ..Script::default()
        };
        let simulator = Simulator::start(SimulatorOptions {
            keys: keys.collect(),
            script,
            request_log: 1_000_000,
            ..SimulatorOptions::default()
        })
        .await?;
        let mut config = admin.config();
        config.default_retry = false;
        let client = Client::try_from(config)?;
        let mut world = Self {
            control_plane,
            simulator,
            client,
            finished: 0,
            rounds: 0,
        };
        world.namespace(PAST).await?;
        Ok(world)
    }

    /// Where the programs work.
    pub fn site(&self) -> Site {
        Site {
            kubeconfig: self.control_plane.admin().kubeconfig().to_owned(),
            cursor: self.simulator.cursor_url().to_owned(),
            firebender: self.simulator.firebender_url().to_owned(),
        }
    }

    /// A client of the API server, for its metrics.
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

    /// Finished sessions in the store that the bench has written itself.
    pub fn finished(&self) -> usize {
        self.finished
    }

    /// Writes finished sessions until there are `most`: object and status, as the operator leaves them.
    ///
    /// # Errors
    /// If the API server refuses one.
    pub async fn fill(&mut self, most: usize) -> Result<(), Trouble> {
        let sessions = self.api::<CodeSession>(PAST);
        let sessions = &sessions;
        stream::iter(self.finished..most)
            .map(|n| async move {
                let name = format!("past-{n:06}");
                let object: CodeSession = serde_json::from_value(session(
                    &name,
                    "past",
                    "Fix the login bug in src/auth.ts, the JWT expiry check is off by one hour",
                ))?;
                sessions.create(&PostParams::default(), &object).await?;
                let patch = Patch::Merge(json!({"status": finished_status(n)}));
                sessions
                    .patch_status(&name, &PatchParams::default(), &patch)
                    .await?;
                Ok::<(), Trouble>(())
            })
            .buffer_unordered(PARALLEL)
            .try_collect::<()>()
            .await?;
        self.finished = self.finished.max(most);
        Ok(())
    }

    /// A namespace of its own for a round, with `agents` and a key for each.
    ///
    /// # Errors
    /// If the API server refuses something.
    pub async fn round(&mut self, agents: Agents) -> Result<Round, Trouble> {
        self.rounds += 1;
        let namespace = format!("round-{}", self.rounds);
        self.namespace(&namespace).await?;
        for n in 0..agents.count {
            let secret = json!({
                "metadata": {"name": key(n), "labels": {"codeagents.dev/credential": "true"}},
                "stringData": {"api-key": key(n % KEYS)},
            });
            self.create::<Secret>(&namespace, secret).await?;
            self.create::<CodeAgent>(&namespace, agent(n, agents))
                .await?;
        }
        Ok(Round {
            sessions: self.api(&namespace),
            agents: agents.count,
            applied: 0,
        })
    }

    async fn namespace(&mut self, name: &str) -> Result<(), Trouble> {
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

    /// How long a bare list of all sessions takes, in pages as a controller reads them.
    ///
    /// # Errors
    /// If it fails.
    pub async fn bare_list(&self) -> Result<Duration, Trouble> {
        let begun = Instant::now();
        let mut next = String::new();
        loop {
            let url =
                format!("/apis/codeagents.dev/v1alpha1/codesessions?limit=500&continue={next}");
            let page = self
                .client
                .request_text(http::Request::get(url).body(Vec::new())?)
                .await?;
            #[derive(serde::Deserialize)]
            struct Page {
                metadata: kube::core::ListMeta,
            }
            let page: Page = serde_json::from_str(&page)?;
            match page.metadata.continue_ {
                Some(token) if !token.is_empty() => next = token,
                _ => return Ok(begun.elapsed()),
            }
        }
    }
}

/// The sessions of one round.
pub struct Round {
    sessions: Api<CodeSession>,
    agents: usize,
    applied: usize,
}

impl Round {
    /// Applies `count` sessions, spread over the agents.
    ///
    /// # Errors
    /// If the API server refuses one.
    pub async fn apply(&mut self, count: usize, prompt: &str) -> Result<(), Trouble> {
        let (sessions, agents) = (&self.sessions, self.agents);
        stream::iter(self.applied..self.applied + count)
            .map(|n| async move {
                let object = session(
                    &format!("s-{n:06}"),
                    &format!("agent-{}", n % agents),
                    prompt,
                );
                let object: CodeSession = serde_json::from_value(object)?;
                sessions.create(&PostParams::default(), &object).await?;
                Ok::<(), Trouble>(())
            })
            .buffer_unordered(PARALLEL)
            .try_collect::<()>()
            .await?;
        self.applied += count;
        Ok(())
    }

    /// Sessions in one of `phases`.
    ///
    /// # Errors
    /// If they cannot be listed.
    pub async fn count(&self, phases: &[&str]) -> Result<usize, Trouble> {
        let mut count = 0;
        for phase in phases {
            // A page of one item tells how many more there are … only without selectors; names alone are small.
            let selector = ListParams::default().fields(&format!("status.phase={phase}"));
            count += self.sessions.list_metadata(&selector).await?.items.len();
        }
        Ok(count)
    }

    /// Waits until `count` sessions are in one of `phases`.
    ///
    /// # Errors
    /// If they are not in time.
    pub async fn until(&self, count: usize, phases: &[&str]) -> Result<(), Trouble> {
        let begun = Instant::now();
        loop {
            let there = self.count(phases).await?;
            if there >= count {
                return Ok(());
            }
            if begun.elapsed() > PATIENCE {
                return Err(format!(
                    "{there} of {count} sessions are in {phases:?} after {PATIENCE:?}"
                )
                .into());
            }
            // Looking costs the API server as well: the more there are, the less often.
            tokio::time::sleep(Duration::from_millis(
                100 + u64::try_from(self.applied / 10)?,
            ))
            .await;
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
        self.sessions
            .delete(&format!("s-{n:06}"), &Default::default())
            .await?;
        Ok(())
    }

    /// Waits until no session is left.
    ///
    /// # Errors
    /// If some are, after a long time.
    pub async fn until_gone(&self) -> Result<(), Trouble> {
        let begun = Instant::now();
        loop {
            let left = self
                .sessions
                .list_metadata(&ListParams::default().limit(1))
                .await?;
            if left.items.is_empty() {
                return Ok(());
            }
            if begun.elapsed() > PATIENCE {
                return Err("sessions that were deleted are still there".into());
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
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

fn session(name: &str, agent: &str, prompt: &str) -> Value {
    json!({
        "apiVersion": "codeagents.dev/v1alpha1", "kind": "CodeSession",
        "metadata": {"name": name},
        "spec": {"agentRef": {"name": agent}, "prompt": prompt},
    })
}

/// What a finished session says.
fn finished_status(n: usize) -> Value {
    let (begin, end) = ("2026-11-01T10:00:00Z", "2026-11-01T10:04:00Z");
    let id = format!("bc-00000000-0000-4000-8000-{n:012}");
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
            "key": format!("00000000-0000-4000-8000-{n:012}"), "attempt": 1, "claimId": format!("claim-{n}"), "posts": 1,
            "state": "Confirmed", "claimedAt": begin, "notAfter": begin, "requestDigest": "0011223344556677",
            "target": {
                "kind": "cursor", "apiVersion": "v1", "endpoint": "https://api.cursor.com", "account": "0011223344556677",
                "secretRef": "key-0/api-key",
            },
        },
        "pullRequest": {"url": format!("https://github.com/acme/app/pull/{n}"), "branch": "cursor/fix-login"},
        "messages": [{"name": "prompt", "phase": "Finished", "startedAt": begin, "completedAt": end, "result": "The check is right now."}],
    })
}
