//! Which rows of a table have changed since an earlier snapshot, as the server itself knows: by the transactions that wrote them.
//!
//! A row that was written by a transaction which the earlier snapshot did not see as over has an `xmin` that is not older than the oldest
//! transaction in progress then. What a row *says* may change without that: columns that are added with a default, labels that are
//! renamed, partitions that are attached. And a number means nothing in another history. Each of these makes [`survey`] answer that
//! nothing is known.

use crate::codec::ENCODING;
use crate::copy_out::{collect, of_reading};
use crate::select::{columns_of, conditions, from_item, key_literals, order_by, page_columns, select_list};
use crate::source::Place;
use crate::sql::{quote_ident, quote_list};
use crate::view::{Session, View};
use migrate_core::schema::{ColumnSchema, TableKind, TableSchema};
use migrate_core::source::{KeyPage, PageRequest, Position, Since, Survey};
use migrate_core::state::{from_hex, to_hex};
use migrate_core::value::{DataType, Key, PageBuilder, PageColumn, Value};
use migrate_core::{Error, ErrorKind, Result};
use serde::{Deserialize, Serialize};

/// Transactions after which the numbers in rows begin to mean others.
const AGE: u64 = 1 << 31;

/// Where a table stood in a snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Landmark {
    /// The version of this form.
    v: u32,
    /// The cluster's own number, the history it is in, and the database.
    system: String,
    timeline: String,
    database: i64,
    /// How far the write-ahead log had come.
    lsn: u64,
    /// The oldest transaction in progress.
    bound: u64,
    /// A digest of the files that the rows are in, and one of all that decides what they say.
    files: String,
    definition: String,
    /// The row with the greatest key, and the transaction that wrote it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    witness: Option<(String, u32)>,
}

impl Landmark {
    fn parse(text: &str) -> Option<Self> {
        serde_json::from_str::<Landmark>(text).ok().filter(|landmark| landmark.v == 1)
    }
}

/// What the catalogs say of a table. A digest of the definition holds the columns of the table and its partitions, with the values that
/// stand for those added later, the expressions of generated ones, and all enumerations' labels.
const FACTS: &str = "\
    WITH RECURSIVE root AS ( \
      SELECT c.oid, c.relkind FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
      WHERE n.nspname = $1 AND c.relname = $2), \
    leaf AS ( \
      SELECT c.* FROM pg_catalog.pg_class c WHERE c.oid IN ( \
        SELECT r.oid FROM root r WHERE r.relkind = 'r' UNION ALL \
        SELECT t.relid FROM root r, pg_catalog.pg_partition_tree(r.oid) t WHERE r.relkind = 'p' AND t.isleaf)), \
    attribute AS ( \
      SELECT a.* FROM pg_catalog.pg_attribute a \
      WHERE a.attnum > 0 AND a.attrelid IN (SELECT r.oid FROM root r UNION SELECT l.oid FROM leaf l)), \
    made (name, oid) AS ( \
      SELECT a.attname, a.atttypid FROM attribute a, root r WHERE a.attrelid = r.oid AND a.attname = ANY ($3) UNION \
      SELECT m.name, CASE y.typtype WHEN 'd' THEN y.typbasetype \
        WHEN 'r' THEN (SELECT g.rngsubtype FROM pg_catalog.pg_range g WHERE g.rngtypid = y.oid) \
        WHEN 'm' THEN (SELECT g.rngsubtype FROM pg_catalog.pg_range g WHERE g.rngmultitypid = y.oid) \
        ELSE y.typelem END \
      FROM made m JOIN pg_catalog.pg_type y ON y.oid = m.oid WHERE y.typtype IN ('d', 'r', 'm') OR (y.typelem <> 0 AND y.typlen = -1)), \
    text (files, definition) AS (SELECT \
      (SELECT pg_catalog.string_agg(pg_catalog.concat_ws(':', l.oid, l.relfilenode, l.relam), ',' ORDER BY l.oid) FROM leaf l), \
      pg_catalog.concat_ws('|', \
        (SELECT pg_catalog.string_agg(pg_catalog.format('%s %s %s %s %s %s %s %s %s', a.attrelid, a.attnum, a.attname, a.atttypid, a.atttypmod, \
           a.attgenerated, a.attisdropped, a.atthasmissing, a.attmissingval::pg_catalog.text), ',' ORDER BY a.attrelid, a.attnum) FROM attribute a), \
        (SELECT pg_catalog.string_agg(pg_catalog.pg_get_expr(f.adbin, f.adrelid), ',' ORDER BY f.adrelid, f.adnum) \
           FROM pg_catalog.pg_attrdef f JOIN attribute a ON a.attrelid = f.adrelid AND a.attnum = f.adnum AND a.attgenerated <> ''), \
        (SELECT pg_catalog.string_agg(pg_catalog.concat_ws(' ', e.enumtypid, e.enumlabel), ',' ORDER BY e.oid) FROM pg_catalog.pg_enum e))) \
    SELECT (SELECT pg_catalog.has_table_privilege(r.oid, 'SELECT') FROM root r), \
      (SELECT pg_catalog.bool_and(l.relkind = 'r' AND l.relam = 2) FROM leaf l), \
      (SELECT pg_catalog.min(m.name::pg_catalog.text) FROM made m JOIN pg_catalog.pg_type y ON y.oid = m.oid \
         WHERE y.typtype IN ('c', 'p') OR y.oid = 790 OR y.typcategory = 'N' AND y.typname ~ '^reg' AND y.typname <> 'oid'), \
      (SELECT CASE WHEN pg_catalog.pg_is_in_recovery() THEN NULL \
         ELSE pg_catalog.substr(pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_lsn()), 1, 8) END), \
      pg_catalog.encode(pg_catalog.sha256(pg_catalog.convert_to(COALESCE(t.files, ''), 'UTF8')), 'hex'), \
      pg_catalog.encode(pg_catalog.sha256(pg_catalog.convert_to(t.definition, 'UTF8')), 'hex') \
    FROM text t";

type Facts = (Option<bool>, Option<bool>, Option<String>, Option<String>, String, String);

/// Gives the snapshot's landmark of a table, and says whether the changes since an earlier one are known.
pub(crate) async fn survey(view: &View, position: &Position, request: &PageRequest<'_>, since: Option<&str>) -> Result<Survey> {
    let unknown = |why: &str| Ok(Survey { landmark: None, since: Since::Unknown(why.to_owned()) });
    match request.table.kind {
        TableKind::Table | TableKind::Partitioned | TableKind::Partition => {}
        TableKind::View | TableKind::MaterializedView | TableKind::Foreign | TableKind::Virtual => {
            return unknown("it is no table of the server's own");
        }
    }
    let key = columns_of(request.table, request.key)?;
    if key.is_empty() {
        return unknown("it has no key");
    }
    let place = Place::parse(position)?;
    let mut session = view.session(request.table, None, &key).await?;
    let (readable, heap, odd, wal, files, definition): Facts = sqlx::query_as(FACTS)
        .bind(request.table.name.schema.as_deref().unwrap_or("public"))
        .bind(&request.table.name.name)
        .bind(request.columns)
        .fetch_one(&mut session.connection)
        .await
        .map_err(of_reading)?;
    let timeline = wal.or_else(|| place.system.timeline.map(|number| format!("{number:08X}")));
    let (Some(system), Some(timeline), Some(lsn)) = (&place.system.system, timeline, place.lsn.as_deref().and_then(lsn_of))
    else {
        view.give_back(session);
        return unknown("the server does not tell which it is");
    };
    if readable != Some(true) || heap != Some(true) {
        view.give_back(session);
        return unknown("its rows do not tell who wrote them");
    }
    if let Some(column) = odd {
        view.give_back(session);
        return unknown(&format!("what the column {column} says may change without its row"));
    }
    let (bound, next) = (place.oldest()?, place.next()?);
    let witness = match request.table.is_unique(request.key) {
        true => newest(&mut session, request, &key).await?,
        false => None,
    };
    let database = place.system.database;
    let system = system.clone();
    let now = Landmark { v: 1, system, timeline, database, lsn, bound, files, definition, witness };
    let since = match since {
        None => Since::Unknown("nothing was read before".to_owned()),
        Some(text) => match Landmark::parse(text) {
            Some(before) => compare(&mut session, request, &key, &before, &now, next).await?,
            None => Since::Unknown("the last run was that of another version".to_owned()),
        },
    };
    view.give_back(session);
    let landmark = serde_json::to_string(&now)
        .map_err(|e| Error::new(ErrorKind::Internal, "a landmark could not be written").caused_by(e))?;
    Ok(Survey { landmark: Some(landmark), since })
}

/// Says whether what a landmark says still holds for the numbers in rows; the row with the greatest key aside.
fn judge(before: &Landmark, now: &Landmark, next: u64) -> Since {
    let unknown = |why: &str| Since::Unknown(why.to_owned());
    if (&before.system, before.database) != (&now.system, now.database) {
        return unknown("it is another server or database");
    }
    if before.timeline != now.timeline {
        return unknown("the server has gone into another timeline since");
    }
    if now.lsn < before.lsn {
        return Since::Behind("its write-ahead log has not come as far".to_owned());
    }
    if before.files != now.files {
        return unknown("the table was written anew since, or has other partitions");
    }
    if before.definition != now.definition {
        return unknown("the table's definition, or a type's, has changed since");
    }
    if next < before.bound || next - before.bound >= AGE {
        return unknown("too many transactions have passed since");
    }
    Since::Known
}

async fn compare(
    session: &mut Session,
    request: &PageRequest<'_>,
    key: &[&ColumnSchema],
    before: &Landmark,
    now: &Landmark,
    next: u64,
) -> Result<Since> {
    let judged = judge(before, now, next);
    let (Since::Known, Some((newest, xmin))) = (&judged, &before.witness) else { return Ok(judged) };
    let newest = from_hex(newest).map(Key::from_bytes);
    let there = match &newest {
        Some(newest) => writer_of(session, request, key, newest).await?,
        None => None,
    };
    Ok(match there {
        Some(now) if !is_older(now, *xmin) => judged,
        Some(_) => Since::Unknown("a row that was read before is older than it was".to_owned()),
        None => Since::Unknown("the row with the greatest key is not there any more".to_owned()),
    })
}

/// Whether one transaction's number in a row comes before another's: they go round.
fn is_older(one: u32, other: u32) -> bool {
    (one.wrapping_sub(other) as i32) < 0
}

fn lsn_of(text: &str) -> Option<u64> {
    let (high, low) = text.split_once('/')?;
    Some(u64::from_str_radix(high, 16).ok()? << 32 | u64::from_str_radix(low, 16).ok()?)
}

/// The columns of a key, and behind them the transaction that wrote the row.
fn columns_with_writer(key: &[&ColumnSchema]) -> Vec<PageColumn> {
    let mut columns = page_columns(key).to_vec();
    columns.push(PageColumn { name: "xmin".to_owned(), data_type: DataType::Int32 });
    columns
}

/// Runs a query for keys with their rows' writers.
async fn keys_and_writers(session: &mut Session, query: &str, key: &[&ColumnSchema]) -> Result<Vec<(Key, u32)>> {
    let mut builder = PageBuilder::new(columns_with_writer(key).into(), ENCODING);
    let sql = format!("COPY ({query}) TO STDOUT (FORMAT BINARY)");
    collect(&mut session.connection, &sql, &mut builder, key.len() + 1).await?;
    let page = builder.finish(None);
    let mut found = Vec::with_capacity(page.row_count());
    for row in page.rows() {
        let values = row.values()?;
        let Some((Value::Int(xmin), values)) = values.split_last() else {
            return Err(Error::new(ErrorKind::Corrupt, "a row does not tell who wrote it"));
        };
        // The server's number has no sign.
        found.push((Key::from_values(values), *xmin as u32));
    }
    Ok(found)
}

async fn newest(session: &mut Session, request: &PageRequest<'_>, key: &[&ColumnSchema]) -> Result<Option<(String, u32)>> {
    let qualifier = quote_ident(&request.table.name.name);
    let order: Vec<String> = key.iter().map(|c| format!("{qualifier}.{} DESC", quote_ident(&c.name))).collect();
    let (list, from) = (select_list(key), from_item(request.table));
    let query = format!("SELECT {list}, xmin FROM {from} ORDER BY {} LIMIT 1", order.join(", "));
    let found = keys_and_writers(session, &query, key).await?;
    Ok(found.into_iter().next().map(|(key, xmin)| (to_hex(key.as_bytes()), xmin)))
}

async fn writer_of(session: &mut Session, request: &PageRequest<'_>, key: &[&ColumnSchema], wanted: &Key) -> Result<Option<u32>> {
    let (names, values) = (quote_list(request.key), key_literals(wanted, key, request.table)?.join(", "));
    let query = format!("SELECT {}, xmin FROM {} WHERE ({names}) = ({values})", select_list(key), from_item(request.table));
    Ok(keys_and_writers(session, &query, key).await?.first().map(|(_, xmin)| *xmin))
}

/// Reads the keys of a range, and whether their rows may have changed since a landmark.
pub(crate) async fn read_keys(view: &View, position: &Position, request: &PageRequest<'_>, since: &str) -> Result<KeyPage> {
    let table: &TableSchema = request.table;
    let before = Landmark::parse(since).ok_or_else(|| Error::new(ErrorKind::Internal, "a landmark cannot be read"))?;
    let key = columns_of(table, request.key)?;
    let span = Place::parse(position)?.next()?.saturating_sub(before.bound);
    let first = before.bound as u32;
    let from = from_item(table);
    let mut session = view.session(table, request.filter, &key).await?;
    let condition = session.render_filter(&from, request.filter).await?;
    let query = format!(
        "SELECT {}, xmin FROM {from}{}{} LIMIT {}",
        select_list(&key),
        conditions(request, &key, &condition)?,
        order_by(table, &key),
        i64::try_from(request.max_rows).unwrap_or(i64::MAX).saturating_add(1)
    );
    let mut found = keys_and_writers(&mut session, &query, &key).await.map_err(|e| e.with("table", &table.name))?;
    view.give_back(session);
    let more = found.len() > request.max_rows;
    found.truncate(request.max_rows);
    let mut page = KeyPage::default();
    for (key, xmin) in found {
        page.keys.push(key);
        page.fresh.push(u64::from(xmin.wrapping_sub(first)) < span);
    }
    page.next = page.keys.last().filter(|_| more).cloned();
    Ok(page)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transaction_numbers_go_round() {
        assert!(is_older(5, 6) && !is_older(6, 6) && !is_older(7, 6));
        assert!(is_older(u32::MAX, 3) && !is_older(3, u32::MAX));
    }

    #[test]
    fn each_doubt_about_the_history_makes_the_changes_unknown() {
        let before = Landmark {
            v: 1,
            system: "7".to_owned(),
            timeline: "00000001".to_owned(),
            database: 5,
            lsn: 100,
            bound: 1_000,
            files: "f".to_owned(),
            definition: "d".to_owned(),
            witness: None,
        };
        let later = Landmark { lsn: 200, bound: 2_000, ..before.clone() };
        assert_eq!(judge(&before, &before, 1_000), Since::Known, "nothing has happened");
        assert_eq!(judge(&before, &later, 2_000), Since::Known);
        assert_eq!(judge(&before, &later, 1_000 + AGE - 1), Since::Known);
        let unknown = |now: Landmark, next: u64, why: &str| match judge(&before, &now, next) {
            Since::Unknown(said) => assert!(said.contains(why), "{said}"),
            other => panic!("{why}: {other:?}"),
        };
        unknown(Landmark { system: "8".to_owned(), ..later.clone() }, 2_000, "another server");
        unknown(Landmark { database: 6, ..later.clone() }, 2_000, "another server or database");
        unknown(Landmark { timeline: "00000002".to_owned(), ..later.clone() }, 2_000, "timeline");
        unknown(Landmark { files: "g".to_owned(), ..later.clone() }, 2_000, "written anew");
        unknown(Landmark { definition: "e".to_owned(), ..later.clone() }, 2_000, "definition");
        unknown(later.clone(), 1_000 + AGE, "too many");
        unknown(later.clone(), 999, "too many");
        assert!(matches!(judge(&before, &Landmark { lsn: 99, ..later }, 2_000), Since::Behind(_)));
    }

    #[test]
    fn places_in_the_log_are_numbers() {
        assert_eq!(lsn_of("1/A0"), Some((1 << 32) + 160));
        assert_eq!(lsn_of("x"), None);
    }
}
