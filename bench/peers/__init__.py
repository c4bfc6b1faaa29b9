"""The same fold in the idiom of other stream processors; each runs as a script in an environment of its own."""
