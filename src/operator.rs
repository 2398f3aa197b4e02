//! The process behind `codeagent-operator run`: its parts put together, started and stopped in order.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use kube::config::Kubeconfig;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use zeroize::Zeroizing;

use crate::api::{ProviderKind, crds};
use crate::cli::RunOptions;
use crate::controllers::metrics::Metrics;
use crate::controllers::{self, Context, Process, Settings};
use crate::domain::ids::InstallationId;
use crate::domain::provider_webhook::{ProviderWebhooks, SetupError};
use crate::domain::timing::{Timing, TimingError};
use crate::inbound;
use crate::providers::http::{HttpSettings, HttpSetupError, HttpStack};
use crate::runtime::client;
use crate::runtime::events::Publisher;
use crate::runtime::heartbeat::Heartbeats;
use crate::runtime::identity::{IdentityError, lease_uid};
use crate::runtime::lease::{Election, Lead, Lost, TimesError};
use crate::runtime::proxy;
use crate::runtime::served_schema;
use crate::runtime::server::{Readiness, Server};
use crate::timeline::{self, CertificateSource, FollowerLimits};

/// What to do about definitions of another version.
pub const DEFINITIONS_REMEDY: &str = "apply those of this version (codeagent-operator crds | kubectl apply --server-side -f -, or helm upgrade)";

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
    /// The key of the webhooks cannot be read.
    #[error("the key file of providers' webhooks, {path}, cannot be read")]
    WebhookKey {
        /// Which file.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// No provider could be given such a webhook.
    #[error("providers' webhooks cannot be taken (--webhook-base-url, --webhook-key-file)")]
    Webhooks(#[from] SetupError),
    /// The address is taken.
    #[error("cannot listen on {address}: choose another one with {option}")]
    Bind {
        /// Which address.
        address: SocketAddr,
        /// What says so.
        option: &'static str,
        /// Why.
        source: std::io::Error,
    },
}

/// Runs the operator against the cluster of the environment until `stop`.
///
/// # Errors
/// If it cannot start, or has lost the lead; whatever else happens it goes on.
pub async fn run(options: RunOptions, stop: CancellationToken) -> Result<(), RunError> {
    let mut config = kube::Config::infer().await.map_err(RunError::Config)?;
    // Without a kubeconfig this is a Pod, which reaches its API server without a proxy.
    if let Ok(kubeconfig) = Kubeconfig::read() {
        proxy::apply(&mut config, &kubeconfig, &proxy::Environment::read());
    }
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
        .installation
        .operator_namespace
        .clone()
        .unwrap_or_else(|| config.default_namespace.clone());
    let client = client::bounded(config).map_err(RunError::Client)?;
    let server = bind(options.bind_address).await?;
    let servers = Servers::bind(&options, &own_namespace)?;
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
        lease_uid = prerequisites(&client, &own_namespace, &options.installation.lease_name) => lease_uid?,
        () = stop.cancelled() => return Ok(()),
    };
    let installation = InstallationId::from_lease_uid(&lease_uid);
    let extra_ca_bundle = ca_bundle(&options)?;
    let http = http_stack(&options, &timing, extra_ca_bundle.clone())?
        .observed_by(Arc::new(metrics.clone()));
    let instance = std::env::var("HOSTNAME").unwrap_or_else(|_| "codeagent-operator".to_owned());
    let (election, lead) = leadership(&options, &client, &own_namespace, lease_uid, &instance);
    let publisher = Publisher::new(client.clone(), "codeagents.dev/operator", instance);
    let settings = settings(&options, timing, extra_ca_bundle, servers.webhooks());
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
        tracing::info!(%address, %installation, namespaces = ?options.installation.namespaces, "the operator starts");
    }
    let mut servers = servers.serve(&context);
    let candidate = CancellationToken::new();
    let election = tokio::spawn(elect(election, context.clone(), candidate.clone()));
    work(
        &context,
        &options.installation.namespaces,
        &readiness,
        &candidate,
    )
    .await;
    readiness.set(false);
    // Those who follow a session are told that the operator stops.
    stop.cancel();
    // A panic there ends nothing but what is served.
    let followers = async { while servers.join_next().await.is_some() {} };
    tokio::join!(finish_launches(&context), followers);
    serving.cancel();
    // The server has nothing left to say.
    let _ = served.await;
    tracing::info!("the operator has stopped");
    match election.await {
        Ok(result) => Ok(result?),
        Err(panic) => std::panic::resume_unwind(panic.into_panic()),
    }
}

/// The server of probes and metrics.
async fn bind(address: SocketAddr) -> Result<Server, RunError> {
    let bound = Server::bind(address).await;
    bound.map_err(|source| RunError::Bind {
        address,
        option: "--bind-address",
        source,
    })
}

/// The uid of the Lease, once the API server serves everything that is recorded: it would drop what older definitions do not have, and
/// a claim that is not stored protects nothing.
async fn prerequisites(
    client: &kube::Client,
    namespace: &str,
    lease_name: &str,
) -> Result<String, RunError> {
    let lease_uid = lease_uid(client, namespace, lease_name).await?;
    served_schema::until_served(client, &crds::all(), DEFINITIONS_REMEDY).await;
    Ok(lease_uid)
}

/// What is served besides probes and metrics, where it is asked for.
struct Servers {
    timelines: Option<timeline::Server>,
    inbound: Option<(inbound::Server, Arc<ProviderWebhooks>)>,
}

impl Servers {
    /// Takes their addresses.
    fn bind(options: &RunOptions, own_namespace: &str) -> Result<Self, RunError> {
        Ok(Self {
            timelines: timelines(options, own_namespace)?,
            inbound: inbound(options)?,
        })
    }

    /// Where providers report, if they are told to.
    fn webhooks(&self) -> Option<Arc<ProviderWebhooks>> {
        let (_, webhooks) = self.inbound.as_ref()?;
        Some(Arc::clone(webhooks))
    }

    fn serve(self, context: &Context) -> JoinSet<()> {
        let mut serving = JoinSet::new();
        if let Some(server) = self.timelines {
            serving.spawn(server.serve(context.clone()));
        }
        if let Some((server, _)) = self.inbound {
            serving.spawn(server.serve(context.clone()));
        }
        serving
    }
}

/// The server of providers' webhooks, if there is to be one.
fn inbound(
    options: &RunOptions,
) -> Result<Option<(inbound::Server, Arc<ProviderWebhooks>)>, RunError> {
    let given = &options.webhooks;
    let (Some(address), Some(base), Some(file)) = (
        given.webhook_listen,
        &given.webhook_base_url,
        &given.webhook_key_file,
    ) else {
        return Ok(None);
    };
    let read = std::fs::read_to_string(file).map(Zeroizing::new);
    let keys = read.map_err(|source| RunError::WebhookKey {
        path: file.display().to_string(),
        source,
    })?;
    let webhooks = ProviderWebhooks::new(base, &keys, options.allow_http_endpoints)?;
    let webhooks = Arc::new(webhooks);
    let settings = inbound::Settings {
        webhooks: Arc::clone(&webhooks),
        peers: given.webhook_peers.clone(),
    };
    let server = inbound::Server::bind(address, settings).map_err(|source| RunError::Bind {
        address,
        option: "--webhook-listen",
        source,
    })?;
    Ok(Some((server, webhooks)))
}

/// The server of timelines, if there is to be one.
fn timelines(
    options: &RunOptions,
    own_namespace: &str,
) -> Result<Option<timeline::Server>, RunError> {
    let timeline = &options.timeline;
    let Some(address) = timeline.timeline_bind_address else {
        return Ok(None);
    };
    let files = timeline
        .timeline_tls_cert_file
        .clone()
        .zip(timeline.timeline_tls_key_file.clone());
    let certificate = match files {
        Some((certificate, key)) => CertificateSource::Files { certificate, key },
        None => CertificateSource::Secret(timeline.timeline_tls_secret.clone()),
    };
    let most = |number: u32| usize::try_from(number).unwrap_or(usize::MAX);
    let settings = timeline::Settings {
        namespace: own_namespace.to_owned(),
        service: timeline.timeline_service.clone(),
        certificate,
        followers: FollowerLimits {
            per_session: most(timeline.timeline_followers_per_session),
            in_all: most(timeline.timeline_followers),
        },
    };
    let server = timeline::Server::bind(address, settings).map_err(|source| RunError::Bind {
        address,
        option: "--timeline-bind-address",
        source,
    })?;
    Ok(Some(server))
}

/// The election that this process takes part in, and whether it leads; without an election it always does.
fn leadership(
    options: &RunOptions,
    client: &kube::Client,
    namespace: &str,
    lease_uid: String,
    instance: &str,
) -> (Option<Election>, Lead) {
    if !options.election.leader_election {
        return (None, Lead::alone());
    }
    let (election, lead) = Election::new(
        client.clone(),
        (namespace, &options.installation.lease_name),
        lease_uid,
        // A container that is started again keeps its Pod's name, and is another process.
        format!("{instance}_{:08x}", rand::random::<u32>()),
        options.election.times(),
    );
    (Some(election), lead)
}

/// The certificate authorities that are trusted besides the system's.
fn ca_bundle(options: &RunOptions) -> Result<Option<Vec<u8>>, RunError> {
    let read = options.ca_bundle.as_ref().map(|path| {
        std::fs::read(path).map_err(|source| RunError::CaBundle {
            path: path.display().to_string(),
            source,
        })
    });
    read.transpose()
}

/// The HTTP stack of all providers.
fn http_stack(
    options: &RunOptions,
    timing: &Timing,
    extra_ca_bundle: Option<Vec<u8>>,
) -> Result<HttpStack, RunError> {
    let stack = HttpStack::new(HttpSettings {
        post_timeout: timing.post_timeout,
        clock_margin: timing.clock_margin,
        allow_http: options.allow_http_endpoints,
        extra_ca_bundle,
        ..HttpSettings::default()
    })?;
    Ok(stack)
}

/// What the flags come to.
fn settings(
    options: &RunOptions,
    timing: Timing,
    extra_ca_bundle: Option<Vec<u8>>,
    provider_webhooks: Option<Arc<ProviderWebhooks>>,
) -> Settings {
    let mut providers: BTreeSet<ProviderKind> = if options.providers.is_empty() {
        // It asks for rights that an installation has to give first.
        let all = ProviderKind::ALL.into_iter();
        all.filter(|kind| *kind != ProviderKind::Job).collect()
    } else {
        options.providers.iter().copied().collect()
    };
    if options.installation.jobs {
        providers.insert(ProviderKind::Job);
    }
    Settings {
        timing,
        providers,
        runner_image: options.runner_image.clone(),
        endpoints: options.provider_endpoints.iter().cloned().collect(),
        endpoint_hosts: options.allow_endpoint_hosts.clone(),
        allow_http: options.allow_http_endpoints,
        extra_ca_bundle,
        provider_webhooks,
        concurrency: options.concurrency,
        max_concurrent_per_credential: options.max_concurrent_per_credential,
        agent_recheck: options.agent_recheck,
        counts_interval: options.counts_interval,
        sweep_interval: options.sweep_interval,
    }
}

/// Launches under way and their records are finished: the claim entitles them (rule 14).
async fn finish_launches(context: &Context) {
    let at_most = context.timing().post_timeout + Duration::from_secs(25);
    context.tasks.close();
    if tokio::time::timeout(at_most, context.tasks.wait())
        .await
        .is_err()
    {
        tracing::warn!(
            "a launch was still under way when the process had to stop; its claim will be looked after"
        );
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
        tracing::info!("acquired leadership");
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
    let runs = controllers::run(context, scopes, |filled| {
        let namespace = filled.namespace.unwrap_or("all");
        tracing::info!(namespace, "caches are filled");
        candidate.cancel();
        if filled.all {
            readiness.set(true);
        }
    });
    let expiry = async {
        loop {
            tokio::time::sleep(context.timing().recheck).await;
            context.sources.expire();
            context.images.expire();
            context.environments.expire();
        }
    };
    tokio::select! {
        () = runs => {}
        () = expiry => {}
        // A cluster that does not answer must not keep the process from stopping.
        () = async {
            context.stop.cancelled().await;
            tokio::time::sleep(context.timing().post_timeout + Duration::from_secs(20)).await;
        } => {}
    }
}
