//! `codeagent-simulator`: the providers' APIs on this machine, for trying the operator without an account and for tests.

use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, ValueEnum};
use codeagent_simulator::{
    AgentIds, AgentSets, BusyMessage, CodingAgentType, ConnectionType, ConversationStart,
    CursorOptions, CursorV0Options, FirebenderBranch, FirebenderDocument, FirebenderOptions,
    FiretigerConnection, FiretigerOptions, FlapjackOptions, FollowUpAfterStop, IdempotencyKey,
    IssueLinks, Key, ListOrder, MemberNames, ModelList, Provider, RepositoryAccess, Script,
    Simulator, SimulatorOptions, StoppedStatus, TimeFlow,
};
use jiff::SignedDuration;
use serde_json::json;

/// Serves the APIs of Cursor (v0 and v1), Firebender, Flapjack and Firetiger on this machine: nothing leaves it and nothing is paid.
///
/// A line `sim: creating=200ms running=1s outcome=error` in a prompt decides how that session behaves. The control API (first URL printed) shows
/// what was received and injects faults: POST /control/faults {"when": {"class": "launch"}, "fault": {"kind": "drop_after"}}.
///
/// Kinds without an effect on the session: drop_before, hang, silent_before, error_before, refused (with a sentence), web_page, rate_limited,
/// respond. With one: drop_after, silent_after, delay, late_commit, error_after, truncated_body, huge_body, huge_field, huge_array, echo (how
/// prompts are given back), page_token, unknown_status, lag, ignore_agent_id, small_pages, cut_stream, stream_error. "when" may hold provider,
/// operation, class, method, path_contains and later_page; "skip" and "times" count requests.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// Address of the control API; the next ports are those of Cursor, Firebender, Flapjack, Firetiger and a service that is reached with a mapping (http), in this order. Port 0: free ports.
    #[arg(long, env = "SIMULATOR_LISTEN", default_value = "127.0.0.1:9800")]
    listen: SocketAddr,

    /// How the URLs and keys are printed.
    #[arg(long, env = "SIMULATOR_OUTPUT", value_enum, default_value_t = Output::Text)]
    output: Output,

    /// How a session behaves unless its prompt says otherwise, e.g. "creating=1s running=20s pr=true".
    #[arg(long, env = "SIMULATOR_SCRIPT", default_value = "", value_parser = parse_script)]
    script: Script,

    /// Whether sessions proceed by themselves, or only by POST /control/clock.
    #[arg(long, env = "SIMULATOR_TIME", value_enum, default_value_t = TimeFlow::Real)]
    time: TimeFlow,

    /// How far the providers' clocks are ahead of this machine's, e.g. 20m; -20m: behind.
    #[arg(
        long,
        env = "SIMULATOR_CLOCK_OFFSET",
        default_value = "0s",
        allow_hyphen_values = true
    )]
    clock_offset: SignedDuration,

    /// Accepted key, as PROVIDER:NAME:SECRET with provider cursor, firebender, flapjack, http or firetiger (its secret is USER:PASSWORD); repeatable. Without any, demo keys are accepted.
    #[arg(long = "key", env = "SIMULATOR_KEYS", value_parser = parse_key, value_delimiter = ',', hide_env_values = true)]
    keys: Vec<Key>,

    /// Requests per minute, account and operation before 429; without it only the providers' documented limits hold.
    #[arg(long, env = "SIMULATOR_RATE_LIMIT")]
    rate_limit: Option<u32>,

    /// Requests that the control API remembers.
    #[arg(long, env = "SIMULATOR_REQUEST_LOG", default_value_t = 100_000)]
    request_log: usize,

    /// Cursor: whether the id that a client chose for an agent is used.
    #[arg(long, env = "SIMULATOR_CURSOR_AGENT_IDS", value_enum, default_value_t = AgentIds::Honoured)]
    cursor_agent_ids: AgentIds,

    /// Cursor: whether Idempotency-Key has an effect.
    #[arg(long, env = "SIMULATOR_CURSOR_IDEMPOTENCY_KEY", value_enum, default_value_t = IdempotencyKey::Ignored)]
    cursor_idempotency_key: IdempotencyKey,

    /// Cursor: how models are listed.
    #[arg(long, env = "SIMULATOR_CURSOR_MODELS", value_enum, default_value_t = ModelList::Objects)]
    cursor_models: ModelList,

    /// Cursor: repository that is listed; repeatable. Without any, two examples are.
    #[arg(
        long = "cursor-repository",
        env = "SIMULATOR_CURSOR_REPOSITORIES",
        value_delimiter = ','
    )]
    cursor_repositories: Vec<String>,

    /// Cursor: which repositories an agent may work on.
    #[arg(long, env = "SIMULATOR_CURSOR_REPOSITORY_ACCESS", value_enum, default_value_t = RepositoryAccess::Any)]
    cursor_repository_access: RepositoryAccess,

    /// Cursor: seconds after its end that a run can be streamed.
    #[arg(
        long,
        env = "SIMULATOR_CURSOR_STREAM_RETENTION",
        default_value_t = 24 * 3600
    )]
    cursor_stream_retention: u64,

    /// Cursor: in which order agents are listed.
    #[arg(long, env = "SIMULATOR_CURSOR_LIST_ORDER", value_enum, default_value_t = ListOrder::NewestFirst)]
    cursor_list_order: ListOrder,

    /// Cursor: whether the agents of both versions of the API are the same.
    #[arg(long, env = "SIMULATOR_CURSOR_AGENTS", value_enum, default_value_t = AgentSets::Shared)]
    cursor_agents: AgentSets,

    /// Cursor v0: what a stop leaves as status.
    #[arg(long, env = "SIMULATOR_CURSOR_V0_STOPPED_STATUS", value_enum, default_value_t = StoppedStatus::FinishedLater)]
    cursor_v0_stopped_status: StoppedStatus,

    /// Cursor v0: milliseconds that a stopped agent is still shown as before, if it is finished later.
    #[arg(long, env = "SIMULATOR_CURSOR_V0_STOP_TAKES", default_value_t = 1000)]
    cursor_v0_stop_takes: u64,

    /// Cursor v0: what a message to a stopped agent does.
    #[arg(long, env = "SIMULATOR_CURSOR_V0_FOLLOW_UP_AFTER_STOP", value_enum, default_value_t = FollowUpAfterStop::Resumes)]
    cursor_v0_follow_up_after_stop: FollowUpAfterStop,

    /// Cursor v0: when a conversation shows the prompt.
    #[arg(long, env = "SIMULATOR_CURSOR_V0_CONVERSATION", value_enum, default_value_t = ConversationStart::WithRun)]
    cursor_v0_conversation: ConversationStart,

    /// Firebender: which version of its documentation is served.
    #[arg(long, env = "SIMULATOR_FIREBENDER_DOCUMENT", value_enum, default_value_t = FirebenderDocument::Y2026)]
    firebender_document: FirebenderDocument,

    /// Firebender: whether the branch name of a launch is kept.
    #[arg(long, env = "SIMULATOR_FIREBENDER_BRANCH", value_enum, default_value_t = FirebenderBranch::Kept)]
    firebender_branch: FirebenderBranch,

    /// Firebender: when a conversation shows the prompt.
    #[arg(long, env = "SIMULATOR_FIREBENDER_CONVERSATION", value_enum, default_value_t = ConversationStart::WithRun)]
    firebender_conversation: ConversationStart,

    /// Flapjack: organisation that every account is a member of besides its own; repeatable.
    #[arg(
        long = "flapjack-shared-org",
        env = "SIMULATOR_FLAPJACK_SHARED_ORGS",
        value_delimiter = ','
    )]
    flapjack_shared_orgs: Vec<String>,

    /// Flapjack: what a message to a session that still works meets.
    #[arg(long, env = "SIMULATOR_FLAPJACK_BUSY_MESSAGE", value_enum, default_value_t = BusyMessage::Queued)]
    flapjack_busy_message: BusyMessage,

    /// Firetiger: connection as ID:TYPE with type cursor, inspect or http (no coding agent); repeatable. Without any, there is one of each.
    #[arg(long = "firetiger-connection", env = "SIMULATOR_FIRETIGER_CONNECTIONS", value_parser = parse_connection, value_delimiter = ',')]
    firetiger_connections: Vec<FiretigerConnection>,

    /// Firetiger: id of an issue that there is, e.g. FT-42; repeatable. Without any, there are a few.
    #[arg(
        long = "firetiger-issue",
        env = "SIMULATOR_FIRETIGER_ISSUES",
        value_delimiter = ','
    )]
    firetiger_issues: Vec<String>,

    /// Firetiger: what becomes of the link from an issue to its session.
    #[arg(long, env = "SIMULATOR_FIRETIGER_ISSUE_LINKS", value_enum, default_value_t = IssueLinks::Appended)]
    firetiger_issue_links: IssueLinks,

    /// Firetiger: how JSON members are written.
    #[arg(long, env = "SIMULATOR_FIRETIGER_MEMBER_NAMES", value_enum, default_value_t = MemberNames::Camel)]
    firetiger_member_names: MemberNames,
}

#[derive(Clone, Copy, ValueEnum)]
enum Output {
    Text,
    Json,
}

fn parse_script(text: &str) -> Result<Script, String> {
    Script::from_directive(text).map_err(|error| error.explain())
}

fn parse_key(text: &str) -> Result<Key, String> {
    let mut parts = text.splitn(3, ':');
    let (Some(provider), Some(name), Some(secret)) = (parts.next(), parts.next(), parts.next())
    else {
        return Err("expected PROVIDER:NAME:SECRET".to_owned());
    };
    let provider = Provider::ALL
        .into_iter()
        .find(|candidate| candidate.name() == provider)
        .ok_or_else(|| format!("unknown provider {provider:?}"))?;
    Ok(Key::user(provider, name, secret))
}

fn parse_connection(text: &str) -> Result<FiretigerConnection, String> {
    let (id, kind) = text
        .split_once(':')
        .ok_or_else(|| "expected ID:TYPE".to_owned())?;
    let kind = match kind {
        "cursor" => ConnectionType::CodingAgent(CodingAgentType::Cursor),
        "inspect" => ConnectionType::CodingAgent(CodingAgentType::Inspect),
        "http" => ConnectionType::Http,
        other => return Err(format!("unknown type {other:?}")),
    };
    Ok(FiretigerConnection {
        id: id.to_owned(),
        kind,
    })
}

impl Arguments {
    fn into_options(self) -> SimulatorOptions {
        let mut cursor = CursorOptions {
            agent_ids: self.cursor_agent_ids,
            idempotency_key: self.cursor_idempotency_key,
            models: self.cursor_models,
            repository_access: self.cursor_repository_access,
            stream_retention: Duration::from_secs(self.cursor_stream_retention),
            list_order: self.cursor_list_order,
            agents: self.cursor_agents,
            v0: CursorV0Options {
                stopped_status: self.cursor_v0_stopped_status,
                stop_takes: Duration::from_millis(self.cursor_v0_stop_takes),
                follow_up_after_stop: self.cursor_v0_follow_up_after_stop,
                conversation: self.cursor_v0_conversation,
            },
            ..CursorOptions::default()
        };
        if !self.cursor_repositories.is_empty() {
            cursor.repositories = self.cursor_repositories;
        }
        let mut firetiger = FiretigerOptions {
            issue_links: self.firetiger_issue_links,
            member_names: self.firetiger_member_names,
            ..FiretigerOptions::default()
        };
        if !self.firetiger_connections.is_empty() {
            firetiger.connections = self.firetiger_connections;
        }
        if !self.firetiger_issues.is_empty() {
            firetiger.issues = self.firetiger_issues;
        }
        SimulatorOptions {
            listen: self.listen,
            keys: if self.keys.is_empty() {
                Key::demo()
            } else {
                self.keys
            },
            script: self.script,
            time: self.time,
            clock_offset: self.clock_offset,
            rate_limit: self.rate_limit,
            request_log: self.request_log,
            cursor,
            firebender: FirebenderOptions {
                document: self.firebender_document,
                branch: self.firebender_branch,
                conversation: self.firebender_conversation,
            },
            flapjack: FlapjackOptions {
                shared_orgs: self.flapjack_shared_orgs,
                busy_message: self.flapjack_busy_message,
            },
            firetiger,
        }
    }
}

fn announce(simulator: &Simulator, output: Output) {
    let keys = simulator.keys();
    match output {
        Output::Json => println!("{}", json!({"urls": simulator.urls(), "keys": keys})),
        Output::Text => {
            println!("control     {}/control/info", simulator.control_url());
            for provider in Provider::ALL {
                println!("{:<11} {}", provider.name(), simulator.url(provider));
            }
            for key in keys {
                println!("key         {} {} ({})", key.provider, key.secret, key.name);
            }
            println!("Ctrl-C stops.");
        }
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let output = arguments.output;
    let simulator = match Simulator::start(arguments.into_options()).await {
        Ok(simulator) => simulator,
        Err(error) => {
            eprintln!("cannot listen: {error}");
            return ExitCode::FAILURE;
        }
    };
    announce(&simulator, output);
    match tokio::signal::ctrl_c().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("cannot wait for Ctrl-C: {error}");
            ExitCode::FAILURE
        }
    }
}
