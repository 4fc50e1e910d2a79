"""What every room shares: errors, limits, types, the world (clock and disk), the wire codec, net pumps, topology."""
