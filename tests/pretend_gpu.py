"""A GPU that is not there, for machines without one.

Tensors that code puts on "cuda" stay in the processor's memory and are computed there; each storage is only *said* to lie
on the GPU, and whatever follows from it lies there too. What a real GPU refuses is refused: operands in two places, a
generator of the processor's for numbers on the GPU, NumPy reading the GPU's memory. Towers compute in bfloat16, as there.

It is no GPU: nothing is known of its speed, of its rounding, or of kernels that it lacks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor
from torch._C import _functorch as functorch
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._device import _device_constructors
from torch.utils._python_dispatch import TorchDispatchMode

CPU, CUDA = torch.device("cpu"), torch.device("cuda", 0)
_TIDIED_EVERY = 100_000
_aten = torch.ops.aten
#: Operations that move numbers from one place to another.
_MOVES = (_aten.copy_.default, _aten._to_copy.default)
#: Operations whose second argument, indices, may lie on the processor when the first lies on the GPU.
_INDEXED = (
    _aten.index.Tensor,
    _aten._unsafe_index.Tensor,
    _aten.index_put.default,
    _aten.index_put_.default,
    _aten._index_put_impl_.default,
)


class Refused(RuntimeError):
    """A real GPU would not do this."""


class _Places:
    """Where storages are said to lie. What C++ makes by itself has no place until it meets something that has one."""

    def __init__(self) -> None:
        # A weak reference keeps the address from being given to another storage.
        self._known: dict[int, tuple[torch.device, StorageWeakRef]] = {}
        self._until_tidied = _TIDIED_EVERY

    def known(self, tensor: Tensor) -> torch.device | None:
        found = self._known.get(_plain(tensor).untyped_storage()._cdata)
        return found[0] if found else None

    def of(self, tensor: Tensor) -> torch.device:
        return self.known(tensor) or CPU

    def put(self, tensor: Tensor, place: torch.device) -> None:
        if self.known(tensor) is place:
            return
        reference = StorageWeakRef(_plain(tensor).untyped_storage())
        self._known[reference.cdata] = place, reference
        self._until_tidied -= 1
        if not self._until_tidied:
            self._known = {key: entry for key, entry in self._known.items() if not entry[1].expired()}
            self._until_tidied = _TIDIED_EVERY


#: One for all uses: what is cached between two of them keeps its place.
_PLACES = _Places()


@contextmanager
def pretended_gpu() -> Iterator[None]:
    """In here there is a GPU."""
    autocast = torch.autocast
    with ExitStack() as stack:
        stack.enter_context(patch("clip_invariance.run.provenance.has_cuda", lambda: True))
        stack.enter_context(patch("torch.cuda.get_device_name", lambda: "a pretended GPU"))
        stack.enter_context(patch("torch.autocast", lambda _device, **options: autocast("cpu", **options)))
        for name, method in _methods().items():
            inherited = name not in vars(Tensor)
            stack.callback(*((delattr, Tensor, name) if inherited else (setattr, Tensor, name, vars(Tensor)[name])))
            setattr(Tensor, name, method)
        for function in (*_device_constructors(), torch.from_numpy):
            if getattr(torch, function.__name__, None) is function:
                stack.enter_context(patch.object(torch, function.__name__, _making(function)))
        stack.enter_context(_Computing())
        yield


# ---------------------------------------------------------------- what code says about places


def _methods() -> dict[str, Any]:
    """Replacements of a tensor's methods and attributes."""
    makers = ("new_empty", "new_full", "new_ones", "new_tensor", "new_zeros")
    return {
        "device": property(_PLACES.of),
        "is_cuda": property(lambda tensor: _PLACES.of(tensor) is CUDA),
        "to": _to(Tensor.to),
        "cpu": lambda tensor: _moved(tensor, CPU),
        "cuda": lambda tensor: _moved(tensor, CUDA),
        "numpy": _on_cpu_only(Tensor.numpy),
        "__array__": _on_cpu_only(Tensor.__array__),
        **{name: _making(getattr(Tensor, name)) for name in makers},
    }


def _place(device: object) -> torch.device | None:
    """CPU or CUDA for what names one of them."""
    if isinstance(device, str) and device.partition(":")[0] in ("cpu", "cuda"):
        device = torch.device(device)
    if isinstance(device, torch.device) and device.type in ("cpu", "cuda"):
        return CUDA if device.type == "cuda" else CPU
    return None


def _moved(tensor: Tensor, place: torch.device) -> Tensor:
    if _PLACES.of(tensor) is place:
        return tensor
    copied = tensor.clone()
    _PLACES.put(copied, place)
    return copied


def _to(real: Callable[..., Tensor]) -> Callable[..., Tensor]:
    def to(tensor: Tensor, *args: Any, non_blocking: bool = False, **kwargs: Any) -> Tensor:
        place, others = _place(kwargs.pop("device", None)), []
        for value in args:
            if isinstance(value, Tensor):
                place, value = _PLACES.of(value), value.dtype
            if _place(value) is not None:
                place = _place(value)
            elif isinstance(value, torch.dtype):
                others.append(value)
        kwargs = {name: value for name, value in kwargs.items() if value is not None}
        changed = real(tensor, *others, **kwargs) if others or kwargs else tensor
        return changed if place is None else _moved(changed, place)

    return to


def _on_cpu_only(real: Callable[..., Any]) -> Callable[..., Any]:
    def read(tensor: Tensor, *args: Any, **kwargs: Any) -> Any:
        if _PLACES.of(tensor) is CUDA:
            raise Refused("NumPy cannot read a tensor on the GPU: call .cpu() first")
        return real(tensor, *args, **kwargs)

    return read


def _making(real: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """A function or a method that makes a tensor on its argument ``device``, or where the tensor is that it is given."""

    def make(*args: Any, **kwargs: Any) -> Tensor:
        asked = _place(kwargs.get("device"))
        if asked is CUDA and kwargs.get("generator") is not None:
            raise Refused(f"{real.__name__}: a generator of the processor's for numbers on the GPU")
        made = real(*args, **(kwargs if asked is None else {**kwargs, "device": CPU}))
        given = _PLACES.of(args[0]) if args and isinstance(args[0], Tensor) else CPU
        if made.device.type == "cpu":  # and not "meta"
            _PLACES.put(made, asked or given)
        return made

    return make


# ---------------------------------------------------------------- what is computed


class _Computing(TorchDispatchMode):
    """Every operation, those of a backward pass included: results lie where operands lie, all of them in one place."""

    def __torch_dispatch__(
        self, function: Any, types: object, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if function is _aten._local_scalar_dense.default:  # .item() waits for the GPU, and gets its number
            return function(*args, **kwargs)
        given = _tensors(args) + _tensors(kwargs.values())
        places = [_PLACES.known(tensor) for tensor in given]
        place = CUDA if CUDA in places else CPU if CPU in places else None
        if function in _MOVES:
            place = places[0]
        elif place is CUDA:
            free = {id(tensor) for tensor in _tensors(args[1])} if function in _INDEXED and places[0] is not CPU else ()
            _check(function, [*args, *kwargs.values()], [t for t in given if id(t) not in free])
        result = function(*args, **kwargs)
        if place is not None:
            for tensor in _tensors([result]):
                _PLACES.put(tensor, place)
        return result


def _check(function: object, arguments: Sequence[object], together: Sequence[Tensor]) -> None:
    """Refuse what cannot be computed on the GPU; what had no place yet lies there from now on."""
    if any(isinstance(argument, torch.Generator) for argument in arguments):
        raise Refused(f"{function}: a generator of the processor's for numbers on the GPU")
    for tensor in together:
        if tensor.ndim and _PLACES.known(tensor) is CPU:
            where = ", ".join(f"{tuple(t.shape)} on {_PLACES.of(t).type}" for t in together)
            raise Refused(f"{function}: operands in two places: {where}")
        if _PLACES.known(tensor) is None:
            _PLACES.put(tensor, CUDA)


def _tensors(values: Any) -> list[Tensor]:
    """Those among values and in lists of them."""
    found: list[Tensor] = []
    for value in values:
        if isinstance(value, Tensor):
            found.append(value)
        elif isinstance(value, list | tuple):
            found += _tensors(value)
    return found


def _plain(tensor: Tensor) -> Tensor:
    """The tensor inside those that vmap wraps around it."""
    while functorch.is_functorch_wrapped_tensor(tensor):
        tensor = functorch.get_unwrapped(tensor)
    return tensor
