"""The admin pages of the door: sites, credentials, sources and their rules, and the inbox."""

from typing import Any, Final

from django.contrib import admin
from django.contrib.auth.forms import AuthenticationForm as BaseAuthenticationForm
from django.contrib.auth.models import User
from django.http import HttpRequest
from unfold.forms import AuthenticationForm

from admin_pages import Noted
from api.admin import credentials, inbox, members, rules, sites, sources
from api.audit import note
from api.models import Site

__all__ = ["credentials", "inbox", "members", "rules", "sites", "sources"]

FOR_EVERYBODY: Final = frozenset({"logout", "password_change", "password_change_done"})


def keep(request: HttpRequest, row: Any, what: str, before: Any, after: Any) -> None:
    """Put what a person changed in these tables into the log of each site that it concerns; of users, of none."""
    if isinstance(row, Site):
        concerned: list[Site | None] = [row]
    elif hasattr(row, "sites"):
        concerned = [*row.sites.all()] or [None]
    else:
        concerned = [getattr(row, "site", None)]
    for site in concerned:
        note(request, site, what, before, after)


class SignIn(AuthenticationForm):  # type: ignore[misc]  # the theme's is untyped
    """Members of sites sign in here too, who need not be what Django calls staff."""

    def confirm_login_allowed(self, user: User) -> None:
        BaseAuthenticationForm.confirm_login_allowed(self, user)


def may_enter(request: HttpRequest) -> bool:
    """Staff, as everywhere in Django; whoever is signed in may sign out and change their password."""
    user, page = request.user, request.resolver_match
    return user.is_active and (user.is_staff or (page is not None and page.url_name in FOR_EVERYBODY))


Noted.keep = staticmethod(keep)
admin.site.login_form = SignIn
admin.site.has_permission = may_enter  # type: ignore[method-assign]  # of a site that others make
admin.site.site_header = admin.site.site_title = "Goalpost"
admin.site.site_url = None  # there is no other site to view
admin.site.index_title = "What came in, what it did, and who may send and read"
