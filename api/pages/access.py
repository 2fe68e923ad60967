"""Access to pages: every page belongs to one site, and only its members see that it exists."""

from collections.abc import Callable
from datetime import tzinfo
from functools import partial, wraps
from typing import Any, Final, TypeVar, cast

from django.contrib.auth.models import AnonymousUser, User
from django.contrib.auth.views import redirect_to_login
from django.db.models import F, Model, QuerySet, Subquery
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase, QueryDict
from django.shortcuts import get_object_or_404
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils import timezone
from django.utils.http import urlencode
from django.views.decorators.cache import never_cache

import names
import zones
from api.models import Profile, Role, Site
from api.models.site_days import zone_of
from api.pages.frame import build_frame
from api.pages.query_form import LARGEST_ID, read_id
from goals.day_zones import count_goals_to_recount

MOST_SITES: Final = 100  # in the switcher
View = Callable[..., HttpResponseBase]
M = TypeVar("M", bound=Model)


def site_page(role: Role = Role.VIEWER) -> Callable[[View], View]:
    """Make `view(request, site, …)` a page under a site's code, for its members with this role or a higher one.

    A visitor who is not signed in gets the login, an outsider 404. A member with a lower role gets 403 and the name of
    the role. A superuser is an owner everywhere. One query, two for a user of more than MOST_SITES sites.
    """

    def decorate(view: View) -> View:
        @wraps(view)
        @never_cache
        def page(request: HttpRequest, sitecode: str, **parts: Any) -> HttpResponseBase:
            user = request.user
            if not user.is_authenticated or not user.is_active:
                if request.headers.get("HX-Request"):  # a part of a page: the whole page leads to the sign-in
                    return HttpResponse(headers={"HX-Refresh": "true"})
                return redirect_to_login(request.get_full_path(), "/admin/login/")
            site = find_site(request, sitecode)
            if site is None:
                raise Http404
            if request.session.get("sitecode") != site.sitecode:  # a session that is set is saved: two queries
                request.session["sitecode"] = site.sitecode
            mine = Role.OWNER if user.is_superuser else Role(site.role)  # type: ignore[attr-defined]
            request.goalpost_site, request.goalpost_role = site, mine  # type: ignore[attr-defined]
            timezone.activate(choose_zone(site))  # until the end of the request (api.http.middleware)
            if not mine.includes(role):
                return show_forbidden(request, role)
            if request.method == "POST":
                request.POST = without_nul(request.POST)  # type: ignore[assignment]  # it may be set
            return view(request, site, **parts)

        return page

    return decorate


def get_in_site(rows: type[M] | QuerySet[M], site: Site, number: int | str | None, **lookup: Any) -> M:
    """Return a row of a site by its id, as an address or a form writes it. Raises Http404. One query at most."""
    id_ = number if isinstance(number, int) else read_id(number)
    if id_ is None or id_ > LARGEST_ID:
        raise Http404
    return get_object_or_404(rows, pk=id_, site=site, **lookup)


def without_nul(form: QueryDict) -> QueryDict:
    """Return a form with U+FFFD for NUL, as in addresses (api.http.middleware): PostgreSQL has no NUL in text."""
    clean = QueryDict(mutable=True)
    for name, values in form.lists():
        clean.setlist(name.replace("\0", "\ufffd"), [value.replace("\0", "\ufffd") for value in values])
    return clean


def choose_zone(site: Site) -> tzinfo:
    """Return the zone of times on a page of a site of `sites_of`: the person's, otherwise the site's."""
    return zones.find_zone(getattr(site, "own_zone", None) or site.time_zone)


def sites_of(user: User | AnonymousUser) -> QuerySet[Site]:
    """Return a user's sites by name, with their `role` and the user's `own_zone`.

    For a superuser it returns all sites, without a role.
    """
    zone = Profile.objects.filter(user=user.pk).values("time_zone")
    sites = Site.objects.order_by(names.sort_key("name"), "pk").annotate(own_zone=Subquery(zone))
    if user.is_superuser:
        return sites
    if not user.is_authenticated:
        return sites.none()
    return sites.filter(memberships__user=user).annotate(role=F("memberships__role"))


def list_sites(request: HttpRequest) -> list[Site]:
    """Return the first MOST_SITES sites of this page's user, read once a request. One query."""
    if not hasattr(request, "goalpost_sites"):
        request.goalpost_sites = list(sites_of(request.user)[:MOST_SITES])  # type: ignore[attr-defined]
    return cast("list[Site]", request.goalpost_sites)  # type: ignore[attr-defined]


def find_site(request: HttpRequest, sitecode: str) -> Site | None:
    """Return the site of the user with this code. The switcher needs the others anyway, so they are read together."""
    sites = list_sites(request)
    found = next((site for site in sites if site.sitecode == sitecode), None)
    if found is None and len(sites) == MOST_SITES:
        found = sites_of(request.user).filter(sitecode=sitecode).first()
    return found


def may(request: HttpRequest, role: Role) -> bool:
    """Return True if the user of this page has at least this role."""
    return bool(getattr(request, "goalpost_role", Role.VIEWER).includes(role))


def current_site(request: HttpRequest) -> Site | None:
    """Return the site of this page; elsewhere the last one visited, otherwise the first. At most two queries."""
    if not hasattr(request, "goalpost_site"):
        sites = sites_of(request.user)
        last = sites.filter(sitecode=request.session.get("sitecode", "")).first()
        request.goalpost_site = last or sites.first()  # type: ignore[attr-defined]
    return cast("Site | None", request.goalpost_site)  # type: ignore[attr-defined]


def show(request: HttpRequest, template: str, *, title: str, status: int = 200, **context: Any) -> TemplateResponse:
    """Return a page within the frame, with what each template needs. One query for the frame of a site."""
    site = getattr(request, "goalpost_site", None)
    may_own = site is not None and may(request, Role.OWNER)
    return TemplateResponse(
        request,
        template,
        {
            "frame": build_frame(
                site, list_sites(request) if site else [], path=request.path, may_own=may_own, now=timezone.now()
            ),
            "title": title,
            "site": site,
            "zone": timezone.get_current_timezone_name(),
            "day_zone": zones.name_of(zone_of(site)) if site else "",
            "goals_to_recount": partial(count_goals_to_recount, site.pk, site.time_zone) if site else 0,
            "may_edit": may(request, Role.EDITOR),
            "may_own": may_own,
            **context,
        },
        status=status,
    )


def show_forbidden(request: HttpRequest, needed: Role) -> TemplateResponse:
    """Return 403 with the page that names the role that an action needs."""
    return show(request, "pages/forbidden.html", title="Not allowed", needed=needed.label, status=403)


def page_of(site: Site, page: str, *arguments: Any, **query: str) -> str:
    """Return the address of a page of a site."""
    address = reverse(f"pages:{page}", args=[site.sitecode, *arguments])
    return f"{address}?{urlencode(query)}" if query else address
