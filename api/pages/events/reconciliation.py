"""Reconciliation: received events of every source against their outcomes."""

from django.http import HttpRequest, HttpResponseBase
from django.utils import timezone

from api.events.reasons import sentence_of
from api.insight.delivery import OUTCOME_LABELS
from api.insight.reconciliation import MOST_MESSAGES, SourceAccount, days_of, reconcile
from api.models import Site
from api.pages.access import show, site_page
from api.pages.query_form import read_id
from names import sort_key


@site_page()
def show_reconciliation(request: HttpRequest, site: Site) -> HttpResponseBase:
    """Show the account of all sources or one, over a period without pruned events (promise K-89)."""
    ranges = days_of(site)
    days = read_id(request.GET.get("days"))
    days = days if days in ranges else ranges[0]
    sources = list(site.sources.order_by(sort_key("name"), "pk"))
    result = reconcile(site, [source.pk for source in sources], days=days, now=timezone.now())
    source_id = read_id(request.GET.get("source"))
    chosen = next((row for row in result.accounts if row.source_id and row.source_id == source_id), None)
    account = chosen or result.total
    names = {source.pk: source.name for source in sources}
    return show(
        request,
        "pages/delivery/reconciliation.html",
        title="Reconciliation",
        tab="reconciliation",
        days=days,
        ranges=ranges,
        sources=sources,
        chosen=chosen,
        result=result,
        account=account,
        lines=make_lines(site, account),
        rows=[
            (
                names.get(row.source_id or 0, "Deleted sources"),
                row,
                [(label, row.of(outcome)) for outcome, label in OUTCOME_LABELS.items()],
            )
            for row in result.accounts
        ],
        outcomes=OUTCOME_LABELS.values(),
        most=MOST_MESSAGES,
    )


def make_lines(site: Site, account: SourceAccount) -> list[tuple[str, str, str, int]]:
    """Return (outcome, reason, its sentence, count) of the received events, in the order of outcomes."""
    order = list(OUTCOME_LABELS)
    lines = sorted(account.lines.items(), key=lambda line: (order.index(line[0][0]), -line[1], line[0][1]))
    return [
        ("Duplicates", "", "Already received; counted once.", account.at_ingest.duplicates),
        *((OUTCOME_LABELS[outcome], reason, sentence_of(reason, site), count) for (outcome, reason), count in lines),
    ]
