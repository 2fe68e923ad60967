"""Whose request it is, and which sites it may see."""

from collections.abc import Collection
from dataclasses import replace
from http import HTTPStatus
from typing import cast

from rest_framework.authentication import BaseAuthentication
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request

from api.access import Bearer, check_authorization
from api.door import Refusal
from api.models import Site


class CredentialAuthentication(BaseAuthentication):
    """A credential or its access token, as at every other door. Without either there is no view: 401."""

    def authenticate(self, request: Request) -> tuple[Bearer, Bearer]:
        """The bearer, as user and as auth. Raises Refusal (401)."""
        try:
            bearer = check_authorization(request.headers.get("Authorization", ""))
        except Refusal as refusal:
            # Not Basic, though it is taken: a browser would ask for it, keep it, and send it with any site's form.
            raise replace(refusal, headers=(("WWW-Authenticate", "Bearer"),)) from refusal
        return bearer, bearer


def bearer_of(request: Request) -> Bearer:
    """The credential that a request shows."""
    return cast("Bearer", request.auth)


def visible_sites(request: Request, sitecode: str = "") -> Collection[int]:
    """The ids of the credential's sites, or of the one with this code. Raises Refusal (404); one query for a code."""
    if not sitecode:
        return bearer_of(request).site_ids
    return {open_site(request, sitecode=sitecode).pk}


def open_site(request: Request, *, sitecode: str | None = None, site_id: int | None = None) -> Site:
    """The site meant by its code or its id, or the credential's only one. One query.

    Raises Refusal (404) for a site that the credential does not open, ValidationError when none is named.
    """
    sites = Site.objects.filter(pk__in=bearer_of(request).site_ids)
    if sitecode is not None:
        sites = sites.filter(sitecode=sitecode)
    if site_id is not None:
        sites = sites.filter(pk=site_id)
    found = list(sites[:2])
    if len(found) > 1:
        raise ValidationError({"sitecode": "This credential opens several sites: name one."})
    if not found:
        raise Refusal(HTTPStatus.NOT_FOUND, "unknown_site", "No such site, or none that your credential opens.")
    return found[0]
