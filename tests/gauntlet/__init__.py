"""The gauntlet: labelled rollouts in nasty worlds, judged by the real fold and engine, beside the same tests offline."""
