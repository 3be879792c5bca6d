"""Train on two hosts: network namespaces of this machine, each with its own name and sshd.

``python tests/distributed/two_hosts.py`` needs root, iproute2 and openssh-server. It prints a
line for each rank and a line for each check, and removes whatever it has made. The link
between the two hosts is the only way that they have to each other.
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
import time
from contextlib import ExitStack
from pathlib import Path

import numpy as np
from mpi_runs import mpiexec

HERE = Path(__file__).parent
NAMES = ("node1", "node2")
ADDRESSES = ("10.213.77.1", "10.213.77.2")
LIMIT = 120  # seconds of a command
TOOLS = {"ip": "iproute2", "unshare": "util-linux", "ssh-keygen": "openssh-client",
         "ssh": "openssh-client", "/usr/sbin/sshd": "openssh-server"}  # fmt: skip

SSHD = """
ListenAddress {address}
HostKey {folder}/host_key
PidFile none
AuthorizedKeysFile {folder}/key.pub
StrictModes no
UsePAM no
PasswordAuthentication no
"""
SSH = """#!/bin/sh
exec ssh -i {folder}/key -o IdentitiesOnly=yes -o BatchMode=yes -o LogLevel=ERROR \\
  -o UserKnownHostsFile={folder}/known_hosts -o StrictHostKeyChecking=accept-new "$@"
"""


def why_not() -> str | None:
    """What this machine lacks, as text; None where two hosts can be made."""
    missing = [package for tool, package in TOOLS.items() if shutil.which(tool) is None]
    if missing:
        return f"not installed: {', '.join(dict.fromkeys(missing))}"
    if os.geteuid() != 0:
        return "only root makes network namespaces with an sshd"
    done = subprocess.run(["unshare", "--net", "true"], capture_output=True, text=True, check=False)
    return done.stderr.strip() or None


def run(*command: str, **options) -> subprocess.CompletedProcess:
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=LIMIT, check=False, **options
    )
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: {done.stdout}{done.stderr}")
    return done


def inside(name: str) -> list[str]:
    """Start of a command on a host: in its network, under its name."""
    named = 'hostname "$0" && exec "$@"'
    return ["ip", "netns", "exec", namespace(name), "unshare", "--uts", "sh", "-c", named, name]


def namespace(name: str) -> str:
    """Name of a host's network namespace; the process's number keeps runs apart."""
    return f"xpnn-{name}-{os.getpid()}"


class TwoHosts:
    """The hosts, as long as the ``with`` block lasts."""

    def __enter__(self):
        with ExitStack() as stack:
            self.folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="xpnn-")))
            for name in NAMES:
                run("ip", "netns", "add", namespace(name))
                stack.callback(run, "ip", "netns", "del", namespace(name))
            ends = [("name", "cable", "netns", namespace(name)) for name in NAMES]
            run("ip", "link", "add", *ends[0], "type", "veth", "peer", *ends[1])
            for name, address in zip(NAMES, ADDRESSES, strict=True):
                on_host = ("ip", "-n", namespace(name))
                run(*on_host, "addr", "add", f"{address}/30", "dev", "cable")
                run(*on_host, "link", "set", "dev", "cable", "up")
                run(*on_host, "link", "set", "lo", "up")
            for key in ("key", "host_key"):
                run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(self.folder / key))
            (self.folder / "ssh").write_text(SSH.format(folder=self.folder))
            (self.folder / "ssh").chmod(0o700)
            Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # where sshd leaves its rights
            for name, address in zip(NAMES, ADDRESSES, strict=True):
                stack.callback(stop, self.start_sshd(name, address))
                self.wait_for(name, address)
            self.stack = stack.pop_all()
        return self

    def __exit__(self, *error):
        self.stack.close()

    def start_sshd(self, name, address):
        config = self.folder / f"{name}.conf"
        config.write_text(SSHD.format(folder=self.folder, address=address))
        command = [*inside(name), "/usr/sbin/sshd", "-D", "-e", "-f", str(config)]
        with (self.folder / f"{name}.log").open("wb") as log:
            return subprocess.Popen(command, stderr=log, start_new_session=True)

    def wait_for(self, name, address):
        """Log in until it works."""
        command = [*inside(name), str(self.folder / "ssh"), address, "hostname"]
        for _ in range(50):
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.stdout.strip() == name:
                return
            time.sleep(0.2)
        log = (self.folder / f"{name}.log").read_text()
        raise RuntimeError(f"no login at {name}: {done.stderr}{log}")

    def mpiexec(self, *command):
        """Run a Python command as one rank on each host; from the first host."""
        environment = {
            **os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1",
            "PYTHONPATH": os.pathsep.join([str(HERE), *filter(None, sys.path)]),
        }  # fmt: skip
        launch = ["-launcher", "ssh", "-launcher-exec", str(self.folder / "ssh")]
        ranks = ["-hosts", ",".join(ADDRESSES), "-n", "2", "-ppn", "1"]
        return subprocess.run(
            [*inside(NAMES[0]), mpiexec(), *launch, *ranks, sys.executable, *command],
            env=environment, capture_output=True, text=True, timeout=LIMIT, check=False,
        )  # fmt: skip


def stop(process) -> None:
    """End an sshd and its logins."""
    os.killpg(process.pid, signal.SIGTERM)
    process.wait(LIMIT)


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
