"""A model's folder is data: settings that would bring code of its own, or lead out of the folder, are refused by name.

open_clip hands some settings on to transformers and timm, which run a folder's Python, ask the hub for other models or read
other files if these say so. Only classes of open_clip, transformers and timm are ever used here.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import open_clip
import timm

from clip_invariance.errors import UsageError, printable

#: Settings that make transformers import Python from the folder or from the hub.
CODE = ("auto_map", "trust_remote_code", "custom_code", "custom_pipelines", "code_revision")
#: Settings that make transformers read another model or another file than the one that was passed.
ELSEWHERE = ("backbone", "gguf_file", "init_inputs")
#: Settings that name files; each name must be one of the folder itself. (special_tokens_map_file says where one once lay.)
FILES = re.compile(r"(?!special_tokens_map_file).*_files?|source_spm|target_spm")
TOKENIZER_SETTINGS = {"clean", "strip_sep_token", "language"}
TOKENIZERS = re.compile(r"[A-Z]\w*(?:Tokenizer|TokenizerFast|Backend)|")
HUB_NAME = re.compile(r"[\w\-]+(?:\.[\w\-]+)*/[\w\-]+(?:\.[\w\-]+)*")
MAX_SETTINGS_BYTES = 100_000_000  # a vocabulary may be large


def check_folder(folder: Path, config: str) -> None:
    """Refuse a folder in which any settings ask for more than weights and words.

    Args:
        config: the file with open_clip's settings; the others are the tokenizer's.

    Raises:
        UsageError: naming the file and the key.
    """
    check_links(folder)
    check_config(folder / config, set(text_models()))
    for path in sorted(folder.rglob("*.json")):
        check_words(path)


def check_words(path: Path) -> None:
    """Refuse a file of settings that asks for code, for files elsewhere, or for a tokenizer that is none.

    Raises:
        UsageError: naming the file and the key.
    """
    settings = read(path)
    check_code(path, settings)
    if isinstance(settings, dict):
        check_tokenizer(path, settings)


def check_links(folder: Path) -> None:
    """Refuse links that lead out of the folder, but for those of the hub's cache: a snapshot's files lie in ``blobs``.

    What they lead to would be read, and its digest become part of the audit.

    Raises:
        UsageError: naming the link.
    """
    inside, blobs = folder.resolve(), folder.resolve().parents[1] / "blobs"
    places = [inside] if blobs.is_symlink() else [inside, blobs]
    for path in sorted(folder.rglob("*")):
        if path.is_symlink() and not any(path.resolve().is_relative_to(place) for place in places):
            raise UsageError(f"{printable(path)} is a link out of the model's folder: copy the file itself there")


def check_config(path: Path, text_models: Collection[str] | None) -> None:
    """Refuse open_clip's settings if they name code, or what is not open_clip's or timm's.

    Args:
        text_models: names of text towers that may be asked for; None for any on the hub, to which one is going anyway.

    Raises:
        UsageError: naming the file and the key.
    """
    settings = read(path)
    check_code(path, settings)
    model = settings.get("model_cfg", settings) if isinstance(settings, dict) else {}
    parts = {name: model.get(name) or {} for name in ("vision_cfg", "text_cfg", "multimodal_cfg")} if model else {}
    for part, values in parts.items():
        if not isinstance(values, dict):
            raise refused(path, part, "is no group of settings")
        if unknown := sorted((values.get("tokenizer_kwargs") or {}).keys() - TOKENIZER_SETTINGS):
            raise refused(path, f"{part}.tokenizer_kwargs.{unknown[0]}", "is not among what a tokenizer may be told")
        if (name := values.get("timm_model_name")) and not is_timm(name):
            raise refused(path, f"{part}.timm_model_name", f"{printable(name, 60)} is no model of timm's own")
        for key in ("hf_model_name", "hf_tokenizer_name"):
            name = values.get(key)
            if not name or (key == "hf_tokenizer_name" and text_models is not None):
                continue  # in a folder, open_clip looks for the tokenizer there, whatever its name
            known = name in text_models if text_models is not None else on_hub(name)
            if not known:
                raise refused(path, f"{part}.{key}", f"{printable(name, 60)} is none that open_clip knows by itself")


def check_code(path: Path, settings: object) -> None:
    """Refuse settings in which any key, however deep, asks for code, or for a model or a file elsewhere.

    Raises:
        UsageError: naming the file and the key.
    """
    for key, value in every(settings):
        if key in CODE and value:
            raise refused(path, key, "would run code that comes with the model")
        if key in ELSEWHERE and value and not isinstance(value, int):
            raise refused(path, key, "would read another model or another file")


def check_tokenizer(path: Path, settings: Mapping[str, Any]) -> None:
    """Refuse a tokenizer that is none of transformers', or reads files elsewhere.

    Raises:
        UsageError: naming the file and the key.
    """
    if not TOKENIZERS.fullmatch(str(settings.get("tokenizer_class") or "")):
        raise refused(path, "tokenizer_class", f"{printable(settings['tokenizer_class'], 60)} is no tokenizer")
    for key, value in every(settings):
        if FILES.fullmatch(key) and re.search(r"[/\\]|\.\.", str(value or "")):
            raise refused(path, key, "names a file elsewhere: put it into the folder and name it alone")


def every(settings: object) -> Iterator[tuple[str, object]]:
    """All pairs of key and value, however deep."""
    pending = [settings]
    while pending:
        found = pending.pop()
        if isinstance(found, Mapping):
            yield from found.items()
            pending += found.values()
        elif isinstance(found, Sequence) and not isinstance(found, str):
            pending += found


def text_models() -> Iterator[str]:
    """Names on the hub that open_clip's own configurations use."""
    for name in open_clip.list_models():
        if text := (open_clip.get_model_config(name) or {}).get("text_cfg", {}).get("hf_model_name"):
            yield text


def is_timm(name: object) -> bool:
    return isinstance(name, str) and re.fullmatch(r"[\w.\-]+", name) is not None and timm.is_model(name)


def on_hub(name: object) -> bool:
    """Whether a name can only be one on the hub, not a folder here."""
    simple = isinstance(name, str) and (HUB_NAME.fullmatch(name) or name in set(text_models()))
    return bool(simple) and not Path(str(name)).exists()


def read(path: Path) -> object:
    """The JSON in a file.

    Raises:
        UsageError: if there is none, or too much of it.
    """
    try:
        if not path.is_file() or path.stat().st_size > MAX_SETTINGS_BYTES:
            raise ValueError("no ordinary file, or too large")
        return json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise UsageError(f"{printable(path)} cannot be read: {printable(error, 100)}") from None


def refused(path: Path, key: str, why: str) -> UsageError:
    """The error that names the file and the key."""
    return UsageError(f"{printable(path)}: {printable(key, 80)}: {why}; this is refused")


@contextmanager
def no_foreign_code() -> Iterator[None]:
    """Should a setting slip through: transformers imports no Python from a model's folder or from the hub meanwhile."""

    def refuse(*_: object, **__: object) -> None:
        raise UsageError("the model wants to run code that comes with it (trust_remote_code): this is refused")

    doors = ("get_cached_module_file", "get_class_in_module", "get_class_from_dynamic_module")
    with ExitStack() as stack:
        for door in doors:
            stack.enter_context(patch(f"transformers.dynamic_module_utils.{door}", refuse))
        yield
