"""What the published training does wrong, and what is done here instead, each by name."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Mend:
    """One deviation from the published code.

    Attributes:
        published: what it does (reference 1 and 2).
        here: what the `paper` size does.
        where: the name in this package that does it.
    """

    name: str
    published: str
    here: str
    where: str


MENDS = (
    Mend(
        "double softmax",
        "the emotion head ends in a softmax and its loss takes another: gradients fade as the head learns",
        "the head gives logits, and cross-entropy takes them",
        "training.losses._misheard",
    ),
    Mend(
        "id 0 shared with padding",
        "the first phone has the id of padding, whose embedding is held at zero",
        "phones count from 1; 0 is padding and nothing else",
        "symbols.NAMES",
    ),
    Mend(
        "second optimiser group",
        "half of the network learns with Adam's defaults, betas .9 and .999 and epsilon 1e-8",
        "one optimiser with betas .9 and .98 and epsilon 1e-9 for all",
        "training.state.State.fresh",
    ),
    Mend(
        "un-clipped gradients",
        "the same half is left out when gradients are clipped",
        "one norm over all gradients, clipped at 1",
        "training.update.train_step",
    ),
    Mend(
        "self-retrieval",
        "nothing is seen to keep a training clip from finding itself, and its own sound with it",
        "a line finds neither itself nor another take of its words by its speaker",
        "training.references.prepare_references",
    ),
    Mend(
        "oracle length",
        "a made line is stretched to the length of the recording it is compared with",
        "durations fill the picture's slot; without one they are the model's own",
        "filling.speak_lines",
    ),
    Mend(
        "own recording as prompt",
        "the reference mel is the target's own, cut at phones and shuffled",
        "another recording of the speaker",
        "training.dataset.Corpus.batch",
    ),
    Mend(
        "future mask between text and prompt",
        "the n-th symbol may attend to no token of the prompt after the n-th",
        "every symbol hears the whole prompt: the two share no clock",
        "encoders.CrossModal",
    ),
    Mend(
        "batch norm over padding",
        "the postnet's batch norms count padded frames, and a line's sound depends on its neighbours",
        "the postnet's one norm adapted to the voice stays, batch norms go",
        "synthesizer.PostNet",
    ),
    Mend(
        "mean of means",
        "a loss is a mean over whatever one device holds",
        "sums over an update's lines divided by its frames, symbols and lines, over all processes and parts",
        "training.losses.Counts",
    ),
)


def mends_table() -> str:
    """The mends as lines of a Markdown table."""
    rows = [f"| {m.name} | {m.published} | {m.here} | `{m.where}` |" for m in MENDS]
    return "\n".join(("| mend | published | here | where |", "|---|---|---|---|", *rows))
