//! A namespace with the real operator and simulated providers, and what a test wants to ask of them.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use codeagent_boundary::operator::{Arguments, Operator};
use codeagent_harness::Namespace;
use codeagent_operator::api::{CodeAgent, CodeSession, Condition, Reason, SessionPhase, condition};
use codeagent_simulator::{
    Fault, FaultKind, Key, Launch, LaunchFilter, Matcher, OperationClass, Outcome, Provider,
    RequestRecord, Script, Simulator, SimulatorOptions,
};
use futures::StreamExt;
use kube::ResourceExt;
use kube::api::{Api, DynamicObject};
use kube_runtime::watcher::{self, Event, watcher};
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::cluster::{Kind, cluster, namespace, yaml};
use crate::kstatus;

/// When something counts as never happening: everything in these tests is scaled to a few seconds, and a busy machine takes many times as long.
const PATIENCE: Duration = Duration::from_secs(180);
/// How often a test looks.
const LOOK: Duration = Duration::from_millis(40);

/// The keys that the simulated providers accept.
pub const CURSOR_KEY: &str = "cursor-key-canary-1";
pub const SECOND_CURSOR_KEY: &str = "cursor-key-canary-2";
pub const FIREBENDER_KEY: &str = "firebender-key-canary-1";
/// A key that nobody accepts.
pub const WRONG_KEY: &str = "wrong-key-canary-1";

/// What differs from test to test.
pub struct Setup {
    pub simulator: SimulatorOptions,
    /// Further flags of the operator; they win over the usual ones.
    pub flags: Vec<String>,
    pub allow_http: bool,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            simulator: SimulatorOptions {
                keys: vec![
                    Key::user(Provider::Cursor, "demo", CURSOR_KEY),
                    // Another key of the same account.
                    Key {
                        name: "second".to_owned(),
                        secret: SECOND_CURSOR_KEY.to_owned(),
                        ..Key::user(Provider::Cursor, "demo", "")
                    },
                    Key::user(Provider::Firebender, "demo", FIREBENDER_KEY),
                ],
                script: Script::fast(),
                ..SimulatorOptions::for_tests()
            },
            flags: Vec::new(),
            allow_http: true,
        }
    }
}

/// A running operator in a namespace of its own.
pub struct World {
    pub namespace: Namespace,
    pub simulator: Simulator,
    operator: Option<Operator>,
    history: Arc<Mutex<Vec<Value>>>,
    watches: Vec<JoinHandle<()>>,
}

impl World {
    /// With the usual settings.
    pub async fn start(prefix: &str) -> Self {
        Self::start_with(prefix, Setup::default()).await
    }

    pub async fn start_with(prefix: &str, setup: Setup) -> Self {
        let namespace = namespace(prefix).await;
        let simulator = Simulator::start(setup.simulator).await.unwrap();
        let history = Arc::new(Mutex::new(Vec::new()));
        let watches = [Kind::Agent, Kind::Session]
            .map(|kind| tokio::spawn(keep_history(kind.api(&namespace), Arc::clone(&history))));
        let mut world = Self {
            namespace,
            simulator,
            operator: None,
            history,
            watches: watches.into(),
        };
        world.start_operator(setup.allow_http, &setup.flags).await;
        world.apply(&secret("cursor", CURSOR_KEY)).await;
        world.apply(&secret("firebender", FIREBENDER_KEY)).await;
        world
    }

    /// Starts the operator; one that runs is stopped first.
    pub async fn start_operator(&mut self, allow_http: bool, flags: &[String]) {
        self.stop_operator().await;
        let mut arguments = Arguments::impatient()
            .with("--leader-election", "true")
            .with("--agent-recheck", "1s")
            .with("--send-window", "1s")
            .with("--post-timeout", "2s")
            .with("--poll-max", "500ms")
            .with("--deletion-bound", "12s")
            .with("--namespace", self.namespace.name())
            .with("--operator-namespace", self.namespace.name())
            .and(
                "--provider-endpoint",
                &format!("cursor={}", self.simulator.cursor_url()),
            )
            .and(
                "--provider-endpoint",
                &format!("firebender={}", self.simulator.firebender_url()),
            );
        if !allow_http {
            arguments = arguments.without("--allow-http-endpoints");
        }
        for given in flags {
            let (name, value) = given.split_once('=').unwrap();
            arguments = arguments.with(name, value);
        }
        let config = cluster().await.admin().config();
        self.operator = Some(Operator::start(config, arguments.parse().unwrap()).unwrap());
    }

    pub async fn stop_operator(&mut self) {
        if let Some(mut operator) = self.operator.take() {
            operator.ask_to_stop();
            if let Err(why) = operator.ended().await {
                panic!("the operator did not run: {why}: {}", operator.log());
            }
        }
    }

    /// Applies an object, as a user does.
    pub async fn apply(&self, object: &Value) {
        let text = object.to_string();
        if let Err(error) = self.namespace.apply_manifests(&text).await {
            let why = std::error::Error::source(&error).map(ToString::to_string);
            panic!("{error}: {why:?}: {text}");
        }
    }

    pub async fn session(&self, name: &str) -> CodeSession {
        self.sessions().get(name).await.unwrap()
    }

    pub async fn agent(&self, name: &str) -> CodeAgent {
        self.namespace.api::<CodeAgent>().get(name).await.unwrap()
    }

    fn sessions(&self) -> Api<CodeSession> {
        self.namespace.api()
    }

    /// Waits until a session is as wanted.
    pub async fn until(
        &self,
        name: &str,
        what: &str,
        wanted: impl Fn(&CodeSession) -> bool,
    ) -> CodeSession {
        let begun = Instant::now();
        loop {
            let session = self.session(name).await;
            if wanted(&session) {
                return session;
            }
            if begun.elapsed() > PATIENCE {
                let status = serde_json::to_string_pretty(&session.status).unwrap();
                let requests = self.requests_of(&session);
                panic!("{name} did not become {what}: {status}\nPOSTs: {requests:#?}");
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    pub async fn until_agent(
        &self,
        name: &str,
        what: &str,
        wanted: impl Fn(&CodeAgent) -> bool,
    ) -> CodeAgent {
        let begun = Instant::now();
        loop {
            let agent = self.agent(name).await;
            if wanted(&agent) {
                return agent;
            }
            if begun.elapsed() > PATIENCE {
                let status = serde_json::to_string_pretty(&agent.status).unwrap();
                panic!("{name} did not become {what}: {status}");
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Waits until a session is stuck for `reason`, and has said so in words that contain `words`; it stays `Pending`.
    pub async fn stalled(&self, name: &str, reason: Reason, words: &str) -> CodeSession {
        let session = self
            .until(
                name,
                &format!("stalled for {}", reason.as_str()),
                |session| is(session, "Stalled", "True", reason),
            )
            .await;
        let message = of(&session, "Stalled").message;
        println!("{name}: {}: {message}", reason.as_str());
        assert!(
            message.contains(words),
            "{name}: {message:?} does not say {words:?}"
        );
        assert_eq!(
            session.status.as_ref().unwrap().phase,
            SessionPhase::Pending,
            "{name}"
        );
        assert_eq!(of(&session, "Completed").status.as_str(), "False");
        session
    }

    /// Waits until a session has ended as expected.
    pub async fn ended(&self, name: &str, phase: SessionPhase) -> CodeSession {
        self.until(name, phase.as_str(), |session| {
            session
                .status
                .as_ref()
                .is_some_and(|status| status.phase == phase)
        })
        .await
    }

    /// Waits until a session has finished, after exactly one launch.
    pub async fn finished(&self, name: &str) -> CodeSession {
        let session = self.ended(name, SessionPhase::Finished).await;
        assert_eq!(self.launches_of(&session).len(), 1, "{name}");
        session
    }

    /// Waits until a session has ended as `Error` for `reason`.
    pub async fn failed(&self, name: &str, reason: Reason, words: &str) -> CodeSession {
        let session = self.ended(name, SessionPhase::Error).await;
        let succeeded = of(&session, "Succeeded");
        println!("{name}: {}: {}", succeeded.reason, succeeded.message);
        assert_eq!(
            succeeded.reason,
            reason.as_str(),
            "{name}: {}",
            succeeded.message
        );
        assert!(
            succeeded.message.contains(words),
            "{name}: {:?}",
            succeeded.message
        );
        let error = session.status.as_ref().unwrap().error.clone().unwrap();
        assert_eq!(error.reason, reason.as_str());
        session
    }

    /// What was paid for.
    pub fn launches_of(&self, session: &CodeSession) -> Vec<Launch> {
        self.simulator
            .launches(&LaunchFilter::marker(session.uid().unwrap()))
    }

    /// The requests that would have launched this session.
    pub fn requests_of(&self, session: &CodeSession) -> Vec<RequestRecord> {
        let uid = session.uid().unwrap();
        self.posts()
            .into_iter()
            .filter(|request| {
                request
                    .marker
                    .as_ref()
                    .is_some_and(|marker| marker.contains(&uid))
            })
            .collect()
    }

    /// Every request that would have launched something.
    pub fn posts(&self) -> Vec<RequestRecord> {
        let launches = Some(OperationClass::Launch);
        self.simulator
            .requests()
            .into_iter()
            .filter(|request| request.class == launches)
            .collect()
    }

    /// From now on the session has finished at its provider.
    pub async fn let_finish(&self, provider: Provider, name: &str) {
        let at = self.session(name).await.status.unwrap().provider.unwrap();
        let finished = Script {
            outcome: Some(Outcome::Finished),
            ..Script::fast()
        };
        let id = at.session_id.unwrap();
        assert!(self.simulator.rescript(provider, &id, finished));
    }

    /// The next launch is answered with this, and nothing comes of it.
    pub fn refuse_next_launch(&self, status: u16, code: &str, message: &str) {
        self.simulator.inject(Fault::once(
            Matcher::class(OperationClass::Launch),
            FaultKind::Refused {
                status,
                code: code.to_owned(),
                message: message.to_owned(),
            },
        ));
    }

    /// For this long nothing more is sent that could launch anything.
    pub async fn no_more_posts(&self, quiet: Duration) {
        let before = self.posts().len();
        tokio::time::sleep(quiet).await;
        assert_eq!(self.posts().len(), before, "something was sent again");
    }

    /// Stops, and checks every status that was ever stored, and that nothing was paid for twice.
    pub async fn end(mut self) {
        let begun = Instant::now();
        while !kstatus::lagging(&self.history()).is_empty() && begun.elapsed() < PATIENCE {
            tokio::time::sleep(LOOK).await;
        }
        self.stop_operator().await;
        let history = self.history();
        for watch in &self.watches {
            watch.abort();
        }
        let secrets = [CURSOR_KEY, SECOND_CURSOR_KEY, FIREBENDER_KEY, WRONG_KEY];
        let mut wrong = kstatus::complaints(&history, &secrets);
        wrong.extend(kstatus::lagging(&history));
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
        assert!(!history.is_empty(), "no object was seen");
        for object in &history {
            let uid = object["metadata"]["uid"].as_str().unwrap();
            let launches = self.simulator.launches(&LaunchFilter::marker(uid)).len();
            assert!(
                launches <= 1,
                "{}: {launches} launches",
                object["metadata"]["name"]
            );
        }
        println!("{} stored objects were checked", history.len());
    }

    /// Every version of every object, oldest first for each.
    fn history(&self) -> Vec<Value> {
        self.history
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

async fn keep_history(api: Api<DynamicObject>, history: Arc<Mutex<Vec<Value>>>) {
    let mut events = std::pin::pin!(watcher(api, watcher::Config::default()));
    while let Some(event) = events.next().await {
        if let Ok(Event::Apply(object) | Event::InitApply(object)) = event {
            let object = serde_json::to_value(object).unwrap();
            history
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(object);
        }
    }
}

/// A Secret as the operator accepts it.
pub fn secret(name: &str, key: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Secret",
        "metadata": {"name": name, "labels": {"codeagents.dev/credential": "true"}},
        "stringData": {"api-key": key},
    })
}

/// A CodeAgent for Cursor, with `fields` in addition.
pub fn agent(name: &str, fields: &str) -> Value {
    object(
        "CodeAgent",
        name,
        "{provider: {cursor: {}}, credentials: {secretRef: {name: cursor}}, repository: {url: 'https://github.com/acme/app', ref: main}}",
        fields,
    )
}

/// A CodeSession of the agent of the same name, with `fields` in addition.
pub fn session(name: &str, fields: &str) -> Value {
    object(
        "CodeSession",
        name,
        &format!("{{agentRef: {{name: '{name}'}}, prompt: Fix the bug}}"),
        fields,
    )
}

/// Null takes a field away.
fn object(kind: &str, name: &str, spec: &str, fields: &str) -> Value {
    let mut spec = yaml(spec);
    let spec_fields = spec.as_object_mut().unwrap();
    for (field, value) in yaml(fields).as_object().unwrap() {
        match value {
            Value::Null => spec_fields.remove(field),
            value => spec_fields.insert(field.clone(), value.clone()),
        };
    }
    json!({
        "apiVersion": "codeagents.dev/v1alpha1", "kind": kind,
        "metadata": {"name": name}, "spec": spec,
    })
}

/// A condition of a session.
#[track_caller]
pub fn of(session: &CodeSession, kind: &str) -> Condition {
    let conditions = &session.status.as_ref().unwrap().conditions;
    condition(conditions, kind)
        .unwrap_or_else(|| panic!("no {kind} in {conditions:?}"))
        .clone()
}

/// Whether a condition of a session is like this.
pub fn is(session: &CodeSession, kind: &str, status: &str, reason: Reason) -> bool {
    let conditions = session
        .status
        .as_ref()
        .map(|status| status.conditions.as_slice());
    holds(conditions.unwrap_or_default(), kind, status, reason)
}

/// Whether a condition of an agent is like this.
pub fn agent_is(agent: &CodeAgent, kind: &str, status: &str, reason: Reason) -> bool {
    let conditions = agent
        .status
        .as_ref()
        .map(|status| status.conditions.as_slice());
    holds(conditions.unwrap_or_default(), kind, status, reason)
}

fn holds(conditions: &[Condition], kind: &str, status: &str, reason: Reason) -> bool {
    condition(conditions, kind).is_some_and(|condition| {
        condition.status.as_str() == status && condition.reason == reason.as_str()
    })
}
