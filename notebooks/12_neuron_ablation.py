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
# A {term}`next-token neuron` is said to promote its token. If that is true, three things should
# follow: the token becomes less likely when the neuron is silenced where it fires, nothing is lost
# where it was silent anyway, and the token becomes more likely when the neuron is switched on. We
# test all three on held-out texts, and do the same with random neurons for comparison.
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
from lookups.measure.ablation import ablate, mean_over_tokens
from lookups.measure.routes import logp_without
from lookups.explain.running_example import running_neurons, running_pair, running_prompt
from lookups.names import Head, Neuron
from lookups.settings import check_run, read_run
from lookups.show.views import PromptText, prompt_table, readable

settings = read_run(run)
model = load_model(settings.model)
check_run(settings, model)
house_style()
stopwatch = Stopwatch()
rates = load(settings, "follow_rates")
neurons = rates.drop_duplicates("neuron").set_index("neuron")
suffixes = load(settings, "suffixes")
pairs = load(settings, "pairs")
ablated = load(settings, "head_ablations")
ablated = ablated[ablated.kind == "zero"]
NOTHING = Markdown("*This run has no neuron to silence, so there is nothing to show here.*")
CONTEXTS = ["fires", "follows_silent", "other"]
UNITS = {"fall": "points", "log_fall": "nats"}
ROW = ["neuron", "prompt", "context"]
PROMPT = ["neuron", "split", "prompt"]
reported = "test" if (suffixes.split == "test").any() else "train"


def named(neuron: str) -> str:
    return f"“{readable(neurons.token[neuron])}” ({neuron})"


def next_token(token_id: int) -> str:
    """What really followed a prompt; nothing is known of it at the end of one's own."""
    return model.vocabulary[token_id] if token_id >= 0 else ""


# %% [markdown]
# ## Two neurons by hand
#
# We begin with the {ref}`running example <running-example>`, the two neurons that we look at by hand in
# every chapter. For each we take a typical held-out prompt on which its head is active, and set the
# neuron's activation to zero at every position but the {term}`BOS`. The table has the probability of its token, also
# without the head ({ref}`head-ablation`) and without both:

# %% tags=["hide-input"]
hand = {}
for name in running_neurons(settings, rates):
    pair = running_pair(pairs, name)
    mine = suffixes[(suffixes.neuron == name) & (suffixes.split == reported)]
    of_pair = ablated[(ablated.neuron == name) & (ablated["head"] == (pair or (name, ""))[1])]
    if len(of_pair):
        mine = mine.merge(of_pair[[*PROMPT, "active"]], on=PROMPT)
    mine = mine.assign(
        token=neurons.token[name], next_token=mine.next_token_id.map(next_token).to_numpy(object)
    )
    if (prompt := running_prompt(mine)) is not None:
        hand[name] = (pair, prompt)


# %%
def zero(post, hook):
    post = post.clone()
    post[:, 1:, neuron.index] = 0.0  # the BOS is left as it is
    return post


# %% tags=["hide-input"]
def probability(hooks: list) -> float:
    with model.bridge.hooks(fwd_hooks=hooks):
        logits = model.logits(model.batch([ids]))
    return float(logits[0, -1].double().softmax(-1)[int(neurons.token_id[str(neuron)])])


by_hand, shown = {}, []
for name, (pair, prompt) in hand.items():
    neuron, ids = Neuron.parse(name), [int(token) for token in prompt.token_ids]
    own = {"as it is": probability([])}
    own["without the neuron"] = probability([(f"blocks.{neuron.layer}.mlp.hook_post", zero)])
    if pair:
        token, head = [int(neurons.token_id[name])], (Head.parse(pair[1]),)
        for what, silenced in {"without the head": (), "without both": (neuron,)}.items():
            own[what] = float(np.exp(logp_without(model, [ids], token, [head], [silenced])[0]))
    by_hand[name] = own
    text = model.decode(ids)
    shown.append({"neuron": named(name), "head": pair[1] if pair else "–", "prompt": text if len(text) < 44 else f"…{text[-44:]}"}
                 | {what: percent(p) for what, p in own.items()})  # fmt: skip
pd.DataFrame(shown).fillna("–").set_index("neuron") if shown else NOTHING

# %% [markdown] tags=["default-run"]
# Both neurons fire where they should, but only the first of them matters much. Without the “ result” neuron its token loses
# nearly all of its probability. Silencing its head as well hardly adds to that, since a token that has so little
# left has little to lose. Without the “ or” neuron its token remains nearly certain. It does need the *head*, which reads “either”
# ({ref}`attention`), so the head must reach the token by other ways than this neuron ({ref}`direct-path`).
# Whether most neurons are like the first or like the second is the question of this chapter.

# %% [markdown]
# ## Three kinds of text
#
# Now we take all selected neurons, and the random neurons matched to them in how strongly and how
# often they fire and in how frequent their token is ({ref}`prompts`). Each is read with its own
# token, on held-out texts of three kinds that are chosen at random:
#
# - `fires`: the neuron's own cut prompts, at most {glue:text}`each-kind`. Its token may follow or not.
# - `follows_silent`: the token follows although the neuron is silent, at most
#   {glue:text}`each-followed` texts. Silent means below {glue:text}`silent-share` of its strongest
#   training activation.
# - `other`: another token follows, at most {glue:text}`each-other` texts.
#
# The last two are taken from all positions of the held-out documents. No text is longer than
# {glue:text}`longest-text` tokens.

# %%
EACH, FOLLOWED, OTHERS, LONGEST_TEXT, SILENT = 10, 8, 6, 24, 0.1

# %% tags=["hide-input"]
own_prompts = suffixes[suffixes.split == "train"].groupby("neuron")
strongest, typical = own_prompts.whole_activation.max(), own_prompts.activation.median()
examined = neurons[neurons.selected | (neurons.group == "random")]
examined = examined[examined.index.isin(strongest.index)]
documents = run_documents(settings, model, reported)
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


# %% tags=["hide-input"]
def followed_by(token_id: int) -> pd.DataFrame:
    """Texts that the token follows; whether a neuron is silent there is not known yet."""
    places = np.flatnonzero(following == token_id)
    random = lots_of(settings.seed, "follows", str(token_id))
    return texts_at(random.permutation(places)[:FOLLOWED], "follows_silent")


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
# ## Controls
#
# A neuron might matter only because *any* large change upsets the model, or because it moves all
# tokens. On the same texts there are two {term}`controls <control>` for that:
#
# - *other neuron*: another neuron of the run's layers is changed in its place, and the same token is
#   read. It is one that writes about as much to the residual stream where the first one fires: its mean
#   activation there, times the length of its output weights, differs by a factor of {glue:text}`factor` at
#   most. Its own token is another one. Elsewhere the two need not be matched.
# - *other token*: the neuron itself is changed, and the token of another neuron is read.

# %% tags=["hide-input"]
layers = sorted({Neuron.parse(name).layer for name in rows.neuron} or {0})
fires = rows[rows.context == "fires"].reset_index(drop=True)
written_by = torch.cat([model.w_out(layer) for layer in layers]).double().norm(dim=1)


# %%
FACTOR = 1.5


def nearest_in_size(sizes: np.ndarray, own: int, *, factor: float, barred=()) -> int | None:
    if not sizes[own] > 0:
        return None
    with np.errstate(divide="ignore"):
        away = np.abs(np.log(sizes / sizes[own]))
    away[[own, *barred]] = np.inf
    nearest = int(away.argmin())
    return nearest if away[nearest] <= np.log(factor) else None


# %% tags=["hide-input"]
def partner(neuron: str, mean: torch.Tensor) -> dict | None:
    """Another neuron that writes about as much where this one fires; `mean` is of all neurons."""
    own = Neuron.parse(neuron)
    sizes = (mean.abs() * written_by).cpu().numpy()
    at = layers.index(own.layer) * model.d_mlp + own.index
    same = neurons[neurons.layer.isin(layers) & (neurons.token_id == neurons.token_id[neuron])]
    barred = same.layer.map(layers.index) * model.d_mlp + same["index"]
    other = nearest_in_size(sizes, at, factor=FACTOR, barred=barred.tolist())
    return None if other is None else partner_facts(own, at, other, mean, sizes)


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
matched = {}
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
    matched[group] = row


def other_token(neuron: str) -> int | None:
    """The token of another examined neuron."""
    tokens = np.unique(examined.token_id[examined.token_id != neurons.token_id[neuron]])
    return int(lots_of(settings.seed, "token", neuron).choice(tokens)) if len(tokens) else None


# %% [markdown]
# A neuron's activation is changed in three ways
# ({func}`~lookups.measure.ablation.ablate` measures the token before and after):
#
# | kind | the activation is held at | where |
# | --- | --- | --- |
# | `zero` | zero | every position but {term}`BOS` |
# | `mean` | its mean over tokens of training documents | every position but BOS, in the texts where it fires |
# | `on` | the median of its own training prompts | the last position, where the neuron was silent |
#
# The other neuron is switched on far enough to write as much.

# %% tags=["hide-input"]
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
# Texts on which a neuron should be silent and is not are left out:

# %% tags=["hide-input"]
seen = effects[(effects.kind == "zero") & (effects.control == "none")]
activation = pd.MultiIndex.from_frame(effects[ROW]).map(seen.set_index(ROW).act_before)

# %%
bound = SILENT * effects.neuron.map(strongest).to_numpy(float)
effects["silent"] = activation.to_numpy(float) < bound
unsuited = ((effects.context == "follows_silent") | (effects.kind == "on")) & ~effects.silent
looked_at, effects = effects, effects[~unsuited]

# %% tags=["hide-input"]
contexts = {}
for group in GROUPS:
    asked = of_group(looked_at, neurons, group)
    asked = asked[(asked.kind == "zero") & (asked.control == "none")]
    row = {"neurons": asked.neuron.nunique()}
    for context in CONTEXTS:
        some = asked[asked.context == context]
        row[f"texts, {context}"] = int((some.silent if context == "follows_silent" else some.context.notna()).sum())  # fmt: skip
    fired, followed = (asked[asked.context == c] for c in CONTEXTS[:2])
    for name, values, some in (("token follows where it fires", fired.follows, fired),
                               ("silent where the token follows", followed.silent, followed)):  # fmt: skip
        row[name] = written(bootstrap_mean(values, some.neuron, seed=settings.seed), digits=2)
    contexts[group] = row
for name, own in by_hand.items():  # the prompts from above come out the same
    key = [name, hand[name][1].prompt, "zero", "none", "fires"]
    same = effects[(effects[["neuron", "prompt", "kind", "control", "context"]] == key).all(axis=1)]
    for row in same.itertuples():
        assert np.allclose([row.p_before, row.p_after], [own["as it is"], own["without the neuron"]], atol=1e-3)  # fmt: skip
assert (effects[effects.kind == "zero"].act_after == 0).all()
selected = seen[seen.neuron.isin(neurons.index[neurons.selected])]
fired, followed = (selected[selected.context == context] for context in CONTEXTS[:2])
Markdown(
    f"{seen.neuron.nunique()} neurons were examined, {selected.neuron.nunique()} of them selected. A selected neuron's token follows in "
    f"{percent(fired.groupby('neuron').follows.mean().mean())} of the texts in which the neuron fires. Of the texts in which its token "
    f"follows, the neuron is silent in a share of {contexts['selected']['silent where the token follows']}; a random neuron in "
    f"{contexts['random']['silent where the token follows']}. Whether the model expects the token there is not counted."
) if len(selected) else NOTHING  # fmt: skip

# %% [markdown]
# ## What is lost without it
#
# A fall is measured in two units that need not agree: percentage points of the token's probability,
# and {term}`nats <nat>` of its logarithm. Losing one nat takes 32 points from a token that had 50 %, but hardly
# anything from one that had .1 %. We average over the texts of each neuron first and over neurons
# then; intervals come from a {term}`bootstrap` over neurons.


# %% tags=["hide-input"]
def of_neurons(group: str, contexts: list, kind: str, control: str, change: str) -> pd.Series:
    """Each neuron's mean change, for a group; all numbers below are made of these."""
    some = of_group(effects, neurons, group)
    some = some[some.context.isin(contexts) & (some.kind == kind) & (some.control == control)]
    return some.groupby("neuron")[change].mean()


def over_neurons(values: pd.Series) -> Estimate:
    return bootstrap_mean(values, values.index, seed=settings.seed)


def in_both(made) -> str:
    """The same quantity in both units; `made` takes a unit."""
    in_points, in_nats = made("fall"), made("log_fall")
    return f"{written(in_points, times=100, digits=1)} points and {written(in_nats, digits=2)} nats"


# %% tags=["hide-input"] mystnb={"figure": {"caption": "What silencing costs the token, by kind of text: the neuron and its own token (blue, filled), another neuron that writes about as much (square), and the neuron and another token (triangle). Means over selected neurons with 95 % intervals. If neurons promote their tokens where they fire, only the topmost blue circle lies far to the right of zero. Above in percentage points of probability, below in nats.", "name": "fig-neuron-silenced"}, "image": {"alt": "Mean falls of the token by kind of text and control, in points and in nats"}}
CONTROLS = {"none": "o", "other neuron": "s", "other token": "^"}
WORDS = {"fires": "the neuron fires", "follows_silent": "token follows,\nneuron silent", "other": "another\ntoken follows"}  # fmt: skip
figure, axes = plt.subplots(2, 1, figsize=(5.8, 5.2), sharey=True)
silenced_table = {}
for axis, (unit, name) in zip(axes, UNITS.items(), strict=True):
    times, tell = (100, points) if name == "points" else (1, written)
    for place, context in enumerate(CONTEXTS):
        for shift, (control, mark) in enumerate(CONTROLS.items()):
            values = of_neurons("selected", [context], "zero", control, unit)
            mean = over_neurons(values)
            at, colour = place + 0.22 * (shift - 1), COLOURS["blue" if control == "none" else "grey"]  # fmt: skip
            label = {"none": "own token"}.get(control, control)
            axis.hlines(at, times * mean.low, times * mean.high, color=colour)
            axis.plot(times * mean.mean, at, mark, color=colour, label=None if place else label,
                      fillstyle="full" if control == "none" else "none")  # fmt: skip
            row = silenced_table.setdefault(("selected", context, control), {"neurons": len(values)})  # fmt: skip
            row[name] = tell(mean)
    for control in CONTROLS:
        values = of_neurons("random", ["fires"], "zero", control, unit)
        row = silenced_table.setdefault(("random", "fires", control), {"neurons": len(values)})
        row[name] = tell(over_neurons(values))
    axis.axvline(0, color="black", linewidth=0.8)
    axis.set(xlabel=f"fall of {'p(token), percentage points' if times > 1 else 'log p(token), nats'}")  # fmt: skip
axes[0].set_yticks(range(len(CONTEXTS)), [WORDS[context] for context in CONTEXTS])
axes[0].set_ylim(len(CONTEXTS) - 0.5, -0.5)
axes[0].legend(loc="lower right")
plt.show()


# %% tags=["hide-input"]
def group_gap(contexts: list, kind: str, change: str, sign: int = 1) -> Estimate:
    """What a selected neuron's token loses more than a random one's."""
    both = [sign * of_neurons(group, contexts, kind, "none", change) for group in GROUPS]
    return group_difference(*(Values(some, some.index) for some in both), seed=settings.seed)


def own_less(control: str, unit: str) -> Estimate:
    """What the neuron takes from its token, less what the control takes, where both are known."""
    some = [of_neurons("selected", ["fires"], "zero", c, unit) for c in ("none", control)]
    return over_neurons((some[0] - some[1]).dropna())


def told(made, sentence: str, more: str, less: str, same: str, of: str = "") -> str:
    """A sentence with the word that fits, or one for each unit; `made` takes a unit."""
    found = {name: made(unit) for unit, name in UNITS.items()}
    if not all(np.isfinite(one.low) for one in found.values()):
        return "There are too few selected or random neurons to say more."
    words = {name: more if one.low > 0 else less if one.high < 0 else same for name, one in found.items()}  # fmt: skip
    agree = words["points"] == words["nats"]
    word = words["nats"] if agree else f"{words['points']} in points and {words['nats']} in nats"
    return f"{sentence.format(word)} ({of}{in_both(made)})."


def turned(one: Estimate, sign: int) -> Estimate:
    return one if sign > 0 else Estimate(-one.mean, -one.high, -one.low)


def lost(unit: str) -> Estimate:
    return over_neurons(of_neurons("selected", ["fires"], "zero", "none", unit))


def following_is(follows: bool) -> Estimate:
    some = of_group(effects, neurons, "selected")
    some = some[(some.context == "fires") & (some.kind == "zero") & (some.control == "none")]
    return over_neurons(some[some.follows == follows].groupby("neuron").log_fall.mean())


AMOUNTS = ("less", "more", "not measurably less or more")
lines = [
    told(lost, "Without a selected neuron, its token is {} where the neuron fires", "less likely", "*more* likely", "about as likely"),
    told(lambda unit: group_gap(["fires"], "zero", unit),
         "A matched random neuron takes {} from its own token", *AMOUNTS, "a difference of "),
    told(lambda unit: own_less("other neuron", unit),
         "Another neuron that writes about as much takes {} from the same token", *AMOUNTS, "a difference of "),
    told(lambda unit: own_less("other token", unit),
         "The neuron takes {} from another token than from its own", *AMOUNTS[:2], "no less", "a difference of "),
    told(lambda unit: over_neurons(of_neurons("selected", ["follows_silent"], "zero", "none", unit)),
         "Where the token follows and the neuron is almost silent, setting it to zero costs {}", "something", "less than nothing", "nothing measurable"),
]  # fmt: skip
first_said = list(dict.fromkeys([lines[0], lines[2]]))  # the second compares the same token
other = {unit: over_neurons(of_neurons("selected", ["fires"], "zero", "other token", unit)) for unit in UNITS}  # fmt: skip
gains = other["log_fall"].mean < 0
Markdown(
    "\n".join(f"- {line}" for line in dict.fromkeys(lines))
    + f"\n\nHolding the neuron at its mean instead of zero costs {in_both(lambda unit: over_neurons(of_neurons('selected', ['fires'], 'mean', 'none', unit)))}. "
    f"Where the neuron fires and its token follows, {written(following_is(True), digits=2)} nats are lost, and "
    f"{written(following_is(False), digits=2)} where another token follows. The token of another neuron {'gains' if gains else 'loses'} "
    f"{in_both(lambda unit: turned(other[unit], -1 if gains else 1))} where the neuron fires. Where the token follows and the neuron is almost silent, "
    f"the other neuron in its place costs {in_both(lambda unit: over_neurons(of_neurons('selected', ['follows_silent'], 'zero', 'other neuron', unit)))}. In "
    f"texts of the third kind, in which the neuron does not fire, it costs its token {in_both(lambda unit: over_neurons(of_neurons('selected', ['other'], 'zero', 'none', unit)))}."
) if len(effects) else NOTHING  # fmt: skip

# %% [markdown]
# A random neuron's own token is the one that it is most {term}`congruent <congruence>` with, which seldom follows and has
# a probability close to zero. It can therefore lose many nats and hardly any points. Neither unit
# is the right one: nats compare what neurons *write*, and points compare what *matters* for the prediction.
#
# ## Do most neurons matter, or a few?
#
# The mean could be due to a few strong neurons. {numref}`fig-each-neuron` therefore shows all of them.

# %% tags=["hide-input"] mystnb={"figure": {"caption": "How many neurons matter how much: the share of neurons (up) whose token falls by at least so much (across) when the neuron is set to zero where it fires. The further right a curve stays high, the more of its neurons matter. Blue: selected neurons; orange: another neuron that writes about as much, silenced in their place; grey: the matched random neurons with their own tokens.", "name": "fig-each-neuron"}, "image": {"alt": "Share of neurons whose token falls by at least so much, in points and in nats"}}
figure, axes = plt.subplots(2, 1, figsize=(5.8, 5.6), sharey=True)
curves = {
    "selected": ("selected", "none", "blue"),
    "another in their place": ("selected", "other neuron", "orange"),
    "random": ("random", "none", "grey"),
}
each_table, bars = {}, {"fall": (1, 5), "log_fall": (0.1, 0.5)}
for axis, (unit, title) in zip(axes, UNITS.items(), strict=True):
    times = 100 if title == "points" else 1
    for name, (group, control, colour) in curves.items():
        each = times * of_neurons(group, ["fires"], "zero", control, unit).sort_values()
        if len(each):
            up = 1 - np.arange(len(each)) / len(each)
            axis.step([*each, each.iloc[-1]], [*up, 0], where="pre", color=COLOURS[colour], label=f"{name} ({len(each)})")  # fmt: skip
        row = each_table.setdefault(name, {"neurons": len(each)})
        row |= {f"above {bar:g} {title}": int((each > bar).sum()) for bar in bars[unit]}
    axis.axvline(0, color="black", linewidth=0.8)
    axis.set(xlabel=f"mean fall, {'percentage points' if times > 1 else 'nats'}", ylim=(0, 1.03), ylabel="share of neurons")  # fmt: skip
if any(row["neurons"] for row in each_table.values()):
    axes[0].legend()
plt.show()

# %% tags=["hide-input"]
mine, theirs, drawn = (each_table[name] for name in curves)
Markdown(
    f"{mine['above 5 points']} of {mine['neurons']} selected neurons cost their token more than five points, and "
    f"{theirs['above 5 points']} of {theirs['neurons']} of the other neurons that were silenced in their place. More than half a nat it is in "
    f"{mine['above 0.5 nats']} and {theirs['above 0.5 nats']}. ({drawn['above 5 points']} of {drawn['neurons']} random neurons cost their own token "
    f"five points and {drawn['above 0.5 nats']} half a nat, but most of their tokens have no five points to lose.) The table has the selected "
    "neurons whose token falls most in nats without them, and those whose token falls least:"
) if len(effects) else NOTHING  # fmt: skip

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
# Below are the texts of the two neurons of the running example in which the token's probability moves
# most when the neuron is silenced. The token is appended, and struck out where something else came
# *next*; the note gives its probability with the neuron and without.

# %% tags=["hide-input"]
columns = {}
for name in hand:
    some = effects[(effects.neuron == name) & (effects.kind == "zero") & (effects.control == "none")]  # fmt: skip
    some = some[some.context == "fires"].merge(rows[[*ROW, "token_ids", "next_token_id"]], on=ROW)
    some = some.assign(moved=some.fall.abs()).sort_values(["moved", "prompt"], ascending=[False, True])  # fmt: skip
    columns[f"{named(name)} silenced where it fires"] = [
        PromptText(model.decode(r.token_ids[-16:]), neurons.token[name],
                   f"{percent(r.p_before)} → {percent(r.p_after)}", next_token(r.next_token_id) or None)
        for r in some.head(5).itertuples()
    ]  # fmt: skip
prompt_table(columns) if hand else NOTHING

# %% [markdown]
# ## Switched on
#
# Silencing shows what a neuron is needed for; switching it on shows what it can do. Where the neuron
# was silent we set its activation, at the last position, to the median of its own prompts. If it
# promotes its token, that token rises and others do not ({numref}`fig-switched-on`).

# %% tags=["hide-input"] mystnb={"figure": {"caption": "If neurons promote their own token and no other, the dots on the left lie above zero and those further right around it. One dot a neuron, the bar is the median: rise of log p for its own token; for its token when another neuron is switched on instead, to write as much; and for another token. Blue: selected neurons; grey: the random ones matched to them.", "name": "fig-switched-on"}, "image": {"alt": "Rises of log probability when neurons are switched on, by control and group"}}
figure, axis = plt.subplots(figsize=(6.4, 3.6))
on_table, SILENT_TEXTS = {}, ["other", "follows_silent"]
for shift, group in zip((-0.2, 0.2), GROUPS, strict=True):
    for place, control in enumerate(CONTROLS):
        rises = {unit: -of_neurons(group, SILENT_TEXTS, "on", control, unit) for unit in UNITS}
        each = rises["log_fall"].sort_values(ascending=False)
        at, colour = place + shift, COLOURS["blue" if group == "selected" else "grey"]
        label = None if place else f"{group} ({len(each)})"
        axis.plot(at + np.linspace(-0.14, 0.14, len(each)), each, ".", color=colour, label=label)
        if len(each):
            axis.hlines(each.median(), at - 0.18, at + 0.18, color=colour)
        on_table[group, control] = {
            "neurons": len(each), "rise, points": points(over_neurons(rises["fall"])),
            "rise, nats": written(over_neurons(rises["log_fall"])), "neurons with a rise": int((each > 0).sum()),
        }  # fmt: skip
axis.axhline(0, color="black", linewidth=0.8)
axis.set_xticks(range(3), ["own token", "other neuron", "other token"])
axis.set(ylabel="rise of log p(token), nats")
axis.legend()
plt.show()

# %% tags=["hide-input"]
lines += [
    told(lambda unit: over_neurons(-of_neurons("selected", SILENT_TEXTS, "on", "none", unit)),
         "Switched on, a selected neuron makes its token {}", "more likely", "less likely", "about as likely"),
    told(lambda unit: group_gap(SILENT_TEXTS, "on", unit, -1),
         "Switched on, a random neuron raises its token {}", *AMOUNTS, "a difference of "),
]  # fmt: skip
Markdown(" ".join(dict.fromkeys(lines[-2:]))) if len(effects) else NOTHING

# %% [markdown]
# (together)=
# ## Head and neuron together
#
# What is lost when head and neuron are silenced together? If the head worked *through* the neuron alone, both together
# would cost no more than the neuron. If the two worked independently, one might expect the losses to add up. But neither
# unit answers the question by itself: in points a token cannot lose more than it has, so two large losses fall short of their
# sum in any case, and in nats a token that the first silencing has made unlikely loses more to the second. We read the held-out prompts of
# {ref}`head-ablation` on which the head is active. Since other heads or neurons may do the same
# work, we also silence all heads that are kept for the neuron, and all
# {term}`sound <sound neuron>` neurons of its token
# ({func}`~lookups.measure.routes.logp_without`).

# %% tags=["hide-input"]
cases = ablated[ablated.active.astype(bool)]
cases = of_group(cases, neurons, "selected")[["neuron", "head", "split", "prompt", "logp_before", "logp_after"]]  # fmt: skip
cases = cases.merge(suffixes[[*PROMPT, "token_ids"]], on=PROMPT)
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
table, over_pairs, ours = {}, {}, of_pairs.set_index(["neuron", "head"])
for name in rows_of:
    found = over_pairs[name] = {unit: bootstrap_mean(of_pairs[f"{name}, {unit}"], of_pairs.neuron, seed=settings.seed) for unit in ("nats", "points")}  # fmt: skip
    table[name] = {"pairs": len(of_pairs), "nats": written(found["nats"]), "points": points(found["points"])}  # fmt: skip
    for one, (pair, _) in hand.items():
        if pair in ours.index:
            table[name][f"“{readable(neurons.token[one])}”, points"] = (
                f"{100 * ours.at[pair, f'{name}, points']:.0f}"
            )
added = over_pairs["both, less the sum of the two"]
several = sum(len(one) > 1 for one in dict(zip(cases.neuron, all_neurons, strict=True)).values())
glue("several-neurons", f"{several} of {cases.neuron.nunique()}", display=False)
pd.DataFrame(table).T.rename_axis("the token's fall without") if len(cases) else NOTHING

# %% [markdown]
# Losses in nats and in points are means over pairs, with intervals over neurons; the last columns
# are those of the running example. Only pairs that have a held-out prompt with an active head can be
# counted. {glue:text}`several-neurons` of their neurons have another sound neuron of the same token in this run; for the others, the
# rows on all sound neurons say nothing new.

# %% tags=["hide-input"]
if np.isfinite(added["nats"].low):
    lines.append(
        told(lambda unit: added[UNITS[unit]], "Compared with the sum of the two losses, silencing head and neuron together costs the token {}",
             "more", "less", "as much, as far as can be told,", "a difference of ")
    )  # fmt: skip
Markdown(lines[-1] if np.isfinite(added["nats"].low) else "There are too few pairs to compare the two sums.")  # fmt: skip

# %% [markdown]
# ```{admonition} Differs from the paper
# :class: note
# What the authors released holds no ablation of neurons {cite}`neo2024`. Here neurons are silenced and switched on, on held-out texts of three kinds,
# against other neurons and other tokens.
# ```

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
glue("neuron-fall", written(lost("log_fall")), display=False)
glue("neuron-fall-points", points(lost("fall")), display=False)
lines = list(dict.fromkeys(lines))
glue("headline", " ".join(first_said) if len(effects) else "No neuron was silenced.", display=False)
Markdown("\n".join(f"- {line}" for line in lines) if len(effects) else "No neuron was silenced.")

# %% [markdown] tags=["default-run"]
# One neuron among tens of thousands can be expected to matter little. Yet five in six selected neurons cost their token more
# than five points where they fire, and next to nothing where they are silent. Both of our examples are extremes: the “ result” neuron
# costs its token more than nearly all others, the “ or” neuron hardly anything. What surprised us is the
# comparison with random neurons. In nats we cannot tell them from selected ones by what they take from the token that their weights point
# at. What sets selected neurons apart is that their token is the one that really follows, and that
# they raise it more when they are switched on. The control neuron loses its match where the first neuron is silent: it is often active there
# on its own account, and costs the token more than the silent neuron does.
#
# Silencing head and neuron together costs fewer points than the two cost one by one, and in nats about their sum. Neither is
# evidence for or against a chain from head to neuron: a token cannot lose more points than it has, and in nats the second loss comes
# out too large. How much of
# the head's effect goes through the neuron is a question that only {ref}`direct-path` answers. All heads that are kept for a
# neuron cost its token much more, silenced at once, than one of them does. No other heads were
# silenced together for comparison, so a part of this may come from silencing several heads at all.

# %% [markdown]
# We do not know how much the other neurons of a token, those that are not sound, carry together, nor what takes
# over when one neuron is silenced. And everything so far was measured in a model in which nobody knows
# the right answer. {ref}`ground-truth` turns to models in which we do.
#
# ## Exercises
#
# **1.** Two neurons each cost their token one nat. Why can one of them cost it 30 points and the other
# none? Work out the fall in points from `p_before` and the fall in nats, for selected and for random neurons.

# %% tags=["hide-cell"]
# A fall of x nats leaves a token exp(-x) of its probability, so it costs p (1 - exp(-x)) points:
# next to nothing where p is small. The random neurons' tokens had little to lose.
some = effects[(effects.kind == "zero") & (effects.control == "none") & (effects.context == "fires")]  # fmt: skip
worked_out = some.p_before * (1 - np.exp(-some.log_fall))
assert np.allclose(worked_out, some.fall)
some.groupby(np.where(some.group == "random", "random", "selected")).agg(
    p_before=("p_before", "mean"), fall=("fall", "mean")
).round(2)

# %% [markdown]
# **2.** Does the neuron that fires more strongly also matter more? Compare the order of the selected
# neurons by their activation with the order by their fall in nats.

# %% tags=["hide-cell"]
# An activation says little by itself: what a neuron writes is its activation times the length of
# its output weights, and what that changes depends on how sure the model was without it.
some = of_group(some, neurons, "selected").groupby("neuron")[["act_before", "log_fall"]].mean()
by_rank = some.rank().corr().iloc[0, 1]
assert not abs(by_rank) > 1  # it is not a number where there are fewer than two neurons
round(float(by_rank), 1)

# %% [markdown]
# ## Appendix: tables
#
# How well the *other neurons* match, and how many texts of each kind there are:

# %% tags=["hide-input", "hide-output"]
pd.DataFrame(matched)

# %% tags=["hide-input", "hide-output"]
pd.DataFrame(contexts)

# %% [markdown]
# The numbers drawn in {numref}`fig-neuron-silenced`, {numref}`fig-each-neuron` and
# {numref}`fig-switched-on`:

# %% tags=["hide-input", "hide-output"]
pd.DataFrame(silenced_table).T.rename_axis(["neurons", "texts", "control"])

# %% tags=["hide-input", "hide-output"]
pd.DataFrame(each_table).T

# %% tags=["hide-input", "hide-output"]
pd.DataFrame(on_table).T.rename_axis(["neurons", "control"])
