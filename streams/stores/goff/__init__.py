"""GO Feature Flag, by the file that its relays and libraries read: docs/stores.md."""
