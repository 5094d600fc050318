//! What searches cost under row security: with PostgreSQL's functions, with their LEAKPROOF twins, and on a plain table with
//! an explicit WHERE. Ten organizations, one of which holds half of the rows.

use std::time::Instant;

use anyhow::{Result, ensure};
use comfy_table::{Table, presets};
use orgscope_cluster::Cluster;
use postgres::Client;

use super::report::median;
use super::scoping::database;
use crate::step;

const FILL: &str = "
    CREATE EXTENSION pg_trgm;
    INSERT INTO orgscope.organization (id, name, slug)
    SELECT ('01900000-0000-7000-8000-' || lpad(n::text, 12, '0'))::uuid, 'Bench ' || n, 'bench-' || n FROM generate_series(1, 10) n;
    CREATE TABLE plain AS
    SELECT n AS id,
           ('01900000-0000-7000-8000-' || lpad((CASE WHEN n % 2 = 0 THEN 1 ELSE 2 + n / 2 % 9 END)::text, 12, '0'))::uuid
               AS organization_id,
           'c' || lpad((n::bigint * 7919 % 1000000)::text, 7, '0') AS code,
           md5(n::text) || ' ' || md5((n / 3)::text) AS title,
           array_to_tsvector(ARRAY['w' || n % 9973, 'v' || n % 97]) AS body,
           jsonb_build_object('k', n % 9973, 'c', n % 50) AS attributes,
           ARRAY['t' || n % 9973, 's' || n % 77] AS tags
    FROM generate_series(1, {rows}) n;
    CREATE TABLE scoped AS SELECT * FROM plain;
    ALTER TABLE scoped ADD PRIMARY KEY (id);
    ALTER TABLE plain ADD PRIMARY KEY (id);
    CREATE INDEX ON plain (organization_id);
    SELECT FROM orgscope.enable_org_scoping('scoped')";

const INDEXES: &str = "
    CREATE INDEX ON {t} (code text_pattern_ops);
    CREATE INDEX ON {t} USING gin (title gin_trgm_ops);
    CREATE INDEX ON {t} USING gin (body);
    CREATE INDEX ON {t} USING gin (attributes);
    CREATE INDEX ON {t} USING gin (tags)";

const SEARCHES: [(&str, &str); 6] = [
    ("LIKE 'x%'", "code LIKE 'c00123%'"),
    ("LIKE '%x%', trigrams", "title LIKE '%abcde%'"),
    ("ILIKE '%x%', trigrams", "title ILIKE '%ABCDE%'"),
    ("@@, full text", "body @@ 'w123 & v7'"),
    ("@>, jsonb", "attributes @> '{\"k\": 777}'"),
    ("&&, array", "tags && ARRAY['t55']"),
];

/// The large organization, and one of the small ones.
const ORGANIZATIONS: [(&str, &str); 2] =
    [("half", "01900000-0000-7000-8000-000000000001"), ("an 18th", "01900000-0000-7000-8000-000000000005")];

/// How often a search runs for one figure, of which the median counts.
const REPEATS: usize = 9;

pub fn run(cluster: &Cluster, rows: u32, rounds: u32) -> Result<()> {
    let mut admin = database(cluster, "bench_search")?;
    step::work(&format!("fill two tables of {rows} rows, with five indexes for search each"), || {
        admin.batch_execute(&FILL.replace("{rows}", &rows.to_string()))?;
        for table in ["plain", "scoped"] {
            admin.batch_execute(&INDEXES.replace("{t}", table))?;
        }
        admin.batch_execute("CREATE ROLE searcher; GRANT SELECT ON plain, scoped TO searcher")?;
        // As good for one table as for the other: a small sample gives them different plans.
        admin.batch_execute("SET default_statistics_target = 1000")?;
        // VACUUM wants a message of its own.
        ["plain", "scoped"].iter().try_for_each(|table| admin.batch_execute(&format!("VACUUM (ANALYZE) {table}")))?;
        Ok(())
    })?;
    let mut table = Table::new();
    table.load_preset(presets::ASCII_MARKDOWN);
    table.set_header(["search", "organization's rows", "plain, ms", "off", "on", "on, ms"]);
    for (name, condition) in SEARCHES {
        for (share, organization) in ORGANIZATIONS {
            let (mut plain, mut off, mut on, mut ms) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
            step::work(&format!("{name}, {share}"), || {
                for _ in 0..rounds {
                    let mut searcher = Searcher { client: &mut admin, organization, condition };
                    let explicit = searcher.plain()?;
                    let (without, with) = (searcher.scoped("off")?, searcher.scoped("on")?);
                    plain.push(explicit * 1e3);
                    off.push(without / explicit);
                    on.push(with / explicit);
                    ms.push(with * 1e3);
                }
                Ok(())
            })?;
            table.add_row([
                name.to_owned(),
                share.to_owned(),
                format!("{:.3}", median(&plain)),
                format!("{:.0}", median(&off)),
                format!("{:.2}", median(&on)),
                format!("{:.3}", median(&ms)),
            ]);
        }
    }
    println!("\n`orgscope.leakproof_operators` off and on, as ratios to the plain table:\n\n{table}");
    Ok(())
}

struct Searcher<'a> {
    client: &'a mut Client,
    organization: &'static str,
    condition: &'static str,
}

impl Searcher<'_> {
    fn plain(&mut self) -> Result<f64> {
        let sql = format!(
            "SELECT count(id) FROM plain WHERE organization_id = '{}' AND {}",
            self.organization, self.condition
        );
        self.measure(&sql)
    }

    fn scoped(&mut self, leakproof: &str) -> Result<f64> {
        self.client.batch_execute(&format!("SET orgscope.leakproof_operators = {leakproof}"))?;
        let sql = format!("SELECT count(id) FROM scoped WHERE {}", self.condition);
        self.measure(&sql)
    }

    /// Seconds of a search as a role under row security.
    fn measure(&mut self, sql: &str) -> Result<f64> {
        let begin = format!("BEGIN; SET LOCAL ROLE searcher; SET LOCAL orgscope.current_org = '{}'", self.organization);
        self.client.batch_execute(&begin)?;
        let mut times = Vec::new();
        for _ in 0..REPEATS {
            let started = Instant::now();
            let answer = self.client.simple_query(sql)?;
            times.push(started.elapsed().as_secs_f64());
            ensure!(!answer.is_empty(), "no answer to {sql}");
        }
        self.client.batch_execute("COMMIT")?;
        Ok(median(&times))
    }
}
