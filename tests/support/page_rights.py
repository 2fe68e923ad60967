"""Expected and observed outcomes of a page for each role."""

from typing import Final

from django.http import HttpResponseBase

from api.models import Role
from tests.pages.catalogue import EDITOR, OWNER, VIEWER

MEMBERS: Final = (VIEWER, EDITOR, OWNER)


def outcome(response: HttpResponseBase) -> str:
    """Return what the answer says about the right to ask."""
    if response.status_code == 302 and response.headers["Location"].startswith("/admin/login/"):
        return "login"
    return {403: "forbidden", 404: "absent", 405: "no such method"}.get(
        response.status_code, "allowed" if response.status_code < 500 else f"error {response.status_code}"
    )


def expected(who: str, least: Role | None) -> set[str]:
    if who == "anonymous":
        return {"login"}
    if who == "outsider":
        return {"absent"}
    if least is None:
        return {"no such method", "forbidden"}  # to one who may not anyway, no matter which
    if who == "superuser" or MEMBERS.index(Role(who)) >= MEMBERS.index(least):
        return {"allowed"}
    return {"forbidden"}
