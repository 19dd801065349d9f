"""A record in the authors' format, written by tests: every file of every step, on made-up texts.

`write_record` writes the folders and file names that the authors released for one model, from
neurons with their texts and the flat numbers of the heads that were active on each. What a language
model replied is a rule of the test. `planted_neurons` gives neurons whose heads follow words, so
that explainers and verdicts have something to find.
"""

import json
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

Reply = Callable[[str, bool, random.Random], str]
"""From a prompt's text, whether the head was active, and a source of luck, to Yes, No or else."""


class Text(NamedTuple):
    """One cut prompt: its text, which one file has, and where it was cut, which another has."""

    text: str
    heads: tuple[int, ...]  # those that were active, counted through all layers
    start: int = 0
    last: int = 4  # the last token of the span, which is in it
    activation: float = 4.0
    whole: float = 5.0


class RecordNeuron(NamedTuple):
    """One chosen neuron with its prompts."""

    layer: int
    index: int
    token: str
    congruence: float
    train: tuple[Text, ...]
    test: tuple[Text, ...]

    @property
    def key(self) -> str:
        """As the record writes it."""
        return f"({self.layer}, {self.index})"


def mostly_right(text: str, active: bool, luck: random.Random) -> str:
    """A judge that is right four times of five."""
    return "Yes" if active == (luck.random() < 0.8) else "No"


def write_record(
    folder: Path,
    neurons: Sequence[RecordNeuron],
    *,
    model: str = "gpt2-small",
    variant: str = "",
    rejected: Sequence[tuple[int, int, str]] = ((9, 77, " glitch"),),
    reply: Reply = mostly_right,
    asked: int = 20,
    day: int = 12,
    seed: int = 0,
) -> Path:
    """Write a record of one model into a folder and return it.

    Several models, or several sets of layers of one model (`variant="mid"`), can be written into
    one folder. Every head that was active on some training text of a neuron makes a pair with it;
    a pair is asked about its neuron's first `asked` test texts. A later `day` is a later run.
    """
    parameters = {"model_name": model, "rejected_neurons": [list(one) for one in rejected]}
    made, mark = {"parameters": parameters}, f"_{variant}" if variant else ""
    stem = f"2023-10-{day}_06-52-17_{model}{mark}"
    chosen = {one.key: {"token": one.token, "congruence": one.congruence} for one in neurons}
    path = folder / "1_next_token_neurons" / f"2023-10-{day - 1}_19-07-38_{model}.json"
    _write(path, made | {"neurons": chosen})
    _write_prompts(folder, stem, made, neurons)
    pairs = [(one, head) for one in neurons for head in _heads_of(one)]
    kinds = {_pair(one, head): _kinds(one, head) for one, head in pairs}
    path = folder / "4_head_attributions" / f"2023-10-{day}_06-52-17_{model}_prompts{mark}.json"
    _write(path, made | {"nh_to_pos_neg_prompts": kinds, "prior_filename": stem})
    said = {key: f"has words that go with {key}" for key in kinds}
    luck = random.Random(seed)
    _write_explanations(folder, stem, {_pair(*pair): _request(*pair) for pair in pairs}, said, luck)
    _write_evaluation(folder, stem, made, pairs, said, asked, lambda *of: reply(*of, luck))
    pickled = folder / "7_head_ablation" / "ablated.pkl"
    pickled.parent.mkdir(parents=True, exist_ok=True)
    pickled.write_bytes(b"cos\nsystem\n(S'false'\ntR.")  # must never be opened
    return folder


def _write_prompts(folder: Path, stem: str, made: dict, neurons: Sequence[RecordNeuron]) -> None:
    for split, ending in (("train", ""), ("test", "_test")):
        spans = {one.key: [_span(text) for text in getattr(one, split)] for one in neurons}
        content = made | {"neuron_to_trunc_data": spans, "prior_filename": "not-released"}
        _write(folder / "3_trimmed_texts" / f"{stem}{ending}.json", content)
        heads = {one.key: {t.text: list(t.heads) for t in getattr(one, split)} for one in neurons}
        content = made | {"head_attributions": heads, "prior_filename": stem + ending}
        _write(folder / "4_head_attributions" / f"{stem}{ending}.json", content)


def _write_explanations(
    folder: Path, stem: str, requests: dict[str, str], said: dict[str, str], luck: random.Random
) -> None:
    path = folder / "5_head_explanations"
    _write(path / f"{stem}_prompts_dict.json", requests)
    _lines(path / f"{stem}_prompts.jsonl", [_sent(text, 200) for text in requests.values()])
    replies = [(_sent(requests[key], 200), _replied(said[key])) for key in requests]
    luck.shuffle(replies)  # they came back in any order
    _lines(path / f"{stem}_prompts_results.jsonl", replies)


def _write_evaluation(
    folder: Path, stem: str, made: dict, pairs: list, said: dict, asked: int, reply: Callable
) -> None:
    """All questions, and the first half of them, in a file each; replies to each half."""
    path, questions, half = folder / "6_explanation_eval", {}, asked // 2
    for one, head in pairs:
        own = said[_pair(one, head)]
        questions[_pair(one, head)] = [
            (_question(own, text.text + one.token), text.text, one.token, head in text.heads)
            for text in one.test[:asked]
        ]
    content = made | {"prior_filename": f"{stem}_test", "classify_filepath": "not-read"}
    for ending, part in {f"_{asked}": slice(None), "": slice(half)}.items():
        shown = {key: {q: text + token for q, text, token, _ in some[part]}
                 for key, some in questions.items()}  # fmt: skip
        _write(path / f"{stem}_test{ending}.json", content | {"classify_prompts": shown})
    for ending, part in {"": slice(half), "_10": slice(half, None)}.items():
        some = [one for own in questions.values() for one in own[part]]
        lines = [(_sent(q, 1), _replied(reply(text, active))) for q, text, _, active in some]
        if lines:
            _lines(path / f"{stem}_test_prompts{ending}.jsonl", [line[0] for line in lines])
            _lines(path / f"{stem}_test_prompts{ending}_results.jsonl", lines[::-1])


def planted_neurons(
    *, seed: int = 0, neurons: int = 6, texts: int = 24, layer: int = 9, n_heads: int = 12
) -> list[RecordNeuron]:
    """Neurons with three heads each: active on texts with a word, on the others, and by lot.

    On a tenth of the texts the first two are exchanged, and one text of each split is the same.
    """
    luck = random.Random(seed)
    words = ["market", "river", "garden", "winter", "letter", "doctor", "engine", "summer"]
    found = []
    for number in range(neurons):
        own = [layer * n_heads - 1 - number, 2 * n_heads + number, n_heads + number]
        of_split = {}
        for split in ("train", "test"):
            some = []
            for place in range(texts):
                cue = luck.random() < 0.5
                start = "not only" if cue else "said that"
                middle = f"{luck.choice(words)} {luck.choice(words)} {number}{split}{place}"
                text = f" {start} the {middle} as"
                if place == 3:
                    text = f" not only the old {words[number % len(words)]} as"
                    cue = True
                mine = own[0] if cue != (luck.random() < 0.1) else own[1]
                heads = (mine, own[2]) if luck.random() < 0.5 else (mine,)
                last = 10 + len(text.split())
                some.append(Text(text, heads, 10, last, 3.0 + luck.random(), 5.0))
            of_split[split] = tuple(some)
        token = f" {words[number % len(words)]}"
        found.append(RecordNeuron(layer + number % 2, 5 + number, token, 9.5 - number, **of_split))
    return found


def _heads_of(one: RecordNeuron) -> list[int]:
    return sorted({head for text in one.train for head in text.heads})


def _pair(one: RecordNeuron, head: int) -> str:
    return f"({one.layer}, {one.index}, {head})"


def _kinds(one: RecordNeuron, head: int) -> list[list[str]]:
    shown = [(text.text + one.token, head in text.heads) for text in one.train]
    return [[text for text, active in shown if active == kind] for kind in (True, False)]


def _request(one: RecordNeuron, head: int) -> str:
    active, inactive = ("\n".join(f"* {text}" for text in some) for some in _kinds(one, head))
    return f"Explain when a head is active.\nActive:\n{active}\nInactive:\n{inactive}"


def _question(explanation: str, shown: str) -> str:
    return f"Is this an active example? (Yes/No)\nIt {explanation}.\nExample:\n{shown}\nAnswer: "


def _span(text: Text) -> dict[str, Any]:
    return {"og_act": text.whole, "token_pos": text.last, "dataset_index": 0,
            "start_pos": text.start, "trunc_act": text.activation}  # fmt: skip


def _sent(text: str, most: int) -> dict[str, Any]:
    return {"model": "gpt-4", "messages": [{"role": "user", "content": text}], "max_tokens": most}


def _replied(text: str) -> dict[str, Any]:
    return {"choices": [{"index": 0, "message": {"role": "assistant", "content": text}}]}


def _write(path: Path, content: Any) -> None:
    _lines(path, [content])


def _lines(path: Path, lines: Sequence[Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), "utf-8")
