# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# (heads)=
# # Which attention heads drive the neuron?
#
# A neuron reads everything that was written to the {term}`residual stream` before it, added up. Only
# {term}`attention heads <attention head>` carry something from one token to another, so what the
# neuron knows of its context came through a head, in this layer or an earlier one. We take the sum
# apart, ask what the neuron would lose without each head, and keep the pairs of a neuron and a head
# that is active on some prompts and not on others: candidates for a {term}`context look-up` {cite}`neo2024`.
#
# **In short:** {glue:text}`headline`
#
# | needs | leaves |
# | --- | --- |
# | `suffixes` from {ref}`truncation` | `heads` and `parts`: every part of every sum |
# | `follow_rates` from {ref}`prompts` | `pairs`: on how many prompts a head is active |

# %% tags=["parameters"]
# Everything else stands in the run's file.
run: str = "smollm2"  # a run's id, or a path to its .yml

# %% tags=["hide-input"]
from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from IPython.display import Markdown
from myst_nb import glue
from tqdm import tqdm

from lookups.run.store import Stopwatch, load, save
from lookups.show.figures import COLOURS, house_style
from lookups.measure.attribution import Attribution, attribute
from lookups.explain.running_example import running_neurons, running_pairs, running_prompt
from lookups.statistics.bootstrap import lots_of, percent, written
from lookups.statistics.differences import Values, group_difference
from lookups.model.loaded import load_model
from lookups.names import Head, Neuron
from lookups.measure.path_patching import Patched, mean_at_last, path_patch
from lookups.settings import check_run, read_run
from lookups.show.views import prompt_table, readable

settings = read_run(run)
model = load_model(settings.model)
check_run(settings, model)
house_style()
stopwatch = Stopwatch()
glue("active-rule", settings.active_rule, display=False)
suffixes = load(settings, "suffixes").reset_index(drop=True)
rates = load(settings, "follow_rates")
neurons = rates.drop_duplicates("neuron").set_index("neuron")
suffixes["layer"] = suffixes.neuron.map(neurons.layer)
selected = suffixes.neuron.map(neurons.selected)


def quoted(ids: Sequence[int], longest: int) -> str:
    """The last tokens of a text, as a reader can see them."""
    return ("…" if len(ids) > longest else "") + readable(model.decode(ids[-longest:]))


# %% [markdown]
# ## One prompt by hand
#
# We take the {ref}`running example <running-example>` again, on a training prompt of median activation that the token really
# follows. The prompt is cut to the {term}`suffix` that the neuron needs. We read everything that was written at its last token. A layer's heads are taken without their
# {term}`value biases <value bias>`, which are the same for every text and are counted with the
# layer's attention bias:

# %% tags=["hide-input"]
own = suffixes[suffixes.neuron == next(iter(running_neurons(settings, rates)), suffixes.neuron[0])]
own = own[own.split == "train"] if (own.split == "train").any() else own
token = own.neuron.map(neurons.token_id)
whole = {"activation": own.whole_activation, "next_token": own.next_token_id}
example = running_prompt(own.assign(token=token, **whole))
neuron = Neuron.parse(example.neuron)
_, seen = model.bridge.run_with_cache(model.batch([example.token_ids]).ids)

# %%
wrote = {"embed": seen["hook_embed"][0, -1]}
if model.adds_positions:
    wrote["pos_embed"] = seen["hook_pos_embed"][0, -1]
for layer in model.head_layers(neuron.layer):
    outputs = seen[f"blocks.{layer}.attn.hook_z"][0, -1, :, None] @ model.w_o(layer)
    wrote |= {str(Head(layer, head)): out[0] for head, out in enumerate(outputs)}
    wrote[f"L{layer}.attn_bias"] = model.b_o(layer)
for layer in range(neuron.layer):
    wrote[f"L{layer}.mlp"] = seen[f"blocks.{layer}.hook_mlp_out"][0, -1]

# %% [markdown]
# Each part, times the neuron's input weights, divided by the {term}`LayerNorm` scale σ of that
# position; the bias is not divided. This is {eq}`eq-preactivation`, and one head's term in it is its
# {term}`head attribution`. A {term}`gated MLP` reads two such sums, gate and up, and multiplies them: by hand we take
# the gate, and the tables below are about the product.

# %%
name, (weight, bias) = next(iter(model.mlp_in(neuron.layer).items()))
sigma = seen[f"blocks.{neuron.layer}.ln2.hook_scale"][0, -1]
shares = {part: float(out @ weight[:, neuron.index] / sigma) for part, out in wrote.items()}
shares["b_in"] = float(bias[neuron.index])
measured = float(seen[f"blocks.{neuron.layer}.mlp.hook_pre"][0, -1, neuron.index])
size = sum(abs(share) for share in shares.values())
residual = abs(sum(shares.values()) - measured) / size
tolerance = {torch.float64: 1e-12, torch.float32: 1e-5}[model.dtype]  # rounding only
assert residual < tolerance
glue("hand-sum", f"{sum(shares.values()):.3f}", display=False)
glue("hand-measured", f"{measured:.3f}", display=False)

# %% [markdown]
# The parts add up to {glue:text}`hand-sum`; the {term}`pre-activation` that the model computed is
# {glue:text}`hand-measured`. The two agree, as they must. {numref}`fig-parts` shows the largest parts.

# %% tags=["hide-input"] mystnb={"figure": {"caption": "A pre-activation is the sum of what many parts of the model add. A bar is what one part adds to the neuron's input at the last token of one prompt: blue bars are attention heads, grey ones all other parts, and the orange one is the sum of all. Bars to the right of zero drive the neuron.", "name": "fig-parts"}, "image": {"alt": "Bar chart of the parts of one neuron's pre-activation on one prompt"}}
order = sorted(shares, key=lambda part: -abs(shares[part]))
bars = pd.Series({part: shares[part] for part in order[:12]})
bars["all other parts"] = sum(shares[part] for part in order[12:])
bars["sum"] = measured
colours = [COLOURS["blue" if ".H" in part else "orange" if part == "sum" else "grey"] for part in bars.index]  # fmt: skip
figure, axis = plt.subplots(figsize=(7, 4))
axis.barh(range(len(bars)), bars, color=colours)
axis.set_yticks(range(len(bars)), list(bars.index))
axis.invert_yaxis()
axis.axvline(0, color="black", linewidth=0.8)
text = quoted(example.token_ids, 6)
axis.set(xlabel="added to the pre-activation", title=f"{neuron} at the end of “{text}”")
plt.show()
bars.round(2).rename("added to the pre-activation").to_frame()

# %% [markdown]
# {func}`~lookups.measure.attribution.attribute` does the same for many prompts of one layer. It multiplies each
# head's output matrix with the neuron's input weights beforehand, so that no head's output is ever
# written out. It gives the same numbers:

# %%
quick = attribute(model, [neuron], [example.token_ids])[name]
labels = [*map(str, quick.heads), *quick.parts]
values = neuron.sign * torch.cat([quick.by_head, quick.by_part], dim=1)[0]
assert sorted(labels) == sorted(shares)
assert all(
    abs(value - shares[part]) < tolerance * size
    for part, value in zip(labels, values.tolist(), strict=True)
)
f"{len(quick.heads)} heads and {len(quick.parts)} other parts feed {neuron}"

# %% [markdown]
# ## Which heads are candidates
#
# In a model whose attention comes before the MLP, heads of the neuron's own layer feed it; where
# both work in parallel they do not. `protocol: sound` follows the architecture, `protocol: paper`
# leaves the own layer out in every model:


# %%
def candidates(protocol: str, heads: list[Head], layer: int) -> np.ndarray:
    """Say which of the heads that feed a layer's neurons may be called active."""
    return np.array([protocol == "sound" or head.layer < layer for head in heads], dtype=bool)


# %% [markdown]
# ## Which heads are active
#
# The paper has two rules for attributions. Over the candidates of one prompt, a head is an
# {term}`active head` when its attribution exceeds their mean by more than two standard deviations
# ({eq}`eq-active`), or when it is among the three highest. Heads with equal attributions are taken
# in their order in the model:


# %%
def above_2sd(scores: np.ndarray) -> np.ndarray:
    if scores.shape[1] < 2:
        return np.zeros(scores.shape, dtype=bool)
    mean, sd = scores.mean(1, keepdims=True), scores.std(1, ddof=1, keepdims=True)
    return scores > mean + 2 * sd


# %%
def among_top3(scores: np.ndarray) -> np.ndarray:
    order = np.argsort(-scores, axis=1, kind="stable")
    return np.argsort(order, axis=1, kind="stable") < 3


# %%
RULES = {"2sd": above_2sd, "top3": among_top3}


def active(rule: str, scores: np.ndarray, candidate: np.ndarray) -> np.ndarray:
    found = np.zeros(scores.shape, dtype=bool)
    found[:, candidate] = RULES[rule](scores[:, candidate])
    return found


# %% [markdown]
# σ is the same for all parts at a position, so neither rule depends on it.
#
# ## What a head brings through earlier MLPs
#
# An attribution is only the part of a head's output that goes straight to the neuron. The rest is
# read by earlier MLPs first and is counted in *their* parts. So we ask by experiment, with
# {term}`path patching` {cite}`wang2023`: at the last token a head's output is replaced by its
# average over the run's training prompts, the MLPs on the way are computed again, and all other
# heads put out what they did. By hand, we do it for the head whose output the neuron misses most on the
# prompt above, among those with an MLP between them and the neuron:

# %% tags=["hide-input"]
mean = mean_at_last(model, suffixes.token_ids[suffixes.split == "train"].tolist())
patched = path_patch(model, [neuron], [example.token_ids], mean)
earlier = [head for head in patched.heads if head.layer + model.parallel < neuron.layer]
act_without = dict(zip(patched.heads, patched.act_without[0].tolist(), strict=True))
head = min(earlier or patched.heads, key=act_without.get)

# %%
z = seen[f"blocks.{head.layer}.attn.hook_z"][0, -1, head.index]
change = (mean[head.layer, head.index] - z) @ model.w_o(head.layer)[head.index]
for at in range(head.layer + model.parallel, neuron.layer):
    block, read = model.bridge.blocks[at], seen[f"blocks.{at}.ln2.hook_in"][:, -1:]
    change = change + (block.mlp(block.ln2(read + change)) - block.mlp(block.ln2(read)))[0, 0]

# %%
block, read = model.bridge.blocks[neuron.layer], seen[f"blocks.{neuron.layer}.ln2.hook_in"][:, -1:]
without = float(block.ln2(read + change)[0, 0] @ weight[:, neuron.index] + bias[neuron.index])
column = patched.heads.index(head)
assert abs(neuron.sign * float(patched.pre_without[0, column]) - without) < 10 * tolerance * size
Markdown(
    f"Without what {head} brings on this prompt, the pre-activation is {without:.2f} in place of "
    f"{measured:.2f}: it falls by {round(measured, 2) - round(without, 2):.2f}. Its attribution is {shares[str(head)]:.2f}."
)

# %% [markdown]
# {func}`~lookups.measure.path_patching.path_patch` does this for all heads. The {term}`effect` of a head on
# a prompt is the share of the neuron's {term}`activation` that goes with it:


# %%
def effect_of(patched: Patched) -> np.ndarray:
    """The share of each row's activation lost without each head's output; 0 where it rises."""
    act, without = (part.double().numpy(force=True) for part in (patched.act, patched.act_without))
    lost = np.divide(act[:, None] - without, act[:, None], where=act[:, None] > 0,
                     out=np.zeros_like(without))  # fmt: skip
    return np.clip(lost, 0, 1).round(4)


# %% [markdown]
# Our rule asks whether a head's effects on a neuron's prompts fall into two groups. For each pair
# we look for the bound that best splits the prompts, so that the variance between the two groups is
# as large as it can be (Otsu's method {cite}`otsu1979`). The bound is set on `train`, and the head
# is active on a prompt where its effect lies above it:


# %%
def best_bound(values: np.ndarray) -> float:
    """The bound with the largest variance between what lies below and above; inf if all are equal."""
    if len(values) < 2:
        return np.inf
    ordered = np.sort(values)
    n, below = len(ordered), np.arange(1, len(ordered))
    sums = np.cumsum(ordered)
    gap = (sums[-1] - sums[:-1]) / (n - below) - sums[:-1] / below
    between = np.where(np.diff(ordered) > 0, below * (n - below) * gap**2, 0.0)
    if not between.any():
        return np.inf
    return ordered[between.argmax() : between.argmax() + 2].mean()


# %%
def bounds_of(effect: np.ndarray, rows: pd.DataFrame) -> dict[str, np.ndarray]:
    """The bound of every head, neuron by neuron, from the effects on its training prompts."""
    groups = rows.groupby("neuron", sort=False).indices
    return {
        neuron: np.maximum([best_bound(column) for column in effect[some].T], 0.0)
        for neuron, some in groups.items()
    }


def active_by_effect(effect: np.ndarray, rows: pd.DataFrame, bounds: dict) -> np.ndarray:
    """Say on which prompts each head is active."""
    return effect > np.stack([bounds[neuron] for neuron in rows.neuron])


# %% [markdown]
# All three rules are always stored; this run goes by `active_rule: `{glue:text}`active-rule`. In small
# models in which we planted look-ups, pairs kept by effect are the planted ones far more often
# than pairs kept by attribution ({ref}`ground-truth`), which is why `protocol: sound` goes by
# effect.
#
# ```{admonition} Differs from the paper
# :class: note
# The paper takes what heads write, times the input weights, and neither divides by σ nor accounts
# for the rest. Here all parts are listed, and they sum to the neuron's input. In a gated MLP the
# product is split evenly between its two inputs ({eq}`eq-gated`); all three sums are stored, and
# that of the product (`post`) decides. Effects are not in the paper; `protocol: paper` goes by two
# standard deviations.
# ```
#
# ## All training prompts
#
# We now do the same for all training prompts, layer after layer. This makes long tables, with a row
# for every head and one for every other part.

# %% tags=["hide-input"]
KEYS = ["neuron", "split", "prompt"]


def long(rows: pd.DataFrame, labels: list, **values: np.ndarray) -> pd.DataFrame:
    """Set values [prompt label] below each other, with the rows' keys."""
    keys = {key: np.repeat(rows[key].to_numpy(), len(labels)) for key in KEYS}
    label = {"label": np.tile(np.array([str(one) for one in labels], dtype=object), len(rows))}
    return pd.DataFrame(keys | label | {name: value.ravel() for name, value in values.items()})


def parts_table(rows: pd.DataFrame, name: str, one: Attribution) -> pd.DataFrame:
    value = one.by_part.float().numpy(force=True)
    total = np.broadcast_to(one.total.float().numpy(force=True)[:, None], value.shape)
    return long(rows, one.parts, value=value, total=total).assign(input=name)


# %% tags=["hide-input"]
decides = "post" if model.gated else "in"


def heads_table(
    rows: pd.DataFrame, name: str, one: Attribution, effect: np.ndarray, bounds: dict
) -> pd.DataFrame:
    scores = one.by_head.double().numpy(force=True)
    layer = int(rows.layer.iloc[0])
    candidate = np.broadcast_to(candidates(settings.protocol, one.heads, layer), scores.shape)
    rules = {f"active_{rule}": active(rule, scores, candidate[0]) for rule in RULES}
    rules["active_effect"] = active_by_effect(effect, rows, bounds) & candidate
    mine = rules[f"active_{settings.active_rule}"] & (name == decides)
    values = {"attribution": scores.astype("float32"), "effect": effect.astype("float32")}
    values |= {"active": mine, "candidate": candidate}
    return long(rows, one.heads, **values, **rules).assign(input=name)


# %% tags=["hide-input"]
in_train = suffixes[suffixes.split == "train"]
heads, parts, residuals, bounds = [], [], [], {}
for _, rows in tqdm(list(in_train.groupby("layer", sort=True)), desc="layers"):
    own, ids = rows.neuron.map(Neuron.parse).tolist(), rows.token_ids.tolist()
    found, effect = attribute(model, own, ids), effect_of(path_patch(model, own, ids, mean))
    bounds |= bounds_of(effect, rows)
    residuals += [float(one.residual().max()) for one in found.values()]
    heads.append(heads_table(rows, decides, found[decides], effect, bounds))
    parts.append(parts_table(rows, decides, found[decides]))
heads = pd.concat(heads, ignore_index=True).rename(columns={"label": "head"})
parts = pd.concat(parts, ignore_index=True).rename(columns={"label": "part"})

# %% [markdown]
# Heads and other parts add up to the measured input on every prompt:

# %% tags=["hide-input"]
assert max(residuals) < tolerance
of_heads = heads.groupby([*KEYS, "input"], sort=False).attribution.sum()
of_parts = parts.groupby([*KEYS, "input"], sort=False).agg(
    value=("value", "sum"), total=("total", "first")
)
sums = of_parts.value + of_heads.reindex(of_parts.index, fill_value=0)
assert np.allclose(sums, of_parts.total, rtol=1e-3, atol=1e-3)
power = int(np.ceil(np.log10(max(*residuals, 1e-16))))
Markdown(
    f"{len(in_train)} prompts, {len(heads)} rows for heads, {len(parts)} for other parts. The largest "
    f"residual is below 10^{power} of the sum of the parts' sizes."
)

# %% [markdown]
# What feeds the selected neurons, on average over their prompts? What tells one prompt of a neuron
# from another is in the second column, the standard deviation over its prompts. In a
# model whose attention has biases these differ a little, too, because they are divided by σ.

# %%
chosen = neurons.index[neurons.selected] if selected.any() else suffixes.neuron.unique()
kinds = {"embed": "token", "pos_embed": "position", "b_in": "biases", "mlp": "earlier MLPs", "attn_bias": "biases"}  # fmt: skip
rest = parts[(parts.input == decides) & parts.neuron.isin(chosen)]
of_heads = heads[(heads.input == decides) & heads.neuron.isin(chosen)]
by_kind = rest.assign(kind=rest.part.str.split(".").str[-1].map(kinds))
per_prompt = by_kind.pivot_table(index=KEYS, columns="kind", values="value", aggfunc="sum")
per_prompt.insert(0, "heads", of_heads.groupby(KEYS).attribution.sum())
per_prompt = per_prompt.fillna(0.0)
per_prompt["sum"] = per_prompt.sum(axis=1)
within = per_prompt - per_prompt.groupby("neuron").transform("mean")
feeds = pd.DataFrame({"mean": per_prompt.mean(), "standard deviation": within.std()}).round(2)
feeds.rename_axis(None)

# %% [markdown]
# How the rules differ:

# %% tags=["hide-input", "hide-output"]
judged = heads[(heads.input == decides) & heads.candidate]
rules = ["active_2sd", "active_top3", "active_effect"]
each_prompt = judged.groupby(KEYS, sort=False)[rules].sum()
summary = pd.DataFrame(
    {
        "active heads a prompt": each_prompt.mean().round(1),
        "prompts with none": (each_prompt == 0).sum(),
        "prompts": len(each_prompt),
        "different heads ever active": [judged[judged[rule]]["head"].nunique() for rule in rules],
    }
)
both, either = judged.active_2sd & judged.active_effect, judged.active_2sd | judged.active_effect
glue("rules-agree", percent(both.sum() / max(either.sum(), 1), digits=1), display=False)
glue("effect-attribution", f"{judged.effect.corr(judged.attribution, method='spearman'):.2f}", display=False)  # fmt: skip
summary

# %% [markdown]
# Of all cases in which the first or the last rule calls a head active, both do in {glue:text}`rules-agree`. Over all
# candidates the rank correlation of effect and attribution is {glue:text}`effect-attribution`; most of them do next to nothing
# to the neuron. {ref}`direct-path` asks the same of kept pairs.
#
# ## Pairs
#
# A head that is active on nearly all prompts of a neuron, or on nearly none, tells us nothing about
# contexts. A {term}`pair` is kept when its head is active on {glue:text}`share-low` to
# {glue:text}`share-high` of the neuron's prompts in `train`, both bounds included. These prompts are the strongest ones and those
# spread over lower activations ({ref}`prompts`), taken together. With fewer than {glue:text}`fewest-prompts` prompts a share means little, so no pair of
# such a neuron is kept.

# %%
low, high = settings.pair_share
fewest = 10 if settings.prompts is None else 2
glue("share-low", percent(low), display=False)
glue("share-high", percent(high), display=False)
glue("fewest-prompts", fewest, display=False)


def shares_of(rows: pd.DataFrame) -> pd.DataFrame:
    counts = rows.groupby(["neuron", "head"], sort=False).active.agg(
        n_prompts="size", n_active="sum"
    )
    counts["share"] = counts.n_active / counts.n_prompts
    counts["kept"] = counts["share"].between(low, high) & (counts.n_prompts >= fewest)
    return counts


# %% [markdown]
# When heads are called active by their effect, the two groups of prompts must also differ, since any
# numbers at all can be split into two groups: the share of its activation that the neuron loses
# without the head must be higher on the active prompts than on the others, on average, by at least
# {glue:text}`effect-apart` percentage points. We call this difference the pair's *gap*.

# %%
measure = settings.measure
glue("effect-apart", f"{100 * settings.effect_apart:g}", display=False)


def gaps_of(rows: pd.DataFrame) -> pd.Series:
    """How much more a head brings on active prompts than on others, on average."""
    means = rows.groupby(["neuron", "head", "active"], sort=False)[measure].mean().unstack()
    return means.reindex(columns=[False, True]).diff(axis=1)[True].astype(float)


def kept_of(rows: pd.DataFrame) -> pd.DataFrame:
    table = shares_of(rows).assign(gap=gaps_of(rows))
    if measure == "effect":
        table["kept"] &= table.gap >= settings.effect_apart
    return table


# %%
train = judged.merge(suffixes[[*KEYS, "sample"]], on=KEYS)
pairs = kept_of(train)
top_only = kept_of(train[train["sample"] == "top"]).reindex(pairs.index)
pairs["share_top"], pairs["kept_top"] = top_only["share"], top_only.kept.eq(True)
pairs = pairs.reset_index()
for fact in ("token", "token_id", "group", "selected"):
    pairs[fact] = pairs.neuron.map(neurons[fact]).astype(neurons[fact].dtype)

# %% [markdown]
# ## Held-out prompts
#
# On the prompts of `test` we follow the kept pairs. To compare with, we also follow one more head
# of every selected neuron, drawn at random among those that are active on a middling share of the
# prompts and are still not kept. The bounds are those of `train`.


# %% tags=["hide-input"]
def drawn_beside(rows: pd.DataFrame) -> pd.Series:
    """Mark one pair a selected neuron at random, of those in the band that are not kept."""
    some = rows[rows.selected & ~rows.kept & rows["share"].between(low, high)]
    picked = [
        int(lots_of(settings.seed, "followed", neuron).choice(np.sort(of_one.index)))
        for neuron, of_one in some.groupby("neuron", sort=False)
    ]
    return rows.index.isin(picked)


pairs["followed"] = pairs.kept | drawn_beside(pairs)
followed = pairs[pairs.followed].groupby("neuron", sort=False)["head"].agg(list)

# %%
in_test = suffixes[(suffixes.split == "test") & suffixes.neuron.isin(followed.index)]


def held_out(name: str, rows: pd.DataFrame) -> tuple[dict, np.ndarray]:
    """Attributions of one neuron's rows, and the effects of the heads that are followed."""
    own, ids = [Neuron.parse(name)] * len(rows), rows.token_ids.tolist()
    some = [Head.parse(one) for one in followed[name]]
    found = attribute(model, own, ids)
    column = [found[decides].heads.index(head) for head in some]
    effect = np.zeros((len(rows), len(found[decides].heads)))
    effect[:, column] = effect_of(path_patch(model, own, ids, mean, heads=some))
    return found, effect


# %% tags=["hide-input"]
heads, parts = [heads], [parts]
for name, rows in tqdm(list(in_test.groupby("neuron", sort=False)), desc="neurons, held out"):
    found, effect = held_out(name, rows)
    for part, one in found.items():
        table = heads_table(rows, part, one, effect, bounds).rename(columns={"label": "head"})
        heads.append(table[table["head"].isin(followed[name])])
        parts.append(parts_table(rows, part, one).rename(columns={"label": "part"}))
        residuals.append(float(one.residual().max()))

# %%
heads, parts = pd.concat(heads, ignore_index=True), pd.concat(parts, ignore_index=True)
assert max(residuals) < tolerance
on_test = heads[(heads.split == "test") & (heads.input == decides)]
share_test = on_test.groupby(["neuron", "head"]).active.mean().rename("share_test")
pairs = pairs.merge(share_test.reset_index(), on=["neuron", "head"], how="left")
Markdown(f"{int(pairs.followed.sum())} pairs are followed on {len(in_test)} held-out prompts.")

# %% tags=["hide-input"]
groups = {"selected": pairs.selected, "random": pairs.group == "random", "middle layers": pairs.group == "middle"}  # fmt: skip
groups["others of the paper's list"] = (pairs.group == "top") & ~pairs.selected
kept = pairs[pairs.kept & pairs.selected]
funnel = {}
for name, some in groups.items():
    mine = pairs[some]
    enough = mine.n_prompts >= fewest
    funnel[name] = {
        "neurons": mine.neuron.nunique(),
        f"neurons with {fewest} prompts or more": mine[enough].neuron.nunique(),
        "neurons with a kept pair": mine[mine.kept].neuron.nunique(),
        "pairs": len(mine),
        "of neurons with too few prompts": int((~enough).sum()),
        "active on too few": int((enough & (mine["share"] < low)).sum()),
        "active on too many": int((enough & (mine["share"] > high)).sum()),
        "gap too small": int((enough & mine["share"].between(low, high) & ~mine.kept).sum()),
        "kept": int(mine.kept.sum()),
    }
    counts = list(funnel[name].values())
    assert counts[3] == sum(counts[4:])
assert sum(one["pairs"] for one in funnel.values()) == len(pairs)
# in percent, since single pairs near a bound may fall on either side on another processor
left_out = ["of neurons with too few prompts", "active on too few", "active on too many", "gap too small"]  # fmt: skip
for one in funnel.values():
    one |= {reason: percent(one[reason] / max(one["pairs"], 1)) for reason in left_out}
pd.DataFrame(funnel)

# %% tags=["hide-input"]
steady = kept.dropna(subset="share_test")
drawn = pairs[pairs.followed & ~pairs.kept].dropna(subset="share_test")
found_again = kept_of(on_test).kept if len(on_test) else pd.Series(dtype=bool)
again = [int(found_again.reindex(pd.MultiIndex.from_frame(of[["neuron", "head"]])).eq(True).sum()) for of in (steady, drawn)]  # fmt: skip
off = (steady["share"] - steady.share_test).abs()
Markdown(
    (
        ""
        if len(kept)
        else "No pair of a selected neuron is kept: no head is active on some of a neuron's prompts "
        "and silent on others. "
    )
    + (
        f"On `test` the share of prompts with the head active differs from that on `train` by {off.mean():.2f} on average, "
        f"and {percent(steady.share_test.between(low, high).mean())} of the pairs lie in the band there, too. "
        f"By the same rule {again[0]} of the {len(steady)} kept pairs would be kept again, and {again[1]} of the {len(drawn)} that were drawn for comparison."
        if len(steady)
        else "There is nothing on `test` to compare with `train`."
    )
)

# %% tags=["hide-input"]
by_hand = []
for name, head_name in running_pairs(settings, rates, pairs):
    one = pairs[(pairs.neuron == name) & (pairs["head"] == head_name)].iloc[0]
    by_hand.append(
        f"{head_name} is active on {one.n_active} of {one.n_prompts} training prompts of the “{readable(one.token)}” neuron ({name}), with a gap of "
        f"{one.gap:.2f}" + (f", and adds {shares[head_name]:.2f} on the prompt above" if name == example.neuron and head_name in shares else "")
    )  # fmt: skip
Markdown(f"Of the running example, {', and '.join(by_hand)}.") if by_hand else None

# %% tags=["hide-input"]
enough = pairs[pairs.n_prompts >= fewest]
each = {name: enough[groups[name].reindex(enough.index)].groupby("neuron").kept.sum().astype(float) for name in ("selected", "random")}  # fmt: skip
gap = group_difference(*(Values(one, one.index) for one in each.values()), seed=settings.seed)
than = "more than" if gap.low > 0 else "fewer than" if gap.high < 0 else "no more, as far as can be told, than"  # fmt: skip
lead = f"{len(kept)} pairs of {kept.neuron.nunique()} selected neurons and {kept['head'].nunique()} heads are kept."
if np.isfinite(gap.low):
    lead += (
        f" Among neurons with {fewest} training prompts or more, a selected one has {each['selected'].mean():.1f} kept pairs and a random one "
        f"{each['random'].mean():.1f}, a difference of {written(gap, digits=1)}: {than} a random neuron has. "
        + ("" if gap.low > 0 else "So a kept pair by itself is no sign of a look-up.")
    )
glue("headline", lead, display=False)
glue("prompts-each", f"{len(in_train) / in_train.neuron.nunique():.0f}", display=False)

# %% [markdown]
# In {numref}`fig-pairs` a row with several dots is a neuron that is driven by more than one head, a
# column with several dots a head that drives several neurons.


# %% tags=["hide-input"] mystnb={"figure": {"caption": "A pair is kept when its head is active on a middling share of the neuron's training prompts; orange dots mark these pairs. Colour is that share; grey heads do not feed the neuron. Shown are the selected neurons with most kept pairs, by token, and the heads in most of those pairs.", "name": "fig-pairs"}, "image": {"alt": "Heat map of neurons by heads, coloured by the share of prompts on which the head is active"}}
def with_most(column: str, limit: int) -> list[str]:
    return kept[column].value_counts(sort=False).sort_values(ascending=False, kind="stable").index[:limit].tolist()  # fmt: skip


columns = sorted(with_most("head", 32), key=Head.parse)
lines = sorted(with_most("neuron", 30), key=lambda name: (neurons.token[name], Neuron.parse(name)))
if len(kept):
    grid = pairs.pivot(index="neuron", columns="head", values="share").reindex(
        lines, columns=columns
    )
    figure, axis = plt.subplots(figsize=(7, 1.6 + 0.19 * len(lines)))
    image = axis.imshow(grid.astype(float), vmin=0, vmax=1, aspect="auto", cmap="Blues")
    dots = kept[kept.neuron.isin(lines) & kept["head"].isin(columns)]
    axis.plot(
        dots["head"].map(columns.index), dots.neuron.map(lines.index), "o", color=COLOURS["orange"]
    )
    axis.set_xticks(range(len(columns)), columns, rotation=90)
    axis.set_yticks(
        range(len(lines)), [f"{name} “{neurons.token[name]}”" for name in lines], fontsize=8
    )
    axis.set(xlabel="head", ylabel="neuron")
    axis.set_facecolor("#e4e4e4")
    axis.grid(False)
    figure.colorbar(image, label="share of prompts")
    plt.show()
kept.sort_values(["gap", "neuron", "head"], ascending=[False, True, True], kind="stable").head(15)[
    ["neuron", "token", "head", "n_prompts", "n_active", "share", "share_test", "gap"]
].round(2).reset_index(drop=True)

# %% [markdown]
# ## One neuron, all its prompts
#
# We look at one kept pair: the one with the largest difference between what its head brings on
# active prompts and what it brings on the others. If the head answers to one kind of context,
# {numref}`fig-one-pair` shows a step or a steep slope, not a line at one height:

# %% tags=["hide-input"] mystnb={"figure": {"caption": "What a head brings its neuron differs from prompt to prompt. Filled circles are prompts on which it is active, open ones the others. Each blue circle is one training prompt of the neuron, in ascending order of what the head brings by the measure of the run's rule. Grey: the other candidate heads on the same prompts. The dashed line is the head's mean.", "name": "fig-one-pair"}, "image": {"alt": "What one head brings on each prompt of one neuron, other heads in grey"}}
best = (kept if len(kept) else pairs).sort_values(["gap", "neuron", "head"], ascending=[False, True, True], kind="stable")  # fmt: skip
drawn = pd.DataFrame(columns=[measure, "active"], dtype=float)
if len(best):
    pair = best.iloc[0]
    here = train[train.neuron == pair.neuron]
    drawn = here[here["head"] == pair["head"]].sort_values([measure, "prompt"], kind="stable")
    place = pd.Series(range(len(drawn)), index=drawn.prompt)
    others = here[here["head"] != pair["head"]]
    figure, axis = plt.subplots()
    axis.plot(
        others.prompt.map(place),
        others[measure],
        ".",
        color=COLOURS["grey"],
        alpha=0.4,
        markersize=3,
    )
    for flag, fill in {True: COLOURS["blue"], False: "white"}.items():
        some = drawn[drawn.active == flag]
        label = f"{pair['head']}, {'active' if flag else 'inactive'}"
        axis.plot(
            some.prompt.map(place),
            some[measure],
            "o",
            color=COLOURS["blue"],
            markerfacecolor=fill,
            label=label,
        )
    axis.axhline(drawn[measure].mean(), color="black", linestyle="--", linewidth=0.8,
                 label=f"{pair['head']}, mean")  # fmt: skip
    axis.plot([], [], ".", color=COLOURS["grey"], label="other heads")
    axis.xaxis.get_major_locator().set_params(integer=True)
    axis.set(
        xlabel="training prompts, in ascending order",
        ylabel="share of activation lost without it" if measure == "effect" else "attribution",
        title=f"{pair.neuron}, “{pair.token}”",
    )
    axis.legend()
    plt.show()

# %% tags=["hide-input", "hide-output"]
drawn.groupby("active")[measure].agg(["count", "min", "median", "max"]).round(2)

# %% [markdown]
# What are these prompts, in words? Read both columns before you believe in a look-up: does any word stand on one side
# only? Which words the head looks at is the question of the next chapter.

# %% tags=["hide-input"]
if len(best):
    where = ["neuron", "split", "prompt"]
    read = drawn.merge(suffixes, on=where, suffixes=("", "_neuron")).iloc[::-1]
    quotes = {
        f"{pair['head']} {'active' if flag else 'inactive'}": [
            (
                quoted(row.token_ids, 24),
                model.vocabulary[row.next_token_id] if row.next_token_id >= 0 else "",
                row.source,
            )
            for row in read[read.active == flag].head(6).itertuples()
        ]
        for flag in (True, False)
    }
prompt_table(quotes) if len(best) else Markdown("No pair has a candidate head, so none is shown.")

# %% [markdown]
# ## Check and save

# %%
assert (heads.active <= heads.candidate).all()
assert heads[heads.input != decides].active.sum() == 0
assert not heads.duplicated([*KEYS, "head", "input"]).any()
assert pairs.n_prompts.eq(
    pairs.neuron.map(suffixes[suffixes.split == "train"].neuron.value_counts())
).all()

facts = {"model": model, "seconds": stopwatch.seconds}
save(settings, "heads", heads, **facts)
save(settings, "parts", parts, **facts)
save(settings, "pairs", pairs, **facts)
Markdown(f"Saved `heads` ({len(heads)} rows), `parts` ({len(parts)}), `pairs` ({len(pairs)}).")

# %% [markdown] tags=["default-run"]
# We expected a few heads to matter for each neuron and the rest to matter little. By effect, every
# head is active on some prompt or other; what decides is that the loss differs between two
# kinds of prompt, and few pairs pass. Nothing in that is special to next-token neurons: random neurons have as many kept
# pairs, and the few neurons of middle layers have more. A neuron has {glue:text}`prompts-each` training
# prompts on average, and these are few, too: on held-out prompts about half of the pairs would leave the band.
#
# The pair in {numref}`fig-one-pair` shows what a kept pair promises and what it does not. Among the prompts shown, “either”
# stands only on the active side, “whether” on both. Yet {ref}`direct-path` will show that the head hardly acts through this neuron.

# %% [markdown]
# ## What we know

# %% tags=["hide-input"]
mean = feeds["mean"]
spread = feeds["standard deviation"]
apart = spread.drop(["sum", "heads"]).fillna(0.0).idxmax()
Markdown(
    f"Heads together add {mean['heads']:.2f} of the {mean['sum']:.2f} that these neurons receive on "
    "average. "
    + (
        f"From prompt to prompt they differ by a standard deviation of {spread['heads']:.2f}, the next "
        f"in order ({apart}) by {spread[apart]:.2f}: most of what differs comes from heads directly."
        if spread["heads"] > spread[apart]
        else "From prompt to prompt they differ by a standard deviation of "
        f"{spread['heads']:.2f}, but what differs most is another kind of part ({apart}: "
        f"{spread[apart]:.2f}). Much of what differs does not come from heads directly."
    )
    + f" {len(kept)} pairs are candidates for a look-up."
)

# %% [markdown]
# What is not known: *what* such a head looks at, and whether a person sees the difference between its
# active and its inactive prompts. That is the question of {ref}`attention`. Nor is it known whether the
# model needs the head: an effect is an experiment on one neuron at one token, with all other heads held
# where they were. What the model's answer loses is asked in {ref}`head-ablation`.
#
# ## Exercises
#
# 1. By which rule are more heads active on a prompt, by effect or by two standard deviations?

# %% tags=["hide-cell"]
# By effect, usually: a head counts as active wherever its effect is the larger of two kinds, however small it is.
per_prompt_2sd, per_prompt_effect = each_prompt.active_2sd.mean(), each_prompt.active_effect.mean()
assert (each_prompt.active_top3 <= 3).all()
{
    "two standard deviations": round(float(per_prompt_2sd), 1),
    "effect": round(float(per_prompt_effect), 1),
}

# %% [markdown]
# 2. In which layers are the heads of the selected neurons' kept pairs?

# %% tags=["hide-cell"]
# A head of any layer up to the neuron's own can be active; the counts add up to the kept pairs.
where = kept["head"].map(lambda name: Head.parse(name).layer)
counts = where.value_counts().sort_index()
assert counts.sum() == len(kept)
", ".join(f"layer {layer}: {count}" for layer, count in counts.items())

# %% [markdown]
# 3. To try on your own: Set `active_rule: 2sd` in a copy of the run file. How many pairs are kept now, and how many of them are
#    kept by effect as well?
