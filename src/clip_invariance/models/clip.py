"""Small CLIPs that are real open_clip models: two image towers, its text tower, its tokenizer, its file format.

The towers are named in ``clip_conv.json`` and ``clip_vit.json`` beside this file, ordinary open_clip configurations.
:func:`save` writes a folder that plain open_clip reads without this package::

    model, _, preprocess = open_clip.create_model_and_transforms("local-dir:FOLDER")
    tokenizer = open_clip.get_tokenizer("local-dir:FOLDER")

Importing open_clip takes seconds. Where chapters use it, functions that need it do that: a notebook's kernel, which has
its workers compute and then draws, does not wait for it.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load, save_file
from safetensors.torch import save as to_bytes
from torch import Tensor, nn

from clip_invariance.errors import UsageError
from clip_invariance.models.normalisation import plain_statistics

if TYPE_CHECKING:
    from open_clip.model import CLIP
    from open_clip.tokenizer import SimpleTokenizer
    from open_clip.transformer import ResidualAttentionBlock

Tower = Literal["conv", "vit"]
TOWERS: tuple[Tower, ...] = ("conv", "vit")
_CONFIGS = Path(__file__).parent

#: Pixels are scaled to [0, 1], then normalised with these: the model's own preprocessing, written into its files.
MEAN, STD = 0.5, 0.25
_PREPROCESS = {"mean": [MEAN] * 3, "std": [STD] * 3, "interpolation": "bicubic", "resize_mode": "shortest"}
_BATCH = 512
_WORDS = "token_embedding."


def create(tower: Tower, *, size: int, embed_dim: int = 64, seed: int = 0, device: str = "cpu") -> CLIP:
    """A freshly initialised CLIP.

    Args:
        tower: "conv" (timm's small residual net) or "vit" (three blocks over patches of 8 x 8 pixels).
        size: side of the images in pixels; for "vit" a multiple of 8.
        embed_dim: width of the space that images and texts share.
        seed: of the initial weights.
        device: where to put it.

    Raises:
        UsageError: for an unknown tower or a size that does not fit it.
    """
    if tower not in TOWERS:
        raise UsageError(f"unknown image tower {tower!r}: choose one of {', '.join(TOWERS)}")
    if tower == "vit" and size % 8:
        raise UsageError(f"the image tower 'vit' cuts images into patches of 8 pixels: {size} is not a multiple")
    import open_clip

    open_clip.add_model_config(_CONFIGS / f"clip_{tower}.json")
    with torch.random.fork_rng(devices=[]), _without_warning():
        torch.manual_seed(seed)
        model = open_clip.create_model(f"clip_{tower}", force_image_size=size, embed_dim=embed_dim)
    return cast("CLIP", model.to(device=device, memory_format=torch.channels_last))


@contextmanager
def _without_warning() -> Iterator[None]:
    """open_clip warns through the root logger that nothing pretrained was loaded: here that is what is wanted."""
    root = logging.getLogger()
    before = root.level
    root.setLevel(logging.ERROR)
    try:
        yield
    finally:
        root.setLevel(before)


def config(tower: Tower, size: int, embed_dim: int) -> dict[str, Any]:
    """The open_clip configuration of what :func:`create` builds."""
    text = json.loads((_CONFIGS / f"clip_{tower}.json").read_text(encoding="utf-8"))
    text["embed_dim"], text["vision_cfg"]["image_size"] = embed_dim, size
    return cast(dict[str, Any], text)


def prepare(images: Tensor) -> Tensor:
    """uint8 images (n, 3, h, w) as the towers want them: normalised float, channels last."""
    return ((images.float() / 255 - MEAN) / STD).contiguous(memory_format=torch.channels_last)


# ---------------------------------------------------------------- texts


def tokenize(texts: Sequence[str], context_length: int = 32) -> Tensor:
    """Token ids (n, context_length), by open_clip's own tokenizer, padded with zeros.

    Raises:
        UsageError: naming a caption that is longer than the context; open_clip would cut it silently.
    """
    tokens = cast(Tensor, _tokenizer(context_length + 1)(list(texts)))
    too_long = tokens[:, -1].nonzero().squeeze(1)
    if len(too_long):
        raise UsageError(f"caption {texts[int(too_long[0])]!r} has more than {context_length} tokens, all that fits")
    return tokens[:, :-1]


@cache  # it reads a dictionary of 49,152 words
def _tokenizer(context_length: int) -> SimpleTokenizer:
    from open_clip.tokenizer import SimpleTokenizer

    return SimpleTokenizer(context_length=context_length)


def encode_tokens(model: CLIP, tokens: Tensor) -> Tensor:
    """Unit-norm text embeddings (n, embed_dim), of the words alone.

    open_clip's ``encode_text`` gives the same up to rounding and takes several times as long: attention looks back only
    and the embedding is read at the end of the text, so that neither the padding behind it nor, in the last block, what
    the other words become can change anything.
    """
    end = tokens.argmax(1)  # the end-of-text token has the largest id
    length = int(end.max()) + 1
    said = torch.arange(length, device=tokens.device) <= end[:, None]
    at = said.flatten().nonzero().squeeze(1)
    words = model.token_embedding(tokens[:, :length].flatten()[at]) + model.positional_embedding[at % length]
    *blocks, last = cast("Sequence[ResidualAttentionBlock]", model.transformer.resblocks)
    for block in blocks:
        words = _block(block, words, at, said.shape, wanted=slice(None))
    words = _block(last, words, at, said.shape, wanted=(end + 1).cumsum(0) - 1)
    return F.normalize(model.ln_final(words) @ model.text_projection, dim=-1)


def _block(
    block: ResidualAttentionBlock, words: Tensor, at: Tensor, shape: Sequence[int], wanted: Tensor | slice
) -> Tensor:
    """What the ``wanted`` ones of the words become in one of open_clip's transformer blocks, (wanted, width).

    ``words`` (m, width) are those of all texts, one after the other; ``at`` (m,) says where they stand in texts padded to
    ``shape`` (n, length), in which attention happens.
    """
    attention = block.attn
    asked = F.linear(block.ln_1(words), attention.in_proj_weight, attention.in_proj_bias)
    padded = asked.new_zeros(shape[0] * shape[1], asked.shape[1]).index_copy(0, at, asked)
    q, k, v = padded.view(*shape, 3, attention.num_heads, -1).permute(2, 0, 3, 1, 4)
    heard = F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).reshape(len(padded), -1)
    words = words[wanted] + attention.out_proj(heard[at[wanted]])
    return cast(Tensor, words + block.mlp(block.ln_2(words)))


@torch.inference_mode()
def encode_texts(model: CLIP, texts: Sequence[str]) -> Tensor:
    """Unit-norm embeddings (n, embed_dim) of texts."""
    tokens = tokenize(texts, model.context_length).to(model.logit_scale.device)
    return torch.cat([encode_tokens(model.eval(), part) for part in tokens.split(_BATCH)])


# ---------------------------------------------------------------- images


@torch.inference_mode()
def embed(model: CLIP, images: Tensor) -> Tensor:
    """Unit-norm image embeddings (n, embed_dim) of uint8 images (n, 3, h, w) on the model's device."""
    model.eval()
    return torch.cat([model.encode_image(prepare(part), normalize=True) for part in images.split(_BATCH)])


@torch.inference_mode()
def backbone(model: CLIP, images: Tensor) -> Tensor:
    """Pooled features (n, width) of uint8 images before the projection into the shared space."""
    model.eval()
    return torch.cat([before_projection(model.visual, prepare(part)) for part in images.split(_BATCH)])


def before_projection(visual: nn.Module, images: Tensor) -> Tensor:
    """What the projection of an open_clip image tower gets: (n, width).

    For a ResNet of the original CLIP, whose attention pooling projects as it pools: the mean over its last map.
    """
    from open_clip.timm_model import TimmModel
    from open_clip.transformer import VisionTransformer

    if isinstance(visual, TimmModel):
        return cast(Tensor, visual.trunk(images))
    if isinstance(visual, VisionTransformer):
        projection, visual.proj = visual.proj, None
        try:
            output = visual(images)
        finally:
            visual.proj = projection
        return cast(Tensor, output[0] if isinstance(output, tuple) else output)
    maps: list[Tensor] = []
    hook = cast(nn.Module, visual.layer4).register_forward_hook(lambda _module, _input, output: maps.append(output))
    try:
        visual(images)
    finally:
        hook.remove()
    return maps[0].mean(dim=(2, 3))


@torch.inference_mode()
def calibrate_batch_norm(model: CLIP, images: Tensor) -> CLIP:
    """Let batch normalisation see images, weights unchanged: what an untrained encoder needs to be a fair control."""
    with plain_statistics(model.eval()):
        for part in images[: 4 * _BATCH].split(_BATCH):
            model.encode_image(prepare(part))
    return model


# ---------------------------------------------------------------- files


def weights(model: CLIP, texts: Sequence[str]) -> bytes:
    """All weights as the bytes of a safetensors file, of the word embedding only the rows of the words in ``texts``.

    Nine tenths of a small CLIP are rows of words that it never saw.
    """
    words = tokenize(texts, model.context_length).unique().to(model.logit_scale.device)
    tensors = {name: tensor for name, tensor in model.state_dict().items() if not name.startswith(_WORDS)}
    tensors |= {"words": words, "rows": model.token_embedding(words).detach()}
    return to_bytes({name: tensor.cpu().contiguous() for name, tensor in tensors.items()})


def restore(
    tower: Tower, content: bytes, *, size: int, embed_dim: int = 64, seed: int = 0, device: str = "cpu"
) -> CLIP:
    """The model that :func:`weights` took the bytes from; words that it left out are as ``seed`` made them.

    Raises:
        UsageError: if the bytes are damaged or belong to another model.
    """
    model = create(tower, size=size, embed_dim=embed_dim, seed=seed)
    try:
        tensors = load(content)
        rows = model.token_embedding.weight.detach().clone()
        rows[tensors.pop("words")] = tensors.pop("rows")
        model.load_state_dict({**tensors, f"{_WORDS}weight": rows})
    except (SafetensorError, RuntimeError, KeyError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise UsageError(f"these weights do not fit a {tower} CLIP of {size} px, {embed_dim} wide: {reason}") from None
    return cast("CLIP", model.to(device=device).eval())


def save(model: CLIP, folder: Path, tower: Tower) -> None:
    """Write ``open_clip_config.json`` and ``open_clip_model.safetensors``, which plain open_clip loads as "local-dir:"."""
    size, embed_dim = model.visual.image_size[0], model.text_projection.shape[1]
    folder.mkdir(parents=True, exist_ok=True)
    text = {"model_cfg": config(tower, size, embed_dim), "preprocess_cfg": {"size": size, **_PREPROCESS}}
    (folder / "open_clip_config.json").write_text(json.dumps(text, indent=1) + "\n", encoding="utf-8")
    partial = folder / "open_clip_model.safetensors.partial"
    try:
        save_file({name: tensor.cpu().contiguous() for name, tensor in model.state_dict().items()}, partial)
        partial.rename(folder / "open_clip_model.safetensors")
    finally:
        with suppress(FileNotFoundError):
            partial.unlink()
