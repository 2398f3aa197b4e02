//! Who each key belongs to: asked once, shared by every session of that key, asked again when there is reason to doubt.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::domain::remote::{Account, ErrorClass, ProviderError};
use crate::domain::timing::Timing;
use crate::providers::contract::Provider;
use crate::runtime::lock::lock;

/// Tells a connection from others: provider, endpoint, tenant and credential.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnectionKey(pub String);

/// What is known of a key.
#[derive(Clone, Debug)]
pub enum Standing {
    /// The provider accepts it.
    Accepted(Account),
    /// The provider does not accept it.
    Refused {
        /// The provider's words.
        error: ProviderError,
        /// When it is asked again.
        again: Duration,
    },
    /// The provider could not be asked.
    Unreachable {
        /// What went wrong.
        error: ProviderError,
        /// When it is asked again.
        again: Duration,
    },
}

#[derive(Clone, Debug)]
struct Entry {
    /// The last answer that named an account; it outlives outages.
    account: Option<Account>,
    failure: Option<(ProviderError, Instant)>,
    faults: i32,
    asked: Instant,
}

/// What is known of every key in use.
pub struct Accounts {
    timing: Timing,
    entries: Mutex<HashMap<ConnectionKey, Entry>>,
    asking: Mutex<HashMap<ConnectionKey, Arc<tokio::sync::Mutex<()>>>>,
}

impl Accounts {
    /// Knows nothing yet.
    pub fn new(timing: Timing) -> Self {
        Self {
            timing,
            entries: Mutex::default(),
            asking: Mutex::default(),
        }
    }

    /// What is known of the key; `None` if it has to be asked.
    pub fn standing(&self, key: &ConnectionKey) -> Option<Standing> {
        let entries = lock(&self.entries);
        let entry = entries.get(key)?;
        match &entry.failure {
            None => entry.account.clone().map(Standing::Accepted),
            Some((error, until)) => {
                let again = until.saturating_duration_since(Instant::now());
                if again.is_zero() {
                    return None;
                }
                let error = error.clone();
                Some(if refuses(&error) {
                    Standing::Refused { error, again }
                } else {
                    Standing::Unreachable { error, again }
                })
            }
        }
    }

    /// The account that the key was last seen to belong to, whatever has happened since.
    pub fn last_account(&self, key: &ConnectionKey) -> Option<Account> {
        lock(&self.entries)
            .get(key)
            .and_then(|entry| entry.account.clone())
    }

    /// How long ago the provider was last asked.
    pub fn age(&self, key: &ConnectionKey) -> Option<Duration> {
        lock(&self.entries)
            .get(key)
            .map(|entry| entry.asked.elapsed())
    }

    /// Asks the provider, once for all who want to know at the same time.
    pub async fn ask(&self, key: &ConnectionKey, provider: &dyn Provider, older_than: Duration) {
        let turn = Arc::clone(lock(&self.asking).entry(key.clone()).or_default());
        let _turn = turn.lock().await;
        // Whoever waited for a turn finds the answer there.
        if self.standing(key).is_some() && self.age(key).is_some_and(|age| age <= older_than) {
            return;
        }
        let result = provider.verify().await;
        match result {
            Ok(account) => self.accepted(key, account),
            Err(error) => self.failed(key, error),
        }
    }

    fn accepted(&self, key: &ConnectionKey, account: Account) {
        let entry = Entry {
            account: Some(account),
            failure: None,
            faults: 0,
            asked: Instant::now(),
        };
        lock(&self.entries).insert(key.clone(), entry);
    }

    /// Notes that a call with this key failed in a way that says something about the key or the provider.
    pub fn failed(&self, key: &ConnectionKey, error: ProviderError) {
        let mut entries = lock(&self.entries);
        let now = Instant::now();
        let entry = entries.entry(key.clone()).or_insert(Entry {
            account: None,
            failure: None,
            faults: 0,
            asked: now,
        });
        entry.faults = entry.faults.saturating_add(1);
        entry.asked = now;
        let wait = if refuses(&error) {
            self.timing.refusal_wait(entry.faults)
        } else {
            self.timing.fault_wait(entry.faults)
        };
        let wait = wait.max(error.retry_after.unwrap_or_default());
        entry.failure = Some((error, now + wait));
    }

    /// Makes the next look ask the provider.
    pub fn doubt(&self, key: &ConnectionKey) {
        if let Some(entry) = lock(&self.entries).get_mut(key) {
            entry
                .failure
                .get_or_insert_with(|| (doubtful(), Instant::now()))
                .1 = Instant::now();
        }
    }

    /// Forgets a key that nobody uses any more.
    pub fn forget(&self, key: &ConnectionKey) {
        lock(&self.entries).remove(key);
        lock(&self.asking).remove(key);
    }
}

/// Whether an error says that the key, not the provider, is the problem.
pub fn refuses(error: &ProviderError) -> bool {
    match error.class {
        ErrorClass::Unauthorized
        | ErrorClass::Forbidden
        | ErrorClass::QuotaExhausted
        | ErrorClass::InvalidRequest
        | ErrorClass::NotFound => true,
        ErrorClass::Conflict
        | ErrorClass::RateLimited
        | ErrorClass::Unavailable
        | ErrorClass::Intermediary
        | ErrorClass::Timeout
        | ErrorClass::Unknown
        | ErrorClass::Protocol => false,
    }
}

fn doubtful() -> ProviderError {
    ProviderError::unsent(ErrorClass::Unauthorized, "the key is being checked again")
}
