//! Walks every reachable state of the launch protocol within bounds, around the operator's real decisions.
//!
//! The model has an API server with one named object, one or two operators whose clocks differ, a provider for each way to
//! find a lost launch, and people. `decide` and `record` are the ones that ship; what carries decisions out is modelled step
//! by step in `operator.rs`, so that something can come between any two steps:
//!
//! | from | what can happen |
//! |---|---|
//! | processes | a crash, a stop with SIGSTOP before a write, a request or a record, for as long as the horizon goes, a pass on a stale view |
//! | API server | a write refused, a write stored whose answer is lost |
//! | provider | accepted, accepted and shown late; refused (quota, invalid, 429, nothing sent); lost: done, done late, not done; a look that fails, denies what is there, or meets an unreadable candidate; a stop lost or only said to be done |
//! | people | cancel, delete, remove the finalizer, create the name anew, another key of the account, another account, no Secret, no CodeAgent |
//!
//! Within its bounds (faults of any kind in all, ticks of time) a run is exhaustive. From its states (with two operators in a normal run, from every eighth) the way without faults
//! is followed to rest, where what is promised must hold. Times and counters are compared and nothing else, so that states
//! that differ in nothing else are one; sessions end, and late launches show, at the moment when somebody looks.
//!
//! A run prints states, transitions, depth, and how many ordered pairs of fault positions it holds: a position is a fault and
//! the step of the protocol at which it strikes (tick, where each pass stands, what is recorded); a pair counts once, if
//! some run has the one and later the other. `EXPLORER_BOUNDS=large cargo test --release --test explorer` goes further:
//! of `None` with two operators, whose clocks differ, and any two faults within five ticks, it has seen 3,769,961 states,
//! 17,218,166 transitions, depth 29, 655,136 pairs of 12,091 fault positions.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod check;
mod graph;
mod message_model;
mod messages;
mod model;
mod mutants;
mod operator;
mod search;
mod tables;

use codeagent_operator::api::OnUnknownLaunch;
use codeagent_operator::domain::remote::Recovery;

use model::{Bounds, World};
use search::explore;

fn large() -> bool {
    std::env::var("EXPLORER_BOUNDS").is_ok_and(|bounds| bounds == "large")
}

/// A world with so many operators and faults of any kind, explored up to so many ticks.
fn world(recovery: Recovery, operators: usize, faults: u8, horizon: u8) -> World {
    let mut world = World::new(recovery);
    world.operators = operators;
    world.bounds = Bounds::any(faults);
    world.horizon = horizon;
    world
}

/// One operator, and any two faults as far as the second request, after the fence and two looks.
fn alone(recovery: Recovery) -> World {
    if large() {
        world(recovery, 1, 3, 6)
    } else {
        world(recovery, 1, 2, 5)
    }
}

/// Two operators at once, whose clocks differ.
fn two(recovery: Recovery) -> World {
    if large() {
        world(recovery, 2, 2, 4)
    } else {
        World {
            rest_every: 8,
            ..world(recovery, 2, 1, 4)
        }
    }
}

fn holds(name: &str, world: &World) -> search::Explored {
    let outcome = explore(world);
    println!("{name}: {outcome}");
    if let Some(found) = &outcome.violation {
        panic!("{name}: {found}");
    }
    outcome
}

#[test]
fn one_operator_and_an_id_of_our_choice() {
    holds("ClientId, one operator", &alone(Recovery::ClientId));
}

#[test]
fn one_operator_and_a_marker() {
    holds("Marker, one operator", &alone(Recovery::Marker));
}

#[test]
fn one_operator_and_nothing_to_look_for() {
    holds("None, one operator", &alone(Recovery::None));
}

#[test]
fn two_operators_and_an_id_of_our_choice() {
    holds("ClientId, two operators", &two(Recovery::ClientId));
}

#[test]
fn two_operators_and_a_marker() {
    holds("Marker, two operators", &two(Recovery::Marker));
}

#[test]
fn two_operators_nothing_to_look_for_and_every_pair_of_faults() {
    let horizon = if large() { 5 } else { 3 };
    let mut world = world(Recovery::None, 2, 2, horizon);
    world.rest_every = 8;
    let explored = holds("None, two operators", &world);
    assert!(explored.pairs >= 100_000, "{explored}");
}

#[test]
fn an_id_of_our_choice_that_the_provider_ignores() {
    let world = alone(Recovery::ClientId).ignoring_ids();
    holds("ClientId, ignored", &faults(1, world));
}

#[test]
fn never_a_second_request() {
    let world = alone(Recovery::Marker).on_unknown(OnUnknownLaunch::Fail);
    holds("Marker, Fail", &faults(1, world));
}

#[test]
fn a_second_request_that_the_user_asked_for() {
    let world = alone(Recovery::None).on_unknown(OnUnknownLaunch::Retry);
    holds("None, Retry", &faults(1, world));
}

/// People suspend session and CodeAgent and resume them, at any moment, also while a claim is open.
#[test]
fn what_is_suspended_is_not_sent_again() {
    for recovery in [Recovery::ClientId, Recovery::Marker, Recovery::None] {
        let mut world = faults(2, alone(recovery));
        world.suspends = true;
        holds(&format!("{recovery:?}, suspended"), &world);
    }
    let mut world = faults(2, alone(Recovery::None)).on_unknown(OnUnknownLaunch::Retry);
    world.suspends = true;
    holds("None, Retry, suspended", &world);
}

/// The operator is started again with another default endpoint, at any moment.
#[test]
fn what_was_sent_to_one_endpoint_is_never_looked_for_at_another() {
    for recovery in [Recovery::ClientId, Recovery::Marker, Recovery::None] {
        let mut world = faults(2, alone(recovery));
        world.moves = true;
        holds(&format!("{recovery:?}, another endpoint"), &world);
    }
}

#[test]
fn an_operator_that_gives_up_early() {
    // The clock may be far ahead before anybody looks: what is given up on is reported, never launched again.
    let mut world = alone(Recovery::Marker).patient_for(1);
    world.promised = false;
    holds("Marker, impatient", &faults(1, world));
}

/// The same with fewer faults, but with large bounds.
fn faults(faults: u8, mut world: World) -> World {
    if !large() {
        world.bounds = Bounds::any(faults);
    }
    world
}
