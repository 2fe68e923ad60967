"""The OpenAPI document: how it is made, and the words that every operation shares."""

import hashlib
from dataclasses import dataclass
from typing import Any, Final, Self

from django.http import HttpResponse
from django.http.response import HttpResponseBase
from django.utils.cache import get_conditional_response
from django.utils.encoding import force_bytes
from drf_spectacular.extensions import OpenApiAuthenticationExtension
from drf_spectacular.generators import SchemaGenerator
from drf_spectacular.openapi import AutoSchema
from drf_spectacular.renderers import (
    OpenApiJsonRenderer,
    OpenApiJsonRenderer2,
    OpenApiYamlRenderer,
    OpenApiYamlRenderer2,
)
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema, extend_schema_serializer
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.views import APIView

from api.http.database import once
from api.http.error_codes import ERROR_CODES

Endpoint = tuple[str, str, str, Any]

PAGE_HEADERS: Final = [
    OpenApiParameter(
        f"X-Pagination-{name}-Count", int, OpenApiParameter.HEADER, response=[200], description=f"How many {what}."
    )
    for name, what in (("Page", "pages there are"), ("Total", "goals there are on all pages"))
]
ERROR_STATUSES: Final = {
    400: "The body, a parameter or a field is wrong; the message names it.",
    401: "No credential or token, or none that is valid.",
    403: "The token's role or the credential's scopes are not enough; the message names what is needed.",
    404: "Nothing is here, or nothing that the credential opens.",
    409: "Another goal of the site has this name.",
    429: "Too many requests of this credential; come again after `Retry-After` seconds.",
    503: "The database cannot be reached; come again after `Retry-After` seconds.",
}


@extend_schema_serializer(component_name="Error")
class ErrorBody(serializers.Serializer[Any]):
    """What every error looks like."""

    success = serializers.BooleanField(help_text="Always false.")
    code = serializers.ChoiceField(
        choices=list(ERROR_CODES), help_text="\n".join(f"* `{code}`: {text}" for code, text in ERROR_CODES.items())
    )
    message = serializers.CharField(help_text="What was wrong, where, and what to do.")


class CredentialScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]  # registers itself by being made
    target_class = "api.rest.access.CallerAuthentication"
    name = ["basic", "token"]

    def get_security_requirement(self, auto_schema: AutoSchema) -> list[dict[str, list[Any]]]:  # noqa: ARG002
        """Either of them is enough."""
        return [{name: []} for name in self.name]

    def get_security_definition(self, auto_schema: AutoSchema) -> list[dict[str, str]]:  # noqa: ARG002 - its caller names it
        """The two ways in."""
        return [
            {
                "type": "http",
                "scheme": "basic",
                "description": "Client id and secret of a credential with the scope `manage`.",
            },
            {
                "type": "http",
                "scheme": "bearer",
                "description": "A management token, or an access token of `POST /oauth/token`.",
            },
        ]


def answers(status: int, shape: Any, *errors: int) -> dict[int, Any]:
    """What an operation answers: the one success, the errors named, and those that any operation has."""
    failures = {error: OpenApiResponse(ErrorBody, ERROR_STATUSES[error]) for error in (*errors, 401, 403, 429, 503)}
    return {status: shape, **dict(sorted(failures.items()))}


def keep_one_spelling(endpoints: list[Endpoint], **_: Any) -> list[Endpoint]:
    """Each path also answers with a slash at its end; the document has it once (SPECTACULAR_SETTINGS)."""
    return [endpoint for endpoint in endpoints if not endpoint[0].endswith("/")]


@dataclass(frozen=True, slots=True)
class Document:
    """The OpenAPI document in one notation."""

    body: bytes
    etag: str

    @classmethod
    def of(cls, body: bytes) -> Self:
        return cls(body, f'"{hashlib.sha256(body).hexdigest()[:32]}"')


@once
def documents() -> dict[str, Document]:
    """Return the OpenAPI document of this code as YAML and JSON, made once a process. It takes most of a second.

    The generator is not made for threads: of several at once some failed.
    """
    generator = SchemaGenerator()  # type: ignore[no-untyped-call]
    made = generator.get_schema(request=None, public=True)  # type: ignore[no-untyped-call]
    renderers = {"yaml": OpenApiYamlRenderer(), "json": OpenApiJsonRenderer()}
    return {name: Document.of(force_bytes(each.render(made, renderer_context={}))) for name, each in renderers.items()}


class Schema(APIView):
    """`/api/schema`, for everybody: YAML, or JSON to those who ask for it."""

    authentication_classes = ()
    throttle_classes = ()
    renderer_classes = (OpenApiYamlRenderer, OpenApiYamlRenderer2, OpenApiJsonRenderer, OpenApiJsonRenderer2)

    @extend_schema(exclude=True)
    def get(self, request: Request) -> HttpResponseBase:
        """Send the document, or 304 to a reader who has it already."""
        document = documents()["json" if request.accepted_renderer.format.endswith("json") else "yaml"]
        headers = {"ETag": document.etag, "Cache-Control": "no-cache", "Vary": "Accept"}
        response = HttpResponse(document.body, content_type=request.accepted_renderer.media_type, headers=headers)
        return get_conditional_response(request, etag=document.etag, response=response) or response
