"""Compare executed notebooks with a new execution: nbval, strict, in a process of its own.

In that process this is a plugin of pytest, too. Images are never compared (the numbers drawn stand
in a table beside each figure), nor are the gallery's cards, whose last digits another processor may
change, nor stderr, which a chapter's record does not hold.
"""

import os
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import pytest
import zmq
from jupyter_client.blocking import BlockingKernelClient
from jupyter_client.manager import KernelManager
from lookups.run.execute import _imported, chapters_of
from lookups.run.kernels import ForkedKernels, forking
from lookups.run.notebooks import START_TIMEOUT, kernel_environment
from lookups.settings import DEFAULT_RUN, read_run
from traitlets import Instance, Type

IMAGES = ("image/png", "image/svg+xml")
CARDS = "application/vnd.lookups.gallery+json"
GLUED = [f"application/papermill.record/{one}" for one in IMAGES]
NEVER_COMPARED = ("stderr", CARDS, *IMAGES, *GLUED)
TESTS = Path(__file__).resolve().parent


class Comparison(NamedTuple):
    """What nbval said."""

    equal: bool
    cells: int
    """Code cells executed."""
    report: str


def compare(notebooks: Sequence[Path], *, artifacts: Path, record: bool = False) -> Comparison:
    """Execute notebooks again, in order, their stages in a scratch folder, and compare outputs."""
    options = ["--nbval", "--nbval-kernel-name=python3", "--color=no", "-q", "-rN"]
    options += [f"--nbval-sanitize-with={TESTS / 'nbval_sanitize.cfg'}"]
    options += ["-p", "comparing", "-p", "no:cacheprovider", "-c", os.devnull, "--tb=short"]
    command = [sys.executable, "-m", "pytest", *options, *map(str, notebooks)]
    with kernel_environment(record=record):
        environment = os.environ | {
            "LOOKUPS_ARTIFACTS": str(artifacts),
            "PYTHONPATH": os.pathsep.join([str(TESTS), os.environ.get("PYTHONPATH", "")]),
        }
        made = subprocess.run(command, env=environment, capture_output=True, text=True)
    counts = {kind: int(n) for n, kind in re.findall(r"(\d+) (passed|failed|error)", made.stdout)}
    return Comparison(made.returncode == 0, sum(counts.values()), made.stdout + made.stderr)


class Blocking(ForkedKernels):
    """A manager of forked kernels that waits for them, as nbval expects."""

    client_factory = Type(BlockingKernelClient)
    context = Instance(zmq.Context, ())
    start_kernel, shutdown_kernel = KernelManager.start_kernel, KernelManager.shutdown_kernel
    is_alive, interrupt_kernel = KernelManager.is_alive, KernelManager.interrupt_kernel


@pytest.hookimpl(wrapper=True)
def pytest_runtestloop(session):
    """Fork kernels, for imports would take longer than many a chapter."""
    modules = _imported(chapters_of(read_run(DEFAULT_RUN)))
    with pytest.MonkeyPatch.context() as patch, forking(modules, patience=START_TIMEOUT):
        patch.setattr("nbval.kernel.KernelManager", Blocking)
        return (yield)


def pytest_itemcollected(item) -> None:
    """Leave out what is never compared, in every notebook that nbval collects."""
    skipped = getattr(item.parent, "skip_compare", None)
    if skipped is not None and "stderr" not in skipped:
        item.parent.skip_compare += NEVER_COMPARED
