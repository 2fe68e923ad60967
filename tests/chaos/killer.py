"""Imported by a worker beside the product (`celery worker -I`): digesting a certain message ends its process."""

import os
from typing import Final

from api.digest import digest
from api.digest.mapping import Effects, Rules, Stored, derive

KILLER: Final = "killer"  # how the messageId of such a message begins


def derive_or_die(message: Stored, rules: Rules) -> Effects:
    if (message.message_id or "").startswith(KILLER):
        os._exit(9)  # as the kernel ends it that lacks memory: nothing is cleaned up
    return derive(message, rules)


digest.derive = derive_or_die  # type: ignore[attr-defined]  # the name that `judge` calls
