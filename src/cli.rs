//! The command line, and the process behind `run`.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use tokio_util::sync::CancellationToken;
use url::Url;

use crate::api::{ProviderKind, crds};
use crate::controllers::metrics::Metrics;
use crate::controllers::{self, Context, Process, Settings};
use crate::domain::ids::InstallationId;
use crate::domain::timing::{Timing, TimingError};
use crate::providers::http::{HttpSettings, HttpSetupError, HttpStack};
use crate::runtime::client;
use crate::runtime::events::Publisher;
use crate::runtime::heartbeat::Heartbeats;
use crate::runtime::identity::{IdentityError, lease_uid};
use crate::runtime::lease::{Election, Lead, Lost, Times, TimesError};
use crate::runtime::server::{Readiness, Server};

/// Kubernetes operator for cloud coding agents: apply a CodeSession, get a pull request.
#[derive(Debug, Parser)]
#[command(version, about, max_term_width = 100)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the operator. Uses the Pod's service account, or else your kubeconfig.
    Run(Box<RunOptions>),
    /// Print the CustomResourceDefinitions as YAML: codeagent-operator crds | kubectl apply --server-side -f -
    Crds,
}

/// Formats of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// Lines for people.
    Text,
    /// One JSON object a line.
    Json,
}

/// Options of `run`.
#[derive(Clone, Debug, Args)]
pub struct RunOptions {
    /// Namespace to work in. May be given several times. Default: all namespaces.
    #[arg(
        long = "namespace",
        env = "CODEAGENT_NAMESPACES",
        value_delimiter = ',',
        value_name = "NAME"
    )]
    pub namespaces: Vec<String>,
    /// Namespace of the operator itself, where its Lease is. Default: the namespace of the Pod or of the kubeconfig's context.
    #[arg(long, env = "POD_NAMESPACE", value_name = "NAME")]
    pub operator_namespace: Option<String>,
    /// Name of the operator's Lease. Its uid identifies this installation in the markers of its sessions.
    #[arg(
        long,
        env = "CODEAGENT_LEASE_NAME",
        default_value = "codeagent-operator",
        value_name = "NAME"
    )]
    pub lease_name: String,
    /// Address of /livez, /readyz and /metrics.
    #[arg(
        long,
        env = "CODEAGENT_BIND_ADDRESS",
        default_value = "0.0.0.0:8080",
        value_name = "ADDRESS:PORT"
    )]
    pub bind_address: SocketAddr,
    /// Providers that this installation runs: cursor, firebender, flapjack, firetiger. Default: all.
    #[arg(long, env = "CODEAGENT_PROVIDERS", value_delimiter = ',', value_name = "PROVIDER", value_parser = provider)]
    pub providers: Vec<ProviderKind>,
    /// Base URL that this installation uses for a provider instead of the provider's own, as PROVIDER=URL. May be given several
    /// times.
    #[arg(long = "provider-endpoint", env = "CODEAGENT_PROVIDER_ENDPOINTS", value_delimiter = ',', value_name = "PROVIDER=URL", value_parser = provider_endpoint)]
    pub provider_endpoints: Vec<(ProviderKind, Url)>,
    /// Format of the log.
    #[arg(long, env = "CODEAGENT_LOG_FORMAT", default_value = "text", value_enum)]
    pub log_format: LogFormat,
    /// What is logged: error, warn, info, debug or trace, also by module (info,codeagent_operator=debug).
    #[arg(
        long,
        env = "CODEAGENT_LOG",
        default_value = "info",
        value_name = "FILTER"
    )]
    pub log_level: String,
    /// Development only: allow endpoints with plain http. Keys then cross the network unencrypted.
    #[arg(long, env = "CODEAGENT_ALLOW_HTTP_ENDPOINTS")]
    pub allow_http_endpoints: bool,
    /// How many sessions are worked on at the same time in each watched scope.
    #[arg(long, env = "CODEAGENT_CONCURRENCY", default_value_t = 64, value_name = "NUMBER", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub concurrency: u16,
    /// PEM file with certificate authorities that providers may use besides the system's.
    #[arg(long, env = "CODEAGENT_CA_BUNDLE", value_name = "FILE")]
    pub ca_bundle: Option<std::path::PathBuf>,
    /// How often a CodeAgent's key is checked again.
    #[arg(long, env = "CODEAGENT_AGENT_RECHECK", default_value = "10m", value_name = "DURATION", value_parser = duration)]
    pub agent_recheck: Duration,
    /// Shortest time between two writes of a CodeAgent's session counts.
    #[arg(long, env = "CODEAGENT_COUNTS_INTERVAL", default_value = "10s", value_name = "DURATION", value_parser = duration, hide_short_help = true)]
    pub counts_interval: Duration,
    /// Time between two searches for sessions at the providers that no CodeSession accounts for; 0s switches them off.
    #[arg(long, env = "CODEAGENT_SWEEP_INTERVAL", default_value = "10m", value_name = "DURATION", value_parser = duration)]
    pub sweep_interval: Duration,
    /// Which of several replicas acts.
    #[command(flatten, next_help_heading = "Leader election")]
    pub election: ElectionOptions,
    /// The durations of the launch protocol.
    #[command(
        flatten,
        next_help_heading = "Timing (docs/reliability.md; checked against each other at the start)"
    )]
    pub timing: TimingOptions,
}

/// Which of several replicas acts.
#[derive(Clone, Debug, Args)]
pub struct ElectionOptions {
    /// Act only while holding the Lease. Without it every replica acts, which costs more calls but no second launch.
    #[arg(long, env = "CODEAGENT_LEADER_ELECTION", default_value_t = true, num_args = 0..=1, require_equals = true, default_missing_value = "true", action = clap::ArgAction::Set, value_name = "BOOL")]
    pub leader_election: bool,
    /// After which another replica takes over from one that does not renew the Lease. Whole seconds.
    #[arg(long, env = "CODEAGENT_LEASE_DURATION", default_value = "15s", value_name = "DURATION", value_parser = duration)]
    pub lease_duration: Duration,
    /// How long the leader goes on that cannot renew the Lease; then it ends and is started again.
    #[arg(long, env = "CODEAGENT_RENEW_DEADLINE", default_value = "10s", value_name = "DURATION", value_parser = duration)]
    pub renew_deadline: Duration,
    /// How often the leader renews the Lease.
    #[arg(long, env = "CODEAGENT_RETRY_PERIOD", default_value = "2s", value_name = "DURATION", value_parser = duration)]
    pub retry_period: Duration,
}

impl ElectionOptions {
    /// The durations, as the election knows them.
    fn times(&self) -> Times {
        Times {
            lease: self.lease_duration,
            renew_deadline: self.renew_deadline,
            retry: self.retry_period,
        }
    }
}

/// The durations of the launch protocol and of the lifecycle.
#[derive(Clone, Debug, Args)]
pub struct TimingOptions {
    /// How long after its claim a launch may still be sent.
    #[arg(long, env = "CODEAGENT_SEND_WINDOW", default_value = "20s", value_name = "DURATION", value_parser = duration)]
    pub send_window: Duration,
    /// Time limit of a launch request.
    #[arg(long, env = "CODEAGENT_POST_TIMEOUT", default_value = "100s", value_name = "DURATION", value_parser = duration)]
    pub post_timeout: Duration,
    /// After which an accepted launch is assumed visible at the provider.
    #[arg(long, env = "CODEAGENT_SETTLE_TIME", default_value = "180s", value_name = "DURATION", value_parser = duration)]
    pub settle_time: Duration,
    /// How far apart the two looks must be that prove a launch absent.
    #[arg(long, env = "CODEAGENT_CONSISTENCY_WINDOW", default_value = "15s", value_name = "DURATION", value_parser = duration)]
    pub consistency_window: Duration,
    /// How far clocks may differ.
    #[arg(long, env = "CODEAGENT_CLOCK_MARGIN", default_value = "30s", value_name = "DURATION", value_parser = duration)]
    pub clock_margin: Duration,
    /// How long deleting an active session may take.
    #[arg(long, env = "CODEAGENT_DELETION_BOUND", default_value = "10m", value_name = "DURATION", value_parser = duration)]
    pub deletion_bound: Duration,
    /// What the deletion bound must leave after the send window, the time limit and the settle time.
    #[arg(long, env = "CODEAGENT_DELETION_SLACK", default_value = "5m", value_name = "DURATION", value_parser = duration)]
    pub deletion_slack: Duration,
    /// How long a launch whose outcome is unknown is looked for.
    #[arg(long, env = "CODEAGENT_UNKNOWN_PATIENCE", default_value = "1h", value_name = "DURATION", value_parser = duration)]
    pub unknown_patience: Duration,
    /// First waiting time after a refusal that somebody has to mend; it doubles up to an hour.
    #[arg(long, env = "CODEAGENT_REFUSAL_WAIT", default_value = "5m", value_name = "DURATION", value_parser = duration)]
    pub refusal_wait: Duration,
    /// First waiting time after a passing fault; it doubles up to thirty times itself.
    #[arg(long, env = "CODEAGENT_FAULT_WAIT", default_value = "2s", value_name = "DURATION", value_parser = duration)]
    pub fault_wait: Duration,
    /// How often Secrets and prompt sources are read again while something waits for them.
    #[arg(long, env = "CODEAGENT_RECHECK", default_value = "10s", value_name = "DURATION", value_parser = duration)]
    pub recheck: Duration,
    /// Shortest time between two looks at a running session.
    #[arg(long, env = "CODEAGENT_POLL_MIN", default_value = "3s", value_name = "DURATION", value_parser = duration)]
    pub poll_min: Duration,
    /// Longest time between two looks at a running session.
    #[arg(long, env = "CODEAGENT_POLL_MAX", default_value = "30s", value_name = "DURATION", value_parser = duration)]
    pub poll_max: Duration,
    /// How long nothing must move after a stop, at a provider without a status for it (Cursor's API v0), until it counts.
    #[arg(long, env = "CODEAGENT_STOP_SILENCE", default_value = "2m", value_name = "DURATION", value_parser = duration)]
    pub stop_silence: Duration,
}

impl TimingOptions {
    /// The durations, as the domain knows them.
    pub fn timing(&self) -> Timing {
        Timing {
            send_window: self.send_window,
            post_timeout: self.post_timeout,
            settle: self.settle_time,
            consistency_window: self.consistency_window,
            clock_margin: self.clock_margin,
            deletion_bound: self.deletion_bound,
            deletion_slack: self.deletion_slack,
            unknown_patience: self.unknown_patience,
            refusal_wait_min: self.refusal_wait,
            refusal_wait_max: self.refusal_wait.max(Duration::from_secs(3600)),
            fault_wait_min: self.fault_wait,
            fault_wait_max: self.fault_wait.saturating_mul(30),
            recheck: self.recheck,
            poll_min: self.poll_min,
            poll_max: self.poll_max,
            stop_again: self.poll_min.saturating_mul(5),
            stop_silence: self.stop_silence,
            ..Timing::default()
        }
    }
}

fn duration(text: &str) -> Result<Duration, String> {
    let span: jiff::SignedDuration = text
        .parse()
        .map_err(|_| format!("{text:?} is not a duration; write it like 30s, 5m or 1h"))?;
    Duration::try_from(span).map_err(|_| format!("{text:?} is negative"))
}

fn provider(text: &str) -> Result<ProviderKind, String> {
    ProviderKind::ALL
        .into_iter()
        .find(|kind| kind.as_str() == text)
        .ok_or_else(|| {
            let known = ProviderKind::ALL.map(ProviderKind::as_str);
            format!(
                "this version does not run a provider {text:?}; it runs: {}",
                known.join(", ")
            )
        })
}

fn provider_endpoint(text: &str) -> Result<(ProviderKind, Url), String> {
    let (kind, url) = text
        .split_once('=')
        .ok_or_else(|| format!("{text:?} is not PROVIDER=URL"))?;
    let url = Url::parse(url).map_err(|error| format!("{url:?} is not a URL: {error}"))?;
    Ok((provider(kind)?, url))
}

/// Why the operator cannot run.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// No cluster.
    #[error("there is no cluster to work in: neither a service account nor a usable kubeconfig")]
    Config(#[source] kube::config::InferConfigError),
    /// The cluster's client cannot be set up.
    #[error("the Kubernetes client cannot be set up")]
    Client(#[source] kube::Error),
    /// The identity cannot be had.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The durations contradict each other.
    #[error(transparent)]
    Timing(#[from] TimingError),
    /// The durations of the election contradict each other.
    #[error(transparent)]
    Election(#[from] TimesError),
    /// Another replica leads, or may lead any moment.
    #[error(transparent)]
    LeadLost(#[from] Lost),
    /// The HTTP stack cannot be set up.
    #[error(transparent)]
    Http(#[from] HttpSetupError),
    /// The CA bundle cannot be read.
    #[error("the CA bundle {path} cannot be read")]
    CaBundle {
        /// Which file.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// The address is taken.
    #[error("cannot listen on {address}: choose another one with --bind-address")]
    Bind {
        /// Which address.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// The CRDs cannot be printed.
    #[error("the CustomResourceDefinitions cannot be written")]
    Crds(#[source] serde_saphyr::ser::Error),
}

/// Prints the CRDs.
///
/// # Errors
/// If they cannot be written as YAML.
pub fn print_crds(out: &mut impl std::io::Write) -> Result<(), RunError> {
    for crd in crds::all() {
        let yaml = crds::to_yaml(&crd).map_err(RunError::Crds)?;
        // A reader that closes early has seen what it wanted.
        let _ = write!(out, "---\n{yaml}");
    }
    Ok(())
}

/// Runs the operator against the cluster of the environment until `stop`.
///
/// # Errors
/// If it cannot start, or has lost the lead; whatever else happens it goes on.
pub async fn run(options: RunOptions, stop: CancellationToken) -> Result<(), RunError> {
    let config = kube::Config::infer().await.map_err(RunError::Config)?;
    run_with(config, options, stop).await
}

/// Runs the operator against the cluster of `config` until `stop`.
///
/// # Errors
/// If it cannot start, or has lost the lead; whatever else happens it goes on.
pub async fn run_with(
    config: kube::Config,
    options: RunOptions,
    stop: CancellationToken,
) -> Result<(), RunError> {
    let timing = options.timing.timing();
    timing.validate()?;
    options.election.times().validate()?;
    // It also stops by itself, when it loses the lead.
    let stop = stop.child_token();
    let own_namespace = options
        .operator_namespace
        .clone()
        .unwrap_or_else(|| config.default_namespace.clone());
    let client = client::bounded(config).map_err(RunError::Client)?;
    let server = Server::bind(options.bind_address)
        .await
        .map_err(|source| RunError::Bind {
            address: options.bind_address,
            source,
        })?;
    let (metrics, registry) = Metrics::new();
    let (readiness, heartbeats) = (Readiness::default(), Heartbeats::default());
    let serving = CancellationToken::new();
    let _serving = serving.clone().drop_guard();
    let address = server.address();
    // Before anything is asked of the API server: one that does not answer must not look like a process that hangs.
    let served = tokio::spawn(server.serve(
        Arc::new(registry),
        readiness.clone(),
        heartbeats.clone(),
        serving.clone(),
    ));
    let lease_uid = tokio::select! {
        lease_uid = lease_uid(&client, &own_namespace, &options.lease_name) => lease_uid?,
        () = stop.cancelled() => return Ok(()),
    };
    let installation = InstallationId::from_lease_uid(&lease_uid);
    let extra_ca_bundle = match &options.ca_bundle {
        None => None,
        Some(path) => Some(std::fs::read(path).map_err(|source| RunError::CaBundle {
            path: path.display().to_string(),
            source,
        })?),
    };
    let http = HttpStack::new(HttpSettings {
        post_timeout: timing.post_timeout,
        allow_http: options.allow_http_endpoints,
        extra_ca_bundle,
        ..HttpSettings::default()
    })?
    .observed_by(Arc::new(metrics.clone()));
    let providers: BTreeSet<ProviderKind> = if options.providers.is_empty() {
        ProviderKind::ALL.into_iter().collect()
    } else {
        options.providers.iter().copied().collect()
    };
    let instance = std::env::var("HOSTNAME").unwrap_or_else(|_| "codeagent-operator".to_owned());
    let (election, lead) = if options.election.leader_election {
        let (election, lead) = Election::new(
            client.clone(),
            (&own_namespace, &options.lease_name),
            lease_uid,
            // A container that is started again keeps its Pod's name, and is another process.
            format!("{instance}_{:08x}", rand::random::<u32>()),
            options.election.times(),
        );
        (Some(election), lead)
    } else {
        (None, Lead::alone())
    };
    let publisher = Publisher::new(client.clone(), "codeagents.dev/operator", instance);
    let settings = Settings {
        timing,
        providers,
        endpoints: options.provider_endpoints.iter().cloned().collect(),
        allow_http: options.allow_http_endpoints,
        concurrency: options.concurrency,
        agent_recheck: options.agent_recheck,
        counts_interval: options.counts_interval,
        sweep_interval: options.sweep_interval,
    };
    let drain = settings.timing.post_timeout + Duration::from_secs(25);
    let context = Context::new(
        client,
        settings,
        http,
        installation.clone(),
        metrics,
        publisher,
        Process {
            lead,
            stop: stop.clone(),
            heartbeats,
        },
    );
    if let Ok(address) = address {
        tracing::info!(%address, %installation, namespaces = ?options.namespaces, "the operator starts");
    }
    let candidate = CancellationToken::new();
    let election = tokio::spawn(elect(election, context.clone(), candidate.clone()));
    work(&context, &options.namespaces, &readiness, &candidate).await;
    readiness.set(false);
    // Launches under way and their records are finished: the claim entitles them (rule 14).
    context.tasks.close();
    if tokio::time::timeout(drain, context.tasks.wait())
        .await
        .is_err()
    {
        tracing::warn!(
            "a launch was still under way when the process had to stop; its claim will be looked after"
        );
    }
    serving.cancel();
    // The server has nothing left to say.
    let _ = served.await;
    tracing::info!("the operator has stopped");
    match election.await {
        Ok(result) => Ok(result?),
        Err(panic) => std::panic::resume_unwind(panic.into_panic()),
    }
}

/// Takes part in the election, once this process could act; stops it when it loses the lead.
async fn elect(
    election: Option<Election>,
    context: Context,
    candidate: CancellationToken,
) -> Result<(), Lost> {
    // However it ends: without an election nobody may act.
    let _stop = context.stop.clone().drop_guard();
    let result = async {
        let Some(election) = election else {
            context.metrics.leads(true);
            context.stop.cancelled().await;
            return Ok(());
        };
        tokio::select! {
            () = candidate.cancelled() => {}
            () = context.stop.cancelled() => return Ok(()),
        }
        let (stop, lead) = (context.stop.clone(), context.lead.clone());
        let heartbeat = context
            .heartbeats
            .begin("leader election", election.silence());
        let mut running = std::pin::pin!(election.run(stop, heartbeat));
        tokio::select! {
            result = &mut running => return result,
            () = lead.held() => {}
        }
        tracing::info!("leads");
        context.metrics.leads(true);
        running.await
    }
    .await;
    context.metrics.leads(false);
    if let Err(lost) = &result {
        tracing::error!(error = %lost, "stops: nothing is begun any more; what was sent is finished and recorded");
    }
    result
}

/// Works on every scope until the context stops. Sets `candidate` once there is a scope that could be worked on: who can
/// do nothing must not lead.
async fn work(
    context: &Context,
    namespaces: &[String],
    readiness: &Readiness,
    candidate: &CancellationToken,
) {
    // An environment variable that is set to nothing means all namespaces, as if it were not set.
    let scopes: Vec<Option<String>> = if namespaces.iter().all(String::is_empty) {
        vec![None]
    } else {
        let distinct: BTreeSet<&String> = namespaces
            .iter()
            .filter(|namespace| !namespace.is_empty())
            .collect();
        distinct
            .into_iter()
            .map(|namespace| Some(namespace.clone()))
            .collect()
    };
    let waiting = Arc::new(std::sync::atomic::AtomicUsize::new(scopes.len()));
    let runs = scopes.into_iter().map(|namespace| {
        let waiting = Arc::clone(&waiting);
        let readiness = readiness.clone();
        let candidate = candidate.clone();
        let name = namespace.clone();
        let sweeping = context.clone();
        controllers::run(context.clone(), namespace, move || {
            tracing::info!(
                namespace = name.as_deref().unwrap_or("all"),
                "caches are filled"
            );
            candidate.cancel();
            if waiting.fetch_sub(1, std::sync::atomic::Ordering::AcqRel) == 1 {
                readiness.set(true);
                tokio::spawn(controllers::sweep::run(sweeping));
            }
        })
    });
    let expiry = async {
        loop {
            tokio::time::sleep(context.timing().recheck).await;
            context.sources.expire();
        }
    };
    tokio::select! {
        _ = futures::future::join_all(runs) => {}
        () = expiry => {}
        // A cluster that does not answer must not keep the process from stopping.
        () = async {
            context.stop.cancelled().await;
            tokio::time::sleep(context.timing().post_timeout + Duration::from_secs(20)).await;
        } => {}
    }
}
