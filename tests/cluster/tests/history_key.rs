//! `history_of()` takes the key as whoever asks has it.

mod common;

use common::*;

#[test]
fn a_key_is_taken_in_its_own_type() {
    let world = World::without_tables("history_key");
    let mut owner = world.owner();
    run(&mut owner, "CREATE TYPE color AS ENUM ('red', 'blue'); CREATE DOMAIN code AS varchar(9)");
    // The type of the key, its value as text, and how somebody writes it.
    let id = "0190c3f5-0000-7000-8000-00000000000f";
    let uuid = format!("'{id}'::uuid");
    let keys = [
        ("smallint", "7", vec!["7", "7::smallint", "7::bigint", "'7'", "'7'::text"]),
        ("int", "1", vec!["1", "1::bigint", "'1'", "1.0", "'{\"id\": 1}'", "'{\"id\": 1}'::jsonb"]),
        ("bigint", "9223372036854775807", vec!["9223372036854775807", "'9223372036854775807'"]),
        ("numeric", "1.50", vec!["1.5", "1.50", "'1.5'"]),
        ("uuid", id, vec![&uuid, "'0190c3f5-0000-7000-8000-00000000000f'"]),
        ("text", "abc", vec!["'abc'", "'abc'::text", "'abc'::varchar", "'abc'::name"]),
        ("text", "42", vec!["42", "'42'"]),
        ("code", "x", vec!["'x'", "'x'::code"]),
        ("date", "2026-11-28", vec!["'2026-11-28'", "DATE '2026-11-28'"]),
        ("color", "blue", vec!["'blue'", "'blue'::color"]),
        (
            "timestamptz",
            "2026-07-01 12:00+00",
            vec!["TIMESTAMPTZ '2026-07-01 14:00+02'", "TIMESTAMPTZ '2026-07-01 21:00'"],
        ),
        ("boolean", "true", vec!["true", "'true'"]),
    ];
    for (kind, value, written) in keys {
        run(
            &mut owner,
            &format!(
                "CREATE TABLE keyed (id {kind} PRIMARY KEY); GRANT ALL ON keyed TO app;
                 SELECT orgscope.enable_org_scoping('keyed'); SELECT orgscope.enable_change_history('keyed')"
            ),
        );
        let mut app = world.app();
        assert_eq!(rows_under(&mut app, A, &format!("INSERT INTO keyed VALUES ('{value}'); SELECT 1")), ["1"]);
        // Dates are written as the reader's session has them, but not looked for so.
        run(&mut app, "SET datestyle = 'SQL, DMY'; SET TimeZone = 'Asia/Tokyo'");
        for key in written {
            for target in ["'keyed'", "'keyed'::regclass"] {
                let asked = format!("SELECT operation FROM orgscope.history_of({target}, {key})");
                let name = format!("{kind} {asked}");
                assert_eq!(rows_under(&mut app, A, &asked).last().map(String::as_str), Some("INSERT"), "{name}");
                assert_eq!(rows_under(&mut app, B, &asked), [""; 0], "{name}");
            }
        }
        run(&mut owner, "SELECT orgscope.disable_change_history('keyed'); DROP TABLE keyed");
    }
    assert_eq!(one(&mut owner, "SELECT count(*) FROM orgscope.history_of('pg_class', NULL)"), "0");
}
