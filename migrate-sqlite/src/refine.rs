//! What is really in columns whose declared type promises more than SQLite enforces.
//!
//! A column gets the first type, of a list that starts with what was declared, that every value seen conforms to. Tables up to
//! 200,000 rows and 64 MiB are read in full, larger ones at both ends and in between.

use crate::declared_type::{self, Promise};
use crate::error::SqliteContext;
use crate::introspect::rowid;
use crate::snapshot::{bind_expression, expression_sql};
use crate::sql;
use migrate_core::error::Result;
use migrate_core::expression::Expression;
use migrate_core::schema::{ColumnSchema, Identity, TableSchema};
use migrate_core::value::conform::conform;
use migrate_core::value::{DataType, Value};
use rusqlite::types::ValueRef;
use rusqlite::{Connection, Row, Statement};
use std::borrow::Cow;

const LOOKING: &str = "looking at the data";

/// Rows of a table that is read in full.
const FULL_ROWS: u64 = 200_000;

/// Bytes of a table that is read in full.
const FULL_BYTES: usize = 64 << 20;

/// Rows looked at, at each end of a larger table.
const END_ROWS: u64 = 1_000;

/// Rows looked at in between.
const SPREAD_ROWS: i64 = 2_000;

/// Corrects the portable types of tables by what is in them.
pub(crate) fn refine(connection: &Connection, tables: &mut [TableSchema]) -> Result<()> {
    for table in tables {
        refine_table(connection, table).map_err(|error| error.with("table", &table.name))?;
    }
    Ok(())
}

fn refine_table(connection: &Connection, table: &mut TableSchema) -> Result<()> {
    let strict = table.options.iter().any(|o| o == "STRICT");
    let mut guesses: Vec<Guess> = table.columns.iter().enumerate().filter_map(|(i, c)| Guess::new(i, c, strict)).collect();
    // Behind the table's own columns come those that are made of them, which nothing is declared of.
    let own = table.columns.len();
    guesses.extend(table.computed.iter().enumerate().filter_map(|(i, computed)| Guess::new(own + i, &computed.column, false)));
    if guesses.is_empty() {
        return Ok(());
    }
    let read = |guess: &Guess| match table.columns.get(guess.column) {
        Some(column) => sql::column(&table.name.name, &column.name),
        None => expression_sql(&table.computed[guess.column - own].expression),
    };
    let list: Vec<String> = guesses.iter().map(read).collect();
    let sample = Sample::new(connection, table, &list.join(", "))?;
    // A type that takes another's place was not asked about the rows before: they are read again until all hold.
    loop {
        sample.read(connection, &mut guesses)?;
        let mut settled = true;
        for guess in &mut guesses {
            settled &= !std::mem::take(&mut guess.changed);
        }
        if settled {
            break;
        }
    }
    for guess in guesses {
        let column = guess.column;
        match column.checked_sub(own) {
            Some(made) => table.computed[made].column.portable_type = guess.result(),
            None => table.columns[column].portable_type = guess.result(),
        }
    }
    Ok(())
}

/// What one column may turn out to be.
struct Guess {
    column: usize,
    /// The types that are left, the first being believed.
    candidates: Vec<Candidate>,
    /// The same, if blobs are left out of account.
    but_for_blobs: Vec<Candidate>,
    /// Whether a candidate was dropped in this pass.
    changed: bool,
    /// How many values of each storage class were seen: integers, reals, texts, blobs.
    seen: [u64; 4],
    /// What to say of a column without any value.
    fallback: DataType,
}

#[derive(Clone)]
struct Candidate {
    data_type: DataType,
    /// Whether the column says so; else values must be of the type's own storage class to begin with.
    declared: bool,
}

impl Candidate {
    fn holds(&self, value: Value<'_>) -> bool {
        let own_class = match (&self.data_type, &value) {
            (DataType::Int64 | DataType::Float64 | DataType::Decimal { .. }, Value::Int(_) | Value::Float(_)) => true,
            (DataType::Int64 | DataType::Float64 | DataType::Decimal { .. } | DataType::Bytes, Value::Text(_)) => false,
            (DataType::Bytes, Value::Int(_) | Value::Float(_)) => false,
            _ => true,
        };
        (self.declared || own_class) && conform(value, &self.data_type).is_ok()
    }
}

impl Guess {
    /// Returns what may be guessed of a column; `None` where the type is enforced.
    fn new(column: usize, schema: &ColumnSchema, strict: bool) -> Option<Guess> {
        if matches!(schema.identity, Some(Identity::RowId { .. })) {
            return None;
        }
        let declared = declared_type::parse(&schema.native_type, strict);
        let mut candidates = match declared.promise {
            // Other programs may have written to a table that this library made, but not otherwise to a STRICT one.
            Promise::Kept if strict => return None,
            Promise::Kept | Promise::Declared => vec![Candidate { data_type: declared.portable_type.clone(), declared: true }],
            Promise::None => Vec::new(),
        };
        let any_decimal = DataType::Decimal { precision: None, scale: None };
        let mut ladder = vec![DataType::Int64, DataType::Float64, any_decimal.clone(), DataType::TEXT, DataType::Bytes];
        if !candidates.is_empty() && matches!(declared.portable_type, DataType::Decimal { .. }) {
            // What does not fit the precision is still a decimal.
            ladder.insert(0, any_decimal);
        }
        candidates.extend(ladder.into_iter().map(|data_type| Candidate { data_type, declared: false }));
        Some(Guess {
            column,
            but_for_blobs: candidates.clone(),
            candidates,
            changed: false,
            seen: [0; 4],
            fallback: declared.portable_type,
        })
    }

    #[inline]
    fn see(&mut self, cell: ValueRef<'_>) {
        let (class, value) = match cell {
            ValueRef::Null => return,
            ValueRef::Integer(v) => (0, Value::Int(v)),
            ValueRef::Real(v) => (1, Value::Float(v)),
            ValueRef::Text(v) => match std::str::from_utf8(v) {
                Ok(text) => (2, Value::Text(Cow::Borrowed(text))),
                // No type holds it: its row will be refused whatever is chosen.
                Err(_) => return,
            },
            ValueRef::Blob(v) => (3, Value::Bytes(Cow::Borrowed(v))),
        };
        self.seen[class] += 1;
        self.changed |= Self::narrow(&mut self.candidates, &value);
        if class != 3 && self.seen[3] > 0 {
            self.changed |= Self::narrow(&mut self.but_for_blobs, &value);
        }
    }

    /// Drops the candidates in front that do not hold a value, and says whether there were any.
    #[inline]
    fn narrow(candidates: &mut Vec<Candidate>, value: &Value<'_>) -> bool {
        let before = candidates.len();
        while candidates.first().is_some_and(|c| !c.holds(value.clone())) {
            candidates.remove(0);
        }
        candidates.len() < before
    }

    /// Returns the type that holds everything seen, or else, where blobs and others are mixed, the one that holds most of it.
    fn result(self) -> DataType {
        let [integers, reals, texts, blobs] = self.seen;
        let mut held =
            self.candidates.into_iter().chain(self.but_for_blobs.into_iter().filter(|_| blobs <= integers + reals + texts));
        match held.next() {
            _ if self.seen == [0; 4] => self.fallback,
            Some(candidate) => candidate.data_type,
            None => DataType::Bytes,
        }
    }
}

/// Which rows of a table are looked at.
struct Sample {
    table: String,
    /// What the columns are made by that are not the table's own.
    made: Vec<Expression>,
    /// All rows, or the first ones, in natural order.
    scan: Option<String>,
    /// Statements that look at some rows each.
    ends: Vec<String>,
    /// A statement that looks at the row at or behind a rowid, with the first and last rowid.
    spread: Option<(String, i64, i64)>,
}

impl Sample {
    fn new(connection: &Connection, table: &TableSchema, list: &str) -> Result<Sample> {
        let name = table.name.name.clone();
        let made: Vec<Expression> = table.computed.iter().map(|computed| computed.expression.clone()).collect();
        let from = format!("SELECT {list} FROM {}", sql::table(&table.name.name));
        let scan = Some(format!("{from} LIMIT {FULL_ROWS}"));
        let Some(rowid) = rowid(table) else { return Ok(Sample { table: name, made, scan, ends: Vec::new(), spread: None }) };
        let bound = |function: &str| {
            let sql = format!("SELECT {function}({rowid}) FROM {}", sql::table(&table.name.name));
            sql::prepare(connection, &sql, &table.name.name, LOOKING)?
                .query_row([], |row| row.get::<_, Option<i64>>(0))
                .during(LOOKING)
        };
        let (Some(first), Some(last)) = (bound("min")?, bound("max")?) else {
            return Ok(Sample { table: name, made, scan: None, ends: Vec::new(), spread: None });
        };
        let ends = ["ASC", "DESC"].map(|order| format!("{from} ORDER BY {rowid} {order} LIMIT {END_ROWS}")).to_vec();
        let spread = Some((format!("{from} WHERE {rowid} >= @at ORDER BY {rowid} LIMIT 1"), first, last));
        let few = last.abs_diff(first) < FULL_ROWS || has_few_rows(connection, table)?;
        Ok(Sample { table: name, made, scan: scan.filter(|_| few), ends, spread })
    }

    fn read(&self, connection: &Connection, guesses: &mut [Guess]) -> Result<()> {
        if let Some(sql) = &self.scan
            && self.look(connection, sql, guesses)?
        {
            return Ok(());
        }
        for sql in &self.ends {
            self.look(connection, sql, guesses)?;
        }
        if let Some((sql, first, last)) = &self.spread {
            let mut statement = self.prepare(connection, sql)?;
            let place = statement.parameter_index("@at").during(LOOKING)?;
            let (mut bytes, mut before) = (0, None);
            for i in 1..SPREAD_ROWS {
                let step = i128::from(*last) - i128::from(*first);
                let at = i128::from(*first) + step * i128::from(i) / i128::from(SPREAD_ROWS);
                // Few rows of a large table are huge ones: none is read for each of the places that it is next to.
                if bytes > FULL_BYTES || before.replace(at) == Some(at) {
                    continue;
                }
                // Between two rowids of 64 bits lies one of 64 bits.
                if let Some(place) = place {
                    statement.raw_bind_parameter(place, i64::try_from(at).unwrap_or(*last)).during(LOOKING)?;
                }
                let mut rows = statement.raw_query();
                if let Some(row) = rows.next().during(LOOKING)? {
                    bytes += see(row, guesses)?;
                }
            }
        }
        Ok(())
    }

    /// Prepares a statement and binds what its expressions need.
    fn prepare<'c>(&self, connection: &'c Connection, sql: &str) -> Result<Statement<'c>> {
        let mut statement = sql::prepare(connection, sql, &self.table, LOOKING)?;
        self.made.iter().try_for_each(|expression| bind_expression(&mut statement, expression))?;
        Ok(statement)
    }

    /// Looks at the rows of a statement; `false` if there were too many bytes to see them all.
    fn look(&self, connection: &Connection, sql: &str, guesses: &mut [Guess]) -> Result<bool> {
        let mut statement = self.prepare(connection, sql)?;
        let mut rows = statement.raw_query();
        let mut bytes = 0;
        while let Some(row) = rows.next().during(LOOKING)? {
            bytes += see(row, guesses)?;
            if bytes > FULL_BYTES {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// Whether a table whose rowids leave room for many rows has few of them.
fn has_few_rows(connection: &Connection, table: &TableSchema) -> Result<bool> {
    let sql = format!("SELECT count(*) FROM (SELECT 1 FROM {} LIMIT {})", sql::table(&table.name.name), FULL_ROWS + 1);
    let count: i64 =
        sql::prepare(connection, &sql, &table.name.name, LOOKING)?.query_row([], |row| row.get(0)).during(LOOKING)?;
    Ok(u64::try_from(count).is_ok_and(|n| n <= FULL_ROWS))
}

/// Looks at one row and returns its size.
fn see(row: &Row<'_>, guesses: &mut [Guess]) -> Result<usize> {
    let mut bytes = 0;
    for (i, guess) in guesses.iter_mut().enumerate() {
        let cell = row.get_ref(i).during(LOOKING)?;
        bytes += match cell {
            ValueRef::Text(v) | ValueRef::Blob(v) => v.len(),
            ValueRef::Null | ValueRef::Integer(_) | ValueRef::Real(_) => 8,
        };
        guess.see(cell);
    }
    Ok(bytes)
}
