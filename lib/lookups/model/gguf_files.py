"""Turn a GGUF file, once, into a folder in Hugging Face format (chapter 1).

The format and the dequantisation are those of llama.cpp, read by its package `gguf` and by
transformers. The values stay what the file says: a quantised matrix becomes float32 numbers, at
most 2^b different ones in a block of b-bit weights. The folder is named after the file and its
digest, so it is made again when the file changes.
"""

import json
import re
import shutil
from collections.abc import Iterable
from contextlib import redirect_stderr
from importlib.metadata import version
from io import StringIO
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from filelock import FileLock
from safetensors import SafetensorError
from tokenizers import pre_tokenizers

from lookups.errors import SourceError
from lookups.paths import digest_of, not_written

RECORD = "gguf.json"
"""What a folder was made from; written last, so a folder that has it is whole."""

ARCHITECTURES = ("llama", "gpt2")
"""The kinds of model that are read."""

SPLITTERS = ("default", "gpt-2", "smollm")
"""The rules by which a byte-level tokenizer splits texts into words that are known here."""


def folder_of(file: Path, models: Path) -> Path:
    """Return the folder in Hugging Face format of a GGUF file, below `models`; made where missing.

    Raises:
        SourceError: the file is missing, broken, a part of several, or of an unsupported kind.
        LookupsError: the folder cannot be written.
    """
    if not file.is_file():
        raise SourceError(f"there is no file {file}; correct the model's name")
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
    except OSError as error:
        raise not_written(folder, error) from error
    except SafetensorError as error:
        raise not_written(folder, OSError(str(error))) from error
    return folder


def about(folder: Path) -> dict[str, Any]:
    """Return what a folder was made from.

    Keys: `file`, `sha256`, `bytes`, the `versions` of the packages that read it, and `tensors`, a
    row a kind of tensor and quantisation type with how many there are, their values and bytes.
    """
    return json.loads((folder / RECORD).read_text("utf-8"))


def _read(file: Path) -> Any:
    """Read what a file says about itself, and refuse it if it would not be read as it is meant."""
    from gguf import GGUFReader

    try:
        reader = GGUFReader(file)
        kind = _field(reader, "general.architecture")
    except Exception as error:  # what a broken file makes of the reader is of every kind
        with file.open("rb") as start:
            broken = start.read(4) == b"GGUF"
        what = "is cut off or damaged; fetch it again"
        other = "is not a GGUF file; name one that is, or a folder in Hugging Face format"
        raise SourceError(f"{file} {what if broken else other}") from error
    if re.search(r"-\d+-of-\d+$", file.stem) or (_field(reader, "split.count") or 1) > 1:
        raise SourceError(
            f"{file.name} is one of several parts; join them with gguf-split --merge and name the "
            "one file"
        )
    words, splitter = (_field(reader, f"tokenizer.ggml.{key}") for key in ("model", "pre"))
    scaling = _field(reader, f"{kind}.rope.scaling.type") or "none"
    scaled = scaling != "none" or any(one.name == "rope_freqs.weight" for one in reader.tensors)
    known = words == "llama" or (words == "gpt2" and (splitter or "default") in SPLITTERS)
    faults = {
        f"is a {kind or 'model of no named kind'}": kind not in ARCHITECTURES,
        "is a mixture of experts": (_field(reader, f"{kind}.expert_count") or 0) > 0,
        f"is a {kind} with scaled rotary positions": scaled,
        f"has a tokenizer of a kind that is not read ({words}, {splitter})": not known,
    }
    for what, is_so in faults.items():
        if is_so:
            raise SourceError(
                f"{file.name} {what}; of GGUF files {' and '.join(ARCHITECTURES)} are read, "
                "without any of this: give the model's folder in Hugging Face format"
            )
    return reader


def _field(reader: Any, name: str) -> Any:
    field = reader.fields.get(name)
    return None if field is None else field.contents()


def _make(file: Path, reader: Any, sha256: str, folder: Path) -> None:
    """Write the folder beside its place and give it its name."""
    aside = folder.with_name(f"{folder.name}.partial")
    shutil.rmtree(aside, ignore_errors=True)
    model = load_complete(file.parent, gguf_file=file.name, dtype=torch.float32)
    _plain(model).save_pretrained(aside)
    tokenizer = load_tokenizer(file.parent, gguf_file=file.name)
    if _field(reader, "tokenizer.ggml.pre") == "smollm":
        # Every digit is a word of its own, which transformers leaves out.
        tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
            [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(False)]
        )
    tokenizer.save_pretrained(aside)
    record = {
        "file": file.name,
        "sha256": sha256,
        "bytes": file.stat().st_size,
        "versions": {package: version(package) for package in ("gguf", "transformers")},
        "tensors": _tensors(reader.tensors),
    }
    (aside / RECORD).write_text(json.dumps(record, indent=1) + "\n", "utf-8")
    shutil.rmtree(folder, ignore_errors=True)
    aside.rename(folder)


def load_complete(place: Path | str, **options: Any) -> Any:
    """Load a Hugging Face model of which every weight is there.

    Raises:
        SourceError: weights are missing, damaged or of another shape.
    """
    from transformers import AutoModelForCausalLM
    from transformers.utils import logging

    logging.disable_progress_bar()
    try:
        with redirect_stderr(StringIO()):  # a progress bar that no setting takes away
            model, report = AutoModelForCausalLM.from_pretrained(
                place, output_loading_info=True, ignore_mismatched_sizes=True, **options
            )
        # transformers fills what is missing with random numbers, which must never pass for a model
        if absent := sorted(report["missing_keys"]):
            raise ValueError(f"{len(absent)} are missing, the first {absent[0]}")
        if unequal := sorted(name for name, *_ in report["mismatched_keys"]):
            raise ValueError(f"{unequal[0]} has not the shape that the configuration says")
    except Exception as error:  # of every kind, where a file is damaged
        name = options.get("gguf_file", str(place))
        raise SourceError(
            f"the weights of {name!r} cannot be read ({short(error)}); put a "
            "complete file of weights there, or download the model again"
        ) from error
    return model


def load_tokenizer(place: Path | str, **options: Any) -> Any:
    """Load a Hugging Face tokenizer.

    Raises:
        SourceError: it is missing or damaged.
    """
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(place, **options)
    except Exception as error:
        name = options.get("gguf_file", str(place))
        raise SourceError(
            f"the tokenizer of {name!r} cannot be read ({short(error)}); a folder "
            "needs tokenizer.json and tokenizer_config.json, a GGUF file its own"
        ) from error


def short(error: Exception) -> str:
    """Return the first line of what an error says, or its name."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:160]


def _plain(model: Any) -> Any:
    """Return a model that counts as quantised, which keeps it from being saved, as a plain one."""
    kept = model.config.to_dict()
    kept.pop("quantization_config", None)
    with torch.device("meta"):
        plain = type(model)(type(model.config)(**kept))
    plain.load_state_dict(model.state_dict(), assign=True)
    plain.tie_weights()
    return plain


def _tensors(tensors: Iterable[Any]) -> list[dict[str, Any]]:
    """Count tensors by what they are, all layers together, and by how their values are stored."""
    rows = pd.DataFrame(
        {
            "kind": re.sub(r"^blk\.\d+\.", "", one.name).removesuffix(".weight"),
            "stored": one.tensor_type.name,
            "tensors": 1,
            "values": int(one.n_elements),
            "bytes": int(one.n_bytes),
        }
        for one in tensors
    )
    summed = rows.groupby(["kind", "stored"], sort=False, as_index=False).sum()
    return json.loads(summed.to_json(orient="records"))
