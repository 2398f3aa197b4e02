//! The durations of an election, and how they fit together.

use std::time::Duration;

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
    pub(super) fn request(&self) -> Duration {
        self.renew_deadline / 2
    }

    /// The duration as others read it.
    pub(super) fn lease_seconds(&self) -> i32 {
        i32::try_from(self.lease.as_millis().div_ceil(1000)).unwrap_or(i32::MAX)
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
}
