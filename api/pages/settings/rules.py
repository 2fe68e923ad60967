"""The rules of a site: their order, their forms, and the forecast on past events."""

from collections.abc import Sequence
from typing import Any, Final

from django.contrib import messages
from django.db import transaction
from django.db.models import Max
from django.forms.models import model_to_dict
from django.http import HttpRequest, HttpResponseBase, QueryDict
from django.shortcuts import redirect
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_POST

from api.digest.forecast import Forecast, forecast_rules
from api.digest.site_config import load_site_config, rule_of
from api.http.wording import count_of
from api.ingest.provisioning import note_rules_changed
from api.insight.messages import MessageFilter, MessageRow, find_messages
from api.models import Role, Rule, Site
from api.models.audit import audit_values, write_audit
from api.pages.access import get_in_site, page_of, show, site_page
from api.pages.confirm import ask, is_confirmed
from api.pages.query_form import read_id
from api.pages.settings.rule_form import FIELDS, RuleForm
from api.pages.undo import CannotUndoError, read_switch, say_switched, say_with_kept
from api.rules.sentences import describe_rule
from api.rules.validation import explain_too_many

LAST_EVENTS: Final = 20
KIND: Final = "rule"  # of what Undo gives back
KIND_OF_ORDER: Final = "rule-order"
LAST_FORECAST: Final = 1_000  # events


@site_page()
def list_rules(request: HttpRequest, site: Site) -> HttpResponseBase:
    """Show the rules in their order, each as a sentence, and the latest events to test them on."""
    rules = [
        (rule, describe_rule(rule_of(rule), source=rule.source.name if rule.source else ""))
        for rule in site.rules.select_related("source")
    ]
    return show(
        request, "pages/settings/rules.html", title="Rules", tab="settings-rules", rules=rules, events=last_events(site)
    )


def last_events(site: Site) -> list[MessageRow]:
    """Return the stored events on which a rule may be tested, newest first."""
    return find_messages(load_site_config(site), MessageFilter(), limit=LAST_EVENTS).rows


@site_page(Role.OWNER)
@require_POST
def change_rules(request: HttpRequest, site: Site) -> HttpResponseBase:
    """Move a rule up or down, switch it on or off, or delete it, as the button `do` says."""
    do = request.POST.get("do", "")
    if do == "delete" and not is_confirmed(request):
        return ask_delete(request, site, get_in_site(Rule, site, request.POST.get("rule", "")))
    with transaction.atomic():
        note_rules_changed(site.pk, now=timezone.now())  # first: a concurrent change waits for the site's row
        rule = get_in_site(Rule, site, request.POST.get("rule", ""))
        if do in {"up", "down"}:
            move(request, rule, -1 if do == "up" else 1)
        elif do == "switch":
            switch(request, rule)
        elif do == "delete":
            write_audit(request.user, site, f"Deleted the rule {rule.pk} “{rule}”", model_to_dict(rule, FIELDS), None)
            kept = {"id": rule.pk, "position": rule.position, **model_to_dict(rule, FIELDS)}
            rule.delete()
            say_with_kept(request, site, f"Rule “{rule}” deleted.", KIND, kept)
    return redirect("pages:settings-rules", site.sitecode)


def switch(request: HttpRequest, rule: Rule) -> None:
    """Switch a rule on or off. The site's row is locked."""
    was_on, rule.is_enabled = rule.is_enabled, read_switch(request, now=rule.is_enabled)
    if rule.is_enabled != was_on:
        rule.save(update_fields=["is_enabled"])
        what, after = f"Switched the rule {rule.pk} “{rule}”", {"is_enabled": rule.is_enabled}
        write_audit(request.user, rule.site, what, {"is_enabled": was_on}, after)
    say_switched(
        request,
        f"Rule “{rule}” is {'on' if rule.is_enabled else 'off'}.",
        page_of(rule.site, "settings-rules-change"),
        [("do", "switch"), ("rule", str(rule.pk))],
        is_on=rule.is_enabled,
        was_on=was_on,
    )


def undo_removal(request: HttpRequest, site: Site, values: dict[str, Any]) -> HttpResponseBase:
    """Create a deleted rule again, in its place. Raises CannotUndoError if the site has too many rules now."""
    source = values["source"]
    if source is not None and not site.sources.filter(pk=source).exists():
        raise CannotUndoError("The rule's source no longer exists.")
    fields = {name: value for name, value in values.items() if name != "source"}
    rule = Rule(site=site, source_id=source, **fields)
    with transaction.atomic():
        note_rules_changed(site.pk, now=timezone.now())
        actions = list(site.rules.values_list("action", flat=True))
        if wrong := explain_too_many([*actions, rule.action], before=actions):
            raise CannotUndoError(wrong)
        rule.save(force_insert=True)
        write_audit(request.user, site, f"Created the rule {rule.pk} “{rule}”", None, model_to_dict(rule, FIELDS))
    messages.success(request, f"Rule “{rule}” restored. What happened to events meanwhile stays.")
    return redirect("pages:settings-rules", site.sitecode)


def ask_delete(request: HttpRequest, site: Site, rule: Rule) -> HttpResponseBase:
    """Return the page that forecasts the latest events without a rule."""
    facts = ["The rule is off, so that no event changes."]
    if rule.is_enabled:
        rule.is_enabled = False  # not saved
        without = forecast_rule(rule)
        kept = without.dropped_now - without.dropped_then
        facts = [
            (
                f"The latest {count_of(without.messages, 'event')} would make "
                f"{count_of(without.conversions_then, 'conversion')} instead of {without.conversions_now:,}, and "
                f"{count_of(without.goals_made_then, 'new goal')} instead of {without.goals_made_now:,}."
            ),
            f"{count_of(kept, 'event')} would no longer be ignored." if kept > 0 else "",
            f"{count_of(without.profiles_changed, 'profile')} would change." if without.profiles_changed else "",
        ]
    return ask(
        request,
        title=f"Delete the rule “{rule}”",
        facts=facts,
        warning="Past effects stay. To pause a rule, switch it off instead.",
        action="Delete rule",
        back=reverse("pages:settings-rules", args=[site.sitecode]),
    )


def move(request: HttpRequest, rule: Rule, by: int) -> None:
    """Swap a rule with its neighbour, and number all rules."""
    rules = list(rule.site.rules.all())
    place = rules.index(rule)
    to = place + by
    if not 0 <= to < len(rules):
        return
    before = [each.pk for each in rules]
    rules[place], rules[to] = rules[to], rules[place]
    number_rules(rules)
    write_audit(request.user, rule.site, f"Moved the rule {rule.pk} “{rule}”", {"place": place + 1}, {"place": to + 1})
    orders = {"rule": rule.pk, "before": before, "after": [each.pk for each in rules]}
    say_with_kept(request, rule.site, f"Rule “{rule}” moved {'up' if by < 0 else 'down'}.", KIND_OF_ORDER, orders)


def number_rules(rules: Sequence[Rule]) -> None:
    """Save the order of all rules of a site. One query."""
    for position, rule in enumerate(rules):
        rule.position = position
    rules[0].site.rules.bulk_update(rules, ["position"])


def undo_move(request: HttpRequest, site: Site, values: dict[str, Any]) -> HttpResponseBase:
    """Give the rules their order before a move. Raises CannotUndoError if rules or order changed meanwhile."""
    with transaction.atomic():
        note_rules_changed(site.pk, now=timezone.now())
        rules = list(site.rules.all())
        if [rule.pk for rule in rules] != values["after"]:
            raise CannotUndoError("The rules or their order were changed again meanwhile.")
        order = values["before"]
        number_rules(sorted(rules, key=lambda rule: order.index(rule.pk)))
        rule = next(each for each in rules if each.pk == values["rule"])
        before, after = ({"place": values[name].index(rule.pk) + 1} for name in ("after", "before"))
        write_audit(request.user, site, f"Moved the rule {rule.pk} “{rule}”", before, after)
    messages.success(request, f"Rule “{rule}” moved back.")
    return redirect("pages:settings-rules", site.sitecode)


@site_page(Role.OWNER)
def edit_rule(request: HttpRequest, site: Site, rule_id: int | None = None) -> HttpResponseBase:
    """Show and save a rule's form, with the forecast of a draft.

    The buttons `try` and `try-event` forecast the latest events or the chosen one; `preview` shows the fields of the
    choices, too, and no errors. They save nothing (promises N-08, B-11). A new rule may begin as the address says.
    """
    rule = get_in_site(Rule, site, str(rule_id)) if rule_id is not None else None
    last = site.rules.aggregate(last=Max("position"))["last"]
    row = rule or Rule(site=site, position=0 if last is None else last + 1)
    before = model_to_dict(rule, FIELDS) if rule else None
    forecast = None
    event = read_id((request.POST or request.GET).get("event"))
    do = request.POST.get("do", "save")
    if draft := read_draft(request, rule):
        form, forecast = show_draft(draft, row)
    else:
        form = RuleForm(request.POST or None, instance=row)
        if request.method == "POST" and form.is_valid():
            if do not in {"try", "try-event"}:
                save(request, site, form, before)
                return redirect("pages:settings-rules", site.sitecode)
            forecast = forecast_rule(form.instance, only=(event or 0) if do == "try-event" else None)
    events = last_events(site)
    return show(
        request,
        "pages/settings/rule.html",
        title="Rule" if rule else "New rule",
        tab="settings-rules",
        form=form,
        forecast=forecast,
        event=event,
        older_event=event if event not in {each.id for each in events} else None,
        events=events,
        status=400 if form.errors else 200,
    )


def read_draft(request: HttpRequest, rule: Rule | None) -> QueryDict | None:
    """Return the fields of a rule that is neither to be saved nor checked: a preview, or the address of a new one."""
    if request.POST.get("do") == "preview":
        return request.POST
    if request.method == "POST" or rule is not None or request.GET.keys().isdisjoint(FIELDS):
        return None
    draft = request.GET.copy()
    draft["is_enabled"] = "on"
    return draft


def show_draft(draft: QueryDict, row: Rule) -> tuple[RuleForm, Forecast | None]:
    """Return the form of a draft, without errors, and its forecast if it can be saved. It changes `row`."""
    checked = RuleForm(draft, instance=row)
    form = RuleForm(instance=row, initial={name: checked[name].data for name in checked.fields})
    return form, forecast_rule(checked.instance) if checked.is_valid() else None


def forecast_rule(rule: Rule, *, only: int | None = None) -> Forecast:
    """Return what the last messages of a site, or only one, would do if this rule were saved as it is."""
    others = rule.site.rules.exclude(pk=rule.pk)
    # A rule without a number yet will get the largest.
    in_order = sorted([*others, rule], key=lambda row: (row.position, row.pk or float("inf")))
    enabled = [(row.source_id, rule_of(row)) for row in in_order if row.is_enabled]
    return forecast_rules(rule.site, enabled, last=LAST_FORECAST, only=only)


def save(request: HttpRequest, site: Site, form: RuleForm, before: dict[str, Any] | None) -> None:
    with transaction.atomic():
        note_rules_changed(site.pk, now=timezone.now())
        if before is not None:
            get_in_site(Rule, site, str(form.instance.pk))  # a rule that was just deleted must not come back
        rule = form.save()
        after = model_to_dict(rule, FIELDS)
        if before is None:
            write_audit(request.user, site, f"Created the rule {rule.pk} “{rule}”", None, after)
        else:
            write_audit(request.user, site, f"Changed the rule {rule.pk} “{rule}”", *audit_values(before, after))
    messages.success(request, "Rule saved. It applies to events processed from now on, for fields a few seconds later.")
