//! Keys between invented tables: no PostgreSQL.

use super::*;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use serde_json::{Value, json};

fn table(name: &str, organization: &str, indexes: Value) -> Facts {
    serde_json::from_value(json!({
        "oid": 0, "schema": "s", "schema_quoted": "s", "table": name, "table_quoted": name, "qualified": format!("s.{name}"),
        "literal": format!("'s.{name}'"), "kind": "r", "temporary": false, "system": false, "is_child": false,
        "has_children": false, "row_security": false, "force_row_security": false, "column_name": organization,
        "column_quoted": organization, "column_literal": format!("'{organization}'"), "column": null,
        "foreign_keys": [], "indexes": indexes, "policies": [], "triggers": [], "taken_names": [], "owned": true,
        "registered": {"column_name": organization, "options": {}, "original": Original::default()}
    }))
    .unwrap()
}

fn primary_key(columns: &[String]) -> Value {
    let prefix = "CREATE UNIQUE INDEX pk ON s.p USING btree (";
    json!({"quoted": "pk", "definition": format!("{prefix}{})", columns.join(", ")), "prefix": prefix, "unique": true,
        "primary": true, "usable": true, "leads": false, "contains": false, "replica_identity": false,
        "references": [{"table": "s.c", "quoted": "k"}], "columns": columns, "immediate": true,
        "constraint": format!("PRIMARY KEY ({})", columns.join(", ")), "comment": null, "clustered": false,
        "statistics": []})
}

fn key() -> impl Strategy<Value = Key> {
    let action = || prop::sample::select(vec!['a', 'r', 'c', 'n', 'd']);
    (1..4usize, action(), action(), any::<[bool; 6]>()).prop_map(|(width, on_delete, on_update, flags)| {
        let [matched_fully, listed, deferrable, deferred, validated, nullable] = flags;
        let names = |prefix: &str| (0..width).map(|i| format!("{prefix}{i}")).collect::<Vec<_>>();
        let listed = listed && matches!(on_delete, 'n' | 'd');
        Key {
            quoted: "k".into(),
            child: "s.c".into(),
            parent: "s.p".into(),
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

/// The child's facts, with the parent beside it.
fn family(key: &Key) -> Facts {
    let mut child = table("c", "org", json!([]));
    child.neighbours.push(table("p", "whose", json!([primary_key(&key.parent_columns)])));
    child.keys.push(key.clone());
    child
}

fn plain(key: &Key) -> String {
    let of = |names: &[String]| names.join(", ");
    format!("FOREIGN KEY ({}) REFERENCES s.p ({})", of(&key.columns), of(&key.parent_columns))
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
        let facts = family(&key);
        let options = Options::default();
        let work = work(&facts, &options).unwrap();
        let swap = work.drafts.iter().find(|d| d.2.contains("DROP CONSTRAINT k, ADD")).unwrap();
        prop_assert!(swap.2.contains("REFERENCES s.p (whose, p0"));
        prop_assert!(swap.2.ends_with(" NOT VALID") && !swap.2.contains("MATCH FULL"));
        let checked = work.drafts.iter().any(|d| d.2.contains(" CHECK "));
        prop_assert_eq!(checked, key.matched_fully && key.columns.len() > 1 && !key.nullable.is_empty());
        prop_assert_eq!(work.drafts.iter().any(|d| d.2 == key.validate()), key.validated);

        let mut scoped = family(&after(&key));
        for (table, memory) in work.memories {
            let entry = if facts.is_target(table) { &mut scoped } else { &mut scoped.neighbours[0] };
            entry.registered.as_mut().unwrap().original.remember(memory);
        }
        prop_assert_eq!(verdict(&scoped, &options, &scoped.keys[0]), Verdict::AlreadyComposite);
        prop_assert!(super::work(&scoped, &options).unwrap().drafts.is_empty());
        let back = restoration(&scoped).unwrap();
        let set: Vec<&str> = key.set_columns.iter().map(String::as_str).collect();
        let columns: Vec<&str> = key.columns.iter().map(String::as_str).collect();
        let parent_columns: Vec<&str> = key.parent_columns.iter().map(String::as_str).collect();
        let original = key.definition(&columns, &parent_columns, key.matched_fully, &set);
        prop_assert!(original.starts_with(&plain(&key)));
        let later = if key.validated { "" } else { " NOT VALID" };
        let expected = format!("ALTER TABLE s.c ADD CONSTRAINT k {original}{later}");
        prop_assert!(back.after.iter().any(|(_, sql)| *sql == expected), "{:?}\n{expected}", back.after);
    }
}

#[test]
fn a_scoped_primary_key_waits_for_its_last_plain_key() {
    let scoped = Options { primary_key: options::PrimaryKey::Scoped, ..Options::default() };
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let key = key().new_tree(&mut runner).unwrap().current();
    let mut facts = family(&key);
    facts.neighbours[0].registered.as_mut().unwrap().options = scoped.clone();
    let made =
        |facts: &Facts| work(facts, &Options::default()).unwrap().drafts.iter().any(|d| d.2.contains("PRIMARY KEY"));
    assert!(made(&facts));
    facts.neighbours[0].indexes[0].references.push(KeyName { table: "s.other".into(), quoted: "o".into() });
    assert!(!made(&facts));
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
