"""What a training learns from and looks at: checked, and brought in place."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from xpnn.backends import HostGenerator, Namespace, device_of, placement, to_device
from xpnn.data.streams import Source
from xpnn.distributed import ProcessGroup
from xpnn.optimizers import Constant, Schedule
from xpnn.training.streaming import CHUNK, Stream
from xpnn.training.trainer import Data

if TYPE_CHECKING:
    from xpnn.training.network import Network


def _split(data: Data, share: float, source: HostGenerator, xp: Namespace) -> tuple[Data, Data]:
    """Set a share of the rows, drawn at random, apart for validation."""
    held = round(data.rows * share)
    if not 0 < share < 1 or not 0 < held < data.rows:
        raise ValueError(
            f"validation is {share!r}; expected a share above 0 and below 1 that leaves rows on "
            f"both sides of {data.rows}, or a pair (x, t)"
        )
    numbers = to_device(source.permutation(data.rows), xp, device_of(data.x))
    return data.take(numbers[held:], xp), data.take(numbers[:held], xp)


def _take_source(
    network: Network, source: Source, given: dict[str, Any], batch_size: int | None, epochs: int,
    schedule: Schedule, group: ProcessGroup | None,
) -> Stream:  # fmt: skip
    """Check that everything else goes with a source, and look at its first row."""
    for name, value in given.items():
        if value is not None:
            raise ValueError(f"{name} is given beside a source, which brings its own; leave it out")
    if batch_size is None:
        raise ValueError("batch_size is None, for all rows at once; a source needs a number")
    source.check_once(epochs)
    if source.rows is None and not isinstance(schedule, Constant):
        if source.once:
            raise ValueError(
                f"a schedule needs to know the number of rows; say it: stream({source.name}, "
                "rows=...)"
            )
        source.rows = source.count() if group is None else group.broadcast_from_main(source.count)
    return Stream(network, source, batch_size, group=group)


def _validation_data(network: Network, given: Any, group: ProcessGroup | None) -> Data | Stream:
    """Bring validation data in place."""
    if isinstance(given, Source):
        return Stream(network, given, CHUNK, group=group)
    if not isinstance(given, tuple | list) or len(given) != 2:
        raise ValueError(
            f"validation is a {type(given).__name__}; expected a share or a pair (x, t), or a "
            "source"
        )
    x, _, _ = network.prepare(given[0])
    return Data(x, *network.prepare_targets(x, given[1], None))


def gather(
    network: Network, x: Any, given: dict[str, Any], batch_size: int | None, epochs: int,
    schedule: Schedule, validation: Any, source: HostGenerator, group: ProcessGroup | None = None,
) -> tuple[Data | Stream, Data | Stream | None, Namespace]:  # fmt: skip
    """Bring the data in place.

    Parameters
    ----------
    network, batch_size, epochs, schedule, validation
        As in `xpnn.training.fit`, `schedule` being its rate.
    x : array_like or Source
        Rows.
    given : dict
        What came as `t` and `sample_weight`.
    source : generator
        For the rows that are set apart.
    group : ProcessGroup, optional
        Processes that share the rows out.

    Returns
    -------
    train : Data or Stream
        Rows to learn from.
    held : Data, Stream or None
        Rows to validate on.
    xp : module
        Their namespace.
    """
    share = isinstance(validation, int | float)
    if isinstance(x, Source):
        if share:
            raise ValueError(
                f"validation is {validation!r}; no share can be set apart from a source: give "
                "another source, or a pair (x, t)"
            )
        train: Data | Stream = _take_source(network, x, given, batch_size, epochs, schedule, group)
        xp, _ = placement(x=train.x)
    else:
        x, xp, _ = network.prepare(x)
        data = train = Data(x, *network.prepare_targets(x, given["t"], given["sample_weight"]))
        if share:
            return (*_split(data, validation, source, xp), xp)
    return train, None if validation is None else _validation_data(network, validation, group), xp
