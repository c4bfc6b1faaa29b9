"""A small web shop, its users, and the story of a bug that reaches a tenth of them: ``python -m demo``."""
