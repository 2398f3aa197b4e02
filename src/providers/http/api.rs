//! One credential's way to one endpoint.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use jiff::Timestamp;
use reqwest::{Method, RequestBuilder, Response};
use serde::Serialize;
use serde::de::DeserializeOwned;
use url::Url;

use super::answer;
use super::budget::{self, Room};
use super::clock::ProviderClock;
use super::gate::{Gate, GatedBody, HeldBack, SendWindow, ShutOnDrop};
use super::guard::NotPublic;
use super::limit::{Lane, Limiter};
use super::operation::Operation;
use super::redact::{Redactor, without_sent_content};
use super::stack::HttpStack;
use crate::api::ProviderKind;
use crate::domain::status::{RESULT_BYTES, clip};
use crate::domain::timeline::Entry;
use crate::providers::credential::Credential;
use crate::providers::error::{ErrorClass, ProviderError, Sent};
use crate::providers::temporary::TemporaryUrl;
use crate::providers::wire::begins_as_list;

/// How much of an error's body is read; what it says to people is cut to far less.
pub(super) const ERROR_BODY_CAP: usize = 64 << 10;
/// How much of an agent's closing words is kept, in bytes: more than is stored, so that what is stored shows that it was cut.
const LONGEST_RESULT: usize = 2 * RESULT_BYTES;
/// The longest URL that is handed on, in bytes: one with a signature and a session token of S3 has some two thousand.
const LONGEST_TEMPORARY_URL: usize = 8 << 10;

/// How a request proves whose it is.
pub(in crate::providers) enum Auth<'a> {
    /// `Authorization: Basic`.
    Basic {
        /// The user, or a key.
        user: &'a str,
        /// The password; empty with a key.
        password: &'a str,
    },
    /// `Authorization: Bearer`.
    Bearer(&'a str),
    /// A header of the provider's own.
    Header(HeaderName, &'a str),
}

/// One credential's way to one endpoint. Dropping a call's future ends the call.
pub(in crate::providers) struct Api {
    kind: ProviderKind,
    endpoint: Url,
    pub(super) stack: HttpStack,
    limiter: Arc<Limiter>,
    clock: Arc<ProviderClock>,
    redactor: Redactor,
    auth: (HeaderName, HeaderValue),
    /// The member by which an error of the provider is known besides `error` and `code`.
    error_member: Option<String>,
}

/// Where a request goes: segments and query, which are encoded.
#[derive(Clone, Copy)]
pub(in crate::providers) struct Target<'a> {
    /// The segments below the endpoint.
    pub(in crate::providers) path: &'a [&'a str],
    /// Names and values behind the question mark.
    pub(in crate::providers) query: &'a [(&'a str, &'a str)],
}

/// A success whose body was read.
pub(super) struct Answer {
    status: StatusCode,
    pub(super) body: Bytes,
    /// Whether there is more of it than is read.
    cut: bool,
    /// The room that the body takes, until it is parsed.
    _room: Option<Room>,
}

/// An answer whose body was not read yet.
pub(super) struct Begun {
    pub(super) response: Response,
    pub(super) headers: HeaderMap,
    /// When it was asked for.
    pub(super) asked: Timestamp,
    /// When its head was there.
    pub(super) answered: Timestamp,
    /// Until when all of it has to be read.
    pub(super) deadline: Instant,
}

impl HttpStack {
    /// Prepares `credential`'s calls of `endpoint`. Nothing is sent.
    ///
    /// # Errors
    /// If the endpoint is no `https` URL with a host (`http` is for development), or the credential cannot be a header.
    pub(in crate::providers) fn api(
        &self,
        kind: ProviderKind,
        endpoint: &Url,
        credential: &Credential,
        auth: Auth<'_>,
    ) -> Result<Api, ProviderError> {
        let scheme_allowed = match endpoint.scheme() {
            "https" => true,
            "http" => self.inner.settings.allow_http,
            _ => false,
        };
        if !scheme_allowed || endpoint.cannot_be_a_base() || endpoint.host_str().is_none() {
            return Err(ProviderError::unsent(
                ErrorClass::InvalidRequest,
                "the endpoint must be an https URL",
            ));
        }
        self.check_endpoint(endpoint).map_err(|refused| {
            ProviderError::unsent(ErrorClass::InvalidRequest, refused.to_string())
        })?;
        let (name, value) = match auth {
            Auth::Basic { user, password } => {
                let pair = zeroize::Zeroizing::new(format!("{user}:{password}"));
                let value = format!("Basic {}", STANDARD.encode(pair.as_bytes()));
                (header::AUTHORIZATION, HeaderValue::try_from(value))
            }
            Auth::Bearer(key) => {
                let value = zeroize::Zeroizing::new(format!("Bearer {key}"));
                (header::AUTHORIZATION, HeaderValue::from_str(&value))
            }
            Auth::Header(name, value) => (name, HeaderValue::from_str(value)),
        };
        let mut value = value.map_err(|_| {
            ProviderError::unsent(
                ErrorClass::Unauthorized,
                "the key in the Secret contains characters that no key has",
            )
        })?;
        value.set_sensitive(true);
        Ok(Api {
            kind,
            endpoint: endpoint.clone(),
            stack: self.clone(),
            limiter: self
                .inner
                .limiters
                .of(endpoint.as_str(), credential.digest()),
            clock: self.clock(endpoint),
            redactor: Redactor::new(credential),
            auth: (name, value),
            error_member: None,
        })
    }
}

impl Api {
    /// Reads one thing. `path` are the segments below the endpoint; they are encoded.
    pub(in crate::providers) async fn get<T: DeserializeOwned>(
        &self,
        operation: Operation,
        path: &[&str],
        query: &[(&str, &str)],
    ) -> Result<T, ProviderError> {
        let settings = &self.stack.inner.settings;
        let timeout = match operation {
            Operation::List => settings.list_timeout,
            _ => settings.get_timeout,
        };
        self.observed(operation, async {
            let request = self
                .request(&self.stack.clients().reads, Method::GET, path, timeout)?
                .query(query);
            parse(&self.call(operation, request, None).await?)
        })
        .await
    }

    /// Reads one thing, if it is no larger than such an answer may be: whoever can ask for less does.
    pub(in crate::providers) async fn get_if_it_fits<T: DeserializeOwned>(
        &self,
        operation: Operation,
        path: &[&str],
        query: &[(&str, &str)],
    ) -> Result<Option<T>, ProviderError> {
        self.observed(operation, async {
            let timeout = self.stack.inner.settings.get_timeout;
            let request = self
                .request(&self.stack.clients().reads, Method::GET, path, timeout)?
                .query(query);
            let answer = self.exchange(operation, request, None).await?;
            if answer.cut {
                return Ok(None);
            }
            parse(&answer).map(Some)
        })
        .await
    }

    /// Whether the answer is a list, or has one as its `member`: what a key check may look at where an account can be told by
    /// nothing else. No more of it is read than a key check reads, however long the list is.
    pub(in crate::providers) async fn check_list(
        &self,
        path: &[&str],
        query: &[(&str, &str)],
        member: Option<&'static str>,
    ) -> Result<(), ProviderError> {
        let operation = Operation::Verify;
        self.observed(operation, async {
            let timeout = self.stack.inner.settings.get_timeout;
            let request = self
                .request(&self.stack.clients().reads, Method::GET, path, timeout)?
                .query(query);
            let answer = self.exchange(operation, request, None).await?;
            begins_as_list(&answer.body, answer.cut, member)
                .map_err(|error| unreadable(&answer, &error))
        })
        .await
    }

    /// A POST without a body whose success says all there is to know.
    pub(in crate::providers) async fn post_empty(
        &self,
        operation: Operation,
        path: &[&str],
    ) -> Result<(), ProviderError> {
        self.observed(operation, async {
            let request = self.post_without_body(path)?;
            self.call(operation, request, None).await.map(|_| ())
        })
        .await
    }

    /// A POST without a body whose success says something: whatever else answers with a 2xx at this address says it not.
    pub(in crate::providers) async fn post_for<T: DeserializeOwned>(
        &self,
        operation: Operation,
        path: &[&str],
    ) -> Result<T, ProviderError> {
        self.observed(operation, async {
            let request = self.post_without_body(path)?;
            parse(&self.call(operation, request, None).await?)
        })
        .await
    }

    fn post_without_body(&self, path: &[&str]) -> Result<RequestBuilder, ProviderError> {
        Ok(self
            .write(Method::POST, path)?
            // hyper leaves it out without a body, and some servers insist on it.
            .header(header::CONTENT_LENGTH, 0))
    }

    /// A POST or PATCH that costs nothing. Sent once, like every write; whoever sends it again bears the consequence.
    pub(in crate::providers) async fn send<B: Serialize, T: DeserializeOwned>(
        &self,
        operation: Operation,
        method: Method,
        path: &[&str],
        body: &B,
    ) -> Result<T, ProviderError> {
        self.observed(operation, async {
            let request = self.write(method, path)?.json(body);
            parse(&self.call(operation, request, None).await?)
        })
        .await
    }

    /// A DELETE whose success says all there is to know.
    pub(in crate::providers) async fn delete(
        &self,
        operation: Operation,
        path: &[&str],
    ) -> Result<(), ProviderError> {
        self.observed(operation, async {
            let request = self.write(Method::DELETE, path)?;
            self.call(operation, request, None).await.map(|_| ())
        })
        .await
    }

    /// A request that changes something and costs nothing. `T` is what its success says; with 204 it says nothing.
    pub(in crate::providers) async fn change<B: Serialize, T: DeserializeOwned>(
        &self,
        operation: Operation,
        method: Method,
        target: Target<'_>,
        body: Option<&B>,
    ) -> Result<Option<T>, ProviderError> {
        self.observed(operation, async {
            let request = self.write(method, target.path)?.query(target.query);
            let request = match body {
                Some(body) => request.json(body),
                None => request.header(header::CONTENT_LENGTH, 0),
            };
            let answer = self.call(operation, request, None).await?;
            match answer.status {
                StatusCode::NO_CONTENT => Ok(None),
                _ => parse(&answer).map(Some),
            }
        })
        .await
    }

    /// This way to a provider whose errors are known by `member` as well.
    pub(in crate::providers) fn with_error_member(self, member: Option<String>) -> Self {
        Self {
            error_member: member,
            ..self
        }
    }

    /// The same way for a request that carries these secrets: no error text shows one of them either.
    pub(in crate::providers) fn withholding<'a>(
        &self,
        secrets: impl Iterator<Item = &'a str>,
    ) -> Self {
        Self {
            kind: self.kind,
            endpoint: self.endpoint.clone(),
            stack: self.stack.clone(),
            limiter: Arc::clone(&self.limiter),
            clock: Arc::clone(&self.clock),
            redactor: self.redactor.and(secrets),
            auth: self.auth.clone(),
            error_member: self.error_member.clone(),
        }
    }

    /// The paid call that starts a session: see [`Api::paid`].
    pub(in crate::providers) async fn launch<B: Serialize, T: DeserializeOwned>(
        &self,
        path: &[&str],
        body: &B,
        window: SendWindow,
    ) -> Result<T, ProviderError> {
        self.paid(Operation::Launch, path, body, window).await
    }

    /// A paid call: one POST, at most once, not a byte of it once `window` has closed.
    ///
    /// Only 200 and 201 with a body of type `T` are a success. To be judged by [`judge_launch`](super::judge_launch).
    pub(in crate::providers) async fn paid<B: Serialize, T: DeserializeOwned>(
        &self,
        operation: Operation,
        path: &[&str],
        body: &B,
        window: SendWindow,
    ) -> Result<T, ProviderError> {
        let target = Target { path, query: &[] };
        let accepted = [StatusCode::OK, StatusCode::CREATED];
        self.paid_to(operation, (Method::POST, target), body, window, &accepted)
            .await
    }

    /// The same with another method, a query, or other statuses whose answer is a success.
    pub(in crate::providers) async fn paid_to<B: Serialize, T: DeserializeOwned>(
        &self,
        operation: Operation,
        (method, target): (Method, Target<'_>),
        body: &B,
        window: SendWindow,
        accepted: &[StatusCode],
    ) -> Result<T, ProviderError> {
        self.observed(operation, async {
            let bytes = serde_json::to_vec(body).map_err(|_| {
                ProviderError::unsent(ErrorClass::InvalidRequest, "the request cannot be written")
            })?;
            let bytes = Bytes::from(bytes);
            let gate = Gate::new();
            // Also when this future is dropped: hyper's connection task lives on.
            let _shut = ShutOnDrop(gate.clone());
            let request = self
                .write(method, target.path)?
                .query(target.query)
                .header(
                    header::CONTENT_TYPE,
                    HeaderValue::from_static("application/json"),
                )
                .body(reqwest::Body::wrap(GatedBody::new(
                    bytes.clone(),
                    window,
                    gate.clone(),
                )));
            let answer = self.call(operation, request, Some(&gate)).await;
            // A refusal may quote what it refuses.
            let answer = answer.map_err(|error| ProviderError {
                message: without_sent_content(&error.message, &bytes),
                ..error
            })?;
            match answer.status {
                status if accepted.contains(&status) => parse(&answer),
                status => Err(ProviderError::unreadable(
                    Some(status.as_u16()),
                    "the request was answered with a success that no document names",
                )),
            }
        })
        .await
    }

    /// Where the answer redirects to, which is not followed: whoever asked goes there by themselves, without the key.
    pub(in crate::providers) async fn redirect(
        &self,
        operation: Operation,
        path: &[&str],
    ) -> Result<TemporaryUrl, ProviderError> {
        self.observed(operation, async {
            let timeout = self.stack.inner.settings.get_timeout;
            let clients = self.stack.clients();
            let request = self.request(&clients.reads, Method::GET, path, timeout)?;
            let head = self.head(operation, request, None).await?;
            let location = match head.response.status() {
                StatusCode::FOUND | StatusCode::SEE_OTHER | StatusCode::TEMPORARY_REDIRECT => {
                    head.headers.get(header::LOCATION)
                }
                _ => None,
            };
            if let Some(location) = location {
                return self.temporary_url(location.to_str().unwrap_or_default());
            }
            let begun = self.success(head).await?;
            let answer = self.whole(operation, begun).await?;
            Err(ProviderError::unreadable(
                Some(answer.status.as_u16()),
                "the answer is no redirect",
            ))
        })
        .await
    }

    /// A URL from the provider that may be handed to whoever asked for it.
    ///
    /// # Errors
    /// If it is not https (`http` is for development), not one line of ASCII, longer than [`LONGEST_TEMPORARY_URL`], or holds something of the
    /// credential.
    pub(in crate::providers) fn temporary_url(
        &self,
        url: &str,
    ) -> Result<TemporaryUrl, ProviderError> {
        let plain =
            url.len() <= LONGEST_TEMPORARY_URL && url.bytes().all(|byte| byte.is_ascii_graphic());
        let parsed = Url::parse(url).ok().filter(|_| plain);
        let allowed = parsed.is_some_and(|parsed| {
            let scheme = match parsed.scheme() {
                "https" => true,
                "http" => self.stack.inner.settings.allow_http,
                _ => false,
            };
            scheme
                && parsed.host_str().is_some()
                && parsed.username().is_empty()
                && parsed.password().is_none()
        });
        if !allowed || !self.is_clean(url) {
            return Err(ProviderError::unreadable(
                None,
                "the provider names an address that cannot be handed on: it must be one https URL without a user and without the key",
            ));
        }
        Ok(TemporaryUrl::checked(url.to_owned()))
    }

    /// Whether `text` holds nothing of the credential.
    pub(in crate::providers) fn is_clean(&self, text: &str) -> bool {
        self.redactor.redact(text) == text
    }

    /// `text` from the provider as it may be shown: on one line, without credentials, at most 512 characters.
    pub(in crate::providers) fn message(&self, text: &str) -> String {
        self.redactor.message(text)
    }

    /// An agent's closing words from the provider as they may be kept: without credentials, and not much longer than what is stored
    /// of them.
    pub(in crate::providers) fn closing_words(&self, text: &str) -> String {
        // Cutting comes last, or it could leave a part of a key.
        clip(&self.redactor.redact(text), LONGEST_RESULT)
    }

    /// After what silence a stream of events counts as read to its present end.
    pub(in crate::providers) fn stream_quiet(&self) -> Duration {
        self.stack.inner.settings.stream_quiet
    }

    /// Until a stream of events is connected again that was cut for the first time.
    pub(in crate::providers) fn stream_retry(&self) -> Duration {
        self.stack.inner.settings.stream_retry
    }

    /// An entry of a timeline as it may be shown: without credentials, no larger than an event may be.
    pub(in crate::providers) fn shown(&self, entry: Entry) -> Entry {
        let redacted = Entry {
            text: self.redactor.printable(&entry.text),
            payload: self.redactor.value(entry.payload),
            ..entry
        };
        // Cutting comes last, or it could leave a part of a key.
        redacted.bounded()
    }

    fn write(&self, method: Method, path: &[&str]) -> Result<RequestBuilder, ProviderError> {
        let timeout = self.stack.inner.settings.post_timeout;
        self.request(&self.stack.clients().unpooled, method, path, timeout)
    }

    pub(super) fn request(
        &self,
        client: &reqwest::Client,
        method: Method,
        path: &[&str],
        timeout: Duration,
    ) -> Result<RequestBuilder, ProviderError> {
        let mut url = self.endpoint.clone();
        match url.path_segments_mut() {
            Ok(mut segments) => {
                segments.pop_if_empty().extend(path);
            }
            Err(()) => {
                return Err(ProviderError::unsent(
                    ErrorClass::InvalidRequest,
                    "the endpoint cannot have a path",
                ));
            }
        }
        let (name, value) = &self.auth;
        Ok(client
            .request(method, url)
            .timeout(timeout)
            .header(name, value)
            .header(header::ACCEPT, HeaderValue::from_static("application/json")))
    }

    /// Sends `request` once and reads the answer. An error if it is not a 2xx, or larger than such an answer may be.
    async fn call(
        &self,
        operation: Operation,
        request: RequestBuilder,
        gate: Option<&Gate>,
    ) -> Result<Answer, ProviderError> {
        let answer = self.exchange(operation, request, gate).await?;
        if answer.cut {
            return Err(ProviderError::unreadable(
                Some(answer.status.as_u16()),
                format!("the answer is larger than {} bytes", self.cap(operation)),
            ));
        }
        Ok(answer)
    }

    fn cap(&self, operation: Operation) -> usize {
        let most = self.stack.inner.settings.response_cap;
        operation.largest_answer().min(most)
    }

    /// Sends `request` once and reads the answer, as much of it as may be read. An error if it is not a 2xx.
    async fn exchange(
        &self,
        operation: Operation,
        request: RequestBuilder,
        gate: Option<&Gate>,
    ) -> Result<Answer, ProviderError> {
        let begun = self.begin(operation, request, gate).await?;
        self.whole(operation, begun).await
    }

    /// Reads the rest of a success, as much of it as may be read. An error if it is a page for people.
    async fn whole(&self, operation: Operation, begun: Begun) -> Result<Answer, ProviderError> {
        let Begun {
            response,
            headers,
            asked,
            answered,
            deadline,
        } = begun;
        let status = response.status();
        let answer = self.read(response, self.cap(operation), deadline).await?;
        if answer::is_page(&headers, &answer.body) {
            return Err(answer::Stranger::Page.error(status));
        }
        self.note_clock(&headers, asked, answered);
        Ok(answer)
    }

    /// Sends `request` once and reads the head of the answer. An error if it is not a 2xx.
    pub(super) async fn begin(
        &self,
        operation: Operation,
        request: RequestBuilder,
        gate: Option<&Gate>,
    ) -> Result<Begun, ProviderError> {
        let head = self.head(operation, request, gate).await?;
        self.success(head).await
    }

    /// Sends `request` once and reads the head of the answer, whatever it says.
    async fn head(
        &self,
        operation: Operation,
        request: RequestBuilder,
        gate: Option<&Gate>,
    ) -> Result<Begun, ProviderError> {
        self.admit(operation).await?;
        let (client, request) = request.build_split();
        let request = request.map_err(|error| self.transport_error(&error, gate))?;
        let settings = &self.stack.inner.settings;
        let deadline = Instant::now() + request.timeout().copied().unwrap_or(settings.post_timeout);
        let asked = Timestamp::now();
        let response = client
            .execute(request)
            .await
            .map_err(|error| self.transport_error(&error, gate))?;
        let answered = Timestamp::now();
        let (status, headers) = (response.status(), response.headers().clone());
        tracing::debug!(provider = %self.kind, operation = operation.as_str(), status = status.as_u16(), "answered");
        Ok(Begun {
            response,
            headers,
            asked,
            answered,
            deadline,
        })
    }

    /// An answer, unless it is not a 2xx.
    async fn success(&self, begun: Begun) -> Result<Begun, ProviderError> {
        let status = begun.response.status();
        if status.is_success() {
            return Ok(begun);
        }
        let settings = &self.stack.inner.settings;
        let Begun {
            response,
            headers,
            asked,
            answered,
            deadline,
        } = begun;
        // Too long an explanation is none, but the status counts.
        let cap = ERROR_BODY_CAP.min(settings.response_cap);
        let body = self.read(response, cap, deadline).await?.body;
        let error = answer::error_of(
            status,
            &headers,
            &body,
            (&self.redactor, self.error_member.as_deref()),
        );
        if let (ErrorClass::RateLimited, Some(pause)) = (error.class, error.retry_after) {
            self.limiter.silence_for(pause);
        }
        // What lies in between has a clock of its own.
        if error.class != ErrorClass::Intermediary {
            self.note_clock(&headers, asked, answered);
        }
        Err(error)
    }

    /// Takes note of what an answer says of the provider's clock.
    pub(super) fn note_clock(&self, headers: &HeaderMap, asked: Timestamp, answered: Timestamp) {
        let margin = self.stack.inner.settings.clock_margin;
        let Some(measured) = self.clock.note(headers, asked, answered, margin) else {
            return;
        };
        if let Some(observer) = &self.stack.observer {
            observer.clock(self.kind, measured.difference);
        }
        let (host, ahead) = (self.endpoint.host_str(), measured.difference.as_seconds());
        match measured.news {
            Some(true) => tracing::warn!(
                provider = %self.kind,
                host,
                ahead,
                "the provider's clock is further from ours than --clock-margin: correct the clock that is wrong"
            ),
            Some(false) => {
                tracing::info!(provider = %self.kind, host, ahead, "the provider's clock agrees with ours again");
            }
            None => {}
        }
    }

    /// Waits until the rate allows the request.
    async fn admit(&self, operation: Operation) -> Result<(), ProviderError> {
        let admitted = match operation {
            Operation::Launch | Operation::Message => self.limiter.admit_launch().await,
            // Whoever looks on waits for those who work.
            Operation::Timeline | Operation::Artifacts | Operation::Preview => {
                self.limiter.admit(Lane::Sweep).await
            }
            _ => self.limiter.admit(self.stack.lane).await,
        };
        admitted.map_err(|pause| ProviderError {
            retry_after: Some(pause),
            ..ProviderError::unsent(
                ErrorClass::RateLimited,
                format!(
                    "{} wants no requests with this key for {} s",
                    self.kind.display_name(),
                    pause.as_secs() + 1
                ),
            )
        })
    }

    /// Reads a body up to `cap` bytes. A large one waits for its room, until `deadline`.
    pub(super) async fn read(
        &self,
        mut response: Response,
        cap: usize,
        deadline: Instant,
    ) -> Result<Answer, ProviderError> {
        let status = response.status();
        let announced = response.content_length();
        let most = announced
            .and_then(|bytes| usize::try_from(bytes).ok())
            .map_or(cap, |bytes| bytes.min(cap));
        let (mut body, mut room) = (BytesMut::new(), None);
        let mut cut = false;
        loop {
            // Part of the answer is no answer: without the rest not even its status is believed.
            let chunk = response
                .chunk()
                .await
                .map_err(|error| self.transport_error(&error, None))?;
            let Some(chunk) = chunk else { break };
            let left = cap - body.len();
            cut = chunk.len() > left;
            let chunk = chunk.get(..left).unwrap_or(&chunk);
            if room.is_none() && body.len() + chunk.len() > budget::FREE {
                let taken = self.stack.inner.budget.room_for(most, deadline).await;
                room = Some(taken.map_err(|budget::NoRoom| no_room(status))?);
                // Grown step by step, it would take twice as much.
                body.reserve(most.saturating_sub(body.len()));
            }
            body.extend_from_slice(chunk);
            if cut {
                break;
            }
        }
        Ok(Answer {
            status,
            body: body.freeze(),
            cut,
            _room: room,
        })
    }

    /// The host that is asked, for messages.
    pub(super) fn host(&self) -> &str {
        self.endpoint.host_str().unwrap_or_default()
    }

    /// The error that no (whole) answer stands for.
    pub(super) fn transport_error(
        &self,
        error: &reqwest::Error,
        gate: Option<&Gate>,
    ) -> ProviderError {
        let nothing_written = match gate {
            Some(gate) => gate.shut(),
            None => error.is_connect() || error.is_builder(),
        };
        let held_back = causes(error).find(|cause| cause.is::<HeldBack>());
        let class = if error.is_timeout() || held_back.is_some() {
            ErrorClass::Timeout
        } else {
            ErrorClass::Unavailable
        };
        let refused = causes(error).find(|cause| cause.is::<NotPublic>());
        let what = match (held_back.or(refused), error.is_connect(), class) {
            (Some(ours), _, _) => ours.to_string(),
            (None, true, _) => "cannot connect".to_owned(),
            (None, false, ErrorClass::Timeout) => "no answer in time".to_owned(),
            (None, false, _) => "the connection failed".to_owned(),
        };
        // The causes describe a network: they are for whoever runs this, not for everybody who may set an endpoint.
        let causes: Vec<String> = causes(error).map(ToString::to_string).collect();
        let host = self.host();
        tracing::info!(provider = %self.kind, host, cause = self.redactor.message(&causes.join(": ")), "no whole answer");
        ProviderError {
            class,
            subject: None,
            status: None,
            code: None,
            message: self.redactor.message(&format!("{host}: {what}")),
            retry_after: None,
            sent: if nothing_written {
                Sent::Nothing
            } else {
                Sent::Possibly
            },
        }
    }

    /// Tells the observer how `call` ended.
    pub(super) async fn observed<T>(
        &self,
        operation: Operation,
        call: impl Future<Output = Result<T, ProviderError>>,
    ) -> Result<T, ProviderError> {
        let begun = Instant::now();
        let result = call.await;
        let outcome = result.as_ref().map(|_| ()).map_err(|error| error.class);
        if let Err(error) = &result {
            tracing::debug!(provider = %self.kind, operation = operation.as_str(), class = error.class.as_str(), "failed");
        }
        if let Some(observer) = &self.stack.observer {
            observer.answered(self.kind, operation, outcome, begun.elapsed().as_secs_f64());
        }
        result
    }
}

impl fmt::Debug for Api {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Api")
            .field("kind", &self.kind)
            .field("endpoint", &self.endpoint.as_str())
            .finish_non_exhaustive()
    }
}

/// What lies behind an error, outermost first.
fn causes(error: &reqwest::Error) -> impl Iterator<Item = &(dyn std::error::Error + 'static)> {
    std::iter::successors(std::error::Error::source(error), |cause| cause.source())
}

fn parse<T: DeserializeOwned>(answer: &Answer) -> Result<T, ProviderError> {
    serde_json::from_slice(&answer.body).map_err(|error| unreadable(answer, &error))
}

fn unreadable(answer: &Answer, error: &serde_json::Error) -> ProviderError {
    // serde's own text quotes the answer.
    ProviderError::unreadable(
        Some(answer.status.as_u16()),
        format!(
            "the answer cannot be read (line {}, column {})",
            error.line(),
            error.column()
        ),
    )
}

/// Other answers took all the memory that answers may take.
fn no_room(status: StatusCode) -> ProviderError {
    ProviderError {
        class: ErrorClass::Timeout,
        ..ProviderError::unreadable(
            Some(status.as_u16()),
            "the answer was not read in time: too many large answers came at once",
        )
    }
}
