"""Small CLIPs are real open_clip models: same numbers, same files; what is told about them is what they do."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest
import torch
from open_clip.model import CLIP
from PIL import Image
from torch import Tensor

from clip_invariance.errors import UsageError
from clip_invariance.models import clip
from clip_invariance.models.clip import TOWERS, Tower

TEXTS = ["a red car", "a picture of a small banana in the top left corner on a blue background", "it"]


def pictures(n: int, size: int, seed: int = 0) -> Tensor:
    """Noise of another brightness and colour for each picture: uint8 (n, 3, size, size)."""
    generator = torch.Generator().manual_seed(seed)
    colour = torch.randint(0, 200, (n, 3, 1, 1), generator=generator)
    return (colour + torch.randint(0, 56, (n, 3, size, size), generator=generator)).to(torch.uint8)


SEED = 3


@cache
def trained_look(tower: Tower) -> CLIP:
    """An untrained model whose every tensor is away from its initial value, so that no mix-up stays unseen."""
    model = clip.create(tower, size=32, seed=SEED)
    generator = torch.Generator().manual_seed(SEED)
    for parameter in model.parameters():
        parameter.data += 0.02 * torch.randn(parameter.shape, generator=generator)
    return clip.calibrate_batch_norm(model, pictures(64, 32))


def resnet() -> CLIP:
    """A small member of the original CLIP's residual family, whose attention pooling projects."""
    torch.manual_seed(0)
    vision = {"layers": [1, 1, 1, 1], "width": 8, "image_size": 32}
    text = {"context_length": 32, "vocab_size": 49408, "width": 64, "heads": 2, "layers": 1}
    return CLIP(embed_dim=16, vision_cfg=vision, text_cfg=text).eval()


# --- open_clip's own ------------------------------------------------------------------------------------------------

STRANGER = """
import json, sys
sys.modules["clip_invariance"] = None  # any import of the package fails
import open_clip, torch
from PIL import Image

picture, text, *folders = sys.argv[1:]
for folder in folders:
    model, _, preprocess = open_clip.create_model_and_transforms("local-dir:" + folder)
    tokenizer = open_clip.get_tokenizer("local-dir:" + folder)
    model.eval()
    with torch.inference_mode():
        image = model.encode_image(preprocess(Image.open(picture))[None], normalize=True)
        words = model.encode_text(tokenizer([text]), normalize=True)
    print(json.dumps({"image": image[0].tolist(), "text": words[0].tolist(), "scale": model.logit_scale.item()}))
"""


def test_plain_open_clip_reads_the_files_and_agrees(tmp_path: Path) -> None:
    """Without this package: the same embedding of a PNG file and of a text. Its preprocessing is in the files."""
    image = pictures(1, 32, seed=7)
    Image.fromarray(image[0].permute(1, 2, 0).numpy()).save(tmp_path / "picture.png")
    for tower in TOWERS:
        clip.save(trained_look(tower), tmp_path / tower, tower)
        written = {path.name for path in (tmp_path / tower).iterdir()}
        assert written == {"open_clip_config.json", "open_clip_model.safetensors"}
    done = subprocess.run(
        [sys.executable, "-c", STRANGER, "picture.png", TEXTS[1], *TOWERS],
        cwd=tmp_path,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    for tower, line in zip(TOWERS, done.stdout.splitlines(), strict=True):
        model, theirs = trained_look(tower), json.loads(line)
        ours = clip.embed(model, image)[0], clip.encode_texts(model, TEXTS[1:2])[0]
        torch.testing.assert_close(torch.tensor(theirs["image"]), ours[0], atol=1e-5, rtol=0)
        torch.testing.assert_close(torch.tensor(theirs["text"]), ours[1], atol=1e-5, rtol=0)
        assert theirs["scale"] == pytest.approx(model.logit_scale.item())


def test_texts_are_encoded_as_open_clip_does_over_the_whole_context() -> None:
    """The padding left out is padding that changes nothing, in values and in gradients."""
    model = trained_look("vit")
    tokens = clip.tokenize(TEXTS)
    assert tokens.shape == (3, 32)
    ours, theirs = clip.encode_tokens(model, tokens), model.encode_text(tokens, normalize=True)
    torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=0)
    weights = torch.randn(ours.shape, generator=torch.Generator().manual_seed(0))
    names, parameters = zip(*[(n, p) for n, p in model.named_parameters() if not n.startswith("visual")], strict=True)
    by_ours = torch.autograd.grad((ours * weights).sum(), parameters, allow_unused=True)
    by_theirs = torch.autograd.grad((theirs * weights).sum(), parameters, allow_unused=True)
    for name, a, b in zip(names, by_ours, by_theirs, strict=True):
        assert (a is None) == (b is None), name
        if a is not None and b is not None:
            torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-3, msg=lambda text, name=name: f"{name}: {text}")


def test_texts_have_unit_norm_and_do_not_depend_on_their_company() -> None:
    model = trained_look("vit")
    together = clip.encode_texts(model, TEXTS)
    torch.testing.assert_close(together.norm(dim=1), torch.ones(3))
    alone = torch.cat([clip.encode_texts(model, [text]) for text in TEXTS])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=0)


def test_a_caption_that_does_not_fit_is_named() -> None:
    """open_clip would cut it and train on half a sentence."""
    fits = " ".join(["car"] * 30)  # and two tokens for start and end
    assert int((clip.tokenize([fits]) != 0).sum()) == 32
    with pytest.raises(UsageError, match=r"caption 'car( car){30}' has more than 32 tokens"):
        clip.tokenize(["a car", fits + " car", fits])
    with pytest.raises(UsageError, match="'a red car' has more than 4 tokens"):
        clip.tokenize(["a red car"], context_length=4)


# --- image features -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tower", TOWERS)
def test_the_projection_of_the_backbone_is_the_embedding(tower: Tower) -> None:
    model, images = trained_look(tower), pictures(5, 32)
    features = clip.backbone(model, images)
    assert features.shape == (5, {"conv": 256, "vit": 64}[tower])
    assert not torch.allclose(features.norm(dim=1), torch.ones(5))
    with torch.inference_mode():
        projected = model.visual.head(features) if tower == "conv" else features @ model.visual.proj
    embedding = clip.embed(model, images)
    torch.testing.assert_close(torch.nn.functional.normalize(projected, dim=1), embedding, atol=1e-5, rtol=0)
    torch.testing.assert_close(embedding.norm(dim=1), torch.ones(5))


def test_the_backbone_of_the_original_resnet_is_the_mean_of_its_last_map() -> None:
    model, images = resnet(), pictures(3, 32)
    before = clip.embed(model, images)
    features = clip.backbone(model, images)
    assert features.shape == (3, 256)  # 32 times the width
    with torch.inference_mode():
        visual = model.visual
        last = visual.layer4(visual.layer3(visual.layer2(visual.layer1(visual.stem(clip.prepare(images))))))
        torch.testing.assert_close(features, last.mean(dim=(2, 3)))
    torch.testing.assert_close(clip.embed(model, images), before)  # and the tower is left as it was
    assert not model.visual.layer4._forward_hooks


@pytest.mark.parametrize("tower", TOWERS)
def test_pictures_do_not_depend_on_their_batch(tower: Tower, monkeypatch: pytest.MonkeyPatch) -> None:
    model, images = trained_look(tower), pictures(5, 32)
    whole = clip.embed(model, images), clip.backbone(model, images), clip.encode_texts(model, TEXTS)
    monkeypatch.setattr(clip, "_BATCH", 2)
    parts = clip.embed(model, images), clip.backbone(model, images), clip.encode_texts(model, TEXTS)
    for a, b in zip(whole, parts, strict=True):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-5)


def test_settling_moves_statistics_and_no_weight() -> None:
    model = clip.create("conv", size=32, seed=0)
    weights = {name: parameter.clone() for name, parameter in model.named_parameters()}
    buffers = {name: buffer.clone() for name, buffer in model.named_buffers()}
    images = pictures(64, 32)
    assert clip.calibrate_batch_norm(model, images) is model
    assert not model.training
    for name, parameter in model.named_parameters():
        assert torch.equal(parameter, weights[name]), name
    moved = {name for name, buffer in model.named_buffers() if not torch.equal(buffer, buffers[name])}
    assert {name.rpartition(".")[2] for name in moved} == {"running_mean", "running_var", "num_batches_tracked"}

    stem = model.visual.trunk.stem
    with torch.inference_mode():
        seen = stem.conv(clip.prepare(images))
    torch.testing.assert_close(stem.bn.running_mean, seen.mean((0, 2, 3)), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(stem.bn.running_var, seen.var((0, 2, 3)), atol=1e-5, rtol=1e-4)
    assert stem.bn.momentum == 0.1, "training goes on with the moving average"

    vit = clip.create("vit", size=32, seed=0)
    before = {name: tensor.clone() for name, tensor in vit.state_dict().items()}
    after = clip.calibrate_batch_norm(vit, images).state_dict()
    assert all(torch.equal(after[name], before[name]) for name in before)  # it has no statistics


# --- creation -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tower", TOWERS)
def test_the_seed_decides_the_weights_and_nothing_else_does(tower: Tower) -> None:
    torch.manual_seed(1)
    first, drawn = clip.create(tower, size=32, seed=5).state_dict(), torch.rand(1)
    torch.manual_seed(1)
    assert torch.equal(torch.rand(1), drawn)  # the caller's random numbers are left alone
    again, other = clip.create(tower, size=32, seed=5).state_dict(), clip.create(tower, size=32, seed=6).state_dict()
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["token_embedding.weight"], other["token_embedding.weight"])


def test_the_width_and_the_size_are_as_asked() -> None:
    model = clip.create("vit", size=24, embed_dim=8)
    assert clip.embed(model, pictures(2, 24)).shape == clip.encode_texts(model, ["a", "b"]).shape == (2, 8)


def test_creation_errors() -> None:
    with pytest.raises(UsageError, match="unknown image tower 'mlp': choose one of conv, vit"):
        clip.create("mlp", size=32)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="patches of 8 pixels: 36"):
        clip.create("vit", size=36)


# --- weights --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tower", TOWERS)
def test_weights_come_back_for_the_words_that_were_trained(tower: Tower) -> None:
    model, images = trained_look(tower), pictures(4, 32)
    content = clip.weights(model, TEXTS)
    assert len(content) < 0.15 * sum(tensor.nbytes for tensor in model.state_dict().values())
    back = clip.restore(tower, content, size=32, seed=SEED)
    assert not back.training
    torch.testing.assert_close(clip.embed(back, images), clip.embed(model, images))
    torch.testing.assert_close(clip.encode_texts(back, TEXTS), clip.encode_texts(model, TEXTS))
    assert back.logit_scale.item() == model.logit_scale.item()
    # Words that were left out are as the seed made them.
    left_out = clip.tokenize(["zebra"])[0, 1]
    fresh = clip.create(tower, size=32, seed=SEED)
    assert torch.equal(back.token_embedding.weight[left_out], fresh.token_embedding.weight[left_out])


def test_damaged_or_foreign_weights_are_refused_in_one_line() -> None:
    content = clip.weights(clip.create("vit", size=32), TEXTS)
    damaged = [b"", content[:1000], content[:-100], b"\xff" * 64 + content[64:]]
    for broken in damaged:
        with pytest.raises(UsageError, match="these weights do not fit a vit CLIP of 32 px, 64 wide") as caught:
            clip.restore("vit", broken, size=32)
        assert "\n" not in str(caught.value)
    for tower, size, embed_dim in (("conv", 32, 64), ("vit", 48, 64), ("vit", 32, 32)):
        with pytest.raises(UsageError, match="do not fit"):
            clip.restore(tower, content, size=size, embed_dim=embed_dim)  # type: ignore[arg-type]
