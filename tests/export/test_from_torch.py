"""Networks made of PyTorch's modules, held against what the modules give."""

from __future__ import annotations

import collections

import numpy as np
import pytest

from xpnn import Network, backends
from xpnn.checks.tolerance import deviation
from xpnn.export import NetworkImportError, from_torch
from xpnn.layers import Activation, Chain, Dense, Dropout


@pytest.fixture
def nn(use_library):
    use_library("torch")
    torch = pytest.importorskip("torch", reason="torch is not installed")
    torch.manual_seed(0)
    return torch.nn


@pytest.fixture
def torch(nn):
    return pytest.importorskip("torch", reason="torch is not installed")


@pytest.mark.parametrize(
    ("kind", "options", "name"),
    [
        ("Identity", {}, "identity"), ("Sigmoid", {}, "sigmoid"), ("Tanh", {}, "tanh"),
        ("ReLU", {"inplace": True}, "relu"), ("LeakyReLU", {}, "leaky_relu"),
        ("LeakyReLU", {"negative_slope": 0.3}, "leaky_relu"), ("ELU", {}, "elu"),
        ("ELU", {"alpha": 0.4}, "elu"), ("GELU", {}, "gelu"),
        ("GELU", {"approximate": "tanh"}, "gelu_tanh"), ("SiLU", {}, "silu"),
        ("Softplus", {}, "softplus"), ("Softplus", {"threshold": 30}, "softplus"),
        ("Softmax", {"dim": 1}, "softmax"), ("Softmax", {"dim": -1}, "softmax"),
        ("LogSoftmax", {"dim": -1}, "log_softmax"),
    ],
)  # fmt: skip
def test_activations(kind, options, name, nn, torch):
    module = nn.Sequential(nn.Linear(5, 4), getattr(nn, kind)(**options), nn.Linear(4, 3)).double()
    with torch.no_grad():
        module[0].weight.mul_(9)  # far enough out for thresholds
    network = from_torch(module)
    assert network.layers.layers[1].name == name
    x = 3 * torch.randn(9, 5, dtype=torch.float64)
    found = backends.to_host(network.scores(x))
    assert deviation(found, backends.to_host(module(x)))[1] < 1e-9


@pytest.mark.parametrize("kind", ["float16", "float32", "float64", "bfloat16"])
def test_every_bit_of_the_parameters(kind, nn, torch):
    module = nn.Sequential(nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 3, bias=False))
    module = module.to(getattr(torch, kind))
    network = from_torch(module)
    assert network.dtype == kind
    network.scores(torch.ones((1, 5), dtype=getattr(torch, kind)))
    found = network.parameters()
    assert set(found) == {"0.weights", "0.bias", "2.weights"}
    assert torch.equal(found["0.weights"], module[0].weight.T)
    assert torch.equal(found["0.bias"], module[0].bias)
    assert torch.equal(found["2.weights"], module[2].weight.T)


def test_nested_modules_keep_their_numbers(nn, torch):
    block = nn.Sequential(nn.Linear(6, 4), nn.Sequential(nn.ReLU(), nn.Dropout(0.25)))
    named = collections.OrderedDict(flat=nn.Flatten(), first=nn.Linear(5, 6), block=block,
                                    last=nn.Linear(4, 2))  # fmt: skip
    module = nn.Sequential(named).eval().double()
    network = from_torch(module, loss="huber", seed=3)
    chain = Chain((Dense(4), Chain((Activation("relu"), Dropout(0.25)))))
    assert network.layers == Chain((Activation("identity"), Dense(6), chain, Dense(2)))
    assert network.loss.name == "huber"
    assert {*network.parameters()} == {
        "1.weights", "1.bias", "2.0.weights", "2.0.bias", "3.weights", "3.bias",
    }  # fmt: skip
    x = torch.randn(9, 5, dtype=torch.float64)
    assert torch.allclose(network.scores(x), module(x))


def test_the_parameters_are_the_networks_own(nn, torch):
    module = nn.Sequential(nn.Linear(2, 2))
    network = from_torch(module)
    before = module[0].weight.detach().clone()
    network.fit(torch.ones((4, 2)), torch.zeros(4, dtype=torch.int64), epochs=2, learning_rate=0.5)
    assert torch.equal(module[0].weight, before)
    assert not torch.equal(network.parameters()["0.weights"], before.T)


def test_a_single_linear_and_other_libraries(nn, torch):
    module = nn.Linear(3, 2)
    network = from_torch(module)
    assert network.layers == Chain((Dense(2),))
    x = np.ones((1, 3), "float32")
    expected = module(torch.ones((1, 3))).detach().numpy()
    np.testing.assert_allclose(network.scores(x), expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("kind", "arguments", "message"),
    [
        ("BatchNorm1d", (4,), "is a torch.nn.modules.batchnorm.BatchNorm1d; expected"),
        ("Conv1d", (1, 1, 1), "is a torch.nn.modules.conv.Conv1d; expected"),
        ("Hardtanh", (), "is a torch.nn.modules.activation.Hardtanh; expected"),
        ("ReLU6", (), "is a torch.nn.modules.activation.ReLU6; expected"),
        ("Hardsigmoid", (), "activation.Hardsigmoid; expected one of torch"),
        ("Hardswish", (), "activation.Hardswish; expected one of torch.nn's D"),
        ("CELU", (), "activation.CELU; expected one of torch.nn's Dropout, ELU, F"),
        ("AlphaDropout", (), "dropout.AlphaDropout; expected"),
        ("LazyLinear", (2,), "linear.LazyLinear; expected"),
        ("Softplus", (2,), r"is Softplus.*: expected beta=1 and a threshold"),
        ("Softplus", (1, 5), "expected beta=1 and a threshold of 20 or more"),
        ("Softmax", (0,), "is Softmax.*: dim is 0; expected 1 or -1"),
        ("Flatten", (0,), "is Flatten.*: expected start_dim=1"),
        ("Dropout", (1.0,), "is Dropout.*: rate is 1.0; expected 0 <= rate < 1"),
        ("Linear", (3, 2), r"\(Linear\) takes 3 inputs; the layer before gives 4"),
        ("Sequential", (), "1.0 is an empty Sequential"),
    ],
)
def test_modules_that_are_refused(kind, arguments, message, nn):
    module = nn.Sequential(nn.Linear(5, 4), nn.Sequential(getattr(nn, kind)(*arguments)))
    with pytest.raises(NetworkImportError, match=message) as error:
        from_torch(module)
    assert "1.0" in str(error.value)


def test_classes_of_the_users_own_are_refused(nn):
    class Linear(nn.Linear):
        def forward(self, x):
            return super().forward(x) * 2

    with pytest.raises(NetworkImportError, match=r"module 0 \(.*Linear\) is a test_from_torch\."):
        from_torch(nn.Sequential(Linear(2, 2)))

    class Sequential(nn.Sequential):
        pass

    for wrong in (Sequential(nn.Linear(2, 2)), [nn.Linear(2, 2)], None):
        with pytest.raises(NetworkImportError, match=r"module is a .*; expected a torch.nn.Seq"):
            from_torch(wrong)


def test_hooks_and_parametrizations_are_refused(nn):
    hooked = nn.Linear(2, 2)
    hooked.register_forward_hook(lambda module, x, y: y * 2)
    with pytest.raises(NetworkImportError, match=r"module 0 .Linear. has forward hooks, which are"):
        from_torch(nn.Sequential(hooked))
    normed = nn.utils.parametrizations.weight_norm(nn.Linear(2, 2))
    with pytest.raises(
        NetworkImportError, match=r"is a torch.*ParametrizedLinear; expected one of"
    ):
        from_torch(nn.Sequential(normed))


def test_what_else_is_refused(nn):
    mixed = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2).double())
    for module, message in (
        (nn.Sequential(nn.ReLU()), "no Linear, which would tell the number of inputs"),
        (nn.Sequential(), "the module is an empty Sequential"),
        (mixed, "0.weights is float32 and 1.weights is float64; expected one dtype"),
    ):
        with pytest.raises(NetworkImportError, match=message):
            from_torch(module)
    with pytest.raises(ValueError, match="loss='none'"):
        from_torch(nn.Sequential(nn.Linear(2, 2)), loss="none")


def test_what_comes_in_learns(nn, torch):
    network = from_torch(nn.Sequential(nn.Linear(2, 8), nn.Tanh(), nn.Linear(8, 2)), seed=0)
    x = torch.tensor([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
    network.fit(x, torch.tensor([0, 1, 1, 0]), epochs=300, learning_rate=0.05)
    assert network.predict(x).tolist() == [0, 1, 1, 0]
    assert isinstance(network, Network)
