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
    /// tied together by several cycles one is spelled out, and each that refers to itself.
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
    /// Whether it is in a cycle of references, be it its own to itself.
    pub in_cycle: bool,
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
                in_cycle: false,
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
            let mut spelled = vec![spell_cycle(cycle[0], &edges)];
            let own = cycle.iter().filter(|place| edges.iter().any(|edge| edge.child == **place && edge.parent == **place));
            spelled.extend(own.map(|place| vec![*place]).filter(|own| *own != spelled[0]).collect::<Vec<_>>());
            cycle.iter().for_each(|place| graph.entities[*place].in_cycle = true);
            let names = |path: Vec<usize>| path.into_iter().map(|place| plan.entities[place].name.clone()).collect();
            graph.cycles.extend(spelled.into_iter().map(names));
        }
        graph
    }

    /// Returns the entities stage by stage; all together where the job names no stages.
    fn by_stage(&self) -> Vec<(Option<&str>, &[GraphEntity])> {
        self.entities.chunk_by(|a, b| a.stage == b.stage).map(|group| (group[0].stage.as_deref(), group)).collect()
    }

    /// Spells each cycle on one line, whatever its names hold.
    fn spelled_cycles(&self) -> impl Iterator<Item = String> {
        self.cycles.iter().map(|cycle| {
            let names: Vec<&str> = cycle.iter().chain(cycle.first()).map(String::as_str).collect();
            names.join(" → ").replace(char::is_control, " ")
        })
    }

    /// Prints the graph in the language of Graphviz: children point to their parents, by dashed lines where a reference is bound late, by
    /// bold ones where it is bound together with others, and by dotted ones where the parent is not moved. Entities in a cycle are filled.
    pub fn to_dot(&self) -> String {
        let escaped = |name: &str| name.replace('\\', "\\\\").replace('"', "\\\"");
        let quoted = |name: &str| format!("\"{}\"", escaped(name));
        let mut text = String::from("digraph references {\n    rankdir = BT;\n    node [shape = box];\n");
        for cycle in self.spelled_cycles() {
            put(&mut text, format_args!("    // cycle: {cycle}\n"));
        }
        let node = |text: &mut String, indent: &str, entity: &GraphEntity| {
            let (name, level) = (escaped(&entity.name), entity.level);
            let filled = if entity.in_cycle { ", style = filled, fillcolor = lightpink" } else { "" };
            put(text, format_args!("{indent}\"{name}\" [label = \"{name}\\nlevel {level}\"{filled}];\n"));
        };
        for (place, (stage, entities)) in self.by_stage().into_iter().enumerate() {
            let Some(stage) = stage else {
                entities.iter().for_each(|entity| node(&mut text, "    ", entity));
                continue;
            };
            put(&mut text, format_args!("    subgraph cluster_{place} {{\n        label = {};\n", quoted(stage)));
            entities.iter().for_each(|entity| node(&mut text, "        ", entity));
            text.push_str("    }\n");
        }
        for reference in &self.references {
            let style = match reference.line() {
                Line::Plain => "",
                Line::Late => ", style = dashed",
                Line::Together => ", style = bold",
                Line::NotMoved => ", style = dotted",
            };
            let (child, parent) = (quoted(&reference.child), quoted(&reference.parent));
            let (columns, why) = (escaped(&reference.label()), reference.why());
            put(&mut text, format_args!("    {child} -> {parent} [label = \"{columns}\\n{why}\"{style}];\n"));
        }
        text.push_str("}\n");
        text
    }

    /// Prints the graph as a Mermaid flowchart: children point to their parents, by dashed lines where a reference is bound late or the
    /// parent is not moved, and by thick ones where it is bound together with others. Entities in a cycle are filled.
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
        for cycle in self.spelled_cycles() {
            // Braces would be read as a directive.
            put(&mut text, format_args!("    %% cycle: {}\n", cycle.replace(['{', '}'], " ")));
        }
        for (number, (stage, entities)) in self.by_stage().into_iter().enumerate() {
            if let Some(stage) = stage {
                put(&mut text, format_args!("    subgraph s{number}[\"{}\"]\n", label(stage)));
            }
            for GraphEntity { name, level, in_cycle, .. } in entities {
                let class = if *in_cycle { ":::cycle" } else { "" };
                put(&mut text, format_args!("    n{}[\"{}<br/>level {level}\"]{class}\n", place(name), label(name)));
            }
            if stage.is_some() {
                text.push_str("    end\n");
            }
        }
        for name in &names[self.entities.len()..] {
            put(&mut text, format_args!("    n{}[\"{}\"]\n", place(name), label(name)));
        }
        for reference in &self.references {
            let arrow = match reference.line() {
                Line::Plain => "-->",
                Line::Late | Line::NotMoved => "-.->",
                Line::Together => "==>",
            };
            let (child, parent) = (place(&reference.child), place(&reference.parent));
            let (columns, why) = (label(&reference.label()), label(reference.why()));
            put(&mut text, format_args!("    n{child} {arrow}|\"{columns}<br/>{why}\"| n{parent}\n"));
        }
        if self.entities.iter().any(|entity| entity.in_cycle) {
            text.push_str("    classDef cycle fill:#ffb6c1\n");
        }
        text
    }
}

/// How a reference is drawn.
enum Line {
    Plain,
    Late,
    Together,
    NotMoved,
}

impl GraphReference {
    fn line(&self) -> Line {
        match self.binding {
            _ if !self.moved => Line::NotMoved,
            Binding::Late => Line::Late,
            Binding::Together => Line::Together,
            Binding::WithRow | Binding::AfterLoad | Binding::Unchecked | Binding::InCycle => Line::Plain,
        }
    }

    /// When it is bound and why, in words.
    fn why(&self) -> &'static str {
        if self.moved { self.reason } else { "not moved" }
    }
}

fn put(text: &mut String, line: std::fmt::Arguments<'_>) {
    // Writing to a String cannot fail.
    let _ = text.write_fmt(line);
}
