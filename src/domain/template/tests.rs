#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

use jiff::SignedDuration;

use super::super::remote::Sent;
use super::*;

const RECHECK: Duration = Duration::from_secs(600);

/// What is given; `Given::new()` is a CodeAgent with the finalizer and an account, and nothing else yet.
struct Given {
    now: Timestamp,
    uptime: Duration,
    generation: i64,
    deleting: Option<Timestamp>,
    has_finalizer: bool,
    record: Option<TemplateStatus>,
    place: Place,
    seen: Seen,
    in_use: BTreeMap<String, Use>,
    timing: Timing,
}

const fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

fn here() -> Site {
    Site {
        endpoint: "https://api.flapjack.dev".to_owned(),
        account: "account".to_owned(),
    }
}

fn elsewhere() -> Site {
    Site {
        account: "another".to_owned(),
        ..here()
    }
}

fn template(id: &str) -> Found {
    Found {
        id: id.to_owned(),
        up_to_date: true,
    }
}

impl Given {
    fn new() -> Self {
        Self {
            now: "2026-01-01T00:00:00Z".parse().unwrap(),
            uptime: seconds(10_000),
            generation: 1,
            deleting: None,
            has_finalizer: true,
            record: None,
            place: Place::At(here()),
            seen: Seen::default(),
            in_use: BTreeMap::new(),
            timing: Timing::default(),
        }
    }

    /// A template was made long ago and is recorded.
    fn ready() -> Self {
        let mut given = Self::new();
        given.record = Some(given.made("ca-1", &here()));
        given.passes(seconds(3600));
        given
    }

    /// A creation was claimed just now; nobody knows what came of it.
    fn claimed() -> Self {
        let mut given = Self::new();
        given.record = Some(given.claim(&here()));
        given.seen.claim = Some(("claim".to_owned(), given.uptime));
        given
    }

    fn deleting(mut self) -> Self {
        self.deleting = Some(self.now);
        self.seen.deletion = Some(self.uptime);
        self
    }

    fn claim(&self, site: &Site) -> TemplateStatus {
        TemplateStatus {
            state: TemplateState::Claimed,
            id: None,
            endpoint: site.endpoint.clone(),
            account: site.account.clone(),
            claim_id: Some("claim".to_owned()),
            claimed_at: Some(self.now),
            observed_generation: None,
        }
    }

    fn made(&self, id: &str, site: &Site) -> TemplateStatus {
        TemplateStatus {
            state: TemplateState::Ready,
            id: Some(id.to_owned()),
            observed_generation: Some(self.generation),
            ..self.claim(site)
        }
    }

    fn passes(&mut self, time: Duration) {
        self.uptime += time;
        self.now += time;
    }

    /// Somebody has looked just now.
    fn looks(&mut self, found: Option<Found>) {
        let Place::At(site) = &self.place else {
            panic!("nowhere to look")
        };
        self.seen.lookup = Some(Lookup {
            begun: self.uptime,
            generation: self.generation,
            site: site.clone(),
            found,
            unmarked: Vec::new(),
        });
    }

    /// Somebody has looked just now, and found only templates without our mark.
    fn looks_and_sees_unmarked(&mut self, ids: &[&str]) {
        self.looks(None);
        if let Some(lookup) = &mut self.seen.lookup {
            lookup.unmarked = ids.iter().map(|id| (*id).to_owned()).collect();
        }
    }

    fn observed(&self) -> Observed<'_> {
        Observed {
            now: self.now,
            uptime: self.uptime,
            generation: self.generation,
            deleting: self.deleting,
            has_finalizer: self.has_finalizer,
            record: self.record.as_ref(),
            place: &self.place,
            seen: &self.seen,
            in_use: &self.in_use,
            recheck: RECHECK,
            fresh_claim_id: "fresh",
            timing: &self.timing,
        }
    }

    fn step(&self) -> Step {
        decide(&self.observed())
    }

    fn fails(&mut self, request: Request, class: ErrorClass, nothing_done: bool) {
        let error = ProviderError {
            class,
            subject: None,
            status: None,
            code: None,
            message: "it says no".to_owned(),
            retry_after: None,
            sent: Sent::Possibly,
        };
        let failed = failure(&self.observed(), &here(), request, &error, nothing_done);
        self.seen.failure = Some(failed);
        self.seen.lookup = None;
    }
}

#[track_caller]
fn creates(step: Step) -> (TemplateStatus, Option<Leftover>) {
    match step {
        Step::Create(claim, left) => (claim, left),
        other => panic!("{other:?}"),
    }
}

#[track_caller]
fn rests(step: Step) -> (Duration, TemplateHealth) {
    match step {
        Step::Rest { again, health } => (again, health),
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_finalizer_comes_first_then_a_look_then_the_claim() {
    let mut given = Given::new();
    given.has_finalizer = false;
    assert_eq!(given.step(), Step::AddFinalizer);
    given.has_finalizer = true;
    assert_eq!(given.step(), Step::Find);
    given.looks(None);
    let (claim, left) = creates(given.step());
    assert_eq!(left, None);
    assert_eq!(claim.state, TemplateState::Claimed);
    assert_eq!(claim.claim_id.as_deref(), Some("fresh"));
    assert_eq!((claim.id, claim.claimed_at), (None, Some(given.now)));
    assert_eq!(
        (claim.endpoint, claim.account),
        (here().endpoint, here().account)
    );
}

#[test]
fn what_is_found_is_used_and_nothing_is_made() {
    let mut given = Given::new();
    given.looks(Some(template("ca-7")));
    let Step::Record(record) = given.step() else {
        panic!()
    };
    assert_eq!(record.state, TemplateState::Ready);
    assert_eq!(record.id.as_deref(), Some("ca-7"));
    // Nobody claimed it: that it was not made just now is known.
    assert_eq!((record.claim_id.clone(), record.claimed_at), (None, None));
    given.record = Some(record);
    assert_eq!(rests(given.step()), (RECHECK, TemplateHealth::Ready));
}

#[test]
fn what_does_not_say_what_is_wanted_is_changed() {
    let mut given = Given::ready();
    given.looks(Some(Found {
        up_to_date: false,
        ..template("ca-1")
    }));
    assert_eq!(given.step(), Step::Update);
}

#[test]
fn a_look_is_repeated_when_its_time_is_over_or_the_codeagent_has_changed() {
    let mut given = Given::ready();
    given.looks(Some(template("ca-1")));
    assert_eq!(rests(given.step()).1, TemplateHealth::Ready);
    given.passes(RECHECK);
    assert_eq!(given.step(), Step::Find);
    given.looks(Some(template("ca-1")));
    given.generation = 2;
    assert_eq!(given.step(), Step::Find);
}

#[test]
fn while_a_creation_may_still_turn_up_none_is_made() {
    let mut given = Given::claimed();
    assert_eq!(given.step(), Step::Find);
    let fence = given.timing.fence();
    let mut looks = 0;
    let begun = given.uptime;
    while given.uptime < begun + fence {
        given.looks(None);
        looks += 1;
        let (again, health) = rests(given.step());
        assert!(matches!(health, TemplateHealth::Pending { .. }));
        assert!(!again.is_zero() && again <= given.timing.consistency_window);
        given.passes(again);
    }
    assert!(looks >= 20, "{looks}");
    // Now it is settled, but the last look was before that.
    assert_eq!(given.step(), Step::Find);
    given.looks(None);
    let (claim, left) = creates(given.step());
    assert_eq!((claim.claim_id.as_deref(), left), (Some("fresh"), None));
}

#[test]
fn a_creation_whose_answer_was_lost_is_found() {
    let mut given = Given::claimed();
    given.passes(seconds(30));
    given.looks(Some(template("ca-1")));
    let Step::Record(record) = given.step() else {
        panic!()
    };
    assert_eq!(record.id.as_deref(), Some("ca-1"));
    assert_eq!(record.state, TemplateState::Ready);
}

#[test]
fn a_new_process_trusts_the_clock_on_the_wall_only_with_a_margin() {
    let mut given = Given::claimed();
    let (fence, margin) = (given.timing.fence(), given.timing.clock_margin);
    given.now += fence + margin - seconds(1);
    given.seen.claim = Some(("claim".to_owned(), given.uptime));
    given.looks(None);
    assert_eq!(rests(given.step()).0, seconds(1));
    given.now += seconds(1);
    creates(given.step());
}

#[test]
fn a_template_that_was_listed_once_and_is_not_any_more_is_made_anew_at_once() {
    let mut given = Given::new();
    given.record = Some(given.made("ca-1", &here()));
    given.seen.claim = Some(("claim".to_owned(), given.uptime));
    given.looks(None);
    // Made just now: it may not be listed yet.
    rests(given.step());
    given.seen.listed = Some("ca-1".to_owned());
    let (claim, left) = creates(given.step());
    assert_eq!((claim.state, left), (TemplateState::Claimed, None));
}

/// The provider cuts names, or takes for a comment what stands in brackets.
#[test]
fn a_template_whose_mark_is_never_shown_is_known_by_its_id_and_no_second_one_is_made() {
    let mut given = Given::ready();
    for _ in 0..5 {
        given.looks_and_sees_unmarked(&["ca-0", "ca-1"]);
        assert_eq!(rests(given.step()).1, TemplateHealth::Ready);
        given.passes(RECHECK);
        assert_eq!(given.step(), Step::Find);
    }
    let mut given = given.deleting();
    given.looks_and_sees_unmarked(&["ca-0", "ca-1"]);
    assert_eq!(given.step(), Step::Delete("ca-1".to_owned()));
    given.looks_and_sees_unmarked(&["ca-0"]);
    assert_eq!(given.step(), Step::ReleaseFinalizer(None));
}

#[test]
fn once_it_was_shown_with_its_mark_a_template_without_it_is_somebody_elses() {
    let mut given = Given::ready();
    given.seen.listed = Some("ca-1".to_owned());
    given.looks(Some(template("ca-1")));
    let Step::Record(record) = given.step() else {
        panic!()
    };
    assert_eq!(record.claim_id, None);
    given.record = Some(record);
    // Also for a process that has not seen it itself.
    given.seen.listed = None;
    given.looks_and_sees_unmarked(&["ca-1"]);
    let (_, left) = creates(given.step());
    assert_eq!(left.unwrap().id.as_deref(), Some("ca-1"));
}

/// The answer to the creation was lost, and what was made does not show whose it is: a second one is not made in silence.
#[test]
fn a_second_template_is_told_of() {
    let mut given = Given::claimed();
    given.passes(given.timing.fence() + seconds(1));
    given.looks_and_sees_unmarked(&["ca-0"]);
    let (_, left) = creates(given.step());
    let left = left.unwrap();
    assert_eq!(left.id.as_deref(), Some("ca-0"));
    assert!(left.why.contains("does not show our mark"), "{}", left.why);
    // A namesake of a CodeAgent that never tried is nobody's business.
    let mut given = Given::new();
    given.looks_and_sees_unmarked(&["ca-0"]);
    assert_eq!(creates(given.step()).1, None);
}

#[test]
fn with_another_account_the_template_is_found_or_made_there() {
    let mut given = Given::ready();
    given.place = Place::At(elsewhere());
    assert_eq!(given.step(), Step::Find);
    // Another key of the same organisation sees the same template.
    given.looks(Some(template("ca-1")));
    let Step::Record(record) = given.step() else {
        panic!()
    };
    assert_eq!(
        (record.account.as_str(), record.id.as_deref()),
        ("another", Some("ca-1"))
    );
    // Another organisation does not; the old one stays behind, and that is said.
    given.looks(None);
    let (claim, left) = creates(given.step());
    assert_eq!(claim.account, "another");
    assert_eq!(left.unwrap().id.as_deref(), Some("ca-1"));
}

#[test]
fn a_codeagent_that_goes_to_another_provider_leaves_its_template_and_says_so() {
    let mut given = Given::ready();
    given.place = Place::Nowhere;
    let Step::Forget(left) = given.step() else {
        panic!()
    };
    assert_eq!(left.id.as_deref(), Some("ca-1"));
    given.record = None;
    assert_eq!(given.step(), Step::ReleaseFinalizer(None));
    given.has_finalizer = false;
    assert_eq!(rests(given.step()).1, TemplateHealth::NotNeeded);
}

#[test]
fn a_refusal_is_told_and_repeated_after_a_while_or_when_the_codeagent_changes() {
    let mut given = Given::new();
    given.fails(Request::Create, ErrorClass::InvalidRequest, true);
    let (again, health) = rests(given.step());
    assert_eq!(again, given.timing.refusal_wait(1));
    let TemplateHealth::Refused { message, usable } = health else {
        panic!()
    };
    assert!(
        message.contains("cannot be made") && message.contains("it says no"),
        "{message}"
    );
    assert!(!usable);
    given.generation = 2;
    assert_eq!(given.step(), Step::Find);
    given.fails(Request::Create, ErrorClass::InvalidRequest, true);
    assert_eq!(rests(given.step()).0, given.timing.refusal_wait(2));
}

#[test]
fn a_passing_fault_is_waited_out_and_does_not_take_away_what_is_there() {
    for (given, health) in [
        (Given::ready(), TemplateHealth::Ready),
        (
            Given::new(),
            TemplateHealth::Pending {
                reason: Reason::ProviderUnavailable,
                message:
                    "the template that sessions are launched from cannot be looked for: it says no"
                        .to_owned(),
            },
        ),
    ] {
        let mut given = given;
        given.fails(Request::Find, ErrorClass::Unavailable, true);
        assert_eq!(rests(given.step()), (given.timing.fault_wait(1), health));
        given.passes(given.timing.fault_wait(1));
        assert_eq!(given.step(), Step::Find);
    }
}

#[test]
fn a_change_that_is_refused_is_told_and_sessions_start_all_the_same() {
    let mut given = Given::ready();
    given.fails(Request::Update, ErrorClass::InvalidRequest, true);
    let TemplateHealth::Refused { usable, .. } = rests(given.step()).1 else {
        panic!()
    };
    assert!(usable);
}

#[test]
fn every_template_with_our_mark_goes_with_its_codeagent() {
    let mut given = Given::ready().deleting();
    assert_eq!(given.step(), Step::Find);
    given.looks(Some(template("ca-1")));
    assert_eq!(given.step(), Step::Delete("ca-1".to_owned()));
    // A double of it.
    given.looks(Some(template("ca-2")));
    assert_eq!(given.step(), Step::Delete("ca-2".to_owned()));
    given.looks(None);
    assert_eq!(given.step(), Step::ReleaseFinalizer(None));
    given.has_finalizer = false;
    rests(given.step());
}

#[test]
fn without_a_claim_nothing_was_made_and_nothing_holds() {
    let mut given = Given::new().deleting();
    given.place = Place::Barred {
        why: "no Secret".to_owned(),
        transient: true,
        again: seconds(10),
    };
    assert_eq!(given.step(), Step::ReleaseFinalizer(None));
}

/// What the deletion leaves at the provider, in each of the ways in which it may.
#[test]
fn what_cannot_be_deleted_is_let_go_and_told() {
    let barred = |transient| Place::Barred {
        why: "the Secret is missing".to_owned(),
        transient,
        again: seconds(10),
    };
    let mut no_secret = Given::ready().deleting();
    no_secret.place = barred(false);
    let mut down = Given::ready().deleting();
    down.place = barred(true);
    let (again, health) = rests(down.step());
    assert_eq!(again, seconds(10));
    let TemplateHealth::Pending { reason, message } = health else {
        panic!("{health:?}")
    };
    assert_eq!(reason, Reason::RemovingTemplate);
    assert!(message.contains("the Secret is missing"), "{message}");
    down.passes(down.timing.deletion_bound);
    let mut refused = Given::ready().deleting();
    refused.fails(Request::Delete, ErrorClass::Forbidden, true);
    let mut used = Given::ready().deleting();
    used.in_use.insert("ca-1".to_owned(), Use::Staying(2));
    let mut other_account = Given::ready().deleting();
    other_account.place = Place::At(elsewhere());
    other_account.looks(None);
    let mut other_provider = Given::ready().deleting();
    other_provider.place = Place::Nowhere;
    for (given, why) in [
        (no_secret, "the Secret is missing"),
        (down, "in time"),
        (refused, "it says no"),
        (used, "2 sessions are active under it"),
        (other_account, "another one now"),
        (other_provider, "another provider"),
    ] {
        let Step::ReleaseFinalizer(Some(left)) = given.step() else {
            panic!("{why}: {:?}", given.step())
        };
        assert_eq!(left.id.as_deref(), Some("ca-1"), "{why}");
        assert!(left.why.contains(why), "{left:?}");
    }
}

#[test]
fn an_api_server_whose_clock_differs_neither_takes_a_deletion_its_chance_nor_prolongs_it() {
    let skew = SignedDuration::from_mins(20);
    for (skew, at_least, at_most) in [
        (
            -skew,
            Timing::default().deletion_slack,
            Timing::default().deletion_bound,
        ),
        (
            skew,
            Timing::default().deletion_bound,
            Timing::default().deletion_bound,
        ),
    ] {
        let mut given = Given::ready().deleting();
        given.deleting = Some(given.now + skew);
        given.place = Place::Barred {
            why: "it does not answer".to_owned(),
            transient: true,
            again: seconds(10),
        };
        given.passes(at_least - seconds(1));
        rests(given.step());
        given.passes(at_most - at_least + seconds(1));
        assert!(
            matches!(given.step(), Step::ReleaseFinalizer(Some(_))),
            "{skew}"
        );
    }
}

/// CodeAgents and sessions are two watches: the deletion of the one may show before that of the others.
#[test]
fn a_template_is_left_to_sessions_only_once_they_are_read() {
    let mut given = Given::ready().deleting();
    given.in_use.insert("ca-1".to_owned(), Use::Unconfirmed(1));
    assert_eq!(given.step(), Step::ConfirmUse("ca-1".to_owned()));
    given.looks(Some(template("ca-1")));
    assert_eq!(given.step(), Step::ConfirmUse("ca-1".to_owned()));
    given.in_use.insert("ca-1".to_owned(), Use::Leaving);
    rests(given.step());
}

#[test]
fn sessions_that_are_being_deleted_too_are_waited_for() {
    let mut given = Given::ready().deleting();
    given.in_use.insert("ca-1".to_owned(), Use::Leaving);
    given.looks(Some(template("ca-1")));
    rests(given.step());
    given.in_use.clear();
    assert_eq!(given.step(), Step::Delete("ca-1".to_owned()));
}

#[test]
fn a_deletion_waits_for_a_creation_that_may_still_turn_up() {
    let mut given = Given::claimed().deleting();
    given.looks(None);
    rests(given.step());
    given.passes(given.timing.fence());
    given.looks(None);
    assert_eq!(given.step(), Step::ReleaseFinalizer(None));
}
