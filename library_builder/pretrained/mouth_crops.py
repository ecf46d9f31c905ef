"""Pictures of a mouth as the published lip-reading networks were taught: grey, 96 x 96, at 25 frames per second.

Published, a face is first laid upon a mean face by the corners of its eyes and its nose, and the mouth is cut out of
that; both need 68 landmarks per frame and the mean face's own. Without them the crop is a proportion of the face box.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt

from library_builder.tracking import FaceTrack, grey
from library_builder.types import Frame

CROP_PIXELS = 96
NETWORK_PIXELS = 88
"""The middle of a crop that a network looks at."""
NETWORK_FPS = 25.0
MEAN, SPREAD = 0.421, 0.165
"""Of the crops the networks were taught with, grey levels from 0 to 1."""
FACE_PIXELS = 256
"""Side of the picture that the mean face is drawn in."""
STEADY = (33, 36, 39, 42, 45)
"""Landmarks that speech does not move: below the nose, and the corners of the eyes."""
MOUTH = slice(48, 68)
_WINDOW = 12
"""Frames over which landmarks are averaged before a face is laid down, from each frame on."""

Crops = npt.NDArray[np.uint8]
Points = npt.NDArray[np.float64]


def boxed_crops(frames: Sequence[Frame], track: FaceTrack) -> Crops:
    """The mouth by its place in the face box; it fills about half of the crop's width, as in the published ones.

    Shape:
        V frames -> (V, 96, 96).

    Raises:
        ValueError: the track is of another number of frames, or nothing was found.
    """
    if len(frames) != len(track.boxes) or track.found == "none":
        raise ValueError(f"expected a face found in {len(frames)} frames, got {track.found} in {len(track.boxes)}")
    crops = np.zeros((len(frames), CROP_PIXELS, CROP_PIXELS), dtype=np.uint8)
    for i, (frame, (left, top, width, height)) in enumerate(zip(frames, track.mouths(), strict=True)):
        scale = CROP_PIXELS / width
        crops[i] = _warped(grey(frame), _onto_middle(scale, left + width / 2, top + height / 2))
    return crops


def aligned_crops(frames: Sequence[Frame], points: Points, mean_face: Points) -> Crops:
    """The mouth of a face laid upon the mean face, as published: turned, moved and scaled, never sheared.

    Args:
        points: 68 landmarks per frame, x and y in pixels.
        mean_face: its 68 landmarks, in a picture of 256 x 256.

    Shape:
        V frames, (V, 68, 2), (68, 2) -> (V, 96, 96).

    Raises:
        ValueError: there are not 68 landmarks for every frame and the mean face.
    """
    if points.shape != (len(frames), 68, 2) or mean_face.shape != (68, 2):
        raise ValueError(
            f"expected landmarks ({len(frames)}, 68, 2) and a mean face (68, 2), got {points.shape}, {mean_face.shape}"
        )
    crops = np.zeros((len(frames), CROP_PIXELS, CROP_PIXELS), dtype=np.uint8)
    half = CROP_PIXELS / 2
    steady = list(STEADY)
    for i, frame in enumerate(frames):
        # A window that would leave the shot is the last whole one, as published.
        first = max(0, min(i, len(frames) - _WINDOW))
        smooth = points[first : first + _WINDOW].mean(axis=0)
        step = similarity(smooth[steady], mean_face[steady])
        mouth = points[i, MOUTH].mean(axis=0) @ step[:, :2].T + step[:, 2]
        # A crop never leaves the mean face's picture.
        centre = np.clip(mouth, half, FACE_PIXELS - half)
        shift = np.array([[1, 0, half - centre[0]], [0, 1, half - centre[1]], [0, 0, 1]])
        crops[i] = _warped(grey(frame), (shift @ np.vstack([step, [0, 0, 1]]))[:2])
    return crops


def similarity(source: Points, target: Points) -> Points:
    """Rotation, scale and shift that bring points nearest to others, by least squares (Umeyama 1991).

    Shape:
        (N, 2), (N, 2) -> (2, 3).

    Raises:
        ValueError: the source points are all one.
    """
    middle, aim = source.mean(axis=0), target.mean(axis=0)
    spread = float(((source - middle) ** 2).sum())
    if spread == 0:
        raise ValueError("expected points apart from each other, got one place for all")
    # As complex numbers, turning and scaling are one factor, and its least-squares value a quotient of sums.
    away, wanted = (source - middle) @ np.array([1, 1j]), (target - aim) @ np.array([1, 1j])
    factor = (np.conj(away) * wanted).sum() / spread
    turn = np.array([[factor.real, -factor.imag], [factor.imag, factor.real]])
    return np.column_stack([turn, aim - turn @ middle])


def normalised(crops: Crops) -> npt.NDArray[np.float32]:
    """The middle of each crop in units of the published mean and spread.

    Shape:
        (V, 96, 96) -> (V, 88, 88).

    Raises:
        ValueError: the crops are not (V, 96, 96), V > 0.
    """
    if crops.ndim != 3 or crops.shape[1:] != (CROP_PIXELS, CROP_PIXELS) or not len(crops):
        raise ValueError(f"expected grey crops (V, {CROP_PIXELS}, {CROP_PIXELS}), V > 0, got shape {crops.shape}")
    rim = (CROP_PIXELS - NETWORK_PIXELS) // 2
    middle = crops[:, rim:-rim, rim:-rim].astype(np.float32) / 255
    return ((middle - MEAN) / SPREAD).astype(np.float32)


def ticks(times: npt.NDArray[np.float64]) -> npt.NDArray[np.intp]:
    """Which frame is on show at every 25th of a second from the first on: film at that rate is taken frame by frame.

    Shape:
        (V,) seconds, rising -> (T,) indices.
    """
    usual = float(np.median(np.diff(times))) if len(times) > 1 else 1 / NETWORK_FPS
    # Containers round times to milliseconds: single steps may be off, the usual one is not.
    steady = np.abs(np.diff(times) * NETWORK_FPS - 1).max(initial=0) < 0.1
    if steady and abs(usual * NETWORK_FPS - 1) < 0.005:
        return np.arange(len(times))
    moments = np.arange(times[0], times[-1] + usual / 2, 1 / NETWORK_FPS)
    return np.clip(np.searchsorted(times, moments + 1e-6, side="right") - 1, 0, len(times) - 1)


def _onto_middle(scale: float, x: float, y: float) -> Points:
    middle = CROP_PIXELS / 2
    return np.array([[scale, 0, middle - scale * x], [0, scale, middle - scale * y]])


def _warped(picture: npt.NDArray[np.uint8], step: Points) -> Crops:
    scale = float(np.hypot(step[0, 0], step[1, 0]))
    # A plain warp skips pixels when it shrinks, and skipped pixels flicker; blur away first what cannot be kept.
    if scale < 0.8:
        picture = np.asarray(cv2.GaussianBlur(picture, (0, 0), 0.4 / scale), dtype=np.uint8)
    size = (CROP_PIXELS, CROP_PIXELS)
    warped = cv2.warpAffine(picture, step, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(warped, dtype=np.uint8)
