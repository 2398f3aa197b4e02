//! What an HTTP service is asked for: the contract of a provider.

use async_trait::async_trait;
use http::StatusCode;
use serde::de::{DeserializeOwned, IgnoredAny};
use serde_json::Value;

use super::connection::{Borrowed, HttpAgent, not_understood, of_session, unaskable};
use super::sessions::{launched, values_of};
use crate::api::{HttpKey, HttpMethod};
use crate::domain::ids::{InstallationId, SessionId};
use crate::domain::mapping::{Call, List, Name, NotUnderstood, Values, items};
use crate::domain::remote::Subject;
use crate::domain::send::answer::SendOutcome;
use crate::domain::snapshot::{RemotePhase, Snapshot};
use crate::providers::contract::{
    Account, AdoptAnswer, AdoptRequest, Archiving, Artifacts, BaseProvider, CancelAnswer,
    FollowUps, Found, ItemDetail, LaunchOutcome, LaunchRequest, ListItem, Listing, MarkedPage,
    MarkedRequest, MessageOutcome, MessageRequest, Messaged, Models, PageToken, Previewing,
    Provider, Recovery, SessionPage, SessionRef, Templates, Timeline, TimelineStream,
};
use crate::providers::error::{ErrorClass, ProviderError, Sent};
use crate::providers::http::{Method, Operation, SendWindow, judge_launch, refuses_stop};
use crate::providers::recovery::prompts;
use crate::providers::wire::hint;

fn method(method: HttpMethod) -> Method {
    match method {
        HttpMethod::Post => Method::POST,
        HttpMethod::Put => Method::PUT,
        HttpMethod::Patch => Method::PATCH,
        HttpMethod::Delete => Method::DELETE,
    }
}

impl HttpAgent {
    async fn change<T: DeserializeOwned>(
        &self,
        operation: Operation,
        call: &Call,
        values: &Values,
    ) -> Result<Option<T>, ProviderError> {
        let filled = call.fill(values).map_err(|error| unaskable(&error))?;
        let borrowed = Borrowed::of(&filled);
        let (method, body) = (method(call.method), filled.body.as_ref());
        self.api
            .change(operation, method, borrowed.target(), body)
            .await
    }

    async fn pay(
        &self,
        operation: Operation,
        call: &Call,
        values: &Values,
        window: SendWindow,
    ) -> Result<Value, ProviderError> {
        let filled = call.fill(values).map_err(|error| unaskable(&error))?;
        let borrowed = Borrowed::of(&filled);
        let further = self.mapping.accepted.iter();
        let accepted: Vec<StatusCode> = [StatusCode::OK, StatusCode::CREATED]
            .into_iter()
            .chain(further.filter_map(|status| StatusCode::from_u16(*status).ok()))
            .collect();
        let request = (method(call.method), borrowed.target());
        self.api
            .paid_to(operation, request, &filled.body, window, &accepted)
            .await
    }

    /// Judges the answer to a paid request: rule 1 of the protocol, and what the mapping says of further refusals.
    fn judge<T>(&self, answer: Result<T, ProviderError>) -> SendOutcome<T> {
        match answer {
            Err(error) if self.refuses(&error) => SendOutcome::Rejected(error),
            answer => judge_launch(answer, &[]),
        }
    }

    fn refuses(&self, error: &ProviderError) -> bool {
        let declared = error
            .status
            .is_some_and(|status| self.mapping.refused.contains(&status));
        declared && error.sent == Sent::Possibly && error.class != ErrorClass::Intermediary
    }

    /// Looks at the session with this id.
    pub(super) async fn look(
        &self,
        session: &SessionId,
    ) -> Result<(Snapshot, bool), ProviderError> {
        let call = &self.mapping.get;
        let answer = self
            .read(Operation::Get, call, &of_session(session))
            .await?;
        let (snapshot, busy) = self.snapshot(&self.mapping.got, "get.at", &answer)?;
        if snapshot.session_id != *session {
            let why = "another session came back than was asked for";
            return Err(not_understood(NotUnderstood::new("session.id", why)));
        }
        Ok((snapshot, busy))
    }

    fn list_of(&self) -> Result<&List, ProviderError> {
        self.mapping.list.as_ref().ok_or_else(|| {
            ProviderError::unsent(ErrorClass::InvalidRequest, "the mapping has no list")
        })
    }

    /// Finds a launch by the key that is its session's id.
    async fn find_by_key(&self, request: &AdoptRequest) -> Result<AdoptAnswer, ProviderError> {
        let mut found = Vec::new();
        let mut foreign = None;
        for (age, key) in request.keys.iter().enumerate() {
            let id = SessionId::new(key.as_uuid());
            match self.look(&id).await {
                Ok(_) if request.owned.contains(&id) => {
                    if age == 0 {
                        foreign = Some(format!("{id} is recorded on another CodeSession"));
                    }
                }
                Ok((snapshot, _)) => found.push(Found {
                    snapshot,
                    attempt: None,
                    doubt: None,
                }),
                Err(error) if error.class == ErrorClass::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        if !found.is_empty() {
            found.sort_by_key(|found: &Found| found.snapshot.created_at);
            return Ok(AdoptAnswer::Found(found));
        }
        if let Some(why) = foreign {
            return Ok(AdoptAnswer::Foreign { why });
        }
        // A service that takes another id than ours knows nothing of it, whatever it has started.
        match (request.evidence_seen, self.mapping.shows_prompts()) {
            (true, _) => Ok(AdoptAnswer::Absent),
            (false, true) => prompts::adopt(self, request).await,
            (false, false) => Ok(AdoptAnswer::Inconclusive {
                why: "no session has our key as its id, and this endpoint has not been seen yet to use it: look at the service whether one was started".to_owned(),
                resume: None,
            }),
        }
    }
}

#[async_trait]
impl BaseProvider for HttpAgent {
    /// The service does not say whose a key is, so the key itself makes the fingerprint: a rotated key is another account.
    async fn verify(&self) -> Result<Account, ProviderError> {
        match (&self.mapping.verify, &self.mapping.list) {
            (Some(call), _) => {
                let answer = self.read(Operation::Verify, call, &Values::new()).await?;
                // Whatever else answers with a 200 at this address does not know the key.
                if !answer.is_object() && !answer.is_array() {
                    let why = "what came back is no account";
                    return Err(not_understood(NotUnderstood::new("verify", why)));
                }
            }
            (None, Some(list)) => {
                let (answer, _) = self.page(list, None).await?;
                items("list.items", &list.items, &answer).map_err(not_understood)?;
            }
            (None, None) => {
                let why = "the mapping has neither verify nor list";
                return Err(ProviderError::unsent(ErrorClass::InvalidRequest, why));
            }
        }
        Ok(Account {
            fingerprint: self.fingerprint.clone(),
            name: None,
            email: None,
        })
    }

    async fn launch(&self, request: &LaunchRequest) -> LaunchOutcome {
        let values = values_of(request);
        let call = &self.mapping.launch;
        let answer = self
            .pay(Operation::Launch, call, &values, request.window)
            .await
            .and_then(|answer| {
                let (snapshot, _) = self.snapshot(&self.mapping.launched, "launch.at", &answer)?;
                let ours = self
                    .mapping
                    .key
                    .map(|HttpKey::SessionId| request.key.as_uuid());
                Ok(launched(snapshot, ours))
            });
        self.judge(answer)
    }

    async fn adopt(&self, request: &AdoptRequest) -> Result<AdoptAnswer, ProviderError> {
        match self.mapping.key {
            Some(HttpKey::SessionId) if request.recovery == Recovery::ClientId => {
                self.find_by_key(request).await
            }
            Some(HttpKey::SessionId) | None if self.mapping.shows_prompts() => {
                prompts::adopt(self, request).await
            }
            Some(HttpKey::SessionId) | None => Ok(AdoptAnswer::Unknowable),
        }
    }

    async fn shows_marker(
        &self,
        session: &SessionId,
        installation: &InstallationId,
        uid: &str,
    ) -> Result<Option<bool>, ProviderError> {
        match self.mapping.conversation {
            Some(_) => prompts::shows_marker(self, session, installation, uid).await,
            None => Ok(None),
        }
    }

    async fn get(&self, session: &SessionRef) -> Result<Snapshot, ProviderError> {
        Ok(self.look(&session.session_id).await?.0)
    }

    async fn cancel(&self, session: &SessionRef) -> Result<CancelAnswer, ProviderError> {
        let Some(call) = &self.mapping.cancel else {
            return Ok(CancelAnswer::Unsupported);
        };
        let values = of_session(&session.session_id);
        match self
            .change::<IgnoredAny>(Operation::Cancel, call, &values)
            .await
        {
            Ok(_) => Ok(CancelAnswer::Accepted),
            Err(error) if refuses_stop(&error) => {
                Ok(CancelAnswer::NotCancellable(Some(error.message)))
            }
            Err(error) => Err(error),
        }
    }
}

#[async_trait]
impl Archiving for HttpAgent {
    async fn archive(&self, session: &SessionId) -> Result<(), ProviderError> {
        let Some(call) = &self.mapping.archive else {
            let why = "the mapping archives nothing";
            return Err(ProviderError::unsent(ErrorClass::InvalidRequest, why));
        };
        let _: Option<IgnoredAny> = self
            .change(Operation::Archive, call, &of_session(session))
            .await?;
        Ok(())
    }
}

#[async_trait]
impl FollowUps for HttpAgent {
    async fn newest(&self, session: &SessionRef) -> Result<Option<String>, ProviderError> {
        if !self.mapping.session.tells_busy() {
            return Ok(None);
        }
        match self.look(&session.session_id).await? {
            (_, true) => Err(ProviderError {
                subject: Some(Subject::Busy),
                ..ProviderError::unsent(ErrorClass::Conflict, "the session takes no message now")
            }),
            (_, false) => Ok(None),
        }
    }

    async fn send(&self, request: &MessageRequest) -> MessageOutcome {
        let mut values = of_session(&request.session.session_id);
        values.insert(Name::Message, request.prompt.as_str().into());
        let answer = match &self.mapping.message {
            Some(message) => self
                .pay(Operation::Message, &message.call, &values, request.window)
                .await
                .and_then(|answer| message.taken(&answer).map_err(not_understood)),
            None => Err(ProviderError::unsent(
                ErrorClass::InvalidRequest,
                "the mapping sends no messages",
            )),
        };
        self.judge(answer.map(|()| Messaged {
            session_id: request.session.session_id.clone(),
            run_id: None,
            phase: RemotePhase::Running,
        }))
    }

    async fn find(
        &self,
        session: &SessionRef,
        lost: &AdoptRequest,
    ) -> Result<AdoptAnswer, ProviderError> {
        match self.mapping.conversation {
            Some(_) => prompts::find_message(self, session, lost).await,
            None => Ok(AdoptAnswer::Unknowable),
        }
    }
}

#[async_trait]
impl Listing for HttpAgent {
    async fn list(&self, page: Option<&PageToken>) -> Result<SessionPage, ProviderError> {
        let (answer, next) = self.page(self.list_of()?, page).await?;
        let list = self.list_of()?;
        let items = items("list.items", &list.items, &answer).map_err(not_understood)?;
        let items = items.iter().filter_map(|item| {
            let (snapshot, _) = self.read_session(item).ok()?;
            Some(ListItem {
                session_id: snapshot.session_id,
                created_at: snapshot.created_at,
                detail: ItemDetail::Hint(hint(&[Some(&item.to_string())])),
            })
        });
        Ok(SessionPage {
            items: items.collect(),
            next,
        })
    }

    async fn marked(&self, request: &MarkedRequest) -> Result<MarkedPage, ProviderError> {
        match self.mapping.shows_prompts() {
            true => prompts::marked(self, request).await,
            // Nothing in its list tells whose a session is.
            false => Ok(MarkedPage::default()),
        }
    }
}

/// What a connection can do beside the basics follows from its mapping, not from its type.
impl Provider for HttpAgent {
    fn archiving(&self) -> Option<&dyn Archiving> {
        self.mapping.archive.as_ref().map(|_| self as _)
    }

    fn follow_ups(&self) -> Option<&dyn FollowUps> {
        self.mapping.message.as_ref().map(|_| self as _)
    }

    fn listing(&self) -> Option<&dyn Listing> {
        self.mapping.list.as_ref().map(|_| self as _)
    }

    fn artifacts(&self) -> Option<&dyn Artifacts> {
        None
    }

    fn models(&self) -> Option<&dyn Models> {
        None
    }

    fn previewing(&self) -> Option<&dyn Previewing> {
        None
    }

    fn templates(&self) -> Option<&dyn Templates> {
        None
    }

    fn timeline(&self) -> Option<&dyn Timeline> {
        None
    }

    fn timeline_stream(&self) -> Option<&dyn TimelineStream> {
        None
    }
}
