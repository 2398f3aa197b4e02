//! The scan of a provider's list, over as many passes as it takes: for an interrupted launch (rule 7 of the launch
//! protocol), and for every session of this installation (rules 10 and 12).

use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use jiff::Timestamp;

use crate::domain::ids::SessionId;
use crate::providers::contract::{
    AdoptAnswer, AdoptRequest, Found, Marked, MarkedPage, MarkedRequest, PageToken, ScanState,
};
use crate::providers::error::{ErrorClass, ProviderError};

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
pub(in crate::providers) struct Candidate<T> {
    pub(in crate::providers) id: SessionId,
    /// What the list says of it.
    pub(in crate::providers) item: T,
}

/// One page of a list.
pub(in crate::providers) struct Page<T> {
    pub(in crate::providers) candidates: Vec<Candidate<T>>,
    /// How many items could not be read.
    pub(in crate::providers) unreadable: usize,
    pub(in crate::providers) next: Option<PageToken>,
}

/// What a closer look at a candidate proves.
pub(in crate::providers) enum Evidence<F> {
    /// It is what is looked for.
    Ours(Box<F>),
    /// It is not, and never will be.
    Foreign,
    /// It may be, and cannot be told apart, or not yet.
    Undecided,
}

/// Whether a candidate is looked at, by what the list says of it. Time and repository only save looks: clocks differ, and a
/// repository has many spellings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::providers) enum Reach {
    /// At first.
    Near,
    /// Before it is said that there is nothing.
    Far,
    /// Never.
    Never,
}

/// What is looked for.
pub(in crate::providers) trait Query: Sync {
    /// What is found.
    type Found: Clone + PartialEq + Send + Sync;

    /// When it was created.
    fn window(&self) -> RangeInclusive<Timestamp>;

    /// Whether the caller knows this session.
    fn knows(&self, id: &SessionId) -> bool;

    /// The id of what was found.
    fn id(found: &Self::Found) -> &SessionId;

    /// Whether a session that was created then is in the window; one without a date may be.
    fn in_window(&self, created: Option<Timestamp>) -> bool {
        created.is_none_or(|created| self.window().contains(&created))
    }
}

impl Query for AdoptRequest {
    type Found = Found;

    fn window(&self) -> RangeInclusive<Timestamp> {
        self.created_from..=self.created_until
    }

    fn knows(&self, id: &SessionId) -> bool {
        self.owned.contains(id)
    }

    fn id(found: &Found) -> &SessionId {
        &found.snapshot.session_id
    }
}

impl Query for MarkedRequest {
    type Found = Marked;

    fn window(&self) -> RangeInclusive<Timestamp> {
        self.created_from..=Timestamp::MAX
    }

    fn knows(&self, id: &SessionId) -> bool {
        self.known.contains(id)
    }

    fn id(found: &Marked) -> &SessionId {
        &found.snapshot.session_id
    }
}

/// What a provider adds to the scan.
#[async_trait]
pub(in crate::providers) trait Matcher: Sync {
    /// What a list says of a session.
    type Item: Send + Sync;

    /// What is looked for.
    type Query: Query;

    /// What is looked for.
    fn query(&self) -> &Self::Query;

    /// Reads a page of the list, without any filter.
    async fn page(&self, page: Option<&PageToken>) -> Result<Page<Self::Item>, ProviderError>;

    /// Whether a candidate is looked at.
    fn reach(&self, candidate: &Candidate<Self::Item>) -> Reach;

    /// Looks closer.
    async fn judge(
        &self,
        candidate: &Candidate<Self::Item>,
    ) -> Result<Evidence<FoundBy<Self>>, ProviderError>;
}

type FoundBy<M> = <<M as Matcher>::Query as Query>::Found;

/// Goes on with the scan. `Absent` only if every page was read and every candidate told apart, near and far.
///
/// No order of the list is assumed, and sessions may appear twice while it shifts.
///
/// # Errors
/// Only if this pass came no further at all.
pub(in crate::providers) async fn scan<M: Matcher<Query = AdoptRequest>>(
    matcher: &M,
) -> Result<AdoptAnswer, ProviderError> {
    scan_for(matcher, TIME_PER_PASS).await
}

async fn scan_for<M: Matcher<Query = AdoptRequest>>(
    matcher: &M,
    time: Duration,
) -> Result<AdoptAnswer, ProviderError> {
    let query = matcher.query();
    let mut state = ScanState {
        begin_anew: false,
        ..query.resume.clone().unwrap_or_default()
    };
    let halt = read_list(matcher, &mut state, time).await?;
    if !state.found.is_empty() {
        state.found.sort_by_key(|found| found.snapshot.created_at);
        return Ok(AdoptAnswer::Found(state.found));
    }
    let (why, resume) = match halt {
        Halt::Pause(why) => (why, state),
        Halt::Anew(why) => (why, begun_anew(state)),
        // Only what is nowhere near is looked for far away.
        Halt::End if state.passed_over && !state.far && query.prove_absence => (
            "sessions of other times and repositories are looked at next".to_owned(),
            ScanState {
                next: None,
                far: true,
                ..state
            },
        ),
        Halt::End if !state.undecided.is_empty() => {
            let why = format!("{} candidates cannot be told apart", state.undecided.len());
            (why, begun_anew(state))
        }
        Halt::End if state.passed_over && !state.far => (
            "sessions of other times and repositories were not looked at".to_owned(),
            begun_anew(state),
        ),
        Halt::End => return Ok(AdoptAnswer::Absent),
    };
    Ok(AdoptAnswer::Inconclusive {
        why,
        resume: Some(resume),
    })
}

/// Goes on with the search for every session of this installation.
///
/// # Errors
/// Only if this pass came no further at all.
pub(in crate::providers) async fn search<M: Matcher<Query = MarkedRequest>>(
    matcher: &M,
) -> Result<MarkedPage, ProviderError> {
    let mut state = matcher.query().resume.clone().unwrap_or_default();
    let halt = read_list(matcher, &mut state, TIME_PER_PASS).await?;
    let found = std::mem::take(&mut state.found);
    let foreign = std::mem::take(&mut state.rejected);
    Ok(MarkedPage {
        found,
        foreign,
        resume: match halt {
            Halt::Pause(_) => Some(state),
            Halt::End | Halt::Anew(_) => None,
        },
    })
}

/// Where a pass over a list stops.
enum Halt {
    /// At the end of the list.
    End,
    /// Where the next pass has to begin with the first page.
    Anew(String),
    /// Where the next pass can go on.
    Pause(String),
}

impl Halt {
    fn pause(why: &str) -> Self {
        Self::Pause(why.to_owned())
    }
}

/// One pass over the list, from where `state` says.
///
/// # Errors
/// Only if it came no further at all.
async fn read_list<M: Matcher>(
    matcher: &M,
    state: &mut ScanState<FoundBy<M>>,
    time: Duration,
) -> Result<Halt, ProviderError> {
    state.begin_anew = false;
    let begun_at = state.clone();
    let mut tokens: BTreeSet<PageToken> = state.next.iter().cloned().collect();
    let (mut looks, mut failures) = (0, 0);
    let started = Instant::now();
    for _ in 0..PAGES_PER_PASS {
        if started.elapsed() >= time {
            return Ok(Halt::pause("the provider answers too slowly for one pass"));
        }
        let page = match matcher.page(state.next.as_ref()).await {
            Ok(page) => page,
            // A position in the list can get lost between two passes.
            Err(error) if state.next.is_some() && refuses_position(&error) => {
                return Ok(Halt::Anew(error.message));
            }
            Err(error) => return broken_off(&begun_at, state, error),
        };
        if page.unreadable > 0 {
            state.undecided.insert(SessionId::new(UNREADABLE));
        }
        for candidate in &page.candidates {
            if !is_open(matcher.query(), state, candidate) {
                continue;
            }
            match matcher.reach(candidate) {
                Reach::Near => {}
                Reach::Far if state.far => {}
                Reach::Far => {
                    state.passed_over = true;
                    continue;
                }
                Reach::Never => continue,
            }
            if looks == LOOKS_PER_PASS {
                return Ok(Halt::pause("more candidates than one pass looks at"));
            }
            // At least one look per pass, or a slow page would stop every pass at the same candidate.
            if looks > 0 && started.elapsed() >= time {
                return Ok(Halt::pause("the provider answers too slowly for one pass"));
            }
            looks += 1;
            if let Some(error) = look_at(matcher, state, candidate).await {
                failures += 1;
                if concerns_all(&error) || failures == FAILURES_PER_PASS {
                    return broken_off(&begun_at, state, error);
                }
            }
        }
        match page.next {
            None => return Ok(Halt::End),
            Some(next) if !tokens.insert(next.clone()) => {
                return Ok(Halt::Anew("the list's pages go round in circles".into()));
            }
            Some(next) => state.next = Some(next),
        }
    }
    Ok(Halt::pause("more pages than one pass reads"))
}

/// Judges a candidate and notes what came of it; answers with what went wrong.
async fn look_at<M: Matcher>(
    matcher: &M,
    state: &mut ScanState<FoundBy<M>>,
    candidate: &Candidate<M::Item>,
) -> Option<ProviderError> {
    let id = candidate.id.clone();
    match matcher.judge(candidate).await {
        Ok(Evidence::Ours(found)) => state.found.push(*found),
        Ok(Evidence::Foreign) => {
            state.rejected.insert(id);
        }
        Ok(Evidence::Undecided) => {
            state.undecided.insert(id);
        }
        Err(error) => {
            // One that can never be read must not hide those behind it.
            if !concerns_all(&error) {
                state.undecided.insert(id);
            }
            return Some(error);
        }
    }
    None
}

/// Whether a candidate is known to nobody and was not looked at in this round.
fn is_open<Q: Query, T>(query: &Q, state: &ScanState<Q::Found>, candidate: &Candidate<T>) -> bool {
    !query.knows(&candidate.id)
        && !state.rejected.contains(&candidate.id)
        && !state.undecided.contains(&candidate.id)
        && !state
            .found
            .iter()
            .any(|found| *Q::id(found) == candidate.id)
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

/// The next round starts at the first page. What was rejected stays so.
fn begun_anew(state: ScanState) -> ScanState {
    ScanState {
        begin_anew: true,
        found: state.found,
        rejected: state.rejected,
        ..ScanState::default()
    }
}

fn broken_off<F: PartialEq>(
    begun_at: &ScanState<F>,
    state: &ScanState<F>,
    error: ProviderError,
) -> Result<Halt, ProviderError> {
    if state == begun_at {
        Err(error)
    } else {
        Ok(Halt::Pause(error.message))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use tokio::time::sleep;

    use super::*;
    use crate::domain::ids::InstallationId;
    use crate::domain::remote::Recovery;
    use crate::providers::error::Sent;

    /// A list of `pages` pages with two candidates each; pages and looks take their time, looks at the ids in `broken` fail.
    struct Slow {
        request: AdoptRequest,
        pages: usize,
        page: Duration,
        look: Duration,
        broken: &'static [&'static str],
    }

    #[async_trait]
    impl Matcher for Slow {
        type Item = ();
        type Query = AdoptRequest;

        fn query(&self) -> &AdoptRequest {
            &self.request
        }

        async fn page(&self, page: Option<&PageToken>) -> Result<Page<()>, ProviderError> {
            sleep(self.page).await;
            let number: usize = page.map_or(0, |token| token.0.parse().unwrap());
            Ok(Page {
                candidates: ["a", "b"]
                    .map(|name| Candidate {
                        id: SessionId::new(format!("{number}{name}")),
                        item: (),
                    })
                    .into(),
                unreadable: 0,
                next: (number + 1 < self.pages).then(|| PageToken((number + 1).to_string())),
            })
        }

        fn reach(&self, _: &Candidate<()>) -> Reach {
            Reach::Near
        }

        async fn judge(&self, candidate: &Candidate<()>) -> Result<Evidence<Found>, ProviderError> {
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
            Ok(Evidence::Foreign)
        }
    }

    fn request(resume: Option<ScanState>) -> AdoptRequest {
        AdoptRequest {
            message: None,
            keys: Vec::new(),
            installation: InstallationId::new("0a1b2c3d"),
            uid: "uid".into(),
            repository: "https://github.com/acme/app".into(),
            recovery: Recovery::Marker,
            template_id: None,
            baseline: None,
            created_from: Timestamp::UNIX_EPOCH,
            created_until: Timestamp::UNIX_EPOCH,
            owned: Default::default(),
            sent: None,
            prove_absence: true,
            evidence_seen: true,
            resume,
        }
    }

    #[tokio::test]
    async fn a_slow_provider_is_read_to_the_end_in_passes_of_bounded_time() {
        let mut slow = Slow {
            request: request(None),
            pages: 3,
            page: Duration::from_millis(25),
            look: Duration::from_millis(15),
            broken: &[],
        };
        let mut passes = 0;
        for _ in 0..12 {
            passes += 1;
            // Shorter than a page: every pass does one page and one look, or more, but never all.
            let time = Duration::from_millis(20);
            match scan_for(&slow, time).await.unwrap() {
                AdoptAnswer::Absent => {
                    assert!(passes >= 3, "{passes}");
                    return;
                }
                AdoptAnswer::Inconclusive { resume, .. } => slow.request.resume = resume,
                other => panic!("{other:?}"),
            }
        }
        panic!("no end");
    }

    #[tokio::test]
    async fn candidates_that_can_never_be_read_hide_no_others_and_are_never_absent() {
        let mut troubled = Slow {
            request: request(None),
            pages: 2,
            page: Duration::ZERO,
            look: Duration::ZERO,
            broken: &["0a", "0b", "1a"],
        };
        let mut judged = BTreeSet::new();
        for _ in 0..6 {
            match scan(&troubled).await.unwrap() {
                AdoptAnswer::Inconclusive { resume, .. } => {
                    judged.extend(resume.clone().unwrap().rejected);
                    troubled.request.resume = resume;
                }
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(judged, [SessionId::new("1b")].into());
    }
}
