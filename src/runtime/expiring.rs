//! What was learned a moment ago and counts for a while: what the API server said of a token, which deliveries have come already.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Mutex;
use std::time::Duration;

use tokio::time::Instant;

use super::lock::lock;

/// Answers that still count. Bounded: who asks ever new things drops what others have asked, and not the process.
pub struct Expiring<K, V> {
    most: usize,
    answers: Mutex<HashMap<K, (Instant, V)>>,
}

impl<K: Eq + Hash, V: Clone> Expiring<K, V> {
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

    /// Takes the answer out, if it still counts.
    pub fn take(&self, key: &K) -> Option<V> {
        let (until, answer) = lock(&self.answers).remove(key)?;
        (Instant::now() < until).then_some(answer)
    }

    /// Keeps an answer for this long.
    pub fn put(&self, key: K, answer: V, keep: Duration) {
        self.first(key, answer, keep);
    }

    /// The same; whether there was none for it that still counts.
    pub fn first(&self, key: K, answer: V, keep: Duration) -> bool {
        let now = Instant::now();
        let mut answers = lock(&self.answers);
        if answers.len() >= self.most && !answers.contains_key(&key) {
            answers.retain(|_, (until, _)| now < *until);
        }
        if answers.len() >= self.most && !answers.contains_key(&key) {
            answers.clear();
        }
        let before = answers.insert(key, (now + keep, answer));
        before.is_none_or(|(until, _)| now >= until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_answer_counts_for_its_time_only() {
        let cache = Expiring::new(10);
        cache.put("token", true, Duration::from_secs(10));
        tokio::time::advance(Duration::from_millis(9_999)).await;
        assert_eq!(cache.get(&"token"), Some(true));
        tokio::time::advance(Duration::from_millis(1)).await;
        assert_eq!(cache.get(&"token"), None);
    }

    #[tokio::test(start_paused = true)]
    async fn it_never_holds_more_than_it_may() {
        let cache = Expiring::new(100);
        for token in 0..10_000 {
            cache.put(token, (), Duration::from_secs(10));
            assert!(lock(&cache.answers).len() <= 100);
            assert_eq!(cache.get(&token), Some(()));
        }
    }
}
