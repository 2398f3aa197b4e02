//! How many deliveries are taken.

use std::sync::Mutex;
use std::time::Duration;

use tokio::time::Instant;

use crate::runtime::lock::lock;

/// Deliveries a second, for long.
const PER_SECOND: u32 = 50;
/// Deliveries at once, after a while without any.
const BURST: u32 = 500;

/// Lets so many through and no more.
pub struct Pace {
    /// Until when what was let through takes.
    taken_until: Mutex<Instant>,
}

impl Pace {
    /// Nothing was let through yet.
    pub fn new() -> Self {
        Self {
            taken_until: Mutex::new(Instant::now()),
        }
    }

    /// Whether one more is let through now.
    pub fn admits(&self) -> bool {
        let one = Duration::from_secs(1) / PER_SECOND;
        let now = Instant::now();
        let mut taken_until = lock(&self.taken_until);
        let next = (*taken_until).max(now) + one;
        if next > now + one * BURST {
            return false;
        }
        *taken_until = next;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_burst_is_let_through_and_then_so_many_a_second() {
        let pace = Pace::new();
        let admitted = |tries: u32| (0..tries).filter(|_| pace.admits()).count();
        assert_eq!(admitted(10 * BURST), 500);
        tokio::time::advance(Duration::from_secs(2)).await;
        assert_eq!(admitted(10 * BURST), 100);
        tokio::time::advance(Duration::from_secs(3600)).await;
        assert_eq!(admitted(10 * BURST), 500);
    }
}
