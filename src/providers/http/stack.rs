//! The two clients that every connection shares, and their settings.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use reqwest::redirect;

use super::budget::Budget;
use super::clock::{Clocks, ProviderClock};
use super::guard::{Guard, NotPublic, Reach};
use super::limit::{Lane, Limiters, Rate, RateLimit};
use super::operation::Operation;
use crate::api::ProviderKind;
use crate::domain::clock::ClockDifference;
use crate::domain::remote::ErrorClass;
use crate::providers::credential::Credential;

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
    /// How long a stream of events may tell none; providers send heartbeats, Cursor after 36 s at the latest. Default 90 s.
    pub stream_idle_timeout: Duration,
    /// After what silence a stream counts as read to its present end, where a provider does not say where that is. Default 2 s.
    pub stream_quiet: Duration,
    /// Until a stream that was cut is connected again, the first time; doubled each time, up to 30 s. Default 1 s.
    pub stream_retry: Duration,
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
            stream_idle_timeout: Duration::from_secs(90),
            stream_quiet: Duration::from_secs(2),
            stream_retry: Duration::from_secs(1),
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
    pub(super) inner: Arc<Inner>,
    pub(super) observer: Option<Arc<dyn HttpObserver>>,
    pub(super) lane: Lane,
    reach: Reach,
}

pub(super) struct Inner {
    pub(super) settings: HttpSettings,
    /// For [`Reach::Anywhere`].
    open: Clients,
    /// For [`Reach::Public`].
    guarded: Clients,
    guard: Guard,
    pub(super) limiters: Limiters,
    pub(super) budget: Budget,
    pub(super) clocks: Clocks,
}

pub(super) struct Clients {
    pub(super) reads: reqwest::Client,
    /// Every request on a connection of its own, over HTTP/1.1.
    pub(super) unpooled: reqwest::Client,
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
            // Of a POST HTTP/2 would send the headers before it asks for the body, where the last check sits; a pooled connection may
            // be written to a second time when it turns out to be dead. Of a stream HTTP/2 would let events that nobody takes use up the window
            // of the connection that the other answers come on.
            let unpooled = client()
                .http1_only()
                .pool_max_idle_per_host(0)
                .retry(reqwest::retry::never());
            Ok(Clients {
                reads: client().build().map_err(HttpSetupError::Client)?,
                unpooled: unpooled.build().map_err(HttpSetupError::Client)?,
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
            lane: Lane::Read,
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

    pub(super) fn clients(&self) -> &Clients {
        match self.reach {
            Reach::Anywhere => &self.inner.open,
            Reach::Public => &self.inner.guarded,
        }
    }

    /// The same stack, whose requests go in `lane`. Default: [`Lane::Read`].
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
