//! Negative controls: each breaks one rule of the protocol, and must lead to a violation, or the explorer would not see what
//! it is there for. `EXPLORER_TRACES=1` prints the shortest way to each.

use codeagent_operator::domain::remote::Recovery;

use crate::check::Violation::{self, *};
use crate::holds;
use crate::model::{Bounds, Mutant, World};
use crate::search::explore;

/// A world for breaking one rule.
fn broken(mutant: Mutant, recovery: Recovery, operators: usize, bounds: Bounds) -> World {
    let mut world = World::new(recovery);
    world.mutant = Some(mutant);
    world.bounds = bounds;
    world.horizon = 8;
    world.operators = operators;
    // Only what the rule is about may go wrong.
    world.shows_late = false;
    world
}

/// Expects to see the broken rule.
#[track_caller]
fn caught(world: &World, expected: &[Violation]) {
    let name = format!("{:?} on {:?}", world.mutant.unwrap(), world.recovery);
    let outcome = explore(world);
    let found = outcome
        .violation
        .unwrap_or_else(|| panic!("{name} is not caught: {}", outcome.states));
    println!(
        "{name}: {} after {} steps, among {} states",
        found.violation,
        found.length(),
        outcome.states
    );
    if std::env::var("EXPLORER_TRACES").is_ok() {
        println!("  {found}");
    }
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
        total: crashes + pauses + losses + user,
    }
}

/// A test for each mutant: on which providers, with how many operators and faults, and what it must lead to.
macro_rules! mutants {
    ($($name:ident: $mutant:ident on [$($recovery:ident),+], $operators:literal, $bounds:expr => [$($expected:ident),+];)+) => {
        $(
            #[test]
            fn $name() {
                for recovery in [$(Recovery::$recovery),+] {
                    caught(&broken(Mutant::$mutant, recovery, $operators, $bounds), &[$($expected),+]);
                }
            }
        )+
    };
}

mutants! {
    without_a_claim_before_the_request_sessions_leak: NoClaim on [ClientId, Marker, None], 1, bounds(1, 0, 0, 0)
        => [TwoLaunches, Unowned];
    a_claim_without_its_resource_version_launches_double: ClaimUnguarded on [Marker], 2, bounds(0, 1, 0, 0)
        => [TwoLaunches];
    a_merge_patch_lands_on_a_reborn_object: MergePatchOnReborn on [ClientId, Marker], 1, bounds(0, 0, 0, 3)
        => [WrongOwner, AcceptanceLost];
    an_answer_written_over_what_others_settled_reopens_an_ended_session: RecordOverwrites on [Marker], 2, bounds(0, 0, 0, 0)
        => [Reopened, Backwards];
    an_id_that_is_recorded_once_without_retry_is_lost: RecordOnce on [ClientId, Marker, None], 1, bounds(0, 0, 1, 0)
        => [AcceptanceLost];
    without_the_pinned_account_a_rotated_key_launches_double: AccountPinDropped on [ClientId], 1, bounds(0, 0, 1, 1)
        => [TwoLaunches];
    looks_of_another_account_are_no_proof: LooksOfAnyAccount on [Marker], 1, bounds(0, 0, 1, 2)
        => [TwoLaunches];
    without_the_fence_a_late_commit_launches_double: NoFence on [Marker], 1, bounds(0, 0, 1, 0)
        => [TwoLaunches];
    without_the_margin_clocks_that_differ_launch_double: NoMargin on [Marker], 2, bounds(0, 1, 1, 0)
        => [TwoLaunches];
    looks_before_the_fence_are_no_proof: LooksBeforeTheFence on [Marker], 1, bounds(0, 0, 1, 0)
        => [TwoLaunches];
    one_look_is_no_proof: OneLook on [Marker], 1, bounds(0, 0, 2, 0)
        => [TwoLaunches];
    an_unreadable_candidate_is_no_absence: UnreadableIsAbsent on [Marker], 1, bounds(0, 0, 3, 0)
        => [TwoLaunches];
    a_timeout_is_no_failure: TimeoutIsFailure on [Marker], 1, bounds(0, 0, 1, 0)
        => [TwoLaunches, Unowned];
    without_the_last_check_a_paused_process_launches_double: NoLastCheck on [Marker], 2, bounds(0, 1, 0, 0)
        => [TwoLaunches];
    attempts_by_seconds_do_not_find_themselves_again: AttemptsBySeconds on [ClientId], 1, bounds(0, 0, 1, 0)
        => [TwoLaunches];
    a_foreign_marker_that_is_adopted_is_somebody_else_s: ForeignMarkerAdopted on [Marker], 1, bounds(0, 0, 1, 0)
        => [WrongOwner];
    a_foreign_marker_that_is_cancelled_stops_somebody_else_s: ForeignMarkerCancelled on [Marker], 1, bounds(0, 0, 0, 1)
        => [ForeignTouched];
    a_finalizer_dropped_when_the_stop_was_taken_leaks: FinalizerDroppedOnOk on [Marker], 1, bounds(0, 0, 1, 1)
        => [Unowned];
    a_finalizer_dropped_while_a_claim_is_open_leaks: FinalizerDroppedOnDelete on [Marker], 1, bounds(0, 0, 1, 1)
        => [Unowned];
}

#[test]
fn at_the_default_endpoint_of_now_a_lost_launch_is_paid_again() {
    let mut world = broken(
        Mutant::EndpointNotPinned,
        Recovery::Marker,
        1,
        bounds(0, 0, 1, 1),
    );
    world.moves = true;
    caught(&world, &[TwoLaunches]);
}

#[test]
fn what_holds_back_a_first_request_must_hold_back_another_one() {
    for recovery in [Recovery::ClientId, Recovery::Marker] {
        let mut world = broken(
            Mutant::SuspendedOnlyAtFirst,
            recovery,
            1,
            bounds(0, 0, 1, 1),
        );
        world.suspends = true;
        caught(&world, &[ClaimWhileSuspended]);
    }
}

#[test]
fn a_stop_that_is_believed_without_a_look_leaks() {
    let world = broken(
        Mutant::StopBelieved,
        Recovery::Marker,
        1,
        bounds(0, 0, 1, 2),
    );
    caught(&world, &[Unowned, AcceptanceLost]);
}

#[test]
fn server_side_apply_brings_a_deleted_object_back() {
    let bounds = Bounds {
        stale: 1,
        ..Bounds::any(2)
    };
    caught(
        &broken(Mutant::ServerSideApply, Recovery::Marker, 2, bounds),
        &[Resurrected],
    );
}

/// A launch that becomes visible later than assumed, and an account that refuses every further request.
fn late_and_refused(mut world: World) -> World {
    world.bounds = bounds(1, 0, 1, 0);
    world.operators = 1;
    world.horizon = 7;
    world.later_than_assumed = 4;
    world.shows_late = false;
    world.refuses_again = true;
    world
}

#[test]
fn a_launch_later_than_assumed_is_adopted_although_the_next_request_was_refused() {
    let world = late_and_refused(World::new(Recovery::Marker));
    holds("Marker, late and refused", &world);
}

#[test]
fn a_refusal_after_an_unknown_outcome_settles_nothing() {
    let world = broken(
        Mutant::RefusalSettles,
        Recovery::Marker,
        1,
        bounds(0, 0, 0, 0),
    );
    caught(&late_and_refused(world), &[Unowned, TwoLaunches]);
}
