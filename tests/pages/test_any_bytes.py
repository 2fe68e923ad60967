"""Whatever bytes a form or an upload of the admin holds, a page answers."""

from collections.abc import Mapping
from typing import Final

import pytest
from django.db import transaction
from django.test import Client

from tests.pages.catalogue import ACTIONS, Place
from tests.support.pages import Enter

FORM: Final = "application/x-www-form-urlencoded"
PART: Final = b'--x\r\nContent-Disposition: form-data; name="%b"%b\r\n\r\n%b\r\n--x--\r\n'
BODIES: Final[Mapping[str, tuple[str, bytes]]] = {
    "bytes that are no UTF-8": (FORM, b"name=caf\xe9&\xe9=1&do=\xff&query=%E9&body=%FF%FE"),
    "a name without a value": (FORM, b"&&=&name&do"),
    "NUL": (FORM, b"na\0me=\0&do=%00&name=%00"),
    "charset UTF-16": (f"{FORM}; charset=utf-16", "name=é".encode("utf-16")),
    "charset unknown": (f"{FORM}; charset=nonsense", b"name=a"),
    "charset of bytes": (f"{FORM}; charset=\xe9", b"name=a"),
    "JSON": ("application/json", b'{"name": "caf\xe9"}'),
    "a thousand fields": (FORM, b"&".join(b"f%d=1" % number for number in range(1_100))),
    "no boundary": ("multipart/form-data", PART % (b"name", b"", b"a")),
    "boundary of bytes": ("multipart/form-data; boundary=\xe9", PART % (b"name", b"", b"a")),
    "part of bytes": ("multipart/form-data; boundary=x", PART % (b"\xff", b'; filename="\xe9\0/../a"', b"\xff\0")),
    "part cut short": ("multipart/form-data; boundary=x", (PART % (b"name", b"", b"a"))[:-12]),
    "part in base64": (
        "multipart/form-data; boundary=x",
        PART % (b"name", b"\r\nContent-Transfer-Encoding: base64", b"!!!\xff"),
    ),
}


@pytest.mark.parametrize("name", ACTIONS)
def test_form__of_any_bytes__is_answered(place: Place, enter: Enter, name: str) -> None:
    client = enter("owner")
    address = place.address(name)

    assert {what: status for what in BODIES if (status := post(client, address, what)) >= 500} == {}


@pytest.mark.parametrize("address", ["/admin/login/", "/admin/logout/", "/admin/tables/", "/admin/auth/user/add/"])
def test_form__of_any_bytes_beside_the_pages__is_answered(place: Place, enter: Enter, address: str) -> None:
    for client in (enter("owner"), Client(raise_request_exception=False)):
        assert {what: status for what in BODIES if (status := post(client, address, what)) >= 500} == {}


def post(client: Client, address: str, what: str) -> int:
    """Return the status of the answer to a body, and roll its changes back."""
    client.raise_request_exception = False
    content_type, content = BODIES[what]
    with transaction.atomic():
        status = client.generic("POST", address, content, content_type=content_type).status_code
        transaction.set_rollback(True)
    return int(status)
