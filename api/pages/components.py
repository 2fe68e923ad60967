"""The page of all components together, by which people who change the style see what changes."""

from typing import Final

from django.http import HttpRequest, HttpResponseBase

from api.pages.access import current_site, show
from api.pages.charts import Chart, Series

LONG: Final = "A goal with a very long name that fills more than one line of a list " * 4


def show_components(request: HttpRequest) -> HttpResponseBase:
    current_site(request)  # the frame has its menu
    chart = Chart(
        ["Mon", "Tue", "Wed", "Thu"],
        [Series("Received", [4, 9, 6, 7]), Series("Failed", [0, 1, 0, 2], "bad")],
        type="line",
    )
    return show(request, "pages/components.html", title="Components", chart=chart, long=LONG)
