//! `cargo xtask setup`: install what is missing, and only that.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use orgscope_cluster::we_are_root;

use crate::major::Major;
use crate::{pgrx, project, step};

/// What bindgen and cargo-pgrx need to build, and what the demo and the tests run.
const TOOLS: &[&str] =
    &["build-essential", "clang", "libclang-dev", "libssl-dev", "pkg-config", "python3-venv", "sudo"];

#[derive(clap::Args)]
pub struct Options {
    /// PostgreSQL major version instead of the machine's own
    #[arg(long)]
    pg: Option<u32>,
}

impl Options {
    pub fn run(&self) -> Result<()> {
        let major = self.pg.map_or_else(Major::of_this_machine, Major::numbered)?;
        run_for(major)?;
        println!("Ready for PostgreSQL {}.", major.number);
        Ok(())
    }
}

/// Prepares the machine for its own PostgreSQL.
pub fn run() -> Result<()> {
    run_for(Major::of_this_machine()?)
}

pub fn run_for(major: &Major) -> Result<()> {
    let pg_config = major.pg_config_here().with_context(|| {
        format!("PostgreSQL {} is not on this machine, and its packages do not offer it", major.number)
    })?;
    let packages = missing_packages(packages(major, &pg_config))?;
    let cargo_pgrx = !has_pinned_cargo_pgrx();
    let configured = pgrx_knows(major)?;
    if packages.is_empty() && !cargo_pgrx && configured {
        return Ok(());
    }
    println!("Missing on this machine, about to be installed:");
    for package in &packages {
        println!("  apt package   {package}");
    }
    if cargo_pgrx {
        println!("  cargo-pgrx    {} (into {})", pgrx::VERSION, project::tools().display());
    }
    if !configured {
        println!("  pgrx setting  {} in {}", major.feature(), pgrx_settings()?.display());
    }
    install_packages(&packages)?;
    if cargo_pgrx {
        install_cargo_pgrx()?;
    }
    if !configured {
        configure_pgrx(major, &pg_config)?;
    }
    Ok(())
}

/// Installs one package that only some commands need.
pub fn require(package: &str) -> Result<()> {
    install_packages(&missing_packages(vec![package.to_owned()])?)
}

/// The libraries that a package's programs need, but not the package.
pub fn require_libraries(package: &str) -> Result<()> {
    let ask = || {
        let output = Command::new("apt-cache").args(["depends", "--important", package]).output();
        let output = output.context("cannot run apt-cache: setup knows Debian and Ubuntu")?;
        Ok::<_, anyhow::Error>(libraries(&String::from_utf8_lossy(&output.stdout)))
    };
    let mut needed = ask()?;
    if needed.is_empty() {
        refresh_lists()?;
        needed = ask()?;
    }
    install_packages(&missing_packages(needed)?)
}

fn refresh_lists() -> Result<()> {
    let mut update = apt_get()?;
    step::run("apt-update", "refresh the package lists", update.arg("update"))?.required()?;
    Ok(())
}

/// Of lines such as `  Depends: libc6`. Packages in angle brackets are virtual ones.
fn libraries(depends: &str) -> Vec<String> {
    let packages = depends.lines().filter_map(|line| line.trim().strip_prefix("Depends: "));
    packages.filter(|package| package.starts_with("lib")).map(str::to_owned).collect()
}

/// A package's files in a folder below `place`, for a program that only a test runs: its configuration, its account and
/// above all its service stay away from the machine.
pub fn unpacked(package: &str, place: &Path) -> Result<PathBuf> {
    let folder = place.join(package);
    if folder.exists() {
        return Ok(folder);
    }
    let download = tempfile::tempdir_in(made(place)?)?;
    let fetch = || {
        let mut command = Command::new("apt-get");
        step::run(
            "apt-download",
            &format!("download {package}"),
            command.args(["download", package]).current_dir(&download),
        )
    };
    if !fetch()?.success {
        refresh_lists()?;
        fetch()?.required()?;
    }
    let file = fs::read_dir(&download)?.next().context("apt-get has downloaded nothing")??.path();
    let files = download.path().join("files");
    let mut unpack = Command::new("dpkg-deb");
    step::run("unpack", &format!("unpack {package}"), unpack.arg("--extract").arg(file).arg(&files))?.required()?;
    fs::rename(files, &folder).with_context(|| format!("cannot make {}", folder.display()))?;
    Ok(folder)
}

fn made(folder: &Path) -> Result<&Path> {
    fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    Ok(folder)
}

/// A PostgreSQL from elsewhere, which `PG_CONFIG` names, has no packages.
fn packages(major: &Major, pg_config: &Path) -> Vec<String> {
    let mut packages: Vec<String> = TOOLS.iter().map(|&package| package.to_owned()).collect();
    if pg_config == major.packaged_pg_config() {
        packages.push(format!("postgresql-{}", major.number));
        packages.push(format!("postgresql-server-dev-{}", major.number));
        // Tests show that orgscope works beside it.
        packages.push(format!("postgresql-{}-pgaudit", major.number));
    }
    packages
}

fn missing_packages(mut packages: Vec<String>) -> Result<Vec<String>> {
    let mut query = Command::new("dpkg-query");
    query.args(["--show", "--showformat=${Package} ${db:Status-Status}\n"]).args(&packages);
    let query = query.output();
    let query = query.context("cannot run dpkg-query: setup knows Debian and Ubuntu; elsewhere install by hand")?;
    let known = String::from_utf8_lossy(&query.stdout);
    packages.retain(|package| !known.lines().any(|line| line == format!("{package} installed")));
    Ok(packages)
}

fn install_packages(packages: &[String]) -> Result<()> {
    if packages.is_empty() {
        return Ok(());
    }
    refresh_lists()?;
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
    is_pinned_cargo_pgrx(&mut Command::new(pgrx::program()))
}

/// Whether a command that calls some cargo-pgrx runs, and runs the version of the pgrx crates.
pub fn is_pinned_cargo_pgrx(command: &mut Command) -> bool {
    let version = command.args(["pgrx", "--version"]).output();
    version.is_ok_and(|output| String::from_utf8_lossy(&output.stdout).trim().ends_with(pgrx::VERSION))
}

fn install_cargo_pgrx() -> Result<()> {
    let mut install = project::cargo();
    // A debug build: it compiles in half the time and is never the slow part.
    install.args(["install", "--locked", "--debug", "cargo-pgrx", "--version"]).arg(format!("={}", pgrx::VERSION));
    install.arg("--root").arg(project::tools());
    step::run("cargo-pgrx", "build cargo-pgrx (several minutes, once)", &mut install)?.required()?;
    Ok(())
}

/// Plain cargo and cargo-pgrx look there for the PostgreSQL to build against.
fn pgrx_settings() -> Result<PathBuf> {
    let home = match std::env::var_os("PGRX_HOME") {
        Some(home) => home.into(),
        None => std::env::home_dir().context("no home directory; set PGRX_HOME")?.join(".pgrx"),
    };
    Ok(home.join("config.toml"))
}

fn pgrx_knows(major: &Major) -> Result<bool> {
    let settings = fs::read_to_string(pgrx_settings()?).unwrap_or_default();
    Ok(settings.lines().any(|line| line.trim_start().starts_with(&major.feature())))
}

/// Not `cargo pgrx init`, which writes the file anew and forgets other majors that the user has there.
fn configure_pgrx(major: &Major, pg_config: &Path) -> Result<()> {
    let path = pgrx_settings()?;
    let settings = fs::read_to_string(&path).unwrap_or_default();
    if let Some(home) = path.parent() {
        fs::create_dir_all(home).with_context(|| format!("cannot create {}", home.display()))?;
    }
    let settings = with_pg_config(&settings, &major.feature(), pg_config);
    fs::write(&path, settings).with_context(|| format!("cannot write {}", path.display()))
}

fn with_pg_config(settings: &str, name: &str, pg_config: &Path) -> String {
    const SECTION: &str = "[configs]";
    let line = format!("{name} = \"{}\"\n", pg_config.display());
    match settings.split_once(SECTION) {
        Some((before, after)) => format!("{before}{SECTION}\n{line}{}", after.trim_start_matches('\n')),
        None => format!("{settings}{SECTION}\n{line}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_are_told_from_other_packages() {
        let depends = "pgbouncer\n  PreDepends: init-system-helpers\n  Depends: postgresql-common\n  Depends: libc6\n \
                       |Depends: libpam0g\n  Depends: <libx>\n    liby\n  Depends: libevent-2.1-7t64\n";
        assert_eq!(libraries(depends), ["libc6", "libevent-2.1-7t64"]);
    }

    #[test]
    fn a_major_is_added_to_the_settings_of_pgrx() {
        let one = with_pg_config("", "pg15", Path::new("/15/pg_config"));
        assert_eq!(one, "[configs]\npg15 = \"/15/pg_config\"\n");
        let two = with_pg_config(&one, "pg17", Path::new("/17/pg_config"));
        assert_eq!(two, "[configs]\npg17 = \"/17/pg_config\"\npg15 = \"/15/pg_config\"\n");
    }
}
