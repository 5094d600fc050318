//! A column of a foreign key that gets another type: PostgreSQL makes the key anew and checks it over all rows.

use crate::common::*;

/// What B's rows of a table get another value with; A's keep theirs.
fn moves_rows_of_b(table: &str, column: &str) -> String {
    format!(
        "ALTER TABLE {table} ALTER {column} TYPE bigint
         USING {column} + CASE WHEN organization_id = '{B}' THEN 500 ELSE 0 END"
    )
}

#[test]
fn a_key_is_checked_over_all_organizations() {
    let world = World::new("keys_retyped");
    let (mut owner, mut admin) = (world.owner(), world.superuser());
    run(&mut admin, "ALTER ROLE owner IN DATABASE keys_retyped SET orgscope.require_context = 'writes'");
    let mut reader = world.owner();
    for (table, column) in [("ticket", "id"), ("comment", "ticket_id")] {
        let broken = moves_rows_of_b(table, column);
        refused(&mut admin, "23503", &broken);
        refused(&mut owner, "23503", &broken);
        refused_under(&mut owner, A, "23503", &broken);
        refused(&mut reader, "23503", &broken);
        // What breaks nothing needs no context.
        run(&mut owner, &format!("ALTER TABLE {table} ALTER {column} TYPE bigint"));
        rows_under(&mut owner, A, &format!("ALTER TABLE {table} ALTER {column} TYPE int"));
    }
    let dangling = "SELECT count(*) FROM comment c WHERE NOT EXISTS (
        SELECT FROM ticket t WHERE t.id = c.ticket_id AND t.organization_id = c.organization_id)";
    assert_eq!(one(&mut admin, dangling), "0");
}

/// From the top of a partitioned table down, and from the row type of a typed table.
#[test]
fn of_partitions_and_typed_tables_too() {
    let world = World::without_tables("keys_retyped_below");
    let (mut owner, mut admin) = (world.owner(), world.superuser());
    run(
        &mut owner,
        &format!(
            "CREATE TYPE part AS (id int, whole_id int, organization_id uuid);
             CREATE TABLE whole (id int PRIMARY KEY, organization_id uuid);
             CREATE TABLE piece (id int, whole_id int REFERENCES whole, organization_id uuid) PARTITION BY RANGE (id);
             CREATE TABLE piece_1 PARTITION OF piece FOR VALUES FROM (0) TO (10);
             CREATE TABLE typed OF part (PRIMARY KEY (id), FOREIGN KEY (whole_id) REFERENCES whole);
             INSERT INTO whole VALUES (1, '{A}'), (2, '{B}');
             INSERT INTO piece VALUES (1, 1, '{A}'), (2, 2, '{B}');
             INSERT INTO typed SELECT * FROM piece;
             SELECT orgscope.enable_org_scoping('public.piece'); SELECT orgscope.enable_org_scoping('public.typed');
             SELECT orgscope.enable_org_scoping('public.whole')"
        ),
    );
    for table in ["whole", "piece"] {
        let broken = moves_rows_of_b(table, if table == "whole" { "id" } else { "whole_id" });
        refused(&mut admin, "23503", &broken);
        refused_under(&mut owner, A, "23503", &broken);
    }
    run(&mut owner, "ALTER TYPE part ALTER ATTRIBUTE whole_id TYPE bigint CASCADE");
    rows_under(&mut owner, A, "ALTER TYPE part ALTER ATTRIBUTE whole_id TYPE int CASCADE");
}
