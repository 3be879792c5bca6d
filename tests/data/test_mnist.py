import doctest
import gzip
import shutil
from types import SimpleNamespace
from unittest.mock import Mock
from urllib.error import URLError

import numpy as np
import pytest

from xpnn import backends
from xpnn.data import (
    DataFileError,
    Mnist,
    ascii_digit,
    digit_targets,
    fetch_mnist,
    find_mnist,
    load_mnist,
    scale_pixels,
    square_picture,
    write_idx,
)
from xpnn.data import mnist as module

GENERATOR = np.random.default_rng(1)


def pictures(rows):
    images = GENERATOR.integers(0, 256, (rows, 28, 28)).astype("uint8")
    return images, GENERATOR.integers(0, 10, rows).astype("uint8")


def write_part(folder, part, rows, dot=False, ending=""):
    images, labels = pictures(rows)
    mark = "." if dot else "-"
    write_idx(folder / f"{part}-images{mark}idx3-ubyte{ending}", images)
    write_idx(folder / f"{part}-labels{mark}idx1-ubyte{ending}", labels)
    return images.reshape(rows, 784), labels


def write_table(path, rows):
    images, labels = pictures(rows)
    table = np.column_stack([labels, images.reshape(rows, 784)])
    text = "\n".join(",".join(map(str, row)) for row in table.tolist()).encode()
    path.write_bytes(gzip.compress(text) if path.suffix == ".gz" else text)
    return images.reshape(rows, 784), labels


def check(found, train, test):
    columns = (found.train_images, found.train_labels, found.test_images, found.test_labels)
    for own, expected, dtype in zip(columns, (*train, *test), ["uint8", "int64"] * 2, strict=True):
        assert own.dtype == dtype
        np.testing.assert_array_equal(own, expected)


@pytest.mark.parametrize("ending", ["", ".gz"])
@pytest.mark.parametrize("dot", [False, True])
def test_idx_files_under_their_usual_names(tmp_path, dot, ending):
    train = write_part(tmp_path, "train", 5, dot, ending)
    test = write_part(tmp_path, "t10k", 3, dot, ending)
    check(load_mnist(tmp_path), train, test)


@pytest.mark.parametrize("ending", ["", ".gz"])
@pytest.mark.parametrize("names", [("train", "test"), ("train_100", "test_10")])
def test_csv_files_under_their_usual_names(tmp_path, names, ending):
    train, test = (write_table(tmp_path / f"mnist_{name}.csv{ending}", 4) for name in names)
    check(load_mnist(str(tmp_path)), train, test)


def test_idx_comes_before_csv_and_whole_files_before_parts(tmp_path):
    for name in ("train_100", "test_10"):
        write_table(tmp_path / f"mnist_{name}.csv", 2)
    assert [p.name for p in find_mnist(tmp_path).train] == ["mnist_train_100.csv"]
    write_table(tmp_path / "mnist_train.csv.gz", 2)
    assert [p.name for p in find_mnist(tmp_path).train] == ["mnist_train.csv.gz"]
    write_part(tmp_path, "train", 2, ending=".gz")
    files = find_mnist(tmp_path)
    assert files.train == (
        tmp_path / "train-images-idx3-ubyte.gz", tmp_path / "train-labels-idx1-ubyte.gz",
    )  # fmt: skip
    assert files.test == (tmp_path / "mnist_test_10.csv",)


def test_only_what_is_missing_is_named(tmp_path):
    write_part(tmp_path, "train", 2)
    write_part(tmp_path, "t10k", 2)
    (tmp_path / "t10k-labels-idx1-ubyte").unlink()  # pictures alone do not count
    with pytest.raises(FileNotFoundError) as error:
        find_mnist(tmp_path)
    assert "to test, expected t10k" in str(error.value)
    assert "to train" not in str(error.value)


def test_an_empty_folder_says_what_was_looked_for_and_how_to_get_it(tmp_path):
    with pytest.raises(FileNotFoundError) as error:
        load_mnist(tmp_path)
    message = str(error.value)
    assert message.startswith(f"no MNIST in {tmp_path}.\n")
    for part in (
        "train-images-idx3-ubyte and train-labels-idx1-ubyte",
        "t10k-images-idx3-ubyte and t10k-labels-idx1-ubyte",
        "mnist_train.csv or mnist_train_100.csv",
        "mnist_test.csv or mnist_test_10.csv",
        "each plain or with .gz",
        "xpnn.data.fetch_mnist(folder)",
        "fetch_openml('mnist_784', version=1, as_frame=False)",
        "MNIST database (LeCun, Cortes, Burges)",
    ):
        assert part in message


def test_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere is not a folder"):
        find_mnist(tmp_path / "nowhere")


WRONG = {
    "small pictures": ("images", np.zeros((2, 8, 8), "uint8"), r"\(2, 8, 8\); expected uint8 pict"),
    "flat pictures": ("images", np.zeros((2, 784), "uint8"), r"shape \(2, 784\); expected uint8"),
    "no pictures": ("images", np.zeros((0, 28, 28), "uint8"), "n at least 1"),
    "other numbers": ("images", np.zeros((2, 28, 28), "int16"), "int16 numbers of shape"),
    "too few labels": ("labels", np.zeros(1, "uint8"), r"shape \(1,\); expected uint8 labels \(2,"),
    "labels of another type": ("labels", np.zeros(2, "int32"), "int32 numbers of shape"),
    "label 10": ("labels", np.asarray([9, 10], "uint8"), "label 2 is 10; expected a digit 0 to 9"),
}


@pytest.mark.parametrize("case", WRONG)
def test_idx_files_that_hold_something_else(tmp_path, case):
    what, array, message = WRONG[case]
    write_part(tmp_path, "train", 2)
    write_part(tmp_path, "t10k", 2)
    path = tmp_path / f"train-{what}-idx{3 if what == 'images' else 1}-ubyte"
    write_idx(path, array)
    with pytest.raises(DataFileError, match=message) as error:
        load_mnist(tmp_path)
    assert str(error.value).startswith(f"{path}: ")


def test_fetching_keeps_the_files(tmp_path, monkeypatch):
    assert (module._TRAIN_ROWS, module._TEST_ROWS) == (60_000, 10_000)
    monkeypatch.setattr(module, "_TRAIN_ROWS", 1_200)
    monkeypatch.setattr(module, "_TEST_ROWS", 3)
    images = GENERATOR.integers(0, 256, (1_203, 784))
    labels = GENERATOR.integers(0, 10, 1_203).astype(str).astype(object)
    openml = Mock(return_value=SimpleNamespace(data=images, target=labels))
    monkeypatch.setattr("sklearn.datasets.fetch_openml", openml)
    found = fetch_mnist(tmp_path / "new")
    openml.assert_called_once_with("mnist_784", version=1, as_frame=False)
    expected = labels.astype("int64")
    check(found, (images[:1_200], expected[:1_200]), (images[1_200:], expected[1_200:]))
    assert repr(found) == "Mnist(1,200 to train, 3 to test)"
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == [
        f"{part}-{what}-ubyte.gz" for part in ("t10k", "train")
        for what in ("images-idx3", "labels-idx1")
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("answer", "error", "message"),
    [
        (URLError("no route"), ConnectionError, r"no route.*copy the IDX files of the MNIST"),
        (
            [SimpleNamespace(data=np.zeros((5, 784)), target=np.zeros(5))],
            DataFileError, r"shape \(5, 784\) and .*; expected \(70000, 784\)",
        ),
    ],
)  # fmt: skip
def test_fetching_in_vain(tmp_path, monkeypatch, answer, error, message):
    monkeypatch.setattr("sklearn.datasets.fetch_openml", Mock(side_effect=answer))
    with pytest.raises(error, match=message):
        fetch_mnist(tmp_path)
    assert not list(tmp_path.iterdir())


def test_real_mnist(shared_data, tmp_path):
    for name in ("train_100", "test_10"):
        shutil.copy(shared_data / "mnist_csv" / f"mnist_{name}.csv", tmp_path)
    whole, part = load_mnist(shared_data / "mnist"), load_mnist(tmp_path)
    assert isinstance(whole, Mnist)
    assert (whole.train_images.shape, whole.test_images.shape) == ((60_000, 784), (10_000, 784))
    assert part.train_labels[:10].tolist() == [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]
    counts = [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    assert np.bincount(whole.test_labels).tolist() == counts
    assert whole.test_images[0].sum() == 18_454
    check(
        part,
        (whole.train_images[:100], whole.train_labels[:100]),
        (whole.test_images[:10], whole.test_labels[:10]),
    )


def test_scaling_is_the_tutorials(backend, assert_close):
    values = np.asarray([[0, 1, 128], [254, 255, 7]], dtype="uint8")
    images = backend.asarray(values)
    name = backends.dtype_name(backend.dtype)
    assert_close(scale_pixels(images, name), values / 255 * 0.99 + 0.01, backend)


def test_scaling_takes_lists_and_gives_float32_by_default():
    found = scale_pixels([0, 255])
    assert found.dtype == "float32"
    assert found.tolist() == np.asarray([0.01, 1.0], dtype="float32").tolist()
    assert scale_pixels(np.full((2, 28, 28), 9, "uint8"), "float16").dtype == "float16"
    with pytest.raises(ValueError, match="dtype='int8' is not known"):
        scale_pixels([0], "int8")


@pytest.mark.parametrize("kind", ["uint8", "int32"])
def test_targets_are_the_tutorials(backend, kind):
    labels = backend.asarray(np.asarray([2, 0, 2]), kind)
    found = digit_targets(labels, 3, backends.dtype_name(backend.dtype))
    own = backends.backend_of(found)
    assert (own.name, own.device, own.dtype) == (backend.name, backend.device, backend.dtype)
    low, high = np.asarray([0.01, 0.99], dtype=backends.dtype_name(backend.dtype))
    expected = [[low, low, high], [high, low, low], [low, low, high]]
    assert backend.to_host(found).tolist() == [[float(v) for v in row] for row in expected]


def test_targets_of_lists_and_of_nothing():
    found = digit_targets([3])
    assert (found.dtype, found.shape, int(found.argmax())) == ("float32", (1, 10), 3)
    assert digit_targets(np.zeros(0, "int64"), 4).shape == (0, 4)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([0, 10], "labels holds 10; expected labels 0 to 9"),
        ([-1, 3], "labels holds -1; expected labels 0 to 9"),
        ([0.0, 1.0], r"shape \(2,\) and dtype float64; expected integers \(n,\)"),
        ([[1], [2]], r"labels has shape \(2, 1\) and dtype int64"),
    ],
)
def test_targets_of_wrong_labels(labels, message):
    with pytest.raises(ValueError, match=message):
        digit_targets(labels)


def test_a_picture_as_text():
    image = np.asarray([[0, 255, 0], [100, 255, 26]])
    assert ascii_digit(image) == "  @@  \n--@@.."
    assert ascii_digit(image / 255 * 0.99 + 0.01) == ascii_digit(image)
    assert ascii_digit(np.zeros((2, 1))) == "  \n  "
    assert ascii_digit(np.arange(10)[None, :]) == "  ..::--==++**##%%@@"


def test_a_picture_as_text_from_every_library(backend):
    values = np.arange(64.0)
    lines = ascii_digit(backend.asarray(values)).split("\n")
    assert len(lines) == 8
    assert {len(line) for line in lines} == {16}
    assert "\n".join(lines) == ascii_digit(values.reshape(8, 8).tolist())


def test_the_docstring(capsys):
    failed, tried = doctest.testmod(module)
    assert tried > 0
    assert failed == 0, capsys.readouterr().out


@pytest.mark.parametrize("shape", [(), (0,), (0, 0), (5,), (2, 3, 4)])
def test_what_is_not_a_picture(shape):
    with pytest.raises(ValueError, match=r"image has shape .*; expected \(h, w\), or"):
        square_picture(np.zeros(shape))
