"""A site and its client for tests: send events, digest them, read remote data and rows."""

import base64
import itertools
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Self

import httpx
from django.contrib.auth.models import User
from django.db import transaction
from django.db.models import F

from api.digest import run
from api.digest.claims import Claims
from api.http.credentials import clear_lookups, encode_api_key
from api.ingest.provisioning import create_credential, create_site
from api.models import Credential, Membership, Message, Scope, Site
from goals import quota
from goals.models import Conversion, Goal, GoalCreation

SITECODE = "1q2w3e4r5t"
CLIENT_ID = "demo_client"
SECRET = "demo_secret"
START = datetime(2026, 11, 22, 3, 0, tzinfo=UTC)


def owner_of(*sites: Site, name: str = "ada") -> User:
    """Return a user who owns these sites and may have management tokens."""
    user, _ = User.objects.get_or_create(username=name)
    for site in sites:
        Membership.objects.get_or_create(user=user, site=site, defaults={"role": "owner"})
    return user


@dataclass
class World:
    """One site with a credential, an HTTP client and the worker's claims."""

    client: httpx.Client
    claims: Claims
    site: Site
    credential: Credential
    _numbers: "itertools.count[int]" = field(default_factory=lambda: itertools.count(1))

    @classmethod
    def build(cls, client: httpx.Client, claims: Claims) -> Self:
        site = create_site(name="Shop", sitecode=SITECODE, public_traits=["plan"])
        new = create_credential([site], name="Segment", scopes=Scope.values, client_id=CLIENT_ID, secret=SECRET)
        return cls(client, claims, site, new.credential)

    # Sending

    def event(self, type_: str = "track", *, at: float = 0, **fields: Any) -> dict[str, Any]:
        """Return an event `at` seconds after the start with a new messageId. Fields with None are left out."""
        number = next(self._numbers)
        event = {
            "type": type_,
            "messageId": f"message-{number}",
            "timestamp": (START + timedelta(seconds=at)).isoformat(),
            **({"event": "Signed Up"} if type_ == "track" else {}),
            "userId": "user-1",
            **fields,
        }
        return {name: value for name, value in event.items() if value is not None}

    def post(
        self,
        body: Any,
        *,
        path: str = "/segmentio",
        authorization: str | None = None,
        sitecode: str | None = SITECODE,
        headers: Mapping[str, str] | None = None,
    ) -> httpx.Response:
        """POST as the destination does. `body` is sent unchanged if it is bytes, otherwise as JSON."""
        given = {"authorization": authorization or f"Basic {encode_api_key(CLIENT_ID, SECRET)}"}
        given |= {"x-segment-settings": sitecode} if sitecode is not None else {}
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        return self.client.post(path, content=content, headers={**given, **(headers or {})})

    def send(self, *events: Mapping[str, Any]) -> None:
        """POST events one by one, then digest them."""
        for event in events:
            response = self.post(event)
            assert response.status_code == 200, response.text
        self.digest()

    def track(self, name: str, *, at: float = 0, **fields: Any) -> None:
        self.send(self.event("track", event=name, at=at, **fields))

    def identify(self, *, at: float = 0, traits: Mapping[str, Any] | None = None, **fields: Any) -> None:
        self.send(self.event("identify", at=at, properties=traits or {}, **fields))

    # Digesting

    def digest(self) -> None:
        run.digest_all(self.claims, seconds=30)

    def tend(self) -> None:
        """Do the work that beat schedules every second."""
        if run.tend_queues(self.claims):
            self.digest()

    def pass_time(self, seconds: float) -> None:
        """Make the ledger of new goals older and change no other time. Negative seconds set its clock back.

        The lock of the goal names prevents concurrent creations, so the ledger stays in order.
        """
        with transaction.atomic():
            quota.lock_names(self.site.pk)
            ledger = GoalCreation.objects.filter(site=self.site)
            ledger.update(created_at=F("created_at") - timedelta(seconds=seconds))

    def creations(self) -> list[datetime]:
        """Return the times in the ledger of new goals."""
        return list(
            GoalCreation.objects.filter(site=self.site).order_by("created_at").values_list("created_at", flat=True)
        )

    def change_site(self, **settings: Any) -> None:
        Site.objects.filter(pk=self.site.pk).update(**settings)
        self.site.refresh_from_db()
        clear_lookups()

    # Reading

    def get(self, key: str, *, token: bool = True, headers: Mapping[str, str] | None = None) -> httpx.Response:
        """GET `/map/map`, with credentials unless `token` is false."""
        basic = base64.b64encode(f"{CLIENT_ID}:{SECRET}".encode()).decode()
        given = {"authorization": f"Basic {basic}"} if token else {}
        return self.client.get(
            "/map/map", params={"siteCode": SITECODE, "key": key}, headers={**given, **(headers or {})}
        )

    def read(self, key: str, *, token: bool = True) -> Any:
        response = self.get(key, token=token)
        assert response.status_code == 200, response.text
        return response.json()

    def traits(self, id_: str) -> Any:
        return self.read(f"IDENTIFY_{id_}").get("traits", {})

    # Looking inside

    def goals(self) -> dict[str, int]:
        """Return the number of conversions of each live goal."""
        return {
            goal.name: goal.conversions.count()
            for goal in Goal.objects.filter(site=self.site, deleted_at=None).order_by("name")
        }

    def visitors(self) -> list[str]:
        """Return the visitor codes of all conversions in the order of their times."""
        codes = Conversion.objects.filter(site=self.site).order_by("occurred_at", "message_key")
        return list(codes.values_list("visitor_code", flat=True))

    def last_message(self) -> Message:
        return Message.objects.order_by("id").last()  # type: ignore[return-value]  # the test sent one

    def statuses(self) -> list[tuple[str, str]]:
        return list(Message.objects.order_by("id").values_list("status", "reason"))
