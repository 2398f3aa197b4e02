//! The newest events of a followed session, shared by all who follow it.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, timeout_at};

use super::answer::Refusal;
use crate::domain::timeline::Event;
use crate::runtime::lock::lock;

/// Events that are kept for those who have not taken them yet.
const MOST_EVENTS: usize = 1024;
/// The same in bytes.
const MOST_BYTES: usize = 1 << 20;
/// How long the reading waits for its followers once half of what is kept was taken by none of them.
const STALL: Duration = Duration::from_secs(60);

/// An event as one line of JSON.
#[derive(Clone, Debug)]
pub struct Line {
    /// Its number.
    pub seq: u64,
    /// Its message.
    pub message: Option<Arc<str>>,
    /// The line, with its end.
    pub bytes: Bytes,
}

impl Line {
    /// The event as a line.
    pub fn of(event: &Event) -> Self {
        // An event is plain data; what serde says instead is never seen.
        let mut text = serde_json::to_string(event).unwrap_or_default();
        text.push('\n');
        Self {
            seq: event.seq,
            message: event.entry.message.as_deref().map(Arc::from),
            bytes: text.into(),
        }
    }

    /// Whether it is of this message; any event is of no message in particular.
    pub fn is_of(&self, message: Option<&str>) -> bool {
        message.is_none_or(|wanted| self.message.as_deref() == Some(wanted))
    }
}

/// Why nothing more comes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// The session has ended and everything was told.
    Complete,
    /// Something else.
    Refused(Refusal),
}

/// What there is behind an event.
#[derive(Debug)]
pub enum Next {
    /// These.
    Lines(Vec<Line>),
    /// Nothing yet.
    Wait,
    /// It is not kept any more what came right behind it.
    TooOld,
    /// Nothing more comes.
    End(End),
}

/// A bounded part of a timeline, up to its newest event. The fastest follower sets the pace of the reading; who falls behind it by more
/// than is kept has lost the thread.
pub struct Ring {
    state: Mutex<State>,
    changed: watch::Sender<()>,
    taken: Notify,
}

struct State {
    /// The number behind which the kept part begins.
    after: u64,
    lines: VecDeque<Line>,
    bytes: usize,
    /// The newest event that a follower has taken.
    taken: u64,
    end: Option<End>,
}

impl State {
    /// Whether the fastest follower has taken enough for more to be kept.
    fn has_room(&self) -> bool {
        let first = self.lines.partition_point(|line| line.seq <= self.taken);
        if self.lines.len() - first >= MOST_EVENTS / 2 {
            return false;
        }
        let untaken = self.lines.iter().skip(first);
        self.bytes < MOST_BYTES / 2
            || untaken.map(|line| line.bytes.len()).sum::<usize>() < MOST_BYTES / 2
    }
}

impl Ring {
    /// A ring for what comes behind the event `after`.
    pub fn new(after: u64) -> Self {
        Self {
            state: Mutex::new(State {
                after,
                lines: VecDeque::new(),
                bytes: 0,
                taken: after,
                end: None,
            }),
            changed: watch::Sender::new(()),
            taken: Notify::new(),
        }
    }

    /// The number of the newest event.
    pub fn newest(&self) -> u64 {
        let state = lock(&self.state);
        state.lines.back().map_or(state.after, |line| line.seq)
    }

    /// Whether nothing more comes.
    pub fn is_over(&self) -> bool {
        lock(&self.state).end.is_some()
    }

    /// Keeps one more event, once the fastest follower has taken enough of what is kept, or takes nothing for a minute.
    pub async fn push(&self, line: Line) {
        let deadline = Instant::now() + STALL;
        while !lock(&self.state).has_room() {
            if timeout_at(deadline, self.taken.notified()).await.is_err() {
                break;
            }
        }
        self.keep(line);
    }

    /// Keeps one more event now. One that is not newer than the newest is known already.
    fn keep(&self, line: Line) {
        {
            let mut state = lock(&self.state);
            let newest = state.lines.back().map_or(state.after, |line| line.seq);
            if line.seq <= newest {
                return;
            }
            state.bytes += line.bytes.len();
            state.lines.push_back(line);
            while state.lines.len() > MOST_EVENTS || state.bytes > MOST_BYTES {
                let Some(oldest) = state.lines.pop_front() else {
                    break;
                };
                state.bytes -= oldest.bytes.len();
                state.after = oldest.seq;
            }
        }
        self.changed.send_replace(());
    }

    /// Nothing more comes.
    pub fn end(&self, end: End) {
        lock(&self.state).end.get_or_insert(end);
        self.changed.send_replace(());
    }

    /// Tells of every change from now on.
    pub fn subscribe(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    /// At most `most` of what comes behind the event `since`.
    pub fn behind(&self, since: u64, most: usize) -> Next {
        let mut state = lock(&self.state);
        if since < state.after {
            return Next::TooOld;
        }
        if since > state.taken {
            state.taken = since;
            self.taken.notify_one();
        }
        let first = state.lines.partition_point(|line| line.seq <= since);
        let lines: Vec<Line> = state.lines.iter().skip(first).take(most).cloned().collect();
        match (lines.is_empty(), &state.end) {
            (false, _) => Next::Lines(lines),
            (true, None) => Next::Wait,
            (true, Some(end)) => Next::End(end.clone()),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]

    use super::*;
    use crate::domain::timeline::{Entry, EventType};

    fn line(seq: u64, text: &str) -> Line {
        Line::of(&Entry::new(EventType::Assistant, text).numbered(seq))
    }

    fn seqs(ring: &Ring, since: u64) -> Vec<u64> {
        match ring.behind(since, usize::MAX) {
            Next::Lines(lines) => lines.iter().map(|line| line.seq).collect(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn everybody_reads_from_where_they_are() {
        let ring = Ring::new(10);
        // A gap stands for several numbers.
        for seq in [11, 12, 20] {
            ring.keep(line(seq, "a"));
        }
        assert_eq!(seqs(&ring, 10), [11, 12, 20]);
        assert_eq!(seqs(&ring, 12), [20]);
        assert_eq!(seqs(&ring, 15), [20]);
        assert!(matches!(ring.behind(20, 9), Next::Wait));
        assert!(matches!(ring.behind(99, 9), Next::Wait));
        assert!(matches!(ring.behind(9, 9), Next::TooOld));
    }

    #[test]
    fn what_is_known_already_is_not_kept_again() {
        let ring = Ring::new(10);
        for seq in [10, 11, 11, 9, 12] {
            ring.keep(line(seq, "a"));
        }
        assert_eq!(seqs(&ring, 10), [11, 12]);
    }

    /// However much happens and however large it is: who does not read costs nothing more.
    #[test]
    fn it_is_bounded_in_events_and_in_bytes() {
        let ring = Ring::new(0);
        for seq in 1..=5000 {
            ring.keep(line(seq, "a"));
        }
        assert_eq!(seqs(&ring, 5000 - 1024).len(), 1024);
        assert!(matches!(ring.behind(5000 - 1025, 9), Next::TooOld));
        let text = "x".repeat(16 << 10);
        for seq in 5001..=5500 {
            ring.keep(line(seq, &text));
        }
        assert!(lock(&ring.state).bytes <= MOST_BYTES);
        assert_eq!(ring.newest(), 5500);
    }

    /// A single follower is never overtaken: the reading waits for it. One that takes nothing for a minute does not hold it up for ever.
    #[tokio::test(start_paused = true)]
    async fn the_fastest_follower_sets_the_pace() {
        let ring = Arc::new(Ring::new(0));
        let begun = Instant::now();
        let reading = Arc::clone(&ring);
        tokio::spawn(async move {
            for seq in 1..=5000 {
                reading.push(line(seq, "a")).await;
            }
        });
        let (mut fast, mut changes) = (0, ring.subscribe());
        while fast < 5000 {
            match ring.behind(fast, 100) {
                Next::Lines(lines) => fast = lines.last().unwrap().seq,
                Next::Wait => changes.changed().await.unwrap(),
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(begun.elapsed(), Duration::ZERO);
        assert!(matches!(ring.behind(fast, 100), Next::Wait));
        assert!(matches!(ring.behind(0, 100), Next::TooOld));

        let begun = Instant::now();
        for seq in 5001..=7000 {
            ring.push(line(seq, "a")).await;
            if begun.elapsed() > Duration::ZERO {
                break;
            }
        }
        assert_eq!(ring.newest(), 5000 + 512 + 1);
        assert!(begun.elapsed() >= STALL);
    }

    #[test]
    fn the_end_comes_behind_everything() {
        let ring = Ring::new(0);
        ring.keep(line(1, "a"));
        ring.end(End::Complete);
        assert_eq!(seqs(&ring, 0), [1]);
        assert!(matches!(ring.behind(1, 9), Next::End(End::Complete)));
    }
}
