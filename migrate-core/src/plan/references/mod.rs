//! The references of a plan's entities, and when each is bound.
//!
//! ```text
//! both catalogs, job file ──▶ found ──▶ order: parents before children, what waits, what is inserted at once, what is impossible
//! ```

mod found;
mod order;

pub(super) use found::{bond, is_from_source, is_open, why_rigid};
pub(super) use order::plan;

use super::entity::EntityPlan;
use super::orphans::Placeholder;
use crate::filter::Parameter;
use crate::job::{Bind, OrphanPolicy};
use crate::schema::{TableName, TableSchema};
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::Arc;

/// A reference of an entity.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct ReferencePlan {
    /// The target's columns that refer.
    pub columns: Vec<String>,
    /// The entity that feeds the parents; `None` where the job moves none.
    pub entity: Option<String>,
    /// The target's table that is referred to.
    pub table: TableName,
    /// The columns referred to, in the order of `columns`.
    pub parent_columns: Vec<String>,
    /// Which rows refer to this parent, by the source's columns; all if empty.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub when: BTreeMap<String, Parameter>,
    /// Whether the job file names it.
    pub declared: bool,
    /// Whether, and when, the target checks it.
    pub check: ReferenceCheck,
    /// When it is bound.
    pub binding: Binding,
    /// What the job file says about that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bind: Option<Bind>,
    /// What happens to rows whose parent is nowhere, where there can be any and they are looked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub orphans: Option<OrphanPolicy>,
    /// Whether nobody has said so.
    #[serde(skip)]
    pub(crate) orphans_unsaid: bool,
    /// The row that stands in for parents which are nowhere, where that is the policy.
    #[serde(skip)]
    pub(crate) placeholder: Option<Arc<Placeholder>>,
    /// Whether its parents are in a later stage, by the job's own order.
    #[serde(skip_serializing_if = "is_false")]
    pub against_stages: bool,
    /// What is needed to bind it late, where that is so.
    #[serde(skip)]
    pub late: Option<LateReference>,
    /// The same reference at the source, where all of its columns come from there and an entity feeds the parents.
    #[serde(skip)]
    pub source: Option<SourceReference>,
}

/// A reference whose rows may be written before their parents.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct LateReference {
    /// The columns of the reference that are NULL until the parent is there.
    pub columns: Vec<String>,
    /// The target's table that is referred to.
    pub parent: TableSchema,
}

/// A reference as the source's columns make it.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct SourceReference {
    /// The referring columns.
    pub columns: Vec<String>,
    /// The columns referred to.
    pub parent_columns: Vec<String>,
    /// Whether the source itself guarantees that every row has its parent.
    pub guaranteed: bool,
}

/// Whether, and when, the target checks a reference.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ReferenceCheck {
    /// As rows are written: the table exists already.
    Live,
    /// After the last row: the job creates the table.
    AtEnd,
    /// After the last row, and rows without a parent are left as they are: the source never checked either.
    Reported,
    /// Never: no constraint of the target says so.
    Never,
}

/// When a reference is bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Binding {
    /// With the row: its parent is there already.
    WithRow,
    /// The value is written with the row; that it has a parent is checked, and the constraint made, after the last row.
    AfterLoad,
    /// NULL is written where the parent is not there yet, and the value once all rows are.
    Late,
    /// With the rows that it ties together, in one transaction: it can never be NULL.
    Together,
    /// The value is written with the row, and nothing of the target checks it.
    Unchecked,
    /// It cannot be: the rows of a cycle would all have to be there first.
    InCycle,
}

impl ReferencePlan {
    /// Returns the reason for which it is bound when it is, in words.
    pub fn reason(&self) -> &'static str {
        match self.binding {
            _ if self.follows_job() => match self.bind {
                Some(Bind::Late) => "the job file says so: NULL until the parent is there",
                Some(Bind::Together) => "the job file says so: all new rows of the cycle are inserted at once",
                Some(Bind::Order) | None => "the job file says so: parents load first",
            },
            Binding::Late if self.against_stages => "its parents are in a later stage: NULL until the parent is there",
            Binding::InCycle if self.against_stages => "its parents are in a later stage, and it cannot wait: a run is refused",
            Binding::WithRow => "parents load first",
            Binding::AfterLoad => "the job creates the table: the constraint is made, and checked, after the load",
            Binding::Late => "in a cycle of existing tables: NULL until the parent is there",
            Binding::Together => "never NULL, in a cycle: all new rows of the cycle are inserted at once",
            Binding::Unchecked => "no constraint of the target checks it",
            Binding::InCycle => "in a cycle of existing tables: a first load is refused",
        }
    }
}

impl ReferencePlan {
    /// Whether it is bound as the job file says, and not as the planner finds.
    fn follows_job(&self) -> bool {
        match self.bind {
            Some(Bind::Order) => matches!(self.binding, Binding::WithRow | Binding::AfterLoad | Binding::Unchecked),
            Some(Bind::Late) => self.binding == Binding::Late,
            Some(Bind::Together) => self.binding == Binding::Together,
            None => false,
        }
    }
}

/// Entities whose references form a cycle that can never be NULL: their new rows are inserted at once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct TogetherPlan {
    /// The entities.
    pub entities: Vec<String>,
    /// The cycle, spelled out.
    pub path: String,
    /// The engine's guess at how many rows a first load inserts in one transaction; `None` where it has none.
    pub rows: Option<u64>,
}

/// What no order of loading can do.
pub(super) struct Cycles {
    /// What is inserted at once.
    pub(super) together: Vec<TogetherPlan>,
    /// What cannot be.
    pub(super) refusals: Vec<Refusal>,
}

/// References that no order of loading can satisfy.
pub(super) struct Refusal {
    /// The entities that would have to be filled already.
    pub(super) entities: Vec<String>,
    /// The cycle, spelled out.
    pub(super) path: String,
    /// Whether the cycle is one of ids that the target gives.
    pub(super) by_new_ids: bool,
    /// The entity whose rows could be completed later if they had a key.
    pub(super) keyless: Option<String>,
    /// What is wrong where not a cycle but the order of the job's stages is: no run can begin so.
    pub(super) against: Option<String>,
}

impl Refusal {
    fn against_stages(child: &EntityPlan, parent: &EntityPlan, reference: &ReferencePlan) -> Self {
        let stage = |entity: &EntityPlan| entity.stage.clone().unwrap_or_default();
        let (from, to) = (stage(child), stage(parent));
        let message = format!(
            "the stage \"{from}\" comes before \"{to}\", but its entity {} refers by ({}) to {}, and the reference cannot wait: {}; put {} \
             into an earlier stage, or {} into a later one",
            child.name,
            reference.columns.join(", "),
            parent.name,
            why_rigid(child, &reference.columns),
            parent.name,
            child.name,
        );
        let entities = vec![child.name.clone(), parent.name.clone()];
        Refusal { entities, path: String::new(), by_new_ids: false, keyless: None, against: Some(message) }
    }
}

fn is_false(value: &bool) -> bool {
    !value
}
