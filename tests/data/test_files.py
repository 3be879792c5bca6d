import gzip
import os
import stat

import pytest

from xpnn.data import DataFileError, atomic_write, open_compressed
from xpnn.data.files import compression


@pytest.mark.parametrize("name", ["a/b.txt", "n" * 251 + ".txt"])  # the longest that there is
def test_atomic_write_writes_a_new_file_in_a_new_folder(tmp_path, name):
    path = tmp_path / "new" / name
    with atomic_write(path) as beside:
        assert beside.parent == path.parent
        assert beside.suffix == ".txt"
        assert not path.exists()
        beside.write_text("whole")
    assert path.read_text() == "whole"
    assert list(path.parent.iterdir()) == [path]


def test_atomic_write_keeps_the_old_file_when_the_block_raises(tmp_path):
    path = tmp_path / "b.txt"
    path.write_text("old")

    def write():
        with atomic_write(path) as beside:
            beside.write_text("ne")
            raise RuntimeError("half way")

    with pytest.raises(RuntimeError, match="half way"):
        write()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_atomic_write_writes_over_what_a_killed_process_left(tmp_path):
    path, left = tmp_path / "b.txt", tmp_path / ".b.part"
    left.write_text("what a killed process left, which is longer")
    with atomic_write(path, temp_name=".b.part") as beside:
        assert beside == left
        beside.write_text("whole")
    assert path.read_text() == "whole"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.skipif(os.name != "posix", reason="folders are synced on POSIX")
def test_atomic_write_syncs_the_file_then_its_folder(tmp_path, monkeypatch):
    path, real, synced = tmp_path / "b.txt", os.fsync, []

    def fsync(handle):
        synced.append((stat.S_ISDIR(os.fstat(handle).st_mode), path.exists()))
        real(handle)

    monkeypatch.setattr(os, "fsync", fsync)
    with atomic_write(path) as beside:
        beside.write_text("whole")
    assert synced == [(False, False), (True, True)]


POSIX = pytest.mark.skipif(os.name != "posix", reason="permissions are a POSIX matter")


def mode_of(path):
    return stat.S_IMODE(path.stat().st_mode)


@POSIX
@pytest.mark.parametrize("mask", [0o022, 0o077, 0o002])
def test_atomic_write_gives_a_new_file_the_usual_permissions(tmp_path, mask, monkeypatch):
    usual, path = tmp_path / "usual", tmp_path / "b.txt"
    before = os.umask(mask)
    monkeypatch.setattr(os, "umask", None)  # the process's mask belongs to all of its threads
    try:
        usual.touch()
        with atomic_write(path) as beside:
            beside.write_text("x")
    finally:
        monkeypatch.undo()
        os.umask(before)
    assert mode_of(path) == mode_of(usual) == 0o666 & ~mask


@POSIX
@pytest.mark.parametrize("mode", [0o600, 0o640, 0o444, 0o755])
def test_atomic_write_keeps_the_permissions_of_an_older_file(tmp_path, mode):
    path = tmp_path / "b.txt"
    path.write_text("old")
    path.chmod(mode)
    with atomic_write(path) as beside:
        # Nobody sees more of it while it is written than afterwards.
        assert mode_of(beside) & ~(mode | stat.S_IWUSR) == 0
        beside.write_text("new")
    assert (path.read_text(), mode_of(path)) == ("new", mode)
    assert list(tmp_path.iterdir()) == [path]


@POSIX
@pytest.mark.parametrize("there", [True, False])
def test_atomic_write_writes_through_a_symbolic_link(tmp_path, there):
    target, link = tmp_path / "elsewhere" / "model", tmp_path / "latest"
    target.parent.mkdir()
    if there:
        target.write_text("old")
    link.symlink_to(target)
    with atomic_write(link) as beside:
        assert beside.parent == target.parent
        beside.write_text("new")
    assert link.is_symlink()
    assert target.read_text() == "new"
    assert sorted(tmp_path.rglob("*")) == [target.parent, target, link]


@POSIX
def test_atomic_write_refuses_what_is_no_file(tmp_path):
    pipe, loop = tmp_path / "pipe", tmp_path / "loop"
    os.mkfifo(pipe)
    loop.symlink_to(loop)
    for path, message in ((pipe, "a device or pipe"), (tmp_path, "directory"), (loop, "symbolic")):
        with pytest.raises(OSError, match=message), atomic_write(path):
            raise AssertionError("nothing may be written")
    assert stat.S_ISFIFO(pipe.stat().st_mode)
    assert loop.is_symlink()


@pytest.mark.parametrize("content", [b"text", b"", b"\x1f", gzip.compress(b"text", mtime=0)])
def test_open_compressed_looks_at_the_content_and_not_at_the_name(tmp_path, content):
    packed = len(content) > 4
    path = tmp_path / ("packed.txt" if packed else "plain.gz")
    path.write_bytes(content)
    with open_compressed(path) as file:
        assert file.read() == (b"text" if packed else content)
        assert compression(file) == ("gzip" if packed else None)


def zstd(content):
    arrow = pytest.importorskip("pyarrow", reason="zstd needs the extra 'tables'")
    packed = arrow.BufferOutputStream()
    with arrow.CompressedOutputStream(packed, "zstd") as file:
        file.write(content)
    return packed.getvalue().to_pybytes()


@pytest.mark.parametrize("pack", [gzip.compress, zstd])
def test_open_compressed_unpacks_all_parts(tmp_path, pack):
    path, parts = tmp_path / "two", [os.urandom(200_000), b"a" * 200_000]
    path.write_bytes(b"".join(map(pack, parts)))
    with open_compressed(path) as file:
        assert compression(file) == ("zstd" if pack is zstd else "gzip")
        assert file.read() == b"".join(parts)


DAMAGE = {
    "cut": lambda packed: packed[:-9],
    "bad sum": lambda packed: packed[:-8] + bytes(4) + packed[-4:],
    "bad middle": lambda packed: packed[:10] + b"\xff" * 20 + packed[30:],
    "bad method": lambda packed: packed[:2] + b"\x07" + packed[3:],
    "more": lambda packed: packed + b"more",
}


@pytest.mark.parametrize(
    ("pack", "damage"),
    [
        *((gzip.compress, d) for d in ("cut", "bad sum", "bad middle", "bad method")),
        *((zstd, d) for d in ("cut", "more")),
    ],
)
def test_open_compressed_a_broken_file_is_named(tmp_path, pack, damage):
    path = tmp_path / "broken"
    path.write_bytes(DAMAGE[damage](pack(os.urandom(1000))))
    message = rf"broken: a broken {'zstd' if pack is zstd else 'gzip'} file: "
    with pytest.raises(DataFileError, match=message), open_compressed(path) as file:
        file.read()


def test_open_compressed_a_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere"), open_compressed(tmp_path / "nowhere"):
        pass
