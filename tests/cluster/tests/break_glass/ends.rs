//! What ends break-glass: clearing the context, another role, the end of the session, time.

use std::time::{Duration, Instant};

use postgres::Client;

use crate::common::*;
use crate::*;

/// A session that ends writes its record before its process is gone, which the client does not wait for.
#[track_caller]
fn eventually(world: &World, expected: &[&str]) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while operations(world) != expected {
        assert!(Instant::now() < deadline, "{:?}, expected {expected:?}", operations(world));
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn what_ends_it() {
    let world = world("glass_ends");
    run(&mut world.superuser(), "GRANT app TO support");
    for (end, why) in [
        ("DISCARD ALL", "closed"),
        ("RESET ALL", "closed"),
        ("RESET orgscope.current_org", "closed"),
        ("SET orgscope.current_org = ''", "closed"),
        ("SELECT set_config('orgscope.current_org', '', false)", "closed"),
        ("SELECT orgscope.clear_current_org()", "closed"),
        ("BEGIN; SET LOCAL orgscope.current_org = ''; COMMIT", "closed"),
        ("BEGIN; SAVEPOINT s; SELECT orgscope.end_break_glass(); RELEASE s; COMMIT", "closed"),
        ("SET ROLE app", "role changed"),
        ("BEGIN; SET LOCAL ROLE app; SELECT 1; COMMIT", "role changed"),
    ] {
        let mut support = world.connect("support");
        open(&mut support, A, "");
        assert_eq!(one(&mut support, COUNT), "2", "{end}");
        // What rolls back ends nothing.
        if end != "DISCARD ALL" && !end.starts_with("BEGIN") {
            run(&mut support, &format!("BEGIN; {end}; ROLLBACK"));
            assert_eq!(one(&mut support, COUNT), "2", "{end}");
            run(&mut support, &format!("BEGIN; SAVEPOINT s; {end}; ROLLBACK TO s; COMMIT"));
            assert_eq!(one(&mut support, COUNT), "2", "{end}");
        }
        for sql in end.split("; ") {
            run(&mut support, sql);
        }
        refused(&mut support, "OS001", COUNT);
        run(&mut support, "RESET ROLE");
        refused(&mut support, "OS001", COUNT);
        assert_eq!(operations(&world).last().unwrap(), &format!("CLOSE|a|1|{why}"), "{end}");
    }
}

#[test]
fn a_session_that_ends_closes_it() {
    let world = world("glass_exit");
    let mut support = world.connect("support");
    open(&mut support, A, "");
    drop(support);
    let mut expected = vec!["OPEN|a|1|-", "CLOSE|a|1|session ended"];
    eventually(&world, &expected);

    // In the middle of a transaction, with a use not written yet, by a superuser's hand.
    let mut support = world.connect("support");
    open(&mut support, B, "");
    run(&mut support, "SET default_transaction_read_only = on; BEGIN");
    run(&mut support, COUNT);
    let pid = one(&mut support, "SELECT pg_backend_pid()");
    run(&mut world.superuser(), &format!("SELECT pg_terminate_backend({pid})"));
    expected.extend(["OPEN|b|1|-", "USE|b|1|-", "CLOSE|b|1|session ended"]);
    eventually(&world, &expected);

    // Nothing to say.
    let mut support = world.connect("support");
    open(&mut support, C, "");
    run(&mut support, "SELECT orgscope.end_break_glass()");
    drop(support);
    expected.extend(["OPEN|c|1|-", "CLOSE|c|1|closed"]);
    std::thread::sleep(Duration::from_millis(300));
    eventually(&world, &expected);
}

/// One minute is the shortest, so one test waits for all that expires.
#[test]
fn it_expires_by_itself() {
    let world = world("glass_expires");
    let wait = Duration::from_secs(61);
    let mut sessions: Vec<Client> = (0..4).map(|_| world.connect("support")).collect();
    for support in &mut sessions {
        open(support, A, ", 1");
    }
    let [plain, parallel, inside, idle] = &mut sessions[..] else { unreachable!() };
    force_parallel(parallel, "on");
    run(parallel, "SET plan_cache_mode = force_generic_plan; PREPARE p AS SELECT count(*) FROM ticket");
    assert_eq!(one(parallel, "EXECUTE p"), "2");
    run(inside, "BEGIN");
    assert_eq!(one(inside, COUNT), "2");
    let mut long = world.connect("support");
    open(&mut long, A, ", 1");
    let slow = std::thread::spawn(move || {
        one(&mut long, "WITH w AS MATERIALIZED (SELECT pg_sleep(62)) SELECT count(*) FROM w, ticket")
    });
    // A procedure does not go on after the end of a transaction that is over too late.
    let loops = ["COMMIT", "ROLLBACK"].map(|end| {
        let mut looping = world.connect("support");
        open(&mut looping, A, ", 1");
        let pass = format!("PERFORM count(*) FROM ticket; {end}; PERFORM pg_sleep(0.5)");
        std::thread::spawn(move || {
            let error =
                refused(&mut looping, "OS001", &format!("DO $$ BEGIN FOR i IN 1..160 LOOP {pass}; END LOOP; END $$"));
            state(&mut looping, "SELECT 1");
            error.detail().map(str::to_owned)
        })
    });
    std::thread::sleep(wait);
    let expired = Some("The break-glass of this session has expired.");
    let again = Some("Call orgscope.break_glass() again, or set orgscope.current_org in this transaction.");
    for (client, sql, leads) in [(plain, COUNT, false), (parallel, "EXECUTE p", true), (inside, COUNT, false)] {
        for between in ["ROLLBACK", "SELECT 1", "SELECT 1"] {
            let error = refused(client, "OS001", sql);
            assert!(leads || error.detail() == expired, "{:?}", error.detail());
            assert!(leads || error.hint() == again, "{:?}", error.hint());
            state(client, between);
        }
        let last = operations(&world).pop().unwrap();
        assert_eq!(last, "EXPIRE|a|1|-");
        // Other work goes on, and it can be opened again.
        assert_eq!(rows_under(client, B, COUNT), ["3"]);
        open(client, C, "");
        assert_eq!(one(client, COUNT), "0");
    }
    for looping in loops {
        assert_eq!(looping.join().unwrap().as_deref(), expired);
    }
    // One that is replaced before anybody looked is on record all the same.
    open(idle, B, "");
    assert_eq!(operations(&world).iter().filter(|o| o.starts_with("EXPIRE")).count(), 6);
    // A statement that began in time runs to its end.
    assert_eq!(slow.join().unwrap(), "2");
}
