//! What a Job and its Pod show: where the session stands, and why. Pure.

use std::time::Duration;

use codeagent_runner_protocol::{Outcome, Reason, Report};
use jiff::Timestamp;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{ContainerStateTerminated, ContainerStatus, Pod, PodStatus};

use super::manifest::{AGENT_CONTAINER, RUNNER_CONTAINER, STOPPED_ANNOTATION};
use crate::domain::ids::SessionId;
use crate::domain::snapshot::{Links, RemotePhase, Snapshot, Usage};
use crate::providers::wire;

/// How long a Pod may be on its way before what it waits for is told.
const PATIENCE: Duration = Duration::from_secs(30);

/// Reasons of a waiting container that somebody has to mend.
const IMAGE_TROUBLE: [&str; 6] = [
    "ErrImagePull",
    "ImagePullBackOff",
    "InvalidImageName",
    "ErrImageNeverPull",
    "ImageInspectError",
    "RegistryUnavailable",
];

/// Where the session stands.
struct Verdict {
    phase: RemotePhase,
    /// Kubernetes' word or the runner's.
    raw: String,
    /// What went wrong, or what it waits for.
    message: Option<String>,
}

impl Verdict {
    fn new(phase: RemotePhase, raw: impl Into<String>) -> Self {
        Self {
            phase,
            raw: raw.into(),
            message: None,
        }
    }

    fn saying(self, message: impl Into<String>) -> Self {
        Self {
            message: Some(message.into()),
            ..self
        }
    }

    fn error(raw: impl Into<String>, message: impl Into<String>) -> Self {
        Self::new(RemotePhase::Error, raw).saying(message)
    }
}

/// What Job and Pods show at `now`.
pub(super) fn snapshot(name: &str, job: &Job, pods: &[Pod], now: Timestamp) -> Snapshot {
    // There is one at a time; of two, the one that began last.
    let pod = pods
        .iter()
        .max_by_key(|pod| pod.metadata.creation_timestamp.as_ref().map(|time| time.0));
    let ended = pod.and_then(|pod| ended(pod));
    let report = ended
        .as_ref()
        .and_then(|(_, ended)| Report::parse(ended.as_ref()?.message.as_deref()?));
    let verdict = match (&ended, finished(job)) {
        (Some((status, agent)), _) => of_ended_pod(job, status, *agent, report.as_ref()),
        (None, Some(condition)) => of_finished_job(job, &condition),
        (None, None) => alive(job, pod, now),
    };
    let duration = ended.as_ref().and_then(|(_, agent)| ran_for((*agent)?));
    let (error, blocked) = if verdict.phase.is_terminal() {
        (verdict.message, None)
    } else {
        (None, verdict.message)
    };
    let pull_request = report
        .as_ref()
        .and_then(|report| report.pull_request.as_ref());
    Snapshot {
        session_id: SessionId::new(name),
        run_id: None,
        phase: verdict.phase,
        raw_status: wire::raw_status(&verdict.raw),
        repository: None,
        url: None,
        branch: wire::branch(
            report
                .as_ref()
                .filter(|report| report.pushed)
                .and_then(|report| report.branch.clone()),
        ),
        pull_request_url: wire::link(pull_request.map(|found| found.url.clone())),
        blocked,
        result: report.as_ref().and_then(|report| report.result.clone()),
        error,
        links: Links::default(),
        usage: report.as_ref().and_then(usage),
        duration,
        created_at: job.metadata.creation_timestamp.as_ref().map(|time| time.0),
    }
}

/// The Pod's status and the end of its agent, if the Pod has ended.
fn ended(pod: &Pod) -> Option<(&PodStatus, Option<&ContainerStateTerminated>)> {
    let status = pod.status.as_ref()?;
    let agent = container(status.container_statuses.as_deref(), AGENT_CONTAINER);
    let agent = agent.and_then(|agent| agent.state.as_ref()?.terminated.as_ref());
    let over = matches!(status.phase.as_deref(), Some("Succeeded" | "Failed"));
    (over || agent.is_some()).then_some((status, agent))
}

fn container<'a>(
    statuses: Option<&'a [ContainerStatus]>,
    name: &str,
) -> Option<&'a ContainerStatus> {
    statuses?.iter().find(|status| status.name == name)
}

/// A condition of a Job by which it is over: its reason and message.
#[derive(Clone, Debug)]
struct JobEnd {
    complete: bool,
    reason: String,
    message: String,
}

fn finished(job: &Job) -> Option<JobEnd> {
    condition(job, &["Complete", "Failed"])
}

/// The condition that is set before the Pods of a Job have ended, or after.
fn deadline_exceeded(job: &Job) -> bool {
    condition(job, &["FailureTarget", "Failed"])
        .is_some_and(|condition| condition.reason == "DeadlineExceeded")
}

fn condition(job: &Job, kinds: &[&str]) -> Option<JobEnd> {
    let conditions = job.status.as_ref()?.conditions.as_ref()?;
    let found = conditions
        .iter()
        .find(|it| kinds.contains(&it.type_.as_str()) && it.status == "True")?;
    Some(JobEnd {
        complete: found.type_ == "Complete",
        reason: found.reason.clone().unwrap_or_default(),
        message: found.message.clone().unwrap_or_default(),
    })
}

fn was_stopped(job: &Job) -> bool {
    let annotations = job.metadata.annotations.as_ref();
    annotations.is_some_and(|all| all.contains_key(STOPPED_ANNOTATION))
}

/// The agent has ended, whatever the Job's controller has noticed of it.
fn of_ended_pod(
    job: &Job,
    status: &PodStatus,
    agent: Option<&ContainerStateTerminated>,
    report: Option<&Report>,
) -> Verdict {
    match report.map(|report| (report.outcome, report)) {
        Some((Outcome::Finished, report)) => {
            return Verdict::new(RemotePhase::Finished, word(report.reason));
        }
        Some((Outcome::Failed, report)) => {
            let reason = word(report.reason);
            let message = format!("{reason}: {}", report.message);
            return Verdict::error(reason, message);
        }
        // Somebody told it to stop: who, Kubernetes knows.
        Some((Outcome::Cancelled, _)) | None => {}
    }
    if was_stopped(job) {
        return Verdict::new(RemotePhase::Cancelled, "Stopped");
    }
    if deadline_exceeded(job) {
        return Verdict::new(RemotePhase::Expired, "DeadlineExceeded")
            .saying("DeadlineExceeded: the Job ran longer than its activeDeadlineSeconds");
    }
    if let Some(agent) = agent.filter(|agent| agent.reason.as_deref() == Some("OOMKilled")) {
        return Verdict::error(
            "OOMKilled",
            format!(
                "OOMKilled: the agent used more memory than its limit (exit code {}): raise spec.provider.job.resources.limits.memory",
                agent.exit_code
            ),
        );
    }
    if let Some(verdict) = disruption(status) {
        return verdict;
    }
    match agent {
        Some(agent) => of_exit(agent, report),
        None => not_started(status),
    }
}

/// Why Kubernetes ended the Pod, if it did.
fn disruption(status: &PodStatus) -> Option<Verdict> {
    let evicted = status.reason.as_deref();
    if let Some(reason) = evicted.filter(|reason| !reason.is_empty()) {
        let said = status.message.as_deref().unwrap_or("no message is given");
        return Some(Verdict::error(
            reason,
            format!("{reason}: Kubernetes ended the Pod: {said}"),
        ));
    }
    let conditions = status.conditions.as_ref()?;
    let target = conditions
        .iter()
        .find(|it| it.type_ == "DisruptionTarget" && it.status == "True")?;
    let reason = target.reason.as_deref().unwrap_or("DisruptionTarget");
    let said = target.message.as_deref().unwrap_or("no message is given");
    Some(Verdict::error(
        reason,
        format!("{reason}: Kubernetes ended the Pod: {said}"),
    ))
}

/// What the exit code of an agent's container says where its report is missing or says no more than that it was told to stop.
fn of_exit(agent: &ContainerStateTerminated, report: Option<&Report>) -> Verdict {
    if let Some(report) = report {
        return Verdict::error(
            "Terminated",
            format!(
                "Terminated: somebody else told the agent to stop: {}",
                report.message
            ),
        );
    }
    let code = agent.exit_code;
    let why = agent.reason.as_deref().unwrap_or_default();
    let said = agent.message.as_deref().map(str::trim).unwrap_or_default();
    let said = if said.is_empty() {
        String::new()
    } else {
        format!(": {said}")
    };
    match Reason::from_exit_code(code) {
        Some(Reason::Completed) => Verdict::new(RemotePhase::Finished, "Completed"),
        Some(reason) => {
            let reason = word(reason);
            Verdict::error(
                reason.clone(),
                format!(
                    "{reason}: the runner ended with exit code {code} and left no report{said}"
                ),
            )
        }
        None if matches!(why, "ContainerCannotRun" | "StartError") => Verdict::error(
            why,
            format!("{why}: the runner cannot be started in this image{said}"),
        ),
        None => {
            let raw = if why.is_empty() { "Error" } else { why };
            Verdict::error(
                raw,
                format!(
                    "{raw}: the agent's container ended with exit code {code} and left no report{said}"
                ),
            )
        }
    }
}

/// The Pod ended and its agent did not begin.
fn not_started(status: &PodStatus) -> Verdict {
    let runner = container(status.init_container_statuses.as_deref(), RUNNER_CONTAINER);
    let ended = runner.and_then(|runner| runner.state.as_ref()?.terminated.as_ref());
    match ended.filter(|ended| ended.exit_code != 0) {
        Some(ended) => Verdict::error(
            "RunnerNotInstalled",
            format!(
                "RunnerNotInstalled: the init container of the runner ended with exit code {}: see its log",
                ended.exit_code
            ),
        ),
        None => Verdict::error(
            "PodFailed",
            "PodFailed: the Pod ended before its agent began, and Kubernetes does not say why",
        ),
    }
}

/// The Job is over and no Pod tells more.
fn of_finished_job(job: &Job, end: &JobEnd) -> Verdict {
    if end.complete {
        return Verdict::new(RemotePhase::Finished, "Complete");
    }
    if was_stopped(job) {
        return Verdict::new(RemotePhase::Cancelled, "Stopped");
    }
    if end.reason == "DeadlineExceeded" {
        return Verdict::new(RemotePhase::Expired, "DeadlineExceeded")
            .saying("DeadlineExceeded: the Job ran longer than its activeDeadlineSeconds");
    }
    Verdict::error(
        "PodLost",
        format!(
            "PodLost: the Job failed and its Pod is gone, with its node or by somebody's hand ({}: {})",
            end.reason, end.message
        ),
    )
}

/// Nothing has ended.
fn alive(job: &Job, pod: Option<&Pod>, now: Timestamp) -> Verdict {
    if was_stopped(job) && pod.is_none() {
        // Only what its controller has seen to be suspended gets no Pod any more.
        return match condition(job, &["Suspended"]) {
            Some(_) => Verdict::new(RemotePhase::Cancelled, "Stopped"),
            None => Verdict::new(RemotePhase::Running, "Stopping"),
        };
    }
    let waits_since = pod
        .and_then(|pod| pod.metadata.creation_timestamp.as_ref())
        .or(job.metadata.creation_timestamp.as_ref())
        .map(|time| time.0);
    let long = waits_since.is_some_and(|since| {
        Duration::try_from(now.duration_since(since)).is_ok_and(|waited| waited >= PATIENCE)
    });
    let Some(status) = pod.and_then(|pod| pod.status.as_ref()) else {
        let creating = Verdict::new(RemotePhase::Creating, "NoPod");
        return if long {
            creating.saying("NoPod: no Pod was created yet: a quota, a LimitRange or an admission policy of the namespace may refuse it; the Job's Events say so (kubectl describe job)")
        } else {
            creating
        };
    };
    let agent = container(status.container_statuses.as_deref(), AGENT_CONTAINER);
    if agent.is_some_and(|agent| agent.state.as_ref().is_some_and(|it| it.running.is_some())) {
        return Verdict::new(RemotePhase::Running, "Running");
    }
    waiting(status, long)
}

/// A Pod that does not run its agent yet.
fn waiting(status: &PodStatus, long: bool) -> Verdict {
    let runner = container(status.init_container_statuses.as_deref(), RUNNER_CONTAINER);
    let agent = container(status.container_statuses.as_deref(), AGENT_CONTAINER);
    let waits = |status: &ContainerStatus| status.state.as_ref()?.waiting.clone();
    let trouble = [runner, agent]
        .into_iter()
        .flatten()
        .filter_map(|status| Some((status, waits(status)?)))
        .find(|(_, waiting)| {
            let reason = waiting.reason.as_deref().unwrap_or_default();
            IMAGE_TROUBLE.contains(&reason)
                || matches!(
                    reason,
                    "CreateContainerConfigError" | "CreateContainerError"
                )
        });
    if let Some((status, waiting)) = trouble {
        let reason = waiting.reason.unwrap_or_default();
        let said = waiting.message.unwrap_or_default();
        let message = if IMAGE_TROUBLE.contains(&reason.as_str()) {
            format!(
                "{reason}: the image {} cannot be pulled: {said}",
                status.image
            )
        } else {
            format!(
                "{reason}: the container {} cannot be created: {said}",
                status.name
            )
        };
        return Verdict::new(RemotePhase::Creating, reason).saying(message);
    }
    let unscheduled = status
        .conditions
        .iter()
        .flatten()
        .find(|condition| condition.type_ == "PodScheduled" && condition.status == "False");
    match unscheduled {
        Some(condition) if long => {
            let reason = condition.reason.as_deref().unwrap_or("Unschedulable");
            let said = condition.message.as_deref().unwrap_or_default();
            Verdict::new(RemotePhase::Creating, reason)
                .saying(format!("{reason}: no node takes the Pod: {said}"))
        }
        Some(_) | None => Verdict::new(
            RemotePhase::Creating,
            status.phase.clone().unwrap_or_else(|| "Pending".to_owned()),
        ),
    }
}

fn word(reason: Reason) -> String {
    format!("{reason:?}")
}

fn ran_for(agent: &ContainerStateTerminated) -> Option<Duration> {
    let from = agent.started_at.as_ref()?.0;
    let until = agent.finished_at.as_ref()?.0;
    Duration::try_from(until.duration_since(from)).ok()
}

fn usage(report: &Report) -> Option<Usage> {
    let cost_cents = report.cost_usd.as_deref().and_then(cents);
    let tokens = report.usage;
    if tokens.is_none() && cost_cents.is_none() {
        return None;
    }
    let count = |count: Option<u64>| i64::try_from(count.unwrap_or_default()).unwrap_or(i64::MAX);
    Some(Usage {
        input_tokens: count(tokens.map(|tokens| tokens.input_tokens)),
        output_tokens: count(tokens.map(|tokens| tokens.output_tokens)),
        cost_cents,
    })
}

/// Hundredths of a dollar, rounded up, of a decimal number of dollars; `None` if it is none.
fn cents(dollars: &str) -> Option<i64> {
    let (whole, part) = dollars.split_once('.').unwrap_or((dollars, ""));
    if whole.is_empty()
        || !whole
            .bytes()
            .chain(part.bytes())
            .all(|byte| byte.is_ascii_digit())
    {
        return None;
    }
    let hundredths: i64 = format!("{part:0<2}").get(..2)?.parse().ok()?;
    let more = part.bytes().skip(2).any(|digit| digit != b'0');
    let whole: i64 = whole.parse().ok()?;
    whole
        .checked_mul(100)?
        .checked_add(hundredths + i64::from(more))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use serde_json::{Value, json};

    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + seconds).unwrap()
    }

    /// A Job with this status, told to stop or not, at so many seconds after its creation, with these Pods.
    fn look(status: Value, stopped: bool, pods: &[Value], seconds: i64) -> Snapshot {
        let annotations = if stopped {
            json!({STOPPED_ANNOTATION: "2027-01-15T08:00:00Z"})
        } else {
            json!({})
        };
        let job = json!({
            "metadata": {"name": "job", "creationTimestamp": at(0).to_string(), "annotations": annotations},
            "status": status,
        });
        let job: Job = serde_json::from_value(job).unwrap();
        let pods: Vec<Pod> = pods
            .iter()
            .map(|status| {
                let pod =
                    json!({"metadata": {"creationTimestamp": at(0).to_string()}, "status": status});
                serde_json::from_value(pod).unwrap()
            })
            .collect();
        snapshot("job", &job, &pods, at(seconds))
    }

    fn agent(phase: &str, state: Value) -> Value {
        json!({"phase": phase, "containerStatuses": [{
            "name": "agent", "image": "agent:1", "imageID": "", "ready": false, "restartCount": 0, "state": state,
        }]})
    }

    fn ended(code: i32, reason: &str, message: &str) -> Value {
        agent(
            "Failed",
            json!({"terminated": {"exitCode": code, "reason": reason, "message": message}}),
        )
    }

    fn condition(kind: &str, reason: &str) -> Value {
        json!({"conditions": [{"type": kind, "status": "True", "reason": reason, "message": "words"}]})
    }

    fn report(reason: Reason) -> String {
        Report::new(reason, "Words of the runner.").to_termination_message()
    }

    #[test]
    fn each_end_has_its_phase_and_its_reason() {
        let nothing = || json!({});
        let deadline = || condition("FailureTarget", "DeadlineExceeded");
        let evicted = json!({"phase": "Failed", "reason": "Evicted", "message": "low on memory"});
        let drained = {
            let mut pod = ended(143, "Error", &report(Reason::Cancelled));
            pod["conditions"] = json!([{"type": "DisruptionTarget", "status": "True", "reason": "EvictionByEvictionAPI", "message": "drain"}]);
            pod
        };
        let no_runner = json!({"phase": "Failed", "initContainerStatuses": [{
            "name": "runner", "image": "r", "imageID": "", "ready": false, "restartCount": 0,
            "state": {"terminated": {"exitCode": 1}},
        }]});
        let lost = condition("Failed", "BackoffLimitExceeded");
        use RemotePhase::{Cancelled, Error, Expired, Finished};
        let cases = [
            (
                nothing(),
                false,
                Some(ended(0, "Completed", &report(Reason::Completed))),
                Finished,
                "Completed",
            ),
            (
                nothing(),
                false,
                Some(ended(0, "Completed", "")),
                Finished,
                "Completed",
            ),
            // What the agent finished before it was stopped is finished.
            (
                nothing(),
                true,
                Some(ended(0, "Completed", &report(Reason::Completed))),
                Finished,
                "Completed",
            ),
            (
                nothing(),
                true,
                Some(ended(40, "Error", &report(Reason::Cancelled))),
                Cancelled,
                "Stopped",
            ),
            (
                nothing(),
                true,
                Some(ended(137, "Error", "")),
                Cancelled,
                "Stopped",
            ),
            (
                nothing(),
                false,
                Some(ended(40, "Error", &report(Reason::Cancelled))),
                Error,
                "Terminated",
            ),
            (
                deadline(),
                false,
                Some(ended(40, "Error", &report(Reason::Cancelled))),
                Expired,
                "DeadlineExceeded",
            ),
            (
                condition("Failed", "DeadlineExceeded"),
                false,
                None,
                Expired,
                "DeadlineExceeded",
            ),
            (
                nothing(),
                false,
                Some(ended(30, "Error", &report(Reason::PushFailed))),
                Error,
                "PushFailed",
            ),
            (
                nothing(),
                false,
                Some(ended(28, "Error", "")),
                Error,
                "NoSuccessLine",
            ),
            (
                nothing(),
                false,
                Some(ended(137, "OOMKilled", "")),
                Error,
                "OOMKilled",
            ),
            (
                nothing(),
                false,
                Some(ended(137, "Error", "the end of a log")),
                Error,
                "Error",
            ),
            (
                nothing(),
                false,
                Some(ended(128, "StartError", "exec")),
                Error,
                "StartError",
            ),
            (nothing(), false, Some(evicted), Error, "Evicted"),
            (
                nothing(),
                false,
                Some(drained),
                Error,
                "EvictionByEvictionAPI",
            ),
            (
                nothing(),
                false,
                Some(no_runner),
                Error,
                "RunnerNotInstalled",
            ),
            (
                nothing(),
                false,
                Some(json!({"phase": "Failed"})),
                Error,
                "PodFailed",
            ),
            (lost.clone(), false, None, Error, "PodLost"),
            (lost, true, None, Cancelled, "Stopped"),
            (condition("Complete", ""), false, None, Finished, "Complete"),
            (
                condition("Suspended", "JobSuspended"),
                true,
                None,
                Cancelled,
                "Stopped",
            ),
        ];
        for (job, stopped, pod, phase, raw) in cases {
            let pods: Vec<Value> = pod.into_iter().collect();
            let seen = look(job.clone(), stopped, &pods, 60);
            let case = format!("{job} {stopped} {pods:?}");
            assert_eq!(
                (seen.phase, seen.raw_status.as_str()),
                (phase, raw),
                "{case}"
            );
            assert_eq!(
                seen.error.is_some(),
                matches!(phase, Error | Expired),
                "{case}"
            );
            assert_eq!(seen.blocked, None, "{case}");
        }
    }

    #[test]
    fn what_a_pod_waits_for_is_told_and_ends_nothing() {
        let pulling = |reason| {
            agent(
                "Pending",
                json!({"waiting": {"reason": reason, "message": "words"}}),
            )
        };
        let unscheduled = json!({"phase": "Pending", "conditions": [{
            "type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/3 nodes are available",
        }]});
        use RemotePhase::{Creating, Running};
        let cases = [
            (None, 1, Creating, None),
            (None, 31, Creating, Some("no Pod was created yet")),
            (Some(unscheduled.clone()), 29, Creating, None),
            (Some(unscheduled), 31, Creating, Some("0/3 nodes")),
            (
                Some(pulling("ImagePullBackOff")),
                1,
                Creating,
                Some("the image agent:1 cannot be pulled"),
            ),
            (
                Some(pulling("CreateContainerConfigError")),
                1,
                Creating,
                Some("cannot be created"),
            ),
            (Some(pulling("PodInitializing")), 90, Creating, None),
            (
                Some(agent("Running", json!({"running": {}}))),
                90,
                Running,
                None,
            ),
        ];
        for (pod, seconds, phase, blocked) in cases {
            let pods: Vec<Value> = pod.into_iter().collect();
            let seen = look(json!({}), false, &pods, seconds);
            assert_eq!(seen.phase, phase, "{pods:?}");
            match blocked {
                None => assert_eq!(seen.blocked, None, "{pods:?}"),
                Some(words) => assert!(seen.blocked.unwrap().contains(words), "{pods:?}"),
            }
        }
    }

    /// Neither what was asked nor that the Job is suspended: the Pod's end confirms a stop.
    #[test]
    fn a_stop_is_not_confirmed_while_the_pod_is_there_or_may_come() {
        let running = agent("Running", json!({"running": {}}));
        let suspended = condition("Suspended", "JobSuspended");
        assert_eq!(
            look(suspended, true, &[running], 60).phase,
            RemotePhase::Running
        );
        assert_eq!(look(json!({}), true, &[], 60).phase, RemotePhase::Running);
    }

    #[test]
    fn a_report_is_told_whole() {
        let report = Report {
            result: Some("All done.".into()),
            branch: Some("codeagent/fix".into()),
            pushed: true,
            pull_request: Some(codeagent_runner_protocol::PullRequest {
                url: "https://github.com/acme/app/pull/7".into(),
                number: Some(7),
            }),
            usage: Some(codeagent_runner_protocol::Usage {
                input_tokens: 1000,
                output_tokens: 100,
                total_tokens: 1100,
                cumulative: false,
            }),
            cost_usd: Some("0.012".into()),
            ..Report::new(Reason::Completed, "The agent finished.")
        };
        let pod = ended(0, "Completed", &report.to_termination_message());
        let seen = look(json!({}), false, &[pod], 60);
        assert_eq!(seen.result.as_deref(), Some("All done."));
        assert_eq!(seen.branch.as_deref(), Some("codeagent/fix"));
        assert_eq!(
            seen.pull_request_url.as_deref(),
            Some("https://github.com/acme/app/pull/7")
        );
        let usage = seen.usage.unwrap();
        assert_eq!((usage.input_tokens, usage.output_tokens), (1000, 100));
        assert_eq!(usage.cost_cents, Some(2));
    }

    #[test]
    fn dollars_become_cents_rounded_up_without_a_float() {
        for (dollars, expected) in [
            ("0", Some(0)),
            ("0.07", Some(7)),
            ("0.0700", Some(7)),
            ("0.0701", Some(8)),
            ("12.3", Some(1230)),
            ("1e3", None),
            ("-1", None),
            ("", None),
            ("9223372036854775807", None),
        ] {
            assert_eq!(cents(dollars), expected, "{dollars}");
        }
    }
}
