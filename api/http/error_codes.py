"""The closed list of error codes: the values of `code` in `{"success": false, "code": …, "message": …}`."""

from typing import Final

# Each with its general meaning. The message of a response says what was wrong with that request.
ERROR_CODES: Final[dict[str, str]] = {
    # The request.
    "invalid_request": "400: a parameter or a field is missing or wrong; the message names it.",
    "invalid_json": "400: the body is not JSON, or not what is expected at its top.",
    "unreadable_encoding": "400: the body's Content-Encoding is not read here, or the body is not what it says.",
    "invalid_event": "400: the event has no type and none can be inferred.",
    "invalid_line": "400: a line of an SDK means nothing; it is kept as a rejected event, and no request is refused.",
    "missing_name": "400: a track event has no `event`.",
    "missing_group_id": "400: a group event has no `groupId`.",
    "missing_previous_id": "400: an alias event lacks `previousId` or `userId`.",
    "no_identity": "400: an event names no person: neither `userId` nor `anonymousId`.",
    "invalid_keys": "400: `keys` is not a JSON array of strings.",
    "missing_key": "400: the parameter `key` is missing.",
    "reserved_key": "400: Goalpost itself fills this key of remote data.",
    "too_many_keys": "400: more keys at once than are answered.",
    "bad_request": "400: the request cannot be read at all, or is meant for another host.",
    "not_acceptable": "406: the Accept header allows nothing that can be answered.",
    "too_large": "413: the body is too large; 414: the query is.",
    "unsupported_media_type": "415: the body is of a type that is not read here.",
    # The sender.
    "unauthorized": "401: no credential or access token, an unknown one, or one that was revoked.",
    "forbidden": "403: you may not do this.",
    "forbidden_role": "403: a management token from before scopes has a role that may not do this.",
    "insufficient_scope": "403: the credential or token may not do this; the message names the scope that it lacks.",
    "forbidden_site": "403: the credential does not open this site.",
    "integration_off": "403: the site's Segment destination is switched off.",
    "source_off": "403: the source of this write key is switched off.",
    # The subject.
    "not_found": "404: nothing is here, or nothing that your credential opens.",
    "unknown_write_key": "404: no source has this write key, or it is switched off.",
    "unknown_site": "404: no such site, or none that your credential opens.",
    "unknown_environment": "404: the site has no environment of this name.",
    "method_not_allowed": "405: this path takes other methods; the Allow header lists them.",
    "name_taken": "409: another goal or segment of the site has this name.",
    "in_use": "409: something else of the site needs it; the message names that.",
    "last_owner": "409: the last owner of a site stays one; make another member an owner first.",
    "idempotency_key_reused": "409: another request had this `Idempotency-Key` less than a day ago.",
    # Limits and server errors: retry after Retry-After.
    "throttled": "429: too many requests of one credential in a minute.",
    "overloaded": "429: too many events wait to be digested, or the site's rules take too long for this request.",
    "over_budget": "429: the source has sent as many events or bytes as it may in this minute or on this day.",
    "internal_error": "500: an internal error; the log has it.",
    "unavailable": "503: the database cannot be reached just now, or too many requests are being answered.",
    "disk_full": "503: the disk of the database is full.",
    "read_only": "503: the database takes no writes.",
    "other_secret_key": "503: GOALPOST_SECRET_KEY is not the one of this database.",
    "not_migrated": "503: the database lacks migrations of this version.",
}
