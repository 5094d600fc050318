//! On what the numbers are taken.

use std::fs;
use std::process::Command;

use anyhow::{Context, Result};
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;
use orgscope_cluster::{Cluster, SUPERUSER};

use super::Scale;
use crate::project;

/// Puts this process, and with it the server and the clients it starts, on one core.
///
/// Client and server take turns. On two cores most of a short statement's time is spent waking the other core, which
/// hides what the statement costs and varies by a factor of two.
pub fn use_one_core() -> Result<()> {
    let ourselves = Pid::from_raw(0);
    let allowed = sched_getaffinity(ourselves)?;
    let mut cores = (0..CpuSet::count()).rev();
    let core = cores.find(|core| allowed.is_set(*core).unwrap_or(false)).context("no core to run on")?;
    let mut one = CpuSet::new();
    one.set(core)?;
    sched_setaffinity(ourselves, &one).context("cannot choose a core")
}

pub fn print(cluster: &Cluster, scale: &Scale) -> Result<()> {
    let version = cluster.connect(SUPERUSER, "postgres")?.query_one("SHOW server_version", &[])?;
    println!();
    println!(
        "- CPU: {}, {} cores (client and server together on one of them)",
        field("/proc/cpuinfo", "model name"),
        cores()
    );
    println!("- memory: {}", field("/proc/meminfo", "MemTotal"));
    println!("- PostgreSQL {}, fsync off, jit off, no parallel query", version.get::<_, &str>(0));
    println!("- orgscope at commit {}", commit());
    println!(
        "- {} rows, {} rounds, pgbench {} s a round; `insert of many rows`: {}",
        scale.rows, scale.rounds, scale.pgbench_seconds, scale.bulk_rows
    );
    println!("- median time (median ratio to the plain table with an explicit WHERE)");
    Ok(())
}

/// A `name : value` line of a file in /proc.
fn field(file: &str, name: &str) -> String {
    let text = fs::read_to_string(file).unwrap_or_default();
    let line = text.lines().find(|line| line.starts_with(name));
    line.and_then(|line| line.split_once(':')).map_or_else(|| "unknown".into(), |(_, value)| value.trim().to_owned())
}

fn cores() -> usize {
    let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    text.lines().filter(|line| line.starts_with("processor")).count()
}

fn commit() -> String {
    let mut git = Command::new("git");
    git.args(["describe", "--always", "--dirty"]).current_dir(project::root());
    match git.output() {
        Ok(output) if output.status.success() => String::from_utf8_lossy(&output.stdout).trim().to_owned(),
        _ => "unknown".into(),
    }
}
