use serde::{Deserialize, Serialize};

use crate::text::clip_to_fit;
use crate::{Outcome, Reason, VERSION, clip};

/// The longest report. Kubernetes keeps 4096 bytes of a container's termination message and cuts the rest off.
pub const MAX_REPORT_BYTES: usize = 4096;

/// The container's termination message: how the run ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// [`VERSION`].
    pub version: u32,
    pub outcome: Outcome,
    pub reason: Reason,
    /// One or two sentences: what happened, why, and what to do.
    pub message: String,
    /// The last that the agent said, cut with a mark.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<String>,
    /// The branch that the work is on, without `refs/heads/`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub branch: Option<String>,
    /// The newest commit of the branch in the workspace, in hexadecimal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
    /// The repository's host has `commit` on `branch`. False as well where nothing was changed and so nothing was pushed.
    #[serde(default)]
    pub pushed: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pull_request: Option<PullRequest>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<Usage>,
    /// US dollars, a decimal number, as the agent tells it: of the **whole conversation** so far. Absent where the agent tells none, or
    /// priced a model that it does not know.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost_usd: Option<String>,
    /// The agent's own id of the conversation, if it told one; for people who look for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub conversation_id: Option<String>,
}

/// The pull request (at GitLab: merge request) of the branch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PullRequest {
    /// Where people read it.
    pub url: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub number: Option<u64>,
}

/// Tokens, as the agent tells them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Usage {
    /// What was sent to the model, what came from its cache included.
    pub input_tokens: u64,
    pub output_tokens: u64,
    pub total_tokens: u64,
    /// True: of the whole conversation so far, so that the use of this message is the difference to the report before (Codex). False:
    /// of this run alone.
    #[serde(default)]
    pub cumulative: bool,
}

impl Report {
    /// A report with a reason and a sentence and nothing else.
    #[must_use]
    pub fn new(reason: Reason, message: impl Into<String>) -> Self {
        Self {
            version: VERSION,
            outcome: reason.outcome(),
            reason,
            message: message.into(),
            result: None,
            branch: None,
            commit: None,
            pushed: false,
            pull_request: None,
            usage: None,
            cost_usd: None,
            conversation_id: None,
        }
    }

    /// The termination message: JSON of at most [`MAX_REPORT_BYTES`], always whole. What does not fit is cut: the result first, then
    /// the message, then whatever else has no bound of its own.
    #[must_use]
    pub fn to_termination_message(&self) -> String {
        let mut report = self.clone();
        if let Some(result) = &self.result {
            let with = |text: &str| Self {
                result: Some(text.to_owned()),
                message: clip(&self.message, 1024),
                ..self.clone()
            };
            let text = clip_to_fit(result, |text| with(text).json_within().is_some());
            report.result = (!text.is_empty()).then_some(text);
        }
        if let Some(json) = report.json_within() {
            return json;
        }
        let with = |text: &str| Self {
            message: text.to_owned(),
            ..report.clone()
        };
        let message = clip_to_fit(&self.message, |text| with(text).json_within().is_some());
        if let Some(json) = with(&message).json_within() {
            return json;
        }
        // A branch or an address of kilobytes: what happened counts more.
        let bare = Self::new(self.reason, "");
        let with = |text: &str| Self {
            message: text.to_owned(),
            pushed: self.pushed,
            ..bare.clone()
        };
        let message = clip_to_fit(&self.message, |text| with(text).json_within().is_some());
        with(&message).json_within().unwrap_or_default()
    }

    /// The report in a termination message; `None` if it is not one of this version, as when the runner was killed before it wrote
    /// any, or Kubernetes put the end of the log there.
    #[must_use]
    pub fn parse(message: &str) -> Option<Self> {
        let report: Self = serde_json::from_str(message.trim()).ok()?;
        (report.version == VERSION).then_some(report)
    }

    fn json_within(&self) -> Option<String> {
        let json = serde_json::to_string(self).ok()?;
        (json.len() <= MAX_REPORT_BYTES).then_some(json)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn full() -> Report {
        Report {
            result: Some("All done.".into()),
            branch: Some("codeagent/fix".into()),
            commit: Some("0123456789abcdef0123456789abcdef01234567".into()),
            pushed: true,
            pull_request: Some(PullRequest {
                url: "https://github.com/acme/app/pull/7".into(),
                number: Some(7),
            }),
            usage: Some(Usage {
                input_tokens: 1000,
                output_tokens: 100,
                total_tokens: 1100,
                cumulative: true,
            }),
            cost_usd: Some("0.012".into()),
            conversation_id: Some("4f08f8c4-0f4e-43b5-93c2-160cbf4b4e24".into()),
            ..Report::new(Reason::Completed, "The agent finished.")
        }
    }

    #[test]
    fn what_is_reported_is_read_back() {
        let json = full().to_termination_message();
        assert!(
            json.contains(r#""outcome":"Finished","reason":"Completed""#),
            "{json}"
        );
        assert!(json.contains(r#""costUsd":"0.012""#), "{json}");
        assert_eq!(Report::parse(&json), Some(full()));
        assert_eq!(Report::parse(""), None);
        assert_eq!(Report::parse("panicked at"), None);
    }

    #[test]
    fn a_report_is_bounded_and_whole_whatever_it_holds() {
        for text in ["a", "\u{1}", "\"", "ü", "🦀"] {
            let long = text.repeat(50_000);
            let result = Report {
                result: Some(long.clone()),
                ..full()
            };
            let message = Report {
                message: long.clone(),
                ..result.clone()
            };
            let branch = Report {
                branch: Some(long.clone()),
                ..message.clone()
            };
            for report in [&result, &message, &branch] {
                let json = report.to_termination_message();
                assert!(json.len() <= MAX_REPORT_BYTES);
                assert!(json.len() > MAX_REPORT_BYTES - 64, "{}", json.len());
                let read = Report::parse(&json);
                assert!(read.is_some_and(|read| read.reason == Reason::Completed && read.pushed));
            }
            let read = Report::parse(&result.to_termination_message());
            assert!(read.is_some_and(|read| read.message == "The agent finished."));
            let read = Report::parse(&message.to_termination_message());
            assert!(read.is_some_and(|read| read.pull_request.is_some()));
        }
    }
}
