//! Foreign keys and uniqueness between scoped tables: what crossed organizations before does not after, and the way back
//! leaves nothing behind.

#[path = "../common/mod.rs"]
mod common;
mod crossing;
mod retyped;
mod unique;
mod way_back;

use common::*;

pub fn enable(table: &str, options: &str) -> String {
    format!("SELECT sql FROM orgscope.enable_org_scoping('public.{table}', options => '{options}')")
}

pub fn disable(table: &str) -> String {
    format!("SELECT sql FROM orgscope.disable_org_scoping('public.{table}')")
}

pub fn notes(client: &mut postgres::Client, table: &str, options: &str) -> Vec<String> {
    rows(
        client,
        &format!(
            "SELECT reason FROM orgscope.plan_org_scoping('public.{table}', options => '{options}') WHERE kind = 'note'"
        ),
    )
}

pub fn definition(client: &mut postgres::Client, name: &str) -> String {
    one(
        client,
        &format!("SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conname = '{name}' AND conparentid = 0"),
    )
}

/// Parents 1, 2 of A and 11, 12 of B in `p`; children in `c` with the given key, one of A and one of B. Not scoped yet.
pub fn family(world: &World, key: &str) {
    run(
        &mut world.owner(),
        &format!(
            "CREATE TABLE p (id int PRIMARY KEY, code text UNIQUE, organization_id uuid);
             CREATE TABLE c (id int PRIMARY KEY, p_id int DEFAULT 1, organization_id uuid, CONSTRAINT k FOREIGN KEY (p_id) REFERENCES p (id) {key});
             INSERT INTO p SELECT i, 'c' || i, '{A}' FROM generate_series(1, 2) i;
             INSERT INTO p SELECT i, 'c' || i, '{B}' FROM generate_series(11, 12) i;
             INSERT INTO c VALUES (1, 2, '{A}'), (11, 11, '{B}');
             GRANT ALL ON p, c TO app, dba"
        ),
    );
}

pub fn children(world: &World) -> Vec<String> {
    rows(&mut world.superuser(), "SELECT id, p_id, left(organization_id::text, 1) FROM c ORDER BY id")
}

pub const ORDERS: [[&str; 2]; 2] = [["p", "c"], ["c", "p"]];
