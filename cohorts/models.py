"""Tables of people: identities with their registers, links, personas, groups and usernames."""

from typing import Final

from django.db import models

import names
from cohorts import segment_tables  # noqa: F401 - Django looks for models here
from site_rows import SiteColumn, SiteForeignKey, SiteRow

# The bytes of the registers of a row `i`, an identity or a group. A version without limits did not write `bytes`; the
# stored size is then an estimate, because it may be compressed.
SIZE: Final = "coalesce(i.bytes, 4 * pg_column_size(i.registers))"


class Identity(SiteRow):
    """One identifier of a person: (site, kind, value), with registers that only move forward (cohorts.merge)."""

    class Kind(models.IntegerChoices):
        """The kinds, in the order in which remote data looks an id up."""

        USER = 1, "user"
        VISITOR = 2, "visitor"
        ANONYMOUS = 3, "anonymous"

    # No database constraint: every insert would lock the one row of its site.
    site = SiteColumn("api.Site", on_delete=models.CASCADE, db_constraint=False, db_index=False, related_name="+")
    kind = models.PositiveSmallIntegerField(choices=Kind.choices)
    value = models.CharField(max_length=255)
    registers = models.JSONField(default=dict, help_text="Traits, group, personas, owners and first visitor codes.")
    # Of the registers, when an event last changed them: what many rows come to is known before any is read. Empty for a
    # row of a version without limits.
    bytes = models.IntegerField(null=True, editable=False)
    # Derived from the owner registers, so that SQL can walk to a person's other identities.
    parent_kind = models.PositiveSmallIntegerField(null=True, choices=Kind.choices)
    parent_value = models.CharField(max_length=255, null=True)  # noqa: DJ001 - absent is not empty
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        verbose_name_plural = "identities"
        constraints = [
            # Reading remote data by id; two workers that meet a new id make one row. People look for beginnings of ids.
            models.UniqueConstraint(fields=["site", "kind", "value"], name="cohorts_identity_value"),
        ]
        indexes = [
            # From an owner to the identities that point at it, the oldest first.
            models.Index(
                fields=["site", "parent_kind", "parent_value", "id"],
                condition=models.Q(parent_kind__isnull=False),
                name="cohorts_identity_parent",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.get_kind_display()} {self.value}"


class SearchText(SiteRow):
    """A name, e-mail address or username of an identity as people look for it (cohorts.search), from a word on.

    Derived from its traits. A table of its own, because an index of the traits would be written with every event.
    """

    # No database constraints, see Identity.
    site = SiteColumn("api.Site", on_delete=models.CASCADE, db_constraint=False, db_index=False, related_name="+")
    identity = SiteForeignKey(
        Identity, on_delete=models.CASCADE, db_constraint=False, db_index=False, related_name="search_texts"
    )
    text = models.CharField(max_length=255)

    class Meta:
        indexes = [
            # People look for the beginning of a text.
            models.Index(
                fields=["site", "text"], opclasses=["int8_ops", "varchar_pattern_ops"], name="cohorts_searchtext_text"
            ),
            # The texts of an identity, when they change.
            models.Index(fields=["site", "identity"], name="cohorts_searchtext_identity"),
        ]

    def __str__(self) -> str:
        return self.text


class Link(SiteRow):
    """A device (an anonymous id) or a former id (by an alias) that an event linked to a user other than its owner.

    The identity's register holds the owner, its latest user. Both together are all its users ever, for the user's
    `device_visitor`. Most devices have one user, and no row here.
    """

    # No database constraint, see Identity.
    site = SiteColumn("api.Site", on_delete=models.CASCADE, db_constraint=False, db_index=False, related_name="+")
    kind = models.PositiveSmallIntegerField(choices=Identity.Kind.choices)
    value = models.CharField(max_length=255)
    user_value = models.CharField(max_length=255)

    class Meta:
        constraints = [
            # From a device to its users, when its first visitor code changes; a link is there once.
            models.UniqueConstraint(fields=["site", "kind", "value", "user_value"], name="cohorts_link_user"),
        ]
        indexes = [
            # The devices of a user, when it is exported or erased.
            models.Index(fields=["site", "user_value"], name="cohorts_link_device"),
        ]

    def __str__(self) -> str:
        return f"{self.get_kind_display()} {self.value} of user {self.user_value}"


class Persona(SiteRow):
    """A named audience that a person of the site is or was in. The remote data `common` lists them."""

    site = SiteColumn("api.Site", on_delete=models.CASCADE, related_name="+")
    name = models.CharField(max_length=255)
    sort_key = names.sort_column("name")
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [
            # `common` names a persona once.
            models.UniqueConstraint(fields=["site", "name"], name="cohorts_persona_name"),
        ]
        indexes = [
            # The list of a site's personas, page by page.
            models.Index(fields=["site", "sort_key"], name="cohorts_persona_order"),
            # `common` lists the first ones. By id alone the planner would go through other sites' personas.
            models.Index(fields=["site", "created_at", "id"], name="cohorts_persona_first"),
        ]

    def __str__(self) -> str:
        return self.name


class PersonaFact(SiteRow):
    """An event by which an identity entered or left a persona.

    Rows are only added, in any order. Sorted by their stamps they are the history that ends in the identity's register.
    """

    # No database constraints: every insert would lock the one row of its persona.
    site = SiteColumn("api.Site", on_delete=models.CASCADE, db_constraint=False, db_index=False, related_name="+")
    identity = SiteForeignKey(
        Identity, on_delete=models.CASCADE, db_constraint=False, db_index=False, related_name="persona_facts"
    )
    persona = SiteForeignKey(Persona, on_delete=models.CASCADE, db_constraint=False, db_index=False)
    occurred_at = models.DateTimeField()
    position = models.PositiveIntegerField()
    message_id = models.CharField(max_length=255, blank=True)
    is_member = models.BooleanField()

    class Meta:
        constraints = [
            # A message that is digested again adds nothing; the history of an identity.
            models.UniqueConstraint(
                fields=["site", "identity", "persona", "occurred_at", "position", "message_id", "is_member"],
                name="cohorts_personafact_event",
            ),
        ]
        indexes = [
            # The first and last event of a persona.
            models.Index(fields=["site", "persona", "occurred_at"], name="cohorts_personafact_of_persona"),
        ]

    def __str__(self) -> str:
        return f"{'in' if self.is_member else 'out of'} {self.persona_id} since {self.occurred_at}"


class Group(SiteRow):
    """A company or account that people belong to, with traits of its own (never a user's)."""

    site = SiteColumn("api.Site", on_delete=models.CASCADE, related_name="+")
    group_id = models.CharField(max_length=255)
    sort_key = names.sort_column("group_id")
    registers = models.JSONField(default=dict, help_text="Its traits, each a register as an identity's are.")
    bytes = models.IntegerField(null=True, editable=False)  # as an identity's
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        constraints = [
            # Two workers that meet a new group make one row.
            models.UniqueConstraint(fields=["site", "group_id"], name="cohorts_group_id"),
        ]
        indexes = [
            # The list of a site's groups, page by page.
            models.Index(fields=["site", "sort_key"], name="cohorts_group_order"),
        ]

    def __str__(self) -> str:
        return self.group_id


class Username(SiteRow):
    """A username and the user who has it: the first claimant whose trait `username` still has it."""

    # No database constraint, see Identity.
    site = SiteColumn("api.Site", on_delete=models.CASCADE, db_constraint=False, db_index=False, related_name="+")
    name = models.CharField(max_length=255)
    user_value = models.CharField(max_length=255)

    class Meta:
        constraints = [
            # Of two users who come with one name at one moment, one has it.
            models.UniqueConstraint(fields=["site", "name"], name="cohorts_username_name"),
        ]

    def __str__(self) -> str:
        return self.name


class CustomData(SiteRow):
    """A value that each visitor of a site may have, with its index, as Kameleoon's SDKs know it."""

    class Type(models.TextChoices):
        """Types as Kameleoon's Automation API spells them."""

        UNIQUE = "UNIQUE", "one value"
        LIST = "LIST", "a list"
        COUNT_LIST = "COUNT_LIST", "a counted list"

    class Format(models.TextChoices):
        STRING = "STRING", "text"
        NUMBER = "NUMBER", "number"
        BOOLEAN = "BOOLEAN", "true or false"

    class Scope(models.TextChoices):
        VISITOR = "VISITOR", "visitor"
        VISIT = "VISIT", "visit"
        PAGE = "PAGE", "page"

    class Filling(models.TextChoices):
        """The places that its values come from."""

        SDK = "sdk", "SDKs"
        TRAIT = "trait", "a trait"
        GROUP = "group", "the group"
        PERSONAS = "personas", "the personas"
        SEGMENT = "segment", "a segment"

    site = SiteColumn("api.Site", on_delete=models.CASCADE, related_name="+")
    index = models.PositiveIntegerField(help_text="The number by which SDKs send and target it, from 1.")
    name = models.CharField(max_length=255)
    description = models.TextField(max_length=1_000, blank=True)
    type = models.CharField(max_length=10, choices=Type.choices, default=Type.UNIQUE)
    format = models.CharField(max_length=7, choices=Format.choices, default=Format.STRING)
    scope = models.CharField(max_length=7, choices=Scope.choices, default=Scope.VISITOR)
    is_mapping_identifier = models.BooleanField(
        "identifies a person", default=False, help_text="Its value links the visitor codes of one person."
    )
    is_local_only = models.BooleanField("stays in the SDK", default=False, help_text="SDKs do not send it.")
    filled_from = models.CharField(max_length=8, choices=Filling.choices, default=Filling.SDK)
    filling = models.CharField(
        max_length=500, blank=True, help_text="The path of the trait, such as address.city, or the id of the segment."
    )
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        verbose_name = verbose_name_plural = "custom data"
        constraints = [
            # SDKs send an index; the list in its order.
            models.UniqueConstraint(fields=["site", "index"], name="cohorts_customdata_index"),
            # SDKs may send a name in place of an index.
            models.UniqueConstraint(fields=["site", "name"], name="cohorts_customdata_name"),
            # Two concurrent changes cannot make two mapping identifiers of a site.
            models.UniqueConstraint(
                fields=["site"],
                condition=models.Q(is_mapping_identifier=True),
                name="cohorts_customdata_mapping",
            ),
            # The JavaScript SDK never recognises a mapping identifier with the index 0.
            models.CheckConstraint(condition=models.Q(index__gte=1), name="cohorts_customdata_index_from_1"),
        ]
        ordering = ["index"]

    def __str__(self) -> str:
        return f"{self.index}: {self.name}"


class OwnKey(SiteRow):
    """A key of remote data that the operator fills, and the object under it, until it expires."""

    # No database constraint, see Identity.
    site = SiteColumn("api.Site", on_delete=models.CASCADE, db_constraint=False, db_index=False, related_name="+")
    key = models.CharField(max_length=100)
    document = models.TextField(help_text="A JSON object.")
    expires_at = models.DateTimeField()
    updated_at = models.DateTimeField()

    class Meta:
        constraints = [
            # Reading remote data by key; two requests that write a new key make one row.
            models.UniqueConstraint(fields=["site", "key"], name="cohorts_ownkey_key"),
        ]
        indexes = [
            # A worker looks for expired keys of any site.
            models.Index(fields=["expires_at"], name="cohorts_ownkey_expiry"),
        ]

    def __str__(self) -> str:
        return self.key
