//! Every reachable state of a message's life: claimed, lost, found, sent again, stopped, and the slot that it needs. Each rule is
//! broken on purpose as well.

use std::collections::{HashSet, VecDeque};
use std::time::Instant;

use codeagent_operator::domain::remote::MessageRecovery::{self, Baseline, Marker};

use crate::large;
use crate::message_model::Violation::*;
use crate::message_model::{Action, Luck, Mutant, State, Violation, World};

/// Steps without faults after which it must have come to rest.
const PATIENCE: usize = 400;
/// From one in how many states the way to rest is followed.
const REST_EVERY: usize = 8;

struct Explored {
    states: usize,
    transitions: usize,
    violation: Option<(Violation, Vec<Action>)>,
}

/// Walks every reachable state within the world's bounds.
fn explore(world: &World) -> Explored {
    let first = State::first(world);
    let mut known = HashSet::from([first.digest()]);
    let mut resting = HashSet::new();
    let mut queue = VecDeque::from([first]);
    // Where each state was reached from, for the way to a violation.
    let mut parents: Vec<(usize, Action)> = vec![(0, Action::Tick)];
    let (mut number, mut transitions) = (0, 0);
    let found = |parents: &[(usize, Action)], from: usize, last: Option<Action>| {
        let mut steps: Vec<Action> = last.into_iter().collect();
        let mut at = from;
        while at > 0 {
            let (parent, action) = parents[at];
            steps.push(action);
            at = parent;
        }
        steps.reverse();
        steps
    };
    let mut violation = None;
    'search: while let Some(state) = queue.pop_front() {
        if number % REST_EVERY == 0
            && let Err(broken) = comes_to_rest(world, &state, &mut resting)
        {
            violation = Some((broken, found(&parents, number, None)));
            break;
        }
        for action in state.actions(world) {
            transitions += 1;
            match state.apply(world, action) {
                Ok(next) if known.insert(next.digest()) => {
                    parents.push((number, action));
                    queue.push_back(next);
                }
                Ok(_) => {}
                Err(broken) => {
                    violation = Some((broken, found(&parents, number, Some(action))));
                    break 'search;
                }
            }
        }
        number += 1;
    }
    Explored {
        states: known.len(),
        transitions,
        violation,
    }
}

/// Follows one way without faults until nothing is left to do.
fn comes_to_rest(world: &World, from: &State, resting: &mut HashSet<u64>) -> Result<(), Violation> {
    let mut state = from.calmed();
    let mut way = Vec::new();
    for _ in 0..PATIENCE {
        let digest = state.digest();
        if resting.contains(&digest) {
            resting.extend(way);
            return Ok(());
        }
        way.push(digest);
        if let Some(index) = (0..world.operators).find(|index| !state.is_idle(*index)) {
            state = state.apply(world, Action::Step(index, Luck::Good))?;
            continue;
        }
        let next = state.apply(world, Action::Pass(0, Luck::Good))?;
        if next.digest() != digest {
            state = next;
        } else if state.is_running(world) {
            state = state.apply(world, Action::Pass(0, Luck::Ended))?;
        } else if state.wants_another_pass(world) {
            state = state.apply(world, Action::Tick)?;
        } else {
            state.check_rest(world)?;
            resting.extend(way);
            return Ok(());
        }
        // Nobody waits for longer than a few fences.
        if state.tick > 100 {
            return Err(NeverStable);
        }
    }
    Err(NeverStable)
}

fn holds(name: &str, world: &World) {
    let begun = Instant::now();
    let outcome = explore(world);
    println!(
        "{name}: {} states, {} transitions, {:.1} s",
        outcome.states,
        outcome.transitions,
        begun.elapsed().as_secs_f64()
    );
    if let Some((violation, steps)) = outcome.violation {
        panic!("{name}: {violation:?} after {steps:#?}");
    }
}

/// So many operators, faults, deeds of people and ticks; more with large bounds.
fn world(
    recovery: MessageRecovery,
    operators: usize,
    (faults, people, horizon): (u8, u8, u8),
) -> World {
    let more = u8::from(large());
    let mut world = World::new(recovery, operators, faults + more, people);
    world.horizon = horizon + more;
    world
}

#[test]
fn one_operator_sends_each_message_once() {
    for recovery in [Marker, Baseline] {
        let world = world(recovery, 1, (2, 0, 4));
        holds(&format!("{recovery:?}, messages, one operator"), &world);
    }
}

#[test]
fn two_operators_send_each_message_once() {
    for recovery in [Marker, Baseline] {
        let world = world(recovery, 2, (1, 0, 1));
        holds(&format!("{recovery:?}, messages, two operators"), &world);
    }
}

/// A message is stopped, the session suspended and resumed, archived, cancelled or deleted, and others take the slot and hand it over.
#[test]
fn a_deed_of_people_and_a_fault_leave_every_message_in_order() {
    for recovery in [Marker, Baseline] {
        let world = world(recovery, 1, (1, 1, 1));
        holds(&format!("{recovery:?}, messages, people"), &world);
    }
}

/// Two deeds, such as a stop while the slot is another's.
#[test]
fn what_people_do_leaves_every_message_in_order() {
    for recovery in [Marker, Baseline] {
        let world = world(recovery, 1, (0, 2, 0));
        holds(&format!("{recovery:?}, messages, two deeds"), &world);
    }
}

/// Expects to see the broken rule.
#[track_caller]
fn caught(
    mutant: Mutant,
    recovery: MessageRecovery,
    (operators, faults, people): (usize, u8, u8),
    expected: &[Violation],
) {
    let mut world = World::new(recovery, operators, faults, people);
    world.mutant = Some(mutant);
    world.horizon = 8;
    let outcome = explore(&world);
    let Some((violation, steps)) = outcome.violation else {
        panic!(
            "{mutant:?} on {recovery:?} is not caught among {} states",
            outcome.states
        );
    };
    println!(
        "{mutant:?} on {recovery:?}: {violation:?} after {} steps",
        steps.len()
    );
    if std::env::var("EXPLORER_TRACES").is_ok() {
        println!("  {steps:?}");
    }
    assert!(
        expected.contains(&violation),
        "{mutant:?}: {violation:?} after {steps:#?}"
    );
}

/// A test for each mutant: on which providers, with how many operators, faults and deeds of people, and what it must lead to.
macro_rules! mutants {
    ($($name:ident: $mutant:ident on [$($recovery:ident),+], $bounds:expr => [$($expected:ident),+];)+) => {
        $(
            #[test]
            fn $name() {
                for recovery in [$($recovery),+] {
                    caught(Mutant::$mutant, recovery, $bounds, &[$($expected),+]);
                }
            }
        )+
    };
}

mutants! {
    without_a_claim_a_message_is_lost_or_sent_twice: NoClaim on [Marker, Baseline], (1, 1, 0)
        => [SentTwice, Unowned];
    a_timeout_of_a_message_is_no_failure: TimeoutIsFailure on [Marker, Baseline], (1, 1, 0)
        => [SentTwice, Unowned];
    without_the_fence_a_late_message_is_sent_twice: NoFence on [Marker, Baseline], (1, 1, 0)
        => [SentTwice];
    without_the_last_check_a_paused_process_sends_twice: NoLastCheck on [Marker, Baseline], (2, 1, 0)
        => [SentTwice, Unowned, WrongEnd];
    the_end_of_the_message_before_is_not_this_one_s: OldEndCounts on [Marker], (1, 0, 0)
        => [WrongEnd];
    what_is_compared_with_nothing_is_another_message_s_run: NothingToCompareWith on [Baseline], (1, 1, 0)
        => [WrongRun, WrongEnd, NotSent];
    a_stop_that_is_believed_leaves_a_message_running: StopBelieved on [Marker, Baseline], (1, 1, 1)
        => [WrongEnd, Unowned];
    a_message_without_a_slot_runs_beside_others: SlotIgnored on [Marker, Baseline], (1, 0, 1)
        => [ClaimWithoutSlot];
    a_message_is_held_at_every_request: SuspendedOnlyAtFirst on [Marker, Baseline], (1, 1, 1)
        => [ClaimWhileSuspended];
    what_was_archived_once_stays_so: ArchiveForgotten on [Marker, Baseline], (1, 0, 2)
        => [ClaimAfterArchive];
}
