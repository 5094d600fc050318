#!/usr/bin/env python
"""django-helpdesk, unchanged, for two organizations. Run by `cargo xtask demo`.

Expects PGHOST, PGPORT, PGUSER (a superuser) and PGDATABASE of a cluster with orgscope in
shared_preload_libraries; the database must be empty or from an earlier run. Exit status 0 if every check passed.
"""

import os
import subprocess
import sys
import time
import warnings
from importlib.metadata import version
from pathlib import Path

sys.dont_write_bytecode = True  # this directory is part of a source tree
os.environ["PYTHONDONTWRITEBYTECODE"] = "1"
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "project.settings")
os.environ.setdefault("PGDATABASE", "helpdesk")
ADMIN = os.environ.get("PGUSER", "postgres")

import django  # noqa: E402  settings come first

django.setup()
warnings.filterwarnings("ignore", "DateTimeField Ticket.created received a naive datetime")  # helpdesk's dashboard

from story import async_requests, orm, server, sync_requests  # noqa: E402
from story.customers import ACME, GLOBEX, equip, fill  # noqa: E402
from story.report import Report  # noqa: E402
from tenancy.context import organization  # noqa: E402


def migrate() -> None:
    """Django migrates by itself, as the tables' owner."""
    environment = {**os.environ, "HELPDESK_DB_USER": server.OWNER}
    command = [sys.executable, Path(__file__).with_name("manage.py"), "migrate", "--verbosity", "0"]
    subprocess.run(command, env=environment, check=True)


def single_customer(report: Report, admin, owner) -> None:
    """The application as it was: one customer, no organizations."""
    report.chapter("A published application for one customer: django-helpdesk, migrated by Django")
    migrate()
    server.grant(owner)
    made = server.tables(admin)
    fill(ACME)
    print(f"  Django {django.get_version()}, django-helpdesk {version('django-helpdesk')}: {len(made)} tables")
    report.check("tables made by Django's migrations", len(made), 38)


def scope(report: Report, admin, owner) -> None:
    """The migration to many customers."""
    report.chapter("Two organizations; the owner scopes the tables, existing rows become Acme's")
    for customer in (ACME, GLOBEX):
        customer.id = server.add_organization(admin, customer.name, customer.slug)
    print("  plan_org_scoping('auth_user'):\n")
    steps = server.plan(owner, "auth_user", ACME.id)
    told = [step for step in steps if step.kind != "guard"]
    report.table(["step", "kind", "sql"], [(step.step, step.kind, step.sql) for step in told])
    print(f"  and {len(steps) - len(told)} steps of kind guard: triggers, each with ENABLE ALWAYS")
    names = [name for name in server.tables(admin) if name not in server.SHARED]
    begun = time.monotonic()
    taken = server.scope(owner, names, ACME.id)
    print(f"\n  {len(names)} tables scoped, {taken} steps, {time.monotonic() - begun:.1f} s. Not scoped:\n")
    report.table(["table", "why"], list(server.SHARED.items()))
    print()
    report.check(
        "scoped tables", admin.execute("SELECT count(*) FROM orgscope.scoped_tables").fetchone()[0], len(names)
    )
    migrate()
    report.check("manage.py migrate still works afterwards", server.tables(admin), sorted([*names, *server.SHARED]))
    with organization(GLOBEX.id):
        equip()
        fill(GLOBEX)
    report.check(
        "Globex has a user kim with the same e-mail",
        server.rows_by_organization(admin, "auth_user"),
        {ACME.id: 1, GLOBEX.id: 1},
    )


def main() -> int:
    report = Report()
    server.fresh_database(ADMIN)
    with server.connect(ADMIN) as admin:
        server.prepare(admin)
        with server.connect(server.OWNER) as owner:
            single_customer(report, admin, owner)
            scope(report, admin, owner)
        sync_requests.tell(report, admin)
        async_requests.tell(report)
        orm.tell(report, admin)
    return report.close()


if __name__ == "__main__":
    sys.exit(main())
