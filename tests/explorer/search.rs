//! Breadth-first search over states, the way to rest from each of them, and what is counted on the way.

use std::collections::{HashSet, VecDeque};
use std::fmt;
use std::hash::BuildHasherDefault;
use std::time::{Duration, Instant};

use codeagent_operator::api::{OnUnknownLaunch, SendState, SessionPhase};
use codeagent_operator::domain::remote::Recovery;

use crate::check::Violation;
use crate::graph::Graph;
use crate::model::{Action, Bounds, Key, Luck, Mixer, SUSPENDED, State, TICK, Work, World};
use crate::operator::Stage;
use crate::tables::FastMap;

type Digests = HashSet<u64, BuildHasherDefault<Mixer>>;

/// What a search has seen.
pub struct Explored {
    pub states: usize,
    pub transitions: usize,
    depth: usize,
    /// Ordered pairs of fault positions that some run has, the first before the second.
    pub pairs: usize,
    /// Fault positions: a fault, and where in the protocol it strikes.
    positions: usize,
    /// The most that the operators wrote in one object's life.
    writes: u8,
    took: Duration,
    pub violation: Option<Counterexample>,
}

/// A violation and the shortest way to it.
pub struct Counterexample {
    pub violation: Violation,
    steps: Vec<Action>,
    /// How many steps without faults follow.
    calm: usize,
}

impl Counterexample {
    /// Steps to it, with those that follow without faults.
    pub fn length(&self) -> usize {
        self.steps.len() + self.calm
    }
}

impl fmt::Display for Explored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} states, {} transitions, depth {}, {} fault positions, {} pairs of them, at most {} writes, {:.1} s",
            self.states,
            self.transitions,
            self.depth,
            self.positions,
            self.pairs,
            self.writes,
            self.took.as_secs_f64()
        )
    }
}

impl fmt::Display for Counterexample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} after", self.violation)?;
        for step in &self.steps {
            write!(f, " · {step}")?;
        }
        if self.calm > 0 {
            write!(f, " · then {} steps without any fault", self.calm)?;
        }
        Ok(())
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let with = |luck: &Luck| match luck {
            Luck::Good => String::new(),
            luck => format!(" ({luck:?})"),
        };
        match self {
            Self::Pass { operator, luck } => write!(f, "{operator}: pass{}", with(luck)),
            Self::StalePass { operator } => write!(f, "{operator}: pass on a stale view"),
            Self::Hold { operator } => write!(f, "{operator}: decides, stopped"),
            Self::Step { operator, luck } => write!(f, "{operator}: goes on{}", with(luck)),
            Self::Recording { operator, luck } => {
                write!(f, "{operator}: goes on recording{}", with(luck))
            }
            Self::Crash { operator } => write!(f, "{operator}: crash"),
            other => write!(f, "{other:?}"),
        }
    }
}

/// Where each state was first reached from: the state, and which of its actions.
type Parents = Vec<(u32, u8)>;

/// Walks every reachable state within the world's bounds.
pub fn explore(world: &World) -> Explored {
    let begun = Instant::now();
    let first = State::first(world);
    let mut numbers: FastMap<u64, u32> = FastMap::default();
    let mut parents: Parents = vec![(0, 0)];
    let mut resting = Digests::default();
    let mut queue = VecDeque::new();
    let mut graph = Graph::default();
    let mut found = None;
    let (mut transitions, mut depth) = (0, 0);
    numbers.insert(first.digest(), 0);
    queue.push_back((first, 0_usize));
    let mut number = 0_u32;
    'search: while let Some((state, at_depth)) = queue.pop_front() {
        depth = depth.max(at_depth);
        if u64::from(number) % world.rest_every == 0
            && let Err((violation, calm)) = comes_to_rest(world, &state, &mut resting)
        {
            found = Some(Counterexample {
                violation,
                steps: path(world, &parents, number),
                calm,
            });
            break;
        }
        graph.state(state.used(world), state.left.total > 0);
        for (place, action) in state.actions(world).into_iter().enumerate() {
            transitions += 1;
            match state.apply(world, action) {
                Ok((next, writes)) => {
                    let fresh = u32::try_from(parents.len()).unwrap();
                    let target = *numbers.entry(next.digest()).or_insert(fresh);
                    let position = action.fault().map(|fault| state.position(world, fault));
                    graph.edge(target, position, writes);
                    if target == fresh {
                        parents.push((number, u8::try_from(place).unwrap()));
                        queue.push_back((next, at_depth + 1));
                    }
                }
                Err(violation) => {
                    let mut steps = path(world, &parents, number);
                    steps.push(action);
                    found = Some(Counterexample {
                        violation,
                        steps,
                        calm: 0,
                    });
                    break 'search;
                }
            }
        }
        number += 1;
    }
    let counted = if found.is_none() {
        graph.count(world.operators == 1)
    } else {
        crate::graph::Counted::default()
    };
    if let (None, Some(number)) = (&found, counted.too_many_writes) {
        found = Some(Counterexample {
            violation: Violation::TooManyWrites,
            steps: path(world, &parents, number),
            calm: 0,
        });
    }
    Explored {
        states: parents.len(),
        transitions,
        depth,
        pairs: counted.pairs,
        positions: counted.positions,
        writes: counted.writes,
        took: begun.elapsed(),
        violation: found,
    }
}

fn path(world: &World, parents: &Parents, mut number: u32) -> Vec<Action> {
    let mut places = Vec::new();
    while number > 0 {
        let (parent, place) = parents[number as usize];
        places.push(place);
        number = parent;
    }
    let mut state = State::first(world);
    let mut steps = Vec::new();
    for place in places.into_iter().rev() {
        let action = state.actions(world)[usize::from(place)];
        steps.push(action);
        state = match state.apply(world, action) {
            Ok((next, _)) => next,
            Err(violation) => panic!("the way to a state is not one: {violation}"),
        };
    }
    steps
}

impl State {
    /// How many faults have struck.
    fn used(&self, world: &World) -> u8 {
        world.bounds.total - self.left.total
    }

    /// Where in the protocol a fault strikes: at which tick, where each pass stands, and what is recorded.
    fn position(&self, world: &World, fault: Action) -> Position {
        let stored = self.object.map(|object| world.tables.status(object.status));
        Position {
            fault,
            tick: self.tick,
            places: [0, 1].map(|operator| self.operators[operator].place(world)),
            uids: self.uids,
            claims: self.claims,
            phase: stored.as_ref().map(|stored| stored.phase as u8),
            launch: stored
                .and_then(|stored| stored.launch)
                .map(|launch| launch as u8),
            stopping: self
                .object
                .is_some_and(|object| object.cancelled || object.deleting.is_some()),
        }
    }
}

/// A fault and where it strikes.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Position {
    fault: Action,
    tick: u8,
    places: [u8; 2],
    uids: u8,
    claims: u8,
    phase: Option<u8>,
    launch: Option<u8>,
    stopping: bool,
}

/// The most steps from any state to rest, and the most ticks.
const PATIENCE: usize = 400;
const LAST_TICK: u8 = 120;

/// Follows one way without faults until nothing is left to do, and checks what holds there.
fn comes_to_rest(
    world: &World,
    from: &State,
    resting: &mut Digests,
) -> Result<(), (Violation, usize)> {
    let mut state = from.clone();
    // Either operator may be the one that is left.
    state.leader = Some(usize::from(from.uids + from.tick) % world.operators);
    state.left = Bounds::NONE;
    // Whoever suspended it lets it run again: then everything promised is owed again.
    if state.agent == SUSPENDED {
        state.agent = 2;
    }
    if state.object.is_some_and(|object| object.suspended) {
        state.change(|object| {
            object.suspended = false;
            object.generation += 1;
        });
    }
    state.normalise(world);
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
        if state.tick >= LAST_TICK {
            return Err((Violation::NeverStable, step));
        }
        match calm_step(world, &state, digest).map_err(|violation| (violation, step))? {
            Some(next) => state = next,
            None => {
                at_rest(world, &state).map_err(|violation| (violation, step))?;
                resting.extend(way);
                return Ok(());
            }
        }
    }
    Err((Violation::NeverStable, PATIENCE))
}

/// The next step when nothing goes wrong; `None` at rest.
fn calm_step(world: &World, state: &State, digest: u64) -> Result<Option<State>, Violation> {
    let apply = |action| state.apply(world, action).map(|(next, _)| next);
    for operator in 0..world.operators {
        if state.operators[operator].is_waiting_to_record() {
            let luck = Luck::Good;
            return apply(Action::Recording { operator, luck }).map(Some);
        }
        if state.operators[operator].stage != Stage::Idle {
            let luck = Luck::Good;
            return apply(Action::Step { operator, luck }).map(Some);
        }
    }
    let operator = state.leader.unwrap_or_default();
    let luck = Luck::Good;
    let next = apply(Action::Pass { operator, luck })?;
    if next.digest() != digest {
        return Ok(Some(next));
    }
    if state.wants_another_pass(world, operator) && !state.waits_for_people(world) {
        return apply(Action::Tick).map(Some);
    }
    let running = state
        .followed(world, operator)
        .is_some_and(|place| state.sessions[place].work == Work::Running);
    if running {
        let luck = Luck::Ended;
        return apply(Action::Pass { operator, luck }).map(Some);
    }
    // Looks at a launched session go on by themselves; what they show may be believed only after a while.
    let goes_on = state.object.is_some_and(|object| {
        let stored = world.tables.status(object.status);
        !stored.terminal && !stored.stalled
    });
    if goes_on {
        apply(Action::Tick).map(Some)
    } else {
        Ok(None)
    }
}

impl State {
    /// Whether the Secret is looked at again and again, and nothing else is to be done.
    fn waits_for_people(&self, world: &World) -> bool {
        self.key == Key::Gone
            && self.object.is_some_and(|object| {
                let stored = world.tables.status(object.status);
                let open = matches!(stored.launch, Some(SendState::Claimed | SendState::Unknown));
                stored.stalled && !open && object.deleting.is_none()
            })
    }
}

/// What must hold where nothing is left to do.
fn at_rest(world: &World, state: &State) -> Result<(), Violation> {
    let Some(object) = &state.object else {
        return Ok(());
    };
    if object.deleting.is_some() {
        return Err(Violation::DeletionStuck);
    }
    let stored = world.tables.status(object.status);
    if stored.terminal && object.finalizer {
        return Err(Violation::FinalizerLeft);
    }
    if !stored.terminal && !stored.stalled {
        return Err(Violation::NeverStable);
    }
    let findable = match world.recovery {
        Recovery::ClientId | Recovery::Marker => true,
        Recovery::None => false,
    };
    // Rule 12: exactly once, if everything shows in time, and nobody wanted something else or took away what is needed.
    let promised = world.promised
        && findable
        && world.on_unknown == OnUnknownLaunch::Recover
        && world.later_than_assumed == 0
        && !object.cancelled
        && state.agent > 0
        && state.key != Key::Gone
        && stored.account.unwrap_or_default() == state.key.account()
        && stored.error.as_deref() != Some("InvalidRequest");
    let launches = state.own_sessions().filter(|s| s.uid == object.uid).count();
    let fulfilled = launches == 1
        && stored.launch == Some(SendState::Confirmed)
        && stored.phase == SessionPhase::Finished;
    if promised && !fulfilled {
        return Err(Violation::NotLaunched);
    }
    Ok(())
}
