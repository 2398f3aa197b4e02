//! What a session asks of the admission before its launch.

use kube::ResourceExt;
use kube_runtime::reflector::ObjectRef;

use super::super::admission::{
    AccountKey, BranchKey, Grant, IssueKey, Resource, Want, account_in_use, open_claim, slots_of,
};
use super::super::scope::Scope;
use crate::api::{CodeAgent, CodeSession, Effective, QueueResource};
use crate::domain::ids::AccountFingerprint;
use crate::domain::session::{Lock, Slot, SlotOwner};

/// What a session needs that others may hold.
pub(super) struct Applies<'a> {
    /// Its CodeAgent.
    pub agent: Option<&'a CodeAgent>,
    /// The settings that it would be launched with, or was.
    pub effective: Option<&'a Effective>,
    /// The account that its key belongs to, if it was asked.
    pub account: Option<&'a AccountFingerprint>,
    /// Whether a lost launch can be told from others only by what is new at the issue.
    pub issue_tells: bool,
    /// Whether it could be launched now.
    pub able: bool,
}

/// Asks for a slot among the agent's sessions and the account's, and for the locks of issue and branch; one that cannot be launched now asks for nothing,
/// because it must not hold what another could use.
pub(super) fn admit(scope: &Scope, object: &CodeSession, needs: &Applies<'_>) -> (Slot, Lock) {
    let admission = &scope.context.admission;
    let claimed = open_claim(object);
    let mut wants = Vec::new();
    if needs.able {
        let limit = needs
            .agent
            .and_then(|agent| agent.spec.max_concurrent_sessions);
        wants.extend(limit.map(|limit| Want {
            resource: slots_of(object),
            capacity: usize::try_from(limit).unwrap_or(0),
        }));
        let effective = needs.effective;
        wants.extend(account_of(object, needs).and_then(|account| admission.of_account(account)));
        let issue = effective.and_then(|effective| issue_of(object, effective));
        let issue = issue.filter(|_| needs.issue_tells && claimed.is_none());
        wants.extend(issue.map(lock_of));
        let branch = effective.and_then(|effective| branch_of(object, effective));
        wants.extend(branch.map(|branch| Want {
            resource: Resource::Branch(branch),
            capacity: 1,
        }));
    }
    // What is claimed is held already; asking tells since when.
    wants.extend(claimed.filter(|_| needs.issue_tells).map(lock_of));
    if wants.is_empty() {
        admission.withdraw(&object.uid().unwrap_or_default());
        return (Slot::Free, Lock::Unneeded);
    }
    let applicant = scope.applicant(object);
    let wants_issue = wants
        .iter()
        .any(|want| matches!(want.resource, Resource::Issue(_)));
    match admission.request(&applicant, &wants, scope.context.uptime()) {
        Grant::Granted { since } if wants_issue => (Slot::Free, Lock::Ours { since }),
        Grant::Granted { .. } => (Slot::Free, Lock::Unneeded),
        Grant::Waiting {
            on: Resource::Slots { .. },
            position,
            ..
        } => (
            Slot::Taken {
                of: SlotOwner::Agent,
                position,
            },
            Lock::Unneeded,
        ),
        Grant::Waiting {
            on: Resource::Account(_),
            ..
        } if !admission.is_counted() => (Slot::Uncounted, Lock::Unneeded),
        Grant::Waiting {
            on: Resource::Account(account),
            position,
            ..
        } => (
            Slot::Taken {
                of: SlotOwner::Account {
                    digest: account.as_str().to_owned(),
                },
                position,
            },
            Lock::Unneeded,
        ),
        Grant::Waiting {
            on: Resource::Issue(_),
            by,
            ..
        } => (Slot::Free, taken(object, QueueResource::Issue, by)),
        Grant::Waiting {
            on: Resource::Branch(_),
            by,
            ..
        } => (Slot::Free, taken(object, QueueResource::Branch, by)),
    }
}

fn taken(object: &CodeSession, of: QueueResource, by: Option<ObjectRef<CodeSession>>) -> Lock {
    let by = by.filter(|by| by.namespace == object.namespace());
    // What goes on in other namespaces is nobody's business in this one.
    let by = by.map_or_else(
        || "a CodeSession of another namespace".to_owned(),
        |by| format!("CodeSession {}", by.name),
    );
    Lock::Taken { of, by }
}

/// The account whose slot the next request takes: the one that it has already, or that its key belongs to.
fn account_of(object: &CodeSession, needs: &Applies<'_>) -> Option<AccountKey> {
    account_in_use(object).or_else(|| {
        let endpoint = &needs.effective?.provider.endpoint;
        Some(AccountKey::new(endpoint, needs.account?.as_str()))
    })
}

/// The branch that a launch would work on.
fn branch_of(object: &CodeSession, effective: &Effective) -> Option<BranchKey> {
    BranchKey::of(object.metadata.namespace.as_deref()?, effective)
}

fn lock_of(issue: IssueKey) -> Want {
    Want {
        resource: Resource::Issue(issue),
        capacity: 1,
    }
}

/// The issue that a launch would work on.
fn issue_of(object: &CodeSession, effective: &Effective) -> Option<IssueKey> {
    Some(IssueKey {
        endpoint: effective.provider.endpoint.clone(),
        issue: object.spec.issue.clone()?,
    })
}
