"""Every operation of the management API: the scope that it needs, a request that works, and what another site gets."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from api.http.tokens import make_token
from api.ingest.provisioning import create_source
from api.models import Site, TokenScope
from api.rest.urls import PATHS
from tests.support.management_api import Caller, make_goal
from tests.world import SITECODE, World, owner_of

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


OPERATIONS: Final[Mapping[str, Operation]] = {
    "GET goals": Operation("read", elsewhere=NOTHING),
    "POST goals": Operation("write", {"name": "New", "sitecode": SITECODE}, 201),
    "GET goals/<number:goal_id>": Operation("read"),
    "PATCH goals/<number:goal_id>": Operation("write", {"name": "Sold"}),
    "DELETE goals/<number:goal_id>": Operation("write", status=204),
    "POST goals/<number:goal_id>/archive": Operation("write"),
    "POST goals/<number:goal_id>/restore": Operation("write"),
    "GET goals/<number:goal_id>/breakdown": Operation("read:personal", query="by=currency"),
    "GET goals/<number:goal_id>/conversions": Operation("read:personal"),
    "GET messages/<number:number>/trace": Operation("read:personal"),
    "GET trace": Operation("read:personal", query="messageId=message-1"),
    "GET why-not": Operation("read:personal", query="visitor=user-1&goal={goal_id}"),
    "GET sources": Operation("read", elsewhere=NOTHING),
    "POST sources": Operation("admin", {"name": "App", "kind": "server", "sitecode": SITECODE}, 201),
    "GET sources/<number:source_id>": Operation("read"),
    "PATCH sources/<number:source_id>": Operation("admin", {"name": "Renamed"}),
    "POST sources/<number:source_id>/write-keys": Operation("admin", {"overlapHours": 1}, 201),
    "DELETE sources/<number:source_id>/write-keys/<slug:key>": Operation("admin", status=204),
    "GET sites/<slug:sitecode>/rules": Operation("read"),
    "PUT sites/<slug:sitecode>/rules": Operation("admin", {"rules": []}),
    "POST sites/<slug:sitecode>/rules/what-if": Operation("read:personal", {"rules": []}),
    "GET visitors/<anything:code>/conversions": Operation("read:personal", elsewhere=NOTHING),
}


def list_operations() -> Iterator[str]:
    """Yield method and path of each operation of the URL map."""
    for path, view in PATHS.items():
        actions: Any = getattr(view, "actions", None)
        kind: Any = getattr(view, "view_class", None) or getattr(view, "cls", None)
        methods = list(actions) if actions else [name for name in kind.http_method_names if hasattr(kind, name)]
        yield from (f"{method.upper()} {path}" for method in methods if method not in {"options", "head"})


def make_places(world: World) -> dict[str, str]:
    """Make a row of each kind, and return the values of the parameters in paths."""
    world.track("Buy")
    source = create_source(world.site, name="Web", kind="server", write_key="a_write_key")
    return {
        "goal_id": str(make_goal(world, "Bought").pk),
        "source_id": str(source.pk),
        "key": "a_write_key",
        "sitecode": SITECODE,
        "number": str(world.last_message().pk),
        "code": "user-1",
    }


def fill(path: str, places: Mapping[str, str]) -> str:
    """Return a route of the URL map as a path with these values."""
    parts = [part.partition(">") for part in path.split("<")]
    head, *rest = parts
    return "/api/" + head[0] + "".join(places[name.partition(":")[2]] + tail for name, _, tail in rest)


def holder_of(world: World, *scopes: str, site: Site | None = None) -> Caller:
    """Return a caller whose token has these scopes in a site, all of them if none is given."""
    of = site or world.site
    _, value = make_token(
        [of], description="CI", scopes=scopes or TokenScope.values, made_by=owner_of(of), expires_at=None
    )
    return Caller(f"Bearer {value}", world.credential)
