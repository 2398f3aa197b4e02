//! One run: one life of one session, with at most a few faults in the way.

use std::fmt;
use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use codeagent_harness::Namespace;
use codeagent_operator::api::{CodeAgent, CodeSession};
use codeagent_operator::cli::RunOptions;
use codeagent_simulator::{
    LaunchFilter, LaunchKind, Script, ScriptRule, Simulator, SimulatorOptions,
};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use kube::{Config, ResourceExt};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::Trouble;
use crate::boundary::{Boundary, Call, Side, Verb};
use crate::cluster::{Cluster, secret};
use crate::fault::Fault;
use crate::history::{History, Versions};
use crate::lifecycle::{End, Lifecycle, Stage, phase_of};
use crate::operator::{Arguments, Operator};
use crate::oracle::{self, Evidence};
use crate::provider::{self, UnderTest};
use crate::proxy::{CrashRequest, Exchange};

/// How long the operator may take to bring things to their end, after the user's last deed.
const PATIENCE: Duration = Duration::from_secs(25);
/// How much longer for each further session and each message of it: some calls, of ten that a key may have in a second. Looks at the
/// list take six of the ten where it is looked at as often as here: fifty stopped messages at Firebender took 0.9 s each.
const EACH: Duration = Duration::from_millis(1500);
/// How much longer if a call is never answered: the longest time limit of one, a list of a provider.
const NEVER: Duration = Duration::from_secs(65);
/// A stretch without any write that counts as quiet.
const QUIET: Duration = Duration::from_millis(600);
/// How soon after the end it must be quiet.
const UNREST: Duration = Duration::from_secs(6);
/// How long a session is not created while the operator does not even watch.
const HEAD_START: Duration = Duration::from_secs(4);
/// A container that ended is started again after this long.
const RESTART: Duration = Duration::from_millis(100);
/// Within which a deletion ends, as the operator is told.
pub(crate) const DELETION_BOUND: Duration = Duration::from_secs(5);

/// How long whatever a user waits for may take in this row.
fn patience(row: &Row) -> Duration {
    let one = match row.waits() {
        true => PATIENCE + NEVER,
        false => PATIENCE,
    };
    let sends = 1 + row.lifecycle.messages(row.provider).len();
    one + EACH * u32::try_from((row.sessions() - 1) * sends).unwrap_or(u32::MAX)
}

/// Within which a deletion ends, as the operator is told: in a crowd each has to take its turn at the provider.
pub(crate) fn deletion_bound(row: &Row) -> Duration {
    DELETION_BOUND + EACH * u32::try_from(row.sessions() - 1).unwrap_or(u32::MAX)
}

/// What the operator is told in this row.
fn arguments_of(row: &Row) -> Arguments {
    let faults = &row.faults;
    let bound = format!("{}ms", deletion_bound(row).as_millis());
    let mut arguments = arguments().with("--deletion-bound", &bound);
    if faults.iter().any(|(_, fault)| fault.needs_election()) {
        arguments = arguments
            .with("--leader-election", "true")
            .with("--lease-duration", "2s")
            .with("--renew-deadline", "1s")
            .with("--retry-period", "200ms");
    }
    if let Some(most) = row.at_once() {
        arguments = arguments.with("--max-concurrent-per-credential", &most.to_string());
    }
    if faults.iter().any(|(_, fault)| fault.hides_whose_it_is()) {
        // Nothing will ever tell, and it is not looked for an hour.
        arguments = arguments.with("--unknown-patience", "2s");
    }
    arguments
}

/// What the operator is told: as short as a machine that is busy with many runs still meets.
fn arguments() -> Arguments {
    let durations = [
        ("--send-window", "850ms"),
        ("--post-timeout", "400ms"),
        ("--settle-time", "200ms"),
        ("--consistency-window", "50ms"),
        ("--clock-margin", "100ms"),
        ("--deletion-slack", "1s"),
        ("--fault-wait", "50ms"),
        ("--recheck", "400ms"),
        ("--poll-min", "120ms"),
        ("--poll-max", "300ms"),
        ("--refusal-wait", "300ms"),
        ("--counts-interval", "700ms"),
        // As by default: a key that was accepted is not asked about again within a run.
        ("--agent-recheck", "10m"),
        ("--stop-silence", "500ms"),
        ("--stalled-after", "0s"),
        ("--lost-after", "2s"),
        // One replica, and nothing that others have left.
        ("--leader-election", "false"),
        ("--sweep-interval", "0s"),
        ("--bind-address", "127.0.0.1:0"),
    ];
    durations
        .into_iter()
        .fold(Arguments::default(), |all, (name, value)| {
            all.with(name, value)
        })
        .flag("--allow-http-endpoints")
}

/// A row of the matrix. Written `PROVIDER|LIFECYCLE` and `|BOUNDARY|FAULT` for each fault; with several sessions `LIFECYCLE*NUMBER`.
#[derive(Clone, Debug)]
pub struct Row {
    /// At whom.
    pub provider: &'static UnderTest,
    /// Which life.
    pub lifecycle: Lifecycle,
    /// How many sessions have it at once.
    pub crowd: usize,
    /// What goes wrong where; nothing in a learning run.
    pub faults: Vec<(Boundary, Fault)>,
}

impl Row {
    /// How many sessions there are.
    pub(crate) fn sessions(&self) -> usize {
        self.lifecycle.sessions(self.crowd)
    }

    /// How many of them the account may run at once, where that is bounded.
    pub(crate) fn at_once(&self) -> Option<usize> {
        self.lifecycle.at_once(self.sessions())
    }

    /// Whether this fault leaves anything promised. Documented: where nothing tells whose a session is, others that are older than
    /// the operator are not launched beside it, and say so.
    pub(crate) fn can_have(&self, fault: Fault) -> bool {
        !(fault.hides_whose_it_is() && self.sessions() > 1)
    }

    /// Whether its run mostly waits: for a call that is never answered.
    pub fn waits(&self) -> bool {
        self.faults
            .iter()
            .any(|(_, fault)| *fault == Fault::NeverAnswered)
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}|{}", self.provider.name, self.lifecycle)?;
        if self.crowd > 1 {
            write!(f, "*{}", self.crowd)?;
        }
        for (boundary, fault) in &self.faults {
            write!(f, "|{boundary}|{fault}")?;
        }
        Ok(())
    }
}

impl FromStr for Row {
    type Err = Trouble;

    fn from_str(text: &str) -> Result<Self, Trouble> {
        let mut parts = text.split('|');
        let provider = provider::named(parts.next().unwrap_or_default())?;
        let life = parts.next().unwrap_or_default();
        let (life, crowd) = life.split_once('*').unwrap_or((life, "1"));
        let (lifecycle, crowd) = (life.parse()?, crowd.parse()?);
        let mut faults = Vec::new();
        while let Some(boundary) = parts.next() {
            let fault = parts.next().ok_or("a boundary without its fault")?;
            faults.push((boundary.parse()?, fault.parse()?));
        }
        Ok(Self {
            provider,
            lifecycle,
            crowd,
            faults,
        })
    }
}

/// What came of a run.
#[derive(Debug)]
pub struct Outcome {
    /// What was promised and not kept.
    pub violations: Vec<String>,
    /// How many of the row's faults were met: the course of a run may not reach a boundary that it had in the learning run.
    pub met: usize,
    /// Every boundary, in order.
    pub boundaries: Vec<Boundary>,
    /// How long it took.
    pub took: Duration,
    /// What happened, for people: calls, versions, the operator's logs.
    pub account: String,
    /// Whether the namespace is as it was before.
    pub clean: bool,
}

impl Outcome {
    /// What is left of a run of an earlier start of the program.
    pub fn kept(met: usize, violations: Vec<String>) -> Self {
        Self {
            violations,
            met,
            boundaries: Vec::new(),
            took: Duration::ZERO,
            account: String::new(),
            clean: true,
        }
    }
}

/// Runs one row in a namespace that nobody else uses meanwhile.
///
/// # Errors
/// If something around the operator does not work; what the operator does wrong is in the outcome.
pub async fn run(cluster: &Cluster, namespace: &Namespace, row: &Row) -> Result<Outcome, Trouble> {
    let begun = Instant::now();
    let options = SimulatorOptions::for_tests();
    let simulator = Simulator::start(options).await?;
    simulator.script(ScriptRule {
        provider: Some(row.provider.simulated),
        prompt_contains: None,
        times: None,
        script: Script::from_directive(row.lifecycle.directive())?,
    });
    let (crash, crashes) = mpsc::unbounded_channel();
    let exchange = Exchange::new(
        cluster.upstream.clone(),
        row.provider,
        &simulator,
        &row.faults,
        crash,
    );
    if row
        .faults
        .iter()
        .any(|(_, fault)| *fault == Fault::StaleList)
    {
        let kinds = ["codesessions", "codeagents"];
        exchange.keep_lists(namespace.name(), &kinds).await?;
    }
    let api = exchange.serve(Side::Api).await?;
    let provider = exchange.serve(Side::Provider).await?;

    let name = unique_name();
    let client = namespace.client();
    let sessions: Vec<(String, History)> = (0..row.sessions())
        .map(|number| {
            let name = match row.sessions() {
                1 => name.clone(),
                _ => format!("{name}-{number}"),
            };
            let history = cluster.histories.expect(namespace.name(), &name);
            (name, history)
        })
        .collect();
    create_agent(&client, namespace.name(), &name, row).await?;

    let mut config = Config::new(format!("http://{}", api.address).parse()?);
    config.root_cert = cluster.authority();
    let endpoint = format!("{}=http://{}", row.provider.member, provider.address);
    let options = arguments_of(row)
        .with("--namespace", namespace.name())
        .with("--operator-namespace", namespace.name())
        .with("--lease-name", &name)
        .with("--providers", row.provider.member)
        .with("--provider-endpoint", &endpoint)
        .parse()?;
    let keeper = Keeper::start(config, options, crashes);

    let stage = Stage {
        provider: row.provider,
        name: &name,
        sessions: &sessions,
        client: client.clone(),
        namespace: namespace.name(),
        exchange: &exchange,
        simulator: &simulator,
        patience: patience(row),
    };
    let lived = live(&stage, row).await;
    let unrest = match &lived {
        Ok(_) => until_quiet(&exchange).await,
        Err(_) => None,
    };
    let log = keeper.end().await;
    // The simulator is this run's own, and so is every session in it.
    let launches = simulator.launches(&LaunchFilter {
        kind: Some(LaunchKind::Session),
        ..LaunchFilter::default()
    });
    let messages = simulator.launches(&LaunchFilter {
        kind: Some(LaunchKind::Message),
        ..LaunchFilter::default()
    });
    let made = exchange.made();
    let all = sessions.iter().map(|(name, history)| {
        let versions = history.versions();
        (name.as_str(), versions)
    });
    let all: Vec<(&str, Versions)> = all.collect();
    let evidence = Evidence {
        row,
        all: &all,
        made: &made,
        published: &exchange.published(),
        launches: &launches,
        messages: &messages,
        sessions: &simulator.sessions(),
        unmet_at_provider: simulator.faults().len(),
        log: &log,
    };
    let mut violations: Vec<String> = Vec::new();
    match lived {
        Ok(took) => {
            violations.extend(unrest);
            violations.extend(took.and_then(|took| oracle::deletion(took, row)));
        }
        Err(trouble) => violations.push(trouble.to_string()),
    }
    violations.extend(oracle::judge(&evidence));
    let clean = clean(&stage, namespace, row).await?;
    Ok(Outcome {
        met: made.iter().filter(|made| made.fault.is_some()).count(),
        boundaries: made.iter().map(|made| made.boundary.clone()).collect(),
        account: oracle::account(&evidence, begun),
        took: begun.elapsed(),
        violations,
        clean,
    })
}

/// A name that nothing else in this process has.
fn unique_name() -> String {
    use std::sync::atomic::{AtomicU64, Ordering};
    static NEXT: AtomicU64 = AtomicU64::new(0);
    format!("run-{}", NEXT.fetch_add(1, Ordering::Relaxed))
}

/// The members of both objects.
fn with(mut one: Value, other: Value) -> Value {
    if let (Value::Object(all), Value::Object(more)) = (&mut one, other) {
        all.extend(more);
    }
    one
}

async fn create_agent(
    client: &kube::Client,
    namespace: &str,
    name: &str,
    row: &Row,
) -> Result<(), Trouble> {
    let agent: CodeAgent = serde_json::from_value(json!({
        "apiVersion": "codeagents.dev/v1alpha1",
        "kind": "CodeAgent",
        "metadata": {"name": name},
        "spec": with(row.provider.agent_settings(), json!({
            "provider": row.provider.spec(),
            "credentials": {"secretRef": {"name": row.provider.secret_name()}},
            "suspend": row.lifecycle.suspended(),
            "maxConcurrentSessions": row.sessions().max(5),
        })),
    }))?;
    let agents: Api<CodeAgent> = Api::namespaced(client.clone(), namespace);
    agents.create(&PostParams::default(), &agent).await?;
    Ok(())
}

/// Creates the session, does what the life's user does, and waits for the end. Answers with how long a deletion took.
async fn live(stage: &Stage<'_>, row: &Row) -> Result<Option<Duration>, Trouble> {
    let watching = stage
        .exchange
        .until_made(|call| call.verb == Verb::Watch && call.target == "codesessions");
    // A fault may hold it up: then the session is there first.
    let _ = tokio::time::timeout(HEAD_START, watching).await;
    let sessions: Api<CodeSession> = Api::namespaced(stage.client.clone(), stage.namespace);
    for (name, _) in stage.sessions {
        let session: CodeSession = serde_json::from_value(json!({
            "apiVersion": "codeagents.dev/v1alpha1",
            "kind": "CodeSession",
            "metadata": {"name": name},
            "spec": with(
                with(row.provider.task_settings(), row.lifecycle.spec(row.provider)),
                json!({"agentRef": {"name": stage.name}}),
            ),
        }))?;
        sessions.create(&PostParams::default(), &session).await?;
    }
    row.lifecycle.act(stage).await?;
    let acted = Instant::now();
    let end = row.lifecycle.promise().end;
    let over = |versions: &Versions| match end {
        End::Gone => versions.gone,
        End::Phase(_) => versions.newest().is_some_and(|session| {
            phase_of(session).is_terminal() && session.finalizers().is_empty()
        }),
    };
    let begun = Instant::now();
    for (name, history) in stage.sessions {
        let left = stage.patience.saturating_sub(begun.elapsed());
        if tokio::time::timeout(left, history.until(over))
            .await
            .is_err()
        {
            return Err(not_over(name, history, stage.patience).into());
        }
    }
    Ok((end == End::Gone).then(|| acted.elapsed()))
}

fn not_over(name: &str, history: &History, patience: Duration) -> String {
    let versions = history.versions();
    let left = versions.newest().map(|session| {
        format!(
            "phase {:?}, finalizers {:?}, deletion asked for: {}",
            phase_of(session),
            session.finalizers(),
            session.metadata.deletion_timestamp.is_some(),
        )
    });
    let left = left.unwrap_or_else(|| "never seen".to_owned());
    format!("stuck: {patience:?} after the user's last deed the session {name} is not over: {left}")
}

/// Waits until nothing is written any more; answers with what was, if it does not end. The Lease of who leads is renewed as long as it leads.
async fn until_quiet(exchange: &Exchange) -> Option<String> {
    let begun = Instant::now();
    let counts = |call: &Call| call.verb.is_write() && call.target != "leases";
    loop {
        let made = exchange.made();
        let last = made
            .iter()
            .rfind(|made| counts(&made.boundary.call))
            .map_or(begun, |made| made.at)
            .max(begun);
        // Nothing left to wait for: it is quiet.
        let wait = QUIET.checked_sub(last.elapsed())?;
        if begun.elapsed() > UNREST {
            let what = made.last().map(|made| made.boundary.to_string());
            return Some(format!(
                "not quiet: {UNREST:?} after the end something is still written, the last call was {what:?}"
            ));
        }
        tokio::time::sleep(wait.max(Duration::from_millis(10))).await;
    }
}

/// Keeps the operator running as a kubelet does, and crashes it when asked.
struct Keeper {
    stop: CancellationToken,
    log: Arc<Mutex<String>>,
    task: tokio::task::JoinHandle<()>,
}

impl Keeper {
    fn start(
        config: Config,
        options: RunOptions,
        mut crashes: mpsc::UnboundedReceiver<CrashRequest>,
    ) -> Self {
        let stop = CancellationToken::new();
        let log = Arc::new(Mutex::new(String::new()));
        let (stopped, kept) = (stop.clone(), Arc::clone(&log));
        let task = tokio::spawn(async move {
            let note = |text: &str| {
                let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
                kept.push_str(text);
                kept.push('\n');
            };
            loop {
                let mut operator = match Operator::start(config.clone(), options.clone()) {
                    Ok(operator) => operator,
                    Err(error) => {
                        note(&format!("---- the operator could not be started: {error}"));
                        return;
                    }
                };
                tokio::select! {
                    end = operator.ended() => {
                        note(&operator.log());
                        note(&format!("---- the operator ended by itself: {end:?}"));
                        tokio::time::sleep(RESTART).await;
                    }
                    Some(done) = crashes.recv() => {
                        operator.crash().await;
                        note(&operator.log());
                        note("---- the operator was crashed");
                        // Whoever asked may have gone with the connection.
                        let _ = done.send(());
                    }
                    () = stopped.cancelled() => {
                        operator.crash().await;
                        note(&operator.log());
                        return;
                    }
                }
            }
        });
        Self { stop, log, task }
    }

    /// Ends the operator for good; answers with everything it has logged.
    async fn end(self) -> String {
        self.stop.cancel();
        // It does not panic, and nobody aborts it.
        let _ = self.task.await;
        let mut log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut log)
    }
}

/// Removes what the run made; answers with whether all of it went at once.
async fn clean(stage: &Stage<'_>, namespace: &Namespace, row: &Row) -> Result<bool, Trouble> {
    let client = &stage.client;
    let sessions: Api<CodeSession> = Api::namespaced(client.clone(), namespace.name());
    let agents: Api<CodeAgent> = Api::namespaced(client.clone(), namespace.name());
    let leases: Api<Lease> = Api::namespaced(client.clone(), namespace.name());
    let now = DeleteParams::default();
    let release: Patch<Value> = Patch::Merge(json!({"metadata": {"finalizers": null}}));
    let parameters = PatchParams::default();
    let mut any_held = false;
    for (name, _) in stage.sessions {
        // Something held is answered with, something that went at once is not.
        let left = sessions.delete(name, &now).await;
        let held = match &left {
            Ok(deleted) => deleted
                .as_ref()
                .left()
                .is_some_and(|session| !session.finalizers().is_empty()),
            Err(_) => false,
        };
        gone(left)?;
        if held {
            gone(sessions.patch(name, &parameters, &release).await)?;
        }
        any_held |= held;
    }
    // Where templates are kept at the provider, the operator holds the CodeAgent until its template is gone. It has ended.
    gone(agents.delete(stage.name, &now).await)?;
    gone(agents.patch(stage.name, &parameters, &release).await)?;
    gone(leases.delete(stage.name, &now).await)?;
    if row.lifecycle == Lifecycle::SecretRotated {
        let secrets: Api<Secret> = Api::namespaced(client.clone(), namespace.name());
        let secret = Patch::Merge(secret(row.provider));
        let name = row.provider.secret_name();
        secrets.patch(name, &parameters, &secret).await?;
    }
    Ok(!any_held)
}

/// Whether there was nothing to do.
fn gone<T>(answer: Result<T, kube::Error>) -> Result<bool, Trouble> {
    match answer {
        Ok(_) => Ok(false),
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(true),
        Err(error) => Err(error.into()),
    }
}
