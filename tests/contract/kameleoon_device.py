"""Script with Kameleoon's published Python SDK, untouched, without any code of Goalpost in the process.

It takes a command a line on standard input, `[name, …arguments]`, and prints a line of JSON with its result.
"""

import json
import sys
from typing import Any

from kameleoon import KameleoonClientConfig, KameleoonClientFactory
from kameleoon.data import (
    Browser,
    BrowserType,
    CustomData,
    Device,
    DeviceType,
    Geolocation,
    PageView,
    UniqueIdentifier,
    UserAgent,
)
from kameleoon.types.remote_visitor_data_filter import RemoteVisitorDataFilter

KINDS = {
    "customData": CustomData,
    "page": PageView,
    "userAgent": UserAgent,
    "device": lambda name: Device(DeviceType[name]),
    "browser": lambda name: Browser(BrowserType[name]),
    "geolocation": Geolocation,
}


class Phone:
    """The SDK of one device or server."""

    def __init__(self, task: dict[str, Any]) -> None:
        config = KameleoonClientConfig(
            task["client_id"],
            task["secret"],
            network_domain=task["domain"],
            environment=task.get("environment"),
            refresh_interval_minute=task.get("refresh_minutes", 60),
        )
        self.client = KameleoonClientFactory.create(task["sitecode"], config)

    def initialize(self) -> Any:
        return self.client.wait_init()

    def add(self, visitor: str, kind: str, *values: Any) -> None:
        self.client.add_data(visitor, KINDS[kind](*values))

    def convert(self, visitor: str, goal: int, revenue: float, negative: bool, metadata: list[Any]) -> None:  # noqa: FBT001 - by the order of JSON
        made = [CustomData(index, *values) for index, values in metadata] or None
        self.client.track_conversion(visitor, goal, revenue, negative=negative, metadata=made)

    def flush(self, visitor: str) -> None:
        self.client.flush(visitor, instant=True)

    def variation(self, visitor: str, flag: str) -> Any:
        return self.client.get_variation(visitor, flag).key

    def consent(self, visitor: str, answer: str) -> None:
        self.client.set_legal_consent(visitor, consent=answer == "given")

    def identify(self, visitor: str) -> None:
        """Say that this visitor code is a unique identifier."""
        self.client.add_data(visitor, UniqueIdentifier(value=True))

    def restart(self) -> None:
        """Do nothing, because this SDK asks again by itself."""

    def remote(self, key: str) -> Any:
        return self.client.get_remote_data(key)

    def spoil_token(self) -> None:
        """Fetch a token and change it, as if its secret had been rotated."""
        self.client.get_remote_data("common")
        self.client._network_manager.access_token_source._cached_token.value += "x"

    def read(self, visitor: str) -> list[Any]:
        """Return what the SDK makes of the visitor's data, as pairs of kind and value."""
        wanted = RemoteVisitorDataFilter(25, page_views=True, geolocation=True, conversions=True, experiments=True)
        return sorted(filter(None, map(describe, self.client.get_remote_visitor_data(visitor, data_filter=wanted))))


def describe(found: Any) -> list[Any] | None:
    """Return kind and value of a piece of data."""
    kind = type(found).__name__
    if kind == "Conversion":
        return ["conversion", found.goal_id]
    if kind == "CustomData":
        return ["customData", [found.index, sorted(found.values)]]
    if kind == "PageView":
        return ["page", found.url]
    if kind == "Geolocation":
        return ["geolocation", found.city]
    return None


if __name__ == "__main__":
    phone = Phone(json.loads(sys.argv[1]))
    for line in sys.stdin:
        name, *arguments = json.loads(line)
        try:
            result = {"ok": getattr(phone, name)(*arguments)}
        except Exception as error:  # noqa: BLE001 - the test asserts which
            result = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(result), flush=True)
