//! What the API server said a moment ago of a token, or of what a user may.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Mutex;
use std::time::Duration;

use tokio::time::Instant;

use crate::runtime::lock::lock;

/// Answers that still count. Bounded: who asks with ever new tokens drops what others have asked, and not the process.
pub struct ReviewCache<K, V> {
    most: usize,
    answers: Mutex<HashMap<K, (Instant, V)>>,
}

impl<K: Eq + Hash, V: Clone> ReviewCache<K, V> {
    /// Keeps at most `most` answers.
    pub fn new(most: usize) -> Self {
        Self {
            most,
            answers: Mutex::default(),
        }
    }

    /// The answer, if it still counts.
    pub fn get(&self, key: &K) -> Option<V> {
        let answers = lock(&self.answers);
        let (until, answer) = answers.get(key)?;
        (Instant::now() < *until).then(|| answer.clone())
    }

    /// Keeps an answer for this long.
    pub fn put(&self, key: K, answer: V, keep: Duration) {
        let now = Instant::now();
        let mut answers = lock(&self.answers);
        if answers.len() >= self.most && !answers.contains_key(&key) {
            answers.retain(|_, (until, _)| now < *until);
        }
        if answers.len() >= self.most && !answers.contains_key(&key) {
            answers.clear();
        }
        answers.insert(key, (now + keep, answer));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_answer_counts_for_its_time_only() {
        let cache = ReviewCache::new(10);
        cache.put("token", true, Duration::from_secs(10));
        tokio::time::advance(Duration::from_millis(9_999)).await;
        assert_eq!(cache.get(&"token"), Some(true));
        tokio::time::advance(Duration::from_millis(1)).await;
        assert_eq!(cache.get(&"token"), None);
    }

    #[tokio::test(start_paused = true)]
    async fn it_never_holds_more_than_it_may() {
        let cache = ReviewCache::new(100);
        for token in 0..10_000 {
            cache.put(token, (), Duration::from_secs(10));
            assert!(lock(&cache.answers).len() <= 100);
            assert_eq!(cache.get(&token), Some(()));
        }
    }
}
