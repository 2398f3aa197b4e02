//! The short form: counts of requests, which no busy machine changes, against what is promised.

use std::time::Duration;

use crate::Trouble;
use crate::contestant;
use crate::report::Row;
use crate::scenario::{deletion, life, queue};
use crate::world::World;

/// What a count must not exceed.
struct Limit {
    figure: &'static str,
    most: f64,
    why: &'static str,
}

const LIFE: &[Limit] = &[
    Limit {
        figure: "writes_per_session",
        most: 6.1,
        why: "finalizer, claim, launched, running, ended, finalizer released",
    },
    Limit {
        figure: "reads_per_session",
        most: 1.0,
        why: "the cache tells, not a read",
    },
    Limit {
        figure: "events_per_session",
        most: 2.1,
        why: "at most two events that tell nothing is wrong",
    },
];

const QUEUE: &[Limit] = &[Limit {
    figure: "writes_per_session",
    most: 8.0,
    why: "waiting costs a write to say so and one for the place in the queue",
}];

const DELETION: &[Limit] = &[
    Limit {
        figure: "stops_per_session",
        most: 2.0,
        why: "a stop that was taken is not sent again blindly",
    },
    Limit {
        figure: "still_running",
        most: 0.0,
        why: "what is deleted is stopped",
    },
    Limit {
        figure: "reported_as_orphaned",
        most: 0.0,
        why: "every stop was confirmed",
    },
];

/// Runs it.
///
/// # Errors
/// If a count is too high, or something does not work.
pub async fn run() -> Result<(), Trouble> {
    let current = contestant::current();
    let mut world = World::start(Duration::from_millis(300)).await?;
    let mut exceeded = Vec::new();
    let row = life::run(&mut world, &current, 200, 60).await?;
    exceeded.extend(check(&row, LIFE));
    let row = queue::run(&mut world, &current, 2, 40).await?;
    exceeded.extend(check(&row, QUEUE));
    let row = deletion::run(&mut world, &current, 40).await?;
    exceeded.extend(check(&row, DELETION));
    if exceeded.is_empty() {
        Ok(())
    } else {
        Err(exceeded.join("\n").into())
    }
}

fn check(row: &Row, limits: &[Limit]) -> Vec<String> {
    let mut exceeded = Vec::new();
    for limit in limits {
        let Some(value) = row.figures.get(limit.figure) else {
            exceeded.push(format!(
                "{}: {} is not measured",
                row.scenario, limit.figure
            ));
            continue;
        };
        println!(
            "{:<10} {:<22} {value:>6.2} of at most {:.1}",
            row.scenario, limit.figure, limit.most
        );
        if *value > limit.most {
            exceeded.push(format!(
                "{}: {} is {value:.2}, more than {:.1} ({})",
                row.scenario, limit.figure, limit.most, limit.why
            ));
        }
    }
    exceeded
}
