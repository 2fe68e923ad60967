"""Senders of events over HTTP, with their own numbers and times."""

import base64
import gzip
import itertools
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx

START = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) - timedelta(days=9)

ACCEPTED_OR_REFUSED = {200, 400, 413}


@dataclass
class Sender:
    """One source of a site. `key` is its write key, or the API key of the site's Segment destination."""

    base: str
    key: str
    sitecode: str
    prefix: str  # of its messageIds
    is_destination: bool = False
    client: httpx.Client = field(default_factory=lambda: httpx.Client(timeout=60))
    _numbers: "itertools.count[int]" = field(default_factory=lambda: itertools.count(1))

    def event(self, type_: str, *, at: float = 0, **fields: Any) -> dict[str, Any]:
        """Return an event `at` seconds after the start with a new messageId. Fields with None are left out."""
        number = next(self._numbers)
        event = {
            "type": type_,
            "messageId": f"{self.prefix}-{number}",
            "timestamp": (START + timedelta(seconds=at or number * 7)).isoformat(),
            **fields,
        }
        return {name: value for name, value in event.items() if value is not None}

    def send(self, type_: str, *, status: int = 0, **fields: Any) -> None:
        """Send one event in one request."""
        event = self.event(type_, **fields)
        self.post(event, path="/segmentio" if self.is_destination else f"/v1/{type_}", status=status)

    def batch(self, *events: Mapping[str, Any], path: str = "/v1/batch", status: int = 0, **beneath: Any) -> None:
        """Send several events in one request."""
        body = list(events) if self.is_destination else {"batch": list(events), **beneath}
        self.post(body, path="/segmentio" if self.is_destination else path, status=status)

    def post(
        self,
        body: Any,
        *,
        path: str = "/v1/batch",
        status: int = 0,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """POST a body, bytes unchanged, anything else as JSON. Require this status, or acceptance or a 400 or 413."""
        content = body if isinstance(body, bytes) else json.dumps(body, ensure_ascii=False).encode()
        answer = self.client.post(self.base + path, content=content, headers={**self.own_headers(), **(headers or {})})
        expected = {status} if status else ACCEPTED_OR_REFUSED
        assert answer.status_code in expected, (path, content[:500], answer.status_code, answer.text[:500])

    def own_headers(self) -> dict[str, str]:
        if self.is_destination:
            return {"authorization": f"Basic {self.key}", "x-segment-settings": self.sitecode}
        return {"authorization": "Basic " + base64.b64encode(f"{self.key}:".encode()).decode()}


def compress(body: Any) -> bytes:
    """Return a body as gzip of its JSON."""
    return gzip.compress(json.dumps(body).encode(), mtime=0)
