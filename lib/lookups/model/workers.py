"""Spread a chapter's work over processors, GPUs or machines with Ray (`lookups run --engine ray`).

What is spread are batches that are formed in any case, read by the same model with as many threads,
so results are the same to the last bit with any number of workers, or none. A worker that dies is
started again, and what it did is done again. Ray is imported only where it is asked for.
"""

import os
import socket
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cache, lru_cache
from importlib.metadata import version
from secrets import token_hex
from typing import Any

import torch
from torch.utils._pytree import tree_map_only

from lookups.errors import LookupsError, in_words
from lookups.model.loaded import Model, load_model

ENGINE, ADDRESS = "LOOKUPS_ENGINE", "LOOKUPS_RAY_ADDRESS"
"""Variables that say who is given work ("ray"), and where; kernels inherit what `cluster` sets."""

AGAIN = {"max_restarts": 3, "max_task_retries": 3}
"""How often a worker that dies is started again, and how often what it did."""

OURS = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": token_hex(32)}
"""Nobody else on the network may use a cluster that we start."""

SILENT = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_DEDUP_LOGS_SKIP_REGEX": "."}  # reports to nobody
VERSIONS = f"lookups {version('lookups')}, torch {torch.__version__}"
QUIET = {"log_to_driver": False, "logging_level": "ERROR"}


def results_of(model: Model, function: Callable, calls: Iterable[tuple]) -> Iterator[Any]:
    """Yield what a function of a module returns of the model and each call, in the calls' order.

    What it raises in a worker is raised here. LookupsError if no cluster answers, if it has no room
    for a worker, or has lost one too often.
    """
    if workers := workers_of(model):
        return _spread(workers, model, function, calls)
    return (function(model, *call) for call in calls)


def workers_of(model: Model) -> list[Any]:
    """Return who does the work of a model: nobody else where it is not given away, or the model was
    operated on. They are started when they are first asked for."""
    if not (os.environ.get(ENGINE) and model.forward.as_loaded):
        return []
    on_cpu = (os.environ.get("LOOKUPS_DEVICE") or model.spec.device).startswith("cpu")
    return _workers(os.environ[ADDRESS], torch.get_num_threads(), on_cpu)


@contextmanager
def cluster(address: str | None = None, *, processors: int | None = None) -> Iterator[None]:
    """Give work meanwhile to the cluster at an address (HOST:PORT), or to a local one that ends
    with the block and has all processors, or so many. LookupsError if there is none."""
    former = dict(os.environ)
    os.environ |= SILENT | ({} if address else OURS)
    try:
        import ray
    except ImportError:
        advice = "type `pip install -e '.[cluster]'` in the project's folder"
        raise LookupsError(f"--engine ray needs Ray, which is not installed; {advice}") from None
    try:
        if address is None:
            ray.init(num_cpus=processors, include_dashboard=False, **QUIET)
            address = ray.get_runtime_context().gcs_address
        _connect(address)
        os.environ |= {ENGINE: "ray", ADDRESS: address}
        yield
    finally:
        ray.shutdown()
        os.environ.clear()
        os.environ |= former


def _connect(address: str) -> None:
    """Connect this process with a cluster, if it is not."""
    import ray

    host, _, port = address.rpartition(":")
    advice = "give the HOST:PORT that `ray start --head` told, or leave out --address"
    with in_words(f"a Ray cluster at {address}", advice, done="reached"):
        socket.create_connection((host, int(port)), timeout=5).close()  # Ray tries for minutes
        ray.init(address, ignore_reinit_error=True, **QUIET)


@cache
def _workers(address: str, threads: int, on_cpu: bool) -> list[Any]:
    """Start the workers of this process: one a GPU where there are any, else one for as many
    processors as this process has threads."""
    import ray

    _connect(address)
    machines = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    gpus = 0 if on_cpu else sum(int(has.get("GPU", 0)) for has in machines)
    number = gpus or sum(int(has.get("CPU", 0)) // threads for has in machines)
    if not number:
        words = f"no machine of the cluster has the {threads} processors that a worker needs"
        raise LookupsError(f"{words}; set OMP_NUM_THREADS to as many as one has")
    known = {ENGINE, ADDRESS, "HF_TOKEN"}  # a secret would stand in Ray's logs
    sent = "LOOKUPS_", "HF_", "MKL_"
    names = [one for one in os.environ if one.startswith(sent) and one not in known]
    environment = {name: os.environ[name] for name in names} | {"OMP_NUM_THREADS": str(threads)}
    needs = {"num_gpus": 1, "num_cpus": 0} if gpus else {"num_cpus": threads}
    how = needs | AGAIN | {"runtime_env": {"env_vars": environment}}
    return [ray.remote(_Worker).options(**how).remote() for _ in range(number)]


class _Worker:
    """Another process, on this machine or another one; it keeps two models that it loaded."""

    load = staticmethod(lru_cache(maxsize=2)(load_model))

    def call(
        self, versions: str, spec: Any, exact: bool, bos_id: int, function: Callable, call: tuple
    ) -> Any:
        """Call a function with a model."""
        if versions != VERSIONS:
            where = f"the worker on {socket.gethostname()} has {VERSIONS}, this process {versions}"
            raise LookupsError(f"{where}; install the same on every machine")
        model = replace(self.load(spec, exact=exact), bos_id=bos_id)
        return _on("cpu", function(model, *_on(model.device, call)))


def _on(device: str | torch.device, value: Any) -> Any:
    """Return the same with its tensors on a device, wherever they stand in it."""
    return tree_map_only(torch.Tensor, lambda tensor: tensor.to(device), value)


def _spread(
    workers: list[Any], model: Model, function: Callable, calls: Iterable[tuple]
) -> Iterator[Any]:
    """Give workers calls; each takes another one when it is done."""
    import ray
    from ray.util import ActorPool

    of = VERSIONS, model.spec, model.exact, model.bos_id, function
    advice = "see that its machines are up and have memory, then give the command again"
    with in_words("the work of a Ray cluster", advice, done="finished"):
        try:
            yield from (
                _on(model.device, found)
                for found in ActorPool(workers).map(
                    lambda worker, call: worker.call.remote(*of, _on("cpu", call)), calls
                )
            )
            return
        except ray.exceptions.RayTaskError as error:
            raised = error.cause
    raise raised
