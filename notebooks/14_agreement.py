# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# (agreement)=
# # Does our run agree with theirs?
#
# The authors of the paper released what their own run found {cite}`neo2024`: which neurons, which
# texts, which heads. If our code does what the paper says, a run on the same model must find the
# same, or differ for a reason that can be named. With the released folder at hand we hold the run
# against it, step by step, and give every disagreement one reason out of a fixed list.
#
# | needs | leaves |
# | --- | --- |
# | `01_neurons`, `03_suffixes`, `04_heads`, `04_pairs` ({ref}`next-token-neurons` to {ref}`heads`) | a table of agreement, in this page |
# | the authors' folder for the run's model: `lookups download --published` | |

# %% tags=["parameters"]
# The authors' folder stands in the run's file (`published:`).
run: str = "smollm2"  # a run's id, or a path to its .yml

# %% tags=["hide-input"]
from functools import lru_cache
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from IPython.display import Markdown
from myst_nb import glue

from lookups.agreement import (
    KEYS,
    REASONS,
    compare_lists,
    compare_tokens,
    compared,
    digits,
    reasons,
    summary,
)
from lookups.artifacts import load
from lookups.documents import run_documents
from lookups.figures import COLOURS, house_style
from lookups.head_agreement import (
    Judged,
    compare_active,
    compare_attributions,
    compare_pairs,
    separation,
    shares,
)
from lookups.heads import attribute
from lookups.model import load_model
from lookups.names import Neuron
from lookups.published import read_published
from lookups.recorded import recorded_as
from lookups.runs import check_run, read_run
from lookups.text_agreement import compare_prompts, match_texts
from lookups.views import readable

settings = read_run(run)
house_style()
name = recorded_as(settings.model.name, settings.published_model)
given = settings.published is not None and name is not None
if given:
    record = read_published(settings.published, name)
    model = load_model(settings.model)
    check_run(settings, model)
    neurons, suffixes = load(settings, "01_neurons"), load(settings, "03_suffixes")
    heads, pairs = load(settings, "04_heads"), load(settings, "04_pairs")
given_texts = given and "suffixes" not in record.missing

# %% tags=["hide-input"]
if given:
    found = (
        f"This run (`protocol: {settings.protocol}`, `active_rule: {settings.active_rule}`) is held "
        f"against the record of {name}: {int((~record.neurons.rejected).sum())} neurons, "
        f"{len(record.suffixes)} texts."
    )
    if not given_texts:
        found += " **It holds no texts, so only neurons and tokens are compared.**"
elif name is not None:
    found = (
        f"**The record of {name} was not given, so nothing is compared on this page.** With it "
        "(`published: DIR` in the run's file) the sections below fill with tables; "
        "they say what is compared, and how."
    )
else:
    found = (
        f"**This run's model, `{Path(settings.model.name).name}`, is none of the paper's, so there "
        "is nothing to hold it against.** The sections below say what is compared, and how, when "
        "a run that reads one of the paper's models names the record (`published: DIR` in its file)."
    )
Markdown(found)

# %% [markdown]
# ## What is compared
#
# | what | ours | theirs | agrees when |
# | --- | --- | --- | --- |
# | neuron on the list | the paper's list as {ref}`next-token-neurons` makes it | neurons of their file | it is on both |
# | order in its layer | by {term}`congruence` | order of their file | same place among those on both |
# | token, congruence | from our weights | as recorded | same text; same to {glue:text}`agreement-digits` digits |
# | prompt | texts of `03_suffixes` | their cut texts | one is found for the other |
# | text kept | what {ref}`truncation` left | the text that they attributed | letter for letter |
# | active heads | `04_heads` | the recorded heads | the same set |
# | pair kept | share of training prompts | the same from their heads | kept, or not, on both sides |
#
# Congruence comes from weights alone, so it should agree to the precision in which weights are held.
# A disagreement up to ten times beyond that is called rounding.

# %%
HALF = settings.model.dtype in ("bfloat16", "float16")
TOLERANCE = 1e-2 if HALF else 1e-4
glue("agreement-digits", digits(1.0, 1.0 + TOLERANCE * 0.999), display=False)

# %% [markdown]
# ## Neurons and their tokens
#
# The record's list is held against the paper's list as this run makes it, whatever its protocol. A
# neuron that one side has alone may have been rejected by hand on the other, belong to a layer or a
# place on the list that the other does not reach, or be beaten by less than rounding. For a token
# that differs we ask our weights how much the neuron writes *their* token.


# %%
def of_their_token(neuron: Neuron, token: str) -> float:
    """What the neuron adds to the logit of the record's token; nan where it is no single token."""
    if token not in model.vocabulary:
        return np.nan
    written = model.w_out(neuron.layer)[neuron.index]
    return float(written @ model.w_u[:, model.vocabulary.index(token)])


# %%
nothing = compared([])
every = theirs = lists = tokens = nothing
if given:
    late = neurons.layer.isin(settings.layers)
    every = neurons.assign(
        token=neurons.paper_token,
        congruence=neurons.paper_congruence,
        listed=(neurons.group == "top") & late,
        rejected=neurons.neuron.isin(list(settings.rejected)),
    )
    lists = compare_lists(every, record.neurons, tolerance=TOLERANCE)
both = set(lists.neuron[(lists.what == "neuron on the list") & lists.agrees])

# %% tags=["hide-input"]
if given:
    theirs = record.neurons[record.neurons.neuron.isin(both)]
    ours = every[every.neuron.isin(both)].set_index("neuron")
    ours["of_their_token"] = [
        of_their_token(Neuron.parse(row.neuron), row.token)
        if row.token != ours.token[row.neuron]
        else np.nan
        for row in theirs.set_index("neuron", drop=False).reindex(ours.index).itertuples()
    ]
    tokens = compare_tokens(ours.reset_index(), theirs, tolerance=TOLERANCE)


def shown(table: pd.DataFrame) -> pd.DataFrame | None:
    """The summary of a comparison, where there is one."""
    return summary(table).round(3) if len(table) else None


shown(pd.concat([lists, tokens]))

# %% [markdown]
# Where a record is given, a figure follows: to how many digits congruence agrees. Bars at the right
# are what float32 on both sides gives; a bar at the left is a neuron whose weights are not the same.

# %% tags=["hide-input"] mystnb={"figure": {"caption": "Number of neurons on both lists (up) by the number of significant digits to which our congruence and the recorded one agree (across). The dashed line is where agreement begins.", "name": "fig-digits"}, "image": {"alt": "Bar chart of digits to which congruence agrees"}}
agreed_digits = None
if given:
    values = tokens[tokens.what == "congruence"]
    places = [digits(row.ours, row.theirs) for row in values.itertuples()]
    agreed_digits = pd.Series(places, dtype=int).value_counts().reindex(range(8), fill_value=0)
    agreed_digits = agreed_digits.rename("neurons").rename_axis("digits").to_frame()
    figure, axis = plt.subplots(figsize=(5, 2.6))
    axis.bar(agreed_digits.index, agreed_digits.neurons, color=COLOURS["blue"])
    axis.axvline(digits(1.0, 1.0 + TOLERANCE * 0.999) - 0.5, color="black", linestyle="--")
    axis.set(xlabel="significant digits that agree", ylabel="neurons")
    plt.show()
agreed_digits

# %% [markdown]
# ## Prompts, and how much of them was kept
#
# Neither side numbers documents as the other does, so texts say which prompt is which: equal ones
# first; of the rest two belong together when one is the end of the other
# ({func}`~lookups.text_agreement.match_texts`). Line breaks count as spaces, as in the record. A
# prompt that only the record has is looked for in the documents of our run. The authors' held-out
# documents were never released, so on `test` nothing is expected to be found.

# %% tags=["hide-input"]


@lru_cache(maxsize=2)
def read_text(split: str) -> str:
    """All documents of one of our splits, one below the other."""
    documents = run_documents(settings, model, split)
    texts = () if documents is None else (documents.text(at) for at in range(len(documents)))
    return "\0".join(texts).replace("\n", " ")


def in_our_corpus(split: str, text: str) -> bool:
    return text in read_text(split)


# %% [markdown]
# The record's activation was not always measured on the text that it keeps: where it lies below the
# share that the rule asks for, that is the reason given for another text.

# %% tags=["hide-input"]
matches, texts = pd.DataFrame(columns=[*KEYS, "text", "our_prompt", "our_text"]), nothing
if given_texts:
    mine = suffixes[suffixes.neuron.isin(both) & (suffixes["sample"] == "top")]
    mine = mine.assign(text=[model.decode(ids).replace("\n", " ") for ids in mine.token_ids])
    recorded = record.suffixes[record.suffixes.neuron.isin(both)]

# %%
if given_texts:
    matches = match_texts(mine, recorded)
    weak = recorded[recorded.activation < settings.keep * recorded.whole_activation]
    weak = set(weak[KEYS].itertuples(index=False, name=None))
    texts = compare_prompts(
        matches, in_our_corpus=in_our_corpus, below_share=weak.__contains__,
        same_protocol=settings.protocol == "paper",
    )  # fmt: skip
shown(texts)

# %% tags=["hide-input"]
other = texts[(texts.what == "text kept") & ~texts.agrees]
longer = int((other.ours.str.len() > other.theirs.str.len()).sum()) if len(other) else 0
Markdown(
    f"Of {int((texts.what == 'text kept').sum())} prompts in both, ours is longer in {longer} and "
    f"shorter in {len(other) - longer}."
) if given_texts else None

# %% [markdown]
# Of those that differ, a few:

# %%
few = other.head(6)[["neuron", "split", "ours", "theirs", "reason"]].reset_index(drop=True)
few.assign(
    ours=[readable(text[-60:]) for text in few.ours],
    theirs=[readable(text[-60:]) for text in few.theirs],
) if given_texts else None

# %% [markdown]
# ## Active heads on the prompts in both
#
# The record holds no attributions, only which heads were active. The camera-ready paper calls a head
# active above mean + 2 sd, the released record seems to take the three highest. Its own numbers tell
# which: with three a prompt, everywhere, it is `top3`.


# %%
def rule_of(active: pd.DataFrame, n_prompts: int) -> str:
    counts = active.groupby(KEYS).size()
    return "top3" if len(counts) == n_prompts and (counts == 3).all() else "2sd"


def edge_of(rule: str, scores: np.ndarray) -> float:
    """The height from which a head is active among these candidates."""
    if rule == "top3":
        return float(np.sort(scores)[::-1][2:4].mean())
    return float(scores.mean() + 2 * scores.std(ddof=1))


# %% [markdown]
# A head that misses that edge by less than a thousandth of the largest attribution is a tie. Both
# rules stand in `04_heads`, so we compare twice where they differ: as this run calls heads active,
# and by the record's rule.

# %%
SMALL = 1e-2 if HALF else 1e-3
active = attributions = nothing.assign(jaccard=0.0)
record_rule = rule_of(record.heads, len(record.suffixes)) if given_texts else None
Markdown(f"The record goes by `{record_rule}`.") if given_texts else None

# %%
if given_texts:
    decides = heads[(heads.input == ("post" if model.gated else "in")) & heads.neuron.isin(both)]
    tables = {}
    for rule in dict.fromkeys([record_rule, settings.active_rule]):
        judged = Judged(decides, f"active_{rule}", f"active_{record_rule}",
                        lambda scores: edge_of(record_rule, scores))  # fmt: skip
        what = f"active heads, {rule}"
        tables[rule] = compare_active(matches, judged, record.heads, what=what, tolerance=SMALL)
    active = pd.concat(tables.values(), ignore_index=True)
shown(active)

# %% [markdown]
# ## The same inputs
#
# Prompts that both runs took are few when the corpora differ. But attribution needs no corpus: we
# read the record's *own texts*, tokenised as they stand, with one {term}`BOS` in front, and ask
# which heads stand out. Whatever now differs is due to the attribution itself. As in the paper only
# heads of layers before the neuron's are candidates, and the rules are those of {ref}`heads`.


# %%
def judged_by(rule: str, scores: np.ndarray) -> np.ndarray:
    if rule == "top3":
        order = np.argsort(-scores, axis=1, kind="stable")
        return np.argsort(order, axis=1, kind="stable") < 3
    mean, sd = scores.mean(1, keepdims=True), scores.std(1, ddof=1, keepdims=True)
    return scores > mean + 2 * sd


# %%
def attributed(rows: pd.DataFrame, layer: int) -> pd.DataFrame:
    ids = [model.tokenizer(text, add_special_tokens=False)["input_ids"] for text in rows.text]
    ids = [one[1 - model.context :] for one in ids]
    one = attribute(model, rows.neuron.map(Neuron.parse).tolist(), ids)["in"]
    before = [at for at, head in enumerate(one.heads) if head.layer < layer]
    scores = one.by_head[:, before].double().numpy(force=True)
    names = [str(one.heads[at]) for at in before]
    long = rows[KEYS].loc[rows.index.repeat(len(names))].reset_index(drop=True)
    verdict = judged_by(record_rule, scores).ravel()
    return long.assign(head=names * len(rows), attribution=scores.ravel(), candidate=True,
                       active=verdict)  # fmt: skip


# %%
same, apart = nothing.assign(jaccard=0.0), pd.Series(dtype=float)
if given_texts:
    read = record.suffixes[record.suffixes.neuron.map(lambda n: Neuron.parse(n).layer) > 0]
    layer_of = read.neuron.map(lambda name: Neuron.parse(name).layer)
    fresh = pd.concat([attributed(rows, int(at)) for at, rows in read.groupby(layer_of)])
    fresh = fresh.reset_index(drop=True)
    itself = read[[*KEYS, "text"]].assign(our_prompt=read.prompt, our_text=read.text)
    judged = Judged(fresh, "active", "active", lambda scores: edge_of(record_rule, scores))
    what = "active heads, their texts"
    same = compare_active(itself, judged, record.heads, what=what, tolerance=SMALL)
    apart = separation(fresh, record.heads)
shown(same)

# %% [markdown]
# Sets either agree or not; the attributions behind them say how nearly. On every text of the record:
# of all twos of a candidate head that the record calls active and one that it does not, in how many
# does our attribution put the first higher? And where a prompt was kept letter for letter on both
# sides, the attributions of `04_heads` should be those that the record's text gives:

# %% tags=["hide-input"]
if given_texts:
    attributions = compare_attributions(matches, decides, fresh, tolerance=SMALL)
measured = attributions.astype({"ours": float, "theirs": float})
off = (measured.ours - measured.theirs).abs()
correlation = float(np.corrcoef(measured.ours, measured.theirs)[0, 1]) if len(off) > 1 else np.nan
pd.Series(
    {
        "texts of the record": len(apart),
        "recorded heads above the others, mean share": round(float(apart.mean()), 4),
        "lowest": round(float(apart.min()), 4),
        "attributions on texts in both": len(measured),
        "correlation": round(correlation, 6) + 0.0,
        "same sign": round(float((np.sign(measured.ours) == np.sign(measured.theirs)).mean()), 4),
        "largest difference": f"{off.max():.1e}" if len(off) else "–",
    },
    name="found",
).to_frame() if given_texts else None  # fmt: skip

# %% [markdown]
# A second figure, where a record is given: what share of the heads that either side calls active both
# call active. All prompts at 1 is agreement; a prompt at one half shares two of three heads.

# %% tags=["hide-input"] mystnb={"figure": {"caption": "Share of prompts (up) by how many of the heads that either side calls active both do (across, the Jaccard index). Orange: the record's own texts, read by us; blue: prompts that both runs took. Agreement is everything in the last bar.", "name": "fig-shared-heads"}, "image": {"alt": "Histogram of the Jaccard index of active heads"}}
bars = None
if given_texts:
    edges = np.array([0, 0.01, 0.25, 0.5, 0.75, 0.999, 1.001])
    labels = ["0", "below 1/4", "below 1/2", "below 3/4", "below 1", "1"]
    kinds = {"their texts": (same, "orange"), "prompts in both": (tables[record_rule], "blue")}
    figure, axis = plt.subplots(figsize=(6, 2.8))
    bars = pd.DataFrame(index=pd.Index(labels, name="heads shared"))
    for at, (kind, (table, colour)) in enumerate(kinds.items()):
        counts = np.histogram(table.jaccard.to_numpy(float), edges)[0]
        bars[kind] = counts
        share = counts / max(1, counts.sum())
        axis.bar(np.arange(6) + 0.4 * at - 0.2, share, 0.4, color=COLOURS[colour], label=kind)
    axis.set_xticks(range(6), labels)
    axis.set(xlabel="share of active heads in both sets", ylabel="share of prompts")
    axis.legend(loc="upper center")
    plt.show()
bars

# %% [markdown]
# ## Pairs
#
# A {term}`pair` is kept when its head is active on {glue:text}`agreement-low` to
# {glue:text}`agreement-high` of the neuron's training prompts. The record keys prompts by their text,
# so equal texts count once, on both sides. (A run that goes by effects, which the paper does not
# measure, brings the pairs of `04_pairs`.)

# %%
low, high = settings.pair_share
glue("agreement-low", f"{low:.0%}", display=False)
glue("agreement-high", f"{high:.0%}", display=False)


def kept(share: pd.Series) -> pd.Series:
    return share.between(low, high)


# %% [markdown]
# A pair that one side has alone can follow from what was seen above: the rule, the prompts, or the
# heads active on them.

# %% tags=["hide-input"]
both_pairs, differing = nothing, {}
if given_texts:
    unequal = matches[(matches.split == "train") & (matches.text != matches.our_text)]
    differ = active[(active.split == "train") & ~active.agrees]
    sets = [(r.neuron, set(r.ours.split()) ^ set(r.theirs.split())) for r in differ.itertuples()]
    differing = {
        "other_prompts": set(unequal.neuron),
        "other_heads": {(neuron, head) for neuron, some in sets for head in some},
    }

# %%
if given_texts:
    own = pairs[pairs.neuron.isin(both) & pairs.kept]
    yours = shares(record.heads, recorded)
    ours_by = {rule: own if rule == "effect" else shares(decides, mine, f"active_{rule}")
               for rule in tables}  # fmt: skip
    both_pairs = pd.concat([
        compare_pairs(some, yours, what=f"pair kept, {rule}", kept=kept,
                      by_their_rule=ours_by[record_rule], **differing)
        for rule, some in ours_by.items()
    ], ignore_index=True)  # fmt: skip
shown(both_pairs)

# %% tags=["hide-input"]
if given_texts:
    counted = ours_by[settings.active_rule]
    counted = counted[kept(counted["share"])]
    one, other_way = (set(zip(t.neuron, t["head"], strict=True)) for t in (own, counted))
Markdown(
    f"`04_pairs` keeps {len(one)} pairs of these neurons, by all that chapter 4 asks of a pair. By "
    f"shares alone, on the top sample with equal texts counted once, {len(one ^ other_way)} pairs "
    "move in or out."
) if given_texts else None

# %% [markdown]
# ## Everything, with reasons

# %%
parts = [lists, tokens, texts, active, same, both_pairs]
whole = pd.concat([part for part in parts if len(part)], ignore_index=True) if given else nothing
agreement = summary(whole)
agreement.round(3) if given else None

# %%
why = reasons(whole)
why.reset_index(drop=True) if given else None

# %% [markdown]
# Neurons, tokens and heads that no reason explains, the first of each kind; a reader who knows why can tell us:

# %%
open_cases = whole[whole.reason == "not explained"].groupby("what", sort=False).head(3)
columns = ["what", "neuron", "split", "head", "ours", "theirs"]
open_cases.assign(
    ours=[readable(str(one)[-40:]) for one in open_cases.ours],
    theirs=[readable(str(one)[-40:]) for one in open_cases.theirs],
)[columns].fillna("").reset_index(drop=True) if given else None

# %% [markdown]
# ## Check
#
# A row agrees or has a reason, never both, and every reason is on the list:

# %%
assert whole.reason.isna().eq(whole.agrees).all()
assert set(whole.reason.dropna()) <= set(REASONS)
assert agreement.compared.sum() == len(whole)
assert apart.between(0, 1).all()

# %% [markdown]
# ## What we know


# %% tags=["hide-input"]
def told(what: str) -> str | None:
    some = whole[whole.what == what]
    if not len(some):
        return None
    left = int((some.reason == "not explained").sum())
    if some.agrees.all():
        return f"**{what}**: all {len(some)} agree."
    rest = f"{left} without a reason" if left else "every other one has its reason"
    return f"**{what}**: {some.agrees.mean():.1%} of {len(some)} agree; {rest}."


lines = [line for line in map(told, whole.what.unique()) if line is not None]
if not given:
    lines = ["Nothing was compared: this run has no record to be held against."]
elif whole.agrees.all():
    lines.insert(0, "The run and the record agree on everything that was compared.")
Markdown("\n".join(f"- {line}" for line in lines))

# %% [markdown]
# What is not known: whether a disagreement that has a reason would vanish with it. A prompt that our
# corpus lacks may hide a rule that differs as well; only the section on the same inputs is free of that.
# And agreement with a record says that two programs do the same, not that what they do is right.
#
# ```{admonition} Try it
# :class: tip
# Copy the run file, set `protocol: paper` and `active_rule: top3`, and execute that run. Which rows of
# the table change, and which reasons disappear?
# ```
