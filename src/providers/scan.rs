//! The scan of a provider's list for an interrupted launch (rule 7 of the launch protocol), over as many passes as it takes.

use std::collections::BTreeSet;

use async_trait::async_trait;
use jiff::Timestamp;

use super::contract::{AdoptAnswer, AdoptRequest, Found, PageToken, ScanState};
use super::error::{ErrorClass, ProviderError};
use crate::domain::ids::SessionId;

/// Bounds of one pass; the next pass goes on where this one stopped. At a second per page and a quarter of one per look, a
/// pass stays well below a minute.
const PAGES_PER_PASS: usize = 20;
const LOOKS_PER_PASS: usize = 40;
/// So many candidates that could not be looked at end a pass: the provider has trouble.
const FAILURES_PER_PASS: usize = 3;
/// Stands in [`ScanState::undecided`] for items of a page that not even have an id.
const UNREADABLE: &str = "(unreadable)";

/// One session of a list.
pub(super) struct Candidate<T> {
    pub(super) id: SessionId,
    pub(super) created_at: Option<Timestamp>,
    /// What the list says of it.
    pub(super) item: T,
}

/// One page of a list.
pub(super) struct Page<T> {
    pub(super) candidates: Vec<Candidate<T>>,
    /// How many items could not be read.
    pub(super) unreadable: usize,
    pub(super) next: Option<PageToken>,
}

/// What a closer look at a candidate says.
pub(super) enum Verdict {
    /// Ours.
    Ours(Box<Found>),
    /// Not ours, and never will be.
    Foreign,
    /// It cannot be said yet.
    Undecided,
}

/// What a provider adds to the scan.
#[async_trait]
pub(super) trait Judge: Sync {
    /// What a list says of a session.
    type Item: Send + Sync;

    /// Reads a page of the list, without any filter.
    async fn page(&self, page: Option<&PageToken>) -> Result<Page<Self::Item>, ProviderError>;

    /// Whether what the list says leaves it possible that this is ours.
    fn possible(&self, item: &Self::Item) -> bool;

    /// Looks closer.
    async fn judge(&self, candidate: &Candidate<Self::Item>) -> Result<Verdict, ProviderError>;
}

/// Goes on with the scan. `Absent` only if every page was read and every candidate judged.
///
/// No order of the list is assumed, and sessions may appear twice while it shifts.
///
/// # Errors
/// Only if this pass came no further at all.
pub(super) async fn scan<J: Judge>(
    judge: &J,
    request: &AdoptRequest,
) -> Result<AdoptAnswer, ProviderError> {
    let begun_at = request.resume.clone().unwrap_or_default();
    let mut state = begun_at.clone();
    let mut tokens: BTreeSet<PageToken> = state.next.iter().cloned().collect();
    let (mut looks, mut failures) = (0, 0);
    for _ in 0..PAGES_PER_PASS {
        let page = match judge.page(state.next.as_ref()).await {
            Ok(page) => page,
            // A position in the list can get lost between two passes.
            Err(error) if state.next.is_some() && refuses_position(&error) => {
                return Ok(begin_anew(state, &error.message));
            }
            Err(error) => return broken_off(begun_at, state, error),
        };
        if page.unreadable > 0 {
            state.undecided.insert(SessionId::new(UNREADABLE));
        }
        for candidate in &page.candidates {
            if !is_open(request, &state, candidate) || !judge.possible(&candidate.item) {
                continue;
            }
            if looks == LOOKS_PER_PASS {
                return Ok(pause(state, "more candidates than one pass looks at"));
            }
            looks += 1;
            match judge.judge(candidate).await {
                Ok(Verdict::Ours(found)) => state.found.push(*found),
                Ok(Verdict::Foreign) => {
                    state.rejected.insert(candidate.id.clone());
                }
                Ok(Verdict::Undecided) => {
                    state.undecided.insert(candidate.id.clone());
                }
                Err(error) => {
                    if concerns_all(&error) {
                        return broken_off(begun_at, state, error);
                    }
                    // One that can never be read must not hide those behind it.
                    state.undecided.insert(candidate.id.clone());
                    failures += 1;
                    if failures == FAILURES_PER_PASS {
                        return broken_off(begun_at, state, error);
                    }
                }
            }
        }
        match page.next {
            None => return Ok(at_the_end(state)),
            Some(next) if !tokens.insert(next.clone()) => {
                return Ok(begin_anew(state, "the list's pages go round in circles"));
            }
            Some(next) => state.next = Some(next),
        }
    }
    Ok(pause(state, "more pages than one pass reads"))
}

/// Whether a candidate is in the window, belongs to nobody and was not looked at in this round.
fn is_open<T>(request: &AdoptRequest, state: &ScanState, candidate: &Candidate<T>) -> bool {
    let in_window = candidate
        .created_at
        .is_none_or(|created| (request.created_from..=request.created_until).contains(&created));
    in_window
        && !request.owned.contains(&candidate.id)
        && !state.rejected.contains(&candidate.id)
        && !state.undecided.contains(&candidate.id)
        && !state
            .found
            .iter()
            .any(|found| found.snapshot.session_id == candidate.id)
}

fn refuses_position(error: &ProviderError) -> bool {
    matches!(
        error.class,
        ErrorClass::InvalidRequest | ErrorClass::NotFound | ErrorClass::Unknown
    )
}

/// Whether the next candidate would meet the same error.
fn concerns_all(error: &ProviderError) -> bool {
    matches!(
        error.class,
        ErrorClass::Unauthorized | ErrorClass::RateLimited | ErrorClass::QuotaExhausted
    )
}

fn at_the_end(state: ScanState) -> AdoptAnswer {
    if state.found.is_empty() && state.undecided.is_empty() {
        return AdoptAnswer::Absent;
    }
    let why = format!("{} candidates cannot be judged yet", state.undecided.len());
    begin_anew(state, &why)
}

/// What was found; or nothing yet, and the next pass starts at the first page. What was rejected stays so.
fn begin_anew(state: ScanState, why: &str) -> AdoptAnswer {
    let resume = ScanState {
        next: None,
        undecided: BTreeSet::new(),
        ..state
    };
    pause(resume, why)
}

/// What was found; or nothing yet, and the next pass goes on here.
fn pause(mut state: ScanState, why: &str) -> AdoptAnswer {
    if state.found.is_empty() {
        return AdoptAnswer::Inconclusive {
            why: why.to_owned(),
            resume: Some(state),
        };
    }
    state.found.sort_by_key(|found| found.snapshot.created_at);
    AdoptAnswer::Found(state.found)
}

fn broken_off(
    begun_at: ScanState,
    state: ScanState,
    error: ProviderError,
) -> Result<AdoptAnswer, ProviderError> {
    if state == begun_at {
        Err(error)
    } else {
        Ok(pause(state, &error.message))
    }
}
