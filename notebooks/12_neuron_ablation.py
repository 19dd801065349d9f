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
# A {term}`next-token neuron` is said to promote its token. If so, the token should be less likely
# without it where the neuron fires, nothing should be lost where it is silent, and switching it on
# should make the token more likely. We do all three, once with the selected neurons and once with
# the random neurons that are matched to them, and each time with controls. At the end we silence a
# head and its neuron together.
#
# **In short:** {glue:text}`headline`
#
# | needs | leaves |
# | --- | --- |
# | `follow_rates`, `suffixes`, `pairs`, `head_ablations` from {ref}`prompts` to {ref}`head-ablation` | `neuron_ablations`: the token, with the neuron and without |
# | the run's documents | |

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

from lookups.run.store import Stopwatch, load, save
from lookups.measure.intervention import GROUPS, before_after, of_group, with_falls
from lookups.corpus.documents import run_documents
from lookups.statistics.bootstrap import Estimate, bootstrap_mean, lots_of, percent, points, written
from lookups.statistics.differences import Values, group_difference
from lookups.show.figures import COLOURS, house_style
from lookups.model.loaded import load_model
from lookups.measure.ablation import ablate, mean_over_tokens, nearest_in_size
from lookups.measure.routes import logp_without
from lookups.names import Head, Neuron
from lookups.settings import check_run, read_run
from lookups.show.views import LONGEST, PromptText, prompt_table, readable

settings = read_run(run)
model = load_model(settings.model)
check_run(settings, model)
house_style()
stopwatch = Stopwatch()
neurons = load(settings, "follow_rates").drop_duplicates("neuron").set_index("neuron")
suffixes = load(settings, "suffixes")
NOTHING = Markdown("*This run has no neuron to silence, so there is nothing to show here.*")
CONTEXTS = ["fires", "follows_silent", "other"]
UNITS = {"fall": "points", "log_fall": "nats"}

# %% [markdown]
# ## Three kinds of text
#
# We take the selected neurons and the random neurons that are matched to them in how strongly and
# how often they fire and in how frequent their token is ({ref}`prompts`); each is read with its own
# token. For each there are held-out texts of three kinds, chosen at random:
#
# - `fires`: the neuron's own cut prompts, at most {glue:text}`each-kind`. Its token may follow or not.
# - `follows_silent`: the token follows, but the neuron is silent: below {glue:text}`silent-share` of its
#   strongest activation on `train`.
# - `other`: another token follows.
#
# The last two come from all positions of the held-out documents, and neurons with one token share
# them. They are long and take most of the time of this chapter, so there are fewer of them: at most
# {glue:text}`each-followed` that the token follows, and {glue:text}`each-other` that another follows.
# No text is longer than {glue:text}`longest-text` tokens: prompts that need more are left out here,
# and the other texts begin so many tokens before their position.

# %%
EACH, FOLLOWED, OTHERS, LONGEST_TEXT, SILENT = 10, 8, 6, 24, 0.1
reported = "test" if (suffixes.split == "test").any() else "train"
own_prompts = suffixes[suffixes.split == "train"].groupby("neuron")
strongest, typical = own_prompts.whole_activation.max(), own_prompts.activation.median()
examined = neurons[neurons.selected | (neurons.group == "random")]
examined = examined[examined.index.isin(strongest.index)]
documents = run_documents(settings, model, reported)

# %% tags=["hide-input"]
glue("each-kind", EACH, display=False)
glue("each-followed", FOLLOWED, display=False)
glue("each-other", OTHERS, display=False)
glue("silent-share", percent(SILENT), display=False)
glue("longest-text", LONGEST_TEXT, display=False)
streams = [documents[row] for row in range(len(documents))]
document = np.repeat(np.arange(len(streams)), [max(0, len(one.ids) - 1) for one in streams])
position = np.concatenate([np.arange(max(0, len(one.ids) - 1)) for one in streams])
following = np.concatenate([np.asarray(one.ids[1:], dtype=np.int64) for one in streams])


def texts_at(places: np.ndarray, context: str) -> pd.DataFrame:
    """The tokens up to each place, with what follows."""
    rows = []
    for place in places:
        one, stop = streams[document[place]], int(position[place]) + 1
        ids = [int(token) for token in one.ids[max(0, stop - LONGEST_TEXT) : stop]]
        rows.append((f"{one.key}@{position[place]}", ids, int(following[place])))
    table = pd.DataFrame(rows, columns=["prompt", "token_ids", "next_token_id"])
    return table.assign(context=context, split=reported)


# %%
def firing(neuron: str) -> pd.DataFrame:
    """Cut prompts of the neuron that read like none of train."""
    mine = suffixes[(suffixes.neuron == neuron) & (suffixes.split == reported)]
    mine = mine[~mine.also_in_train] if reported == "test" else mine
    mine = mine[mine.token_ids.map(len) <= LONGEST_TEXT]
    chosen = lots_of(settings.seed, "fires", neuron).permutation(len(mine))[:EACH]
    columns = ["split", "prompt", "token_ids", "next_token_id"]
    return mine.iloc[np.sort(chosen)][columns].assign(context="fires")


# %%
def followed_by(token_id: int) -> pd.DataFrame:
    """Texts that the token follows; whether a neuron is silent there is not known yet."""
    places = np.flatnonzero(following == token_id)
    random = lots_of(settings.seed, "follows", str(token_id))
    return texts_at(random.permutation(places)[:FOLLOWED], "follows_silent")


# %%
anywhere = lots_of(settings.seed, "other").permutation(len(following))[: 2 * OTHERS]
other_texts = texts_at(anywhere, "other")
follows = {int(token): followed_by(int(token)) for token in examined.token_id.unique()}
drawn = []
for neuron, token_id in examined.token_id.items():
    others = other_texts[other_texts.next_token_id != token_id].head(OTHERS)
    own = pd.concat([firing(neuron), follows[int(token_id)], others], ignore_index=True)
    drawn.append(own.assign(neuron=neuron, token_id=int(token_id)))
rows = pd.concat([firing("").assign(neuron="", token_id=0), *drawn], ignore_index=True)
rows["follows"] = rows.next_token_id == rows.token_id

# %% [markdown]
# ## One neuron by hand
#
# As an example we take the selected neuron whose token follows it most often on `train`, on its strongest
# text after which the token does follow. We set its activation to zero wherever it is read, and look at the token:

# %% tags=["hide-input"]
fire = rows[rows.context == "fires"].merge(
    suffixes[["neuron", "split", "prompt", "activation"]], on=["neuron", "split", "prompt"]
)
pool = examined[examined.selected] if examined.selected.any() else examined
fire = fire[fire.neuron.isin(pool.index) & (fire.token_ids.map(len) < LONGEST)]
fire = fire[fire.follows] if fire.follows.any() else fire
fire["order"] = fire.neuron.map(pool.follow_rate).fillna(0.0)
fire = fire.sort_values(["order", "neuron", "activation"], ascending=[False, True, False], kind="stable")  # fmt: skip
hand = fire.iloc[0] if len(fire) else None


def next_token(token_id: int) -> str:
    """What really followed a prompt; nothing is known of it at the end of one's own."""
    return model.vocabulary[token_id] if token_id >= 0 else ""


if hand is not None:
    neuron, token_id = Neuron.parse(hand.neuron), int(hand.token_id)
    ids = [int(i) for i in hand.token_ids]
Markdown(
    f"The “{readable(neurons.token[hand.neuron])}” neuron ({hand.neuron}), at the end of “{readable(model.decode(ids))}”. "
    f"What followed is “{readable(next_token(hand.next_token_id))}”:"
) if hand is not None else NOTHING


# %%
def zero(post, hook):
    post = post.clone()
    post[:, 1:, neuron.index] = 0.0  # the BOS is left as it is
    return post


def probability(hooks: list) -> float:
    with model.bridge.hooks(fwd_hooks=hooks):
        logits = model.logits(model.batch([ids]))
    return float(logits[0, -1].double().softmax(-1)[token_id])


# %% tags=["hide-input"]
by_hand = {}
if hand is not None:
    at = f"blocks.{neuron.layer}.mlp.hook_post"
    by_hand = {"as it is": probability([]), "set to zero": probability([(at, zero)])}
pd.Series(by_hand, dtype=float).round(3).rename("p(token)").to_frame() if hand is not None else NOTHING  # fmt: skip

# %% [markdown]
# ## Fair controls
#
# On the same texts there are two {term}`controls <control>`:
#
# - *other neuron*: another neuron of the run's layers is held in its place, and the same token is read. It must
#   write about as much where the neuron fires. What a neuron writes to the residual stream is its activation times
#   its output weights, so its size is |mean activation| × their length. We take the neuron, with another
#   token, whose size is nearest, and none where the nearest differs by more than a factor of
#   {glue:text}`factor`;
# - *other token*: the neuron itself is held, and the token of another examined neuron is read.
#
# If the claim is true, the neuron moves its own token, and there is little to see with either
# control.

# %% tags=["hide-input"]
layers = sorted({Neuron.parse(name).layer for name in rows.neuron} or {0})
fires = rows[rows.context == "fires"].reset_index(drop=True)
written_by = torch.cat([model.w_out(layer) for layer in layers]).double().norm(dim=1)


# %%
FACTOR = 1.5


def partner(neuron: str, mean: torch.Tensor) -> dict | None:
    """Another neuron that writes about as much where this one fires; `mean` is of all neurons."""
    own = Neuron.parse(neuron)
    sizes = (mean.abs() * written_by).cpu().numpy()
    at = layers.index(own.layer) * model.d_mlp + own.index
    same = neurons[neurons.layer.isin(layers) & (neurons.token_id == neurons.token_id[neuron])]
    barred = same.layer.map(layers.index) * model.d_mlp + same["index"]
    other = nearest_in_size(sizes, at, factor=FACTOR, barred=barred.tolist())
    return None if other is None else partner_facts(own, at, other, mean, sizes)


# %% tags=["hide-input"]
glue("factor", f"{FACTOR:g}", display=False)


def partner_facts(own: Neuron, at: int, other: int, mean: torch.Tensor, sizes: np.ndarray) -> dict:
    """Who it is, how the two compare, and how far it must go to write as much as the neuron."""
    layer, index = divmod(other, model.d_mlp)
    sign = -1 if model.gated and mean[other] < 0 else 1
    return {
        "held": str(Neuron(layers[layer], index, sign)),
        "activation, own": own.sign * float(mean[at]), "activation, other": sign * float(mean[other]),
        "size, own": sizes[at], "size, other": sizes[other],
        "scale": float(written_by[at] / written_by[other]),
    }  # fmt: skip


found = {}
if len(fires):
    few = fires.groupby("neuron").head(EACH // 2).reset_index(drop=True)
    post = model.activations_at_last(few.token_ids.tolist(), layers)
    post = torch.cat([post[layer] for layer in layers], dim=1).double()
    found = {name: partner(name, post[some].mean(0)) for name, some in few.groupby("neuron").indices.items()}  # fmt: skip
partners = pd.DataFrame({name: facts for name, facts in found.items() if facts}).T
if len(partners):
    ratios = (partners["size, other"] / partners["size, own"]).astype(float)
    assert ratios.between(1 / FACTOR, FACTOR).all()
table = {}
for group in GROUPS:
    asked = of_group(pd.DataFrame({"neuron": list(found)}), neurons, group)
    some = partners[partners.index.isin(asked.neuron)]
    row = {"neurons": len(asked), "with a control within the factor": len(some)}
    for what in ("size", "activation"):
        for side in ("own", "other"):
            row[f"median {what}, {side}"] = f"{some[f'{what}, {side}'].astype(float).median():.2f}" if len(some) else "–"  # fmt: skip
    if len(some):
        medians = [some[f"size, {side}"].astype(float).median() for side in ("other", "own")]
        assert 1 / FACTOR <= medians[0] / medians[1] <= FACTOR
    table[group] = row
pd.DataFrame(table)


# %%
def other_token(neuron: str) -> int | None:
    """The token of another examined neuron."""
    tokens = np.unique(examined.token_id[examined.token_id != neurons.token_id[neuron]])
    return int(lots_of(settings.seed, "token", neuron).choice(tokens)) if len(tokens) else None


# %% [markdown]
# ## Silenced, and switched on
#
# | kind | the neuron's activation is held at | at |
# | --- | --- | --- |
# | `zero` | zero | every position but {term}`BOS` |
# | `mean` | its mean over tokens of training documents | every position but BOS, in the texts where it fires |
# | `on` | the median of its own train prompts | the last position, where the neuron was silent |
#
# (The other neuron is switched on far enough to write as much.)
# {func}`~lookups.measure.ablation.ablate` measures the token before and after.

# %%
spare = {name: other_token(name) for name in examined.index}
on = rows.neuron.map(typical).astype(float)
held, scale = (rows.neuron.map(partners[c]) if len(partners) else None for c in ("held", "scale"))
variants = {
    "none": rows.assign(held=rows.neuron, on=on),
    "other neuron": rows.assign(held=held, on=on * scale if len(partners) else on),
    "other token": rows.assign(held=rows.neuron, on=on, token_id=rows.neuron.map(spare)),
}
every = [some.assign(control=name) for name, some in variants.items()]
every = pd.concat(every, ignore_index=True).dropna(subset=["held", "token_id"])

# %% tags=["hide-input"]
KEYS = ["neuron", "group", "split", "prompt", "context", "follows", "control", "held", "token_id"]
AVERAGED = 25  # training documents for the means; each has some hundred tokens
train = run_documents(settings, model, "train")
texts = [train[row].ids for row in range(min(AVERAGED, len(train)))]
means = mean_over_tokens(model, texts, layers, of="neurons")


def measured(some: pd.DataFrame, kinds: list) -> pd.DataFrame:
    held = some.held.map(Neuron.parse).tolist()
    found = ablate(
        model, some.token_ids.tolist(), held, some.token_id.astype(int).tolist(), held, kinds,
        means=means, on=some.on.tolist(),
    )  # fmt: skip
    return before_after(some.assign(group=some.neuron.map(neurons.group))[KEYS], found)


firing_ones = every.context == "fires"
asked = [(every[firing_ones], ["zero", "mean"]), (every[~firing_ones], ["zero", "on"])]
tables = [measured(some, kinds) for some, kinds in asked if len(some)]
COLUMNS = [f"{what}_{when}" for what in ("p", "logp", "pre", "act") for when in ("before", "after")]
nothing = pd.DataFrame(columns=[*KEYS, "kind", *COLUMNS])
effects = pd.concat(tables, ignore_index=True) if tables else nothing
effects = with_falls(effects.astype({"follows": bool} | dict.fromkeys(COLUMNS, float)))

# %% [markdown]
# How often is a neuron silent where its token follows? A token may be promoted by several neurons, and
# predicted without any:

# %%
ROW = ["neuron", "prompt", "context"]
seen = effects[(effects.kind == "zero") & (effects.control == "none")]
activation = pd.MultiIndex.from_frame(effects[ROW]).map(seen.set_index(ROW).act_before)
silent = activation.to_numpy(float) < SILENT * effects.neuron.map(strongest).to_numpy(float)
first = rows.assign(place=rows.groupby(["neuron", "context"]).cumcount()).set_index(ROW).place
effects["silent"] = silent
unsuited = ((effects.context == "follows_silent") | (effects.kind == "on")) & ~silent
looked_at, effects = effects, effects[~unsuited]

# %% tags=["hide-input"]
table = {}
for group in GROUPS:
    asked = of_group(looked_at, neurons, group)
    asked = asked[(asked.kind == "zero") & (asked.control == "none")]
    row = {"neurons": asked.neuron.nunique()}
    for context in CONTEXTS:
        some = asked[asked.context == context]
        row[f"texts, {context}"] = int((some.silent if context == "follows_silent" else some.context.notna()).sum())  # fmt: skip
    fires, followed = (asked[asked.context == c] for c in CONTEXTS[:2])
    row["token follows where it fires"] = written(bootstrap_mean(fires.follows, fires.neuron, seed=settings.seed), digits=2)  # fmt: skip
    row["silent where the token follows"] = written(bootstrap_mean(followed.silent, followed.neuron, seed=settings.seed), digits=2)  # fmt: skip
    table[group] = row
pd.DataFrame(table)

# %% [markdown]
# The prompt from above comes out the same, and a neuron that is held at zero *is* at zero:

# %% tags=["hide-input"]
if hand is not None:
    key = [hand.neuron, hand.prompt, "zero", "none", "fires"]
    same = effects[(effects[["neuron", "prompt", "kind", "control", "context"]] == key).all(axis=1)].iloc[0]  # fmt: skip
    assert np.allclose([same.p_before, same.p_after], [*by_hand.values()], atol=1e-3)  # fmt: skip
assert (effects[effects.kind == "zero"].act_after == 0).all()
Markdown(f"{len(effects)} rows of {effects.neuron.nunique()} neurons were measured.")

# %% [markdown]
# ## What is lost without it
#
# {numref}`fig-neuron-silenced` shows the mean fall of the token, in percentage points of p(token)
# and in nats of its logarithm: first over the texts of each neuron, then over neurons, with a
# {term}`bootstrap` over neurons. The neuron matters if its token falls where it fires, and more
# than with the controls.


# %%
def of_neurons(group: str, contexts: list, kind: str, control: str, change: str) -> pd.Series:
    """Each neuron's mean change, for a group; all numbers below are made of these."""
    some = of_group(effects, neurons, group)
    some = some[some.context.isin(contexts) & (some.kind == kind) & (some.control == control)]
    return some.groupby("neuron")[change].mean()


def over_neurons(values: pd.Series) -> Estimate:
    return bootstrap_mean(values, values.index, seed=settings.seed)


# %% tags=["hide-input"] mystnb={"figure": {"caption": "Held at zero, selected neurons cost their token most where they fire. Mean over neurons with 95 % intervals, in points of probability (left) and nats (right), by kind of text. Filled circle: the neuron and its own token. Square: another neuron that writes about as much. Triangle: the neuron and another token.", "name": "fig-neuron-silenced"}, "image": {"alt": "Mean falls of the token by context and control, in points and in nats"}}
CONTROLS = {"none": "o", "other neuron": "s", "other token": "^"}
figure, axes = plt.subplots(1, 2, figsize=(9.0, 2.8), sharey=True)
table = {}
for axis, (unit, name) in zip(axes, UNITS.items(), strict=True):
    times, tell = (100, points) if name == "points" else (1, written)
    for place, context in enumerate(CONTEXTS):
        for shift, (control, mark) in enumerate(CONTROLS.items()):
            values = of_neurons("selected", [context], "zero", control, unit)
            mean = over_neurons(values)
            at, colour = place + 0.22 * (shift - 1), COLOURS["blue" if control == "none" else "grey"]  # fmt: skip
            axis.hlines(at, times * mean.low, times * mean.high, color=colour)
            axis.plot(times * mean.mean, at, mark, color=colour, label=None if place else control,
                      fillstyle="full" if control == "none" else "none")  # fmt: skip
            row = table.setdefault(("selected", context, control), {"neurons": len(values)})
            row[name] = tell(mean)
    for control in CONTROLS:
        values = of_neurons("random", ["fires"], "zero", control, unit)
        row = table.setdefault(("random", "fires", control), {"neurons": len(values)})
        row[name] = tell(over_neurons(values))
    axis.axvline(0, color="black", linewidth=0.8)
    axis.set(xlabel=f"fall of {'p(token), percentage points' if times > 1 else 'log p(token), nats'}")  # fmt: skip
axes[0].set_yticks(range(len(CONTEXTS)), CONTEXTS)
axes[0].set_ylim(len(CONTEXTS) - 0.5, -0.5)
axes[1].legend(title="control", bbox_to_anchor=(1.01, 1), loc="upper left")
plt.show()
pd.DataFrame(table).T.rename_axis(["neurons", "texts", "control"])


# %% tags=["hide-input"]
def group_gap(contexts: list, kind: str, change: str, sign: int = 1) -> Estimate:
    """What a selected neuron's token loses more than a random one's."""
    both = [sign * of_neurons(group, contexts, kind, "none", change) for group in GROUPS]
    return group_difference(*(Values(some, some.index) for some in both), seed=settings.seed)


def in_both(made) -> str:
    """The same quantity in both units; `made` takes a unit."""
    return f"{points(made('fall'))} points and {written(made('log_fall'))} nats"


def following_is(follows: bool) -> Estimate:
    some = of_group(effects, neurons, "selected")
    some = some[(some.context == "fires") & (some.kind == "zero") & (some.control == "none")]
    return over_neurons(some[some.follows == follows].groupby("neuron").log_fall.mean())


Markdown(
    f"Silencing a selected neuron costs its token {in_both(lambda unit: group_gap(['fires'], 'zero', unit))} more than "
    "silencing a matched random one costs its own. "
    f"Holding it at its mean instead of zero costs "
    f"{in_both(lambda unit: over_neurons(of_neurons('selected', ['fires'], 'mean', 'none', unit)))}. "
    f"Where the neuron fires and its token follows, {written(following_is(True))} nats are lost; where another "
    f"token follows, {written(following_is(False))}."
) if len(effects) else NOTHING  # fmt: skip

# %% [markdown]
# ## Each neuron by itself
#
# In {numref}`fig-each-neuron` a dot is a neuron. A list of next-token neurons may hold some that carry their
# token and many that only go along with it.

# %% tags=["hide-input"] mystnb={"figure": {"caption": "Share of neurons (up) whose token falls by at least so much (across) when the neuron is set to zero on prompts where it fires. Blue: selected neurons; orange: another neuron, which writes about as much, held in their place; grey: the matched random neurons and their own tokens.", "name": "fig-each-neuron"}, "image": {"alt": "Survival curves of each neuron's mean fall, in points and in nats"}}
figure, axes = plt.subplots(1, 2, figsize=(9.0, 3.2), sharey=True)
curves = {
    "selected": ("selected", "none", "blue"),
    "another in their place": ("selected", "other neuron", "orange"),
    "random": ("random", "none", "grey"),
}
table, bars = {}, {"fall": (1, 5), "log_fall": (0.1, 0.5)}
for axis, (unit, title) in zip(axes, UNITS.items(), strict=True):
    times = 100 if title == "points" else 1
    for name, (group, control, colour) in curves.items():
        each = times * of_neurons(group, ["fires"], "zero", control, unit).sort_values()
        if len(each):
            up = 1 - np.arange(len(each)) / len(each)
            axis.step([*each, each.iloc[-1]], [*up, 0], where="pre", color=COLOURS[colour], label=f"{name} ({len(each)})")  # fmt: skip
            axis.plot(each, up, ".", color=COLOURS[colour])
        row = table.setdefault(name, {"neurons": len(each)})
        row |= {f"above {bar:g} {title}": int((each > bar).sum()) for bar in bars[unit]}
    axis.axvline(0, color="black", linewidth=0.8)
    axis.set_xscale("symlog", linthresh=0.1 * times / (10 if times > 1 else 1))
    axis.set(xlabel=f"mean fall, {'percentage points' if times > 1 else 'nats'}", ylim=(0, 1.03))
axes[0].set(ylabel="share of neurons")
if any(row["neurons"] for row in table.values()):
    axes[1].legend()
plt.show()
pd.DataFrame(table).T

# %% tags=["hide-input"]
own = {unit: of_neurons("selected", ["fires"], "zero", "none", unit) for unit in [*UNITS, "p_before"]}  # fmt: skip
by_neuron = pd.DataFrame(own).sort_values("log_fall", ascending=False, kind="stable")
by_neuron = by_neuron.rename_axis("neuron").reset_index()
few = pd.concat([by_neuron.head(6), by_neuron[6:].tail(3)])
pd.DataFrame(
    {
        "token": few.neuron.map(neurons.token).map(lambda token: f"“{readable(token)}”"),
        "neuron": few.neuron,
        "follow rate, train": few.neuron.map(neurons.follow_rate).astype(float).round(2),
        "p before": few.p_before.round(3), "fall, points": (100 * few.fall).round(1) + 0.0,
        "fall, nats": few.log_fall.round(2) + 0.0,
    }
).reset_index(drop=True) if len(few) else NOTHING  # fmt: skip

# %% [markdown]
# The table above has the neurons whose token falls most without them, and those whose token falls
# least. Below, for the first of them, stand the texts in which the token's probability moves most.
# The neuron's token is appended, and struck out where something else came *next*; the note gives the
# token's probability.

# %% tags=["hide-input"]
first = by_neuron.neuron.iloc[0] if len(by_neuron) else None
columns = {}
for kind, title in {"zero": "silenced where it fires", "on": "switched on where it was silent"}.items():  # fmt: skip
    some = effects[(effects.neuron == first) & (effects.kind == kind) & (effects.control == "none")]
    some = some[some.context == ("fires" if kind == "zero" else "other")]
    some = some.merge(rows[[*ROW, "token_ids", "next_token_id"]], on=ROW)
    some = some.assign(moved=some.log_fall.abs()).sort_values(["moved", "prompt"], ascending=[False, True])  # fmt: skip
    columns[f"{first} {title}"] = [
        PromptText(model.decode(r.token_ids[-16:]), neurons.token[first],
                   f"“{readable(neurons.token[first])}” {r.p_before:.2g} → {r.p_after:.2g}",
                   next_token(r.next_token_id) or None)
        for r in some.head(5).itertuples()
    ]  # fmt: skip
prompt_table(columns) if first else NOTHING

# %% [markdown]
# ## Switched on
#
# Where the neuron was silent we set its activation, at the last position, to the median of what it
# reaches on its own prompts. If the neuron promotes its token, that token rises, and others do not
# ({numref}`fig-switched-on`).

# %% tags=["hide-input"] mystnb={"figure": {"caption": "Switched on where they were silent, selected neurons raise their token. One dot a neuron: rise of log p for its own token; for its token when another neuron is switched on instead, to write as much; and for another token. The line is the median. Left: selected neurons; right: the random ones matched to them.", "name": "fig-switched-on"}, "image": {"alt": "Rises of log probability when neurons are switched on, by control and group"}}
figure, axes = plt.subplots(1, 2, figsize=(7.6, 3.2), sharey=True)
table, SILENT_TEXTS = {}, ["other", "follows_silent"]
for axis, group in zip(axes, GROUPS, strict=True):
    for place, control in enumerate(CONTROLS):
        rises = {unit: -of_neurons(group, SILENT_TEXTS, "on", control, unit) for unit in UNITS}
        each = rises["log_fall"].sort_values(ascending=False)
        at = place + np.linspace(-0.25, 0.25, len(each))
        axis.plot(at, each, ".", color=COLOURS["blue" if control == "none" else "grey"])
        if len(each):
            axis.hlines(each.median(), place - 0.35, place + 0.35, color="black")
        table[group, control] = {
            "neurons": len(each), "rise, points": points(over_neurons(rises["fall"])),
            "rise, nats": written(over_neurons(rises["log_fall"])), "neurons with a rise": int((each > 0).sum()),
        }  # fmt: skip
    axis.axhline(0, color="black", linewidth=0.8)
    axis.set_xticks(range(3), ["own token", "other neuron", "other token"])
    axis.set(title=f"{group} neurons")
axes[0].set(ylabel="rise of log p(token), nats")
plt.show()
pd.DataFrame(table).T.rename_axis(["neurons", "control"])

# %% [markdown]
# (together)=
# ## Head and neuron together
#
# What is lost when head and neuron are silenced together? If the two did their work independently,
# the losses would add up. If the head works through the neuron, both together cost less than the
# sum of what each costs, since a part of the loss is counted twice in that sum. We read the
# held-out prompts of {ref}`head-ablation` on which the head is active: without the head, without
# the neuron, and without both. Other heads or neurons may do the same work, so we also read the
# prompts without all heads that are kept for the neuron, and without all
# {term}`sound <sound neuron>` neurons of its token
# ({func}`~lookups.measure.routes.logp_without`).

# %% tags=["hide-input"]
ablated = load(settings, "head_ablations")
cases = ablated[(ablated.kind == "zero") & ablated.active.astype(bool)]
cases = of_group(cases, neurons, "selected")[["neuron", "head", "split", "prompt", "logp_before", "logp_after"]]  # fmt: skip
cases = cases.merge(suffixes[["neuron", "split", "prompt", "token_ids"]], on=["neuron", "split", "prompt"])  # fmt: skip
pairs = load(settings, "pairs")
kept = pairs[pairs.kept].groupby("neuron")["head"].agg(list)
token_of = cases.neuron.map(neurons.token_id)
writers = neurons[neurons.sound].reset_index().groupby("token_id").neuron.agg(list)
own_heads = [(Head.parse(head),) for head in cases["head"]]
own_neurons = [(Neuron.parse(neuron),) for neuron in cases.neuron]
all_heads = [tuple(Head.parse(head) for head in kept[neuron]) for neuron in cases.neuron]
all_neurons = [(*dict.fromkeys([*own, *map(Neuron.parse, writers.get(t, []))]),) for t, own in zip(token_of, own_neurons, strict=True)]  # fmt: skip

# %%
nobody = [()] * len(cases)
WITHOUT = {
    "the head": (own_heads, nobody),
    "the neuron": (nobody, own_neurons),
    "both": (own_heads, own_neurons),
    "all heads kept for the neuron": (all_heads, nobody),
    "all sound neurons of the token": (nobody, all_neurons),
}

# %% [markdown]
# What a prompt loses without a set of heads and neurons is measured once, however many pairs ask for
# it. The loss without the head alone is known from {ref}`head-ablation`.

# %% tags=["hide-input"]
texts, before = cases.token_ids.tolist(), cases.logp_before.to_numpy(float)
prompt_of = list(zip(cases.neuron, cases.prompt, strict=True))
known = dict(zip(zip(prompt_of, own_heads, nobody, strict=True), cases.logp_after, strict=True))
wanted = {}
for both in WITHOUT.values():
    for row, key in enumerate(zip(prompt_of, *both, strict=True)):
        wanted.setdefault(key, row)
wanted = {key: row for key, row in wanted.items() if key not in known}
measured_now = logp_without(
    model, [texts[row] for row in wanted.values()], [int(token_of.iloc[row]) for row in wanted.values()],
    [heads for _, heads, _ in wanted], [silenced for _, _, silenced in wanted],
)  # fmt: skip
known |= dict(zip(wanted, measured_now, strict=True))
lost_without = {name: np.array([known[key] for key in zip(prompt_of, *both, strict=True)], float) for name, both in WITHOUT.items()}  # fmt: skip
falls = cases[["neuron", "head"]].copy()
for name, after in lost_without.items():
    falls[f"{name}, nats"] = before - after
    falls[f"{name}, points"] = np.exp(before) - np.exp(after)
for unit in ("nats", "points"):
    falls[f"both, less the sum of the two, {unit}"] = falls[f"both, {unit}"] - falls[f"the head, {unit}"] - falls[f"the neuron, {unit}"]  # fmt: skip
    falls[f"all heads, less the one, {unit}"] = falls[f"all heads kept for the neuron, {unit}"] - falls[f"the head, {unit}"]  # fmt: skip
    falls[f"all neurons, less the one, {unit}"] = falls[f"all sound neurons of the token, {unit}"] - falls[f"the neuron, {unit}"]  # fmt: skip
of_pairs = falls.groupby(["neuron", "head"]).mean().reset_index()
rows_of = list(dict.fromkeys(column.rsplit(", ", 1)[0] for column in of_pairs.columns[2:]))
table, over_pairs = {}, {}
for name in rows_of:
    found = over_pairs[name] = {unit: bootstrap_mean(of_pairs[f"{name}, {unit}"], of_pairs.neuron, seed=settings.seed) for unit in ("nats", "points")}  # fmt: skip
    table[name] = {"pairs": len(of_pairs), "nats": written(found["nats"]), "points": points(found["points"])}  # fmt: skip
added = over_pairs["both, less the sum of the two"]
several = sum(len(one) > 1 for one in dict(zip(cases.neuron, all_neurons, strict=True)).values())
glue("several-neurons", f"{several} of {cases.neuron.nunique()}", display=False)
pd.DataFrame(table).T.rename_axis("the token's fall without") if len(cases) else NOTHING

# %% [markdown]
# These are means over pairs, with intervals over neurons. {glue:text}`several-neurons` neurons have
# another sound neuron of the same token in this run; for the rest, the rows on all sound neurons
# say nothing new.

# %% [markdown]
# ```{admonition} Differs from the paper
# :class: note
# The paper's repository has a notebook that is named after neuron ablation but contains none
# {cite}`neo2024`. Here neurons are silenced and switched on, on held-out texts of three kinds,
# against other neurons and other tokens.
# ```
#
# ## Check and save

# %% tags=["hide-input"]
assert effects[["p_before", "p_after"]].stack().between(0, 1).all()
assert not effects.duplicated(["neuron", "prompt", "context", "kind", "control"]).any()
assert set(effects.context) <= set(CONTEXTS)
assert effects[effects.context == "follows_silent"].follows.all()
assert effects[effects.context == "follows_silent"].silent.all()
assert not effects[effects.context == "other"].follows.any()
saved = effects.drop(columns=["fall", "log_fall", "pre_fall", "act_fall"])
digests = {"train": train.digest, reported: documents.digest}
facts = {"model": model, "documents": digests, "seconds": stopwatch.seconds}
save(settings, "neuron_ablations", saved, **facts)
Markdown(
    f"Saved `neuron_ablations`: {len(saved)} rows of {saved.neuron.nunique()} neurons, on `{reported}`."
)

# %% [markdown]
# ## What we know


# %% tags=["hide-input"]
def own_less(control: str, unit: str) -> Estimate:
    """What the neuron takes from its token, less what the control takes, where both are known."""
    some = [of_neurons("selected", ["fires"], "zero", c, unit) for c in ("none", control)]
    return over_neurons((some[0] - some[1]).dropna())


def told(made, more: str, less: str, same: str) -> str:
    """A sentence that both units agree on, or one that says that they do not; `made` takes a unit."""
    said = []
    for unit in UNITS:
        found = made(unit)
        if not np.isfinite(found.low):
            return "There are too few selected or random neurons to say more."
        said.append(more if found.low > 0 else less if found.high < 0 else same)
    if said[0] == said[1]:
        return f"{said[0]} ({in_both(made)})."
    return f"The two units do not agree ({in_both(made)}). In points: {said[0][0].lower()}{said[0][1:]}. In nats: {said[1][0].lower()}{said[1][1:]}."  # fmt: skip


def lost(unit: str) -> Estimate:
    return over_neurons(of_neurons("selected", ["fires"], "zero", "none", unit))


glue("neuron-fall", written(lost("log_fall")), display=False)
glue("neuron-fall-points", points(lost("fall")), display=False)
headline = told(lost, "Without a selected neuron its token is less likely where the neuron fires",
                "Without a selected neuron its token is *more* likely where the neuron fires",
                "Without a selected neuron its token is about as likely as with it")  # fmt: skip
against_random = told(lambda unit: group_gap(["fires"], "zero", unit),
                      "That is more than a matched random neuron takes from the token it is most congruent with",
                      "A matched random neuron takes more from the token it is most congruent with",
                      "That cannot be told from what a matched random neuron takes from the token it is most congruent with")  # fmt: skip
lines = [
    headline, against_random,
    told(lambda unit: own_less("other neuron", unit),
         "What the neuron takes from its token is more than another neuron, which writes about as much, takes from the same token",
         "Another neuron, which writes about as much, takes more from the same token",
         "What the neuron takes from its token cannot be told from what another neuron, which writes about as much, takes from the same token"),
    told(lambda unit: own_less("other token", unit), "What the neuron takes from its token is more than it takes from another token",
         "The neuron takes more from another token", "What the neuron takes from its token cannot be told from what it takes from another token"),
    told(lambda unit: over_neurons(of_neurons("selected", ["follows_silent"], "zero", "none", unit)),
         "Where the token follows and the neuron is silent, something is lost without it all the same",
         "Where the token follows and the neuron is silent, the token gains without it",
         "Where the token follows and the neuron is silent, nothing measurable is lost without it"),
    told(lambda unit: over_neurons(-of_neurons("selected", SILENT_TEXTS, "on", "none", unit)),
         "Switched on, it makes its token more likely", "Switched on, it makes its token less likely",
         "Switched on, it makes its token neither more nor less likely"),
    told(lambda unit: group_gap(SILENT_TEXTS, "on", unit, -1), "Random neurons raise their token less when switched on",
         "Random neurons raise their token more when switched on", "Random neurons raise their token about as much when switched on"),
]  # fmt: skip
if np.isfinite(added["nats"].low):
    lines.append(
        told(lambda unit: added[UNITS[unit]], "Silencing head and neuron together costs the token more than the sum of what each costs alone",
             "Silencing head and neuron together costs the token less than the sum of what each costs alone",
             "What silencing head and neuron together costs the token cannot be told from the sum of what each costs alone")
    )  # fmt: skip
lines = list(dict.fromkeys(lines))
glue("headline", " ".join(lines[:2]) if len(effects) else "No neuron was silenced.", display=False)  # fmt: skip
Markdown("\n".join(f"- {line}" for line in lines) if len(effects) else "No neuron was silenced.")

# %% [markdown] tags=["default-run"]
# A single neuron among tens of thousands can be expected to matter little. Yet silencing a selected
# neuron nearly always costs its token a good deal where the neuron fires, and little where it is
# silent. In nats, silencing a random neuron costs the token that it is congruent with as much, from
# a probability that is close to zero; what sets selected neurons apart is that their token is the
# one that really follows, and that they raise it more when they are switched on. Silencing head and neuron together costs as
# many nats as the two cost one by one. If all of the head's effect went through this neuron, nothing would be left of it once the
# neuron is gone, so some of it takes other ways. How much, this sum cannot say: a token that has become less likely loses more
# nats to the same push. All heads that are kept for a neuron, silenced at once, cost its token about as much as the neuron does.
# No other heads were silenced together for comparison, so a part of this may come from silencing several heads at all.

# %% [markdown]
# What is not known: how much the neurons of a token carry together that are not sound, and what
# takes over when one neuron is silenced.
#
# ```{admonition} Try it
# :class: tip
# Choose a token with several selected neurons, write them as `neurons:` into a copy of the run file, and
# compare their falls. Does the one that fires most also carry most?
# ```
