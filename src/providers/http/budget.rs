//! How many bytes of answers this process holds at once, whoever's they are. An answer that finds no room waits, in turn, for as
//! long as its request may take.

use std::sync::Arc;
use std::time::Instant;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// An answer takes room only for what goes beyond this, in bytes: nearly none does, and a stop or a key check never.
pub(super) const FREE: usize = 64 << 10;
/// What one permit stands for, in bytes.
const UNIT: usize = 1 << 10;

/// Room for large answers.
#[derive(Debug)]
pub(super) struct Budget {
    /// First come, first served.
    units: Arc<Semaphore>,
    all: usize,
}

/// Room that is taken. Dropping it lets others have it.
#[derive(Debug)]
pub(super) struct Room(#[expect(dead_code, reason = "held")] OwnedSemaphorePermit);

/// There was none in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NoRoom;

impl Budget {
    pub(super) fn new(bytes: usize) -> Self {
        let all = (bytes / UNIT).clamp(1, Semaphore::MAX_PERMITS);
        Self {
            units: Arc::new(Semaphore::new(all)),
            all,
        }
    }

    /// Waits for room for the rest of an answer of at most `bytes`. All of it is taken at once, so that no two answers wait for
    /// each other's.
    ///
    /// # Errors
    /// If there is none before `deadline`.
    pub(super) async fn room_for(&self, bytes: usize, deadline: Instant) -> Result<Room, NoRoom> {
        // One that is larger than everything there is gets everything there is.
        let units = bytes.saturating_sub(FREE).div_ceil(UNIT).min(self.all);
        let units = u32::try_from(units).unwrap_or(u32::MAX);
        let room = Arc::clone(&self.units).acquire_many_owned(units);
        match tokio::time::timeout_at(deadline.into(), room).await {
            Ok(Ok(permit)) => Ok(Room(permit)),
            Ok(Err(_)) | Err(_) => Err(NoRoom),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::time::Duration;

    use super::*;

    fn soon() -> Instant {
        tokio::time::Instant::now().into_std() + Duration::from_secs(30)
    }

    #[tokio::test(start_paused = true)]
    async fn who_finds_no_room_waits_in_turn_and_no_longer_than_its_request_may_take() {
        let budget = Arc::new(Budget::new(4 << 20));
        let first = budget.room_for(3 << 20, soon()).await.unwrap();
        assert_eq!(budget.room_for(2 << 20, soon()).await.unwrap_err(), NoRoom);
        let (one, two) = (Arc::clone(&budget), Arc::clone(&budget));
        let large = tokio::spawn(async move { one.room_for(4 << 20, soon()).await });
        tokio::task::yield_now().await;
        // A small one does not pass the large one that came first, for which there would never be room otherwise.
        let small = tokio::spawn(async move { two.room_for(1 << 20, soon()).await });
        tokio::task::yield_now().await;
        assert!(!large.is_finished() && !small.is_finished());
        drop(first);
        let large = large.await.unwrap().unwrap();
        tokio::task::yield_now().await;
        assert!(!small.is_finished());
        drop(large);
        small.await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn an_answer_larger_than_everything_gets_everything() {
        let budget = Budget::new(1 << 20);
        drop(budget.room_for(64 << 20, soon()).await.unwrap());
        drop(budget.room_for(64 << 20, soon()).await.unwrap());
    }
}
