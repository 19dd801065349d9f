"""How does the method fare where the planted world is harder? (chapter 13 asks it of the plain one)

For every world of `benchmarks/worlds` the chapters 2 to 5 are executed, the truth is found by path
patching on minimal pairs, and pairs of a sound neuron and a head are ranked by effect and by
attribution. Some minutes; the table is written to harder_worlds.md.
"""

import json
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import yaml
from lookups.corpus.grammar import labelled_documents
from lookups.measure.ground_truth import carried
from lookups.model.loaded import load_model
from lookups.names import Neuron
from lookups.paths import PROJECT
from lookups.run.execute import run_chapters
from lookups.run.stages import chapters_to
from lookups.run.store import load
from lookups.settings import read_run

sys.path.insert(0, str(PROJECT))  # the worlds' trainer, in another folder, imports them too
from benchmarks.worlds.worlds import HERE, WORLDS

RESULTS = Path(__file__).with_name("harder_worlds.md")
KEYS = ["neuron", "head"]
PAIRS, CARRIES, ALLOWED = 200, 0.5, 0.05
DOCUMENTS = 3000


def run_of(name: str) -> Path:
    """Write the documents of a world as texts, and a run that reads them; return its file."""
    grammar, files = WORLDS[name].grammar, {}
    folder = read_run("planted").folder("artifacts") / f"harder-{name}"
    folder.mkdir(parents=True, exist_ok=True)
    for split in ("train", "test"):
        files[split] = folder / f"{split}.jsonl"
        documents = labelled_documents(split, DOCUMENTS, grammar=grammar)
        lines = (json.dumps({"text": grammar.text(document.ids)}) for document in documents)
        files[split].write_text("\n".join(lines) + "\n", "utf-8")
    content = {
        "extends": "planted", "title": name, "model": {"name": str(HERE / name)},
        "corpus": {
            "name": str(files["train"]), "held_out": str(files["test"]), "documents": DOCUMENTS,
            "length": grammar.length,
        },
        "longest": min(100, grammar.length),
    }  # fmt: skip
    path = folder / f"harder-{name}.yml"
    path.write_text(yaml.safe_dump(content), "utf-8")
    return path


def judged(name: str) -> dict[str, object]:
    """Execute the method on a world and hold it against the truth."""
    path, grammar = run_of(name), WORLDS[name].grammar
    settings = read_run(path)
    run_chapters(settings, only=chapters_to("pairs"), say=print)
    neurons, rates, heads, pairs = (
        load(settings, stage) for stage in ("neurons", "follow_rates", "heads", "pairs")
    )
    rates = rates[(rates.split == "train") & rates.sound]
    model = load_model(settings.model)
    targets = {grammar.ids[word] for word in grammar.targets}
    sound = neurons[neurons.neuron.isin(rates.neuron) & neurons.token_id.isin(targets)]
    tokens = {Neuron.parse(row.neuron): int(row.token_id) for row in sound.itertuples()}
    truth = carried(model, grammar, tokens, n=PAIRS)
    carries = (truth.change > CARRIES).groupby([truth[key] for key in KEYS]).any()
    heads = heads[heads.input.isin(("in", "post")) & heads.neuron.isin(sound.neuron)]
    train = heads[heads.split == "train"]
    groups = train.groupby(KEYS)
    high = groups[["effect", "attribution"]].quantile(0.9)
    by_2sd = groups.active_2sd.mean().between(*settings.pair_share)
    kept = pairs.set_index(KEYS).kept.reindex(high.index)
    true = carries.reindex(high.index)
    return {
        "sound neurons, tokens": f"{len(sound)}, {sound.token_id.nunique()}",
        "pairs that carry": f"{int(true.sum())} of {len(true)}",
        "recall at 5 %, effect": recall(high.effect, true),
        "recall at 5 %, attribution": recall(high.attribution, true),
        "kept by effect, precision": f"{int(kept.sum())}, {true[kept].mean():.2f}",
        "kept by mean + 2 sd, precision": f"{int(by_2sd.sum())}, {true[by_2sd].mean():.2f}",
    }


def recall(scores: pd.Series, true: pd.Series) -> str:
    """The recall at the bound that calls at most `ALLOWED` of the pairs that carry nothing."""
    others = np.sort(scores[~true])[::-1]
    return f"{(scores[true] > others[int(ALLOWED * len(others))]).mean():.2f}"


def main() -> None:
    """Judge every world and write the table."""
    rows = {name: judged(name) for name in WORLDS}
    columns = list(next(iter(rows.values())))
    lines = [
        f"| world | what is harder | {' | '.join(columns)} |",
        "|" + " --- |" * (len(columns) + 2),
        *(
            f"| {name} | {WORLDS[name].harder} | {' | '.join(str(row[c]) for c in columns)} |"
            for name, row in rows.items()
        ),
    ]
    RESULTS.write_text("\n".join(lines) + "\n", "utf-8")
    print(RESULTS.read_text("utf-8"))


if __name__ == "__main__":
    main()
