//! The tables of the schema `migrate`: made once by an owner, used by plain writers.

use crate::connection::execute;
use crate::error::from_sqlx;
use crate::sql::quote_ident;
use migrate_core::schema::TableName;
use migrate_core::{Error, ErrorKind, Result};
use sqlx::postgres::PgConnection;

/// The version of the tables that this code reads and writes.
pub(super) const VERSION: i32 = 1 + UPGRADES.len() as i32;

/// The schema's name.
const SCHEMA: &str = "migrate";

/// The advisory lock that is held while the tables are made: the first bytes of SHA-256("migrate state tables").
const LOCK: i64 = 0x6d69_6772_6174_6501;

const TABLES: [&str; 9] =
    ["state_version", "fence", "fence_session", "checkpoint", "ledger", "quarantine", "unfinished", "gone", "key_map"];

/// Ledgers are digests and packed keys: compressing them again costs time and gains nothing.
const CREATE: &str = r#"CREATE SCHEMA IF NOT EXISTS migrate;
CREATE TABLE IF NOT EXISTS migrate.fence (
    job text PRIMARY KEY,
    epoch bigint NOT NULL,
    execution text,
    host text,
    process bigint,
    taken_at timestamptz);
CREATE TABLE IF NOT EXISTS migrate.fence_session (
    job text NOT NULL,
    epoch bigint NOT NULL,
    pid integer NOT NULL,
    started text NOT NULL,
    PRIMARY KEY (job, epoch, pid));
CREATE TABLE IF NOT EXISTS migrate.checkpoint (
    job text NOT NULL,
    entity text NOT NULL,
    partition bigint NOT NULL,
    content text NOT NULL,
    PRIMARY KEY (job, entity, partition));
CREATE TABLE IF NOT EXISTS migrate.ledger (
    job text NOT NULL,
    entity text NOT NULL,
    partition bigint NOT NULL,
    ordinal bigint NOT NULL,
    format integer NOT NULL,
    row_count bigint NOT NULL,
    last_key bytea NOT NULL,
    keys bytea NOT NULL,
    checksums bytea NOT NULL,
    keys_digest bytea NOT NULL,
    rows_digest bytea NOT NULL,
    position text NOT NULL,
    execution text NOT NULL,
    outcomes bytea NOT NULL,
    PRIMARY KEY (job, entity, partition, ordinal));
ALTER TABLE migrate.ledger ALTER COLUMN keys SET STORAGE EXTERNAL, ALTER COLUMN checksums SET STORAGE EXTERNAL;
CREATE TABLE IF NOT EXISTS migrate.quarantine (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    job text NOT NULL,
    entity text NOT NULL,
    partition bigint NOT NULL,
    execution text NOT NULL,
    key bytea NOT NULL,
    column_name text,
    reason text NOT NULL,
    row_values bytea NOT NULL,
    columns text[] NOT NULL,
    refused_at timestamptz NOT NULL DEFAULT pg_catalog.now());
CREATE INDEX IF NOT EXISTS quarantine_key ON migrate.quarantine (job, entity, partition, pg_catalog.sha256(key));
CREATE TABLE IF NOT EXISTS migrate.unfinished (
    job text NOT NULL,
    schema_name text NOT NULL,
    table_name text NOT NULL,
    plan text NOT NULL,
    PRIMARY KEY (job, schema_name, table_name));
CREATE TABLE IF NOT EXISTS migrate.state_version (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    version integer NOT NULL);
INSERT INTO migrate.state_version (version) VALUES (1) ON CONFLICT DO NOTHING;
"#;

/// What version 2 and each one after it adds to the one before. Each step can be repeated.
const UPGRADES: [&str; 4] = [
    r#"CREATE TABLE IF NOT EXISTS migrate.gone (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    job text NOT NULL,
    entity text NOT NULL,
    partition bigint NOT NULL,
    key bytea NOT NULL,
    own boolean NOT NULL);
CREATE INDEX IF NOT EXISTS gone_scope ON migrate.gone (job, entity, partition, id);
"#,
    "ALTER TABLE migrate.ledger ADD COLUMN IF NOT EXISTS source_digest bytea;\n",
    r#"CREATE TABLE IF NOT EXISTS migrate.key_map (
    job text NOT NULL,
    entity text NOT NULL,
    source_key bytea NOT NULL,
    target_key bytea NOT NULL,
    PRIMARY KEY (job, entity, source_key));
CREATE INDEX IF NOT EXISTS key_map_target ON migrate.key_map (job, entity, target_key);
"#,
    // The ids come first: else each index would seem fit to find the other's ids, by reading all of an entity's entries.
    r#"ALTER TABLE migrate.key_map DROP CONSTRAINT IF EXISTS key_map_pkey;
ALTER TABLE migrate.key_map ADD CONSTRAINT key_map_pkey PRIMARY KEY (source_key, job, entity);
DROP INDEX IF EXISTS migrate.key_map_target;
CREATE INDEX key_map_target ON migrate.key_map (target_key, job, entity);
"#,
];

/// The first version whose ledger has a place for the source's digests.
pub(super) const WITH_DIGESTS: i32 = 3;

/// Lets whoever may use the ledger use tables that were added later.
const COPY_GRANTS: &str = r#"DO $$ DECLARE grantee text; added text; BEGIN
    FOR grantee, added IN
        SELECT DISTINCT pg_catalog.quote_ident(r.rolname), c.oid::pg_catalog.regclass::pg_catalog.text
        FROM pg_catalog.pg_class l CROSS JOIN LATERAL pg_catalog.aclexplode(l.relacl) a
        JOIN pg_catalog.pg_roles r ON r.oid = a.grantee
        JOIN pg_catalog.pg_class c ON c.relnamespace = l.relnamespace AND c.relkind = 'r'
        WHERE l.oid = 'migrate.ledger'::pg_catalog.regclass AND a.privilege_type = 'UPDATE' AND a.grantee <> l.relowner
    LOOP
        EXECUTE 'GRANT SELECT, INSERT, UPDATE, DELETE ON ' || added || ' TO ' || grantee;
    END LOOP;
END $$;
"#;

/// The steps that lead from a version to the one of today.
fn upgrade_sql(from: i32) -> String {
    let done = usize::try_from(from - 1).unwrap_or_default();
    let steps: String = UPGRADES.iter().skip(done).copied().collect();
    format!("{steps}{COPY_GRANTS}UPDATE migrate.state_version SET version = {VERSION} WHERE version < {VERSION};\n")
}

/// Whether a table is one of this library's own.
pub(crate) fn is_state_table(name: &TableName) -> bool {
    name.schema.as_deref() == Some(SCHEMA) && TABLES.contains(&name.name.as_str())
}

/// Returns the SQL that makes the tables and lets a role write to them.
pub(super) fn create_sql(writer: Option<&str>) -> String {
    let mut sql = format!("BEGIN;\n{CREATE}{}", upgrade_sql(1));
    if let Some(writer) = writer {
        let role = quote_ident(writer);
        sql.push_str(&format!(
            "GRANT USAGE ON SCHEMA migrate TO {role};\n\
             GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA migrate TO {role};\n"
        ));
    }
    sql.push_str("COMMIT;\n");
    sql
}

/// Returns the version of the tables, or `None` if there are none.
///
/// # Errors
/// [`ErrorKind::Permission`] if the role may not look.
pub(super) async fn version(connection: &mut PgConnection) -> Result<Option<i32>> {
    let (exists, usable): (bool, Option<bool>) = sqlx::query_as(
        "SELECT pg_catalog.count(c.oid) > 0, pg_catalog.bool_and(pg_catalog.has_schema_privilege(n.oid, 'USAGE') \
                AND pg_catalog.has_table_privilege(c.oid, 'SELECT')) \
         FROM pg_catalog.pg_namespace n JOIN pg_catalog.pg_class c ON c.relnamespace = n.oid \
         WHERE n.nspname = 'migrate' AND c.relname = 'state_version' AND c.relkind = 'r'",
    )
    .fetch_one(&mut *connection)
    .await
    .map_err(from_sqlx)?;
    if !exists {
        return Ok(None);
    }
    if usable != Some(true) {
        return Err(must_be_granted());
    }
    let found: Option<(i32,)> =
        sqlx::query_as("SELECT v.version FROM migrate.state_version v").fetch_optional(connection).await.map_err(from_sqlx)?;
    found.map(|(version,)| Some(version)).ok_or_else(|| Error::new(ErrorKind::Corrupt, "migrate.state_version holds no version"))
}

/// Refuses tables of a version that this code does not know.
pub(super) fn check_version(version: i32) -> Result<()> {
    if version > VERSION {
        let message = format!(
            "the target's state tables have version {version}, and this program knows version {VERSION}; use a newer one"
        );
        return Err(Error::new(ErrorKind::Corrupt, message).with("schema", SCHEMA));
    }
    if version < 1 {
        return Err(Error::new(ErrorKind::Corrupt, format!("the target's state tables have the unknown version {version}")));
    }
    Ok(())
}

/// Makes the tables if they are missing, and adds to those of an older version. Several processes may try at once.
pub(super) async fn create(connection: &mut PgConnection, within: bool) -> Result<()> {
    match version(connection).await? {
        Some(version) if version >= VERSION => return check_version(version),
        Some(_) => check_ownership(connection).await?,
        None => check_rights(connection).await?,
    }
    if within {
        return create_in_transaction(connection).await;
    }
    execute(connection, "BEGIN").await?;
    let made = create_in_transaction(connection).await;
    let end = if made.is_ok() { "COMMIT" } else { "ROLLBACK" };
    let ended = execute(connection, end).await;
    made?;
    ended.map(drop)
}

async fn create_in_transaction(connection: &mut PgConnection) -> Result<()> {
    sqlx::query("SELECT pg_catalog.pg_advisory_xact_lock($1)").bind(LOCK).execute(&mut *connection).await.map_err(from_sqlx)?;
    if let Some(version) = version(connection).await? {
        check_version(version)?;
        return if version < VERSION { execute(connection, upgrade_sql(version)).await.map(drop) } else { Ok(()) };
    }
    let (taken,): (Option<String>,) = sqlx::query_as(
        "SELECT pg_catalog.min(c.relname::pg_catalog.text) FROM pg_catalog.pg_class c \
         JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = 'migrate' AND c.relname = ANY($1)",
    )
    .bind(TABLES.map(str::to_owned).to_vec())
    .fetch_one(&mut *connection)
    .await
    .map_err(from_sqlx)?;
    if let Some(table) = taken {
        let message =
            "the schema migrate holds a table that is not this program's; the state tables need the schema for themselves";
        return Err(Error::new(ErrorKind::Corrupt, message).with("table", table));
    }
    execute(connection, CREATE).await?;
    execute(connection, upgrade_sql(1)).await.map(drop)
}

/// Checks that the tables are there, or could be made.
pub(crate) async fn check_creatable(connection: &mut PgConnection) -> Result<()> {
    match version(connection).await? {
        Some(version) if version >= VERSION => check_version(version),
        Some(_) => check_ownership(connection).await,
        None => check_rights(connection).await,
    }
}

/// Whether the role could add to the tables that are there.
async fn check_ownership(connection: &mut PgConnection) -> Result<()> {
    let (owner,): (bool,) = sqlx::query_as(
        "SELECT COALESCE(pg_catalog.bool_and(pg_catalog.pg_has_role(c.relowner, 'USAGE') AND pg_catalog.pg_has_role(n.nspowner, 'USAGE')), false) \
         FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
         WHERE n.nspname = 'migrate' AND c.relname = 'state_version'",
    )
    .fetch_one(connection)
    .await
    .map_err(from_sqlx)?;
    if owner {
        return Ok(());
    }
    let message = "the state tables are of an older version and this role may not change them; let the database's owner run `migrate target init`";
    Err(Error::new(ErrorKind::Permission, message).with("schema", SCHEMA))
}

/// Whether the role could make the tables.
async fn check_rights(connection: &mut PgConnection) -> Result<()> {
    let (database, schema): (bool, Option<bool>) = sqlx::query_as(
        "SELECT pg_catalog.has_database_privilege(pg_catalog.current_database(), 'CREATE'), \
                (SELECT pg_catalog.has_schema_privilege(n.oid, 'CREATE') AND pg_catalog.has_schema_privilege(n.oid, 'USAGE') \
                 FROM pg_catalog.pg_namespace n WHERE n.nspname = 'migrate')",
    )
    .fetch_one(connection)
    .await
    .map_err(from_sqlx)?;
    if schema.unwrap_or(database) {
        return Ok(());
    }
    let message =
        "the state tables are missing and this role may not create them; let the database's owner run `migrate target init`";
    Err(Error::new(ErrorKind::Permission, message).with("schema", SCHEMA))
}

fn must_be_granted() -> Error {
    let message =
        "this role may not use the state tables; let the database's owner run `migrate target init` with this role as the writer";
    Error::new(ErrorKind::Permission, message).with("schema", SCHEMA)
}
