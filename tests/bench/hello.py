"""The yardstick of what speaks HTTP: a bare Django view, no middleware, that says hello."""

from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.http import HttpRequest, HttpResponse
from django.urls import path


def hello(_: HttpRequest) -> HttpResponse:
    return HttpResponse(b"hello", content_type="text/plain", headers={"Content-Length": "5"})


urlpatterns = [path("hello", hello)]
settings.configure(ROOT_URLCONF=__name__, SECRET_KEY="only for the bench", ALLOWED_HOSTS=["*"], MIDDLEWARE=[])
application = get_wsgi_application()
