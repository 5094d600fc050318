"""One asynchronous view with the asynchronous ORM, to show that no queryset filters by organization."""

import asyncio

from django.contrib.auth import get_user_model
from django.db import transaction
from django.http import HttpRequest, JsonResponse
from helpdesk.models import Queue, Ticket


@transaction.non_atomic_requests  # Django: asynchronous views have no transaction around them
async def summary(request: HttpRequest) -> JsonResponse:
    """What this user's organization has, in four queries with pauses in which other requests are served."""
    user = await request.auser()
    if not user.is_authenticated:
        return JsonResponse({"error": "log in first"}, status=401)
    await asyncio.sleep(0.001)
    tickets = [ticket.title async for ticket in Ticket.objects.order_by("id")]
    await asyncio.sleep(0.001)
    queues = [queue.title async for queue in Queue.objects.select_related("default_owner").order_by("title")]
    await asyncio.sleep(0.001)
    users = await get_user_model().objects.acount()
    return JsonResponse({"user": user.get_full_name(), "tickets": tickets, "queues": queues, "users": users})
