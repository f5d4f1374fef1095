"""`onelayer apply` on Parquet files and WebDataset shards: what is kept, and what is refused."""

from __future__ import annotations

import importlib.util
import io
import json
import pickle
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from data_sets import encoded, files_of, info_of, manifest_of, picture, write_tar
from PIL import Image
from torchvision.transforms import v2

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")
if importlib.util.find_spec("ray") is None:
    pytest.skip("the extra `ray` is not installed", allow_module_level=True)

Run = Callable[..., tuple[int, str]]
Refused = Callable[..., str]

smaller = v2.Compose([v2.Resize(12), v2.CenterCrop(10)])


def expected(number: int) -> np.ndarray:
    return np.asarray(smaller(picture(number)))


def members_of(path: Path) -> dict[str, bytes]:
    with tarfile.open(path) as file:
        return {info.name: file.extractfile(info).read() for info in file}  # type: ignore[union-attr]


def write_rows(path: Path, *, structs: bool, rows: int = 23, group: int = 5) -> None:
    """Write a Parquet file as the library `datasets` does: images as structs, a class label, and its features."""
    images: list[Any] = [encoded(picture(number), "PNG") for number in range(rows)]
    kind = pa.binary()
    if structs:
        kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
        images = [{"bytes": image, "path": f"{number}.png"} for number, image in enumerate(images)]
    features = {"picture": {"_type": "Image"}, "label": {"names": ["cat", "dog"], "_type": "ClassLabel"}}
    columns = {
        "picture": pa.array(images, kind),
        "label": pa.array([number % 2 for number in range(rows)], pa.int64()),
        "boxes": pa.array([[[number, 0.5]] for number in range(rows)], pa.list_(pa.list_(pa.float32()))),
        "id": pa.array([f"id.{number}" for number in range(rows)]),
    }
    table = pa.table(columns).replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    pq.write_table(table, path, row_group_size=group)


@pytest.mark.usefixtures("here")
def test_rows_of_parquet_files(run: Run, refused: Refused, pipelines_file: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    write_rows(data / "train-0.parquet", structs=True)
    # A row group larger than a part is cut; parts do not reach over files.
    write_rows(data / "train-1.parquet", structs=True, rows=7, group=7)
    name = f"{pipelines_file}:smaller"
    command = ("apply", name, data, tmp_path / "arrays", "--images-per-file", 6)
    refused(command, "has no column of images; its columns are picture, label, boxes, id")
    refused((*command, "--column", "pictures"), "Did you mean picture?")
    code, text = run(*command, "--column", "picture")
    assert code == 0, text
    assert [part["images"] for part in manifest_of(tmp_path / "arrays")["finished"]] == [5, 5, 5, 5, 3, 6, 1]
    numbers = [*range(23), *range(7)]
    tables = [pq.read_table(path) for path in sorted((tmp_path / "arrays").glob("*.parquet"))]
    rows = [row for table in tables for row in table.to_pylist()]
    for number, row in zip(numbers, rows, strict=True):
        pixels = np.frombuffer(row.pop("pixels"), row.pop("dtype")).reshape(row.pop("shape"))
        assert (pixels == expected(number)).all()
        # Of the struct, what is beside the bytes.
        beside = {"path": f"{number}.png"}
        assert row == {"label": number % 2, "boxes": [[number, 0.5]], "id": f"id.{number}", "picture": beside}
    features = json.loads(tables[0].schema.metadata[b"huggingface"])["info"]["features"]
    assert features["label"]["names"] == ["cat", "dog"]
    assert features["pixels"] == {"dtype": "binary", "_type": "Value"}
    assert "picture" not in features

    # Encoded again, the column stays what it was, with its other fields.
    command = ("apply", name, data / "train-0.parquet", tmp_path / "png", "--column", "picture", "--write", "png")
    code, text = run(*command)
    assert code == 0, text
    table = pq.read_table(tmp_path / "png" / "part-00000.parquet")
    assert table.column_names == ["label", "boxes", "id", "picture"]
    assert json.loads(table.schema.metadata[b"huggingface"])["info"]["features"]["picture"] == {"_type": "Image"}
    for number, row in enumerate(table.to_pylist()):
        assert row["picture"]["path"] == f"{number}.png"
        assert (np.asarray(Image.open(io.BytesIO(row["picture"]["bytes"]))) == expected(number)).all()

    # As shards: keys without dots, the other columns as JSON.
    write_rows(tmp_path / "plain.parquet", structs=False)
    command = ("apply", name, tmp_path / "plain.parquet", tmp_path / "shards", "--column", "picture")
    code, text = run(*command, "--key", "id", "--to", "webdataset", "--write", "jpeg", "--quality", 95)
    assert code == 0, text
    members = members_of(tmp_path / "shards" / "part-00000.tar")
    assert list(members)[2:4] == ["id%2E1.jpg", "id%2E1.json"]
    assert json.loads(members["id%2E1.json"]) == {"label": 1, "boxes": [[1, 0.5]], "id": "id.1"}
    assert members["id%2E1.jpg"] == encoded(smaller(picture(1)), "JPEG", quality=95)
    refused(
        (*command[:3], tmp_path / "no", "--column", "picture", "--key", "di"), "has no column di of keys; its columns"
    )

    # A null is a bad image, named by its row.
    table = pa.table({"image": pa.array([encoded(picture(0), "PNG"), None]), "pixels": [1, 2]})
    pq.write_table(table, tmp_path / "null.parquet")
    command = ("apply", name, tmp_path / "null.parquet", tmp_path / "null")
    refused(command, "the data set has a column pixels, and the output would have two")
    refused((*command, "--write", "png"), "the image null.parquet, row 1 cannot be used: it has no bytes")
    # A shard has no columns of pixels.
    code, text = run(*command[:3], tmp_path / "null of shards", "--to", "webdataset", "--skip-bad")
    assert code == 0, text
    assert json.loads(members_of(tmp_path / "null of shards" / "part-00000.tar")["null/00000000.json"]) == {"pixels": 1}


@pytest.mark.usefixtures("here")
def test_samples_of_shards(run: Run, refused: Refused, pipelines_file: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    planted = tmp_path / "planted"
    code_in_pickle = pickle.dumps(type("Planted", (), {"__reduce__": lambda _: (Path.touch, (planted,))})())
    members = [
        (f"{folder}/{number}.{suffix}", content)
        for number, folder in enumerate(["a.b", "c", "c"])
        for suffix, content in (
            ("cls", str(number).encode()),
            ("seg.pkl", code_in_pickle),
            ("left.png", encoded(picture(number), "PNG")),
        )
    ]
    write_tar(data / "0.tar", members)
    write_tar(data / "1.tar", [(name.replace("c/", "d/"), content) for name, content in members[3:]])
    name = f"{pipelines_file}:smaller"
    code, text = run("apply", name, data, tmp_path / "shards")
    assert code == 0, text
    assert "5 images in 2 files" in text
    found = members_of(tmp_path / "shards" / "part-00000.tar")
    assert list(found)[:3] == ["a.b/0.left.npy", "a.b/0.cls", "a.b/0.seg.pkl"]
    for number, folder in enumerate(["a.b", "c", "c"]):
        pixels = np.load(io.BytesIO(found[f"{folder}/{number}.left.npy"]), allow_pickle=False)
        assert (pixels == expected(number)).all()
        assert found[f"{folder}/{number}.seg.pkl"] == code_in_pickle
    # Neither times nor owners are in the files.
    with tarfile.open(tmp_path / "shards" / "part-00000.tar") as file:
        assert {(info.mtime, info.uid, info.uname) for info in file} == {(0, 0, "")}

    code, text = run("apply", name, data, tmp_path / "parquet", "--to", "parquet", "--write", "jpeg")
    assert code == 0, text
    table = pq.read_table(tmp_path / "parquet" / "part-00001.parquet")
    assert table.column_names == ["key", "cls", "seg.pkl", "image"]
    assert table.column("key").to_pylist() == ["d/1", "d/2"]
    assert table.column("cls").to_pylist() == ["1", "2"]
    assert table.column("image")[0].as_py()["path"] == "d/1"
    assert not planted.exists()

    # Two images in a sample; a sample without; other members than the first sample's.
    two = write_tar(tmp_path / "two.tar", [("0.a.png", members[2][1]), ("0.b.png", members[2][1])])
    refused(("apply", name, two, tmp_path / "no"), "the sample two.tar: 0 has several images: a.png, b.png", "a.png")
    assert run("apply", name, two, tmp_path / "of a", "--column", "a.png")[0] == 0
    assert list(members_of(tmp_path / "of a" / "part-00000.tar")) == ["0.a.npy", "0.b.png"]
    other = write_tar(tmp_path / "other.tar", [*members[:3], ("1.png", members[2][1]), ("1.txt", b""), ("2.txt", b"")])
    refused(("apply", name, other, tmp_path / "no", "--to", "parquet"), "the image other.tar: 2 cannot be used")
    command = ("apply", name, other, tmp_path / "no", "--to", "parquet", "--skip-bad")
    refused(command, "the sample other.tar: 1 has a member txt, which the first sample has not", "--to webdataset")


@pytest.mark.usefixtures("here")
def test_shards_are_not_trusted(refused: Refused, pipelines_file: Path, tmp_path: Path) -> None:
    """Nothing is extracted, links and sparse files are not followed, and names cannot leave their folder."""
    image = encoded(picture(0), "PNG")

    def shard(info: tarfile.TarInfo, content: bytes = b"") -> Path:
        path = tmp_path / "bad.tar"
        with tarfile.open(path, "w") as file:
            first = tarfile.TarInfo("0.png")
            first.size = len(image)
            file.addfile(first, io.BytesIO(image))
            if content:
                file.addfile(info, io.BytesIO(content))
            else:
                # The header alone, whatever size it says: later versions of Python refuse to add that.
                file.offset += file.fileobj.write(info.tobuf())  # type: ignore[union-attr]
        return path

    command = ("apply", f"{pipelines_file}:smaller", tmp_path / "bad.tar", tmp_path / "out")
    for info in (
        info_of("../1.png", size=1),
        info_of("/1.png", size=1),
        info_of("1.png", type=tarfile.SYMTYPE, linkname="/etc/passwd"),
        info_of("1.png", type=tarfile.LNKTYPE, linkname="0.png"),
        info_of("1.png", type=tarfile.FIFOTYPE),
        info_of("without-suffix", size=1),
        info_of(".hidden", size=1),
    ):
        shard(info, b"x" * info.size)
        refused(command, "the member .* is no part of a sample; expected files with relative names")
    # A sparse file claims a terabyte.
    sparse = info_of("1.png", size=1 << 40)
    sparse.pax_headers = {"GNU.sparse.major": "0", "GNU.sparse.size": str(1 << 40), "GNU.sparse.map": "0,1"}
    shard(sparse)
    refused(command, "is no part of a sample")
    shard(info_of("1.png", size=1 << 40))
    refused(command, "has 1,099,511,627,776 bytes; expected at most 268,435,456")
    # Cut off in a member's content, in its header, or behind the member before it, where tarfile alone sees no error.
    path = shard(info_of("1.png", size=3), b"abc")
    whole = path.read_bytes()
    header = whole.index(b"1.png")
    for length in (header + 513, header + 1, header):
        path.write_bytes(whole[:length])
        refused(command, "cannot be read as a shard")
    path.write_bytes(whole[:header] + b"x" + whole[header + 1 :])
    refused(command, "cannot be read as a shard")
    (tmp_path / "bad.tar").write_bytes(b"no tar file")
    refused(command, "cannot be read as a shard.*expected a whole tar file, not compressed")


def test_refusals_of_data_sets(refused: Refused, photographs: Path, pipelines_file: Path, tmp_path: Path) -> None:
    command = ("apply", f"{pipelines_file}:smaller", photographs, tmp_path / "out")
    refused((*command, "--column", "jpg"), "the column jpg was given with image files")
    refused((*command, "--key", "id"), "the key id was given with image files")
    (photographs / "cat" / "00.jpg").write_bytes(b"")
    refused((*command, "--to", "webdataset"), "cat/00.jpg and cat/00.png would have the same key in shards", "parquet")
    (photographs / "a.tar").write_bytes(b"")
    refused(command, r"holds image files \(12, such as .*\) and shards \(1, such as .*\); expected one kind of files")
    (tmp_path / "empty").mkdir()
    refused(
        (*command[:2], tmp_path / "empty", tmp_path / "out"), "none of the files that are read; expected names that"
    )
    assert not files_of(tmp_path / "empty")
