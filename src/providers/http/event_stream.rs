//! One connection on which a provider tells events as they happen.

use std::time::Duration;

use http::{HeaderMap, HeaderValue, header};
use reqwest::{Method, Response};
use tokio::time::{Instant, timeout, timeout_at};

use super::answer::{Stranger, is_page};
use super::api::{Api, Begun, ERROR_BODY_CAP};
use super::operation::Operation;
use super::sse::{Parser, ServerEvent};
use crate::providers::error::{ErrorClass, ProviderError};

/// How long one connection may stand. What comes later is told on the next.
const LONGEST: Duration = Duration::from_secs(6 * 3600);
/// How much may come on one connection, in bytes; a run of seven hours is told with less than one megabyte.
const MOST: usize = 64 << 20;
/// How much may come before an event is complete, in bytes: endless comments, or a line without end.
const MOST_WITHOUT_EVENT: usize = 16 << 20;
const EVENT_STREAM: HeaderValue = HeaderValue::from_static("text/event-stream");

/// Server-sent events on one connection. Dropping it closes the connection; nothing is read ahead of [`EventStream::next`] but what
/// the socket holds.
pub(in crate::providers) struct EventStream<'a> {
    api: &'a Api,
    response: Response,
    parser: Parser,
    /// How much has come.
    total: usize,
    /// How much has come since the last event.
    without_event: usize,
}

impl Api {
    /// Asks for server-sent events, those after `last_event_id` if there is one. The connection is its own: one whose events nobody
    /// takes must not hold up the answers of others.
    pub(in crate::providers) async fn event_stream(
        &self,
        path: &[&str],
        last_event_id: Option<&str>,
    ) -> Result<EventStream<'_>, ProviderError> {
        let operation = Operation::Timeline;
        self.observed(operation, async {
            let mut own = HeaderMap::new();
            own.insert(header::ACCEPT, EVENT_STREAM);
            if let Some(id) = last_event_id {
                let id = HeaderValue::from_str(id).map_err(|_| {
                    ProviderError::unsent(ErrorClass::InvalidRequest, "no event has this id")
                })?;
                own.insert("last-event-id", id);
            }
            let request = self
                .request(&self.stack.clients().unpooled, Method::GET, path, LONGEST)?
                .headers(own);
            let patience = self.stack.inner.settings.get_timeout;
            let begun = timeout(patience, self.begin(operation, request, None));
            let begun = begun.await.map_err(|_| self.silent(patience))??;
            if !is_event_stream(&begun.headers) {
                let error = timeout(patience, self.no_stream(begun)).await;
                return Err(error.unwrap_or_else(|_| self.silent(patience)));
            }
            self.note_clock(&begun.headers, begun.asked, begun.answered);
            Ok(EventStream {
                api: self,
                response: begun.response,
                parser: Parser::default(),
                total: 0,
                without_event: 0,
            })
        })
        .await
    }

    /// What it means that a success is no stream of events.
    async fn no_stream(&self, begun: Begun) -> ProviderError {
        let (status, headers) = (begun.response.status(), begun.headers);
        let body = self.read(begun.response, ERROR_BODY_CAP, begun.deadline);
        match body.await {
            Err(error) => error,
            Ok(answer) if is_page(&headers, &answer.body) => Stranger::Page.error(status),
            Ok(_) => ProviderError::unreadable(
                Some(status.as_u16()),
                "the answer is no stream of events",
            ),
        }
    }

    fn silent(&self, patience: Duration) -> ProviderError {
        ProviderError {
            class: ErrorClass::Timeout,
            ..ProviderError::unreadable(
                None,
                format!(
                    "{}: nothing was told for {} s",
                    self.host(),
                    patience.as_secs()
                ),
            )
        }
    }
}

impl EventStream<'_> {
    /// The next event; `None` at the end of the stream. Dropping the future loses nothing.
    ///
    /// # Errors
    /// If the connection fails, tells no event for too long, or tells too much.
    pub(in crate::providers) async fn next(
        &mut self,
    ) -> Result<Option<ServerEvent>, ProviderError> {
        let patience = self.api.stack.inner.settings.stream_idle_timeout;
        let deadline = Instant::now() + patience;
        loop {
            if let Some(event) = self.parser.pop() {
                self.without_event = 0;
                return Ok(Some(event));
            }
            let chunk = timeout_at(deadline, self.response.chunk()).await;
            let chunk = chunk
                .map_err(|_| self.api.silent(patience))?
                .map_err(|error| self.api.transport_error(&error, None))?;
            let Some(chunk) = chunk else { return Ok(None) };
            self.total += chunk.len();
            self.without_event += chunk.len();
            self.parser.push(&chunk);
            if self.total > MOST || self.without_event > MOST_WITHOUT_EVENT {
                return Err(ProviderError::unreadable(
                    None,
                    "the stream of events tells too much at once",
                ));
            }
        }
    }
}

fn is_event_stream(headers: &HeaderMap) -> bool {
    let media_type = headers.get(header::CONTENT_TYPE);
    let media_type = media_type.and_then(|value| value.to_str().ok());
    media_type.is_some_and(|value| {
        let name = value.split(';').next().unwrap_or_default().trim();
        name.eq_ignore_ascii_case("text/event-stream")
    })
}
