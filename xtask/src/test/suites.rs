//! The suites that cargo runs.

use std::process::Command;

use anyhow::{Context, Result};

use super::count::Count;
use super::{Outcome, judge};
use crate::major::{Major, SUPPORTED};
use crate::{pgrx, project, step};

/// The part of its name by which a `#[pg_test]` is told from a pure test.
const SERVER_TESTS: &str = "::pg_";

/// Style, pure tests, and the tests that run inside PostgreSQL.
pub fn before_install(major: &Major, wants: &impl Fn(&str) -> bool, with_tools: bool) -> Result<Vec<Outcome>> {
    let suites: [(&str, &dyn Fn() -> Result<Outcome>); 6] = [
        ("fmt", &fmt),
        ("xtask", &tools),
        ("pg16", &untested),
        ("clippy", &|| clippy(major, with_tools)),
        ("pure", &|| pure(major)),
        ("pg_test", &|| pg_test(major)),
    ];
    suites.into_iter().filter(|(name, _)| wants(name)).map(|(_, run)| run()).collect()
}

/// What the suites will then find built. A failure is theirs to show.
pub fn build(major: &Major, wants: &impl Fn(&str) -> bool, installs: bool) -> Result<()> {
    if installs {
        pgrx::build_ahead()?.wait("release build")?;
    }
    if wants("clippy") {
        step::run("clippy", "clippy", &mut clippy_of(major, false))?;
    }
    if wants("pure") || wants("pg_test") {
        step::run("pure", "build the pure tests", pure_of(major).arg("--no-run"))?;
        // As the test framework installs it. cargo-pgrx hands cargo a flag, with which all is compiled again; the pure tests
        // do not link with it.
        let mut library = project::cargo();
        library.args([
            "--config",
            "target.'cfg(target_os = \"linux\")'.rustflags = ['-C', 'link-arg=-Wl,--no-gc-sections']",
        ]);
        library.args(["build", "--lib", "--no-default-features", "--features", &test_features(major)]);
        step::run("pg_test", "build what is tested inside PostgreSQL", &mut library)?;
    }
    if wants("cluster") || wants("pgaudit") {
        step::run("cluster-build", "build the cluster tests", cluster_of().arg("--no-run"))?;
    }
    Ok(())
}

/// Tests that wait for something to expire, a minute at the least; the others run meanwhile.
const WAITING: [&str; 2] = ["break_glass", "token"];

/// Real servers, several connections; needs the extension installed. Tests of what a later major brought, in modules
/// `since_N`, are left out.
pub fn cluster(major: &Major) -> Result<Outcome> {
    let build = step::run("cluster-build", "build the cluster tests", cluster_of().arg("--no-run"))?;
    if !build.success {
        return judge("cluster", &build, Count::of_cargo_test);
    }
    let (waiting, others): (Vec<_>, Vec<_>) =
        cluster_tests()?.into_iter().partition(|name| WAITING.contains(&name.as_str()));
    let tests = |own: Option<&str>, names: &[String]| {
        let mut test = cluster_of();
        test.args(own).args(names.iter().flat_map(|name| ["--test", name])).arg("--");
        for later in SUPPORTED.iter().filter(|later| later.number > major.number) {
            test.arg("--skip").arg(format!("since_{}::", later.number));
        }
        test
    };
    let waiting = step::beside("cluster-waiting", &mut tests(None, &waiting))?;
    let mut rest = tests(Some("--lib"), &others);
    let rest = step::run("cluster", "cluster tests: real servers, several connections", &mut rest)?;
    let waiting = waiting.wait("those that wait for something to expire")?;
    let (rest, waiting) =
        (judge("cluster", &rest, Count::of_cargo_test)?, judge("cluster", &waiting, Count::of_cargo_test)?);
    let seconds = build.seconds + rest.seconds + waiting.seconds;
    Ok(Outcome { suite: "cluster", count: rest.count + waiting.count, seconds })
}

fn cluster_of() -> Command {
    let mut cargo = project::cargo();
    cargo.args(["test", "--package", "orgscope-cluster", "--no-fail-fast"]);
    cargo
}

/// The programs of `tests/cluster/tests`.
fn cluster_tests() -> Result<Vec<String>> {
    let folder = project::path("tests/cluster/tests");
    let mut names = Vec::new();
    for entry in std::fs::read_dir(&folder).with_context(|| format!("cannot read {}", folder.display()))? {
        let path = entry?.path();
        let is_program =
            if path.is_dir() { path.join("main.rs").exists() } else { path.extension() == Some("rs".as_ref()) };
        if let Some(name) = path.file_stem().and_then(|name| name.to_str()).filter(|_| is_program) {
            names.push(name.to_owned());
        }
    }
    names.sort();
    Ok(names)
}

fn fmt() -> Result<Outcome> {
    let mut fmt = project::cargo();
    let finished = step::run("fmt", "formatting", fmt.args(["fmt", "--all", "--check", "--", "--color", "never"]))?;
    whole("fmt", &finished)
}

fn clippy(major: &Major, with_tools: bool) -> Result<Outcome> {
    whole("clippy", &step::run("clippy", "clippy", &mut clippy_of(major, with_tools))?)
}

fn clippy_of(major: &Major, with_tools: bool) -> Command {
    let mut clippy = project::cargo();
    clippy.args(["clippy", if with_tools { "--workspace" } else { "--package=orgscope" }]);
    clippy.args(["--all-targets", "--no-default-features", "--features"]);
    clippy.arg(format!("orgscope/{},orgscope/pg_test", major.feature())).args(["--", "--deny", "warnings"]);
    clippy
}

/// PostgreSQL 16, whose headers no Debian release has: checked against the bindings that pgrx carries for its own
/// documentation. The wrapper says so to pgrx-pg-sys alone; other crates take `docsrs` for a nightly compiler.
fn untested() -> Result<Outcome> {
    let mut clippy = project::cargo();
    clippy.args([
        "clippy",
        "--package=orgscope",
        "--no-default-features",
        "--features=pg16",
        "--",
        "--deny",
        "warnings",
    ]);
    clippy.env("DOCS_RS", "1").env("RUSTC_WRAPPER", project::path("xtask/rustc-docsrs.sh"));
    clippy.env("CARGO_TARGET_DIR", project::target("pg16"));
    let finished = step::run("pg16", "clippy for PostgreSQL 16, which is not tested", &mut clippy)?;
    whole("pg16", &finished)
}

fn pure(major: &Major) -> Result<Outcome> {
    let mut test = pure_of(major);
    let finished = step::run("pure", "pure tests: no server", test.args(["--", "--skip", SERVER_TESTS]))?;
    judge("pure", &finished, Count::of_cargo_test)
}

fn pure_of(major: &Major) -> Command {
    let mut test = project::cargo();
    test.args(["test", "--no-fail-fast", "--no-default-features", "--features", &test_features(major)]);
    test
}

/// With the server tests in it, which `cargo pgrx test` runs then, the program is built once.
fn test_features(major: &Major) -> String {
    format!("{},pg_test", major.feature())
}

fn tools() -> Result<Outcome> {
    let mut test = project::cargo();
    let finished = step::run("xtask", "tests of xtask itself", test.args(["test", "--package", "xtask"]))?;
    judge("xtask", &finished, Count::of_cargo_test)
}

fn pg_test(major: &Major) -> Result<Outcome> {
    let mut test = pgrx::command("test");
    test.arg(major.feature()).arg(SERVER_TESTS);
    let _server = pgrx::TestServer::prepare(&mut test)?;
    let finished = step::run("pg_test", "cargo pgrx test: inside PostgreSQL", &mut test)?;
    judge("pg_test", &finished, Count::of_cargo_test)
}

fn whole(suite: &'static str, finished: &step::Finished) -> Result<Outcome> {
    if !finished.success {
        finished.print_failure()?;
    }
    Ok(Outcome { suite, count: Count::whole(finished.success), seconds: finished.seconds })
}
