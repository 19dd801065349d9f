# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# (direct-path)=
# # Does it act through this neuron?
#
# A head that is silenced leaves a gap for all that reads from it. The neuron may fall because the head
# no longer writes into it, or because something in between has changed; and the token may fall because
# the neuron does, or by other ways. We cut one wire, from the head straight into the neuron, and leave
# everything else as it was.
#
# | needs | leaves |
# | --- | --- |
# | `07_head_ablations` from {ref}`head-ablation` | nothing but its answer |
# | `02_neurons`, `03_suffixes`, `04_heads`, `04_parts` from {ref}`heads` and before | |

# %% tags=["parameters"]
# Everything else stands in the run's file.
run: str = "smollm2"  # a run's id, or a path to its .yml

# %% tags=["hide-input"]
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from IPython.display import Markdown
from myst_nb import glue

from lookups.artifacts import load
from lookups.attention import look
from lookups.before_after import GROUPS, of_group, with_falls
from lookups.effects import ks, mean_difference, pair_means, written
from lookups.figures import COLOURS, house_style
from lookups.intervals import Estimate
from lookups.model import load_model
from lookups.names import Head, Neuron
from lookups.runs import check_run, read_run
from lookups.slopes import agreement, direct_share
from lookups.views import BOS, LONGEST, readable, token_view

settings = read_run(run)
model = load_model(settings.model)
check_run(settings, model)
house_style()
neurons = load(settings, "02_neurons").drop_duplicates("neuron").set_index("neuron")
silenced = with_falls(load(settings, "07_head_ablations"))
heads, parts = load(settings, "04_heads"), load(settings, "04_parts")
NOTHING = Markdown("*This run has no silenced head, so there is nothing to show here.*")

# %% [markdown]
# The rows are those of {ref}`head-ablation`: the pairs and their held-out prompts. Two kinds of pair must
# be kept apart. A head of an *earlier layer* can reach the neuron by many ways. A head of the neuron's
# *own layer* has, at the last position, no other way than the {term}`direct path`. (In a
# {term}`parallel block` it has none at all, and is in no pair.)

# %%
ROW = ["neuron", "split", "prompt"]
ids_of = load(settings, "03_suffixes")[[*ROW, "token_ids"]]
total = silenced[silenced.kind == "zero"].merge(ids_of, on=ROW, validate="many_to_one")
total["token_id"] = total.neuron.map(neurons.token_id)
layers = total.neuron.map(lambda name: Neuron.parse(name).layer)
total["own_layer"] = total["head"].map(lambda name: Head.parse(name).layer).eq(layers)
counts = (
    total.groupby(["own_layer", "neuron", "head"]).size().groupby("own_layer").agg(["size", "sum"])
)
counts.rename(index={False: "head of an earlier layer", True: "head of the own layer"}).rename(
    columns={"size": "pairs", "sum": "prompts"}
).rename_axis(None)

# %% [markdown]
# ## One wire, by hand
#
# Of the selected neurons' active prompts we take the one on which silencing the head lowered the token
# most: an example of the effect, chosen for its size. This is what the head brings the neuron from each token
# of it:

# %% tags=["hide-input"]
chosen = total[total.neuron.map(neurons.selected).astype(bool)]
chosen = chosen if len(chosen) else total
chosen = chosen[chosen.token_ids.map(len) < LONGEST] if len(chosen) else chosen
some = chosen[chosen.active.astype(bool)] if len(chosen) else chosen
some = some if len(some) else chosen
some = some.sort_values(["fall", *ROW, "head"], ascending=[False, *[True] * 4], kind="stable")
hand = next(some.itertuples(), None)
if hand:
    neuron, head = Neuron.parse(hand.neuron), Head.parse(hand.head)
    ids = [int(i) for i in hand.token_ids]
    into = next(iter(model.mlp_in(neuron.layer)))
    seen_by = look(model, neuron, [head], ids, into=into)
token_view(
    [BOS, *(model.vocabulary[token] for token in ids)],
    seen_by.contribution[0].double().round(decimals=3),
    name="fig-wire",
    look_for=f"What {head} brings {neuron} from each token. The sum is what the wire carries.",
) if hand else NOTHING  # fmt: skip

# %% [markdown]
# We take the head's output at the last position away from what the MLP reads there, and read the neuron's
# {term}`pre-activation`. The {term}`LayerNorm` scale σ is a property of the whole residual stream, so there
# are two ways to do it. *Frozen*: σ stays what it was, and the head's output over σ is subtracted behind
# the norm. *Recomputed*: the output is subtracted in front of the norm, which then takes the scale that the
# rest has. (In a {term}`gated MLP` this is the neuron's gate.)


# %%
def read_pre(hooks: list) -> float:
    with model.bridge.hooks(fwd_hooks=hooks):
        _, seen = model.bridge.run_with_cache(model.batch([ids]).ids)
    return neuron.sign * float(seen[f"blocks.{neuron.layer}.mlp.hook_pre"][0, -1, neuron.index])


if hand:
    _, seen = model.bridge.run_with_cache(model.batch([ids]).ids)
    z = seen[f"blocks.{head.layer}.attn.hook_z"][0, -1, head.index]
    output = z @ model.w_o(head.layer)[head.index]
    sigma = seen[f"blocks.{neuron.layer}.ln2.hook_scale"][0, -1]


# %%
def less(amount: torch.Tensor):
    def hook(tensor: torch.Tensor, hook) -> torch.Tensor:
        tensor = tensor.clone()
        tensor[:, -1] -= amount
        return tensor

    return hook


if hand:
    block, before = f"blocks.{neuron.layer}", read_pre([])
    frozen = before - read_pre([(f"{block}.mlp.hook_in", less(output / sigma))])
    recomputed = before - read_pre([(f"{block}.ln2.hook_in", less(output))])
    attributed = float(seen_by.attribution[0])
    assert model.dtype.itemsize < 4 or abs(frozen - attributed) < 1e-4 * max(1, abs(before))
pd.Series(
    {"attribution of the head": attributed, "fall, scale frozen": frozen,
     "fall, scale recomputed": recomputed, "fall, head silenced everywhere": hand.pre_fall}
).round(3).rename("pre-activation").to_frame() if hand else NOTHING  # fmt: skip

# %% [markdown]
# With the scale frozen the fall is the {term}`head attribution`: what was computed as a share in
# {ref}`heads` is what happens when the wire is cut. The rest is no longer arithmetic.
#
# ## All wires
#
# {func}`~lookups.ablation.ablate_heads` has done this for all rows of {ref}`head-ablation`: in a real
# forward pass it changes this one neuron and lets the rest of the model run on, so that the token's
# probability afterwards is what it loses *through this neuron*. On the prompt above it finds the same:

# %%
KINDS = ["direct_frozen", "direct_recomputed"]
direct = silenced[silenced.kind.isin(KINDS)].reset_index(drop=True)
if hand:
    own = direct[
        (direct[[*ROW, "head"]] == [hand.neuron, hand.split, hand.prompt, str(head)]).all(axis=1)
    ]
    falls = own.set_index("kind").pre_fall.reindex(KINDS)
    assert model.dtype.itemsize < 4 or np.allclose(falls, [frozen, recomputed], atol=1e-3)
falls.round(3).to_frame() if hand else NOTHING

# %% [markdown]
# Frozen falls and attributions are two ways to the same number: one through a changed forward pass, one
# without. How far apart are they, as a share of the sum of the parts' sizes?

# %%
inputs = {"gate": "pre", "up": "up"} if model.gated else {"in": "pre"}
size = pd.concat([heads.rename(columns={"attribution": "value"}), parts])
size = size.assign(value=size.value.abs()).groupby([*ROW, "input"]).value.sum()
attributions = heads.set_index([*ROW, "head", "input"]).attribution.astype(float)
frozen_rows, deviations = direct[direct.kind == "direct_frozen"], []
for name, what in inputs.items() if len(frozen_rows) else ():
    row = frozen_rows.assign(input=name)
    fell = (row[f"{what}_before"] - row[f"{what}_after"]).to_numpy(float)
    said = attributions.reindex(pd.MultiIndex.from_frame(row[[*ROW, "head", "input"]])).to_numpy()
    whole = size.reindex(pd.MultiIndex.from_frame(row[[*ROW, "input"]])).to_numpy()
    deviations.append(np.abs(fell - said) / whole)
largest = float(np.concatenate([[0.0], *deviations]).max())
assert largest < 1e-5 or model.dtype.itemsize < 4
power = int(np.ceil(np.log10(max(largest, 1e-16))))
Markdown(f"On {len(frozen_rows)} rows the largest deviation is below 10^{power}.")

# %% [markdown]
# And for heads of the own layer, to silence the head at every position (in front of the same norm, at the
# same last position) is the same as to cut the wire with the scale recomputed:

# %%
by_row = [*ROW, "head"]
recomputed_rows = direct[direct.kind == "direct_recomputed"]
columns = ["pre_fall", "act_fall", "log_fall", "fall"]
both = total[[*by_row, "active", "own_layer", *columns]].merge(
    recomputed_rows[[*by_row, *columns]], on=by_row, suffixes=("", "_direct"), validate="1:1"
)
both = both.merge(
    frozen_rows[[*by_row, "pre_fall"]].rename(columns={"pre_fall": "attributed"}), on=by_row
)
inside = both[both.own_layer.astype(bool)]
apart = (inside.pre_fall - inside.pre_fall_direct).abs().max() if len(inside) else 0.0
assert apart < 1e-3 or model.dtype.itemsize < 4
f"{len(inside)} rows with a head of the own layer"

# %% [markdown]
# ## Does attribution foretell the effect?
#
# In {numref}`fig-foretold` each dot is a prompt of a pair. On the left only the scale moves; on the right
# everything does: heads and MLPs in between, earlier positions, the scale. What lies on the line does
# exactly as attribution says. Dots below it: other ways make up for the head; above it: they go along.

# %% tags=["hide-input"] mystnb={"figure": {"caption": "Head attribution (across) against what the neuron's pre-activation loses (up), each dot a prompt of a pair. Left: only the wire from head to neuron is cut. Right: the head is set to zero at every position. On the line the effect is what was attributed; blue: the head is active; orange: inactive.", "name": "fig-foretold"}, "image": {"alt": "Two scatter plots of attribution against measured effect with the identity line"}}
figure, axes = plt.subplots(1, 2, figsize=(7.6, 3.8), sharex=True)
earlier = both[~both.own_layer.astype(bool)]
for axis, (column, name) in zip(axes, {"pre_fall_direct": "wire cut", "pre_fall": "head silenced"}.items(), strict=True):  # fmt: skip
    for kind, colour in {False: "orange", True: "blue"}.items():
        some = earlier[earlier.active.astype(bool) == kind]
        axis.plot(
            some.attributed, some[column], ".", color=COLOURS[colour], alpha=0.25, markersize=3
        )
    axis.axline((0, 0), slope=1, color="black", linewidth=0.8)
    axis.set(xlabel="attribution", title=f"{name}, heads of earlier layers")
axes[0].set(ylabel="fall of the pre-activation")
plt.show()
table = {}
for where, some in {"earlier layers": earlier, "own layer": inside}.items():
    for column, name in {"attributed": "wire cut, scale frozen", "pre_fall_direct": "wire cut, scale recomputed", "pre_fall": "head silenced"}.items():  # fmt: skip
        agreed = agreement(some.attributed, some[column])
        table[where, name] = {"prompts": agreed.prompts} | {
            key: f"{round(value, 3) + 0.0:.3f}"
            for key, value in agreed._asdict().items()
            if key != "prompts"
        }
pd.DataFrame(table).T.rename_axis(["heads of", "attribution against"])

# %% [markdown]
# ## How much of it is direct?
#
# The *direct share* is the slope of what the cut wire takes from the neuron on what silencing the head
# takes in all, over prompts, through the origin: where there is no effect in all, nothing is to be shared.
# The least-squares slope, with an intercept, stands beside it, and intervals draw neurons again. A share above
# 1 means that other ways work against the head. (For heads of the own layer it is 1, as was asserted.)


# %%
def shares(some: pd.DataFrame, what: str, cut: str) -> dict:
    """How much of a fall is there when only the wire is cut."""
    found = direct_share(some[cut], some[what], some.neuron, seed=settings.seed)
    return {
        "prompts": found.prompts,
        "neurons": found.neurons,
        "share, through the origin": written(found.direct_share),
        "least squares": written(found.least_squares),
    }


slices = {}
for name in GROUPS:
    mine = of_group(earlier, neurons, name)
    slices[name, "all prompts"] = mine
    slices[name, "active prompts"] = mine[mine.active.astype(bool)]
    slices[name, "inactive prompts"] = mine[~mine.active.astype(bool)]
table = {}
for key, some in slices.items():
    table[key] = shares(some, "pre_fall", "pre_fall_direct")
    table[key]["share, scale frozen"] = shares(some, "pre_fall", "attributed")[
        "share, through the origin"
    ]
pd.DataFrame(table).T.rename_axis(["neurons", "direct share of the neuron's fall"])

# %% [markdown]
# ```{admonition} Differs from the paper
# :class: note
# The paper attributes, and ablates, but does not ask whether the ablation takes the way that was
# attributed {cite}`neo2024`. Attribution is arithmetic on the direct path; ablation measures all paths.
# ```
#
# ## From head to token through this neuron
#
# The last link: when only the wire is cut, the neuron falls, and nothing else changes but what follows from
# that. How much of what the token loses without the head does it lose this way? The share is the slope over
# prompts again, of the fall of log p(token), now for heads of all layers
# ({numref}`fig-through`).

# %% tags=["hide-input"] mystnb={"figure": {"caption": "What the token loses when the head is silenced (across) and when only its wire into this neuron is cut (up), in nats of log-probability, on active prompts of selected neurons. On the line all of the effect goes through this neuron; near the horizontal, none of it.", "name": "fig-through"}, "image": {"alt": "Scatter of the token's loss through one neuron against its total loss, with identity line"}}
active_rows = both[both.active.astype(bool)]
mine = of_group(active_rows, neurons, "selected")
mine = mine if len(mine) else active_rows
figure, axis = plt.subplots(figsize=(4.6, 4.2))
axis.plot(mine.log_fall, mine.log_fall_direct, ".", color=COLOURS["blue"], alpha=0.35)
axis.axline((0, 0), slope=1, color="black", linewidth=0.8)
axis.axhline(0, color=COLOURS["grey"], linewidth=0.8)
axis.set(xlabel="fall of log p(token), head silenced", ylabel="fall of log p(token), wire cut")
plt.show()
through = {name: of_group(both, neurons, name) for name in GROUPS}
table = {
    (name, kind): shares(some[keep], "log_fall", "log_fall_direct")
    for name, some in through.items()
    for kind, keep in {
        "active prompts": some.active.astype(bool),
        "inactive prompts": ~some.active.astype(bool),
    }.items()
}
pd.DataFrame(table).T.rename_axis(["neurons", "share of the token's fall through the neuron"])

# %% [markdown]
# And the paper's comparison, for what goes through the neuron alone: mean falls of p(token) over active and
# over inactive prompts, the difference within pairs in percentage points.


# %%
def points(found: Estimate) -> str:
    return written(found, times=100, digits=2)


def compared(some: pd.DataFrame, change: str) -> dict:
    means = pair_means(some, change).dropna(subset="difference")
    test = ks(means.active, means.inactive)
    gap = mean_difference(means.active, means.inactive, means.neuron, seed=settings.seed)
    return {"pairs": test.pairs, "KS": round(test.statistic, 3), "p": f"{test.p:.1e}", "difference within pairs": gap}  # fmt: skip


gaps = {
    (name, way): compared(of_group(both, neurons, name), change)
    for name in GROUPS
    for way, change in {"head silenced": "fall", "wire cut": "fall_direct"}.items()
}
pd.DataFrame(
    {key: row | {"difference within pairs": points(row["difference within pairs"])} for key, row in gaps.items()}
).T.rename_axis(["neurons", "what is done"])  # fmt: skip

# %% [markdown]
# ## One look-up, from prompt to probability
#
# The prompt from above once more, with all there is to say about it: what the neuron and its token do as the
# text stands, without the head, and with only the wire cut.

# %% tags=["hide-input"]
if hand:
    mine = (both[by_row] == [hand.neuron, hand.split, hand.prompt, hand.head]).all(axis=1)
    wire = recomputed_rows.set_index(by_row).loc[tuple(both[mine][by_row].iloc[0])]
    chain = {
        "as it is": [hand.pre_before, hand.act_before, hand.p_before],
        f"{head} silenced": [hand.pre_after, hand.act_after, hand.p_after],
        "only the wire cut": [wire.pre_after, wire.act_after, wire.p_after],
    }
    chain = pd.DataFrame(chain, index=["pre-activation", "activation", "p(token)"]).round(3)
chain if hand else NOTHING

# %% tags=["hide-input"]
if hand:
    text = readable(model.decode(ids))
    token = readable(neurons.token[hand.neuron])
    lost = hand.p_before - hand.p_after
    lost_here = round(hand.p_before - wire.p_after, 3) + 0.0
    verdict = (
        "The probability hardly moves, so there is nothing to share."
        if abs(lost) < 1e-3
        else f"Through {neuron} alone go {100 * lost_here:.1f} of these {100 * lost:.1f} points."
    )
Markdown(
    f"“{text}” — without {head}, “{token}” goes from {hand.p_before:.3f} to {hand.p_after:.3f}. {verdict}"
) if hand else NOTHING

# %% [markdown]
# ## Check

# %%
assert not direct.duplicated([*by_row, "kind"]).any()
assert len(direct) == len(KINDS) * len(total)
before = direct.merge(total[[*by_row, "p_before"]], on=by_row, suffixes=("", "_silenced"))
apart = (before.p_before - before.p_before_silenced).abs()
assert model.dtype.itemsize < 4 or (apart < 1e-4).all()
f"{len(direct)} rows agree with those of {len(total)} silenced heads."

# %% [markdown]
# ## What we know

# %% tags=["hide-input"]
own = of_group(earlier, neurons, "selected")
own_share = direct_share(own.pre_fall_direct, own.pre_fall, own.neuron, seed=settings.seed)
own = of_group(both, neurons, "selected")
own = own[own.active.astype(bool)]
own_through = direct_share(own.log_fall_direct, own.log_fall, own.neuron, seed=settings.seed)
glue("direct-share", written(own_share.direct_share), display=False)
glue("through-share", written(own_through.direct_share), display=False)


def told(found: Estimate, what: str) -> str:
    if not np.isfinite(found.low):
        return f"{what} is not known: there are too few neurons."
    size = ("all of it, or more" if found.low >= 1 else "most of it" if found.low > 0.5 else
            "less than half" if found.high < 0.5 else "neither clearly more nor clearly less than half")  # fmt: skip
    return f"{what} is {written(found)}: {size}."


lines = [
    "Attribution is exactly what the neuron's input loses when the wire is cut with the scale frozen.",
    told(own_share.direct_share, "The direct share of what a head of an earlier layer does to a selected neuron"),
    told(own_through.direct_share, "On active prompts, the share of what the token loses without the head that goes through this neuron"),
]  # fmt: skip
wire_gap = gaps["selected", "wire cut"]["difference within pairs"]
if np.isfinite(wire_gap.low):
    more = wire_gap.low > 0
    lines.append(
        f"Through the neuron alone the token falls {'more' if more else 'less' if wire_gap.high < 0 else 'neither more nor less'} "
        f"on active than on inactive prompts ({points(wire_gap)} points)."
    )
Markdown("\n".join(f"- {line}" for line in lines) if len(both) else "No head was silenced.")

# %% [markdown]
# What is not known: what the neuron itself is worth. It may fall, and its token be carried by others. That
# is the question of {ref}`neuron-ablation`.
#
# ```{admonition} Try it
# :class: tip
# Take a pair whose head stands in an earlier layer and whose direct share is far from 1. Which part of
# {ref}`heads` changes most when the head is silenced: an MLP, or another head?
# ```
