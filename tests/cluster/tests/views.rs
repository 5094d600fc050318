//! What reads a scoped table with other rights than those of who asks: reported by the plan, changed where asked for.

mod common;

use common::*;

const ITEMS: &str = "
    CREATE TABLE item (id int PRIMARY KEY, organization_id uuid);
    GRANT SELECT, INSERT, UPDATE, DELETE ON item TO app, dba;
    INSERT INTO item VALUES (1, 'aaaaaaaa-0000-7000-8000-000000000001'), (2, 'bbbbbbbb-0000-7000-8000-000000000002');
    CREATE VIEW honest AS SELECT id FROM item;
    GRANT SELECT ON honest TO app";

/// Only `wide` reads everything for everybody: the view that names the table decides, whatever stands before it.
const SUPERUSERS: &str = "
    CREATE VIEW wide AS SELECT id FROM item;
    CREATE VIEW asking WITH (security_invoker) AS SELECT id FROM item;
    CREATE VIEW off WITH (security_invoker = off) AS SELECT id FROM item;
    CREATE VIEW chain AS SELECT id FROM asking;
    CREATE VIEW behind AS SELECT id FROM honest;
    GRANT SELECT ON wide, off, asking, chain, behind TO app";

fn world(database: &str) -> World {
    let world = World::without_tables(database);
    run(&mut world.owner(), ITEMS);
    world
}

fn enable(options: &str) -> String {
    format!("SELECT orgscope.enable_org_scoping('item', options => '{options}')")
}

fn notes(client: &mut postgres::Client, options: &str) -> Vec<String> {
    let plan = "SELECT reason FROM orgscope.plan_org_scoping('item', options => $o$";
    rows(client, &format!("{plan}{options}$o$) WHERE kind = 'note' AND sql IS NULL AND lock IS NULL ORDER BY step"))
}

fn visible(world: &World) -> Vec<String> {
    ["honest", "wide", "off", "asking", "chain", "behind"]
        .map(|view| rows_under(&mut world.app(), A, &format!("SELECT '{view} ' || count(*) FROM {view}")).remove(0))
        .to_vec()
}

/// The notes name the views that read around row security, and no other: what the application sees through them says so.
#[test]
fn the_plan_names_what_reads_around() {
    let world = world("views_notes");
    let mut superuser = world.superuser();
    run(&mut superuser, SUPERUSERS);
    run(
        &mut superuser,
        "
        CREATE FUNCTION parsed() RETURNS bigint SECURITY DEFINER BEGIN ATOMIC SELECT count(*) FROM item; END;
        CREATE FUNCTION through() RETURNS bigint SECURITY DEFINER BEGIN ATOMIC SELECT count(*) FROM chain; END;
        CREATE FUNCTION asks() RETURNS bigint BEGIN ATOMIC SELECT count(*) FROM item; END;
        CREATE FUNCTION opaque() RETURNS bigint LANGUAGE sql SECURITY DEFINER AS 'SELECT count(*) FROM item';
        CREATE TABLE log (n bigint);
        CREATE RULE counted AS ON INSERT TO log DO ALSO SELECT count(*) FROM item",
    );
    let notes = notes(&mut world.owner(), "{}");
    let about: Vec<_> =
        notes.iter().map(|n| n.split(" reads ").next().unwrap().split(" have bodies").next().unwrap()).collect();
    assert_eq!(
        about,
        [
            "function public.parsed()",
            "function public.through()",
            "a rule of table public.log",
            "view public.off",
            "view public.wide",
            "1 SECURITY DEFINER function(s) of roles that bypass row security"
        ]
    );
    let kinds = rows(&mut world.owner(), "SELECT DISTINCT kind FROM orgscope.enable_org_scoping('item')");
    assert!(!kinds.contains(&"note".into()), "only a plan has notes: {kinds:?}");
    assert_eq!(rows_under(&mut world.app(), A, "SELECT parsed(), through(), asks()"), ["2|2|1"]);
    assert_eq!(visible(&world), ["honest 1", "wide 2", "off 2", "asking 1", "chain 1", "behind 1"]);
}

#[test]
fn views_become_invokers_and_come_back() {
    let world = world("views_invoker");
    let mut superuser = world.superuser();
    run(&mut superuser, SUPERUSERS);
    let before = dump(&world);
    // The table's owner may not alter them: they are told instead.
    let options = "{\"views\": \"invoker\"}";
    assert_eq!(notes(&mut world.owner(), options).len(), 2);
    assert_eq!(notes(&mut superuser, options).len(), 0);
    let steps = "SELECT sql FROM orgscope.enable_org_scoping('item', options => '{\"views\": \"invoker\"}') WHERE kind = 'view'";
    assert_eq!(
        rows(&mut superuser, steps),
        ["ALTER VIEW public.off SET (security_invoker = true)", "ALTER VIEW public.wide SET (security_invoker = true)"]
    );
    assert_eq!(visible(&world), ["honest 1", "wide 1", "off 1", "asking 1", "chain 1", "behind 1"]);
    assert_eq!(rows(&mut superuser, &enable(options).replace("SELECT ", "SELECT sql FROM ")), [""; 0]);
    run(&mut superuser, "SELECT orgscope.disable_org_scoping('item')");
    assert_same(&before, &dump(&world), "disable");
}

/// A materialized view is a copy of every organization's rows.
#[test]
fn materialized_views_are_accepted_only_by_name() {
    let world = world("views_materialized");
    let mut owner = world.owner();
    run(&mut owner, "CREATE MATERIALIZED VIEW totals AS SELECT count(*) FROM honest; GRANT SELECT ON totals TO app");
    let error = refused(&mut owner, "OS005", &enable("{}"));
    assert!(error.detail().unwrap().contains("public.totals"), "{error:?}");
    assert!(error.hint().unwrap().contains("allow_matviews"), "{error:?}");
    refused(&mut owner, "OS005", "SELECT * FROM orgscope.plan_org_scoping('item')");
    // Observing hides nothing; enforcing then asks.
    run(&mut owner, &enable("{\"mode\": \"observe\"}"));
    refused(&mut owner, "OS005", &enable("{}"));
    assert_eq!(notes(&mut owner, "{\"allow_matviews\": true}").len(), 1);
    run(&mut owner, &enable("{\"allow_matviews\": true}"));
    run(&mut owner, "DROP MATERIALIZED VIEW totals; SELECT orgscope.disable_org_scoping('item')");
    // One that comes later keeps nobody from repairing the table.
    run(&mut owner, &enable("{}"));
    run(&mut owner, "CREATE MATERIALIZED VIEW totals AS SELECT 1 FROM honest WITH NO DATA");
    run(&mut owner, "DROP TRIGGER orgscope_truncate ON item; SELECT orgscope.repair_org_scoping('item')");
    assert_eq!(one(&mut owner, "SELECT protected FROM orgscope.scoped_tables"), "t");
}
