//! A run on a temporary copy: a transaction as long as a run would lock every other writer out, and readers as well once it
//! outgrows the page cache.

use crate::config::SqliteConfig;
use crate::error::SqliteContext;
use crate::sink::SqliteSink;
use crate::snapshot::{Removed, copy_to_write, temporary};
use crate::thread::Worker;
use async_trait::async_trait;
use migrate_core::Result;
use migrate_core::sink::{Rehearsal, Sink};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// A sink on a copy. It is declared first, so that its connection is closed before the file is removed.
#[derive(Debug)]
pub(crate) struct SqliteRehearsal {
    sink: SqliteSink,
    _file: Arc<Removed>,
}

/// Stops a copy that nobody waits for any more.
#[derive(Default)]
struct Stop(Arc<AtomicBool>);

impl Drop for Stop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl SqliteRehearsal {
    /// Copies the database, if there is one.
    ///
    /// # Errors
    /// [`migrate_core::ErrorKind::NoSpace`] if the copy does not fit into the folder for temporary files.
    pub(crate) async fn open(config: &SqliteConfig) -> Result<Self> {
        let file = Arc::new(temporary()?);
        if config.path.exists() {
            let reader = config.clone();
            let worker = Worker::start(move || reader.open_reader().map(|(connection, _)| connection)).await?;
            // Dropped before the thread, which is waited for.
            let stop = Stop::default();
            let (stopped, to) = (stop.0.clone(), file.clone());
            worker
                .run(move |connection| {
                    connection.execute_batch("BEGIN").during("copying the target for a rehearsal")?;
                    copy_to_write(connection, &to, || stopped.load(Ordering::Relaxed))
                })
                .await?;
        }
        let copy = SqliteConfig { path: file.path().to_owned(), access: None, immutable: false, ..config.clone() };
        Ok(SqliteRehearsal { sink: SqliteSink::new(copy), _file: file })
    }
}

#[async_trait]
impl Rehearsal for SqliteRehearsal {
    fn sink(&self) -> Arc<dyn Sink> {
        Arc::new(self.sink.clone())
    }

    fn notes(&self) -> Vec<String> {
        vec!["the rows were written to a temporary copy of the target, which was neither written to nor locked".to_owned()]
    }

    async fn end(self: Box<Self>) -> Result<()> {
        Ok(())
    }
}
