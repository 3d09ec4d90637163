//! Waiting before something is tried again.

use super::context::Context;
use crate::error::{Error, Result};
use crate::job::Event;
use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use std::time::Duration;

/// Tries without success in between, after which the error stands: the last of them about a minute after the first.
const TRIES: usize = 14;
const LONGEST: Duration = Duration::from_secs(8);

/// Growing waits between tries, which start anew after each success.
#[derive(Debug)]
pub(super) struct Backoff {
    waits: ExponentialBackoff,
    tried: u32,
}

impl Default for Backoff {
    fn default() -> Self {
        let builder = ExponentialBuilder::default().with_min_delay(Duration::from_millis(50)).with_max_delay(LONGEST);
        Backoff { waits: builder.with_factor(2.0).with_max_times(TRIES).with_jitter().build(), tried: 0 }
    }
}

impl Backoff {
    /// Waits, and tells the observer why.
    ///
    /// # Errors
    /// The error itself, when it was tried often enough or the run is to stop.
    pub(super) async fn wait(&mut self, context: &Context, entity: Option<&str>, error: &Error) -> Result<()> {
        let again = || Error::new(error.kind(), error.to_string());
        let Some(delay) = self.waits.next() else { return Err(again()) };
        self.tried += 1;
        context.emit(&Event::Retry {
            entity: entity.map(str::to_owned),
            attempt: self.tried + 1,
            delay,
            reason: error.to_string(),
        });
        let cancel = context.cancel.clone();
        tokio::select! {
            () = tokio::time::sleep(delay) => Ok(()),
            () = cancel.stopping() => Err(again()),
        }
    }

    /// Takes note of a success.
    pub(super) fn reset(&mut self) {
        if self.tried > 0 {
            *self = Backoff::default();
        }
    }
}
