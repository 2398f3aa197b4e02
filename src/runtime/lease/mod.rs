//! Which of several processes acts: leader election on a Lease, by the protocol of client-go.
//!
//! The holder renews the Lease again and again; whoever sees no change of it for as long as it was given takes it. Only
//! one's own monotonic clock counts: what another process writes as a time is for people. A holder that could not renew
//! stops acting before others may take over. One that stops in order empties the Lease, which those that stand by see at
//! once, because they watch it.
//!
//! A Lease decides who should act, and cannot keep a process that was stopped and continued from acting: whatever must
//! not happen twice needs a guard of its own.

mod candidate;
mod election;
mod lead;
mod times;

pub use self::election::Election;
pub use self::lead::{Lead, Lost};
pub use self::times::{Times, TimesError};
