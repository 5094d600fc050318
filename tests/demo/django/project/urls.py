"""django-helpdesk at the root and Django's admin, as they ship, and one asynchronous view of our own."""

from django.contrib import admin
from django.urls import include, path

from tenancy.views import summary

urlpatterns = [
    path("summary/", summary, name="summary"),
    path("admin/", admin.site.urls),
    path("", include("helpdesk.urls", namespace="helpdesk")),
]
