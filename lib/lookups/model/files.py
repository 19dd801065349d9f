"""Find a model's files and say at once what is wrong with them, before anything is computed.

Places, in this order: a file inside an installed package, a model that ships with the project, a
local GGUF file or folder in Hugging Face format, the Hugging Face hub (its cache when offline). A
GGUF file is first turned into a folder (`model.gguf_files`). Only safetensors are read, never a
pickle, and never code that came with a model.
"""

import json
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Int
from torch import Tensor, nn

from lookups.errors import SourceError, in_words
from lookups.model.gguf_files import about, folder_of, load_complete, load_tokenizer
from lookups.model.packaged import PACKAGED, downloaded, packaged_file
from lookups.paths import EMBEDDED, folder
from lookups.settings import ModelSpec


class Block(NamedTuple):
    """What an architecture's layers are built of, where their modules do not say it.

    Attention and MLP read the stream through a norm each and add to it what they write. Where that
    is normed as well (OLMo 2, Gemma 2 and 3), what a head adds depends on all the others: not read.
    """

    gated: bool = True  # a neuron is a gate times an input
    adds_positions: bool = False  # as embeddings; others rotate them in
    one_more: bool = False  # norms multiply by one more than their weights
    centred: bool = False  # norms of a gated model take the mean off


BLOCKS = {
    "GPT2LMHeadModel": Block(gated=False, adds_positions=True),
    "GPTNeoXForCausalLM": Block(gated=False),
    **{f"{kind}ForCausalLM": Block() for kind in ("Llama", "Mistral", "Qwen2", "Qwen3", "Phi3")},
    "GemmaForCausalLM": Block(one_more=True),
    "OlmoForCausalLM": Block(centred=True),
}

ALIKE = (
    *("vocab_size", "hidden_size", "intermediate_size", "hidden_act", "max_position_embeddings"),
    *("num_hidden_layers", "num_attention_heads", "num_key_value_heads"),
)  # what configurations of gated models call alike
FUSED = {"qkv_proj": ("q_proj", "k_proj", "v_proj"), "gate_up_proj": ("gate_proj", "up_proj")}


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
    """Whether a neuron is a gate times an input."""
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


def _keep_float64(model: nn.Module) -> None:
    """Let norms that compute in float32 whatever the dtype keep to float64."""
    for norm in model.modules():
        if hasattr(norm, "variance_epsilon"):  # RMSNorms of the Llama kind
            norm.forward = partial(_rms_norm, norm)


def _rms_norm(norm: nn.Module, x: Tensor) -> Tensor:
    return F.rms_norm(x, norm.weight.shape, norm.weight, norm.variance_epsilon)


@torch.no_grad()
def as_llama(model: Any) -> Any:
    """Return the Llama (Qwen3 where queries and keys have norms) that computes what a gated model
    does, built of its weights; the model itself is not to be used any more."""
    from transformers import AutoConfig, AutoModelForCausalLM

    block, config, inner = BLOCKS[type(model).__name__], model.config, model.model
    if config.model_type == "llama":
        return model
    embed, first = inner.embed_tokens, inner.layers[0].self_attn
    share = (config.rope_parameters or {}).get("partial_rotary_factor", 1.0)  # the bridge asks
    about = AutoConfig.for_model(
        "qwen3" if hasattr(first, "q_norm") else "llama",
        **{name: getattr(config, name) for name in ALIKE},
        head_dim=first.head_dim,
        rms_norm_eps=getattr(config, "rms_norm_eps", 1e-5),  # OLMo's cannot be set
        rope_parameters={"rope_type": "default", "rope_theta": 1e4, "partial_rotary_factor": share},
    )
    with torch.device("meta"):
        how = {"dtype": model.dtype, "attn_implementation": "eager"}
        llama = AutoModelForCausalLM.from_config(about, **how).eval()
    for name, part in model.named_modules():
        above, _, own = name.rpartition(".")
        if isinstance(part, nn.Linear):
            names = [f"{above}.{one}".strip(".") for one in FUSED.get(own, [own])]
            among = list(map(llama.get_submodule, names))
            rows = part.weight.split([one.out_features for one in among])
            for one, weight in zip(among, rows, strict=True):
                one.weight, one.bias = nn.Parameter(weight), part.bias  # fused ones have none
        elif own in ("q_norm", "k_norm", "rotary_emb"):
            setattr(llama.get_submodule(above), own, part)
        elif own.endswith("norm"):
            gain = getattr(part, "weight", embed.weight.new_ones(config.hidden_size))
            llama.get_submodule(name).weight = nn.Parameter(gain + block.one_more)
    embedded = embed.weight * getattr(embed, "embed_scale", 1)
    if block.centred:  # what is written has no mean then, and an RMSNorm does the same
        embedded -= embedded.mean(1, keepdim=True)
        for layer in llama.model.layers:
            for writer in (layer.self_attn.o_proj, layer.mlp.down_proj):
                for written in writer.parameters():
                    written.sub_(written.mean(0))
    llama.model.embed_tokens.weight = nn.Parameter(embedded)
    if model.dtype == torch.float64:
        _keep_float64(llama)
    return llama


def permute_weights(model: nn.Module, seed: int) -> None:
    """Shuffle the entries of every weight matrix of a freshly loaded model, norms kept, in place.
    Embeddings are included; vectors (biases, LayerNorm gains) stay."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for _, weight in sorted(model.named_parameters()):
            if weight.dim() == 2:
                order = torch.randperm(weight.numel(), generator=generator, dtype=torch.int32)
                weight.data = weight.flatten().index_select(0, order).reshape(weight.shape)


def find_checkpoint(spec: ModelSpec) -> Checkpoint:
    """Find the files of a model and check its architecture. SourceError if nothing is there under
    that name, or it is of a kind that is not supported."""
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
    from transformers.utils.peft_utils import find_adapter_config_file

    location, revision = _locate(spec)
    with suppress(OSError, ValueError):  # if nothing is there, `_config` says so
        adapter = find_adapter_config_file(location, revision=revision)
        merge = "merge it (merge_and_unload of peft, save_pretrained) and give that folder"
        fault = f"holds an adapter (adapter_config.json); {merge}, or take its files away"
        _refuse(spec, {fault: adapter})
    config = _config(location, revision)
    revision = getattr(config, "_commit_hash", None) or revision  # of the hub's cache
    kind = (getattr(config, "architectures", None) or ["model of no named kind"])[0]
    loaded = MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.get(config.model_type)
    known, said = ", ".join(BLOCKS), "in its config.json"
    quantised = getattr(config, "quantization_config", None) or {}
    faults = {
        f"is a {kind} of the type {config.model_type!r} (`architectures` and `model_type` {said}); "
        f"supported are {known}": not {kind, loaded} <= BLOCKS.keys(),
        f"has quantised weights ({quantised.get('quant_method')} {said}); give the unquantised "
        "model in safetensors that they were made from, or a GGUF file of it": quantised,
        f"clips queries, keys and values (`clip_qkv` {said}), which is not read; choose another "
        "model": getattr(config, "clip_qkv", None),  # the check at loading may not reach that far
    }
    _refuse(spec, faults)
    rows = config.vocab_size
    tokenizer = load_tokenizer(location, revision=revision, trust_remote_code=False)
    bos_id = tokenizer.bos_token_id
    bos_id = tokenizer.eos_token_id if bos_id is None else bos_id
    special, words = {*tokenizer.all_special_ids} - {bos_id}, tokenizer.get_vocab().items()
    beyond = [(at, word) for word, at in words if at >= rows and at not in special]
    faults = {
        "has a tokenizer with neither a beginning- nor an end-of-sequence token; name one in its "
        "tokenizer_config.json": bos_id is None,
        f"has embeddings for ids 0 to {rows - 1}, and its tokenizer others, the first "
        f"{min(beyond, default=None)}; resize the embeddings and save the model again, or take the "
        "token out (in tokenizer_config.json, if it is the `bos_token`)": beyond,
    }
    _refuse(spec, faults)
    counts = Path(location) / "token_counts.json"
    return Checkpoint(
        name=spec.name,
        location=location,
        revision=revision,
        config=config,
        tokenizer=tokenizer,
        bos_id=bos_id,
        parallel=getattr(config, "use_parallel_residual", False),
        gated=BLOCKS[loaded].gated,
        adds_positions=BLOCKS[loaded].adds_positions,
        token_counts=torch.tensor(json.loads(counts.read_text())) if counts.is_file() else None,
        permute_seed=spec.permute_seed,
    )


def _refuse(spec: ModelSpec, faults: dict[str, Any]) -> None:
    """Raise a SourceError that says the first fault that there is."""
    for what in (what for what, is_so in faults.items() if is_so):
        raise SourceError(f"{spec.name!r} {what}")


def place_of(spec: ModelSpec) -> Path | None:
    """Return the folder or GGUF file of a model on this machine; None if it comes from the hub.
    SourceError if a packaged model is missing."""
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
        if spec.name.startswith((".", "/", "~")):
            raise SourceError(f"there is no model in {spec.name}; correct `name:` in the run file")
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
    if files := sorted(path.name for path in Path(location).glob("*.gguf")):
        advice = f"a GGUF file is named itself ({location}/{files[0]}), not its folder"
    if not Path(location).is_dir():
        what, known = f"model {location!r}", sorted(path.name for path in EMBEDDED.glob("*-*"))
        advice = (
            f"it is not embedded ({', '.join(known)}), there is no such folder, and the hub has "
            "none or cannot be reached (is HF_HUB_OFFLINE set?): check the name, or give a folder"
        )
    with in_words(what, advice):
        return AutoConfig.from_pretrained(location, revision=revision, trust_remote_code=False)
