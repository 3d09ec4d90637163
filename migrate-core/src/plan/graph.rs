//! The graph of references between a plan's entities.

use super::Plan;
use crate::binding::load_order;
use crate::schema::TableSchema;
use serde::Serialize;
use std::fmt::Write;

/// Which entity refers to which, in which order they load, and what is bound after the rows are there.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ReferenceGraph {
    /// The entities in load order.
    pub entities: Vec<GraphEntity>,
    /// Their references.
    pub references: Vec<GraphReference>,
    /// Entities that refer to one another in a cycle, or to themselves.
    pub cycles: Vec<Vec<String>>,
}

/// An entity of the graph.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct GraphEntity {
    /// The entity's name.
    pub name: String,
    /// The target's table.
    pub table: String,
    /// How many levels of parents it has; entities of one level do not wait for one another.
    pub level: usize,
    /// Whether the job creates the table.
    pub created: bool,
}

/// A reference of the graph.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct GraphReference {
    /// The entity that refers.
    pub child: String,
    /// The entity that is referred to, or the table where no entity feeds it.
    pub parent: String,
    /// The referring columns.
    pub columns: Vec<String>,
    /// The columns referred to.
    pub parent_columns: Vec<String>,
    /// Whether an entity of the job feeds the parent.
    pub moved: bool,
    /// When the reference is bound.
    pub binding: ReferenceBinding,
}

/// When a reference is bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ReferenceBinding {
    /// With the row: its parent is there already.
    WithRow,
    /// The value is written with the row; that it has a parent is checked, and the constraint made, after the last row.
    AfterLoad,
    /// With the row, although the reference is part of a cycle of tables that exist: these are filled the first time by other means.
    InCycle,
}

impl ReferenceBinding {
    /// Returns the reason, in words.
    pub fn reason(self) -> &'static str {
        match self {
            ReferenceBinding::WithRow => "parents load first",
            ReferenceBinding::InCycle => "in a cycle of existing tables: a first load is refused",
            ReferenceBinding::AfterLoad => "the job creates the table: the constraint is made, and checked, after the load",
        }
    }
}

impl ReferenceGraph {
    /// Takes the references of a plan's target tables.
    pub fn of(plan: &Plan) -> Self {
        let tables: Vec<&TableSchema> = plan.entities.iter().map(|e| &e.target).collect();
        let cycles = load_order(&tables).cycles;
        let together = |child: &str, parent: &str| {
            let is = |place: &usize, name: &str| plan.entities[*place].name == name;
            cycles.iter().any(|cycle| cycle.iter().any(|p| is(p, child)) && cycle.iter().any(|p| is(p, parent)))
        };
        let mut graph = ReferenceGraph::default();
        for entity in &plan.entities {
            graph.entities.push(GraphEntity {
                name: entity.name.clone(),
                table: entity.target.name.to_string(),
                level: entity.level,
                created: entity.create,
            });
            for key in &entity.target.foreign_keys {
                let parent = plan.entities.iter().find(|e| e.target.name == key.parent);
                graph.references.push(GraphReference {
                    child: entity.name.clone(),
                    parent: parent.map_or_else(|| key.parent.to_string(), |e| e.name.clone()),
                    columns: key.columns.clone(),
                    parent_columns: key.parent_columns.clone(),
                    moved: parent.is_some(),
                    binding: match parent {
                        _ if entity.create => ReferenceBinding::AfterLoad,
                        Some(parent) if together(&entity.name, &parent.name) => ReferenceBinding::InCycle,
                        Some(_) | None => ReferenceBinding::WithRow,
                    },
                });
            }
        }
        let named = |cycle: &Vec<usize>| cycle.iter().map(|place| plan.entities[*place].name.clone()).collect();
        graph.cycles = cycles.iter().map(named).collect();
        graph
    }

    /// Prints the graph in the language of Graphviz; children point to their parents.
    pub fn to_dot(&self) -> String {
        let quoted = |name: &str| format!("\"{}\"", name.replace('\\', "\\\\").replace('"', "\\\""));
        let mut text = String::from("digraph references {\n    rankdir = BT;\n");
        for entity in &self.entities {
            put(&mut text, format_args!("    {};\n", quoted(&entity.name)));
        }
        for reference in &self.references {
            let style = if reference.moved { "" } else { ", style = dotted" };
            let label = quoted(&reference.columns.join(", "));
            put(
                &mut text,
                format_args!("    {} -> {} [label = {label}{style}];\n", quoted(&reference.child), quoted(&reference.parent)),
            );
        }
        text.push_str("}\n");
        text
    }

    /// Prints the graph as a Mermaid flowchart; children point to their parents.
    pub fn to_mermaid(&self) -> String {
        // Names may hold anything: nodes are numbered, and labelled with entities of HTML where Mermaid has a meaning for a character.
        let mut names: Vec<&str> = self.entities.iter().map(|e| e.name.as_str()).collect();
        for reference in &self.references {
            if !names.contains(&reference.parent.as_str()) {
                names.push(&reference.parent);
            }
        }
        let label = |name: &str| name.replace('#', "#35;").replace('"', "#quot;").replace('<', "#lt;").replace('>', "#gt;");
        let place = |name: &str| names.iter().position(|n| *n == name).unwrap_or_default();
        let mut text = String::from("flowchart BT\n");
        for (place, name) in names.iter().enumerate() {
            put(&mut text, format_args!("    n{place}[\"{}\"]\n", label(name)));
        }
        for reference in &self.references {
            let arrow = if reference.moved { "-->" } else { "-.->" };
            let columns = label(&reference.columns.join(", "));
            put(
                &mut text,
                format_args!("    n{} {arrow}|\"{columns}\"| n{}\n", place(&reference.child), place(&reference.parent)),
            );
        }
        text
    }
}

fn put(text: &mut String, line: std::fmt::Arguments<'_>) {
    // Writing to a String cannot fail.
    let _ = text.write_fmt(line);
}
