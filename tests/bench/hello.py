"""Yardsticks for HTTP: bare Django views without middleware. One answers hello, one reads a body."""

from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.http import HttpRequest, HttpResponse
from django.urls import path


def hello(_: HttpRequest) -> HttpResponse:
    return HttpResponse(b"hello", content_type="text/plain", headers={"Content-Length": "5"})


def swallow(request: HttpRequest) -> HttpResponse:
    return HttpResponse(str(len(request.body)).encode(), content_type="text/plain")


urlpatterns = [path("hello", hello), path("swallow", swallow)]
settings.configure(ROOT_URLCONF=__name__, SECRET_KEY="only for the bench", ALLOWED_HOSTS=["*"], MIDDLEWARE=[])
application = get_wsgi_application()
