"""Find a model's files and say at once what is wrong with them, before anything is computed.

Places, in this order: a file inside an installed package, a model that ships with the project, a
local GGUF file or folder in Hugging Face format, the Hugging Face hub (its cache when offline). A
GGUF file is first turned into a folder (`model.gguf_files`). Only safetensors are read, never a
pickle, and never code that came with a model.
"""

import json
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Int
from torch import Tensor

from lookups.errors import SourceError, in_words
from lookups.model.gguf_files import about, folder_of, load_complete, load_tokenizer
from lookups.model.packaged import PACKAGED, downloaded, packaged_file
from lookups.paths import EMBEDDED, folder
from lookups.settings import ModelSpec

SUPPORTED = ("GPT2LMHeadModel", "GPTNeoXForCausalLM", "LlamaForCausalLM")


@dataclass(frozen=True)
class Checkpoint:
    """Where a model's files are, and what its configuration says."""

    name: str
    location: str
    """A folder, or a Hugging Face id."""
    revision: str
    """The commit of what was downloaded, `gguf:` and the digest of a GGUF file; 'local' for a
    folder of one's own."""
    config: Any = field(repr=False)
    tokenizer: Any = field(repr=False)
    """The model's Hugging Face tokenizer."""
    bos_id: int
    """The tokenizer's beginning-of-sequence token, else its end-of-sequence token."""
    parallel: bool
    """Whether a layer's attention and MLP read the same, so its heads do not feed its neurons."""
    gated: bool
    """Whether a neuron is a gate times an input (Llama)."""
    adds_positions: bool
    """Whether position embeddings are added to the residual stream (GPT-2), not rotated in."""
    token_counts: Int[Tensor, " vocab"] | None = field(repr=False)
    """How often each token occurred in training, where that is known."""
    permute_seed: int | None

    def weights(self, dtype: torch.dtype, device: torch.device, *, exact: bool = False) -> Any:
        """Load the Hugging Face model, its weights permuted where the run asks for that control.

        Weights are rounded to `dtype`; they compute in float32 at least, in float64 if `exact`.
        SourceError if the weight files are missing or damaged.
        """
        model = load_complete(
            self.location, revision=self.revision, dtype=dtype, attn_implementation="eager",
            use_safetensors=True, trust_remote_code=False,
        )  # fmt: skip
        if self.permute_seed is not None:
            permute_weights(model, self.permute_seed)
        computed = torch.float64 if exact else torch.promote_types(dtype, torch.float32)
        if computed == torch.float64:
            _keep_float64(model)
        return model.to(device, computed).eval()


def _keep_float64(model: torch.nn.Module) -> None:
    """Let norms that compute in float32 whatever the dtype keep to float64."""
    for norm in model.modules():
        if type(norm).__name__ == "LlamaRMSNorm":
            norm.forward = partial(_rms_norm, norm)


def _rms_norm(norm: torch.nn.Module, x: Tensor) -> Tensor:
    return F.rms_norm(x, norm.weight.shape, norm.weight, norm.variance_epsilon)


def permute_weights(model: torch.nn.Module, seed: int) -> None:
    """Shuffle the entries of every weight matrix of a freshly loaded model, norms kept, in place.

    Embeddings are included; vectors (biases, LayerNorm gains) stay.
    """
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for _, weight in sorted(model.named_parameters()):
            if weight.dim() == 2:
                order = torch.randperm(weight.numel(), generator=generator, dtype=torch.int32)
                weight.data = weight.flatten().index_select(0, order).reshape(weight.shape)


def find_checkpoint(spec: ModelSpec) -> Checkpoint:
    """Find the files of a model and check its architecture.

    SourceError if nothing is there under that name, or it is of a kind that is not supported.
    """
    location, revision = _locate(spec)
    config = _config(location, revision)
    revision = getattr(config, "_commit_hash", None) or revision  # of the hub's cache
    architecture = (getattr(config, "architectures", None) or ["model of no named kind"])[0]
    if architecture not in SUPPORTED:
        raise SourceError(
            f"{spec.name!r} is a {architecture} (`architectures` in its config.json); "
            f"supported are {', '.join(SUPPORTED)}"
        )
    tokenizer = load_tokenizer(location, revision=revision, trust_remote_code=False)
    bos_id = tokenizer.bos_token_id
    bos_id = tokenizer.eos_token_id if bos_id is None else bos_id
    if bos_id is None:
        raise SourceError(
            f"the tokenizer of {spec.name!r} has neither a beginning- nor an end-of-sequence "
            "token; name one in its tokenizer_config.json"
        )
    counts = Path(location) / "token_counts.json"
    return Checkpoint(
        name=spec.name,
        location=location,
        revision=revision,
        config=config,
        tokenizer=tokenizer,
        bos_id=bos_id,
        parallel=architecture == "GPTNeoXForCausalLM" and config.use_parallel_residual,
        gated=architecture == "LlamaForCausalLM",
        adds_positions=architecture == "GPT2LMHeadModel",
        token_counts=torch.tensor(json.loads(counts.read_text())) if counts.is_file() else None,
        permute_seed=spec.permute_seed,
    )


def place_of(spec: ModelSpec) -> Path | None:
    """Return the folder or GGUF file of a model on this machine; None if it comes from the hub.

    SourceError if a packaged model is missing.
    """
    if spec.name in PACKAGED:
        return packaged_file(spec.name, spec.folder)
    places = [EMBEDDED / spec.name]
    places += [Path(spec.name).expanduser()] if spec.name.startswith((".", "/", "~")) else []
    places += [] if spec.folder is None else [spec.folder / spec.name]
    return next((p for p in places if p.is_dir() or (p.suffix == ".gguf" and p.is_file())), None)


def _locate(spec: ModelSpec) -> tuple[str, str]:
    """Return a folder and its commit, or 'local', or a hub id and its revision."""
    found = place_of(spec)
    if found is None:
        if Path(spec.name).exists():  # transformers would take it
            raise SourceError(
                f"{spec.name!r} names a model of the hub, and where you started lies something of "
                f"that name; write ./{spec.name} for a folder or .gguf file, or start elsewhere"
            )
        return spec.name, spec.revision
    if found.is_file():
        found = folder_of(found, spec.folder or folder("models"))
        commit = f"gguf:{about(found)['sha256'][:12]}"
        other = spec.revision != commit
    else:
        commit = downloaded(found, spec.revision)
        own = Path(spec.name).is_absolute() or EMBEDDED in found.parents
        other = commit is None and not own
    if other and spec.revision != "main":
        holds = f"holds {commit}" if commit else "does not say which revision it holds"
        raise SourceError(
            f"{found} {holds}, and the run asks for {spec.revision}; move it away and fetch that "
            "one, or leave out `revision:`"
        )
    return str(found), commit or "local"


def _config(location: str, revision: str) -> Any:
    from transformers import AutoConfig

    what, advice = f"{location}/config.json", "give a folder in Hugging Face format"
    if not Path(location).is_dir():
        what, known = f"model {location!r}", sorted(path.name for path in EMBEDDED.glob("*-*"))
        advice = (
            f"it is not embedded ({', '.join(known)}), there is no such folder, and the hub has "
            "none or cannot be reached (is HF_HUB_OFFLINE set?): check the name, or give a folder"
        )
    with in_words(what, advice):
        return AutoConfig.from_pretrained(location, revision=revision, trust_remote_code=False)
