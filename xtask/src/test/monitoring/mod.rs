//! The files of `monitoring/`, used for real: postgres_exporter asks a server as a role that has pg_monitor alone, Prometheus
//! asks the exporter, answers every query of the dashboard, and raises an alert when it should.

mod metrics;
mod service;

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use orgscope_cluster::{Cluster, Options, SUPERUSER};
use serde_json::{Value, json};

use super::Outcome;
use super::count::Count;
use crate::{project, setup, step};
use service::{Service, wait_for};

const SCENE: &str = "
    CREATE EXTENSION orgscope;
    CREATE ROLE monitor LOGIN; GRANT pg_monitor TO monitor;
    CREATE ROLE dba LOGIN BYPASSRLS; CREATE ROLE app LOGIN;
    INSERT INTO orgscope.organization (id, name, slug, is_active) VALUES
        ('aaaaaaaa-0000-7000-8000-000000000001', 'Secretive', 'secretive', true),
        ('bbbbbbbb-0000-7000-8000-000000000002', 'Taciturn', 'taciturn', false);
    CREATE TABLE ticket (id int, organization_id uuid);
    GRANT ALL ON ticket TO dba, app;
    SELECT orgscope.enable_org_scoping('public.ticket');
    INSERT INTO ticket VALUES (1, 'aaaaaaaa-0000-7000-8000-000000000001')";

pub fn run() -> Result<Outcome> {
    let started = Instant::now();
    let tools = project::tools();
    let exporter =
        setup::unpacked("prometheus-postgres-exporter", &tools)?.join("usr/bin/prometheus-postgres-exporter");
    let programs = setup::unpacked("prometheus", &tools)?.join("usr/bin");
    let mut promtool = Command::new(programs.join("promtool"));
    promtool.args(["test", "rules"]).arg(project::path("tests/monitoring/alerts.yml"));
    let alerts = step::run("alerts", "monitoring: when the alerts come", &mut promtool)?;
    if !alerts.success {
        alerts.print_failure()?;
    }
    let prometheus = programs.join("prometheus");
    let result = step::work("monitoring: exporter, Prometheus and dashboard", || watch(&exporter, &prometheus));
    if let Err(problem) = &result {
        println!("  monitoring: {problem:#}");
    }
    Ok(Outcome {
        suite: "monitoring",
        count: Count::whole(alerts.success) + Count::whole(result.is_ok()),
        seconds: started.elapsed().as_secs_f64(),
    })
}

fn watch(exporter: &Path, prometheus: &Path) -> Result<()> {
    let cluster = Cluster::start(&Options::default().line("orgscope.audit_queue = 16"))?;
    let mut admin = cluster.connect(SUPERUSER, "postgres")?;
    admin.batch_execute(SCENE)?;
    let folder = tempfile::tempdir()?;
    let exporter = start_exporter(exporter, folder.path(), &cluster)?;
    let before = exporter.get("/metrics")?;
    let mut dba = cluster.connect("dba", "postgres")?;
    dba.batch_execute("SELECT * FROM ticket; UPDATE ticket SET id = 2")?;
    let refused = cluster.connect("app", "postgres")?.batch_execute("SELECT * FROM ticket");
    ensure!(refused.is_err(), "a statement without a context was not refused");
    admin.batch_execute("SELECT orgscope.flush_audit(); SELECT orgscope.seal_audit()")?;
    judge(&before, &exporter.get("/metrics")?)?;
    let prometheus = start_prometheus(prometheus, folder.path(), &exporter)?;
    every_panel_has_an_answer(&prometheus)?;
    // Nobody can write while the log is locked, and the queue runs over.
    admin.batch_execute("BEGIN; LOCK orgscope.audit_log")?;
    for i in 0..40 {
        dba.batch_execute(&format!("SELECT {i} FROM ticket"))?;
    }
    admin.batch_execute("COMMIT")?;
    alarm(&prometheus)?;
    let log = exporter.log()?;
    ensure!(!log.contains("level=error") && !log.contains("level=warn"), "the exporter complains:\n{log}");
    Ok(())
}

fn start_exporter(program: &Path, folder: &Path, cluster: &Cluster) -> Result<Service> {
    let source = format!("postgresql://monitor@127.0.0.1:{}/postgres?sslmode=disable", cluster.port());
    let queries = project::path("monitoring/postgres_exporter.yml");
    Service::start(
        program,
        folder,
        |command| {
            command.env("DATA_SOURCE_NAME", &source).arg(format!("--extend.query-path={}", queries.display()));
        },
        "/metrics",
    )
}

/// All metrics are there, say what happened between two scrapes, and nothing about any organization.
fn judge(before: &str, after: &str) -> Result<()> {
    let expected = metrics::yielded(&fs::read_to_string(project::path("monitoring/postgres_exporter.yml"))?);
    let found = metrics::samples(after).map(|(name, ..)| name.to_owned());
    let found = found.filter(|name| name.starts_with("orgscope_")).collect();
    ensure!(expected == found, "expected {expected:#?}, found {found:#?}");
    let read = |scrape: &str, name: &str, label: &str| {
        let sample = metrics::samples(scrape).find(|(n, labels, _)| *n == name && labels.contains(label));
        sample.map(|(.., value)| value).with_context(|| format!("no {name} {label} in\n{scrape}"))
    };
    for (action, more) in [("bypass_read", 1.0), ("bypass_write", 1.0), ("denied", 1.0)] {
        let label = format!("action=\"{action}\"");
        let count = |scrape| read(scrape, "orgscope_audit_events_total", &label);
        let (was, is) = (count(before)?, count(after)?);
        ensure!(is == was + more, "{action}: {was}, then {is}");
    }
    for (name, least, most) in [
        ("orgscope_queue_events_queued_total", 2.0, 100.0),
        ("orgscope_queue_events_written_total", 2.0, 100.0),
        ("orgscope_queue_events_logged_total", 0.0, 0.0),
        ("orgscope_queue_places_used", 0.0, 16.0),
        ("orgscope_queue_places", 16.0, 16.0),
        ("orgscope_queue_oldest_waiting_seconds", 0.0, 60.0),
        ("orgscope_audit_last_batch_age_seconds", 0.0, 60.0),
        ("orgscope_audit_last_seal_age_seconds", 0.0, 60.0),
        ("orgscope_audit_unsealed_seconds", 0.0, 60.0),
        ("orgscope_organizations_active", 1.0, 1.0),
        ("orgscope_organizations_suspended", 1.0, 1.0),
        ("orgscope_tables_scoped", 1.0, 1.0),
        ("orgscope_tables_unprotected", 0.0, 0.0),
        ("pg_up", 1.0, 1.0),
        ("pg_exporter_last_scrape_error", 0.0, 0.0),
        ("pg_exporter_user_queries_load_error", 0.0, 0.0),
    ] {
        let value = read(after, name, "")?;
        ensure!((least..=most).contains(&value), "{name} is {value}");
    }
    let told = ["ecretive", "aciturn", "aaaaaaaa", "bbbbbbbb"].into_iter().find(|text| after.contains(text));
    ensure!(told.is_none(), "the scrape tells of an organization: {told:?}");
    Ok(())
}

fn start_prometheus(program: &Path, folder: &Path, exporter: &Service) -> Result<Service> {
    let configuration = json!({
        "global": { "scrape_interval": "1s", "evaluation_interval": "1s" },
        "rule_files": [project::path("monitoring/alerts.yml")],
        "scrape_configs": [{ "job_name": "postgres", "static_configs": [{ "targets": [exporter.address()] }] }],
    });
    // JSON is YAML.
    fs::write(folder.join("prometheus.yml"), configuration.to_string())?;
    let arguments = ["--config.file=prometheus.yml", "--storage.tsdb.path=data", "--log.level=warn"];
    Service::start(program, folder, |command| _ = command.args(arguments), "/-/ready")
}

fn every_panel_has_an_answer(prometheus: &Service) -> Result<()> {
    let dashboard: Value = serde_json::from_str(&fs::read_to_string(project::path("monitoring/grafana.json"))?)?;
    for expression in metrics::expressions(&dashboard) {
        let asked = expression.replace("$__rate_interval", "10s").replace("$instance", ".*");
        ask(prometheus, &asked)?;
    }
    Ok(())
}

/// Rates need two scrapes.
fn ask(prometheus: &Service, expression: &str) -> Result<()> {
    let path = format!("/api/v1/query?query={}", encoded(expression));
    wait_for(expression, || {
        let answer = prometheus.get(&path).ok().and_then(|body| serde_json::from_str::<Value>(&body).ok());
        answer.is_some_and(|answer| answer["data"]["result"].as_array().is_some_and(|result| !result.is_empty()))
    })
}

/// Events that are in the server's log alone raise their alert, and it alone of the critical ones.
fn alarm(prometheus: &Service) -> Result<()> {
    ask(prometheus, "ALERTS{alertname=\"OrgscopeEventsInServerLogOnly\",alertstate=\"firing\"}")?;
    let alerts: Value = serde_json::from_str(&prometheus.get("/api/v1/alerts")?)?;
    let firing = alerts["data"]["alerts"].as_array().into_iter().flatten();
    let critical = firing.filter(|a| a["state"] == "firing" && a["labels"]["severity"] == "critical");
    ensure!(critical.count() == 1, "{alerts:#}");
    let rules: Value = serde_json::from_str(&prometheus.get("/api/v1/rules")?)?;
    let rules = rules["data"]["groups"][0]["rules"].as_array().context("no rules")?;
    let sick: Vec<_> = rules.iter().filter(|rule| rule["health"] != "ok").collect();
    ensure!(sick.is_empty(), "{sick:#?}");
    Ok(())
}

fn encoded(text: &str) -> String {
    text.bytes()
        .map(|b| if b.is_ascii_alphanumeric() { char::from(b).to_string() } else { format!("%{b:02X}") })
        .collect()
}
