//! The work of one connection: how many of its calls are under way at once, and who is next.
//!
//! A pass takes a [`Permit`] before it starts a call. Without one it ends and is woken when its permit is reserved, so that calls
//! that wait, or hang, hold up nobody: no pass, and no other connection.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use tokio::sync::Notify;

use crate::providers::contract::Provider;
use crate::providers::http::{Lane, Prepaid, Rate};
use crate::runtime::lock::lock;

/// How long a permit is kept for an object that was woken for it.
const RESERVED_FOR: Duration = Duration::from_secs(5);

/// Calls of a lane that one connection has under way at once. A launch may take minutes, so that there may be more of them;
/// their requests are spaced by the rate all the same.
fn most(lane: Lane) -> usize {
    match lane {
        Lane::Stop | Lane::Read => 8,
        Lane::Launch => 32,
        Lane::Sweep => 2,
    }
}

/// One connection, with a [`Provider`] for each lane; shared by all who use it.
pub struct Lanes {
    providers: HashMap<Lane, Arc<dyn Provider>>,
    rate: Rate,
    state: Mutex<State>,
    /// A launch has ended or is not waited for any more.
    moved: Notify,
}

#[derive(Default)]
struct State {
    under_way: HashMap<Lane, usize>,
    waiting: HashMap<Lane, VecDeque<Waiter>>,
    reserved: HashMap<String, Reserved>,
    /// Whether a task hands out permits for launches.
    dispatching: bool,
    serial: u64,
}

struct Waiter {
    uid: String,
    wake: Box<dyn Fn() + Send>,
}

struct Reserved {
    permit: Permit,
    serial: u64,
}

/// Leave to make the calls of one effect. Dropping it lets the next one go.
pub struct Permit {
    lanes: Weak<Lanes>,
    lane: Lane,
    token: Option<Prepaid>,
}

impl Permit {
    /// The launch goes out now, with the token that was kept for it.
    pub fn hand_to_launch(&mut self) {
        if let Some(token) = self.token.take() {
            token.hand_to_launch();
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        // The token first: the next launch may want it.
        self.token = None;
        if let Some(lanes) = self.lanes.upgrade() {
            lanes.ended(self.lane);
        }
    }
}

impl Lanes {
    /// A connection whose calls go through `connect(lane)`.
    ///
    /// # Errors
    /// What `connect` says.
    pub fn new<E>(
        rate: Rate,
        connect: impl Fn(Lane) -> Result<Arc<dyn Provider>, E>,
    ) -> Result<Arc<Self>, E> {
        let mut providers = HashMap::new();
        for lane in Lane::ALL {
            providers.insert(lane, connect(lane)?);
        }
        Ok(Arc::new(Self {
            providers,
            rate,
            state: Mutex::default(),
            moved: Notify::new(),
        }))
    }

    /// The connection for calls of this lane.
    pub fn provider(&self, lane: Lane) -> &Arc<dyn Provider> {
        #[expect(
            clippy::expect_used,
            reason = "`new` connects every lane that there is"
        )]
        self.providers.get(&lane).expect("every lane is connected")
    }

    /// How long the provider still wants no requests with this key.
    pub fn silent_for(&self) -> Option<Duration> {
        self.rate.silent_for()
    }

    /// Takes a permit for the object with this uid, or else puts it in line: `wake` is called when its permit is reserved.
    /// Asking again while it is in line changes nothing.
    pub fn enter(
        self: &Arc<Self>,
        lane: Lane,
        uid: &str,
        wake: impl Fn() + Send + 'static,
    ) -> Option<Permit> {
        let (other, entered) = {
            let mut state = lock(&self.state);
            let other = match state.reserved.remove(uid) {
                Some(reserved) if reserved.permit.lane == lane => return Some(reserved.permit),
                other => other,
            };
            for (waited_in, line) in &mut state.waiting {
                if *waited_in != lane {
                    line.retain(|waiter| waiter.uid != uid);
                }
            }
            let vacant = state.waiting.entry(lane).or_default().is_empty() && state.free(lane);
            let entered = if !vacant {
                None
            } else if lane == Lane::Launch {
                self.rate
                    .try_prepay_launch()
                    .map(|token| self.permit(&mut state, lane, Some(token)))
            } else {
                Some(self.permit(&mut state, lane, None))
            };
            (other, entered)
        };
        // Dropped only now: it takes the lock.
        drop(other);
        if entered.is_some() {
            return entered;
        }
        self.wait(lane, uid, wake);
        None
    }

    /// Gives up what the object with this uid waits for, and what is reserved for it.
    pub fn leave(&self, uid: &str) {
        let reserved = {
            let mut state = lock(&self.state);
            for line in state.waiting.values_mut() {
                line.retain(|waiter| waiter.uid != uid);
            }
            state.reserved.remove(uid)
        };
        drop(reserved);
        self.moved.notify_one();
    }

    fn wait(self: &Arc<Self>, lane: Lane, uid: &str, wake: impl Fn() + Send + 'static) {
        let mut state = lock(&self.state);
        let line = state.waiting.entry(lane).or_default();
        if !line.iter().any(|waiter| waiter.uid == uid) {
            line.push_back(Waiter {
                uid: uid.to_owned(),
                wake: Box::new(wake),
            });
        }
        if lane == Lane::Launch && !state.dispatching {
            state.dispatching = true;
            drop(state);
            tokio::spawn(dispatch_launches(Arc::clone(self)));
        } else {
            drop(state);
            // A permit may have come back since it was asked for.
            self.hand_out(lane);
        }
    }

    fn permit(self: &Arc<Self>, state: &mut State, lane: Lane, token: Option<Prepaid>) -> Permit {
        *state.under_way.entry(lane).or_default() += 1;
        Permit {
            lanes: Arc::downgrade(self),
            lane,
            token,
        }
    }

    /// A call has ended.
    fn ended(self: &Arc<Self>, lane: Lane) {
        {
            let mut state = lock(&self.state);
            let under_way = state.under_way.entry(lane).or_default();
            *under_way = under_way.saturating_sub(1);
        }
        match lane {
            Lane::Launch => self.moved.notify_one(),
            Lane::Stop | Lane::Read | Lane::Sweep => self.hand_out(lane),
        }
    }

    /// Reserves what is free in a lane that needs no token.
    fn hand_out(self: &Arc<Self>, lane: Lane) {
        while lane != Lane::Launch && self.reserve(lane, &mut None) {}
    }

    /// Reserves a permit for who is next in the lane; whether there was somebody and room.
    fn reserve(self: &Arc<Self>, lane: Lane, token: &mut Option<Prepaid>) -> bool {
        let (uid, serial, before) = {
            let mut state = lock(&self.state);
            if !state.free(lane) {
                return false;
            }
            let line = state.waiting.entry(lane).or_default();
            let Some(Waiter { uid, wake }) = line.pop_front() else {
                return false;
            };
            state.serial += 1;
            let serial = state.serial;
            let permit = self.permit(&mut state, lane, token.take());
            let before = state
                .reserved
                .insert(uid.clone(), Reserved { permit, serial });
            wake();
            (uid, serial, before)
        };
        // What was reserved in another lane; only now, because it takes the lock.
        drop(before);
        let lanes = Arc::downgrade(self);
        tokio::spawn(async move {
            tokio::time::sleep(RESERVED_FOR).await;
            if let Some(lanes) = lanes.upgrade() {
                lanes.expire(&uid, serial);
            }
        });
        true
    }

    /// An object that did not come for its permit does not keep it from others.
    fn expire(&self, uid: &str, serial: u64) {
        let expired = {
            let mut state = lock(&self.state);
            match state.reserved.get(uid) {
                Some(reserved) if reserved.serial == serial => state.reserved.remove(uid),
                _ => None,
            }
        };
        drop(expired);
    }
}

impl State {
    fn free(&self, lane: Lane) -> bool {
        self.under_way.get(&lane).copied().unwrap_or_default() < most(lane)
    }
}

/// Hands out permits for launches, each with the token of its request, until nobody waits for one.
async fn dispatch_launches(lanes: Arc<Lanes>) {
    loop {
        let room = {
            let mut state = lock(&lanes.state);
            let line = state.waiting.entry(Lane::Launch).or_default();
            if line.is_empty() {
                state.dispatching = false;
                return;
            }
            state.free(Lane::Launch)
        };
        if !room {
            lanes.moved.notified().await;
            continue;
        }
        match lanes.rate.prepay_launch().await {
            Ok(token) => {
                // Nobody may be left who wants it: it goes back.
                lanes.reserve(Lane::Launch, &mut Some(token));
            }
            Err(pause) => tokio::time::sleep(pause).await,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::controllers::testing::silent;
    use crate::providers::credential::Credential;
    use crate::providers::http::{HttpSettings, HttpStack, RateLimit};

    fn lanes() -> Arc<Lanes> {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = HttpStack::new(HttpSettings {
            rate_limit: RateLimit {
                interval: Duration::from_secs(1),
                burst: 2,
                longest_wait: Duration::from_secs(10),
            },
            ..HttpSettings::default()
        })
        .unwrap();
        let url = "https://api.example.com".parse().unwrap();
        let rate = http.rate(&url, &Credential::new().with("api-key", "k"));
        Lanes::new(rate, |_| Ok::<Arc<dyn Provider>, ()>(Arc::new(silent()))).unwrap()
    }

    fn counting(count: &Arc<AtomicUsize>) -> impl Fn() + Send + 'static {
        let count = Arc::clone(count);
        move || {
            count.fetch_add(1, Ordering::SeqCst);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn hanging_looks_hold_up_no_stop_and_who_waits_is_woken_with_a_permit() {
        let lanes = lanes();
        let woken = Arc::new(AtomicUsize::new(0));
        let mut held: Vec<Permit> = (0..most(Lane::Read))
            .map(|n| {
                lanes
                    .enter(Lane::Read, &format!("read-{n}"), || {})
                    .unwrap()
            })
            .collect();
        assert!(lanes.enter(Lane::Read, "late", counting(&woken)).is_none());
        assert!(lanes.enter(Lane::Read, "late", counting(&woken)).is_none());
        assert!(lanes.enter(Lane::Stop, "stop", || {}).is_some());
        assert_eq!(woken.load(Ordering::SeqCst), 0);
        held.pop();
        assert_eq!(woken.load(Ordering::SeqCst), 1);
        // It is kept for who was woken.
        assert!(lanes.enter(Lane::Read, "other", || {}).is_none());
        assert!(lanes.enter(Lane::Read, "late", || {}).is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn a_permit_that_nobody_comes_for_goes_to_the_next() {
        let lanes = lanes();
        let woken = Arc::new(AtomicUsize::new(0));
        let mut held: Vec<Permit> = (0..most(Lane::Stop))
            .map(|n| {
                lanes
                    .enter(Lane::Stop, &format!("stop-{n}"), || {})
                    .unwrap()
            })
            .collect();
        assert!(lanes.enter(Lane::Stop, "gone", || {}).is_none());
        assert!(lanes.enter(Lane::Stop, "next", counting(&woken)).is_none());
        held.pop();
        tokio::time::sleep(RESERVED_FOR + Duration::from_millis(1)).await;
        assert_eq!(woken.load(Ordering::SeqCst), 1);
        assert!(lanes.enter(Lane::Stop, "next", || {}).is_some());
    }

    /// However many want to launch at once: a permit is given only with the token of its request.
    #[tokio::test(start_paused = true)]
    async fn a_launch_gets_its_permit_only_when_its_request_may_go() {
        let lanes = lanes();
        let woken = Arc::new(AtomicUsize::new(0));
        let mut entered: Vec<Permit> = (0..10)
            .filter_map(|n| lanes.enter(Lane::Launch, &format!("s-{n}"), counting(&woken)))
            .collect();
        assert_eq!(entered.len(), 2);
        tokio::time::sleep(Duration::from_millis(3_500)).await;
        assert_eq!(woken.load(Ordering::SeqCst), 3);
        for n in 2..5 {
            entered.push(lanes.enter(Lane::Launch, &format!("s-{n}"), || {}).unwrap());
        }
        assert!(lanes.enter(Lane::Launch, "s-5", || {}).is_none());
    }
}
