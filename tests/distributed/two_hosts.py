"""Train on two hosts: network namespaces of this machine, each with its own name.

``python tests/distributed/two_hosts.py`` needs root and iproute2. It prints a line for each rank
and a line for each check, and removes whatever it has made. The link between the two hosts is
the only way that they have to each other; MPI starts its processes there by a script that enters
a host's namespaces, in place of ssh.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

import numpy as np
from mpi_runs import HERE, environment, mpiexec

NAMES = ("node1", "node2")
ADDRESSES = ("10.213.77.1", "10.213.77.2")
LIMIT = 120  # seconds of a command
TOOLS = {"ip": "iproute2", "unshare": "util-linux"}

# Called as ssh is: options, an address, a command.
LAUNCHER = """#!/bin/sh
while [ "${{1#-}}" != "$1" ]; do shift; done
case $1 in {addresses[0]}) name={names[0]};; *) name={names[1]};; esac
shift
exec ip netns exec xpnn-$name-{pid} \\
  unshare --uts sh -c 'hostname "$0" && exec sh -c "$1"' $name "$*"
"""


def why_not() -> str | None:
    """What this machine lacks, as text; None where two hosts can be made."""
    missing = [package for tool, package in TOOLS.items() if shutil.which(tool) is None]
    if missing:
        return f"not installed: {', '.join(missing)}"
    if os.geteuid() != 0:
        return "only root makes network namespaces"
    done = subprocess.run(["unshare", "--net", "true"], capture_output=True, text=True, check=False)
    return done.stderr.strip() or None


def run(*command: str) -> subprocess.CompletedProcess:
    done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: {done.stdout}{done.stderr}")
    return done


class TwoHosts:
    """The hosts, as long as the ``with`` block lasts."""

    def __enter__(self):
        with ExitStack() as stack:
            self.folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="xpnn-")))
            spaces = [f"xpnn-{name}-{os.getpid()}" for name in NAMES]
            for space in spaces:
                run("ip", "netns", "add", space)
                stack.callback(run, "ip", "netns", "del", space)
            ends = [("name", "cable", "netns", space) for space in spaces]
            run("ip", "link", "add", *ends[0], "type", "veth", "peer", *ends[1])
            for space, address in zip(spaces, ADDRESSES, strict=True):
                on_host = ("ip", "-n", space)
                run(*on_host, "addr", "add", f"{address}/30", "dev", "cable")
                run(*on_host, "link", "set", "dev", "cable", "up")
                run(*on_host, "link", "set", "lo", "up")
            self.launcher = self.folder / "launcher"
            text = LAUNCHER.format(addresses=ADDRESSES, names=NAMES, pid=os.getpid())
            self.launcher.write_text(text)
            self.launcher.chmod(0o700)
            self.stack = stack.pop_all()
        return self

    def __exit__(self, *error):
        self.stack.close()

    def mpiexec(self, *command):
        """Run a Python command as one rank on each host; from the first host."""
        launch = [mpiexec(), "-launcher", "ssh", "-launcher-exec", str(self.launcher)]
        ranks = ["-hosts", ",".join(ADDRESSES), "-n", "2", "-ppn", "1"]
        words = " ".join([*launch, *ranks, sys.executable, *command])
        return subprocess.run(
            [str(self.launcher), ADDRESSES[0], words], env=environment(), capture_output=True,
            text=True, timeout=LIMIT, check=False,
        )  # fmt: skip


def train(distributed):
    """Parameters after three short trainings; the one from a stream exchanges rows."""
    import mpi_cases

    cases = ("plain", "stream of labels", "lbfgs")
    found = [mpi_cases.CASES[name](distributed)["theta"] for name in cases]
    return np.concatenate([np.asarray(theta).ravel() for theta in found])


def work(folder: Path) -> None:
    """Train as one of the ranks, and say where."""
    from xpnn.distributed import process_group

    theta, group = train("mpi"), process_group("mpi")
    np.save(folder / f"theta.{group.rank}.npy", theta)
    addresses = run("hostname", "-I").stdout.split()
    said = {"rank": group.rank, "host": socket.gethostname(), "addresses": addresses}
    (folder / f"rank.{group.rank}.json").write_text(json.dumps(said))


def check(hosts: TwoHosts) -> list[str]:
    """Train on both hosts, and let a rank fail; lines of what was found."""
    done = hosts.mpiexec(str(HERE / "two_hosts.py"), "work", str(hosts.folder))
    assert done.returncode == 0, done.stdout + done.stderr
    lines, expected = [], train(None)
    for rank in range(2):
        said = json.loads((hosts.folder / f"rank.{rank}.json").read_text())
        assert said == {"rank": rank, "host": NAMES[rank], "addresses": [ADDRESSES[rank]]}, said
        theta = np.load(hosts.folder / f"theta.{rank}.npy")
        np.testing.assert_allclose(theta, expected, rtol=1e-8, atol=1e-10)
        worst = float(np.abs(theta - expected).max())
        lines.append(f"rank {rank} on {said['host']} ({said['addresses'][0]}): differs from one "
                     f"process by at most {worst:.1e}")  # fmt: skip
    faults = {
        "raises": "rank 0: RankError: rank 1 of 2 failed: OSError: the disk is gone",
        "hangs": "missing: rank 1\n",
        "dies": f"RUNNING AT {ADDRESSES[1]}\n=   EXIT CODE: 9\n",
    }
    for name, text in faults.items():
        done = hosts.mpiexec(str(HERE / "mpi_faults.py"), name)
        assert text in done.stdout + done.stderr, done.stdout + done.stderr
        assert (done.returncode == 0) is (name == "raises")
        lines.append(f"rank 1 {name}: {' '.join(text.split())}")
    return lines


if __name__ == "__main__":
    if sys.argv[1:2] == ["work"]:
        work(Path(sys.argv[2]))
    elif reason := why_not():
        raise SystemExit(f"two hosts cannot be made here: {reason}")
    else:
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that all is removed
        with TwoHosts() as both:
            print("\n".join(check(both)))
