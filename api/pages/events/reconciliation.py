"""What came in is what it became: the account of every source, without a rest."""

from typing import Final

from django.http import HttpRequest, HttpResponseBase
from django.utils import timezone

from api.events.effects import Effect
from api.events.reasons import sentence_of
from api.insight.reconciliation import MOST, SourceAccount, days_of, reconcile
from api.models import Message, Site
from api.pages.access import show, site_page
from api.pages.events.event_list import read_number
from names import sort_key

OUTCOMES: Final = {
    "converted": Effect.CONVERTED.label,
    "profile": "Changed profiles or links only",
    "ignored": Effect.NONE.label,
    **{status.value: str(status.label) for status in Message.Status if status != Message.Status.DONE},
}


@site_page()
def show_reconciliation(request: HttpRequest, site: Site) -> HttpResponseBase:
    """Of all sources or one, over a range that holds nothing pruned (promise K-89)."""
    ranges = days_of(site)
    asked = read_number(request.GET.get("days"))
    days = asked if asked in ranges else ranges[0]
    sources = list(site.sources.order_by(sort_key("name"), "pk"))
    found = reconcile(site, [source.pk for source in sources], days=days, now=timezone.now())
    wanted = read_number(request.GET.get("source"))
    chosen = next((each for each in found.accounts if each.source_id and each.source_id == wanted), None)
    account = chosen or found.total
    names = {source.pk: source.name for source in sources}
    return show(
        request,
        "pages/delivery/reconciliation.html",
        title="Reconciliation",
        days=days,
        ranges=ranges,
        sources=sources,
        chosen=chosen,
        found=found,
        account=account,
        lines=lines_of(site, account),
        rows=[
            (names.get(each.source_id or 0, "Deleted sources"), each, [each.of(outcome) for outcome in OUTCOMES])
            for each in found.accounts
        ],
        outcomes=OUTCOMES.values(),
        most=MOST,
    )


def lines_of(site: Site, account: SourceAccount) -> list[tuple[str, str, str, int]]:
    """(outcome, reason, its sentence, how many): what the received events are, in the order of outcomes."""
    order = list(OUTCOMES)
    lines = sorted(account.lines.items(), key=lambda line: (order.index(line[0][0]), -line[1], line[0][1]))
    return [
        ("Duplicates", "", "Kept and counted once.", account.at_the_door.duplicates),
        *((OUTCOMES[outcome], reason, sentence_of(reason, site), count) for (outcome, reason), count in lines),
    ]
