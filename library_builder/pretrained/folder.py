"""The models of a command line, and the readers made of them: `--extractors paper --model-dir DIR`.

DIR/video_llm/     captions of scene and face: VideoLLaMA3 or Qwen-VL
DIR/roberta/       the classifier of emotions that reads captions and lines
DIR/comet/         reactions to lines; may be left out, then a line's vector is its own alone
DIR/emotion2vec/   how a voice sounds
DIR/lips/          how a mouth moves; no part of a library, so it may be left out
DIR/face_api/      a face's expression, for `--extractors light,face=face-api`

`--model NAME=...` puts another folder, or a model of the hub's cache, in a sub-folder's place.
"""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from .places import COMET, EMOTION2VEC, FACE_API, LIPS, ROBERTA, VIDEO_LLM, ModelPlaces

if TYPE_CHECKING:  # these bring torch
    from library_builder.audio import AudioReader
    from library_builder.face import FaceReader
    from library_builder.lips import LipReader

    from .loading import Place
    from .paper import CaptionedFace, CaptionedScene, ClassifiedText
    from .text_emotion import EmotionClassifier
    from .video_llm import VideoLLM


class ModelFolder:
    """The models below a folder or named one by one, each made once however many readers share it.

    Args:
        batch: shots that the video language model is asked about at once.

    Raises:
        ModelError: there is no such folder.
    """

    def __init__(self, models: Path | ModelPlaces, place: Place, *, batch: int = 4) -> None:
        self.places = models if isinstance(models, ModelPlaces) else ModelPlaces(models)
        self.places.check()
        self._place, self._batch = place, batch

    @cached_property
    def video_llm(self) -> VideoLLM:
        """Raises ModelError: missing, damaged, or of no known family."""
        from .video_llm import VideoLLM

        return VideoLLM(self.places.find(VIDEO_LLM, "config.json", "*.safetensors"), self._place, batch=self._batch)

    @cached_property
    def classifier(self) -> EmotionClassifier:
        """Raises ModelError: missing, damaged, or no RoBERTa."""
        from .text_emotion import EmotionClassifier

        return EmotionClassifier(self.places.find(ROBERTA, "config.json"), self._place)

    def scene(self) -> CaptionedScene:
        """Captions of shots."""
        from .paper import CaptionedScene

        return CaptionedScene(self.video_llm, self.classifier)

    def face(self) -> CaptionedFace:
        """Captions of faces."""
        from .paper import CaptionedFace

        return CaptionedFace(self.video_llm, self.classifier)

    def expressive_face(self) -> FaceReader:
        """Expressions of faces by face-api's networks, whose shards are no files that a model source knows."""
        from .expressive_face import face_reader

        return face_reader(self.places.find_folder(FACE_API))

    def text(self) -> ClassifiedText:
        """Lines, with their reactions where there is a model of them."""
        from .paper import ClassifiedText
        from .reaction import ReactionModel

        if not self.places.has(COMET):
            return ClassifiedText(self.classifier)
        return ClassifiedText(self.classifier, ReactionModel(self.places.find(COMET, "config.json"), self._place))

    def audio(self) -> AudioReader:
        """How voices sound."""
        from .emotion2vec import Emotion2vecAudio

        return Emotion2vecAudio(self.places.find(EMOTION2VEC), device=str(self._place.device))

    def lips(self) -> LipReader:
        """How mouths move."""
        from .lip_reading import ResNetTcnLips

        return ResNetTcnLips(self.places.find(LIPS), device=str(self._place.device))
