"""Identifiers of persons, groups and messages, read from any JSON type. Pure.

Clients without an id send a placeholder: the text of a missing value, the name of the field, an unfilled template, a
UUID of zeros. Strangers who share a placeholder would become one person, so a placeholder is no identifier. The price:
a real id such as `nil` or `Unknown` is none either. The event gets a warning, and another id helps.
"""

import re
from collections.abc import Callable
from typing import Any, Final

ID_LENGTH: Final = 255
Opinion = Callable[[str], bool]  # True for a placeholder

# Nearly every real id: plain characters with a digit other than 0. These need no further check.
PLAIN: Final = re.compile(r"(?!-1(?:\.0+)?\Z)(?=[^1-9]*[1-9])[\w.@:+|/=-]+")
# Words for "no value", compared by their letters and digits without case. Words that are also a user name (empty,
# void) or a region (NA) are left out.
WORDS: Final = frozenset(
    """null nil nul none nan undefined undef unset true false array
    unknown unidentified unspecified unassigned notset notfound notavailable notapplicable notprovided notspecified
    anonymous anonymoususer anonymousvisitor guest guestuser guestvisitor
    notauthenticated unauthenticated notloggedin loggedout signedout""".split()  # noqa: SIM905 - quotes would hide the words
)
# The name of a field in place of its value: `user_id`, `kameleoonVisitorCode`, `YOUR-USER-ID`, `properties.userId`.
# Not any word that ends in `id`: `budi_id` is a person.
OWNERS: Final = (
    "account|ad|advertising|ajs|anon|anonymous|client|contact|context|cookie|current|customer|data|device|distinct|event|"
    "external|group|insert|installation|instance|kameleoon|lead|member|message|payload|person|previous|profile|"
    "properties|request|session|subscriber|tracking|traits|user|visitor"
)
NAMES: Final = "id|uid|uuid|guid|identifier|email|emailaddress|username"
FIELD: Final = re.compile(rf"(?:your|my|the)?(?:(?:{NAMES})|[kx]?(?:{OWNERS})+(?:{NAMES}|ids|code|key))")
# Zeros in any number and grouping, also as an address or a URN; and the other end of the UUIDs.
ZEROS: Final = re.compile(r"(?:0x|urnuuid)?0+|f{32}")
# An unfilled template, macro or format, and the text that a program prints for an object.
UNFILLED: Final = re.compile(
    r"""
    .*(?: \{\{.*\}\} | [$\#%@]\{.*\} | \{%.*%\} | <%.*%> | \[\[.*\]\] | \[%.*%\] | \*\|.*\|\* | %%.+%% ).*
    | %\w[\w.\s-]*% | __[^\W\d_]\w*__ | \{\d*\} | %!.* | %l?[a-z@]
    | [(<\[{] [^\W\d_] (?: [^\W\d] | [\s.:/-] )* [)>\]}]
    | \#?n[./\\]a\.? | \#[a-z0/]+[!?]
    """,
    re.VERBOSE | re.IGNORECASE | re.DOTALL,
)
OTHERS: Final = frozenset({"-1", "-1.0"})
NOTHING: Final = re.compile(r"""[\s"'`(){}<>\[\]._?*-]*""")  # quotes or brackets around nothing, dashes
SIGNS: Final = re.compile(r"[\W_]+")


# The text in place of an erased person in rows of others, of several ids with a number.
MARKER: Final = re.compile(r"erased:[0-9a-f]{16}(?::\d+)?")


def is_marker(text: str) -> bool:
    """Return True for the text in place of an erased person."""
    return MARKER.fullmatch(text) is not None


def names_nothing(text: str) -> bool:
    """Return True for a blank text or a placeholder in any spelling."""
    text = text.strip()
    if PLAIN.fullmatch(text):
        return False
    word = SIGNS.sub("", text).casefold()
    return (
        word in WORDS
        or text in OTHERS
        or NOTHING.fullmatch(text) is not None
        or (FIELD.fullmatch(word) is not None and "@" not in text[1:])  # contact@customer.id is an address
        or ZEROS.fullmatch(word) is not None
        or UNFILLED.fullmatch(text) is not None
    )


def spell(value: Any) -> str | None:
    """Return the text of a string or a number, 7.0 as 7; None for anything else."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    # A bool is an int, and its text a placeholder.
    return str(value) if isinstance(value, str | int | float) else None


def read_id(value: Any, *, is_placeholder: Opinion = names_nothing) -> tuple[str | None, str]:
    """Return (id, warning): a string without its outer white space, or a number's text.

    Without an id the warning is `unreadable_id` or `placeholder_id`, or empty if nothing was sent.
    `is_placeholder` decides about texts; a message digested by an earlier version keeps the decision of that version.
    """
    if value is None:
        return None, ""
    text = value if isinstance(value, str) else spell(value)
    if text is None:
        return None, "unreadable_id"
    text = text.strip()
    if not text:
        return None, ""
    if len(text) > ID_LENGTH:
        return None, "unreadable_id"
    if is_placeholder(text):
        return None, "placeholder_id"
    return text, ""
