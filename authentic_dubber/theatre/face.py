"""Draws one puppet: body, head, hair, eyes, brows and mouth, each from a few filled outlines."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .brush import Pen, Points, circle, mix, oval, smooth
from .hair import back_hair, front_hair
from .head import HEADS, head_outline
from .mouth import MOUTH_Y, TEETH_FROM, MouthOutlines, mouth_outlines
from .puppet import Controls, Puppet
from .style import FilmStyle, Paint


@dataclass(frozen=True, slots=True)
class Pose:
    """Where the head is at one instant, in head units and radians.

    Attributes:
        x, y: the head's shift from rest.
        tilt: clockwise.
        turn: -1 to 1, features sliding sideways over the head.
        gaze_x, gaze_y: pupils, -1 to 1.
        blink: 0 open to 1 shut.
        opening: of the mouth, 0 to 1.
    """

    x: float
    y: float
    tilt: float
    turn: float
    gaze_x: float
    gaze_y: float
    blink: float
    opening: float


@dataclass(frozen=True, slots=True)
class Figure:
    """Everything that one picture of a puppet depends on, besides where it stands."""

    puppet: Puppet
    controls: Controls
    pose: Pose
    paint: Paint
    style: FilmStyle


def draw_puppet(body: Pen, head: Pen, figure: Figure, *, mouth: bool = True) -> None:
    """The whole figure. The body's pen stands still while the head's sways, so necks bend.

    The picture of both pens is drawn upon in place.

    Args:
        mouth: false leaves the mouth out, for many mouths to be drawn over one face.
    """
    puppet, paint, style = figure.puppet, figure.paint, figure.style
    back_hair(head, puppet, paint, style)
    _body(body, head, figure)
    _ears(head, figure)
    _head(head, puppet, paint, style)
    slide = np.array([0.16 * figure.pose.turn, 0.0])
    _lower_face(head, puppet, paint, style, slide)
    if mouth:
        draw_mouth(head, puppet_mouths(puppet, figure.controls, np.array([figure.pose.opening])), 0, paint, slide)
    for side in (-1, 1):
        _eye(head, side, figure, slide)
    front_hair(head, puppet, paint, style)
    for side in (-1, 1):
        _brow(head, side, figure, slide)
    if puppet.glasses:
        _glasses(head, puppet, paint, slide)


def puppet_mouths(puppet: Puppet, controls: Controls, opening: Points) -> MouthOutlines:
    """The mouth outlines of a whole shot, as `draw_puppet` would draw them one by one.

    Shape:
        opening (V,) -> outlines (V, P, 2).
    """
    narrow = 1.0 if puppet.kind == "human" else 0.84  # a muzzle leaves less room
    return mouth_outlines(opening, controls.mouth_curve, puppet.mouth_width * controls.mouth_width * narrow)


def draw_mouth(pen: Pen, mouths: MouthOutlines, frame: int, paint: Paint, slide: Points) -> None:
    """One frame's mouth. A nearly shut mouth is lips only, since a sliver of teeth would flicker."""
    pen.fill(mouths.rim[frame] + slide, paint.lips)
    if mouths.openness[frame] > 0.02:
        pen.fill(mouths.hole[frame] + slide, paint.hole)
    inside = float(mouths.openness[frame]) - TEETH_FROM
    if inside > 0:
        # They come out of the dark, as the light reaches into a wider mouth.
        seen = min(1.0, 5 * inside)
        pen.fill(mouths.tongue[frame] + slide, mix(paint.hole, paint.tongue, seen))
        pen.fill(mouths.teeth[frame] + slide, mix(paint.hole, paint.teeth, seen))


def _lower_face(pen: Pen, puppet: Puppet, paint: Paint, style: FilmStyle, slide: Points) -> None:
    _cheeks(pen, puppet, paint, slide)
    if puppet.kind != "human":
        pen.fill(oval((0.0, 0.46), (0.52, 0.37)) + slide, paint.muzzle)
    _nose(pen, puppet, paint, style, slide)


def _head(pen: Pen, puppet: Puppet, paint: Paint, style: FilmStyle) -> None:
    outline = head_outline(puppet.shape)
    pen.fill(outline * (1 + style.ink / 2), paint.skin_edge)
    pen.fill(outline * (1 - style.ink / 2), paint.skin)
    if style.shading:
        # The right half of the outline, and back along the same half drawn in: a crescent, without any mask.
        right = outline[np.r_[34:40, 0:13]] * (1 - style.ink / 2)
        inner = right[::-1] * (0.8, 0.97) - (0.02, 0.01)
        pen.fill(np.concatenate([right, inner]), paint.skin_shadow)


def _cheeks(pen: Pen, puppet: Puppet, paint: Paint, slide: Points) -> None:
    for side in (-1, 1):
        centre = (side * 0.52, 0.26)
        pen.fill(oval(centre, (0.17, 0.11)) + slide, paint.cheek)
        if puppet.freckles:
            for dx, dy in ((-0.08, -0.1), (0.02, -0.06), (0.1, -0.12)):
                pen.fill(oval((centre[0] + dx, centre[1] + dy), (0.018, 0.018), 8) + slide, paint.skin_edge)


def _nose(pen: Pen, puppet: Puppet, paint: Paint, style: FilmStyle, slide: Points) -> None:
    ahead = 1.5 * slide  # a nose stands out, so it slides further than the rest
    if puppet.kind != "human":
        pen.fill(np.array([[-0.12, 0.18], [0.12, 0.18], [0.05, 0.28], [-0.05, 0.28]]) + ahead, paint.nose)
        pen.stroke(np.array([[0.0, 0.28], [0.0, 0.37]]) + ahead, paint.nose, 0.03)
        return
    match puppet.nose:
        case "button":
            pen.fill(oval((0.0, 0.2), (0.1, 0.085)) + ahead, paint.nose)
        case "hook":
            hook = np.array([[0.02, -0.02], [0.09, 0.15], [0.12, 0.22], [0.05, 0.27], [-0.05, 0.25]])
            pen.stroke(hook + ahead, paint.skin_edge, style.ink + 0.01)
        case "dash":
            pen.stroke(np.array([[-0.07, 0.2], [0.0, 0.24], [0.08, 0.2]]) + ahead, paint.skin_edge, style.ink + 0.01)


_EYE_Y = -0.08


def _eye(pen: Pen, side: int, figure: Figure, slide: Points) -> None:
    puppet, controls, pose, paint = figure.puppet, figure.controls, figure.pose, figure.paint
    x = side * 0.35 * puppet.eye_spread
    wide, high = 0.2 * puppet.eye_size, 0.27 * puppet.eye_size
    centre = np.array([x, _EYE_Y]) + slide
    openness = controls.eye_open * (1 - pose.blink)
    # Lids cut the eye's oval: the upper one slants with the brow, the lower one pushes up in a smile.
    slant = 0.34 * controls.brow_slant * side * min(1.0, abs(controls.brow_slant) + 0.2)
    high *= max(1.0, openness)
    low_cut = centre[1] + high * (1 - 0.42 * max(controls.mouth_curve, 0.0))
    up_cut = low_cut - (low_cut - centre[1] + high) * min(1.0, openness)

    def clip(points: Points) -> Points:
        y = np.clip(points[:, 1], up_cut + slant * (points[:, 0] - centre[0]), low_cut)
        return np.stack([points[:, 0], y], axis=1)

    socket = oval((centre[0], centre[1]), (wide, high))
    pen.oval((centre[0], centre[1]), (wide, high), paint.lid, paint.skin_edge, 0.6 * figure.style.ink)
    if openness > 0.12:
        pen.fill(clip(socket), paint.white)
        look = centre + np.array([0.07 * pose.gaze_x + 0.2 * slide[0], 0.05 * pose.gaze_y + 0.02])
        radius = 0.135 * puppet.eye_size
        pen.fill(clip(circle(20) * radius + look), paint.iris)
        pen.fill(clip(circle(16) * (0.078 * controls.pupil * puppet.eye_size) + look), paint.ink)
        pen.fill(clip(circle(10) * 0.038 + look + np.array([0.05, -0.06])), paint.white)
    across = centre[0] + wide * np.linspace(-1.12, 1.12, 9)
    arch = high * np.sqrt(np.maximum(1 - ((across - centre[0]) / wide) ** 2, 0))
    lash = np.clip(centre[1] - arch, up_cut + slant * (across - centre[0]), low_cut)
    pen.stroke(np.stack([across, lash], axis=1), paint.ink, 0.05)


def _brow(pen: Pen, side: int, figure: Figure, slide: Points) -> None:
    puppet, controls = figure.puppet, figure.controls
    x = side * 0.36 * puppet.eye_spread
    y = _EYE_Y - 0.4 - 0.17 * controls.brow_raise - 0.02 * puppet.eye_size
    u = np.linspace(-1, 1, 7)  # outer end to inner end
    thick = 0.055 * puppet.brow_width * (0.55 + 0.45 * (u + 1) / 2) * np.sqrt(np.maximum(1.04 - u**2, 0) + 0.15)
    along = x - side * 0.24 * u
    line = y - 0.17 * controls.brow_slant * u - 0.07 * (1 - u**2) * (1 + 0.8 * controls.brow_raise)
    upper, lower = np.stack([along, line - thick], axis=1), np.stack([along, line + thick], axis=1)
    pen.fill(np.concatenate([upper, lower[::-1]]) + slide, figure.paint.brow)


def _glasses(pen: Pen, puppet: Puppet, paint: Paint, slide: Points) -> None:
    x = 0.36 * puppet.eye_spread
    for side in (-1, 1):
        ring = oval((side * x, _EYE_Y + 0.02), (0.3, 0.31)) + slide
        pen.stroke(np.concatenate([ring, ring[:1]]), paint.ink, 0.045)
    pen.stroke(np.array([[-x + 0.29, -0.1], [x - 0.29, -0.1]]) + slide, paint.ink, 0.045)


_SIDE = np.array([[0.3, 1.1], [0.7, 1.18], [1.12, 1.3], [1.3, 1.7], [1.38, 3.4]])
_SHOULDERS = smooth(np.concatenate([_SIDE, _SIDE[::-1] * (-1, 1)]))


def _body(pen: Pen, head: Pen, figure: Figure) -> None:
    puppet, paint, style = figure.puppet, figure.paint, figure.style
    head.fill(np.array([[-0.28, 0.6], [0.28, 0.6], [0.3, 1.35], [-0.3, 1.35]]), paint.skin_shadow)
    pen.fill(_SHOULDERS, paint.clothes, paint.clothes_edge, style.ink)
    match puppet.outfit:
        case "tee":
            pen.fill(oval((0.0, 1.12), (0.4, 0.22)), paint.skin_shadow, paint.trim, 0.07)
        case "collar":
            flap = np.array([[0.0, 1.5], [0.1, 1.12], [0.42, 1.08], [0.5, 1.34]])
            pen.fill(flap, paint.trim, paint.clothes_edge, style.ink)
            pen.fill(flap * (-1, 1), paint.trim, paint.clothes_edge, style.ink)
        case "scarf":
            pen.fill(np.array([[0.1, 1.2], [0.36, 1.2], [0.46, 2.1], [0.16, 2.1]]), paint.trim)
            pen.oval((0.0, 1.17), (0.56, 0.2), paint.trim, paint.clothes_edge, style.ink)
        case "stripes":
            for y in (1.46, 1.72, 1.98):
                pen.stroke(np.array([[-1.1, y], [0.0, y + 0.06], [1.1, y]]), paint.trim, 0.13)


def _ears(pen: Pen, figure: Figure) -> None:
    puppet, paint, style = figure.puppet, figure.paint, figure.style
    wide, high = HEADS[puppet.shape][:2]
    for side in (-1, 1):
        match puppet.kind:
            case "human":
                pen.oval((side * wide * 0.98, 0.06), (0.16, 0.22), paint.skin, paint.skin_edge, style.ink)
                pen.oval((side * wide * 1.0, 0.07), (0.07, 0.12), paint.skin_shadow)
            case "cat":
                ear = np.array([[0.22, -0.86], [0.78, -1.42], [0.9, -0.5]]) * (side * wide / 0.9, high)
                pen.fill(ear, paint.skin, paint.skin_edge, style.ink)
                pen.fill(0.6 * ear + 0.4 * ear.mean(axis=0), paint.cheek)
            case "bear":
                pen.oval((side * wide * 0.74, -0.82 * high), (0.3, 0.3), paint.skin, paint.skin_edge, style.ink)
                pen.oval((side * wide * 0.74, -0.82 * high), (0.16, 0.16), paint.cheek)
            case "bunny":
                lean = np.array([side * 0.42 * wide, -1.28 * high])
                pen.fill(oval((0.0, 0.0), (0.2, 0.6)) + lean, paint.skin, paint.skin_edge, style.ink)
                pen.fill(oval((0.0, 0.06), (0.1, 0.42)) + lean, paint.cheek)


def mouth_centre() -> tuple[float, float]:
    """Where a mouth crop is centred, in head units."""
    return 0.0, MOUTH_Y + 0.06
