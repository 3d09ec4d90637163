//! The tables, rows and questions of a graph as plain SQL.

use super::case::{Case, Ids, Null, Target};
use super::model::{Content, Expected, Row, STAND_IN};

/// The first id that a target gives: none of the source's.
const FIRST_GIVEN: i64 = 5_001;
/// The code of a row that stands in for parents which are nowhere.
pub(crate) const STANDS_IN: &str = "stands in";
/// The id of rows of others where ids are kept.
const OTHERS: i64 = 90_001;

/// Names and statements of one case.
#[derive(Debug)]
pub(crate) struct Sql<'c> {
    pub(crate) case: &'c Case,
    pub(crate) prefix: &'c str,
}

/// Which side a table is on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    Source,
    Target,
}

impl Sql<'_> {
    pub(crate) fn name(&self, table: usize) -> String {
        format!("{}_{table}", self.prefix)
    }

    fn tables(&self) -> std::ops::Range<usize> {
        0..self.case.tables.len()
    }

    /// Creates the tables, without constraints if the engine can add them later.
    pub(crate) fn create(&self, role: Role, postgres: bool, constraints: bool) -> Vec<String> {
        self.tables().map(|table| self.create_table(table, role, postgres, constraints && !postgres)).collect()
    }

    fn create_table(&self, table: usize, role: Role, postgres: bool, constraints: bool) -> String {
        let case = self.case;
        let given = role == Role::Target && case.tables[table].ids != Ids::Kept;
        let (id, mut clauses) = match (given, postgres) {
            (true, true) => {
                (format!("id integer GENERATED ALWAYS AS IDENTITY (START WITH {FIRST_GIVEN}) PRIMARY KEY"), Vec::new())
            }
            (true, false) => ("id INTEGER PRIMARY KEY AUTOINCREMENT".to_owned(), Vec::new()),
            (false, _) => ("id integer NOT NULL".to_owned(), vec![format!("PRIMARY KEY ({})", case.key(table).join(", "))]),
        };
        let part = if case.tables[table].composite { ", part integer NOT NULL" } else { "" };
        let mut columns = format!("{id}{part}, code text NOT NULL UNIQUE, v integer");
        for (number, reference) in case.of(table) {
            for (place, column) in case.columns(number).iter().enumerate() {
                let nullable = reference.null == Null::All || reference.null == Null::Last && place == 1;
                columns.push_str(&format!(", {column} integer{}", if nullable { "" } else { " NOT NULL" }));
            }
            if constraints {
                clauses.push(self.constraint(number, role));
            }
        }
        let clauses: String = clauses.iter().map(|clause| format!(", {clause}")).collect();
        format!("CREATE TABLE {} ({columns}{clauses})", self.name(table))
    }

    fn constraint(&self, number: usize, role: Role) -> String {
        let (case, reference) = (self.case, self.case.references[number]);
        let (columns, parent) = (case.columns(number).join(", "), self.name(reference.parent));
        // At the source rows are changed in any order.
        let deferred = if role == Role::Source || reference.deferred { " DEFERRABLE INITIALLY DEFERRED" } else { "" };
        format!("FOREIGN KEY ({columns}) REFERENCES {parent} ({}){deferred}", case.key(reference.parent).join(", "))
    }

    /// Adds the constraints, where the engine can.
    pub(crate) fn constraints(&self, role: Role, postgres: bool) -> Vec<String> {
        let numbers = 0..if postgres { self.case.references.len() } else { 0 };
        let add = |number: usize| {
            format!("ALTER TABLE {} ADD {}", self.name(self.case.references[number].child), self.constraint(number, role))
        };
        numbers.map(add).collect()
    }

    /// One row of others in each table, which refer to one another; then the ids that follow are moved away from the source's.
    pub(crate) fn others(&self, postgres: bool) -> Vec<String> {
        let mut statements = Vec::new();
        let id = |table: usize| if self.case.tables[table].ids == Ids::Kept { OTHERS } else { 1 };
        for table in self.tables() {
            if self.case.target == Target::Shared {
                let mut values = vec![id(table).to_string()];
                values.extend(self.case.tables[table].composite.then(|| (id(table) * 10).to_string()));
                values.extend([format!("'own {table}'"), "7".to_owned()]);
                for (_, reference) in self.case.of(table) {
                    values.extend(self.key_values(reference.parent, Some(id(reference.parent)), Null::All));
                }
                let overriding = if postgres { " OVERRIDING SYSTEM VALUE" } else { "" };
                statements.push(format!("INSERT INTO {}{overriding} VALUES ({})", self.name(table), values.join(", ")));
            }
            if !postgres && self.case.tables[table].ids != Ids::Kept {
                let name = self.name(table);
                statements.push(format!("DELETE FROM sqlite_sequence WHERE name = '{name}'"));
                statements.push(format!("INSERT INTO sqlite_sequence VALUES ('{name}', {})", FIRST_GIVEN - 1));
            }
        }
        statements
    }

    /// What a row has in the columns of a reference; the second part of a key is the first, tenfold.
    fn key_values(&self, parent: usize, id: Option<i64>, null: Null) -> Vec<String> {
        let first = match (id, null) {
            (Some(id), _) => id.to_string(),
            (None, Null::All) => "NULL".to_owned(),
            (None, Null::Last | Null::None) => "1".to_owned(),
        };
        let second = id.map_or("NULL".to_owned(), |id| (id * 10).to_string());
        [first, second].into_iter().take(self.case.key(parent).len()).collect()
    }

    fn values(&self, table: usize, id: i64, row: &Row) -> Vec<String> {
        let mut values = vec![id.to_string()];
        values.extend(self.case.tables[table].composite.then(|| (id * 10).to_string()));
        values.extend([format!("'{}'", row.code), row.value.to_string()]);
        for ((_, reference), parent) in self.case.of(table).zip(&row.parents) {
            values.extend(self.key_values(reference.parent, *parent, reference.null));
        }
        values
    }

    fn columns(&self, table: usize) -> Vec<String> {
        let own = self.case.key(table).iter().copied().chain(["code", "v"]).map(str::to_owned);
        own.chain(self.case.of(table).flat_map(|(number, _)| self.case.columns(number))).collect()
    }

    /// Makes one content of the source into another.
    pub(crate) fn change(&self, from: &Content, to: &Content) -> Vec<String> {
        let mut statements = Vec::new();
        for table in self.tables() {
            let name = self.name(table);
            let before = from.get(table);
            for id in before.into_iter().flat_map(|rows| rows.keys()).filter(|id| !to[table].contains_key(id)) {
                statements.push(format!("DELETE FROM {name} WHERE id = {id}"));
            }
            for (id, row) in &to[table] {
                let values = self.values(table, *id, row);
                match before.and_then(|rows| rows.get(id)) {
                    Some(old) if old == row => {}
                    Some(_) => {
                        let set = self.columns(table).iter().zip(values).map(|(c, v)| format!("{c} = {v}")).collect::<Vec<_>>();
                        statements.push(format!("UPDATE {name} SET {} WHERE id = {id}", set.join(", ")));
                    }
                    None => statements.push(format!("INSERT INTO {name} VALUES ({})", values.join(", "))),
                }
            }
        }
        statements
    }

    /// Asks for a table's rows, each with the code of every row that it refers to; ids are said only where they are kept.
    pub(crate) fn query(&self, table: usize) -> String {
        let kept = self.case.tables[table].ids == Ids::Kept;
        let mut cells: Vec<String> = vec!["c.code".to_owned(), "c.v".to_owned()];
        cells.extend(self.case.key(table).iter().filter(|_| kept).map(|column| format!("c.{column}")));
        let mut joins = String::new();
        for (number, reference) in self.case.of(table) {
            let columns = self.case.columns(number);
            let none: Vec<String> = columns.iter().map(|column| format!("c.{column} IS NULL")).collect();
            cells.push(format!("CASE WHEN {} THEN '-' ELSE COALESCE(p{number}.code, 'nowhere') END", none.join(" OR ")));
            let same: Vec<String> = self
                .case
                .key(reference.parent)
                .iter()
                .zip(&columns)
                .map(|(key, column)| format!("p{number}.{key} = c.{column}"))
                .collect();
            joins.push_str(&format!(" LEFT JOIN {} p{number} ON {}", self.name(reference.parent), same.join(" AND ")));
        }
        format!(
            "SELECT {} FROM {} c{joins} WHERE c.code NOT LIKE 'own%' AND c.code <> '{STANDS_IN}'",
            cells.join(", "),
            self.name(table)
        )
    }

    /// What [`Sql::query`] is to find.
    pub(crate) fn printed(&self, table: usize, expected: &Expected) -> Vec<Vec<Option<String>>> {
        let kept = self.case.tables[table].ids == Ids::Kept;
        let print = |(id, row): (&i64, &Row)| {
            let mut cells = vec![row.code.clone(), row.value.to_string()];
            cells.extend([*id, id * 10].iter().take(self.case.key(table).len()).filter(|_| kept).map(ToString::to_string));
            for ((_, reference), parent) in self.case.of(table).zip(&row.parents) {
                let code = |id: i64| match expected.rows[reference.parent].get(&id) {
                    Some(row) => row.code.clone(),
                    None if id == STAND_IN => STANDS_IN.to_owned(),
                    None => "nowhere".to_owned(),
                };
                cells.push(parent.map_or("-".to_owned(), code));
            }
            cells.into_iter().map(Some).collect()
        };
        let mut rows: Vec<_> = expected.rows[table].iter().map(print).collect();
        rows.sort();
        rows
    }

    /// Asks for the rows of others, whole.
    pub(crate) fn own_rows(&self, table: usize) -> String {
        format!("SELECT {} FROM {} WHERE code LIKE 'own%'", self.columns(table).join(", "), self.name(table))
    }

    /// Asks for the row that stands in for parents.
    pub(crate) fn stand_in(&self, table: usize) -> String {
        format!("SELECT code FROM {} WHERE code = '{STANDS_IN}'", self.name(table))
    }

    /// Asks for rows of the source that have an id which the target did not give.
    pub(crate) fn not_given(&self, table: usize) -> Option<String> {
        let given = self.case.tables[table].ids != Ids::Kept;
        given.then(|| format!("SELECT code FROM {} WHERE code NOT LIKE 'own%' AND id < {FIRST_GIVEN}", self.name(table)))
    }

    /// Asks for constraints that are not valid, or rows that break one.
    pub(crate) fn invalid(&self, postgres: bool) -> String {
        if postgres {
            let tables: Vec<String> = self.tables().map(|table| format!("'{}'::regclass", self.name(table))).collect();
            format!("SELECT conname::text FROM pg_constraint WHERE conrelid IN ({}) AND NOT convalidated", tables.join(", "))
        } else {
            "SELECT \"table\" FROM pragma_foreign_key_check".to_owned()
        }
    }

    /// Counts the constraints that refer.
    pub(crate) fn count_references(&self, postgres: bool) -> String {
        let tables = self.tables().map(|table| self.name(table));
        if postgres {
            let tables: Vec<String> = tables.map(|name| format!("'{name}'::regclass")).collect();
            format!("SELECT count(*)::text FROM pg_constraint WHERE conrelid IN ({}) AND contype = 'f'", tables.join(", "))
        } else {
            let counts: Vec<String> =
                tables.map(|name| format!("(SELECT count(DISTINCT id) FROM pragma_foreign_key_list('{name}'))")).collect();
            format!("SELECT {}", counts.join(" + "))
        }
    }

    /// Drops the tables.
    pub(crate) fn drop(&self) -> String {
        let names: Vec<String> = self.tables().map(|table| self.name(table)).collect();
        format!("DROP TABLE IF EXISTS {} CASCADE", names.join(", "))
    }
}
