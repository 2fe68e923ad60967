"""Pseudonyms: a meaningless text in place of an erased id, the same wherever other people's data named it. Pure.

A value that equals the id is replaced in any field, also as the name of a field. Within a longer text only an
unmistakable id is replaced: an e-mail address or a long code. `checkout` may be a word as well as an id.
"""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final
from urllib.parse import quote

from api.events.envelope import MESSAGE_ID_LENGTH, clean_text
from api.ingest.erased import TOKEN, read_token

EMAIL: Final = re.compile(r"[^\s@]+@[^\s@]+\.[^\s@]+")
CODE: Final = re.compile(r"(?=.*\d)[\w-]{16,}")
DIGITS: Final = 6  # of a number that counts as an id; a shorter one is an age or a price
NUMBER: Final = re.compile(r"-?\d+(?:\.\d+)?(?:e[+-]?\d+)?", re.ASCII)
QUOTED: Final = re.compile("%[0-9A-F]{2}")
PROSE: Final = 4  # characters of an id that is replaced in explanations


@dataclass(frozen=True)
class Pseudonyms:
    """The pseudonym of each id. Without `inside` only whole texts are replaced, no numbers and no longer texts."""

    of: Mapping[str, str]
    inside: bool = True

    @classmethod
    def make(cls, ids: Sequence[str], marker: str) -> "Pseudonyms":
        """Return a different pseudonym for each id, so that a unique name stays unique."""
        return cls({id_: f"{marker}:{place}" if place else marker for place, id_ in enumerate(ids)})

    @property
    def strict(self) -> "Pseudonyms":
        return Pseudonyms(self.of, inside=False)

    @cached_property
    def spellings(self) -> list[str]:
        """Return the ids as texts, JSON and addresses may write them, for the search in the database."""
        spellings = {spelling for id_ in self.of for spelling in (id_, *_escaped(id_))}
        spellings |= {spelling for id_ in self.of if _is_unmistakable(id_) for spelling in _quoted(id_)}
        return sorted(spellings)

    @cached_property
    def odd_spellings(self) -> str:
        r"""Return a PostgreSQL pattern of bodies that may spell an id differently, or an empty text.

        JSON lets any character be written as `\u0061`, and a number with an exponent. It is for
        `encode(body, 'escape')`, which doubles backslashes.
        """
        patterns = []
        if self.of:
            patterns.append(r"\\\\u00[0-7]" if all(map(str.isascii, self.of)) else r"\\\\u[0-9a-fA-F]{4}")
        if any(NUMBER.fullmatch(id_) for id_ in self.of):
            patterns.append(r"[[:space:]:,[]-?[0-9]+(\.[0-9]+)?[eE][+-]?[0-9]")
        return "|".join(patterns)

    def text(self, text: str) -> str:
        """Return a text without the ids. Surrounding white space stays."""
        id_ = text.strip()
        whole = self.of.get(id_)
        if whole is not None:
            return text.replace(id_, whole)
        return self._unmistakable.sub(self._replace, text) if self.inside and self._unmistakable else text

    def message_id(self, text: str) -> str:
        """Return a messageId without the ids, no longer than one may be."""
        return self.text(text)[:MESSAGE_ID_LENGTH]

    def prose(self, text: str) -> str:
        """Return an explanation, such as a traceback, without the ids. Nothing depends on its text."""
        return self._all.sub(self._replace, text) if self._all else text

    def json(self, document: bytes) -> bytes:
        """Return JSON without the ids in its strings, keys and numbers. Everything else stays byte for byte."""
        return TOKEN.sub(lambda token: self._token(token[0]), document)

    def _token(self, token: bytes) -> bytes:
        if not token.startswith(b'"'):
            number = read_token(token)
            if not self.inside or len(number) < DIGITS or number not in self.of:
                return token
            return json.dumps(self.of[number]).encode()
        try:
            before = clean_text(json.loads(token, strict=False))
        except ValueError:  # of a broken body
            return token
        after = self.text(before)
        return token if after == before else json.dumps(after).encode()

    @cached_property
    def _by_spelling(self) -> Mapping[str, str]:
        return {spelling: pseudonym for id_, pseudonym in self.of.items() for spelling in (id_, *_quoted(id_))}

    def _replace(self, match: "re.Match[str]") -> str:
        return self._by_spelling[match[0]]

    @cached_property
    def _unmistakable(self) -> "re.Pattern[str] | None":
        return _any_of(spelling for spelling in self._by_spelling if _is_unmistakable(spelling.replace("%40", "@")))

    @cached_property
    def _all(self) -> "re.Pattern[str] | None":
        return _any_of(spelling for spelling in self._by_spelling if len(spelling) >= PROSE)


def _is_unmistakable(id_: str) -> bool:
    return EMAIL.fullmatch(id_) is not None or CODE.fullmatch(id_) is not None


def _quoted(id_: str) -> set[str]:
    """Return percent-encoded spellings of an id: hexadecimal digits in either case, `@` and `+` escaped or not."""
    written = {quote(id_, safe=safe) for safe in ("", "@", "+", "@+")}
    return written | {QUOTED.sub(lambda match: match[0].lower(), spelling) for spelling in written}


def _escaped(id_: str) -> list[str]:
    """Return the spellings of an id in JSON, without the quotes."""
    texts = [json.dumps(id_, ensure_ascii=ascii_only)[1:-1] for ascii_only in (True, False)]
    return [*texts, *(text.replace("/", "\\/") for text in (id_, *texts))]


def _any_of(spellings: Iterable[str]) -> "re.Pattern[str] | None":
    """Return a pattern for any of these as a separate word, not as part of a longer id or address."""
    longest_first = sorted(spellings, key=len, reverse=True)
    if not longest_first:
        return None
    return re.compile(rf"(?<![\w.%+-])(?:{'|'.join(map(re.escape, longest_first))})(?![\w-]|\.\w)")
