//! Where a reading of a timeline stands.

/// Where a reading of a timeline stands: what spares the next reading the part before it. A reader that has none begins at the first record.
///
/// What it says of the records that were read to their end also keeps the numbers of later ones as they are when an earlier one is gone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Position {
    /// How many numbers each record has that was read to its end, oldest first.
    pub closed: Vec<u64>,
    /// How many events were read of the record after those.
    pub read: u64,
    /// The provider's own mark of that place; only the adapter understands it.
    pub mark: Option<String>,
}

impl Position {
    /// The number of the last event before this place.
    pub fn seq(&self) -> u64 {
        let closed: u64 = self
            .closed
            .iter()
            .fold(0, |sum, count| sum.saturating_add(*count));
        closed.saturating_add(self.read)
    }

    /// The last place at or before the event `since` from which a reading can begin.
    #[must_use]
    pub fn at_most(&self, since: u64) -> Self {
        if self.seq() <= since {
            return self.clone();
        }
        let mut earlier = Self::default();
        for count in &self.closed {
            if earlier.seq().saturating_add(*count) > since {
                break;
            }
            earlier.closed.push(*count);
        }
        earlier
    }

    /// One more event of the open record was read; `mark` is where it stands.
    pub fn step(&mut self, mark: Option<String>) -> u64 {
        self.read = self.read.saturating_add(1);
        if mark.is_some() {
            self.mark = mark;
        }
        self.seq()
    }

    /// The open record has `count` numbers, and the next one begins.
    pub fn close(&mut self, count: u64) {
        self.closed.push(count);
        self.read = 0;
        self.mark = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn position() -> Position {
        Position {
            closed: vec![10, 5],
            read: 3,
            mark: Some("m".to_owned()),
        }
    }

    #[test]
    fn a_reading_begins_at_the_last_place_that_is_known_before_the_wanted_event() {
        assert_eq!(position().at_most(18), position());
        assert_eq!(position().at_most(1000), position());
        for (since, closed) in [
            (17, vec![10, 5]),
            (15, vec![10, 5]),
            (14, vec![10]),
            (9, vec![]),
        ] {
            let from = position().at_most(since);
            assert_eq!(
                (from.closed, from.read, from.mark),
                (closed, 0, None),
                "{since}"
            );
        }
    }

    #[test]
    fn numbers_go_on_from_one_record_to_the_next() {
        let mut position = position();
        assert_eq!(position.step(None), 19);
        assert_eq!(position.mark.as_deref(), Some("m"));
        assert_eq!(position.step(Some("n".to_owned())), 20);
        position.close(5);
        assert_eq!((position.seq(), position.mark.as_deref()), (20, None));
        assert_eq!(position.step(None), 21);
    }
}
