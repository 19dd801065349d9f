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
# The chapters before this one each answered one question. Here the whole run stands on one page: how selected
# neurons compare with random ones in everything that was measured, which look-ups convince most, and
# what was left out on the way.
#
# **In short:** {glue:text}`in_short`
#
# | needs | leaves |
# | --- | --- |
# | all tables, from {ref}`next-token-neurons` to {ref}`neuron-ablation` | the numbers that other pages quote |

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

from lookups.run.store import load
from lookups.measure.intervention import GROUPS, followed_first, of_group, with_falls
from lookups.explain.blind_sort import majority, read_verdicts, scored
from lookups.statistics.differences import Values, group_difference, ks, pair_means, share_of_mean
from lookups.statistics.bootstrap import Estimate, bootstrap_mean, percent, points, written
from lookups.show.figures import COLOURS, house_style
from lookups.model.loaded import load_model
from lookups.names import Head
from lookups.explain.explainer import PairPrompts
from lookups.settings import check_run, read_run
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
# The functions are short:


# %%
def follow_rate(group: str) -> Values:
    some = of_group(late.reset_index(), on, group)
    return Values(some.follow_rate, some.neuron)


def kept_pairs(group: str) -> Values:
    """Kept pairs a neuron, of all neurons that were examined for pairs."""
    each = of_group(pairs, on, group).groupby("neuron").kept.sum()
    return Values(each, each.index)


# %%
def effect_gap(group: str) -> Values:
    """How much more of its activation a neuron owes to the head of a kept pair, active less not."""
    some = of_group(on_prompts[on_prompts.kept], on, group)
    each = pair_means(some, "effect")
    return Values(each.difference, each.neuron)


# %%
def explained(explainer: str) -> Callable[[str], Values]:
    def of(group: str) -> Values:
        some = of_group(scores, on, group)
        some = some[(some.explainer == explainer) & (some.control == "none")]
        return Values(some.score, some.neuron)

    return of


# %%
def head_falls(unit: str) -> Callable[[str], Values]:
    """What the token loses without the head of a kept pair, active less inactive prompts."""

    def of(group: str) -> Values:
        each = pair_means(of_group(silenced[silenced.kind == "zero"], on, group), unit)
        return Values(each.difference, each.neuron)

    return of


# %%
def neuron_changes(kind: str, unit: str) -> Callable[[str], Values]:
    """What the token loses without the neuron (`zero`), or gains by it (`on`)."""
    texts, sign = (["fires"], 1) if kind == "zero" else (["other", "follows_silent"], -1)

    def of(group: str) -> Values:
        some = of_group(held, on, group)
        some = some[some.context.isin(texts) & (some.kind == kind) & (some.control == "none")]
        each = sign * some.groupby("neuron")[unit].mean()
        return Values(each, each.index)

    return of


# %% tags=["hide-input"]
prompts = PairPrompts(suffixes, heads, tokens=on.token, decode=model.decode)
followed = pairs[pairs.kept]
each = [prompts.rows(pair.neuron, pair.head, reported) for pair in followed.itertuples()]
empty = suffixes[:0].assign(head="", active=False, effect=0.0, text="")
on_prompts = pd.concat([empty, *each], ignore_index=True).astype({"active": bool})
on_prompts = on_prompts.merge(followed[["neuron", "head", "kept", "gap"]], on=["neuron", "head"])


class Row(NamedTuple):
    """A quantity of the comparison: what it is called, how it is made, and in which unit."""

    name: str
    unit: str
    of: Callable[[str], Values]


UNITS = {"points": "fall", "nats": "log_fall"}
ROWS = [
    Row("follow rate", "share", follow_rate),
    Row("kept pairs a neuron", "pairs", kept_pairs),
    Row("effect of the head, active less inactive", "share", effect_gap),
    *(Row(f"explanation score, {name}", "E", explained(name)) for name in scores.explainer.unique()),
    *(Row("head silenced: fall, active less inactive", unit, head_falls(change)) for unit, change in UNITS.items()),
    *(Row("neuron held at zero: fall where it fires", unit, neuron_changes("zero", change)) for unit, change in UNITS.items()),
    *(Row("neuron switched on: rise where it was silent", unit, neuron_changes("on", change)) for unit, change in UNITS.items()),
]  # fmt: skip


def shown(found: Estimate, unit: str) -> str:
    return points(found) if unit == "points" else written(found, digits=2 if unit == "pairs" else 3)


# %% tags=["hide-input"] mystnb={"figure": {"caption": "Selected next-token neurons (blue) against random neurons that are matched to them (grey): mean with 95 % intervals over neurons. Each row has its own scale; where the two intervals lie apart, the groups differ.", "name": "fig-against-random"}, "image": {"alt": "For each measured quantity, the mean of selected and of random neurons with intervals"}}
figure, axes = plt.subplots(len(ROWS), 1, figsize=(7.6, 0.55 * len(ROWS)))
table, found = [], {}
for axis, row in zip(axes, ROWS, strict=True):
    values = {group: row.of(group) for group in GROUPS}
    means = {group: bootstrap_mean(*some, seed=settings.seed) for group, some in values.items()}
    gap = group_difference(*values.values(), seed=settings.seed)
    found[row.name, row.unit] = means, gap
    times = 100 if row.unit == "points" else 1
    for place, (group, mean) in enumerate(means.items()):
        colour = COLOURS["blue" if group == "selected" else "grey"]
        axis.hlines(place, times * mean.low, times * mean.high, color=colour)
        axis.plot(times * mean.mean, place, "o", color=colour)
    axis.set(yticks=[], ylim=(1.6, -0.6))
    axis.set_ylabel(f"{row.name}, {row.unit}", rotation=0, ha="right", va="center", fontsize=8)
    axis.tick_params(labelsize=7)
    axis.spines["left"].set_visible(False)
    unknown = not np.isfinite(gap.low)
    verdict = "not known" if unknown else "more" if gap.low > 0 else "less" if gap.high < 0 else "not told apart"  # fmt: skip
    counts = [pd.Series(list(some.neurons))[pd.Series(list(some.values)).notna()].nunique() for some in values.values()]  # fmt: skip
    table.append((row.name, row.unit, *(shown(means[g], row.unit) for g in GROUPS), shown(gap, row.unit), f"{counts[0]}, {counts[1]}", verdict))  # fmt: skip
plt.show()
against = pd.DataFrame(
    table, columns=["quantity", "unit", *GROUPS, "difference", "neurons", "selected neurons have"]
)
against

# %% [markdown]
# The difference is the mean of the selected less that of the random neurons, with an interval that resamples the
# neurons of each group. *Not told apart* means that this interval contains zero.

# %% tags=["hide-input"]
verdicts = against.groupby("selected neurons have", sort=False)
by_verdict = {v: [f"{r.quantity} ({r.unit})" for r in some.itertuples()] for v, some in verdicts}
SAID = {
    "more": "Selected neurons exceed random ones in",
    "less": "Selected neurons stay below random ones in",
    "not told apart": "The two groups cannot be told apart in",
    "not known": "Too few neurons to compare:",
}
Markdown("\n".join(f"- {text} {'; '.join(by_verdict[v])}." for v, text in SAID.items() if v in by_verdict))  # fmt: skip

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


on_prompts["follows"] = on_prompts.next_token_id == on_prompts.neuron.map(on.token_id)
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
            "active": strongest(active[active.follows]), "inactive": strongest(inactive),
            "followed, active": percent(active.follows.mean()),
            "nats without the head": f"{fell.active[neuron, head]:.2f}, {fell.inactive[neuron, head]:.2f}",
            "E": f"{E[neuron, head]:.2f}" if pd.notna(E.get((neuron, head))) else "–",
        }
    )  # fmt: skip
pd.DataFrame(lines) if lines else Markdown(
    "No pair was kept whose token follows, so none convinces."
)

# %% [markdown]
# One of these look-ups opens the book: the first pair whose token loses at least ten points of
# probability without the head, at least a quarter of them through the neuron. It is shown on the
# active prompt on which its token follows and loses most. A pair of the paper's own example, *not
# only … but also*, goes before all others:

# %% tags=["hide-input"]
PREFERRED = " also", "not only"
may_open = [
    best[(best.neuron == neuron) & (best["head"] == head) & best.active & best.follows]
    for neuron, head in followed_first(best)
]
may_open = [rows for rows in may_open if len(rows)]
preferred = [
    rows[rows.text.str.contains(PREFERRED[1])]
    for rows in may_open
    if on.token[rows.neuron.iloc[0]] == PREFERRED[0]
]


def to_open_with(rows: pd.DataFrame) -> pd.Series | None:
    """The prompt of a pair that loses most without the head: before, without, through the neuron."""
    key = ["neuron", "head", "prompt"]
    wide = silenced.pivot_table(index=key, columns="kind", values="p_after")
    before = silenced.groupby(key).p_before.first()
    found = rows.join(wide[["zero", "through_neuron"]].assign(before=before), on=key)
    return found.loc[(found.before - found.zero).idxmax()] if found.zero.notna().any() else None


candidates = [one for rows in [*preferred, *may_open] if len(rows) and (one := to_open_with(rows)) is not None]  # fmt: skip
through_it = [one for one in candidates if one.before - one.zero >= 0.1
              and one.before - one.through_neuron >= (one.before - one.zero) / 4]  # fmt: skip
opening = next(iter([*through_it, *candidates]), None)

# %% tags=["hide-input"]
quote, story = "This run kept no pair whose token follows.", "So it has no look-up to show here."
if opening is not None:
    named = f"“{readable(on.token[opening.neuron])}”"
    lost, through_neuron = (opening.before - opening[kind] for kind in ("zero", "through_neuron"))
    part = "Part" if through_neuron >= lost / 4 else "Hardly any"
    quote = quoted(opening)
    story = (
        f"The model gives {named} a probability of {percent(opening.before)} here. Without one attention head, "
        f"{opening['head']}, it is {percent(opening.zero)}. {part} of the difference goes through one neuron of layer "
        f"{on.layer[opening.neuron]}, the {named} neuron ({opening.neuron}): when nothing changes but that this neuron takes "
        f"the activation it has without the head, the probability is {percent(opening.through_neuron)}."
    )
glue("front_quote", quote, display=False)
glue("front_story", story, display=False)
Markdown(f"> {quote}\n\n{story}")

# %% [markdown]
# Numbers do not tell whether a reader sees what the head sees. In the
# {ref}`blind sort <blind-sort>` readers who did not know the labels learned from training prompts
# of each kind, and then sorted held-out ones:

# %% tags=["hide-input"]
sorted_items = scored(load(settings, "deck"), majority(read_verdicts(settings.verdicts)))
sorted_ones = sorted_items[sorted_items.correct.notna()].groupby("kind")
clear = {kind: f"{int(some.clear.sum())} of {len(some)}" for kind, some in sorted_ones}
Markdown(
    f"Clear to the readers: {clear.get('clearest', 'none')} of the clearest look-ups, "
    f"{clear.get('random', 'none')} of those chosen at random."
    if clear
    else "No reader has sorted the prompts of this run."
)

# %% [markdown]
# ## What was left out
#
# Every pair of an examined neuron and a candidate head is either kept or left out for one reason:
# the first of these conditions that holds for it. They are the conditions of {ref}`heads`, so the
# pairs that no condition leaves out must be those that were kept, and the steps must add up to all
# pairs; both are asserted.

# %%
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

# %% tags=["hide-input"]
COUNTED = [*GROUPS, "middle"]
columns = {}
for group in COUNTED:
    mine = of_group(pairs, on, group)
    own = fates.loc[mine.index]
    steps = own.value_counts().reindex(list(REASONS), fill_value=0)
    counts = {"neurons": mine.neuron.nunique(), "pairs with a candidate head": len(mine)}
    counts |= {f"left out: {reason}": n for reason, n in steps.items()}
    counts["kept"] = int((own == "kept").sum())
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

# %% [markdown]
# ## Beside the paper
#
# Three kinds of figures must not be mixed up: the paper's own; a count in the record that its authors released
# for GPT-2 small, made under their earlier rule of three active heads a prompt; and ours, on another model
# {cite}`neo2024`. Only a run on the paper's model under `protocol: paper` can repeat or contradict the paper's.

# %% tags=["hide-input"]
first = scores.explainer.iloc[0] if len(scores) else ""


def mean_and_sd(group: str) -> str:
    values = pd.Series(list(explained(first)(group).values), dtype=float).dropna()
    return f"{values.mean():.3f} ({values.std(ddof=0):.3f}), {first}" if len(values) else "–"


means_of = pair_means(of_group(silenced[silenced.kind == "zero"], on, "selected"), "fall")
test = ks(means_of.active, means_of.inactive)
lengths = of_group(suffixes[suffixes.split == "train"], on, "selected").token_ids.map(len)
span = f"{lengths.median():.0f}, {lengths.quantile(0.9):.0f}" if len(lengths) else "–"
beside = [
    ("tokens of a cut prompt: median, 90 %", "12, 54 (record)", span),
    (f"pairs active on {percent(low)} to {percent(high)} of training prompts", "164 (record)", str(len(own))),
    ("mean explanation score (sd)", ".650 (.194) small, .610 (.201) medium, .575 (.227) large", mean_and_sd("selected")),
    ("of random neurons", ".558 (.191) large", mean_and_sd("random")),
    ("zero ablation: KS (p)", ".242 (1.0e-5) small, .331 (3.7e-13) medium, .293 (2.1e-23) large", str(test) if test.pairs else "–"),
]  # fmt: skip
pd.DataFrame(beside, columns=["figure", "GPT-2, in the paper or its record", "this run"])

# %% [markdown]
# ## Check
#
# The tables agree with each other: every kept pair is in the band by the heads' own rows, and every pair that
# was silenced was kept.

# %% tags=["hide-input"]
deciding = "post" if model.gated else "in"
decided = heads[(heads.input == deciding) & heads.candidate & (heads.split == "train")]
again = decided.groupby(["neuron", "head"]).active.agg(["mean", "size"]).reset_index()
again = pairs.merge(again, on=["neuron", "head"], how="left", validate="1:1")
assert np.allclose(again["mean"], again["share"])
assert (again["size"] == again.n_prompts).all()
assert pairs[pairs.kept]["share"].between(low, high).all()
names = pd.MultiIndex.from_frame(pairs.loc[pairs.kept, ["neuron", "head"]])
assert pd.MultiIndex.from_frame(silenced[["neuron", "head"]]).isin(names).all()
assert set(silenced.neuron) | set(held.neuron) <= set(on.index[on.selected | (on.group == "random")])  # fmt: skip
Markdown(f"{len(decided)} rows of heads, {len(pairs)} pairs and {len(names)} kept ones agree.")

# %% [markdown]
# ## What we know

# %% tags=["hide-input"]
sound = late[late.sound]
follows = {name: percent(rates_of.mean()) for name, rates_of in {
    "sound": sound.follow_rate.dropna(), "random": late[late.group == "random"].follow_rate.dropna()}.items()}  # fmt: skip
few = f"Fewer than 20 sound neurons were found ({len(sound)}): too few to say anything general. " if len(sound) < 20 else ""  # fmt: skip


def in_words(name: str, text: str) -> str:
    """One sentence for a quantity in points and in nats: how selected neurons compare."""
    said = []
    for unit in UNITS:
        gap = found[name, unit][1]
        said.append("more" if gap.low > 0 else "less" if gap.high < 0 else "same" if np.isfinite(gap.low) else "unknown")  # fmt: skip
    words = {"more": "that is more than for random neurons", "less": "that is less than for random neurons", "same": "that is about as much as for random neurons, as far as can be measured", "unknown": "how that compares with random neurons is not known"}  # fmt: skip
    own = " and ".join(f"{shown(found[name, unit][0]['selected'], unit)} {unit}" for unit in UNITS)
    if said[0] == said[1]:
        return f"{text.format(own)}; {words[said[0]]}."
    return f"{text.format(own)}. In points {words[said[0]]}; in nats {words[said[1]]}."


in_short = (
    f"{few}{len(sound)} neurons are sound, for {sound.token_id.nunique()} different tokens; the token "
    f"follows {follows['sound']} of their strongest positions on `{reported}`, and {follows['random']} of random "
    f"neurons'. {len(own)} pairs of {own.neuron.nunique()} selected neurons and {own['head'].nunique()} heads are kept."
)
lines = [in_short]
if len(own):
    lines += [
        in_words("head silenced: fall, active less inactive", "Without the head, the token of a kept pair loses {} more on active than on inactive prompts"),
        f"Of what it loses on active prompts, {share_of('selected', 'nats')} of the nats and {share_of('selected', 'points')} of the points go through the neuron.",
    ]  # fmt: skip
if late.selected.any():
    lines += [
        in_words("neuron held at zero: fall where it fires", "Where the neuron fires, its token loses {} without it"),
        in_words("neuron switched on: rise where it was silent", "Switched on, a neuron adds {} to its token"),
    ]  # fmt: skip
for name, value in {
    "in_short": in_short, "examined": int(on.examined.sum()), "sound_neurons": len(sound),
    "sound_tokens": sound.token_id.nunique(), "pairs_kept": len(own),
    "follow_sound": follows["sound"], "follow_random": follows["random"],
}.items():  # fmt: skip
    glue(name, value, display=False)
Markdown("\n".join(f"- {line}" for line in lines))

# %% [markdown] tags=["default-run"]
# Look-ups exist in this model, and we had not expected them to be so much like the paper's example. The heads of
# kept pairs matter to the token where they are active, at least in points of probability, and about half of that
# goes through the one neuron. Set against random neurons the picture
# is mixed: in points of probability selected neurons exceed them by far, in nats they do not always, and the sentences
# that explain their heads are no truer than those for random neurons, nor better than remembering the last token. So what is special about a next-token
# neuron is what it writes, and not that its contexts are easier to name. And a look-up does not work alone: when a head is
# silenced, its neuron passes on about as much of the loss as there is, while all other neurons make up for a part of it.

# %% [markdown]
# What is not known: how much of this holds in models that others use, and whether the method finds
# all that is there. A head may matter through several neurons at once, and a neuron's work may be
# done by others when it is silenced. The pairs of this book show neither; {ref}`routes` and
# {ref}`together` are a beginning.
#
# ```{admonition} Try it
# :class: tip
# Set `protocol: paper` in a copy of the run file and compare the first table. In which quantities do neurons
# chosen by their weights alone still differ from random ones?
# ```
