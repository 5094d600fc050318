//! The real input: a Django project, migrated by Django itself on the demo's cluster.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use orgscope_cluster::{Cluster, SUPERUSER};

use super::heading;
use crate::{project, step};

pub const DATABASE: &str = "helpdesk";
/// The role that the project's settings.py connects as; run_demo.py creates it.
pub const APPLICATION: &str = "helpdesk_app";
const PROJECT: &str = "tests/demo/django";

pub fn run(cluster: &Cluster) -> Result<()> {
    heading("A real application: Django, two organizations, no queryset filters");
    let python = virtual_environment()?;
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

/// Creates the environment once, and again when the requirements change. Returns its interpreter.
fn virtual_environment() -> Result<PathBuf> {
    let environment = project::target("demo-venv");
    let python = environment.join("bin/python");
    let requirements = project::path(PROJECT).join("requirements.txt");
    if is_current(&environment, &requirements)? {
        return Ok(python);
    }
    if environment.exists() {
        fs::remove_dir_all(&environment)?;
    }
    let mut create = Command::new("python3");
    create.args(["-m", "venv"]).arg(&environment);
    step::run("demo-venv", "create a Python environment", &mut create)?.required()?;
    let mut install = Command::new(&python);
    install.args(["-m", "pip", "install", "--quiet", "--requirement"]).arg(&requirements);
    step::run("demo-pip", "install Django and the applications", &mut install)?.required()?;
    fs::copy(&requirements, installed(&environment))?;
    Ok(python)
}

/// The copy of the requirements that the environment was made from.
fn installed(environment: &Path) -> PathBuf {
    environment.join("installed-requirements.txt")
}

fn is_current(environment: &Path, requirements: &Path) -> Result<bool> {
    let wanted = fs::read(requirements).with_context(|| format!("cannot read {}", requirements.display()))?;
    Ok(fs::read(installed(environment)).is_ok_and(|present| present == wanted))
}
