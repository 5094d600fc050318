"""Rows, made through Django's and helpdesk's own models, which know nothing of organizations."""

from dataclasses import dataclass, field
from importlib.resources import files
from uuid import UUID

from django.contrib.auth.models import User
from django.core import serializers
from helpdesk.models import FollowUp, KBCategory, KBItem, Queue, Ticket

from tenancy.apps import create_all_permissions

EMAIL, USERNAME = "kim@mail.example", "kim"


@dataclass(eq=False)
class Customer:
    """One organization of the story. Both have a user of the same name and e-mail, and a queue of the same slug."""

    name: str
    slug: str
    password: str
    full_name: tuple[str, str]
    titles: list[str]
    id: UUID | None = None
    tickets: list[int] = field(default_factory=list)

    @property
    def host(self) -> str:
        return f"{self.slug}.example"


ACME = Customer("Acme Rockets", "acme", "correct horse", ("Kim", "Acme"), ["Rocket does not start", "Wheel is square"])
GLOBEX = Customer("Globex", "globex", "battery staple", ("Kim", "Globex"), ["Laser hums", "Lair floods", "Cat gone"])


def fill(customer: Customer) -> None:
    """An agent, a queue, tickets with a follow-up each, a knowledge base item."""
    first, last = customer.full_name
    kim = User.objects.create_user(
        USERNAME, EMAIL, customer.password, first_name=first, last_name=last, is_staff=True, is_superuser=True
    )
    queue = Queue.objects.create(
        title=f"{customer.name} support", slug="support", allow_public_submission=True, default_owner=kim
    )
    for title in customer.titles:
        ticket = Ticket.objects.create(title=title, queue=queue, submitter_email=EMAIL, assigned_to=kim)
        FollowUp.objects.create(ticket=ticket, title="Opened", user=kim, comment=f"{customer.name}: {title}")
        customer.tickets.append(ticket.id)
    category = KBCategory.objects.create(name="Manuals", title="Manuals", slug="manuals", description="How to")
    KBItem.objects.create(category=category, title=f"{customer.name} manual", question="?", answer="!")


def equip() -> None:
    """What migrations gave the first customer, for one that comes later: permissions, helpdesk's e-mail templates."""
    create_all_permissions()
    fixture = files("helpdesk").joinpath("fixtures/emailtemplate.json").read_text(encoding="utf-8")
    for template in serializers.deserialize("json", fixture):
        template.object.pk = None  # the fixture's numbers are taken: keys are unique over all organizations
        template.object.save()
