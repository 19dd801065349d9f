# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# (ground-truth)=
# # Does the method find what we planted?
#
# In a trained language model nobody knows the right answer, so nobody can say how often the method
# misses a look-up or invents one. In a {term}`planted model` we know which word decides what comes next,
# and an experiment shows which head tells which neuron about it. Chapters 2 to 5 were executed, as
# they stand, on three planted models that differ in their random seed. Here we compare the result of
# every step with what we know.
#
# **In short:** {glue:text}`truth-headline`
#
# | needs | leaves |
# | --- | --- |
# | `neurons`, `follow_rates`, `prompts`, `suffixes`, `heads` and `pairs` of the runs `planted`, `planted-1` and `planted-2`; this run's own model has no part in it | nothing: it judges the method |

# %% tags=["parameters"]
# Every run has this chapter, and it is the same in all of them.
run: str = "smollm2"  # a run's id, or a path to its .yml

# %% tags=["hide-input"]
import re
from itertools import combinations
from typing import NamedTuple

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from IPython.display import Markdown
from matplotlib.colors import LinearSegmentedColormap
from myst_nb import glue

from lookups.measure.ablation import ablate
from lookups.measure.attribution import attribute
from lookups.explain.contrast import Contrast
from lookups.explain.explainer import Example, PairPrompts, Question
from lookups.show.figures import COLOURS, house_style
from lookups.corpus.grammar import GRAMMAR, KINDS, SEEDS, labelled_documents
from lookups.measure.ground_truth import carried, targets_of
from lookups.model.loaded import Model, load_model
from lookups.statistics.bootstrap import Estimate, bootstrap_mean, lots_of, percent, written
from lookups.names import Head, Neuron
from lookups.measure.path_patching import mean_at_last, path_patch
from lookups.explain.running_example import running_neurons, running_pair, running_prompt
from lookups.paths import PROJECT
from lookups.run.stages import PLANTED
from lookups.run.store import load
from lookups.settings import ModelSpec, read_run
from lookups.statistics.scores import Counts, count, score
from lookups.statistics.differences import share_of_mean

read_run(run)
house_style()
KEYS = ["neuron", "head"]
KIND_COLOURS = dict(
    zip(KINDS, (COLOURS[name] for name in ("blue", "orange", "green")), strict=True)
)
models = {seed: load_model(ModelSpec(name=f"planted-{seed}", device="cpu")) for seed in SEEDS}


def listed(values, digits: int = 2) -> str:
    """Numbers of the three models, in the order of their seeds."""
    return ", ".join(f"{value:.{digits}f}" for value in values)


# %% [markdown]
# ## The world
#
# A document opens with a title. Its sentences are made of filler words and end in a *slot*: a marker,
# then a target. One word, the *cue*, decides which of eight targets follows. If the word just before the
# marker is a cue, it decides (a *filler* cue); if not, a *topic* word earlier in the sentence does; and if
# there is none either, the document's *title*. Each of the three markers assigns targets to cues in its own
# way, so cue and marker have to be combined, and that is left to the neurons ({numref}`fig-world`).

# %% tags=["hide-input"] mystnb={"figure": {"caption": "One word decides what follows. The beginning of a document of the planted language: the marker and the target behind it are bold, and the cue that decides the target has the colour of its kind. The title decides the sentences that have no cue of their own.", "name": "fig-world"}, "image": {"alt": "One document of the planted language, cues and targets marked"}}
shown = (GRAMMAR.document(f"shown/{n}") for n in range(100))
example = next(one for one in shown if {slot.kind for slot in one.slots} == set(KINDS))
colours = {slot.cue: KIND_COLOURS[slot.kind] for slot in example.slots}
bold = {place for slot in example.slots for place in (slot.position, slot.position + 1)}
figure, axis = plt.subplots(figsize=(5.2, 2.8))
row, column, WIDE = 0, 0.0, 56
for place, token in enumerate(example.ids):
    word = GRAMMAR.words[token].strip()
    if column + len(word) > WIDE:
        row, column = row + 1, 3.0
    axis.text(column, -row, word, color=colours.get(place, "black" if place in bold else COLOURS["grey"]),
              fontweight="bold" if place in bold or place in colours else "normal", fontsize=9, family="monospace")  # fmt: skip
    row, column = (row + 1.3, 0.0) if word == "." else (row, column + len(word) + 1)
row, column = row + 1.8, 0.0
for word, colour in [("kind of cue:", "black"), *KIND_COLOURS.items()]:
    axis.text(column, -row, word, color=colour, fontsize=9, fontweight="normal" if colour == "black" else "bold")  # fmt: skip
    column += len(word) + 2
axis.set(xlim=(0, WIDE + 1), ylim=(-row - 0.5, 0.8))
axis.axis("off")
plt.show()

# %% tags=["hide-input"]
fresh = labelled_documents("fresh", 800)


def right_at_slots(model) -> pd.Series:
    batch = model.batch([document.ids for document in fresh])
    said = model.logits(batch).argmax(-1)
    rows = [(s.kind, bool(said[n, s.position + 1] == s.target)) for n, d in enumerate(fresh) for s in d.slots]  # fmt: skip
    return pd.DataFrame(rows, columns=["kind", "right"]).groupby("kind").right.mean()


learned = pd.DataFrame({f"seed {seed}": right_at_slots(model) for seed, model in models.items()})
Markdown(
    f"The models have learned this language: whatever the seed and the kind of cue, the target is the likeliest token in {percent(learned.min().min())} "
    "or more of the slots of new documents."
)

# %% [markdown]
# This design was chosen after others had failed. Where a cue calls for its target by itself, attention
# writes the answer straight into the {term}`logits <logit>`, and no neuron is needed; hence the markers. Where fillers
# are drawn independently of each other, no neuron becomes precise; hence fillers that follow each other in habits of their
# own. So this world is *kind* to a method that goes by effects. To attributions it is unkind: the direct path, all that they see, carries hardly
# anything here, and more in the default run's model ({ref}`direct-path`).
#
# We load the tables that chapters 2 to 5 left for each model:

# %%
STAGES = ("neurons", "follow_rates", "prompts", "suffixes", "heads", "pairs")
runs = {seed: read_run(run) for seed, run in zip(SEEDS, PLANTED, strict=True)}
left = {seed: {stage: load(runs[seed], stage) for stage in STAGES} for seed in SEEDS}


# %% tags=["hide-input"]
class Found(NamedTuple):
    """What the search left: tables joined, and of two inputs of a neuron the one that decides."""

    neurons: pd.DataFrame
    suffixes: pd.DataFrame
    heads: pd.DataFrame
    pairs: pd.DataFrame


def joined(neurons, follow_rates, prompts, suffixes, heads, pairs) -> Found:
    rates = follow_rates[follow_rates.split == "train"]
    new = [column for column in rates.columns if column not in neurons.columns]
    key = ["neuron", "split", "prompt"]
    return Found(
        rates[["neuron", *new]].merge(neurons, on="neuron"),
        suffixes.merge(prompts[[*key, "position"]], on=key),
        heads[heads.input.isin(("in", "post"))],
        pairs,
    )


found = {seed: joined(**tables) for seed, tables in left.items()}
documents = {split: labelled_documents(split, 2000) for split in ("train", "test")}

# %% [markdown]
# ## One planted look-up by hand
#
# We take a neuron, a head and a prompt of the first model by the rule of the
# {ref}`running example <running-example>`: the neuron that its token follows most often, the head of its
# kept pair with the largest gap, and a typical held-out prompt on which the head is active.

# %% tags=["hide-input"]
name = running_neurons(runs[0], left[0]["follow_rates"])[0]
_, its_head = running_pair(found[0].pairs, name)
facts = found[0].neurons.set_index("neuron").loc[name]
mine = found[0].suffixes.query("neuron == @name and split == 'test'")
judged = found[0].heads.query("neuron == @name and head == @its_head and split == 'test'")
mine = mine.merge(judged[["prompt", "active", "effect"]], on="prompt").assign(token=facts.token)
prompt = running_prompt(mine.assign(next_token=mine.next_token_id.map(lambda i: GRAMMAR.words[i])))
document = documents["test"][int(prompt.prompt.rpartition("/")[2])]
slot = next(one for one in document.slots if one.position == prompt.position)
meant = next(n for n in range(8) if document.ids[slot.cue] in GRAMMAR.cues(slot.kind, n))
other_cue = GRAMMAR.cues(slot.kind, (meant + 1) % 8)[0]
neuron = Neuron.parse(name)
cue, other_word = (GRAMMAR.words[i].strip() for i in (document.ids[slot.cue], other_cue))
start = max(i for i in range(slot.position) if i == 0 or document.ids[i - 1] == GRAMMAR.ids["."])
sentence = GRAMMAR.text(document.ids[min(start, slot.cue) : slot.position + 1]).strip()
Markdown(
    f"The “{facts.token}” neuron ({name}) with the head {its_head}. The prompt ends in “{sentence} ▸ {facts.token.strip()}”. By the rules of the language, the word "
    f"that decides is the {slot.kind} cue *{cue}*. We exchange it for *{other_word}*, which calls for another target, and let first the whole model and then "
    "one head alone read the other text:"
)

# %%
text, exchanged = list(document.ids[: slot.position + 1]), list(document.ids[: slot.position + 1])
exchanged[slot.cue] = other_cue
patched = path_patch(models[0], [neuron], [text], [exchanged])
whole = path_patch(models[0], [neuron], [exchanged], [exchanged])
by_head = pd.Series(patched.pre_without[0].tolist(), index=list(map(str, patched.heads)))
others = by_head.drop(its_head)

# %% tags=["hide-input"]
activations = dict(zip(by_head.index, patched.act_without[0].tolist(), strict=True))
by_hand = {
    "the text as it stands": (patched.pre[0].item(), patched.act[0].item()),
    f"all heads read *{other_word}*": (whole.pre[0].item(), whole.act[0].item()),
    f"only {its_head} reads *{other_word}*": (by_head[its_head], activations[its_head]),
    f"only {others.idxmin()} reads it, which does most of the others": (others.min(), activations[others.idxmin()]),
}  # fmt: skip
pd.DataFrame(by_hand, index=["pre-activation", "activation"]).T.round(1) + 0.0

# %% tags=["hide-input"]
of_pair = found[0].pairs.set_index(KEYS).loc[(name, its_head)]
by_two_sd = found[0].heads.query("neuron == @name and head == @its_head and split == 'train'").active_2sd.mean()  # fmt: skip
Markdown(
    f"So {its_head} tells this neuron about the cue. What did the method make of it, which knows nothing of cues? By effect the head is "
    f"active on {percent(of_pair.share)} of the neuron's training prompts, which differ from the others by {of_pair.gap:.2f} of the activation, and the pair is "
    f"{'kept' if of_pair.kept else 'not kept'}. By the paper's rule for attributions, mean + 2 standard deviations, the same head is active on {percent(by_two_sd)} of them."
)

# %% [markdown]
# The rest of the chapter asks the same of all neurons, heads and prompts.
#
# ## Are these the right neurons?
#
# By the planted answer, a neuron is *for* a target if two things hold: at least half of the
# {glue:text}`strongest-slots` slots of new documents at which it fires most call for that target, and of all
# targets it raises this one's logit most. In the three models, {glue:text}`planted-neurons` of
# {glue:text}`all-neurons` neurons of the last layer are for a target.

# %% tags=["hide-input"]
STRONGEST = 25
glue("strongest-slots", STRONGEST, display=False)


def fires_and_writes(model) -> pd.DataFrame:
    """For each neuron of the last layer: the target that it is for, or -1."""
    planted = targets_of(model, GRAMMAR, fresh, strongest=STRONGEST, share=0.5)
    names = [str(Neuron(model.n_layers - 1, index)) for index in range(model.d_mlp)]
    return pd.DataFrame({"neuron": names, "planted": planted.tolist()})


for seed, model in models.items():
    table = found[seed].neurons.merge(fires_and_writes(model), on="neuron")
    found[seed] = found[seed]._replace(neurons=table)

# %% [markdown]
# Each way of choosing neurons has a precision, the share of those chosen that are for the token they
# are said to be for, and a recall, the share of neurons for a target that are chosen. A null of
# {ref}`next-token-neurons` chooses those neurons that only one in twenty of its own draws would reach:


# %%
def beyond(percentile: pd.Series, of_draws: float = 0.05) -> np.ndarray:
    return percentile.to_numpy() >= 100 * (1 - of_draws)


CHOICES = {
    "all neurons": lambda t: (t.neuron.notna(), "token_id"),
    "the paper's list": lambda t: (t.group == "top", "paper_token_id"),
    "beyond the random-direction null": lambda t: (beyond(t.isotropic_percentile), "token_id"),
    "beyond the rotation null": lambda t: (beyond(t.null_percentile), "token_id"),
    "sound": lambda t: (t.sound, "token_id"),
}  # fmt: skip


# %% tags=["hide-input"]
def precision_and_recall(table: pd.DataFrame, chosen: pd.Series, token: str) -> dict:
    hit = chosen & (table.planted == table[token]) & (table.planted >= 0)
    return {
        "chosen": int(chosen.sum()),
        "precision": f"{hit.sum() / max(1, chosen.sum()):.2f}",
        "recall": f"{hit.sum() / max(1, (table.planted >= 0).sum()):.2f}",
    }


judgements = {
    choice: pd.DataFrame([precision_and_recall(one.neurons, *choose(one.neurons)) for one in found.values()]).astype(str)
    for choice, choose in CHOICES.items()
}  # fmt: skip
glue("planted-neurons", ", ".join(str(int((one.neurons.planted >= 0).sum())) for one in found.values()), display=False)  # fmt: skip
glue("all-neurons", len(found[0].neurons), display=False)
pd.DataFrame({choice: one.agg(", ".join) for choice, one in judgements.items()}).T

# %% [markdown]
# Each cell has the numbers of the three models. The first row is what choosing without looking would
# give, and every other precision has to be compared with it. The paper's list and the nulls are right
# only somewhat more often than that; a list of twenty can hold few of the neurons in any case. {term}`Sound neurons <sound neuron>`, which their token really follows, are right most
# often, and most of the right neurons are among them.
#
# ## Are these the right prompts, and the right cuts?
#
# Where a slot calls for the neuron's token, all that is needed is the cue, the marker, and what lies
# between. A cut that is right begins at the cue. One that begins before it keeps idle words, and one that begins
# behind it has lost the cue although the neuron still fires.


# %% tags=["hide-input"]
def contexts(prompts: pd.DataFrame) -> pd.DataFrame:
    """What stands at the last token of each prompt: the slot's kind, target and cue's place; "none" and -1 where none is."""
    at_end = []
    for split, prompt, position in prompts[["split", "prompt", "position"]].itertuples(index=False):
        slots = documents[split][int(prompt.rpartition("/")[2])].slots
        here = ((s.kind, s.target, s.cue) for s in slots if s.position == position)
        at_end.append(next(here, ("none", -1, -1)))
    return pd.DataFrame(at_end, index=prompts.index, columns=["kind", "target", "cue"])


# %% tags=["hide-input"]
told = {}
for seed, one in found.items():
    sound = one.neurons[one.neurons.sound & one.neurons.token_id.isin(one.neurons.planted)]
    rows = one.suffixes[one.suffixes.neuron.isin(sound.neuron)].reset_index(drop=True)
    rows = rows.join(contexts(rows))
    rows["token_id"] = rows.neuron.map(sound.set_index("neuron").token_id)
    rows["called"] = rows.target == rows.token_id
    told[seed] = rows


def where_cut(rows: pd.DataFrame) -> dict[str, float]:
    rows = rows[rows.called]
    place = np.select([rows.start == rows.cue, rows.start < rows.cue], ["at the cue", "before it"], "behind it")  # fmt: skip
    shares = pd.crosstab(rows.kind, place, normalize="index").stack()
    return {f"{kind}: cut begins {place}": share for (kind, place), share in shares.items()}


cuts = pd.DataFrame(
    {
        f"seed {seed}": {
            "prompts at a slot that calls for the token": rows.called.mean(),
            "prompts at no slot": (rows.kind == "none").mean(),
            **where_cut(rows),
        }
        for seed, rows in told.items()
    }
).fillna(0)  # fmt: skip


def in_models(row: str) -> str:
    """A row's shares in the three models."""
    return ", ".join(f"{100 * share:.0f}" for share in cuts.loc[row]) + " %"


Markdown(
    f"Of the prompts of sound neurons, {in_models('prompts at a slot that calls for the token')} end at a slot that calls for the token (one number a model). "
    f"Where the title decides, the cut begins at it in {in_models('title: cut begins at the cue')}, and loses it in all others. Where a topic decides, "
    f"{in_models('topic: cut begins at the cue')} begin at the cue and {in_models('topic: cut begins behind it')} lose it. Where the word before the marker decides, "
    f"{in_models('filler: cut begins before it')} keep words that are not needed."
)

# %% [markdown]
# ## Which head tells which neuron?
#
# The truth about pairs comes from the experiment that we did by hand, {term}`path patching` on minimal pairs:
# one head's output on a text is replaced by its output on another that differs in one cue
# ({func}`~lookups.measure.ground_truth.carried`). A pair of a neuron and a head *carries* a kind of cue if the neuron's
# {term}`pre-activation` falls by more than {glue:text}`threshold`, on average over {glue:text}`minimal-pairs` minimal
# pairs for each kind and target. A neuron that is clearly on has a pre-activation above 1.

# %%
PAIRS, THRESHOLD = 200, 0.5

# %% tags=["hide-input"]
glue("minimal-pairs", PAIRS, display=False)
glue("threshold", THRESHOLD, display=False)
truth = {}
for seed, rows in told.items():
    tokens = rows.drop_duplicates("neuron").set_index("neuron").token_id
    targets = {Neuron.parse(neuron): int(token) for neuron, token in tokens.items()}
    truth[seed] = carried(models[seed], GRAMMAR, targets, n=PAIRS)
    truth[seed]["carries"] = truth[seed].change > THRESHOLD

# %% tags=["hide-input"] mystnb={"figure": {"caption": "In each model a single head tells the neurons about each kind of cue, or two share the work: the fall of the pre-activation when the head alone reads the other text of a minimal pair, averaged over the sound neurons. One panel a model, one row a kind; a dark cell is a look-up.", "name": "fig-truth"}, "image": {"alt": "Heat maps of kinds by heads for three seeds"}}
shades = LinearSegmentedColormap.from_list("shades", ["white", COLOURS["blue"]])
figure, axes = plt.subplots(len(SEEDS), 1, figsize=(6.4, 4.2), sharex=True)
grids = {seed: one.groupby(["kind", "head"], sort=False).change.mean().unstack() for seed, one in truth.items()}  # fmt: skip
for axis, (seed, grid) in zip(axes, grids.items(), strict=True):
    image = axis.imshow(grid, vmin=0, vmax=3, cmap=shades, aspect="auto")
    axis.set_yticks(range(len(grid)), grid.index)
    axis.set_title(f"seed {seed}", fontsize=9)
    axis.grid(False)
axes[-1].set_xticks(range(grid.shape[1]), grid.columns, rotation=90)
figure.colorbar(image, ax=axes, label="fall of the pre-activation")
plt.show()


# %% [markdown]
# How much of this goes straight from the head to the neuron? We hold the MLPs in between at what they
# put out, and repeat the experiment on fewer minimal pairs of the first model:

# %% tags=["hide-input"]
tokens = told[0].drop_duplicates("neuron").set_index("neuron").token_id
targets = {Neuron.parse(neuron): int(token) for neuron, token in tokens.items()}
straight = carried(models[0], GRAMMAR, targets, n=50, through_mlps=False)
both = truth[0].merge(straight, on=["neuron", "head", "kind"], suffixes=("", "_straight"))
share = both[both.carries].change_straight.sum() / both[both.carries].change.sum()
glue("straight-share", percent(share), display=False)
Markdown(
    f"In the three models {', '.join(str(len(one.query('carries').groupby(KEYS))) for one in truth.values())} pairs carry a kind, of "
    f"{', '.join(str(len(one) // len(KINDS)) for one in truth.values())}. In the first, the direct path carries {percent(share)} of what these heads tell these neurons. "
    + ("A head attribution, which measures the direct path, sees next to nothing of it." if share < 0.1
       else "A head attribution, which measures the direct path, sees a part of it." if share < 0.7
       else "A head attribution, which measures the direct path, sees most of it.")
)  # fmt: skip

# %% [markdown]
# ## Does the method find these pairs?
#
# {ref}`heads` keeps a pair when its head is active on a middling share of the neuron's prompts and, by
# effect, when the two kinds of prompts differ enough. For each rule of what *active* means we ask which
# share of the pairs that carry a kind is kept (recall), which share of the others is kept (false positives), and
# which share of the kept pairs carries a kind (precision).


# %% tags=["hide-input"]
def of_rule(seed: int, rule: str) -> pd.DataFrame:
    """Every pair of a sound neuron: whether it carries a kind, and whether the rule keeps it."""
    judged = found[seed].heads[found[seed].heads.neuron.isin(told[seed].neuron)]
    share = judged[judged.split == "train"].groupby(KEYS)[f"active_{rule}"].mean()
    table = share.between(*runs[seed].pair_share).to_frame("kept")
    if rule == "effect":  # as chapter 5 keeps them, with its condition on the gap
        table["kept"] = found[seed].pairs.set_index(KEYS).kept.reindex(table.index)
    return table.assign(carries=truth[seed].groupby(KEYS).carries.any().reindex(table.index))


# %% tags=["hide-input"]
RULES = {
    "2sd": "mean + 2 sd of attributions",
    "top3": "the three highest attributions",
    "effect": "effect",
}
table = {
    (label, seed): {
        "kept": float(rows.kept.sum()),
        "recall": rows.kept[rows.carries].mean(),
        "false positives": rows.kept[~rows.carries].mean(),
        "precision": rows.carries[rows.kept].mean(),
    }
    for rule, label in RULES.items()
    for seed in SEEDS
    for rows in [of_rule(seed, rule)]
}  # fmt: skip
by_rule = pd.DataFrame(table).T
pd.DataFrame(
    {
        label: {name: listed(values, 0 if name == "kept" else 2) for name, values in by_rule.loc[label].items()}
        for label in RULES.values()
    }
).T.rename_axis("rule")  # fmt: skip

# %% [markdown]
# A head that serves a rare kind of context is active on few of a neuron's prompts and cannot be kept,
# however clearly it acts. So we also ask for detection alone: we rank all pairs by how strongly the head
# acts where it acts most (the ninth decile over the neuron's training prompts), and count how many true
# pairs come before how many false ones ({numref}`fig-roc`).


# %% tags=["hide-input"] mystnb={"figure": {"caption": "Ranked by effect, the planted pairs come first; ranked by attribution, most do not. Recall of the pairs that carry a kind (up) against the share of other pairs that are called as well (across), as the bound falls, for all three models together. The two grey curves rank by the share of prompts on which one of the paper's rules calls the head active. The dotted line marks 5 % false positives.", "name": "fig-roc"}, "image": {"alt": "Curves of recall against false positives for four rankings of pairs"}}
def rankings(seed: int) -> pd.DataFrame:
    judged = found[seed].heads[found[seed].heads.neuron.isin(told[seed].neuron)]
    groups = judged[judged.split == "train"].groupby(KEYS)
    table = groups[["effect", "attribution"]].quantile(0.9)
    table["two_sd"], table["top_3"] = groups.active_2sd.mean(), groups.active_top3.mean()
    return table.assign(carries=truth[seed].groupby(KEYS).carries.any().reindex(table.index))


ranks = {seed: rankings(seed) for seed in SEEDS}


def recall_at(table: pd.DataFrame, by: str, allowed: float = 0.05) -> float:
    """The recall at the lowest bound that calls at most `allowed` of the other pairs."""
    bound = np.sort(table[by][~table.carries])[::-1][int(allowed * (~table.carries).sum())]
    return float((table[by][table.carries] > bound).mean())


LABELS = {"effect": "effect", "attribution": "attribution", "two_sd": "mean + 2 sd", "top_3": "the three highest"}  # fmt: skip
figure, axis = plt.subplots(figsize=(5.2, 3.8))
together = pd.concat(ranks.values())
for (by, label), colour in zip(LABELS.items(), ("blue", "orange", "grey", "grey"), strict=True):
    order = together.sort_values(by, ascending=False, kind="stable").carries
    style = "--" if by == "top_3" else "-"
    axis.plot((~order).cumsum() / (~order).sum(), order.cumsum() / order.sum(), style, color=COLOURS[colour], label=label)  # fmt: skip
axis.axvline(0.05, color="black", linestyle=":", linewidth=0.8)
axis.text(0.055, 0.03, "5 %", fontsize=9)
axis.set(xlabel="share of the other pairs called", ylabel="recall", xlim=(0, 0.5), ylim=(0, 1.02))
axis.legend(loc="lower right")
plt.show()
at_five = pd.DataFrame(
    {f"recall at 5 %, seed {seed}": {label: recall_at(one, by) for by, label in LABELS.items()} for seed, one in ranks.items()}
)  # fmt: skip
Markdown(
    f"At 5 % false positives, effects find {listed(at_five.loc['effect'])} of the pairs in the three models, and attributions "
    f"{listed(at_five.loc['attribution'])}."
)

# %% [markdown]
# Now prompt by prompt: does *active* mean *of this kind*? For each pair that is kept by effect we choose, on the training
# prompts, the kind or the two kinds whose prompts agree best with the active ones, and report the balanced
# accuracy on held-out prompts. As a control the active labels of each split are shuffled.

# %% tags=["hide-input"]
SETS = [set(some) for size in (1, 2) for some in combinations(KINDS, size)]


def balanced(active: np.ndarray, of_kind: np.ndarray) -> float:
    if of_kind.all() or not of_kind.any():
        return np.nan
    return (active[of_kind].mean() + (~active[~of_kind]).mean()) / 2


def agreement(rows: pd.DataFrame, active: np.ndarray) -> float:
    """Balanced accuracy on test, for the kinds that were best on train."""
    kind, train = rows.kind.to_numpy(), (rows.split == "train").to_numpy()
    on = lambda some, which: balanced(active[which], np.isin(kind[which], list(some)))  # noqa: E731
    best = max(SETS, key=lambda some: np.nan_to_num(on(some, train)))
    return on(best, ~train)


def agreements(seed: int) -> pd.DataFrame:
    random, out = np.random.default_rng(seed), []
    prompts = dict(list(told[seed].groupby("neuron")))
    pairs = dict(list(found[seed].heads.groupby(KEYS)))
    for neuron, head in of_rule(seed, "effect").query("kept").index:
        judged = pairs[neuron, head][["split", "prompt", "active_effect"]]
        rows = prompts[neuron].merge(judged, on=["split", "prompt"])
        assert len(rows) == len(prompts[neuron])
        active = rows.active_effect.to_numpy(bool)
        mixed = active.copy()
        for split in ("train", "test"):
            own = np.flatnonzero(rows.split == split)
            mixed[own] = active[random.permutation(own)]
        out.append((neuron, head, agreement(rows, active), agreement(rows, mixed)))
    table = pd.DataFrame(out, columns=["neuron", "head", "accuracy", "shuffled"])
    gaps = found[seed].pairs.set_index(KEYS).gap
    return table.assign(gap=gaps.reindex(pd.MultiIndex.from_frame(table[KEYS])).to_numpy())


by_pair = {seed: agreements(seed) for seed in SEEDS}
clear = {seed: one.query("gap >= 0.5") for seed, one in by_pair.items()}
Markdown(
    f"Over all kept pairs the balanced accuracy is {listed(one.accuracy.mean() for one in by_pair.values())}, and "
    f"{listed(one.shuffled.mean() for one in by_pair.values())} with shuffled labels. Over the pairs whose two kinds of prompts differ by half of the activation or more, it is "
    f"{listed(one.accuracy.mean() for one in clear.values())}."
)

# %% [markdown]
# Pairs with a large difference do better, so a part of what is missing is prompts near the bound
# between active and inactive. Another part is due to the language. A head may serve two kinds of cue, and the absence of a cue informs
# too: the title decides only where the sentence has no topic. A topic head therefore matters on title prompts as well, and with its average
# output in place of its own the neuron changes there.
#
# ## Pairs that cannot exist
#
# Surgery gives pairs that are certainly false: we change a head's output matrix so that the head can tell the neuron nothing.
# In the neuron's own layer, the neuron's input directions are projected out of it. From an earlier layer the head
# could still speak through MLPs, so all that it writes goes:


# %%
def cut(model: Model, head: Head, neuron: Neuron) -> None:
    matrix = model.w_o(head.layer)[head.index]
    if head.layer < neuron.layer:
        matrix.zero_()
    else:
        inputs = [weight[:, neuron.index] for weight, _ in model.mlp_in(neuron.layer).values()]
        basis = torch.linalg.qr(torch.stack(inputs, dim=1).double()).Q
        matrix -= (matrix.double() @ basis @ basis.T).to(matrix.dtype)


# %% [markdown]
# We operate, one at a time, on the
# {glue:text}`operated` kept pairs of each model whose kinds of prompts differ most and on as many pairs chosen at random, and
# compute effects anew. How often is the pair still found? After each operation the head's {term}`attribution <head attribution>`
# must be zero, and when it is undone the model must be what it was.


# %% tags=["hide-input"]
def effects_of(model, neuron: Neuron, rows: pd.DataFrame, mean: torch.Tensor) -> pd.DataFrame:
    """The effect of every head on a neuron's prompts: the share of its activation lost."""
    ids = rows.token_ids.tolist()
    patched = path_patch(model, [neuron] * len(ids), ids, mean)
    lost = 1 - (patched.act_without / patched.act[:, None]).numpy(force=True)
    return pd.DataFrame(np.clip(lost, 0, 1).round(4), columns=[str(h) for h in patched.heads])


def still_apart(effect: pd.Series) -> bool:
    """Whether any bound at all splits a head's effects as the rule demands."""
    low, high = runs[0].pair_share
    ordered = np.sort(effect)
    cuts = range(max(1, int(np.ceil((1 - high) * len(ordered)))), int((1 - low) * len(ordered)) + 1)
    gaps = [ordered[cut:].mean() - ordered[:cut].mean() for cut in cuts]
    return max(gaps, default=0.0) >= runs[0].effect_apart


OPERATED = 12
glue("operated", OPERATED, display=False)
operated = []
first = [found[0].suffixes.token_ids.iloc[:4].tolist(), [runs[0].layers[-1]]]
before = models[0].activations_at_last(*first)
for seed, model in models.items():
    train = found[seed].suffixes[found[seed].suffixes.split == "train"]
    table = found[seed].pairs[found[seed].pairs.selected]
    drawn = table.sample(OPERATED, random_state=seed)
    widest = table[table.kept].sort_values(["gap", "neuron", "head"], ascending=[False, True, True], kind="stable")  # fmt: skip
    for which, pairs in {"kept": widest.head(OPERATED), "drawn": drawn}.items():
        for neuron, head in zip(pairs.neuron, pairs["head"], strict=True):
            rows, matrix = train[train.neuron == neuron], model.w_o(Head.parse(head).layer)
            usual = matrix.clone()
            cut(model, Head.parse(head), Neuron.parse(neuron))
            model.forward.forget(as_loaded=False)  # what it computed before
            mean = mean_at_last(model, train.token_ids.iloc[::20].tolist())
            effect = effects_of(model, Neuron.parse(neuron), rows, mean)[head]
            left = attribute(model, [Neuron.parse(neuron)] * len(rows), rows.token_ids.tolist())[
                "in"
            ]
            assert left.by_head[:, left.heads.index(Head.parse(head))].abs().max() < 1e-5
            matrix.copy_(usual)
            model.forward.forget(as_loaded=True)
            operated.append((seed, which, still_apart(effect), float(effect.abs().max())))
after = models[0].activations_at_last(*first)
assert all(torch.equal(before[layer], after[layer]) for layer in before)
operated = pd.DataFrame(operated, columns=["seed", "which", "found", "largest effect"])
of_kept, of_drawn = (operated[operated.which == which] for which in ("kept", "drawn"))
Markdown(
    f"After the operation {int(of_kept.found.sum())} of {len(of_kept)} kept pairs are still found, and "
    f"{int(of_drawn.found.sum())} of {len(of_drawn)} pairs chosen at random. The largest effect that is left "
    f"is {operated['largest effect'].max():.3f}. Nothing was left to be found, so this checks the code more than the method."
)

# %% [markdown]
# ## Are the explanations true?
#
# From the pairs that are kept by effect and do carry a kind, we choose {glue:text}`explained` of each model at
# random. The explainer `contrast` explains each from its training prompts ({ref}`explanations`). Does the sentence
# name a cue of a kind that the pair carries? And how well does it sort the held-out prompts, compared with the sentence
# of another of these pairs, whose neuron is for another target?

# %% tags=["hide-input"]
EXPLAINED = 16
glue("explained", EXPLAINED, display=False)
explainer = Contrast()


def words_for(seed: int, neuron: str, head: str) -> set[str]:
    """The cues of the kinds that a pair carries, for any target."""
    own = truth[seed].query("neuron == @neuron and head == @head and carries")
    cues = (GRAMMAR.cues(kind, meant) for kind in own.kind for meant in range(len(GRAMMAR.targets)))
    return {GRAMMAR.words[cue].strip() for some in cues for cue in some}


explained = []
for seed in SEEDS:
    table = of_rule(seed, "effect").query("kept and carries").reset_index()[KEYS]
    drawn = table.sample(min(EXPLAINED, len(table)), random_state=0).sort_values(KEYS)
    tokens = found[seed].neurons.set_index("neuron").token
    prompts = PairPrompts(found[seed].suffixes, found[seed].heads, tokens=tokens, decode=models[seed].decode)  # fmt: skip
    for neuron, head in drawn.itertuples(index=False):
        told_by = explainer.explain(prompts.case(neuron, head))
        named = set(re.findall(r"\w+", told_by.text)) & words_for(seed, neuron, head)
        rows = prompts.rows(neuron, head, "test")
        explained.append((seed, neuron, head, tokens[neuron], told_by, sorted(named), rows))

# %% tags=["hide-input"]
judged = pd.DataFrame(explained, columns=["seed", "neuron", "head", "token", "by", "named", "rows"])
judged["names a cue"] = judged.named.map(bool)
judged["sure"] = ~judged.by.map(lambda one: one.text.startswith("No words tell"))
glue("named-share", percent(judged["names a cue"].mean()), display=False)


def sorts(explanation, rows: pd.DataFrame) -> Counts:
    asked = tuple(Example(r.prompt, tuple(map(int, r.token_ids)), r.text, r.token) for r in rows.itertuples())  # fmt: skip
    return count([v.active for v in explainer.judge(Question(explanation, asked))], rows.active)


def lent(place: int) -> int:
    """The next pair of the same model whose neuron is for another target."""
    seed, token = explained[place][0], explained[place][3]
    order = [*range(place + 1, len(explained)), *range(place)]
    return next(p for p in order if explained[p][0] == seed and explained[p][3] != token)


both_kinds = [p for p, row in enumerate(explained) if row[6].active.nunique() == 2]
own = [score(sorts(explained[p][4], explained[p][6])) for p in both_kinds]
other = [score(sorts(explained[lent(p)][4], explained[p][6])) for p in both_kinds]
quoted = judged[judged.sure].head(1)
of_neuron = [f"{one[0]}/{one[1]}" for one in explained]


def over_neurons(values, places) -> str:
    return written(bootstrap_mean(values, [of_neuron[p] for p in places], seed=0), digits=2)


every, sure_ones = range(len(judged)), [p for p, known in enumerate(judged.sure) if known]
names_a_cue = judged["names a cue"].to_numpy(float)
Markdown(
    f"The share of sentences that name a cue of the right kind is {over_neurons(names_a_cue, every)} of all {len(judged)}, and "
    f"{over_neurons(names_a_cue[sure_ones], sure_ones)} of the "
    f"{len(sure_ones)} that claim to tell the two kinds of prompts apart (intervals resample neurons). Over the {len(both_kinds)} pairs with held-out prompts of both kinds, the score is "
    f"{over_neurons(own, both_kinds)} by the pair's own sentence, and {over_neurons(other, both_kinds)} by that of another pair, where one half is chance."
    + "".join(f" For example, the “{r.token}” neuron ({r.neuron}) with {r.head}: *{r.by.text}* ({'it names ' + ', '.join(r.named) if r.named else 'it names no cue'})" for r in quoted.itertuples())
)  # fmt: skip

# %% [markdown]
# ## Does silencing the head break what it tells of?
#
# We set each head to zero at every position, one at a time, and see how much log-probability the target loses at
# slots of each kind. The head that costs a kind most should be the one that tells the neurons most about that kind.


# %% tags=["hide-input"]
def cost_of_heads(model, n: int = 100) -> pd.DataFrame:
    """What the target's log-probability loses at slots of each kind when one head is zeroed."""
    batch = model.batch([one.ids for one in fresh[:n]])
    slots = [(d, s.position + 1, s.target, s.kind) for d, one in enumerate(fresh[:n]) for s in one.slots]  # fmt: skip
    document, place, target = (torch.tensor(c) for c in list(zip(*slots, strict=True))[:3])

    def logp(hooks) -> torch.Tensor:
        with torch.no_grad(), model.bridge.hooks(fwd_hooks=hooks):
            return model.logits(batch).log_softmax(-1)[document, place, target]

    usual, costs = logp([]), {}
    for head in (Head(layer, h) for layer in range(model.n_layers) for h in range(model.n_heads)):

        def silence(z, hook, index=head.index):
            return z.index_fill(2, torch.tensor([index]), 0.0)

        costs[str(head)] = (usual - logp([(f"blocks.{head.layer}.attn.hook_z", silence)])).numpy()
    return pd.DataFrame(costs).groupby([row[3] for row in slots]).mean().loc[list(KINDS)]


costs = {seed: cost_of_heads(model) for seed, model in models.items()}
matches = [
    (grids[seed].loc[kind].idxmax() == grid.loc[kind].idxmax(), grid.loc[kind].max())
    for seed, grid in costs.items() for kind in KINDS
]  # fmt: skip
Markdown(
    f"In {sum(same for same, _ in matches)} of {len(matches)} cases the head that costs a kind most is the one that tells the neurons most about it, and it costs between "
    f"{min(most for _, most in matches):.1f} and {max(most for _, most in matches):.1f} nats."
)

# %% [markdown]
# (true-sentences)=
# ## The hardest test, with true sentences
#
# {ref}`hardest-test` adds up what silencing a head costs, and asks what share of it falls on the
# prompts that a sentence calls active. How large is that share when the sentence is *true*? Here we can
# write a true one: the head of a pair that carries a kind of cue is active where a cue of this kind decides the
# slot. It is compared with the sentence of `contrast`, with the prompts on which the head *is* active (the labels
# themselves), and with a shuffled sentence that calls as many prompts active, at random.


# %%
def truly_active(one: pd.DataFrame, carries: pd.DataFrame) -> np.ndarray:
    """What the true sentence says of a pair's prompts: a cue of a kind that it carries decides."""
    return one.kind.isin(carries.kind).to_numpy()


# %% tags=["hide-input"]
CALLERS = {
    "true": "the true sentence", "shuffled": "the same, shuffled",
    "contrast": "the sentence of contrast", "active": "the labels themselves",
}  # fmt: skip
WHAT = {"act": "activation", "logp": "token, nats"}
tested = []
for seed, neuron, head, _, by, _, rows in explained:
    n, token = len(rows), int(found[seed].neurons.set_index("neuron").token_id[neuron])
    edited = ablate(models[seed], rows.token_ids.tolist(), [Neuron.parse(neuron)] * n,
                    [token] * n, [Head.parse(head)] * n, ["zero", "direct_recomputed"])  # fmt: skip
    place = told[seed].query("neuron == @neuron")[["split", "prompt", "kind", "called"]]
    one = rows[["split", "prompt", "active", "token_ids", "text", "token"]].merge(place, on=["split", "prompt"])  # fmt: skip
    assert len(one) == n
    for what in WHAT:
        one[what] = getattr(edited.before, what) - getattr(edited.after["zero"], what)
    one["direct"] = edited.before.logp - edited.after["direct_recomputed"].logp
    one["true"] = truly_active(one, truth[seed].query("neuron == @neuron and head == @head and carries"))  # fmt: skip
    one["shuffled"] = one.true.to_numpy()[lots_of(seed, "true", neuron, head).permutation(n)]
    asked = tuple(Example(r.prompt, tuple(map(int, r.token_ids)), r.text, r.token) for r in rows.itertuples())  # fmt: skip
    said = [bool(verdict.active) for verdict in explainer.judge(Question(by, asked))]
    one["contrast"] = one.prompt.map(dict(zip(rows.prompt, said, strict=True)))
    tested.append(one.assign(neuron=f"{seed} {neuron}", head=head))
tested = pd.concat(tested, ignore_index=True)


def kept_by(rows: pd.DataFrame, caller: str, what: str) -> Estimate:
    """The share of the whole effect that falls on prompts called active, as in chapter 9."""
    part = rows.assign(part=rows[what] * rows[caller]).groupby(KEYS)[["part", what]].mean()
    return share_of_mean(part.part, part[what], part.index.get_level_values("neuron"), seed=0).share


places = {"all": tested, "at slots that call for the token": tested[tested.called]}
kept_shares = {(caller, where, what): kept_by(rows, caller, what) for caller in CALLERS for where, rows in places.items() for what in WHAT}  # fmt: skip
pd.DataFrame(
    {
        name: {"prompts called active": f"{tested.groupby(KEYS)[caller].mean().mean():.2f}"}
        | {f"{words}, {where}": written(kept_shares[caller, where, what], digits=2) for where in places for what, words in WHAT.items()}
        for caller, name in CALLERS.items()
    }
).T.rename_axis("kept of the effect by")  # fmt: skip

# %% [markdown]
# Intervals resample neurons. Where another target is called for, the neuron's token may gain when the
# head is silenced, so the last two columns leave those prompts out; among those that remain, the
# shuffled sentence calls somewhat fewer active than the true one.

# %% tags=["hide-input"]
missed = tested[~tested.true]
of_pairs = tested.groupby(KEYS)[["act"]].mean().act.sum()
in_pair = tested.groupby(KEYS).act.transform("size")
where_missed = {
    "at slots of a kind that the pair does not carry": missed.kind != "none",
    "at no slot": missed.kind == "none",
}  # fmt: skip
lost = {name: float((missed.act / in_pair[missed.index])[some].sum() / of_pairs) for name, some in where_missed.items()}  # fmt: skip
true_kept = [kept_shares["true", where, what].mean for where in places for what in WHAT]
glue("true-kept", f"{true_kept[0]:.2f}", display=False)
Markdown(
    f"Of the whole effect on the neuron's activation, the true sentence misses {percent(1 - true_kept[0])}: "
    + " and ".join(f"{percent(share)} {name}" for name, share in lost.items())
    + ". A pair carries a kind here if its head moves the neuron by more than the threshold; what it does below that is missed, and so is "
    "what the absence of its cue tells the neuron."
)

# %% [markdown]
# Does the neuron of such a pair stand between the head and the token? On prompts where the head is
# active and the neuron's token is called for, we compare what the token loses without the head with what it
# loses when only the direct path from this head to this one neuron is cut:

# %% tags=["hide-input"]
losses = tested[tested.active & tested.called].groupby(KEYS)[["logp", "direct"]].mean()
zeroed, cut = losses.mean()
Markdown(
    f"Over {len(losses)} pairs the token loses {zeroed:.2f} nats without the head, and {round(cut, 2) + 0.0:.2f} without the direct path from the head to the neuron. "
    + ("In these models many neurons write the same token, and the head reaches them through earlier "
       "MLPs: no single neuron stands between the head and the token." if cut < 0.1 * zeroed else "")
)  # fmt: skip

# %% [markdown]
# ## Harder worlds
#
# This is the plain world. The same chapters were executed on four harder ones
# (`benchmarks/harder_worlds.py`; it takes too long to be repeated here), and the appendix has the table
# that this left. With cues of two words most pairs are missed, and with words that look like cues or
# with more targets than a layer has neurons about half of them; with more and narrower heads nearly
# all are found. In all four worlds effects find more than attributions do, by far in the last; among more targets only 16 pairs carry
# anything, and the difference is three of them. These are single models.

# %% [markdown]
# ## What we know

# %% tags=["hide-input"]
recalls = at_five.loc["effect"]
old, new = (by_rule.loc[RULES[rule]] for rule in ("2sd", "effect"))
accuracy = np.mean([by_pair[seed].accuracy.mean() for seed in SEEDS])
clear_accuracy = np.array([clear[seed].accuracy.mean() for seed in SEEDS])
shuffled = max(by_pair[seed].shuffled.mean() for seed in SEEDS)
named = judged["names a cue"].mean()
sure = judged[judged.sure]["names a cue"].mean()
by_attribution = at_five.loc["attribution"].mean()
for name, value in {
    "found-at-five": recalls.mean(), "found-at-five-attribution": by_attribution,
    "precision-effect": new.precision.mean(), "precision-2sd": old.precision.mean(),
    "accuracy-effect": accuracy, "accuracy-clear": clear_accuracy.mean(),
}.items():  # fmt: skip
    glue(name, f"{value:.2f}", display=False)


BARS = {
    f"recall of planted pairs at 5 % false positives, .8 or more: {recalls.mean():.2f} ({listed(recalls)})": recalls.mean() >= 0.8,
    f"balanced accuracy of active against kind over all kept pairs, .9 or more: {accuracy:.2f}; over those "
    f"whose kinds differ by half of the activation {clear_accuracy.mean():.2f} ({listed(clear_accuracy)})": accuracy >= 0.9,
    f"the shuffled control at .55 or less: {shuffled:.2f} at most": shuffled <= 0.55,
    f"pairs that were operated on and are still found, none: {int(operated.found.sum())}": not operated.found.any(),
    f"explanations of true pairs that name a cue of the right kind, 80 % or more: {percent(named)}, and "
    f"{percent(sure)} of those that claim to tell the kinds apart": named >= 0.8,
    f"share of a head's effect that a true sentence keeps, .9 or more: {listed(true_kept[:2])} (activation, nats) over all test prompts, "
    f"{listed(true_kept[2:])} at slots that call for the token": min(true_kept) >= 0.9,
}  # fmt: skip
bars = "\n".join(f"- {words}: {'reached' if reached else '**not reached**'}." for words, reached in BARS.items())  # fmt: skip
missed = sum(not reached for reached in BARS.values())
glue("truth-headline",
     f"{missed} of the {len(BARS)} bars that we set in advance were missed. At 5 % false positives, effects find {recalls.mean():.2f} of the pairs "
     f"of a head and a neuron that carry what was planted, attributions {by_attribution:.2f}; of sentences about true pairs, {percent(named)} name a cue "
     "of the right kind.", display=False)  # fmt: skip
Markdown(
    "Before the chapter was written we said what would count as success. With the best rule, by effect:\n\n"
    f"{bars}\n\nBy attribution, as in the paper, the same detection reaches {by_attribution:.2f}. Of the pairs kept by mean + 2 standard deviations, "
    f"{percent(old.precision.mean())} carry anything; of those kept by effect, {percent(new.precision.mean())}."
)

# %% [markdown]
# Where the answer is known, then, the step that fails in the paper's method is attribution. It sees the
# direct path only, and in these models an earlier MLP reads nearly everything first. Part of this is by definition: our planted answer
# counts all that a head does to a neuron, as an effect does. `protocol: sound`
# goes by {term}`effect` for that reason. Suffixes fail in a small way: a cut often keeps idle words before
# the cue, and where the title decides it often loses the cue, since the neuron fires without it.
# A list by congruence is right hardly more often than a random choice; following is right more often, and finds most of the neurons. Explanations by words fall
# short where a head reads one of many words of a kind and few prompts show each. And even a true
# sentence keeps less of a head's effect than the nine tenths that we had set as a bar, except, perhaps, for the
# token at slots that call for it: heads also act a little where nothing was planted. The bar for detection is reached only just: with a
# stricter threshold it is missed (exercise 2).
#
# We do not know how far any of this carries over to a model of natural language, where contexts have no
# labels. There, too, an effect is an experiment, and an attribution is only one term of a sum. The next
# chapter, {ref}`published-record`, asks how much the paper's own results show.
#
# ## Exercises
#
# **1.** Which precision would pairs have that are chosen at random? Compare it with that of the pairs kept by
# effect.

# %% tags=["hide-cell"]
# The share of all pairs that carry anything: about one in six. Pairs kept by effect are right more than
# four times as often.
chance = {}
for seed in SEEDS:
    rows = of_rule(seed, "effect")
    precision, recall = rows.carries[rows.kept].mean(), rows.kept[rows.carries].mean()
    assert np.isclose(precision * rows.kept.sum(), recall * rows.carries.sum())  # kept and carrying
    chance[f"seed {seed}"] = {"at random": rows.carries.mean(), "kept by effect": precision}
pd.DataFrame(chance).T.round(2)

# %% [markdown]
# **2.** A pair carries a kind if the pre-activation falls by more than one half. Does it matter where
# this line is drawn? Compute the recall at 5 % false positives for other thresholds.

# %% tags=["hide-cell"]
# It matters little. With a stricter line fewer pairs carry anything. Those that act weakly then count
# among the others, and since some of them rank high, they use up a part of the 5 %.
by_threshold = {}
for threshold in (0.25, 0.5, 1.0):
    strong = {seed: truth[seed].groupby(KEYS).change.max() > threshold for seed in SEEDS}
    tables = [ranks[seed].assign(carries=strong[seed].reindex(ranks[seed].index)) for seed in SEEDS]
    by_threshold[threshold] = {"pairs": sum(int(one.carries.sum()) for one in tables),
                               "recall by effect": np.mean([recall_at(one, "effect") for one in tables])}  # fmt: skip
by_threshold = pd.DataFrame(by_threshold).T.rename_axis("threshold")
assert by_threshold.pairs.is_monotonic_decreasing
by_threshold.round(2)

# %% [markdown]
# ## Appendix: tables
#
# What every cue calls for:

# %% tags=["hide-input", "hide-output"]
called = {"title": GRAMMAR.titles, "topics": [" or".join(pair) for pair in GRAMMAR.topics]}
called["word before"] = GRAMMAR.overriding
for place, marker in enumerate(GRAMMAR.markers):
    targets = [GRAMMAR.words[GRAMMAR.called_for(meant, place)] for meant in range(8)]
    called[f"then{marker}"] = targets
pd.DataFrame(called)

# %% [markdown]
# Where prompts of sound neurons end, and where their cuts begin:

# %% tags=["hide-input", "hide-output"]
cuts.round(2)

# %% [markdown]
# The recall at 5 % false positives by ranking ({numref}`fig-roc`):

# %% tags=["hide-input", "hide-output"]
at_five.round(2)

# %% [markdown]
# The harder worlds:

# %% tags=["hide-input", "hide-output"]
Markdown((PROJECT / "benchmarks" / "harder_worlds.md").read_text("utf-8"))

# %% [markdown]
# All tables are about the same neurons, and kept pairs lie in the run's band:

# %% tags=["hide-input", "hide-output"]
for seed, one in found.items():
    assert set(truth[seed].neuron) == set(told[seed].neuron)
    assert set(told[seed].neuron) <= set(one.neurons.neuron[one.neurons.sound])
    share = one.pairs[one.pairs.kept]["share"]
    assert share.between(*runs[seed].pair_share).all()
    assert set(one.pairs[one.pairs.kept].neuron) <= set(one.suffixes.neuron)
