"""An audit finds what an encoder knows, misses what it does not, loads any checkpoint or says in one line why not."""

from __future__ import annotations

import errno
import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import open_clip
import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from huggingface_hub import constants
from open_clip.transform import PreprocessCfg, image_transform_v2
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from clip_invariance.audit import audit as report
from clip_invariance.audit import checkpoints
from clip_invariance.audit import measures as audit
from clip_invariance.audit.figures import describe_overview
from clip_invariance.audit.measures import AUDITED, GREY, PIXELS, UNTRAINED, Amounts, Subject, find
from clip_invariance.chapters.c4_dashcam import photographs
from clip_invariance.chapters.c4_dashcam.readers import Reader
from clip_invariance.cli import main
from clip_invariance.errors import UsageError
from clip_invariance.models import clip
from clip_invariance.results import write_json
from clip_invariance.worlds import traffic_lights

FEW = Amounts(scenes=240, pairs=40, shots=(1, 4), photographs=60)


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


# ---------------------------------------------------------------- encoders made by hand


def sky(pictures: Tensor) -> Tensor:
    """Upper part of the pictures, where lights hang and no car is, in [0, 1]."""
    return pictures[:, :, : pictures.shape[2] * 45 // 100].float() / 255


def noise(n: int) -> Tensor:
    return 0.02 * torch.randn(n, 6, generator=torch.Generator().manual_seed(n))


def seeing(pictures: Tensor) -> dict[str, Tensor]:
    """Looks for the reddest and the greenest place: axes 0 and 1. It sees lights and nothing else."""
    red, green, blue = sky(pictures).unbind(1)
    reddest = (red - torch.maximum(green, blue)).flatten(1).amax(1)
    greenest = (green - torch.maximum(red, blue)).flatten(1).amax(1)
    here = torch.zeros(len(pictures), 6)
    here[:, 0], here[:, 1] = reddest, greenest
    return {"backbone": here + noise(len(here)), "embedding": F.normalize(here + noise(len(here)), dim=1)}


def blind(pictures: Tensor) -> dict[str, Tensor]:
    """Knows how bright the road is."""
    grey = pictures[:, :, pictures.shape[2] // 2 :].float().mean((1, 2, 3)) / 255
    here = noise(len(pictures))
    here[:, 5] += grey
    return {"backbone": here, "embedding": F.normalize(here, dim=1)}


def words(texts: Sequence[str]) -> Tensor:
    """Red lights on axis 0, green lights on axis 1, all else in between, with a little of its own."""
    rows = torch.zeros(len(texts), 6)
    for row, text in zip(rows, texts, strict=True):
        row[0], row[1] = float("green light" not in text), float("red light" not in text)
        row[2 + len(text) % 3] = 0.05
    return F.normalize(rows, dim=1)


@pytest.fixture(scope="module")
def tables() -> Mapping[str, pd.DataFrame]:
    """Audits of an encoder that sees lights and of one that does not, with two repetitions."""
    made = {}
    for name, features in (("seeing", seeing), ("blind", blind)):
        subject = Subject(Reader(features, words), 48)
        photos = audit.photograph_features(subject, FEW.photographs, "cpu")
        rows = []
        for seed in range(2):
            found = [*audit.read_drawn(subject, FEW, seed, "cpu")]
            found += audit.read_photographs(*photos, FEW, seed, words)
            rows += [row | {"encoder": AUDITED, "seed": seed} for row in found]
            if name == "seeing" and seed == 0:
                pixels = [row | {"encoder": PIXELS} for row in audit.read_pixels(FEW, 0, "cpu")]
        rows += [row | {"seed": seed} for row in pixels for seed in range(2)]
        made[name] = audit.tabulate(rows, 60)
    return made


def value(table: pd.DataFrame, *where: object) -> float:
    row = find(table, *where)  # type: ignore[arg-type]
    assert row is not None, where
    return float(row["value"])


def test_an_encoder_that_sees_the_light_gets_it_in_words_and_with_labels(tables: Mapping[str, pd.DataFrame]) -> None:
    table = tables["seeing"]
    # It looks at the upper half only, where photographs have the red lamp and not the green one.
    for pictures, least in (("large", 85), ("photographs", 70)):
        for metric, depth in (("zero_shot", "words"), ("probe", "embedding"), ("knn", "embedding")):
            assert value(table, AUDITED, pictures, metric, depth) > least
    assert value(table, AUDITED, "large", "d_prime", "embedding") > 1.5
    assert value(table, AUDITED, "large", "false_go", "embedding") < 60
    assert value(table, AUDITED, "small", "probe", "embedding", "car_colour") < 40  # chance: 17
    assert abs(value(table, AUDITED, "small", "d_prime", "embedding", "pedestrian")) < 0.5


def test_an_encoder_that_is_blind_to_the_light_is_at_chance(tables: Mapping[str, pd.DataFrame]) -> None:
    table = tables["blind"]
    for pictures in ("small", "large"):
        for metric, depth in (("zero_shot", "words"), ("probe", "embedding"), ("probe", "backbone")):
            assert value(table, AUDITED, pictures, metric, depth) == pytest.approx(50, abs=14)
        assert abs(value(table, AUDITED, pictures, "d_prime", "embedding")) < 0.6
        assert value(table, AUDITED, pictures, "false_go", "embedding") > 90
    assert value(table, AUDITED, "small", "probe", "embedding", "time") > 40  # chance: 33; the night is dark


def test_pixels_stand_beside_and_chance_is_named(tables: Mapping[str, pd.DataFrame]) -> None:
    table = tables["seeing"]
    assert value(table, PIXELS, "photographs", "probe") > 85
    assert value(table, GREY, "small", "probe", "", "weather") > 60
    photographed = table[(table["pictures"] == "photographs") & (table["labels"] == 0)]
    red = (photographs.chosen("test", 8, 10**6).labels == 0).float().mean()
    assert photographed["chance"].unique().tolist() == pytest.approx([100 * float(red)])
    chance = table[table["pictures"] != "photographs"].set_index(["metric", "factor"])["chance"]
    assert chance["probe", "car_colour"].iloc[0] == pytest.approx(100 / 6)
    assert chance["false_go", "light"].iloc[0] == pytest.approx(99)
    assert chance["d_prime", "light"].iloc[0] == 0
    assert chance["distance", "light"].isna().all()


def test_intervals_hold_the_value_and_say_over_what(tables: Mapping[str, pd.DataFrame]) -> None:
    table = tables["seeing"]
    assert (table["low"] <= table["value"] + 1e-9).all()
    assert (table["value"] <= table["high"] + 1e-9).all()
    fixed = (table["pictures"] == "photographs") & (table["labels"] == 0)
    assert set(table.loc[fixed, "interval"]) == {"photographs"}
    assert set(table.loc[~fixed, "interval"]) == {"repetitions"}
    assert (table.loc[fixed, "high"] > table.loc[fixed, "low"]).all()  # also where all are right


def test_the_large_light_is_asked_for_the_light_only(tables: Mapping[str, pd.DataFrame]) -> None:
    large = tables["seeing"].query("pictures == 'large'")
    assert set(large["factor"]) == {"light"}
    assert len(large.query("metric == 'probe'")) == 4  # two depths, pixels, grey pixels


def test_repetitions_see_other_scenes_and_blocks_do_not_matter() -> None:
    seen: list[Tensor] = []

    def features(pictures: Tensor) -> dict[str, Tensor]:
        seen.append(pictures)
        return {"embedding": pictures.float().mean((2, 3))}

    shown = audit._random_scenes(300, 0, "small")
    counted: list[int] = []
    whole = audit.encode(Subject(Reader(features), 32), shown, "cpu", counted.append)["embedding"]
    assert whole.shape == (300, 3)
    assert sum(counted) == 300
    tail = audit.encode(Subject(Reader(features), 32), shown[290:], "cpu", counted.append)["embedding"]
    torch.testing.assert_close(whole[290:], tail)
    other = audit._random_scenes(300, 1, "small")
    assert not torch.equal(shown.labels["light"], other.labels["light"])
    assert max(len(part) for part in seen) * 32**2 <= audit._DRAWN * 224**2


def test_amounts_ask_for_no_more_labels_than_there_are() -> None:
    assert audit.amounts(240, 2).shots == (1, 4)
    assert audit.amounts(2000, 2).shots == (1, 4, 16, 64)
    much = audit.amounts(400, 2)
    assert much.pictures() == 400 + 6 * 100 + 400 + 2 * 100
    with pytest.raises(UsageError, match="--scenes 100: at least 200"):
        audit.amounts(100, 2)


# ---------------------------------------------------------------- checkpoints


def config(name: str, folder: Path, vision: dict[str, object], dim: int = 16) -> str:
    """Register a small architecture of open_clip's own."""
    text = {"context_length": 32, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 1}
    path = folder / f"{name}.json"
    path.write_text(json.dumps({"embed_dim": dim, "vision_cfg": {"image_size": 32, **vision}, "text_cfg": text}))
    open_clip.add_model_config(path)
    return name


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Small models of every kind of tower."""
    folder = tmp_path_factory.mktemp("configs")
    timm = {"timm_model_name": "test_vit", "timm_pool": "token"}
    towers: dict[str, dict[str, object]] = {
        "vit": {"layers": 2, "width": 32, "head_width": 16, "patch_size": 8},
        "resnet": {"layers": [1, 1, 1, 1], "width": 8, "head_width": 32},
        "timm": {**timm, "image_size": 160, "timm_proj": "linear"},
        "timm own projection": {**timm, "image_size": 160, "timm_proj": ""},
        "timm without projection": {**timm, "image_size": 160, "timm_proj": "none"},
        "timm attention": {
            "timm_model_name": "test_byobnet",
            "image_size": 64,
            "timm_pool": "rot_attn",
            "timm_proj": "",
        },
    }
    made = {}
    for tower, vision in towers.items():
        width = 64 if tower == "timm without projection" else 16
        made[tower] = config(f"small-{tower.replace(' ', '-')}", folder, vision, width)
    return made


def saved(model: str, path: Path, seed: int = 0) -> nn.Module:
    """A model with random weights, written to a file."""
    torch.manual_seed(seed)
    made: nn.Module = open_clip.create_model(model, pretrained_text=False).eval()
    state = {name: tensor.contiguous() for name, tensor in made.state_dict().items()}
    save_file(state, path) if path.suffix == ".safetensors" else torch.save(state, path)
    return made


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """The hub cannot be reached, and nothing was fetched before."""

    def refuse(*_: object, **__: object) -> None:
        raise OSError("no route")

    monkeypatch.setattr("huggingface_hub.get_session", refuse)
    monkeypatch.setattr("open_clip.pretrained.hf_hub_download", refuse)


@pytest.mark.parametrize("suffix", [".safetensors", ".pt"])
@pytest.mark.parametrize(
    "tower", ["vit", "resnet", "timm", "timm own projection", "timm without projection", "timm attention"]
)
def test_any_tower_gives_both_depths_as_open_clip_has_them(
    models: dict[str, str], tower: str, suffix: str, tmp_path: Path
) -> None:
    path = tmp_path / f"weights{suffix}"
    original = saved(models[tower], path)
    encoder = checkpoints.load(checkpoints.find(models[tower], str(path)))
    generator = torch.Generator().manual_seed(0)
    pictures = torch.randint(0, 256, (3, 3, encoder.size, encoder.size), generator=generator).byte()
    found = encoder.images(pictures)
    with torch.inference_mode():
        prepared = encoder._pixels(pictures)
        expected = original.encode_image(prepared, normalize=True)  # type: ignore[operator]
        tokens = open_clip.get_tokenizer(models[tower])(["a red light", "a van"])
        said = original.encode_text(tokens, normalize=True)  # type: ignore[operator]
    torch.testing.assert_close(found["embedding"], expected, atol=1e-4, rtol=1e-3)
    torch.testing.assert_close(encoder.texts(["a red light", "a van"]), said, atol=1e-5, rtol=1e-4)
    assert found["backbone"].ndim == 2
    if tower in ("vit", "resnet", "timm"):
        with torch.inference_mode():
            before = clip.before_projection(original.visual, prepared)  # type: ignore[arg-type]
        torch.testing.assert_close(found["backbone"], before, atol=1e-4, rtol=1e-3)
    same = F.normalize(found["backbone"], dim=1).shape == expected.shape
    assert same == (tower == "timm without projection")


def test_pictures_are_prepared_as_the_model_asks(models: dict[str, str], tmp_path: Path) -> None:
    saved(models["vit"], tmp_path / "w.safetensors")
    encoder = checkpoints.load(checkpoints.find(models["vit"], str(tmp_path / "w.safetensors")))
    transform = image_transform_v2(PreprocessCfg(**encoder.preprocessing), is_train=False)
    for side, tolerance in ((encoder.size, 1e-6), (50, 0.03)):  # PIL rounds what it resizes to whole grey levels
        smooth = torch.rand(1, 3, 6, 6, generator=torch.Generator().manual_seed(0))
        picture = (255 * F.interpolate(smooth, (side, side), mode="bilinear")).byte()
        expected = transform(Image.fromarray(picture[0].permute(1, 2, 0).numpy()))
        torch.testing.assert_close(encoder._pixels(picture)[0], expected, atol=tolerance, rtol=0)


@pytest.mark.parametrize("size", [48, (48, 48), (48, 64), (64, 48), (40, 40)])
@pytest.mark.parametrize("mode", ["shortest", "longest", "squash"])
@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
def test_squares_are_prepared_as_open_clip_prepares_pictures_in_every_mode(
    size: int | tuple[int, int], mode: str, interpolation: str
) -> None:
    """Two of its ways take PIL's pictures only."""
    asked = PreprocessCfg(size=size, resize_mode=mode, interpolation=interpolation, fill_color=90)
    smooth = torch.rand(2, 3, 5, 5, generator=torch.Generator().manual_seed(1))
    pictures = (255 * F.interpolate(smooth, (56, 56), mode="bilinear")).byte()
    transform = image_transform_v2(asked, is_train=False)
    expected = torch.stack([transform(Image.fromarray(p.permute(1, 2, 0).numpy())) for p in pictures])
    found = checkpoints._prepared_as(asked)(pictures.float() / 255)
    assert found.shape == expected.shape
    torch.testing.assert_close(found, expected, atol=0.04, rtol=0)


def test_an_encoder_that_pads_to_no_square_can_be_audited(project: Path, models: dict[str, str]) -> None:
    folder = project / "my-clip"
    clip.save(clip.create("vit", size=32, embed_dim=16, seed=0), folder, "vit")
    settings = json.loads((folder / "open_clip_config.json").read_text())
    settings["preprocess_cfg"]["resize_mode"] = "longest"
    (folder / "open_clip_config.json").write_text(json.dumps(settings))
    encoder = checkpoints.load(checkpoints.find(f"local-dir:{folder}"))
    assert encoder.preprocessing["resize_mode"] == "longest"
    assert encoder.images(torch.zeros(2, 3, 32, 32, dtype=torch.uint8))["embedding"].shape == (2, 16)


@pytest.mark.usefixtures("offline")
def test_a_tag_brings_its_activation_and_its_preprocessing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """OpenAI's weights read with another activation would look worse than they are, and nothing would say so."""
    monkeypatch.setattr(checkpoints, "download_pretrained", lambda settings: str(tmp_path / "fetched.safetensors"))
    found = checkpoints.find("ViT-B-32", "openai")
    assert found.options["force_quick_gelu"]
    assert not checkpoints.find("ViT-B-32", "laion2b_s34b_b79k").options["force_quick_gelu"]
    siglip = checkpoints.find("ViT-B-16-SigLIP", "webli").options["force_preprocess_cfg"]
    assert siglip["mean"] == (0.5, 0.5, 0.5)
    assert siglip["resize_mode"] == "squash"


def test_what_a_file_does_not_say_is_noted(tmp_path: Path) -> None:
    (tmp_path / "w.pt").write_bytes(b"")
    notes = " ".join(checkpoints.find("ViT-B-32", str(tmp_path / "w.pt")).notes)
    assert "--model ViT-B-32-quickgelu" in notes
    assert "preprocessing" in " ".join(checkpoints.find("ViT-L-14", str(tmp_path / "w.pt")).notes)
    one = checkpoints.find("ViT-B-16-SigLIP", str(tmp_path / "w.pt"))
    assert one.options["force_preprocess_cfg"]["mean"] == (0.5, 0.5, 0.5)
    assert not one.notes


def test_the_untrained_twin_has_the_architecture_and_other_weights(models: dict[str, str], tmp_path: Path) -> None:
    saved(models["resnet"], tmp_path / "w.safetensors", seed=7)
    checkpoint = checkpoints.find(models["resnet"], str(tmp_path / "w.safetensors"))
    trained, *twins = checkpoints.load(checkpoint), *(checkpoints.untrained(checkpoint, seed) for seed in (0, 0, 1))
    assert {twin.parameters for twin in twins} == {trained.parameters}
    pictures = torch.randint(0, 256, (40, 3, 32, 32), generator=torch.Generator().manual_seed(0)).byte()
    first, again, other = (twin.images(pictures)["embedding"] for twin in twins)
    torch.testing.assert_close(first, again)
    assert not torch.allclose(first, other)
    assert not torch.allclose(first, trained.images(pictures)["embedding"])
    weight = twins[0].model.visual.conv1.weight.clone()  # type: ignore[union-attr]
    statistics = twins[0].model.visual.bn1.running_mean.clone()  # type: ignore[union-attr]
    twins[0].settle(pictures)
    assert torch.equal(twins[0].model.visual.conv1.weight, weight)  # type: ignore[union-attr]
    assert not torch.equal(twins[0].model.visual.bn1.running_mean, statistics)  # type: ignore[union-attr]
    assert not any(module.training for module in twins[0].model.modules())


# ---------------------------------------------------------------- errors


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """The one line of a refusal."""
    assert main(["audit", *arguments]) == 2
    printed, errors = capsys.readouterr()
    assert printed == ""
    lines = errors.splitlines()
    assert len(lines) == 1, errors
    return lines[0].removeprefix("clip-invariance: ")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--model", "vit-b32", "--pretrained", "openai"], "unknown model 'vit-b32': did you mean ViT-B-32 or"),
        (
            ["--model", "ViT-B/32", "--pretrained", "openia"],
            "no file openia, and no tag of ViT-B-32: did you mean openai?",
        ),
        (["--model", "ViT-B-32"], "--pretrained: name a file of weights for ViT-B-32, or one of its tags: openai"),
        (["--model", "local-dir:nowhere"], "nowhere/open_clip_config.json is missing"),
        (["--model", "local-dir:a", "--pretrained", "b"], "--pretrained b: leave it out, local-dir:a brings its own"),
        (["--model", "RN50", "--pretrained", "openai", "--scenes", "10"], "--scenes 10: at least 200"),
        (["--model", "RN50", "--pretrained", "openai", "--seeds", "1"], "--seeds 1: an interval needs at least two"),
        (["--model", "RN50", "--pretrained", "openai", "--device", "tpu"], "unknown device 'tpu'"),
    ],
)
def test_wrong_usage_is_one_line(
    project: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    assert message in refused(capsys, *arguments)
    assert not (project / "_build").exists()


@pytest.mark.usefixtures("offline")
def test_without_a_network_one_line_says_what_to_fetch(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = refused(capsys, "--model", "ViT-B-32", "--pretrained", "openai")
    assert "could not fetch the weights 'openai' of ViT-B-32 from timm/vit_base_patch32_clip_224.openai" in line
    assert "no network here" in line
    assert line.endswith("--model ViT-B-32-quickgelu --pretrained FILE")
    line = refused(capsys, "--model", "hf-hub:some/clip")
    assert line.startswith("could not fetch hf-hub:some/clip (no network here")
    assert line.endswith("--model local-dir:FOLDER")


def test_a_file_that_cannot_be_loaded_is_named(
    project: Path, models: dict[str, str], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    sound = tmp_path / "sound.safetensors"
    saved(models["vit"], sound)

    def why(name: str, model: str = models["vit"]) -> str:
        return refused(capsys, "--model", model, "--pretrained", str(tmp_path / name))

    (tmp_path / "cut.safetensors").write_bytes(sound.read_bytes()[:9000])
    (tmp_path / "page.pt").write_text("<html>not found</html>")
    (tmp_path / "empty.pt").write_bytes(b"")
    torch.save({"code": Path}, tmp_path / "code.pt")
    torch.save([1, 2], tmp_path / "list.pt")
    for name in ("cut.safetensors", "page.pt", "empty.pt", "list.pt"):
        assert f"{name} is damaged or not for the model small-vit" in why(name)
    assert "code.pt holds more than weights" in why("code.pt")
    assert "folder: pass the file of weights in it" in why("")
    for name in ("page.pt", "empty.pt", "list.pt", "code.pt"):  # PyTorch's own words advise to open it without checks
        assert "weights_only" not in why(name)
    (tmp_path / "notes.txt").write_text("")
    assert "expected a file of weights that ends in .safetensors" in why("notes.txt")
    line = why("sound.safetensors", models["resnet"])
    assert "sound.safetensors does not match the model small-resnet: " in line
    assert "tensors missing (visual." in line
    state = load_file(sound)
    state["visual.proj"] = torch.zeros(32, 9)
    save_file(state, tmp_path / "wide.safetensors")
    assert "1 tensors of another shape (visual.proj: 32, 9 in the file, 32, 16 in the model)" in why("wide.safetensors")
    state["visual.proj"] = torch.full((32, 16), torch.nan)
    save_file(state, tmp_path / "nan.safetensors")
    assert "not finite numbers" in why("nan.safetensors")


def test_names_in_a_file_reach_no_terminal_as_they_are(
    project: Path, models: dict[str, str], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    saved(models["vit"], tmp_path / "w.safetensors")
    for name in ("\x1b[2Jcleared\nclip-invariance: all is well", "a" * 1_000_000):
        save_file({**load_file(tmp_path / "w.safetensors"), name: torch.zeros(1)}, tmp_path / "named.safetensors")
        line = refused(capsys, "--model", models["vit"], "--pretrained", str(tmp_path / "named.safetensors"))
        assert "named.safetensors does not match the model small-vit: 1 tensors that the model does not have" in line
        assert "\x1b" not in line
        assert len(line) < 1000


def test_weights_behind_a_link_are_read_by_the_name_that_was_given(models: dict[str, str], tmp_path: Path) -> None:
    """A snapshot in the hub's cache is a link to a blob without a suffix."""
    (tmp_path / "blobs").mkdir()
    saved(models["vit"], tmp_path / "blobs" / "w.safetensors")
    (tmp_path / "blobs" / "w.safetensors").rename(tmp_path / "blobs" / "0123abcd")
    (tmp_path / "model.safetensors").symlink_to(Path("blobs") / "0123abcd")
    checkpoint = checkpoints.find(models["vit"], str(tmp_path / "model.safetensors"))
    assert checkpoints.load(checkpoint).images(torch.zeros(1, 3, 32, 32, dtype=torch.uint8))["embedding"].shape == (
        1,
        16,
    )
    assert list(checkpoint.digests()) == ["model.safetensors"]


def test_weights_for_other_pictures_or_texts_are_refused(
    project: Path, models: dict[str, str], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """open_clip would stretch their positions, and something would be measured that nobody has trained."""
    saved(models["vit"], tmp_path / "w.safetensors")
    vision = {"layers": 2, "width": 32, "head_width": 16, "patch_size": 8}
    larger = config("small-vit-64", tmp_path, {**vision, "image_size": 64})
    line = refused(capsys, "--model", larger, "--pretrained", str(tmp_path / "w.safetensors"))
    assert (
        "w.safetensors was made for pictures of 32 pixels, and the model takes 64: choose the --model of that" in line
    )
    state = load_file(tmp_path / "w.safetensors")
    state["positional_embedding"] = torch.zeros(77, 32)
    save_file(state, tmp_path / "long.safetensors")
    line = refused(capsys, "--model", models["vit"], "--pretrained", str(tmp_path / "long.safetensors"))
    assert "long.safetensors was made for texts of 77 tokens, and the model takes 32" in line

    folder = project / "my-clip"
    clip.save(clip.create("vit", size=32, embed_dim=16, seed=0), folder, "vit")
    settings = json.loads((folder / "open_clip_config.json").read_text())
    settings["model_cfg"]["vision_cfg"]["image_size"] = 48
    (folder / "open_clip_config.json").write_text(json.dumps(settings))
    line = refused(capsys, "--model", f"local-dir:{folder}")
    assert "was made for pictures of 32 pixels, and the model takes 48: set image_size" in line


def test_common_formats_that_are_no_weights_of_open_clip_say_the_way_out(
    project: Path, models: dict[str, str], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    def why(name: str) -> str:
        return refused(capsys, "--model", models["vit"], "--pretrained", str(tmp_path / name))

    for name in ("lfs.safetensors", "lfs.pt"):
        (tmp_path / name).write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n")
        assert f"{name} is a pointer of Git LFS, not the file itself: fetch it with `git lfs pull`" in why(name)
    theirs = {"text_model.embeddings.position_embedding.weight": torch.zeros(2, 2), "logit_scale": torch.zeros(())}
    save_file(theirs, tmp_path / "model.safetensors")
    assert "as the library transformers names them" in why("model.safetensors")
    assert "open_clip_model.safetensors" in why("model.safetensors")
    torch.jit.save(torch.jit.script(nn.Linear(2, 2)), tmp_path / "script.pt")
    assert "TorchScript archive, a program with weights, and is not run: OpenAI's own are --pretrained openai" in why(
        "script.pt"
    )
    saved(models["vit"], tmp_path / "w.safetensors")
    shutil.copy(tmp_path / "w.safetensors", tmp_path / "renamed.pt")
    assert "renamed.pt holds weights in the format of .safetensors, whatever its name says" in why("renamed.pt")
    saved(models["vit"], tmp_path / "w.pt")
    shutil.copy(tmp_path / "w.pt", tmp_path / "renamed.safetensors")
    assert "renamed.safetensors holds weights in the format of .pt" in why("renamed.safetensors")
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / "config.json").write_text("{}")
    line = refused(capsys, "--model", f"local-dir:{tmp_path / 'theirs'}")
    assert "looks like a model of the library transformers" in line


@pytest.mark.usefixtures("offline")
@pytest.mark.timeout(60)
def test_a_folder_whose_text_tower_lies_on_the_hub_says_so_at_once(
    project: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    folder = project / "my-clip"
    clip.save(clip.create("vit", size=32, embed_dim=16, seed=0), folder, "vit")
    settings = json.loads((folder / "open_clip_config.json").read_text())
    settings["model_cfg"]["text_cfg"] = {"hf_model_name": "roberta-base"}
    (folder / "open_clip_config.json").write_text(json.dumps(settings))
    line = refused(capsys, "--model", f"local-dir:{folder}")
    assert "could not get the settings of the text tower roberta-base that local-dir:" in line
    assert "no network here" in line
    assert "$HF_HOME" in line


def test_a_proxy_without_its_library_is_not_told_as_a_missing_network(
    project: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise ImportError("Using SOCKS proxy, but the 'socksio' package is not installed.")

    monkeypatch.setattr("huggingface_hub.get_session", refuse)
    monkeypatch.setattr("open_clip.pretrained.hf_hub_download", refuse)
    line = refused(capsys, "--model", "hf-hub:some/clip")
    assert "a SOCKS proxy is set" in line
    assert "pip install socksio" in line
    assert "no network here" not in line


def test_a_missing_package_of_photographs_stops_the_audit_at_once(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(traffic_lights, "_PACKAGE", "no-such-lights")
    traffic_lights._originals.cache_clear()
    assert main(["audit", "--model", "RN50", "--pretrained", "openai"]) == 1
    assert "the package no-such-lights (photographs of traffic lights) is missing" in capsys.readouterr().err
    traffic_lights._originals.cache_clear()


# ---------------------------------------------------------------- the command


def test_the_command_audits_a_folder_and_writes_what_it_found(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A whole audit of a small CLIP of ours, one photograph of the package damaged."""
    few = Amounts(scenes=240, pairs=20, shots=(1, 4), photographs=60)
    monkeypatch.setattr(audit, "amounts", lambda scenes, seeds: few)
    originals = traffic_lights._originals()
    hurt = traffic_lights._Original(originals[0].name, "train", 0, None)
    monkeypatch.setattr(traffic_lights, "_originals", lambda: (hurt, *originals[1:]))
    clip.save(clip.create("vit", size=32, embed_dim=16, seed=0), project / "my-clip", "vit")
    assert main(["audit", "--model", "local-dir:my-clip", "--seeds", "2", "--device", "cpu"]) == 0
    printed, errors = capsys.readouterr()
    folder = project / "_build" / "audit" / "my-clip"
    for word in (
        "small light",
        "photographed light",
        "words",
        "untrained, embedding",
        "d' of matched pairs",
        "red lights",
    ):
        assert word in printed
    assert str(folder / "audit.md") in printed
    assert "pictures at" in errors  # the estimate
    table = pd.read_csv(folder / "table.csv")
    assert set(table["encoder"]) == {AUDITED, UNTRAINED, PIXELS, GREY}
    assert table["value"].notna().all()
    assert set(table["pictures"]) == {"small", "large", "photographs"}
    record = json.loads((folder / "audit.json").read_text())
    assert set(record["files"]) == {"open_clip_config.json", "open_clip_model.safetensors"}
    assert record["preprocessing"]["mean"] == [0.5, 0.5, 0.5]
    assert hurt.name in record["damaged_photographs"][0]
    assert record["versions"]["torch"] == torch.__version__.partition("+")[0]
    page = (folder / "audit.md").read_text()
    assert hurt.name in page
    assert record["files"]["open_clip_model.safetensors"] in page
    assert describe_overview(table, "my-clip").startswith("Accuracy in percent for my-clip")
    for picture in ("audit.png", "audit.dark.png"):
        with Image.open(folder / picture) as image:
            assert np.asarray(image).std() > 5

    # Others of the same name, as of the next training, get folders of their own; the same one again replaces itself.
    places = []
    for change in ({}, {"files": {"open_clip_model.safetensors": "0" * 64}}, {"scenes": 400}, {"device": "cuda"}):
        place = report._place(folder.parent, "my-clip", record | change, chosen=False)
        write_json(place / "audit.json", record | change)
        assert report._place(folder.parent, "my-clip", record | change, chosen=False) == place
        places.append(place)
    assert places[0] == folder
    assert len(set(places)) == 4
    with pytest.raises(UsageError, match="holds the audit of another checkpoint"):
        report._place(folder, "my-clip", record | {"scenes": 400}, chosen=True)
    assert report._place(folder, "my-clip", record, chosen=True) == folder


def test_a_full_disk_after_an_audit_loses_no_number(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], models: dict[str, str]
) -> None:
    few = Amounts(scenes=240, pairs=20, shots=(1, 4), photographs=60)
    monkeypatch.setattr(audit, "amounts", lambda scenes, seeds: few)
    clip.save(clip.create("vit", size=32, embed_dim=16, seed=0), project / "my-clip", "vit")

    def full(figure: object, *_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("matplotlib.figure.Figure.savefig", full)
    assert main(["audit", "--model", "local-dir:my-clip", "--seeds", "2", "--device", "cpu"]) == 1
    printed, errors = capsys.readouterr()
    folder = project / "_build" / "audit" / "my-clip"
    assert "small light" in printed
    assert f"clip-invariance: {folder}: No space left on device: the tables above are" in errors
    assert pd.read_csv(folder / "table.csv")["value"].notna().all()
    assert {path.name for path in folder.iterdir()} == {"table.csv", "audit.json", "audit.md"}


@pytest.mark.parametrize(
    ("model", "pretrained", "name"),
    [
        ("ViT-B-32", "openai", "ViT-B-32-openai"),
        ("ViT-B/32", "/data/my weights.safetensors", "ViT-B-32-my-weights"),
        ("local-dir:/a/my-clip/", "", "my-clip"),
        ("hf-hub:owner/clip", "", "owner-clip"),
        ("local-dir:.", "", "encoder"),
    ],
)
def test_results_get_a_folder_of_their_own(model: str, pretrained: str, name: str) -> None:
    assert report.name_of(model, pretrained) == name
