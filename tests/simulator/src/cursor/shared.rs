//! The agents of both versions of the API are one set: what was made through one is seen through the other.
//!
//! Seen in October 2026: `GET /v0/agents/{id}/conversation` answers for an agent of v1. That the rest of an agent shows as well, and how,
//! is assumed; its artifacts, archive and event stream are told only by the version that it was made with.

use serde_json::Value;

use crate::clock::Moment;
use crate::http::Refusal;
use crate::options::ListOrder;
use crate::page::{Page, Query};

/// An agent in a list.
pub(super) struct Listed {
    pub(super) id: String,
    pub(super) created: Moment,
    pub(super) pull_requests: Vec<String>,
    pub(super) archived: bool,
    /// As this list shows it.
    pub(super) item: Value,
}

impl Listed {
    /// Whether it has this pull request, or any where none is asked for.
    pub(super) fn has(&self, pr_url: Option<&str>) -> bool {
        pr_url.is_none_or(|url| self.pull_requests.iter().any(|theirs| theirs == url))
    }
}

/// The pull request that a list is narrowed down to.
pub(super) fn pr_url(query: &Query) -> Result<Option<&str>, Refusal> {
    let pr_url = query.string("prUrl")?;
    if pr_url.is_some_and(|text| url::Url::parse(text).is_err()) {
        return Err(Refusal::validation("prUrl: Invalid url"));
    }
    Ok(pr_url)
}

/// The items of a page, and the cursor of the next one if there is one.
pub(super) fn page_of(
    mut listed: Vec<Listed>,
    page: &Page<'_>,
    order: ListOrder,
) -> Result<(Vec<Value>, Option<String>), Refusal> {
    match order {
        // The sort is stable: those of one moment stay as they were given, newest first.
        ListOrder::NewestFirst => listed.sort_by_key(|agent| std::cmp::Reverse(agent.created)),
        ListOrder::ById => listed.sort_by(|one, other| one.id.cmp(&other.id)),
    }
    let (listed, next) = page.of(listed, |agent| &agent.id)?;
    Ok((listed.into_iter().map(|agent| agent.item).collect(), next))
}
