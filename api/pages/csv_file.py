"""CSV files that people download: made page by page while they are sent, with the memory of one page."""

import csv
from collections.abc import Iterable, Iterator, Sequence

from django.http import StreamingHttpResponse

from api.pages.csv_cells import BYTE_ORDER_MARK, Cell, Line


def send_csv(name: str, heads: Sequence[str], pages: Iterable[Iterable[Sequence[Cell]]]) -> StreamingHttpResponse:
    """Answer a file with these heads and the rows of all pages.

    Each page is read by its own statements. A cursor would keep a transaction open for as long as a client reads.
    """
    response = StreamingHttpResponse(_write(heads, pages), content_type="text/csv; charset=utf-8")
    response["Content-Disposition"] = f'attachment; filename="{name}.csv"'
    return response


def _write(heads: Sequence[str], pages: Iterable[Iterable[Sequence[Cell]]]) -> Iterator[str]:
    writer = csv.writer(Line())
    yield BYTE_ORDER_MARK + str(writer.writerow(heads))
    for page in pages:
        yield "".join(str(writer.writerow(cells)) for cells in page)
