//! What COPY FROM into a scoped table costs its application: beside INSERTs of the same rows, and beside a plain table.

use std::fmt::Write as _;
use std::io::Write as _;
use std::time::Instant;

use anyhow::{Result, ensure};
use orgscope_cluster::Cluster;
use postgres::Client;

use super::report::median;
use super::scoping::database;
use crate::step;

const ORGANIZATION: &str = "01900000-0000-7000-8000-000000000001";

/// Rows of one INSERT.
const STATEMENT: u32 = 1000;

pub fn run(cluster: &Cluster, rows: u32, rounds: u32) -> Result<()> {
    let mut admin = database(cluster, "bench_copy")?;
    admin.batch_execute(&format!(
        "CREATE ROLE bench_copy LOGIN;
         INSERT INTO orgscope.organization (id, name, slug) VALUES ('{ORGANIZATION}', 'Bench', 'bench')"
    ))?;
    for table in ["plain", "scoped"] {
        admin.batch_execute(&format!(
            "CREATE TABLE {table} (id bigint PRIMARY KEY, amount integer, body text, at timestamptz,
                 organization_id uuid NOT NULL DEFAULT '{ORGANIZATION}');
             CREATE INDEX ON {table} (organization_id); GRANT INSERT ON {table} TO bench_copy"
        ))?;
    }
    admin.batch_execute("SELECT FROM orgscope.enable_org_scoping('scoped')")?;
    let (lines, inserts) = (lines(rows), inserts(rows));
    let mut app = cluster.connect("bench_copy", "bench_copy")?;
    let (mut of_inserts, mut of_plain) = (Vec::new(), Vec::new());
    for round in 1..=rounds {
        step::work(&format!("copy of {rows} rows, round {round} of {rounds}"), || {
            let by_inserts = timed(&mut admin, &mut app, rows, |app| {
                inserts.iter().try_for_each(|sql| app.batch_execute(sql))?;
                Ok(u64::from(rows))
            })?;
            let mut copy = |table: &str| {
                timed(&mut admin, &mut app, rows, |app| {
                    let mut writer = app.copy_in(&format!("COPY {table} (id, amount, body, at) FROM STDIN"))?;
                    writer.write_all(lines.as_bytes())?;
                    Ok(writer.finish()?)
                })
            };
            let (scoped, plain) = (copy("scoped")?, copy("plain")?);
            of_inserts.push(by_inserts / scoped);
            of_plain.push(scoped / plain);
            Ok(())
        })?;
    }
    println!(
        "\n- COPY FROM of {rows} rows into a scoped table by its application: {:.2} times as fast as INSERTs of {STATEMENT} \
         rows each, {:.2} times the time of COPY into a plain table",
        median(&of_inserts),
        median(&of_plain)
    );
    Ok(())
}

/// Seconds of one transaction of the application on empty tables.
fn timed(
    admin: &mut Client,
    app: &mut Client,
    rows: u32,
    write: impl FnOnce(&mut Client) -> Result<u64>,
) -> Result<f64> {
    admin.batch_execute("TRUNCATE plain, scoped; CHECKPOINT")?;
    app.batch_execute(&format!("BEGIN; SET LOCAL orgscope.current_org = '{ORGANIZATION}'"))?;
    let started = Instant::now();
    let written = write(app)?;
    app.batch_execute("COMMIT")?;
    ensure!(written == u64::from(rows), "{written} rows instead of {rows}");
    Ok(started.elapsed().as_secs_f64())
}

fn lines(rows: u32) -> String {
    (1..=rows).fold(String::new(), |mut text, n| {
        let _ = writeln!(text, "{n}\t{}\tbody of item {n}\t2026-01-02 03:04:05.678901+00", n % 1000);
        text
    })
}

fn inserts(rows: u32) -> Vec<String> {
    let values = |n: u32| format!("({n}, {}, 'body of item {n}', '2026-01-02 03:04:05.678901+00')", n % 1000);
    let first = (1..=rows).step_by(STATEMENT as usize);
    first
        .map(|first| {
            let all: Vec<_> = (first..(first + STATEMENT).min(rows + 1)).map(values).collect();
            format!("INSERT INTO scoped (id, amount, body, at) VALUES {}", all.join(", "))
        })
        .collect()
}
