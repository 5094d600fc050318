//! Fills the tables and takes one measurement at a time.

use std::fs;
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use orgscope_cluster::{Cluster, SUPERUSER};
use postgres::{Client, SimpleQueryMessage};

use super::Scale;
use super::case::{Case, Kind, Organization, Rows, Statement};
use super::report::median;
use super::variant::{VARIANTS, Variant, script};

const DATABASE: &str = "bench";
const APPLICATION: &str = "bench_app";

pub struct Bench<'a> {
    cluster: &'a Cluster,
    scale: &'a Scale,
}

impl<'a> Bench<'a> {
    pub fn prepare(cluster: &'a Cluster, scale: &'a Scale) -> Result<Self> {
        cluster.create_database(DATABASE)?;
        let mut admin = cluster.connect(SUPERUSER, DATABASE)?;
        let organizations = script("organizations.sql")?;
        admin.batch_execute(&organizations.replace("{rows}", &scale.rows.to_string()))?;
        for variant in VARIANTS {
            admin.batch_execute(&variant.tables(scale.rows)?)?;
            for table in [variant.items(), variant.entries()] {
                admin.batch_execute(&variant.protect(&table)?)?;
            }
        }
        ensure_comparable(&mut admin)?;
        admin.batch_execute("VACUUM (FREEZE, ANALYZE)")?;
        admin.batch_execute("CHECKPOINT")?;
        Ok(Self { cluster, scale })
    }

    /// Microseconds of one execution of the case.
    pub fn measure(&self, case: &Case, variant: Variant, round: u32) -> Result<f64> {
        let measured = match &case.kind {
            Kind::Pgbench { script, protocol } => {
                self.pgbench(script, protocol, variant, &self.organization(case.organization, 0))
            }
            Kind::Statement(statement) => self.repeat(statement, case.organization, variant, round),
        };
        let measured = measured.with_context(|| format!("{}, {}", case.name, variant.heading()))?;
        let mut admin = self.cluster.connect(SUPERUSER, DATABASE)?;
        admin.batch_execute(&format!("TRUNCATE {}", variant.entries()))?;
        Ok(measured)
    }

    fn pgbench(&self, name: &str, protocol: &str, variant: Variant, organization: &str) -> Result<f64> {
        let text = variant.statement(&script(name)?, organization);
        let file = tempfile::NamedTempFile::new()?;
        fs::write(file.path(), text.replace("{rows}", &self.scale.rows.to_string()))?;
        let mut pgbench = self.cluster.command("pgbench");
        pgbench.args(["--no-vacuum", "--client=1", "--protocol", protocol, "--file"]).arg(file.path());
        pgbench.arg(format!("--time={}", self.scale.pgbench_seconds)).arg(DATABASE);
        pgbench.env("PGUSER", APPLICATION);
        // The case that sets the context itself must not find one.
        if !text.contains("BEGIN") {
            pgbench.env("PGOPTIONS", context(organization));
        }
        microseconds(&mut pgbench)
    }

    fn repeat(&self, statement: &Statement, organization: Organization, variant: Variant, round: u32) -> Result<f64> {
        let mut times = Vec::new();
        for repetition in 0..statement.repeat {
            let organization = self.organization(organization, round * statement.repeat + repetition);
            times.push(self.once(statement, variant, &organization)?);
        }
        Ok(median(&times))
    }

    fn once(&self, statement: &Statement, variant: Variant, organization: &str) -> Result<f64> {
        let bulk = self.scale.bulk_rows.to_string();
        let sql = variant.statement(statement.sql, organization).replace("{bulk}", &bulk);
        let mut config = self.cluster.client_config(APPLICATION, DATABASE);
        config.options(&format!("{} {}", context(organization), statement.settings));
        let mut client = config.connect(postgres::NoTls)?;
        // The first statement of a session also loads the catalogs.
        client.batch_execute(&format!("EXPLAIN {sql}"))?;
        let started = Instant::now();
        let rows = count(&mut client, &sql)?;
        let microseconds = started.elapsed().as_secs_f64() * 1e6;
        let expected = self.expected(statement.rows);
        ensure!(rows == expected, "{rows} rows instead of {expected}: {sql}");
        Ok(microseconds)
    }

    fn expected(&self, rows: Rows) -> u64 {
        u64::from(match rows {
            Rows::CountOfSmall | Rows::UpdatedSmall => 1000,
            Rows::CountOfLabels => self.scale.rows / 10,
            Rows::Bulk => self.scale.bulk_rows,
        })
    }

    fn organization(&self, organization: Organization, turn: u32) -> String {
        let small = self.scale.rows / 2000;
        let number = match organization {
            Organization::Big => 0,
            Organization::Small => 1,
            Organization::NextSmall => 2 + turn % (small - 2),
        };
        format!("01900000-0000-7000-8000-{number:012x}")
    }
}

/// Of one transaction of a pgbench run.
pub fn microseconds(pgbench: &mut Command) -> Result<f64> {
    let output = pgbench.output()?;
    let printed = String::from_utf8_lossy(&output.stdout);
    let complaints = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "pgbench failed:\n{printed}{complaints}");
    let tps = printed.lines().find_map(|line| line.strip_prefix("tps = ")?.split(' ').next()?.parse::<f64>().ok());
    Ok(1e6 / tps.context("pgbench printed no tps")?)
}

/// Startup options that give a connection its organization, in each variant's own way.
fn context(organization: &str) -> String {
    format!("-c bench.org={organization} -c orgscope.current_org={organization}")
}

/// The value of `SELECT count(*)`, or the number of rows written.
fn count(client: &mut Client, sql: &str) -> Result<u64> {
    let messages = client.simple_query(sql)?;
    let counted = messages.iter().find_map(|message| match message {
        SimpleQueryMessage::Row(row) => row.get(0)?.parse().ok(),
        _ => None,
    });
    let written = messages.iter().find_map(|message| match message {
        SimpleQueryMessage::CommandComplete(rows) => Some(*rows),
        _ => None,
    });
    counted.or(written).context("the statement reported no number of rows")
}

/// The comparison means something only when all variants have the same columns, keys and indexes.
fn ensure_comparable(admin: &mut Client) -> Result<()> {
    let differences = admin.query(
        "SELECT kind, string_agg(DISTINCT shape, ' / ') FROM (
             SELECT split_part(c.relname, '_', 1) AS kind, concat_ws('; ',
                 (SELECT string_agg(a.attname || ' ' || a.attnotnull, ',' ORDER BY a.attnum)
                  FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0),
                 (SELECT string_agg(i.indkey::text, ',' ORDER BY i.indkey::text)
                  FROM pg_index i WHERE i.indrelid = c.oid),
                 (SELECT count(*) FROM pg_constraint k WHERE k.conrelid = c.oid AND k.contype = 'f')) AS shape
             FROM pg_class c WHERE c.relkind = 'r' AND c.relname ~ '^(items|entries)_') AS tables
         GROUP BY kind HAVING count(DISTINCT shape) > 1",
        &[],
    )?;
    if let Some(row) = differences.first() {
        anyhow::bail!("the variants' {} tables differ: {}", row.get::<_, &str>(0), row.get::<_, &str>(1));
    }
    Ok(())
}
