//! The scan of a provider's list for an interrupted launch (rule 7 of the launch protocol), over as many passes as it takes.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use jiff::Timestamp;

use super::contract::{AdoptAnswer, AdoptRequest, Found, PageToken, ScanState};
use super::error::{ErrorClass, ProviderError};
use crate::domain::ids::SessionId;

/// Bounds of one pass; the next pass goes on where this one stopped.
const PAGES_PER_PASS: usize = 20;
const LOOKS_PER_PASS: usize = 40;
/// So many candidates that could not be looked at end a pass: the provider has trouble.
const FAILURES_PER_PASS: usize = 3;
/// No further request is begun after this time: whoever bounds a pass from outside would lose all that it reached.
const TIME_PER_PASS: Duration = Duration::from_secs(20);
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
    pass(judge, request, TIME_PER_PASS).await
}

async fn pass<J: Judge>(
    judge: &J,
    request: &AdoptRequest,
    time: Duration,
) -> Result<AdoptAnswer, ProviderError> {
    let begun_at = request.resume.clone().unwrap_or_default();
    let mut state = begun_at.clone();
    let mut tokens: BTreeSet<PageToken> = state.next.iter().cloned().collect();
    let (mut looks, mut failures) = (0, 0);
    let started = Instant::now();
    for _ in 0..PAGES_PER_PASS {
        if started.elapsed() >= time {
            return Ok(pause(state, "the provider answers too slowly for one pass"));
        }
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
            // At least one look per pass, or a slow page would stop every pass at the same candidate.
            if looks > 0 && started.elapsed() >= time {
                return Ok(pause(state, "the provider answers too slowly for one pass"));
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use tokio::time::sleep;

    use super::*;
    use crate::domain::ids::InstallationId;
    use crate::providers::error::Sent;

    /// A list of `pages` pages with two candidates each; pages and looks take their time, looks at the ids in `broken` fail.
    struct Slow {
        pages: usize,
        page: Duration,
        look: Duration,
        broken: &'static [&'static str],
    }

    #[async_trait]
    impl Judge for Slow {
        type Item = ();

        async fn page(&self, page: Option<&PageToken>) -> Result<Page<()>, ProviderError> {
            sleep(self.page).await;
            let number: usize = page.map_or(0, |token| token.0.parse().unwrap());
            Ok(Page {
                candidates: ["a", "b"]
                    .map(|name| Candidate {
                        id: SessionId::new(format!("{number}{name}")),
                        created_at: None,
                        item: (),
                    })
                    .into(),
                unreadable: 0,
                next: (number + 1 < self.pages).then(|| PageToken((number + 1).to_string())),
            })
        }

        fn possible(&self, (): &()) -> bool {
            true
        }

        async fn judge(&self, candidate: &Candidate<()>) -> Result<Verdict, ProviderError> {
            sleep(self.look).await;
            if self.broken.contains(&candidate.id.as_str()) {
                return Err(ProviderError {
                    class: ErrorClass::Unavailable,
                    subject: None,
                    status: Some(500),
                    code: None,
                    message: "broken".into(),
                    retry_after: None,
                    sent: Sent::Possibly,
                });
            }
            Ok(Verdict::Foreign)
        }
    }

    fn request(resume: Option<ScanState>) -> AdoptRequest {
        AdoptRequest {
            keys: Vec::new(),
            installation: InstallationId::new("0a1b2c3d"),
            uid: "uid".into(),
            repository: "https://github.com/acme/app".into(),
            template_id: None,
            baseline: None,
            created_from: Timestamp::UNIX_EPOCH,
            created_until: Timestamp::UNIX_EPOCH,
            owned: BTreeSet::new(),
            client_id_honoured: true,
            resume,
        }
    }

    #[tokio::test]
    async fn a_slow_provider_is_read_to_the_end_in_passes_of_bounded_time() {
        let slow = Slow {
            pages: 3,
            page: Duration::from_millis(25),
            look: Duration::from_millis(15),
            broken: &[],
        };
        let (mut resume, mut passes) = (None, 0);
        for _ in 0..12 {
            passes += 1;
            // Shorter than a page: every pass does one page and one look, or more, but never all.
            let time = Duration::from_millis(20);
            match pass(&slow, &request(resume), time).await.unwrap() {
                AdoptAnswer::Absent => {
                    assert!(passes >= 3, "{passes}");
                    return;
                }
                AdoptAnswer::Inconclusive { resume: next, .. } => resume = next,
                other => panic!("{other:?}"),
            }
        }
        panic!("no end");
    }

    #[tokio::test]
    async fn candidates_that_can_never_be_read_hide_no_others_and_are_never_absent() {
        let troubled = Slow {
            pages: 2,
            page: Duration::ZERO,
            look: Duration::ZERO,
            broken: &["0a", "0b", "1a"],
        };
        let mut resume = None;
        let mut judged = BTreeSet::new();
        for _ in 0..6 {
            match scan(&troubled, &request(resume)).await.unwrap() {
                AdoptAnswer::Inconclusive { resume: next, .. } => {
                    judged.extend(next.clone().unwrap().rejected);
                    resume = next;
                }
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(judged, [SessionId::new("1b")].into());
    }
}
