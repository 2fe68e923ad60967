"""What Django answers: the admin and the management API. The wire endpoints are in api.wsgi, before Django."""

from django.contrib import admin
from django.urls import URLPattern, URLResolver, path

urlpatterns: list[URLPattern | URLResolver] = [
    path("admin/", admin.site.urls),
]
