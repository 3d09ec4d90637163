//! Moving staged rows into place, and saying of each what became of it.

use crate::connection::execute;
use crate::error::from_sqlx;
use crate::facts::Facts;
use crate::sql::{quote_ident, quote_list};
use crate::stage::{Stage, counted};
use migrate_core::sink::{Outcome, WriteMode};
use migrate_core::{Error, ErrorKind, Result};
use sqlx::postgres::{PgConnection, PgRow};
use sqlx::{AssertSqlSafe, Row};

/// The statements for one stage and key.
pub(crate) struct Upsert<'a> {
    facts: &'a Facts,
    stage: &'a Stage,
    key: &'a [String],
    /// `t` is the target's row, `s` the stage's.
    same_key: String,
    /// The target's columns that may differ for a key that is equal.
    compared: Vec<&'a String>,
    rows: usize,
}

impl<'a> Upsert<'a> {
    /// Prepares the statements for so many staged rows.
    ///
    /// # Errors
    /// [`ErrorKind::Schema`] if the key is empty or not among the columns.
    pub(crate) fn new(facts: &'a Facts, stage: &'a Stage, key: &'a [String], rows: usize) -> Result<Self> {
        if key.is_empty() {
            return Err(Error::new(ErrorKind::Schema, "rows without a key can only be loaded").with("table", &facts.qualified));
        }
        let same_key = stage.same_key(facts, key)?;
        let mut compared = Vec::new();
        for column in &stage.columns {
            let own = facts.column(column)?;
            // Equal keys of an exact type are the same; an identity that is always generated cannot be overwritten.
            let settled = own.identity_always || (key.contains(column) && own.exact);
            if !settled {
                compared.push(column);
            }
        }
        Ok(Upsert { facts, stage, key, same_key, compared, rows })
    }

    /// Writes the rows and returns what became of each.
    pub(crate) async fn run(&self, connection: &mut PgConnection, mode: WriteMode) -> Result<Vec<Outcome>> {
        self.check_distinct(connection).await?;
        if self.facts.must_read_back() {
            return self.run_and_look(connection, mode).await;
        }
        let left = match mode {
            WriteMode::Load => Outcome::Inserted,
            WriteMode::Upsert => Outcome::Unchanged,
            WriteMode::InsertMissing => Outcome::Skipped,
        };
        let mut outcomes = vec![left; self.rows];
        if mode == WriteMode::Upsert {
            if !self.compared.is_empty() {
                let sql = format!("{} RETURNING s.o", self.update(&self.differs()));
                for row in fetch(connection, sql).await? {
                    let place = ordinal(&row, 0)?.ok_or_else(nowhere)?;
                    let outcome = outcomes.get_mut(place).ok_or_else(nowhere)?;
                    if *outcome == Outcome::Updated {
                        return Err(self.ambiguous());
                    }
                    *outcome = Outcome::Updated;
                }
            }
            self.check_identities(connection).await?;
            if outcomes.iter().all(|outcome| *outcome == Outcome::Updated) {
                return Ok(outcomes);
            }
        }
        // The missing rows are listed and inserted by one statement, so by one view of the table.
        let sql = format!(
            "WITH missing AS MATERIALIZED (SELECT s.* FROM {stage} s WHERE NOT EXISTS (SELECT FROM {only}{table} t WHERE {same})), \
             inserted AS (INSERT INTO {table} ({columns}) OVERRIDING SYSTEM VALUE SELECT {places} FROM missing m RETURNING 1) \
             SELECT m.o, NULL::pg_catalog.int8 FROM missing m UNION ALL SELECT NULL, pg_catalog.count(*) FROM inserted",
            stage = self.stage.qualified,
            only = self.facts.only_by_key,
            table = self.facts.qualified,
            same = self.same_key,
            columns = quote_list(&self.stage.columns),
            places = self.places("m"),
        );
        let (mut missing, mut inserted) = (0, 0);
        for row in fetch(connection, sql).await? {
            match ordinal(&row, 0)? {
                Some(place) => {
                    missing += 1;
                    *outcomes.get_mut(place).ok_or_else(nowhere)? = Outcome::Inserted;
                }
                None => inserted = row.try_get::<i64, _>(1).map_err(from_sqlx)?,
            }
        }
        counted(inserted.unsigned_abs(), missing)?;
        Ok(outcomes)
    }

    /// Where triggers or rules have a say, only the table itself tells what they left of a statement.
    async fn run_and_look(&self, connection: &mut PgConnection, mode: WriteMode) -> Result<Vec<Outcome>> {
        let before = self.look(connection).await?;
        let places = |wanted: &dyn Fn(&Seen) -> bool| {
            let places: Vec<String> =
                (0..).zip(&before).filter(|(_, seen)| wanted(seen)).map(|(o, _): (u32, _)| o.to_string()).collect();
            format!("s.o = ANY ('{{{}}}'::pg_catalog.int4[])", places.join(","))
        };
        // Rules run their own statements after ours and ask its conditions again, so these must not change by what it does.
        if mode == WriteMode::Upsert {
            if before.iter().any(|seen| seen.differs && seen.version.is_some()) {
                execute(connection, self.update(&places(&|seen| seen.differs && seen.version.is_some()))).await?;
            }
            self.check_identities(connection).await?;
        }
        if before.iter().any(|seen| seen.version.is_none()) {
            execute(connection, self.insert(&places(&|seen| seen.version.is_none()))).await?;
        }
        let after = self.look(connection).await?;
        let outcomes = before.iter().zip(&after).map(|(before, after)| match (&before.version, &after.version) {
            (None, Some(_)) => Outcome::Inserted,
            (Some(_), _) if mode == WriteMode::InsertMissing => Outcome::Skipped,
            (Some(_), _) if !before.differs => Outcome::Unchanged,
            (Some(old), Some(new)) if old != new => Outcome::Updated,
            // A trigger or rule kept the row out, or as it was.
            (Some(_) | None, _) => Outcome::Skipped,
        });
        Ok(outcomes.collect())
    }

    /// Inserts all rows through one statement, where a COPY is not allowed or would not be honest.
    pub(crate) async fn load(
        connection: &mut PgConnection,
        facts: &Facts,
        stage: &Stage,
        key: &[String],
        rows: usize,
    ) -> Result<Option<Vec<Outcome>>> {
        let places = (0..stage.columns.len()).map(|i| format!("s.c{i}")).collect::<Vec<_>>().join(", ");
        let insert = format!(
            "INSERT INTO {} ({}) OVERRIDING SYSTEM VALUE SELECT {places} FROM {} s ORDER BY s.o",
            facts.qualified,
            quote_list(&stage.columns),
            stage.qualified
        );
        let looks = facts.must_read_back() && !key.is_empty();
        if facts.row_security {
            // A policy that forbids a row is an error of the insert; none is left out in silence.
            execute(connection, "SET LOCAL row_security = on").await?;
        }
        let inserted = execute(connection, insert).await?;
        if facts.row_security {
            execute(connection, "SET LOCAL row_security = off").await?;
        }
        if !looks {
            counted(inserted, rows as u64).map_err(|e| {
                e.with("table", &facts.qualified).with("cause", "triggers or rules, and no key to tell which rows they left out")
            })?;
            return Ok(None);
        }
        let upsert = Upsert::new(facts, stage, key, rows)?;
        let after = upsert.look(connection).await?;
        Ok(Some(after.iter().map(|seen| if seen.version.is_some() { Outcome::Inserted } else { Outcome::Skipped }).collect()))
    }

    fn places(&self, alias: &str) -> String {
        (0..self.stage.columns.len()).map(|i| format!("{alias}.c{i}")).collect::<Vec<_>>().join(", ")
    }

    fn update(&self, which: &str) -> String {
        let set: Vec<String> =
            self.compared.iter().filter_map(|c| Some(format!("{} = s.{}", quote_ident(c), self.stage.place(c)?))).collect();
        format!(
            "UPDATE {}{} t SET {} FROM {} s WHERE {} AND {}",
            self.facts.only_by_key,
            self.facts.qualified,
            set.join(", "),
            self.stage.qualified,
            self.same_key,
            which
        )
    }

    fn insert(&self, which: &str) -> String {
        format!(
            "INSERT INTO {} ({}) OVERRIDING SYSTEM VALUE SELECT {} FROM {} s WHERE {which} ORDER BY s.o",
            self.facts.qualified,
            quote_list(&self.stage.columns),
            self.places("s"),
            self.stage.qualified,
        )
    }

    /// Compares images, not values: 1.0 and 1.00 differ, and types without equality compare too.
    fn differs(&self) -> String {
        let own: Vec<String> = self.compared.iter().map(|c| format!("t.{}", quote_ident(c))).collect();
        let new: Vec<String> = self.compared.iter().filter_map(|c| Some(format!("s.{}", self.stage.place(c)?))).collect();
        format!("ROW({})::record OPERATOR(pg_catalog.*<>) ROW({})::record", own.join(", "), new.join(", "))
    }

    /// For each staged row: the version of the target's row, and whether it differs.
    async fn look(&self, connection: &mut PgConnection) -> Result<Vec<Seen>> {
        let differs = if self.compared.is_empty() { "false".to_owned() } else { self.differs() };
        let sql = format!(
            "SELECT s.o, t.tableoid::pg_catalog.text || t.ctid::pg_catalog.text, ({differs}) \
             FROM {} s LEFT JOIN {}{} t ON {}",
            self.stage.qualified, self.facts.only_by_key, self.facts.qualified, self.same_key
        );
        let mut seen: Vec<Option<Seen>> = std::iter::repeat_with(|| None).take(self.rows).collect();
        for row in fetch(connection, sql).await? {
            let place = ordinal(&row, 0)?.and_then(|o| seen.get_mut(o)).ok_or_else(nowhere)?;
            if place.is_some() {
                return Err(self.ambiguous());
            }
            let version = row.try_get(1).map_err(from_sqlx)?;
            *place = Some(Seen { version, differs: row.try_get(2).map_err(from_sqlx)? });
        }
        seen.into_iter().map(|s| s.ok_or_else(nowhere)).collect()
    }

    /// Refuses rows that are one row to the target, whose key spells them alike: only one of them could be kept.
    async fn check_distinct(&self, connection: &mut PgConnection) -> Result<()> {
        let mut exact = true;
        for column in self.key {
            exact = exact && self.facts.column(column)?.exact;
        }
        if exact {
            return Ok(());
        }
        let own: Vec<String> =
            self.key.iter().filter_map(|k| Some(format!("a.{} AS {}", self.stage.place(k)?, quote_ident(k)))).collect();
        let sql = format!(
            "SELECT pg_catalog.min(s.o) FROM {stage} a CROSS JOIN LATERAL (SELECT {}) t JOIN {stage} s ON s.o > a.o AND {}",
            own.join(", "),
            self.same_key,
            stage = self.stage.qualified
        );
        for row in fetch(connection, sql).await? {
            if let Some(place) = ordinal(&row, 0)? {
                let message = "an earlier row has the same key, as the target compares keys";
                return Err(Error::new(ErrorKind::RowRejected, message)
                    .with("table", &self.facts.qualified)
                    .with_row(place as u64));
            }
        }
        Ok(())
    }

    /// Refuses a row that would change a number that the target always gives by itself.
    async fn check_identities(&self, connection: &mut PgConnection) -> Result<()> {
        for column in &self.stage.columns {
            if self.key.contains(column) || !self.facts.column(column)?.identity_always {
                continue;
            }
            let place = self.stage.place(column).ok_or_else(nowhere)?;
            let sql = format!(
                "SELECT pg_catalog.min(s.o) FROM {} s JOIN {}{} t ON {} WHERE t.{} IS DISTINCT FROM s.{place}",
                self.stage.qualified,
                self.facts.only_by_key,
                self.facts.qualified,
                self.same_key,
                quote_ident(column)
            );
            for row in fetch(connection, sql).await? {
                if let Some(place) = ordinal(&row, 0)? {
                    let message = "a column that is GENERATED ALWAYS AS IDENTITY cannot be overwritten";
                    return Err(Error::new(ErrorKind::RowRejected, message).with("column", column).with_row(place as u64));
                }
            }
        }
        Ok(())
    }

    fn ambiguous(&self) -> Error {
        Error::new(ErrorKind::Constraint, "several rows of the target have the same key").with("table", &self.facts.qualified)
    }
}

struct Seen {
    version: Option<String>,
    differs: bool,
}

async fn fetch(connection: &mut PgConnection, sql: String) -> Result<Vec<PgRow>> {
    // The stage is another table in every transaction: a prepared statement would outlive it.
    sqlx::query(AssertSqlSafe(sql)).persistent(false).fetch_all(connection).await.map_err(from_sqlx)
}

fn ordinal(row: &PgRow, column: usize) -> Result<Option<usize>> {
    let value: Option<i32> = row.try_get(column).map_err(from_sqlx)?;
    Ok(value.and_then(|v| usize::try_from(v).ok()))
}

fn nowhere() -> Error {
    Error::new(ErrorKind::Internal, "the server speaks of a row that was not sent")
}
