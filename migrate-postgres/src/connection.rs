//! Opening sessions that mean the same on every server, whatever its configuration says.

use crate::config::PostgresConfig;
use crate::error::{from_connect, from_sqlx};
use crate::nagle;
use migrate_core::{Error, ErrorKind, Result};
use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, ConnectOptions, Connection};

/// What a session is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SessionRole {
    /// Reads catalogs and rows: an empty search path, so that the server prints every name in full, and read-only transactions.
    Reader,
    /// Writes: the role's own search path, because the target's triggers and functions may count on it. What this library says
    /// itself is qualified either way.
    Writer,
}

/// Settings that decide how values are printed and parsed, and which rows a query sees.
const COMMON: &str = "\
    SET row_security = off; \
    SET DateStyle = 'ISO, MDY'; \
    SET IntervalStyle = postgres; \
    SET TimeZone = 'UTC'; \
    SET extra_float_digits = 1; \
    SET lc_monetary = 'C'; \
    SET client_encoding = 'UTF8'; \
    SET standard_conforming_strings = on; \
    SET bytea_output = hex; \
    SET xmlbinary = base64; \
    SET xmloption = content; \
    SET array_nulls = on; \
    SET transform_null_equals = off; \
    SET quote_all_identifiers = off; \
    SET gin_fuzzy_search_limit = 0; \
    SET statement_timeout = 0; \
    SET lock_timeout = 0; \
    SET idle_in_transaction_session_timeout = 0; \
    SET idle_session_timeout = 0; \
    SET client_min_messages = warning; \
    SET jit = off; ";

/// Opens a session and sets every parameter that results depend on.
///
/// # Errors
/// [`ErrorKind::Connection`], [`ErrorKind::Authentication`], and [`ErrorKind::Unsupported`] for servers older than version 14.
pub(crate) async fn connect(config: &PostgresConfig, role: SessionRole) -> Result<PgConnection> {
    config.check_files()?;
    let connecting = config.options().connect();
    let mut connection = match tokio::time::timeout(config.connect_timeout(), connecting).await {
        Ok(connection) => connection.map_err(|e| from_connect(e, config))?,
        Err(_) => {
            let seconds = config.connect_timeout().as_secs();
            let message = format!("the PostgreSQL server did not answer within {seconds} seconds");
            return Err(Error::new(ErrorKind::Connection, message).with("server", config.server()));
        }
    };
    nagle::send_at_once(config.options().get_port());
    let version = server_version(&mut connection).await?;
    if version < 140_000 {
        let message = format!("PostgreSQL {}.{} is too old; version 14 or later is needed", version / 10_000, version % 10_000);
        return Err(Error::new(ErrorKind::Unsupported, message).with("server", config.server()));
    }
    let mut settings = COMMON.to_owned();
    if version >= 170_000 {
        settings.push_str("SET transaction_timeout = 0; ");
    }
    settings.push_str(match role {
        SessionRole::Reader => {
            "SET search_path = ''; SET default_transaction_read_only = on; SET default_transaction_deferrable = off"
        }
        SessionRole::Writer => {
            // A batch is looked for by its keys, in a table that the server takes to lie on a slow disk and may know nothing of: it
            // would read the whole table for every batch of a thousandth of it.
            "SET default_transaction_read_only = off; SET default_transaction_isolation = 'read committed'; \
             SET default_transaction_deferrable = off; SET random_page_cost = 0.1"
        }
    });
    execute(&mut connection, settings).await?;
    Ok(connection)
}

/// Takes leave of the server, which otherwise logs a connection that was lost. Whether that works is of no interest any more.
pub(crate) async fn close(connection: PgConnection) {
    let _ = connection.close().await;
}

/// Returns the server's version as a number, such as 150004.
pub(crate) async fn server_version(connection: &mut PgConnection) -> Result<u32> {
    match connection.server_version_num() {
        Some(version) => Ok(version),
        None => {
            let (version,): (String,) = sqlx::query_as("SELECT pg_catalog.current_setting('server_version_num')")
                .fetch_one(connection)
                .await
                .map_err(from_sqlx)?;
            version.parse().map_err(|_| Error::new(ErrorKind::Unsupported, "the server's version is not a number"))
        }
    }
}

/// Runs statements without parameters that return nothing of interest; the caller has quoted what is in them.
pub(crate) async fn execute(connection: &mut PgConnection, sql: impl Into<String>) -> Result<u64> {
    let sql = sql.into();
    no_zero_byte(&sql)?;
    let done = sqlx::raw_sql(AssertSqlSafe(sql)).execute(connection).await.map_err(from_sqlx)?;
    Ok(done.rows_affected())
}

/// Refuses SQL that would be cut short on the wire, where strings end with a zero byte.
pub(crate) fn no_zero_byte(sql: &str) -> Result<()> {
    if sql.contains('\0') {
        return Err(Error::new(ErrorKind::Unsupported, "PostgreSQL can hold no zero byte in text or names"));
    }
    Ok(())
}
