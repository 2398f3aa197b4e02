//! Who goes first where something is scarce: the slots of a CodeAgent or of an account, the lock of an issue. Pure.
//!
//! Higher priority goes first, then the namespace whose last turn is the longest ago, then age. Two things could keep a namespace
//! waiting without end: a stream of more urgent sessions, and a stream of namespaces that have had no turn yet. So after
//! [`MOST_PASSED_OVER`] turns in a row that passed over the namespace that has waited longest, the next turn is that namespace's.

use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap, btree_set};
use std::iter::Peekable;

use jiff::Timestamp;

/// So many turns in a row may pass over the namespace that has waited longest for one.
pub const MOST_PASSED_OVER: usize = 9;

/// The place of a session among those of its namespace: higher priority first, then age, then name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Rank {
    priority: Reverse<i32>,
    created_at: Timestamp,
    name: String,
    uid: String,
    namespace: String,
}

impl Rank {
    /// The rank of the CodeSession of this namespace with this uid.
    pub fn new(
        priority: i32,
        created_at: Timestamp,
        namespace: String,
        name: String,
        uid: String,
    ) -> Self {
        Self {
            priority: Reverse(priority),
            created_at,
            name,
            uid,
            namespace,
        }
    }

    /// The uid of the CodeSession.
    pub fn uid(&self) -> &str {
        &self.uid
    }
}

/// A moment in the life of a line. Each turn is later than all before it.
type Moment = u64;

/// What one namespace has to do with a line.
#[derive(Clone, Debug, Default)]
struct Share {
    waiting: BTreeSet<Rank>,
    holders: usize,
    /// Its last turn; zero if it had none while it was known.
    served: Moment,
    /// Since when it waits without a turn.
    waits_since: Moment,
}

impl Share {
    fn turn(&self) -> Option<Turn> {
        self.waiting.first().map(|first| Turn {
            priority: first.priority,
            served: self.served,
            first: first.clone(),
        })
    }
}

/// The claim of a namespace to the next turn: who comes first in this order has it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Turn {
    priority: Reverse<i32>,
    served: Moment,
    first: Rank,
}

/// One scarce thing: so many hold it at a time, the others wait in order.
///
/// A change costs the logarithm of the line's length. Nothing here looks at more entries than it answers with, or than there is room
/// for: a line may be long.
#[derive(Clone, Debug, Default)]
pub struct Line {
    capacity: usize,
    /// The namespace of each holder, by uid.
    holders: HashMap<String, String>,
    waiting: usize,
    /// By namespace; of those that hold or wait.
    shares: HashMap<String, Share>,
    /// One of each namespace that waits.
    turns: BTreeSet<Turn>,
    /// The namespaces that wait, longest first.
    longest: BTreeSet<(Moment, String)>,
    /// Turns in a row that passed over the namespace that has waited longest.
    passed_over: usize,
    now: Moment,
}

impl Line {
    /// From now on so many may hold it. Holders beyond that keep it.
    pub fn set_capacity(&mut self, capacity: usize) {
        self.capacity = capacity;
    }

    /// Whether `rank` holds it or may take it: there is room for it and for everyone before it.
    pub fn admits(&mut self, rank: &Rank) -> bool {
        if self.holds(rank.uid()) {
            return true;
        }
        let free = self.free();
        let waits = self.waits(rank);
        let others = self.waiting.saturating_sub(usize::from(waits));
        if free == 0 || others < free {
            return free > 0;
        }
        if !waits {
            self.wait(rank.clone());
        }
        let admitted = self.may_go().any(|may| may == rank);
        if !waits {
            self.withdraw(rank);
        }
        admitted
    }

    /// `rank` takes it, and waits no longer: its namespace has had a turn. To be asked for with [`Line::admits`] before.
    pub fn take(&mut self, rank: &Rank) {
        if self.holds(rank.uid()) {
            self.withdraw(rank);
            return;
        }
        let longest = self.longest.first();
        self.passed_over = match longest.is_some_and(|(_, longest)| *longest != rank.namespace) {
            true => self.passed_over.saturating_add(1),
            false => 0,
        };
        self.now = self.now.saturating_add(1);
        let now = self.now;
        self.hold(rank, now);
    }

    /// `rank` holds it, admitted or not, since another process or an earlier one let it have it at `since`, in Unix seconds: what is
    /// stored counts. Those that hold it already are left as they are.
    pub fn restore(&mut self, rank: &Rank, since: u64) {
        if self.holds(rank.uid()) {
            self.withdraw(rank);
            return;
        }
        self.now = self.now.max(since);
        self.hold(rank, since);
    }

    /// `rank` waits for it.
    pub fn wait(&mut self, rank: Rank) {
        if self.waits(&rank) {
            return;
        }
        self.waiting += 1;
        self.now = self.now.saturating_add(1);
        let now = self.now;
        let namespace = rank.namespace.clone();
        self.change(&namespace, |share| {
            if share.waiting.is_empty() {
                share.waits_since = now;
            }
            share.waiting.insert(rank);
        });
    }

    /// `rank` does not wait for it any more; answers whether it did.
    pub fn withdraw(&mut self, rank: &Rank) -> bool {
        let waited = self.waits(rank);
        if waited {
            self.waiting = self.waiting.saturating_sub(1);
            self.change(&rank.namespace, |share| {
                share.waiting.remove(rank);
            });
        }
        waited
    }

    /// The holder gives it back; answers whether it held it.
    pub fn release(&mut self, uid: &str) -> bool {
        let Some(namespace) = self.holders.remove(uid) else {
            return false;
        };
        self.change(&namespace, |share| {
            share.holders = share.holders.saturating_sub(1);
        });
        true
    }

    /// Those that may take it now, in order.
    pub fn may_go(&self) -> impl Iterator<Item = &Rank> {
        self.order().take(self.free())
    }

    /// The first `most` of those that wait, in order.
    pub fn front(&self, most: usize) -> impl Iterator<Item = &Rank> {
        self.order().take(most)
    }

    /// The position of `rank` among those that wait, 1 is next; `None` if it is not among the first `most`.
    pub fn position(&self, rank: &Rank, most: usize) -> Option<usize> {
        self.front(most)
            .position(|waiting| waiting == rank)
            .map(|index| index + 1)
    }

    /// One that holds it.
    pub fn holder(&self) -> Option<&str> {
        self.holders.keys().next().map(String::as_str)
    }

    /// Whether `uid` holds it.
    pub fn holds(&self, uid: &str) -> bool {
        self.holders.contains_key(uid)
    }

    /// Whether nobody holds it or waits for it.
    pub fn is_idle(&self) -> bool {
        self.holders.is_empty() && self.waiting == 0
    }

    fn free(&self) -> usize {
        self.capacity.saturating_sub(self.holders.len())
    }

    fn waits(&self, rank: &Rank) -> bool {
        let share = self.shares.get(&rank.namespace);
        share.is_some_and(|share| share.waiting.contains(rank))
    }

    fn hold(&mut self, rank: &Rank, since: Moment) {
        self.withdraw(rank);
        self.holders
            .insert(rank.uid.clone(), rank.namespace.clone());
        self.change(&rank.namespace, |share| {
            share.holders += 1;
            share.served = share.served.max(since);
            share.waits_since = share.waits_since.max(since);
        });
    }

    /// Changes what a namespace has to do with this line, and its place in the orders with it.
    fn change(&mut self, namespace: &str, change: impl FnOnce(&mut Share)) {
        let mut share = self.shares.remove(namespace).unwrap_or_default();
        if let Some(turn) = share.turn() {
            self.turns.remove(&turn);
            self.longest
                .remove(&(share.waits_since, namespace.to_owned()));
        }
        change(&mut share);
        if let Some(turn) = share.turn() {
            self.turns.insert(turn);
            self.longest
                .insert((share.waits_since, namespace.to_owned()));
        }
        // One that comes back later is a new one: what is kept is bounded by who holds and who waits.
        if share.holders > 0 || !share.waiting.is_empty() {
            self.shares.insert(namespace.to_owned(), share);
        }
    }

    /// Those that wait, in the order in which they go if nothing changes.
    fn order(&self) -> Order<'_> {
        Order {
            line: self,
            turns: self.turns.iter().peekable(),
            longest: self.longest.iter().peekable(),
            passed_over: self.passed_over,
            now: self.now,
            served: HashMap::new(),
            next_turns: BTreeSet::new(),
            next_longest: BTreeSet::new(),
        }
    }
}

/// Goes through a line as its turns will: what has not had a turn on the way is read from the line, the rest is kept beside it.
struct Order<'a> {
    line: &'a Line,
    turns: Peekable<btree_set::Iter<'a, Turn>>,
    longest: Peekable<btree_set::Iter<'a, (Moment, String)>>,
    passed_over: usize,
    now: Moment,
    /// The namespaces that had a turn on the way: the last one, and who is left.
    served: HashMap<&'a str, (Moment, btree_set::Iter<'a, Rank>)>,
    next_turns: BTreeSet<(Reverse<i32>, Moment, &'a Rank)>,
    next_longest: BTreeSet<(Moment, &'a str)>,
}

impl<'a> Order<'a> {
    /// The namespace that has waited longest.
    fn waits_longest(&mut self) -> Option<&'a str> {
        let served = &self.served;
        while self
            .longest
            .next_if(|(_, namespace)| served.contains_key(namespace.as_str()))
            .is_some()
        {}
        // Who had no turn on the way has waited longer than all that had one.
        match self.longest.peek() {
            Some((_, namespace)) => Some(namespace),
            None => self.next_longest.first().map(|(_, namespace)| *namespace),
        }
    }

    /// The namespace that comes first by priority, last turn and age.
    fn comes_first(&mut self) -> Option<&'a str> {
        let served = &self.served;
        while self
            .turns
            .next_if(|turn| served.contains_key(turn.first.namespace.as_str()))
            .is_some()
        {}
        let turn = self
            .turns
            .peek()
            .map(|turn| (turn.priority, turn.served, &turn.first));
        let again = self.next_turns.first().copied();
        turn.into_iter()
            .chain(again)
            .min()
            .map(|(_, _, first)| first.namespace.as_str())
    }
}

impl<'a> Iterator for Order<'a> {
    type Item = &'a Rank;

    fn next(&mut self) -> Option<Self::Item> {
        let longest = self.waits_longest()?;
        let namespace = match self.passed_over >= MOST_PASSED_OVER {
            true => longest,
            false => self.comes_first()?,
        };
        self.passed_over = match namespace == longest {
            true => 0,
            false => self.passed_over.saturating_add(1),
        };
        let mut left = match self.served.remove(namespace) {
            Some((last, left)) => {
                if let Some(first) = left.clone().next() {
                    self.next_turns.remove(&(first.priority, last, first));
                    self.next_longest.remove(&(last, namespace));
                }
                left
            }
            None => self.line.shares.get(namespace)?.waiting.iter(),
        };
        let goes = left.next()?;
        self.now = self.now.saturating_add(1);
        if let Some(first) = left.clone().next() {
            self.next_turns.insert((first.priority, self.now, first));
            self.next_longest.insert((self.now, namespace));
        }
        self.served.insert(namespace, (self.now, left));
        Some(goes)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn rank_in(namespace: &str, priority: i32, age: i64, name: &str) -> Rank {
        Rank::new(
            priority,
            Timestamp::UNIX_EPOCH - jiff::SignedDuration::from_secs(age),
            namespace.to_owned(),
            name.to_owned(),
            format!("uid-{namespace}-{name}"),
        )
    }

    fn rank(priority: i32, name: &str) -> Rank {
        rank_in("team-a", priority, 0, name)
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

    fn next_of(line: &Line) -> Option<Rank> {
        line.may_go().next().cloned()
    }

    /// Lets them go one after the other for as long as one waits; answers with their names.
    fn served(mut line: Line, most: usize) -> Vec<String> {
        let mut served = Vec::new();
        while served.len() < most
            && let Some(next) = next_of(&line)
        {
            line.take(&next);
            line.release(next.uid());
            served.push(next.name.clone());
        }
        served
    }

    #[test]
    fn the_more_urgent_goes_first_then_the_older_then_by_name() {
        let mut line = line(1, &[(0, "b"), (0, "a"), (5, "z")]);
        line.wait(rank_in("team-a", 0, 1, "y"));
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
        line.restore(&rank(0, "running"), 7);
        assert_eq!(line.may_go().count(), 0);
        assert!(line.release("uid-team-a-running"));
        assert!(!line.release("uid-team-a-running"));
        assert_eq!(names(line.may_go()), ["a"]);
        line.set_capacity(2);
        assert_eq!(names(line.may_go()), ["a", "b"]);
        for name in ["x", "y", "z"] {
            line.restore(&rank(0, name), 7);
        }
        assert_eq!(line.may_go().count(), 0, "more than there is room for");
    }

    /// A namespace that filled the line first does not keep another one waiting: they take turns, whoever is older.
    #[test]
    fn namespaces_take_turns() {
        let mut line = line(1, &[]);
        line.take(&rank_in("team-a", 0, 9, "a0"));
        for name in ["a1", "a2", "a3"] {
            line.wait(rank_in("team-a", 0, 9, name));
        }
        for name in ["b1", "b2"] {
            line.wait(rank_in("team-b", 0, 0, name));
        }
        line.wait(rank_in("team-c", 0, 5, "c1"));
        let order = ["c1", "b1", "a1", "b2", "a2", "a3"];
        assert_eq!(names(line.front(9)), order, "who had no turn yet, by age");
        line.release("uid-team-a-a0");
        assert_eq!(served(line, 9), order);
    }

    #[test]
    fn the_more_urgent_goes_before_other_namespaces() {
        let mut line = line(1, &[]);
        for name in ["a1", "a2"] {
            line.wait(rank_in("team-a", 0, 9, name));
        }
        line.wait(rank_in("team-b", 0, 9, "b1"));
        line.take(&rank_in("team-b", 0, 0, "b0"));
        line.release("uid-team-b-b0");
        line.wait(rank_in("team-b", 7, 0, "urgent"));
        assert_eq!(served(line, 9), ["urgent", "a1", "b1", "a2"]);
    }

    /// Urgency delays the others, it does not keep them out.
    #[test]
    fn a_stream_of_urgent_sessions_leaves_turns_to_others() {
        let mut line = line(1, &[]);
        line.wait(rank_in("team-b", 0, 9, "b1"));
        line.wait(rank_in("team-b", 0, 9, "b2"));
        for number in 0..30 {
            line.wait(rank_in("team-a", 100, 0, &format!("a{number:02}")));
        }
        let served = served(line, 21);
        let of_others: Vec<usize> = (0..21).filter(|n| served[*n].starts_with('b')).collect();
        // After the first of them it is the urgent namespace that has waited longest, for one turn.
        assert_eq!(of_others, [9, 20]);
    }

    /// Nor does a stream of namespaces that come for the first time, such as one for each pull request.
    #[test]
    fn a_stream_of_new_namespaces_keeps_nobody_out() {
        let mut line = line(1, &[]);
        let old = rank_in("team-a", 0, 9, "old");
        line.take(&rank_in("team-a", 0, 9, "before"));
        line.wait(old.clone());
        line.release("uid-team-a-before");
        for turns in 0..=MOST_PASSED_OVER {
            line.wait(rank_in(&format!("ci-{turns}"), 0, 0, "one"));
            let next = line.may_go().next().unwrap().clone();
            if next == old {
                assert_eq!(turns, MOST_PASSED_OVER);
                return;
            }
            line.take(&next);
            line.release(next.uid());
        }
        panic!("it never goes");
    }

    /// What was stored tells whose turn it is, in whatever order it is read.
    #[test]
    fn a_successor_knows_whose_turn_it_is() {
        for order in [[0, 1, 2], [2, 1, 0], [1, 0, 2]] {
            let stored = [
                (rank_in("team-a", 0, 0, "a0"), 300),
                (rank_in("team-b", 0, 0, "b0"), 100),
                (rank_in("team-c", 0, 0, "c0"), 200),
            ];
            let mut line = line(3, &[]);
            for which in order {
                line.restore(&stored[which].0, stored[which].1);
            }
            for name in ["a", "b", "c"] {
                line.wait(rank_in(&format!("team-{name}"), 0, 0, &format!("{name}1")));
            }
            assert_eq!(names(line.front(9)), ["b1", "c1", "a1"]);
            line.release("uid-team-a-a0");
            line.take(&rank_in("team-b", 0, 0, "b1"));
            line.wait(rank_in("team-b", 0, 0, "b2"));
            assert_eq!(names(line.front(9)), ["c1", "a1", "b2"]);
        }
    }

    /// The same rules, said as plainly as can be: everything is looked at each time.
    #[derive(Clone, Default)]
    struct Model {
        waiting: Vec<Rank>,
        holders: Vec<Rank>,
        served: BTreeMap<String, u64>,
        since: BTreeMap<String, u64>,
        passed_over: usize,
        now: u64,
    }

    impl Model {
        fn waits(&self, namespace: &str) -> bool {
            self.waiting.iter().any(|rank| rank.namespace == namespace)
        }

        fn tidy(&mut self) {
            let known = |namespace: &String| {
                let of = |rank: &Rank| rank.namespace == *namespace;
                self.waiting.iter().any(of) || self.holders.iter().any(of)
            };
            let served = self.served.clone();
            self.served = served.into_iter().filter(|(it, _)| known(it)).collect();
        }

        fn wait(&mut self, rank: &Rank) {
            if self.waiting.contains(rank) {
                return;
            }
            self.now += 1;
            if !self.waits(&rank.namespace) {
                self.since.insert(rank.namespace.clone(), self.now);
            }
            self.waiting.push(rank.clone());
        }

        fn longest(&self) -> Option<String> {
            let waiting = self.waiting.iter();
            let waiting = waiting.map(|rank| (self.since[&rank.namespace], &rank.namespace));
            waiting.min().map(|(_, namespace)| namespace.clone())
        }

        fn next(&self) -> Option<Rank> {
            let longest = self.longest()?;
            let forced = self.passed_over >= MOST_PASSED_OVER;
            let candidates = self.waiting.iter();
            let candidates = candidates.filter(|rank| !forced || rank.namespace == longest);
            let first_of = |namespace: &str| {
                let of = self
                    .waiting
                    .iter()
                    .filter(|rank| rank.namespace == namespace);
                of.min().unwrap()
            };
            candidates
                .filter(|rank| *rank == first_of(&rank.namespace))
                .min_by_key(|rank| {
                    let served = self.served.get(&rank.namespace).copied();
                    (rank.priority, served.unwrap_or(0), *rank)
                })
                .cloned()
        }

        fn take(&mut self, rank: &Rank) {
            let passes = self
                .longest()
                .is_some_and(|longest| longest != rank.namespace);
            self.passed_over = if passes { self.passed_over + 1 } else { 0 };
            self.now += 1;
            self.waiting.retain(|waiting| waiting != rank);
            self.holders.push(rank.clone());
            self.served.insert(rank.namespace.clone(), self.now);
            self.since.insert(rank.namespace.clone(), self.now);
            self.tidy();
        }

        fn withdraw(&mut self, rank: &Rank) {
            self.waiting.retain(|waiting| waiting != rank);
            self.tidy();
        }

        fn release(&mut self, rank: &Rank) {
            self.holders.retain(|holder| holder != rank);
            self.tidy();
        }

        fn order(&self) -> Vec<Rank> {
            let mut ahead = self.clone();
            let mut order = Vec::new();
            while let Some(next) = ahead.next() {
                ahead.take(&next);
                order.push(next);
            }
            order
        }
    }

    #[derive(Clone, Debug)]
    enum Step {
        /// Asks for it, and waits where it cannot have it.
        Ask(u8),
        /// As many ends of holders, and whoever may go then goes.
        End(u8),
        Withdraw(u8),
        Capacity(u8),
        /// The session of this number has another priority from now on.
        Priority(u8, i32),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            6 => (0_u8..40).prop_map(Step::Ask),
            4 => any::<u8>().prop_map(Step::End),
            1 => (0_u8..40).prop_map(Step::Withdraw),
            1 => (0_u8..4).prop_map(Step::Capacity),
            1 => ((0_u8..40), 0_i32..3).prop_map(|(n, priority)| Step::Priority(n, priority)),
        ]
    }

    proptest! {
        /// Whatever happens in whatever order: the line says what the plain model says, never more take it than there is room for, and
        /// as long as there is room somebody who waits may go.
        #[test]
        fn a_line_is_its_model(
            capacity in 1_usize..4,
            steps in prop::collection::vec(step(), 0..120),
        ) {
            let mut priorities = [0_i32; 40];
            let mut capacity = capacity;
            let mut line = line(capacity, &[]);
            let mut model = Model::default();
            for step in steps {
                let who = |n: u8, priorities: &[i32; 40]| {
                    let namespace = format!("ns-{}", n % 4);
                    rank_in(&namespace, priorities[usize::from(n)], i64::from(n) % 7, &n.to_string())
                };
                match step {
                    Step::Ask(n) => {
                        let rank = who(n, &priorities);
                        if line.holds(rank.uid()) {
                            prop_assert!(line.admits(&rank));
                        } else if line.admits(&rank) {
                            line.take(&rank);
                            model.take(&rank);
                            prop_assert!(line.holders.len() <= capacity);
                        } else {
                            line.wait(rank.clone());
                            model.wait(&rank);
                        }
                    }
                    Step::End(n) => {
                        if !model.holders.is_empty() {
                            let which = usize::from(n) % model.holders.len();
                            let rank = model.holders[which].clone();
                            prop_assert!(line.release(rank.uid()));
                            model.release(&rank);
                        }
                        if let Some(next) = next_of(&line) {
                            let expected = model.next();
                            prop_assert_eq!(Some(&next), expected.as_ref());
                            line.take(&next);
                            model.take(&next);
                            prop_assert!(line.holders.len() <= capacity);
                        }
                    }
                    Step::Withdraw(n) => {
                        let rank = who(n, &priorities);
                        line.withdraw(&rank);
                        model.withdraw(&rank);
                    }
                    Step::Capacity(n) => {
                        capacity = usize::from(n);
                        line.set_capacity(capacity);
                    }
                    Step::Priority(n, priority) => {
                        let before = who(n, &priorities);
                        // A holder keeps what it has.
                        if line.holds(before.uid()) {
                            continue;
                        }
                        priorities[usize::from(n)] = priority;
                        let after = who(n, &priorities);
                        if line.withdraw(&before) {
                            line.wait(after.clone());
                            model.withdraw(&before);
                            model.wait(&after);
                        }
                    }
                }
                // Asking may have moved the line's clock, which only orders: what counts is the order.
                let order: Vec<Rank> = line.front(usize::MAX).cloned().collect();
                prop_assert_eq!(order, model.order());
                let room = line.holders.len() < capacity && !model.waiting.is_empty();
                prop_assert_eq!(room, line.may_go().next().is_some());
                prop_assert_eq!(line.waiting, model.waiting.len());
                prop_assert_eq!(line.is_idle(), model.waiting.is_empty() && model.holders.is_empty());
                let admitted: Vec<Rank> = line.may_go().cloned().collect();
                for may in admitted {
                    prop_assert!(line.admits(&may));
                }
            }
        }

        /// Of k namespaces that wait with sessions of one priority, each has at least one of every k slots that become free, however many
        /// sessions each has and whoever held them before; within a namespace the older goes first.
        #[test]
        fn of_k_namespaces_each_has_one_of_k_slots(
            before in prop::collection::vec(0_usize..5, 0..6),
            backlogs in prop::collection::vec(1_usize..9, 1..6),
        ) {
            let mut line = line(before.len().max(1), &[]);
            for (number, of) in before.iter().enumerate() {
                line.take(&rank_in(&format!("ns-{of}"), 0, 0, &format!("before-{number}")));
            }
            for (namespace, backlog) in backlogs.iter().enumerate() {
                for number in 0..*backlog {
                    let age = i64::try_from(number).unwrap();
                    line.wait(rank_in(&format!("ns-{namespace}"), 0, age, &number.to_string()));
                }
            }
            for (number, of) in before.iter().enumerate() {
                line.release(&format!("uid-ns-{of}-before-{number}"));
            }
            line.set_capacity(1);
            let mut left: BTreeMap<String, usize> = backlogs
                .iter()
                .enumerate()
                .map(|(namespace, backlog)| (format!("ns-{namespace}"), *backlog))
                .collect();
            let mut turns: Vec<String> = Vec::new();
            while let Some(next) = next_of(&line) {
                let waiting: Vec<String> = left.keys().cloned().collect();
                // Nobody has a second turn while another that waits has had none.
                let last = turns.iter().rposition(|turn| *turn == next.namespace);
                for other in &waiting {
                    let others = turns.iter().rposition(|turn| turn == other);
                    prop_assert!(last.is_none() || others >= last, "{} before {}", next.namespace, other);
                }
                let of = left.get_mut(&next.namespace).unwrap();
                *of -= 1;
                prop_assert_eq!(next.name.clone(), of.to_string(), "the oldest goes first");
                if *of == 0 {
                    left.remove(&next.namespace);
                }
                turns.push(next.namespace.clone());
                line.take(&next);
                line.release(next.uid());
            }
            prop_assert!(left.is_empty());
        }
    }
}
