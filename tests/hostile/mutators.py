"""Mutations: what damage, mistakes and malice do to a file, drawn from a seed.

`of_bytes` knows nothing of a format, `of_lines` knows lines and the numbers in them, `of_tree`
works on nested data, which `toml` writes as a file again.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from random import Random
from typing import Any

LONGEST = 200_000
"""No mutation makes a file longer than so many bytes."""

NUMBERS = (
    b"0", b"-1", b"1", b"3", b"255", b"256", b"4097", b"65536", b"2147483648", b"999999999999",
    b"9223372036854775807", b"18446744073709551616", b"1e308", b"1e999", b"-1e999", b"nan", b"inf",
    b"-0.0", b"0x0", b"0xcfc", b"0xffffffffffffffff", b"1" * 5000, b"0.1e-300",
)  # fmt: skip
"""Numbers that something may not be ready for."""

TOKENS = (
    b"\x00", b"\xff\xfe", b"\xef\xbb\xbf", "‮\U0001f4a3é".encode(), b"\r\n", b"\n\n", b"\t",
    b"'''", b'"""', b"[[", b"]]", b"{", b"}", b"=", b"#", b"../../etc/passwd", b"A" * 10_000,
    b"{{7*7}}", b"<script>alert(1)</script>", b"%s%n", b"\x1b[2J",
    b"[" * 5000, b"x = " + b"{a = " * 3000, b"x.y.z = 1", b"[a.b.c.d]",
)  # fmt: skip
"""Bytes that mean something to somebody."""

_NUMBER = re.compile(rb"0x[0-9a-fA-F]+|[0-9][0-9_]*(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")


def of_bytes(data: bytes, draw: Random) -> bytes:
    """A few changes to bytes: flipped, cut, doubled, moved, overwritten."""
    made = bytearray(data)
    for _ in range(draw.randint(1, 4)):
        at = draw.randrange(len(made) + 1)
        end = min(len(made), at + draw.choice((1, 2, 8, 64, 1024)))
        match draw.randrange(7):
            case 0 if at < len(made):
                made[at] ^= 1 << draw.randrange(8)
            case 1:
                del made[at:end]
            case 2:
                made[at:at] = made[at:end]
            case 3:
                other = draw.randrange(len(made) + 1)
                made[other:other] = made[at:end]
            case 4:
                made[at:at] = draw.choice(TOKENS + NUMBERS)
            case 5:
                del made[at:]
            case _:
                made[at:end] = draw.randbytes(end - at)
    return bytes(made[:LONGEST])


def of_lines(data: bytes, draw: Random) -> bytes:
    """A few changes to lines: swapped, doubled, dropped, cut, with other numbers or words."""
    lines = data.split(b"\n")
    for _ in range(draw.randint(1, 4)):
        at, other = draw.randrange(len(lines)), draw.randrange(len(lines))
        match draw.randrange(7):
            case 0:
                lines[at], lines[other] = lines[other], lines[at]
            case 1:
                lines[at:at] = [lines[other]] * draw.choice((1, 1, 1, 100))
            case 2 if len(lines) > 1:
                del lines[at]
            case 3:
                lines[at] = lines[at][: draw.randint(0, len(lines[at]))]
            case 4:
                words = lines[at].split(b" ")
                words[draw.randrange(len(words))] = draw.choice(TOKENS)
                lines[at] = b" ".join(words)
            case _:
                found = list(_NUMBER.finditer(lines[at]))
                if found:
                    number = draw.choice(found)
                    rest = lines[at][number.end() :]
                    lines[at] = lines[at][: number.start()] + draw.choice(NUMBERS) + rest
    return b"\n".join(lines)[:LONGEST]


QUANTITIES = (
    "1 us", "0 us", "-1 us", "1 parsec", "1us", "1 KiB", "1e99 s", "1e9 s", "NaN us", "inf s", "us",
    "5", "", " ", "1 cycles", "53 days", "0.0000001 ps", "1 " + "u" * 5000, "9" * 40 + " s", "1 µs",
    "4611686018427387904 ps", "100%", "1 MHz", "-0 ns", "1_000 ns", "0x10 ns",
)  # fmt: skip
"""Times, sizes and clocks, right and wrong."""

WORDS = (
    "", "x", "spread", "kvm-2013", "linux-default", "../../etc/passwd", "/etc/passwd", "/dev/zero",
    "./", "..", "~root", "a" * 50_000, "\x00", "‮\U0001f4a3", "{{7*7}}", "<b>", "*", "none",
    "case.toml", "./case.toml", "CON", "%s", "\ud7ff", "trap_mmio", "hypercall", "virtqueue",
    "side_core", "batched_hypercall", "pci_config", "mmio", "interrupted", "exponential",
)  # fmt: skip
"""Names, right and wrong; `case.toml` is the file itself."""

SCALARS: tuple[Any, ...] = (
    0, 1, -1, 2, 255, 65_536, 2**31, 2**62, 2**63, 2**64, 10**30, 0.0, -0.5, 0.5, 1e-300, 1e308,
    math.nan, math.inf, -math.inf, True, False, *QUANTITIES, *WORDS,
)  # fmt: skip


def of_tree(tree: Any, draw: Random, keys: tuple[str, ...]) -> Any:
    """A few changes to nested data: keys dropped, renamed, moved, and given other values.

    Args:
        tree: tables, lists and scalars; is not changed.
        draw: decides.
        keys: names that keys may be given: those that the format knows.
    """
    made = json.loads(json.dumps(tree))
    for _ in range(draw.choice((1, 1, 1, 2, 3))):
        holders = list(_holders(made))
        holder = draw.choice(holders)
        places = list(holder) if isinstance(holder, dict) else list(range(len(holder)))
        if not places:
            _put(holder, draw.choice(keys), draw.choice(SCALARS))
            continue
        place = draw.choice(places)
        match draw.randrange(9):
            case 0:
                del holder[place]
            case 1:
                _put(holder, _renamed(place, draw, keys), holder.pop(place))
            case 2:
                holder[place] = draw.choice(SCALARS)
            case 3:
                other = draw.choice(holders)
                inner = list(other) if isinstance(other, dict) else list(range(len(other)))
                taken = other[draw.choice(inner)] if inner else {}
                holder[place] = json.loads(json.dumps(taken))
            case 4:
                holder[place] = draw.choice(([], {}, [[]], [{}], {"": 1}, [holder[place]],
                                             {"kind": holder[place]}))  # fmt: skip
            case 5:
                holder[place] = _deep(draw)
            case 6:
                holder[place] = [holder[place]] * draw.choice((2, 3, 300))
            case 7:
                _put(holder, draw.choice(keys), draw.choice(SCALARS))
            case _:
                value = holder[place]
                holder[place] = _near(value, draw)
    return made


def _holders(tree: Any) -> Any:
    if isinstance(tree, dict | list):
        yield tree
        for part in tree.values() if isinstance(tree, dict) else tree:
            yield from _holders(part)


def _put(holder: Any, key: str, value: Any) -> None:
    if isinstance(holder, dict):
        holder[key] = value
    else:
        holder.append(value)


def _renamed(place: Any, draw: Random, keys: tuple[str, ...]) -> str:
    if draw.random() < 0.3:
        return draw.choice(keys)
    text = str(place)
    return draw.choice((text + "s", text[1:], text.upper(), text.replace("_", "-"), f" {text}", "",
                        "a.b", "é" * 1000))  # fmt: skip


def _deep(draw: Random) -> Any:
    made: Any = 1
    for _ in range(draw.choice((5, 60, 120))):
        made = [made] if draw.random() < 0.5 else {"a": made}
    return made


def _near(value: Any, draw: Random) -> Any:
    """A value of the same kind."""
    match value:
        case bool():
            return not value
        case int():
            return draw.choice((0, -value, value + 1, value * 1000, 2**31, 2**63, 10**30))
        case float():
            return draw.choice((0.0, -value, value * 1e6, math.nan, math.inf, 1 - value))
        case str() if re.match(r"[0-9]", value):
            return draw.choice(QUANTITIES)
        case str():
            return draw.choice((*WORDS, value + "x", value[:-1], value.upper()))
        case _:
            return value


def toml(tree: dict[str, Any], draw: Random | None = None) -> bytes:
    """Nested data as TOML; with `draw`, sometimes with a key twice."""
    lines = [f"{_key(key)} = {_value(value)}" for key, value in tree.items()]
    if draw is not None and lines and draw.random() < 0.05:
        lines.append(draw.choice(lines))
    return ("\n".join(lines) + "\n").encode("utf-8", "surrogatepass")[:LONGEST]


def _key(key: str) -> str:
    return key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else json.dumps(key)


def _value(value: Any) -> str:
    match value:
        case bool():
            return str(value).lower()
        case dict():
            return "{" + ", ".join(f"{_key(k)} = {_value(v)}" for k, v in value.items()) + "}"
        case list():
            return "[" + ", ".join(map(_value, value)) + "]"
        case float():
            return "nan" if math.isnan(value) else str(value)
        case int():
            return str(value)
        case _:
            return json.dumps(str(value), ensure_ascii=True).replace("\x7f", "\\u007f")


def one_of(*ways: Callable[[bytes, Random], bytes]) -> Callable[[bytes, Random], bytes]:
    """A mutator that takes one of several."""

    def mutate(data: bytes, draw: Random) -> bytes:
        return draw.choice(ways)(data, draw)

    return mutate
