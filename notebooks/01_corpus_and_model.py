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
# A {term}`context look-up` is found by letting a model read. What can be found therefore depends on
# what the model has learned and on what it is given to read. This chapter introduces both, says what
# was left out and why, and then asks the two things of the model that a look-up needs: does it use
# what stands earlier in a text, and can it copy from there?
#
# | needs | leaves |
# | --- | --- |
# | the run's texts and model | nothing: the other chapters read texts and model themselves |

# %% tags=["parameters"]
# Everything else stands in the run's file.
run: str = "smollm2"  # a run's id, or a path to its .yml

# %% tags=["hide-input"]
import dataclasses
import math
from itertools import pairwise

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from IPython.display import Markdown
from myst_nb import glue

from lookups.corpus.documents import run_documents
from lookups.show.figures import COLOURS, house_style
from lookups.model.files import place_of
from lookups.model.gguf_files import about, folder_of
from lookups.model.loaded import Model, load_model
from lookups.paths import EMBEDDED
from lookups.settings import check_run, read_run
from lookups.model.batches import batches_by_length
from lookups.show.views import escaped
from lookups.statistics.bootstrap import percent
from lookups.corpus.wikipedia import article_of, articles_used, cleaning_report, load_wikipedia

settings = read_run(run)
model = load_model(settings.model)
check_run(settings, model)
house_style()
pd.set_option("display.max_colwidth", None)
texts = {split: run_documents(settings, model, split) for split in ("train", "test")}
texts = {split: documents for split, documents in texts.items() if documents is not None}
corpora = [settings.corpus.name, settings.corpus.held_out] if settings.prompts is None else []
wikipedia = load_wikipedia(settings.folder("data")) if "wikipedia" in corpora else None
file = place_of(settings.model)  # of a packaged model, a GGUF file
stored = about(folder_of(file, settings.folder("models"))) if file and file.is_file() else None

# %% [markdown]
# ## The model

# %% tags=["hide-input"]
name = settings.model.name.rsplit("/", 1)[-1]
place = f"It comes from the hub, revision `{model.revision}`."
if stored:
    place = f"Its weights come as one GGUF file, `{stored['file']}`."
elif file:
    place = "It ships with this project." if file.parent == EMBEDDED else "It lies on this machine."
control = "" if settings.model.permute_seed is None else " Its weights are permuted: a control."
Markdown(f"This is run `{settings.id}` ({settings.title}). Its model is `{name}`. {place}{control}")

# %% [markdown] tags=["default-run"]
# SmolLM2-135M-Instruct is the smallest of the SmolLM2 models of Hugging Face {cite}`allal2025`. It was
# trained on web pages, textbooks written by other models, and code, and was then tuned to follow
# instructions in a chat. We use it as a plain language model: it reads prose out of an encyclopedia,
# nobody asks it anything, and we look at which token it expects next. It may well have read these
# articles, or later versions of them, when it was trained. How it is built, and how it is stored:

# %%
own_keys = getattr(model.bridge.cfg, "n_key_value_heads", None) or model.n_heads
card = {
    "layers": model.n_layers,
    "attention heads a layer": model.n_heads,
    "different keys and values a layer": own_keys,
    "neurons a layer": model.d_mlp,
    "a neuron's activation": "a gate times an input" if model.gated else "a function of one input",
    "attention and MLP of a layer read": "the same" if model.parallel else "one after the other",
    "width of the residual stream": model.d_model,
    "tokens in the vocabulary": model.d_vocab,
    "longest text, in tokens": model.context,
}

# %% tags=["hide-input"]
PARTS = {"attn_norm": "norms", "ffn_norm": "norms", "output_norm": "norms", "token_embd": "embedding",
         "attn": "attention", "ffn": "MLP", "output": "unembedding"}  # fmt: skip


def part_of(kind: str) -> str:
    """What a tensor of a GGUF file belongs to."""
    return next((part for start, part in PARTS.items() if kind.startswith(start)), kind)


def how_stored(rows: pd.DataFrame) -> str:
    """How many weights are stored in one way, in how many bits, and which."""
    bits = 8 * rows.bytes.sum() / rows["values"].sum()
    parts = ", ".join(dict.fromkeys(rows.kind.map(part_of)))
    return f"{rows['values'].sum() / 1e6:,.2f} million, {bits:.1f} bits each ({parts})"


if stored:
    tensors = pd.DataFrame(stored["tensors"])
    card["size of the file"] = f"{stored['bytes'] / 1e6:.0f} MB"
    card |= {
        f"weights stored as {kind}": how_stored(rows) for kind, rows in tensors.groupby("stored")
    }
    whole = tensors["values"].sum() * 4
    glue("file-share", percent(stored["bytes"] / whole), display=False)
pd.Series(card, name=name).to_frame()

# %% [markdown] tags=["default-run"]
# Fewer keys and values than heads means that heads share them in groups ({term}`grouped queries`);
# each head still has its own query and its own output, so heads are told apart throughout this book.
# The file takes {glue:text}`file-share` of the space that the same weights need in
# {term}`float32`.

# %% tags=["hide-input"]
quantised = stored is not None and settings.model.permute_seed is None
found = len(model.w_out(model.n_layers - 1)[:32, 0].unique()) if quantised else 0
Markdown(
    "What does that cost? The file keeps, for every 32 neighbouring weights of a matrix, a scale and one "
    "small whole number each, so few different values are left: what the first 32 neurons of the last "
    f"layer write to the first coordinate of the residual stream takes {found} different values. The "
    "values are read as they stand and computed with as ordinary numbers. Everything in this book is "
    "about the model in this form; nothing is claimed about the one that it was made from, in which a "
    "neuron or a head may act otherwise."
) if quantised else None  # fmt: skip

# %% [markdown]
# ## The texts

# %% tags=["hide-input"]
TOLD = {
    "wikipedia": "The texts are articles of the English Wikipedia as they stood in April 2016. "
    "Nearly all of their titles begin with A: they are the beginning of a dump of the encyclopedia, "
    "which the package `gensim` carries among its test data. Only running "
    "text is kept. References, tables, lists, formulas and headings are taken out, and so is every "
    "paragraph in which a sentence has lost something with them:",
    "planted": "The texts are in a made-up language in which it is known what calls for which word. "
    "The chapter on ground truth describes it.",
}  # fmt: skip
kind = "prompts" if settings.prompts is not None else settings.corpus.name
others = "The texts are prompts of your own, one a line." if kind == "prompts" else (
    f"The texts are those of `{kind.rsplit('/', 1)[-1]}`."
)  # fmt: skip
Markdown(TOLD.get(kind, others))

# %% tags=["hide-input"]
cleaning_report(wikipedia).set_index(["of", "what"]) if wikipedia else None

# %% tags=["hide-input"]
longest = min(settings.corpus.length, model.context - 1)
CUTS = {
    "passages": f"A text of more than {longest} tokens is divided into passages: whole sentences, as many "
    "as fit. From here on a passage is one document. Where there are more than the run reads, those "
    "that are read are a random sample.",
    "first": f"Of a text that is longer than {longest} tokens, only the first {longest} are read.",
}  # fmt: skip
Markdown(CUTS[settings.corpus.cut]) if corpora and kind != "planted" else None

# %% [markdown]
# A {term}`document` is a piece of text as {term}`token` ids, with a {term}`prompt key` and the name
# of what it was cut from. Everything is chosen on the train {term}`split` and reported on the test
# split, and no text is in both: the splits differ in their files or, for Wikipedia, in their
# articles.


# %%
def extent(documents) -> dict:
    return {
        "files or articles": len({article_of(one.source) for one in documents}),
        "texts": documents.n_texts,
        "longer than a document": documents.n_cut,
        "documents they give": documents.n_passages,
        "documents read": len(documents),
        "tokens in these": int(documents.lengths.sum()),
        "tokens in no document": documents.n_lost,
    }


pd.DataFrame({split: extent(documents) for split, documents in texts.items()}).T

# %% tags=["hide-input"]
origins = {split: {article_of(one.source) for one in documents} for split, documents in texts.items()}  # fmt: skip
shared = set.intersection(*origins.values()) if len(origins) > 1 else set()
missing = sum(documents.n_missing for documents in texts.values())
doubled = sum(documents.n_shared for documents in texts.values())
beside = [
    "There is no test split: what follows is measured on the texts that choices are made on."
    if len(texts) == 1 else "",
    f"{missing} rows without a text in the field `{settings.corpus.field}` were passed over." if missing else "",
    f"{doubled} texts of the test split stand in the train split as well and were left out." if doubled else "",
]  # fmt: skip
Markdown(" ".join(filter(None, beside))) if any(beside) else None

# %% tags=["hide-cell"] mystnb={"code_prompt_show": "Show the articles, and their licence"}
TERMS = (
    "The text of these articles is by their authors, who are listed in each article's history, and is "
    "available under the [Creative Commons Attribution-ShareAlike licence]"
    "(https://creativecommons.org/licenses/by-sa/3.0/). So is every prompt that this book quotes from "
    "them; each names its article and revision."
)
LINE = "| {split} | {article} | {page} | [{revision}]({address}) |"
if wikipedia:
    tables = [articles_used(origins[split], wikipedia).assign(split=split) for split in texts]
    used = pd.concat(tables).astype({"article": "string"})
    used["article"] = used.article.map(escaped)
    lines = [LINE.format(**row) for row in used.to_dict("records")]
    listed = "\n".join(
        ["| split | article | page | revision |", "| --- | --- | --- | --- |", *lines]
    )
Markdown(f"{TERMS}\n\n{listed}") if wikipedia else None

# %% [markdown]
# ## One document by hand
#
# This is the first document of the train split, with the place it comes from, and its first tokens
# as the model reads them. A frequent word is one token, with the space before it; a rare one is put
# together from pieces ({term}`byte-pair encoding`).

# %% tags=["hide-input"]
document = texts["train"][0]
Markdown(
    f"`{document.key}`, from {escaped(document.source)}, {len(document.ids)} tokens:\n\n"
    f"> {escaped(model.decode(document.ids))}"
)

# %%
read = model.batch([document.ids]).ids[0].tolist()
assert read == [model.bos_id, *document.ids.tolist()]
[model.vocabulary[token] for token in read[:12]]

# %% [markdown]
# The document's own ids hold no {term}`BOS`. Wherever a model reads, exactly one is put in front,
# in one place for all chapters ({meth}`~lookups.model.loaded.Model.batch`). It never counts as a
# position of the text.
#
# ## How well does the model read?
#
# The measure is its surprise at every true next token: minus the logarithm of the probability that the
# token was given, in {term}`nats <nat>`. Its mean is the {term}`loss`.


# %%
def surprises(model: Model, documents: list) -> list[np.ndarray]:
    found: list = [None] * len(documents)
    for some in batches_by_length([len(ids) for ids in documents], tokens=2048):
        batch = model.batch([documents[i] for i in some])
        odds = model.logits(batch)[:, :-1].float().log_softmax(-1)
        true = odds.gather(2, batch.ids[:, 1:, None])[..., 0].neg().numpy(force=True)
        for row, i in enumerate(some):
            found[i] = true[row, : len(documents[i])]
    return found


# %% tags=["hide-input"]
def sampled(documents, most: int) -> list[np.ndarray]:
    """Documents at equal distances over a split."""
    places = np.linspace(0, len(documents) - 1, min(most, len(documents))).astype(int)
    return [documents[int(place)].ids for place in places]


reported = list(texts)[-1]
held = sampled(texts[reported], 40)
nats = surprises(model, held)
flat, flat_ids = np.concatenate(nats), np.concatenate(held)
size = sum(len(model.decode(ids).encode()) for ids in held)
seen = np.bincount(np.concatenate([one.ids for one in texts["train"]]), minlength=model.d_vocab)
frequency = (seen + 1) / (seen.sum() + model.d_vocab)
unigram = float(-np.log(frequency[flat_ids]).mean())
glue("measured-documents", len(held), display=False)
glue("measured-split", reported, display=False)
glue("held-out-nats", f"{flat.mean():.2f}", display=False)
glue("bits-per-byte", f"{flat.sum() / math.log(2) / size:.2f}", display=False)
glue("unigram-nats", f"{unigram:.2f}", display=False)
glue("uniform-nats", f"{math.log(model.d_vocab):.2f}", display=False)

# %% [markdown]
# On {glue:text}`measured-documents` documents from all over the {glue:text}`measured-split` split, the loss is
# {glue:text}`held-out-nats` nats a token, or {glue:text}`bits-per-byte` {term}`bits per byte`, which is the
# number to compare with that of models with other tokenizers. A model that gives every token the same chance would
# have a loss of {glue:text}`uniform-nats` nats a token; one that knows how often each token occurs in the train texts,
# but reads no context, {glue:text}`unigram-nats`. {numref}`fig-position` shows where the difference comes from.

# %% tags=["hide-input"] mystnb={"figure": {"caption": "The more of a text the model has read, the better it expects what comes next: its mean surprise at a token (dots), by the place of the token in the document. The dashed line is the loss of a model that knows the frequencies of tokens and reads no context; a model that makes use of what it reads falls below it, and the further the line falls, the more it makes of it.", "name": "fig-position"}, "image": {"alt": "Mean surprise at a token by its place in the document, falling, and a dashed line for frequencies alone"}}
edges = [0, *(2**n for n in range(15))]
names = [f"{low + 1}" if high - low == 1 else f"{low + 1}–{high}" for low, high in pairwise(edges)]
spot = np.concatenate([np.arange(len(ids)) for ids in held])
bands = pd.cut(spot, edges, right=False, labels=names)
by_place = pd.Series(flat).groupby(bands, observed=True).agg(["size", "mean"])
figure, axis = plt.subplots(figsize=(6, 3))
axis.plot(range(len(by_place)), by_place["mean"], "-o", color=COLOURS["blue"], label="this model")
axis.axhline(unigram, color="black", linestyle="--", linewidth=0.8, label="frequencies only")
axis.set_xticks(range(len(by_place)), by_place.index)
axis.set(xlabel="place of the token in its document", ylabel="mean surprise (nats)", ylim=(0, None))
axis.legend()
plt.show()
by_place.set_axis(["tokens", "nats a token"], axis=1).round(2)

# %% tags=["hide-input"]
OTHER = "<|endoftext|>"
other_id = model.tokenizer.convert_tokens_to_ids(OTHER)
swapped = other_id is not None and OTHER in model.tokenizer.all_special_tokens and other_id != model.bos_id  # fmt: skip


def at_last(model: Model, documents: list) -> dict[str, np.ndarray]:
    """At the last token: outputs of all heads, activations of the run's neurons, by layer."""
    batch = model.batch(documents)
    row, found = torch.arange(len(documents), device=model.device), {"heads": [], "neurons": []}
    places = {"heads": range(model.n_layers), "neurons": settings.layers}
    kinds = {"heads": "attn.hook_z", "neurons": "mlp.hook_post"}
    hooks = {
        f"blocks.{layer}.{kinds[kind]}": lambda x, kind=kind: found[kind].append(x[row, batch.last].flatten(1))
        for kind, layers in places.items() for layer in layers
    }  # fmt: skip
    model.read(batch, hooks)
    return {kind: torch.stack(some).float().numpy(force=True) for kind, some in found.items()}


FIRST = 10  # tokens


def losses(surprised: list) -> list[float]:
    """Mean loss over all tokens, over the first ten of each document, and over those after them."""
    cut = surprised, [one[:FIRST] for one in surprised], [one[FIRST:] for one in surprised]
    return [float(np.concatenate(part).mean()) if any(map(len, part)) else math.nan for part in cut]


# %% tags=["hide-input"]
if swapped:
    changed = dataclasses.replace(model, bos_id=other_id)
    loss = [losses(nats), losses(surprises(changed, held))]
    usual, other = at_last(model, held), at_last(changed, held)
    size = "hardly changes" if abs(loss[1][0] - loss[0][0]) < 0.02 else "rises" if loss[1][0] > loss[0][0] else "falls"  # fmt: skip
    moved = np.linalg.norm(other["heads"] - usual["heads"], axis=(1, 2)) / np.linalg.norm(usual["heads"], axis=(1, 2))  # fmt: skip
    thirds = [percent(part.mean() if len(part) else math.nan) for part in np.array_split(moved, 3)]
    alike = np.corrcoef(usual["neurons"].ravel(), other["neurons"].ravel())[0, 1]
    strongest = np.abs(usual["neurons"]).argmax(-1)[..., None]
    top = [np.take_along_axis(one["neurons"], strongest, -1) for one in (usual, other)]
    top_moved = np.median(np.abs(top[1] / top[0] - 1))
    bos = model.vocabulary[model.bos_id]
    begins = f"The BOS of this model, `{bos}`, in a chat marks the beginning of somebody's turn."
    opening = begins if "im_start" in bos else f"The BOS of this model is `{bos}`."
    after_them = (
        f", and over the others from {loss[0][2]:.2f} to {loss[1][2]:.2f}"
        if math.isfinite(loss[0][2])
        else ""
    )
Markdown(
    f"**Does the marker matter?** {opening} Where `{OTHER}`, the mark between documents, takes its place, the loss on {len(held)} of these "
    f"documents {size}: it goes from {loss[0][0]:.2f} to {loss[1][0]:.2f} nats a token, over the first {FIRST} tokens of each from "
    f"{loss[0][1]:.2f} to {loss[1][1]:.2f}{after_them}. At the last token of a document the outputs of the heads change by {thirds[0]} in the "
    f"first third of the layers, by {thirds[1]} in the second and by {thirds[2]} in the last (the length of the difference, as a share of the "
    f"length of the output). The activations of the run's neurons there correlate at {alike:.3f} between the two markers, and that of the strongest "
    f"neuron of each layer changes by {percent(top_moved)} in the median: what these neurons do {'hardly depends' if alike > 0.95 and top_moved < 0.1 else 'depends'} on the marker."
) if swapped else None  # fmt: skip

# %% [markdown]
# ## What does it expect?
#
# In a look-up, something earlier in the text calls for one particular token. Does this model have
# such habits at all?

# %%
PHRASES = [
    ("They visited not only Rome but", "They visited Rome but", " also"),
    ("On the one hand it is cheap; on the other", "I have one hat here; on the other", " hand"),
    ("They met for the first", "They met at the first", " time"),
    ("The plan was carried", "The plan was brought", " out"),
    ("The lake is as deep", "The lake is very deep", " as"),
    ("He chose between tea", "He chose his tea", " and"),
]


# %% tags=["hide-input"]
def ids_of(text: str) -> list[int]:
    return model.tokenizer(text, add_special_tokens=False)["input_ids"]


def next_token(ids) -> torch.Tensor:
    """The probability of every token behind some ids."""
    return model.logits(model.batch([ids]))[0, -1].float().softmax(-1)


english = all(
    model.decode(ids_of(text)) == text for phrase in PHRASES for text in phrase
) and all(len(ids_of(token)) == 1 for _, _, token in PHRASES)  # fmt: skip


def expected_next(ids, most: int = 5) -> str:
    """The likeliest tokens with their probabilities, from .005 up."""
    top = next_token(ids).topk(most)
    pairs = zip(top.indices.tolist(), top.values.tolist(), strict=True)
    return " · ".join(f"{model.vocabulary[token]} {chance:.2f}" for token, chance in pairs if chance >= 0.005)  # fmt: skip


if english:
    rows = []
    for calls, does_not, token in PHRASES:
        chance = [float(next_token(ids_of(text))[ids_of(token)[0]]) for text in (calls, does_not)]
        rows.append((calls, does_not, token, *chance))
    columns = ["calls for it", "does not", "token", "p where called for", "p where not"]
    expected = pd.DataFrame(rows, columns=columns).round(3)
    announced = (
        "Phrases of our own show it: each context stands beside one that is as much like it as "
        "possible and does not call for the token. How likely is the token behind both?"
    )
else:
    halves = [(ids, len(ids) // 2) for ids in held[:6] if len(ids) > 1]
    rows = [(model.decode(ids[:half])[-60:], expected_next(ids[:half]), model.vocabulary[ids[half]]) for ids, half in halves]  # fmt: skip
    expected = pd.DataFrame(rows, columns=["context", "expected next, with probability", "followed by"])  # fmt: skip
    announced = (
        "Documents of the run, cut in the middle, show what it expects there, beside the token that "
        "did follow:"
    )
Markdown(announced)

# %% tags=["hide-input"]
expected

# %% [markdown]
# And this is how the first of these contexts goes on when the likeliest token is always taken:

# %%
line = list(ids_of(PHRASES[0][0]) if english else held[0][: len(held[0]) // 2])
for _ in range(min(16, model.context - 1 - len(line))):
    line.append(int(next_token(line).argmax()))
model.decode(line)

# %% [markdown]
# ## Can it copy?
#
# The plainest thing that attention can do with an earlier part of a text is to copy it. We draw tokens
# at random, in an order that means nothing, and repeat them. The first time nobody can expect them; the
# second time a model that looks back can ({numref}`fig-copying`).

# %%
usual = [t for t in np.flatnonzero(seen) if len(model.vocabulary[t]) > 2 and t != model.bos_id]
random = np.random.default_rng(settings.seed)
half = min(20, (model.context - 1) // 2)
rows = [np.tile(random.choice(usual, half), 2) for _ in range(32)]
by_token = np.mean(surprises(model, rows), axis=0)
first_time, second_time = by_token[:half].mean(), by_token[half + 1 :].mean()

# %% tags=["hide-input"] mystnb={"figure": {"caption": "Mean surprise at each token of rows of random tokens that are repeated once; the dashed line is where the repetition begins. A model that copies is hardly surprised to the right of it.", "name": "fig-copying"}, "image": {"alt": "Mean surprise by place in a row of random tokens and its repetition"}}
figure, axis = plt.subplots(figsize=(6, 2.6))
axis.plot(range(1, 2 * half + 1), by_token, "-o", color=COLOURS["blue"])
axis.axvline(half + 0.5, color="black", linestyle="--", linewidth=0.8)
axis.set(xlabel="place in the row", ylabel="mean surprise (nats)", ylim=(0, None))
plt.show()
pd.DataFrame({"nats a token": {"first time": first_time, "second time": second_time}}).round(1)

# %% [markdown]
# ## Check
#
# No document holds a BOS or an id beyond the vocabulary, no file or article is in both splits, and keys
# find their documents again. Nothing is saved: every chapter reads texts and model anew.

# %% tags=["hide-input"]
for documents in texts.values():
    ids = np.concatenate([one.ids for one in documents])
    assert model.bos_id not in ids
    assert ids.max() < model.d_vocab
    last = documents[len(documents) - 1]
    assert documents.by_key(last.key).source == last.source
    assert documents.lengths.max() + 1 <= model.context
assert not shared
assert sum(by_place["size"]) == len(flat)

# %% [markdown]
# ## What we know

# %% tags=["hide-input"]
better = unigram - flat.mean()
uses = (
    f"uses its context: it is {better:.2f} nats a token less surprised than frequencies alone would be"
    if better > 0.1
    else "does not use its context: it is no less surprised than frequencies alone would be"
)
saved = 1 - second_time / first_time
copies = (
    "It copies what it has read" if saved > 0.5
    else "It copies a little of what it has read" if saved > 0.1
    else "It does not copy what it has read, so no head that only copies is to be expected"
)  # fmt: skip
Markdown(f"On {len(flat):,} tokens of `{reported}` the model {uses}. {copies}.")

# %% [markdown] tags=["default-run"]
# We expected little of a small model whose weights are stored in four bits, and it does better than
# that: it knows what follows *not only … but* and *for the first*, and it copies what it has read,
# which a model without heads that copy could not. That it was trained on chats shows in one place
# only, the marker that begins every text. Putting another marker there makes the first few words of
# a text less surprising and changes a good part of what early heads put out; the neurons that we
# study hardly notice. What we learn here is about careful English prose and nothing else: the
# articles begin with A, and there is no dialogue and hardly any code among them.

# %% [markdown]
# What is not known yet: whether any single neuron stands for a token, and whether it does so more than
# chance would bring about. The weights give a first answer: {ref}`next-token-neurons`.
#
# ```{admonition} Try it
# :class: tip
# Name a text file of your own as `corpus: name:` in a copy of the run file. How much more is the model
# surprised by your texts than by those above, in bits per byte?
# ```
