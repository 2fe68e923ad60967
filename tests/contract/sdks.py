"""Published server SDKs, each run in a separate process, and the calls that they send."""

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from api.models import Message
from goals.models import Conversion
from tests.contract.node import needs_packages
from tests.contract.server import Shop

HERE = Path(__file__).parent
SEND_SECONDS = 180
TRAITS = {"plan": "scale", "age": 36, "tags": ["a", "b"], "city": "Kraków ☕"}

# One call of each type, with a visitor code in both places where an SDK can put it.
CALLS: Sequence[Mapping[str, Any]] = (
    {"type": "identify", "userId": "user-1", "anonymousId": "anon-1", "traits": TRAITS},
    {"type": "group", "userId": "user-1", "groupId": "initech", "traits": {"name": "Initech"}},
    {
        "type": "track",
        "userId": "user-1",
        "event": "Order Completed",
        "properties": {"revenue": 19.99, "currency": "EUR", "kameleoonVisitorCode": "vc-properties"},
    },
    {
        "type": "track",
        "userId": "user-2",
        "event": "Signed Up",
        "context": {"kameleoonVisitorCode": "vc-context"},
    },
    {"type": "page", "userId": "user-1", "name": "Home"},
    {"type": "screen", "userId": "user-1", "name": "Cart"},
    {"type": "identify", "userId": "old-1", "traits": {"plan": "basic"}},
    {"type": "alias", "previousId": "old-1", "userId": "new-1"},
)
BURST: Sequence[Mapping[str, Any]] = tuple(
    {"type": "track", "userId": "user-3", "event": "Burst", "properties": {"number": number}} for number in range(250)
)


@dataclass(frozen=True, slots=True)
class Sdk:
    """A published client of Segment or RudderStack with its options."""

    package: str
    version: str
    gzip: bool
    batch_size: int

    def send(self, url: str, shop: Shop, calls: Sequence[Mapping[str, Any]]) -> Any:
        """Make the calls, and wait until they are delivered or given up. Return the SDK's version and its errors."""
        task = {
            "package": self.package,
            "url": url,
            "write_key": shop.write_key,
            "gzip": self.gzip,
            "batch_size": self.batch_size,
            "calls": calls,
        }
        done = subprocess.run(
            self.command,
            input=json.dumps(task),
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=SEND_SECONDS,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout.splitlines()[-1])

    @property
    def command(self) -> Sequence[str]:
        if self.package.startswith("@"):
            return "node", str(HERE / "sdk_sender.mjs")
        return sys.executable, "-P", str(HERE / "sdk_sender.py")

    @property
    def environment(self) -> Mapping[str, str]:
        """The environment of the process, without proxies and with the folder of an older Python SDK."""
        beside = Path(sys.prefix) / f"{self.package}-{self.version}"
        return {**os.environ, "PYTHONPATH": str(beside), "NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"}


def published(*, both_encodings: bool) -> list[Any]:
    """Return every SDK as a parameter of a test, with and without compression if the SDK has that option."""
    sdks = [
        Sdk("segment", "2.4.0", gzip=True, batch_size=50),
        Sdk("segment", "2.3.3", gzip=False, batch_size=50),
        Sdk("rudderstack", "2.1.9", gzip=True, batch_size=50),
        Sdk("@segment/analytics-node", "3.1.0", gzip=False, batch_size=15),
        Sdk("@rudderstack/rudder-sdk-node", "3.0.13", gzip=True, batch_size=20),
    ]
    if both_encodings:
        sdks += [replace(sdk, gzip=not sdk.gzip) for sdk in sdks if sdk.package != "@segment/analytics-node"]
    return [
        pytest.param(
            sdk,
            id=f"{sdk.package}-{sdk.version}{'-gzip' if sdk.gzip else ''}",
            marks=[needs_packages] if sdk.package.startswith("@") else [],
        )
        for sdk in sdks
    ]


def assert_arrived_once(shop: Shop, calls: Sequence[Mapping[str, Any]]) -> None:
    """Require that every call became one digested message, and every call of the burst one conversion.

    A request that broke off is stored as rejected with the part of its body that arrived.
    """
    messages = Message.objects.filter(site__sitecode=shop.sitecode).exclude(reason="invalid_json")
    assert Counter(messages.values_list("type", flat=True)) == Counter(call["type"] for call in calls)
    assert set(messages.values_list("status", flat=True)) == {Message.Status.DONE}
    assert messages.exclude(message_id=None).values("message_id").distinct().count() == len(calls)
    burst = Conversion.objects.filter(site__sitecode=shop.sitecode, goal__name="SegmentIO track – Burst")
    assert sorted(message.properties["number"] for message in burst) == list(range(len(BURST)))
