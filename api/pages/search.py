"""Search for anything of a site: its pages, settings and actions by their words, its rows by name or id."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from django.db.models import CharField, F, QuerySet, Value
from django.db.models.functions import Coalesce, NullIf
from django.http import HttpRequest, HttpResponseBase
from django.shortcuts import render

import names
from api.events.types import ALL_TYPES
from api.insight.person_rows import describe_person
from api.models import Message, Role, Site
from api.models.message_rows import find_by_keys
from api.pages.access import list_sites, may, page_of, show, site_page
from api.pages.frame import MENU
from api.pages.query_form import read_id
from api.pages.settings.site import SiteForm
from cohorts import search as people_search
from cohorts.models import Group, Identity, Persona
from cohorts.segment_tables import Segment
from goals.experiments.models import Experiment
from goals.models import SEARCH_KEYS, Goal
from goals.shown_names import show_goal_name

MOST: Final = 6  # results of a kind


@dataclass(frozen=True, slots=True)
class Result:
    """Something found, and where it is."""

    title: str
    link: str
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Place:
    """A page or an action that is found by its title and further words."""

    title: str
    page: str
    words: str = ""
    role: Role = Role.VIEWER


PAGES: Final = (
    *(Place(title, page) for group in MENU for title, page in group),
    Place("Reconciliation", "reconciliation", "accounted missing duplicates delivery"),
    Place("Failed events", "events-failed", "rejected errors retry delivery"),
    Place("Tidy up goals", "goals-cleanup", "duplicates merge suggestions clean"),
    Place("Tags", "tags", "labels"),
    Place("Erased people", "erasures", "erasure receipts gdpr privacy delete"),
    Place("Site settings", "settings", "currency limit retention template"),
    Place("Keys", "settings-keys", "which write key credential api token secret revoke"),
    Place("Sources and write keys", "settings-sources", "keys senders budget"),
    Place("Rules", "settings-rules", "ignore rename group redact hash"),
    Place("Custom data", "settings-custom-data", "sdk"),
    Place("Feature flags", "settings-flags", "environments experiments variations"),
    Place("Remote data", "settings-remote-data", "keys map"),
    Place("Alerts", "settings-alerts", "notifications email webhook", Role.OWNER),
    Place("Credentials", "settings-credentials", "api key client secret", Role.OWNER),
    Place("Tokens", "settings-tokens", "api management keys", Role.OWNER),
    Place("Members", "settings-members", "users invite roles people access", Role.OWNER),
    Place("Audit log", "settings-changes", "changes history who", Role.OWNER),
)
ACTIONS: Final = (
    Place("New goal", "goal-new", "create add", Role.EDITOR),
    Place("New segment", "segment-new", "create add audience", Role.EDITOR),
    Place("New rule", "settings-rule-new", "create add", Role.OWNER),
    Place("New alert", "settings-alert-new", "create add notification", Role.OWNER),
    Place("New custom data", "settings-custom-data-new", "create add", Role.EDITOR),
    Place("Export goals as CSV", "goals-export", "download"),
)


@site_page()
def search(request: HttpRequest, site: Site) -> HttpResponseBase:
    """Show what a text finds; htmx gets the results alone. Each kind of row is looked up by an index, six at most."""
    text = request.GET.get("q", "").strip()[: people_search.TEXT_LENGTH]
    groups = [(label, found) for label, found in find(request, site, text) if found]
    if request.headers.get("HX-Request") == "true":
        return render(request, "pages/search/results.html", {"is_palette": True, "groups": groups, "text": text})
    return show(request, "pages/search/search.html", title="Search", groups=groups, text=text)


def find(request: HttpRequest, site: Site, text: str) -> Iterator[tuple[str, Sequence[Result]]]:
    """Yield the kinds of results with their results, some empty; without a text pages and actions alone."""
    sites = [each for each in list_sites(request) if each.pk != site.pk]
    pages = [place for place in PAGES if may(request, place.role) and matches(text, place.title, place.words)]
    actions = [place for place in ACTIONS if may(request, place.role) and matches(text, place.title, place.words)]
    yield "Pages", [Result(place.title, page_of(site, place.page)) for place in pages][: MOST if text else len(pages)]
    yield "Actions", [Result(place.title, page_of(site, place.page)) for place in actions][:MOST]
    if not text:
        return
    yield "Goals", find_goals(site, text)
    yield "People", find_people(site, text)
    yield from find_audiences(site, text)
    yield "Events", find_events(site, text)
    yield "Settings", find_settings(site, text)
    switches = [each for each in sites if matches(text, f"Switch to {each.name}", each.sitecode)]
    yield "Sites", [Result(f"Switch to {each.name}", page_of(each, "home"), each.sitecode) for each in switches[:MOST]]


def matches(text: str, *searched: str) -> bool:
    """Return True if every word of a text begins a word that is searched. Pure."""
    known = " ".join(searched).casefold().replace("(", " ").split()
    return all(any(word.startswith(part) for word in known) for part in text.casefold().split())


def find_goals(site: Site, text: str) -> list[Result]:
    goals = Goal.objects.filter(site=site, deleted_at=None, counts_for=None)
    found = names.search_folded(goals, text, *SEARCH_KEYS).order_by("archived_at", "sort_key")
    return [
        Result(
            show_goal_name(goal, template=site.goal_name_template).text,
            page_of(site, "goal", goal.pk),
            "archived" if goal.archived_at else "",
        )
        for goal in found[:MOST]
    ]


def find_people(site: Site, text: str) -> list[Result]:
    """Return persons by e-mail, name, username or id, named by the traits of the identity found. Five queries."""
    keys = people_search.find_keys(site.pk, text, exact_wins=False, limit=MOST)
    named = Identity.objects.filter(site=site, kind__in={kind for kind, _ in keys}, value__in=[id_ for _, id_ in keys])
    traits = {name: F(f"registers__traits__{name}__3") for name in sorted(people_search.FOUND_BY)}
    read: Iterable[Any] = named.values("kind", "value", **traits) if keys else ()
    found = {(row["kind"], row["value"]): row for row in read}
    rows = [describe_person(*key, {name: found[key][name] for name in traits}) for key in keys if key in found]
    results = {row.value: Result(row.label, page_of(site, "person", id=row.value), row.detail) for row in rows}
    return list(results.values())  # one id may be of several kinds, which have one page


def find_audiences(site: Site, text: str) -> Iterator[tuple[str, Sequence[Result]]]:
    """Yield experiments, personas, segments by a part of the name, groups by the beginning of their id. One query."""

    def rows(kind: str, found: QuerySet[Any], field: str, key: str) -> QuerySet[Any]:
        columns = (Value(kind, output_field=CharField()), field, key)
        return found.order_by(field).values_list(*columns)[:MOST]

    personas = names.search(Persona.objects.filter(site=site), text, "name")
    segments = names.search(Segment.objects.filter(site=site), text, "name")
    shown = Coalesce(NullIf("name", Value("")), NullIf("event_name", Value("")), "key")
    experiments = names.search(
        Experiment.objects.filter(site=site).annotate(shown=shown), text, "name", "event_name", "key"
    )
    groups = Group.objects.filter(site=site, group_id__gte=text, group_id__lt=text + people_search.LAST_CHARACTER)
    found = list(
        rows("persona", personas, "name", "pk").union(
            rows("segment", segments, "name", "pk"),
            rows("group", groups, "group_id", "pk"),
            rows("experiment", experiments, "shown", "pk"),
            all=True,
        )
    )

    def results(kind: str, link: Any) -> list[Result]:
        return [Result(name, link(name, id_)) for this, name, id_ in found if this == kind]

    yield "Experiments", results("experiment", lambda _, id_: page_of(site, "experiment", id_))
    yield "Personas", results("persona", lambda name, _: page_of(site, "persona", name=name))
    yield "Segments", results("segment", lambda _, id_: page_of(site, "segment", id_))
    yield "Groups", results("group", lambda name, _: page_of(site, "group", id=name))


def find_events(site: Site, text: str) -> list[Result]:
    """Return the events with this messageId or number. Two queries at most, each by a key."""
    keyed = find_by_keys(site.pk, [(type_, text) for type_ in ALL_TYPES])
    found = {id_: (text, type_) for (type_, _), id_ in keyed.items()}
    rejected = Message.objects.filter(site=site, status=Message.Status.REJECTED, message_id=text).order_by("-id")
    numbered = Message.objects.filter(site=site, pk=read_id(text) or 0)
    for id_, type_ in rejected.values_list("pk", "type")[:MOST].union(numbered.values_list("pk", "type")):
        found.setdefault(id_, (f"Event {id_}", type_))
    return [Result(title, page_of(site, "event", id_), type_) for id_, (title, type_) in found.items()]


def find_settings(site: Site, text: str) -> list[Result]:
    """Return the settings of a site whose label or explanation has the words."""
    form = SiteForm(instance=site)
    fields: Iterable[Any] = (form[name] for name in form.fields)
    found = [field for field in fields if matches(text, field.label, str(field.help_text))]
    return [Result(field.label, f"{page_of(site, 'settings')}#{field.id_for_label}") for field in found[:MOST]]
