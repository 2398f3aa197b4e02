//! Whether everything is there that talking to the provider needs: the Secret, the connection, the account.

use crate::api::{KeyReference, ProviderSpec, Reason};
use crate::controllers::accounts::CredentialState;
use crate::controllers::connection::links::Linked;
use crate::controllers::connection::{held, link, not_ready};
use crate::controllers::memory::Remembered;
use crate::controllers::scope::Scope;
use crate::domain::blocker::{Blocker, Cause, NotReady};
use crate::domain::ids::AccountFingerprint;
use crate::domain::remote::ErrorClass;
use crate::domain::send::scope::LaunchScope;
use crate::domain::session::{AgentView, Connected, Inputs, Readiness};

/// Whether the credential that a session has used so far may not be the right one any more.
pub(super) fn doubted(scope: &Scope, remembered: &Remembered, kept: &Linked) -> bool {
    let by_poll = remembered.poll.as_ref().is_some_and(|poll| {
        poll.result.as_ref().is_err_and(|error| {
            matches!(
                error.class,
                ErrorClass::Unauthorized | ErrorClass::Forbidden | ErrorClass::NotFound
            )
        })
    });
    let state = scope.context.accounts.state_of(&kept.key);
    by_poll || matches!(state, Some(CredentialState::Refused { .. }))
}

/// Connects with what the Secret holds now, or else with what was `kept` since the launch.
pub(super) async fn connect(
    scope: &Scope,
    namespace: &str,
    uid: &str,
    spec: &ProviderSpec,
    secret: Option<&KeyReference>,
    kept: Option<&Linked>,
    launched: bool,
) -> Result<Linked, NotReady> {
    let context = &scope.context;
    let Some(provider) = context.provider(spec) else {
        return Err(NotReady {
            blocker: Blocker {
                reason: Reason::ProviderDisabled,
                message: "this installation of the operator does not run this provider".to_owned(),
                cause: Cause::Environment,
            },
            transient: false,
            again: context.timing().fault_wait_max,
        });
    };
    match link(context, namespace, provider, spec, secret).await {
        Ok(linked) => {
            // It is kept for as long as the session is active.
            context.memory.change(uid, |remembered| {
                remembered.attached = Some(linked.clone());
            });
            Ok(linked)
        }
        // A Secret that is gone does not end a session that runs: its credential is kept until the session is over.
        Err(not_ready) => kept
            .cloned()
            .ok_or_else(|| unreachable(not_ready, spec.endpoint().filter(|_| launched))),
    }
}

/// What stands in the way of the endpoint that a session was launched at: it is told that this one is meant, since the
/// CodeAgent may name another one by now.
fn unreachable(mut not_ready: NotReady, launched_at: Option<&str>) -> NotReady {
    let about_endpoint = matches!(
        not_ready.blocker.reason,
        Reason::EndpointNotAllowed | Reason::InsecureEndpoint
    );
    if let (true, Some(endpoint)) = (about_endpoint, launched_at) {
        not_ready.blocker.message = format!(
            "it was launched at {endpoint}, which cannot be used any more, and it is not looked for anywhere else: {}",
            not_ready.blocker.message
        );
    }
    not_ready
}

/// What keeps a launch with these settings back, and others like it: the provider wants no requests, or refuses them for the sake of
/// the account, the repository or the model.
pub(super) fn launches_held(
    scope: &Scope,
    linked: &Linked,
    agent: &AgentView,
    uid: &str,
) -> Option<NotReady> {
    let context = &scope.context;
    if let Some(pause) = linked.lanes.silent_for() {
        return Some(NotReady {
            blocker: Blocker {
                reason: Reason::RateLimited,
                message: "waits, the provider wants no requests with this key for now".to_owned(),
                cause: Cause::Environment,
            },
            transient: true,
            again: pause,
        });
    }
    // Whoever does not launch for another reason must not be the one that tries.
    let AgentView::Present {
        effective,
        suspended: false,
        blocker: None,
        ..
    } = agent
    else {
        return None;
    };
    let launches = LaunchScope::of_launch(effective);
    let hold = context.accounts.held(&linked.key, &launches)?;
    let may_probe = context.accounts.may_probe(&linked.key, &launches, uid);
    (!may_probe).then(|| NotReady {
        blocker: held(&hold),
        transient: false,
        again: hold.again.min(context.timing().fault_wait_max),
    })
}

pub(super) fn readiness(
    scope: &Scope,
    uid: &str,
    linked: Option<Result<Linked, NotReady>>,
    secret: Option<&KeyReference>,
    inputs: Option<Inputs>,
    blocked: Option<NotReady>,
    launched: bool,
) -> (Readiness, Option<Linked>) {
    let linked = match linked {
        None => return (Readiness::NotGathered, None),
        Some(Err(not_ready)) => return (Readiness::NotReady(not_ready), None),
        Some(Ok(linked)) => linked,
    };
    if let Some(not_ready) = blocked {
        return (Readiness::NotReady(not_ready), Some(linked));
    }
    let accounts = &scope.context.accounts;
    let state = accounts.state_of(&linked.key);
    let account = match &state {
        Some(CredentialState::Accepted(account)) => Some(account.clone()),
        // What was launched is followed through outages; its calls tell for themselves.
        Some(CredentialState::Unreachable { .. }) | None if launched => {
            accounts.last_account(&linked.key)
        }
        Some(CredentialState::Refused { .. } | CredentialState::Unreachable { .. }) | None => None,
    };
    let readiness = match (account, state) {
        (Some(account), _) => Readiness::Ready(Connected {
            account: account.fingerprint,
            verified: match accounts.state_of(&linked.key) {
                Some(CredentialState::Accepted(_)) => accounts
                    .age(&linked.key)
                    .map(|age| scope.context.uptime().saturating_sub(age)),
                Some(CredentialState::Refused { .. } | CredentialState::Unreachable { .. })
                | None => None,
            },
            credential: salted(uid, &linked.credential),
            inputs,
        }),
        (None, None) => Readiness::Unverified,
        (None, Some(state)) => {
            let secret = secret.map_or("", |secret| secret.name.as_str());
            match not_ready(&state, secret) {
                Some(mut not_ready) => {
                    // A mended key is another key: the Secret is read again long before the provider is asked again.
                    if !not_ready.transient {
                        not_ready.again = not_ready.again.min(scope.context.timing().recheck);
                    }
                    Readiness::NotReady(not_ready)
                }
                None => Readiness::Unverified,
            }
        }
    };
    (readiness, Some(linked))
}

/// Digest of a credential, salted with the session's uid: tells a changed key in `status` without telling the key.
fn salted(uid: &str, credential: &str) -> String {
    AccountFingerprint::of(uid, &[credential])
        .as_str()
        .to_owned()
}
