//! What becomes of each table of a schema. Pure: catalogs in, proposals out.
//!
//! A table with the organization column is scoped. One without gets it from its parent: along the shortest path of
//! foreign keys that cannot be NULL, or if there is none, along the shortest. Where two paths are equally good nobody but
//! the caller knows which parent a row belongs to, and a table that no path leaves may hold anything.

use super::overrides::{Override, Overrides};
use super::waiting;
use serde::Deserialize;
use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, HashSet};

#[derive(Debug, Clone, Deserialize)]
pub struct Schema {
    pub schema: String,
    pub tables: Vec<Table>,
    pub outside: Vec<Outside>,
}

#[derive(Debug, Clone, Deserialize)]
pub struct Table {
    pub oid: u32,
    pub table: String,
    pub qualified: String,
    /// The planner's estimate, negative when nobody has looked yet.
    pub rows: i64,
    pub has_column: bool,
    pub column: String,
    pub column_quoted: String,
    pub registered: bool,
    pub exempt: bool,
    pub foreign_keys: Vec<ForeignKey>,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct ForeignKey {
    pub name: String,
    pub columns: Vec<String>,
    pub parent: u32,
    pub parent_columns: Vec<String>,
    pub not_null: bool,
}

impl ForeignKey {
    /// Its columns and the parent's, without the organization that scoping has put into it.
    pub fn own_pairs<'a>(&'a self, child: &'a Table) -> impl Iterator<Item = (&'a String, &'a String)> {
        self.columns.iter().zip(&self.parent_columns).filter(|(own, _)| **own != child.column_quoted)
    }
}

/// A scoped table of another schema.
#[derive(Debug, Clone, Deserialize)]
pub struct Outside {
    pub oid: u32,
    pub qualified: String,
    pub column_quoted: String,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Proposal {
    /// It has the column, or is scoped already. The expression fills rows that have no organization.
    Scope { backfill: Option<String> },
    /// It gets the column, filled along the path.
    ByParent { path: String, backfill: String },
    /// Reference data: no path leads from it to an organization, or the caller says so.
    Share { asked: bool },
    /// The caller wants it left alone, or has said so once with exempt_table().
    Skip { exempt: bool },
    /// Somebody has to decide.
    Ask { why: String, overrides: Vec<String>, leads_nowhere: bool },
    /// Somebody has to decide about a parent first.
    Wait { why: String },
}

impl Proposal {
    pub fn name(&self) -> &'static str {
        match self {
            Self::Scope { .. } => "scope",
            Self::ByParent { .. } => "scope by parent",
            Self::Share { .. } => "share",
            Self::Skip { .. } => "skip",
            Self::Ask { .. } | Self::Wait { .. } => "ask",
        }
    }

    /// Why, where the steps do not say it.
    pub fn reason(&self) -> Option<String> {
        match self {
            Self::Scope { .. } | Self::ByParent { .. } | Self::Share { .. } => Some("nothing is missing".into()),
            Self::Skip { exempt: false } => Some("left alone, as asked".into()),
            Self::Skip { exempt: true } => Some("left alone: orgscope.exempt_table() was called for it".into()),
            Self::Ask { why, .. } | Self::Wait { why } => Some(why.clone()),
        }
    }
}

/// How far an organization column is, and whether a key on the way may be NULL: less is better.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Distance {
    nullable: bool,
    keys: u32,
}

const HERE: Distance = Distance { nullable: false, keys: 0 };

impl Distance {
    fn through(self, key: &ForeignKey) -> Self {
        Self { nullable: self.nullable || !key.not_null, keys: self.keys + 1 }
    }
}

/// Each table with its proposal, parents before children.
pub fn propose<'a>(schema: &'a Schema, overrides: &Overrides) -> Vec<(&'a Table, Proposal)> {
    let paths = Paths::new(schema, overrides);
    let mut proposals: Vec<_> = schema.tables.iter().map(|table| (table, paths.proposal(table, overrides))).collect();
    waiting::defer(&mut proposals);
    proposals.sort_by_key(|(table, _)| paths.distances.get(&table.oid).map_or(u32::MAX, |d| d.keys));
    proposals
}

struct Paths<'a> {
    /// Qualified name and organization column of every table that a path may lead to.
    columns: HashMap<u32, (&'a str, &'a str)>,
    distances: HashMap<u32, Distance>,
}

impl<'a> Paths<'a> {
    fn new(schema: &'a Schema, overrides: &Overrides) -> Self {
        let mut columns: HashMap<u32, (&str, &str)> = HashMap::new();
        columns.extend(schema.outside.iter().map(|t| (t.oid, (t.qualified.as_str(), t.column_quoted.as_str()))));
        columns.extend(schema.tables.iter().map(|t| (t.oid, (t.qualified.as_str(), t.column_quoted.as_str()))));
        Self { columns, distances: distances(schema, overrides) }
    }

    fn proposal(&self, table: &Table, overrides: &Overrides) -> Proposal {
        match overrides.of(table) {
            Some(Override::Share) => return Proposal::Share { asked: true },
            Some(Override::Skip) => return Proposal::Skip { exempt: false },
            Some(Override::Exempt) => return Proposal::Skip { exempt: true },
            Some(Override::Backfill(expression)) => return Proposal::Scope { backfill: Some(expression.clone()) },
            Some(Override::By(name)) => {
                let mut named = table.foreign_keys.iter().filter(|key| overrides.allow(table, key));
                return match named.find(|k| self.distances.contains_key(&k.parent)) {
                    Some(key) => self.by_parent(table, key),
                    None => Proposal::Ask {
                        why: format!(
                            "no foreign key of it that leads to an organization has the name or the column {name}"
                        ),
                        overrides: self.choices(table),
                        leads_nowhere: false,
                    },
                };
            }
            Some(Override::Scope) => return Proposal::Scope { backfill: None },
            None => {}
        }
        if table.has_column || table.registered {
            return Proposal::Scope { backfill: None };
        }
        self.along_keys(table)
    }

    fn along_keys(&self, table: &Table) -> Proposal {
        let ways = || {
            let leading = table.foreign_keys.iter();
            leading.filter_map(|key| Some((self.distances.get(&key.parent)?.through(key), key)))
        };
        let Some(best) = ways().map(|(distance, _)| distance).min() else {
            return if table.foreign_keys.is_empty() {
                Proposal::Share { asked: false }
            } else {
                Proposal::Ask {
                    why: "it has foreign keys, but none of them leads to an organization".into(),
                    overrides: vec!["\"share\"".into(), "\"scope\"".into(), "\"skip\"".into()],
                    leads_nowhere: true,
                }
            };
        };
        let mut equal: Vec<&ForeignKey> =
            ways().filter(|(distance, _)| *distance == best).map(|(_, key)| key).collect();
        // A key that was declared twice is one way.
        let leads = |key: &ForeignKey| (key.parent, key.columns.clone(), key.parent_columns.clone());
        let mut known = HashSet::new();
        equal.retain(|key| known.insert(leads(key)));
        match equal[..] {
            [key] => self.by_parent(table, key),
            _ => Proposal::Ask {
                why: format!(
                    "its organization is to be had in {} equally short ways: {}",
                    equal.len(),
                    self.list(&equal)
                ),
                overrides: equal.iter().map(|key| by(key)).collect(),
                leads_nowhere: false,
            },
        }
    }

    fn by_parent(&self, table: &Table, key: &ForeignKey) -> Proposal {
        let (parent, column) = self.columns.get(&key.parent).copied().unwrap_or_default();
        let matches = key.own_pairs(table);
        let matches: Vec<_> =
            matches.map(|(child, own)| format!("orgscope_parent.{own} = {}.{child}", table.qualified)).collect();
        let backfill =
            format!("(SELECT orgscope_parent.{column} FROM {parent} orgscope_parent WHERE {})", matches.join(" AND "));
        Proposal::ByParent { path: self.list(&[key]), backfill }
    }

    fn list(&self, keys: &[&ForeignKey]) -> String {
        let name = |key: &&ForeignKey| {
            let parent = self.columns.get(&key.parent).map_or("another table", |(name, _)| name);
            format!("({}) to {parent}", key.columns.join(", "))
        };
        keys.iter().map(name).collect::<Vec<_>>().join(", ")
    }

    fn choices(&self, table: &Table) -> Vec<String> {
        let leading = table.foreign_keys.iter().filter(|k| self.distances.contains_key(&k.parent));
        leading.map(by).collect()
    }
}

/// The override that chooses a key.
fn by(key: &ForeignKey) -> String {
    format!("{{\"by\": {}}}", serde_json::Value::from(key.name.as_str()))
}

/// Dijkstra's shortest paths from the tables with an organization against the direction of the keys.
fn distances(schema: &Schema, overrides: &Overrides) -> HashMap<u32, Distance> {
    let mut children: HashMap<u32, Vec<(u32, &ForeignKey)>> = HashMap::new();
    for table in &schema.tables {
        for key in table.foreign_keys.iter().filter(|key| overrides.allow(table, key)) {
            children.entry(key.parent).or_default().push((table.oid, key));
        }
    }
    let with_column = schema.tables.iter().filter(|t| overrides.gives_column(t)).map(|t| t.oid);
    let mut waiting: BinaryHeap<Reverse<(Distance, u32)>> =
        with_column.chain(schema.outside.iter().map(|t| t.oid)).map(|oid| Reverse((HERE, oid))).collect();
    let mut found = HashMap::new();
    while let Some(Reverse((distance, oid))) = waiting.pop() {
        if found.contains_key(&oid) {
            continue;
        }
        found.insert(oid, distance);
        for (child, key) in children.get(&oid).into_iter().flatten() {
            waiting.push(Reverse((distance.through(key), *child)));
        }
    }
    found
}
