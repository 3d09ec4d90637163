//! Moving sequences past the numbers that rows have brought along.

use crate::connection::execute;
use crate::error::from_sqlx;
use crate::sql::{quote_ident, quote_table};
use migrate_core::Result;
use migrate_core::sink::TablePlan;
use sqlx::AssertSqlSafe;
use sqlx::postgres::PgConnection;

/// The sequences that columns of whole numbers draw from, owned or not.
const SEQUENCES: &str = "\
    SELECT DISTINCT a.attname::pg_catalog.text, pg_catalog.format('%I.%I', sn.nspname, s.relname), q.seqincrement, q.seqmin, q.seqmax, \
           pg_catalog.has_sequence_privilege(s.oid, 'SELECT') AND pg_catalog.has_sequence_privilege(s.oid, 'UPDATE') \
    FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
    JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND a.atttypid IN (20, 21, 23, 1700) \
    JOIN pg_catalog.pg_depend d ON (d.classid = 1259 AND d.refclassid = 1259 AND d.refobjid = c.oid AND d.refobjsubid = a.attnum \
                                    AND d.deptype = 'i') \
        OR (d.classid = 2604 AND d.refclassid = 1259 \
            AND d.objid = (SELECT f.oid FROM pg_catalog.pg_attrdef f WHERE f.adrelid = c.oid AND f.adnum = a.attnum)) \
    JOIN pg_catalog.pg_class s ON s.relkind = 'S' AND s.oid = CASE WHEN d.classid = 1259 THEN d.objid ELSE d.refobjid END \
    JOIN pg_catalog.pg_namespace sn ON sn.oid = s.relnamespace JOIN pg_catalog.pg_sequence q ON q.seqrelid = s.oid \
    WHERE n.nspname = $1 AND c.relname = $2";

/// Moves every sequence of a table on so that its next number is not taken. Never moves one back.
///
/// Those of a table that was made for a job go on where the source's had come, also where no row has those numbers any more.
/// Returns what could not be done.
pub(crate) async fn advance(connection: &mut PgConnection, plan: &TablePlan) -> Result<Vec<String>> {
    let mut left = Vec::new();
    let table = &plan.table.name;
    let sequences: Vec<(String, String, i64, i64, i64, bool)> = sqlx::query_as(SEQUENCES)
        .bind(table.schema.as_deref().unwrap_or("public"))
        .bind(&table.name)
        .fetch_all(&mut *connection)
        .await
        .map_err(from_sqlx)?;
    for (column, sequence, increment, least, most, may) in sequences {
        if !may {
            tracing::warn!(table = %table, column = %column, "sequence is not moved on: the role lacks UPDATE on it");
            left.push(format!("{table}: the sequence of column {column} is not moved on: the role lacks UPDATE on it"));
            continue;
        }
        let farthest = if increment > 0 { "max" } else { "min" };
        let sql = format!(
            "SELECT (SELECT pg_catalog.trunc(pg_catalog.{farthest}(t.{})::pg_catalog.numeric)::pg_catalog.text FROM {} t), \
                    s.last_value, s.is_called FROM {sequence} s",
            quote_ident(&column),
            quote_table(table)
        );
        let (reached, last, called): (Option<String>, i64, bool) =
            sqlx::query_as(AssertSqlSafe(sql)).persistent(false).fetch_one(&mut *connection).await.map_err(from_sqlx)?;
        // A number too large for the sequence is out of its reach.
        let reached = reached.and_then(|r| r.parse::<i64>().ok()).filter(|r| (least..=most).contains(r));
        let numbering = plan.table.column(&column).filter(|_| plan.create).and_then(|c| c.numbering.as_ref());
        let given = numbering.and_then(|n| n.reached).filter(|r| (least..=most).contains(r));
        let farther = |a: i64, b: i64| if increment > 0 { a.max(b) } else { a.min(b) };
        let Some(reached) = reached.into_iter().chain(given).reduce(farther) else { continue };
        let next = if called { last.saturating_add(increment) } else { last };
        let collides = if increment > 0 { next <= reached } else { next >= reached };
        if collides {
            let literal = crate::sql::quote_literal(&sequence);
            execute(connection, format!("SELECT pg_catalog.setval({literal}::pg_catalog.regclass, {reached}, true)")).await?;
        }
    }
    Ok(left)
}
