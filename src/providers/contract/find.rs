//! Finding what was launched: one launch whose outcome is unknown, and everything that an installation has launched.

use std::collections::BTreeSet;

use jiff::Timestamp;

use crate::domain::ids::{InstallationId, LaunchKey, SessionId, SessionSet};
use crate::domain::orphan::Marked;
use crate::domain::remote::{Recovery, ScanState};

/// What a lookup needs to know.
#[derive(Clone, Debug)]
pub struct AdoptRequest {
    /// The follow-up message that is looked for, by its name; `None` looks for the launch.
    pub message: Option<String>,
    /// Keys of every attempt of the session, newest first.
    pub keys: Vec<LaunchKey>,
    /// This installation, as written in the marker.
    pub installation: InstallationId,
    /// The session's uid, as written in the marker.
    pub uid: String,
    /// URL of the repository that was asked for.
    pub repository: String,
    /// How the launch was sent, and so how it is found: with [`Recovery::ClientId`](super::Recovery::ClientId) under our id,
    /// with [`Recovery::Marker`](super::Recovery::Marker) without one, or once with and once without. Of no account for a message.
    pub recovery: Recovery,
    /// The template that was launched from, as pinned in the claim.
    pub template_id: Option<String>,
    /// What [`BaseProvider::baseline`](super::BaseProvider::baseline) said before the launch, or
    /// [`FollowUps::newest`](super::FollowUps::newest) before the message, as recorded in the claim.
    pub baseline: Option<String>,
    /// The prompt as it was sent, marker and all, if it can still be composed: a session that shows no marker is compared with it.
    pub sent: Option<String>,
    /// Sessions created before this are looked at last.
    pub created_from: Timestamp,
    /// Sessions created after this are looked at last.
    pub created_until: Timestamp,
    /// Whether an `Absent` is of use: only then sessions of another time or repository are looked at.
    pub prove_absence: bool,
    /// Sessions that belong to another CodeSession.
    pub owned: SessionSet,
    /// Whether this endpoint and account have been seen to use our id ([`Recovery::ClientId`](super::Recovery::ClientId)) or to show our marker
    /// ([`Recovery::Marker`](super::Recovery::Marker)). If not, a lookup that does not find the id scans the list as well, and a session of our time and
    /// repository without a marker may be ours whatever it shows.
    pub evidence_seen: bool,
    /// Where the previous, unfinished scan stopped.
    pub resume: Option<ScanState>,
}

/// Which sessions of this installation are looked for.
#[derive(Clone, Debug)]
pub struct MarkedRequest {
    /// This installation, as written in the marker.
    pub installation: InstallationId,
    /// Sessions created before this are left out. None is too new: clocks differ, and the caller tells what is too young to judge.
    pub created_from: Timestamp,
    /// Sessions that the list shows as ended are left out if they were created before this: what matters of them is only
    /// that they have been paid for.
    pub ended_from: Timestamp,
    /// Sessions that the caller knows, whosever they are. They are not looked at.
    pub known: SessionSet,
    /// Where the previous call of this round stopped.
    pub resume: Option<ScanState<Marked>>,
}

/// What one call of [`Listing::marked`](super::Listing::marked) came to.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct MarkedPage {
    /// Sessions of this installation.
    pub found: Vec<Marked>,
    /// Sessions that were looked at and are not of this installation, and never will be.
    pub foreign: BTreeSet<SessionId>,
    /// Where to go on; `None` once the list has been read to its end.
    pub resume: Option<ScanState<Marked>>,
}
