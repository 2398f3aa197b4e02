//! How fast one credential may ask one endpoint, shared by all its connections, and who goes first.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

/// A token bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateLimit {
    /// Between two requests in the long run. Default 100 ms: 10 per second.
    pub interval: Duration,
    /// How many may go at once after a pause. Default 20.
    pub burst: u32,
    /// A request that would have to wait longer fails at once. Default 10 s.
    pub longest_wait: Duration,
}

impl Default for RateLimit {
    fn default() -> Self {
        Self {
            interval: Duration::from_millis(100),
            burst: 20,
            longest_wait: Duration::from_secs(10),
        }
    }
}

/// What a request is for. Where more requests wait than the rate allows, each lane gets its share of it, the most urgent lane
/// the largest; a lane without requests leaves its share to the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Lane {
    /// A stop, and the poll that confirms it.
    Stop,
    /// A launch, and what is read right before it.
    Launch,
    /// A poll of what runs, a lookup of what may have been launched, a key check.
    Read,
    /// The search for orphans, and other comforts.
    Sweep,
}

impl Lane {
    /// Every lane, the most urgent first.
    pub const ALL: [Self; 4] = [Self::Stop, Self::Launch, Self::Read, Self::Sweep];

    /// How much a request of this lane takes from the lane's share: the less, the more requests go.
    fn stride(self) -> u64 {
        match self {
            Self::Stop => 1,
            Self::Launch => 4,
            Self::Read => 8,
            Self::Sweep => 16,
        }
    }

    fn index(self) -> usize {
        match self {
            Self::Stop => 0,
            Self::Launch => 1,
            Self::Read => 2,
            Self::Sweep => 3,
        }
    }
}

/// The limiter of one (endpoint, credential).
#[derive(Debug)]
pub(super) struct Limiter {
    rule: RateLimit,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// When the bucket is full again.
    full_at: Instant,
    /// Until when the provider does not want to hear from us.
    silent_until: Instant,
    /// Launches that have a token and are not sent yet.
    prepaid: u32,
    lanes: [Line; 4],
    /// How far the shares have been used up; a lane that was idle begins here.
    used: u64,
    next_ticket: u64,
}

/// Who waits in a lane.
#[derive(Debug, Default)]
struct Line {
    waiting: VecDeque<(u64, Arc<Notify>)>,
    used: u64,
}

/// A request that waits; dropping it gives its place up.
struct Waiting<'a> {
    limiter: &'a Limiter,
    lane: Lane,
    ticket: u64,
    turn: Arc<Notify>,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let mut state = self.limiter.lock();
        if let Some(line) = state.lanes.get_mut(self.lane.index()) {
            line.waiting.retain(|(ticket, _)| *ticket != self.ticket);
        }
        state.call_next();
    }
}

impl State {
    /// The lane whose request goes next.
    fn next_lane(&self) -> Option<Lane> {
        Lane::ALL
            .into_iter()
            .filter_map(|lane| self.lanes.get(lane.index()).map(|line| (lane, line)))
            .filter(|(_, line)| !line.waiting.is_empty())
            .min_by_key(|(lane, line)| (line.used, *lane))
            .map(|(lane, _)| lane)
    }

    fn is_next(&self, lane: Lane, ticket: u64) -> bool {
        self.next_lane() == Some(lane)
            && self
                .lanes
                .get(lane.index())
                .and_then(|line| line.waiting.front())
                .is_some_and(|(first, _)| *first == ticket)
    }

    /// Lets whose turn it is look at the clock.
    fn call_next(&self) {
        let next = self
            .next_lane()
            .and_then(|lane| self.lanes.get(lane.index()));
        if let Some((_, turn)) = next.and_then(|line| line.waiting.front()) {
            turn.notify_one();
        }
    }

    /// How many would go before one more request of `lane`.
    fn ahead_of(&self, lane: Lane) -> usize {
        let lines = Lane::ALL.into_iter().filter(|other| *other <= lane);
        lines
            .filter_map(|other| self.lanes.get(other.index()))
            .map(|line| line.waiting.len())
            .sum()
    }

    /// One request of `lane` goes.
    fn use_share(&mut self, lane: Lane) {
        if let Some(line) = self.lanes.get_mut(lane.index()) {
            line.used = line.used.saturating_add(lane.stride());
        }
        let busy = self.lanes.iter().filter(|line| !line.waiting.is_empty());
        if let Some(least) = busy.map(|line| line.used).min() {
            self.used = self.used.max(least);
        }
    }
}

impl Limiter {
    fn new(rule: RateLimit) -> Self {
        let now = Instant::now();
        Self {
            rule,
            state: Mutex::new(State {
                full_at: now,
                silent_until: now,
                prepaid: 0,
                lanes: Default::default(),
                used: 0,
                next_ticket: 0,
            }),
        }
    }

    /// Waits for a token.
    ///
    /// # Errors
    /// How long to stay away, if the provider asked for silence or the wait would be too long. Nothing is taken then.
    pub(super) async fn admit(&self, lane: Lane) -> Result<(), Duration> {
        let waiting = self.enter(lane)?;
        loop {
            let until = {
                let mut state = self.lock();
                let now = Instant::now();
                silence(&state, now)?;
                if state.is_next(lane, waiting.ticket) {
                    match self.take(&mut state, now) {
                        None => {
                            state.use_share(lane);
                            // Leaving the line, which happens on the way out, calls the next one.
                            return Ok(());
                        }
                        Some(wait) => Some(now + wait),
                    }
                } else {
                    None
                }
            };
            match until {
                Some(until) => tokio::select! {
                    () = sleep_until(until) => {}
                    () = waiting.turn.notified() => {}
                },
                None => waiting.turn.notified().await,
            }
        }
    }

    /// Waits for the token of a launch that is about to be claimed: [`Limiter::admit_launch`] uses it up.
    ///
    /// # Errors
    /// How long to stay away, if the provider asked for silence.
    pub(super) async fn prepay(&self) -> Result<(), Duration> {
        self.admit(Lane::Launch).await?;
        let mut state = self.lock();
        state.prepaid = state.prepaid.saturating_add(1);
        Ok(())
    }

    /// Takes the token of a launch if there is one right now and nobody waits for it.
    fn try_prepay(&self) -> bool {
        let mut state = self.lock();
        let now = Instant::now();
        let free = silence(&state, now).is_ok()
            && state.next_lane().is_none()
            && self.take(&mut state, now).is_none();
        if free {
            state.prepaid = state.prepaid.saturating_add(1);
        }
        free
    }

    /// A launch that has a token is not sent after all.
    pub(super) fn refund(&self) {
        let mut state = self.lock();
        if state.prepaid > 0 {
            state.prepaid -= 1;
            state.full_at = state
                .full_at
                .checked_sub(self.rule.interval)
                .unwrap_or(state.full_at);
            state.call_next();
        }
    }

    /// Lets a launch go that has its token, or waits for one.
    ///
    /// # Errors
    /// As [`Limiter::admit`].
    pub(super) async fn admit_launch(&self) -> Result<(), Duration> {
        {
            let mut state = self.lock();
            silence(&state, Instant::now())?;
            if state.prepaid > 0 {
                state.prepaid -= 1;
                return Ok(());
            }
        }
        self.admit(Lane::Launch).await
    }

    /// How long the provider still wants no requests.
    pub(super) fn silent_for(&self) -> Option<Duration> {
        silence(&self.lock(), Instant::now()).err()
    }

    /// Every request fails at once for so long.
    pub(super) fn silence_for(&self, pause: Duration) {
        let mut state = self.lock();
        state.silent_until = state.silent_until.max(Instant::now() + pause);
        for line in &state.lanes {
            for (_, turn) in &line.waiting {
                turn.notify_one();
            }
        }
    }

    /// Takes a place in a lane.
    fn enter(&self, lane: Lane) -> Result<Waiting<'_>, Duration> {
        let mut state = self.lock();
        let now = Instant::now();
        silence(&state, now)?;
        let ahead = u32::try_from(state.ahead_of(lane)).unwrap_or(u32::MAX);
        let wait = self.until_token(&state, now) + self.rule.interval.saturating_mul(ahead);
        if wait > self.rule.longest_wait {
            return Err(wait);
        }
        let ticket = state.next_ticket;
        state.next_ticket += 1;
        let turn = Arc::new(Notify::new());
        let used = state.used;
        if let Some(line) = state.lanes.get_mut(lane.index()) {
            if line.waiting.is_empty() {
                // What it did not use while it was idle is gone.
                line.used = line.used.max(used);
            }
            line.waiting.push_back((ticket, Arc::clone(&turn)));
        }
        // Whoever was next may not be any more, and the other way round.
        state.call_next();
        Ok(Waiting {
            limiter: self,
            lane,
            ticket,
            turn,
        })
    }

    fn until_token(&self, state: &State, now: Instant) -> Duration {
        let burst = self.rule.interval * self.rule.burst.saturating_sub(1);
        let full_at = state.full_at.max(now);
        full_at.saturating_duration_since(now).saturating_sub(burst)
    }

    /// Takes a token, or tells how long until there is one.
    fn take(&self, state: &mut State, now: Instant) -> Option<Duration> {
        let wait = self.until_token(state, now);
        if !wait.is_zero() {
            return Some(wait);
        }
        state.full_at = state.full_at.max(now) + self.rule.interval;
        None
    }

    fn idle(&self, now: Instant) -> bool {
        let state = self.lock();
        state.full_at <= now && state.silent_until <= now
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        // Plain values: a panic elsewhere cannot have left them half written.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn silence(state: &State, now: Instant) -> Result<(), Duration> {
    match state.silent_until.saturating_duration_since(now) {
        Duration::ZERO => Ok(()),
        left => Err(left),
    }
}

/// Which credential asks which endpoint: the endpoint's URL and [`Credential::digest`](crate::providers::credential::Credential::digest).
type LimiterKey = (String, String);

/// The limiters of all credentials.
#[derive(Debug)]
pub(super) struct Limiters {
    rule: RateLimit,
    by_credential: Mutex<HashMap<LimiterKey, Arc<Limiter>>>,
}

impl Limiters {
    pub(super) fn new(rule: RateLimit) -> Self {
        Self {
            rule,
            by_credential: Mutex::new(HashMap::new()),
        }
    }

    /// The limiter of this credential at this endpoint.
    pub(super) fn of(&self, endpoint: &str, digest: String) -> Arc<Limiter> {
        let mut all = self
            .by_credential
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        // Rotated credentials would pile up. One that nobody holds and that remembers nothing is as good as a new one.
        all.retain(|_, limiter| Arc::strong_count(limiter) > 1 || !limiter.idle(now));
        Arc::clone(
            all.entry((endpoint.to_owned(), digest))
                .or_insert_with(|| Arc::new(Limiter::new(self.rule))),
        )
    }
}

/// The rate of one credential at one endpoint, for whoever decides what is sent next.
#[derive(Clone, Debug)]
pub struct Rate(pub(super) Arc<Limiter>);

impl Rate {
    /// Waits until a launch may be sent, and keeps that for it.
    ///
    /// # Errors
    /// How long the provider wants no requests.
    pub async fn prepay_launch(&self) -> Result<Prepaid, Duration> {
        self.0.prepay().await?;
        Ok(Prepaid(Some(Arc::clone(&self.0))))
    }

    /// The token of a launch, if it may be sent right now.
    pub fn try_prepay_launch(&self) -> Option<Prepaid> {
        self.0
            .try_prepay()
            .then(|| Prepaid(Some(Arc::clone(&self.0))))
    }

    /// How long the provider still wants no requests with this key.
    pub fn silent_for(&self) -> Option<Duration> {
        self.0.silent_for()
    }
}

/// The token of one launch. Dropping it unused gives it back.
#[derive(Debug)]
pub struct Prepaid(Option<Arc<Limiter>>);

impl Prepaid {
    /// The launch goes out now, and takes the token with it.
    pub fn hand_to_launch(mut self) {
        self.0 = None;
    }
}

impl Drop for Prepaid {
    fn drop(&mut self) {
        if let Some(limiter) = &self.0 {
            limiter.refund();
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::*;

    fn rule() -> RateLimit {
        RateLimit {
            interval: Duration::from_secs(1),
            burst: 3,
            longest_wait: Duration::from_secs(2),
        }
    }

    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn a_burst_goes_at_once_then_one_per_interval_and_a_long_queue_is_refused() {
        let limiter = Limiter::new(rule());
        let begun = Instant::now();
        let one = || async { limiter.admit(Lane::Read).await.map(|()| begun.elapsed()) };
        let (a, b, c, d, e, f) = tokio::join!(one(), one(), one(), one(), one(), one());
        // Nothing was taken by the one that was refused.
        let g = one().await;
        let after = [a, b, c, d, e, f, g].map(|answer| answer.map(|time| time.as_secs()));
        assert_eq!(
            after,
            [Ok(0), Ok(0), Ok(0), Ok(1), Ok(2), Err(3 * SECOND), Ok(3)]
        );
    }

    #[tokio::test(start_paused = true)]
    async fn silence_refuses_at_once_is_never_shortened_and_ends_by_itself() {
        let limiter = Limiter::new(rule());
        limiter.silence_for(30 * SECOND);
        limiter.silence_for(5 * SECOND);
        assert_eq!(limiter.admit(Lane::Stop).await, Err(30 * SECOND));
        assert_eq!(limiter.silent_for(), Some(30 * SECOND));
        tokio::time::sleep(30 * SECOND).await;
        assert_eq!(limiter.admit(Lane::Stop).await, Ok(()));
        assert_eq!(limiter.silent_for(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn silence_reaches_those_who_are_already_waiting() {
        let limiter = Limiter::new(RateLimit { burst: 1, ..rule() });
        limiter.admit(Lane::Read).await.unwrap();
        let (waited, ()) = tokio::join!(limiter.admit(Lane::Read), async {
            limiter.silence_for(30 * SECOND);
        });
        assert_eq!(waited, Err(30 * SECOND));
    }

    fn patient() -> Limiter {
        Limiter::new(RateLimit {
            burst: 1,
            longest_wait: 1_000 * SECOND,
            ..rule()
        })
    }

    /// How many requests of each lane go in the first `seconds`, if each lane has as many waiting as in `waiting`.
    async fn shares(waiting: [usize; 4], seconds: u64) -> [usize; 4] {
        let limiter = Arc::new(patient());
        limiter.admit(Lane::Read).await.unwrap();
        let gone = Arc::new(Mutex::new([0_usize; 4]));
        let mut tasks = tokio::task::JoinSet::new();
        // The least urgent come first.
        for lane in Lane::ALL.into_iter().rev() {
            for _ in 0..waiting[lane.index()] {
                let (limiter, gone) = (Arc::clone(&limiter), Arc::clone(&gone));
                tasks.spawn(async move {
                    limiter.admit(lane).await.unwrap();
                    gone.lock().unwrap()[lane.index()] += 1;
                });
                tokio::task::yield_now().await;
            }
        }
        tokio::time::sleep(SECOND * u32::try_from(seconds).unwrap() + SECOND / 2).await;
        *gone.lock().unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn a_stop_goes_before_everything_that_waits() {
        assert_eq!(shares([1, 50, 50, 50], 1).await, [1, 0, 0, 0]);
    }

    #[tokio::test(start_paused = true)]
    async fn no_lane_is_starved_by_a_more_urgent_one() {
        let [stop, launch, read, sweep] = shares([200, 200, 200, 200], 69).await;
        assert_eq!(stop + launch + read + sweep, 69);
        assert!(
            stop > launch && launch > read && read > sweep && sweep > 0,
            "{stop} {launch} {read} {sweep}"
        );
        assert!(stop >= 2 * launch, "{stop} {launch}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_lane_alone_has_the_whole_rate() {
        assert_eq!(shares([0, 0, 0, 50], 20).await, [0, 0, 0, 20]);
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_gives_up_waiting_holds_up_nobody() {
        let limiter = patient();
        limiter.admit(Lane::Stop).await.unwrap();
        let given_up = tokio::time::timeout(SECOND / 4, limiter.admit(Lane::Stop));
        let begun = Instant::now();
        let (given_up, next) = tokio::join!(given_up, limiter.admit(Lane::Stop));
        assert!(given_up.is_err());
        assert_eq!((next, begun.elapsed()), (Ok(()), SECOND));
    }

    #[tokio::test(start_paused = true)]
    async fn a_launch_with_its_token_goes_at_once_and_one_that_is_dropped_gives_it_back() {
        let limiter = Arc::new(patient());
        let rate = Rate(Arc::clone(&limiter));
        rate.prepay_launch().await.unwrap().hand_to_launch();
        let begun = Instant::now();
        assert_eq!(limiter.admit_launch().await, Ok(()));
        assert_eq!(begun.elapsed(), Duration::ZERO);
        // It had one token.
        assert_eq!(limiter.admit_launch().await, Ok(()));
        assert_eq!(begun.elapsed(), SECOND);
        drop(rate.prepay_launch().await.unwrap());
        assert_eq!(begun.elapsed(), 2 * SECOND);
        assert_eq!(limiter.admit(Lane::Sweep).await, Ok(()));
        assert_eq!(begun.elapsed(), 2 * SECOND);
    }

    #[test]
    fn one_limiter_per_endpoint_and_credential_and_idle_ones_are_forgotten() {
        let limiters = Limiters::new(rule());
        let held = limiters.of("https://a", "1".into());
        assert!(Arc::ptr_eq(&held, &limiters.of("https://a", "1".into())));
        assert!(!Arc::ptr_eq(&held, &limiters.of("https://b", "1".into())));
        limiters
            .of("https://a", "silenced".into())
            .silence_for(9 * SECOND);
        limiters.of("https://a", "2".into());
        // The one of https://b is gone, the silenced one must not be.
        let all = limiters.by_credential.lock().unwrap();
        let mut digests: Vec<_> = all.keys().map(|(_, digest)| digest.as_str()).collect();
        digests.sort_unstable();
        assert_eq!(digests, ["1", "2", "silenced"]);
    }
}
