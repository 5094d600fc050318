//! The real input: a Django project, migrated by Django itself on the demo's cluster.

use std::process::Command;

use anyhow::{Context, Result, ensure};
use orgscope_cluster::{Cluster, SUPERUSER};

use super::heading;
use crate::{project, python};

pub const DATABASE: &str = "helpdesk";
/// The role that the project's settings.py connects as; run_demo.py creates it.
pub const APPLICATION: &str = "helpdesk_app";
const PROJECT: &str = "tests/demo/django";

pub fn run(cluster: &Cluster) -> Result<()> {
    heading("A real application: Django, two organizations, no queryset filters");
    let python =
        python::environment("demo-venv", &format!("{PROJECT}/requirements.txt"), "Django and the application")?;
    cluster.create_database(DATABASE)?;
    let mut demo = Command::new(python);
    cluster.aim(&mut demo);
    demo.arg("run_demo.py").current_dir(project::path(PROJECT));
    // Django gets what any application gets: TCP, and no socket directory.
    demo.env("PGHOST", "127.0.0.1").env("PGUSER", SUPERUSER).env("PGDATABASE", DATABASE);
    demo.env("PYTHONDONTWRITEBYTECODE", "1");
    let status = demo.status().context("cannot run the Django demo")?;
    ensure!(status.success(), "the Django demo failed ({status})");
    Ok(())
}
