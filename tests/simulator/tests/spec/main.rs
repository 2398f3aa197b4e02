//! What the simulator promises, over real HTTP: the providers' documented behaviour, faults, and the record of what was seen.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod control;
mod cursor_schema;
mod cursor_v0;
mod cursor_v0_schema;
mod cursor_v1;
mod every_provider;
mod faults;
mod firebender;
mod firetiger;
mod flapjack;
mod support;
