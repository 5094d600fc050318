//! From plain keys to composite ones.

use super::{KIND, Key, Memory, OriginalKey, converting, options_of};
use crate::error::Error;
use crate::scope::facts::{Facts, Index};
use crate::scope::options::{self, Options};
use crate::scope::plan::{EXCLUSIVE, SHARE, SHARE_ROW_EXCLUSIVE, free_name, scoped_definition};
use crate::scope::refuse::conflict;
use crate::scope::tree::Tree;
use crate::scope::undo::{Replaced, columns};

/// Kind, lock, statement, reason.
pub type Draft = (&'static str, &'static str, String, &'static str);

/// What is to be done about the keys, and what the registry must know of it, by table.
#[derive(Debug, Default)]
pub struct Work<'a> {
    pub drafts: Vec<Draft>,
    pub memories: Vec<(&'a Facts, Memory)>,
    taken: Vec<(&'a str, String)>,
    /// Tables and columns that a unique index is on its way for.
    promised: Vec<(&'a str, Vec<&'a str>)>,
}

const SWAP: &str = "a row refers to a row of its own organization only, and a cascade stays in it";

const RELEASED: &str = "unique per organization: no key refers to the old index any more";

pub fn work<'a>(tree: &'a Tree, options: &'a Options) -> Result<Work<'a>, Error> {
    let keys = converting(tree, options);
    owned(tree, &keys)?;
    let mut work = Work::default();
    let indexes = indexes(tree, options, &keys);
    // A partitioned table cannot make a constraint of an index; its keys get an index of their own.
    let beside = |parent: &Facts| parent.kind != 'p';
    let replacements: Vec<_> =
        indexes.iter().map(|(parent, index)| beside(parent).then(|| work.replacement(parent, index))).collect();
    for key in &keys {
        work.unique(tree, key);
    }
    for key in &keys {
        work.swap(tree, key);
    }
    for ((parent, index), replacement) in indexes.iter().zip(&replacements) {
        match replacement {
            Some(name) => work.put_in_place(parent, index, name),
            None => work.define_again(parent, index),
        }
        for sql in parent.attachments(index, 1) {
            work.add(KIND, EXCLUSIVE, sql, "it goes with the index, which was made anew");
        }
        work.memories.push((parent, Memory::Replaced(Replaced::of(index))));
    }
    Ok(work)
}

/// Tables that change with this one belong to somebody: PostgreSQL would refuse half-way, with less to go by.
fn owned(tree: &Tree, keys: &[&Key]) -> Result<(), Error> {
    for key in keys {
        let (child, parent) = tree.ends(key);
        if let Some(other) = [child, parent].into_iter().find(|t| !t.owned) {
            return Err(conflict(
                tree.root(),
                &format!(
                    "Its foreign key {} between {} and {} has to change, and you are not the owner of table \"{}\".",
                    key.quoted, key.child, key.parent, other.table
                ),
                "Call the function as a superuser or as a member of both owners, or keep the key with the option {\"foreign_keys\": \"report\"}.".into(),
            ));
        }
    }
    Ok(())
}

/// Primary keys and unique indexes that no key needs any more in their old form, and that may be scoped.
pub fn indexes<'a>(tree: &'a Tree, options: &'a Options, keys: &[&Key]) -> Vec<(&'a Facts, &'a Index)> {
    let mut parents: Vec<&Facts> = Vec::new();
    for key in keys {
        let parent = tree.end(&key.parent);
        if !parents.iter().any(|p| p.qualified == parent.qualified) {
            parents.push(parent);
        }
    }
    let released = |i: &Index| !i.references.is_empty() && i.references.iter().all(|r| keys.iter().any(|k| k.is(r)));
    let all = parents.into_iter().flat_map(|p| p.indexes.iter().map(move |i| (p, i)));
    all.filter(|(parent, index)| {
        let wanted = options_of(tree, options, parent).is_some_and(|o| o.scopes(index));
        let possible = parent.kind != 'p' || index.constraint.is_some();
        wanted
            && possible
            && released(index)
            && index.unique
            && !index.exclusion
            && !index.contains
            && !index.replica_identity
            && index.parent.is_none()
    })
    .collect()
}

impl Options {
    /// Whether these options ask for the index to become unique per organization.
    pub fn scopes(&self, index: &Index) -> bool {
        if index.primary {
            self.primary_key == options::PrimaryKey::Scoped && !index.surrogate
        } else {
            self.unique == options::Unique::Auto
        }
    }
}

impl<'a> Work<'a> {
    fn add(&mut self, kind: &'static str, lock: &'static str, sql: String, reason: &'static str) {
        self.drafts.push((kind, lock, sql, reason));
    }

    fn name(&mut self, table: &'a Facts, columns: &[&str], label: &str) -> String {
        let mut taken = table.taken_names.clone();
        taken.extend(self.taken.iter().filter(|(t, _)| *t == table.qualified).map(|(_, name)| name.clone()));
        let columns: Vec<_> = columns.iter().map(|c| c.trim_matches('"').replace("\"\"", "\"")).collect();
        let column = format!("{}_{}", table.column_name, columns.join("_"));
        let (name, quoted) = free_name(&table.table, &column, label, &taken);
        self.taken.push((&table.qualified, name));
        quoted
    }

    /// The new index beside the old one, which the old keys still need.
    fn replacement(&mut self, parent: &'a Facts, index: &'a Index) -> String {
        let names: Vec<&str> = index.columns.iter().map(String::as_str).collect();
        let name = self.name(parent, &names, "key");
        let column = &parent.column_quoted;
        let sql =
            format!("CREATE UNIQUE INDEX {name} ON {} USING btree ({column}, {}", parent.qualified, columns(index));
        self.add(KIND, SHARE, sql, "composite keys will refer to it; it takes the place of the old index");
        self.promise(parent, names);
        name
    }

    fn promise(&mut self, parent: &'a Facts, mut columns: Vec<&'a str>) {
        columns.sort_unstable();
        self.promised.push((&parent.qualified, columns));
    }

    /// The unique constraint that the composite key refers to, where there is none.
    fn unique(&mut self, tree: &'a Tree, key: &'a Key) {
        let parent = tree.end(&key.parent);
        let columns: Vec<&str> = key.parent_columns.iter().map(String::as_str).collect();
        let mut sorted = columns.clone();
        sorted.sort_unstable();
        let with_organization: Vec<&str> = [&[parent.column_quoted.as_str()], &columns[..]].concat();
        let promised = self.promised.iter().any(|(table, have)| *table == parent.qualified && *have == sorted);
        if promised || parent.index_for_key(&with_organization).is_some() {
            return;
        }
        let name = self.name(parent, &columns, "key");
        let sql =
            format!("ALTER TABLE {} ADD CONSTRAINT {name} UNIQUE ({})", parent.qualified, with_organization.join(", "));
        self.add(KIND, EXCLUSIVE, sql, "the composite key refers to it");
        self.memories.push((parent, Memory::Unique(name)));
        self.promise(parent, columns);
    }

    fn swap(&mut self, tree: &'a Tree, key: &'a Key) {
        let (child, parent) = tree.ends(key);
        let check = self.check(child, key);
        let plain: Vec<&str> = key.columns.iter().map(String::as_str).collect();
        let sets = matches!(key.on_delete, 'n' | 'd');
        let set: Vec<&str> = match (sets, key.set_columns.is_empty()) {
            (true, true) => plain.clone(),
            _ => key.set_columns.iter().map(String::as_str).collect(),
        };
        let parent_plain: Vec<&str> = key.parent_columns.iter().map(String::as_str).collect();
        let columns = [&[child.column_quoted.as_str()], &plain[..]].concat();
        let parent_columns = [&[parent.column_quoted.as_str()], &parent_plain[..]].concat();
        let definition = key.definition(&columns, &parent_columns, false, &set);
        self.add(KIND, EXCLUSIVE, key.replace(child, &definition), SWAP);
        if key.validated && child.kind != 'p' {
            self.add(KIND, SHARE_ROW_EXCLUSIVE, key.validate(), "no row refers to another organization's already");
        }
        if let Some(comment) = key.comment_again() {
            self.add(KIND, SHARE_ROW_EXCLUSIVE, comment, "it goes with the key, which was made anew");
        }
        let listed = !key.set_columns.is_empty();
        let original = OriginalKey { quoted: key.quoted.clone(), listed, matched_fully: key.matched_fully, check };
        self.memories.push((child, Memory::Key(original)));
    }

    /// MATCH FULL over the organization, which is never NULL, would allow no NULL at all. Of one column it says no more
    /// than MATCH SIMPLE; of several it also says that all are NULL or none, which a CHECK can say as well.
    fn check(&mut self, child: &'a Facts, key: &'a Key) -> Option<String> {
        if !key.matched_fully || key.columns.len() < 2 || key.nullable.is_empty() {
            return None;
        }
        let columns: Vec<&str> = key.columns.iter().map(String::as_str).collect();
        let name = self.name(child, &columns, "check");
        let later = if key.validated { "" } else { " NOT VALID" };
        let sql = format!(
            "ALTER TABLE {} ADD CONSTRAINT {name} CHECK (num_nulls({list}) = ANY (ARRAY[0, {}])){later}",
            child.qualified,
            columns.len(),
            list = columns.join(", ")
        );
        self.add(
            KIND,
            EXCLUSIVE,
            sql,
            "what MATCH FULL says of NULLs: the composite key has an organization even then",
        );
        Some(name)
    }

    /// The old index goes, and the new one takes its name and its place.
    fn put_in_place(&mut self, parent: &'a Facts, index: &'a Index, replacement: &str) {
        let (table, schema, name) = (&parent.qualified, &parent.schema_quoted, &index.quoted);
        let drop = match index.constraint {
            Some(_) => format!("ALTER TABLE {table} DROP CONSTRAINT {name}"),
            None => format!("DROP INDEX {schema}.{name}"),
        };
        self.add(KIND, EXCLUSIVE, drop, "replaced by the next step");
        let rename = format!("ALTER INDEX {schema}.{replacement} RENAME TO {name}");
        self.add(KIND, EXCLUSIVE, rename, RELEASED);
        if index.constraint.is_some() {
            let kind = if index.primary { "PRIMARY KEY" } else { "UNIQUE" };
            let constraint = format!("ALTER TABLE {table} ADD CONSTRAINT {name} {kind} USING INDEX {name}");
            self.add(KIND, EXCLUSIVE, constraint, RELEASED);
        }
    }

    fn define_again(&mut self, parent: &Facts, index: &Index) {
        let Some(definition) = scoped_definition(index, &parent.column_quoted) else { return };
        let (table, name) = (&parent.qualified, &index.quoted);
        let sql = format!("ALTER TABLE {table} DROP CONSTRAINT {name}, ADD CONSTRAINT {name} {definition}");
        self.add(KIND, EXCLUSIVE, sql, RELEASED);
    }
}
