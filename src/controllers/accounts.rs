//! Who each key belongs to: asked once, shared by every session of that key, asked again when there is reason to doubt.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use jiff::Timestamp;

use crate::domain::remote::{Account, ErrorClass, ProviderError, Subject};
use crate::domain::send::scope::LaunchScope;
use crate::domain::timing::Timing;
use crate::providers::contract::Provider;
use crate::runtime::lock::lock;

/// Tells a connection from others: provider, endpoint, tenant and credential.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnectionKey(pub String);

/// What is known of a key.
#[derive(Clone, Debug)]
pub enum CredentialState {
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

/// Longest time until one launch tries again whether a refusal still holds that others wait for: a repository or a model is
/// mended at the provider, of which nobody is told.
const LONGEST_HOLD: Duration = Duration::from_secs(1800);

/// Why a launch is not tried for now.
#[derive(Clone, Debug)]
pub struct Hold {
    /// What the launches that wait have in common.
    pub scope: LaunchScope,
    /// The provider's words.
    pub error: ProviderError,
    /// How long until one launch tries again.
    pub again: Duration,
    /// The same as a time of day.
    pub again_at: Timestamp,
}

#[derive(Clone, Debug)]
struct Failure {
    error: ProviderError,
    until: Instant,
    until_at: Timestamp,
}

impl Failure {
    fn new(error: ProviderError, wait: Duration, now: Instant) -> Self {
        Self {
            error,
            until: now + wait,
            until_at: Timestamp::now() + wait,
        }
    }

    fn left(&self) -> Duration {
        self.until.saturating_duration_since(Instant::now())
    }
}

#[derive(Clone, Debug)]
struct Entry {
    /// The last answer that named an account; it outlives outages.
    account: Option<Account>,
    failure: Option<Failure>,
    faults: i32,
    /// When a check was last answered, well or not.
    checked: Option<Instant>,
    /// When the provider last did what was asked with this key.
    worked: Option<Instant>,
    /// Whether something happened since that the last check does not know of.
    doubted: bool,
    /// Refusals of launches that others would meet as well.
    holds: HashMap<LaunchScope, Refused>,
    /// The CodeAgents, with their generations, that had a launch to try.
    agents: HashSet<String>,
}

/// Launches that have something in common were refused because of it.
#[derive(Clone, Debug)]
struct Refused {
    failure: Failure,
    /// How many in a row.
    count: i32,
    /// The session that tries whether that is over.
    prober: Option<String>,
}

impl Refused {
    /// Whether this session may try, now or because it does so already.
    fn admits(&self, uid: &str) -> bool {
        self.failure.left().is_zero() || self.prober.as_deref() == Some(uid)
    }
}

impl Entry {
    fn new() -> Self {
        Self {
            account: None,
            failure: None,
            faults: 0,
            checked: None,
            worked: None,
            doubted: false,
            holds: HashMap::new(),
            agents: HashSet::new(),
        }
    }
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
    pub fn state_of(&self, key: &ConnectionKey) -> Option<CredentialState> {
        let entries = lock(&self.entries);
        let entry = entries.get(key).filter(|entry| !entry.doubted)?;
        match &entry.failure {
            None => entry.account.clone().map(CredentialState::Accepted),
            Some(failure) => {
                let again = failure.left();
                if again.is_zero() {
                    return None;
                }
                let error = failure.error.clone();
                Some(if refuses(&error) {
                    CredentialState::Refused { error, again }
                } else {
                    CredentialState::Unreachable { error, again }
                })
            }
        }
    }

    /// When the key is asked about again, if it is refused or could not be asked.
    pub fn again_at(&self, key: &ConnectionKey) -> Option<Timestamp> {
        let entries = lock(&self.entries);
        let failure = entries.get(key)?.failure.as_ref()?;
        Some(failure.until_at)
    }

    /// The account that the key was last seen to belong to, whatever has happened since.
    pub fn last_account(&self, key: &ConnectionKey) -> Option<Account> {
        lock(&self.entries)
            .get(key)
            .and_then(|entry| entry.account.clone())
    }

    /// How long ago a check of the key was last answered.
    pub fn age(&self, key: &ConnectionKey) -> Option<Duration> {
        let entries = lock(&self.entries);
        entries.get(key)?.checked.map(|checked| checked.elapsed())
    }

    /// How long ago the provider last did what was asked with this key, whatever that was.
    pub fn worked_for(&self, key: &ConnectionKey) -> Option<Duration> {
        let entries = lock(&self.entries);
        entries.get(key)?.worked.map(|worked| worked.elapsed())
    }

    /// Asks the provider, once for all who want to know at the same time, unless it has answered within `older_than`; and only if
    /// this process `may_begin` something when its turn has come: the lead may have gone while it waited.
    pub async fn ask(
        &self,
        key: &ConnectionKey,
        provider: &dyn Provider,
        older_than: Duration,
        may_begin: &(dyn Fn() -> bool + Sync),
    ) {
        let asked = Instant::now();
        let turn = Arc::clone(lock(&self.asking).entry(key.clone()).or_default());
        let _turn = turn.lock().await;
        let answered = lock(&self.entries)
            .get(key)
            .filter(|entry| !entry.doubted)
            .and_then(|entry| entry.checked);
        // Whoever waited for a turn finds the answer there.
        let new_enough = answered.is_some_and(|at| at >= asked || at.elapsed() <= older_than);
        if (new_enough && self.state_of(key).is_some()) || !may_begin() {
            return;
        }
        if let Some(entry) = lock(&self.entries).get_mut(key) {
            // A doubt that comes while the provider is being asked stays.
            entry.doubted = false;
        }
        match provider.verify().await {
            Ok(account) => self.accepted(key, account),
            Err(error) => {
                let now = Instant::now();
                self.fail(key, error);
                if let Some(entry) = lock(&self.entries).get_mut(key) {
                    entry.checked = Some(now);
                }
            }
        }
    }

    fn accepted(&self, key: &ConnectionKey, account: Account) {
        let mut entries = lock(&self.entries);
        let entry = entries.entry(key.clone()).or_insert_with(Entry::new);
        let now = Instant::now();
        entry.account = Some(account);
        entry.failure = None;
        entry.faults = 0;
        entry.checked = Some(now);
        entry.worked = Some(now);
    }

    /// A call with this key did what was asked: whatever was said against the key, or of an outage, is over.
    pub fn worked(&self, key: &ConnectionKey) {
        if let Some(entry) = lock(&self.entries).get_mut(key) {
            entry.worked = Some(Instant::now());
            // What a call does not show: that the account's coding agent is there, or that a Job would be taken.
            let kept = entry.failure.take_if(|failure| {
                !matches!(
                    failure.error.subject,
                    Some(Subject::CodingAgent | Subject::Pod)
                )
            });
            if kept.is_some() {
                entry.faults = 0;
            }
        }
    }

    /// Notes that a call with this key failed in a way that says something about the key or the provider.
    pub fn failed(&self, key: &ConnectionKey, error: ProviderError) {
        self.fail(key, error);
    }

    fn fail(&self, key: &ConnectionKey, error: ProviderError) {
        let mut entries = lock(&self.entries);
        let now = Instant::now();
        let entry = entries.entry(key.clone()).or_insert_with(Entry::new);
        let stands = entry.failure.as_ref().is_some_and(|failure| {
            failure.until > now && refuses(&failure.error) == refuses(&error)
        });
        // Many calls that meet the same fault, or a check that came early, are one fault.
        if !stands {
            entry.faults = entry.faults.saturating_add(1);
        }
        let wait = if refuses(&error) {
            self.timing.refusal_wait(entry.faults)
        } else {
            self.timing.fault_wait(entry.faults)
        };
        let wait = wait.max(error.retry_after.unwrap_or_default());
        entry.failure = Some(Failure::new(error, wait, now));
    }

    /// Makes the next look ask the provider, unless the key is refused as it is.
    pub fn doubt(&self, key: &ConnectionKey) {
        if let Some(entry) = lock(&self.entries).get_mut(key) {
            let refused = entry
                .failure
                .as_ref()
                .is_some_and(|failure| refuses(&failure.error) && !failure.left().is_zero());
            entry.doubted |= !refused;
        }
    }

    /// Makes the next look ask the provider if something went wrong with this key: what it is used with has changed.
    pub fn ask_anew_if_failed(&self, key: &ConnectionKey) {
        if let Some(entry) = lock(&self.entries).get_mut(key) {
            entry.doubted |= entry.failure.is_some();
        }
    }

    /// A launch was refused for a reason that others of this scope would meet: they wait, and one tries again.
    pub fn hold_launches(&self, key: &ConnectionKey, scope: LaunchScope, error: ProviderError) {
        let mut entries = lock(&self.entries);
        let now = Instant::now();
        let entry = entries.entry(key.clone()).or_insert_with(Entry::new);
        let before = entry.holds.get(&scope);
        let stands = before.is_some_and(|hold| hold.failure.until > now);
        let count = before.map_or(0, |hold| hold.count);
        let count = if stands {
            count
        } else {
            count.saturating_add(1)
        };
        let wait = self.timing.refusal_wait(count).min(LONGEST_HOLD);
        let wait = wait.max(error.retry_after.unwrap_or_default());
        let refused = Refused {
            failure: Failure::new(error, wait, now),
            count,
            prober: None,
        };
        entry.holds.insert(scope, refused);
    }

    /// A launch of these scopes was not refused; answers whether others waited.
    pub fn release_launches(&self, key: &ConnectionKey, scopes: &[LaunchScope]) -> bool {
        let mut entries = lock(&self.entries);
        let Some(entry) = entries.get_mut(key) else {
            return false;
        };
        let before = entry.holds.len();
        entry.holds.retain(|scope, _| !scopes.contains(scope));
        entry.holds.len() < before
    }

    /// Why a launch of these scopes waits, if it does: what it waits for longest.
    pub fn held(&self, key: &ConnectionKey, scopes: &[LaunchScope]) -> Option<Hold> {
        let entries = lock(&self.entries);
        let holds = &entries.get(key)?.holds;
        let (scope, hold) = scopes
            .iter()
            .filter_map(|scope| holds.get_key_value(scope))
            .max_by_key(|(_, hold)| hold.failure.until)?;
        Some(Hold {
            scope: scope.clone(),
            error: hold.failure.error.clone(),
            again: hold.failure.left(),
            again_at: hold.failure.until_at,
        })
    }

    /// A session of this CodeAgent (`uid/generation`) would launch. The first one tries even if launches are held: whoever makes or
    /// changes a CodeAgent wants to know at once whether that has helped.
    pub fn note_agent(&self, key: &ConnectionKey, agent: String) {
        let mut entries = lock(&self.entries);
        let entry = entries.entry(key.clone()).or_insert_with(Entry::new);
        if entry.agents.insert(agent) {
            for hold in entry.holds.values_mut() {
                hold.failure.until = Instant::now();
            }
        }
    }

    /// Whether the session with this uid may try a launch of these scopes although they are held: one does when the wait is over,
    /// over as many passes as its launch takes. If nothing comes of it, another may after [`Timing::recheck`].
    pub fn may_probe(&self, key: &ConnectionKey, scopes: &[LaunchScope], uid: &str) -> bool {
        let mut entries = lock(&self.entries);
        let Some(entry) = entries.get_mut(key) else {
            return true;
        };
        let holding = |scope: &&LaunchScope| {
            let hold = entry.holds.get(*scope);
            hold.is_some_and(|hold| !hold.admits(uid))
        };
        if scopes.iter().any(|scope| holding(&scope)) {
            return false;
        }
        for scope in scopes {
            if let Some(hold) = entry.holds.get_mut(scope)
                && hold.failure.left().is_zero()
            {
                hold.failure.until = Instant::now() + self.timing.recheck;
                hold.prober = Some(uid.to_owned());
            }
        }
        true
    }

    /// Forgets a key that nobody uses any more.
    pub fn forget(&self, key: &ConnectionKey) {
        lock(&self.entries).remove(key);
        lock(&self.asking).remove(key);
    }
}

/// Whether an error says that the key, not the provider or what lies between, is the problem. `NotFound` and `InvalidRequest`
/// of a check are about the endpoint, unless the account's coding agent is what is missing.
pub fn refuses(error: &ProviderError) -> bool {
    match error.class {
        ErrorClass::Unauthorized | ErrorClass::Forbidden | ErrorClass::QuotaExhausted => true,
        ErrorClass::InvalidRequest | ErrorClass::NotFound => {
            matches!(error.subject, Some(Subject::CodingAgent | Subject::Pod))
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]
    use std::sync::atomic::Ordering;

    use super::*;
    use crate::controllers::testing::{Scripted, account};

    fn key() -> ConnectionKey {
        ConnectionKey("cursor/v1@https://api.example.com/#key".to_owned())
    }

    fn error(class: ErrorClass) -> ProviderError {
        ProviderError::unsent(class, "no")
    }

    fn accounts() -> Accounts {
        Accounts::new(Timing::default())
    }

    fn wait_of(accounts: &Accounts) -> Duration {
        match accounts.state_of(&key()) {
            Some(
                CredentialState::Refused { again, .. } | CredentialState::Unreachable { again, .. },
            ) => again,
            other => panic!("{other:?}"),
        }
    }

    /// Forty who want to know at the same time, with a provider that takes its time: one request, and one fault.
    #[tokio::test(start_paused = true)]
    async fn those_who_wait_share_one_check() {
        for answer in [Ok(account()), Err(error(ErrorClass::Unauthorized))] {
            let accounts = accounts();
            let provider = Scripted::verifying(answer, Duration::from_secs(1));
            let key = key();
            let asks = (0..40).map(|_| accounts.ask(&key, &provider, Duration::ZERO, &|| true));
            futures::future::join_all(asks).await;
            assert_eq!(provider.verified.load(Ordering::SeqCst), 1);
        }
    }

    #[tokio::test]
    async fn a_doubt_asks_at_once_and_does_not_multiply_the_wait() {
        let accounts = accounts();
        let provider = Scripted::verifying(Err(error(ErrorClass::Unauthorized)), Duration::ZERO);
        accounts
            .ask(&key(), &provider, Duration::ZERO, &|| true)
            .await;
        let first = wait_of(&accounts);
        for _ in 0..4 {
            accounts.doubt(&key());
            // It is refused as it is: nothing is asked.
            assert!(accounts.state_of(&key()).is_some());
            accounts.ask_anew_if_failed(&key());
            assert!(accounts.state_of(&key()).is_none());
            accounts
                .ask(&key(), &provider, Duration::ZERO, &|| true)
                .await;
        }
        assert!(wait_of(&accounts) <= first + Duration::from_secs(1));
        assert_eq!(provider.verified.load(Ordering::SeqCst), 5);
    }

    #[tokio::test]
    async fn any_success_with_the_key_clears_what_was_said_against_it() {
        let accounts = accounts();
        let good = Scripted::verifying(Ok(account()), Duration::ZERO);
        accounts.ask(&key(), &good, Duration::ZERO, &|| true).await;
        for class in [ErrorClass::Forbidden, ErrorClass::Unavailable] {
            accounts.failed(&key(), error(class));
            assert!(!matches!(
                accounts.state_of(&key()),
                Some(CredentialState::Accepted(_))
            ));
            accounts.worked(&key());
            assert!(matches!(
                accounts.state_of(&key()),
                Some(CredentialState::Accepted(_))
            ));
        }
    }

    #[test]
    fn many_calls_that_meet_one_outage_are_one_fault() {
        let accounts = accounts();
        for _ in 0..80 {
            accounts.failed(&key(), error(ErrorClass::Unavailable));
        }
        assert!(wait_of(&accounts) <= Timing::default().fault_wait(1));
    }

    /// Only what says something of the key waits as for somebody who has to mend it.
    #[test]
    fn the_key_the_endpoint_and_the_network_are_told_apart() {
        for (class, key_is_at_fault) in [
            (ErrorClass::Unauthorized, true),
            (ErrorClass::Forbidden, true),
            (ErrorClass::QuotaExhausted, true),
            (ErrorClass::NotFound, false),
            (ErrorClass::InvalidRequest, false),
            (ErrorClass::Unavailable, false),
            (ErrorClass::Protocol, false),
        ] {
            assert_eq!(refuses(&error(class)), key_is_at_fault, "{class:?}");
        }
        let mut agent = error(ErrorClass::NotFound);
        agent.subject = Some(Subject::CodingAgent);
        assert!(refuses(&agent));
    }

    #[test]
    fn one_launch_at_a_time_tries_whether_a_refusal_still_holds() {
        let accounts = Accounts::new(Timing {
            refusal_wait_min: Duration::from_millis(20),
            ..Timing::default()
        });
        let all = [LaunchScope::Account];
        let probe = |uid: &str| accounts.may_probe(&key(), &all, uid);
        let refuse =
            || accounts.hold_launches(&key(), all[0].clone(), error(ErrorClass::QuotaExhausted));
        assert!(probe("a"));
        assert!(probe("b"));
        for _ in 0..10 {
            refuse();
        }
        assert!(!probe("a"));
        std::thread::sleep(Duration::from_millis(25));
        assert_eq!((0..100).filter(|n| probe(&n.to_string())).count(), 1);
        assert!(probe("0"), "its launch takes several passes");
        // A CodeAgent that is made or changed lets one try at once.
        refuse();
        accounts.note_agent(&key(), "uid/1".to_owned());
        accounts.note_agent(&key(), "uid/1".to_owned());
        assert_eq!((0..100).filter(|n| probe(&n.to_string())).count(), 1);
        assert!(probe("0"), "its launch takes several passes");
        assert!(accounts.release_launches(&key(), &all));
        assert!(probe("a") && accounts.held(&key(), &all).is_none());
        assert!(!accounts.release_launches(&key(), &all));
    }

    #[test]
    fn a_refusal_holds_only_what_it_is_about_and_no_longer_than_half_an_hour() {
        let accounts = accounts();
        let repository = |name: &str| LaunchScope::Repository(name.to_owned());
        let model = LaunchScope::Model("auto".to_owned());
        let (mine, other) = (
            [LaunchScope::Account, repository("app"), model.clone()],
            [LaunchScope::Account, repository("web"), model],
        );
        let refuse =
            || accounts.hold_launches(&key(), repository("app"), error(ErrorClass::InvalidRequest));
        for change in 0..20 {
            refuse();
            // The CodeAgent changes each time, and one tries.
            accounts.note_agent(&key(), format!("uid/{change}"));
            assert!(accounts.held(&key(), &mine).unwrap().again.is_zero());
        }
        assert!(accounts.may_probe(&key(), &mine, "a"));
        assert!(!accounts.may_probe(&key(), &mine, "b"));
        assert!(accounts.may_probe(&key(), &other, "c"));
        accounts.note_agent(&key(), "uid/20".to_owned());
        refuse();
        let again = accounts.held(&key(), &mine).unwrap().again;
        assert!(
            again <= LONGEST_HOLD && again > LONGEST_HOLD / 2,
            "{again:?}"
        );
        let hold = accounts.held(&key(), &mine).unwrap();
        assert_eq!(hold.scope, repository("app"));
        assert!(accounts.held(&key(), &other).is_none());
        // A launch elsewhere proves nothing of this one.
        assert!(!accounts.release_launches(&key(), &other));
        assert!(accounts.release_launches(&key(), &mine));
    }
}
