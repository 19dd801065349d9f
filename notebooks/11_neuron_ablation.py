# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# (neuron-ablation)=
# # Does the neuron matter?
#
# A {term}`next-token neuron` is said to call for its token. Then without it the token should be less likely
# where the neuron fires, nothing should be lost where it is silent, and switching it on should bring the
# token up. We do all three, and do the same with other neurons and look at other tokens.
#
# | needs | leaves |
# | --- | --- |
# | `02_neurons`, `03_suffixes` from {ref}`prompts` and {ref}`truncation` | `08_neuron_ablations`: the token, with the neuron and without |
# | the run's documents | |

# %% tags=["parameters"]
# Everything else stands in the run's file.
run: str = "smollm2"  # a run's id, or a path to its .yml

# %% tags=["hide-input"]
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from IPython.display import Markdown
from myst_nb import glue

from lookups.artifacts import Stopwatch, load, save
from lookups.before_after import before_after, of_group, with_falls
from lookups.documents import run_documents
from lookups.effects import written
from lookups.figures import COLOURS, house_style
from lookups.firing import activations
from lookups.intervals import Estimate, bootstrap_mean
from lookups.lots import lots_of
from lookups.means import measure_means
from lookups.model import load_model
from lookups.names import Neuron
from lookups.neuron_ablation import ablate_neurons
from lookups.runs import check_run, read_run
from lookups.views import LONGEST, PromptText, prompt_table, readable

settings = read_run(run)
model = load_model(settings.model)
check_run(settings, model)
house_style()
stopwatch = Stopwatch()
neurons = load(settings, "02_neurons").drop_duplicates("neuron").set_index("neuron")
suffixes = load(settings, "03_suffixes")
NOTHING = Markdown("*This run has no neuron to silence, so there is nothing to show here.*")

# %% [markdown]
# ## Three kinds of text
#
# The selected neurons, and beside them the random ones, each with its own token. Held-out texts of three
# kinds, at most {glue:text}`each-kind` of each for a neuron, drawn by lot:
#
# - `fires`: the neuron's own cut prompts. Its token may follow or not.
# - `follows_silent`: the token follows, but the neuron is silent: below {glue:text}`silent-share` of its
#   strongest activation on `train`.
# - `other`: another token follows.
#
# The last two are drawn from all positions of the held-out documents; a text ends at its position and begins
# at most {glue:text}`longest-text` tokens before. (Where a run has no `test`, its only split is read.)

# %%
MOST, SILENT = 40, 0.1
reported = "test" if (suffixes.split == "test").any() else "train"
examined = neurons[neurons.selected | (neurons.group == "random")]
strongest = suffixes[suffixes.split == "train"].groupby("neuron").whole_activation.max()
typical = suffixes[suffixes.split == "train"].groupby("neuron").activation.median()
examined = examined[examined.index.isin(strongest.index)]
documents = run_documents(settings, model, reported)
glue("each-kind", MOST, display=False)
glue("silent-share", f"{SILENT:.0%}", display=False)
glue("longest-text", settings.longest, display=False)

# %% tags=["hide-input"]
streams = [documents[row] for row in range(len(documents))]
document = np.repeat(np.arange(len(streams)), [max(0, len(one.ids) - 1) for one in streams])
position = np.concatenate([np.arange(max(0, len(one.ids) - 1)) for one in streams])
following = np.concatenate([np.asarray(one.ids[1:], dtype=np.int64) for one in streams])


def texts_at(places: np.ndarray) -> list[list[int]]:
    """The tokens up to each place, at most as many as a cut prompt may have."""
    found = []
    for place in places:
        stop = int(position[place]) + 1
        ids = streams[document[place]].ids[max(0, stop - settings.longest) : stop]
        found.append([int(token) for token in ids])
    return found


# %%
def firing(neuron: str) -> pd.DataFrame:
    """Cut prompts of the neuron that read like none of train, drawn by lot."""
    mine = suffixes[(suffixes.neuron == neuron) & (suffixes.split == reported)]
    mine = mine[~mine.also_in_train] if reported == "test" else mine
    lots = lots_of(settings.seed, "fires", neuron).permutation(len(mine))[:MOST]
    columns = ["neuron", "split", "prompt", "token_ids", "next_token_id"]
    return mine.iloc[np.sort(lots)][columns].assign(context="fires")


# %%
def elsewhere(neuron: str, follows: bool) -> pd.DataFrame:
    """Texts from all positions after which the token follows, or another one."""
    places = np.flatnonzero((following == neurons.token_id[neuron]) == follows)
    lots = lots_of(settings.seed, "elsewhere", neuron, str(follows))
    places = np.sort(lots.choice(places, min(len(places), 3 * MOST if follows else MOST), replace=False))  # fmt: skip
    keys = [f"{streams[document[p]].key}@{position[p]}" for p in places]
    rows = {"neuron": neuron, "split": reported, "prompt": keys, "token_ids": texts_at(places)}
    context = "follows_silent" if follows else "other"
    return pd.DataFrame(rows).assign(next_token_id=following[places], context=context)


# %%
drawn = [table for name in examined.index for table in (firing(name), elsewhere(name, True), elsewhere(name, False))]  # fmt: skip
rows = pd.concat(drawn, ignore_index=True) if drawn else firing("").assign(neuron="")
rows["token_id"] = rows.neuron.map(neurons.token_id)
rows["activation"] = activations(
    model, rows.neuron.map(Neuron.parse).tolist(), rows.token_ids.tolist()
) if len(rows) else 0.0  # fmt: skip
silent = rows.activation < SILENT * rows.neuron.map(strongest)
looked_at = rows.context.value_counts()
rows = rows[silent | (rows.context != "follows_silent")]
rows = rows[rows.groupby(["neuron", "context"]).cumcount() < MOST].reset_index(drop=True)
rows["follows"] = rows.next_token_id == rows.token_id

# %% [markdown]
# How often is a neuron silent where its token follows? A token can be called for by several neurons, and
# foretold without any:

# %% tags=["hide-input"]
CONTEXTS = ["fires", "follows_silent", "other"]
was_silent = pd.concat(drawn, ignore_index=True) if drawn else rows
was_silent = was_silent[["neuron", "context"]].assign(silent=silent.to_numpy(bool)) if drawn else was_silent.assign(silent=False)  # fmt: skip
table = {}
for name in ("selected", "random"):
    mine, asked = of_group(rows, neurons, name), of_group(was_silent, neurons, name)
    asked = asked[asked.context == "follows_silent"].groupby("neuron").silent.mean()
    table[name] = {"neurons": mine.neuron.nunique()}
    table[name] |= {f"texts, {c}": int((mine.context == c).sum()) for c in CONTEXTS}
    table[name]["token follows where it fires"] = (
        f"{mine[mine.context == 'fires'].follows.mean():.2f}"
    )
    table[name]["silent where the token follows"] = written(
        bootstrap_mean(asked, asked.index, seed=settings.seed), digits=2
    )
pd.DataFrame(table)

# %% [markdown]
# ## One neuron by hand
#
# The selected neuron whose token follows it most often on `train`, on its strongest prompt. We set its
# activation to zero wherever it is read, and look at the token:

# %%
pool = examined[examined.selected] if examined.selected.any() else examined
pool = pool[pool.index.isin(rows[rows.context == "fires"].neuron)]
pool = pool.sort_values(["follow_rate", "layer", "index"], ascending=[False, True, True])
hand = pool.index[0] if len(pool) else None
if hand:
    neuron, token_id = Neuron.parse(hand), int(neurons.token_id[hand])
    mine = rows[(rows.neuron == hand) & (rows.context == "fires")]
    short = mine[mine.token_ids.map(len) < LONGEST]
    shown = (short if len(short) else mine).sort_values("activation", kind="stable").iloc[-1]
    ids = [int(i) for i in shown.token_ids]
f"{hand}, “{readable(neurons.token[hand])}”, at the end of “{readable(model.decode(ids))}”" if hand else NOTHING  # fmt: skip


# %%
def p_with(activation: float | None) -> float:
    def hold(post, hook):
        post = post.clone()
        post[:, 1:, neuron.index] = neuron.sign * activation  # BOS is left as it is
        return post

    hooks = [] if activation is None else [(f"blocks.{neuron.layer}.mlp.hook_post", hold)]
    with model.bridge.hooks(fwd_hooks=hooks):
        logits = model.logits(model.batch([ids]))
    return float(logits[0, -1].double().softmax(-1)[token_id])


by_hand = {"as it is": p_with(None), "set to zero": p_with(0.0)} if hand else {}
pd.Series(by_hand, dtype=float).round(3).rename("p(token)").to_frame() if hand else NOTHING

# %% [markdown]
# ## Silenced, and switched on
#
# | kind | the neuron's activation is held at | at |
# | --- | --- | --- |
# | `zero` | zero | every position but {term}`BOS` |
# | `mean` | its mean over tokens of training documents | every position but BOS |
# | `on` | the median of its own train prompts | the last position, where the neuron was silent |
#
# Two {term}`controls <control>` on the same texts. *Other neuron*: one of the same layer is held in its place
# and the same token is read. It is drawn by lot from the ten, of those with other tokens, whose mean activation
# where the neuron fires is nearest to its own. *Other token*: the neuron is held, and the token of another examined neuron is read.
# A next-token neuron moves its own token, and neither control does.

# %%
train = run_documents(settings, model, "train")
texts = [train[row].ids for row in range(min(1000, len(train)))]
layers = sorted({Neuron.parse(name).layer for name in rows.neuron} or {0})
means = measure_means(model, texts, layers)


def beside(neuron: str) -> tuple[str, float] | None:
    """A neuron of the layer that is about as active where this one fires; its mean activation."""
    own, fires = Neuron.parse(neuron), rows[(rows.neuron == neuron) & (rows.context == "fires")]
    if not len(fires):
        return None
    post = model.activations_at_last(fires.token_ids.tolist(), [own.layer])[own.layer]
    mean = own.sign * post.double().mean(0).cpu().numpy()
    alike = neurons[(neurons.layer == own.layer) & (neurons.token_id == neurons.token_id[neuron])]
    others = np.setdiff1d(np.arange(model.d_mlp), [own.index, *alike["index"]])
    near = others[np.argsort(np.abs(mean[others] - mean[own.index]), kind="stable")[:10]]
    if not len(near):
        return None
    index = int(lots_of(settings.seed, "beside", neuron).choice(np.sort(near)))
    return str(Neuron(own.layer, index, own.sign)), float(mean[index])


# %%
partners = {name: beside(name) for name in rows.neuron.unique()}


def other_token(neuron: str) -> int | None:
    """The token of another examined neuron."""
    tokens = np.unique(examined.token_id[examined.token_id != neurons.token_id[neuron]])
    return int(lots_of(settings.seed, "token", neuron).choice(tokens)) if len(tokens) else None


spare = {name: other_token(name) for name in rows.neuron.unique()}
variants = {
    "none": rows.assign(held=rows.neuron),
    "other neuron": rows.assign(held=rows.neuron.map(lambda n: partners[n] and partners[n][0])),
    "other token": rows.assign(held=rows.neuron, token_id=rows.neuron.map(spare)),
}
variants = {name: some.dropna(subset=["held", "token_id"]) for name, some in variants.items()}

# %%
KEYS = ["neuron", "group", "split", "prompt", "context", "follows", "control", "held", "token_id"]


def measured(some: pd.DataFrame, kinds: list) -> pd.DataFrame:
    found = ablate_neurons(
        model, some.token_ids.tolist(), some.held.map(Neuron.parse).tolist(),
        some.token_id.astype(int).tolist(), kinds, means=means,
        on=some.neuron.map(typical).tolist(),
    )  # fmt: skip
    return before_after(some[KEYS], found)


every = [some.assign(control=name, group=some.neuron.map(neurons.group)) for name, some in variants.items()]  # fmt: skip
every = pd.concat(every, ignore_index=True)
off = every[(every.context != "fires") & (every.activation < SILENT * every.neuron.map(strongest))]
asked = [(every, ["zero", "mean"]), (off, ["on"])]
tables = [measured(some, kinds) for some, kinds in asked if len(some)]
COLUMNS = [f"{what}_{when}" for what in ("p", "logp", "pre", "act") for when in ("before", "after")]
nothing = pd.DataFrame(columns=[*KEYS, "kind", *COLUMNS])
effects = pd.concat(tables, ignore_index=True) if tables else nothing
effects = with_falls(effects.astype({"follows": bool} | dict.fromkeys(COLUMNS, float)))

# %% [markdown]
# The prompt from above comes out the same, and a neuron that is held at zero *is* at zero:

# %%
if hand:
    is_it = (effects[["neuron", "prompt", "kind", "control", "context"]] == [hand, shown.prompt, "zero", "none", "fires"]).all(axis=1)  # fmt: skip
    same = effects[is_it].iloc[0]
    assert model.dtype.itemsize < 4 or np.allclose([same.p_before, same.p_after], [*by_hand.values()], atol=1e-4)  # fmt: skip
assert (effects[effects.kind == "zero"].act_after == 0).all()
effects.groupby(["kind", "context", "control"]).size().unstack("control") if len(
    effects
) else NOTHING


# %% [markdown]
# ## What is lost without it
#
# The mean over neurons of each neuron's mean fall, with a {term}`bootstrap` over neurons: in percentage points
# of p(token), and in nats of its logarithm ({numref}`fig-neuron-silenced`). The neuron matters if its token falls where
# it fires, and more than with the controls.


# %%
def over_neurons(some: pd.DataFrame, change: str) -> Estimate:
    means_of = some.groupby("neuron")[change].mean()
    return bootstrap_mean(means_of, means_of.index, seed=settings.seed)


def points(found: Estimate) -> str:
    return written(found, times=100, digits=2)


CONTROLS = ["none", "other neuron", "other token"]


def part_of(group: str, context: str, kind: str, control: str) -> pd.DataFrame:
    some = of_group(effects, neurons, group)
    return some[(some.context == context) & (some.kind == kind) & (some.control == control)]


# %% tags=["hide-input"] mystnb={"figure": {"caption": "Fall of log p(token) when a neuron is set to zero, mean over selected neurons with 95 % intervals from drawing neurons again, by kind of text. Filled: the neuron and its own token. Square: another neuron of the layer, about as active. Triangle: the neuron, another token. A next-token neuron's filled mark lies far to the right in the first row, and at zero where it is silent.", "name": "fig-neuron-silenced"}, "image": {"alt": "Mean falls of log probability by context and control"}}
MARKS = {"none": "o", "other neuron": "s", "other token": "^"}
figure, axis = plt.subplots(figsize=(6.6, 2.8))
for place, context in enumerate(CONTEXTS):
    for shift, control in enumerate(CONTROLS):
        mean = over_neurons(part_of("selected", context, "zero", control), "log_fall")
        at, colour = place + 0.22 * (shift - 1), COLOURS["blue" if control == "none" else "grey"]
        axis.hlines(at, mean.low, mean.high, color=colour)
        axis.plot(mean.mean, at, MARKS[control], color=colour, label=None if place else control,
                  fillstyle="full" if control == "none" else "none")  # fmt: skip
axis.axvline(0, color="black", linewidth=0.8)
axis.set_yticks(range(len(CONTEXTS)), CONTEXTS)
axis.invert_yaxis()
axis.set(xlabel="fall of log p(token), nats")
axis.legend(title="control", bbox_to_anchor=(1.01, 1), loc="upper left")
plt.show()
table = {}
for group in ("selected", "random"):
    for context in CONTEXTS:
        for control in CONTROLS:
            some = part_of(group, context, "zero", control)
            table[group, context, control] = {
                "neurons": some.neuron.nunique(),
                "p before": f"{some.groupby('neuron').p_before.mean().mean():.3f}",
                "fall of p, points": points(over_neurons(some, "fall")),
                "fall of log p": written(over_neurons(some, "log_fall")),
                "to the mean instead": written(over_neurons(part_of(group, context, "mean", control), "log_fall")),
            }  # fmt: skip
pd.DataFrame(table).T.rename_axis(["neurons", "texts", "control"])

# %% [markdown]
# Where the neuron fires but its token does not follow, does it call for it all the same? And is the control
# fair: how active are the neurons that were held in its place?

# %%
table = {}
for group in ("selected", "random"):
    some = part_of(group, "fires", "zero", "none")
    other = part_of(group, "fires", "zero", "other neuron")
    table[group] = {
        "fall of log p, token follows": written(over_neurons(some[some.follows], "log_fall")),
        "another token follows": written(over_neurons(some[~some.follows], "log_fall")),
        "activation": written(over_neurons(some, "act_before"), digits=2),
        "activation of the other neuron": written(over_neurons(other, "act_before"), digits=2),
    }
pd.DataFrame(table).T

# %% [markdown]
# ## Each neuron by itself
#
# In {numref}`fig-each-neuron` a dot is a neuron. A list of next-token neurons may hold some that carry their
# token and many that only go along with it.

# %% tags=["hide-input"] mystnb={"figure": {"caption": "Share of neurons (up) whose token falls by at least so much (across) when the neuron is set to zero on prompts that fire it. Blue: selected neurons; orange: another neuron of the layer held in their place; grey: random neurons and their own tokens.", "name": "fig-each-neuron"}, "image": {"alt": "Survival curves of each neuron's mean fall of log probability"}}
figure, axis = plt.subplots(figsize=(6.0, 3.2))
curves = {
    "selected": ("selected", "none", "blue"),
    "another in their place": ("selected", "other neuron", "orange"),
    "random": ("random", "none", "grey"),
}
table, bars = {}, (0.0, 0.01, 0.1, 0.5)
for name, (group, control, colour) in curves.items():
    each = part_of(group, "fires", "zero", control).groupby("neuron").log_fall.mean().sort_values()
    if len(each):
        axis.step([*each, each.iloc[-1]], [*(1 - np.arange(len(each)) / len(each)), 0], where="pre",
                  color=COLOURS[colour], label=f"{name} ({len(each)})")  # fmt: skip
        axis.plot(each, 1 - np.arange(len(each)) / len(each), ".", color=COLOURS[colour])
    table[name] = {"neurons": len(each)} | {
        f"above {bar:g}": int((each > bar).sum()) for bar in bars
    }
axis.axvline(0, color="black", linewidth=0.8)
axis.set_xscale("symlog", linthresh=0.1)
axis.set(xlabel="mean fall of log p(token), nats", ylabel="share of neurons", ylim=(0, 1.03))
if any(row["neurons"] for row in table.values()):
    axis.legend()
plt.show()
pd.DataFrame(table).T

# %%
own = part_of("selected", "fires", "zero", "none")
own = own if len(own) else effects[(effects.kind == "zero") & (effects.control == "none")]
by_neuron = own.groupby("neuron")[["p_before", "fall", "log_fall"]].mean()
by_neuron = by_neuron.sort_values("log_fall", ascending=False, kind="stable").reset_index()
few = pd.concat([by_neuron.head(6), by_neuron[6:].tail(3)])
pd.DataFrame(
    {
        "neuron": few.neuron, "for": few.neuron.map(neurons.token).map(readable),
        "follow rate, train": few.neuron.map(neurons.follow_rate).astype(float).round(2),
        "p before": few.p_before.round(3), "fall, points": (100 * few.fall).round(2) + 0.0,
        "fall of log p": few.log_fall.round(3) + 0.0,
    }
).reset_index(drop=True) if len(few) else NOTHING  # fmt: skip

# %% tags=["hide-input"]
first = by_neuron.neuron.iloc[0] if len(by_neuron) else None
columns = {}
for kind, title in {
    "zero": "silenced where it fires",
    "on": "switched on where it was silent",
}.items():
    some = effects[(effects.neuron == first) & (effects.kind == kind) & (effects.control == "none")]
    some = some[some.context == ("fires" if kind == "zero" else "other")]
    some = some.merge(rows[["neuron", "prompt", "token_ids"]].drop_duplicates(["neuron", "prompt"]), on=["neuron", "prompt"])  # fmt: skip
    some = some.assign(moved=some.log_fall.abs()).sort_values(["moved", "prompt"], ascending=[False, True])  # fmt: skip
    columns[f"{first} {title}"] = [
        PromptText(model.decode(r.token_ids[-16:]), neurons.token[first], f"{r.p_before:.2g} → {r.p_after:.2g}")
        for r in some.head(5).itertuples()
    ]  # fmt: skip
prompt_table(columns) if first else NOTHING

# %% [markdown]
# Above, for the first of them, the texts in which the token's probability moves most.
#
# ## Switched on
#
# Where the neuron was silent we set its activation, at the last position, to the median of what its own
# prompts reach. If the neuron calls for its token, that token rises, and others do not
# ({numref}`fig-switched-on`).

# %% tags=["hide-input"] mystnb={"figure": {"caption": "Rise of log p(token) when a silent neuron is switched on, one dot a neuron: its own token, its token when another neuron of the layer is set to the same value, and another token. The line is the median. To the left selected neurons, to the right random ones.", "name": "fig-switched-on"}, "image": {"alt": "Rises of log probability when neurons are switched on, by control and group"}}
figure, axes = plt.subplots(1, 2, figsize=(7.6, 3.2), sharey=True)
table = {}
for axis, group in zip(axes, ("selected", "random"), strict=True):
    for place, control in enumerate(CONTROLS):
        some = pd.concat([part_of(group, c, "on", control) for c in ("other", "follows_silent")])
        each = -some.groupby("neuron").log_fall.mean().sort_values(ascending=False)
        at = place + np.linspace(-0.25, 0.25, len(each))
        axis.plot(at, each, ".", color=COLOURS["blue" if control == "none" else "grey"])
        if len(each):
            axis.hlines(each.median(), place - 0.35, place + 0.35, color="black")
        rise = bootstrap_mean(each, each.index, seed=settings.seed)
        apart = [part_of(group, c, "on", control) for c in ("follows_silent", "other")]
        apart = [over_neurons(one.assign(rise=-one.fall), "rise") for one in apart]
        table[group, control] = {
            "neurons": len(each), "rise of log p": written(rise), "neurons with a rise": int((each > 0).sum()),
            "rise of p where the token follows, points": points(apart[0]),
            "where another follows, points": points(apart[1]),
        }  # fmt: skip
    axis.axhline(0, color="black", linewidth=0.8)
    axis.set_xticks(range(3), ["own token", "other neuron", "other token"])
    axis.set(title=f"{group} neurons")
axes[0].set(ylabel="rise of log p, nats")
plt.show()
pd.DataFrame(table).T.rename_axis(["neurons", "control"])

# %% [markdown]
# ```{admonition} Differs from the paper
# :class: note
# The paper's repository has a notebook named after neuron ablation, which contains none {cite}`neo2024`. Here
# neurons are silenced and switched on, on held-out texts of three kinds, against other neurons and other
# tokens.
# ```
#
# ## Check and save

# %%
assert effects[["p_before", "p_after"]].stack().between(0, 1).all()
assert not effects.duplicated(["neuron", "prompt", "context", "kind", "control"]).any()
assert set(effects.context) <= set(CONTEXTS)
assert effects[effects.context == "follows_silent"].follows.all()
assert not effects[effects.context == "other"].follows.any()
saved = effects.drop(columns=["fall", "log_fall", "pre_fall", "act_fall"])
digests = {"train": train.digest, reported: documents.digest}
save(
    settings,
    "08_neuron_ablations",
    saved,
    model=model,
    documents=digests,
    seconds=stopwatch.seconds,
)
Markdown(
    f"Saved `08_neuron_ablations`: {len(saved)} rows of {saved.neuron.nunique()} neurons, on `{reported}`."
)

# %% [markdown]
# ## What we know

# %% tags=["hide-input"]
fires = {c: part_of("selected", "fires", "zero", c).groupby("neuron").log_fall.mean() for c in CONTROLS}  # fmt: skip
own = bootstrap_mean(fires["none"], fires["none"].index, seed=settings.seed)
glue("neuron-fall", written(own), display=False)


def against(control: str) -> Estimate:
    gain = (fires["none"] - fires[control]).dropna()
    return bootstrap_mean(gain, gain.index, seed=settings.seed)


def told(found: Estimate, more: str, less: str, neither: str) -> str:
    if not np.isfinite(found.low):
        return f"Not known, since there are too few neurons: {more[0].lower()}{more[1:]}."
    return (
        f"{more if found.low > 0 else less if found.high < 0 else neither} ({written(found)} nats)."
    )


quiet = over_neurons(part_of("selected", "follows_silent", "zero", "none"), "log_fall")
lit = pd.concat([part_of("selected", c, "on", "none") for c in ("other", "follows_silent")])
rise = over_neurons(lit.assign(rise=-lit.log_fall), "rise")
apart = [over_neurons(part_of(g, "fires", "zero", "none"), "fall") for g in ("selected", "random")]
meet = apart[0].low <= apart[1].high and apart[1].low <= apart[0].high
lines = [
    told(own, "Without a selected neuron its token is less likely where it fires",
         "Without a selected neuron its token is *more* likely where it fires",
         "Without a selected neuron its token is neither more nor less likely where it fires, as far as these neurons tell"),
    told(against("other neuron"), "That is more than another neuron of the layer, about as active, takes from it",
         "Another neuron of the layer, about as active, takes more from it",
         "It cannot be told from what another neuron of the layer takes from it"),
    told(against("other token"), "It is more than the neuron takes from another token",
         "The neuron takes more from another token", "It cannot be told from what the neuron takes from another token"),
    f"In points of probability a selected neuron takes {points(apart[0])} from its token, a random one {points(apart[1])} from the token that it is most congruent with"
    + ("; these intervals overlap." if meet else "; these intervals do not overlap.")
    if np.isfinite([*apart[0], *apart[1]]).all() else "With random neurons there is nothing to compare.",
    told(quiet, "Where the token follows and the neuron is silent, something is lost without it all the same",
         "Where the token follows and the neuron is silent, the token gains without it",
         "Where the token follows and the neuron is silent, nothing is lost without it"),
    told(rise, "Switched on, it makes its token more likely", "Switched on, it makes its token less likely",
         "Switched on, it makes its token neither more nor less likely"),
]  # fmt: skip
Markdown("\n".join(f"- {line}" for line in lines) if len(effects) else "No neuron was silenced.")

# %% [markdown]
# What is not known: what several neurons of one token do together. If each can stand in for the others,
# silencing one shows little of what they carry.
#
# ```{admonition} Try it
# :class: tip
# Choose a token with several selected neurons, write them as `neurons:` into a copy of the run file, and
# compare their falls. Does the one that fires most also carry most?
# ```
