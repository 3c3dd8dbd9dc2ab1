"""How results read in print: decimals, minus signs, units, intervals, and what is no number at all."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace

from clip_invariance.results import MAX_DIGITS, Results, Value
from clip_invariance.rules.claims import Condition

NARROW_SPACE = "\u202f"
NO_BREAK_SPACE = "\u00a0"
MINUS = "\u2212"
SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")

#: A part of a whole that can be anything between these, in %, is not determined: the whole is about as small as its error.
NONSENSE = (-100.0, 200.0)
NOT_DETERMINED = "not determined"


def number(x: float, digits: int) -> str:
    """Print with a fixed number of decimals and a real minus sign.

    >>> number(-1.26, 1), number(-0.04, 1)
    ('−1.3', '0.0')
    """
    printed = f"{x:.{digits}f}"
    return printed.lstrip("-") if float(printed) == 0 else printed.replace("-", MINUS)


def shortest(x: float, digits: int) -> str:
    """The same without zeros at the end: at most so many decimals.

    >>> shortest(51.2, 3), shortest(100.0, 2), shortest(-0.0625, 3)
    ('51.2', '100', '−0.062')
    """
    printed = number(x, digits)
    return printed.rstrip("0").rstrip(".") if "." in printed else printed


def in_one_style(text: str) -> str:
    """Numbers inside a text that others wrote, in our style: a minus sign is no hyphen, and zeros are written out.

    >>> in_one_style("from -.33 to .93, zero-shot -0 at 1-2")
    'from −0.33 to 0.93, zero-shot 0 at 1-2'
    """
    text = re.sub(r"(?<![\w.])\.(?=\d)", "0.", text)
    text = re.sub(r"(?<![\w/.)-])-(?=\d)", MINUS, text)
    return re.sub(rf"{MINUS}(?=0(?:\.0+)?(?![.\d]))", "", text)


def power_of_ten(x: float) -> str:
    """Print with one decimal and a power of ten.

    >>> power_of_ten(0.00000021)
    '2.1 × 10⁻⁷'
    """
    mantissa, exponent = f"{x:.1e}".split("e")
    return f"{mantissa} × 10{str(int(exponent)).translate(SUPERSCRIPT)}".replace("-", MINUS)


def prints(value: Value) -> tuple[str, str, str]:
    """Value, low and high as printed: decimals, unless all three would read as zero without being it.

    Where all three read the same, zeros after the decimal point say nothing and are left out.
    """
    numbers = (value.value, value.low, value.high)
    largest = max(abs(x) for x in numbers)
    if 0 < largest < 0.5 * 10.0**-value.digits:
        first, low, high = (power_of_ten(x) for x in numbers)
    else:
        first, low, high = (number(x, value.digits) for x in numbers)
        if first == low == high:
            first = low = high = shortest(value.value, value.digits)
    return first, low, high


def with_unit(printed: str, unit: str) -> str:
    space = NARROW_SPACE if unit == "%" else NO_BREAK_SPACE
    if unit == "points" and printed.lstrip(MINUS) == "1":
        unit = "point"
    return f"{printed}{space}{unit}" if unit else printed


def is_undetermined(value: Value) -> bool:
    """Whether a part of a whole, in %, may be anything: its interval reaches beyond both ends of ``NONSENSE``."""
    return value.unit == "%" and value.low < NONSENSE[0] and value.high > NONSENSE[1]


def point(value: Value) -> str:
    """The number and its unit: "1.2 points"."""
    return NOT_DETERMINED if is_undetermined(value) else with_unit(prints(value)[0], value.unit)


def ends(value: Value) -> str:
    """The interval in brackets: "[0.8, 1.6]"."""
    _, low, high = prints(value)
    return f"[{low}, {high}]"


def interval(value: Value) -> str:
    """The interval in brackets; "" where it says nothing: the same number three times, or no number at all."""
    return "" if is_undetermined(value) or len(set(prints(value))) == 1 else ends(value)


def in_full(value: Value) -> str:
    """Number, unit and interval: "1.2 points [0.8, 1.6]"."""
    return f"{point(value)} {interval(value)}".strip()


def by_sign(value: Value, positive: str, negative: str) -> str:
    """In words that agree with the sign: "13 points [7, 18] behind" for −13 with the words "ahead" and "behind"."""
    if value.value >= 0:
        return f"{in_full(value)} {positive}"
    turned = {"value": -value.value, "low": -value.high, "high": -value.low}
    return f"{in_full(value.model_copy(update=turned))} {negative}"


def within_bounds(results: Results) -> Results:
    """The results as shown: an interval of a share ends where shares do, at 0 and 100 %.

    The interval is a mean and a multiple of its error, and knows nothing of these ends. Verdicts are judged before.
    """
    shown = {name: bounded(value) for name, value in results.values.values.items()}
    return replace(results, values=results.values.model_copy(update={"values": shown}))


def sharpened(results: Results, conditions: Iterable[Condition]) -> Results:
    """The results with as many decimals as their rules need: no end of an interval is rounded onto, or across, a threshold.

    An interval of [4.93, 6.97] that printed [5, 7] would seem to lie above 5.
    """
    shown = dict(results.values.values)
    for condition in conditions:
        chapter, _, name = condition.value.partition(".")
        if chapter == results.run.chapter and name in shown:
            shown[name] = _sharp(shown[name], condition.threshold)
    return replace(results, values=results.values.model_copy(update={"values": shown}))


def _sharp(value: Value, threshold: float, most: int = 2) -> Value:
    """One value with up to ``most`` decimals more, so that the printed ends lie on the side of the threshold they lie on."""

    def side(x: float) -> int:
        return (x > threshold) - (x < threshold)

    for digits in range(value.digits, min(value.digits + most, MAX_DIGITS) + 1):
        if all(side(round(x, digits)) == side(x) for x in (value.low, value.high)):
            return value.model_copy(update={"digits": digits})
    return value


def bounded(value: Value) -> Value:
    """One value as :func:`within_bounds` shows it."""
    if value.kind != "share":
        return value
    return value.model_copy(update={"low": max(value.low, 0.0), "high": min(value.high, 100.0)})
