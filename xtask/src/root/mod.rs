//! A root folder of another Debian release, for a PostgreSQL that this machine's packages do not offer.
//!
//! debootstrap makes it once (`make`). Programs run in it in a world of their own (`enter`): mounts, processes and
//! shared memory are gone with the command that made them, however it ends. The Rust toolchain, the repository and the
//! target folder are the machine's, at the same paths, so that xtask runs itself inside.

mod enter;
mod make;
mod mirror;

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use orgscope_cluster::we_are_root;

use crate::major::Major;
use crate::{project, setup};

pub struct Root {
    path: PathBuf,
    /// The target folder of the runs inside: what a newer Debian links does not load on this machine.
    target: PathBuf,
}

impl Root {
    /// The root of a major, made if it is not there yet.
    pub fn of(major: &Major) -> Result<Self> {
        let release = major.debian.with_context(|| {
            format!(
                "no Debian release ships PostgreSQL {0}, and this machine's packages do not offer it; with \
                 PostgreSQL's own apt repository (PGDG) or PG_CONFIG naming an installed one, --pg {0} runs on this machine",
                major.number
            )
        })?;
        ensure!(
            we_are_root(),
            "this machine's packages do not offer PostgreSQL {}, and making a root of Debian {release}, which does, \
             needs root: run with sudo, or leave --pg away to take the machine's own",
            major.number
        );
        let path = project::target("roots").join(major.feature());
        if !path.exists() {
            make::make(major, release, &path)?;
        }
        Ok(Self::at(path, major))
    }

    fn at(path: PathBuf, major: &Major) -> Self {
        Self { path, target: project::target(&major.feature()) }
    }

    /// This program itself, inside.
    pub fn xtask(&self) -> Result<Command> {
        enter::follow_machine(&self.path)?;
        let cargo_home = rust_folder("CARGO_HOME", ".cargo")?;
        let rustup_home = rust_folder("RUSTUP_HOME", ".rustup")?;
        let folders = [project::root(), &project::target(""), &cargo_home, &rustup_home];
        let mut command = enter::command(&self.path, &folders);
        command.arg(project::this_program()?);
        command.env("PATH", format!("{}:{}", cargo_home.join("bin").display(), enter::PATH));
        command.env("CARGO_HOME", cargo_home).env("RUSTUP_HOME", rustup_home);
        command.env("CARGO_TARGET_DIR", &self.target);
        // Libraries of this machine, and settings that name its PostgreSQL.
        for name in ["LD_LIBRARY_PATH", "PGRX_HOME", "PG_CONFIG"] {
            command.env_remove(name);
        }
        if self.runs_our_cargo_pgrx() {
            command.env(project::TOOLS, project::tools());
        }
        Ok(command)
    }

    /// Building cargo-pgrx takes minutes. What an older Debian links runs in a newer one, but not always in an older.
    fn runs_our_cargo_pgrx(&self) -> bool {
        let tools = project::tools();
        let mut command = enter::command(&self.path, &[&tools]);
        setup::is_pinned_cargo_pgrx(command.arg(tools.join("bin/cargo-pgrx")))
    }
}

fn rust_folder(variable: &str, below_home: &str) -> Result<PathBuf> {
    let folder = match std::env::var_os(variable) {
        Some(folder) => folder.into(),
        None => std::env::home_dir().context("no home directory")?.join(below_home),
    };
    ensure!(folder.is_dir(), "a root uses the machine's Rust toolchain, but {} is not there", folder.display());
    Ok(folder)
}

/// Runs a short program inside and reports what it said when it fails.
fn run(root: &Path, program: &str, arguments: &[&str]) -> Result<()> {
    let output = enter::command(root, &[]).arg(program).args(arguments).output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{program} failed in {}: {said}", root.display());
    Ok(())
}
