from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from onelayer.data.encoded import BadImage, decode_image

SHAPES = [(3, 32, 32), (3, 17, 11), (3, 1, 1), (1, 17, 11), (1, 1, 1)]


def decode(data: bytes, shape=(3, 17, 11)):
    return decode_image(io.BytesIO(data), shape)


def saved(image: Image.Image, kind: str = "PNG", **options) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def png(width: int, height: int, *, bits: int, colour: int, rows: bytes) -> bytes:
    """A PNG file put together by hand, for what Pillow does not write."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("kind", "options", "shape"),
    [(kind, {}, shape) for kind in ("PNG", "BMP", "TIFF") for shape in SHAPES]
    + [("WEBP", {"lossless": True}, shape) for shape in SHAPES if shape[0] == 3],
)
def test_lossless_formats_give_the_exact_pixels(kind, options, shape, noise, encode) -> None:
    pixels = noise(shape, 1)
    found = decode(encode(pixels, kind, **options), shape)
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, pixels)


@given(
    hnp.arrays(
        np.uint8,
        st.tuples(st.sampled_from([1, 3]), st.integers(1, 20), st.integers(1, 20)),
        elements=st.integers(0, 255),
    )
)
def test_any_png_comes_back(pixels) -> None:
    array = pixels[0] if len(pixels) == 1 else np.ascontiguousarray(pixels.transpose(1, 2, 0))
    np.testing.assert_array_equal(decode(saved(Image.fromarray(array)), pixels.shape), pixels)


def test_jpeg_gives_the_pixels_of_pillow(noise, encode) -> None:
    data = encode(noise((3, 17, 11), 2), "JPEG")
    with Image.open(io.BytesIO(data)) as image:
        expected = np.asarray(image).transpose(2, 0, 1)
    np.testing.assert_array_equal(decode(data), expected)


def test_a_palette_is_read_as_rgb() -> None:
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 200, 100, 50])
    image.putdata([1, 0])
    np.testing.assert_array_equal(decode(saved(image), (3, 1, 2))[:, 0, :].T, [[200, 100, 50], [10, 20, 30]])


def test_one_bit_is_read_as_black_and_white() -> None:
    image = Image.new("1", (2, 1))
    image.putdata([1, 0])
    np.testing.assert_array_equal(decode(saved(image), (1, 1, 2)), [[[255, 0]]])


def test_exif_orientation_is_ignored(noise, encode) -> None:
    pixels = noise((3, 17, 11), 3)
    exif = Image.Exif()
    exif[0x0112] = 6  # to be shown turned by a quarter
    np.testing.assert_array_equal(decode(encode(pixels, "PNG", exif=exif)), pixels)


def test_damaged_metadata_is_no_matter(noise, encode) -> None:
    data = encode(noise((3, 17, 11), 4), "JPEG")
    segment = b"\xff\xe2" + struct.pack(">H", 2 + 8) + b"MPF\0\0\0\0\0"
    damaged = data[:2] + segment + data[2:]
    with pytest.warns(UserWarning, match="malformed MPO"), Image.open(io.BytesIO(damaged)):
        pass
    np.testing.assert_array_equal(decode(damaged), decode(data))


def test_the_file_stays_open(noise, encode) -> None:
    file = io.BytesIO(encode(noise((3, 17, 11), 5)))
    decode_image(file, (3, 17, 11))
    assert not file.closed


@pytest.mark.parametrize(
    ("mode", "size", "shape", "found"),
    [
        ("RGB", (28, 28), (3, 32, 32), "found 3×28×28, expected 3×32×32"),
        ("RGB", (17, 11), (3, 17, 11), "found 3×11×17, expected 3×17×11"),
        ("L", (11, 17), (3, 17, 11), "found 1×17×11, expected 3×17×11"),
        ("RGB", (11, 17), (1, 17, 11), "found 3×17×11, expected 1×17×11"),
        ("P", (11, 17), (1, 17, 11), "found 3×17×11, expected 1×17×11"),
        ("RGBA", (11, 17), (3, 17, 11), "found 4×17×11, expected 3×17×11"),
        ("LA", (11, 17), (1, 17, 11), "found 2×17×11, expected 1×17×11"),
        ("I;16", (11, 17), (1, 17, 11), "more than 8 bits per channel"),
    ],
)
def test_another_shape_is_refused(mode, size, shape, found) -> None:
    with pytest.raises(BadImage, match=found):
        decode(saved(Image.new(mode, size)), shape)


@pytest.mark.parametrize(
    ("mode", "transparency", "found"), [("P", 0, "4×17×11"), ("RGB", (0, 0, 0), "4×17×11"), ("L", 0, "2×17×11")]
)
def test_a_transparent_colour_is_an_alpha_channel(mode, transparency, found) -> None:
    with pytest.raises(BadImage, match=f"found {found}"):
        decode(saved(Image.new(mode, (11, 17)), transparency=transparency), (1 if mode == "L" else 3, 17, 11))


def test_sixteen_bit_colour_is_refused() -> None:
    data = png(1, 1, bits=16, colour=2, rows=b"\0" + bytes(6))
    with Image.open(io.BytesIO(data)) as image:
        assert image.mode == "RGB"  # which is why the mode alone does not tell
    with pytest.raises(BadImage, match="more than 8 bits per channel"):
        decode(data, (3, 1, 1))
    assert decode(png(1, 1, bits=8, colour=2, rows=b"\0\1\2\3"), (3, 1, 1)).tolist() == [[[1]], [[2]], [[3]]]


@pytest.mark.parametrize(("kind", "mode"), [("JPEG", "CMYK"), ("TIFF", "CMYK"), ("TIFF", "LAB")])
def test_other_colour_modes_are_refused(kind, mode) -> None:
    with pytest.raises(BadImage, match=f"found the colour mode {mode}, expected RGB"):
        decode(saved(Image.new(mode, (11, 17)), kind))


@pytest.mark.parametrize("mode", ["I", "F"])
def test_more_bits_of_grey_are_refused(mode) -> None:
    with pytest.raises(BadImage, match="more than 8 bits per channel"):
        decode(saved(Image.new(mode, (11, 17)), "TIFF"), (1, 17, 11))


@pytest.mark.parametrize(("kind", "options"), [("WEBP", {"lossless": True}), ("TIFF", {}), ("PNG", {})])
def test_several_frames_are_refused(kind, options, noise) -> None:
    first, second = (Image.fromarray(noise((17, 11, 3), seed)) for seed in (6, 7))
    data = saved(first, kind, save_all=True, append_images=[second], **options)
    with pytest.raises(BadImage, match="found 2 frames, expected one"):
        decode(data)


@pytest.mark.parametrize("data", [b"", b"no image at all", saved(Image.new("P", (11, 17)), "GIF"), b"\x89PNG\r\n"])
def test_other_files_are_refused(data) -> None:
    with pytest.raises(BadImage, match="it is no PNG, JPEG, BMP, WEBP or TIFF image"):
        decode(data)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "BMP", "WEBP", "TIFF"])
def test_a_truncated_image_is_refused(kind, noise, encode) -> None:
    data = encode(noise((3, 64, 64), 8), kind)
    with pytest.raises(BadImage, match="it cannot be decoded"):
        decode(data[: len(data) * 2 // 3], (3, 64, 64))


# 100 megapixels are above the size at which Pillow warns, 900 above the one at which it refuses.
@pytest.mark.parametrize("side", [10_000, 30_000])
def test_a_bomb_is_refused_by_its_header(side) -> None:
    bomb = png(side, side, bits=8, colour=2, rows=b"")
    with pytest.raises(BadImage, match="decompression bomb"):
        decode(bomb, (3, 32, 32))
    with pytest.raises(BadImage, match="decompression bomb"):
        decode(bomb, (3, side, side))


def test_pixels_of_another_size_are_never_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    decoded = []
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", lambda image: decoded.append(image.size))
    with pytest.raises(BadImage, match="found 3×5000×5000"):
        decode(png(5_000, 5_000, bits=8, colour=2, rows=b""))
    assert not decoded


@given(
    kind=st.sampled_from(["PNG", "JPEG", "BMP", "WEBP", "TIFF"]),
    changes=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), min_size=1, max_size=8),
    keep=st.floats(0, 1),
)
def test_damaged_bytes_give_an_image_or_a_bad_image(kind, changes, keep) -> None:
    pixels = np.random.default_rng(9).integers(0, 256, (7, 5, 3), dtype=np.uint8)
    data = bytearray(saved(Image.fromarray(pixels), kind))
    for place, value in changes:
        data[int(place * len(data))] = value
    try:
        found = decode(bytes(data[: round(keep * len(data))]), (3, 7, 5))
    except BadImage:
        return
    assert (found.shape, found.dtype) == ((3, 7, 5), np.uint8)
