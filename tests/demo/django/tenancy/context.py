"""The organization this code works for: one context variable, the only place that knows.

A context variable, not a thread-local one: an event loop serves many requests on one thread, each task has its
own copy, and asgiref carries it into the threads where sync_to_async runs views and the ORM. A thread started by
hand, or a job queue, begins without one; the database then refuses scoped tables (OS001) instead of guessing.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from uuid import UUID

_organization: ContextVar[UUID | None] = ContextVar("organization", default=None)


def current_organization() -> UUID | None:
    """The organization of the current request or job, None outside any."""
    return _organization.get()


@contextmanager
def organization(organization_id: UUID) -> Iterator[None]:
    """Work for one organization: `with organization(id):`, in plain and in asynchronous code alike."""
    token = _organization.set(organization_id)
    try:
        yield
    finally:
        _organization.reset(token)
