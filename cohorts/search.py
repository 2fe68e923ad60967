"""Search for people by e-mail address, name, username or the beginning of an id."""

import unicodedata
from collections.abc import Iterable, Mapping
from typing import Final

from django.db import connection

from cohorts import merge
from cohorts.beginnings import find_by_beginning
from cohorts.members import find_roots
from cohorts.models import Identity, Username
from cohorts.reserved_traits import full_name, unwrap_single

# The traits that people are found by.
FOUND_BY: Final = frozenset({"email", "username", "name", "firstName", "first_name", "lastName", "last_name"})
TEXT_LENGTH: Final = 255
MOST_WORDS: Final = 8  # of a text or of a search
MOST_FOUND: Final = 50
MOST_LOOKED_AT: Final = 10_000  # texts that begin with the first word of a search
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

    An exact id or username wins. Without one, the search finds names and ids that begin with the text, in any case,
    with the words of a name in any order. Some eight queries, each by an index.
    """
    matches = _find_exact(site_id, text) or _find_by_beginning(site_id, text)
    roots = list(dict.fromkeys(find_roots(site_id, matches)))
    identities = Identity.objects.filter(site_id=site_id).defer("registers").in_bulk(roots)
    return [identities[root] for root in roots if root in identities]


def _find_exact(site_id: int, text: str) -> list[int]:
    """Return the identities with this id, of any kind, or with this username. Three queries."""
    ids = Identity.objects.filter(site_id=site_id, kind__in=Identity.Kind.values)
    found = list(ids.filter(value=text).order_by("kind").values_list("pk", flat=True))
    owner = Username.objects.filter(site_id=site_id, name=text).values_list("user_value", flat=True).first()
    if owner is not None:
        found += ids.filter(kind=Identity.Kind.USER, value=owner).values_list("pk", flat=True)
    return found


def _find_by_beginning(site_id: int, text: str) -> list[int]:
    """Return the identities with names or ids that begin with the text, names first.

    One query, and those of `find_by_beginning`.
    """
    words = fold(text).split(" ")[:MOST_WORDS]
    also = "".join(
        f"""
        AND EXISTS (SELECT 1 FROM cohorts_searchtext t
                     WHERE t.site_id = %(site)s AND t.identity_id = first.identity_id AND t.text ~>=~ %(word_{number})s
                       AND t.text ~<~ %(end_{number})s)
        """
        for number in range(1, len(words))
    )
    bounds = {f"word_{number}": word for number, word in enumerate(words)}
    bounds |= {f"end_{number}": word + LAST_CHARACTER for number, word in enumerate(words)}
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
    found += find_by_beginning(site_id, text, limit=MOST_FOUND)
    return found[:MOST_FOUND]
