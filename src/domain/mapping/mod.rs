//! How an HTTP service is called and how its answers read, as a CodeAgent says it (`spec.provider.http`): checked once, then used.
//!
//! Pure: requests come out as paths, queries and bodies, answers go in as JSON.

mod checked;
mod dry_run;
mod misfit;
mod read;
mod template;

pub use self::checked::{Call, Conversation, Filled, List, Mapping, Message};
pub use self::dry_run::{dry_run, items};
pub use self::misfit::Misfit;
pub use self::read::{NotUnderstood, Place, Reading, SessionReader};
pub use self::template::{Json, Name, Text, Values};
