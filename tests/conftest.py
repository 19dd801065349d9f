"""What all tests share: shapes are checked, nothing is written into the project, NOT RUN is listed.

A test that cannot run on a machine is skipped with a reason that begins with NOT RUN; the reasons
stand at the end of pytest's report. With `-n 2`, as `make test` calls pytest, two processes share
the test files; a file, and files that use the same costly thing, stay in one of them.
"""

import os
from collections.abc import Callable
from pathlib import Path

# Most tests use one core. Of two processes side by side neither gains by threads of its own, and
# numpy and torch read this when they are first imported.
IN_WORKER = "PYTEST_XDIST_WORKER" in os.environ
if IN_WORKER:
    os.environ.setdefault("OMP_NUM_THREADS", "1")

from jaxtyping import install_import_hook  # noqa: E402

install_import_hook(["lookups", "tools"], "beartype.beartype")  # before anything imports lookups

import hypothesis  # noqa: E402
import pytest  # noqa: E402

hypothesis.settings.register_profile("lookups", deadline=None)  # a busy machine is no failure
hypothesis.settings.load_profile("lookups")

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # no test needs the hub, and none should wait for it
for room in ("ARTIFACTS", "DATA", "MODELS"):
    os.environ.pop(f"LOOKUPS_{room}", None)

TOGETHER = {"test_site.py": "test_browser.py"}
"""Files that go where another goes: both look at the book of the sample chapters, built once."""

LONGEST_FIRST = ("test_nbval.py", "test_readme.py", "test_browser.py", "test_chapters.py")
"""The files to begin with: one of minutes that began last would leave the other process idle. The
first two take different processes."""


@pytest.fixture
def artifacts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A scratch folder in which all runs of one test keep their stages."""
    folder = tmp_path / "artifacts"
    monkeypatch.setenv("LOOKUPS_ARTIFACTS", str(folder))
    return folder


@pytest.fixture
def call(capsys: pytest.CaptureFixture) -> Callable[..., tuple[int, str, str]]:
    """Call `lookups` with arguments; return exit code, stdout and stderr."""
    from lookups.run import cli

    def called(*arguments: str) -> tuple[int, str, str]:
        try:
            cli.main(lambda: cli.app(arguments))
            code = 0
        except SystemExit as stop:
            code = stop.code or 0
        return code, *capsys.readouterr()

    return called


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put long files first where processes share the tests; otherwise the order is pytest's."""
    if IN_WORKER:
        items.sort(key=lambda item: _rank(item.path.name))


def _rank(file: str) -> tuple[int, bool]:
    leader = TOGETHER.get(file, file)
    place = LONGEST_FIRST.index(leader) if leader in LONGEST_FIRST else len(LONGEST_FIRST)
    return place, file in TOGETHER


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log):
    """Share out whole files, in the order above, whatever `--dist` says."""
    from xdist.scheduler import LoadFileScheduling

    class WholeFiles(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            folder, _, file = super()._split_scope(nodeid).rpartition("/")
            return f"{folder}/{TOGETHER.get(file, file)}"

    config.option.loadscopereorder = False  # by their number of tests
    return WholeFiles(config, log)


def pytest_terminal_summary(terminalreporter) -> None:
    """List what was NOT RUN, each reason once."""
    reasons = sorted(
        {
            report.longrepr[2].removeprefix("Skipped: ")
            for report in terminalreporter.stats.get("skipped", [])
            if isinstance(report.longrepr, tuple)
        }
    )
    not_run = [reason for reason in reasons if reason.startswith("NOT RUN")]
    if not_run:
        terminalreporter.section("not run on this machine")
        for reason in not_run:
            terminalreporter.write_line(reason)
