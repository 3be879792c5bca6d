"""Feed damaged tables to the readers: only the library's own exceptions, no hang, no flood.

    python benchmarks/fuzz.py --reader csv --inputs 1000000 --seed 1

Valid files are mutated with a seeded generator, so that an input is made again by its seed
and number (``--first N --inputs 1``). Ends with exit code 1 where an input broke a rule;
such inputs are kept in the folder ``--keep``.
"""

from __future__ import annotations

import argparse
import gzip
import io
import json
import os
import random
import resource
import signal
import struct
import sys
import tempfile
import time
import warnings
import zlib
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas
import zstandard

from xpnn.data import DataFileError
from xpnn.tabular import open_table, read_table

SLOW = 5.0  # seconds of one core for one small input
HANGS = 120.0  # seconds that it may take in all, on a busy machine
FLOOD = 256  # MiB that may come on top of what the readers hold after the first inputs
WARM = 200  # inputs after which they hold it
EDGE = (0, 1, 2, 0x7F, 0x80, 0xFF, 0x100, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)


@dataclass(frozen=True)
class Reader:
    """What is fuzzed."""

    name: str
    suffix: str  # of the file that is read
    seeds: Callable[[], list[bytes]]  # valid files
    read: Callable[[Path], object]  # `DataFileError` is all it may raise
    tokens: Sequence[bytes] = ()  # what is put in between, beside single bytes


def whole_and_streamed(path: Path) -> None:
    """Read a table whole, and each fourth also in chunks: rows and types must agree."""
    if zlib.crc32(path.read_bytes()) % 4:
        read_table(path)
        return
    try:
        table = read_table(path)
    except DataFileError:
        table = None
    try:
        chunks = list(open_table(path).chunks(3))
    except DataFileError:
        if table is not None:
            raise RuntimeError("read whole, but refused in chunks") from None
        raise
    if table is None:
        raise RuntimeError("read in chunks, but refused whole")
    if sum(map(len, chunks)) != len(table):
        raise RuntimeError("another number of rows in chunks")
    for chunk in chunks:
        if list(chunk.dtypes) != list(table.dtypes) or list(chunk) != list(table):
            raise RuntimeError("other columns or types in a chunk")


def csv_seeds() -> list[bytes]:
    plain = b"age,city,ok,when,id\n31,Rome,yes,2020-01-01,1\n,Oslo,no,2021-05-06,2\n4.5,NA,,,3\n"
    quoted = b'a,"b ""x"""\r\n1,"two\r\nlines"\r\n"3","4,5"\r\n\r\n007,0x1F\r\n'
    tabs = "naïve\tn\nß\t1\n\t-2e5\n".encode()
    wide = b"\xef\xbb\xbf" + b";".join(b"c%d" % i for i in range(20)) + b"\n" + b"1;" * 19 + b"2\n"
    return [plain, quoted, tabs, wide, b"x\n1\n2\n3\n", gzip.compress(plain * 3, mtime=0)]


def digits_seeds() -> list[bytes]:
    record = b",".join([b"7"] + [b"%d" % (i % 256) for i in range(784)]) + b"\n"
    return [record, record * 3, gzip.compress(record, mtime=0)]


def idx_seeds() -> list[bytes]:
    def idx(code: int, shape: Sequence[int], body: bytes) -> bytes:
        return struct.pack(f">BBBB{len(shape)}I", 0, 0, code, len(shape), *shape) + body

    pictures = idx(8, (5, 2, 2), bytes(range(20)))
    return [
        pictures,
        idx(8, (4,), bytes(4)),
        idx(0x0B, (3, 2), bytes(12)),
        idx(0x0D, (2, 3), struct.pack(">6f", *range(6))),
        idx(0x0E, (2, 1, 1), struct.pack(">2d", 1.5, float("nan"))),
        gzip.compress(pictures, mtime=0),
    ]


def npy_seeds() -> list[bytes]:
    files = []
    for array in (np.arange(6.0).reshape(3, 2), np.asfortranarray(np.ones((2, 3), "f4"))):
        file = io.BytesIO()
        np.save(file, array)
        files.append(file.getvalue())
    for save in (np.savez, np.savez_compressed):
        file = io.BytesIO()
        save(file, X=np.ones((4, 2), "f4"), y=np.arange(4))
        files.append(file.getvalue())
    return files


def parquet_seeds() -> list[bytes]:
    frame = pandas.DataFrame({"a": [1, 2, None], "b": ["x", None, "y"], "c": [True, False, True]})
    files = []
    for options in ({}, {"compression": None}, {"row_group_size": 2}):
        file = io.BytesIO()
        frame.to_parquet(file, **options)
        files.append(file.getvalue())
    return files


def pack_seeds() -> list[bytes]:
    text = b"a,b\n" + b"1,2\n" * 20
    return [gzip.compress(text, mtime=0), zstandard.ZstdCompressor().compress(text)]


CSV_TOKENS = (
    b'"', b'""', b",", b";", b"\t", b"\n", b"\r", b"\r\n", b"\0", b"\xff", b"\xc3", b"\xef\xbb\xbf",
    b"NA", b"nan", b"1e400", b"-", b"0x1F", b"007", b"9" * 25, b" ", b"\xc2\xa0", b"\x1f\x8b",
    b"(\xb5/\xfd", b"PAR1", b"PK\x03\x04", b"\x93NUMPY", b"\xff\xfe", b",\n", b'"\n', b"\x0b",
)  # fmt: skip
IDX_TOKENS = (b"\0\0\x08\x01", b"\0\0\x0e\x40", b"\xff\xff\xff\xff", b"\0\0\0\0", b"\x1f\x8b\x08")

READERS = {
    reader.name: reader
    for reader in (
        Reader("csv", ".csv", csv_seeds, whole_and_streamed, CSV_TOKENS),
        Reader("digits", ".csv", digits_seeds, whole_and_streamed, CSV_TOKENS),
        Reader("idx", ".idx", idx_seeds, whole_and_streamed, IDX_TOKENS),
        Reader("npy", ".npy", npy_seeds, read_table, (b"|O", b"(9999999999,)", b"<U9")),
        Reader("parquet", ".parquet", parquet_seeds, read_table, (b"PAR1", b"\xff\xff")),
        Reader("packed", ".csv.gz", pack_seeds, whole_and_streamed, (b"(\xb5/\xfd",)),
    )
}


# Mutations


def mutate(random: random.Random, seeds: Sequence[bytes], tokens: Sequence[bytes]) -> bytes:
    """Damage a valid file once or a few times."""
    data = bytearray(random.choice(seeds))
    for _ in range(random.choice((1, 1, 1, 2, 3, 5, 8))):
        at = random.randrange(len(data) + 1)
        size = random.choice((1, 1, 2, 4, 8, 64))
        what = random.randrange(8)
        if what == 0 and at < len(data):
            data[at] ^= 1 << random.randrange(8)
        elif what == 1 and at < len(data):
            data[at] = random.randrange(256)
        elif what == 2:
            del data[at : at + size]
        elif what == 3:
            data[at:at] = random.choice(tokens) if tokens else random.randbytes(size)
        elif what == 4:
            data[at:at] = data[at : at + size] * random.choice((1, 2, 30))
        elif what == 5:
            del data[at:]
        elif what == 6:
            order = random.choice("<>") + random.choice("HIQ")
            edge = random.choice(EDGE) & ((1 << 8 * struct.calcsize(order)) - 1)
            number = struct.pack(order, min(edge, 0xFFFF) if order[1] == "H" else edge)
            data[at : at + len(number)] = number
        else:
            other = random.choice(seeds)
            cut = random.randrange(len(other) + 1)
            data[at : at + size] = other[cut : cut + size]
        if not data:
            break
    return bytes(data[: 1 << 16])


# Running


class TooSlow(BaseException):
    """An input takes longer than `SLOW`."""


def _alarm(*_: object) -> None:
    raise TooSlow


def peak() -> float:
    """Largest memory so far, in MiB."""
    unit = 1 << 20 if sys.platform == "darwin" else 1 << 10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


def outcome(reader: Reader, path: Path) -> str:
    """Read one input; 'read' and 'refused' are good."""
    signal.setitimer(signal.ITIMER_PROF, SLOW)
    signal.setitimer(signal.ITIMER_REAL, HANGS)
    try:
        reader.read(path)
        return "read"
    except DataFileError:
        return "refused"
    except TooSlow:
        return "slow"
    except Exception as error:
        return f"{type(error).__name__}: {str(error)[:100]}"
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.setitimer(signal.ITIMER_REAL, 0)


def fuzz(
    reader: Reader, inputs: int, seed: int, first: int = 0, keep: Path | None = None
) -> dict[str, object]:
    """Read many damaged files and count what happens."""
    warnings.simplefilter("error")
    seeds = reader.seeds()
    before = {number: signal.signal(number, _alarm) for number in (signal.SIGALRM, signal.SIGPROF)}
    counts: Counter[str] = Counter()
    broken: list[int] = []
    began, held = time.perf_counter(), 0.0
    fast = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(dir=fast) as folder:
        path = Path(folder) / f"input{reader.suffix}"
        for number in range(first, first + inputs):
            data = mutate(random.Random(f"{seed}/{number}"), seeds, reader.tokens)
            path.write_bytes(data)
            found = outcome(reader, path)
            if number - first == WARM:
                held = peak()
            if held and peak() > held + FLOOD:
                found, held = "memory", peak()
            counts[found if found in ("read", "refused", "slow", "memory") else "broken"] += 1
            if found not in ("read", "refused"):
                if len(broken) < 20:
                    print(f"{reader.name} {seed}/{number}: {found}", file=sys.stderr)
                broken.append(number)
                if keep is not None:
                    keep.mkdir(parents=True, exist_ok=True)
                    (keep / f"{reader.name}-{seed}-{number}{reader.suffix}").write_bytes(data)
    for number, handler in before.items():
        signal.signal(number, handler)
    seconds = time.perf_counter() - began
    return {
        "reader": reader.name,
        "inputs": inputs,
        "seed": seed,
        "counts": dict(counts),
        "broken": broken[:100],
        "seconds": round(seconds, 1),
        "inputs_per_second": round(inputs / max(seconds, 1e-9)),
        "memory_above_start_mib": round(peak() - held, 1) if held else None,
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--reader", choices=[*READERS, "all"], default="all")
    parser.add_argument("--inputs", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0, help="number of the first input")
    parser.add_argument("--keep", type=Path, help="folder for inputs that broke a rule")
    given = parser.parse_args(arguments)
    names = list(READERS) if given.reader == "all" else [given.reader]
    good = True
    for name in names:
        found = fuzz(READERS[name], given.inputs, given.seed, given.first, given.keep)
        print(json.dumps(found))
        good = good and not found["broken"]
    return 0 if good else 1


if __name__ == "__main__":
    raise SystemExit(main())
