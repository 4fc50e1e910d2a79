"""What a request asks for, by number; ``UPDATE`` is the get of a read-modify-write, which a put follows."""

PUT, INSERT, GET, UPDATE, MGET, BATCH, SCAN = range(7)
