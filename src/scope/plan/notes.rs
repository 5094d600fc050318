//! What a plan leaves as it is although organizations meet there: told by `plan_org_scoping()`, with the reason.

use super::unique::{becomes_scoped, scoped_indexes};
use crate::scope::facts::Index;
use crate::scope::keys::{self, Verdict};
use crate::scope::options::Options;
use crate::scope::tree::Tree;

pub fn notes(tree: &Tree, options: &Options) -> Vec<String> {
    let kept_keys = tree.keys.iter().filter_map(|key| match keys::verdict(tree, options, key) {
        Verdict::Kept(reason) => {
            Some(format!("foreign key {} of {} to {} is kept: {reason}", key.quoted, key.child, key.parent))
        }
        Verdict::AlreadyComposite if key.enforced && !key.validated => Some(format!(
            "foreign key {} of {} is NOT VALID: rows that were there before it may refer to another organization's",
            key.quoted, key.child
        )),
        _ => None,
    });
    let mut scoped = scoped_indexes(tree, options);
    scoped.extend(keys::taken_along(tree, options));
    // What belongs to an index of the table above goes or stays with that.
    let tops =
        tree.members().iter().flat_map(|m| &m.indexes).filter(|i| i.parent.is_none() && !scoped.contains(&i.oid));
    let kept_indexes = tops.filter_map(|i| {
        let reason = kept(options, i)?;
        Some(format!("{} {} ({}) is kept: {reason}", noun(i), i.quoted, shown(i)))
    });
    kept_keys.chain(kept_indexes).collect()
}

fn noun(index: &Index) -> &'static str {
    match index.constraint {
        _ if index.primary => "primary key",
        Some(_) if index.exclusion => "EXCLUDE constraint",
        Some(_) => "unique constraint",
        None => "unique index",
    }
}

fn shown(index: &Index) -> String {
    let column = |c: &String| if c.is_empty() { "an expression".into() } else { c.clone() };
    index.columns.iter().map(column).collect::<Vec<_>>().join(", ")
}

/// Why what is unique over all organizations stays so; None when it does not, or when nobody chooses its values.
fn kept(options: &Options, index: &Index) -> Option<String> {
    let restricts = index.unique || index.exclusion;
    if !restricts || index.contains || (index.primary && index.surrogate) {
        return None;
    }
    if !options.scopes(index) {
        return Some(if index.primary {
            "no two organizations can have the same value; {\"primary_key\": \"scoped\"} puts the organization in front"
                .into()
        } else {
            "the option {\"unique\": \"keep\"}; one organization can tell from an error what another has".into()
        });
    }
    if becomes_scoped(index) {
        return Some("what belongs to it in a partition is needed as it is".into());
    }
    if index.replica_identity {
        return Some("it is the replica identity, by which logical replication finds rows".into());
    }
    if let Some(key) = index.references.first() {
        return Some(format!("foreign key {} of {} refers to it", key.quoted, key.table));
    }
    Some("its access method takes no uuid column; CREATE EXTENSION btree_gist gives GiST what it needs".into())
}
