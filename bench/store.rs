//! What etcd holds, written past the API server: a hundred thousand finished sessions in seconds, and none of a round that is over.

use k8s_openapi::ByteString;
use kube::{Client, Config};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::Trouble;

/// Writes of one transaction; etcd takes 128.
const BATCH: usize = 100;

/// Where custom resources of this project are kept.
pub const PREFIX: &str = "/registry/codeagents.dev";

/// etcd, through its JSON gateway.
pub struct Store {
    client: Client,
}

#[derive(Deserialize)]
struct Found {
    #[serde(default)]
    kvs: Vec<Pair>,
}

#[derive(Deserialize)]
struct Pair {
    value: ByteString,
}

impl Store {
    /// The etcd at `endpoint`.
    ///
    /// # Errors
    /// If that is no URL.
    pub fn new(endpoint: &str) -> Result<Self, Trouble> {
        let config = Config::new(endpoint.parse()?);
        Ok(Self {
            client: Client::try_from(config)?,
        })
    }

    /// The object at `key`, as the API server has stored it.
    ///
    /// # Errors
    /// If there is none.
    pub async fn object(&self, key: &str) -> Result<Value, Trouble> {
        let found: Found = self.ask("range", json!({"key": bytes(key)})).await?;
        let pair = found.kvs.into_iter().next();
        let pair = pair.ok_or_else(|| format!("etcd has nothing at {key}"))?;
        Ok(serde_json::from_slice(&pair.value.0)?)
    }

    /// Stores objects.
    ///
    /// # Errors
    /// If etcd refuses.
    pub async fn put(&self, objects: &[(String, Value)]) -> Result<(), Trouble> {
        for batch in objects.chunks(BATCH) {
            let puts: Vec<Value> = batch
                .iter()
                .map(|(key, object)| {
                    let value = bytes(&object.to_string());
                    json!({"requestPut": {"key": bytes(key), "value": value}})
                })
                .collect();
            let _: Value = self.ask("txn", json!({"success": puts})).await?;
        }
        Ok(())
    }

    /// Removes every key from `first` to before `end`.
    ///
    /// # Errors
    /// If etcd refuses.
    pub async fn remove(&self, first: &str, end: &str) -> Result<(), Trouble> {
        let range = json!({"key": bytes(first), "range_end": bytes(end)});
        let _: Value = self.ask("deleterange", range).await?;
        Ok(())
    }

    async fn ask<T: DeserializeOwned>(&self, what: &str, body: Value) -> Result<T, Trouble> {
        let request =
            http::Request::post(format!("/v3/kv/{what}")).body(body.to_string().into())?;
        Ok(self.client.request::<T>(request).await?)
    }
}

fn bytes(text: &str) -> ByteString {
    ByteString(text.as_bytes().to_vec())
}
