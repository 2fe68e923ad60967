"""Loads a site's settings and rules into immutable values for the digest."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from api import models
from api.digest import hooks
from api.digest.derivation import SourceConfig, StoredMessage
from api.models import Site
from api.rules.rule import EventRule
from goals import quota
from goals.recording import Policy


@dataclass(frozen=True, slots=True)
class SiteConfig:
    """Configuration of a site, as a batch needs it."""

    site_id: int
    by_source: Mapping[int | None, SourceConfig]  # by source; None for messages without a source
    policy: Policy
    has_several_sources: bool  # two sources may send the same events
    company_is_group: bool = False  # of a person without a group call

    def for_message(self, message: StoredMessage) -> SourceConfig:
        """Return the configuration of a message's source."""
        return self.by_source.get(message.source_id) or self.by_source[None]


def load_site_config(site: Site) -> SiteConfig:
    """Load a site's rules and policy. Two queries, none if sources and rules were fetched with the site."""
    own = SourceConfig(
        default_currency=site.default_currency,
        user_id_is_visitor_code=site.user_id_is_visitor_code,
        audience_events_make_goals=site.audience_events_make_goals,
        names_pages_by_title=site.names_pages_by_title,
        entered_event_names=frozenset(site.entered_event_names),
        exited_event_names=frozenset(site.exited_event_names),
        link_event_names=frozenset(site.link_event_names),
        trait_event_names=frozenset(site.trait_event_names),
        exposure_event_names=frozenset(site.exposure_event_names),
        transform=hooks.transform,
    )
    rules = [rule for rule in site.rules.all() if rule.is_enabled]
    sources = list(site.sources.all())
    return SiteConfig(
        site.pk,
        {
            None: replace(own, rules=rules_of_source(rules, None)),
            **{
                source.pk: replace(own, takes_track=source.takes_track, rules=rules_of_source(rules, source.pk))
                for source in sources
            },
        },
        Policy(
            template=site.goal_name_template,
            tag=site.auto_tag,
            windows=quota.build_windows(per_10_seconds=site.goals_per_10_seconds, per_hour=site.goals_per_hour),
            max_waiting_names=site.max_waiting_names,
        ),
        has_several_sources=len(sources) > 1,
        company_is_group=site.company_is_group,
    )


def rules_of_source(rules: Iterable[models.Rule], source_id: int | None) -> tuple[EventRule, ...]:
    """Return the rules of a site that concern the events of a source, in their order."""
    return tuple(rule_of(rule) for rule in rules if rule.source_id in {None, source_id})


def rule_of(row: models.Rule) -> EventRule:
    """Return a rule as a value for the pure code."""
    return EventRule(
        action=row.action,
        argument=row.argument,
        event_type=row.event_type,
        name_test=row.name_test,
        name_value=row.name_value,
        path=row.path,
        path_test=row.path_test,
        path_value=row.path_value,
        group_traits=tuple(row.group_traits.items()),
        id=row.pk or 0,
    )
