"""Custom data that Goalpost fills from a person, in place of what SDKs sent under its indexes."""

from collections.abc import Mapping, Sequence

from api.http.credentials import SiteAccess
from api.remote_data.person_reads import read_memberships, read_person
from cohorts import merge
from cohorts.remote_data import Reader, profile
from cohorts.segments.facts import FilledCustomData, Filling, custom_data_of

Values = Mapping[int, Sequence[str]]  # by index


async def read_derived(
    site: SiteAccess, id_: str, definitions: Sequence[FilledCustomData], *, is_anonymous: bool
) -> dict[int, Sequence[str]]:
    """Return the values of these definitions for a person, as far as the reader may see them.

    Those that a segment fills have its name in place of its id.
    A reader without a token sees what remote data shows it: group, personas, segments, and traits on the site's list.
    It sees nothing if remote data requires a token. Two or three SQL statements.
    """
    values: dict[int, Sequence[str]] = {each.index: () for each in definitions}
    if is_anonymous and site.requires_token:
        return values
    reader = Reader(site.public_traits if is_anonymous else None, company_is_group=site.company_is_group)
    of_person = [each for each in definitions if each.filled_from != Filling.SEGMENT]
    if of_person:
        person = await read_person(site.id, id_)
        found = read_custom_data(person, of_person, reader)
        values |= {each.index: found[each.index] for each in of_person}
    if len(of_person) < len(definitions):
        memberships = await read_memberships(site.id, id_)
        for each in definitions:
            if each.filled_from == Filling.SEGMENT and each.filling in memberships:
                values[each.index] = [spell(is_member=memberships[each.filling])]
    return values


def read_custom_data(
    person: merge.Registers, filled: Sequence[FilledCustomData], reader: Reader
) -> dict[int, Sequence[str]]:
    """Return the custom data of a person that a reader may see, without what segments fill. Pure."""
    seen = profile(person, reader)
    return custom_data_of(person, filled, traits=seen.get("traits", {}), group=seen.get("groupId"))


def spell(*, is_member: bool) -> str:
    """Return a membership as a value of custom data."""
    return "true" if is_member else "false"
