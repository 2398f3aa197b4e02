//! What a process reads when it becomes the leader: the active sessions as they are stored now.
//!
//! A standby's watch may have been silent for minutes before it notices. What the leader before it launched in that time would be
//! missing in the count of active sessions, and more would be launched than the limits allow. The objects themselves are safe
//! without this: a claim on an outdated one is refused by the API server.

use std::sync::Arc;
use std::time::Duration;

use kube::api::{Api, ListParams};
use kube::core::DeserializeGuard;
use tokio::time::Instant;

use super::error::Chain;
use super::scope::Scope;
use crate::api::{CodeSession, SessionPhase};
use crate::runtime::cache::prune;

/// Every phase in which a session holds no slot, to be excluded.
const INACTIVE: [SessionPhase; 5] = [
    SessionPhase::Pending,
    SessionPhase::Finished,
    SessionPhase::Error,
    SessionPhase::Cancelled,
    SessionPhase::Expired,
];

/// Objects of one page.
const PAGE: u32 = 100;

/// After so long the cache has to do: a limit that is exceeded is better than sessions that nobody follows.
const PATIENCE: Duration = Duration::from_secs(60);

/// Reads the active sessions of a scope, so that the slots that they hold are taken. Repeated until the API server has answered, for
/// a minute at most.
pub(super) async fn read_active(scope: &Scope, sessions: &Api<DeserializeGuard<CodeSession>>) {
    let until = Instant::now() + PATIENCE;
    while let Err(error) = read_once(scope, sessions).await {
        let refused = matches!(&error, kube::Error::Api(status) if status.code < 500);
        if refused || Instant::now() >= until {
            tracing::warn!(error = %Chain(&error), "the active sessions could not be read; limits count those that the watch has shown");
            return;
        }
        tokio::time::sleep(scope.context.timing().fault_wait_min).await;
    }
}

async fn read_once(
    scope: &Scope,
    sessions: &Api<DeserializeGuard<CodeSession>>,
) -> Result<(), kube::Error> {
    let inactive = INACTIVE.map(|phase| format!("status.phase!={}", phase.as_str()));
    let mut page = ListParams::default()
        .fields(&inactive.join(","))
        .limit(PAGE);
    loop {
        let list = sessions.list(&page).await?;
        // One that cannot be read is reported by the watch.
        for mut session in list.items.into_iter().filter_map(|guard| guard.0.ok()) {
            prune(&mut session);
            scope.stored(&Arc::new(session));
        }
        match list.metadata.continue_ {
            Some(next) if !next.is_empty() => page = page.continue_token(&next),
            Some(_) | None => return Ok(()),
        }
    }
}
