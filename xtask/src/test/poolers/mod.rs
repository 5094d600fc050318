//! A real PgBouncer: 64 clients share eight server connections, of which nothing may reach the next client. Clients do what
//! applications do, well or badly, and are killed while they do it, where PgBouncer itself can bear that; every answer is checked.

mod cases;
mod client;
mod load;
mod pgbouncer;
mod scene;
mod session;
mod tally;

use std::time::Instant;

use anyhow::{Result, ensure};
use orgscope_cluster::{Cluster, Options};

use super::Outcome;
use super::count::Count;
use crate::step;
use cases::Cases;
pub use client::{Options as ClientOptions, run as run_client};
use pgbouncer::{Configuration, PgBouncer};

const SUITE: &str = "poolers";
/// Of each configuration, unless the command line says otherwise.
const TRANSACTIONS: u64 = 30_000;
const TRANSACTIONS_LATER: u64 = 10_000;
const TRANSACTIONS_OF_CONTROL: u64 = 2_000;
/// A server that a client has left in the middle is closed by the pooler, and may still be there beside its successor.
const MOST_SERVERS: i64 = 8 + 16;

/// `first`: whether this is the first of several majors.
pub fn run(transactions: Option<u64>, first: bool) -> Result<Outcome> {
    let started = Instant::now();
    let pgbouncer = PgBouncer::find()?;
    let transactions = transactions.unwrap_or(if first { TRANSACTIONS } else { TRANSACTIONS_LATER });
    // Refused statements by the thousand say nothing in the log.
    let cluster = Cluster::start(&Options::default().line("log_min_messages = fatal"))?;
    scene::set_up(&cluster)?;
    let mut count = Count::default();
    let version = pgbouncer.version();
    for (what, check) in checks(&pgbouncer) {
        let result = step::work(&format!("PgBouncer {version}: {what}"), || check(&cluster, transactions));
        match &result {
            Ok(figures) => println!("    {figures}"),
            Err(problem) => println!("    {problem:#}"),
        }
        count = count + Count::whole(result.is_ok());
    }
    Ok(Outcome { suite: SUITE, count, seconds: started.elapsed().as_secs_f64() })
}

type Check<'a> = (String, Box<dyn Fn(&Cluster, u64) -> Result<String> + 'a>);

fn checks(pgbouncer: &PgBouncer) -> Vec<Check<'_>> {
    let control = "a hand-written policy with plain SET is seen to leak".to_owned();
    let mut checks: Vec<Check> = vec![(control, Box::new(|cluster, _| leaks(cluster, pgbouncer)))];
    for track in [false, true].into_iter().filter(|track| !track || pgbouncer.tracks()) {
        for (mode, cases) in [("transaction", Cases::Transaction), ("statement", Cases::Statement)] {
            for reset in [true, false] {
                let configuration = Configuration { mode, reset, track };
                let check = move |cluster: &Cluster, count| holds(cluster, pgbouncer, &configuration, cases, count);
                checks.push((configuration.to_string(), Box::new(check)));
            }
        }
    }
    checks
}

/// What the same load and the same check find where nothing protects: without this, finding nothing would say nothing.
fn leaks(cluster: &Cluster, pgbouncer: &PgBouncer) -> Result<String> {
    let configuration = Configuration { mode: "transaction", reset: false, track: false };
    let pooler = pgbouncer.start(cluster, &configuration)?;
    let servers = || scene::connections(cluster);
    let done = load::run(&pooler, Cases::HandWritten, TRANSACTIONS_OF_CONTROL, servers)?;
    ensure!(done.tally.foreign > 0, "no leak was found: {}", done.tally);
    Ok(format!("found: {} foreign rows in {} transactions", done.tally.foreign, done.tally.transactions))
}

fn holds(
    cluster: &Cluster,
    pgbouncer: &PgBouncer,
    configuration: &Configuration,
    cases: Cases,
    transactions: u64,
) -> Result<String> {
    let mut pooler = pgbouncer.start(cluster, configuration)?;
    let done = load::run(&pooler, cases, transactions, || scene::connections(cluster))?;
    ensure!(pooler.is_running()?, "PgBouncer has ended");
    ensure!(done.tally.wrong == 0 && done.tally.foreign == 0, "{}", done.tally);
    ensure!(done.servers <= MOST_SERVERS, "the clients had {} server connections", done.servers);
    let written = scene::inspect(cluster)?;
    let rate = done.tally.transactions as f64 / done.seconds;
    let (servers, killed) = (done.servers, done.killed);
    Ok(format!("{}; {rate:.0}/s, {servers} servers, {killed} programs killed, {written} rows written", done.tally))
}
