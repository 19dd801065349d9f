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
# So far a head was called active for what it writes into a neuron, which is arithmetic on one forward
# pass. Now we take the head away and run the model again. If the {term}`pair` is a
# {term}`context look-up`, the neuron's token should become less likely, and more so on prompts where
# the head was active than where it was not.
#
# | needs | leaves |
# | --- | --- |
# | `02_neurons`, `03_suffixes`, `04_heads`, `04_pairs` from {ref}`heads` and before | `07_head_ablations`: neuron and token, before and after |

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

from lookups.ablation import ablate_heads, other_rows
from lookups.artifacts import Stopwatch, load, save
from lookups.attention import look
from lookups.before_after import GROUPS, before_after, of_group, with_falls
from lookups.documents import run_documents
from lookups.effects import cliffs_delta_of_means, ks, mean_difference, pair_means, written
from lookups.figures import COLOURS, house_style
from lookups.intervals import Estimate, bootstrap_mean
from lookups.lots import lots_of
from lookups.means import measure_means
from lookups.model import load_model
from lookups.names import Head, Neuron
from lookups.pair_prompts import PairPrompts
from lookups.permutation import permuted_within_pairs
from lookups.runs import check_run, read_run
from lookups.significance import q_values
from lookups.views import BOS, LONGEST, PromptText, attention_view, prompt_table, readable

settings = read_run(run)
model = load_model(settings.model)
check_run(settings, model)
house_style()
stopwatch = Stopwatch()
neurons = load(settings, "02_neurons").drop_duplicates("neuron").set_index("neuron")
suffixes = load(settings, "03_suffixes")
pairs = load(settings, "04_pairs")
prompts = PairPrompts(
    suffixes, load(settings, "04_heads"), tokens=neurons.token, decode=model.decode
)
NOTHING = Markdown(
    "*This run has no kept pair with held-out prompts, so there is nothing to show.*"
)

# %% [markdown]
# ## On which prompts
#
# Every kept pair, those of random neurons and of the middle layers among them (`middle`), on all held-out
# prompts of its neuron (on those of `train`, where a run has no others; this run reads
# {glue:text}`split-read`). Held-out prompts that read the same as a training prompt stay out.

# %%
reported = "test" if (suffixes.split == "test").any() else "train"
kept = pairs[pairs.kept].reset_index(drop=True)
KEYS = ["neuron", "head", "split", "prompt", "active"]
tables = [prompts.rows(pair.neuron, pair.head, reported) for pair in kept.itertuples()]
rows = pd.concat([suffixes[:0].assign(head="", text="", active=False), *tables], ignore_index=True)
rows = rows.astype({"active": bool}).assign(token_id=rows.neuron.map(neurons.token_id))


# %% tags=["hide-input"]
def counted(table: pd.DataFrame) -> dict:
    both = table.groupby(["neuron", "head"]).active.nunique().eq(2)
    return {
        "pairs with held-out prompts": len(both),
        "of these, with prompts of both kinds": int(both.sum()),
        "neurons": table.neuron.nunique(),
        "active prompts": int(table.active.sum()),
        "inactive prompts": int((~table.active).sum()),
    }


glue("split-read", reported, display=False)
pd.DataFrame({name: counted(of_group(rows, neurons, name)) for name in GROUPS})

# %% [markdown]
# ## One look-up by hand
#
# The pair of a selected neuron whose head brings most on active training prompts over what it brings on the
# others, times how often the neuron's token follows there. We take the strongest held-out prompt on
# which the head is active and after which the token does follow. First where the head looks there:

# %% tags=["hide-input"]
gap = kept[kept.selected] if kept.selected.any() else kept
follows = neurons.follow_rate.reindex(gap.neuron).fillna(0.0).to_numpy(float)
gap = gap.assign(order=gap.gap.astype(float) * follows)
gap = gap.sort_values(["order", "neuron", "head"], ascending=[False, True, True], kind="stable")
short = rows[rows.active & (rows.token_ids.map(len) < LONGEST)]
followed = short[short.next_token_id == short.token_id]
short = followed if len(followed) else short
may_be = set(zip(short.neuron, short["head"], strict=True))
hands = [pair for pair in zip(gap.neuron, gap["head"], strict=True) if pair in may_be]
if hands:
    neuron, head = Neuron.parse(hands[0][0]), Head.parse(hands[0][1])
    shown = short[(short.neuron == hands[0][0]) & (short["head"] == hands[0][1])].iloc[0]
    ids, token_id = [int(i) for i in shown.token_ids], int(shown.token_id)
attention_view(
    [BOS, *(model.vocabulary[token] for token in ids)],
    look(model, neuron, [head], ids).pattern,
    [str(head)],
    name="fig-silenced-attention",
    look_for=f"Read the last row: what {head} takes from there is what it is about to lose.",
) if hands else NOTHING  # fmt: skip

# %% [markdown]
# The paper sets the head's value vectors to zero at every position. Then what attention makes of them,
# the head's output before $W_O$, is zero as well (a {term}`value bias` is folded away beforehand), so
# we set that:


# %%
def passed(hooks: list) -> dict[str, float]:
    """The neuron and its token at the end of the prompt, in a pass with these hooks."""
    at = f"blocks.{neuron.layer}.mlp.hook_"
    with model.bridge.hooks(fwd_hooks=hooks):
        logits, seen = model.bridge.run_with_cache(model.batch([ids]).ids)
    pre, post = (float(seen[at + name][0, -1, neuron.index]) for name in ("pre", "post"))
    p = float(logits[0, -1].double().softmax(-1)[token_id])
    return {"pre-activation": neuron.sign * pre, "activation": neuron.sign * post, "p(token)": p}


# %%
def silence(z: torch.Tensor, hook) -> torch.Tensor:
    z = z.clone()
    z[:, :, head.index] = 0.0
    return z


if hands:
    by_hand = pd.DataFrame(
        {
            "as it is": passed([]),
            f"{head} silenced": passed([(f"blocks.{head.layer}.attn.hook_z", silence)]),
        }
    )
by_hand.round(3) if hands else NOTHING


# %% tags=["hide-input"]
def moved(what: str) -> str:
    before, after = by_hand.loc[what].round(3)
    word = "falls" if after < before else "rises" if after > before else "stays"
    return f"{word} ({before:.3f} → {after:.3f})"


Markdown(
    f"At the end of “{readable(model.decode(ids))}” we silence {head}. The activation of {neuron}, whose "
    f"token is “{readable(neurons.token[str(neuron)])}”, {moved('activation')}, and the probability of "
    f"the token {moved('p(token)')}."
) if hands else NOTHING

# %% [markdown]
# ## Three ways to silence a head
#
# A head that is set to zero also takes away what it adds to *every* text. Later layers are not made
# for its absence, so a fall may come from that and not from what the head read. So beside the paper's
# way stand two that leave the usual in place:
#
# | kind | the head's output is replaced | by | at |
# | --- | --- | --- | --- |
# | `zero`, the paper's | | zero | every position |
# | `mean`, {term}`mean ablation` | | its mean over the tokens of training documents | every position but {term}`BOS` |
# | `resample`, {term}`resample ablation` | | its output at the end of another prompt of the neuron | the last position |
#
# And a {term}`control`: `other head` sets to zero, on the same prompts, a head of the same layer that is
# not in a kept pair of the neuron, drawn by lot. If active prompts are merely easier to upset, that
# shows here as well.

# %%
AVERAGED = 1000
documents = run_documents(settings, model, "train")
texts = [documents[row].ids for row in range(min(AVERAGED, len(documents)))]
means = measure_means(
    model, texts, sorted({Head.parse(name).layer for name in rows["head"]} or {0})
)
f"means over {means.tokens} tokens of {len(texts)} training documents"


# %%
def stand_in(neuron: str, head: str) -> str | None:
    """Another head of the layer, in no kept pair of the neuron; None where there is none."""
    taken = set(kept["head"][kept.neuron == neuron])
    layer = Head.parse(head).layer
    free = [Head(layer, index) for index in range(model.n_heads)]
    free = [str(one) for one in free if str(one) not in taken]
    return str(lots_of(settings.seed, "stand-in", neuron, head).choice(free)) if free else None


stand_ins = {
    (pair.neuron, pair.head): stand_in(pair.neuron, pair.head) for pair in kept.itertuples()
}

# %% [markdown]
# {func}`~lookups.ablation.ablate_heads` does on many prompts what we did by hand: the unchanged pass
# once a prompt, each change resumed at the layer of its head. Besides the kinds above it measures two
# that cut only the way from the head straight into the neuron; {ref}`direct-path` reads those.


# %%
def silenced(some: pd.DataFrame, kinds: list, **options) -> pd.DataFrame:
    if not len(some):
        return some[KEYS].assign(kind="")
    found = ablate_heads(
        model, some.token_ids.tolist(), some.neuron.map(Neuron.parse).tolist(),
        some.token_id.tolist(), some.silenced.map(Head.parse).tolist(), kinds, **options,
    )  # fmt: skip
    return before_after(some[[*KEYS, "silenced"]], found)


# %%
rows = rows.assign(silenced=rows["head"])
others = rows.assign(
    silenced=[stand_ins[pair] for pair in zip(rows.neuron, rows["head"], strict=True)]
)
several = rows[rows.groupby(["neuron", "head"]).prompt.transform("size") > 1]
donors = other_rows(list(zip(several.neuron, several["head"], strict=True)), seed=settings.seed)
parts = [
    silenced(rows, ["zero", "mean", "direct_frozen", "direct_recomputed"], means=means),
    silenced(several, ["resample"], donors=donors),
    silenced(others.dropna(subset="silenced"), ["zero"]).replace({"kind": {"zero": "other head"}}),
]
measured = [part for part in parts if len(part)]
COLUMNS = [f"{what}_{when}" for what in ("p", "logp", "pre", "act") for when in ("before", "after")]
nothing = pd.DataFrame(columns=[*KEYS, "silenced", "kind", *COLUMNS])
effects = pd.concat(measured, ignore_index=True) if measured else nothing
effects = with_falls(effects.astype({"active": bool} | dict.fromkeys(COLUMNS, float)))

# %% [markdown]
# The same prompt as above comes out the same:

# %% tags=["hide-input"]
if hands:
    key = [str(neuron), str(head), shown.prompt, "zero"]
    same = effects[(effects[["neuron", "head", "prompt", "kind"]] == key).all(axis=1)].iloc[0]
    found = [
        same.pre_before,
        same.act_before,
        same.p_before,
        same.pre_after,
        same.act_after,
        same.p_after,
    ]
    found = np.array(found)
    assert model.dtype.itemsize < 4 or np.allclose(found, by_hand.T.to_numpy().ravel(), atol=1e-4)
pd.DataFrame(
    {
        kind: {"rows": len(some), "pairs": len(some[["neuron", "head"]].drop_duplicates())}
        for kind, some in effects.groupby("kind", sort=False)
    }
) if len(effects) else NOTHING  # fmt: skip

# %% [markdown]
# ## The paper's comparison
#
# For each pair, the mean fall of p(token) over its active prompts, and that over its inactive prompts:
# two lists with one value a pair in each, compared by the {term}`Kolmogorov–Smirnov test`. Pairs with
# held-out prompts of one kind only are left out. {numref}`fig-silenced` shows both lists for the pairs of
# {glue:text}`whose-neurons` neurons, and for every way to silence a head.


# %%
def compared(table: pd.DataFrame, change: str = "fall") -> tuple:
    means_of = pair_means(table, change)
    return means_of.dropna(subset="difference"), ks(means_of.active, means_of.inactive)


KINDS = ["zero", "mean", "resample", "other head"]
own = of_group(effects, neurons, "selected")
own, whose = (own, "selected") if len(own) else (effects, "all examined")
by_kind = {kind: compared(own[own.kind == kind]) for kind in KINDS}
glue("whose-neurons", whose, display=False)

# %% tags=["hide-input"] mystnb={"figure": {"caption": "Mean fall of the token's probability when a head is silenced, one value a pair: over its active prompts (blue) and over its inactive ones (grey), for three ways to silence the head and for another head of its layer. Boxes hold the middle half of the pairs, the line is the median. A look-up shows as a blue box above the grey one.", "name": "fig-silenced"}, "image": {"alt": "Box plots of mean falls in token probability over active and inactive prompts by kind of ablation"}}
figure, axis = plt.subplots()
shown_boxes = {}
for place, (kind, (table, test)) in enumerate(by_kind.items()):
    for side, (name, colour) in enumerate({"active": "blue", "inactive": "grey"}.items()):
        values = 100 * table[name].to_numpy(float)
        at = place + 0.36 * (side - 0.5)
        if len(values):
            axis.boxplot(values, positions=[at], widths=0.3, patch_artist=True, showfliers=False,
                         boxprops={"facecolor": COLOURS[colour], "alpha": 0.45},
                         medianprops={"color": "black"})  # fmt: skip
            axis.plot(
                at + np.linspace(-0.1, 0.1, len(values)),
                np.sort(values),
                ".",
                color=COLOURS[colour],
            )
        shown_boxes.setdefault(kind, {})[f"median, {name}"] = (
            round(float(np.median(values)), 2) + 0.0 if len(values) else np.nan
        )
    shown_boxes[kind] |= {"KS": round(test.statistic, 3), "p": f"{test.p:.1e}",
                          "pairs": test.pairs, "left out": test.left_out}  # fmt: skip
axis.axhline(0, color="black", linewidth=0.8)
axis.set_xticks(range(len(by_kind)), list(by_kind))
axis.set(ylabel="fall of p(token), percentage points", xlabel="how the head is silenced")
handles = [plt.Rectangle((0, 0), 1, 1, color=COLOURS[c], alpha=0.45) for c in ("blue", "grey")]
axis.legend(handles, ["active prompts", "inactive prompts"])
plt.show()
pd.DataFrame(shown_boxes).T

# %% [markdown]
# ## What that test leaves out
#
# The test takes the two lists for strangers. But every pair has a value in each, so half of what
# spreads them is the pair and not the activity; and pairs that share a neuron share its prompts. So
# here are, for the same means:
#
# - the mean *difference within pairs*, in percentage points, with a {term}`bootstrap` over neurons;
# - *Cliff's delta* between the two lists, the size that goes with the paper's test: how much more often
#   an active mean exceeds an inactive one than falls below it, from −1 to 1;
# - a {term}`permutation test` that deals the labels *active* and *inactive* out again within each pair,
#   for all heads of a neuron alike, {glue:text}`deals` times.

# %%
fdr = settings.false_discovery_rate
n_pairs = len(rows[["neuron", "head"]].drop_duplicates())
DRAWS = max(2000, int(np.ceil(2 * n_pairs / fdr)))  # so that the least p can pass for one of all
glue("deals", DRAWS, display=False)


def points(found: Estimate) -> str:
    return written(found, times=100, digits=2)


# %%
def sizes(table: pd.DataFrame, change: str = "fall") -> dict:
    means_of, test = compared(table, change)
    lists = means_of.active, means_of.inactive, means_of.neuron
    dealt = permuted_within_pairs(table, change, seed=settings.seed, draws=DRAWS)
    return {
        "pairs": test.pairs, "neurons": means_of.neuron.nunique(), "KS": round(test.statistic, 3),
        "difference within pairs": mean_difference(*lists, seed=settings.seed),
        "Cliff's delta": cliffs_delta_of_means(*lists, seed=settings.seed),
        "p, active falls more": dealt.p_greater, "p, two-sided": dealt.p_two_sided,
        "dealt": dealt,
    }  # fmt: skip


# %% tags=["hide-input"]
def as_row(found: dict) -> dict:
    plain = {name: value for name, value in found.items() if name != "dealt"}
    shown = {"difference within pairs": points(found["difference within pairs"])}
    shown |= {name: f"{found[name]:.2g}" for name in plain if name.startswith("p, ")}
    return plain | shown | {"Cliff's delta": written(found["Cliff's delta"])}


tested = {kind: sizes(own[own.kind == kind]) for kind in KINDS}
pd.DataFrame({kind: as_row(found) for kind, found in tested.items()}).T

# %% [markdown]
# Where the token was hardly expected it cannot fall far. So the same for other measures, the head set to
# zero: the logarithm of the probability (nats), in which a fall by half is a fall by half wherever it
# starts, and the neuron's own activation. The first row says how likely the token was before.

# %%
MEASURES = {"p_before": "p(token), before", "fall": "fall of p(token)", "log_fall": "fall of log p(token)", "act_fall": "fall of the activation"}  # fmt: skip
zero = own[own.kind == "zero"]
measures = {}
for change, name in MEASURES.items():
    found = sizes(zero, change)
    lists, _ = compared(zero, change)
    measures[name] = {
        "active, mean": f"{lists.active.mean():.3f}",
        "inactive, mean": f"{lists.inactive.mean():.3f}",
        "difference within pairs": written(found["difference within pairs"]),
        "Cliff's delta": written(found["Cliff's delta"]),
        "p, two-sided": f"{found['p, two-sided']:.2g}",
    }
pd.DataFrame(measures).T

# %% [markdown]
# ## Is it this head?
#
# Of each pair's difference we take off what silencing another head of the layer gives on the very same
# prompts. And random neurons, and those of the middle layers, went through the same steps
# ({numref}`fig-silenced-groups`).

# %% tags=["hide-input"] mystnb={"figure": {"caption": "How much more the token's probability falls on active than on inactive prompts, mean over pairs with 95 % intervals from drawing neurons again. Filled: the pair's own head set to zero; open: another head of its layer. A look-up of its own lies to the right of zero and of the open mark.", "name": "fig-silenced-groups"}, "image": {"alt": "Differences within pairs by group of neurons, own head and another head"}}
figure, axis = plt.subplots(figsize=(6.4, 2.6))
table, gains = {}, {}
for place, name in enumerate(GROUPS):
    some = of_group(effects, neurons, name)
    lists = {kind: compared(some[some.kind == kind])[0] for kind in ("zero", "other head")}
    both = lists["zero"].merge(lists["other head"], on=["neuron", "head"], suffixes=("", "_other"))
    gains[name] = bootstrap_mean(
        both.difference - both.difference_other, both.neuron, seed=settings.seed
    )
    table[name] = {"pairs": len(lists["zero"]), "neurons": lists["zero"].neuron.nunique()}
    for shift, (kind, one) in enumerate(lists.items()):
        mean = bootstrap_mean(one.difference, one.neuron, seed=settings.seed)
        at = place + 0.2 * (shift - 0.5)
        colour = COLOURS["blue" if kind == "zero" else "grey"]
        axis.hlines(at, 100 * mean.low, 100 * mean.high, color=colour)
        axis.plot(100 * mean.mean, at, "o", color=colour, fillstyle="none" if shift else "full")
        table[name]["own head" if kind == "zero" else "another head"] = points(mean)
    table[name]["own less other"] = points(gains[name])
axis.axvline(0, color="black", linewidth=0.8)
axis.set_yticks(range(len(GROUPS)), [f"{name} neurons" for name in GROUPS])
axis.invert_yaxis()
axis.set(xlabel="fall on active less fall on inactive prompts, percentage points")
plt.show()
pd.DataFrame(table).T

# %% [markdown]
# ## Which pairs?
#
# A mean over pairs may be the work of a few. Each pair has a p of its own from the same deals
# (two-sided), and `q` corrects them over the pairs of a group {cite}`benjamini1995`. Counted apart:
# pairs whose token falls *more* where the head is active, and pairs where it falls *less*.


# %%
def discoveries(table: pd.DataFrame) -> dict:
    dealt = permuted_within_pairs(table, "fall", seed=settings.seed, draws=DRAWS).pairs
    more = dealt.difference > 0
    counts = {"pairs": len(dealt), "difference above 0": int(more.sum())}
    for method, name in {"bh": f"q < {fdr:g}", "by": f"q < {fdr:g}, any dependence"}.items():
        real = q_values(dealt.p_two_sided, method=method) < fdr
        counts |= {f"{name}: more": int((real & more).sum())}
        counts |= {f"{name}: less": int((real & ~more).sum())}
    return counts


found = {
    (name, kind): discoveries(some[some.kind == kind])
    for name in GROUPS
    for some in [of_group(effects, neurons, name)]
    for kind in KINDS
}
pd.DataFrame(found).T.rename_axis(["neurons of", "silenced"])

# %% [markdown]
# The pairs with the largest and the smallest differences:

# %%
best = tested["zero"]["dealt"].pairs.assign(q=lambda t: q_values(t.p_two_sided))
best = best.merge(compared(zero)[0].drop(columns="difference"), on=["neuron", "head"])
best = best.sort_values(["difference", "neuron", "head"], ascending=[False, True, True])
few = pd.concat([best.head(5), best[5:].tail(3)])
pd.DataFrame(
    {
        "neuron": few.neuron, "for": few.neuron.map(neurons.token).map(readable), "head": few["head"],
        "prompts": few.n_active.astype(str) + " + " + few.n_inactive.astype(str),
        "fall, active": (100 * few.active).round(2) + 0.0, "fall, inactive": (100 * few.inactive).round(2) + 0.0,
        "delta": few.delta.round(2), "q": few.q.map("{:.2g}".format),
    }
).reset_index(drop=True) if len(few) else NOTHING  # fmt: skip


# %% tags=["hide-input"]
def side_by_side(pair: tuple[str, str], most: int = 5):
    """Where the token falls most, of the two kinds of prompt."""
    some = zero[(zero.neuron == pair[0]) & (zero["head"] == pair[1])]
    some = some.merge(
        rows[["neuron", "head", "prompt", "text", "token"]], on=["neuron", "head", "prompt"]
    )
    some = some.sort_values(["fall", "prompt"], ascending=[False, True])
    columns = {}
    for kind in (True, False):
        mine = some[some.active == kind].head(most)
        title = f"{pair[1]} {'active' if kind else 'inactive'} for {pair[0]}"
        columns[title] = [
            PromptText(r.text, r.token, f"{r.p_before:.2g} → {r.p_after:.2g}")
            for r in mine.itertuples()
        ]
    return prompt_table(columns)


side_by_side((best.iloc[0].neuron, best.iloc[0]["head"])) if len(best) else NOTHING

# %% [markdown]
# Above, for the first of them, the prompts on which the token falls most when the head is set to zero,
# with its probability before and after.
#
# ## Beside the paper
#
# Zero ablation, mean falls of p(token), one value a pair in each list:
#
# | model | KS statistic | p | pairs |
# | --- | --- | --- | --- |
# | GPT-2 small {cite}`neo2024` | .242 | 1.0e-5 | |
# | GPT-2 medium | .331 | 3.7e-13 | |
# | GPT-2 large | .293 | 2.1e-23 | 612 |
#
# The same for this run, selected neurons and controls:

# %%
beside = {}
for name in GROUPS:
    test = compared(of_group(effects[effects.kind == "zero"], neurons, name))[1]
    beside[f"this run, {name} neurons"] = {
        "KS statistic": round(test.statistic, 3), "p": f"{test.p:.1e}", "pairs": test.pairs
    }  # fmt: skip
pd.DataFrame(beside).T

# %% [markdown]
# The p of such a test falls with the number of pairs, whatever the size of the difference. Two models
# can be compared by the statistic, and better by the difference itself.
#
# ```{admonition} Differs from the paper
# :class: note
# The paper sets value vectors to zero and compares the two lists of means by the Kolmogorov–Smirnov
# test {cite}`neo2024`. Both are here. Beside them stand mean and resample ablation, another head as a
# control, the difference within pairs with an interval over neurons, and a permutation test within
# pairs, corrected over pairs. All of it is on held-out prompts.
# ```
#
# ## Check and save
#
# A prompt is the same before, whatever is silenced afterwards, and labels are those of {ref}`heads`:

# %%
baseline = effects.groupby(["neuron", "prompt"])[["p_before", "act_before"]]
apart = (baseline.max() - baseline.min()).to_numpy()
assert model.dtype.itemsize < 4 or (apart < 1e-4).all()
assert effects[["p_before", "p_after"]].stack().between(0, 1).all()
assert not effects.duplicated(["neuron", "head", "prompt", "kind"]).any()
labels = rows.set_index(["neuron", "head", "prompt"]).active
assert (
    effects.set_index(["neuron", "head", "prompt"])
    .active.eq(labels.reindex(pd.MultiIndex.from_frame(effects[["neuron", "head", "prompt"]])))
    .all()
)
falls = ["fall", "log_fall", "pre_fall", "act_fall"]
saved = effects.drop(columns=falls)
save(settings, "07_head_ablations", saved, model=model, seconds=stopwatch.seconds)
Markdown(f"Saved `07_head_ablations`: {len(saved)} rows of {n_pairs} pairs, on `{reported}`.")

# %% [markdown]
# ## What we know

# %% tags=["hide-input"]
main, test = tested["zero"], by_kind["zero"][1]
glue("ks-statistic", f"{test.statistic:.3f}", display=False)
glue("ks-p", f"{test.p:.1e}", display=False)
glue("ablation-difference", points(main["difference within pairs"]), display=False)


def told(found: Estimate, more: str, less: str, neither: str) -> str:
    if not np.isfinite(found.low):
        return f"Not known, since there are too few neurons: {more[0].lower()}{more[1:]}."
    return f"{more if found.low > 0 else less if found.high < 0 else neither} ({points(found)} points)."


dealt = main["dealt"]
lines = [
    told(main["difference within pairs"],
         f"Setting the head to zero lowers the token of {whose} neurons more where the head is active",
         f"Setting the head to zero lowers the token of {whose} neurons *less* where the head is active",
         f"Setting the head to zero lowers the token of {whose} neurons no more where the head is active than where it is not, as far as these pairs tell"),
    f"Dealing the labels out again gives as much in a share of {main['p, active falls more']:.2g} of all deals; the paper's test says {test}.",
    told(gains["selected"],
         "That is more than another head of the same layer does to the same prompts",
         "Another head of the same layer does more to the same prompts",
         "It cannot be told from what another head of the same layer does to the same prompts"),
    told(gains["random"],
         "Of random neurons the own head does more than another one, too",
         "Of random neurons the own head does less than another one",
         "Of random neurons the own head does no more than another one"),
]  # fmt: skip
for kind in ("mean", "resample"):
    same = tested[kind]["difference within pairs"]
    lines.append(told(same, f"By `{kind}` ablation active prompts fall more, too", f"By `{kind}` ablation active prompts fall less", f"By `{kind}` ablation no difference can be told"))  # fmt: skip
real = dealt.pairs[q_values(dealt.pairs.p_two_sided) < fdr].difference
lines.append(
    f"Of {len(dealt.pairs)} pairs alone, at a false discovery rate of {fdr:g}, the token falls more "
    f"where the head is active in {int((real > 0).sum())} and less in {int((real < 0).sum())}."
)
Markdown("\n".join(f"- {line}" for line in lines) if test.pairs else "No pair could be compared.")

# %% [markdown]
# What is not known: whether the token falls *because* the neuron falls. A head that is silenced changes
# everything that reads from it, the neuron among others. Which way its effect takes is the question of
# {ref}`direct-path`.
#
# ```{admonition} Try it
# :class: tip
# Set `active_rule: top3` in a copy of the run file. Three heads a prompt are then active whatever they
# write. Does the difference within pairs become smaller?
# ```
