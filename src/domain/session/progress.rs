//! What a look at a launched session shows, put into its status.

use super::super::pull_request::PullRequestUrl;
use super::super::remote::Capability;
use super::super::snapshot::{RemotePhase, Snapshot};
use super::super::status::{Draft, RESULT_BYTES, clip};
use super::observed::Observed;
use super::pending::next_message;
use super::plan::Plan;
use crate::api::{
    CodeSessionStatus, ConditionStatus, DesiredState, LinksStatus, PullRequestStatus, Reason,
    SessionCondition, SessionPhase, UsageStatus,
};

/// Longest URL that is kept.
const URL_BYTES: usize = 2048;

/// The pull request that the work is in. Until the agent has opened one of its own, a provider may show the one that it starts from,
/// which is the session's only if it pushes to it.
pub(super) fn pull_request_of<'a>(
    snapshot: &'a Snapshot,
    status: Option<&CodeSessionStatus>,
) -> Option<&'a str> {
    let shown = snapshot.pull_request_url.as_deref()?;
    let is_start = status
        .and_then(|status| status.effective.as_ref())
        .filter(|effective| !effective.pull_request.work_on_current_branch)
        .and_then(|effective| PullRequestUrl::parse(effective.pull_request_url.as_deref()?))
        .is_some_and(|start| start.is_same_as(shown));
    (!is_start).then_some(shown)
}

/// Puts what a look shows into the status, but for phase and conditions.
pub(super) fn apply(draft: &mut Draft, snapshot: &Snapshot) {
    let text = |value: &Option<String>| value.as_deref().map(|value| clip(value, URL_BYTES));
    let ended = snapshot.phase.is_terminal();
    let status = draft.status();
    let pull_request = pull_request_of(snapshot, Some(status));
    let pull_request = pull_request.map(|url| clip(url, URL_BYTES));
    if let Some(provider) = status.provider.as_mut() {
        provider.raw_status = Some(clip(&snapshot.raw_status, 64));
        provider.session_url = text(&snapshot.url).or(provider.session_url.take());
    }
    if pull_request.is_some() || snapshot.branch.is_some() {
        let stored = status
            .pull_request
            .get_or_insert_with(PullRequestStatus::default);
        stored.url = pull_request.clone().or(stored.url.take());
        // The branch alone would be worth no write; it comes along with the pull request or the end.
        if ended || stored.url.is_some() {
            stored.branch = snapshot
                .branch
                .as_deref()
                .map(|branch| clip(branch, 255))
                .or(stored.branch.take());
        }
        if *stored == PullRequestStatus::default() {
            status.pull_request = None;
        }
    }
    let stored = status.links.take().unwrap_or_default();
    let links = LinksStatus {
        recording: text(&snapshot.links.recording).or(stored.recording),
        trace: text(&snapshot.links.trace).or(stored.trace),
        // A live view is live only while the session is. It appears together with the phase, and lists leave it out.
        preview: match snapshot.phase {
            RemotePhase::Running => text(&snapshot.links.preview).or(stored.preview),
            RemotePhase::Creating | RemotePhase::Unrecognised => stored.preview,
            RemotePhase::Finished
            | RemotePhase::Error
            | RemotePhase::Cancelled
            | RemotePhase::Expired => None,
        },
    };
    status.links = (links != LinksStatus::default()).then_some(links);
    if let Some(usage) = snapshot.usage {
        status.usage = Some(UsageStatus {
            input_tokens: usage.input_tokens.max(0),
            output_tokens: usage.output_tokens.max(0),
            cost_cents: usage.cost_cents.map(|cents| cents.max(0)),
        });
    }
    let message = draft.newest_message();
    if let Some(run) = &snapshot.run_id {
        message.run_id = Some(run.as_str().to_owned());
    }
    if ended {
        message.pull_request_url = pull_request.or(message.pull_request_url.take());
        message.result = snapshot
            .result
            .as_deref()
            .map(|result| clip(result, RESULT_BYTES));
        message.duration_seconds = snapshot
            .duration
            .and_then(|duration| i64::try_from(duration.as_secs()).ok())
            .or(message.duration_seconds);
    }
}

/// Stores what a user can see.
pub(super) fn store_if_seen(o: &Observed<'_>, status: CodeSessionStatus) -> Plan {
    let mut quiet = status.clone();
    if let (Some(new), Some(stored)) = (
        quiet.provider.as_mut(),
        o.session.status.and_then(|stored| stored.provider.as_ref()),
    ) {
        new.raw_status.clone_from(&stored.raw_status);
    }
    if o.session.status == Some(&quiet) {
        Plan::nothing()
    } else {
        Plan::store(o, status)
    }
}

pub(super) fn progress(draft: &mut Draft, o: &Observed<'_>, snapshot: &Snapshot) {
    let (reason, mut message) = show_progress(draft, o, snapshot);
    let waiting = next_message(o.session.spec, o.session.status);
    if let Some(next) = waiting.filter(|_| o.session.deleting.is_none()) {
        message.push_str(&format!("; message {} waits for its end", next.name));
    }
    for sentence in without_effect(o) {
        message.push_str("; ");
        message.push_str(sentence);
    }
    draft.reconciling(reason, message);
}

/// Puts into the status where the session stands, and answers with what there is to say of it.
pub(super) fn show_progress(
    draft: &mut Draft,
    o: &Observed<'_>,
    snapshot: &Snapshot,
) -> (Reason, String) {
    apply(draft, snapshot);
    let stored = draft.status().phase;
    let (phase, reason, message) = match snapshot.phase {
        RemotePhase::Unrecognised => (
            stored,
            Reason::UnknownProviderStatus,
            format!(
                "the provider reports the status {:?}, which this version of the operator does not know; it goes on following the session",
                clip(&snapshot.raw_status, 64)
            ),
        ),
        // Providers may report an earlier phase once more; people have already seen it run.
        RemotePhase::Creating if stored != SessionPhase::Running => (
            SessionPhase::Creating,
            Reason::Creating,
            "the provider prepares the machine".to_owned(),
        ),
        RemotePhase::Creating
        | RemotePhase::Running
        | RemotePhase::Finished
        | RemotePhase::Error
        | RemotePhase::Cancelled
        | RemotePhase::Expired => (
            SessionPhase::Running,
            Reason::Running,
            "the agent works".to_owned(),
        ),
    };
    draft.status().phase = phase;
    draft.newest_message().phase = phase;
    match &snapshot.blocked {
        Some(why) => draft.set(
            SessionCondition::Blocked,
            ConditionStatus::True,
            Reason::WaitingForPerson,
            why,
        ),
        None => draft.set(
            SessionCondition::Blocked,
            ConditionStatus::False,
            Reason::NotBlocked,
            "",
        ),
    };
    pull_request_condition(draft, pull_request_wish(o));
    (reason, message)
}

/// `PullRequestCreated` while the session is active.
pub(super) fn pull_request_condition(draft: &mut Draft, wish: PullRequestWish) {
    let url = draft
        .status()
        .pull_request
        .as_ref()
        .and_then(|stored| stored.url.clone());
    match (url, wish) {
        (Some(url), _) => draft.set(
            SessionCondition::PullRequestCreated,
            ConditionStatus::True,
            Reason::Created,
            url,
        ),
        (None, PullRequestWish::Asked) => draft.set(
            SessionCondition::PullRequestCreated,
            ConditionStatus::Unknown,
            Reason::NotYet,
            "",
        ),
        (None, PullRequestWish::NotAsked) => draft.set(
            SessionCondition::PullRequestCreated,
            ConditionStatus::False,
            Reason::NotRequested,
            "",
        ),
        (None, PullRequestWish::NotTold) => draft.set(
            SessionCondition::PullRequestCreated,
            ConditionStatus::Unknown,
            Reason::NotReported,
            "",
        ),
    };
}

/// What the spec asks for and a session that was launched cannot do: accepted without effect, so that it is said.
fn without_effect(o: &Observed<'_>) -> Vec<&'static str> {
    let spec = o.session.spec;
    let effective = o
        .session
        .status
        .and_then(|status| status.effective.as_ref());
    let credentials = spec.credentials.as_ref().is_some_and(|own| {
        effective.is_some_and(|effective| {
            effective.credentials_ref.as_ref() != Some(&(&own.secret_ref).into())
        })
    });
    let unknown_launch = spec
        .on_unknown_launch
        .is_some_and(|own| effective.is_some_and(|effective| own != effective.on_unknown_launch));
    [
        (
            spec.desired_state() == DesiredState::Suspended,
            "desiredState: Suspended has no effect on what runs, because no provider can pause it, and holds later messages: set Cancelled to stop it",
        ),
        (
            credentials,
            "spec.credentials has no effect any more: the session keeps the Secret that it was launched with",
        ),
        (
            unknown_launch,
            "spec.onUnknownLaunch has no effect any more: the launch is known to have arrived",
        ),
    ]
    .into_iter()
    .filter_map(|(asked, sentence)| asked.then_some(sentence))
    .collect()
}

/// What is to be expected of a pull request.
#[derive(Clone, Copy)]
pub(super) enum PullRequestWish {
    /// One was asked for.
    Asked,
    /// None was asked for.
    NotAsked,
    /// The provider neither takes a wish nor tells what came of it.
    NotTold,
}

pub(super) fn pull_request_wish(o: &Observed<'_>) -> PullRequestWish {
    let told = o.provider.as_ref().is_none_or(|provider| {
        provider
            .capabilities
            .contains(&Capability::AutoCreatePullRequest)
    });
    let asked = o
        .session
        .status
        .and_then(|status| status.effective.as_ref())
        .is_some_and(|effective| effective.pull_request.auto_create);
    match (told, asked) {
        (false, _) => PullRequestWish::NotTold,
        (true, true) => PullRequestWish::Asked,
        (true, false) => PullRequestWish::NotAsked,
    }
}
