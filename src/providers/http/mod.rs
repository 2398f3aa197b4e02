//! The one HTTP stack of all providers.
//!
//! Two clients. Reads share a pool. Every POST (or other write) gets a connection of its own, over HTTP/1.1, and is written
//! at most once: no pool, no retry, no redirect. That makes it possible to say of a failed POST whether any of it can have arrived
//! ([`Sent`](super::error::Sent)), which is what the launch protocol stands on.

mod answer;
mod api;
mod budget;
mod clock;
mod gate;
mod guard;
mod limit;
mod redact;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use reqwest::redirect;

pub use crate::domain::send::answer::{
    REFUSING_STATUSES, nothing_was_started, outcome as judge_launch,
};
pub use answer::class_of_status;
pub(in crate::providers) use answer::refuses_stop;
pub(in crate::providers) use api::{Api, Auth};
pub use clock::ProviderClock;
pub use guard::{NotPublic, Reach};
pub use limit::{Lane, Prepaid, Rate, RateLimit};
pub(in crate::providers) use reqwest::Method;

use super::credential::Credential;
use super::error::ErrorClass;
use crate::api::ProviderKind;
use crate::domain::clock::ClockDifference;
use budget::Budget;
use clock::Clocks;
use guard::Guard;
use limit::Limiters;

/// Settings of the stack.
#[derive(Clone, Debug)]
pub struct HttpSettings {
    /// Until a connection stands, TLS included. Default 10 s.
    pub connect_timeout: Duration,
    /// For a read of one thing, from the first byte sent to the last received. Default 30 s.
    pub get_timeout: Duration,
    /// For a page of a list. Default 60 s: providers take long for accounts with many sessions.
    pub list_timeout: Duration,
    /// For a POST or another write: T of the launch protocol. Default 100 s, because launches that took more than 40 s have been seen.
    pub post_timeout: Duration,
    /// The largest body that is read of any answer, in bytes; most operations read less ([`Operation::largest_answer`]). Default 4 MiB.
    pub response_cap: usize,
    /// How many bytes of answers all calls of this process hold at once, in bytes, not counting the first 64 KiB of each. Default 32 MiB.
    pub answer_budget: usize,
    /// What we call ourselves. Default `codeagent-operator/VERSION`.
    pub user_agent: String,
    /// Whether `http://` endpoints may be used, and this machine's own addresses count as public; for development only. Default no.
    pub allow_http: bool,
    /// Certificates in PEM that are trusted besides the platform's, for providers behind a company's own authority.
    pub extra_ca_bundle: Option<Vec<u8>>,
    /// How fast one credential may ask one endpoint.
    pub rate_limit: RateLimit,
    /// How far the clock of a provider may be from ours before that is logged. Default 30 s.
    pub clock_margin: Duration,
}

impl Default for HttpSettings {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(10),
            get_timeout: Duration::from_secs(30),
            list_timeout: Duration::from_secs(60),
            post_timeout: Duration::from_secs(100),
            response_cap: 4 << 20,
            answer_budget: 32 << 20,
            user_agent: concat!("codeagent-operator/", env!("CARGO_PKG_VERSION")).to_owned(),
            allow_http: false,
            extra_ca_bundle: None,
            rate_limit: RateLimit::default(),
            clock_margin: Duration::from_secs(30),
        }
    }
}

/// Why the stack cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum HttpSetupError {
    /// rustls was given no implementation of its cryptography.
    #[error("no cryptography provider is installed; install rustls's ring provider first")]
    NoCryptoProvider,
    /// The extra certificates cannot be read.
    #[error("the extra CA bundle holds no certificates in PEM")]
    CaBundle,
    /// The client cannot be built.
    #[error("the HTTP client cannot be set up")]
    Client(#[source] reqwest::Error),
}

/// What is being asked of a provider; the label value of metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operation {
    /// Whose key it is.
    Verify,
    /// Which models there are.
    Models,
    /// The paid call.
    Launch,
    /// One look at one session or run.
    Get,
    /// One page of a list.
    List,
    /// The messages of a session.
    Conversation,
    /// What a session cost.
    Usage,
    /// A stop.
    Cancel,
    /// Putting an ended session away.
    Archive,
    /// Anything about the templates of an account.
    Templates,
    /// The issue that a session works on.
    Issue,
}

impl Operation {
    /// The largest body of an answer that is read, in bytes.
    pub fn largest_answer(self) -> usize {
        match self {
            Self::Verify | Self::Cancel | Self::Archive => 64 << 10,
            Self::Models | Self::Launch | Self::Get | Self::Usage | Self::Issue => 1 << 20,
            Self::List | Self::Conversation | Self::Templates => 4 << 20,
        }
    }

    /// The label value of metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Verify => "verify",
            Self::Models => "models",
            Self::Launch => "launch",
            Self::Get => "get",
            Self::List => "list",
            Self::Conversation => "conversation",
            Self::Usage => "usage",
            Self::Cancel => "cancel",
            Self::Archive => "archive",
            Self::Templates => "templates",
            Self::Issue => "issue",
        }
    }
}

/// Is told of every call that came to an end, for metrics. Must not block.
pub trait HttpObserver: Send + Sync {
    /// A call ended after `seconds`, waiting for the rate limit included: well, or with an error of this class.
    fn answered(
        &self,
        kind: ProviderKind,
        operation: Operation,
        outcome: Result<(), ErrorClass>,
        seconds: f64,
    );

    /// The clock of a provider is ahead of ours by so much. Default: nobody wants to know.
    fn clock(&self, _kind: ProviderKind, _ahead: ClockDifference) {}
}

/// Shared by every connection; a clone is the same stack.
#[derive(Clone)]
pub struct HttpStack {
    inner: Arc<Inner>,
    observer: Option<Arc<dyn HttpObserver>>,
    lane: Lane,
    reach: Reach,
}

struct Inner {
    settings: HttpSettings,
    /// For [`Reach::Anywhere`].
    open: Clients,
    /// For [`Reach::Public`].
    guarded: Clients,
    guard: Guard,
    limiters: Limiters,
    budget: Budget,
    clocks: Clocks,
}

struct Clients {
    reads: reqwest::Client,
    posts: reqwest::Client,
}

impl HttpStack {
    /// Sets up both clients. Nothing is sent.
    ///
    /// # Errors
    /// If no rustls provider is installed in this process, the CA bundle cannot be read or the platform's certificates
    /// cannot be loaded.
    pub fn new(settings: HttpSettings) -> Result<Self, HttpSetupError> {
        // reqwest would panic.
        if rustls::crypto::CryptoProvider::get_default().is_none() {
            return Err(HttpSetupError::NoCryptoProvider);
        }
        let roots = match &settings.extra_ca_bundle {
            None => Vec::new(),
            Some(pem) => reqwest::Certificate::from_pem_bundle(pem)
                .ok()
                .filter(|roots| !roots.is_empty())
                .ok_or(HttpSetupError::CaBundle)?,
        };
        let guard = Guard {
            loopback: settings.allow_http,
        };
        let clients = |reach: Reach| {
            let client = || {
                let builder = reqwest::Client::builder()
                    .user_agent(settings.user_agent.clone())
                    .connect_timeout(settings.connect_timeout)
                    .redirect(redirect::Policy::none())
                    .referer(false)
                    .https_only(!settings.allow_http)
                    .tls_certs_merge(roots.clone());
                match reach {
                    Reach::Anywhere => builder,
                    Reach::Public => builder.no_proxy().dns_resolver(guard),
                }
            };
            // HTTP/2 would send the headers before it asks for the body, where the last check sits; a pooled connection may
            // be written to a second time when it turns out to be dead.
            let posts = client()
                .http1_only()
                .pool_max_idle_per_host(0)
                .retry(reqwest::retry::never());
            Ok(Clients {
                reads: client().build().map_err(HttpSetupError::Client)?,
                posts: posts.build().map_err(HttpSetupError::Client)?,
            })
        };
        let (open, guarded) = (clients(Reach::Anywhere)?, clients(Reach::Public)?);
        let limiters = Limiters::new(settings.rate_limit);
        let budget = Budget::new(settings.answer_budget);
        Ok(Self {
            inner: Arc::new(Inner {
                settings,
                open,
                guarded,
                guard,
                limiters,
                budget,
                clocks: Clocks::default(),
            }),
            observer: None,
            lane: Lane::Look,
            reach: Reach::Anywhere,
        })
    }

    /// The same stack, for endpoints that may be reached there. Default: [`Reach::Anywhere`].
    #[must_use]
    pub fn reaching(&self, reach: Reach) -> Self {
        Self {
            reach,
            ..self.clone()
        }
    }

    /// Whether the host of `endpoint` may be reached, as far as that shows without resolving a name.
    ///
    /// # Errors
    /// If it is an address that may not.
    pub fn check_endpoint(&self, endpoint: &url::Url) -> Result<(), NotPublic> {
        match self.reach {
            Reach::Anywhere => Ok(()),
            Reach::Public => self.inner.guard.check_literal(endpoint),
        }
    }

    fn clients(&self) -> &Clients {
        match self.reach {
            Reach::Anywhere => &self.inner.open,
            Reach::Public => &self.inner.guarded,
        }
    }

    /// The same stack, whose requests go in `lane`. Default: [`Lane::Look`].
    #[must_use]
    pub fn in_lane(&self, lane: Lane) -> Self {
        Self {
            lane,
            ..self.clone()
        }
    }

    /// The rate of `credential` at `endpoint`, which all its connections share.
    pub fn rate(&self, endpoint: &url::Url, credential: &Credential) -> Rate {
        Rate(
            self.inner
                .limiters
                .of(endpoint.as_str(), credential.digest()),
        )
    }

    /// The clock of `endpoint`, as far as the answers to all its connections have told.
    pub fn clock(&self, endpoint: &url::Url) -> Arc<ProviderClock> {
        self.inner.clocks.of(endpoint.as_str())
    }

    /// The same stack, telling `observer` of every call.
    #[must_use]
    pub fn observed_by(self, observer: Arc<dyn HttpObserver>) -> Self {
        Self {
            observer: Some(observer),
            ..self
        }
    }
}

impl fmt::Debug for HttpStack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpStack")
            .field("settings", &self.inner.settings)
            .finish_non_exhaustive()
    }
}
