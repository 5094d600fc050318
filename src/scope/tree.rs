//! A table with its partitions and inheritance children, at every level: parents stand before their children.

use crate::history::History;
use crate::scope::facts::{Facts, Index, Rows};
use crate::scope::keys::Key;
use crate::scope::views::Readers;
use std::collections::{HashMap, HashSet};

#[derive(Debug, Clone)]
pub struct Tree {
    members: Vec<Facts>,
    /// Places of a member's parents, those among the members.
    parents: Vec<Vec<usize>>,
    /// Foreign keys between the members and the scoped tables, themselves included.
    pub keys: Vec<Key>,
    /// The scoped tables at the other ends of those keys.
    pub neighbours: Vec<Facts>,
    /// What reads the rows of any member.
    pub readers: Readers,
    /// Whether and how changes are recorded: as the registry says of the tables at the top.
    pub history: Option<History>,
}

impl Tree {
    /// The first table given comes first if it is a root; siblings are in the order of their names.
    pub fn new(mut tables: Vec<Facts>) -> Self {
        if let Some((_, others)) = tables.split_first_mut() {
            others.sort_by(|a, b| a.qualified.cmp(&b.qualified));
        }
        let place: HashMap<u32, usize> = tables.iter().enumerate().map(|(i, t)| (t.oid, i)).collect();
        let mut above: Vec<usize> =
            tables.iter().map(|t| t.parents.iter().filter(|p| place.contains_key(p)).count()).collect();
        let mut below: Vec<Vec<usize>> = vec![Vec::new(); tables.len()];
        for (i, table) in tables.iter().enumerate() {
            table.parents.iter().filter_map(|p| place.get(p)).for_each(|&p| below[p].push(i));
        }
        let mut order: Vec<usize> = (0..tables.len()).filter(|&i| above[i] == 0).collect();
        let mut next = 0;
        while next < order.len() {
            for &child in &below[order[next]] {
                above[child] -= 1;
                if above[child] == 0 {
                    order.push(child);
                }
            }
            next += 1;
        }
        let mut tables: Vec<Option<Facts>> = tables.into_iter().map(Some).collect();
        let members: Vec<Facts> = order.iter().filter_map(|&i| tables[i].take()).collect();
        let place: HashMap<u32, usize> = members.iter().enumerate().map(|(i, t)| (t.oid, i)).collect();
        let parents =
            members.iter().map(|t| t.parents.iter().filter_map(|p| place.get(p).copied()).collect()).collect();
        let (keys, neighbours, readers) = (Vec::new(), Vec::new(), Readers::default());
        let mut tree = Self { members, parents, keys, neighbours, readers, history: None };
        let history = tree.roots().find_map(|root| tree.members[root].registered.as_ref()?.history.clone());
        tree.history = history;
        tree
    }

    /// Whether an index of the member is, over those above it, part of an index of a table at the top.
    pub fn is_from_top(&self, member: usize, index: &Index) -> bool {
        let holder = |oid| {
            let mut members = self.members.iter().enumerate();
            members.find_map(|(m, table)| table.indexes.iter().find(|i| i.oid == oid).map(|i| (m, i)))
        };
        let mut at = (member, index);
        while let Some(next) = at.1.parent.and_then(holder) {
            at = next;
        }
        self.is_root(at.0)
    }

    pub fn members(&self) -> &[Facts] {
        &self.members
    }

    pub fn parents(&self, member: usize) -> impl Iterator<Item = usize> {
        self.parents[member].iter().copied()
    }

    pub fn is_root(&self, member: usize) -> bool {
        self.parents[member].is_empty()
    }

    pub fn roots(&self) -> impl Iterator<Item = usize> {
        (0..self.members.len()).filter(|&i| self.is_root(i))
    }

    /// The first table, which is a root.
    pub fn root(&self) -> &Facts {
        &self.members[0]
    }

    /// The table of this oid; the first if it is none of them.
    pub fn member(&self, oid: pgrx::pg_sys::Oid) -> &Facts {
        self.place(oid.to_u32()).map_or(self.root(), |place| &self.members[place])
    }

    pub fn place(&self, oid: u32) -> Option<usize> {
        self.members.iter().position(|m| m.oid == oid)
    }

    pub fn is_alone(&self) -> bool {
        self.members.len() == 1
    }

    /// The place of a table, which may be a neighbour: those have none.
    pub fn place_of(&self, table: &Facts) -> Option<usize> {
        self.members.iter().position(|m| m.qualified == table.qualified)
    }

    /// The tables and those that their keys tie them to.
    pub fn with_neighbours(&self) -> impl Iterator<Item = u32> {
        self.members.iter().chain(&self.neighbours).map(|t| t.oid)
    }

    pub fn oids(&self) -> impl Iterator<Item = u32> {
        self.members.iter().map(|m| m.oid)
    }

    /// What was found in a root and below.
    pub fn found(&mut self, root: usize, rows: Rows) {
        self.members[root].rows = rows;
    }

    /// The members for which `wants` holds and for no table above them: what is done to those reaches the others.
    pub fn topmost(&self, wants: impl Fn(&Facts) -> bool) -> HashSet<usize> {
        let (mut topmost, mut reached) = (HashSet::new(), HashSet::new());
        for (i, member) in self.members.iter().enumerate() {
            if self.parents(i).any(|p| reached.contains(&p)) {
                reached.insert(i);
            } else if wants(member) {
                reached.insert(i);
                topmost.insert(i);
            }
        }
        topmost
    }
}
