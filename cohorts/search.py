"""People as other people look for them: by e-mail address, name, username or the beginning of an id."""

import unicodedata
from collections.abc import Iterable, Mapping
from typing import Final

from django.db import connection

from cohorts import merge
from cohorts.members import find_roots
from cohorts.models import Identity, Username
from cohorts.reserved_traits import full_name, only

# The traits that people are found by.
FOUND_BY: Final = frozenset({"email", "username", "name", "firstName", "first_name", "lastName", "last_name"})
TEXT_LENGTH: Final = 255
MOST_WORDS: Final = 8  # of a text or of a search
MOST_FOUND: Final = 50
MOST_LOOKED_AT: Final = 10_000  # texts that begin with the first word of a search
LAST: Final = "\U0010ffff"  # sorts after whatever may follow a beginning

Texts = Mapping[int, Iterable[str]]  # by the row of an identity


def fold(text: str) -> str:
    """Return a text as it is compared: one case and form of its letters, single spaces. Pure."""
    return " ".join(unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold()).split())


def search_texts(registers: merge.Registers) -> set[str]:
    """Return the texts by whose beginning an identity is found: its names, each from every word on. Pure."""
    traits = {name: register[3] for name, register in registers.get("traits", {}).items() if name in FOUND_BY}
    found = set[str]()
    for value in (only(traits.get("email")), only(traits.get("username")), only(traits.get("name")), full_name(traits)):
        words = fold(value).split(" ") if isinstance(value, str) else []
        found |= {" ".join(words[place:])[:TEXT_LENGTH] for place in range(min(len(words), MOST_WORDS))}
    return found - {""}


def write(site_id: int, texts: Texts) -> None:
    """Replace the texts of identities that this transaction has locked. One query, if there are any identities."""
    if not texts:
        return
    rows = [(identity, text) for identity, its in texts.items() for text in sorted(its)]
    with connection.cursor() as cursor:
        cursor.execute(
            """
            WITH gone AS (DELETE FROM cohorts_searchtext WHERE identity_id = ANY(%b::bigint[]))
            INSERT INTO cohorts_searchtext (site_id, identity_id, text)
            SELECT %s, n.identity_id, n.text FROM unnest(%b::bigint[], %b::text[]) AS n (identity_id, text)
            """,
            [list(texts), site_id, [row[0] for row in rows], [row[1] for row in rows]],
        )


def find_people(site_id: int, text: str) -> list[Identity]:
    """Return the persons whom a text means, each by the identity that all others of theirs lead to; 50 at most.

    Without their registers, which may be large.

    Whose id or username it is, to the letter, is meant; if nobody's, all whose names or ids begin so, in any case, the
    words of a name in any order. Six queries, each by an index.
    """
    found = _have_id(site_id, text) or _begin_so(site_id, text)
    roots = list(dict.fromkeys(find_roots(found)))
    identities = Identity.objects.defer("registers").in_bulk(roots)
    return [identities[each] for each in roots if each in identities]


def _have_id(site_id: int, text: str) -> list[int]:
    """The rows of the identities that have this id, of any kind, or whose username it is. Three queries."""
    ids = Identity.objects.filter(site_id=site_id, kind__in=Identity.Kind.values)
    found = list(ids.filter(value=text).order_by("kind").values_list("pk", flat=True))
    owner = Username.objects.filter(site_id=site_id, name=text).values_list("user_value", flat=True).first()
    if owner is not None:
        found += ids.filter(kind=Identity.Kind.USER, value=owner).values_list("pk", flat=True)
    return found


def _begin_so(site_id: int, text: str) -> list[int]:
    """The rows of identities whose names or ids begin so, names first. Two queries."""
    words = fold(text).split(" ")[:MOST_WORDS]
    also = "".join(
        f"""
        AND EXISTS (SELECT 1 FROM cohorts_searchtext t WHERE t.identity_id = first.identity_id
                       AND t.text ~>=~ %(word_{number})s AND t.text ~<~ %(end_{number})s)
        """
        for number in range(1, len(words))
    )
    bounds = {f"word_{number}": word for number, word in enumerate(words)}
    bounds |= {f"end_{number}": word + LAST for number, word in enumerate(words)}
    with connection.cursor() as cursor:
        cursor.execute(
            f"""
            SELECT DISTINCT ON (text, identity_id) identity_id FROM (
                SELECT text, identity_id FROM cohorts_searchtext
                 WHERE site_id = %(site)s AND text ~>=~ %(word_0)s AND text ~<~ %(end_0)s
                 ORDER BY text USING ~<~ LIMIT {MOST_LOOKED_AT}
            ) AS first WHERE true {also} ORDER BY text, identity_id LIMIT {MOST_FOUND}
            """,
            {"site": site_id, **bounds},
        )
        found = [row[0] for row in cursor.fetchall()]
        cursor.execute(
            f"""
            SELECT id FROM cohorts_identity
             WHERE site_id = %(site)s AND lower(value) COLLATE "C" >= lower(%(text)s)
               AND lower(value) COLLATE "C" < lower(%(text)s) || %(last)s
             ORDER BY lower(value) COLLATE "C" LIMIT {MOST_FOUND}
            """,
            {"site": site_id, "text": text, "last": LAST},
        )
        found += [row[0] for row in cursor.fetchall()]
    return found[:MOST_FOUND]
