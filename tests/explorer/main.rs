//! Walks every reachable state of the launch protocol within bounds, around the operator's real decisions.
//!
//! The model has an API server with one named object, one or two operators, a provider and a user; each step of a pass
//! (gather and decide, the write before, the effect, the write after) is a step of its own, so that a crash, a pause, a
//! stale view, another operator or the user can come between any two. `decide` and `record` are the ones that ship.
//!
//! The bounds of the normal run are small enough for every test run: two operators and one fault, stale view or action of
//! the user at any point (as far as the second request for `Marker`), one operator and any two of them. Within its bounds a
//! run is exhaustive; the way to rest is followed from every eighth state, with large bounds from every one. `EXPLORER_BOUNDS=large cargo test --test explorer`
//! explores more faults and more time; it takes many minutes and is best run with `--release`.
//!
//! The negative controls break one rule of the protocol at a time, in the model around the decisions: each must lead to a
//! violation, or the explorer would not see what it is there for.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod check;
mod model;
mod operator;
mod search;

use codeagent_operator::api::OnUnknownLaunch;
use codeagent_operator::domain::remote::Recovery;

use check::Violation;
use model::{Bounds, Mutant, World};
use search::explore;

fn large() -> bool {
    std::env::var("EXPLORER_BOUNDS").is_ok_and(|bounds| bounds == "large")
}

/// A world with two operators and all faults, as far as the run's bounds go.
fn world(recovery: Recovery) -> World {
    let mut world = World::new(recovery);
    if large() {
        world.bounds = Bounds {
            crashes: 2,
            pauses: 1,
            losses: 2,
            user: 2,
            stale: 2,
            total: 4,
        };
        world.horizon = 12;
        world.rest_every = 1;
    }
    world
}

fn holds(name: &str, world: &World) {
    let outcome = explore(world);
    println!("{name}: {outcome}");
    if let Some(found) = outcome.violation {
        panic!("{name}: {found}");
    }
}

#[test]
fn chosen_ids() {
    holds("ClientId", &world(Recovery::ClientId));
}

#[test]
fn chosen_ids_that_the_provider_ignores() {
    holds(
        "ClientId, ignored",
        &alone(world(Recovery::ClientId).ignoring_ids()),
    );
}

#[test]
fn markers() {
    let mut world = world(Recovery::Marker);
    // Far enough for the second request, after the fence and two looks.
    world.horizon = world.horizon.max(4);
    holds("Marker", &world);
}

#[test]
fn nothing_to_look_for() {
    holds("None", &world(Recovery::None));
}

#[test]
fn never_a_second_request() {
    holds(
        "Marker, Fail",
        &alone(world(Recovery::Marker).on_unknown(OnUnknownLaunch::Fail)),
    );
}

/// One operator has more room for faults within the same time.
fn alone(mut world: World) -> World {
    world.operators = 1;
    world.bounds = Bounds {
        crashes: 2,
        pauses: 1,
        losses: 2,
        user: 2,
        stale: 1,
        total: if large() { 8 } else { 2 },
    };
    world.horizon = world.horizon.max(5);
    world
}

#[test]
fn one_operator_and_more_faults() {
    for recovery in [Recovery::ClientId, Recovery::Marker, Recovery::None] {
        holds(
            &format!("one operator, {recovery:?}"),
            &alone(world(recovery)),
        );
    }
}

/// A world for breaking one rule.
fn broken(mutant: Mutant, recovery: Recovery, operators: usize, bounds: Bounds) -> World {
    let mut world = World::new(recovery);
    world.mutant = Some(mutant);
    world.bounds = bounds;
    world.horizon = 8;
    world.operators = operators;
    world
}

/// Expects to see the broken rule.
#[track_caller]
fn caught(world: &World, expected: &[Violation]) {
    let name = format!("{:?} on {:?}", world.mutant.unwrap(), world.recovery);
    let outcome = explore(world);
    println!("{name}: {outcome}");
    let found = outcome
        .violation
        .unwrap_or_else(|| panic!("{name} is not caught"));
    println!("  {found}");
    assert!(
        expected.contains(&found.violation),
        "{name}: {found}, where {expected:?} was expected"
    );
}

const fn bounds(crashes: u8, pauses: u8, losses: u8, user: u8) -> Bounds {
    Bounds {
        crashes,
        pauses,
        losses,
        user,
        stale: 0,
        // And work that ends once.
        total: crashes + pauses + losses + user + 1,
    }
}

#[test]
fn without_a_claim_before_the_request_launches_double_or_leak() {
    for recovery in [Recovery::Marker, Recovery::None] {
        caught(
            &broken(Mutant::NoClaim, recovery, 1, bounds(1, 0, 0, 0)),
            &[Violation::TwoLaunches, Violation::Unowned],
        );
    }
}

#[test]
fn a_claim_without_its_resource_version_launches_double() {
    caught(
        &broken(
            Mutant::ClaimUnguarded,
            Recovery::Marker,
            2,
            bounds(0, 0, 0, 0),
        ),
        &[Violation::TwoLaunches],
    );
}

#[test]
fn a_record_by_name_alone_lands_on_a_reborn_object() {
    caught(
        &broken(
            Mutant::RecordByName,
            Recovery::Marker,
            2,
            bounds(0, 0, 0, 2),
        ),
        &[Violation::WrongOwner, Violation::TwoLaunches],
    );
}

#[test]
fn without_the_pinned_account_a_rotated_key_launches_double() {
    caught(
        &broken(
            Mutant::AccountPinDropped,
            Recovery::ClientId,
            1,
            bounds(0, 0, 1, 1),
        ),
        &[Violation::TwoLaunches],
    );
}

#[test]
fn looks_of_another_account_are_no_proof() {
    caught(
        &broken(
            Mutant::LooksOfAnyAccount,
            Recovery::Marker,
            1,
            bounds(0, 0, 1, 2),
        ),
        &[Violation::TwoLaunches],
    );
}

/// A launch that becomes visible later than assumed, and an account that refuses every further request.
fn late_and_refused(mut world: World) -> World {
    world.bounds = bounds(1, 0, 1, 0);
    world.operators = 1;
    world.horizon = 7;
    world.later_than_assumed = 4;
    world.refuses_again = true;
    world
}

#[test]
fn a_launch_later_than_assumed_is_adopted_although_the_next_request_was_refused() {
    holds(
        "Marker, late and refused",
        &late_and_refused(World::new(Recovery::Marker)),
    );
}

#[test]
fn a_refusal_after_an_unknown_outcome_settles_nothing() {
    let broken = broken(
        Mutant::RefusalSettles,
        Recovery::Marker,
        1,
        bounds(0, 0, 0, 0),
    );
    caught(
        &late_and_refused(broken),
        &[Violation::Unowned, Violation::TwoLaunches],
    );
}

#[test]
fn without_the_fence_a_late_commit_launches_double() {
    caught(
        &broken(Mutant::NoFence, Recovery::Marker, 1, bounds(0, 0, 1, 0)),
        &[Violation::TwoLaunches],
    );
}

#[test]
fn without_the_margin_clocks_that_differ_launch_double() {
    caught(
        &broken(Mutant::NoMargin, Recovery::Marker, 2, bounds(0, 1, 1, 0)),
        &[Violation::TwoLaunches],
    );
}

#[test]
fn looks_before_the_fence_are_no_proof() {
    caught(
        &broken(
            Mutant::LooksBeforeTheFence,
            Recovery::Marker,
            1,
            bounds(0, 0, 1, 0),
        ),
        &[Violation::TwoLaunches],
    );
}

#[test]
fn one_look_is_no_proof() {
    caught(
        &broken(Mutant::OneLook, Recovery::Marker, 1, bounds(0, 0, 2, 0)),
        &[Violation::TwoLaunches],
    );
}

#[test]
fn an_unreadable_candidate_is_no_absence() {
    caught(
        &broken(
            Mutant::UnreadableIsAbsent,
            Recovery::Marker,
            1,
            bounds(0, 0, 3, 0),
        ),
        &[Violation::TwoLaunches],
    );
}

#[test]
fn a_timeout_is_no_failure() {
    caught(
        &broken(
            Mutant::TimeoutIsFailure,
            Recovery::Marker,
            1,
            bounds(0, 0, 1, 0),
        ),
        &[Violation::TwoLaunches, Violation::Unowned],
    );
}

#[test]
fn without_the_last_check_a_paused_process_launches_double() {
    caught(
        &broken(Mutant::NoLastCheck, Recovery::Marker, 2, bounds(0, 1, 0, 0)),
        &[Violation::TwoLaunches],
    );
}

#[test]
fn a_finalizer_dropped_when_the_stop_was_taken_leaks() {
    caught(
        &broken(
            Mutant::FinalizerDroppedOnOk,
            Recovery::Marker,
            1,
            bounds(0, 0, 1, 1),
        ),
        &[Violation::Unowned],
    );
}

#[test]
fn a_finalizer_dropped_while_a_claim_is_open_leaks() {
    caught(
        &broken(
            Mutant::FinalizerDroppedOnDelete,
            Recovery::Marker,
            1,
            bounds(0, 0, 1, 1),
        ),
        &[Violation::Unowned],
    );
}

#[test]
fn an_answer_written_over_what_others_settled_reopens_an_ended_session() {
    caught(
        &broken(
            Mutant::RecordOverwrites,
            Recovery::Marker,
            2,
            bounds(0, 0, 0, 0),
        ),
        &[Violation::Reopened],
    );
}
