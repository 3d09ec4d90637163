//! References of which the job file says when they are bound.

use super::entity::EntityPlan;
use super::references::{self, Binding, LateReference, ReferenceCheck, ReferencePlan};
use crate::binding::{Bond, Timing};
use crate::error::{Error, ErrorKind, Result};
use crate::job::Bind;
use crate::schema::ForeignKey;

/// Returns how firmly a reference is held in what the order of loading is found from; `None` if it has no say in it, being bound late.
///
/// # Errors
/// [`ErrorKind::Config`] where it can never be bound as the job says.
pub(super) fn overridden(
    child: &EntityPlan,
    parent: &EntityPlan,
    reference: &mut ReferencePlan,
    held: Bond,
    notes: &mut Vec<String>,
) -> Result<Option<Bond>> {
    let Some(bind) = reference.bind else { return Ok(Some(held)) };
    let same = |key: &&ForeignKey| key.columns == reference.columns && key.parent == reference.table;
    // A table that is created now is there at the next run: what could not be repeated is refused from the start.
    let firm = child.target.foreign_keys.iter().find(same).map_or(held, |key| references::bond(child, key).min(held));
    let columns = reference.columns.join(", ");
    match (bind, firm) {
        (Bind::Order, Bond::Loose) => Ok(Some(Bond::Nullable)),
        (Bind::Order, _) => Ok(Some(held.min(Bond::Nullable))),
        (Bind::Late, Bond::Rigid) => {
            let why = references::why_rigid(child, &reference.columns);
            Err(refused(child, parent, reference, &format!("it cannot wait: {why}")))
        }
        (Bind::Late, Bond::Loose) | (Bind::Together, _) if firm == Bond::Loose || reference.check == ReferenceCheck::Never => {
            Err(refused(child, parent, reference, "nothing of the target checks it, so that it is written as it is"))
        }
        (Bind::Late | Bind::Together, _) if held == Bond::Loose && reference.check != ReferenceCheck::Never => {
            notes.push(format!(
                "{}: bind = \"{bind}\" of ({columns}) is of no account while the job creates the table: the constraint is made after the load",
                child.name
            ));
            Ok(Some(held))
        }
        (Bind::Together, _) => Ok(Some(Bond::Rigid)),
        (Bind::Late, _) => {
            let open = reference.columns.iter().filter(|name| references::is_open(child, name)).cloned().collect();
            reference.binding = Binding::Late;
            reference.late = Some(LateReference { columns: open, parent: parent.target.clone() });
            notes.push(format!(
                "{}: ({columns}) refers to {}, and is bound late by the job file: a row whose parent is not there yet is written twice, \
                 first with NULL",
                child.name, parent.name
            ));
            Ok(None)
        }
    }
}

/// Returns what keeps a reference from being bound as the job says in the order that was found. `whole` says that its entity is one whose
/// new rows can be inserted at once, `against` that its parents are in a later stage.
pub(super) fn hindrance(reference: &ReferencePlan, timing: Timing, whole: bool, against: bool) -> Option<&'static str> {
    match reference.bind? {
        Bind::Order if against => Some("its parents are in a later stage"),
        Bind::Order if timing != Timing::WithRow => Some("its parents cannot all come first"),
        Bind::Together if reference.check != ReferenceCheck::Live || (timing == Timing::Together && whole) => None,
        Bind::Together if timing == Timing::Together => Some(
            "the target cannot insert such rows at once: they take a key, ids of the source's, and tables without rules or row security",
        ),
        Bind::Together => Some("it closes no cycle whose references are all bound together, or never NULL"),
        Bind::Order | Bind::Late => None,
    }
}

/// The error of a reference that cannot be bound as the job says.
pub(super) fn refused(child: &EntityPlan, parent: &EntityPlan, reference: &ReferencePlan, why: &str) -> Error {
    let (columns, bind) = (reference.columns.join(", "), reference.bind.map(|bind| bind.to_string()).unwrap_or_default());
    let message = format!("the reference ({columns}) to {} cannot be bound with bind = \"{bind}\": {why}", parent.name);
    Error::new(ErrorKind::Config, message).with("entity", &child.name).with("field", "references")
}
