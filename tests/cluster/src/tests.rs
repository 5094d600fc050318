//! The cluster itself, on plain PostgreSQL.

use std::time::{Duration, Instant};

use anyhow::Result;

use crate::{Cluster, Options, SUPERUSER};

#[test]
fn serves_restarts_and_disappears() -> Result<()> {
    let cluster = Cluster::start(&Options::without_preload().line("work_mem = '7MB'"))?;
    cluster.create_database("has \"quotes\"")?;
    let mut client = cluster.connect(SUPERUSER, "has \"quotes\"")?;
    client.batch_execute("CREATE TABLE t AS SELECT 42 AS answer")?;

    cluster.restart()?;
    cluster.crash_and_recover()?;
    let mut client = cluster.connect(SUPERUSER, "has \"quotes\"")?;
    let row = client.query_one("SELECT answer, current_setting('work_mem') FROM t", &[])?;
    assert_eq!((row.get::<_, i32>(0), row.get::<_, &str>(1)), (42, "7MB"));

    let directory = cluster.socket_directory().to_owned();
    // Files of the test's own account must not keep the directory from being removed.
    std::fs::create_dir(cluster.scratch_directory("scratch")?.join("ours"))?;
    std::fs::write(directory.join("scratch/ours/file"), "")?;
    drop(cluster);
    assert!(!directory.exists(), "{} is still there", directory.display());
    Ok(())
}

#[test]
fn client_programs_reach_it() -> Result<()> {
    let cluster = Cluster::start(&Options::without_preload())?;
    let output = cluster.command("psql").args(["-XAtc", "SELECT 1 + 1"]).output()?;
    assert_eq!(String::from_utf8(output.stdout)?.trim(), "2");
    Ok(())
}

#[test]
fn survives_the_death_of_a_backend() -> Result<()> {
    let cluster = Cluster::start(&Options::without_preload())?;
    let mut victim = cluster.connect(SUPERUSER, "postgres")?;
    cluster.kill9(victim.query_one("SELECT pg_backend_pid()", &[])?.get(0))?;
    let deadline = Instant::now() + Duration::from_secs(30);
    while cluster.connect(SUPERUSER, "postgres").is_err() {
        assert!(Instant::now() < deadline, "the server did not come back");
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}
