"""What it does in a second, beside the limit and beside others, measured in one run."""
