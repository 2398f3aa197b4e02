//! The timeline of a session: what its agent did, as numbered events.
//!
//! It is read from the provider whenever somebody asks and is stored nowhere. A number therefore counts the provider's own record, so
//! that it belongs to the same event after a restart and on another replica:
//!
//! - A session has one or more **records** at its provider, read one after the other in the order of its messages: one for each run, or
//!   one for the whole session.
//! - Every number from 1 to the last belongs to exactly one event. A [`Gap`](EventType::Gap) stands for all numbers of what the provider
//!   no longer has: its `seq` is the last of them, its payload says `{"firstSeq": …, "lastSeq": …}`.
//! - A record that is gone, and whose length is not known, stands for [`LOST_RECORD`] numbers: more than a record has. What comes
//!   after it can then have a higher number than it had before, never a lower one, so that whoever goes on from a number
//!   may read something twice and misses nothing.

mod bounds;
mod event;
mod numbering;
mod position;

pub use self::bounds::{PAYLOAD_BYTES, TEXT_BYTES};
pub use self::event::{Entry, Event, EventType};
pub use self::numbering::{LOST_RECORD, Numbering};
pub use self::position::Position;

/// The most events of one page.
pub const MAX_PAGE: usize = 500;
/// The events of a page of which nobody says how large it should be.
pub const DEFAULT_PAGE: usize = 200;
/// The largest number that JSON's readers can tell from its neighbours.
pub const MAX_SEQ: u64 = (1 << 53) - 1;
