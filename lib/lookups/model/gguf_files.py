"""Turn a GGUF file, once, into a folder in Hugging Face format (chapter 1).

The format and the dequantisation are those of llama.cpp, read by its package `gguf` and by
transformers. The values stay what the file says: a quantised matrix becomes float32 numbers, at
most 2^b different ones in a block of b-bit weights. The folder is named after the file and its
digest, so it is made again when the file changes.
"""

import json
import re
import shutil
from contextlib import redirect_stderr
from io import StringIO
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from filelock import FileLock
from safetensors import SafetensorError
from tokenizers import pre_tokenizers

from lookups.errors import SourceError, in_words, not_written
from lookups.paths import digest_of

RECORD = "gguf.json"  # what a folder was made from; a folder that has it is whole
ARCHITECTURES = ("llama", "gpt2")
UNUSED = re.compile(  # by a forward pass: masks, frequencies, heads beside that of the vocabulary
    r"\.(attn|attention)\.(masked_)?bias$|masked_bias$|inv_freq$|(^|\.)(v_head|value_head|score)\."
)
SPLITTERS = ("default", "gpt-2", "smollm")  # how byte-level tokenizers split texts into words


def folder_of(file: Path, models: Path) -> Path:
    """Return the folder in Hugging Face format of a GGUF file, below `models`; made where missing.
    SourceError if the file is broken, a part of several, or of an unsupported kind; LookupsError if
    the folder cannot be written."""
    sha256 = digest_of(file)
    folder = models / f"{file.stem}-{sha256[:12]}"
    if (folder / RECORD).is_file():
        return folder
    reader = _read(file)
    try:
        models.mkdir(parents=True, exist_ok=True)
        with FileLock(models / f".{folder.name}.lock"):
            if not (folder / RECORD).is_file():
                _make(file, reader, sha256, folder)
    except (OSError, SafetensorError) as error:
        raise not_written(folder, OSError(*error.args)) from error
    return folder


def about(folder: Path) -> dict[str, Any]:
    """Return what a folder was made from: `file`, `sha256`, `bytes`, and `tensors`, a row a kind of
    tensor and quantisation type with how many there are, their values and bytes."""
    return json.loads((folder / RECORD).read_text("utf-8"))


def _read(file: Path) -> Any:
    """Read what a file says about itself, and refuse it if it would not be read as it is meant."""
    from gguf import GGUFReader

    with in_words(str(file), "name a whole GGUF file, or a folder in Hugging Face format"):
        reader = GGUFReader(file)
        kind = _field(reader, "general.architecture")
    words, splitter = (_field(reader, f"tokenizer.ggml.{key}") for key in ("model", "pre"))
    scaling = _field(reader, f"{kind}.rope.scaling.type") or "none"
    scaled = scaling != "none" or any(one.name == "rope_freqs.weight" for one in reader.tensors)
    in_parts = re.search(r"-\d+-of-\d+$", file.stem) or (_field(reader, "split.count") or 1) > 1
    known = words == "llama" or (words == "gpt2" and (splitter or "default") in SPLITTERS)
    faults = {
        "is one of several parts (gguf-split --merge joins them)": in_parts,
        f"is a {kind or 'model of no named kind'}": kind not in ARCHITECTURES,
        "is a mixture of experts": (_field(reader, f"{kind}.expert_count") or 0) > 0,
        f"is a {kind} with scaled rotary positions": scaled,
        f"has a tokenizer of a kind that is not read ({words}, {splitter})": not known,
    }
    for what in (what for what, is_so in faults.items() if is_so):
        raise SourceError(
            f"{file.name} {what}; of GGUF files {' and '.join(ARCHITECTURES)} are read, without "
            "any of this: give the model's folder in Hugging Face format"
        )
    return reader


def _field(reader: Any, name: str) -> Any:
    field = reader.fields.get(name)
    return None if field is None else field.contents()


def _make(file: Path, reader: Any, sha256: str, folder: Path) -> None:
    """Write the folder beside its place and give it its name."""
    from transformers import GgufConfig

    aside = folder.with_name(f"{folder.name}.partial")
    shutil.rmtree(aside, ignore_errors=True)
    unpacked = {"dtype": torch.float32, "quantization_config": GgufConfig(dequantize=True)}
    load_complete(file.parent, gguf_file=file.name, **unpacked).save_pretrained(aside)
    tokenizer = load_tokenizer(file.parent, gguf_file=file.name)
    if _field(reader, "tokenizer.ggml.pre") == "smollm":
        # Every digit is a word of its own, which transformers leaves out.
        tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
            [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(False)]
        )
    tokenizer.save_pretrained(aside)
    columns = {
        "kind": [re.sub(r"^blk\.\d+\.|\.weight$", "", one.name) for one in reader.tensors],
        "stored": [one.tensor_type.name for one in reader.tensors],
        "tensors": 1,
        "values": [int(one.n_elements) for one in reader.tensors],
        "bytes": [int(one.n_bytes) for one in reader.tensors],
    }
    summed = pd.DataFrame(columns).groupby(["kind", "stored"], sort=False, as_index=False).sum()
    record = {"file": file.name, "sha256": sha256, "bytes": file.stat().st_size}
    record["tensors"] = summed.to_dict("records")
    (aside / RECORD).write_text(json.dumps(record, indent=1) + "\n", "utf-8")
    shutil.rmtree(folder, ignore_errors=True)
    aside.rename(folder)


def load_complete(place: Path | str, **options: Any) -> Any:
    """Load a Hugging Face model; a SourceError says which weights are missing or damaged."""
    from transformers import AutoModelForCausalLM
    from transformers.utils import logging

    logging.disable_progress_bar()
    what = f"the weights of {options.get('gguf_file', place)}"
    advice = (
        "put a complete file of .safetensors weights there (pickled .bin files are never read), or "
        "download the model again"
    )
    with in_words(what, advice), redirect_stderr(StringIO()):  # a bar that no setting takes away
        model, report = AutoModelForCausalLM.from_pretrained(
            place, output_loading_info=True, ignore_mismatched_sizes=True, **options
        )
        # transformers fills what is missing with random numbers, which must never pass for a model
        if absent := sorted(report["missing_keys"]):
            raise ValueError(f"{len(absent)} are missing, the first {absent[0]}")
        if unequal := sorted(name for name, *_ in report["mismatched_keys"]):
            raise ValueError(f"{unequal[0]} has not the shape that the configuration says")
    if strange := sorted(name for name in report["unexpected_keys"] if not UNUSED.search(name)):
        raise SourceError(
            f"{what} hold {len(strange)} tensors for which the model of its config.json has no "
            f"place, the first {strange[0]}; give it the config.json that it was made with"
        )
    for name, weight in model.named_parameters():
        if not (weight.sum(dtype=torch.float32).isfinite() or weight.isfinite().all()):
            raise SourceError(
                f"{what} hold numbers that are not finite, the first in {name}; set `dtype: "
                "float32` if the run reads them in half precision, else download them again"
            )
    return model


def load_tokenizer(place: Path | str, **options: Any) -> Any:
    """Load a Hugging Face tokenizer; a SourceError says that it is missing or damaged."""
    from transformers import AutoTokenizer

    what = f"the tokenizer of {options.get('gguf_file', place)}"
    advice = "a folder needs tokenizer.json and tokenizer_config.json, a GGUF file its own"
    with in_words(what, advice):
        return AutoTokenizer.from_pretrained(place, **options)
