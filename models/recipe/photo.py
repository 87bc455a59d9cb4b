"""From linear light to a stored photograph: exposure, shoulder, blur, noise, resolution, JPEG."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

__all__ = ["develop"]


def _srgb(x: NDArray[np.float32]) -> NDArray[np.float32]:
    x = np.clip(x, 0, 1)
    return np.where(x <= 0.0031308, 12.92 * x, 1.055 * np.maximum(x, 1e-8) ** (1 / 2.4) - 0.055).astype(
        np.float32
    )


def develop(
    linear: NDArray[np.float32], landmarks: NDArray[np.floating], rng: np.random.Generator, albedo: float
) -> NDArray[np.uint8]:
    """Expose a rendered picture and give it a camera's faults.

    Parameters
    ----------
    linear
        Linear RGB, (h, w, 3).
    landmarks
        The 68 points; the exposure follows the light on the face, as cameras do, but not wholly.
    albedo
        Brightness of the skin in [0, 1]: dark skin is exposed darker than light skin.

    Returns
    -------
    BGR uint8, (h, w, 3).
    """
    h, w = linear.shape[:2]
    mask = np.zeros((h, w), np.uint8)
    cv2.fillConvexPoly(mask, cv2.convexHull(landmarks.astype(np.float32)).astype(np.int32), 1)
    grey = linear @ np.array([0.299, 0.587, 0.114], np.float32)
    face = grey[mask > 0]
    level = float(np.percentile(face, 65)) if face.size else 0.3
    target = 0.34 * (albedo / 0.4) ** 0.45 * np.exp(rng.normal(-0.05, 0.38))
    x = linear * float(np.clip(target, 0.03, 0.7) / max(level, 1e-4))
    # Soft shoulder: highlights bend over instead of being cut.
    white = rng.uniform(1.2, 3.5)
    knee = rng.uniform(0.2, 1.0)
    x = x * (1 + knee * x / white**2) / (1 + knee * x) * (1 + 0.4 * knee)
    if rng.random() < 0.35:
        x = cv2.GaussianBlur(x, (0, 0), float(rng.uniform(0.3, 1.2)))
    if rng.random() < 0.06:
        length, angle = int(rng.integers(3, 8)), rng.uniform(0, 180)
        kernel = np.zeros((9, 9), np.float32)
        d = np.array([np.cos(np.radians(angle)), np.sin(np.radians(angle))]) * length / 2
        cv2.line(
            kernel,
            tuple(np.rint(4 - d).astype(int).tolist()),
            tuple(np.rint(4 + d).astype(int).tolist()),
            1.0,
        )
        x = cv2.filter2D(x, -1, kernel / kernel.sum())
    # Photon noise grows with the root of the light, read noise does not.
    noise = float(np.exp(rng.uniform(np.log(0.0008), np.log(0.02))))
    x = x + rng.normal(0, 1, x.shape).astype(np.float32) * np.sqrt(
        noise**2 * 0.1 + noise**2 * 2 * np.maximum(x, 0)
    )
    y = _srgb(x)
    contrast = np.exp(rng.normal(0, 0.12))
    y = np.clip(0.45 + (y - 0.45) * contrast, 0, 1)
    if rng.random() < 0.06:
        y = np.repeat((y @ np.array([0.299, 0.587, 0.114], np.float32))[..., None], 3, 2)
    image = np.uint8(y[..., ::-1] * 255 + 0.5)
    if rng.random() < 0.3:
        scale = float(rng.uniform(0.35, 0.9))
        small = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        image = cv2.resize(small, (w, h), interpolation=int(rng.choice([cv2.INTER_LINEAR, cv2.INTER_CUBIC])))
    if rng.random() < 0.6:
        quality: Any = int(rng.uniform(35, 95))
        image = cv2.imdecode(
            cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])[1], cv2.IMREAD_COLOR
        )
    return image
