"""Rules, each tried on what came last before it is saved."""

from json import JSONDecodeError, JSONDecoder
from typing import Any, Final

from django import forms
from django.contrib import admin
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied
from django.db.models import Field, Max
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils import timezone

from admin_pages import Pages, show_json
from api.digest.forecast import Forecast, what_if
from api.digest.site_config import rule_of
from api.events.envelope import TYPES
from api.ingest.provisioning import note_rules_changed
from api.models import Rule, Source
from api.rules.validation import problems, too_many

LAST: Final = 1_000
EXACT: Final = frozenset({"name_value", "path", "path_value", "argument"})  # names match to the byte


class ForgivingDecoder(JSONDecoder):
    """To whom numbers and nests too large for Python are no JSON: a form says so, where an error would end it."""

    def decode(self, text: str, *args: Any) -> Any:
        try:
            return super().decode(text, *args)
        except (ValueError, RecursionError) as error:
            raise JSONDecodeError(str(error), "", 0) from error


class RuleForm(forms.ModelForm):  # type: ignore[type-arg]  # takes no parameters at run time
    event_type = forms.ChoiceField(choices=[("", "any"), *zip(TYPES, TYPES, strict=True)], required=False)

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        if "group_traits" in self.fields:
            self.fields["group_traits"].decoder = ForgivingDecoder  # type: ignore[attr-defined]  # of a JSONField
        choice: Any = self.fields.get("source")
        if choice is None:  # of somebody who may only look
            return
        choice.queryset = Source.objects.select_related("site").order_by("site__name", "pk")
        if self.instance.pk:
            choice.queryset = choice.queryset.filter(site=self.instance.site_id)
        choice.label_from_instance = lambda source: f"{source.site.name}: {source.name}"
        choice.empty_label = "All of the site"

    def clean_group_traits(self) -> dict[str, str]:
        traits = self.cleaned_data["group_traits"] or {}
        if not isinstance(traits, dict) or not all(isinstance(path, str) for path in traits.values()):
            raise forms.ValidationError(
                'Give each trait the field it is taken from: {"country": "properties.country"}.'
            )
        if "\0" in "".join([*traits, *traits.values()]):
            raise forms.ValidationError("Null characters are not allowed.")
        return traits

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or self.cleaned_data
        parts = {name: value for name, value in cleaned.items() if name not in {"site", "source"}}
        for name, message in problems(rule_of(Rule(**parts))).items():
            if name not in self.errors:
                self.add_error(name, message)
        site_id = self.instance.site_id or getattr(cleaned.get("site"), "pk", None)
        if cleaned.get("source") and cleaned["source"].site_id != site_id:
            self.add_error("source", "The site has no such source.")
        rules = dict(Rule.objects.filter(site=site_id).values_list("pk", "action")) if site_id else {}
        wrong = too_many(({**rules, self.instance.pk: cleaned.get("action", "")}).values(), before=rules.values())
        if wrong:
            self.add_error(None, wrong)
        return cleaned


@admin.register(Rule)
class RuleAdmin(Pages[Rule]):
    """What people want done with events, in the order of the positions."""

    form = RuleForm
    list_display = ("__str__", "site_name", "source", "position", "is_enabled", "event_type", "action", "argument")
    list_editable = ("position", "is_enabled")
    list_filter = ("site", "is_enabled", "action")
    list_select_related = ("site", "source")
    search_fields = ("name", "name_value", "argument")
    ordering = ("site", "position", "pk")
    fieldsets = (
        (None, {"fields": ("site", "source", "position", "name", "is_enabled")}),
        (
            "Which events",
            {
                "fields": ("event_type", "name_test", "name_value", "path", "path_test", "path_value"),
                "description": "Of which all of this holds; what is left empty always does.",
            },
        ),
        ("What becomes of them", {"fields": ("action", "argument", "group_traits")}),
    )
    change_form_template = "admin/api/rule/change_form.html"

    def get_readonly_fields(self, _request: HttpRequest, rule: Rule | None = None) -> Any:
        return ("site",) if rule else ()

    def get_changeform_initial_data(self, _request: HttpRequest) -> dict[str, Any]:
        last = Rule.objects.aggregate(last=Max("position"))["last"]
        return {"position": 0 if last is None else last + 1}

    def formfield_for_dbfield(self, db_field: "Field[Any, Any]", request: HttpRequest, **options: Any) -> Any:
        if db_field.name in EXACT:
            options["strip"] = False
        return super().formfield_for_dbfield(db_field, request, **options)

    def changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        """The page of a rule; with the button `_try`, what it would change, and nothing saved."""
        if request.method == "POST" and "_try" in request.POST:
            rule = self.get_object(request, unquote(object_id)) if object_id else None
            may = self.has_change_permission(request, rule) if object_id else self.has_add_permission(request)
            if not may:
                raise PermissionDenied
            form = self.get_form(request, rule, change=rule is not None)(request.POST, instance=rule)
            if form.is_valid():
                return self.tell_forecast(request, form.instance)
        return super().changeform_view(request, object_id, form_url, extra_context)

    def tell_forecast(self, request: HttpRequest, rule: Rule) -> TemplateResponse:
        """What the last messages would do under the site's rules with this one as it stands in the form."""
        context = {
            **self.admin_site.each_context(request),
            "title": f"What would change: {rule}",
            "opts": self.opts,
            "forecast": (forecast := forecast_with(rule)),
            "profiles": [(each, show_json(each.now), show_json(each.then)) for each in forecast.profiles],
            "media": self.media,
        }
        return TemplateResponse(request, "admin/api/rule/forecast.html", context)

    def save_model(self, request: HttpRequest, rule: Rule, form: Any, change: bool) -> None:  # noqa: FBT001 - Django's
        super().save_model(request, rule, form, change)
        note_rules_changed(rule.site_id, now=timezone.now())

    def delete_model(self, request: HttpRequest, rule: Rule) -> None:
        super().delete_model(request, rule)
        note_rules_changed(rule.site_id, now=timezone.now())


def forecast_with(rule: Rule, *, only: int | None = None) -> Forecast:
    """What the last messages of a site, or only one, would do if this rule were saved as it is."""
    others = rule.site.rules.exclude(pk=rule.pk)
    # One that has no number yet gets the largest.
    in_order = sorted([*others, rule], key=lambda each: (each.position, each.pk or float("inf")))
    enabled = [(each.source_id, rule_of(each)) for each in in_order if each.is_enabled]
    return what_if(rule.site, enabled, last=LAST, only=only)
