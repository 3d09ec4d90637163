//! Compares tables row by row, by what each engine itself says of its cells and one explicit rule for each type.

use crate::postgres::{Postgres, identifier};
use crate::sqlite::{Cell, Sqlite, hex};
use std::collections::BTreeMap;
use std::fmt;

/// Rows that one side has and the other has not, counted.
#[derive(Debug, Default)]
pub struct Difference {
    /// What was compared.
    pub what: String,
    /// Rows only at the source.
    pub missing: Vec<String>,
    /// Rows only at the target.
    pub extra: Vec<String>,
}

impl Difference {
    /// Compares two multisets of printed rows.
    pub fn between(what: impl Into<String>, source: Vec<String>, target: Vec<String>) -> Self {
        let mut counts: BTreeMap<String, i64> = BTreeMap::new();
        for row in source {
            *counts.entry(row).or_default() += 1;
        }
        for row in target {
            *counts.entry(row).or_default() -= 1;
        }
        let mut difference = Difference { what: what.into(), ..Difference::default() };
        for (row, count) in counts {
            let side = if count > 0 { &mut difference.missing } else { &mut difference.extra };
            side.extend(std::iter::repeat_n(row, usize::try_from(count.unsigned_abs()).expect("a count")));
        }
        difference
    }

    /// Returns whether nothing differs.
    pub fn is_empty(&self) -> bool {
        self.missing.is_empty() && self.extra.is_empty()
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}: {} rows missing, {} extra", self.what, self.missing.len(), self.extra.len())?;
        for (sign, rows) in [('-', &self.missing), ('+', &self.extra)] {
            for row in rows.iter().take(5) {
                writeln!(f, "  {sign} {}", row.chars().take(400).collect::<String>())?;
            }
        }
        Ok(())
    }
}

/// Either side of a comparison.
pub trait Rows {
    /// Prints the rows of a table, each cell by the rule of the type that PostgreSQL knows for its column.
    fn printed(&self, table: &str, columns: &[(String, String)]) -> Vec<String>;
}

/// Asserts that two tables hold the same rows; `columns` are names and PostgreSQL's types of them.
///
/// | type        | PostgreSQL                      | SQLite                                              |
/// |-------------|---------------------------------|-----------------------------------------------------|
/// | boolean     | 0 or 1                          | an integer                                          |
/// | bytea       | hex                             | hex of a blob                                       |
/// | real, double| the bits of the double, in hex  | the bits of the real; the text `NaN` for a NaN      |
/// | numeric     | trailing zeros of the scale off | the same of a text or integer; the shortest decimal that reads back to the same bits of a real |
/// | all others  | as printed                      | the text, or the digits of an integer               |
pub fn assert_same_rows(source: (&dyn Rows, &str), target: (&dyn Rows, &str), columns: &[(String, String)]) {
    let difference = Difference::between(
        format!("{} → {}", source.1, target.1),
        source.0.printed(source.1, columns),
        target.0.printed(target.1, columns),
    );
    assert!(difference.is_empty(), "{difference}");
}

impl Rows for Postgres {
    fn printed(&self, table: &str, columns: &[(String, String)]) -> Vec<String> {
        let expressions: Vec<String> = columns
            .iter()
            .map(|(name, kind)| {
                let c = identifier(name);
                match kind.as_str() {
                    "bool" => format!("({c})::int"),
                    "bytea" => format!("encode({c}, 'hex')"),
                    // Every NaN is one value in PostgreSQL; SQLite has none and keeps the text.
                    "float4" | "float8" => {
                        format!("CASE WHEN {c} = 'NaN' THEN 'NaN' ELSE encode(float8send({c}::float8), 'hex') END")
                    }
                    "numeric" => format!("trim_scale({c})"),
                    _ => c,
                }
            })
            .collect();
        let rows = self.rows(&format!("SELECT {} FROM {table}", expressions.join(", ")));
        rows.into_iter().map(|row| print(row.into_iter())).collect()
    }
}

impl Rows for Sqlite {
    fn printed(&self, table: &str, columns: &[(String, String)]) -> Vec<String> {
        let names: Vec<String> = columns.iter().map(|(name, _)| identifier(name)).collect();
        let rows = self.rows(&format!("SELECT {} FROM {table}", names.join(", ")));
        let render = |(cell, (_, kind)): (Cell, &(String, String))| render(&cell, kind);
        rows.into_iter().map(|row| print(row.into_iter().zip(columns).map(render))).collect()
    }
}

fn print(cells: impl Iterator<Item = Option<String>>) -> String {
    let cells: Vec<String> = cells.map(|c| c.map_or("NULL".to_owned(), |text| format!("{text:?}"))).collect();
    cells.join(" | ")
}

/// A cell of SQLite as PostgreSQL prints a value of that type. What the rule does not foresee is printed with its storage class,
/// so that it equals nothing.
fn render(cell: &Cell, kind: &str) -> Option<String> {
    Some(match (kind, cell) {
        (_, Cell::Null) => return None,
        ("float4" | "float8", Cell::Real(bits)) => format!("{bits:016x}"),
        ("float4" | "float8", Cell::Text(text)) if text == b"NaN" => "NaN".to_owned(),
        ("numeric", Cell::Real(bits)) => format!("{}", f64::from_bits(*bits)),
        ("numeric", Cell::Int(i)) => i.to_string(),
        ("numeric", Cell::Text(text)) => trim_scale(&String::from_utf8_lossy(text)),
        ("bytea", Cell::Blob(bytes)) => hex(bytes),
        ("bool" | "int2" | "int4" | "int8", Cell::Int(i)) => i.to_string(),
        ("bool" | "int2" | "int4" | "int8" | "float4" | "float8" | "bytea", other) => format!("{other:?} in a column of {kind}"),
        (_, Cell::Text(text)) => String::from_utf8(text.clone()).unwrap_or_else(|_| format!("{cell:?} is not UTF-8")),
        (_, Cell::Int(i)) => i.to_string(),
        (_, other) => format!("{other:?} in a column of {kind}"),
    })
}

fn trim_scale(number: &str) -> String {
    if !number.contains('.') || number.contains(['e', 'E']) {
        return number.to_owned();
    }
    number.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// Returns the columns of a table in PostgreSQL and the names of their types, a domain's that of its base.
pub fn postgres_columns(database: &Postgres, table: &str) -> Vec<(String, String)> {
    let rows = database.rows(&format!(
        "SELECT a.attname, coalesce(b.typname, t.typname) FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid \
         LEFT JOIN pg_type b ON b.oid = t.typbasetype AND t.typtype = 'd' \
         WHERE a.attrelid = {}::regclass AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum",
        literal(table)
    ));
    let known = |cell: Option<String>| cell.expect("catalogs hold no NULL here");
    rows.into_iter().map(|mut row| (known(row[0].take()), known(row[1].take()))).collect()
}

/// Returns the names of a SQLite table's columns.
pub fn sqlite_columns(database: &Sqlite, table: &str) -> Vec<String> {
    database.texts(&format!("SELECT name FROM pragma_table_xinfo({}) WHERE hidden <> 1 ORDER BY cid", literal(table)))
}

fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// Asserts that two SQLite files hold the same tables with the same cells, storage classes included.
pub fn assert_same_sqlite_file(source: &Sqlite, target: &Sqlite) {
    assert_eq!(source.tables(), target.tables());
    for table in source.tables() {
        let columns: Vec<String> = sqlite_columns(source, &table);
        assert_eq!(columns, sqlite_columns(target, &table), "columns of {table}");
        let names: Vec<String> = columns.iter().map(|c| identifier(c)).collect();
        let rows = |database: &Sqlite| -> Vec<String> {
            let rows = database.rows(&format!("SELECT {} FROM {}", names.join(", "), identifier(&table)));
            rows.into_iter().map(|row| format!("{row:?}")).collect()
        };
        let difference = Difference::between(&table, rows(source), rows(target));
        assert!(difference.is_empty(), "{difference}");
    }
}
