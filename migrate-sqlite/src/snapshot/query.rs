//! The statements of a snapshot: which columns, in which order, between which keys.

use crate::codec;
use crate::ddl::MAX_COLUMNS;
use crate::error::SqliteContext;
use crate::introspect::rowid;
use crate::{declared_type, sql};
use migrate_core::error::{Error, ErrorKind, Result};
use migrate_core::expression::Expression;
use migrate_core::filter::{Filter, Parameter};
use migrate_core::job::{CursorColumn, Overlap};
use migrate_core::schema::{ColumnSchema, TableSchema};
use migrate_core::source::PageRequest;
use migrate_core::value::{DataType, Key, KeyRange, PageColumn, Value};
use rusqlite::types::ValueRef;
use rusqlite::{Connection, Statement};
use std::fmt::Write;
use std::sync::Arc;

/// What errors say was being done.
pub(super) const READING: &str = "reading rows";

/// What a stream reads; two requests with the same shape may share one.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Shape {
    /// The table's name.
    pub(super) table: String,
    /// The columns of the pages.
    pub(super) columns: Arc<[PageColumn]>,
    /// What columns are made by, where they are not the table's own, with their places.
    pub(super) made: Vec<(usize, Expression)>,
    /// The columns of the key.
    pub(super) key: Vec<KeyColumn>,
    /// What means the rowid, where the table has one.
    pub(super) rowid: Option<String>,
    /// Which rows.
    pub(super) filter: Option<Filter>,
}

/// A column of the key.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct KeyColumn {
    /// The name.
    pub(super) name: String,
    /// Its place among the columns of the pages.
    pub(super) place: usize,
    /// Whether it may hold NULL.
    nullable: bool,
    /// The column's own collation.
    collation: Option<String>,
}

impl Shape {
    /// Takes a request apart.
    ///
    /// # Errors
    /// [`ErrorKind::Schema`] if a column does not exist or a key column is not read.
    pub(super) fn new(request: &PageRequest<'_>) -> Result<Self> {
        let table = request.table;
        let columns = page_columns(request)?;
        let key = request.key.iter().map(|name| key_column(request, name)).collect::<Result<Vec<_>>>()?;
        let made = |(place, name): (usize, &String)| Some((place, table.computed(name)?.expression.clone()));
        let made = request.columns.iter().enumerate().filter_map(made).collect();
        let (name, filter) = (table.name.name.clone(), request.filter.cloned());
        Ok(Shape { table: name, columns, made, key, rowid: rowid(table), filter })
    }

    fn column(&self, name: &str) -> String {
        sql::column(&self.table, name)
    }

    /// Renders the columns of the pages.
    fn list(&self) -> Vec<String> {
        let mut list: Vec<String> = self.columns.iter().map(|c| self.column(&c.name)).collect();
        for (place, expression) in &self.made {
            list[*place] = expression_sql(expression);
        }
        list
    }

    fn bind_made(&self, statement: &mut Statement<'_>) -> Result<()> {
        self.made.iter().try_for_each(|(_, expression)| bind_expression(statement, expression))
    }
}

/// What the names of an expression's parameters begin with, unlike those of a filter or of keys.
pub(crate) const PARAMETER: &str = "@x_";

/// Renders an expression in parentheses.
pub(crate) fn expression_sql(expression: &Expression) -> String {
    expression.render(|name, _| format!("{PARAMETER}{name}"))
}

/// Binds the parameters of an expression.
pub(crate) fn bind_expression(statement: &mut Statement<'_>, expression: &Expression) -> Result<()> {
    bind_parameters(statement, PARAMETER, expression.as_filter())
}

fn find<'t>(table: &'t TableSchema, name: &str) -> Result<&'t ColumnSchema> {
    table.read_column(name).ok_or_else(|| {
        let hint = migrate_core::hint::nearest(name, table.columns.iter().map(|c| c.name.as_str()));
        Error::new(ErrorKind::Schema, format!("there is no column {name}{hint}")).with("table", &table.name)
    })
}

/// Returns the columns of the pages that answer a request.
///
/// # Errors
/// [`ErrorKind::Schema`] if a column does not exist.
pub(crate) fn page_columns(request: &PageRequest<'_>) -> Result<Arc<[PageColumn]>> {
    request.columns.iter().map(|name| Ok(page_column(find(request.table, name)?))).collect()
}

/// Cells carry their own type, whatever the column's logical type is.
fn page_column(column: &ColumnSchema) -> PageColumn {
    let data_type = match &column.data_type {
        dynamic @ DataType::Dynamic { .. } => dynamic.clone(),
        _ => DataType::Dynamic { affinity: declared_type::affinity(&column.native_type) },
    };
    PageColumn { name: column.name.clone(), data_type }
}

fn key_column(request: &PageRequest<'_>, name: &str) -> Result<KeyColumn> {
    let column = find(request.table, name)?;
    let place = request.columns.iter().position(|c| c == name).ok_or_else(|| {
        Error::new(ErrorKind::Schema, format!("the key column {name} is not among the columns to read"))
            .with("table", &request.table.name)
    })?;
    Ok(KeyColumn { name: name.to_owned(), place, nullable: column.nullable, collation: column.collation.clone() })
}

/// A key column as an expression to compare and order by.
struct Term {
    /// Its place in the key.
    at: usize,
    /// The column, with its collation where that is not its own.
    expression: String,
}

/// A column of an index, `None` for an expression, and its collation.
type IndexedColumn = (Option<String>, String);

/// Takes the columns and collations of the unique index over the key, so that reading in its order needs no sort.
///
/// Descending columns make no difference: an index is read backwards as well, and where it is mixed the rows are sorted once.
fn terms(connection: &Connection, shape: &Shape) -> Result<Vec<Term>> {
    let own = |at: usize| {
        let column = &shape.key[at];
        Term { at, expression: collated(shape.column(&column.name), column.collation.as_deref(), None) }
    };
    let sql = "SELECT l.name, x.name, x.coll FROM pragma_index_list(?1, 'main') AS l, pragma_index_xinfo(l.name, 'main') AS x \
               WHERE l.\"unique\" AND NOT l.partial AND x.key ORDER BY l.seq, x.seqno";
    let mut statement = connection.prepare_cached(sql).during(READING)?;
    let mut rows = statement.query([&shape.table]).during(READING)?;
    let mut indexes: Vec<(String, Vec<IndexedColumn>)> = Vec::new();
    while let Some(row) = rows.next().during(READING)? {
        let index: String = row.get(0).during(READING)?;
        let part = (row.get(1).during(READING)?, row.get::<_, Option<String>>(2).during(READING)?.unwrap_or_default());
        match indexes.last_mut().filter(|(name, _)| *name == index) {
            Some((_, parts)) => parts.push(part),
            None => indexes.push((index, vec![part])),
        }
    }
    let places = |parts: &[IndexedColumn]| -> Option<Vec<usize>> {
        let place = |name: &Option<String>| shape.key.iter().position(|k| Some(&k.name) == name.as_ref());
        let places: Vec<usize> = parts.iter().map(|(name, _)| place(name)).collect::<Option<_>>()?;
        (places.len() == shape.key.len() && (0..places.len()).all(|i| places.contains(&i))).then_some(places)
    };
    let found = indexes.iter().find_map(|(_, parts)| {
        let usable = parts.iter().all(|(_, collation)| built_in(collation));
        Some((places(parts).filter(|_| usable)?, parts))
    });
    Ok(match found {
        None => (0..shape.key.len()).map(own).collect(),
        Some((places, parts)) => places
            .into_iter()
            .zip(parts)
            .map(|(at, (_, collation))| {
                let column = &shape.key[at];
                Term { at, expression: collated(shape.column(&column.name), column.collation.as_deref(), Some(collation)) }
            })
            .collect(),
    })
}

/// Spells out the collation where it is not the column's own. A collation that an application brings along is not there when
/// another program reads the file: bytes are compared instead.
fn collated(column: String, own: Option<&str>, wanted: Option<&str>) -> String {
    let own = own.unwrap_or("BINARY");
    match wanted.unwrap_or(own) {
        wanted if !built_in(wanted) => format!("{column} COLLATE BINARY"),
        wanted if wanted.eq_ignore_ascii_case(own) => column,
        wanted => format!("{column} COLLATE {}", sql::ident(wanted)),
    }
}

fn built_in(collation: &str) -> bool {
    ["BINARY", "NOCASE", "RTRIM"].iter().any(|name| collation.eq_ignore_ascii_case(name))
}

/// A statement that reads a range in order.
pub(super) struct Plan {
    sql: String,
    after: Vec<Value<'static>>,
    up_to: Vec<Value<'static>>,
    /// Whether the last column says that the row lies beyond the range.
    pub(super) tells_beyond: bool,
    /// How the rows of a table without a key are numbered.
    pub(super) numbers: Numbers,
}

/// How the rows of a table without a key are numbered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Numbers {
    /// There is a key.
    Key,
    /// By the rowid, which follows the columns.
    RowId,
    /// By counting on from here.
    Count(i64),
}

impl Plan {
    /// Plans the statement for a range.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`] if a key of the range has not as many values as the table's key has columns.
    pub(super) fn new(connection: &Connection, shape: &Shape, range: &KeyRange) -> Result<Plan> {
        let mut list = shape.list();
        let (terms, numbers, width) = match &shape.rowid {
            _ if !shape.key.is_empty() => (terms(connection, shape)?, Numbers::Key, shape.key.len()),
            Some(rowid) if list.len() < MAX_COLUMNS => {
                list.push(rowid.clone());
                (vec![Term { at: 0, expression: rowid.clone() }], Numbers::RowId, 1)
            }
            Some(_) | None => (Vec::new(), Numbers::Count(0), 1),
        };
        let mut plan = Plan {
            sql: String::new(),
            after: values(range.after.as_ref(), width)?,
            up_to: values(range.up_to.as_ref(), width)?,
            tells_beyond: false,
            numbers,
        };
        let mut conditions = Vec::new();
        let mut offset = None;
        if let Numbers::Count(_) = numbers {
            let count = |values: &[Value<'_>]| values.first().map(|v| if let Value::Int(n) = v { *n } else { 0 });
            let from = count(&plan.after).unwrap_or(0);
            plan.numbers = Numbers::Count(from);
            offset = Some((count(&plan.up_to).map_or(-1, |end| (end - from).max(0)), from));
            (plan.after, plan.up_to) = (Vec::new(), Vec::new());
        } else {
            if !plan.after.is_empty() {
                conditions.push(greater(&terms, &plan.after, "@a"));
            }
            if !plan.up_to.is_empty() {
                if shape.key.iter().any(|k| k.nullable) || plan.up_to.iter().any(Value::is_null) {
                    // NULL comes first and compares as unknown: rather than let the condition lose such rows, the end is found row by row.
                    let beyond = format!("coalesce({}, 0)", greater(&terms, &plan.up_to, "@u"));
                    if list.len() < MAX_COLUMNS {
                        list.push(beyond);
                        plan.tells_beyond = true;
                    } else {
                        conditions.push(format!("NOT {beyond}"));
                    }
                } else {
                    conditions.push(compare(&terms, "<=", "@u"));
                }
            }
        }
        conditions.extend(shape.filter.as_ref().map(filter_sql));
        if list.is_empty() {
            list.push("NULL".to_owned());
        }
        plan.sql = format!("SELECT {} FROM {}", list.join(", "), sql::table(&shape.table));
        push_conditions(&mut plan.sql, &conditions);
        for (i, term) in terms.iter().enumerate() {
            // Writing to a String cannot fail.
            let _ = write!(plan.sql, "{}{}", if i == 0 { " ORDER BY " } else { ", " }, term.expression);
        }
        if let Some((limit, offset)) = offset {
            let _ = write!(plan.sql, " LIMIT {limit} OFFSET {offset}");
        }
        Ok(plan)
    }

    /// Prepares the statement and binds its values.
    pub(super) fn prepare<'c>(&self, connection: &'c Connection, shape: &Shape) -> Result<Statement<'c>> {
        let mut statement = sql::prepare(connection, &self.sql, &shape.table, READING)?;
        bind_values(&mut statement, "@a", &self.after)?;
        bind_values(&mut statement, "@u", &self.up_to)?;
        shape.bind_made(&mut statement)?;
        bind_filter(&mut statement, shape.filter.as_ref())?;
        Ok(statement)
    }
}

fn values(key: Option<&Key>, width: usize) -> Result<Vec<Value<'static>>> {
    let Some(key) = key else { return Ok(Vec::new()) };
    let values: Vec<Value<'static>> = key.values()?.into_iter().map(Value::into_owned).collect();
    if values.len() != width {
        let message = format!("a key of {} values is compared with a key of {width} columns", values.len());
        return Err(Error::new(ErrorKind::Corrupt, message));
    }
    Ok(values)
}

/// `(a, b) > (@a0, @a1)`; parameters are numbered by their place in the key.
fn compare(terms: &[Term], operator: &str, prefix: &str) -> String {
    let list = |each: &dyn Fn(&Term) -> String| terms.iter().map(each).collect::<Vec<_>>().join(", ");
    format!("({}) {operator} ({})", list(&|t| t.expression.clone()), list(&|t| format!("{prefix}{}", t.at)))
}

/// Rows behind a key. A NULL in the key takes the long form: NULL comes first, and equals itself.
fn greater(terms: &[Term], values: &[Value<'_>], prefix: &str) -> String {
    if !values.iter().any(Value::is_null) {
        return compare(terms, ">", prefix);
    }
    let mut alternatives = Vec::new();
    let mut equal = String::new();
    for term in terms {
        let (expression, parameter) = (&term.expression, format!("{prefix}{}", term.at));
        // The parameter is named even where its value is known to be NULL, so that binding need not know.
        let behind = if values[term.at].is_null() {
            format!("{expression} IS NOT {parameter}")
        } else {
            format!("{expression} > {parameter}")
        };
        alternatives.push(format!("({equal}{behind})"));
        let _ = write!(equal, "{expression} IS {parameter} AND ");
    }
    format!("({})", alternatives.join(" OR "))
}

fn push_conditions(sql: &mut String, conditions: &[String]) {
    for (i, condition) in conditions.iter().enumerate() {
        let _ = write!(sql, "{}{condition}", if i == 0 { " WHERE " } else { " AND " });
    }
}

/// The filter in parentheses; the line break ends a comment that it may end with.
pub(super) fn filter_sql(filter: &Filter) -> String {
    format!("({}\n)", filter.render(|name, _| format!(":{name}")))
}

fn bind_values(statement: &mut Statement<'_>, prefix: &str, values: &[Value<'_>]) -> Result<()> {
    for (i, value) in values.iter().enumerate() {
        if let Some(place) = statement.parameter_index(&format!("{prefix}{i}")).during(READING)? {
            statement.raw_bind_parameter(place, codec::bind(value)).during(READING)?;
        }
    }
    Ok(())
}

pub(super) fn bind_filter(statement: &mut Statement<'_>, filter: Option<&Filter>) -> Result<()> {
    filter.map_or(Ok(()), |filter| bind_parameters(statement, ":", filter))
}

fn bind_parameters(statement: &mut Statement<'_>, prefix: &str, filter: &Filter) -> Result<()> {
    for (name, value) in filter.parameters() {
        if let Some(place) = statement.parameter_index(&format!("{prefix}{name}")).during(READING)? {
            let bound = match value {
                Parameter::Bool(v) => statement.raw_bind_parameter(place, v),
                Parameter::Int(v) => statement.raw_bind_parameter(place, v),
                Parameter::Float(v) => statement.raw_bind_parameter(place, v),
                Parameter::Text(v) => statement.raw_bind_parameter(place, v),
            };
            bound.during(READING)?;
        }
    }
    Ok(())
}

/// Prepares the look-up of one key; see [`bind_key`].
pub(super) fn prepare_lookup<'c>(connection: &'c Connection, shape: &Shape) -> Result<Statement<'c>> {
    let list = shape.list();
    let mut conditions = Vec::new();
    for term in terms(connection, shape)? {
        conditions.push(format!("{} IS @k{}", term.expression, term.at));
        // The index may take other spellings for equal; the key does not.
        conditions.push(format!("{} COLLATE BINARY IS @k{}", shape.column(&shape.key[term.at].name), term.at));
    }
    conditions.extend(shape.filter.as_ref().map(filter_sql));
    let mut sql = format!("SELECT {} FROM {}", list.join(", "), sql::table(&shape.table));
    push_conditions(&mut sql, &conditions);
    let mut statement = sql::prepare(connection, &sql, &shape.table, READING)?;
    bind_filter(&mut statement, shape.filter.as_ref())?;
    shape.bind_made(&mut statement)?;
    Ok(statement)
}

/// Binds the key to be looked up.
pub(super) fn bind_key(statement: &mut Statement<'_>, shape: &Shape, key: &Key) -> Result<()> {
    bind_values(statement, "@k", &values(Some(key), shape.key.len())?)
}

/// Counts rows under a filter.
pub(super) fn count(connection: &Connection, table: &str, filter: Option<&Filter>) -> Result<u64> {
    let mut sql = format!("SELECT count(*) FROM {}", sql::table(table));
    push_conditions(&mut sql, &filter.map(filter_sql).into_iter().collect::<Vec<_>>());
    let mut statement = sql::prepare(connection, &sql, table, "counting rows")?;
    bind_filter(&mut statement, filter)?;
    let mut rows = statement.raw_query();
    let row = rows.next().during("counting rows")?;
    let count: i64 = row.map_or(Ok(0), |row| row.get(0)).during("counting rows")?;
    Ok(u64::try_from(count).unwrap_or(0))
}

/// Returns the greatest value of a column that tells when rows were changed, less the overlap.
pub(super) fn reached(connection: &Connection, shape: &Shape, cursor: &CursorColumn) -> Result<Option<Parameter>> {
    const DOING: &str = "looking for the greatest value of the cursor";
    let mut sql = format!("SELECT max({}) FROM {}", shape.column(&cursor.column), sql::table(&shape.table));
    push_conditions(&mut sql, &shape.filter.as_ref().map(filter_sql).into_iter().collect::<Vec<_>>());
    let mut statement = sql::prepare(connection, &sql, &shape.table, DOING)?;
    bind_filter(&mut statement, shape.filter.as_ref())?;
    let mut rows = statement.raw_query();
    let Some(row) = rows.next().during(DOING)? else { return Ok(None) };
    let wrong = |kind: ErrorKind, message: &str| Err(Error::new(kind, message).with("column", &cursor.column));
    match (row.get_ref(0).during(DOING)?, cursor.overlap) {
        (ValueRef::Null, _) => Ok(None),
        (ValueRef::Integer(value), None) => Ok(Some(Parameter::Int(value))),
        (ValueRef::Integer(value), Some(Overlap::Units(units))) => Ok(Some(Parameter::Int(value.saturating_sub(units.into())))),
        // One writer at a time: nothing is committed late, and nothing need be looked at twice.
        (_, Some(_)) => wrong(ErrorKind::Config, "an overlap is a number in a SQLite file, and its column one of integers"),
        (ValueRef::Real(value), None) => Ok(Some(Parameter::Float(value))),
        (ValueRef::Text(value), None) => match std::str::from_utf8(value) {
            Ok(text) => Ok(Some(Parameter::Text(text.to_owned()))),
            Err(_) => wrong(ErrorKind::Unsupported, "the cursor's greatest value is no text that can be compared"),
        },
        (ValueRef::Blob(_), None) => wrong(ErrorKind::Unsupported, "bytes cannot be a cursor"),
    }
}

/// Finds keys that more than one row has, and prints them.
pub(super) fn duplicates(connection: &Connection, shape: &Shape, limit: usize) -> Result<Vec<String>> {
    if shape.key.is_empty() {
        return Ok(Vec::new());
    }
    let terms = terms(connection, shape)?;
    let keys: Vec<String> = terms.iter().map(|t| t.expression.clone()).collect();
    let mut named: Vec<(usize, String)> = terms.iter().map(|t| (t.at, shape.column(&shape.key[t.at].name))).collect();
    named.sort();
    let list: Vec<String> = named.into_iter().map(|(_, column)| column).collect();
    let mut sql = format!("SELECT {} FROM {}", list.join(", "), sql::table(&shape.table));
    push_conditions(&mut sql, &shape.filter.as_ref().map(filter_sql).into_iter().collect::<Vec<_>>());
    let _ = write!(sql, " GROUP BY {} HAVING count(*) > 1 LIMIT {}", keys.join(", "), i64::try_from(limit).unwrap_or(i64::MAX));
    let mut statement = sql::prepare(connection, &sql, &shape.table, "looking for duplicate keys")?;
    bind_filter(&mut statement, shape.filter.as_ref())?;
    let mut rows = statement.raw_query();
    let mut found = Vec::new();
    while let Some(row) = rows.next().during("looking for duplicate keys")? {
        let mut text = String::new();
        for i in 0..shape.key.len() {
            let value = row.get_ref(i).during("looking for duplicate keys")?;
            let _ = write!(text, "{}{}", if i == 0 { "" } else { ", " }, printed(value));
        }
        found.push(text);
    }
    Ok(found)
}

pub(super) fn printed(value: rusqlite::types::ValueRef<'_>) -> String {
    use rusqlite::types::ValueRef;
    match value {
        ValueRef::Null => "NULL".to_owned(),
        ValueRef::Integer(v) => v.to_string(),
        ValueRef::Real(v) => format!("{v:?}"),
        ValueRef::Text(v) => String::from_utf8_lossy(v).into_owned(),
        ValueRef::Blob(v) => format!("x'{}'", migrate_core::state::to_hex(v)),
    }
}
