//! Two hundred organizations with five rows each, in a scoped table and in one with a hand-written policy.

use anyhow::{Result, ensure};
use orgscope_cluster::{Cluster, SUPERUSER};

pub const ROLE: &str = "app";
pub const ORGANIZATIONS: u64 = 200;
/// Rows that each organization has, in both tables; none is added or removed.
pub const ROWS: usize = 5;
/// The column that says whose a row is.
pub const COLUMN: &str = "organization_id";

const SETUP: &str = "
    CREATE EXTENSION orgscope;
    CREATE ROLE app LOGIN;
    INSERT INTO orgscope.organization (id, name, slug)
        SELECT ('00000000-0000-7000-8000-' || lpad(to_hex(i + 1), 12, '0'))::uuid, 'o' || i, 'o' || i FROM generate_series(0, 199) i;
    CREATE TABLE ticket (id int PRIMARY KEY, organization_id uuid);
    INSERT INTO ticket SELECT row_number() OVER (), o.id FROM orgscope.organization o, generate_series(1, 5);
    CREATE TABLE entry (written_for text, organization_id uuid);
    GRANT ALL ON ticket, entry TO app;
    SELECT orgscope.enable_org_scoping('public.ticket');
    SELECT orgscope.enable_org_scoping('public.entry');
    CREATE TABLE note (id int PRIMARY KEY, organization_id uuid);
    INSERT INTO note SELECT row_number() OVER (), o.id FROM orgscope.organization o, generate_series(1, 5);
    CREATE INDEX ON note (organization_id);
    GRANT ALL ON note TO app;
    ALTER TABLE note ENABLE ROW LEVEL SECURITY;
    CREATE POLICY note ON note USING (organization_id = nullif(current_setting('x.org', true), '')::uuid)";

pub fn set_up(cluster: &Cluster) -> Result<()> {
    let mut admin = cluster.connect(SUPERUSER, "postgres")?;
    admin.batch_execute(SETUP)?;
    Ok(admin.batch_execute("ANALYZE ticket, note")?)
}

pub fn organization(index: u64) -> String {
    format!("00000000-0000-7000-8000-{:012x}", index + 1)
}

/// What was written is where it was written for, and the clients have shared a few connections.
pub fn inspect(cluster: &Cluster) -> Result<i64> {
    let mut admin = cluster.connect(SUPERUSER, "postgres")?;
    let astray = "SELECT count(*) FROM entry WHERE written_for <> organization_id::text";
    let astray: i64 = admin.query_one(astray, &[])?.get(0);
    ensure!(astray == 0, "{astray} rows were written into another organization");
    Ok(admin.query_one("SELECT count(*) FROM entry", &[])?.get(0))
}

/// Server connections that the pooler has now.
pub fn connections(cluster: &Cluster) -> Result<i64> {
    let mut admin = cluster.connect(SUPERUSER, "postgres")?;
    Ok(admin.query_one("SELECT count(*) FROM pg_stat_activity WHERE usename = $1", &[&ROLE])?.get(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn organizations_are_those_of_the_setup() {
        assert_eq!(organization(0), "00000000-0000-7000-8000-000000000001");
        assert_eq!(organization(199), "00000000-0000-7000-8000-0000000000c8");
    }
}
