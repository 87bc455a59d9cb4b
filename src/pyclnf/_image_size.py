"""The size that an image file says it has, read before it is decoded.

A compressed picture of a megabyte can hold a gigapixel; decoders allocate all
of it before anyone can look at its shape.
"""

from __future__ import annotations

import struct

__all__ = ["declared_size"]

# JPEG's markers of frames: all C0..CF but the tables C4, C8 and CC.
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_WIDTH, _LENGTH = 256, 257  # TIFF's tags


def declared_size(data: bytes) -> tuple[int, int] | None:
    """Return (width, height) of a PNG, JPEG, GIF, BMP, WebP or TIFF file.

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
            width, height = _pair("<ii", data, 18)
            return abs(width), abs(height)
        if data.startswith(b"\xff\xd8"):
            return _jpeg(data)
        if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
            return _webp(data)
        if data[:4] in (b"II*\0", b"MM\0*"):
            return _tiff(data, "<" if data[:1] == b"I" else ">")
    except struct.error:  # cut off
        return None
    return None


def _pair(layout: str, data: bytes, offset: int) -> tuple[int, int]:
    first, second = struct.unpack_from(layout, data, offset)
    return first, second


def _jpeg(data: bytes) -> tuple[int, int] | None:
    place = 2
    while True:
        mark, kind, length = struct.unpack_from(">BBH", data, place)
        if mark != 0xFF:
            return None
        if kind in _FRAMES:
            height, width = _pair(">HH", data, place + 5)
            return width, height
        # A marker may be preceded by any number of bytes FF.
        place += 1 if kind == 0xFF else 2 + length


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


def _tiff(data: bytes, order: str) -> tuple[int, int] | None:
    (place,) = struct.unpack_from(f"{order}I", data, 4)
    (count,) = struct.unpack_from(f"{order}H", data, place)
    sizes = {}
    for i in range(count):
        tag, kind, _ = struct.unpack_from(f"{order}HHI", data, place + 2 + 12 * i)
        if tag in (_WIDTH, _LENGTH):
            (sizes[tag],) = struct.unpack_from(
                f"{order}{'H' if kind == 3 else 'I'}", data, place + 10 + 12 * i
            )
    return (sizes[_WIDTH], sizes[_LENGTH]) if len(sizes) == 2 else None
