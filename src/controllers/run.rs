//! The controllers of every scope, from their watches to their passes, and the sweep over all of them.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures::{Stream, StreamExt};
use kube::Client;
use kube::api::Api;
use kube::core::DeserializeGuard;
use kube_runtime::reflector::ObjectRef;
use tokio_util::sync::CancellationToken;

use super::context::Context;
use super::scope::Scope;
use super::{agent, session, sweep, takeover, webhook};
use crate::api::{CodeAgent, CodeSession};
use crate::runtime::dispatch::Dispatch;
use crate::runtime::heartbeat;
use crate::runtime::queue::Queue;

/// When an object is looked at again whose pass could not act because the lead had lapsed for a moment.
const AFTER_LAPSE: Duration = Duration::from_secs(1);

/// A scope whose caches are filled.
pub struct Filled<'a> {
    /// Its namespace; `None` for all of them.
    pub namespace: Option<&'a str>,
    /// Whether it was the last one.
    pub all: bool,
}

/// What asks for passes in a scope.
struct Triggers<S, A, W> {
    sessions: S,
    agents: A,
    webhooks: W,
}

/// Works on every scope (a namespace, or all of them), from when this process leads until the context stops. `filled` is told of
/// each scope whose caches are filled; once all are, the sweep begins.
pub async fn run(
    context: &Context,
    namespaces: Vec<Option<String>>,
    filled: impl Fn(Filled<'_>) + Sync,
) {
    let left = AtomicUsize::new(namespaces.len());
    let uncounted = AtomicUsize::new(namespaces.len());
    let all_filled = CancellationToken::new();
    let (scopes, runs): (Vec<_>, Vec<_>) = namespaces
        .into_iter()
        .map(|namespace| {
            let (session_queue, session_triggers) = Queue::new();
            let (agent_queue, agent_triggers) = Queue::new();
            let (webhook_queue, webhook_triggers) = Queue::new();
            let scope = Arc::new(Scope::new(
                context.clone(),
                session_queue,
                agent_queue,
                webhook_queue,
            ));
            let sessions = Arc::clone(&scope.sessions);
            context.served.add(namespace.clone(), sessions);
            let (left, filled, all_filled) = (&left, &filled, &all_filled);
            let uncounted = &uncounted;
            let run = run_scope(
                Arc::clone(&scope),
                namespace.clone(),
                Triggers {
                    sessions: session_triggers,
                    agents: agent_triggers,
                    webhooks: webhook_triggers,
                },
                move || {
                    let all = left.fetch_sub(1, Ordering::AcqRel) == 1;
                    filled(Filled {
                        namespace: namespace.as_deref(),
                        all,
                    });
                    if all {
                        all_filled.cancel();
                    }
                },
                move || {
                    if uncounted.fetch_sub(1, Ordering::AcqRel) == 1 {
                        context.admission.counted();
                    }
                },
            );
            (scope, run)
        })
        .unzip();
    let sweeping = async {
        tokio::select! {
            // In a task of its own: a round looks at everything.
            () = all_filled.cancelled() => drop(tokio::spawn(sweep::run(context.clone(), scopes))),
            () = context.stop.cancelled() => {}
        }
    };
    tokio::join!(futures::future::join_all(runs), sweeping);
}

/// Works on one scope; `filled` is called once its caches are filled, `counted` once this process leads and knows which sessions are
/// active.
async fn run_scope(
    scope: Arc<Scope>,
    namespace: Option<String>,
    triggers: Triggers<
        impl Stream<Item = ObjectRef<CodeSession>> + Send + Unpin,
        impl Stream<Item = ObjectRef<CodeAgent>> + Send + Unpin,
        impl Stream<Item = ObjectRef<CodeSession>> + Send + Unpin,
    >,
    filled: impl FnOnce() + Send,
    counted: impl FnOnce() + Send,
) {
    let context = scope.context.clone();
    let watches = async {
        let (client, namespace) = (&context.client, namespace.as_deref());
        tokio::join!(
            scope
                .sessions
                .follow(api(client, namespace), |change| scope.on_session(change)),
            scope
                .agents
                .follow(api(client, namespace), |change| scope.on_agent(change)),
        )
    };
    let work = async {
        // Nothing is decided on half a cache: a session without its CodeAgent looks like a mistake.
        tokio::join!(scope.sessions.filled(), scope.agents.filled());
        filled();
        let sessions = api(&context.client, namespace.as_deref());
        passes(&scope, &sessions, triggers, counted).await;
    };
    let name = namespace.as_deref().unwrap_or("all namespaces");
    let heartbeat = context
        .heartbeats
        .begin(format!("watches and passes of {name}"), heartbeat::SILENCE);
    let both = async {
        tokio::select! {
            () = work => {}
            _ = watches => {}
        }
    };
    heartbeat.beside(both).await;
}

/// Passes over what is triggered, from when this process leads until the context stops.
async fn passes(
    scope: &Arc<Scope>,
    sessions: &Api<DeserializeGuard<CodeSession>>,
    mut triggers: Triggers<
        impl Stream<Item = ObjectRef<CodeSession>> + Send + Unpin,
        impl Stream<Item = ObjectRef<CodeAgent>> + Send + Unpin,
        impl Stream<Item = ObjectRef<CodeSession>> + Send + Unpin,
    >,
    counted: impl FnOnce() + Send,
) {
    let context = &scope.context;
    let held = context.lead.held();
    let mut held = std::pin::pin!(held);
    loop {
        // The caches follow what changes; what there is to do is left to whoever leads.
        tokio::select! {
            biased;
            () = context.stop.cancelled() => return,
            () = &mut held => break,
            _ = triggers.sessions.next() => {}
            _ = triggers.agents.next() => {}
            _ = triggers.webhooks.next() => {}
        }
    }
    tokio::select! {
        () = context.stop.cancelled() => return,
        () = takeover::read_active(scope, sessions) => counted(),
    }
    scope.look_at_everything();
    let concurrency = usize::from(context.settings.concurrency);
    let session_passes = Dispatch {
        concurrency,
        work: |object: ObjectRef<CodeSession>| {
            let scope = Arc::clone(scope);
            async move {
                let context = scope.context.clone();
                while_leading(&context, session::reconcile(object, scope)).await
            }
        },
        panicked: |object: &ObjectRef<CodeSession>| session::panicked(object, scope),
    };
    let agent_passes = Dispatch {
        concurrency,
        work: |object: ObjectRef<CodeAgent>| {
            let scope = Arc::clone(scope);
            async move {
                let context = scope.context.clone();
                while_leading(&context, agent::reconcile(object, scope)).await
            }
        },
        panicked: |_: &ObjectRef<CodeAgent>| context.timing().fault_wait(1),
    };
    let reports = Dispatch {
        concurrency: webhook::CONCURRENCY,
        work: |object: ObjectRef<CodeSession>| {
            let scope = Arc::clone(scope);
            async move {
                let context = scope.context.clone();
                while_leading(&context, webhook::report(object, scope)).await
            }
        },
        panicked: |_: &ObjectRef<CodeSession>| webhook::panicked(scope),
    };
    let positions = async {
        loop {
            tokio::time::sleep(context.timing().queue_interval).await;
            context.admission.refresh(context.uptime());
        }
    };
    tokio::select! {
        _ = futures::future::join3(
            session_passes.run(triggers.sessions, &context.stop),
            agent_passes.run(triggers.agents, &context.stop),
            reports.run(triggers.webhooks, &context.stop),
        ) => {}
        () = positions => {}
    }
}

/// Makes a pass once this process leads. One that could not act because the lead lapsed is repeated, whatever it came to: it left
/// nothing that would trigger another one.
async fn while_leading(
    context: &Context,
    pass: impl Future<Output = Option<Duration>>,
) -> Option<Duration> {
    tokio::select! {
        biased;
        () = context.stop.cancelled() => return None,
        () = context.lead.held() => {}
    }
    let refusals = context.lead.refusals();
    let again = pass.await;
    if context.lead.refusals() == refusals {
        return again;
    }
    Some(again.map_or(AFTER_LAPSE, |again| again.min(AFTER_LAPSE)))
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
