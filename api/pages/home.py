"""The home page of a site."""

from django.http import HttpRequest, HttpResponseBase

from api.models import Site
from api.pages.access import show, site_page


@site_page()
def home(request: HttpRequest, site: Site) -> HttpResponseBase:
    return show(request, "pages/home.html", title="Home", name=site.name)
