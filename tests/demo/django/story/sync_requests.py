"""helpdesk's own pages and API, through Django's test client, for both organizations."""

import re

from django.urls import reverse
from helpdesk.models import Queue, Ticket

from tenancy.context import organization

from . import server
from .browser import LIST, at, log_in
from .customers import ACME, EMAIL, GLOBEX, USERNAME, Customer

PAIRS = ((ACME, GLOBEX), (GLOBEX, ACME))


def new_ticket(customer: Customer, queue: int) -> dict:
    """What helpdesk's form sends."""
    return {
        "queue": queue,
        "title": f"New at {customer.name}",
        "body": "please help",
        "priority": 3,
        "submitter_email": EMAIL,
    }


def logins(report) -> None:
    report.chapter(f'Log in: "{USERNAME}" <{EMAIL}> is another person at each host')
    for customer, other in PAIRS:
        for password, whose, expected in ((customer.password, "own", 302), (other.password, "other one's", 200)):
            answer = at(customer.host).post(reverse("helpdesk:login"), {"username": USERNAME, "password": password})
            what = "is let in" if expected == 302 else "stays outside"
            report.check(f"{customer.host}: kim with the {whose} password {what}", answer.status_code, expected)
    carried = at(GLOBEX.host)
    carried.cookies = log_in(ACME).cookies
    answer = carried.get(reverse("helpdesk:list"))
    report.check("Acme's session cookie at Globex's host leads to the login page", answer.status_code, 302)


def pages(report) -> None:
    report.chapter("The same pages at each host (helpdesk's code, no filter added)")
    seen = []
    for customer, other in PAIRS:
        client = log_in(customer)
        listed = client.get(LIST).json()
        seen.append((customer.host, len(listed["data"]), "; ".join(row["title"] for row in listed["data"])))
        report.check(
            f"{customer.host}: ticket list", sorted(row["title"] for row in listed["data"]), sorted(customer.titles)
        )
        report.check(f"{customer.host}: its total", listed["recordsTotal"], len(customer.titles))
        own = client.get(reverse("helpdesk:view", args=[customer.tickets[0]]))
        report.check(
            f"{customer.host}: own ticket page", (own.status_code, customer.titles[0] in own.text), (200, True)
        )
        for number in other.tickets:
            guessed = client.get(reverse("helpdesk:view", args=[number]))
            report.check(f"{customer.host}: the other organization's ticket {number}", guessed.status_code, 404)
        manuals = client.get(reverse("helpdesk:kb_category", args=["manuals"])).text
        report.check(
            f"{customer.host}: knowledge base",
            [c.name for c in (customer, other) if c.name in manuals],
            [customer.name],
        )
        dashboard = client.get(reverse("helpdesk:dashboard"))
        report.check(
            f"{customer.host}: dashboard", (dashboard.status_code, other.titles[0] in dashboard.text), (200, False)
        )
        people = client.get(reverse("admin:auth_user_changelist")).text
        report.check(
            f"{customer.host}: Django's admin lists users",
            re.findall('"field-last_name">([^<]*)', people),
            [customer.full_name[1]],
        )
    print()
    report.table(["host", "tickets", "titles"], seen)


def api(report) -> None:
    report.chapter("helpdesk's REST API")
    for customer, other in PAIRS:
        client = log_in(customer)
        listed = client.get("/api/tickets/").json()
        report.check(
            f"{customer.host}: GET /api/tickets/",
            sorted(row["id"] for row in listed["results"]),
            sorted(customer.tickets),
        )
        url = f"/api/tickets/{other.tickets[0]}/"
        answers = [
            client.get(url),
            client.delete(url),
            client.patch(url, {"title": "mine now"}, content_type="application/json"),
        ]
        report.check(f"{customer.host}: GET, DELETE, PATCH {url}", [a.status_code for a in answers], [404] * 3)


def public(report) -> None:
    """The page a submitter reaches without logging in, by ticket number, e-mail address and secret key."""
    report.chapter("The link in a submitter's e-mail (no login: number, address, secret key)")
    with organization(ACME.id):
        ticket = Ticket.objects.get(pk=ACME.tickets[0])
        link = {"ticket": ticket.ticket_for_url, "email": EMAIL, "key": ticket.secret_key}
    for customer, expected in ((ACME, True), (GLOBEX, False)):
        page = at(customer.host).get(reverse("helpdesk:public_view"), link)
        report.check(f"{customer.host}: Acme's link shows the ticket", ACME.titles[0] in page.text, expected)


def writes(report, admin) -> None:
    report.chapter("New tickets through helpdesk's form: the database fills the organization in")
    for customer, other in PAIRS:
        with organization(customer.id):
            own_queue = Queue.objects.get(slug="support").pk
        with organization(other.id):
            other_queue = Queue.objects.get(slug="support").pk
        before = server.rows_by_organization(admin, "helpdesk_ticket")
        client = log_in(customer)
        made = client.post(reverse("helpdesk:submit"), new_ticket(customer, own_queue))
        refused = client.post(reverse("helpdesk:submit"), new_ticket(customer, other_queue))
        after = server.rows_by_organization(admin, "helpdesk_ticket")
        report.check(
            f"{customer.host}: into the own queue, then the other one's",
            (made.status_code, refused.status_code),
            (302, 200),
        )
        report.check(
            f"{customer.host}: one row more, and none for the other",
            {c.name: after[c.id] - before[c.id] for c in (customer, other)},
            {customer.name: 1, other.name: 0},
        )
        customer.titles.append(f"New at {customer.name}")


def strangers(report) -> None:
    report.chapter("A request without an organization")
    answer = at("nobody.example").get(LIST)
    report.check("nobody.example", (answer.status_code, answer.text), (404, "No organization lives at this address.\n"))


def tell(report, admin) -> None:
    logins(report)
    pages(report)
    api(report)
    public(report)
    writes(report, admin)
    strangers(report)
