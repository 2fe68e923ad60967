"""`Idempotency-Key` of creations: a repeated request gets the first answer again and creates nothing.

The answer is a unique row in the transaction of the creation. If the creation fails, the key is free again. A secret
that is shown once is not stored. It is derived from GOALPOST_SECRET_KEY, the client's key and a salt in that row. So
only a request with the same key gets it again, and the database alone does not reveal it.
"""

import base64
import hashlib
import hmac
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from http import HTTPStatus
from typing import Any, Final

import msgspec
from django.conf import settings
from django.db import transaction
from django.utils import timezone
from drf_spectacular.utils import OpenApiParameter
from rest_framework.exceptions import ValidationError
from rest_framework.renderers import JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response

from api.events.refusal import Refusal
from api.http.credentials import generate_secret
from api.models import Site, StoredAnswer
from api.rest.access import caller_of

HEADER: Final = "Idempotency-Key"
REPLAYED: Final = "Idempotency-Replayed"
KEPT: Final = timedelta(hours=24)
MOST_CHARACTERS: Final = 255
PARAMETERS: Final = [
    OpenApiParameter(
        HEADER,
        str,
        OpenApiParameter.HEADER,
        description="Any text of your choice, such as a UUID, 255 characters at most. For 24 hours the same request "
        f"with the same key gets the first answer again, with the header `{REPLAYED}: true`, and creates nothing. "
        "Another request with this key is 409. A key counts for one caller and one site.",
    ),
    OpenApiParameter(
        REPLAYED, str, OpenApiParameter.HEADER, response=[201], description="`true` if this answer was given before."
    ),
]

Body = Mapping[str, Any]


def without_secret(_body: Body, _secret: str) -> Body:
    return {}


def create_once(
    request: Request,
    site: Site | None,
    create: Callable[[str], Body],
    *,
    shown_once: Callable[[Body, str], Body] = without_secret,
) -> Response:
    """Answer 201 with what `create` returns, or with the first answer if the request repeats one.

    `create` runs in the transaction of the answer, with a secret that it may give to what it creates. `shown_once`
    makes the fields with that secret, which are not stored. A request with a key takes four more queries.

    Raises Refusal (409) for another request with the key of an earlier one, ValidationError for a wrong key.
    """
    key = request.headers.get(HEADER)
    if key is None:
        secret = generate_secret()
        with transaction.atomic():
            body = create(secret)
        return Response({**body, **shown_once(body, secret)}, status=HTTPStatus.CREATED)
    if not 0 < len(key) <= MOST_CHARACTERS:
        raise ValidationError({HEADER: f"Send 1 to {MOST_CHARACTERS} characters."})
    with transaction.atomic():
        stored, is_new = StoredAnswer.objects.get_or_create(
            site=site,
            caller=caller_of(request).key,
            key_hash=hashlib.sha256(key.encode()).hexdigest(),
            defaults={
                "request_hash": hash_request(request),
                "salt": generate_secret(),
                "answer": "",
                "created_at": timezone.now(),
            },
        )
        secret = derive_secret(stored, key)
        if is_new:
            body = create(secret)
            stored.answer = JSONRenderer().render(body).decode()
            stored.save(update_fields=["answer"])
        elif stored.request_hash != hash_request(request):
            raise Refusal(
                HTTPStatus.CONFLICT,
                "idempotency_key_reused",
                f"Another request had this {HEADER} less than a day ago. Nothing was created. Send a new key.",
            )
    body = msgspec.json.decode(stored.answer)
    headers = None if is_new else {REPLAYED: "true"}
    return Response({**body, **shown_once(body, secret)}, status=HTTPStatus.CREATED, headers=headers)


def hash_request(request: Request) -> str:
    """Return a hash of path and body that ignores the order of fields.

    It is keyed with GOALPOST_SECRET_KEY, so that the database alone does not let anybody guess a body.
    """
    body = msgspec.json.encode(request.data, order="deterministic")
    return _sign(b"request", request.path.rstrip("/").encode(errors="surrogatepass"), body).hex()


def derive_secret(stored: StoredAnswer, key: str) -> str:
    """Return the secret of a creation, as long and as random as those of `generate_secret`."""
    digest = _sign(b"secret", stored.salt.encode(), stored.caller.encode(), key.encode())
    return base64.urlsafe_b64encode(digest[:24]).decode()


def _sign(*parts: bytes) -> bytes:
    return hmac.digest(settings.SECRET_KEY.encode(), b"api.rest.idempotency\0" + b"\0".join(parts), "sha256")


def prune(*, now: datetime) -> None:
    """Delete answers that are older than a day. One query a site."""
    for site_id in (None, *Site.objects.values_list("pk", flat=True)):
        StoredAnswer.objects.filter(site=site_id, created_at__lt=now - KEPT).delete()
