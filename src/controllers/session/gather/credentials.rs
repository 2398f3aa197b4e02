//! Whether everything is there that talking to the provider needs: the Secret, the connection, the account.

use crate::api::{KeyReference, ProviderSpec, Reason};
use crate::controllers::accounts::CredentialState;
use crate::controllers::connection::links::Linked;
use crate::controllers::connection::{Obstacle, held, link, obstacle};
use crate::controllers::memory::Remembered;
use crate::controllers::scope::Scope;
use crate::controllers::session::{attach, salted};
use crate::domain::effective::{Fault, Objection};
use crate::domain::remote::ErrorClass;
use crate::domain::send::scope::LaunchScope;
use crate::domain::session::{AgentView, Connected, Inputs, Readiness};

/// Whether the credential that a session has used so far may not be the right one any more.
pub(super) fn doubted(scope: &Scope, remembered: &Remembered, kept: &Linked) -> bool {
    let by_look = remembered.look.as_ref().is_some_and(|look| {
        look.result.as_ref().is_err_and(|error| {
            matches!(
                error.class,
                ErrorClass::Unauthorized | ErrorClass::Forbidden | ErrorClass::NotFound
            )
        })
    });
    let state = scope.context.accounts.state_of(&kept.key);
    by_look || matches!(state, Some(CredentialState::Refused { .. }))
}

/// Connects with what the Secret holds now, or else with what was `kept` since the launch.
pub(super) async fn connect(
    scope: &Scope,
    namespace: &str,
    uid: &str,
    spec: &ProviderSpec,
    secret: &KeyReference,
    kept: Option<&Linked>,
    launched: bool,
) -> Result<Linked, Obstacle> {
    let context = &scope.context;
    let Some(provider) = context.provider(spec) else {
        return Err(Obstacle {
            objection: Objection {
                reason: Reason::ProviderDisabled,
                message: "this installation of the operator does not run this provider".to_owned(),
                fault: Fault::Surroundings,
            },
            passing: false,
            again: context.timing().fault_wait_max,
        });
    };
    match link(context, namespace, provider, spec, secret).await {
        Ok(linked) => {
            attach(scope, uid, linked.clone());
            Ok(linked)
        }
        // A Secret that is gone does not end a session that runs: its credential is kept until the session is over.
        Err(obstacle) => kept
            .cloned()
            .ok_or_else(|| unreachable(obstacle, spec.endpoint().filter(|_| launched))),
    }
}

/// What stands in the way of the endpoint that a session was launched at: it is told that this one is meant, since the
/// CodeAgent may name another one by now.
fn unreachable(mut obstacle: Obstacle, launched_at: Option<&str>) -> Obstacle {
    let about_endpoint = matches!(
        obstacle.objection.reason,
        Reason::EndpointNotAllowed | Reason::InsecureEndpoint
    );
    if let (true, Some(endpoint)) = (about_endpoint, launched_at) {
        obstacle.objection.message = format!(
            "it was launched at {endpoint}, which cannot be used any more, and it is not looked for anywhere else: {}",
            obstacle.objection.message
        );
    }
    obstacle
}

/// What keeps a launch with these settings back, and others like it: the provider wants no requests, or refuses them for the sake of
/// the account, the repository or the model.
pub(super) fn launches_held(
    scope: &Scope,
    linked: &Linked,
    agent: &AgentView,
    uid: &str,
) -> Option<Obstacle> {
    let context = &scope.context;
    if let Some(pause) = linked.lanes.silent_for() {
        return Some(Obstacle {
            objection: Objection {
                reason: Reason::RateLimited,
                message: "waits, the provider wants no requests with this key for now".to_owned(),
                fault: Fault::Surroundings,
            },
            passing: true,
            again: pause,
        });
    }
    // Whoever does not launch for another reason must not be the one that tries.
    let AgentView::Present {
        effective,
        suspended: false,
        objection: None,
        ..
    } = agent
    else {
        return None;
    };
    let launches = LaunchScope::of_launch(effective);
    let hold = context.accounts.held(&linked.key, &launches)?;
    let may_probe = context.accounts.may_probe(&linked.key, &launches, uid);
    (!may_probe).then(|| Obstacle {
        objection: held(&hold),
        passing: false,
        again: hold.again.min(context.timing().fault_wait_max),
    })
}

pub(super) fn readiness(
    scope: &Scope,
    uid: &str,
    linked: Option<Result<Linked, Obstacle>>,
    secret: Option<&KeyReference>,
    inputs: Option<Inputs>,
    blocked: Option<Obstacle>,
    launched: bool,
) -> (Readiness, Option<Linked>) {
    let block = |obstacle: Obstacle| Readiness::Blocked {
        objection: obstacle.objection,
        passing: obstacle.passing,
        again: obstacle.again,
    };
    let linked = match linked {
        None => return (Readiness::NotGathered, None),
        Some(Err(obstacle)) => return (block(obstacle), None),
        Some(Ok(linked)) => linked,
    };
    if let Some(obstacle) = blocked {
        return (block(obstacle), Some(linked));
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
            match obstacle(&state, secret) {
                Some(mut obstacle) => {
                    // A mended key is another key: the Secret is read again long before the provider is asked again.
                    if !obstacle.passing {
                        obstacle.again = obstacle.again.min(scope.context.timing().recheck);
                    }
                    block(obstacle)
                }
                None => Readiness::Unverified,
            }
        }
    };
    (readiness, Some(linked))
}
