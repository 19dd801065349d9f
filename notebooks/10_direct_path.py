# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# (direct-path)=
# # Does the head act through the neuron?
#
# A look-up is a claim about a chain: the head drives the neuron, and the neuron promotes its token.
# That the token falls without the head does not prove this chain. A silenced head leaves a gap for everything that
# reads from it: the neuron may fall because something in between has changed, and the token may fall without
# the neuron's help. So we test the links by themselves: only the {term}`direct path` from the head
# into the neuron, and only what passes through the neuron. Then we ask which components hand the loss on to the token.
#
# **In short:** {glue:text}`headline`
#
# | needs | leaves |
# | --- | --- |
# | `head_ablations` from {ref}`head-ablation` | nothing but its answer |
# | `follow_rates`, `suffixes`, `heads`, `parts`, `pairs` from {ref}`heads` and before | |

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
from scipy.stats import false_discovery_control, spearmanr

from lookups.run.store import load
from lookups.measure.attention import look
from lookups.measure.intervention import GROUPS, of_group, with_falls
from lookups.explain.running_example import running_pairs, running_prompt
from lookups.measure.routes import ROUTES, routes
from lookups.statistics.bootstrap import Estimate, bootstrap_mean, percent, points, written
from lookups.statistics.differences import MeanShare, ks, pair_means, share_of_mean
from lookups.show.figures import COLOURS, house_style
from lookups.model.loaded import load_model
from lookups.names import Head, Neuron
from lookups.settings import check_run, read_run
from lookups.show.views import BOS, escaped, readable, token_view

settings = read_run(run)
model = load_model(settings.model)
check_run(settings, model)
house_style()
rates = load(settings, "follow_rates")
neurons = rates.drop_duplicates("neuron").set_index("neuron")
silenced = with_falls(load(settings, "head_ablations"))
heads, parts = load(settings, "heads"), load(settings, "parts")
NOTHING = Markdown("*This run has no silenced head, so there is nothing to show here.*")


def square(axis) -> None:
    """The same scale and the same limits on both axes, with the line on which both are equal."""
    low, high = (pick(end) for pick, end in zip((min, max), zip(axis.get_xlim(), axis.get_ylim(), strict=True), strict=True))  # fmt: skip
    axis.axline((0, 0), slope=1, color="black", linewidth=0.8)
    axis.axhline(0, color=COLOURS["grey"], linewidth=0.8)
    axis.set(xlim=(low, high), ylim=(low, high), aspect="equal")
    ticks = [tick for tick in axis.get_xticks() if low <= tick <= high]
    axis.set(xticks=ticks, yticks=ticks)


# %% [markdown]
# The rows are those of {ref}`head-ablation`: pairs and their prompts. Two kinds of pair
# must be kept apart. A head of an *earlier layer* can reach the neuron by many ways: through MLPs,
# through other heads, through earlier positions. A head of the neuron's *own layer* has, at the
# last position, no other way than the direct path.

# %%
ROW = ["neuron", "split", "prompt"]
texts = load(settings, "suffixes")[[*ROW, "token_ids", "activation"]]
total = silenced[silenced.kind == "zero"].merge(texts, on=ROW, validate="many_to_one")
layers = total.neuron.map(lambda name: Neuron.parse(name).layer)
total["own_layer"] = total["head"].map(lambda name: Head.parse(name).layer).eq(layers)

# %% tags=["hide-input"]
counts = total.groupby(["own_layer", "neuron", "head"]).size().groupby("own_layer").agg(["size", "sum"])  # fmt: skip
counts = counts.reindex([False, True], fill_value=0)
Markdown(
    f"{counts['size'][False]} pairs ({counts['sum'][False]} prompts) have a head of an earlier layer, "
    f"{counts['size'][True]} pairs ({counts['sum'][True]} prompts) a head of the neuron's own layer."
    + (" In this model the two work in parallel, so a head of the own layer cannot reach the neuron." if model.parallel else "")
)  # fmt: skip

# %% [markdown]
# ## One path, by hand
#
# The pair and the prompt are those of {ref}`head-ablation`: the {ref}`running example <running-example>`.
# This is what the head brings the neuron from each token, by the direct path:

# %% tags=["hide-input"]
chosen = of_group(total, neurons, "selected")
chosen = chosen if len(chosen) else total


def typical(key: tuple[str, str] | None) -> pd.Series | None:
    """A pair's held-out prompt that is shown."""
    mine = total[(total.neuron == key[0]) & (total["head"] == key[1])] if key else total[:0]
    token = mine.neuron.map(neurons.token_id)
    return running_prompt(
        mine.assign(token=token, next_token=token.where(mine.follows.astype(bool)))
    )


followed = [*running_pairs(settings, rates, load(settings, "pairs")), None, None]
hand, second = map(typical, followed[:2])
if hand is not None:
    neuron, head = Neuron.parse(hand.neuron), Head.parse(hand["head"])
    ids = [int(i) for i in hand.token_ids]
    seen_by = look(model, neuron, [head], ids)
token_view(
    [BOS, *(model.vocabulary[token] for token in ids)],
    seen_by.contribution[0].double().round(decimals=3),
    name="fig-path",
    look_for=f"What {head} brings {neuron} from each token. The sum is its attribution.",
) if hand is not None else NOTHING  # fmt: skip

# %% [markdown]
# To cut the direct path, we take the head's output at the last position away from what the neuron's MLP reads
# there. The scale σ of the {term}`norm <LayerNorm>` in front of the MLP is a property of the whole residual stream,
# so there are two ways to do it. *Frozen*: σ stays what it was, and the head's output over σ is subtracted behind
# the norm. *Recomputed*: the output is subtracted in front of the norm, which then takes the scale of what is left.


# %%
def read(hooks: list) -> dict[str, float]:
    """The neuron's inputs and its activation in a pass with these hooks, times its sign."""
    with model.bridge.hooks(fwd_hooks=hooks):
        _, seen = model.bridge.run_with_cache(model.batch([ids]).ids)
    names = {"gate": "pre", "up": "pre_linear"} if model.gated else {"in": "pre"}
    at = {**names, "activation": "post"}
    hook = f"blocks.{neuron.layer}.mlp.hook_"
    return {name: neuron.sign * float(seen[hook + end][0, -1, neuron.index]) for name, end in at.items()}  # fmt: skip


# %%
def less(amount: torch.Tensor):
    def hook(tensor: torch.Tensor, hook) -> torch.Tensor:
        tensor = tensor.clone()
        tensor[:, -1] -= amount
        return tensor

    return hook


# %% tags=["hide-input"]
if hand is not None:
    _, seen = model.bridge.run_with_cache(model.batch([ids]).ids)
    z = seen[f"blocks.{head.layer}.attn.hook_z"][0, -1, head.index]
    output, block = z @ model.w_o(head.layer)[head.index], f"blocks.{neuron.layer}"
    sigma = seen[f"{block}.ln2.hook_scale"][0, -1]
    before = read([])
    cut = {"frozen": read([(f"{block}.mlp.hook_in", less(output / sigma))]),
           "recomputed": read([(f"{block}.ln2.hook_in", less(output))])}  # fmt: skip
    into = {name: "post" if name == "activation" and model.gated else name for name in before}
    into |= {} if model.gated else {"activation": None}
    attributed = {name: float(look(model, neuron, [head], ids, into=to).attribution[0])
                  for name, to in into.items() if to}  # fmt: skip
    exact = [abs(before[n] - cut["frozen"][n] - attributed[n]) for n in attributed if n != "activation"]  # fmt: skip
    assert max(exact) < 1e-3 * max(1, *map(abs, before.values()))
    everywhere = {"activation": hand.act_fall, next(iter(before)): hand.pre_fall}
    everywhere |= {"up": hand.up_before - hand.up_after} if model.gated else {}
    table = {"as it is": before, "attribution of the head": attributed}
    table |= {f"fall, σ {how}": {n: before[n] - now[n] for n in before} for how, now in cut.items()}
    table["fall, head silenced everywhere"] = everywhere
pd.DataFrame(table).reindex(list(before)).round(3) if hand is not None else NOTHING

# %% [markdown]
# With the scale frozen, what an input of the neuron loses is the {term}`head attribution`: what
# {ref}`heads` computed without changing anything is what happens when the direct path is cut. A
# {term}`gated MLP` has two inputs, the {term}`gate` and the factor {term}`up`. Both are linear, so
# the equality holds for each; the activation is their product, for which an attribution is an even
# split. The other columns do not follow from attributions, so they have to be measured.
#
# ## All pairs
#
# {func}`~lookups.measure.ablation.ablate` has measured three things for all rows of {ref}`head-ablation`, each
# in a real forward pass that changes this one neuron at the last token and lets the rest of the model run on:
#
# | kind | the neuron's activation is what it is |
# | --- | --- |
# | `direct_frozen` | when only the direct path is cut, σ frozen |
# | `direct_recomputed` | when only the direct path is cut, σ recomputed |
# | `through_neuron` | when the head is silenced everywhere, all ways from head to neuron included |

# %% tags=["hide-input"]
by_row = [*ROW, "head"]
MEASURE, NAME = ("act_fall", "activation") if model.gated else ("pre_fall", "pre-activation")
columns = list(dict.fromkeys(["pre_fall", "act_fall", "fall", "log_fall"]))
both = total.assign(active=total.active.astype(bool), own_layer=total.own_layer.astype(bool))
for kind, end in {"direct_frozen": "_frozen", "direct_recomputed": "_direct", "through_neuron": "_through"}.items():  # fmt: skip
    table = silenced[silenced.kind == kind][[*by_row, *columns]]
    both = both.merge(table, on=by_row, suffixes=("", end), validate="1:1")
decides = heads[heads.input == ("post" if model.gated else "in")]
both = both.merge(
    decides[[*by_row, "attribution"]].rename(columns={"attribution": "attributed"}), on=by_row
)
assert len(both) == len(total)
if hand is not None:
    is_it = (both[by_row] == hand[by_row].tolist()).all(axis=1)
    falls = both[is_it].iloc[0][["act_fall_frozen", "act_fall_direct"]].to_numpy(float)
    expected = [before["activation"] - cut[how]["activation"] for how in ("frozen", "recomputed")]
    assert np.allclose(falls, expected, atol=1e-3 * max(1, abs(before["activation"])))  # fmt: skip

# %% [markdown]
# Falls under a frozen scale and attributions are two ways to the same number, one through a changed
# forward pass and one without. How far apart are they? We give the distance as a share of the summed
# sizes of the parts of the input. On held-out prompts only the heads of kept pairs are stored, so the sum
# holds these heads and all other kinds of part. The true sum is larger, and the true distance smaller.

# %% tags=["hide-input"]
inputs = {"gate": "pre", "up": "up"} if model.gated else {"in": "pre"}
size = pd.concat([heads.rename(columns={"attribution": "value"}), parts])
size = size.assign(value=size.value.abs()).groupby([*ROW, "input"]).value.sum()
attributions = heads.set_index([*by_row, "input"]).attribution.astype(float)
frozen_rows, deviations = silenced[silenced.kind == "direct_frozen"], []
for name, what in inputs.items() if len(frozen_rows) else ():
    row = frozen_rows.assign(input=name)
    fell = (row[f"{what}_before"] - row[f"{what}_after"]).to_numpy(float)
    said = attributions.reindex(pd.MultiIndex.from_frame(row[[*by_row, "input"]])).to_numpy()
    whole = size.reindex(pd.MultiIndex.from_frame(row[[*ROW, "input"]])).to_numpy()
    deviations.append(
        (np.abs(fell - said) / whole)[np.isfinite(said)]
    )  # a run without test stores one input
deviations = np.concatenate([[0.0], *deviations])
assert deviations.max() < 1e-4
power = int(np.ceil(np.log10(max(deviations.max(), 1e-16))))
Markdown(f"In {len(deviations) - 1} comparisons the distance is never larger than 10^{power}.")

# %% [markdown]
# A second check: where a head of the neuron's own layer is silenced at every position, the neuron must lose what it
# loses when the direct path is cut with the scale recomputed. In both cases the same norm reads the same
# residual stream, at the last position without the head's output.

# %% tags=["hide-input"]
inside, earlier = both[both.own_layer], both[~both.own_layer]
differs = (inside.act_fall - inside.act_fall_direct).abs() / inside.act_before.abs().clip(lower=1)
assert differs.max() < 1e-3 or not len(inside)
Markdown(
    f"The two agree on all {len(inside)} prompts of pairs with a head of the neuron's own layer."
    if len(inside) else "This run has no pair with a head of the neuron's own layer."
)  # fmt: skip

# %% [markdown]
# ## Does attribution predict the effect?
#
# Each dot of {numref}`fig-predicted` is a prompt of a pair. On the left only the direct path is
# cut. On the right everything moves: heads and MLPs in between, earlier positions, the scale. Where a
# dot lies on the line, the neuron loses exactly what attribution says. Above the line other
# ways add to the direct one; below it they make up for the head. A vertical stripe of dots at zero
# is a head that acts on the neuron with hardly any direct path.

# %% tags=["hide-input"] mystnb={"figure": {"caption": "If attribution told all that a head does to a neuron, the dots of both panels would lie on the line. Each dot is a prompt of a pair with a head of an earlier layer: the head's attribution (across) against what the neuron loses (up). Left: only the direct path is cut, σ recomputed. Right: the head is silenced at every position. Blue: the head is active; orange: it is not. Both axes have one scale.", "name": "fig-predicted"}, "image": {"alt": "Two scatter plots of attribution against measured effect with the line of equality"}}
figure, axes = plt.subplots(1, 2, figsize=(8.2, 4.1))
panels = {f"{MEASURE}_direct": "direct path cut", MEASURE: "head silenced"}
for axis, (column, name) in zip(axes, panels.items(), strict=True):
    for kind, colour in {False: "orange", True: "blue"}.items():
        some = earlier[earlier.active == kind]
        axis.plot(some.attributed, some[column], ".", color=COLOURS[colour], alpha=0.3, markersize=3)  # fmt: skip
    square(axis)
    axis.set(xlabel="attribution of the head", title=name)
axes[0].set(ylabel=f"fall of the {NAME}")
plt.show()

# %% tags=["hide-input"]
predicted_table, agree = {}, {}
for where, some in {"earlier layers": earlier, "own layer": inside}.items():
    for column, name in {f"{MEASURE}_frozen": "direct path cut, σ frozen", f"{MEASURE}_direct": "direct path cut, σ recomputed", MEASURE: "head silenced"}.items():  # fmt: skip
        agreed = some[["attributed", column]].dropna()
        agree[where, column] = agreed.corr().iloc[0, 1]
        predicted_table[where, name] = {"prompts": len(agreed), "Pearson correlation": f"{agree[where, column]:.3f}", "rank correlation": f"{agreed.corr('spearman').iloc[0, 1]:.3f}"}  # fmt: skip
by_path, in_all = agree["earlier layers", f"{MEASURE}_direct"], agree["earlier layers", MEASURE]
predicts = (
    "Attribution predicts what the direct path carries, and much less well what the head does to the neuron in all"
    if by_path - in_all > 0.1 else "Attribution predicts both about equally well"
)  # fmt: skip
rise = (
    " The activation of a gated neuron is a product. Its attributions are an even split between the two factors, but cutting "
    "the path takes a share of both at once, up to twice as much; so the dots on the left may lie above the line."
    if model.gated else ""
)  # fmt: skip
Markdown(
    f"{predicts}: for heads of earlier layers it correlates with the fall by {by_path:.2f} when only the direct path is cut, "
    f"and by {in_all:.2f} when the head is silenced.{rise}"
) if np.isfinite(in_all) else NOTHING  # fmt: skip

# %% [markdown]
# ## How much of what the neuron loses is direct?
#
# The *direct share* is the slope of what the cut direct path takes from the neuron on what
# silencing the head takes in all, over prompts and through the origin, because where silencing the head has
# no effect there is nothing to be shared: $\sum \text{direct} \cdot \text{total} / \sum \text{total}^2$.
# A share above 1 means that other ways work against the
# head. For heads of the neuron's own layer the share is 1, as we have just seen.


# %%
def direct_share(rows: pd.DataFrame) -> Estimate:
    total, direct = rows[MEASURE], rows[f"{MEASURE}_direct"]
    return share_of_mean(direct * total, total**2, rows.neuron, seed=settings.seed).share


# %% tags=["hide-input"]
share_table, shares_direct = {}, {}
for group in GROUPS:
    for kind, active in {"active prompts": True, "inactive prompts": False}.items():
        some = of_group(earlier[earlier.active == active], neurons, group)
        known = some.dropna(subset=[MEASURE, f"{MEASURE}_direct"])
        shares_direct[group, kind] = percent(direct_share(some), unknown="an unknown share")
        share_table[group, kind] = {
            "prompts": len(known),
            "neurons": known.neuron.nunique(),
            "direct share": written(direct_share(some), digits=2),
        }
Markdown(
    f"Of what selected neurons lose of their {NAME} without a head of an earlier layer, {shares_direct['selected', 'active prompts']} is "
    f"direct on active prompts; for random neurons, {shares_direct['random', 'active prompts']}."
) if len(earlier) else NOTHING  # fmt: skip

# %% [markdown]
# ```{admonition} Differs from the paper
# :class: note
# The paper attributes and ablates, but does not ask whether the ablation takes the way that was
# attributed {cite}`neo2024`. Attribution is arithmetic on the direct path; ablation measures all paths.
# ```
#
# ## From head to token, through this neuron
#
# Now the last link: how much of what the token loses without the head does it lose through this neuron?
# We look first at the prompt from above, and at one of the second pair that we follow. The table has the activation of the neuron
# and the probability of its token, as they are and with each of three changes:

# %% tags=["hide-input"]
KINDS = {"zero": "without the head", "through_neuron": "only the neuron as it is without the head",
         "direct_recomputed": "only the direct path cut"}  # fmt: skip


def change(number: float, digits: int) -> str:
    return f"{round(number, digits) + 0.0:.{digits}f}"


def chain_of(one: pd.Series) -> pd.DataFrame:
    """The neuron and its token on one prompt, as they are and under each change."""
    mine = silenced[(silenced[by_row] == one[by_row].tolist()).all(axis=1)].set_index("kind")
    found = {"as it is": [one.act_before, one.p_before]}
    found |= {
        name: mine.loc[kind, ["act_after", "p_after"]].tolist() for kind, name in KINDS.items()
    }
    return pd.DataFrame(found, index=["activation", "probability"]).astype(float).round(2) + 0.0


def in_points(share: float) -> str:
    number = change(100 * share, 0)
    return f"{number} point{'' if number == '1' else 's'}"


def in_words(one: pd.Series) -> str:
    """What a prompt's token loses by which way, and what the pair loses on average."""
    before, *after = chain_of(one).loc["probability"]
    lost, through = (before - p for p in after[:2])
    pair = both[both.active & (both.neuron == one.neuron) & (both["head"] == one["head"])]
    ways = [f"{in_points(pair[f'fall{end}'].mean())} and {change(pair[f'log_fall{end}'].mean(), 2)} nats"
            for end in ("", "_through", "_direct")]  # fmt: skip
    text = model.decode(one.token_ids).strip()
    text = text if len(text) < 80 else f"…{text[-80:]}"
    return (
        f"- “{escaped(text)}” ▸ “{escaped(neurons.token[one.neuron])}”: without {one['head']} the token loses {in_points(lost)}, "
        f"and {in_points(through)} if only the neuron changes. Over all {len(pair)} active prompts of the pair it loses "
        f"{ways[0]} on average; through the neuron alone {ways[1]}, and by the direct path {ways[2]}."
    )


both_examples = [one for one in (hand, second) if one is not None]
chains = {
    f"“{readable(neurons.token[one.neuron])}”, {one['head']}": chain_of(one).T
    for one in both_examples
}
pd.concat(chains, axis=1) if chains else NOTHING

# %% tags=["hide-input"]
Markdown("\n".join(map(in_words, both_examples))) if chains else NOTHING


# %% [markdown]
# And in all pairs? For each we take the mean fall of the token over its active prompts, three times: with the head
# silenced; with nothing changed but the neuron, to the activation that it has without the head; and with
# the neuron changed only as far as the direct path goes. The *share* ({term}`mediation`) is the ratio of two such means over pairs. All are
# measured in nats and in points ({numref}`fig-through`).


# %%
def through(group: str, unit: str, way: str) -> MeanShare:
    """What goes through the neuron, of what a group's pairs lose on active prompts."""
    some = of_group(both[both.active], neurons, group)
    means = some.groupby(["neuron", "head"])[[unit, f"{unit}_{way}"]].mean().reset_index()
    return share_of_mean(means[f"{unit}_{way}"], means[unit], means.neuron, seed=settings.seed)


# %% tags=["hide-input"] mystnb={"figure": {"caption": "Where head, neuron and token form one chain, the dots lie on the line: all that the token loses without the head (across) goes through the neuron (up), in nats. On the horizontal none of it does. Each dot is an active prompt of a pair. Left: through the neuron, however the head reached it. Right: by the direct path from head to neuron alone.", "name": "fig-through"}, "image": {"alt": "Scatter plots of the token's loss through one neuron against its whole loss, with the line of equality"}}
mine = of_group(both[both.active], neurons, "selected")
mine = mine if len(mine) else both[both.active]
figure, axes = plt.subplots(1, 2, figsize=(8.2, 4.1))
ways = {"through": "through the neuron", "direct": "by the direct path alone"}
for axis, (way, name) in zip(axes, ways.items(), strict=True):
    axis.plot(mine.log_fall, mine[f"log_fall_{way}"], ".", color=COLOURS["blue"], alpha=0.35)
    square(axis)
    axis.set(xlabel="fall of log p(token) without the head", title=name)
axes[0].set(ylabel="of this, through the neuron")
plt.show()
table = {}
for group in GROUPS:
    for unit, name in {"log_fall": "nats", "fall": "points"}.items():
        tell = points if name == "points" else written
        found = {way: through(group, unit, way) for way in ways}
        row = {"without the head": tell(found["through"].whole)}
        for way, title in ways.items():
            row |= {title: tell(found[way].part), f"share {title}": written(found[way].share, digits=2)}  # fmt: skip
        table[group, name] = row
pd.DataFrame(table).T.rename_axis(["neurons", "fall of the token in"])

# %% [markdown]
# A share is given only where the interval of the whole fall lies above zero, if barely. A prompt on which the token *gains* without the
# head counts against the whole, so a share above 1 is possible: other ways then work against the neuron.
#
# The paper's comparison can be made with what goes through the neuron alone:

# %% tags=["hide-input"]
gap_through = {}
for unit in ("fall", "log_fall"):
    rows = of_group(both, neurons, "selected")
    means_of = pair_means(rows, f"{unit}_through").dropna(subset="difference")
    lists = means_of.active, means_of.inactive
    gap_through[unit] = (
        bootstrap_mean(means_of.difference, means_of.neuron, seed=settings.seed),
        ks(*lists),
    )
difference, test = gap_through["fall"]
Markdown(
    f"Through a selected neuron alone, the token loses {points(difference)} points and "
    f"{written(gap_through['log_fall'][0])} nats more on active than on inactive prompts, mean over "
    f"pairs ({test}, in points)."
) if test.pairs else NOTHING

# %% [markdown]
# (routes)=
# ## Which component comes last?
#
# What reaches the unembedding at the last token is a sum, to which every head and every neuron adds
# its output. When a head is silenced, some of these outputs change, and nothing else in the sum
# does. So the token's fall can be split into parts, by the component that comes *last* on the way
# to the token: the silenced head itself, which adds to the sum directly; this neuron; other
# {term}`sound <sound neuron>` neurons of the same token (*the token's neurons*); all other neurons;
# and all other heads. A part says which component hands the loss on, not by which ways the loss
# reached that component.

# %%
sound = neurons[neurons.sound]
writers = {token: [Neuron.parse(name) for name in some.index] for token, some in sound.groupby("token_id")}  # fmt: skip
ends = both[both.active].reset_index(drop=True)
token_ids = neurons.token_id[ends.neuron].tolist()
ends_in = routes(
    model,
    ends.token_ids.tolist(),
    ends["head"].map(Head.parse).tolist(),
    ends.neuron.map(Neuron.parse).tolist(),
    token_ids,
    [writers.get(token, []) for token in token_ids],
)

# %% [markdown]
# The token's {term}`logit` is a linear function of the sum, as long as the scale of the final norm
# is held fixed; so here the parts add up to the whole ({numref}`fig-routes`). Its log-probability
# is not linear, so it is measured twice: what comes back when one part alone is *put back* into the
# pass without the head, and what is lost when one part alone is *taken* out of the normal pass.

# %% tags=["hide-input"] mystnb={"figure": {"caption": "Where the chain is all there is, a bar is blue from zero to its black mark. A bar is what a silenced head takes from the logit of its neuron's token, split up by the component that comes last; the mark is the sum of the parts, the whole fall of the logit. Parts to the left of zero work against the fall. Each bar is a pair of a selected neuron, mean over its active prompts: the pairs with the largest falls, twenty at most.", "name": "fig-routes"}, "image": {"alt": "Stacked horizontal bars, one a pair, of five routes from a silenced head to the token's logit"}}
HOW = {"logit": ends_in.logit, "put back": ends_in.restored, "taken": ends_in.sent}
moved = ends[["neuron", "head"]].assign(whole=ends_in.whole, logit=ends_in.logit.sum(1))
for how, columns in HOW.items():
    moved = moved.assign(**{f"{how}: {route}": columns[:, at] for at, route in enumerate(ROUTES)})
    assert len(moved) == 0 or np.isfinite(columns).all()
assert model.dtype.itemsize < 4 or np.allclose(moved.whole, ends.log_fall, atol=1e-3)


def pairs_of(group: str, least: int = 1) -> pd.DataFrame:
    """Means over a group's pairs with so many active prompts, the largest fall of the logit first."""
    some = of_group(moved, neurons, group).groupby(["neuron", "head"])
    means = some.mean()[some.size() >= least].reset_index()
    return means.sort_values("logit", ascending=False, kind="stable")


shown = pairs_of("selected", 3).head(20)
if len(shown):
    figure, axis = plt.subplots(figsize=(8.2, 0.6 + 0.26 * len(shown)))
    colours = dict(zip(ROUTES, ("orange", "blue", "green", "grey", "purple"), strict=True))
    up, down = np.zeros(len(shown)), np.zeros(len(shown))
    for route, colour in colours.items():
        width = shown[f"logit: {route}"].to_numpy()
        axis.barh(range(len(shown)), width, left=np.where(width > 0, up, down), color=COLOURS[colour], label=route, height=0.75)  # fmt: skip
        up, down = up + width.clip(min=0), down + width.clip(max=0)
    axis.plot(shown.logit, range(len(shown)), "|", color="black", markersize=9, markeredgewidth=2)
    names = [f"{readable(neurons.token[n])}  {n}, {h}" for n, h in zip(shown.neuron, shown["head"], strict=True)]  # fmt: skip
    axis.set_yticks(range(len(shown)), names)
    axis.invert_yaxis()
    axis.set(xlabel="fall of the token's logit without the head")
    axis.legend(ncols=5, loc="upper center", bbox_to_anchor=(0.4, -0.09), fontsize=8)
    plt.show()

# %% tags=["hide-input"]
shares, table = {}, {}
for group in GROUPS:
    pairs, seed = pairs_of(group), {"seed": settings.seed}
    for route in ROUTES:
        column = pairs[f"logit: {route}"]
        shares[group, route] = share_of_mean(column, pairs.logit, pairs.neuron, **seed)
        row = {"logit": written(shares[group, route].part, digits=2), "share of the logit": written(shares[group, route].share, digits=2)}  # fmt: skip
        row |= {f"log p, {how}": written(bootstrap_mean(pairs[f"{how}: {route}"], pairs.neuron, **seed), digits=2) for how in list(HOW)[1:]}  # fmt: skip
        table[group, route] = row
    whole = {"logit": written(bootstrap_mean(pairs.logit, pairs.neuron, **seed), digits=2), "share of the logit": "1"}  # fmt: skip
    left = {"logit": "0", "share of the logit": "–"}
    for how in list(HOW)[1:]:
        sums = pairs[[f"{how}: {route}" for route in ROUTES]].sum(axis=1)
        whole[f"log p, {how}"] = written(bootstrap_mean(pairs.whole, pairs.neuron, **seed), digits=2)  # fmt: skip
        left[f"log p, {how}"] = written(bootstrap_mean(pairs.whole - sums, pairs.neuron, **seed), digits=2)  # fmt: skip
    table |= {(group, "the whole"): whole, (group, "not accounted for"): left}
pd.DataFrame(table).T.rename_axis(["neurons", "comes last"])

# %% [markdown]
# The row *not accounted for* is the whole less the sum of its parts. Where it is larger than a
# quarter of the whole, the numbers for log p should not be read as shares: what one part does then
# depends on the others. All numbers are means over pairs with intervals over neurons; those for log
# p are in nats.
#
# Pairs differ much. The appendix asks in which of them the loss passes through the neuron last, and lists the pairs whose
# tokens lose most.

# %% [markdown]
# ## Check
#
# Each row that changes one neuron belongs to a row of a silenced head, on the same prompt, and starts from
# the same probability; with all ways cut, the neuron ends at the same activation:

# %% tags=["hide-input"]
one_neuron = silenced[silenced.kind.isin(["direct_frozen", "direct_recomputed", "through_neuron"])]
assert not one_neuron.duplicated([*by_row, "kind"]).any()
assert len(one_neuron) == 3 * len(total)
again = one_neuron.merge(total[[*by_row, "p_before", "act_after"]], on=by_row, suffixes=("", "_zero"))  # fmt: skip
apart = (again.p_before - again.p_before_zero).abs()
assert (apart < 1e-3).all()
same = again[again.kind == "through_neuron"]
assert np.allclose(same.act_after, same.act_after_zero, rtol=1e-4, atol=1e-4)  # fmt: skip
Markdown(f"{len(one_neuron)} rows agree with those of {len(total)} silenced heads.")

# %% [markdown]
# ## What we know

# %% tags=["hide-input"]
own = of_group(earlier, neurons, "selected")
own_share = direct_share(own)
found = {unit: through("selected", unit, "through") for unit in ("log_fall", "fall")}
direct = through("selected", "log_fall", "direct")
last = {route: shares["selected", route].share for route in ROUTES}
own_head, neuron_itself, tokens_neurons, other_neurons, other_heads = map(percent, last.values())
against = any(share.mean <= -0.005 for share in last.values())
by_route = (
    f"Split up by the component that comes last, {neuron_itself} of the fall of the token's logit comes from the neuron, "
    f"{own_head} straight from the head, {tokens_neurons} from other sound neurons of the token, {other_neurons} from all "
    f"other neurons and {other_heads} from all other heads{'; what has a minus sign works against the fall' if against else ''}."
    if np.isfinite(last["the neuron"].low) else ""
)  # fmt: skip
whole = found["log_fall"].whole
if not len(both):
    headline = "No head was silenced, so nothing can be said."
elif not np.isfinite(whole.low):
    headline = "Too few selected neurons have a kept pair to say what goes through them."
elif not np.isfinite(found["log_fall"].share.low):
    headline = (f"On active prompts the token of a selected neuron loses {written(whole)} nats without the head. "
                "That cannot be told from no loss, so there is nothing to be shared out.")  # fmt: skip
else:
    headline = (f"On active prompts the token of a selected neuron loses {written(whole)} nats "
                f"({points(found['fall'].whole)} points) without the head. {percent(found['log_fall'].share)} of the nats "
                f"and {percent(found['fall'].share, unknown='an unknown share')} of the points go through the neuron; the direct path alone carries "
                f"{percent(direct.share)} of the nats.")  # fmt: skip
glue("headline", headline, display=False)
lines = [
    headline,
    "Attribution is exactly what the sum that a neuron reads loses when the direct path is cut with the scale frozen"
    + (" (of each of the two sums by itself; of their product it is not)." if model.gated else "."),
    f"Of what a head of an earlier layer does to a selected neuron, {percent(own_share, unknown='an unknown share')} is direct.",
]  # fmt: skip
if by_route:
    lines.append(by_route)
difference, nats = gap_through["fall"][0], gap_through["log_fall"][0]
if np.isfinite(difference.low):
    loses = "more on active than on inactive prompts" if nats.low > 0 else "less on active than on inactive prompts" if nats.high < 0 else "about as much on active as on inactive prompts, as far as can be measured"  # fmt: skip
    lines.append(f"Through the neuron alone the token loses {loses} (active less inactive: {written(nats)} nats, {points(difference)} points).")  # fmt: skip
Markdown("\n".join(f"- {line}" for line in lines) if len(both) else headline)

# %% [markdown] tags=["default-run"]
# The two running examples teach opposite lessons. With “ result”, most of what the token loses without the head, in
# points, goes through the neuron; yet next to nothing takes the direct path from the head, so the layers in between must
# pass on what the head has found. With “ or” it is the other way round: the head drives the neuron directly, but hardly any of
# the token's large loss goes through this neuron, because the head writes “ or” itself ({numref}`fig-routes`).
#
# We were prepared to find the second to be the rule, since other components could take over what one neuron does. Instead
# about half of what the tokens lose, in points, is lost when nothing but this one neuron changes; in nats the interval is
# too wide to say. Single pairs differ much from that mean. In the logit the neuron makes up for the whole fall, but that is not
# special to next-token neurons: random ones do, too, of a fall four times smaller. What surprised us most is that all other
# neurons together push the other way, against head and neuron alike. That may be self-repair, by which networks make up for a silenced
# component {cite}`mcgrath2023`. It may also be neurons that the head normally drives against the token; this split cannot tell one from the other.

# %% [markdown]
# What is not known is what the neuron itself is worth: it may fall, and its token be carried by
# others ({ref}`neuron-ablation`). Nor is it known by which ways the loss reaches the components that come last.
#
# ## Exercises
#
# 1. Of the pairs of selected neurons that lose five points or more without the head, how many lose at least
#    half of that through the neuron?

# %% tags=["hide-cell"]
# Where the whole loss is small, its share cannot be told.
of_pairs = of_group(both[both.active], neurons, "selected")
of_pairs = of_pairs.groupby(["neuron", "head"])[["fall", "fall_through"]].mean()
much = of_pairs[of_pairs.fall >= 0.05]
through_it = much.fall_through >= much.fall / 2
assert through_it.sum() <= len(much) <= len(of_pairs)
f"{int(through_it.sum())} of {len(much)} pairs"

# %% [markdown]
# 2. Does it matter whether the scale of the norm is frozen when the direct path is cut?

# %% tags=["hide-cell"]
# We take the distance of the two falls in activation, as a share of the activation.
distance = (both.act_fall_frozen - both.act_fall_direct).abs() / both.act_before.abs().clip(
    lower=1e-3
)
assert (distance >= 0).all()
f"median distance {percent(distance.median(), digits=1)}"

# %% [markdown]
# 3. To try on your own: Take a pair with a head of an earlier layer whose direct share is far from 1. Which part of
#    the neuron's input ({ref}`heads`) changes most when the head is silenced: an MLP, or another head?
#
# What does a head write that the neuron reads? {ref}`look-up-table` reads it off the weights.
#
# ## Appendix: tables
#
# How well attribution predicts what the neuron loses ({numref}`fig-predicted`), for prompts of pairs with heads of earlier layers
# and of the neuron's own:

# %% tags=["hide-input", "hide-output"]
pd.DataFrame(predicted_table).T.rename_axis(["heads of", "attribution against"])

# %% [markdown]
# The direct share, and next to it the least-squares slope with an intercept; intervals resample neurons:

# %% tags=["hide-input", "hide-output"]
pd.DataFrame(share_table).T.rename_axis(["neurons", f"of the {NAME}'s fall"])

# %% [markdown]
# In which pairs does much of the loss pass through the neuron last? These are rank correlations
# of the neuron's share of the logit's fall with what is known of the pair. They take the
# {glue:text}`pairs-told` pairs of selected neurons with three active prompts or more and a logit
# that falls by 0.3 or more; p values are corrected for the number of questions
# ({term}`Benjamini–Hochberg`).

# %% tags=["hide-input", "hide-output"]
told = pairs_of("selected", 3)
told = told[told.logit >= 0.3]
share = told["logit: the neuron"] / told.logit
layer_of = {
    "neuron": np.array([Neuron.parse(name).layer for name in told.neuron]),
    "head": np.array([Head.parse(name).layer for name in told["head"]]),
}
active_means = (
    both[both.active].groupby(["neuron", "head"])[["p_before", "act_fall", "act_before"]].mean()
)
active_means = active_means.reindex(pd.MultiIndex.from_frame(told[["neuron", "head"]]))
known = {
    "layer of the neuron": layer_of["neuron"],
    "layer of the head": layer_of["head"],
    "layers in between": layer_of["neuron"] - layer_of["head"],
    "probability of the token with the head": active_means.p_before,
    "share of its activation that the neuron loses": active_means.act_fall
    / active_means.act_before,
}
several = len(told) > 3
tests = {name: spearmanr(share, list(column)) for name, column in known.items()} if several else {}
tells = pd.DataFrame({name: {"rank correlation": test.statistic, "p": test.pvalue} for name, test in tests.items()}).T  # fmt: skip
if several:
    told_by = tells.p.dropna()  # what is the same in all pairs tells nothing
    tells["p, corrected"] = pd.Series(false_discovery_control(told_by), told_by.index, dtype=float)
glue("pairs-told", len(told), display=False)
tells.round(3) if several else NOTHING

# %% [markdown]
# The pairs of selected neurons, with three active prompts or more, whose token loses most without the head on these
# prompts. Some act through their neuron, some past it:

# %% tags=["hide-input", "hide-output"]
mine = of_group(both[both.active], neurons, "selected")
each = mine.groupby(["neuron", "head"])[[f"{u}{end}" for u in ("fall", "log_fall") for end in ("", "_through", "_direct")]].mean()  # fmt: skip
each = each[mine.groupby(["neuron", "head"]).size() >= 3]
each = each.sort_values("log_fall", ascending=False, kind="stable").head(10).reset_index()
names = {"": "without the head", "_through": "through the neuron", "_direct": "direct path"}
columns = {"token": each.neuron.map(neurons.token).map(lambda token: f"“{readable(token)}”"),
           "neuron": each.neuron, "head": each["head"]}  # fmt: skip
columns |= {f"{name}, points": (100 * each[f"fall{end}"]).round(1) + 0.0 for end, name in names.items()}  # fmt: skip
columns |= {f"{name}, nats": each[f"log_fall{end}"].round(2) + 0.0 for end, name in names.items()}
pd.DataFrame(columns) if len(each) else NOTHING
