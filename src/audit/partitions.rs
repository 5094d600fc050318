//! A partition of the audit log, and of the change log, for each month, made before the month begins. Where a month has
//! begun without one (the extension's first, or the first after a long time without an event), its few rows move into it. A
//! partition names neither policy nor grant: who reads through the log is under that table's, and nobody else is let in.

use super::chain::superuser;
use super::immutable;
use crate::{pg, pg_function, spi};
use pgrx::pg_sys;
use std::ffi::c_int;

pg_function! {
    /// orgscope.make_audit_partitions() → bigint
    fn orgscope_make_audit_partitions(_call) {
        superuser("make_audit_partitions")?;
        Ok(Some(pg_sys::Datum::from(make() as i64)))
    }
}

struct Log {
    table: &'static str,
    /// Behind the columns in CREATE TABLE, and then: the parent has no index, for a restored partition brings its own.
    key: &'static str,
    index: &'static str,
}

const AUDIT_LOG: Log = Log { table: "audit_log", key: ", CONSTRAINT {name}_pkey PRIMARY KEY (id)", index: "" };

const CHANGE_LOG: Log = Log {
    table: "change_log",
    key: "",
    index: "CREATE INDEX {name}_key_idx ON orgscope.{name} (orgscope.key_hash(key));",
};

/// Months that are missing of this and the next, as `name|from|to`, all in UTC: a month must not begin elsewhere when the
/// server's zone changes. A month that has more than $1 rows in the default partition, where they stay, is left out: nobody
/// can write while they move.
const MISSING: &str = "SELECT pg_catalog.string_agg(m.name || '|' || m.first || '|' || m.next, ',' ORDER BY m.name) \
     FROM (SELECT '{log}_' || to_char(b, 'YYYY_MM') AS name, to_char(b, 'YYYY-MM-DD') || ' 00:00:00+00' AS first, \
                  to_char(b + interval '1 month', 'YYYY-MM-DD') || ' 00:00:00+00' AS next \
           FROM generate_series(0, 1) n, date_trunc('month', now() AT TIME ZONE 'UTC') t, \
                LATERAL (SELECT t + n * interval '1 month' AS b) begin) m \
     WHERE CASE WHEN EXISTS (SELECT FROM pg_class c WHERE c.relnamespace = 'orgscope'::regnamespace AND c.relname = m.name) THEN false \
                ELSE (SELECT count(*) FROM (SELECT FROM orgscope.{log}_default d WHERE d.at >= m.first::timestamptz AND d.at < m.next::timestamptz \
                                            LIMIT $1::bigint + 1) rows) <= $1::bigint END";

/// This takes a fraction of a second.
const FEW: &str = "20000";

/// Returns how many were made. Never waits for a lock: writers would queue behind it.
pub fn make() -> u64 {
    pg::as_superuser(|| pg::with_pinned_search_path(|| [AUDIT_LOG, CHANGE_LOG].iter().map(make_for).sum()))
}

fn make_for(log: &Log) -> u64 {
    let missing = MISSING.replace("{log}", log.table);
    // What attaching takes: the table itself stays open to writers.
    let locked = || {
        lock(&format!("{}_default", log.table), pg_sys::AccessExclusiveLock)
            && lock(log.table, pg_sys::ShareUpdateExclusiveLock)
    };
    if spi::query(&missing, &[Some(FEW)]).is_none() || !locked() {
        return 0;
    }
    // Somebody may have brought rows of the month, or made its partition, before the lock was there.
    let missing = spi::query(&missing, &[Some(FEW)]).unwrap_or_default();
    missing.split(',').filter_map(|month| make_month(log, month)).count() as u64
}

fn make_month(log: &Log, month: &str) -> Option<()> {
    let mut parts = month.split('|');
    let (name, first, next) = (parts.next()?, parts.next()?, parts.next()?);
    let table = log.table;
    spi::execute(&partition(log, name), &[]);
    // One statement: what is not added is not taken away.
    immutable::lifted(|| {
        spi::execute(
            &format!(
                "WITH moved AS (DELETE FROM orgscope.{table}_default WHERE at >= $1::timestamptz AND at < $2::timestamptz RETURNING *)
                 INSERT INTO orgscope.{name} SELECT * FROM moved"
            ),
            &[Some(first), Some(next)],
        )
    });
    spi::execute(
        &format!(
            "ALTER TABLE orgscope.{table} ATTACH PARTITION orgscope.{name} FOR VALUES FROM ('{first}') TO ('{next}')"
        ),
        &[],
    );
    Some(())
}

/// Months of the audit log that ended before the time.
const OVER: &str = "SELECT pg_catalog.string_agg(c.relname, ',') FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid \
     WHERE i.inhparent = 'orgscope.audit_log'::regclass AND c.relname ~ '^audit_log_[0-9]{4}_[0-9]{2}$' \
       AND c.relname::text COLLATE \"C\" < 'audit_log_' || to_char(LEAST($1::timestamptz, now()) AT TIME ZONE 'UTC', 'YYYY_MM')";

/// Drops the partitions that a purge has emptied, if nobody is using the log just now: the next purge will.
pub fn drop_emptied(before: &str) {
    pg::with_pinned_search_path(|| {
        for month in spi::query(OVER, &[Some(before)]).unwrap_or_default().split(',').filter(|m| !m.is_empty()) {
            let rows = format!("SELECT 'rows' FROM orgscope.{month} LIMIT 1");
            let tables = ["audit_log", "audit_log_default", month];
            let empty = || spi::query(&rows, &[]).is_none();
            if empty() && tables.iter().all(|table| lock(table, pg_sys::AccessExclusiveLock)) && empty() {
                spi::execute(&format!("DROP TABLE orgscope.{month}"), &[]);
            }
        }
    });
}

fn lock(table: &str, mode: u32) -> bool {
    let table = pg::pstrdup(table);
    // SAFETY: look-ups by name; a missing table has no oid and is not locked.
    unsafe {
        let schema = pg_sys::get_namespace_oid(c"orgscope".as_ptr(), true);
        let table = pg_sys::get_relname_relid(table, schema);
        table != pg_sys::InvalidOid && pg_sys::ConditionalLockRelationOid(table, mode as c_int)
    }
}

/// Complete before it is attached. ALTER DEFAULT PRIVILEGES may grant new tables to application roles.
fn partition(log: &Log, name: &str) -> String {
    let (table, [key, index]) = (log.table, [log.key, log.index].map(|sql| sql.replace("{name}", name)));
    format!(
        "CREATE TABLE orgscope.{name} (LIKE orgscope.{table}{key});
         {index}
         CREATE INDEX {name}_organization_id_at_idx ON orgscope.{name} (organization_id, at);
         CREATE TRIGGER audit_immutable BEFORE UPDATE OR DELETE OR TRUNCATE ON orgscope.{name}
             FOR EACH STATEMENT EXECUTE FUNCTION orgscope.audit_immutable();
         ALTER TABLE orgscope.{name} ENABLE ALWAYS TRIGGER audit_immutable;
         ALTER TABLE orgscope.{name} ENABLE ROW LEVEL SECURITY;
         DO $$
         DECLARE
             grantee text;
         BEGIN
             FOR grantee IN
                 SELECT DISTINCT CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(a.grantee)) END
                 FROM pg_class c, aclexplode(c.relacl) a
                 WHERE c.oid = 'orgscope.{name}'::regclass AND a.grantee <> c.relowner
             LOOP
                 EXECUTE 'REVOKE ALL ON orgscope.{name} FROM ' || grantee;
             END LOOP;
         END $$"
    )
}
