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


def rows(torch, features=5, dtype=None):
    return 3 * torch.randn(9, features, dtype=dtype or torch.float64)


MODULES = {
    "identity": lambda nn: nn.Identity(),
    "sigmoid": lambda nn: nn.Sigmoid(),
    "tanh": lambda nn: nn.Tanh(),
    "relu": lambda nn: nn.ReLU(inplace=True),
    "leaky_relu": lambda nn: nn.LeakyReLU(),
    "leaky_relu, steep": lambda nn: nn.LeakyReLU(0.3),
    "elu": lambda nn: nn.ELU(),
    "elu, low": lambda nn: nn.ELU(alpha=0.4),
    "gelu": lambda nn: nn.GELU(),
    "gelu_tanh": lambda nn: nn.GELU(approximate="tanh"),
    "silu": lambda nn: nn.SiLU(),
    "softplus": lambda nn: nn.Softplus(),
    "softplus, later": lambda nn: nn.Softplus(threshold=30),
    "softmax": lambda nn: nn.Softmax(dim=1),
    "softmax, last": lambda nn: nn.Softmax(dim=-1),
    "log_softmax": lambda nn: nn.LogSoftmax(dim=-1),
}


@pytest.mark.parametrize("name", MODULES)
def test_activations(name, nn, torch):
    module = nn.Sequential(nn.Linear(5, 4), MODULES[name](nn), nn.Linear(4, 3)).double()
    with torch.no_grad():
        module[0].weight.mul_(9)  # far enough out for thresholds
    network = from_torch(module)
    assert network.layers.layers[1].name == name.partition(",")[0]
    x = rows(torch)
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
    x = rows(torch)
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


REFUSED = {
    "BatchNorm1d": (lambda nn: nn.BatchNorm1d(4), "is a torch.nn.modules.batchnorm.BatchNorm1d; e"),
    "Conv1d": (lambda nn: nn.Conv1d(1, 1, 1), "is a torch.nn.modules.conv.Conv1d; expected"),
    "Hardtanh": (lambda nn: nn.Hardtanh(), "is a torch.nn.modules.activation.Hardtanh; expected"),
    "ReLU6": (lambda nn: nn.ReLU6(), "is a torch.nn.modules.activation.ReLU6; expected"),
    "Hardsigmoid": (lambda nn: nn.Hardsigmoid(), "activation.Hardsigmoid; expected one of torch"),
    "Hardswish": (lambda nn: nn.Hardswish(), "activation.Hardswish; expected one of torch.nn's D"),
    "CELU": (lambda nn: nn.CELU(), "activation.CELU; expected one of torch.nn's Dropout, ELU, F"),
    "AlphaDropout": (lambda nn: nn.AlphaDropout(), "dropout.AlphaDropout; expected"),
    "LazyLinear": (lambda nn: nn.LazyLinear(2), "linear.LazyLinear; expected"),
    "Softplus": (lambda nn: nn.Softplus(beta=2), r"is Softplus.*: expected beta=1 and a threshold"),
    "early Softplus": (lambda nn: nn.Softplus(threshold=5), "expected beta=1 and a threshold of 2"),
    "Softmax": (lambda nn: nn.Softmax(dim=0), "is Softmax.*: dim is 0; expected 1 or -1"),
    "Flatten": (lambda nn: nn.Flatten(0), "is Flatten.*: expected start_dim=1"),
    "Dropout": (lambda nn: nn.Dropout(1.0), "is Dropout.*: rate is 1.0; expected 0 <= rate < 1"),
    "Linear": (lambda nn: nn.Linear(3, 2), r"\(Linear\) takes 3 inputs; the layer before gives 4"),
    "empty": (lambda nn: nn.Sequential(), "1.0 is an empty Sequential"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_modules_that_are_refused(name, nn):
    make, message = REFUSED[name]
    module = nn.Sequential(nn.Linear(5, 4), nn.Sequential(make(nn)))
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
    with pytest.raises(NetworkImportError, match="no Linear, which would tell the number of inp"):
        from_torch(nn.Sequential(nn.ReLU()))
    with pytest.raises(NetworkImportError, match="the module is an empty Sequential"):
        from_torch(nn.Sequential())
    mixed = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2).double())
    message = "0.weights is float32 and 1.weights is float64; expected one dtype"
    with pytest.raises(NetworkImportError, match=message):
        from_torch(mixed)
    with pytest.raises(ValueError, match="loss='none'"):
        from_torch(nn.Sequential(nn.Linear(2, 2)), loss="none")


def test_there_and_back_through_pytorch(nn, torch):
    """What comes in is a whole network: it learns, and is saved like every other."""
    network = from_torch(nn.Sequential(nn.Linear(2, 8), nn.Tanh(), nn.Linear(8, 2)), seed=0)
    x = torch.tensor([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
    network.fit(x, torch.tensor([0, 1, 1, 0]), epochs=300, learning_rate=0.05)
    assert network.predict(x).tolist() == [0, 1, 1, 0]
    assert isinstance(network, Network)
