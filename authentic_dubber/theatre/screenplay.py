"""The demo film's words: four short episodes about a lantern, a scene to be dubbed, and what the prompts say.

Every feeling has six lines, and every character speaks in all six. No name is spoken, so any cast can play it.
"""

from __future__ import annotations

from dataclasses import dataclass

from .puppet import Label
from .sets import Place


@dataclass(frozen=True, slots=True)
class Line:
    """One line: which of the cast speaks it (from 0), how it feels, and the words."""

    character: int
    label: Label
    text: str


@dataclass(frozen=True, slots=True)
class Episode:
    """One file of the film. The title names the file."""

    title: str
    place: Place
    lines: tuple[Line, ...]


EPISODES: tuple[Episode, ...] = (
    Episode(
        "1-the-empty-shelf",
        "room",
        (
            Line(0, "neutral", "The lantern stands on the shelf beside the door."),
            Line(1, "neutral", "We light it every evening at seven."),
            Line(2, "surprised", "Wait, the shelf is empty! Where did it go?"),
            Line(3, "fearful", "Somebody was in the house, I heard steps in the dark."),
            Line(1, "angry", "Who took it? Give it back this minute!"),
            Line(0, "sad", "My grandmother made that lantern, and now it is lost."),
            Line(2, "sad", "I am so sorry. I know how much you loved it."),
            Line(3, "happy", "Look, wet paw prints! This will be a wonderful adventure!"),
            Line(0, "surprised", "Oh! They lead straight out of the window!"),
        ),
    ),
    Episode(
        "2-behind-the-mill",
        "forest",
        (
            Line(2, "neutral", "The path divides behind the old mill."),
            Line(1, "fearful", "Please, do not go in there, something is breathing."),
            Line(3, "fearful", "Hold my hand, I am so scared of those shadows."),
            Line(0, "happy", "It is only an owl! What a beautiful little fellow!"),
            Line(2, "angry", "Stop shouting, you have frightened it away!"),
            Line(3, "angry", "I did not shout! You always blame me for everything!"),
            Line(1, "sad", "Now we are lost, and nobody is waiting for us at home."),
            Line(0, "fearful", "Listen, a branch just broke behind us."),
            Line(2, "surprised", "What? There is a light, right there in the trees!"),
        ),
    ),
    Episode(
        "3-the-shop-window",
        "street",
        (
            Line(3, "neutral", "The shops close at eight on Thursdays."),
            Line(1, "surprised", "Good heavens, is that our lantern in the window?"),
            Line(0, "angry", "That is mine! How dare you put a price on it!"),
            Line(2, "fearful", "Quiet, the man with the keys is coming closer."),
            Line(1, "angry", "Open this door, you thief, or I will break it down!"),
            Line(3, "sad", "He pulled it out of the river. He has nothing else."),
            Line(0, "sad", "Then he is as lonely as my grandmother was."),
            Line(2, "happy", "I have a splendid idea, let us take him to the festival!"),
            Line(3, "surprised", "You mean tonight? All of us together? Really?"),
        ),
    ),
    Episode(
        "4-lights-on-the-water",
        "seaside",
        (
            Line(0, "surprised", "Well, I never! The whole harbour is glowing!"),
            Line(1, "neutral", "There are forty lanterns on the water this year."),
            Line(3, "happy", "Dance with me, the music is marvellous!"),
            Line(1, "fearful", "Careful, the boat is tipping, we are all going to drown!"),
            Line(2, "sad", "The summer is over, and tomorrow we must say goodbye."),
            Line(3, "neutral", "My train goes at half past nine in the morning."),
            Line(2, "angry", "I am not leaving! It is not fair, not fair at all!"),
            Line(1, "happy", "Then stay! This is the happiest evening of my whole life!"),
            Line(0, "happy", "We did it, friends! Every single light is shining!"),
        ),
    ),
)

SCENE = Episode(
    "scene",
    "attic",
    (
        Line(1, "surprised", "You came back! I thought you were gone for ever!"),
        Line(0, "sad", "I missed you every day, and I was so terribly lonely."),
        Line(1, "happy", "Then let us be glad, because we are home again!"),
    ),
)

PROMPTS: tuple[tuple[int, tuple[str, ...]], ...] = (
    (0, ("The kettle is on the stove.", "Breakfast is at eight.", "The post comes at noon.", "The gate is open.")),
    (1, ("The ladder leans on the wall.", "Rain fell in the night.", "The clock is slow.", "The cups are clean.")),
)
"""Who speaks each prompt, and short sentences to be joined until the prompt is long enough."""
