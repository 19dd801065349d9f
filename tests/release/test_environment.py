"""The environment: one set of pins in three files, and code that passes the linter."""

import re
import subprocess
import sys
import tomllib
from importlib.metadata import distributions

import pytest
import yaml
from lookups.paths import PROJECT
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

LOCK = (PROJECT / "requirements.lock").read_text("utf-8").splitlines()
PINS = {canonicalize_name(line.split("==")[0]): line.split("==")[1] for line in LOCK}
PYPROJECT = tomllib.loads((PROJECT / "pyproject.toml").read_text("utf-8"))
STYLED = ("lib", "tests", "tools", "benchmarks", "notebooks")


def wanted() -> list[Requirement]:
    project = PYPROJECT["project"]
    lines = [*project["dependencies"], *project["optional-dependencies"]["test"]]
    return [Requirement(line) for line in lines + PYPROJECT["build-system"]["requires"]]


def test_the_lock_holds_exact_public_versions_in_order():
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+==[0-9][A-Za-z0-9.]*", line) for line in LOCK)
    assert list(PINS) == sorted(PINS)
    assert len(PINS) == len(LOCK)
    accelerator = ("nvidia", "triton", "cuda", "lookups")  # torch brings its own
    assert not [name for name in PINS if name.startswith(accelerator)]


def test_every_dependency_is_pinned_within_its_bounds():
    for requirement in wanted():
        assert requirement.specifier.contains(PINS[canonicalize_name(requirement.name)])


def test_conda_gets_the_same_pins():
    conda = yaml.safe_load((PROJECT / "environment.yml").read_text("utf-8"))
    *others, pip = conda["dependencies"]
    assert pip["pip"] == LOCK
    assert "python=3.11" in others


def test_this_environment_is_the_locked_one():
    if sys.version_info[:2] != (3, 11):
        pytest.skip("NOT RUN: the lock is for Python 3.11, and this is another one")
    found = {canonicalize_name(one.name): one.version.split("+")[0] for one in distributions()}
    different = {name: found.get(name) for name, pin in PINS.items() if found.get(name) != pin}
    if different and sys.prefix == sys.base_prefix:
        pytest.skip(f"NOT RUN: outside a virtual environment, with other versions of {different}")
    assert different == {}


@pytest.mark.parametrize("command", [("check", "--quiet"), ("format", "--check", "--quiet")])
def test_ruff_finds_nothing(command):
    words = [sys.executable, "-m", "ruff", *command, *STYLED]
    made = subprocess.run(words, cwd=PROJECT, capture_output=True, text=True)
    assert made.returncode == 0, made.stdout + made.stderr


def test_nothing_that_is_made_is_committed_and_no_text_holds_a_path_of_someones_machine():
    listed = subprocess.run(["git", "ls-files"], cwd=PROJECT, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("NOT RUN: not a git checkout, so what is committed is not known")
    made = ("_build/", "artifacts/", "data/", "models/", ".venv/")
    pattern, found = re.compile(r"(?<![\w.])/(home|root|Users|work|tmp/w)/"), []
    for name in listed.stdout.splitlines():
        assert not name.startswith(made)
        assert "__pycache__" not in name
        path = PROJECT / name
        if path.suffix in (".safetensors", ".parquet", ".png") or not path.is_file():
            continue
        if path.name != "test_environment.py" and pattern.search(path.read_text("utf-8")):
            found.append(name)
    assert found == []
