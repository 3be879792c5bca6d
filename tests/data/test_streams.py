"""Sources: the same rows from every kind of data, in buffers, in an order drawn from a seed."""

from __future__ import annotations

import threading
from contextlib import closing
from itertools import pairwise

import numpy as np
import pytest

from xpnn.data import BlockShuffle, DataFileError, stream
from xpnn.data.streams import Block, Source, Windows, bytes_of

ROWS, FEATURES = 103, 3
RNG = np.random.default_rng(0)
X = RNG.normal(size=(ROWS, FEATURES)).astype("float32")
T = RNG.integers(0, 4, ROWS)
W = RNG.uniform(0.5, 2.0, ROWS).astype("float32")
TABLE = np.column_stack([X[:, :1], T, X[:, 1:], W]).astype("float32")  # target 1, weight -1
CUTS = [0, 40, 41, 90, ROWS]
SPANS = list(pairwise(CUTS))


def save(path, array):
    path.parent.mkdir(exist_ok=True)
    np.save(path, array)
    return path


def write_parquet(path, columns, group=25):
    pa = pytest.importorskip("pyarrow", reason="Parquet needs pyarrow")
    pq = pytest.importorskip("pyarrow.parquet", reason="Parquet needs pyarrow")
    path.parent.mkdir(exist_ok=True)
    pq.write_table(pa.table(columns), path, row_group_size=group)
    return path


def parquet(path, start=0, stop=ROWS):
    x, t, w = (column[start:stop] for column in (X, T, W))
    return write_parquet(path, {"a": x[:, 0], "kind": t, "b": x[:, 1], "c": x[:, 2], "w": w})


def batches():
    for a, b in SPANS:
        yield X[a:b], T[a:b], W[a:b]


def with_files(folder):
    x, t, w = (save(folder / f"{n}.npy", v) for n, v in (("x", X), ("t", T), ("w", W)))
    return stream(x, t, weight=w)


def with_shards(folder):
    for name, whole in (("x", X), ("t", T), ("w", W)):
        for i, (a, b) in enumerate(SPANS):
            save(folder / name / f"{i}.npy", whole[a:b])
    return stream(folder / "x", folder / "t", weight=folder / "w")


def with_table_shards(folder):
    for i, (a, b) in enumerate(SPANS):
        save(folder / "part" / f"{i}.npy", TABLE[a:b])
    save(folder / "part" / "none.npy", np.zeros((0, 2)))  # says nothing of the rows
    return stream(folder / "part", 1, weight=-1)


def with_parquet_shards(folder):
    files = [parquet(folder / "part" / f"{i}.parquet", a, b) for i, (a, b) in enumerate(SPANS)]
    return stream(files, "kind", weight="w")


def with_dask(folder):
    da = pytest.importorskip("dask.array", reason="Dask is not installed")
    return stream(da.from_array(X, chunks=((30, 5, 68), 2)), da.from_array(T), weight=W)


def with_zarr(folder):
    zarr = pytest.importorskip("zarr", reason="zarr is not installed")
    x = zarr.create_array(store={}, shape=X.shape, chunks=(20, 2), dtype="float32")
    x[:] = X
    return stream(x, T, weight=W)


def chunked(chunks):
    """Stands for Dask and zarr, which are seldom installed."""
    x = X.view(type("Chunked", (np.ndarray,), {"chunks": chunks}))
    return lambda folder: stream(x, T, weight=W)


KINDS = {
    "arrays": lambda folder: stream(X, T, weight=W),
    "lists": lambda folder: stream(X, T.tolist(), weight=W.tolist()),
    "table": lambda folder: stream(TABLE, 1, weight=4),
    "memory map": lambda folder: stream(
        np.load(save(folder / "x.npy", X), mmap_mode="r"), T, weight=W
    ),
    "npy": with_files,
    "npy table": lambda folder: stream(save(folder / "t.npy", TABLE), 1, weight=-1),
    "npy by columns": lambda folder: stream(
        save(folder / "x.npy", np.asfortranarray(X)), T, weight=W
    ),
    "big endian": lambda folder: stream(save(folder / "x.npy", X.astype(">f4")), T, weight=W),
    "npy shards": with_shards,
    "npy table shards": with_table_shards,
    "parquet": lambda folder: stream(parquet(folder / "x.parquet"), "kind", weight="w"),
    "parquet, features": lambda folder: stream(
        parquet(folder / "x.pq"), "kind", weight="w", features=["a", "b", "c"]
    ),
    "parquet shards": with_parquet_shards,
    "dask": with_dask,
    "zarr": with_zarr,
    "chunks of several sizes": chunked(((30, 5, 68), (2, 1))),
    "chunks of one size": chunked((20, 2)),
    "list of batches": lambda folder: stream(list(batches())),
    "function": lambda folder: stream(batches),
    "generator": lambda folder: stream(batches()),
    "counted": lambda folder: stream(batches, rows=ROWS),
}


@pytest.fixture(params=KINDS)
def source(request, tmp_path):
    return KINDS[request.param](tmp_path)


@pytest.fixture(autouse=True)
def no_thread_stays():
    yield
    assert [t.name for t in threading.enumerate() if t.name.startswith("xpnn")] == []


def collect(source, batch=7, seed=None, dtype="float32"):
    """All rows in the order in which they are shown, and the numbers of rows of the windows."""
    parts, sizes = [], []
    with closing(Windows(source, batch, dtype).go(seed)) as windows:
        for window in windows:
            order = slice(None) if window.order is None else window.order
            values = (window.x, window.t, window.weight)
            parts.append([None if v is None else v[order].copy() for v in values])
            assert window.first == sum(sizes)
            sizes.append(window.rows)
    columns = zip(*parts, strict=True)
    return [None if c[0] is None else np.concatenate(c) for c in columns], sizes


@pytest.mark.parametrize(
    ("shuffle", "window"), [((4, 5), 14), ((1, 1), 7), ((200, 1), 103), ((25, 2), 49)]
)
def test_every_kind_gives_the_same_rows_in_whole_batches(source, shuffle, window):
    source.shuffle = BlockShuffle(*shuffle)
    assert (source.features, source.dtype.kind) == (FEATURES, "f")
    (x, t, w), sizes = collect(source)
    np.testing.assert_array_equal(x, X)
    np.testing.assert_array_equal(t, T)
    np.testing.assert_array_equal(w, W)
    assert sizes[:-1] == [window] * (len(sizes) - 1)
    assert 0 < sizes[-1] <= max(window, ROWS if source.rows is None else 0)


def test_a_shuffled_pass_shows_every_row_once(source):
    source.shuffle = BlockShuffle(10, 3)
    (x, t, w), _ = collect(source, seed=5)
    assert not np.array_equal(x, X)
    place = {row.tobytes(): i for i, row in enumerate(X)}
    numbers = np.array([place[row.tobytes()] for row in x])
    assert sorted(numbers) == list(range(ROWS))
    np.testing.assert_array_equal(t, T[numbers])
    np.testing.assert_array_equal(w, W[numbers])


def shown(seed, **options):
    """Row numbers in the order of a shuffled pass."""
    numbers = np.arange(1000.0)[:, None]
    (x, _, _), _ = collect(stream(numbers, numbers, shuffle=BlockShuffle(**options)), 10, seed)
    return x[:, 0].astype(int)


def test_blocks_are_mixed_and_rows_are_mixed_in_a_buffer():
    order = shown(0, block_rows=20, buffer_blocks=5)
    for start in range(0, 1000, 100):
        buffer = order[start : start + 100]
        blocks = np.unique(buffer // 20)
        assert len(blocks) == 5  # whole blocks only
        assert sorted(buffer) == sorted((blocks[:, None] * 20 + np.arange(20)).ravel())
        assert not np.array_equal(buffer // 20, np.sort(buffer // 20))
    assert len(np.unique(order[:100] // 100)) > 2  # from everywhere
    # The seed decides it.
    np.testing.assert_array_equal(order, shown(0, block_rows=20, buffer_blocks=5))
    assert not np.array_equal(order, shown(1, block_rows=20, buffer_blocks=5))


def test_a_buffer_that_holds_everything_mixes_everything():
    order = shown(0, block_rows=1000)
    assert np.corrcoef(order, np.arange(1000))[0, 1] == pytest.approx(0, abs=0.1)
    assert abs(np.diff(order)).mean() > 250


def test_an_iterator_is_mixed_in_the_buffer():
    source = stream(lambda: iter([(X[:50], T[:50]), (X[50:], T[50:])]))
    source.shuffle = BlockShuffle(7, 2)
    (x, _, _), sizes = collect(source, seed=0)
    assert sizes == [14] * 7 + [5]
    for start in range(0, ROWS, 14):
        assert sorted(x[start : start + 14, 0]) == sorted(X[start : start + 14, 0])


def test_the_buffers_keep_to_the_memory():
    x = np.zeros((100_000, 10), "float32")
    windows = Windows(stream(x, memory="1 MiB"), 32, "float32")
    assert [b.nbytes for b in windows.buffers] == [windows.rows * 40] * 2
    assert 2**20 * 0.95 < sum(b.nbytes for b in windows.buffers) <= 2**20
    assert windows.rows % 32 == 0
    small = Windows(stream(x[:5], memory="1 MiB"), 32, "float32")
    assert [b.shape for b in small.buffers] == [(5, 10)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [(5, 5), ("7", 7), ("1KB", 1000), ("1 KiB", 1024), ("1.5 GiB", 3 * 2**29), ("2 TB", 2 * 10**12),
     ("256 MiB", 2**28), ("3B", 3)],
)  # fmt: skip
def test_memory_is_read(text, expected):
    assert bytes_of(text) == expected


@pytest.mark.parametrize("text", [0, -1, True, 1.5, None, "", "MiB", "1 XB", "-1 MB", "0", "1 mib"])
def test_what_is_no_memory(text):
    with pytest.raises(ValueError, match=r"memory is .*; expected bytes, or a text such as '256 M"):
        bytes_of(text)


def test_labels_may_be_words(tmp_path):
    words = np.array(["no", "maybe", "yes"])[T % 3]
    for target in (words, save(tmp_path / "t.npy", words)):
        source = stream(X, target, shuffle=BlockShuffle(3))
        np.testing.assert_array_equal(np.concatenate(list(source.targets())), words)
        np.testing.assert_array_equal(collect(source)[0][1], words)


def test_words_in_parquet(tmp_path):
    pa = pytest.importorskip("pyarrow", reason="Parquet needs pyarrow")
    words = np.array(["no", "maybe", "yes"])[T % 3]
    columns = {"a": X[:, 0], "on": T > 1, "w": pa.array(words).dictionary_encode()}
    source = stream(write_parquet(tmp_path / "x.parquet", columns), "w")
    (x, t, _), _ = collect(source)
    np.testing.assert_array_equal(t, words)
    np.testing.assert_array_equal(x, np.column_stack([X[:, 0], T > 1]))
    np.testing.assert_array_equal(np.concatenate(list(source.targets())), words)


def test_targets_alone(source):
    if source.once:
        pytest.skip("goes through once")
    np.testing.assert_array_equal(np.concatenate(list(source.targets())), T)
    assert source.count() == ROWS


class Endless(Source):
    """Blocks without an end; counts how many were asked for."""

    def __init__(self):
        super().__init__("endless", 1, "float32", None)
        self.asked, self.closed = 0, threading.Event()

    def blocks(self, order, block_rows):
        try:
            while True:
                self.asked += 1
                yield Block(np.full((8, 1), self.asked, "float32"), np.zeros(8))
        finally:
            self.closed.set()


def test_the_thread_ends_with_the_pass_and_reads_no_further_than_the_buffers():
    source = Endless()
    source.shuffle = BlockShuffle(8, 1)
    passing = Windows(source, 8, "float32").go()
    for number in range(1, 6):
        assert next(passing).x[0, 0] == number
    passing.close()
    assert source.closed.is_set()
    assert source.asked <= 5 + 2  # in use, in the other buffer, waiting for one


def test_an_error_in_the_thread_comes_out():
    def failing():
        yield X[:60], T[:60]
        raise OSError("the disk is gone")

    source = stream(failing, shuffle=BlockShuffle(7, 2))
    sizes = []
    passing = Windows(source, 7, "float32").go()
    with pytest.raises(OSError, match="the disk is gone") as found:
        sizes.extend(window.rows for window in passing)
    assert sizes == [14] * 4
    assert found.value.__notes__ == ["while reading failing"]


def test_a_file_that_is_cut_off_meanwhile_is_named(tmp_path):
    path = save(tmp_path / "x.npy", X)
    source = stream(path, T)
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(DataFileError, match=r"x\.npy: ends before row 103"):
        collect(source)


def test_a_generator_can_be_gone_through_once():
    source = stream(batches())
    assert source.once
    assert np.array_equal(source.sample().x, X[:1])
    collect(source)
    with pytest.raises(ValueError, match="batches is used up: it can be gone through once"):
        collect(source)
    with pytest.raises(ValueError, match="gone through once, and 2 epochs were asked for; hand st"):
        source.check_once(2)


def test_a_function_s_iterator_is_closed():
    closed = []

    def rows():
        try:
            yield from batches()
        finally:
            closed.append(True)

    source = stream(rows, shuffle=BlockShuffle(7, 1))
    passing = Windows(source, 7, "float32").go()
    next(passing)
    passing.close()
    assert closed == [True, True]  # the look at the first batch, and the pass


def test_wrong_counts_are_noticed():
    with pytest.raises(ValueError, match="batches gave 103 rows; expected 104"):
        collect(stream(batches, rows=104))


def bad_batches(*found):
    return lambda folder: collect(stream(list(found)))


BAD = {
    "no file": (lambda f: stream(f / "x.npy"), FileNotFoundError, r"x\.npy"),
    "not NPY": (lambda f: stream(write(f / "x.npy", b"hello")), DataFileError, r"x\.npy: not a"),
    "empty": (lambda f: stream(write(f / "x.npy", b"")), DataFileError, r"x\.npy: not a readable"),
    "cut off": (
        lambda f: stream(write(f / "x.npy", save(f / "y.npy", X).read_bytes()[:-1])),
        DataFileError, r"x\.npy: 1,235 bytes of data; its header speaks of 1,236",
    ),
    "objects": (
        lambda f: stream(save(f / "x.npy", np.array([[None]]))), DataFileError, "holds object; exp",
    ),
    "three axes": (
        lambda f: stream(save(f / "x.npy", np.zeros((2, 2, 2)))), DataFileError, r"shape \(2, 2, 2",
    ),
    "words": (lambda f: stream(np.array([["a"]])), TypeError, "x holds <U1; expected numbers"),
    "complex": (lambda f: stream(np.ones((2, 2), complex)), TypeError, "x holds complex128"),
    "one axis": (lambda f: stream(np.ones(3)), ValueError, r"x has shape \(3,\); expected \(n, fe"),
    "no rows": (lambda f: stream(np.ones((0, 3))), ValueError, "x has no rows"),
    "lengths": (lambda f: stream(X, T[:-1]), ValueError, "t has 102 rows and x has 103"),
    "column": (lambda f: stream(X, 3), ValueError, "column 3 is not in x, which has 3 columns"),
    "ending": (lambda f: stream(write(f / "x.csv", b"1")), DataFileError, r"files of \.csv; ex"),
    "empty folder": (lambda f: stream(f), DataFileError, "no file there; expected NPY or Parquet"),
    "mixed": (
        lambda f: stream([f / "a.npy", f / "b.parquet"]), DataFileError, r"files of \.npy, Parquet",
    ),
    "files of targets": (
        lambda f: stream([save(f / "a.npy", X), save(f / "b.npy", X)], [save(f / "t.npy", T)]),
        ValueError, "target has 1 files; expected 2",
    ),
    "array for files": (
        lambda f: stream([save(f / "a.npy", X), save(f / "b.npy", X)], T), ValueError,
        "target is a ndarray; expected for several files",
    ),
    "widths": (
        lambda f: stream([save(f / "a.npy", X), save(f / "b.npy", X[:, :2])]), ValueError,
        r"b\.npy has 2 features and .*a\.npy has 3",
    ),
    "name for arrays": (lambda f: stream(X, "kind"), ValueError, "target is 'kind'; expected|t is"),
    "features": (lambda f: stream(X, T, features=["a"]), ValueError, "features names columns of P"),
    "features of NPY": (
        lambda f: stream(save(f / "x.npy", X), features=["a"]), ValueError, "features names colum",
    ),
    "rows": (lambda f: stream(X, T, rows=5), ValueError, "rows is 5; x has 103"),
    "rows below 1": (lambda f: stream(batches, rows=0), ValueError, "rows is 0; expected a positi"),
    "shuffle": (lambda f: stream(X, T, shuffle=True), TypeError, "shuffle is a bool; expected a"),
    "block": (lambda f: BlockShuffle(0), ValueError, "block_rows is 0; expected an integer from 1"),
    "seed": (lambda f: BlockShuffle(seed=-1), ValueError, "seed is -1; expected an integer from 0"),
    "number": (lambda f: stream(5), TypeError, "data is a int; expected a path, arrays"),
    "no iterator": (lambda f: stream(lambda: 5), TypeError, "gives a int; expected an iterator"),
    "no batch": (lambda f: stream([]), ValueError, "the list gives no batch"),
    "target beside batches": (lambda f: stream(batches, T), ValueError, "batches bring their own"),
    "no arrays": (lambda f: stream([("a", "b")]), TypeError, r"batch 1 of the list is a tuple"),
    "batch width": (
        bad_batches((X, T), (X[:, :2], T)), ValueError, r"batch 2 of the list has shape \(103, 2\)",
    ),
    "batch targets": (
        bad_batches((X, T[:-1])), ValueError, r"has 103 rows and targets of shape \(102,\)",
    ),
    "some targets": (bad_batches((X, T), X), ValueError, "the list gives t with some batches only"),
}  # fmt: skip


def write(path, content):
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("name", BAD)
def test_bad_input(name, tmp_path):
    call, error, message = BAD[name]
    with pytest.raises(error, match=message):
        call(tmp_path)


def test_bad_parquet(tmp_path):
    path = parquet(tmp_path / "x.parquet")
    with pytest.raises(DataFileError, match=r"x\.parquet: no column 'y'; expected one of a, kind"):
        stream(path, "y")
    with pytest.raises(ValueError, match="target is 1; expected the name of a column"):
        stream(path, 1)
    with pytest.raises(DataFileError, match=r"no\.parquet: not a readable Parquet file"):
        stream(write(tmp_path / "no.parquet", b"PAR1 and nothing else"))
    words = write_parquet(tmp_path / "w.parquet", {"a": ["x"], "t": [1]})
    with pytest.raises(DataFileError, match=r"column 'a' holds string; expected numbers"):
        stream(words, "t")
    gaps = {"a": [1.0, None, 2.0], "t": [1, 1, 1]}
    with pytest.raises(DataFileError, match=r"row group 1, column 'a': 1 missing values"):
        collect(stream(write_parquet(tmp_path / "n.parquet", gaps, 1), "t"))
    whole = path.read_bytes()
    source = stream(write(tmp_path / "b.parquet", whole[:4] + bytes(196) + whole[200:]), "kind")
    with pytest.raises(DataFileError, match=r"b\.parquet, row group 0"):
        collect(source)
