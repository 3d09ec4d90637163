//! One entity of a plan.

use super::cascades::CascadePlan;
use super::drift::{Drift, DriftAction};
use super::keys::{GeneratedPlan, TranslationPlan};
use super::orphans::{Orphaned, Placeholder};
use super::references::ReferencePlan;
use super::sets::SetPlan;
use crate::filter::Filter;
use crate::job::CursorColumn;
use crate::schema::{ColumnSchema, TableName, TableSchema};
use crate::state::{Feeds, SourceColumn, to_hex};
use crate::transform::TransformPlan;
use crate::value::{Affinity, DataType, Key, Value};
use serde::Serialize;
use std::sync::Arc;

/// One entity: a source table, the target table it feeds, and how columns meet.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct EntityPlan {
    /// What `--entity` takes.
    pub name: String,
    /// The source's table.
    #[serde(serialize_with = "table_name")]
    pub source: TableSchema,
    /// The target's table, as it is or will be.
    #[serde(serialize_with = "table_name")]
    pub target: TableSchema,
    /// Whether this job creates the target's table.
    pub create: bool,
    /// How many levels of parents the table has, after all of earlier stages; lower levels load first.
    pub level: usize,
    /// The stage that it is in, where the job names stages.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stage: Option<String>,
    /// The source's columns that identify a row; empty for a multiset.
    pub key: Vec<String>,
    /// What identifies a row in the target: the same columns by their names there, and then those with constants without which the rows
    /// of others would be taken for this entity's.
    pub target_key: Vec<String>,
    /// Columns by whose constants this entity's rows differ from those of the job's other entities on the same table.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub apart: Vec<String>,
    /// Whether an index of the source guarantees that the key is unique.
    pub key_is_unique: bool,
    /// What rows have in common that are replaced together, where the entity has no key and the job says so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub set: Option<SetPlan>,
    /// The columns that are written, in order.
    pub columns: Vec<ColumnPlan>,
    /// The source's condition, as the job says it.
    pub filter: Option<String>,
    /// The engine's guess at the number of rows.
    pub row_estimate: Option<u64>,
    /// The entity's references, and when each is bound.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub references: Vec<ReferencePlan>,
    /// What would go, or change, in the target with rows of its table, where nothing held them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub cascades: Vec<CascadePlan>,
    /// What keeps rows of its table from going for as long as rows there refer to them, as far as a plan can tell.
    #[serde(skip)]
    pub(crate) holders: Vec<CascadePlan>,
    /// Rows whose parent is nowhere, and what becomes of them: known once a run has begun.
    #[serde(skip)]
    pub(crate) orphans: Arc<[Orphaned]>,
    /// Rows of its table that stand in for parents which are nowhere, of other entities or its own.
    #[serde(skip)]
    pub(crate) placeholders: Vec<Arc<Placeholder>>,
    /// Which of [`super::Plan::together`] the entity belongs to.
    #[serde(skip)]
    pub(crate) together: Option<usize>,
    /// The column whose values the target gives, if one is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub generated: Option<GeneratedPlan>,
    /// Columns that refer to rows whose ids the target gives.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub translations: Vec<TranslationPlan>,
    /// What happens to values on the way.
    #[serde(skip)]
    pub transform: Option<Arc<TransformPlan>>,
    /// What has become of the source's columns since the last finished run, and what a run does about it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub drift: Vec<Drift>,
    /// The source's columns, for the target to remember once the run has finished.
    #[serde(skip)]
    pub(crate) source_columns: Vec<SourceColumn>,
    /// The column that tells which rows have changed, where the job's strategy is to ask it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cursor: Option<CursorColumn>,
    /// What a reader of the plan should know.
    pub notes: Vec<String>,
    /// The parsed condition.
    #[serde(skip)]
    pub parsed_filter: Option<Filter>,
}

impl EntityPlan {
    /// Returns which rows of the target it writes to.
    pub(crate) fn feeds(&self) -> Feeds {
        let constant = |column: &ColumnPlan| {
            let value = column.constant.as_ref().filter(|value| !value.is_null() && self.target_key.contains(&column.target))?;
            Some((column.target.clone(), to_hex(Key::from_values([value]).as_bytes())))
        };
        Feeds { table: self.target.name.clone(), constants: self.columns.iter().filter_map(constant).collect() }
    }

    /// Returns whether the entity has no key: rows are then told apart by what they hold, and counted with their multiplicity.
    pub fn is_keyless(&self) -> bool {
        self.key.is_empty()
    }

    /// Returns whether the target may take two keys for one that the source holds apart: its key folds case, accents or blanks.
    pub fn key_may_fold(&self) -> bool {
        let folds = |column: &ColumnSchema| {
            let typed = match &column.data_type {
                DataType::Char { .. } => true,
                DataType::Other { name } => name.trim_matches('"').ends_with("citext"),
                _ => false,
            };
            typed || column.collation.as_ref().is_some_and(|collation| !is_exact(collation))
        };
        self.key.iter().zip(&self.target_key).any(|(source, target)| {
            let (Some(from), Some(to)) = (self.source.column(source), self.target.column(target)) else { return false };
            folds(to) && (from.collation != to.collation || from.data_type != to.data_type)
        })
    }

    /// Returns whether the target has one spelling for each of its keys, so that a row which is overwritten has the key that it was written
    /// with: not so where 1.0 and 1.00 are one, or letters in either case.
    pub(crate) fn key_has_one_spelling(&self) -> bool {
        self.target_key.iter().all(|name| {
            self.target.column(name).is_some_and(|column| {
                let one = match &column.data_type {
                    DataType::Bool | DataType::Int16 | DataType::Int32 | DataType::Int64 | DataType::Uuid => true,
                    DataType::Text { .. } | DataType::Bytes | DataType::Date | DataType::Time { .. } => true,
                    DataType::Timestamp { .. } | DataType::TimestampTz { .. } => true,
                    DataType::Float32 | DataType::Float64 | DataType::Decimal { .. } | DataType::Char { .. } => false,
                    DataType::TimeTz { .. } | DataType::Interval | DataType::Json | DataType::Jsonb => false,
                    DataType::Enum { .. } | DataType::Other { .. } => false,
                    DataType::Dynamic { affinity } => match affinity {
                        // Whole numbers are integers there, and a text is no number.
                        Affinity::Integer | Affinity::Numeric | Affinity::StrictInteger => true,
                        Affinity::Text | Affinity::StrictText | Affinity::StrictBlob => true,
                        // 1 and 1.0 are one, and so are both zeros.
                        Affinity::Blob | Affinity::Real | Affinity::StrictReal => false,
                    },
                };
                one && column.collation.as_ref().is_none_or(|name| is_exact(name))
            })
        })
    }

    /// Returns whether a run is refused for what has become of the source's columns.
    pub fn is_refused(&self) -> bool {
        self.drift.iter().any(|drift| drift.action == DriftAction::Refused)
    }

    /// Returns the column of the target that a column of the source feeds as it is.
    pub(crate) fn fed_by(&self, source: &str) -> Option<&ColumnPlan> {
        let made = self.transform.as_ref().is_some_and(|transform| transform.makes(source));
        self.columns.iter().find(|c| !made && c.source.as_deref() == Some(source))
    }

    /// Returns whether a key of the source is another one at the target, since ids in it are replaced.
    pub(crate) fn translates_key(&self) -> bool {
        self.generated.as_ref().is_some_and(|own| own.keyed)
            || self.translations.iter().any(|translation| self.key.contains(&translation.source))
    }

    /// Whether several walks may share the rows. Of ids that are being given a walk knows only those that it gives itself, and a row that
    /// is known by another key may go from one walk's rows to another's, with its id.
    pub(crate) fn can_be_walked_in_parts(&self) -> bool {
        let itself = || self.translations.iter().any(|t| t.entity == self.name);
        self.generated.as_ref().is_none_or(|own| own.keyed && self.together.is_none() && !itself())
    }

    /// Returns the source's column whose values the target gives, where the key is another one.
    pub(crate) fn generated_beside_key(&self) -> Option<&GeneratedPlan> {
        self.generated.as_ref().filter(|own| !own.keyed)
    }

    /// Returns the entity whose key map says what is written in place of a column's values, this one's own id included.
    pub(crate) fn map_of(&self, source: &str) -> Option<&str> {
        if self.generated.as_ref().is_some_and(|own| own.keyed && own.source == source) {
            return Some(&self.name);
        }
        self.translations.iter().find(|translation| translation.source == source).map(|translation| translation.entity.as_str())
    }

    /// Returns a column that the source makes and whose value may be another one although its row has not changed.
    pub(crate) fn impure(&self) -> Option<&str> {
        let read = self.read_columns();
        let impure = self.source.computed.iter().find(|computed| !computed.pure && read.contains(&computed.column.name));
        impure.map(|computed| computed.made.as_str())
    }

    /// Returns the source's columns that are read, in order. Those that are not written come last.
    pub fn read_columns(&self) -> Vec<String> {
        if let Some(transform) = &self.transform {
            return transform.reads().to_vec();
        }
        let mut columns: Vec<String> = self.columns.iter().filter_map(|c| c.source.clone()).collect();
        for column in self.key.iter().chain(self.generated.iter().map(|own| &own.source)) {
            if !columns.contains(column) {
                columns.push(column.clone());
            }
        }
        columns
    }
}

fn table_name<S: serde::Serializer>(table: &TableSchema, serializer: S) -> Result<S::Ok, S::Error> {
    let name: &TableName = &table.name;
    serializer.collect_str(name)
}

/// One column that is written.
#[derive(Debug, Clone, Serialize)]
pub struct ColumnPlan {
    /// The source's column, or the one that a transformation has made; `None` for a constant.
    pub source: Option<String>,
    /// The target's column.
    pub target: String,
    /// What the source's cells are.
    pub source_type: DataType,
    /// What they are conformed to.
    pub target_type: DataType,
    /// Whether the target refuses NULL.
    pub not_null: bool,
    /// The constant, conformed to the target's column.
    #[serde(skip)]
    pub constant: Option<Value<'static>>,
    /// Why the source's values could not be written, were they not replaced by ids that the target gives.
    #[serde(skip)]
    pub(crate) unfit: Option<String>,
}

/// Whether texts that this collation takes for equal are the same.
fn is_exact(collation: &str) -> bool {
    ["BINARY", "C", "POSIX", "UCS_BASIC"].iter().any(|known| collation.eq_ignore_ascii_case(known))
}
