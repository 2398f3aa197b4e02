//! What is counted over all runs at once: which faults follow each other, and how much is written.
//!
//! A state is reached by many runs. The faults that may lie behind it, and the most that may have been written before it,
//! are carried along the transitions until nothing changes any more.

use std::rc::Rc;

use crate::model::Writes;
use crate::search::Position;
use crate::tables::FastMap;

/// What the operators may write in one life without any fault or action of people: finalizer, claim, launched, running,
/// terminal, finalizer released.
const BUDGET: u8 = 6;
/// What each fault or action may cost beyond it.
const BUDGET_OF_A_FAULT: u8 = 3;

/// Every state and transition of a search.
#[derive(Default)]
pub struct Graph {
    /// Of each state: where its transitions begin, how many faults have struck, and whether another may.
    states: Vec<(u32, u8, bool)>,
    edges: Vec<Edge>,
    positions: FastMap<Position, u32>,
}

struct Edge {
    target: u32,
    /// Number of the fault position; 0 is none.
    position: u32,
    writes: Writes,
}

/// What was counted.
#[derive(Default)]
pub struct Counted {
    pub positions: usize,
    pub pairs: usize,
    pub writes: u8,
    /// A state before which more was written than it may.
    pub too_many_writes: Option<u32>,
}

impl Graph {
    /// The next state; its transitions follow.
    pub fn state(&mut self, used: u8, open: bool) {
        self.states
            .push((u32::try_from(self.edges.len()).unwrap(), used, open));
    }

    pub fn edge(&mut self, target: u32, position: Option<Position>, writes: Writes) {
        let itself = target as usize + 1 == self.states.len();
        if itself && position.is_none() && writes.count == 0 {
            return;
        }
        let next = u32::try_from(self.positions.len() + 1).unwrap();
        let position = position.map_or(0, |position| {
            *self.positions.entry(position).or_insert(next)
        });
        self.edges.push(Edge {
            target,
            position,
            writes,
        });
    }

    /// Counts. Writes only if asked for: two operators with different keys, and no Lease between them, have no budget.
    pub fn count(&self, with_writes: bool) -> Counted {
        let mut written = vec![0_u8; self.states.len()];
        let mut behind = vec![SetNo::EMPTY; self.states.len()];
        let mut sets = Sets::default();
        let mut too_many_writes = None;
        let mut changed = true;
        while changed && too_many_writes.is_none() {
            changed = false;
            for state in 0..self.states.len() {
                let open = behind[state];
                for edge in self.edges_of(state) {
                    let target = edge.target as usize;
                    let writes = if edge.writes.reborn {
                        0
                    } else {
                        written[state] + edge.writes.count
                    };
                    if with_writes && writes > written[target] {
                        written[target] = writes;
                        changed = true;
                        if writes > BUDGET + BUDGET_OF_A_FAULT * self.states[target].1 {
                            too_many_writes = Some(edge.target);
                        }
                    }
                    // Where no further fault can strike, it does not matter which have.
                    if self.states[target].2 {
                        let carried = sets.with(open, edge.position);
                        let joined = sets.union(behind[target], carried);
                        if joined != behind[target] {
                            behind[target] = joined;
                            changed = true;
                        }
                    }
                }
            }
        }
        let mut before: FastMap<u32, SetNo> = FastMap::default();
        for (state, set) in behind.iter().enumerate() {
            for edge in self.edges_of(state).iter().filter(|edge| edge.position > 0) {
                let entry = before.entry(edge.position).or_insert(SetNo::EMPTY);
                *entry = sets.union(*entry, *set);
            }
        }
        Counted {
            positions: self.positions.len(),
            pairs: before.values().map(|set| sets.size(*set)).sum(),
            writes: written.iter().copied().max().unwrap_or_default(),
            too_many_writes,
        }
    }

    fn edges_of(&self, state: usize) -> &[Edge] {
        let begin = self.states[state].0 as usize;
        let end = self
            .states
            .get(state + 1)
            .map_or(self.edges.len(), |next| next.0 as usize);
        &self.edges[begin..end]
    }
}

/// Number of a set of fault positions.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct SetNo(u32);

impl SetNo {
    const EMPTY: Self = Self(0);
}

/// Sets of fault positions, each kept once.
struct Sets {
    sets: Vec<Rc<[u64]>>,
    numbers: FastMap<Rc<[u64]>, SetNo>,
    unions: FastMap<(SetNo, SetNo), SetNo>,
    singles: FastMap<u32, SetNo>,
}

impl Default for Sets {
    fn default() -> Self {
        let empty: Rc<[u64]> = Rc::new([]);
        Self {
            sets: vec![Rc::clone(&empty)],
            numbers: std::iter::once((empty, SetNo::EMPTY)).collect(),
            unions: FastMap::default(),
            singles: FastMap::default(),
        }
    }
}

impl Sets {
    /// The set with one more position; 0 adds none.
    fn with(&mut self, set: SetNo, position: u32) -> SetNo {
        if position == 0 {
            return set;
        }
        let known = self.singles.get(&position).copied();
        let single = known.unwrap_or_else(|| {
            let (word, bit) = (position as usize / 64, position % 64);
            let mut words = vec![0; word + 1];
            words[word] = 1_u64 << bit;
            let single = self.number(words);
            self.singles.insert(position, single);
            single
        });
        self.union(set, single)
    }

    fn union(&mut self, a: SetNo, b: SetNo) -> SetNo {
        let (a, b) = if a.0 < b.0 { (a, b) } else { (b, a) };
        if a == SetNo::EMPTY || a == b {
            return b;
        }
        if let Some(known) = self.unions.get(&(a, b)) {
            return *known;
        }
        let (longer, shorter) = {
            let (a, b) = (&self.sets[a.0 as usize], &self.sets[b.0 as usize]);
            if a.len() > b.len() { (a, b) } else { (b, a) }
        };
        let mut words = longer.to_vec();
        for (word, more) in words.iter_mut().zip(shorter.iter()) {
            *word |= more;
        }
        let union = self.number(words);
        self.unions.insert((a, b), union);
        union
    }

    fn number(&mut self, words: Vec<u64>) -> SetNo {
        let words: Rc<[u64]> = words.into();
        if let Some(known) = self.numbers.get(&words) {
            return *known;
        }
        let no = SetNo(u32::try_from(self.sets.len()).unwrap());
        self.sets.push(Rc::clone(&words));
        self.numbers.insert(words, no);
        no
    }

    fn size(&self, set: SetNo) -> usize {
        self.sets[set.0 as usize]
            .iter()
            .map(|word| word.count_ones() as usize)
            .sum()
    }
}
