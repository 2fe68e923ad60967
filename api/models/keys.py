"""Keys that open a site to senders, readers and programs, and counts of keys that open nothing."""

from collections.abc import Mapping, Sequence
from typing import Final

from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.db import models

from api.models.sites import Role, Site
from api.models.source import URL_SAFE
from site_rows import SiteColumn, SiteRow


class Scope(models.TextChoices):
    """A permission of a credential in its sites."""

    SEND = "send", "send events"
    READ = "read", "read remote data, private traits included"
    MANAGE = "manage", "use the management API as an owner"


def least_scopes() -> list[str]:
    """Return the scopes of a credential for which none was chosen."""
    return [Scope.SEND]


class TokenScope(models.TextChoices):
    """A permission of a management token in its sites. None includes another one."""

    INGEST = "ingest", "send events to /segmentio"
    READ = "read", "read goals, sources, rules and settings, without data of people"
    READ_PERSONAL = "read:personal", "read data of people: conversions, traces, traits, members, exports"
    WRITE = "write", "change goals"
    ADMIN = "admin", "change settings, sources, keys, rules and alerts, and erase people"


# A token can do no more than its user, who needs this role in its sites. An editor may export a person.
ROLE_OF_SCOPE: Final[Mapping[TokenScope, Role]] = {
    TokenScope.INGEST: Role.OWNER,
    TokenScope.READ: Role.VIEWER,
    TokenScope.READ_PERSONAL: Role.EDITOR,
    TokenScope.WRITE: Role.EDITOR,
    TokenScope.ADMIN: Role.OWNER,
}
# Of a token from before scopes.
SCOPES_OF_ROLE: Final[Mapping[Role, Sequence[TokenScope]]] = {
    Role.VIEWER: [TokenScope.READ, TokenScope.READ_PERSONAL],
    Role.EDITOR: [TokenScope.READ, TokenScope.READ_PERSONAL, TokenScope.WRITE],
    Role.OWNER: [TokenScope.READ, TokenScope.READ_PERSONAL, TokenScope.WRITE, TokenScope.ADMIN],
}


class Credential(models.Model):
    """A client id and a hashed secret, which open sites to a sender, a reader or a program."""

    Scope = Scope

    client_id = models.CharField(max_length=64, unique=True, validators=[URL_SAFE])
    secret_hash = models.CharField(max_length=64, editable=False)
    name = models.CharField(max_length=100, blank=True)
    sites = models.ManyToManyField(Site, related_name="credentials", blank=True)
    # The version before writes no scopes: such a row keeps all of them.
    scopes = ArrayField(
        models.CharField(max_length=8, choices=Scope.choices), default=least_scopes, db_default=Scope.values
    )
    revoked_at = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)
    last_used_at = models.DateTimeField(null=True, editable=False, help_text="To the minute.")
    old_secret_hash = models.CharField(max_length=64, blank=True, db_default="", editable=False)
    old_secret_ends_at = models.DateTimeField(
        null=True, editable=False, help_text="The previous secret works until then."
    )

    def __str__(self) -> str:
        return self.name or self.client_id

    @property
    def scopes_in_words(self) -> str:
        """Return the scopes in words that follow “may”."""
        *most, last = [scope.label for scope in Scope if scope in self.scopes] or ["do nothing"]
        return f"{', '.join(most)} and {last}" if most else last


class ManagementToken(models.Model):
    """A hashed key to the management API, with scopes in its sites."""

    token_hash = models.CharField(max_length=64, unique=True, editable=False)  # every request finds its token by it
    description = models.CharField(max_length=100)
    role = models.CharField(
        max_length=8, choices=Role.choices, default=Role.VIEWER, help_text="The least role that its user needs."
    )
    scopes = ArrayField(
        models.CharField(max_length=16, choices=TokenScope.choices),
        default=list,
        db_default=[],
        blank=True,
        help_text="Empty for a token from before scopes: it does what its role may.",
    )
    sites = models.ManyToManyField(Site, related_name="management_tokens")
    made_by = models.CharField(max_length=150)  # a name, which stays when its user is deleted
    # A token opens only sites of its user (api.http.tokens). None: the user was deleted.
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.SET_NULL,
        null=True,
        editable=False,
        related_name="management_tokens",  # indexed: the page that removes a member lists the member's tokens
    )
    created_at = models.DateTimeField(auto_now_add=True)
    expires_at = models.DateTimeField(null=True, blank=True, help_text="Empty: never.")
    revoked_at = models.DateTimeField(null=True, blank=True)
    last_used_at = models.DateTimeField(null=True, editable=False, help_text="To the minute.")

    def __str__(self) -> str:
        return self.description

    @property
    def granted(self) -> list[TokenScope]:
        """Return the scopes, those of the role for a token from before scopes."""
        return [TokenScope(scope) for scope in self.scopes] or list(SCOPES_OF_ROLE[Role(self.role)])


class RefusedKey(SiteRow):
    """The requests of five minutes that showed a key which opens nothing, by its first and last characters.

    See api.http.refused_keys.
    """

    # The site that the key once opened, or none. No database constraint: the site may be removed meanwhile.
    site = SiteColumn(Site, on_delete=models.CASCADE, null=True, db_constraint=False, db_index=False, related_name="+")
    slot = models.DateTimeField(db_column="hour")  # processes of the version before write this column
    reason = models.CharField(max_length=16)
    hint = models.CharField(max_length=16, blank=True)
    count = models.BigIntegerField()
    last_at = models.DateTimeField()

    class Meta:
        constraints = [
            # Every process adds to one row. Pages read the last day of a site, and of no site.
            models.UniqueConstraint(
                fields=["site", "slot", "reason", "hint"], name="api_refusedkey_hint", nulls_distinct=False
            ),
        ]

    def __str__(self) -> str:
        return f"{self.count} times {self.reason} {self.hint} at {self.slot}"
