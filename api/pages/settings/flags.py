"""The feature flags of a site: import, switches in each environment, versions, and the settings of SDKs."""

from typing import Final

from django import forms
from django.contrib import messages
from django.core.exceptions import ValidationError
from django.http import Http404, HttpRequest, HttpResponseBase
from django.shortcuts import redirect
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_POST

from api.http.wording import count_of
from api.models import Role, SdkConfiguration, Site
from api.pages.access import get_in_site, page_of, show, site_page
from api.pages.confirm import ask, is_confirmed
from api.pages.json_text import pretty
from api.pages.undo import read_switch, say_switched
from api.remote_data import configuration_changes as changes
from api.remote_data.flag_import import Import, import_file
from api.remote_data.sdk_segments import find_sdk_segments
from goals.flags.models import Environment, FeatureFlag, ImportedSegment
from goals.flags.saving import PRODUCTION

MOST_BYTES: Final = 4_194_304  # of a file that is uploaded
LAST_VERSIONS: Final = 20


class ImportForm(forms.Form):
    text = forms.CharField(
        label="File",
        required=False,
        max_length=MOST_BYTES,
        widget=forms.Textarea(attrs={"rows": 6}),
        help_text="The JSON of a configuration file, as GET /v3/SITECODE answers it.",
    )
    environment = forms.CharField(max_length=64, initial=PRODUCTION, required=False)


class SettingsForm(forms.ModelForm):  # type: ignore[type-arg]  # takes no parameters at run time
    class Meta:
        model = SdkConfiguration
        fields = changes.SETTINGS


@site_page()
def list_flags(request: HttpRequest, site: Site) -> HttpResponseBase:
    return show_flags(request, site, ImportForm())


@site_page(Role.EDITOR)
@require_POST
def import_flags(request: HttpRequest, site: Site) -> HttpResponseBase:
    """Import a file that was pasted or uploaded, or only check it if the button `do` says `try`."""
    form = ImportForm(request.POST)
    if not form.is_valid():
        return show_flags(request, site, form)
    upload = request.FILES.get("file")
    text: str | bytes = form.cleaned_data["text"]
    if upload is not None:
        text = upload.read(MOST_BYTES + 1)
        if len(text) > MOST_BYTES:
            form.add_error(None, f"The file has more than {MOST_BYTES:,} bytes.")
            return show_flags(request, site, form)
    is_try = request.POST.get("do") == "try"
    result = import_file(
        site,
        text,
        environment=form.cleaned_data["environment"] or PRODUCTION,
        actor=request.user,
        now=timezone.now(),
        is_try=is_try,
    )
    if result.saved is None or is_try:
        return show_flags(request, site, form, result)
    messages.success(request, f"Imported: {describe(result)}.")
    return redirect("pages:settings-flags", site.sitecode)


def describe(result: Import) -> str:
    """Return in words what an import did, or would do."""
    saved = result.saved
    assert saved is not None  # noqa: S101 - an import without a problem
    return (
        f"{count_of(len(saved.created), 'flag')} created, {len(saved.changed):,} changed, "
        f"{len(saved.unchanged):,} unchanged, {count_of(len(saved.segments), 'segment')} and "
        f"{count_of(len(result.custom_data), 'definition')} of custom data"
    )


def show_flags(request: HttpRequest, site: Site, form: ImportForm, result: Import | None = None) -> HttpResponseBase:
    flags = list(FeatureFlag.objects.filter(site=site))
    segments = list(ImportedSegment.objects.filter(site=site))
    withheld = find_sdk_segments(site.pk).withheld
    environments = changes.environments_of(site)
    problems = result.problems if result is not None else ()
    return show(
        request,
        "pages/settings/flags.html",
        title="Feature flags",
        tab="settings-flags",
        flags=[(flag, [(name, name in flag.enabled_in) for name in environments]) for flag in flags],
        segments=[(segment, segment.number in withheld) for segment in segments],
        environments=list(Environment.objects.filter(site=site)),
        form=form,
        settings_form=SettingsForm(instance=SdkConfiguration.objects.filter(site=site).first()),
        problems=problems,
        forecast=describe(result) if result is not None and result.saved is not None else "",
        status=400 if form.errors or problems else 200,
    )


@site_page()
def show_flag(request: HttpRequest, site: Site, flag_id: int) -> HttpResponseBase:
    """Show the document of a flag and its latest versions."""
    flag = get_in_site(FeatureFlag, site, flag_id)
    return show(
        request,
        "pages/settings/flag.html",
        title=flag.key,
        tab="settings-flags",
        flag=flag,
        document=pretty(flag.document)[0],
        versions=[(version, pretty(version.document)[0]) for version in flag.versions.all()[:LAST_VERSIONS]],
    )


@site_page(Role.EDITOR)
@require_POST
def change_flags(request: HttpRequest, site: Site) -> HttpResponseBase:
    """Switch or delete a flag, as the button `do` says."""
    flag = get_in_site(FeatureFlag, site, request.POST.get("flag", ""))
    if request.POST.get("do") == "delete":
        if not is_confirmed(request):
            return ask_delete_flag(request, site, flag)
        changes.delete_flag(flag, actor=request.user, now=timezone.now())
        messages.success(request, f"Flag “{flag.key}” deleted.")
    elif request.POST.get("do") == "switch":
        environment = request.POST.get("environment", "")
        if environment not in changes.environments_of(site):
            raise Http404
        was_on = environment in flag.enabled_in
        is_on = read_switch(request, now=was_on)
        if is_on != was_on:
            changes.switch_flag(flag, environment, is_on=is_on, actor=request.user, now=timezone.now())
        say_switched(
            request,
            f"Flag “{flag.key}” is {'on' if is_on else 'off'} in {environment}.",
            page_of(site, "settings-flags-change"),
            [("do", "switch"), ("flag", str(flag.pk)), ("environment", environment)],
            is_on=is_on,
            was_on=was_on,
        )
    return redirect("pages:settings-flags", site.sitecode)


@site_page(Role.EDITOR)
@require_POST
def change_environments(request: HttpRequest, site: Site) -> HttpResponseBase:
    """Create or delete an environment, or save the settings of SDKs, as the button `do` says."""
    do, now = request.POST.get("do", ""), timezone.now()
    if do == "create":
        try:
            changes.create_environment(site, request.POST.get("name", ""), actor=request.user, now=now)
        except ValidationError as error:
            messages.error(request, " ".join(error.messages))
    elif do == "delete":
        environment = get_in_site(Environment, site, request.POST.get("environment", ""))
        if not is_confirmed(request):
            return ask_delete_environment(request, site, environment)
        name = environment.name
        changes.delete_environment(environment, actor=request.user, now=now)
        messages.success(request, f"Environment {name} deleted.")
    elif do == "settings":
        form = SettingsForm(request.POST)
        if form.is_valid():
            changes.change_settings(site, form.cleaned_data, actor=request.user, now=now)
            messages.success(request, "Settings saved.")
        else:
            messages.error(request, "Choose one of the listed values. Nothing was saved.")
    return redirect("pages:settings-flags", site.sitecode)


def ask_delete_flag(request: HttpRequest, site: Site, flag: FeatureFlag) -> HttpResponseBase:
    rules = len(flag.document.get("rules", ()))
    return ask(
        request,
        title=f"Delete the flag “{flag.key}”",
        facts=[
            "Code that asks for this flag gets an error or its own default, within an hour.",
            f"The flag has {count_of(rules, 'rule')}, and is on in {', '.join(flag.enabled_in) or 'no environment'}.",
        ],
        warning="Its versions are deleted, too. To turn it off, switch it off instead.",
        action="Delete flag",
        back=reverse("pages:settings-flags", args=[site.sitecode]),
    )


def ask_delete_environment(request: HttpRequest, site: Site, environment: Environment) -> HttpResponseBase:
    on = FeatureFlag.objects.filter(site=site, enabled_in__contains=[environment.name]).count()
    return ask(
        request,
        title=f"Delete the environment {environment.name}",
        facts=[
            f"{count_of(on, 'flag')} on in it: SDKs that ask for it get 404 and keep their last configuration.",
        ],
        action="Delete environment",
        back=reverse("pages:settings-flags", args=[site.sitecode]),
    )
