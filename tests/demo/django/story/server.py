"""The administrator's side, in plain SQL: roles, extension, organizations, scoping. No Django in here."""

import os
from uuid import UUID

import psycopg
from psycopg import sql
from psycopg.rows import namedtuple_row

OWNER, APP = "helpdesk_owner", "helpdesk_app"
MARK = "orgscope demo"

# Everything Django made is scoped, except what belongs to the program and not to a customer.
SHARED = {
    "django_migrations": "which version of the program this is",
    "django_content_type": "names of the program's models",
    "django_site": "one row that helpdesk's links are made with",
    "tenancy_domain": "host to organization; must be readable before the organization is known",
}


def connect(user: str, database: str | None = None, autocommit: bool = True) -> psycopg.Connection:
    """A connection of its own, outside Django; host and port come from PGHOST and PGPORT."""
    name = database or os.environ["PGDATABASE"]
    return psycopg.connect(dbname=name, user=user, autocommit=autocommit, row_factory=namedtuple_row)


def fresh_database(admin_user: str) -> None:
    """Begin with an empty database: one left by an earlier run is recreated, any other one is not touched."""
    name = os.environ["PGDATABASE"]
    with connect(admin_user) as db:
        used = db.execute("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'").fetchone()[0]
        mark = db.execute(
            "SELECT shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = current_database()"
        ).fetchone()[0]
    if used and mark != MARK:
        raise SystemExit(f'database "{name}" has {used} tables that this demo did not make; give it an empty one')
    with connect(admin_user, "postgres") as db:
        if used or mark == MARK:
            db.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))
            db.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        db.execute(sql.SQL("COMMENT ON DATABASE {} IS {}").format(sql.Identifier(name), MARK))


def prepare(db: psycopg.Connection) -> None:
    """The extension, and two roles without any power over row security: one migrates, one serves requests."""
    for role in (OWNER, APP):
        if not db.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", [role]).fetchone():
            db.execute(sql.SQL("CREATE ROLE {} LOGIN NOSUPERUSER NOBYPASSRLS").format(sql.Identifier(role)))
    db.execute(f"GRANT CREATE ON SCHEMA public TO {OWNER}")
    db.execute("CREATE EXTENSION orgscope")


def tables(db: psycopg.Connection) -> list[str]:
    """All tables Django made, by name."""
    rows = db.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY tablename")
    return [row.tablename for row in rows]


def grant(owner: psycopg.Connection) -> None:
    """What the application may do: rows everywhere, except that the program's own tables are only read."""
    owner.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {APP}")
    owner.execute(f"GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO {APP}")
    owner.execute(f"REVOKE INSERT, UPDATE, DELETE ON {', '.join(SHARED)} FROM {APP}")
    owner.execute(f"REVOKE SELECT ON tenancy_domain, django_migrations FROM {APP}")
    owner.execute(f"GRANT EXECUTE ON FUNCTION tenancy_organization_of(text) TO {APP}")


def add_organization(db: psycopg.Connection, name: str, slug: str) -> UUID:
    """A customer, and the host it is served at."""
    found = db.execute(
        "INSERT INTO orgscope.organization (name, slug, email) VALUES (%s, %s, %s) RETURNING id",
        [name, slug, f"office@{slug}.example"],
    ).fetchone()[0]
    db.execute("INSERT INTO tenancy_domain (host, organization_id) VALUES (%s, %s)", [f"{slug}.example", found])
    return found


def plan(owner: psycopg.Connection, table: str, backfill: UUID) -> list:
    """What enabling would do. Changes nothing."""
    return owner.execute(
        "SELECT * FROM orgscope.plan_org_scoping(%s::regclass, options => jsonb_build_object('backfill', %s::text))",
        [table, backfill],
    ).fetchall()


def scope(owner: psycopg.Connection, names: list[str], backfill: UUID) -> int:
    """Scope all tables or none: one transaction, by their owner. Returns the number of steps taken."""
    steps = 0
    with owner.transaction():
        for name in names:
            steps += len(
                owner.execute(
                    "SELECT * FROM orgscope.enable_org_scoping(%s::regclass,"
                    " options => jsonb_build_object('backfill', %s::text))",
                    [name, backfill],
                ).fetchall()
            )
    return steps


def rows_by_organization(db: psycopg.Connection, table: str) -> dict[UUID, int]:
    """The truth to compare with: what a superuser counts."""
    query = sql.SQL("SELECT organization_id, count(*) FROM {} GROUP BY 1").format(sql.Identifier(table))
    return dict(db.execute(query).fetchall())
