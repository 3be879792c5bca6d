"""Tables: scikit-learn estimators that take a frame with raw columns.

A frame goes from `frames` (whatever library it is of) through `columns` (what each column is and
what is learned of it) and `preprocessor` (numbers for a network) to `estimators`. `reading` makes
frames of files.
"""

from xpnn.tabular.estimators import TabularClassifier, TabularRegressor
from xpnn.tabular.preprocessor import TabularPreprocessor
from xpnn.tabular.reading import TableFile, open_table, read_table
from xpnn.tabular.text_types import ReadOptions, TextType

__all__ = [
    "ReadOptions",
    "TableFile",
    "TabularClassifier",
    "TabularPreprocessor",
    "TabularRegressor",
    "TextType",
    "open_table",
    "read_table",
]
