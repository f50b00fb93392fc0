"""What a user prefers: fields by the contract's names, set singly, checked against each other.

Shapes (ranges, patterns, lengths) are the contract's and are checked before a request arrives here; what is left are
the rules that need knowledge: venues that do not contradict each other, a zone that exists, a currency that is known.
"""

from __future__ import annotations

import zoneinfo
from collections.abc import Collection, Mapping, Sequence

from services.domain.errors import field_invalid

_FIAT = "USD EUR GBP JPY CHF CNY KRW INR BRL CAD AUD NZD SGD HKD TWD TRY MXN ZAR SEK NOK DKK PLN CZK HUF THB IDR"
_ASSETS = "BTC ETH SOL USDC USDT"
CURRENCIES = frozenset(f"{_FIAT} {_ASSETS}".split())
"""What money can be shown in."""


def merge(
    current: Mapping[str, object], given: Mapping[str, object], update_fields: Sequence[str], known: Collection[str]
) -> dict[str, object]:
    """Return the preferences after setting the named fields, or those given where none is named.

    A named field that is not given goes back to its default. Raises FIELD_INVALID.
    """
    for index, name in enumerate(update_fields):
        if name not in known:
            raise field_invalid(f"update_fields[{index}]", f"must be a field of Preferences, such as {min(known)}")
    merged = dict(current)
    for name in update_fields or given:
        if name in given:
            merged[name] = given[name]
        else:
            merged.pop(name, None)
    _check(merged)
    return merged


def _check(preferences: Mapping[str, object]) -> None:
    venues, excluded = _texts(preferences.get("venues")), _texts(preferences.get("excluded_venues"))
    both = [venue for venue in excluded if venue in venues]
    if both:
        raise field_invalid("preferences.excluded_venues", f"must not hold {both[0]}, which venues holds")
    currency = preferences.get("display_currency")
    if currency and currency not in CURRENCIES:
        raise field_invalid("preferences.display_currency", f"must be one of {', '.join(sorted(CURRENCIES))}")
    zone = preferences.get("time_zone")
    if isinstance(zone, str) and zone and zone not in zoneinfo.available_timezones():
        raise field_invalid("preferences.time_zone", "must be a zone of the IANA database, such as Europe/Berlin")


def _texts(value: object) -> list[str]:
    return [str(item) for item in value] if isinstance(value, list) else []
