"""Set-up guide of a site: code to paste for this host and site, and a check for the first event.

The code is in api/guide/*.txt; tests run what this machine can run, as its page prints it.
"""

import json
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

from django.conf import settings
from django.db import transaction
from django.http import Http404, HttpRequest, HttpResponseBase, JsonResponse
from django.shortcuts import redirect
from django.utils import timezone
from django.views.decorators.http import require_POST

from api.events.types import TYPES
from api.http.credentials import encode_api_key
from api.http.public_address import root_for
from api.ingest.provisioning import add_write_key, create_credential, create_source, live_write_keys
from api.ingest.source_counts import SourceCounts, load_source_counts
from api.insight.key_usage import find_last_event
from api.insight.refused_requests import find_refused_requests
from api.models import Credential, Role, Scope, Site, Source
from api.models.audit import write_audit
from api.pages.access import get_in_site, page_of, show, site_page
from api.pages.query_form import read_id
from cohorts.remote_data import COHORTS, IDENTIFY

CODE: Final = Path(settings.BASE_DIR) / "api" / "guide"
Kind = Source.Kind


@dataclass(frozen=True, slots=True)
class GuidePage:
    """One page of the guide."""

    name: str  # in its address, and of its template
    title: str
    description: str
    kind: str = ""  # of its source, whose first event the page waits for
    codes: tuple[str, ...] = ()


INTEGRATIONS: Final = (
    GuidePage("function", "Segment: a Destination Function", "Sends what Segment's own Kameleoon destination sends.",
        Kind.DESTINATION, ("function",)),
    GuidePage("webhook", "Segment or RudderStack: a webhook", "Raw events, one or an array of them.", Kind.DESTINATION),
    GuidePage("node", "SDKs in Node.js", "Segment's and RudderStack's libraries with this host.", Kind.SERVER,
        ("node", "rudder_node", "visitor_node")),
    GuidePage("python", "SDKs in Python", "Segment's and RudderStack's libraries with this host.", Kind.SERVER,
        ("python", "rudder_python")),
    GuidePage("browser", "A web page", "Segment's and RudderStack's libraries from npm.", Kind.BROWSER,
        ("browser", "rudder_browser", "visitor_code")),
    GuidePage("apps", "Apps: iOS, Android, C#", "Segment's libraries with this host and a plugin for the visitor code.",
        Kind.BROWSER, ("swift", "kotlin", "csharp")),
    GuidePage("curl", "Anything that speaks HTTP", "One request, with curl.", Kind.SERVER,
        ("curl", "curl_batch", "curl_batch_answer")),
    GuidePage("altis", "Altis (WordPress)", "A filter that sends Altis Analytics here.", Kind.ALTIS, ("altis",)),
    GuidePage("ibexa", "Ibexa Connect", "The HTTP module in place of Segment's.", Kind.SERVER),
    GuidePage("pages", "Page views as track events", "Two rules, as in Bucket.", "", ("page_to_track",)),
    GuidePage("csp", "Content-Security-Policy", "Lines for pages that send or read, as a header and a meta tag.", "",
        ("csp_header", "csp_meta")),
    GuidePage("visitor", "The visitor code", "Count conversions for the visitors of an experiment.", "",
        ("visitor_code",)),
    GuidePage("read", "Remote data", "Personas, traits and groups for SDKs, pages and curl.", "",
        ("kameleoon", "read_visitor", "read_curl")),
    GuidePage("migration", "From the classic destination", "Three steps, without a gap.", ""),
)  # fmt: skip

REFERENCE: Final = (
    GuidePage("count", "How events count", "Goals, visitors, times, money, limits, and what is rejected."),
    GuidePage("experiments", "How experiments are judged", "What intervals mean, and when nothing is claimed."),
    GuidePage("sources", "Sources and write keys", "Keys, budgets, and the same by the API.", codes=("sources",)),
    GuidePage("rules", "Rules", "Actions, fields, patterns and examples.", codes=("rule_group", "rule_examples")),
    GuidePage("hooks", "Hooks", "A Python module that changes events.", codes=("hooks",)),
    GuidePage("alerts", "Alerts", "Conditions, and how to check the signature of a webhook.", codes=("signature",)),
    GuidePage("access", "Roles and keys", "What members, credentials and tokens may do."),
    GuidePage("answers", "Answers and errors", "Each code that senders and readers may get, and what to do."),
)  # fmt: skip


# Answers to the question where events come from: (answer, pages of the guide, each with its label).
ANSWERS: Final = (
    ("Segment", (("function", "A destination function"), ("webhook", "A webhook"))),
    ("RudderStack", (("webhook", "A webhook"), ("node", "Node.js"), ("browser", "JavaScript"))),
    ("Your own server", (("node", "Node.js"), ("python", "Python"), ("curl", "Any language, over HTTP"))),
    ("A website", (("browser", "JavaScript in the page"),)),
    ("An app", (("apps", "iOS, Android or C#"),)),
    ("WordPress", (("altis", "Altis Analytics"), ("browser", "JavaScript in the page"))),
    ("A Kameleoon SDK", (("read", "Its network domain"), ("visitor", "The visitor code"))),
    ("Ibexa Connect", (("ibexa", "Its HTTP module"),)),
)


# Values of custom data: label, type, key of remote data, and path in the document.
CUSTOM_DATA: Final = {
    "personas": ("Personas", "list of strings", f"{COHORTS}<id>", "names with the value true"),
    "trait": ("A trait", "string", f"{IDENTIFY}<id>", "traits.{trait}"),
    "group": ("The group", "string", f"{IDENTIFY}<id>", "groupId"),
}


@dataclass(frozen=True, slots=True)
class Addresses:
    """Addresses of this installation for senders and readers."""

    events: str
    data: str
    api: str
    domain: str  # the `network_domain` of Kameleoon's SDKs; empty without one


def addresses(request: HttpRequest) -> Addresses:
    """Derive them from the public address, or from the host of this request if none is set.

    Behind docker/Caddyfile people use `api.`, senders `integrations.` and readers `data.` of one domain.
    """
    here = root_for(request)
    scheme, _, host = here.partition("://")
    subdomain, _, domain = host.partition(".")
    if subdomain != "api" or not domain:
        return Addresses(here, here, here, "")
    return Addresses(f"{scheme}://integrations.{domain}", f"{scheme}://data.{domain}", here, domain)


@cache
def read_code(name: str) -> str:
    """Return stored code, with example.com in place of a host."""
    return (CODE / f"{name}.txt").read_text()


def code_for(name: str, site: Site, places: Addresses, write_key: str) -> str:
    """Return code for this host and site, ready to paste."""
    code = read_code(name).replace("https://integrations.example.com", places.events)
    code = code.replace("https://data.example.com", places.data)
    code = code.replace("https://api.example.com", places.api)
    code = code.replace(f"{places.data} {places.data}", places.data)  # a policy names a host once
    code = code.replace("integrations.example.com", places.events.partition("://")[2])  # without a scheme
    code = code.replace("example.com", places.domain or "example.com").replace("SITECODE", site.sitecode)
    return re.sub(r"\bWRITE_KEY\b", write_key or "WRITE_KEY", code)


@site_page()
def list_guide_pages(request: HttpRequest, site: Site) -> HttpResponseBase:
    return show(
        request,
        "pages/guide/index.html",
        title="Set-up guide",
        answers=ANSWERS,
        integrations=INTEGRATIONS,
        reference=REFERENCE,
        places=addresses(request),
        refused=find_refused_requests(site, now=timezone.now()),
    )


@site_page()
def show_custom_data(request: HttpRequest, site: Site) -> HttpResponseBase:
    """Show how custom data is read: personas, one trait or the group of a visitor (promise K-91)."""
    of = request.GET.get("of", "")
    of, (_, type_, key, path) = (of, CUSTOM_DATA[of]) if of in CUSTOM_DATA else next(iter(CUSTOM_DATA.items()))
    trait = request.GET.get("trait", "").strip()[:255] or "plan"
    places, literal = addresses(request), json.dumps(trait)
    snippet, call = (
        code_for(name, site, places, "").replace('"TRAIT"', literal) for name in (f"custom_{of}", f"custom_{of}_sdk")
    )
    return show(
        request,
        "pages/guide/custom.html",
        title="Custom data",
        name=request.GET.get("name", "").strip()[:100] or "Segment",
        kinds=[(kind, label) for kind, (label, *_) in CUSTOM_DATA.items()],
        of=of,
        trait=trait,
        type=type_,
        key=key,
        path=path.format(trait=trait),
        is_private=of == "trait" and trait not in site.public_traits,
        snippet=snippet,
        call=call,
    )


@site_page()
def show_guide_page(request: HttpRequest, site: Site, way: str) -> HttpResponseBase:
    """Show a page of the guide with the code for one of the site's sources."""
    return show_way(request, site, find_way(way))


@site_page(Role.OWNER)
@require_POST
def make_key(request: HttpRequest, site: Site, way: str) -> HttpResponseBase:
    """Create the key that an integration needs, and show its page with the key in its code.

    That is a write key of a source of its kind, or an API key of a new credential that only sends, shown once.
    """
    chosen = find_way(way)
    if not chosen.kind:
        raise Http404
    name = request.POST.get("name", "").strip()[:100] or chosen.title
    with transaction.atomic():
        if chosen.kind != Kind.DESTINATION:
            Site.objects.select_for_update().get(pk=site.pk)  # a second click finds the key of the first
            source = make_source_key(request, site, chosen.kind, name)
            return redirect(page_of(site, "guide-way", way, source=str(source.pk)))
        new = create_credential([site], name=name, scopes=[Scope.SEND])
        after = {"name": name, "scopes": new.credential.scopes}
        write_audit(request.user, site, f"Created the credential {new.credential.client_id}", None, after)
    return show_way(request, site, chosen, api_key=encode_api_key(new.credential.client_id, new.secret))


def make_source_key(request: HttpRequest, site: Site, kind: str, name: str) -> Source:
    """Add a write key to the source that the page shows, if it lacks one, otherwise create a source. Audits it."""
    sources = site.sources.filter(kind=kind).order_by("pk")
    sent = request.POST.get("source")
    shown = sources.filter(pk=read_id(sent) or 0).first() if sent else sources.first()  # the first click's
    if shown is not None:
        if not live_key(shown):
            added = add_write_key(shown)
            after = {"key begins with": added.key[:4]}
            write_audit(request.user, site, f"Added a write key to the source {shown.pk}", None, after)
        return shown
    source = create_source(site, name=name, kind=kind)
    write_audit(request.user, site, f"Created the source {source.pk}", None, {"name": source.name, "kind": source.kind})
    return source


def find_way(name: str) -> GuidePage:
    """Return a page of the guide by its name. Raises Http404."""
    chosen = next((row for row in (*INTEGRATIONS, *REFERENCE) if row.name == name), None)
    if chosen is None:
        raise Http404
    return chosen


def show_way(request: HttpRequest, site: Site, chosen: GuidePage, *, api_key: str = "") -> HttpResponseBase:
    """Show a page of the guide. Six queries of its own at most."""
    sources = list(site.sources.filter(kind=chosen.kind).order_by("pk")) if chosen.kind else []
    source_id = read_id(request.GET.get("source"))
    source = next((row for row in sources if row.pk == source_id), sources[0] if sources else None)
    places = addresses(request)
    key = live_key(source) if source else ""
    takes_api_key = chosen.kind == Kind.DESTINATION
    totals = totals_of(source) if source else SourceCounts()
    test = code_for("destination_test" if takes_api_key else "curl", site, places, key) if chosen.kind else ""
    return show(
        request,
        f"pages/guide/{chosen.name}.html",
        title=chosen.title,
        way=chosen,
        event_types=TYPES,
        kind=Kind(chosen.kind).label if chosen.kind else "",
        sources=sources,
        source=source,
        write_key=key,
        takes_api_key=takes_api_key,
        api_key=api_key,
        credential=find_sender(site) if takes_api_key and not api_key else None,
        test=test.replace("API_KEY", api_key or "API_KEY"),
        totals=totals,
        has_event=totals.received > totals.rejected,
        last_event=find_last_event(source) if source else None,
        is_integration=chosen in INTEGRATIONS,
        refused=find_refused_requests(site, now=timezone.now()) if chosen in INTEGRATIONS else [],
        places=places,
        code={name: code_for(name, site, places, key) for name in chosen.codes},
    )


def find_sender(site: Site) -> Credential | None:
    """Return the newest credential that may send. One query."""
    return site.credentials.filter(revoked_at=None, scopes__contains=[Scope.SEND]).order_by("-pk").first()


@site_page()
def show_first_event(_: HttpRequest, site: Site, source_id: int) -> HttpResponseBase:
    """Answer `{"received": …, "taken": …, "refused": […], "event": …}`, the events of a source. Four queries.

    `refused` has a sentence for each reason why keys were refused in the last day, of any sender. `event` is the
    address of the source's last event with its trace, empty before it.
    """
    source = get_in_site(Source, site, source_id)
    totals = totals_of(source)
    refused = [row.sentence for row in find_refused_requests(site, now=timezone.now())]
    last = find_last_event(source) if totals.received else None
    counts = {"received": totals.received, "taken": totals.received - totals.rejected}
    return JsonResponse({**counts, "refused": refused, "event": page_of(site, "event", last) if last else ""})


def totals_of(source: Source) -> SourceCounts:
    """Return the stored totals of a source. One query."""
    return load_source_counts(source.site_id, [source.pk]).get(source.pk, SourceCounts())


def live_key(source: Source) -> str:
    """Return the newest valid write key of a source; empty without one. One query."""
    key = live_write_keys(now=timezone.now()).filter(source=source).order_by("-pk").first()
    return key.key if key else ""
