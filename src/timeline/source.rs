//! Reading of a session what its provider has, by the connection that polls use.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use kube::ResourceExt;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::access::Subresource;
use super::answer::{Refusal, RefusalReason};
use crate::api::{CodeSession, CodeSessionStatus};
use crate::controllers::Context;
use crate::controllers::accounts::ConnectionKey;
use crate::controllers::connection::links::Linked;
use crate::controllers::connection::{link, recorded_target};
use crate::controllers::error::Chain;
use crate::domain::ids::{RunId, SessionId};
use crate::domain::remote::{ErrorClass, ProviderCapabilities, ProviderError, unsupported_message};
use crate::domain::timeline::{MAX_PAGE, Position};
use crate::providers::contract::{MessageRun, Provider, TimelinePage, TimelineRequest};
use crate::providers::http::Lane;
use crate::runtime::expiring::Expiring;
use crate::runtime::lock::lock;
use crate::runtime::shared_reads::SharedReads;

/// What is read at the same time with one key. What waits here waits behind no poll: the provider's rate limit is shared by
/// lanes, and these reads are in the last one.
const READS_PER_CONNECTION: usize = 4;
/// How long one read may take, the wait for its turn included.
const READ_TIMEOUT: Duration = Duration::from_secs(60);
/// For how long a page counts for others that ask for the same one.
pub const KEEP_PAGE: Duration = Duration::from_secs(1);
/// For how long it is remembered how far a timeline was read.
const KEEP_POSITION: Duration = Duration::from_secs(600);
/// Timelines of which it is remembered how far they were read.
const MOST_POSITIONS: usize = 1024;

/// A session that was launched, and the connection to where it is.
#[derive(Clone)]
pub struct Source {
    /// The object.
    pub session: Arc<CodeSession>,
    /// What the operator knows of its runs, oldest first.
    pub runs: Vec<MessageRun>,
    linked: Linked,
}

impl Source {
    /// The provider, for calls that give way to everything else.
    pub fn provider(&self) -> &Arc<dyn Provider> {
        self.linked.in_lane(Lane::Sweep)
    }

    /// The object's name.
    pub fn name(&self) -> &str {
        self.session.metadata.name.as_deref().unwrap_or_default()
    }

    /// The provider's sessions of it, oldest first, each once.
    pub fn sessions(&self) -> Vec<SessionId> {
        let mut sessions: Vec<SessionId> = Vec::new();
        for run in &self.runs {
            if !sessions.contains(&run.session_id) {
                sessions.push(run.session_id.clone());
            }
        }
        sessions
    }
}

/// What is asked for of one page: the session by its uid, the last number that is not wanted, and what is known of its runs.
type PageKey = (String, u64, usize);

/// Reads timelines.
pub struct Sources {
    context: Context,
    pages: SharedReads<PageKey, Arc<TimelinePage>, Refusal>,
    positions: Expiring<String, Position>,
    turns: Mutex<HashMap<ConnectionKey, Weak<Semaphore>>>,
}

impl Sources {
    /// Nothing was read yet.
    pub fn new(context: Context) -> Self {
        Self {
            context,
            pages: SharedReads::new(KEEP_PAGE),
            positions: Expiring::new(MOST_POSITIONS),
            turns: Mutex::default(),
        }
    }

    /// The CodeSession of this name.
    ///
    /// # Errors
    /// 404 if there is none, 503 if it cannot be read.
    pub async fn session(&self, namespace: &str, name: &str) -> Result<Arc<CodeSession>, Refusal> {
        if !self.context.served.serves(namespace) {
            return Err(Refusal::new(
                RefusalReason::NotFound,
                format!("this operator does not serve the namespace {namespace}"),
            )
            .about(name));
        }
        let read = self
            .context
            .served
            .get(&self.context.client, namespace, name);
        match read.await {
            Ok(Some(session)) => Ok(session),
            Ok(None) => Err(Refusal::new(
                RefusalReason::NotFound,
                format!("there is no CodeSession {name} in the namespace {namespace}"),
            )
            .about(name)),
            Err(error) => {
                tracing::warn!(error = %Chain(&error), namespace, name, "a CodeSession could not be read");
                Err(Refusal::new(
                    RefusalReason::ServiceUnavailable,
                    "the API server does not say what the CodeSession is: try again",
                )
                .about(name)
                .retry_after(Duration::from_secs(1)))
            }
        }
    }

    /// The way to what is asked of a session. Nothing is sent to the provider.
    ///
    /// # Errors
    /// 404 if it was never launched, 405 if its provider has no such thing, 503 if the provider cannot be reached with what the Secret
    /// holds.
    pub async fn open(
        &self,
        session: Arc<CodeSession>,
        asked_for: Subresource,
    ) -> Result<Source, Refusal> {
        let name = session.name_any();
        let refuse = |reason, message: String| Refusal::new(reason, message).about(&name);
        let Some((spec, secret)) = recorded_target(&session) else {
            return Err(refuse(
                RefusalReason::NotFound,
                not_launched(&session, asked_for),
            ));
        };
        let Some(provider) = self.context.provider(&spec) else {
            return Err(refuse(
                RefusalReason::ServiceUnavailable,
                "this installation of the operator does not run the session's provider".to_owned(),
            ));
        };
        let asked = ProviderCapabilities {
            kind: provider.kind(),
            variant: provider.variant(&spec),
            capabilities: provider.capabilities(&spec),
        };
        let capability = asked_for.capability();
        if !asked.can(capability) {
            let message = unsupported_message(&asked, capability, &self.context.installed);
            return Err(refuse(RefusalReason::MethodNotAllowed, message));
        }
        let runs = session.stored_status().map(runs_of).unwrap_or_default();
        if runs.is_empty() {
            return Err(refuse(
                RefusalReason::NotFound,
                not_launched(&session, asked_for),
            ));
        }
        let namespace = session.namespace().unwrap_or_default();
        let linked = match link(&self.context, &namespace, provider, &spec, secret.as_ref()).await {
            Ok(linked) => linked,
            // A Secret that is gone does not end a session that runs: whoever follows it keeps the connection.
            Err(not_ready) => {
                let uid = session.uid().unwrap_or_default();
                let kept = self.context.memory.attached(&uid);
                kept.ok_or_else(|| {
                    refuse(
                        RefusalReason::ServiceUnavailable,
                        not_ready.blocker.message.clone(),
                    )
                    .retry_after(not_ready.again)
                })?
            }
        };
        Ok(Source {
            session,
            runs,
            linked,
        })
    }

    /// The first events after `since`, at most [`MAX_PAGE`]. One read serves all who ask for the same within a second.
    ///
    /// # Errors
    /// If the provider cannot be read now, or does not know the session any more.
    pub async fn page(&self, source: &Source, since: u64) -> Result<Arc<TimelinePage>, Refusal> {
        let key = (source.uid(), since, source.known());
        let page = self.pages.get(key, self.read(source, since)).await;
        page.map_err(|(refusal, again)| {
            let asked = refusal.retry_after.unwrap_or(Duration::from_secs(1));
            refusal.retry_after(again.max(asked))
        })
    }

    /// Drops pages that do not count any more, again and again.
    pub async fn expire(&self) {
        loop {
            tokio::time::sleep(KEEP_PAGE).await;
            self.pages.expire();
        }
    }

    async fn read(&self, source: &Source, since: u64) -> Result<Arc<TimelinePage>, Refusal> {
        let Some(timeline) = source.provider().timeline() else {
            return Err(Refusal::new(
                RefusalReason::MethodNotAllowed,
                "this session's provider has no timeline",
            )
            .about(source.name()));
        };
        let request = self.request(source, since);
        let call = timeline.page(&request, MAX_PAGE);
        let page = self.ask(source, Subresource::Events, call).await?;
        self.note(source, &page.position);
        Ok(Arc::new(page))
    }

    /// Asks a session's provider, once its key has a turn.
    ///
    /// # Errors
    /// If the provider cannot be read now, or does not have what is asked for.
    pub async fn ask<T>(
        &self,
        source: &Source,
        asked_for: Subresource,
        call: impl Future<Output = Result<T, ProviderError>>,
    ) -> Result<T, Refusal> {
        let asked = tokio::time::timeout(READ_TIMEOUT, async {
            let _turn = self.turn(&source.linked.key).await;
            call.await
        });
        let refusal = match asked.await {
            Ok(Ok(answer)) => return Ok(answer),
            Ok(Err(error)) => refusal_of(&error, asked_for),
            Err(_) => Refusal::new(
                RefusalReason::Timeout,
                format!(
                    "the provider did not tell {} within {} s: try again",
                    asked_for.noun(),
                    READ_TIMEOUT.as_secs()
                ),
            ),
        };
        Err(refusal.about(source.name()))
    }

    /// What is asked of the provider: everything after `since`.
    pub fn request(&self, source: &Source, since: u64) -> TimelineRequest {
        let known = self.positions.get(&source.uid());
        TimelineRequest {
            runs: source.runs.clone(),
            since,
            from: known.map(|position| position.at_most(since)),
        }
    }

    /// Remembers how far a timeline was read.
    fn note(&self, source: &Source, position: &Position) {
        let uid = source.uid();
        let known = self.positions.get(&uid);
        if known.is_none_or(|known| known.seq() <= position.seq()) {
            self.positions.put(uid, position.clone(), KEEP_POSITION);
        }
    }

    /// A turn to read with this key.
    async fn turn(&self, key: &ConnectionKey) -> Option<OwnedSemaphorePermit> {
        let turns = {
            let mut all = lock(&self.turns);
            match all.get(key).and_then(Weak::upgrade) {
                Some(turns) => turns,
                None => {
                    all.retain(|_, turns| turns.strong_count() > 0);
                    let turns = Arc::new(Semaphore::new(READS_PER_CONNECTION));
                    all.insert(key.clone(), Arc::downgrade(&turns));
                    turns
                }
            }
        };
        // It is never closed.
        turns.acquire_owned().await.ok()
    }
}

impl Source {
    fn uid(&self) -> String {
        self.session.uid().unwrap_or_default()
    }

    /// How much is known of the runs: more of it may bring more events.
    fn known(&self) -> usize {
        let ended = self.runs.iter().filter(|run| run.ended).count();
        self.runs.len() + ended
    }
}

fn not_launched(session: &CodeSession, asked_for: Subresource) -> String {
    let name = session.name_any();
    let noun = asked_for.noun();
    if session.phase().is_terminal() {
        format!(
            "the CodeSession {name} was never launched, so that {noun} does not exist: its conditions say why (kubectl describe csess {name})"
        )
    } else {
        format!("the CodeSession {name} is not launched yet: {noun} begins with its launch")
    }
}

/// The executions of a session's messages that its provider has, oldest first.
fn runs_of(status: &CodeSessionStatus) -> Vec<MessageRun> {
    let Some(provider) = status.provider.as_ref() else {
        return Vec::new();
    };
    let Some(newest) = provider.session_id.as_ref() else {
        return Vec::new();
    };
    let sent = status.messages.iter().enumerate().filter(|(n, message)| {
        let arrived = |record: &crate::api::SendRecord| record.state.arrived();
        // Of the first message the launch tells, and a session that is known has arrived.
        *n == 0 || message.run_id.is_some() || message.send.as_ref().is_some_and(arrived)
    });
    // A message to a stopped session may have been answered with another session: the ids of before are those of the first messages.
    let ids = provider.chain.iter().chain(std::iter::repeat(newest));
    sent.zip(ids)
        .map(|((_, message), id)| MessageRun {
            message: message.name.clone(),
            session_id: SessionId::new(id.clone()),
            run_id: message.run_id.clone().map(RunId::new),
            ended: message.phase.is_terminal(),
        })
        .collect()
}

/// What a failure of the provider means for who reads.
pub fn refusal_of(error: &ProviderError, asked_for: Subresource) -> Refusal {
    let noun = asked_for.noun();
    let unavailable = |message: String| Refusal::new(RefusalReason::ServiceUnavailable, message);
    let refusal = match error.class {
        // Also of a path that is none, and of an agent whose files are not kept any longer (Cursor).
        ErrorClass::NotFound | ErrorClass::InvalidRequest
            if asked_for == Subresource::Artifacts =>
        {
            Refusal::new(
                RefusalReason::NotFound,
                format!("the provider has no such artifact or session, or not any more: {error}"),
            )
        }
        ErrorClass::NotFound => Refusal::new(
            RefusalReason::NotFound,
            format!("the provider does not know this session, or not any more: {error}"),
        ),
        ErrorClass::Unauthorized | ErrorClass::Forbidden => unavailable(format!(
            "the provider does not let the operator read {noun} with the session's key: {error}. Put a valid key into its Secret"
        )),
        ErrorClass::RateLimited => unavailable(format!(
            "the provider wants no further requests with this key for now: {error}"
        )),
        ErrorClass::Timeout => Refusal::new(
            RefusalReason::Timeout,
            format!("the provider did not tell {noun} in time: {error}"),
        ),
        ErrorClass::InvalidRequest
        | ErrorClass::Conflict
        | ErrorClass::QuotaExhausted
        | ErrorClass::Unavailable
        | ErrorClass::Intermediary
        | ErrorClass::Unknown
        | ErrorClass::Protocol => unavailable(format!(
            "the provider cannot tell {noun} right now: {error}"
        )),
    };
    match error.retry_after {
        Some(wait) => refusal.retry_after(wait),
        None => refusal,
    }
}
