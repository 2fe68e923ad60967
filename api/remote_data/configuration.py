"""`GET /v3/<sitecode>`: the configuration file of Kameleoon's SDKs, with custom data, segments and feature flags.

The file holds only what every SDK reads alike. A segment that cannot be said so is left out, with every rule that
uses it. Otherwise SDKs would target everybody. `sdk_segments.explain_withheld` says why.

A file is built once for each version and environment and process. Each request reads the version, so that no file is
older than the last commit.
"""

import re
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from datetime import UTC, datetime
from email.utils import format_datetime
from functools import partial
from http import HTTPStatus
from itertools import count
from typing import Any, Final

import msgspec
from cachetools import LRUCache
from django.conf import settings
from psycopg.errors import QueryCanceled

from api.events.refusal import Refusal
from api.http.access import AccessCheck
from api.http.batching import PendingCall, RequestBatcher
from api.http.credentials import SITECODE, SiteAccess, find_site
from api.http.database import DatabaseDownError, fetch_all, once
from api.http.endpoint import Endpoint, Request, Response
from api.http.public_address import asked_address
from api.remote_data.sdk_segments import SdkSegments, compose_segments
from api.runtime.sdk_hosts import domain_of
from cohorts.segments.conditions import CompiledSegment, decode_conditions
from cohorts.segments.evaluation import in_order
from cohorts.segments.sdk_conditions import ComparedCustomData
from goals.flags.models import ENVIRONMENT_NAME
from goals.flags.saving import PRODUCTION

PATH: Final = "/v3/"
PATIENCE: Final = 5.0  # seconds
MOST_BYTES: Final = 67_108_864  # of files that a process keeps
BEGINNING: Final = datetime(2026, 1, 1, tzinfo=UTC)  # the version of a site without any change
NAME: Final = re.compile(ENVIRONMENT_NAME)
# An unknown environment must not cost a file at each request.
READ_VERSION: Final = """
    SELECT c.changed_at,
           EXISTS (SELECT 1 FROM goals_environment e WHERE e.site_id = %(site)s AND e.name = %(environment)s)
      FROM (SELECT 1) AS one LEFT JOIN api_sdkconfiguration c ON c.site_id = %(site)s
"""
READ_FILE: Final = """
    SELECT c.changed_at, c.has_real_time, c.requires_consent, c.opt_out,
           (SELECT coalesce(json_agg(json_build_object(
                       'id', d.index, 'index', d.index, 'name', d.name, 'localOnly', d.is_local_only,
                       'isMappingIdentifier', d.is_mapping_identifier, 'scope', d.scope
                   ) ORDER BY d.index), '[]')::text
              FROM cohorts_customdata d WHERE d.site_id = %(site)s),
           (SELECT coalesce(json_object_agg(d.index, json_build_array(d.type, d.format, d.filled_from)), '{}')::text
              FROM cohorts_customdata d WHERE d.site_id = %(site)s),
           (SELECT coalesce(json_agg(i.document ORDER BY i.number), '[]')::text
              FROM goals_importedsegment i WHERE i.site_id = %(site)s),
           (SELECT coalesce(json_agg(json_build_array(s.id, s.name, s.version, s.conditions::text)), '[]')::text
              FROM cohorts_segment s WHERE s.site_id = %(site)s),
           (SELECT coalesce(json_agg(json_build_object(
                       'id', f.id, 'document', f.document, 'is_enabled', %(environment)s = ANY(f.enabled_in)
                   ) ORDER BY f.key), '[]')::text
              FROM goals_featureflag f WHERE f.site_id = %(site)s)
      FROM (SELECT 1) AS one LEFT JOIN api_sdkconfiguration c ON c.site_id = %(site)s
"""

Key = tuple[int, str]  # site and environment
Json = msgspec.json.Decoder()


class Flag(msgspec.Struct, frozen=True):
    """A flag as the statement reads it."""

    id: int
    document: dict[str, Any]
    is_enabled: bool


class ConfigurationFile(msgspec.Struct, frozen=True):
    """A file in two parts, before and after the domain, and its version."""

    changed_at: datetime
    last_modified: str
    before: bytes
    after: bytes
    evaluated: bytes  # in place of `after` where Goalpost evaluates flags: with rules that SDKs do not get


FLAGS: Final = msgspec.json.Decoder(list[Flag])
SHAPES: Final = msgspec.json.Decoder(dict[int, tuple[str, str, str]])
OWN_SEGMENTS: Final = msgspec.json.Decoder(list[tuple[int, str, int, str]])


async def get_configuration(request: Request, *, sitecode: str) -> Response:
    """Return the file of a site, or 304 if the SDK has it. One small statement, and a larger one after a change.

    `ts`, which SDKs send after a real-time event, needs no answer of its own: every answer is as new as that.
    """
    site = await SITES.find(sitecode)
    environment = request.query().get("environment") or PRODUCTION
    if not NAME.fullmatch(environment):  # PostgreSQL takes no null character
        raise unknown_environment(environment[:64])
    file = await batcher().call((site.id, environment), timeout=PATIENCE)
    headers = (("Last-Modified", file.last_modified), ("Cache-Control", "no-cache"))
    if request.header("if-modified-since") == file.last_modified:
        return Response(HTTPStatus.NOT_MODIFIED, b"", headers)
    _, host = asked_address(request.header, scheme="https")
    domain = msgspec.json.encode(f"data.{domain_of(host) or domain_of(settings.PUBLIC_HOST) or 'localhost'}")
    return Response(HTTPStatus.OK, file.before + domain + file.after, headers)


def find_endpoint(path: str) -> Endpoint | None:
    """Return the endpoint of the path `/v3/<sitecode>`, with or without a slash at its end."""
    if not path.startswith(PATH):
        return None
    return Endpoint({"GET": partial(get_configuration, sitecode=path.removeprefix(PATH).removesuffix("/"))})


def check_site(sitecode: str) -> SiteAccess:
    """Return the site with this code. Raises Refusal (404); SDKs show the message."""
    site = find_site(sitecode) if SITECODE.match(sitecode) else None
    if site is None:
        raise Refusal(HTTPStatus.NOT_FOUND, "unknown_site", "No site has this sitecode. It is under Settings.")
    return site


SITES: Final = AccessCheck(check_site)


def unknown_environment(name: str) -> Refusal:
    return Refusal(
        HTTPStatus.NOT_FOUND,
        "unknown_environment",
        f"The site has no environment {name}. Create it under Settings, Feature flags.",
    )


@once
def batcher() -> RequestBatcher[Key, ConfigurationFile]:
    """Return this process's thread for files, started by the first request."""
    return RequestBatcher(_serve, name="configurations", max_size=200, size=lambda _: 1)


@once
def files() -> "LRUCache[Key, ConfigurationFile]":
    """Return the files that this process keeps. Only the thread of the batcher calls it."""
    return LRUCache(MOST_BYTES, getsizeof=size_of)


def size_of(file: ConfigurationFile) -> int:
    return len(file.before) + len(file.after) + (0 if file.evaluated is file.after else len(file.evaluated))


def _serve(calls: Sequence[PendingCall[Key, ConfigurationFile]]) -> None:
    """Find each file once. A file that fails, or whose statement takes too long, fails only its own calls."""
    by_key: dict[Key, list[PendingCall[Key, ConfigurationFile]]] = {}
    for call in calls:
        by_key.setdefault(call.argument, []).append(call)
    for key, its_calls in by_key.items():
        try:
            file = find_file(*key)
        except Exception as error:
            if isinstance(error, DatabaseDownError) and not isinstance(error.__cause__, QueryCanceled):
                raise
            for call in its_calls:
                call.reject(error)
        else:
            for call in its_calls:
                call.resolve(file)


def find_file(site_id: int, environment: str) -> ConfigurationFile:
    """Return the kept file of a site, or build it after a change. Raises Refusal (404) for an unknown environment."""
    ((changed_at, has_environment),) = fetch_all(READ_VERSION, {"site": site_id, "environment": environment})
    if environment != PRODUCTION and not has_environment:
        raise unknown_environment(environment)
    file = files().get((site_id, environment))
    if file is None or file.changed_at < (changed_at or BEGINNING):
        file = keep((site_id, environment), read_file(site_id, environment))
    return file


def keep(key: Key, file: ConfigurationFile) -> ConfigurationFile:
    """Keep a file for the next requests, unless it alone is too large."""
    if size_of(file) <= MOST_BYTES:
        files()[key] = file
    return file


def read_file(site_id: int, environment: str) -> ConfigurationFile:
    """Return the present file of a site. One statement."""
    rows = fetch_all(READ_FILE, {"site": site_id, "environment": environment})
    changed_at, has_real_time, requires_consent, opt_out, custom_data, shapes, imported, own, flags = rows[0]
    changed_at = changed_at or BEGINNING
    segments = compose_segments(
        Json.decode(imported),
        in_order(
            CompiledSegment(id_, name, version, decode_conditions(text))
            for id_, name, version, text in OWN_SEGMENTS.decode(own)
        ),
        {index: ComparedCustomData(*shape) for index, shape in SHAPES.decode(shapes).items()},
    )
    configuration = {
        "realTimeUpdate": bool(has_real_time),
        "consentType": "REQUIRED" if requires_consent else "NOT_REQUIRED",
        "consentOptOutBehavior": opt_out or "PARTIALLY_BLOCK",
    }
    found = FLAGS.decode(flags)
    sections = {
        "customData": Json.decode(custom_data),
        "segments": segments.served,
        "featureFlags": serve_flags(found, {segment["id"] for segment in segments.served}),
        "dateModified": int(changed_at.timestamp() * 1000),
    }
    after = b"," + msgspec.json.encode(configuration)[1:] + b"," + msgspec.json.encode(sections)[1:]
    stamp = format_datetime(changed_at, usegmt=True)
    return ConfigurationFile(
        changed_at=changed_at,
        # The JavaScript SDK keeps one file for all environments, and would take another environment's 304 for its own.
        last_modified=stamp if environment == PRODUCTION else f"{stamp}; {environment}",
        before=b'{"configuration":{"dataApiDomain":',
        after=after,
        evaluated=write_evaluated(configuration, sections, found, segments) if segments.own else after,
    )


def write_evaluated(
    configuration: Mapping[str, Any], sections: Mapping[str, Any], flags: Sequence[Flag], segments: SdkSegments
) -> bytes:
    """Return the sections for evaluations by Goalpost, which judges all segments of its own."""
    ids = segments.own | {segment["id"] for segment in segments.judged_here}
    beyond = {
        "segments": segments.judged_here,
        "featureFlags": serve_flags(flags, ids),
        "ownSegments": sorted(segments.own),
        "openSegments": sorted(segments.own_documents),
    }
    return b"," + msgspec.json.encode(configuration)[1:] + b"," + msgspec.json.encode({**sections, **beyond})[1:]


def serve_flags(flags: Sequence[Flag], segment_ids: AbstractSet[int]) -> list[dict[str, Any]]:
    """Return the flags without the rules whose segment is not served.

    A flag without an id of its own gets that of its row, or the next one that no other flag has.
    """
    taken = {flag.document["id"] for flag in flags if "id" in flag.document}
    served = []
    for flag in flags:
        id_ = flag.document.get("id") or next(number for number in count(flag.id) if number not in taken)
        taken.add(id_)
        rules = [
            rule for rule in flag.document["rules"] if rule.get("segmentId") is None or rule["segmentId"] in segment_ids
        ]
        served.append({**flag.document, "id": id_, "environmentEnabled": flag.is_enabled, "rules": rules})
    return served
