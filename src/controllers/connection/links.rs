//! The connections in use.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, Weak};

use super::lanes::Lanes;
use crate::controllers::accounts::ConnectionKey;
use crate::providers::contract::Provider;
use crate::providers::http::{Lane, ProviderClock};
use crate::runtime::lock::lock;

/// A connection.
#[derive(Clone)]
pub struct Linked {
    /// Tells it from others.
    pub key: ConnectionKey,
    /// The connection itself, for looks.
    pub provider: Arc<dyn Provider>,
    /// The connection with its lanes; it holds the credential for as long as somebody uses it, whatever becomes of the Secret.
    pub lanes: Arc<Lanes>,
    /// The endpoint's clock.
    pub clock: Arc<ProviderClock>,
    /// Digest of the credential. Stays in memory.
    pub credential: String,
}

impl Linked {
    /// The connection, whose calls go in this lane.
    pub fn for_lane(self, lane: Lane) -> Self {
        Self {
            provider: Arc::clone(self.lanes.provider(lane)),
            ..self
        }
    }

    /// The connection for calls of this lane.
    pub fn in_lane(&self, lane: Lane) -> &Arc<dyn Provider> {
        self.lanes.provider(lane)
    }
}

/// The connections in use: one for each key, however many sessions share it.
#[derive(Default)]
pub struct Links(Mutex<HashMap<ConnectionKey, Weak<Lanes>>>);

impl Links {
    /// The connection with this key, or the one that `connect` makes.
    pub(super) fn get_or<E>(
        &self,
        key: &ConnectionKey,
        connect: impl FnOnce() -> Result<Arc<Lanes>, E>,
    ) -> Result<Arc<Lanes>, E> {
        let mut links = lock(&self.0);
        if let Some(lanes) = links.get(key).and_then(Weak::upgrade) {
            return Ok(lanes);
        }
        // Rotated keys would pile up.
        links.retain(|_, lanes| lanes.strong_count() > 0);
        let lanes = connect()?;
        links.insert(key.clone(), Arc::downgrade(&lanes));
        Ok(lanes)
    }
}
