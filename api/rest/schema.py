"""The OpenAPI document, and the descriptions that all operations share."""

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
from api.rest.access import scope_needed

Endpoint = tuple[str, str, str, Any]

PAGE_HEADERS: Final = [
    OpenApiParameter(
        f"X-Pagination-{name}-Count",
        int,
        OpenApiParameter.HEADER,
        response=[200],
        description=f"The number of {things}.",
    )
    for name, things in (("Page", "pages"), ("Total", "rows on all pages"))
]
ERROR_STATUSES: Final = {
    400: "The body, a parameter or a field is wrong; the message names it.",
    401: "The credential or token is missing or not valid.",
    403: "The scopes of the token or credential are not enough; the message names the one that is needed.",
    404: "Nothing is at this address, or the credential does not open it.",
    409: "It contradicts what exists, or another request had this `Idempotency-Key`; the code says which.",
    429: "Too many requests with this credential. Try again after `Retry-After` seconds.",
    503: "The database cannot be reached. Try again after `Retry-After` seconds.",
}


@extend_schema_serializer(component_name="Error")
class ErrorBody(serializers.Serializer[Any]):
    """The body of every error."""

    success = serializers.BooleanField(help_text="Always false.")
    code = serializers.ChoiceField(
        choices=list(ERROR_CODES), help_text="\n".join(f"* `{code}`: {text}" for code, text in ERROR_CODES.items())
    )
    message = serializers.CharField(help_text="The problem, its place, and what to do.")


class CredentialScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]  # registers itself by being made
    target_class = "api.rest.access.CallerAuthentication"
    name = ["basic", "token"]

    def get_security_requirement(self, auto_schema: AutoSchema) -> list[dict[str, list[Any]]]:  # noqa: ARG002
        """Return both schemes; either is enough."""
        return [{name: []} for name in self.name]

    def get_security_definition(self, auto_schema: AutoSchema) -> list[dict[str, str]]:  # noqa: ARG002 - its caller names it
        """Return both schemes, Basic and Bearer."""
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


class ScopedSchema(AutoSchema):
    """The description of an operation, with the scope that it needs."""

    def get_operation(self, *arguments: Any, **options: Any) -> Any:
        operation = super().get_operation(*arguments, **options)
        if operation is not None and self.view.authentication_classes:
            scope = scope_needed(self.view, self.method)
            operation["x-required-scope"] = str(scope)
            operation["description"] = f"{operation['description']}\n\nNeeds the scope `{scope}`."
        return operation


def answers(status: int, shape: Any, *errors: int) -> dict[int, Any]:
    """Return the answers of an operation: its success, its own errors, and those of every operation."""
    failures = {error: OpenApiResponse(ErrorBody, ERROR_STATUSES[error]) for error in (*errors, 401, 403, 429, 503)}
    return {status: shape, **dict(sorted(failures.items()))}


def keep_one_spelling(endpoints: list[Endpoint], **_: Any) -> list[Endpoint]:
    """Leave out the paths with a final slash, so that the document has each once (SPECTACULAR_SETTINGS)."""
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
    """Return the OpenAPI document as YAML and JSON, made once per process. It takes most of a second.

    The generator is not safe for threads: some of several concurrent ones failed.
    """
    generator = SchemaGenerator()  # type: ignore[no-untyped-call]
    document = generator.get_schema(request=None, public=True)  # type: ignore[no-untyped-call]
    renderers = {"yaml": OpenApiYamlRenderer(), "json": OpenApiJsonRenderer()}
    return {
        name: Document.of(force_bytes(renderer.render(document, renderer_context={})))
        for name, renderer in renderers.items()
    }


class Schema(APIView):
    """`/api/schema`, open to all: YAML, or JSON if the request accepts it."""

    authentication_classes = ()
    throttle_classes = ()
    renderer_classes = (OpenApiYamlRenderer, OpenApiYamlRenderer2, OpenApiJsonRenderer, OpenApiJsonRenderer2)

    @extend_schema(exclude=True)
    def get(self, request: Request) -> HttpResponseBase:
        """Send the document, or 304 if the reader has it already."""
        document = documents()["json" if request.accepted_renderer.format.endswith("json") else "yaml"]
        headers = {"ETag": document.etag, "Cache-Control": "no-cache", "Vary": "Accept"}
        response = HttpResponse(document.body, content_type=request.accepted_renderer.media_type, headers=headers)
        return get_conditional_response(request, etag=document.etag, response=response) or response
