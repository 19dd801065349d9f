"""Which language model answers, where it is served, and how it is asked: a section of a run file.

Nothing here sends anything or holds a key, only the name of the variable that holds one.
"""

from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, field_validator

OPENAI = "https://api.openai.com/v1"

# Strict: YAML reads yes, no, on and off as truth values, which would pass for 1 and 0.
Count = Annotated[int, Field(ge=1, strict=True)]
Price = Annotated[float, Field(ge=0, strict=True)]


class LlmSettings(BaseModel):
    """A model behind a server that speaks OpenAI's chat completions: OpenAI, vLLM, Ollama, …"""

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: Annotated[str, Field(min_length=1)]
    """The name by which the server knows it."""
    base_url: str | None = None
    """Where the server is, up to and with /v1, such as http://localhost:11434/v1; OpenAI's if None.
    It decides nothing about a reply, so the same model may be served from elsewhere next time."""
    key_variable: Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")] = "OPENAI_API_KEY"
    """The environment variable that holds the key; never the key itself."""
    concurrency: Count = 8
    """Requests under way at once."""
    timeout: Annotated[float, Field(gt=0, strict=True)] = 60.0
    """Seconds that a server may say nothing before an attempt is given up."""
    retries: Annotated[int, Field(ge=0, strict=True)] = 5
    """Further attempts at a request that brought no reply, after half a second to eight, or what
    the server asks for up to two minutes."""
    temperature: Price | None = 0.0
    """None leaves it out, for models that take none."""
    seed: Annotated[int, Field(strict=True)] | None = 0
    """None leaves it out."""
    explain_tokens: Count = 200
    """The longest explanation (paper, step 6)."""
    judge_tokens: Count = 1
    """The longest verdict (paper, step 6)."""
    limit_key: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    """What the server calls the longest reply; OpenAI's reasoning models know only the second."""
    logprobs: bool = True
    """Whether to ask for the log-probabilities of a verdict's first token."""
    top_logprobs: Annotated[int, Field(ge=1, le=20, strict=True)] = 20
    """How many candidates for the first token to ask for; some servers allow only 5."""
    extra: dict[str, Any] = {}
    """More keys for the body of every request, such as reasoning_effort; they win over ours."""
    price_in: Price | None = None
    """Dollars a million prompt tokens; the plan tells a cost where both prices are given."""
    price_out: Price | None = None
    """Dollars a million reply tokens."""

    @field_validator("base_url")
    @classmethod
    def _address_without_secrets(cls, value: str | None) -> str | None:
        """An address is shown in errors, so nothing secret may stand in it."""
        parts = urlsplit(value or OPENAI)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("write a whole address such as http://localhost:8000/v1")
        if "@" in parts.netloc or parts.query or parts.fragment:
            raise ValueError("write host, port and path only; a key belongs in the environment")
        return value

    @property
    def address(self) -> str:
        """Where requests go."""
        return self.base_url or OPENAI

    def sampling(self, tokens: int, *, logprobs: bool = False) -> dict[str, Any]:
        """Return what a reply depends on besides the model and the messages."""
        optional = {"temperature": self.temperature, "seed": self.seed}
        body = {self.limit_key: tokens} | {k: v for k, v in optional.items() if v is not None}
        if logprobs and self.logprobs:
            body |= {"logprobs": True, "top_logprobs": self.top_logprobs}
        return body | self.extra
