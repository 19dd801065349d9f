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
# same, or differ for a reason that can be named. With the record at hand we compare the run with it,
# step by step, and give every disagreement one reason out of a fixed list.
#
# | needs | leaves |
# | --- | --- |
# | `neurons`, `suffixes`, `heads`, `pairs` ({ref}`next-token-neurons` to {ref}`heads`) | a table of agreement, in this page |
# | the record of the run's model (`lookups download --published`) | |

# %% tags=["parameters"]
# The folder of the record stands in the run's file (`published:`).
run: str = "smollm2"  # a run's id, or a path to its .yml

# %% tags=["hide-input"]
from functools import lru_cache, partial
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from IPython.display import Markdown
from myst_nb import glue

from lookups.record.compare import (
    KEYS,
    NOTHING,
    REASONS,
    compare_active,
    compare_lists,
    compare_prompts,
    compared,
    digits,
    match_texts,
    reasons,
    relative,
    separation,
    shares,
    summary,
)
from lookups.run.store import load
from lookups.corpus.documents import run_documents
from lookups.show.figures import COLOURS, house_style
from lookups.measure.attribution import attribute
from lookups.model.loaded import load_model
from lookups.names import Head, Neuron
from lookups.record.read import read_published
from lookups.record.paper import recorded_as
from lookups.statistics.bootstrap import percent
from lookups.settings import check_run, read_run
from lookups.show.views import readable

settings = read_run(run)
house_style()
name = recorded_as(settings.model.name, settings.published_model)
given = settings.published is not None and name is not None
if given:
    record = read_published(settings.published, name)
    model = load_model(settings.model)
    check_run(settings, model)
    neurons, suffixes = load(settings, "neurons"), load(settings, "suffixes")
    heads, pairs = load(settings, "heads"), load(settings, "pairs")
given_texts = given and "suffixes" not in record.missing

# %% tags=["hide-input"]
if given:
    found = (
        f"This run (`protocol: {settings.protocol}`, `active_rule: {settings.active_rule}`) is compared "
        f"with the record of {name}: {int((~record.neurons.rejected).sum())} neurons, "
        f"{len(record.suffixes)} texts."
    )
    if not given_texts:
        found += " **It holds no texts, so only neurons and tokens are compared.**"
elif name is not None:
    found = (
        f"The record of {name} was not given (`published:` in the run's file; `lookups download --published` "
        "fetches it), so nothing is compared here."
    )
else:
    found = (
        f"This run's model, `{Path(settings.model.name).name}`, is none of the paper's, so there is "
        "nothing to compare it with."
    )
Markdown(found)

# %% [markdown] tags=["with-record"]
# ## What is compared
#
# | what | ours | theirs | agrees when |
# | --- | --- | --- | --- |
# | neuron on the list | the paper's list as {ref}`next-token-neurons` makes it | neurons of their file | it is on both |
# | order in its layer | by {term}`congruence` | order of their file | same place among those on both |
# | token, congruence | from our weights | as recorded | same text; same to {glue:text}`agreement-digits` digits |
# | prompt | texts of `suffixes` | their cut texts | one is found for the other |
# | text kept | what {ref}`truncation` left | the text that they attributed | letter for letter |
# | active heads | `heads` | the recorded heads | the same set |
# | pair kept | share of training prompts | the same from their heads | kept, or not, on both sides |
#
# Congruence comes from weights alone, so it should agree to the precision in which weights are held.
# A disagreement up to ten times beyond that is called rounding.

# %% tags=["hide-input", "with-record"]
HALF = settings.model.dtype in ("bfloat16", "float16")
TOLERANCE = 1e-2 if HALF else 1e-4
glue("agreement-digits", digits(1.0, 1.0 + TOLERANCE * 0.999), display=False)

# %% [markdown] tags=["with-record"]
# ## Neurons and their tokens
#
# The record's list is compared with the paper's list as this run makes it, whatever its protocol. A
# neuron that only one side has may have been rejected by hand on either, belong to a layer or a
# place on the list that the other does not reach, or be beaten by less than rounding. For a token
# that differs we ask our weights how much the neuron writes *their* token.


# %% tags=["with-record"]
def of_their_token(neuron: Neuron, token: str) -> float:
    """What the neuron adds to the logit of the record's token; nan where it is no single token."""
    if token not in model.vocabulary:
        return np.nan
    written = model.w_out(neuron.layer)[neuron.index]
    return float(written @ model.w_u[:, model.vocabulary.index(token)])


# %% tags=["with-record"]
every = theirs = lists = tokens = NOTHING
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

# %% tags=["hide-input", "with-record"]
if given:
    theirs = record.neurons[record.neurons.neuron.isin(both)]
    ours = every[every.neuron.isin(both)].set_index("neuron")
    ours["of_their_token"] = [
        of_their_token(Neuron.parse(row.neuron), row.token)
        if row.token != ours.token[row.neuron]
        else np.nan
        for row in theirs.set_index("neuron", drop=False).reindex(ours.index).itertuples()
    ]


# %% tags=["with-record"]
def compare_tokens(ours: pd.DataFrame, theirs: pd.DataFrame) -> pd.DataFrame:
    both = theirs.merge(ours, on="neuron", suffixes=("_theirs", ""))
    near = relative(both.of_their_token, both.congruence) <= TOLERANCE
    apart = relative(both.congruence, both.congruence_theirs)
    token = both.token, both.token_theirs, {"tie or rounding": near}
    value = both.congruence, both.congruence_theirs, {"tie or rounding": apart <= 10 * TOLERANCE}
    return pd.concat([
        compared("token", both[["neuron"]], *token),
        compared("congruence", both[["neuron"]], *value, agrees=apart <= TOLERANCE),
    ])  # fmt: skip


# %% tags=["hide-input", "with-record"]
tokens = compare_tokens(ours.reset_index(), theirs) if given else NOTHING


def shown(table: pd.DataFrame) -> pd.DataFrame | None:
    """The summary of a comparison, where there is one."""
    return summary(table).round(3) if len(table) else None


shown(pd.concat([lists, tokens]))

# %% [markdown] tags=["with-record"]
# To how many digits does congruence agree ({numref}`fig-digits`)?

# %% tags=["hide-input", "with-record"] mystnb={"figure": {"caption": "Bars at the right are what float32 on both sides gives; a bar at the left is a neuron whose weights are not the same. Number of neurons on both lists, by the number of significant digits to which our congruence and the recorded one agree. The dashed line is where agreement begins.", "name": "fig-digits"}, "image": {"alt": "Bar chart of digits to which congruence agrees"}}
agreed_digits = None
if given:
    values = tokens[tokens.what == "congruence"]
    places = pd.Series(digits(values.ours, values.theirs), dtype=int)
    agreed_digits = places.value_counts().reindex(range(8), fill_value=0)
    agreed_digits = agreed_digits.rename("neurons").rename_axis("digits").to_frame()
    figure, axis = plt.subplots(figsize=(5, 2.6))
    axis.bar(agreed_digits.index, agreed_digits.neurons, color=COLOURS["blue"])
    axis.axvline(digits(1.0, 1.0 + TOLERANCE * 0.999) - 0.5, color="black", linestyle="--")
    axis.set(xlabel="significant digits that agree", ylabel="neurons")
    plt.show()
agreed_digits

# %% [markdown] tags=["with-record"]
# ## Prompts, and how much of them was kept
#
# The two sides number documents differently, so texts say which prompt is which: equal ones
# first; of the rest, two belong together when one is the end of the other
# ({func}`~lookups.record.compare.match_texts`). Line breaks count as spaces, as in the record. A
# prompt that only the record has is looked for in the documents of our run. The authors' held-out
# documents were never released, so on `test` nothing is expected to be found.

# %% tags=["hide-input", "with-record"]


@lru_cache(maxsize=2)
def read_text(split: str) -> str:
    """All documents of one of our splits, one below the other."""
    documents = run_documents(settings, model, split)
    texts = () if documents is None else (model.decode(one.ids) for one in documents)
    return "\0".join(texts).replace("\n", " ")


def in_our_corpus(split: str, text: str) -> bool:
    return text in read_text(split)


# %% [markdown] tags=["with-record"]
# The record's activation was not always measured on the text that it keeps: where it lies below the
# share that the rule asks for, that is the reason given for another text.

# %% tags=["hide-input", "with-record"]
matches, texts = pd.DataFrame(columns=[*KEYS, "text", "our_prompt", "our_text"]), NOTHING
if given_texts:
    mine = suffixes[suffixes.neuron.isin(both) & (suffixes["sample"] == "top")]
    mine = mine.assign(text=[model.decode(ids).replace("\n", " ") for ids in mine.token_ids])
    recorded = record.suffixes[record.suffixes.neuron.isin(both)]

# %% tags=["with-record"]
if given_texts:
    matches = match_texts(mine, recorded)
    weak = recorded[recorded.activation < settings.keep * recorded.whole_activation]
    weak = set(weak[KEYS].itertuples(index=False, name=None))
    texts = compare_prompts(
        matches, in_our_corpus=in_our_corpus, below_share=weak.__contains__,
        same_protocol=settings.protocol == "paper",
    )  # fmt: skip
shown(texts)

# %% tags=["hide-input", "with-record"]
other = texts[(texts.what == "text kept") & ~texts.agrees]
longer = int((other.ours.str.len() > other.theirs.str.len()).sum()) if len(other) else 0
Markdown(
    f"Of {int((texts.what == 'text kept').sum())} prompts in both, ours is longer in {longer} and "
    f"shorter in {len(other) - longer}."
) if given_texts else None

# %% [markdown] tags=["with-record"]
# ## Active heads on the prompts in both
#
# The record holds no attributions, only which heads were active. The camera-ready paper calls a head
# active above mean + 2 sd, the released record seems to take the three highest. Its own numbers tell
# which: with three a prompt, everywhere, it is `top3`.


# %% tags=["with-record"]
def rule_of(active: pd.DataFrame, n_prompts: int) -> str:
    counts = active.groupby(KEYS).size()
    return "top3" if len(counts) == n_prompts and (counts == 3).all() else "2sd"


def edge_of(rule: str, scores: np.ndarray) -> float:
    """The height from which a head is active among these candidates."""
    if rule == "top3":
        return float(np.sort(scores)[::-1][2:4].mean())
    return float(scores.mean() + 2 * scores.std(ddof=1))


# %% [markdown] tags=["with-record"]
# A head that misses that edge by less than a thousandth of the largest attribution is a tie. Where the
# run's rule is another, we compare twice: as this run calls heads active, and by the record's rule. On
# `train`, {ref}`heads` has judged every head. On `test` it follows the kept pairs only, so the heads' attributions on
# our test prompts are computed here ({func}`~lookups.measure.attribution.attribute`); effects are compared on `train` alone.


# %% tags=["with-record"]
def judged_by(rule: str, scores: np.ndarray) -> np.ndarray:
    if rule == "top3":
        order = np.argsort(-scores, axis=1, kind="stable")
        return np.argsort(order, axis=1, kind="stable") < 3
    mean, sd = scores.mean(1, keepdims=True), scores.std(1, ddof=1, keepdims=True)
    return scores > mean + 2 * sd


# %% tags=["hide-input", "with-record"]
DECIDES = "in"  # none of the record's models has a gated MLP


def attributed(rows: pd.DataFrame, ids: list, layer: int, *, own_layer: bool) -> pd.DataFrame:
    """A row a prompt and candidate head: its attribution, and whether it is active by each rule."""
    one = attribute(model, rows.neuron.map(Neuron.parse).tolist(), ids)[DECIDES]
    some = [at for at, head in enumerate(one.heads) if own_layer or head.layer < layer]
    scores = one.by_head[:, some].double().numpy(force=True)
    names = [str(one.heads[at]) for at in some]
    long = rows[KEYS].loc[rows.index.repeat(len(names))].reset_index(drop=True)
    rules = {f"active_{rule}": judged_by(rule, scores).ravel() for rule in ("2sd", "top3")}
    return long.assign(head=names * len(rows), attribution=scores.ravel(), candidate=True, **rules)


def by_layer(rows: pd.DataFrame):
    """The rows of each layer's neurons, layer after layer."""
    return rows.groupby(rows.neuron.map(lambda name: Neuron.parse(name).layer))


# %% tags=["with-record"]
SMALL = 1e-2 if HALF else 1e-3
active = NOTHING.assign(jaccard=0.0)
record_rule = rule_of(record.heads, len(record.suffixes)) if given_texts else None
record_edge = partial(edge_of, record_rule)
Markdown(f"The record goes by `{record_rule}`.") if given_texts else None

# %% tags=["hide-input", "with-record"]
if given_texts:
    decides = heads[(heads.input == DECIDES) & heads.neuron.isin(both) & (heads.split == "train")]
    own_layer = settings.protocol == "sound" and not model.parallel
    in_test = [
        attributed(rows, rows.token_ids.tolist(), int(at), own_layer=own_layer)
        for at, rows in by_layer(mine[mine.split == "test"])
    ]
    every_head = pd.concat([decides, *in_test], ignore_index=True)
    tables = {}
    for rule in dict.fromkeys([record_rule, settings.active_rule]):
        tables[rule] = compare_active(
            matches, decides if rule == "effect" else every_head, record.heads, tolerance=SMALL,
            what=f"active heads, {rule}", column=f"active_{rule}", edge=record_edge,
            record_column=f"active_{record_rule}",
        )  # fmt: skip
    active = pd.concat(tables.values(), ignore_index=True)
shown(active)

# %% [markdown] tags=["with-record"]
# ## The same inputs
#
# Prompts that both runs took are few when the corpora differ. But attribution needs no corpus: we
# read the record's *own texts*, tokenised as they stand, with one {term}`BOS` in front, and ask
# which heads stand out. Whatever now differs is due to the attribution itself. As in the paper, only
# heads of layers before the neuron's are candidates.

# %% tags=["hide-input", "with-record"]
same, apart = NOTHING.assign(jaccard=0.0), pd.Series(dtype=float)
if given_texts:
    read = record.suffixes[record.suffixes.neuron.map(lambda n: Neuron.parse(n).layer) > 0]
    whole_ids = [model.tokenizer(text, add_special_tokens=False)["input_ids"] for text in read.text]
    read = read.assign(token_ids=[ids[1 - model.context :] for ids in whole_ids])
    fresh = [
        attributed(rows, rows.token_ids.tolist(), int(at), own_layer=False)
        for at, rows in by_layer(read)
    ]
    fresh = pd.concat(fresh, ignore_index=True)
    fresh["active"] = fresh[f"active_{record_rule}"]
    itself = read[[*KEYS, "text"]].assign(our_prompt=read.prompt, our_text=read.text)
    same = compare_active(
        itself, fresh, record.heads, tolerance=SMALL, what="active heads, their texts",
        column="active", edge=record_edge, record_column="active",
    )  # fmt: skip
    apart = separation(fresh, record.heads)
shown(same)

# %% [markdown] tags=["with-record"]
# Sets either agree or not; the attributions behind them say how nearly. Take, on every text of the record, all
# pairs of a candidate head that the record calls active and one that it does not: in how many of them
# does our attribution put the first higher?

# %% tags=["hide-input", "with-record"]
pd.Series(
    {
        "texts of the record": len(apart),
        "recorded heads above the others, mean share": round(float(apart.mean()), 4),
        "lowest": round(float(apart.min()), 4),
    },
    name="found",
).to_frame() if given_texts else None

# %% [markdown] tags=["with-record"]
# The figure shows what share of the heads that either side calls active both call active.

# %% tags=["hide-input", "with-record"] mystnb={"figure": {"caption": "Agreement is everything in the last bar. Share of prompts, by the share of the heads active on either side that are active on both (the Jaccard index); a prompt at one half shares two of three heads. Orange: the record's own texts, read by us; blue: prompts that both runs took.", "name": "fig-shared-heads"}, "image": {"alt": "Histogram of the Jaccard index of active heads"}}
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

# %% [markdown] tags=["with-record"]
# ## Pairs
#
# A {term}`pair` is kept when its head is active on {glue:text}`agreement-low` to
# {glue:text}`agreement-high` of the neuron's training prompts. The record keys prompts by their text,
# so equal texts count once, on both sides. (A run that goes by effects, which the paper does not
# measure, enters with the pairs of `pairs`.)

# %% tags=["hide-input", "with-record"]
low, high = settings.pair_share
glue("agreement-low", percent(low), display=False)
glue("agreement-high", percent(high), display=False)


def kept(share: pd.Series) -> pd.Series:
    return share.between(low, high)


# %% [markdown] tags=["with-record"]
# A pair that one side has alone can follow from what was seen above: the rule, the prompts, or the
# heads active on them.

# %% tags=["hide-input", "with-record"]
both_pairs, other_prompts, other_heads = NOTHING, set(), set()
if given_texts:
    unequal = matches[(matches.split == "train") & (matches.text != matches.our_text)]
    differ = active[(active.split == "train") & ~active.agrees]
    other_prompts = set(unequal.neuron)
    other_heads = {(row.neuron, head) for row in differ.itertuples()
                   for head in {*row.ours.split()} ^ {*row.theirs.split()}}  # fmt: skip


def kept_pairs(table: pd.DataFrame) -> set[tuple[str, str]]:
    some = table[kept(table["share"])]
    return set(zip(some.neuron, some["head"], strict=True))


# %% tags=["with-record"]
def compare_pairs(rule: str) -> pd.DataFrame:
    mine, yours, by_their_rule = (
        kept_pairs(t) for t in (ours_by[rule], recorded_shares, ours_by[record_rule])
    )
    order = sorted(mine | yours, key=lambda pair: (Neuron.parse(pair[0]), Head.parse(pair[1])))
    said = (["kept" if pair in some else "not kept" for pair in order] for some in (mine, yours))
    return compared(f"pair kept, {rule}", pd.DataFrame(order, columns=["neuron", "head"]), *said, {
        "other rule of the run": [(pair in by_their_rule) == (pair in yours) for pair in order],
        "follows from a difference above": [pair[0] in other_prompts or pair in other_heads for pair in order],
    })  # fmt: skip


# %% tags=["hide-input", "with-record"]
if given_texts:
    own = pairs[pairs.neuron.isin(both) & pairs.kept]
    recorded_shares = shares(record.heads, recorded)
    ours_by = {rule: own if rule == "effect" else shares(decides, mine, f"active_{rule}")
               for rule in tables}  # fmt: skip
    both_pairs = pd.concat(map(compare_pairs, ours_by), ignore_index=True)
shown(both_pairs)

# %% tags=["hide-input", "with-record"]
if given_texts:
    one, other_way = kept_pairs(own), kept_pairs(ours_by[settings.active_rule])
Markdown(
    f"`pairs` keeps {len(one)} pairs of these neurons, by all that chapter 5 asks of a pair. By "
    f"shares alone, on the top sample with equal texts counted once, {len(one ^ other_way)} pairs "
    "move in or out."
) if given_texts else None

# %% [markdown] tags=["with-record"]
# ## Everything, with reasons

# %% tags=["hide-input", "with-record"]
parts = [lists, tokens, texts, active, same, both_pairs]
whole = pd.concat([part for part in parts if len(part)], ignore_index=True) if given else NOTHING
agreement = summary(whole)
agreement.round(3) if given else None

# %% tags=["hide-input", "with-record"]
why = reasons(whole)
why.reset_index(drop=True) if given else None

# %% [markdown] tags=["with-record"]
# The first neurons, tokens and heads of each kind that no reason explains:

# %% tags=["hide-input", "with-record"]
open_cases = whole[whole.reason == "not explained"].groupby("what", sort=False).head(3)
columns = ["what", "neuron", "split", "head", "ours", "theirs"]
open_cases.assign(
    ours=[readable(str(one)[-40:]) for one in open_cases.ours],
    theirs=[readable(str(one)[-40:]) for one in open_cases.theirs],
)[columns].fillna("").reset_index(drop=True) if given else None

# %% [markdown] tags=["with-record"]
# ## Check
#
# A row agrees or has a reason, never both, and every reason is on the list:

# %% tags=["hide-input", "with-record"]
assert whole.reason.isna().eq(whole.agrees).all()
assert set(whole.reason.dropna()) <= set(REASONS)
assert agreement.compared.sum() == len(whole)
assert apart.between(0, 1).all()

# %% [markdown] tags=["with-record"]
# ## What we know


# %% tags=["hide-input", "with-record"]
def told(what: str) -> str | None:
    some = whole[whole.what == what]
    if not len(some):
        return None
    left = int((some.reason == "not explained").sum())
    if some.agrees.all():
        return f"**{what}**: all {len(some)} agree."
    rest = f"{left} without a reason" if left else "every other one has its reason"
    return f"**{what}**: {percent(some.agrees.mean(), digits=1)} of {len(some)} agree; {rest}."


lines = [line for line in map(told, whole.what.unique()) if line is not None]
if not given:
    lines = ["Nothing was compared."]
elif whole.agrees.all():
    lines.insert(0, "The run and the record agree on everything that was compared.")
Markdown("\n".join(f"- {line}" for line in lines)) if given else None

# %% [markdown] tags=["with-record"]
# What is not known: whether a disagreement that has a reason would vanish with that reason. A prompt that our
# corpus lacks may hide a different rule as well. And agreement with a record says that two programs do the same, not
# that what they do is right.
#
# ```{admonition} Try it
# :class: tip
# Copy the run file, set `protocol: paper` and `active_rule: top3`, and execute that run. Which rows of
# the table change, and which reasons disappear?
# ```
