"""What a video language model is asked about a shot and a face, with the colours that were measured in it.

Paper section "Multimodal Reference Footage Library": captions that speak of emotion, prompted with hue, lightness and
saturation.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from library_builder.scene import Look, main_hue

PROMPTS = "prompts-v1"
"""Part of the spaces' names: captions of other prompts are other captions."""


@dataclass(frozen=True, slots=True)
class Colours:
    """The colours of a shot, as a prompt tells them.

    Attributes:
        hue: the commonest, in words.
        degrees: its middle, 0 red, 120 green, 240 blue.
        hue_share: percent of what is coloured that has it.
        lightness: of CIELAB, 0 black to 100 white.
        saturation: chroma against chroma and lightness together (CIE s_ab), percent.
    """

    hue: str
    degrees: int
    hue_share: int
    lightness: int
    saturation: int

    @classmethod
    def of(cls, look: Look) -> Colours:
        """The colours of a look."""
        name, degrees, share = main_hue(look)
        whole = math.hypot(look.chroma, look.lightness)
        saturation = look.chroma / whole if whole > 1e-6 else 0.0
        return cls(name, round(degrees), round(100 * share), round(100 * look.lightness), round(100 * saturation))

    def told(self) -> str:
        """In a sentence."""
        hue = f"{self.hue} ({self.degrees} degrees, {self.hue_share} % of what is coloured)"
        hue = "none (grey)" if self.hue == "grey" else hue
        return f"Measured: main hue {hue}, lightness {self.lightness} of 100, saturation {self.saturation} of 100."


def scene_prompt(colours: Colours) -> str:
    """What is asked about a shot."""
    return (
        f"{colours.told()} Describe the emotional atmosphere of this film scene in two or three sentences: which "
        "emotion the place, the light, these colours, the camera and what happens give to whoever watches, how strong "
        "it is, and whether it changes. Do not retell the plot, and name no people."
    )


def face_prompt(colours: Colours) -> str:
    """What is asked about a face."""
    return (
        f"{colours.told()} This is the face of somebody who speaks in a film. Describe in one or two sentences which "
        "emotion it shows, how strong it is, and by what brows, eyes, mouth and the way the head moves show it. If it "
        "changes while they speak, say how."
    )
