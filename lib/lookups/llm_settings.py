"""Which language model answers, where it is served, and how it is asked: a section of a run file.

Nothing here sends anything or holds a key; only the name of the environment variable that holds
one is known. Seconds are seconds of the clock, prices are in dollars.
"""

import ipaddress
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

OPENAI = "https://api.openai.com/v1"

_TAKEN = {"model", "messages", "temperature", "seed", "max_tokens", "max_completion_tokens"}
_TAKEN |= {"logprobs", "top_logprobs", "n", "stream"}

Count = Annotated[int, Field(ge=1)]
Seconds = Annotated[float, Field(gt=0)]
Price = Annotated[float, Field(ge=0)]


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
    timeout: Seconds = 60.0
    """Seconds that one attempt may take, from sending to the last byte of the reply."""
    retries: Annotated[int, Field(ge=0)] = 5
    """Further attempts at a request that brought no reply."""
    first_wait: Seconds = 1.0
    """Seconds before the second attempt; doubled before each later one."""
    longest_wait: Seconds = 60.0
    """The most seconds between two attempts; a server that asks for more ends the run."""
    temperature: Annotated[float, Field(ge=0)] | None = 0.0
    """None leaves it out, for models that take none."""
    seed: int | None = 0
    """None leaves it out."""
    explain_tokens: Count = 200
    """The longest explanation (paper, step 6)."""
    judge_tokens: Count = 1
    """The longest verdict (paper, step 6)."""
    limit_key: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    """What the server calls the longest reply; OpenAI's reasoning models know only the second."""
    logprobs: bool = True
    """Whether to ask for the log-probabilities of a verdict's first token."""
    top_logprobs: Annotated[int, Field(ge=1, le=20)] = 20
    """How many candidates for the first token to ask for; some servers allow only 5."""
    extra: dict[str, Any] = {}
    """More keys for the body of every request, such as reasoning_effort."""
    price_in: Price | None = None
    """Dollars a million prompt tokens."""
    price_out: Price | None = None
    """Dollars a million reply tokens."""

    @model_validator(mode="before")
    @classmethod
    def _no_truth_values(cls, content: Any) -> Any:
        """YAML reads yes, no, on and off as truth values, which would pass for 1 and 0."""
        for key, value in content.items() if isinstance(content, dict) else ():
            if isinstance(value, bool) and key != "logprobs":
                raise ValueError(f"{key} takes neither true nor false; write its value")
        return content

    @field_validator("base_url")
    @classmethod
    def _address_without_secrets(cls, value: str | None) -> str | None:
        """An address is shown in errors, so nothing secret may stand in it."""
        if value is None:
            return None
        parts = urlsplit(value)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("write a whole address such as http://localhost:8000/v1")
        if "@" in parts.netloc or parts.query or parts.fragment:
            raise ValueError("write host, port and path only; a key belongs in the environment")
        return value

    @field_validator("extra")
    @classmethod
    def _nothing_said_twice(cls, value: dict[str, Any]) -> dict[str, Any]:
        if taken := sorted(_TAKEN & value.keys()):
            raise ValueError(
                f"{', '.join(taken)} cannot stand in extra; remove it or use the setting of its own"
            )
        return value

    @model_validator(mode="after")
    def _both_prices_or_none(self) -> "LlmSettings":
        if (self.price_in is None) != (self.price_out is None):
            raise ValueError("give price_in and price_out, or neither; 0 is a price")
        return self

    @property
    def address(self) -> str:
        """Where requests go."""
        return self.base_url or OPENAI

    @property
    def loopback(self) -> bool:
        """Whether the server is on this machine, where no proxy stands between."""
        host = urlsplit(self.address).hostname or ""
        address = _ip(host)
        return host == "localhost" or (address is not None and address.is_loopback)

    @property
    def local(self) -> bool:
        """Whether the server is on this machine or network, and so may want no key."""
        host = urlsplit(self.address).hostname or ""
        if (address := _ip(host)) is not None:
            return address.is_private
        return "." not in host or host.endswith((".local", ".lan", ".internal", ".localhost"))

    def sampling(self, tokens: int, *, logprobs: bool = False) -> dict[str, Any]:
        """Return what a reply depends on besides the model and the messages."""
        body: dict[str, Any] = {self.limit_key: tokens}
        if self.temperature is not None:
            body["temperature"] = self.temperature
        if self.seed is not None:
            body["seed"] = self.seed
        if logprobs and self.logprobs:
            body |= {"logprobs": True, "top_logprobs": self.top_logprobs}
        return body | self.extra


def _ip(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None
