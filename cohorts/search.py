"""Search for people by e-mail address, name, username or the beginning of an id."""

import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from django.db import connection

from cohorts import merge
from cohorts.beginnings import find_by_beginning
from cohorts.changes import IdentityKey
from cohorts.models import Identity
from cohorts.reserved_traits import full_name, unwrap_single
from cohorts.segments.persons import find_roots

# The traits that people are found by.
FOUND_BY: Final = frozenset({"email", "username", "name", "firstName", "first_name", "lastName", "last_name"})
TEXT_LENGTH: Final = 255
MOST_WORDS: Final = 8  # of a text or of a search
MOST_FOUND: Final = 50
MOST_LOOKED_AT: Final = 5_000  # texts that begin with the longest word of a search for several: some 50 ms
LAST_CHARACTER: Final = "\U0010ffff"  # sorts after whatever may follow a beginning

Texts = Mapping[int, Iterable[str]]  # by the row of an identity


def fold(text: str) -> str:
    """Return a text as it is compared: one case and form of its letters, single spaces. Pure."""
    if text.isascii():
        return " ".join(text.lower().split())
    return " ".join(unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold()).split())


def search_texts(registers: merge.Registers) -> set[str]:
    """Return the texts by whose beginning an identity is found: its names, each from every word on. Pure."""
    traits = {name: register[3] for name, register in registers.get("traits", {}).items() if name in FOUND_BY}
    texts = set[str]()
    for value in (*(unwrap_single(traits.get(name)) for name in ("email", "username", "name")), full_name(traits)):
        words = fold(value).split(" ") if isinstance(value, str) else []
        texts |= {" ".join(words[place:])[:TEXT_LENGTH] for place in range(min(len(words), MOST_WORDS))}
    return texts - {""}


def write(site_id: int, texts: Texts) -> None:
    """Replace the texts of identities that this transaction has locked. One query, if there are any identities."""
    if not texts:
        return
    rows = [(identity, text) for identity, own in texts.items() for text in sorted(own)]
    with connection.cursor() as cursor:
        cursor.execute(
            """
            WITH gone AS (
                DELETE FROM cohorts_searchtext WHERE site_id = %(site)b AND identity_id = ANY(%(ids)b::bigint[])
            )
            INSERT INTO cohorts_searchtext (site_id, identity_id, text)
            SELECT %(site)b, n.* FROM unnest(%(identities)b::bigint[], %(texts)b::text[]) AS n
            """,
            {
                "site": site_id,
                "ids": list(texts),
                "identities": [row[0] for row in rows],
                "texts": [row[1] for row in rows],
            },
        )


def find_people(site_id: int, text: str) -> list[Identity]:
    """Return the persons that a text finds, 50 at most, each as its root identity without registers.

    An exact id or username wins. Without one, the search finds names and ids that begin with the text. Some seven
    queries, each by an index.
    """
    keys = find_keys(site_id, text)
    found = find_roots(site_id, keys)
    roots = list(dict.fromkeys(found[key] for key in keys if key in found))
    values = [value for _, value in roots]
    rows = Identity.objects.filter(site_id=site_id, kind__in=Identity.Kind.values, value__in=values).defer("registers")
    identities = {(row.kind, row.value): row for row in (rows if roots else ())}
    return [identities[root] for root in roots if root in identities]


def find_keys(site_id: int, text: str, *, exact_wins: bool = True, limit: int = MOST_FOUND) -> list[IdentityKey]:
    """Return the identities that a text finds: exact ids and usernames first, then names, then beginnings of ids.

    Case and white space do not matter, and the words of a name may come in any order. If `exact_wins`, an exact id or
    username is all that is found. Some four queries, each by an index.
    """
    found = _find_exact(site_id, text)
    if not (found and exact_wins):
        words = fold(text).split(" ")[:MOST_WORDS]
        by_name = _find_texts(site_id, [" ".join(words)], limit=limit) if words[0] else []
        if not by_name and len(words) > 1:
            by_name = _find_texts(site_id, sorted(words, key=len, reverse=True), limit=limit)
        by_id = find_by_beginning(site_id, text, limit=limit) if len(by_name) < limit else []
        found += [*by_name, *by_id]
    return list(dict.fromkeys(found))[:limit]


def _find_exact(site_id: int, text: str) -> list[IdentityKey]:
    """Return the identities with this id, of any kind, then the user with this username. One query."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT i.kind, i.value FROM cohorts_identity i
             WHERE i.site_id = %(site)s AND i.kind IN (1, 2, 3) AND i.value = %(text)s
             UNION ALL
            SELECT i.kind, i.value FROM cohorts_username u
              JOIN cohorts_identity i ON i.site_id = %(site)s AND i.kind = 1 AND i.value = u.user_value
             WHERE u.site_id = %(site)s AND u.name = %(text)s
            """,
            {"site": site_id, "text": text},
        )
        return list(cursor.fetchall())


def _find_texts(site_id: int, beginnings: Sequence[str], *, limit: int) -> list[IdentityKey]:
    """Return the identities with a text for each of these beginnings, in the order of their texts for the first one.

    One query. It looks at the texts with the first beginning, so the rarest should come first.
    """
    # By the identity, because a planner would read all texts with one of the other beginnings.
    also = "".join(
        f"""
        CROSS JOIN LATERAL (
            SELECT FROM (
                SELECT t.text FROM cohorts_searchtext t
                 WHERE t.site_id = %(site)s AND t.identity_id = first.identity_id OFFSET 0
            ) AS own WHERE own.text ~>=~ %(word_{number})s AND own.text ~<~ %(end_{number})s LIMIT 1
        ) AS also_{number}
        """
        for number in range(1, len(beginnings))
    )
    bounds = {f"word_{number}": word for number, word in enumerate(beginnings)}
    bounds |= {f"end_{number}": word + LAST_CHARACTER for number, word in enumerate(beginnings)}
    with connection.cursor() as cursor:
        cursor.execute(
            f"""
            SELECT i.kind, i.value FROM (
                SELECT text, identity_id FROM cohorts_searchtext
                 WHERE site_id = %(site)s AND text ~>=~ %(word_0)s AND text ~<~ %(end_0)s
                 ORDER BY text USING ~<~ LIMIT {MOST_LOOKED_AT}
            ) AS first {also} CROSS JOIN LATERAL (
                SELECT kind, value FROM cohorts_identity WHERE site_id = %(site)s AND id = first.identity_id OFFSET 0
            ) AS i LIMIT {limit * MOST_WORDS}
            """,
            {"site": site_id, **bounds},
        )
        return list(dict.fromkeys(cursor.fetchall()))[:limit]
