"""Host name to organization, once per request, for sync and async request handling.

Which organization owns a host cannot be read from orgscope.organization: the application's role sees there only
the organization it already works for. So the mapping is a table of the application's own, tenancy_domain, which
the role may not read either; it may call one SECURITY DEFINER function that answers for one exact host name.
The function belongs to the tables' owner, who is no superuser, so nothing in it steps around row security; and
whoever takes over the web application can still not list the customers. A settings dict would need a deployment
for each new customer.
"""

from uuid import UUID

from asgiref.sync import iscoroutinefunction, sync_to_async
from django.db import connection
from django.http import HttpRequest, HttpResponse, HttpResponseNotFound
from django.http.request import split_domain_port
from django.utils.decorators import sync_and_async_middleware

from .context import organization


def organization_of(request: HttpRequest) -> UUID | None:
    """The organization that owns the request's host, None for a host nobody owns."""
    host, _port = split_domain_port(request.get_host())
    with connection.cursor() as cursor:
        cursor.execute("SELECT public.tenancy_organization_of(%s)", [host])
        return cursor.fetchone()[0]


def no_organization() -> HttpResponse:
    """Refused here only for a clear text: let through, the request would end in OS001 at its first query."""
    return HttpResponseNotFound("No organization lives at this address.\n", content_type="text/plain")


@sync_and_async_middleware
def organization_middleware(get_response):
    """Serve the request inside its organization.

    A streaming response is produced after this function has returned, without an organization: its generator
    has to enter organization() itself. Forgetting that is an error (OS001), not a leak.
    """
    if iscoroutinefunction(get_response):

        async def middleware(request: HttpRequest) -> HttpResponse:
            found = await sync_to_async(organization_of)(request)
            if found is None:
                return no_organization()
            with organization(found):
                return await get_response(request)

    else:

        def middleware(request: HttpRequest) -> HttpResponse:
            found = organization_of(request)
            if found is None:
                return no_organization()
            with organization(found):
                return get_response(request)

    return middleware
