"""Facts that Kameleoon's SDKs send: one for each kind of line, with the names of the wire. Pure."""

from collections.abc import Mapping
from typing import Any, ClassVar, Final

import msgspec

# By index, as `/visit/visitor` names them. Python's SDK sends the index of a browser and reads the name.
BROWSERS: Final = ("CHROME", "INTERNET_EXPLORER", "FIREFOX", "SAFARI", "OPERA", "OTHER")
SYSTEMS: Final = ("WINDOWS", "MAC", "IOS", "LINUX", "ANDROID", "WINDOWS_PHONE")


class SdkFact(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """One fact about a visitor. `type` is that of its message, which is empty if none is stored."""

    type: ClassVar[str] = ""

    def properties(self) -> dict[str, Any]:
        """Return the fact as the `properties` of an event."""
        fields: dict[str, Any] = msgspec.to_builtins(self)
        return fields


class ConversionFact(SdkFact, frozen=True):
    """A goal that the visitor converted, or a conversion that is cancelled."""

    type: ClassVar[str] = "conversion"

    goal_id: int
    revenue: msgspec.Raw | str | None = None  # a JSON number as sent; any other text is a warning at digest
    negative: bool = False
    metadata: Any = None  # values by index of custom data; a text if it is no JSON object

    def properties(self) -> dict[str, Any]:
        """Return the fact with the revenue unread, because a float would not be exact."""
        fields = {name: getattr(self, attribute) for name, attribute in CONVERSION_FIELDS.items()}
        return {name: value for name, value in fields.items() if value is not None and value is not False}


CONVERSION_FIELDS: Final = {"goalId": "goal_id", "revenue": "revenue", "negative": "negative", "metadata": "metadata"}


class CustomDataFact(SdkFact, frozen=True):
    """Values of a custom data index with their counts. Without `overwrite` they are added to the earlier ones."""

    type: ClassVar[str] = "custom_data"

    index: int
    values_count_map: Mapping[str, int]
    overwrite: bool
    mapping_identifier: bool = False  # the value is the user to whom the visitor code belongs


class PageFact(SdkFact, frozen=True):
    """A page that the visitor saw."""

    type: ClassVar[str] = "page_view"

    href: str
    title: str = ""
    referrers_indices: tuple[int, ...] = ()


class StaticDataFact(SdkFact, frozen=True):
    """Browser, system and device of the visitor, of which a line may name some."""

    type: ClassVar[str] = "static_data"

    browser_index: int | None = None
    browser_version: float | None = None
    os_index: int | None = None
    device_type: str | None = None


class GeolocationFact(SdkFact, frozen=True):
    """The place of the visitor."""

    type: ClassVar[str] = "geolocation"

    country: str
    region: str | None = None
    city: str | None = None
    postal_code: str | None = None
    latitude: float | None = None
    longitude: float | None = None


class ExposureFact(SdkFact, frozen=True):
    """A variation of an experiment that the visitor saw."""

    type: ClassVar[str] = "exposure"

    id: int  # of the experiment
    variation_id: int


class ActivityFact(SdkFact, frozen=True):
    """A sign that the visitor is there. It extends the visit and is no message."""
