//! Who asks, and whether they may: the cluster decides, by TokenReview and SubjectAccessReview.
//!
//! An answer counts for seconds. Without an answer nobody is let in: a review that is late or refused is a 503.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec, UserInfo};
use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec,
};
use kube::Client;
use kube::api::{Api, PostParams};
use sha2::{Digest, Sha256};
use tokio::sync::Semaphore;

use super::answer::{Refusal, RefusalReason};
use crate::api::GROUP;
use crate::domain::remote::Capability;
use crate::runtime::access_review::is_allowed;
use crate::runtime::expiring::Expiring;

/// For how long a user stays known, and what a user may stays allowed.
const KEEP_YES: Duration = Duration::from_secs(10);
/// For how long a token stays unknown, and what a user may not stays forbidden: who has just been given a right need not wait long.
const KEEP_NO: Duration = Duration::from_secs(3);
/// Answers that are kept of each kind.
const MOST_ANSWERS: usize = 4096;
/// How long a review may take.
const REVIEW_TIMEOUT: Duration = Duration::from_secs(5);
/// Reviews under way at once: who comes with ever new tokens must not become the API server's load.
const MOST_REVIEWS: usize = 16;

/// A token, told apart from others without being kept.
type TokenDigest = [u8; 32];

/// Somebody whom the cluster knows.
#[derive(Debug, PartialEq)]
pub struct User {
    token: TokenDigest,
    name: String,
    uid: Option<String>,
    groups: Vec<String>,
    extra: BTreeMap<String, Vec<String>>,
}

impl User {
    fn new(token: TokenDigest, info: UserInfo) -> Option<Self> {
        Some(Self {
            token,
            name: info.username.filter(|name| !name.is_empty())?,
            uid: info.uid,
            groups: info.groups.unwrap_or_default(),
            extra: info.extra.unwrap_or_default(),
        })
    }

    /// The name, for the log.
    pub fn name(&self) -> &str {
        &self.name
    }
}

/// What is asked of a CodeSession beside the object itself: a subresource that only this server serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Subresource {
    /// The timeline.
    Events,
    /// The files that the agent left.
    Artifacts,
    /// The live view of its machine.
    Preview,
}

impl Subresource {
    /// Its name in the URL and in RBAC.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Events => "events",
            Self::Artifacts => "artifacts",
            Self::Preview => "preview",
        }
    }

    /// What it is, for people.
    pub fn noun(self) -> &'static str {
        match self {
            Self::Events => "the timeline",
            Self::Artifacts => "the artifacts",
            Self::Preview => "the live view",
        }
    }

    /// What a provider must be able to do.
    pub fn capability(self) -> Capability {
        match self {
            Self::Events => Capability::Events,
            Self::Artifacts => Capability::Artifacts,
            Self::Preview => Capability::Preview,
        }
    }

    /// Which of the cluster's roles have the right, where the chart extends them.
    fn roles(self) -> &'static str {
        match self {
            Self::Events | Self::Artifacts => "view, edit or admin",
            Self::Preview => "edit or admin",
        }
    }
}

/// What a user wants to read.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Target {
    /// Namespace of the CodeSession.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// What of it.
    pub subresource: Subresource,
}

/// Asks the API server who somebody is and what they may.
pub struct Access {
    client: Client,
    users: Expiring<TokenDigest, Option<Arc<User>>>,
    permissions: Expiring<(TokenDigest, Target), bool>,
    permits: Semaphore,
}

impl Access {
    /// Nobody was asked about yet.
    pub fn new(client: Client) -> Self {
        Self {
            client,
            users: Expiring::new(MOST_ANSWERS),
            permissions: Expiring::new(MOST_ANSWERS),
            permits: Semaphore::new(MOST_REVIEWS),
        }
    }

    /// Whether the operator may ask for reviews; else why not, and what to do.
    ///
    /// # Errors
    /// The sentence.
    pub async fn may_review(&self) -> Result<(), String> {
        for (group, resource) in [
            ("authentication.k8s.io", "tokenreviews"),
            ("authorization.k8s.io", "subjectaccessreviews"),
        ] {
            let question = ResourceAttributes {
                verb: Some("create".to_owned()),
                group: Some(group.to_owned()),
                resource: Some(resource.to_owned()),
                ..ResourceAttributes::default()
            };
            let allowed = is_allowed(&self.client, &question).await;
            let allowed = allowed.map_err(|error| {
                format!(
                    "the API server does not say whether the operator may check tokens: {error}"
                )
            })?;
            if !allowed {
                return Err(format!(
                    "the operator may not create {resource}: {BIND_DELEGATOR}"
                ));
            }
        }
        Ok(())
    }

    /// Whose token this is.
    ///
    /// # Errors
    /// 401 if nobody's, 503 if the API server does not say.
    pub async fn authenticate(&self, token: &str) -> Result<Arc<User>, Refusal> {
        let digest: TokenDigest = Sha256::digest(token.as_bytes()).into();
        let user = match self.users.get(&digest) {
            Some(known) => known,
            None => {
                let user = self.review_token(token, digest).await?;
                let keep = if user.is_some() { KEEP_YES } else { KEEP_NO };
                self.users.put(digest, user.clone(), keep);
                user
            }
        };
        user.ok_or_else(|| {
            Refusal::new(
                RefusalReason::Unauthorized,
                "the API server does not accept this token: it may have expired, or its ServiceAccount is gone. Get another one, for example with: kubectl create token NAME",
            )
        })
    }

    async fn review_token(
        &self,
        token: &str,
        digest: TokenDigest,
    ) -> Result<Option<Arc<User>>, Refusal> {
        let review = TokenReview {
            spec: TokenReviewSpec {
                token: Some(token.to_owned()),
                ..TokenReviewSpec::default()
            },
            ..TokenReview::default()
        };
        let api: Api<TokenReview> = Api::all(self.client.clone());
        let params = PostParams::default();
        let answer = self
            .ask(api.create(&params, &review), "tokenreviews")
            .await?;
        let status = answer
            .status
            .filter(|status| status.authenticated == Some(true));
        let user = status.and_then(|status| User::new(digest, status.user?));
        Ok(user.map(Arc::new))
    }

    /// Whether `user` may read `target`.
    ///
    /// # Errors
    /// 403 if not, 503 if the API server does not say.
    pub async fn authorize(&self, user: &User, target: &Target) -> Result<(), Refusal> {
        let key = (user.token, target.clone());
        let allowed = match self.permissions.get(&key) {
            Some(known) => known,
            None => {
                let allowed = self.review_access(user, target).await?;
                let keep = if allowed { KEEP_YES } else { KEEP_NO };
                self.permissions.put(key, allowed, keep);
                allowed
            }
        };
        if allowed {
            return Ok(());
        }
        let subresource = target.subresource.as_str();
        Err(Refusal::new(
            RefusalReason::Forbidden,
            format!(
                "User {:?} cannot get resource \"codesessions/{subresource}\" in API group {GROUP:?} in the namespace {:?}: it needs a role with this rule, such as {} where the chart extends them",
                user.name, target.namespace, target.subresource.roles()
            ),
        )
        .about(&target.name))
    }

    /// The same, also whether the token is still good: of a user who was let in a while ago.
    ///
    /// # Errors
    /// As [`Access::authorize`], and 401 if the token is not accepted any more.
    pub async fn authorize_again(&self, token: &str, target: &Target) -> Result<(), Refusal> {
        let user = self.authenticate(token).await?;
        self.authorize(&user, target).await
    }

    async fn review_access(&self, user: &User, target: &Target) -> Result<bool, Refusal> {
        let review = SubjectAccessReview {
            spec: SubjectAccessReviewSpec {
                user: Some(user.name.clone()),
                uid: user.uid.clone(),
                groups: Some(user.groups.clone()),
                extra: Some(user.extra.clone()),
                resource_attributes: Some(ResourceAttributes {
                    verb: Some("get".to_owned()),
                    group: Some(GROUP.to_owned()),
                    version: Some("v1alpha1".to_owned()),
                    resource: Some("codesessions".to_owned()),
                    subresource: Some(target.subresource.as_str().to_owned()),
                    namespace: Some(target.namespace.clone()),
                    name: Some(target.name.clone()),
                    ..ResourceAttributes::default()
                }),
                ..SubjectAccessReviewSpec::default()
            },
            ..SubjectAccessReview::default()
        };
        let api: Api<SubjectAccessReview> = Api::all(self.client.clone());
        let params = PostParams::default();
        let answer = self
            .ask(api.create(&params, &review), "subjectaccessreviews")
            .await?;
        Ok(answer
            .status
            .is_some_and(|status| status.allowed && status.denied != Some(true)))
    }

    async fn ask<T>(
        &self,
        review: impl Future<Output = Result<T, kube::Error>>,
        resource: &str,
    ) -> Result<T, Refusal> {
        let answered = tokio::time::timeout(REVIEW_TIMEOUT, async {
            // The semaphore is never closed.
            let _permit = self.permits.acquire().await;
            review.await
        });
        let unavailable = |message: String| {
            Refusal::new(RefusalReason::ServiceUnavailable, message)
                .retry_after(Duration::from_secs(1))
        };
        match answered.await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(kube::Error::Api(status))) if status.code == 403 => Err(unavailable(format!(
                "the operator may not create {resource}, so that nobody can be let in: {BIND_DELEGATOR}"
            ))),
            Ok(Err(error)) => {
                tracing::warn!(%error, resource, "the API server did not answer a review");
                Err(unavailable(
                    "the API server does not say who you are or what you may: try again".to_owned(),
                ))
            }
            Err(_) => Err(unavailable(format!(
                "the API server did not say within {} s who you are or what you may: try again",
                REVIEW_TIMEOUT.as_secs()
            ))),
        }
    }
}

/// What to do about missing permissions.
const BIND_DELEGATOR: &str = "bind its ServiceAccount to the ClusterRole system:auth-delegator (the chart does with timeline.authDelegator: true)";
