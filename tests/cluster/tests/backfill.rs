//! orgscope.backfill_org() on a table in use: batch by batch, stopped and started again, never in anybody's way; and the
//! low-lock plan that uses it.

mod common;

use common::*;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const ORG: &str = "'aaaaaaaa-0000-7000-8000-000000000001'";

/// A table of `rows` rows without the organization column, as the owner.
fn world(database: &str, rows: u32) -> World {
    let world = World::without_tables(database);
    run(
        &mut world.owner(),
        &format!(
            "CREATE TABLE event (id int PRIMARY KEY, kind int, body text);
             INSERT INTO event SELECT i, i % 10, 'event ' || i FROM generate_series(1, {rows}) i;
             GRANT SELECT, INSERT, UPDATE, DELETE ON event TO app"
        ),
    );
    world
}

fn filled(world: &World) -> u32 {
    one(&mut world.superuser(), "SELECT count(organization_id) FROM event").parse().unwrap()
}

/// Slow enough to be met halfway.
const SLOW: &str = "(SELECT 'aaaaaaaa-0000-7000-8000-000000000001'::uuid FROM pg_sleep(0.001) WHERE id IS NOT NULL)";

fn call(expression: &str, batch: u32) -> String {
    format!("CALL orgscope.backfill_org('event', $e${expression}$e$, {batch})")
}

#[track_caller]
fn wait_for(what: &str, mut met: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !met() {
        assert!(begun.elapsed() < Duration::from_secs(60), "{what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn fills_what_the_expression_knows_and_leaves_the_rest() {
    let world = world("backfill_fills", 5000);
    let mut owner = world.owner();
    run(&mut owner, &call(&format!("CASE WHEN kind < 9 THEN {ORG} END"), 100));
    assert_eq!(filled(&world), 4500);
    let progress = "SELECT target, rows_total, rows_done, batches > 20, percent, eta, running, finished_at IS NOT NULL
                    FROM orgscope.backfill_progress";
    assert_eq!(rows(&mut world.app(), progress), ["event|5000|4500|t|100.0|-|f|t"]);
    let untouched = "SELECT count(*) FROM event WHERE kind = 9 AND xmin = (SELECT xmin FROM event WHERE id = 9)";
    assert_eq!(one(&mut owner, untouched), "500", "rows without an answer are not written");
    run(&mut owner, &call(ORG, 100));
    assert_eq!(filled(&world), 5000);
    // The column is NULL-able and without a default: an ordinary column, which enable goes on from.
    run(&mut owner, "SELECT orgscope.enable_org_scoping('event')");
    assert_eq!(rows_under(&mut world.app(), A, "SELECT count(*) FROM event"), ["5000"]);
}

#[test]
fn is_for_owners_outside_transactions() {
    let world = world("backfill_refuses", 10);
    let mut owner = world.owner();
    let sql = call(ORG, 10);
    refused(&mut owner, "25001", &format!("BEGIN; {sql}"));
    run(&mut owner, "ROLLBACK");
    refused(
        &mut owner,
        "25001",
        &format!("CREATE FUNCTION f() RETURNS void LANGUAGE plpgsql AS $$ BEGIN {sql}; END $$; SELECT f()"),
    );
    refused(&mut world.app(), "42501", &sql);
    refused(&mut world.dba(), "42501", &sql);
    refused(&mut owner, "OS005", &call(ORG, 0));
    refused(&mut owner, "OS005", "CALL orgscope.backfill_org('event', 'kind', column_name => 'kind')");
    refused(
        &mut world.superuser(),
        "OS005",
        "CALL orgscope.backfill_org('orgscope.organization', '1', column_name => 'id')",
    );
    assert_eq!(one(&mut owner, "SELECT count(*) FROM orgscope.backfill_progress"), "0");
    assert_eq!(state(&mut owner, "SELECT organization_id FROM event"), "42703", "no column was added");
}

#[test]
fn every_partition_and_child_is_filled() {
    let world = World::without_tables("backfill_leaves");
    let mut owner = world.owner();
    run(
        &mut owner,
        "CREATE TABLE event (id int, kind int) PARTITION BY RANGE (id);
         CREATE TABLE low PARTITION OF event FOR VALUES FROM (0) TO (1000);
         CREATE TABLE high PARTITION OF event FOR VALUES FROM (1000) TO (3000) PARTITION BY LIST (kind);
         CREATE TABLE high_1 PARTITION OF high FOR VALUES IN (1);
         CREATE TABLE high_rest PARTITION OF high DEFAULT;
         CREATE TABLE rest PARTITION OF event DEFAULT;
         INSERT INTO event SELECT i, i % 3 FROM generate_series(1, 5000) i;
         CREATE TABLE parent (id int); CREATE TABLE child (more text) INHERITS (parent);
         INSERT INTO parent SELECT generate_series(1, 100); INSERT INTO child SELECT generate_series(1, 100)",
    );
    run(&mut owner, &call(&format!("CASE WHEN event.id > 0 THEN {ORG} END"), 50));
    run(&mut owner, &format!("CALL orgscope.backfill_org('parent', $e${ORG}$e$, 10)"));
    assert_eq!(filled(&world), 5000);
    assert_eq!(one(&mut owner, "SELECT count(organization_id) FROM parent"), "200");
}

/// Triggers of the table fire, and the expression sees rows as they are when their batch comes.
#[test]
fn triggers_fire() {
    let world = world("backfill_triggers", 1000);
    let mut owner = world.owner();
    run(
        &mut owner,
        "CREATE FUNCTION mark() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.body := 'marked'; RETURN NEW; END $$;
         CREATE TRIGGER mark BEFORE UPDATE ON event FOR EACH ROW EXECUTE FUNCTION mark()",
    );
    run(&mut owner, &call(ORG, 100));
    assert_eq!(one(&mut owner, "SELECT count(*) FROM event WHERE body = 'marked'"), "1000");
}

/// Cancelled or killed, it keeps what it has committed; called again, it begins behind it.
#[test]
fn stopped_it_goes_on_where_it_stood() {
    for kill in [false, true] {
        let world = world(if kill { "backfill_killed" } else { "backfill_cancelled" }, 6000);
        let mut watcher = world.superuser();
        let mut owner = world.owner();
        let pid = one(&mut owner, "SELECT pg_backend_pid()");
        let worker = std::thread::spawn(move || state(&mut owner, &call(SLOW, 200)));
        let running =
            "SELECT count(*) FROM orgscope.backfill_progress WHERE running AND percent BETWEEN 10 AND 80 AND eta > '0'";
        wait_for("halfway", || one(&mut watcher, running) == "1");
        let error = refused(&mut world.owner(), "OS005", &call(ORG, 200));
        assert_eq!(error.message(), "cannot backfill table \"event\"");
        assert_eq!(error.detail(), Some("Another session is filling it at this moment."));
        assert_eq!(error.hint(), Some("See orgscope.backfill_progress; wait for it, or stop it."));
        let stop = if kill { "pg_terminate_backend" } else { "pg_cancel_backend" };
        run(&mut watcher, &format!("SELECT {stop}({pid})"));
        assert_ne!(worker.join().unwrap(), "00000");
        let done = filled(&world);
        assert!((200..6000).contains(&done), "{done}");
        wait_for("it ends", || one(&mut watcher, "SELECT running FROM orgscope.backfill_progress") == "f");
        let first =
            one(&mut watcher, "SELECT rows_done || ' ' || (finished_at IS NULL) FROM orgscope.backfill_progress");
        assert_eq!(first, format!("{done} true"), "the table says what is committed, no more and no less");
        let stood = one(&mut watcher, "SELECT blocks_done FROM orgscope.backfill");
        run(&mut world.owner(), &call(ORG, 200));
        assert_eq!(filled(&world), 6000);
        let skipped = one(&mut watcher, "SELECT blocks_skipped FROM orgscope.backfill");
        assert_eq!(skipped, stood, "it begins behind the last batch");
    }
}

/// kill -9 of the backend takes the server down with it; what was committed is there when it is back.
#[test]
fn survives_a_crash() {
    let world = World::in_own_cluster(&orgscope_cluster::Options::default());
    let mut owner = world.owner();
    run(
        &mut owner,
        "CREATE TABLE event AS SELECT i AS id, NULL::uuid AS organization_id FROM generate_series(1, 6000) i",
    );
    let pid: i32 = one(&mut owner, "SELECT pg_backend_pid()").parse().unwrap();
    let worker = std::thread::spawn(move || state(&mut owner, &call(SLOW, 200)));
    let mut watcher = world.superuser();
    wait_for("halfway", || {
        one(&mut watcher, "SELECT count(*) FROM orgscope.backfill_progress WHERE rows_done > 1000") == "1"
    });
    world.cluster().kill9(pid).unwrap();
    worker.join().unwrap();
    drop(watcher);
    // The postmaster notices a moment later, and starts all over: the second time that it says it is ready.
    wait_for("recovery", || {
        let log = std::fs::read_to_string(world.cluster().log_path()).unwrap();
        log.matches("ready to accept connections").count() == 2
    });
    assert!((1000..6000).contains(&filled(&world)));
    run(&mut world.owner(), &call(ORG, 200));
    assert_eq!(filled(&world), 6000);
}

/// Readers and writers of other rows while it runs: how long the slowest of them waited.
fn in_use<R>(world: &World, job: impl FnOnce() -> R) -> (R, Duration) {
    let stop = Arc::new(AtomicBool::new(false));
    let clients: Vec<_> = [
        "SELECT count(*) FROM event WHERE id < 10",
        "UPDATE event SET body = body || '.' WHERE id = 1",
        "INSERT INTO event (id, kind) SELECT max(id) + 1, 0 FROM event",
    ]
    .into_iter()
    .map(|sql| {
        let (mut app, stop) = (world.app(), stop.clone());
        std::thread::spawn(move || {
            let mut longest = Duration::ZERO;
            while !stop.load(Ordering::Relaxed) {
                let begun = Instant::now();
                rows_under(&mut app, A, sql);
                longest = longest.max(begun.elapsed());
                std::thread::sleep(Duration::from_millis(5));
            }
            longest
        })
    })
    .collect();
    let result = job();
    stop.store(true, Ordering::Relaxed);
    (result, clients.into_iter().map(|c| c.join().unwrap()).max().unwrap())
}

#[test]
fn nobody_waits_longer_than_a_batch() {
    let world = world("backfill_in_use", 3000);
    let begun = Instant::now();
    let ((), longest) = in_use(&world, || run(&mut world.owner(), &call(SLOW, 100)));
    let whole = begun.elapsed();
    assert!(longest < whole / 4 && longest < Duration::from_secs(2), "waited {longest:?} of {whole:?}");
    // What others have written meanwhile without an organization is found too.
    run(&mut world.owner(), &call(ORG, 100));
    assert_eq!(one(&mut world.superuser(), "SELECT count(*) FROM event WHERE organization_id IS NULL"), "0");
}

/// The statements of the low-lock plan, one by one as the owner, while others read and write.
#[test]
fn the_low_lock_plan_scopes_a_table_in_use() {
    let world = world("backfill_low", 300_000);
    let before = dump(&world);
    let mut owner = world.owner();
    let options = format!("'{{\"locks\": \"low\", \"backfill\": {}}}'", ORG.replace('\'', "\""));
    let enable = format!("SELECT orgscope.enable_org_scoping('event', options => {options})");
    refused(&mut owner, "OS005", &enable);
    let plan = format!(
        "SELECT kind, lock, sql FROM orgscope.plan_org_scoping('event', options => {options}) WHERE sql IS NOT NULL"
    );
    let steps = rows(&mut owner, &plan);
    let kinds: Vec<_> = steps.iter().map(|s| s.split('|').next().unwrap()).collect();
    let expected = ["column", "default", "backfill", "not null", "backfill", "not null", "foreign key", "foreign key"];
    assert_eq!(kinds, [&expected[..], &["index", "enable"]].concat());
    let begun = Instant::now();
    let ((), longest) = in_use(&world, || {
        for step in &steps {
            run(&mut owner, step.splitn(3, '|').nth(2).unwrap());
        }
    });
    // All in one transaction they wait for more than half of it.
    let whole = begun.elapsed();
    assert!(longest < whole / 4, "waited {longest:?} of {whole:?}");
    assert_eq!(one(&mut owner, "SELECT protected FROM orgscope.scoped_tables"), "t");
    assert_eq!(rows(&mut owner, "SELECT sql FROM orgscope.enable_org_scoping('event')"), [""; 0], "nothing is left");
    assert_eq!(rows_under(&mut world.app(), B, "SELECT count(*) FROM event"), ["0"]);
    // Disable takes away what was made before enable as well: only the column stays.
    assert_unprepared(&world);
    assert_same(&before, &dump(&world), "disable");
}

/// Disables, and drops the column; what hangs on it must be gone before.
fn assert_unprepared(world: &World) {
    let mut owner = world.owner();
    run(&mut owner, "SELECT orgscope.disable_org_scoping('event')");
    let left = dump(world).join("\n");
    assert!(!left.contains("orgscope") && left.contains("organization_id uuid\n"), "{left}");
    run(&mut owner, "ALTER TABLE event DROP COLUMN organization_id");
}

/// Stopped between two statements, a new plan has what is left.
#[test]
fn a_low_lock_plan_can_be_taken_up_again() {
    let world = world("backfill_again", 100);
    let mut owner = world.owner();
    let before = dump(&world);
    let plan = format!(
        "SELECT sql FROM orgscope.plan_org_scoping('event', options => '{{\"locks\": \"low\", \"backfill\": {}}}') WHERE sql IS NOT NULL",
        ORG.replace('\'', "\"")
    );
    let mut last = usize::MAX;
    loop {
        let steps = rows(&mut owner, &plan);
        assert!(steps.len() < last, "{steps:#?}");
        last = steps.len();
        if last == 1 {
            // A session of its own: the view counts what the session has not reported yet.
            owner = world.owner();
            run(&mut owner, &format!("BEGIN; {}", steps[0]));
            break;
        }
        run(&mut owner, &steps[0]);
    }
    let read = "SELECT seq_tup_read FROM pg_stat_xact_user_tables WHERE relname = 'event'; COMMIT";
    assert!(one(&mut owner, read).parse::<u32>().unwrap() < 10, "enable has not read the table");
    assert_eq!(one(&mut owner, "SELECT protected FROM orgscope.scoped_tables"), "t");
    assert_unprepared(&world);
    assert_same(&before, &dump(&world), "disable");
}
