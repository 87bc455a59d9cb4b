"""Faces for tests that need no fit."""

from __future__ import annotations

import numpy as np

from pyclnf.face import Face
from pyclnf.pdm import Parameters


def make_face(seed: int = 0, n: int = 68, m: int = 34, **changes: object) -> Face:
    """Return a face of random numbers."""
    random = np.random.default_rng(seed)
    fields: dict[str, object] = {
        "landmarks": random.uniform(50, 300, (n, 2)).astype(np.float32),
        "landmarks_3d": random.uniform(-80, 80, (n, 3)) + np.array([10, 20, 600]),
        "pose": np.array([10.0, 20.0, 600.0, 0.1, -0.2, 0.05]),
        "params": Parameters(np.array([1.5, 0.1, -0.2, 0.05, 160.0, 170.0]), random.normal(size=m)),
        "likelihood": -3.5,
        "landmark_likelihoods": random.uniform(0, 1, n),
        "confidence": 0.875,
        "score": 0.99,
        "detected": True,
    }
    return Face(**{**fields, **changes})  # type: ignore[arg-type]


def missing_face(n: int = 68, m: int = 34, **changes: object) -> Face:
    """Return the row of an image without a face."""
    fields: dict[str, object] = {
        "landmarks": np.full((n, 2), np.nan, np.float32),
        "landmarks_3d": np.full((n, 3), np.nan),
        "pose": np.full(6, np.nan),
        "params": Parameters(np.full(6, np.nan), np.full(m, np.nan)),
        "success": False,
        "failure": "no face",
        "landmark_likelihoods": np.full(n, np.nan),
        "confidence": 0.0,
        "face_id": -1,
    }
    return Face(**{**fields, **changes})  # type: ignore[arg-type]
