//! What the prompts of a session say of who launched it: the marker in the first one decides, nothing else does. A branch
//! may be the user's, and a provider may rewrite it.

use super::contract::{AdoptRequest, Found};
use super::scan::Verdict;
use crate::domain::marker::{Marker, MarkerSubject};
use crate::domain::snapshot::Snapshot;

/// Judges a session by its prompts, in the order in which the provider tells them; `None` is one that cannot be read.
pub(super) fn judge_prompts<'a>(
    prompts: impl IntoIterator<Item = Option<&'a str>>,
    request: &AdoptRequest,
    snapshot: Snapshot,
) -> Verdict {
    let ours = |prompt: &str| {
        Marker::find(prompt)
            .filter(|marker| marker.is_launch_of(&request.installation, &request.uid))
    };
    let mut prompts = prompts.into_iter();
    let Some(Some(first)) = prompts.next() else {
        // Without a prompt yet, as while it is being set up, it may be anybody's.
        return Verdict::Undecided;
    };
    let Some(marker) = ours(first) else {
        // That the first prompt stands first is not documented: a marker elsewhere is no proof, but a doubt.
        return match prompts.flatten().find_map(ours) {
            Some(_) => Verdict::Undecided,
            None => Verdict::Foreign,
        };
    };
    Verdict::Ours(Box::new(Found {
        snapshot,
        attempt: match marker.subject {
            MarkerSubject::Launch(attempt) => Some(attempt),
            MarkerSubject::Message(_) => None,
        },
    }))
}
