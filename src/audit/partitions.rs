//! A partition of the audit log for each month, made before the month begins. A partition names neither policy nor grant:
//! who reads through orgscope.audit_log is under that table's, and nobody else is let in.

use super::chain::superuser;
use crate::{pg, pg_function, spi};
use pgrx::pg_sys;
use std::ffi::{CStr, c_int};

pg_function! {
    /// orgscope.make_audit_partitions() → bigint
    fn orgscope_make_audit_partitions(_call) {
        superuser("make_audit_partitions")?;
        Ok(Some(pg_sys::Datum::from(make() as i64)))
    }
}

/// Months that are missing of this and the next, as `name|from|to`, all in UTC: a month must not begin elsewhere when the
/// server's zone changes. A month that already has rows in the default partition, where they stay, is left out.
const MISSING: &str = "SELECT pg_catalog.string_agg(m.name || '|' || m.first || '|' || m.next, ',' ORDER BY m.name) \
     FROM (SELECT 'audit_log_' || to_char(b, 'YYYY_MM') AS name, to_char(b, 'YYYY-MM-DD') || ' 00:00:00+00' AS first, \
                  to_char(b + interval '1 month', 'YYYY-MM-DD') || ' 00:00:00+00' AS next \
           FROM generate_series(0, 1) n, date_trunc('month', now() AT TIME ZONE 'UTC') t, \
                LATERAL (SELECT t + n * interval '1 month' AS b) begin) m \
     WHERE NOT EXISTS (SELECT FROM pg_class c WHERE c.relnamespace = 'orgscope'::regnamespace AND c.relname = m.name) \
       AND NOT EXISTS (SELECT FROM orgscope.audit_log_default d WHERE d.at >= m.first::timestamptz AND d.at < m.next::timestamptz)";

/// What attaching takes: the table itself stays open to writers.
const LOCKED: [(&CStr, u32); 2] =
    [(c"audit_log_default", pg_sys::AccessExclusiveLock), (c"audit_log", pg_sys::ShareUpdateExclusiveLock)];

/// Returns how many were made. Never waits for a lock: writers would queue behind it.
pub fn make() -> u64 {
    pg::as_superuser(|| {
        pg::with_pinned_search_path(|| {
            if spi::query(MISSING, &[]).is_none() || !LOCKED.iter().all(|(table, mode)| lock(table, *mode)) {
                return 0;
            }
            // Somebody may have brought rows of the month, or made its partition, before the lock was there.
            let missing = spi::query(MISSING, &[]).unwrap_or_default();
            let months = missing.split(',').filter_map(partition).map(|sql| spi::execute(&sql, &[]));
            months.count() as u64
        })
    })
}

fn lock(table: &CStr, mode: u32) -> bool {
    // SAFETY: look-ups by name; a missing table has no oid and is not locked.
    unsafe {
        let schema = pg_sys::get_namespace_oid(c"orgscope".as_ptr(), true);
        let table = pg_sys::get_relname_relid(table.as_ptr(), schema);
        table != pg_sys::InvalidOid && pg_sys::ConditionalLockRelationOid(table, mode as c_int)
    }
}

/// Complete before it is attached. ALTER DEFAULT PRIVILEGES may grant new tables to application roles.
fn partition(month: &str) -> Option<String> {
    let mut parts = month.split('|');
    let (name, first, next) = (parts.next()?, parts.next()?, parts.next()?);
    Some(format!(
        "CREATE TABLE orgscope.{name} (LIKE orgscope.audit_log, CONSTRAINT {name}_pkey PRIMARY KEY (id));
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
         END $$;
         ALTER TABLE orgscope.audit_log ATTACH PARTITION orgscope.{name} FOR VALUES FROM ('{first}') TO ('{next}')"
    ))
}
