# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# (next-token-neurons)=
# # Does a neuron have a token of its own?
#
# An MLP neuron writes one fixed direction to the {term}`residual stream`, more or less of it. If
# that direction points at one token of the {term}`unembedding`, the neuron is a candidate
# {term}`next-token neuron` {cite}`neo2024`. But any direction at all, even a random one, points
# fairly well at the best of many thousand tokens. So we measure the {term}`congruence` of every
# neuron and compare it with two {term}`nulls <null>`.
#
# | needs | leaves |
# | --- | --- |
# | the model of the run | `neurons`: every neuron with its token |

# %% tags=["parameters"]
# Everything else stands in the run's file.
run: str = "smollm2"  # a run's id, or a path to its .yml

# %% tags=["hide-input"]
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from einops import einsum
from IPython.display import Markdown
from myst_nb import glue

from lookups.run.store import Stopwatch, save
from lookups.corpus.documents import run_documents
from lookups.errors import RunError
from lookups.show.figures import COLOURS, house_style
from lookups.model.loaded import load_model
from lookups.names import Neuron
from lookups.statistics.bootstrap import percent
from lookups.settings import check_run, read_run
from lookups.show.views import readable

settings = read_run(run)
model = load_model(settings.model)
check_run(settings, model)
house_style()
stopwatch = Stopwatch()

# %% [markdown]
# ## Neurons by hand
#
# What a neuron writes, times the unembedding, is what one unit of its {term}`activation` adds to the
# {term}`logit` of every token, up to the scale of the model's final norm:

# %% tags=["hide-input"]
given = [Neuron.parse(name) for name in settings.examples]
given = [one for one in given if one.sign in model.signs]
by_hand = given or [Neuron(settings.layers[-1], 0)]
example = by_hand[0]
Markdown(
    "We begin with the neurons of the {ref}`running example <running-example>`, which every chapter "
    f"looks at by hand: {' and '.join(map(str, by_hand))}. The table has the tokens that each of them raises most."
    if given
    else f"We begin with the first neuron of the last layer of the run, {example}. The table has the tokens that it raises most."
)  # fmt: skip


# %%
def logits_per_unit(neuron: Neuron) -> torch.Tensor:
    return neuron.sign * model.w_out(neuron.layer)[neuron.index] @ model.w_u


effects = {neuron: logits_per_unit(neuron) for neuron in by_hand}

# %% tags=["hide-input"]
pd.concat(
    {
        str(one): pd.DataFrame(
            {
                "token": [f"“{readable(model.vocabulary[token])}”" for token in effects[one].topk(5).indices],
                "logits per unit": effects[one].topk(5).values.numpy(force=True).round(2),
            },
            index=range(1, 6),
        )
        for one in by_hand
    },
    axis=1,
)  # fmt: skip

# %% [markdown]
# Congruence is the largest of these numbers, for neuron $i$
#
# ```{math}
# :label: eq-congruence
# \operatorname{congruence}(i) = \max_t \; W_\text{out}[i] \cdot W_U[:, t]
# ```
#
# and the token where it is reached is the neuron's token, of equals the first. We go through blocks of
# the vocabulary, so that the neuron × vocabulary matrix is never held whole. With both signs, all neurons
# come first as they are, then all with their sign turned:


# %%
def congruence(directions, w_u, *, eligible=slice(None), signs=(1,), block=4096):
    ids = torch.arange(w_u.shape[1], device=w_u.device)[eligible]
    best = torch.full((len(signs), len(directions)), -torch.inf).to(w_u)
    token = torch.zeros_like(best, dtype=torch.long)
    for some in ids.split(block):
        products = einsum(directions, w_u[:, some], "neuron d, d token -> neuron token")
        for row, sign in enumerate(signs):
            value, first = products.max(dim=1) if sign > 0 else products.min(dim=1)
            token[row] = torch.where(sign * value > best[row], some[first], token[row])
            best[row] = torch.maximum(best[row], sign * value)
    return best.flatten(), token.flatten()


# %% [markdown]
# The two ways agree:

# %%
effect = effects[example]
value, token = congruence(example.sign * model.w_out(example.layer)[example.index][None], model.w_u)
assert int(token) == int(effect.argmax())
assert torch.isclose(value[0], effect.max(), rtol=1e-5)
f"{example}: congruence {float(value):.2f}, token {model.vocabulary[int(token)]!r}"

# %% [markdown]
# ## Which tokens may be a neuron's own
#
# The paper looks at all tokens and later drops neurons whose best token is not the beginning of a
# word: a space and at least two more characters. We call such a token wordlike. A
# token that was hardly ever seen in training keeps an unembedding that training never shaped, and
# such {term}`glitch tokens <glitch token>` crowd the top of the list. So we also ask that a token occurs at least
# {glue:text}`minimum-count` times in {glue:text}`counted-in`. The rule is coarse. Where texts are counted in place of
# training, it leaves out ordinary words, too, that these texts seldom use; and it makes a null easier to exceed, because a random
# direction has fewer tokens to choose from.

# %% tags=["hide-input"]
in_texts = torch.zeros(model.d_vocab, dtype=torch.long)
for document in run_documents(settings, model, "train"):
    in_texts += torch.bincount(torch.tensor(document.ids).long(), minlength=model.d_vocab)
counted = model.token_counts is not None
occurrences = model.token_counts if counted else in_texts


# %%
def wordlike(text: str) -> bool:
    return text.startswith(" ") and len(text) >= 3


words = torch.tensor([wordlike(text) for text in model.vocabulary])
enough = settings.minimum_count if counted else settings.minimum_in_texts
enough = 0 if settings.prompts is not None else enough  # a few prompts count no token well
learned = occurrences >= enough
eligible = {"paper": torch.ones_like(words), "sound": words & learned}

# %% tags=["hide-input"]
if not eligible["sound"].any():
    raise RunError(
        f"no word occurs {enough} times in the run's train texts; lower minimum_in_texts"
    )
glue("minimum-count", enough, display=False)
glue("counted-in", "the model's training" if counted else "the run's train texts", display=False)
Markdown(
    f"Of the {len(words):,} tokens of the vocabulary, {int(eligible['sound'].sum()):,} remain."
)

# %% [markdown]
# ```{admonition} Differs from the paper
# :class: note
# Under `protocol: sound` a neuron's token is its best among these tokens; the paper takes the best of
# all tokens and rejects glitch tokens by hand. The paper's choice is kept in columns of its own.
# ```
#
# Now we give every neuron of every layer its token, under both rules. In a {term}`gated MLP` neurons
# can also act by strongly negative activations; so each neuron stands in the table a second time,
# with its sign turned and a minus behind its name.


# %% tags=["hide-input"]
def tokens_of_neurons(rule: str) -> tuple[np.ndarray, np.ndarray]:
    """Congruence and token id of all neurons, layer after layer."""
    allowed = eligible[rule].to(model.device)
    found = [
        congruence(model.w_out(layer), model.w_u, eligible=allowed, signs=model.signs)
        for layer in range(model.n_layers)
    ]
    return tuple(torch.cat(column).numpy(force=True) for column in zip(*found, strict=True))


every = model.neurons(range(model.n_layers))
neurons = pd.DataFrame(every, columns=["layer", "index", "sign"])
neurons.insert(0, "neuron", [str(neuron) for neuron in every])
for prefix, rule in {"": settings.protocol, "paper_": "paper"}.items():
    neurons[f"{prefix}congruence"], neurons[f"{prefix}token_id"] = tokens_of_neurons(rule)
    neurons[f"{prefix}token"] = [model.vocabulary[token] for token in neurons[f"{prefix}token_id"]]

# %% tags=["hide-input"]
changed = int((neurons.token_id != neurons.paper_token_id).sum())
told = neurons.set_index("neuron").loc[[str(one) for one in given]]
differ = [
    f" For {name} it is “{readable(row.token)}” in place of “{readable(row.paper_token)}”."
    for name, row in told.iterrows()
    if row.token_id != row.paper_token_id
]
Markdown(
    f"Protocol `{settings.protocol}` gives {changed:,} of {len(neurons):,} neurons another token than "
    f"the paper's rule does: there the best of all tokens is too rare or not wordlike.{''.join(differ)}"
)  # fmt: skip

# %% [markdown]
# ## Against chance
#
# Two nulls say what chance would reach. In the *isotropic* one ({term}`random-direction null`)
# every neuron is replaced by a random direction of the same length:


# %%
def normal_like(w_out: torch.Tensor, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)  # on the CPU: the same on every device
    return torch.randn(w_out.shape, generator=generator, dtype=torch.float64).to(w_out)


def isotropic_null(w_out: torch.Tensor, seed: int) -> torch.Tensor:
    drawn = normal_like(w_out, seed)
    return drawn * (w_out.norm(dim=1, keepdim=True) / drawn.norm(dim=1, keepdim=True))


# %% [markdown]
# In the *rotation* one ({term}`rotation null`) the rows of $W_\text{out}$ are mixed by a random rotation of the neuron
# basis. With $W_\text{out} = Q R$ that is $Q' R$, where $Q'$ is a random orthonormal frame. A rotated neuron writes
# into the same subspace, with exactly the same covariance, as the real ones,
# but is no neuron that training chose. So it asks the sharper question: what it reaches is due to
# where the layer writes, not to single neurons.


# %%
def rotation_null(w_out: torch.Tensor, seed: int) -> torch.Tensor:
    triangular = torch.linalg.qr(w_out.double()).R.to(w_out)
    q, r = torch.linalg.qr(normal_like(w_out, seed).double())
    return (q * r.diagonal().sign()).to(w_out) @ triangular  # signs make frames uniform


# %% [markdown]
# A neuron's percentile is the share of its layer's null draws that lie below its congruence.


# %%
def percentile_in(null: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    below = torch.searchsorted(null.sort().values, values.contiguous())
    return 100 * below.double() / len(null)


# %%
DRAWS = range(settings.seed, settings.seed + 2)
tokens = eligible[settings.protocol].to(model.device)


def null_of(draw_null, layer: int) -> torch.Tensor:
    draws = [
        congruence(draw_null(model.w_out(layer), s), model.w_u, eligible=tokens) for s in DRAWS
    ]
    return torch.cat([value for value, _ in draws]).cpu()


nulls = {
    layer: {"isotropic": null_of(isotropic_null, layer), "rotation": null_of(rotation_null, layer)}
    for layer in sorted({*settings.layers, *settings.middle_layers})
}

# %% tags=["hide-input"]
for name, column in {"rotation": "null_percentile", "isotropic": "isotropic_percentile"}.items():
    neurons[column] = np.nan
    for layer, null in nulls.items():
        here = neurons.layer == layer
        values = torch.tensor(neurons.congruence[here].to_list())
        neurons.loc[here, column] = percentile_in(null[name], values).numpy()

# %% [markdown]
# If training had made no next-token neurons, the neurons in {numref}`fig-congruence` would be spread
# like the nulls, and one in a hundred would lie beyond the 99th percentile.

# %% tags=["hide-input"] mystnb={"figure": {"caption": "Are there more neurons of high congruence than chance would make? Top: the congruence of all neurons of the run's layers (filled) and of the two nulls (lines), on a logarithmic scale; next-token neurons are the part of the filled tail that lies to the right of both lines. Bottom: the share of each layer's neurons beyond the 99th percentile of the rotation null; the dashed line is what chance gives.", "name": "fig-congruence"}, "image": {"alt": "Histogram of congruence with two null distributions, and the share of neurons beyond the rotation null by layer"}}
late = neurons[neurons.layer.isin(settings.layers)]
drawn = {name: torch.cat([nulls[layer][name] for layer in settings.layers]).numpy() for name in ("isotropic", "rotation")}  # fmt: skip
edges = np.linspace(0, max(map(np.max, (late.congruence, *drawn.values()))), 60)
figure, (axis, below) = plt.subplots(
    2, 1, figsize=(6.5, 5), height_ratios=[3, 2], layout="constrained"
)
axis.hist(late.congruence, edges, density=True, color=COLOURS["sky"], label="neurons")
for name, colour in {"isotropic": "grey", "rotation": "orange"}.items():
    axis.hist(drawn[name], edges, density=True, histtype="step", linewidth=1.5, color=COLOURS[colour], label=f"{name} null")  # fmt: skip
axis.set(xlabel="congruence (logits per unit of activation)", ylabel="density", yscale="log")
axis.legend()
beyond = late.groupby("layer").null_percentile.apply(lambda one: (one >= 99).mean())
below.plot(beyond.index, 100 * beyond, "o", color=COLOURS["blue"])
below.axhline(1, color="black", linestyle="--", linewidth=0.8)
below.set_xticks(list(settings.layers))
below.set(xlabel="layer", ylabel="beyond (%)", ylim=(0, 1.15 * max(1, 100 * beyond.max())))
plt.show()

# %% [markdown]
# ## The paper's list
#
# In each chosen layer the paper keeps the neurons of highest congruence, provided that the token is
# wordlike and the neuron was not rejected by hand. Where a run names middle layers, the same rule is
# applied there, as a control.


# %%
def papers_list(layer: int) -> pd.DataFrame:
    rows = neurons[(neurons.layer == layer) & neurons.paper_token.map(wordlike)]
    rows = rows[~rows.neuron.isin(list(settings.rejected))]
    order = rows.sort_values(["paper_congruence", "index"], ascending=[False, True])
    return order.head(settings.neurons_per_layer)


# %% tags=["hide-input"]
def named_in_run(layer: int) -> pd.DataFrame:
    rows = neurons[(neurons.layer == layer) & ~neurons.neuron.isin(list(settings.rejected))]
    if settings.neurons is not None:
        return rows[rows.neuron.isin(settings.neurons)]
    rows = rows[rows.token.isin(settings.tokens)].sort_values("congruence", ascending=False)
    return rows.head(settings.neurons_per_layer)


search = settings.neurons is None and settings.tokens is None
neurons["group"] = "other"
for layer in settings.middle_layers:
    neurons.loc[papers_list(layer).index, "group"] = "middle"
for layer in settings.layers:
    top = papers_list(layer) if search else named_in_run(layer)
    neurons.loc[top.index, "group"] = "top"

# %% tags=["hide-input"]
by_congruence = neurons.sort_values(["layer", "congruence", "index"], ascending=[True, False, True])
neurons["rank"] = (by_congruence.groupby("layer").cumcount() + 1).reindex(neurons.index)

# %% [markdown]
# The first of the list in layer {glue:text}`last-searched`, the last that this run searches, with how often their
# tokens occur in {glue:text}`counted-in`:

# %% tags=["hide-input"]
glue("last-searched", settings.layers[-1], display=False)
head = papers_list(settings.layers[-1]).head(6)
count = occurrences[head.paper_token_id.to_list()].tolist()
head.assign(occurrences=count).set_index("neuron")[
    ["paper_token", "paper_congruence", "occurrences", "token", "congruence", "rank"]
].round(2)

# %% tags=["hide-input"]
told = neurons.set_index("neuron").loc[[str(one) for one in given]]
places = [
    f"{one} has rank {told['rank'][str(one)]} in its layer, by its congruence with “{readable(told.token[str(one)])}”"
    for one in given
]
Markdown(f"Of the running example, {', and '.join(places)}.") if given else None

# %% [markdown]
# ## Does the model do what the weights say?
#
# Congruence is computed from weights alone. Does the most congruent neuron of the model's own last
# layer move the logits as {eq}`eq-congruence` says? We add one unit to its activation in a real
# forward pass. The prediction divides by the final norm's scale σ in the undisturbed pass, and both
# changes are compared after their mean over tokens is taken out, since logits are defined up to a
# constant.

# %% tags=["hide-input"]
strongest = neurons[neurons.layer == model.n_layers - 1].sort_values("congruence").iloc[-1]
batch = model.batch([[int(strongest.token_id)] * 3])


def push(post: torch.Tensor, hook) -> torch.Tensor:
    post = post.clone()
    post[0, -1, strongest["index"]] += strongest.sign
    return post


layer = model.n_layers - 1
_, seen = model.bridge.run_with_cache(batch.ids, names_filter=["ln_final.hook_scale"])
before = model.logits(batch)[0, -1]
pushed = model.bridge.run_with_hooks(batch.ids, fwd_hooks=[(f"blocks.{layer}.mlp.hook_post", push)])

# %%
measured = pushed[0, -1] - before
predicted = strongest.sign * model.w_out(layer)[strongest["index"]] @ model.w_u
predicted = predicted / seen["ln_final.hook_scale"][0, -1]
both = torch.stack([predicted - predicted.mean(), measured - measured.mean()])
agreement = float(torch.corrcoef(both)[0, 1])

# %% tags=["hide-input"]
glue("logit-agreement", f"{agreement:.2f}", display=False)
glue("logit-neuron", f"“{readable(strongest.token)}” neuron, {strongest.neuron}", display=False)
order = both[0].topk(4).indices.tolist()
pd.DataFrame(
    {"predicted": both[0, order].tolist(), "measured": both[1, order].tolist()},
    index=pd.Index([readable(model.vocabulary[token]) for token in order], name="token"),
).round(2)

# %% [markdown]
# This is the {glue:text}`logit-neuron`. Over the whole vocabulary, prediction and measurement
# correlate at {glue:text}`logit-agreement`. What separates them is σ, which the push itself changes;
# with σ frozen they are the same numbers.

# %% tags=["hide-input"]
# The table holds every neuron once, every congruence is the logit of its own token, and no rejected
# neuron is on the list.
assert neurons.neuron.is_unique
assert len(neurons) == model.n_layers * model.d_mlp * len(model.signs)
some = neurons.sample(20, random_state=settings.seed)
rows = torch.stack(
    [s * model.w_out(a)[i] for a, i, s in zip(some.layer, some["index"], some.sign, strict=True)]
)
again = (rows * model.w_u[:, some.token_id.to_list()].T).sum(1).numpy(force=True)
assert np.allclose(again, some.congruence, rtol=1e-4, atol=1e-4)
assert not neurons[neurons.group == "top"].neuron.isin(list(settings.rejected)).any()

save(settings, "neurons", neurons, model=model, seconds=stopwatch.seconds)
Markdown(f"Saved `neurons`: {len(neurons)} rows.")

# %% [markdown]
# ## What we know

# %% tags=["hide-input"]
above = neurons[neurons.layer.isin(settings.layers)].groupby("layer").null_percentile
shares = above.apply(lambda percentile: (percentile >= 99).mean())
best = shares.max()
beyond_isotropic = (
    late.assign(out=late.isotropic_percentile >= 99).groupby("layer").out.mean().agg(["min", "max"])
)
glue("share-above-rotation", percent(best, digits=1), display=False)
reading = (
    "So some neurons point at a token more strongly than the directions that their layer writes in can explain."
    if best > 0.02
    else "So congruence by itself singles out nothing in this model: any mix of the layer's "
    "neurons would do as well."
)
Markdown(
    ", ".join(f"layer {layer}: {percent(share, digits=1)}" for layer, share in shares.items())
    + f". Beyond the 99th percentile of the isotropic null lie {percent(beyond_isotropic['min'], digits=1)} to "
    f"{percent(beyond_isotropic['max'], digits=1)} of a layer's neurons. {reading}"
)

# %% [markdown] tags=["default-run"]
# We expected only a few neurons to stand out, since any direction points at some token. There are
# many: in the layers that we search, five to ten in a hundred neurons lie beyond the level that one in a hundred
# would pass by chance, and common words such as *one*, *all* and *its* head the list of the last of them. Both nulls
# say so. In the middle layers the paper's rule
# finds nothing of the kind: its neurons there are no more congruent than rotated ones. The running
# example warns us not to trust congruence alone. The “ result” neuron stands out beyond chance
# without being on the list, and the “ or” neuron does not even reach the 99th percentile of its layer.

# %% [markdown]
# We do not know yet whether a neuron *acts* as its token says. A congruent neuron may fire where its
# token never follows.
#
# ## Exercises
#
# **1.** Why is a congruence of two or three no evidence for a next-token neuron? Compare the largest
# logit of the first neuron above with that of a random direction of the same length, each in standard
# deviations over the vocabulary.

# %% tags=["hide-cell"]
# The largest of many thousand numbers lies several standard deviations out, whatever the direction.
# Only what a neuron has beyond that is its own.
row = example.sign * model.w_out(example.layer)[example.index][None]
chance = isotropic_null(row, settings.seed)[0] @ model.w_u
beyond_mean = [float((one.max() - one.mean()) / one.std()) for one in (effect, chance)]
assert min(beyond_mean) > 0
dict(zip([str(example), "random direction"], np.round(beyond_mean, 1).tolist(), strict=True))

# %% [markdown]
# **2.** Which tokens does the second rule, that a token must have been learned, keep off the list? Find
# the neurons that the paper's list would have in the run's layers for a token that is too rare.

# %% tags=["hide-cell"]
# Rare and odd tokens. Where the best of all tokens is allowed, both rules give the same token, so
# the congruence is the same; elsewhere it falls, often by much.
allowed = eligible[settings.protocol].numpy()[neurons.paper_token_id]
same = neurons[allowed]
assert np.allclose(same.congruence, same.paper_congruence, rtol=1e-4, atol=1e-4)
some = pd.concat([papers_list(layer) for layer in settings.layers])
some = some[~eligible["sound"].numpy()[some.paper_token_id]]
{"neurons": len(some), "tokens": sorted(set(some.paper_token))[:12]}

# %% [markdown]
# To find out what sets the neurons off we need texts: {ref}`prompts`.
#
# ## Appendix: numbers
#
# The numbers behind {numref}`fig-congruence`, and the lists of this run and of its middle layers:

# %% tags=["hide-input", "hide-output"]
shown = []
for layer in settings.layers:
    kinds = {"neurons": neurons.congruence[neurons.layer == layer].to_numpy()} | nulls[layer]
    for name, values in kinds.items():
        low, high = np.quantile(np.asarray(values), [0.5, 0.99])
        shown.append((layer, name, round(float(low), 2), round(float(high), 2)))
pd.DataFrame(shown, columns=["layer", "directions", "median", "99 %"])

# %% tags=["hide-input", "hide-output"]
groups = neurons[neurons.group != "other"].groupby("group", sort=True)
pd.DataFrame(
    {
        "neurons": groups.size(),
        "median congruence": groups.congruence.median().round(2),
        "median percentile in the rotation null": groups.null_percentile.median().round(1),
        "different tokens": groups.token_id.nunique(),
    }
)
