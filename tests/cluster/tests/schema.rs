//! A whole schema under scoping: by column, by parent, shared, asked.

mod common;

use common::*;

/// A shop: customers name their organization; orders and their lines do not. Countries are the same for all.
const SHOP: &str = "
    CREATE TABLE country (code text PRIMARY KEY, name text);
    CREATE TABLE customer (id int PRIMARY KEY, country text REFERENCES country, organization_id uuid);
    CREATE TABLE purchase (id int PRIMARY KEY, customer_id int NOT NULL REFERENCES customer, seller_id int REFERENCES customer);
    CREATE TABLE line (purchase_id int NOT NULL REFERENCES purchase, n int, note text, PRIMARY KEY (purchase_id, n));
    INSERT INTO country VALUES ('de', 'Germany');
    INSERT INTO customer VALUES (1, 'de', 'aaaaaaaa-0000-7000-8000-000000000001'), (2, 'de', 'bbbbbbbb-0000-7000-8000-000000000002');
    INSERT INTO purchase VALUES (10, 1, NULL), (20, 2, 2), (21, 2, NULL);
    INSERT INTO line VALUES (10, 1, 'a'), (20, 1, 'b'), (20, 2, 'bb');
    GRANT ALL ON ALL TABLES IN SCHEMA public TO app";

const PROPOSALS: &str = "SELECT DISTINCT ON (target::text) target, proposal, reason FROM orgscope.plan_org_scoping_schema('public') ORDER BY target::text, step";

fn enable(options: &str) -> String {
    format!("SELECT count(*) FROM orgscope.enable_org_scoping_schema('public', '{options}')")
}

#[test]
fn tables_are_scoped_along_their_keys() {
    let world = World::without_tables("shop");
    let mut owner = world.owner();
    run(&mut owner, SHOP);
    let before = dump(&world);
    let plan = "SELECT target, proposal, kind, step FROM orgscope.plan_org_scoping_schema('public')";
    let planned = rows(&mut owner, plan);
    assert!(planned[0].starts_with("customer|scope|"), "{planned:#?}");
    let by_parent =
        |name: &str| planned.iter().any(|row| row.starts_with(&format!("{name}|scope by parent|backfill|")));
    assert!(by_parent("purchase") && by_parent("line"), "{planned:#?}");
    assert!(planned.contains(&"country|share|guard|1".to_owned()), "{planned:#?}");
    assert_same(&before, &dump(&world), "a plan changes nothing");

    run(&mut owner, &enable("{}"));
    let mut app = world.app();
    let seen = "SELECT (SELECT count(*) FROM customer), (SELECT count(*) FROM purchase), (SELECT count(*) FROM line)";
    assert_eq!(rows_under(&mut app, A, seen), ["1|1|1"]);
    assert_eq!(rows_under(&mut app, B, seen), ["1|2|2"]);
    refused(&mut app, "OS001", "SELECT * FROM line");
    refused_under(&mut app, A, "OS002", &format!("INSERT INTO line VALUES (10, 2, 'x', '{B}')"));
    assert_eq!(one(&mut app, "SELECT name FROM country"), "Germany");
    refused_under(&mut app, A, "OS002", "UPDATE country SET name = 'mine'");
    assert_eq!(one(&mut owner, &enable("{}")), "0", "enabled a second time, nothing is left to do");
    // What is left to say are notes about keys that stay as they are.
    let left = "SELECT target, proposal, kind FROM orgscope.plan_org_scoping_schema('public') WHERE kind IS DISTINCT FROM 'note'";
    assert_eq!(rows(&mut owner, left), ["country|share|-"]);
    for table in ["line", "purchase", "customer", "country"] {
        run(&mut owner, &format!("SELECT orgscope.disable_org_scoping('public.{table}')"));
    }
    run(&mut owner, "ALTER TABLE line DROP organization_id; ALTER TABLE purchase DROP organization_id");
    assert_same(&before, &dump(&world), "disabled");
}

/// What the plan proposes to share, and nobody wants shared: a table that the application writes for itself.
#[test]
fn what_is_not_to_be_shared_is_skipped() {
    let world = World::without_tables("skip");
    let mut owner = world.owner();
    run(&mut owner, SHOP);
    run(
        &mut owner,
        "CREATE TABLE migration (name text); CREATE TABLE session (id int, organization_id uuid);
         GRANT ALL ON migration, session TO app; SELECT orgscope.exempt_table('public.session', 'ends with the login')",
    );
    let skip = r#"{"overrides": {"migration": "skip"}}"#;
    let plan = format!(
        "SELECT target, proposal, reason FROM orgscope.plan_org_scoping_schema('public', '{skip}') WHERE step IS NULL"
    );
    assert_eq!(
        rows(&mut owner, &plan),
        ["migration|skip|left alone, as asked", "session|skip|left alone: orgscope.exempt_table() was called for it"]
    );
    run(&mut owner, &enable(skip));
    run(&mut world.app(), "INSERT INTO migration VALUES ('0001'); INSERT INTO session VALUES (1, NULL)");
    // One that is shared already is left as it is; one that holds rows of others is not to be shared.
    assert_eq!(one(&mut owner, &enable(skip)), "0");
    run(&mut owner, "CREATE TABLE part (name text) PARTITION BY LIST (name)");
    let plan = "SELECT target, proposal, reason FROM orgscope.plan_org_scoping_schema('public') WHERE target = 'part'::regclass";
    assert_eq!(rows(&mut owner, plan), ["part|ask|cannot share table \"part\": It is not an ordinary table"]);
    refused(&mut owner, "OS005", &enable("{}"));
}

#[test]
fn what_nobody_can_know_is_asked() {
    let world = World::without_tables("ask");
    let mut owner = world.owner();
    run(
        &mut owner,
        "CREATE TABLE buyer (id int PRIMARY KEY, organization_id uuid);
         CREATE TABLE seller (id int PRIMARY KEY, organization_id uuid);
         CREATE TABLE deal (id int PRIMARY KEY, buyer_id int NOT NULL REFERENCES buyer, seller_id int NOT NULL REFERENCES seller)",
    );
    run(
        &mut owner,
        &format!(
            "INSERT INTO buyer VALUES (1, '{A}'); INSERT INTO seller VALUES (1, '{B}'); INSERT INTO deal VALUES (1, 1, 1)"
        ),
    );
    let before = dump(&world);
    let error = refused(&mut owner, "OS005", &enable("{}"));
    assert_eq!(error.message(), "cannot scope schema \"public\"");
    assert_eq!(
        error.detail(),
        Some(
            "public.deal: its organization is to be had in 2 equally short ways: (buyer_id) to public.buyer, (seller_id) to public.seller."
        )
    );
    assert_eq!(
        error.hint(),
        Some(
            "Decide in the options, for example {\"overrides\": {\"public.deal\": {\"by\": \"deal_buyer_id_fkey\"}}}."
        )
    );
    assert_eq!(rows(&mut owner, PROPOSALS)[1].split('|').nth(1), Some("ask"));
    assert_same(&before, &dump(&world), "nothing is half done");
    let error = refused(&mut owner, "OS005", &enable("{\"overrides\": {\"dael\": \"share\"}}"));
    assert_eq!(error.detail(), Some("\"overrides\" names what is no table of the schema: dael."));
    refused(&mut owner, "OS005", &enable("{\"overrides\": {\"deal\": \"shared\"}}"));
    refused(&mut owner, "OS005", &enable("{\"overides\": {}}"));
    refused(&mut owner, "OS005", "SELECT orgscope.plan_org_scoping_schema('nowhere')");
    // The deal crosses organizations: its keys cannot become composite.
    let by_seller = "{\"overrides\": {\"deal\": {\"by\": \"seller_id\"}}}";
    refused(&mut owner, "OS005", &enable(by_seller));
    run(&mut owner, &enable(&by_seller.replacen('{', "{\"foreign_keys\": \"report\", ", 1)));
    assert_eq!(one(&mut world.superuser(), "SELECT organization_id FROM deal"), B);
}

/// One table cannot be scoped, so none is; and nobody waits longer than lock_timeout says.
#[test]
fn a_schema_is_scoped_whole_or_not_at_all() {
    let world = World::without_tables("whole");
    let mut owner = world.owner();
    run(&mut owner, SHOP);
    run(&mut owner, "UPDATE customer SET organization_id = NULL WHERE id = 2");
    let before = dump(&world);
    refused(&mut owner, "OS005", &enable("{}"));
    assert_same(&before, &dump(&world), "refused");
    assert_eq!(one(&mut world.superuser(), "SELECT count(*) FROM orgscope.scoped_tables"), "0");
    let fill = format!("{{\"overrides\": {{\"customer\": {{\"backfill\": \"{C}\"}}}}}}");
    let mut reader = world.superuser();
    run(&mut reader, "BEGIN; SELECT * FROM line");
    run(&mut owner, "SET lock_timeout = '200ms'");
    refused(&mut owner, "55P03", &enable(&fill));
    assert_same(&before, &dump(&world), "timed out");
    run(&mut reader, "COMMIT");
    run(&mut owner, &enable(&fill));
    assert_eq!(rows_under(&mut world.app(), C, "SELECT note FROM line ORDER BY n"), ["b", "bb"]);
    // Somebody else's table is somebody else's to scope.
    let mut admin = world.superuser();
    run(&mut admin, "CREATE TABLE foreign_one (id int, organization_id uuid)");
    refused(&mut owner, "42501", &enable("{}"));
    run(&mut admin, &enable("{}"));
}

/// Three hundred tables in a tree.
#[test]
fn many_tables_are_scoped_in_one_go() {
    let world = World::without_tables("many");
    let mut owner = world.owner();
    let mut sql = "CREATE TABLE t0 (id int PRIMARY KEY, organization_id uuid);".to_owned();
    for n in 1..300 {
        sql += &format!("CREATE TABLE t{n} (id int PRIMARY KEY, parent int NOT NULL REFERENCES t{});", (n - 1) / 3);
    }
    run(&mut owner, &sql);
    run(&mut owner, "SELECT * FROM orgscope.plan_org_scoping_schema('public')");
    run(&mut owner, &enable("{}"));
    assert_eq!(one(&mut owner, "SELECT count(*) FROM orgscope.scoped_tables WHERE protected"), "300");
}
