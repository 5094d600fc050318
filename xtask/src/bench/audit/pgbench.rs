//! pgbench's own tables, scoped, and its scripts by roles that row security holds and by some that it does not.

use std::fs;

use anyhow::Result;
use orgscope_cluster::{Cluster, SUPERUSER};

use crate::bench::Scale;
use crate::bench::measure::microseconds;
use crate::bench::scoping::database;

const DATABASE: &str = "bench_audit";
const ORGANIZATION: &str = "01900000-0000-7000-8000-000000000001";
pub const APPLICATION: &str = "bench_app";

const TABLES: [&str; 4] = ["pgbench_accounts", "pgbench_branches", "pgbench_tellers", "pgbench_history"];

#[derive(Clone, Copy)]
pub enum Script {
    SelectOnly,
    TpcbLike,
    UpdateOne,
}

impl Script {
    pub fn name(self) -> &'static str {
        match self {
            Self::SelectOnly => "select-only",
            Self::TpcbLike => "tpcb-like",
            Self::UpdateOne => "update of one row",
        }
    }
}

/// How a role's reads outside row security are put on record.
#[derive(Clone, Copy)]
pub enum Durability {
    Off,
    Async,
    Sync,
}

impl Durability {
    pub const fn user(self) -> &'static str {
        match self {
            Self::Off => "bench_dba_off",
            Self::Async => "bench_dba_async",
            Self::Sync => "bench_dba_sync",
        }
    }

    fn setting(self) -> &'static str {
        match self {
            Self::Off => "orgscope.audit_reads = off",
            Self::Async => "orgscope.audit_durability = async",
            Self::Sync => "orgscope.audit_durability = sync",
        }
    }
}

pub struct Case {
    pub script: Script,
    pub user: &'static str,
}

impl Case {
    /// Microseconds of a transaction.
    pub fn run(&self, cluster: &Cluster, seconds: u32) -> Result<f64> {
        let mut pgbench = cluster.command("pgbench");
        pgbench.args(["--no-vacuum", "--client=1", "--protocol=prepared"]).arg(format!("--time={seconds}"));
        let file = tempfile::NamedTempFile::new()?;
        match self.script {
            Script::UpdateOne => {
                let script = "\\set aid random(1, 100000 * :scale)\n\
                     UPDATE pgbench_accounts SET abalance = abalance + 1 WHERE aid = :aid;\n";
                fs::write(file.path(), script)?;
                pgbench.arg("--file").arg(file.path());
            }
            builtin => {
                pgbench.arg("--builtin").arg(builtin.name());
            }
        }
        if self.user == APPLICATION {
            pgbench.env("PGOPTIONS", format!("-c orgscope.current_org={ORGANIZATION}"));
        }
        microseconds(pgbench.arg(DATABASE).env("PGUSER", self.user))
    }
}

pub fn prepare(cluster: &Cluster, scale: &Scale) -> Result<()> {
    let mut admin = database(cluster, DATABASE)?;
    let mut pgbench = cluster.command("pgbench");
    pgbench.args(["--initialize", "--quiet"]).arg(format!("--scale={}", scale.rows / 100_000)).arg(DATABASE);
    let output = pgbench.output()?;
    anyhow::ensure!(output.status.success(), "pgbench failed:\n{}", String::from_utf8_lossy(&output.stderr));
    admin.batch_execute(&format!(
        "INSERT INTO orgscope.organization (id, name, slug) VALUES ('{ORGANIZATION}', 'Bench', 'bench');
         CREATE ROLE {APPLICATION} LOGIN"
    ))?;
    for durability in [Durability::Off, Durability::Async, Durability::Sync] {
        let (user, setting) = (durability.user(), durability.setting());
        admin.batch_execute(&format!("CREATE ROLE {user} LOGIN BYPASSRLS; ALTER ROLE {user} SET {setting}"))?;
    }
    for table in TABLES {
        // The column's default stays, for what a role without a context inserts.
        admin.batch_execute(&format!(
            "ALTER TABLE {table} ADD organization_id uuid NOT NULL DEFAULT '{ORGANIZATION}';
             SELECT FROM orgscope.enable_org_scoping('{table}');
             GRANT ALL ON {table} TO {APPLICATION}, {}, {}, {}",
            Durability::Off.user(),
            Durability::Async.user(),
            Durability::Sync.user(),
        ))?;
    }
    ["VACUUM (FREEZE, ANALYZE)", "CHECKPOINT"].iter().try_for_each(|sql| admin.batch_execute(sql))?;
    Ok(())
}

/// With the tables in memory again, and their updated rows gone.
pub fn restart(cluster: &Cluster) -> Result<()> {
    cluster.restart()?;
    let mut admin = cluster.connect(SUPERUSER, DATABASE)?;
    admin.batch_execute("SET orgscope.audit_reads = off; TRUNCATE pgbench_history")?;
    admin.batch_execute("VACUUM pgbench_accounts, pgbench_branches, pgbench_tellers")?;
    ["SELECT count(*) FROM pgbench_accounts", "CHECKPOINT"].iter().try_for_each(|sql| admin.batch_execute(sql))?;
    Ok(())
}
