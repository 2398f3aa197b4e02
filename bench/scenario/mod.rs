//! What is done with a program, and what it costs.

pub mod deletion;
pub mod hanging;
pub mod life;
pub mod memory;
pub mod queue;
pub mod start;
pub mod writes;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::Trouble;
use crate::contestant::{Contestant, Running};
use crate::measure::{ApiRequests, ProcessUsage};
use crate::report::Row;
use crate::world::{ControlPlaneUsage, Round, World};

const MEBIBYTE: f64 = 1_048_576.0;

type Figures = BTreeMap<&'static str, f64>;

/// Everything that is counted, at one moment.
struct Sample {
    at: Instant,
    program: ProcessUsage,
    control_plane: ControlPlaneUsage,
    requests: ApiRequests,
    provider_requests: u64,
}

impl Sample {
    async fn take(world: &World, round: &Round, running: &Running) -> Result<Self, Trouble> {
        Ok(Self {
            at: Instant::now(),
            program: running.usage()?,
            control_plane: world.control_plane_usage()?,
            requests: ApiRequests::read(world.client()).await?,
            provider_requests: round.simulator.next_request(),
        })
    }

    /// Figures for each of `sessions` since `before`.
    fn since(&self, before: &Self, sessions: usize) -> Figures {
        let each = number(sessions);
        let milliseconds =
            |now: Duration, then: Duration| now.saturating_sub(then).as_secs_f64() * 1000.0 / each;
        let requests = self.requests.since(before.requests);
        let elapsed = self.at.duration_since(before.at).as_secs_f64();
        let (plane, plane_before) = (self.control_plane, before.control_plane);
        BTreeMap::from([
            ("sessions_per_second", each / elapsed),
            (
                "cpu_ms_per_session",
                milliseconds(self.program.cpu, before.program.cpu),
            ),
            (
                "api_server_cpu_ms_per_session",
                milliseconds(plane.api_server, plane_before.api_server),
            ),
            (
                "etcd_cpu_ms_per_session",
                milliseconds(plane.store, plane_before.store),
            ),
            ("writes_per_session", requests.session_writes / each),
            ("reads_per_session", requests.session_reads / each),
            ("events_per_session", requests.events / each),
            ("source_reads_per_session", requests.source_reads / each),
            (
                "provider_requests_per_session",
                number_64(self.provider_requests - before.provider_requests) / each,
            ),
            ("resident_mib", number_64(self.program.resident) / MEBIBYTE),
            ("peak_mib", number_64(self.program.peak) / MEBIBYTE),
        ])
    }
}

fn row(
    scenario: &'static str,
    contestant: &Contestant,
    world: &World,
    sessions: usize,
    figures: Figures,
) -> Row {
    Row {
        scenario,
        program: contestant.kind.to_string(),
        store: world.finished(),
        sessions,
        figures,
    }
}

fn number(count: usize) -> f64 {
    number_64(u64::try_from(count).unwrap_or(u64::MAX))
}

#[expect(clippy::cast_precision_loss, reason = "counts here are far below 2^52")]
fn number_64(count: u64) -> f64 {
    count as f64
}
