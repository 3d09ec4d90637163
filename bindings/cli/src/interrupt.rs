//! Ctrl-C: once stops at the next commit, twice at once.

use migrate_core::job::CancelToken;
use migrate_core::{Error, ErrorKind};
use std::time::Duration;

/// How long a run that is to stop at once may take to roll back.
const PATIENCE: Duration = Duration::from_secs(10);

/// Turns signals into requests of a token, for as long as the process lives.
pub(crate) fn watch(cancel: &CancelToken) {
    let cancel = cancel.clone();
    tokio::spawn(async move {
        let mut said = false;
        while signal().await {
            if cancel.is_stopping() {
                eprintln!("stopping at once; what has been committed stays");
                cancel.abort();
            } else {
                cancel.stop();
                if !said {
                    eprintln!("stopping at the next commit; press Ctrl-C again to stop at once");
                }
                said = true;
            }
        }
    });
}

/// Waits for SIGINT or SIGTERM; false if the system lets nobody wait for them.
async fn signal() -> bool {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        if let Ok(mut terminate) = signal(SignalKind::terminate()) {
            return tokio::select! {
                interrupted = tokio::signal::ctrl_c() => interrupted.is_ok(),
                terminated = terminate.recv() => terminated.is_some(),
            };
        }
    }
    tokio::signal::ctrl_c().await.is_ok()
}

/// Does something that changes nothing and may be given up at the first request.
pub(crate) async fn unless_stopped<T, E: From<Error>>(
    cancel: &CancelToken,
    work: impl Future<Output = Result<T, E>>,
) -> Result<T, E> {
    tokio::select! {
        result = work => result,
        () = cancel.stopping() => Err(cancelled().into()),
    }
}

/// Does something that ends by itself when it is to stop at once; given up if it does not.
pub(crate) async fn unless_stuck<T>(cancel: &CancelToken, work: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    tokio::select! {
        result = work => result,
        () = async {
            cancel.aborting().await;
            tokio::time::sleep(PATIENCE).await;
        } => Err(cancelled()),
    }
}

fn cancelled() -> Error {
    Error::new(ErrorKind::Cancelled, "cancelled")
}
