"""Every operation of the management API: the scope that it needs, a request that works, and what another site gets."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import Any, Final

import yaml
from django.contrib.auth.models import User
from django.utils.timezone import now

from api.http.tokens import make_token
from api.ingest.provisioning import create_credential, create_source
from api.models import Alert, Annotation, Erasure, Membership, Site, TokenScope
from api.rest.urls import AUTOMATION_PATHS, PATHS
from cohorts.models import CustomData, OwnKey
from goals.experiments.models import Experiment
from goals.flags.models import FeatureFlag
from tests.support.management_api import Caller, make_goal
from tests.support.segments import make_segment
from tests.world import SITECODE, START, World, owner_of

FLAG: Final = {"featureKey": "new_checkout", "rules": []}
DOCUMENT: Final = Path(__file__).parents[2] / "api/rest/openapi.yaml"
OPEN: Final = {"GET docs", "GET schema"}  # without a token
NOT_FOUND: Final = 404
NOTHING: Final = "a list without rows of this site"


@dataclass(frozen=True)
class Operation:
    """A request that works with the one scope that it needs."""

    scope: str
    body: Any = None
    status: int = 200
    query: str = ""
    elsewhere: int | str = NOT_FOUND  # the answer to a caller of another site
    by_superuser: bool = False


OPERATIONS: Final[Mapping[str, Operation]] = {
    "GET goals": Operation("read", elsewhere=NOTHING),
    "POST goals": Operation("write", {"name": "New", "sitecode": SITECODE}, 201),
    "GET goals/<number:goal_id>": Operation("read"),
    "PATCH goals/<number:goal_id>": Operation("write", {"name": "Sold"}),
    "DELETE goals/<number:goal_id>": Operation("write", status=204),
    "POST goals/<number:goal_id>/archive": Operation("write"),
    "POST goals/<number:goal_id>/restore": Operation("write"),
    "GET goals/<number:goal_id>/figures": Operation("read"),
    "GET goals/<number:goal_id>/breakdown": Operation("read:personal", query="by=currency"),
    "GET goals/<number:goal_id>/conversions": Operation("read:personal"),
    "GET /goals": Operation("read", elsewhere=NOTHING),
    "POST /goals": Operation("write", {"name": "New", "siteId": "{site_id}"}, 201),
    "GET /goals/<number:goal_id>": Operation("read"),
    "PUT /goals/<number:goal_id>": Operation("write", {"name": "Sold"}),
    "PATCH /goals/<number:goal_id>": Operation("write", {"name": "Sold"}),
    "DELETE /goals/<number:goal_id>": Operation("write", status=204),
    "GET /custom-datas": Operation("read", elsewhere=NOTHING),
    "POST /custom-datas": Operation("write", {"name": "new", "siteId": "{site_id}"}, 201),
    "GET /custom-datas/<number:custom_data_id>": Operation("read"),
    "PUT /custom-datas/<number:custom_data_id>": Operation("write", {"name": "renamed"}),
    "PATCH /custom-datas/<number:custom_data_id>": Operation("write", {"name": "renamed"}),
    "DELETE /custom-datas/<number:custom_data_id>": Operation("write", status=204),
    "GET /segments": Operation("read", elsewhere=NOTHING),
    "POST /segments": Operation(
        "write", {"name": "New", "conditions": [[{"on": "group"}]], "siteId": "{site_id}"}, 201
    ),
    "GET /segments/<number:segment_id>": Operation("read"),
    "PUT /segments/<number:segment_id>": Operation("write", {"name": "Renamed"}),
    "PATCH /segments/<number:segment_id>": Operation("write", {"name": "Renamed"}),
    "DELETE /segments/<number:segment_id>": Operation("write", status=204),
    "GET /sites": Operation("read", elsewhere=NOTHING),
    "GET /sites/<number:site_id>": Operation("read"),
    "GET messages/<number:number>/trace": Operation("read:personal"),
    "GET trace": Operation("read:personal", query="messageId=message-1"),
    "GET why-not": Operation("read:personal", query="visitor=user-1&goal={goal_id}"),
    "GET sources": Operation("read", elsewhere=NOTHING),
    "POST sources": Operation("admin", {"name": "App", "kind": "server", "sitecode": SITECODE}, 201),
    "GET sources/<number:source_id>": Operation("read"),
    "PATCH sources/<number:source_id>": Operation("admin", {"name": "Renamed"}),
    "POST sources/<number:source_id>/write-keys": Operation("admin", {"overlapHours": 1}, 201),
    "DELETE sources/<number:source_id>/write-keys/<slug:key>": Operation("admin", status=204),
    "GET sites": Operation("read", elsewhere=NOTHING),
    "POST sites": Operation("admin", {"name": "New"}, 201, by_superuser=True, elsewhere=403),
    "GET sites/<slug:sitecode>": Operation("read"),
    "PATCH sites/<slug:sitecode>": Operation("admin", {"name": "Renamed"}),
    "GET sites/<slug:sitecode>/alerts": Operation("admin"),
    "POST sites/<slug:sitecode>/alerts": Operation("admin", {"name": "Quota", "condition": "quota"}, 201),
    "GET sites/<slug:sitecode>/alerts/<number:alert_id>": Operation("admin"),
    "PATCH sites/<slug:sitecode>/alerts/<number:alert_id>": Operation("admin", {"isEnabled": False}),
    "DELETE sites/<slug:sitecode>/alerts/<number:alert_id>": Operation("admin", status=204),
    "POST sites/<slug:sitecode>/alerts/<number:alert_id>/test": Operation("admin"),
    "GET sites/<slug:sitecode>/annotations": Operation("read"),
    "POST sites/<slug:sitecode>/annotations": Operation("write", {"text": "Deploy 12"}, 201),
    "GET sites/<slug:sitecode>/annotations/<number:annotation_id>": Operation("read"),
    "PATCH sites/<slug:sitecode>/annotations/<number:annotation_id>": Operation("write", {"text": "Deploy 13"}),
    "DELETE sites/<slug:sitecode>/annotations/<number:annotation_id>": Operation("write", status=204),
    "GET sites/<slug:sitecode>/credentials": Operation("admin"),
    "POST sites/<slug:sitecode>/credentials": Operation("admin", {"name": "CI", "scopes": ["send"]}, 201),
    "PATCH sites/<slug:sitecode>/credentials/<number:credential_id>": Operation("admin", {"scopes": ["send"]}),
    "DELETE sites/<slug:sitecode>/credentials/<number:credential_id>": Operation("admin", status=204),
    "POST sites/<slug:sitecode>/credentials/<number:credential_id>/secret": Operation("admin", {}, 201),
    "GET sites/<slug:sitecode>/experiments": Operation("read"),
    "POST sites/<slug:sitecode>/experiments": Operation("write", {"key": "checkout-3"}, 201),
    "GET sites/<slug:sitecode>/experiments/<number:experiment_id>": Operation("read"),
    "PATCH sites/<slug:sitecode>/experiments/<number:experiment_id>": Operation("write", {"name": "Checkout"}),
    "GET sites/<slug:sitecode>/experiments/<number:experiment_id>/results": Operation("read"),
    "GET sites/<slug:sitecode>/exposures": Operation("read:personal", query="experimentId=5011"),
    "POST sites/<slug:sitecode>/invitations": Operation("admin", {"username": "eve", "role": "viewer"}, 201),
    "GET sites/<slug:sitecode>/members": Operation("admin"),
    "PATCH sites/<slug:sitecode>/members/<number:member_id>": Operation("admin", {"role": "editor"}),
    "DELETE sites/<slug:sitecode>/members/<number:member_id>": Operation("admin", status=204),
    "GET sites/<slug:sitecode>/audit-log": Operation("admin"),
    "GET sites/<slug:sitecode>/erasures": Operation("read"),
    "POST sites/<slug:sitecode>/erasures": Operation("admin", {"id": "user-1"}, 201),
    "GET sites/<slug:sitecode>/erasures/<number:erasure_id>": Operation("read"),
    "POST sites/<slug:sitecode>/erasures/<number:erasure_id>/allow": Operation("admin"),
    "GET sites/<slug:sitecode>/groups": Operation("read"),
    "GET sites/<slug:sitecode>/groups/<anything:group_id>/members": Operation("read:personal"),
    "GET sites/<slug:sitecode>/groups/<anything:group_id>/traits": Operation("read:personal"),
    "GET sites/<slug:sitecode>/people": Operation("read:personal", query="search=user-1"),
    "GET sites/<slug:sitecode>/person": Operation("read:personal", query="id=user-1"),
    "GET sites/<slug:sitecode>/person/export": Operation("read:personal", query="id=user-1"),
    "GET sites/<slug:sitecode>/personas": Operation("read"),
    "GET sites/<slug:sitecode>/personas/<anything:name>/members": Operation("read:personal"),
    "GET sites/<slug:sitecode>/remote-data": Operation("read:personal"),
    "GET sites/<slug:sitecode>/remote-data/<anything:own_key>": Operation("read:personal"),
    "DELETE sites/<slug:sitecode>/remote-data/<anything:own_key>": Operation("write", status=204),
    "GET sites/<slug:sitecode>/rules": Operation("read"),
    "PUT sites/<slug:sitecode>/rules": Operation("admin", {"rules": []}),
    "POST sites/<slug:sitecode>/rules/what-if": Operation("read:personal", {"rules": []}),
    "GET segments": Operation("read", elsewhere=NOTHING),
    "POST segments": Operation("write", {"name": "New", "conditions": [[{"on": "group"}]], "sitecode": SITECODE}, 201),
    "POST segments/preview": Operation("read:personal", {"conditions": [[{"on": "group"}]], "sitecode": SITECODE}),
    "GET segments/<number:segment_id>": Operation("read"),
    "PATCH segments/<number:segment_id>": Operation("write", {"name": "Renamed"}),
    "DELETE segments/<number:segment_id>": Operation("write", status=204),
    "GET segments/<number:segment_id>/entries": Operation("read:personal"),
    "GET segments/<number:segment_id>/history": Operation("read:personal"),
    "GET segments/<number:segment_id>/members": Operation("read:personal"),
    "GET sites/<slug:sitecode>/person/segments": Operation("read:personal", query="id=user-1"),
    "GET sites/<slug:sitecode>/tokens": Operation("admin"),
    "POST sites/<slug:sitecode>/tokens": Operation("admin", {"description": "CI", "scopes": ["admin"]}, 201),
    "DELETE sites/<slug:sitecode>/tokens/<number:token_id>": Operation("admin", status=204),
    "POST sites/<slug:sitecode>/tokens/<number:token_id>/take-over": Operation("admin"),
    "GET flags": Operation("read", elsewhere=NOTHING),
    "POST flags": Operation("write", {"featureFlags": [], "sitecode": SITECODE}),
    "GET flags/<number:flag_id>": Operation("read"),
    "PATCH flags/<number:flag_id>": Operation("write", {"isEnabled": True}),
    "DELETE flags/<number:flag_id>": Operation("write", status=204),
    "GET visitors/<anything:code>/conversions": Operation("read:personal", elsewhere=NOTHING),
}


def list_operations() -> Iterator[str]:
    """Yield method and path of each operation of the URL map."""
    routes = {**PATHS, **{f"/{path}": view for path, view in AUTOMATION_PATHS.items()}}
    for path, view in routes.items():
        actions: Any = getattr(view, "actions", None)
        kind: Any = getattr(view, "view_class", None) or getattr(view, "cls", None)
        methods = list(actions) if actions else [name for name in kind.http_method_names if hasattr(kind, name)]
        yield from (f"{method.upper()} {path}" for method in methods if method not in {"options", "head"})


def make_places(world: World) -> dict[str, str]:
    """Make a row of each kind, and return the values of the parameters in paths."""
    world.track("Buy")
    world.send(world.event("group", event=None, groupId="acme/1", properties={"plan": "gold"}))
    world.send(enter_persona(world, "big/spenders"))
    erasure = Erasure.objects.create(
        site=world.site, erased_by="ada", created_at=START, hashes=[], sought=[], finished_at=START
    )
    alert = Alert.objects.create(site=world.site, name="Quota", condition="quota", emails=["a@example.com"])
    teammate = User.objects.create_user("teammate")
    member = Membership.objects.create(user=teammate, site=world.site, role="viewer")
    source = create_source(world.site, name="Web", kind="server", write_key="a_write_key")
    OwnKey.objects.create(
        site=world.site,
        key="prefs/1",
        document='{"theme": "dark"}',
        expires_at=now() + timedelta(hours=1),
        updated_at=now(),
    )
    token, _ = make_token([world.site], description="T", scopes=["admin"], made_by=teammate, expires_at=None)
    sender = create_credential([world.site], name="Sender").credential  # one with more scopes needs a token with more
    return {
        "goal_id": str(make_goal(world, "Bought").pk),
        "source_id": str(source.pk),
        "key": "a_write_key",
        "sitecode": SITECODE,
        "number": str(world.last_message().pk),
        "code": "user-1",
        "site_id": str(world.site.pk),
        "custom_data_id": str(CustomData.objects.create(site=world.site, index=1, name="plan").pk),
        "alert_id": str(alert.pk),
        "experiment_id": str(Experiment.objects.create(site=world.site, key="checkout", number=1).pk),
        "annotation_id": str(Annotation.objects.create(site=world.site, at=START, text="Sale", who="ada").pk),
        "credential_id": str(sender.pk),
        "member_id": str(member.pk),
        "erasure_id": str(erasure.pk),
        "flag_id": str(FeatureFlag.objects.create(site=world.site, key="new_checkout", document=FLAG).pk),
        "segment_id": str(make_segment(world.site, [{"on": "group"}]).pk),
        "own_key": "prefs%2F1",
        "token_id": str(token.pk),
        "group_id": "acme%2F1",
        "name": "big%2Fspenders",
    }


def enter_persona(world: World, name: str) -> dict[str, Any]:
    """Return the event of a person who enters a persona."""
    context = {"personas": {"computation_class": "audience", "computation_key": name}}
    return world.event(event="Audience Entered", properties={name: True}, context=context)


def fill(path: str, places: Mapping[str, str]) -> str:
    """Return a route of the URL map as a path with these values. Those of the Automation API begin with a slash."""
    head, *rest = (part.partition(">") for part in path.split("<"))
    root = "" if path.startswith("/") else "/api/"
    return root + head[0] + "".join(places[name.partition(":")[2]] + tail for name, _, tail in rest)


def documented_statuses(name: str) -> set[int]:
    """Return the statuses that the OpenAPI document has for an operation."""
    method, _, path = name.partition(" ")
    route = re.sub(r"<\w+:(\w+)>", r"{\1}", path if path.startswith("/") else f"/api/{path}")
    return set(map(int, read_paths()[route][method.lower()]["responses"]))


@cache
def read_paths() -> Mapping[str, Any]:
    """Return the paths of the document, read once because that takes seconds."""
    paths: Mapping[str, Any] = yaml.safe_load(DOCUMENT.read_text(encoding="utf-8"))["paths"]
    return paths


def holder_of(world: World, *scopes: str, site: Site | None = None, is_superuser: bool = False) -> Caller:
    """Return a caller whose token has these scopes in a site, all of them if none is given."""
    of = site or world.site
    user = owner_of(of)
    if is_superuser:
        User.objects.filter(pk=user.pk).update(is_superuser=True)
    _, value = make_token([of], description="CI", scopes=scopes or TokenScope.values, made_by=user, expires_at=None)
    return Caller(f"Bearer {value}", world.credential)
