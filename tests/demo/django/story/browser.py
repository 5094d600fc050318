"""Django's test clients, each talking to one host. A failing view is a response with status 500, as in production."""

from django.test import AsyncClient, Client
from django.urls import reverse
from helpdesk.query import query_to_base64

from .customers import USERNAME, Customer

LOGIN = reverse("helpdesk:login")
LIST = reverse("helpdesk:datatables_ticket_list", args=[query_to_base64({})])


def at(host: str) -> Client:
    return Client(headers={"host": host}, raise_request_exception=False)


def log_in(customer: Customer) -> Client:
    client = at(customer.host)
    client.post(LOGIN, {"username": USERNAME, "password": customer.password})
    return client


class AsyncBrowser(AsyncClient):
    """Django's own asynchronous client would send our host as a second Host header, after "testserver"."""

    def __init__(self, host: str) -> None:
        super().__init__(raise_request_exception=False)
        self.host = host

    def _base_scope(self, **request) -> dict:
        scope = super()._base_scope(**request)
        others = [(name, value) for name, value in scope["headers"] if name != b"host"]
        return {**scope, "headers": [*others, (b"host", self.host.encode())]}


async def async_log_in(customer: Customer) -> AsyncBrowser:
    client = AsyncBrowser(customer.host)
    await client.post(LOGIN, {"username": USERNAME, "password": customer.password})
    return client
