//! Breadth-first search over states, and the way to rest from each of them.

use std::collections::{HashMap, HashSet, VecDeque};
use std::fmt;
use std::time::{Duration, Instant};

use codeagent_operator::api::{ConditionStatus, condition};

use crate::check::Violation;
use crate::model::{Action, Bounds, Luck, Object, State, TICK, Work, World};
use crate::operator::Stage;

/// What a search has seen.
pub struct Explored {
    states: usize,
    transitions: usize,
    depth: usize,
    took: Duration,
    pub violation: Option<Counterexample>,
}

/// A violation and the shortest way to it.
pub struct Counterexample {
    pub violation: Violation,
    steps: Vec<Action>,
    /// How many of the steps are the explorer's own way to rest.
    calm: usize,
}

impl fmt::Display for Explored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} states, {} transitions, depth {}, {:.1} s",
            self.states,
            self.transitions,
            self.depth,
            self.took.as_secs_f64()
        )
    }
}

impl fmt::Display for Counterexample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} after", self.violation)?;
        for step in &self.steps {
            write!(f, " · {step:?}")?;
        }
        if self.calm > 0 {
            write!(f, " · then {} steps without any fault", self.calm)?;
        }
        Ok(())
    }
}

/// Walks every reachable state within the world's bounds.
pub fn explore(world: &World) -> Explored {
    let begun = Instant::now();
    let first = State::first(world);
    let mut parents: HashMap<u64, Option<(u64, Action)>> = HashMap::new();
    let mut resting: HashSet<u64> = HashSet::new();
    let mut queue = VecDeque::new();
    let mut explored = Explored {
        states: 0,
        transitions: 0,
        depth: 0,
        took: Duration::ZERO,
        violation: None,
    };
    let digest = first.digest();
    parents.insert(digest, None);
    queue.push_back((first, digest, 0));
    'search: while let Some((state, digest, depth)) = queue.pop_front() {
        explored.states += 1;
        explored.depth = explored.depth.max(depth);
        if digest % world.rest_every == 0
            && let Err((violation, calm)) = comes_to_rest(world, &state, &mut resting)
        {
            explored.violation = Some(Counterexample {
                violation,
                steps: path(&parents, digest),
                calm,
            });
            break;
        }
        for action in state.actions(world) {
            explored.transitions += 1;
            match state.apply(world, action) {
                Ok(next) => {
                    let next_digest = next.digest();
                    if let std::collections::hash_map::Entry::Vacant(new) =
                        parents.entry(next_digest)
                    {
                        new.insert(Some((digest, action)));
                        queue.push_back((next, next_digest, depth + 1));
                    }
                }
                Err(violation) => {
                    let mut steps = path(&parents, digest);
                    steps.push(action);
                    explored.violation = Some(Counterexample {
                        violation,
                        steps,
                        calm: 0,
                    });
                    break 'search;
                }
            }
        }
    }
    explored.took = begun.elapsed();
    explored
}

fn path(parents: &HashMap<u64, Option<(u64, Action)>>, mut digest: u64) -> Vec<Action> {
    let mut steps = Vec::new();
    while let Some(Some((parent, action))) = parents.get(&digest) {
        steps.push(*action);
        digest = *parent;
    }
    steps.reverse();
    steps
}

/// The most steps from any state to rest.
const PATIENCE: usize = 200;

/// Follows one way without faults until nothing is left to do, and checks what holds there.
fn comes_to_rest(
    world: &World,
    from: &State,
    resting: &mut HashSet<u64>,
) -> Result<(), (Violation, usize)> {
    let mut state = from.clone();
    state.calm = true;
    state.left = Bounds::NONE;
    let deadline = {
        let timing = &world.timing;
        let bound = timing.deletion_bound + timing.deletion_slack + TICK;
        let ticks = u8::try_from(bound.as_secs() / TICK.as_secs()).unwrap();
        move |deleting: u8| deleting.max(from.tick) + ticks
    };
    let mut way = Vec::new();
    for step in 0..PATIENCE {
        let digest = state.digest();
        if resting.contains(&digest) {
            resting.extend(way);
            return Ok(());
        }
        way.push(digest);
        if let Some(object) = &state.object
            && let Some(deleting) = object.deleting
            && state.tick > deadline(deleting)
        {
            return Err((Violation::DeletionStuck, step));
        }
        match calm_step(world, &state).map_err(|violation| (violation, step))? {
            Some(next) => state = next,
            None => {
                at_rest(&state).map_err(|violation| (violation, step))?;
                resting.extend(way);
                return Ok(());
            }
        }
    }
    Err((Violation::NeverStable, PATIENCE))
}

/// The next step when nothing goes wrong; `None` at rest.
fn calm_step(world: &World, state: &State) -> Result<Option<State>, Violation> {
    for (index, operator) in state.operators.iter().enumerate() {
        if !matches!(operator.stage, Stage::Idle) {
            let action = Action::Step {
                operator: index,
                luck: Luck::Good,
            };
            return state.apply(world, action).map(Some);
        }
    }
    if let Some(session) = state.sessions.iter().position(|s| s.visible_by.is_some()) {
        return state.apply(world, Action::Appear { session }).map(Some);
    }
    let mut again = false;
    for operator in 0..state.operators.len() {
        let pass = Action::Pass {
            operator,
            fresh: true,
        };
        let next = state.apply(world, pass)?;
        if next.digest() != state.digest() {
            return Ok(Some(next));
        }
        again |= state.wants_another_pass(world, operator);
    }
    if again {
        return state.apply(world, Action::Tick).map(Some);
    }
    let running = state.sessions.iter().position(|s| {
        let followed = state.object.as_ref().is_some_and(|object| {
            !object.is_terminal()
                && object.session_id() == Some(&*s.id)
                && s.account == state.account
        });
        s.work == Work::Running && followed
    });
    match running {
        Some(session) => state.apply(world, Action::Finish { session }).map(Some),
        // Looks at a launched session go on by themselves; what they show may be believed only after a while.
        None if state
            .object
            .as_ref()
            .is_some_and(|o| !o.is_terminal() && !is_stalled(o)) =>
        {
            state.apply(world, Action::Tick).map(Some)
        }
        None => Ok(None),
    }
}

fn is_stalled(object: &Object) -> bool {
    object.status.as_ref().is_some_and(|status| {
        condition(&status.conditions, "Stalled")
            .is_some_and(|stalled| stalled.status == ConditionStatus::True)
    })
}

/// What must hold where nothing is left to do.
fn at_rest(state: &State) -> Result<(), Violation> {
    let Some(object) = &state.object else {
        return Ok(());
    };
    if object.deleting.is_some() {
        return Err(Violation::DeletionStuck);
    }
    if (object.is_terminal() && !object.finalizer) || is_stalled(object) {
        Ok(())
    } else {
        Err(Violation::NeverStable)
    }
}
