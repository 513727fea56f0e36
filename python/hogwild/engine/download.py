"""Small results from the device, copied as soon as they are there and read when somebody wants them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

__all__ = ["Download"]

_FIRST_BYTES = 1 << 12


class Download:
    """Room in pinned memory for one vector at a time.

    `tensor.tolist()` would begin its copy, into memory that is not pinned, only when it is called, and the host takes
    longer to do that than the device to be done. A copy that waits on the stream costs the host nothing but the wait.

    Args:
        device: where the vectors are.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._room = torch.empty(0, dtype=torch.uint8)
        self._done: torch.cuda.Event | None = None

    def start(self, vector: torch.Tensor) -> Callable[[], list[Any]]:
        """Enqueue the copy of a vector; what it returns waits for it and gives the numbers.

        To be called before the next `start`, which uses the same memory.
        """
        if self._device.type != "cuda":
            return vector.tolist
        if self._done is None:
            self._done = torch.cuda.Event()
        size = vector.numel() * vector.itemsize
        if size > len(self._room):
            room = max(_FIRST_BYTES, 1 << (size - 1).bit_length())
            with torch.inference_mode(False):  # written to in and outside of inference mode alike
                self._room = torch.empty(room, dtype=torch.uint8, pin_memory=True)
        done, host = self._done, self._room[:size].view(vector.dtype)
        if not done.query():
            done.synchronize()  # what nobody read, since a Ctrl-C came first, is still on its way
        host.copy_(vector, non_blocking=True)
        done.record(torch.cuda.current_stream(self._device))

        def read() -> list[Any]:
            done.synchronize()  # without the interpreter's lock; the driver spins, which wakes up at once
            return host.tolist()

        return read
