"""The same wall seen from code: background jobs, raw SQL, savepoints, kept connections, mistakes."""

from contextlib import contextmanager

from django.apps import apps
from django.contrib.auth.models import User
from django.db import DatabaseError, IntegrityError, connection, transaction
from helpdesk.models import Ticket

from tenancy.context import organization

from . import server
from .customers import ACME, EMAIL, GLOBEX


def sqlstate(act) -> str:
    """The error code of the database, or what came back instead of an error. Leaves nothing behind."""
    try:
        with transaction.atomic():
            found = act()
            transaction.set_rollback(True)
        return f"no error: {found!r}"
    except DatabaseError as error:
        return error.__cause__.sqlstate


def run(statement: str, *values):
    """Raw SQL, past the ORM."""
    with connection.cursor() as cursor:
        cursor.execute(statement, values)
        return cursor.fetchall() if cursor.description else cursor.rowcount


@contextmanager
def undone():
    """A transaction that is rolled back."""
    with transaction.atomic():
        yield
        transaction.set_rollback(True)


def mistakes(report) -> None:
    report.chapter("Code that forgot the organization, or names the wrong one")
    report.check("no organization: Ticket.objects.count()", sqlstate(Ticket.objects.count), "OS001")
    report.check(
        "no organization: User.objects.create_user()", sqlstate(lambda: User.objects.create_user("x")), "OS001"
    )
    move = "UPDATE helpdesk_ticket SET organization_id = %s WHERE id = %s"
    insert = "INSERT INTO auth_group (name, organization_id) VALUES ('spies', %s)"
    with organization(ACME.id):
        report.check(
            "Acme: moves its ticket to Globex", sqlstate(lambda: run(move, GLOBEX.id, ACME.tickets[0])), "OS002"
        )
        report.check("Acme: inserts a row for Globex", sqlstate(lambda: run(insert, GLOBEX.id)), "OS002")
        report.check(
            "Acme: updates Globex's ticket by number",
            sqlstate(lambda: Ticket.objects.filter(pk=GLOBEX.tickets[0]).update(title="x")),
            "no error: 0",
        )
        report.check(
            "Acme: a second user with kim's e-mail", sqlstate(lambda: User.objects.create_user("kim2", EMAIL)), "23505"
        )

    def change():
        with organization(ACME.id):
            Ticket.objects.count()
        with organization(GLOBEX.id):
            return Ticket.objects.count()

    report.check("one transaction, two organizations", sqlstate(change), "OS003")


def everywhere(report, admin) -> None:
    report.chapter("Every way the ORM talks to the database, under each organization")
    truth = server.rows_by_organization(admin, "helpdesk_ticket")
    comments = server.rows_by_organization(admin, "helpdesk_followup")
    for customer in (ACME, GLOBEX):
        count = truth[customer.id]
        with organization(customer.id):
            report.check(f"{customer.name}: autocommit", Ticket.objects.count(), count)
            report.check(
                f"{customer.name}: server-side cursor, autocommit", len(list(Ticket.objects.iterator(1))), count
            )
            report.check(f"{customer.name}: raw SQL", run("SELECT count(*) FROM helpdesk_ticket"), [(count,)])
            with connection.cursor() as cursor, cursor.copy("COPY (SELECT id FROM helpdesk_ticket) TO STDOUT") as copy:
                report.check(f"{customer.name}: COPY", len(list(copy.rows())), count)
            with transaction.atomic():
                report.check(f"{customer.name}: server-side cursor", len(list(Ticket.objects.iterator(1))), count)
            with undone():
                report.check(
                    f"{customer.name}: DELETE without WHERE (undone)",
                    run("DELETE FROM helpdesk_followup"),
                    comments[customer.id],
                )
    print("          a superuser counts", ", ".join(f"{c.name} {truth[c.id]}" for c in (ACME, GLOBEX)))


def census(report, admin) -> None:
    report.chapter("Every scoped table, counted by the ORM in each organization and by a superuser")
    models = {model._meta.db_table: model for model in apps.get_models(include_auto_created=True)}
    models = {name: models[name] for name in sorted(models) if name not in server.SHARED}
    truth = {name: server.rows_by_organization(admin, name) for name in models}
    seen = {}
    for customer in (ACME, GLOBEX):
        with organization(customer.id):
            seen[customer] = {name: model._base_manager.count() for name, model in models.items()}
        report.check(
            f"{customer.name}: its rows in {len(models)} tables, and no others",
            seen[customer],
            {name: truth[name].get(customer.id, 0) for name in models},
        )
    print()
    rows = [(name, seen[ACME][name], seen[GLOBEX][name], sum(truth[name].values())) for name in models]
    report.table(["table (empty ones left out)", "Acme", "Globex", "superuser"], [row for row in rows if row[3]])


def leftovers(report) -> None:
    report.chapter("Nothing stays behind on a kept connection")
    current = "SELECT current_setting('orgscope.current_org', true)"
    with organization(ACME.id):
        Ticket.objects.count()
    report.check("after an organization's statement", run(current), [("",)])
    with transaction.atomic():
        with organization(ACME.id):
            Ticket.objects.count()
        report.check("after organization() inside a transaction", run(current), [("",)])
    with organization(ACME.id), transaction.atomic():
        try:
            with transaction.atomic():
                User.objects.create_user("kim", EMAIL)
        except IntegrityError:
            pass
        report.check("after a savepoint was rolled back", run(current), [(str(ACME.id),)])
    with transaction.atomic():
        savepoint = transaction.savepoint()
        with organization(ACME.id):
            seen = Ticket.objects.count()
            transaction.savepoint_rollback(savepoint)  # and with it the setting
            report.check("after a rollback to a savepoint older than the setting", Ticket.objects.count(), seen)
    with organization(ACME.id), transaction.atomic():
        run("SET TRANSACTION ISOLATION LEVEL SERIALIZABLE")
        report.check("isolation level can still be chosen", run("SHOW transaction_isolation"), [("serializable",)])


def tell(report, admin) -> None:
    mistakes(report)
    everywhere(report, admin)
    census(report, admin)
    leftovers(report)
