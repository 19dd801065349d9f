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
import shutil

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
from lookups.explain.running_example import running_neurons
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
# ## One neuron, one text
#
# We begin with one neuron that reads one text token by token. The
# {term}`beginning-of-sequence token <BOS>` in front never counts as a maximum, and neither does the last
# token of a document, which has no successor:

# %% tags=["hide-input"]
listed = neurons[(neurons.group == "top") & neurons.layer.isin(settings.layers)]
listed = listed.sort_values("congruence", ascending=False, kind="stable")
named = neurons.set_index("neuron", drop=False).reindex(settings.examples).dropna(how="all")
most = (named if len(named) else listed).iloc[0]
example, called = Neuron.parse(most.neuron), f"the “{readable(most.token)}” neuron ({most.neuron})"
holding = [
    (one.ids, at) for one in texts["train"] for at in np.flatnonzero(one.ids[:28] == most.token_id)
    if at >= 4
][:20]  # fmt: skip
before = activations(model, [example] * len(holding), [ids[:at] for ids, at in holding]) if holding else []  # fmt: skip
ids = (holding[int(np.argmax(before))][0] if holding else texts["train"][0].ids)[:31]
curve = activations(model, [example] * len(ids), [ids[: n + 1] for n in range(len(ids))])
token_view(
    [BOS, *(model.vocabulary[token] for token in ids)],
    [0.0, *curve],
    name="fig-one-text",
    look_for=f"The darkest token is where {called} fires most; the token after it is what follows.",
)

# %% tags=["hide-input"]
at = int(np.argmax(curve[:-1])) if len(ids) > 1 else 0
Markdown(
    f"Of the first train documents that hold the neuron's token near their beginning ({len(holding)}), we show that in which "
    f"{called} fires most right before it. Its maximum is at “{readable(model.vocabulary[ids[at]])}”, and what follows is "
    f"“{readable(model.vocabulary[ids[at + 1]])}”."
    if holding
    else f"No train document holds the neuron's token near its beginning, so {called} reads the first one."
)  # fmt: skip

# %% [markdown]
# ## All neurons, all texts
#
# {func}`~lookups.measure.scan.scan` reads all documents once and keeps, for every neuron, those that make
# it fire most strongly, and a few chosen at random from each band of activation from half of its maximum up.
# The two splits share no text: everything is *chosen* on `train` and *reported* on `test`.

# %% tags=["hide-input"]
per_band = {split: 2 + 2 * size // BANDS for split, size in settings.spread_per_neuron}
layers = sorted({*settings.middle_layers, *settings.layers})
scans = {}
for split, documents in texts.items():
    with tqdm(total=len(documents), desc=f"scan {split}") as bar:
        scans[split] = scan(
            model, documents, layers, strongest=settings.prompts_per_neuron,
            per_band=per_band[split], only_last=settings.prompts is not None,
            kept_in=settings.place("scan") / split, progress=bar.update,
        )  # fmt: skip

# %% tags=["hide-input"]
strongest = {s: maxima_table(scans[s].strongest, scans[s], texts[s]) for s in texts}


def quoted(name: str, token: str, most: int) -> list[tuple]:
    """The ends of a neuron's strongest train documents, with what followed."""
    rows = strongest["train"][strongest["train"].neuron == name].head(most)
    quotes = []
    for row in rows.itertuples():
        before = texts["train"].by_key(row.prompt).ids[max(0, row.position - 11) : row.position + 1]
        followed = model.vocabulary[row.next_token_id] if row.next_token_id >= 0 else None
        quotes.append((model.decode(before), token, row.source, followed))
    return quotes


prompt_table({f"strongest documents of {called}": quoted(most.neuron, most.token, 6)})

# %% [markdown]
# ## How often does the token follow?
#
# The {term}`follow rate` is the share of a neuron's strongest positions whose next token is the
# neuron's own. Its {term}`base rate` is the token's share among all next tokens. Under chance the
# number of successes is binomial; `p` is its upper tail, and `q` corrects it over all neurons of
# the run's layers {cite}`benjamini1995`.


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


# %% tags=["hide-input"]
def judged(split: str) -> pd.DataFrame:
    table = follow_rates(split)
    late = table.layer.isin(settings.layers)
    for some in (late, ~late):
        table.loc[some, "q"] = false_discovery_control(table.p[some])
    return table


glue("follow-share", percent(settings.follow_share), display=False)
glue("follow-lift", f"{settings.follow_lift:g}", display=False)
glue("follow-q", f"{settings.false_discovery_rate:g}", display=False)

# %% tags=["hide-input"]
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
# `protocol: sound` the run examines sound neurons, and the first of the list as well.
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


# %% tags=["hide-input"]
def selected_by(protocol: str) -> set[str]:
    named = settings.neurons is not None or settings.tokens is not None
    if protocol == "paper" or named or settings.prompts is not None:
        return set(top.neuron)
    return sound_selection()


top = train[(train.group == "top") & train.layer.isin(settings.layers)]
rates["selected"] = rates.neuron.isin(selected_by(settings.protocol))

# %% tags=["hide-input"]
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

# %% tags=["hide-input"]
among = train[train.neuron.isin(chosen)]
Markdown(
    f"Would congruence alone have found them? Of the {len(among)} sound neurons, "
    f"{int((among['rank'] <= 20).sum())} are among the 20 most congruent of their layer, and "
    f"{int((among['rank'] > 100).sum())} are not even among the first hundred."
) if len(among) else None

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
# is chosen at random.


# %% tags=["hide-input"]
def traits_of(rows: pd.DataFrame) -> np.ndarray:
    base = rows.base_rate + 1 / max(1, int(scans["train"].successors.sum()))
    return np.log(np.stack([rows.strongest.clip(1e-3), rows.frequency.clip(1e-4), base], axis=1))


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


# %% tags=["hide-input"]
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
# ## On texts that chose nothing
#
# Neurons that were chosen for a high rate were partly lucky, so their rates on `train` are too
# high. {numref}`fig-follow` shows the rates on `test`:

# %% tags=["hide-input"] mystnb={"figure": {"caption": "How often a neuron's token follows, on texts that were not used to choose it. Each dot is a neuron, the bar is the median of its group. If the choice rests on more than luck, selected and sound neurons stand far above the random ones that are matched to them.", "name": "fig-follow"}, "image": {"alt": "Follow rates on held-out texts by group of neurons"}}
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

# %% tags=["hide-input"]
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


# %% tags=["hide-input"]
def ratio_of_means(one: np.ndarray, other: np.ndarray, draws: int = 5000) -> np.ndarray:
    """The ratio of two means and its 95 % interval, neurons resampled within each group."""
    random = np.random.default_rng(settings.seed)
    means = [
        some[random.integers(len(some), size=(draws, len(some)))].mean(1) for some in (one, other)
    ]
    ratios = np.divide(*means, out=np.full(draws, np.inf), where=means[1] > 0)
    middle = one.mean() / other.mean() if other.mean() else np.inf
    return np.array([middle, *np.quantile(ratios, [0.025, 0.975], method="nearest")])


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
# (running-example)=
# ## The running example
#
# From here on every chapter looks at two neurons by hand before it measures all of them. They are
# chosen by a rule that works in every run: first the selected neurons that the run file names
# (`examples`), then those with the highest follow rates on `train`, each for a token of its own
# ({func}`~lookups.explain.running_example.running_neurons`). Later chapters take the head that
# makes the largest difference to a neuron, and a typical prompt on which that head is active and which
# the token follows: the one of median activation. A neuron for which no head is kept is replaced by the
# neuron whose head makes the largest difference.

# %%
by_hand = running_neurons(settings, rates)
by_hand

# %% tags=["hide-input"]
of_split = {split: rates[rates.split == split].set_index("neuron") for split in texts}
HOW = {True: "named in the run file", False: "found by its follow rate"}
token_of = of_split["train"].token
told = [f"the “{readable(token_of[name])}” neuron ({name}), {HOW[name in settings.examples]}" for name in by_hand]  # fmt: skip
unlike = bool(by_hand) and not of_split["train"].selected[by_hand].all()
Markdown(
    (f"In this run they are {', and '.join(told)}." if by_hand else "No neuron of this run is examined, so there is no example.")
    + (" No neuron is selected here, so the example comes from those that are examined." if unlike else "")
)  # fmt: skip

# %% tags=["hide-input"]
pd.DataFrame(
    {
        f"{name} “{readable(token_of[name])}”": {
            f"follow rate on {split}": percent(of_split[split].follow_rate[name]) for split in texts
        }
        | {
            "base rate of the token": percent(of_split[reported].base_rate[name], digits=2),
            "rank by congruence in its layer": int(of_split["train"]["rank"][name]),
            "documents in which it reaches half its maximum": percent(
                of_split[reported].frequency[name], digits=1
            ),
        }
        for name in by_hand
    }
)

# %% [markdown]
# These are the texts of `train` in which the two fire most strongly, with what really followed:

# %% tags=["hide-input"]
prompt_table(
    {
        f"the “{readable(token_of[name])}” neuron": quoted(name, token_of[name], 5)
        for name in by_hand
    }
)

# %% [markdown] tags=["default-run"]
# In the default run these two were chosen with the results at hand, so that a reader sees one whole
# look-up and one that fails in an instructive way; they are not evidence for how often look-ups are
# found, for which every chapter measures all of them. The “ result” neuron, the whole one, is what we
# hoped to find: most of its strongest texts end in *as a* or in something close to it, and *result*
# follows. The “ or” neuron is one of those that congruence hides. Its weights point at “ Or” more than
# at “ or”, and it is far down in the order of its layer; but its strongest texts are about
# alternatives, and seven in ten of its strongest held-out positions are followed by *or*. What fails
# is not visible here: it will show when we ask whether its head acts through this neuron.

# %% [markdown]
# ## Two samples of prompts
#
# The strongest documents are often all of one kind, which hides the specialisation that we look for.
# So later chapters also read a *spread* sample ({term}`spread sample`): in turn one document from every
# band of activation between half of the maximum and the maximum, chosen at random, with only a few from
# one section of a text, and none that is taken twice.


# %% tags=["hide-input"]
def top_sample(split: str) -> pd.DataFrame:
    first = settings.top_per_neuron or settings.prompts_per_neuron
    return strongest[split][strongest[split].order < first].assign(sample="top")


# %%
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

# %% tags=["hide-input"]
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

# %% tags=["hide-input"]
made = [draw(split).assign(split=split) for split in texts for draw in samples]
prompts = pd.concat(made, ignore_index=True)
prompts = prompts[prompts.neuron.isin([str(neuron) for neuron in examined])]
order = {str(neuron): place for place, neuron in enumerate(examined)}
prompts["place"] = prompts.neuron.map(order)
by = ["place", "split", "sample", "activation", "prompt"]
ascending = [True, False, False, False, True]
prompts = prompts.sort_values(by, ascending=ascending).reset_index(drop=True)
sizes = prompts.groupby(["split", "sample"], sort=False).size()

# %% tags=["hide-input"]
# Later chapters read a prompt by itself: the BOS and the document up to the position. The scan reads
# whole documents; some prompts are measured again by themselves to show that this gives the same.
rows = prompts.iloc[:: max(1, len(prompts) // 1000)]
assert np.allclose(on_the_prompt(rows, model), rows.activation, rtol=1e-3, atol=1e-4)
silent = int((prompts.activation <= 0).sum())
prompts = prompts[prompts.activation > 0].drop(columns=["place", "turn", "order"], errors="ignore")
Markdown(
    f"{silent} prompts do not make their neuron fire and are left out; {len(prompts)} remain."
    if silent
    else f"Every one of the {len(prompts)} prompts makes its neuron fire."
)

# %% tags=["hide-input"]
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
shutil.rmtree(
    settings.place("scan"), ignore_errors=True
)  # what a scan that was stopped goes on from
Markdown(f"Saved `follow_rates` ({len(rates)} rows) and `prompts` ({len(prompts)} rows).")

# %% [markdown]
# ## What we know
#
# We know which neurons act as next-token neurons on texts they were not chosen on, how often, and
# where in their texts.

# %% [markdown] tags=["default-run"]
# Fewer than one neuron in a hundred is sound, and in the middle layers the share is less than half
# of that. Congruence by itself would not have found them: most neurons on the paper's list are not
# sound, and most sound neurons are not among the first fifty of their layer. On texts that chose
# nothing, the tokens of selected neurons follow about ten times as often as those of matched random
# ones. Even so, for half of the selected neurons the token follows in about a third of the
# strongest positions or less: sound means far more often than chance, not nearly always.

# %% [markdown]
# We do not know what in those texts matters. A document of a hundred tokens made the neuron fire, and
# most of them may be idle.
#
# ## Exercises
#
# **1.** How likely is it that chance alone gives the first neuron of the running example its follow rate
# on `train`? Work it out from its base rate.

# %% tags=["hide-cell"]
# By chance each of its strongest positions is followed by the token with the base rate, so the number
# of hits is binomial, and its upper tail is the `p` of the table.
if by_hand:
    row = of_split["train"].loc[by_hand[0]]
    by_chance = float(binom(int(row.positions), row.base_rate).sf(int(row.hits) - 1))
    assert np.isclose(by_chance, row.p)
f"{int(row.hits)} of {int(row.positions)}, by chance {by_chance:.0e}" if by_hand else None

# %% [markdown]
# **2.** How much of the follow rates on `train` was luck? Compare the mean over the sound neurons on both
# splits.

# %% tags=["hide-cell"]
# Their rates on `train` are all above the threshold because they were chosen so. What is missing from
# the mean on the other split was luck.
found = {split: of_split[split].loc[list(chosen)].follow_rate for split in texts}
assert (found["train"] >= settings.follow_share).all()
{split: f"{one.mean():.2f}" for split, one in found.items()}

# %% [markdown]
# How much of a text does a neuron need? That is the question of {ref}`truncation`.
#
# ## Appendix: tables
#
# How well the control neurons match (medians over the selected neurons that have a control, and over the
# controls), the sound neurons by their rank in their layer in the order of congruence, and the number of
# prompts in each sample:

# %% tags=["hide-input", "hide-output"]
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

# %% tags=["hide-input", "hide-output"]
place = pd.cut(among["rank"], [0, 20, 50, 100, 200, 500, np.inf], labels=[
    "1-20", "21-50", "51-100", "101-200", "201-500", "beyond"])  # fmt: skip
place.value_counts(sort=False).rename("sound neurons").rename_axis("rank in its layer").to_frame()

# %% tags=["hide-input", "hide-output"]
sizes.rename("prompts").to_frame()
