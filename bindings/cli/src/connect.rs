//! From urls to databases.

use crate::failure::Failure;
use migrate_core::error::Result;
use migrate_core::job::{ConnectionUrl, JobFile, Recorder};
use migrate_core::{Error, ErrorKind, ResultExt, Sink, Source, hint};
use migrate_postgres::{PostgresConfig, PostgresSink, PostgresSource, PostgresStore};
use migrate_sqlite::{Access, SqliteConfig, SqliteSink, SqliteSource, SqliteStore};
use std::path::PathBuf;
use std::sync::Arc;

/// A database that this program can speak to.
#[derive(Debug)]
enum Database {
    Sqlite(SqliteConfig),
    Postgres(Box<PostgresConfig>),
}

fn database(url: &ConnectionUrl) -> Result<Database> {
    match url.scheme().as_deref() {
        Some("sqlite") => SqliteConfig::from_url(url.expose()).map(Database::Sqlite),
        Some("postgres" | "postgresql") => {
            PostgresConfig::from_url(url.expose()).map(|config| Database::Postgres(Box::new(config)))
        }
        Some(other) => {
            let near = hint::nearest(other, ["sqlite", "postgres", "postgresql"]);
            let message = format!("the url's scheme \"{other}\" is unknown; known are sqlite: and postgres://{near}");
            Err(Error::new(ErrorKind::Config, message))
        }
        None => Err(Error::new(ErrorKind::Config, "the url names no database; expected sqlite:PATH or postgres://…")),
    }
}

/// Returns an environment as a source. Nothing is opened yet.
pub(crate) fn source(file: &JobFile, environment: &str) -> Result<(Arc<dyn Source>, ConnectionUrl)> {
    let url = file.environment_url(environment)?;
    let source: Arc<dyn Source> = match database(&url).context("environment", environment)? {
        Database::Sqlite(config) => Arc::new(SqliteSource::new(config)),
        Database::Postgres(config) => Arc::new(PostgresSource::new(*config)),
    };
    Ok((source, url))
}

/// Returns an environment as a target. Nothing is opened yet.
pub(crate) fn sink(file: &JobFile, environment: &str) -> Result<(Arc<dyn Sink>, ConnectionUrl)> {
    let url = file.environment_url(environment)?;
    let sink: Arc<dyn Sink> = match database(&url).context("environment", environment)? {
        Database::Sqlite(config) => Arc::new(SqliteSink::new(config)),
        Database::Postgres(config) => Arc::new(PostgresSink::new(*config)),
    };
    Ok((sink, url))
}

/// Returns the folder that an environment's database lies in, where that is known.
pub(crate) fn folder(file: &JobFile, environment: &str) -> Result<Option<PathBuf>> {
    Ok(match database(&file.environment_url(environment)?).context("environment", environment)? {
        Database::Sqlite(config) => Some(match config.path.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder.to_owned(),
            Some(_) | None => PathBuf::from("."),
        }),
        Database::Postgres(_) => None,
    })
}

/// Opens the store, and makes it if it is missing.
pub(crate) async fn store(file: &JobFile) -> Result<Arc<dyn Recorder>> {
    open_store(database(&file.store_url()?).context("table", "[store]")?).await
}

/// Opens the store if it is there: looking does not make a file.
pub(crate) async fn existing_store(file: &JobFile) -> Result<Option<Arc<dyn Recorder>>> {
    match database(&file.store_url()?).context("table", "[store]")? {
        Database::Sqlite(config) if !config.path.exists() => Ok(None),
        Database::Sqlite(config) => open_store(Database::Sqlite(config.with_access(Access::Write))).await.map(Some),
        other @ Database::Postgres(_) => open_store(other).await.map(Some),
    }
}

/// Looks whether the store can be reached, and changes nothing. Returns whether there is one.
pub(crate) async fn look_at_store(file: &JobFile) -> Result<bool> {
    match database(&file.store_url()?).context("table", "[store]")? {
        Database::Sqlite(config) if !config.path.exists() => Ok(false),
        Database::Sqlite(config) => SqliteSource::new(config).schema().await.map(|_| true),
        Database::Postgres(config) => PostgresSource::new(*config).identity().await.map(|_| true),
    }
}

async fn open_store(database: Database) -> Result<Arc<dyn Recorder>> {
    Ok(match database {
        Database::Sqlite(config) => Arc::new(SqliteStore::open(config).await?),
        Database::Postgres(config) => Arc::new(PostgresStore::open(*config).await?),
    })
}

/// Refuses a job that would read and write the same database.
pub(crate) fn tell_apart(source: (&str, &ConnectionUrl), target: (&str, &ConnectionUrl)) -> Result<(), Failure> {
    let place = |url: &ConnectionUrl| match database(url) {
        Ok(Database::Sqlite(config)) => config.path.canonicalize().unwrap_or(config.path).display().to_string(),
        Ok(Database::Postgres(config)) => config.to_string(),
        Err(_) => url.to_string(),
    };
    if place(source.1) == place(target.1) {
        let message = "source and target are the same database";
        let error = Error::new(ErrorKind::Config, message).with("source", source.0).with("target", target.0);
        return Err(error.into());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_scheme_lists_those_known_and_keeps_its_secrets() {
        for (url, parts) in [
            ("oracle://u:hunter2@h/d", ["oracle", "sqlite", "postgres"]),
            ("sqlit:x", ["sqlit", "did you mean \"sqlite\"?", "postgres"]),
            ("hunter2@h", ["names no database", "sqlite:PATH", "postgres://"]),
        ] {
            let error = database(&ConnectionUrl::new(url)).expect_err(url);
            assert_eq!(error.kind(), ErrorKind::Config);
            for part in parts {
                assert!(error.to_string().contains(part), "{error}");
            }
            assert!(!format!("{error:?}").contains("hunter2"), "{error:?}");
        }
    }

    #[test]
    fn one_database_under_two_names_is_found_out() {
        let url = |text: &str| ConnectionUrl::new(text);
        let apart = |a: &str, b: &str| tell_apart(("a", &url(a)), ("b", &url(b))).is_ok();
        assert!(!apart("sqlite:x.db", "sqlite://x.db?mode=ro"));
        assert!(!apart("postgres://u:p@h/d", "postgresql://u:q@h:5432/d"));
        assert!(apart("sqlite:x.db", "sqlite:y.db") && apart("postgres://u@h/d", "postgres://u@h/e"));
    }
}
