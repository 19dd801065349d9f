"""Three small chapters that stand in for the real ones: same spine, same stages, no model.

They let the tests of `lookups run`, of pairs and of nbval run in seconds.
"""

from pathlib import Path

HEADER = """# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # {title}

# %% tags=["parameters"]
# A run's id, or a path to its .yml
run: str = "smollm2"

# %% tags=["hide-input"]
import sys

import pandas as pd

from lookups.run.store import load, save
from lookups.settings import read_run

settings = read_run(run)


# %%
def table(start):
    return pd.DataFrame({{name: [start + 0.25, start + 1.5] for name in ("neuron", "activation")}})
"""

BODIES = {
    "02_next_token_neurons": """
# %% [markdown] tags=["default-run"]
# The default run shows it.

# %%
neurons = save(settings, "neurons", table(settings.seed))
print("to stdout")
print("to stderr", file=sys.stderr)
neurons[["neuron", "activation"]]
""",
    "03_prompts": """
# %%
neurons = load(settings, "neurons")
save(settings, "follow_rates", table(1))
prompts = save(settings, "prompts", table(len(neurons)))
{"prompts": len(prompts), "of a neuron": settings.prompts_per_neuron}
""",
    "04_suffixes": """
# %%
prompts = load(settings, "prompts")
load(settings, "follow_rates")
suffixes = save(settings, "suffixes", table(settings.keep))
suffixes[["neuron", "activation"]]

# %%
prompts[["neuron", "activation"]]
""",
}
NAMES = tuple(BODIES)


def write_chapters(folder: Path) -> Path:
    """Write the three chapters into a folder and return it."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, body in BODIES.items():
        (folder / f"{name}.py").write_text(HEADER.format(title=f"What is {name}?") + body, "utf-8")
    return folder
