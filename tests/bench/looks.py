"""Addresses of every page and list, each with its costly variants: filters, orders, depths and sizes.

`python -m tests.bench.pages` measures their times, and tests/pages/test_speed.py counts their queries.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from http import HTTPStatus
from typing import Any, Final, Self
from urllib.parse import urlencode

from django.contrib.auth import get_user_model
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import URLPattern, resolve, reverse

from api.http.credentials import encode_api_key
from api.ingest.provisioning import create_credential
from api.models import Credential, Scope, Site
from api.pages.ranges import OF_DELIVERY
from api.pages.tables import TABLES
from api.pages.urls import urlpatterns
from tests.bench.seed_facts import Facts, find_facts
from tests.pages.catalogue import PAGES

MOST_QUERIES: Final = 12
# Pages that need more, by the beginning of their looks.
MORE_QUERIES: Final = {
    "goals-export": 21,  # a streamed file, each part of which needs some
    "person-export": 21,
    "goal ": 15,  # cards, curve, both sides of the rates, annotations and events of a goal; the range is kept
    "goals": 13,  # the range is kept
    "goal-breakdown": 16,  # figures of the rows, names to choose from, and the base of their rates
    "people": 14,  # persons with their devices, personas, traits and visits
    "person-segments": 16,  # a person with every fact that segments ask for
    "persona": 13,
    "search ": 14,  # one or two for each kind of rows, all of them by an index
    "why": 16,  # many people with every name that they have
    "why-suggest": 13,
    "delivery stage": 13,
}
Given = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Look:
    """An address. `what` begins with the page's name."""

    what: str
    address: str
    most_milliseconds: float = 200
    allowed: tuple[int, ...] = (200,)

    @property
    def most_queries(self) -> int:
        """Return the limit of queries: of the longest beginning that MORE_QUERIES names."""
        found = [name for name in MORE_QUERIES if self.what.startswith(name)]
        return MORE_QUERIES[max(found, key=len)] if found else MOST_QUERIES

    @property
    def is_api(self) -> bool:
        return self.address.startswith("/api/")


def looks(site: Site) -> list[Look]:
    """Return all addresses of a site that tests.bench.seed filled. About 20 queries."""
    facts = find_facts(site)
    return [*pages(site, facts), *tables(facts), *api(site, facts)]


def pages(site: Site, facts: Facts) -> Iterator[Look]:
    """Yield the site's own pages, each with its variants."""

    def look(page: str, /, *arguments: Any, what: str = "", most: float = 200, **query: Any) -> Look:
        address = reverse(f"pages:{page}", args=[site.sitecode, *arguments])
        return Look(f"{page} {what}".strip(), with_query(address, query), most)

    yield from catalogued(look)
    yield look("goals", what="by a tag that most have", tag=site.auto_tag)
    yield look("goals", what="by another tag", tag=facts.tag)
    yield look("goals", what="by two tags, all", tag=[site.auto_tag, facts.tag], match="all")
    yield look("goals", what="search, common", q="clicked")
    yield look("goals", what="search, rare", q="voucher in kiosk")
    yield look("goals", what="search, none", q="no goal is called so")
    for sort in ("name", "period", "periodRevenue", "conversions", "visitors", "revenue", "lastConversion"):
        yield look("goals", what=f"largest {sort}", sort=f"-{sort}")
    yield look("goals", what="by revenue in one currency", sort="-revenue.USD")
    yield look("goals", what="least conversions", sort="conversions")
    yield look("goals", what="newest", sort="-created")
    yield look("goals", what="archived", status="archived")
    yield look("goals", what="made by hand, all", made="hand", status="all")
    yield look("goals", what="of a type", type="PAGE_VIEWS")
    for seen in ("1", "30", "not-30", "never"):
        yield look("goals", what=f"seen {seen}", seen=seen)
    yield look("goals", what="deep", after="Opened", id=facts.usual.pk)
    yield look("goals-merge", goal=[facts.usual.pk, facts.largest.pk])
    yield look("goals-merge", what="of the largest union", goal=[facts.union.pk, facts.largest.pk])
    yield look("goals-merge", what="search", goal=facts.usual.pk, q="form")
    yield look("goals-changing", facts.change.pk)
    yield look("goals-export", what="of a tag", tag=facts.tag)
    for size, goal in (("largest", facts.largest), ("union", facts.union), ("usual", facts.usual)):
        yield look("goal", goal.pk, what=size)
        yield look("goal", goal.pk, what=f"{size}, by hour", step="hour", **span_of(facts, 7))
        yield look("goal", goal.pk, what=f"{size}, by week", step="week", **span_of(facts, 90))
        yield look("goal", goal.pk, what=f"{size}, month to date", range="month")
        yield look("goal-figures", goal.pk, what=size, range="28d")
        yield look("goal-breakdown", goal.pk, what=f"{size}, form")
        for by, path in (
            *(("property", "plan"), ("currency", ""), ("source", "")),
            *(("trait", "plan"), ("group", ""), ("persona", ""), ("goal", "")),
        ):
            yield look("goal-breakdown", goal.pk, what=f"{size}, {by}", by=by, path=path)
        yield look("goal-conversions", goal.pk, what=size)
        before = facts.conversion.occurred_at.isoformat()
        yield look("goal-conversions", goal.pk, what=f"{size}, deep", before=before, id=facts.conversion.pk)
        yield look("goal-edit", goal.pk, what=size)
        yield look("goal-delete", goal.pk, what=size)
        yield look("goal-annotate", goal.pk, what=size)
        group = reverse("pages:goal-group", args=[site.sitecode, goal.pk])
        yield Look(f"goal-group {size}", group, allowed=(200, 302))  # a redirect if the name holds no identifier
    yield look("goal-annotation", facts.usual.pk, facts.annotation.pk)
    yield from searches(look, facts)
    yield from people(look, facts)
    yield from events(look, facts)
    yield look("settings-source", facts.sources[1])
    yield look("settings-rule", facts.rule.pk)
    yield look("settings-alert", facts.alert.pk)
    yield look("settings-flag", facts.flag.pk)
    yield look("settings-custom-data-edit", facts.custom_data.pk)
    yield look("guide-first-event", facts.sources[1])
    yield look("guide-way", "curl")


def catalogued(look: Any) -> Iterator[Look]:
    """Yield the pages of the catalogue that need nothing but the site."""
    for pattern in urlpatterns:
        page = PAGES[str(pattern.name)]
        if page.look and not page.query and set(pattern.pattern.converters) == {"sitecode"}:
            yield look(pattern.name)


def searches(look: Any, facts: Facts) -> Iterator[Look]:
    """Yield searches for anything, as the palette sends them while a person types."""
    for what, text in (
        ("a page", "deliv"),
        ("an e-mail", "user-8@exa"),
        ("a name", "ada"),
        ("an identifier", "user-8"),
        ("a visitor", facts.conversion.visitor_code),
        ("a messageId", f"m-{facts.middle}"),
        ("a goal", facts.usual.name),
        ("many goals", "clicked"),
        ("a letter", "c"),
        ("nothing", "nobody-is-called-so"),
    ):
        yield look("search", what=what, most=100, q=text)


def people(look: Any, facts: Facts) -> Iterator[Look]:
    """Yield people, experiments over them, and what asks about them."""
    for page in ("experiment", "experiment-sentence", "experiment-edit", "experiment-decide"):
        yield look(page, facts.experiment.pk)
    user, code = {"id": "user-8"}, facts.conversion.visitor_code
    yield look("people", what="search, none", q="nobody-is-called-so")
    yield look("people", what="search, many", q="user-")
    yield look("people", what="search, e-mail", q="user-8@exa")
    yield look("people", what="deep", skip=100)
    yield look("people", what="by identifier", by="id", kind=1, after="user-5")
    yield look("people", what="of a persona", persona=facts.persona)
    yield look("people", what="of a segment", segment=facts.segment.pk)
    yield look("people", what="with a trait", trait="plan", value="pro")
    yield look("people-export", q="user-8")
    yield look("person", what="with everything", id="ada-king")
    yield look("person", what="usual", **user)
    yield look("person", what="a visitor", id=code)
    yield look("person-export", **user)
    yield look("person-erase", **user)
    yield look("erasure", facts.erasure.pk)
    yield look("why", what="answered", person="user-8", goal=facts.largest.pk)
    yield look("why", what="answered, of the union", person="ada-king", goal=facts.union.pk)
    yield look("why", what="many goals", person="user-8", goal="Clicked")
    yield look("why", what="many people", person="user-8@", goal=facts.largest.pk)
    yield look("why-suggest", what="people", most=100, person="user-8")
    yield look("why-suggest", what="goals", most=100, goal="Clicked")
    yield look("person", what="deep", id="ada-king", before=facts.newest.received_at.isoformat(), skip=1)
    yield look("personas", what="by size", sort="size")
    yield look("groups", what="by size", sort="size")
    yield look("persona", name=facts.persona)
    yield look("persona", what="deep", name=facts.persona, kind=1, after="user-5")
    yield look("persona-remove", name=facts.persona)
    yield look("segment", facts.segment.pk)
    yield look("segment-members", facts.segment.pk)
    yield look("segment-members", facts.segment.pk, what="search", q="user-8")
    yield look("segment-members", facts.segment.pk, what="deep", after=1)
    yield look("segment-history", facts.segment.pk)
    yield look("segment-edit", facts.segment.pk)
    yield look("person-segments", id="ada-king")
    yield look("groups", what="deep", after="company-3")
    yield look("group", id=facts.group)
    yield look("group-remove", id=facts.group)


def events(look: Any, facts: Facts) -> Iterator[Look]:
    newest, middle = facts.newest, facts.middle
    yield look("events", what="deep", before=middle)
    yield look("events-export", message_id=f"m-{middle}")
    for outcome in ("converted", "nothing", "deferred", "pending", "rejected", "failed", "goal_created"):
        yield look("events", what=f"outcome {outcome}", outcome=outcome)
    for reason in ("dropped_by_rule", "source_off", "worker_died", "goal_quota", "unreadable_body"):
        yield look("events", what=f"reason {reason}", reason=reason)
    yield look("events", what="of a source", source=facts.sources[1])
    yield look("events", what="of a silent source", source=facts.sources[3])
    yield look("events", what="of a type", type="group")
    yield look("events", what="of a type that does not come", type="alias")
    yield look("events", what="of a usual name", text="Clicked on Checkout")
    yield look("events", what="of a rare name", text="Opened voucher in kiosk")
    yield look("events", what="of a visitor", text=facts.conversion.visitor_code)
    yield look("events", what="of nobody", text="nobody-is-called-so", before=middle)
    yield look("events", what="by messageId", message_id=f"m-{middle}")
    since, until = newest.received_at - timedelta(days=4), newest.received_at - timedelta(days=3)
    yield look("events", what="of a day", since=f"{since:%Y-%m-%dT%H:%M}", until=f"{until:%Y-%m-%dT%H:%M}")
    yield look("changes", most=50)
    yield look("events-rows", what="idle", most=50, after=newest.pk)
    yield look("events-rows", what="100 new", most=50, after=newest.pk - 100)
    yield look("events-rows", what="filtered, idle", most=50, after=newest.pk, text="Clicked", source=facts.sources[1])
    yield look("events-rows", what="filtered, new", most=50, after=newest.pk - 100, text="Clicked")
    opened = ",".join(str(newest.pk - number) for number in range(100))
    yield look("events-rows", what="100 open", most=50, after=newest.pk, open=opened)
    yield look("event", newest.pk)
    yield look("event-body", newest.pk)
    for reason in sorted(set(facts.reasons) - {"invalid_json"}):
        yield look("events-again", what=reason, reason=reason)
    for preset in OF_DELIVERY.presets[:-1]:
        yield look("delivery", what=preset, range=preset)
    yield look("delivery", what="stage", range="7d", stage="failed")
    yield look("delivery", what="of a source", source=facts.sources[1])
    yield look("reconciliation", days=30)
    yield look("guide-custom", of="trait")


def tables(facts: Facts) -> Iterator[Look]:
    """Yield Django's lists of rows, with a search if they have one, and its page of a goal."""
    yield Look("tables", reverse("tables"))
    for model, model_admin in TABLES._registry.items():
        label = f"{model._meta.app_label}_{model._meta.model_name}"
        address = reverse(f"admin:{label}_changelist")
        yield Look(f"table {label}", address, allowed=(200, 403))
        yield Look(f"table {label}, page 3", with_query(address, {"p": 3}), allowed=(200, 302, 403))
        if model_admin.search_fields:
            text = "user-8" if label.startswith("cohorts") else "Clicked"
            yield Look(f"table {label}, search", with_query(address, {"q": text}), allowed=(200, 403))
    yield Look("table row of a goal", reverse("admin:goals_goal_change", args=[facts.usual.pk]))


def api(site: Site, facts: Facts) -> Iterator[Look]:
    """Yield the lists of the management API."""
    queries: list[Given] = [
        {},
        {"tag": facts.tag},
        {"search": "voucher in kiosk"},
        *({"ordering": order} for order in ("-created", "-lastConversion", "-conversions", "-revenue")),
        {"page": 50, "perPage": 200},
    ]
    for query in queries:
        given = {"site": site.sitecode, **query}
        yield Look(f"api goals {urlencode(query)}".strip(), with_query("/api/goals", given), allowed=(200, 400))
    yield Look("api goal", f"/api/goals/{facts.largest.pk}")
    yield Look("api goal, union", f"/api/goals/{facts.union.pk}")
    yield Look("api figures", f"/api/goals/{facts.largest.pk}/figures")
    yield Look("api breakdown", f"/api/goals/{facts.largest.pk}/breakdown?by=trait&name=plan")
    only = "onlyBy=persona&onlyValue=vip"
    yield Look("api breakdown, union, of some", f"/api/goals/{facts.union.pk}/breakdown?by=currency&{only}")
    yield Look("api conversions", f"/api/goals/{facts.largest.pk}/conversions?limit=200")
    yield Look("api conversions, union", f"/api/goals/{facts.union.pk}/conversions?limit=200")
    yield Look("api sources", "/api/sources")
    yield Look("api rules", f"/api/sites/{site.sitecode}/rules")
    yield Look("api conversions of a visitor", f"/api/visitors/{facts.conversion.visitor_code}/conversions")


def span_of(facts: Facts, days: int) -> Given:
    last = facts.newest.received_at.date()
    return {"from": last - timedelta(days=days - 1), "to": last}


def with_query(address: str, query: Given) -> str:
    return f"{address}?{urlencode(query, doseq=True)}" if query else address


@dataclass(frozen=True, slots=True)
class Viewer:
    """Django's test client with a session of the administrator and a credential of the management API."""

    client: Client
    headers: dict[str, str]

    @classmethod
    def of(cls, site: Site) -> Self:
        """Create a credential for the client; `leave` revokes it."""
        new = create_credential([site], name="Looks", scopes=Scope.values)
        client = Client(raise_request_exception=False, headers={"Host": "127.0.0.1"})
        client.force_login(get_user_model().objects.filter(is_superuser=True)[0])
        return cls(client, {"Authorization": f"Basic {encode_api_key(new.credential.client_id, new.secret)}"})

    def headers_for(self, look: Look) -> dict[str, str]:
        """Return the headers of an HTTP request: the session's cookie or the authorization."""
        return self.headers if look.is_api else {"Cookie": f"sessionid={self.client.cookies['sessionid'].value}"}

    def get(self, look: Look) -> tuple[int, list[str]]:
        """Return the status of an answer and its queries, without the statements that begin and end transactions."""
        with CaptureQueriesContext(connection) as captured:
            response: Any = self.client.get(look.address, headers=self.headers if look.is_api else {})
            if response.streaming:
                deque(response.streaming_content, maxlen=0)  # it queries while it is sent
        queries = [query["sql"] for query in captured.captured_queries]
        return response.status_code, [sql for sql in queries if sql not in {"BEGIN", "COMMIT"}]

    def unnamed(self, site: Site, named: Sequence[Look]) -> list[str]:
        """Return the names of pages of a site that answer GET and are missing in `named`."""
        seen = {resolve(look.address.partition("?")[0]).view_name for look in named}
        return [
            str(pattern.name)
            for pattern in urlpatterns
            if f"pages:{pattern.name}" not in seen
            and self.client.get(address_of(pattern, site)).status_code != HTTPStatus.METHOD_NOT_ALLOWED
        ]

    def leave(self) -> None:
        Credential.objects.filter(name="Looks").delete()


def address_of(pattern: URLPattern, site: Site) -> str:
    """Return a page's address with arbitrary ids, because a wrong method is refused before the ids are read."""
    converters = pattern.pattern.converters
    arguments = {name: site.sitecode if name == "sitecode" else 1 for name in converters}
    return reverse(f"pages:{pattern.name}", kwargs=arguments)
