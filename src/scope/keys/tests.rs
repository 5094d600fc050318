//! Keys between invented tables: no PostgreSQL.

use super::*;
use crate::scope::invented::{alone, table, unique};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use serde_json::{Value, json};

fn scoped(name: &str, organization: &str, indexes: Value) -> Facts {
    table(name, organization, |j| {
        j["indexes"] = indexes;
        j["registered"] = json!({"column_name": organization, "options": {}, "original": Original::default()});
    })
}

fn primary_key(columns: &[String]) -> Value {
    let (prefix, names) = ("CREATE UNIQUE INDEX pk ON public.p USING btree (", columns.join(", "));
    let mut index = unique(&format!("{prefix}{names})"), prefix, Some(&format!("PRIMARY KEY ({names})")));
    index["quoted"] = json!("pk");
    index["primary"] = json!(true);
    index["references"] = json!([{"table": "public.c", "quoted": "k"}]);
    index["columns"] = json!(columns);
    index["immediate"] = json!(true);
    index
}

fn key() -> impl Strategy<Value = Key> {
    let action = || prop::sample::select(vec!['a', 'r', 'c', 'n', 'd']);
    (1..4usize, action(), action(), any::<[bool; 6]>()).prop_map(|(width, on_delete, on_update, flags)| {
        let [matched_fully, listed, deferrable, deferred, validated, nullable] = flags;
        let names = |prefix: &str| (0..width).map(|i| format!("{prefix}{i}")).collect::<Vec<_>>();
        let listed = listed && matches!(on_delete, 'n' | 'd');
        Key {
            quoted: "k".into(),
            child: "public.c".into(),
            parent: "public.p".into(),
            child_oid: 1,
            parent_oid: 2,
            columns: names("c"),
            parent_columns: names("p"),
            equal: names("p.p = c.c"),
            nullable: if nullable { names("c") } else { Vec::new() },
            composite: false,
            matched_fully,
            on_delete,
            on_update,
            set_columns: if listed { vec!["c0".into()] } else { Vec::new() },
            deferrable,
            deferred,
            validated,
            enforced: true,
            temporal: false,
            comment: None,
        }
    })
}

/// The child by itself, with the parent beside it.
fn family(key: &Key) -> Tree {
    let mut child = alone(scoped("c", "org", json!([])));
    child.neighbours.push(scoped("p", "whose", json!([primary_key(&key.parent_columns)])));
    child.keys.push(key.clone());
    child
}

fn plain(key: &Key) -> String {
    let of = |names: &[String]| names.join(", ");
    format!("FOREIGN KEY ({}) REFERENCES public.p ({})", of(&key.columns), of(&key.parent_columns))
}

/// What the catalogs would say after the steps.
fn after(key: &Key) -> Key {
    let mut composite = key.clone();
    composite.columns.insert(0, "org".into());
    composite.parent_columns.insert(0, "whose".into());
    composite.composite = true;
    composite.matched_fully = false;
    if composite.set_columns.is_empty() && matches!(key.on_delete, 'n' | 'd') {
        composite.set_columns = key.columns.clone();
    }
    composite
}

proptest! {
    /// There, and then back: the statement that makes the key again is the one that would have made it before.
    #[test]
    fn the_way_back_ends_where_it_began(key in key()) {
        let tree = family(&key);
        let options = Options::default();
        let work = work(&tree, &options).unwrap();
        let swap = work.drafts.iter().find(|d| d.2.contains("DROP CONSTRAINT k, ADD")).unwrap();
        prop_assert!(swap.2.contains("REFERENCES public.p (whose, p0"));
        prop_assert!(swap.2.ends_with(" NOT VALID") && !swap.2.contains("MATCH FULL"));
        let checked = work.drafts.iter().any(|d| d.2.contains(" CHECK "));
        prop_assert_eq!(checked, key.matched_fully && key.columns.len() > 1 && !key.nullable.is_empty());
        prop_assert_eq!(work.drafts.iter().any(|d| d.2 == key.validate()), key.validated);

        let before = family(&after(&key));
        let (mut child, mut parent) = (before.root().clone(), before.neighbours[0].clone());
        for (table, memory) in work.memories {
            let entry = if tree.place_of(table).is_some() { &mut child } else { &mut parent };
            entry.registered.as_mut().unwrap().original.remember(memory);
        }
        let mut scoped = alone(child);
        (scoped.keys, scoped.neighbours) = (before.keys.clone(), vec![parent]);
        prop_assert_eq!(verdict(&scoped, &options, &scoped.keys[0]), Verdict::AlreadyComposite);
        prop_assert!(super::work(&scoped, &options).unwrap().drafts.is_empty());
        let back = restoration(&scoped).unwrap();
        let set: Vec<&str> = key.set_columns.iter().map(String::as_str).collect();
        let columns: Vec<&str> = key.columns.iter().map(String::as_str).collect();
        let parent_columns: Vec<&str> = key.parent_columns.iter().map(String::as_str).collect();
        let original = key.definition(&columns, &parent_columns, key.matched_fully, &set);
        prop_assert!(original.starts_with(&plain(&key)));
        let later = if key.validated { "" } else { " NOT VALID" };
        let expected = format!("ALTER TABLE public.c ADD CONSTRAINT k {original}{later}");
        prop_assert!(back.after.iter().any(|(_, sql)| *sql == expected), "{:?}\n{expected}", back.after);
    }
}

#[test]
fn a_scoped_primary_key_waits_for_its_last_plain_key() {
    let scoped = Options { primary_key: options::PrimaryKey::Scoped, ..Options::default() };
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let key = key().new_tree(&mut runner).unwrap().current();
    let mut tree = family(&key);
    tree.neighbours[0].registered.as_mut().unwrap().options = scoped.clone();
    let made =
        |tree: &Tree| work(tree, &Options::default()).unwrap().drafts.iter().any(|d| d.2.contains("PRIMARY KEY"));
    assert!(made(&tree));
    tree.neighbours[0].indexes[0].references.push(KeyName { table: "public.other".into(), quoted: "o".into() });
    assert!(!made(&tree));
}

#[test]
fn keys_that_stay_have_a_reason() {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let key = key().new_tree(&mut runner).unwrap().current();
    let kept = |change: fn(&mut Key)| {
        let mut key = key.clone();
        change(&mut key);
        matches!(verdict(&family(&key), &Options::default(), &key), Verdict::Kept(_))
    };
    assert!(!kept(|_| ()));
    assert!(kept(|k| k.enforced = false));
    assert!(kept(|k| k.temporal = true));
    assert!(kept(|k| k.columns[0] = "org".into()));
    assert!(kept(|k| k.parent_columns[0] = "whose".into()));
    let report = Options { foreign_keys: options::ForeignKeys::Report, ..Options::default() };
    assert!(matches!(verdict(&family(&key), &report, &key), Verdict::Kept(_)));
    let mut foreign = family(&key);
    foreign.neighbours[0].owned = false;
    assert_eq!(work(&foreign, &Options::default()).unwrap_err().report().sqlstate, "OS005");
}
