//! Events that people see in `kubectl describe`.
//!
//! Each is an object of its own: the aggregating recorder of the client library keeps showing the first note of a
//! repeated event.

use k8s_openapi::api::events::v1::Event;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use k8s_openapi::jiff::Timestamp;
use kube::api::{Api, PostParams};
use kube::{Client, Resource};

/// Longest note the API server takes, in bytes.
const NOTE_BYTES: usize = 1024;

/// Publishes events in the name of one controller.
#[derive(Clone)]
pub struct Publisher {
    client: Client,
    controller: &'static str,
    instance: String,
}

impl Publisher {
    /// Events of `controller`, running as `instance` (the Pod's name).
    pub fn new(client: Client, controller: &'static str, instance: String) -> Self {
        Self {
            client,
            controller,
            instance,
        }
    }

    /// Tells people of `object`. Fire and forget: an event that cannot be stored is logged and lost.
    pub async fn publish<K>(
        &self,
        object: &K,
        warning: bool,
        reason: &str,
        action: &str,
        note: &str,
    ) where
        K: Resource<DynamicType = ()>,
    {
        let regarding = object.object_ref(&());
        let namespace = regarding
            .namespace
            .clone()
            .unwrap_or_else(|| "default".to_owned());
        let name = regarding.name.clone().unwrap_or_default();
        let event = Event {
            metadata: ObjectMeta {
                // The name of an event is the object's with something unique behind it.
                name: Some(format!(
                    "{}.{:016x}",
                    name.get(..200).unwrap_or(&name),
                    rand::random::<u64>()
                )),
                namespace: Some(namespace.clone()),
                ..ObjectMeta::default()
            },
            action: Some(action.to_owned()),
            event_time: Some(MicroTime(Timestamp::now())),
            note: Some(cut(note)),
            reason: Some(reason.to_owned()),
            regarding: Some(regarding),
            reporting_controller: Some(self.controller.to_owned()),
            reporting_instance: Some(self.instance.clone()),
            type_: Some(if warning { "Warning" } else { "Normal" }.to_owned()),
            ..Event::default()
        };
        let api: Api<Event> = Api::namespaced(self.client.clone(), &namespace);
        if let Err(error) = api.create(&PostParams::default(), &event).await {
            tracing::warn!(%error, reason, "an event could not be stored");
        }
    }
}

fn cut(note: &str) -> String {
    let mut end = note.len().min(NOTE_BYTES);
    while !note.is_char_boundary(end) {
        end -= 1;
    }
    note.get(..end).unwrap_or_default().to_owned()
}
