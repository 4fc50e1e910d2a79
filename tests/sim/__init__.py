"""A deterministic simulator: production code of many processes on a virtual clock, network, disk and etcd.

One seed decides everything that happens, so a run is repeated by repeating its seed. From the bottom up:

| file | what it is |
|---|---|
| scheduler | virtual time: one queue of events for everybody |
| trace | what happened, as a hash, so that two runs can be compared |
| process, loop | one operating system process: lives, pauses, dies; its asyncio event loop |
| clock, executor, disk | of one process: its clocks, its threads, its view of the host's disk |
| fabric, pace, network | hosts and the paths between them; how fast they are; one process's access to it |
| lane, transport, dial | of a connection: one direction, one end, the opening |
| etcd_store, etcd_watch, etcd | etcd's state, a watch of it, one process's access to it |
| janitor | stands in for a shard's child process |
| host, simulation, replay | a machine with its processes; all of them together; a seed once more |
| history, register, linearizability, counterexample | what clients saw, and whether a register could have answered so |

What has to hold in code that runs here for a seed to repeat: no time but the clock's and the loop's, no chance but the
world's, and no order of effects that follows from the hash of a ``str`` or ``bytes``, or from the address of an object
(such as a ``set`` of connections that is walked to close them). Tasks, futures and transports hash by their number
here, so sets of them keep their order; for ``str`` and ``bytes`` PYTHONHASHSEED has to be fixed (``replay``).
"""
