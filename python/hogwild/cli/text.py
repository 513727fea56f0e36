"""Model text made safe to print: a terminal obeys control characters, wherever they come from."""

from __future__ import annotations

_PICTURES = {
    code: 0x2400 + code for code in range(0x20) if code not in (0x09, 0x0A)
}  # ESC becomes the sign ␛
_DELETE = {0x7F: 0x2421}
_C1 = dict.fromkeys(range(0x80, 0xA0), 0xFFFD)
_REORDERING = dict.fromkeys((*range(0x202A, 0x202F), *range(0x2066, 0x206A)))  # bidirectional overrides
_TAB = {0x09: "    "}

_SAFE: dict[int, int | str | None] = {**_PICTURES, **_DELETE, **_C1, **_REORDERING, **_TAB}


def printable(text: str) -> str:
    """`text` with control characters as visible signs; newlines stay, tabs become four spaces."""
    return text.replace("\r\n", "\n").translate(_SAFE)
