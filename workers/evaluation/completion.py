"""One answer from a chat model behind any endpoint that speaks OpenAI's protocol."""

import http.client
import json
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from dicom_node.errors import PeerBusy, PeerRejected, PeerUnreachable, Permanent
from workers.evaluation.chexprompt import Message

_TIMEOUT_S = 120.0
_MAX_ANSWER_BYTES = 1 << 20
# The settings of the published CheXprompt.
_SETTINGS = {"temperature": 0.0, "top_p": 0.9, "frequency_penalty": 0, "presence_penalty": 0}
_BUSY = {408, 409, 425, 429}  # RFC 9110, RFC 8470, RFC 6585
# Before what may pass is asked again, and how many texts are asked about at once.
WAITS_S = (1.0, 2.0, 4.0, 8.0, 16.0, 30.0)
PARALLEL = 4
_ABOUT_THIS_TEXT = {400, 413, 422}  # too long, or refused by a filter: the next pair may pass


@dataclass(frozen=True)
class Completion:
    """An answer and what it used."""

    text: str
    prompt_tokens: int
    completion_tokens: int


Complete = Callable[[Sequence[Message]], Completion]


@dataclass(frozen=True)
class Endpoint:
    """Calling it raises PeerBusy or PeerUnreachable (try again), PeerRejected (nobody is let in), or Permanent
    (this text is refused). Messages name the status, never a text or the key.
    """

    url: str  # without /chat/completions
    model: str
    api_key: str
    max_tokens: int = 128  # of an answer; as in the published CheXprompt

    def __post_init__(self) -> None:
        if not self.url.startswith(("http://", "https://")):
            raise Permanent("the chat model's address must begin with http:// or https://")

    def __call__(self, messages: Sequence[Message]) -> Completion:
        settings = {**_SETTINGS, "max_tokens": self.max_tokens}
        body = json.dumps({"model": self.model, "messages": list(messages), **settings}).encode()
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {self.api_key}"}
        request = urllib.request.Request(self.url.rstrip("/") + "/chat/completions", body, headers)
        return _read(_post(request))


def _post(request: urllib.request.Request) -> bytes:
    try:
        with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as response:
            answer: bytes = response.read(_MAX_ANSWER_BYTES)
            return answer
    except urllib.error.HTTPError as error:
        with error:
            raise _refusal(error.code) from error
    except (OSError, http.client.HTTPException) as error:
        raise PeerUnreachable("the chat model gives no answer") from error


def _refusal(status: int) -> PeerBusy | Permanent:
    if status in _BUSY or status >= 500:
        return PeerBusy(f"the chat model is busy (HTTP {status})")
    if status in _ABOUT_THIS_TEXT:
        return Permanent(f"the chat model refused this text (HTTP {status})")
    return PeerRejected(f"the chat model refused (HTTP {status}): check its address, the model's name and the key")


def _read(body: bytes) -> Completion:
    try:
        answer = json.loads(body)
        text, usage = answer["choices"][0]["message"]["content"], answer.get("usage") or {}
        return Completion(str(text or ""), int(usage.get("prompt_tokens", 0)), int(usage.get("completion_tokens", 0)))
    except (ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
        raise PeerUnreachable("the chat model's answer is not a chat completion") from error
