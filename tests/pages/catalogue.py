"""Catalogue of all pages and actions of a site: their rights, addresses and forms.

The tests of access, links, odd input, the audit log and confirmations walk it, as do the query counts and the
screenshots (tests/bench/looks.py, tests/browser/tour.py). A page that is not entered fails
test_catalogue__names_every_page.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from django.urls import URLPattern

from api.models import Role
from api.pages.urls import urlpatterns
from tests.pages.forms import CUSTOM_DATA, EXPERIMENT, KINDS_OF_CONDITIONS, PERSON, SEGMENT
from tests.world import SITECODE

VIEWER, EDITOR, OWNER = Role.VIEWER, Role.EDITOR, Role.OWNER
Form = Mapping[str, Any]


@dataclass(frozen=True)
class Page:
    """A page or an action. `{…_id}` in a text is filled in from the numbers of `Place`."""

    look: Role | None = VIEWER  # the least role for GET; None: there is no GET
    act: Role | None = None  # the least role for POST; None: there is no POST
    query: str = ""
    form: Form = field(default_factory=dict)
    goal: str = "goal_id"
    queries: Sequence[Form] = ()  # further ones for the test of odd input
    forms: Sequence[Form] | None = None  # one for each change that the log must hold; None: `form`
    odd_forms: Sequence[Form] | None = None  # for the test of odd input; None: `form`
    asks: Sequence[str] = ()  # values of `do` that need a confirmation
    is_logged: bool = True
    is_page: bool = True  # False: a file, or an answer to a script

    @property
    def logged_forms(self) -> Sequence[Form]:
        return [self.form] if self.forms is None else self.forms


PAGES: Final[dict[str, Page]] = {
    "home": Page(),
    "changes": Page(is_page=False),
    "undo": Page(None, VIEWER, form={"kept": "none"}, is_logged=False),
    "search": Page(queries=[{"q": "goal"}, {"q": "ada"}]),
    "goals": Page(queries=[{"sort": sort, "after": "5", "id": "5"} for sort in ("-revenue.EUR", "created")]),
    "goals-change": Page(
        None,
        EDITOR,
        form={"action": "archive", "goal": "{goal_id}"},
        odd_forms=[
            {"action": action, "goal": "{goal_id}", "tag_name": "vip", "query": "q=a"}
            for action in ("tag", "untag", "archive", "restore", "merge", "delete")
        ]
        + [{"action": "archive", "scope": "all", "query": "q=a"}],
        is_logged=False,
    ),
    "goals-changing": Page(EDITOR, EDITOR),
    "goals-export": Page(is_page=False),
    "goals-merge": Page(
        EDITOR,
        EDITOR,
        query="?goal={goal_id}&goal={other_goal_id}",
        odd_forms=[{"goal": "{goal_id}", "into": "{goal_id}"}],
        forms=[{"goal": ["{goal_id}", "{other_goal_id}"], "into": "{goal_id}"}],
    ),
    "goals-cleanup": Page(),
    "goals-views": Page(),
    "goals-view-save": Page(
        None,
        VIEWER,
        form={"name": "Mine", "query": "tag=vip"},
        forms=[{"name": "Ours", "query": "tag=vip", "is_shared": "on"}],
    ),
    "goals-view-remove": Page(None, EDITOR),
    "tags": Page(),
    "tag-change": Page(
        None,
        EDITOR,
        form={"do": "rename", "name": "another"},
        odd_forms=[{"name": "another"}, {"name": "another", "merges": "yes"}],
    ),
    "tag-remove": Page(None, OWNER, asks=[""]),
    "goal-new": Page(
        EDITOR,
        EDITOR,
        form={"name": "By hand"},
        forms=[{"name": "By hand", "type": "CUSTOM", "has_multiple_conversions": "False"}],
    ),
    "goal": Page(),
    "goal-breakdown": Page(queries=[{"by": "property", "path": "plan"}]),
    "goal-figures": Page(queries=[{"range": "7d", "step": "hour"}], is_page=False),
    "goal-conversions": Page(queries=[{"before": "2026-11-22T03:00:00+00:00", "id": "5"}]),
    "goal-annotate": Page(EDITOR, EDITOR, form={"at": "2026-11-22T03:00", "text": "Deploy"}),
    "goal-annotation": Page(EDITOR, EDITOR, form={"at": "2026-11-22T03:00", "text": "Release", "is_of_site": "on"}),
    "goal-annotation-delete": Page(None, EDITOR),
    "goal-edit": Page(
        EDITOR,
        EDITOR,
        form={"name": "Another name"},
        forms=[{"name": "Another name", "type": "CUSTOM", "has_multiple_conversions": "False"}],
    ),
    "goal-display-name": Page(None, EDITOR, forms=[{"display_name": "Orders"}]),
    "goal-archive": Page(None, EDITOR),
    "goal-restore": Page(None, EDITOR),
    "goal-delete": Page(EDITOR, EDITOR),
    "goal-unmerge": Page(None, EDITOR, goal="merged_id"),
    "goal-group": Page(
        EDITOR,
        EDITOR,
        odd_forms=[{"into": into, "other": "9", "old": "keep"} for into in ("", "other", "{other_goal_id}")],
    ),
    "goal-unbind": Page(None, EDITOR, asks=[""]),
    "experiments": Page(queries=[{"archived": "1"}, {"page": "2"}]),
    "experiment-new": Page(EDITOR, EDITOR, form={**EXPERIMENT, "key": "search-1"}),
    "experiment": Page(),
    "experiment-sentence": Page(is_page=False),
    "experiment-edit": Page(EDITOR, EDITOR, form=EXPERIMENT),
    "experiment-decide": Page(EDITOR, EDITOR, form={"decision": "keep", "reason": "No difference"}),
    "experiment-archive": Page(None, EDITOR, form={"to": "on"}),
    "people": Page(
        queries=[
            {"q": "ada", "segment": "{segment_id}"},
            {"persona": "vip", "group": "acme", "trait": "plan", "value": "pro"},
            {"by": "id", "kind": "1", "after": "a", "skip": "5", "member": "1"},
        ]
    ),
    "people-export": Page(EDITOR, query="?q=ada", is_page=False),
    "person": Page(query=PERSON),
    "person-segments": Page(query=PERSON),
    "person-export": Page(EDITOR, query=PERSON, is_page=False),
    "person-erase": Page(OWNER, OWNER, query=PERSON, form={"id": "ada-king"}, odd_forms=[]),
    "erasures": Page(),
    "erasure": Page(),
    "erasure-allow": Page(None, OWNER, asks=[""]),
    "why": Page(queries=[{"person": "ada-king", "goal": "{goal_id}"}]),
    "why-suggest": Page(query="?person=ada", queries=[{"person": "ada"}, {"goal": "by"}], is_page=False),
    "personas": Page(),
    "persona": Page(query="?name=vip", queries=[{"name": "vip", "kind": "0", "after": "a"}]),
    "persona-remove": Page(OWNER, OWNER, query="?name=vip", form={"name": "vip"}),
    "segments": Page(),
    "segment-new": Page(
        EDITOR,
        EDITOR,
        form=SEGMENT,
        odd_forms=[SEGMENT, *({**SEGMENT, "do": "preview", **each} for each in KINDS_OF_CONDITIONS)],
    ),
    "segment": Page(),
    "segment-members": Page(queries=[{"after": "1"}, {"q": "ada-king"}]),
    "segment-history": Page(queries=[{"before": "2026-11-22T03:00:00+00:00", "id": "5"}]),
    "segment-edit": Page(EDITOR, EDITOR, form=SEGMENT, odd_forms=[SEGMENT, {**SEGMENT, "do": "add:0"}]),
    "segment-remove": Page(None, EDITOR, asks=[""]),
    "groups": Page(),
    "group": Page(query="?id=acme", queries=[{"id": "acme", "kind": "0", "after": "a"}]),
    "group-remove": Page(OWNER, OWNER, query="?id=acme", form={"id": "acme"}),
    "events": Page(),
    "events-rows": Page(query="?after=0", is_page=False),
    "events-export": Page(EDITOR, query="?outcome=rejected", is_page=False),
    "events-failed": Page(),
    "events-failed-export": Page(is_page=False),
    "events-again": Page(EDITOR, EDITOR, query="?status=failed&reason=digest_failed"),
    "event": Page(),
    "event-body": Page(is_page=False),
    "delivery": Page(),
    "reconciliation": Page(),
    "settings": Page(),
    "settings-save": Page(
        None,
        OWNER,
        odd_forms=[
            {
                "name": "Shop",
                "goal_name_template": "{{type}} {{name}}",
                "auto_tag": "t",
                "default_currency": "EUR",
                "goals_per_10_seconds": "5",
                "goals_per_hour": "5",
                "max_waiting_names": "5",
            }
        ],
        forms=[{"name": "Renamed"}],
    ),
    "settings-keys": Page(),
    "settings-sources": Page(),
    "settings-source": Page(),
    "settings-sources-export": Page(is_page=False),
    "settings-sources-change": Page(
        None,
        OWNER,
        form={"do": "create", "name": "App", "kind": "browser"},
        odd_forms=[
            {"do": "create", "name": "App", "kind": "browser"},
            {"do": "save", "source": "{source_id}", "name": "App"},
            {"do": "rotate", "source": "{source_id}", "hours": "1"},
            {"do": "rotate", "source": "{source_id}", "hours": "1", "confirmed": "yes"},
            {"do": "revoke", "source": "{source_id}", "key": "none"},
            {"do": "revoke", "source": "{source_id}", "key": "none", "confirmed": "yes"},
        ],
        forms=[
            {"do": "create", "name": "App", "kind": "browser"},
            {"do": "save", "source": "{source_id}", "name": "Renamed"},
            {"do": "rotate", "source": "{source_id}", "hours": "1"},
            {"do": "revoke", "source": "{source_id}", "key": "{key}"},
        ],
        asks=["rotate", "revoke"],
    ),
    "settings-rules": Page(),
    "settings-rules-change": Page(
        None,
        OWNER,
        form={"do": "switch", "rule": "{rule_id}"},
        odd_forms=[{"do": do, "rule": "{rule_id}"} for do in ("up", "switch")],
        forms=[{"do": do, "rule": "{rule_id}"} for do in ("switch", "up", "delete")],
        asks=["delete"],
    ),
    "settings-rule-new": Page(
        OWNER,
        OWNER,
        odd_forms=[{"do": do, "action": "no_goal", "name": "A"} for do in ("save", "try", "try-event", "preview")],
        forms=[{"position": "3", "action": "no_goal", "event_type": "page"}],
    ),
    "settings-rule": Page(OWNER, OWNER, forms=[{"position": "3", "action": "no_goal", "event_type": "page"}]),
    "settings-custom-data": Page(),
    "settings-custom-data-new": Page(
        EDITOR, EDITOR, form=CUSTOM_DATA | {"index": "2", "name": "new"}, odd_forms=[CUSTOM_DATA]
    ),
    "settings-custom-data-edit": Page(EDITOR, EDITOR, form=CUSTOM_DATA | {"name": "renamed"}, odd_forms=[CUSTOM_DATA]),
    "settings-custom-data-remove": Page(None, EDITOR, asks=[""]),
    "settings-flags": Page(),
    "settings-flags-import": Page(
        None,
        EDITOR,
        form={"do": "import", "text": '{{"featureFlags": []}}'},
        forms=[{"do": "import", "text": '{"featureFlags": []}'}],
        odd_forms=[{"do": "import", "text": "{{}}", "environment": "staging"}],
    ),
    "settings-flags-change": Page(
        None,
        EDITOR,
        form={"do": "switch", "flag": "{flag_id}", "environment": "staging"},
        forms=[{"do": "switch", "flag": "{flag_id}", "environment": "staging"}, {"do": "delete", "flag": "{flag_id}"}],
        asks=["delete"],
    ),
    "settings-environments": Page(
        None,
        EDITOR,
        form={"do": "create", "name": "test"},
        odd_forms=[{"do": "create", "name": "test"}, {"do": "settings", "opt_out": "FULLY_BLOCK"}],
        forms=[
            {"do": "create", "name": "test"},
            {"do": "settings", "opt_out": "FULLY_BLOCK"},
            {"do": "delete", "environment": "{environment_id}"},
        ],
        asks=["delete"],
    ),
    "settings-flag": Page(),
    "settings-remote-data": Page(queries=[{"start": "a"}]),
    "settings-remote-data-remove": Page(None, EDITOR, form={"key": "greeting"}, asks=[""]),
    "settings-alerts": Page(OWNER, is_logged=False),
    "settings-alerts-change": Page(
        None,
        OWNER,
        form={"do": "switch", "alert": "{alert_id}"},
        odd_forms=[{"do": do, "alert": "{alert_id}"} for do in ("switch", "rotate", "test")],
        is_logged=False,
        forms=[{"do": do, "alert": "{alert_id}"} for do in ("switch", "rotate", "delete")],
        asks=["rotate", "delete"],
    ),
    "settings-alert-new": Page(
        OWNER,
        OWNER,
        form={"name": "Quota", "condition": "quota"},
        odd_forms=[{"name": "A", "condition": "success", "threshold": "5"}],
        is_logged=False,
    ),
    "settings-alert": Page(OWNER, OWNER, form={"name": "Quota", "condition": "quota"}, is_logged=False),
    "alert-quiet": Page(None, EDITOR, form={"do": "1", "next": "/"}, is_logged=False),
    "settings-credentials": Page(OWNER),
    "settings-credentials-change": Page(
        None,
        OWNER,
        form={"do": "create", "name": "Another", "scope": "send"},
        odd_forms=[
            {"do": "create", "name": "Another", "scope": "send"},
            {"do": "scopes", "credential": "{credential_id}", "scope": "send"},
            {"do": "scopes", "credential": "{credential_id}", "scope": "send", "confirmed": "yes"},
            {"do": "rotate", "credential": "{credential_id}", "hours": "1"},
            {"do": "rotate", "credential": "{credential_id}", "hours": "1", "confirmed": "yes"},
            {"do": "revoke", "credential": "{credential_id}"},
            {"do": "revoke", "credential": "{credential_id}", "confirmed": "yes"},
        ],
        forms=[
            {"do": "create", "name": "Another", "scope": "send"},
            {"do": "scopes", "credential": "{credential_id}", "scope": ["send"]},
            {"do": "rotate", "credential": "{credential_id}", "hours": "1"},
            {"do": "revoke", "credential": "{credential_id}"},
        ],
        asks=["rotate", "revoke", "scopes"],
    ),
    "settings-tokens": Page(OWNER),
    "settings-tokens-change": Page(
        None,
        OWNER,
        form={"do": "create", "description": "CI", "scope": "read", "lifetime": "90"},
        odd_forms=[
            {"do": "create", "description": "CI", "scope": "read", "lifetime": "90", "site": SITECODE},
            {"do": "take", "token": "{token_id}"},
            {"do": "revoke", "token": "{token_id}"},
            {"do": "revoke", "token": "{token_id}", "confirmed": "yes"},
        ],
        forms=[
            {"do": "create", "description": "CI", "scope": "read", "lifetime": "90"},
            {"do": "take", "token": "{token_id}"},
            {"do": "revoke", "token": "{token_id}"},
        ],
        asks=["revoke"],
    ),
    "settings-members": Page(OWNER),
    "settings-members-change": Page(
        None,
        OWNER,
        form={"do": "invite", "username": "outsider", "role": "viewer"},
        odd_forms=[
            {"do": "invite", "username": "outsider", "role": "viewer"},
            {"do": "withdraw", "username": "outsider"},
            {"do": "change", "member": "{member_id}", "role": "viewer"},
            {"do": "remove", "member": "{member_id}"},
            {"do": "remove", "member": "{member_id}", "confirmed": "yes"},
        ],
        forms=[
            {"do": "invite", "username": "eve", "role": "viewer"},
            {"do": "withdraw", "username": "eve"},
            {"do": "role", "member": "{member_id}", "role": "editor"},
            {"do": "remove", "member": "{member_id}"},
        ],
        asks=["remove"],
    ),
    "settings-changes": Page(OWNER),
    "settings-changes-export": Page(OWNER, is_page=False),
    "tester": Page(
        VIEWER,
        VIEWER,
        odd_forms=[
            {"do": do, "source": "{source_id}", "body": '{{"type": "track", "event": "A", "userId": "u"}}'}
            for do in ("try", "send")
        ],
        forms=[{"do": "send", "source": "{source_id}", "body": '{"type": "track", "event": "A", "userId": "u"}'}],
    ),
    "guide": Page(),
    "guide-custom": Page(query="?of=trait"),
    "guide-first-event": Page(is_page=False),
    "guide-way": Page(),
    "guide-key": Page(None, OWNER, form={"name": "Shop"}),
}
# Values of a form that need a higher role than the form.
FORMS: Final = [("tester", {"do": "send", "body": '{"type": "track", "event": "A", "userId": "u"}'}, EDITOR)]
ACTIONS: Final = sorted(name for name, page in PAGES.items() if page.act)


@dataclass(frozen=True)
class Place:
    """A site with the ids of one row of everything, for addresses and forms."""

    sitecode: str
    numbers: dict[str, Any]

    def address(self, name: str) -> str:
        """Return the address of a page with its query string."""
        (pattern,) = [pattern for pattern in urlpatterns if pattern.name == name]
        assert isinstance(pattern, URLPattern)
        route = str(pattern.pattern)
        goal_id = self.numbers[PAGES[name].goal]
        given = {"sitecode": self.sitecode, "way": "curl", **self.numbers, "goal_id": goal_id}
        for parameter, converter in pattern.pattern.converters.items():
            kind = type(converter).__name__.removesuffix("Converter").lower().replace("string", "str")
            route = route.replace(f"<{kind}:{parameter}>", str(given[parameter]))
        assert "<" not in route
        return f"/admin/s/{route}{PAGES[name].query.format(**self.numbers)}"

    def form(self, fields: Form) -> dict[str, str]:
        """Return a form with the numbers that it names."""
        return {
            name: str(value).format(**self.numbers) if "{" in str(value)[:1] else value
            for name, value in fields.items()
        }
