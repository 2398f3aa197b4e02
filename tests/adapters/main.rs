//! Each adapter against a server that answers what its provider's documents show, and what they have in common: the HTTP stack,
//! the sweep's search, the documentation.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod cursor;
mod cursor_v0;
mod documentation;
mod echo;
mod environment;
mod firebender;
mod firetiger;
mod flapjack;
mod http_stack;
mod images;
mod support;
mod sweep;
mod timeline;
