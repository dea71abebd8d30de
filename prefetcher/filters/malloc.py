"""Memory from the C library's malloc: what a plugin filter takes for its own, and what it gives."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from functools import cache, partial

import numpy as np
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]


def room(nbytes: int) -> Bytes:
    """Memory to fill, uint8 (nbytes,), that `given_up` need not copy; its content is arbitrary.

    Raises:
        MemoryError: There is not so much.
    """
    return owned(_libc().malloc(nbytes), nbytes)


def owned(address: int | None, nbytes: int) -> Bytes:
    """Memory that came from malloc, as an array; it is freed with the last array over it.

    Raises:
        MemoryError: There is no address: malloc had nothing to give.
    """
    if not address:
        raise MemoryError(f"no {nbytes} bytes are left for a storage chunk")
    return np.asarray(_Loan(address, nbytes))


def free(address: int | None) -> None:
    """Frees memory that came from malloc and that no array owns."""
    _libc().free(address)


def given_up(data: Bytes) -> tuple[int, int]:
    """The address and size of memory that begins with `data`, for who frees it or replaces it.

    Where `data` begins a `room`, it is that memory, and no array over it may be used any more.
    Else it is a copy.
    """
    owner: object = data.base
    while isinstance(owner, np.ndarray):
        owner = owner.base
    if isinstance(owner, _Loan) and owner.address == data.ctypes.data:
        return owner.give_up(), owner.nbytes
    copy = room(len(data))
    copy[:] = data
    return given_up(copy)


class _Loan:
    """Stands between memory and the arrays over it; ends with the last of them.

    Its end is a call into C: Ctrl-C would be lost in a finalizer that is Python code.
    """

    __slots__ = ("__array_interface__", "__del__", "address", "nbytes")
    __del__: Callable[[], object]

    def __init__(self, address: int, nbytes: int) -> None:
        self.__del__ = partial(_libc().free, address)
        self.address: int | None = address
        self.nbytes = nbytes
        self.__array_interface__ = {
            "version": 3,
            "shape": (nbytes,),
            "typestr": "|u1",
            "data": (address, False),
        }

    def give_up(self) -> int:
        """The memory's address; it is not freed by this loan any more."""
        address, self.address, self.__del__ = self.address, None, bool
        return address or 0


@cache
def _libc() -> ctypes.CDLL:
    """The C library that the plugins use. Only loaded where there is preadv."""
    libc = ctypes.CDLL(None)
    libc.malloc.restype = ctypes.c_void_p
    libc.malloc.argtypes = [ctypes.c_size_t]
    libc.free.restype = None
    libc.free.argtypes = [ctypes.c_void_p]
    return libc
