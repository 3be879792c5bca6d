import gzip

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from xpnn.data import DataFileError, read_digits_csv
from xpnn.data import digits_csv as module

GENERATOR = np.random.default_rng(0)
TABLE = GENERATOR.integers(0, 256, (7, 785))
TABLE[:, 0] = [5, 0, 4, 1, 9, 2, 7]
TABLE[:, 300:400] = 0
HEADER = "label," + ",".join(f"pixel{i}" for i in range(784))


def lines(table=TABLE):
    return [",".join(map(str, row)) for row in table.tolist()]


def write(path, text):
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def check(path, table=TABLE):
    images, labels = read_digits_csv(path)
    assert (images.dtype, labels.dtype) == ("uint8", "int64")
    assert images.shape == (len(table), 784)
    assert (images == table[:, 1:]).all()
    assert labels.tolist() == table[:, 0].tolist()


FORMS = {
    "plain": "\n".join(lines()) + "\n",
    "no last newline": "\n".join(lines()),
    "windows": "\r\n".join(lines()) + "\r\n",
    "windows, no last newline": "\r\n".join(lines()),
    "header": "\n".join([HEADER, *lines()]) + "\n",
    "windows header": "\r\n".join([HEADER, *lines()]) + "\r\n",
    "quoted header": "\n".join([HEADER.replace("label", '"Label"'), *lines()]) + "\n",
    "blank last lines": "\n".join(lines()) + "\n\n\r\n  \n",
    "blank first and middle lines": "\n" + "\n\n".join(lines()),
    "spaces": "\n".join(lines()).replace(",", ", "),
    "leading zeros": "\n".join(lines()).replace(",", ",0"),
    "byte order mark": "\ufeff" + "\n".join(lines()),
    "byte order mark and header": "\ufeff" + "\n".join([HEADER, *lines()]),
    "gzip": gzip.compress("\n".join(lines()).encode()),
}
PARTS = {"one record": TABLE[3:4], "single digits": TABLE % 10}


@pytest.mark.parametrize("size", [2, 1000, 1 << 21])
@pytest.mark.parametrize("form", [*FORMS, *PARTS])
def test_every_form_gives_the_same_numbers(tmp_path, monkeypatch, form, size):
    monkeypatch.setattr(module, "_BLOCK", size)
    table = PARTS.get(form, TABLE)
    check(write(tmp_path / "a.csv", FORMS.get(form, "\n".join(lines(table)))), table)


def test_plain_records_take_the_fast_way(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_parse_lines", lambda *_: pytest.fail("went line by line"))
    for form in ("plain", "windows", "header", "blank last lines"):
        check(write(tmp_path / "a.csv", FORMS[form]))


def changed(line, column, text):
    """The file with one field replaced; line and column count from 1."""
    rows = [row.split(",") for row in lines()]
    rows[line - 1][column - 1] = text
    return "\n".join(",".join(row) for row in rows) + "\n"


def shown(text):
    return f"found {text!r}; expected a pixel, a whole number 0 to 255"


WRONG = {
    "pixel 256": (changed(3, 17, "256"), 3, f", column 17: {shown('256')}"),
    "pixel -1": (changed(3, 17, "-1"), 3, f", column 17: {shown('-1')}"),
    "pixel 1000": (changed(1, 785, "1000"), 1, f", column 785: {shown('1000')}"),
    "pixel of many digits": (changed(1, 2, "9" * 5000), 1, ", column 2: found '9999999"),
    "fraction": (changed(7, 2, "0.5"), 7, f", column 2: {shown('0.5')}"),
    "word": (changed(2, 2, "none"), 2, f", column 2: {shown('none')}"),
    "letter among digits": (changed(2, 2, "1e2"), 2, f", column 2: {shown('1e2')}"),
    "colon among digits": (changed(2, 2, "1:"), 2, f", column 2: {shown('1:')}"),
    "dot for a comma": ("\n".join(lines()).replace(",", ".", 1), 1, ": 784 fields; expected 785"),
    "comma for a newline": (",".join(lines()), 1, ": 5495 fields; expected 785"),
    "two numbers": (changed(2, 2, "1 2"), 2, f", column 2: {shown('1 2')}"),
    "nothing": (changed(4, 100, ""), 4, f", column 100: {shown('')}"),
    "label 10": (changed(6, 1, "10"), 6, ", column 1: found '10'; expected a label 0 to 9"),
    "label -": (changed(6, 1, "-"), 6, ", column 1: found '-'; expected a label 0 to 9"),
    "short": ("\n".join(lines()[:4]) + "\n5,0,0\n", 5, ": 3 fields; expected 785: a label and 784"),
    "long": (changed(7, 785, "1,2"), 7, ": 786 fields; expected 785"),
    "cut in a number": ("\n".join(lines())[:-600], 7, "fields; expected 785"),
    "semicolons": (FORMS["plain"].replace(",", ";"), 1, ": 1 fields; expected 785"),
    "other header": (HEADER.replace("label", "y") + "\n" + lines()[0], 1, "column 1: found 'y'"),
    "not text": (b"\x89PNG\0\0", 1, ": 1 fields; expected 785"),
}


@pytest.mark.parametrize("size", [1000, 1 << 21])
@pytest.mark.parametrize("case", WRONG)
def test_the_message_names_the_file_the_line_and_the_column(tmp_path, monkeypatch, case, size):
    monkeypatch.setattr(module, "_BLOCK", size)
    text, line, message = WRONG[case]
    path = write(tmp_path / "wrong.csv", text)
    with pytest.raises(DataFileError) as error:
        read_digits_csv(path)
    assert str(error.value).startswith(f"{path}, line {line}")
    assert message in str(error.value)
    assert len(str(error.value)) < 200 + len(str(path))


@pytest.mark.parametrize("size", [1000, 1 << 21])
def test_an_endless_line_is_given_up_early(tmp_path, monkeypatch, size):
    monkeypatch.setattr(module, "_BLOCK", size)
    for text, line in (("1" * 70_000, 1), (lines()[0] + "\n" + "1," * 70_000, 2)):
        path = write(tmp_path / "a.csv", text)
        message = rf"a\.csv, line {line}: longer than 65,536 bytes; expected a record of 785"
        with pytest.raises(DataFileError, match=message):
            read_digits_csv(path)


@pytest.mark.parametrize("last", ["", "\r\n"])
def test_lines_are_counted_with_header_and_blank_lines(tmp_path, last):
    text = "\r\n".join([HEADER, lines()[0], "", lines()[1], "5,x"]) + last
    with pytest.raises(DataFileError, match=r"a\.csv, line 5: 2 fields"):
        read_digits_csv(write(tmp_path / "a.csv", text))


@pytest.mark.parametrize("text", ["", "\n\n", HEADER, HEADER + "\r\n", "\ufeff"])
def test_a_file_without_records_is_refused(tmp_path, text):
    path = write(tmp_path / "none.csv", text)
    with pytest.raises(DataFileError, match=r"none\.csv: no records; expected lines label,p0,"):
        read_digits_csv(path)


@given(
    rows=st.integers(1, 4),
    size=st.integers(1, 9000),
    ending=st.sampled_from(["\n", "\r\n"]),
    last=st.booleans(),
    seed=st.integers(0, 99),
)
def test_blocks_of_any_size_and_random_records(tmp_path, rows, size, ending, last, seed):
    table = np.random.default_rng(seed).integers(0, 256, (rows, 785))
    table[:, 0] %= 10
    path = write(tmp_path / "a.csv", ending.join(lines(table)) + ending * last)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_BLOCK", size)
        check(path, table)
