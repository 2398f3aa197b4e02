//! What is said of a CodeAgent: from what was found out about its key, its provider and its sessions.

use std::collections::BTreeSet;

use jiff::Timestamp;

use super::remote::{Account, Capability, MessageRecovery, Recovery};
use super::status::{clip, new_condition, whole_seconds};
use super::template::TemplateHealth;
use crate::api::{
    AccountStatus, AgentCondition, CodeAgentStatus, Condition, ConditionStatus, Guarantee,
    LaunchEvidence, OrphanStatus, ProviderKind, Reason, SessionCounts, TemplateStatus,
};

/// What was found out about a CodeAgent.
#[derive(Clone, Debug)]
pub struct Findings {
    /// The provider that its spec selects.
    pub kind: Option<ProviderKind>,
    /// What the provider can do; empty where this installation does not run it.
    pub capabilities: BTreeSet<Capability>,
    /// How a lost launch is found; `None` where this installation does not run the provider.
    pub recovery: Option<Recovery>,
    /// How a lost follow-up message is found; `None` where none can be sent.
    pub message_recovery: Option<MessageRecovery>,
    /// How it stands.
    pub health: Health,
    /// The models, where they were listed just now.
    pub models: Option<Vec<String>>,
    /// What the newest launches showed.
    pub evidence: Evidence,
    /// The endpoint in use.
    pub endpoint: String,
    /// The sessions, where it is time to write their counts.
    pub counts: Option<SessionCounts>,
    /// Sessions at the provider that nobody accounts for; `None` where nobody has looked yet.
    pub orphans: Option<Vec<OrphanStatus>>,
    /// Whether it is suspended.
    pub suspended: bool,
    /// Why no session is launched although the key is accepted, if there is a reason that all of them would meet.
    pub launches_held: Option<(Reason, String)>,
    /// What is to be said of the provider's clock, if it is further from ours than it may be.
    pub clock: Option<String>,
    /// What is to be recorded of its template.
    pub template: Option<TemplateStatus>,
    /// How its template stands.
    pub template_health: TemplateHealth,
    /// What the examples of its mapping read as.
    pub mapping: Vec<String>,
}

/// What the newest launches showed of whether a lost one would be recognised.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Evidence {
    /// Of our id being used.
    pub client_id: Option<LaunchEvidence>,
    /// Of our mark being shown.
    pub marker: Option<LaunchEvidence>,
}

/// How a CodeAgent stands.
#[derive(Clone, Debug)]
pub enum Health {
    /// The key is accepted.
    Accepted(Account),
    /// The key could not be checked because the provider does not answer.
    Unreachable {
        /// Why.
        reason: Reason,
        /// For people.
        message: String,
        /// The account that the key was last seen to belong to.
        account: Option<Account>,
    },
    /// The key is not accepted.
    Refused {
        /// For people.
        message: String,
    },
    /// Something is missing before the provider can be asked.
    Unusable {
        /// What.
        reason: Reason,
        /// For people, and what to do.
        message: String,
    },
}

/// The new status of a CodeAgent.
pub fn status(
    stored: Option<&CodeAgentStatus>,
    generation: i64,
    findings: &Findings,
    now: Timestamp,
) -> CodeAgentStatus {
    let mut status = stored.cloned().unwrap_or_default();
    let now = whole_seconds(now);
    status.observed_generation = generation;
    status.provider = findings.kind.map(|kind| kind.as_str().to_owned());
    status.capabilities = findings
        .capabilities
        .iter()
        .map(|capability| capability.as_str().to_owned())
        .collect();
    if let Some(models) = &findings.models {
        status.models = models
            .iter()
            .take(100)
            .map(|model| clip(model, 128))
            .collect();
    }
    if let Some(counts) = findings.counts {
        status.sessions = Some(counts);
    }
    status.template.clone_from(&findings.template);
    status.mapping_examples.clone_from(&findings.mapping);
    if let Some(orphans) = &findings.orphans {
        status.orphans.clone_from(orphans);
    }
    let account = match &findings.health {
        Health::Accepted(account) => Some(account),
        Health::Unreachable { account, .. } => account.as_ref(),
        Health::Refused { .. } | Health::Unusable { .. } => None,
    };
    if let Some(account) = account {
        status.account = Some(AccountStatus {
            name: account.name.as_deref().map(|name| clip(name, 256)),
            email: account.email.as_deref().map(|email| clip(email, 320)),
            fingerprint: Some(account.fingerprint.as_str().to_owned()),
        });
    } else if matches!(findings.health, Health::Refused { .. }) {
        status.account = None;
    }
    remember_evidence(&mut status, findings);
    status.launch_guarantee = findings
        .recovery
        .map(|recovery| guarantee(recovery, &status, findings));
    status.message_guarantee = findings.message_recovery.map(|recovery| match recovery {
        MessageRecovery::Marker => guarantee(Recovery::Marker, &status, findings),
        // What a person starts beside us can be taken for ours, which is then not sent.
        MessageRecovery::Baseline => Guarantee::AtMostOnce,
    });
    status.conditions = conditions(&status, generation, findings, now);
    status
}

/// The new status of a CodeAgent that is being deleted: what it waits for, and else what was last said.
pub fn deleting_status(
    stored: &CodeAgentStatus,
    generation: i64,
    template: Option<TemplateStatus>,
    health: &TemplateHealth,
    now: Timestamp,
) -> CodeAgentStatus {
    let mut status = stored.clone();
    status.template = template;
    let TemplateHealth::Pending { reason, message } = health else {
        return status;
    };
    status.observed_generation = generation;
    let verdicts = [
        (
            AgentCondition::Ready,
            ConditionStatus::False,
            message.as_str(),
        ),
        (
            AgentCondition::Reconciling,
            ConditionStatus::True,
            message.as_str(),
        ),
        (AgentCondition::Stalled, ConditionStatus::False, ""),
    ];
    for (kind, holds, message) in verdicts {
        let new = new_condition(
            &status.conditions,
            kind.as_str(),
            (holds, *reason, message),
            generation,
            whole_seconds(now),
        );
        match status
            .conditions
            .iter_mut()
            .find(|stored| stored.kind == new.kind)
        {
            Some(stored) => *stored = new,
            None => status.conditions.push(new),
        }
    }
    status
}

/// Evidence holds for the endpoint and the account that gave it; the newest counts.
fn remember_evidence(status: &mut CodeAgentStatus, findings: &Findings) {
    let account = status
        .account
        .as_ref()
        .and_then(|account| account.fingerprint.clone());
    let current = |evidence: &LaunchEvidence| {
        evidence.endpoint == findings.endpoint && Some(&evidence.account) == account.as_ref()
    };
    let Evidence { client_id, marker } = &findings.evidence;
    for (found, stored) in [
        (client_id, &mut status.client_id_honoured),
        (marker, &mut status.marker_honoured),
    ] {
        let Some(found) = found.as_ref().filter(|found| current(found)) else {
            continue;
        };
        let newer = stored.as_ref().is_none_or(|stored| {
            !current(stored)
                || (stored.honoured != found.honoured && stored.seen_at < found.seen_at)
        });
        if newer {
            *stored = Some(found.clone());
        }
    }
}

/// What is on record of this endpoint and account, if anything is: whether they use the id that we choose, or show our marker.
pub fn evidence<'a>(
    status: &'a CodeAgentStatus,
    recovery: Recovery,
    endpoint: &str,
    account: &str,
) -> Option<&'a LaunchEvidence> {
    let stored = match recovery {
        Recovery::ClientId => status.client_id_honoured.as_ref(),
        Recovery::Marker => status.marker_honoured.as_ref(),
        Recovery::None => None,
    };
    stored.filter(|evidence| evidence.endpoint == endpoint && evidence.account == account)
}

/// Whether a lost launch of this endpoint and account is known to be recognisable.
pub fn has_evidence(
    status: &CodeAgentStatus,
    recovery: Recovery,
    endpoint: &str,
    account: &str,
) -> bool {
    evidence(status, recovery, endpoint, account).is_some_and(|evidence| evidence.honoured)
}

/// "Exactly once" is told only of an endpoint and an account that have once shown what a lost launch is recognised by.
fn guarantee(recovery: Recovery, status: &CodeAgentStatus, findings: &Findings) -> Guarantee {
    let account = status
        .account
        .as_ref()
        .and_then(|account| account.fingerprint.as_deref())
        .unwrap_or_default();
    if has_evidence(status, recovery, &findings.endpoint, account) {
        Guarantee::ExactlyOnce
    } else {
        Guarantee::AtMostOnce
    }
}

/// Status, reason and message of a condition.
type Verdict<'a> = (ConditionStatus, Reason, &'a str);

fn conditions(
    status: &CodeAgentStatus,
    generation: i64,
    findings: &Findings,
    now: Timestamp,
) -> Vec<Condition> {
    AgentCondition::ALL
        .iter()
        .map(|kind| {
            let verdict = match kind {
                AgentCondition::Ready => ready(findings),
                AgentCondition::CredentialsValid => credentials_valid(&findings.health),
                AgentCondition::ProviderReachable => provider_reachable(findings),
                AgentCondition::Reconciling => reconciling(findings),
                AgentCondition::Stalled => stalled(findings),
            };
            new_condition(&status.conditions, kind.as_str(), verdict, generation, now)
        })
        .collect()
}

/// Whether a session can start.
fn ready(findings: &Findings) -> Verdict<'_> {
    match (&findings.health, &findings.launches_held) {
        (Health::Accepted(_), _) if findings.suspended => (
            ConditionStatus::False,
            Reason::AgentSuspended,
            "suspended: running sessions go on, no new one starts",
        ),
        (Health::Accepted(_), Some((reason, message))) => {
            (ConditionStatus::False, *reason, message)
        }
        (Health::Accepted(_), None) => match &findings.template_health {
            TemplateHealth::NotNeeded
            | TemplateHealth::Ready
            | TemplateHealth::Refused { usable: true, .. } => {
                (ConditionStatus::True, Reason::Ready, "sessions can start")
            }
            TemplateHealth::Pending { reason, message } => {
                (ConditionStatus::False, *reason, message)
            }
            TemplateHealth::Refused {
                message,
                usable: false,
            } => (ConditionStatus::False, Reason::TemplateRefused, message),
        },
        (
            Health::Unreachable {
                reason, message, ..
            }
            | Health::Unusable { reason, message },
            _,
        ) => (ConditionStatus::False, *reason, message),
        (Health::Refused { message }, _) => {
            (ConditionStatus::False, Reason::CredentialsInvalid, message)
        }
    }
}

/// Whether the provider accepts the key. A key that was accepted stays so while the provider cannot be reached.
fn credentials_valid(health: &Health) -> Verdict<'_> {
    match health {
        Health::Accepted(_)
        | Health::Unreachable {
            account: Some(_), ..
        } => (ConditionStatus::True, Reason::CredentialsAccepted, ""),
        Health::Unreachable {
            reason,
            account: None,
            ..
        } => (ConditionStatus::Unknown, *reason, ""),
        Health::Refused { message } => {
            (ConditionStatus::False, Reason::CredentialsInvalid, message)
        }
        Health::Unusable { reason, message } => (ConditionStatus::Unknown, *reason, message),
    }
}

/// Whether the provider answers, and how far its clock is from ours where that is too far.
fn provider_reachable(findings: &Findings) -> Verdict<'_> {
    match &findings.health {
        Health::Accepted(_) => (
            ConditionStatus::True,
            Reason::ProviderAnswers,
            findings.clock.as_deref().unwrap_or_default(),
        ),
        Health::Refused { .. } => (ConditionStatus::True, Reason::ProviderAnswers, ""),
        Health::Unreachable {
            reason, message, ..
        } => (ConditionStatus::False, *reason, message),
        Health::Unusable { reason, .. } => (ConditionStatus::Unknown, *reason, ""),
    }
}

/// Whether it is on its way by itself.
fn reconciling(findings: &Findings) -> Verdict<'_> {
    match (&findings.health, &findings.launches_held) {
        (Health::Accepted(_), Some((reason, _))) => (ConditionStatus::False, *reason, ""),
        (Health::Accepted(_), None) => match &findings.template_health {
            TemplateHealth::NotNeeded | TemplateHealth::Ready => {
                (ConditionStatus::False, Reason::Ready, "")
            }
            TemplateHealth::Pending { reason, message } => {
                (ConditionStatus::True, *reason, message)
            }
            TemplateHealth::Refused { .. } => (ConditionStatus::False, Reason::TemplateRefused, ""),
        },
        (
            Health::Unreachable {
                reason, message, ..
            },
            _,
        ) => (ConditionStatus::True, *reason, message),
        (Health::Refused { .. }, _) => (ConditionStatus::False, Reason::CredentialsInvalid, ""),
        (Health::Unusable { reason, .. }, _) => (ConditionStatus::False, *reason, ""),
    }
}

/// Whether somebody has to correct something.
fn stalled(findings: &Findings) -> Verdict<'_> {
    match (&findings.health, &findings.launches_held) {
        (Health::Accepted(_), Some((reason, message))) => (ConditionStatus::True, *reason, message),
        (Health::Accepted(_), None) => match &findings.template_health {
            TemplateHealth::NotNeeded | TemplateHealth::Ready => {
                (ConditionStatus::False, Reason::Ready, "")
            }
            TemplateHealth::Pending { reason, .. } => (ConditionStatus::False, *reason, ""),
            TemplateHealth::Refused { message, .. } => {
                (ConditionStatus::True, Reason::TemplateRefused, message)
            }
        },
        (Health::Unreachable { reason, .. }, _) => (ConditionStatus::False, *reason, ""),
        (Health::Refused { message }, _) => {
            (ConditionStatus::True, Reason::CredentialsInvalid, message)
        }
        (Health::Unusable { reason, message }, _) => (ConditionStatus::True, *reason, message),
    }
}
