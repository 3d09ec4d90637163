//! Tells rows without a parent by their own values, while they are shaped.

use crate::filter::Parameter;
use crate::plan::{EntityPlan, Orphaned};
use crate::value::conform::conform;
use crate::value::{Key, PageColumn, Value};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The rules of one entity, for pages of one kind.
pub(crate) struct Rules(Vec<Rule>);

struct Rule {
    /// The places, in the source's page, of the columns that refer.
    columns: Vec<usize>,
    /// Which rows refer at all.
    when: Condition,
    /// The places, in the entity's columns, of those that have another value, with it.
    instead: Vec<(usize, Value<'static>)>,
    orphaned: Arc<[Orphaned]>,
    number: usize,
}

/// Which rows a type column assigns to a reference, for pages of one kind: the places of columns, with what they say then.
pub(in crate::pipeline) struct Condition(Vec<(usize, Key)>);

impl Condition {
    /// Finds the columns in a page of the source; `None` if no row can meet the condition.
    pub(in crate::pipeline) fn new(when: &BTreeMap<String, Parameter>, page: &[PageColumn]) -> Option<Self> {
        let places = when.iter().map(|(name, value)| {
            let place = page.iter().position(|c| &c.name == name)?;
            // A value that is none of the column's is that of no row.
            let value = conform(value.to_value(), &page[place].data_type).ok()?;
            Some((place, Key::from_values([&value])))
        });
        places.collect::<Option<Vec<_>>>().map(Condition)
    }

    /// Returns whether a row meets it, whose cells are asked for by place.
    pub(in crate::pipeline) fn holds<'v>(&self, cell: impl Fn(usize) -> Option<&'v Value<'v>>) -> bool {
        self.0.iter().all(|(place, wanted)| cell(*place).is_some_and(|value| &Key::from_values([value]) == wanted))
    }
}

/// What becomes of a row without a parent.
#[derive(Default)]
pub(crate) struct Bereft {
    /// The places, in the entity's columns, of those that have another value, with it.
    pub(crate) instead: Vec<(usize, Value<'static>)>,
    /// Why it is refused, with the source's column, where it is.
    pub(crate) refused: Option<(String, String)>,
}

impl Rules {
    /// Finds the rules' columns in a page of the source; `None` where there are no rules.
    pub(crate) fn new(entity: &EntityPlan, page: &[PageColumn]) -> Option<Self> {
        let place = |name: &String| page.iter().position(|c| &c.name == name);
        let mut rules = Vec::new();
        for (number, orphaned) in entity.orphans.iter().enumerate() {
            let columns: Option<Vec<usize>> = orphaned.columns.iter().map(place).collect();
            let (Some(columns), Some(when)) = (columns, Condition::new(&orphaned.when, page)) else { continue };
            let place = |name: &String| entity.columns.iter().position(|c| &c.target == name);
            let instead = orphaned.instead.iter().filter_map(|(name, value)| Some((place(name)?, value.clone()))).collect();
            rules.push(Rule { columns, when, instead, orphaned: Arc::clone(&entity.orphans), number });
        }
        (!rules.is_empty()).then_some(Rules(rules))
    }

    /// Looks at a row, whose cells are in the page's order; `None` if it has all its parents.
    pub(crate) fn look(&self, row: &[Option<Value<'_>>]) -> Option<Bereft> {
        let mut found: Option<Bereft> = None;
        for rule in &self.0 {
            if !rule.concerns(row) {
                continue;
            }
            let bereft = found.get_or_insert_default();
            bereft.instead.extend_from_slice(&rule.instead);
            if rule.instead.is_empty() && bereft.refused.is_none() {
                let orphaned = &rule.orphaned[rule.number];
                bereft.refused = Some((orphaned.columns.join(", "), orphaned.reason.clone()));
            }
        }
        found
    }
}

impl Rule {
    fn concerns(&self, row: &[Option<Value<'_>>]) -> bool {
        let cell = |place: usize| row.get(place).and_then(Option::as_ref).filter(|value| !value.is_null());
        let referring: Option<Vec<&Value<'_>>> = self.columns.iter().map(|place| cell(*place)).collect();
        let Some(referring) = referring else { return false };
        self.when.holds(cell) && self.orphaned[self.number].parents.contains(&Key::from_values(referring))
    }
}
