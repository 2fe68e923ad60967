"""However JSON spells an id: erasing it finds it, a pseudonym takes its place, and it does not come back."""

import base64
import gzip
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, Final

import pytest
from django.db import connection

from api.checks.run import verify
from api.erasure import erase as erasure
from api.ingest.erased import MAX_TOKENS
from api.models import Message, Site
from cohorts import ids
from cohorts.models import Identity
from tests.support.erasures import finish_erasures
from tests.support.messages import all_bodies, body_of, forget_messages
from tests.world import World

# (id, how a sender may write it)
SPELLINGS: Final = [
    ("ada-king", rb'"ada-king"'),
    ("ada-king", rb'"\u0061da-king"'),
    ("ada-king", rb'"ad\u0061\u002Dking"'),
    ("ada-king", rb'"\u0061\u0064\u0061\u002d\u006B\u0069\u006e\u0067"'),
    ("ada-king", rb'" ada-king\n "'.replace(rb"\n", b"\\n")),
    ("ada-king", '"\u00a0ada-king\u2003"'.encode()),
    ("ada-king", rb'"\u00a0ada-king\u2003"'),
    ("ada@example.com", rb'"ada\u0040example.com"'),
    ("ada@example.com", rb'"ada@example\u002ecom"'),
    ("id/é", '"id/é"'.encode()),
    ("id/é", rb'"id\/\u00e9"'),
    ("id/é", rb'"id\/\u00E9"'),  # as .NET writes it
    ("id/é", rb'"id\u002F\u00E9"'),
    ("id/e\u0301", rb'"id/e\u0301"'),
    ("naïve-\U0001f600", rb'"na\u00EFve-\uD83D\uDE00"'),
    ("naïve-\U0001f600", rb'"na\u00efve-\ud83d\ude00"'),
    ("a\ufffdb", rb'"a\u0000b"'),
    ("a\ufffdb", rb'"a\uD800b"'),
    ("a\ufffdb", rb'"a\ud800b"'),
    ('say "hi"\\', rb'"say \u0022hi\u0022\u005C"'),
    ('say "hi"\\', rb'"say \"hi\"\\"'),
    ("tab\there", rb'"tab\there"'),
    ("tab\there", rb'"tab\u0009here"'),
    ("1234567", b"1234567"),
    ("1234567", b'"1234567"'),
    ("1234567", b'" 1234567 "'),
    ("1234567", rb'"123456\u0037"'),
    ("1234567", b"1234567.0"),
    ("1234567", b"1234567.000"),
    ("1234567", b"1.234567e6"),
    ("1234567", b"1.234567E+6"),
    ("1234567", b"12345670e-1"),
    ("1234567", b"123456.7e01"),
    ("7000000", b"7e6"),
    ("1234567.5", b"1234567.50"),
    ("1234567.5", b"1.2345675e6"),
    ("10000000000000000000000", b"1e22"),
    ("-1234567", b"-1234567.0"),
]


def body(spelling: bytes, *, message_id: str, type_: str = "identify", more: bytes = b"") -> bytes:
    head = b'{"type": "%b", "messageId": "%b", ' % (type_.encode(), message_id.encode())
    return head + b'"userId": %b, "properties": {"needle": "of-the-person"}%b}' % (spelling, more)


def spelled_in(value: Any) -> Iterator[str]:
    """Every id that a document spells, names of fields among them."""
    if isinstance(value, dict):
        for name, each in value.items():
            yield str(name).strip()
            yield from spelled_in(each)
    elif isinstance(value, list):
        for each in value:
            yield from spelled_in(each)
    else:
        yield (ids.spell(value) or "").strip()


def stored() -> str:
    """Return every row of every table of Goalpost, as text; what bodies and documents spell is read first."""
    texts = []
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT table_name FROM information_schema.tables WHERE table_schema = 'public'"
            " AND table_name NOT IN (SELECT relname FROM pg_class WHERE relispartition)"
        )
        for (table,) in cursor.fetchall():
            if table.startswith(("api_", "goals_", "cohorts_")) and table != "api_erasure":
                cursor.execute(f'SELECT t::text FROM "{table}" t')
                texts += [row[0] for row in cursor.fetchall()]
    for message in Message.objects.all():
        raw = body_of(message)
        try:
            texts += spelled_in(json.loads(raw))
        except ValueError:
            texts.append(raw.decode(errors="replace"))
    return "\n".join(text.encode("utf-16", "surrogatepass").decode("utf-16", "replace") for text in texts)


def erase(site: Site, id_: str) -> None:
    assert erasure.erase(site, id_, by="x", now=datetime.now(UTC)) is not None
    finish_erasures()


@pytest.mark.promise("N-13")
@pytest.mark.parametrize(("id_", "spelling"), SPELLINGS)
def test_erase__person_who_sent_their_id_so__leaves_nothing_and_stays_away(
    world: World, site: Site, id_: str, spelling: bytes
) -> None:
    for type_ in ("identify", "page"):
        assert world.post(body(spelling, message_id=f"first-{type_}", type_=type_)).status_code == 200
    world.digest()
    assert Identity.objects.filter(value=id_).exists()

    erase(site, id_)

    left = stored()
    assert "of-the-person" not in left
    assert id_ not in left.split("\n")

    world.post(body(spelling, message_id="late"))
    world.post(body(b'"grace"', message_id="link", type_="alias", more=b', "previousId": %b' % spelling))
    world.digest()
    assert world.statuses()[-2:] == [("done", "suppressed")] * 2
    assert "of-the-person" not in stored()
    assert not Identity.objects.filter(value=id_).exists()
    assert not [report for report in verify() if report.found]


@pytest.mark.promise("N-13")
@pytest.mark.parametrize(("id_", "spelling"), SPELLINGS)
def test_erase__person_whom_others_named_so__leaves_a_pseudonym(
    world: World, site: Site, id_: str, spelling: bytes
) -> None:
    world.identify(userId=id_, traits={"a": 1})
    others = b', "context": {"externalIds": [{"id": %b}], "traits": {"friends": [%b]}}' % (spelling, spelling)
    for type_ in ("identify", "page"):
        world.post(body(b'"grace"', message_id=f"m-{type_}", type_=type_, more=others))
    world.digest()

    erase(site, id_)

    assert Message.objects.filter(message_id__in=["m-identify", "m-page"]).count() == 2
    assert id_ not in {text for message in Message.objects.all() for text in spelled_in(json.loads(body_of(message)))}
    registers = Identity.objects.get(value="grace").registers
    assert id_ not in set(spelled_in(registers))
    assert not [report for report in verify() if report.found]


@pytest.mark.promise("N-13")
@pytest.mark.parametrize(
    "message_id",
    [
        "ada@example.com",
        " ada@example.com ",
        "invite:ada@example.com",
        "mailto:ada@example.com",
        "x?to=ada%40example.com",
    ],
)
def test_erase__id_within_a_message_id_of_others__is_in_no_column(world: World, site: Site, message_id: str) -> None:
    """In the message, its conversion's key, and the stamps and history of whoever sent it."""
    world.identify(userId="ada@example.com")
    for type_ in ("identify", "track", "page"):
        world.post(world.event(type_, userId="grace", messageId=message_id, traits={"b": 2}))
    entered = {"audience_key": "vip", "vip": True}
    world.post(
        world.event("track", userId="bob", messageId=f"2 {message_id}", event="Audience Entered", properties=entered)
    )
    world.digest()

    erase(site, "ada@example.com")

    assert "ada@example.com" not in stored()
    assert "ada%40example.com" not in stored()
    assert not [report for report in verify() if report.found]


@pytest.mark.promise("N-13")
@pytest.mark.parametrize("message_id", ["ada@example.com", "late/ada@example.com", "ada@example.com ", "x"])
def test_erased__late_event_whose_message_id_names_them__leaves_no_id(
    world: World, site: Site, message_id: str
) -> None:
    world.identify(userId="ada@example.com")
    erase(site, "ada@example.com")

    for _ in range(3):
        world.send(world.event("identify", userId="ada@example.com", messageId=message_id))

    assert world.statuses()[-1] == ("done", "suppressed")
    assert "ada@example.com" not in stored()


REFUSED: Final = [
    ("/v1/track", b'{"messageId": "r", "userId": %b, "traits": {"needle": "of-the-person"}}'),  # no name
    ("/v1/group", b'{"messageId": "r", "userId": %b, "traits": {"needle": "of-the-person"}}'),  # no group
    ("/v1/batch", b'{"batch": [{"type": "nothing", "anonymousId": %b, "traits": {"needle": "of-the-person"}}]}'),
    ("/segmentio", b'{"type": "nothing", "userId": %b, "traits": {"needle": "of-the-person"}}'),
    (
        "/segmentio",
        b'{"type": "nothing", "userId": "x", "properties": {"k_visitorCode": %b, "needle": "of-the-person"}}',
    ),
    ("/segmentio", b'[{"type": "nothing", "userId": %b, "traits": {"needle": "of-the-person"}}, {"type": "no"}]'),
]


@pytest.mark.promise("N-13")
@pytest.mark.parametrize(("path", "sent"), REFUSED)
@pytest.mark.parametrize("spelling", [rb'"ada-king"', rb'"\u0061da-king"'])
def test_erased__late_event_that_is_refused__is_kept_without_its_body(
    world: World, site: Site, path: str, sent: bytes, spelling: bytes
) -> None:
    """Expect ingest to drop the body itself, because rejected events never reach the digest."""
    key = site.sources.get().write_keys.get().key
    headers = {} if path == "/segmentio" else {"authorization": "Basic " + _basic(key)}
    world.identify(userId="ada-king")
    world.post(sent.replace(b"%b", b'"bob"'), path=path, headers=headers)
    erase(site, "ada-king")
    assert "of-the-person" in stored()  # of Bob

    forget_messages(status="rejected")
    assert world.post(sent.replace(b"%b", spelling), path=path, headers=headers).status_code == 400

    assert Message.objects.filter(status="rejected").exists()
    assert "of-the-person" not in stored()


def test_erased__request_with_too_many_values_to_compare__keeps_the_rest_without_bodies(
    world: World, site: Site
) -> None:
    key = site.sources.get().write_keys.get().key
    world.identify(userId="ada-king")
    erase(site, "ada-king")
    values = b",".join(b"%d" % number for number in range(MAX_TOKENS))
    items = [b'{"userId": "bob", "needle": "needle-%d", broken, "n": [%b]}' % (n, values) for n in range(4)]

    response = world.post(
        b'{"batch": [' + b",".join(items) + b"]}", path="/v1/batch", headers={"authorization": "Basic " + _basic(key)}
    )

    assert response.status_code == 400
    assert Message.objects.filter(status="rejected").count() == 2  # events without bodies are identical
    assert "needle-0" in stored()  # compared, and not of the person
    assert "needle-3" not in stored()


def _basic(key: str) -> str:
    return base64.b64encode(f"{key}:".encode()).decode()


@pytest.mark.promise("N-13")
@pytest.mark.parametrize("content_encoding", ["gzip", "br", "deflate"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-16-le", "latin-1"])
def test_erase__id_in_a_refused_body__goes_whatever_its_encoding(
    world: World, site: Site, content_encoding: str, encoding: str
) -> None:
    world.identify(userId="ada@example.com")
    text = '{"type": "nothing", "userId": "ada@example.com", "properties": {"needle": "of-the-person"}}'
    raw = text.encode(encoding)
    world.post(raw, headers={})
    world.post(gzip.compress(raw), headers={"content-encoding": content_encoding})
    world.post(gzip.compress(raw)[:-9], headers={"content-encoding": content_encoding})

    erase(site, "ada@example.com")

    left = stored() + "".join(body.decode("utf-16-le", "replace") for body in all_bodies())
    assert "ada@example.com" not in left
    for message in Message.objects.all():
        raw = body_of(message)
        assert not raw.startswith(b"\x1f\x8b")
        assert "of-the-person" not in raw.decode(errors="replace")
