"""The set-up guide of a site: what to paste where, for this host and site, and whether its first event has come.

The code is in api/guide/*.txt; tests run what this machine can run, as its page prints it.
"""

import json
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

from django.conf import settings
from django.http import Http404, HttpRequest, HttpResponseBase, JsonResponse
from django.utils import timezone

from api.ingest.source_counts import SourceCounts, load_source_counts
from api.insight.refused import find_refused
from api.models import Site, Source
from api.pages.access import show, site_page

CODE: Final = Path(settings.BASE_DIR) / "api" / "guide"
Kind = Source.Kind


@dataclass(frozen=True, slots=True)
class Way:
    """One page of the guide."""

    name: str  # of its address and its template
    title: str
    what: str
    kind: str = ""  # of the source through which it sends; then its first event is waited for
    codes: tuple[str, ...] = ()


WAYS: Final = (
    Way("function", "Segment: a Destination Function", "Sends what Segment's own Kameleoon destination sends.",
        Kind.DESTINATION, ("function",)),
    Way("webhook", "Segment or RudderStack: a webhook", "Raw events, one or an array of them.", Kind.DESTINATION),
    Way("node", "SDKs in Node.js", "Segment's and RudderStack's libraries with our host.", Kind.SERVER,
        ("node", "rudder_node", "visitor_node")),
    Way("python", "SDKs in Python", "Segment's and RudderStack's libraries with our host.", Kind.SERVER,
        ("python", "rudder_python")),
    Way("browser", "A web page", "Segment's and RudderStack's libraries from npm.", Kind.BROWSER,
        ("browser", "rudder_browser", "visitor_code")),
    Way("apps", "Apps: iOS, Android, C#", "Segment's libraries with our host and a plugin for the visitor code.",
        Kind.BROWSER, ("swift", "kotlin", "csharp")),
    Way("curl", "Anything that speaks HTTP", "One request, with curl.", Kind.SERVER,
        ("curl", "curl_batch", "curl_batch_answer")),
    Way("altis", "Altis (WordPress)", "A filter that sends Altis Analytics here.", Kind.ALTIS, ("altis",)),
    Way("ibexa", "Ibexa Connect", "The HTTP module in place of Segment's.", Kind.SERVER),
    Way("pages", "Page views as track events", "Two rules, as Bucket has it.", "", ("page_to_track",)),
    Way("csp", "Content-Security-Policy", "The lines for pages that send or read; as a header and a meta tag.", "",
        ("csp_header", "csp_meta")),
    Way("visitor", "The visitor code", "So that a conversion counts for the visitor of an experiment.", "",
        ("visitor_code",)),
    Way("read", "Remote data", "Personas, traits and groups, read by SDKs, pages and curl.", "",
        ("kameleoon", "read_visitor", "read_curl")),
    Way("migration", "From the classic destination", "Three steps, without a gap.", ""),
)  # fmt: skip

REFERENCE: Final = (
    Way("count", "How events count", "Goals, visitors, times, money, limits, and what is rejected."),
    Way("sources", "Sources and write keys", "Keys, budgets, and the same by the API.", codes=("sources",)),
    Way("rules", "Rules", "Actions, fields, patterns and examples.", codes=("rule_group", "rule_examples")),
    Way("hooks", "Hooks", "A Python module that changes events.", codes=("hooks",)),
    Way("alerts", "Alerts", "Conditions, and how to check the signature of a webhook.", codes=("signature",)),
    Way("access", "Roles and keys", "What members, credentials and tokens may do."),
    Way("answers", "Answers and errors", "Each code that senders and readers may get, and what to do."),
)  # fmt: skip


# What a custom data may hold: its label, its type, its key and the path in what is found there.
CUSTOM_DATA: Final = {
    "personas": ("Personas", "list of strings", "COHORTS_<id>", "names whose value is true"),
    "trait": ("A trait", "string", "IDENTIFY_<id>", "traits.{trait}"),
    "group": ("The group", "string", "IDENTIFY_<id>", "groupId"),
}


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where this installation answers senders and readers."""

    events: str
    data: str
    api: str
    domain: str  # what Kameleoon's SDKs call network_domain; empty where there is none


def addresses(request: HttpRequest) -> Addresses:
    """Derive them from the public address, or from the host of this request if none is set.

    Behind docker/Caddyfile people use `api.`, senders `integrations.` and readers `data.` of one domain.
    """
    here = settings.PUBLIC_URL or f"{request.scheme}://{request.get_host()}"
    scheme, _, host = here.partition("://")
    subdomain, _, domain = host.partition(".")
    if subdomain != "api" or not domain:
        return Addresses(here, here, here, "")
    return Addresses(f"{scheme}://integrations.{domain}", f"{scheme}://data.{domain}", here, domain)


@cache
def read_code(name: str) -> str:
    """A piece of code as it is kept, with example.com in place of a host."""
    return (CODE / f"{name}.txt").read_text()


def code_for(name: str, site: Site, places: Addresses, write_key: str) -> str:
    """A piece of code for this host and site, to be pasted as it is."""
    code = read_code(name).replace("https://integrations.example.com", places.events)
    code = code.replace("https://data.example.com", places.data)
    code = code.replace("https://api.example.com", places.api)
    code = code.replace(f"{places.data} {places.data}", places.data)  # a policy names a host once
    code = code.replace("integrations.example.com", places.events.partition("://")[2])  # where no scheme is wanted
    code = code.replace("example.com", places.domain or "example.com").replace("SITECODE", site.sitecode)
    return re.sub(r"\bWRITE_KEY\b", write_key or "WRITE_KEY", code)


@site_page()
def list_ways(request: HttpRequest, site: Site) -> HttpResponseBase:
    return show(
        request,
        "pages/guide/index.html",
        title="Set-up guide",
        ways=WAYS,
        reference=REFERENCE,
        places=addresses(request),
        refused=find_refused(site, now=timezone.now()),
    )


@site_page()
def show_custom_data(request: HttpRequest, site: Site) -> HttpResponseBase:
    """How a custom data is read: personas, one trait or the group of a visitor (promise K-91)."""
    of = request.GET.get("of", "")
    of, (_, type_, key, path) = (of, CUSTOM_DATA[of]) if of in CUSTOM_DATA else next(iter(CUSTOM_DATA.items()))
    trait = request.GET.get("trait", "").strip().replace("\0", "")[:255] or "plan"
    places, literal = addresses(request), json.dumps(trait)
    snippet, call = (
        code_for(name, site, places, "").replace('"TRAIT"', literal) for name in (f"custom_{of}", f"custom_{of}_sdk")
    )
    return show(
        request,
        "pages/guide/custom.html",
        title="Custom data",
        name=request.GET.get("name", "").strip()[:100] or "Segment",
        kinds=[(each, label) for each, (label, *_) in CUSTOM_DATA.items()],
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
def show_way(request: HttpRequest, site: Site, way: str) -> HttpResponseBase:
    """A page of the guide, with the code for one of the site's sources. At most four queries of its own."""
    chosen = next((each for each in (*WAYS, *REFERENCE) if each.name == way), None)
    if chosen is None:
        raise Http404
    sources = list(site.sources.filter(kind=chosen.kind).order_by("pk")) if chosen.kind else []
    wanted = request.GET.get("source", "")
    source = next((each for each in sources if str(each.pk) == wanted), sources[0] if sources else None)
    places = addresses(request)
    key = live_key(source) if source else ""
    return show(
        request,
        f"pages/guide/{chosen.name}.html",
        title=chosen.title,
        way=chosen,
        kind=Kind(chosen.kind).label if chosen.kind else "",
        sources=sources,
        source=source,
        write_key=key,
        heard=heard(source) if source else None,
        refused=find_refused(site, now=timezone.now()) if chosen.kind else [],
        places=places,
        code={name: code_for(name, site, places, key) for name in chosen.codes},
    )


@site_page()
def tell_heard(_: HttpRequest, site: Site, source_id: int) -> HttpResponseBase:
    """Answer `{"received": …, "taken": …, "refused": […]}`: what came through a source so far. Three queries.

    `refused` has a sentence for each reason why keys were refused in the last day, whosever they were.
    """
    source = site.sources.filter(pk=source_id).first() if source_id < 2**63 else None
    if source is None:
        raise Http404
    came = heard(source)
    refused = [each.sentence for each in find_refused(site, now=timezone.now())]
    return JsonResponse({"received": came.received, "taken": came.received - came.rejected, "refused": refused})


def heard(source: Source) -> SourceCounts:
    """What came through a source so far. One query of figures that are kept."""
    return load_source_counts([source.pk]).get(source.pk, SourceCounts())


def live_key(source: Source) -> str:
    """The newest write key of a source that works; empty where there is none. One query."""
    now = timezone.now()
    keys = [each for each in source.write_keys.order_by("-pk") if each.ends_at is None or each.ends_at > now]
    return keys[0].key if keys else ""
