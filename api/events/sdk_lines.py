"""Lines of `/visit/events`, as Kameleoon's SDKs write them, read into facts. Pure.

A line is like a query string, but a plus is a plus and `;` separates nothing. The user agent at its end may hold any
character, because the JavaScript SDK does not encode it. The same names may come as JSON objects.
"""

import hmac
import json
import math
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final
from urllib.parse import unquote

import msgspec
from msgspec.structs import replace

from api.events.body import clean_value
from api.events.envelope import clean_text
from api.events.sdk_facts import (
    BROWSERS,
    SYSTEMS,
    ActivityFact,
    ConversionFact,
    CustomDataFact,
    ExposureFact,
    GeolocationFact,
    PageFact,
    SdkFact,
    StaticDataFact,
)
from api.events.splitting import split_array
from cohorts import ids
from cohorts.custom_data import LARGEST_INDEX

LINE_BYTES: Final = 1_048_576
MOST_LINES: Final = 30_000  # of a body. The Python SDK sends 2.5 MB at most, and no line of it has less than 90 bytes
KEPT_BYTES: Final = 4_096  # of a line that means nothing
NONCE: Final = re.compile(r"[\w-]{1,64}", re.ASCII)
INTEGER: Final = re.compile(r"-?\d{1,18}", re.ASCII)
JSON_NUMBER: Final = re.compile(r"-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?", re.ASCII)
NUMBER_LENGTH: Final = 40  # characters of a number
MOST_REFERRERS: Final = 100
DEVICES: Final = ("PHONE", "TABLET", "DESKTOP")
USER_AGENT: Final = "userAgent="
Parameters = Mapping[str, Any]  # texts, or any values of JSON


class BadLineError(ValueError):
    """Raised for a line that means nothing; the text continues the sentence `Line 3 …`."""


class SdkLine(msgspec.Struct, frozen=True):
    """A line with its fact, and the ids of the visitor: its code, or the unique identifier of a user."""

    number: int  # from 1
    fact: SdkFact
    nonce: str
    visitor_code: str | None
    user: str | None
    user_agent: str = ""

    @property
    def maps_to_itself(self) -> bool:
        """Return True if the line says that its visitor code is the unique identifier of a user."""
        is_mapping = isinstance(self.fact, CustomDataFact) and self.fact.mapping_identifier
        return is_mapping and self.visitor_code is not None and self.visitor_code == self.user

    def message_id(self, *, key: bytes) -> str:
        """Return the id by which the inbox stores the line once: a nonce of a visitor.

        The visitor is hashed under a key of the site, because an e-mail address could be guessed otherwise.
        """
        holder = f"{self.visitor_code or ''}\0{self.user or ''}"
        return f"{self.nonce}-{hmac.digest(key, holder.encode(), 'sha256').hex()[:16]}"

    def body(self, *, message_id: str) -> bytes:
        """Return the line as an event in JSON, with the names that the inbox reads identifiers by."""
        event: dict[str, Any] = {"messageId": message_id, "properties": self.fact.properties()}
        if self.visitor_code is not None:
            event["kameleoonVisitorCode"] = self.visitor_code
        if self.user is not None:
            event["userId"] = self.user
        if self.user_agent:
            event["context"] = {"userAgent": self.user_agent}
        return msgspec.json.encode(event)


class BadLine(msgspec.Struct, frozen=True):
    """A line that means nothing, as it was received, and the reason."""

    number: int
    raw: bytes
    reason: str  # a sentence that names the line
    type: str = ""  # of its message, if the line tells it
    ids: tuple[str, ...] = ()  # of its visitor, as sent

    def body(self) -> bytes:
        """Return the beginning of the line in JSON, with the names that the inbox reads identifiers by."""
        event = dict(zip(("kameleoonVisitorCode", "userId"), self.ids, strict=False))
        return msgspec.json.encode({**event, "line": clean_text(self.raw[:KEPT_BYTES].decode("utf-8", "replace"))})


def list_lines(body: bytes, *, visitor_code: str = "", is_json: bool = False) -> list[SdkLine | BadLine]:
    """Return the lines of a body as `read_lines` does, those of unique identifiers as lines of users.

    An SDK on a device that has no mapping of a unique identifier maps it to itself in the same request. It is no
    visitor code then, and the visits of the user are those of the code that another device has linked.
    """
    lines = list(read_lines(body, visitor_code=visitor_code, is_json=is_json))
    users = {line.visitor_code for line in lines if isinstance(line, SdkLine) and line.maps_to_itself}
    if not users:
        return lines
    return [
        replace(line, visitor_code=None, user=line.visitor_code)
        if isinstance(line, SdkLine) and line.visitor_code in users
        else line
        for line in lines
    ]


def read_lines(body: bytes, *, visitor_code: str = "", is_json: bool = False) -> Iterator[SdkLine | BadLine]:
    """Yield the lines of a body without its blank ones. `visitor_code` of the address wins over those of the lines.

    A body of JSON is an array of objects, or one object. A body that cannot be divided is one bad line, as is all that
    follows the first MOST_LINES.
    """
    start = body.lstrip()[:1]
    if is_json or start in {b"[", b"{"}:
        yield from _read_json(body, visitor_code)
        return
    for number, raw in enumerate(body.split(b"\n", MOST_LINES), 1):  # otherwise a small zipped body is millions
        if not raw.strip():
            continue
        if number > MOST_LINES:
            yield BadLine(number, raw, f"Lines from {number:,} on are not read. Send {MOST_LINES:,} at most at once.")
        else:
            yield read_line(raw.removesuffix(b"\r"), number=number, visitor_code=visitor_code)


def read_line(raw: bytes, *, number: int, visitor_code: str = "") -> SdkLine | BadLine:
    """Return the line of a query string with its fact, or the reason why it has none."""
    if len(raw) > LINE_BYTES:
        return _too_long(raw, number)
    parameters, user_agent = split_line(raw.decode("utf-8", "replace"))
    return _read(raw, parameters, user_agent, number=number, visitor_code=visitor_code)


def split_line(text: str) -> tuple[dict[str, str], str]:
    """Return the parameters of a line, of equal names the first, and its user agent.

    The user agent is cut off first, because what follows its name belongs to it: `…&revenue=1000` is no revenue.
    """
    before, mark, user_agent = text.partition(f"&{USER_AGENT}")
    if text.startswith(USER_AGENT):
        before, user_agent = "", text.removeprefix(USER_AGENT)
    elif not mark:
        user_agent = ""
    parameters: dict[str, str] = {}
    for pair in before.split("&"):
        name, _, value = pair.partition("=")
        if name:
            parameters.setdefault(unquote(name), clean_text(unquote(value)))
    return parameters, clean_text(unquote(user_agent))


def _read_json(body: bytes, visitor_code: str) -> Iterator[SdkLine | BadLine]:
    try:
        items = split_array(body) if body.lstrip().startswith(b"[") else [body]
    except ValueError as error:
        yield BadLine(1, body, f"The body is neither lines nor JSON: {error}. Send lines, or an array of objects.")
        return
    for number, raw in enumerate(items, 1):
        yield _read_item(raw, number, visitor_code)


def _read_item(raw: bytes, number: int, visitor_code: str) -> SdkLine | BadLine:
    if len(raw) > LINE_BYTES:
        return _too_long(raw, number)
    try:
        item = clean_value(json.loads(raw.decode("utf-8", "replace")))
    except (ValueError, RecursionError) as error:
        return BadLine(number, raw, f"Line {number} is not JSON: {error}. Send an object.")
    if not isinstance(item, dict):
        return BadLine(number, raw, f"Line {number} is not an object. Send an array of objects.")
    user_agent = item.get("userAgent")
    shown = user_agent if isinstance(user_agent, str) else ""
    return _read(raw, item, shown, number=number, visitor_code=visitor_code)


def _too_long(raw: bytes, number: int) -> BadLine:
    return BadLine(number, raw, f"Line {number} is longer than {LINE_BYTES:,} bytes. Send less in it.")


def _read(raw: bytes, parameters: Parameters, user_agent: str, *, number: int, visitor_code: str) -> SdkLine | BadLine:
    type_ = ""
    try:
        given = _text(parameters, "eventType") or ""
        kind = given.strip().lower()
        if kind not in READERS:
            shown = given[:40].encode("ascii", "replace").decode()
            raise BadLineError(
                f"has the eventType {shown!r}. Send one of {', '.join(sorted(READERS))}"
                if given
                else "has no eventType"
            )
        fact_type, read = READERS[kind]
        type_ = fact_type.type
        visitor, user = _read_holder(parameters, visitor_code)
        fact = read(parameters)
        if user is None and isinstance(fact, CustomDataFact) and fact.mapping_identifier:
            user, _ = ids.read_id(next(iter(fact.values_count_map), None))
        nonce = _text(parameters, "nonce") or ""
        if fact.type and not NONCE.fullmatch(nonce):
            raise BadLineError("has no nonce of 1 to 64 letters and digits, without which a repetition would count")
    except BadLineError as error:
        named = (_text(parameters, name) or "" for name in ("visitorCode", "mappingValue"))
        return BadLine(number, raw, f"Line {number} {error}.", type_, tuple(named))
    return SdkLine(number, fact, nonce, visitor, user, user_agent)


def _read_holder(parameters: Parameters, of_address: str) -> tuple[str | None, str | None]:
    """Return the visitor code and the user of a line. Raises BadLineError if it has neither."""
    visitor, warning = ids.read_id(of_address or parameters.get("visitorCode"))
    user, other_warning = ids.read_id(parameters.get("mappingValue"))
    if visitor is None and user is None:
        if warning or other_warning:
            raise BadLineError(f"has a visitorCode that is a placeholder, or longer than {ids.ID_LENGTH} characters")
        raise BadLineError("names no visitor. Send visitorCode or mappingValue")
    return visitor, user


def _read_conversion(parameters: Parameters) -> SdkFact:
    revenue = _text(parameters, "revenue")
    number = revenue is not None and len(revenue) <= NUMBER_LENGTH and JSON_NUMBER.fullmatch(revenue)
    metadata = _json(parameters, "metadata")
    return ConversionFact(
        goal_id=_require_integer(parameters, "goalId"),
        revenue=msgspec.Raw(revenue.encode()) if number and revenue else revenue or None,
        negative=_is_true(parameters, "negative"),
        metadata=metadata if isinstance(metadata, dict) else _text(parameters, "metadata"),
    )


def _read_custom_data(parameters: Parameters) -> SdkFact:
    index = _require_integer(parameters, "index")
    if not 0 <= index <= LARGEST_INDEX:
        raise BadLineError(f"has the index {index}. It is a number from 0 to {LARGEST_INDEX}")
    values = _json(parameters, "valuesCountMap")
    if not isinstance(values, dict):
        raise BadLineError('has no valuesCountMap. Send a JSON object such as {"value": 1}')
    counts = {value: count if type(count) is int and abs(count) < 2**31 else 1 for value, count in values.items()}
    return CustomDataFact(
        index=index,
        values_count_map=counts,
        overwrite=_text(parameters, "overwrite") is None or _is_true(parameters, "overwrite"),
        mapping_identifier=_is_true(parameters, "mappingIdentifier"),
    )


def _read_page(parameters: Parameters) -> SdkFact:
    href = _text(parameters, "href")
    if not href:
        raise BadLineError("has no href, the address of the page")
    given = _json(parameters, "referrersIndices")
    referrers = [item for item in given if type(item) is int] if isinstance(given, list) else []
    return PageFact(href, _text(parameters, "title") or "", tuple(referrers[:MOST_REFERRERS]))


def _read_static_data(parameters: Parameters) -> SdkFact:
    """Return what a line says of browser, system and device; an activity if it only counts visits.

    The numbers of visits are computed from the visits that are stored.
    """
    device = (_text(parameters, "deviceType") or "").upper()
    static = StaticDataFact(
        browser_index=_find_index(parameters, "browserIndex", "browser", BROWSERS),
        browser_version=_float(parameters, "browserVersion"),
        os_index=_find_index(parameters, "osIndex", "os", SYSTEMS),
        device_type=device if device in DEVICES else None,
    )
    return static if static != StaticDataFact() else ActivityFact()


def _read_geolocation(parameters: Parameters) -> SdkFact:
    country = _text(parameters, "country")
    if not country:
        raise BadLineError("has no country")
    return GeolocationFact(
        country=country,
        region=_text(parameters, "region"),
        city=_text(parameters, "city"),
        postal_code=_text(parameters, "postalCode"),
        latitude=_float(parameters, "latitude"),
        longitude=_float(parameters, "longitude"),
    )


def _read_exposure(parameters: Parameters) -> SdkFact:
    return ExposureFact(id=_require_integer(parameters, "id"), variation_id=_require_integer(parameters, "variationId"))


def _read_activity(_: Parameters) -> SdkFact:
    return ActivityFact()


# A segment that an SDK computed is no fact: Goalpost computes segments itself.
READERS: Final[Mapping[str, tuple[type[SdkFact], Callable[[Parameters], SdkFact]]]] = {
    "conversion": (ConversionFact, _read_conversion),
    "customdata": (CustomDataFact, _read_custom_data),
    "page": (PageFact, _read_page),
    "staticdata": (StaticDataFact, _read_static_data),
    "geolocation": (GeolocationFact, _read_geolocation),
    "experiment": (ExposureFact, _read_exposure),
    "activity": (ActivityFact, _read_activity),
    "targetingsegment": (ActivityFact, _read_activity),
}


def _text(parameters: Parameters, name: str) -> str | None:
    """Return a parameter as text; None if it is absent, null, or a list or object of JSON."""
    value = parameters.get(name)
    if isinstance(value, bool):
        return "true" if value else "false"
    return value if isinstance(value, str) else str(value) if isinstance(value, int | float) else None


def _json(parameters: Parameters, name: str) -> Any:
    """Return a parameter that is JSON in a text, or a value of JSON already; None if it cannot be read."""
    value = parameters.get(name)
    if not isinstance(value, str):
        return value
    try:
        return clean_value(json.loads(value))
    except (ValueError, RecursionError):
        return None


def _require_integer(parameters: Parameters, name: str) -> int:
    """Return a whole number. Raises BadLineError."""
    text = _text(parameters, name)
    if text is None or not INTEGER.fullmatch(text):
        raise BadLineError(f"has no {name}, a whole number" if not text else f"has a {name} that is no whole number")
    return int(text)


def _float(parameters: Parameters, name: str) -> float | None:
    text = _text(parameters, name)
    if text is None or len(text) > NUMBER_LENGTH or not JSON_NUMBER.fullmatch(text):
        return None
    number = float(text)
    return number if math.isfinite(number) else None


def _find_index(parameters: Parameters, index: str, name: str, known: tuple[str, ...]) -> int | None:
    """Return the index of a browser or a system, by its number or else by its name."""
    number = _text(parameters, index)
    if number is not None and INTEGER.fullmatch(number) and 0 <= int(number) < len(known):
        return int(number)
    text = (_text(parameters, name) or "").upper()
    text = "INTERNET_EXPLORER" if text == "IE" else text  # by the JavaScript SDK
    return known.index(text) if text in known else None


def _is_true(parameters: Parameters, name: str) -> bool:
    return (_text(parameters, name) or "").lower() == "true"
