"""``help(MLPClassifier)`` explains every parameter itself, and sends nobody elsewhere."""

import inspect
import re

import pytest

from xpnn import MLPClassifier, MLPRegressor, Network

METHODS = ("fit", "partial_fit", "predict", "score", "transform", "to", "initialize")
DOCUMENTED = [(kind, None) for kind in (MLPClassifier, MLPRegressor, Network)]
DOCUMENTED += [(kind, name) for kind in (MLPClassifier, MLPRegressor) for name in METHODS]
DOCUMENTED += [(MLPClassifier, name) for name in ("predict_proba", "decision_function")]
DOCUMENTED += [(Network, name) for name in ("fit", "evaluate", "loss_and_gradient", "to")]


def entries(text, section):
    """Names and descriptions of one section of a numpydoc docstring."""
    match = re.search(rf"^{section}\n-+\n(.*?)(?=^\w[\w ]*\n-+\n|\Z)", text, re.S | re.M)
    found = {}
    for names, body in re.findall(r"^(\S.*?) :.*\n((?:[ \t]+\S.*\n?|\n)*)", match[1] + "\n", re.M):
        found |= dict.fromkeys(re.split(r",\s*", names), body.strip())
    return found


@pytest.mark.parametrize(("kind", "method"), DOCUMENTED, ids=str)
def test_every_parameter_is_explained(kind, method):
    documented = kind if method is None else inspect.getattr_static(kind, method)
    function = getattr(documented, "fn", documented)  # of `available_if`
    text = inspect.getdoc(function)
    assert len(text.splitlines()[0]) > 10
    parameters = [name for name in inspect.signature(function).parameters if name != "self"]
    if not parameters:
        return
    explained = entries(text, "Parameters")
    assert sorted(explained) == sorted(parameters)
    for name, body in explained.items():
        assert body.endswith("."), name
        assert len(body) > (4 if method else 20), name
        assert not re.search(r"\b[Aa]s in (`|scikit-learn)", body), name


@pytest.mark.parametrize("kind", [MLPClassifier, MLPRegressor])
def test_every_fitted_attribute_is_explained(kind):
    explained = entries(inspect.getdoc(kind), "Attributes")
    model = kind(hidden_layer_sizes=(2,), batch_size=2, max_iter=1, early_stopping=True)
    with pytest.warns(UserWarning, match="Maximum iterations"):
        model.fit([[0.0], [1.0]] * 10, [0, 1] * 10)
    fitted = {n for n in vars(model) if n.endswith("_") and not n.startswith("_")}
    assert fitted | {"coefs_", "intercepts_"} <= explained.keys()
    assert all(hasattr(model, name) for name in explained if name != "feature_names_in_")
