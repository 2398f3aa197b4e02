//! Providers for the tests of this folder.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;

use crate::domain::ids::AccountFingerprint;
use crate::domain::snapshot::Snapshot;
use crate::providers::contract::*;

/// An account.
pub fn account() -> Account {
    Account {
        fingerprint: AccountFingerprint::new("account"),
        name: None,
        email: None,
    }
}

fn no<T>() -> Result<T, ProviderError> {
    Err(ProviderError::unsent(ErrorClass::Unavailable, "silent"))
}

/// What a look at a session answers.
pub type Answer = Box<dyn Fn(&SessionRef) -> Result<Snapshot, ProviderError> + Send + Sync>;
/// What a page of the list answers.
pub type Page = Box<dyn Fn() -> Result<SessionPage, ProviderError> + Send + Sync>;

/// A provider that does as it is told, and counts.
pub struct Scripted {
    /// What a check of the key answers, and after how long.
    pub verify: (Result<Account, ProviderError>, Duration),
    /// What a look answers.
    pub get: Answer,
    /// What a list answers.
    pub list: Page,
    /// How long a look takes.
    pub takes: Duration,
    /// Checks of the key so far.
    pub verified: AtomicUsize,
    /// The sessions that were looked at, in order.
    pub looked_at: Mutex<Vec<String>>,
    /// Looks in flight, and the most that ever were.
    pub in_flight: (AtomicUsize, AtomicUsize),
}

impl Scripted {
    /// One whose looks and lists answer so.
    pub fn looking(get: Answer, list: Page, takes: Duration) -> Self {
        Self {
            verify: (Ok(account()), Duration::ZERO),
            get,
            list,
            takes,
            verified: AtomicUsize::new(0),
            looked_at: Mutex::default(),
            in_flight: Default::default(),
        }
    }

    /// One that answers so to a check of the key.
    pub fn verifying(answer: Result<Account, ProviderError>, takes: Duration) -> Self {
        Self {
            verify: (answer, takes),
            ..Self::looking(Box::new(|_| no()), Box::new(no), Duration::ZERO)
        }
    }
}

#[async_trait]
impl BaseProvider for Scripted {
    async fn verify(&self) -> Result<Account, ProviderError> {
        self.verified.fetch_add(1, Ordering::SeqCst);
        tokio::time::sleep(self.verify.1).await;
        self.verify.0.clone()
    }

    async fn launch(&self, _: &LaunchRequest) -> LaunchOutcome {
        LaunchOutcome::Rejected(ProviderError::unsent(ErrorClass::Unavailable, "silent"))
    }

    async fn adopt(&self, _: &AdoptRequest) -> Result<AdoptAnswer, ProviderError> {
        no()
    }

    async fn get(&self, session: &SessionRef) -> Result<Snapshot, ProviderError> {
        let now = self.in_flight.0.fetch_add(1, Ordering::SeqCst) + 1;
        self.in_flight.1.fetch_max(now, Ordering::SeqCst);
        crate::runtime::lock::lock(&self.looked_at).push(session.session_id.as_str().to_owned());
        tokio::time::sleep(self.takes).await;
        self.in_flight.0.fetch_sub(1, Ordering::SeqCst);
        (self.get)(session)
    }

    async fn cancel(&self, _: &SessionRef) -> Result<CancelAnswer, ProviderError> {
        no()
    }
}

impl Extended for Scripted {
    const EXTENSIONS: Extensions<Self> = Extensions {
        listing: Some(|it| it),
        ..Extensions::NONE
    };
}

#[async_trait]
impl Listing for Scripted {
    async fn list(&self, _: Option<&PageToken>) -> Result<SessionPage, ProviderError> {
        (self.list)()
    }

    async fn marked(&self, _: &MarkedRequest) -> Result<MarkedPage, ProviderError> {
        no()
    }
}

/// A provider that nobody asks.
pub fn silent() -> Scripted {
    Scripted::verifying(Ok(account()), Duration::ZERO)
}
