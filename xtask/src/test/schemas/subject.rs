//! One published schema, from its own migrations to the same dump as before.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use comfy_table::{ContentArrangement, Table, presets};
use orgscope_cluster::{Cluster, SUPERUSER};
use postgres::Client;

use super::{APPLICATION, FIRST, OWNER, SECOND, source};
use crate::{project, step};

const FOLDER: &str = "tests/schemas";
const WIDTH: u16 = 120;

pub struct Subject {
    /// Also its folder in tests/schemas and its database.
    pub name: &'static str,
    pub what: &'static str,
    pub schema: &'static str,
    /// Arguments for Python that create the tables and rows of one organization.
    pub load: &'static [&'static [&'static str]],
    /// Arguments for Python that run the application's own tests, if it has any that need nothing but the database.
    pub own_tests: &'static [&'static str],
    pub scoped_at_least: usize,
}

impl Subject {
    pub fn folder(&self) -> PathBuf {
        project::path(FOLDER).join(self.name)
    }

    /// Python in the subject's folder as any client of the database would be: over TCP.
    pub fn python(&self, python: &Path, cluster: &Cluster, role: &str, database: &str) -> Command {
        let mut command = Command::new(python);
        cluster.aim(&mut command);
        command.current_dir(self.folder());
        command.env("PGHOST", "127.0.0.1").env("PGUSER", role).env("PGDATABASE", database);
        command.env("PYTHONPATH", project::path("tests/demo/django")).env("PYTHONDONTWRITEBYTECODE", "1");
        command.env("PYTHONWARNINGS", "ignore").env("DJANGO_SETTINGS_MODULE", "settings");
        command
    }
}

/// A subject on its database.
pub struct Trial<'a> {
    subject: &'a Subject,
    cluster: &'a Cluster,
    python: &'a Path,
    admin: Client,
    owner: Client,
}

impl<'a> Trial<'a> {
    pub fn begin(subject: &'a Subject, cluster: &'a Cluster, python: &'a Path) -> Result<Self> {
        println!("  {}", subject.what);
        let published = source::dump(subject, cluster, python)?;
        cluster.create_database(subject.name)?;
        let mut restore = cluster.command("psql");
        restore.args(["--quiet", "--no-psqlrc", "--set=ON_ERROR_STOP=1", "--dbname", subject.name, "--file"]);
        let name = format!("schemas-{}-restore", subject.name);
        step::run(&name, "restore its tables", restore.arg(published))?.required()?;
        let mut admin = cluster.connect(SUPERUSER, subject.name)?;
        admin.batch_execute(&format!(
            "CREATE EXTENSION orgscope;
             INSERT INTO orgscope.organization (id, name, slug)
                 VALUES ('{FIRST}', 'Acme', 'acme'), ('{SECOND}', 'Globex', 'globex');
             GRANT ALL ON SCHEMA {} TO {OWNER}, {APPLICATION}",
            subject.schema
        ))?;
        let owner = cluster.connect(OWNER, subject.name)?;
        Ok(Self { subject, cluster, python, admin, owner })
    }

    pub fn run(&mut self) -> Result<()> {
        self.hand_over()?;
        let before = self.dump()?;
        let options = fs::read_to_string(self.subject.folder().join("options.json"))?;
        self.show_plan(&options)?;
        self.enable(&options)?;
        let tables = self.scoped_tables()?;
        let least = self.subject.scoped_at_least;
        ensure!(tables.len() >= least, "{} tables are scoped, expected at least {least}", tables.len());
        let copied = step::work("copy the rows for a second organization", || self.fill_second())?;
        let compared = step::work("compare what each organization sees, table by table", || self.compare(&tables))?;
        println!("    {} tables scoped; {copied} rows copied, {compared} rows compared", tables.len());
        self.run_own_tests()?;
        step::work("unscope all tables", || self.disable(&tables))?;
        let after = self.dump()?;
        ensure!(before == after, "the schema is not what it was: {}", first_difference(&before, &after));
        Ok(())
    }

    /// The tables are the owner's, and the application may use them.
    fn hand_over(&mut self) -> Result<()> {
        let schema = self.subject.schema;
        let hand_over = format!(
            "SELECT string_agg(format('ALTER TABLE %s OWNER TO {OWNER}', oid::regclass), ';')
             FROM pg_class WHERE relnamespace = '{schema}'::regnamespace AND relkind IN ('r', 'p')"
        );
        let statements: String = self.admin.query_one(&hand_over, &[])?.get(0);
        self.admin.batch_execute(&statements)?;
        self.admin.batch_execute(&format!(
            "GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA {schema} TO {APPLICATION};
             GRANT ALL ON ALL SEQUENCES IN SCHEMA {schema} TO {APPLICATION};
             ANALYZE"
        ))?;
        Ok(())
    }

    /// The plan in short: how many tables and steps of each kind, and the first of them.
    fn show_plan(&mut self, options: &str) -> Result<()> {
        let summary = "SELECT proposal, count(DISTINCT target)::text, count(step)::text,
                COALESCE(min(target::text || COALESCE(' along ' || substring(reason FROM 'along (.*):'), ': ' || reason))
                    FILTER (WHERE kind = 'backfill' OR step IS NULL), min(target::text))
            FROM orgscope.plan_org_scoping_schema($1::text::name, $2::text::jsonb) GROUP BY 1 ORDER BY 1";
        let owner = &mut self.owner;
        let schema = self.subject.schema;
        let rows = step::work("plan", || Ok(owner.query(summary, &[&schema, &options])?))?;
        let mut table = Table::new();
        table.load_preset(presets::UTF8_FULL_CONDENSED).set_content_arrangement(ContentArrangement::Dynamic);
        table.set_width(WIDTH).set_header(["proposal", "tables", "steps", "for example"]);
        for row in &rows {
            table.add_row((0..4).map(|n| row.get::<_, Option<String>>(n).unwrap_or_default()));
        }
        println!("{table}");
        Ok(())
    }

    fn enable(&mut self, options: &str) -> Result<()> {
        let all = "SELECT FROM orgscope.enable_org_scoping_schema($1::text::name, $2::text::jsonb)";
        let (owner, schema) = (&mut self.owner, self.subject.schema);
        step::work("scope the schema", || Ok(owner.execute(all, &[&schema, &options])?))?;
        let again = self.owner.execute(all, &[&schema, &options])?;
        ensure!(again == 0, "enabled a second time, {again} steps were taken");
        Ok(())
    }

    /// Their names as SQL.
    fn scoped_tables(&mut self) -> Result<Vec<String>> {
        let all = "SELECT s.target::text, s.protected FROM orgscope.scoped_tables s
            JOIN pg_class c ON c.oid = s.target WHERE NOT c.relispartition ORDER BY 1";
        let rows = self.admin.query(all, &[])?;
        for row in &rows {
            ensure!(row.get::<_, bool>(1), "{} is not protected", row.get::<_, String>(0));
        }
        Ok(rows.iter().map(|row| row.get(0)).collect())
    }

    fn fill_second(&mut self) -> Result<i64> {
        let copy = fs::read_to_string(project::path(FOLDER).join("second_organization.sql"))?;
        let mut transaction = self.admin.transaction()?;
        transaction.batch_execute(&format!(
            "SET LOCAL orgscope.current_org = '{SECOND}'; SET LOCAL session_replication_role = replica; {copy}"
        ))?;
        let call = "SELECT pg_temp.copy_rows($1::text::name, $2::text::uuid)";
        let copied = transaction.query_one(call, &[&self.subject.schema, &FIRST])?.get(0);
        transaction.commit()?;
        Ok(copied)
    }

    /// What the application sees under an organization is what a superuser finds by the column; without one it is
    /// refused.
    fn compare(&mut self, tables: &[String]) -> Result<i64> {
        let mut application = self.cluster.connect(APPLICATION, self.subject.name)?;
        let mut rows = 0;
        for organization in [FIRST, SECOND] {
            for table in tables {
                let digest = format!("SELECT count(*), md5(string_agg(t::text, ' ' ORDER BY t::text)) FROM {table} t");
                let there = format!("{digest} WHERE organization_id = '{organization}'");
                let there = self.admin.query_one(&there, &[])?;
                let mut transaction = application.transaction()?;
                transaction.batch_execute(&format!("SET LOCAL orgscope.current_org = '{organization}'"))?;
                let seen = transaction.query_one(&digest, &[])?;
                transaction.commit()?;
                let seen: (i64, Option<String>) = (seen.get(0), seen.get(1));
                ensure!(seen == (there.get(0), there.get(1)), "{table}: {organization} sees other rows than its own");
                rows += seen.0;
            }
        }
        for table in tables {
            let refused = application.execute(&format!("SELECT FROM {table}"), &[]).err();
            let code = refused.as_ref().and_then(|error| error.code()).map(|code| code.code().to_owned());
            ensure!(code.as_deref() == Some("OS001"), "{table} without an organization: {code:?}");
        }
        Ok(rows)
    }

    fn run_own_tests(&self) -> Result<()> {
        if self.subject.own_tests.is_empty() {
            return Ok(());
        }
        let subject = self.subject;
        let mut tests = subject.python(self.python, self.cluster, APPLICATION, subject.name);
        tests.args(subject.own_tests);
        tests.env("ORGANIZATION", FIRST);
        let name = format!("schemas-{}-tests", self.subject.name);
        let finished =
            step::run(&name, "the application's own tests under one organization", &mut tests)?.required()?;
        let output = finished.output()?;
        let ran = output.lines().find(|line| line.starts_with("Ran ")).context("no tests were run")?;
        println!("    {ran}");
        Ok(())
    }

    /// The second organization leaves first: what was unique for one is not for two. Then the tables are unscoped, and
    /// the column, which unscoping keeps, is dropped.
    fn disable(&mut self, tables: &[String]) -> Result<()> {
        let mut transaction = self.admin.transaction()?;
        transaction.batch_execute("SET LOCAL session_replication_role = replica")?;
        transaction.batch_execute(&format!("SET LOCAL orgscope.current_org = '{SECOND}'"))?;
        for table in tables {
            transaction.batch_execute(&format!("DELETE FROM {table} WHERE organization_id = '{SECOND}'"))?;
        }
        transaction.commit()?;
        for table in tables {
            self.owner.execute("SELECT FROM orgscope.disable_org_scoping($1::text::regclass)", &[table])?;
        }
        self.owner.execute("SELECT orgscope.unshare_table(target) FROM orgscope.unscoped_tables", &[])?;
        for table in tables {
            self.owner.batch_execute(&format!("ALTER TABLE {table} DROP COLUMN organization_id"))?;
        }
        Ok(())
    }

    fn dump(&self) -> Result<String> {
        let mut dump = self.cluster.command("pg_dump");
        dump.args(["--schema-only", "--schema", self.subject.schema, self.subject.name]);
        let output = dump.output().context("cannot run pg_dump")?;
        ensure!(output.status.success(), "pg_dump failed: {}", String::from_utf8_lossy(&output.stderr));
        let text = String::from_utf8(output.stdout)?;
        // psql's \restrict has a random key.
        let stable = text.lines().filter(|line| !line.starts_with("\\restrict") && !line.starts_with("\\unrestrict"));
        Ok(stable.map(|line| format!("{line}\n")).collect())
    }
}

fn first_difference(before: &str, after: &str) -> String {
    let pairs = before.lines().zip(after.lines()).find(|(before, after)| before != after);
    pairs.map_or("one is shorter".into(), |(before, after)| format!("\n    before: {before}\n    after:  {after}"))
}
