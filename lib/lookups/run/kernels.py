"""Kernels that are forked from one Python in which what chapters import is imported already.

Imports take ten seconds a chapter otherwise, more than much of what chapters do. Where a process
cannot be forked (Windows), and under papermill or Jupyter by themselves, kernels start as usual.
"""

import json
import os
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib import import_module
from typing import Any, ClassVar

import psutil
from jupyter_client.manager import AsyncKernelManager
from jupyter_client.provisioning import LocalProvisioner


def serve(modules: Sequence[str]) -> None:
    """Import modules, then fork a kernel for every line of standard input and say its process id. A
    line holds the kernel's arguments, folder and environment. Ends when the input does."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # a kernel that has ended leaves nothing behind
    answers = os.dup(1)
    os.dup2(2, 1)  # whatever a module or a kernel prints is no answer
    for name in ["ipykernel.kernelapp", *modules]:
        with suppress(Exception):  # the chapter that imports it says what is wrong
            import_module(name)
    if pandas := sys.modules.get("pandas"):  # it took this process for a terminal
        pandas.set_option("display.max_columns", 20)
    for line in sys.stdin:
        given = json.loads(line)
        if not (kernel := os.fork()):
            os.close(answers)
            _become_kernel(**given)
        os.write(answers, f"{kernel}\n".encode())


def _become_kernel(arguments: list[str], folder: str, environment: dict[str, str]) -> None:
    """Go on as the kernel that `python -m ipykernel_launcher` would be; never returns."""
    from ipykernel.kernelapp import IPKernelApp

    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.environ.clear()
    os.environ |= environment
    os.chdir(folder)
    sys.path.remove("")  # the launcher takes it out
    sys.argv = ["ipykernel_launcher", *arguments]
    try:
        parent = f"--IPKernelApp.parent_handle={os.getppid()}"  # it ends when its parent does
        IPKernelApp.launch_instance([*arguments, parent])
    finally:
        os._exit(0)


class _Forked(psutil.Process):
    """A kernel's process with what jupyter_client expects of a `Popen`."""

    stdin = stdout = stderr = None

    def poll(self) -> int | None:
        return None if self.is_running() else 1

    def wait(self, timeout: float | None = None) -> int:
        """Return at once: it is called when `poll` has said that the process has ended."""
        return 1


class _Provisioner(LocalProvisioner):
    async def launch_kernel(self, cmd: list[str], **kwargs: Any) -> dict[str, Any]:
        # "python -m ipykernel_launcher …", of which the rest is for the kernel
        given = {"arguments": cmd[3:], "environment": dict(kwargs["env"])}
        given["folder"] = os.fspath(kwargs.get("cwd") or os.getcwd())
        self.process = _Forked(ForkedKernels.fork(given))
        self.pid = self.process.pid
        return self.connection_info


class ForkedKernels(AsyncKernelManager):
    """A kernel manager for papermill; inside `forking` its kernels are forked."""

    command: ClassVar[list[str]] = []
    source: ClassVar[subprocess.Popen[str] | None] = None
    patience: ClassVar[int] = 0
    turn = threading.Lock()

    async def _async_pre_start_kernel(self, **kw: Any) -> tuple[list[str], dict[str, Any]]:
        if self.provisioner is None and self.command:
            spec = self.kernel_spec
            self.provisioner = _Provisioner(kernel_id="", kernel_spec=spec, parent=self)
        return await super()._async_pre_start_kernel(**kw)

    @classmethod
    def fork(cls, given: dict[str, Any]) -> int:
        """Fork a kernel; return its process id."""
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        with cls.turn:
            cls.source = cls.source or subprocess.Popen(cls.command, text=True, **pipes)
            with suppress(BrokenPipeError):
                cls.source.stdin.write(json.dumps(given) + "\n")
                cls.source.stdin.flush()
            ready, *_ = select.select([cls.source.stdout], [], [], cls.patience)
            if not (answer := ready and cls.source.stdout.readline()):
                cls.source.kill()
                raise RuntimeError("the process that kernels are forked from gave no answer")
            return int(answer)


@contextmanager
def forking(modules: Iterable[str], *, patience: int) -> Iterator[None]:
    """Let kernels be forked from a Python that imports some modules when the first is asked for,
    for which it has `patience` seconds."""
    ForkedKernels.patience = patience
    program = "import sys; from lookups.run.kernels import serve; serve(sys.argv[1:])"
    if hasattr(os, "fork") and sys.platform != "darwin":  # macOS' own libraries are not for forking
        ForkedKernels.command = [sys.executable, "-c", program, *modules]
    try:
        yield
    finally:
        source, ForkedKernels.source, ForkedKernels.command = ForkedKernels.source, None, []
        if source is not None:
            with source:
                source.terminate()
