//! The calls of a provider that an effect stands for: one function each, which answers with the outcome.

use kube::ResourceExt;

use super::super::connection::Linked;
use super::super::scope::Scope;
use super::gather::{Facts, sent_prompt};
use crate::api::CodeSession;
use crate::domain::ids::{AccountFingerprint, SessionId};
use crate::domain::remote::{CancelAnswer, ErrorClass, ProviderError, SessionRef};
use crate::domain::session::{LookupPlan, Outcome, Owner, Unsent};
use crate::providers::contract::AdoptRequest;
use crate::runtime::cache::Kept;

/// Looks at what is there before a paid request.
pub(super) async fn read_baseline(scope: &Scope, facts: &Facts, of: &Unsent) -> Option<Outcome> {
    let linked = facts.linked.as_ref()?;
    let begun = scope.context.uptime();
    let result = match of {
        Unsent::Launch { issue } => linked.provider.baseline(issue.as_deref()).await,
        Unsent::Message(session) => linked.provider.follow_ups()?.newest(session).await,
    };
    Some(Outcome::BaselineRead {
        begun,
        // What was gathered is from before the call, which may have waited long for its turn at the key.
        ended: scope.context.uptime(),
        result,
    })
}

pub(super) async fn look_up(
    scope: &Scope,
    object: &CodeSession,
    facts: &Facts,
    lookup: &LookupPlan,
) -> Option<Outcome> {
    let linked = facts.linked.as_ref()?;
    let clock = linked.clock.difference().unwrap_or_default();
    let (created_from, created_until) = clock.widened(lookup.created_from, lookup.created_until);
    let request = AdoptRequest {
        message: lookup.message.as_ref().map(|message| message.name.clone()),
        keys: lookup.keys.clone(),
        installation: scope.context.installation.clone(),
        uid: facts.uid.clone(),
        repository: lookup.repository.clone().unwrap_or_default(),
        recovery: lookup.recovery,
        template_id: lookup.template_id.clone(),
        baseline: lookup.baseline.clone(),
        sent: sent_prompt(facts, object),
        created_from,
        created_until,
        owned: scope.context.owners.others(&facts.uid),
        prove_absence: lookup.prove_absence,
        evidence_seen: lookup.evidence_seen,
        resume: lookup.resume.clone(),
    };
    let begun = scope.context.uptime();
    let answer = match &lookup.message {
        None => linked.provider.adopt(&request).await,
        Some(message) => {
            let follow_ups = linked.provider.follow_ups()?;
            follow_ups.find(&message.session, &request).await
        }
    };
    Some(Outcome::LookedUp { begun, answer })
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
pub(super) async fn poll_again(
    scope: &Scope,
    facts: &Facts,
    session: &SessionRef,
) -> Option<Outcome> {
    scope.context.memory.change(&facts.uid, |remembered| {
        remembered.polled_after_end = Some(scope.context.uptime());
    });
    let linked = facts.linked.as_ref()?;
    let result = linked.provider.get(session).await;
    Some(Outcome::Examined {
        account: last_account(scope, linked),
        owner: None,
        result,
    })
}

/// Archives the ended session.
pub(super) async fn archive(scope: &Scope, facts: &Facts, session: &SessionRef) -> Option<Outcome> {
    let linked = facts.linked.as_ref()?;
    let archiving = linked.provider.archiving()?;
    let result = archiving.archive(&session.session_id).await;
    Some(Outcome::Archived {
        account: last_account(scope, linked),
        result,
    })
}

/// Looks at a session that a user handed over, and notes whose account saw it. One that belongs to another CodeSession is not
/// looked at.
pub(super) async fn examine(
    scope: &Scope,
    object: &CodeSession,
    facts: &Facts,
    session: &SessionRef,
) -> Option<Outcome> {
    let linked = facts.linked.as_ref()?;
    let owner = owner_of(scope, object, &facts.uid, &session.session_id);
    let result = match owner {
        None => linked.provider.get(session).await,
        Some(_) => Err(ProviderError::unsent(
            ErrorClass::Conflict,
            "it belongs to another CodeSession",
        )),
    };
    // What answers may have another id than what was written: a provider reads ids in more than one form.
    let owner = owner.or_else(|| {
        let found = result.as_ref().ok()?;
        owner_of(scope, object, &facts.uid, &found.session_id)
    });
    Some(Outcome::Examined {
        account: last_account(scope, linked),
        owner,
        result,
    })
}

fn last_account(scope: &Scope, linked: &Linked) -> AccountFingerprint {
    let account = scope.context.accounts.last_account(&linked.key);
    account.map_or_else(
        || AccountFingerprint::new(""),
        |account| account.fingerprint,
    )
}

/// The other CodeSession that a session at the provider belongs to.
fn owner_of(scope: &Scope, object: &CodeSession, uid: &str, session: &SessionId) -> Option<Owner> {
    let owners = &scope.context.owners;
    if !owners.others(uid).contains(session) {
        return None;
    }
    let own_namespace = object.namespace().unwrap_or_default();
    let mut named = None;
    scope.sessions.for_each(|namespace, name, kept| {
        let owner: Option<String> = match kept {
            Kept::Whole(session) => session.uid(),
            Kept::Record(record) => Some(record.uid()),
        };
        if namespace == own_namespace && owner.is_some_and(|owner| owners.owns(&owner, session)) {
            named = Some(name.to_owned());
        }
    });
    Some(named.map_or(Owner::Elsewhere, Owner::Named))
}
