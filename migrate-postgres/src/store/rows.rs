//! Records as rows.

use crate::error::from_sqlx;
use migrate_core::error::{Error, ErrorKind, Result};
use migrate_core::job::{
    Attempt, EntityResult, Execution, ExecutionPage, ExecutionQuery, ExecutionState, LogLine, LogPage, LogQuery, Owner,
    Timestamp, Update, counters,
};
use migrate_core::state::Counters;
use sqlx::postgres::{PgArguments, PgConnection, PgRow, Postgres};
use sqlx::query::Query;
use sqlx::{AssertSqlSafe, Decode, Row, Type};

/// The columns of an execution before its counters, in the order of [`read_execution`]; names are constants of this crate.
const EXECUTION: [&str; 23] = [
    "id",
    "job",
    "job_type",
    "definition",
    "source_environment",
    "target_environment",
    "source_url",
    "target_url",
    "state",
    "attempt",
    "created_at",
    "started_at",
    "finished_at",
    "heartbeat_at",
    "owner_host",
    "owner_process",
    "owner_started",
    "executed_by",
    "command",
    "error",
    "progress_percent",
    "total_rows",
    "notes",
];

type Statement<'q> = Query<'q, Postgres, PgArguments>;

fn query<'q>(sql: String) -> Statement<'q> {
    sqlx::query(AssertSqlSafe(sql))
}

/// How a column is written in a query so that the driver needs no types for instants and JSON.
fn selected(column: &str) -> String {
    match column {
        _ if column.ends_with("_at") => {
            format!("to_char({column} AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\"')")
        }
        "definition" | "notes" | "fields" => format!("{column}::text"),
        _ => column.to_owned(),
    }
}

fn select(columns: &[&str]) -> String {
    columns.iter().map(|column| selected(column)).collect::<Vec<_>>().join(", ")
}

/// The parameter for a column, the counterpart of [`selected`].
fn place(column: &str, number: usize) -> String {
    match column {
        _ if column.ends_with("_at") => format!("${number}::text::timestamptz"),
        "definition" | "notes" | "fields" => format!("${number}::text::json"),
        _ => format!("${number}"),
    }
}

fn places(columns: &[&str]) -> String {
    columns.iter().zip(1..).map(|(column, n)| place(column, n)).collect::<Vec<_>>().join(", ")
}

fn execution_columns() -> Vec<&'static str> {
    EXECUTION.into_iter().chain(counters::NAMES).collect()
}

fn get<'r, T: Decode<'r, Postgres> + Type<Postgres>>(row: &'r PgRow, place: usize) -> Result<T> {
    row.try_get(place).map_err(from_sqlx)
}

fn state(text: &str) -> Result<ExecutionState> {
    text.parse().map_err(|_| Error::new(ErrorKind::Corrupt, "the store holds a state that this version does not know"))
}

fn json<T: serde::de::DeserializeOwned>(text: &str) -> Result<T> {
    serde_json::from_str(text)
        .map_err(|_| Error::new(ErrorKind::Corrupt, "the store holds a document that is not the JSON it was"))
}

fn to_json(value: &impl serde::Serialize) -> Result<String> {
    serde_json::to_string(value).map_err(|error| Error::new(ErrorKind::Internal, "a record does not serialize").caused_by(error))
}

/// PostgreSQL holds no zero byte in text; a record is not worth failing for one.
fn clean(text: &str) -> String {
    text.replace('\0', "\u{fffd}")
}

fn clean_option(text: Option<&String>) -> Option<String> {
    text.map(|text| clean(text))
}

fn count(rows: Option<u64>) -> Option<i64> {
    rows.map(|rows| i64::try_from(rows).unwrap_or(i64::MAX))
}

fn uncount(rows: Option<i64>) -> Option<u64> {
    rows.map(|rows| u64::try_from(rows).unwrap_or(0))
}

fn small(number: i32) -> u32 {
    u32::try_from(number).unwrap_or(0)
}

fn int(number: u32) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}

fn text(instant: Option<Timestamp>) -> Option<String> {
    instant.map(|instant| instant.to_string())
}

fn instant(text: Option<String>) -> Result<Option<Timestamp>> {
    text.map(|text| text.parse()).transpose()
}

fn process(number: i64) -> u32 {
    u32::try_from(number).unwrap_or(0)
}

fn read_counters(row: &PgRow, first: usize) -> Result<Counters> {
    let mut columns = [0; 12];
    for (i, column) in columns.iter_mut().enumerate() {
        *column = get(row, first + i)?;
    }
    Ok(counters::from_columns(columns))
}

fn read_execution(row: &PgRow) -> Result<Execution> {
    let owner = match (get::<Option<String>>(row, 14)?, get::<Option<i64>>(row, 15)?) {
        (Some(host), Some(number)) => Some(Owner { host, process: process(number), started: get(row, 16)? }),
        (None, _) | (_, None) => None,
    };
    let mut execution = Execution::default();
    execution.id = get(row, 0)?;
    execution.job = get(row, 1)?;
    execution.job_type = get(row, 2)?;
    execution.definition = json(&get::<String>(row, 3)?)?;
    execution.source = get(row, 4)?;
    execution.target = get(row, 5)?;
    execution.source_url = get(row, 6)?;
    execution.target_url = get(row, 7)?;
    execution.state = state(&get::<String>(row, 8)?)?;
    execution.attempt = small(get(row, 9)?);
    execution.created_at = get::<String>(row, 10)?.parse()?;
    execution.started_at = instant(get(row, 11)?)?;
    execution.finished_at = instant(get(row, 12)?)?;
    execution.heartbeat_at = instant(get(row, 13)?)?;
    execution.owner = owner;
    execution.executed_by = get(row, 17)?;
    execution.command = get(row, 18)?;
    execution.error = get(row, 19)?;
    execution.progress_percent = u8::try_from(get::<i32>(row, 20)?).unwrap_or(0);
    execution.total_rows = uncount(get(row, 21)?);
    execution.notes = json(&get::<String>(row, 22)?)?;
    execution.totals = read_counters(row, 23)?;
    Ok(execution)
}

/// Reads an execution with its attempts and entities.
pub(super) async fn execution(connection: &mut PgConnection, id: &str) -> Result<Option<Execution>> {
    read_whole(connection, id, "").await
}

/// Reads an execution and keeps others from changing it until the transaction ends.
pub(super) async fn locked(connection: &mut PgConnection, id: &str) -> Result<Option<Execution>> {
    read_whole(connection, id, " FOR UPDATE").await
}

async fn read_whole(connection: &mut PgConnection, id: &str, lock: &str) -> Result<Option<Execution>> {
    let sql = format!("SELECT {} FROM migrate_store.migration_executions WHERE id = $1{lock}", select(&execution_columns()));
    let Some(row) = query(sql).bind(clean(id)).fetch_optional(&mut *connection).await.map_err(from_sqlx)? else {
        return Ok(None);
    };
    let mut execution = read_execution(&row)?;
    execution.attempts = attempts(connection, id).await?;
    execution.entities = entities(connection, id).await?;
    Ok(Some(execution))
}

/// Reads which attempt of an execution is the latest, and its state, and keeps others from changing them.
pub(super) async fn standing(connection: &mut PgConnection, id: &str) -> Result<Option<(u32, ExecutionState)>> {
    let sql = "SELECT attempt, state FROM migrate_store.migration_executions WHERE id = $1 FOR UPDATE";
    let row = sqlx::query(sql).bind(clean(id)).fetch_optional(connection).await.map_err(from_sqlx)?;
    row.map(|row| Ok((small(get(&row, 0)?), state(&get::<String>(&row, 1)?)?))).transpose()
}

const ATTEMPT: [&str; 8] =
    ["number", "state", "started_at", "finished_at", "owner_host", "owner_process", "owner_started", "error"];

async fn attempts(connection: &mut PgConnection, id: &str) -> Result<Vec<Attempt>> {
    let sql =
        format!("SELECT {} FROM migrate_store.migration_attempts WHERE execution_id = $1 ORDER BY number", select(&ATTEMPT));
    let rows = query(sql).bind(clean(id)).fetch_all(connection).await.map_err(from_sqlx)?;
    let read = |row: &PgRow| {
        Ok(Attempt {
            number: small(get(row, 0)?),
            state: state(&get::<String>(row, 1)?)?,
            started_at: get::<String>(row, 2)?.parse()?,
            finished_at: instant(get(row, 3)?)?,
            owner: Owner { host: get(row, 4)?, process: process(get(row, 5)?), started: get(row, 6)? },
            error: get(row, 7)?,
        })
    };
    rows.iter().map(read).collect()
}

const ENTITY: [&str; 8] = ["name", "source", "target", "state", "total_rows", "seconds", "error", "stage"];

fn entity_columns() -> Vec<&'static str> {
    ENTITY.into_iter().chain(counters::NAMES).collect()
}

async fn entities(connection: &mut PgConnection, id: &str) -> Result<Vec<EntityResult>> {
    let sql = format!(
        "SELECT {} FROM migrate_store.migration_execution_entities WHERE execution_id = $1 ORDER BY position",
        select(&entity_columns())
    );
    let rows = query(sql).bind(clean(id)).fetch_all(connection).await.map_err(from_sqlx)?;
    let read = |row: &PgRow| {
        Ok(EntityResult {
            name: get(row, 0)?,
            source: get(row, 1)?,
            target: get(row, 2)?,
            state: state(&get::<String>(row, 3)?)?,
            total_rows: uncount(get(row, 4)?),
            seconds: get(row, 5)?,
            error: get(row, 6)?,
            stage: get(row, 7)?,
            counters: read_counters(row, 8)?,
        })
    };
    rows.iter().map(read).collect()
}

/// Saves the job of an execution as it is now.
pub(super) async fn save_job(connection: &mut PgConnection, e: &Execution) -> Result<()> {
    let description = e.definition.get("description").and_then(|d| d.as_str()).map(clean);
    let sql = "INSERT INTO migrate_store.migration_jobs
                   (name, description, job_type, source_environment, target_environment, definition, created_at, updated_at)
               VALUES ($1, $2, $3, $4, $5, $6::text::json, $7::text::timestamptz, $7::text::timestamptz)
               ON CONFLICT (name) DO UPDATE SET description = excluded.description, job_type = excluded.job_type,
                   source_environment = excluded.source_environment, target_environment = excluded.target_environment,
                   definition = excluded.definition, updated_at = excluded.updated_at";
    let statement = sqlx::query(sql).bind(clean(&e.job)).bind(description).bind(clean(&e.job_type)).bind(clean(&e.source));
    let statement = statement.bind(clean(&e.target)).bind(to_json(&e.definition)?).bind(e.created_at.to_string());
    statement.execute(connection).await.map_err(from_sqlx).map(drop)
}

/// Inserts an execution; false if its id is taken.
pub(super) async fn insert_execution(connection: &mut PgConnection, e: &Execution) -> Result<bool> {
    let columns = execution_columns();
    let sql = format!(
        "INSERT INTO migrate_store.migration_executions ({}, job_id)
         VALUES ({}, (SELECT id FROM migrate_store.migration_jobs WHERE name = $2)) ON CONFLICT (id) DO NOTHING",
        columns.join(", "),
        places(&columns)
    );
    let mut statement = query(sql)
        .bind(clean(&e.id))
        .bind(clean(&e.job))
        .bind(clean(&e.job_type))
        .bind(to_json(&e.definition)?)
        .bind(clean(&e.source))
        .bind(clean(&e.target))
        .bind(clean_option(e.source_url.as_ref()))
        .bind(clean_option(e.target_url.as_ref()))
        .bind(e.state.as_str())
        .bind(int(e.attempt))
        .bind(e.created_at.to_string())
        .bind(text(e.started_at))
        .bind(text(e.finished_at))
        .bind(text(e.heartbeat_at))
        .bind(e.owner.as_ref().map(|o| clean(&o.host)))
        .bind(e.owner.as_ref().map(|o| i64::from(o.process)))
        .bind(e.owner.as_ref().map(|o| clean(&o.started)))
        .bind(clean_option(e.executed_by.as_ref()))
        .bind(clean_option(e.command.as_ref()))
        .bind(clean_option(e.error.as_ref()))
        .bind(i32::from(e.progress_percent))
        .bind(count(e.total_rows))
        .bind(to_json(&e.notes)?);
    for column in counters::to_columns(&e.totals) {
        statement = statement.bind(column);
    }
    Ok(statement.execute(connection).await.map_err(from_sqlx)?.rows_affected() == 1)
}

/// Saves what an attempt's beginning and end change.
pub(super) async fn save_state(connection: &mut PgConnection, e: &Execution) -> Result<()> {
    let sql = "UPDATE migrate_store.migration_executions
               SET state = $2, attempt = $3, started_at = $4::text::timestamptz, finished_at = $5::text::timestamptz,
                   heartbeat_at = $6::text::timestamptz, owner_host = $7, owner_process = $8, owner_started = $9, error = $10,
                   progress_percent = $11
               WHERE id = $1";
    let statement = sqlx::query(sql)
        .bind(clean(&e.id))
        .bind(e.state.as_str())
        .bind(int(e.attempt))
        .bind(text(e.started_at))
        .bind(text(e.finished_at))
        .bind(text(e.heartbeat_at))
        .bind(e.owner.as_ref().map(|o| clean(&o.host)))
        .bind(e.owner.as_ref().map(|o| i64::from(o.process)))
        .bind(e.owner.as_ref().map(|o| clean(&o.started)))
        .bind(clean_option(e.error.as_ref()))
        .bind(i32::from(e.progress_percent));
    statement.execute(connection).await.map_err(from_sqlx).map(drop)
}

pub(super) async fn save_attempts(connection: &mut PgConnection, e: &Execution) -> Result<()> {
    let sql = format!(
        "INSERT INTO migrate_store.migration_attempts ({}, execution_id) VALUES ({}, $9)
         ON CONFLICT (execution_id, number) DO UPDATE
         SET state = excluded.state, finished_at = excluded.finished_at, error = excluded.error",
        ATTEMPT.join(", "),
        places(&ATTEMPT)
    );
    for a in &e.attempts {
        let statement = query(sql.clone())
            .bind(int(a.number))
            .bind(a.state.as_str())
            .bind(a.started_at.to_string())
            .bind(text(a.finished_at))
            .bind(clean(&a.owner.host))
            .bind(i64::from(a.owner.process))
            .bind(clean(&a.owner.started))
            .bind(clean_option(a.error.as_ref()))
            .bind(clean(&e.id));
        statement.execute(&mut *connection).await.map_err(from_sqlx)?;
    }
    Ok(())
}

/// Notes when a job last ran.
pub(super) async fn touch_job(connection: &mut PgConnection, job: &str, at: Timestamp) -> Result<()> {
    let sql = "UPDATE migrate_store.migration_jobs SET last_run_at = $2::text::timestamptz WHERE name = $1";
    sqlx::query(sql).bind(clean(job)).bind(at.to_string()).execute(connection).await.map_err(from_sqlx).map(drop)
}

/// Inserts or replaces entities by name and brings the totals up to date.
pub(super) async fn save_entities(connection: &mut PgConnection, id: &str, entities: &[EntityResult]) -> Result<()> {
    if entities.is_empty() {
        return Ok(());
    }
    let columns = entity_columns();
    let updates = columns[1..].iter().map(|name| format!("{name} = excluded.{name}")).collect::<Vec<_>>().join(", ");
    let own = columns.len() + 1;
    let sql = format!(
        "INSERT INTO migrate_store.migration_execution_entities ({}, execution_id, position)
         VALUES ({}, ${own}, (SELECT count(*) FROM migrate_store.migration_execution_entities WHERE execution_id = ${own}))
         ON CONFLICT (execution_id, name) DO UPDATE SET {updates}",
        columns.join(", "),
        places(&columns)
    );
    for e in entities {
        let mut statement = query(sql.clone())
            .bind(clean(&e.name))
            .bind(clean(&e.source))
            .bind(clean(&e.target))
            .bind(e.state.as_str())
            .bind(count(e.total_rows))
            .bind(e.seconds)
            .bind(clean_option(e.error.as_ref()))
            .bind(clean_option(e.stage.as_ref()));
        for column in counters::to_columns(&e.counters) {
            statement = statement.bind(column);
        }
        statement.bind(clean(id)).execute(&mut *connection).await.map_err(from_sqlx)?;
    }
    let sums = counters::NAMES.map(|name| format!("sum({name})::bigint")).join(", ");
    let sql = format!(
        "UPDATE migrate_store.migration_executions
         SET ({}) = (SELECT {sums} FROM migrate_store.migration_execution_entities WHERE execution_id = $1) WHERE id = $1",
        counters::NAMES.join(", ")
    );
    query(sql).bind(clean(id)).execute(connection).await.map_err(from_sqlx).map(drop)
}

pub(super) async fn save_progress(connection: &mut PgConnection, id: &str, update: &Update) -> Result<()> {
    let sql = "UPDATE migrate_store.migration_executions
               SET heartbeat_at = $2::text::timestamptz, progress_percent = coalesce($3, progress_percent),
                   total_rows = coalesce($4, total_rows), notes = coalesce($5::text::json, notes)
               WHERE id = $1";
    let statement = sqlx::query(sql)
        .bind(clean(id))
        .bind(update.at.to_string())
        .bind(update.progress_percent.map(i32::from))
        .bind(count(update.total_rows))
        .bind(update.notes.as_ref().map(to_json).transpose()?);
    statement.execute(connection).await.map_err(from_sqlx).map(drop)
}

const LOG: [&str; 5] = ["log_level", "entity", "message", "fields", "logged_at"];

pub(super) async fn append_logs(connection: &mut PgConnection, id: &str, lines: &[LogLine]) -> Result<()> {
    let sql =
        format!("INSERT INTO migrate_store.migration_logs ({}, execution_id) VALUES ({}, $6)", LOG.join(", "), places(&LOG));
    for line in lines {
        let statement = query(sql.clone())
            .bind(line.level.as_str())
            .bind(clean_option(line.entity.as_ref()))
            .bind(clean(&line.message))
            .bind(to_json(&line.fields)?)
            .bind(line.at.to_string())
            .bind(clean(id));
        statement.execute(&mut *connection).await.map_err(from_sqlx)?;
    }
    Ok(())
}

/// The id of the newest execution of a job between two environments.
pub(super) async fn newest(connection: &mut PgConnection, job: &str, source: &str, target: &str) -> Result<Option<String>> {
    let sql = "SELECT id FROM migrate_store.migration_executions
               WHERE job = $1 AND source_environment = $2 AND target_environment = $3 ORDER BY created_at DESC, id DESC LIMIT 1";
    let statement = sqlx::query(sql).bind(clean(job)).bind(clean(source)).bind(clean(target));
    let row = statement.fetch_optional(connection).await.map_err(from_sqlx)?;
    row.map(|row| get(&row, 0)).transpose()
}

/// A page of executions, newest first.
pub(super) async fn list(connection: &mut PgConnection, wanted: &ExecutionQuery) -> Result<ExecutionPage> {
    let (mut conditions, mut values) = (Vec::new(), Vec::<String>::new());
    let next_place = |values: &mut Vec<String>, value: String| {
        values.push(value);
        values.len()
    };
    if let Some(job) = &wanted.job {
        conditions.push(format!("job = ${}", next_place(&mut values, clean(job))));
    }
    if !wanted.states.is_empty() {
        let states: Vec<_> = wanted.states.iter().map(|s| format!("${}", next_place(&mut values, s.to_string()))).collect();
        conditions.push(format!("state IN ({})", states.join(", ")));
    }
    if let Some(environment) = &wanted.environment {
        let place = next_place(&mut values, clean(environment));
        conditions.push(format!("${place} IN (source_environment, target_environment)"));
    }
    for (instant, operator) in [(wanted.since, ">="), (wanted.until, "<")] {
        if let Some(instant) = instant {
            let place = next_place(&mut values, instant.to_string());
            conditions.push(format!("created_at {operator} ${place}::text::timestamptz"));
        }
    }
    if let Some(after) = &wanted.after {
        let sql = "SELECT created_at::text FROM migrate_store.migration_executions WHERE id = $1";
        let row = sqlx::query(sql).bind(clean(after)).fetch_optional(&mut *connection).await.map_err(from_sqlx)?;
        let created: String = get(&row.ok_or_else(|| super::unknown(after))?, 0)?;
        let (created, id) = (next_place(&mut values, created), next_place(&mut values, clean(after)));
        conditions.push(format!("(created_at, id) < (${created}::text::timestamptz, ${id})"));
    }
    let condition = if conditions.is_empty() { String::new() } else { format!("WHERE {}", conditions.join(" AND ")) };
    // One more than asked for tells whether there is a next page.
    let sql = format!(
        "SELECT {} FROM migrate_store.migration_executions {condition} ORDER BY created_at DESC, id DESC LIMIT {}",
        select(&execution_columns()),
        wanted.page_size() + 1
    );
    let statement = values.into_iter().fold(query(sql), Query::bind);
    let rows = statement.fetch_all(connection).await.map_err(from_sqlx)?;
    let mut executions = rows.iter().map(read_execution).collect::<Result<Vec<_>>>()?;
    let more = executions.len() > wanted.page_size();
    executions.truncate(wanted.page_size());
    let next = executions.last().filter(|_| more).map(|e| e.id.clone());
    Ok(ExecutionPage { executions, next })
}

/// Reads log lines; `None` if there is no such execution.
pub(super) async fn logs(connection: &mut PgConnection, id: &str, wanted: &LogQuery) -> Result<Option<LogPage>> {
    if standing(connection, id).await?.is_none() {
        return Ok(None);
    }
    let sql = format!(
        "SELECT {}, id FROM migrate_store.migration_logs WHERE execution_id = $1 AND id > $2 ORDER BY id LIMIT {}",
        select(&LOG),
        wanted.page_size() + 1
    );
    let statement = query(sql).bind(clean(id)).bind(count(wanted.after).unwrap_or(0));
    let rows = statement.fetch_all(connection).await.map_err(from_sqlx)?;
    let mut page = LogPage::default();
    for row in rows.iter().take(wanted.page_size()) {
        let level: String = get(row, 0)?;
        page.lines.push(LogLine {
            level: level.parse().map_err(|_| Error::new(ErrorKind::Corrupt, "the store holds an unknown log level"))?,
            entity: get(row, 1)?,
            message: get(row, 2)?,
            fields: json(&get::<String>(row, 3)?)?,
            at: get::<String>(row, 4)?.parse()?,
        });
    }
    if rows.len() > wanted.page_size() {
        page.next = rows.get(wanted.page_size() - 1).map(|row| get::<i64>(row, 5)).transpose().map(uncount)?;
    }
    Ok(Some(page))
}
