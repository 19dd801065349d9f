# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# (truncation)=
# # How much of a text does a neuron need?
#
# A document made the neuron fire at one of its tokens. Most of the text before that token may be
# idle, and as long as it is there, every {term}`head <attention head>` may seem to read it. So we
# look for the shortest {term}`suffix` on which the neuron fires nearly as strongly as it did on the
# whole text. Whatever makes the neuron fire must then be in what is left.
#
# | needs | leaves |
# | --- | --- |
# | `prompts` and `follow_rates` from {ref}`prompts` | `suffixes`: every prompt, cut |

# %% tags=["parameters"]
# Everything else stands in the run's file.
run: str = "smollm2"  # a run's id, or a path to its .yml

# %% tags=["hide-input"]
import re
from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from IPython.display import Markdown
from myst_nb import glue
from tqdm import tqdm

from lookups.run.store import Stopwatch, load, save
from lookups.corpus.documents import run_documents
from lookups.show.figures import COLOURS, house_style
from lookups.explain.running_example import running_neurons, running_prompt
from lookups.measure.activation import Fire, activations
from lookups.model.loaded import load_model
from lookups.statistics.bootstrap import percent
from lookups.names import Neuron
from lookups.settings import check_run, read_run
from lookups.show.views import escaped, prompt_table, readable

settings = read_run(run)
model = load_model(settings.model)
check_run(settings, model)
house_style()
stopwatch = Stopwatch()
prompts = load(settings, "prompts").reset_index(drop=True)
rates = load(settings, "follow_rates")
neurons = rates.drop_duplicates("neuron").set_index("neuron")
texts = {split: run_documents(settings, model, split) for split in prompts.split.unique()}


def quoted(ids: Sequence[int], longest: int) -> str:
    """The last tokens of a text, as a reader can see them."""
    return ("…" if len(ids) > longest else "") + readable(model.decode(ids[-longest:]))


# %% [markdown]
# A {term}`prompt` here is a document up to and including the token at which its neuron fires:

# %% tags=["hide-input"]
prompts["ids"] = [
    texts[split].by_key(prompt).ids[: at + 1]
    for split, prompt, at in zip(prompts.split, prompts.prompt, prompts.position, strict=True)
]
selected = prompts.neuron.map(neurons.selected)
pd.DataFrame(
    {
        "neurons": prompts.groupby(["split", "sample"], sort=False).neuron.nunique(),
        "prompts": prompts.groupby(["split", "sample"], sort=False).size(),
        "median tokens": prompts.assign(tokens=prompts.ids.map(len))
        .groupby(["split", "sample"], sort=False)
        .tokens.median(),
    }
).reset_index()

# %% [markdown]
# ## One prompt by hand
#
# We take a training prompt of the {ref}`running example <running-example>`: of those that the neuron's token really
# follows, the one of median activation. We read it through a window of one, two, four … tokens, each with the
# {term}`beginning-of-sequence token <BOS>` in front:

# %% tags=["hide-input"]
name = next(iter(running_neurons(settings, rates)), prompts.neuron.iloc[0])
own = prompts[(prompts.neuron == name) & (prompts.split == "train")]
own = own if len(own) else prompts[prompts.neuron == name]
example = running_prompt(own.assign(token=neurons.token_id[name], next_token=own.next_token_id))
by_hand = (
    f"{example.prompt} ({example.source}), {len(example.ids)} tokens, at the end of which the "
    f"“{readable(neurons.token[name])}” neuron ({name}) fires"
)
glue("hand-prompt", by_hand, display=False)

# %%
whole = len(example.ids)
windows = sorted({min(2**power, whole) for power in range(whole.bit_length() + 1)})
seen = [example.ids[-window:] for window in windows]
fires = activations(model, [Neuron.parse(example.neuron)] * len(seen), seen)
pd.DataFrame(
    {
        "tokens": windows,
        "window ends in": [quoted(ids, 7) for ids in seen],
        "activation": fires.round(2),
        "share of the whole": (fires / example.activation).round(2),
    }
)

# %% [markdown]
# The prompt is {glue:text}`hand-prompt`. Read down the last column: where does it first reach the
# share to keep, and does the share remain that high?
#
# ## The rule
#
# A suffix is long enough when it keeps {glue:text}`keep` of the {term}`activation` on the whole
# prompt. A prompt is dropped when that takes more than {glue:text}`longest` tokens.


# %%
def long_enough(activation, whole):
    return activation >= (settings.keep - 1e-4) * whole  # a ten-thousandth is for rounding


def fire_of(rows: pd.DataFrame, *, bos: bool) -> Fire:
    """Measure the rows' own neurons on given ids."""
    names = [Neuron.parse(name) for name in rows.neuron]
    return lambda some, ids: activations(model, [names[row] for row in some], ids, bos=bos)


glue("keep", percent(settings.keep), display=False)
glue("longest", settings.longest, display=False)

# %% [markdown]
# `protocol: sound` counts upwards: lengths 1, 2, 3 …, all prompts of one length together. The first
# that passes is the shortest, whatever the activation
# does in between:


# %%
def shortest_suffixes(fire, prompts, whole, long_enough, *, longest, progress) -> list:
    """The first length of each prompt that is long enough, and its activation; None without one."""
    found = [None] * len(prompts)
    for length in range(1, longest + 1):
        left = [n for n, one in enumerate(found) if one is None and len(prompts[n]) >= length]
        measured = fire(left, [prompts[n][-length:] for n in left]) if left else []
        for n, activation in zip(left, map(float, measured), strict=True):
            if long_enough(activation, whole[n]):
                found[n] = length, activation
        progress(sum(found[n] is not None for n in left))
    return found


# %% tags=["hide-input"]
def cut_sound(rows: pd.DataFrame) -> list[Sequence[int] | None]:
    fire, whole = fire_of(rows, bos=True), rows.activation.tolist()
    ids = rows.ids.tolist()
    with tqdm(total=len(ids), desc="prompts cut") as bar:
        found = shortest_suffixes(
            fire, ids, whole, long_enough, longest=settings.longest, progress=bar.update
        )
    return [one[-cut[0] :] if cut else None for one, cut in zip(ids, found, strict=True)]


# %% [markdown]
# `protocol: paper` halves the interval between a length that is too short and one that is long
# enough until they are neighbours. That finds the shortest suffix only if every suffix longer than
# a sufficient one is sufficient, too:


# %%
def bisected(fire: Fire, ids: list[Sequence[int]], whole: np.ndarray) -> np.ndarray:
    """Return a sufficient length a prompt; all prompts are halved in step."""
    short, enough = np.zeros(len(ids), dtype=int), np.array([len(one) for one in ids])
    while len(rows := np.flatnonzero(enough - short > 1)):
        middle = (short + enough) // 2
        measured = fire(rows, [ids[row][-middle[row] :] for row in rows])
        passed = long_enough(measured, whole[rows])
        enough[rows[passed]] = middle[rows[passed]]
        short[rows[~passed]] = middle[rows[~passed]]
    return enough


# %% [markdown]
# The paper also reads other ids: line breaks become spaces, the text is tokenised again, and no
# beginning-of-sequence token precedes a prompt while it is cut. A prompt on which the neuron is
# silent when it is read in this way has no share to keep and is dropped:


# %%
def tokenised_again(ids: Sequence[int]) -> list[int]:
    text = model.decode(ids).replace("\n", " ")
    return model.tokenizer(text, add_special_tokens=False)["input_ids"][1 - model.context :]


def cut_paper(rows: pd.DataFrame) -> list[Sequence[int] | None]:
    fire, ids = fire_of(rows, bos=False), [tokenised_again(one) for one in rows.ids]
    whole = fire(range(len(ids)), ids)
    lengths = bisected(fire, ids, whole)
    kept = (whole > 0) & (lengths <= settings.longest)
    return [one[-n:] if keep else None for one, n, keep in zip(ids, lengths, kept, strict=True)]


# %% [markdown]
# ```{admonition} Differs from the paper
# :class: note
# Under `protocol: sound` every sequence, whole or cut, is one beginning-of-sequence token and the
# document's own ids, and every length is tried. The paper bisects, on ids that differ from those of
# the other steps. Under either protocol, the activation stored with a suffix is measured on the stored ids,
# with the beginning-of-sequence token, as the next chapters read them.
# ```

# %% [markdown]
# ## All prompts

# %%
rules = {"sound": cut_sound, "paper": cut_paper}
prompts["token_ids"] = [
    None if ids is None else [int(token) for token in ids]
    for ids in rules[settings.protocol](prompts)
]
dropped = prompts.token_ids.isna()
suffixes = prompts[~dropped].rename(columns={"activation": "whole_activation"})
read = [ids if settings.protocol == "sound" else tokenised_again(ids) for ids in suffixes.ids]
suffixes["stop"] = [len(ids) for ids in read]
suffixes["start"] = suffixes.stop - suffixes.token_ids.map(len)
everyone = suffixes.neuron.map(Neuron.parse).tolist()
suffixes["activation"] = activations(model, everyone, suffixes.token_ids.tolist()).astype("float32")

# %% [markdown]
# Near-copies would count one observation many times. Under `protocol: sound`, suffixes of a neuron
# that read the same apart from case, digits and spacing are merged within a split: one of them is
# kept, the strongest of the top sample where there is one, and `copies` counts them all.


# %%
def gist(ids: Sequence[int]) -> str:
    return " ".join(re.sub(r"\d+", "0", model.decode(ids)).casefold().split())


suffixes["gist"] = suffixes.token_ids.map(gist)
alike = ["neuron", "split", "gist" if settings.protocol == "sound" else "prompt"]
suffixes["copies"] = suffixes.groupby(alike, sort=False).gist.transform("size")
merged = suffixes.duplicated(alike)
near_copies = int(suffixes.duplicated(["neuron", "split", "gist"]).sum())
suffixes = suffixes[~merged].reset_index(drop=True)
in_train = suffixes[suffixes.split == "train"].set_index(["neuron", "gist"]).index
suffixes["also_in_train"] = pd.MultiIndex.from_frame(suffixes[["neuron", "gist"]]).isin(in_train)

# %% [markdown]
# What was kept, and what was not:

# %% tags=["hide-input", "hide-output"]
held_out = suffixes[suffixes.split == "test"]
counts = {
    "prompts": len(prompts),
    f"dropped: more than {settings.longest} tokens, or silent as read": int(dropped.sum()),
    "near-copies among the rest": near_copies,
    "merged into another": int(merged.sum()),
    "suffixes kept": len(suffixes),
    "on test": len(held_out),
    "on test, in words that train has as well": int(held_out.also_in_train.sum()),
}
glue("suffixes", len(suffixes), display=False)
glue("suffixes-dropped", int(dropped.sum()), display=False)
glue("suffixes-merged", int(merged.sum()), display=False)
pd.Series(counts, name="rows").to_frame()

# %% [markdown]
# ## How long are they?
#
# A curve that rises early in {numref}`fig-lengths` belongs to neurons that need little context. A
# suffix of one token leaves attention nothing to fetch but the token itself and the beginning of
# the sequence; where a curve is steep at the left, {ref}`heads` can therefore find little.

# %% tags=["hide-input"] mystnb={"figure": {"caption": "The further to the right a curve lies, the more context its neurons need. Up: share of suffixes that are at most as long as the number of tokens given across, by group of neurons.", "name": "fig-lengths"}, "image": {"alt": "Cumulative distribution of suffix lengths by group of neurons"}}
names = {"top": "list, not selected", "other": "sound, not selected", "middle": "middle layers"}
kind = suffixes.neuron.map(neurons.group.replace(names).mask(neurons.selected, "selected"))
colours = dict(zip(["selected", *names.values(), "random"],
                   ["blue", "amber", "green", "purple", "grey"], strict=True))  # fmt: skip
length = suffixes.token_ids.map(len)
figure, axis = plt.subplots()
shown = []
for name, colour in colours.items():
    if not len(some := np.sort(length[kind == name])):
        continue
    axis.step(some, np.arange(1, len(some) + 1) / len(some), where="post", label=name,
              color=COLOURS[colour])  # fmt: skip
    part = (length / suffixes.stop)[kind == name].median()
    shown.append(
        (name, len(some), (some == 1).mean(), np.median(some), np.quantile(some, 0.9), part)
    )
axis.set_xscale("log", base=2)
axis.xaxis.set_major_formatter("{x:.0f}")
axis.set(xlabel="length of the suffix (tokens)", ylabel="share of suffixes", ylim=(0, 1.02))
axis.legend(title="neurons")
plt.show()
columns = ["neurons", "suffixes", "one token", "median", "90 %", "median share of the prompt"]
lengths = pd.DataFrame(shown, columns=columns).set_index("neurons").round(2)
lengths

# %% [markdown]
# Here are suffixes of the selected neurons that have the most different ones, from both samples.
# Each is shown with the token that came next in the text, and with the place it is from:

# %% tags=["hide-input"]
show = suffixes[suffixes.neuron.map(neurons.selected) & (suffixes.split == "train")]
most = show.groupby("neuron", sort=False).size().sort_values(ascending=False, kind="stable")
quotes = {
    f"{name}, for “{neurons.token[name]}”": [
        (
            quoted(row.token_ids, 24),
            model.vocabulary[row.next_token_id] if row.next_token_id >= 0 else "",
            row.source,
        )
        for row in show[show.neuron == name].groupby("sample", sort=False).head(3).itertuples()
    ]
    for name in most.index[:3]
}
prompt_table(quotes) if quotes else Markdown("This run selected no neuron, so none is shown.")

# %% [markdown]
# ## Does more context always help?
#
# Bisection relies on it. For a sample of prompts, drawn at random, we measure every length there
# is, up to {glue:text}`longest`, read as `protocol: sound` reads:

# %%
pool = prompts[selected & (prompts.split == "train")]
pool = pool if len(pool) else prompts
some = pool.sample(min(60, len(pool)), random_state=settings.seed).sort_index()
ids = some.ids.tolist()
whole = some.activation.to_numpy(float)
spans = [
    (row, n) for row in range(len(ids)) for n in range(1, min(len(ids[row]), settings.longest) + 1)
]
fire = fire_of(some, bos=True)
measured = fire([row for row, _ in spans], [ids[row][-n:] for row, n in spans])
curves = np.split(measured, np.cumsum(np.bincount([row for row, _ in spans]))[:-1])
passes = [long_enough(curve, one) for curve, one in zip(curves, whole, strict=True)]

# %% [markdown]
# Then we compare three ways to cut: counting upwards, bisection on the same readings, and all of
# the paper's protocol. A *relapse* is a suffix that is long enough, with a longer one that is not:

# %%
shortest = np.array([int(ok.argmax()) + 1 if ok.any() else 0 for ok in passes])
found = shortest > 0
relapse = np.array([ok.any() and not ok[ok.argmax() :].all() for ok in passes])
halved = bisected(fire, ids, whole)
missed = np.where(found, halved - shortest, 0)

# %%
both = [[None if one is None else tuple(one) for one in rules[name](some)] for name in rules]
different = sum(sound != paper for sound, paper in zip(*both, strict=True))

# %% tags=["hide-input"]
pd.DataFrame(
    {
        "prompts": {
            "in the sample": len(some),
            "long enough, then not, then again": int(relapse.sum()),
            "bisection misses the shortest": int((missed > 0).sum()),
            "paper's protocol leaves another suffix": different,
        }
    }
)

# %% tags=["hide-input"]
glue("share-not-monotone", percent(relapse.mean()), display=False)
worst = int(missed.argmax())
case = (
    f"Bisection errs most on `{some.prompt.iloc[worst]}` for the "
    f"“{escaped(neurons.token[some.neuron.iloc[worst]])}” neuron ({some.neuron.iloc[worst]}): "
    f"{shortest[worst]} tokens are enough, and it stops at {halved[worst]}."
    if missed.max() > 0
    else "In this sample bisection found the shortest suffix every time."
)
Markdown(
    f"In {relapse.sum()} of {len(some)} prompts activation is not monotone in the sense that "
    f"matters: some suffix is long enough, and a longer one is not. {case} The choice of protocol "
    f"changes {different} of {len(some)} suffixes."
)

# %% [markdown]
# Where a line of {numref}`fig-growth` falls below the dashed one again, the tokens that were added
# inhibit the neuron; where it rises once more, tokens further to the left excite it.

# %% tags=["hide-input"] mystnb={"figure": {"caption": "More context does not always mean more activation. Each line is a prompt, one of the three of the sample on which the two ways to cut differ most: activation on its last tokens, as a share of that on the whole prompt (up), by the number of tokens (across). Circles mark the shortest sufficient suffix, crosses the one that bisection finds; the dashed line is the share to keep.", "name": "fig-growth"}, "image": {"alt": "Activation as a function of suffix length for several prompts"}}
by_miss = np.lexsort((np.arange(len(some)), -missed, ~relapse))
drawn = [row for row in by_miss if found[row] and len(curves[row]) > 3][:3]
figure, axis = plt.subplots()
shown = []
for row, colour in zip(drawn, COLOURS.values(), strict=False):
    share = curves[row] / whole[row]
    name = f"{some.neuron.iloc[row]}, {some.prompt.iloc[row]}"
    axis.plot(np.arange(1, len(share) + 1), share, color=colour, label=name, linewidth=0.9)
    mark = {"color": colour, "markersize": 9, "markeredgecolor": "black", "zorder": 3}
    axis.plot(shortest[row], share[shortest[row] - 1], "o", **mark)
    if halved[row] <= len(share):
        axis.plot(halved[row], share[halved[row] - 1], "X", **mark)
    low = share[shortest[row] - 1 :].min()
    shown.append((name, len(ids[row]), shortest[row], halved[row], round(float(low), 2)))
axis.axhline(settings.keep, color="black", linestyle="--", linewidth=0.8)
axis.set_xscale("log", base=2)
axis.xaxis.set_major_formatter("{x:.0f}")
axis.set(xlabel="length of the suffix (tokens)", ylabel="share of the whole activation")
axis.legend(fontsize=8)
plt.show()
pd.DataFrame(shown, columns=["prompt", "tokens", "shortest", "bisected", "lowest share after"])

# %% [markdown]
# ## Check and save
#
# Every suffix is the end of what was read, a neuron has each prompt once in a split, and no suffix is
# too long. Under `protocol: sound` each suffix keeps its share:

# %%
assert not suffixes.duplicated(["neuron", "split", "prompt"]).any()
assert (suffixes.stop - suffixes.start).between(1, settings.longest).all()
assert suffixes.copies.sum() == len(prompts) - dropped.sum()
kept = suffixes.activation / suffixes.whole_activation
if settings.protocol == "sound":
    parts = zip(suffixes.ids, suffixes.start, suffixes.token_ids, strict=True)
    assert all(list(ids[start:]) == cut for ids, start, cut in parts)
    assert (kept > settings.keep - 1e-3).all()

# %%
columns = [
    "neuron", "split", "sample", "prompt", "start", "stop", "token_ids", "activation",
    "whole_activation", "copies", "also_in_train", "source", "next_token_id",
]  # fmt: skip
digests = {split: documents.digest for split, documents in texts.items()}
facts = {"model": model, "documents": digests, "seconds": stopwatch.seconds}
save(settings, "suffixes", suffixes[columns], **facts)
below = int((kept < settings.keep - 1e-3).sum())
Markdown(f"Saved `suffixes`: {len(suffixes)} rows, of which {below} keep less than their share.")

# %% [markdown] tags=["default-run"]
# Suffixes are short, about eight tokens, which is a quarter of the prompt, but hardly ever a single
# token. Random neurons need as many, so short contexts are nothing special to next-token neurons.
# What surprised us is how often more text does harm: on about half of the sampled prompts a suffix
# is long enough and a longer one is not. Bisection then stops at the wrong place, and the choice of
# protocol changes more than half of the suffixes in the sample.

# %% [markdown]
# ## What we know

# %% tags=["hide-input"]
mine = length[kind == "selected"] if (kind == "selected").any() else length
short = (mine <= 2).mean()
glue("median-suffix", f"{mine.median():.0f}", display=False)
Markdown(
    f"Half of the suffixes that we follow up are at most {mine.median():.0f} tokens long, "
    f"{percent(short)} at most two. "
    + (
        "Most of these neurons answer to the last word or two, and attention has little to bring."
        if short > 0.5
        else "Most of these neurons need more than the last two tokens, so something must carry "
        "information from further back."
    )
)

# %% [markdown]
# What is not known: *how* the information travels. A longer suffix may matter because a head fetched a
# word from it, or because it pushes other words further from the beginning. Which head it was is the
# question of {ref}`heads`.
#
# ## Exercises
#
# 1. On how many prompts is the last token alone enough for the neuron?

# %% tags=["hide-cell"]
# On these prompts the neuron answers to a word; no head is needed to tell it what came before.
alone = suffixes.stop - suffixes.start == 1
assert 0 <= alone.sum() <= len(suffixes)
f"{int(alone.sum())} of {len(suffixes)} suffixes, {percent(alone.mean())}"

# %% [markdown]
# 2. Do the prompts that make a neuron fire most need longer suffixes than its other prompts?

# %% tags=["hide-cell"]
# We compare ranks within each neuron: near zero, strength and length have little to do with each other.
ranks = suffixes.assign(tokens=suffixes.stop - suffixes.start)
ranks = ranks.groupby("neuron")[["whole_activation", "tokens"]].rank(pct=True)
correlation = ranks.corr().iloc[0, 1]
assert not abs(correlation) > 1 + 1e-9
f"rank correlation {correlation:.2f}"

# %% [markdown]
# 3. To try on your own: Set `keep: 0.95` in a copy of the run file. How much longer do the suffixes get, and do the words
#    that are added look like part of the context, or like padding?
