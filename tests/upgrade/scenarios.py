"""Events before an upgrade: a sample of everything that a later version may interpret differently.

Every name, id and address is made up. The comments name the reason for a group of events and not its effects, because
these depend on the version that digests them.
"""

from datetime import timedelta
from typing import Any, Final

from tests.upgrade.senders import START, Sender, compress

# Ids of clients without an id, in the spellings of public reports about Segment and RudderStack.
PLACEHOLDERS: Final = (
    "00000000-0000-0000-0000-000000000000",
    "{00000000-0000-0000-0000-000000000000}",
    "00000000000000000000000000000000",
    "0x0000000000000000",
    "(null)",
    "<nil>",
    "nil",
    "unknown",
    "anonymousId",
    "distinct_id",
    "userId",
    "[object Object]",
    "null",
    "undefined",
    "NaN",
)
NO_MESSAGE_IDS: Final = ("undefined", "null", "None", "(null)", "[object Object]", "{{messageId}}", "NaN", "0")
UNREAD_TIMES: Final[tuple[Any, ...]] = (
    int(START.timestamp()),
    int(START.timestamp() * 1000),
    str(int(START.timestamp())),
    str(int(START.timestamp() * 1000)),
    START.timestamp() + 0.25,
    f"{START:%a, %d %b %Y %H:%M:%S} GMT",
    f"{START:%a %b %d %Y %H:%M:%S} GMT+0000 (Coordinated Universal Time)",
    "yesterday",
    "",
)
CODE: Final = "kameleoonVisitorCode"


def send_people(shop: Sender, browser: Sender, destination: Sender) -> None:
    """Send events of people with every kind of conversion key, and late links that move conversions."""
    # A device with a code, a login without it, and a server that knows neither.
    browser.send("page", anonymousId="x-1", name="Home", properties={CODE: "code-x1"})
    browser.send("identify", anonymousId="x-1", userId="u-1", traits={"plan": "pro", "email": "one@example.com"})
    shop.send("track", userId="u-1", event="Paid", properties={"revenue": 19.99, "currency": "EUR"})
    # Two browsers of one user, each with a code. Then events without a code from the second and from the server.
    for device, code, name in (("m-1", "code-m1", "Home"), ("m-2", "code-m2", "Pricing")):
        browser.send("page", anonymousId=device, userId="u-2", name=name, properties={CODE: code})
    browser.send("track", anonymousId="m-2", userId="u-2", event="Added", properties={"value": 3})
    shop.send("track", userId="u-2", event="Paid", properties={"revenue": "5.50"})
    # A user with two devices. By event times the second device had its code first, but its events arrive last.
    browser.send("page", at=900, anonymousId="o-1", userId="u-3", name="Home", properties={CODE: "code-o1"})
    browser.send("page", at=300, anonymousId="o-2", userId="u-3", name="Home", properties={CODE: "code-o2"})
    shop.send("track", at=1200, userId="u-3", event="Paid", properties={"revenue": 7})
    # Aliases of a device and of a former e-mail id.
    browser.send("page", anonymousId="e-1", name="Home", properties={CODE: "code-e1"})
    shop.send("alias", previousId="e-1", userId="u-4")
    shop.send("track", userId="u-4", event="Paid")
    shop.send("track", userId="five@example.com", event="Subscribed", properties={CODE: "code-five"})
    shop.send("alias", previousId="five@example.com", userId="u-5")
    shop.send("track", userId="u-5", event="Paid", properties={"revenue": 1, "currency": "JPY"})
    shop.send("alias", previousId="u-5", userId="u-5")
    # Conversions before the links of a user, of a device, and of both.
    shop.send("track", userId="u-6", event="Paid")
    browser.send("track", anonymousId="l-1", event="Added")
    browser.send("track", anonymousId="l-2", userId="u-7", event="Added")
    browser.send("identify", anonymousId="l-9", userId="u-6", traits={CODE: "code-l6"})
    browser.send("page", anonymousId="l-1", name="Home", properties={CODE: "code-l1"})
    destination.send("track", userId="u-7", event="Kameleoon identifier", properties={"k_visitorCode": "code-l7"})
    # Conversions of ids that are never linked.
    shop.send("track", userId="alone-1", event="Paid")
    browser.send("track", anonymousId="alone-2", event="Added")
    browser.send("track", anonymousId="alone-3", userId="alone-4", event="Added")
    destination.send("track", userId=None, anonymousId=None, event="Seen", properties={CODE: "code-only"})
    # A shared device and its code with changing users.
    for number, user in enumerate(("s-1", "s-2", "s-3", "s-1")):
        browser.send("identify", anonymousId="shared", userId=user, traits={"seat": number, CODE: "code-shared"})
        browser.send("track", anonymousId="shared", userId=user, event="Borrowed", properties={"n": number})
    browser.send("track", anonymousId="shared", event="Returned")
    # Names, usernames and traits that are removed later.
    for user, name in (("n-1", "ada"), ("n-2", "ada"), ("n-3", "grace")):
        shop.send("identify", userId=user, traits={"username": name, "name": f"{name.title()} Example", "age": "36"})
    shop.send("identify", userId="n-1", traits={"age": None, "firstName": "Ada", "lastName": "Example"})
    shop.send("identify", userId="n-3", traits={"company": {"id": "c-9", "name": "Nine"}, "createdAt": 17})
    # Devices of users with pruned messages. One still points at its user, the other belongs to a new user.
    browser.send("page", anonymousId="old-device-0", name="Home", properties={CODE: "code-old-0"})
    browser.send("identify", anonymousId="old-device-1", userId="new-1", traits={})
    browser.send("page", anonymousId="old-device-1", name="Home", properties={CODE: "code-old-1"})
    for number in range(40):  # ordinary traffic of two days, partly without a code or without a user
        ids: dict[str, Any] = {"anonymousId": f"device-{number % 13}"}
        ids |= {"userId": f"customer-{number % 7}"} if number % 3 else {}
        properties: dict[str, Any] = {CODE: f"visitor-{number % 13}"} if number % 4 == 0 else {}
        properties |= (
            {"revenue": f"{number}.25", "currency": ("EUR", "USD", "XYZ")[number % 3]} if number % 5 == 0 else {}
        )
        event = ("Paid", "Added", "Removed", "Looked")[number % 4]
        browser.send("track", at=4_000 * number, **ids, event=event, properties=properties)


def send_placeholders(shop: Sender, browser: Sender, destination: Sender) -> None:
    """Send events of different people with the same placeholder as their id; some of them log in."""
    for number, id_ in enumerate(PLACEHOLDERS):
        browser.send("identify", anonymousId=id_, traits={"plan": "free", "cart": number})
        browser.send("track", anonymousId=id_, event="Paid", properties={"revenue": number})
        browser.send(
            "track",
            anonymousId=id_,
            event="Audience Entered",
            properties={"audience_key": "visitors", "visitors": True},
        )
        browser.send("identify", anonymousId=id_, userId=f"real-{number}", traits={"plan": "pro"})
        shop.send("track", anonymousId=f"device-of-{number}", userId=id_, event="Paid")
        destination.send("track", userId=f"real-{number}", event="Seen", properties={CODE: id_})
        destination.send("track", userId=id_, anonymousId=id_, event="Seen")
    shop.send("group", userId="real-1", groupId="nil", traits={"size": 3})
    shop.send("group", userId="real-2", groupId="00000000-0000-0000-0000-000000000000", traits={"size": 4})
    shop.send("alias", previousId="00000000-0000-0000-0000-000000000000", userId="real-3")
    shop.send("identify", userId="real-4", traits={"username": "unknown", "company": {"id": "nil"}})
    shop.send("track", userId="u" * 300, anonymousId="long-1", event="Paid")
    shop.send("track", userId="u" * 300, event="Paid")


def send_message_ids(shop: Sender, destination: Sender) -> None:
    """Send different events under a placeholder as their messageId. This version kept only the first of them."""
    for number, id_ in enumerate(NO_MESSAGE_IDS):
        for time in range(3):
            sender = destination if time == 1 else shop
            sender.send("track", messageId=id_, userId=f"paid-{number}-{time}", event="Paid", properties={"n": time})
    for time in range(3):
        shop.send("page", messageId="undefined", userId=f"paid-0-{time}", name="Thanks")
        shop.send("track", messageId=None, userId=f"paid-0-{time}", event="Looked")
        shop.send("track", messageId="the-same", userId="paid-0-0", event="Looked", properties={"time": time})
        shop.send("track", messageId="l" * 300, userId="paid-0-0", event="Looked", properties={"time": time})
    shop.send("track", messageId={"id": 1}, userId="paid-0-0", event="Looked")
    shop.send("track", messageId=17, userId="paid-0-0", event="Looked")


def send_audiences(shop: Sender, browser: Sender, destination: Sender) -> None:
    """Send personas that are entered under one id and left under another, and groups."""
    entered: dict[str, Any] = {"event": "Audience Entered", "properties": {"audience_key": "vip", "vip": True}}
    left: dict[str, Any] = {"event": "Audience Exited", "properties": {"audience_key": "vip", "vip": False}}
    browser.send("track", anonymousId="a-1", **entered)
    browser.send("identify", anonymousId="a-1", userId="p-1", traits={})
    shop.send("track", userId="p-1", **left)
    browser.send("track", anonymousId="a-2", **entered)
    browser.send("track", anonymousId="a-2", userId="p-2", **entered)
    browser.send("track", anonymousId="a-3", **entered)
    browser.send("track", anonymousId="a-3", **left)
    browser.send("track", anonymousId="a-3", **entered)
    shop.send("track", userId="p-4", **left)
    browser.send("identify", userId="p-5", anonymousId="a-5", traits={CODE: "code-p5"})
    destination.send("track", **entered | {"properties": {**entered["properties"], CODE: "code-p5"}})
    shop.send("track", userId="p-6", event="Audience Entered", properties={"audience_key": "VIP ", "VIP ": True})
    shop.send("track", userId="p-6", event="Audience Entered", properties={"nothing": "here"})
    personas: dict[str, Any] = {"computation_class": "audience", "computation_key": "big_spenders"}
    destination.send(
        "track",
        userId="p-7",
        event="Anything",
        properties={"big_spenders": True},
        context={"personas": personas},
    )
    destination.send("identify", userId="p-8", properties={"big_spenders": True}, context={"personas": personas})
    destination.send("track", userId="p-8", event="Trait Computed", properties={"trait_key": "ltv", "ltv": 12})
    for member, group in (("u-1", "acme"), ("p-1", "acme"), ("p-2", "initech"), ("u-2", "acme")):
        shop.send("group", userId=member, groupId=group, traits={"owner": "one@example.com", "admins": ["u-1", "p-2"]})
    shop.send("group", anonymousId="a-3", groupId=["42"], traits={"country": "GB", "invited_by": {"id": "erase-me"}})
    shop.send("group", userId="p-4", groupId=7, traits={"size": 12, "name": "Sieben"})
    shop.send("group", groupId="nobody-1", traits={"name": "Nobody's"})
    destination.send("group", groupId="nobody-2", traits={"name": "Nobody's"}, anonymousId=None)
    shop.send("group", userId="p-4", groupId="0")


def send_names(shop: Sender, browser: Sender) -> None:
    """Send pages with and without a name, and names and amounts in many spellings."""
    for type_ in ("page", "screen"):
        for number in range(2):
            ids: dict[str, Any] = {"anonymousId": f"reader-{number}"}
            browser.send(type_, **ids, properties={"title": f"Article {number} | The shop", "url": "http://127.0.0.1/"})
            browser.send(type_, **ids, category="Docs")
            browser.send(type_, **ids, category="Docs", name="Rules")
            browser.send(type_, **ids, category="Docs", properties={"title": "Rules of the shop"})
            browser.send(type_, **ids, properties={"name": "Named below", "title": "Titled below"})
            browser.send(type_, **ids, name="", properties={"path": "/a"})
            browser.send(type_, **ids, event="Named by event")
    for name in (
        "Sign Up",
        "sign up",
        " Sign Up",
        "Sign Up ",
        "Cafe\u0301",
        "Caf\u00e9",
        "Größe – 1",
        "a\u0000b",
        "日本",
    ):
        shop.send("track", userId="u-1", event=name)
    shop.send("track", userId="u-1", event=12)
    shop.send("track", userId="u-1", name="Named by name")
    shop.send("track", userId="u-1", event="n" * 501)
    shop.send("track", userId="u-1", event=" ")
    for amount in ("$19.99", "1,234.56", "19.99 EUR", 1e300, -3, "0.0000005", True, [1], 12345678901234567890):
        shop.send("track", userId="u-1", event="Paid", properties={"revenue": amount, "value": amount})
    shop.send("track", userId="u-1", event="Order Completed", properties={"total": 30, "currency": "eur"})
    shop.send("track", userId="u-1", event="Order Completed", properties={"revenue": 3, "currency": "Galleons"})


def send_destinations(shop: Sender, browser: Sender, destination: Sender) -> None:
    """Send events with `integrations`, empty lists, and times that this version does not read."""
    all_integrations: tuple[Any, ...] = (
        {"All": False},
        {"All": False, "Kameleoon": True},
        {"All": False, "Goalpost": {"x": 1}},
        {"Goalpost": False},
        {"Kameleoon": False},
        {"All": True, "Amplitude": False},
        [],
    )
    for integrations in all_integrations:
        shop.send("track", userId="w-1", event="Wished", integrations=integrations)
        destination.send("identify", userId="w-1", properties={"wish": str(integrations)}, integrations=integrations)
    browser.batch(
        browser.event("track", userId="w-2", event="Wished"),
        browser.event("track", userId="w-2", event="Wished", integrations={"All": True}),
        integrations={"All": False},
        context={"library": {"name": "analytics-php"}},
    )
    shop.send("track", userId="w-3", event="Empty", properties=[], context=[])
    shop.send("identify", userId="w-3", traits=[])
    shop.send("group", userId="w-3", groupId="empty", traits=[])
    shop.send("page", userId="w-3", name="Empty", properties=[], integrations=[])
    shop.send("track", userId="w-3", event="Empty", properties="none", context=7)
    for number, given in enumerate(UNREAD_TIMES):
        shop.send("track", userId=f"t-{number}", event="Timed", timestamp=given)
        good = (START + timedelta(minutes=number)).isoformat()
        shop.send("track", userId=f"t-{number}", event="Timed", timestamp=given, originalTimestamp=good)
    shop.batch(
        *(
            shop.event("track", userId=f"t-{n}", event="Imported", timestamp=time)
            for n, time in enumerate(UNREAD_TIMES)
        ),
        path="/v1/import",
    )
    ahead = (START + timedelta(days=400)).isoformat()
    shop.send("track", userId="t-1", event="Timed", timestamp=ahead)
    shop.send("track", userId="t-1", event="Timed", sentAt=(START + timedelta(hours=1)).isoformat())


def send_refusals(shop: Sender, browser: Sender, destination: Sender) -> None:
    """Send events that this version refuses at ingest and keeps, so that they can be replayed."""
    for type_ in ("Track", "IDENTIFY", "Page", "purchase", 7):
        event: dict[str, Any] = {"userId": "r-1", "event": "Refused", "name": "Refused"}
        shop.batch({**shop.event("track", **event), "type": type_}, shop.event("track", userId="r-1", event="Kept"))
        destination.post({**destination.event("track", **event), "type": type_}, path="/segmentio")
    good = shop.event("track", userId="r-2", event="Refused")
    for encoding, body in (("br", b"\x8b\x02\x80{}\x03"), ("deflate", compress(good)), ("gzip", compress(good)[:-12])):
        shop.post(body, path="/v1/track", headers={"content-encoding": encoding})
        shop.post(body, path="/v1/batch", headers={"content-encoding": encoding})
        destination.post(body, path="/segmentio", headers={"content-encoding": encoding})
    shop.post(compress(good), path="/v1/track", headers={"content-encoding": "gzip"})
    mark = b"\xef\xbb\xbf"
    shop.post(mark + b'{"userId":"r-3","event":"Marked","messageId":"bom-1"}', path="/v1/track")
    shop.post(mark + b'{"batch":[{"type":"track","userId":"r-3","event":"Marked"}]}')
    destination.post(mark + b'{"type":"track","userId":"r-3","event":"Marked"}', path="/segmentio")
    destination.post(mark + b'[{"type":"track","userId":"r-3","event":"Marked"}]', path="/segmentio")
    shop.post('{"userId":"r-3","event":"Marked"}'.encode("utf-16"), path="/v1/track")
    shop.post(b'{"userId":"r-3","event":"caf\xe9"}', path="/v1/track")
    shop.post(
        b'{"batch":[{"type":"track","userId":"r-4","event":"N1","messageId":"nan-1"},'
        b'{"type":"track","userId":"r-4","event":"N2","messageId":"nan-2","properties":{"x":NaN,"y":-Infinity}},'
        b'{"type":"identify","userId":"r-4","messageId":"nan-3","traits":{"ok":true}}]}',
        status=400,
    )
    shop.post(b'{"userId":"r-4","event":"N3","properties":{"x":NaN}}', path="/v1/track")
    destination.post(b'[{"type":"track","userId":"r-4","event":"N4","properties":{"x":NaN}}]', path="/segmentio")
    for body in (b"", b"[]", b"{", b"null", b'"text"', b"userId=r-5&event=Form"):
        shop.post(body, path="/v1/track")
        destination.post(body, path="/segmentio")
    shop.post(b'{"batch":[]}')
    shop.post({"batch": {"0": good}})
    shop.post(b'{"batch":[{"type":"track"},7,{"type":"track","userId":"r-6","event":"Beside"}]}')
    shop.batch(shop.event("track", userId="r-7", event="Keyed", writeKey="the-key-it-once-came-with"), status=401)
    destination.send("track", userId="r-8")  # without a name, which only the digest notices
    destination.send("track", userId="null", event="Nobody's")
    destination.send("alias", userId="r-8")
    shop.post(b'{"userId":"r-9","event":"Lone","properties":{"text":"\\ud83d"}}', path="/v1/track")
    browser.post({"userId": "r-9", "event": "Large", "properties": {"text": "x" * 1_100_000}}, path="/v1/track")


def send_rules(server: Sender, altis: Sender, off: Sender, destination: Sender) -> None:
    """Send events to a site with a rule of every kind, hashed fields, and a disabled source."""
    for number in range(6):
        ids: dict[str, Any] = {"userId": f"person-{number}@example.com", "anonymousId": f"ruled-{number}"}
        server.send("page", **ids, name=f"Shelf {number}", properties={"plan": ("free", "pro")[number % 2]})
        server.send("track", **ids, event=f"Viewed order {number}", properties={"revenue": number})
        server.send("track", **ids, event="Renamed", properties={"plan": "pro"} if number % 2 else {})
        server.send("track", **ids, event="Robot", context={"userAgent": "robot/1.0"})
        server.send("track", **ids, event="Heartbeat", properties={"beat": number})
        server.send("identify", **ids, traits={"email": ids["userId"], "card": "4111", "account": f"acc-{number % 2}"})
        server.send("track", **ids, event="Signed Up", properties={"account_id": f"acc-{number % 2}", "country": "NZ"})
        destination.send("track", userId=ids["userId"], event="Signed Up", properties={CODE: f"ruled-code-{number}"})
        altis.send("page", anonymousId=f"altis-{number}", name=f"Title {number}")
        altis.send("track", anonymousId=f"altis-{number}", event="_session.start")
        altis.send("identify", anonymousId=f"altis-{number}", traits={"AudienceId": [str(number)], "sessions": 1.0})
        off.send("track", userId=f"off-{number}", event="Signed Up", status=403)
    server.send("identify", userId="company-1", traits={"company": {"id": "c-1", "plan": "pro"}})
    server.send("track", userId="persona-1", event="Audience Entered", properties={"audience_key": "vip", "vip": True})
    server.post(b'{"userId":"person-1@example.com",', path="/v1/track")


def send_waiting(server: Sender, destination: Sender) -> None:
    """Send events to a site with low limits: names wait, and one does not fit into the queue."""
    for number in range(9):
        for time in range(2):
            server.send("track", userId=f"code-{number}", event=f"Read chapter {number}", properties={"time": time})
    destination.send("page", userId="code-1", name="Chapter 1", properties={"title": "One"})
    destination.send("page", userId="code-1", properties={"title": "Two"})
    server.send("identify", userId="code-1", traits={"plan": "reader"})


def send_duplicates(one: Sender, other: Sender, *, seconds: float) -> None:
    """Send the same event by a browser and a server."""
    for sender in (one, other):
        sender.send("track", at=seconds, userId="twin-1", event="Bought twice", properties={CODE: "code-twin"})


def send_past(server: Sender) -> None:
    """Send events of long ago. Their messages are pruned before the upgrade, their conversions stay."""
    for number in range(6):
        time = -400 * 86_400 + number * 600
        server.batch(
            server.event("track", at=time, userId=f"old-{number}", event="Paid", properties={"revenue": 10}),
            server.event("track", at=time + 60, anonymousId=f"old-device-{number}", event="Added"),
            server.event("page", at=time, anonymousId=f"old-device-{number}", userId=f"old-{number}", name="Home"),
            path="/v1/import",
        )


def send_erased(server: Sender) -> None:
    """Send events of a person who will be erased, and events of others that contain the person's id."""
    time = -20 * 86_400
    ids: dict[str, Any] = {"userId": "erase-me", "anonymousId": "erase-device"}
    server.send(
        "identify", at=time, **ids, traits={"email": "gone@example.com", "username": "gone", CODE: "erase-code"}
    )
    server.send("track", at=time, **ids, event="Paid", properties={"revenue": 8})
    server.send("track", at=time, userId="friend-1", event="Paid", properties={"invitedBy": "erase-me"})
    server.send("group", at=time, userId="erase-me", groupId="leavers", traits={"owner": "erase-me"})
    server.send("group", at=time, userId="friend-1", groupId="leavers", traits={"size": 2})


def send_last(shop: Sender, browser: Sender, destination: Sender, blog: Sender, ruled: Sender) -> None:
    """Send events while no worker runs, so that the next version digests them."""
    zero = "00000000-0000-0000-0000-000000000000"
    browser.send("identify", anonymousId=zero, traits={"plan": "free"})
    browser.send("track", anonymousId=zero, event="Paid", properties={"revenue": 1})
    shop.send("track", messageId="undefined", userId="last-1", event="Paid")
    shop.send("alias", previousId=zero, userId="last-2")
    browser.send(
        "page", anonymousId="last-device", userId="last-3", properties={"title": "Article 1 | The shop", CODE: "last"}
    )
    browser.send("page", anonymousId="last-device", category="Docs")
    shop.send("track", userId="last-3", event="Paid")
    shop.send("track", userId="u-1", event="Paid", timestamp=int(START.timestamp()))
    destination.send("track", userId="alone-1", event="Kameleoon identifier", properties={CODE: "late-code"})
    destination.send("track", userId="w-9", event="Wished", integrations={"All": False})
    shop.send("identify", userId="w-9", traits=[])
    shop.send("group", userId="w-9", groupId="(null)", traits={"size": 1})
    blog.send("track", userId="code-9", event="Read chapter 8")
    ruled.send("track", userId="person-1@example.com", event="Viewed order 77")
    ruled.send("page", userId="person-1@example.com", properties={"title": "Shelf 9"})
