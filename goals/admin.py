"""The admin pages of goals. What people change goes through goals.catalogue; what events made is to be read."""

import json
from typing import Any

from django import forms
from django.contrib import admin
from django.db.models import QuerySet
from django.http import Http404, HttpRequest
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.widgets import UnfoldAdminTextInputWidget

import names
from admin_pages import Inline, LargeTable, LinesField, Pages, ReadOnly, Row, show_json, site_ids
from goals import catalogue
from goals.finding import live_goals, properties_of
from goals.matching import EventName
from goals.models import GOAL_NAME_LENGTH, Conversion, Goal, GoalBinding, GoalCreation, Tag, WaitingName
from goals.naming import EVENT_NAME_LENGTH, EVENT_TYPES


class ShortDeletion(Pages[Row]):
    """A question before deleting that does not first list everything which hangs on a row."""

    def get_deleted_objects(
        self, rows: Any, _request: HttpRequest
    ) -> tuple[list[str], dict[str, int], set[str], list[str]]:
        named = [str(row) for row in rows]
        return named, {str(self.opts.verbose_name_plural): len(named)}, set(), []


class GoalForm(forms.ModelForm):  # type: ignore[type-arg]  # takes no parameters at run time
    # strip=False: names match exactly, and one that begins with a space is not to be renamed by being looked at.
    name = forms.CharField(max_length=GOAL_NAME_LENGTH, strip=False, widget=UnfoldAdminTextInputWidget())
    tag_names = LinesField(line_length=100, label="Tags", required=False)
    keeps_receiving = forms.BooleanField(
        label="Keep receiving these events",
        required=False,
        help_text="With a new name: the events that convert this goal go on doing so. "
        "Otherwise the next of them makes a goal of its own.",
    )

    class Meta:
        model = Goal
        fields = ("site", "name", "type", "description", "has_multiple_conversions")

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        if self.instance.pk:
            self.initial["tag_names"] = [tag.name for tag in self.instance.tags.all()]

    def clean_name(self) -> str:
        name = str(self.cleaned_data["name"])
        # A text field in a browser loses line ends: a name that nobody touched stays as it was.
        return str(self.instance.name) if name == without_line_ends(self.instance.name) else name

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or self.cleaned_data
        site = cleaned.get("site") or (self.instance.site if self.instance.pk else None)
        if site and "name" in cleaned:
            try:
                # The name stays free until the page's transaction ends.
                catalogue.require_free_name(Goal(pk=self.instance.pk, site=site, name=cleaned["name"]))
            except catalogue.NameTakenError as taken:
                self.add_error("name", f"Goal {taken.goal_id} of this site has this name.")
        return cleaned


class TagFilter(admin.SimpleListFilter):
    """`?tag=segment.io`, also for a tag that is not among the hundred listed (promises K-09)."""

    title = "tag"
    parameter_name = "tag"

    def lookups(self, _request: HttpRequest, _model_admin: Any) -> list[tuple[str, str]]:
        tags = Tag.objects.order_by("sort_key", "name").values_list("name", "sort_key").distinct()
        found = [name for name, _ in tags[:100]]
        if self.used_parameters.get(self.parameter_name) and self.value() not in found:
            found.append(str(self.value()))
        return [(name, name) for name in found]

    def queryset(self, _request: HttpRequest, queryset: QuerySet[Goal]) -> QuerySet[Goal]:
        if not self.value():
            return queryset
        return queryset.filter(pk__in=Tag.objects.filter(name=self.value()).values("goals"))


class StatusFilter(admin.SimpleListFilter):
    title = "status"
    parameter_name = "status"

    def lookups(self, _request: HttpRequest, _model_admin: Any) -> list[tuple[str, str]]:
        return [("ACTIVE", "active"), ("INACTIVE", "archived")]

    def queryset(self, _request: HttpRequest, queryset: QuerySet[Goal]) -> QuerySet[Goal]:
        return queryset.filter(archived_at__isnull=self.value() == "ACTIVE") if self.value() else queryset


class BindingsOfGoal(Inline):
    model = GoalBinding
    fields = ("event_type", "event_name")
    readonly_fields = fields
    verbose_name_plural = "Events that convert it whatever it is called"
    extra = 0
    max_num = 0
    can_delete = False


@admin.register(Goal)
class GoalAdmin(ShortDeletion[Goal], LargeTable[Goal]):
    form = GoalForm
    list_display = ("name", "site_name", "tag_names", "origin", "status", "last_conversion")
    list_filter = (TagFilter, StatusFilter, "origin", "site")
    sortable_by = ("name",)
    search_fields = ("name",)
    search_help_text = "Words of the name."
    inlines = (BindingsOfGoal,)
    readonly_fields = ("converted_by", "conversions", "origin", "status", "created_at", "updated_at")
    new_fields = ("site", "name", "type", "description", "has_multiple_conversions", "tag_names")

    def get_queryset(self, _request: HttpRequest) -> QuerySet[Goal]:
        return live_goals(site_ids()).order_by("-pk")

    def find(self, rows: QuerySet[Goal], term: str) -> QuerySet[Goal]:
        return names.search_folded(rows, term, "search_key")

    def get_fields(self, _request: HttpRequest, goal: Goal | None = None) -> tuple[str, ...]:
        if goal is None:
            return self.new_fields
        return ("site", "name", "keeps_receiving", *self.new_fields[2:], *self.readonly_fields)

    def get_readonly_fields(self, _request: HttpRequest, goal: Goal | None = None) -> tuple[str, ...]:
        return ("site", *self.readonly_fields) if goal else self.readonly_fields

    def get_inlines(self, _request: HttpRequest, goal: Goal | None) -> Any:
        return self.inlines if goal else ()

    def save_model(self, _request: HttpRequest, goal: Goal, form: Any, change: bool) -> None:  # noqa: FBT001 - Django's
        template = goal.site.goal_name_template
        tags = form.cleaned_data["tag_names"] if "tag_names" in form.changed_data else None
        if not change:
            catalogue.create_goal(goal, tags=tags or (), template=template)
            return
        fields = [name for name in form.changed_data if name in catalogue.EDITABLE_FIELDS]
        keeps_receiving = form.cleaned_data["keeps_receiving"]
        try:
            catalogue.change_goal(goal, fields=fields, tags=tags, keeps_receiving=keeps_receiving, template=template)
        except Goal.DoesNotExist as error:
            raise Http404 from error

    def delete_model(self, _request: HttpRequest, goal: Goal) -> None:
        catalogue.delete_goal(goal, now=timezone.now())

    @admin.display(description="Tags")
    def tag_names(self, goal: Goal) -> str:
        return ", ".join(tag.name for tag in goal.tags.all())

    @admin.display(description="Status")
    def status(self, goal: Goal) -> str:
        return "archived" if goal.archived_at else "active"

    @admin.display(description="Last conversion")
    def last_conversion(self, goal: Goal) -> Any:
        return getattr(goal, "last_conversion_at", None)

    @admin.display(description="How it is converted")
    def converted_by(self, goal: Goal) -> str:
        """Not by code of yours (promises K-21)."""
        how = (
            "Converted automatically by Segment events."
            if goal.origin == Goal.Origin.EVENT
            else "Converted by Segment events of this name."
        )
        last = getattr(goal, "last_conversion_at", None)
        return f"{how} Last one seen: {last:%Y-%m-%d %H:%M:%S} UTC." if last else f"{how} None seen yet."

    @admin.display(description="Conversions")
    def conversions(self, goal: Goal) -> SafeString:
        page = reverse("admin:goals_conversion_changelist")
        return format_html('<a href="{}?goal__id__exact={}">Show them, newest first</a>', page, goal.pk)


@admin.register(Tag)
class TagAdmin(ShortDeletion[Tag]):
    """Made by being given to a goal. Deleting one takes it from its goals."""

    list_display = ("name", "site_name")
    list_filter = ("site",)
    list_select_related = ("site",)
    search_fields = ("name",)

    def has_add_permission(self, _request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, _request: HttpRequest, _tag: Tag | None = None) -> bool:
        return False


class BindingForm(forms.ModelForm):  # type: ignore[type-arg]
    event_type = forms.ChoiceField(choices=[(each, each) for each in EVENT_TYPES])
    event_name = forms.CharField(max_length=EVENT_NAME_LENGTH, strip=False)

    class Meta:
        model = GoalBinding
        fields = ("goal", "event_type", "event_name")


@admin.register(GoalBinding)
class GoalBindingAdmin(Pages[GoalBinding]):
    """Events given to goals by a person. One that is bound elsewhere already moves."""

    form = BindingForm
    list_display = ("event_type", "event_name", "goal", "site_name")
    list_filter = ("site",)
    list_select_related = ("goal", "site")
    search_fields = ("event_name", "goal__name")
    autocomplete_fields = ("goal",)

    def has_change_permission(self, _request: HttpRequest, _binding: GoalBinding | None = None) -> bool:
        return False

    def save_model(
        self,
        _request: HttpRequest,
        binding: GoalBinding,
        _form: Any,
        _change: bool,  # noqa: FBT001 - Django's
    ) -> None:
        event = EventName(binding.event_type, binding.event_name)
        goal = binding.goal
        binding.site = goal.site
        binding.pk = catalogue.bind_event(goal, event, template=goal.site.goal_name_template).pk

    def delete_model(self, _request: HttpRequest, binding: GoalBinding) -> None:
        catalogue.unbind_event(binding)


@admin.register(Conversion)
class ConversionAdmin(ReadOnly[Conversion], LargeTable[Conversion]):
    list_display = ("occurred_at", "goal", "visitor_code", "is_matched", "revenue", "currency", "value", "site_name")
    list_filter = ("site",)
    list_select_related = ("goal", "site")
    sortable_by = ()
    linked_lookups = ("goal__id__exact",)
    search_fields = ("visitor_code",)
    search_help_text = "A whole visitor code, or the user id or anonymous id of somebody unmatched."
    exclude = ("properties",)
    readonly_fields = ("properties_shown",)

    class Media:
        css = {"all": ("api/admin.css",)}

    def get_queryset(self, request: HttpRequest) -> QuerySet[Conversion]:
        return super().get_queryset(request).filter(goal__deleted_at=None).defer("properties")

    def get_ordering(self, request: HttpRequest) -> tuple[str, ...]:
        # One goal's are in the order of its index.
        return ("-occurred_at", "-pk") if "goal__id__exact" in request.GET else ("-pk",)

    def find(self, rows: QuerySet[Conversion], term: str) -> QuerySet[Conversion]:
        return rows.filter(site__in=site_ids(), visitor_code=term)

    @admin.display(description="Matched", boolean=True)
    def is_matched(self, conversion: Conversion) -> bool:
        return conversion.is_matched

    @admin.display(description="Properties")
    def properties_shown(self, conversion: Conversion) -> SafeString:
        properties = properties_of([conversion.pk]).get(conversion.pk)
        return show_json("more than 2 MiB, of an earlier version" if properties is None else json.loads(properties))


@admin.register(GoalCreation)
class GoalCreationAdmin(ReadOnly[GoalCreation], LargeTable[GoalCreation]):
    """The ledger that the quota counts in."""

    list_display = ("created_at", "site_name")
    list_filter = ("site",)
    list_select_related = ("site",)
    sortable_by = ()


@admin.register(WaitingName)
class WaitingNameAdmin(ReadOnly[WaitingName], LargeTable[WaitingName]):
    """The queue of names that wait for quota, first come, first created."""

    list_display = ("name", "event_type", "site_name", "has_goal", "created_at")
    list_filter = ("has_goal", "site")
    list_select_related = ("site",)
    sortable_by = ()
    ordering = ("arrival", "pk")  # type: ignore[assignment]  # two fields where the base has one
    search_fields = ("name",)

    def find(self, rows: QuerySet[WaitingName], term: str) -> QuerySet[WaitingName]:
        return names.search(rows, term, "name")


def without_line_ends(text: str) -> str:
    return text.replace("\r", "").replace("\n", "")
