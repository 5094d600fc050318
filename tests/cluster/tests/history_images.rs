//! What stands in a row image does not depend on names of columns, nor on who changes the row how.

mod common;

use common::*;

/// Makes a scoped table of the owner's, with history.
fn recorded(world: &World, columns: &str, exclude: &str) {
    run(
        &mut world.owner(),
        &format!(
            "CREATE TABLE thing ({columns}, organization_id uuid); GRANT ALL ON thing TO app;
             SELECT orgscope.enable_org_scoping('thing'); SELECT orgscope.enable_change_history('thing', '{{{exclude}}}')"
        ),
    );
}

fn logged(world: &World, columns: &str) -> Vec<String> {
    rows(&mut world.superuser(), &format!("SELECT {columns} FROM orgscope.change_log ORDER BY id"))
}

#[test]
fn columns_may_have_any_name() {
    let world = World::without_tables("images_names");
    recorded(&world, "k int PRIMARY KEY, i int, t int, r int, image int, key int, o int, n int", "");
    let mut app = world.app();
    rows_under(&mut app, A, "INSERT INTO thing VALUES (1, 2, 3, 4, 5, 6, 7, 8)");
    rows_under(&mut app, A, "UPDATE thing SET i = 20");
    rows_under(&mut app, A, "DELETE FROM thing");
    assert_eq!(
        logged(&world, "operation, key, (old - 'organization_id') ->> 'i', (new - 'organization_id') ->> 'i'"),
        [r#"INSERT|{"k": 1}|-|2"#, r#"UPDATE|{"k": 1}|2|20"#, r#"DELETE|{"k": 1}|20|-"#]
    );
}

/// A column that has the name of what the statement calls the row.
#[test]
fn an_excluded_column_is_not_taken_for_the_row() {
    let world = World::without_tables("images_excluded");
    run(&mut world.superuser(), "CREATE TYPE address AS (street text, card text)");
    recorded(
        &world,
        "id int PRIMARY KEY, i address, ssn text, masked text GENERATED ALWAYS AS ('x' || ssn) STORED, note text",
        "i, ssn",
    );
    let insert = "INSERT INTO thing (id, i, ssn, note) VALUES (1, ('road', 'secret'), 'secret', 'open')";
    rows_under(&mut world.app(), A, insert);
    assert_eq!(logged(&world, "new - 'organization_id'"), [r#"{"id": 1, "note": "open"}"#]);
    // Nor is what is computed from it later on.
    run(&mut world.owner(), "ALTER TABLE thing ADD COLUMN copied text GENERATED ALWAYS AS (upper(ssn)) STORED");
    rows_under(&mut world.app(), A, "UPDATE thing SET note = 'shut'");
    assert_eq!(logged(&world, "new - 'organization_id'")[1], r#"{"id": 1, "note": "shut"}"#);
}

#[test]
fn settings_of_the_session_do_not_change_an_image() {
    let world = World::without_tables("images_settings");
    recorded(
        &world,
        "at timestamptz, n float8, price float8, span tstzrange, wait interval, raw bytea, cost money, PRIMARY KEY (at, n)",
        "",
    );
    let mut app = world.app();
    let row = "INSERT INTO thing VALUES ('2026-07-01 12:00+00', 0.3, 1, '[2026-07-01 12:00+00,)', '1 day 2 hours', '\\x61', '1.5'),
                                        ('2026-07-01 12:00+00', 0.30000000000000004, 2, NULL, NULL, NULL, NULL)";
    rows_under(&mut app, A, row);
    let strange = "SET TimeZone = 'Asia/Tokyo'; SET extra_float_digits = -15; SET DateStyle = 'SQL, DMY';
                   SET IntervalStyle = 'iso_8601'; SET bytea_output = 'escape'";
    run(&mut app, strange);
    rows_under(&mut app, A, "UPDATE thing SET price = 1999999.99");
    let found = logged(
        &world,
        "operation, key = lag(key, 2) OVER (ORDER BY id), old - 'price' = lag(new - 'price', 2) OVER (ORDER BY id), new ->> 'price'",
    );
    assert_eq!(found[2..], ["UPDATE|t|t|1999999.99", "UPDATE|t|t|1999999.99"]);
    // What the session has set stays set.
    assert_eq!(one(&mut app, "SHOW TimeZone"), "Asia/Tokyo");
    assert_eq!(
        one(&mut app, "SELECT count(*) FROM pg_settings WHERE name = 'extra_float_digits' AND setting = '-15'"),
        "1"
    );
}
