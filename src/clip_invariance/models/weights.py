"""Weights of a small network as bytes that a table can hold."""

from __future__ import annotations

from typing import TypeVar

from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import nn

from clip_invariance.errors import UsageError

Net = TypeVar("Net", bound=nn.Module)


def to_bytes(net: nn.Module) -> bytes:
    """All parameters and buffers as the bytes of a safetensors file."""
    return save({name: tensor.detach().cpu().contiguous() for name, tensor in net.state_dict().items()})


def from_bytes(net: Net, content: bytes) -> Net:
    """The network with the weights that :func:`to_bytes` took, in evaluation mode.

    Raises:
        UsageError: if the bytes are damaged or belong to another network.
    """
    try:
        net.load_state_dict(load(content))
    except (SafetensorError, RuntimeError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise UsageError(f"these weights do not fit this {type(net).__name__}: {reason}") from None
    return net.eval()
