"""Write the tables and the arithmetic of the book's page on speed out of results.md.

`make bench` runs this last; tests/release/test_speed.py compares page and results. A row that
nobody has measured says so.
"""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from lookups.measure.kept_maxima import BANDS
from lookups.paths import PROJECT

RESULTS = Path(__file__).with_name("results.md")
PAGE = PROJECT / "book" / "speed.md"
UNKNOWN = "not measured"
PLAIN = "scan beside the plain pass, all layers"
SHAPED = {
    "SmolLM2-135M": PLAIN,
    "shape of GPT-2 small": f"{PLAIN}, gpt2-small",
    "shape of GPT-2 large": f"{PLAIN}, gpt2-large",
}
PLAIN_LIMITS = {
    ("SmolLM2-135M", "CPU"): 0.9, ("shape of GPT-2 small", "CPU"): 0.9,
    ("shape of GPT-2 small", "GPU"): 0.8, ("shape of GPT-2 large", "GPU"): 0.9,
}  # fmt: skip
STEPS = {"scan": None, "suffix": 4, "attribution": 5, "path patching": 30, "ablation": 15}
"""By how much each must be faster than the naive way on a CPU."""
ON_A_GPU = 20

LARGE = {"weights": 8e9, "layers": 32, "neurons": 14_336, "signs": 2}
"""The model of the plan, in the shape of the 8-billion-parameter Llama 3."""
SHEET, REACHED = 67e12, 0.5
"""Float32 operations a second of an H100 by its data sheet, and the share that we assume."""
STRONGEST, PER_BAND, BYTES, DAYS = 20, 3, 20, 30
"""Of the default run, kept a neuron; bytes of a kept maximum; days of the plan."""


class Row(NamedTuple):
    """One row of results.md, as it stands there."""

    measured: str
    machine: str
    model: str
    rows: str
    naive: str
    fast: str
    ratio: str
    agreement: str

    @property
    def device(self) -> str:
        return "CPU" if self.machine.endswith("CPU") else "GPU"


def rows_of(results: str) -> list[Row]:
    """Read the rows that were measured."""
    lines = [line for line in results.splitlines() if line.startswith("| ")][2:]
    cells = ([cell.strip() for cell in line.strip("| ").split("|")] for line in lines)
    return [Row(*one) for one in cells if len(one) == len(Row._fields)]


def found(rows: Iterable[Row], measured: str, device: str) -> Row | None:
    """The row of one measurement on one kind of device."""
    return next((r for r in rows if (r.measured, r.device) == (measured, device)), None)


def table(head: Sequence[str], body: Iterable[Sequence[str]]) -> str:
    """A table of Markdown; columns whose head begins with `>` stand to the right."""
    rule = ["---:" if name.startswith(">") else "---" for name in head]
    names = [name.removeprefix(">") for name in head]
    return "\n".join(f"| {' | '.join(line)} |" for line in (names, rule, *body))


def rates(row: Row) -> tuple[float, float, float]:
    """Tokens a second of the plain pass and of the scan, and the weights that a token meets."""
    plain, scanned = re.findall(r"\d+", row.agreement)[:2]
    return float(plain), float(scanned), 1e6 * float(re.search(r"([\d.]+) million", row.rows)[1])


def at_least(limit: float | None) -> str:
    return "" if limit is None else f"{limit:g}"


def plain_table(rows: list[Row]) -> str:
    body = []
    for model, measured in SHAPED.items():
        for device in ("CPU", "GPU"):
            row, limit = found(rows, measured, device), PLAIN_LIMITS.get((model, device))
            if row is not None:
                plain, scanned, _ = rates(row)
                speeds = f"{plain:,.0f}", f"{scanned:,.0f}", row.ratio
                body.append((f"{model}, {row.machine}", *speeds, at_least(limit)))
            elif limit is not None:
                body.append((f"{model}, a {device}", UNKNOWN, "", "", at_least(limit)))
    head = ("model and machine", ">plain pass, tokens a second", ">scan", ">ratio", ">at least")
    return table(head, body)


def steps_table(rows: list[Row]) -> str:
    body = []
    for step, limit in STEPS.items():
        for device, least in (("CPU", limit), ("GPU", ON_A_GPU)):
            row = found(rows, step, device)
            if row is None:
                body.append((f"{step}, a {device}", UNKNOWN, "", "", "", at_least(least), ""))
            else:
                shown = row.naive, row.fast, row.ratio, at_least(least), row.agreement
                body.append((f"{step}, {row.machine}", row.rows, *shown))
    numbers = ">naive, s", ">ours, s", ">times faster", ">at least"
    return table(("step and machine", "of", *numbers, "agreement"), body)


def growth_table(rows: list[Row]) -> str:
    body = []
    for row in sorted(
        (r for r in rows if r.measured.startswith("growth with")),
        key=lambda r: (r.measured.split(":")[0], *map(int, re.findall(r"\d+", r.rows))),
    ):
        each, memory = row.agreement.split(", ")
        of = row.measured.removeprefix("growth with ").split(":")[0]
        seconds = f"{float(row.fast):,.1f}"
        name = f"{of}: {row.model}, {row.machine}"
        body.append((name, row.rows, seconds, each, memory, row.ratio))
    flat = [r for r in rows if r.measured == "growth of memory with documents"]
    said = [f"Memory over {r.rows}, {r.machine}: {r.agreement}." for r in flat]
    numbers = ">seconds", ">time", ">memory", ">beside the plain pass"
    head = ("what grows, model, machine", "size", *numbers)
    return "\n\n".join([table(head, body) if body else f"Growth: {UNKNOWN}.", *said])


def workers_table(rows: list[Row]) -> str:
    body = [
        (f"{r.measured}, {r.machine}", r.rows, r.fast, r.ratio, r.agreement)
        for r in rows
        if "worker" in r.measured
    ]
    head = ("measured", "of", ">seconds", ">ratio", "agreement")
    return table(head, body) if body else f"With one worker and with two: {UNKNOWN}."


def chapters_table(rows: list[Row]) -> str:
    mine = [r for r in rows if re.fullmatch(r"chapter \d\d", r.measured)]
    body = [
        (f"{r.measured.split()[1]} {r.rows}, {r.machine}", f"{float(r.fast) / 60:.1f}",
         f"{float(r.naive) / 60:.1f}" if r.naive else "", r.ratio)
        for r in mine
    ]  # fmt: skip
    products = [r for r in rows if r.measured == "matrix products"]
    rate = [f"Matrix products on a {r.machine}: {r.agreement}." for r in products]
    head = ("chapter and machine", ">minutes", ">floor, minutes", ">share")
    return "\n\n".join([table(head, body) if body else f"Chapters: {UNKNOWN}.", *rate])


def words(number: float) -> str:
    """A large number with two digits and its unit in words."""
    for size, name in ((1e12, "trillion"), (1e9, "billion"), (1e6, "million")):
        if number >= size:
            return f"{float(f'{number / size:.2g}'):g} {name}"
    return f"{float(f'{number:.2g}'):,g}"


def plan(rows: list[Row]) -> str:
    """What the machines of the results would do with a large model."""
    body, operations = [], 2 * LARGE["weights"]
    for device in ("CPU", "GPU"):
        row = found(rows, PLAIN, device)
        if row is not None:
            tokens, _, weights = rates(row)
            rate, share, name = 2 * weights * tokens, float(row.ratio), f"{row.machine}, measured"
        elif device == "GPU":
            rate, share, name = REACHED * SHEET, 0.8, "one H100, assumed"
        else:
            body.append((f"a {device}", UNKNOWN, "", "", ""))
            continue
        second = rate / operations * share
        shown = f"{second:.2g}" if second < 10 else f"{second:,.0f}"
        body.append((name, words(rate), f"{share:.2f}", shown, words(second * 86_400 * DAYS)))
    neurons = LARGE["layers"] * LARGE["neurons"] * LARGE["signs"]
    kept = (STRONGEST + PER_BAND * (BANDS + 1)) * BYTES + 8 * (BANDS + 3)
    columns = ">operations a second", ">scan beside plain", ">tokens a second", f">in {DAYS} days"
    gigabytes, kept_by_all = 4 * LARGE["weights"] / 1e9, neurons * kept / 1e9
    sentences = (
        f"A token takes two operations a weight, {words(operations)} together. For a GPU that",
        f"nobody has measured we assume {REACHED:.0%} of the {words(SHEET)} float32 operations",
        "a second that the maker states for an H100, and the least ratio that we ask for. The",
        f"weights take {gigabytes:.0f} GB in float32. A model of {LARGE['layers']} gated layers",
        f"with {LARGE['neurons']:,} neurons each has {neurons:,}, counted with their signs. What a",
        f"scan keeps of one takes {kept:,} bytes with the default run's numbers, of all",
        f"{kept_by_all:.1f} GB, whatever the number of documents. Each machine hands over that",
        "much at the end. While it reads it needs more for each neuron, as the table of growth",
        "shows; a document adds 16 bytes.",
    )
    return "\n".join([table(("machine", *columns), body), "", *sentences])


def blocks(rows: list[Row]) -> dict[str, str]:
    """All that the page takes from the results, by name."""
    made = {"plain": plain_table, "steps": steps_table, "growth": growth_table}
    made |= {"workers": workers_table, "chapters": chapters_table, "plan": plan}
    return {name: make(rows) for name, make in made.items()}


def page_with(page: str, made: dict[str, str]) -> str:
    """Put blocks in the places of the page that name them."""
    for name, text in made.items():
        begin, end = f"% made by benchmarks/page.py: {name}\n", "\n% end\n"
        before, rest = page.split(begin)
        page = f"{before}{begin}\n{text}\n{end}{rest.split(end, 1)[1]}"
    return page


if __name__ == "__main__":
    made = blocks(rows_of(RESULTS.read_text("utf-8")))
    PAGE.write_text(page_with(PAGE.read_text("utf-8"), made), "utf-8")
