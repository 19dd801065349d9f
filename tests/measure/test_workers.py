"""Workers of a Ray cluster give what is measured without them to the last bit, even when killed."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec

import numpy as np
import pandas as pd
import psutil
import pytest
import tiny
import torch
from faults import note
from lookups.errors import LookupsError
from lookups.measure.activation import activations
from lookups.measure.attribution import attribute
from lookups.measure.scan import scan
from lookups.model.loaded import Model
from lookups.model.workers import cluster, workers_of
from lookups.names import Neuron
from lookups.run.stages import STAGES
from lookups.run.store import load
from lookups.settings import read_run
from measured import identical, measured

needs_ray = pytest.mark.skipif(not find_spec("ray"), reason="NOT RUN: ray is not installed")
NAMES, ROWS = ("gpt2", "llama"), 300


@pytest.fixture(autouse=True)
def small_batches():
    """Workers know nothing of the smaller ones that other tests ask for."""


@pytest.fixture(scope="module", params=[1, 2])
def workers(request) -> Iterator[tuple[dict, int]]:
    """As many processors, and what is measured without them."""
    usual = {name: measured(tiny.model(name), ROWS) for name in NAMES}
    with cluster(processors=request.param):
        yield usual, request.param


def test_without_an_engine_nothing_of_ray_is_imported():
    program = "import sys, lookups.run.execute, lookups.measure.scan; print('ray' in sys.modules)"
    made = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert made.stdout.strip() == "False", made.stderr


def test_ray_that_is_missing_is_said(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(LookupsError, match=r"needs Ray, which is not installed; type"), cluster():
        pass


@needs_ray
def test_a_cluster_that_is_not_there_is_said_at_once(call):
    code, _, err = call("run", "planted", "--engine", "ray", "--address", "127.0.0.1:1")
    assert (code, err.count("\n")) == (1, 1)
    assert "a Ray cluster at 127.0.0.1:1 cannot be reached" in err


@needs_ray
@pytest.mark.slow
def test_a_run_with_workers_leaves_the_same_tables(call, tmp_path, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    runs = []
    for name, more in (("usual", []), ("spread", ["--engine", "ray"])):
        path = tiny.write_run(tmp_path, "llama", name)
        code, _, err = call("run", str(path), "--only", "02-05", *more)
        assert code == 0, err
        runs.append(read_run(path))
    for stage in (one.name for one in STAGES if "02" <= one.chapter[:2] <= "05"):
        pd.testing.assert_frame_equal(*(load(run, stage) for run in runs), check_exact=True)


@needs_ray
@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_workers_measure_the_same_to_the_last_bit(workers, name):
    usual, number = workers
    assert len(workers_of(tiny.model(name))) == number
    found = measured(tiny.model(name), ROWS)
    assert [what for what in found if not identical(found[what], usual[name][what])] == []


@needs_ray
@pytest.mark.slow
@pytest.mark.parametrize("ranges", [1, 2, 5])
def test_a_scan_whose_worker_is_killed_is_the_same(workers, ranges, tmp_path, monkeypatch):
    monkeypatch.setattr("lookups.measure.scan.WINDOW", -(-90 // ranges))
    monkeypatch.setattr(Model, "tokens", lambda self: 200)
    one, docs, killed = tiny.model("gpt2"), tiny.documents(90), []

    def kill(n: int) -> None:
        found = [w for w in psutil.Process().children(recursive=True) if "ray::_Worker" in w.name()]
        if n and not killed:
            killed.append(os.kill(found[0].pid, signal.SIGKILL))

    how = {"strongest": 7, "per_band": 2}
    found = scan(one, docs, [0, 2], progress=kill, kept_in=tmp_path / "kept", **how)
    assert killed
    monkeypatch.delenv("LOOKUPS_ENGINE")
    usual = scan(one, docs, [0, 2], **how)
    taken_up = scan(one, docs, [0, 2], kept_in=tmp_path / "kept", **how)
    assert identical(found[1:], usual[1:])
    assert identical(taken_up[1:], usual[1:])
    note("a worker that is killed is started again, with the same result")


@needs_ray
@pytest.mark.slow
@pytest.mark.parametrize("workers", [2], indirect=True)
def test_what_is_refused_in_a_worker_is_refused_here(workers, monkeypatch):
    one, neuron = tiny.model("gpt2"), Neuron(2, 1)
    with pytest.raises(LookupsError, match="a sequence of 66 tokens does not fit into the 64"):
        attribute(one, [neuron], [np.ones(65, int)])
    with monkeypatch.context() as patch:
        patch.setattr("lookups.model.workers.VERSIONS", "torch 1")
        try:  # not by pytest.raises, for the page of faults would name this machine
            said = str(activations(one, [neuron], [[5]]))
        except LookupsError as error:
            said = str(error)
    assert re.search(r"has lookups .*, this process torch 1; install", said)
    note(re.sub(r"(?<=worker on )\S+|\d\S*\b", "…", said))
    try:
        torch.set_num_threads(64)
        with pytest.raises(LookupsError, match="has the 64 processors that a worker needs; set"):
            activations(one, [neuron], [[5]])
    finally:
        torch.set_num_threads(1)
