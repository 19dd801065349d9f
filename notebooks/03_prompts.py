# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# (prompts)=
# # Which texts make a neuron fire?
#
# A neuron whose weights point at a token need not fire where that token follows. So we let texts
# decide: in every document, where is the neuron at its maximum, and what comes next? One pass over
# the documents answers for all neurons at once. A neuron whose token follows it far more often than
# chance would bring about is {term}`sound <sound neuron>`; those are the neurons the later chapters
# are about.
#
# | needs | leaves |
# | --- | --- |
# | `neurons` from {ref}`next-token-neurons` | `follow_rates`: how often its token follows |
# | the run's documents | `prompts`: the documents that make the examined neurons fire |

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
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist
from scipy.stats import binom, false_discovery_control
from tqdm import tqdm

from lookups.run.store import Stopwatch, load, save
from lookups.corpus.documents import run_documents
from lookups.show.figures import COLOURS, house_style
from lookups.measure.activation import activations
from lookups.statistics.bootstrap import bootstrap_mean, percent
from lookups.measure.kept_maxima import BANDS, level_of
from lookups.model.loaded import Model, load_model
from lookups.names import Neuron
from lookups.settings import check_run, read_run
from lookups.measure.scan import lot_of, maxima_table, scan
from lookups.show.views import BOS, prompt_table, readable, token_view

settings = read_run(run)
model = load_model(settings.model)
check_run(settings, model)
house_style()
stopwatch = Stopwatch()
neurons = load(settings, "neurons")
texts = {split: run_documents(settings, model, split) for split in ("train", "test")}
texts = {split: documents for split, documents in texts.items() if documents is not None}

# %% [markdown]
# The two splits share no file. Everything is *chosen* on `train` and *reported* on `test`:

# %%
pd.DataFrame(
    {
        "documents": {split: len(documents) for split, documents in texts.items()},
        "tokens": {split: int(documents.lengths.sum()) for split, documents in texts.items()},
        "longer texts, divided or cut": {
            split: documents.n_cut for split, documents in texts.items()
        },
        "left out, also in train": {
            split: documents.n_shared for split, documents in texts.items()
        },
    }
)

# %% [markdown]
# ## One neuron, one text
#
# As an example, the most congruent neuron on the list reads the first document token by token. The
# {term}`beginning-of-sequence token <BOS>` in front never counts as a maximum, and neither does the
# last token, which has no successor:

# %%
listed = neurons[(neurons.group == "top") & neurons.layer.isin(settings.layers)]
most = listed.sort_values("congruence", ascending=False, kind="stable").iloc[0]
example, called = Neuron.parse(most.neuron), f"the “{readable(most.token)}” neuron ({most.neuron})"
ids = texts["train"][0].ids[:31]
curve = activations(model, [example] * len(ids), [ids[: n + 1] for n in range(len(ids))])
token_view(
    [BOS, *(model.vocabulary[token] for token in ids)],
    [0.0, *curve],
    name="fig-one-text",
    look_for=f"The darkest token is where {called} fires most; the token after it is what follows.",
)

# %% [markdown]
# ## All neurons, all texts
#
# {func}`~lookups.measure.scan.scan` keeps, for every neuron, its strongest documents and a few
# drawn at random from each band of activation from half of its maximum up.

# %%
per_band = {split: 2 + 2 * size // BANDS for split, size in settings.spread_per_neuron}
layers = sorted({*settings.middle_layers, *settings.layers})
scans = {}
for split, documents in texts.items():
    with tqdm(total=len(documents), desc=f"scan {split}") as bar:
        scans[split] = scan(
            model, documents, layers, strongest=settings.prompts_per_neuron,
            per_band=per_band[split], only_last=settings.prompts is not None, progress=bar.update,
        )  # fmt: skip

# %%
strongest = {s: maxima_table(scans[s].strongest, scans[s], texts[s]) for s in texts}
row = strongest["train"][strongest["train"].neuron == str(example)].head(6)
follows = [model.vocabulary[token] if token >= 0 else "" for token in row.next_token_id]
before = [
    model.decode(texts["train"].by_key(prompt).ids[max(0, at - 11) : at + 1])
    for prompt, at in zip(row.prompt, row.position, strict=True)
]
quotes = list(zip(before, follows, row.source, strict=True))
prompt_table({f"strongest documents of {called}, with what follows": quotes})

# %% [markdown]
# ## How often does the token follow?
#
# The {term}`follow rate` is the share of a neuron's strongest positions whose next token is the
# neuron's own. Its {term}`base rate` is the token's share among all next tokens. Under chance the
# number of successes is binomial; `p` is its upper tail, and `q` corrects it over all neurons of
# the run's layers {cite}`benjamini1995`. The folded cell counts positions and hits, with one row
# per neuron.


# %% tags=["hide-input"]
def counted(split: str) -> pd.DataFrame:
    """How often a neuron's token follows, its largest activation and its firing frequency."""
    rows = strongest[split].merge(neurons[["neuron", "token_id", "paper_token_id"]], on="neuron")
    rows = rows[rows.next_token_id >= 0]
    rows = rows.assign(follows=rows.next_token_id == rows.token_id)
    rows["paper_follows"] = rows.next_token_id == rows.paper_token_id
    counts = rows.groupby("neuron").agg(
        positions=("follows", "size"), hits=("follows", "sum"), paper_hits=("paper_follows", "sum")
    )
    table = neurons[neurons.layer.isin(layers)].merge(counts, on="neuron", how="left")
    table[list(counts)] = table[list(counts)].fillna(0).astype(int)
    seen = {"strongest": scans[split].strongest.activation[0], "frequency": scans[split].frequency}
    scanned = [str(neuron) for neuron in scans[split].neurons]
    for name, values in seen.items():
        table[name] = table.neuron.map(pd.Series(values.numpy(force=True), scanned))
    return table.assign(split=split)


# %%
def follow_rates(split: str) -> pd.DataFrame:
    table = counted(split)
    share = scans[split].successors.numpy() / max(1, int(scans[split].successors.sum()))
    table["base_rate"] = share[table.token_id]
    known = table.positions.where(table.positions > 0)
    table["follow_rate"], table["paper_follow_rate"] = table.hits / known, table.paper_hits / known
    table["p"] = binom.sf(table.hits - 1, table.positions, table.base_rate)
    return table


# %% [markdown]
# A neuron is sound when its token follows at least {glue:text}`follow-share` of its strongest
# positions in `train`, at least {glue:text}`follow-lift` times as often as by chance, and `q` is
# below {glue:text}`follow-q`. This is asked of *every* neuron of the run's layers, whatever its
# congruence:


# %%
def is_sound(rows: pd.DataFrame) -> pd.Series:
    often = rows.follow_rate >= settings.follow_share
    more_than_chance = rows.follow_rate >= settings.follow_lift * rows.base_rate
    return often & more_than_chance & (rows.q < settings.false_discovery_rate)


def judged(split: str) -> pd.DataFrame:
    table = follow_rates(split)
    late = table.layer.isin(settings.layers)
    for some in (late, ~late):
        table.loc[some, "q"] = false_discovery_control(table.p[some])
    return table


glue("follow-share", percent(settings.follow_share), display=False)
glue("follow-lift", f"{settings.follow_lift:g}", display=False)
glue("follow-q", f"{settings.false_discovery_rate:g}", display=False)

# %%
rates = pd.concat([judged(split) for split in texts], ignore_index=True)
train = rates[rates.split == "train"]
late = train.layer.isin(settings.layers) & ~train.neuron.isin(list(settings.rejected))
chosen = train[late & is_sound(train)].neuron
rates["sound"] = rates.neuron.isin(chosen)
glue("sound-neurons", len(chosen), display=False)
glue("sound-tokens", rates[rates.sound].token_id.nunique(), display=False)
Markdown(
    f"{len(chosen)} of {int(train.layer.isin(settings.layers).sum())} neurons are sound, for "
    f"{rates[rates.sound].token_id.nunique()} different tokens."
)

# %% [markdown]
# Many sound neurons may share a token. So that many tokens are seen, neurons are selected in turns:
# first the neuron of each token with the highest follow rate, then each token's second, as far as
# `neurons_per_token` and `selected_at_most` allow.
#
# ```{admonition} Differs from the paper
# :class: note
# The paper examines the neurons at the top of its list, whatever their texts say. Under
# `protocol: sound` the run examines sound neurons, and the first of the list beside them.
# ```


# %%
def sound_selection() -> set[str]:
    order = train[train.neuron.isin(chosen)].sort_values(
        ["follow_rate", "layer", "index", "sign"], ascending=[False, True, True, False]
    )
    turn = order.groupby("token_id").cumcount()
    most = settings.neurons_per_token or len(order)
    order = order.assign(turn=turn)[turn < most].sort_values("turn", kind="stable")
    return set(order.neuron.head(settings.selected_at_most or len(order)))


def selected_by(protocol: str) -> set[str]:
    named = settings.neurons is not None or settings.tokens is not None
    if protocol == "paper" or named or settings.prompts is not None:
        return set(top.neuron)
    return sound_selection()


top = train[(train.group == "top") & train.layer.isin(settings.layers)]
rates["selected"] = rates.neuron.isin(selected_by(settings.protocol))

# %%
changed = len(selected_by("sound") ^ selected_by("paper"))
middle = train[train.layer.isin(settings.middle_layers)]
glue("paper-list", len(top), display=False)
glue("paper-list-sound", int(top.neuron.isin(chosen).sum()), display=False)
Markdown(
    f"Of the {len(top)} neurons on the list by congruence, {int(top.neuron.isin(chosen).sum())} are "
    f"sound. {changed} neurons are selected under one of the two protocols only; this run selects "
    f"{rates[rates.selected].neuron.nunique()}, for {rates[rates.selected].token_id.nunique()} tokens."
    + (f" Of {len(middle)} neurons of the middle layers, {int(is_sound(middle).sum())} pass the same test."
       if len(middle) else "")
)  # fmt: skip

# %% [markdown]
# ## Random neurons to compare with
#
# A neuron that is often strongly active will look busier than one that is not, whatever it writes.
# So each layer's control neurons are matched to selected neurons of that layer, in three respects:
# how strongly they fire (the largest activation), how often (the {term}`firing frequency`: the
# share of documents in which they reach half of it), and how frequent their token is. Distances are
# measured between the logarithms of these three numbers. Each selected neuron gets one of the
# neurons that are neither sound nor on the list, no neuron is used twice, and the sum of the
# distances is as small as it can be (an optimal assignment). Which selected neurons get a control
# is drawn at random:


# %%
def traits_of(rows: pd.DataFrame) -> np.ndarray:
    base = rows.base_rate + 1 / max(1, int(scans["train"].successors.sum()))
    return np.log(np.stack([rows.strongest.clip(1e-3), rows.frequency.clip(1e-4), base], axis=1))


# %%
def matched(layer: int, random: np.random.Generator) -> dict[str, str]:
    """Control neurons of a layer, each with the selected neuron that it is matched to."""
    here = rates[(rates.split == "train") & (rates.layer == layer)].reset_index(drop=True)
    free = here[~here.selected & ~here.sound & (here.group == "other")]
    some = here[here.selected]
    if not len(some):  # nothing to match: any neurons of the layer
        drawn = random.permutation(len(free))[: settings.random_per_layer]
        return dict.fromkeys(free.neuron.iloc[drawn], "")
    drawn = random.permutation(len(some))[: settings.random_per_layer]
    some = some.iloc[np.sort(drawn)]
    scale = traits_of(here).std(axis=0) + 1e-9
    pair = linear_sum_assignment(cdist(traits_of(some) / scale, traits_of(free) / scale))
    return dict(zip(free.neuron.iloc[pair[1]], some.neuron.iloc[pair[0]], strict=True))


# %%
random = np.random.default_rng(settings.seed)
controls = {name: to for layer in settings.layers for name, to in matched(layer, random).items()}
rates.loc[rates.neuron.isin(controls), "group"] = "random"
rates["matched_to"] = rates.neuron.map(controls).fillna("")
by_list = rates.sort_values("paper_congruence", ascending=False, kind="stable")
place = by_list.groupby(["split", "layer", "group"]).cumcount().reindex(rates.index)
first = rates.group.isin(["top", "middle"]) & (place < (settings.examined_per_layer or len(rates)))
rates["examined"] = rates.selected | (rates.group == "random") | first
glue("random-neurons", len(controls), display=False)

# %% [markdown]
# How well do they match? The table has medians over the selected neurons that have a control, and
# over the controls:

# %% tags=["hide-input"]
of_train = rates[rates.split == "train"].set_index("neuron")
pairs = {"selected": [to for to in controls.values() if to], "random": list(controls)}
traits = {"largest activation": "strongest", "firing frequency": "frequency", "base rate of the token": "base_rate"}  # fmt: skip
pd.DataFrame(
    {
        name: {"neurons": len(some)}
        | {title: float(f"{of_train.loc[some, column].median():.3g}") for title, column in traits.items()}
        for name, some in pairs.items() if some
    }
)  # fmt: skip

# %% [markdown]
# ## On texts that chose nothing
#
# Neurons that were chosen for a high rate were partly lucky, so their rates on `train` are too
# high. {numref}`fig-follow` shows the rates on `test`:

# %% tags=["hide-input"] mystnb={"figure": {"caption": "Follow rates on texts that were not used to choose neurons: each dot is a neuron, the bar its group's median. Sound neurons should stand far above the random ones.", "name": "fig-follow"}, "image": {"alt": "Follow rates on held-out texts by group of neurons"}}
reported = list(texts)[-1]
seen = rates[(rates.split == reported) & (rates.positions > 0)]
groups = {
    "selected": seen[seen.selected],
    "all sound": seen[seen.sound],
    "paper's list": seen[(seen.group == "top") & seen.layer.isin(settings.layers)],
    "middle layers": seen[(seen.group == "middle")],
    "random": seen[(seen.group == "random")],
}
groups = {name: rows for name, rows in groups.items() if len(rows)}
figure, axis = plt.subplots()
for place, (name, rows) in enumerate(groups.items()):
    offset = np.linspace(-0.25, 0.25, len(rows))
    colour = COLOURS[
        "blue" if name in ("selected", "all sound") else "grey" if name == "random" else "orange"
    ]
    axis.plot(place + offset, np.sort(rows.follow_rate), "o", color=colour, alpha=0.7)
    axis.hlines(rows.follow_rate.median(), place - 0.35, place + 0.35, color="black")
axis.set_xticks(range(len(groups)), list(groups))
axis.set(ylabel=f"follow rate on {reported}", ylim=(-0.03, 1.03))
plt.show()
summary = pd.DataFrame(
    {
        name: {
            "neurons": len(rows),
            "mean and 95 % interval": str(
                bootstrap_mean(rows.follow_rate.tolist(), list(rows.neuron), seed=settings.seed)
            ),
            "median": f"{rows.follow_rate.median():.2f}",
            "share above one half": f"{(rows.follow_rate > 0.5).mean():.2f}",
            "mean base rate": f"{rows.base_rate.mean():.4f}",
        }
        for name, rows in groups.items()
    }
).T  # fmt: skip
summary


# %%
def ratio_of_means(one: np.ndarray, other: np.ndarray, draws: int = 5000) -> np.ndarray:
    """The ratio of two means and its 95 % interval, neurons resampled within each group."""
    random = np.random.default_rng(settings.seed)
    means = [
        some[random.integers(len(some), size=(draws, len(some)))].mean(1) for some in (one, other)
    ]
    ratios = np.divide(*means, out=np.full(draws, np.inf), where=means[1] > 0)
    middle = one.mean() / other.mean() if other.mean() else np.inf
    return np.array([middle, *np.quantile(ratios, [0.025, 0.975], method="nearest")])


# %% tags=["hide-input"]
both = [groups[name].follow_rate.to_numpy() for name in ("selected", "random") if name in groups]
ratio, low, high = ratio_of_means(*both) if len(both) == 2 else (np.nan,) * 3
glue("follow-ratio", f"{ratio:.0f}" if np.isfinite(ratio) else "not defined", display=False)
if len(both) < 2:
    reading = "No neuron is selected, so there is nothing to compare with the random ones."
elif not np.isfinite(ratio):
    reading = (
        "Random neurons are never followed by their token; selected ones are, at the rates above."
    )
else:
    reading = (
        f"Selected neurons are followed by their token {ratio:.0f} times as often as the random "
        f"neurons matched to them (95 % interval {low:.0f} to {high:.0f})."
    )
Markdown(f"On `{reported}`: {reading}")

# %% [markdown]
# Would congruence have found them? The table counts sound neurons by their rank in their layer, in
# the order of congruence:

# %%
place = train[train.neuron.isin(chosen)]
place = pd.cut(place["rank"], [0, 20, 50, 100, 200, 500, np.inf], labels=[
    "1-20", "21-50", "51-100", "101-200", "201-500", "beyond"])  # fmt: skip
place.value_counts(sort=False).rename("sound neurons").rename_axis("rank in its layer").to_frame()

# %% [markdown]
# ## Two samples of prompts
#
# The strongest documents are often all of one kind, which hides the specialisation we look for. So
# a *spread* sample stands beside them ({term}`spread sample`): in turn one document from every band
# of activation between half of the maximum and the maximum, chosen at random, with only a few from
# one section of a text, and none that is taken twice.


# %%
def top_sample(split: str) -> pd.DataFrame:
    first = settings.top_per_neuron or settings.prompts_per_neuron
    return strongest[split][strongest[split].order < first].assign(sample="top")


def spread_sample(split: str) -> pd.DataFrame:
    rows = candidates[split]
    taken = pd.MultiIndex.from_frame(top_sample(split)[["neuron", "prompt"]])
    rows = rows[~pd.MultiIndex.from_frame(rows[["neuron", "prompt"]]).isin(taken)]
    top = rows.groupby("neuron").activation.transform("max")
    rows = rows[rows.activation >= (0.5 - 1e-4) * top]
    rows = rows.groupby(["neuron", "source"], sort=False).head(settings.prompts_per_file)
    rows = rows.assign(turn=rows.groupby(["neuron", "band"], sort=False).cumcount())
    rows = rows.sort_values(["turn", "band"], kind="stable").groupby("neuron", sort=False)
    return rows.head(getattr(settings.spread_per_neuron, split)).assign(sample="spread")


# %% tags=["hide-input"]
def on_the_prompt(rows: pd.DataFrame, reader: Model) -> np.ndarray:
    """Measure each row's neuron on its prompt by itself."""
    reads = [
        texts[split].by_key(prompt).ids[: at + 1]
        for split, prompt, at in zip(rows.split, rows.prompt, rows.position, strict=True)
    ]
    return activations(reader, [Neuron.parse(name) for name in rows.neuron], reads)


# Another processor rounds otherwise. What lies close to the edge of a band is measured in float64, so
# that the same documents are drawn everywhere.
def close_to_an_edge(rows: pd.DataFrame) -> pd.DataFrame:
    level = BANDS * np.log2(rows.activation.astype(float))
    return rows[(level - level.round()).abs() < BANDS * np.log2(1 + 1e-4)]


def in_their_bands(rows: pd.DataFrame, near: pd.DataFrame) -> pd.DataFrame:
    precise = load_model(settings.model, exact=True)
    before, after = torch.tensor(near.activation.array), torch.tensor(on_the_prompt(near, precise))
    moved = pd.Series((level_of(after) - level_of(before)).long(), near.index)
    bands = rows.band - moved.reindex(rows.index, fill_value=0)
    rows = rows.assign(band=bands, lot=rows.prompt.map(lot_of))
    return rows.sort_values(["band", "lot"], kind="stable").drop(columns="lot")


# %% [markdown]
# ```{admonition} Differs from the paper
# :class: note
# The paper takes the strongest documents only; so does `protocol: paper`.
# ```

# %%
examined = [Neuron.parse(name) for name in rates[rates.examined].neuron.unique()]
samples = {"paper": [top_sample], "sound": [top_sample, spread_sample]}[settings.protocol]
candidates = {}
if spread_sample in samples:
    for split in texts:
        rows = maxima_table(scans[split].spread, scans[split], texts[split], examined)
        candidates[split] = rows.assign(split=split)
if sum(weight.numel() for weight in model.bridge.parameters()) < 10**9:
    for split, rows in candidates.items():
        near = close_to_an_edge(rows)
        candidates[split] = in_their_bands(rows, near)

# %%
made = [draw(split).assign(split=split) for split in texts for draw in samples]
prompts = pd.concat(made, ignore_index=True)
prompts = prompts[prompts.neuron.isin([str(neuron) for neuron in examined])]
order = {str(neuron): place for place, neuron in enumerate(examined)}
prompts["place"] = prompts.neuron.map(order)
by = ["place", "split", "sample", "activation", "prompt"]
ascending = [True, False, False, False, True]
prompts = prompts.sort_values(by, ascending=ascending).reset_index(drop=True)
prompts.groupby(["split", "sample"], sort=False).size().rename("prompts").to_frame()

# %% [markdown]
# ## Check and save
#
# Later chapters read a prompt by itself: the BOS and the document up to the position. The scan
# reads whole documents; {glue:text}`measured-again` prompts, spread over all, are measured again by
# themselves to show that this gives the same. Prompts on which the neuron does not fire at all are
# counted and left out:

# %%
rows = prompts.iloc[:: max(1, len(prompts) // 1000)]
assert np.allclose(on_the_prompt(rows, model), rows.activation, rtol=1e-3, atol=1e-4)
glue("measured-again", len(rows), display=False)

# %%
silent = int((prompts.activation <= 0).sum())
prompts = prompts[prompts.activation > 0].drop(columns=["place", "turn", "order"], errors="ignore")
Markdown(
    f"{silent} prompts do not make their neuron fire and are left out; {len(prompts)} remain."
    if silent
    else f"Every one of the {len(prompts)} prompts makes its neuron fire."
)

# %%
assert not prompts.duplicated(["neuron", "split", "prompt"]).any()
spread = prompts[prompts["sample"] == "spread"]
assert spread.groupby(["neuron", "split", "source"]).size().le(settings.prompts_per_file).all()
documents = {split: one.digest for split, one in texts.items()}
columns = [
    "neuron", "split", "layer", "index", "sign", "token", "token_id", "group", "positions",
    "follow_rate", "paper_follow_rate", "base_rate", "p", "q", "sound", "examined", "selected",
    "strongest", "frequency", "matched_to",
]  # fmt: skip
facts = {"model": model, "documents": documents, "seconds": stopwatch.seconds}
save(settings, "follow_rates", rates[columns], **facts)
save(settings, "prompts", prompts, **facts)
Markdown(f"Saved `follow_rates` ({len(rates)} rows) and `prompts` ({len(prompts)} rows).")

# %% [markdown] tags=["default-run"]
# Fewer than one neuron in a hundred is sound, and in the middle layers the share is less than half
# of that. Congruence by itself would not have found them: most neurons on the paper's list are not
# sound, and most sound neurons are not among the first fifty of their layer. On texts that chose
# nothing, the tokens of selected neurons follow about ten times as often as those of matched random
# ones. Even so, for half of the selected neurons the token follows in about a third of the
# strongest positions or less: sound means far more often than chance, not nearly always.

# %% [markdown]
# ## What we know
#
# We know which neurons act as next-token neurons on texts they were not chosen on, how often, and
# where in their texts. What in those texts matters is not known: a document of a hundred tokens
# made the neuron fire, and most of them may be idle. That is the question of {ref}`truncation`.
#
# ```{admonition} Try it
# :class: tip
# Write `prompts: mine.txt` into a copy of the run file, one prompt a line. Which of the neurons
# fire at the last token of your prompts?
# ```
