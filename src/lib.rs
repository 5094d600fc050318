//! orgscope: the database keeps organizations apart.
//!
//! Read the modules in the order in which data flows: `context` (who am I) → `scope` (which tables, how they get there)
//! → `policy` (what a scoped table must have) → `guard` (what row security leaves open) → `audit` (who stepped around)
//! → `history` (what each row was before).
#![forbid(unsafe_op_in_unsafe_fn)]

mod audit;
mod context;
mod copy;
mod error;
#[cfg(test)]
mod fuzz;
mod guard;
mod history;
mod leakproof;
mod organization;
mod pg;
mod policy;
mod scope;
mod settings;
mod spi;
mod subtransaction;
#[cfg(feature = "pg_test")]
mod tests;
mod trigger;
mod utility;

use pgrx::prelude::*;

pgrx::pg_module_magic!();

extension_sql_file!("../sql/install/00_schema.sql", name = "schema", bootstrap);
extension_sql_file!("../sql/install/10_context.sql", name = "context", requires = ["schema"]);
extension_sql_file!("../sql/install/20_organization.sql", name = "organization", requires = ["context"]);
extension_sql_file!("../sql/install/30_guard.sql", name = "guard", requires = ["organization"]);
extension_sql_file!("../sql/install/35_leakproof.sql", name = "leakproof", requires = ["guard"]);
extension_sql_file!("../sql/install/40_audit.sql", name = "audit", requires = ["leakproof"]);
extension_sql_file!("../sql/install/42_queue.sql", name = "queue", requires = ["audit"]);
extension_sql_file!("../sql/install/45_chain.sql", name = "chain", requires = ["queue"]);
extension_sql_file!("../sql/install/50_scope.sql", name = "scope", requires = ["chain"]);
extension_sql_file!("../sql/install/55_backfill.sql", name = "backfill", requires = ["scope"]);
extension_sql_file!("../sql/install/57_observe.sql", name = "observe", requires = ["scope"]);
extension_sql_file!("../sql/install/60_drift.sql", name = "drift", requires = ["scope"]);
extension_sql_file!("../sql/install/65_history.sql", name = "history", requires = ["drift"]);
extension_sql_file!("../sql/install/70_break_glass.sql", name = "break_glass", requires = ["audit"]);
extension_sql_file!("../sql/install/75_administration.sql", name = "administration", requires = ["audit"]);
extension_sql_file!("../sql/install/80_stats.sql", name = "stats", requires = ["chain"]);
extension_sql_file!("../sql/install/90_grants.sql", name = "grants", finalize);

/// A table of contents: each module knows what it needs from PostgreSQL.
#[pg_guard]
pub unsafe extern "C-unwind" fn _PG_init() {
    // SAFETY: a plain global. pg_upgrade restores catalogs and must meet neither hooks nor rules.
    if unsafe { pg_sys::IsBinaryUpgrade } {
        return;
    }
    settings::init();
    context::init();
    guard::init();
    leakproof::init();
    audit::init();
    utility::init();
    scope::init();
    history::init();
}

#[cfg(test)]
pub mod pg_test {
    pub fn setup(_options: Vec<&str>) {}

    pub fn postgresql_conf_options() -> Vec<&'static str> {
        vec!["shared_preload_libraries = 'orgscope'"]
    }
}
