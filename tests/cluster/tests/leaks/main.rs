//! What PostgreSQL shows beside the rows: in errors, statistics and plans, and in what sessions of one role share. docs/leaks.md
//! has the table; each line of it is held here, as it is, by the application's role under organization A while B has rows.

#[path = "../common/mod.rs"]
mod common;
mod errors;
mod sessions;
mod statistics;

use common::*;
use postgres::Client;
use postgres::error::DbError;

/// Rows whose titles nobody can mistake: of A three, of B five hundred.
const PAPERS: &str = "
    CREATE TABLE paper (id int PRIMARY KEY, title text NOT NULL, pages int CHECK (pages < 1000), organization_id uuid);
    INSERT INTO paper SELECT i, '10' || i, i, 'aaaaaaaa-0000-7000-8000-000000000001' FROM generate_series(1, 3) i;
    INSERT INTO paper SELECT i, 'secret', i, 'bbbbbbbb-0000-7000-8000-000000000002' FROM generate_series(11, 510) i;
    GRANT SELECT, INSERT, UPDATE, DELETE ON paper TO app, dba";

const SCOPE: &str = "SELECT orgscope.enable_org_scoping('public.paper')";

/// The table, scoped, with statistics.
fn papers(name: &str) -> World {
    let world = World::new(name);
    run(&mut world.owner(), &format!("{PAPERS}; {SCOPE}"));
    run(&mut world.superuser(), "ANALYZE paper");
    world
}

/// The same rows under a policy written by hand, which holds nothing but the rows: what the leak looks like.
fn by_hand(name: &str) -> World {
    let world = World::new(name);
    run(&mut world.owner(), PAPERS);
    world
}

/// What a statement fails with under organization A.
#[track_caller]
fn failure(client: &mut Client, sql: &str) -> DbError {
    match under(client, A, sql) {
        Ok(rows) => panic!("succeeded with {rows:?}:\n{sql}"),
        Err(error) => error.as_db_error().unwrap().clone(),
    }
}

/// All that a client reads of an error.
fn text(error: &DbError) -> String {
    let fields = [Some(error.message()), error.detail(), error.hint(), error.where_()];
    fields.into_iter().flatten().collect::<Vec<_>>().join(" / ")
}
