//! How fast audit rows are sealed and verified.

use std::time::Instant;

use anyhow::{Result, ensure};
use orgscope_cluster::Cluster;

use crate::bench::Scale;
use crate::bench::report::median;
use crate::bench::scoping::database;

/// As many as the writer takes at once under load.
const BATCH: u32 = 2_000;

/// Rows a second.
pub struct Speed {
    pub sealing: f64,
    pub verifying: f64,
}

/// Seals batch by batch, and verifies all. In a server without a writer, which would seal the rows itself.
pub fn measure(cluster: &Cluster, scale: &Scale, chains: u32) -> Result<Speed> {
    let mut admin = database(cluster, &format!("bench_chain_{chains}"))?;
    admin.batch_execute("SELECT orgscope.make_audit_partitions(); SELECT orgscope.seal_audit()")?;
    let mut sealing = Vec::new();
    for batch in 0..scale.bulk_rows.div_ceil(BATCH) {
        let (first, last) = (batch * BATCH + 1, (batch + 1) * BATCH);
        admin.batch_execute(&rows(first, last, chains))?;
        let started = Instant::now();
        let sealed: i64 = admin.query_one("SELECT orgscope.seal_audit()", &[])?.get(0);
        sealing.push(f64::from(BATCH) / started.elapsed().as_secs_f64());
        ensure!(sealed == i64::from(BATCH), "{sealed} rows sealed instead of {BATCH}");
    }
    ["VACUUM ANALYZE orgscope.audit_log", "CHECKPOINT"].iter().try_for_each(|sql| admin.batch_execute(sql))?;
    let mut verifying = Vec::new();
    for _ in 0..scale.rounds {
        let started = Instant::now();
        let sql = "SELECT sum(rows)::bigint, bool_and(verdict = 'ok') FROM orgscope.verify_audit(NULL)";
        let verified = admin.query_one(sql, &[])?;
        let (rows, good): (i64, bool) = (verified.get(0), verified.get(1));
        ensure!(good && rows >= i64::from(scale.bulk_rows), "{rows} rows verified, all good: {good}");
        verifying.push(rows as f64 / started.elapsed().as_secs_f64());
    }
    Ok(Speed { sealing: median(&sealing), verifying: median(&verifying) })
}

/// About 300 bytes each, as a bypassing write leaves them.
fn rows(first: u32, last: u32, chains: u32) -> String {
    format!(
        "INSERT INTO orgscope.audit_log (organization_id, action, table_name, operation, row_count, actor, login_name,
             session_user_name, role_name, application_name, client_addr, txid, statement, reason)
         SELECT md5((n % {chains})::text)::uuid, 'bypass_write', 'public.ticket', 'UPDATE', n, 'jane@support', 'dba', 'dba',
             'dba', 'psql', '10.0.0.1', pg_current_xact_id(),
             'UPDATE ticket SET title = ''something'' WHERE id = ' || n, 'ticket 4711'
         FROM generate_series({first}, {last}) n"
    )
}
