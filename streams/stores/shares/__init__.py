"""Stores that keep one share for each variation: one planner for all of them, and a backend that speaks to each."""
