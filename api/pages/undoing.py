"""The button Undo of a message: gives back what was taken away, if that is still possible."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

from django.contrib import messages
from django.db import IntegrityError
from django.http import HttpRequest, HttpResponseBase
from django.shortcuts import redirect
from django.views.decorators.http import require_POST

from api.models import Role, Site
from api.pages.access import may, show_forbidden, site_page
from api.pages.goals import annotations, edit, merge, tags, views
from api.pages.settings import alerts, members, rules, sources
from api.pages.undo import CannotUndoError, find_kept, forget_kept


@dataclass(frozen=True, slots=True)
class Undo:
    """The role that may give something back, and the function: it returns the page to show."""

    role: Role
    give_back: Callable[[HttpRequest, Site, dict[str, Any]], HttpResponseBase]


UNDOS: Final[Mapping[str, Undo]] = MappingProxyType(
    {
        edit.KIND: Undo(Role.EDITOR, edit.undo_edit),
        edit.KIND_OF_LINK: Undo(Role.EDITOR, edit.undo_unbind),
        merge.KIND: Undo(Role.EDITOR, merge.undo_merge),
        tags.KIND: Undo(Role.OWNER, tags.undo_removal),
        views.KIND: Undo(Role.VIEWER, views.undo_removal),
        rules.KIND: Undo(Role.OWNER, rules.undo_removal),
        annotations.KIND: Undo(Role.EDITOR, annotations.undo_deletion),
        alerts.KIND: Undo(Role.OWNER, alerts.undo_removal),
        rules.KIND_OF_ORDER: Undo(Role.OWNER, rules.undo_move),
        members.KIND: Undo(Role.OWNER, members.undo_role),
        sources.KIND: Undo(Role.OWNER, sources.undo_change),
    }
)


@site_page()
@require_POST
def undo(request: HttpRequest, site: Site) -> HttpResponseBase:
    """Give back what the button of a message keeps. Each button works once, for an hour."""
    token = request.POST.get("kept", "")
    kept = find_kept(request, site, token)
    if kept is None:
        messages.error(request, "Nothing was undone: this was undone already, or more than an hour has passed.")
        return redirect("pages:home", site.sitecode)
    kind, values = kept
    if not may(request, UNDOS[kind].role):
        return show_forbidden(request, UNDOS[kind].role)
    try:
        answer = UNDOS[kind].give_back(request, site, values)
    except CannotUndoError as trouble:
        messages.error(request, f"Nothing was undone. {trouble}")
        return redirect("pages:home", site.sitecode)
    except IntegrityError:  # a second click at the same moment
        messages.error(request, "This was undone already.")
        return redirect("pages:home", site.sitecode)
    forget_kept(request, token)
    return answer
