//! What is told of a panic: where it happened, never with which words. The words may quote what was being worked on, a prompt or a
//! provider's answer.

use std::panic;

use tokio::task::JoinError;

/// From now on a panic of any thread is logged with its place alone.
pub fn log_places_only() {
    panic::set_hook(Box::new(|panicked| {
        let place = panicked.location().map(ToString::to_string);
        let thread = std::thread::current();
        tracing::error!(
            place = place.as_deref().unwrap_or("unknown"),
            thread = thread.name().unwrap_or("unnamed"),
            "a panic: please report it with this place"
        );
    }));
}

/// How a task ended that gave no result; [`JoinError`]'s own words would quote the panic.
pub fn broken_off(error: &JoinError) -> &'static str {
    if error.is_panic() {
        "it panicked"
    } else {
        "it was cancelled"
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use std::io::{self, Write};
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Log(Arc<Mutex<Vec<u8>>>);

    impl Write for Log {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[tokio::test]
    async fn a_panic_is_logged_without_what_it_quotes() {
        let log = Log::default();
        let writer = log.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_writer(move || writer.clone())
            .finish();
        let before = panic::take_hook();
        log_places_only();
        let guard = tracing::subscriber::set_default(subscriber);
        let canary = "canary-7d0f".to_owned();
        let error = tokio::spawn(async move { panic!("cannot read {canary}") })
            .await
            .unwrap_err();
        drop(guard);
        panic::set_hook(before);

        let logged = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
        assert!(logged.contains("panics.rs:"), "{logged}");
        assert!(!logged.contains("canary"), "{logged}");
        assert_eq!(broken_off(&error), "it panicked");
    }
}
