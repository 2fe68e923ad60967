"""Script that reads remote data with Kameleoon's SDK, without any code of Goalpost in the process.

It takes a JSON object on standard input and prints the values by key as its last line. The SDK is the published one
except for TLS on port 443 and names in the DNS, which a test server cannot have.
"""

import json
import socket
import sys
from typing import Any
from unittest import mock

from kameleoon import KameleoonClientConfig, KameleoonClientFactory
from kameleoon.network.url_provider import UrlProvider

DOMAIN = "goalpost.test"


def point_sdk_at(port: int) -> None:
    """Replace scheme, port and DNS. The names of `network_domain` stay, so that they arrive as Host."""
    for name in ("_CONFIGURATION_API_URL_FORMAT", "_ACCESS_TOKEN_URL_FORMAT", "_DATA_API_URL_FORMAT"):
        published: str = getattr(UrlProvider, name)
        assert published.startswith("https://{0}")
        setattr(UrlProvider, name, published.replace("https://{0}", f"http://{{0}}:{port}"))


def resolve(host: Any, *arguments: Any, **options: Any) -> Any:
    """Resolve every name of the domain to this machine, and refuse other names."""
    assert str(host).endswith(f".{DOMAIN}"), host
    return getaddrinfo("127.0.0.1", *arguments, **options)


def read(task: dict[str, Any]) -> dict[str, Any]:
    """Return the values under the task's keys. Do not wait for feature flags, which remote data does not need."""
    config = KameleoonClientConfig(task["client_id"], task["client_secret"], network_domain=DOMAIN)
    client = KameleoonClientFactory.create(task["sitecode"], config)
    if task["is_token_revoked"]:
        client.get_remote_data("common")  # fetches a token
        client._network_manager.access_token_source._cached_token.value += "x"
    return {key: client.get_remote_data(key) for key in task["keys"]}


if __name__ == "__main__":
    getaddrinfo = socket.getaddrinfo
    given = json.load(sys.stdin)
    point_sdk_at(given["port"])
    with mock.patch("socket.getaddrinfo", resolve):
        print("\n" + json.dumps(read(given)), flush=True)
