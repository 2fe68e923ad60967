"""What takes the place of an erased id in what others said: a meaningless text, the same wherever the id was. Pure.

A value that is the id is replaced, whatever field it fills, also as the name of a field. Within a longer text only an
unmistakable id is replaced, an e-mail address or a long code: `checkout` is a word as well as somebody's id.
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
DIGITS: Final = 6  # of a number that is taken for an id: a shorter one is an age or a price
NUMBER: Final = re.compile(r"-?\d+(?:\.\d+)?(?:e[+-]?\d+)?", re.ASCII)
QUOTED: Final = re.compile("%[0-9A-F]{2}")
PROSE: Final = 4  # characters of an id that is looked for in explanations


@dataclass(frozen=True)
class StandIns:
    """`of` has the stand-in of each id. Without `inside` only whole texts are replaced: no numbers, no longer texts."""

    of: Mapping[str, str]
    inside: bool = True

    @classmethod
    def make(cls, ids: Sequence[str], marker: str) -> "StandIns":
        """Give each id a stand-in of its own, so that a name which has to be unique stays so."""
        return cls({id_: f"{marker}:{place}" if place else marker for place, id_ in enumerate(ids)})

    @property
    def strict(self) -> "StandIns":
        return StandIns(self.of, inside=False)

    @cached_property
    def spellings(self) -> list[str]:
        """How texts, JSON and addresses may write the ids: what a search looks for first."""
        found = {each for id_ in self.of for each in (id_, *_escaped(id_))}
        found |= {each for id_ in self.of if _is_unmistakable(id_) for each in _quoted(id_)}
        return sorted(found)

    @cached_property
    def odd_spellings(self) -> str:
        r"""Return a pattern, of PostgreSQL, of bodies that may spell an id otherwise; empty where none can.

        JSON lets any character be written as `\u0061`, and a number with an exponent. It is for
        `encode(body, 'escape')`, which doubles backslashes.
        """
        found = []
        if self.of:
            found.append(r"\\\\u00[0-7]" if all(map(str.isascii, self.of)) else r"\\\\u[0-9a-fA-F]{4}")
        if any(NUMBER.fullmatch(id_) for id_ in self.of):
            found.append(r"[[:space:]:,[]-?[0-9]+(\.[0-9]+)?[eE][+-]?[0-9]")
        return "|".join(found)

    def text(self, text: str) -> str:
        """Return a text without the ids, the white space around it kept."""
        id_ = text.strip()
        whole = self.of.get(id_)
        if whole is not None:
            return text.replace(id_, whole)
        return self._unmistakable.sub(self._replace, text) if self.inside and self._unmistakable else text

    def message_id(self, text: str) -> str:
        """Return a messageId without the ids, no longer than one may be."""
        return self.text(text)[:MESSAGE_ID_LENGTH]

    def prose(self, text: str) -> str:
        """Return an explanation, a traceback for example, without the ids: nothing depends on what it says."""
        return self._all.sub(self._replace, text) if self._all else text

    def json(self, document: bytes) -> bytes:
        """Return JSON without the ids in its strings, keys and numbers; all else stays to the byte."""
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
        return {spelling: stand_in for id_, stand_in in self.of.items() for spelling in (id_, *_quoted(id_))}

    def _replace(self, found: "re.Match[str]") -> str:
        return self._by_spelling[found[0]]

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
    return written | {QUOTED.sub(lambda found: found[0].lower(), each) for each in written}


def _escaped(id_: str) -> list[str]:
    """How JSON may write an id, without the quotes."""
    texts = [json.dumps(id_, ensure_ascii=way)[1:-1] for way in (True, False)]
    return [*texts, *(each.replace("/", "\\/") for each in (id_, *texts))]


def _any_of(spellings: Iterable[str]) -> "re.Pattern[str] | None":
    """Each as a word of its own: no part of a longer id or address."""
    longest_first = sorted(spellings, key=len, reverse=True)
    if not longest_first:
        return None
    return re.compile(rf"(?<![\w.%+-])(?:{'|'.join(map(re.escape, longest_first))})(?![\w-]|\.\w)")
