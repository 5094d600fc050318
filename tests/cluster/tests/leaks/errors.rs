//! Errors that PostgreSQL raises over rows, and what can be asked with them.

use super::*;

const B_ID: &str = "bbbbbbbb-0000-7000-8000-000000000002";

/// The detail of each, in a table without row security; under row security PostgreSQL leaves values out.
#[test]
fn violated_constraints_print_values_only_without_row_security() {
    let world = by_hand("leaks_constraints");
    let violations = [
        ("23505", "INSERT INTO paper VALUES (11, 'own')"),
        ("23502", "INSERT INTO paper VALUES (600, NULL)"),
        ("23514", "INSERT INTO paper VALUES (601, 'own', 5000)"),
        ("23514", "INSERT INTO part VALUES (777, 'own')"),
        ("23514", "INSERT INTO part_1 VALUES (777, 'own')"),
        ("23503", "INSERT INTO line VALUES (601, 999)"),
        ("23503", "DELETE FROM paper WHERE id = 1"),
        ("23P01", "INSERT INTO room VALUES (2, '[1,2)')"),
    ];
    let mut owner = world.owner();
    run(
        &mut owner,
        &format!(
            "CREATE TABLE part (id int, title text, organization_id uuid) PARTITION BY RANGE (id);
             CREATE TABLE part_1 PARTITION OF part FOR VALUES FROM (1) TO (10);
             CREATE TABLE line (id int PRIMARY KEY, paper_id int REFERENCES paper, organization_id uuid);
             INSERT INTO line VALUES (1, 1, '{A}');
             CREATE TABLE room (id int PRIMARY KEY, taken int4range, organization_id uuid, EXCLUDE USING gist (taken WITH &&));
             INSERT INTO room VALUES (1, '[1,5)', '{A}');
             GRANT ALL ON part, part_1, line, room TO app"
        ),
    );
    let mut app = world.app();
    for (sqlstate, sql) in violations {
        let error = failure(&mut app, sql);
        assert_eq!(error.code().code(), sqlstate, "{sql}");
        assert!(error.detail().is_some_and(|detail| detail.contains('(')), "{sql}: {}", text(&error));
    }
    for table in ["paper", "part", "line", "room"] {
        run(
            &mut owner,
            &format!("SELECT orgscope.enable_org_scoping('public.{table}', options => '{{\"unique\": \"keep\"}}')"),
        );
    }
    for (sqlstate, sql) in violations {
        let error = failure(&mut app, sql);
        assert_eq!(error.code().code(), sqlstate, "{sql}");
        assert!(error.detail().is_none_or(|detail| !detail.contains('(')), "{sql}: {}", text(&error));
    }
}

/// A key that is unique over all organizations answers whether a value exists. Per organization it does not.
#[test]
fn a_key_of_all_organizations_answers_whether_a_value_exists() {
    let world = papers("leaks_unique");
    let mut app = world.app();
    let insert = |id: i32| format!("INSERT INTO paper VALUES ({id}, 'own')");
    refused_under(&mut app, A, "23505", &insert(11));
    let skipped = format!("{} ON CONFLICT DO NOTHING RETURNING id", insert(11));
    assert_eq!(rows_under(&mut app, A, &skipped), [""; 0], "so does ON CONFLICT");
    let taken = format!("{} ON CONFLICT (id) DO UPDATE SET title = 'taken' RETURNING *", insert(11));
    refused_under(&mut app, A, "42501", &taken);

    run(&mut world.owner(), "SELECT orgscope.disable_org_scoping('public.paper')");
    let scoped = "SELECT orgscope.enable_org_scoping('public.paper', options => '{\"primary_key\": \"scoped\"}')";
    run(&mut world.owner(), scoped);
    assert_eq!(rows_under(&mut app, A, &format!("{} RETURNING title", insert(11))), ["own"]);
    refused_under(&mut app, A, "23505", &insert(1));
}

/// A key to a row of another organization and one to no row are told apart by nothing.
#[test]
fn a_foreign_key_does_not_tell_a_foreign_row_from_none() {
    let world = World::new("leaks_foreign_key");
    let mut app = world.app();
    let fields = |id: i32| {
        move |client: &mut Client| text(&failure(client, &format!("INSERT INTO comment (ticket_id) VALUES ({id})")))
    };
    let foreign = fields(11)(&mut app);
    assert_eq!(foreign, fields(999)(&mut app));
    assert!(!foreign.contains('('), "{foreign}");
}

/// A condition that fails, or tells, is asked only of rows that the policy lets through. A view with a WHERE is no wall.
#[test]
fn conditions_that_fail_or_tell_see_own_rows_only() {
    let world = by_hand("leaks_conditions");
    let view =
        format!("CREATE VIEW mine AS SELECT * FROM paper WHERE organization_id = '{A}'; GRANT SELECT ON mine TO app");
    run(&mut world.owner(), &view);
    run(&mut world.superuser(), "GRANT CREATE ON SCHEMA public TO app");
    let mut app = world.app();
    run(
        &mut app,
        "CREATE FUNCTION tell(text) RETURNS bool LANGUAGE plpgsql COST 0.0000001 AS
         $$ BEGIN IF $1 = 'secret' THEN RAISE 'seen: %', $1; END IF; RETURN true; END $$",
    );
    assert!(text(&failure(&mut app, "SELECT * FROM mine WHERE tell(title)")).contains("seen: secret"));
    run(&mut world.owner(), SCOPE);
    assert_eq!(rows_under(&mut app, A, "SELECT count(*) FROM paper WHERE tell(title)"), ["3"]);
    for oracle in
        ["title::int > 0", "1 / (pages - 11) < 9", "sqrt(10 - pages) >= 0", "(title || '{')::text::json IS NULL"]
    {
        let sql = format!("SELECT count(*) FROM paper WHERE {oracle}");
        let bypassing = state(&mut world.dba(), &sql);
        assert_ne!(bypassing, "00000", "{sql}: of all rows it fails");
        if !oracle.contains("json") {
            assert_eq!(rows_under(&mut app, A, &sql), ["3"], "{sql}");
        }
    }
    for sql in
        ["UPDATE paper SET pages = pages WHERE tell(title)", "DELETE FROM paper WHERE tell(title) AND pages > 500"]
    {
        assert_eq!(under(&mut app, A, sql).map_err(|error| describe(&error)), Ok(vec![]), "{sql}");
    }
}

/// What orgscope says itself: no value of any row, and no name of another organization.
#[test]
fn our_own_errors_name_no_other_organization() {
    let world = papers("leaks_own_errors");
    let mut app = world.app();
    for sql in [
        format!("INSERT INTO paper VALUES (700, 'own', 1, '{B_ID}')"),
        format!("UPDATE paper SET organization_id = '{B_ID}' WHERE id = 1"),
        "TRUNCATE paper".to_owned(),
        format!("SELECT count(*) FROM paper; SET LOCAL orgscope.current_org = '{B_ID}'"),
    ] {
        let said = text(&failure(&mut app, &sql));
        assert!(!said.contains("bbbb") && !said.contains("secret") && !said.contains("Globex"), "{sql}: {said}");
    }
    let exists = failure(&mut app, &format!("SELECT orgscope.verify_audit('{B_ID}')"));
    let unknown = failure(&mut app, "SELECT orgscope.verify_audit('dddddddd-0000-7000-8000-000000000004')");
    assert_eq!(text(&exists), text(&unknown), "nor whether there is one");
}

/// A trigger that reads and tells does it with the rights of its writer; only a definer who bypasses sees more.
#[test]
fn a_trigger_that_tells_sees_what_the_role_sees() {
    let world = papers("leaks_trigger");
    run(
        &mut world.superuser(),
        "CREATE FUNCTION chatty() RETURNS trigger LANGUAGE plpgsql AS
         $$ BEGIN RAISE 'seen: %', (SELECT string_agg(DISTINCT left(title, 2), ',') FROM public.paper); END $$;
         CREATE FUNCTION chatty_definer() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS
         $$ BEGIN RAISE 'seen: %', (SELECT string_agg(DISTINCT left(title, 2), ',') FROM public.paper); END $$;
         CREATE TRIGGER chatty BEFORE INSERT ON ticket FOR EACH ROW EXECUTE FUNCTION chatty();
         CREATE TRIGGER chatty BEFORE INSERT ON comment FOR EACH ROW EXECUTE FUNCTION chatty_definer()",
    );
    let mut app = world.app();
    assert_eq!(failure(&mut app, "INSERT INTO ticket VALUES (50)").message(), "seen: 10");
    assert_eq!(failure(&mut app, "INSERT INTO comment (body) VALUES ('x')").message(), "seen: 10,se");
    let record = "SELECT count(*) FROM orgscope.audit_log WHERE action = 'bypass_read' AND table_name = 'public.paper'";
    run(&mut world.superuser(), "SELECT orgscope.flush_audit()");
    assert_ne!(one(&mut world.superuser(), record), "0", "but that is on record");
}

/// The check of a new key runs over all rows, also for an owner whom row security holds.
#[test]
fn a_new_foreign_key_names_no_row_that_breaks_it() {
    let world = by_hand("leaks_new_key");
    run(
        &mut world.owner(),
        "CREATE TABLE word (title text PRIMARY KEY); INSERT INTO word SELECT '10' || i FROM generate_series(1, 3) i",
    );
    let mut owner = world.owner();
    let add = "ALTER TABLE paper ADD FOREIGN KEY (title) REFERENCES word";
    let not_valid = "ALTER TABLE paper ADD CONSTRAINT later FOREIGN KEY (title) REFERENCES word NOT VALID";
    let validate = "ALTER TABLE paper VALIDATE CONSTRAINT later";
    let detail = |client: &mut Client, sql: &str| refused(client, "23503", sql).detail().unwrap_or_default().to_owned();
    assert!(detail(&mut owner, add).contains("(secret)"), "without row security");
    run(&mut owner, &format!("{SCOPE}; {not_valid}"));
    for sql in [add, validate] {
        let error = refused(&mut owner, "23503", sql);
        assert_eq!(error.detail(), Some("A row breaks the key."), "{sql}");
        assert_eq!((error.table(), error.constraint().is_some()), (Some("paper"), true), "the rest stays");
        assert!(detail(&mut world.superuser(), sql).contains("(secret)"), "{sql}: for whom it holds nothing");
    }
}

/// Nor does the check of one whose column gets another type, also where the statement names a table without row security.
#[test]
fn nor_does_a_foreign_key_that_is_made_anew() {
    let world = by_hand("leaks_retyped_key");
    let (mut owner, mut admin) = (world.owner(), world.superuser());
    run(
        &mut owner,
        "CREATE TABLE word (title text PRIMARY KEY); INSERT INTO word SELECT DISTINCT title FROM paper;
         ALTER TABLE paper ADD FOREIGN KEY (title) REFERENCES word",
    );
    let statements = ["word", "paper"].map(|table| {
        format!("ALTER TABLE {table} ALTER title TYPE varchar(9) USING replace(title, 'secret', 'secret2')")
    });
    let detail = |client: &mut Client, sql: &str| refused(client, "23503", sql).detail().unwrap_or_default().to_owned();
    assert!(statements.iter().all(|sql| detail(&mut owner, sql).contains("(secret")), "without row security");
    run(&mut owner, SCOPE);
    for sql in &statements {
        assert_eq!(detail(&mut owner, sql), "A row breaks the key.", "{sql}");
        assert!(detail(&mut admin, sql).contains("(secret"), "{sql}: for whom it holds nothing");
    }
}

/// DDL evaluates expressions of the owner's over all rows: nothing keeps those values from the owner.
#[test]
fn the_owner_reads_all_rows_with_an_expression_in_ddl() {
    let world = papers("leaks_owner");
    for sql in ["CREATE INDEX ON paper ((title::int))", "ALTER TABLE paper ALTER title TYPE int USING title::int"] {
        assert!(refused(&mut world.owner(), "22P02", sql).message().contains("secret"), "{sql}");
    }
    refused(&mut world.app(), "42501", "CREATE INDEX ON paper ((title::int))");
}

/// The line that an error of COPY FROM quotes is the one that the client has sent.
#[test]
fn copy_from_quotes_the_clients_own_line() {
    let world = papers("leaks_copy");
    let mut app = world.app();
    for (sqlstate, line) in [("23505", "11\town\t1\n"), ("23514", "700\town\t5000\n")] {
        begin(&mut app, A);
        let mut copy = app.copy_in("COPY paper (id, title, pages) FROM STDIN").unwrap();
        std::io::Write::write_all(&mut copy, line.as_bytes()).unwrap();
        let error = copy.finish().unwrap_err().as_db_error().unwrap().clone();
        assert_eq!((error.code().code(), error.detail()), (sqlstate, None), "{line}");
        let context = format!("COPY paper, line 1: \"{}\"", line.trim_end());
        assert_eq!(error.where_(), Some(context.as_str()));
        run(&mut app, "ROLLBACK");
    }
}
