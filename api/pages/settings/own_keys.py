"""The operator's own keys of remote data, which `POST /map/maps` writes: their list, and deletion."""

from typing import Final

from django.contrib import messages
from django.http import HttpRequest, HttpResponseBase
from django.shortcuts import redirect
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_POST

from api.http.wording import count_of
from api.models import Role, Site
from api.pages.access import show, site_page
from api.pages.confirm import ask, is_confirmed
from api.pages.json_text import visible
from api.remote_data.own_keys import delete_own_key
from cohorts import own_keys

PAGE: Final = 50


@site_page()
def list_own_keys(request: HttpRequest, site: Site) -> HttpResponseBase:
    """List live keys by key, each with the beginning of its object."""
    start = request.GET.get("start", "")
    found = own_keys.list_keys(site.pk, start=start, limit=PAGE + 1, now=timezone.now())
    return show(
        request,
        "pages/settings/own_keys.html",
        title="Remote data",
        tab="settings-remote-data",
        rows=[(row, visible(row.beginning)) for row in found[:PAGE]],  # type: ignore[attr-defined]  # annotated
        shown=own_keys.SHOWN,
        start=start,
        next=found[PAGE].key if len(found) > PAGE else None,
    )


@site_page(Role.EDITOR)
@require_POST
def remove_own_key(request: HttpRequest, site: Site) -> HttpResponseBase:
    """Delete a key after a confirmation."""
    back = reverse("pages:settings-remote-data", args=[site.sitecode])
    own_key = own_keys.find_key(site.pk, request.POST.get("key", ""), now=timezone.now())
    if own_key is None:
        messages.error(request, "This key has expired or was deleted. Nothing was changed.")
        return redirect(back)
    if not is_confirmed(request):
        written, expires = own_key.updated_at, own_key.expires_at
        return ask(
            request,
            title=f"Delete the key “{own_key}”",
            facts=[
                f"Its object has {count_of(len(own_key.document.encode()), 'byte')}.",
                f"It was written at {written:%Y-%m-%d %H:%M} UTC and expires at {expires:%Y-%m-%d %H:%M} UTC.",
            ],
            warning="SDKs read {} under this key at once. This can't be undone. A program can write the key again.",
            action="Delete key",
            back=back,
        )
    delete_own_key(site, own_key, by=request.user)
    messages.success(request, f"Key “{own_key}” deleted.")
    return redirect(back)
