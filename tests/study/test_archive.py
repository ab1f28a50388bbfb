"""The limits of a zip that a visitor sends, one by one, and what it gives."""

import io
import os
import struct
import zipfile

import pytest

from camkit.study.archive import ZipLimits, unzip_picture, unzip_pictures
from camkit.study.pictures import HIDDEN, OTHER_NAME


def zipped(path, files, compression=zipfile.ZIP_DEFLATED):
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path


@pytest.fixture
def packed(tmp_path):
    return tmp_path / "pictures.zip"


def refused(path, message, **limits):
    with pytest.raises(ValueError, match=message) as caught:
        unzip_pictures(path, ZipLimits(**limits))
    text = str(caught.value)
    assert text.endswith(".") and "\n" not in text and str(path.parent) not in text


def test_unzip_gives_the_pictures_by_name_and_leaves_out_the_rest(packed):
    inner = io.BytesIO()
    zipped(inner, {"x.png": b"x"})
    zipped(packed, {"b.png": b"2", "a/A.JPEG": b"1", "inner.zip": inner.getvalue(), "notes.txt": b"n", ".x.png": b"h",
                    "__MACOSX/b.png": b"m", "folder/": b""})  # fmt: skip
    found = unzip_pictures(packed)
    assert found.pictures == {"a/A.JPEG": b"1", "b.png": b"2"}
    hidden, others = dict.fromkeys((".x.png", "__MACOSX/b.png"), HIDDEN), ("inner.zip", "notes.txt")
    assert found.skipped == hidden | dict.fromkeys(others, OTHER_NAME)
    assert [unzip_picture(packed, name) for name in ("a/A.JPEG", "notes.txt", "c.png")] == [b"1", None, None]


def test_unzip_counts_pictures_and_entries(packed):
    zipped(packed, {f"{number}.png": b"x" for number in range(50)} | {"notes.txt": b""})
    assert len(unzip_pictures(packed).pictures) == 50
    refused(packed, "holds 50 pictures: at most 49", pictures=49)
    refused(packed, "holds 51 entries: at most 50", entries=50)


def test_unzip_limits_each_picture_and_all_of_them(packed):
    zipped(packed, {"a.png": os.urandom(900), "b.png": os.urandom(900)})
    assert len(unzip_pictures(packed, ZipLimits(picture_bytes=900, total_bytes=1800)).pictures) == 2
    refused(packed, "larger than 0.000899 MB", picture_bytes=899)
    refused(packed, "unpacks to more than", total_bytes=1799)
    assert len(unzip_picture(packed, "b.png", ZipLimits(total_bytes=1799)) or b"") == 900  # the other stays packed
    with pytest.raises(ValueError, match="larger than"):
        unzip_picture(packed, "b.png", ZipLimits(picture_bytes=899))


def test_unzip_refuses_what_unpacks_to_many_times_its_size(packed):
    zipped(packed, {"a.png": bytes(1_000_000)})
    refused(packed, "more than 100 times its own size")


def lied(data: bytes, size: int) -> bytes:
    """The zip with `size` as the unpacked size in all its headers."""
    local, central = data.index(b"PK\3\4"), data.index(b"PK\1\2")
    data = bytearray(data)
    struct.pack_into("<I", data, local + 22, size)
    struct.pack_into("<I", data, central + 24, size)
    return bytes(data)


@pytest.mark.parametrize("size", [10, 900, 2**31])
def test_unzip_does_not_trust_the_headers(packed, size):
    """A header that says less ends the reading early, which its checksum shows; one that says more changes nothing."""
    packed.write_bytes(lied(zipped(packed, {"a.png": bytes(1_000_000)}).read_bytes(), size))
    refused(packed, "The zip cannot be read|more than 100 times")


def test_unzip_counts_entries_that_share_their_bytes(packed):
    """Many names for one block of data: no name alone is too large, all together are."""
    data = zipped(packed, {"0.png": os.urandom(50_000)}).read_bytes()
    central, end = data.index(b"PK\1\2"), data.index(b"PK\5\6")
    entry = data[central:end]
    entries = b"".join(entry[:46] + name + entry[51:] for name in (b"0.png", b"1.png", b"2.png", b"3.png"))
    tail = bytearray(data[end:])
    struct.pack_into("<HHI", tail, 8, 4, 4, len(entries))
    packed.write_bytes(data[:central] + entries + bytes(tail))
    with pytest.raises(ValueError, match=r"The zip cannot be read|more than 2 times"):
        unzip_pictures(packed, ZipLimits(ratio=2.0))


@pytest.mark.parametrize("name", ["../a.png", "a/../../b.png", "/etc/a.png", "C:/a.png", "..\\a.png", "\\a.png"])
def test_unzip_refuses_names_that_lead_out(packed, name):
    refused(zipped(packed, {name: b"x", "fine.png": b"x"}), "leads out of its own folder")


def test_unzip_refuses_encryption_odd_compression_and_twins(packed):
    data = bytearray(zipped(packed, {"a.png": b"x" * 50}).read_bytes())
    data[6] |= 1
    data[data.index(b"PK\1\2") + 8] |= 1
    packed.write_bytes(data)
    refused(packed, "The zip is encrypted")
    refused(zipped(packed, {"a.png": b"x"}, zipfile.ZIP_LZMA), "unusual compression")
    with pytest.warns(UserWarning, match="Duplicate name"), zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("a.png", b"1")
        archive.writestr("a.png", b"2")
    refused(packed, "two pictures of the same name")


@pytest.mark.parametrize("cut", [0, 10, 60, 5_000, -30])
def test_unzip_refuses_what_is_no_whole_zip(packed, cut):
    packed.write_bytes(zipped(packed, {"a.png": os.urandom(10_000)}).read_bytes()[:cut])
    refused(packed, r"^The zip cannot be read")


def test_unzip_refuses_damaged_contents_and_a_zip_without_pictures(packed):
    data = bytearray(zipped(packed, {"a.png": b"abc" * 1000}).read_bytes())
    data[50:60] = b"\xff" * 10
    packed.write_bytes(data)
    refused(packed, r"^The zip cannot be read")
    refused(zipped(packed, {"notes.txt": b"x"}), "holds no picture")
    refused(packed.parent / "none.zip", r"^The zip cannot be read")
