//! Compares what was copied, row by row, with what was generated; by each engine's own SQL, never through the copier's decoder.

use crate::Result;
use crate::database::{copy_out, ended, query};
use crate::timestamp::{UNIX, parse};
use crate::workload::{Event, Events, decimal, escape, readings};
use rusqlite::Connection;
use rusqlite::types::ValueRef;
use std::collections::HashMap;
use std::fmt::Write;
use std::io::{BufRead, BufReader};
use std::path::Path;

/// Compares the wide table in PostgreSQL, whatever types its columns were given.
pub(crate) fn events_in_postgres(url: &str, count: u64) -> Result<()> {
    let types = types(url, "events")?;
    let is = |column: &str, kind: &str| types.get(column).is_some_and(|t| t == kind);
    // Moments as microseconds, doubles as their bits, amounts as two digits: the same whichever way they are stored.
    let moment = |column: &str| format!("(extract(epoch FROM {column}::timestamptz) * 1000000)::bigint");
    let double = |column: &str| {
        if is(column, "double precision") {
            format!("encode(float8send({column}), 'hex')")
        } else {
            format!("'not a double: ' || {column}")
        }
    };
    let active = if is("is_active", "boolean") { "is_active::int" } else { "is_active" };
    let sql = format!(
        "COPY (SELECT id, xmlid, user_id, project_id, kind, title, body, amount::numeric(20,2), {}, {active}, tags, meta::text, {}, {} \
         FROM public.events ORDER BY id) TO STDOUT",
        double("score"),
        moment("created_at"),
        moment("updated_at"),
    );
    lines(url, &sql, Events::new(count).map(|event| expected_line(&event)))
}

fn expected_line(e: &Event) -> String {
    let mut line = format!("{}\t{}\t{}\t{}\t{}\t", e.id, e.xmlid, e.user_id, e.project_id, e.kind);
    escape(&e.title, &mut line);
    line.push('\t');
    match &e.body {
        Some(body) => escape(body, &mut line),
        None => line.push_str("\\N"),
    }
    // Writing to a String cannot fail.
    let _ = write!(line, "\t{}\t{:016x}\t{}\t", decimal(e.cents), e.score.to_bits(), i32::from(e.is_active));
    escape(&e.tags, &mut line);
    line.push('\t');
    escape(&e.meta, &mut line);
    let _ = write!(line, "\t{}\t{}", UNIX * 1_000_000 + e.created_at, UNIX * 1_000_000 + e.updated_at);
    line
}

/// Compares a table of two servers, as it is now.
pub(crate) fn same_in_postgres(source: &str, target: &str, table: &str) -> Result<()> {
    let sum = format!(
        "SELECT count(*), sum(hashtextextended(e::text, 0)::numeric), sum(hashtextextended(e::text, 1)::numeric) FROM public.{table} e"
    );
    let (there, here) = (query(source, &sum)?, query(target, &sum)?);
    if there == here { Ok(()) } else { Err(format!("the target differs from the source: {here} instead of {there}").into()) }
}

/// Compares the table that refers to itself with the source's, and checks that its reference is valid.
pub(crate) fn tree_in_postgres(source: &str, target: &str, count: u64) -> Result<()> {
    let sum = "SELECT count(*), sum(hashtextextended(t::text, 0)::numeric), sum(hashtextextended(t::text, 1)::numeric) FROM public.tree t";
    let (there, here) = (query(source, sum)?, query(target, sum)?);
    let valid = "SELECT count(*) FROM pg_constraint WHERE contype = 'f' AND convalidated AND conrelid = 'public.tree'::regclass";
    let valid = query(target, valid)?;
    if there == here && here.starts_with(&format!("{count}|")) && valid == "1" {
        return Ok(());
    }
    Err(format!("the target differs from the source: {here} instead of {there}, and {valid} valid references").into())
}

/// Compares the narrow table in PostgreSQL.
pub(crate) fn readings_in_postgres(url: &str, count: u64) -> Result<()> {
    let sql = "COPY (SELECT id, sensor_id, (extract(epoch FROM ts) * 1000000)::bigint, encode(float8send(value), 'hex') \
               FROM public.readings ORDER BY id) TO STDOUT";
    let expected =
        readings(count).map(|r| format!("{}\t{}\t{}\t{:016x}", r.id, r.sensor_id, UNIX * 1_000_000 + r.ts, r.value.to_bits()));
    lines(url, sql, expected)
}

fn types(url: &str, table: &str) -> Result<HashMap<String, String>> {
    let sql = format!("SELECT column_name || '|' || data_type FROM information_schema.columns WHERE table_name = '{table}'");
    let found = query(url, &sql)?;
    Ok(found.lines().filter_map(|l| l.split_once('|')).map(|(c, t)| (c.to_owned(), t.to_owned())).collect())
}

/// Compares the lines of a COPY with those expected.
fn lines(url: &str, sql: &str, expected: impl Iterator<Item = String>) -> Result<()> {
    let (child, pipe) = copy_out(url, sql)?;
    let mut found = BufReader::with_capacity(1 << 20, pipe);
    let mut line = String::new();
    for (n, expected) in expected.enumerate() {
        line.clear();
        found.read_line(&mut line)?;
        if line.strip_suffix('\n') != Some(&expected) {
            return Err(format!("row {} differs:\nexpected {expected}\nfound    {line}", n + 1).into());
        }
    }
    line.clear();
    if found.read_line(&mut line)? > 0 {
        return Err("the target has more rows than the source".into());
    }
    ended(child)
}

/// Compares the wide table in a SQLite file, whatever types its columns were given.
pub(crate) fn events_in_sqlite(path: &Path, count: u64) -> Result<()> {
    let connection = Connection::open(path)?;
    let mut select = connection.prepare("SELECT * FROM events ORDER BY id")?;
    let mut rows = select.query([])?;
    for event in Events::new(count) {
        let row = rows.next()?.ok_or("the target has fewer rows than the source")?;
        let text = |n: usize| row.get_ref(n).ok().and_then(|v| v.as_str().ok().map(str::to_owned));
        let int = |n: usize| row.get_ref(n).ok().and_then(|v| v.as_i64().ok());
        let amount = match row.get_ref(7)? {
            ValueRef::Integer(v) => format!("{v}.00"),
            ValueRef::Real(v) => format!("{v:.2}"),
            ValueRef::Text(v) => String::from_utf8_lossy(v).into_owned(),
            ValueRef::Null | ValueRef::Blob(_) => String::new(),
        };
        let score = match row.get_ref(8)? {
            ValueRef::Real(v) => Some(v.to_bits()),
            _ => None,
        };
        let checks = [
            int(0) == Some(event.id),
            text(1).as_deref() == Some(&event.xmlid),
            int(2) == Some(event.user_id),
            int(3) == Some(event.project_id),
            text(4).as_deref() == Some(event.kind),
            text(5).as_deref() == Some(&event.title),
            if event.body.is_none() { row.get_ref(6)? == ValueRef::Null } else { text(6) == event.body },
            amount == decimal(event.cents),
            score == Some(event.score.to_bits()),
            int(9) == Some(i64::from(event.is_active)),
            text(10).as_deref() == Some(&event.tags),
            text(11).as_deref() == Some(&event.meta),
            text(12).and_then(|t| parse(&t)) == Some(event.created_at),
            text(13).and_then(|t| parse(&t)) == Some(event.updated_at),
        ];
        if let Some(column) = checks.iter().position(|equal| !equal) {
            return Err(format!("column {} of row {} differs: found {:?}", column + 1, event.id, row.get_ref(column)?).into());
        }
    }
    if rows.next()?.is_some() {
        return Err("the target has more rows than the source".into());
    }
    Ok(())
}

/// Compares two SQLite files cell by cell, types included.
pub(crate) fn same_in_sqlite(source: &Path, target: &Path, count: u64) -> Result<()> {
    let connection = Connection::open(target)?;
    connection.execute("ATTACH ? AS source", [source.to_str().ok_or("a path is not UTF-8")?])?;
    let columns: Vec<String> = {
        let mut statement = connection.prepare("SELECT name FROM pragma_table_info('events', 'source')")?;
        statement.query_map([], |row| row.get(0))?.collect::<rusqlite::Result<_>>()?
    };
    let equal: Vec<String> = columns.iter().map(|c| format!("a.{c} IS b.{c} AND typeof(a.{c}) = typeof(b.{c})")).collect();
    let sql = format!(
        "SELECT (SELECT count(*) FROM main.events), count(*) FROM main.events a JOIN source.events b ON a.id = b.id WHERE {}",
        equal.join(" AND ")
    );
    let (all, same): (i64, i64) = connection.query_row(&sql, [], |row| Ok((row.get(0)?, row.get(1)?)))?;
    if (u64::try_from(all)?, u64::try_from(same)?) == (count, count) {
        Ok(())
    } else {
        Err(format!("of {count} rows {all} arrived and {same} are the same").into())
    }
}
