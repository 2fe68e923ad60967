"""What counts as an identifier of a person, a group or a message, in whatever type a sender puts it. Pure.

Clients that have no id send something all the same: the text of a missing value, the name of the field, a template that
nobody filled, a UUID of zeros. Strangers who share such an id would become one person, so it names nobody. The price is
that a person whose id really is `nil` or `Unknown` names nobody either: the warning tells, and another id helps.
"""

import re
from collections.abc import Callable
from typing import Any, Final

ID_LENGTH: Final = 255
Opinion = Callable[[str], bool]  # of whether a text names nobody

# Nearly every real id: plain characters, and a digit other than 0 among them. Nothing else is asked of these.
PLAIN: Final = re.compile(r"(?!-1(?:\.0+)?\Z)(?=[^1-9]*[1-9])[\w.@:+|/=-]+")
# Written by a language or a person for "no value". All compare as their letters and digits, without case. Words that
# are also somebody's name in a user table (empty, nobody, void) or a region (NA) are left out.
WORDS: Final = frozenset(
    """null nil nul none nan undefined undef unset true false array
    unknown unidentified unspecified unassigned notset notfound notavailable notapplicable notprovided notspecified
    anonymous anonymoususer anonymousvisitor guest guestuser guestvisitor
    notauthenticated unauthenticated notloggedin loggedout signedout""".split()  # noqa: SIM905 - quotes would hide the words
)
# The name of a field in place of its value: `user_id`, `kameleoonVisitorCode`, `YOUR-USER-ID`, `properties.userId`.
# Not any word that ends in `id`: `budi_id` is somebody.
OWNERS: Final = (
    "account|ad|advertising|ajs|anon|anonymous|client|contact|context|cookie|current|customer|data|device|distinct|event|"
    "external|group|insert|installation|instance|kameleoon|lead|member|message|payload|person|previous|profile|"
    "properties|request|session|subscriber|tracking|traits|user|visitor"
)
NAMES: Final = "id|uid|uuid|guid|identifier|email|emailaddress|username"
FIELD: Final = re.compile(rf"(?:your|my|the)?(?:(?:{NAMES})|[kx]?(?:{OWNERS})+(?:{NAMES}|ids|code|key))")
# Zeros in any number and grouping, also as an address or a URN; and the other end of the UUIDs.
ZEROS: Final = re.compile(r"(?:0x|urnuuid)?0+|f{32}")
# What a template, a macro or a format leaves when nobody fills it in, and what a program prints of an object.
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


def names_nothing(text: str) -> bool:
    """Return whether a text is what clients send when they have no id: blank, or a placeholder in any spelling."""
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

    Without an id the warning says why (`unreadable_id`, `placeholder_id`); it is empty where nothing was given.
    `is_placeholder` says which texts name nobody; a message that was digested long ago keeps the opinion of its time.
    """
    if value is None:
        return None, ""
    text = spell(value)
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
