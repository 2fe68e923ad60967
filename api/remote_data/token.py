"""`POST /oauth/token`: an access token for a client id and secret."""

from http import HTTPStatus
from typing import Final
from urllib.parse import parse_qs

from api.events.refusal import Refusal
from api.http.bodies import BodyTooLargeError, UndecodableBodyError
from api.http.credentials import TOKEN_SECONDS, check_authorization, check_secret, issue_token, require_scope
from api.http.endpoint import Request, Response, json_response
from api.http.threads import look_up
from api.models import Scope

BODY_LIMIT: Final = 16_384


async def give_token(request: Request) -> Response:
    """Issue a token for two hours to `Authorization: Basic base64(id:secret)` or the form's client_id, client_secret.

    The token has the scopes that the credential has at the time of use. A credential that can only send gets none,
    because SDKs read with tokens. Raises Refusal: 400 invalid_request, 401 unauthorized, 403 insufficient_scope,
    503 unavailable.
    """
    authorization = request.header("authorization")
    if authorization.lower().startswith("bearer"):
        raise invalid_request("An access token cannot be exchanged for another. Send the client id and secret.")
    if authorization:
        bearer = await look_up(check_authorization, authorization)
        form = await read_form(request)
    else:
        form = await read_form(request)
        bearer = await look_up(check_secret, form.get("client_id", [""])[0], form.get("client_secret", [""])[0])
    require_scope(bearer, Scope.READ, Scope.MANAGE)
    if form.get("grant_type", ["client_credentials"]) != ["client_credentials"]:
        raise invalid_request("The grant_type must be client_credentials.")
    token = {"access_token": issue_token(bearer), "token_type": "bearer", "expires_in": TOKEN_SECONDS}
    return json_response(token, headers=[("Cache-Control", "no-store")])


async def read_form(request: Request) -> dict[str, list[str]]:
    """Return the fields of a small URL-encoded form. Raises Refusal (400)."""
    try:
        return parse_qs((await request.body(BODY_LIMIT)).decode("utf-8", "replace"))
    except (BodyTooLargeError, UndecodableBodyError) as error:
        raise invalid_request("The body must be a small URL-encoded form.") from error


def invalid_request(message: str) -> Refusal:
    return Refusal(HTTPStatus.BAD_REQUEST, "invalid_request", message)
