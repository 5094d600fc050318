//! What a tenant's role can do with the SQL it is given, or injects: each attack is first seen to work on tables with the
//! policy that most write by hand, then met by orgscope. The same tables, rows and statements in two databases; only the
//! setting has another name.

mod common;

use common::*;

/// Two tickets of A (1, 2), three of B (11, 12, 13); an event of each in one partition.
const TABLES: &str = "
    CREATE TABLE ticket (id int PRIMARY KEY, title text, organization_id uuid);
    CREATE TABLE comment (id int PRIMARY KEY, ticket_id int REFERENCES ticket ON DELETE CASCADE, organization_id uuid);
    CREATE TABLE member (email text PRIMARY KEY, phone text UNIQUE, organization_id uuid);
    CREATE TABLE event (id int, organization_id uuid) PARTITION BY RANGE (id);
    CREATE TABLE event_1 PARTITION OF event FOR VALUES FROM (0) TO (100);
    CREATE TABLE letter (title text, organization_id uuid);
    GRANT SELECT, INSERT, UPDATE, DELETE, TRUNCATE ON ticket, comment, member, event, event_1 TO app;
    INSERT INTO ticket SELECT i, 'a' || i, 'aaaaaaaa-0000-7000-8000-000000000001' FROM generate_series(1, 2) i;
    INSERT INTO ticket SELECT i, 'b' || i, 'bbbbbbbb-0000-7000-8000-000000000002' FROM generate_series(11, 13) i;
    INSERT INTO letter SELECT title, organization_id FROM ticket;
    INSERT INTO member VALUES ('b@b.example', '11', 'bbbbbbbb-0000-7000-8000-000000000002');
    INSERT INTO event VALUES (1, 'aaaaaaaa-0000-7000-8000-000000000001'), (11, 'bbbbbbbb-0000-7000-8000-000000000002')";

/// Careful by the standard of what is published: FORCE, no error and no row without a context, new rows are checked.
const BY_HAND: &str = "
    CREATE FUNCTION tenant() RETURNS uuid LANGUAGE sql STABLE AS
        $$ SELECT nullif(current_setting('app.current_org', true), '')::uuid $$;
    CREATE VIEW my_letter AS SELECT * FROM letter WHERE organization_id = tenant();
    ALTER TABLE ticket ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
    ALTER TABLE comment ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
    ALTER TABLE member ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
    ALTER TABLE event ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
    CREATE POLICY tenant ON ticket USING (organization_id = tenant());
    CREATE POLICY tenant ON comment USING (organization_id = tenant());
    CREATE POLICY tenant ON member USING (organization_id = tenant());
    CREATE POLICY tenant ON event USING (organization_id = tenant());
    GRANT SELECT ON my_letter TO app";

const BY_ORGSCOPE: &str = r#"
    SELECT orgscope.enable_org_scoping('public.comment', options => '{"on_delete": "cascade"}');
    SELECT orgscope.enable_org_scoping('public.ticket', options => '{"on_delete": "cascade"}');
    SELECT orgscope.enable_org_scoping('public.event');
    SELECT orgscope.enable_org_scoping('public.letter');
    SELECT orgscope.enable_org_scoping('public.member', options => '{"primary_key": "scoped"}');
    GRANT SELECT ON letter TO app;
    CREATE VIEW my_letter WITH (security_invoker) AS SELECT * FROM letter;
    GRANT SELECT ON my_letter TO app"#;

const IDS: &str = "SELECT string_agg(id::text, ',' ORDER BY id) FROM ticket";

/// What a pool does when it hands out a connection.
const SEAL: &str = "SELECT orgscope.seal_context('known to the pool alone')";

/// Two databases that differ in who keeps the organizations apart.
struct Sides {
    hand: World,
    orgscope: World,
}

impl Sides {
    fn new(name: &str) -> Self {
        let orgscope = World::without_tables(&format!("attack_{name}"));
        let hand = orgscope.beside(&format!("hand_{name}"));
        run(&mut hand.superuser(), "GRANT CREATE ON SCHEMA public TO owner");
        for (world, protection) in [(&hand, BY_HAND), (&orgscope, BY_ORGSCOPE)] {
            run(&mut world.superuser(), &format!("GRANT CREATE ON DATABASE {} TO app", world.name()));
            run(&mut world.owner(), TABLES);
            run(&mut world.owner(), protection);
        }
        Self { hand, orgscope }
    }

    /// Steps of one connection, `$org` being the setting. The outcome is the first error's SQLSTATE or what the last
    /// step has returned.
    #[track_caller]
    fn attack(&self, steps: &[&str], hand: &str, orgscope: &str) {
        assert_eq!(outcome(&self.hand, "app.current_org", steps), hand, "by hand: {steps:#?}");
        assert_eq!(outcome(&self.orgscope, "orgscope.current_org", steps), orgscope, "orgscope: {steps:#?}");
    }

    /// What is there afterwards, whoever looks.
    #[track_caller]
    fn leaves(&self, sql: &str, hand: &str, orgscope: &str) {
        assert_eq!(one(&mut self.hand.superuser(), sql), hand, "by hand: {sql}");
        assert_eq!(one(&mut self.orgscope.superuser(), sql), orgscope, "orgscope: {sql}");
    }
}

fn outcome(world: &World, setting: &str, steps: &[&str]) -> String {
    let mut app = world.app();
    let mut last = String::new();
    for step in steps {
        // There is nothing of the kind by hand.
        let seal = if setting == "orgscope.current_org" { SEAL } else { "SELECT" };
        let sql = step
            .replace("$seal", seal)
            .replace("$org", setting)
            .replace("$A", &format!("'{A}'"))
            .replace("$B", &format!("'{B}'"));
        match query(&mut app, &sql) {
            Ok(rows) => last = rows.join(" "),
            Err(error) => return code(&error),
        }
    }
    last
}

#[test]
fn a_context_that_is_missing_or_means_nothing() {
    let sides = Sides::new("absent");
    // Silence, which a program takes for "no tickets".
    sides.attack(&[IDS], "-", "OS001");
    sides.attack(&["BEGIN; SET LOCAL $org = ''", IDS], "-", "OS001");
    sides.attack(&["BEGIN; SET LOCAL $org = $A; COMMIT", IDS], "-", "OS001");
    sides.attack(&["UPDATE ticket SET title = 'x'"], "", "OS001");
    sides.attack(&["BEGIN; SET LOCAL $org = 'acme'"], "", "22P02");
    sides.attack(&["BEGIN; SET LOCAL $org = '00000000-0000-0000-0000-000000000000'", IDS], "-", "22P02");
    sides.attack(&["BEGIN; SET LOCAL $org = $A; SAVEPOINT s; SET LOCAL $org = ''", IDS], "-", "OS001");
}

#[test]
fn the_context_of_the_client_before() {
    let sides = Sides::new("stale");
    sides.attack(&["SET $org = $B", "BEGIN", IDS], "11,12,13", "OS003");
    sides.attack(&["SELECT set_config('$org', $B, false)", IDS], "11,12,13", "OS001");
    sides.attack(&["BEGIN; SET $org = $B; COMMIT", IDS], "11,12,13", "OS003");
    sides.attack(&["DO $$ BEGIN PERFORM set_config('$org', $B, false); END $$", IDS], "11,12,13", "OS001");
}

#[test]
fn a_context_from_the_connection_string() {
    let sides = Sides::new("startup");
    for (world, setting, expected) in
        [(&sides.hand, "app.current_org", "11,12,13"), (&sides.orgscope, "orgscope.current_org", "OS001")]
    {
        let mut app = world.connect_with("app", &format!("-c {setting}={B}")).unwrap();
        let found = query(&mut app, IDS).map_or_else(|error| code(&error), |rows| rows.join(" "));
        assert_eq!(found, expected, "{setting}");
    }
}

#[test]
fn another_organization_in_the_same_transaction() {
    let sides = Sides::new("turn");
    let begin = "BEGIN; SET LOCAL $org = $A";
    let flip = "SELECT set_config('$org', $B, true)";
    sides.attack(&[begin, IDS, "SET LOCAL $org = $B", IDS], "11,12,13", "OS003");
    sides.attack(&[begin, IDS, flip, IDS], "11,12,13", "OS003");
    sides.attack(&[begin, IDS, "DO $$ BEGIN PERFORM set_config('$org', $B, true); END $$", IDS], "11,12,13", "OS003");
    // In the statement itself: in its WHERE, a sub-select, another branch of UNION, in the middle of a scan.
    let scan =
        "SELECT string_agg(id::text, ',') FROM ticket WHERE set_config('$org', $B || left(title, 0), true) <> ''";
    sides.attack(&[begin, scan], "1,11,12,13", "OS003");
    let union = "SELECT string_agg(id::text, ',') FROM
        (SELECT id FROM ticket UNION ALL SELECT length(set_config('$org', $B, true)) UNION ALL SELECT id FROM ticket) x";
    sides.attack(&[begin, union], "1,2,36,11,12,13", "OS003");
    // A cursor opened before.
    sides.attack(
        &[begin, "DECLARE c CURSOR FOR SELECT id FROM ticket", "FETCH 1 FROM c", flip, "FETCH ALL FROM c"],
        "11 12 13",
        "OS003",
    );
    // Inside a function, and undone before it returns.
    sides.attack(
        &[
            "CREATE FUNCTION pg_temp.peek() RETURNS text LANGUAGE plpgsql AS $$ DECLARE found text; BEGIN
                 PERFORM set_config('$org', $B, true);
                 SELECT string_agg(id::text, ',') INTO found FROM ticket;
                 PERFORM set_config('$org', $A, true);
                 RETURN found;
             END $$",
            begin,
            IDS,
            "SELECT pg_temp.peek()",
        ],
        "11,12,13",
        "OS003",
    );
}

#[test]
fn another_organization_in_the_next_transaction() {
    let sides = Sides::new("next");
    let checkout = "BEGIN; SET LOCAL $org = $A; $seal; COMMIT";
    sides.attack(&[checkout, "BEGIN; SET LOCAL $org = $B", IDS], "11,12,13", "OS003");
    sides.attack(&[checkout, "BEGIN", IDS, "COMMIT; BEGIN; SET LOCAL $org = $B", IDS], "11,12,13", "OS003");
    let first = "SELECT string_agg(id::text, ',' ORDER BY id) FROM ticket WHERE set_config('$org', $B, true) <> ''";
    sides.attack(&[checkout, first], "11,12,13", "OS003");
    sides.attack(
        &["BEGIN; SET LOCAL $org = $A; $seal; ROLLBACK; BEGIN; SET LOCAL $org = $B", IDS],
        "11,12,13",
        "OS003",
    );
}

#[test]
fn an_organization_that_is_gone_or_suspended() {
    let sides = Sides::new("gone");
    let suspend = format!("UPDATE orgscope.organization SET is_active = false WHERE id = '{B}'");
    run(&mut sides.orgscope.superuser(), &suspend);
    sides.attack(&["BEGIN; SET LOCAL $org = $B", IDS], "11,12,13", "OS004");
    let unknown = "BEGIN; SET LOCAL $org = 'dddddddd-0000-7000-8000-000000000004'";
    sides.attack(&[unknown, IDS], "-", "OS004");
    sides.attack(&[unknown, "INSERT INTO ticket VALUES (9, 'x', 'dddddddd-0000-7000-8000-000000000004')"], "", "OS004");
}

#[test]
fn rows_that_refer_to_another_organizations() {
    let sides = Sides::new("refer");
    let a = "BEGIN; SET LOCAL $org = $A";
    let b = "BEGIN; SET LOCAL $org = $B";
    sides.attack(&[a, "INSERT INTO comment VALUES (1, 11, $A) RETURNING id"], "1", "23503");
    // B hangs a row of its own below A's; what A deletes then takes it along.
    sides.attack(&[b, "INSERT INTO comment VALUES (2, 1, $B)", "COMMIT"], "", "23503");
    sides.attack(&[b, "INSERT INTO comment VALUES (3, 11, $B)", "COMMIT"], "", "");
    sides.leaves("SELECT count(*) FROM comment", "2", "1");
    sides.attack(&[a, "DELETE FROM ticket WHERE id = 1 RETURNING id", "COMMIT", "SELECT 1"], "1", "1");
    sides.leaves("SELECT string_agg(id::text, ',') FROM comment", "3", "3");
}

#[test]
fn keys_as_oracles() {
    let sides = Sides::new("oracle");
    let a = "BEGIN; SET LOCAL $org = $A";
    let add = "INSERT INTO member VALUES ('b@b.example', '1', $A)";
    sides.attack(&[a, add], "23505", "");
    sides.attack(&[a, &format!("{add} ON CONFLICT DO NOTHING"), "SELECT email FROM member"], "", "b@b.example");
    sides.attack(&[a, "INSERT INTO member VALUES ('a@a.example', '11', $A)"], "23505", "");
    sides.attack(
        &[a, "INSERT INTO member VALUES ('a@a.example', '1', $A)", "UPDATE member SET phone = '11'"],
        "23505",
        "",
    );
}

#[test]
fn a_null_organization_is_filled() {
    let sides = Sides::new("null");
    let a = "BEGIN; SET LOCAL $org = $A";
    sides.attack(
        &[a, "INSERT INTO ticket VALUES (3, 'x', NULL) RETURNING left(organization_id::text, 1)"],
        "42501",
        "a",
    );
    sides.attack(&[a, "INSERT INTO ticket VALUES (3, 'x', $B)"], "42501", "OS002");
    sides.attack(&[a, "UPDATE ticket SET organization_id = $B"], "42501", "OS002");
}

#[test]
fn truncate_asks_no_policy() {
    let sides = Sides::new("truncate");
    for target in ["event", "event_1", "ticket CASCADE"] {
        sides.attack(&["BEGIN; SET LOCAL $org = $A", &format!("TRUNCATE {target}"), "COMMIT"], "", "OS002");
    }
    sides.leaves("SELECT count(*) FROM ticket", "0", "5");
    sides.leaves("SELECT count(*) FROM event", "0", "2");
}

#[test]
fn a_partition_named_directly() {
    let sides = Sides::new("partition");
    let a = "BEGIN; SET LOCAL $org = $A";
    sides.attack(&[a, "SELECT count(*) FROM event_1"], "2", "1");
    sides.attack(&["SELECT count(*) FROM event_1"], "2", "OS001");
    sides.attack(&[a, "INSERT INTO event_1 VALUES (12, $B)", "COMMIT"], "", "OS002");
    sides.attack(&[a, "WITH gone AS (DELETE FROM event_1 RETURNING 1) SELECT count(*) FROM gone", "ROLLBACK"], "", "");
    sides.leaves("SELECT count(*) FROM event", "3", "2");
}

#[test]
fn a_function_that_looks_at_every_row() {
    let sides = Sides::new("tap");
    let steps = [
        "CREATE TEMP TABLE seen (title text);
         CREATE FUNCTION pg_temp.tap(title text) RETURNS boolean LANGUAGE plpgsql COST 0.0000001 AS
             $$ BEGIN INSERT INTO seen VALUES (title); RETURN true; END $$",
        "BEGIN; SET LOCAL $org = $A",
        "SELECT count(*) FROM my_letter WHERE pg_temp.tap(title)",
        "SELECT string_agg(DISTINCT title, ',') FROM seen",
    ];
    sides.attack(&steps, "a1,a2,b11,b12,b13", "a1,a2");
    let divide = "SELECT count(*) FROM my_letter WHERE 1 / (title <> 'b11')::int = 1";
    sides.attack(&["BEGIN; SET LOCAL $org = $A", divide], "22012", "2");
}

#[test]
fn names_of_ones_own() {
    let sides = Sides::new("shadow");
    let steps = [
        "CREATE SCHEMA mine;
         CREATE FUNCTION mine.current_setting(text, boolean) RETURNS text LANGUAGE sql AS $$ SELECT $B::text $$;
         CREATE FUNCTION mine.current_org() RETURNS uuid LANGUAGE sql AS $$ SELECT $B::uuid $$;
         CREATE FUNCTION mine.require_org() RETURNS uuid LANGUAGE sql AS $$ SELECT $B::uuid $$;
         CREATE FUNCTION mine.same(uuid, uuid) RETURNS boolean LANGUAGE sql AS $$ SELECT true $$;
         CREATE OPERATOR mine.= (LEFTARG = uuid, RIGHTARG = uuid, FUNCTION = mine.same)",
        "SET search_path = mine, pg_catalog, public",
        "BEGIN; SET LOCAL $org = $A",
        IDS,
    ];
    sides.attack(&steps, "11,12,13", "1,2");
    sides.attack(&["SET search_path = mine, pg_catalog, public", "BEGIN", IDS], "11,12,13", "OS001");
}

#[test]
fn a_plan_counts_the_rows_of_others() {
    let sides = Sides::new("explain");
    let name = sides.orgscope.name();
    run(&mut sides.orgscope.superuser(), &format!("ALTER DATABASE {name} SET orgscope.explain = 'deny'"));
    let steps = [
        "CREATE FUNCTION pg_temp.removed() RETURNS text LANGUAGE plpgsql AS $$ DECLARE line text; BEGIN
             FOR line IN EXPLAIN (ANALYZE, COSTS off, TIMING off, SUMMARY off) SELECT * FROM ticket LOOP
                 IF line LIKE '%Removed by Filter%' THEN RETURN trim(line); END IF;
             END LOOP;
             RETURN 'nothing';
         END $$",
        "BEGIN; SET LOCAL $org = $A; SET LOCAL enable_indexscan = off; SET LOCAL enable_bitmapscan = off",
        "SELECT pg_temp.removed()",
    ];
    sides.attack(&steps, "Rows Removed by Filter: 3", "42501");
}
