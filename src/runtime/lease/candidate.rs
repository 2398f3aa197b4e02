//! What a candidate does next, by what it knows of the Lease: pure, and by its own clock alone.

use std::time::Duration;

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use k8s_openapi::jiff::Timestamp;
use tokio::time::Instant;

use super::super::identity::original_uid;
use super::lead::Lost;
use super::times::Times;

/// What is known of the Lease.
#[derive(Clone, Debug)]
pub(super) struct Observed {
    /// `None`: it is not there.
    pub lease: Option<Lease>,
    /// Since when it has been as it is, by our clock.
    pub since: Instant,
}

impl Observed {
    pub fn spec(&self) -> Option<&LeaseSpec> {
        self.lease.as_ref().and_then(|lease| lease.spec.as_ref())
    }

    /// Who holds it; nobody, if it was released.
    fn holder(&self) -> Option<&str> {
        self.spec()
            .and_then(|spec| spec.holder_identity.as_deref())
            .filter(|holder| !holder.is_empty())
    }

    /// Takes note of the Lease as it is at `now`. Only another record is a sign of life, not another version: anybody may
    /// label a Lease.
    pub fn note(&mut self, lease: Option<Lease>, now: Instant) {
        let older = match (&lease, &self.lease) {
            (Some(new), Some(known)) => {
                new.metadata.uid == known.metadata.uid && version(new) < version(known)
            }
            (None, _) | (_, None) => false,
        };
        if older {
            // A watch lags behind what was read or written.
            return;
        }
        let record = |lease: &Option<Lease>| {
            lease
                .as_ref()
                .map(|lease| (lease.metadata.uid.clone(), lease.spec.clone()))
        };
        if record(&lease) != record(&self.lease) {
            self.since = now;
        }
        self.lease = lease;
    }
}

/// Versions of one object are numbers that grow.
fn version(lease: &Lease) -> Option<u64> {
    lease.metadata.resource_version.as_ref()?.parse().ok()
}

/// Whether we lead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    StandsBy,
    /// The last renewal that was stored was begun then.
    Leads {
        renewed: Instant,
    },
}

/// What to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Move {
    /// Make the Lease anew, as its holder.
    Create,
    /// Become its holder.
    Take,
    /// Stay its holder.
    Renew,
    /// It is somebody else's for so long, unless it changes.
    Wait(Duration),
    /// End.
    StepDown(Lost),
}

/// Who we are in the election.
#[derive(Clone, Debug)]
pub(super) struct Candidate {
    pub identity: String,
    /// The uid of the Lease that we know.
    pub original_uid: String,
    pub times: Times,
}

impl Candidate {
    /// What to do next.
    pub fn next(&self, role: Role, observed: &Observed, now: Instant) -> Move {
        if let Role::Leads { renewed } = role {
            let unrenewed = now.saturating_duration_since(renewed);
            if unrenewed >= self.times.renew_deadline {
                return Move::StepDown(Lost::NotRenewed(unrenewed));
            }
        }
        let Some(lease) = &observed.lease else {
            return match role {
                Role::Leads { .. } => Move::Create,
                // The leader makes it anew; if nobody does there is none.
                Role::StandsBy => match left(observed.since, self.times.lease, now) {
                    Some(left) => Move::Wait(left),
                    None => Move::Create,
                },
            };
        };
        if original_uid(lease) != self.original_uid {
            return Move::StepDown(Lost::Replaced);
        }
        match (observed.holder(), role) {
            (Some(holder), _) if holder == self.identity => Move::Renew,
            (None, _) => Move::Take,
            (Some(holder), Role::Leads { .. }) => Move::StepDown(Lost::Taken {
                by: holder.to_owned(),
            }),
            (Some(_), Role::StandsBy) => {
                // The holder says for how long it holds.
                let duration = observed
                    .spec()
                    .and_then(|spec| spec.lease_duration_seconds)
                    .and_then(|seconds| u64::try_from(seconds).ok())
                    .map_or(self.times.lease, Duration::from_secs);
                match left(observed.since, duration, now) {
                    Some(left) => Move::Wait(left),
                    None => Move::Take,
                }
            }
        }
    }

    /// The record of a holder.
    pub fn held(&self, before: Option<&LeaseSpec>, now: Timestamp) -> LeaseSpec {
        let mut spec = before.cloned().unwrap_or_default();
        if spec.holder_identity.as_ref() != Some(&self.identity) {
            spec.holder_identity = Some(self.identity.clone());
            spec.acquire_time = Some(MicroTime(now));
            spec.lease_transitions = Some(spec.lease_transitions.unwrap_or(0).saturating_add(1));
        }
        spec.lease_duration_seconds = Some(self.times.lease_seconds());
        spec.renew_time = Some(MicroTime(now));
        spec
    }
}

/// What is left of `duration` that began at `since`; nothing if it is over.
fn left(since: Instant, duration: Duration, now: Instant) -> Option<Duration> {
    duration
        .checked_sub(now.saturating_duration_since(since))
        .filter(|left| !left.is_zero())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

    use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

    use super::super::super::identity::ORIGINAL_UID;
    use super::*;

    const US: &str = "pod-a_1";
    const OTHER: &str = "pod-b_2";
    const UID: &str = "0a1b2c3d-0000-4000-8000-000000000000";

    fn candidate() -> Candidate {
        Candidate {
            identity: US.to_owned(),
            original_uid: UID.to_owned(),
            times: Times::default(),
        }
    }

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    /// A Lease held by `holder` for 15 s, in its `version`, renewed at `renewed` by the holder's clock.
    fn lease(holder: Option<&str>, version: u32, renewed: i64) -> Lease {
        Lease {
            metadata: ObjectMeta {
                uid: Some(UID.to_owned()),
                resource_version: Some(version.to_string()),
                ..ObjectMeta::default()
            },
            spec: holder.map(|holder| LeaseSpec {
                holder_identity: Some(holder.to_owned()),
                lease_duration_seconds: Some(15),
                lease_transitions: Some(3),
                acquire_time: Some(MicroTime(Timestamp::UNIX_EPOCH)),
                renew_time: Some(MicroTime(Timestamp::from_second(renewed).unwrap())),
                ..LeaseSpec::default()
            }),
        }
    }

    fn seen(lease: Option<Lease>, since: Instant) -> Observed {
        Observed { lease, since }
    }

    /// Who stands by takes what nobody holds at once, and what somebody holds only after it has not changed for as long as
    /// the holder said.
    #[test]
    fn who_stands_by() {
        let start = Instant::now();
        let short = {
            let mut short = lease(Some(OTHER), 1, 0);
            short.spec.as_mut().unwrap().lease_duration_seconds = Some(3);
            short
        };
        let table = [
            ("never held", Some(lease(None, 1, 0)), 0, Move::Take),
            ("released", Some(lease(Some(""), 1, 0)), 0, Move::Take),
            (
                "just seen",
                Some(lease(Some(OTHER), 1, 0)),
                0,
                Move::Wait(seconds(15)),
            ),
            (
                "unchanged for 14 s",
                Some(lease(Some(OTHER), 1, 0)),
                14,
                Move::Wait(seconds(1)),
            ),
            (
                "unchanged for 15 s",
                Some(lease(Some(OTHER), 1, 0)),
                15,
                Move::Take,
            ),
            (
                "the holder said 3 s",
                Some(short.clone()),
                2,
                Move::Wait(seconds(1)),
            ),
            ("the holder said 3 s, over", Some(short), 3, Move::Take),
            // The answer to our own write was lost.
            ("ours", Some(lease(Some(US), 1, 0)), 0, Move::Renew),
            // The leader makes it anew.
            ("deleted", None, 0, Move::Wait(seconds(15))),
            ("deleted, and nobody leads", None, 15, Move::Create),
        ];
        for (what, lease, after, expected) in table {
            let observed = seen(lease, start);
            let decided = candidate().next(Role::StandsBy, &observed, start + seconds(after));
            assert_eq!(decided, expected, "{what}");
        }
    }

    #[test]
    fn who_leads() {
        let start = Instant::now();
        let leads = Role::Leads { renewed: start };
        let ours = || Some(lease(Some(US), 1, 0));
        let lost = |lost| Move::StepDown(lost);
        let table = [
            ("ours", ours(), 2, Move::Renew),
            ("ours, the deadline not quite over", ours(), 9, Move::Renew),
            // Even if nobody has taken it: we were told to act no longer than this.
            (
                "ours, the deadline over",
                ours(),
                10,
                lost(Lost::NotRenewed(seconds(10))),
            ),
            (
                "somebody else's",
                Some(lease(Some(OTHER), 2, 0)),
                2,
                lost(Lost::Taken {
                    by: OTHER.to_owned(),
                }),
            ),
            (
                "emptied by hand",
                Some(lease(Some(""), 2, 0)),
                2,
                Move::Take,
            ),
            ("deleted", None, 2, Move::Create),
            (
                "deleted, the deadline over",
                None,
                11,
                lost(Lost::NotRenewed(seconds(11))),
            ),
        ];
        for (what, lease, after, expected) in table {
            let observed = seen(lease, start);
            let decided = candidate().next(leads, &observed, start + seconds(after));
            assert_eq!(decided, expected, "{what}");
        }
    }

    /// A Lease made anew by one that knew the first is the same; one made by somebody who did not is another, and so is
    /// the installation: everybody starts anew.
    #[test]
    fn a_lease_made_anew() {
        let start = Instant::now();
        let made_anew = |annotations: Option<&str>| {
            let mut anew = lease(Some(OTHER), 9, 0);
            anew.metadata.uid = Some("another".to_owned());
            anew.metadata.annotations =
                annotations.map(|original| [(ORIGINAL_UID.to_owned(), original.to_owned())].into());
            seen(Some(anew), start)
        };
        let decide = |role, observed: &Observed| candidate().next(role, observed, start);
        let leads = Role::Leads { renewed: start };
        for role in [Role::StandsBy, leads] {
            assert_eq!(
                decide(role, &made_anew(None)),
                Move::StepDown(Lost::Replaced)
            );
            assert_eq!(
                decide(role, &made_anew(Some("a third"))),
                Move::StepDown(Lost::Replaced)
            );
        }
        assert_eq!(
            decide(Role::StandsBy, &made_anew(Some(UID))),
            Move::Wait(seconds(15))
        );
    }

    /// Only the record is a sign of life, whatever it says about the time; and what lags behind is not news.
    #[test]
    fn what_counts_as_a_change() {
        let start = Instant::now();
        let later = start + seconds(5);
        let known = || seen(Some(lease(Some(OTHER), 5, 1000)), start);
        let since = |new| {
            let mut observed = known();
            observed.note(new, later);
            observed.since
        };
        let mut labelled = lease(Some(OTHER), 6, 1000);
        labelled.metadata.labels = Some([("a".to_owned(), "b".to_owned())].into());
        assert_eq!(since(Some(lease(Some(OTHER), 5, 1000))), start, "the same");
        assert_eq!(since(Some(labelled)), start, "labelled");
        assert_eq!(since(Some(lease(Some(OTHER), 6, 1002))), later, "renewed");
        assert_eq!(
            since(Some(lease(Some(OTHER), 6, 10))),
            later,
            "renewed by a clock that was set back"
        );
        assert_eq!(since(Some(lease(Some(US), 4, 990))), start, "older");
        assert_eq!(since(None), later, "deleted");
        let mut observed = known();
        observed.note(Some(lease(Some(US), 4, 990)), later);
        assert_eq!(observed.holder(), Some(OTHER));
    }

    #[test]
    fn what_a_holder_writes() {
        let now = Timestamp::from_second(5000).unwrap();
        let taken = candidate().held(lease(Some(OTHER), 1, 10).spec.as_ref(), now);
        assert_eq!(taken.holder_identity.as_deref(), Some(US));
        assert_eq!(taken.lease_duration_seconds, Some(15));
        assert_eq!(taken.lease_transitions, Some(4));
        assert_eq!(taken.acquire_time, Some(MicroTime(now)));
        assert_eq!(taken.renew_time, Some(MicroTime(now)));
        let later = Timestamp::from_second(5002).unwrap();
        let renewed = candidate().held(Some(&taken), later);
        assert_eq!(renewed.lease_transitions, Some(4));
        assert_eq!(renewed.acquire_time, Some(MicroTime(now)));
        assert_eq!(renewed.renew_time, Some(MicroTime(later)));
    }
}
