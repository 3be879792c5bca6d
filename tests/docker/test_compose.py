"""The images and services: what they name is there, and the matrix stops where no GPU is."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parents[2] / "docker"


@pytest.fixture
def services():
    yaml = pytest.importorskip("yaml", reason="PyYAML is not installed")
    return yaml.safe_load((FOLDER / "compose.yaml").read_text())["services"]


def stages(dockerfile):
    return re.findall(r"^FROM \S+ AS (\w+)$", dockerfile.read_text(), re.MULTILINE)


def test_every_service_names_a_dockerfile_and_a_target_of_it(services):
    assert set(services) == {"cpu-run", "gpu-run", "gpu", "gpu-check", "test-matrix"}
    for name, service in services.items():
        build = service["build"]
        dockerfile = FOLDER / build["context"] / build["dockerfile"]
        assert build["target"] in stages(dockerfile), name
        arguments = re.findall(r"^ARG (\w+)", dockerfile.read_text(), re.MULTILINE)
        assert set(build.get("args", {})) <= set(arguments)


def test_services_with_other_targets_have_other_images(services):
    made = {(s["build"]["dockerfile"], s["build"]["target"]): s["image"] for s in services.values()}
    assert len(set(made.values())) == len(made) == 4


def test_gpu_services_ask_for_gpus_and_look_after_them(services):
    for name in ("gpu", "gpu-run"):
        (device,) = services[name]["deploy"]["resources"]["reservations"]["devices"]
        assert device == {"driver": "nvidia", "count": "all", "capabilities": ["gpu"]}
        kind, test = services[name]["healthcheck"]["test"]
        assert (kind, test) == ("CMD-SHELL", "xpnn backends --require cupy || exit 1")
        assert services[name]["profiles"] == ["gpu"]
    assert "deploy" not in services["gpu-check"]
    assert services["gpu-check"]["command"] == ["backends", "--require", "cupy"]


@pytest.mark.parametrize("dockerfile", sorted(FOLDER.glob("*.Dockerfile")), ids=lambda p: p.name)
def test_what_an_image_copies_is_there_and_not_ignored(dockerfile):
    ignore = dockerfile.with_name(f"{dockerfile.name}.dockerignore").read_text().splitlines()
    for line in re.findall(r"^COPY (.+)$", dockerfile.read_text(), re.MULTILINE):
        *sources, _ = line.split()
        for source in sources:
            assert (FOLDER.parent / source).exists()
            assert f"!{source}" in ignore


# The matrix


@pytest.fixture
def matrix(tmp_path, monkeypatch):
    """Run the script with commands that write down their words and end with a code."""

    def run(codes, *words):
        for name in ("xpnn", "python"):
            stand_in = tmp_path / name
            lines = [f'echo "{name} $*" >> "{tmp_path}/calls"', 'case "$*" in']
            lines += [f'*"{text}"*) exit {code};;' for text, code in codes.items()]
            stand_in.write_text("\n".join(["#!/bin/sh", *lines, "esac", ""]))
            stand_in.chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
        script = ["sh", str(FOLDER / "gpu-matrix.sh"), *words]
        done = subprocess.run(script, capture_output=True, text=True)
        return done.returncode, done.stdout, (tmp_path / "calls").read_text().splitlines()

    return run


CALLS = [
    "xpnn backends --require cupy",
    "python -m pytest tests/gpu -x",
    "python -m pytest --backends cupy --ignore tests/gpu -x",
    "xpnn check --backends cupy",
]


def test_the_matrix_runs_everything(matrix):
    code, out, calls = matrix({}, "-x")
    assert (code, calls) == (0, CALLS)
    assert out.endswith("all passed\n")


def test_the_matrix_goes_on_after_a_failure_and_remembers_it(matrix):
    code, out, calls = matrix({"tests/gpu -x": 1}, "-x")
    assert (code, calls) == (1, CALLS)
    assert "failed: python -m pytest tests/gpu -x" in out


def test_the_matrix_stops_where_there_is_no_gpu(matrix):
    code, out, calls = matrix({"backends": 2})
    assert (code, out, calls) == (1, "", CALLS[:1])
