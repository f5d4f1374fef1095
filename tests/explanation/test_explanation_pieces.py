"""What is said of a pipeline that runs in pieces."""

from __future__ import annotations

import json
import random

import PIL.Image
import pytest
import torch
from torchvision.transforms import v2

import onelayer
from onelayer import OnelayerError
from onelayer.explanation import Explanation, PiecewiseExplanation, explain

PIPELINE = v2.Compose(
    [
        v2.Resize(20),
        v2.CenterCrop(12),
        v2.GaussianBlur(3),
        v2.RandomEqualize(),
        v2.ToImage(),
        v2.ToDtype(torch.float32, scale=True),
    ]
)


def explained(pipeline: object, *arguments: object, **keywords: object) -> PiecewiseExplanation:
    explanation = explain(pipeline, *arguments, **keywords)  # type: ignore[arg-type]
    assert isinstance(explanation, PiecewiseExplanation)
    return explanation


def test_each_break_has_its_reason_and_its_cost() -> None:
    explanation = explained(PIPELINE, (3, 40, 30), dtype="uint8")
    assert [piece.transforms for piece in explanation.pieces] == [(0,), (1,), (2,), (3,), (4, 5)]
    assert [piece.names for piece in explanation.breaks] == [("CenterCrop",), ("GaussianBlur",)]
    (crop, blur), equal = explanation.breaks, explanation.pieces[3]
    assert crop.reason is not None
    assert "a view of the image" in crop.reason
    assert blur.reason is not None
    assert "in GaussianBlur (step 2)" in blur.reason
    assert "fullgraph" not in blur.reason
    assert (equal.names, equal.reason, equal.explanation) == (("RandomEqualize",), None, None)
    assert min(piece.milliseconds for piece in explanation.pieces) > 0
    assert isinstance(explanation.pieces[0].explanation, Explanation)
    assert (equal.takes, equal.gives) == ("Tensor 3×12×12 uint8", "Tensor 3×12×12 uint8")
    text = str(explanation)
    for word in ("RandomEqualize", "kernel", "as it is", "compiled", "GaussianBlur", "Resize"):
        assert word in text
        assert word in explanation._repr_html_()
    assert json.loads(json.dumps(explanation.to_dict()))["pieces"][3]["names"] == ["RandomEqualize"]
    with pytest.raises(OnelayerError, match="each has weights of its own"):
        explanation.figure()


def test_explaining_draws_no_numbers() -> None:
    image = torch.rand(3, 40, 30)
    random.seed(3)
    states = torch.get_rng_state(), random.getstate()
    explained(v2.Compose([PIPELINE, lambda image: image * random.random()]), image)
    assert torch.equal(torch.get_rng_state(), states[0])
    assert random.getstate() == states[1]


def test_images_that_are_converted_first() -> None:
    pipeline = v2.Compose([lambda image: image.convert("RGB"), v2.Resize(8)])
    explanation = explained(onelayer.compile(pipeline), PIL.Image.new("RGBA", (20, 30)))
    assert [piece.takes for piece in explanation.pieces] == ["PIL RGBA 30×20", "PIL RGB 30×20"]
    assert len(explanation.breaks) == 1
    reason = explanation.breaks[0].reason
    assert reason is not None
    assert "mode RGBA" in reason
    unknown = explained(v2.Compose([v2.Resize(9), torch.nn.Sigmoid()]), (3, 20, 20)).breaks[0].reason
    assert unknown is not None
    assert "Registered with onelayer.register, it could be compiled" in unknown
