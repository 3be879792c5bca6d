"""The MNIST database of handwritten digits: finding, reading and preparing it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from xpnn.backends import (
    Array,
    ArrayLike,
    InputError,
    as_array,
    device_of,
    host,
    is_floating,
    library_name,
    namespace,
    on_device,
    scalar,
    select,
    to_float,
    to_host,
)
from xpnn.data.digits_csv import PIXELS, read_digits_csv
from xpnn.data.files import DataFileError
from xpnn.data.idx import read_idx, write_idx
from xpnn.functional import one_hot

SHADES = " .:-=+*#%@"

_IDX_PREFIX = {"train": "train", "test": "t10k"}
_CSV = {
    "train": ("mnist_train.csv", "mnist_train_100.csv"),
    "test": ("mnist_test.csv", "mnist_test_10.csv"),
}
_TRAIN_ROWS, _TEST_ROWS = 60_000, 10_000


@dataclass(frozen=True)
class Mnist:
    """Digits to learn from and digits to test with.

    Parameters
    ----------
    train_images, test_images : numpy.ndarray of uint8, shape (n, 784)
        Rows of the 28x28 pictures one after the other; 255 is ink.
    train_labels, test_labels : numpy.ndarray of int64, shape (n,)
        The digits 0 to 9.
    """

    train_images: Array
    train_labels: Array
    test_images: Array
    test_labels: Array

    def __repr__(self) -> str:
        return f"Mnist({len(self.train_labels):,} to train, {len(self.test_labels):,} to test)"


@dataclass(frozen=True)
class MnistFiles:
    """Where the digits lie.

    Parameters
    ----------
    train, test : tuple of Path
        One CSV file, or two IDX files: images and labels.
    """

    train: tuple[Path, ...]
    test: tuple[Path, ...]


def _idx_names(part: str, what: str) -> tuple[str, ...]:
    stem = f"{_IDX_PREFIX[part]}-{what}"
    number = 3 if what == "images" else 1
    return f"{stem}-idx{number}-ubyte", f"{stem}.idx{number}-ubyte"


def _first(folder: Path, names: tuple[str, ...]) -> Path | None:
    """Return the first of these files that is there, plain before packed."""
    candidates = (folder / f"{name}{ending}" for name in names for ending in ("", ".gz"))
    return next((path for path in candidates if path.is_file()), None)


def _find_part(folder: Path, part: str) -> tuple[Path, ...] | None:
    images = _first(folder, _idx_names(part, "images"))
    labels = _first(folder, _idx_names(part, "labels"))
    if images is not None and labels is not None:
        return images, labels
    table = _first(folder, _CSV[part])
    return None if table is None else (table,)


def find_mnist(folder: str | Path) -> MnistFiles:
    """Look for the MNIST database in a folder.

    Parameters
    ----------
    folder : path
        Holds IDX or CSV files under their usual names, plain or gzipped; IDX comes before
        CSV, and the whole CSV files before their first 100 and 10 records.

    Returns
    -------
    MnistFiles

    Raises
    ------
    FileNotFoundError
        The digits to train or to test with are not there; the message says what names
        were looked for, and how to get the files.
    """
    folder = Path(folder)
    train, test = _find_part(folder, "train"), _find_part(folder, "test")
    if train is not None and test is not None:
        return MnistFiles(train, test)
    missing = [part for part, found in (("train", train), ("test", test)) if found is None]
    lines = [f"{folder} is not a folder" if not folder.is_dir() else f"no MNIST in {folder}"]
    for part in missing:
        images, labels = (_idx_names(part, what)[0] for what in ("images", "labels"))
        tables = " or ".join(_CSV[part])
        lines.append(
            f"to {part}, expected {images} and {labels} (or with .idx in place of -idx), or "
            f"{tables}, each plain or with .gz"
        )
    lines.append(
        "Where there is a network, get them with xpnn.data.fetch_mnist(folder), which asks "
        "scikit-learn's fetch_openml('mnist_784', version=1, as_frame=False); else copy the "
        "IDX files of the MNIST database (LeCun, Cortes, Burges) into the folder"
    )
    raise FileNotFoundError(".\n".join(lines))


def _read_part(paths: tuple[Path, ...]) -> tuple[Array, Array]:
    if len(paths) == 1:
        return read_digits_csv(paths[0])
    images, labels = (read_idx(path) for path in paths)
    if images.dtype != "uint8" or images.shape[1:] != (28, 28) or not images.size:
        raise DataFileError(
            f"{paths[0]}: {images.dtype} numbers of shape {images.shape}; expected uint8 "
            "pictures (n, 28, 28), n at least 1"
        )
    if labels.dtype != "uint8" or labels.shape != images.shape[:1]:
        raise DataFileError(
            f"{paths[1]}: {labels.dtype} numbers of shape {labels.shape}; expected uint8 labels "
            f"({images.shape[0]},), as many as there are pictures in {paths[0].name}"
        )
    if labels.max() > 9:
        place = int((labels > 9).argmax())
        raise DataFileError(
            f"{paths[1]}: label {place + 1} is {labels[place]}; expected a digit 0 to 9"
        )
    return images.reshape(-1, PIXELS), labels.astype("int64")


def load_mnist(folder: str | Path) -> Mnist:
    """Read the MNIST database from a folder.

    Parameters
    ----------
    folder : path
        As in `find_mnist`.

    Returns
    -------
    Mnist

    Raises
    ------
    FileNotFoundError
        The files are not there.
    DataFileError
        A file does not hold what it should.
    """
    files = find_mnist(folder)
    return Mnist(*_read_part(files.train), *_read_part(files.test))


def fetch_mnist(folder: str | Path) -> Mnist:
    """Get the MNIST database from OpenML and keep it as four gzipped IDX files.

    Parameters
    ----------
    folder : path
        Made if it is missing. `load_mnist` reads it from then on, without a network.

    Returns
    -------
    Mnist

    Raises
    ------
    ConnectionError
        OpenML could not be reached.
    DataFileError
        What came is not MNIST.
    """
    from sklearn.datasets import fetch_openml

    try:
        found = fetch_openml("mnist_784", version=1, as_frame=False)
    except OSError as error:
        raise ConnectionError(
            f"MNIST could not be fetched from OpenML: {error}. Without a network, copy the IDX "
            f"files of the MNIST database (LeCun, Cortes, Burges) into {folder}"
        ) from error
    images, labels = host.asarray(found.data), host.asarray(found.target)
    rows = _TRAIN_ROWS + _TEST_ROWS
    if images.shape != (rows, PIXELS) or labels.shape != (rows,):
        raise DataFileError(
            f"OpenML sent pictures of shape {images.shape} and labels of shape {labels.shape}; "
            f"expected ({rows}, {PIXELS}) and ({rows},)"
        )
    images, labels = images.astype("uint8").reshape(-1, 28, 28), labels.astype("uint8")
    for what, values in (("images", images), ("labels", labels)):
        parts = {"train": values[:_TRAIN_ROWS], "test": values[_TRAIN_ROWS:]}
        for part, own in parts.items():
            write_idx(Path(folder) / f"{_idx_names(part, what)[0]}.gz", own)
    return load_mnist(folder)


def scale_pixels(images: ArrayLike, dtype: str = "float32") -> Array:
    """Scale pixels as the digit tutorial does: ``v / 255 * 0.99 + 0.01``.

    Parameters
    ----------
    images : array_like of 0 to 255, any shape
        No input is then 0, which would keep its weights from learning.
    dtype : str, default 'float32'
        Floating dtype of the result.

    Returns
    -------
    array of 0.01 to 1
        On the library and device of `images`, in its shape.
    """
    images = as_array("images", images)
    xp, device = namespace(images=images), device_of(images)
    wanted = select(library_name(xp), device, dtype).dtype
    with on_device(device):
        return xp.astype(images, wanted) / 255.0 * 0.99 + 0.01


def digit_targets(labels: ArrayLike, classes: int = 10, dtype: str = "float32") -> Array:
    """Make the digit tutorial's targets: 0.99 for the right label, 0.01 for the others.

    Parameters
    ----------
    labels : array_like of integers, shape (n,)
        Values in ``0 .. classes - 1``.
    classes : int, default 10
        Number of columns.
    dtype : str, default 'float32'
        Floating dtype of the result.

    Returns
    -------
    array, shape (n, classes)
        On the library and device of `labels`; a sigmoid can reach these values.

    Raises
    ------
    ValueError
        A label is out of range, or `labels` is not a vector of integers.
    """
    labels = as_array("labels", labels)
    xp, device = namespace(labels=labels), device_of(labels)
    if labels.ndim != 1 or is_floating(labels, xp):
        raise InputError(
            f"labels has shape {tuple(labels.shape)} and dtype {labels.dtype}; expected "
            "integers (n,)"
        )
    wanted = select(library_name(xp), device, dtype).dtype
    with on_device(device):
        for label in (xp.min(labels), xp.max(labels)) if labels.shape[0] else ():
            if not 0 <= to_float(label) < classes:
                raise InputError(
                    f"labels holds {to_float(label):.0f}; expected labels 0 to {classes - 1}"
                )
        hit = one_hot(labels, classes, dtype=wanted, xp=xp) > 0
        high, low = (scalar(value, xp, device, wanted) for value in (0.99, 0.01))
        return xp.where(hit, high, low)


def square_picture(image: ArrayLike) -> Array:
    """Bring one picture into rows and columns.

    Parameters
    ----------
    image : array_like, shape (h, w) or (h * h,)
        A picture, or the rows of a square one.

    Returns
    -------
    numpy.ndarray, shape (h, w)

    Raises
    ------
    ValueError
        It is neither.
    """
    picture = to_host(as_array("image", image))
    side = math.isqrt(picture.size)
    if picture.ndim == 1 and picture.size and side * side == picture.size:
        return picture.reshape(side, side)
    if picture.ndim != 2 or not picture.size:
        raise InputError(
            f"image has shape {picture.shape}; expected (h, w), or (h * h,) for a square picture"
        )
    return picture


def ascii_digit(image: ArrayLike) -> str:
    """Show a picture as text, for a terminal.

    Parameters
    ----------
    image : array_like, shape (h, w) or (h * h,)
        A picture, or the rows of a square one, such as (784,); of any range of values.

    Returns
    -------
    str
        One line for each row; a pixel is two characters wide, so that it looks square.

    Raises
    ------
    ValueError
        The shape is not that of a picture.

    Examples
    --------
    >>> print(ascii_digit([[0, 9], [9, 5]]))
      @@
    @@++
    """
    picture = square_picture(image).astype("float64")
    low, high = picture.min(), picture.max()
    share = (picture - low) / (high - low) if high > low else host.zeros(picture.shape)
    shades = host.minimum(share * len(SHADES), len(SHADES) - 1).astype("int64")
    return "\n".join("".join(2 * SHADES[i] for i in row) for row in shades)
