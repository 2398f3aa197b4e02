//! Every version of every session, as the API server stored it.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use codeagent_operator::api::CodeSession;
use futures::StreamExt;
use kube::api::Api;
use kube::{Client, ResourceExt};
use kube_runtime::WatchStreamExt;
use kube_runtime::watcher::{self, Event, watcher};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinSet;

use crate::Trouble;

/// How long the first list of all sessions may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// The versions of one session, oldest first.
#[derive(Clone, Debug, Default)]
pub struct Versions {
    /// While it was there.
    pub stored: Vec<Arc<CodeSession>>,
    /// Whether it is gone now.
    pub gone: bool,
}

impl Versions {
    /// The newest version; `None` if there was none yet.
    pub fn newest(&self) -> Option<&CodeSession> {
        self.stored.last().map(Arc::as_ref)
    }
}

/// The sessions of a whole cluster, by namespace and name. One watch serves all runs.
pub struct Histories {
    known: Arc<Known>,
    _watch: JoinSet<()>,
}

#[derive(Default)]
struct Known(Mutex<HashMap<(String, String), watch::Sender<Versions>>>);

impl Known {
    fn lock(&self) -> MutexGuard<'_, HashMap<(String, String), watch::Sender<Versions>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, key: &(String, String), change: impl FnOnce(&mut Versions)) {
        if let Some(versions) = self.lock().get(key) {
            versions.send_modify(change);
        }
    }
}

fn key(session: &CodeSession) -> (String, String) {
    (session.namespace().unwrap_or_default(), session.name_any())
}

impl Histories {
    /// Follows all sessions that `client` sees. Answers once it does: what lives and dies before that would never be seen, and a new API
    /// server may refuse the first watch of a kind that was just defined.
    ///
    /// # Errors
    /// If they cannot be listed within a minute.
    pub async fn follow(client: Client) -> Result<Self, Trouble> {
        let known = Arc::new(Known::default());
        let mut tasks = JoinSet::new();
        let (begun, begins) = oneshot::channel();
        tasks.spawn(follow(client, Arc::clone(&known), begun));
        tokio::time::timeout(PATIENCE, begins)
            .await
            .map_err(|_| format!("the sessions cannot be listed within {PATIENCE:?}"))??;
        Ok(Self {
            known,
            _watch: tasks,
        })
    }

    /// The versions of a session that does not exist yet.
    pub fn expect(&self, namespace: &str, name: &str) -> History {
        let key = (namespace.to_owned(), name.to_owned());
        let (sender, receiver) = watch::channel(Versions::default());
        self.known.lock().insert(key.clone(), sender);
        History {
            known: Arc::clone(&self.known),
            key,
            receiver,
        }
    }
}

async fn follow(client: Client, known: Arc<Known>, begun: oneshot::Sender<()>) {
    let mut begun = Some(begun);
    let sessions: Api<CodeSession> = Api::all(client);
    let events = watcher(sessions, watcher::Config::default()).default_backoff();
    let mut events = std::pin::pin!(events);
    let mut listed = HashSet::new();
    while let Some(event) = events.next().await {
        match event {
            Ok(Event::Apply(session)) => store(&known, session),
            Ok(Event::Delete(session)) => {
                known.change(&key(&session), |versions| versions.gone = true);
            }
            Ok(Event::Init) => listed.clear(),
            Ok(Event::InitApply(session)) => {
                listed.insert(key(&session));
                store(&known, session);
            }
            // What was there before the watch was interrupted and is not any more.
            Ok(Event::InitDone) => {
                for (key, versions) in known.lock().iter() {
                    if !listed.contains(key) && !versions.borrow().stored.is_empty() {
                        versions.send_modify(|versions| versions.gone = true);
                    }
                }
                if let Some(begun) = begun.take() {
                    // Whoever waits for it may have given up.
                    let _ = begun.send(());
                }
            }
            Err(error) => tracing::debug!(%error, "the watch of all sessions goes on"),
        }
    }
}

fn store(known: &Known, session: CodeSession) {
    known.change(&key(&session), |versions| {
        let seen = versions.newest().and_then(ResourceExt::resource_version);
        if seen != session.resource_version() {
            versions.stored.push(Arc::new(session));
        }
    });
}

/// What one run sees of its session. Dropping it forgets the session.
pub struct History {
    known: Arc<Known>,
    key: (String, String),
    receiver: watch::Receiver<Versions>,
}

impl History {
    /// All versions until now.
    pub fn versions(&self) -> Versions {
        self.receiver.borrow().clone()
    }

    /// Waits until the versions are as `holds` says. The caller bounds it.
    pub async fn until(&self, holds: impl FnMut(&Versions) -> bool) {
        let mut receiver = self.receiver.clone();
        // The other end lives in the map for as long as this does.
        let held = receiver.wait_for(holds).await.is_ok();
        if !held {
            futures::future::pending::<()>().await;
        }
    }
}

impl Drop for History {
    fn drop(&mut self) {
        self.known.lock().remove(&self.key);
    }
}
