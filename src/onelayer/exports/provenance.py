"""Where an exported file comes from, and how it was checked: a record in the file's metadata."""

from __future__ import annotations

from typing import Any, Self

from pydantic import Field, ValidationError

from onelayer.errors import OnelayerError
from onelayer.exports.graph import require_onnx
from onelayer.exports.nodes import Layout
from onelayer.image_spec import Container, ImageSpec, PixelType, RoundingMode
from onelayer.records import Record, Shape
from onelayer.verification.certificate import CertificateRecord

KEY = "onelayer"
"""Key of the record among a file's ``metadata_props``."""


class Provenance(Record):
    """The ``onelayer`` entry of an exported file's metadata."""

    pipeline: str
    """The pipeline, as it prints itself."""
    rounding: RoundingMode
    """``exact`` for every rounding of the original, ``fused`` for real arithmetic in float32."""
    shape: Shape
    """Channels, height and width of the images; 0 for a height or a width that is dynamic."""
    dtype: PixelType
    container: Container
    """Container of the images whose results the file gives: Pillow rounds in another way than PyTorch."""
    layout: Layout
    output_dtype: PixelType
    output_container: Container
    output_layout: Layout
    model: str | None = None
    """Name of the model behind the preprocessing; None for the preprocessing alone."""
    versions: dict[str, str]
    """Versions of onelayer, and of the libraries whose arithmetic it is."""
    certificates: dict[str, CertificateRecord] = Field(default_factory=dict)
    """Certificates of the preprocessing on a few images, by runtime and version."""

    @property
    def input_spec(self) -> ImageSpec:
        """The spec of the images, where a dynamic length is 1."""
        channels, height, width = self.shape
        return ImageSpec((channels, height or 1, width or 1), self.dtype, self.container)

    @property
    def output_spec(self) -> ImageSpec:
        """Dtype and container of the results; their shape means nothing."""
        channels = 3 if self.output_container == "pil" else 1
        return ImageSpec((channels, 1, 1), self.output_dtype, self.output_container)

    @property
    def is_dynamic(self) -> bool:
        """Whether the file takes images of more than one size."""
        return 0 in self.shape

    @property
    def shape_text(self) -> str:
        """The shape in words: ``3×375×any``."""
        return "×".join(str(length) if length else "any" for length in self.shape)

    def add_to(self, model: Any) -> None:
        """Put the record into a model's metadata."""
        kept = [entry for entry in model.metadata_props if entry.key != KEY]
        del model.metadata_props[:]
        model.metadata_props.extend(kept)
        model.metadata_props.add(key=KEY, value=self.model_dump_json())

    @classmethod
    def of_file(cls, content: bytes, name: str) -> Self:
        """Read the record of a file.

        Args:
            content: Content of the file.
            name: Its name, for errors.

        Raises:
            OnelayerError: If the file is no ONNX model, or onelayer did not write it.
        """
        onnx = require_onnx()
        try:
            model = onnx.load_model_from_string(content)
        except Exception as error:
            raise OnelayerError(f"{name} is no ONNX file: {error}", expected="a file of onelayer export") from error
        found = [entry.value for entry in model.metadata_props if entry.key == KEY]
        if not found:
            raise OnelayerError(
                f"{name} does not say what it takes and gives", expected="a file that onelayer export wrote"
            )
        try:
            return cls.model_validate_json(found[0])
        except ValidationError as error:
            raise OnelayerError(
                f"{name} says what it takes in another format: {error.errors()[0]['msg']}",
                hint="It was written by another version. Export it again.",
            ) from error
