"""Flag stores of others, run for tests: real ones where they can be had, else strict ones of our own."""
