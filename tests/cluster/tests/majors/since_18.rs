//! RETURNING OLD and NEW, virtual generated columns, NOT NULL as a constraint, keys that are not enforced or temporal,
//! uuidv7().

use crate::common::*;

fn enable(table: &str, options: &str) -> String {
    format!("SELECT count(*) FROM orgscope.enable_org_scoping('public.{table}', options => '{options}')")
}

fn disable(table: &str) -> String {
    format!("SELECT count(*) FROM orgscope.disable_org_scoping('public.{table}')")
}

/// Enables, checks, disables: the schema is what it was.
fn there_and_back(world: &World, table: &str, options: &str, check: impl FnOnce(&mut postgres::Client)) {
    let before = dump(world);
    let mut owner = world.owner();
    run(&mut owner, &enable(table, options));
    run(&mut owner, &format!("GRANT ALL ON {table} TO app"));
    check(&mut world.app());
    run(&mut owner, &format!("REVOKE ALL ON {table} FROM app"));
    run(&mut owner, &disable(table));
    assert_same(&before, &dump(world), table);
}

#[test]
fn old_and_new_show_own_rows_only() {
    let world = World::new("old_new");
    let mut app = world.app();
    assert_eq!(
        rows_under(&mut app, A, "UPDATE ticket SET title = 'n' || id RETURNING old.title, new.title"),
        ["a1|n1", "a2|n2"]
    );
    assert_eq!(
        rows_under(
            &mut app,
            A,
            "DELETE FROM ticket WHERE id IN (2, 12) RETURNING WITH (OLD AS o, NEW AS n) o.id, n.id"
        ),
        ["2|-"]
    );
    // Row 11 is B's, and primary keys are one for all: the statement is refused, and shows nothing of it.
    for returning in ["old.title", "old.*, new.*", "old.organization_id"] {
        begin(&mut app, A);
        let error = refused(
            &mut app,
            "42501",
            &format!(
                "INSERT INTO ticket (id, title) VALUES (11, 'mine') ON CONFLICT (id) DO UPDATE SET title = 'mine' RETURNING {returning}"
            ),
        );
        run(&mut app, "ROLLBACK");
        let shown = format!("{} {:?}", error.message(), error.detail());
        assert!(!shown.contains("b11") && !shown.contains(B), "{shown}");
    }
    let own = "INSERT INTO ticket (id, title) VALUES (1, 'again') ON CONFLICT (id) DO UPDATE SET title = excluded.title
               RETURNING old.title, new.title";
    assert_eq!(rows_under(&mut app, A, own), ["n1|again"]);
    refused_under(&mut app, A, "OS002", &format!("UPDATE ticket SET organization_id = '{B}' RETURNING old.*, new.*"));
    refused(&mut app, "OS001", "UPDATE ticket SET title = 'x' RETURNING old.*");
    let merge = "MERGE INTO ticket t USING (VALUES (1), (11)) v (id) ON t.id = v.id
                 WHEN MATCHED THEN UPDATE SET title = 'merged' RETURNING old.title, new.title";
    assert_eq!(rows_under(&mut app, A, merge), ["again|merged"]);
    assert_eq!(all_tickets(&world), ["1|merged|a", "11|b11|b", "12|b12|b", "13|b13|b"]);
}

#[test]
fn virtual_columns_are_computed_from_the_row_that_is_stored() {
    let world = World::without_tables("virtual_columns");
    let mut owner = world.owner();
    run(
        &mut owner,
        "CREATE TABLE note (id int PRIMARY KEY, body text, organization_id uuid, loud text GENERATED ALWAYS AS (upper(body)) VIRTUAL,
             whose text GENERATED ALWAYS AS (organization_id::text) VIRTUAL, kept text GENERATED ALWAYS AS (organization_id::text) STORED);
         CREATE TABLE computed (id uuid PRIMARY KEY, organization_id uuid GENERATED ALWAYS AS (id) VIRTUAL)",
    );
    let error = refused(&mut owner, "OS005", &enable("computed", "{}"));
    assert_eq!(error.detail(), Some("Its column \"organization_id\" is generated."));
    there_and_back(&world, "note", "{}", |app| {
        // The organization is filled by a trigger; what is computed from it must follow.
        let inserted =
            "INSERT INTO note (id, body, organization_id) VALUES (1, 'hi', NULL) RETURNING loud, whose, kept";
        assert_eq!(rows_under(app, A, inserted), [format!("HI|{A}|{A}")]);
        assert_eq!(
            rows_under(app, A, "UPDATE note SET body = 'ho', organization_id = NULL RETURNING loud, whose"),
            [format!("HO|{A}")]
        );
        assert!(rows_under(app, B, &format!("SELECT * FROM note WHERE whose = '{A}'")).is_empty());
        refused(app, "OS001", "SELECT loud FROM note");
        rows_under(app, A, "DELETE FROM note");
    });
}

#[test]
fn not_null_is_a_constraint_that_may_be_invalid() {
    let world = World::without_tables("not_null");
    let mut owner = world.owner();
    run(
        &mut owner,
        &format!(
            "CREATE TABLE named (id int, organization_id uuid CONSTRAINT somebodys NOT NULL);
             CREATE TABLE unchecked (id int, organization_id uuid);
             INSERT INTO unchecked VALUES (1, '{A}'), (2, NULL);
             ALTER TABLE unchecked ADD CONSTRAINT someday NOT NULL organization_id NOT VALID"
        ),
    );
    there_and_back(&world, "named", "{}", |app| {
        assert_eq!(rows_under(app, A, "INSERT INTO named VALUES (1) RETURNING organization_id"), [A]);
        rows_under(app, A, "DELETE FROM named");
    });
    let error = refused(&mut owner, "OS005", &enable("unchecked", "{}"));
    assert_eq!(error.detail(), Some("It has rows without a value for \"organization_id\"."));
    there_and_back(&world, "unchecked", &format!("{{\"backfill\": \"{B}\"}}"), |app| {
        assert_eq!(rows_under(app, A, "SELECT id FROM unchecked"), ["1"]);
        assert_eq!(rows_under(app, B, "SELECT id FROM unchecked"), ["2"]);
    });
    // Without the constraint no row gets in that is nobody's, and the plan wants it back.
    run(&mut owner, &enable("named", "{}"));
    refused(&mut owner, "OS006", "ALTER TABLE named DROP CONSTRAINT somebodys");
    run(&mut world.superuser(), "ALTER TABLE named DROP CONSTRAINT somebodys");
    refused(&mut world.superuser(), "OS001", "INSERT INTO named VALUES (1, NULL)");
    let plan = "SELECT kind FROM orgscope.plan_org_scoping('public.named')";
    assert_eq!(rows(&mut owner, plan), ["not null"]);
    run(&mut owner, &enable("named", "{}"));
    assert!(rows(&mut owner, plan).is_empty());
}

#[test]
fn a_key_that_is_not_enforced_is_no_key() {
    let world = World::without_tables("not_enforced");
    let nobody = "dddddddd-0000-7000-8000-000000000004";
    run(
        &mut world.owner(),
        "CREATE TABLE note (id int PRIMARY KEY, organization_id uuid REFERENCES orgscope.organization NOT ENFORCED)",
    );
    there_and_back(&world, "note", "{}", |_| {
        refused(&mut world.superuser(), "23503", &format!("INSERT INTO note VALUES (1, '{nobody}')"));
    });
    // A superuser lets our key lapse, a row of nobody gets in: the plan says what to do, and does it when the row is gone.
    let mut owner = world.owner();
    run(&mut owner, &enable("note", "{}"));
    let lapse = "ALTER TABLE note ALTER CONSTRAINT note_organization_id_fkey1 NOT ENFORCED";
    refused(&mut owner, "OS006", lapse);
    run(&mut world.superuser(), lapse);
    run(&mut world.superuser(), &format!("INSERT INTO note VALUES (1, '{nobody}')"));
    assert_eq!(
        rows(&mut owner, "SELECT kind, sql FROM orgscope.plan_org_scoping('public.note') WHERE sql IS NOT NULL"),
        ["foreign key|ALTER TABLE public.note ALTER CONSTRAINT note_organization_id_fkey1 ENFORCED"]
    );
    let error = refused(&mut owner, "OS005", &enable("note", "{}"));
    assert_eq!(error.detail(), Some("The organization of 1 row(s) is not in orgscope.organization."));
    run(&mut world.superuser(), "DELETE FROM note");
    run(&mut owner, &enable("note", "{}"));
    refused(&mut world.superuser(), "23503", &format!("INSERT INTO note VALUES (1, '{nobody}')"));
}

/// Row security must not hide from PostgreSQL the rows that break a key between two scoped tables.
#[test]
fn enforcing_a_key_checks_the_rows_of_every_organization() {
    let world = World::new("enforce");
    let mut owner = world.owner();
    run(&mut owner, "ALTER TABLE comment ALTER CONSTRAINT comment_ticket_id_fkey NOT ENFORCED");
    run(&mut world.superuser(), "DELETE FROM ticket WHERE id = 11");
    let enforce = "ALTER TABLE comment ALTER CONSTRAINT comment_ticket_id_fkey ENFORCED";
    refused(&mut owner, "23503", enforce);
    refused_under(&mut owner, A, "23503", enforce);
    run(&mut world.superuser(), "DELETE FROM comment WHERE ticket_id = 11");
    run(&mut owner, enforce);
}

const BOOKING: &str = "
    CREATE TABLE room (id int, open daterange, PRIMARY KEY (id, open WITHOUT OVERLAPS));
    CREATE TABLE booking (id int PRIMARY KEY, room int, during daterange, organization_id uuid,
        CONSTRAINT free UNIQUE (room, during WITHOUT OVERLAPS),
        FOREIGN KEY (room, PERIOD during) REFERENCES room (id, PERIOD open))";

/// Two organizations may book the same room at the same time; one may not, and neither learns of the other.
#[test]
fn temporal_uniqueness_is_per_organization() {
    let world = World::without_tables("temporal");
    run(&mut world.superuser(), "CREATE EXTENSION btree_gist");
    run(&mut world.owner(), BOOKING);
    run(&mut world.owner(), "INSERT INTO room VALUES (7, '[2026-01-01,2027-01-01)'); GRANT SELECT ON room TO app");
    let book = |id: u32| format!("INSERT INTO booking VALUES ({id}, 7, '[2026-05-0{id},2026-05-09)')");
    there_and_back(&world, "booking", "{}", |app| {
        rows_under(app, A, &book(1));
        rows_under(app, B, &book(2));
        refused_under(app, A, "23P01", &book(3));
        refused_under(app, A, "23503", "INSERT INTO booking VALUES (4, 8, '[2026-05-01,2026-05-02)')");
        rows_under(app, A, "DELETE FROM booking");
        // The original constraint does not allow what the organizations have: nothing of it in the message.
        rows_under(app, A, &book(1));
        let error = refused(&mut world.owner(), "OS005", &disable("booking"));
        assert_eq!(error.message(), "cannot change what is unique in table \"booking\"");
        rows_under(app, B, "DELETE FROM booking");
    });
    let definition = "SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conname = 'free'";
    run(
        &mut world.owner(),
        &enable("booking", "{\"unique\": \"keep\", \"backfill\": \"aaaaaaaa-0000-7000-8000-000000000001\"}"),
    );
    assert_eq!(one(&mut world.owner(), definition), "UNIQUE (room, during WITHOUT OVERLAPS)");
}

#[test]
fn temporal_uniqueness_needs_operators_for_uuids() {
    let world = World::without_tables("temporal_gist");
    let mut owner = world.owner();
    run(
        &mut owner,
        "CREATE TABLE slot (a int4range, b int4range, organization_id uuid, UNIQUE (a, b WITHOUT OVERLAPS))",
    );
    let error = refused(&mut owner, "OS005", &enable("slot", "{}"));
    assert_eq!(error.message(), "cannot change what is unique in table \"slot\"");
    assert_eq!(
        error.detail(),
        Some(
            "It has a UNIQUE constraint WITHOUT OVERLAPS, and GiST has no operators for uuid columns without an extension."
        )
    );
    assert_eq!(
        error.hint(),
        Some(
            "CREATE EXTENSION btree_gist first, or keep the constraint as it is with the option {\"unique\": \"keep\"}."
        )
    );
    there_and_back(&world, "slot", "{\"unique\": \"keep\"}", |_| ());
}

#[test]
fn uuidv7_makes_organizations() {
    let world = World::new("uuidv7");
    let mut admin = world.superuser();
    run(&mut admin, "ALTER TABLE orgscope.organization ALTER id SET DEFAULT uuidv7()");
    let org = one(&mut admin, "INSERT INTO orgscope.organization (name, slug) VALUES ('Seven', 'seven') RETURNING id");
    let ids = "SELECT bool_and(uuid_extract_version(id) = 7 AND abs(extract(epoch FROM uuid_extract_timestamp(id) - now())) < 60)
               FROM (VALUES (uuidv7()), (orgscope.uuid_v7())) v (id)";
    assert_eq!(one(&mut admin, ids), "t", "ours and PostgreSQL's are of one kind");
    let mut app = world.app();
    rows_under(&mut app, &org, "INSERT INTO ticket VALUES (70, 'theirs')");
    assert_eq!(rows_under(&mut app, &org, "SELECT title FROM ticket"), ["theirs"]);
    refused_under(&mut app, &org, "OS002", &format!("INSERT INTO ticket VALUES (71, 'a', '{A}')"));
}

#[test]
fn a_partitions_own_key_that_does_not_bind_is_refused() {
    let world = World::without_tables("partition_not_enforced");
    let mut owner = world.owner();
    run(
        &mut owner,
        "CREATE TABLE t (id int, organization_id uuid) PARTITION BY LIST (id);
         CREATE TABLE t_1 PARTITION OF t DEFAULT;
         ALTER TABLE t_1 ADD FOREIGN KEY (organization_id) REFERENCES orgscope.organization NOT ENFORCED",
    );
    let error = refused(&mut owner, "OS005", "SELECT orgscope.enable_org_scoping('public.t')");
    assert_eq!(error.table(), Some("t_1"));
    let why = "It is a partition, and its foreign key t_1_organization_id_fkey is NOT ENFORCED.";
    assert_eq!(error.detail(), Some(why));
    let help = "Drop that foreign key first, or that of the table above which it comes from.";
    assert_eq!(error.hint(), Some(help));
    run(
        &mut owner,
        "ALTER TABLE t_1 DROP CONSTRAINT t_1_organization_id_fkey; SELECT orgscope.enable_org_scoping('public.t')",
    );
}
