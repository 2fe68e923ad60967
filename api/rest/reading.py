"""Readers of requests: JSON bodies of bounded size, and query strings in which every parameter is known."""

import re
from collections.abc import Mapping
from http import HTTPStatus
from typing import IO, Any, Final, TypeVar

import msgspec
from django.db.models import Model, QuerySet
from rest_framework import serializers
from rest_framework.parsers import BaseParser
from rest_framework.request import Request

from api.events.encodings import strip_byte_order_mark
from api.events.refusal import Refusal

Row = TypeVar("Row", bound=Model)

BODY_LIMIT: Final = 1_048_576
DEPTH_LIMIT: Final = 100
STRING_OR_BRACKET: Final = re.compile(r'"(?:[^"\\]|\\.)*"|[\[\]{}]')


class BoundedJSONParser(BaseParser):
    """A parser as strict as the ingest's: UTF-8 (or UTF-16 with its mark), no lone surrogates."""

    media_type = "application/json"

    def parse(
        self, stream: IO[bytes], _media_type: str | None = None, _context: Mapping[str, Any] | None = None
    ) -> Any:
        """Return the decoded body. Raises Refusal: 413 too_large, 400 invalid_json."""
        body = stream.read(BODY_LIMIT + 1)
        if len(body) > BODY_LIMIT:
            raise Refusal(
                HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "too_large", f"The body is larger than {BODY_LIMIT:,} bytes."
            )
        try:
            text = strip_byte_order_mark(body).decode()
            if is_too_deep(text):
                raise Refusal(
                    HTTPStatus.BAD_REQUEST,
                    "invalid_json",
                    f"The body is nested deeper than {DEPTH_LIMIT} levels. Nothing was changed.",
                )
            return msgspec.json.decode(text)
        except UnicodeDecodeError as error:  # PowerShell 5 sends ISO-8859-1 by default
            raise Refusal(
                HTTPStatus.BAD_REQUEST,
                "invalid_json",
                f"The body is not UTF-8 at byte {error.start:,}. Nothing was changed. Send it as UTF-8.",
            ) from error
        except (ValueError, RecursionError) as error:
            raise Refusal(HTTPStatus.BAD_REQUEST, "invalid_json", f"The body is not JSON: {error}.") from error


def is_too_deep(text: str) -> bool:
    """Return True if more brackets are open at once than any value of this API needs.

    A serializer that rejects such a value prints it, which ends in a RecursionError.
    """
    if text.count("[") + text.count("{") <= DEPTH_LIMIT:
        return False
    depth = 0
    for bracket in STRING_OR_BRACKET.findall(text):
        depth += {"[": 1, "{": 1, "]": -1, "}": -1}.get(bracket, 0)
        if depth > DEPTH_LIMIT:
            return True
    return False


class EventTypeField(serializers.ChoiceField):
    """A type of events, in any case, as the ingest reads it."""

    def to_internal_value(self, data: Any) -> Any:
        """Return the type in lower case. Raises ValidationError."""
        return super().to_internal_value(data.strip().lower() if isinstance(data, str) else data)


PAGE_LIMIT: Final = 200
FARTHEST: Final = 2**31  # more rows than any list has


class Query(serializers.Serializer[Any]):
    """The parameters of a list."""

    @classmethod
    def read(cls, request: Request) -> dict[str, Any]:
        """Return the validated parameters of a request.

        Raises ValidationError also for an unknown one, because a misspelt filter must not return everything.
        """
        fields = cls().fields
        given = {
            # A plain dict, because the framework takes a QueryDict for a form, in which an absent boolean is False.
            name: values if isinstance(fields.get(name), serializers.ListField) else values[0]
            for name, values in request.query_params.lists()
        }
        for name in given:
            if name not in fields:
                known = ", ".join(fields)
                raise serializers.ValidationError({name: f"There is no such parameter; there are {known}."})
        query = cls(data=given)
        query.is_valid(raise_exception=True)
        read: dict[str, Any] = query.validated_data
        return read


class PageQuery(Query):
    """The page of a list."""

    page = serializers.IntegerField(default=1, min_value=1, help_text="From 1. A page beyond the last is empty.")
    perPage = serializers.IntegerField(default=50, min_value=1, max_value=PAGE_LIMIT)  # noqa: N815 - the wire's name


def read_page(rows: QuerySet[Row], query: Mapping[str, Any]) -> tuple[list[Row], dict[str, str]]:
    """Return the rows of a page of PageQuery, and the headers that count pages and rows. Two queries."""
    first = first_row(query)
    return list(rows[first : first + query["perPage"]]), page_headers(rows.count(), per_page=query["perPage"])


def first_row(query: Mapping[str, Any]) -> int:
    """Return the offset of the first row of a page."""
    return min((int(query["page"]) - 1) * int(query["perPage"]), FARTHEST)


def page_headers(total: int, *, per_page: int) -> dict[str, str]:
    """Return the headers that count pages and rows. In headers, because Kameleoon's clients expect an array."""
    counts = {"Page": -(-total // per_page), "Total": total}
    return {f"X-Pagination-{name}-Count": str(count) for name, count in counts.items()}
