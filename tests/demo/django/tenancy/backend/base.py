"""PostgreSQL backend that tells the database the organization in every transaction.

The organization is transaction-local in the database (SET LOCAL), so it cannot stay behind on a kept or pooled
connection. Someone must therefore say it once per transaction, and that cannot be the middleware:
ATOMIC_REQUESTS does not cover asynchronous views, the session is read and saved outside the view's transaction,
and the asynchronous ORM runs every query in autocommit mode, where the setting would end with its own statement.
The cursor is the one place through which every statement goes, so it is done there, lazily:

* inside a transaction: before its first statement, and again only when the context variable has changed;
* in autocommit mode: statement and setting share one short transaction;
* without an organization: nothing is added, this is Django's own backend, and scoped tables answer OS001.

Whether a transaction is open is asked of the driver, never remembered. What is remembered is what this
transaction was told; if that were ever wrong, the database would have no context, or refuse a change of it
(OS003). SET LOCAL and not set_config(): it takes no snapshot, so SET TRANSACTION ISOLATION LEVEL still works
after it. The price is three short round trips for a statement in autocommit mode, one for a whole transaction.
Statements that cannot run in a transaction (VACUUM, CREATE INDEX CONCURRENTLY) belong outside organization().
"""

from contextlib import contextmanager

from django.db.backends.postgresql import base
from django.db.backends.utils import CursorWrapper
from psycopg import sql
from psycopg.pq import TransactionStatus

from ..context import current_organization

UNKNOWN = object()


class OrganizationCursor:
    """Every way in which a cursor can send a statement, each inside the organization."""

    def execute(self, *args, **kwargs):
        with self.db.in_organization(self.cursor.connection):
            return super().execute(*args, **kwargs)

    def executemany(self, *args, **kwargs):
        with self.db.in_organization(self.cursor.connection):
            return super().executemany(*args, **kwargs)

    def callproc(self, *args, **kwargs):
        with self.db.in_organization(self.cursor.connection):
            return super().callproc(*args, **kwargs)

    @contextmanager
    def copy(self, *args, **kwargs):
        with self.db.in_organization(self.cursor.connection), self.cursor.copy(*args, **kwargs) as copy:
            yield copy

    def stream(self, *args, **kwargs):
        with self.db.in_organization(self.cursor.connection):
            yield from self.cursor.stream(*args, **kwargs)


class Cursor(OrganizationCursor, CursorWrapper):
    pass


class DebugCursor(OrganizationCursor, base.CursorDebugWrapper):
    pass


class DatabaseWrapper(base.DatabaseWrapper):
    told = None  # what the open transaction knows: an organization, None, or UNKNOWN

    def make_cursor(self, cursor):
        return Cursor(cursor, self)

    def make_debug_cursor(self, cursor):
        return DebugCursor(cursor, self)

    @contextmanager
    def in_organization(self, connection):
        """Run one statement in a transaction that has the current organization."""
        status = connection.info.transaction_status
        if status == TransactionStatus.IDLE:
            self.told = None  # no setting outlives its transaction
        if status not in (TransactionStatus.IDLE, TransactionStatus.INTRANS) or self.told == current_organization():
            yield  # known already, or a failed transaction that only a rollback can follow
        elif status == TransactionStatus.IDLE and connection.autocommit:
            with self.wrap_database_errors, connection.transaction():
                self.tell(connection)
                yield
        else:
            with self.wrap_database_errors:
                self.tell(connection)
            yield

    def tell(self, connection):
        found = current_organization()
        statement = sql.SQL("SET LOCAL orgscope.current_org = {}")
        connection.execute(statement.format(sql.Literal("" if found is None else str(found))))
        self.told = found

    def _savepoint_rollback(self, sid):
        super()._savepoint_rollback(sid)
        self.told = UNKNOWN  # settings made since the savepoint were rolled back with it
