//! Questions that answer themselves. A table whose keys lead to no organization is a question; so are its children, but
//! once it is decided they follow. In a schema of hundreds of tables only the first of each chain are worth asking.

use super::propose::{Proposal, Table};
use std::collections::{HashMap, HashSet};

/// Turns a question into waiting where a parent is a question of the same kind, and not a descendant at once: of the
/// tables of a cycle all are asked.
pub fn defer(proposals: &mut [(&Table, Proposal)]) {
    let undecided: HashMap<u32, &Table> = proposals
        .iter()
        .filter(|(_, proposal)| matches!(proposal, Proposal::Ask { leads_nowhere: true, .. }))
        .map(|(table, _)| (table.oid, *table))
        .collect();
    for (table, proposal) in proposals {
        if !undecided.contains_key(&table.oid) {
            continue;
        }
        let parents = table.foreign_keys.iter().filter_map(|key| Some((key, *undecided.get(&key.parent)?)));
        let first = parents.into_iter().find(|(_, parent)| !leads(parent, table.oid, &undecided));
        if let Some((key, parent)) = first {
            let why =
                format!("({}) leads to {}, which has to be decided first", key.columns.join(", "), parent.qualified);
            *proposal = Proposal::Wait { why };
        }
    }
}

/// Whether keys lead from the table to the other one through undecided ones.
fn leads(from: &Table, to: u32, undecided: &HashMap<u32, &Table>) -> bool {
    let mut seen = HashSet::new();
    let mut open = vec![from];
    while let Some(table) = open.pop() {
        for key in &table.foreign_keys {
            if key.parent == to {
                return true;
            }
            if let Some(parent) = undecided.get(&key.parent)
                && seen.insert(key.parent)
            {
                open.push(parent);
            }
        }
    }
    false
}
