//! Asking a run to stop.

use std::sync::Arc;
use tokio::sync::watch;

/// Asks a run to stop: at its next commit, or at once. Clones ask the same run.
///
/// Either way nothing is half written: what is committed stays, and the next run goes on from there.
#[derive(Debug, Clone)]
pub struct CancelToken(Arc<watch::Sender<Stop>>);

/// How urgently a run is asked to stop.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stop {
    /// Nobody asks.
    #[default]
    No,
    /// After the transaction that is under way.
    AtCommit,
    /// Now; the transaction that is under way is rolled back.
    AtOnce,
}

impl Default for CancelToken {
    fn default() -> Self {
        CancelToken(Arc::new(watch::Sender::new(Stop::No)))
    }
}

impl CancelToken {
    /// Creates a token that nobody has used.
    pub fn new() -> Self {
        Self::default()
    }

    /// Asks to stop at the next commit.
    pub fn stop(&self) {
        self.raise(Stop::AtCommit);
    }

    /// Asks to stop at once.
    pub fn abort(&self) {
        self.raise(Stop::AtOnce);
    }

    fn raise(&self, to: Stop) {
        self.0.send_if_modified(|stop| {
            let higher = to > *stop;
            if higher {
                *stop = to;
            }
            higher
        });
    }

    /// Returns how urgently the run is asked to stop.
    pub fn asked(&self) -> Stop {
        *self.0.borrow()
    }

    /// Returns whether the run is to stop, at its next commit or at once.
    pub fn is_stopping(&self) -> bool {
        self.asked() >= Stop::AtCommit
    }

    /// Returns whether the run is to stop at once.
    pub fn is_aborting(&self) -> bool {
        self.asked() == Stop::AtOnce
    }

    /// Waits until the run is to stop, at its next commit or at once. Cancel safe.
    pub async fn stopping(&self) {
        self.reached(Stop::AtCommit).await;
    }

    /// Waits until the run is to stop at once. Cancel safe.
    pub async fn aborting(&self) {
        self.reached(Stop::AtOnce).await;
    }

    async fn reached(&self, wanted: Stop) {
        let mut receiver = self.0.subscribe();
        // The sender lives as long as `self`, so waiting cannot fail.
        let _ = receiver.wait_for(|stop| *stop >= wanted).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn asking_twice_is_heard_by_every_clone_and_never_taken_back() {
        let token = CancelToken::new();
        let clone = token.clone();
        assert_eq!(clone.asked(), Stop::No);
        token.stop();
        clone.stopping().await;
        assert!(clone.is_stopping() && !clone.is_aborting());
        token.abort();
        clone.aborting().await;
        clone.stop();
        assert!(token.is_aborting());
    }
}
