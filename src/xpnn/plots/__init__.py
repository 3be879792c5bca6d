"""Pictures, written without a window: loss curves, digits, units."""
