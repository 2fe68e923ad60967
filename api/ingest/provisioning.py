"""Making a site with what it needs: its Segment destination, and a credential that opens it."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction
from django.db.models import Q

from api.http.credentials import generate_secret, generate_sitecode, hash_secret
from api.models import Credential, Rule, Scope, Site, Source, WriteKey
from goals import quota, waiting

# Altis sends every page view under the page's title, and its own bookkeeping as events: each would be a goal.
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


@dataclass(frozen=True, slots=True)
class NewCredential:
    """A credential with its secret, which is told once."""

    credential: Credential
    secret: str


def create_site(*, name: str, sitecode: str = "", write_key: str = "", public_traits: list[str] | None = None) -> Site:
    """A site with its Segment destination source. Raises ValidationError for a sitecode that no sender would take."""
    site = Site(name=name, sitecode=sitecode or generate_sitecode(), public_traits=public_traits or [])
    site.full_clean()
    with transaction.atomic():
        site.save()
        add_destination(site, write_key=write_key)
    return site


def add_destination(site: Site, *, write_key: str = "") -> Source:
    """The source that stands for the site's Segment destination."""
    return create_source(site, name="Segment destination", kind=Source.Kind.DESTINATION, write_key=write_key)


def create_source(site: Site, *, name: str, kind: str, write_key: str = "") -> Source:
    """A source with its first write key, and the rules that senders of its kind need (promises A-03).

    Raises ValidationError for a key that is taken or does not fit in a URL, and for a second Segment destination.
    """
    source = Source(site=site, name=name, kind=kind)
    source.full_clean()
    with transaction.atomic():
        source.save()
        equip_source(source, write_key=write_key)
    return source


def equip_source(source: Source, *, write_key: str = "") -> None:
    """What a new source needs: a write key, and the rules of its kind."""
    add_write_key(source, key=write_key)
    Rule.objects.bulk_create(
        Rule(site=source.site, source=source, position=position, **fields)
        for position, fields in enumerate(RULES_OF_KIND.get(source.kind, ()))
    )


def add_write_key(source: Source, *, key: str = "") -> WriteKey:
    """One more key for a source. Raises ValidationError for one that is taken or does not fit in a URL."""
    write_key = WriteKey(source=source, key=key or generate_secret())
    write_key.full_clean()
    try:
        with transaction.atomic():
            write_key.save()
    except IntegrityError as error:  # somebody took it at this moment
        raise ValidationError({"key": "This write key is taken."}) from error
    return write_key


def rotate_write_key(source: Source, *, overlap: timedelta, now: datetime) -> WriteKey:
    """A new key for a source; its other ones end after `overlap`, or when they would have ended before."""
    with transaction.atomic():
        ends_at = now + overlap
        source.write_keys.filter(Q(ends_at=None) | Q(ends_at__gt=ends_at)).update(ends_at=ends_at)
        return add_write_key(source)


def revoke_write_key(write_key: WriteKey, *, now: datetime) -> None:
    """Refuse a key everywhere within 5 s."""
    WriteKey.objects.filter(Q(ends_at=None) | Q(ends_at__gt=now), pk=write_key.pk).update(ends_at=now)
    write_key.refresh_from_db()


def change_source(source: Source, *, fields: Mapping[str, Any], now: datetime) -> None:
    """Change a source's name, whether it is on, or whether its track events are taken."""
    for name, value in fields.items():
        setattr(source, name, value)
    with transaction.atomic():
        source.save(update_fields=list(fields))
        if "takes_track" in fields:
            note_rules_changed(source.site_id, now=now)


def replace_rules(site: Site, rules: Sequence[Rule], *, now: datetime) -> None:
    """These rules in this order, all or none, in the place of those that a site has."""
    with transaction.atomic():
        note_rules_changed(site.pk, now=now)  # first: who replaces them too waits for the site's row
        site.rules.all().delete()
        for position, rule in enumerate(rules):
            rule.site, rule.position = site, position
        Rule.objects.bulk_create(rules)


def note_rules_changed(site_id: int, *, now: datetime) -> None:
    """Remember that events of a site may mean something else from now on, and look again at those that wait."""
    with transaction.atomic():
        Site.objects.filter(pk=site_id).update(rules_changed_at=now)
        quota.lock_names(site_id)
        waiting.request_digest_again(site_id, now=now)


def create_credential(
    sites: list[Site], *, name: str, scopes: Collection[str] = (Scope.SEND,), client_id: str = "", secret: str = ""
) -> NewCredential:
    """Make a credential that opens these sites. Raises ValidationError.

    That is for an id that does not fit in a URL, and for scopes as `read_scopes` does.
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


def read_scopes(given: Collection[str]) -> list[str]:
    """Return each scope once, in the order of the pages. Raises ValidationError for none or an unknown one."""
    if not given or not set(given) <= set(Scope.values):
        raise ValidationError({"scopes": f"Say what it may do: {', '.join(Scope.values)}."})
    return [scope for scope in Scope.values if scope in given]


def renew_secret(credential: Credential, *, now: datetime, overlap: timedelta = timedelta()) -> NewCredential:
    """A new secret for a credential; the one before and its access tokens end after `overlap`, without one within 5 s.

    Of three secrets the first ends at once.
    """
    secret = generate_secret()
    with transaction.atomic():
        # Of two who renew it at once both are told one that works: that of the first is the old one.
        before = Credential.objects.select_for_update().get(pk=credential.pk).secret_hash
        credential.old_secret_hash = before if overlap else ""
        credential.old_secret_ends_at = now + overlap if overlap else None
        credential.secret_hash = hash_secret(secret)
        credential.save(update_fields=["secret_hash", "old_secret_hash", "old_secret_ends_at"])
    return NewCredential(credential, secret)
