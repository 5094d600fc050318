//! Chains outlive other settings, rewriting, dump and restore; the partitions that hold the rows.

use crate::common::*;
use crate::*;

const MAKE: &str = "SELECT orgscope.make_audit_partitions()";
const PARTITIONS: &str = "SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
    WHERE i.inhparent = 'orgscope.audit_log'::regclass ORDER BY 1";

#[test]
fn a_chain_does_not_depend_on_settings() {
    let world = sealed("settings_apart");
    let mut admin = world.superuser();
    run(
        &mut admin,
        "SET datestyle = 'German'; SET timezone = 'Asia/Kathmandu'; SET client_encoding = 'LATIN1'; SET bytea_output = 'escape';
         SET intervalstyle = 'iso_8601'; SET extra_float_digits = 0; SET search_path = ''",
    );
    assert_eq!(verdicts(&mut admin), GOOD);
    run(
        &mut admin,
        "INSERT INTO orgscope.audit_log (action, at) VALUES ('denied', 'infinity'), ('denied', '0044-03-15 BC'), ('denied', '2026-10-25 00:30:00.000001+00')",
    );
    assert_eq!(seal(&mut admin), "3");
    assert_eq!(verdicts(&mut world.superuser())[0], "-|ok|-|-|3");
    // A long statement is stored out of line.
    run(
        &mut admin,
        "INSERT INTO orgscope.audit_log (action, statement) SELECT 'denied', string_agg(md5(i::text), '') FROM generate_series(1, 9000) i",
    );
    assert_eq!(seal(&mut admin), "1");
    run(&mut admin, "VACUUM FULL orgscope.audit_log");
    run(&mut admin, "VACUUM FULL orgscope.audit_seal");
    assert_eq!(verdicts(&mut world.superuser())[0], "-|ok|-|-|4");
}

#[test]
fn dump_and_restore_keep_chains() {
    let world = sealed("chain_dumped");
    let mut admin = world.superuser();
    assert_eq!(one(&mut admin, MAKE), "4", "this month's rows have moved");
    run(
        &mut admin,
        "INSERT INTO orgscope.audit_log (action, at) VALUES ('denied', now() + interval '1 month'), ('denied', now())",
    );
    seal(&mut admin);
    run(&mut admin, "SELECT orgscope.purge_audit_log('infinity')");
    run(
        &mut admin,
        &format!(
            "INSERT INTO orgscope.audit_log (organization_id, action, statement) VALUES ('{A}', 'denied', 'größer')"
        ),
    );
    seal(&mut admin);
    // Under way while the dump is made.
    let mut late = world.superuser();
    run(
        &mut late,
        &format!("BEGIN; INSERT INTO orgscope.audit_log (organization_id, action) VALUES ('{B}', 'denied')"),
    );
    run(&mut admin, &format!("INSERT INTO orgscope.audit_log (organization_id, action) VALUES ('{A}', 'denied')"));
    seal(&mut admin);
    // And what is sealed now stays as it is.
    run(&mut late, "LOCK TABLE orgscope.audit_gap IN ROW EXCLUSIVE MODE");
    run(&mut admin, &format!("INSERT INTO orgscope.audit_log (organization_id, action) VALUES ('{A}', 'denied')"));
    let before = verdicts(&mut admin);
    let whole = [
        "SELECT * FROM orgscope.audit_digest(NULL)",
        "SELECT tableoid::regclass, * FROM orgscope.audit_log ORDER BY id",
        "SELECT c.oid::regclass, c.relrowsecurity, c.relacl IS NULL, pg_get_expr(c.relpartbound, c.oid), t.tgname, t.tgenabled, x.indexrelid::regclass
         FROM pg_partition_tree('orgscope.audit_log') p JOIN pg_class c ON c.oid = p.relid LEFT JOIN pg_trigger t ON t.tgrelid = c.oid
         LEFT JOIN pg_index x ON x.indrelid = c.oid ORDER BY c.relname, 5, 7",
    ];
    let picture = whole.map(|sql| rows(&mut admin, sql));
    for (name, encoding) in [("chain_restored", "UTF8"), ("chain_latin1", "LATIN1")] {
        run(
            &mut world.cluster().connect("postgres", "postgres").unwrap(),
            &format!("CREATE DATABASE {name} ENCODING {encoding} TEMPLATE template0"),
        );
        let dump = world.cluster().scratch_directory(name).unwrap().join("dump");
        output(world.cluster().command("pg_dump").args(["-Fc", "-d", "chain_dumped", "-f"]).arg(&dump));
        output(world.cluster().command("pg_restore").args(["-e", "-d", name]).arg(&dump));
        let mut client = world.cluster().connect("postgres", name).unwrap();
        assert_eq!(verdicts(&mut client), before, "{name}");
        assert_eq!(whole.map(|sql| rows(&mut client, sql)), picture);
        assert_eq!(one(&mut client, MAKE), "0");
        // The restored chains are closed: this installation begins its own.
        assert_eq!(seal(&mut client), "0");
        run(&mut client, &format!("INSERT INTO orgscope.audit_log (organization_id, action) VALUES ('{A}', 'denied')"));
        assert_eq!(seal(&mut client), "1");
        assert_eq!(verdicts(&mut client)[1], "a|ok|-|-|1", "{name}");
    }
}

/// A dump of the first second, or of a server without a writer: its rows count as unsealed, also after a second restore by
/// way of a database that has seals of its own.
#[test]
fn a_dump_in_which_nothing_was_sealed_verifies() {
    let world = world("never_sealed");
    let mut admin = world.superuser();
    let add = format!(
        "INSERT INTO orgscope.audit_log (organization_id, action) VALUES ('{A}', 'denied'), (NULL, 'denied'), ('{A}', 'denied')"
    );
    run(&mut admin, &add);
    assert_eq!(one(&mut admin, "SELECT count(*) FROM orgscope.audit_seal"), "0");
    let unsealed = "SELECT left(organization_id::text, 1), verdict, rows, unsealed FROM orgscope.verify_audit(NULL)";
    let mut source = "never_sealed";
    for (name, expected, sealed) in [
        ("never_sealed_once", ["-|ok|0|1", "a|ok|0|2"], ["-|ok|1|1", "a|ok|2|2"]),
        ("never_sealed_twice", ["-|ok|1|1", "a|ok|2|2"], ["-|ok|2|1", "a|ok|4|2"]),
    ] {
        let file = world.cluster().scratch_directory(name).unwrap().join("dump");
        output(world.cluster().command("pg_dump").args(["-Fc", "-d", source, "-f"]).arg(&file));
        world.cluster().create_database(name).unwrap();
        output(world.cluster().command("pg_restore").args(["-e", "-d", name]).arg(&file));
        let mut client = world.cluster().connect("postgres", name).unwrap();
        assert_eq!(rows(&mut client, unsealed), expected, "{name}");
        run(&mut client, &add);
        assert_eq!(seal(&mut client), "3");
        assert_eq!(rows(&mut client, unsealed), sealed, "{name}");
        // From before any installation whose rows may be here.
        run(
            &mut client,
            &format!(
                "BEGIN; INSERT INTO orgscope.audit_log (id, organization_id, action) OVERRIDING SYSTEM VALUE VALUES (nth(-3), '{B}', 'x')"
            ),
        );
        assert_eq!(verdicts(&mut client)[2], "b|added|-3|-|-", "{name}");
        run(&mut client, "ROLLBACK");
        source = name;
    }
}

/// The writer of the new database does not wait until a restore is over, which nobody can tell it.
#[test]
fn a_restore_meets_an_installation_at_work() {
    let world = sealed("chain_source");
    let mut admin = world.superuser();
    run(&mut admin, "SELECT orgscope.purge_audit_log((SELECT at FROM orgscope.audit_log WHERE id = nth(3)))");
    seal(&mut admin);
    let file = world.cluster().scratch_directory("at_work").unwrap().join("dump");
    output(world.cluster().command("pg_dump").args(["-Fc", "-d", "chain_source", "-f"]).arg(&file));
    world.cluster().create_database("chain_target").unwrap();
    let mut client = world.cluster().connect("postgres", "chain_target").unwrap();
    let work = |client: &mut postgres::Client| {
        run(
            client,
            &format!(
                "INSERT INTO orgscope.audit_log (organization_id, action) VALUES ('{A}', 'denied'), (NULL, 'denied')"
            ),
        );
        assert!(seal(client).parse::<u32>().unwrap() >= 2);
    };
    for section in ["--section=pre-data", "--section=data", "--section=post-data"] {
        let mut restore = world.cluster().command("pg_restore");
        output(restore.args(["-e", "-d", "chain_target", section]).arg(&file));
        work(&mut client);
    }
    assert_eq!(verdicts(&mut client), ["-|ok|-|-|3", "a|ok|-|-|3", "b|ok|-|-|3"]);
    let digests =
        "SELECT organization_id, seal, sequence, digest, installation FROM orgscope.audit_digest(NULL) ORDER BY 1, 5";
    let (before, after) = (rows(&mut admin, digests), rows(&mut client, digests));
    assert!(before.iter().all(|d| after.contains(d)) && after.len() == before.len() + 2, "{before:?} {after:?}");
    // What was restored is evident as before, and a purge takes both.
    let mut changed = world.cluster().connect("postgres", "chain_target").unwrap();
    run(&mut changed, "BEGIN; ALTER TABLE orgscope.audit_log DISABLE TRIGGER USER");
    run(&mut changed, "UPDATE orgscope.audit_log SET reason = 'x' WHERE id = nth(5)");
    assert_eq!(verdicts(&mut changed)[1], "a|changed|5|3|2");
    run(&mut changed, "ROLLBACK");
    assert_ne!(one(&mut client, "SELECT orgscope.purge_audit_log('infinity')"), "0");
    assert!(verdicts(&mut client).iter().all(|v| v.contains("|ok|")), "{:?}", verdicts(&mut client));
    assert_eq!(one(&mut client, "SELECT count(*) FROM orgscope.audit_seal"), "0");
    assert_eq!(one(&mut client, "SELECT count(*) FROM orgscope.audit_checkpoint"), "5");
    work(&mut client);
    assert!(verdicts(&mut client).iter().all(|v| v.contains("|ok|")));
    // The record of that purge goes with the next one, and is written again for the chains that have nothing left to purge.
    let cuts = "SELECT chain, installation, number, digest, purged_at FROM orgscope.audit_checkpoint WHERE NOT installation IN (SELECT first_id FROM orgscope.audit_installation) ORDER BY 1";
    let before = rows(&mut client, cuts);
    assert_eq!(before.len(), 3);
    for _ in 0..2 {
        run(&mut client, "SELECT orgscope.purge_audit_log('infinity')");
        assert!(verdicts(&mut client).iter().all(|v| v.contains("|ok|")), "{:?}", verdicts(&mut client));
        assert_eq!(rows(&mut client, cuts), before);
    }
    // Without its record, a cut does not hide what was changed behind it.
    run(&mut client, "ALTER TABLE orgscope.audit_log DISABLE TRIGGER USER");
    let record_of = "SELECT record_id FROM orgscope.audit_checkpoint WHERE chain";
    run(&mut client, &format!("DELETE FROM orgscope.audit_log WHERE id IN ({record_of} = '{A}')"));
    assert!(verdicts(&mut client)[1].starts_with("a|checkpoint|"), "{:?}", verdicts(&mut client));
    work(&mut client);
    let last = format!("(SELECT max(id) FROM orgscope.audit_log WHERE organization_id = '{A}')");
    run(&mut client, &format!("UPDATE orgscope.audit_log SET reason = 'x' WHERE id = {last}"));
    assert!(verdicts(&mut client)[1].starts_with("a|changed|"), "{:?}", verdicts(&mut client));
}

#[test]
fn months_have_partitions_that_are_as_closed_as_the_table() {
    let world = World::new("months");
    number_ids(&world);
    let mut admin = world.superuser();
    run(&mut admin, "ALTER DEFAULT PRIVILEGES IN SCHEMA orgscope GRANT ALL ON TABLES TO app, dba, PUBLIC");
    assert_eq!(one(&mut admin, MAKE), "4");
    assert_eq!(one(&mut admin, MAKE), "0");
    let partitions = rows(&mut admin, PARTITIONS);
    assert_eq!(partitions.len(), 3);
    run(&mut admin, "UPDATE ticket SET title = 'x' WHERE id = 1");
    let month = format!("orgscope.{}", partitions[0]);
    assert_eq!(rows(&mut admin, &format!("SELECT operation FROM {month}")), ["UPDATE"], "making them is no drift");
    assert_eq!(seal(&mut admin), "1");
    for partition in &partitions {
        for change in
            ["UPDATE orgscope.{} SET reason = 'x' WHERE false", "DELETE FROM orgscope.{}", "TRUNCATE orgscope.{}"]
        {
            refused(&mut admin, "OS008", &change.replace("{}", partition));
        }
        for user in ["app", "dba"] {
            for sql in [
                "SELECT * FROM orgscope.{}",
                "INSERT INTO orgscope.{} (action) VALUES ('x')",
                "DELETE FROM orgscope.{}",
            ] {
                refused(&mut world.connect(user), "42501", &sql.replace("{}", partition));
            }
        }
        // Granted by hand, row security still holds.
        run(&mut admin, &format!("GRANT SELECT ON orgscope.{partition} TO app"));
        assert_eq!(rows_under(&mut world.app(), A, &format!("SELECT id FROM orgscope.{partition}")), [""; 0]);
    }
    assert_eq!(rows_under(&mut world.app(), A, "SELECT operation FROM orgscope.audit_log"), ["UPDATE"]);
    // What weakens one is on record.
    run(
        &mut admin,
        &format!("ALTER TABLE {month} DISABLE TRIGGER audit_immutable; DELETE FROM {month} WHERE id = nth(1)"),
    );
    run(&mut admin, &format!("ALTER TABLE orgscope.audit_log DETACH PARTITION orgscope.{}", partitions[1]));
    assert_eq!(
        rows(
            &mut admin,
            "SELECT operation, detail -> 'objects' FROM orgscope.audit_log WHERE action = 'ddl' ORDER BY id"
        ),
        [format!("ALTER TABLE|[\"{month}\"]"), "ALTER TABLE|[\"orgscope.audit_log\"]".into()]
    );
    assert!(verdicts(&mut admin).contains(&"a|missing|1|1|1".into()));
}

#[test]
fn nobody_waits_for_a_partition_and_it_goes_with_the_extension() {
    let world = World::without_tables("months_dropped");
    let (mut admin, mut reader) = (world.superuser(), world.superuser());
    run(&mut reader, "BEGIN; SELECT FROM orgscope.audit_log");
    assert_eq!(one(&mut admin, MAKE), "2", "the change log's");
    run(&mut reader, "ROLLBACK");
    assert_eq!(one(&mut admin, MAKE), "2");
    for user in ["app", "owner", "dba"] {
        refused(&mut world.connect(user), "42501", MAKE);
    }
    run(&mut admin, "DROP EXTENSION orgscope");
    assert_eq!(one(&mut admin, "SELECT count(*) FROM pg_class WHERE relname LIKE 'audit_log%'"), "0");
}

#[test]
fn the_change_log_has_months_too() {
    let world = World::new("change_months");
    let mut admin = world.superuser();
    assert_eq!(one(&mut admin, MAKE), "4");
    run(&mut world.owner(), "SELECT orgscope.enable_change_history('ticket')");
    let change = |title| {
        format!(
            "BEGIN; SET LOCAL orgscope.current_org = '{A}'; UPDATE ticket SET title = '{title}' WHERE id = 1; COMMIT"
        )
    };
    run(&mut world.app(), &change("x"));
    let where_to =
        "SELECT tableoid::regclass::text ~ 'change_log_[0-9]{4}_[0-9]{2}$', operation FROM orgscope.change_log";
    assert_eq!(rows(&mut admin, where_to), ["t|UPDATE"]);
    let month = one(&mut admin, "SELECT tableoid::regclass FROM orgscope.change_log");
    refused(&mut admin, "OS008", &format!("DELETE FROM {month}"));
    refused(&mut world.app(), "42501", &format!("SELECT * FROM {month}"));
    let history = "SELECT operation FROM orgscope.history_of('ticket', '1')";
    assert_eq!(rows_under(&mut world.app(), A, history), ["UPDATE"]);
    assert_eq!(rows_under(&mut world.app(), B, history), [""; 0]);
    // Restored, it takes the next change.
    let file = world.cluster().scratch_directory("change_months").unwrap().join("dump");
    output(world.cluster().command("pg_dump").args(["-Fc", "-d", "change_months", "-f"]).arg(&file));
    world.cluster().create_database("change_months_again").unwrap();
    output(world.cluster().command("pg_restore").args(["-e", "-d", "change_months_again"]).arg(&file));
    let mut again = world.cluster().connect("app", "change_months_again").unwrap();
    run(&mut again, &change("y"));
    assert_eq!(rows_under(&mut again, A, &history.replace("operation", "new ->> 'title'")), ["x", "y"]);
}

#[test]
fn a_month_that_a_purge_has_emptied_is_dropped() {
    let world = world("emptied");
    let mut admin = world.superuser();
    for month in ["04", "05"] {
        run(
            &mut admin,
            &format!(
                "CREATE TABLE orgscope.audit_log_2020_{month} PARTITION OF orgscope.audit_log
                     FOR VALUES FROM ('2020-{month}-01 00:00:00+00') TO ('2020-{month}-28 00:00:00+00');
                 INSERT INTO orgscope.audit_log (action, at) VALUES ('denied', '2020-{month}-10'); SELECT orgscope.seal_audit()"
            ),
        );
    }
    let mut reader = world.superuser();
    run(&mut reader, "BEGIN; SELECT FROM orgscope.audit_log");
    assert_eq!(one(&mut admin, "SELECT orgscope.purge_audit_log('2020-05-02')"), "1");
    assert_eq!(rows(&mut admin, PARTITIONS).len(), 3, "nobody waits for it");
    run(&mut reader, "ROLLBACK");
    run(&mut admin, "SELECT orgscope.purge_audit_log('2020-05-02')");
    assert_eq!(rows(&mut admin, PARTITIONS), ["audit_log_2020_05", "audit_log_default"]);
    assert!(verdicts(&mut admin).iter().all(|v| v.contains("|ok|")));
    assert_eq!(one(&mut admin, "SELECT count(*) FROM orgscope.audit_log WHERE operation = 'DROP TABLE'"), "1");
}

/// The extension's first month, and one after a long time without an event: rows come before the partition does.
#[test]
fn a_month_that_has_begun_takes_its_rows_along() {
    let world = sealed("begun");
    let mut admin = world.superuser();
    run(&mut admin, "INSERT INTO orgscope.audit_log (action, at) VALUES ('denied', '2020-01-01'), ('denied', now())");
    run(
        &mut admin,
        "CREATE TABLE note (id int PRIMARY KEY); SELECT orgscope.enable_org_scoping('note'), orgscope.enable_change_history('note')",
    );
    run(&mut admin, &format!("INSERT INTO note VALUES (1, '{A}')"));
    let all = ["audit_log", "change_log"].map(|log| format!("SELECT l::text FROM orgscope.{log} l ORDER BY id"));
    let before = all.each_ref().map(|sql| rows(&mut admin, sql));
    // Not while somebody reads, and what is taken back was never there.
    let mut reader = world.superuser();
    run(&mut reader, "BEGIN; SELECT FROM orgscope.audit_log; SELECT FROM orgscope.change_log");
    assert_eq!(one(&mut admin, MAKE), "0");
    run(&mut reader, "ROLLBACK");
    assert_eq!(rows(&mut admin, &format!("BEGIN; {MAKE}; ROLLBACK")), ["4"]);
    assert_eq!(one(&mut admin, MAKE), "4");
    assert_eq!(one(&mut admin, MAKE), "0");
    assert_eq!(all.each_ref().map(|sql| rows(&mut admin, sql)), before);
    let left =
        "SELECT at::date FROM orgscope.audit_log_default UNION ALL SELECT at::date FROM orgscope.change_log_default";
    assert_eq!(rows(&mut admin, left), ["2020-01-01"]);
    assert!(verdicts(&mut admin).iter().all(|v| v.contains("|ok|")), "{:?}", verdicts(&mut admin));
    seal(&mut admin);
    assert!(verdicts(&mut admin).iter().all(|v| v.contains("|ok|")), "{:?}", verdicts(&mut admin));
    assert_eq!(
        rows_under(&mut world.app(), A, "SELECT count(*) FROM orgscope.audit_log WHERE table_name = 'public.ticket'"),
        ["4"]
    );
    refused(&mut admin, "OS008", "DELETE FROM orgscope.audit_log_default");
}

/// Nobody could write for too long.
#[test]
fn many_rows_stay_where_they_are() {
    let world = world("many");
    let mut admin = world.superuser();
    run(&mut admin, "INSERT INTO orgscope.audit_log (action) SELECT 'denied' FROM generate_series(1, 20001)");
    assert_eq!(one(&mut admin, MAKE), "3");
    assert_eq!(rows(&mut admin, PARTITIONS).len(), 2);
    assert_eq!(one(&mut admin, "SELECT count(*) FROM orgscope.audit_log_default"), "20001");
}
