//! The template that a CodeAgent has at its provider, where sessions are launched from one: from what was observed to the
//! next step.
//!
//! [`decide`] is total, synchronous and deterministic, like that of sessions. A template costs nothing and two of them do
//! no harm (the oldest is used), yet none is made on purpose while an earlier try may still turn up:
//!
//! ```text
//! finalizer → find → claim → create → ready → (find → update) … → find → delete → finalizer released
//!               └── found ────────────┘
//! ```

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;

use super::remote::{ErrorClass, ProviderError};
use super::send::Clock;
use super::send::judge::Fence;
use super::status::{clip, whole_seconds};
use super::timing::{DeletionAge, Timing};
use crate::api::{Reason, TemplateState, TemplateStatus};

/// Everything that a decision about one CodeAgent's template depends on.
#[derive(Clone, Debug)]
pub struct Observed<'a> {
    /// Wall clock.
    pub now: Timestamp,
    /// Monotonic clock: time since this process started.
    pub uptime: Duration,
    /// Generation of the CodeAgent's spec.
    pub generation: i64,
    /// When the CodeAgent's deletion was asked for.
    pub deleting: Option<Timestamp>,
    /// Whether the CodeAgent carries the finalizer of its template.
    pub has_finalizer: bool,
    /// What is recorded.
    pub record: Option<&'a TemplateStatus>,
    /// Where the template belongs.
    pub place: &'a Place,
    /// What this process has seen of it.
    pub seen: &'a Seen,
    /// Templates under which sessions are active, by id.
    pub in_use: &'a BTreeMap<String, Use>,
    /// How often a template that is there is looked at again.
    pub recheck: Duration,
    /// A claim id for the case that one is needed; drawn outside, because decisions have no randomness.
    pub fresh_claim_id: &'a str,
    /// The durations.
    pub timing: &'a Timing,
}

/// Where a template belongs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// Nowhere: the CodeAgent's provider has no templates.
    Nowhere,
    /// With this account.
    At(Site),
    /// Its provider cannot be asked.
    Barred {
        /// Why, for people.
        why: String,
        /// Whether it may pass by itself.
        transient: bool,
        /// When it is worth looking again.
        again: Duration,
    },
}

/// An account of a provider.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Site {
    /// The base URL.
    pub endpoint: String,
    /// Digest of the account.
    pub account: String,
}

impl Site {
    /// Whether a template is recorded as being here.
    pub fn has(&self, record: &TemplateStatus) -> bool {
        record.endpoint == self.endpoint && record.account == self.account
    }
}

/// Whether sessions that are active under a template are about to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    /// All of them are being deleted.
    Leaving,
    /// So many stay, by what the watch has shown: it may be behind.
    Unconfirmed(usize),
    /// So many stay, and at least one of them does by what the API server says now.
    Staying(usize),
}

/// What a process has seen of a CodeAgent's template. May be lost: then it is seen again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// When, by uptime, the recorded claim was first seen, by its id.
    pub claim: Option<(String, Duration)>,
    /// When, by uptime, it was first seen that the CodeAgent is being deleted.
    pub deletion: Option<Duration>,
    /// The newest lookup.
    pub lookup: Option<Lookup>,
    /// The template that a lookup has shown: one that is in no later list is gone.
    pub listed: Option<String>,
    /// The newest failure, until something succeeds.
    pub failure: Option<Failure>,
}

/// A lookup of the template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lookup {
    /// When, by uptime, it was begun.
    pub begun: Duration,
    /// The generation of the spec that what was found was compared with.
    pub generation: i64,
    /// Where it was looked for.
    pub site: Site,
    /// What was found.
    pub found: Option<Found>,
    /// Ids of templates that may be it but show no mark.
    pub unmarked: Vec<String>,
}

/// A template that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The provider's id.
    pub id: String,
    /// Whether it says what is wanted.
    pub up_to_date: bool,
}

/// A request that failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// How many in a row.
    pub count: i32,
    /// Nothing is asked before this, by uptime.
    pub until: Duration,
    /// The generation of the spec that failed.
    pub generation: i64,
    /// Where.
    pub site: Site,
    /// Whether somebody has to mend it.
    pub refused: bool,
    /// Why, as one word.
    pub reason: Reason,
    /// Why, for people.
    pub message: String,
}

/// The next step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Nothing until this time has passed or something changes.
    Rest {
        /// When to look again.
        again: Duration,
        /// How the template stands.
        health: TemplateHealth,
    },
    /// Add the finalizer.
    AddFinalizer,
    /// Remove the finalizer, and say what is left at the provider.
    ReleaseFinalizer(Option<Leftover>),
    /// Read the sessions that are active under the template with this id: what leaves it behind is not taken back.
    ConfirmUse(String),
    /// Look for the template.
    Find,
    /// Store this claim, then make the template; say what is left elsewhere.
    Create(TemplateStatus, Option<Leftover>),
    /// Make the template that was found say what is wanted.
    Update,
    /// Delete the template with this id.
    Delete(String),
    /// Record this.
    Record(TemplateStatus),
    /// Record nothing any more, and say what is left at the provider.
    Forget(Leftover),
}

/// A template that stays at its provider although nobody keeps it any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leftover {
    /// Its id, where it is known.
    pub id: Option<String>,
    /// Why.
    pub why: String,
}

/// How a template stands, for the conditions of its CodeAgent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TemplateHealth {
    /// None is needed.
    NotNeeded,
    /// Sessions can be launched from it.
    Ready,
    /// It is not there yet; it goes on by itself.
    Pending {
        /// Why, as one word.
        reason: Reason,
        /// For people.
        message: String,
    },
    /// The provider refuses to make or change it.
    Refused {
        /// For people.
        message: String,
        /// Whether sessions can be launched from it as it is.
        usable: bool,
    },
}

/// The next step for a CodeAgent's template.
pub fn decide(o: &Observed<'_>) -> Step {
    if o.deleting.is_some() {
        return finalize(o);
    }
    let site = match o.place {
        Place::At(site) => site,
        Place::Nowhere => return give_up(o),
        Place::Barred { again, .. } => return rest(*again, pending()),
    };
    if let Some((failure, wait)) = held(o, site) {
        return rest(wait, health_after(o, site, failure));
    }
    if !o.has_finalizer {
        return Step::AddFinalizer;
    }
    let Some(lookup) = current_lookup(o, site) else {
        return Step::Find;
    };
    match &lookup.found {
        Some(found) if !found.up_to_date => Step::Update,
        Some(found) => found_ready(o, site, lookup, found),
        None => match shown_without_mark(o, site, lookup) {
            Some(found) => found_ready(o, site, lookup, &found),
            None => missing(o, site, lookup),
        },
    }
}

fn rest(again: Duration, health: TemplateHealth) -> Step {
    Step::Rest { again, health }
}

fn pending() -> TemplateHealth {
    TemplateHealth::Pending {
        reason: Reason::WaitingForTemplate,
        message: "waits for the template that sessions are launched from".to_owned(),
    }
}

/// The provider has no templates: what is recorded belongs to one that the CodeAgent had before.
fn give_up(o: &Observed<'_>) -> Step {
    match o.record {
        Some(record) => Step::Forget(Leftover {
            id: record.id.clone(),
            why: format!(
                "the CodeAgent has another provider now than {}",
                record.endpoint
            ),
        }),
        None if o.has_finalizer => Step::ReleaseFinalizer(None),
        None => rest(o.recheck, TemplateHealth::NotNeeded),
    }
}

/// After a failure nothing is asked until its time is up or its circumstances change.
fn held<'a>(o: &Observed<'a>, site: &Site) -> Option<(&'a Failure, Duration)> {
    let failure = o.seen.failure.as_ref()?;
    let wait = failure.until.checked_sub(o.uptime).filter(|wait| {
        !wait.is_zero() && failure.generation == o.generation && failure.site == *site
    })?;
    Some((failure, wait))
}

fn health_after(o: &Observed<'_>, site: &Site, failure: &Failure) -> TemplateHealth {
    let usable = o
        .record
        .is_some_and(|record| record.state == TemplateState::Ready && site.has(record));
    match (failure.refused, usable) {
        (true, usable) => TemplateHealth::Refused {
            message: failure.message.clone(),
            usable,
        },
        // What is there is not made worse by a lookup that failed.
        (false, true) => TemplateHealth::Ready,
        (false, false) => TemplateHealth::Pending {
            reason: failure.reason,
            message: failure.message.clone(),
        },
    }
}

/// The newest lookup, if it still tells how things are.
fn current_lookup<'a>(o: &Observed<'a>, site: &Site) -> Option<&'a Lookup> {
    let lookup = o.seen.lookup.as_ref()?;
    let age = o.uptime.saturating_sub(lookup.begun);
    let good_for = match lookup.found {
        Some(_) => o.recheck,
        None => o.timing.consistency_window,
    };
    (lookup.generation == o.generation && lookup.site == *site && age < good_for).then_some(lookup)
}

fn found_ready(o: &Observed<'_>, site: &Site, lookup: &Lookup, found: &Found) -> Step {
    let age = o.uptime.saturating_sub(lookup.begun);
    let made = o.record.filter(|record| {
        // The claim is kept with the template that came of it: until a list has shown it, its absence means little.
        record.claim_id.is_some()
            && o.seen.listed.as_ref() != Some(&found.id)
            && site.has(record)
            && record.id.as_ref().is_none_or(|id| *id == found.id)
    });
    let ready = TemplateStatus {
        state: TemplateState::Ready,
        id: Some(found.id.clone()),
        endpoint: site.endpoint.clone(),
        account: site.account.clone(),
        claim_id: made.and_then(|record| record.claim_id.clone()),
        claimed_at: made.and_then(|record| record.claimed_at),
        observed_generation: Some(o.generation),
    };
    if o.record == Some(&ready) {
        rest(o.recheck.saturating_sub(age), TemplateHealth::Ready)
    } else {
        Step::Record(ready)
    }
}

/// The template that we made, by its id, where the provider has never shown it with its mark: it does not show marks, or cuts them.
/// One that it has shown with its mark was taken by a person, who took the mark away.
fn shown_without_mark(o: &Observed<'_>, site: &Site, lookup: &Lookup) -> Option<Found> {
    let record = o
        .record
        .filter(|record| record.claim_id.is_some() && site.has(record))?;
    let id = record
        .id
        .as_ref()
        .filter(|id| lookup.unmarked.contains(id) && o.seen.listed.as_ref() != Some(id))?;
    Some(Found {
        id: id.clone(),
        // What it says cannot be told from what people made of it, and a launch says everything itself.
        up_to_date: true,
    })
}

/// It was not found: it is made, unless an earlier try may still turn up.
fn missing(o: &Observed<'_>, site: &Site, lookup: &Lookup) -> Step {
    let age = o.uptime.saturating_sub(lookup.begun);
    let settled_for = match o.record {
        None => None,
        Some(record) => match settled(o, record) {
            Settled::For(since) => Some(since),
            Settled::In(wait) => {
                let pace = o.timing.consistency_window.saturating_sub(age);
                return rest(pace.min(wait), unknown_outcome());
            }
        },
    };
    // What was seen before the earlier try had to be visible says nothing of it.
    if settled_for.is_some_and(|since| since < age) {
        return Step::Find;
    }
    let elsewhere = o
        .record
        .filter(|record| record.id.is_some() && !site.has(record));
    let claim = TemplateStatus {
        state: TemplateState::Claimed,
        id: None,
        endpoint: site.endpoint.clone(),
        account: site.account.clone(),
        claim_id: Some(o.fresh_claim_id.to_owned()),
        claimed_at: Some(whole_seconds(o.now)),
        observed_generation: None,
    };
    let left = match (elsewhere, lookup.unmarked.first(), o.record) {
        (Some(record), _, _) => Some(Leftover {
            id: record.id.clone(),
            why: "the CodeAgent's key or organisation is another one now and does not see it"
                .to_owned(),
        }),
        // Without an earlier try it is nobody's business.
        (None, Some(id), Some(_)) => Some(Leftover {
            id: Some(id.clone()),
            why: "it may be this CodeAgent's, but its name does not show our mark: another one is made"
                .to_owned(),
        }),
        (None, _, _) => None,
    };
    Step::Create(claim, left)
}

fn unknown_outcome() -> TemplateHealth {
    TemplateHealth::Pending {
        reason: Reason::WaitingForTemplate,
        message: "it is not known whether the template that sessions are launched from was made; it is being looked for"
            .to_owned(),
    }
}

/// Whether everything that came of a try to make the template must be visible by now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Settled {
    /// Since so long.
    For(Duration),
    /// Only after this.
    In(Duration),
}

/// By one's own monotonic clock since one first saw the claim, or by wall clock with a margin, whichever is earlier.
fn settled(o: &Observed<'_>, record: &TemplateStatus) -> Settled {
    let (Some(claim), Some(claimed_at)) = (&record.claim_id, record.claimed_at) else {
        return Settled::For(Duration::MAX);
    };
    if record.id.is_some() && record.id == o.seen.listed {
        return Settled::For(Duration::MAX);
    }
    let first_seen = o.seen.claim.as_ref().filter(|(id, _)| id == claim);
    let fence = Fence {
        length: o.timing.fence(),
        not_after: claimed_at + o.timing.send_window,
        first_seen: first_seen.map(|(_, since)| *since),
    };
    let clock = Clock {
        now: o.now,
        uptime: o.uptime,
        timing: o.timing,
    };
    match fence.passed(clock) {
        Some(since) => Settled::For(since),
        None => Settled::In(fence.left(clock)),
    }
}

/// The CodeAgent is being deleted: its template goes first, if it can, and never holds it for ever.
fn finalize(o: &Observed<'_>) -> Step {
    if !o.has_finalizer {
        return rest(o.recheck, TemplateHealth::NotNeeded);
    }
    let Some(record) = o.record else {
        return Step::ReleaseFinalizer(None);
    };
    let leave = |id: Option<&String>, why: String| {
        Step::ReleaseFinalizer(Some(Leftover {
            id: id.or(record.id.as_ref()).cloned(),
            why,
        }))
    };
    let overdue = o.deleting.is_some_and(|since| {
        let age = DeletionAge {
            by_wall: Duration::try_from(o.now.duration_since(since)).unwrap_or_default(),
            since_seen: o
                .seen
                .deletion
                .map_or(Duration::ZERO, |seen| o.uptime.saturating_sub(seen)),
        };
        o.timing.until_deletion_bound(age).is_zero()
    });
    if overdue {
        return leave(None, "it could not be deleted in time".to_owned());
    }
    let used = record
        .id
        .as_ref()
        .and_then(|id| Some((id, o.in_use.get(id)?)));
    match used {
        Some((_, Use::Staying(count))) => return leave(None, in_use(*count)),
        Some((id, Use::Unconfirmed(_))) => return Step::ConfirmUse(id.clone()),
        Some((_, Use::Leaving)) | None => {}
    }
    let site = match o.place {
        Place::At(site) => site,
        Place::Nowhere => return leave(None, "the CodeAgent has another provider now".to_owned()),
        Place::Barred {
            why,
            transient: false,
            ..
        } => return leave(None, why.clone()),
        Place::Barred { why, again, .. } => return rest(*again, removing(why)),
    };
    match held(o, site) {
        Some((failure, _)) if failure.refused => return leave(None, failure.message.clone()),
        Some((failure, wait)) => return rest(wait, removing(&failure.message)),
        None => {}
    }
    let Some(lookup) = current_lookup(o, site) else {
        return Step::Find;
    };
    let found = lookup
        .found
        .clone()
        .or_else(|| shown_without_mark(o, site, lookup));
    match &found {
        Some(found) => match o.in_use.get(&found.id) {
            Some(Use::Staying(count)) => leave(Some(&found.id), in_use(*count)),
            Some(Use::Unconfirmed(_)) => Step::ConfirmUse(found.id.clone()),
            // Each of them wakes its CodeAgent when it goes.
            Some(Use::Leaving) => rest(
                o.timing.recheck,
                removing("sessions that run under it are being stopped"),
            ),
            None => Step::Delete(found.id.clone()),
        },
        None => match settled(o, record) {
            Settled::In(wait) => rest(
                o.timing
                    .consistency_window
                    .saturating_sub(o.uptime.saturating_sub(lookup.begun))
                    .min(wait),
                removing("it is not known whether it was made; it is being looked for"),
            ),
            Settled::For(_) if record.id.is_some() && !site.has(record) => leave(
                None,
                "the CodeAgent's key or organisation is another one now and does not see it"
                    .to_owned(),
            ),
            Settled::For(_) => Step::ReleaseFinalizer(None),
        },
    }
}

/// The CodeAgent is being deleted: what its template waits for.
fn removing(why: &str) -> TemplateHealth {
    TemplateHealth::Pending {
        reason: Reason::RemovingTemplate,
        message: format!("is being deleted, after its template at the provider: {why}"),
    }
}

fn in_use(count: usize) -> String {
    match count {
        1 => "a session is active under it".to_owned(),
        count => format!("{count} sessions are active under it"),
    }
}

/// What was asked of a provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// To find the template.
    Find,
    /// To make it.
    Create,
    /// To change it.
    Update,
    /// To delete it.
    Delete,
}

/// What follows from a request that failed. `nothing_done` says that the failure proves that nothing was changed.
pub fn failure(
    o: &Observed<'_>,
    site: &Site,
    request: Request,
    error: &ProviderError,
    nothing_done: bool,
) -> Failure {
    let count = o
        .seen
        .failure
        .as_ref()
        .map_or(0, |failure| failure.count)
        .saturating_add(1);
    let refused = match error.class {
        ErrorClass::InvalidRequest
        | ErrorClass::Forbidden
        | ErrorClass::NotFound
        | ErrorClass::QuotaExhausted => nothing_done,
        // The key is checked again, and what that shows is said instead.
        ErrorClass::Unauthorized
        | ErrorClass::Conflict
        | ErrorClass::RateLimited
        | ErrorClass::Unavailable
        | ErrorClass::Intermediary
        | ErrorClass::Timeout
        | ErrorClass::Unknown
        | ErrorClass::Protocol => false,
    };
    let wait = if refused {
        o.timing.refusal_wait(count)
    } else {
        o.timing.fault_wait(count)
    };
    let reason = if request == Request::Create && !nothing_done {
        Reason::WaitingForTemplate
    } else {
        error.outage()
    };
    let what = match request {
        Request::Find => "cannot be looked for",
        Request::Create if nothing_done => "cannot be made",
        Request::Create => "may or may not have been made",
        Request::Update => "cannot be changed",
        Request::Delete => "cannot be deleted",
    };
    Failure {
        count,
        until: o.uptime + wait.max(error.retry_after.unwrap_or_default()),
        generation: o.generation,
        site: site.clone(),
        refused,
        reason,
        message: clip(
            &format!("the template that sessions are launched from {what}: {error}"),
            768,
        ),
    }
}
