//! Creating what is missing before the first row: schemas, types, tables, columns.

use crate::connection::execute;
use crate::ddl::{add_columns, create_table};
use crate::error::from_sqlx;
use crate::pool::{Pool, check_fence};
use crate::sql::quote_ident;
use crate::state::record_unfinished;
use migrate_core::schema::{TableName, TableSchema, TypeKind, TypeSchema};
use migrate_core::sink::{SchemaPlan, TablePlan};
use migrate_core::state::Fence;
use migrate_core::{Error, ErrorKind, Result};
use sqlx::postgres::PgConnection;

/// Creates the missing types and tables of a plan, and adds columns to others, each in a transaction of its own.
pub(crate) async fn prepare(pool: &Pool, plan: &SchemaPlan, fence: &Fence) -> Result<()> {
    create_types(pool, &plan.types, fence).await?;
    for table in plan.tables.iter().filter(|t| t.create) {
        in_transaction(pool, fence, async |connection| create(connection, table, fence).await)
            .await
            .map_err(|e| e.with("table", &table.table.name))?;
    }
    for table in plan.tables.iter().filter(|t| !t.create && !t.added.is_empty()) {
        let sql = add_columns(&table.table.name, table.added_columns());
        in_transaction(pool, fence, async |connection| execute(connection, sql).await.map(drop))
            .await
            .map_err(|e| e.with("table", &table.table.name).with("columns", table.added.join(", ")))?;
    }
    Ok(())
}

/// Runs work in a transaction with an empty search path that ends with the fence's check.
pub(crate) async fn in_transaction<T>(
    pool: &Pool,
    fence: &Fence,
    work: impl AsyncFnOnce(&mut PgConnection) -> Result<T>,
) -> Result<T> {
    if let Some(lone) = pool.lone() {
        let mut loan = lone.lend_apart().await?;
        let done = async {
            execute(&mut loan.connection, "SET LOCAL search_path = ''").await?;
            let value = work(&mut loan.connection).await?;
            execute(&mut loan.connection, "RESET search_path").await?;
            Ok(value)
        }
        .await;
        return loan.settle(done).await;
    }
    let mut session = pool.begin(fence).await?;
    let id = session.registration.id.clone();
    let done = async {
        // Expressions come with every name in full; anything else the role's path would find is not what they mean.
        execute(&mut session.connection, "SET LOCAL search_path = ''").await?;
        let value = work(&mut session.connection).await?;
        check_fence(&mut session.connection, fence).await?;
        execute(&mut session.connection, "COMMIT").await?;
        Ok(value)
    }
    .await;
    match done {
        Ok(value) => {
            pool.put(session);
            Ok(value)
        }
        Err(error) => {
            if execute(&mut session.connection, "ROLLBACK").await.is_ok() {
                pool.put(session);
            } else {
                pool.lose(id);
            }
            Err(error)
        }
    }
}

async fn create(connection: &mut PgConnection, plan: &TablePlan, fence: &Fence) -> Result<()> {
    let name = &plan.table.name;
    let schema = name.schema.as_deref().unwrap_or("public");
    let (exists, ours): (bool, bool) = sqlx::query_as(
        "SELECT EXISTS (SELECT FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
                        WHERE n.nspname = $1 AND c.relname = $2), \
                EXISTS (SELECT FROM migrate.unfinished u WHERE u.job = $3 AND u.schema_name = $1 AND u.table_name = $2)",
    )
    .bind(schema)
    .bind(&name.name)
    .bind(&fence.job)
    .fetch_one(&mut *connection)
    .await
    .map_err(from_sqlx)?;
    match (exists, ours) {
        (true, true) => return Ok(()),
        (true, false) => return check_finished(connection, &plan.table).await,
        (false, _) => {}
    }
    create_schema(connection, schema).await?;
    execute(connection, create_table(&plan.table)).await?;
    record_unfinished(connection, fence, plan).await
}

/// Passes over a table that this plan has created and finished, and refuses one that it cannot have.
async fn check_finished(connection: &mut PgConnection, table: &TableSchema) -> Result<()> {
    let columns: Vec<(String, String)> = sqlx::query_as(
        "SELECT a.attname::pg_catalog.text, pg_catalog.format_type(a.atttypid, a.atttypmod) \
         FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_class c ON c.oid = a.attrelid \
         JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
         WHERE n.nspname = $1 AND c.relname = $2 AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum",
    )
    .bind(table.name.schema.as_deref().unwrap_or("public"))
    .bind(&table.name.name)
    .fetch_all(connection)
    .await
    .map_err(from_sqlx)?;
    if columns.iter().map(|(n, t)| (n, t)).eq(table.columns.iter().map(|c| (&c.name, &c.native_type))) {
        return Ok(());
    }
    let message = "a table of this name is there, though the plan is to create it, and its columns are others; plan again";
    Err(Error::new(ErrorKind::Schema, message))
}

async fn create_schema(connection: &mut PgConnection, schema: &str) -> Result<()> {
    let (exists,): (bool,) = sqlx::query_as("SELECT EXISTS (SELECT FROM pg_catalog.pg_namespace n WHERE n.nspname = $1)")
        .bind(schema)
        .fetch_one(&mut *connection)
        .await
        .map_err(from_sqlx)?;
    // Asked first, because IF NOT EXISTS needs the right to create even where there is nothing to do.
    if !exists {
        execute(connection, format!("CREATE SCHEMA {}", quote_ident(schema))).await?;
    }
    Ok(())
}

/// Creates types in the order given, and again those that came before something they are made of.
async fn create_types(pool: &Pool, types: &[TypeSchema], fence: &Fence) -> Result<()> {
    let mut waiting: Vec<&TypeSchema> = types.iter().collect();
    while !waiting.is_empty() {
        let mut later = Vec::new();
        let mut first_error = None;
        for wanted in &waiting {
            match in_transaction(pool, fence, async |connection| create_type(connection, wanted).await).await {
                Ok(()) => {}
                Err(error) if error.kind() == ErrorKind::Schema => {
                    first_error.get_or_insert(error.with("type", &wanted.name));
                    later.push(*wanted);
                }
                Err(error) => return Err(error.with("type", &wanted.name)),
            }
        }
        if later.len() == waiting.len() {
            return Err(first_error.unwrap_or_else(|| Error::new(ErrorKind::Internal, "types cannot be created")));
        }
        waiting = later;
    }
    Ok(())
}

async fn create_type(connection: &mut PgConnection, wanted: &TypeSchema) -> Result<()> {
    let schema = wanted.name.schema.as_deref().unwrap_or("public");
    if let TypeKind::Extension { extension } = &wanted.kind {
        return create_extension(connection, extension, schema).await;
    }
    let labels: Option<(Option<Vec<String>>,)> = sqlx::query_as(
        "SELECT (SELECT pg_catalog.array_agg(e.enumlabel::pg_catalog.text ORDER BY e.enumsortorder) \
                 FROM pg_catalog.pg_enum e WHERE e.enumtypid = t.oid) \
         FROM pg_catalog.pg_type t JOIN pg_catalog.pg_namespace n ON n.oid = t.typnamespace WHERE n.nspname = $1 AND t.typname = $2",
    )
    .bind(schema)
    .bind(&wanted.name.name)
    .fetch_optional(&mut *connection)
    .await
    .map_err(from_sqlx)?;
    let Some((labels,)) = labels else {
        create_schema(connection, schema).await?;
        return execute(connection, wanted.definition.clone()).await.map(drop);
    };
    let (TypeKind::Enum { labels: wanted }, labels) = (&wanted.kind, labels.unwrap_or_default()) else { return Ok(()) };
    match wanted.iter().find(|l| !labels.contains(l)) {
        None => Ok(()),
        // A kind that is not tried again: waiting changes nothing about it.
        Some(_) => {
            Err(Error::new(ErrorKind::Refused, "the target has an enumeration of this name that lacks some of its labels"))
        }
    }
}

async fn create_extension(connection: &mut PgConnection, extension: &str, schema: &str) -> Result<()> {
    let (installed, available): (bool, bool) = sqlx::query_as(
        "SELECT EXISTS (SELECT FROM pg_catalog.pg_extension e WHERE e.extname = $1), \
                EXISTS (SELECT FROM pg_catalog.pg_available_extensions a WHERE a.name = $1)",
    )
    .bind(extension)
    .fetch_one(&mut *connection)
    .await
    .map_err(from_sqlx)?;
    if installed {
        return Ok(());
    }
    let missing = |why: &str| {
        let message = format!("the target needs the extension {extension}, {why}");
        Error::new(ErrorKind::Permission, message).with("extension", extension)
    };
    if !available {
        return Err(missing("which is not available on its server; install it there"));
    }
    create_schema(connection, schema).await?;
    let sql = format!("CREATE EXTENSION {} SCHEMA {}", quote_ident(extension), quote_ident(schema));
    execute(connection, sql).await.map(drop).map_err(|e| match e.kind() {
        ErrorKind::Permission => missing("which this role may not create; let an administrator run CREATE EXTENSION"),
        _ => e,
    })
}

/// Whether the role may write to a table, without writing to it.
pub(crate) async fn check_writable(connection: &mut PgConnection, name: &TableName) -> Result<()> {
    let found: Option<(String, bool, bool, bool, bool, bool)> = sqlx::query_as(
        "SELECT c.relkind::pg_catalog.text, pg_catalog.has_schema_privilege(n.oid, 'USAGE'), \
                pg_catalog.has_table_privilege(c.oid, 'SELECT'), pg_catalog.has_table_privilege(c.oid, 'INSERT'), \
                pg_catalog.has_table_privilege(c.oid, 'UPDATE'), \
                pg_catalog.has_database_privilege(pg_catalog.current_database(), 'TEMPORARY') \
         FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
         WHERE n.nspname = $1 AND c.relname = $2",
    )
    .bind(name.schema.as_deref().unwrap_or("public"))
    .bind(&name.name)
    .fetch_optional(&mut *connection)
    .await
    .map_err(from_sqlx)?;
    let Some((kind, usage, select, insert, update, temporary)) = found else {
        return Err(Error::new(ErrorKind::NotFound, "the target has no such table").with("table", name));
    };
    if !matches!(kind.as_str(), "r" | "p" | "f") {
        return Err(
            Error::new(ErrorKind::Unsupported, "the target is no table, so rows cannot be copied into it").with("table", name)
        );
    }
    for (granted, right) in [(usage, "USAGE on the schema"), (select, "SELECT"), (insert, "INSERT"), (update, "UPDATE")] {
        if !granted {
            return Err(Error::new(ErrorKind::Permission, format!("the role lacks {right}")).with("table", name));
        }
    }
    if !temporary {
        let message = "the role lacks TEMPORARY on the database, which is needed to compare rows with those that are there";
        return Err(Error::new(ErrorKind::Permission, message).with("table", name));
    }
    let (read_only,): (bool,) =
        sqlx::query_as("SELECT pg_catalog.pg_is_in_recovery()").fetch_one(connection).await.map_err(from_sqlx)?;
    if read_only {
        return Err(Error::new(ErrorKind::Permission, "the server is a standby and accepts no writes").with("table", name));
    }
    Ok(())
}

/// Whether the role may add columns to a table: only its owner may.
pub(crate) async fn check_alterable(connection: &mut PgConnection, name: &TableName) -> Result<()> {
    let found: Option<(bool,)> = sqlx::query_as(
        "SELECT pg_catalog.pg_has_role(c.relowner, 'USAGE') \
         FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
         WHERE n.nspname = $1 AND c.relname = $2",
    )
    .bind(name.schema.as_deref().unwrap_or("public"))
    .bind(&name.name)
    .fetch_optional(connection)
    .await
    .map_err(from_sqlx)?;
    match found {
        Some((true,)) => Ok(()),
        Some((false,)) => {
            let message = "only the table's owner may add columns to it; let the owner add them, or run the job";
            Err(Error::new(ErrorKind::Permission, message).with("table", name))
        }
        None => Err(Error::new(ErrorKind::NotFound, "the target has no such table").with("table", name)),
    }
}

/// Whether the role may create tables.
pub(crate) async fn check_creatable(connection: &mut PgConnection) -> Result<()> {
    let (database, schema): (bool, Option<bool>) = sqlx::query_as(
        "SELECT pg_catalog.has_database_privilege(pg_catalog.current_database(), 'CREATE'), \
                (SELECT pg_catalog.has_schema_privilege(n.oid, 'CREATE') FROM pg_catalog.pg_namespace n WHERE n.nspname = 'public')",
    )
    .fetch_one(connection)
    .await
    .map_err(from_sqlx)?;
    if database || schema == Some(true) {
        return Ok(());
    }
    let message = "the role may create tables neither in the schema public nor in one of its own; it lacks CREATE";
    Err(Error::new(ErrorKind::Permission, message).with("schema", "public"))
}
