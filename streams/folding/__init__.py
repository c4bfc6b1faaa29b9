"""How events become sums: columns of a batch, names, what was seen before, sums a flush."""
