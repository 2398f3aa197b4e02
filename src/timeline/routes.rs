//! What can be asked, by whom, and how it is answered.
//!
//! In this order: who asks (401), whether the question can be meant (400, 404, 405), whether they may (403), and only then whether there is
//! such a session (404).

use std::convert::Infallible;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{Extension, Path, RawQuery, Request, State};
use axum::http::{HeaderMap, HeaderValue, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use bytes::Bytes;
use futures::StreamExt;
use kube::ResourceExt;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use zeroize::Zeroizing;

use super::access::{Access, Subresource, Target, User};
use super::answer::{Refusal, RefusalReason};
use super::artifacts;
use super::follow::{Follower, Hub};
use super::request::{ArtifactsQuery, EventsQuery, is_namespace_name, is_object_name, no_query};
use super::ring::Line;
use super::source::{Source, Sources};
use crate::api::CodeSession;
use crate::controllers::metrics::Metrics;
use crate::domain::status::FIRST_MESSAGE;
use crate::providers::contract::{NextPage, TimelinePage};

/// How large the events of one page may be together, in bytes, but for the first.
const LARGEST_PAGE: usize = 512 << 10;
/// Pages that are in memory at once because their readers have not taken them yet.
pub const MOST_PAGES: usize = 32;

/// What the handlers share.
pub struct Handlers {
    /// Who asks, and whether they may.
    pub access: Arc<Access>,
    /// The timelines.
    pub sources: Arc<Sources>,
    /// Those that are followed.
    pub hub: Arc<Hub>,
    /// Pages that may be in memory.
    pub pages: Arc<Semaphore>,
    /// Counts.
    pub metrics: Metrics,
}

/// Somebody whom the cluster knows, with the token that they came with.
#[derive(Clone)]
struct Known {
    user: Arc<User>,
    token: Arc<Zeroizing<String>>,
}

/// Everything that is served.
pub fn router(handlers: Arc<Handlers>) -> Router {
    let of = |subresource: Subresource| {
        let subresource = subresource.as_str();
        format!("/v1alpha1/namespaces/{{namespace}}/codesessions/{{name}}/{subresource}")
    };
    Router::new()
        .route(&of(Subresource::Events), get(events_of))
        .route(&of(Subresource::Artifacts), get(artifacts_of))
        .route(&of(Subresource::Preview), get(preview_of))
        .fallback(not_found)
        .method_not_allowed_fallback(method_not_allowed)
        .layer(middleware::from_fn_with_state(
            Arc::clone(&handlers),
            authenticated,
        ))
        .with_state(handlers)
}

/// Lets through who has a token that the cluster knows.
async fn authenticated(
    State(handlers): State<Arc<Handlers>>,
    mut request: Request,
    next: Next,
) -> Response {
    let path = request.uri().path().to_owned();
    let known = match bearer_token(request.headers()) {
        Ok(token) => match handlers.access.authenticate(&token).await {
            Ok(user) => Ok(Known {
                user,
                token: Arc::new(token),
            }),
            Err(refusal) => Err(refusal),
        },
        Err(refusal) => Err(refusal),
    };
    let mut response = match known {
        Ok(known) => {
            request.extensions_mut().insert(known);
            next.run(request).await
        }
        Err(refusal) => {
            // Anybody on the network can cause it: it is counted, and shown only to who looks for it.
            tracing::debug!(%path, outcome = refusal.reason.as_str(), "a reader was not let in");
            refusal.into_response()
        }
    };
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    handlers
        .metrics
        .timeline_request(response.status().as_u16());
    response
}

fn bearer_token(headers: &HeaderMap) -> Result<Zeroizing<String>, Refusal> {
    let value = headers
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok());
    let token = value
        .and_then(|value| value.split_once(' '))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
        .map(|(_, token)| token.trim())
        .filter(|token| !token.is_empty());
    match token {
        Some(token) => Ok(Zeroizing::new(token.to_owned())),
        None => Err(Refusal::new(
            RefusalReason::Unauthorized,
            "there is no token: send it as \"Authorization: Bearer TOKEN\", for example one of: kubectl create token NAME",
        )),
    }
}

async fn not_found() -> Refusal {
    Refusal::new(
        RefusalReason::NotFound,
        "nothing is served here; timelines are at /v1alpha1/namespaces/NAMESPACE/codesessions/NAME/events, and beside it are artifacts and preview",
    )
}

async fn method_not_allowed() -> Refusal {
    Refusal::new(
        RefusalReason::MethodNotAllowed,
        "this can only be read: use GET",
    )
}

type Names = Result<Path<(String, String)>, PathRejection>;

async fn events_of(
    State(handlers): State<Arc<Handlers>>,
    Extension(known): Extension<Known>,
    names: Names,
    RawQuery(query): RawQuery,
) -> Response {
    let target = match target(names, Subresource::Events) {
        Ok(target) => target,
        Err(refusal) => return refusal.into_response(),
    };
    let user = Arc::clone(&known.user);
    let query = query.unwrap_or_default();
    let answer = answer_events(&handlers, known, &target, &query).await;
    audited(&user, &target, None, answer)
}

async fn artifacts_of(
    State(handlers): State<Arc<Handlers>>,
    Extension(known): Extension<Known>,
    names: Names,
    RawQuery(query): RawQuery,
) -> Response {
    let target = match target(names, Subresource::Artifacts) {
        Ok(target) => target,
        Err(refusal) => return refusal.into_response(),
    };
    let query = match ArtifactsQuery::parse(&query.unwrap_or_default()) {
        Ok(query) => query,
        Err(refusal) => return audited(&known.user, &target, None, Err(refusal)),
    };
    let path = query.path.as_deref();
    let answer = async {
        let (source, _room) = permitted(&handlers, &known.user, &target).await?;
        match path {
            Some(path) => artifacts::locate(&handlers.sources, &source, path).await,
            None => artifacts::list(&handlers.sources, &source).await,
        }
    };
    audited(&known.user, &target, path, answer.await)
}

async fn preview_of(
    State(handlers): State<Arc<Handlers>>,
    Extension(known): Extension<Known>,
    names: Names,
    RawQuery(query): RawQuery,
) -> Response {
    let target = match target(names, Subresource::Preview) {
        Ok(target) => target,
        Err(refusal) => return refusal.into_response(),
    };
    let answer = async {
        no_query(&query.unwrap_or_default())?;
        let (source, _room) = permitted(&handlers, &known.user, &target).await?;
        artifacts::preview(&handlers.sources, &source).await
    };
    audited(&known.user, &target, None, answer.await)
}

/// What is asked for, if it can be there.
fn target(names: Names, subresource: Subresource) -> Result<Target, Refusal> {
    let names = names.ok().map(|Path(names)| names);
    let valid =
        names.filter(|(namespace, name)| is_namespace_name(namespace) && is_object_name(name));
    match valid {
        Some((namespace, name)) => Ok(Target {
            namespace,
            name,
            subresource,
        }),
        None => Err(Refusal::new(
            RefusalReason::BadRequest,
            "no namespace and no CodeSession can have these names",
        )),
    }
}

/// The way to what a user asks for, and the room to read it, if they may.
async fn permitted(
    handlers: &Handlers,
    user: &User,
    target: &Target,
) -> Result<(Source, OwnedSemaphorePermit), Refusal> {
    handlers.access.authorize(user, target).await?;
    let sources = &handlers.sources;
    let session = sources.session(&target.namespace, &target.name).await?;
    let source = sources.open(session, target.subresource).await?;
    Ok((source, handlers.room()?))
}

/// The audit line: who asked for what, and with which outcome.
fn audited(
    user: &User,
    target: &Target,
    path: Option<&str>,
    answer: Result<Response, Refusal>,
) -> Response {
    let outcome = match &answer {
        Ok(answer) => answer.status(),
        Err(refusal) => refusal.reason.code(),
    };
    let what = match target.subresource {
        Subresource::Events => "a timeline was asked for",
        Subresource::Artifacts => "artifacts were asked for",
        Subresource::Preview => "a live view was asked for",
    };
    tracing::info!(
        user = ?user.name(), namespace = %target.namespace, name = %target.name,
        subresource = target.subresource.as_str(), path, outcome = outcome.as_u16(), "{what}"
    );
    answer.unwrap_or_else(IntoResponse::into_response)
}

impl Handlers {
    /// Room for one more answer that is read at a provider.
    fn room(&self) -> Result<OwnedSemaphorePermit, Refusal> {
        let room = Arc::clone(&self.pages).try_acquire_owned();
        room.map_err(|_| {
            Refusal::new(
                RefusalReason::TooManyRequests,
                format!(
                    "{MOST_PAGES} pages are being read by others, and there may be no more at once"
                ),
            )
            .retry_after(std::time::Duration::from_secs(1))
        })
    }
}

async fn answer_events(
    handlers: &Arc<Handlers>,
    known: Known,
    target: &Target,
    query: &str,
) -> Result<Response, Refusal> {
    let query = EventsQuery::parse(query)?;
    handlers.access.authorize(&known.user, target).await?;
    let session = handlers
        .sources
        .session(&target.namespace, &target.name)
        .await?;
    if let Some(message) = &query.message {
        has_message(&session, message)?;
    }
    let uid = session.uid().unwrap_or_default();
    let source = handlers.sources.open(session, target.subresource).await?;
    if query.follow {
        // Before anything is read for it.
        let place = handlers.hub.enter(&uid)?;
        let first = match source.provider().timeline_stream() {
            Some(_) => None,
            None => Some(handlers.sources.page(&source, query.since).await?),
        };
        let follower = Follower {
            user: known.user,
            token: Zeroizing::new(known.token.to_string()),
            target: target.clone(),
            message: query.message,
            source,
            first,
            since: query.since,
        };
        return Ok(lines(handlers.hub.follow(follower, place)));
    }
    let room = handlers.room()?;
    let page = handlers.sources.page(&source, query.since).await?;
    Ok(json_page(&page, &query, room))
}

fn has_message(session: &CodeSession, message: &str) -> Result<(), Refusal> {
    let further = session.spec.messages.iter().flatten();
    let names: Vec<&str> = std::iter::once(FIRST_MESSAGE)
        .chain(further.map(|message| message.name.as_str()))
        .collect();
    if names.contains(&message) {
        return Ok(());
    }
    Err(Refusal::new(
        RefusalReason::BadRequest,
        format!(
            "the CodeSession {} has no message {message:?}; it has: {}",
            session.name_any(),
            names.join(", ")
        ),
    ))
}

/// Of a page what was asked for, as JSON: `{"events": […], "lastSeq": …, "next": "Now" | "Later" | "Never"}`.
fn json_page(page: &TimelinePage, query: &EventsQuery, room: OwnedSemaphorePermit) -> Response {
    let mut parts = vec![Bytes::from_static(b"{\"events\":[")];
    let (mut size, mut count, mut last) = (0, 0, query.since);
    let mut next = page.next;
    for event in &page.events {
        let line = Line::of(event);
        if line.is_of(query.message.as_deref()) {
            size += line.bytes.len();
            if count == query.limit || (count > 0 && size > LARGEST_PAGE) {
                next = NextPage::Now;
                break;
            }
            if count > 0 {
                parts.push(Bytes::from_static(b","));
            }
            parts.push(line.bytes);
            count += 1;
        }
        last = last.max(line.seq);
    }
    let next = match next {
        NextPage::Now => "Now",
        NextPage::Later => "Later",
        NextPage::Never => "Never",
    };
    parts.push(format!("],\"lastSeq\":{last},\"next\":\"{next}\"}}\n").into());
    // Its room is taken until the reader has it.
    let body = futures::stream::iter(parts).map(move |part| {
        let _room = &room;
        Ok::<_, Infallible>(part)
    });
    answered("application/json", Body::from_stream(body))
}

/// Lines as they come.
fn lines(lines: mpsc::Receiver<Bytes>) -> Response {
    let body = futures::stream::unfold(lines, |mut lines| async move {
        let line = lines.recv().await?;
        Some((Ok::<_, Infallible>(line), lines))
    });
    answered("application/x-ndjson", Body::from_stream(body))
}

fn answered(content_type: &'static str, body: Body) -> Response {
    let content_type = HeaderValue::from_static(content_type);
    ([(header::CONTENT_TYPE, content_type)], body).into_response()
}
