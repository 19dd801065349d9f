"""Which language model answers, where it is served, and how it is asked: a section of a run file.

Nothing here sends anything or holds a key, only the name of the variable that holds one.
"""

from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, NonNegativeFloat, PositiveInt, field_validator

OPENAI = "https://api.openai.com/v1"

CONSENT = "LOOKUPS_SEND"
"""The environment variable that `lookups run --yes` sets: requests may be sent, and paid for."""


class LlmSettings(BaseModel):
    """A model behind a server that speaks OpenAI's chat completions: OpenAI, vLLM, Ollama, …"""

    # strict: YAML reads yes, no, on and off as truth values, which would pass for 1 and 0
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    model: Annotated[str, Field(min_length=1)]  # the name by which the server knows it
    base_url: str = OPENAI
    """Where the server is, up to and with /v1, such as http://localhost:11434/v1. It decides
    nothing about a reply, so the same model may be served from elsewhere next time."""
    key_variable: Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")] = "OPENAI_API_KEY"
    """The environment variable that holds the key; never the key itself."""
    concurrency: PositiveInt = 8  # requests under way at once
    timeout: Annotated[float, Field(gt=0)] = 60.0  # seconds that a server may say nothing
    retries: Annotated[int, Field(ge=0)] = 5
    """Further attempts at a request that brought no reply, after half a second to eight, or what
    the server asks for up to two minutes."""
    temperature: NonNegativeFloat | None = 0.0  # None leaves it out, for models that take none
    seed: int | None = 0  # likewise
    explain_tokens: PositiveInt = 200  # the longest explanation (paper, step 6)
    judge_tokens: PositiveInt = 1  # the longest verdict
    limit_key: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    """What the server calls the longest reply; OpenAI's reasoning models know only the second."""
    logprobs: bool = True  # whether to ask for those of a verdict's first token
    top_logprobs: Annotated[int, Field(ge=1, le=20)] = 20
    """How many candidates for the first token to ask for; some servers allow only 5."""
    extra: dict[str, Any] = {}
    """More keys for the body of every request, such as reasoning_effort; they win over ours."""
    price_in: NonNegativeFloat | None = None  # dollars a million tokens of prompts
    price_out: NonNegativeFloat | None = None  # of replies; with both the plan tells a cost

    @field_validator("base_url")
    @classmethod
    def _address_without_secrets(cls, value: str) -> str:
        """An address is shown in errors, so nothing secret may stand in it."""
        parts = urlsplit(value)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("write a whole address such as http://localhost:8000/v1")
        if "@" in parts.netloc or parts.query or parts.fragment:
            raise ValueError("write host, port and path only; a key belongs in the environment")
        return value

    def sampling(self, tokens: int, *, logprobs: bool = False) -> dict[str, Any]:
        """Return what a reply depends on besides the model and the messages."""
        optional = {"temperature": self.temperature, "seed": self.seed}
        body = {self.limit_key: tokens} | {k: v for k, v in optional.items() if v is not None}
        if logprobs and self.logprobs:
            body |= {"logprobs": True, "top_logprobs": self.top_logprobs}
        return body | self.extra
