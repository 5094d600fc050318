//! Published schemas, not written by us: scoped whole, filled for two organizations, compared table by table, used by
//! the application's own tests, and unscoped again.

mod source;
mod subject;

use std::time::Instant;

use anyhow::Result;
use orgscope_cluster::{Cluster, Options, SUPERUSER};

use super::Outcome;
use super::count::Count;
use crate::{python, step};
use subject::{Subject, Trial};

/// The organization that the application had all along.
const FIRST: &str = "aaaaaaaa-0000-7000-8000-000000000001";
const SECOND: &str = "bbbbbbbb-0000-7000-8000-000000000002";
/// It owns the tables and scopes them; it is not a superuser.
const OWNER: &str = "owner";
const APPLICATION: &str = "app";

static SUBJECTS: [Subject; 3] = [
    Subject {
        name: "wagtail",
        what: "Wagtail and its example site: a large Django application",
        schema: "public",
        load: &[&["-m", "django", "migrate", "--verbosity", "0"], &["-m", "django", "createcachetable"]],
        own_tests: &[
            "-m",
            "django",
            "test",
            "--verbosity",
            "0",
            "wagtail.tests.test_collection_model",
            "wagtail.tests.test_comments",
            "wagtail.tests.test_draft_model",
            "wagtail.tests.test_locale_model",
            "wagtail.tests.test_lockable_model",
            "wagtail.tests.test_page_queryset",
            "wagtail.tests.test_reference_index",
            "wagtail.tests.test_signals",
            "wagtail.tests.test_sites",
            "wagtail.tests.test_workflow_model",
        ],
        scoped_at_least: 260,
    },
    Subject {
        name: "musicbrainz",
        what: "MusicBrainz: natural keys, and tables that refer to themselves",
        schema: "musicbrainz",
        load: &[&["load.py"]],
        own_tests: &[],
        scoped_at_least: 290,
    },
    Subject {
        name: "audit_trail",
        what: "sqlalchemy-audit-trail: events partitioned by severity and then by month",
        schema: "audit",
        load: &[&["load.py"]],
        own_tests: &[],
        scoped_at_least: 2,
    },
];

pub fn run() -> Result<Outcome> {
    let started = Instant::now();
    let python = python::environment("schemas-venv", "tests/schemas/requirements.txt", "the published schemas")?;
    let cluster = step::work("start a cluster for the published schemas", || Cluster::start(&Options::default()))?;
    let roles = format!("CREATE ROLE {OWNER} LOGIN; CREATE ROLE {APPLICATION} LOGIN");
    cluster.connect(SUPERUSER, "postgres")?.batch_execute(&roles)?;
    let mut count = Count::default();
    for subject in &SUBJECTS {
        let result = Trial::begin(subject, &cluster, &python).and_then(|mut trial| trial.run());
        if let Err(problem) = &result {
            println!("  {}: {problem:#}", subject.name);
        }
        count = count + Count::whole(result.is_ok());
    }
    Ok(Outcome { suite: "schemas", count, seconds: started.elapsed().as_secs_f64() })
}
