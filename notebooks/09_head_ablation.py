# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# (head-ablation)=
# # Does silencing the head matter?
#
# So far we called a head active because of what one neuron owes to it. Whether the model's prediction
# changes without it was left open. Now we silence the head and read the probability of the neuron's token.
# If the {term}`pair` is a {term}`context look-up`, the token should become less likely, and more so on
# prompts where the head is active than where it is not. At the end we put the explanations to the same
# test: do they name the prompts on which the head matters?
#
# **In short:** {glue:text}`headline`
#
# | needs | leaves |
# | --- | --- |
# | `follow_rates`, `suffixes`, `heads`, `pairs` from {ref}`heads` and before, `verdicts` from {ref}`scores` | `head_ablations`: neuron and token, before and after |

# %% tags=["parameters"]
# Everything else stands in the run's file.
run: str = "smollm2"  # a run's id, or a path to its .yml

# %% tags=["hide-input"]
from typing import NamedTuple

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from IPython.display import Markdown
from myst_nb import glue

from lookups.measure.ablation import ablate, mean_over_tokens
from lookups.run.store import Stopwatch, load, save
from lookups.measure.attention import look
from lookups.measure.intervention import GROUPS, before_after, of_group, with_falls
from lookups.explain.running_example import running_pairs, running_prompt
from lookups.corpus.documents import run_documents
from lookups.statistics.bootstrap import (
    UNKNOWN,
    Estimate,
    bootstrap_mean,
    complete,
    limits,
    lots_of,
    percent,
    points,
    times_drawn,
    written,
)
from lookups.statistics.differences import (
    MeanShare,
    Values,
    group_difference,
    ks,
    pair_means,
    share_of_mean,
)
from lookups.statistics.scores import q_values
from lookups.show.figures import COLOURS, house_style
from lookups.show.look_ups import look_up_view, measured_prompts
from lookups.model.loaded import load_model
from lookups.names import Head, Neuron
from lookups.explain.explainer import PairPrompts
from lookups.settings import check_run, read_run
from lookups.show.views import BOS, attention_view, escaped, readable

settings = read_run(run)
model = load_model(settings.model)
check_run(settings, model)
house_style()
stopwatch = Stopwatch()
rates = load(settings, "follow_rates")
neurons = rates.drop_duplicates("neuron").set_index("neuron")
suffixes = load(settings, "suffixes")
pairs = load(settings, "pairs")
prompts = PairPrompts(
    suffixes, load(settings, "heads"),
    tokens=neurons.token, decode=model.decode, vocabulary=model.vocabulary,
)  # fmt: skip
NOTHING = Markdown(
    "*This run has no kept pair with prompts to read, so there is nothing to show here.*"
)

# %% [markdown]
# ## On which prompts
#
# We take every kept pair of a selected neuron and, for comparison, every kept pair of the random
# neurons that are matched to them. We read them on the neurons' {glue:text}`split-read` prompts, and leave out
# held-out prompts that read the same as a training prompt. A prompt is *followed* when the neuron's own
# token is what really comes next.

# %%
reported = "test" if (suffixes.split == "test").any() else "train"
compared_groups = neurons.selected | neurons.group.isin(GROUPS)
kept = pairs[pairs.kept & pairs.neuron.isin(neurons.index[compared_groups])]
tables = [prompts.rows(pair.neuron, pair.head, reported) for pair in kept.itertuples()]
rows = pd.concat([suffixes[:0].assign(head="", text="", active=False), *tables], ignore_index=True)
rows = rows.astype({"active": bool}).assign(token_id=rows.neuron.map(neurons.token_id))
rows["follows"] = rows.next_token_id == rows.token_id


# %% tags=["hide-input"]
def counted(table: pd.DataFrame) -> dict:
    kinds = table.groupby(["neuron", "head"]).active.agg(["size", "nunique"])
    share = {kind: table[table.active == kind].follows.mean() for kind in (True, False)}
    return {
        "pairs": len(kinds),
        "neurons": table.neuron.nunique(),
        "pairs with prompts of both kinds": int((kinds["nunique"] == 2).sum()),
        "prompts a pair, median": f"{kinds['size'].median():.0f}" if len(kinds) else "–",
        "active prompts": int(table.active.sum()),
        "of these, followed": percent(share[True]),
        "inactive prompts": int((~table.active).sum()),
        "of these, followed ": percent(share[False]),
    }


glue("split-read", "held-out" if reported == "test" else "training", display=False)
counts = {name: counted(of_group(rows, neurons, name)) for name in GROUPS}
Markdown(" ".join(
    f"Of the {name} neurons, {one['neurons']} have {one['pairs']} such pairs; {one['pairs with prompts of both kinds']} of "
    f"these have both active and inactive prompts." for name, one in counts.items()
))  # fmt: skip

# %% [markdown]
# ## One look-up by hand
#
# We silence the head of the {ref}`running example <running-example>` on one of its prompts: of those on
# which the head is active and the token really follows, the one of median activation. This is where the head
# looks in it:

# %% tags=["hide-input"]
chosen = of_group(rows, neurons, "selected")
chosen, whose = (chosen, "selected") if len(chosen) else (rows, "all examined")


def typical(key: tuple[str, str] | None) -> pd.Series | None:
    """The prompt of a pair that is shown."""
    mine = rows[(rows.neuron == key[0]) & (rows["head"] == key[1])] if key else rows[:0]
    return running_prompt(mine.assign(token=mine.token_id, next_token=mine.next_token_id))


followed = [*running_pairs(settings, rates, pairs), None, None]
hand, second = map(typical, followed[:2])
glue("whose-neurons", whose, display=False)
if hand is not None:
    neuron, head = Neuron.parse(hand.neuron), Head.parse(hand["head"])
    ids, token_id = [int(i) for i in hand.token_ids], int(hand.token_id)
attention_view(
    [BOS, *(model.vocabulary[token] for token in ids)],
    look(model, neuron, [head], ids).pattern,
    [str(head)],
    name="fig-silenced-attention",
    look_for=f"Read the last row: what {head} takes from there is what it is about to lose.",
) if hand is not None else NOTHING  # fmt: skip

# %% [markdown]
# The paper sets the head's value vectors to zero at every position. What attention makes of them, the
# head's output before $W_O$, is then zero as well, because a {term}`value bias` has been folded away
# beforehand. So we set this output to zero:


# %%
def passed(hooks: list) -> dict[str, float]:
    """The neuron and its token at the end of the prompt, in a pass with these hooks."""
    with model.bridge.hooks(fwd_hooks=hooks):
        logits, seen = model.bridge.run_with_cache(model.batch([ids]).ids)
    post = seen[f"blocks.{neuron.layer}.mlp.hook_post"][0, -1, neuron.index]
    logp = float(logits[0, -1].double().log_softmax(-1)[token_id])
    return {"activation": neuron.sign * float(post), "log p(token)": logp, "p(token)": np.exp(logp)}


# %%
def silence(z: torch.Tensor, hook) -> torch.Tensor:
    z = z.clone()
    z[:, :, head.index] = 0.0
    return z


# %% tags=["hide-input"]
if hand is not None:
    hooks = {"as it is": [], f"{head} silenced": [(f"blocks.{head.layer}.attn.hook_z", silence)]}
    by_hand = pd.DataFrame({name: passed(some) for name, some in hooks.items()})
by_hand.round(3) if hand is not None else NOTHING


# %% tags=["hide-input"]
def moved(what: str) -> str:
    before, after = by_hand.loc[what].round(3) + 0.0
    word = "falls" if after < before else "rises" if after > before else "stays the same"
    return f"{word} ({before:.3f} → {after:.3f})"


Markdown(
    f"The text is “{escaped(model.decode(ids))}”, and the neuron's token is “{escaped(neurons.token[hand.neuron])}”. "
    f"When {head} is silenced, the activation of {neuron} {moved('activation')} and the "
    f"probability of the token {moved('p(token)')}."
) if hand is not None else NOTHING  # fmt: skip

# %% [markdown]
# Is this prompt typical of the pair? The same can be read on one line for its strongest prompts of either
# kind. Arcs go from the last token to the tokens that the head attends to: the wider the arc, the more attention;
# blue where the head drives the neuron from there, orange where it holds the neuron back. Under each token
# is the neuron's activation, and the end of the line shows what the model expects next, with the head
# and with the head silenced:


# %% tags=["hide-input"]
def on_one_line(key: tuple[str, str], name: str):
    """A pair's strongest prompts, three of either kind."""
    mine = prompts.rows(*key, reported)
    some = pd.concat([mine[mine.active].head(3), mine[~mine.active].head(3)])
    whose = f"{key[1]} and the “{readable(neurons.token[key[0]])}” neuron ({key[0]})"
    return look_up_view(
        measured_prompts(model, *key, some), whose, name=name,
        look_for="Compare an active with an inactive prompt. On which of the two does the token lose more without the head?",
    )  # fmt: skip


on_one_line((hand.neuron, hand["head"]), "look-up-silenced") if hand is not None else NOTHING

# %% [markdown]
# This is the second pair that we follow:

# %% tags=["hide-input"]
on_one_line((second.neuron, second["head"]), "look-up-silenced-second") if second is not None else Markdown(
    "*This run has no second pair to follow.*"
)  # fmt: skip

# %% [markdown]
# ## Three ways to silence a head
#
# A head that is set to zero also loses what it adds to *every* text. Later layers were never
# trained without that, so a fall may come from there rather than from what the head read. We therefore add
# two other ways to the paper's, which take away only what differs from text to text:
#
# | kind | the head's output is replaced by | at |
# | --- | --- | --- |
# | `zero`, the paper's | zero | every position |
# | `mean`, {term}`mean ablation` | its mean over the tokens of training documents | every position but {term}`BOS` |
# | `resample`, {term}`resample ablation` | its output at the end of another prompt of the neuron | the last position |
#
# A {term}`control` is needed as well, because active prompts may merely be easier to upset. `other head` sets to zero,
# on the same prompts, a head of the same layer that is in no kept pair of the neuron, chosen at random. If any
# head will do, the control shows the same difference. We measure `mean` and `resample` for the pairs of
# {glue:text}`whose-neurons` neurons only, and the other kinds for all pairs.

# %% tags=["hide-input"]
AVERAGED = 25  # training documents for the means; each has some hundred tokens
documents = run_documents(settings, model, "train")
texts = [documents[row].ids for row in range(min(AVERAGED, len(documents)))]
layers = sorted({Head.parse(name).layer for name in rows["head"]} or {0})
means = mean_over_tokens(model, texts, layers, of="heads")
f"means over {means.tokens} tokens of {len(texts)} training documents"


# %%
def another_head(neuron: str, head: str) -> str | None:
    """Another head of the layer, in no kept pair of the neuron; None where there is none."""
    taken = set(kept["head"][kept.neuron == neuron])
    layer = Head.parse(head).layer
    free = [str(Head(layer, index)) for index in range(model.n_heads)]
    free = [name for name in free if name not in taken]
    return str(lots_of(settings.seed, "another head", neuron, head).choice(free)) if free else None


# %% [markdown]
# {func}`~lookups.measure.ablation.ablate` does for many prompts what we did by hand. It also
# measures what {ref}`direct-path` reads: two kinds that cut only the way from the head straight
# into the neuron, and `through_neuron`, which changes nothing but the neuron, to the activation
# that it has without the head.

# %%
KEYS = ["neuron", "head", "split", "prompt", "active", "follows"]


def silenced(some: pd.DataFrame, kinds: list, **options) -> pd.DataFrame:
    if not len(some):
        return some[KEYS].assign(kind="")
    found = ablate(
        model, some.token_ids.tolist(), some.neuron.map(Neuron.parse).tolist(),
        some.token_id.tolist(), some.silenced.map(Head.parse).tolist(), kinds, **options,
    )  # fmt: skip
    return before_after(some[[*KEYS, "silenced"]], found)


# %% [markdown]
# Under `resample` every prompt of a pair borrows the head's output on another of its prompts, chosen by a
# random permutation without fixed points. Where a pair has one prompt only, nothing can be borrowed:


# %%
def donors_of(pairs: list, *, seed: int) -> np.ndarray:
    """Another row of its pair for every row; itself where the pair has one row only."""
    random, lent, members = np.random.default_rng(seed), np.arange(len(pairs)), {}
    for row, pair in enumerate(pairs):
        members.setdefault(pair, []).append(row)
    for own in members.values():
        while len(own) > 1 and (lent[own] == own).any():  # on average e times
            lent[own] = random.permutation(own)
    return lent


# %% tags=["hide-input"]
rows = rows.assign(silenced=rows["head"])
another = {(pair.neuron, pair.head): another_head(pair.neuron, pair.head) for pair in kept.itertuples()}  # fmt: skip
others = rows.assign(silenced=[another[pair] for pair in zip(rows.neuron, rows["head"], strict=True)])  # fmt: skip
is_main = rows.index.isin(chosen.index)
main, rest = (rows[some].reset_index(drop=True) for some in (is_main, ~is_main))
kinds = ["zero", "direct_frozen", "direct_recomputed", "through_neuron"]
lent = donors_of(list(zip(main.neuron, main["head"], strict=True)), seed=settings.seed)
whole = silenced(main, [*kinds, "mean", "resample"], means=means, donors=lent)
taken = pd.Series(np.tile(lent != np.arange(len(main)), whole.kind.nunique()), whole.index)
parts = [
    whole[taken | (whole.kind != "resample")],
    silenced(rest, kinds),
    silenced(others.dropna(subset="silenced"), ["zero"]).replace({"kind": {"zero": "other head"}}),
]
measured = [part for part in parts if len(part)]
COLUMNS = [f"{what}_{when}" for what in ("p", "logp", "pre", "act") for when in ("before", "after")]
nothing = pd.DataFrame(columns=[*KEYS, "silenced", "kind", *COLUMNS])
effects = pd.concat(measured, ignore_index=True) if measured else nothing
effects = with_falls(effects.astype({"active": bool, "follows": bool} | dict.fromkeys(COLUMNS, float)))  # fmt: skip

# %% [markdown]
# On the prompt from above this function must find what we found by hand:

# %% tags=["hide-input"]
if hand is not None:
    key = [hand.neuron, hand["head"], hand.prompt, "zero"]
    same = effects[(effects[["neuron", "head", "prompt", "kind"]] == key).all(axis=1)].iloc[0]
    found = [same[f"{what}_{when}"] for when in ("before", "after") for what in ("act", "logp", "p")]  # fmt: skip
    assert np.allclose(found, by_hand.T.to_numpy().ravel(), atol=1e-3)
Markdown(
    f"It does. {effects.kind.eq('zero').sum()} prompts of pairs were read without their head, and "
    f"{effects.kind.eq('other head').sum()} without another head of its layer."
) if hand is not None else NOTHING

# %% [markdown]
# ## The paper's comparison
#
# For each pair we take the mean fall over its active prompts and the mean fall over its inactive
# ones. This gives two lists with one value per pair each, which the paper compares by the
# {term}`Kolmogorov–Smirnov test`. Pairs with prompts of one kind only are left out.
#
# A fall is measured twice throughout: in percentage *points* of the token's probability, and in
# {term}`nats <nat>` of its logarithm. Points favour tokens that were likely to begin with; in nats,
# a fall by half counts the same wherever it starts.


# %%
def compared(table: pd.DataFrame, change: str = "fall") -> tuple:
    means_of = pair_means(table, change)
    return means_of.dropna(subset="difference"), ks(means_of.active, means_of.inactive)


KINDS = ["zero", "mean", "resample", "other head"]
UNITS = {"fall": "points", "log_fall": "nats"}
own = of_group(effects, neurons, "selected")
own = own if len(own) else effects
by_kind = {(kind, unit): compared(own[own.kind == kind], unit) for kind in KINDS for unit in UNITS}

# %% tags=["hide-input"] mystnb={"figure": {"caption": "In a look-up, silencing the head lowers the token's probability where the head is active (blue) more than where it is not (grey), and silencing another head of the same layer does no such thing. Each dot is a pair: its mean over prompts of one kind. Boxes hold the middle half of the pairs, the line in a box is their median, and whiskers end at the last pair within one and a half lengths of the box.", "name": "fig-silenced"}, "image": {"alt": "Box plots of mean falls in token probability, in points and in nats, over active and inactive prompts by kind of ablation"}}
figure, axes = plt.subplots(1, 2, figsize=(8.6, 3.6))
shown_boxes = {}
for axis, (unit, name) in zip(axes, UNITS.items(), strict=True):
    for place, kind in enumerate(KINDS):
        table, test = by_kind[kind, unit]
        for side, colour in {"active": "blue", "inactive": "grey"}.items():
            values = (100 if name == "points" else 1) * table[side].to_numpy(float)
            at = place + (-0.18 if side == "active" else 0.18)
            if len(values):
                axis.boxplot(values, positions=[at], widths=0.3, patch_artist=True, showfliers=False,
                             boxprops={"facecolor": COLOURS[colour], "alpha": 0.45},
                             medianprops={"color": "black"})  # fmt: skip
                axis.plot(at + np.linspace(-0.1, 0.1, len(values)), np.sort(values), ".",
                          color=COLOURS[colour], markersize=3)  # fmt: skip
            median = f"{np.median(values) + 0.0:.3f}" if len(values) else "–"
            shown_boxes.setdefault(kind, {})[f"median {side}, {name}"] = median
        shown_boxes[kind][f"KS (p), {name}"] = f"{test.statistic:.3f} ({test.p:.1e})"
        shown_boxes[kind] |= {"pairs": test.pairs, "left out": test.left_out}
    axis.axhline(0, color="black", linewidth=0.8)
    axis.set_xticks(range(len(KINDS)), KINDS)
    whole = "p(token), percentage points" if name == "points" else "log p(token), nats"
    axis.set(ylabel=f"fall of {whole}", xlabel="how the head is silenced")
handles = [plt.Rectangle((0, 0), 1, 1, color=COLOURS[c], alpha=0.45) for c in ("blue", "grey")]
axes[0].legend(handles, ["active prompts", "inactive prompts"])
plt.show()


# %% tags=["hide-input"]
def medians(kind: str) -> str:
    both = (round(100 * by_kind[kind, "fall"][0][side].median(), 1) + 0.0 for side in ("active", "inactive"))  # fmt: skip
    return "{:.1f} points on active and {:.1f} on inactive prompts".format(*both)


test = by_kind["zero", "fall"][1]
Markdown(
    f"When its head is set to zero, the token loses {medians('zero')} (medians over pairs)"
    + (f"; when another head of the layer is, {medians('other head')}" if by_kind["other head", "fall"][1].pairs else "")
    + f". The paper's test of the two lists under `zero`, in points, says {test}."
) if test.pairs else NOTHING  # fmt: skip

# %% [markdown]
# ## What that test leaves out
#
# The test treats the two lists as independent samples. But every pair has a value in both, so much
# of their spread is due to differences between pairs and not to activity, and pairs that share a
# neuron share its prompts. For the same means we therefore add:
#
# - the mean *difference within pairs*, active less inactive, with a {term}`bootstrap` over neurons;
# - *Cliff's delta* between the two lists, the effect size that goes with the paper's test: how much more often
#   an active mean exceeds an inactive one than falls below it, from −1 to 1;
# - a {term}`permutation test` that assigns the labels *active* and *inactive* anew within each pair,
#   for all heads of a neuron alike, {glue:text}`relabelings` times.


# %%
def cliffs_delta(active, inactive, neurons, *, seed: int) -> Estimate:
    active, inactive, names = complete(active=active, inactive=inactive, neurons=neurons)
    if len(names) == 0:
        return UNKNOWN
    larger = np.sign(np.subtract.outer(active, inactive))  # of each couple of means
    distinct, cluster = np.unique(names, return_inverse=True)
    won = np.zeros((len(distinct), len(distinct)))  # the sum over couples of two neurons
    np.add.at(won, (cluster[:, None], cluster[None, :]), larger)
    times = times_drawn(len(distinct), seed=seed).astype(float)
    drawn = np.sum((times @ won) * times, axis=1) / (times @ np.bincount(cluster)) ** 2
    return Estimate(float(larger.sum() / len(names) ** 2), *limits(drawn, len(distinct)))


# %% [markdown]
# Of $d$ relabelings, p is one more than the number in which the difference is at least as far out, over $d + 1$; so it is
# never 0 {cite}`phipson2010`. Sums round, so what is equal but for rounding counts as equal:


# %%
def p_values(drawn: np.ndarray, seen: float, rounding: float) -> tuple[float, float]:
    greater = int((drawn >= seen - rounding).sum())  # one-sided: do active prompts change more?
    farther = int((np.abs(drawn) >= abs(seen) - rounding).sum())
    return (1 + greater) / (1 + len(drawn)), (1 + farther) / (1 + len(drawn))


# %% tags=["hide-input"]
class Permutation(NamedTuple):
    """The mean over pairs of (mean change when active - mean change when inactive), and its p."""

    difference: float
    p_greater: float
    p_two_sided: float
    pairs: pd.DataFrame  # the same of every pair with prompts of both kinds


def permuted_within_pairs(rows: pd.DataFrame, change: str, *, seed: int, draws: int) -> Permutation:
    """Test whether a column differs between the active and the inactive prompts of pairs.

    One relabeling permutes the prompts of a neuron, for all its heads alike, so that heads that
    exclude each other, or are active together, do so in every one. Neither the order of rows nor
    other neurons change a pair's p.
    """
    rows = rows.dropna(subset=[change])
    assert not rows.duplicated(["neuron", "head", "prompt"]).any()
    found, relabeled, slack = [], np.zeros(draws), 0.0
    for neuron, own in rows.groupby("neuron", sort=True):
        prompts = np.unique(own.prompt.astype(str))
        # a random number a prompt and relabeling: their order permutes all heads' labels alike
        keys = lots_of(seed, "permutation", str(neuron)).random((draws, len(prompts)))
        for head, some in own.sort_values("prompt").groupby("head", sort=True):
            active, changes = some.active.to_numpy(bool), some[change].to_numpy(float)
            if active.all() or not active.any():
                continue
            place = np.searchsorted(prompts, some.prompt.to_numpy(str))
            of_active = active[keys[:, place].argsort(axis=1)] @ changes
            n, k = len(active), int(active.sum())
            drawn = of_active / k - (changes.sum() - of_active) / (n - k)
            seen = float(changes[active].mean() - changes[~active].mean())
            equal = 1e-9 * float(np.abs(changes).max())
            found.append((neuron, head, seen, *p_values(drawn, seen, equal)))
            relabeled += drawn
            slack += equal
    columns = ["neuron", "head", "difference", "p_greater", "p_two_sided"]
    pairs = pd.DataFrame(found, columns=columns).astype(dict.fromkeys(columns[2:], float))
    if not found:
        return Permutation(np.nan, np.nan, np.nan, pairs)
    seen = float(pairs.difference.sum())
    return Permutation(seen / len(found), *p_values(relabeled, seen, slack), pairs)


# %%
fdr = settings.false_discovery_rate
n_pairs = len(rows[["neuron", "head"]].drop_duplicates())
DRAWS = max(2000, int(np.ceil(2 * n_pairs / fdr)))  # so that one pair of all could be significant
glue("relabelings", f"{DRAWS:,}", display=False)


# %%
def sizes(table: pd.DataFrame, change: str = "fall") -> dict:
    means_of, test = compared(table, change)
    lists = means_of.active, means_of.inactive, means_of.neuron
    relabeled = permuted_within_pairs(table, change, seed=settings.seed, draws=DRAWS)
    return {
        "pairs": test.pairs, "neurons": means_of.neuron.nunique(),
        "difference": bootstrap_mean(means_of.difference, means_of.neuron, seed=settings.seed),
        "delta": cliffs_delta(*lists, seed=settings.seed),
        "p": relabeled.p_two_sided, "p_greater": relabeled.p_greater, "relabeled": relabeled,
    }  # fmt: skip


# %% tags=["hide-input"]
tested = {(kind, unit): sizes(own[own.kind == kind], unit) for kind in KINDS for unit in UNITS}
table = {}
for kind in KINDS:
    fall, log_fall = (tested[kind, unit] for unit in UNITS)
    table[kind] = {
        "pairs": fall["pairs"], "neurons": fall["neurons"],
        "difference, points": points(fall["difference"]), "p": f"{fall['p']:.2g}",
        "difference, nats": written(log_fall["difference"]), "p ": f"{log_fall['p']:.2g}",
        "Cliff's delta, points": written(fall["delta"], digits=2),
        "Cliff's delta, nats": written(log_fall["delta"], digits=2),
    }  # fmt: skip
pd.DataFrame(table).T

# %% [markdown]
# How likely was the token before, and how much does the neuron itself lose?

# %% tags=["hide-input"]
zero = own[own.kind == "zero"]
before, _ = compared(zero, "p_before")
activity, _ = compared(zero, "act_fall")
Markdown(
    f"Before anything was silenced the token had a mean probability of {before.active.mean():.3f} on "
    f"active and {before.inactive.mean():.3f} on inactive prompts. Without the head the neuron's "
    f"activation falls by {activity.active.mean():.2f} on active and by "
    f"{activity.inactive.mean():.2f} on inactive ones, on average over pairs."
) if len(before) else NOTHING

# %% [markdown]
# ## Is it this head, and is it this kind of neuron?
#
# From each pair's difference we subtract what silencing another head of the layer gives on the very
# same prompts, where the layer has such a head. The random neurons, which are matched to selected ones, have
# gone through the same steps ({numref}`fig-silenced-groups`).


# %%
def differences(group: str, unit: str) -> pd.DataFrame:
    """Active less inactive, a row a pair of a group: its own head, and another of the layer."""
    some = of_group(effects, neurons, group)
    lists = [compared(some[some.kind == kind], unit)[0] for kind in ("zero", "other head")]
    both = lists[0].merge(lists[1], on=["neuron", "head"], suffixes=("", "_other"))
    return both.assign(less=both.difference - both.difference_other)


# %% tags=["hide-input"] mystnb={"figure": {"caption": "In a look-up, the filled mark lies to the right of zero and of the open one. Marks show how much more the token falls on active than on inactive prompts when a head is silenced: the mean over pairs, with a 95 % interval over neurons. Filled marks are the pair's own head, open marks another head of its layer on the same prompts.", "name": "fig-silenced-groups"}, "image": {"alt": "Differences within pairs in points and in nats, for selected and for random neurons, own head and another head"}}
figure, axes = plt.subplots(1, 2, figsize=(8.6, 2.2), sharey=True)
groups_table, gains = {}, {}
for axis, (unit, name) in zip(axes, UNITS.items(), strict=True):
    times, tell = (100, points) if name == "points" else (1, written)
    for place, group in enumerate(GROUPS):
        both = differences(group, unit)
        gains[group, unit] = bootstrap_mean(both.less, both.neuron, seed=settings.seed)
        row = groups_table.setdefault(group, {"pairs": len(both), "neurons": both.neuron.nunique()})
        for shift, column in enumerate(("difference", "difference_other")):
            mean = bootstrap_mean(both[column], both.neuron, seed=settings.seed)
            at, colour = place + 0.2 * (shift - 0.5), COLOURS["grey" if shift else "blue"]
            axis.hlines(at, times * mean.low, times * mean.high, color=colour)
            axis.plot(
                times * mean.mean, at, "o", color=colour, fillstyle="none" if shift else "full"
            )
            row[f"{'another' if shift else 'own'} head, {name}"] = tell(mean)
        row[f"own less another, {name}"] = tell(gains[group, unit])
    axis.axvline(0, color="black", linewidth=0.8)
    axis.set(xlabel=f"active less inactive, {'percentage points' if name == 'points' else name}")
axes[0].set_yticks(range(len(GROUPS)), [f"{group} neurons" for group in GROUPS])
axes[0].set_ylim(len(GROUPS) - 0.5, -0.5)
plt.show()

# %% tags=["hide-input"]
apart = {}
for unit in UNITS:
    each = [compared(of_group(effects[effects.kind == "zero"], neurons, g), unit)[0] for g in GROUPS]  # fmt: skip
    apart[unit] = group_difference(
        *(Values(some.difference, some.neuron) for some in each), seed=settings.seed
    )


def told_apart(found: Estimate) -> str:
    if not np.isfinite(found.low):
        return "cannot be compared between the two groups, because one has too few neurons"
    word = "larger" if found.low > 0 else "smaller" if found.high < 0 else ""
    return f"is {word} for selected neurons than for random ones" if word else "is not measurably different for selected and for random neurons"  # fmt: skip


Markdown(
    f"In points, the difference within pairs {told_apart(apart['fall'])} (selected less random: {points(apart['fall'])}). "
    f"In nats, it {told_apart(apart['log_fall'])} ({written(apart['log_fall'])})."
)

# %% [markdown]
# ## Which pairs?
#
# A mean over pairs may be due to a few of them. Each pair therefore gets a p of its own from the same
# relabelings (two-sided), and `q` corrects these over the pairs of a group {cite}`benjamini1995`.
# With so few prompts of each kind only a large difference can be significant.


# %% tags=["hide-input"]
def discoveries(table: pd.DataFrame) -> str:
    found = permuted_within_pairs(table, "log_fall", seed=settings.seed, draws=DRAWS).pairs
    real = q_values(found.p_two_sided) < fdr
    more = found.difference > 0
    return (
        f"the token falls more (in nats) where the head is active in {int(more.sum())} of {len(found)} pairs; at "
        f"q < {fdr:g}, it falls more in {int((real & more).sum())} and less in {int((real & ~more).sum())}"
        if len(found) else "no pair has prompts of both kinds"
    )  # fmt: skip


lines = [
    f"- {group} neurons, {'own head' if kind == 'zero' else kind}: {discoveries(some[some.kind == kind])}"
    for group in GROUPS
    for some in [of_group(effects, neurons, group)]
    for kind in ("zero", "other head")
]
Markdown("\n".join(lines))

# %% [markdown]
# The table lists pairs of {glue:text}`whose-neurons` neurons with three prompts or more of each
# kind: those with the largest and the smallest difference in nats, with q over all pairs.
# *Prompts* are active + inactive ones, and *follows* is how often the token really followed on
# either. A pair whose token never follows where its head is active is marked ✗:

# %% tags=["hide-input"]
best = tested["zero", "log_fall"]["relabeled"].pairs.assign(q=lambda t: q_values(t.p_two_sided))
best = best.merge(compared(zero, "log_fall")[0].drop(columns="difference"), on=["neuron", "head"])
best = best.merge(compared(zero)[0][["neuron", "head", "active", "inactive"]], on=["neuron", "head"], suffixes=("", "_p"))  # fmt: skip
best = best.sort_values(["difference", "neuron", "head"], ascending=[False, True, True])
best = best[(best.n_active >= 3) & (best.n_inactive >= 3)]
few = pd.concat([best.head(6), best[6:].tail(3)])
follows = rows.groupby(["neuron", "head", "active"]).follows.mean().unstack("active")
follows = follows.reindex(columns=[True, False]).reindex(pd.MultiIndex.from_frame(few[["neuron", "head"]]))  # fmt: skip
pd.DataFrame(
    {
        "token": [f"“{readable(neurons.token[n])}”{' ✗' if rate == 0 else ''}" for n, rate in zip(few.neuron, follows[True], strict=True)],
        "neuron": few.neuron, "head": few["head"],
        "prompts": few.n_active.astype(str) + " + " + few.n_inactive.astype(str),
        "follows": [f"{yes:.2f} / {no:.2f}" for yes, no in follows.to_numpy(float)],
        "active, points": (100 * few.active_p).round(1) + 0.0, "inactive, points": (100 * few.inactive_p).round(1) + 0.0,
        "active, nats": few.active.round(2) + 0.0, "inactive, nats": few.inactive.round(2) + 0.0,
        "q": few.q.map("{:.2g}".format),
    }
).reset_index(drop=True) if len(few) else NOTHING  # fmt: skip


# %% tags=["hide-input"]
def cost(one: pd.Series) -> str:
    """What silencing a followed pair's head costs its token, by kind of prompt."""
    mine = zero[(zero.neuron == one.neuron) & (zero["head"] == one["head"])]
    lost = []
    for kind, name in {True: "active", False: "inactive"}.items():
        if len(some := mine[mine.active == kind]):
            fell, n = round(100 * some.fall.mean()), len(some)
            lost.append(f"{fell} point{'' if fell == 1 else 's'} on {n} {name} prompt{'' if n == 1 else 's'}")  # fmt: skip
    return f"- “{escaped(neurons.token[one.neuron])}”, {one['head']}: {' and '.join(lost)}"


mine = [cost(one) for one in (hand, second) if one is not None and one.neuron in set(zero.neuron)]
Markdown("The pairs that we follow lose, on average:\n\n" + "\n".join(mine)) if mine else NOTHING

# %% [markdown]
# (hardest-test)=
# ## An explanation put to the test
#
# An explanation ({ref}`scores`) says on which prompts a head is active. If it is right, the head
# does most of its work on these prompts. So we add up what silencing the head costs over all
# prompts of a pair, and ask what share of it is lost on the prompts that the explanation *calls*
# active.
#
# This share needs something to be compared with. Within a pair, a judge who calls prompts active at random gets on
# average as large a share of the effect as of the prompts. Over pairs the two shares can differ, because pairs with a larger
# effect may have more prompts called active. The *shuffled* explanation shows what chance reaches: it calls as
# many prompts of a pair active, but chosen at random.


# %%
def kept_by(called: pd.DataFrame, what: str) -> MeanShare:
    """The share of a group's whole effect that falls on prompts called active; mean over pairs."""
    part = called[what] * called.verdict
    means = (
        called.assign(part=part).groupby(["neuron", "head"])[["part", what]].mean().reset_index()
    )
    return share_of_mean(means.part, means[what], means.neuron, seed=settings.seed)


# %% tags=["hide-input"]
WHAT = {"neuron's activation": "act_fall", "token, nats": "log_fall", "token, points": "fall"}
row_of = ["neuron", "head", "prompt"]
judged = load(settings, "verdicts")
judged = judged[judged.control.isin(["none", "permuted"]) & judged.verdict.notna()]
whole = of_group(effects[effects.kind == "zero"], neurons, "selected")
called_by = {
    (explainer, "shuffled" if control == "permuted" else "own"): said[[*row_of, "verdict"]]
    for (explainer, control), said in judged.groupby(["explainer", "control"], sort=False)
}
if len(whole):
    called_by["the labels themselves", "active prompts"] = whole[row_of].assign(verdict=whole.active)  # fmt: skip
table, held = {}, {}
for name, said in called_by.items():
    called = whole.merge(said, on=row_of, validate="1:1").astype({"verdict": float})
    each = called.groupby(["neuron", "head"]).verdict.mean().reset_index()
    share = bootstrap_mean(each.verdict, each.neuron, seed=settings.seed)
    held[name] = {title: kept_by(called, what).share for title, what in WHAT.items()}
    table[name] = {"prompts called active": written(share, digits=2)} | {
        f"share of the effect: {title}": written(part, digits=2)
        for title, part in held[name].items()
    }
pd.DataFrame(table).T.rename_axis(["explainer", "explanation"]) if table else NOTHING

# %% [markdown]
# The last row has what an explanation would reach that calls active exactly the prompts on which the
# head is active. A share of the effect is the ratio of two means over pairs, and intervals resample
# neurons. No share is given (–) where the whole effect cannot be told from none.

# %% [markdown]
# ## Compared with the paper
#
# The paper compares mean falls of p(token) under zero ablation, with one value per pair in each list {cite}`neo2024`. It
# reports KS .242 (p 1.0e-5) for GPT-2 small, .331 (3.7e-13) for GPT-2 medium and .293 (2.1e-23, 612 pairs) for GPT-2 large.
# In this run: {glue:text}`ks-here`. The p of such a test falls with the number of pairs, whatever the size of the
# difference, so two models are better compared by the difference itself.
#
# ```{admonition} Differs from the paper
# :class: note
# The paper sets value vectors to zero and compares the two lists of means by the Kolmogorov–Smirnov
# test {cite}`neo2024`. We do both. We add mean and resample ablation, another head as a control, the difference within
# pairs with an interval over neurons, and a permutation test within pairs, corrected over pairs; and we read held-out
# prompts.
# ```
#
# ## Check and save
#
# What the model says of a prompt before anything is silenced must not depend on what is silenced
# afterwards, and the labels must be those of {ref}`heads`:

# %% tags=["hide-input"]
tests = {group: compared(of_group(effects[effects.kind == "zero"], neurons, group))[1] for group in GROUPS}  # fmt: skip
glue("ks-here", "; ".join(f"{group} neurons {test}" for group, test in tests.items()), display=False)  # fmt: skip
baseline = effects.groupby(["neuron", "prompt"])[["p_before", "act_before"]]
apart_before = (baseline.max() - baseline.min()).to_numpy()
assert (apart_before < 1e-3).all()
assert effects[["p_before", "p_after"]].stack().between(0, 1).all()
assert not effects.duplicated(["neuron", "head", "prompt", "kind"]).any()
labels = rows.set_index(["neuron", "head", "prompt"]).active
assert (
    effects.set_index(["neuron", "head", "prompt"])
    .active.eq(labels.reindex(pd.MultiIndex.from_frame(effects[["neuron", "head", "prompt"]])))
    .all()
)
saved = effects.drop(columns=["fall", "log_fall", "pre_fall", "act_fall"])
save(settings, "head_ablations", saved, model=model, seconds=stopwatch.seconds)
Markdown(f"Saved `head_ablations`: {len(saved)} rows of {n_pairs} pairs, on `{reported}`.")

# %% [markdown]
# ## What we know

# %% tags=["hide-input"]
main = {unit: tested["zero", unit] for unit in UNITS}
test = by_kind["zero", "fall"][1]


def verdict(found: Estimate) -> str:
    if not np.isfinite(found.low):
        return "unknown"
    return "more" if found.low > 0 else "less" if found.high < 0 else "same"


def told(in_points: Estimate, in_nats: Estimate, more: str, less: str, same: str, unknown: str, what: str = "") -> str:  # fmt: skip
    """One sentence that both units agree on, or one for each."""
    said = {"more": more, "less": less, "same": same, "unknown": unknown}
    first, second = verdict(in_points), verdict(in_nats)
    numbers = f"{what}{points(in_points)} points, {written(in_nats)} nats"
    if first == second:
        return f"{said[first]} ({numbers})." if first != "unknown" else f"{unknown}."
    return f"The two units do not agree. In points, {said[first][0].lower()}{said[first][1:]}; in nats, {said[second][0].lower()}{said[second][1:]} ({numbers})."  # fmt: skip


headline = told(
    main["fall"]["difference"], main["log_fall"]["difference"],
    f"Silencing a head costs the token of {whose} neurons more where the head is active than where it is not",
    f"Silencing a head costs the token of {whose} neurons *less* where the head is active than where it is not",
    f"Silencing a head costs the token of {whose} neurons about as much where the head is inactive as where it is active",
    "There are too few neurons with kept pairs to say what silencing a head costs",
)  # fmt: skip
gains_of = {group: [gains[group, unit] for unit in UNITS] for group in GROUPS}
own_less = "own head less another: "
too = ", too" if all(verdict(gain) == "more" for gain in gains_of["selected"]) else ""
lines = [
    headline,
    f"A difference this large in points has p = {main['fall']['p_greater']:.2g}, in nats p = {main['log_fall']['p_greater']:.2g} (one-sided; {DRAWS:,} random relabelings of active and inactive prompts). The paper's test gives {test}.",
    told(*gains_of["selected"],
         "With another head of the same layer, active and inactive prompts differ less",
         "With another head of the same layer, active and inactive prompts differ more",
         "With another head of the same layer, the difference between active and inactive prompts cannot be told from this one",
         "Whether active and inactive prompts differ as much with another head of the same layer is not known", own_less),
    told(*gains_of["random"],
         f"For random neurons{too}, the difference is larger with their own head than with another",
         "For random neurons, the difference is smaller with their own head than with another",
         "For random neurons, the difference with their own head cannot be told from that with another",
         "For random neurons there are too few pairs to say", own_less),
]  # fmt: skip
for kind in ("mean", "resample"):
    falls = [tested[kind, unit]["difference"] for unit in UNITS]
    lines.append(told(*falls, f"Under `{kind}` ablation active prompts lose more as well",
                      f"Under `{kind}` ablation active prompts lose less",
                      f"Under `{kind}` ablation active and inactive prompts cannot be told apart",
                      f"For `{kind}` ablation there are too few pairs to say"))  # fmt: skip


def holds(*name: str) -> list[str]:
    """What share of the effect falls on some prompts, of that on the neuron and on its token."""
    return [percent(held[name][what], unknown="an unknown share") for what in ("neuron's activation", "token, points")]  # fmt: skip


explainer = next((name for name, said in held if said == "own" and (name, "shuffled") in held), None)  # fmt: skip
if explainer and len(whole):
    said, chance, labels = holds(explainer, "own"), holds(explainer, "shuffled"), holds("the labels themselves", "active prompts")  # fmt: skip
    lines.append(
        f"The prompts that the explanations of `{explainer}` call active hold {said[0]} of what the neuron loses without the head, and {said[1]} "
        f"of the points that its token loses. As many prompts chosen at random hold {chance[0]} and {chance[1]}, and the prompts on which the head "
        f"is active {labels[0]} and {labels[1]}."
    )  # fmt: skip
glue("headline", headline if test.pairs else "No pair could be compared.", display=False)
Markdown("\n".join(f"- {line}" for line in lines) if test.pairs else "No pair could be compared.")

# %% [markdown] tags=["default-run"]
# In points of probability the silenced heads did what we expected of look-ups: the token becomes less likely on the
# prompts where we called the head active, and hardly so where we did not, and another head of the same layer makes no such
# difference. Both running examples are among the plainest cases. Without its head the “ result” neuron's token loses 24 points on
# average behind “as a”, that of the “ or” neuron 42 points behind an “either”, and neither loses anything on its inactive prompts,
# of which “ result” has only one.
# In nats the same difference was harder to show, because a few prompts on which the token is unlikely from the start weigh
# most: its interval is wide, and it cannot be told from what another head does. The explanations disappointed us.
# The prompts that they call active hold somewhat more of the head's effect on the neuron than as many chosen at random, but for
# the token not even that has been shown.

# %% [markdown]
# What is not known is whether the token falls *because* the neuron falls. A silenced head changes
# everything that reads from it, the neuron among others.
#
# ## Exercises
#
# 1. On which share of prompts does the token lose at least half of its probability when the head is set to
#    zero?

# %% tags=["hide-cell"]
# Points of probability depend on where one starts; a halving does not.
zeroed = effects[effects.kind == "zero"]
halved = zeroed.p_after <= zeroed.p_before / 2
assert halved.sum() <= len(zeroed)
halved.groupby(zeroed.active.map({True: "active", False: "inactive"})).mean().round(2).to_dict()

# %% [markdown]
# 2. Is the pair that loses most in nats also the one that loses most in points?

# %% tags=["hide-cell"]
# Nats weigh prompts on which the token is unlikely, points those on which it is likely.
means = effects[(effects.kind == "zero") & effects.active.astype(bool)]
means = means.groupby(["neuron", "head"])[["fall", "log_fall"]].mean()
largest = means.idxmax() if len(means) else pd.Series(dtype=object)
assert all(pair in means.index for pair in largest)
{UNITS[unit]: " ".join(pair) for unit, pair in largest.items()}

# %% [markdown]
# 3. To try on your own: Set `active_rule: top3` in a copy of the run file. Three heads per prompt are then active, whatever they
#    write. Does the difference within pairs become smaller?
#
# Which way does a head's effect take to the token? That is the question of {ref}`direct-path`.
#
# ## Appendix: tables
#
# The pairs and their prompts, and how often the neuron's token really followed:

# %% tags=["hide-input", "hide-output"]
pd.DataFrame(counts)

# %% [markdown]
# The medians drawn in {numref}`fig-silenced`, with the paper's test of the two lists, and the numbers drawn in
# {numref}`fig-silenced-groups`:

# %% tags=["hide-input", "hide-output"]
pd.DataFrame(shown_boxes).T

# %% tags=["hide-input", "hide-output"]
pd.DataFrame(groups_table).T
