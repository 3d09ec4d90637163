//! Taking over a table from another PostgreSQL database: types and expressions as they are, where nothing they need stays behind.

use super::render::{exclusion_tail, index_tail};
use super::tokens::{Dialect, Kind, tokenize};
use super::{Renamed, clipped, column_note, names, types};
use migrate_core::schema::{ColumnSchema, Identity, Index, TableSchema};
use migrate_core::sink::CreateRequest;
use migrate_core::value::DataType;
use std::collections::HashSet;

/// Fills in columns, checks and indexes.
pub(super) fn fill(request: &CreateRequest<'_>, renamed: &Renamed<'_>, table: &mut TableSchema, notes: &mut Vec<String>) {
    let context = Context::new(request);
    for column in &request.table.columns {
        if let Some(name) = renamed.get(&column.name) {
            table.columns.push(take_column(column, name, &context, notes));
        }
    }
    for check in &request.table.checks {
        match context.left_behind(&check.expression) {
            None => table.checks.push(check.clone()),
            Some(what) => {
                let label = check.name.clone().unwrap_or_else(|| clipped(&check.expression));
                notes.push(format!("check {label} is not carried over: it needs {what}"));
            }
        }
    }
    let mut taken = HashSet::new();
    for index in &request.table.indexes {
        let text = format!("{} {}", index.definition, index.predicate.as_deref().unwrap_or(""));
        // The definition names the index, the table and perhaps a tablespace before the parts, which are not looked at.
        let whole = Some(text.as_str()).filter(|_| index.definition.is_empty());
        let Some(parts) = whole.or_else(|| index_tail(&text)).or_else(|| exclusion_tail(&text)) else {
            notes.push(format!("key {} is not carried over: it forbids overlaps", index.name));
            continue;
        };
        match context.left_behind(parts) {
            None => match take_index(index, renamed, &taken) {
                Some(index) => {
                    taken.insert(index.name.clone());
                    table.indexes.push(index);
                }
                None => notes.push(format!("index {} is not carried over: a column of it is left out", index.name)),
            },
            Some(what) => notes.push(format!("index {} is not carried over: it needs {what}", index.name)),
        }
    }
}

fn take_column(column: &ColumnSchema, name: &str, context: &Context<'_>, notes: &mut Vec<String>) -> ColumnSchema {
    let mut own = column.clone();
    own.name = name.to_owned();
    if own.native_type.is_empty() {
        // A column that the job adds has no type of this engine yet.
        let mapped = types::to_postgres(&own.portable_type);
        (own.data_type, own.native_type) = (mapped.data_type, mapped.native);
    }
    own.portable_type = own.data_type.clone();
    if let Some(generated) = &mut own.generated {
        match context.left_behind(&generated.expression) {
            None if generated.stored => {}
            None => {
                generated.stored = true;
                notes.push(column_note(name, "its generated values are stored"));
            }
            Some(what) => {
                notes
                    .push(column_note(name, format_args!("is filled with values instead of being generated: that needs {what}")));
                own.generated = None;
            }
        }
        own.default = None;
    }
    // No engine numbers anything but whole numbers: the job asks for values that the table gives by itself.
    let asked_for = own.identity.is_some() && !is_whole(&own);
    take_identity(&mut own, notes);
    own.numbering = super::numbering(&own);
    if let Some(default) = &own.default
        && let Some(what) = context.left_behind(default)
    {
        notes.push(column_note(name, format_args!("its default is not carried over: it needs {what}")));
        own.default = None;
    }
    if asked_for && own.default.is_none() {
        own.default = types::given(&own.data_type);
    }
    if let Some(collation) = &own.collation
        && let Some(what) = context.left_behind(collation)
    {
        notes.push(column_note(name, format_args!("its collation is not carried over: it is {what}")));
        own.collation = None;
    }
    own
}

/// Turns numbers drawn from a sequence into an identity, which brings its own sequence.
fn take_identity(column: &mut ColumnSchema, notes: &mut Vec<String>) {
    let draws = column.default.as_deref().is_some_and(draws_from_sequence);
    match &column.identity {
        Some(Identity::Always | Identity::ByDefault) if !is_whole(column) => {
            column.identity = None;
            if draws {
                column.default = None;
            }
        }
        Some(Identity::Always | Identity::ByDefault) => column.default = None,
        Some(Identity::Sequence { .. }) => {
            let name = column.name.clone();
            // An identity column allows no NULL, which a nullable column may hold.
            let fits = is_whole(column) && !column.nullable;
            column.default = None;
            column.identity = fits.then_some(Identity::ByDefault);
            notes.push(column_note(
                &name,
                if fits {
                    "its sequence becomes GENERATED BY DEFAULT AS IDENTITY with a sequence of its own"
                } else {
                    "its default is not carried over: it draws from a sequence, and the column cannot be an identity"
                },
            ));
        }
        Some(Identity::RowId { .. }) => column.identity = Some(Identity::ByDefault),
        None if draws => {
            notes.push(column_note(&column.name, "its default is not carried over: it draws from a sequence"));
            column.default = None;
        }
        None => {}
    }
}

/// Whether a column is of a type that can be an identity.
fn is_whole(column: &ColumnSchema) -> bool {
    matches!(column.data_type, DataType::Int16 | DataType::Int32 | DataType::Int64)
        && matches!(column.native_type.as_str(), "smallint" | "integer" | "bigint")
}

fn draws_from_sequence(default: &str) -> bool {
    tokenize(default, Dialect::Postgres).is_none_or(|tokens| {
        tokens.iter().any(|t| matches!(t.name().as_deref(), Some("nextval" | "currval" | "setval" | "lastval")))
    })
}

fn take_index(index: &Index, renamed: &Renamed<'_>, taken: &HashSet<String>) -> Option<Index> {
    let mut own = index.clone();
    own.name = names::usable(&index.name, taken);
    for part in &mut own.parts {
        if let Some(column) = &mut part.column {
            *column = renamed.get(column)?.clone();
        }
    }
    Some(own)
}

/// What an expression may need that is not at the target.
struct Context<'a> {
    /// Columns of the source's table that the target's has not, or not under that name.
    lost: HashSet<&'a str>,
    /// Schema and name of the types that come along, and of the relations' row types.
    types: HashSet<(&'a str, &'a str)>,
}

impl<'a> Context<'a> {
    fn new(request: &CreateRequest<'a>) -> Self {
        let kept: HashSet<&str> = request.table.columns.iter().map(|c| c.name.as_str()).collect();
        let original = request.database.tables.iter().find(|t| t.name == request.table.name);
        let lost = original.iter().flat_map(|t| &t.columns).map(|c| c.name.as_str()).filter(|n| !kept.contains(n)).collect();
        let types = request.database.types.iter().map(|t| (t.name.schema.as_deref().unwrap_or("public"), t.name.name.as_str()));
        Context { lost, types: types.collect() }
    }

    /// Names what an expression needs that stays behind: a column, or a function, operator class or collation of the user's.
    ///
    /// The server prints expressions with every name outside `pg_catalog` qualified, which is how such objects are told.
    fn left_behind(&self, expression: &str) -> Option<String> {
        let Some(tokens) = tokenize(expression, Dialect::Postgres) else {
            return Some("an expression that cannot be read".to_owned());
        };
        for (at, token) in tokens.iter().enumerate() {
            let Some(name) = token.name() else { continue };
            let qualified = tokens.get(at + 1).is_some_and(|t| t.is_symbol("."));
            let part = at > 0 && tokens[at - 1].is_symbol(".");
            if qualified && !part {
                // An operator's symbol stands where a name would: OPERATOR(public.=).
                let Some(object) = tokens.get(at + 2).and_then(|t| t.name()) else { continue };
                let known = name == "pg_catalog"
                    || name == "information_schema"
                    || self.types.contains(&(name.as_str(), object.as_str()))
                    || self.types.contains(&(name.as_str(), object.trim_start_matches('_')));
                if !known {
                    return Some(format!("{name}.{object}"));
                }
            } else if !part && self.lost.contains(name.as_str()) && matches!(token.kind, Kind::Word(_) | Kind::Quoted(_)) {
                return Some(format!("the column {name}"));
            }
        }
        None
    }
}
