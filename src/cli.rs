//! The command line: what can be said to the program, parsed and checked.

use std::net::SocketAddr;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use url::Url;

use crate::api::{ProviderKind, crds};
use crate::domain::endpoint::EndpointHost;
use crate::domain::timing::Timing;
use crate::runtime::lease::Times;

/// Kubernetes operator for cloud coding agents: apply a CodeSession, get a pull request.
#[derive(Debug, Parser)]
#[command(version, about, max_term_width = 100)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the operator. Uses the Pod's service account, or else your kubeconfig.
    Run(Box<RunOptions>),
    /// Check an installation: the cluster, the definitions, the permissions of whoever runs this, and that an operator leads.
    Check(CheckOptions),
    /// Print the CustomResourceDefinitions as YAML: codeagent-operator crds | kubectl apply --server-side -f -
    Crds,
}

/// Formats of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// Lines for people.
    Text,
    /// One JSON object a line.
    Json,
}

/// Options of `run`.
#[derive(Clone, Debug, Args)]
pub struct RunOptions {
    /// Which installation it is.
    #[command(flatten)]
    pub installation: InstallationOptions,
    /// Address of /livez, /readyz and /metrics.
    #[arg(
        long,
        env = "CODEAGENT_BIND_ADDRESS",
        default_value = "0.0.0.0:8080",
        value_name = "ADDRESS:PORT"
    )]
    pub bind_address: SocketAddr,
    /// Providers that this installation runs: cursor, firebender, flapjack, firetiger, http. Default: all of them.
    #[arg(long, env = "CODEAGENT_PROVIDERS", value_delimiter = ',', value_name = "PROVIDER", value_parser = provider)]
    pub providers: Vec<ProviderKind>,
    /// Image of codeagent-runner, which is installed into the Pods of job agents.
    #[arg(
        long,
        env = "CODEAGENT_RUNNER_IMAGE",
        default_value = concat!("ghcr.io/codeagents-dev/codeagent-runner:", env!("CARGO_PKG_VERSION")),
        value_name = "IMAGE"
    )]
    pub runner_image: String,
    /// Base URL that this installation uses for a provider instead of the provider's own, as PROVIDER=URL. May be given several
    /// times.
    #[arg(long = "provider-endpoint", env = "CODEAGENT_PROVIDER_ENDPOINTS", value_delimiter = ',', value_name = "PROVIDER=URL", value_parser = provider_endpoint)]
    pub provider_endpoints: Vec<(ProviderKind, Url)>,
    /// Hosts of endpoints that CodeAgents may name although their addresses are not public, e.g. a gateway inside of the company, as
    /// HOST (port 443) or HOST:PORT, separated by commas. Without it a CodeAgent's own endpoint must be public: every address that its
    /// name resolves to is checked. Endpoints of --provider-endpoint are not concerned.
    #[arg(
        long,
        env = "CODEAGENT_ALLOW_ENDPOINT_HOSTS",
        value_delimiter = ',',
        value_name = "HOST"
    )]
    pub allow_endpoint_hosts: Vec<EndpointHost>,
    /// Format of the log.
    #[arg(long, env = "CODEAGENT_LOG_FORMAT", default_value = "text", value_enum)]
    pub log_format: LogFormat,
    /// What is logged: error, warn, info, debug or trace, also by module (info,codeagent_operator=debug).
    #[arg(
        long,
        env = "CODEAGENT_LOG",
        default_value = "info",
        value_name = "FILTER"
    )]
    pub log_level: String,
    /// Development only: allow endpoints with plain http, and on this machine. Keys then cross the network unencrypted.
    #[arg(long, env = "CODEAGENT_ALLOW_HTTP_ENDPOINTS")]
    pub allow_http_endpoints: bool,
    /// How many sessions are worked on at the same time in each watched scope.
    #[arg(long, env = "CODEAGENT_CONCURRENCY", default_value_t = 64, value_name = "NUMBER", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub concurrency: u16,
    /// How many sessions may be active at the same time for one account at one endpoint, over all served namespaces and whatever keys
    /// of the account they use: what the account's plan allows. Those above it wait, and take turns between namespaces. At least 1.
    /// Default: no limit.
    #[arg(long, env = "CODEAGENT_MAX_CONCURRENT_PER_CREDENTIAL", value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..))]
    pub max_concurrent_per_credential: Option<u32>,
    /// PEM file with certificate authorities that providers may use besides the system's.
    #[arg(long, env = "CODEAGENT_CA_BUNDLE", value_name = "FILE")]
    pub ca_bundle: Option<std::path::PathBuf>,
    /// How often a CodeAgent's key is checked again.
    #[arg(long, env = "CODEAGENT_AGENT_RECHECK", default_value = "10m", value_name = "DURATION", value_parser = duration)]
    pub agent_recheck: Duration,
    /// Shortest time between two writes of a CodeAgent's session counts.
    #[arg(long, env = "CODEAGENT_COUNTS_INTERVAL", default_value = "10s", value_name = "DURATION", value_parser = duration, hide_short_help = true)]
    pub counts_interval: Duration,
    /// Time between two searches for sessions at the providers that no CodeSession accounts for; 0s switches them off.
    #[arg(long, env = "CODEAGENT_SWEEP_INTERVAL", default_value = "10m", value_name = "DURATION", value_parser = duration)]
    pub sweep_interval: Duration,
    /// Which of several replicas leads.
    #[command(flatten, next_help_heading = "Leader election")]
    pub election: ElectionOptions,
    /// Timelines over HTTPS.
    #[command(flatten, next_help_heading = "Timelines (docs/events.md)")]
    pub timeline: TimelineOptions,
    /// Webhooks that providers call.
    #[command(flatten, next_help_heading = "Providers' webhooks (docs/webhooks.md)")]
    pub webhooks: WebhookOptions,
    /// The durations of the launch protocol.
    #[command(
        flatten,
        next_help_heading = "Timing (docs/reliability.md; checked against each other at the start)"
    )]
    pub timing: TimingOptions,
}

/// What tells one installation of the operator from another: given alike to `run` and `check`.
#[derive(Clone, Debug, Args)]
pub struct InstallationOptions {
    /// Namespace to work in. May be given several times. Default: all namespaces.
    #[arg(
        long = "namespace",
        env = "CODEAGENT_NAMESPACES",
        value_delimiter = ',',
        value_name = "NAME"
    )]
    pub namespaces: Vec<String>,
    /// Namespace of the operator itself, where its Lease is. Default: the namespace of the Pod or of the kubeconfig's context.
    #[arg(long, env = "POD_NAMESPACE", value_name = "NAME")]
    pub operator_namespace: Option<String>,
    /// Name of the operator's Lease. Its uid identifies this installation in the markers of its sessions.
    #[arg(
        long,
        env = "CODEAGENT_LEASE_NAME",
        default_value = "codeagent-operator",
        value_name = "NAME"
    )]
    pub lease_name: String,
    /// Run agents as Jobs in the namespaces of their sessions as well (spec.provider.job). The operator then creates Jobs and Secrets; whoever may
    /// create a CodeAgent may run Pods.
    #[arg(long, env = "CODEAGENT_JOBS")]
    pub jobs: bool,
}

/// Options of `check`: what the operator was told.
#[derive(Clone, Debug, Args)]
pub struct CheckOptions {
    /// Which installation is looked at.
    #[command(flatten)]
    pub installation: InstallationOptions,
    /// How long an operator may take to renew the Lease.
    #[arg(long, default_value = "60s", value_name = "DURATION", value_parser = duration)]
    pub wait: Duration,
}

/// Which of several replicas leads.
#[derive(Clone, Debug, Args)]
pub struct ElectionOptions {
    /// Reconcile only while holding the Lease. Without it every replica reconciles, which costs more calls but no second launch.
    #[arg(long, env = "CODEAGENT_LEADER_ELECTION", default_value_t = true, num_args = 0..=1, require_equals = true, default_missing_value = "true", action = clap::ArgAction::Set, value_name = "BOOL")]
    pub leader_election: bool,
    /// After which another replica takes over from one that does not renew the Lease. Whole seconds.
    #[arg(long, env = "CODEAGENT_LEASE_DURATION", default_value = "15s", value_name = "DURATION", value_parser = duration)]
    pub lease_duration: Duration,
    /// How long the leader goes on that cannot renew the Lease; then it ends and is started again.
    #[arg(long, env = "CODEAGENT_RENEW_DEADLINE", default_value = "10s", value_name = "DURATION", value_parser = duration)]
    pub renew_deadline: Duration,
    /// How often the leader renews the Lease.
    #[arg(long, env = "CODEAGENT_RETRY_PERIOD", default_value = "2s", value_name = "DURATION", value_parser = duration)]
    pub retry_period: Duration,
}

impl ElectionOptions {
    /// The durations, as the election knows them.
    pub fn times(&self) -> Times {
        Times {
            lease: self.lease_duration,
            renew_deadline: self.renew_deadline,
            retry: self.retry_period,
        }
    }
}

/// How timelines are served.
#[derive(Clone, Debug, Args)]
pub struct TimelineOptions {
    /// Address at which this replica serves timelines over HTTPS, to whom RBAC lets read codesessions/events. Needs the right to create
    /// TokenReviews and SubjectAccessReviews. Default: none are served.
    #[arg(
        long,
        env = "CODEAGENT_TIMELINE_BIND_ADDRESS",
        value_name = "ADDRESS:PORT"
    )]
    pub timeline_bind_address: Option<SocketAddr>,
    /// Name of the Service, in the operator's namespace, by which the timelines are reached: the certificate is for it, and for localhost.
    #[arg(
        long,
        env = "CODEAGENT_TIMELINE_SERVICE",
        default_value = "codeagent-operator-timeline",
        value_name = "NAME"
    )]
    pub timeline_service: String,
    /// Secret, in the operator's namespace, in which the operator keeps the serving certificate that it makes and renews.
    #[arg(
        long,
        env = "CODEAGENT_TIMELINE_TLS_SECRET",
        default_value = "codeagent-operator-timeline-tls",
        value_name = "NAME"
    )]
    pub timeline_tls_secret: String,
    /// PEM file with a serving certificate that somebody else keeps, instead of one that the operator makes. It is read again every few
    /// minutes.
    #[arg(
        long,
        env = "CODEAGENT_TIMELINE_TLS_CERT_FILE",
        value_name = "FILE",
        requires = "timeline_tls_key_file"
    )]
    pub timeline_tls_cert_file: Option<std::path::PathBuf>,
    /// PEM file with the key of --timeline-tls-cert-file.
    #[arg(
        long,
        env = "CODEAGENT_TIMELINE_TLS_KEY_FILE",
        value_name = "FILE",
        requires = "timeline_tls_cert_file"
    )]
    pub timeline_tls_key_file: Option<std::path::PathBuf>,
    /// How many readers may follow timelines at this replica.
    #[arg(long, env = "CODEAGENT_TIMELINE_FOLLOWERS", default_value_t = 1024, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..))]
    pub timeline_followers: u32,
    /// How many of them may follow one session.
    #[arg(long, env = "CODEAGENT_TIMELINE_FOLLOWERS_PER_SESSION", default_value_t = 16, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..))]
    pub timeline_followers_per_session: u32,
}

/// How webhooks that providers call are taken.
#[derive(Clone, Debug, Args)]
pub struct WebhookOptions {
    /// Address at which this replica takes providers' webhooks, over plain HTTP: an Ingress in front of it ends TLS. Providers that can are
    /// then told at each launch to report to --webhook-base-url. Default: none are taken.
    #[arg(
        long,
        env = "CODEAGENT_WEBHOOK_LISTEN",
        value_name = "ADDRESS:PORT",
        requires_all = ["webhook_base_url", "webhook_key_file"]
    )]
    pub webhook_listen: Option<SocketAddr>,
    /// Public https URL that leads to --webhook-listen, with the path that the Ingress has for it.
    #[arg(
        long,
        env = "CODEAGENT_WEBHOOK_BASE_URL",
        value_name = "URL",
        requires = "webhook_listen"
    )]
    pub webhook_base_url: Option<Url>,
    /// File with the key of this installation from which each session's address and secret follow, the same for all replicas: at least 32
    /// characters. To replace it put the new one in the first line and the old one in the second.
    #[arg(
        long,
        env = "CODEAGENT_WEBHOOK_KEY_FILE",
        value_name = "FILE",
        requires = "webhook_listen"
    )]
    pub webhook_key_file: Option<std::path::PathBuf>,
    /// HOST:PORT at which the replicas' --webhook-listen are found, by any number of addresses: a replica that does not lead passes on
    /// there what comes to it. Needed with several replicas.
    #[arg(
        long,
        env = "CODEAGENT_WEBHOOK_PEERS",
        value_delimiter = ',',
        value_name = "HOST:PORT",
        requires = "webhook_listen"
    )]
    pub webhook_peers: Vec<String>,
}

/// The durations of the launch protocol and of the lifecycle.
#[derive(Clone, Debug, Args)]
pub struct TimingOptions {
    /// How long after its claim a launch may still be sent.
    #[arg(long, env = "CODEAGENT_SEND_WINDOW", default_value = "20s", value_name = "DURATION", value_parser = duration)]
    pub send_window: Duration,
    /// Time limit of a launch request.
    #[arg(long, env = "CODEAGENT_POST_TIMEOUT", default_value = "100s", value_name = "DURATION", value_parser = duration)]
    pub post_timeout: Duration,
    /// After which an accepted launch is assumed visible at the provider.
    #[arg(long, env = "CODEAGENT_SETTLE_TIME", default_value = "180s", value_name = "DURATION", value_parser = duration)]
    pub settle_time: Duration,
    /// How far apart the two looks must be that prove a launch absent.
    #[arg(long, env = "CODEAGENT_CONSISTENCY_WINDOW", default_value = "15s", value_name = "DURATION", value_parser = duration)]
    pub consistency_window: Duration,
    /// How far clocks may differ.
    #[arg(long, env = "CODEAGENT_CLOCK_MARGIN", default_value = "30s", value_name = "DURATION", value_parser = duration)]
    pub clock_margin: Duration,
    /// How long deleting an active session may take.
    #[arg(long, env = "CODEAGENT_DELETION_BOUND", default_value = "10m", value_name = "DURATION", value_parser = duration)]
    pub deletion_bound: Duration,
    /// What the deletion bound must leave after the send window, the time limit and the settle time.
    #[arg(long, env = "CODEAGENT_DELETION_SLACK", default_value = "5m", value_name = "DURATION", value_parser = duration)]
    pub deletion_slack: Duration,
    /// How long a launch whose outcome is unknown is looked for.
    #[arg(long, env = "CODEAGENT_UNKNOWN_PATIENCE", default_value = "1h", value_name = "DURATION", value_parser = duration)]
    pub unknown_patience: Duration,
    /// First waiting time after a refusal that somebody has to mend; it doubles up to an hour.
    #[arg(long, env = "CODEAGENT_REFUSAL_WAIT", default_value = "5m", value_name = "DURATION", value_parser = duration)]
    pub refusal_wait: Duration,
    /// First waiting time after a transient fault; it doubles up to thirty times itself.
    #[arg(long, env = "CODEAGENT_FAULT_WAIT", default_value = "2s", value_name = "DURATION", value_parser = duration)]
    pub fault_wait: Duration,
    /// How often Secrets and prompt sources are read again while something waits for them.
    #[arg(long, env = "CODEAGENT_RECHECK", default_value = "10s", value_name = "DURATION", value_parser = duration)]
    pub recheck: Duration,
    /// Shortest time between two looks at a running session.
    #[arg(long, env = "CODEAGENT_POLL_MIN", default_value = "3s", value_name = "DURATION", value_parser = duration)]
    pub poll_min: Duration,
    /// Longest time between two looks at a running session.
    #[arg(long, env = "CODEAGENT_POLL_MAX", default_value = "30s", value_name = "DURATION", value_parser = duration)]
    pub poll_max: Duration,
    /// How long nothing must move after a stop, at a provider without a status for it (Cursor's API v0), until it counts.
    #[arg(long, env = "CODEAGENT_STOP_SILENCE", default_value = "2m", value_name = "DURATION", value_parser = duration)]
    pub stop_silence: Duration,
    /// How long what can be mended outside of an object (a Secret, the CodeAgent, the account) keeps it Reconciling before it is Stalled.
    #[arg(long, env = "CODEAGENT_STALLED_AFTER", default_value = "5m", value_name = "DURATION", value_parser = duration)]
    pub stalled_after: Duration,
    /// How long the provider must say that it does not know a session until the session counts as lost.
    #[arg(long, env = "CODEAGENT_LOST_AFTER", default_value = "10m", value_name = "DURATION", value_parser = duration)]
    pub lost_after: Duration,
    /// When a session that has ended is looked at again, if what was asked for is missing: after this time, 5 and 15 times it.
    #[arg(long, env = "CODEAGENT_AFTER_END", default_value = "1m", value_name = "DURATION", value_parser = duration)]
    pub after_end: Duration,
    /// How long a webhook may take to answer.
    #[arg(long, env = "CODEAGENT_WEBHOOK_TIMEOUT", default_value = "10s", value_name = "DURATION", value_parser = duration)]
    pub webhook_timeout: Duration,
    /// First waiting time after a webhook did not take a report; it triples up to 720 times itself.
    #[arg(long, env = "CODEAGENT_WEBHOOK_WAIT", default_value = "10s", value_name = "DURATION", value_parser = duration)]
    pub webhook_wait: Duration,
    /// How long a report to a webhook is tried.
    #[arg(long, env = "CODEAGENT_WEBHOOK_PATIENCE", default_value = "24h", value_name = "DURATION", value_parser = duration)]
    pub webhook_patience: Duration,
}

impl TimingOptions {
    /// The durations, as the domain knows them.
    pub fn timing(&self) -> Timing {
        Timing {
            send_window: self.send_window,
            post_timeout: self.post_timeout,
            settle: self.settle_time,
            consistency_window: self.consistency_window,
            clock_margin: self.clock_margin,
            deletion_bound: self.deletion_bound,
            deletion_slack: self.deletion_slack,
            unknown_patience: self.unknown_patience,
            refusal_wait_min: self.refusal_wait,
            refusal_wait_max: self.refusal_wait.max(Duration::from_secs(3600)),
            fault_wait_min: self.fault_wait,
            fault_wait_max: self.fault_wait.saturating_mul(30),
            recheck: self.recheck,
            poll_min: self.poll_min,
            poll_max: self.poll_max,
            stop_again: self.poll_min.saturating_mul(5),
            queue_interval: self.poll_max.saturating_mul(2),
            stop_silence: self.stop_silence,
            stalled_after: self.stalled_after,
            lost_after: self.lost_after,
            after_end: [1, 5, 15].map(|times| self.after_end.saturating_mul(times)),
            webhook_timeout: self.webhook_timeout,
            webhook_wait_min: self.webhook_wait,
            webhook_wait_max: self.webhook_wait.saturating_mul(720),
            webhook_patience: self.webhook_patience,
            ..Timing::default()
        }
    }
}

fn duration(text: &str) -> Result<Duration, String> {
    let span: jiff::SignedDuration = text
        .parse()
        .map_err(|_| format!("{text:?} is not a duration; write it like 30s, 5m or 1h"))?;
    Duration::try_from(span).map_err(|_| format!("{text:?} is negative"))
}

fn provider(text: &str) -> Result<ProviderKind, String> {
    ProviderKind::ALL
        .into_iter()
        .find(|kind| kind.as_str() == text)
        .ok_or_else(|| {
            let known = ProviderKind::ALL.map(ProviderKind::as_str);
            format!(
                "this version does not run a provider {text:?}; it runs: {}",
                known.join(", ")
            )
        })
}

fn provider_endpoint(text: &str) -> Result<(ProviderKind, Url), String> {
    let (kind, url) = text
        .split_once('=')
        .ok_or_else(|| format!("{text:?} is not PROVIDER=URL"))?;
    let url = Url::parse(url).map_err(|error| format!("{url:?} is not a URL: {error}"))?;
    Ok((provider(kind)?, url))
}

/// The CustomResourceDefinitions cannot be printed.
#[derive(Debug, thiserror::Error)]
#[error("the CustomResourceDefinitions cannot be written")]
pub struct CrdsError(#[source] serde_saphyr::ser::Error);

/// Prints the CRDs.
///
/// # Errors
/// If they cannot be written as YAML.
pub fn print_crds(out: &mut impl std::io::Write) -> Result<(), CrdsError> {
    for crd in crds::all() {
        let yaml = crds::to_yaml(&crd).map_err(CrdsError)?;
        // A reader that closes early has seen what it wanted.
        let _ = write!(out, "---\n{yaml}");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]

    use super::*;

    fn options(flags: &[&str]) -> Result<RunOptions, String> {
        let arguments = ["codeagent-operator", "run"].iter().chain(flags);
        match Cli::try_parse_from(arguments)
            .map_err(|error| error.to_string())?
            .command
        {
            Command::Run(options) => Ok(*options),
            Command::Check(_) | Command::Crds => panic!("not asked for"),
        }
    }

    /// No number means "none allowed": an installation that launches nothing would look broken.
    #[test]
    fn a_limit_for_each_account_is_at_least_one() {
        let limit = |flags: &[&str]| options(flags).map(|it| it.max_concurrent_per_credential);
        assert_eq!(limit(&[]), Ok(None));
        let flag = "--max-concurrent-per-credential";
        assert_eq!(limit(&[flag, "1"]), Ok(Some(1)));
        for refused in ["0", "-1", "1.5", "many"] {
            let told = limit(&[&format!("{flag}={refused}")]).unwrap_err();
            assert!(told.contains(flag), "{told}");
        }
    }
}
