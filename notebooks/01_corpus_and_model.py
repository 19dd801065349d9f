# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# (corpus)=
# # Does the model use what it has read?
#
# A {term}`context look-up` is something that a model does while it reads: words further up in a text
# switch on a neuron that promotes one particular next token. There can be none in a model that
# expects the same whatever came before. This chapter introduces the model and the texts of the run, and
# asks two things of the model: does the text so far change what it expects, and can it copy from there?
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
from lookups.model.loaded import MAY_DIFFER, Model, load_model
from lookups.names import Neuron
from lookups.paths import EMBEDDED
from lookups.settings import check_run, read_run
from lookups.model.batches import batches_by_length
from lookups.show.views import BOS, escaped, readable, token_view
from lookups.statistics.bootstrap import percent
from lookups.corpus.wikipedia import article_of, load_wikipedia

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
# ## One document by hand
#
# We let the model read a document and note its surprise at every token that really comes next: minus
# the logarithm of the probability that it gave to the token, in {term}`nats <nat>`.


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
seen = np.bincount(np.concatenate([one.ids for one in texts["train"]]), minlength=model.d_vocab)
token = None
if settings.examples:  # the word that the weights of the example's neuron point at most strongly
    one = Neuron.parse(settings.examples[0])
    points_at = (one.sign * model.w_out(one.layer)[one.index] @ model.w_u).float().numpy(force=True)
    words = np.array([text.startswith(" ") and len(text) > 2 for text in model.vocabulary])
    allowed = words & (seen >= settings.minimum_in_texts)
    token = int(np.where(allowed, points_at, -np.inf).argmax()) if allowed.any() else None
holding = [one for one in texts["train"] if token is not None and token in one.ids[4:]][:40]
token = token if holding else None
holding = holding or [texts["train"][0]]
at_all = surprises(model, [one.ids for one in holding])
places = [
    (round(float(nats[at]), 2), which, at)
    for which, (one, nats) in enumerate(zip(holding, at_all, strict=True))
    for at in range(min(4, len(one.ids) - 1), len(one.ids))
    if token in (None, int(one.ids[at]))
]
_, which, at = min(places)
document, nats_by_hand = holding[which], at_all[which]
token = int(document.ids[at])
word = f"“{readable(model.vocabulary[token])}”"
chosen = (
    f"The neuron of this book's {{ref}}`running example <running-example>` points at the token {word}. Of the train "
    f"documents that hold it we take the one in which it surprises the model least"
    if len(holding) > 1
    else f"We take a document of the train split, and in it the token that surprises the model least, {word}"
)
spelled = model.vocabulary[token].lstrip(" ")
gap = model.vocabulary[token][: len(model.vocabulary[token]) - len(spelled)]
text_before, text_after = model.decode(document.ids[:at]), model.decode(document.ids[at + 1 :])
Markdown(
    f"{chosen}:\n\n> {escaped(text_before)}{gap}**{escaped(readable(spelled))}**{escaped(text_after)}\n>\n"
    f"> — {escaped(document.source)}, `{document.key}`"
)  # fmt: skip

# %% tags=["hide-input"]
start = max(0, at - 30)
token_view(
    [BOS] * (start == 0) + [model.vocabulary[one] for one in document.ids[start : at + 1]],
    [0.0] * (start == 0) + nats_by_hand[start : at + 1].round(1).tolist(),
    name="fig-by-hand",
    look_for=f"The darker a token, the more it surprised the model. The last one is {word}.",
)

# %% [markdown]
# How much of the text does the model need to expect that last token? We give it the last token before
# it alone, then the last two, and so on up to the whole text:


# %%
def next_token(ids) -> torch.Tensor:
    """The probability of every token after some ids."""
    return model.logits(model.batch([ids]))[0, -1].float().softmax(-1)


lengths = sorted({min(n, at) for n in (1, 2, 4, 8, 16, at)})
by_length = [float(next_token(document.ids[at - n : at])[token]) for n in lengths]

# %% tags=["hide-input"]
shown = [model.decode(document.ids[at - min(n, 12) : at]) for n in lengths]
pd.DataFrame(
    {
        "tokens read": lengths,
        "which end in": ["…" * (n > 12) + text for n, text in zip(lengths, shown, strict=True)],
        f"probability of {word}": [percent(one) for one in by_length],
    }
).set_index("tokens read")

# %% tags=["hide-input"]
gained = by_length[-1] - by_length[0]
reading = (
    "The last token alone would not have told the model what comes next: it uses what stands further up."
    if gained > 0.1
    else "Here the last token alone tells the model nearly as much as the whole text."
)
Markdown(
    f"Reading only the last token, the model gives {word} {percent(by_length[0])}; reading all {at}, "
    f"{percent(by_length[-1])}. {reading}"
)

# %% [markdown]
# A frequent word is one {term}`token`, with the space before it; a rare one is put together from pieces
# ({term}`byte-pair encoding`). In front of every text stands one {term}`BOS`, which the document's own
# ids do not hold and which never counts as a position of the text:

# %%
read = model.batch([document.ids]).ids[0].tolist()
assert read == [model.bos_id, *document.ids.tolist()]
" | ".join(readable(model.vocabulary[one]) for one in read[:12])

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
# instructions in a chat. We use it as a plain language model: it reads prose from an encyclopedia,
# nobody asks it anything, and we look at which token it expects next. It may well have read these
# articles, or later versions of them, when it was trained.

# %% tags=["hide-input"]
own_keys = getattr(model.bridge.cfg, "n_key_value_heads", None) or model.n_heads
card = {
    "layers": model.n_layers,
    "attention heads a layer": model.n_heads,
    "different keys and values a layer": own_keys,
    "neurons a layer": model.d_mlp,
    "a neuron's activation": "a gate times an input" if model.gated else "a function of one input",
    "width of the residual stream": model.d_model,
    "tokens in the vocabulary": model.d_vocab,
}
if stored:
    tensors = pd.DataFrame(stored["tensors"])
    card["size of the file"] = f"{stored['bytes'] / 1e6:.0f} MB"
    glue("file-share", percent(stored["bytes"] / (tensors["values"].sum() * 4)), display=False)
pd.Series(card, name=name).to_frame()

# %% [markdown] tags=["default-run"]
# There are fewer keys and values than heads because heads share them in groups
# ({term}`grouped queries`); each head still has its own query and its own output, so heads are told
# apart throughout this book. The weights are stored with four bits each and two numbers that every 32 of
# them share (eight bits in the embedding), so the file takes {glue:text}`file-share` of the space that
# they need in {term}`float32`.

# %% tags=["hide-input"]
quantised = stored is not None and settings.model.permute_seed is None
found = len(model.w_out(model.n_layers - 1)[:32, 0].unique()) if quantised else 0
Markdown(
    "Few bits leave few different values: what the first 32 neurons of the last layer write to the "
    f"first coordinate of the residual stream takes {found} different values. Everything in this book "
    "is about the model in this form. Nothing is claimed about the one that it was made from, in which "
    "a neuron or a head may act otherwise."
) if quantised else None  # fmt: skip

# %% [markdown]
# ## The texts

# %% tags=["hide-input"]
TOLD = {
    "wikipedia": "The texts are articles of the English Wikipedia as they stood in April 2016. "
    "Nearly all of their titles begin with A: they are the beginning of a dump of the encyclopedia, "
    "which the package `gensim` carries among its test data. Only running "
    "text is kept. References, tables, lists, formulas and headings are taken out, and so is every "
    "paragraph in which a sentence has lost something with them. The texts are available under a Creative "
    "Commons licence; the appendix names it, and every article and revision.",
    "planted": "The texts are in a made-up language in which it is known what calls for which word. "
    "The chapter on ground truth describes it.",
}  # fmt: skip
kind = "prompts" if settings.prompts is not None else settings.corpus.name
others = "The texts are prompts of your own, one a line." if kind == "prompts" else (
    f"The texts are those of `{kind.rsplit('/', 1)[-1]}`."
)  # fmt: skip
Markdown(TOLD.get(kind, others))

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
# A {term}`document` is a piece of text as token ids, with a {term}`prompt key` and the name of what it
# was cut from. Everything is chosen on the train {term}`split` and reported on the test split, and no
# text is in both: the splits differ in their files or, for Wikipedia, in their articles.


# %% tags=["hide-input"]
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

# %% [markdown]
# ## How well does the model read?
#
# One document proves little. We measure the surprise at every token of documents from all over a split;
# its mean is the {term}`loss`.


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
frequency = (seen + 1) / (seen.sum() + model.d_vocab)
unigram = float(-np.log(frequency[flat_ids]).mean())
glue("measured-documents", len(held), display=False)
glue("measured-split", reported, display=False)
glue("held-out-nats", f"{flat.mean():.2f}", display=False)
glue("bits-per-byte", f"{flat.sum() / math.log(2) / size:.2f}", display=False)
glue("unigram-nats", f"{unigram:.2f}", display=False)
glue("uniform-nats", f"{math.log(model.d_vocab):.2f}", display=False)

# %% [markdown]
# On {glue:text}`measured-documents` documents of the {glue:text}`measured-split` split, the loss is
# {glue:text}`held-out-nats` nats a token, or {glue:text}`bits-per-byte` {term}`bits per byte`, the number
# that can be compared with that of models with other tokenizers. A model that gives every token the
# same chance would have a loss of {glue:text}`uniform-nats` nats a token. One that knows how often each
# token occurs in the train texts, but reads no context, would have {glue:text}`unigram-nats`.
# {numref}`fig-position` shows where the difference comes from.

# %% tags=["hide-input"] mystnb={"figure": {"caption": "Whether the model makes use of what it reads: its mean surprise at a token (dots), by the place of the token in the document. The dashed line is the loss of a model that knows the frequencies of tokens and reads no context. A model that uses its context falls below it, and further the more it has read.", "name": "fig-position"}, "image": {"alt": "Mean surprise at a token by its place in the document, falling, and a dashed line for frequencies alone"}}
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
    loss_words = f"the loss {size}, from {loss[0][0]:.2f} to {loss[1][0]:.2f} nats a token"
Markdown(
    f"{opening} Does it matter that every text begins with it? Where `{OTHER}`, the mark between documents, takes its "
    f"place, {loss_words}, and the activation of the strongest neuron of each of the run's layers changes by "
    f"{percent(top_moved)} in the median. So what these neurons do "
    f"{'hardly depends' if alike > 0.95 and top_moved < 0.1 else 'depends'} on the marker; the appendix has the details."
) if swapped else None  # fmt: skip

# %% [markdown]
# ## What does it expect?
#
# In a look-up, something earlier in the text calls for one particular token. Does this model have
# such habits at all?

# %% tags=["hide-input"]
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
        chance = [percent(float(next_token(ids_of(text))[ids_of(token)[0]])) for text in (calls, does_not)]  # fmt: skip
        rows.append((calls, does_not, token, *chance))
    columns = ["calls for it", "does not", "token", "probability where called for", "where not"]
    expected = pd.DataFrame(rows, columns=columns)
    announced = (
        "We wrote six pairs of contexts. In each pair the first context calls for the token; the second "
        "is as much like it as possible and does not. How likely is the token after either?"
    )
else:
    halves = [(ids, len(ids) // 2) for ids in held[:6] if len(ids) > 1]
    rows = [(model.decode(ids[:half])[-60:], expected_next(ids[:half]), model.vocabulary[ids[half]]) for ids, half in halves]  # fmt: skip
    expected = pd.DataFrame(rows, columns=["context", "expected next, with probability", "followed by"])  # fmt: skip
    announced = (
        "Documents of the run, cut in the middle, show what the model expects there and which token "
        "did follow:"
    )
Markdown(announced)

# %% tags=["hide-input"]
expected

# %% [markdown]
# This is how the first of these contexts goes on when the likeliest token is always taken:

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

# %% tags=["hide-input"] mystnb={"figure": {"caption": "Whether the model copies: its mean surprise at each token of rows of random tokens that are repeated once. The dashed line is where the repetition begins; a model that copies is much less surprised to the right of it.", "name": "fig-copying"}, "image": {"alt": "Mean surprise by place in a row of random tokens and its repetition"}}
figure, axis = plt.subplots(figsize=(6, 2.6))
axis.plot(range(1, 2 * half + 1), by_token, "-o", color=COLOURS["blue"])
axis.axvline(half + 0.5, color="black", linestyle="--", linewidth=0.8)
axis.set(xlabel="place in the row (tokens)", ylabel="mean surprise (nats)", ylim=(0, None))
axis.xaxis.get_major_locator().set_params(integer=True)
plt.show()

# %% tags=["hide-input"]
saved = 1 - second_time / first_time
copies = (
    "It copies what it has read" if saved > 0.5
    else "It copies a little of what it has read" if saved > 0.1
    else "It does not copy what it has read, so no head that only copies is to be expected"
)  # fmt: skip
Markdown(f"The mean surprise is {first_time:.1f} nats a token the first time and {second_time:.1f} the second time.")  # fmt: skip

# %% tags=["hide-input"]
# No document holds a BOS or an id beyond the vocabulary, no file or article is in both splits, and
# keys find their documents again. Nothing is saved: every chapter reads texts and model anew.
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
Markdown(f"On {len(flat):,} tokens of `{reported}` the model {uses}. {copies}.")

# %% [markdown] tags=["default-run"]
# We expected little of a small model whose weights are stored in four bits, and it does better than
# that: it knows what follows *not only … but* and *for the first*, and it copies what it has read,
# which a model without heads that copy could not. We were surprised by how much of the text it needs
# by hand: *As a* by itself makes “ result” hardly likelier, and only with the sentence before it does
# the model expect the word. That it was trained on chats shows in the marker that begins every text.
# Another marker makes the first few words of a text less surprising, and the neurons that we study
# hardly notice. What we learn here is about careful English prose and nothing else: the articles begin
# with A, and there is no dialogue and hardly any code among them.

# %% [markdown]
# We do not know yet which parts of the model do this, nor whether any single neuron is responsible
# for a token.
#
# ## Exercises
#
# **1.** Convert the loss in nats a token into bits per byte. Which property of the tokenizer decides
# whether a model with a larger loss in nats can still be the better reader?

# %% tags=["hide-cell"]
# Bits are nats divided by log 2, and the bits of a text are spread over its bytes instead of its
# tokens. So the length of a token decides: with longer tokens, each may cost more nats.
bytes_a_token = sum(len(model.decode(ids).encode()) for ids in held) / len(flat)
bits_per_byte = flat.mean() / math.log(2) / bytes_a_token
total = flat.sum() / math.log(2)
assert math.isclose(bits_per_byte * bytes_a_token * len(flat), total, rel_tol=1e-4)
{"bytes a token": round(bytes_a_token, 1), "bits per byte": round(float(bits_per_byte), 2)}

# %% [markdown]
# **2.** Is the loss made of many small surprises or of a few large ones? Find the share of it that is
# due to the tenth of all tokens that surprise the model most.

# %% tags=["hide-cell"]
# The tenth of the tokens with the largest surprises makes up much more than a tenth of the loss if
# most tokens are easy and a few are hard, as in prose. It can never make up less than its share.
by_surprise = np.sort(flat)[::-1]
tenth = by_surprise[: math.ceil(len(flat) / 10)]
assert tenth.sum() / flat.sum() >= len(tenth) / len(flat) - 1e-6
percent(tenth.sum() / flat.sum())

# %% [markdown]
# Next we ask the weights whether any neuron has a token of its own: {ref}`next-token-neurons`.
#
# ## Appendix: details of model and texts
#
# The weights as they are stored, the numbers drawn in {numref}`fig-position`, and what the marker at
# the beginning of a text changes:

# %% tags=["hide-input", "hide-output"]
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


more = {
    "attention and MLP of a layer read": "the same" if model.parallel else "one after the other",
    "longest text, in tokens": model.context,
    "embeddings that no token has": max(0, model.d_vocab - len(model.tokenizer)),
    "log-probabilities are those of plain Hugging Face within": f"{MAY_DIFFER[model.dtype]} nats",
}
if stored:
    more |= {f"weights stored as {kind}": how_stored(rows) for kind, rows in tensors.groupby("stored")}  # fmt: skip
pd.Series(more, name=name).to_frame()

# %% tags=["hide-input", "hide-output"]
by_place.set_axis(["tokens", "nats a token"], axis=1).round(2)

# %% tags=["hide-input", "hide-output"]
Markdown(
    f"With `{OTHER}` in front, the loss over the first {FIRST} tokens of each document goes from {loss[0][1]:.2f} to "
    f"{loss[1][1]:.2f} nats a token{after_them}. At the last token of a document the outputs of the heads change by {thirds[0]} in "
    f"the first third of the layers, by {thirds[1]} in the second and by {thirds[2]} in the last (the length of the difference, "
    f"as a share of the length of the output). The activations of the run's neurons there correlate at {alike:.3f} between the two markers."
) if swapped else None  # fmt: skip

# %% [markdown]
# How many paragraphs the cleaning kept and why it dropped the others, and the articles that were read,
# with their licence (for runs on Wikipedia):

# %% tags=["hide-input", "hide-output"]
if wikipedia:
    kept = {"kept": len(wikipedia.paragraphs)} | wikipedia.dropped
    counts = {"pages": wikipedia.pages, "paragraphs": kept}
    rows = [(of, what, n) for of, found in counts.items() for what, n in found.items()]
pd.DataFrame(rows, columns=["of", "what", "number"]).set_index(
    ["of", "what"]
) if wikipedia else None

# %% tags=["hide-input", "hide-output"]
TERMS = (
    "The text of these articles is by their authors, who are listed in each article's history, and is "
    "available under the [Creative Commons Attribution-ShareAlike licence]"
    "(https://creativecommons.org/licenses/by-sa/3.0/). So is every prompt that this book quotes from "
    "them; each names its article and revision."
)


def articles_used(sources, texts) -> pd.DataFrame:
    """A row an article that documents of these sources come from, with its address."""
    ids = {article_of(one.source): one[:3] for one in texts.paragraphs}
    used = [ids[name] for name in sorted(set(map(article_of, sources)) & set(ids))]
    table = pd.DataFrame(used, columns=["article", "page", "revision"])
    return table.assign(address=[f"https://en.wikipedia.org/?oldid={n}" for n in table.revision])


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
