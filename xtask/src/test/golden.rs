//! The suites that compare printed output: pg_regress stories and isolation specs.
//!
//! PostgreSQL's own programs run them, against our cluster (`--use-existing`), because `cargo pgrx regress`
//! cannot start a server as root.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use orgscope_cluster::{Cluster, Options, SUPERUSER};

use super::count::Count;
use super::{Outcome, judge};
use crate::{project, step};

/// How one kind of golden test is laid out and run.
struct Kind {
    suite: &'static str,
    what: &'static str,
    /// The program, below the PGXS test folder.
    program: &'static str,
    inputs: &'static str,
    extension: &'static str,
    /// What has to be there before the first test; pg_regress stories do this themselves in `setup`.
    prepare: &'static str,
}

const STORIES: Kind = Kind {
    suite: "pg_regress",
    what: "pg_regress stories",
    program: "regress/pg_regress",
    inputs: "tests/pg_regress/sql",
    extension: "sql",
    prepare: "",
};

const SPECS: Kind = Kind {
    suite: "isolation",
    what: "isolation specs",
    program: "isolation/pg_isolation_regress",
    inputs: "tests/isolation/specs",
    extension: "spec",
    prepare: "CREATE EXTENSION orgscope",
};

pub fn run(accept: bool) -> Result<Vec<Outcome>> {
    let cluster = step::work("start a cluster for golden tests", || Cluster::start(&Options::default()))?;
    Ok(vec![STORIES.run(&cluster, accept)?, SPECS.run(&cluster, accept)?])
}

/// The stories beside other libraries, which have their extensions in the same database. They print what they print without.
pub fn beside(suite: &'static str, libraries: &str, extensions: &'static str) -> Result<Outcome> {
    let start = || Cluster::start(&Options::default().preload(libraries));
    let cluster = step::work(&format!("start a cluster that preloads {libraries}"), start)?;
    Kind { suite, prepare: extensions, ..STORIES }.run(&cluster, false)
}

impl Kind {
    fn run(&self, cluster: &Cluster, accept: bool) -> Result<Outcome> {
        let tests = self.tests()?;
        if tests.is_empty() {
            return Ok(Outcome { suite: self.suite, count: Count::default(), seconds: 0.0 });
        }
        cluster.create_database(self.suite)?;
        cluster.connect(SUPERUSER, self.suite)?.batch_execute(self.prepare)?;
        let output = self.empty_output_folder()?;
        self.expect_something(&tests, &output)?;
        let finished = step::run(self.suite, self.what, &mut self.command(cluster, &tests, &output)?)?;
        let outcome = judge(self.suite, &finished, Count::of_pg_regress)?;
        if outcome.count.failed > 0 {
            print_differences(&output);
        }
        if accept {
            self.accept(&tests, &output)?;
        }
        Ok(outcome)
    }

    fn folder(&self) -> PathBuf {
        project::path(self.inputs).parent().map(Path::to_path_buf).unwrap_or_default()
    }

    fn expected(&self) -> PathBuf {
        self.folder().join("expected")
    }

    /// Kept after the run: pg_regress's messages point into it.
    fn empty_output_folder(&self) -> Result<PathBuf> {
        let output = project::target("golden").join(self.suite);
        if output.exists() {
            fs::remove_dir_all(&output)?;
        }
        fs::create_dir_all(&output).with_context(|| format!("cannot create {}", output.display()))?;
        Ok(output)
    }

    /// Alphabetical, but `setup` first and `uninstall` last.
    fn tests(&self) -> Result<Vec<String>> {
        let folder = project::path(self.inputs);
        let mut tests = Vec::new();
        for entry in fs::read_dir(&folder).with_context(|| format!("cannot read {}", folder.display()))? {
            let path = entry?.path();
            if let (true, Some(name)) = (path.extension().is_some_and(|e| e == self.extension), path.file_stem()) {
                tests.push(name.to_string_lossy().into_owned());
            }
        }
        tests.sort_by_key(|name| (name != "setup", name == "uninstall", name.clone()));
        Ok(tests)
    }

    /// pg_regress gives up on all tests when one has no expected file; an empty one makes that test fail alone.
    fn expect_something(&self, tests: &[String], output: &Path) -> Result<()> {
        let expected = output.join("expected");
        fs::create_dir_all(&expected)?;
        for test in tests {
            let file = format!("{test}.out");
            if !self.expected().join(&file).exists() {
                fs::write(expected.join(file), "")?;
            }
        }
        Ok(())
    }

    fn command(&self, cluster: &Cluster, tests: &[String], output: &Path) -> Result<Command> {
        let mut command = Command::new(cluster.installation().test_program(self.program)?);
        cluster.aim(&mut command);
        command.arg("--use-existing").arg(format!("--dbname={}", self.suite)).arg(format!("--user={SUPERUSER}"));
        command.arg("--host").arg(cluster.socket_directory()).arg(format!("--port={}", cluster.port()));
        command.arg("--bindir").arg(cluster.installation().bindir());
        command.arg("--inputdir").arg(self.folder()).arg("--outputdir").arg(output);
        if cluster.installation().major()? >= 16 {
            // Before, this was the output folder. Both look into the input folder next.
            command.arg("--expecteddir").arg(output);
        }
        command.args(tests);
        Ok(command)
    }

    /// A test prints the same on every major version: there is one expected file.
    fn accept(&self, tests: &[String], output: &Path) -> Result<()> {
        for test in tests {
            let file = format!("{test}.out");
            let result = output.join("results").join(&file);
            fs::copy(&result, self.expected().join(&file)).with_context(|| format!("no result of {test}"))?;
        }
        println!("  accepted into {}; look at `git diff` before committing", self.expected().display());
        Ok(())
    }
}

fn print_differences(output: &Path) {
    // There is no such file when the server or the client failed before anything was compared.
    if let Ok(differences) = fs::read_to_string(output.join("regression.diffs")) {
        println!("{differences}");
    }
}
