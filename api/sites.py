"""Making a site with what it needs: its Segment destination, and a credential that opens it."""

from dataclasses import dataclass

from django.db import transaction

from api.access import generate_secret, generate_sitecode, hash_secret
from api.models import Credential, Site, Source


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
    source = Source(
        site=site, name="Segment destination", kind=Source.Kind.DESTINATION, write_key=write_key or generate_secret()
    )
    source.full_clean()
    source.save()
    return source


def create_credential(sites: list[Site], *, name: str, client_id: str = "", secret: str = "") -> NewCredential:
    """A credential that opens these sites. Raises ValidationError for an id that does not fit in a URL."""
    secret = secret or generate_secret()
    credential = Credential(client_id=client_id or generate_secret(), secret_hash=hash_secret(secret), name=name)
    credential.full_clean()
    with transaction.atomic():
        credential.save()
        credential.sites.set(sites)
    return NewCredential(credential, secret)


def renew_secret(credential: Credential) -> NewCredential:
    """A new secret for a credential; the old one and its access tokens end within 5 s."""
    secret = generate_secret()
    credential.secret_hash = hash_secret(secret)
    credential.save(update_fields=["secret_hash"])
    return NewCredential(credential, secret)
