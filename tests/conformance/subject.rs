//! Which adapters there are, and what their providers' documents say that the contract does not.

use codeagent_operator::api::{CursorApiVersion, CursorSpec, ProviderKind, ProviderSpec};
use codeagent_operator::domain::environment::Environment;
use codeagent_operator::domain::snapshot::RemotePhase;
use codeagent_operator::providers::contract::{
    Capability, MessageRecovery, ProviderType, Recovery,
};
use codeagent_operator::providers::credential::Credential;
use codeagent_operator::providers::registry::Registry;
use serde_json::json;
use zeroize::Zeroizing;

use crate::provider_support;

/// Makes one test for every subject of each function, named `MODULE::FUNCTION::SUBJECT`. A subject that is missing here does not compile.
macro_rules! contract {
    ($($test:ident),+ $(,)?) => {
        $(contract!(@subjects $test:
            CursorV1 cursor_v1, CursorV1WithEnvironment cursor_v1_with_environment, CursorV0 cursor_v0, Firebender firebender, Flapjack flapjack, Firetiger firetiger, Http http, HttpWithOurId http_with_our_id
        );)+
    };
    (@subjects $test:ident: $($subject:ident $name:ident),+) => {
        mod $test {
            use crate::subject::Subject;

            const _: fn(Subject) = |subject| match subject {
                $(Subject::$subject => {})+
            };

            $(#[tokio::test]
            async fn $name() {
                super::$test(Subject::$subject).await;
            })+
        }
    };
}

/// The adapters that these tests do not run for, each with the reason and where it is tested instead.
pub const NOT_COVERED: [(ProviderKind, &str); 1] = [(
    ProviderKind::Job,
    "a Job is created at the API server and not behind a URL that a simulator could stand at: tests/it/jobs runs it on a real control plane",
)];

/// An adapter: a provider and, where it has several that differ, the version of its API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    CursorV1,
    /// The same, whose launches have environment variables and no id of ours: they are found in another way.
    CursorV1WithEnvironment,
    CursorV0,
    Firebender,
    Flapjack,
    Firetiger,
    /// A service whose mapping has a list and conversations.
    Http,
    /// A service that takes our key as the id of the session.
    HttpWithOurId,
}

impl Subject {
    /// Every adapter of a kind.
    pub fn of(kind: ProviderKind) -> &'static [Self] {
        match kind {
            ProviderKind::Cursor => &[Self::CursorV1, Self::CursorV0],
            ProviderKind::Firebender => &[Self::Firebender],
            ProviderKind::Flapjack => &[Self::Flapjack],
            ProviderKind::Firetiger => &[Self::Firetiger],
            ProviderKind::Http => &[Self::Http],
            // See `NOT_COVERED`.
            ProviderKind::Job => &[],
        }
    }

    pub fn kind(self) -> ProviderKind {
        match self {
            Self::CursorV1 | Self::CursorV1WithEnvironment | Self::CursorV0 => ProviderKind::Cursor,
            Self::Firebender => ProviderKind::Firebender,
            Self::Flapjack => ProviderKind::Flapjack,
            Self::Firetiger => ProviderKind::Firetiger,
            Self::Http | Self::HttpWithOurId => ProviderKind::Http,
        }
    }

    /// The simulated provider.
    pub fn simulated(self) -> codeagent_simulator::Provider {
        match self.kind() {
            ProviderKind::Cursor => codeagent_simulator::Provider::Cursor,
            ProviderKind::Firebender => codeagent_simulator::Provider::Firebender,
            ProviderKind::Flapjack => codeagent_simulator::Provider::Flapjack,
            ProviderKind::Firetiger => codeagent_simulator::Provider::Firetiger,
            ProviderKind::Http => codeagent_simulator::Provider::Http,
            ProviderKind::Job => panic!("a Job is behind no URL"),
        }
    }

    /// The settings of a CodeAgent that select this adapter.
    pub fn spec(self) -> ProviderSpec {
        let version = match self {
            Self::CursorV1 | Self::CursorV1WithEnvironment => CursorApiVersion::V1,
            Self::CursorV0 => CursorApiVersion::V0,
            Self::Firebender | Self::Flapjack | Self::Firetiger | Self::Http => {
                return provider_support::spec(self.kind());
            }
            Self::HttpWithOurId => return runs(),
        };
        ProviderSpec {
            cursor: Some(CursorSpec {
                api_version: Some(version),
                endpoint: None,
            }),
            ..ProviderSpec::default()
        }
    }

    /// The values of its Secret: the canaries that must never be seen anywhere.
    pub fn credential(self) -> Credential {
        provider_support::credential(self.kind(), provider_support::KEY)
    }

    pub fn credential_of_another_account(self) -> Credential {
        let theirs = provider_support::credential(self.kind(), "key_of_another_account");
        match self.kind() {
            ProviderKind::Cursor
            | ProviderKind::Firebender
            | ProviderKind::Flapjack
            | ProviderKind::Http
            | ProviderKind::Job => theirs,
            ProviderKind::Firetiger => theirs.with("username", "robot-2"),
        }
    }

    pub fn registered(self) -> &'static dyn ProviderType {
        Registry::get(self.kind()).unwrap()
    }

    pub fn can(self, capability: Capability) -> bool {
        self.registered()
            .capabilities(&self.spec())
            .contains(&capability)
    }

    /// Whether its list tells everything of every session, so that nothing is left to ask for.
    pub fn lists_everything(self) -> bool {
        match self {
            Self::CursorV0 | Self::Firebender => true,
            // Of a session that has ended Flapjack's list tells neither result nor error.
            Self::CursorV1
            | Self::CursorV1WithEnvironment
            | Self::Flapjack
            | Self::Firetiger
            | Self::Http
            | Self::HttpWithOurId => false,
        }
    }

    /// How a lost message is found; `None` where there are no messages.
    pub fn message_recovery(self) -> Option<MessageRecovery> {
        self.registered().message_recovery(&self.spec())
    }

    /// How a lost one of its launches is found.
    pub fn recovery(self) -> Recovery {
        let (registered, spec) = (self.registered(), self.spec());
        match self.environment().is_empty() {
            true => registered.recovery(&spec),
            false => registered.environment_recovery(&spec),
        }
    }

    /// Whether its mark is the session's name, because nobody may read its first message. A list shows it without a look; it tells no attempt,
    /// and not enough to be believed for another repository.
    pub fn is_found_by_name(self) -> bool {
        self == Self::CursorV1WithEnvironment
    }

    /// Whether a launch that is not found under our id is looked for elsewhere. A service of runs has no list of them: where our id has not been
    /// seen to be used, such a launch stays unknown.
    pub fn is_searched(self) -> bool {
        self != Self::HttpWithOurId
    }

    /// The environment variables of its launches.
    pub fn environment(self) -> Environment {
        match self {
            Self::CursorV1WithEnvironment => {
                let value = Zeroizing::new(b"of the staging database".to_vec());
                Environment::of_secret([("TOKEN".to_owned(), value)]).unwrap()
            }
            Self::CursorV1
            | Self::CursorV0
            | Self::Firebender
            | Self::Flapjack
            | Self::Firetiger
            | Self::Http
            | Self::HttpWithOurId => Environment::default(),
        }
    }

    /// Every status of a session (with Cursor v1, of a run) that the provider documents.
    pub fn documented_statuses(self) -> &'static [(&'static str, RemotePhase)] {
        match self {
            Self::CursorV1 | Self::CursorV1WithEnvironment => &[
                ("CREATING", RemotePhase::Creating),
                ("RUNNING", RemotePhase::Running),
                ("FINISHED", RemotePhase::Finished),
                ("ERROR", RemotePhase::Error),
                ("CANCELLED", RemotePhase::Cancelled),
                ("EXPIRED", RemotePhase::Expired),
            ],
            // None for a stop: a stopped agent is said to be FINISHED.
            Self::CursorV0 => &[
                ("CREATING", RemotePhase::Creating),
                ("RUNNING", RemotePhase::Running),
                ("FINISHED", RemotePhase::Finished),
                ("ERROR", RemotePhase::Error),
                ("EXPIRED", RemotePhase::Expired),
            ],
            Self::Firebender => &[
                ("CREATING", RemotePhase::Creating),
                ("SETUP", RemotePhase::Creating),
                ("RUNNING", RemotePhase::Running),
                ("FINISHED", RemotePhase::Finished),
                ("ERROR", RemotePhase::Error),
                ("EXPIRED", RemotePhase::Expired),
            ],
            Self::Flapjack => &[
                ("pending", RemotePhase::Creating),
                ("creating", RemotePhase::Creating),
                ("running", RemotePhase::Running),
                ("finished", RemotePhase::Finished),
                ("error", RemotePhase::Error),
                ("cancelled", RemotePhase::Cancelled),
                ("expired", RemotePhase::Expired),
            ],
            Self::Firetiger => &[
                ("PENDING", RemotePhase::Creating),
                ("RUNNING", RemotePhase::Running),
                ("FINISHED", RemotePhase::Finished),
                ("FAILED", RemotePhase::Error),
            ],
            // As they stand in the status of a session: a status with its detail.
            Self::Http => &[
                ("running/working", RemotePhase::Running),
                ("running/finished", RemotePhase::Finished),
                ("suspended/inactivity", RemotePhase::Expired),
                ("new", RemotePhase::Creating),
                ("creating", RemotePhase::Creating),
                ("claimed", RemotePhase::Creating),
                ("running", RemotePhase::Running),
                ("resuming", RemotePhase::Running),
                ("exit", RemotePhase::Finished),
                ("error", RemotePhase::Error),
                ("suspended", RemotePhase::Error),
            ],
            Self::HttpWithOurId => &[
                ("queued", RemotePhase::Creating),
                ("running", RemotePhase::Running),
                ("succeeded", RemotePhase::Finished),
                ("failed", RemotePhase::Error),
                ("cancelled", RemotePhase::Cancelled),
                ("timed_out", RemotePhase::Expired),
            ],
        }
    }

    /// How a person makes a session vanish from the list, as method and path; `None` where nobody can.
    pub fn removal(self, session: &str) -> Option<(reqwest::Method, String)> {
        match self {
            Self::CursorV1 | Self::CursorV1WithEnvironment => {
                Some((reqwest::Method::DELETE, format!("/v1/agents/{session}")))
            }
            Self::CursorV0 | Self::Firebender => {
                Some((reqwest::Method::DELETE, format!("/v0/agents/{session}")))
            }
            // Flapjack archives sessions that have ended and deletes none.
            Self::Flapjack | Self::Firetiger => None,
            // Terminating one leaves it in the list.
            Self::Http | Self::HttpWithOurId => None,
        }
    }
}

/// A mapping of runs that the client puts under an id of its own.
fn runs() -> ProviderSpec {
    let field = |path: &str| json!({ "path": path });
    serde_json::from_value(json!({"http": {
        "endpoint": "https://agents.example.com",
        "errorMember": "detail",
        "verify": {"path": "/me"},
        "launch": {
            "path": "/runs", "key": "SessionId", "at": "run",
            "body": {"id": "{key}", "prompt": "{prompt}", "repository": "{repository}", "ref": "{ref}"},
        },
        "get": {"path": "/runs/{sessionId}", "at": "run"},
        "cancel": {"path": "/runs/{sessionId}/cancel"},
        "session": {
            "id": field("id"),
            "createdAt": field("startedAt"),
            "result": field("summary"),
            "pullRequest": field("pullRequest"),
            "phase": {"path": "status", "values": {
                "queued": "Creating", "running": "Running", "succeeded": "Finished", "failed": "Error",
                "cancelled": "Cancelled", "timed_out": "Expired",
            }},
        },
    }}))
    .unwrap()
}
