"""The inbox, what workers have of it in hand, and the files it was loaded from."""

from typing import Any, Final

from django.contrib import admin
from django.db.models import Q, QuerySet
from django.http import HttpRequest
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from admin_pages import LargeTable, ReadOnly, show_body, show_text, site_ids
from api.events.envelope import TYPES
from api.events.reasons import FAILURES, WARNINGS
from api.models import Claim, Load, Message

FAILED: Final = (Message.Status.REJECTED, Message.Status.DEAD)


class ReasonFilter(admin.SimpleListFilter):
    """The reasons of messages that failed: an index holds these alone."""

    title = "why it failed"
    parameter_name = "reason"

    def lookups(self, _request: HttpRequest, _model_admin: Any) -> list[tuple[str, str]]:
        return [(reason, reason) for reason in FAILURES]

    def queryset(self, _request: HttpRequest, queryset: QuerySet[Message]) -> QuerySet[Message]:
        return queryset.filter(reason=self.value(), status__in=FAILED) if self.value() else queryset


@admin.register(Message)
class MessageAdmin(ReadOnly[Message], LargeTable[Message]):
    """The inbox, newest first."""

    list_display = ("id", "received_at", "site_name", "type", "message_id", "status", "outcome")
    list_filter = ("status", ReasonFilter, "site")
    list_select_related = ("site",)
    sortable_by = ()
    search_fields = ("message_id",)
    search_help_text = "A whole messageId, or a message's number here."
    fieldsets = (
        (None, {"fields": ("site", "source", "type", "message_id", "position", "received_at", "occurred_at")}),
        ("What became of it", {"fields": ("status", "why", "did", "odd", "waiting_for", "attempts", "digested_at")}),
        ("As it was received", {"fields": ("content_encoding", "body_shown", "detail_shown")}),
    )

    class Media:
        css = {"all": ("api/admin.css",)}

    def get_queryset(self, request: HttpRequest) -> QuerySet[Message]:
        return super().get_queryset(request).defer("body", "detail")

    def find(self, rows: QuerySet[Message], term: str) -> QuerySet[Message]:
        """By the index of the deduplication, which lacks rejected messages; these by the one of failures."""
        number = Q(pk=int(term)) if term.isascii() and term.isdigit() and len(term) < 19 else Q(pk__in=())  # noqa: PLR2004
        known = Q(site__in=site_ids(), type__in=TYPES, message_id=term) & ~Q(status=Message.Status.REJECTED)
        rejected = Q(site__in=site_ids(), message_id=term, status=Message.Status.REJECTED)
        return rows.filter(number | known | rejected)

    @admin.display(description="Outcome")
    def outcome(self, message: Message) -> str:
        return ", ".join([*message.effects, *([message.reason] if message.reason else [])])

    @admin.display(description="Why")
    def why(self, message: Message) -> str:
        return message.sentence or "–"

    @admin.display(description="Effects")
    def did(self, message: Message) -> str:
        return ", ".join(message.effects) or "–"

    @admin.display(description="What was odd")
    def odd(self, message: Message) -> SafeString | str:
        sentences = [(warning, WARNINGS.get(warning, "")) for warning in message.warnings]
        return format_html_join(SafeString("<br>"), "<code>{}</code> {}", sentences) or "–"

    @admin.display(description="Body")
    def body_shown(self, message: Message) -> SafeString:
        return format_html("{}<p>{} bytes</p>", show_body(bytes(message.body)), len(message.body))

    @admin.display(description="Detail")
    def detail_shown(self, message: Message) -> SafeString:
        return show_text(message.detail) if message.detail else SafeString("–")


@admin.register(Claim)
class ClaimAdmin(ReadOnly[Claim]):
    """What the workers have in hand, or had when they died."""

    list_display = ("worker", "claimed_at", "how_many", "server_started_at")

    @admin.display(description="Messages")
    def how_many(self, claim: Claim) -> int:
        return len(claim.message_ids)


@admin.register(Load)
class LoadAdmin(ReadOnly[Load]):
    """Files of events: how far each was loaded."""

    list_display = (
        "id",
        "file_name",
        "source",
        "lines",
        "stored",
        "duplicates",
        "rejected",
        "created_at",
        "finished_at",
    )
    list_select_related = ("source",)
    ordering = ("-pk",)
