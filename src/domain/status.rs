//! Building a session's status: conditions that always stand complete, in order, and move only when something did.

use std::time::Duration;

use jiff::{RoundMode, Timestamp, TimestampRound, Unit};

use super::webhook::{delivered_condition, number_state, state_of};
use crate::api::{
    BlockerStatus, CodeSessionStatus, Condition, ConditionStatus, ErrorStatus, MessageStatus,
    Reason, ReportedState, SendRecord, SessionCondition, SessionPhase, condition,
};

/// Longest message of a condition, in bytes.
pub const MESSAGE_BYTES: usize = 1024;
/// Longest result of the newest message, in bytes.
pub const RESULT_BYTES: usize = 2048;
/// Longest result of an earlier message, in bytes.
pub const EARLIER_RESULT_BYTES: usize = 256;
/// Name of the first message in `status.messages`.
pub const FIRST_MESSAGE: &str = "prompt";

/// `at` without what is smaller than a second.
pub fn whole_seconds(at: Timestamp) -> Timestamp {
    at.round(
        TimestampRound::new()
            .smallest(Unit::Second)
            .mode(RoundMode::Trunc),
    )
    .unwrap_or(at)
}

/// `text` cut to at most `bytes` bytes at a character boundary, with an ellipsis where something was cut, and without
/// control characters but line breaks and tabs.
pub fn clip(text: &str, bytes: usize) -> String {
    let clean: String = text
        .chars()
        .filter(|c| !c.is_control() || matches!(c, '\n' | '\t'))
        .collect();
    if clean.len() <= bytes {
        return clean;
    }
    let mut end = bytes.saturating_sub('…'.len_utf8());
    while !clean.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}…", clean.get(..end).unwrap_or_default())
}

/// A condition as it stands `now`, in whole seconds. Its transition time moves only if its status differs from the stored one.
pub fn new_condition(
    stored: &[Condition],
    kind: &str,
    (status, reason, message): (ConditionStatus, Reason, &str),
    generation: i64,
    now: Timestamp,
) -> Condition {
    let since = condition(stored, kind)
        .filter(|stored| stored.status == status)
        .map_or(now, |stored| stored.last_transition_time);
    Condition {
        kind: kind.to_owned(),
        status,
        observed_generation: Some(generation),
        last_transition_time: since,
        reason: reason.as_str().to_owned(),
        message: clip(message, MESSAGE_BYTES),
    }
}

/// The index of the newest message that the provider has, or had.
pub fn newest_message(status: &CodeSessionStatus) -> Option<usize> {
    let arrived = |message: &MessageStatus| {
        let record = message.send.as_ref();
        record.is_some_and(|record| record.state.arrived())
    };
    status
        .messages
        .iter()
        .rposition(arrived)
        .or_else(|| (!status.messages.is_empty()).then_some(0))
}

/// The newest message that the provider has, or had.
pub fn newest_entry(status: &CodeSessionStatus) -> Option<&MessageStatus> {
    status.messages.get(newest_message(status)?)
}

/// What is stored of the message of this name.
pub fn entry<'a>(status: &'a CodeSessionStatus, name: &str) -> Option<&'a MessageStatus> {
    status.messages.iter().find(|entry| entry.name == name)
}

/// A status in the making.
#[derive(Clone, Debug)]
pub struct Draft {
    /// The stored conditions: what a condition goes through in here on its way is no transition.
    stored: Vec<Condition>,
    /// The stored state, as far as its changes are reported.
    reported: ReportedState,
    status: CodeSessionStatus,
    generation: i64,
    now: Timestamp,
}

impl Draft {
    /// Starts from what is stored. What is written is said of `generation`.
    pub fn new(stored: Option<&CodeSessionStatus>, generation: i64, now: Timestamp) -> Self {
        Self {
            stored: stored.map_or_else(Vec::new, |stored| stored.conditions.clone()),
            reported: stored.map(state_of).unwrap_or_default(),
            status: stored.cloned().unwrap_or_default(),
            generation,
            now: whole_seconds(now),
        }
    }

    /// The status as it stands, to be changed beside its conditions.
    pub fn status(&mut self) -> &mut CodeSessionStatus {
        &mut self.status
    }

    /// The moment of this draft, in whole seconds.
    pub fn now(&self) -> Timestamp {
        self.now
    }

    /// Sets one condition. Its transition time moves only if its status does.
    pub fn set(
        &mut self,
        kind: SessionCondition,
        status: ConditionStatus,
        reason: Reason,
        message: impl AsRef<str>,
    ) -> &mut Self {
        let new = new_condition(
            &self.stored,
            kind.as_str(),
            (status, reason, message.as_ref()),
            self.generation,
            self.now,
        );
        self.status
            .conditions
            .retain(|stored| stored.kind != new.kind);
        self.status.conditions.push(new);
        self
    }

    /// Work goes on: `Reconciling`, not `Stalled`.
    pub fn reconciling(&mut self, reason: Reason, message: impl AsRef<str>) -> &mut Self {
        self.status.blocker = None;
        self.going_on(reason, message)
    }

    /// Something outside of the object keeps it from getting further. Whatever applied it together with what is missing
    /// gets some time to bring it: `Reconciling` while it lasts for less than `patience`, then `Stalled`.
    ///
    /// Answers with how long it is until it stalls; `None` once it does.
    pub fn blocked(
        &mut self,
        reason: Reason,
        message: impl AsRef<str>,
        patience: Duration,
    ) -> Option<Duration> {
        // Another reason is no progress: what is missing may come and go.
        let since = self
            .status
            .blocker
            .as_ref()
            .map_or(self.now, |blocker| blocker.since);
        let blocker = BlockerStatus {
            reason: reason.as_str().to_owned(),
            since,
        };
        let lasted = Duration::try_from(self.now.duration_since(since)).unwrap_or_default();
        let left = patience.checked_sub(lasted).filter(|left| !left.is_zero());
        match left {
            Some(_) => self.going_on(reason, message),
            None => self.stalled(reason, message),
        };
        self.status.blocker = Some(blocker);
        left
    }

    fn going_on(&mut self, reason: Reason, message: impl AsRef<str>) -> &mut Self {
        self.set(
            SessionCondition::Reconciling,
            ConditionStatus::True,
            reason,
            &message,
        );
        self.set(
            SessionCondition::Stalled,
            ConditionStatus::False,
            reason,
            "",
        );
        self.headline(reason, message)
    }

    /// It does not get further without help: `Stalled`, not `Reconciling`.
    pub fn stalled(&mut self, reason: Reason, message: impl AsRef<str>) -> &mut Self {
        self.status.blocker = None;
        self.set(
            SessionCondition::Reconciling,
            ConditionStatus::False,
            reason,
            "",
        );
        self.set(
            SessionCondition::Stalled,
            ConditionStatus::True,
            reason,
            &message,
        );
        self.headline(reason, message)
    }

    /// Nothing is left to do: neither `Reconciling` nor `Stalled`.
    pub fn settled(&mut self, reason: Reason, message: impl AsRef<str>) -> &mut Self {
        self.status.blocker = None;
        self.set(
            SessionCondition::Reconciling,
            ConditionStatus::False,
            reason,
            "",
        );
        self.set(
            SessionCondition::Stalled,
            ConditionStatus::False,
            reason,
            "",
        );
        self.headline(reason, message)
    }

    /// `Succeeded` and `Completed` while the session is not over: what there is to say stands in `Succeeded`.
    fn headline(&mut self, reason: Reason, message: impl AsRef<str>) -> &mut Self {
        if !self.status.phase.is_terminal() {
            self.incomplete(reason, message);
        }
        self
    }

    /// What the session was asked for is not complete, also where its newest message has ended and another one is to be sent.
    pub fn incomplete(&mut self, reason: Reason, message: impl AsRef<str>) -> &mut Self {
        self.set(
            SessionCondition::Succeeded,
            ConditionStatus::Unknown,
            reason,
            &message,
        );
        self.set(
            SessionCondition::Completed,
            ConditionStatus::False,
            reason,
            "",
        )
    }

    /// Ends the newest message in `phase`.
    ///
    /// `wanted` tells whether the end is what the spec asked for: then the session is settled, else stalled.
    pub fn end(
        &mut self,
        phase: SessionPhase,
        wanted: bool,
        reason: Reason,
        message: impl AsRef<str>,
    ) -> &mut Self {
        self.status.phase = phase;
        let message = clip(message.as_ref(), MESSAGE_BYTES);
        self.set(
            SessionCondition::Succeeded,
            (phase == SessionPhase::Finished).into(),
            reason,
            &message,
        );
        self.set(
            SessionCondition::Completed,
            ConditionStatus::True,
            reason,
            "",
        );
        if wanted {
            self.settled(reason, "")
        } else {
            self.stalled(reason, &message)
        };
        let now = self.now;
        self.status.completed_at.get_or_insert(now);
        self.status.queue = None;
        let error = (phase == SessionPhase::Error).then(|| ErrorStatus {
            reason: reason.as_str().to_owned(),
            message,
        });
        if error.is_some() {
            self.status.error.clone_from(&error);
        }
        let started = self.status.started_at;
        if let Some(newest) = self.status.messages.last_mut() {
            newest.phase = phase;
            newest.error = error.filter(|_| newest.send.is_some());
            newest.completed_at.get_or_insert(now);
            let ours = newest
                .started_at
                .or(started)
                .map(|from| now.duration_since(from).as_secs().max(0));
            newest.duration_seconds = newest.duration_seconds.or(ours);
        }
        self
    }

    /// The record of the first message, made if it is not there.
    pub fn first_message(&mut self) -> &mut MessageStatus {
        if self.status.messages.is_empty() {
            self.status.messages.push(MessageStatus {
                name: FIRST_MESSAGE.to_owned(),
                ..MessageStatus::default()
            });
        }
        // The list has just been seen not to be empty; an index would be no safer.
        #[expect(
            clippy::expect_used,
            reason = "a message was pushed where there was none"
        )]
        self.status
            .messages
            .first_mut()
            .expect("there is a first message")
    }

    /// The record of the message of this name, made at the end of the list if it is not there.
    pub fn message(&mut self, name: &str) -> &mut MessageStatus {
        self.first_message();
        let known = self.status.messages.iter().position(|it| it.name == name);
        let index = known.unwrap_or_else(|| {
            self.status.messages.push(MessageStatus {
                name: name.to_owned(),
                ..MessageStatus::default()
            });
            self.status.messages.len() - 1
        });
        #[expect(
            clippy::expect_used,
            reason = "the index was found in the list, or is that of what was pushed"
        )]
        self.status.messages.get_mut(index).expect("it is there")
    }

    /// The record of the newest message that the provider has; of the first one, where it has none.
    pub fn newest_message(&mut self) -> &mut MessageStatus {
        let index = newest_message(&self.status).unwrap_or_default();
        match self.status.messages.get(index).map(|it| it.name.clone()) {
            Some(name) => self.message(&name),
            None => self.first_message(),
        }
    }

    /// The record of the newest request that was claimed: a message's, or the launch's.
    pub fn newest_send(&mut self) -> Option<&mut SendRecord> {
        let status = &mut self.status;
        match status.messages.last_mut().and_then(|it| it.send.as_mut()) {
            Some(record) => Some(record),
            None => status.launch.as_mut(),
        }
    }

    /// The finished status: every condition present, in documented order, all said of this generation.
    pub fn finish(mut self) -> CodeSessionStatus {
        self.status.observed_generation = self.generation;
        for kind in SessionCondition::ALL {
            if condition(&self.status.conditions, kind.as_str()).is_none() {
                let (status, reason) = match kind {
                    SessionCondition::Blocked => (ConditionStatus::Unknown, Reason::Pending),
                    SessionCondition::Completed => (ConditionStatus::False, Reason::Pending),
                    SessionCondition::Archived => (ConditionStatus::False, Reason::NotArchived),
                    // It is told below.
                    SessionCondition::WebhookDelivered
                    | SessionCondition::Launched
                    | SessionCondition::Succeeded
                    | SessionCondition::PullRequestCreated
                    | SessionCondition::Reconciling
                    | SessionCondition::Stalled => (ConditionStatus::Unknown, Reason::Pending),
                };
                self.set(*kind, status, reason, "");
            }
        }
        number_state(&mut self.status, &self.reported);
        let (status, reason, message) = delivered_condition(self.status.webhook.as_ref());
        self.set(SessionCondition::WebhookDelivered, status, reason, message);
        let place = |kind: &str| {
            SessionCondition::ALL
                .iter()
                .position(|known| known.as_str() == kind)
        };
        self.status
            .conditions
            .retain(|stored| place(&stored.kind).is_some());
        self.status
            .conditions
            .sort_by_key(|stored| place(&stored.kind));
        for stored in &mut self.status.conditions {
            stored.observed_generation = Some(self.generation);
        }
        self.status
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::api::WebhookStatus;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn every_condition_stands_in_order_from_the_first_visit() {
        let status = Draft::new(None, 3, at(10)).finish();
        let kinds: Vec<&str> = status.conditions.iter().map(|c| c.kind.as_str()).collect();
        let all: Vec<&str> = SessionCondition::ALL.iter().map(|k| k.as_str()).collect();
        assert_eq!(kinds, all);
        assert!(
            status
                .conditions
                .iter()
                .all(|c| c.observed_generation == Some(3))
        );
        assert_eq!(status.observed_generation, 3);
    }

    #[test]
    fn a_transition_time_moves_with_the_status_alone() {
        let mut first = Draft::new(None, 1, at(10));
        first.stalled(Reason::SecretNotFound, "no Secret");
        let stored = first.finish();
        let mut second = Draft::new(Some(&stored), 1, at(20));
        second.stalled(Reason::SecretKeyMissing, "no key");
        let stored = second.finish();
        assert_eq!(
            condition(&stored.conditions, "Stalled")
                .unwrap()
                .last_transition_time,
            at(10)
        );
        let mut third = Draft::new(Some(&stored), 1, at(30));
        third.reconciling(Reason::Launching, "goes on");
        let stored = third.finish();
        assert_eq!(
            condition(&stored.conditions, "Stalled")
                .unwrap()
                .last_transition_time,
            at(30)
        );
    }

    #[test]
    fn the_same_evaluation_twice_changes_nothing() {
        let mut draft = Draft::new(None, 1, at(10));
        draft.end(SessionPhase::Finished, true, Reason::Finished, "done");
        let stored = draft.finish();
        let mut again = Draft::new(Some(&stored), 1, at(99));
        again.end(SessionPhase::Finished, true, Reason::Finished, "done");
        assert_eq!(again.finish(), stored);
    }

    /// Also where the session comes back to a state: whoever was told the one between has a report with another number.
    #[test]
    fn a_state_that_is_reported_is_numbered_by_the_write_that_brings_it() {
        let mut stored = CodeSessionStatus {
            webhook: Some(WebhookStatus::default()),
            ..CodeSessionStatus::default()
        };
        for (number, phase) in [
            (1, SessionPhase::Running),
            (1, SessionPhase::Running),
            (2, SessionPhase::Creating),
            (3, SessionPhase::Running),
        ] {
            let mut draft = Draft::new(Some(&stored), 1, at(10));
            draft.status().phase = phase;
            stored = draft.finish();
            assert_eq!(stored.webhook.as_ref().unwrap().change, number);
        }
    }

    #[test]
    fn what_others_can_mend_stalls_only_after_a_while_and_the_while_is_stored() {
        let patience = Duration::from_secs(300);
        let is = |status: &CodeSessionStatus| {
            let of = |kind| condition(&status.conditions, kind).unwrap().status;
            (of("Reconciling"), of("Stalled"))
        };
        let mut draft = Draft::new(None, 1, at(1000));
        let left = draft.blocked(Reason::SecretNotFound, "create it", patience);
        assert_eq!(left, Some(patience));
        let stored = draft.finish();
        assert_eq!(is(&stored), (ConditionStatus::True, ConditionStatus::False));
        // Another reason does not begin the while anew.
        let mut draft = Draft::new(Some(&stored), 1, at(1299));
        let left = draft.blocked(Reason::SecretKeyMissing, "add it", patience);
        assert_eq!(left, Some(Duration::from_secs(1)));
        let stored = draft.finish();
        let mut draft = Draft::new(Some(&stored), 1, at(1300));
        assert_eq!(
            draft.blocked(Reason::SecretKeyMissing, "add it", patience),
            None
        );
        let stalled = draft.finish();
        assert_eq!(
            is(&stalled),
            (ConditionStatus::False, ConditionStatus::True)
        );
        // Getting further does.
        let mut draft = Draft::new(Some(&stalled), 1, at(1400));
        draft.reconciling(Reason::Launching, "");
        let stored = draft.finish();
        assert_eq!(stored.blocker, None);
    }

    #[test]
    fn text_is_cut_at_a_character_and_loses_control_characters() {
        assert_eq!(clip("ab\u{1b}[31mc", 100), "ab[31mc");
        let cut = clip(&"ä".repeat(1000), 101);
        assert!(cut.len() <= 101 && cut.ends_with('…'));
    }
}
