//! Transformations of rows: what the job says, made ready for a table, and applied to its rows.
//!
//! ```text
//! source's columns ──▶ step ──▶ step ──▶ … ──▶ columns as the target is to have them ──▶ rename, exclude, conform
//!                        └── refused: the row is quarantined
//! ```

mod code;
mod json;
mod step;
#[cfg(test)]
mod tests;

pub use code::{Refused, Transformer, Transformers};

use crate::error::{Error, ErrorKind, Result};
use crate::hint;
use crate::job::{Entity, Transform};
use crate::schema::{ColumnSchema, TableSchema};
use crate::value::{DataType, Value};
use std::collections::BTreeSet;
use std::sync::Arc;
use step::{Operation, operation};

/// An entity's transformation, ready for the rows of its table.
#[derive(Debug, Clone)]
pub struct TransformPlan {
    /// The source's columns that are read, the table's own before those that it makes.
    reads: Vec<String>,
    /// How many of the table's own are given to the code, where there is some.
    own: usize,
    /// What rows look like afterwards: the source's table with other columns.
    table: TableSchema,
    /// Of those columns, the ones that a step has made.
    made: BTreeSet<String>,
    /// The source's columns that are there no more.
    dropped: BTreeSet<String>,
    /// What is done first, in code.
    code: Option<Arc<dyn Transformer>>,
    steps: Vec<Step>,
    /// For each column of the table its slot; [`NOT_READ`] for one that nobody needs.
    slots: Vec<usize>,
    /// How many slots a row needs.
    width: usize,
    /// What the steps are, to tell one transformation from another.
    text: String,
}

/// The slot of a column that is not read.
const NOT_READ: usize = usize::MAX;

#[derive(Debug, Clone)]
struct Step {
    column: String,
    operation: Operation,
    inputs: Vec<usize>,
}

impl TransformPlan {
    /// Makes an entity's steps ready; `None` if it has none. What the source is to make for them is among the table's computed columns, in
    /// the order of the steps.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] where a step names a column that is not there, or changes one of the key.
    pub(crate) fn new(
        entity: &Entity,
        source: &TableSchema,
        key: &[String],
        code: Option<&Arc<dyn Transformer>>,
    ) -> Result<Option<Self>> {
        if entity.transform.is_empty() && code.is_none() {
            return Ok(None);
        }
        let mut text = serde_json::to_string(&entity.transform)
            .map_err(|e| Error::new(ErrorKind::Internal, "a transformation cannot be spelled").caused_by(e))?;
        let (mut table, mut made, mut dropped) = (source.clone(), BTreeSet::new(), BTreeSet::new());
        if let Some(code) = code {
            table.columns = code.table(source).map_err(|e| e.with("entity", entity.name()))?.columns;
            text.push_str(&code.version());
            // Of all but the key it is not known what they were made of.
            made.extend(table.columns.iter().map(|c| c.name.clone()).filter(|name| !key.contains(name)));
            dropped.extend(source.columns.iter().map(|c| c.name.clone()).filter(|name| table.column(name).is_none()));
            if let Some(lost) = key.iter().find(|name| table.column(name).is_none()) {
                let message = format!("the transformation leaves out \"{lost}\", which belongs to the key");
                return Err(Error::new(ErrorKind::Config, message).with("entity", entity.name()));
            }
        }
        table.computed.clear();
        let computed = source.computed.iter().map(|computed| &computed.column);
        let own = table.columns.len();
        let mut plan = TransformPlan {
            reads: source.columns.iter().chain(computed.clone()).map(|c| c.name.clone()).collect(),
            own: source.columns.len(),
            slots: (0..own).collect(),
            width: own + source.computed.len(),
            table,
            made,
            dropped,
            code: code.cloned(),
            steps: Vec::new(),
            text,
        };
        let mut computed = computed.zip(own..);
        for step in &entity.transform {
            let made = if step.sql.is_some() { computed.next() } else { None };
            plan.add(step, key, made).map_err(|e| e.with("entity", entity.name()).with("field", "transform"))?;
        }
        if plan.code.is_none() {
            let left_out = |name: &String| entity.columns.exclude.contains(name) || entity.columns.set.contains_key(name);
            plan.read_less(|name| key.contains(name) || !left_out(name));
        }
        Ok(Some(plan))
    }

    /// Stops to read the source's columns that are not written, and that no step takes.
    fn read_less(&mut self, written: impl Fn(&String) -> bool) {
        let mut needed = vec![false; self.reads.len()];
        let columns = self.table.columns.iter().zip(&self.slots).filter(|(column, _)| written(&column.name));
        for slot in columns.map(|(_, slot)| slot).chain(self.steps.iter().flat_map(|step| &step.inputs)) {
            // The slots behind are those of steps.
            if let Some(needed) = needed.get_mut(*slot) {
                *needed = true;
            }
        }
        // A row cannot be read without any column.
        if !needed.contains(&true) {
            return;
        }
        let mut moved = 0;
        let places: Vec<usize> = needed
            .iter()
            .map(|needed| {
                moved += usize::from(*needed);
                if *needed { moved - 1 } else { NOT_READ }
            })
            .collect();
        let fewer = self.reads.len() - moved;
        let place = |slot: &mut usize| *slot = places.get(*slot).copied().unwrap_or_else(|| *slot - fewer);
        self.slots.iter_mut().for_each(place);
        self.steps.iter_mut().flat_map(|step| &mut step.inputs).for_each(place);
        self.width -= fewer;
        let mut needed = needed.into_iter();
        self.reads.retain(|_| needed.next().unwrap_or(true));
    }

    /// Adds a step; `computed` is the column that the source makes for it, with its slot.
    fn add(&mut self, step: &Transform, key: &[String], computed: Option<(&ColumnSchema, usize)>) -> Result<()> {
        let wrong = |message: String| Error::new(ErrorKind::Config, message);
        let touches_key = |name: &String| key.contains(name);
        if touches_key(&step.column) {
            return Err(wrong(format!(
                "the column \"{}\" belongs to the key, which no step may change: rows could not be told apart",
                step.column
            )));
        }
        let others = step.pack.iter().flatten().chain(step.copy.iter()).chain(step.join.iter().flat_map(|join| &join.columns));
        let mut inputs = Vec::new();
        for name in others {
            inputs.push(self.slot(name)?);
        }
        if let Some(name) = step.pack.iter().flatten().find(|name| touches_key(name)) {
            return Err(wrong(format!("the column \"{name}\" belongs to the key and cannot be packed; copy it first")));
        }
        if step.sql.is_some() && computed.is_none() {
            return Err(Error::new(ErrorKind::Internal, "the source was not asked what an expression makes"));
        }
        inputs.extend(computed.map(|(_, slot)| slot));
        let alone = inputs.is_empty() && step.constant.is_none();
        let from = if alone { Some(self.slot(&step.column)?) } else { None };
        inputs.extend(from);
        let input = computed.map(|(column, _)| column).or_else(|| inputs.first().and_then(|slot| self.column_of(*slot))).cloned();
        let names: Vec<String> = step.pack.clone().unwrap_or_default();
        let (operation, made) = operation(step, names.clone(), input.as_ref())?;
        // Keys are hidden in what the steps are spelled as; another key still is another transformation.
        self.text.extend(operation.key_print());
        for name in &names {
            if let Some(place) = self.table.columns.iter().position(|c| &c.name == name) {
                self.table.columns.remove(place);
                self.slots.remove(place);
                self.dropped.insert(name.clone());
            }
        }
        // A new slot for each value: a step that comes later may still read what an earlier one has replaced.
        let output = self.width;
        self.width += 1;
        let nullable = operation.may_make_null(input.as_ref().is_none_or(|column| column.nullable));
        let column = column(&step.column, made, nullable, input.filter(|_| alone || step.copy.is_some() || step.sql.is_some()));
        match self.table.columns.iter().position(|c| c.name == step.column) {
            Some(place) => {
                self.table.columns[place] = column;
                self.slots[place] = output;
            }
            None => {
                self.table.columns.push(column);
                self.slots.push(output);
            }
        }
        self.dropped.remove(&step.column);
        self.made.insert(step.column.clone());
        self.steps.push(Step { column: step.column.clone(), operation, inputs });
        Ok(())
    }

    fn slot(&self, name: &str) -> Result<usize> {
        self.table.columns.iter().position(|c| c.name == name).map(|place| self.slots[place]).ok_or_else(|| {
            let hint = hint::nearest(name, self.table.columns.iter().map(|c| c.name.as_str()));
            Error::new(ErrorKind::Config, format!("{} has no column \"{name}\"{hint}", self.table.name))
        })
    }

    fn column_of(&self, slot: usize) -> Option<&ColumnSchema> {
        self.slots.iter().position(|s| *s == slot).map(|place| &self.table.columns[place])
    }

    /// Returns the source's columns that are read, in order.
    pub fn reads(&self) -> &[String] {
        &self.reads
    }

    /// Returns the table that rows seem to come from afterwards.
    pub fn table(&self) -> &TableSchema {
        &self.table
    }

    /// Returns whether a step has made this column.
    pub fn makes(&self, column: &str) -> bool {
        self.made.contains(column)
    }

    /// Returns whether this column of the source is there no more.
    pub fn drops(&self, column: &str) -> bool {
        self.dropped.contains(column)
    }

    /// Returns the value that a column has in every row, if a step says so and no later one changes it.
    pub(crate) fn constant(&self, column: &str) -> Option<&Value<'static>> {
        match &self.steps.iter().rfind(|step| step.column == column)?.operation {
            Operation::Constant(value) => Some(value),
            _ => None,
        }
    }

    /// Returns what the steps are, as text.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// Turns the values of the columns that are read, in their order, into those of the table afterwards, and says what refuses the row
    /// first, if anything does: its value is NULL then.
    pub(crate) fn apply<'v>(&self, values: Vec<Value<'v>>) -> (Vec<Value<'v>>, Option<Refused>) {
        let mut slots = values;
        let mut refused = None;
        if let Some(code) = &self.code {
            let computed = slots.split_off(self.own.min(slots.len()));
            // Its key is needed of a refused row too.
            let before = slots.clone();
            match code.apply(slots) {
                Ok(row) if row.len() + computed.len() == self.width - self.steps.len() => {
                    slots = row;
                    slots.extend(computed);
                }
                outcome => {
                    let wrong = || Refused {
                        column: self.table.columns.first().map(|c| c.name.clone()).unwrap_or_default(),
                        reason: "the transformation returned another number of values than its table has columns".to_owned(),
                    };
                    refused = Some(outcome.err().unwrap_or_else(wrong));
                    let of = |name: &String| self.reads[..before.len()].iter().position(|read| read == name);
                    let row = self.table.columns.iter().map(|column| of(&column.name).map(|place| before[place].clone()));
                    return (row.map(|value| value.unwrap_or(Value::Null)).collect(), refused);
                }
            }
        }
        slots.reserve(self.width - slots.len());
        for step in &self.steps {
            let inputs: Vec<&Value<'v>> = step.inputs.iter().map(|slot| &slots[*slot]).collect();
            let value = step.operation.apply(&inputs).unwrap_or_else(|reason| {
                refused.get_or_insert_with(|| Refused { column: step.column.clone(), reason });
                Value::Null
            });
            // Each step has the next slot.
            slots.push(value);
        }
        let mut slots: Vec<Option<Value<'v>>> = slots.into_iter().map(Some).collect();
        let mut row = Vec::with_capacity(self.slots.len());
        for slot in &self.slots {
            // Each slot is one column's.
            row.push(slots.get_mut(*slot).and_then(Option::take).unwrap_or(Value::Null));
        }
        (row, refused)
    }
}

/// A column that a step makes; `before` is what it was.
fn column(name: &str, data_type: Option<DataType>, nullable: bool, before: Option<ColumnSchema>) -> ColumnSchema {
    let kept = before.clone().filter(|c| data_type.as_ref().is_none_or(|made| made == &c.data_type));
    match (kept, data_type) {
        (Some(kept), _) => ColumnSchema {
            name: name.to_owned(),
            default: None,
            generated: None,
            identity: None,
            numbering: None,
            nullable,
            ..kept
        },
        (None, made) => {
            let data_type = made.unwrap_or(DataType::TEXT);
            ColumnSchema {
                name: name.to_owned(),
                native_type: String::new(),
                portable_type: data_type.clone(),
                data_type,
                nullable,
                default: None,
                generated: None,
                identity: None,
                numbering: None,
                collation: None,
                comment: before.and_then(|c| c.comment),
            }
        }
    }
}
