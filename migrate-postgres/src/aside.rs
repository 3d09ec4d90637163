//! Rows of several tables that refer to one another, inserted by one statement.
//!
//! The server checks references that are not deferrable at the end of a statement, also of one that inserts into several tables by
//! data-modifying CTEs. So the rows wait in temporary tables, one for each table of the cycle:
//!
//! ```text
//! s = 0 waits   1 inserted   2 refused, or without a parent   3 there already
//! all that wait ──▶ one statement ──▶ refused? ──▶ halves, each row with all that it refers to ──▶ … ──▶ the rows at fault
//! ```

use crate::connection::execute;
use crate::error::from_sqlx;
use crate::facts::Facts;
use crate::sql::{quote_ident, quote_list};
use crate::stage::{Stage, counted};
use migrate_core::schema::TableName;
use migrate_core::sink::{Arrival, Tie};
use migrate_core::{Error, ErrorKind, Result};
use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Row};
use std::sync::Arc;

/// Statements that are tried for one set of rows at most: a row at fault takes about twice as many as the set can be halved.
const TRIES: usize = 2_000;

/// Rows that were set aside: the index of their table, the number of the first, and that of the one behind the last.
type Span = (usize, u64, u64);

/// The rows of one table that were set aside.
#[derive(Debug)]
pub(crate) struct Aside {
    /// The caller's number for the rows.
    pub(crate) place: usize,
    table: TableName,
    facts: Arc<Facts>,
    /// The temporary table: `o`, `c0`, `c1`, … as in a stage; `s`, what became of the row; `n`, the ties left open; `m`, whether it is tried.
    stage: Stage,
    key: Vec<String>,
    rows: u64,
}

impl Aside {
    /// Creates the temporary table.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] where rules or row-level security have a say in what a statement does.
    pub(crate) async fn create(
        connection: &mut PgConnection,
        (table, facts): (&TableName, Arc<Facts>),
        columns: &[String],
        key: &[String],
        place: usize,
    ) -> Result<Aside> {
        if facts.rules || facts.row_security {
            let message =
                "rows that refer to one another cannot be inserted at once into a table with rules or row-level security";
            return Err(Error::new(ErrorKind::Unsupported, message).with("table", table));
        }
        let stage = Stage::named(&format!("migrate_aside_{place}"), columns);
        let list: String =
            columns.iter().enumerate().map(|(i, c)| format!(", t.{} AS c{i}", quote_ident(c))).collect::<Vec<_>>().concat();
        let sql = format!(
            "CREATE TEMPORARY TABLE migrate_aside_{place} ON COMMIT DROP AS SELECT 0::pg_catalog.int8 AS o{list}, \
             0::pg_catalog.int2 AS s, 0::pg_catalog.int8 AS n, false AS m FROM {}{} t WITH NO DATA",
            facts.only, facts.qualified
        );
        execute(connection, sql).await?;
        Ok(Aside { place, table: table.clone(), facts, stage, key: key.to_vec(), rows: 0 })
    }

    /// The temporary table, quoted.
    pub(crate) fn qualified(&self) -> &str {
        &self.stage.qualified
    }

    /// Whether rows with these columns can join those that are there.
    pub(crate) fn takes(&self, table: &TableName, columns: &[String]) -> bool {
        &self.table == table && self.stage.columns == columns
    }

    /// Takes the rows of a stage with the same columns.
    pub(crate) async fn add(&mut self, connection: &mut PgConnection, from: &Stage, rows: usize) -> Result<()> {
        let columns: String = (0..from.columns.len()).map(|i| format!(", c{i}")).collect();
        let sql = format!(
            "INSERT INTO {} (o{columns}, s, n, m) SELECT {} + o{columns}, 0, 0, false FROM {}",
            self.stage.qualified, self.rows, from.qualified
        );
        counted(execute(connection, sql).await?, rows as u64)?;
        self.rows += rows as u64;
        Ok(())
    }

    /// Returns what became of rows.
    pub(crate) async fn arrivals(&self, connection: &mut PgConnection, first: u64, count: usize) -> Result<Vec<Arrival>> {
        let end = first + count as u64;
        let sql = format!("SELECT s = 1, n FROM {} WHERE o >= {first} AND o < {end} ORDER BY o", self.stage.qualified);
        let rows = sqlx::query(AssertSqlSafe(sql)).persistent(false).fetch_all(connection).await.map_err(from_sqlx)?;
        let arrival = |row: &sqlx::postgres::PgRow| {
            let open: i64 = row.try_get(1).map_err(from_sqlx)?;
            Ok(Arrival { inserted: row.try_get(0).map_err(from_sqlx)?, open: open.cast_unsigned() })
        };
        rows.iter().map(arrival).collect()
    }

    /// The condition that a row of the table, `t`, has the key of a row set aside, `s`.
    fn same_key(&self) -> Result<String> {
        self.stage.same_key(&self.facts, &self.key)
    }

    fn there(&self) -> Result<String> {
        Ok(format!("EXISTS (SELECT FROM {}{} t WHERE {})", self.facts.only_by_key, self.facts.qualified, self.same_key()?))
    }

    fn place(&self, column: &str) -> Result<String> {
        let missing = || Error::new(ErrorKind::Schema, "the rows lack a column of a reference").with("column", column);
        self.stage.place(column).ok_or_else(missing).map_err(|e| e.with("table", &self.table))
    }
}

/// A reference of rows set aside, as conditions: `c` is the row that refers.
struct Bound {
    /// The number of the tie, and the index of the rows that refer.
    number: usize,
    child: usize,
    /// That the row refers to a parent which the table lacks, and which does not wait either.
    missing: String,
    /// The indexes of rows set aside of the table that is referred to, and that such a row, `p`, is the parent.
    parents: Vec<(usize, String)>,
    /// The columns to be emptied instead of refusing the row.
    open: Vec<String>,
}

/// Rows set aside, with the references between them.
pub(crate) struct Together<'a> {
    asides: &'a [Aside],
    ties: Vec<Bound>,
    tries: usize,
}

impl<'a> Together<'a> {
    /// Prepares the conditions; the facts of the tables referred to come in the order of the ties, `None` for those that cannot be read:
    /// of their rows only the insert tells whether they are there.
    pub(crate) fn new(asides: &'a [Aside], ties: &[Tie], parents: &[Option<Arc<Facts>>]) -> Result<Self> {
        let mut bound = Vec::with_capacity(ties.len());
        for (number, (tie, facts)) in ties.iter().zip(parents).enumerate() {
            // Where there are no new rows, none is set aside.
            let child = asides.iter().enumerate().find(|(_, aside)| aside.place == tie.child);
            let (Some((index, child)), Some(facts)) = (child, facts) else { continue };
            let (mut refers, mut in_table) = (Vec::new(), Vec::new());
            for (column, parent) in tie.columns.iter().zip(&tie.parent_columns) {
                let own = format!("c.{}", child.place(column)?);
                refers.push(format!("{own} IS NOT NULL"));
                in_table.push(facts.equal(parent, &format!("t.{}", quote_ident(parent)), &own)?);
            }
            let mut missing = vec![
                refers.join(" AND "),
                format!("NOT EXISTS (SELECT FROM {}{} t WHERE {})", facts.only, facts.qualified, in_table.join(" AND ")),
            ];
            let mut waiting = Vec::new();
            for (place, aside) in asides.iter().enumerate().filter(|(_, aside)| aside.table == tie.parent) {
                let mut same = Vec::new();
                for (column, parent) in tie.columns.iter().zip(&tie.parent_columns) {
                    let (own, other) = (format!("c.{}", child.place(column)?), format!("p.{}", aside.place(parent)?));
                    same.push(facts.equal(parent, &other, &own)?);
                }
                let same = same.join(" AND ");
                missing.push(format!("NOT EXISTS (SELECT FROM {} p WHERE p.s IN (0, 1) AND {same})", aside.stage.qualified));
                waiting.push((place, same));
            }
            let open = tie.open.iter().map(|column| child.place(column)).collect::<Result<_>>()?;
            bound.push(Bound { number, child: index, missing: missing.join(" AND "), parents: waiting, open });
        }
        Ok(Together { asides, ties: bound, tries: 0 })
    }

    /// Inserts what can be inserted, and returns how many rows.
    pub(crate) async fn insert(mut self, connection: &mut PgConnection) -> Result<u64> {
        for aside in self.asides {
            let table = &aside.stage.qualified;
            let sql =
                format!("CREATE INDEX ON {table} (o); ANALYZE {table}; UPDATE {table} s SET s = 3 WHERE {}", aside.there()?);
            execute(connection, sql).await?;
        }
        self.refuse_orphans(connection).await?;
        // Places and ranges of rows that are tried together, the next one last.
        let mut waiting: Vec<Vec<Span>> =
            vec![self.asides.iter().enumerate().map(|(place, aside)| (place, 0, aside.rows)).collect()];
        let mut inserted = 0;
        while let Some(ranges) = waiting.pop() {
            let marked = self.mark(connection, &ranges).await?;
            if marked.iter().all(|count| *count == 0) {
                continue;
            }
            match self.try_marked(connection, &marked).await? {
                Ok(count) => inserted += count,
                Err(error) => {
                    self.tries += 1;
                    if self.tries >= TRIES {
                        return Err(error);
                    }
                    match halves(&ranges) {
                        Some((first, second)) => waiting.extend([second, first]),
                        None => {
                            for (place, from, to) in ranges {
                                let table = &self.asides[place].stage.qualified;
                                execute(connection, format!("UPDATE {table} SET s = 2 WHERE s = 0 AND o >= {from} AND o < {to}"))
                                    .await?;
                            }
                            self.refuse_orphans(connection).await?;
                        }
                    }
                }
            }
        }
        Ok(inserted)
    }

    /// Takes out, one after the other, rows whose parent is neither there nor waits; or only their references, where they may.
    async fn refuse_orphans(&self, connection: &mut PgConnection) -> Result<()> {
        loop {
            let mut found = 0;
            for tie in &self.ties {
                let set = if tie.open.is_empty() {
                    "s = 2".to_owned()
                } else {
                    let columns: Vec<String> = tie.open.iter().map(|column| format!("{column} = NULL")).collect();
                    format!("n = c.n | {}::pg_catalog.int8, {}", 1u64 << tie.number, columns.join(", "))
                };
                let table = &self.asides[tie.child].stage.qualified;
                found += execute(connection, format!("UPDATE {table} c SET {set} WHERE c.s = 0 AND {}", tie.missing)).await?;
            }
            if found == 0 {
                return Ok(());
            }
        }
    }

    /// Marks the rows of these ranges that wait, with all that they refer to; returns how many of each table.
    async fn mark(&self, connection: &mut PgConnection, ranges: &[Span]) -> Result<Vec<u64>> {
        let mut marked = vec![0; self.asides.len()];
        for (place, aside) in self.asides.iter().enumerate() {
            let table = &aside.stage.qualified;
            execute(connection, format!("UPDATE {table} SET m = false WHERE m")).await?;
            for (_, from, to) in ranges.iter().filter(|(of, ..)| *of == place) {
                let sql = format!("UPDATE {table} SET m = true WHERE s = 0 AND o >= {from} AND o < {to}");
                marked[place] += execute(connection, sql).await?;
            }
        }
        loop {
            let mut more = 0;
            for tie in &self.ties {
                for (place, same) in &tie.parents {
                    let (child, parent) = (&self.asides[tie.child].stage.qualified, &self.asides[*place].stage.qualified);
                    let sql = format!(
                        "UPDATE {parent} p SET m = true WHERE p.s = 0 AND NOT p.m AND EXISTS (SELECT FROM {child} c WHERE c.m AND {same})"
                    );
                    let count = execute(connection, sql).await?;
                    marked[*place] += count;
                    more += count;
                }
            }
            if more == 0 {
                return Ok(marked);
            }
        }
    }

    /// Inserts the marked rows of all tables by one statement; undone where the target refuses one of them.
    async fn try_marked(&self, connection: &mut PgConnection, marked: &[u64]) -> Result<Result<u64>> {
        let (mut inserts, mut counts) = (Vec::new(), Vec::new());
        for (place, aside) in self.asides.iter().enumerate() {
            let columns = (0..aside.stage.columns.len()).map(|i| format!("s.c{i}")).collect::<Vec<_>>().join(", ");
            inserts.push(format!(
                "i{place} AS (INSERT INTO {} ({}) OVERRIDING SYSTEM VALUE SELECT {columns} FROM {} s WHERE s.s = 0 AND s.m ORDER BY s.o RETURNING 1)",
                aside.facts.qualified,
                quote_list(&aside.stage.columns),
                aside.stage.qualified
            ));
            counts.push(format!("SELECT {place}::pg_catalog.int4, pg_catalog.count(*) FROM i{place}"));
        }
        let sql = format!("WITH {} {}", inserts.join(", "), counts.join(" UNION ALL "));
        execute(connection, "SAVEPOINT migrate_aside").await?;
        let done = async {
            let query = sqlx::query(AssertSqlSafe(sql)).persistent(false);
            let rows = query.fetch_all(&mut *connection).await.map_err(from_sqlx)?;
            // What is checked at the end of the transaction would name no row.
            execute(connection, "SET CONSTRAINTS ALL IMMEDIATE").await?;
            Ok::<_, Error>(rows)
        };
        let rows = match done.await {
            Ok(rows) => rows,
            Err(error) if matches!(error.kind(), ErrorKind::RowRejected | ErrorKind::Constraint) => {
                execute(connection, "ROLLBACK TO SAVEPOINT migrate_aside; RELEASE SAVEPOINT migrate_aside").await?;
                return Ok(Err(error));
            }
            Err(error) => return Err(error),
        };
        execute(connection, "RELEASE SAVEPOINT migrate_aside").await?;
        let mut inserted = 0;
        for row in rows {
            let (place, count): (i32, i64) = (row.try_get(0).map_err(from_sqlx)?, row.try_get(1).map_err(from_sqlx)?);
            let place = usize::try_from(place).map_err(|_| nothing())?;
            let (aside, count) = (self.asides.get(place).ok_or_else(nothing)?, count.unsigned_abs());
            let table = &aside.stage.qualified;
            if count == marked[place] {
                inserted += execute(connection, format!("UPDATE {table} SET s = 1 WHERE s = 0 AND m")).await?;
            } else if aside.facts.must_read_back() {
                // Triggers have kept rows out, or sent them to tables that inherit from this one.
                let there = aside.there()?;
                inserted += execute(connection, format!("UPDATE {table} s SET s = 1 WHERE s.s = 0 AND s.m AND {there}")).await?;
                execute(connection, format!("UPDATE {table} SET s = 2 WHERE s = 0 AND m")).await?;
            } else {
                counted(count, marked[place]).map_err(|error| error.with("table", &aside.table))?;
            }
        }
        Ok(Ok(inserted))
    }
}

/// Parts ranges of rows into two of about the same size; `None` if there is one row only.
fn halves(ranges: &[Span]) -> Option<(Vec<Span>, Vec<Span>)> {
    let total: u64 = ranges.iter().map(|(_, from, to)| to - from).sum();
    if total < 2 {
        return None;
    }
    let (mut first, mut second, mut left) = (Vec::new(), Vec::new(), total / 2);
    for (place, from, to) in ranges.iter().copied() {
        let cut = from + left.min(to - from);
        left -= cut - from;
        first.extend((cut > from).then_some((place, from, cut)));
        second.extend((to > cut).then_some((place, cut, to)));
    }
    Some((first, second))
}

fn nothing() -> Error {
    Error::new(ErrorKind::Internal, "no rows were set aside at this place")
}

#[cfg(test)]
mod tests {
    use super::halves;

    #[test]
    fn halves_have_all_rows_once_and_end_at_single_ones() {
        let mut waiting = vec![vec![(0, 0, 5), (1, 0, 0), (2, 0, 2)]];
        let mut single = Vec::new();
        while let Some(ranges) = waiting.pop() {
            match halves(&ranges) {
                Some((first, second)) => waiting.extend([second, first]),
                None => single.extend(ranges),
            }
        }
        assert_eq!(single.iter().filter(|(_, from, to)| to > from).count(), 7);
        assert_eq!(single[0], (0, 0, 1));
        assert_eq!(single[6], (2, 1, 2));
    }
}
