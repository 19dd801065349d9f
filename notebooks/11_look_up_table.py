# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# (look-up-table)=
# # Can the look-up table be read off the weights?
#
# A head that looks at a token writes something about it, and the neuron reads what was written. Both
# steps are linear, so the weights alone say what every token of the vocabulary would add to the
# neuron's input if the head looked at it. If look-ups are what their name says, that list is the table in which
# they look up. We read it and ask how well it predicts what tokens really bring. For a few pairs we
# also ask the other half of the question: why does the head look where it looks?
#
# **In short:** {glue:text}`headline`
#
# | needs | leaves |
# | --- | --- |
# | `head_ablations` from {ref}`head-ablation` | nothing but its answer |
# | `follow_rates`, `suffixes`, `pairs` from {ref}`heads` and before | |

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
from scipy.stats import rankdata, spearmanr

from lookups.run.store import load
from lookups.corpus.documents import run_documents
from lookups.corpus.grammar import GRAMMAR, KINDS, SEEDS, labelled_documents
from lookups.measure.attention import look, looks
from lookups.measure.ground_truth import carried, targets_of
from lookups.measure.intervention import GROUPS, followed_first, of_group
from lookups.measure.activation import keeper
from lookups.measure.look_up_table import Held, directions, hold, mean_residuals, of_head
from lookups.explain.running_example import running_pairs, running_prompt
from lookups.show.figures import COLOURS, house_style
from lookups.model.forward import turned
from lookups.model.loaded import Model, load_model
from lookups.model.resume import ENTERS
from lookups.names import Head, Neuron
from lookups.settings import ModelSpec, check_run, read_run
from lookups.show.views import LONGEST, escaped, readable
from lookups.statistics.bootstrap import bootstrap_mean, lots_of, percent, written

settings = read_run(run)
model = load_model(settings.model)
check_run(settings, model)
house_style()
rates = load(settings, "follow_rates")
neurons = rates.drop_duplicates("neuron").set_index("neuron")
silenced, suffixes = load(settings, "head_ablations"), load(settings, "suffixes")
NOTHING = Markdown("*This run has no silenced head, so there is nothing to show here.*")
DECIDES = "post" if model.gated else "in"


def named(token: int) -> str:
    return f"“{readable(model.vocabulary[token])}”"


# %% [markdown]
# ## One list, by hand
#
# The rows are those of {ref}`head-ablation`, and so are the two pairs with their prompts: the
# {ref}`running example <running-example>`, and the second pair that we follow.

# %% tags=["hide-input"]
ROW, PAIR = ["neuron", "split", "prompt"], ["neuron", "head"]
total = silenced[silenced.kind == "zero"].merge(
    suffixes[[*ROW, "token_ids", "activation"]], on=ROW, validate="many_to_one"
)
total["active"] = total.active.astype(bool)
chosen = of_group(total, neurons, "selected")
chosen = chosen if len(chosen) else total


def typical(pair: tuple[str, str]) -> pd.Series | None:
    """The prompt of a pair that is shown."""
    mine = total[(total[PAIR] == [*pair]).all(axis=1)]
    token = mine.neuron.map(neurons.token_id)
    next_token = token.where(mine.follows.astype(bool))
    return running_prompt(mine.assign(token=token, next_token=next_token))


followed = map(typical, running_pairs(settings, rates, load(settings, "pairs")))
followed = [one for one in followed if one is not None]
hand = followed[0] if followed else None
if hand is not None:
    neuron, head = Neuron.parse(hand.neuron), Head.parse(hand["head"])
    ids = [int(i) for i in hand.token_ids]
Markdown("\n".join(
    f"- {one['head']} and the “{escaped(neurons.token[one.neuron])}” neuron ({one.neuron}), on “{escaped(model.decode(one.token_ids))}”"
    for one in followed
)) if followed else NOTHING  # fmt: skip

# %% [markdown]
# A source token whose {term}`residual <residual stream>` behind the norm of the head's layer is
# $\hat x$ adds to an input of the neuron
#
# ```{math}
# :label: eq-table
# A \; \hat x \, W_V W_O w_\mathrm{in} \, / \, \sigma
# ```
#
# where $A$ is the attention that it gets and $\sigma$ the scale of the norm in front of the neuron,
# at the last token. All but $A$ and $\hat x$ is one direction for each head and input of a neuron
# ({func}`~lookups.measure.look_up_table.directions`). A {term}`gated MLP` has two inputs, whose product is split
# evenly between them as in {ref}`heads`.
#
# No approximation is made: with the prompt's own residuals and scale, the direction times the attention gives what
# {ref}`attention` measured, source by source. For the first pair:

# %%
if hand is not None:
    seen: dict[str, torch.Tensor] = {}
    hook = ENTERS.format(head.layer)
    model.read(model.batch([ids]), {hook: lambda x: seen.update(x=model.forward.normed(x[0]))})
    towards = directions(model, neuron, head, hold(model, neuron, [ids]))
    for into, direction in towards.items():
        measured = look(model, neuron, [head], ids, into=into)
        brought = measured.pattern[0, -1] * (seen["x"] @ direction)
        size = measured.contribution.abs().sum() + 1e-3
        assert ((brought - measured.contribution[0]).abs().max() / size) < 1e-3

# %% [markdown]
# ## Two lists
#
# For a list of the whole vocabulary, something has to take the place of the prompt's residuals. We try two things:
#
# - the *embedding alone* of each token;
# - the *mean residual*: what entered the head's layer where the token stood, on average over texts of the run's training half
#   ({func}`~lookups.measure.look_up_table.mean_residuals`). Tokens that were rarely seen there have no entry in this list.
#
# Each residual is divided by its own scale before the mean is taken, so the second list
# is exactly what the token brought on average per unit of attention. The reading position is held
# at its mean over the neuron's strongest training prompts: $1/\sigma$, and in a gated MLP what each
# of the two inputs is worth to the product.

# %%
READ_AT_MOST, SEEN, HELD_AT = 10_000, 4, 4  # tokens of texts; times a token was seen; prompts


def texts_to_read() -> list:
    """The first documents of the training half, up to so many tokens."""
    documents = run_documents(settings, model, "train")
    lengths = np.cumsum(documents.lengths)
    return [documents[n].ids for n in range(max(1, int((lengths <= READ_AT_MOST).sum())))]


def held_of(neuron: str) -> Held:
    mine = suffixes[(suffixes.neuron == neuron) & (suffixes.split == "train")]
    mine = mine.sort_values(["activation", "prompt"], ascending=[False, True]).head(HELD_AT)
    return hold(model, Neuron.parse(neuron), mine.token_ids.tolist())


# %% tags=["hide-input"]
pairs = total[total.active].groupby(PAIR).size().reset_index(name="prompts")
layers = sorted({Head.parse(one).layer for one in pairs["head"]})
if len(pairs):
    texts = texts_to_read()
    residuals = mean_residuals(model, texts, layers, fewest=SEEN)
    row_of = pd.Series(range(len(residuals.tokens)), residuals.tokens.tolist())
    embedded = model.forward.normed(model.bridge.W_E)
    held = {name: held_of(name) for name in pairs.neuron.unique()}
Markdown(
    f"We read {len(texts)} texts with {sum(map(len, texts))} tokens. {len(row_of)} tokens of the vocabulary occur in "
    f"them {SEEN} times or more; they make up {percent(np.isin(np.concatenate(texts), row_of.index).mean())} of the texts."
) if len(pairs) else NOTHING  # fmt: skip


# %% [markdown]
# Every list needs one to be compared with. We take that of another head of the same layer, chosen at
# random, for the same neuron: it reads the same residuals, and only its own weights differ.


# %%
def another(neuron: str, head: str) -> Head:
    """A head of the same layer, chosen at random by the run's seed and the pair's name."""
    own = Head.parse(head)
    others = [index for index in range(model.n_heads) if index != own.index] or [own.index]
    return Head(own.layer, int(lots_of(settings.seed, "table", neuron, head).choice(others)))


# %% tags=["hide-input"]
def ordered(list_: torch.Tensor, tokens, most: int = 8) -> list[int]:
    """The first and the last of a list of the vocabulary, by what they would bring."""
    order = np.argsort(-list_.double().numpy(force=True).round(6), kind="stable")
    return [int(tokens[at]) for at in [*order[:most], *order[-most:]]]


def lists_of(one: pd.Series) -> pd.DataFrame:
    """The two ends of a pair's lists, and of another head's."""
    neuron, head = Neuron.parse(one.neuron), Head.parse(one["head"])
    mine = directions(model, neuron, head, held[one.neuron])
    rival = another(one.neuron, one["head"])
    other = directions(model, neuron, rival, held[one.neuron])[DECIDES]
    seen_tokens, by_token = residuals.tokens.tolist(), residuals.by_token[head.layer]
    alone = ordered(embedded @ mine[DECIDES], range(model.d_vocab))
    usual = ordered(by_token @ mine[DECIDES], seen_tokens)
    theirs = ordered(by_token @ other, seen_tokens)
    columns = {("embedding alone", "token"): list(map(named, alone)), ("mean residual", "token"): list(map(named, usual))}  # fmt: skip
    for into, direction in mine.items():
        sign = 1 if into == DECIDES else neuron.sign  # inputs as they are
        name = into if into in ("gate", "up") else "adds"
        columns["mean residual", name] = [round(sign * float(by_token[row_of[t]] @ direction), 2) + 0.0 for t in usual]  # fmt: skip
    columns[f"{rival}, mean residual", "token"] = list(map(named, theirs))
    n = len(usual) // 2
    return pd.DataFrame(columns, index=[*(f"{i + 1}" for i in range(n)), *(f"−{n - i}" for i in range(n))])  # fmt: skip


def looked_up(one: pd.Series) -> str:
    """Which place the token that the head reads most in the prompt has in the two lists."""
    neuron, head = Neuron.parse(one.neuron), Head.parse(one["head"])
    direction = directions(model, neuron, head, held[one.neuron])[DECIDES]
    paid = look(model, neuron, [head], one.token_ids).pattern[0, -1, 1:].double().numpy(force=True)
    token = int(one.token_ids[paid.round(5).argmax()])
    alone, usual = ((list_ @ direction).double().numpy(force=True).round(6) for list_ in (embedded, residuals.by_token[head.layer]))  # fmt: skip
    place = f"it is number {(usual > usual[row_of[token]]).sum() + 1} of {len(usual)} tokens" if token in row_of.index else "it has no entry, because it was seen too rarely"  # fmt: skip
    more = (alone > alone[token]).mean()
    better = f"{percent(more)} of the vocabulary" if more else "no other token"
    return (
        f"In the prompt, {one['head']} attends most to “{escaped(model.vocabulary[token])}”, with {percent(paid.max())} of its attention. "
        f"In the list of mean residuals {place}; by the embedding alone, {better} would bring more."
    )  # fmt: skip


listed = [one for one in followed if (pairs[PAIR] == [one.neuron, one["head"]]).all(axis=1).any()]
lists_of(listed[0]) if listed else NOTHING

# %% tags=["hide-input"]
Markdown(looked_up(listed[0])) if listed else NOTHING

# %% [markdown]
# The upper half has the tokens that would bring the neuron most, the lower half those that would
# hold it back most (−1 is the last). *Adds* is what a token adds to the neuron's activation when
# all attention goes to it; *gate* and *up*, where there are such inputs, are what it adds to each.
#
# And the lists of the second pair:

# %% tags=["hide-input"]
NO_SECOND = Markdown("*This run has no second pair whose head is active on a prompt.*")
lists_of(listed[1]) if len(listed) > 1 else NO_SECOND

# %% tags=["hide-input"]
Markdown(looked_up(listed[1])) if len(listed) > 1 else NO_SECOND

# %% [markdown]
# ## Does the list say which tokens bring something?
#
# For each pair we take all source tokens of its active prompts, without the
# beginning-of-sequence token, and correlate the ranks of two columns: what the list says of the
# token, and what this source really brought.
#
# What a source brings is a product of attention and of what the head would bring at full attention. The list knows
# nothing of attention, so we also correlate it with the second factor alone. A third list has the source's own residual:
# nothing but the attention is then missing. All three are compared on the same sources, those whose token has a mean residual.

# %%
FEWEST = 10  # sources of a pair whose token is in the list


def rank_correlation(said: np.ndarray, came: np.ndarray) -> float:
    known = np.isfinite(said) & np.isfinite(came)
    said, came = said[known].round(6), came[known].round(6)
    if len(said) < FEWEST or np.ptp(said) == 0 or np.ptp(came) == 0:
        return np.nan
    return float(spearmanr(said, came).statistic)


# %% tags=["hide-input"]
LISTS = ("embedding alone", "mean residual", "the source itself")
WHATS = {"would": "what it would bring at full attention", "brings": "what it really brings"}


def said_by(direction: torch.Tensor, layer: int, tokens: np.ndarray) -> list[np.ndarray]:
    """What the two lists say of some tokens; not-a-number where a token was rarely seen."""
    rows = row_of.reindex(tokens).to_numpy()
    known = np.isfinite(rows)
    usual = np.full(len(tokens), np.nan)
    # all tokens' numbers first, so that equal tokens have equal ones to the last bit
    alone, mean = ((list_ @ direction).double().numpy(force=True) for list_ in (embedded, residuals.by_token[layer]))  # fmt: skip
    usual[known] = mean[rows[known].astype(int)]
    return [alone[tokens], usual]


def judged(name: str, heads: list[str]) -> list[dict]:
    """For each pair of one neuron, the rank correlations of each list with what came."""
    own, neuron = {one: another(name, one) for one in heads}, Neuron.parse(name)
    every = list(dict.fromkeys([*map(Head.parse, heads), *own.values()]))
    mine = total[(total.neuron == name) & total.active].drop_duplicates("prompt")
    looked = dict(zip(mine.prompt, looks(model, neuron, every, mine.token_ids.tolist()), strict=True))  # fmt: skip
    found = []
    for text, rival in own.items():
        head = Head.parse(text)
        rows = total[(total.neuron == name) & (total["head"] == text) & total.active]
        tokens = np.concatenate(rows.token_ids.tolist()).astype(int)
        place, his = every.index(head), every.index(rival)
        came = {at: torch.cat([looked[p].contribution[at, 1:] for p in rows.prompt]).double().numpy(force=True) for at in (place, his)}  # fmt: skip
        paid = {at: torch.cat([looked[p].pattern[at, -1, 1:] for p in rows.prompt]).double().numpy(force=True) for at in (place, his)}  # fmt: skip
        with np.errstate(divide="ignore", invalid="ignore"):
            full = {at: came[at] / np.where(paid[at] > 0, paid[at], np.nan) for at in (place, his)}
        whole = torch.stack([looked[p].contribution[place].abs().sum() for p in rows.prompt]).sum()
        row = {"neuron": name, "head": text, "sources": len(tokens)}
        row["outside"] = 1 - float(np.abs(came[place]).sum() / max(float(whole), 1e-12))
        for who, one, at in (("own", head, place), ("other", rival, his)):
            lists = said_by(directions(model, neuron, one, held[name])[DECIDES], one.layer, tokens)
            lists = [np.where(np.isfinite(lists[1]), one, np.nan) for one in (*lists, full[at])]
            for kind, said in zip(LISTS, lists, strict=True):
                row[kind, "would", who] = rank_correlation(said, full[place])
                row[kind, "brings", who] = rank_correlation(said, came[place])
        row["covered"] = float(np.isfinite(lists[1]).mean())
        found.append(row)
    return found


result = [row for name, mine in pairs.groupby("neuron") for row in judged(name, mine["head"].tolist())]  # fmt: skip
result = pd.DataFrame(result) if result else pd.DataFrame(columns=["neuron", "head", "sources", "outside", "covered", *((k, w, o) for k in LISTS for w in WHATS for o in ("own", "other"))])  # fmt: skip
Markdown(
    f"There are {len(result)} pairs with {int(result.sources.sum())} source tokens. {percent(result.covered.mean())} of a "
    f"pair's sources have a mean residual. {percent(result.outside.mean())} of all that a head moves, up or down, comes from "
    "the beginning-of-sequence token, which brings the same in every prompt and is left out here."
) if len(result) else NOTHING  # fmt: skip

# %% [markdown]
# {numref}`fig-table` shows the second list of every pair, and the table has the means of all three lists.

# %% tags=["hide-input"] mystnb={"figure": {"caption": "Where the weights tell what a head looks up, dots lie high up and above the line, on which another head's list would predict as well. Each dot is a pair: the rank correlation of its own list of mean residuals (up) and of the list of another head of the same layer (across) with what source tokens of active prompts bring. Left: what a source would bring if it had all attention. Right: what it really brings. Filled dots are pairs of selected neurons, rings those of random ones.", "name": "fig-table"}, "image": {"alt": "Two scatter plots of the rank correlation of a pair's own list against that of another head's list"}}
if len(result):
    figure, axes = plt.subplots(1, 2, figsize=(8.2, 4.1), sharey=True)
    for axis, (what, words) in zip(axes, WHATS.items(), strict=True):
        axis.axline((0, 0), slope=1, color="black", linewidth=0.8)
        for group, colour, fill in zip(GROUPS, ("blue", "grey"), ("full", "none"), strict=True):
            dots = of_group(result, neurons, group)
            columns = [dots["mean residual", what, who] for who in ("other", "own")]
            axis.plot(*columns, "o", color=COLOURS[colour], fillstyle=fill, label=f"{group} neurons")  # fmt: skip
        axis.set(xlim=(-1.03, 1.03), ylim=(-1.03, 1.03), aspect="equal", title=words)
        axis.set_xlabel("another head's list")
    axes[0].set_ylabel("the pair's own list")
    axes[0].legend(loc="lower right")
    plt.show()


def own_and_other(own: pd.Series, other: pd.Series, units: pd.Series) -> list:
    """The mean of a pair's own list, of the other head's, and of the difference."""
    return [bootstrap_mean(column, units, seed=settings.seed) for column in (own, other, own - other)]  # fmt: skip


estimates, table = {}, {}
for group in GROUPS:
    mine = of_group(result, neurons, group)
    for kind in LISTS:
        row = {}
        for what, words in WHATS.items():
            both = [mine[kind, what, who].astype(float) for who in ("own", "other")]
            estimates[group, kind, what] = own, other, differ = own_and_other(*both, mine.neuron)
            row |= {(words, "own"): written(own, digits=2), (words, "other head"): written(other, digits=2), (words, "difference"): written(differ, digits=2)}  # fmt: skip
        table[group, kind] = row
pd.DataFrame(table).T.rename_axis(["neurons", "list"]) if len(result) else NOTHING

# %% [markdown]
# All numbers are means over pairs, with intervals that resample neurons.
#
# ## Why does the head look there?
#
# What a source brings depends as much on the attention it gets. The attention score is a product of the last
# token's query with the source's key, and the key is linear in the source's
# residual behind the norm. So the score splits without remainder into three parts,
# each with its position turned in where the model does so:
#
# - *position*, the key of the mean residual at this position of a text;
# - *token*, how the token's own mean residual departs from the mean of all;
# - *context*, the rest of this source's residual, which is what the text around it has added.
#
# Only differences between the sources of a prompt matter to attention. So we ask how much each part
# varies together with the whole score among the sources of one prompt. These shares sum to one; a
# negative share works against the others.


# %% tags=["hide-input"]
PARTS = ("position", "token", "context")


def parts_of_stream(model: Model, at: int, ids, own, residuals) -> torch.Tensor:
    """What a layer's sources are made of; what has no mean of its own has that of all tokens."""
    overall = residuals.overall[at]
    parts = overall.repeat(len(PARTS), len(ids), 1)
    known = residuals.by_position[at][: len(ids)]
    parts[0, : len(known)] = known
    tokens = torch.tensor([int(one) for one in ids], device=own.device)
    source, row = (tokens[:, None] == residuals.tokens).nonzero(as_tuple=True)
    parts[1, source] = residuals.by_token[at][row]
    parts[1] -= overall
    parts[2] = own[1:] - parts[0] - parts[1]
    return parts


@torch.no_grad()
def split_scores(model: Model, head: Head, ids, residuals) -> torch.Tensor:
    """The parts (part, source) of a prompt's last token's attention scores, before the softmax."""
    batch, at, seen = model.batch([ids]), head.layer, {}
    model.read(batch, {ENTERS.format(at): keeper(seen, "x", model.forward.normed)})
    own, layer = seen["x"][0], model.forward.layers[at]
    parts = parts_of_stream(model, at, ids, own, residuals)
    keys = parts @ of_head(model, head, layer.keys.weight).T
    if layer.keys.bias is not None:
        keys[0] += of_head(model, head, layer.keys.bias)
    if layer.key_gain is not None:  # the scale of the norm is held
        keys = keys * model.forward.head_scale(keys.sum(0), layer.key_gain)
    query = model.forward.heads(layer.queries(own[-1:]), layer.query_gain)[:, head.index]
    place = torch.arange(len(own), device=own.device)[None]
    keys = turned(keys[:, :, None], model.forward.turn_at(place[:, 1:], own))
    query = turned(query[None, :, None], model.forward.turn_at(place[:, -1:], own))
    return layer.scaling * einsum(keys, query, "part source h d, one pos h d -> part source")


# %%
def shares_of(scores: list[np.ndarray]) -> np.ndarray:
    """The share of each part in the variance of scores within prompts."""
    apart = [one - one.mean(axis=1, keepdims=True) for one in scores]
    covers = sum((one * one.sum(axis=0)).sum(axis=1) for one in apart)
    return covers / covers.sum()


# %% [markdown]
# We take five pairs that make good examples. The order is by how much more the neuron owes to the head on active prompts
# than on others, times how often its token really follows there ({func}`~lookups.measure.intervention.followed_first`).
# With each head we take another one of its layer, on the same prompts ({numref}`fig-why`). The scores, put through a
# softmax, must give the attention that was measured:

# %% tags=["hide-input"] mystnb={"figure": {"caption": "A head that looks for a word has a long blue bar, one that looks for a place a long grey one, and one that goes by what the text around has added a long orange one. Bars are the shares of position, token and context in the variance of a head's attention scores among the sources of a prompt, over active prompts of at most five pairs; in brackets is the token that the head looks at most often. The lighter bar below is another head of the same layer on the same prompts. A share left of zero works against the rest.", "name": "fig-why"}, "image": {"alt": "Stacked bars of three shares for up to five heads and another head of each one's layer"}}
split, looked_at = {}, {}
gaps = load(settings, "pairs")[[*PAIR, "gap"]]
chosen = chosen.merge(gaps, on=PAIR, validate="many_to_one")
for name, text in followed_first(chosen[chosen.token_ids.map(len) < LONGEST])[:5]:
    rows = total[(total.neuron == name) & (total["head"] == text) & total.active]
    rows = rows[rows.token_ids.map(len).gt(1)]
    for who, one in (("own", Head.parse(text)), ("other", another(name, text))):
        scores = [split_scores(model, one, i, residuals).double().numpy(force=True) for i in rows.token_ids]  # fmt: skip
        split[name, text, who] = shares_of(scores) if scores else np.full(len(PARTS), np.nan)
        if who == "own" and scores:
            most = [int(i[s.sum(0).round(5).argmax()]) for s, i in zip(scores, rows.token_ids, strict=True)]  # fmt: skip
            looked_at[name, text] = pd.Series(most).mode().iloc[0]
            pattern = look(model, Neuron.parse(name), [one], rows.token_ids.iloc[0]).pattern[0, -1, 1:]  # fmt: skip
            paid = (pattern / pattern.sum()).double().numpy(force=True)
            expected = np.exp(scores[0].sum(0) - scores[0].sum(0).max())
            assert np.allclose(expected / expected.sum(), paid, atol=1e-3)
split = {key: value for key, value in split.items() if np.isfinite(value).all()}
if split:
    figure, axis = plt.subplots(figsize=(7.6, 0.8 + 0.34 * len(split)))
    for at, shares in enumerate(split.values()):
        up, down, light = 0.0, 0.0, at % 2
        for part, share, colour in zip(PARTS, shares, ("grey", "blue", "orange"), strict=True):
            axis.barh(at - 0.15 * light, share, left=up if share > 0 else down, color=COLOURS[colour], alpha=1 - 0.6 * light, label=None if at else part, height=0.75)  # fmt: skip
            up, down = up + max(share, 0), down + min(share, 0)
    names = [
        f"{readable(neurons.token[n])}  {n}, {h} ({named(looked_at[n, h])})" if who == "own" else str(another(n, h))
        for n, h, who in split
    ]  # fmt: skip
    axis.set_yticks(range(len(split)), [name.replace("$", r"\$") for name in names])
    axis.invert_yaxis()
    axis.set(xlabel="share of the variance of scores within prompts")
    axis.legend(ncols=3, loc="upper center", bbox_to_anchor=(0.4, -0.18))
    plt.show()

# %% tags=["hide-input"]
if split:
    parts = pd.DataFrame(split, index=list(PARTS)).T.rename_axis(["neuron", "head", "whose"])
    parts = parts.round(2) + 0.0
    largest = parts.idxmax(axis=1)
    parts["most looked at"] = [named(looked_at[n, h]) if who == "own" else "" for n, h, who in split]  # fmt: skip
    counts = {who: largest.xs(who, level="whose").value_counts() for who in ("own", "other")}
    told = {who: ", ".join(f"the {part} for {some.get(part, 0)}" for part in PARTS) for who, some in counts.items()}  # fmt: skip
Markdown(
    f"Which part has the largest share? Of these {counts['own'].sum()} heads, {told['own']}; of the other heads of their layers, {told['other']}."
) if split else NOTHING  # fmt: skip

# %% [markdown]
# ## In planted worlds the table is known
#
# In the {term}`planted models <planted model>` ({ref}`ground-truth`) we know which words a list
# should have at its top. We take neurons of the last layer that are for one target: at least half
# of the 25 slots at which such a neuron fires most call for it, and of all targets it raises this
# one most. A head *carries* a kind of cue for the neuron if path patching on minimal pairs says so. Then the cue words of
# that kind that call for the target, behind one marker or another, should come first.
#
# The table has the share of the first k words of a list that are right, where k words are, and the mean rank of the right
# words, from 0 at the top to 1 at the end. *Rank among the kind* leaves out all words that are no cues of this kind.


# %%
def right_words(kind: str, target: int) -> list[int]:
    every = range(len(GRAMMAR.targets))
    markers = range(len(GRAMMAR.markers))
    calls = [m for m in every if target in [GRAMMAR.called_for(m, one) for one in markers]]
    return sorted(word for meant in calls for word in GRAMMAR.cues(kind, meant))


def top_share(list_: np.ndarray, right: list[int]) -> float:
    """How many of the first k words are right, where k words are."""
    return float(np.isin(np.argsort(-list_, kind="stable")[: len(right)], right).mean())


def mean_rank(list_: np.ndarray, right: list[int]) -> float:
    """The mean place of the right words: 0 at the top of the list, 1 at its end."""
    return float((rankdata(-list_)[right] - 1).mean() / (len(list_) - 1))


# %% tags=["hide-input"]
NEURONS, MINIMAL, CARRIES = 24, 20, 0.5
fresh = labelled_documents("fresh", 300)


def planted_neurons(planted) -> dict[Neuron, int]:
    """Neurons of the last layer that are for a target, by what they do and write."""
    targets = targets_of(planted, GRAMMAR, fresh, strongest=25, share=0.5)
    chosen = (targets >= 0).nonzero()[:NEURONS, 0].tolist()
    return {Neuron(planted.n_layers - 1, one): int(targets[one]) for one in chosen}


def ranked(seed: int) -> list[dict]:
    """For each head that carries a kind for a neuron, where the right words stand in its list."""
    planted = load_model(ModelSpec(name=f"planted-{seed}", device="cpu"))
    targets = planted_neurons(planted)
    truth = carried(planted, GRAMMAR, targets, n=MINIMAL)
    truth["carries"] = truth.change > CARRIES
    telling = set(truth[truth.carries][["neuron", "head", "kind"]].itertuples(index=False, name=None))  # fmt: skip
    means = mean_residuals(planted, [d.ids for d in fresh], sorted({Head.parse(h).layer for h in truth["head"]}), fewest=1)  # fmt: skip
    words, rows = means.tokens.tolist(), []
    for name, text, kind in sorted(telling):
        neuron, own = Neuron.parse(name), Head.parse(text)
        silent = [i for i in range(planted.n_heads) if (name, str(Head(own.layer, i)), kind) not in telling]  # fmt: skip
        rival = Head(own.layer, int(lots_of(seed, name, text, kind).choice(silent)))
        right = [words.index(word) for word in right_words(kind, targets[neuron])]
        same = [words.index(w) for m in range(len(GRAMMAR.targets)) for w in GRAMMAR.cues(kind, m)]
        within = [same.index(word) for word in right]
        row = {"neuron": f"{seed}/{name}", "kind": kind, "chance": len(right) / len(words)}  # fmt: skip
        for who, one in (("own", own), ("other", rival)):
            direction = next(iter(directions(planted, neuron, one, Held(1.0)).values()))
            list_ = (means.by_token[one.layer] @ direction).double().numpy().round(6)
            row |= {f"top, {who}": top_share(list_, right), f"rank, {who}": mean_rank(list_, right), f"among, {who}": mean_rank(list_[same], within)}  # fmt: skip
        rows.append(row)
    return rows


planted = pd.DataFrame([row for seed in SEEDS for row in ranked(seed)])
planted_top, table = {}, {}
for kind in (*KINDS, "all"):
    mine = planted if kind == "all" else planted[planted.kind == kind]
    row = {"lists": len(mine), "chance": f"{mine.chance.mean():.2f}"}
    for what, title in (("top", "share of the first k"), ("rank", "mean rank"), ("among", "rank among the kind")):  # fmt: skip
        both = [mine[f"{what}, {who}"] for who in ("own", "other")]
        planted_top[kind, what] = own, other, differ = own_and_other(*both, mine.neuron)
        row |= {f"{title}, own": f"{own.mean:.2f}", f"{title}, other": f"{other.mean:.2f}", f"{title}, difference": written(differ, digits=2)}  # fmt: skip
    table[kind] = row
pd.DataFrame(table).T.rename_axis("kind of cue")

# %% tags=["hide-input"]
missed = [kind for kind in KINDS if not planted_top[kind, "top"][2].low > 0]
share = {kind: planted_top[kind, "top"][0].mean for kind in KINDS}
whole, among = planted_top["all", "top"], planted_top["all", "among"]
glue("planted-top", f"{whole[0].mean:.2f}", display=False)
glue("planted-top-other", f"{whole[1].mean:.2f}", display=False)
Markdown(
    f"Of the words that should fill the top of a list, {percent(whole[0].mean)} are found there. In the list of a head that carries nothing "
    f"of the kind {percent(whole[1].mean)} are; chance is {percent(planted.chance.mean())}. The list does best for the kind {max(share, key=share.get)} "
    f"({percent(max(share.values()))}) and worst for {min(share, key=share.get)} ({percent(min(share.values()))}). "
    + (f"It cannot be told from the other head's for {' and '.join(missed)}. " if missed else "For all three kinds it does better than the other head's list. ")
    + f"Among the cues of one kind alone, where one half is chance, the mean rank of the right ones is {written(among[0], digits=2)} "
    f"({written(among[1], digits=2)} for the other head).\n\nThe rest is missed for two reasons. Words that are no cues of the kind can come first in a "
    "list. And in these models most of what a head tells a neuron reaches it by way of an earlier MLP, whereas a list from the weights knows "
    "the direct path only."
)  # fmt: skip

# %% [markdown]
# ## What we know

# %% tags=["hide-input"]
own, other, differ = estimates["selected", "mean residual", "brings"]
would, alone, itself = (estimates["selected", kind, what][0] for kind, what in (("mean residual", "would"), ("embedding alone", "brings"), ("the source itself", "brings")))  # fmt: skip
for name, value in {
    "own": own, "embedding": alone, "itself": itself,
    "random-difference": estimates["random", "mean residual", "brings"][2],
}.items():  # fmt: skip
    glue(f"table-{name}", written(value, digits=2), display=False)
better = "better than" if differ.low > 0 else "worse than" if differ.high < 0 else "not measurably better than"  # fmt: skip
headline = (
    f"The list that the weights give for a pair predicts what source tokens bring the neuron with a mean rank "
    f"correlation of {written(own, digits=2)}, {better} the list of another head of the same layer ({written(other, digits=2)}). "
    f"It predicts what they would bring at full attention with {written(would, digits=2)}. In planted worlds "
    f"{percent(whole[0].mean)} of the words that should fill the top of a list are found there, and {percent(whole[1].mean)} for another head."
    if np.isfinite(own.low) else "Too few pairs were measured to say how well a list from the weights predicts."
)  # fmt: skip
glue("headline", headline, display=False)
Markdown(headline)

# %% [markdown] tags=["default-run"]
# The two running examples show when such a list can be trusted. The head of the “ or” neuron looks for “either”, and “either” comes first
# in both of its lists: this is a look-up table as the name promises. The head of the “ result” neuron looks at “ as”, and neither
# of its lists has that near its top, for what this head says reaches the neuron through other layers, hardly by the
# direct path that a list describes ({ref}`direct-path`).
#
# On average the embedding alone says almost nothing of what a token brings ({glue:text}`table-embedding`), which is less than
# we had expected. The mean residual reaches {glue:text}`table-own`, and the source's own residual, which lacks only the attention,
# {glue:text}`table-itself`: what these heads pass on belongs to a good part to the word that stands there, but to the word as
# earlier layers have left it. Random neurons' lists are better than another head's, too (by
# {glue:text}`table-random-difference`), so a list that predicts is a property of heads and not of look-ups. In the planted worlds
# the lists miss most of what we know to be there ({glue:text}`planted-top` of the right words are at the top,
# {glue:text}`planted-top-other` for another head).

# %% [markdown]
# What is not known is whether a token at the top of a list matters to the model's answer, for a list says nothing of
# what the neuron itself is worth to the token. That is the question of {ref}`neuron-ablation`. Rare tokens have no
# place in the better list, and a handful of pairs cannot tell by what heads go in general.
#
# ## Exercises
#
# 1. For what share of the pairs does the list of mean residuals predict better than that of another head of the layer?

# %% tags=["hide-cell"]
# If lists said nothing, about half of them would. Some pairs are all but tied, so tens must do.
own_list, rival_list = (
    result["mean residual", "brings", who].astype(float) for who in ("own", "other")
)
known = own_list.notna() & rival_list.notna()
ahead = (own_list > rival_list)[known]
assert ahead.sum() <= known.sum() <= len(result)
f"about {percent(round(ahead.mean(), 1))} of {int(known.sum())} pairs"

# %% [markdown]
# 2. Is the list of embeddings better for heads of early layers, which read little else?

# %% tags=["hide-cell"]
# The mean over pairs, for heads of the first three layers and for all later ones.
early = result["head"].map(lambda name: Head.parse(name).layer < 3).astype(bool)
embedding = result["embedding alone", "would", "own"].astype(float)
assert early.sum() + (~early).sum() == len(result)
{
    "early": float(round(embedding[early].mean(), 2) + 0.0),
    "later": float(round(embedding[~early].mean(), 2) + 0.0),
}

# %% [markdown]
# 3. To try on your own: Take a head of layer 0 or 1 among the pairs, and one of the last layers. For which of them does the
#    list of embeddings come closer to that of mean residuals?
#
# ## Appendix: table
#
# The numbers drawn in {numref}`fig-why`, and the token that each head looks at most often:

# %% tags=["hide-input", "hide-output"]
parts if split else NOTHING
