//! What change history costs: the same statements on a plain table, on a scoped one, and on one whose changes are recorded.

use std::time::Instant;

use anyhow::{Result, ensure};
use orgscope_cluster::Cluster;
use postgres::Client;

use super::report::median;
use super::scoping::database;
use crate::step;

const ORGANIZATION: &str = "01900000-0000-7000-8000-000000000001";

const STATEMENTS: [(&str, &str); 3] = [
    (
        "insert",
        "INSERT INTO {t} (organization_id, amount, body) SELECT '{org}', n % 1000, 'body of entry ' || n \
         FROM generate_series(1, {rows}) n",
    ),
    ("update", "UPDATE {t} SET amount = amount + 1"),
    ("delete", "DELETE FROM {t}"),
];

/// The superuser writes: what is recorded does not depend on the role.
pub fn run(cluster: &Cluster, rows: u32, rounds: u32) -> Result<()> {
    let mut admin = database(cluster, "bench_history")?;
    admin.batch_execute(&format!(
        "INSERT INTO orgscope.organization (id, name, slug) VALUES ('{ORGANIZATION}', 'Bench', 'bench')"
    ))?;
    let mut ratios = vec![(Vec::new(), Vec::new()); STATEMENTS.len()];
    for round in 1..=rounds {
        step::work(&format!("change history of {rows} rows, round {round} of {rounds}"), || {
            let plain = measure(&mut admin, rows, "")?;
            let scoped = measure(&mut admin, rows, "SELECT FROM orgscope.enable_org_scoping('entry')")?;
            let enable =
                "SELECT FROM orgscope.enable_org_scoping('entry'); SELECT FROM orgscope.enable_change_history('entry')";
            let recorded = measure(&mut admin, rows, enable)?;
            for (n, (of_plain, of_scoped)) in ratios.iter_mut().enumerate() {
                of_plain.push(recorded[n] / plain[n]);
                of_scoped.push(recorded[n] / scoped[n]);
            }
            Ok(())
        })?;
    }
    println!();
    for ((name, _), (of_plain, of_scoped)) in STATEMENTS.iter().zip(&ratios) {
        println!(
            "- {name} of {rows} rows with change history: {:.2} times a plain table, {:.2} times a scoped one",
            median(of_plain),
            median(of_scoped)
        );
    }
    Ok(())
}

/// Seconds of each statement on a new table.
fn measure(admin: &mut Client, rows: u32, enable: &str) -> Result<Vec<f64>> {
    admin.batch_execute(
        "DO $$ BEGIN
             IF EXISTS (SELECT FROM orgscope.history_tables) THEN PERFORM orgscope.disable_change_history('entry'); END IF;
         END $$;
         DROP TABLE IF EXISTS entry;
         CREATE TABLE entry (
             id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
             organization_id uuid NOT NULL REFERENCES orgscope.organization,
             amount integer NOT NULL,
             body text NOT NULL
         );
         CREATE INDEX ON entry (organization_id)",
    )?;
    admin.batch_execute(enable)?;
    admin.batch_execute("CHECKPOINT")?;
    STATEMENTS
        .iter()
        .map(|(name, sql)| {
            let sql = sql.replace("{t}", "entry").replace("{org}", ORGANIZATION).replace("{rows}", &rows.to_string());
            let started = Instant::now();
            let written = admin.execute(&*sql, &[])?;
            let seconds = started.elapsed().as_secs_f64();
            ensure!(written == u64::from(rows), "{name}: {written} rows instead of {rows}");
            Ok(seconds)
        })
        .collect()
}
