"""``guardian doctor``: looks at all that the guardian works with, changes nothing, and says what to mend."""
