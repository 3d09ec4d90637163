//! The graph of references between a plan's entities.

use super::Plan;
use super::references::Binding;
use crate::binding::{Bond, Edge, schedule, spell_cycle};
use crate::filter::Parameter;
use crate::job::Bind;
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
    /// Entities that refer to one another in a cycle, or to themselves: each to the next, the last to the first. Of entities that are
    /// tied together by several cycles one is spelled out.
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
    /// The stage that it is in, where the job names stages.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stage: Option<String>,
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
    /// Which rows refer to this parent, where a type column says so; all if empty.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub when: Vec<String>,
    /// Whether an entity of the job feeds the parent.
    pub moved: bool,
    /// Whether the job file names the reference.
    pub declared: bool,
    /// When the reference is bound.
    pub binding: Binding,
    /// What the job file says about that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bind: Option<Bind>,
    /// Why then, in words.
    pub reason: &'static str,
}

impl GraphReference {
    /// Spells the referring columns, and which rows refer where not all do.
    pub fn label(&self) -> String {
        let columns = self.columns.join(", ");
        if self.when.is_empty() { columns } else { format!("{columns} where {}", self.when.join(" and ")) }
    }
}

impl ReferenceGraph {
    /// Takes the references of a plan's entities.
    pub fn of(plan: &Plan) -> Self {
        let mut graph = ReferenceGraph::default();
        let mut edges = Vec::new();
        for (child, entity) in plan.entities.iter().enumerate() {
            graph.entities.push(GraphEntity {
                name: entity.name.clone(),
                table: entity.target.name.to_string(),
                level: entity.level,
                stage: entity.stage.clone(),
                created: entity.create,
            });
            for reference in &entity.references {
                let parent = plan.entities.iter().position(|e| Some(&e.name) == reference.entity.as_ref());
                edges.extend(parent.map(|parent| Edge { child, parent, bond: Bond::Loose }));
                let spelled = |(column, value): (&String, &Parameter)| format!("{column} = {value}");
                graph.references.push(GraphReference {
                    child: entity.name.clone(),
                    parent: reference.entity.clone().unwrap_or_else(|| reference.table.to_string()),
                    columns: reference.columns.clone(),
                    parent_columns: reference.parent_columns.clone(),
                    when: reference.when.iter().map(spelled).collect(),
                    moved: reference.entity.is_some(),
                    declared: reference.declared,
                    binding: reference.binding,
                    bind: reference.bind,
                    reason: reference.reason(),
                });
            }
        }
        for cycle in schedule(plan.entities.len(), &edges).cycles {
            let path = spell_cycle(cycle[0], &edges);
            graph.cycles.push(path.into_iter().map(|place| plan.entities[place].name.clone()).collect());
        }
        graph
    }

    /// Returns the entities stage by stage; all together where the job names no stages.
    fn by_stage(&self) -> Vec<(Option<&str>, Vec<&str>)> {
        let groups = self.entities.chunk_by(|a, b| a.stage == b.stage);
        groups.map(|group| (group[0].stage.as_deref(), group.iter().map(|e| e.name.as_str()).collect())).collect()
    }

    /// Prints the graph in the language of Graphviz; children point to their parents.
    pub fn to_dot(&self) -> String {
        let quoted = |name: &str| format!("\"{}\"", name.replace('\\', "\\\\").replace('"', "\\\""));
        let mut text = String::from("digraph references {\n    rankdir = BT;\n");
        for (place, (stage, entities)) in self.by_stage().into_iter().enumerate() {
            let Some(stage) = stage else {
                entities.iter().for_each(|name| put(&mut text, format_args!("    {};\n", quoted(name))));
                continue;
            };
            put(&mut text, format_args!("    subgraph cluster_{place} {{\n        label = {};\n", quoted(stage)));
            entities.iter().for_each(|name| put(&mut text, format_args!("        {};\n", quoted(name))));
            text.push_str("    }\n");
        }
        for reference in &self.references {
            let style = if reference.moved { "" } else { ", style = dotted" };
            let label = quoted(&reference.label());
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
        let node = |text: &mut String, name: &str| put(text, format_args!("    n{}[\"{}\"]\n", place(name), label(name)));
        for (number, (stage, entities)) in self.by_stage().into_iter().enumerate() {
            if let Some(stage) = stage {
                put(&mut text, format_args!("    subgraph s{number}[\"{}\"]\n", label(stage)));
            }
            entities.iter().for_each(|name| node(&mut text, name));
            if stage.is_some() {
                text.push_str("    end\n");
            }
        }
        names[self.entities.len()..].iter().for_each(|name| node(&mut text, name));
        for reference in &self.references {
            let arrow = if reference.moved { "-->" } else { "-.->" };
            let columns = label(&reference.label());
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
