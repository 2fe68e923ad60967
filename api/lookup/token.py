"""`POST /oauth/token`: an access token for a client id and secret (wire-kameleoon B2)."""

from http import HTTPStatus
from typing import Final
from urllib.parse import parse_qs

from api.access import TOKEN_SECONDS, check_authorization, check_secret, issue_token
from api.door import Answer, Refusal, Request, TooLargeError, UnreadableBodyError, json_answer

BODY_LIMIT: Final = 16_384


def give_token(request: Request) -> Answer:
    """A token for two hours, for `Authorization: Basic base64(id:secret)` or the form fields client_id, client_secret.

    Raises Refusal: 400 invalid_request, 401 unauthorized.
    """
    try:
        form = parse_qs(request.body(BODY_LIMIT).decode("utf-8", "replace"))
    except (TooLargeError, UnreadableBodyError) as error:
        raise invalid_request("The body must be a small URL-encoded form.") from error
    if form.get("grant_type", ["client_credentials"]) != ["client_credentials"]:
        raise invalid_request("The only grant_type here is client_credentials.")
    authorization = request.header("HTTP_AUTHORIZATION")
    if authorization.lower().startswith("bearer"):
        raise invalid_request("An access token cannot be exchanged for another. Send the client id and secret.")
    bearer = (
        check_authorization(authorization)
        if authorization
        else check_secret(form.get("client_id", [""])[0], form.get("client_secret", [""])[0])
    )
    token = {"access_token": issue_token(bearer), "token_type": "bearer", "expires_in": TOKEN_SECONDS}
    return json_answer(token, headers=[("Cache-Control", "no-store")])


def invalid_request(message: str) -> Refusal:
    """400."""
    return Refusal(HTTPStatus.BAD_REQUEST, "invalid_request", message)
