"""Revenue, value and currency as senders write them: pure parsing, no floats in the result."""

import re
from decimal import ROUND_HALF_EVEN, Decimal
from math import isfinite
from typing import Final

PLAIN_NUMBER: Final = re.compile(r"[+-]?[0-9]{1,14}(\.[0-9]{1,40})?\Z")
SCALE: Final = Decimal("0.000001")
LIMIT: Final = Decimal(10) ** 14

# ISO 4217, active codes, with XXX ("no currency").
CURRENCIES: Final = frozenset(
    """
    AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BHD BIF BMD BND BOB BOV BRL BSD BTN BWP BYN BZD CAD CDF CHE
    CHF CHW CLF CLP CNY COP COU CRC CUP CVE CZK DJF DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GNF
    GTQ GYD HKD HNL HTG HUF IDR ILS INR IQD IRR ISK JMD JOD JPY KES KGS KHR KMF KPW KRW KWD KYD KZT LAK LBP LKR
    LRD LSL LYD MAD MDL MGA MKD MMK MNT MOP MRU MUR MVR MWK MXN MXV MYR MZN NAD NGN NIO NOK NPR NZD OMR PAB PEN
    PGK PHP PKR PLN PYG QAR RON RSD RUB RWF SAR SBD SCR SDG SEK SGD SHP SLE SOS SRD SSP STN SVC SYP SZL THB TJS
    TMT TND TOP TRY TTD TWD TZS UAH UGX USD USN UYI UYU UYW UZS VED VES VND VUV WST XAF XAG XAU XBA XBB XBC XBD
    XCD XCG XDR XOF XPD XPF XPT XSU XTS XUA XXX YER ZAR ZMW ZWG""".split()  # noqa: SIM905 - 180 quotes would hide the codes
)
NO_CURRENCY: Final = "XXX"


class NotMoneyError(ValueError):
    """The value is not a plain decimal number that fits 14 digits before the point."""


def parse_amount(given: object) -> Decimal | None:
    """Return a decimal with six places from a JSON number or a plain decimal string; None for an absent value.

    A currency sign, a comma, an exponent in a string or more than 14 digits before the point raise NotMoneyError
    (promise I-21). Places beyond the sixth are rounded half to even: a float has no exact ones.
    """
    if given is None or given == "":
        return None
    if isinstance(given, bool) or not isinstance(given, int | float | str):
        raise NotMoneyError
    if isinstance(given, str):
        text = given.strip()
        if not PLAIN_NUMBER.match(text):
            raise NotMoneyError
        amount = Decimal(text)
    elif isinstance(given, int) or isfinite(given):
        amount = Decimal(repr(given))
    else:
        raise NotMoneyError
    if abs(amount) >= LIMIT:
        raise NotMoneyError
    rounded = amount.quantize(SCALE, rounding=ROUND_HALF_EVEN)
    if abs(rounded) >= LIMIT:
        raise NotMoneyError
    return rounded


def parse_currency(given: object, *, default: str) -> tuple[str, bool]:
    """Return an ISO 4217 code in capitals, and True. For an unknown currency return XXX and False."""
    if given is None or given == "":
        return default, True
    code = given.strip().upper() if isinstance(given, str) else ""
    return (code, True) if code in CURRENCIES else (NO_CURRENCY, False)
