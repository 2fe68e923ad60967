"""Ids that identify a person, and placeholders that clients send without an id."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cohorts.ids import ID_LENGTH, names_nothing, read_id

NOBODY = {
    "zeros": [
        "00000000-0000-0000-0000-000000000000",
        "{00000000-0000-0000-0000-000000000000}",
        "00000000000000000000000000000000",
        "urn:uuid:00000000-0000-0000-0000-000000000000",
        "FFFFFFFF-FFFF-FFFF-FFFF-FFFFFFFFFFFF",
        "0x0000000000000000",
        "0x0",
        "0",
        "000",
        "0.0",
        "00:00:00:00:00:00",
    ],
    "missing values": [
        *("null", "(null)", "<null>", '"null"', "nil", "<nil>", "(nil)", "NIL", "None", "NaN", "nan", "undefined"),
        *("'undefined'", "unknown", "Unknown", "UNKNOWN", "N/A", "n/a", "#N/A", "#REF!", "not set", "(not set)"),
        *("not_available", "(none)", "true", "False", "-1", "Array", "[object Object]", "[object Undefined]"),
    ],
    "strangers": ["guest", "Anonymous", "anonymous_user", "AnonymousUser", "not_authenticated", "Not logged in"],
    "names of fields": [
        *("anonymousId", "anonymous_id", "ANONYMOUS-ID", "distinct_id", "$distinct_id", "userId", "user_id", "User ID"),
        *("visitorCode", "kameleoonVisitorCode", "kameleoon_visitor_code", "k_visitorCode", "messageId", "groupId"),
        *("previous_id", "deviceId", "id", "uuid", "email", "YOUR_USER_ID", "<your-user-id>", "properties.userId"),
        *("ajs_user_id", "x-user-id", "user.key"),
    ],
    "what nobody filled in": [
        *("{{messageId}}", "{{ user.id | default: '' }}", "user-{{id}}", "${id}", "#{user.id}", "%{id}", "%USER_ID%"),
        *("<%= user.id %>", "*|EMAIL|*", "[[user_id]]", "%%USERID%%", "__CID__", "{0}", "{user}", "[FILTERED]"),
        *("%s", "%d", "%@", "%!s(<nil>)"),
    ],
    "signs": ["", "  ", '""', "''", "{}", "[]", "-", "--", "?", "."],
}
SOMEBODY = [
    *(
        "u1",
        "ada",
        "Ada Lovelace",
        "é",
        "用户",
        "🦊",
        "a",
        "x",
        "user-1",
        "anonymous-7",
        "vc-ada",
        "auth0|a",
        "$device:3f",
    ),
    *("00000000-0000-0000-0000-000000000001", "{3F2504E0-4F89-11D3-9A0C-0305E82C3301}", "42", "10", "-2", "0a"),
    *(
        "nil@example.com",
        "guest@example.com",
        "null@example.com",
        "contact@customer.id",
        "<CAF=abc@mail.example.com>",
        '"ada"',
    ),
    *("budi_id", "idris", "thekid", "accountant", "groupie", "nilsson", "true-north", "mykey", "user", "visitor"),
    *("NA", "EU", "empty", "nobody", "void", "default", "test", "deadbeef", "50%", "a%20b", "c++", "';--", "C#"),
]


@pytest.mark.parametrize("text", [text for texts in NOBODY.values() for text in texts])
def test_placeholder__in_any_spelling__names_nobody(text: str) -> None:
    for spelling in (text, text.upper(), text.lower(), f" {text}\n"):
        assert names_nothing(spelling), spelling
        assert read_id(spelling) in {(None, "placeholder_id"), (None, "")}


@pytest.mark.parametrize("text", SOMEBODY)
def test_id__that_only_looks_like_one_of_them__names_somebody(text: str) -> None:
    assert read_id(text) == (text, "")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (7, ("7", "")),
        (7.0, ("7", "")),
        (0, (None, "placeholder_id")),
        (-0.0, (None, "placeholder_id")),
        (True, (None, "placeholder_id")),
        (None, (None, "")),
        ({"id": 1}, (None, "unreadable_id")),
        ("0" * (ID_LENGTH + 1), (None, "unreadable_id")),
    ],
)
def test_id__of_any_type__is_read_or_says_why_not(value: object, expected: tuple[str | None, str]) -> None:
    assert read_id(value) == expected


@given(st.uuids(), st.integers(min_value=1), st.emails())
def test_id__that_was_generated__names_somebody(uuid: object, number: int, email: str) -> None:
    assert [names_nothing(str(each)) for each in (uuid, number, f"user_{number}")] == [False] * 3
    assert not names_nothing(email) or "{" in email or "%" in email  # a local part may hold what templates hold
