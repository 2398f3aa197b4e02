//! Walks every reachable state of the launch protocol within bounds, around the operator's real decisions.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod check;
mod graph;
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

fn holds(name: &str, world: &World) {
    let outcome = explore(world);
    println!("{name}: {outcome}");
    if let Some(found) = outcome.violation {
        panic!("{name}: {found}");
    }
}

#[test]
fn probe() {
    let get = |name: &str, default: u8| std::env::var(name).ok().map_or(default, |v| v.parse().unwrap());
    let recovery = match get("R", 1) { 0 => Recovery::ClientId, 1 => Recovery::Marker, _ => Recovery::None };
    let w = world(recovery, usize::from(get("O", 1)), get("F", 1), get("H", 5));
    holds("probe", &w);
}
