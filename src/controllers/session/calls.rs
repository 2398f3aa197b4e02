//! The calls of a provider that an effect stands for: one function each, which answers with the outcome.

use super::super::scope::Scope;
use super::gather::Facts;
use crate::domain::ids::AccountFingerprint;
use crate::domain::remote::{CancelAnswer, SessionRef};
use crate::domain::session::{LookupPlan, Outcome};
use crate::providers::contract::AdoptRequest;

/// Looks at what is there before a launch.
pub(super) async fn preflight(
    scope: &Scope,
    facts: &Facts,
    issue: Option<&str>,
) -> Option<Outcome> {
    let linked = facts.linked.as_ref()?;
    Some(Outcome::Preflighted {
        begun: scope.context.uptime(),
        result: linked.provider.baseline(issue).await,
    })
}

pub(super) async fn look_up(scope: &Scope, facts: &Facts, lookup: &LookupPlan) -> Option<Outcome> {
    let linked = facts.linked.as_ref()?;
    let request = AdoptRequest {
        keys: lookup.keys.clone(),
        installation: scope.context.installation.clone(),
        uid: facts.uid.clone(),
        repository: lookup.repository.clone().unwrap_or_default(),
        template_id: lookup.template_id.clone(),
        baseline: lookup.baseline.clone(),
        created_from: lookup.created_from,
        created_until: lookup.created_until,
        owned: scope.context.owned_by_others(&facts.uid),
        client_id_honoured: lookup.client_id_honoured,
        resume: lookup.resume.clone(),
    };
    Some(Outcome::LookedUp {
        begun: scope.context.uptime(),
        answer: linked.provider.adopt(&request).await,
    })
}

pub(super) async fn stop(scope: &Scope, facts: &Facts, session: &SessionRef) -> Option<Outcome> {
    let linked = facts.linked.as_ref()?;
    let memory = &scope.context.memory;
    memory.change(&facts.uid, |remembered| {
        remembered.last_stop = Some(scope.context.uptime());
    });
    let answer = linked.provider.cancel(session).await;
    if matches!(answer, Ok(CancelAnswer::Accepted)) {
        memory.change(&facts.uid, |remembered| remembered.stop_taken = true);
    }
    Some(Outcome::Stopped(answer))
}

/// Looks at the ended session once more.
pub(super) async fn look_again(
    scope: &Scope,
    facts: &Facts,
    session: &SessionRef,
) -> Option<Outcome> {
    scope.context.memory.change(&facts.uid, |remembered| {
        remembered.looked_after_end = Some(scope.context.uptime());
    });
    examine(scope, facts, session).await
}

/// Looks at the session, and notes whose account saw it.
pub(super) async fn examine(scope: &Scope, facts: &Facts, session: &SessionRef) -> Option<Outcome> {
    let linked = facts.linked.as_ref()?;
    let account = scope.context.accounts.last_account(&linked.key);
    Some(Outcome::Examined {
        account: account.map_or_else(
            || AccountFingerprint::new(""),
            |account| account.fingerprint,
        ),
        result: linked.provider.get(session).await,
    })
}
