//! What goes over the wire with Firetiger's coding agents service (its documentation of October 2026).
//!
//! The documentation names the fields of requests but shows no answer. Answers are read in both spellings that such a
//! service may use (`sessionUrl`, `session_url`), with the id in any of the places where it may stand.

use jiff::Timestamp;
use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize};
use url::Url;

use crate::providers::wire::{Items, WireId, bounded, lenient};

/// What the values of an enumeration begin with where they are written in full.
const STATUS_PREFIX: &str = "CODING_AGENT_SESSION_STATUS_";

/// `POST /v1/coding-agents/{id}/sessions:launch`.
#[derive(Debug, Serialize)]
pub(super) struct LaunchSession<'a> {
    pub(super) issue: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) actor_email: Option<&'a str>,
}

/// A session, alone or as a member of the answer.
#[derive(Debug)]
pub(super) struct Answer(Session);

impl Answer {
    pub(super) fn into_session(self) -> Session {
        self.0
    }
}

impl<'de> Deserialize<'de> for Answer {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Wrapped {
            session: Session,
        }

        // Not as an untagged enumeration, which would keep all of the answer, whatever it is.
        let value = bounded(deserializer)?.ok_or_else(|| D::Error::custom("not a session"))?;
        serde_json::from_value(value.clone())
            .map(|Wrapped { session }| session)
            .or_else(|_| serde_json::from_value(value))
            .map(Self)
            .map_err(D::Error::custom)
    }
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Session {
    /// `coding-agents/{coding_agent_id}/sessions/{session_id}`.
    #[serde(default, deserialize_with = "lenient")]
    name: Option<String>,
    #[serde(default, alias = "external_id", deserialize_with = "lenient")]
    external_id: Option<WireId>,
    #[serde(default, deserialize_with = "lenient")]
    id: Option<WireId>,
    #[serde(default, alias = "session_url", deserialize_with = "lenient")]
    pub(super) session_url: Option<String>,
    #[serde(default, deserialize_with = "lenient")]
    status: Option<String>,
    #[serde(default, alias = "create_time", deserialize_with = "lenient")]
    pub(super) create_time: Option<Timestamp>,
}

impl Session {
    /// The id by which the session is asked for: that of its resource name, or the external provider's.
    pub(super) fn id(&self) -> Option<WireId> {
        let named = self
            .name
            .as_deref()
            .and_then(|name| name.rsplit_once("/sessions/"))
            .and_then(|(_, id)| WireId::within(id));
        named
            .or_else(|| self.external_id.clone())
            .or_else(|| self.id.clone())
    }

    /// The status in its short form.
    pub(super) fn status(&self) -> &str {
        let status = self.status.as_deref().unwrap_or_default();
        status.strip_prefix(STATUS_PREFIX).unwrap_or(status)
    }
}

/// `GET /v1/coding-agents/{id}`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct CodingAgent {
    #[serde(default, alias = "display_name", deserialize_with = "lenient")]
    pub(super) display_name: Option<String>,
}

/// `GET /v1/issues/{id}`: an assumption, as is the name of its field. An empty list may be left out.
#[derive(Debug, Deserialize)]
pub(super) struct Issue {
    #[serde(default)]
    pub(super) links: Option<Items<Link>>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(super) enum Link {
    Text(String),
    Object { url: String },
}

/// The id of the session behind a page's address: `…/agents?id=ID` or `…/sessions/ID`.
pub(super) fn id_of_page(url: &str) -> Option<WireId> {
    let url = Url::parse(url).ok()?;
    let asked = url.query_pairs().find(|(name, _)| name == "id");
    match asked {
        Some((_, id)) => WireId::within(&id),
        None => WireId::within(url.path_segments()?.rfind(|part| !part.is_empty())?),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;

    #[test]
    fn a_session_is_read_in_every_spelling() {
        for answer in [
            json!({"name": "coding-agents/cursor-prod/sessions/bc-1", "id": "x", "sessionUrl": "https://c.io/1", "status": "RUNNING"}),
            json!({"externalId": "bc-1", "id": "x", "sessionUrl": "https://c.io/1", "status": "RUNNING"}),
            json!({"external_id": "bc-1", "session_url": "https://c.io/1", "status": "CODING_AGENT_SESSION_STATUS_RUNNING"}),
            json!({"id": "bc-1", "name": "Fix FT-42", "session_url": "https://c.io/1", "status": "RUNNING"}),
            json!({"session": {"id": "bc-1", "sessionUrl": "https://c.io/1", "status": "RUNNING"}}),
        ] {
            let session = serde_json::from_value::<Answer>(answer)
                .unwrap()
                .into_session();
            assert_eq!(session.id().unwrap().0, "bc-1");
            assert_eq!(session.status(), "RUNNING");
            assert_eq!(session.session_url.as_deref(), Some("https://c.io/1"));
        }
    }

    #[test]
    fn the_page_of_a_session_tells_its_id() {
        for (url, id) in [
            ("https://cursor.com/agents?id=bc-1", Some("bc-1")),
            ("https://cursor.com/agents/bc-1", Some("bc-1")),
            ("https://inspect.example.com/sessions/s_1/", Some("s_1")),
            ("https://example.com/", None),
            ("https://example.com/a%20b", None),
            ("no link", None),
        ] {
            assert_eq!(id_of_page(url).map(|id| id.0).as_deref(), id, "{url}");
        }
    }
}
