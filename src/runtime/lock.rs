//! Locking without poison: what a mutex guards here is consistent after every single change, so a panic elsewhere leaves
//! nothing half done behind.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Locks `mutex`, whatever became of who held it before.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
