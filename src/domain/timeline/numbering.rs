//! Which number an entry of a record has.

use super::event::{Entry, Event};
use super::position::Position;

/// How many numbers a record stands for that is gone and whose length is not known; also the most events that one record can have. A
/// run of seven hours has some five thousand.
pub const LOST_RECORD: u64 = 1_000_000;

/// Numbers the entries of a session's records while they are read one after the other.
#[derive(Clone, Debug)]
pub struct Numbering {
    position: Position,
    /// How many numbers each record has, of those whose length an earlier reading learned.
    lengths: Vec<u64>,
    /// The number of the last event that is not wanted.
    since: u64,
}

impl Numbering {
    /// Begins at `from`, if that is before what is wanted, or else as late as possible.
    pub fn new(from: Option<&Position>, since: u64) -> Self {
        let from = from.cloned().unwrap_or_default();
        Self {
            position: from.at_most(since),
            lengths: from.closed,
            since,
        }
    }

    /// The record that is read, counted from 0.
    pub fn record(&self) -> usize {
        self.position.closed.len()
    }

    /// Where the reading stands.
    pub fn position(&self) -> &Position {
        &self.position
    }

    /// Whether every number of the open record is used: what else is in it cannot be told.
    pub fn is_full(&self) -> bool {
        self.position.read >= self.most()
    }

    /// The next entry of the open record, which stands at `mark`; `None` if it is not wanted.
    pub fn entry(&mut self, entry: Entry, mark: Option<String>) -> Option<Event> {
        if self.is_full() {
            return None;
        }
        let seq = self.position.step(mark);
        (seq > self.since).then(|| entry.numbered(seq))
    }

    /// The open record ends here. If it was longer before, a gap stands for what is missing.
    pub fn close(&mut self, message: Option<String>, why: &str) -> Option<Event> {
        let length = self.length().unwrap_or(self.position.read);
        self.close_at(length, message, why)
    }

    /// The rest of the open record is gone: a gap stands for it.
    pub fn lose(&mut self, message: Option<String>, why: &str) -> Option<Event> {
        let length = self.length().unwrap_or(LOST_RECORD);
        self.close_at(length, message, why)
    }

    fn close_at(&mut self, length: u64, message: Option<String>, why: &str) -> Option<Event> {
        let first = self.position.seq().max(self.since).saturating_add(1);
        self.position.close(length.max(self.position.read));
        let last = self.position.seq();
        (first <= last).then(|| Event::gap(first, last, message, why))
    }

    fn length(&self) -> Option<u64> {
        self.lengths.get(self.record()).copied()
    }

    /// One number less than a lost record has, so that there is one for the gap.
    fn most(&self) -> u64 {
        self.length().unwrap_or(LOST_RECORD - 1)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::super::event::EventType;
    use super::*;

    fn said(text: &str) -> Entry {
        Entry::new(EventType::Assistant, text)
    }

    fn read(numbering: &mut Numbering, texts: &[&str]) -> Vec<u64> {
        let events = texts
            .iter()
            .filter_map(|text| numbering.entry(said(text), Some((*text).to_owned())));
        events.map(|event| event.seq).collect()
    }

    /// What a gap stands for.
    fn numbers(gap: Option<Event>) -> (u64, u64) {
        let gap = gap.unwrap();
        let first = gap.entry.payload["firstSeq"].as_u64().unwrap();
        assert_eq!(gap.entry.payload["lastSeq"], gap.seq);
        (first, gap.seq)
    }

    #[test]
    fn records_are_numbered_one_after_the_other_whatever_was_read_before() {
        let mut whole = Numbering::new(None, 0);
        assert_eq!(read(&mut whole, &["a", "b"]), [1, 2]);
        assert_eq!(whole.close(None, ""), None);
        assert_eq!(read(&mut whole, &["c", "d"]), [3, 4]);

        let mut later = Numbering::new(None, 3);
        assert_eq!(read(&mut later, &["a", "b"]), [0; 0]);
        assert_eq!(later.close(None, ""), None);
        assert_eq!(read(&mut later, &["c", "d"]), [4]);

        let mut resumed = Numbering::new(Some(whole.position()), 4);
        assert_eq!(resumed.position().mark.as_deref(), Some("d"));
        assert_eq!(read(&mut resumed, &["e"]), [5]);
    }

    #[test]
    fn a_record_whose_length_is_known_keeps_the_numbers_of_the_later_ones_when_it_is_gone() {
        let known = Position {
            closed: vec![40],
            ..Position::default()
        };
        let mut numbering = Numbering::new(Some(&known), 7);
        assert_eq!(numbers(numbering.lose(None, "gone")), (8, 40));
        assert_eq!(read(&mut numbering, &["c"]), [41]);
        // Nobody who is behind it hears of it.
        let mut behind = Numbering::new(Some(&known), 40);
        assert_eq!(behind.record(), 1);
        assert_eq!(read(&mut behind, &["c"]), [41]);
    }

    #[test]
    fn after_a_record_of_unknown_length_numbers_are_never_lower_than_they_were() {
        let mut before = Numbering::new(None, 0);
        read(&mut before, &["a", "b"]);
        before.close(None, "");
        let was = read(&mut before, &["c"])[0];

        let mut after = Numbering::new(None, 0);
        assert_eq!(numbers(after.lose(None, "gone")), (1, LOST_RECORD));
        assert!(read(&mut after, &["c"])[0] > was);
        // Whoever goes on from the number of before is told of the gap, and then everything again.
        let mut resumed = Numbering::new(None, was);
        assert_eq!(numbers(resumed.lose(None, "gone")), (was + 1, LOST_RECORD));
        assert_eq!(read(&mut resumed, &["c"]), [LOST_RECORD + 1]);
    }

    #[test]
    fn a_record_that_became_shorter_or_longer_moves_no_later_number() {
        let known = Position {
            closed: vec![3],
            ..Position::default()
        };
        let mut shorter = Numbering::new(Some(&known), 0);
        read(&mut shorter, &["a"]);
        assert_eq!(numbers(shorter.close(None, "")), (2, 3));
        let mut longer = Numbering::new(Some(&known), 0);
        assert_eq!(read(&mut longer, &["a", "b", "c", "d"]), [1, 2, 3]);
        assert!(longer.is_full());
        assert_eq!(longer.close(None, ""), None);
        assert_eq!(read(&mut longer, &["e"]), [4]);
    }

    #[test]
    fn an_endless_record_ends_in_a_gap() {
        let from = Position {
            read: LOST_RECORD - 2,
            ..Position::default()
        };
        let mut numbering = Numbering::new(Some(&from), LOST_RECORD - 2);
        assert_eq!(read(&mut numbering, &["a", "b", "c"]), [LOST_RECORD - 1]);
        assert!(numbering.is_full());
        assert_eq!(
            numbers(numbering.lose(None, "")),
            (LOST_RECORD, LOST_RECORD)
        );
    }
}
