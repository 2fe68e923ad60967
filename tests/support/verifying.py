"""Helpers of tests that run the checks of `manage.py verify`."""

from django.db import connection

from api.checks.run import CheckReport, verify


def report_on(check: str) -> CheckReport:
    return next(report for report in verify() if report.check == check)


def rows(report: CheckReport) -> list[str]:
    """Return the rows that a report names."""
    return [row for found in report.found.values() for row in found.examples]


def execute(sql: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(sql)
        assert cursor.rowcount > 0, "nothing was tampered with"


def found_by_verify() -> list[str]:
    """Return the rows that all checks name."""
    return [row for report in verify() for row in rows(report)]
