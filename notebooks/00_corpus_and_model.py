# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# (corpus)=
# # Where do the texts and the model come from?
#
# A {term}`context look-up` is found by letting a model read, so what it read while it was trained,
# and what it reads here, decides what can be found. We look at the {term}`corpus` and what was left
# out of it, at the {term}`tokenizer`, at how the model was trained, and at what it can and cannot
# do on texts that it has not seen.
#
# | needs | leaves |
# | --- | --- |
# | the run's texts and model | nothing: the chapters after this one read texts and model themselves |

# %% tags=["parameters"]
# Everything else stands in the run's file.
run: str = "embedded"  # a run's id, or a path to its .yml

# %% tags=["hide-input"]
import json
import math
import re
from collections import Counter
from itertools import pairwise

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from IPython.display import Markdown
from myst_nb import glue

from lookups import prose
from lookups.corpus import EXPECTED_DIGEST, load_prose, other_versions
from lookups.documents import run_documents
from lookups.figures import COLOURS, house_style
from lookups.layout import blocks
from lookups.model import load_model
from lookups.passages import encoded
from lookups.paths import EMBEDDED
from lookups.planted import GRAMMAR, labelled_documents
from lookups.runs import check_run, read_run
from lookups.sequences import batches_by_length
from lookups.sources import PACKAGES, source_files, written_in

settings = read_run(run)
model = load_model(settings.model)
check_run(settings, model)
house_style()
pd.set_option("display.max_colwidth", None)
texts = {split: run_documents(settings, model, split) for split in ("train", "test")}
texts = {split: documents for split, documents in texts.items() if documents is not None}
kind = "own prompts" if settings.prompts is not None else settings.corpus.name
harvested, planted = kind == "prose", kind == "planted"

# %% [markdown]
# The texts of this run are of one of four origins, and the model of one of three:

# %%
origins = {
    "prose": f"English prose harvested from {len(PACKAGES)} pinned Python packages",
    "planted": "a made-up language in which it is known what calls for which word",
    "own prompts": "prompts of your own, one a line, read as the train split",
}
place = settings.model.local
source = "from a folder on this machine" if place else f"from the hub, revision {model.revision}"
if place and place.parent == EMBEDDED:
    source = "shipped with this project"
control = "" if settings.model.permute_seed is None else " Its weights are permuted: a control."
Markdown(
    f"Run `{settings.id}`, {settings.title}. *Texts*: {origins.get(kind, 'texts from elsewhere')}. "
    f"*Model*: `{settings.model.name.rsplit('/', 1)[-1]}`, {source}.{control}"
)

# %%
pd.Series(
    {
        "layers": model.n_layers,
        "heads a layer": model.n_heads,
        "neurons a layer": model.d_mlp,
        "width of the residual stream": model.d_model,
        "tokens in the vocabulary": model.d_vocab,
        "longest text, BOS included": model.context,
        "attention and MLP read": "the same input" if model.parallel else "one after the other",
        "MLP": "gated" if model.gated else "ordinary",
    },
    name="this model",
).to_frame()

# %% [markdown]
# ## One document by hand
#
# A {term}`document` is a piece of text as {term}`token` ids, with a {term}`prompt key` and the file
# it comes from. The first of the train split:

# %%
document = texts["train"][0]
pd.DataFrame(
    {
        "key": [document.key],
        "source": [f"{document.source}, line {document.line}"],
        "tokens": [len(document.ids)],
        "begins": [model.decode(document.ids[:24])],
    }
)

# %% [markdown]
# Its ids hold no {term}`BOS`. Wherever a model reads, exactly one is put in front, in one place:

# %%
read = model.batch([document.ids]).ids[0].tolist()
assert read == [model.bos_id, *document.ids.tolist()]
[model.vocabulary[token] for token in read[:10]]

# %% [markdown]
# ## All documents
#
# Documents longer than the run's length, or than the model reads, are cut to it and counted. Prose
# is not cut: its paragraphs are packed into documents up to that length, and one paragraph that is
# longer goes on in the next document. A file is wholly in one {term}`split`.


# %%
def extent(documents) -> dict:
    return {
        "documents": len(documents),
        "files": len({one.source for one in documents}),
        "tokens": int(documents.lengths.sum()),
        "median length": int(np.median(documents.lengths)),
        "longest": documents.length,
        "cut": documents.n_cut,
    }


files = {split: {one.source for one in documents} for split, documents in texts.items()}
shared = len(set.intersection(*files.values())) if len(files) > 1 else 0
pd.DataFrame({split: extent(documents) for split, documents in texts.items()}).T

# %%
reported = list(texts)[-1]
alone = "There is no test split: what follows is measured on the texts that choices are made on."
Markdown(alone if len(texts) == 1 else f"The two splits share {shared} files.")

# %% [markdown]
# ## What was kept, and what was dropped
#
# The prose corpus is what people wrote in documentation strings and comments. It is harvested from
# the packages that are installed here, so other versions of them give another corpus. Its digest
# says whether it is the one that the committed notebooks were made from:

# %%
if harvested:
    corpus = load_prose(data=settings.corpus.folder)
    expected = corpus.digest == EXPECTED_DIGEST
    others = ", ".join(f"{name} {v}" for name, v in other_versions().items())
    said = "the expected one." if expected else "NOT the expected one: expect other numbers below."
    said += f" Other versions than the pinned ones: {others}." if others else ""
    glue("corpus-digest", corpus.digest[:12], display=False)
    said = f"Digest `{corpus.digest[:12]}…`, {said}"
else:
    said = "This run does not read the prose corpus, so there is nothing harvested to report."
Markdown(said)

# %% [markdown]
# A paragraph is kept when it reads like English. The rules stand in {mod}`lookups.prose`; here they
# judge the first documentation string or comment of a document that gave some paragraphs and lost
# others:


# %%
def passage_of(document) -> str:
    """The whole text in the file, of which the document's first paragraph is a part."""
    package = corpus.report["packages"]
    name = next(n for n in package if document.source in known.groups.get(n, ()))
    path = next(f.path for f in source_files({name: PACKAGES[name]}) if f.name == document.source)
    found = written_in(path.read_text("utf-8"))
    return next(passage.text for passage in found if passage.line == document.line)


def verdict(block: str) -> str:
    paragraph = prose.plain(block)
    return prose.fault(paragraph, prose.words(paragraph)) or "kept"


# %%
def judged(document) -> pd.DataFrame:
    rows = [
        (verdict(block), " ".join(block.split())[:70]) for block in blocks(passage_of(document))
    ]
    return pd.DataFrame(
        rows, columns=["verdict", f"in {document.source}, from line {document.line}"]
    )


if harvested:
    known = corpus.train[["package", "file"]].drop_duplicates().set_index("file").groupby("package")
    found = (judged(texts["train"][number]) for number in range(60))
    shown = next((t for t in found if {"kept", "code or symbols"} <= set(t.verdict)), None)
else:
    shown = None
shown.head(10) if shown is not None else None

# %% [markdown]
# Over all packages, by reason (a paragraph is counted under the first reason that applies). *Copies*
# are paragraphs of whose runs of five words at most half are new:

# %% tags=["hide-input"]
reasons = {
    "short": "fewer than 5 words, or 7 without a full stop",
    "not a sentence": "too few of the little words of English",
    "code or symbols": "too many words that are not words",
    "copy": "no run of five words is new",
    "near-copy": "at most half of the runs are new",
    "cut off": "no beginning or no end, or brackets that do not close",
    "address or citation": "web addresses, references",
    "legal or generated": "licences, notices, generated text",
    "names": "lists of names, shouting",
    "foreign letters": "letters beyond ASCII",
    "long": f"more than {prose.MAX_CHARACTERS} characters",
    "unreadable file": "a whole file that is no UTF-8",
}

# %%
if harvested:
    report = pd.DataFrame.from_dict(corpus.report["packages"], orient="index")
    dropped = pd.DataFrame(report.dropped.tolist(), index=report.index).fillna(0).astype(int)
    raw, kept = int(report.paragraphs.sum()), int(report.kept.sum())
    assert kept + int(dropped.to_numpy().sum()) == raw
    glue("paragraphs-kept", f"{kept:,}", display=False)
    counts = dropped.sum().sort_values(ascending=False)
    balance = pd.concat([pd.Series({"kept": kept}), counts]).rename("paragraphs").to_frame()
    balance["share"] = (balance.paragraphs / raw).map("{:.1%}".format)
    balance["why"] = [reasons.get(reason, "") for reason in balance.index]
balance if harvested else None

# %% [markdown]
# The packages that gave most ({numref}`fig-packages` shows their shares, the table counts):

# %% tags=["hide-input"] mystnb={"figure": {"caption": "What became of the paragraphs of the packages that gave most. Read a bar from the left: what was kept, what was there already, what was too short, and everything else.", "name": "fig-packages"}, "image": {"alt": "Bars of kept and dropped paragraphs for the largest packages, or an empty frame where nothing was harvested"}}
table = report.sort_values("kept", ascending=False) if harvested else pd.DataFrame()
largest = table.head(12).iloc[::-1]
figure, axis = plt.subplots(figsize=(7, 3.6 if harvested else 0.6))
if harvested:
    lost = dropped.loc[largest.index]
    copied = lost["copy"] + lost["near-copy"]
    stacked = {"kept": largest.kept, "copies": copied, "short": lost["short"]}
    stacked["other reasons"] = largest.paragraphs - sum(stacked.values())
    left = 0 * largest.kept
    for (name, amount), colour in zip(
        stacked.items(), ("blue", "sky", "grey", "amber"), strict=True
    ):
        share = amount / largest.paragraphs
        axis.barh(largest.index, share, left=left, color=COLOURS[colour], label=name)
        left = left + share
    axis.set(xlabel="share of the package's paragraphs", xlim=(0, 1))
    axis.legend(ncols=4, loc="upper left", bbox_to_anchor=(0, 1.12))
else:
    axis.text(0.5, 0.5, "nothing was harvested for this run", ha="center", va="center")
    axis.set_axis_off()
plt.show()
columns = ["version", "files", "paragraphs", "kept", "characters"]
shown = pd.DataFrame({"packages": [0]})
if harvested:
    shown = largest.iloc[::-1][columns]
    shown.loc[f"{len(table) - 12} others"] = ["", *table.iloc[12:][columns[1:]].sum()]
shown

# %% [markdown]
# A few of the kept paragraphs, drawn by lot, and how the files fall into the splits:

# %%
if harvested:
    fits = corpus.train[corpus.train.text.str.len().between(50, 110)]
    samples = fits.sample(6, random_state=settings.seed).sort_values("number")[["file", "text"]]
    counts = {
        split: (rows.file.nunique(), len(rows), int(rows.text.str.len().sum()))
        for split, rows in {"train": corpus.train, "test": corpus.test}.items()
    }
    sides = ", ".join(
        f"{s}: {f:,} files, {p:,} paragraphs, {c:,} characters" for s, (f, p, c) in counts.items()
    )
Markdown(f"{sides}.") if harvested else None

# %%
samples.reset_index(drop=True) if harvested else None

# %% [markdown]
# ## A language made for the purpose
#
# The planted language is known from beginning to end. A document opens with a title; most sentences
# end in a *slot*, a marker followed by one of eight words. Which word is called for depends on a
# context of one of three kinds: the word just before the marker, else a topic earlier in the
# sentence, else the title. In a run on this language, some slots:


# %%
def slot_rows(kind: str, n: int) -> list[tuple[str, str, str, str, int]]:
    found = [
        (kind, GRAMMAR.words[one.ids[slot.cue]], GRAMMAR.text(one.ids[: slot.position + 1])[-70:],
         GRAMMAR.words[slot.target], slot.distance)
        for one in labelled_documents("train", 20) for slot in one.slots if slot.kind == kind
    ]  # fmt: skip
    return found[:n]


names = ["kind", "cue", "text up to the marker", "next", "tokens between cue and marker"]
slots = pd.DataFrame(
    [row for k in ("filler", "topic", "title") for row in slot_rows(k, 2)], columns=names
)
slots if planted else Markdown("This run reads another language.")

# %% [markdown]
# The marker permutes the eight words, so that no cue points straight at one: cue and marker have to
# be combined, and that is left to the neurons.

# %%
called = pd.DataFrame(
    {
        "title": GRAMMAR.titles,
        "topics": [" or".join(pair) for pair in GRAMMAR.topics],
        "word before": GRAMMAR.overriding,
    }
    | {
        f"then{marker}": [GRAMMAR.words[GRAMMAR.called_for(meant, place)] for meant in range(8)]
        for place, marker in enumerate(GRAMMAR.markers)
    }
)
called if planted else None

# %% [markdown]
# ## How words become tokens
#
# Frequent words are one token, with the space before them; rare words are put together from pieces
# ({term}`byte-pair encoding`). The words of the first 200 train documents, by the number of pieces
# they are split into, each with its most frequent examples:

# %%
first = [texts["train"].text(number) for number in range(min(200, len(texts["train"])))]
words = Counter(word for text in first for word in re.findall(r" [A-Za-z]+", text))
pieces = pd.DataFrame({"word": list(words), "times": list(words.values())})
pieces["pieces"] = [len(ids) for ids in encoded(model.tokenizer, list(words))]
pieces = pieces.sort_values(["times", "word"], ascending=[False, True], kind="stable")
pieces["pieces"] = pieces.pieces.clip(upper=5).map(lambda n: "5 or more" if n == 5 else str(n))
running = pieces.groupby("pieces").times.sum() / max(1, pieces.times.sum())
by_pieces = pieces.groupby("pieces").word.agg(["size", lambda some: " ·".join(some.head(5))])
by_pieces.columns = ["different words", "examples"]
by_pieces.assign(**{"share of the running text": running.map("{:.1%}".format)})

# %% [markdown]
# A token that training hardly ever showed keeps weights that training never shaped: a
# {term}`glitch token` {cite}`land2024`. Counted over the training texts of the model where it came with counts (a
# file `token_counts.json`), else over this run's own train texts, which says less:

# %%
seen = np.bincount(np.concatenate([one.ids for one in texts["train"]]), minlength=model.d_vocab)
counted = model.token_counts is not None
counts = model.token_counts.numpy() if counted else seen
edges = sorted({0, 1, 10, 100, max(settings.minimum_count, 1)})
frame = pd.DataFrame({"times": counts, "token": [repr(t) for t in model.vocabulary]})
frame["length"] = model.w_u.norm(dim=0).numpy(force=True)
frame = frame.drop(index=model.bos_id)
frame["occurs"] = pd.cut(frame.times, [*edges, np.inf], right=False, labels=[
    *("never" if low == 0 else f"{low} to {high - 1}" if high - 1 > low else str(low)
      for low, high in pairwise(edges)), f"{edges[-1]} or more"])  # fmt: skip
rare = frame.groupby("occurs", observed=False)
by_count = pd.DataFrame(
    {"tokens": rare.size(), "median length of unembedding": rare.length.median().round(2)}
)
by_count.assign(
    examples=rare.token.agg(lambda some: "  ".join(some.iloc[:: max(1, len(some) // 5)][:5]))
)

# %%
few = int((frame.times < settings.minimum_count).sum())
Markdown(
    f"{few} of {len(frame)} tokens occur fewer than {settings.minimum_count} times in training and "
    "cannot be a neuron's token under `protocol: sound`."
    if counted
    else "This model came without counts, so no token is kept from being a neuron's token; of its "
    f"{len(frame)} tokens {int((frame.times == 0).sum())} never occur in this run's train texts."
)

# %% [markdown]
# ## How the model was trained
#
# A low {term}`loss` does not yet mean that neurons stand for words. So while a model of this
# project trains, its neurons are watched: how many are followed by their token in at least a
# quarter of their strongest held-out positions, and at least five times as often as by chance, and
# for how many different tokens ({mod}`lookups.following`).

# %%
record = {}
if settings.model.local is not None and (settings.model.local / "training.json").is_file():
    record = json.loads((settings.model.local / "training.json").read_text("utf-8"))
curve = pd.DataFrame(record.get("curve", []))
recorded = {"tokens", "train_loss", "val_loss", "followed", "distinct_tokens"} <= set(curve)
if recorded:
    said = f"Trained on {record['tokens']:,} tokens in {record['recipe']['steps']:,} steps."
    trained_on = record["data"].get("corpus", "")
    if harvested and trained_on == corpus.digest:
        said += " Its texts were the train split of this corpus."
    elif harvested and trained_on:
        said += (
            f" Its texts were the train split of another harvest (digest `{trained_on[:12]}…`). The "
            "split of a file hangs on its name alone: what is held out here was held out there."
        )
    if settings.model.permute_seed is not None:
        said += " The curve is that of the model before its weights were permuted."
else:
    said = "No record of its training (`training.json`) came with this model: no curve is shown."
Markdown(said)

# %% [markdown]
# In {numref}`fig-curve`, look whether the right-hand lines still rise when the loss has flattened:

# %% tags=["hide-input"] mystnb={"figure": {"caption": "Training, where it was recorded. Left: loss on held-out texts. Right: neurons that their token follows, by layer (lines), and for how many different tokens (dotted). The lines on the right need not follow the loss on the left.", "name": "fig-curve"}, "image": {"alt": "Loss and number of followed neurons by layer over training, or an empty frame where no record exists"}}
figure, axes = plt.subplots(1, 2, figsize=(7, 3.0 if recorded else 0.6))
if recorded:
    million = curve.tokens / 1e6
    axes[0].plot(million, curve.val_loss, "-o", color=COLOURS["blue"], label="held-out")
    axes[0].plot(million, curve.train_loss.astype(float), "-", color=COLOURS["grey"], label="train")
    axes[0].set(xlabel="million tokens", ylabel="nats a token")
    axes[0].legend()
    hues = [COLOURS[name] for name in ("amber", "blue", "orange", "green", "purple", "sky")]
    for layer in range(model.n_layers):
        hue = hues[layer % len(hues)]
        axes[1].plot(million, curve.followed.str[layer], "-o", color=hue, label=f"layer {layer}")
        axes[1].plot(million, curve.distinct_tokens.str[layer], ":", color=hue)
    axes[1].set(xlabel="million tokens", ylabel="neurons (dotted: tokens)")
    axes[1].legend()
else:
    for axis in axes:
        axis.set_axis_off()
    axes[0].text(0, 0.5, "no record of the training came with this model", va="center")
plt.show()
points = sorted(set(np.linspace(0, len(curve) - 1, 8).round().astype(int))) if recorded else []
if "accuracy" in curve:
    curve = curve.join(pd.json_normalize(curve.accuracy).add_prefix("right at a slot by "))
extra = [name for name in curve if name == "bits_per_byte" or name.startswith("right at")]
shown = curve.iloc[points] if recorded else pd.DataFrame({"points of the curve": [0]})
columns = ["tokens", "train_loss", "val_loss", *extra, "followed", "distinct_tokens"]
shown[columns].round(3) if recorded else shown

# %% [markdown]
# ## What it can do
#
# The surprise at every true next token of texts that the model was not trained on, as far as this
# run's splits tell: for a model from elsewhere we cannot know what it has read.


# %%
def surprises(documents: list) -> list[np.ndarray]:
    """Minus the log-probability of every token of every text, in nats."""
    found: list = [None] * len(documents)
    for some in batches_by_length([len(ids) for ids in documents], tokens=2048):
        batch = model.batch([documents[i] for i in some])
        odds = model.logits(batch)[:, :-1].float().log_softmax(-1)
        true = odds.gather(2, batch.ids[:, 1:, None])[..., 0].neg().numpy(force=True)
        for row, i in enumerate(some):
            found[i] = true[row, : len(documents[i])]
    return found


# %% [markdown]
# Beside it two models that need no network: one that gives every token the same chance, and one that
# knows how often each token occurs in the train texts but reads no context. Measured on the first
# {glue:text}`measured-documents` documents of the last split:

# %%
held = [texts[reported][number].ids for number in range(min(160, len(texts[reported])))]
glue("measured-documents", len(held), display=False)
nats = surprises(held)
flat, flat_ids = np.concatenate(nats), np.concatenate(held)
size = sum(len(model.decode(ids).encode()) for ids in held)
frequency = (seen + 1) / (seen.sum() + model.d_vocab)
losses = {
    "every token alike": math.log(model.d_vocab) * np.ones(len(flat)),
    "frequencies only": -np.log(frequency[flat_ids]),
    "this model": flat,
}
loss = pd.DataFrame({"nats a token": {name: values.mean() for name, values in losses.items()}})
loss["bits a byte"] = [v.sum() / math.log(2) / size for v in losses.values()]
glue("held-out-nats", f"{flat.mean():.2f}", display=False)
glue("bits-per-byte", f"{loss.loc['this model', 'bits a byte']:.2f}", display=False)
loss.round(2)

# %% [markdown]
# Does it use its context? If so, it is surprised less the more of the text it has read:

# %%
place = np.concatenate([np.arange(len(ids)) for ids in held])
bands = pd.cut(place, [0, 1, 4, 16, 64, np.inf], right=False,
               labels=["first token", "2nd to 4th", "5th to 16th", "17th to 64th", "beyond"])  # fmt: skip
by_place = pd.Series(flat).groupby(bands, observed=True)
pd.DataFrame({"tokens": by_place.size(), "nats a token": by_place.mean().round(2)})

# %% [markdown]
# A context that calls for a word, and the five words that the model expects most. For a tokenizer
# that knows English, phrases of ours, the last two of which ask for knowledge and not for habits of speech;
# else places in documents, with the token that followed there:

# %%
phrases = ["The method is not only fast but", "Return a", "If they", "It can be used to"]
phrases += ["Raises an error if the", "The capital of France is", "Two plus two is"]
english = all(model.decode(ids) == text for ids, text in zip(encoded(model.tokenizer, phrases), phrases, strict=True))  # fmt: skip
contexts = [(ids, "") for ids in encoded(model.tokenizer, phrases)] if english else []
if not english and planted:
    some = [(one.ids, slot) for one in labelled_documents("test", 4) for slot in one.slots][:6]
    contexts = [(ids[: slot.position + 1], GRAMMAR.words[slot.target]) for ids, slot in some]
elif not english:
    halves = [(ids, len(ids) // 2) for ids in held[:6] if len(ids) > 1]
    contexts = [(ids[:half], model.vocabulary[ids[half]]) for ids, half in halves]


# %%
def expected_next(ids) -> str:
    odds = model.logits(model.batch([ids]))[0, -1].float().softmax(-1)
    top = odds.topk(5)
    pairs = zip(top.indices.tolist(), top.values.tolist(), strict=True)
    shown = [(model.vocabulary[token], chance) for token, chance in pairs if chance >= 0.005]
    return " · ".join(f"{text} {chance:.2f}" for text, chance in shown)


pd.DataFrame(
    [(model.decode(ids)[-60:], expected_next(ids), followed) for ids, followed in contexts],
    columns=["context", "expected next, with probability (from .005 up)", "followed by"],
)

# %% [markdown]
# Always taking the likeliest token, from the first of these contexts:

# %%
line = list(contexts[0][0]) if contexts else [*held[0][:4]]
for _ in range(min(24, model.context - 1 - len(line))):
    line.append(int(model.logits(model.batch([line]))[0, -1].argmax()))
model.decode(line)

# %% [markdown]
# ## What it cannot do
#
# A look-up needs a head that finds something earlier in the text. The plainest kind is copying: in a
# row of tokens drawn by lot, then repeated, a model that can look back is hardly surprised the second
# time.

# %%
usual = [t for t in np.flatnonzero(seen) if len(model.vocabulary[t]) > 2 and t != model.bos_id]
draw = np.random.default_rng(settings.seed)
n = min(20, (model.context - 1) // 2)
rows = [np.tile(draw.choice(usual, n), 2) for _ in range(32)]
both = np.stack(surprises(rows))
first_time, second_time = both[:, :n].mean(), both[:, n + 1 :].mean()
pd.DataFrame({"nats a token": {"first time": first_time, "second time": second_time}}).round(1)

# %%
saved = 1 - second_time / first_time
if saved > 0.5:
    copies = "In such rows it copies: the second time it is far less surprised."
elif saved > 0.1:
    copies = "In such rows it copies a little: the second time it is somewhat less surprised."
else:
    copies = "In such rows it does not copy: do not expect heads that do nothing else."
Markdown(copies)

# %% [markdown]
# ## Check
#
# No split holds a BOS or an id beyond the vocabulary, no file is in both, and keys find their
# documents again. Nothing is saved: texts and model are read anew by every chapter.

# %%
for documents in texts.values():
    ids = np.concatenate([one.ids for one in documents])
    assert model.bos_id not in ids
    assert ids.max() < model.d_vocab
    last = documents[len(documents) - 1]
    assert documents.by_key(last.key).source == last.source
    assert documents.length + 1 <= model.context
assert shared == 0
assert not harvested or counts.sum() > 0

# %% [markdown]
# ## What we know

# %%
unigram, own = losses["frequencies only"].mean(), flat.mean()
better = unigram - own
known_by = (
    f"makes use of what it reads: it is {better:.2f} nats a token less surprised than frequencies "
    if better > 0.1
    else "makes no use of what it reads: it is hardly less surprised, or even more, than frequencies "
)
Markdown(
    f"On {len(flat):,} tokens of `{reported}` this model {known_by}alone would be ({own:.2f} against {unigram:.2f}). "
    f"{copies}"
)

# %% [markdown]
# Its texts are of few kinds and so are its skills; what is found in it holds for such texts. Not
# known yet: whether any single neuron stands for a word, and would do so beyond what chance gives.
# That can be read off the weights: {ref}`next-token-neurons`.
#
# ```{admonition} Try it
# :class: tip
# Name a text file of your own as `corpus: name:` in a copy of the run file. How much more surprised
# is the model by your texts, in bits a byte, than by those above?
# ```
