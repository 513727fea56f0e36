"""Where a model is to be, checked before it is loaded."""

from __future__ import annotations

DTYPES = ("auto", "float32", "bfloat16", "float16")


def check_placement(device: str | None, dtype: str | None) -> None:
    """Refuse a dtype that models do not have, and a device that cannot hold a tensor.

    Raises:
        ValueError: `--dtype` or `--device` is not what it should be.
    """
    from hogwild.models.loading import DEVICE_MAPS

    if dtype not in (None, *DTYPES):
        raise ValueError(f"--dtype: expected one of {', '.join(DTYPES)}, got {dtype!r}")
    if device not in (None, *DEVICE_MAPS):
        _check_device(device)


def _check_device(device: str) -> None:
    """Refuses a device that cannot hold a tensor, of whatever kind."""
    import torch

    try:
        torch.empty(1, device=device).cpu()
    except Exception as error:  # its type depends on the kind of device
        reason = str(error).strip().partition("\n")[0]
        raise ValueError(f"--device: cannot use {device!r}: {reason}") from error
