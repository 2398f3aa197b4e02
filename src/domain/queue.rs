//! Who goes first where something is scarce: the slots of a CodeAgent, the lock of an issue. Pure.

use std::cmp::Reverse;
use std::collections::{BTreeSet, HashSet};

use jiff::Timestamp;

/// The place of a session in every line it stands in: higher priority first, then age, then name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Rank {
    priority: Reverse<i32>,
    created_at: Timestamp,
    name: String,
    uid: String,
}

impl Rank {
    /// The rank of the CodeSession with this uid.
    pub fn new(priority: i32, created_at: Timestamp, name: String, uid: String) -> Self {
        Self {
            priority: Reverse(priority),
            created_at,
            name,
            uid,
        }
    }

    /// The uid of the CodeSession.
    pub fn uid(&self) -> &str {
        &self.uid
    }
}

/// One scarce thing: so many hold it at a time, the others wait in order.
///
/// Nothing here looks at more entries than it answers with, or than there is room for: a line may be long.
#[derive(Clone, Debug, Default)]
pub struct Line {
    capacity: usize,
    /// Uids.
    holders: HashSet<String>,
    waiting: BTreeSet<Rank>,
}

impl Line {
    /// From now on so many may hold it. Holders beyond that keep it.
    pub fn set_capacity(&mut self, capacity: usize) {
        self.capacity = capacity;
    }

    /// Whether `rank` holds it or may take it: there is room for it and for everyone before it.
    pub fn admits(&self, rank: &Rank) -> bool {
        let free = self.free();
        self.holders.contains(rank.uid()) || self.waiting.range(..rank).take(free).count() < free
    }

    /// `uid` holds it, admitted or not: what is stored counts.
    pub fn hold(&mut self, uid: &str) {
        self.holders.insert(uid.to_owned());
    }

    /// `rank` takes it, and waits no longer. To be asked for with [`Line::admits`] before.
    pub fn take(&mut self, rank: &Rank) {
        self.waiting.remove(rank);
        self.hold(rank.uid());
    }

    /// `rank` waits for it.
    pub fn wait(&mut self, rank: Rank) {
        self.waiting.insert(rank);
    }

    /// `rank` does not wait for it any more; answers whether it did.
    pub fn withdraw(&mut self, rank: &Rank) -> bool {
        self.waiting.remove(rank)
    }

    /// The holder gives it back; answers whether it held it.
    pub fn release(&mut self, uid: &str) -> bool {
        self.holders.remove(uid)
    }

    /// Those that may take it now, in order.
    pub fn may_go(&self) -> impl Iterator<Item = &Rank> {
        self.waiting.iter().take(self.free())
    }

    /// The first `most` of those that wait, in order.
    pub fn front(&self, most: usize) -> impl Iterator<Item = &Rank> {
        self.waiting.iter().take(most)
    }

    /// The position of `rank` among those that wait, 1 is next; `None` if it is not among the first `most`.
    pub fn position(&self, rank: &Rank, most: usize) -> Option<usize> {
        self.front(most)
            .position(|waiting| waiting == rank)
            .map(|index| index + 1)
    }

    /// One that holds it.
    pub fn holder(&self) -> Option<&str> {
        self.holders.iter().next().map(String::as_str)
    }

    /// Whether nobody holds it or waits for it.
    pub fn is_idle(&self) -> bool {
        self.holders.is_empty() && self.waiting.is_empty()
    }

    fn free(&self) -> usize {
        self.capacity.saturating_sub(self.holders.len())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn rank(priority: i32, name: &str) -> Rank {
        Rank::new(
            priority,
            Timestamp::UNIX_EPOCH,
            name.to_owned(),
            format!("uid-{name}"),
        )
    }

    fn names<'a>(ranks: impl Iterator<Item = &'a Rank>) -> Vec<&'a str> {
        ranks.map(|rank| rank.name.as_str()).collect()
    }

    fn line(capacity: usize, waiting: &[(i32, &str)]) -> Line {
        let mut line = Line::default();
        line.set_capacity(capacity);
        for (priority, name) in waiting {
            line.wait(rank(*priority, name));
        }
        line
    }

    #[test]
    fn the_more_urgent_goes_first_then_the_older_then_by_name() {
        let mut line = line(1, &[(0, "b"), (0, "a"), (5, "z")]);
        let older = Rank::new(
            0,
            Timestamp::UNIX_EPOCH - jiff::SignedDuration::from_secs(1),
            "y".to_owned(),
            "uid-y".to_owned(),
        );
        line.wait(older);
        assert_eq!(names(line.front(9)), ["z", "y", "a", "b"]);
        assert_eq!(line.position(&rank(0, "a"), 9), Some(3));
        assert_eq!(
            line.position(&rank(0, "a"), 2),
            None,
            "beyond what is shown"
        );
    }

    #[test]
    fn who_comes_later_does_not_overtake() {
        let mut line = line(2, &[(0, "a"), (0, "b")]);
        assert!(line.admits(&rank(0, "b")));
        assert!(!line.admits(&rank(0, "c")));
        assert!(line.admits(&rank(1, "c")), "the more urgent does");
        line.take(&rank(0, "a"));
        assert!(line.admits(&rank(0, "a")), "who has it has it");
        assert!(line.admits(&rank(0, "b")));
        assert!(!line.admits(&rank(0, "c")));
        assert!(line.withdraw(&rank(0, "b")));
        assert!(line.admits(&rank(0, "c")));
    }

    #[test]
    fn as_many_may_go_as_there_is_room_for() {
        let mut line = line(1, &[(0, "a"), (0, "b"), (0, "c")]);
        line.hold("running");
        assert_eq!(line.may_go().count(), 0);
        assert!(line.release("running"));
        assert!(!line.release("running"));
        assert_eq!(names(line.may_go()), ["a"]);
        line.set_capacity(2);
        assert_eq!(names(line.may_go()), ["a", "b"]);
        line.hold("x");
        line.hold("y");
        line.hold("z");
        assert_eq!(line.may_go().count(), 0, "more than there is room for");
    }

    proptest! {
        /// However requests, releases and withdrawals follow each other: never more take it than there is room for, and as
        /// long as there is room somebody who waits may go.
        #[test]
        fn never_too_many_and_never_stuck(
            capacity in 0_usize..4,
            steps in prop::collection::vec((0_u8..3, 0_i32..8), 0..60),
        ) {
            let mut line = line(capacity, &[]);
            for (step, n) in steps {
                let who = rank(n % 3, &n.to_string());
                match step {
                    0 if line.admits(&who) => line.take(&who),
                    0 => line.wait(who),
                    1 => drop(line.release(who.uid())),
                    _ => drop(line.withdraw(&who)),
                }
                prop_assert!(line.holders.len() <= capacity);
                let room = line.holders.len() < capacity && !line.waiting.is_empty();
                prop_assert_eq!(room, line.may_go().next().is_some());
                for may in line.may_go() {
                    prop_assert!(line.admits(may));
                }
            }
        }
    }
}
