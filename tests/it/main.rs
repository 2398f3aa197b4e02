//! The operator against a real API server and simulated providers, over their real HTTP interfaces.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod after_end;
mod agent;
mod api_server;
mod archive;
mod budget;
mod canaries;
mod clocks;
mod continuity;
mod cursor_v0;
mod cursor_v1;
mod downgrade;
mod ending;
mod engines;
mod environment;
mod firetiger;
mod gitops;
mod http;
mod images;
mod jobs;
mod lanes;
mod life;
mod lost_launches;
mod malformed;
mod messages;
mod orphans;
mod outages;
mod parameters;
mod provider_webhooks;
mod proxy;
mod pull_requests;
mod queue;
mod races;
mod rebirth;
mod refused_launches;
mod secrecy;
mod support;
mod templates;
mod timeline;
mod waiting;
mod webhooks;
