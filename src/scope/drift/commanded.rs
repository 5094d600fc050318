//! DDL on scoped tables, harmless or not, is on record: one row for each command and table, unless what was taken away is on
//! record already.

use super::quiet::is_quiet;
use crate::audit::ddl;
use crate::error::Error;
use crate::guard::ddl::{nodes, table_of};
use crate::pg::{Backend, as_superuser};
use crate::spi;
use pgrx::pg_sys;
use serde::Deserialize;

#[derive(Deserialize)]
pub struct Commanded {
    oid: u32,
    name: String,
}

const COMMANDED: &str = concat!(
    "WITH touched AS (",
    include_str!("commands.sql"),
    include_str!("commanded.sql"),
    ") ",
    include_str!("settled.sql")
);
const DROPPED: &str = include_str!("dropped.sql");

/// What a command names, of which PostgreSQL tells event triggers nothing: tables and schemas of GRANT and REVOKE, tables of
/// the indexes that are dropped.
#[derive(Default)]
pub struct Named {
    tables: Vec<pg_sys::Oid>,
    schemas: Vec<pg_sys::Oid>,
}

static NAMED: Backend<Option<Named>> = Backend::new(None);

/// Before GRANT, REVOKE, a DROP, or CREATE SCHEMA, which may run some of the others, while names mean what they mean to the user. Unknown ones are PostgreSQL's error to raise.
pub unsafe fn name(node: *mut pg_sys::Node) {
    use pg_sys::GrantTargetType::{ACL_TARGET_ALL_IN_SCHEMA, ACL_TARGET_OBJECT};
    use pg_sys::ObjectType::{OBJECT_INDEX, OBJECT_TABLE};
    let mut named = Named::default();
    // SAFETY: each cast follows the node's tag, its object type and its target; look-ups with missing_ok.
    unsafe {
        if (*node).type_ == pg_sys::NodeTag::T_GrantStmt {
            let grant = &*node.cast::<pg_sys::GrantStmt>();
            match grant.targtype {
                ACL_TARGET_OBJECT if grant.objtype == OBJECT_TABLE => {
                    named.tables.extend(nodes(grant.objects).filter_map(|name| table_of(name)));
                }
                ACL_TARGET_ALL_IN_SCHEMA if grant.objtype == OBJECT_TABLE => {
                    let schema = |name: *mut pg_sys::String| pg_sys::get_namespace_oid((*name).sval, true);
                    named.schemas.extend(nodes(grant.objects).map(schema));
                }
                _ => {}
            }
        } else if (*node).type_ == pg_sys::NodeTag::T_DropStmt {
            let drop = &*node.cast::<pg_sys::DropStmt>();
            if drop.removeType == OBJECT_INDEX {
                let index = |name: *mut pg_sys::List| table_of(pg_sys::makeRangeVarFromNameList(name));
                let table = |index| pg_sys::IndexGetRelation(index, true);
                named.tables.extend(nodes(drop.objects).filter_map(index).map(table));
            }
        }
    }
    let empty = named.tables.is_empty() && named.schemas.is_empty();
    NAMED.with(|kept| *kept = (!empty).then_some(named));
}

/// What is left of a command that failed is no other's.
pub fn take_named(tag: &str, tags: &[&str]) -> Option<Named> {
    NAMED.with(Option::take).filter(|_| tags.contains(&tag))
}

fn array(oids: &[pg_sys::Oid]) -> String {
    format!("{{{}}}", oids.iter().map(|oid| oid.to_u32().to_string()).collect::<Vec<_>>().join(","))
}

pub fn by_command(named: &Named) -> Result<Vec<Commanded>, Error> {
    let args = [array(&named.tables), array(&named.schemas)];
    parse(as_superuser(|| spi::query_planned(COMMANDED, &args.each_ref().map(|a| Some(a.as_str())))))
}

/// Before the registry forgets them.
pub fn by_drop(named: &Option<Named>) -> Result<Vec<Commanded>, Error> {
    let tables = array(named.as_ref().map_or(&[], |named| &named.tables));
    parse(as_superuser(|| spi::query_planned(DROPPED, &[Some(&tables)])))
}

fn parse(json: Option<String>) -> Result<Vec<Commanded>, Error> {
    json.map_or(Ok(Vec::new()), |json| {
        serde_json::from_str(&json).map_err(|e| Error::Internal { what: format!("tables of a command: {e}") })
    })
}

pub fn record(tag: &str, tables: &[Commanded], recorded: &[u32]) -> Result<(), Error> {
    let mut unrecorded = tables.iter().filter(|t| !recorded.contains(&t.oid) && !is_quiet(t.oid));
    unrecorded.try_for_each(|table| ddl::record(tag, Some(table.name.clone()), None))
}
