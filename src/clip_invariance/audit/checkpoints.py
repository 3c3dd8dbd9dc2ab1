"""Any open_clip checkpoint: found and loaded, or refused in one line that says what to do.

A checkpoint is named as open_clip names it: a model with a pretrained tag, a model with a file of weights, or a folder
(``local-dir:FOLDER``) or repository (``hf-hub:OWNER/NAME``) that holds both. Only weights are ever read from a file; one
that would run code when it is opened is refused, and so are settings that ask for code (:mod:`settings`).
"""

from __future__ import annotations

import hashlib
import logging
import re
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any, cast

import huggingface_hub
import open_clip
import torch
import torch.nn.functional as F
from huggingface_hub import constants
from open_clip import factory
from open_clip.pretrained import download_pretrained, download_pretrained_from_hf
from open_clip.timm_model import TimmModel
from open_clip.transform import CenterCropOrPad, PreprocessCfg, image_transform_v2
from open_clip.transformer import VisionTransformer
from torch import Tensor, nn
from torchvision.transforms import Compose, InterpolationMode, Normalize, Resize

from clip_invariance.audit import settings as foreign
from clip_invariance.errors import UsageError, printable
from clip_invariance.models import clip
from clip_invariance.models.normalisation import plain_statistics

LOCAL, HUB = "local-dir:", "hf-hub:"
_WEIGHTS_IN_FOLDER = (".safetensors", ".bin", ".pth")  # what open_clip looks for
_WEIGHTS = (*_WEIGHTS_IN_FOLDER, ".pt")
_CONFIG = "open_clip_config.json"
_PREPROCESSING = ("mean", "std", "interpolation", "resize_mode")
#: Pixels encoded at a time: enough to keep the processor busy, few enough to fit beside the largest models.
_PIXELS_AT_ONCE = {"cpu": 32 * 224 * 224, "cuda": 256 * 224 * 224}
_TEXTS_AT_ONCE = 64
_REACH_SECONDS = 10


@dataclass(frozen=True)
class Checkpoint:
    """Where the weights are and how open_clip has to build the model for them.

    Attributes:
        model: as open_clip names it.
        pretrained: the tag or file that was asked for; "" where the model's name says it all.
        files: files on this machine that decide the weights.
        weights: the file to load; None where open_clip finds it by the model's name.
        options: arguments for ``open_clip.create_model``.
        notes: one sentence for each thing that had to be guessed; show them.
    """

    model: str
    pretrained: str
    files: tuple[Path, ...]
    weights: Path | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def digests(self) -> dict[str, str]:
        """File name -> SHA-256 of its content."""
        found = {}
        for path in self.files:
            with path.open("rb") as file:
                found[path.name] = hashlib.file_digest(file, "sha256").hexdigest()
        return found


class Encoder:
    """An open_clip model with its own preprocessing and its own tokenizer.

    Attributes:
        model: the open_clip model, in evaluation mode.
        size: side in pixels of the square pictures that need least resizing: none where the model takes squares.
        preprocessing: the model's own, as open_clip records it.
    """

    def __init__(self, model: nn.Module, tokenizer: Any, device: str) -> None:
        self.model, self._tokenizer, self._device = model.eval(), tokenizer, device
        self.preprocessing: dict[str, Any] = cast(Any, model.visual).preprocess_cfg
        self._prepare = _prepared_as(PreprocessCfg(**self.preprocessing))
        size = self.preprocessing["size"]
        self.size = int(size if isinstance(size, int) else max(size))
        self.batch = max(1, _PIXELS_AT_ONCE[device] // self.size**2)

    def images(self, pictures: Tensor) -> dict[str, Tensor]:
        """Features of uint8 pictures (n, 3, h, w) on the encoder's device.

        Returns:
            "backbone" (n, width), pooled, before the projection into the space shared with texts; "embedding" (n, d),
            unit vectors in that space. A tower without a projection has the same features twice.

        Raises:
            UsageError: if the model's numbers are not finite.
        """
        with torch.inference_mode():
            parts = [self._features(part) for part in pictures.split(self.batch)]
        found = {"backbone": torch.cat([a for a, _ in parts]), "embedding": torch.cat([b for _, b in parts])}
        if not all(bool(x.isfinite().all()) for x in found.values()):
            raise UsageError("the encoder's features are not finite numbers: its weights are damaged, or not its own")
        return {depth: x.clone() for depth, x in found.items()}  # usable outside inference mode

    def _features(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        backbone, embedding = _both_depths(cast(nn.Module, self.model.visual), self._pixels(pictures))
        return backbone.float(), F.normalize(embedding.float(), dim=-1)

    def _pixels(self, pictures: Tensor) -> Tensor:
        pixels = self._prepare(pictures.to(self._device).float() / 255)
        return pixels.contiguous(memory_format=torch.channels_last)

    def texts(self, texts: Sequence[str]) -> Tensor:
        """Unit vectors (n, d) of texts, in the space of "embedding"."""
        with torch.inference_mode():
            tokens = self._tokenizer(list(texts)).to(self._device)
            encode = cast(Any, self.model).encode_text
            parts = [encode(part, normalize=True).float() for part in tokens.split(_TEXTS_AT_ONCE)]
        return torch.cat(parts).clone()

    def settle(self, pictures: Tensor) -> None:
        """Let batch normalisation see pictures, weights unchanged: what an untrained encoder needs to be fair."""
        with plain_statistics(self.model.eval()) as layers:
            if layers:
                self.images(pictures)

    @property
    def parameters(self) -> int:
        """How many numbers were trained."""
        return sum(parameter.numel() for parameter in self.model.parameters())


def _prepared_as(wanted: PreprocessCfg) -> Callable[[Tensor], Tensor]:
    """What open_clip does with square pictures, for tensors: two of its ways take only PIL's pictures, one at a time.

    Those are non-square sizes, and "longest", which pads; they are the same for squares of any size.
    """
    height, width = (wanted.size, wanted.size) if isinstance(wanted.size, int) else wanted.size
    if wanted.resize_mode == "squash" or (wanted.resize_mode == "shortest" and height == width):
        return cast(Callable[[Tensor], Tensor], image_transform_v2(wanted, is_train=False))
    # open_clip's own resizing of non-square pictures by their shortest side is bicubic, whatever is asked for.
    bilinear = wanted.interpolation == "bilinear" and wanted.resize_mode == "longest"
    side = (min if wanted.resize_mode == "longest" else max)(height, width)
    steps = [
        Resize((side, side), InterpolationMode.BILINEAR if bilinear else InterpolationMode.BICUBIC),
        CenterCropOrPad((height, width), fill=wanted.fill_color / 255),
        Normalize(wanted.mean, wanted.std),
    ]
    return cast(Callable[[Tensor], Tensor], Compose(steps))


def _both_depths(visual: nn.Module, pixels: Tensor) -> tuple[Tensor, Tensor]:
    """Features before and after the projection of an open_clip image tower, in one pass.

    Before it as :func:`clip.before_projection` has them, and also for timm towers whose projection is the trunk's own
    last layer.
    """
    if isinstance(visual, VisionTransformer):
        before = clip.before_projection(visual, pixels)
        return before, before if visual.proj is None else before @ visual.proj
    if isinstance(visual, TimmModel):
        classifier = visual.trunk.get_classifier()
        projection = visual.head if len(visual.head) else classifier if isinstance(classifier, nn.Linear) else None
    else:
        projection = visual.attnpool
    caught: list[Tensor] = []
    if projection is None:
        output = cast(Tensor, visual(pixels))
        return output, output
    hook = cast(nn.Module, projection).register_forward_pre_hook(lambda _module, inputs: caught.append(inputs[0]))
    try:
        output = cast(Tensor, visual(pixels))
    finally:
        hook.remove()
    before = caught[0]
    return before.mean(dim=(2, 3)) if before.ndim == 4 else before, output


# ---------------------------------------------------------------- finding


def find(model: str, pretrained: str = "") -> Checkpoint:
    """Find a checkpoint, downloading it if it is a tag or a repository that is not on this machine yet.

    Args:
        model: a name from ``open_clip.list_models()``, ``local-dir:FOLDER`` or ``hf-hub:OWNER/NAME``.
        pretrained: a tag or a file (.safetensors, or .pt, .pth, .bin with nothing but weights); "" with the last two.

    Raises:
        UsageError: naming what is unknown, missing or cannot be fetched.
    """
    if model.startswith((LOCAL, HUB)):
        if pretrained:
            raise UsageError(f"--pretrained {pretrained}: leave it out, {model} brings its own weights")
        return _in_folder(model) if model.startswith(LOCAL) else _in_repository(model)
    name = model.replace("/", "-")
    if name not in open_clip.list_models():
        raise UsageError(
            f"unknown model {model!r}{_near(name, open_clip.list_models())} All names: open_clip.list_models()"
        )
    if not pretrained:
        tags = _some(open_clip.list_pretrained_tags_by_model(name))
        raise UsageError(f"--pretrained: name a file of weights for {name}, or one of its tags: {tags}")
    if settings := open_clip.get_pretrained_cfg(name, pretrained):
        return _tagged(name, pretrained, settings)
    return _in_file(name, Path(pretrained))


def _some(names: Sequence[str], most: int = 6) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return f"{', '.join(names[:most]) or 'none'}{more}"


def _near(name: str, known: Sequence[str]) -> str:
    lower = {candidate.lower(): candidate for candidate in known}
    near = [lower[match] for match in get_close_matches(name.lower(), lower, n=4, cutoff=0.6)]
    return f": did you mean {' or '.join(near)}?" if near else "."


def _tagged(name: str, tag: str, settings: Mapping[str, Any]) -> Checkpoint:
    source = settings.get("hf_hub", "").rstrip("/") or settings.get("url", "")
    with _quick_if_offline() as offline, _quiet():
        try:
            weights = Path(download_pretrained(dict(settings)))
        except Exception as error:  # of sockets, of the hub's client, of checksums
            raise UsageError(
                f"could not fetch the weights {tag!r} of {name} from {source} ({_reason(error, offline)}): where there "
                "is a network, download open_clip_model.safetensors or whatever it is called there, and pass that file: "
                f"--model {_quick_name(name, settings)} --pretrained FILE"
            ) from None
    return Checkpoint(name, tag, (weights,), weights, _options(settings))


def _quick_name(name: str, settings: Mapping[str, Any]) -> str:
    """The name under which open_clip builds the model with these settings' activation, for a file of weights."""
    quick = f"{name}-quickgelu"
    return quick if settings.get("quick_gelu") and quick in open_clip.list_models() else name


def _in_file(name: str, path: Path) -> Checkpoint:
    tags = open_clip.list_pretrained_tags_by_model(name)
    if path.is_dir():
        raise UsageError(f"{path} is a folder: pass the file of weights in it, or --model {LOCAL}{path}")
    if not path.is_file():
        raise UsageError(f"no file {path}, and no tag of {name}{_near(str(path), tags)} Its tags: {_some(tags)}")
    if path.suffix not in _WEIGHTS:
        raise UsageError(f"{path}: expected a file of weights that ends in {', '.join(_WEIGHTS)}")
    settings = [open_clip.get_pretrained_cfg(name, tag) for tag in tags]
    notes, options = [], {}
    if len({str([s.get(key) for key in _PREPROCESSING]) for s in settings}) == 1:
        options = _options({key: settings[0].get(key) for key in _PREPROCESSING})
    elif settings:
        notes.append(f"the published weights of {name} differ in their preprocessing; for this file OpenAI's is used")
    if any(s.get("quick_gelu") for s in settings) and not name.endswith("-quickgelu"):
        notes.append(
            f"some published weights of {name}, OpenAI's among them, need the activation QuickGELU: if this file is "
            f"one of them, use --model {name}-quickgelu"
        )
    return Checkpoint(name, str(path), (path,), path.absolute(), options, tuple(notes))


def _in_folder(model: str) -> Checkpoint:
    folder = Path(model.removeprefix(LOCAL))
    if not (folder / _CONFIG).is_file():
        theirs = (folder / "config.json").is_file()
        why = (
            ": what is there looks like a model of the library transformers, which open_clip cannot read"
            if theirs
            else ""
        )
        raise UsageError(f"{model}: {folder / _CONFIG} is missing{why}")
    weights = tuple(sorted(path for path in folder.iterdir() if path.suffix in _WEIGHTS_IN_FOLDER))
    if not weights:
        raise UsageError(f"{model}: no file of weights ({', '.join(_WEIGHTS_IN_FOLDER)}) in {folder}")
    foreign.check_folder(folder, _CONFIG)
    return Checkpoint(model, "", (folder / _CONFIG, *weights))


#: What transformers reads before it makes a tokenizer.
_WORDS_SETTINGS = ("config.json", "tokenizer_config.json")


def _in_repository(model: str) -> Checkpoint:
    repository = model.removeprefix(HUB)
    with _quick_if_offline() as offline, _quiet():
        try:
            found = [Path(download_pretrained_from_hf(repository, filename=name)) for name in (_CONFIG, None)]
        except Exception as error:  # of sockets, of the hub's client
            raise UsageError(
                f"could not fetch {model} ({_reason(error, offline)}): where there is a network, download its files "
                f"into a folder, and pass that: --model {LOCAL}FOLDER"
            ) from None
        words = [_if_there(repository, name) for name in _WORDS_SETTINGS]
    foreign.check_config(found[0], None)
    for path in filter(None, words):
        foreign.check_words(path)
    return Checkpoint(model, "", tuple(found))


def _if_there(repository: str, name: str) -> Path | None:
    """A file of a repository on the hub; None where it has none of that name, or cannot be asked."""
    try:
        return Path(download_pretrained_from_hf(repository, filename=name))
    except Exception:  # of sockets, of the hub's client: the tokenizer will say what is lacking
        return None


def _options(settings: Mapping[str, Any]) -> dict[str, Any]:
    preprocessing = {key: settings[key] for key in _PREPROCESSING if settings.get(key) is not None}
    return {"force_preprocess_cfg": preprocessing, "force_quick_gelu": bool(settings.get("quick_gelu"))}


def _reason(error: Exception, offline: str) -> str:
    return f"{offline}, and nothing in the cache" if offline else _first_line(error)


@contextmanager
def _quick_if_offline() -> Iterator[str]:
    """Without a network, ask the hub's client for its cache only: it would try again for most of a minute.

    Yields:
        why there is no network; "" where there is one.
    """
    before = constants.HF_HUB_OFFLINE
    why = "the hub is switched off by $HF_HUB_OFFLINE" if before else ""
    if not before:
        try:
            huggingface_hub.get_session().head(constants.ENDPOINT, timeout=_REACH_SECONDS)
        except Exception as error:  # whatever the transport raises: the download itself will say so
            constants.HF_HUB_OFFLINE = True
            why = "no network here"
            if "socks" in str(error).lower():
                why = "a SOCKS proxy is set, in $ALL_PROXY or the like, but the library for it is not: pip install socksio"
    try:
        yield why
    finally:
        constants.HF_HUB_OFFLINE = before


@contextmanager
def _quiet() -> Iterator[None]:
    """open_clip tells its doings through the root logger; what matters of them is an error or a note here."""
    logging.disable(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(logging.NOTSET)


# ---------------------------------------------------------------- loading


def load(checkpoint: Checkpoint, device: str = "cpu") -> Encoder:
    """The encoder with its weights.

    Raises:
        UsageError: naming the file, if it is damaged, holds more than weights, is in another library's format, or belongs
            to another model, which the same model for other sizes of pictures or lengths of texts is, too.
    """
    pretrained = str(checkpoint.weights) if checkpoint.weights else None
    for path in checkpoint.files:
        _check_format(path)
    try:
        with _positions_as_they_are():
            return _build(checkpoint, device, pretrained=pretrained, require_pretrained=True)
    except Exception as error:  # a stranger's file may raise anything on its way into the model
        raise UsageError(printable(_why_not(checkpoint, error), 700)) from None  # names of tensors are in it


@contextmanager
def _positions_as_they_are() -> Iterator[None]:
    """open_clip stretches embeddings of positions to a model's size, and says so in its log only.

    What is measured then is no model that anybody has trained. Left alone, such a file does not fit.
    """
    names = ("resize_pos_embed", "resize_text_pos_embed")
    before = {name: getattr(factory, name) for name in names}
    try:
        for name in names:
            setattr(factory, name, lambda *_: None)
        yield
    finally:
        for name, function in before.items():
            setattr(factory, name, function)


def _check_format(path: Path) -> None:
    """Refuse by its first bytes what a file's name does not tell.

    Raises:
        UsageError: naming the file, and what to do.
    """
    with path.open("rb") as file:
        start = file.read(64)
    if start.startswith(b"version https://git-lfs"):
        raise UsageError(
            f"{path} is a pointer of Git LFS, not the file itself: fetch it with `git lfs pull` in its folder"
        )
    looks_safe = start[8:9] == b"{" and int.from_bytes(start[:8], "little") < path.stat().st_size
    if path.suffix in _WEIGHTS and looks_safe != (path.suffix == ".safetensors") and (looks_safe or start[:2] == b"PK"):
        kind = ".safetensors" if looks_safe else ".pt"
        raise UsageError(
            f"{path} holds weights in the format of {kind}, whatever its name says: rename it to end in {kind}"
        )


def untrained(checkpoint: Checkpoint, seed: int, device: str = "cpu") -> Encoder:
    """The same architecture with random weights, the control of every measurement."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return _build(checkpoint, device, load_weights=False, pretrained_image=False, pretrained_text=False)


def _build(checkpoint: Checkpoint, device: str, **options: Any) -> Encoder:
    name = checkpoint.model
    text = _settings(checkpoint, "text_cfg")
    # A folder holds all it needs, but for the settings of a text tower that open_clip knows by name.
    known_words = not name.startswith(LOCAL) and ("hf_tokenizer_name" in text or "siglip" in name.lower())
    fetches = name.startswith(HUB) or "hf_model_name" in text or known_words
    network = _quick_if_offline() if fetches else _offline()
    words = {"trust_remote_code": False} if text.get("hf_tokenizer_name") else {}
    with network as offline, _quiet(), foreign.no_foreign_code():
        try:
            with _offline() if name.startswith(LOCAL) else nullcontext():  # its tokenizer lies in the folder
                tokenizer = open_clip.get_tokenizer(name, **words)
        except UsageError:
            raise
        except Exception as error:  # of sockets, of the hub's client, of damaged vocabularies
            raise UsageError(
                f"could not get the tokenizer of {name} ({_reason(error, offline)}): where there is a "
                f"network, download its repository into a folder, and pass that: --model {LOCAL}FOLDER"
            ) from None
        try:
            model = open_clip.create_model(name, weights_only=True, **checkpoint.options, **options)
        except Exception as error:
            tower = text.get("hf_model_name", "")
            if not tower or isinstance(error, UsageError) or "loading state_dict" in str(error):
                raise
            raise UsageError(
                f"could not get the settings of the text tower {printable(tower, 100)} that {name} names "
                f"({_reason(error, offline)}): where there is a network, `hf download` them, and copy the cache ($HF_HOME) "
                "to this machine"
            ) from None
    return Encoder(model.to(device=device, memory_format=torch.channels_last), tokenizer, device)


def _settings(checkpoint: Checkpoint, part: str) -> dict[str, Any]:
    """What open_clip is told about a tower ("vision_cfg", "text_cfg"): by the checkpoint's own file, if it brings one."""
    brought = checkpoint.model.startswith((LOCAL, HUB))
    settings: Any = foreign.read(checkpoint.files[0]) if brought else open_clip.get_model_config(checkpoint.model)
    return dict(settings.get("model_cfg", settings).get(part, {}))


@contextmanager
def _offline() -> Iterator[str]:
    """No request, whatever a folder's settings say. Yields "": nothing is lacking."""
    before, constants.HF_HUB_OFFLINE = constants.HF_HUB_OFFLINE, True
    try:
        yield ""
    finally:
        constants.HF_HUB_OFFLINE = before


def _why_not(checkpoint: Checkpoint, error: Exception) -> str:
    if isinstance(error, UsageError):
        return str(error)
    where, text = checkpoint.weights or checkpoint.model, str(error)
    if "loading state_dict" in text:
        if "text_model." in text:
            return (
                f"{where} holds weights as the library transformers names them, which open_clip cannot read: pass "
                f"open_clip's own file of them, often open_clip_model.safetensors in the same repository, or "
                f"{HUB}OWNER/NAME of a repository that has one; OpenAI's are --pretrained openai"
            )
        return (
            _other_size(checkpoint, text) or f"{where} does not match the model {checkpoint.model}: {_mismatch(text)}"
        )
    if "TorchScript" in text:
        return (
            f"{where} is a TorchScript archive, a program with weights, and is not run: OpenAI's own are --pretrained "
            "openai; of others, save the weights where you trust them, "
            "safetensors.torch.save_file(torch.jit.load(FILE).state_dict(), 'weights.safetensors')"
        )
    if "Unsupported global" in text or "Unsupported class" in text:
        return (
            f"{where} holds more than weights and is not opened: save the model's state_dict() alone, or .safetensors"
        )
    # PyTorch's words for a file that is no archive of weights go on to advise opening it without any check.
    what = f"{type(error).__name__}: {_first_line(error).partition(' Please file an issue')[0]}"
    if "weights_only" in text or "Weights only" in text:
        what = "no archive of tensors"
    return f"{where} is damaged or not for the model {checkpoint.model}: {what}"


def _other_size(checkpoint: Checkpoint, text: str) -> str:
    """Says for which pictures or texts the weights were made, where tensors of positions alone differ; else ""."""
    shapes = re.findall(r"size mismatch for (\S+): .*?Size\(\[(\d+), .*?Size\(\[(\d+), ", text)
    if not shapes or "Missing key" in text or "Unexpected key" in text:
        return ""
    if any(not name.endswith("positional_embedding") for name in re.findall(r"size mismatch for (\S+):", text)):
        return ""
    vision, said = _settings(checkpoint, "vision_cfg"), []
    for name, there, here in ((name, int(there), int(here)) for name, there, here in shapes):
        patch = vision.get("patch_size")
        if not name.startswith("visual."):
            said.append(f"texts of {there} tokens, and the model takes {here}")
        elif isinstance(patch, int):
            made, taken = (round((count - 1) ** 0.5) * patch for count in (there, here))
            said.append(f"pictures of {made} pixels, and the model takes {taken}")
        else:
            said.append(f"{there - 1} places in a picture, and the model has {here - 1}")
    how = (
        f"set image_size and context_length in its {_CONFIG} to those of the weights"
        if checkpoint.model.startswith((LOCAL, HUB))
        else f"choose the --model of that size (open_clip.list_models()), or a {LOCAL}FOLDER whose {_CONFIG} says it"
    )
    return f"{checkpoint.weights or checkpoint.model} was made for {'; for '.join(said)}: {how}"


def _mismatch(text: str) -> str:
    """The essence of what ``load_state_dict`` has to say."""
    parts = []
    for heading, meaning in (("Missing key", "missing"), ("Unexpected key", "that the model does not have")):
        # Names of a stranger's tensors may hold anything, line breaks too.
        if block := re.search(rf"{heading}\(s\) in state_dict: (.*?)(?:\. ?\n\t|\. ?$|$)", text, re.DOTALL):
            names = [printable(name, 100) for name in re.findall(r'"([^"]+)"', block[1])] or ["?"]
            parts.append(f"{len(names)} tensors {meaning} ({names[0]}{', ...' if len(names) > 1 else ''})")
    shapes = re.findall(r"size mismatch for (\S+): .*?Size\(\[(.*?)\]\).*?Size\(\[(.*?)\]\)", text)
    if shapes:
        name, there, here = shapes[0]
        parts.append(f"{len(shapes)} tensors of another shape ({name}: {there} in the file, {here} in the model)")
    return "; ".join(parts) or text.splitlines()[0]


def _first_line(error: Exception) -> str:
    return printable((str(error).strip() or type(error).__name__).splitlines()[0].removesuffix("."), 500)
