"""The page on which a person accepts an invitation to a site (api.http.invitations)."""

from django.contrib.auth.views import redirect_to_login
from django.db import transaction
from django.http import HttpRequest, HttpResponseBase
from django.shortcuts import redirect
from django.views.decorators.cache import never_cache

from api.http.invitations import ACCEPTED, DAYS, open_invitation
from api.models import Membership, Role
from api.models.audit import write_audit
from api.pages.access import show


@never_cache
def join(request: HttpRequest, token: str) -> HttpResponseBase:
    """Ask the person who is signed in to confirm, then add the member. 404 for an invalid or foreign invitation."""
    if not request.user.is_authenticated or not request.user.is_active:
        return redirect_to_login(request.get_full_path(), "/admin/login/")
    with transaction.atomic():
        site, role = open_invitation(token, request.user.get_username())
        if site is None:
            return show(request, "pages/join.html", title="No invitation", days=DAYS, status=404)
        if request.method != "POST":
            return show(request, "pages/join.html", title=f"Join {site.name}", to=site, role=Role(role).label)
        _, is_new = Membership.objects.get_or_create(user=request.user, site=site, defaults={"role": role})
        if is_new:
            write_audit(request.user, site, ACCEPTED, None, {"role": role})
    return redirect("pages:home", site.sitecode)
