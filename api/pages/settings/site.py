"""The settings of a site: how it reads its events, who its members are, and what people changed."""

from typing import Any, Final

from django import forms
from django.contrib import messages
from django.contrib.auth.models import User
from django.contrib.postgres.fields import ArrayField
from django.db import transaction
from django.forms.models import model_to_dict
from django.http import HttpRequest, HttpResponseBase
from django.shortcuts import redirect
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_POST

import names
from api.http.tokens import describe, ended, tokens_that_end
from api.http.wording import count_of
from api.ingest.provisioning import note_rules_changed
from api.insight.key_usage import describe_changes, describe_use
from api.models import AuditEntry, ManagementToken, Membership, Role, Site
from api.models.audit import audit_values, write_audit
from api.pages.access import show, site_page
from api.pages.confirm import ask, is_confirmed
from api.pages.fields import lines_field
from api.pages.query_form import IdField, read_id
from api.pages.settings.invitations import DAYS, invitation, removed
from api.pages.spans import TimesQuery, find_trouble_of_times
from goals.naming import name_goal

PAGE: Final = 50
LONGEST_USERNAME: Final = 150  # Django's
GONE: Final = "They are no member any more."
MOST_TOLD: Final = 20  # tokens of a member
LAST_OWNER: Final = "This is the last owner. Make somebody else an owner first."
EXAMPLE: Final = "Clicked on Checkout"
LISTS: Final = ("public_traits", "entered_event_names", "exited_event_names", "link_event_names", "trait_event_names")
PARTS: Final = (
    ("Site", ("name",)),
    (
        "Goals and conversions",
        ("goal_name_template", "auto_tag", "default_currency", "names_pages_by_title", "audience_events_make_goals"),
    ),
    ("Limits on goals that events make", ("goals_per_10_seconds", "goals_per_hour", "max_waiting_names")),
    ("How long events are kept", ("keeps_done_days",)),
    ("Who people are", ("user_id_is_visitor_code", "company_is_group")),
    ("Remote data", ("public_traits", "requires_token")),
    ("Event names with a meaning", LISTS[1:]),
)
# Of these no event comes to mean something else.
MEAN_NOTHING: Final = {"name", *PARTS[2][1], "keeps_done_days", "public_traits", "requires_token"}


def make_field(field: Any, **options: Any) -> Any:
    """A form's field; lists one a line."""
    return lines_field(field) if isinstance(field, ArrayField) else field.formfield(**options)


class SiteForm(forms.ModelForm):  # type: ignore[type-arg]  # takes no parameters at run time
    class Meta:
        model = Site
        fields = [name for _, names in PARTS for name in names]
        formfield_callback = make_field

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.fields[
            "goal_name_template"
        ].help_text = (
            "Goals that exist keep their names: events that come under another name from now on make new ones."
        )

    @property
    def parts(self) -> list[tuple[str, list[forms.BoundField]]]:
        return [(title, [self[name] for name in names]) for title, names in PARTS]


@site_page()
def show_settings(request: HttpRequest, site: Site) -> HttpResponseBase:
    return show_form(request, site, SiteForm(instance=site))


@site_page(Role.OWNER)
@require_POST
def save_settings(request: HttpRequest, site: Site) -> HttpResponseBase:
    before = model_to_dict(site, SiteForm.Meta.fields)
    form = SiteForm(request.POST, instance=Site.objects.get(pk=site.pk))
    if not form.is_valid():
        return show_form(request, site, form)
    with transaction.atomic():
        saved = form.save()
        was, is_now = audit_values(before, model_to_dict(saved, SiteForm.Meta.fields))
        if was:
            if was.keys() - MEAN_NOTHING:
                note_rules_changed(site.pk, now=timezone.now())  # what its events mean may be something else
            write_audit(request.user, site, "Changed the site's settings", was, is_now)
    messages.success(request, "Saved.")
    return redirect("pages:settings", site.sitecode)


def show_form(request: HttpRequest, site: Site, form: SiteForm) -> HttpResponseBase:
    template = site.goal_name_template
    return show(
        request,
        "pages/settings/site.html",
        title="Settings",
        tab="settings",
        form=form,
        example=name_goal("track", EXAMPLE, template=template),
        example_name=EXAMPLE,
        status=400 if form.errors else 200,
    )


# Members


@site_page(Role.OWNER)
def list_members(request: HttpRequest, site: Site) -> HttpResponseBase:
    members = list(site.memberships.select_related("user").order_by(names.sort_key("user__username")))
    ending = tokens_that_end([member.user_id for member in members], site=site)
    for member in members:
        vars(member)["tokens"] = [token for token in ending if token.user_id == member.user_id]
    return show(
        request, "pages/settings/members.html", title="Members", tab="settings-members", members=members, roles=Role
    )


@site_page(Role.OWNER)
@require_POST
def change_members(request: HttpRequest, site: Site) -> HttpResponseBase:
    """Invite somebody by username, change a role, or remove a member; one owner always stays.

    An administrator makes a member at once.
    """
    role = request.POST.get("role", "")
    with transaction.atomic():
        Site.objects.select_for_update().get(pk=site.pk)  # two owners must not remove each other
        problem = ""
        if request.POST.get("do") != "remove" and role not in Role.values:
            problem = "Choose a role."
        elif request.POST.get("do") == "invite" and not request.user.is_superuser:
            return show_invitation(request, site, request.POST.get("username", "").strip(), role)
        elif request.POST.get("do") == "invite":
            problem = invite(request, site, request.POST.get("username", "").strip(), role)
        elif request.POST.get("do") == "remove":
            return remove(request, site, request.POST.get("member", ""))
        else:
            problem = change_role(request, site, request.POST.get("member", ""), role)
    if problem:
        messages.error(request, problem)
    else:
        messages.success(request, "Saved.")
    return redirect("pages:settings-members", site.sitecode)


def show_invitation(request: HttpRequest, site: Site, username: str, role: str) -> HttpResponseBase:
    """Return the page with a link for this username, the same whether there is such a user or not."""
    problem = ""
    if not username or len(username) > LONGEST_USERNAME:
        problem = f"Give the username, of {LONGEST_USERNAME} letters at most."
    elif site.memberships.filter(user__username=username).exists():
        problem = f"{username} is a member already."
    if problem:
        messages.error(request, problem)
        return redirect("pages:settings-members", site.sitecode)
    link = invitation(request, site, username, role)
    write_audit(request.user, site, f"Invited {username}", None, {"role": role})
    return show(
        request,
        "pages/settings/invitation.html",
        title="Invitation",
        tab="settings-members",
        username=username,
        role=Role(role).label,
        link=link,
        days=DAYS,
    )


def invite(request: HttpRequest, site: Site, username: str, role: str) -> str:
    """What is wrong; nothing when somebody has become a member."""
    user = User.objects.filter(username=username, is_active=True).first() if "\0" not in username else None
    if user is None:
        return "There is no such user. An administrator makes one under “All tables”, Users."
    _, is_new = Membership.objects.get_or_create(user=user, site=site, defaults={"role": role})
    if not is_new:
        return f"{username} is a member already."
    write_audit(request.user, site, f"Invited {username}", None, {"role": role})
    return ""


def find_member(site: Site, number: str) -> Membership | None:
    return site.memberships.filter(pk=read_id(number) or 0).select_related("user").first()


def is_last_owner(membership: Membership) -> bool:
    """Return True if nobody else owns the site: who may not sign in owns nothing. One query."""
    owners = membership.site.memberships.filter(role=Role.OWNER, user__is_active=True)
    return list(owners) == [membership]


def change_role(request: HttpRequest, site: Site, member: str, role: str) -> str:
    """What is wrong; nothing when a member has another role."""
    membership = find_member(site, member)
    if membership is None:
        return GONE
    if role != Role.OWNER and is_last_owner(membership):
        return LAST_OWNER
    name, before = membership.user.get_username(), {"role": membership.role}
    if membership.role != role:
        of_theirs = tokens_that_end([membership.user_id], site=site)
        of_theirs = [token for token in of_theirs if not Role(role).includes(Role(token.role))]
        membership.role = role
        membership.save(update_fields=["role"])
        write_audit(request.user, site, f"Changed the role of {name}", before, {"role": role})
        note_ended(request, site, name, of_theirs)
    return ""


def note_ended(request: HttpRequest, site: Site, name: str, of_theirs: list[ManagementToken]) -> None:
    """Say and log that the tokens of somebody ended here with the role or the membership."""
    for token in of_theirs:
        write_audit(request.user, site, f"Ended the management token {token.pk} of {name} here", describe(token), None)
    if of_theirs:
        messages.warning(request, f"{ended(of_theirs, name)} here. To keep one, take it over under Tokens.")


def remove(request: HttpRequest, site: Site, member: str) -> HttpResponseBase:
    """Remove a member, once the person has seen who that is."""
    membership = find_member(site, member)
    if membership is None or is_last_owner(membership):
        messages.error(request, LAST_OWNER if membership else GONE)
    elif not is_confirmed(request):
        return ask_remove(request, site, membership)
    else:
        name, before = membership.user.get_username(), {"role": membership.role}
        of_theirs = tokens_that_end([membership.user_id], site=site)
        membership.delete()
        write_audit(request.user, site, removed(name), before, None)
        note_ended(request, site, name, of_theirs)
        messages.success(request, f"Removed: {name} sees this site no more.")
    return redirect("pages:settings-members", site.sitecode)


def ask_remove(request: HttpRequest, site: Site, membership: Membership) -> HttpResponseBase:
    """Return the page that says what a member did and leaves behind."""
    now, user = timezone.now(), membership.user
    name, role = user.get_username(), membership.get_role_display().lower()
    tokens = tokens_that_end([user.pk], site=site)
    signed_in = f"last signed in on {user.last_login:%Y-%m-%d}" if user.last_login else "never signed in"
    return ask(
        request,
        title=f"Remove {name}",
        facts=[
            f"{name} is {role} since {membership.created_at:%Y-%m-%d} and {signed_in}.",
            describe_changes([site], name, now=now),
            f"{count_of(len(tokens), 'management token')} of theirs {'ends' if len(tokens) == 1 else 'end'} here.",
            "Credentials and write keys belong to the site and go on working: renew those whose secret they know.",
            *(f"Token “{token}”: {describe_use(token.last_used_at)}" for token in tokens[:MOST_TOLD]),
        ],
        warning="They see this site no more, from the next page on. What they changed stays, and an owner can make "
        "them a member again. To keep a token, take it over under Tokens.",
        action=f"Remove {name}",
        back=reverse("pages:settings-members", args=[site.sitecode]),
    )


# What people changed


class ChangesQuery(TimesQuery):
    """The filters of the audit log; `before` says where the page before ended."""

    who = forms.CharField()
    what = forms.CharField()
    before = IdField()


@site_page(Role.OWNER)
def list_changes(request: HttpRequest, site: Site) -> HttpResponseBase:
    """The audit log, newest first, in pages that begin below an entry's number."""
    entries = AuditEntry.objects.filter(site=site).order_by("-pk")
    query = ChangesQuery(request.GET)
    asked = query.values
    lookups = {
        "pk__lt": asked["before"],
        "who": asked["who"],
        "what__icontains": asked["what"],
        "at__gte": asked["since"],
        "at__lt": asked["until"],
    }
    wanted = {name: value for name, value in lookups.items() if value not in (None, "")}
    entries = entries.filter(**wanted)
    found = list(entries[: PAGE + 1])
    older = request.GET.copy()
    older["before"] = str(found[PAGE - 1].pk) if len(found) > PAGE else ""
    return show(
        request,
        "pages/settings/changes.html",
        title="Audit log",
        tab="settings-changes",
        entries=found[:PAGE],
        older=older.urlencode() if older["before"] else "",
        asked=asked,
        trouble=find_trouble_of_times(query, now=timezone.now()),
        is_narrowed=bool(wanted.keys() - {"pk__lt"}),
    )
