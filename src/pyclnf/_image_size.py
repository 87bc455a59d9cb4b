"""The size that an image file says it has, read before it is decoded.

A compressed picture of a megabyte can hold a gigapixel; decoders allocate all
of it before anyone can look at its shape. What a decoder forgives (bytes between
JPEG's segments, a tag of TIFF that is there twice) is forgiven here, too, so that
no file is decoded at another size than the one found here.
"""

from __future__ import annotations

import re
import struct

__all__ = ["declared_maximum", "declared_size"]

# JPEG's markers of frames: all C0..CF but the tables C4, C8 and CC.
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
# JPEG's markers that nothing belongs to (00 is a byte FF of data), and those where its headers end.
_ALONE = frozenset({0x00, 0x01, *range(0xD0, 0xD8)})
_ENDS = frozenset({0xD8, 0xD9, 0xDA})
_WIDTH, _LENGTH = 256, 257  # TIFF's tags
# TIFF's types of whole numbers that are not negative.
_NUMBERS = {1: "B", 3: "H", 4: "I", 16: "Q"}
_MAX_TAGS = 4096
_SPACE = rb"(?:\s|#[^\n]*\n)+"
_PNM_SIZE = _SPACE + rb"(\d{1,9})" + _SPACE + rb"(\d{1,9})"
_PNM = re.compile(rb"P[1-6]" + _PNM_SIZE + rb"\s")
_PNM_MAXIMUM = re.compile(rb"P[2356]" + _PNM_SIZE + _SPACE + rb"(\d{1,9})\s")


def declared_size(data: bytes) -> tuple[int, int] | None:
    """Return (width, height) of a PNG, JPEG, GIF, BMP, WebP, TIFF, PBM, PGM or PPM file.

    Parameters
    ----------
    data : bytes

    Returns
    -------
    tuple of int, or None
        None for other formats, and if the header is damaged.
    """
    try:
        if data.startswith(b"\x89PNG\r\n\x1a\n"):
            return _pair(">II", data, 16)
        if data.startswith(b"GIF8"):
            return _pair("<HH", data, 6)
        if data.startswith(b"BM"):
            (header,) = struct.unpack_from("<I", data, 14)
            width, height = _pair("<HH" if header == 12 else "<ii", data, 18)
            return abs(width), abs(height)
        if data.startswith(b"\xff\xd8"):
            return _jpeg(data)
        if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
            return _webp(data)
        if data[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
            return _tiff(data, "<" if data[:1] == b"I" else ">", b"+" in data[:4])
        if found := _PNM.match(data):
            return int(found[1]), int(found[2])
    except struct.error:  # cut off
        return None
    return None


def declared_maximum(data: bytes) -> int | None:
    """Return the value that a PGM or PPM file has for white, None for other formats."""
    found = _PNM_MAXIMUM.match(data)
    return int(found[3]) if found else None


def _pair(layout: str, data: bytes, offset: int) -> tuple[int, int]:
    first, second = struct.unpack_from(layout, data, offset)
    return first, second


def _jpeg(data: bytes) -> tuple[int, int] | None:
    place = 2
    while (place := data.find(b"\xff", place)) >= 0:
        # A marker may be preceded by any number of bytes FF.
        while data[place : place + 1] == b"\xff":
            place += 1
        kind, place = data[place] if place < len(data) else 0xD9, place + 1
        if kind in _ENDS:
            return None
        if kind in _ALONE:
            continue
        if kind in _FRAMES:
            height, width = _pair(">HH", data, place + 3)
            return width, height
        (length,) = struct.unpack_from(">H", data, place)
        place += length
    return None


def _webp(data: bytes) -> tuple[int, int] | None:
    kind = data[12:16]
    if kind == b"VP8X":
        low_w, high_w, low_h, high_h = struct.unpack_from("<HBHB", data, 24)
        return 1 + low_w + (high_w << 16), 1 + low_h + (high_h << 16)
    if kind == b"VP8L":
        (bits,) = struct.unpack_from("<I", data, 21)
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    if kind == b"VP8 ":
        width, height = _pair("<HH", data, 26)
        return width & 0x3FFF, height & 0x3FFF
    return None


def _tiff(data: bytes, order: str, big: bool) -> tuple[int, int] | None:
    """Read the tags of the first picture; all offsets and counts of a BigTIFF have 64 bits."""
    number, tag_size, value = ("Q", 20, 12) if big else ("I", 12, 8)
    (place,) = struct.unpack_from(order + number, data, 8 if big else 4)
    if place > len(data):
        return None
    count_layout = order + ("Q" if big else "H")
    (count,) = struct.unpack_from(count_layout, data, place)
    place += struct.calcsize(count_layout)
    sizes = {_WIDTH: 0, _LENGTH: 0}
    for i in range(min(count, _MAX_TAGS)):
        tag, kind = struct.unpack_from(f"{order}HH", data, place + tag_size * i)
        if tag in sizes and kind in _NUMBERS:
            # Decoders take the first of several, or the last.
            (size,) = struct.unpack_from(order + _NUMBERS[kind], data, place + tag_size * i + value)
            sizes[tag] = max(sizes[tag], size)
    return (sizes[_WIDTH], sizes[_LENGTH]) if all(sizes.values()) else None
