//! Proposals on invented schemas: no PostgreSQL.

use super::overrides::{Override, Overrides};
use super::propose::*;
use proptest::prelude::*;

fn table(oid: u32, has_column: bool, keys: &[(u32, bool)]) -> Table {
    let foreign_keys = keys.iter().enumerate().map(|(n, &(parent, not_null))| ForeignKey {
        name: format!("t{oid}_fk{n}"),
        columns: vec![format!("c{n}")],
        parent,
        parent_columns: vec!["id".into()],
        not_null,
    });
    Table {
        oid,
        table: format!("t{oid}"),
        qualified: format!("s.t{oid}"),
        rows: -1,
        has_column,
        column: "org".into(),
        column_quoted: "org".into(),
        registered: false,
        exempt: false,
        foreign_keys: foreign_keys.collect(),
    }
}

fn schema(tables: Vec<Table>) -> Schema {
    Schema { schema: "s".into(), tables, outside: vec![] }
}

fn proposals(tables: Vec<Table>, overrides: &[(&str, Override)]) -> Vec<(String, Proposal)> {
    let overrides = Overrides(overrides.iter().map(|(name, o)| ((*name).to_owned(), o.clone())).collect());
    propose(&schema(tables), &overrides).into_iter().map(|(t, p)| (t.table.clone(), p)).collect()
}

fn names(found: &[(String, Proposal)]) -> Vec<String> {
    found.iter().map(|(table, proposal)| format!("{table} {}", proposal.name())).collect()
}

#[test]
fn children_follow_their_parents() {
    let tables =
        vec![table(3, false, &[(2, true)]), table(2, false, &[(1, true)]), table(1, true, &[]), table(4, false, &[])];
    let found = proposals(tables, &[]);
    assert_eq!(names(&found), ["t1 scope", "t2 scope by parent", "t3 scope by parent", "t4 share"]);
    assert_eq!(
        found[2].1,
        Proposal::ByParent {
            path: "(c0) to s.t2".into(),
            backfill: "(SELECT orgscope_parent.org FROM s.t2 orgscope_parent WHERE orgscope_parent.id = s.t3.c0)"
                .into()
        }
    );
}

#[test]
fn a_key_that_is_never_null_is_better_than_a_shorter_one() {
    // t3 reaches t1 directly through a nullable key, or through t2.
    let tables = || vec![table(1, true, &[]), table(2, false, &[(1, true)]), table(3, false, &[(1, false), (2, true)])];
    let found = proposals(tables(), &[]);
    assert!(matches!(&found[2].1, Proposal::ByParent { path, .. } if path == "(c1) to s.t2"), "{found:?}");
    let found = proposals(tables(), &[("t3", Override::By("c0".into()))]);
    assert!(matches!(&found[2].1, Proposal::ByParent { path, .. } if path == "(c0) to s.t1"), "{found:?}");
}

/// Scoped, a key has the organization in it; the override that chose it still does.
#[test]
fn an_override_still_names_a_key_that_became_composite() {
    let mut child = table(3, true, &[(1, true), (2, true)]);
    child.foreign_keys[1].columns.insert(0, "org".into());
    child.foreign_keys[1].parent_columns.insert(0, "org".into());
    let found = proposals(vec![table(1, true, &[]), table(2, true, &[]), child], &[("t3", Override::By("c1".into()))]);
    let Proposal::ByParent { backfill, .. } = &found[2].1 else { panic!("{found:?}") };
    assert!(backfill.ends_with("WHERE orgscope_parent.id = s.t3.c1)"), "{backfill}");
}

#[test]
fn equally_good_ways_are_a_question() {
    let tables = || vec![table(1, true, &[]), table(2, true, &[]), table(3, false, &[(1, true), (2, true)])];
    let found = proposals(tables(), &[]);
    let Proposal::Ask { why, overrides, .. } = &found[2].1 else { panic!("{found:?}") };
    assert_eq!(why, "its organization is to be had in 2 equally short ways: (c0) to s.t1, (c1) to s.t2");
    assert_eq!(overrides, &["{\"by\": \"t3_fk0\"}", "{\"by\": \"t3_fk1\"}"]);
    let found = proposals(tables(), &[("s.t3", Override::By("t3_fk1".into()))]);
    assert_eq!(names(&found)[2], "t3 scope by parent");
    assert!(matches!(&proposals(tables(), &[("t3", Override::By("nothing".into()))])[2].1, Proposal::Ask { .. }));
}

#[test]
fn keys_that_lead_nowhere_are_a_question() {
    let tables = vec![table(1, true, &[]), table(2, false, &[(3, true)]), table(3, false, &[])];
    assert_eq!(names(&proposals(tables, &[])), ["t1 scope", "t2 ask", "t3 share"]);
}

#[test]
fn only_the_first_of_a_chain_is_asked() {
    // 5 -> 4 -> 3 -> 2, which has no keys; 6 and 7 lead to each other and to 2.
    let chain = [(3, 2), (4, 3), (5, 4)].map(|(oid, parent)| table(oid, false, &[(parent, true)]));
    let cycle = [(6, 7), (7, 6)].map(|(oid, other)| table(oid, false, &[(2, true), (other, false)]));
    let tables = || [table(2, false, &[])].into_iter().chain(chain.clone()).chain(cycle.clone()).collect();
    let found = proposals(tables(), &[]);
    let asked = |found: &[(String, Proposal)]| -> Vec<String> {
        found.iter().filter(|(_, p)| matches!(p, Proposal::Ask { .. })).map(|(table, _)| table.clone()).collect()
    };
    assert_eq!(asked(&found), ["t3", "t6", "t7"]);
    assert_eq!(found[3].1, Proposal::Wait { why: "(c0) leads to s.t4, which has to be decided first".into() });
    let found = proposals(tables(), &[("t3", Override::Share)]);
    assert_eq!(asked(&found), ["t4", "t6", "t7"]);
    let found = proposals(tables(), &[("t3", Override::Scope), ("t6", Override::Scope)]);
    assert_eq!(asked(&found), Vec::<String>::new());
}

#[test]
fn a_key_declared_twice_is_one_way() {
    let mut twice = table(2, false, &[(1, true), (1, true)]);
    twice.foreign_keys[1].columns = twice.foreign_keys[0].columns.clone();
    assert_eq!(names(&proposals(vec![table(1, true, &[]), twice], &[])), ["t1 scope", "t2 scope by parent"]);
}

#[test]
fn patterns_speak_for_many_tables() {
    let tables = || vec![table(1, false, &[]), table(11, false, &[]), table(12, false, &[]), table(2, false, &[])];
    let said = [
        ("*", Override::Skip),
        ("t1*", Override::Scope),
        ("s.*2", Override::Share),
        ("t11", Override::Backfill("x".into())),
    ];
    let found = proposals(tables(), &said);
    assert_eq!(names(&found), ["t1 scope", "t11 scope", "t12 share", "t2 share"]);
    assert_eq!(found[1].1, Proposal::Scope { backfill: Some("x".into()) });
    let overrides = Overrides([("t1*2".to_owned(), Override::Skip), ("t3*".to_owned(), Override::Skip)].into());
    assert_eq!(overrides.unknown(&tables()), ["t3*"]);
}

#[test]
fn a_pattern_matches_whole_names() {
    let table = Table { table: "artist_tag_raw".into(), ..table(1, false, &[]) };
    let known = |pattern: &str| Overrides([(pattern.to_owned(), Override::Skip)].into()).of(&table).is_some();
    for pattern in ["artist_tag_raw", "*", "**", "artist*", "*raw", "a*_*_raw", "*tag*", "*_tag_raw*", "s.t*1"] {
        assert!(known(pattern), "{pattern}");
    }
    for pattern in ["", "artist", "*tag", "tag*", "artist_tag_raw*w", "*raw*tag*", "s.artist*"] {
        assert!(!known(pattern), "{pattern}");
    }
}

#[test]
fn overrides_are_read_from_json() {
    let overrides: Overrides =
        serde_json::from_str(r#"{"a": "share", "b": {"by": "k"}, "c": {"backfill": "x"}, "d": "skip", "e": "scope"}"#)
            .unwrap();
    assert_eq!(overrides.0["b"], Override::By("k".into()));
    assert_eq!(overrides.unknown(&[]).len(), 5);
    for bad in [r#"{"a": "exempt"}"#, r#"{"a": {"bye": "k"}}"#, r#"{"a": 1}"#, "[]"] {
        assert!(serde_json::from_str::<Overrides>(bad).is_err(), "{bad}");
    }
}

proptest! {
    /// Whatever the keys, cycles included: every table gets one proposal, and a parent comes before its children.
    #[test]
    fn any_schema_has_an_order(
        edges in prop::collection::vec(prop::collection::vec((0u32..12, any::<bool>()), 0..4), 12),
        roots in prop::collection::vec(any::<bool>(), 12),
    ) {
        let tables: Vec<_> = (0u32..12).zip(edges.iter().zip(&roots)).map(|(oid, (keys, &root))| {
            let keys: Vec<_> = keys.iter().copied().filter(|(parent, _)| *parent != oid).collect();
            table(oid, root, &keys)
        }).collect();
        let schema = schema(tables);
        let found = propose(&schema, &Overrides::default());
        prop_assert_eq!(found.len(), 12);
        let position = |oid: u32| found.iter().position(|(t, _)| t.oid == oid).unwrap();
        for (place, (table, proposal)) in found.iter().enumerate() {
            if let Proposal::ByParent { path, .. } = proposal {
                let key = table.foreign_keys.iter().find(|k| path.starts_with(&format!("({})", k.columns[0]))).unwrap();
                prop_assert!(position(key.parent) < place);
            }
        }
    }
}
