"""Reads a number as RapidJSON 1.1 does: which texts are integers, which double comes out, what is an error and where.

Source: rapidjson/reader.h, v1.1.0, `ParseNumber` with kParseNanAndInf and without full precision.
"""

from __future__ import annotations

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
