"""Requests of both organizations at the same time, through Django's asynchronous test client."""

import asyncio
import time
from contextlib import AsyncExitStack

from asgiref.sync import ThreadSensitiveContext, sync_to_async
from django.db import connections

from .browser import LIST, AsyncBrowser, async_log_in
from .customers import ACME, GLOBEX, Customer

REQUESTS = 40
AT_ONCE = 12  # connections, when every request has a thread of its own


def expected(customer: Customer) -> dict:
    return {
        "user": " ".join(customer.full_name),
        "tickets": customer.titles,
        "queues": [f"{customer.name} support"],
        "users": 1,
    }


async def one_request(client: AsyncBrowser, customer: Customer, number: int, own_thread: asyncio.Semaphore | None):
    """The asynchronous view, and every fourth time helpdesk's synchronous ticket list in between."""
    async with AsyncExitStack() as stack:
        if own_thread is not None:
            # What an ASGI server does: the request's synchronous parts and its queries get their own thread,
            # and with it their own connection.
            await stack.enter_async_context(own_thread)
            await stack.enter_async_context(ThreadSensitiveContext())
            stack.push_async_callback(sync_to_async(connections.close_all))
        if number % 4 == 3:
            answer = await client.get(LIST)
            titles = sorted(row["title"] for row in answer.json()["data"]) if answer.status_code == 200 else None
            return customer, titles == sorted(customer.titles)
        answer = await client.get("/summary/")
        return customer, answer.status_code == 200 and answer.json() == expected(customer)


async def interleave(clients: list, own_thread: asyncio.Semaphore | None) -> list:
    """All requests started together, the organizations alternating."""
    return await asyncio.gather(
        *(one_request(*clients[number // 2 % 2 ^ number % 2], number, own_thread) for number in range(REQUESTS))
    )


async def story(report) -> None:
    clients = [(await async_log_in(customer), customer) for customer in (ACME, GLOBEX)]
    seen = []
    for client, customer in clients:
        answer = (await client.get("/summary/")).json()
        report.check(f"{customer.host}: /summary/, asynchronous view and ORM", answer, expected(customer))
        seen.append((customer.host, answer["user"], answer["users"], "; ".join(answer["tickets"])))
    stranger = await AsyncBrowser("nobody.example").get("/summary/")
    report.check("nobody.example", stranger.status_code, 404)
    anonymous = await AsyncBrowser(ACME.host).get("/summary/")
    report.check("acme.example without a login", anonymous.status_code, 401)
    print()
    report.table(["host", "user", "users", "titles"], seen)
    print()
    for how, own_thread in (
        ("one connection shared by all", None),
        ("a thread and connection each", asyncio.Semaphore(AT_ONCE)),
    ):
        begun = time.monotonic()
        answers = await interleave(clients, own_thread)
        for customer in (ACME, GLOBEX):
            right = [fine for whose, fine in answers if whose is customer]
            report.check(
                f"{REQUESTS} requests at once, {how}: {customer.name}'s answers that are right",
                right,
                [True] * (REQUESTS // 2),
            )
        print(f"          {time.monotonic() - begun:.2f} s")
    await sync_to_async(connections.close_all)()


def tell(report) -> None:
    report.chapter("Asynchronous: one event loop, both organizations interleaved")
    asyncio.run(story(report))
