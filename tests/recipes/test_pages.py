"""The recipe "A page of a site" of CONTRIBUTING.md."""

import shutil

from django.conf import settings

from tests.support.throwaway_copy import Copy
from tests.world import World, owner_of

VIEW = '''"""Notes of a site."""

from django.http import HttpRequest, HttpResponseBase

from api.models import Site
from api.pages.access import show, site_page


@site_page()
def show_notes(request: HttpRequest, site: Site) -> HttpResponseBase:
    """Show the notes."""
    return show(request, "pages/notes.html", title="Notes")
'''
TEMPLATE = '{% extends "pages/base.html" %}{% block page %}<p>Notes of {{ site.name }}</p>{% endblock %}'
PATH = """
    path("<slug:sitecode>/notes/", notes.show_notes, name="notes"),"""
ENTRY = """
    "notes": Page(),"""
LOOK = """
from django.contrib.auth.models import User
from django.test import Client
from django.test.utils import setup_test_environment
from api.models import Site
from api.pages.urls import urlpatterns
from tests.pages.catalogue import PAGES, Place

setup_test_environment()
member, stranger = Client(), Client()
member.force_login(User.objects.get(username="ada"))
stranger.force_login(User.objects.create(username="stranger"))
address = Place(Site.objects.get().sitecode, {"goal_id": 0}).address("notes")
print({pattern.name for pattern in urlpatterns} == set(PAGES))
print("Notes of Shop" in member.get(address).content.decode(), stranger.get(address).status_code)
"""


def test_recipe__of_a_page__is_shown_to_members_and_in_the_catalogue(world: World, copy: Copy) -> None:
    owner_of(world.site)
    (copy.folder / "tests" / "pages").mkdir(parents=True)
    for path in ("__init__.py", "world.py", "pages/__init__.py", "pages/catalogue.py", "pages/forms.py"):
        shutil.copy(settings.BASE_DIR / "tests" / path, copy.folder / "tests" / path)
    (copy.folder / "api/pages/notes.py").write_text(VIEW)
    (copy.folder / "api/templates/pages/notes.html").write_text(TEMPLATE)
    copy.insert("api/pages/urls.py", " notes,", after="from api.pages import")
    copy.insert("api/pages/urls.py", PATH, after="urlpatterns = [")
    copy.insert("tests/pages/catalogue.py", ENTRY, after="PAGES: Final[dict[str, Page]] = {")

    assert copy.run(LOOK).split() == ["True", "True", "404"]
    assert copy.files == {"api/pages/urls.py", "tests/pages/catalogue.py"}  # and the two new files
