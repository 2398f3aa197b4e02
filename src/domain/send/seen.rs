//! What this process has seen of a send, beside what is stored. All of it may be lost: then it is found out again.

use std::time::Duration;

use super::Clock;
use crate::domain::ids::AccountFingerprint;
use crate::domain::remote::{ProviderError, ScanState};

/// What lookups of a send have shown so far.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Lookups {
    /// The account that looked. What one account does not see says nothing of another (rule 4).
    pub account: Option<AccountFingerprint>,
    /// When, by uptime, each complete lookup that found nothing was begun, oldest first.
    pub absent: Vec<Duration>,
    /// When, by uptime, the newest complete lookup was begun that tells neither that it is there nor that it is not.
    pub fruitless: Option<Duration>,
    /// Rounds in a row that came to their end without a verdict: each makes the next one wait longer.
    pub inconclusive: i32,
    /// Lookups in a row that failed or told nothing. They are counted here and not with what else goes wrong, because what goes
    /// well in between, such as a check of the key, says nothing of the next lookup.
    pub fruitless_in_a_row: i32,
    /// Why the newest lookup left the question open.
    pub unclear: Option<Unclear>,
    /// When, by uptime, the scan under way was begun.
    pub begun: Option<Duration>,
    /// How far it has come.
    pub resume: Option<ScanState>,
    /// When, by uptime, the newest lookup ended.
    pub last: Option<Duration>,
}

/// Why a lookup left the question open.
#[derive(Clone, Debug, PartialEq)]
pub enum Unclear {
    /// It got no answer.
    Failed(ProviderError),
    /// Its answer fits both. The words are for people.
    Undecided(String),
}

impl Lookups {
    /// How long it is until the next look before a request, with why it is waited for; `None` if the look is due. Whoever wakes the
    /// session, the same look at once would show the same.
    pub fn wait_before_sending(&self, clock: Clock<'_>) -> Option<(&Unclear, Duration)> {
        let (unclear, last) = (self.unclear.as_ref()?, self.last?);
        if self.goes_on() {
            return None;
        }
        let pace = match unclear {
            Unclear::Failed(error) => clock
                .timing
                .fault_wait(self.fruitless_in_a_row)
                .max(error.retry_after.unwrap_or_default()),
            Unclear::Undecided(_) => clock.timing.inconclusive_wait(self.inconclusive),
        };
        let left = (last + pace).checked_sub(clock.uptime);
        left.filter(|left| !left.is_zero())
            .map(|left| (unclear, left))
    }

    /// Whether a scan is in the middle of a list: it goes on at once.
    pub fn goes_on(&self) -> bool {
        self.resume.as_ref().is_some_and(|scan| !scan.begin_anew)
    }
}

/// The baseline of a launch, as it was read: what was there before.
#[derive(Clone, Debug, PartialEq)]
pub struct BaselineRead {
    /// The account that looked.
    pub account: AccountFingerprint,
    /// When, by uptime, it was begun.
    pub begun: Duration,
    /// When, by uptime, its answer was there: it may have waited long for its turn at a key that is used by many.
    pub ended: Duration,
    /// Readings in a row that failed, this one included.
    pub failures: i32,
    /// What later lookups are compared with; `Ok(None)` where there is nothing to compare.
    pub result: Result<Option<String>, ProviderError>,
}
