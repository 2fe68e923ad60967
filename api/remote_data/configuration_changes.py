"""Changes of what SDKs read, each with its entry in the log and a new version of the file in one transaction."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from django.contrib.auth.models import AnonymousUser, User
from django.core.exceptions import ObjectDoesNotExist
from django.db import transaction
from django.http import Http404

from api.models import SdkConfiguration, Site
from api.models.audit import audit_values, write_audit
from api.models.sdk_configuration import note_configuration_changed
from cohorts.models import CustomData
from cohorts.segment_tables import Segment
from goals.flags.models import Environment, FeatureFlag
from goals.flags.saving import PRODUCTION, switch

Actor = User | AnonymousUser | str
SETTINGS: Final = ("has_real_time", "requires_consent", "opt_out")


def find_users_of(site_id: int, index: int) -> list[str]:
    """Return the keys of the flags that bucket visitors by custom data with this index. One query."""
    flags = FeatureFlag.objects.filter(site_id=site_id, document__bucketingCustomDataIndex=index)
    return list(flags.values_list("key", flat=True))


def switch_flag(flag: FeatureFlag, environment: str, *, is_on: bool, actor: Actor, now: datetime) -> None:
    """Switch a flag on or off in an environment. Raises Http404 if one of them was deleted meanwhile."""
    with transaction.atomic():
        note_configuration_changed(flag.site_id, now=now)
        read_again(flag)
        if environment not in environments_of(flag.site):
            raise Http404
        before = {"enabled_in": list(flag.enabled_in)}
        flag.enabled_in = switch(flag.enabled_in, environment, is_on=is_on)
        flag.save(update_fields=["enabled_in", "updated_at"])
        state = "on" if is_on else "off"
        after = {"enabled_in": flag.enabled_in}
        write_audit(actor, flag.site, f"Switched the flag “{flag.key}” {state} in {environment}", before, after)


def delete_flag(flag: FeatureFlag, *, actor: Actor, now: datetime) -> None:
    """Delete a flag with its versions. Raises Http404 if it was deleted meanwhile."""
    with transaction.atomic():
        note_configuration_changed(flag.site_id, now=now)
        read_again(flag)
        write_audit(actor, flag.site, f"Deleted the flag “{flag.key}”", {"document": flag.document}, None)
        flag.delete()


def read_again(row: FeatureFlag | Environment | CustomData | Segment) -> None:
    """Read a row again, because another request may have changed or deleted it before this one had the lock.

    Raises Http404 if it was deleted.
    """
    try:
        row.refresh_from_db()
    except ObjectDoesNotExist as error:
        raise Http404 from error


def create_environment(site: Site, name: str, *, actor: Actor, now: datetime) -> Environment:
    """Create an environment, in which every flag is off. Raises ValidationError for a name that cannot be used."""
    environment = Environment(site=site, name=name)
    with transaction.atomic():
        note_configuration_changed(site.pk, now=now)
        environment.full_clean()
        environment.save()
        write_audit(actor, site, f"Created the environment {name}", None, {"name": name})
    return environment


def delete_environment(environment: Environment, *, actor: Actor, now: datetime) -> None:
    """Delete an environment and its switches. SDKs that ask for it get 404 and keep their last file.

    Raises Http404 if it was deleted meanwhile.
    """
    with transaction.atomic():
        note_configuration_changed(environment.site_id, now=now)
        read_again(environment)
        for flag in FeatureFlag.objects.filter(site_id=environment.site_id, enabled_in__contains=[environment.name]):
            flag.enabled_in = switch(flag.enabled_in, environment.name, is_on=False)
            flag.save(update_fields=["enabled_in", "updated_at"])
        before = {"name": environment.name}
        write_audit(actor, environment.site, f"Deleted the environment {environment.name}", before, None)
        environment.delete()


def change_settings(site: Site, settings: Mapping[str, Any], *, actor: Actor, now: datetime) -> None:
    """Save the settings of a site for SDKs."""
    with transaction.atomic():
        note_configuration_changed(site.pk, now=now)
        row = SdkConfiguration.objects.get(site=site)
        before = {name: getattr(row, name) for name in SETTINGS}
        for name in SETTINGS:
            setattr(row, name, settings[name])
        row.save(update_fields=SETTINGS)
        write_audit(actor, site, "Changed the settings of SDKs", *audit_values(before, settings))


def environments_of(site: Site) -> list[str]:
    """Return the names of a site's environments, production first. One query."""
    return [PRODUCTION, *Environment.objects.filter(site=site).values_list("name", flat=True)]
