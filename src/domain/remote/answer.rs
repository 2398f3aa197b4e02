//! What a provider answers: to a key check, a launch, a lookup, a stop.

use std::collections::BTreeSet;

use crate::domain::ids::{AccountFingerprint, RunId, SessionId};
use crate::domain::snapshot::{RemotePhase, Snapshot};

/// Who a key belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// Tells this account from others.
    pub fingerprint: AccountFingerprint,
    /// The key's name at the provider.
    pub name: Option<String>,
    /// The e-mail address of the key's owner.
    pub email: Option<String>,
}

/// What the answer to an accepted launch says.
#[derive(Clone, Debug, PartialEq)]
pub struct Launched {
    /// The provider's id of the session.
    pub session_id: SessionId,
    /// The run of the first message, where the provider has runs.
    pub run_id: Option<RunId>,
    /// The page on which a person can watch it.
    pub url: Option<String>,
    /// Where it stands.
    pub phase: RemotePhase,
    /// The same in the provider's words.
    pub raw_status: String,
    /// Whether the session has the id that we chose; `None` where the provider takes none.
    pub id_honoured: Option<bool>,
}

/// What the answer to an accepted message says.
#[derive(Clone, Debug, PartialEq)]
pub struct Messaged {
    /// The session that works on it: mostly the one that it was sent to.
    pub session_id: SessionId,
    /// Its run, where the provider has runs.
    pub run_id: Option<RunId>,
    /// Where it stands.
    pub phase: RemotePhase,
}

impl Messaged {
    /// What tells it from every other message: the run, or else the session that works on it.
    pub fn id(&self) -> &str {
        match &self.run_id {
            Some(run) => run.as_str(),
            None => self.session_id.as_str(),
        }
    }
}

/// What a lookup found.
#[derive(Clone, Debug, PartialEq)]
pub enum AdoptAnswer {
    /// These are ours, oldest first. More than one is a duplicate launch.
    Found(Vec<Found>),
    /// A complete look found nothing.
    Absent,
    /// The look was not complete, or candidates could not be told apart. `resume` goes on with it, or says that the next look
    /// begins anew; so does `None`.
    Inconclusive {
        /// Why, for people.
        why: String,
        /// Where to go on.
        resume: Option<ScanState>,
    },
    /// The id of the newest attempt is taken by a session that is not ours.
    Foreign {
        /// What speaks against it being ours.
        why: String,
    },
    /// There is more than one request can have started, and which of it is ours cannot be told.
    Ambiguous {
        /// What there is, for people.
        why: String,
    },
    /// This provider offers no way to look.
    Unknowable,
}

/// A session that a lookup found.
#[derive(Clone, Debug, PartialEq)]
pub struct Found {
    /// What the look says of it.
    pub snapshot: Snapshot,
    /// The attempt that launched it, where the marker says so.
    pub attempt: Option<i32>,
    /// What is not as it was asked for, although the evidence says that it is ours: for people, as it follows "although".
    pub doubt: Option<String>,
}

/// How far a scan over several passes has come. Kept in memory only; a restart begins anew.
#[derive(Clone, Debug, PartialEq)]
pub struct ScanState<F = Found> {
    /// The page to read next; `None` is the first.
    pub next: Option<PageToken>,
    /// Found so far.
    pub found: Vec<F>,
    /// Candidates that could not be judged yet.
    pub undecided: BTreeSet<SessionId>,
    /// Candidates that were judged and are not ours.
    pub rejected: BTreeSet<SessionId>,
    /// Whether candidates were passed over in this round, because of their time or repository.
    pub passed_over: bool,
    /// Whether this round looks at those as well.
    pub far: bool,
    /// Whether the round is over: the next pass begins at the first page, and only after a pause, because the same candidates
    /// would be no clearer at once. Otherwise it goes on where this one stopped.
    pub begin_anew: bool,
}

// Derived, it would ask for a default of what is found.
impl<F> Default for ScanState<F> {
    fn default() -> Self {
        Self {
            next: None,
            found: Vec::new(),
            undecided: BTreeSet::new(),
            rejected: BTreeSet::new(),
            passed_over: false,
            far: false,
            begin_anew: false,
        }
    }
}

/// A session at the provider.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionRef {
    /// The provider's id.
    pub session_id: SessionId,
    /// The run of the newest message, where known.
    pub run_id: Option<RunId>,
}

/// How the provider answered a stop.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CancelAnswer {
    /// Taken (2xx). Look again to see it confirmed.
    Accepted,
    /// There was nothing to stop: it ended before, or is not stoppable now. A look decides. The provider's words, if it has any, as
    /// those of a [`ProviderError`](super::ProviderError).
    NotCancellable(Option<String>),
    /// This provider or this session cannot be stopped at all.
    Unsupported,
}

/// A position in a list, opaque to us.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PageToken(pub String);
