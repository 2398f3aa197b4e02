//! What every pass shares.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use kube::Client;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use url::Url;

use super::accounts::Accounts;
use super::admission::Admission;
use super::connection::links::Links;
use super::environment::EnvironmentSources;
use super::images::ImageSources;
use super::memory::Memory;
use super::metrics::Metrics;
use super::namespaces::Namespaces;
use super::orphans::Orphans;
use super::owners::Owners;
use super::poller::{Parts, Poller};
use super::secrets::Sources;
use super::served::ServedSessions;
use super::webhook::sender::Webhooks;
use crate::api::ProviderKind;
use crate::api::ProviderSpec;
use crate::domain::endpoint::EndpointHost;
use crate::domain::ids::InstallationId;
use crate::domain::provider_webhook::ProviderWebhooks;
use crate::domain::remote::ProviderCapabilities;
use crate::domain::session::ProviderFacts;
use crate::domain::timing::Timing;
use crate::network::public_post::PublicPost;
use crate::providers::contract::ProviderType;
use crate::providers::http::HttpStack;
use crate::providers::registry::Registry;
use crate::runtime::events::Publisher;
use crate::runtime::heartbeat::Heartbeats;
use crate::runtime::lease::Lead;

/// How the operator is set up.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The durations.
    pub timing: Timing,
    /// The providers that this installation runs.
    pub providers: BTreeSet<ProviderKind>,
    /// Base URLs that this installation uses instead of the providers' own.
    pub endpoints: BTreeMap<ProviderKind, Url>,
    /// Hosts of CodeAgents' endpoints that may have any address. All others must be public.
    pub endpoint_hosts: Vec<EndpointHost>,
    /// The image of codeagent-runner, which is installed into the Pods of job agents.
    pub runner_image: String,
    /// Whether plain http endpoints may be used. For development only.
    pub allow_http: bool,
    /// Certificates in PEM that webhooks may use besides the system's.
    pub extra_ca_bundle: Option<Vec<u8>>,
    /// Where providers report changes, if they are told to.
    pub provider_webhooks: Option<Arc<ProviderWebhooks>>,
    /// How many sessions are worked on at the same time.
    pub concurrency: u16,
    /// How many sessions may be active at a time for an account at an endpoint; `None`: as many as there are.
    pub max_concurrent_per_credential: Option<u32>,
    /// How often a CodeAgent's key is checked again. Default: 10 min.
    pub agent_recheck: Duration,
    /// Shortest time between two writes of a CodeAgent's session counts. Default: 10 s.
    pub counts_interval: Duration,
    /// Time between two searches for sessions that nobody accounts for; zero: none. Default: 10 min.
    pub sweep_interval: Duration,
}

/// Whether this process may act, and how long.
pub struct Process {
    /// Whether it leads.
    pub lead: Lead,
    /// Set when it is about to stop.
    pub stop: CancellationToken,
    /// Its loops, for `/livez`.
    pub heartbeats: Heartbeats,
}

/// What every pass shares. Cheap to clone.
#[derive(Clone)]
pub struct Context(Arc<Shared>);

/// The parts of a [`Context`].
pub struct Shared {
    /// The Kubernetes client; it repeats nothing by itself.
    pub client: Client,
    /// How the operator is set up.
    pub settings: Settings,
    /// What the providers of this installation can do.
    pub installed: Vec<ProviderCapabilities>,
    /// The HTTP stack of all providers.
    pub http: HttpStack,
    /// This installation.
    pub installation: InstallationId,
    /// Secrets and prompt sources.
    pub sources: Sources,
    /// Images.
    pub images: ImageSources,
    /// The Secrets of environments.
    pub environments: EnvironmentSources,
    /// Who each key belongs to.
    pub accounts: Arc<Accounts>,
    /// The connections in use.
    pub links: Links,
    /// What is remembered of each session.
    pub memory: Arc<Memory>,
    /// Follows sessions at their providers.
    pub poller: Poller,
    /// Who holds and who waits for slots and locks.
    pub admission: Admission,
    /// Which provider session belongs to which CodeSession.
    pub owners: Owners,
    /// The CodeSessions of the served scopes.
    pub served: ServedSessions,
    /// Sessions that nobody accounts for, as far as they were found.
    pub orphans: Orphans,
    /// What reports to webhooks are sent with.
    pub webhooks: Webhooks,
    /// Metrics.
    pub metrics: Metrics,
    /// Events.
    pub publisher: Publisher,
    /// Requests under way that are finished before the process ends.
    pub tasks: TaskTracker,
    /// Whether this process leads.
    pub lead: Lead,
    /// Set when the process is about to stop.
    pub stop: CancellationToken,
    /// The loops of the process, for `/livez`.
    pub heartbeats: Heartbeats,
    started: Instant,
    started_at: Timestamp,
    namespaces: Namespaces,
}

impl std::ops::Deref for Context {
    type Target = Shared;

    fn deref(&self) -> &Shared {
        &self.0
    }
}

impl Context {
    /// A context of a process that starts now.
    pub fn new(
        client: Client,
        settings: Settings,
        http: HttpStack,
        installation: InstallationId,
        metrics: Metrics,
        publisher: Publisher,
        process: Process,
    ) -> Self {
        let Process {
            lead,
            stop,
            heartbeats,
        } = process;
        let started = Instant::now();
        let memory = Arc::new(Memory::default());
        let accounts = Arc::new(Accounts::new(settings.timing.clone()));
        let poller = Poller::new(Parts {
            started,
            timing: settings.timing.clone(),
            lead: lead.clone(),
            stop: stop.clone(),
            memory: Arc::clone(&memory),
            accounts: Arc::clone(&accounts),
        });
        Self(Arc::new(Shared {
            sources: Sources::new(client.clone(), settings.timing.recheck),
            images: ImageSources::new(settings.timing.recheck),
            environments: EnvironmentSources::new(settings.timing.recheck),
            accounts,
            links: Links::default(),
            memory,
            poller,
            admission: Admission::new(
                settings.timing.queue_interval,
                settings
                    .max_concurrent_per_credential
                    .map(|limit| usize::try_from(limit).unwrap_or(usize::MAX)),
            ),
            owners: Owners::default(),
            served: ServedSessions::default(),
            orphans: Orphans::default(),
            webhooks: Webhooks::new(PublicPost::new(
                settings.allow_http,
                settings.extra_ca_bundle.clone(),
            )),
            tasks: TaskTracker::new(),
            started,
            started_at: Timestamp::now(),
            namespaces: Namespaces::default(),
            installed: Registry::capabilities(&settings.providers),
            client,
            settings,
            http,
            installation,
            metrics,
            publisher,
            lead,
            stop,
            heartbeats,
        }))
    }
}

impl Shared {
    /// Monotonic clock: time since the process started.
    pub fn uptime(&self) -> Duration {
        self.started.elapsed()
    }

    /// When the process started.
    pub fn started_at(&self) -> Timestamp {
        self.started_at
    }

    /// Whether this process may begin anything: it leads, and is not about to stop. What it has begun it may finish.
    pub fn may_begin(&self) -> bool {
        !self.stop.is_cancelled() && self.lead.holds()
    }

    /// The durations.
    pub fn timing(&self) -> &Timing {
        &self.settings.timing
    }

    /// The provider that `spec` selects, if this installation runs it.
    pub fn provider(&self, spec: &ProviderSpec) -> Option<&'static dyn ProviderType> {
        let kind = spec
            .kind()
            .filter(|kind| self.settings.providers.contains(kind))?;
        Registry::get(kind)
    }

    /// The base URL that this installation uses where a CodeAgent sets none.
    pub fn installed_endpoint(&self, provider: &dyn ProviderType, spec: &ProviderSpec) -> Url {
        let own = self.settings.endpoints.get(&provider.kind()).cloned();
        own.unwrap_or_else(|| provider.default_endpoint(spec))
    }

    /// What is known of that provider without talking to it.
    pub fn facts(&self, spec: &ProviderSpec) -> Option<ProviderFacts> {
        let provider = self.provider(spec)?;
        Some(ProviderFacts {
            kind: provider.kind(),
            api_version: provider.api_version(spec),
            recovery: provider.recovery(spec),
            environment_recovery: provider.environment_recovery(spec),
            message_recovery: provider.message_recovery(spec),
            cancel_visibility: provider.cancel_visibility(spec),
            capabilities: provider.capabilities(spec),
        })
    }

    /// The uid of a namespace, `None` if there is none of this name: one that was finalized by force leaves its objects behind.
    /// Read once and kept, because it never changes while the namespace lives.
    ///
    /// # Errors
    /// If it cannot be read.
    pub async fn namespace_uid(&self, name: &str) -> Result<Option<String>, kube::Error> {
        self.namespaces.uid(&self.client, name).await
    }

    /// Forgets a namespace whose objects are all gone: one of the same name may follow with another uid.
    pub fn forget_namespace(&self, name: &str) {
        self.namespaces.forget(name);
    }
}
