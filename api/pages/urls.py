"""The pages of a site, below /admin/s/<sitecode>/."""

from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import path

from api.pages import events, home, people, personas
from api.pages.access import current_site

app_name = "pages"
urlpatterns = [
    path("<slug:sitecode>/", home.home, name="home"),
    path("<slug:sitecode>/people/", people.find_people, name="people"),
    path("<slug:sitecode>/people/person/", people.show_person, name="person"),
    path("<slug:sitecode>/people/person/export/", people.export_person, name="person-export"),
    path("<slug:sitecode>/personas/", personas.list_personas, name="personas"),
    path("<slug:sitecode>/personas/persona/", personas.show_persona, name="persona"),
    path("<slug:sitecode>/groups/", personas.list_groups, name="groups"),
    path("<slug:sitecode>/groups/group/", personas.show_group, name="group"),
    path("<slug:sitecode>/events/", events.list_events, name="events"),
    path("<slug:sitecode>/events/rows/", events.list_new_events, name="events-rows"),
    path("<slug:sitecode>/events/<int:number>/", events.show_event, name="event"),
]
NAMES = frozenset(pattern.name for pattern in urlpatterns)


def go_home(request: HttpRequest) -> HttpResponse:
    """`/admin/`: to the home of the site last looked at; to the tables where there is none."""
    site = current_site(request) if request.user.is_authenticated else None
    return redirect("pages:home", site.sitecode) if site else redirect("tables")
