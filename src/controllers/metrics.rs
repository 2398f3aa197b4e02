//! Metrics: counters and gauges with closed label sets.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

use crate::api::ProviderKind;
use crate::domain::clock::ClockDifference;
use crate::domain::remote::ErrorClass;
use crate::providers::http::{HttpObserver, Operation};
use crate::runtime::lock::lock;

/// Which controller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
pub enum Controller {
    /// Of CodeAgents.
    Agent,
    /// Of CodeSessions.
    Session,
}

impl Controller {
    const ALL: [Self; 2] = [Self::Agent, Self::Session];
}

/// How a pass ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
pub enum PassOutcome {
    /// Nothing is left to do until something changes.
    Completed,
    /// It goes on by itself after a while.
    Waiting,
    /// It was out of date and is repeated.
    Skipped,
    /// It failed and is repeated.
    Failed,
}

/// How a launch, or the sending of a message, ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
pub enum LaunchResult {
    /// The provider has it.
    Accepted,
    /// The provider refused it.
    Rejected,
    /// It is not known whether it arrived.
    Unknown,
    /// It was found again after an interruption.
    Adopted,
}

impl LaunchResult {
    const ALL: [Self; 4] = [Self::Accepted, Self::Rejected, Self::Unknown, Self::Adopted];
}

/// Why a session at a provider was left to itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
pub enum Loose {
    /// The object went without a confirmed stop.
    Orphaned,
    /// It was never found out whether it exists.
    OutcomeUnknown,
    /// More than one session of the same launch.
    Duplicate,
}

impl Loose {
    const ALL: [Self; 3] = [Self::Orphaned, Self::OutcomeUnknown, Self::Duplicate];
}

/// What became of an attempt to report to a webhook.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
pub enum ReportResult {
    /// The webhook took the report.
    Delivered,
    /// It did not, and the report is tried again.
    Retried,
    /// It did not, and the report was given up.
    Undelivered,
    /// It answered 410.
    Gone,
}

impl ReportResult {
    const ALL: [Self; 4] = [
        Self::Delivered,
        Self::Retried,
        Self::Undelivered,
        Self::Gone,
    ];
}

/// What became of a delivery to the webhook of a provider's session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
pub enum DeliveryResult {
    /// The session is looked at because of it.
    Hinted,
    /// It was passed on to the other replicas: one of them leads.
    PassedOn,
    /// It has come before.
    Repeated,
    /// This replica does not lead, and knows of no other.
    Dropped,
    /// No session was given this address.
    Unknown,
    /// It is not signed as it has to be.
    Forged,
    /// It is too large.
    TooLarge,
    /// It did not come in time.
    TooSlow,
    /// There are too many.
    TooMany,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct DeliveryLabels {
    result: DeliveryResult,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReportLabels {
    result: ReportResult,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PassLabels {
    controller: Controller,
    outcome: PassOutcome,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct LaunchLabels {
    provider: &'static str,
    result: LaunchResult,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct EndLabels {
    provider: &'static str,
    phase: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CallLabels {
    provider: &'static str,
    operation: &'static str,
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct LooseLabels {
    why: Loose,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct AgentLabels {
    namespace: String,
    agent: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct KindLabels {
    controller: Controller,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CodeLabels {
    code: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ProviderLabels {
    provider: &'static str,
}

/// Every metric of the operator.
#[derive(Clone, Debug)]
pub struct Metrics {
    passes: Family<PassLabels, Counter>,
    launches: Family<LaunchLabels, Counter>,
    messages: Family<LaunchLabels, Counter>,
    ended: Family<EndLabels, Counter>,
    reports: Family<ReportLabels, Counter>,
    calls: Family<CallLabels, Counter>,
    call_seconds: Family<CallLabels, Histogram, fn() -> Histogram>,
    loose: Family<LooseLabels, Counter>,
    malformed: Family<KindLabels, Counter>,
    orphans: Family<AgentLabels, Gauge>,
    /// The labels of each CodeAgent, by its uid.
    agents: Arc<Mutex<HashMap<String, AgentLabels>>>,
    clocks: Family<ProviderLabels, Gauge<f64, AtomicU64>>,
    seconds_total: Counter<f64, AtomicU64>,
    leads: Gauge,
    deliveries: Family<DeliveryLabels, Counter>,
    timeline_requests: Family<CodeLabels, Counter>,
    timeline_followers: Gauge,
}

impl Metrics {
    /// The metrics, and the registry that shows them.
    pub fn new() -> (Self, Registry) {
        let mut registry = Registry::with_prefix("codeagent");
        let metrics = Self {
            passes: Family::default(),
            launches: Family::default(),
            messages: Family::default(),
            ended: Family::default(),
            reports: Family::default(),
            calls: Family::default(),
            call_seconds: Family::new_with_constructor(|| {
                Histogram::new(exponential_buckets(0.01, 2.0, 14))
            }),
            loose: Family::default(),
            malformed: Family::default(),
            orphans: Family::default(),
            agents: Arc::default(),
            clocks: Family::default(),
            seconds_total: Counter::default(),
            leads: Gauge::default(),
            deliveries: Family::default(),
            timeline_requests: Family::default(),
            timeline_followers: Gauge::default(),
        };
        registry.register(
            "reconcile",
            "Passes over an object, by how they ended",
            metrics.passes.clone(),
        );
        registry.register(
            "launches",
            "Launches, by how they ended",
            metrics.launches.clone(),
        );
        registry.register(
            "messages",
            "Follow-up messages, by how their sending ended",
            metrics.messages.clone(),
        );
        registry.register(
            "sessions_ended",
            "Sessions that ended, by phase",
            metrics.ended.clone(),
        );
        registry.register(
            "webhook_reports",
            "Attempts to report a session's change to its webhook, by what became of them",
            metrics.reports.clone(),
        );
        registry.register(
            "provider_calls",
            "Calls to providers",
            metrics.calls.clone(),
        );
        registry.register(
            "provider_call_seconds",
            "Duration of calls to providers",
            metrics.call_seconds.clone(),
        );
        registry.register(
            "unaccounted_sessions",
            "Sessions at a provider that are no longer tracked",
            metrics.loose.clone(),
        );
        registry.register(
            "malformed_objects",
            "Objects in the store that cannot be read",
            metrics.malformed.clone(),
        );
        registry.register(
            "orphan_sessions",
            "Sessions of this installation that run at a provider and that no CodeSession accounts for",
            metrics.orphans.clone(),
        );
        registry.register(
            "provider_clock_ahead_seconds",
            "How far the clock of a provider is ahead of this process's, by its newest answers; negative: behind",
            metrics.clocks.clone(),
        );
        registry.register(
            "reconcile_seconds",
            "Time spent in passes",
            metrics.seconds_total.clone(),
        );
        registry.register(
            "leader",
            "Whether this replica leads",
            metrics.leads.clone(),
        );
        registry.register(
            "provider_webhooks",
            "Deliveries of providers to the webhooks of sessions",
            metrics.deliveries.clone(),
        );
        registry.register(
            "timeline_requests",
            "Requests for timelines, by the status code of the answer",
            metrics.timeline_requests.clone(),
        );
        registry.register(
            "timeline_followers",
            "Readers that follow a timeline right now",
            metrics.timeline_followers.clone(),
        );
        metrics.start_at_zero();
        (metrics, registry)
    }

    /// Shows every series that an alert watches before it first moves: `increase()` does not see a series that is born at 1.
    fn start_at_zero(&self) {
        for why in Loose::ALL {
            drop(self.loose.get_or_create(&LooseLabels { why }));
        }
        for result in ReportResult::ALL {
            drop(self.reports.get_or_create(&ReportLabels { result }));
        }
        for controller in Controller::ALL {
            drop(self.malformed.get_or_create(&KindLabels { controller }));
        }
        for kind in ProviderKind::ALL {
            for result in LaunchResult::ALL {
                let provider = kind.as_str();
                let labels = LaunchLabels { provider, result };
                drop(self.launches.get_or_create(&labels));
                drop(self.messages.get_or_create(&labels));
            }
        }
    }

    /// A pass ended after `seconds`.
    pub fn pass(&self, controller: Controller, outcome: PassOutcome, seconds: f64) {
        self.passes
            .get_or_create(&PassLabels {
                controller,
                outcome,
            })
            .inc();
        self.seconds_total.inc_by(seconds);
    }

    /// A launch ended.
    pub fn launch(&self, provider: ProviderKind, result: LaunchResult) {
        self.launches
            .get_or_create(&LaunchLabels {
                provider: provider.as_str(),
                result,
            })
            .inc();
    }

    /// The sending of a follow-up message ended.
    pub fn message(&self, provider: ProviderKind, result: LaunchResult) {
        self.messages
            .get_or_create(&LaunchLabels {
                provider: provider.as_str(),
                result,
            })
            .inc();
    }

    /// A session ended.
    pub fn ended(&self, provider: Option<ProviderKind>, phase: &'static str) {
        let provider = provider.map_or("none", ProviderKind::as_str);
        self.ended
            .get_or_create(&EndLabels { provider, phase })
            .inc();
    }

    /// An attempt to report to a webhook ended.
    pub fn report(&self, result: ReportResult) {
        self.reports.get_or_create(&ReportLabels { result }).inc();
    }

    /// A session was left to itself.
    pub fn loose(&self, why: Loose) {
        self.loose.get_or_create(&LooseLabels { why }).inc();
    }

    /// From now on this replica leads, or does not.
    pub fn leads(&self, leads: bool) {
        self.leads.set(i64::from(leads));
    }

    /// So many sessions run that should be a CodeSession's of the CodeAgent with this uid, and are none's.
    pub fn orphans(&self, uid: &str, namespace: String, agent: String, count: usize) {
        let labels = AgentLabels { namespace, agent };
        let count = i64::try_from(count).unwrap_or(i64::MAX);
        self.orphans.get_or_create(&labels).set(count);
        lock(&self.agents).insert(uid.to_owned(), labels);
    }

    /// Forgets the CodeAgents that are not among `present` (uids).
    pub fn keep_orphans(&self, present: &HashSet<String>) {
        lock(&self.agents).retain(|uid, labels| {
            let kept = present.contains(uid);
            if !kept {
                self.orphans.remove(labels);
            }
            kept
        });
    }

    /// A provider's webhook came.
    pub fn delivery(&self, result: DeliveryResult) {
        self.deliveries
            .get_or_create(&DeliveryLabels { result })
            .inc();
    }

    /// A request for a timeline was answered with this status code.
    pub fn timeline_request(&self, code: u16) {
        self.timeline_requests
            .get_or_create(&CodeLabels { code })
            .inc();
    }

    /// One more reader follows a timeline.
    pub fn follower_came(&self) {
        self.timeline_followers.inc();
    }

    /// A reader follows a timeline no more.
    pub fn follower_left(&self) {
        self.timeline_followers.dec();
    }

    /// An object cannot be read.
    pub fn malformed(&self, controller: Controller) {
        self.malformed
            .get_or_create(&KindLabels { controller })
            .inc();
    }
}

impl HttpObserver for Metrics {
    fn answered(
        &self,
        kind: ProviderKind,
        operation: Operation,
        outcome: Result<(), ErrorClass>,
        seconds: f64,
    ) {
        let labels = CallLabels {
            provider: kind.as_str(),
            operation: operation.as_str(),
            outcome: outcome.map_or_else(ErrorClass::as_str, |()| "Ok"),
        };
        self.calls.get_or_create(&labels).inc();
        self.call_seconds.get_or_create(&labels).observe(seconds);
    }

    fn clock(&self, kind: ProviderKind, ahead: ClockDifference) {
        let provider = kind.as_str();
        self.clocks
            .get_or_create(&ProviderLabels { provider })
            .set(ahead.as_seconds());
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// Every series of the alerts in docs/operations.md, at 0.
    #[test]
    fn what_an_alert_watches_is_there_before_it_moves() {
        let (_metrics, registry) = Metrics::new();
        let mut shown = String::new();
        prometheus_client::encoding::text::encode(&mut shown, &registry).unwrap();
        let mut expected = vec!["codeagent_leader 0".to_owned()];
        for why in ["Orphaned", "OutcomeUnknown", "Duplicate"] {
            expected.push(format!(
                "codeagent_unaccounted_sessions_total{{why=\"{why}\"}} 0"
            ));
        }
        for result in ["Delivered", "Retried", "Undelivered", "Gone"] {
            expected.push(format!(
                "codeagent_webhook_reports_total{{result=\"{result}\"}} 0"
            ));
        }
        for controller in ["Agent", "Session"] {
            expected.push(format!(
                "codeagent_malformed_objects_total{{controller=\"{controller}\"}} 0"
            ));
        }
        for kind in ProviderKind::ALL {
            expected.push(format!(
                "codeagent_launches_total{{provider=\"{}\",result=\"Unknown\"}} 0",
                kind.as_str()
            ));
        }
        for line in expected {
            assert!(shown.lines().any(|shown| shown == line), "{line}\n{shown}");
        }
    }
}
