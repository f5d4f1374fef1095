"""Files of data sets that are damaged, hostile, or larger than memory: what is read of them, and what is refused."""

from __future__ import annotations

import io
import itertools
import json
import pickle
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from data_sets import info_of, write_tar

from onelayer.errors import OnelayerError

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")
listing = pytest.importorskip("onelayer.offline.listing")
readers = pytest.importorskip("onelayer.offline.readers")
shards = pytest.importorskip("onelayer.offline.shards")
writers = pytest.importorskip("onelayer.offline.writers")


def listed(path: Path, **options: Any) -> Any:
    defaults: dict[str, Any] = {"column": None, "key": None, "images_per_file": 500, "to_shards": False}
    return listing.list_parts(listing.find_data_set(path), **(defaults | options))


def samples_of(path: Path, **options: Any) -> tuple[Any, list[tuple[Any, bytes | None]]]:
    found = listed(path, **options)
    return found.source, [each for part in found.parts for each in found.source.read(part)]


def write_columns(path: Path, metadata: dict[str, bytes] | None = None, **columns: Any) -> Path:
    pq.write_table(pa.table(columns).replace_schema_metadata(metadata), path)
    return path


def tar_of(path: Path, infos: list[tuple[tarfile.TarInfo, bytes]], form: int, encoding: str = "utf-8") -> Path:
    with tarfile.open(path, "w", format=form, encoding=encoding) as file:
        for info, content in infos:
            file.addfile(info, io.BytesIO(content))
    return path


def refuse_shard(path: Path, message: str) -> None:
    with pytest.raises(OnelayerError, match=message) as error:
        list(shards.read_samples(path))
    assert path.name in str(error.value)
    # What is printed can be.
    str(error.value).encode()


def test_damaged_headers_of_shards(tmp_path: Path) -> None:
    path = tmp_path / "bad.tar"
    unreadable = "cannot be read as a shard"
    for headers in (
        {"GNU.sparse.map": "x,y", "GNU.sparse.size": "1"},
        {"GNU.sparse.map": "0,1", "GNU.sparse.size": "zz"},
        {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.realsize": "1"},
    ):
        for before in ([], [(info_of("0.png"), b"")]):
            infos = [*before, (info_of("1.png", size=3, pax_headers=headers), b"x\ny")]
            refuse_shard(tar_of(path, infos, tarfile.PAX_FORMAT), unreadable)
    # A sparse file of the old form whose header goes on in a block that is cut off.
    header = bytearray(info_of("1.png", type=tarfile.GNUTYPE_SPARSE).tobuf(tarfile.GNU_FORMAT))
    header[482] = 1
    header[148:156] = b"        "
    header[148:156] = f"{sum(header):06o}\0 ".encode()
    path.write_bytes(bytes(header) + bytes(100))
    refuse_shard(path, unreadable)
    # A negative size, for which some versions of tarfile go back in the file, for ever.
    path.write_bytes(info_of("1.png", size=-512).tobuf(tarfile.GNU_FORMAT) + bytes(1024))
    refuse_shard(path, f"is no part of a sample|{unreadable}")
    latin = [(info_of("ä.png"), b"")]
    refuse_shard(tar_of(path, latin, tarfile.GNU_FORMAT, "latin-1"), r"the name '\\udce4.png' .* is not UTF-8")
    # It would be cut off where it is written again.
    zero = [(info_of("1.png", pax_headers={"path": "1.png\0.txt"}), b"")]
    refuse_shard(tar_of(path, zero, tarfile.PAX_FORMAT), "is no part of a sample")


def test_shards_that_are_joined(tmp_path: Path) -> None:
    """Zeros are all that may follow the end of an archive: there could be images behind it."""
    path = write_tar(tmp_path / "a.tar", [("0.png", b"image")])
    whole = path.read_bytes()
    path.write_bytes(whole + bytes(1 << 21))
    assert [key for key, _ in shards.read_samples(path)] == ["0"]
    for between in (0, 1 << 21):
        path.write_bytes(whole + bytes(between) + whole)
        refuse_shard(path, "a.tar goes on behind the end of its archive.*tar --concatenate")


def test_members_of_a_sample(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.tar"
    for second in ("txt", "TXT"):
        write_tar(path, [("0.png", b""), ("1.png", b""), ("1.txt", b"a"), (f"1.{second}", b"b")])
        refuse_shard(path, "the sample 1 of .* has two members txt")
    # The same names in two samples are no matter, nor is the case of an image's suffix.
    write_tar(path, [("0.JPG", b"image"), ("0.png", b"mask"), ("1.jpg", b"image"), ("1.png", b"mask"), ("1.key", b"x")])
    source, read = samples_of(path, column="jpg")
    assert [encoded for _, encoded in read] == [b"image", b"image"]
    # What waits for a row group is not the images.
    assert [b"image" in pickle.dumps(sample) for sample, _ in read] == [False, False]
    assert [b"mask" in pickle.dumps(sample) for sample, _ in read] == [True, True]
    assert read[0][0].size < read[1][0].size < 2000
    # A member does not take the place of a sample's key.
    assert source.columns([read[0][0]])[0].to_pylist() == ["0"]
    with pytest.raises(OnelayerError, match="has a member key, which the first sample has not"):
        source.columns([sample for sample, _ in read])
    monkeypatch.setattr(shards, "MAX_ENCODED_BYTES", 3000)
    write_tar(path, [("0.png", bytes(900)), ("0.a", bytes(900)), ("1.png", bytes(900)), ("1.a", bytes(900))])
    assert len(list(shards.read_samples(path))) == 2
    # Many members without content take memory, too.
    for members in ([("0.png", bytes(900)), ("0.a", bytes(2000))], [(f"0.{number}", b"") for number in range(6)]):
        refuse_shard(write_tar(path, members), "the members of the sample 0 of .* have more than 3,000 bytes together")


def test_keys_stay_in_their_shard(tmp_path: Path) -> None:
    """Whatever the keys are, members unpack below a folder, and different keys have different names."""
    texts = ["a", "b/a", "a.b", "a%2Eb", "../../evil", "/etc/abs", "x/", "x//y", "./x", "x/../y", "..", ".", "a\0b"]
    texts += ["ä", "https://a.b/c.jpg", "%2E%2E%2Fx", "../x", "x%2F"]
    path = write_columns(tmp_path / "a.parquet", image=pa.array([b"image"] * len(texts)), id=texts)
    source, read = samples_of(path, key="id", to_shards=True)
    with writers.open_writer(tmp_path / "a.tar", source, "webdataset", "png", "") as writer:
        for sample, encoded in read:
            writer.add(sample, encoded)
        with pytest.raises(
            OnelayerError, match="two samples of a shard would have the key b/a, the second of them b/a"
        ):
            writer.add(read[1][0], b"")
    (tmp_path / "unpacked").mkdir()
    with tarfile.open(tmp_path / "a.tar") as file:
        file.extractall(tmp_path / "unpacked", filter="data")
    unpacked = [each for each in (tmp_path / "unpacked").rglob("*") if each.is_file()]
    assert len(unpacked) == 2 * len(texts)
    found = {key: dict(members) for key, members in shards.read_samples(tmp_path / "a.tar")}
    assert list(found)[:6] == ["a", "b/a", "a%2Eb", "a%252Eb", "%2E%2E%2F%2E%2E%2Fevil", "%2Fetc%2Fabs"]
    assert [json.loads(members["json"])["id"] for members in found.values()] == texts
    write_columns(path, image=pa.array([b"image"]), id=[""])
    with pytest.raises(OnelayerError, match=r"the key of row 0 of a.parquet is ''; expected a text that is not empty"):
        samples_of(path, key="id")
    (tmp_path / "two").mkdir()
    for name in ("a.parquet", "a.PARQUET"):
        (tmp_path / "two" / name).write_bytes(path.read_bytes())
    with pytest.raises(OnelayerError, match=r"a.PARQUET and a.parquet would have the same key in shards"):
        listed(tmp_path / "two", to_shards=True)
    assert len(listed(tmp_path / "two", to_shards=True, key="id").parts) == 2


def features(*names: str) -> bytes:
    return json.dumps({"info": {"features": {"label": {"names": names, "_type": "ClassLabel"}}}}).encode()


def test_class_names_are_those_of_each_file(tmp_path: Path) -> None:
    columns = {"image": pa.array([b"image"]), "label": [0]}
    write_columns(tmp_path / "0.parquet", {"huggingface": features("cat", "dog")}, **columns)
    # The same, written otherwise.
    same = features("cat", "dog").replace(b" ", b"") + b"\n"
    write_columns(tmp_path / "1.parquet", {"huggingface": same, "pandas": b"{}"}, **columns)
    assert len(listed(tmp_path).parts) == 2
    for other in ({"huggingface": features("dog", "cat")}, None):
        write_columns(tmp_path / "1.parquet", other, **columns)
        with pytest.raises(
            OnelayerError, match=r"1.parquet says of its columns for datasets.* is not what .*0.parquet"
        ):
            listed(tmp_path)


def test_metadata_of_parquet_files_is_not_trusted(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    for damaged in (b"\xff", b"[" * 100_000, b"[]", b'{"info": 1}', b'{"info": {"features": null}}'):
        write_columns(path, {"huggingface": damaged}, image=pa.array([b"image"]), label=[0])
        schema = writers.output_schema(listed(path).source, "png", "{}")
        assert b"huggingface" not in schema.metadata
    pq.write_table(pa.Table.from_arrays([pa.array([b""]), pa.array([1]), pa.array([2])], ["image", "a", "a"]), path)
    with pytest.raises(OnelayerError, match=r"a.parquet has several columns a; expected different names"):
        listed(path)


def test_what_is_beside_the_bytes_of_a_struct(tmp_path: Path) -> None:
    """It stays in the column with encoded images, and is a column and a part of the JSON without them."""
    kind = pa.struct([("path", pa.string()), ("bytes", pa.binary()), ("width", pa.int32())])
    rows = [{"path": "a.jpg", "bytes": b"a", "width": 1}, None, {"path": None, "bytes": b"c", "width": 3}]
    path = write_columns(tmp_path / "a.parquet", image=pa.array(rows * 10, kind), label=list(range(30)))
    source, read = samples_of(path)
    assert [encoded for _, encoded in read[:3]] == [b"a", None, b"c"]
    good = [(sample, encoded) for sample, encoded in read if encoded is not None]
    beside = [{"path": "a.jpg", "width": 1}, {"path": None, "width": 3}]
    for encoding, column in (("arrays", beside), ("png", rows[::2])):
        with writers.open_writer(tmp_path / "b.parquet", source, "parquet", encoding, "{}") as writer:
            for sample, encoded in good:
                writer.add(sample, np.frombuffer(encoded, np.uint8) if encoding == "arrays" else encoded)
        table = pq.read_table(tmp_path / "b.parquet")
        assert table.column("image").to_pylist() == column * 10
        assert table.column("label").to_pylist() == [number for number in range(30) if number % 3 != 1]
    assert json.loads(source.members(good[1][0])[0][1]) == {"label": 2, "image": beside[1]}


def test_json_has_no_numbers_that_are_none(tmp_path: Path) -> None:
    path = write_columns(tmp_path / "a.parquet", image=pa.array([b""] * 3), x=[1.0, float("nan"), float("inf")])
    source, ((good, _), *others) = samples_of(path)
    assert source.members(good) == [("json", b'{"x": 1.0}')]
    for sample, _ in others:
        with pytest.raises(
            OnelayerError, match=r"the columns of a.parquet, row . cannot be written as JSON.*--to parq"
        ):
            source.members(sample)


def test_images_that_are_too_large_are_not_read_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readers, "MAX_ENCODED_BYTES", 100)
    (tmp_path / "folder").mkdir()
    for length in (100, 101, 5000):
        (tmp_path / "folder" / f"{length}.png").write_bytes(bytes(length))
    images = pa.array([bytes(100), bytes(101), bytes(5000)])
    structs = pa.StructArray.from_arrays([images], ["bytes"])
    for path in (
        tmp_path / "folder",
        write_columns(tmp_path / "a.parquet", image=images),
        write_columns(tmp_path / "b.parquet", image=structs),
    ):
        _, read = samples_of(path)
        assert sorted(len(encoded or b"") for _, encoded in read) == [100, 101, 101]


def test_rows_in_memory_follow_from_the_size_of_row_groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A dictionary holds a value once that all rows have; in memory each has it."""
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"image": pa.array([bytes(60_000)] * 25), "x": range(25)}), path, row_group_size=20)
    assert path.stat().st_size < 10_000
    size = pq.ParquetFile(path).metadata.row_group(0).total_byte_size
    assert 60_000 < size < 61_000
    for in_memory, lengths in ((100, [1] * 25), (8 * size - 1, [7, 7, 6, 5]), (100 * size, [16, 4, 5])):
        monkeypatch.setattr(readers, "_ROWS_BYTES", in_memory)
        _, read = samples_of(path)
        batches = itertools.groupby(read, key=lambda each: id(each[0].others.others))
        # Row groups are read one after the other.
        assert [len(list(batch)) for _, batch in batches] == lengths


def test_other_columns_count_in_row_groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writers, "_ROW_GROUP_BYTES", 100_000)
    texts = [f"{number}" * 10_000 for number in range(10, 30)]
    columns = write_columns(tmp_path / "a.parquet", image=pa.array([b"image"] * 20), text=texts)
    members = [
        (f"{text[:2]}.{end}", each.encode()) for text in texts for end, each in (("png", "image"), ("txt", text))
    ]
    for path in (columns, write_tar(tmp_path / "a.tar", members)):
        source, read = samples_of(path)
        with writers.open_writer(tmp_path / "b.parquet", source, "parquet", "png", "{}") as writer:
            for sample, encoded in read:
                writer.add(sample, encoded)
        with pq.ParquetFile(tmp_path / "b.parquet") as file:
            groups = [file.metadata.row_group(number).num_rows for number in range(file.num_row_groups)]
            table = file.read()
        assert groups == [4, 4, 4, 4, 4]
        assert table.column(source.schema.names[-1]).to_pylist() == texts
