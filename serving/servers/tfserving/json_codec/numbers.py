"""Reads and prints numbers as RapidJSON 1.1 does: what is an integer, which double, which digits, what is an error.

Sources: rapidjson/reader.h, v1.1.0, `ParseNumber` with kParseNanAndInf and without full precision; for the digits of a
double Grisu2, in F. Loitsch, "Printing floating-point numbers quickly and accurately with integers" (PLDI 2010).
"""

from __future__ import annotations

import math
import re

UNDERFLOW = 2.2250738585072014e-308
"""The smallest normal double: the genuine server's REST threads flush what is below to zero."""
INVALID = "Invalid value."
_NUMBER = re.compile(rb"-?(?:0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?")


class ParseError(Exception):
    """RapidJSON's text and the offset that it reports."""

    def __init__(self, text: str, offset: int) -> None:
        super().__init__(text)
        self.text = text
        self.offset = offset


def read_number(text: bytes, at: int) -> tuple[int | float, int]:
    """The number at `at` and the offset behind it; `text` ends in a NUL."""
    match = _NUMBER.match(text, at)
    if match is None:
        return _read_nan_or_infinity(text, at)
    end = match.end()
    fraction, exponent = match.groups()
    if not exponent and text[end] in b"eE":
        raise ParseError("Miss exponent in number.", end + 1 + (text[end + 1] in b"+-"))
    if not fraction and not exponent:
        if text[end] == 0x2E:  # .
            raise ParseError("Miss fraction part in number.", end + 1)
        value = int(text[at:end]) if end - at < 400 else _too_big(at)
        if -(2**63) <= value < 2**64:
            return value, end
    return _as_double(text[at:end], at), end


def _too_big(at: int) -> int:
    raise ParseError("Number too big to be stored in double.", at)


def _as_double(number: bytes, at: int) -> float:
    """The double that `ParseNumber` makes: the digits as one integer, times or divided by one power of ten."""
    minus = number.startswith(b"-")
    mantissa, _, exponent_text = number.lstrip(b"-").replace(b"E", b"e").partition(b"e")
    whole, _, fraction = mantissa.partition(b".")
    significand, used = _significand(whole, fraction, at)
    exponent = max(int(exponent_text[:12] or 0), -999_999)
    if exponent > 308 + used:
        _too_big(at)
    power = exponent - used
    value = _scale(_scale(significand, -308), power + 308) if power < -308 else _scale(significand, power)
    if value < UNDERFLOW:
        value = 0.0
    return -value if minus else value


def _significand(whole: bytes, fraction: bytes, at: int) -> tuple[float, int]:
    """The digits kept as a double, and how many of the fraction are among them."""
    exact, digits, taken = 0, len(whole) - 1, 0
    for index in range(len(whole)):
        if exact * 10 + whole[index] - 48 >= 2**64:
            value = float(exact)
            for digit in whole[index:]:
                if value >= 1.7976931348623157e307:
                    _too_big(at)
                value = value * 10 + (digit - 48)
            return _more_digits(value, fraction, 0, index - 1)
        exact = exact * 10 + whole[index] - 48
    for digit in fraction:
        if exact > 2**53 - 1:
            break
        exact = exact * 10 + digit - 48
        taken += 1
        digits += exact != 0
    return _more_digits(float(exact), fraction, taken, digits)


def _more_digits(value: float, fraction: bytes, taken: int, digits: int) -> tuple[float, int]:
    """Add digits of the fraction while fewer than 17 are significant."""
    for digit in fraction[taken:]:
        if digits >= 17:
            break
        value = value * 10.0 + (digit - 48)
        taken += 1
        digits += value > 0.0
    return value, taken


def _scale(significand: float, power: int) -> float:
    if power < -308:
        return 0.0
    try:
        return significand * float(f"1e{power}") if power >= 0 else significand / float(f"1e{-power}")
    except OverflowError:
        return float("inf")


def _read_nan_or_infinity(text: bytes, at: int) -> tuple[float, int]:
    minus = text[at] == 0x2D
    at += minus
    for letter in b"NaN":
        if text[at] != letter:
            break
        at += 1
    else:
        return float("nan"), at
    for letter in b"Inf":
        if text[at] != letter:
            raise ParseError(INVALID, at)
        at += 1
    if text[at] == 0x69:  # i: all of "inity" or an error
        for letter in b"inity":
            if text[at] != letter:
                raise ParseError(INVALID, at)
            at += 1
    return float("-inf") if minus else float("inf"), at


def grisu_digits(number: float) -> tuple[str, int]:
    """Digits and power of ten of a positive double by Grisu2: short, and not always the shortest or the nearest."""
    fraction, exponent = math.frexp(number)
    low = max(exponent - 53, -1074)
    significand = int(math.ldexp(fraction, exponent - low))
    upper, upper_exponent = _normalized(2 * significand + 1, low - 1)
    if significand == 1 << 52:  # the next smaller double is nearer
        lower = (4 * significand - 1) << (low - 2 - upper_exponent)
    else:
        lower = (2 * significand - 1) << (low - 1 - upper_exponent)
    middle, _ = _normalized(significand, low)
    guess = (-61 - upper_exponent) * 0.30102999566398114 + 347
    index = (math.ceil(guess) >> 3) + 1
    power = 8 * index - 348
    cached, cached_exponent = _power_of_ten(power)
    most, least = _times(upper, cached) - 1, _times(lower, cached) + 1
    shift = -(upper_exponent + cached_exponent + 64)
    distance = most - _times(middle, cached)
    digits, scale = _generate(most, most - least, distance, shift)
    return digits, scale - power


def _generate(most: int, delta: int, distance: int, shift: int) -> tuple[str, int]:
    """The fewest digits of `most` / 2**shift that stay within `delta`, then moved towards the number itself."""
    one = 1 << shift
    whole, rest = divmod(most, one)
    text = str(whole)
    for count in range(1, len(text) + 1):
        unit = 10 ** (len(text) - count)
        left = whole % unit * one + rest
        if left <= delta:
            return _round(int(text[:count]), delta, left, unit * one, distance), len(text) - count
    digits, count = whole, 0
    while True:
        rest, delta, count = rest * 10, delta * 10, count + 1
        digits, rest = digits * 10 + rest // one, rest % one
        if rest < delta:
            return _round(digits, delta, rest, one, distance * (10**count if count < 9 else 0)), -count


def _round(digits: int, delta: int, rest: int, unit: int, distance: int) -> str:
    while rest < distance and delta - rest >= unit:
        if rest + unit >= distance and distance - rest <= rest + unit - distance:
            break
        digits, rest = digits - 1, rest + unit
    return str(digits)


def _normalized(significand: int, exponent: int) -> tuple[int, int]:
    shift = 64 - significand.bit_length()
    return significand << shift, exponent - shift


def _power_of_ten(power: int) -> tuple[int, int]:
    """10**power as a significand of 64 bits, rounded, and an exponent of two."""
    if power >= 0:
        value = 10**power
        shift = value.bit_length() - 64
        return (value << -shift, shift) if shift <= 0 else ((value >> shift - 1) + 1 >> 1, shift)
    divisor = 10**-power
    shift = divisor.bit_length() + 63
    quotient = (1 << shift + 1) // divisor
    if quotient.bit_length() > 65:
        quotient, shift = quotient >> 1, shift - 1
    return quotient + 1 >> 1, -shift


def _times(left: int, right: int) -> int:
    """The upper 64 bits of a product, rounded."""
    product = left * right
    return (product >> 64) + (product >> 63 & 1)
