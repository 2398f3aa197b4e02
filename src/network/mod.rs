//! Dialling where a user of the cluster points: which addresses may be dialled, and a request that goes to no other.

pub mod address;
pub mod public_post;
pub mod retry_after;
mod target;
