"""Numbers of experiments and variations in exposures: those of SDKs, or derived from a text. Pure."""

import hashlib
from typing import Final

MOST_DIGITS: Final = 15  # of a number that JavaScript and a bigint hold exactly
BITS: Final = 52


def number_of(key: str) -> int:
    """Return the number of an experiment or variation that an event names by a text.

    A plain whole number stays what it is, so that events and SDKs mean one experiment. Another text gives a negative
    number by a hash: exposures need no look-up, and have the same number in any order of events. Two of 10,000 keys of
    a site collide with a probability of 1 in 90 million.
    """
    if key.isascii() and key.isdigit() and len(key) <= MOST_DIGITS and (key == "0" or key[0] != "0"):
        return int(key)
    digest = hashlib.sha256(key.encode(errors="replace")).digest()
    return -1 - (int.from_bytes(digest[:8]) >> (64 - BITS))
