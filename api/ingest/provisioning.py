"""Creation and changes of sites, sources, write keys, rules and credentials."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction
from django.db.models import Q, QuerySet

import zones
from api.http.credentials import generate_secret, generate_sitecode, hash_secret
from api.models import Credential, Rule, Scope, Site, Source, WriteKey
from cohorts.segments import upkeep
from goals import quota, waiting

# Altis names every page view by the page's title and sends sessions as events: each would make a goal.
RULES_OF_KIND: Final[Mapping[str, Sequence[Mapping[str, Any]]]] = {
    Source.Kind.ALTIS: (
        {
            "name": "Sessions of Altis are no goals",
            "event_type": "track",
            "name_test": Rule.NameTest.PREFIX,
            "name_value": "_session.",
            "action": Rule.Action.NO_GOAL,
        },
        {"name": "Page titles are no goals", "event_type": "page", "action": Rule.Action.NO_GOAL},
    )
}

# The fields of a site that its owners change.
SITE_SETTINGS: Final = tuple(
    field.name
    for field in Site._meta.concrete_fields  # noqa: SLF001 - documented
    if field.editable and not field.primary_key and field.name != "sitecode"
)
# Changing these does not change how events are interpreted.
WITHOUT_MEANING: Final = {
    "name",
    "time_zone",
    "first_weekday",
    "base_goal_id",
    "goals_per_10_seconds",
    "goals_per_hour",
    "max_waiting_names",
    "keeps_done_days",
    "public_traits",
    "requires_token",
    "visits_require_token",
    "identified_visits_require_token",
}


@dataclass(frozen=True, slots=True)
class NewCredential:
    """A credential with its secret, which is shown once."""

    credential: Credential
    secret: str


def create_site(
    *,
    name: str,
    sitecode: str = "",
    write_key: str = "",
    public_traits: list[str] | None = None,
    time_zone: str = zones.DEFAULT,
) -> Site:
    """Create a site with its Segment destination. Raises ValidationError for a sitecode that senders would refuse."""
    site = Site(
        name=name, sitecode=sitecode or generate_sitecode(), public_traits=public_traits or [], time_zone=time_zone
    )
    site.full_clean()
    with transaction.atomic():
        site.save()
        add_destination(site, write_key=write_key)
    return site


def change_site(site: Site, *, fields: Mapping[str, Any], now: datetime) -> None:
    """Change settings of a site. Raises ValidationError."""
    for name, value in fields.items():
        setattr(site, name, value)
    site.full_clean()
    with transaction.atomic():
        if fields:
            site.save(update_fields=list(fields))
        note_site_changed(site.pk, fields, now=now)


def note_site_changed(site_id: int, names: Collection[str], *, now: datetime) -> None:
    """Note that these settings of a site changed, which may change what its events mean."""
    if set(names) - WITHOUT_MEANING:
        note_rules_changed(site_id, now=now)
    if "company_is_group" in names:
        upkeep.note_all(site_id)


def add_destination(site: Site, *, write_key: str = "") -> Source:
    """Create the source of the site's Segment destination."""
    return create_source(site, name="Segment destination", kind=Source.Kind.DESTINATION, write_key=write_key)


def create_source(site: Site, *, name: str, kind: str, write_key: str = "") -> Source:
    """Create a source with its first write key, and the rules that its kind needs (promise A-03).

    Raises ValidationError for a key that is taken or does not fit in a URL, and for a second Segment destination.
    """
    source = Source(site=site, name=name, kind=kind)
    source.full_clean()
    with transaction.atomic():
        source.save()
        equip_source(source, write_key=write_key)
    return source


def equip_source(source: Source, *, write_key: str = "") -> None:
    """Give a new source a write key, and the rules of its kind."""
    add_write_key(source, key=write_key)
    Rule.objects.bulk_create(
        Rule(site=source.site, source=source, position=position, **fields)
        for position, fields in enumerate(RULES_OF_KIND.get(source.kind, ()))
    )


def add_write_key(source: Source, *, key: str = "") -> WriteKey:
    """Add a write key to a source. Raises ValidationError for one that is taken or does not fit in a URL."""
    write_key = WriteKey(source=source, key=key or generate_secret())
    write_key.full_clean(exclude=["source"])  # it exists; Django would look for it without its site
    try:
        with transaction.atomic():
            write_key.save()
    except IntegrityError as error:  # another request took it at this moment
        raise ValidationError({"key": "This write key is taken."}) from error
    return write_key


def live_write_keys(*, now: datetime) -> QuerySet[WriteKey]:
    """Return the write keys that have not ended."""
    return WriteKey.objects.filter(Q(ends_at=None) | Q(ends_at__gt=now))


def rotate_write_key(source: Source, *, overlap: timedelta, now: datetime) -> WriteKey:
    """Add a write key to a source, and let its other keys end after `overlap`, or earlier if they would."""
    with transaction.atomic():
        ends_at = now + overlap
        source.write_keys.filter(Q(ends_at=None) | Q(ends_at__gt=ends_at)).update(ends_at=ends_at)
        return add_write_key(source)


def revoke_write_key(write_key: WriteKey, *, now: datetime) -> None:
    """Refuse a key everywhere within 5 s."""
    live_write_keys(now=now).filter(pk=write_key.pk).update(ends_at=now)
    write_key.refresh_from_db()


def change_source(source: Source, *, fields: Mapping[str, Any], now: datetime) -> None:
    """Change fields of a source: name, is_enabled, takes_track or budgets."""
    for name, value in fields.items():
        setattr(source, name, value)
    with transaction.atomic():
        source.save(update_fields=list(fields))
        if "takes_track" in fields:
            note_rules_changed(source.site_id, now=now)


def replace_rules(site: Site, rules: Sequence[Rule], *, now: datetime) -> None:
    """Replace the rules of a site by these, in this order."""
    with transaction.atomic():
        note_rules_changed(site.pk, now=now)  # first, so that a concurrent replacement waits for the site's row
        site.rules.all().delete()
        for position, rule in enumerate(rules):
            rule.site, rule.position = site, position
        Rule.objects.bulk_create(rules)


def note_rules_changed(site_id: int, *, now: datetime) -> None:
    """Note that events of a site may have another meaning from now on, and check the waiting ones again."""
    with transaction.atomic():
        Site.objects.filter(pk=site_id).update(rules_changed_at=now)
        quota.lock_names(site_id)
        waiting.request_digest_again(site_id, now=now)


def create_credential(
    sites: list[Site], *, name: str, scopes: Collection[str] = (Scope.SEND,), client_id: str = "", secret: str = ""
) -> NewCredential:
    """Create a credential that opens these sites.

    Raises ValidationError for an id that does not fit in a URL, and for scopes as `read_scopes` does.
    """
    secret = secret or generate_secret()
    credential = Credential(
        client_id=client_id or generate_secret(), secret_hash=hash_secret(secret), name=name, scopes=read_scopes(scopes)
    )
    credential.full_clean()
    with transaction.atomic():
        credential.save()
        credential.sites.set(sites)
    return NewCredential(credential, secret)


def change_scopes(credential: Credential, scopes: Collection[str]) -> None:
    """Replace the scopes of a credential within 5 s. Raises ValidationError as `read_scopes` does."""
    credential.scopes = read_scopes(scopes)
    credential.save(update_fields=["scopes"])


def revoke_credential(credential: Credential, *, now: datetime) -> None:
    """Refuse a credential everywhere within 5 s."""
    credential.revoked_at = now
    credential.save(update_fields=["revoked_at"])


def read_scopes(given: Collection[str]) -> list[str]:
    """Return each scope once, in the order of the pages. Raises ValidationError for none or an unknown one."""
    if not given or not set(given) <= set(Scope.values):
        raise ValidationError({"scopes": f"Say what it may do: {', '.join(Scope.values)}."})
    return [scope for scope in Scope.values if scope in given]


def rotate_secret(
    credential: Credential, *, now: datetime, overlap: timedelta = timedelta(), secret: str = ""
) -> NewCredential:
    """Give a credential a new secret. The previous secret and its access tokens end after `overlap`, or within 5 s.

    A secret that was already the previous one stops working immediately.
    """
    secret = secret or generate_secret()
    with transaction.atomic():
        # Lock it, so that of two concurrent rotations both secrets work: the first becomes the previous one.
        before = Credential.objects.select_for_update().get(pk=credential.pk).secret_hash
        credential.old_secret_hash = before if overlap else ""
        credential.old_secret_ends_at = now + overlap if overlap else None
        credential.secret_hash = hash_secret(secret)
        credential.save(update_fields=["secret_hash", "old_secret_hash", "old_secret_ends_at"])
    return NewCredential(credential, secret)
