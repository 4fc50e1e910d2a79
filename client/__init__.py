"""The Python clients: a blocking and an asyncio face over one protocol core.

``protocol`` and ``frames`` turn requests into bytes and bytes into replies, ``requests`` and ``codec`` turn Python
arguments into requests, ``retry``, ``exchange`` and ``addresses`` decide what to try again and where: none of them does
I/O. Around them stand ``stream``, ``pool`` and ``sync`` for threads, and ``link``, ``links`` and ``aio`` for asyncio.
"""
