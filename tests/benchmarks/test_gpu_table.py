"""What the GPU benchmark makes of its figures: verdicts, counted costs, the picture."""

from __future__ import annotations

import pytest

from xpnn.bench.gpu.asked import Asked
from xpnn.bench.gpu.cost import predict_cost, train_cost
from xpnn.bench.gpu.ours import OURS
from xpnn.bench.gpu.report import ceiling_lines, show_all
from xpnn.bench.gpu.roofline import draw_roofline
from xpnn.bench.gpu.rows import CAPTURED, COMPILED, EAGER, REDUCED, ROWS, SKLEARN, verdict
from xpnn.bench.gpu.worker import work_on

TINY = Asked("cpu", tiny=True, seconds=60.0)

# The table


def result(name, seconds, **more):
    return {"name": name, "seconds": seconds, "rounds": [seconds], "ratio": 1.0, **more}


def row_of(work, against=""):
    return next(row for row in ROWS if row.work == work and against in row.against)


def test_the_fastest_of_each_side_counts():
    results = [result(OURS[0], 1.0), result(OURS[1], 2.0), result(EAGER, 4.1)]
    said = verdict(row_of("mnist", "eager"), results)
    assert (said["ratio"], said["held"], said["xpnn"]) == (4.1, True, OURS[0])
    graphs = row_of("mnist", "graphs")
    said = verdict(graphs, [*results, result(CAPTURED, 0.9), {"name": REDUCED, "skipped": "x"}])
    assert (said["ratio"], said["held"]) == (0.9, False)
    assert said["reason"] == f"{REDUCED}: x"
    assert verdict(graphs, [*results, result(REDUCED, 1.5)])["held"]


def test_no_figure_says_why():
    said = verdict(row_of("large"), [], "was ended after 85 s")
    assert said["ratio"] is said["held"] is None
    assert said["reason"] == (
        f"{OURS[0]} and {OURS[1]}: was ended after 85 s; {COMPILED}: was ended after 85 s"
    )
    both = verdict(row_of("time98"), [result(OURS[0], 1.0), result(EAGER, 2.0)])
    assert both["ratio"] is None
    assert both["reason"] == f"{SKLEARN}: not measured"


def test_faster_and_worse_is_not_held():
    row = row_of("estimator")
    results = [result(OURS[0], 1.0, accuracy=0.97), result(SKLEARN, 30.0, accuracy=0.98)]
    assert verdict(row, results)["held"] is False
    results[0]["accuracy"] = 0.979
    assert verdict(row, results)["held"]


# The roofline


def test_costs_are_those_counted_by_hand():
    cost = train_cost((3, 4, 2), 5)
    assert cost.flops == 2 * (2 * 5 * 12 + 2 * 5 * 8) + 2 * 5 * 8
    parameters = 12 + 4 + 8 + 2
    assert cost.bytes == 4 * 5 * 3 + 4 * 4 * 5 * 6 + (8 + 4 + 28) * parameters
    half = train_cost((3, 4, 2), 5, 2)
    assert half.flops == cost.flops
    assert half.bytes == 4 * 5 * 3 + 2 * 4 * 5 * 6 + (4 + 4 + 28 + 6) * parameters
    forward = predict_cost((3, 4, 2), 5)
    assert forward.flops == 2 * 5 * (12 + 8)
    assert forward.bytes == 4 * (15 + 2 * 5 * 6 + parameters) + 8 * 5
    assert train_cost((4096, 4096, 10), 8192).intensity > 100 > cost.intensity


CEILINGS = {"copy": 4e12, "side": 8192, "reason": "",
            "products": {"float32": 5e13, "tf32": 4e14, "float16": None}}  # fmt: skip


def test_the_picture_shows_each_ceiling_and_the_fastest_of_each_work():
    point = {"work": "mnist", "flops": 6e7, "bytes": 4e6}
    points = [point | {"step": 1e-4}, point | {"step": 2e-5}]
    figure = draw_roofline(CEILINGS, points, "a GPU")
    (axes,) = figure.axes
    labels = [line.get_label() for line in axes.lines]
    assert labels == [
        "memory, a copy: 4,000 GB/s", "products, TensorFloat-32: 400 TFLOP/s",
        "products, float32: 50 TFLOP/s", "MNIST 784-100-10, batch 200: 3 TFLOP/s",
    ]  # fmt: skip
    assert list(axes.lines[-1].get_xdata()) == [15.0]
    memory = axes.lines[0]
    assert memory.get_ydata()[0] == pytest.approx(4 * memory.get_xdata()[0])
    assert len({line.get_linestyle() for line in axes.lines[1:3]}) == 2
    with pytest.raises(ValueError, match="has to name 'ceilings'"):
        draw_roofline({}, points)


def test_ceilings_of_this_machine(tmp_path, capsys):
    ceilings = work_on("ceilings", TINY)["ceilings"]
    assert ceilings["copy"] > 1e6
    assert ceilings["products"]["float32"] > 1e6
    assert ceilings["products"]["float16"] is None
    assert "not there" in "".join(ceiling_lines(ceilings))
    run = {"machine": {"cpu": "c"}, "device": {}, "seconds": 1.0, "tiny": False}
    show_all(run, {"ceilings": {"name": "ceilings"}}, tmp_path / "a.json", tmp_path / "a.png")
    assert "no picture: the ceilings were not measured" in capsys.readouterr().out
