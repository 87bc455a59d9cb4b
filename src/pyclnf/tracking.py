"""Faces from frame to frame.

Each face is fitted from where it was in the frame before, with smaller windows
after a success and those of the first frame after a failure. A failed face is
detected again, and the better of the two fits is kept. See Baltrusaitis,
Zadeh, Lim, Morency, "OpenFace 2.0: Facial behavior analysis toolkit", FG 2018,
section 3.1.
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass, field, replace
from numbers import Real
from typing import TYPE_CHECKING, Any

import numpy as np

from pyclnf import _bystanders
from pyclnf._lying import (
    Quarter,
    counts_lying,
    find_filling,
    find_lying,
    nearest_roll,
    roll_of,
    with_roll,
)
from pyclnf.camera import Camera, check_camera
from pyclnf.confidence import TRUSTED
from pyclnf.detection import find_faces, make_detector
from pyclnf.errors import BoxError, ParameterError
from pyclnf.face import Face, box_distance, boxes_alike, failure_of, is_among
from pyclnf.images import as_pixels
from pyclnf.pdm import Parameters, box_of, check_box
from pyclnf.smoothing import OneEuro, Smoother
from pyclnf.video import DEFAULT_RATE, Video

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Sequence
    from pathlib import Path

    from numpy.typing import ArrayLike, NDArray

    from pyclnf.clnf import CLNF
    from pyclnf.detection import Detector
    from pyclnf.nu_rlms import FitParameters, FitResult

    Float = NDArray[np.float64]

__all__ = ["OneEuro", "Tracker"]

# A face is about 0.15 m wide and moves at about 1 m/s, in face sizes a second: how far away one that was
# lost may be found again, at most so many sizes.
FACE_SPEED = 6.0
MAX_REACH = 5.0
# A shape changes by less from frame to frame, nearly always: by more where there is no face any more. In
# standard deviations of its modes.
JUMP = 0.3
# By more only where another face, or another take, is cut to: within rendered videos by 0.51 at most, from
# one person to another by 0.66 at least.
CUT = 0.6
# Beside the only face that is followed another is worth a word if its box is so many times as large. How
# often to look for one, seconds.
LARGER = 1.5
GLANCE_INTERVAL = 5.0
# One that comes back is at least so large, as a share of the box of the one that stands in for it.
LEAST_SHARE = 0.25
# px per mm of the template that follows fast motion.
TEMPLATE_SCALE = 0.3


@dataclass(eq=False)
class _Track:
    """What is kept of one face."""

    face_id: int
    parameters: Parameters
    box: Float
    # By a fit or the detector, and by a fit.
    last_seen: float
    last_fitted: float
    lost: bool = False
    # Quarter turns by which it was rolled when it was fitted last, radians.
    roll: float = 0.0
    # In the place of the one face that was to be followed.
    stands_in: bool = False
    template: NDArray[np.float32] | None = None
    smoother: Smoother | None = None


@dataclass(frozen=True, eq=False)
class _Outcome:
    """The fit of one face in the frame at hand."""

    result: FitResult
    failure: str | None
    # By which its confidence is calibrated.
    parameter_set: str
    detected: bool = False
    score: float = float("nan")
    # Where the detector saw the face, and how far rolled, radians.
    box: Float | None = None
    roll: float = 0.0

    @property
    def rank(self) -> tuple[bool, float]:
        return self.failure is None, self.result.likelihood

    @property
    def fitted_box(self) -> Float:
        return box_of(self.result.landmarks)

    def is_on(self, others: Iterable[_Outcome]) -> bool:
        """Say whether the fit shows the same face as one of others."""
        return is_among(self.fitted_box, [other.fitted_box for other in others])


@dataclass(frozen=True)
class _Now:
    """The frame at hand."""

    image: NDArray[Any] = field(repr=False)
    index: int
    timestamp: float
    camera: Camera


class Tracker:
    """Follows faces through a video.

    It holds a few numbers a face and no frames: memory is constant. Each frame
    gives at least one `Face`, failed or not. Not to be shared between threads.

    Parameters
    ----------
    clnf : CLNF
        Gives the model, and the starts for faces that were detected.
    detector : str, callable or None
        See `make_detector`.
    max_faces : int
        Follow at most so many. With 1 the face is number 0, wherever it comes back; with more a
        face that was lost for longer than `patience`, or comes back elsewhere, gets a new number.
        A face that was seen beside one that is lost is another: with 1 it is followed after `patience`,
        as number 1, until a face comes that was not seen beside it.
    parameters, tracking_parameters : str or FitParameters
        Parameter sets for faces that were just detected or failed, and for those that were followed.
    min_likelihood : float, optional
        Fits below have failed. Default: that of the CLNF, below which fits from boxes succeed as those of
        `CLNF.fit` do: with a set that looks at the mirror image, too ("image"), if they are trusted. A lost
        face that is fitted where it was, without a box, then succeeds if it is trusted.
    search_interval : float
        Look for new faces every so many seconds while fewer than `max_faces` are followed, and for where
        the others are while more are seen.
    retry_interval : float
        Detect a lost face again at once and then every so many seconds.
    patience : float
        A lost face keeps its number for so many seconds; one that the detector still sees does for longer,
        unless a new face needs its place.
    template : bool
        Correct fast motion by matching a small picture of the face first.
    smooth : bool or OneEuro
        Filter what is given back (never what the next fit starts from).
    camera : Camera, optional
        Default: `Camera.from_size` of the frame.
    lying : bool
        Look for faces that fill the frame, lie or are upside down, where no face is found upright, see
        `CLNF.detect`: at once, after `search_interval`, and less and less often, down to every five seconds.
        A lost one is also looked for as it was rolled when it was seen last, every time.

    Attributes
    ----------
    larger_beside : str or None
        What to say where a face half as large again as the only one that is followed is seen beside it:
        the one that is meant may have come after another. It is looked for every five seconds.

    Raises
    ------
    ParameterError
        If a number is out of its range.
    DetectionError
        If the detector is missing.

    Examples
    --------
    Frames from anywhere:

    >>> import cv2
    >>> from pyclnf import CLNF, Tracker
    >>> tracker = Tracker(CLNF(), max_faces=4, smooth=True)
    >>> image = cv2.imread("examples/rendered_face.jpg")
    >>> for frame in range(2):
    ...     for face in tracker.update(image, timestamp=frame / 25):
    ...         print(face.frame, round(face.timestamp, 2), face.face_id, face.detected)
    0 0.0 0 True
    1 0.04 0 False
    """

    def __init__(
        self,
        clnf: CLNF,
        *,
        detector: str | Detector | None = None,
        max_faces: int = 1,
        parameters: str | FitParameters = "video",
        tracking_parameters: str | FitParameters = "tracking",
        min_likelihood: float | None = None,
        search_interval: float = 1.0,
        retry_interval: float = 0.2,
        patience: float = 2.0,
        template: bool = False,
        smooth: bool | OneEuro = False,
        camera: Camera | None = None,
        lying: bool = True,
    ) -> None:
        if not isinstance(max_faces, int | np.integer) or max_faces < 1:
            raise ParameterError(f"max_faces is a whole number from 1, not {max_faces!r}")
        for name, value in (
            ("search_interval", search_interval),
            ("retry_interval", retry_interval),
            ("patience", patience),
        ):
            if not (isinstance(value, Real) and value >= 0):
                raise ParameterError(f"{name} is a number of seconds, not {value!r}")
        if min_likelihood is not None and not (
            isinstance(min_likelihood, Real) and min_likelihood < math.inf
        ):
            raise ParameterError(f"min_likelihood is a number, not {min_likelihood!r}")
        if not isinstance(smooth, bool | OneEuro):
            raise ParameterError(f"smooth is True, False or a OneEuro filter, not {smooth!r}")
        if not hasattr(clnf, "fit_from"):
            raise ParameterError(f"a tracker is made of a CLNF, Tracker(CLNF(...)), not of {clnf!r}")
        check_camera(camera)
        self.clnf = clnf
        self.detector = make_detector(detector)
        self.max_faces = int(max_faces)
        self.first = clnf.settings(parameters)
        self.tracking = clnf.settings(tracking_parameters)
        self.first_set = clnf.calibrated_set(parameters)
        self.tracking_set = clnf.calibrated_set(tracking_parameters)
        self.looks = clnf.looks(parameters)
        self.min_likelihood = clnf.min_likelihood if min_likelihood is None else float(min_likelihood)
        self._trusts = min_likelihood is None
        self.search_interval = search_interval
        self.retry_interval = retry_interval
        self.patience = patience
        self.template = template
        filter_ = (OneEuro() if smooth else None) if isinstance(smooth, bool) else smooth
        self._smoother = None if filter_ is None else Smoother(filter_, clnf.model.pdm)
        self.camera = camera
        self.lying = bool(lying)
        self.reset()

    def reset(self) -> None:
        """Forget all faces, for another video."""
        self._tracks: list[_Track] = []
        self._others = _bystanders.Bystanders(self.patience)
        self.larger_beside: str | None = None
        self._next_id = 0
        self._next_frame = 0
        self._last_timestamp: float | None = None
        self._last_detection = self._last_missed = -math.inf
        self._missed_interval = self.search_interval
        # Quarter turns by which the face that was followed last is rolled, radians. It may be given up.
        self._roll = 0.0

    def track(self, video: str | Path | int | Sequence[str | Path] | Video) -> Generator[Face, None, None]:
        """Follow the faces of a video, from its beginning.

        Parameters
        ----------
        video : str, Path, int, sequence of paths or Video
            See `Video`.

        Yields
        ------
        Face
            At least one a frame, in the order of frames and then of face numbers.

        Raises
        ------
        VideoError
            If the video cannot be opened.

        Warns
        -----
        UserWarning
            After the last frame of a video that is cut short, see `Video.cut_short`, or where a larger face
            was seen beside the only one that was followed, see `larger_beside`.
        """
        self.reset()
        with video if isinstance(video, Video) else Video(video) as frames:
            for frame in frames:
                if frame.image is None:
                    yield from self.skip(frame.error or "the frame is broken", frame.timestamp)
                else:
                    yield from self.update(frame.image, frame.timestamp)
            if frames.cut_short:
                warnings.warn(f"{frames.name} {frames.cut_short}", stacklevel=2)
            if self.larger_beside is not None:
                warnings.warn(f"{frames.name}: {self.larger_beside}", stacklevel=2)

    def skip(self, reason: str, timestamp: float | None = None) -> list[Face]:
        """Pass over a frame that cannot be read.

        Parameters
        ----------
        reason : str
            What to give as the failure.
        timestamp : float, optional
            Seconds; default one thirtieth after the last.

        Returns
        -------
        list of Face
            A failed row for each face that is followed, or one without a face.
        """
        index, moment = self._advance(timestamp)
        numbers = [track.face_id for track in self._tracks] or [self._no_face]
        self._give_up(moment)
        return [self._missing(reason, number, index, moment) for number in numbers]

    def update(
        self, image: NDArray[Any], timestamp: float | None = None, *, boxes: ArrayLike | None = None
    ) -> list[Face]:
        """Find the faces of the next frame.

        Parameters
        ----------
        image : ndarray, shape (H, W) or (H, W, 3), uint8, float32 or float64
            Grey or BGR.
        timestamp : float, optional
            Seconds, finite; default one thirtieth after the last.
        boxes : array_like, shape (k, 4) or (k, 5), optional
            Instead of the detector's, even in frames in which it would not be asked: for faces that failed
            and, while fewer than `max_faces` are followed, for new ones. Faces that are followed well stay
            where they are, and boxes that are left over are of others: `reset` to go over to another face.

        Returns
        -------
        list of Face
            At least one, by face number.

        Raises
        ------
        ImageError, BoxError, DetectionError
            If the image, a box or the detector is wrong.
        ParameterError
            If the timestamp is not finite.
        """
        given = None if boxes is None else _as_boxes(boxes)
        pixels = as_pixels(image)
        height, width = pixels.shape[:2]
        index, moment = self._advance(timestamp)
        now = _Now(pixels, index, moment, self.camera or Camera.from_size(width, height))

        outcomes = {track.face_id: self._follow(track, now) for track in self._tracks}
        self._settle_duplicates(outcomes)
        detections = self._detect(now, outcomes, given)
        if detections is not None:
            self._use_detections(now, outcomes, detections)
            if given is None and self._has_to_look_again(now, outcomes):
                self._use_detections(now, outcomes, self._missed(now))
            self._settle_duplicates(outcomes)
        faces = [self._finish(track, outcomes[track.face_id], now) for track in self._tracks]
        self._give_up(moment)
        if not faces:
            faces = [self._missing("no face found", self._no_face, now.index, now.timestamp)]
        return sorted(faces, key=lambda face: face.face_id)

    # --- one frame, step by step

    @property
    def _no_face(self) -> int:
        return 0 if self.max_faces == 1 else -1

    def _missing(self, reason: str, face_id: int, frame: int, timestamp: float) -> Face:
        return Face.missing(self.clnf.model.pdm, reason, face_id=face_id, frame=frame, timestamp=timestamp)

    def _advance(self, timestamp: float | None) -> tuple[int, float]:
        if timestamp is None:
            timestamp = 0.0 if self._last_timestamp is None else self._last_timestamp + 1.0 / DEFAULT_RATE
        try:
            moment = float(timestamp)
        except (TypeError, ValueError, OverflowError):
            moment = math.nan
        if not math.isfinite(moment):
            raise ParameterError(f"a timestamp is a finite number of seconds, not {timestamp!r}")
        index = self._next_frame
        self._next_frame += 1
        self._last_timestamp = moment
        return index, moment

    def _fit(
        self, image: NDArray[Any], starts: Sequence[Parameters], before: Parameters | None = None
    ) -> _Outcome:
        """Fit a face; before: how it was in the frame before, if it was followed."""
        first = before is None
        settings, name = (self.first, self.first_set) if first else (self.tracking, self.tracking_set)
        result, _ = self.clnf.fit_from(image, starts, settings)
        if before is None or self._changed(before.shape, result.parameters.shape) > JUMP:
            result = self.clnf.looked_at_again(image, starts, result, self.min_likelihood)
        return _Outcome(result, failure_of(result, self.min_likelihood), name)

    def _changed(self, before: Float, shape: Float) -> float:
        """Return by how many of its standard deviations a mode of the shape changed, root mean square."""
        squares = (shape - before) ** 2 / self.clnf.model.pdm.eigenvalues
        return math.sqrt(squares.sum() / max(squares.size, 1))

    def _fit_box(self, image: NDArray[Any], detection: Float) -> _Outcome:
        bound, seen = self.min_likelihood, float(detection[5])
        roll = None if math.isnan(seen) else seen

        def fit(roll: float) -> tuple[FitResult, int]:
            return self.clnf.fit_rolled(image, detection[:4], roll, self.first, bound, looks=self.looks)

        result, _ = self.clnf.fit_any_way_up(fit, self.first_set, bound, roll=roll)
        # As in `CLNF.fit`; only fits from boxes look at the mirror image.
        known = self.clnf.confidence_of(result, self.first_set) if self._trusts else None
        failure = failure_of(result, bound, known)
        return _Outcome(result, failure, self.first_set, True, float(detection[4]), roll=roll or 0.0)

    def _follow(self, track: _Track, now: _Now) -> _Outcome:
        """Fit a face from where it was."""
        start = track.parameters
        if track.template is not None and not track.lost:
            start = _moved(start, _template_motion(now.image, track.template, start, track.box))
        quarter = Quarter.of(roll_of(start), now.image)
        image = quarter.image(now.image)
        starts = self.clnf.start_near(image, quarter.parameters_in(start))
        outcome = self._fit(image, starts, None if track.lost else track.parameters)
        if track.lost and outcome.failure is None and self._trusts:
            # No detector has seen a face there, and it is looked for in each frame: noise has many chances.
            known = self.clnf.confidence_of(outcome.result, outcome.parameter_set)
            if known is not None and known < TRUSTED:
                failure = f"lost, and not trusted where it was: confidence {known:.2f}"
                outcome = replace(outcome, failure=failure)
        return replace(outcome, result=quarter.result_out(outcome.result)) if quarter.count else outcome

    def _detect(self, now: _Now, outcomes: dict[int, _Outcome], boxes: Float | None) -> Float | None:
        """Return the boxes of this frame with scores and rolls, (k, 6), or None if it was not searched."""
        if boxes is not None:
            return with_roll(find_faces(lambda _: boxes, now.image))
        failed = [track for track in self._tracks if outcomes[track.face_id].failure is not None]
        newly_failed = any(not track.lost for track in failed)
        waited = now.timestamp - self._last_detection
        if waited < 0:  # the clock was set back
            waited = math.inf
        wanted = (
            newly_failed
            or (bool(failed) and waited >= self.retry_interval)
            or (not self._tracks and waited >= self.retry_interval)
            or (self._has_to_search and waited >= self.search_interval)
            or (self.max_faces == 1 and self.larger_beside is None and waited >= GLANCE_INTERVAL)
        )
        if not wanted:
            return None
        self._last_detection = now.timestamp
        found = with_roll(find_faces(self.detector, now.image))
        rolls = {self._roll, *(track.roll for track in failed)} - {0.0}
        if self.lying and rolls:
            found = np.concatenate([found, find_lying(self.detector, now.image, sorted(rolls), whole=True)])
        # The largest first.
        return found[np.argsort(-found[:, 2] * found[:, 3], kind="stable")]

    def _has_to_look_again(self, now: _Now, outcomes: dict[int, _Outcome]) -> bool:
        """Say whether it is time to look once more: no face is seen, and none was for a while."""
        if any(outcome.failure is None for outcome in outcomes.values()):
            self._missed_interval = self.search_interval
            return False
        return self.lying and not 0 <= now.timestamp - self._last_missed < self._missed_interval

    def _missed(self, now: _Now) -> Float:
        """Return the boxes of faces that fill the frame, or else of those that lie, each face's best."""
        if self._last_missed > -math.inf:
            # Long stretches without a face are not to take much longer.
            longest = max(self.search_interval, GLANCE_INTERVAL)
            self._missed_interval = min(2 * self._missed_interval, longest)
        self._last_missed = now.timestamp
        filling = self._sure(now, find_filling(self.detector, now.image))
        if len(filling):
            return filling
        found = self._sure(now, find_lying(self.detector, now.image))
        if len(found):
            # Where one was lost too far away to be taken for these, they are looked for again soon.
            self._roll = Quarter.of(float(found[0, 5]), now.image).roll
        return found

    def _sure(self, now: _Now, rows: Float) -> Float:
        """Return those of some boxes whose fits show a face for sure, each face's best, the largest first.

        Their rolls are about those of the fits.
        """
        outcomes = [self._fit_box(now.image, row) for row in rows]
        known = [self.clnf.confidence_of(outcome.result, outcome.parameter_set) for outcome in outcomes]
        above = [outcome.result.likelihood - self.min_likelihood for outcome in outcomes]
        sure = [i for i in range(len(rows)) if counts_lying(outcomes[i].failure, known[i], above[i])]
        kept: list[int] = []
        for i in sorted(sure, key=lambda i: (-(known[i] or 0.0), -above[i])):
            if not outcomes[i].is_on(outcomes[other] for other in kept):
                kept.append(i)
        for i in kept:
            rows[i, 5] = nearest_roll(roll_of(outcomes[i].result.parameters))
        return rows[sorted(kept, key=lambda i: -rows[i, 2] * rows[i, 3])]

    @property
    def _has_to_search(self) -> bool:
        """Whether there may be a new face to follow, or others that a lost one could be taken for."""
        more = len(self._tracks) < self.max_faces or bool(self._others)
        return more or any(track.stands_in for track in self._tracks)

    def _use_detections(self, now: _Now, outcomes: dict[int, _Outcome], detections: Float) -> None:
        """Give boxes to the faces that failed, and begin to follow new ones."""
        good = [outcome for outcome in outcomes.values() if outcome.failure is None]
        taken = [outcome.fitted_box for outcome in good]
        free = [d for d in detections if not is_among(d[:4], taken)]
        failed = [track for track in self._tracks if outcomes[track.face_id].failure is not None]
        self._others.follow([d[:4] for d in free], [track.box for track in failed], now.timestamp)
        # The nearest pairs first, whatever the order of tracks and boxes.
        pairs = sorted(
            (
                (box_distance(track.box, detection[:4]), track.face_id, i)
                for track in failed
                for i, detection in enumerate(free)
                if self._may_be(track, detection, now)
            ),
        )
        fits: dict[int, _Outcome] = {}
        used: dict[int, int] = {}  # boxes by face number

        def fit(i: int) -> _Outcome:
            if i not in fits:
                fits[i] = self._fit_box(now.image, free[i])
            return fits[i]

        def is_second_box(i: int) -> bool:
            """Say whether it leads to a face that was seen beside, which has a box of its own."""
            return fit(i).fitted_box in self._others and free[i][:4] not in self._others

        def shows_another(i: int) -> bool:
            return fit(i).failure is None and not is_second_box(i) and not fit(i).is_on(good)

        # A box in which the model sees no face, or one that is followed, is for those without a better one.
        for any_box in (False, True):
            for _, face_id, i in pairs:
                if i in used.values() or face_id in used or is_second_box(i):
                    continue
                if not (shows_another(i) or any_box):
                    continue
                used[face_id] = i
                better = max(fits[i], outcomes[face_id], key=lambda outcome: outcome.rank)
                outcomes[face_id] = replace(better, box=free[i][:4], roll=fits[i].roll)
                if better.failure is None:
                    good.append(better)
        for i in range(len(free)):
            stale = self._stale(now, outcomes)
            leaving = stale or self._stand_ins_for(free[i])
            has_room = len(self._tracks) < self.max_faces
            if i in used.values() or not (has_room or leaving) or not shows_another(i):
                continue
            if not has_room:
                self._tracks.remove(leaving[0])
            if leaving and not stale:
                self._others.add(leaving[0].box, now.timestamp)
            good.append(fits[i])
            track = self._begin(fits[i], now, stands_in=self.max_faces == 1 and free[i][:4] in self._others)
            outcomes[track.face_id] = replace(fits[i], box=free[i][:4])
        # While one is lost, a face that was not seen before may be that one.
        lost = any(track.stands_in or outcomes[track.face_id].failure is not None for track in self._tracks)
        beside = [
            free[i][:4]
            for i in range(len(free))
            if i not in used.values() and (free[i][:4] in self._others or (not lost and shows_another(i)))
        ]
        self._others.update(beside, [track.box for track in self._tracks], now.timestamp)
        if not lost:
            self._note_larger(beside, [outcome.fitted_box for outcome in good], now.timestamp)

    def _note_larger(self, beside: Sequence[Float], followed: Sequence[Float], moment: float) -> None:
        """Say once if a much larger face is seen beside the only one that is followed."""
        if self.max_faces > 1 or self.larger_beside is not None or not followed:
            return
        area = max(box[2:].prod() for box in followed)
        if any(box[2:].prod() > LARGER * area for box in beside):
            self.larger_beside = (
                f"at {moment:.1f} s a larger face is seen than the only one that is followed: "
                "follow more (--max-faces, max_faces)"
            )

    def _stale(self, now: _Now, outcomes: dict[int, _Outcome]) -> list[_Track]:
        """Return those who make room for a new face: no fit has seen them for long."""
        return [
            track
            for track in self._tracks
            if outcomes[track.face_id].failure is not None
            and abs(now.timestamp - track.last_fitted) > self.patience
        ]

    def _stand_ins_for(self, detection: Float) -> list[_Track]:
        """Return those who make room for the face that they stand in for, if this can be it."""
        if detection[:4] in self._others:
            return []
        area = detection[2] * detection[3]
        return [
            track for track in self._tracks if track.stands_in and area >= LEAST_SHARE * track.box[2:].prod()
        ]

    def _may_be(self, track: _Track, detection: Float, now: _Now) -> bool:
        """Say whether a box can be a lost face: not seen beside it before, not far away, of a like size."""
        if detection[:4] in self._others:
            return False
        if self.max_faces == 1 and not track.stands_in:
            return True
        if track.stands_in:
            reach = _bystanders.REACH
        else:
            reach = min(1.0 + FACE_SPEED * abs(now.timestamp - track.last_seen), MAX_REACH)
        return box_distance(track.box, detection[:4]) <= reach and boxes_alike(track.box, detection[:4])

    def _begin(self, outcome: _Outcome, now: _Now, *, stands_in: bool) -> _Track:
        track = _Track(
            int(stands_in) if self.max_faces == 1 else self._next_id,
            outcome.result.parameters,
            box_of(outcome.result.landmarks),
            now.timestamp,
            now.timestamp,
            stands_in=stands_in,
            smoother=None if self._smoother is None else self._smoother.fresh(),
        )
        self._next_id += 1
        self._tracks.append(track)
        return track

    def _settle_duplicates(self, outcomes: dict[int, _Outcome]) -> None:
        """Leave a face that several are on to the one that was nearest; the others are lost: it hides them.

        One that was lost before has no claim: it waits where it was, and others pass there, of those, too,
        that are not followed.
        """

        def claim(track: _Track) -> tuple[bool, bool, float, int]:
            outcome = outcomes[track.face_id]
            moved = box_distance(track.box, outcome.fitted_box)
            return outcome.failure is not None, track.lost, moved, track.face_id

        kept: list[_Outcome] = []
        for track in sorted(self._tracks, key=claim):
            outcome = outcomes[track.face_id]
            if outcome.is_on(kept) or (track.lost and outcome.fitted_box in self._others):
                reason = outcome.failure or "another face is there"
                result = replace(outcome.result, failure=reason)
                outcomes[track.face_id] = replace(outcome, result=result, failure=reason, box=None)
            elif outcome.failure is None:
                kept.append(outcome)

    def _give_up(self, moment: float) -> None:
        """Forget faces that were lost for too long; of one face at a time the last one waits."""
        if self.max_faces > 1:
            self._tracks = [track for track in self._tracks if abs(moment - track.last_seen) <= self.patience]

    def _finish(self, track: _Track, outcome: _Outcome, now: _Now) -> Face:
        """Keep what the next frame needs, and return the face."""
        found = outcome.failure is None
        result = outcome.result
        if found:
            cut = self._changed(track.parameters.shape, result.parameters.shape) > CUT
            track.parameters = result.parameters
            track.box = outcome.fitted_box
            track.last_seen = track.last_fitted = now.timestamp
            track.roll = Quarter.of(roll_of(result.parameters), now.image).roll
            # One that stands in for another waits for that one.
            if not track.stands_in:
                self._roll = track.roll
            if self.template:
                track.template = _template(now.image, result.parameters, track.box)
            if track.smoother is not None and (track.lost or outcome.detected or cut):
                track.smoother = track.smoother.fresh()
        elif outcome.box is not None:
            # The detector saw the face, the fit did not hold: the next one begins there.
            track.parameters = self.clnf.model.pdm.from_box(outcome.box, (0.0, 0.0, outcome.roll))
            track.box = outcome.box
            track.last_seen = now.timestamp
        if found and track.smoother is not None:
            parameters = track.smoother(result.parameters, now.timestamp)
            # Landmarks, pose and shape stay those of one face.
            landmarks = self.clnf.model.pdm.landmarks_2d(parameters)
            result = replace(result, parameters=parameters, landmarks=landmarks)
        track.lost = not found
        return Face.from_fit(
            self.clnf.model.pdm,
            # The caller may change its arrays; the next frame is fitted from the track's.
            result.parameters.copy(),
            result.landmarks,
            now.camera,
            failure=outcome.failure,
            likelihood=result.likelihood,
            confidence=self.clnf.confidence_of(outcome.result, outcome.parameter_set),
            landmark_likelihoods=result.landmark_likelihoods,
            score=outcome.score,
            detected=outcome.detected,
            face_id=track.face_id,
            frame=now.index,
            timestamp=now.timestamp,
        )


def _as_boxes(boxes: ArrayLike) -> Float:
    """Return boxes as they were given, (k, 4), or with scores, (k, 5)."""
    try:
        given = np.asarray(boxes, np.float64)
    except (TypeError, ValueError) as error:
        raise BoxError(f"boxes are (k, 4), one row (x, y, w, h) a face, not {boxes!r}") from error
    if given.size == 0:
        return np.empty((0, 4))
    if given.ndim != 2 or given.shape[1] not in (4, 5):
        raise BoxError(f"boxes are (k, 4), one row (x, y, w, h) a face, not {boxes!r}")
    for box in given:
        check_box(box[:4])
    return given


# --- the template


def _grey_patch(image: NDArray[Any], box: Float, scale: float) -> tuple[NDArray[np.float32], Float] | None:
    """Return the part of the image in a box, grey and resized, and where its corner is (px)."""
    import cv2

    height, width = image.shape[:2]
    low = np.clip(np.floor(box[:2]), 0, [width, height]).astype(int)
    high = np.clip(np.ceil(box[:2] + box[2:]), 0, [width, height]).astype(int)
    size = np.rint((high - low) * scale).astype(int)
    if size.min() < 4:
        return None
    part = image[low[1] : high[1], low[0] : high[0]].astype(np.float32).mean(axis=2)
    resized = cv2.resize(part, (int(size[0]), int(size[1])), interpolation=cv2.INTER_AREA)
    return np.asarray(resized, dtype=np.float32), low.astype(np.float64)


def _template_scale(parameters: Parameters) -> float:
    return min(1.0, TEMPLATE_SCALE / float(parameters.pose[0]))


def _template(image: NDArray[Any], parameters: Parameters, box: Float) -> NDArray[np.float32] | None:
    patch = _grey_patch(image, box, _template_scale(parameters))
    return None if patch is None else patch[0]


def _template_motion(
    image: NDArray[Any], template: NDArray[np.float32], parameters: Parameters, box: Float
) -> Float:
    """Return by how much the face moved, (2,) px: where its template fits best in twice its box."""
    import cv2

    scale = _template_scale(parameters)
    search = np.concatenate([box[:2] - box[2:] / 2, 2 * box[2:]])
    patch = _grey_patch(image, search, scale)
    if patch is None or (np.array(patch[0].shape) < template.shape).any():
        return np.zeros(2)
    match = cv2.matchTemplate(patch[0], template, cv2.TM_CCOEFF_NORMED)
    y, x = np.unravel_index(int(np.argmax(match)), match.shape)
    # The template begins at the part of the last box that is inside the image.
    before = np.clip(np.floor(box[:2]), 0, None)
    motion: Float = patch[1] + np.array([x, y]) / scale - before
    # Both pictures begin at whole pixels, and are reduced: less than one of theirs is no motion.
    return motion if np.abs(motion).max() * scale >= 1 else np.zeros(2)


def _moved(parameters: Parameters, motion: Float) -> Parameters:
    pose = parameters.pose.copy()
    pose[4:6] += motion
    return Parameters(pose, parameters.shape)
