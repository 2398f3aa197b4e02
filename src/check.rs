//! `codeagent-operator check`: whether an installation can work. The chart's `helm test` runs it as the operator's ServiceAccount.
//!
//! It changes nothing, and asks for nothing that the operator may not do.

use std::fmt;
use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease;
use kube::api::Api;
use kube::{Client, Config};

use crate::api::crds;
use crate::cli::CheckOptions;
use crate::controllers::error::Chain;
use crate::controllers::permissions;
use crate::operator::DEFINITIONS_REMEDY;
use crate::runtime::{access_review, client, served_schema};

/// The oldest Kubernetes that the definitions are made for: the minor version of 1.x.
const OLDEST_MINOR: u32 = 33;

const POLL_INTERVAL: Duration = Duration::from_millis(500);

/// Something is not as it must be; the report says what.
#[derive(Debug, thiserror::Error)]
#[error("the installation cannot work as it is: see above")]
pub struct CheckFailed;

/// What was looked at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report(Vec<(&'static str, Result<String, String>)>);

impl Report {
    /// Whether everything is as it must be.
    pub fn passed(&self) -> bool {
        self.0.iter().all(|(_, result)| result.is_ok())
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (subject, result) in &self.0 {
            match result {
                Ok(found) => writeln!(f, "ok      {subject}: {found}")?,
                Err(problem) => writeln!(f, "FAILED  {subject}: {problem}")?,
            }
        }
        Ok(())
    }
}

/// Looks at the installation in the cluster of `config`.
pub async fn run_with(config: Config, options: &CheckOptions) -> Report {
    let own_namespace = options
        .installation
        .operator_namespace
        .clone()
        .unwrap_or_else(|| config.default_namespace.clone());
    let client = match client::bounded(config) {
        Ok(client) => client,
        Err(error) => return Report(vec![("client", Err(Chain(&error).to_string()))]),
    };
    let named = options
        .installation
        .namespaces
        .iter()
        .filter(|it| !it.is_empty());
    let mut served: Vec<Option<String>> = named.cloned().map(Some).collect();
    if served.is_empty() {
        served.push(None);
    }
    Report(vec![
        ("Kubernetes", version(&client).await),
        ("definitions", definitions(&client).await),
        (
            "permissions",
            allowed(
                &client,
                &served,
                (&own_namespace, &options.installation.lease_name),
                options.installation.jobs,
            )
            .await,
        ),
        ("leader", leader(&client, &own_namespace, options).await),
    ])
}

/// Looks at the installation in the cluster of the environment, and prints what it finds.
///
/// # Errors
/// If something is not as it must be.
pub async fn run(options: &CheckOptions) -> Result<(), Box<dyn std::error::Error>> {
    let config = Config::infer().await?;
    let report = run_with(config, options).await;
    print!("{report}");
    match report.passed() {
        true => Ok(()),
        false => Err(CheckFailed.into()),
    }
}

async fn version(client: &Client) -> Result<String, String> {
    let version = client
        .apiserver_version()
        .await
        .map_err(|error| format!("the API server does not answer: {}", Chain(&error)))?;
    // Hosted clusters say "33+".
    let minor = version.minor.trim_end_matches('+').parse::<u32>();
    match minor {
        Ok(minor) if version.major == "1" && minor < OLDEST_MINOR => Err(format!(
            "{} is older than 1.{OLDEST_MINOR}, which is the oldest version that the definitions are made for: upgrade the cluster",
            version.git_version
        )),
        _ => Ok(version.git_version),
    }
}

async fn definitions(client: &Client) -> Result<String, String> {
    let own = crds::all();
    let found = served_schema::mismatches(client, &own)
        .await
        .map_err(|error| format!("they cannot be read: {}", Chain(&error)))?;
    if found.is_empty() {
        return Ok(format!("{} are served, and have every field", own.len()));
    }
    let found: Vec<String> = found.iter().map(ToString::to_string).collect();
    Err(format!("{}: {DEFINITIONS_REMEDY}", found.join("; ")))
}

async fn allowed(
    client: &Client,
    served: &[Option<String>],
    own: (&str, &str),
    jobs: bool,
) -> Result<String, String> {
    let questions = permissions::questions(served, own, jobs);
    let mut denied = Vec::new();
    for question in &questions {
        match access_review::is_allowed(client, question).await {
            Ok(true) => {}
            Ok(false) => denied.push(access_review::describe(question)),
            Err(error) => return Err(format!("they cannot be asked for: {}", Chain(&error))),
        }
    }
    if denied.is_empty() {
        return Ok(format!("all {} are granted", questions.len()));
    }
    Err(format!(
        "not allowed: {}. Grant them to the operator's ServiceAccount (the chart does with rbac.create)",
        denied.join(", ")
    ))
}

/// Looks until the Lease is renewed: what it says of a time was written by another clock.
async fn leader(
    client: &Client,
    namespace: &str,
    options: &CheckOptions,
) -> Result<String, String> {
    let name = &options.installation.lease_name;
    let leases: Api<Lease> = Api::namespaced(client.clone(), namespace);
    let look = async {
        let mut first = None;
        loop {
            let lease = leases.get_opt(name).await?;
            let spec = lease.and_then(|lease| lease.spec).unwrap_or_default();
            if let (Some(holder), Some(renewed)) = (spec.holder_identity, spec.renew_time)
                && !holder.is_empty()
            {
                let first = first.get_or_insert_with(|| renewed.clone());
                if *first != renewed {
                    return Ok::<_, kube::Error>(holder);
                }
            }
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    };
    match tokio::time::timeout(options.wait, look).await {
        Ok(Ok(holder)) => Ok(format!("{holder} holds the Lease {namespace}/{name}")),
        Ok(Err(error)) => Err(format!(
            "the Lease {namespace}/{name} cannot be read: {}",
            Chain(&error)
        )),
        Err(_) => Err(format!(
            "nobody has renewed the Lease {namespace}/{name} within {:?}: no operator leads. Look at its Pods and their log",
            options.wait
        )),
    }
}
