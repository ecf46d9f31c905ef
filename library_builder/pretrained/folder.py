"""A folder of models, one to a sub-folder, and the readers made of them: `--extractors paper --model-dir DIR`.

DIR/video_llm/     captions of scene and face: VideoLLaMA3 or Qwen-VL
DIR/roberta/       the classifier of emotions that reads captions and lines
DIR/comet/         reactions to lines; may be left out, then a line's vector is its own alone
DIR/emotion2vec/   how a voice sounds
DIR/lips/          how a mouth moves; no part of a library, so it may be left out
DIR/face_api/      a face's expression, for `--extractors light,face=face-api`
"""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from .source import ModelError, ModelSource, find_model

if TYPE_CHECKING:  # these bring torch
    from library_builder.audio import AudioReader
    from library_builder.face import FaceReader
    from library_builder.lips import LipReader

    from .loading import Place
    from .paper import CaptionedFace, CaptionedScene, ClassifiedText
    from .text_emotion import EmotionClassifier
    from .video_llm import VideoLLM

VIDEO_LLM, ROBERTA, COMET, EMOTION2VEC, LIPS = "video_llm", "roberta", "comet", "emotion2vec", "lips"
FACE_API = "face_api"


class ModelFolder:
    """The models below a folder, each made once however many readers share it.

    Args:
        batch: shots that the video language model is asked about at once.

    Raises:
        ModelError: there is no such folder.
    """

    def __init__(self, folder: Path, place: Place, *, batch: int = 4) -> None:
        if not folder.is_dir():
            raise ModelError(f"{folder}: expected a folder with {VIDEO_LLM}/, {ROBERTA}/ and so on, there is none")
        self._folder, self._place, self._batch = folder, place, batch

    def has(self, name: str) -> bool:
        """Whether there is a sub-folder of that name."""
        return (self._folder / name).is_dir()

    def source(self, name: str, *needed: str) -> ModelSource:
        """A model by the name of its sub-folder.

        Raises:
            ModelError: it is not there, or not whole.
        """
        if not self.has(name):
            raise ModelError(f"{self._folder}: expected a sub-folder {name}/ with the model's files, there is none")
        return find_model(self._folder / name, needed=needed)

    @cached_property
    def video_llm(self) -> VideoLLM:
        """Raises ModelError: missing, damaged, or of no known family."""
        from .video_llm import VideoLLM

        return VideoLLM(self.source(VIDEO_LLM, "config.json", "*.safetensors"), self._place, batch=self._batch)

    @cached_property
    def classifier(self) -> EmotionClassifier:
        """Raises ModelError: missing, damaged, or no RoBERTa."""
        from .text_emotion import EmotionClassifier

        return EmotionClassifier(self.source(ROBERTA, "config.json"), self._place)

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

        return face_reader(self._folder / FACE_API)

    def text(self) -> ClassifiedText:
        """Lines, with their reactions where `comet/` is there."""
        from .paper import ClassifiedText
        from .reaction import ReactionModel

        if not self.has(COMET):
            return ClassifiedText(self.classifier)
        return ClassifiedText(self.classifier, ReactionModel(self.source(COMET, "config.json"), self._place))

    def audio(self) -> AudioReader:
        """How voices sound."""
        from .emotion2vec import Emotion2vecAudio

        return Emotion2vecAudio(self.source(EMOTION2VEC), device=str(self._place.device))

    def lips(self) -> LipReader:
        """How mouths move."""
        from .lip_reading import ResNetTcnLips

        return ResNetTcnLips(self.source(LIPS), device=str(self._place.device))
