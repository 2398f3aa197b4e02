//! Whether this process leads, and why it no longer does.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

/// Why a process must end: it may not act any more, and what it knows of itself may be out of date.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Lost {
    /// Another one leads.
    #[error("the lead was lost: {by} has taken over")]
    Taken {
        /// Its identity.
        by: String,
    },
    /// The Lease could not be renewed in time: another one may lead any moment.
    #[error("the lead was lost: the Lease could not be renewed for {0:?}")]
    NotRenewed(Duration),
    /// The Lease was deleted, and made anew by a process that did not know the first one.
    #[error(
        "the Lease was deleted and is another one now, and with it this installation has another id"
    )]
    Replaced,
}

/// Whether this process leads, by its own clock. Cheap to clone.
///
/// "Not just now" is not "never again": a renewal that comes in late, or a process that was not scheduled, makes a lead lapse
/// for a moment. Who must not act then waits ([`Lead::held`]); only the end of the process ends its loops.
#[derive(Clone, Debug)]
pub struct Lead {
    tenure: watch::Receiver<Tenure>,
    refusals: Arc<AtomicU64>,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Tenure {
    Standby,
    /// It leads until then, if it does not renew.
    Until(Instant),
    /// There is no election.
    Alone,
}

impl Tenure {
    fn holds(self) -> bool {
        match self {
            Self::Standby => false,
            Self::Until(end) => Instant::now() < end,
            Self::Alone => true,
        }
    }
}

impl Lead {
    pub(super) fn new(tenure: watch::Receiver<Tenure>) -> Self {
        Self {
            tenure,
            refusals: Arc::default(),
        }
    }

    /// The lead of a process that shares it with nobody.
    pub fn alone() -> Self {
        Self::new(watch::channel(Tenure::Alone).1)
    }

    /// A lead that a test gives (`true`) and takes away.
    #[cfg(test)]
    pub(crate) fn switched(leads: bool) -> (impl Fn(bool), Self) {
        let tenure = |leads| {
            if leads {
                Tenure::Alone
            } else {
                Tenure::Standby
            }
        };
        let (sender, receiver) = watch::channel(tenure(leads));
        let switch = move |leads| {
            sender.send_replace(tenure(leads));
        };
        (switch, Self::new(receiver))
    }

    /// Whether this process leads now.
    pub fn holds(&self) -> bool {
        let holds = self.tenure.borrow().holds();
        if !holds {
            self.refusals.fetch_add(1, Ordering::AcqRel);
        }
        holds
    }

    /// How often [`Lead::holds`] has said no. What was done in between two equal answers was held up by nothing.
    pub fn refusals(&self) -> u64 {
        self.refusals.load(Ordering::Acquire)
    }

    /// How long this process leads if it does not renew; `None` if that has no end.
    pub fn left(&self) -> Option<Duration> {
        match *self.tenure.borrow() {
            Tenure::Standby => Some(Duration::ZERO),
            Tenure::Until(end) => Some(end.saturating_duration_since(Instant::now())),
            Tenure::Alone => None,
        }
    }

    /// Waits until this process leads, at once if it does. Never returns once the election has ended without it.
    pub async fn held(&self) {
        let mut tenure = self.tenure.clone();
        if tenure.wait_for(|tenure| tenure.holds()).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lead_ends_by_the_own_clock() {
        assert!(Lead::alone().holds());
        assert_eq!(Lead::alone().left(), None);
        let (tenure, lead) = watch::channel(Tenure::Standby);
        let lead = Lead::new(lead);
        assert!(!lead.holds());
        tenure.send_replace(Tenure::Until(Instant::now() + Duration::from_secs(60)));
        assert!(lead.holds());
        assert!(lead.left() > Some(Duration::from_secs(50)));
        tenure.send_replace(Tenure::Until(Instant::now()));
        assert!(!lead.holds());
        assert_eq!(lead.left(), Some(Duration::ZERO));
    }

    /// A lead that lapses and comes back holds up who waits for it, and lets him go on; one that is over does neither.
    #[tokio::test(start_paused = true)]
    async fn a_lead_that_lapses_is_waited_for() {
        let (tenure, lead) = watch::channel(Tenure::Standby);
        let lead = Lead::new(lead);
        let mut waits = Box::pin(lead.held());
        assert!(futures::poll!(&mut waits).is_pending());
        tenure.send_replace(Tenure::Until(Instant::now() + Duration::from_secs(10)));
        waits.await;
        let before = lead.refusals();
        assert!(lead.holds());
        assert_eq!(lead.refusals(), before);
        tokio::time::advance(Duration::from_secs(11)).await;
        assert!(!lead.holds());
        assert_ne!(
            lead.refusals(),
            before,
            "whoever asked meanwhile was held up"
        );
        let mut waits = Box::pin(lead.held());
        assert!(futures::poll!(&mut waits).is_pending());
        tenure.send_replace(Tenure::Until(Instant::now() + Duration::from_secs(10)));
        waits.await;
        tenure.send_replace(Tenure::Until(Instant::now()));
        drop(tenure);
        let forever = tokio::time::timeout(Duration::from_secs(3600), lead.held());
        assert!(forever.await.is_err());
    }
}
