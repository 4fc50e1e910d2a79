"""What a follower does before it leads: takes what its predecessor, on the same host, had written and not sent.

The predecessor's process is dead and was reaped; still its directory's LOCK is taken while its log is read, so that two
processes never use it at once. Nothing in it is changed: its own next start does that. The log is read as far as it is
good, since what comes behind was never acknowledged, or is for that start to judge.
"""

import contextlib
import errno
import logging

from sherd.common.disk import Disk
from sherd.common.errors import StoreError, StoreFull, StoreLocked
from sherd.common.logs import event
from sherd.shard.lsm.engine import Engine
from sherd.shard.lsm.format import LOCK_NAME, SEGMENT_SUFFIX, file_number, segment_name
from sherd.shard.lsm.segment_reader import SegmentReader

log = logging.getLogger(__name__)

SHORTAGES = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM})


def take_over_log(engine: Engine, disk: Disk, directory: str) -> int:
    """Apply to ``engine``, which follows, what the log in ``directory`` has beyond it; the number of records.

    A log that can't be read, or not to its end, is told in the log. Overloaded or StoreFull if there is no room for it
    now, StoreLocked if somebody uses the directory, and what says that this process or host is out of files or memory:
    then it is to be tried again, from where it came to.
    """
    try:
        with contextlib.ExitStack() as held:
            lock = disk.lock(f"{directory}/{LOCK_NAME}")
            held.callback(lock.release)
            return _take_over(engine, disk, directory)
    except StoreFull:
        raise
    except BlockingIOError as error:
        raise StoreLocked(f"{directory} is in use: {error}") from error
    except (OSError, StoreError) as error:
        engine.check()
        if isinstance(error, OSError) and error.errno in SHORTAGES:
            raise StoreFull(f"{directory} cannot be read now: {error}") from error
        event(
            log, logging.ERROR, "the predecessor's log cannot be read: what it had not sent is lost here",
            directory=directory, last_lsn=engine.last_lsn, error=error,
        )  # fmt: skip
        return 0


def _take_over(engine: Engine, disk: Disk, directory: str) -> int:
    numbers = sorted(
        number for name in disk.listdir(directory) if (number := file_number(name, SEGMENT_SUFFIX)) is not None
    )
    count = 0
    for number in _from_the_one_with(engine.last_lsn + 1, numbers, disk, directory):
        with SegmentReader.open(disk, f"{directory}/{segment_name(number)}", number) as reader:
            for _, header, body in reader.records():
                if header.last_lsn <= engine.last_lsn:
                    continue
                try:
                    engine.apply(header, body)
                except ValueError as error:  # it does not go on from here: another history, or a gap
                    event(log, logging.WARNING, "the predecessor's log parts from ours", path=reader.path, why=error)
                    return count
                count += 1
            if reader.verdict is not None and not reader.verdict.clean:
                break
    engine.commit()
    return count


def _from_the_one_with(lsn: int, numbers: list[int], disk: Disk, directory: str) -> list[int]:
    """The segments from the last one on that does not begin behind ``lsn``."""
    for i in range(len(numbers) - 1, -1, -1):
        with SegmentReader.open(disk, f"{directory}/{segment_name(numbers[i])}", numbers[i]) as reader:
            first = next((header.first_lsn for _, header, _ in reader.records()), None)
        if first is not None and first <= lsn:
            return numbers[i:]
    return numbers
