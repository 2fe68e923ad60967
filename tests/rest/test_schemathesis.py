"""Requests that schemathesis makes from the OpenAPI document, valid and not, with a token of each scope.

Whatever is sent, no answer is a 500, its status is in the document, and its body and headers are as described there.
"""

from collections.abc import Mapping
from functools import cache
from typing import Any, Final, cast
from urllib.parse import unquote

import hypothesis
import pytest
import requests
import schemathesis
import yaml
from hypothesis import Phase, strategies
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from api.models import TokenScope
from tests.support.rest_access import DOCUMENT, holder_of, make_places
from tests.world import World

EXAMPLES: Final = 20  # valid and invalid requests, with the scope that an operation needs
REFUSED: Final = 2  # with each other scope, which is refused before the request is read
CHECKS: Final = [
    schemathesis.checks.not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]


Cases = strategies.SearchStrategy[schemathesis.Case[Any]]


@cache
def document() -> Mapping[str, schemathesis.APIOperation[Any, Any, Any, Any]]:
    """Return each operation by its method and path."""
    described = yaml.load(DOCUMENT.read_bytes(), Loader=yaml.CSafeLoader)
    found = {}
    for result in schemathesis.openapi.from_dict(described).get_all_operations():
        assert isinstance(result, Ok), result
        found[result.ok().label] = result.ok()
    return found


@pytest.mark.parametrize("label", document())
def test_operation__asked_anything_with_each_scope__answers_as_described(world: World, label: str) -> None:
    operation = document()[label]
    places = {name: unquote(text) for name, text in make_places(world).items()}
    modes = (schemathesis.GenerationMode.POSITIVE, schemathesis.GenerationMode.NEGATIVE)
    cases = strategies.one_of(*(operation.as_strategy(generation_mode=mode) for mode in modes))
    for scope in TokenScope:
        is_needed = scope == operation.definition.raw["x-required-scope"]
        ask(world, cases, holder_of(world, scope).authorization, places, most=EXAMPLES if is_needed else REFUSED)


def ask(world: World, cases: Cases, token: str, places: Mapping[str, str], *, most: int) -> None:
    """Send requests with a token. Half of them name rows that exist, in place of ids that hardly ever do."""

    @hypothesis.seed(14)
    @hypothesis.settings(max_examples=most, database=None, phases=[Phase.generate])
    @hypothesis.given(cases, strategies.booleans())
    def send(case: schemathesis.Case[Any], is_of_site: bool) -> None:  # noqa: FBT001 - given by position
        if is_of_site:
            case.path_parameters |= {name: places[name] for name in case.path_parameters}
        check(world, case, token)

    send()


def check(world: World, case: schemathesis.Case[Any], token: str) -> None:
    """Send a request to the application. Raises a failure of schemathesis unless the answer is as described."""
    made = case.as_transport_kwargs(base_url=str(world.client.base_url))
    made["headers"]["Authorization"] = token
    request = requests.Request(**made).prepare()
    headers = [(to_bytes(name), to_bytes(value)) for name, value in request.headers.items()]
    answer = world.client.request(
        str(request.method), str(request.url), headers=headers, content=cast("str | bytes | None", request.body) or b""
    )
    headers_of = {name: answer.headers.get_list(name) for name in answer.headers}
    response = schemathesis.Response(answer.status_code, headers_of, answer.content, request, elapsed=0, verify=False)
    case.validate_response(response, checks=CHECKS)


def to_bytes(text: str | bytes) -> bytes:
    return text if isinstance(text, bytes) else text.encode("latin-1")
