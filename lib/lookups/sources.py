"""The sources of the prose corpus: pinned packages, their files, the texts in one (chapter 0).

`PACKAGES` names every source with its version; `source_files` lists the files that the installed
distribution itself records, so that what else lies in the environment does not count; `written_in`
finds the texts of one file by a single scan, which a test holds equal to `ast` and `tokenize`.
Python's own library is not pinned and stays out. What is English prose is decided in
`lookups.prose`, what is kept in `lookups.corpus`.
"""

import ast
import importlib.metadata
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from lookups.errors import CorpusError

PACKAGES = {
    "numpy": "2.4.6",
    "scipy": "1.17.1",
    "pandas": "3.1.1",
    "matplotlib": "3.11.2",
    "scikit-learn": "1.9.1",
    "statsmodels": "0.15.0",
    "networkx": "3.6.1",
    "sympy": "1.14.0",
    "torch": "2.13.0",
    "transformers": "5.23.0",
    "Sphinx": "7.4.7",
    "docutils": "0.21.2",
    "SQLAlchemy": "2.1.9",
    "fonttools": "4.68.0",
    "pyarrow": "26.0.1",
    "datasets": "5.2.0",
    "huggingface_hub": "2.4.0",
    "accelerate": "1.15.0",
    "transformer-lens": "4.3.0",
    "narwhals": "2.29.0",
    "ipython": "9.18.1",
    "mpmath": "1.3.0",
    "tornado": "6.6.1",
    "hypothesis": "6.170.15",
    "pydantic": "2.14.3",
    "beartype": "0.23.1",
    "pytest": "9.2.0",
    "prompt_toolkit": "3.0.53",
    "rich": "15.0.0",
    "pillow": "13.0.0",
    "Pygments": "2.21.0",
    "joblib": "1.6.0",
    "jedi": "0.20.1",
    "fsspec": "2026.9.0",
    "patsy": "1.0.3",
    "formulaic": "1.2.2",
    "coverage": "7.17.3",
    "filelock": "4.2.11",
    "anyio": "4.16.0",
    "wandb": "0.31.0",
    "Jinja2": "3.1.6",
    "packaging": "26.3",
    "pyparsing": "3.3.3",
    "babel": "2.18.0",
    "wcwidth": "0.9.4",
    "playwright": "1.65.2",
    "click": "8.5.1",
    "typer": "0.29.2",
    "urllib3": "2.8.0",
    "pyzmq": "27.3.0",
    "beautifulsoup4": "4.15.0",
    "jupytext": "1.19.6",
    "pybtex": "0.26.1",
    "dill": "0.4.1",
    "jupyter_client": "8.10.0",
    "jsonschema": "4.26.0",
    "ipykernel": "7.4.0",
    "python-dateutil": "4.0.0",
    "traitlets": "5.16.1",
    "myst-parser": "3.0.1",
    "httpx": "0.28.1",
    "httpcore": "1.0.9",
    "parso": "0.8.7",
    "papermill": "2.7.0",
    "myst-nb": "1.4.0",
    "requests": "2.34.2",
    "einops": "0.8.2",
    "markdown-it-py": "3.0.0",
    "soupsieve": "4.1.2",
    "attrs": "26.1.0",
    "wrapt": "2.5.2",
    "nbformat": "5.11.1",
    "jaxtyping": "0.3.11",
    "sphinx-design": "0.8.0",
    "typeguard": "4.6.0",
    "sortedcontainers": "2.4.0",
    "contourpy": "1.3.3",
    "tabulate": "0.10.0",
    "tqdm": "4.70.1",
    "opentelemetry-sdk": "1.45.2",
    "opentelemetry-api": "1.45.2",
    "nbclient": "0.11.0",
    "jupyter_core": "5.9.1",
    "tenacity": "9.2.1",
    "importlib_metadata": "10.2.0",
    "pluggy": "1.7.0",
    "executing": "2.3.0",
    "asttokens": "3.0.2",
    "platformdirs": "4.14.7",
    "PyYAML": "6.0.3",
}
"""Distribution and version, in the order in which of two near-copies the first is kept."""

# Written when a package is built or installed, or not the same in every build of one version.
_GENERATED = re.compile(
    r"(?:^|/)(?:_?version|_version_meson|__config__|_distributor_init\w*|_?build_config|"
    r"_?build_info|_?generated\w*)\.py$|(?:^|/)_?generated/|(?:^|/)_vendor(?:ed)?/|"
    r"^torch/(?:_C|lib|bin|share|include)/"
)
_TESTS = re.compile(r"(?:^|/)_?tests?/|(?:^|/)test_[^/]*$|(?:^|/)conftest\.py$")

_TRIPLE = r'"""(?:[^\\"]|\\.|"(?!""))*"""' + "|'''(?:[^\\\\']|\\\\.|'(?!''))*'''"
_SINGLE = r'"(?:[^"\\\n]|\\.)*"' + "|'(?:[^'\\\\\n]|\\\\.)*'"
_LEXEME = re.compile(rf"#[^\n]*|{_TRIPLE}|{_SINGLE}", re.DOTALL)
_PREFIX = re.compile(r"(?<!\w)[A-Za-z]{1,2}$")
SHORTEST_TEXT = 24
"""Characters: nothing shorter holds a paragraph of `prose.SHORTEST_SENTENCE` words."""


class SourceFile(NamedTuple):
    """One file of a package; `name` is its path within the environment, with forward slashes."""

    package: str
    name: str
    path: Path

    @property
    def is_test(self) -> bool:
        """Tests keep their comments; their string constants are mostly made-up data."""
        return bool(_TESTS.search(self.name))


class Written(NamedTuple):
    """One string or block comment of a source file, and the line it begins on."""

    line: int
    text: str


def installed_versions(packages: Mapping[str, str]) -> dict[str, str]:
    """Return the public version of every package (local tags such as `+cpu` are left off).

    Raises:
        CorpusError: packages are not installed.
    """
    versions, missing = {}, []
    for package, pinned in packages.items():
        try:
            versions[package] = importlib.metadata.version(package).split("+")[0]
        except importlib.metadata.PackageNotFoundError:
            missing.append(f"{package} {pinned}")
    if missing:
        raise CorpusError(
            f"the corpus 'prose' is harvested from installed packages and {', '.join(missing)} "
            f"cannot be found: install the lock again with `make book`, or by hand with "
            f"`pip install -r requirements.lock`"
        )
    return versions


def source_files(packages: Mapping[str, str]) -> list[SourceFile]:
    """List the Python files of the packages, in the order of `packages`, then of their names."""
    found = []
    for package in packages:
        recorded = importlib.metadata.files(package) or []
        names = sorted({file.as_posix(): file for file in recorded}.items())
        found += [
            SourceFile(package, name, Path(file.locate()))
            for name, file in names
            if name.endswith(".py") and not name.startswith("..") and not _GENERATED.search(name)
        ]
    return found


def written_in(source: str, *, constants: bool = True) -> Iterator[Written]:
    """Yield triple-quoted strings and block comments of Python source, in file order.

    Formatted and byte strings are left out; so are, without `constants`, strings that do not begin
    their line (documentation strings do).
    """
    comment: list[str] = []
    comment_line = last_line = last_column = line = 0
    counted = 0
    for lexeme in _LEXEME.finditer(source):
        start = lexeme.start()
        first = source[start]
        if first != "#" and source[start : start + 3] != first * 3:
            continue
        line_start = source.rfind("\n", 0, start) + 1
        before = source[line_start:start]
        if first == "#":
            if before and not before.isspace():
                continue
            line += source.count("\n", counted, start)
            counted = start
            if not comment or line != last_line + 1 or len(before) != last_column:
                if comment:
                    yield Written(comment_line, "\n".join(comment))
                comment, comment_line = [], line + 1
            comment.append(_uncommented(lexeme[0]))
            last_line, last_column = line, len(before)
            continue
        if lexeme.end() - start < SHORTEST_TEXT:
            continue
        prefix = _PREFIX.search(before)
        letters = prefix[0].lower() if prefix else ""
        statement = not before[: len(before) - len(letters)].strip()
        if "f" in letters or "b" in letters or "t" in letters or not (statement or constants):
            continue
        if comment:
            yield Written(comment_line, "\n".join(comment))
            comment = []
        line += source.count("\n", counted, start)
        counted = start
        yield Written(line + 1, _string_value(lexeme[0], raw="r" in letters))
    if comment:
        yield Written(comment_line, "\n".join(comment))


def _uncommented(comment: str) -> str:
    return comment.lstrip("#").removeprefix(":").removeprefix(" ").rstrip()


def _string_value(literal: str, *, raw: bool) -> str:
    if raw or "\\" not in literal:
        return literal[3:-3]
    try:
        return ast.literal_eval(literal)
    except (SyntaxError, ValueError):
        return literal[3:-3]
