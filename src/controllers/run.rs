//! The two controllers of a scope, from its watches to its passes.

use std::sync::Arc;

use futures::StreamExt;
use kube::Client;
use kube::api::Api;
use kube::core::DeserializeGuard;
use kube_runtime::controller::{Config, applier};

use super::context::Context;
use super::scope::Scope;
use super::{agent, session};
use crate::api::{CodeAgent, CodeSession};
use crate::runtime::heartbeat;
use crate::runtime::watch::{self, Queue};

/// Works on one scope, from when this process leads until the context stops; `ready` is called once its caches are filled.
pub async fn run(context: Context, namespace: Option<String>, ready: impl FnOnce() + Send) {
    let (sessions, session_writer) = watch::cache::<CodeSession>();
    let (agents, agent_writer) = watch::cache::<CodeAgent>();
    let (session_queue, session_requests) = Queue::new();
    let (agent_queue, agent_requests) = Queue::new();
    let (mut session_requests, mut agent_requests) =
        (Box::pin(session_requests), Box::pin(agent_requests));
    let scope = Arc::new(Scope::new(
        context.clone(),
        (sessions, session_queue),
        (agents, agent_queue),
    ));
    context.sweeper.join(&scope);
    let client = context.client.clone();
    let session_scope = Arc::clone(&scope);
    let agent_scope = Arc::clone(&scope);
    let watches = async {
        tokio::join!(
            watch::follow(
                api::<CodeSession>(&client, namespace.as_deref()),
                session_writer,
                move |change| {
                    session_scope.on_session(change);
                }
            ),
            watch::follow(
                api::<CodeAgent>(&client, namespace.as_deref()),
                agent_writer,
                move |change| {
                    agent_scope.on_agent(change);
                }
            ),
        )
    };
    let config = Config::default().concurrency(context.settings.concurrency);
    let work = async {
        // Nothing is decided on half a cache: a session without its CodeAgent looks like a mistake.
        let filled = tokio::try_join!(
            scope.sessions.wait_until_ready(),
            scope.agents.wait_until_ready()
        );
        if filled.is_err() {
            return;
        }
        ready();
        let begun = context.lead.held();
        let mut begun = std::pin::pin!(begun);
        loop {
            // The caches follow what changes; what there is to do is left to whoever leads.
            tokio::select! {
                biased;
                () = context.stop.cancelled() => return,
                () = &mut begun => break,
                _ = session_requests.next() => {}
                _ = agent_requests.next() => {}
            }
        }
        scope.look_at_everything();
        let stop = context.stop.clone();
        let session_passes = applier(
            |object, scope| Box::pin(session::reconcile(object, scope)),
            session::on_error,
            Arc::clone(&scope),
            scope.sessions.clone(),
            Box::pin(watch::requests(session_requests).take_until(stop.clone().cancelled_owned())),
            config.clone(),
        );
        let agent_passes = applier(
            |object, scope| Box::pin(agent::reconcile(object, scope)),
            agent::on_error,
            Arc::clone(&scope),
            scope.agents.clone(),
            Box::pin(watch::requests(agent_requests).take_until(stop.cancelled_owned())),
            config,
        );
        tokio::join!(
            session_passes.for_each(|_| async {}),
            agent_passes.for_each(|_| async {})
        );
    };
    let scope_name = namespace.as_deref().unwrap_or("all namespaces");
    let heartbeat = context.heartbeats.begin(
        format!("watches and passes of {scope_name}"),
        heartbeat::SILENCE,
    );
    let both = async {
        tokio::select! {
            () = work => {}
            _ = watches => {}
        }
    };
    heartbeat.beside(both).await;
}

fn api<K>(client: &Client, namespace: Option<&str>) -> Api<DeserializeGuard<K>>
where
    K: kube::Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>,
{
    match namespace {
        Some(namespace) => Api::namespaced(client.clone(), namespace),
        None => Api::all(client.clone()),
    }
}
