//! From composite keys back to the plain ones they were.

use super::{KIND, Key, Memory, OriginalKey, same};
use crate::error::Error;
use crate::scope::facts::{Facts, Index};
use crate::scope::tree::Tree;
use crate::scope::undo::{Original, Replaced, restore};
use std::collections::HashSet;

/// The keys of a table that is taken out of scoping, in the parts that the way back consists of.
#[derive(Debug, Default)]
pub struct Restoration<'a> {
    /// Before the unique indexes of the table itself are restored, and after it.
    pub before: Vec<(&'static str, String)>,
    pub after: Vec<(&'static str, String)>,
    /// What other tables' registry entries need not know any more.
    pub forgotten: Vec<(&'a Facts, Memory)>,
}

pub type Restored<'a> = Vec<(&'a Key, &'a OriginalKey)>;

/// Keys that scoping has made composite, with what they were.
pub fn restored(tree: &Tree) -> Restored<'_> {
    let original = |key: &Key| {
        let child = tree.end(&key.child);
        original_of(child).filter(|_| key.composite)?.keys.iter().find(|k| k.quoted == key.quoted)
    };
    tree.keys.iter().filter_map(|key| Some((key, original(key)?))).collect()
}

fn original_of(table: &Facts) -> Option<&Original> {
    table.registered.as_ref().map(|r| &r.original)
}

pub fn restoration(tree: &Tree) -> Result<Restoration<'_>, Error> {
    let keys = restored(tree);
    let mut work = Restoration::default();
    for (key, original) in &keys {
        owned(tree, key)?;
        work.drop_key(tree, key, original);
    }
    for parent in parents(tree, &keys) {
        if !tree.has(parent) {
            work.restore_indexes(tree, parent, &keys)?;
        }
        work.drop_uniques(tree, parent, &keys);
    }
    for (key, original) in &keys {
        work.add_plain(tree, key, original);
    }
    Ok(work)
}

/// The tables that the keys refer to, and those of the tree.
fn parents<'a>(tree: &'a Tree, keys: &Restored<'a>) -> Vec<&'a Facts> {
    let mut parents: Vec<&Facts> = tree.members().iter().collect();
    for (key, _) in keys {
        let parent = tree.end(&key.parent);
        if !parents.iter().any(|p| p.qualified == parent.qualified) {
            parents.push(parent);
        }
    }
    parents
}

fn owned(tree: &Tree, key: &Key) -> Result<(), Error> {
    let (child, parent) = tree.ends(key);
    let Some(other) = [child, parent].into_iter().find(|t| !t.owned) else { return Ok(()) };
    Err(refuse(
        tree,
        &format!(
            "Its foreign key {} between {} and {} has to change, and you are not the owner of table \"{}\".",
            key.quoted, key.child, key.parent, other.table
        ),
        "Call the function as a superuser or as a member of both owners.".into(),
    ))
}

fn refuse(tree: &Tree, detail: &str, hint: String) -> Error {
    Error::Conflict {
        table: Some(tree.root().table_name()),
        message: format!("cannot take table \"{}\" out of scoping", tree.root().table),
        detail: detail.into(),
        hint,
    }
}

/// The columns of the key without the organization, referencing and referenced.
fn plain_columns<'a>(tree: &Tree, key: &'a Key) -> (Vec<&'a str>, Vec<&'a str>) {
    let (child, parent) = tree.ends(key);
    let plain = key.pairs().filter(|pair| !Key::is_organization(child, parent, *pair));
    plain.map(|(c, p)| (c.as_str(), p.as_str())).unzip()
}

impl<'a> Restoration<'a> {
    fn drop_key(&mut self, tree: &'a Tree, key: &Key, original: &OriginalKey) {
        let (child, _) = tree.ends(key);
        let mut sql = format!("ALTER TABLE {} DROP CONSTRAINT {}", key.child, key.quoted);
        if let Some(check) = &original.check {
            sql += &format!(", DROP CONSTRAINT IF EXISTS {check}");
        }
        self.before.push((KIND, sql));
        if !tree.has(child) {
            self.forgotten.push((child, Memory::Key(original.clone())));
        }
    }

    /// The parent stays scoped, but plain keys need its unique index over their columns alone.
    fn restore_indexes(&mut self, tree: &'a Tree, parent: &'a Facts, keys: &Restored<'a>) -> Result<(), Error> {
        let needed = |replaced: &Replaced| {
            let index = parent.indexes.iter().find(|i| i.quoted == replaced.quoted)?;
            let serves = |key: &Key| {
                let (_, columns) = plain_columns(tree, key);
                let composite = [&[parent.column_quoted.as_str()], &columns[..]].concat();
                key.parent == parent.qualified
                    && parent.index_for_key(&columns).is_none()
                    && same(&index.columns, &composite)
            };
            keys.iter().any(|(key, _)| serves(key)).then_some(index)
        };
        let originals = original_of(parent).into_iter().flat_map(|o| &o.replaced);
        for (replaced, index) in originals.filter_map(|r| Some((r, needed(r)?))) {
            let other = index.references.iter().find(|r| !keys.iter().any(|(key, _)| key.is(r)));
            if let Some(other) = other {
                return Err(refuse(
                    tree,
                    &format!(
                        "Its foreign keys need {} of table \"{}\" as it was, and foreign key {} of {} needs it as it is.",
                        index.quoted, parent.table, other.quoted, other.table
                    ),
                    format!("Call orgscope.disable_org_scoping({}) first.", parent.literal),
                ));
            }
            self.after.extend(restore(parent, replaced, &HashSet::new()).into_iter().map(|sql| ("unique", sql)));
            self.forgotten.push((parent, Memory::Replaced(replaced.clone())));
        }
        Ok(())
    }

    /// Unique constraints that were made for composite keys, and that no key refers to any more.
    fn drop_uniques(&mut self, tree: &'a Tree, parent: &'a Facts, keys: &Restored<'a>) {
        let restored =
            |index: &Index| index.references.iter().filter(|r| keys.iter().any(|(key, _)| key.is(r))).count();
        for name in original_of(parent).into_iter().flat_map(|o| &o.key_uniques) {
            let Some(index) = parent.indexes.iter().find(|i| i.quoted == *name) else { continue };
            let target = tree.has(parent);
            if restored(index) < index.references.len() || (!target && restored(index) == 0) {
                continue;
            }
            self.after.push((KIND, format!("ALTER TABLE {} DROP CONSTRAINT {name}", parent.qualified)));
            if !target {
                self.forgotten.push((parent, Memory::Unique(name.clone())));
            }
        }
    }

    fn add_plain(&mut self, tree: &Tree, key: &Key, original: &OriginalKey) {
        let (columns, parent_columns) = plain_columns(tree, key);
        let set: Vec<&str> =
            if original.listed { key.set_columns.iter().map(String::as_str).collect() } else { Vec::new() };
        let definition = key.definition(&columns, &parent_columns, original.matched_fully, &set);
        let later = if key.validated { "" } else { " NOT VALID" };
        let (table, name) = (&key.child, &key.quoted);
        self.after.push((KIND, format!("ALTER TABLE {table} ADD CONSTRAINT {name} {definition}{later}")));
        self.after.extend(key.comment_again().map(|sql| (KIND, sql)));
    }
}
