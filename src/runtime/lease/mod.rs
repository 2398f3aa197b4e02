//! Which of several processes acts: leader election on a Lease, by the protocol of client-go.
//!
//! The holder renews the Lease again and again; whoever sees no change of it for as long as it was given takes it. Only
//! one's own monotonic clock counts: what another process writes as a time is for people. A holder that could not renew
//! stops acting before others may take over. One that stops in order empties the Lease, which those that stand by see at
//! once, because they watch it.
//!
//! A Lease decides who should act, and cannot keep a process that was stopped and continued from acting: whatever must
//! not happen twice needs a guard of its own.

mod candidate;
mod election;

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

pub use election::Election;

/// The durations of an election.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Times {
    /// How long a Lease is valid that is not renewed. Default: 15 s. Whole seconds are written, rounded up.
    pub lease: Duration,
    /// How long a holder goes on acting that cannot renew. Default: 10 s.
    pub renew_deadline: Duration,
    /// How often the Lease is renewed, and how long after a failure it is tried again. Default: 2 s.
    pub retry: Duration,
}

impl Default for Times {
    fn default() -> Self {
        Self {
            lease: Duration::from_secs(15),
            renew_deadline: Duration::from_secs(10),
            retry: Duration::from_secs(2),
        }
    }
}

/// The durations of an election contradict each other.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TimesError {
    /// Others would take over from a holder that still acts.
    #[error(
        "the renew deadline ({renew_deadline:?}) must be shorter than the lease duration ({lease:?})"
    )]
    Deadline {
        /// The deadline.
        renew_deadline: Duration,
        /// The duration.
        lease: Duration,
    },
    /// One failure would be the end.
    #[error(
        "the retry period ({retry:?}) must not be zero, and at most half of the renew deadline ({renew_deadline:?})"
    )]
    Retry {
        /// The period.
        retry: Duration,
        /// The deadline.
        renew_deadline: Duration,
    },
}

impl Times {
    /// Whether they fit together.
    ///
    /// # Errors
    /// If they do not.
    pub fn validate(&self) -> Result<(), TimesError> {
        let Self {
            lease,
            renew_deadline,
            retry,
        } = *self;
        if renew_deadline >= lease {
            return Err(TimesError::Deadline {
                renew_deadline,
                lease,
            });
        }
        if retry.is_zero() || retry * 2 > renew_deadline {
            return Err(TimesError::Retry {
                retry,
                renew_deadline,
            });
        }
        Ok(())
    }

    /// How long one request may take: an API server that hangs leaves time for a second one.
    fn request(&self) -> Duration {
        self.renew_deadline / 2
    }

    /// The duration as others read it.
    fn lease_seconds(&self) -> i32 {
        i32::try_from(self.lease.as_millis().div_ceil(1000)).unwrap_or(i32::MAX)
    }
}

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
#[derive(Clone, Debug)]
pub struct Lead(watch::Receiver<Standing>);

#[derive(Clone, Copy, Debug)]
enum Standing {
    StandsBy,
    /// It leads until then, if it does not renew.
    Until(Instant),
    /// There is no election.
    Alone,
}

impl Lead {
    /// The lead of a process that shares it with nobody.
    pub fn alone() -> Self {
        Self(watch::channel(Standing::Alone).1)
    }

    /// Whether this process leads now.
    pub fn holds(&self) -> bool {
        match *self.0.borrow() {
            Standing::StandsBy => false,
            Standing::Until(end) => Instant::now() < end,
            Standing::Alone => true,
        }
    }

    /// How long this process leads if it does not renew; `None` if that has no end.
    pub fn left(&self) -> Option<Duration> {
        match *self.0.borrow() {
            Standing::StandsBy => Some(Duration::ZERO),
            Standing::Until(end) => Some(end.saturating_duration_since(Instant::now())),
            Standing::Alone => None,
        }
    }

    /// Waits until this process leads for the first time.
    pub async fn begun(&self) {
        let mut standing = self.0.clone();
        let begun = standing.wait_for(|standing| !matches!(standing, Standing::StandsBy));
        if begun.await.is_err() {
            // The election has ended before: nothing will begin.
            std::future::pending::<()>().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_that_contradict_each_other() {
        let times = |lease, deadline, retry| Times {
            lease: Duration::from_millis(lease),
            renew_deadline: Duration::from_millis(deadline),
            retry: Duration::from_millis(retry),
        };
        assert_eq!(Times::default().validate(), Ok(()));
        assert_eq!(times(3000, 2000, 500).validate(), Ok(()));
        for wrong in [
            times(10_000, 10_000, 2000),
            times(15_000, 10_000, 6000),
            times(15_000, 10_000, 0),
        ] {
            assert!(wrong.validate().is_err(), "{wrong:?}");
        }
        assert_eq!(times(2500, 2000, 500).lease_seconds(), 3);
    }

    #[test]
    fn a_lead_ends_by_the_own_clock() {
        assert!(Lead::alone().holds());
        assert_eq!(Lead::alone().left(), None);
        let (standing, lead) = watch::channel(Standing::StandsBy);
        let lead = Lead(lead);
        assert!(!lead.holds());
        standing.send_replace(Standing::Until(Instant::now() + Duration::from_secs(60)));
        assert!(lead.holds());
        assert!(lead.left() > Some(Duration::from_secs(50)));
        standing.send_replace(Standing::Until(Instant::now()));
        assert!(!lead.holds());
        assert_eq!(lead.left(), Some(Duration::ZERO));
    }
}
