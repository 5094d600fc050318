//! What a superuser takes off, settings of the session or parts of the extension, is on record, also where it is put on again
//! before anybody looks.

mod common;

use common::*;
use orgscope_cluster::Options;

/// What statements of one session add to the log: `action|operation|object or name|value`.
fn added(world: &World, sql: &[&str]) -> Vec<String> {
    let mut admin = world.superuser();
    run(&mut admin, "SELECT orgscope.flush_audit()");
    let last = one(&mut admin, "SELECT COALESCE(max(id), 0) FROM orgscope.audit_log");
    let mut client = world.superuser();
    sql.iter().for_each(|sql| run(&mut client, sql));
    run(&mut admin, "SELECT orgscope.flush_audit()");
    rows(
        &mut admin,
        &format!(
            "SELECT action, operation, COALESCE(detail ->> 'name', detail -> 'objects' ->> 0), detail ->> 'value'
             FROM orgscope.audit_log WHERE action IN ('setting', 'ddl') AND id > {last} ORDER BY id"
        ),
    )
}

fn server_log(world: &World) -> String {
    std::fs::read_to_string(world.cluster().log_path()).unwrap()
}

/// Without one that is forgotten.
#[test]
fn every_setting_of_superusers_is_on_record() {
    let world = World::without_tables("taken_off_settings");
    let settings = rows(
        &mut world.superuser(),
        "SELECT name, setting, COALESCE((SELECT v FROM unnest(enumvals) v WHERE v <> setting LIMIT 1),
            CASE setting WHEN 'on' THEN 'off' WHEN 'off' THEN 'on' ELSE (setting::int + 1)::text END)
         FROM pg_settings WHERE name LIKE 'orgscope.%' AND context = 'superuser'",
    );
    assert!(settings.len() >= 12, "{settings:?}");
    for setting in settings {
        let parts: Vec<_> = setting.split('|').collect();
        let (name, default, other) = (parts[0], parts[1], parts[2]);
        assert_eq!(
            added(&world, &[&format!("SET {name} = '{other}'"), &format!("RESET {name}")]),
            [format!("setting|SET|{name}|{other}"), format!("setting|RESET|{name}|{default}")]
        );
    }
}

#[test]
fn the_seat_belt_comes_off_on_record() {
    let world = World::in_own_cluster(&Options::default());
    let (on, off) = ("setting|SET|orgscope.bypass|deny", "setting|RESET|orgscope.bypass|audit");
    let set = "SET orgscope.bypass = deny";
    for way in [
        &["RESET orgscope.bypass"][..],
        &["SET orgscope.bypass TO DEFAULT"],
        &["RESET ALL"],
        &["DISCARD ALL"],
        &["SELECT set_config('orgscope.bypass', NULL, false)"],
        &["BEGIN", "RESET orgscope.bypass", "ROLLBACK"],
    ] {
        let mut added = added(&world, &[&[set][..], way].concat());
        added.truncate(2);
        assert_eq!(added, [on, off], "{way:?}");
    }
    assert_eq!(added(&world, &["BEGIN", "SET LOCAL orgscope.bypass = deny", "COMMIT", "SELECT 1"]), [on, off]);
    // A file that is read anew is no act of the session; the one who wrote it is on record.
    let reload = "SELECT pg_reload_conf(), pg_sleep(0.3)";
    assert_eq!(
        added(
            &world,
            &[
                "ALTER SYSTEM SET orgscope.bypass = 'deny'",
                reload,
                "SELECT 1",
                "ALTER SYSTEM RESET orgscope.bypass",
                reload,
                "SELECT 1"
            ]
        ),
        ["setting|ALTER SYSTEM|orgscope.bypass|deny", "setting|ALTER SYSTEM|orgscope.bypass|-"]
    );
}

/// Nothing that runs in between goes through the executor.
#[test]
fn what_is_put_on_again_was_off_on_record() {
    let world = World::new("taken_off_between");
    let mut admin = world.superuser();
    run(
        &mut admin,
        "ALTER DATABASE taken_off_between SET orgscope.bypass = 'deny';
         CREATE FUNCTION hidden() RETURNS void LANGUAGE plpgsql SET orgscope.bypass = 'audit'
             SET orgscope.audit_reads = 'off' AS $$ BEGIN LOCK ticket IN ACCESS EXCLUSIVE MODE; COPY ticket TO '/dev/null'; END $$",
    );
    let off = ["setting|SET|orgscope.bypass|audit", "setting|SET|orgscope.audit_reads|off"];
    let block = |statement: &str| {
        format!(
            "DO $$ DECLARE x text; BEGIN
                x := set_config('orgscope.bypass', 'audit', false); x := set_config('orgscope.audit_reads', 'off', false);
                {statement};
                x := set_config('orgscope.bypass', 'deny', false); x := set_config('orgscope.audit_reads', 'on', false);
             END $$"
        )
    };
    for sql in [
        "DO $$ BEGIN PERFORM hidden(); END $$".to_owned(),
        block("COPY ticket TO '/dev/null'"),
        block("LOCK ticket IN ACCESS EXCLUSIVE MODE"),
        block("TRUNCATE comment"),
    ] {
        let added = added(&world, &[&sql]);
        assert!(added.starts_with(&off.map(str::to_owned)), "{sql}: {added:?}");
    }
}

#[test]
fn what_leaves_the_extension_is_on_record() {
    let world = World::without_tables("taken_off_members");
    let ddl = |operation: &str, object: &str| format!("ddl|{operation}|{object}|-");
    assert_eq!(
        added(
            &world,
            &[
                "ALTER EXTENSION orgscope DROP EVENT TRIGGER orgscope_keep_scoping",
                "ALTER EXTENSION orgscope ADD EVENT TRIGGER orgscope_keep_scoping",
                "ALTER EXTENSION orgscope UPDATE",
                "ALTER EXTENSION orgscope DROP EVENT TRIGGER orgscope_keep_scoping; DROP EVENT TRIGGER orgscope_keep_scoping",
            ]
        ),
        [
            ddl("ALTER EXTENSION DROP", "orgscope"),
            ddl("ALTER EXTENSION ADD", "orgscope"),
            ddl("ALTER EXTENSION UPDATE", "orgscope"),
            ddl("ALTER EXTENSION DROP", "orgscope"),
            ddl("DROP EVENT TRIGGER", "orgscope_keep_scoping"),
        ]
    );
    let log = server_log(&world);
    for line in [r#""operation":"ALTER EXTENSION DROP""#, r#""operation":"DROP EVENT TRIGGER""#] {
        assert!(log.lines().any(|l| l.contains("orgscope audit: {") && l.contains(line)), "{line}");
    }
    let back = "BEGIN; ALTER EXTENSION orgscope DROP EVENT TRIGGER orgscope_keep_scoping_parts; ROLLBACK";
    assert_eq!(added(&world, &[back]), [ddl("ALTER EXTENSION DROP", "orgscope")]);
    // Those of others are their own affair.
    let others = "CREATE FUNCTION f() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END';
         CREATE EVENT TRIGGER other ON sql_drop EXECUTE FUNCTION f(); DROP EVENT TRIGGER other";
    assert_eq!(added(&world, &[others]), [""; 0]);
    refused(&mut world.app(), "42501", "ALTER EXTENSION orgscope DROP EVENT TRIGGER orgscope_keep_scoping_parts");
}

/// Under another name the extension is not there for whoever looks for it at the end of the transaction.
#[test]
fn an_extension_that_is_hidden_leaves_its_records_in_the_server_log() {
    let world = World::in_own_cluster(&Options::default());
    let other = world.beside("other");
    let mut admin = other.superuser();
    run(&mut admin, "CREATE EXTENSION orgscope");
    run(
        &mut admin,
        "BEGIN; UPDATE pg_extension SET extname = 'x' WHERE extname = 'orgscope'; CREATE ROLE sneaky BYPASSRLS; COMMIT",
    );
    let log = server_log(&other);
    let lines: Vec<_> = log.lines().filter(|line| line.contains("orgscope audit: {")).collect();
    assert!(lines.iter().any(|line| line.contains(r#""table_name":"pg_catalog.pg_extension""#)), "{lines:?}");
    // Back under its name, and noted before that is known to last.
    run(&mut admin, "UPDATE pg_extension SET extname = 'orgscope' WHERE extname = 'x'");
    let count = |world: &World| server_log(world).matches(r#""table_name":"pg_catalog.pg_namespace""#).count();
    run(&mut admin, "BEGIN; UPDATE pg_namespace SET nspname = nspname WHERE nspname = 'orgscope'; ROLLBACK");
    assert!(count(&other) > 0);
    run(
        &mut admin,
        "BEGIN; CREATE ROLE sneaky2 BYPASSRLS; UPDATE pg_extension SET extname = 'x' WHERE extname = 'orgscope'; COMMIT",
    );
    assert!(server_log(&other).contains(r#""role":"sneaky2""#), "{}", server_log(&other));
}
