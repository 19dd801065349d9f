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
from IPython.display import Markdown
from myst_nb import glue

from lookups.run.store import Stopwatch, save
from lookups.measure.congruence import congruence, isotropic_null, percentile_in, rotation_null
from lookups.corpus.documents import run_documents
from lookups.errors import RunError
from lookups.show.figures import COLOURS, house_style
from lookups.model.loaded import load_model
from lookups.names import Neuron
from lookups.statistics.bootstrap import percent
from lookups.settings import check_run, read_run

settings = read_run(run)
model = load_model(settings.model)
check_run(settings, model)
house_style()
stopwatch = Stopwatch()

# %% [markdown]
# ## One neuron by hand
#
# Take the first neuron of the last layer of the run. What it writes, times the unembedding, is what
# one unit of its {term}`activation` adds to every token's {term}`logit`, up to the scale of the
# model's final norm:

# %%
example = Neuron(settings.layers[-1], 0)
effect = model.w_out(example.layer)[example.index] @ model.w_u
most = effect.topk(5)
pd.DataFrame(
    {
        "token": [model.vocabulary[token] for token in most.indices],
        "logits per unit": most.values.numpy(force=True).round(2),
    }
)

# %% [markdown]
# Congruence is the largest of these numbers, for neuron $i$
#
# ```{math}
# :label: eq-congruence
# \operatorname{congruence}(i) = \max_t \; W_\text{out}[i] \cdot W_U[:, t]
# ```
#
# and the token where it is reached is the neuron's token. {func}`~lookups.measure.congruence.congruence`
# finds it without ever holding the neuron × vocabulary matrix. The two ways agree:

# %%
quick = congruence(model.w_out(example.layer)[example.index][None], model.w_u)
assert int(quick.token_id) == int(effect.argmax())
assert torch.isclose(quick.value[0], effect.max(), rtol=1e-5)
f"{example}: congruence {float(quick.value):.2f}, token {model.vocabulary[int(quick.token_id)]!r}"

# %% [markdown]
# ## Which tokens may be a neuron's own
#
# The paper looks at all tokens and later drops neurons whose best token is not the beginning of a
# word: a space and at least two more characters. We also ask that the token was really learned. A
# token that was hardly ever seen in training keeps an unembedding that training never shaped, and
# such {term}`glitch tokens <glitch token>` crowd the top of the list. Where it is not known how
# often a token occurred in training, it must occur often enough in the texts that this run reads
# (counted in the folded cell).

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
pd.Series({rule: int(tokens.sum()) for rule, tokens in eligible.items()}, name="tokens").to_frame()

# %% [markdown]
# ```{admonition} Differs from the paper
# :class: note
# Under `protocol: sound` a neuron's token is its best among wordlike tokens that occur at least
# {glue:text}`minimum-count` times in {glue:text}`counted-in`; the paper takes the best of all tokens
# and rejects glitch tokens by hand. The paper's choice is kept in columns of its own.
# ```

# %% [markdown]
# Now we do this for every neuron of every layer, under both rules. In a {term}`gated MLP` neurons
# can also act by strongly negative activations; so each neuron stands in the table a second time,
# with its sign turned.


# %%
def tokens_of_neurons(rule: str) -> tuple[np.ndarray, np.ndarray]:
    """Congruence and token id of all neurons, layer after layer."""
    allowed = eligible[rule].to(model.device)
    found = [
        congruence(model.w_out(layer), model.w_u, eligible=allowed, signs=model.signs)
        for layer in range(model.n_layers)
    ]
    values = torch.cat([one.value for one in found]).numpy(force=True)
    return values, torch.cat([one.token_id for one in found]).numpy(force=True)


every = model.neurons(range(model.n_layers))
neurons = pd.DataFrame(every, columns=["layer", "index", "sign"])
neurons.insert(0, "neuron", [str(neuron) for neuron in every])
for prefix, rule in {"": settings.protocol, "paper_": "paper"}.items():
    neurons[f"{prefix}congruence"], neurons[f"{prefix}token_id"] = tokens_of_neurons(rule)
    neurons[f"{prefix}token"] = [model.vocabulary[token] for token in neurons[f"{prefix}token_id"]]

# %% [markdown]
# How much does the choice of rule change?

# %%
changed = int((neurons.token_id != neurons.paper_token_id).sum())
glue("minimum-count", enough, display=False)
glue("counted-in", "the model's training" if counted else "the run's train texts", display=False)
Markdown(
    f"Protocol `{settings.protocol}` gives {changed} of {len(neurons)} neurons another token than "
    "the paper's rule does."
)

# %% [markdown]
# ## Against chance
#
# Two nulls say what chance would reach. In the *isotropic* one ({term}`random-direction null`)
# every neuron is replaced by a random direction of the same length. In the *rotation* one
# ({term}`rotation null`) the rows of $W_\text{out}$ are mixed by a random rotation of the neuron
# basis. A rotated neuron writes into the same subspace, with the same covariance, as the real ones,
# but is no neuron that training chose. That is the stricter null: what it reaches is due to where
# the layer writes, not to single neurons. Both are drawn for the layers that this run looks at.

# %%
DRAWS = range(settings.seed, settings.seed + 2)
tokens = eligible[settings.protocol].to(model.device)


def null_of(draw_null, layer: int) -> torch.Tensor:
    draws = [
        congruence(draw_null(model.w_out(layer), s), model.w_u, eligible=tokens) for s in DRAWS
    ]
    return torch.cat([draw.value for draw in draws]).cpu()


nulls = {
    layer: {"isotropic": null_of(isotropic_null, layer), "rotation": null_of(rotation_null, layer)}
    for layer in sorted({*settings.layers, *settings.middle_layers})
}

# %% [markdown]
# A neuron's percentile is the share of its layer's null draws that lie below its congruence:

# %%
for name, column in {"rotation": "null_percentile", "isotropic": "isotropic_percentile"}.items():
    neurons[column] = np.nan
    for layer, null in nulls.items():
        here = neurons.layer == layer
        values = torch.tensor(neurons.congruence[here].to_list())
        neurons.loc[here, column] = percentile_in(null[name], values).numpy()

# %% [markdown]
# In {numref}`fig-congruence`, a layer in which training made next-token neurons shows a tail of
# neurons to the right of both nulls.

# %% tags=["hide-input"] mystnb={"figure": {"caption": "Congruence of the neurons of each of the run's layers (filled) against the two nulls (lines). Read the right-hand tails: a neuron is remarkable only beyond the rotation null.", "name": "fig-congruence"}, "image": {"alt": "Histograms of congruence by layer with two null distributions"}}
figure, axes = plt.subplots(1, len(settings.layers), squeeze=False, sharey=True)
shown = []
for axis, layer in zip(axes[0], settings.layers, strict=True):
    kinds = {"neurons": neurons.congruence[neurons.layer == layer].to_numpy()} | nulls[layer]
    edges = np.linspace(0, max(float(np.max(np.asarray(v))) for v in kinds.values()), 60)
    axis.hist(kinds["neurons"], edges, density=True, color=COLOURS["sky"], label="neurons")
    for name, colour in {"isotropic": "grey", "rotation": "orange"}.items():
        axis.hist(nulls[layer][name], edges, density=True, histtype="step", color=COLOURS[colour],
                  label=f"{name} null")  # fmt: skip
    axis.set(title=f"layer {layer}", xlabel="congruence (logits per unit of activation)")
    for name, values in kinds.items():
        low, high = np.quantile(np.asarray(values), [0.5, 0.99])
        shown.append((layer, name, round(float(low), 2), round(float(high), 2)))
axes[0, 0].set_ylabel("density")
axes[0, 0].legend()
plt.show()
pd.DataFrame(shown, columns=["layer", "directions", "median", "99 %"])

# %% [markdown]
# ## The paper's list
#
# In each chosen layer the paper keeps the neurons of highest congruence, provided that the token is
# wordlike and the neuron was not rejected by hand:


# %%
def papers_list(layer: int) -> pd.DataFrame:
    rows = neurons[(neurons.layer == layer) & neurons.paper_token.map(wordlike)]
    rows = rows[~rows.neuron.isin(list(settings.rejected))]
    order = rows.sort_values(["paper_congruence", "index"], ascending=[False, True])
    return order.head(settings.neurons_per_layer)


# %% [markdown]
# Neurons or tokens named in the run file replace that search. Where the run names middle layers, the
# same rule is applied there, as a control.


# %%
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

# %% [markdown]
# Ranks count from 1 within a layer, by congruence under the run's protocol:

# %%
by_congruence = neurons.sort_values(["layer", "congruence", "index"], ascending=[True, False, True])
neurons["rank"] = (by_congruence.groupby("layer").cumcount() + 1).reindex(neurons.index)
groups = neurons[neurons.group != "other"].groupby("group", sort=True)
pd.DataFrame(
    {
        "neurons": groups.size(),
        "median congruence": groups.congruence.median().round(2),
        "median percentile in the rotation null": groups.null_percentile.median().round(1),
        "different tokens": groups.token_id.nunique(),
    }
)

# %% [markdown]
# The first ten of the list in the last layer of the run, with how often their tokens occur in
# {glue:text}`counted-in`:

# %%
head = papers_list(settings.layers[-1]).head(10)
count = occurrences[head.paper_token_id.to_list()].tolist()
head.assign(occurrences=count)[
    ["neuron", "paper_token", "paper_congruence", "occurrences", "token", "congruence", "rank"]
].round(2)

# %% [markdown]
# ## What the neuron does to the logits
#
# Congruence is computed from weights alone. Does the most congruent neuron of the last layer of the
# model move the logits as {eq}`eq-congruence` says? We add one unit to its activation in a real
# forward pass. The prediction divides by the final norm's scale σ in the undisturbed pass, and both
# changes are compared after their mean over tokens is taken out (logits are defined up to a
# constant):

# %%
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
measured = pushed[0, -1] - before
predicted = strongest.sign * model.w_out(layer)[strongest["index"]] @ model.w_u
predicted = predicted / seen["ln_final.hook_scale"][0, -1]

# %%
both = torch.stack([predicted, measured])
both = both - both.mean(dim=1, keepdim=True)
agreement = float(torch.corrcoef(both)[0, 1])
glue("logit-agreement", round(agreement, 2), display=False)
order = both[0].topk(4).indices.tolist()
pd.DataFrame(
    {"predicted": both[0, order].tolist(), "measured": both[1, order].tolist()},
    index=[model.vocabulary[token] for token in order],
).round(2)

# %% [markdown]
# Over the whole vocabulary, prediction and measurement correlate at {glue:text}`logit-agreement`.
# What separates them is σ, which the push itself changes; with σ frozen they are the same numbers.
#
# ## Check and save
#
# The table holds every neuron once, every congruence is the logit of its own token, and no rejected
# neuron is on the list:

# %%
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

# %% [markdown] tags=["default-run"]
# We expected only a few neurons to stand out, since any direction points at some token. There are
# many: in the layers that we search, one neuron in ten or twenty lies beyond what chance reaches in
# one case of a hundred, and common words such as *one*, *all* and *its* head the list. The two
# nulls hardly differ, so little depends on which of them is used. In the middle layers the paper's
# rule finds nothing of the kind: its neurons there are no more congruent than rotated ones. What
# this chapter cannot show is whether a neuron fires where its word follows.

# %% [markdown]
# ## What we know
#
# What share of each layer's neurons lies beyond the 99th percentile of the rotation null? Chance
# gives one in a hundred.

# %%
above = neurons[neurons.layer.isin(settings.layers)].groupby("layer").null_percentile
shares = above.apply(lambda percentile: (percentile >= 99).mean())
best = shares.max()
glue("share-above-rotation", percent(best, digits=1), display=False)
reading = (
    "So some neurons point at a token more strongly than the directions that their layer writes in can explain."
    if best > 0.02
    else "So congruence by itself singles out nothing in this model: any mix of the layer's "
    "neurons would do as well."
)
Markdown(
    ", ".join(f"layer {layer}: {percent(share, digits=1)}" for layer, share in shares.items())
    + f". {reading}"
)

# %% [markdown]
# What is not known: whether a neuron *acts* as its token says. A congruent neuron may fire where
# its token never follows. To find out we need texts, which the next chapter reads: {ref}`prompts`.
#
# ```{admonition} Try it
# :class: tip
# Set `minimum_count: 0` in a copy of the run file. Which tokens now head the list, and how often do
# they occur in training?
# ```
