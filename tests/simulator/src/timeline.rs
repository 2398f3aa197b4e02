//! The course of one run, computed from elapsed time: nothing ticks, so nothing can be missed.

use std::time::Duration;

use super::clock::Moment;
use super::script::{Outcome, Script};

/// Where a run is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    Creating,
    Setup,
    Running,
    Ended(Ending),
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    Finished,
    Error,
    Expired,
    Cancelled,
}

/// Whether a provider shows a set-up stage between creating and running.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SetupStage {
    Shown,
    Skipped,
}

#[derive(Clone, Debug)]
pub(crate) struct Timeline {
    pub(crate) begun: Moment,
    pub(crate) script: Script,
    setup: SetupStage,
    /// Ended from outside, before or instead of the scripted end.
    interrupted: Option<(Moment, Ending)>,
}

impl Timeline {
    pub(crate) fn new(begun: Moment, script: Script, setup: SetupStage) -> Self {
        Self {
            begun,
            script,
            setup,
            interrupted: None,
        }
    }

    fn created(&self) -> Moment {
        self.begun.plus(self.script.creating())
    }

    /// When work begins.
    pub(crate) fn working_from(&self) -> Moment {
        match self.setup {
            SetupStage::Shown => self.created().plus(self.script.setup()),
            SetupStage::Skipped => self.created(),
        }
    }

    fn scripted_end(&self) -> Option<(Moment, Ending)> {
        let at = self.working_from().plus(self.script.running());
        match self.script.outcome() {
            Outcome::Finished => Some((at, Ending::Finished)),
            Outcome::Error => Some((at, Ending::Error)),
            Outcome::Expired => Some((at, Ending::Expired)),
            Outcome::Cancelled => Some((at, Ending::Cancelled)),
            Outcome::Never => None,
        }
    }

    /// When and how it ends, as far as that is decided.
    pub(crate) fn end(&self) -> Option<(Moment, Ending)> {
        self.interrupted.or_else(|| self.scripted_end())
    }

    /// When and how it ended, if it has.
    pub(crate) fn ended(&self, now: Moment) -> Option<(Moment, Ending)> {
        self.end().filter(|(at, _)| *at <= now)
    }

    pub(crate) fn stage(&self, now: Moment) -> Stage {
        match self.ended(now) {
            Some((_, ending)) => Stage::Ended(ending),
            None if now >= self.working_from() => Stage::Running,
            None if now >= self.created() => Stage::Setup,
            None => Stage::Creating,
        }
    }

    /// Ends a run that has not ended; one that has is left alone.
    pub(crate) fn interrupt(&mut self, now: Moment, ending: Ending) {
        if self.ended(now).is_none() {
            self.interrupted = Some((now, ending));
        }
    }

    /// Ends a run that has not ended after a while, unless it ends by itself before. An interruption that is decided stays.
    pub(crate) fn interrupt_after(&mut self, now: Moment, wait: Duration, ending: Ending) {
        let at = now.plus(wait);
        let earlier =
            self.interrupted.is_some() || self.scripted_end().is_some_and(|(end, _)| end <= at);
        if !earlier {
            self.interrupted = Some((at, ending));
        }
    }

    /// Changes what is still to come; one that has ended is left alone.
    pub(crate) fn rescript(&mut self, now: Moment, script: Script) {
        if self.ended(now).is_none() {
            self.script = script.or(&self.script);
            // A new script may put the end into the past; what was observed as running must not have ended before.
            if let Some((at, ending)) = self.scripted_end()
                && at < now
            {
                self.interrupted = Some((now, ending));
            }
        }
    }

    /// When commits and the pull request become visible, if they do: when the script says, be it after a successful end; else
    /// with that end.
    pub(crate) fn pushed_at(&self) -> Option<Moment> {
        let scripted = self
            .script
            .pull_request_after
            .map(|wait| self.working_from().plus(wait));
        match self.end() {
            None => scripted,
            Some((end, Ending::Finished)) => Some(scripted.unwrap_or(end)),
            Some((end, Ending::Error | Ending::Expired | Ending::Cancelled)) => {
                scripted.filter(|at| *at <= end)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn timeline(script: Script) -> (Moment, Timeline) {
        let start = Moment::START;
        (start, Timeline::new(start, script, SetupStage::Shown))
    }

    fn seconds(creating: u64, setup: u64, running: u64) -> Script {
        Script {
            creating: Some(Duration::from_secs(creating)),
            setup: Some(Duration::from_secs(setup)),
            running: Some(Duration::from_secs(running)),
            ..Script::default()
        }
    }

    #[test]
    fn stages_follow_each_other_by_elapsed_time_alone() {
        let (start, timeline) = timeline(seconds(1, 2, 3));
        let stages: Vec<Stage> = (0..=6)
            .map(|second| timeline.stage(start.plus(Duration::from_secs(second))))
            .collect();
        assert_eq!(
            stages,
            [
                Stage::Creating,
                Stage::Setup,
                Stage::Setup,
                Stage::Running,
                Stage::Running,
                Stage::Running,
                Stage::Ended(Ending::Finished)
            ]
        );
    }

    #[test]
    fn an_interruption_ends_a_run_once_and_never_one_that_has_ended() {
        let (start, mut timeline) = timeline(seconds(1, 1, 1));
        let midway = start.plus(Duration::from_secs(2));
        timeline.interrupt(midway, Ending::Cancelled);
        timeline.interrupt(midway.plus(Duration::from_secs(9)), Ending::Error);
        assert_eq!(timeline.ended(midway), Some((midway, Ending::Cancelled)));
    }

    /// Providers report a pull request seconds after the end too, of a run that succeeded.
    #[test]
    fn a_pull_request_appears_when_the_script_says_or_with_a_successful_end() {
        let at = |after: Option<u64>, outcome| {
            let script = Script {
                pull_request_after: after.map(Duration::from_secs),
                outcome: Some(outcome),
                ..seconds(0, 0, 10)
            };
            let (start, timeline) = timeline(script);
            let pushed = timeline.pushed_at();
            (0..60).find(|second| pushed == Some(start.plus(Duration::from_secs(*second))))
        };
        assert_eq!(at(None, Outcome::Finished), Some(10));
        assert_eq!(at(Some(5), Outcome::Finished), Some(5));
        assert_eq!(at(Some(30), Outcome::Finished), Some(30));
        assert_eq!(at(Some(5), Outcome::Error), Some(5));
        assert_eq!(at(Some(30), Outcome::Error), None);
        assert_eq!(at(None, Outcome::Error), None);
    }

    #[test]
    fn a_new_script_never_ends_a_run_in_the_past() {
        let (start, mut timeline) = timeline(seconds(1, 1, 100));
        let now = start.plus(Duration::from_secs(50));
        timeline.rescript(now, seconds(0, 0, 0));
        assert_eq!(timeline.end(), Some((now, Ending::Finished)));
    }
}
