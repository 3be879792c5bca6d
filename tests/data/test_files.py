import gzip
import os
import stat

import pytest

from xpnn.data import DataFileError, reading, replacing


def test_replacing_writes_a_new_file_in_a_new_folder(tmp_path):
    path = tmp_path / "a" / "b.txt"
    with replacing(path) as beside:
        assert beside.parent == path.parent
        assert beside.suffix == ".txt"
        assert not path.exists()
        beside.write_text("whole")
    assert path.read_text() == "whole"
    assert list(path.parent.iterdir()) == [path]


def test_replacing_keeps_the_old_file_when_the_block_raises(tmp_path):
    path = tmp_path / "b.txt"
    path.write_text("old")

    def write():
        with replacing(path) as beside:
            beside.write_text("ne")
            raise RuntimeError("half way")

    with pytest.raises(RuntimeError, match="half way"):
        write()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_replacing_writes_over_what_a_killed_process_left(tmp_path):
    path, left = tmp_path / "b.txt", tmp_path / ".b.part"
    left.write_text("what a killed process left, which is longer")
    with replacing(path, beside=".b.part") as beside:
        assert beside == left
        beside.write_text("whole")
    assert path.read_text() == "whole"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.skipif(os.name != "posix", reason="folders are synced on POSIX")
def test_replacing_syncs_the_file_then_its_folder(tmp_path, monkeypatch):
    path, real, synced = tmp_path / "b.txt", os.fsync, []

    def fsync(handle):
        synced.append((stat.S_ISDIR(os.fstat(handle).st_mode), path.exists()))
        real(handle)

    monkeypatch.setattr(os, "fsync", fsync)
    with replacing(path) as beside:
        beside.write_text("whole")
    assert synced == [(False, False), (True, True)]


@pytest.mark.skipif(os.name != "posix", reason="rights of other users are a POSIX matter")
def test_replacing_gives_the_usual_rights(tmp_path):
    usual, path = tmp_path / "usual", tmp_path / "b.txt"
    usual.touch()
    with replacing(path) as beside:
        beside.write_text("x")
    assert stat.S_IMODE(path.stat().st_mode) == stat.S_IMODE(usual.stat().st_mode)


@pytest.mark.parametrize("name", ["plain.gz", "packed.txt"])
def test_reading_looks_at_the_content_and_not_at_the_name(tmp_path, name):
    path = tmp_path / name
    path.write_bytes(gzip.compress(b"text") if name.startswith("packed") else b"text")
    with reading(path) as file:
        assert file.read() == b"text"


@pytest.mark.parametrize("content", [b"", b"\x1f"])
def test_reading_a_very_short_file(tmp_path, content):
    path = tmp_path / "short"
    path.write_bytes(content)
    with reading(path) as file:
        assert file.read() == content


def cut(packed):
    return packed[:-9]


def bad_sum(packed):
    return packed[:-8] + bytes(4) + packed[-4:]


def bad_middle(packed):
    return packed[:10] + b"\xff" * 20 + packed[30:]


def bad_method(packed):
    return packed[:2] + b"\x07" + packed[3:]


@pytest.mark.parametrize("damage", [cut, bad_sum, bad_middle, bad_method])
def test_reading_a_broken_gzip_file_names_it(tmp_path, damage):
    path = tmp_path / "broken.gz"
    path.write_bytes(damage(gzip.compress(os.urandom(1000))))
    message = r"broken\.gz: a broken gzip file: "
    with pytest.raises(DataFileError, match=message), reading(path) as file:
        file.read()


def test_reading_a_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere"), reading(tmp_path / "nowhere"):
        pass
