"""Persons as lists and searches show them: name, e-mail address, group, personas, last seen, conversions."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Final

from api.digest.segments import list_codes
from api.http.wording import shorten
from api.models import Site
from cohorts.changes import IdentityKey
from cohorts.models import Identity
from cohorts.remote_data import memberships
from cohorts.reserved_traits import full_name, unwrap_single
from cohorts.segments.facts import group_of, seen_by_registers, traits_of
from cohorts.segments.persons import JoinedPerson, find_roots, load_ordinary
from goals import moments

MOST_IDENTITIES: Final = 200  # of a person; of one with more a list shows the identifier alone
MOST_CONVERSIONS: Final = 1_000  # that are counted of a visitor code
NAMES: Final = ("name", "email", "username")  # traits that persons are called by
SHOWN_LENGTH: Final = 100  # characters of a name


@dataclass(frozen=True, slots=True)
class PersonRow:
    """A person by the identifier that all others of the person lead to."""

    kind: Identity.Kind
    value: str
    id: int = 0  # of the row, 0 if it is large
    name: str = ""
    email: str = ""
    username: str = ""
    group: str = ""
    personas: Sequence[str] = ()  # by name
    traits: Mapping[str, Any] = field(default_factory=dict)
    last_seen: datetime | None = None
    codes: Sequence[str] = ()  # visitor codes for which its conversions count
    conversions: int = 0  # of each visitor code MOST_CONVERSIONS at most
    is_large: bool = False  # more than MOST_IDENTITIES: nothing else was read

    @property
    def label(self) -> str:
        """Return what people call the person: the name, otherwise the e-mail address, the username or the id."""
        return self.name or self.email or self.username or self.value

    @property
    def detail(self) -> str:
        """Return a second line that tells persons of one name apart."""
        return (self.email if self.name else "") or (self.value if self.label != self.value else "")

    @property
    def letter(self) -> str:
        """Return the letter of the avatar."""
        return next((char.upper() for char in self.label if char.isalnum()), "?")[:1]


def load_person_rows(site: Site, keys: Sequence[IdentityKey]) -> list[PersonRow]:
    """Return the persons of these identities, each once, in the order of the first of its identities.

    Six queries, if there are any identities.
    """
    found = find_roots(site.pk, keys) if keys else {}
    return load_root_rows(site, list(dict.fromkeys(found[key] for key in keys if key in found)))


def load_root_rows(site: Site, roots: Sequence[IdentityKey]) -> list[PersonRow]:
    """Return the persons of these roots, in their order. Five queries, if there are any."""
    if not roots:
        return []
    persons = load_ordinary(site.pk, roots, most=MOST_IDENTITIES)[0]
    activity = moments.load_activity(site.pk, list_codes(persons), most=MOST_CONVERSIONS)
    rows = {
        person.root: _make_row(site, person, *activity.get(number, (None, 0))) for number, person in enumerate(persons)
    }
    return [rows.get(root) or PersonRow(Identity.Kind(root[0]), root[1], is_large=True) for root in roots]


def describe_person(kind: int, value: str, traits: Mapping[str, Any]) -> PersonRow:
    """Return a person of whom only the traits are known. Pure."""
    with_name = traits if "name" in traits else {**traits, "name": full_name(traits)}
    name, email, username = (_text(with_name.get(each)) for each in NAMES)
    return PersonRow(Identity.Kind(kind), value, name=name, email=email, username=username)


def _make_row(site: Site, person: JoinedPerson, last_at: datetime | None, conversions: int) -> PersonRow:
    traits = traits_of(person.registers)
    _, said_at = seen_by_registers(person.registers, first=None, last=person.last_seen)
    return replace(
        describe_person(*person.root, traits),
        id=person.root_id,
        group=group_of(person.registers, company_is_group=site.company_is_group) or "",
        personas=sorted(name for name, is_in in memberships(person.registers).items() if is_in),
        traits=traits,
        last_seen=max((at for at in (last_at, said_at) if at is not None), default=None),
        conversions=conversions,
        codes=person.codes,
    )


def _text(value: Any) -> str:
    """Return a trait on one line, empty if it is no text."""
    value = unwrap_single(value)
    return shorten(" ".join(value.split()), SHOWN_LENGTH) if isinstance(value, str) else ""
