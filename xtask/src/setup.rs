//! `cargo xtask setup`: install what is missing, and only that.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use orgscope_cluster::we_are_root;

use crate::{pgrx, project, step};

/// PostgreSQL with headers, what bindgen and cargo-pgrx need to build, what the demo and the tests run.
const PACKAGES: &[&str] = &[
    "postgresql-15",
    "postgresql-server-dev-15",
    "build-essential",
    "clang",
    "libclang-dev",
    "libssl-dev",
    "pkg-config",
    "python3-venv",
    "sudo",
];

pub fn run() -> Result<()> {
    let packages = missing_packages()?;
    let cargo_pgrx = !has_pinned_cargo_pgrx();
    let configured = pgrx_knows_pg15()?;
    if packages.is_empty() && !cargo_pgrx && configured {
        return Ok(());
    }
    println!("Missing on this machine, about to be installed:");
    for package in &packages {
        println!("  apt package   {package}");
    }
    if cargo_pgrx {
        println!("  cargo-pgrx    {} (into {})", pgrx::VERSION, project::target("tools").display());
    }
    if !configured {
        println!("  pgrx setting  pg15 in {}", pgrx_home()?.join("config.toml").display());
    }
    install_packages(&packages)?;
    if cargo_pgrx {
        install_cargo_pgrx()?;
    }
    if !configured {
        configure_pgrx()?;
    }
    Ok(())
}

fn missing_packages() -> Result<Vec<&'static str>> {
    let mut missing = Vec::new();
    for package in PACKAGES {
        let query = Command::new("dpkg-query").args(["--show", "--showformat=${db:Status-Status}", package]).output();
        let query = query.context("cannot run dpkg-query: setup knows Debian and Ubuntu; elsewhere install by hand")?;
        if query.stdout != b"installed" {
            missing.push(*package);
        }
    }
    Ok(missing)
}

fn install_packages(packages: &[&str]) -> Result<()> {
    if packages.is_empty() {
        return Ok(());
    }
    let mut update = apt_get()?;
    step::run("apt-update", "refresh the package lists", update.arg("update"))?.required()?;
    let mut install = apt_get()?;
    install.args(["install", "--yes", "--no-install-recommends"]).args(packages);
    step::run("apt-install", "install the apt packages", &mut install)?.required()?;
    Ok(())
}

fn apt_get() -> Result<Command> {
    let mut command = if we_are_root() {
        Command::new("apt-get")
    } else if can_sudo() {
        let mut sudo = Command::new("sudo");
        sudo.args(["--non-interactive", "apt-get"]);
        sudo
    } else {
        bail!(
            "installing apt packages needs root or a sudo that asks for no password; install them and run this again"
        );
    };
    command.env("DEBIAN_FRONTEND", "noninteractive");
    Ok(command)
}

fn can_sudo() -> bool {
    let probe = Command::new("sudo").args(["--non-interactive", "true"]).stderr(Stdio::null()).status();
    probe.is_ok_and(|status| status.success())
}

fn has_pinned_cargo_pgrx() -> bool {
    let version = Command::new(pgrx::program()).args(["pgrx", "--version"]).output();
    version.is_ok_and(|output| String::from_utf8_lossy(&output.stdout).trim().ends_with(pgrx::VERSION))
}

fn install_cargo_pgrx() -> Result<()> {
    let mut install = project::cargo();
    // A debug build: it compiles in half the time and is never the slow part.
    install.args(["install", "--locked", "--debug", "cargo-pgrx", "--version"]).arg(format!("={}", pgrx::VERSION));
    install.arg("--root").arg(project::target("tools"));
    step::run("cargo-pgrx", "build cargo-pgrx (several minutes, once)", &mut install)?.required()?;
    Ok(())
}

/// Plain cargo and cargo-pgrx look there for the PostgreSQL to build against.
fn pgrx_home() -> Result<PathBuf> {
    if let Some(home) = std::env::var_os("PGRX_HOME") {
        return Ok(home.into());
    }
    Ok(std::env::home_dir().context("no home directory; set PGRX_HOME")?.join(".pgrx"))
}

fn pgrx_knows_pg15() -> Result<bool> {
    let settings = fs::read_to_string(pgrx_home()?.join("config.toml")).unwrap_or_default();
    Ok(settings.lines().any(|line| line.trim_start().starts_with("pg15")))
}

fn configure_pgrx() -> Result<()> {
    let home = pgrx_home()?;
    // `init` writes the file anew and would forget other versions that the user has there.
    ensure!(
        !home.join("config.toml").exists(),
        "{} has no pg15: add `pg15 = \"{}\"` under [configs]",
        home.join("config.toml").display(),
        pgrx::pg_config()?.display()
    );
    fs::create_dir_all(&home).with_context(|| format!("cannot create {}", home.display()))?;
    let mut init = pgrx::command("init");
    step::run("pgrx-init", "tell pgrx about PostgreSQL 15", init.arg("--pg15").arg(pgrx::pg_config()?))?.required()?;
    Ok(())
}
