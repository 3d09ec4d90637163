//! Records as rows.

use crate::error::SqliteContext;
use migrate_core::error::{Error, ErrorKind, Result};
use migrate_core::job::{
    Attempt, EntityResult, Execution, ExecutionState, LogLine, LogPage, LogQuery, Owner, Timestamp, Update, counters,
};
use migrate_core::state::Counters;
use rusqlite::types::{FromSql, Value};
use rusqlite::{Connection, OptionalExtension, Row, params, params_from_iter};

const WRITING: &str = "writing to the store";
const READING: &str = "reading the store";

/// The columns of an execution before its counters, in the order of [`read_execution`].
const EXECUTION: [&str; 22] = [
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
];

pub(super) fn execution_columns() -> String {
    format!("{}, notes, {}", EXECUTION.join(", "), counters::NAMES.join(", "))
}

pub(super) fn state(text: &str) -> Result<ExecutionState> {
    text.parse().map_err(|_| Error::new(ErrorKind::Corrupt, "the store holds a state that this version does not know"))
}

fn json<T: serde::de::DeserializeOwned>(text: &str) -> Result<T> {
    serde_json::from_str(text)
        .map_err(|_| Error::new(ErrorKind::Corrupt, "the store holds a document that is not the JSON it was"))
}

fn to_json(value: &impl serde::Serialize) -> Result<String> {
    serde_json::to_string(value).map_err(|error| Error::new(ErrorKind::Internal, "a record does not serialize").caused_by(error))
}

fn count(rows: Option<u64>) -> Option<i64> {
    rows.map(|rows| i64::try_from(rows).unwrap_or(i64::MAX))
}

fn uncount(rows: Option<i64>) -> Option<u64> {
    rows.map(|rows| u64::try_from(rows).unwrap_or(0))
}

fn text(instant: Option<Timestamp>) -> Option<String> {
    instant.map(|instant| instant.to_string())
}

fn instant(text: Option<String>) -> Result<Option<Timestamp>> {
    text.map(|text| text.parse()).transpose()
}

fn get<T: FromSql>(row: &Row<'_>, place: usize) -> Result<T> {
    row.get(place).during(READING)
}

fn read_counters(row: &Row<'_>, first: usize) -> Result<Counters> {
    let mut columns = [0; 12];
    for (i, column) in columns.iter_mut().enumerate() {
        *column = get(row, first + i)?;
    }
    Ok(counters::from_columns(columns))
}

pub(super) fn read_execution(row: &Row<'_>) -> Result<Execution> {
    let owner = match (get::<Option<String>>(row, 14)?, get::<Option<u32>>(row, 15)?) {
        (Some(host), Some(process)) => Some(Owner { host, process, started: get(row, 16)? }),
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
    execution.attempt = get(row, 9)?;
    execution.created_at = get::<String>(row, 10)?.parse()?;
    execution.started_at = instant(get(row, 11)?)?;
    execution.finished_at = instant(get(row, 12)?)?;
    execution.heartbeat_at = instant(get(row, 13)?)?;
    execution.owner = owner;
    execution.executed_by = get(row, 17)?;
    execution.command = get(row, 18)?;
    execution.error = get(row, 19)?;
    execution.progress_percent = get(row, 20)?;
    execution.total_rows = uncount(get(row, 21)?);
    execution.notes = json(&get::<String>(row, 22)?)?;
    execution.totals = read_counters(row, 23)?;
    Ok(execution)
}

/// Reads an execution with its attempts and entities.
pub(super) fn execution(connection: &Connection, id: &str) -> Result<Option<Execution>> {
    let sql = format!("SELECT {} FROM migration_executions WHERE id = ?1", execution_columns());
    let mut statement = connection.prepare_cached(&sql).during(READING)?;
    let mut rows = statement.query([id]).during(READING)?;
    let Some(row) = rows.next().during(READING)? else { return Ok(None) };
    let mut execution = read_execution(row)?;
    execution.attempts = attempts(connection, id)?;
    execution.entities = entities(connection, id)?;
    Ok(Some(execution))
}

fn attempts(connection: &Connection, id: &str) -> Result<Vec<Attempt>> {
    let sql = "SELECT number, state, started_at, finished_at, owner_host, owner_process, owner_started, error
               FROM migration_attempts WHERE execution_id = ?1 ORDER BY number";
    let mut statement = connection.prepare_cached(sql).during(READING)?;
    let mut rows = statement.query([id]).during(READING)?;
    let mut attempts = Vec::new();
    while let Some(row) = rows.next().during(READING)? {
        attempts.push(Attempt {
            number: get(row, 0)?,
            state: state(&get::<String>(row, 1)?)?,
            started_at: get::<String>(row, 2)?.parse()?,
            finished_at: instant(get(row, 3)?)?,
            owner: Owner { host: get(row, 4)?, process: get(row, 5)?, started: get(row, 6)? },
            error: get(row, 7)?,
        });
    }
    Ok(attempts)
}

fn entities(connection: &Connection, id: &str) -> Result<Vec<EntityResult>> {
    let sql = format!(
        "SELECT name, source, target, state, total_rows, seconds, error, stage, {}
         FROM migration_execution_entities WHERE execution_id = ?1 ORDER BY position",
        counters::NAMES.join(", ")
    );
    let mut statement = connection.prepare_cached(&sql).during(READING)?;
    let mut rows = statement.query([id]).during(READING)?;
    let mut entities = Vec::new();
    while let Some(row) = rows.next().during(READING)? {
        entities.push(EntityResult {
            name: get(row, 0)?,
            source: get(row, 1)?,
            target: get(row, 2)?,
            state: state(&get::<String>(row, 3)?)?,
            total_rows: uncount(get(row, 4)?),
            stage: get(row, 7)?,
            counters: read_counters(row, 8)?,
            seconds: get(row, 5)?,
            error: get(row, 6)?,
        });
    }
    Ok(entities)
}

/// Saves the job of an execution as it is now.
pub(super) fn save_job(connection: &Connection, e: &Execution) -> Result<()> {
    let description = e.definition.get("description").and_then(|d| d.as_str());
    let sql = "INSERT INTO migration_jobs
                   (name, description, job_type, source_environment, target_environment, definition, created_at, updated_at)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?7)
               ON CONFLICT (name) DO UPDATE SET description = excluded.description, job_type = excluded.job_type,
                   source_environment = excluded.source_environment, target_environment = excluded.target_environment,
                   definition = excluded.definition, updated_at = excluded.updated_at";
    let values = params![e.job, description, e.job_type, e.source, e.target, to_json(&e.definition)?, e.created_at.to_string()];
    connection.execute(sql, values).during(WRITING).map(drop)
}

pub(super) fn insert_execution(connection: &Connection, e: &Execution) -> Result<()> {
    let mut values: Vec<Value> = vec![
        e.id.clone().into(),
        e.job.clone().into(),
        e.job_type.clone().into(),
        to_json(&e.definition)?.into(),
        e.source.clone().into(),
        e.target.clone().into(),
        e.source_url.clone().into(),
        e.target_url.clone().into(),
        e.state.as_str().to_owned().into(),
        i64::from(e.attempt).into(),
        e.created_at.to_string().into(),
        text(e.started_at).into(),
        text(e.finished_at).into(),
        text(e.heartbeat_at).into(),
        e.owner.as_ref().map(|o| o.host.clone()).into(),
        e.owner.as_ref().map(|o| i64::from(o.process)).into(),
        e.owner.as_ref().map(|o| o.started.clone()).into(),
        e.executed_by.clone().into(),
        e.command.clone().into(),
        e.error.clone().into(),
        i64::from(e.progress_percent).into(),
        count(e.total_rows).into(),
        to_json(&e.notes)?.into(),
    ];
    values.extend(counters::to_columns(&e.totals).map(Value::from));
    let places = vec!["?"; values.len()].join(", ");
    values.push(e.job.clone().into());
    let sql = format!(
        "INSERT INTO migration_executions ({}, job_id) VALUES ({places}, (SELECT id FROM migration_jobs WHERE name = ?))",
        execution_columns()
    );
    connection.execute(&sql, params_from_iter(values)).during(WRITING).map(drop)
}

/// Saves what an attempt's beginning and end change.
pub(super) fn save_state(connection: &Connection, e: &Execution) -> Result<()> {
    let sql = "UPDATE migration_executions SET state = ?2, attempt = ?3, started_at = ?4, finished_at = ?5, heartbeat_at = ?6,
                   owner_host = ?7, owner_process = ?8, owner_started = ?9, error = ?10, progress_percent = ?11
               WHERE id = ?1";
    let values = params![
        e.id,
        e.state.as_str(),
        e.attempt,
        text(e.started_at),
        text(e.finished_at),
        text(e.heartbeat_at),
        e.owner.as_ref().map(|o| &o.host),
        e.owner.as_ref().map(|o| o.process),
        e.owner.as_ref().map(|o| &o.started),
        e.error,
        e.progress_percent,
    ];
    connection.execute(sql, values).during(WRITING).map(drop)
}

pub(super) fn save_attempts(connection: &Connection, e: &Execution) -> Result<()> {
    let sql = "INSERT INTO migration_attempts
                   (execution_id, number, state, started_at, finished_at, owner_host, owner_process, owner_started, error)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)
               ON CONFLICT (execution_id, number) DO UPDATE
               SET state = excluded.state, finished_at = excluded.finished_at, error = excluded.error";
    let mut statement = connection.prepare_cached(sql).during(WRITING)?;
    for a in &e.attempts {
        let values = params![
            e.id,
            a.number,
            a.state.as_str(),
            a.started_at.to_string(),
            text(a.finished_at),
            a.owner.host,
            a.owner.process,
            a.owner.started,
            a.error
        ];
        statement.execute(values).during(WRITING)?;
    }
    Ok(())
}

/// Inserts or replaces entities by name and brings the totals up to date.
pub(super) fn save_entities(connection: &Connection, id: &str, entities: &[EntityResult]) -> Result<()> {
    if entities.is_empty() {
        return Ok(());
    }
    let names = counters::NAMES;
    let updates = names.map(|name| format!("{name} = excluded.{name}")).join(", ");
    let sql = format!(
        "INSERT INTO migration_execution_entities
             (execution_id, name, source, target, state, total_rows, seconds, error, stage, {}, position)
         VALUES ({}, (SELECT count(*) FROM migration_execution_entities WHERE execution_id = ?1))
         ON CONFLICT (execution_id, name) DO UPDATE SET source = excluded.source, target = excluded.target,
             stage = excluded.stage, state = excluded.state, total_rows = excluded.total_rows, seconds = excluded.seconds, error = excluded.error, {updates}",
        names.join(", "),
        (1..=21).map(|n| format!("?{n}")).collect::<Vec<_>>().join(", ")
    );
    let mut statement = connection.prepare_cached(&sql).during(WRITING)?;
    for e in entities {
        let mut values: Vec<Value> = vec![
            id.to_owned().into(),
            e.name.clone().into(),
            e.source.clone().into(),
            e.target.clone().into(),
            e.state.as_str().to_owned().into(),
            count(e.total_rows).into(),
            e.seconds.into(),
            e.error.clone().into(),
            e.stage.clone().into(),
        ];
        values.extend(counters::to_columns(&e.counters).map(Value::from));
        statement.execute(params_from_iter(values)).during(WRITING)?;
    }
    let sums = names.map(|name| format!("sum({name})")).join(", ");
    let sql = format!(
        "UPDATE migration_executions SET ({}) = (SELECT {sums} FROM migration_execution_entities WHERE execution_id = ?1)
         WHERE id = ?1",
        names.join(", ")
    );
    connection.prepare_cached(&sql).and_then(|mut s| s.execute([id])).during(WRITING).map(drop)
}

pub(super) fn save_progress(connection: &Connection, id: &str, update: &Update) -> Result<()> {
    let sql = "UPDATE migration_executions SET heartbeat_at = ?2, progress_percent = coalesce(?3, progress_percent),
                   total_rows = coalesce(?4, total_rows), notes = coalesce(?5, notes)
               WHERE id = ?1";
    let notes = update.notes.as_ref().map(to_json).transpose()?;
    let values = params![id, update.at.to_string(), update.progress_percent, count(update.total_rows), notes];
    connection.execute(sql, values).during(WRITING).map(drop)
}

pub(super) fn append_logs(connection: &Connection, id: &str, lines: &[LogLine]) -> Result<()> {
    let sql = "INSERT INTO migration_logs (execution_id, log_level, entity, message, fields, logged_at)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
    let mut statement = connection.prepare_cached(sql).during(WRITING)?;
    for line in lines {
        let values = params![id, line.level.as_str(), line.entity, line.message, to_json(&line.fields)?, line.at.to_string()];
        statement.execute(values).during(WRITING)?;
    }
    Ok(())
}

/// Reads log lines; `None` if there is no such execution.
pub(super) fn logs(connection: &Connection, id: &str, query: &LogQuery) -> Result<Option<LogPage>> {
    let known =
        connection.query_row("SELECT 1 FROM migration_executions WHERE id = ?1", [id], |_| Ok(())).optional().during(READING)?;
    if known.is_none() {
        return Ok(None);
    }
    let sql = "SELECT id, log_level, entity, message, fields, logged_at FROM migration_logs
               WHERE execution_id = ?1 AND id > ?2 ORDER BY id LIMIT ?3";
    let mut statement = connection.prepare_cached(sql).during(READING)?;
    let after = count(query.after).unwrap_or(0);
    let limit = i64::try_from(query.page_size() + 1).unwrap_or(i64::MAX);
    let mut rows = statement.query(params![id, after, limit]).during(READING)?;
    let (mut page, mut last) = (LogPage::default(), None);
    while let Some(row) = rows.next().during(READING)? {
        if page.lines.len() == query.page_size() {
            page.next = last;
            break;
        }
        last = uncount(Some(get(row, 0)?));
        let level: String = get(row, 1)?;
        page.lines.push(LogLine {
            level: level.parse().map_err(|_| Error::new(ErrorKind::Corrupt, "the store holds an unknown log level"))?,
            entity: get(row, 2)?,
            message: get(row, 3)?,
            fields: json(&get::<String>(row, 4)?)?,
            at: get::<String>(row, 5)?.parse()?,
        });
    }
    Ok(Some(page))
}
