//! Two customers' tickets in one table, from nobody being kept apart to everybody.

use anyhow::{Result, ensure};
use orgscope_cluster::{Cluster, SUPERUSER};

use super::heading;
use super::issuer::Issuer;
use super::session::Session;

pub const DATABASE: &str = "story";
/// Neither superuser nor BYPASSRLS, as an application's role should be.
pub const APPLICATION: &str = "app";
pub const ACME: &str = "0190a1b2-0000-7000-8000-00000000000a";
const GLOBEX: &str = "0190a1b2-0000-7000-8000-00000000000b";

pub fn tell(cluster: &Cluster, issuer: &Issuer) -> Result<()> {
    cluster.create_database(DATABASE)?;
    let mut admin = Session::open(cluster, SUPERUSER, DATABASE)?;
    before(&mut admin)?;
    scope(&mut admin)?;
    let mut app = Session::open(cluster, APPLICATION, DATABASE)?;
    read(&mut app)?;
    refuse(&mut app)?;
    seal(&mut app)?;
    sign(cluster, &mut admin, issuer)?;
    audit(&mut admin)?;
    unseen(&mut admin)?;
    tamper(&mut admin)?;
    cross(cluster, &mut admin)
}

fn before(admin: &mut Session) -> Result<()> {
    heading("Before: one table, two customers, nothing between them");
    admin.run("CREATE EXTENSION orgscope;")?;
    admin.run(&format!(
        "INSERT INTO orgscope.organization (id, name, slug) VALUES
             ('{ACME}', 'Acme', 'acme'),
             ('{GLOBEX}', 'Globex', 'globex');"
    ))?;
    admin.run(
        "CREATE TABLE ticket (
             id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
             customer text NOT NULL,
             subject text NOT NULL
         );",
    )?;
    admin.run(
        "INSERT INTO ticket (customer, subject) VALUES
             ('acme', 'Printer on fire'),
             ('globex', 'Invoice 4711 is wrong'),
             ('acme', 'Coffee machine offline');",
    )?;
    let all = admin.run("TABLE ticket;")?;
    ensure!(all.len() == 3, "three tickets to begin with");
    admin.run(&format!("CREATE ROLE {APPLICATION} LOGIN NOSUPERUSER NOBYPASSRLS;"))?;
    admin.run(&format!("GRANT SELECT, INSERT, UPDATE, DELETE, TRUNCATE ON ticket TO {APPLICATION};"))?;
    Ok(())
}

/// The same call twice: first what would be done, then done.
fn scope(admin: &mut Session) -> Result<()> {
    let call = r#"org_scoping('public.ticket', options => '{
             "backfill": "(SELECT o.id FROM orgscope.organization o WHERE o.slug = customer)"}');"#;
    heading("The plan: what scoping the table would do");
    let plan = admin.run(&format!("SELECT step, kind, sql, lock FROM orgscope.plan_{call}"))?;
    ensure!(plan.len() > 0, "the plan is empty");
    let unchanged = admin.run("SELECT count(*) AS scoped_tables FROM orgscope.scoped_tables;")?;
    ensure!(unchanged.column(0) == ["0"], "planning must change nothing");

    heading("Scoping it");
    let done = admin.run(&format!("SELECT count(*) AS steps FROM orgscope.enable_{call}"))?;
    ensure!(done.column(0) == [plan.len().to_string()], "enabling must do what was planned");
    let scoped = admin.run("SELECT target, column_name, protected FROM orgscope.scoped_tables;")?;
    ensure!(scoped.column(2) == ["t"], "the table must be protected");
    Ok(())
}

fn read(app: &mut Session) -> Result<()> {
    let select = "SELECT id, customer, subject FROM ticket ORDER BY id;";
    heading("The same SELECT under Acme, under Globex and under nobody");
    let acme = app.run(&under(ACME, select))?;
    ensure!(acme.column(1) == ["acme", "acme"], "Acme must see its two tickets and no other");
    let globex = app.run(&under(GLOBEX, select))?;
    ensure!(globex.column(1) == ["globex"], "Globex must see its ticket and no other");
    app.refused("OS001", select)
}

fn refuse(app: &mut Session) -> Result<()> {
    heading("A write fills in its organization");
    let filled = app.run(&under(
        ACME,
        "INSERT INTO ticket (customer, subject) VALUES ('acme', 'Door stuck') RETURNING id, subject, organization_id;",
    ))?;
    ensure!(filled.column(2) == [ACME], "the new ticket must be Acme's");

    heading("Refused: a row for somebody else, a move to somebody else, emptying the table");
    let foreign = format!(
        "INSERT INTO ticket (customer, subject, organization_id)
             VALUES ('globex', 'Free lunch', '{GLOBEX}');"
    );
    app.refused("OS002", &under(ACME, &foreign))?;
    app.refused("OS002", &under(ACME, &format!("UPDATE ticket SET organization_id = '{GLOBEX}' WHERE id = 1;")))?;
    app.refused("OS002", &under(ACME, "TRUNCATE ticket;"))
}

fn seal(app: &mut Session) -> Result<()> {
    heading("Injected SQL begins a transaction of its own: not under a seal");
    app.run(&under(ACME, "SELECT orgscope.seal_context('a random key of the pool');"))?;
    app.refused("OS003", &under(GLOBEX, "SELECT * FROM ticket;"))?;
    app.refused("OS003", "DISCARD ALL;")?;
    let acme = app.run("SELECT id, customer, subject FROM ticket ORDER BY id LIMIT 1;")?;
    ensure!(acme.column(1) == ["acme"], "under the seal Acme stays in force");
    let opened = app.run("SELECT orgscope.unseal_context('a random key of the pool') AS unsealed;")?;
    ensure!(opened.column(0) == ["t"], "the key must open the seal");
    Ok(())
}

fn sign(cluster: &Cluster, admin: &mut Session, issuer: &Issuer) -> Result<()> {
    heading("Who can send SQL can set a setting, but not sign: the context as a token (JWT)");
    admin.run("CREATE ROLE signed LOGIN; GRANT SELECT ON ticket TO signed;")?;
    admin.run("ALTER ROLE signed SET orgscope.context_source = 'token';")?;
    let mut signed = Session::open(cluster, "signed", DATABASE)?;
    let under_token = |token: &str, statement: &str| {
        format!(
            "BEGIN;
         SET LOCAL orgscope.token = '{token}';
         {statement}
         COMMIT;"
        )
    };
    let token = issuer.token(ACME, "alice")?;
    let seen = signed.run(&under_token(
        &token,
        "SELECT id, customer, subject, current_setting('orgscope.actor') AS actor FROM ticket ORDER BY id LIMIT 2;",
    ))?;
    ensure!(seen.column(1) == ["acme", "acme"] && seen.column(3) == ["alice", "alice"], "the token's, and no other");
    signed.refused("OS003", &under(GLOBEX, "SELECT * FROM ticket;"))?;
    let somebody_else = Issuer::new().token(GLOBEX, "mallory")?;
    signed.refused("OS003", &under_token(&somebody_else, "SELECT * FROM ticket;"))
}

fn audit(admin: &mut Session) -> Result<()> {
    heading("Row security does not bind a superuser; the audit log sees it");
    admin.run(
        "BEGIN;
         SET LOCAL orgscope.actor = 'dana@support';
         SET LOCAL orgscope.reason = 'ticket 81';
         UPDATE ticket SET subject = upper(subject) WHERE customer = 'globex';
         COMMIT;",
    )?;
    let written = admin.run(
        "SELECT action, o.name AS organization, table_name, operation, row_count AS rows, role_name AS role,
                actor, reason
         FROM orgscope.audit_log a JOIN orgscope.organization o ON o.id = a.organization_id
         ORDER BY a.id DESC LIMIT 1;",
    )?;
    ensure!(written.column(0) == ["bypass_write"], "the superuser's write must be on record");
    ensure!(written.column(1) == ["Globex"], "the record must name the organization");
    ensure!(written.column(3) == ["UPDATE"] && written.column(4) == ["1"], "the record must say what was done");
    ensure!(written.column(6) == ["dana@support"], "the record must name the actor");
    admin.refused("OS008", "DELETE FROM orgscope.audit_log;")
}

fn unseen(admin: &mut Session) -> Result<()> {
    heading("Reads and refusals are on record too, although their transactions are gone");
    admin.run("BEGIN; SELECT count(*) FROM ticket; ROLLBACK;")?;
    admin.run("SELECT orgscope.flush_audit();")?;
    let seen = admin.run(
        "SELECT action, operation, table_name, role_name AS role, sqlstate, row_count AS rows, event_count AS events
         FROM orgscope.audit_log WHERE action IN ('bypass_read', 'denied') AND event_count > 0 ORDER BY id DESC LIMIT 4;",
    )?;
    let actions = seen.column(0);
    ensure!(actions.contains(&"bypass_read"), "the superuser's read must be on record");
    ensure!(actions.contains(&"denied"), "the refusals must be on record");
    heading("What is refused to begin with: orgscope.bypass = deny");
    admin.refused("OS007", "SET orgscope.bypass = 'deny'; SELECT * FROM ticket;")?;
    admin.run("RESET orgscope.bypass;").map(drop)
}

fn tamper(admin: &mut Session) -> Result<()> {
    heading("A superuser takes the rule off and changes the record: the chain tells");
    admin.run("SELECT orgscope.seal_audit() > 0 AS sealed;")?;
    let verify = "SELECT COALESCE(o.name, 'nobody''s') AS organization, verdict, sequence, rows
         FROM orgscope.verify_audit(NULL) LEFT JOIN orgscope.organization o ON o.id = organization_id ORDER BY 1;";
    let whole = admin.run(verify)?;
    ensure!(whole.column(1).iter().all(|verdict| *verdict == "ok"), "the chains must verify");
    admin.run(
        "BEGIN;
         ALTER TABLE orgscope.audit_log DISABLE TRIGGER USER;
         UPDATE orgscope.audit_log SET actor = 'nobody' WHERE actor = 'dana@support';",
    )?;
    let changed = admin.run(verify)?;
    ensure!(changed.column(1).contains(&"changed"), "the change must be found");
    admin.run("ROLLBACK;").map(drop)
}

fn cross(cluster: &Cluster, admin: &mut Session) -> Result<()> {
    heading("Support crosses organizations: one of them, for a reason, for some minutes, on record in its own log");
    admin.run("CREATE ROLE support LOGIN; GRANT SELECT ON ticket TO support;")?;
    admin.run("GRANT EXECUTE ON FUNCTION orgscope.break_glass TO support;")?;
    let mut support = Session::open(cluster, "support", DATABASE)?;
    support.refused("OS001", "SELECT * FROM ticket;")?;
    support.run(&format!("SELECT orgscope.break_glass('{GLOBEX}', 'case 4711', minutes => 5) > now() AS open;"))?;
    let globex = support.run("SELECT id, customer, subject FROM ticket ORDER BY id;")?;
    ensure!(globex.column(1) == ["globex"], "support must see Globex' ticket and no other");
    support.run("SELECT orgscope.end_break_glass();")?;
    let told = admin.run(
        "SELECT o.name AS organization, operation, role_name AS role, reason FROM orgscope.audit_log a
         JOIN orgscope.organization o ON o.id = a.organization_id WHERE action = 'break_glass' ORDER BY a.id;",
    )?;
    ensure!(told.column(1) == ["OPEN", "USE", "CLOSE"], "its opening, use and closing must be on record");
    Ok(())
}

/// The one statement an application needs, in the transaction it belongs to.
fn under(organization: &str, statement: &str) -> String {
    format!(
        "BEGIN;
         SET LOCAL orgscope.current_org = '{organization}';
         {statement}
         COMMIT;"
    )
}
