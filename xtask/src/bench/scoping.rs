//! What taking tables into scoping costs: a schema of many tables, and the rows of one big table.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use orgscope_cluster::{Cluster, SUPERUSER};
use postgres::Client;

use super::report::median;
use crate::step;

const TABLES: u32 = 300;

/// An indexed look-up for each row, as filling a child from its parent is.
const LOOK_UP: &str = "(SELECT c.organization_id FROM public.customer c WHERE c.id = customer_id)";

pub fn run(cluster: &Cluster, rows: u32, rounds: u32) -> Result<()> {
    let mut lines = schema(cluster)?;
    lines.push(backfill(cluster, rows, rounds)?);
    println!();
    lines.iter().for_each(|line| println!("- {line}"));
    Ok(())
}

/// Tables in a tree, each with the organization of the one above it.
fn schema(cluster: &Cluster) -> Result<Vec<String>> {
    let mut admin = database(cluster, "bench_schema")?;
    for n in 0..TABLES {
        let origin = match n {
            0 => "organization_id uuid".to_owned(),
            _ => format!("parent int NOT NULL REFERENCES t{}", (n - 1) / 3),
        };
        admin.batch_execute(&format!("CREATE TABLE t{n} (id int PRIMARY KEY, {origin})"))?;
    }
    let mut timed = |what: &str, sql: &str| -> Result<String> {
        let before = allocated(&mut admin)?;
        let started = Instant::now();
        step::work(what, || Ok(admin.batch_execute(sql)?))?;
        let seconds = started.elapsed().as_secs_f64();
        let grown = allocated(&mut admin)?.saturating_sub(before);
        Ok(format!("{what}: {seconds:.1} s, {:.1} kB of memory a table", grown as f64 / 1024.0 / f64::from(TABLES)))
    };
    Ok(vec![
        timed(&format!("plan of {TABLES} tables"), "SELECT FROM orgscope.plan_org_scoping_schema('public')")?,
        timed(&format!("enable of {TABLES} tables"), "SELECT FROM orgscope.enable_org_scoping_schema('public')")?,
        timed(
            &format!("disable of {TABLES} tables"),
            "SELECT orgscope.disable_org_scoping(target) FROM orgscope.scoped_tables ORDER BY target DESC",
        )?,
    ])
}

/// A plain UPDATE of all rows, and backfill_org() of as many beside a client that reads.
fn backfill(cluster: &Cluster, rows: u32, rounds: u32) -> Result<String> {
    let mut admin = database(cluster, "bench_backfill")?;
    admin.batch_execute(
        "CREATE TABLE customer AS SELECT id, gen_random_uuid() AS organization_id FROM generate_series(1, 10000) id;
         ALTER TABLE customer ADD PRIMARY KEY (id); ANALYZE customer",
    )?;
    let plain = format!("UPDATE event SET organization_id = {LOOK_UP}");
    let backfill = format!("CALL orgscope.backfill_org('public.event', '{LOOK_UP}')");
    let (mut ratios, mut slowest) = (Vec::new(), Duration::ZERO);
    for round in 1..=rounds {
        step::work(&format!("backfill of {rows} rows, round {round} of {rounds}"), || {
            let [(plain, _), (batches, longest)] =
                [fill(cluster, &mut admin, rows, &plain)?, fill(cluster, &mut admin, rows, &backfill)?];
            ratios.push(plain.as_secs_f64() / batches.as_secs_f64());
            slowest = slowest.max(longest);
            Ok(())
        })?;
    }
    Ok(format!(
        "backfill_org of {rows} rows: {:.2} of the throughput of one plain UPDATE; no point read beside it took longer than {} ms",
        median(&ratios),
        slowest.as_millis()
    ))
}

/// How long the statement takes on a new table, and the longest point read meanwhile.
fn fill(cluster: &Cluster, admin: &mut Client, rows: u32, sql: &str) -> Result<(Duration, Duration)> {
    admin.batch_execute(&format!(
        "DROP TABLE IF EXISTS event; CREATE TABLE event (id int, customer_id int, note text, organization_id uuid);
         INSERT INTO event SELECT i, 1 + i % 10000, 'note ' || i FROM generate_series(1, {rows}) i;
         ALTER TABLE event ADD PRIMARY KEY (id)"
    ))?;
    ["VACUUM ANALYZE event", "CHECKPOINT"].iter().try_for_each(|sql| admin.batch_execute(sql))?;
    let mut reader = cluster.connect(SUPERUSER, "bench_backfill")?;
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let reading = scope.spawn(|| longest_read(&mut reader, rows, &done));
        let started = Instant::now();
        let filled = admin.batch_execute(sql);
        let time = started.elapsed();
        done.store(true, Ordering::Relaxed);
        let longest = reading.join().map_err(|_| anyhow::anyhow!("the reader panicked"))??;
        filled.context("cannot fill the table")?;
        Ok((time, longest))
    })
}

fn longest_read(reader: &mut Client, rows: u32, done: &AtomicBool) -> Result<Duration> {
    let read = reader.prepare("SELECT organization_id FROM event WHERE id = $1")?;
    let mut longest = Duration::ZERO;
    for n in 0u32.. {
        if done.load(Ordering::Relaxed) {
            break;
        }
        let started = Instant::now();
        reader.query(&read, &[&(1 + (n.wrapping_mul(7919) % rows) as i32)])?;
        longest = longest.max(started.elapsed());
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(longest)
}

pub fn database(cluster: &Cluster, name: &str) -> Result<Client> {
    cluster.create_database(name)?;
    let mut admin = cluster.connect(SUPERUSER, name)?;
    admin.batch_execute("CREATE EXTENSION orgscope; SET client_min_messages = warning")?;
    Ok(admin)
}

/// Bytes that the session has allocated: nothing of shared buffers.
fn allocated(client: &mut Client) -> Result<u64> {
    let row = client.query_one("SELECT sum(total_bytes)::bigint FROM pg_backend_memory_contexts", &[])?;
    Ok(row.get::<_, i64>(0).try_into()?)
}
