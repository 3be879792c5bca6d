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


def test_every_service_names_a_dockerfile_and_a_target_of_it(services):
    assert set(services) == {"cpu-run", "gpu-run", "gpu", "gpu-check", "test-matrix"}
    for name, service in services.items():
        build = service["build"]
        text = (FOLDER / build["context"] / build["dockerfile"]).read_text()
        stages = re.findall(r"^FROM \S+ AS (\w+)$", text, re.MULTILINE)
        assert build["target"] in stages, name
        assert set(build.get("args", {})) <= set(re.findall(r"^ARG (\w+)", text, re.MULTILINE))
    # Other targets have other images.
    made = {(s["build"]["dockerfile"], s["build"]["target"]): s["image"] for s in services.values()}
    assert len(set(made.values())) == len(made) == 4


def test_gpu_services_ask_for_gpus_and_look_after_them(services):
    for name in ("gpu", "gpu-run"):
        (device,) = services[name]["deploy"]["resources"]["reservations"]["devices"]
        assert device == {"driver": "nvidia", "count": "all", "capabilities": ["gpu"]}
        test = ["CMD-SHELL", "xpnn backends --require cupy || exit 1"]
        assert services[name]["healthcheck"]["test"] == test
        assert services[name]["profiles"] == ["gpu"]
    assert "deploy" not in services["gpu-check"]
    assert services["gpu-check"]["command"] == ["backends", "--require", "cupy"]


@pytest.mark.parametrize("dockerfile", sorted(FOLDER.glob("*.Dockerfile")), ids=lambda p: p.name)
def test_what_an_image_copies_is_there_and_not_ignored(dockerfile):
    ignore = dockerfile.with_name(f"{dockerfile.name}.dockerignore").read_text().splitlines()
    for line in re.findall(r"^COPY (.+)$", dockerfile.read_text(), re.MULTILINE):
        for source in line.split()[:-1]:
            assert (FOLDER.parent / source).exists()
            assert f"!{source}" in ignore


# The matrix

CALLS = [
    "xpnn backends --require cupy",
    "python -m pytest tests/gpu -x",
    "python -m pytest --backends cupy --ignore tests/gpu -x",
    "xpnn check --backends cupy",
]


@pytest.mark.parametrize(
    ("failing", "code", "calls", "told"),
    [
        ("nothing", 0, CALLS, "all passed\n"),
        ("tests/gpu -x", 1, CALLS, "failed: python -m pytest tests/gpu -x"),  # it goes on
        ("backends --require", 1, CALLS[:1], ""),  # there is no GPU
    ],
)
def test_the_matrix(failing, code, calls, told, tmp_path, monkeypatch):
    """Run the script with commands that write down their words, of which one fails."""
    for name in ("xpnn", "python"):
        stand_in = tmp_path / name
        stand_in.write_text(
            f'#!/bin/sh\necho "{name} $*" >> "{tmp_path}/calls"\n'
            f'case "$*" in *"{failing}"*) exit 1;; esac\n'
        )
        stand_in.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    script = ["sh", str(FOLDER / "gpu-matrix.sh"), "-x"]
    done = subprocess.run(script, capture_output=True, text=True)
    assert done.returncode == code
    assert told in done.stdout
    assert bool(told) == bool(done.stdout)
    assert (tmp_path / "calls").read_text().splitlines() == calls
