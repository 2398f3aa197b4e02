//! What is done with a delivery: whose it is, whether it is genuine and new, and whom it is told.
//!
//! In this order: the address (404, the same whatever is wrong with it, before a byte of the body is read), the pace (429), the size (413) and
//! the time (408), the signature (401), and whether it has come before.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, Method, StatusCode, header};
use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use sha2::{Digest, Sha256};

use super::pace::Pace;
use super::peers::{Peers, RELAYED};
use crate::controllers::Context;
use crate::controllers::metrics::DeliveryResult;
use crate::domain::provider_webhook::{Called, DeliveryFormat, Proof, ProviderWebhooks};
use crate::providers::registry::Registry;
use crate::runtime::expiring::Expiring;

/// The largest body, in bytes. Cursor's has an agent's facts and its closing words; how long these may be is not documented.
const LARGEST_BODY: usize = 1 << 20;
/// How long a body may take.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);
/// For how long it is remembered that a delivery has come, and how many of them.
const KEEP_DELIVERIES: Duration = Duration::from_secs(24 * 3600);
const MOST_DELIVERIES: usize = 8192;
/// The longest id of a delivery that tells it from others, in bytes.
const LONGEST_ID: usize = 256;

/// Takes deliveries.
pub struct Receiver {
    webhooks: Arc<ProviderWebhooks>,
    peers: Peers,
    context: Context,
    pace: Pace,
    /// Digests of the ids that have come.
    taken: Expiring<[u8; 32], ()>,
}

impl Receiver {
    /// Nothing has come yet.
    pub fn new(webhooks: Arc<ProviderWebhooks>, peers: Peers, context: Context) -> Arc<Self> {
        Arc::new(Self {
            webhooks,
            peers,
            context,
            pace: Pace::new(),
            taken: Expiring::new(MOST_DELIVERIES),
        })
    }

    async fn take(&self, parts: &Parts, body: Body) -> DeliveryResult {
        let path = parts.uri.path();
        let Some((called, format)) = self.called(path) else {
            return DeliveryResult::Unknown;
        };
        if parts.method != Method::POST {
            return DeliveryResult::Unknown;
        }
        if !self.pace.admits() {
            return DeliveryResult::TooMany;
        }
        let body = match read(&parts.headers, body).await {
            Ok(body) => body,
            Err(refused) => return refused,
        };
        let signature = text(&parts.headers, format.signature);
        let proven = match called.proof(format, signature, &body) {
            Proof::Signed => true,
            Proof::AddressAlone => false,
            Proof::None => return DeliveryResult::Forged,
        };
        // Only what is genuine can make another one a repetition.
        if let Some(id) = text(&parts.headers, format.id).filter(|id| id.len() <= LONGEST_ID) {
            let digest = Sha256::new().chain_update(&called.uid).chain_update("\n");
            let digest = digest.chain_update(id).finalize().into();
            if !self.taken.first(digest, (), KEEP_DELIVERIES) {
                return DeliveryResult::Repeated;
            }
        }
        if self.context.may_begin() {
            tracing::debug!(uid = %called.uid, proven, "a provider reports that a session has moved");
            self.context.poller.hint(&called.uid, proven);
            return DeliveryResult::Hinted;
        }
        let relayed = parts.headers.contains_key(RELAYED);
        if !relayed
            && self
                .peers
                .pass_on(path, passed_on(&parts.headers, format), body)
        {
            return DeliveryResult::PassedOn;
        }
        DeliveryResult::Dropped
    }

    /// Whose address this is, where there is such a session's provider.
    fn called(&self, path: &str) -> Option<(Called, DeliveryFormat)> {
        let called = self.webhooks.recognise(path)?;
        let provider = Registry::get(called.kind)?;
        Some((called, provider.deliveries()?))
    }
}

/// All that is served.
pub fn router(receiver: Arc<Receiver>) -> Router {
    Router::new().fallback(deliver).with_state(receiver)
}

async fn deliver(State(receiver): State<Arc<Receiver>>, request: Request) -> StatusCode {
    let (parts, body) = request.into_parts();
    let result = receiver.take(&parts, body).await;
    receiver.context.metrics.delivery(result);
    match result {
        // Whoever delivers has done all that there is to do, also where nobody leads: the session is polled.
        DeliveryResult::Hinted
        | DeliveryResult::PassedOn
        | DeliveryResult::Repeated
        | DeliveryResult::Dropped => StatusCode::NO_CONTENT,
        DeliveryResult::Unknown => StatusCode::NOT_FOUND,
        DeliveryResult::Forged => StatusCode::UNAUTHORIZED,
        DeliveryResult::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        DeliveryResult::TooSlow => StatusCode::REQUEST_TIMEOUT,
        DeliveryResult::TooMany => StatusCode::TOO_MANY_REQUESTS,
    }
}

/// The body as it came, or why it is not read to its end.
async fn read(headers: &HeaderMap, body: Body) -> Result<Bytes, DeliveryResult> {
    let announced = headers
        .get(header::CONTENT_LENGTH)
        .and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
    if announced.is_some_and(|length| length > LARGEST_BODY) {
        return Err(DeliveryResult::TooLarge);
    }
    let read = Limited::new(body, LARGEST_BODY).collect();
    match tokio::time::timeout(BODY_TIMEOUT, read).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(DeliveryResult::TooLarge),
        // It was cut off: nobody waits for an answer.
        Ok(Err(_)) | Err(_) => Err(DeliveryResult::TooSlow),
    }
}

fn text<'a>(headers: &'a HeaderMap, name: Option<&'static str>) -> Option<&'a str> {
    // Two of them are none: which one is meant?
    let mut values = headers.get_all(name?).iter();
    let value = values.next()?;
    match values.next() {
        // What cannot be a signature is a wrong one, and not the lack of one.
        Some(_) => Some(""),
        None => Some(value.to_str().unwrap_or_default()),
    }
}

/// The headers that a delivery proves something with.
fn passed_on(headers: &HeaderMap, format: DeliveryFormat) -> HeaderMap {
    let names = [format.signature, format.id].into_iter().flatten();
    let kept = names.filter_map(|name| {
        let value = headers.get(name)?.clone();
        Some((HeaderName::from_static(name), value))
    });
    kept.collect()
}
