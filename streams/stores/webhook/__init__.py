"""Any in-house flag store, behind one signed HTTP address: docs/stores.md."""
