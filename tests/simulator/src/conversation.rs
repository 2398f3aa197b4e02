//! The prompts of one session that are worked on one after the other in the same sandbox.

use std::iter;
use std::time::Duration;

use crate::clock::Moment;
use crate::options::ConversationStart;
use crate::script::Script;
use crate::timeline::{Ending, SetupStage, Stage, Timeline};

/// One prompt and the work on it.
#[derive(Clone, Debug)]
pub(crate) struct Turn {
    pub(crate) id: String,
    pub(crate) prompt: String,
    pub(crate) sent: Moment,
    pub(crate) timeline: Timeline,
}

/// What a turn that ended badly means for the session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AfterFailure {
    /// Its end is the session's end.
    Over,
    /// The next turn goes on.
    GoesOn,
}

#[derive(Clone, Debug)]
pub(crate) struct Conversation {
    after_failure: AfterFailure,
    first: Turn,
    /// Oldest first.
    later: Vec<Turn>,
}

/// One entry of a conversation.
pub(crate) struct Message<'a> {
    pub(crate) id: String,
    pub(crate) kind: &'static str,
    pub(crate) text: &'a str,
}

impl Conversation {
    pub(crate) fn new(first: Turn, after_failure: AfterFailure) -> Self {
        Self {
            after_failure,
            first,
            later: Vec::new(),
        }
    }

    pub(crate) fn iter(&self) -> impl DoubleEndedIterator<Item = &Turn> {
        iter::once(&self.first).chain(&self.later)
    }

    fn iter_mut(&mut self) -> impl Iterator<Item = &mut Turn> {
        iter::once(&mut self.first).chain(&mut self.later)
    }

    pub(crate) fn first(&self) -> &Turn {
        &self.first
    }

    pub(crate) fn newest(&self) -> &Turn {
        self.later.last().unwrap_or(&self.first)
    }

    /// A further prompt to a sandbox that is there. It begins after `delay`, and when all before it have ended.
    pub(crate) fn queue(
        &mut self,
        id: String,
        prompt: String,
        (now, delay): (Moment, Duration),
        script: Script,
    ) {
        let begin = self
            .iter()
            .map(|turn| turn.timeline.end().map_or(Moment::NEVER, |(at, _)| at))
            .fold(now.plus(delay), Moment::max);
        let script = Script {
            creating: Some(Duration::ZERO),
            ..script
        };
        self.later.push(Turn {
            id,
            prompt,
            sent: now,
            timeline: Timeline::new(begin, script, SetupStage::Skipped),
        });
    }

    /// The turn that the session's state is the state of.
    pub(crate) fn current(&self, now: Moment) -> &Turn {
        self.iter()
            .find(|turn| match turn.timeline.ended(now) {
                None => true,
                Some((_, Ending::Finished)) => false,
                Some((_, Ending::Error | Ending::Expired | Ending::Cancelled)) => {
                    self.after_failure == AfterFailure::Over
                }
            })
            .unwrap_or_else(|| self.newest())
    }

    pub(crate) fn stage(&self, now: Moment) -> Stage {
        self.current(now).timeline.stage(now)
    }

    pub(crate) fn is_active(&self, now: Moment) -> bool {
        !matches!(self.stage(now), Stage::Ended(_))
    }

    /// Ends all that has not ended.
    pub(crate) fn interrupt(&mut self, now: Moment, ending: Ending) {
        for turn in self.iter_mut() {
            turn.timeline.interrupt(now, ending);
        }
    }

    /// Changes the rest of the newest turn.
    pub(crate) fn rescript(&mut self, now: Moment, script: Script) {
        self.later
            .last_mut()
            .unwrap_or(&mut self.first)
            .timeline
            .rescript(now, script);
    }

    /// Whether work was pushed that a pull request was wanted for.
    pub(crate) fn opened_pull_request(&self, wanted: bool, now: Moment) -> bool {
        self.iter()
            .any(|turn| turn.timeline.script.pull_request.unwrap_or(wanted) && turn.pushed(now))
    }

    /// The final text of the newest turn that finished.
    pub(crate) fn summary(&self, now: Moment) -> Option<&str> {
        self.iter().rev().find_map(|turn| turn.result(now))
    }

    /// What was said until now.
    pub(crate) fn messages(&self, now: Moment, start: ConversationStart) -> Vec<Message<'_>> {
        let first_word = match start {
            ConversationStart::WithLaunch => self.first.sent,
            ConversationStart::WithRun => {
                let working = self.first.timeline.working_from();
                let end = self.first.timeline.end();
                end.map_or(working, |(end, _)| end.min(working))
            }
        };
        if first_word > now {
            return Vec::new();
        }
        let mut messages = Vec::new();
        for turn in self.iter().filter(|turn| turn.sent <= now) {
            messages.push(Message {
                id: turn.id.clone(),
                kind: "user_message",
                text: &turn.prompt,
            });
            messages.extend(turn.result(now).map(|text| Message {
                id: format!("{}_answer", turn.id),
                kind: "assistant_message",
                text,
            }));
        }
        messages
    }
}

impl Turn {
    /// The final text, once it finished.
    pub(crate) fn result(&self, now: Moment) -> Option<&str> {
        (self.timeline.stage(now) == Stage::Ended(Ending::Finished))
            .then(|| self.timeline.script.result())
    }

    pub(crate) fn pushed(&self, now: Moment) -> bool {
        self.timeline.pushed_at().is_some_and(|at| at <= now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::script::Outcome;

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    /// One second of work that ends like this.
    fn script(outcome: Outcome) -> Script {
        Script {
            creating: Some(Duration::ZERO),
            running: Some(seconds(1)),
            outcome: Some(outcome),
            ..Script::default()
        }
    }

    /// A turn that ends like `first`, and one that is sent at once after it.
    fn two(first: Outcome, after_failure: AfterFailure) -> Conversation {
        let first = Turn {
            id: "1".to_owned(),
            prompt: "one".to_owned(),
            sent: Moment::START,
            timeline: Timeline::new(Moment::START, script(first), SetupStage::Skipped),
        };
        let mut conversation = Conversation::new(first, after_failure);
        let at = (Moment::START, Duration::ZERO);
        conversation.queue(
            "2".to_owned(),
            "two".to_owned(),
            at,
            script(Outcome::Finished),
        );
        conversation
    }

    #[test]
    fn a_queued_turn_begins_when_the_one_before_has_ended() {
        let conversation = two(Outcome::Finished, AfterFailure::Over);
        let at = |second| {
            conversation
                .current(Moment::START.plus(seconds(second)))
                .id
                .clone()
        };
        assert_eq!([at(0), at(1), at(2)], ["1", "2", "2"]);
        assert!(!conversation.is_active(Moment::START.plus(seconds(2))));
    }

    #[test]
    fn what_waits_for_a_turn_without_end_never_begins_and_ends_with_it() {
        let mut conversation = two(Outcome::Never, AfterFailure::GoesOn);
        let late = Moment::START.plus(seconds(1_000_000));
        assert_eq!(conversation.current(late).id, "1");
        conversation.interrupt(late, Ending::Cancelled);
        assert_eq!(conversation.stage(late), Stage::Ended(Ending::Cancelled));
    }

    #[test]
    fn a_failure_is_the_end_or_is_followed_by_the_next_turn() {
        let now = Moment::START.plus(seconds(1));
        let over = two(Outcome::Error, AfterFailure::Over);
        assert_eq!(over.stage(now), Stage::Ended(Ending::Error));
        let goes_on = two(Outcome::Error, AfterFailure::GoesOn);
        assert_eq!(goes_on.stage(now), Stage::Running);
    }
}
