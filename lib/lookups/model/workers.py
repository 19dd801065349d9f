"""Spread a chapter's work over processors, GPUs or machines with Ray (`lookups run --engine ray`).

What is spread are the batches that are formed in any case, each read by the same model with as many
threads, so results are the same to the last bit with any number of workers, or none. A worker that
dies is started again, and its batch with it. Ray is imported only where it is asked for.
"""

import os
import socket
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cache, lru_cache
from importlib.metadata import version
from io import BytesIO
from secrets import token_hex
from typing import Any

import torch

from lookups.errors import LookupsError
from lookups.model.loaded import Model, load_model
from lookups.settings import ModelSpec

ENGINE, ADDRESS = "LOOKUPS_ENGINE", "LOOKUPS_RAY_ADDRESS"
"""These variables say what work is spread by (`ray`), and where the cluster is; kernels inherit
them from `cluster`."""

AGAIN = 3
"""How often a worker that died is started again."""

QUIET = {"log_to_driver": False, "logging_level": "ERROR"}

Function = Callable[..., Any]


def results_of(model: Model, function: Function, calls: Iterable[tuple]) -> Iterator[Any]:
    """Yield what a module's function returns of the model and each call, calls in their order.

    LookupsError if Ray is missing, no cluster answers, or it has no room for a worker or has lost
    one too often. What the function raises in a worker is raised here.
    """
    if number_of_workers(model):
        return _spread(model, function, calls)
    return (function(model, *call) for call in calls)


def number_of_workers(model: Model) -> int:
    """Return how many workers do what is asked of a model: 0 if it is done here, as it is without
    an engine, and with a model that was operated on."""
    spread = os.environ.get(ENGINE) == "ray" and model.forward.as_loaded
    return len(_workers_for(model)) if spread else 0


@contextmanager
def cluster(address: str | None = None, *, processors: int | None = None) -> Iterator[None]:
    """Let work be spread meanwhile over the cluster at an address (HOST:PORT), or over a local one
    that lasts as long, with all processors or so many. LookupsError if none answers there."""
    former = dict(os.environ)
    if address is None:  # nobody else may use it
        os.environ |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": token_hex(32)}
    try:
        ray = _ray()
        if address is None:
            ray.init(num_cpus=processors, include_dashboard=False, **QUIET)
            address = ray.get_runtime_context().gcs_address
        os.environ |= {ENGINE: "ray", ADDRESS: address}
        _connect(address)
        yield
    finally:
        _workers.cache_clear()
        ray.shutdown()
        os.environ.clear()
        os.environ |= former


def _ray() -> Any:
    """Import Ray, which then reports to nobody."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    try:
        import ray
    except ImportError:
        advice = "type `pip install -e '.[cluster]'` in the project's folder, or run without it"
        raise LookupsError(
            f"Ray is not installed, and --engine ray asks for it; {advice}"
        ) from None
    return ray


def _connect(address: str) -> None:
    """Connect to a cluster, unless this process has one."""
    ray, (host, _, port) = _ray(), address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=5).close()  # Ray tries for minutes
        ray.init(address, ignore_reinit_error=True, **QUIET)
    except Exception as error:  # of many kinds
        raise LookupsError(
            f"no Ray cluster answers at {address} ({_reason(error)}); type `ray start --head` "
            "there, and the HOST:PORT that it tells here, or leave out --address"
        ) from error


def _workers_for(model: Model) -> list[Any]:
    device = os.environ.get("LOOKUPS_DEVICE") or model.spec.device
    return _workers(os.environ[ADDRESS], torch.get_num_threads(), gpus=not device.startswith("cpu"))


@cache
def _workers(address: str, threads: int, *, gpus: bool) -> list[Any]:
    """Start the workers of this process: one a GPU where there are any, else one for as many
    processors as this process has threads."""
    _connect(address)
    ray = _ray()
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    number = gpus and sum(int(node.get("GPU", 0)) for node in nodes)
    needs = {"num_gpus": 1, "num_cpus": 0} if number else {"num_cpus": threads}
    number = number or sum(int(node.get("CPU", 0)) // threads for node in nodes)
    if not number:
        raise LookupsError(
            f"no machine at {address} has {threads} processors for a worker with as many threads "
            "as this process; set OMP_NUM_THREADS to fewer"
        )
    own = {name: it for name, it in os.environ.items() if name.startswith(("LOOKUPS_", "HF_"))}
    left_out = {ENGINE, ADDRESS, "HF_TOKEN"}  # a secret would stand in Ray's logs
    own = {name: own[name] for name in own.keys() - left_out} | {"OMP_NUM_THREADS": str(threads)}
    lasting = {"max_restarts": AGAIN, "max_task_retries": AGAIN, "runtime_env": {"env_vars": own}}
    return [ray.remote(_Worker).options(**needs, **lasting).remote() for _ in range(number)]


class _Worker:
    """What a worker does; it keeps the models that it was last asked for."""

    def call(self, of: tuple[ModelSpec, bool, int], known: list, function: Function, given: bytes):
        """Call a function; what comes and goes lies in the bytes."""
        if known != (here := _versions()):
            raise LookupsError(
                f"on {socket.gethostname()} there are {' and '.join(here)}, and where the work "
                f"comes from {' and '.join(known)}; install the same on all machines"
            )
        spec, exact, bos_id = of
        model = replace(_loaded(spec, exact), bos_id=bos_id)
        return _packed(function(model, *_unpacked(given, model.device)))


@lru_cache(maxsize=2)
def _loaded(spec: ModelSpec, exact: bool) -> Model:
    return load_model(spec, exact=exact)


def _versions() -> list[str]:
    return [f"{name} {version(name)}" for name in ("lookups", "torch")]


def _packed(value: Any) -> bytes:
    """Put anything with tensors into bytes, from which it comes to any device."""
    torch.save(value, content := BytesIO())
    return content.getvalue()


def _unpacked(content: bytes, device: torch.device) -> Any:
    return torch.load(BytesIO(content), device, weights_only=False)  # our own, not a model's


def _spread(model: Model, function: Function, calls: Iterable[tuple]) -> Iterator[Any]:
    """Give each worker two calls at a time; hold back few results until those before are there."""
    ray, workers = _ray(), _workers_for(model)
    of, numbered = (model.spec, model.exact, model.bos_id), enumerate(calls)
    idle, under_way, done, following = workers * 2, {}, {}, 0
    try:
        while True:
            while idle and len(done) < 4 * len(workers) and (one := next(numbered, None)):
                worker = idle.pop(0)
                task = worker.call.remote(of, _versions(), function, _packed(one[1]))
                under_way[task] = one[0], worker
            if not under_way:
                return
            ready, _ = ray.wait([*under_way])
            place, worker = under_way.pop(ready[0])
            idle.append(worker)
            done[place] = ray.get(ready[0])
            while following in done:
                yield _unpacked(done.pop(following), model.device)
                following += 1
    except ray.exceptions.RayTaskError as error:
        raise error.cause from error
    except ray.exceptions.RayError as error:
        raise LookupsError(
            f"the Ray cluster has lost work ({_reason(error)}); see that its machines are up and "
            "have memory, then give the command again: it goes on from what is finished"
        ) from error


def _reason(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
