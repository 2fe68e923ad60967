"""The pages of a site, below /admin/s/<sitecode>/."""

from django.contrib.auth.views import redirect_to_login
from django.http import Http404, HttpRequest, HttpResponseBase
from django.shortcuts import redirect
from django.urls import path
from django.utils.cache import patch_vary_headers
from django.views.decorators.csrf import csrf_exempt

from api.pages import guide, home, live, search, undoing
from api.pages.access import current_site, show
from api.pages.events import delivery, event_list, failures, reconciliation, tester, why_not
from api.pages.events import export as events_export
from api.pages.experiments import editing as experiment_editing
from api.pages.experiments import results as experiments
from api.pages.goals import (
    annotations,
    breakdown,
    changes,
    cleanup,
    detail,
    edit,
    export,
    figures_export,
    goal_list,
    grouping,
    merge,
    tags,
    views,
)
from api.pages.people import erasures, people_list, person, personas, segment_edit, segments
from api.pages.settings import (
    alerts,
    audit_log,
    credentials,
    custom_data,
    flags,
    keys,
    members,
    own_keys,
    rules,
    sources,
    tokens,
)
from api.pages.settings import export as settings_export
from api.pages.settings import site as settings

app_name = "pages"
urlpatterns = [
    path("<slug:sitecode>/", home.home, name="home"),
    path("<slug:sitecode>/search/", search.search, name="search"),
    path("<slug:sitecode>/changes/", live.watch_changes, name="changes"),
    path("<slug:sitecode>/undo/", undoing.undo, name="undo"),
    path("<slug:sitecode>/goals/", goal_list.list_goals, name="goals"),
    path("<slug:sitecode>/goals/change/", changes.ask_to_change, name="goals-change"),
    path("<slug:sitecode>/goals/changes/<int:change_id>/", changes.change_goals, name="goals-changing"),
    path("<slug:sitecode>/goals/export/", export.export_goals, name="goals-export"),
    path("<slug:sitecode>/goals/merge/", merge.merge_goals, name="goals-merge"),
    path("<slug:sitecode>/goals/views/", views.list_views, name="goals-views"),
    path("<slug:sitecode>/goals/views/save/", views.save_view, name="goals-view-save"),
    path("<slug:sitecode>/goals/views/<int:view_id>/remove/", views.remove_view, name="goals-view-remove"),
    path("<slug:sitecode>/goals/cleanup/", cleanup.suggest_cleanup, name="goals-cleanup"),
    path("<slug:sitecode>/goals/tags/", tags.list_tags, name="tags"),
    path("<slug:sitecode>/goals/tags/<int:tag_id>/change/", tags.change_tag, name="tag-change"),
    path("<slug:sitecode>/goals/tags/<int:tag_id>/remove/", tags.remove_tag, name="tag-remove"),
    path("<slug:sitecode>/goals/new/", edit.create_goal, name="goal-new"),
    path("<slug:sitecode>/goals/<int:goal_id>/", detail.show_goal, name="goal"),
    path("<slug:sitecode>/goals/<int:goal_id>/breakdown/", breakdown.break_down, name="goal-breakdown"),
    path("<slug:sitecode>/goals/<int:goal_id>/figures.csv", figures_export.export_figures, name="goal-figures"),
    path("<slug:sitecode>/goals/<int:goal_id>/conversions/", detail.list_conversions, name="goal-conversions"),
    path("<slug:sitecode>/goals/<int:goal_id>/annotations/new/", annotations.edit_annotation, name="goal-annotate"),
    path(
        "<slug:sitecode>/goals/<int:goal_id>/annotations/<int:annotation_id>/",
        annotations.edit_annotation,
        name="goal-annotation",
    ),
    path(
        "<slug:sitecode>/goals/<int:goal_id>/annotations/<int:annotation_id>/delete/",
        annotations.delete_annotation,
        name="goal-annotation-delete",
    ),
    path("<slug:sitecode>/goals/<int:goal_id>/edit/", edit.edit_goal, name="goal-edit"),
    path("<slug:sitecode>/goals/<int:goal_id>/display-name/", edit.set_display_name, name="goal-display-name"),
    path("<slug:sitecode>/goals/<int:goal_id>/archive/", edit.archive_goal, name="goal-archive"),
    path("<slug:sitecode>/goals/<int:goal_id>/restore/", edit.restore_goal, name="goal-restore"),
    path("<slug:sitecode>/goals/<int:goal_id>/delete/", edit.delete_goal, name="goal-delete"),
    path("<slug:sitecode>/goals/<int:goal_id>/unmerge/", merge.unmerge_goal, name="goal-unmerge"),
    path("<slug:sitecode>/goals/<int:goal_id>/group-names/", grouping.group_names, name="goal-group"),
    path(
        "<slug:sitecode>/goals/<int:goal_id>/events/<int:binding_id>/unbind/",
        edit.unbind_event,
        name="goal-unbind",
    ),
    path("<slug:sitecode>/experiments/", experiments.list_site_experiments, name="experiments"),
    path("<slug:sitecode>/experiments/new/", experiment_editing.edit_experiment, name="experiment-new"),
    path("<slug:sitecode>/experiments/<int:experiment_id>/", experiments.show_experiment, name="experiment"),
    path(
        "<slug:sitecode>/experiments/<int:experiment_id>/sentence/",
        experiments.say_result,
        name="experiment-sentence",
    ),
    path(
        "<slug:sitecode>/experiments/<int:experiment_id>/edit/",
        experiment_editing.edit_experiment,
        name="experiment-edit",
    ),
    path(
        "<slug:sitecode>/experiments/<int:experiment_id>/decide/", experiment_editing.decide, name="experiment-decide"
    ),
    path(
        "<slug:sitecode>/experiments/<int:experiment_id>/archive/",
        experiment_editing.archive,
        name="experiment-archive",
    ),
    path("<slug:sitecode>/people/", people_list.list_people, name="people"),
    path("<slug:sitecode>/people/export/", people_list.export_people, name="people-export"),
    path("<slug:sitecode>/people/person/", person.show_person, name="person"),
    path("<slug:sitecode>/people/person/segments/", person.explain_segments, name="person-segments"),
    path("<slug:sitecode>/people/person/export/", person.export_person, name="person-export"),
    path("<slug:sitecode>/people/person/erase/", erasures.erase_person, name="person-erase"),
    path("<slug:sitecode>/people/erased/", erasures.list_erasures, name="erasures"),
    path("<slug:sitecode>/people/erased/<int:erasure_id>/", erasures.show_erasure, name="erasure"),
    path("<slug:sitecode>/people/erased/<int:erasure_id>/allow/", erasures.allow_again, name="erasure-allow"),
    path("<slug:sitecode>/why/", why_not.ask_why, name="why"),
    path("<slug:sitecode>/why/suggest/", why_not.suggest, name="why-suggest"),
    path("<slug:sitecode>/personas/", personas.list_personas, name="personas"),
    path("<slug:sitecode>/personas/persona/", personas.show_persona, name="persona"),
    path("<slug:sitecode>/personas/persona/remove/", personas.remove_persona, name="persona-remove"),
    path("<slug:sitecode>/segments/", segments.list_segments, name="segments"),
    path("<slug:sitecode>/segments/new/", segment_edit.edit_segment, name="segment-new"),
    path("<slug:sitecode>/segments/<int:segment_id>/", segments.show_segment, name="segment"),
    path("<slug:sitecode>/segments/<int:segment_id>/members/", segments.list_members, name="segment-members"),
    path("<slug:sitecode>/segments/<int:segment_id>/history/", segments.show_history, name="segment-history"),
    path("<slug:sitecode>/segments/<int:segment_id>/edit/", segment_edit.edit_segment, name="segment-edit"),
    path("<slug:sitecode>/segments/<int:segment_id>/remove/", segments.remove_segment, name="segment-remove"),
    path("<slug:sitecode>/groups/", personas.list_groups, name="groups"),
    path("<slug:sitecode>/groups/group/", personas.show_group, name="group"),
    path("<slug:sitecode>/groups/group/remove/", personas.remove_group, name="group-remove"),
    path("<slug:sitecode>/events/", event_list.list_events, name="events"),
    path("<slug:sitecode>/events/rows/", event_list.list_new_events, name="events-rows"),
    path("<slug:sitecode>/events/export/", events_export.export_events, name="events-export"),
    path("<slug:sitecode>/delivery/", delivery.show_delivery, name="delivery"),
    path("<slug:sitecode>/delivery/failed/", failures.list_failed, name="events-failed"),
    path("<slug:sitecode>/delivery/failed/export/", events_export.export_failed, name="events-failed-export"),
    path("<slug:sitecode>/delivery/failed/retry/", failures.retry, name="events-again"),
    path("<slug:sitecode>/delivery/reconciliation/", reconciliation.show_reconciliation, name="reconciliation"),
    path("<slug:sitecode>/events/<int:number>/", event_list.show_event, name="event"),
    path("<slug:sitecode>/events/<int:number>/body/", event_list.download_body, name="event-body"),
    path("<slug:sitecode>/settings/", settings.show_settings, name="settings"),
    path("<slug:sitecode>/settings/save/", settings.save_settings, name="settings-save"),
    path("<slug:sitecode>/settings/keys/", keys.list_keys, name="settings-keys"),
    path("<slug:sitecode>/settings/sources/", sources.list_sources, name="settings-sources"),
    path("<slug:sitecode>/settings/sources/<int:source_id>/", sources.show_source, name="settings-source"),
    path("<slug:sitecode>/settings/sources/change/", sources.change_sources, name="settings-sources-change"),
    path("<slug:sitecode>/settings/sources/export/", settings_export.export_sources, name="settings-sources-export"),
    path("<slug:sitecode>/settings/rules/", rules.list_rules, name="settings-rules"),
    path("<slug:sitecode>/settings/rules/change/", rules.change_rules, name="settings-rules-change"),
    path("<slug:sitecode>/settings/rules/new/", rules.edit_rule, name="settings-rule-new"),
    path("<slug:sitecode>/settings/rules/<int:rule_id>/", rules.edit_rule, name="settings-rule"),
    path("<slug:sitecode>/settings/custom-data/", custom_data.list_custom_data, name="settings-custom-data"),
    path("<slug:sitecode>/settings/custom-data/new/", custom_data.edit_custom_data, name="settings-custom-data-new"),
    path(
        "<slug:sitecode>/settings/custom-data/<int:custom_data_id>/",
        custom_data.edit_custom_data,
        name="settings-custom-data-edit",
    ),
    path(
        "<slug:sitecode>/settings/custom-data/<int:custom_data_id>/remove/",
        custom_data.remove_custom_data,
        name="settings-custom-data-remove",
    ),
    path("<slug:sitecode>/settings/flags/", flags.list_flags, name="settings-flags"),
    path("<slug:sitecode>/settings/flags/import/", flags.import_flags, name="settings-flags-import"),
    path("<slug:sitecode>/settings/flags/change/", flags.change_flags, name="settings-flags-change"),
    path("<slug:sitecode>/settings/flags/environments/", flags.change_environments, name="settings-environments"),
    path("<slug:sitecode>/settings/flags/<int:flag_id>/", flags.show_flag, name="settings-flag"),
    path("<slug:sitecode>/settings/remote-data/", own_keys.list_own_keys, name="settings-remote-data"),
    path("<slug:sitecode>/settings/remote-data/remove/", own_keys.remove_own_key, name="settings-remote-data-remove"),
    path("<slug:sitecode>/settings/alerts/", alerts.list_alerts, name="settings-alerts"),
    path("<slug:sitecode>/settings/alerts/change/", alerts.change_alerts, name="settings-alerts-change"),
    path("<slug:sitecode>/settings/alerts/new/", alerts.edit_alert, name="settings-alert-new"),
    path("<slug:sitecode>/settings/alerts/<int:alert_id>/", alerts.edit_alert, name="settings-alert"),
    path("<slug:sitecode>/alerts/<int:alert_id>/quiet/", alerts.quiet_alert, name="alert-quiet"),
    path("<slug:sitecode>/settings/credentials/", credentials.list_credentials, name="settings-credentials"),
    path(
        "<slug:sitecode>/settings/credentials/change/",
        credentials.change_credentials,
        name="settings-credentials-change",
    ),
    path("<slug:sitecode>/settings/tokens/", tokens.list_tokens, name="settings-tokens"),
    path("<slug:sitecode>/settings/tokens/change/", tokens.change_tokens, name="settings-tokens-change"),
    path("<slug:sitecode>/settings/members/", members.list_members, name="settings-members"),
    path("<slug:sitecode>/settings/members/change/", members.change_members, name="settings-members-change"),
    path("<slug:sitecode>/settings/changes/", audit_log.list_audit_entries, name="settings-changes"),
    path(
        "<slug:sitecode>/settings/changes/export/", settings_export.export_audit_entries, name="settings-changes-export"
    ),
    path("<slug:sitecode>/tester/", tester.test_event, name="tester"),
    path("<slug:sitecode>/guide/", guide.list_guide_pages, name="guide"),
    path("<slug:sitecode>/guide/first-event/<int:source_id>/", guide.show_first_event, name="guide-first-event"),
    path("<slug:sitecode>/guide/custom-data/", guide.show_custom_data, name="guide-custom"),
    path("<slug:sitecode>/guide/<slug:way>/key/", guide.make_key, name="guide-key"),
    path("<slug:sitecode>/guide/<slug:way>/", guide.show_guide_page, name="guide-way"),
]


def go_home(request: HttpRequest) -> HttpResponseBase:
    """Lead from `/admin/` to the home of the site last looked at, or to the form of a new site if there is none.

    Who is not signed in comes back here after signing in: a member may make no site.
    """
    if not request.user.is_authenticated:
        return redirect_to_login(request.get_full_path(), "/admin/login/")
    site = current_site(request)
    if site is not None:
        return redirect("pages:home", site.sitecode)
    if request.user.is_superuser:
        return redirect("site-new")
    return show(request, "pages/no_site.html", title="No site")


@csrf_exempt  # so that a program that posts here gets the API's 404
def welcome(request: HttpRequest) -> HttpResponseBase:
    """Lead a browser from `/` to the pages for people. Raises Http404 for programs, which get the API's error body."""
    if request.method not in {"GET", "HEAD"} or "text/html" not in request.headers.get("Accept", ""):
        raise Http404
    response = redirect("/admin/")
    patch_vary_headers(response, ["Accept"])
    return response
