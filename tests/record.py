"""A record in the authors' format, written by tests, and its scores by a few lines over the files.

`planted_neurons` gives neurons whose heads follow words, so that explainers have something to find.
What a language model replied is a rule of the test.
"""

import json
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from lookups.paths import PROJECT

REAL = PROJECT.parent / "shared" / "reference" / "published" / "gpt2-small"

Reply = Callable[[bool, random.Random], str]
"""From whether the head was active, and a source of luck, to Yes, No or else."""


class Text(NamedTuple):
    """One cut prompt, with the heads that were active on it, counted through all layers."""

    text: str
    heads: tuple[int, ...]


class RecordNeuron(NamedTuple):
    """One chosen neuron with its prompts."""

    layer: int
    index: int
    token: str
    congruence: float
    train: Sequence[Text]
    test: Sequence[Text]

    @property
    def name(self) -> str:
        return f"L{self.layer}.N{self.index}"

    def key(self, *head: int) -> str:
        """As the record writes the neuron, or a pair with it."""
        return str((self.layer, self.index, *head))

    @property
    def heads(self) -> list[int]:
        return sorted({head for text in self.train for head in text.heads})

    def kinds(self, head: int) -> list[list[str]]:
        """The training texts, with the token, on which a head is active, and the others."""
        shown = [(text.text + self.token, head in text.heads) for text in self.train]
        return [[text for text, active in shown if active == kind] for kind in (True, False)]


def mostly_right(active: bool, luck: random.Random) -> str:
    return "Yes" if active == (luck.random() < 0.8) else "No"


def write_record(
    folder: Path, neurons: Sequence[RecordNeuron], *,
    model: str = "gpt2-small", variant: str = "", reply: Reply = mostly_right, day: int = 12,
) -> Path:  # fmt: skip
    """Write a record of one model into a folder, beside others if there are, and return it.

    Every head that was active on some training text of a neuron makes a pair with it, and is asked
    about the neuron's first 20 test texts. A `variant` is of other layers.
    """
    luck, mark = random.Random(0), f"_{variant}" if variant else ""
    stem = f"2023-10-{day}_06-52-17_{model}{mark}"
    steps = ("4_head_attributions", "5_head_explanations", "6_explanation_eval")
    heads, said, asked = (folder / step for step in steps)
    chosen = {one.key(): {"token": one.token, "congruence": one.congruence} for one in neurons}
    path = folder / "1_next_token_neurons" / f"2023-10-{day - 1}_19-07-38_{model}.json"
    write(path, {"parameters": {"model_name": model}, "neurons": chosen})
    for split, ending in (("train", ""), ("test", "_test")):
        active = {one.key(): {t.text: t.heads for t in getattr(one, split)} for one in neurons}
        write(heads / f"{stem}{ending}.json", {"head_attributions": active})
    pairs = [(one, head) for one in neurons for head in one.heads]
    kinds = {one.key(head): one.kinds(head) for one, head in pairs}
    content = {"nh_to_pos_neg_prompts": kinds, "prior_filename": stem}
    write(heads / f"2023-10-{day}_06-52-17_{model}_prompts{mark}.json", content)

    requests = {key: f"Explain when a head is active.\n{both}" for key, both in kinds.items()}
    write(said / f"{stem}_prompts_dict.json", requests)
    lines = [_replied(text, f"has words that go with {key}") for key, text in requests.items()]
    luck.shuffle(lines)  # they came back in any order
    write(said / f"{stem}_prompts.jsonl", *(request for request, _ in lines))
    write(said / f"{stem}_prompts_results.jsonl", *lines)

    lines, questions = [], {}
    for one, head in pairs:
        own = questions[one.key(head)] = {}
        for text in one.test[:20]:
            question = f"Has it words that go with {one.key(head)}? {text.text}{one.token}"
            own[question] = text.text + one.token
            lines.append(_replied(question, reply(head in text.heads, luck)))
    for ending, most in (("_20", 20), ("", 10)):
        some = {key: dict(list(own.items())[:most]) for key, own in questions.items()}
        content = {"classify_prompts": some, "prior_filename": f"{stem}_test"}
        write(asked / f"{stem}_test{ending}.json", content)
    for ending, replies in (("_10", lines[::2]), ("", lines[1::2])):
        write(asked / f"{stem}_test_prompts{ending}_results.jsonl", *replies)
    return folder


def planted_neurons(*, texts: int = 24, layer: int = 9, n_heads: int = 12) -> list[RecordNeuron]:
    """Six neurons with three heads each: active on texts with a word, on the others, and by lot.

    On a tenth of the texts the first two are exchanged, and one text of each split is the same.
    """
    luck = random.Random(0)
    words = ["market", "river", "garden", "winter", "letter", "doctor"]

    def text(number: int, own: list[int], name: str) -> Text:
        cue = luck.random() < 0.5
        middle = f"{luck.choice(words)} {luck.choice(words)} {number}{name}"
        mine = own[0] if cue != (luck.random() < 0.1) else own[1]
        heads = (mine, own[2]) if luck.random() < 0.5 else (mine,)
        return Text(f" {'not only' if cue else 'said that'} the {middle} as", heads)

    found = []
    for number, word in enumerate(words):
        own = [layer * n_heads - 1 - number, 2 * n_heads + number, n_heads]  # the last for all
        same = Text(f" not only the old {word} as", (own[0],))
        each = [[same, *(text(number, own, f"{split}{place}") for place in range(1, texts))]
                for split in ("train", "test")]  # fmt: skip
        facts = layer + number % 2, 5 + number, f" {word}", 9.5 - number
        found.append(RecordNeuron(*facts, *each))
    return found


def scores_from_files(folder: Path) -> dict[str, float]:
    """E of every pair, from the raw files: no table, no code of ours."""
    replies = {}
    for path in sorted(folder.glob("6_*/*_results.jsonl")):
        for request, response in read(path):
            answer = response["choices"][0]["message"]["content"]
            replies[request["messages"][0]["content"]] = answer == "Yes"
    patterns = ("1_*/*.json", "4_*/*_test.json", "6_*/*_20.json")
    (neurons,), (heads,), (asked,) = (read(next(folder.glob(pattern))) for pattern in patterns)
    found = {}
    for pair, questions in asked["classify_prompts"].items():
        layer, index, head = map(int, pair[1:-1].split(","))
        key, right = f"({layer}, {index})", {True: [], False: []}
        for question, shown in questions.items():
            text = shown[: -len(neurons["neurons"][key]["token"])]
            active = head in heads["head_attributions"][key][text]
            right[active].append(replies[question] == active)
        rates = [np.mean(some) if some else np.nan for some in right.values()]
        found[f"L{layer}.N{index} L{head // 12}.H{head % 12}"] = float(np.mean(rates))
    return found


def read(path: Path) -> list[Any]:
    """What the lines of a file hold; a JSON file holds one thing."""
    text = path.read_text("utf-8")
    parts = [text] if path.suffix == ".json" else text.rstrip("\n").split("\n")
    return [json.loads(part) for part in parts]


def write(path: Path, *lines: Any) -> None:
    """Write a file of one or several lines."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), "utf-8")


def _replied(request: str, reply: str) -> tuple[dict, dict]:
    message = {"role": "assistant", "content": reply}
    sent = {"model": "gpt-4", "messages": [{"role": "user", "content": request}]}
    return sent, {"choices": [{"index": 0, "message": message}]}
