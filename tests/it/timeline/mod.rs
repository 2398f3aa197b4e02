//! Timelines as their readers get them: over HTTPS, from the operator, by the cluster's RBAC.

mod access;
mod artifacts;
mod certificate;
mod follow;
mod reader;
