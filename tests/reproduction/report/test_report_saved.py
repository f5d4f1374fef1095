from __future__ import annotations

import numpy as np
import pytest
from safetensors.numpy import save_file

from onelayer.errors import OnelayerError
from onelayer.reproduction.report.saved import read_pictures

SHAPES = [((3, 32, 32), (1, 28, 28)), ((3, 17, 11), (3, 5, 7)), ((1, 1, 1), (1, 1, 1)), ((4, 2, 3), (2, 3, 2))]


def pipeline_of(make, shapes):
    pipeline = make.run().pipeline
    return pipeline.model_copy(update={"input_shape": shapes[0], "output_shape": shapes[1]})


@pytest.mark.parametrize("shapes", SHAPES, ids=str)
def test_reads_what_was_saved(make, tmp_path, shapes):
    pipeline = pipeline_of(make, shapes)
    metrics = make.metrics(make.layer("learned"), make.layer("derived"), examples=(5, 9))
    tensors = make.tensors(make.run(pipeline=pipeline), metrics)
    save_file(tensors, tmp_path / "c.safetensors")
    pictures = read_pictures(tmp_path / "c.safetensors", pipeline, metrics)
    assert list(pictures.layers) == ["learned", "derived"]
    for name, read in {"inputs": pictures.inputs, "truth": pictures.truth}.items():
        np.testing.assert_array_equal(read, tensors[name])
    for name, read in pictures.layers.items():
        np.testing.assert_array_equal(read, tensors[f"layer.{name}"])


def without(key):
    return lambda tensors: {name: tensor for name, tensor in tensors.items() if name != key}


def with_(key, change):
    return lambda tensors: tensors | {key: change(tensors[key])}


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (without("inputs"), "holds the tensors"),
        (without("truth"), "holds the tensors"),
        (without("layer.learned"), "holds the tensors"),
        (lambda tensors: tensors | {"layer.other": tensors["truth"]}, "layer.other"),
        (lambda tensors: {}, "(none)"),
        (with_("inputs", lambda it: it[:-1].copy()), "inputs .* does not fit"),
        (with_("truth", lambda it: it[:, :, :-1].copy()), "truth .* does not fit"),
        (with_("layer.learned", lambda it: it.reshape(6, -1)), "layer.learned .* does not fit"),
        (with_("truth", lambda it: it.astype(np.float64)), "F64"),
        (with_("layer.learned", lambda it: np.full_like(it, np.nan)), "not finite"),
    ],
)
def test_refuses_what_does_not_belong_to_the_records(make, tmp_path, spoil, words):
    run, metrics, path = make.run(), make.metrics(), tmp_path / "comparison.safetensors"
    save_file(spoil(make.tensors(run, metrics)), path)
    with pytest.raises(OnelayerError, match=words.replace("(", r"\(").replace(")", r"\)")) as refusal:
        read_pictures(path, run.pipeline, metrics)
    assert f"onelayer compare {tmp_path}" in refusal.value.hint


@pytest.mark.parametrize("content", [b"", b"no tensors", b"\xff" * 64])
def test_refuses_what_is_no_safetensors_file(make, tmp_path, content):
    (tmp_path / "c.safetensors").write_bytes(content)
    with pytest.raises(OnelayerError, match="cannot be read"):
        read_pictures(tmp_path / "c.safetensors", make.run().pipeline, make.metrics())


def test_refuses_a_file_cut_short(make, tmp_path):
    run, metrics, path = make.run(), make.metrics(), tmp_path / "c.safetensors"
    save_file(make.tensors(run, metrics), path)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(OnelayerError, match="cannot be read"):
        read_pictures(path, run.pipeline, metrics)


def test_names_the_command_when_the_file_is_missing(make, tmp_path):
    with pytest.raises(OnelayerError, match=r"there is no c\.safetensors.*onelayer compare"):
        read_pictures(tmp_path / "c.safetensors", make.run().pipeline, make.metrics())
