//! A controller as a competent engineer writes it with kube-rs on an afternoon: the yardstick of the bench.
//!
//! `Controller` with its typed store, `finalizer()`, merge patches of `status`, one request at a time for each session. It launches a session of
//! Cursor's API v1, follows it and stops it. It makes none of the operator's promises: no claim before the paid request (a crash between
//! request and record launches again), no look for a lost answer, no rate limit, no queue.

use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use codeagent_operator::api::{CodeAgent, CodeSession};
use futures::StreamExt;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{Api, Patch, PatchParams};
use kube::{Client, ResourceExt};
use kube_runtime::controller::{Action, Config, Controller};
use kube_runtime::finalizer::{Event, finalizer};
use kube_runtime::watcher;
use serde::Deserialize;
use serde_json::json;

use crate::Trouble;

const FINALIZER: &str = "codeagents.dev/baseline";

/// Options of the plain controller.
#[derive(Debug, Args)]
pub struct Options {
    /// Base URL of Cursor's API.
    #[arg(long)]
    endpoint: String,
    /// Milliseconds between two looks at a session.
    #[arg(long, default_value_t = 500)]
    poll_ms: u64,
}

#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("the cluster: {0}")]
    Kube(#[from] kube::Error),
    #[error("the provider: {0}")]
    Provider(#[from] reqwest::Error),
    #[error("the finalizer: {0}")]
    Finalizer(#[from] Box<kube_runtime::finalizer::Error<Error>>),
    #[error("{0} is missing")]
    Missing(&'static str),
}

struct Context {
    client: Client,
    http: reqwest::Client,
    options: Options,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Created {
    agent: CreatedAgent,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct CreatedAgent {
    id: String,
    latest_run_id: Option<String>,
}

#[derive(Deserialize)]
struct Run {
    status: String,
    result: Option<String>,
}

impl Context {
    fn url(&self, path: &str) -> String {
        format!("{}/v1/agents{path}", self.options.endpoint)
    }

    async fn key(&self, namespace: &str, agent: &CodeAgent) -> Result<String, Error> {
        let secrets: Api<Secret> = Api::namespaced(self.client.clone(), namespace);
        let secret = agent
            .spec
            .secret()
            .ok_or(Error::Missing("the name of the Secret"))?;
        let secret = secrets.get(&secret.name).await?;
        let bytes = secret
            .data
            .and_then(|mut data| data.remove("api-key"))
            .ok_or(Error::Missing("the key"))?;
        String::from_utf8(bytes.0).map_err(|_| Error::Missing("a readable key"))
    }

    async fn launch(
        &self,
        agent: &CodeAgent,
        key: &str,
        prompt: &str,
    ) -> Result<CreatedAgent, Error> {
        let repository = agent.spec.repository.as_ref();
        let url = repository
            .map(|repository| repository.url.clone())
            .ok_or(Error::Missing("the repository"))?;
        let body =
            json!({"prompt": {"text": prompt}, "repos": [{"url": url}], "autoCreatePR": true});
        let answer = self.http.post(self.url("")).bearer_auth(key).json(&body);
        let answer = answer.send().await?.error_for_status()?;
        Ok(answer.json::<Created>().await?.agent)
    }

    async fn run(&self, key: &str, id: &str, run: &str) -> Result<Run, Error> {
        let answer = self.http.get(self.url(&format!("/{id}/runs/{run}")));
        let answer = answer.bearer_auth(key).send().await?.error_for_status()?;
        Ok(answer.json().await?)
    }

    async fn cancel(&self, key: &str, id: &str, run: &str) -> Result<(), Error> {
        let url = self.url(&format!("/{id}/runs/{run}/cancel"));
        let answer = self.http.post(url).bearer_auth(key).send().await?;
        // A run that has ended by itself needs no stop.
        if answer.status() != reqwest::StatusCode::CONFLICT {
            answer.error_for_status()?;
        }
        Ok(())
    }
}

async fn patch_status(
    sessions: &Api<CodeSession>,
    name: &str,
    status: serde_json::Value,
) -> Result<(), Error> {
    let patch = Patch::Merge(json!({"status": status}));
    sessions
        .patch_status(name, &PatchParams::default(), &patch)
        .await?;
    Ok(())
}

async fn apply(session: &CodeSession, context: &Context) -> Result<Action, Error> {
    let namespace = session.namespace().unwrap_or_default();
    let name = session.name_any();
    let status = session.status.as_ref();
    if status.is_some_and(|status| status.phase.is_terminal()) {
        return Ok(Action::await_change());
    }
    let agents: Api<CodeAgent> = Api::namespaced(context.client.clone(), &namespace);
    let agent = agents.get(&session.spec.agent_ref.name).await?;
    let key = context.key(&namespace, &agent).await?;
    let sessions: Api<CodeSession> = Api::namespaced(context.client.clone(), &namespace);
    let poll = Action::requeue(Duration::from_millis(context.options.poll_ms));
    let ids = status.and_then(|status| {
        let id = status.provider.as_ref()?.session_id.clone()?;
        let run = status.messages.first()?.run_id.clone()?;
        Some((id, run))
    });
    let Some((id, run)) = ids else {
        let prompt = session.spec.prompt.as_deref().unwrap_or_default();
        let created = context.launch(&agent, &key, prompt).await?;
        let run = created.latest_run_id.ok_or(Error::Missing("the run"))?;
        let status = json!({
            "phase": "Creating",
            "provider": {"kind": "cursor", "sessionId": created.id},
            "messages": [{"name": "prompt", "phase": "Creating", "runId": run}],
        });
        patch_status(&sessions, &name, status).await?;
        return Ok(poll);
    };
    let seen = context.run(&key, &id, &run).await?;
    let phase = match seen.status.as_str() {
        "CREATING" => "Creating",
        "RUNNING" => "Running",
        "FINISHED" => "Finished",
        "CANCELLED" => "Cancelled",
        "EXPIRED" => "Expired",
        _ => "Error",
    };
    let known = status.map(|status| status.phase.as_str());
    if known != Some(phase) {
        let now = jiff::Timestamp::now().to_string();
        let message = json!({
            "name": "prompt", "phase": phase, "runId": run, "result": seen.result,
        });
        let mut status = json!({"phase": phase, "messages": [message]});
        if let (Some(status), "Finished" | "Cancelled" | "Expired" | "Error") =
            (status.as_object_mut(), phase)
        {
            status.insert("completedAt".to_owned(), json!(now));
        }
        patch_status(&sessions, &name, status).await?;
    }
    Ok(poll)
}

async fn cleanup(session: &CodeSession, context: &Context) -> Result<Action, Error> {
    let namespace = session.namespace().unwrap_or_default();
    let status = session.status.as_ref();
    let Some(status) = status.filter(|status| !status.phase.is_terminal()) else {
        return Ok(Action::await_change());
    };
    let id = status
        .provider
        .as_ref()
        .and_then(|provider| provider.session_id.as_deref());
    let run = status
        .messages
        .first()
        .and_then(|message| message.run_id.as_deref());
    if let (Some(id), Some(run)) = (id, run) {
        let agents: Api<CodeAgent> = Api::namespaced(context.client.clone(), &namespace);
        let agent = agents.get(&session.spec.agent_ref.name).await?;
        let key = context.key(&namespace, &agent).await?;
        context.cancel(&key, id, run).await?;
    }
    Ok(Action::await_change())
}

async fn reconcile(session: Arc<CodeSession>, context: Arc<Context>) -> Result<Action, Error> {
    // What is over carries no finalizer and is not looked at again, as with the operator.
    let over = session
        .status
        .as_ref()
        .is_some_and(|status| status.phase.is_terminal());
    if over && session.finalizers().is_empty() {
        return Ok(Action::await_change());
    }
    let namespace = session.namespace().unwrap_or_default();
    let sessions: Api<CodeSession> = Api::namespaced(context.client.clone(), &namespace);
    finalizer(&sessions, FINALIZER, session, |event| async {
        match event {
            Event::Apply(session) => apply(&session, &context).await,
            Event::Cleanup(session) => cleanup(&session, &context).await,
        }
    })
    .await
    .map_err(|error| Error::Finalizer(Box::new(error)))
}

fn on_error(session: Arc<CodeSession>, error: &Error, _: Arc<Context>) -> Action {
    eprintln!("{}: {error}", session.name_any());
    Action::requeue(Duration::from_secs(1))
}

/// Runs it for ever.
///
/// # Errors
/// If there is no cluster.
pub async fn run(options: Options) -> Result<(), Trouble> {
    let client = Client::try_default().await?;
    let context = Arc::new(Context {
        client: client.clone(),
        http: reqwest::Client::new(),
        options,
    });
    let config = Config::default().concurrency(64);
    Controller::new(Api::<CodeSession>::all(client), watcher::Config::default())
        .with_config(config)
        .run(reconcile, on_error, context)
        .for_each(|_| async {})
        .await;
    Ok(())
}
