"""The red and green squares lie where Kayhan and van Gemert put them."""

from __future__ import annotations

import pytest
import torch

from clip_invariance.chapters.c1_places.red_green import BORDERS, network
from clip_invariance.errors import UsageError
from clip_invariance.worlds.red_green import BOX, SIZE, SWAP, draw


@pytest.fixture(scope="module")
def squares():
    return draw(500, torch.Generator().manual_seed(0))


def left_edges(images: torch.Tensor) -> torch.Tensor:
    """Column of the first pixel that is lit, per image and channel: (n, 2)."""
    return images[:, :2].amax(dim=2).argmax(dim=2)


def test_each_picture_has_one_red_and_one_green_square(squares) -> None:
    for part in squares:
        assert part.images.sum((2, 3)).eq(torch.tensor([BOX * BOX, BOX * BOX, 0.0])).all()


def test_the_class_is_the_order_with_a_gap_between(squares) -> None:
    red, green = left_edges(squares[0].images).T
    sign = torch.where(squares[0].labels == 0, 1, -1)
    assert ((green - red) * sign >= BOX + 1).all()


def test_classes_lie_in_opposite_halves_and_swap(squares) -> None:
    similar, dissimilar = squares
    upper = similar.images[:, :, : SIZE // 2].sum((1, 2, 3)) > BOX * BOX
    assert torch.equal(upper, similar.labels == 0)
    assert torch.equal(dissimilar.images, similar.images.roll(SWAP, dims=2))
    assert torch.equal(similar.labels, dissimilar.labels)


@pytest.mark.parametrize("border", BORDERS)
def test_circular_and_full_borders_cannot_see_the_swap_and_the_others_can(border: str, squares) -> None:
    """Half the height is twice the total stride: the swap moves the last grid by whole cells, and max pooling forgets them.

    Circular borders hide the edge; full ones let every filter position see every pixel, so the edge tells nothing new.
    """
    torch.manual_seed(0)
    net = network(border).eval()
    with torch.inference_mode():
        change = (net(squares[0].images) - net(squares[1].images)).abs().max().item()
    assert (change < 1e-6) == (border in ("same, circular", "full, zeros"))


def test_an_unknown_border_is_named() -> None:
    with pytest.raises(UsageError, match="border='reflect': choose one of valid"):
        network("reflect")
