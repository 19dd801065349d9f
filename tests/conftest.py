"""What all tests share: shapes are checked, nothing is written into the project, NOT RUN is listed.

A test that cannot run on a machine is skipped with a reason that begins with NOT RUN; the reasons
stand at the end of pytest's report. Tests that are marked `slow` are left out of `make check`.
"""

import os
from collections.abc import Callable
from functools import cache
from pathlib import Path

# Most tests use one core. Of two processes side by side neither gains by threads of its own, and
# numpy and torch read this when they are first imported.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")

from jaxtyping import install_import_hook

install_import_hook(["lookups", "tools"], "beartype.beartype")  # before anything imports lookups

import faults  # noqa: E402
import hypothesis  # noqa: E402
import pytest  # noqa: E402

hypothesis.settings.register_profile("lookups", deadline=None)  # a busy machine is no failure
hypothesis.settings.load_profile("lookups")

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # no test needs the hub, and none should wait for it
for room in ("ARTIFACTS", "DATA", "MODELS"):
    os.environ.pop(f"LOOKUPS_{room}", None)


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
        out, err = capsys.readouterr()
        for line in err.splitlines():
            if code and line.startswith("lookups: "):
                faults.note(line)
        return code, out, err

    return called


def pytest_addoption(parser) -> None:
    parser.addoption("--faults", action="store_true", help="add to book/faults.md")


@cache
def _on_page() -> set[str]:
    return {row for _, row in faults.on_page()}


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item):
    """Hold every refusal against the book's page of them."""
    with faults.noting() as met:
        result = yield
    if not getattr(item.obj, "is_hypothesis_test", False):
        heading, what = faults.tried(item)
        rows = [faults.row_of(what, sentence) for sentence in dict.fromkeys(met)]
        item.user_properties += [("refusal", (heading, row)) for row in rows]
        if not item.config.getoption("--faults") and (new := set(rows) - _on_page()):
            pytest.fail(f"book/faults.md lacks {new}; add it: pytest --faults")
    return result


def pytest_terminal_summary(terminalreporter) -> None:
    """Write the page of faults, if asked to; list what was NOT RUN, each reason once."""
    if terminalreporter.config.getoption("--faults"):
        passed = terminalreporter.stats.get("passed", [])
        rows = [
            tuple(row) for one in passed for kind, row in one.user_properties if kind == "refusal"
        ]
        faults.PAGE.write_text(faults.page_of([*faults.on_page(), *rows]), "utf-8")
    skipped = [report.longrepr for report in terminalreporter.stats.get("skipped", [])]
    reasons = {one[2].removeprefix("Skipped: ") for one in skipped if isinstance(one, tuple)}
    if not_run := sorted(reason for reason in reasons if reason.startswith("NOT RUN")):
        terminalreporter.section("not run on this machine")
        for reason in not_run:
            terminalreporter.write_line(reason)
