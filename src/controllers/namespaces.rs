//! The uids of namespaces, which are part of every launch key.

use std::collections::HashMap;
use std::sync::Mutex;

use k8s_openapi::api::core::v1::Namespace;
use kube::Client;
use kube::api::Api;

use crate::runtime::lock::lock;

/// What is known of namespaces.
#[derive(Default)]
pub struct Namespaces(Mutex<Known>);

#[derive(Default)]
struct Known {
    uids: HashMap<String, String>,
    /// How often one was forgotten: what was read before that may be of the one before.
    forgotten: u64,
}

impl Namespaces {
    /// The uid of a namespace; `None` if there is none of this name.
    pub async fn uid(&self, client: &Client, name: &str) -> Result<Option<String>, kube::Error> {
        let forgotten = {
            let known = lock(&self.0);
            if let Some(uid) = known.uids.get(name) {
                return Ok(Some(uid.clone()));
            }
            known.forgotten
        };
        let api: Api<Namespace> = Api::all(client.clone());
        let uid = api.get_opt(name).await?.and_then(|it| it.metadata.uid);
        if let Some(uid) = &uid {
            self.note(name, uid, forgotten);
        }
        Ok(uid)
    }

    fn note(&self, name: &str, uid: &str, forgotten: u64) {
        let mut known = lock(&self.0);
        if known.forgotten == forgotten {
            known.uids.insert(name.to_owned(), uid.to_owned());
        }
    }

    /// Forgets a namespace.
    pub fn forget(&self, name: &str) {
        let mut known = lock(&self.0);
        known.uids.remove(name);
        known.forgotten += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A uid that was read before the namespace was forgotten is not kept: the next one of this name has another.
    #[test]
    fn what_was_read_too_early_is_not_kept() {
        let namespaces = Namespaces::default();
        let uid = |name: &str| lock(&namespaces.0).uids.get(name).cloned();
        namespaces.note("a", "1", 0);
        assert_eq!(uid("a").as_deref(), Some("1"));
        namespaces.forget("a");
        namespaces.note("a", "1", 0);
        assert_eq!(uid("a"), None);
        namespaces.note("a", "2", 1);
        assert_eq!(uid("a").as_deref(), Some("2"));
    }
}
