//! Python environments: made once, in the target folder, and again when their requirements change.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::{project, step};

/// The interpreter of the environment `name`, which has what the repository's file `requirements` lists.
pub fn environment(name: &str, requirements: &str, what: &str) -> Result<PathBuf> {
    let environment = project::target(name);
    let python = environment.join("bin/python");
    let requirements = project::path(requirements);
    if is_current(&environment, &requirements)? {
        return Ok(python);
    }
    if environment.exists() {
        fs::remove_dir_all(&environment)?;
    }
    let mut create = Command::new("python3");
    create.args(["-m", "venv"]).arg(&environment);
    step::run(name, "create a Python environment", &mut create)?.required()?;
    let mut install = Command::new(&python);
    install.args(["-m", "pip", "install", "--quiet", "--requirement"]).arg(&requirements);
    step::run(&format!("{name}-pip"), &format!("install {what}"), &mut install)?.required()?;
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
