//! The listeners: from sockets to [`World`] and back.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{ConnectInfo, Request, State};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures::stream;
use http::header::{CONTENT_TYPE, DATE, HeaderName, HeaderValue};
use http::{HeaderMap, StatusCode};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::connection::{Connection, ConnectionObserver, ObservedListener};
use super::http::{Answer, AnswerBody, Call, Reason, Refusal, StreamPosition, StreamStep};
use super::operation::Provider;
use super::world::{Delivery, World};

/// Five images of 15 MB in base64, and room for the rest.
const MAX_REQUEST_BYTES: usize = 112 * 1024 * 1024;

/// How often an open stream looks for something new. Its events are known in advance, but a cancel or a moved clock changes them.
const STREAM_POLL: Duration = Duration::from_millis(20);

/// One provider's listener.
pub(crate) struct ProviderServer {
    pub(crate) world: Arc<World>,
    pub(crate) provider: Provider,
}

impl ConnectionObserver for ProviderServer {
    fn opened(&self) -> u64 {
        self.world.state().connection_number(self.provider)
    }

    fn opened_as(&self, connection: Connection) {
        self.world.state().connection_opened(connection);
    }

    fn closed(&self, number: u64) {
        self.world.state().connection_closed(number);
    }
}

/// Serves one provider until `stop`.
pub(crate) async fn serve_provider(
    listener: TcpListener,
    server: ProviderServer,
    stop: CancellationToken,
) -> io::Result<()> {
    let server = Arc::new(server);
    let router = Router::new()
        .fallback(handle)
        .with_state(server.clone())
        .into_make_service_with_connect_info::<Connection>();
    axum::serve(ObservedListener::new(listener, server), router)
        .with_graceful_shutdown(stop.cancelled_owned())
        .await
}

async fn handle(
    State(server): State<Arc<ProviderServer>>,
    ConnectInfo(connection): ConnectInfo<Connection>,
    request: Request,
) -> Response {
    let (parts, body) = request.into_parts();
    let Ok(body) = axum::body::to_bytes(body, MAX_REQUEST_BYTES).await else {
        // Broken off, or larger than any documented request.
        let refusal = Refusal::common(Reason::TooLarge, "Request body is too large");
        let answer = server.world.refuse(server.provider, refusal);
        return respond(answer, &server, None);
    };
    let call = Call {
        method: parts.method,
        path: parts.uri.path().to_owned(),
        query: parts.uri.query().map(str::to_owned),
        headers: parts.headers,
        body,
        tampering: super::http::Tampering::default(),
    };
    match server
        .world
        .process(server.provider, call, connection.number)
    {
        Delivery::Close { after } => {
            tokio::time::sleep(after).await;
            connection.cut();
            // Never written: the connection is cut.
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
        // Ends when the connection does.
        Delivery::Silence => std::future::pending().await,
        Delivery::Answer {
            answer,
            after,
            cut_after_bytes,
        } => {
            tokio::time::sleep(after).await;
            let cut = cut_after_bytes.map(|bytes| (bytes, connection));
            respond(*answer, &server, cut)
        }
    }
}

fn respond(
    answer: Answer,
    server: &Arc<ProviderServer>,
    cut: Option<(usize, Connection)>,
) -> Response {
    let mut headers = HeaderMap::new();
    let named = answer
        .headers
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value));
    for (name, value) in named.chain(answer.extra_headers) {
        // A fault may ask for a header that HTTP does not allow; it is left out.
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
            headers.append(name, value);
        }
    }
    // What the provider's clock says, which tests move; a fault's own header wins.
    if !headers.contains_key(DATE)
        && let Ok(date) = HeaderValue::try_from(server.world.clock.http_date())
    {
        headers.insert(DATE, date);
    }
    if let Ok(id) = HeaderValue::try_from(uuid::Uuid::new_v4().to_string()) {
        headers.insert(HeaderName::from_static("x-request-id"), id);
    }
    let (media_type, body) = match answer.body {
        AnswerBody::Empty => (None, Body::empty()),
        AnswerBody::Json(value) => (
            Some("application/json".to_owned()),
            Body::from(value.to_string()),
        ),
        AnswerBody::File {
            media_type,
            content,
        } => (Some(media_type), Body::from(content)),
        AnswerBody::Stream(position) => {
            let body = stream_body(server.clone(), position, cut);
            (Some("text/event-stream".to_owned()), body)
        }
    };
    if let Some(media_type) = media_type.and_then(|text| HeaderValue::try_from(text).ok()) {
        headers.insert(CONTENT_TYPE, media_type);
    }
    (answer.status, headers, body).into_response()
}

fn stream_body(
    server: Arc<ProviderServer>,
    position: StreamPosition,
    cut: Option<(usize, Connection)>,
) -> Body {
    let reader = EventReader {
        server,
        position,
        cut,
    };
    Body::from_stream(stream::unfold(reader, EventReader::next))
}

struct EventReader {
    server: Arc<ProviderServer>,
    position: StreamPosition,
    /// Bytes that may still be sent before the connection is cut.
    cut: Option<(usize, Connection)>,
}

impl EventReader {
    async fn next(mut self) -> Option<(io::Result<Bytes>, Self)> {
        loop {
            match self
                .server
                .world
                .stream(self.server.provider, &mut self.position)
            {
                StreamStep::Wait => tokio::time::sleep(STREAM_POLL).await,
                StreamStep::End => return None,
                StreamStep::Send(text) => {
                    let mut bytes = Bytes::from(text);
                    if let Some((left, connection)) = &mut self.cut {
                        if *left == 0 {
                            // A body that is not ready is what makes the server flush what it holds.
                            tokio::time::sleep(STREAM_POLL).await;
                            connection.cut();
                            return Some((Err(io::ErrorKind::ConnectionAborted.into()), self));
                        }
                        bytes.truncate(*left);
                        *left -= bytes.len();
                    }
                    return Some((Ok(bytes), self));
                }
            }
        }
    }
}
