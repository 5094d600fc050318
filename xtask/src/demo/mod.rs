//! `cargo xtask demo`: the story in SQL, then a real Django application. Every expectation in it is checked.

mod django;
mod issuer;
mod session;
mod story;

use anyhow::Result;
use orgscope_cluster::{Cluster, Options as ClusterOptions, SUPERUSER};

use crate::{pgrx, setup, step};
use issuer::Issuer;

#[derive(clap::Args)]
pub struct Options {
    /// Leave the cluster running, to look around in it
    #[arg(long)]
    keep: bool,
}

pub fn run(options: &Options) -> Result<()> {
    heading("Preparing");
    setup::run()?;
    pgrx::install("demo-install")?.required()?;
    let issuer = Issuer::new();
    let with_keys = ClusterOptions::default().line(&format!("orgscope.jwks = '{}'", issuer.keys()));
    let cluster = step::work("start a throwaway cluster with orgscope preloaded", || Cluster::start(&with_keys))?;
    story::tell(&cluster, &issuer)?;
    django::run(&cluster)?;
    finish(cluster, options.keep)
}

/// Starts a part of the demo.
pub fn heading(text: &str) {
    println!("\n━━ {text} {}\n", "━".repeat(104_usize.saturating_sub(text.chars().count())));
}

fn finish(cluster: Cluster, keep: bool) -> Result<()> {
    if !keep {
        drop(cluster);
        heading("Done");
        println!("The cluster is stopped and removed. `cargo xtask demo --keep` leaves it running.");
        return Ok(());
    }
    heading("Look around");
    let psql = cluster.installation().program("psql");
    for (who, role, database) in [
        ("the story's application", story::APPLICATION, story::DATABASE),
        ("the story's superuser", SUPERUSER, story::DATABASE),
        ("Django", django::APPLICATION, django::DATABASE),
        ("Django's superuser", SUPERUSER, django::DATABASE),
    ] {
        println!("As {who}:\n  {} -h 127.0.0.1 -p {} -U {role} {database}", psql.display(), cluster.port());
    }
    println!("For example:\n  BEGIN; SET LOCAL orgscope.current_org = '{}'; TABLE ticket; COMMIT;", story::ACME);
    println!("Server log:\n  {}", cluster.log_path().display());
    println!("To stop and remove it:\n  {}", cluster.stop_command());
    cluster.keep()
}
