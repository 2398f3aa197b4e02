//! How a simulator is set up.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use clap::ValueEnum;
use jiff::SignedDuration;

use super::keys::Key;
use super::script::Script;

/// Everything that can be chosen at the start.
#[derive(Clone, Debug)]
pub struct SimulatorOptions {
    /// Address of the control API. The providers listen on the ports after it: Cursor + 1, Firebender + 2, Flapjack + 3, Firetiger + 4, the service with a mapping + 5. Port 0 (the default, on loopback)
    /// gives each a free port.
    pub listen: SocketAddr,
    /// Accepted keys; default [`Key::demo`].
    pub keys: Vec<Key>,
    /// How sessions behave unless a directive or a rule says otherwise.
    pub script: Script,
    /// Whether time passes by itself. Default: it does.
    pub time: TimeFlow,
    /// How far the providers' clocks are ahead of this machine's (behind it, if negative). Default: not at all.
    pub clock_offset: SignedDuration,
    /// Requests per minute, account and operation before 429; `None` (default): only the limits that a provider documents.
    pub rate_limit: Option<u32>,
    /// Requests that the log keeps; default 100 000.
    pub request_log: usize,
    pub cursor: CursorOptions,
    pub firebender: FirebenderOptions,
    pub flapjack: FlapjackOptions,
    pub firetiger: FiretigerOptions,
}

impl Default for SimulatorOptions {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            keys: Key::demo(),
            script: Script::default(),
            time: TimeFlow::Real,
            clock_offset: SignedDuration::ZERO,
            rate_limit: None,
            request_log: 100_000,
            cursor: CursorOptions::default(),
            firebender: FirebenderOptions::default(),
            flapjack: FlapjackOptions::default(),
            firetiger: FiretigerOptions::default(),
        }
    }
}

impl SimulatorOptions {
    /// Free ports on loopback and phases of a few milliseconds.
    pub fn for_tests() -> Self {
        Self {
            script: Script::fast(),
            cursor: CursorOptions {
                v0: CursorV0Options {
                    stop_takes: Duration::from_millis(20),
                    ..CursorV0Options::default()
                },
                ..CursorOptions::default()
            },
            ..Self::default()
        }
    }
}

/// What makes a simulator's sessions proceed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum TimeFlow {
    /// Real time, and what is skipped.
    Real,
    /// Only what is skipped: a slow machine changes nothing. Faults that hold an answer back still take real time.
    Manual,
}

/// What is open or changed over time in Cursor's API.
#[derive(Clone, Debug)]
pub struct CursorOptions {
    /// Whether the `agentId` of a launch is used (default) or, as by an older server, ignored.
    pub agent_ids: AgentIds,
    /// Whether `Idempotency-Key` has an effect. Default: ignored, as observed.
    pub idempotency_key: IdempotencyKey,
    /// How `/v1/models` lists models. Default: objects.
    pub models: ModelList,
    /// Repositories that `/v1/repositories` lists.
    pub repositories: Vec<String>,
    /// Whether agents may be created for other repositories (default) or get `repository_access`.
    pub repository_access: RepositoryAccess,
    /// Pull requests that there are not: an agent that is to start from one gets `pr_resolution_failed`. Default: none.
    pub missing_pull_requests: Vec<String>,
    /// How long after its end a run can still be streamed; default 24 hours.
    pub stream_retention: Duration,
    /// In which order `/v1/agents` lists agents. Default: newest first, as documented.
    pub list_order: ListOrder,
    /// Silence before the first heartbeat of a stream; default 30 s.
    pub first_heartbeat: Duration,
    /// Silence before each further one; default 15 s.
    pub heartbeat: Duration,
    /// Whether the agents of API v0 and of API v1 are the same. Default: they are, as has been seen in October 2026.
    pub agents: AgentSets,
    /// What only API v0 has.
    pub v0: CursorV0Options,
}

impl Default for CursorOptions {
    fn default() -> Self {
        Self {
            agent_ids: AgentIds::Honoured,
            idempotency_key: IdempotencyKey::Ignored,
            models: ModelList::Objects,
            repositories: vec![
                "https://github.com/acme/app".to_owned(),
                "https://github.com/acme/web".to_owned(),
            ],
            repository_access: RepositoryAccess::Any,
            missing_pull_requests: Vec::new(),
            stream_retention: Duration::from_secs(24 * 3600),
            list_order: ListOrder::NewestFirst,
            first_heartbeat: Duration::from_secs(30),
            heartbeat: Duration::from_secs(15),
            agents: AgentSets::Shared,
            v0: CursorV0Options::default(),
        }
    }
}

/// What is open in version 0 of Cursor's API.
#[derive(Clone, Copy, Debug)]
pub struct CursorV0Options {
    /// What a stop leaves as status; undocumented. Default: after a moment, finished.
    pub stopped_status: StoppedStatus,
    /// How long a stopped agent is still shown as before, with [`StoppedStatus::FinishedLater`]; default 1 s.
    pub stop_takes: Duration,
    /// What a message to a stopped agent meets. Default: it resumes the agent.
    pub follow_up_after_stop: FollowUpAfterStop,
    /// Default: with the run.
    pub conversation: ConversationStart,
}

impl Default for CursorV0Options {
    fn default() -> Self {
        Self {
            stopped_status: StoppedStatus::FinishedLater,
            stop_takes: Duration::from_secs(1),
            follow_up_after_stop: FollowUpAfterStop::Resumes,
            conversation: ConversationStart::WithRun,
        }
    }
}

/// The status of an agent that was stopped. Nothing runs any more in any case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum StoppedStatus {
    /// As before for a moment, then `FINISHED`.
    FinishedLater,
    FinishedAtOnce,
    /// As before, for good.
    Unchanged,
}

/// What becomes of a message to a stopped agent. The API description of March 2026 and the later documentation contradict each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum FollowUpAfterStop {
    /// It goes on (the later documentation).
    Resumes,
    /// 409: it cannot be resumed (the API description).
    Refused,
}

/// What becomes of a client's `agentId`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum AgentIds {
    Honoured,
    /// The agent gets an id of the server's own.
    Ignored,
}

/// What becomes of an `Idempotency-Key`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum IdempotencyKey {
    Ignored,
    /// A repeated key returns what its first request created.
    Honoured,
}

/// What each version of the API shows of the agents that were made through the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum AgentSets {
    /// All of them.
    Shared,
    /// Nothing.
    Separate,
}

/// In which order agents are listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ListOrder {
    NewestFirst,
    /// By id, which says nothing of time (lists without an order by date have been seen).
    ById,
}

/// The shape of Cursor's model list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ModelList {
    /// Objects with parameters and variants: the current documentation.
    Objects,
    /// Plain ids: the API description of April 2026.
    Strings,
}

/// Which repositories the account reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum RepositoryAccess {
    Any,
    /// Only those that are listed.
    Listed,
    /// None, until a person connects the account with the code host.
    NotConnected,
}

/// What is open or changed over time in Firebender's API.
#[derive(Clone, Copy, Debug)]
pub struct FirebenderOptions {
    /// Default: 2026.
    pub document: FirebenderDocument,
    /// Default: kept.
    pub branch: FirebenderBranch,
    /// Default: with the run.
    pub conversation: ConversationStart,
}

impl Default for FirebenderOptions {
    fn default() -> Self {
        Self {
            document: FirebenderDocument::Y2026,
            branch: FirebenderBranch::Kept,
            conversation: ConversationStart::WithRun,
        }
    }
}

/// Which version of the documentation is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum FirebenderDocument {
    /// With `mode`, `skipGradleSync`, the status `SETUP`, VNC, recordings and traces.
    #[value(name = "2026")]
    Y2026,
    /// Without them.
    #[value(name = "2025")]
    Y2025,
}

/// What becomes of the `target.branchName` of a launch. The documentation's example shows another name in the answer than in the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum FirebenderBranch {
    Kept,
    /// Always `firebender/<id>`.
    Rewritten,
}

/// What is open in Flapjack's API.
#[derive(Clone, Debug)]
pub struct FlapjackOptions {
    /// Organisations that every account is a member of, besides its own. Default: none.
    pub shared_orgs: Vec<String>,
    /// Default: it waits.
    pub busy_message: BusyMessage,
}

impl Default for FlapjackOptions {
    fn default() -> Self {
        Self {
            shared_orgs: Vec::new(),
            busy_message: BusyMessage::Queued,
        }
    }
}

/// What becomes of a message to a session that still works; undocumented.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum BusyMessage {
    /// It is worked on when the present work is done.
    Queued,
    /// 409 `SESSION_ACTIVE`.
    Refused,
}

/// What is there and what is open in Firetiger's API.
#[derive(Clone, Debug)]
pub struct FiretigerOptions {
    /// Default: `cursor-prod`, `inspect-prod`, and `docs-http`, which is no coding agent.
    pub connections: Vec<FiretigerConnection>,
    /// Ids of the issues that there are; default `FT-42`, `FT-43`, `FT-44`.
    pub issues: Vec<String>,
    /// Default: appended.
    pub issue_links: IssueLinks,
    /// Default: camel case.
    pub member_names: MemberNames,
}

impl Default for FiretigerOptions {
    fn default() -> Self {
        let connection = |id: &str, kind| FiretigerConnection {
            id: id.to_owned(),
            kind,
        };
        Self {
            connections: vec![
                connection(
                    "cursor-prod",
                    ConnectionType::CodingAgent(CodingAgentType::Cursor),
                ),
                connection(
                    "inspect-prod",
                    ConnectionType::CodingAgent(CodingAgentType::Inspect),
                ),
                connection("docs-http", ConnectionType::Http),
            ],
            issues: ["FT-42", "FT-43", "FT-44"].map(str::to_owned).to_vec(),
            issue_links: IssueLinks::Appended,
            member_names: MemberNames::Camel,
        }
    }
}

/// A connection of the simulated deployment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FiretigerConnection {
    pub id: String,
    pub kind: ConnectionType,
}

/// What a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectionType {
    CodingAgent(CodingAgentType),
    /// Anything but a coding agent.
    Http,
}

/// The provider behind a coding agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CodingAgentType {
    Cursor,
    Inspect,
}

/// What becomes of the link to a new session, which is added "on a best-effort basis".
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum IssueLinks {
    Appended,
    /// Adding it fails, and the launch does not.
    Lost,
}

/// How JSON members are written; the documentation shows no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum MemberNames {
    /// `sessionUrl`
    Camel,
    /// `session_url`
    Snake,
}

/// When the prompt appears in a conversation of Cursor v0 or Firebender; undocumented.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ConversationStart {
    /// When the agent starts working: an empty conversation proves nothing before.
    WithRun,
    /// At once.
    WithLaunch,
}
