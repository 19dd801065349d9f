# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# (analysis)=
# # What did we find?
#
# Each chapter before this one answered one question. This page gathers the answers: how selected
# neurons compare with random ones in everything that was measured, which look-ups convince most,
# and what the paper's rules would have found.
#
# 1. {glue:text}`answer_exist`
# 2. {glue:text}`answer_context`
# 3. {glue:text}`answer_need`
#
# | needs | leaves |
# | --- | --- |
# | all tables, from {ref}`next-token-neurons` to {ref}`neuron-ablation` | `summary`: the first table below, and the sentences with which the book begins |

# %% tags=["parameters"]
# Everything else stands in the run's file.
run: str = "smollm2"  # a run's id, or a path to its .yml

# %% tags=["hide-input"]
from collections.abc import Callable
from typing import NamedTuple

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from IPython.display import Markdown
from myst_nb import glue

from lookups.run.store import load, save
from lookups.measure.ablation import ablate
from lookups.measure.attention import look
from lookups.explain.running_example import running_pairs, running_prompt
from lookups.measure.intervention import GROUPS, before_after, followed_first, of_group, with_falls
from lookups.explain.blind_sort import majority, read_verdicts, scored
from lookups.statistics.differences import Values, group_difference, ks, pair_means, share_of_mean
from lookups.statistics.bootstrap import Estimate, bootstrap_mean, lots_of, percent, written
from lookups.show.figures import COLOURS, house_style
from lookups.model.loaded import load_model
from lookups.names import Head, Neuron
from lookups.explain.explainer import PairPrompts
from lookups.settings import RECORDS, check_run, read_run
from lookups.show.views import readable

settings = read_run(run)
model = load_model(settings.model)
check_run(settings, model)
house_style()
pd.set_option("display.max_colwidth", None)
rates, suffixes = load(settings, "follow_rates"), load(settings, "suffixes")
heads, pairs = load(settings, "heads"), load(settings, "pairs")
scores = load(settings, "scores")
silenced = with_falls(load(settings, "head_ablations"))
held = with_falls(load(settings, "neuron_ablations"))
low, high = settings.pair_share

# %% [markdown]
# Everything was chosen on `train` and is reported on `test`, where a run has one. The *selected*
# neurons are the run's own under its {term}`protocol`: {term}`sound <sound neuron>` ones, or those on the
# paper's list. The *random* ones are neurons of the same layers that are neither sound nor on the list, each
# matched to a selected one in how strongly and how often it fires and in how frequent its token is.

# %%
reported = "test" if (rates.split == "test").any() else "train"
on = rates[rates.split == reported].drop_duplicates("neuron").set_index("neuron")
late = on[on.layer.isin(settings.layers)]
FEWEST = 10 if settings.prompts is None else 2  # prompts a neuron needs, as in chapter 5

# %% [markdown]
# ## Selected against random
#
# Every row of the table is a quantity that was measured for each *neuron* of a group, once or more
# often. It is computed by one function, which takes the group, so both sides pass the same filter.
# Here are two of the functions; the others are folded.


# %%
def follow_rate(group: str) -> Values:
    some = of_group(late.reset_index(), on, group)
    return Values(some.follow_rate, some.neuron)


# %%
def kept_pairs(group: str) -> Values:
    """Kept pairs a neuron, of all neurons that were examined for pairs."""
    each = of_group(pairs, on, group).groupby("neuron").kept.sum()
    return Values(each, each.index)


# %% tags=["hide-input"]
def active_share(group: str) -> Values:
    """Of the prompts of a kept pair, those on which its head is active."""
    each = of_group(on_prompts, on, group).groupby(["neuron", "head"]).active.mean()
    return Values(each, each.index.get_level_values("neuron"))


def effect_gap(group: str) -> Values:
    """How much more of its activation a neuron owes to the head of a kept pair, active less not."""
    each = pair_means(of_group(on_prompts, on, group), "effect")
    return Values(each.difference, each.neuron)


def explained(explainer: str) -> Callable[[str], Values]:
    def of(group: str) -> Values:
        some = of_group(scores, on, group)
        some = some[(some.explainer == explainer) & (some.control == "none")]
        return Values(some.score, some.neuron)

    return of


def head_falls(unit: str) -> Callable[[str], Values]:
    """What the token loses without the head of a kept pair, active less inactive prompts."""

    def of(group: str) -> Values:
        each = pair_means(of_group(silenced[silenced.kind == "zero"], on, group), unit)
        return Values(each.difference, each.neuron)

    return of


def neuron_changes(kind: str, unit: str) -> Callable[[str], Values]:
    """What the token loses without the neuron (`zero`), or gains by it (`on`)."""
    texts, sign = (["fires"], 1) if kind == "zero" else (["other", "follows_silent"], -1)

    def of(group: str) -> Values:
        some = of_group(held, on, group)
        some = some[some.context.isin(texts) & (some.kind == kind) & (some.control == "none")]
        each = sign * some.groupby("neuron")[unit].mean()
        return Values(each, each.index)

    return of


prompts = PairPrompts(
    suffixes, heads, tokens=on.token, decode=model.decode, vocabulary=model.vocabulary
)
each = [prompts.rows(pair.neuron, pair.head, reported) for pair in pairs[pairs.kept].itertuples()]
empty = suffixes[:0].assign(head="", active=False, effect=0.0, text="")
on_prompts = pd.concat([empty, *each], ignore_index=True).astype({"active": bool})
on_prompts = on_prompts.merge(pairs[["neuron", "head", "gap"]], on=["neuron", "head"])
known = on_prompts.next_token_id >= 0
follows = (on_prompts.next_token_id == on_prompts.neuron.map(on.token_id)).where(known)
on_prompts["follows"] = follows.astype(float)


class Row(NamedTuple):
    """A quantity of the comparison: what it is called, how it is made, and in which unit."""

    name: str
    unit: str
    of: Callable[[str], Values]


UNITS = {"points": "fall", "nats": "log_fall"}
ROWS = [
    Row("follow rate", "share", follow_rate),
    Row("kept pairs a neuron", "pairs", kept_pairs),
    Row("prompts of a kept pair with its head active", "share", active_share),
    Row("effect of the head, active less inactive", "share", effect_gap),
    *(Row(f"explanation score, {name}", "E", explained(name)) for name in scores.explainer.unique()),
    *(Row("head silenced: fall, active less inactive", unit, head_falls(change)) for unit, change in UNITS.items()),
    *(Row("neuron held at zero: fall where it fires", unit, neuron_changes("zero", change)) for unit, change in UNITS.items()),
    *(Row("neuron switched on: rise where it was silent", unit, neuron_changes("on", change)) for unit, change in UNITS.items()),
]  # fmt: skip


def in_unit(found: Estimate, unit: str) -> Estimate:
    """The estimate in its unit, as precisely as it is kept and shown."""
    times, digits = (100, 2) if unit == "points" else (1, 2 if unit == "pairs" else 3)
    return Estimate(*(round(times * number, digits) + 0.0 for number in found))


def shown(found: Estimate, unit: str) -> str:
    """An estimate in its unit; a count has no interval."""
    counted = np.isfinite(found.mean) and not np.isfinite(found.low)
    digits = 2 if unit in ("points", "pairs") else 3
    return f"{found.mean:g}" if counted else written(found, digits=digits)


# %% tags=["hide-input"] mystnb={"figure": {"caption": "Selected next-token neurons (blue) against random neurons that are matched to them (grey): mean with 95 % intervals over neurons. Each row has its own scale; where the two intervals lie apart, the groups differ.", "name": "fig-against-random"}, "image": {"alt": "For each measured quantity, the mean of selected and of random neurons with intervals"}}
figure, axes = plt.subplots(len(ROWS), 1, figsize=(7.6, 0.55 * len(ROWS)))
summary, found = [], {}
for axis, row in zip(axes, ROWS, strict=True):
    values = {group: row.of(group) for group in GROUPS}
    means = {group: bootstrap_mean(*some, seed=settings.seed) for group, some in values.items()}
    means["difference"] = group_difference(*values.values(), seed=settings.seed)
    means = found[row.name, row.unit] = {name: in_unit(one, row.unit) for name, one in means.items()}  # fmt: skip
    for place, group in enumerate(GROUPS):
        colour = COLOURS["blue" if group == "selected" else "grey"]
        axis.hlines(place, means[group].low, means[group].high, color=colour)
        axis.plot(means[group].mean, place, "o", color=colour)
    axis.set(yticks=[], ylim=(1.6, -0.6))
    axis.set_ylabel(f"{row.name}, {row.unit}", rotation=0, ha="right", va="center", fontsize=8)
    axis.tick_params(labelsize=7)
    axis.spines["left"].set_visible(False)
    numbers = {f"{name}{end}": number for name, one in means.items() for end, number in zip(("", "_low", "_high"), one, strict=True)}  # fmt: skip
    counts = {f"{group}_neurons": pd.Series(list(some.neurons))[pd.Series(list(some.values)).notna()].nunique() for group, some in values.items()}  # fmt: skip
    summary.append({"quantity": row.name, "unit": row.unit} | numbers | counts)
plt.show()


def told_apart(gap: Estimate) -> str:
    if not np.isfinite(gap.low):
        return "not known"
    return "more" if gap.low > 0 else "less" if gap.high < 0 else "not told apart"


against = [
    {"quantity": name, "unit": unit} | {group: shown(one, unit) for group, one in means.items()}
    | {"neurons": f"{row['selected_neurons']}, {row['random_neurons']}", "selected neurons have": told_apart(means["difference"])}
    for ((name, unit), means), row in zip(found.items(), summary, strict=True)
]  # fmt: skip
# %% tags=["hide-input", "hide-output"]
pd.DataFrame(against)

# %% [markdown]
# The table behind the figure is folded. The difference in it is the mean of the selected less that of the random neurons, with an interval that resamples the
# neurons of each group. *Not told apart* means that this interval contains zero.

# %% [markdown]
# How much of what a token loses without the head goes through the neuron? The mean over pairs, on active
# prompts ({ref}`direct-path`):


# %%
def through(group: str, unit: str):
    """The share of the token's fall that is left when only the neuron changes."""
    some = of_group(silenced[silenced.active.astype(bool)], on, group)
    means = some.groupby(["neuron", "head", "kind"])[unit].mean().unstack("kind").reset_index()
    means = means.reindex(columns=["neuron", "zero", "through_neuron"])
    return share_of_mean(means.through_neuron, means.zero, means.neuron, seed=settings.seed).share


# %% tags=["hide-input"]
shares = {(group, unit): through(group, change) for group in GROUPS for unit, change in UNITS.items()}  # fmt: skip


def share_of(group: str, unit: str) -> str:
    return percent(shares[group, unit], unknown="no share can be given")


glue("through-share", written(shares["selected", "nats"], digits=2), display=False)
Markdown(
    "\n".join(
        f"- {group} neurons: {share_of(group, 'nats')} of the nats, "
        f"{share_of(group, 'points')} of the points."
        for group in GROUPS
    )
    + "\n\n(No share is given where the whole fall cannot be told from none.)"
)

# %% [markdown]
# ## The most convincing look-ups
#
# These are kept pairs of selected neurons whose token really follows, on held-out prompts. They are
# ordered by the share of active prompts that are followed, times how much more the neuron owes to
# the head on active training prompts ({func}`~lookups.measure.intervention.followed_first`), and no
# token comes twice. Beside each stand its strongest active prompt that the token follows and its
# strongest inactive prompt, each with what really came next. *Nats without the head* is the mean
# fall of the token's log-probability on active and on inactive prompts, *E* the score of the
# explanation by the run's first explainer.


# %% tags=["hide-input"]
def quoted(row) -> str:
    """The end of a prompt and what really followed it."""
    ids = row.token_ids
    text = ("… " if len(ids) > 10 else "") + readable(model.decode(ids[-10:])).strip()
    after = readable(model.vocabulary[row.next_token_id]).strip() if row.next_token_id >= 0 else ""
    return f"{text} ▸ {after}"


def strongest(rows: pd.DataFrame) -> str:
    rows = rows.sort_values(["activation", "prompt"], ascending=[False, True])
    return quoted(rows.iloc[0]) if len(rows) else "–"


best = of_group(on_prompts, on, "selected")
look_ups = pd.DataFrame(followed_first(best), columns=["neuron", "head"])
look_ups = look_ups[~look_ups.neuron.map(on.token_id).duplicated()].head(10)
E = scores[(scores.control == "none")].drop_duplicates(["neuron", "head"]).set_index(["neuron", "head"]).score  # fmt: skip
fell = pair_means(silenced[silenced.kind == "zero"], "log_fall").set_index(["neuron", "head"])
lines = []
for neuron, head in look_ups.itertuples(index=False):
    rows = best[(best.neuron == neuron) & (best["head"] == head)]
    active, inactive = (rows[rows.active == kind] for kind in (True, False))
    lines.append(
        {
            "token": f"“{readable(on.token[neuron])}”", "pair": f"{neuron} {head}",
            "active": strongest(active[active.follows == 1]), "inactive": strongest(inactive),
            "followed, active": percent(active.follows.mean()),
            "nats without the head": f"{fell.active[neuron, head]:.2f}, {fell.inactive[neuron, head]:.2f}",
            "E": f"{E[neuron, head]:.2f}" if pd.notna(E.get((neuron, head))) else "–",
        }
    )  # fmt: skip
pd.DataFrame(lines) if lines else Markdown(
    "No pair was kept whose token follows, so none convinces."
)

# %% [markdown]
# ## The running example, put together
#
# The {ref}`running example <running-example>` opens the book, on a held-out prompt of median activation. Its
# pair comes first; the second pair that the chapters followed is there to compare. For each we ask where
# the head looks, what the token loses without the head, and what is left of that loss when only the neuron
# takes the activation that it has without the head.

# %% tags=["hide-input"]
after = silenced.pivot_table(index=["neuron", "head", "prompt"], columns="kind", values="p_after")
before = silenced.groupby(["neuron", "head", "prompt"]).p_before.first()


def example(neuron: str, head: str) -> tuple[str, str]:
    """The quotation and the story of a followed pair on its held-out prompt."""
    named = f"“{readable(on.token[neuron])}”"
    rows = on_prompts[(on_prompts.neuron == neuron) & (on_prompts["head"] == head)]
    there = [(neuron, head, prompt) in after.index for prompt in rows.prompt]
    rows = rows[np.array(there, bool)]
    if not rows.active.any():
        return "", f"{head} is active on no held-out prompt of the {named} neuron ({neuron})."
    one = running_prompt(rows)
    at = (neuron, head, one.prompt)
    lost, through_it = before[at] - after.zero[at], before[at] - after.through_neuron[at]
    part = "part" if through_it >= lost / 4 else "hardly any"
    part = "most" if through_it >= 2 * lost / 3 else part
    seen = look(model, Neuron.parse(neuron), [Head.parse(head)], one.token_ids)
    source = int(seen.contribution[0].argmax())  # the BOS comes first
    read = readable(model.vocabulary[one.token_ids[source - 1]])
    read = f"“{read}”" if source else "the beginning of the text"
    rounded = [round(100 * p) for p in (before[at], after.zero[at], after.through_neuron[at])]
    story = (
        f"The model gives {named} a probability of {rounded[0]} % here. One attention head, {head}, reads {read}; "
        f"without this head the probability is {rounded[1]} %. One neuron in layer {on.layer[neuron]}, the {named} neuron "
        f"({neuron}), hands on {part} of that. If we change only this neuron, and give it the activation that it has without the head, "
        f"the probability is {rounded[2]} %: {rounded[0] - rounded[2]} of the {rounded[0] - rounded[1]} points go through the neuron."
    )
    return quoted(one), story


told = [example(*pair) for pair in running_pairs(settings, rates, pairs)]
quote, story = next(iter(told), ("", "This run kept no pair, so it has no look-up to show."))
glue("front_quote", quote or "This run has no look-up to quote.", display=False)
glue("front_story", story, display=False)
Markdown("\n\n".join(f"> {quote}\n\n{story}" if quote else story for quote, story in told))

# %% [markdown]
# Numbers do not tell whether a reader sees what the head sees. In the
# {ref}`blind sort <blind-sort>` readers who did not know the labels learned from training prompts
# of each kind, and then sorted held-out ones:

# %% tags=["hide-input"]
sorted_items = scored(load(settings, "deck"), majority(read_verdicts(settings.verdicts)))
sorted_ones = sorted_items[sorted_items.correct.notna()].groupby("kind")
clear = {kind: f"{int(some.clear.sum())} of {len(some)}" for kind, some in sorted_ones}
for kind in ("clearest", "random"):
    glue(f"sorted_{kind}", clear.get(kind, "none"), display=False)
Markdown(
    f"Clear to the readers: {clear.get('clearest', 'none')} of the clearest look-ups, "
    f"{clear.get('random', 'none')} of pairs drawn at random from those that were not kept."
    if clear
    else "No reader has sorted the prompts of this run."
)

# %% [markdown]
# (attribution-against-effect)=
# ## Attribution against effect
#
# The paper calls a head active by its attribution, `protocol: sound` by its effect ({ref}`heads`). Both were measured
# on the same training prompts, so we can say which pairs of selected neurons each rule would keep among the same
# candidates, under the conditions of {ref}`heads`. The first rule of the table is ours, the other two are the paper's:

# %% tags=["hide-input"]
PAIR = ["neuron", "head"]
deciding = "post" if model.gated else "in"
decided = heads[(heads.input == deciding) & heads.candidate & (heads.split == "train")]


# %%
def kept_by(rule: str) -> pd.Series:
    """Which pairs a rule keeps: the head is active on some of the prompts and not on others."""
    active = decided.groupby(PAIR)[f"active_{rule}"].agg(["mean", "size"])
    kept = active["mean"].between(low, high) & (active["size"] >= FEWEST)
    if rule == "effect":
        means = decided.groupby([*PAIR, "active_effect"]).effect.mean().unstack()
        gap = means.reindex(columns=[False, True]).diff(axis=1)[True]
        kept &= gap >= settings.effect_apart
    return kept


# %% tags=["hide-input"]
by_rule = pd.DataFrame({rule: kept_by(rule) for rule in ("effect", "2sd", "top3")})
for score in ("effect", "attribution"):
    by_rule[f"mean {score}"] = decided.groupby(PAIR)[score].mean()
own_rule = by_rule[settings.active_rule].reindex(pd.MultiIndex.from_frame(pairs[PAIR]))
assert (own_rule.to_numpy() == pairs.kept).all()
by_rule = of_group(by_rule.reset_index(), on, "selected")
pd.DataFrame(
    {
        rule: {
            "pairs": int(by_rule[rule].sum()),
            "neurons": by_rule.neuron[by_rule[rule]].nunique(),
            "heads": by_rule["head"][by_rule[rule]].nunique(),
            "pairs kept by effect, too": int((by_rule[rule] & by_rule.effect).sum()),
        }
        for rule in ("effect", "2sd", "top3")
    }
).T

# %% [markdown]
# Which of the two tells what the neuron loses when the head is silenced? We silence the heads of all pairs that are
# kept by effect or by the rule of two standard deviations. A choice by one of the scores would be unfair to the other,
# so of every neuron we add the three heads of the largest mean effect and the three of the largest mean attribution in
# training, and one head drawn at random that no rule keeps. Each is set to zero on six held-out prompts of the neuron,
# spread from its strongest to its weakest. (An effect comes from an experiment, too, but from another: a head's output was
# replaced by its mean, at the last token alone, while all other heads put out what they did.)

# %%
LARGEST, EACH = 3, 6
KINDS = ["by both", "by effect alone", "by attribution alone"]
scores_of = by_rule.groupby("neuron")[["mean effect", "mean attribution"]]
ranked = scores_of.rank(ascending=False, method="first")
by_rule["among largest"] = (ranked <= LARGEST).any(axis=1)
by_rule["kept"] = np.select(
    [by_rule.effect & by_rule["2sd"], by_rule.effect, by_rule["2sd"]], KINDS, "by neither"
)
enough = by_rule.neuron.map(decided.groupby("neuron").prompt.nunique()) >= FEWEST
by_rule = by_rule[enough].sort_values(PAIR)

# %% tags=["hide-input"]
free = by_rule[(by_rule.kept == "by neither") & ~by_rule.top3 & ~by_rule["among largest"]]
drawn = [lots_of(settings.seed, "beside", neuron).choice(some.index) for neuron, some in free.groupby("neuron")]  # fmt: skip
by_rule["drawn"] = by_rule.index.isin(drawn)
asked = by_rule[(by_rule.kept != "by neither") | by_rule["among largest"] | by_rule.drawn]
unseen = suffixes[(suffixes.split == reported) & ~((reported == "test") & suffixes.also_in_train)]
unseen = unseen.sort_values(["neuron", "activation", "prompt"], ascending=[True, False, True])


def spread(rows: pd.DataFrame) -> pd.DataFrame:
    """Some of a neuron's prompts, evenly from the strongest to the weakest."""
    return rows.iloc[np.unique(np.linspace(0, len(rows) - 1, EACH).round().astype(int))]


some = [spread(rows) for _, rows in unseen.groupby("neuron")]
read = pd.concat(some or [unseen])[["neuron", "prompt", "token_ids"]].merge(asked, on="neuron")
fell = pd.DataFrame(columns=[*PAIR, "share", "log_fall", "fall"])
if len(read):
    named = [read.neuron.map(Neuron.parse), read.neuron.map(on.token_id), read["head"].map(Head.parse)]  # fmt: skip
    after = ablate(model, read.token_ids.tolist(), *(one.tolist() for one in named), ["zero"])
    fell = with_falls(before_after(read[PAIR], after))
    fell["share"] = fell.act_fall / fell.act_before
losses = asked.merge(fell.groupby(PAIR)[["share", "log_fall", "fall"]].mean().reset_index())

# %% [markdown]
# These are mean falls over all pairs of a kind, whether or not their head is active on a prompt. The rule for
# effects asks that they differ by a least amount, and that for attributions asks for no size, so the kinds should differ:

# %% tags=["hide-input"]
LOST = {"share": "activation, share", "log_fall": "token, nats", "fall": "token, points"}
kinds = {kind: losses[losses.kept == kind] for kind in KINDS}
kinds["by neither, drawn at random"] = losses[losses.drawn]


def mean_loss(rows: pd.DataFrame, what: str) -> str:
    unit = LOST[what].split(", ")[1]
    return shown(in_unit(bootstrap_mean(rows[what], rows.neuron, seed=settings.seed), unit), unit)


pd.DataFrame(
    {
        kind: {"pairs": len(some), "neurons": some.neuron.nunique()}
        | {f"fall of the {title}": mean_loss(some, what) for what, title in LOST.items()}
        for kind, some in kinds.items()
    }
).T

# %% [markdown]
# Now the heads of one neuron are put in order, once by the score in training and once by what was lost on held-out
# prompts. The rank correlation of the two orders is taken within each neuron, over the heads with the
# largest scores of either kind, and then averaged over neurons:


# %% tags=["hide-input"]
largest = losses[losses["among largest"]]
SCORES = {"mean effect": "blue", "mean attribution": "orange"}
orders = dict(list(largest.groupby("neuron")[[*SCORES, *LOST]].rank().groupby(largest.neuron)))


# %%
def within_neurons(score: str, lost: str, random: np.random.Generator | None = None) -> pd.Series:
    """Rank correlation over a neuron's heads, of a score (shuffled, if asked) with what is lost."""
    found = {}
    for neuron, rows in orders.items():
        first = rows[score] if random is None else random.permutation(rows[score])
        with np.errstate(invalid="ignore"):  # of heads that are all alike
            found[neuron] = np.corrcoef(first, rows[lost])[0, 1]
    return pd.Series(found, dtype=float)


# %% tags=["hide-input"] mystnb={"figure": {"caption": "How well the order of a neuron's heads by a score in training agrees with their order by what is lost on held-out prompts when they are silenced: mean rank correlation over neurons with 95 % intervals. Zero is chance; the grey bars hold 95 % of what shuffled scores give.", "name": "fig-attribution-effect"}, "image": {"alt": "Mean rank correlations of effect and of attribution with three kinds of loss, with intervals"}}
SHUFFLES = 100
agreeing, table = {}, []
figure, axis = plt.subplots(figsize=(7, 2.6))
for place, (lost, title) in enumerate(LOST.items()):
    each = pd.DataFrame({score: within_neurons(score, lost) for score in SCORES}).dropna()
    each["effect less attribution"] = each["mean effect"] - each["mean attribution"]
    means = {name: bootstrap_mean(some, some.index, seed=settings.seed) for name, some in each.items()}  # fmt: skip
    random = lots_of(settings.seed, "shuffled", lost)
    shuffled = [within_neurons("mean effect", lost, random).mean() for _ in range(SHUFFLES)]
    band = np.quantile(shuffled, [0.025, 0.975]) if len(each) else [np.nan, np.nan]
    axis.barh(place, band[1] - band[0], 0.3, band[0], color=COLOURS["grey"], alpha=0.4)
    for at, (score, colour) in zip((place - 0.1, place + 0.1), SCORES.items(), strict=True):
        axis.hlines(at, means[score].low, means[score].high, color=COLOURS[colour])
        axis.plot(means[score].mean, at, "o", color=COLOURS[colour], label="" if place else score)
    agreeing[lost] = means
    bounds = "–" if np.isnan(band).any() else f"{band[0] + 0.0:.2f} to {band[1] + 0.0:.2f}"
    table.append(
        {"fall of the": title, "neurons": len(each)}
        | {name: written(one, digits=2) for name, one in means.items()}
        | {"shuffled": bounds}
    )
axis.axvline(0, color="black", linewidth=0.8)
axis.set_yticks(range(len(LOST)), [f"fall of the {title}" for title in LOST.values()])
axis.set(xlabel="rank correlation within a neuron", ylim=(len(LOST) - 0.5, -0.5))
axis.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2)
plt.show()

# %% tags=["hide-input", "hide-output"]
pd.DataFrame(table)

# %% tags=["hide-input"]
WHICH = {
    "more": "is predicted better by the effects of its heads than by their attributions",
    "less": "is predicted better by the attributions of its heads than by their effects",
    "not told apart": "is predicted as well by the effects of its heads as by their attributions, as far as can be measured",
    "not known": "is measured for too few neurons to compare effects and attributions",
}  # fmt: skip
WHAT = {
    "share": "What a neuron loses without a head",
    "log_fall": "What its token loses then, in nats,",
}
better = {lost: told_apart(means["effect less attribution"]) for lost, means in agreeing.items()}
predicted = " ".join(f"{what} {WHICH[better[lost]]}." for lost, what in WHAT.items())
Markdown(predicted)

# %% [markdown]
# (two-protocols)=
# ## Two protocols, side by side
#
# What does the paper's protocol as a whole find on the same model? A run under `protocol: paper` takes its neurons from the
# list by congruence, their strongest prompts only, and heads that are active by attribution; it has
# random neurons of its own, which are matched to its list. It was executed once, on fewer neurons and prompts than this run
# and on the beginnings of the same texts alone (its run file says how many), and its `summary` was kept
# with the book's sources. Both columns hold the same quantities on held-out texts, computed by the same functions. Figures
# of the paper stand before them: they are on another model, with other explainers, or counts in the record that
# its authors released for GPT-2 small, made under an earlier rule of three active heads a prompt {cite}`neo2024`.

# %% tags=["hide-input"]
kept_of = {group: of_group(pairs[pairs.kept], on, group) for group in GROUPS}
means_of = {g: pair_means(of_group(silenced[silenced.kind == "zero"], on, g), "fall") for g in GROUPS}  # fmt: skip
lengths = {g: of_group(suffixes[suffixes.split == "train"], on, g).token_ids.map(len) for g in GROUPS}  # fmt: skip
COUNTS = {
    "neurons": {g: len(of_group(late.reset_index(), on, g)) for g in GROUPS},
    "different tokens": {g: of_group(late.reset_index(), on, g).token_id.nunique() for g in GROUPS},
    "tokens of a cut prompt, median": {g: lengths[g].median() for g in GROUPS},
    "kept pairs": {g: len(kept_of[g]) for g in GROUPS},
    "neurons with a kept pair": {g: kept_of[g].neuron.nunique() for g in GROUPS},
    "heads in kept pairs": {g: kept_of[g]["head"].nunique() for g in GROUPS},
    "head silenced: Kolmogorov–Smirnov statistic": {g: round(ks(means_of[g].active, means_of[g].inactive).statistic, 3) for g in GROUPS},
}  # fmt: skip
of_all = {f"{group}_neurons": number for group, number in COUNTS["neurons"].items()}
counted = [{"quantity": name, "unit": ""} | both | of_all for name, both in COUNTS.items()]
summary = pd.DataFrame(counted + summary, columns=list(summary[0]))
IN_PAPER = {
    "tokens of a cut prompt, median": "12 (record)",
    "kept pairs": "164 (record)",
    "explanation score, contrast": ".650 small, .610 medium, .575 large (random .558)",
    "head silenced: Kolmogorov–Smirnov statistic": ".242 small, .331 medium, .293 large",
}
recorded = RECORDS / f"{settings.id}-paper.summary.csv"
SIDES = {"this run": summary}
if recorded.is_file():
    theirs = pd.read_csv(recorded, comment="#").fillna({"unit": ""})
    SIDES = {"paper's protocol": theirs, "this run": summary}


def estimates(side: pd.DataFrame, group: str) -> dict[tuple[str, str], Estimate]:
    ends = [group, f"{group}_low", f"{group}_high"]
    rows = zip(side.quantity, side.unit, *(side[end].astype(float) for end in ends), strict=True)
    return {(name, unit): Estimate(*numbers) for name, unit, *numbers in rows}


columns = {("GPT-2", "in the paper or its record"): {key: IN_PAPER.get(key[0], "") for key in estimates(summary, "selected")}}  # fmt: skip
columns |= {
    (side, group): {key: shown(one, key[1]) for key, one in estimates(table, group).items()}
    for side, table in SIDES.items() for group in GROUPS
}  # fmt: skip
pd.DataFrame(columns).reindex(pd.MultiIndex.from_frame(summary[["quantity", "unit"]])).fillna("–")

# %% tags=["hide-input"]
more = {
    side: [key for key, gap in estimates(table, "difference").items() if told_apart(gap) == "more"]
    for side, table in SIDES.items()
}
theirs, ours = more.get("paper's protocol", []), more["this run"]
SAID = {
    "under both protocols": [key for key in ours if key in theirs],
    "in this run only": [key for key in ours if key not in theirs],
    "under the paper's protocol only": [key for key in theirs if key not in ours],
}
lines = [
    f"- {where}: {'; '.join(f'{name} ({unit})' for name, unit in keys) or 'nothing'}"
    for where, keys in SAID.items()
]
Markdown(
    "\n".join(["Selected neurons exceed the random ones that are matched to them in\n", *lines])
    if len(SIDES) > 1
    else f"Of this run none is kept: `lookups run {settings.id}-paper` makes one where there is a "
    "file for it, and `python tools/keep_summary.py` keeps what it found."
)

# %% [markdown]
# ## Check and save
#
# The tables agree with each other: every kept pair is in the band by the heads' own rows, and every pair that
# was silenced was kept. In the summary every interval holds its estimate.

# %% tags=["hide-input"]
again = decided.groupby(["neuron", "head"]).active.agg(["mean", "size"]).reset_index()
again = pairs.merge(again, on=["neuron", "head"], how="left", validate="1:1")
assert np.allclose(again["mean"], again["share"])
assert (again["size"] == again.n_prompts).all()
assert pairs[pairs.kept]["share"].between(low, high).all()
names = pd.MultiIndex.from_frame(pairs.loc[pairs.kept, ["neuron", "head"]])
assert pd.MultiIndex.from_frame(silenced[["neuron", "head"]]).isin(names).all()
assert set(silenced.neuron) | set(held.neuron) <= set(on.index[on.selected | (on.group == "random")])  # fmt: skip
for group in (*GROUPS, "difference"):
    known = summary.dropna(subset=f"{group}_low")
    assert known[group].between(known[f"{group}_low"], known[f"{group}_high"]).all()
save(settings, "summary", summary, model=model)
Markdown(
    f"{len(decided)} rows of heads, {len(pairs)} pairs and {len(names)} kept ones agree. "
    f"Saved `summary`: {len(summary)} rows."
)

# %% [markdown]
# ## What we know

# %% tags=["hide-input"]
sound, chosen = late[late.sound], late[late.selected]
follows = {group: percent(found["follow rate", "share"][group]) for group in GROUPS}
few = f"Fewer than 20 sound neurons were found ({len(sound)}): too few to say anything general. " if len(sound) < 20 else ""  # fmt: skip


def in_words(name: str, text: str) -> str:
    """One sentence for a quantity in points and in nats: how selected neurons compare."""
    said = [told_apart(found[name, unit]["difference"]) for unit in UNITS]
    words = {"more": "that is more than for random neurons", "less": "that is less than for random neurons", "not told apart": "that is about as much as for random neurons, as far as can be measured", "not known": "how that compares with random neurons is not known"}  # fmt: skip
    own = " and ".join(f"{shown(found[name, unit]['selected'], unit)} {unit}" for unit in UNITS)
    if said[0] == said[1]:
        return f"{text.format(own)}; {words[said[0]]}."
    return f"{text.format(own)}. In points {words[said[0]]}; in nats {words[said[1]]}."


own = kept_of["selected"]
differ = {row.name: told_apart(found[row.name, row.unit]["difference"]) for row in reversed(ROWS)}
part = shares["selected", "points"].mean
way = "one of its ways" if part >= 0.25 else "hardly one of its ways"
LEADS = {
    "follow rate": {"more": "Neurons that call for one token exist.", "": "Neurons that call for one token were not told apart from others."},
    "head silenced: fall, active less inactive": {"more": f"The token needs the head, and the neuron is {way}.", "": "Whether the token needs the head more where it is active was not told."},
}  # fmt: skip


def lead(name: str) -> str:
    return f"**{LEADS[name].get(differ[name], LEADS[name][''])}**"


each = pair_means(of_group(on_prompts, on, "selected"), "follows").dropna()
follow_gap = bootstrap_mean(each.difference, each.neuron, seed=settings.seed)
announced = {"more": "more often where", "less": "less often where", "not told apart": "no more often, as far as can be told, where"}.get(told_apart(follow_gap))  # fmt: skip
rates_of = " against ".join(percent(each[kind].mean()) for kind in ("active", "inactive"))
answer_exist = (
    f"{lead('follow rate')} {few}On new texts, the token of a selected neuron follows {follows['selected']} of the positions where the neuron "
    f"fires most strongly. For random neurons that are matched to them it is {follows['random']}."
)
has_pair = {g: of_group(late.reset_index(), on, g).neuron.isin(kept_of[g].neuron) for g in GROUPS}
has_pair = [Values(one.astype(float), one.index) for one in has_pair.values()]
no_less = told_apart(group_difference(*has_pair, seed=settings.seed)) in ("less", "not told apart")
by_group = ", and so do ".join(
    f"{kept_of[group].neuron.nunique()} of {n} {'selected neurons' if group == 'selected' else 'random ones'}"
    + (" have such a head" if group == "selected" else "")
    for group, n in COUNTS["neurons"].items() if n
)  # fmt: skip
answer_context = (
    f"**{'Some' if len(own) else 'None'} of them lean on a head in some contexts and not in others{', and random neurons do so no less' if len(own) and no_less else ''}.** {by_group}: "
    f"the share of the activation that goes without the head is higher, by at least {100 * settings.effect_apart:g} percentage points, where it is active than elsewhere. "
    + (f"{'And' if announced == 'more often where' else 'But'} the token follows {announced} such a head is active than where the neuron fires without its help "
       f"({rates_of} of the prompts)." if announced else "")
)  # fmt: skip
answer_need = "**What the token loses without the head cannot be said in this run.**"
if len(own):
    lost = found["head silenced: fall, active less inactive", "points"]["selected"]
    both = means_of["selected"].dropna(subset=["difference"])
    sides = [f"{100 * both[kind].mean():.1f}" for kind in ("active", "inactive")]
    answer_need = (
        f"{lead('head silenced: fall, active less inactive')} Silencing the head costs the token {sides[0]} percentage points of its probability where the head is "
        f"active and {sides[1]} where it is not, a difference of {shown(lost, 'points')}. Of what the token loses there, {share_of('selected', 'points')} goes through the neuron."
    )
lines = [answer_exist, answer_context, answer_need]
if len(own):
    lines += [
        in_words("head silenced: fall, active less inactive", "Without the head, the token of a kept pair loses {} more on active than on inactive prompts"),
        f"Of what it loses on active prompts, {share_of('selected', 'nats')} of the nats and {share_of('selected', 'points')} of the points go through the neuron.",
        f"The token follows an active prompt of a pair {written(follow_gap)} more often than one of the neuron's inactive prompts.",
    ]  # fmt: skip
if late.selected.any():
    lines += [
        in_words("neuron held at zero: fall where it fires", "Where the neuron fires, its token loses {} without it"),
        in_words("neuron switched on: rise where it was silent", "Switched on, a neuron adds {} to its token"),
    ]  # fmt: skip
lines.append(predicted)
for name, value in {
    "answer_exist": answer_exist, "answer_context": answer_context, "answer_need": answer_need, "sound_neurons": len(sound), "sound_tokens": sound.token_id.nunique(),
    "selected_neurons": len(chosen), "pairs_kept": len(own),
    "follow_selected": follows["selected"], "follow_random": follows["random"],
}.items():  # fmt: skip
    glue(name, value, display=False)
Markdown("\n".join(f"- {line}" for line in lines))

# %% [markdown] tags=["default-run"]
# Look-ups exist in this model, and we had not expected some of them to be so much like the paper's example. Where the head of a
# kept pair is active, the token needs it, at least in points of probability, and about half of the loss
# goes through the one neuron. But the pair that is most like the example, “either … or”, is no whole look-up: hardly any of its
# loss goes through its neuron.
#
# Compared with random neurons the picture is mixed. In points of probability selected neurons exceed them by far; in nats they
# do not always. The sentences that explain their heads are no truer than those for random neurons, nor do they sort better than a
# judge who remembers the last token. So a next-token neuron is special in what it writes, and not because its contexts are easier
# to name. Nor does a look-up work alone: in the token's logit, the part of the neuron is as large as the whole loss, since the
# head adds to the logit directly and all other neurons make up for a part of it.
#
# The effects of heads predict which of them a neuron needs; their attributions have not been shown to do better than chance. So it
# matters which rule is taken. Few of the pairs that the paper's rule keeps are kept by ours, and silencing those that it alone keeps
# costs the neuron about a fifth of what silencing our pairs does. Much of both is due to the least difference in effect for which our rule asks, and
# the paper's does not. Under the whole of the paper's protocol, the token of a neuron follows about half as often as
# under ours (a part of this is due to the fewer texts that run reads), each neuron comes with several times as many kept pairs,
# their explanations score closer to chance, and silencing one of their heads costs the token more on active than on inactive prompts
# by only about a tenth as many points.

# %% [markdown]
# What is not known: how much of this holds in models that others use, and whether the method finds
# all that is there. A head may matter through several neurons at once, and a neuron's work may be
# done by others when it is silenced. The pairs of this book show neither; {ref}`routes` and
# {ref}`together` are a beginning.
#
# ## Exercises
#
# 1. Of the kept pairs of selected neurons, how many cost their token ten points or more on active prompts when the head is
#    silenced? And how many of these send at least half of that through the neuron?

# %% tags=["hide-cell"]
# Pairs that cost little cannot be split with any certainty, so we ask only those that cost much.
means = of_group(silenced[silenced.active.astype(bool)], on, "selected")
means = means.pivot_table(index=["neuron", "head"], columns="kind", values="fall")
means = means.reindex(columns=["zero", "through_neuron"])
much = means[means.zero >= 0.1]
half = much[much.through_neuron >= much.zero / 2]
assert len(half) <= len(much) <= len(means)
f"{len(much)} of {len(means)} pairs cost ten points; {len(half)} send half of it through the neuron"

# %% [markdown]
# 2. Which quantity of the first figure sets selected neurons apart most, if the difference is measured in halves of the
#    width of its interval?

# %% tags=["hide-cell"]
# In this unit, a difference beyond 1 is one whose interval (if it is symmetric) does not hold zero.
gaps = {name: means["difference"] for name, means in found.items()}
sizes = {
    name: 2 * gap.mean / (gap.high - gap.low) for name, gap in gaps.items() if gap.high > gap.low
}
furthest = max(
    sizes, key=lambda name: abs(sizes[name]), default=("nothing that can be compared", "–")
)
assert all(gap.low <= gap.mean <= gap.high for gap in gaps.values() if np.isfinite(gap.low))
", in ".join(furthest)

# %% [markdown]
# 3. To try on your own: copy the file of the run `smollm2-paper`, take out `active_rule` or set `protocol: sound`, and compare
#    its last page with the two columns above. Which differences come from the choice of neurons, and which from the rule for heads?

# %% [markdown]
# ## Appendix: what was left out
#
# Every pair of an examined neuron and a candidate head is either kept or left out for one reason:
# the first of these conditions that holds for it. They are the conditions of {ref}`heads`, so the
# pairs that no condition leaves out must be those that were kept, and the steps must add up to all
# pairs; both are asserted.

# %% tags=["hide-cell"]
REASONS = {
    "the neuron has too few prompts": pairs.n_prompts < FEWEST,
    "the head is active on none of them": pairs["share"] == 0,
    f"active on fewer than {percent(low)}": pairs["share"] < low,
    f"active on more than {percent(high)}": pairs["share"] > high,
}
if settings.measure == "effect":
    apart = f"effect differs by less than {percent(settings.effect_apart)}"
    REASONS[apart] = ~(pairs.gap >= settings.effect_apart)
holds = [condition.to_numpy(bool) for condition in REASONS.values()]
fates = np.select(holds, list(REASONS), "kept")
fates = pd.Series(fates, pairs.index, dtype=object)
assert ((fates == "kept") == pairs.kept).all()

# %% tags=["hide-input", "hide-output"]
COUNTED = [*GROUPS, "middle"]
columns = {}
for group in COUNTED:
    mine = of_group(pairs, on, group)
    fate = fates.loc[mine.index]
    steps = fate.value_counts().reindex(list(REASONS), fill_value=0)
    counts = {"neurons": mine.neuron.nunique(), "pairs with a candidate head": len(mine)}
    # in percent, since single pairs near a bound may fall on either side on another processor
    counts |= {f"left out: {reason}": percent(n / max(len(mine), 1)) for reason, n in steps.items()}
    counts["kept"] = int((fate == "kept").sum())
    assert counts["pairs with a candidate head"] == steps.sum() + counts["kept"]
    each = kept_pairs(group).values
    assert counts["kept"] == sum(each)  # the first table's row is made of the same pairs
    counts["kept a neuron"] = f"{np.mean(each):.2f}" if len(mine) else "–"
    columns[f"{group} layers" if group == "middle" else group] = counts
pd.DataFrame(columns)

# %% tags=["hide-input"]
middle = list(settings.middle_layers)
in_the_middle = all(layer < min(settings.layers) and layer > 0 for layer in middle)
own = pairs[pairs.kept & pairs.neuron.isin(late.index[late.selected])]
where = own["head"].map(lambda name: Head.parse(name).layer)
Markdown(
    (f"The middle layers are {' and '.join(map(str, middle))} of {model.n_layers}"
     + ("" if in_the_middle else ", which are not in the middle of this model") + ". " if middle else "")
    + (f"The heads of the kept pairs of selected neurons stand in layers {where.min()} to {where.max()}, "
       f"half of them in layer {int(where.median())} or later." if len(own) else "")
)  # fmt: skip
