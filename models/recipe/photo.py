"""From linear light to a stored photograph: exposure, shoulder, blur, noise, resolution, JPEG."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

__all__ = ["develop", "vary"]


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


def vary(
    grey: NDArray[np.uint8], landmarks: NDArray[np.floating], rng: np.random.Generator
) -> NDArray[np.uint8]:
    """Vary a stored picture for training: light around the face, shadows, texture, sharpening or blur, tone.

    Rendered skin is smoother and rendered light simpler than on photographs, and cameras sharpen.

    Parameters
    ----------
    grey
        (h, w).
    landmarks
        (68, 2), px.
    rng
        Draws what happens.

    Returns
    -------
    Grey uint8, (h, w).
    """
    x = grey.astype(np.float32)
    if rng.random() < 0.4:
        x = relight_around(x, landmarks, rng)
    if rng.random() < 0.3:
        x *= _shadow(grey.shape, rng)
    if rng.random() < 0.5:
        for step, most in ((1, 0.02), (3, 0.035), (8, 0.035)):
            x *= 1 + noise(grey.shape, step, rng) * np.float32(rng.uniform(0, most))
    kind = rng.random()
    if kind < 0.5:
        sigma, amount = float(rng.uniform(0.7, 1.6)), float(rng.uniform(0.3, 1.5))
        x += amount * (x - cv2.GaussianBlur(x, (0, 0), sigma))
    elif kind < 0.65:
        x = cv2.GaussianBlur(x, (0, 0), float(rng.uniform(0.4, 1.1)))
    y = np.clip(x / 255, 0, 1) ** np.float32(np.exp(rng.normal(0, 0.2)))
    y = 0.45 + (y - 0.45) * np.float32(np.exp(rng.normal(0, 0.12)))
    return np.uint8(np.clip(y, 0, 1) * 255 + 0.5)


def relight_around(
    grey: NDArray[np.number], landmarks: NDArray[np.floating], rng: np.random.Generator
) -> NDArray[np.float32]:
    """Change the light below the jaw and on both sides of the face, often so that hardly a border is left.

    Rendered necks lie in the chin's shadow, and rendered hair beside the face is mostly dark; a flash lights
    both, and collars or scarves reflect. Then a narrow shadow is all that is left below the chin.

    Parameters
    ----------
    grey
        (h, w), 0 to 255.
    landmarks
        (68, 2), px of it. A side of the outline with other landmarks beyond it keeps its light, as in
        profiles.
    rng
        Draws where, how much, and how soft the borders are.

    Returns
    -------
    Grey float32, (h, w), not clipped.
    """
    outline, inner = landmarks[:17], landmarks[27:].astype(np.float32)
    middle = outline.mean(axis=0)
    temples = 2 * outline[[0, 16]] - outline[[2, 14]]
    sides = (np.r_[temples[:1], outline[:5]], outline[3:14], np.r_[outline[12:], temples[1:]])
    x = grey.astype(np.float32)
    for k, (border, alike) in enumerate(zip(sides, (0.2, 0.5, 0.2), strict=True)):
        unchanged, shadow = rng.random() < 0.4, k == 1 and rng.random() < 0.4
        if unchanged and not shadow:
            continue
        around = border - middle
        beyond = _ring(middle, around, 1.0, 12.0)
        if any(cv2.pointPolygonTest(beyond, (float(a), float(b)), False) > 0 for a, b in inner):
            continue
        there = _filled(x.shape, beyond)
        if shadow:
            x *= _shadow_below(border, there, landmarks, rng)
        if unchanged:
            continue
        if rng.random() < alike:
            rings = (_ring(middle, around, *ends) for ends in ((0.85, 1.0), (1.03, 1.18)))
            within, outside = (cv2.mean(x, _filled(x.shape, ring))[0] for ring in rings)
            factor = np.clip((within + 1) / (outside + 1), 0.3, 3.0) * np.exp(rng.normal(0, 0.15))
        else:
            factor = np.exp(rng.normal(0.05, 0.35))
        softness = float(np.exp(rng.uniform(np.log(0.7), np.log(6))))
        x *= 1 + cv2.GaussianBlur(there.astype(np.float32), (0, 0), softness) * np.float32(factor - 1)
    return x


def _shadow_below(
    border: NDArray[np.floating],
    beyond: NDArray[np.uint8],
    landmarks: NDArray[np.floating],
    rng: np.random.Generator,
) -> NDArray[np.float32]:
    """Return the light that a narrow shadow leaves along the jaw's border, deepest below the chin."""
    line = np.ones(beyond.shape, np.uint8)
    cv2.polylines(line, [np.rint(np.clip(border, -1000, 2000) * 16).astype(np.int32)], False, 0, 1, shift=4)
    size = float(np.linalg.norm(landmarks[8] - landmarks[27]))  # from the nose's root to the chin
    distance = cv2.distanceTransform(line, cv2.DIST_L2, 5) / np.float32(size)
    place, width, depth = rng.uniform(0.0, 0.04), rng.uniform(0.012, 0.042), rng.uniform(0.1, 0.7)
    # Outside it comes and goes; inside it only fades.
    profile = np.exp(-(((distance - place) / width) ** 2))
    edge = np.exp(-((place / width) ** 2)) * np.exp(-((distance / 0.017) ** 2))
    rows, columns = np.ogrid[: beyond.shape[0], : beyond.shape[1]]
    apart = np.hypot(columns - landmarks[8, 0], rows - landmarks[8, 1]) / (size * rng.uniform(0.25, 0.75))
    return np.float32(1 - depth * np.exp(-(apart**2)) * np.where(beyond > 0, profile, edge))


def _ring(
    middle: NDArray[np.floating], around: NDArray[np.floating], near: float, far: float
) -> NDArray[np.float32]:
    """Return the corners of what lies between two multiples of a line around a middle."""
    return np.clip(middle + np.r_[near * around, far * around[::-1]], -1000, 2000).astype(np.float32)


def _filled(shape: tuple[int, ...], corners: NDArray[np.floating]) -> NDArray[np.uint8]:
    """Return 1 inside of a polygon, 0 elsewhere."""
    there = np.zeros(shape, np.uint8)
    cv2.fillPoly(there, [np.rint(corners * 16).astype(np.int32)], 1, shift=4)
    return there


def distort(grey: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """Change a picture in a way that no training does, to see how a model bears it.

    Local contrast, smoothed skin, uneven tone, few pixels or enhanced details, and strong compression.

    Parameters
    ----------
    grey
        (h, w).
    rng
        Draws what happens.

    Returns
    -------
    Grey uint8, (h, w).
    """
    h, w = grey.shape[0], grey.shape[1]
    kind = rng.integers(5)
    if kind == 0:
        tiles = int(rng.integers(3, 9))
        x = cv2.createCLAHE(float(rng.uniform(2, 5)), (tiles, tiles)).apply(grey)
    elif kind == 1:
        x = cv2.bilateralFilter(grey, 9, float(rng.uniform(25, 60)), float(rng.uniform(3, 7)))
    elif kind == 2:
        coarse = np.exp(rng.normal(0, 0.35, (5, 5))).astype(np.float32)
        power = cv2.resize(coarse, (w, h), interpolation=cv2.INTER_CUBIC).clip(0.3, 3)
        x = np.uint8(255 * (grey / np.float32(255)) ** power + 0.5)
    elif kind == 3:
        share = float(rng.uniform(0.3, 0.5))
        small = cv2.resize(grey, None, fx=share, fy=share, interpolation=cv2.INTER_AREA)
        x = cv2.resize(small, (w, h), interpolation=cv2.INTER_CUBIC)
    else:
        wide = cv2.cvtColor(grey, cv2.COLOR_GRAY2BGR)
        x = cv2.detailEnhance(wide, sigma_s=10, sigma_r=float(rng.uniform(0.15, 0.4)))[..., 0]
    coded = cv2.imencode(".jpg", x, [cv2.IMWRITE_JPEG_QUALITY, int(rng.uniform(12, 50))])[1]
    return np.asarray(cv2.imdecode(coded, cv2.IMREAD_GRAYSCALE), np.uint8)


def noise(shape: tuple[int, ...], step: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """Return noise of about unit variance whose grains are ``step`` px wide."""
    h, w = shape[0], shape[1]
    small = rng.standard_normal((-(-h // step) + 1, -(-w // step) + 1), np.float32)
    return np.asarray(cv2.resize(small, (w, h), interpolation=cv2.INTER_CUBIC)) if step > 1 else small[:h, :w]


def _shadow(shape: tuple[int, ...], rng: np.random.Generator) -> NDArray[np.float32]:
    """Darken one side of a wavy edge, hard or soft; factors of the given shape."""
    h, w = shape[0], shape[1]
    angle = rng.uniform(0, 2 * np.pi)
    x = (np.arange(w) - w * rng.uniform(0.25, 0.75)) * np.cos(angle)
    y = (np.arange(h) - h * rng.uniform(0.25, 0.75)) * np.sin(angle)
    across = (x + y[:, None]).astype(np.float32)
    across += noise(shape, int(rng.integers(15, 50)), rng) * np.float32(rng.uniform(0, 14))
    soft = np.float32(np.exp(rng.uniform(np.log(0.7), np.log(15))))
    dark = np.float32(rng.uniform(0.35, 0.85))
    return dark + (1 - dark) / (1 + np.exp(-np.clip(across / soft, -30, 30)))
