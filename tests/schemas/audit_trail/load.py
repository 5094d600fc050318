"""Creates the audit log of sqlalchemy-audit-trail with its own migrations and maintenance, and rows through its tables:
transactions by month, activities by severity and then by month."""

from datetime import UTC, datetime, timedelta

from audit_trail.maintenance import ensure_partitions
from audit_trail.migrations import create_audit_tables
from audit_trail.tables import build_tables
from sqlalchemy import create_engine, insert

SEVERITIES = [10, 20, 30]
BEGIN = datetime(2026, 1, 15, tzinfo=UTC)

tables = build_tables(schema="audit")
with create_engine("postgresql+psycopg://").begin() as connection:
    create_audit_tables(connection, tables, SEVERITIES)
    ensure_partitions(connection, tables, SEVERITIES, months_ahead=5, now=BEGIN)
    for n in range(60):
        at = BEGIN + timedelta(days=2 * n)
        transaction = insert(tables.transaction).values(issued_at=at, actor_type="user", actor_id=str(n % 7))
        [key] = connection.execute(transaction.returning(tables.transaction.c.id)).one()
        for severity in SEVERITIES:
            activity = insert(tables.activity).values(
                transaction_id=key, verb="update", severity=severity, created_at=at, data={"n": n}
            )
            connection.execute(activity)
