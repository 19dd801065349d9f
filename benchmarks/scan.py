"""Where was each neuron strongest? Batched with a bounded memory against text after text."""

import torch
from _side_by_side import First, Setting, record, setting, timed
from lookups.measure.scan import scan

STRONGEST = 20


def naive(found: Setting) -> dict:
    """One text at a time, whole forward passes; all maxima of all texts are held, then sorted."""
    model, maxima = found.model, []
    names = [f"blocks.{layer}.mlp.hook_post" for layer in found.layers]
    for document in found.documents:
        batch = model.batch([document.ids])
        with torch.no_grad():
            _, cache = model.bridge.run_with_cache(batch.ids, names_filter=lambda n: n in names)
        post = torch.cat(
            [torch.cat([sign * cache[n][0, 1:-1] for sign in model.signs], 1) for n in names], 1
        )
        maxima.append(post.max(dim=0) if len(post) else None)
    usable = [row for row, some in enumerate(maxima) if some is not None]
    values = torch.stack([maxima[row].values for row in usable])
    places = torch.stack([maxima[row].indices for row in usable])
    top = values.topk(min(STRONGEST, len(values)), dim=0)
    return {
        "activation": top.values,
        "document": torch.tensor(usable, device=model.device)[top.indices],
        "position": places.gather(0, top.indices),
    }


def fast(found: Setting) -> dict:
    most = min(STRONGEST, len(found.documents))
    kept = scan(found.model, found.documents, found.layers, strongest=most).strongest
    return kept._asdict()


def main() -> None:
    found, _ = setting(__doc__, documents=200)
    warm = found._replace(documents=First(found.documents, 30))
    naive(warm), fast(warm)
    slow, expected = timed(found.model, lambda: naive(found))
    quick, ours = timed(found.model, lambda: fast(found))
    same = (ours["document"] == expected["document"]) & (ours["position"] == expected["position"])
    off = (ours["activation"] - expected["activation"]).abs() / expected["activation"].abs()
    firing = expected["activation"] > 0.01
    worst, places = float(off[firing].max()), float(same[firing].double().mean())
    assert worst < 1e-3, f"activations differ by {worst:.0e} of their size"
    assert places > 0.99, f"only {places:.2%} of the maxima stand in the same places"
    n_neurons = expected["activation"].shape[1]
    record(
        "scan",
        found,
        f"{len(found.documents)} texts × {n_neurons} neurons",
        naive=slow,
        fast=quick,
        agreement=f"{places:.2%} of places, activations within {worst:.0e}",
    )


if __name__ == "__main__":
    main()
