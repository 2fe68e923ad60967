"""Callers of the management API, and bodies of its answers."""

import json
from dataclasses import dataclass, field
from typing import Any, Self

from django.http import HttpResponse, StreamingHttpResponse
from django.test import Client

from api.http.credentials import encode_api_key
from api.ingest.provisioning import create_credential
from api.models import Credential, Scope, Site
from goals import catalogue
from goals.models import Goal
from goals.naming import TEMPLATE
from tests.world import World


@dataclass
class Caller:
    """A client with a credential. As over HTTP, an unexpected exception becomes a 500."""

    authorization: str
    credential: Credential
    client: Client = field(default_factory=lambda: Client(raise_request_exception=False))

    @classmethod
    def build(cls, *sites: Site) -> Self:
        new = create_credential(list(sites), name="test", scopes=Scope.values)
        return cls(f"Basic {encode_api_key(new.credential.client_id, new.secret)}", new.credential)

    def ask(self, method: str, path: str, body: Any = None, **headers: str) -> HttpResponse:
        """Send a request. `body` is sent unchanged if it is bytes, otherwise as JSON."""
        content = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        headers = {"authorization": self.authorization, **headers}
        response = self.client.generic(method, path, content, content_type="application/json", headers=headers)
        if isinstance(response, StreamingHttpResponse):
            response = HttpResponse(response.getvalue(), status=response.status_code, headers=dict(response.headers))
        assert isinstance(response, HttpResponse)
        return response

    def get(self, path: str) -> Any:
        """Return the JSON of a successful GET."""
        response = self.ask("GET", path)
        assert response.status_code == 200, response.content
        return json.loads(response.content)

    def post(self, path: str, body: Any = None) -> HttpResponse:
        return self.ask("POST", path, body)

    def patch(self, path: str, body: Any) -> HttpResponse:
        return self.ask("PATCH", path, body)

    def names(self, query: str = "") -> list[str]:
        """Return the names in the list of goals in its order."""
        return [goal["name"] for goal in self.get(f"/api/goals?{query}")]


def refusal(response: HttpResponse) -> tuple[int, str]:
    """Return status and code of an error, which must have the API's standard body."""
    assert response["Content-Type"] == "application/json", response.content
    body = json.loads(response.content)
    assert body.keys() == {"success", "code", "message"}
    assert body["success"] is False
    assert body["message"]
    return response.status_code, body["code"]


def body(response: HttpResponse) -> Any:
    return json.loads(response.content)


def message(response: HttpResponse) -> str:
    return str(body(response)["message"])


def make_goal(world: World, name: str, *tags: str, **fields: Any) -> Goal:
    return catalogue.create_goal(Goal(site=world.site, name=name, **fields), tags=tags, template=TEMPLATE)
