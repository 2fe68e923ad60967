"""Trouble of one site, which must not delay the others."""

from collections.abc import Iterator
from contextlib import contextmanager

import structlog
from django.db import OperationalError

from api.http.database import is_lock_timeout

log = structlog.get_logger(__name__)


@contextmanager
def trouble_of(subject: int | str) -> Iterator[None]:
    """Log an exception for this site and go on with the others."""
    try:
        yield
    except OperationalError as error:
        if not is_lock_timeout(error):
            log.exception("site.failed", site=subject, sqlstate=getattr(error.__cause__, "sqlstate", None))
        else:  # no defect; `manage.py doctor` names the session
            log.warning("site.held", site=subject, lock=getattr(error, "lock", ""))
    except Exception:
        log.exception("site.failed", site=subject)
