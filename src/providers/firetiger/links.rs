//! The links of an issue, by which a lost launch may be found again: Firetiger adds a session's page to them, if it can.
//!
//! That an issue can be read at `GET /v1/issues/{id}` and has a field `links` is an assumption: the documentation mentions
//! `issue.links` but not how to read them. Where it does not hold there is no baseline, and a lost launch stays unknown.

use std::collections::BTreeSet;

use sha2::{Digest, Sha256};

use super::coding_agent::Firetiger;
use super::wire::{Issue, Link, id_of_page};
use crate::domain::ids::{SessionId, hex};
use crate::domain::snapshot::Snapshot;
use crate::providers::contract::{AdoptAnswer, AdoptRequest, Found, SessionRef};
use crate::providers::error::{ErrorClass, ProviderError};
use crate::providers::http::Operation;
use crate::providers::wire;

/// What a claim has room for, in bytes: the links of some 230 sessions.
const LONGEST_BASELINE: usize = 4096;

/// An issue and the links that it had before a launch. As text: the issue's name, then a short digest of each link.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Baseline {
    issue: String,
    links: BTreeSet<String>,
}

impl Baseline {
    /// The text for the claim; none if there is no room for it, because half a baseline would make old links new.
    fn written(&self) -> Option<String> {
        let mut text = self.issue.clone();
        for link in &self.links {
            text.push(' ');
            text.push_str(link);
        }
        (text.len() <= LONGEST_BASELINE).then_some(text)
    }

    fn read(text: &str) -> Option<Self> {
        let mut words = text.split(' ').map(str::to_owned);
        Some(Self {
            issue: words.next().filter(|issue| !issue.is_empty())?,
            links: words.collect(),
        })
    }
}

/// The baseline of an issue; none if there are no links to be read, an error if there may be.
pub(super) async fn baseline(
    firetiger: &Firetiger,
    issue: &str,
) -> Result<Option<String>, ProviderError> {
    let links = match links(firetiger, issue).await {
        Ok(Some(links)) => links,
        Ok(None) => return Ok(None),
        Err(error) if passes(error.class) => return Err(error),
        Err(error) => {
            tracing::debug!(
                class = error.class.as_str(),
                "the links of an issue cannot be read"
            );
            return Ok(None);
        }
    };
    let baseline = Baseline {
        issue: issue.to_owned(),
        links: links.iter().map(|link| digest(link)).collect(),
    };
    Ok(baseline.written())
}

/// Whether waiting, or a mended key, may make readable what this failure hid. Anything else says that issues are not what
/// they are assumed to be.
fn passes(class: ErrorClass) -> bool {
    match class {
        ErrorClass::Unavailable
        | ErrorClass::Intermediary
        | ErrorClass::Timeout
        | ErrorClass::RateLimited
        | ErrorClass::Unauthorized => true,
        ErrorClass::InvalidRequest
        | ErrorClass::Forbidden
        | ErrorClass::NotFound
        | ErrorClass::Conflict
        | ErrorClass::QuotaExhausted
        | ErrorClass::Unknown
        | ErrorClass::Protocol => false,
    }
}

/// Exactly one link more than before that leads to a session of nobody else is taken for ours; anything else tells nothing.
pub(super) async fn adopt(
    firetiger: &Firetiger,
    request: &AdoptRequest,
) -> Result<AdoptAnswer, ProviderError> {
    let Some(baseline) = request.baseline.as_deref().and_then(Baseline::read) else {
        return Ok(AdoptAnswer::Unknowable);
    };
    let links = match links(firetiger, &baseline.issue).await {
        Ok(Some(links)) => links,
        Ok(None) => return Ok(AdoptAnswer::Unknowable),
        Err(error) if passes(error.class) => return Err(error),
        Err(_) => return Ok(AdoptAnswer::Unknowable),
    };
    let unowned: Vec<(String, Option<SessionId>)> = links
        .into_iter()
        .filter(|link| !baseline.links.contains(&digest(link)))
        .map(|link| {
            let id = id_of_page(&link).map(SessionId::from);
            (link, id)
        })
        .filter(|(_, id)| id.as_ref().is_none_or(|id| !request.owned.contains(id)))
        .collect();
    let [(link, Some(id))] = unowned.as_slice() else {
        return Ok(AdoptAnswer::Unknowable);
    };
    let session = SessionRef {
        session_id: id.clone(),
        run_id: None,
    };
    match firetiger.session(&session).await {
        Ok(snapshot) if request.owned.contains(&snapshot.session_id) => Ok(AdoptAnswer::Unknowable),
        Ok(snapshot) => Ok(AdoptAnswer::Found(vec![Found {
            doubt: None,
            snapshot: Snapshot {
                url: snapshot.url.or_else(|| wire::link(Some(link.clone()))),
                ..snapshot
            },
            attempt: None,
        }])),
        // Somebody added a link to something else.
        Err(error) if error.class == ErrorClass::NotFound => Ok(AdoptAnswer::Unknowable),
        Err(error) => Err(error),
    }
}

/// The links of an issue; none if some cannot be read, for those may be the ones that matter.
async fn links(
    firetiger: &Firetiger,
    issue: &str,
) -> Result<Option<BTreeSet<String>>, ProviderError> {
    let Some(id) = issue.strip_prefix("issues/") else {
        return Ok(None);
    };
    let issue: Issue = firetiger
        .api
        .get(Operation::Issue, &["v1", "issues", id], &[])
        .await?;
    let Some(links) = issue.links else {
        return Ok(Some(BTreeSet::new()));
    };
    Ok((links.missing() == 0).then(|| {
        links
            .readable
            .into_iter()
            .map(|(Link::Text(url) | Link::Object { url })| url)
            .collect()
    }))
}

fn digest(link: &str) -> String {
    hex(&Sha256::digest(link.as_bytes()), 8)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn of(links: usize) -> Baseline {
        Baseline {
            issue: "issues/FT-42".into(),
            links: (0..links).map(|n| digest(&n.to_string())).collect(),
        }
    }

    #[test]
    fn what_is_written_is_read_again() {
        for links in [0, 1, 200] {
            let baseline = of(links);
            assert_eq!(Baseline::read(&baseline.written().unwrap()), Some(baseline));
        }
        assert_eq!(Baseline::read(""), None);
    }

    #[test]
    fn half_a_baseline_is_never_written() {
        assert!(of(240).written().unwrap().len() <= LONGEST_BASELINE);
        assert_eq!(of(241).written(), None);
    }
}
