//! The providers whose rows the matrix has.

use codeagent_simulator::Provider;
use serde_json::{Value, json};

use crate::boundary::{Call, Verb};

/// A provider, or a version of its API, under test. Another entry in [`ALL`] brings its rows.
#[derive(Debug)]
pub struct UnderTest {
    /// Its name in tables and on command lines.
    pub name: &'static str,
    /// Whose simulated API is used.
    pub simulated: Provider,
    /// The member of `spec.provider` that selects it; also what the operator's `--provider-endpoint` calls it.
    pub member: &'static str,
    /// That member, as JSON.
    pub settings: &'static str,
    /// The Secret's values, by key.
    pub secret: &'static [(&'static str, &'static str)],
    /// The path of the paid call.
    pub launch: &'static str,
    /// The paths of its lists.
    pub lists: &'static [&'static str],
    /// The code of a 409 that a launch meets.
    pub launch_conflict: &'static str,
    /// The code of a 409 that another request meets.
    pub other_conflict: &'static str,
    /// Whether a session can be stopped.
    pub stops: bool,
    /// Whether it archives sessions.
    pub archives: bool,
    /// Whether it takes further messages.
    pub takes_messages: bool,
    /// Whether a session that was stopped says so, instead of being finished.
    pub says_stopped: bool,
    /// Whether it shows in any way that a stop had an effect.
    pub shows_stops: bool,
    /// Whether its lists come in pages.
    pub pages: bool,
    /// Whether it gives prompts back, by which a lost launch is found again.
    pub echoes: bool,
    /// Whether sessions are launched from a template, for which one that is applied together with its CodeAgent waits.
    pub has_templates: bool,
    /// What a session works on.
    pub task: Task,
    /// Whether a launch whose answer was lost can be found again; where not, a session may end with its outcome unknown.
    pub finds_launches: bool,
    /// Whether the pull request of a session is told.
    pub tells_pull_request: bool,
}

/// What a session works on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Task {
    /// A prompt of ours, in a repository.
    Prompt,
    /// An issue that the provider knows.
    Issue(&'static str),
}

/// Every provider under test.
pub static ALL: &[UnderTest] = &[
    UnderTest {
        name: "cursor-v1",
        simulated: Provider::Cursor,
        member: "cursor",
        settings: r#"{"apiVersion": "v1"}"#,
        secret: &[("api-key", "cursor-demo-key")],
        launch: "/v1/agents",
        lists: &["/v1/agents", "/v1/agents/{id}/runs"],
        launch_conflict: "agent_id_conflict",
        other_conflict: "run_not_cancellable",
        stops: true,
        archives: true,
        takes_messages: true,
        says_stopped: true,
        shows_stops: true,
        pages: true,
        echoes: false,
        has_templates: false,
        task: Task::Prompt,
        finds_launches: true,
        tells_pull_request: true,
    },
    UnderTest {
        name: "cursor-v0",
        simulated: Provider::Cursor,
        member: "cursor",
        settings: r#"{"apiVersion": "v0"}"#,
        secret: &[("api-key", "cursor-demo-key")],
        launch: "/v0/agents",
        lists: &["/v0/agents"],
        launch_conflict: "conflict",
        other_conflict: "conflict",
        stops: true,
        archives: false,
        takes_messages: true,
        says_stopped: false,
        shows_stops: false,
        pages: true,
        echoes: true,
        has_templates: false,
        task: Task::Prompt,
        finds_launches: true,
        tells_pull_request: true,
    },
    UnderTest {
        name: "firebender",
        simulated: Provider::Firebender,
        member: "firebender",
        settings: "{}",
        secret: &[("api-key", "firebender-demo-key")],
        launch: "/v0/agents",
        lists: &["/v0/agents"],
        launch_conflict: "conflict",
        other_conflict: "conflict",
        stops: true,
        archives: false,
        takes_messages: true,
        says_stopped: false,
        shows_stops: true,
        pages: true,
        echoes: true,
        has_templates: false,
        task: Task::Prompt,
        finds_launches: true,
        tells_pull_request: true,
    },
    UnderTest {
        name: "flapjack",
        simulated: Provider::Flapjack,
        member: "flapjack",
        settings: "{}",
        secret: &[
            ("api-key", "fj_live_demo_key"),
            ("cursor-api-key", "cursor-demo-key"),
        ],
        launch: "/api/code-sessions",
        lists: &["/api/code-sessions", "/api/code-agents"],
        launch_conflict: "conflict",
        other_conflict: "conflict",
        stops: true,
        archives: true,
        takes_messages: true,
        says_stopped: true,
        shows_stops: true,
        pages: false,
        echoes: true,
        has_templates: true,
        task: Task::Prompt,
        finds_launches: true,
        tells_pull_request: true,
    },
    UnderTest {
        name: "firetiger",
        simulated: Provider::Firetiger,
        member: "firetiger",
        settings: r#"{"codingAgentId": "cursor-prod"}"#,
        secret: &[
            ("username", "demo"),
            ("password", "firetiger-demo-password"),
        ],
        launch: "/v1/coding-agents/cursor-prod/sessions:launch",
        lists: &[],
        launch_conflict: "conflict",
        other_conflict: "conflict",
        stops: false,
        archives: false,
        takes_messages: false,
        says_stopped: false,
        shows_stops: false,
        pages: false,
        echoes: false,
        has_templates: false,
        task: Task::Issue("issues/FT-42"),
        finds_launches: false,
        tells_pull_request: false,
    },
];

impl UnderTest {
    /// Whether this is the paid call.
    pub fn is_launch(&self, call: &Call) -> bool {
        call.verb == Verb::Post && call.target == self.launch
    }

    /// Whether this stops a session.
    pub fn is_stop(&self, call: &Call) -> bool {
        let stops = ["/stop", "/cancel"];
        call.verb == Verb::Post && stops.iter().any(|end| call.target.ends_with(end))
    }

    /// `spec.provider` of its CodeAgent.
    pub fn spec(&self) -> Value {
        let settings: Value = serde_json::from_str(self.settings).unwrap_or_default();
        json!({self.member: settings})
    }

    /// What `key` in place of the first key changes in its Secret, and what the provider is then sent.
    pub(crate) fn rotated(&self, key: &str) -> (Value, String) {
        match self.simulated {
            Provider::Cursor | Provider::Firebender | Provider::Flapjack | Provider::Http => {
                (json!({"api-key": key}), key.to_owned())
            }
            Provider::Firetiger => (json!({"password": key}), format!("demo:{key}")),
        }
    }

    /// What only its CodeAgents must have.
    pub(crate) fn agent_settings(&self) -> Value {
        match self.task {
            Task::Prompt => {
                json!({"repository": {"url": "https://github.com/acme/app", "ref": "main"}})
            }
            Task::Issue(_) => json!({}),
        }
    }

    /// What a session works on, as in its `spec`.
    pub(crate) fn task_settings(&self) -> Value {
        match self.task {
            Task::Prompt => json!({"prompt": "Do it"}),
            Task::Issue(issue) => json!({"issue": issue}),
        }
    }

    /// The name of its Secret.
    pub fn secret_name(&self) -> &'static str {
        self.name
    }
}

/// No provider under test has this name.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is no provider under test; these are: {known}", known = names().join(", "))]
pub struct NoProvider(String);

/// The names of all.
pub fn names() -> Vec<&'static str> {
    ALL.iter().map(|provider| provider.name).collect()
}

/// The provider with this name.
///
/// # Errors
/// If there is none.
pub fn named(name: &str) -> Result<&'static UnderTest, NoProvider> {
    let found = ALL.iter().find(|provider| provider.name == name);
    found.ok_or_else(|| NoProvider(name.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_json() {
        for provider in ALL {
            let settings: Result<Value, _> = serde_json::from_str(provider.settings);
            assert!(settings.is_ok(), "{}", provider.name);
        }
    }
}
