"""Numbers as people write them: with a currency, thousands, a fraction, a power of ten, and a unit behind."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction

from hogwild.prompting.latex import plain_spaces, plain_words, unwrap

_LONGEST = 400  # characters; a longer text is no number that somebody writes down

_CURRENCY = r"(?:(?:US|CA|AU)?\\?\$|\\(?:pounds|euro|textdollar)(?![a-zA-Z])|[€£¥₹])"
_INTEGER = r"(?:\d{1,3}(?:,\d{3})+|\d{1,3}(?:[ ]\d{3})+|\d+)(?!\d|,\d)"
_FRAC = r"\\[dtc]?frac\s*(?:\{\s*(?P<TOP>\d+)\s*\}|(?P<TOP1>\d))\s*(?:\{\s*(?P<LOW>\d+)\s*\}|(?P<LOW1>\d))"
_NUMBER = re.compile(
    rf"""(?P<sign>[-+])?\s*(?:{_CURRENCY}\s*)?(?P<sign2>-)?
    (?:
        (?P<whole>\d+)(?:\s+(?P<top>\d+)\s*/\s*(?P<low>\d+)|\s*{_FRAC.replace("TOP", "mt").replace("LOW", "ml")})
      | (?P<top2>\d+)\s*/\s*(?P<low2>\d+)
      | {_FRAC.replace("TOP", "ft").replace("LOW", "fl")}
      | (?P<start>\d*\.\d*)\s*\\(?:overline|bar)\s*\{{\s*(?P<repeated>\d{{1,99}})\s*\}}
      | (?P<decimal>{_INTEGER}(?:\.\d*)?|\.\d+)
        (?:[eE](?P<e>[-+]?\d{{1,3}})(?!\d)
          |\s*(?:\\times|\\cdot|[×·⋅*])\s*10\s*\^\s*(?:(?P<p>-?\d{{1,3}})(?!\d)|\{{\s*(?P<q>-?\d{{1,3}})\s*\}}))?
    )(?!\d|[.,]\d)(?:\s*{_CURRENCY})?""",
    re.VERBOSE,
)
_MINUS = re.compile("[−–]")

# A unit: "cm", "m/s^2", "km per hour", "apples", "(dollars)". A single letter that is none of these is a variable, and
# letters right behind a number are a product.
_ATTACHED = (
    r"(?:[mghls]|[kcmdn]?m|[km]?g|m?[lL]|ml|hrs?|min|sec|ms|mph|km/h|ft|in|yd|mi|lbs?|oz|k[WN]|[kM]?Hz)"
)
_SYMBOL = (
    rf"(?:{_ATTACHED}|[NJWVKCFAT]|kJ|eV|Pa|[kM]Pa|mol|rad|deg|sq|cu|pm|am|μm|µm|nm|Ω|°\s*[CFK]?|¢"
    r"|\\(?:circ|degree|Omega|mu)(?![a-zA-Z]))"
)
_POWER = r"(?:\s*\^\s*(?:-?\d(?!\d)|\{\s*-?\d\s*\})|[²³])?"
# what changes a number, or joins it to another: "18 or more", "18 squared", "18 thousand", "one and a half"
_CHANGES = (
    "and or not but plus minus over squared cubed factorial modulo mod sin cos tan log exp sqrt root "
    "hundreds? thousands? millions? billions? trillions? dozens? percent(?:age)? pct halves half thirds? quarters? "
    "fourths? fifths? sixths? sevenths? eighths? ninths? tenths? hundredths? thousandths? one two three four five "
    "six seven eight nine ten eleven twelve twenty thirty forty fifty point remainder infinity"
)
_WORD = rf"(?!(?:{_CHANGES.replace(' ', '|')})(?![^\W\d_]))[^\W\d_](?:[^\W\d_]|['’-](?=[^\W\d_]))"
_LINK = r"(?:a|an|of|in|on|at|to|by|per)(?![^\W\d_])"
_FACTOR = rf"(?:{_SYMBOL}(?![^\W\d_]){_POWER}|{_WORD}{{2,}}{_POWER})"
_JOINT = rf"(?:\s*[/·⋅*]\s*|\s*\\cdot\s*|\s+(?:{_LINK}\s+)*)"
_NOTE = rf"(?:\s*\(\s*{_FACTOR}(?:{_JOINT}{_FACTOR})*\s*\))?"
_DEGREE = r"\s*(?:\^\s*(?:\{\s*\\circ\s*\}|\\circ(?![a-zA-Z]))|°|\\degree(?![a-zA-Z]))\s*[CFK]?"
_DEGREES = re.compile(r"\^?\{?\\circ\}?|\\degree|degrees?")
_UNIT = re.compile(
    rf"(?:{_DEGREE}|(?:\s*{_ATTACHED}(?![^\W\d_]){_POWER}|\s+{_FACTOR})(?:{_JOINT}{_FACTOR})*)?{_NOTE}[\s.,]*"
)

EQUALS = re.compile(r"(?<![<>!:\\])=|≈|\\approx(?![a-zA-Z])|\\simeq(?![a-zA-Z])")
# a name or a calculation stands before an equals sign; a relation, or several values, is something else
_NO_RESULT = re.compile(
    r"[,;\n<>≤≥≠]|\\(?:leq?|geq?|lt|gt|neq?)(?![a-zA-Z])|(?<![a-zA-Z])(?:and|or|not)(?![a-zA-Z])"
)
_LEAD = re.compile(
    r"\s*(?:(?:the\s+)?(?:final\s+)?(?:answer|result|total)\s*(?:is\b|:)\s*:?)?"
    r"\s*(?:≈|~|\\approx(?![a-zA-Z])|\\sim(?![a-zA-Z])|(?:about|approximately|approx\.|roughly|exactly)\s)?\s*",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Quantity:
    """A number and what stands behind it.

    Attributes:
        value: the number.
        number: it as text: digits, a sign, a point, or a fraction "7/2".
        unit: the unit without blanks, or "".
    """

    value: Fraction
    number: str
    unit: str = ""


def find_quantity(text: str) -> Quantity | None:
    r"""The quantity that all of `text` is, such as 18, `\$1{,}000`, 3 1/2, `6\times 10^5`, 30° or "18 eggs".

    None for anything else, as 18x, "18 or 20", 18 + 2, and for percentages and words such as "thousand", which
    change the value.
    """
    if len(text) > _LONGEST:
        return None
    text = plain_words(unwrap(plain_spaces(text))).replace("{,}", ",").replace("\\ ", " ")
    text = _MINUS.sub("-", unwrap(text))
    match = _NUMBER.match(text)
    if match is None:
        return None
    unit = _UNIT.fullmatch(text, match.end())
    if unit is None:
        return None
    name = re.sub(r"[\s.,()]+", "", unit[0])
    return _quantity(match, _DEGREES.sub("°", name))


def stated_quantity(text: str) -> Quantity | None:
    """The quantity that an answer comes to, such as 18 in "x = 18 dollars"; None if there is none, or more."""
    *before, last = EQUALS.split(unwrap(text))
    if any(_NO_RESULT.search(part) for part in before):
        return None
    return find_quantity(_LEAD.sub("", last, count=1))


def _quantity(match: re.Match[str], unit: str) -> Quantity | None:
    parts = {name: text for name, text in match.groupdict().items() if text is not None}
    sign = -1 if (parts.get("sign") == "-") != ("sign2" in parts) else 1
    if "decimal" in parts:
        digits = re.sub(r"[, ]", "", parts["decimal"]).rstrip(".")
        power = int(parts.get("e") or parts.get("p") or parts.get("q") or 0)
        value = sign * Fraction(digits) * Fraction(10) ** power
        number = digits if power == 0 else _decimal(Fraction(digits), power)
        return Quantity(value, number if sign > 0 else f"-{number}", unit)
    if "repeated" in parts:  # 0.1\overline{6} is 0.1 and 6/90
        places = len(parts["start"].partition(".")[2])
        period = Fraction(int(parts["repeated"]), 10 ** len(parts["repeated"]) - 1)
        value = sign * (Fraction(f"0{parts['start']}0") + period / 10**places)
        return Quantity(value, str(value), unit)
    top, low = (
        int(next(parts[name] for name in names if name in parts))
        for names in (("top", "mt", "mt1", "top2", "ft", "ft1"), ("low", "ml", "ml1", "low2", "fl", "fl1"))
    )
    if low == 0:
        return None
    value = sign * (int(parts.get("whole", 0)) + Fraction(top, low))
    return Quantity(value, str(value), unit)


def _decimal(digits: Fraction, power: int) -> str:
    """Digits times a power of ten, without the power."""
    value = digits * Fraction(10) ** power
    if value.denominator == 1:
        return str(value.numerator)
    places = 0
    while value.denominator != 1:  # of a denominator of twos and fives only
        value, places = value * 10, places + 1
    text = str(value.numerator).rjust(places + 1, "0")
    return f"{text[:-places]}.{text[-places:]}"
