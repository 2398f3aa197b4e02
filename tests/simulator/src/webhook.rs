//! Webhooks that a session's provider calls when the session's state changes.
//!
//! Documented by Cursor (API v0): `statusChange` for `FINISHED` and `ERROR`, with the signature `sha256=` and the HMAC-SHA256 of the raw body in
//! lower-case hex, and an id of each delivery. Firebender documents the request alone; its deliveries are assumed to be like Cursor's. What
//! Flapjack sends is documented nowhere, and it calls public addresses only: nothing is sent. Not documented and decided here: no delivery
//! after a stop; one try each.

use std::time::Duration;

use hmac::{Hmac, Mac};
use serde::Serialize;
use serde_json::{Value, json};
use sha2::Sha256;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use url::{Host, Url};

use crate::clock::{Clock, Moment};
use crate::conversation::Conversation;
use crate::timeline::Ending;

/// How long a receiver may take.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Where a session reports.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Webhook {
    pub url: String,
    pub secret: Option<String>,
}

/// How deliveries are made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WebhookMode {
    /// Each once.
    #[default]
    Once,
    /// Each twice, with the same id.
    Twice,
    /// None is.
    Never,
}

/// One delivery, as it is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// The session that it is about.
    pub session: String,
    pub url: String,
    /// Unique, and the same whenever it is sent.
    pub id: String,
    /// Header lines beside those of the connection.
    pub headers: Vec<(String, String)>,
    pub body: String,
}

impl Delivery {
    /// Sends it; the status of the answer, if there is one. Only with plain http and to this machine: nothing that is simulated leaves it.
    pub async fn send(&self) -> Option<u16> {
        tokio::time::timeout(TIMEOUT, self.exchange()).await.ok()?
    }

    async fn exchange(&self) -> Option<u16> {
        let url = Url::parse(&self.url).ok().filter(is_local)?;
        let authority = format!("{}:{}", url.host_str()?, url.port_or_known_default()?);
        let mut stream = TcpStream::connect(&authority).await.ok()?;
        let mut head = format!("POST {} HTTP/1.1\r\nhost: {authority}\r\n", url.path());
        for (name, value) in &self.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        let length = self.body.len();
        head.push_str(&format!(
            "content-type: application/json\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n"
        ));
        let request = format!("{head}{}", self.body);
        // A receiver may refuse before it has read all of it.
        let _ = stream.write_all(request.as_bytes()).await;
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        let line = answer.split(|byte| *byte == b'\r').next()?;
        let line = std::str::from_utf8(line).ok()?;
        line.split(' ').nth(1)?.parse().ok()
    }
}

fn is_local(url: &Url) -> bool {
    let loopback = match url.host() {
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        Some(Host::Domain(_)) | None => false,
    };
    url.scheme() == "http" && loopback
}

/// `sha256=` and the HMAC-SHA256 of a body.
pub fn signature(secret: &str, body: &[u8]) -> Option<String> {
    let mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).ok()?;
    let bytes = mac.chain_update(body).finalize().into_bytes();
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    Some(format!("sha256={hex}"))
}

/// What has been due until now for an agent that reports to `webhook`; `object` is what the API tells of it.
pub(crate) fn status_changes(
    webhook: &Webhook,
    session: &str,
    conversation: &Conversation,
    object: &Value,
    (now, clock): (Moment, &Clock),
) -> Vec<Delivery> {
    let due = conversation.iter().filter_map(|turn| {
        let (at, ending) = turn.timeline.ended(now)?;
        let status = match ending {
            Ending::Finished => "FINISHED",
            Ending::Error => "ERROR",
            Ending::Cancelled | Ending::Expired => return None,
        };
        let body = json!({
            "event": "statusChange",
            "timestamp": clock.iso(at),
            "id": session,
            "status": status,
            "source": object.get("source"),
            "target": object.get("target"),
            "summary": object.get("summary"),
        })
        .to_string();
        let id = format!("{session}-{}", turn.id);
        let mut headers = vec![
            (
                "User-Agent".to_owned(),
                "Cursor-Agent-Webhook/1.0".to_owned(),
            ),
            ("X-Webhook-Event".to_owned(), "statusChange".to_owned()),
            ("X-Webhook-ID".to_owned(), id.clone()),
        ];
        let signed = webhook.secret.as_ref();
        if let Some(signature) = signed.and_then(|secret| signature(secret, body.as_bytes())) {
            headers.push(("X-Webhook-Signature".to_owned(), signature));
        }
        Some(Delivery {
            session: session.to_owned(),
            url: webhook.url.clone(),
            id,
            headers,
            body,
        })
    });
    due.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of many libraries.
    #[test]
    fn a_known_signature_is_the_same() {
        let body = b"The quick brown fox jumps over the lazy dog";
        let known = "sha256=f7bc83f430538424b13298e6aa6fb143ef4d59a14946175997479dbc2d1a3cd8";
        assert_eq!(signature("key", body).as_deref(), Some(known));
    }
}
