"""Runners whose host has time to spare while a device computes, or has none."""

from hogwild.engine.graphs import GraphRunner


class BusyDevice(GraphRunner):
    """As on a GPU, where the host has time to prepare while the device computes."""

    ahead = True


class IdleDevice(GraphRunner):
    """Has no time to spare, so nothing is prepared or launched beforehand, on CUDA either."""

    ahead = False


def runner_of(model, busy):
    """A runner of forwards of fixed size: on CUDA, graphs."""
    if not busy:
        return IdleDevice(model)
    return GraphRunner(model) if model.device.type == "cuda" else BusyDevice(model)
