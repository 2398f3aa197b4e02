//! The providers' real HTTP APIs on loopback: faithful to their documentation, scriptable, with faults.
//!
//! Built from the providers' documents alone, never from this project's clients, so that the two can disagree. Where a document is silent, the
//! module that decides says so.
//!
//! ```text
//! socket ── connection ── server ── world ──┬── fault, keys, rate_limit
//!                                           ├── cursor (v0 and v1), firebender, flapjack, firetiger
//!                                           │                           (provider::ProviderApi: state machines without I/O)
//!                                           └── record                  (what was seen)
//! ```
//!
//! Every state is computed from a monotonic [`clock`], so there are no timers but the one that makes deliveries to webhooks. [`script`] describes how a session behaves, [`fault`] what goes
//! wrong, [`control`] how both are reached from another process. In one process, [`Simulator`] derefs to a [`Handle`] that does the same.

#![forbid(unsafe_code)]

mod alter;
mod clock;
mod connection;
mod control;
mod conversation;
mod cursor;
mod fault;
mod fields;
mod firebender;
mod firetiger;
mod flapjack;
mod http;
mod http_service;
mod keys;
mod marker;
mod members;
mod naming;
mod operation;
mod options;
mod page;
mod provider;
mod rate_limit;
mod record;
mod script;
mod server;
mod timeline;
mod webhook;
mod world;

use std::io;
use std::net::SocketAddr;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

pub use alter::Echo;
pub use fault::{Fault, FaultKind, Matcher};
pub use keys::{Key, KeyKind};
pub use operation::{Operation, OperationClass, Provider, UnknownOperation};
pub use options::{
    AgentIds, AgentSets, BusyMessage, CodingAgentType, ConnectionType, ConversationStart,
    CursorOptions, CursorV0Options, FirebenderBranch, FirebenderDocument, FirebenderOptions,
    FiretigerConnection, FiretigerOptions, FlapjackOptions, FollowUpAfterStop, IdempotencyKey,
    IssueLinks, ListOrder, MemberNames, ModelList, RepositoryAccess, SimulatorOptions,
    StoppedStatus, TimeFlow,
};
pub use record::{
    ImageRecord, Launch, LaunchFilter, LaunchKind, PromptView, RequestRecord, SessionView,
    VariableRecord,
};
pub use webhook::{Delivery, Webhook, WebhookMode, signature as webhook_signature};

pub use script::{CancelBehaviour, DIRECTIVE, DirectiveError, Outcome, Script, ScriptRule};

use server::ProviderServer;
use world::World;

/// How often it is looked for deliveries that are due.
const DELIVERIES_EVERY: Duration = Duration::from_millis(20);

/// Where a simulator listens.
#[derive(Clone, Debug, Serialize)]
pub struct Urls {
    /// Control API.
    pub control: String,
    /// Base of Cursor's API, in place of `https://api.cursor.com`.
    pub cursor: String,
    /// Base of Firebender's API, in place of `https://cloud.firebender.com`.
    pub firebender: String,
    /// Base of Flapjack's API, in place of `https://api.flapjack.dev`.
    pub flapjack: String,
    /// Base of Firetiger's API, in place of `https://api.cloud.firetiger.com`.
    pub firetiger: String,
    /// Base of the service that is reached with a mapping.
    pub http: String,
}

impl Urls {
    /// Base URL of a provider's API.
    pub fn of(&self, provider: Provider) -> &str {
        match provider {
            Provider::Cursor => &self.cursor,
            Provider::Firebender => &self.firebender,
            Provider::Flapjack => &self.flapjack,
            Provider::Firetiger => &self.firetiger,
            Provider::Http => &self.http,
        }
    }
}

/// A running simulator. Dropping it closes its listeners and connections.
pub struct Simulator {
    handle: Handle,
    urls: Urls,
    stop: CancellationToken,
}

impl Simulator {
    /// Binds all listeners and serves them on the current Tokio runtime.
    ///
    /// # Errors
    /// An address that cannot be bound.
    pub async fn start(options: SimulatorOptions) -> io::Result<Self> {
        let control = TcpListener::bind(options.listen).await?;
        let cursor = TcpListener::bind(after(options.listen, 1)?).await?;
        let firebender = TcpListener::bind(after(options.listen, 2)?).await?;
        let flapjack = TcpListener::bind(after(options.listen, 3)?).await?;
        let firetiger = TcpListener::bind(after(options.listen, 4)?).await?;
        let http = TcpListener::bind(after(options.listen, 5)?).await?;
        let urls = Urls {
            control: url_of(&control)?,
            cursor: url_of(&cursor)?,
            firebender: url_of(&firebender)?,
            flapjack: url_of(&flapjack)?,
            firetiger: url_of(&firetiger)?,
            http: url_of(&http)?,
        };
        let world = Arc::new(World::new(options, &urls));
        let handle = Handle {
            world: world.clone(),
        };
        let stop = CancellationToken::new();
        for (listener, provider) in [
            (cursor, Provider::Cursor),
            (firebender, Provider::Firebender),
            (flapjack, Provider::Flapjack),
            (firetiger, Provider::Firetiger),
            (http, Provider::Http),
        ] {
            let server = ProviderServer {
                world: world.clone(),
                provider,
            };
            tokio::spawn(server::serve_provider(listener, server, stop.clone()));
        }
        tokio::spawn(deliver(world.clone(), stop.clone()));
        tokio::spawn(control::serve_control(
            control,
            handle.clone(),
            urls.clone(),
            stop.clone(),
        ));
        Ok(Self { handle, urls, stop })
    }

    /// Where everything is.
    pub fn urls(&self) -> &Urls {
        &self.urls
    }

    /// Base URL of the control API.
    pub fn control_url(&self) -> &str {
        &self.urls.control
    }

    /// Base URL of a provider's API.
    pub fn url(&self, provider: Provider) -> &str {
        self.urls.of(provider)
    }

    /// Base URL of Cursor's API.
    pub fn cursor_url(&self) -> &str {
        self.url(Provider::Cursor)
    }

    /// Base URL of Firebender's API.
    pub fn firebender_url(&self) -> &str {
        self.url(Provider::Firebender)
    }

    /// Base URL of Flapjack's API.
    pub fn flapjack_url(&self) -> &str {
        self.url(Provider::Flapjack)
    }

    /// Base URL of Firetiger's API.
    pub fn firetiger_url(&self) -> &str {
        self.url(Provider::Firetiger)
    }
}

impl Drop for Simulator {
    fn drop(&mut self) {
        self.stop.cancel();
        // Graceful shutdown alone would wait for hanging answers and open streams.
        self.handle.world.cut_all_connections();
    }
}

impl Deref for Simulator {
    type Target = Handle;

    fn deref(&self) -> &Handle {
        &self.handle
    }
}

/// Makes the deliveries that become due.
async fn deliver(world: Arc<World>, stop: CancellationToken) {
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(DELIVERIES_EVERY) => {}
        }
        for (delivery, times) in world.due_deliveries() {
            tokio::spawn(async move {
                for _ in 0..times {
                    delivery.send().await;
                }
            });
        }
    }
}

fn after(listen: SocketAddr, offset: u16) -> io::Result<SocketAddr> {
    if listen.port() == 0 {
        return Ok(listen);
    }
    let port = listen.port().checked_add(offset).ok_or_else(|| {
        io::Error::new(
            io::ErrorKind::InvalidInput,
            format!(
                "port {} leaves no room for the providers' ports after it",
                listen.port()
            ),
        )
    })?;
    Ok(SocketAddr::new(listen.ip(), port))
}

fn url_of(listener: &TcpListener) -> io::Result<String> {
    Ok(format!("http://{}", listener.local_addr()?))
}

/// Looks into a simulator and changes how it behaves. Clones share the simulator.
#[derive(Clone)]
pub struct Handle {
    world: Arc<World>,
}

impl Handle {
    /// Requests seen, oldest first.
    pub fn requests(&self) -> Vec<RequestRecord> {
        self.world.state().log.requests().cloned().collect()
    }

    /// Requests from number `first` on, oldest first: those that came since [`Self::next_request`] said so.
    pub fn requests_since(&self, first: u64) -> Vec<RequestRecord> {
        let state = self.world.state();
        let requests = state.log.requests().rev();
        let mut since: Vec<_> = requests
            .take_while(|request| request.sequence >= first)
            .cloned()
            .collect();
        since.reverse();
        since
    }

    /// The number of the request that comes next.
    pub fn next_request(&self) -> u64 {
        self.world.state().log.next()
    }

    /// Requests that are no longer in the log because it is full.
    pub fn forgotten_requests(&self) -> u64 {
        self.world.state().log.forgotten()
    }

    /// Paid sessions and messages that were accepted, oldest first.
    pub fn launches(&self, filter: &LaunchFilter) -> Vec<Launch> {
        self.world.state().log.launches(filter)
    }

    /// Every session ever created, deleted ones too, per provider and oldest first.
    pub fn sessions(&self) -> Vec<SessionView> {
        let state = self.world.state();
        let now = self.world.clock.now();
        Provider::ALL
            .into_iter()
            .flat_map(|provider| state.api_ref(provider).sessions(now, &self.world.clock))
            .collect()
    }

    /// TCP connections that a provider's listener accepted.
    pub fn connections(&self, provider: Provider) -> u64 {
        self.world.state().accepted_connections(provider)
    }

    /// Adds a rule for future sessions.
    pub fn script(&self, rule: ScriptRule) {
        self.world.state().scripts.add(rule);
    }

    /// The rules for future sessions.
    pub fn script_rules(&self) -> Vec<ScriptRule> {
        self.world.state().scripts.rules().to_vec()
    }

    /// Removes all rules for future sessions.
    pub fn clear_script(&self) {
        self.world.state().scripts.clear();
    }

    /// Changes the rest of a session's newest run; one that has ended stays ended. `false`: no such session.
    pub fn rescript(&self, provider: Provider, session: &str, script: Script) -> bool {
        let now = self.world.clock.now();
        self.world
            .state()
            .api(provider)
            .rescript(session, script, now)
    }

    /// Adds a link to an issue (`issues/FT-42`) of Firetiger, as a person would; `false`: no such issue.
    pub fn link_issue(&self, issue: &str, url: &str) -> bool {
        let mut state = self.world.state();
        state.api(Provider::Firetiger).link_issue(issue, url)
    }

    /// Arms a fault.
    pub fn inject(&self, fault: Fault) {
        self.world.state().faults.inject(fault);
    }

    /// The faults that still wait.
    pub fn faults(&self) -> Vec<Fault> {
        self.world.state().faults.armed().to_vec()
    }

    /// Disarms all faults.
    pub fn clear_faults(&self) {
        self.world.state().faults.clear();
    }

    /// The keys that are accepted.
    pub fn keys(&self) -> Vec<Key> {
        self.world.state().keys.all().to_vec()
    }

    /// Adds a key, or rotates the one of the same provider and name.
    pub fn add_key(&self, key: Key) {
        self.world.state().keys.add(key);
    }

    /// Revokes a key; `false`: there is none of this name.
    pub fn revoke(&self, provider: Provider, name: &str) -> bool {
        self.world.state().keys.revoke(provider, name)
    }

    /// How deliveries to webhooks are made from now on.
    pub fn deliver_webhooks(&self, mode: WebhookMode) {
        self.world.state().webhook_mode = mode;
    }

    /// Every delivery to a webhook that has been due until now, whether or not it was made.
    pub fn deliveries(&self) -> Vec<Delivery> {
        self.world.state().deliveries(&self.world.clock)
    }

    /// Moves time forwards for every session, limit and retention.
    pub fn advance(&self, by: Duration) {
        self.world.clock.advance(by);
    }
}
